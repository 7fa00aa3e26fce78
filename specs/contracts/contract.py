"""What a contract is, as data: its clauses, its operations, what a target may declare. The contracts themselves are in
their own files (`heap.py`, `pages.py`, …; all of them: `registry.py`).

The one idea: everything a report says about a clause (its name, its statement) and everything an adapter must know of
an operation (its numbers, its result) is written once, in the contract; oracles refer to clauses by name. Source: the
strictest checkable forms that 49 real implementations keep (allocators and heaps in C, C++, Rust, Python).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...model.lang.errors import InputError

LONGEST_LIST = 1 << 12
Declared = Mapping[str, Any]
"""What a target declares about itself, complete and checked: a number, a word or true/false for each declaration."""


@dataclass(frozen=True)
class Clause:
    """One thing that must hold, with a name for reports and a one-line statement."""

    name: str
    statement: str


@dataclass(frozen=True)
class Call:
    """One operation: what it means, the names of its numbers, whether it takes a live block, what it returns.

    `result` is "block" (makes a block: an address, page or handle, None if it fails), "moved" (the block it takes,
    which keeps its name; None if it fails), "number" (an integer or None), "truth" (true or false), "numbers" (a list
    of integers) or "nothing". Numbers of an operation with `fixed` are not lowered when a sequence is cut down. An
    operation with `misuse` names the operation that it misuses (free of what is not live); its value says whether that
    was rejected, and it is only called where a target declares what happens."""

    meaning: str
    numbers: tuple[str, ...] = ()
    result: str = "nothing"
    takes_block: bool = False
    fixed: bool = False
    misuse: str = ""

    def well_formed(self, value: object) -> bool:
        """Is this what such a call may return, as the child says it?"""
        if self.result == "truth":
            return type(value) is bool
        if self.result == "numbers":
            return type(value) is list and len(value) <= LONGEST_LIST and all(type(item) is int for item in value)
        return value is None or (self.result != "nothing" and type(value) is int)


@dataclass(frozen=True)
class Declaration:
    """One thing that a target may declare: its default (which fixes its type), and which values make sense."""

    default: int | str | bool
    meaning: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 1 << 40
    power_of_two: bool = False

    def problem(self, value: object) -> str | None:
        """What is wrong with a declared value."""
        if type(value) is not type(self.default):
            kind = {bool: "true or false", int: "a number", str: "a word"}[type(self.default)]
            return f"must be {kind}"
        if isinstance(value, str) and self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if type(value) is int and not self.least <= value <= self.most:
            return f"must be {self.least} to {self.most}"
        if type(value) is int and self.power_of_two and (value < 1 or value & (value - 1)):
            return f"is no power of two: {value}"
        return None


@dataclass(frozen=True)
class Contract:
    """What any implementation of one interface must keep.

    `operations` has each operation the driver may call; `target` says what can be validated; `declarations` are what
    a target may say about itself, with the default that holds when it says nothing."""

    name: str
    title: str
    target: str
    operations: Mapping[str, Call]
    clauses: tuple[Clause, ...]
    declarations: Mapping[str, Declaration] = field(default_factory=dict)

    def clause(self, name: str) -> Clause:
        """The clause of that name, its own or one that every contract has."""
        return next(clause for clause in (*self.clauses, *EVERY_CONTRACT) if clause.name == name)

    def has(self, name: str) -> bool:
        """Is there a clause of that name?"""
        return any(clause.name == name for clause in self.clauses)

    def makes_block(self, kind: str) -> bool:
        """Does that operation make a block?"""
        return self.operations[kind].result == "block"

    @property
    def block_maker(self) -> str:
        """The operation that makes a plain block."""
        return next(kind for kind, call in self.operations.items() if call.result == "block")

    def declared(self, *given: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults, overridden by each of the given mappings; what makes no sense is refused."""
        complete: dict[str, Any] = {name: declaration.default for name, declaration in self.declarations.items()}
        for mapping in given:
            for name, value in mapping.items():
                if name not in self.declarations:
                    known = ", ".join(self.declarations) or "nothing"
                    raise InputError(f"{str(name)[:60]!r} is no declaration of {self.name}", f"it knows {known}")
                problem = self.declarations[name].problem(value)
                if problem is not None:
                    meaning = self.declarations[name].meaning
                    raise InputError(f"the declaration {name} {problem}", f"{name}: {meaning}")
                complete[name] = value
        return complete


EVERY_CONTRACT = (
    Clause("survives", "no call crashes, aborts, hangs, leaves the process or starts another one"),
    Clause("answers", "every call returns a value of the declared kind and raises nothing"),
)
