"""How a contract is added: what it brings for the engine, for the child process and for reproducers, in one record.

The one idea: the engine knows no contract by name. A contract is one file that ends with an `Interface`, and one line
in `registry.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .contract import Contract, Declared
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence

if TYPE_CHECKING:
    from .adapter import Adapter
    from .judging import Broken, Judgement

Scope = Mapping[str, int]
Answer = list[Any]
Attempt = Callable[[Sequence, Scope], "Judgement"]
"""Runs one sequence against the target, counting it and keeping it if it fails."""


class Oracle(Protocol):
    """Follows one run: says what the contract expects of the next call, judges its answers, counts what was reached."""

    counts: Counter[str]
    peaks: Counter[str]

    def expected(self, operation: Operation) -> str:
        """What the contract expects of this call now."""

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """Judge the returned value of a call (well formed for its `Call`) and move on."""

    def show(self, operation: Operation, value: Any) -> str:
        """The returned value in words."""

    def after(self, operation: Operation, value: Any, answer: Answer) -> Broken | None:
        """Judge what else the child said about the call, such as what it found in memory."""


class Workload(Protocol):
    """What a contract gives the search: scopes, oracles and sequences."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of draws, each as often as it should come."""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes to try, simplest first."""

    def learn(self, attempt: Attempt) -> list[str]:
        """Probe the target before the search, if the contract wants to; what was learnt, in words."""

    def oracle(self, scope: Scope) -> Oracle:
        """A fresh oracle for one run."""

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """Drawn numbers to a sequence; more draws only add to its end."""

    def closing(self, scope: Scope) -> Sequence:
        """Calls about no block that follow a drawn sequence, to see all that there is to be seen."""

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """Sequences that are always tried."""

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """Every call that a client may make next; nothing if they are too many to be listed."""

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """What a report should say beside the findings."""


@dataclass(frozen=True)
class Interface:
    """One contract with all that drives it.

    `makes` gives calls that make a block at a scope, for sequences about a block of any kind. `adapt`, in the child,
    makes a fresh `Adapter` of the object that a Python target names, the scope and what is declared; `methods` are what
    that object must have if it is a class. `exports` are the C functions, by operation,
    of a library that is validated without a description. `python_checks` is the text of a class `Checked` for pytest
    reproducers: constructed with nothing, it has a method for each operation, called with the block that an earlier
    method returned (if the operation takes one) and its numbers; `make()`, `SCOPE` and `DECLARED` are there."""

    contract: Contract
    workload: Callable[[ValidateOptions, Declared], Workload]
    adapt: Callable[[Any, dict[str, int], Declared], Adapter]
    methods: tuple[str, ...]
    python_checks: str
    makes: Callable[[Scope], tuple[Operation, ...]] = lambda scope: ()
    check_options: Callable[[ValidateOptions], None] = lambda options: None
    exports: Mapping[str, str] = field(default_factory=dict)
