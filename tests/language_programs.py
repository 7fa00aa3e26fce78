# ruff: noqa: E501 (a choice is a line)
"""Random small specifications for tests: programs that use every construct, seeded, with a meaning in CPython.

They stay inside what mypy accepts: None reaches arithmetic only as a right operand or an index, and a value is a
reference only when it cannot be negative (CPython evaluates both operands before it notices a None on the left).
"""

from __future__ import annotations

import random

PRELUDE = """from __future__ import annotations
import enum
from typing import Annotated
from kmemspec.model.lang import *

Cell = Annotated[int, Sort("cell", "cells")]
Small = Annotated[int, Range(-8, 8)]

class Color(enum.IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2

class Node(Record):
    v: Annotated[int, Range(0, 7)]
    next: Cell | None
    f: bool
    u: Annotated[int, Machine(3)]

class M(Record):
    size: Annotated[int, FromScope("cells")]
    a: Small
    b: Annotated[int, Range(-3, "cells+1")]
    p: Cell | None
    q: Cell | None
    f: bool
    c: Color
    d: Color | None
    u: Annotated[int, Machine(4)]
    s: Annotated[int, Machine("bits", True)]
    nodes: Array[Cell, Node]
    grid: Array[Cell, Array[Color, Small]]
    flags: Array[Color, bool]
    out: Annotated[int, Machine(64, signed=True)]

LIMIT = 3

def init(m: M) -> None:
    pass

def shifted(x: int, y: int) -> int:
    if y < 0:
        return x
    return x << (y & 3)

def weight(node: Node, x: int) -> int:
    assert x < 7, "weight"
    if node.f:
        return node.v + x
    return x - node.v

def follow(m: M, at: Cell) -> Cell | None:
    if m.flags[m.nodes[at].v % 3]:
        return m.nodes[at].next
    return None

def bump(m: M, node: Node, x: int) -> int:
    require(x != 5)
    node.u += x
    m.a = max(-8, min(8, x))
    return node.u

def deep(m: M, i: int) -> int:
    return bump(m, m.nodes[i], m.nodes[i].v + 1)

"""
SPEC = """
SPEC = Spec("random", M, init, (act,), {properties}
    parameters=(Parameter("cells", 3, "cells"), Parameter("bits", 4, "bits")))
"""


class Writer:
    """Writes one program. `integers`, `booleans`, `optionals` and `nodes` are the variables that have a value here."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.integers: list[str] = ["cell", "x"]
        self.booleans: list[str] = []
        self.optionals: list[str] = []
        self.nodes: list[str] = ["m.nodes[cell]"]
        self.names = 0

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    # --- expressions

    def integer(self, depth: int) -> str:
        if depth == 0:
            return self.pick(
                "m.a", "m.b", "m.u", "m.s", "m.c", "m.size", "LIMIT", "len(m.nodes)", str(self.random.randint(-3, 6)),
                "Color.BLUE", *self.integers, *self.integers, f"{self.node(0)}.v", f"{self.node(0)}.u",
            )  # fmt: skip
        left, right = self.integer(depth - 1), self.integer(depth - 1)
        operator = self.pick("+", "-", "*", "//", "%", "&", "|", "^", "+", "-")
        return self.pick(
            f"({left} {operator} {right})",
            f"({left} {operator} {right})",
            f"({left} {self.pick('<<', '>>')} ({right} & 3))",
            f"({left} >> {right})" if depth == 1 else f"-{left}",
            f"({left} {self.pick('+', '-', '&')} {self.optional(0)})",
            f"~{left}",
            f"{self.pick('min', 'max')}({left}, {right})",
            f"({left} if {self.boolean(depth - 1)} else {right})",
            f"unsigned({left}, {self.random.randint(1, 5)})",
            f"signed({left}, {self.random.randint(1, 5)})",
            f"m.grid[{self.index(depth - 1)}][{self.index(depth - 1)}]",
            f"{self.node(depth - 1)}.v",
            f"shifted({left}, {right})",
            f"weight({self.node(depth - 1)}, {left})",
            self.quantified("sum", depth),
        )

    def boolean(self, depth: int) -> str:
        if depth == 0:
            return self.pick("m.f", "True", "False", f"{self.node(0)}.f", f"m.flags[{self.index(0)}]", *self.booleans)
        left, right = self.boolean(depth - 1), self.boolean(depth - 1)
        comparison = self.pick("==", "!=", "<", "<=", ">", ">=")
        return self.pick(
            f"({left} and {right})",
            f"({left} or {right})",
            f"(not {left})",
            f"({left} {self.pick('==', '!=')} {right})",
            f"({self.integer(depth - 1)} {comparison} {self.integer(depth - 1)})",
            f"({self.integer(depth - 1)} {comparison} {self.integer(depth - 1)})",
            f"({self.integer(0)} {comparison} {self.integer(depth - 1)} {self.pick('<', '!=')} {self.integer(depth - 1)})",
            f"({self.optional(depth - 1)} is {self.pick('', 'not ')}None)",
            f"({self.optional(depth - 1)} {self.pick('==', '!=')} {self.integer(depth - 1)})",
            f"({self.optional(0)} {self.pick('==', '!=')} {self.optional(depth - 1)})",
            self.quantified(self.pick("all", "any"), depth),
        )

    def optional(self, depth: int) -> str:
        if depth == 0:
            return self.pick("m.p", "m.q", "m.d", f"{self.node(0)}.next", *self.optionals)
        return self.pick(
            f"({self.optional(depth - 1)} if {self.boolean(depth - 1)} else {self.optional(depth - 1)})",
            f"({self.optional(depth - 1)} if {self.boolean(depth - 1)} else None)",
            f"({self.optional(depth - 1)} if {self.boolean(depth - 1)} else {self.integer(depth - 1)} % 4)",
            f"follow(m, abs_({self.integer(0)}))".replace("abs_(", "max(0, "),
            f"{self.node(depth - 1)}.next",
        )

    def index(self, depth: int) -> str:
        return self.pick("0", "1", "2", "cell", *self.integers, self.integer(depth), self.optional(0), "m.c")

    def node(self, depth: int) -> str:
        if depth == 0:
            return self.pick(*self.nodes)
        return self.pick(*self.nodes, f"m.nodes[{self.index(depth - 1)}]")

    def quantified(self, kind: str, depth: int) -> str:
        name = self.pick("i", "j", *self.integers)
        domain = self.pick(
            "indices(m.nodes)", "range(3)", f"range({self.integer(0)}, 3)", f"range({self.integer(0)} & 3)"
        )
        kept = list(self.integers)
        self.integers.append(name)
        test = f" if {self.boolean(depth - 1)}" if self.random.random() < 0.5 else ""
        inner = ""
        if depth > 1 and self.random.random() < 0.4:
            other = self.pick("k", "l")
            inner = f" for {other} in range({name} & 3)"
            self.integers.append(other)
        body = self.integer(depth - 1) if kind == "sum" else self.boolean(depth - 1)
        self.integers = kept
        return f"{kind}({body} for {name} in {domain}{test}{inner})"

    # --- statements

    def emit(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def suite(self, indent: int, budget: int, loop: bool) -> None:
        kept = list(self.integers), list(self.booleans), list(self.optionals), list(self.nodes)
        for _ in range(self.random.randint(1, max(1, budget))):
            self.statement(indent, budget - 1, loop)
        if self.random.random() < 0.3:
            self.emit(indent, self.pick(*(["break", "continue"] if loop else []), f"return {self.integer(1)} % 3"))
        self.integers, self.booleans, self.optionals, self.nodes = kept

    def statement(self, indent: int, budget: int, loop: bool) -> None:
        kinds = ["store", "store", "variable", "variable", "change", "alias", "call", "rare"]
        kinds += ["if", "if", "for", "while"] if budget > 0 and indent < 5 else []
        getattr(self, self.pick(*kinds))(indent, budget, loop)

    def store(self, indent: int, budget: int, loop: bool) -> None:
        number, node = self.integer(2), self.node(1)
        self.emit(
            indent,
            self.pick(
                f"m.out = {number}",
                f"m.out += {number}",
                f"m.a = {self.integer(1)}",
                f"m.u -= {number}",
                f"m.s = {number}",
                f"m.f = {self.boolean(2)}",
                f"m.p = {self.optional(1)}",
                f"m.q = {number}",
                f"m.b = {self.optional(1)}",
                f"m.c = {self.integer(0)}",
                f"m.d = {self.optional(0)}",
                f"{node}.v = {number}",
                f"{node}.v += {self.integer(1)}",
                f"{node}.next = {self.pick('None', self.optional(1), number)}",
                f"{node}.f = {self.boolean(1)}",
                f"m.grid[{self.index(1)}][{self.index(1)}] = {number}",
                f"m.flags[{self.index(1)}] = {self.boolean(1)}",
            ),
        )

    def variable(self, indent: int, budget: int, loop: bool) -> None:
        kind = self.pick("integer", "boolean", "optional")
        if kind == "integer":
            name = self.fresh("n")
            self.emit(indent, f"{name} = {self.pick(self.integer(2), self.integer(2), 'choose(range(-1, 2))')}")
            self.integers.append(name)
        elif kind == "boolean":
            name = self.fresh("t")
            self.emit(indent, f"{name} = {self.boolean(2)}")
            self.booleans.append(name)
        else:
            name = self.fresh("o")
            self.emit(indent, f"{name}: Cell | None = {self.pick('None', self.optional(1))}")
            self.optionals.append(name)

    def change(self, indent: int, budget: int, loop: bool) -> None:
        own = [name for name in self.integers if name[0] in "nx"]
        if self.optionals and self.random.random() < 0.3:
            self.emit(indent, f"{self.pick(*self.optionals)} = {self.optional(1)}")
        else:
            self.emit(indent, f"{self.pick(*own)} {self.pick('=', '+=', '-=', '^=')} {self.integer(1)}")

    def alias(self, indent: int, budget: int, loop: bool) -> None:
        known = [name for name in self.nodes if name.startswith("w")]
        if known and self.random.random() < 0.6:
            self.emit(indent, f"{self.pick(*known)} = m.nodes[{self.index(1)}]")
            return
        name = self.fresh("w")
        self.emit(indent, f"{name} = m.nodes[{self.index(0)}]")
        self.nodes += [name, name]

    def call(self, indent: int, budget: int, loop: bool) -> None:
        call = self.pick(f"bump(m, {self.node(1)}, {self.integer(1)})", f"deep(m, {self.integer(0)})")
        self.emit(indent, self.pick(call, f"m.out = {call}", f"m.u = {call}"))

    def rare(self, indent: int, budget: int, loop: bool) -> None:
        self.emit(indent, self.pick(f"assert {self.boolean(2)}", f"require({self.boolean(2)})", "pass"))

    def if_(self, indent: int, budget: int, loop: bool) -> None:
        if self.optionals and self.random.random() < 0.4:
            self.tested(indent, budget, loop)
            return
        self.emit(indent, f"if {self.boolean(2)}:")
        self.suite(indent + 1, budget, loop)
        if self.random.random() < 0.3:
            self.emit(indent, f"elif {self.boolean(1)}:")
            self.suite(indent + 1, budget, loop)
        if self.random.random() < 0.5:
            self.emit(indent, "else:")
            self.suite(indent + 1, budget, loop)

    def tested(self, indent: int, budget: int, loop: bool) -> None:
        """Where a reference was tested it is a number, as long as nothing is assigned to it."""
        name = self.pick(*self.optionals)
        self.emit(
            indent, self.pick(f"if {name} is not None:", f"if {name} is not None and weight(m.nodes[0], {name}) > 1:")
        )
        kept = list(self.integers), list(self.optionals)
        self.integers = [*self.integers, name, name]
        self.optionals = [other for other in self.optionals if other != name]
        self.suite(indent + 1, budget, loop)
        self.integers, self.optionals = kept

    def for_(self, indent: int, budget: int, loop: bool) -> None:
        name = self.pick(self.fresh("n"), "x")
        domain = self.pick(
            "indices(m.nodes)",
            f"range({self.integer(1)}, 4)" if budget < 2 else "range(2)",
            f"range(3, {self.integer(0)}, -2)",
            f"range(-2, {self.integer(0)}, 3)",
        )
        self.emit(indent, f"for {name} in {domain}:")
        kept = list(self.integers)
        self.integers.append(name)
        self.suite(indent + 1, budget, True)
        self.integers = kept

    def while_(self, indent: int, budget: int, loop: bool) -> None:
        self.emit(indent, f"while {self.boolean(2)}:")
        self.suite(indent + 1, budget, True)

    def program(self) -> str:
        self.suite(1, 4, False)
        bound = self.pick("2", '"cells"', '"cells-1"')
        claims = "".join(
            f"    for i in indices(m.nodes):\n        if {condition}:\n"
            f"            yield clause('c{number}', {holds}, i)\n"
            for number, (condition, holds) in enumerate(self.claims())
        )
        body = "\n".join(self.lines)
        text = (
            f"{PRELUDE}@action\n@bounded({bound})\ndef act(m: M, cell: Cell) -> Color:\n    x = cell\n{body}\n"
            f'    return m.c\n\n@invariant("I")\ndef holds(m: M) -> Clauses:\n    x = 1\n    cell = 0\n{claims}'
        )
        return text + SPEC.format(properties="(holds,),")

    def claims(self) -> list[tuple[str, str]]:
        self.integers, self.booleans, self.optionals, self.nodes = ["cell", "x", "i"], [], [], ["m.nodes[i]"]
        return [(self.boolean(1), self.boolean(2)) for _ in range(2)]


setattr(Writer, "if", Writer.if_)
setattr(Writer, "for", Writer.for_)
setattr(Writer, "while", Writer.while_)


def random_specification(seed: int) -> str:
    """The text of a specification file with one action and one invariant."""
    return Writer(seed).program()
