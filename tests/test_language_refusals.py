# ruff: noqa: E501 (a case is a line)
"""What the language refuses: every refusal of the front end, by a file a user could have written.

Each case is a tiny specification file in which «…» marks what the caret must point to. `expect_language/refusals.txt`
holds every message as a user sees it, for a person to read; `KMEMSPEC_ACCEPT=1 pytest` writes it anew.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path

import pytest
from kmemspec.model import lang
from kmemspec.model.lang import sorts
from kmemspec.model.lang.errors import InputError, SpecError
from kmemspec.specs import loading

EXPECTED = Path(__file__).parent / "expect_language" / "refusals.txt"
SOURCES = Path(lang.__file__).parent

PRELUDE = """from __future__ import annotations
import enum
import functools
from typing import Annotated
from kmemspec.model.lang import *

Cell = Annotated[int, Sort("cell", "cells")]
Count = Annotated[int, Range(0, "cells")]

class Color(enum.IntEnum):
    RED = 0
    GREEN = 1

class Node(Record):
    value: Count
    next: Cell | None
    flag: bool

class M(Record):
    size: Annotated[int, FromScope("cells")]
    count: Count
    first: Cell | None
    flag: bool
    color: Color
    nodes: Array[Cell, Node]
    owned: Annotated[Array[Cell, bool], GHOST]
    one: Node

TABLE = [1, 2]

def init(m: M) -> None:
    pass

def bump(m: M) -> int:
    m.count = 1
    return 1

def quiet(m: M) -> None:
    pass

def value_of(node: Node) -> int:
    return node.value

def twice(left: int, right: int) -> int:
    return left + right

def wants(cell: Cell) -> None:
    pass

"""
CELLS = 'parameters=(Parameter("cells", 3, "the cells"),)'
SPEC = f"""
SPEC = Spec("tiny", M, init, (act,), {CELLS})
"""
SPEC_WITH_PROPERTY = f"""
SPEC = Spec("tiny", M, init, (act,), (holds,), {CELLS})
"""
ACT = """
@action
def act(m: M) -> None:
    pass
"""


LEADS = '@leads_to("L", fair=(act,))\n«def holds(m: M) -> Leads:»'


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def act(text: str) -> str:
    """A file whose action has this body."""
    return f"{PRELUDE}@action\ndef act(m: M, cell: Cell) -> None:\n{indented(text)}{SPEC}"


def turning(text: str) -> str:
    return f'{PRELUDE}@action\n@bounded("cells")\ndef act(m: M) -> None:\n{indented(text)}{SPEC}'


def holds(text: str, header: str = '@invariant("I1")\ndef holds(m: M) -> Clauses:') -> str:
    """A file with a property."""
    return f"{PRELUDE}{ACT}\n{header}\n{indented(text)}{SPEC_WITH_PROPERTY}"


def moved(text: str) -> str:
    """A file whose property is about a part of the machine."""
    about = holds("yield clause('c', m.flag)")
    return about.replace("\nSPEC = ", f"\n{text}\nSPEC = ", 1)


def functions(text: str, ending: str = SPEC) -> str:
    return f"{PRELUDE}{text}{ending}"


def leading(decorator: str) -> str:
    """A file with a leads-to."""
    return functions(f"{ACT}{decorator}\ndef holds(m: M) -> Leads:\n    return leads(when=True, then=True)\n")


def method(member: str, body: str) -> str:
    """A file with a record `m.part` whose class has this member, and an action with this body."""
    header = f"class Part(Record):\n    x: Count\n{indented(member)}\nclass M(M):\n    part: Part\n"
    return functions(f"{header}def init(m: M) -> None:\n    pass\n@action\ndef act(m: M) -> None:\n{indented(body)}")


def record(field: str) -> str:
    return functions(f"class M(Record):\n    {field}\n    count: Count\n{ACT}")


def refined(mapping: str, step: str = "    pass", *, steps: str = "{act: step}") -> str:
    return functions(
        f"""
class Other(Record):
    total: Count
def other_init(other: Other) -> None:
    pass
@action
def other_act(other: Other) -> None:
    pass
OTHER = Spec("other", Other, other_init, (other_act,), {CELLS})
{ACT}
{mapping}
{step}
SPEC = Spec("tiny", M, init, (act,), {CELLS}, refinement=Refinement("R", OTHER, mapping, {steps}))
""",
        "",
    )


MAPPING = "def mapping(m: M, other: Other) -> None:\n    other.total = m.count\n"
STEP = "def step(other: Other) -> None:\n    pass\n"
# An optional reference compared with a number that may be negative stands twice: twenty levels are a million nodes.
DOUBLED = "m.flag"
for _ in range(20):
    DOUBLED = f"(m.first if {DOUBLED} else None) == m.count - 1"

CASES: list[tuple[str, str]] = [
    # --- expressions that Python has and the language has not
    ("lambda", act("x = «lambda: 1»")),
    ("list", act("x = «[1]»")),
    ("tuple", act("x = «(1, 2)»")),
    ("set", act("x = «{1}»")),
    ("dict", act("x = «{}»")),
    ("list-comprehension", act("x = «[1 for c in range(2)]»")),
    ("set-comprehension", act("x = «{1 for c in range(2)}»")),
    ("dict-comprehension", act("x = «{1: 2 for c in range(2)}»")),
    ("generator", act("x = «(1 for c in range(2))»")),
    ("f-string", act('x = «f"{m.count}"»')),
    ("walrus", act("m.count = («n := 3»)")),
    ("star", act("x = min(1, «*TABLE»)")),
    ("star", act("x = twice(«*TABLE»)")),
    ("star", act("x = twice(«**TABLE»)")),
    ("yield", act("x = «yield»")),
    ("yield", act('«yield clause("a", True)»')),
    ("yield-from", holds("x = «yield from TABLE»")),
    ("slice", act("x = m.nodes[«0:2»]")),
    ("float", act("x = «1.5»")),
    ("string", act("x = «'red'»")),
    ("constant", act("x = «b'red'»")),
    ("constant", act("x = «...»")),
    ("big-constant", act("x = «9223372036854775808»")),
    ("big-constant", functions("HUGE = 1 << 70\n@action\ndef act(m: M) -> None:\n    x = «HUGE»\n")),
    ("operator", act("x = «m.count / 2»")),
    ("operator", act("x = «m.count ** 2»")),
    ("big-shift", act("x = «1 << 64»")),
    ("in", act("require(«m.count in (1, 2)»)")),
    ("nested-chain", act("require(0 < («1 if 0 < m.count < 2 else 0») < 2)")),
    ("too-deep", act("x = " + "(" * 63 + "«" + "(" * 16 + "m.count + 1" + ") + 1" * 79)),
    # --- kinds
    ("truth", act("if «m.count»:\n    pass")),
    ("truth", act("require(not «m.first»)")),
    ("none-number", act("x = 1 + «None»")),
    ("boolean-number", act("x = 1 + «m.flag»")),
    ("not-boolean", act("«m.flag» = 1")),
    ("boolean-integer", act("«m.count» = True")),
    ("maybe-negative", act("x: Cell | None = «cell - 1»")),
    ("maybe-negative", act("wants(«cell - 1»)")),
    ("maybe-negative", act("x: Cell = «cell - 1»")),
    ("maybe-none", act("x = twice(1, «m.first»)")),
    ("maybe-none", act("p = m.first\nif p is None:\n    p = m.nodes[0].next\nx = twice(1, «p»)")),
    (
        "maybe-none",
        act("p = m.first\nrequire(p is not None)\nfor n in range(2):\n    x = twice(1, «p»)\n    p = m.first"),
    ),
    (
        "maybe-none",
        functions("def f(m: M) -> int:\n    return «m.first»\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"),
    ),
    ("compare-kinds", act("require(«m.flag == 1»)")),
    ("equals-none", act("require(«m.first == None»)")),
    ("is", act("require(«m.color is Color.RED»)")),
    ("never-none", act("require(«m.count is None»)")),
    ("mixed-conditional", act("x = «1 if m.flag else True»")),
    ("record-value", act("x = 1 + «m.one»")),
    ("record-value", act("x = twice(1, «m.one»)")),
    ("record-expected", act("x = value_of(«m.count»)")),
    ("record-type", act("x = value_of(«m»)")),
    ("no-fields", act("x = «m.count.value»")),
    ("no-field", act("x = «m.cout»")),
    ("no-field", act("«m.cout» = 1")),
    ("not-array", act("x = «m.count[0]»")),
    ("no-member", act("x = «Color.BLUE»")),
    # --- names
    ("unknown-name", act("x = «y»")),
    ("unassigned", act("if m.flag:\n    x = 1\nm.count = «x»")),
    ("unassigned", act("for n in range(3):\n    x = 1\nm.count = «x»")),
    ("unassigned", functions("x = 1\n@action\ndef act(m: M) -> None:\n    m.count = «x»\n    x = 2\n")),
    ("function-value", act("x = «twice»")),
    ("global-state", act("x = «TABLE»")),
    ("record-variable", act("m.one.value = 1\nx = m.one\n«x = 1»")),
    ("record-variable", act("x = 1\n«x = m.one»")),
    ("record-variable", act("x = m.one\n«x = m.nodes[0]»")),
    ("record-variable", act("x = m.one\nfor «x» in range(2):\n    pass")),
    ("kind-change", act("x = 1\n«x = m.first»")),
    ("kind-change", act("x: int = 1\n«x: Cell | None = 2»")),
    ("kind-change", act("x = True\nfor «x» in range(2):\n    pass")),
    # --- calls
    ("call", act("x = «TABLE[0]()»")),
    ("call-value", act("x = 1\ny = «x()»")),
    ("method", act("x = «m.count.run()»")),
    ("method", act("«Color.RED.run()»")),
    ("method", act("«Node.run(m.one)»")),
    ("no-method", act("x = «m.run()»")),
    ("no-method", act("«m.nodes[0].run()»")),
    ("no-method", method("limit = 3", "«m.part.limit()»")),
    ("method-value", method("def run(self) -> None:\n    pass", "x = «m.part.run»")),
    ("argument-count", method("def run(self, x: int) -> None:\n    pass", "«m.part.run()»")),
    ("keyword", method("def run(self, x: int) -> None:\n    pass", "m.part.run(1, «self=m.part»)")),
    ("impure-inside", method("def run(self) -> bool:\n    self.x = 1\n    return True", "m.flag = not «m.part.run()»")),
    ("record-type", method("def run(self, other: Node) -> None:\n    pass", "m.part.run(«m.part»)")),
    ("no-self", method("«def run() -> None:»\n    pass", "m.part.run()")),
    ("no-self", method("def run(«self: Node») -> None:\n    pass", "m.part.run()")),
    ("no-annotation", method("def run(self, «x») -> None:\n    pass", "m.part.run(1)")),
    ("super", method("def run(self) -> None:\n    «super»().run()", "m.part.run()")),
    ("super", method("def run(self) -> bool:\n    return «super»(Part, self).run()", "x = m.part.run()")),
    ("private-name", method("def run(self) -> int:\n    return «__get»(self)", "x = m.part.run()")),
    ("private-name", method("def run(self) -> int:\n    return «self.__x»", "x = m.part.run()")),
    ("private-name", method("def run(self, «__x: int») -> None:\n    pass", "m.part.run(1)")),
    ("decorator", method("@«action»\ndef run(self) -> None:\n    pass", "m.part.run()")),
    ("method-role", method("@action\n«def run(self: Part) -> None:»\n    pass", "pass").replace("(act,)", "(Part.run,)")),
    ("method-role", method("«def run(self: M) -> None:»\n    pass", "pass").replace("init, (act,)", "Part.run, (act,)")),
    ("recursion", method("«def run(self) -> None:»\n    self.run()", "m.part.run()")),
    ("foreign-call", act("x = «abs(1)»")),
    (
        "foreign-call",
        functions("@functools.cache\ndef f() -> int:\n    return 1\n@action\ndef act(m: M) -> None:\n    x = «f()»\n"),
    ),
    ("argument-count", act("x = «twice(1)»")),
    ("argument-count", act("x = «twice(1, 2, 3)»")),
    ("keyword", act("x = twice(1, «rihgt=2»)")),
    ("keyword", act("x = twice(1, «left=2»)")),
    ("keyword-order", act("x = «twice(right=1, left=2)»")),
    ("no-result", act("x = «quiet(m)»")),
    ("no-result", act("x = 1 + «quiet(m)»")),
    ("impure-inside", act("x = 1 + «bump(m)»")),
    ("choose-inside", act("x = 1 + «choose(range(2))»")),
    ("choose-unused", act("«choose(range(2))»")),
    ("choose", act("x = «choose(1, 2)»")),
    ("require-inside", act("x = «require(True)»")),
    ("require", act("«require(True, True)»")),
    ("clause-inside", act('«clause("a", True)»')),
    ("clause-inside", act('x = «clause("a", True)»')),
    ("len", act("x = «len(TABLE, 1)»")),
    ("len", act("x = «len(m.one)»")),
    ("extremum", act("x = «max(1)»")),
    ("cast-width", act("x = «unsigned(1, m.count)»")),
    ("cast-width", act("x = «unsigned(1, 0)»")),
    ("cast-width", act("x = «signed(1, True)»")),
    ("range-value", act("x = «range(3)»")),
    ("range-step", act("x = all(True for c in «range(0, 9, 2)»)")),
    ("range-step", act("for c in «range(0, 9, m.count)»:\n    pass")),
    ("indices", act("for c in «indices(m.one)»:\n    pass")),
    ("iterate", act("for c in «m.nodes»:\n    pass")),
    ("quantifier", act("require(«all(TABLE)»)")),
    ("same-variable", act("require(any(True for «c» in range(2) for c in range(c)))")),
    ("unpack", act("require(any(True for «a, b» in range(2)))")),
    ("unpack", act("for «a, b» in range(2):\n    pass")),
    ("unpack", act("«a, b» = 1, 2")),
    # --- statements
    ("with", act("«with m.one:\n    pass»")),
    ("try", act("«try:\n    pass\nfinally:\n    pass»")),
    ("try", act("«try:\n    pass\nexcept* ValueError:\n    pass»")),
    ("raise", act("«raise ValueError»")),
    ("import", act("«import os»")),
    ("import", act("«from os import path»")),
    ("global", act("«global count»")),
    ("del", act("«del m.first»")),
    ("nested-function", act("«def inner() -> None:\n    pass»")),
    ("nested-class", act("«class Inner:\n    pass»")),
    ("async", act("«async def inner() -> None:\n    pass»")),
    ("async", functions("@action\n«async def act(m: M) -> None:»\n    pass\n")),
    ("match", act("«match m.count:\n    case 1:\n        pass»")),
    ("chained-assignment", act("«x = y = 1»")),
    ("declaration", act("«x: int»")),
    ("declaration", act("«m.count: int = 1»")),
    ("target", act("«m.count.x» = 1")),
    ("assign-constant", act("«m.size» = 1")),
    ("assign-record", act("«m.nodes[0]» = 1")),
    ("no-effect", act("«m.count»")),
    ("no-effect", act("«max(1, 2)»")),
    ("one-line", act("if m.flag: «m.count = 1»")),
    ("unreachable", act("return\n«m.count = 1»")),
    (
        "unreachable",
        act("for n in range(2):\n    if m.flag:\n        break\n    else:\n        continue\n    «m.count = 1»"),
    ),
    ("unbounded", act("«while m.flag:\n    m.flag = False»")),
    (
        "bounded-record",
        functions(
            "@bounded('cells')\n«def f(n: int) -> int:»\n    while n < 3:\n        n += 1\n    return n\n"
            "@action\ndef act(m: M) -> None:\n    x = f(1)\n"
        ),
    ),
    ("while-else", turning("«while m.flag:\n    m.flag = False\nelse:\n    pass»")),
    ("for-else", act("«for n in range(2):\n    pass\nelse:\n    pass»")),
    ("assert-message", act("assert m.flag, «m.count»")),
    ("return-none", act("«return 1»")),
    ("return-value", functions("def f(m: M) -> int:\n    «return»\n@action\ndef act(m: M) -> None:\n    x = f(m)\n")),
    (
        "too-deep",
        act(
            "if m.flag:\n    m.count = 0\n" + "".join(f"elif m.count == {n}:\n    m.count = 0\n" for n in range(80))
        ).replace("elif m.count == 60:", "elif «m».count == 60:"),
    ),
    (
        "missing-return",
        functions(
            "«def f(m: M) -> int:»\n    if m.flag:\n        return 1\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"
        ),
    ),
    # --- functions
    ("recursion", functions("«def f(m: M) -> int:»\n    return f(m)\n@action\ndef act(m: M) -> None:\n    x = f(m)\n")),
    (
        "recursion",
        functions(
            "«def f(n: Node, m: M) -> int:»\n    return g(m.nodes[0], m)\ndef g(n: Node, m: M) -> int:\n"
            "    return f(n, m)\n@action\ndef act(m: M) -> None:\n    x = f(m.one, m)\n"
        ),
    ),
    ("decorator", functions("def log(f):\n    return f\n@«log»\n@action\ndef act(m: M) -> None:\n    pass\n")),
    (
        "decorator",
        functions(
            "def log(f):\n    @functools.wraps(f)\n    def run(*a):\n        return f(*a)\n    return run\n"
            "@«log»\ndef f(m: M) -> int:\n    return 1\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"
        ),
    ),
    (
        "closure",
        functions(
            "def make(n):\n    @action\n    «def act(m: M) -> None:»\n        m.count = n\n    return act\nact = make(1)\n"
        ),
    ),
    ("no-source", functions("«f = lambda m: 1»\n@action\ndef act(m: M) -> None:\n    x = f(m)\n")),
    ("not-a-function", functions("@action\n«@bounded(3)»\n@invariant('I')\ndef act(m: M) -> None:\n    pass\n")),
    (
        "parameters",
        functions("«def f(m: M, n: int = 1) -> int:»\n    return n\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"),
    ),
    ("parameters", functions("@action\n«def act(m: M, *cells: Cell) -> None:»\n    pass\n")),
    ("parameters", holds("return True", '@invariant("I1")\n«def holds(m: M, *, n: int = 1) -> bool:»')),
    ("no-annotation", functions("@action\ndef act(m: M, «cell») -> None:\n    pass\n")),
    ("no-annotation", functions("@action\n«def act(m: M):»\n    pass\n")),
    ("annotation", functions("@action\n«def act(m: M, cell: Sell) -> None:»\n    pass\n")),
    ("annotation", functions("@action\ndef act(m: M, «cell: float») -> None:\n    pass\n")),
    ("annotation", functions("@action\n«def act(m: M, n: None) -> None:»\n    pass\n")),
    ("annotation", act("x: «Sell» = 1")),
    ("annotation", act("x: «float» = 1")),
    ("annotation", act("x: «Node» = m.one")),
    (
        "annotation",
        functions("class Gap(enum.IntEnum):\n    LOW = -1\n@action\ndef act(m: M) -> None:\n    m.first = «Gap.LOW»\n"),
    ),
    (
        "returns-record",
        functions("«def f(m: M) -> Node:»\n    return m.one\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"),
    ),
    ("too-large", functions(f"@action\n«def act(m: M) -> None:»\n    x = {DOUBLED}\n")),
    (
        "ghost",
        functions("def f(m: M) -> bool:\n    return «m.owned[0]»\n@action\ndef act(m: M) -> None:\n    x = f(m)\n"),
    ),
    # --- actions
    ("no-action", functions("«def act(m: M) -> None:»\n    pass\n")),
    ("action-state", functions("@action\n«def act() -> None:»\n    pass\n")),
    ("action-state", functions("@action\n«def act(cell: Cell) -> None:»\n    pass\n")),
    ("record-type", functions("@action\n«def act(m: Node) -> None:»\n    pass\n")),
    ("action-parameter", functions("@action\n«def act(m: M, n: int) -> None:»\n    pass\n")),
    ("action-result", functions("@action\n«def act(m: M) -> int:»\n    return 1\n")),
    # --- properties
    ("property-writes", holds("«m.count» = 1\nyield clause('a', True)")),
    ("property-writes", holds("x = «bump(m)»\nyield clause('a', True)")),
    ("property-writes", holds("«bump(m)»\nyield clause('a', True)")),
    ("property-chooses", holds("x = «choose(range(2))»\nyield clause('a', True)")),
    ("property-requires", holds("«require(True)»\nyield clause('a', True)")),
    ("yield-clause", holds("«yield True»")),
    ("yield-clause", holds("«yield»")),
    ("clause-name", holds("yield «clause(m.count, True)»")),
    ("clause-elements", holds("yield clause('a', True)\nyield «clause('a', True, 1)»")),
    ("return-clause", holds("yield clause('a', True)\n«return True»")),
    ("return-value", holds("if m.flag:\n    «return»\nreturn True")),
    ("missing-return", holds("if m.flag:\n    return True", '@invariant("I1")\n«def holds(m: M) -> bool:»')),
    ("no-clause", holds("pass", '@invariant("I1")\n«def holds(m: M) -> bool:»')),
    (
        "property-place",
        f"{PRELUDE}{ACT}\n@invariant('I1')\n«def holds(m: M) -> bool:»\n    return m.flag\n"
        f"SPEC = Spec('tiny', M, init, (act,), within('flag', holds), {CELLS})",
    ),
    ("property-parameters", holds("return True", '@invariant("I1")\n«def holds(m: M, n: int) -> bool:»')),
    ("property-parameters", holds("return True", '@step_property("I1")\n«def holds(m: M) -> bool:»')),
    (
        "property-parameters",
        functions(
            '@action\ndef act(m: M, after: Cell) -> None:\n    pass\n@step_property("S", action=act)\n'
            "«def holds(before: M, after: M) -> bool:»\n    return True\n",
            SPEC_WITH_PROPERTY,
        ),
    ),
    (
        "step-action",
        holds(
            "return True",
            '@action\ndef other(m: M) -> None:\n    pass\n@step_property("S", action=other)\n'
            "«def holds(before: M, after: M) -> bool:»",
        ),
    ),
    # --- leads-to
    ("leads-result", holds("return leads(when=m.flag, then=True)", LEADS.replace("-> Leads", "-> bool"))),
    ("leads-state", holds("return leads(when=True, then=True)", LEADS.replace("m: M", "cell: Cell"))),
    ("leads-parameter", holds("return leads(when=True, then=True)", LEADS.replace("m: M", "m: M, n: int"))),
    (
        "leads-action",
        holds(
            "return leads(when=True, then=True)",
            f"@action\ndef other(m: M) -> None:\n    pass\n{LEADS.replace('fair=(act,)', 'quiet=(other,)')}",
        ),
    ),
    ("leads-return", holds("«return m.flag»", LEADS.replace("«", "").replace("»", ""))),
    ("leads-return", holds("«return leads(when=m.flag)»", LEADS.replace("«", "").replace("»", ""))),
    ("leads-inside", act("m.flag = «leads(when=True, then=True)»")),
    ("missing-return", holds("if m.flag:\n    return leads(when=True, then=True)", LEADS)),
    ("property-writes", holds("«m.count» = 1\nreturn leads(when=True, then=True)", LEADS.replace("«", "").replace("»", ""))),
    # --- specifications
    (
        "init-parameters",
        functions(f"«def start(m: M, n: int) -> None:»\n    pass\n{ACT}", SPEC.replace("init", "start")),
    ),
    ("no-actions", functions("«def start(m: M) -> None:»\n    pass\n", SPEC.replace("init, (act,)", "start, ()"))),
    (
        "no-state",
        functions(
            "class M(Record):\n    size: Annotated[int, FromScope('cells')]\n«def start(m: M) -> None:»\n    pass\n"
            f"{ACT}",
            SPEC.replace("init", "start"),
        ),
    ),
    ("same-name", functions("@action\n«def act(m: M) -> None:»\n    pass\n", SPEC.replace("(act,)", "(act, act)"))),
    (
        "same-name",
        functions(
            f'{ACT}\n@invariant("I")\n«def holds(m: M) -> bool:»\n    return True\n',
            SPEC_WITH_PROPERTY.replace("(holds,)", "(holds, holds)"),
        ),
    ),
    (
        "unknown-parameter",
        functions(
            f"class M(Record):\n    x: Annotated[int, Range(0, 'pages')]\n«def start(m: M) -> None:»\n    pass\n{ACT}",
            SPEC.replace("init", "start"),
        ),
    ),
    ("step-action", refined(MAPPING, "@action\n«def other(m: M) -> None:»\n    pass\n" + STEP, steps="{other: step}")),
    ("refinement-mapping", refined("«def mapping(m: M) -> None:»\n    pass\n", STEP)),
    ("refinement-step", refined(MAPPING, "«def step(other: Other, n: int) -> None:»\n    pass\n")),
    ("refinement-chooses", refined(MAPPING, "def step(other: Other) -> None:\n    other.total = «choose(range(2))»\n")),
    ("refinement-writes", refined("def mapping(m: M, other: Other) -> None:\n    «m.count» = 1\n", STEP)),
    # --- records
    ("annotation", record("«x: int»")),
    ("annotation", record("«x: float»")),
    ("annotation", functions(f"«class M(Record):»\n    x: Sell\n{ACT}")),
    ("annotation", record("«x: int | str»")),
    ("annotation", record("«x: bool | None»")),
    ("annotation", record("«x: Annotated[int, 3]»")),
    ("annotation", record("«x: Annotated[int, Range(0, 1), Range(0, 2)]»")),
    ("annotation", record("«x: Annotated[int | None, Range(0, 1)]»")),
    ("annotation", record("«x: Annotated[int, Range(-1, 1)] | None»")),
    ("annotation", record("«x: Annotated[int, Range(0, 'a*b')]»")),
    ("annotation", record("«x: Annotated[int, Range(0, 1.5)]»")),
    ("annotation", record("«x: Annotated[int, Sort(1, 2)]»")),
    ("annotation", record("«x: Annotated[int, Sort('cell', 'cells', of=('cell',))]»")),
    ("annotation", record("«x: Array[Cell, M]»")),
    ("annotation", record("«x: M»")),
    ("annotation", record("«x: Array[Annotated[int, Range(1, 2)], bool]»")),
    ("annotation", record("«x: Array[Cell, Annotated[int, FromScope('cells')]]»")),
    ("annotation", record("«x: Annotated[int, FromScope()]»")),
    ("annotation", record("«x: Count = 1»")),
    ("annotation", record("«_x: Count»")),
    ("annotation", record("«x: Count»\n    def __init__(self):\n        pass")),
    ("annotation", record("«x: Count»\n    def x(self) -> None:\n        pass")),
    ("annotation", record("«def _run(self) -> None:»\n        pass")),
    ("annotation", record("«def __run(self) -> None:»\n        pass")),
    ("annotation", record("«def __len__(self) -> int:»\n        return 1")),
    ("annotation", record("@staticmethod\n    «def run() -> None:»\n        pass")),
    ("annotation", record("@classmethod\n    «def run(cls) -> None:»\n        pass")),
    ("annotation", record("@property\n    «def run(self) -> int:»\n        return 1")),
    ("annotation", functions(f"«class M(M):»\n    run = quiet\n{ACT}")),
    ("annotation", functions(f"class Plain:\n    pass\n«class M(M, Plain):»\n    pass\n{ACT}")),
    ("annotation", functions(f"class M(M):\n    «count: Cell»\n{ACT}")),
    ("annotation", functions(f"class Other(Record):\n    x: Count\nclass M(M):\n    «one: Other»\n{ACT}")),
    ("annotation", functions(f"class Big(Node):\n    x: Count\nclass M(M):\n    «nodes: Array[Color, Big]»\n{ACT}")),
    ("annotation", functions(f"class Big(Node):\n    x: Count\nclass M(M):\n    «one: Annotated[Big, GHOST]»\n{ACT}")),
    (
        "annotation",
        functions(
            "class B(Node):\n    x: Count\nclass C(Node):\n    x: Count\nclass MB(M):\n    one: B\nclass MC(M):\n"
            f"    one: C\n«class M(MB, MC):»\n    pass\n{ACT}"
        ),
    ),
    ("annotation", functions(f"class Named(enum.Enum):\n    A = 'a'\nclass M(Record):\n    «x: Named»\n{ACT}")),
    ("annotation", functions("@action\ndef act(m: M, «n: Annotated[int, FromScope('cells')]») -> None:\n    pass\n")),
]
WORDS_AT_IMPORT = [
    ("needs an identifier", functions(f"{ACT}\n«@invariant»\ndef holds(m: M) -> bool:\n    return True\n")),
    (
        "is not an action",
        functions(
            "def f(m: M) -> None:\n    pass\n«@step_property('S', action=f)»\ndef holds() -> bool:\n    return True\n"
        ),
    ),
    (
        "every record has this name",
        functions(f"«class Part(Record):»\n    def field_types(self) -> None:\n        pass\n{ACT}"),
    ),
    ("needs an identifier", functions("«@leads_to»\ndef holds(m: M) -> Leads:\n    return leads(when=True, then=True)\n")),
    ("is not a tuple of actions: init is none", leading("«@leads_to('L', fair=(init,))»")),
    ("is not a tuple of actions: act is none", leading("«@leads_to('L', quiet=act)»")),
    ("is fair and quiet", leading("«@leads_to('L', fair=(act,), quiet=(act,))»")),
    ("makes nothing fair", leading("«@leads_to('L', fair=())»")),
    ("names no field", moved("«MOVED = within('', holds)»")),
    ("cannot move I1", moved("«MOVED = within('one', *within('one', holds))»")),
    ("is not a size", functions("«@bounded»\ndef f(m: M) -> None:\n    pass\n")),
    ("cannot turn", functions("«@bounded(-1)»\ndef f(m: M) -> None:\n    pass\n")),
]
UNREACHABLE = {
    "syntax": "every expression of Python 3.11 is named; a later Python may have more",
    "statement": "every statement of Python 3.11 is named; a later Python may have more",
}


def unmarked(text: str) -> tuple[str, int, int]:
    """The text without marks, and the line and column (in characters) where the first mark was."""
    before = text.partition("«")[0]
    clean = text.replace("«", "").replace("»", "")
    return clean, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1)


def refused(folder: Path, text: str) -> InputError:
    path = folder / "tiny.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        loading.load(str(path))
    return caught.value


def identifiers() -> list[str]:
    return [f"{number}-{code}" for number, (code, _) in enumerate(CASES)]


@pytest.mark.parametrize(("code", "marked"), CASES, ids=identifiers())
def test_refused_with_code_place_and_remedy(tmp_path: Path, code: str, marked: str) -> None:
    text, line, column = unmarked(marked)
    error = refused(tmp_path, text)
    assert isinstance(error, SpecError), error
    assert (error.code, error.position.line, error.position.column) == (code, line, column), error.with_caret()
    assert error.remedy
    assert error.message
    assert "\n" not in str(error)
    assert f"tiny.py:{line}: " in str(error)
    first, source_line, caret = error.with_caret().splitlines()
    assert first == str(error)
    assert source_line.strip() == text.splitlines()[line - 1].strip()
    assert set(caret.strip()) == {"^"}


@pytest.mark.parametrize(("words", "marked"), WORDS_AT_IMPORT)
def test_refused_while_the_file_runs(tmp_path: Path, words: str, marked: str) -> None:
    text, line, _ = unmarked(marked)
    error = refused(tmp_path, text)
    assert words in error.message
    assert f"tiny.py:{line}: " in str(error)
    assert error.remedy


def codes_in_source() -> set[str]:
    """Every code in a call of a refusing function, and in the tables of refused syntax."""
    found: set[str] = set()
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if name in ("refusal", "refusal_of", "refusal_at", "SpecError", "_refused"):
                found |= {
                    item.value for item in node.args[:3] if isinstance(item, ast.Constant) and _is_code(item.value)
                }
            tables = node.values if isinstance(node, ast.Dict) else node.args if name == "get" else []  # type: ignore
            if tables:
                found |= {
                    item.elts[0].value
                    for item in tables
                    if isinstance(item, ast.Tuple) and len(item.elts) == 3 and isinstance(item.elts[0], ast.Constant)
                }
    return found


def _is_code(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z]+(-[a-z]+)*", value) is not None


def test_every_code_of_the_front_end_is_tested() -> None:
    tested = {code for code, _ in CASES}
    assert codes_in_source() - tested == set(UNREACHABLE)
    assert tested <= codes_in_source()
    assert len(tested) >= 80


def test_every_refused_annotation_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: set[tuple[str, str]] = set()
    original = sorts.AnnotationError.__init__

    def noted(self: sorts.AnnotationError, message: str, remedy: str, record: type | None = None) -> None:
        raised.add((Path(sys._getframe(1).f_code.co_filename).name, remedy))
        original(self, message, remedy, record)

    monkeypatch.setattr(sorts.AnnotationError, "__init__", noted)
    for _, marked in [case for case in CASES if case[0] == "annotation"] + WORDS_AT_IMPORT:
        refused(tmp_path, unmarked(marked)[0])
    missing = {
        (path.name, node.args[1].value)
        for path in SOURCES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "AnnotationError"
        and isinstance(node.args[1], ast.Constant)
        and (path.name, node.args[1].value) not in raised
    }
    assert missing == set()


def test_messages_read_well(tmp_path: Path) -> None:
    """The whole list as a user sees it; a change of wording is a change of this file."""
    messages = []
    for code, marked in CASES:
        error = refused(tmp_path, unmarked(marked)[0])
        assert isinstance(error, SpecError)
        line = error.source_line.strip()[:80]
        messages.append(f"{code}\n    {line}\n    {error.message}; {error.remedy}\n")
    text = "\n".join(messages)
    if os.environ.get("KMEMSPEC_ACCEPT"):
        EXPECTED.write_text(text, encoding="utf-8")
    assert text == EXPECTED.read_text(encoding="utf-8")
