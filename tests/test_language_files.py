"""Hostile specification files and scopes: whatever a file holds, loading it ends with a program or with one line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError, ScopeError, SpecError
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.spec import check_layout
from kmemspec.specs import loading

PRELUDE = """from __future__ import annotations
import enum, dataclasses
from typing import Annotated, Optional
from kmemspec.model.lang import *

Cell = Annotated[int, Sort("cell", "cells")]

class M(Record):
    x: Annotated[int, Range(0, 9)]
    p: Cell | None

def init(m: M) -> None:
    pass

@action
def act(m: M) -> None:
    m.x = 1
"""
SPEC = 'SPEC = Spec("tiny", M, init, (act,), parameters=(Parameter("cells", 3, "cells", least=1, most=10**9),){more})\n'
TINY = PRELUDE + SPEC.format(more="")


def load(folder: Path, text: str | bytes) -> loading.Loaded:
    path = folder / "tiny.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return loading.load(str(path))


def refusal(folder: Path, text: str | bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            load(folder, text)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.remedy
    return line


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "has 0 specifications"),
    "two specifications": (TINY + "B = Spec('b', M, init, (act,))\n", "has 2 spec"),
    "syntax": (TINY + "def f(:\n", "tiny.py:19: "),
    "indentation": (TINY + "  x = 1\n", "tiny.py:19: "),
    "tabs and blanks": (TINY + "if 1:\n\tx = 1\n        y = 2\n", "tiny.py:21: "),
    "null byte": (TINY + "x = '\0'\n", "tiny.py:19: "),
    "latin-1": (TINY.encode() + b"# \xe9\n", "is not UTF-8"),
    "binary": (bytes(range(256)), "is not UTF-8"),
    "raises": (TINY + "1 / 0\n", "tiny.py:19: ZeroDivisionError"),
    "exits": (TINY + "raise SystemExit(3)\n", "tiny.py:19: SystemExit: 3"),
    "odd exception": (TINY + "class E(BaseException):\n    pass\nraise E('a\\nb')\n", "tiny.py:21: E: a b"),
    "imports nothing": (TINY + "import no_such_module\n", "tiny.py:19: ModuleNotFoundError"),
    "long sum": (TINY.replace("m.x = 1", "m.x = " + "1 + " * 5000 + "1"), "tiny.py:17: "),
    "long sum of a bounded function": (
        TINY.replace("@action", "@action\n@bounded(1)").replace("m.x = 1", "m.x = " + "1 + " * 900 + "1"),
        "tiny.py:",
    ),
    "sum": (TINY.replace("m.x = 1", "m.x = " + "1 + " * 500 + "1"), "tiny.py:17: "),
    "deep calls": (
        TINY.replace(
            "def act",
            "def act(m: M) -> None:\n    f0(m)\n"
            + "".join(f"def f{n}(m: M) -> None:\n    f{n + 1}(m)\n" for n in range(600))
            + "def f600(m: M) -> None:\n    m.x = 1\ndef unused",
        ),
        "called too deep",
    ),
    "many brackets": (TINY + "x = " + "(" * 5000 + ")" * 5000, "tiny.py:19: too many nested"),
    "not a record": (
        TINY.replace("init, (act,)", "init, (act,), 3").replace("M, init", "int, init"),
        "the state of the Spec",
    ),
    "not a function": (TINY.replace("M, init", "M, len"), "the init of the Spec"),
    "not a tuple": (TINY.replace("(act,)", "act"), "the actions of the Spec"),
    "not properties": (TINY.replace("(act,)", "(act,), (act,)"), "the properties of the Spec"),
    "a parameter twice": (PRELUDE + SPEC.format(more=", derived={'cells': len}"), "is not a name of its own"),
    "a parameter without sense": (TINY.replace('"cells", 3', '"cells", 0'), "least <= default <= most"),
    "no name": (TINY.replace('"tiny"', '""'), "the name of the Spec"),
    "too few arguments": (PRELUDE + "SPEC = Spec('tiny')\n", "tiny.py:18: TypeError"),
    "dataclass": (TINY.replace("class M", "@dataclasses.dataclass\nclass M"), "the record defines __init__"),
    "slots": (TINY.replace("(Record):\n", "(Record):\n    __slots__ = ('x', 'p')\n"), "a field has a default"),
    "not annotated": (TINY.replace("    x: Annotated[int, Range(0, 9)]", "    x = 1"), "has no field x"),
    "a broken annotation": (TINY.replace("p: Cell | None", "p: Array[Cell]"), "tiny.py:8: an annotation of M"),
    "an action that is a method": (TINY.replace("(act,)", "(M.field_types,)"), "the actions of the Spec"),
    "a bounded loop without a scope": (
        TINY.replace(
            "    m.x = 1",
            "    n = f(1)\n@bounded('cells')\ndef f(n: int) -> int:\n    while n < 3:\n        n += 1\n    return n",
        ),
        "tiny.py:19: ",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_refused_file(tmp_path: Path, name: str) -> None:
    text, words = FILES[name]
    assert words in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "target", ["nothing.py", "nothing", "/dev/null", "/dev/zero", "/", "a\0b.py", "x/" * 3000 + ".py"]
)
def test_refused_target(target: str) -> None:
    with pytest.raises(InputError) as caught:
        loading.load(target)
    assert caught.value.remedy


def test_too_large_a_file(tmp_path: Path) -> None:
    assert "is larger than" in refusal(tmp_path, TINY + "#" * (5 << 20))


ACCEPTED = {
    "as it is": TINY,
    "carriage returns": TINY.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + TINY,
    "tabs": TINY.replace("    ", "\t"),
    "form feed": TINY.replace("@action", "\f\n@action"),
    "annotations evaluated": TINY.replace("from __future__ import annotations\n", ""),
    "Optional": TINY.replace("Cell | None", "Optional[Cell]"),
    "inherited fields": TINY.replace("class M(Record):", "class Base(Record):").replace(
        "def init", "class M(Base):\n    y: bool\n\ndef init"
    ),
    "one spec, two names": TINY + "AGAIN = SPEC\n",
    "a function redefined": TINY.replace("@action", "@action\ndef act(m: M) -> None:\n    m.x = 7\n\n@action"),
    "a chain of 300": TINY.replace("m.x = 1", "assert " + " and ".join(["m.x < 9"] * 300)),
    "a module's function": TINY.replace(
        "def act",
        "def act(m: M) -> None:\n    m.x = here.nine()\ndef nine() -> int:\n    return 1\n"
        "import sys\nhere = sys.modules[__name__]\ndef unused",
    ),
    "words imported as a module": TINY.replace("@action", "from kmemspec.model import lang\n@lang.action").replace(
        "m.x = 1", "m.x = lang.choose(range(1, 2))"
    ),
    "a bounded loop without a scope": TINY.replace(
        "    m.x = 1",
        "    m.x = f(1) - 2\n@bounded(3)\ndef f(n: int) -> int:\n    while n < 3:\n        n += 1\n    return n",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_file(tmp_path: Path, name: str) -> None:
    loaded = load(tmp_path, ACCEPTED[name])
    machine = PythonMachine(loaded.spec, loaded.program, loaded.spec.scope(None))
    outcome = machine.step(machine.initial_states()[0].state, 0, ())
    assert outcome.state is not None
    assert outcome.state[0] == (0 if "and" in ACCEPTED[name] and "chain" in name else 1)


def test_caret_counts_characters(tmp_path: Path) -> None:
    """Columns of syntax trees are bytes, and a tab is as wide as the terminal likes."""
    with pytest.raises(SpecError) as caught:
        load(tmp_path, TINY.replace("    m.x = 1", "\tgröße = 1 + y"))
    _, line, caret = caught.value.with_caret().splitlines()
    assert line[caret.index("^")] == "y"


SCOPES: dict[str, tuple[str, str, str]] = {
    "unknown parameter": ("", "pages=3", "no scope parameter 'pages'"),
    "unknown scope": ("", "huge", "no scope 'huge'"),
    "empty item": ("", "cells=3,", "no scope ''"),
    "not a number": ("", "cells=3.5", "is not name=number"),
    "very long number": ("", "cells=" + "9" * 5000, "is not name=number"),
    "zero": ("", "cells=0", "is outside 1..1000000000"),
    "negative": ("", "cells=-1", "is outside 1..1000000000"),
    "beyond": ("", "cells=1000000001", "is outside 1..1000000000"),
    "not a whole number": (", scopes={'half': {'cells': 1.5}}", "half", "is 1.5"),
    "a truth value": (", scopes={'half': {'cells': True}}", "half", "is True"),
    "requirement": (
        ", requirements=(Requirement(lambda s: s['cells'] > 5, 'five < cells'),)",
        "cells=2",
        "five < cells",
    ),
    "requirement raises": (", requirements=(Requirement(lambda s: s['pages'] > 5, 'r'),)", "cells=2", "KeyError"),
    "derived divides by zero": (", derived={'d': lambda s: 1 // (s['cells'] - 2)}", "cells=2", "ZeroDivisionError"),
    "derived shifts back": (", derived={'d': lambda s: 1 << -s['cells']}", "cells=2", "ValueError"),
    "derived is no number": (", derived={'d': lambda s: s['cells'] / 2}", "cells=2", "is 1.0"),
    "derived changes the scope": (", derived={'d': lambda s: s.clear()}", "cells=2", "is None"),
}


@pytest.mark.parametrize("name", SCOPES)
def test_refused_scope(tmp_path: Path, name: str) -> None:
    more, scope, words = SCOPES[name]
    spec = load(tmp_path, PRELUDE + SPEC.format(more=more)).spec
    with pytest.raises(ScopeError) as caught:
        spec.scope(scope)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


LAYOUTS: dict[str, tuple[str, Mapping[str, int], str]] = {
    "no element": ("Array[Annotated[int, Sort('c', 'cells-3')], bool]", {"cells": 3}, "= 0 elements"),
    "empty range": ("Annotated[int, Range(4, 'cells')]", {"cells": 3}, "empty range 4..3"),
    "no bits": ("Annotated[int, Machine('cells-3')]", {"cells": 3}, "has 0 bits"),
    "too many bits": ("Annotated[int, Machine('cells')]", {"cells": 65}, "has 65 bits"),
    "negative reference": ("Annotated[int, Range('cells-9', 3)] | None", {"cells": 3}, "let it begin at 0"),
    "beyond 64 bits": (f"Annotated[int, Range(0, {1 << 64})]", {"cells": 3}, "64 bits"),
    "too large": ("Array[Cell, Array[Cell, bool]]", {"cells": 10**9}, "elements"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_refused_layout(tmp_path: Path, name: str) -> None:
    annotation, sizes, words = LAYOUTS[name]
    loaded = load(tmp_path, TINY.replace("    p: Cell", f"    y: {annotation}\n    p: Cell"))
    with pytest.raises(ScopeError, match=words):
        check_layout(loaded.program.schema, loaded.spec.resolve(sizes))
