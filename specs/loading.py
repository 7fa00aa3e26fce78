"""From what a user names to a specification: a built-in one, a file of their own, either with a fault applied.

A fault is changed source text, so a faulty specification is loaded by executing the changed module, and every
module that depends on it, afresh, beside the originals.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..model.faults import Fault
from ..model.lang.errors import InputError, SpecError
from ..model.lang.ir import Program
from ..model.lang.lowering import lower
from ..model.lang.records import schema_of
from ..model.lang.sorts import AnnotationError
from ..model.lang.spec import Spec

PACKAGE = __name__.rsplit(".", 2)[0]
BUILT_IN = ("buddy", "blocks")
"""The specifications that come with the package, in the order in which `check` runs them."""

FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True)
class Loaded:
    """A specification, its program, the name the user gave and the fault in it."""

    target: str
    spec: Spec
    program: Program
    fault: Fault | None = None


def load(target: str, fault: Fault | None = None) -> Loaded:
    """A built-in specification by name or the one Spec of a Python file; raises InputError (SpecError) for bad ones."""
    if target in BUILT_IN:
        spec = _built_in(target) if fault is None else _built_in_with(target, fault)
    elif target.endswith(".py") or "/" in target:
        if fault is not None:
            raise InputError(f"fault {fault.identifier} does not apply to {target}", "faults are of built-in specs")
        spec = _from_file(Path(target))
    else:
        known = ", ".join(BUILT_IN)
        raise InputError(f"there is no specification {target!r}", f"the built-in ones are: {known}; or give a FILE.py")
    return Loaded(target, spec, lower(spec), fault)


def _built_in(name: str) -> Spec:
    spec = importlib.import_module(f"{PACKAGE}.specs.{name}").SPEC
    assert isinstance(spec, Spec)
    return spec


def _built_in_with(name: str, fault: Fault) -> Spec:
    with _originals_aside():
        changed = f"{PACKAGE}.{fault.module}"
        found = importlib.util.find_spec(changed)
        if found is None or found.origin is None:
            raise InputError(f"fault {fault.identifier} names the module {fault.module}, which does not exist")
        text = fault.apply(Path(found.origin).read_text(encoding="utf-8"))
        parent = importlib.import_module(changed.rsplit(".", 1)[0])
        module = ModuleType(changed)
        module.__package__ = parent.__name__
        sys.modules[changed] = module
        label = f"{fault.module.replace('.', '/')}.py with {fault.identifier}"
        _execute(module, text, label)
        spec = _built_in(name)
        _resolve_annotations(spec)
        return spec


def _resolve_annotations(spec: Spec) -> None:
    """Read the records' annotations now, while their own modules are the current ones."""
    try:
        schema_of(spec.state)
        if spec.refinement is not None:
            schema_of(spec.refinement.abstract.state)
    except AnnotationError as error:
        raise InputError(error.message, error.remedy) from None


@contextlib.contextmanager
def _originals_aside() -> Iterator[None]:
    """Forget the modules of the model and its properties for the time being, and bring them back afterwards."""
    kept = {name: module for name, module in sys.modules.items() if _depends_on_the_model(name)}
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _depends_on_the_model(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


def _depends_on_the_model(name: str) -> bool:
    """Whether a module is a kernel part (model.x) or its properties (specs.x), which a fault may reach."""
    parts = name.removeprefix(PACKAGE + ".").split(".")
    return (
        name.startswith(PACKAGE + ".")
        and len(parts) == 2
        and parts[0] in ("model", "specs")
        and parts[1] not in ("lang", "faults", "loading", "stateful", "contracts")
    )


def _from_file(path: Path) -> Spec:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", "give a Python file with a Spec in it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "give a Python file with a Spec in it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text", "save it as UTF-8") from None
    module = ModuleType(f"kmemspec_user_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    _execute(module, text, str(path.resolve()))
    specs = [thing for thing in vars(module).values() if isinstance(thing, Spec)]
    own = [thing for thing in specs if thing.state.__module__ == module.__name__] or specs
    if len(own) != 1:
        raise InputError(f"{path} has {len(own)} specifications", "define exactly one Spec in it: SPEC = Spec(…)")
    return own[0]


def _execute(module: ModuleType, text: str, filename: str) -> None:
    """Run a module's text so that its source can be found again; any error becomes one InputError line."""
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    try:
        exec(compile(text, filename, "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        raise InputError(f"{filename}:{error.lineno}: {error.msg}", "correct the syntax") from None
    except ValueError as error:
        raise InputError(f"{filename}: {error}", "save it as plain Python text") from None
    except AnnotationError as error:
        raise InputError(f"{filename}:{_line(error, filename)}: {error.message}", error.remedy) from None
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise InputError(f"{filename}:{_line(error, filename)}: {what}", "the module must import without errors") from None


def _line(error: BaseException, filename: str) -> int:
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    return lines[-1] if lines else 0


__all__ = ["BUILT_IN", "InputError", "Loaded", "SpecError", "load"]
