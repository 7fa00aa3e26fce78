"""From what a user names to a specification: a built-in one, a file of their own, either with a fault applied.

A fault is changed source text, so a faulty specification is loaded by executing the changed module, and every
module that depends on it, afresh, beside the originals.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import linecache
import sys
import tokenize
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..model.faults import Fault
from ..model.lang import source
from ..model.lang.errors import InputError, SpecError
from ..model.lang.ir import Program
from ..model.lang.lowering import lower
from ..model.lang.records import Record, schema_of
from ..model.lang.sorts import AnnotationError
from ..model.lang.spec import Spec

PACKAGE = __name__.rsplit(".", 2)[0]
BUILT_IN = (
    "buddy", "blocks", "zone", "sizes", "cache", "objects", "slub", "slub_bulk", "lru", "contents", "swap", "reclaim",
    "system",
)
"""The specifications that come with the package, in the order in which `check` runs them."""

CONTRACTS = {"contract-lru": "contract_lru", "contract-heap": "contract_heap", "contract-slab": "contract_slab"}
"""The contracts of `validate` as specifications, and their modules: checked when they are asked for. The one of a page
allocator is `blocks`."""
NAMED = (*BUILT_IN, *CONTRACTS)
"""Every specification that has a name."""

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
    if target in NAMED:
        spec = built_in(target) if fault is None else _built_in_with(target, fault)
    elif target.endswith(".py") or "/" in target:
        if fault is not None:
            raise InputError(f"fault {fault.identifier} does not apply to {target}", "faults are of built-in specs")
        spec = _from_file(Path(target))
    else:
        known = ", ".join(NAMED)
        raise InputError(f"there is no specification {target!r}", f"the built-in ones are: {known}; or give a FILE.py")
    return Loaded(target, spec, lower(spec), fault)


def built_in(name: str) -> Spec:
    """A built-in specification by name, not yet lowered."""
    spec = importlib.import_module(f"{PACKAGE}.specs.{CONTRACTS.get(name, name)}").SPEC
    assert isinstance(spec, Spec)
    return spec


def _built_in_with(name: str, fault: Fault) -> Spec:
    with _faulty(fault):
        spec = built_in(name)
        _resolve_annotations(spec)
        return spec


def model_modules(names: Sequence[str], fault: Fault | None = None) -> list[ModuleType]:
    """Modules of the model by name, loaded together; with a fault, afresh and beside the originals."""
    if fault is None:
        return [importlib.import_module(f"{PACKAGE}.model.{name}") for name in names]
    with _faulty(fault):
        modules = [importlib.import_module(f"{PACKAGE}.model.{name}") for name in names]
        # As in _resolve_annotations: a record's annotations are read in the modules that are current at that time.
        for module in [module for name, module in sys.modules.items() if _depends_on_the_model(name)]:
            for thing in list(vars(module).values()):
                if isinstance(thing, type) and issubclass(thing, Record) and thing is not Record:
                    thing.field_types()
        return modules


@contextlib.contextmanager
def _faulty(fault: Fault) -> Iterator[None]:
    """The modules of the model with a fault in one of them, in place of the originals."""
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
        yield


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
    _forget_the_model()
    try:
        yield
    finally:
        _forget_the_model()
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


def _forget_the_model() -> None:
    """Take the modules of the model away, also from their packages, where `from . import lru` would find them."""
    for name in [name for name in sys.modules if _depends_on_the_model(name)]:
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        vars(sys.modules[parent]).pop(child, None)


def _depends_on_the_model(name: str) -> bool:
    """Whether a module is a kernel part (model.x) or its properties (specs.x), which a fault may reach."""
    parts = name.removeprefix(PACKAGE + ".").split(".")
    return (
        name.startswith(PACKAGE + ".")
        and len(parts) == 2
        and parts[0] in ("model", "specs")
        and parts[1] not in ("lang", "faults", "loading", "stateful", "contracts", "recorded")
    )


def _from_file(path: Path) -> Spec:
    text = _read(path)
    module = ModuleType(f"kmemspec_user_{path.stem}")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module
    _execute(module, text, str(path.resolve()))
    specs = list({id(thing): thing for thing in vars(module).values() if isinstance(thing, Spec)}.values())
    abstract = [thing.refinement.abstract for thing in specs if thing.refinement is not None]
    specs = [thing for thing in specs if not any(thing is other for other in abstract)]
    own = [thing for thing in specs if thing.state.__module__ == module.__name__] or specs
    if len(own) != 1:
        raise InputError(f"{path} has {len(own)} specifications", "define exactly one Spec in it: SPEC = Spec(…)")
    return own[0]


def _read(path: Path) -> str:
    remedy = "give a Python file with a Spec in it"
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file" if path.exists() else f"{path} does not exist", remedy)
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", remedy)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", remedy) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text", "save it as UTF-8") from None
    except ValueError:
        raise InputError(f"{str(path)!r} is not the name of a file", remedy) from None


def _execute(module: ModuleType, text: str, filename: str) -> None:
    """Run a module's text so that its source can be found again; any error becomes one InputError line."""
    linecache.cache[filename] = (len(text), None, io.StringIO(text).readlines(), filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            code = compile(text, filename, "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except SyntaxError as error:
        if error.filename not in (None, filename):
            line = _line(error, filename)
            raise InputError(f"{filename}:{line}: {error.filename}: {error.msg}", "correct what it imports") from None
        line = error.lineno or _line_of_null(text)
        raise InputError(f"{filename}:{line}: {error.msg}", "correct the syntax") from None
    except RecursionError as error:
        line = _line(error, filename) or _line_of_longest_statement(text)
        message = f"{filename}:{line}: this is nested too deeply for Python"
        raise InputError(message, "give names to parts of it, line by line") from None
    except SpecError as error:
        if error.position.line:
            raise
        here = ast.Pass(lineno=_line(error, filename), col_offset=0)
        raise source.refusal(filename, here, error.code, error.message, error.remedy) from None
    except (AnnotationError, InputError) as error:
        raise InputError(f"{filename}:{_line(error, filename)}: {error.message}", error.remedy) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
        raise InputError(
            f"{filename}:{_line(error, filename)}: {what}", "the module must import without errors"
        ) from None


def _line(error: BaseException, filename: str) -> int:
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    return lines[-1] if lines else 0


def _line_of_null(text: str) -> int:
    return text.partition("\0")[0].count("\n") + 1


def _line_of_longest_statement(text: str) -> int:
    """The compiler does not say where it ran out of stack; the statement with the most tokens is the likely place."""
    longest, best, start, count = 0, 1, 1, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        count = count + 1 if count else 1
        start = token.start[0] if count == 1 else start
        if token.type == tokenize.NEWLINE:
            longest, best = max((longest, best), (count, start), key=lambda pair: pair[0])
            count = 0
    return best


__all__ = ["BUILT_IN", "CONTRACTS", "NAMED", "InputError", "Loaded", "SpecError", "load"]
