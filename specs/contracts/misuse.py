"""Double free, foreign pointers and free of NULL: the same for every contract whose operations hand out blocks.

The one idea: a misuse is a call that no user makes on purpose, so it is made only where the target declares what comes
of it; and whatever that is, nothing else may change, which the contract's own oracle sees in the calls that follow. A
contract takes up `MISUSE_CALLS`, `MISUSE_DECLARATIONS` and `MISUSE_CLAUSE`; workload and oracle are wrapped here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .contract import Call, Clause, Contract, Declaration, Declared
from .interface import Attempt, Interface, Oracle, Scope, Workload
from .judging import Broken
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence, inserted

UNDEFINED, IGNORED, REJECTED = "undefined", "ignored", "rejected"
OUTCOMES = (UNDEFINED, IGNORED, REJECTED)
FOREIGN_PLACES = 3
"""Before the memory, behind it, and far away (see `blocks.py`)."""
MISUSE_CALLS: Mapping[str, Call] = {
    "free_null": Call("free(NULL), where that is declared", result="truth", misuse="free"),
    "double_free": Call(
        "free of a block that was freed, where that is declared", result="truth", takes_block=True, misuse="free"
    ),
    "foreign_free": Call(
        "free of what no call returned, where that is declared", ("which",), result="truth", misuse="free"
    ),
}
MISUSE_DECLARATIONS: Mapping[str, Declaration] = {
    "free_null": Declaration(UNDEFINED, "what free(NULL) does", OUTCOMES),
    "double_free": Declaration(UNDEFINED, "what freeing a freed block does", OUTCOMES),
    "foreign_free": Declaration(UNDEFINED, "what freeing a foreign pointer does", OUTCOMES),
}
MISUSE_CLAUSE = Clause("misuse", "free of NULL, of freed and of foreign blocks does what was declared")


def declared_misuses(contract: Contract, declared: Declared) -> tuple[str, ...]:
    """The misuses of which the target declares what comes."""
    return tuple(kind for kind, call in contract.operations.items() if call.misuse and declared[kind] != UNDEFINED)


def workload_of(interface: Interface, options: ValidateOptions, declared: Declared) -> Workload:
    """The contract's workload, and the misuses that are declared."""
    workload = interface.workload(options, declared)
    kinds = declared_misuses(interface.contract, declared)
    return WithMisuses(workload, interface, declared, kinds) if kinds else workload


class WithMisuses:
    """A workload, and in its sequences calls that free what must not be freed."""

    def __init__(self, inner: Workload, interface: Interface, declared: Declared, misuses: tuple[str, ...]) -> None:
        self.inner, self.interface, self.declared, self.misuses = inner, interface, declared, misuses

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of draws; they are known when the contract has learnt what the target offers."""
        return (*self.inner.kinds, *self.misuses * 2)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """As without misuses."""
        return self.inner.scopes

    def learn(self, attempt: Attempt) -> list[str]:
        """As without misuses."""
        return self.inner.learn(attempt)

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """As without misuses."""
        return self.inner.notes(coverage)

    def oracle(self, scope: Scope) -> Oracle:
        """The contract's oracle, which does not know of misuses: they change nothing."""
        return MisuseOracle(self.inner.oracle(scope), self.interface.contract, self.declared)

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """What may come next without misuses, and every misuse; nothing where the contract cannot list its calls."""
        plain = list(self.inner.calls(scope, before))
        yield from plain
        for kind in self.misuses if plain else ():
            call = self.interface.contract.operations[kind]
            if call.takes_block:
                freed = (operation.block for operation in before if operation.kind == call.misuse)
                yield from (Operation(kind, block) for block in freed)
            else:
                yield from misused(kind, call)

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """Each misuse with each kind of block beside neighbours that may suffer; then what is tried without them."""
        scope = self.scopes[0]
        for make in self.interface.makes(scope):
            for kind in self.misuses:
                for sequence in around(make, kind, self.interface.contract):
                    yield scope, sequence
        yield from self.inner.systematic()

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """The other draws to a sequence, and the misuses where they were drawn. More draws only add to its end."""
        plain = [draw for draw in draws if draw.kind not in self.misuses]
        sequence = self.inner.program(plain, scope)
        left = len(plain)
        for draw in reversed(draws):
            if draw.kind not in self.misuses:
                left -= 1
                continue
            place = min(len(self.inner.program(plain[:left], scope)), len(sequence))
            operation = self.drawn(draw, sequence[:place])
            sequence = sequence if operation is None else inserted(sequence, place, operation)
        return sequence

    def closing(self, scope: Scope) -> Sequence:
        """As without misuses."""
        return self.inner.closing(scope)

    def drawn(self, draw: Draw, before: Sequence) -> Operation | None:
        """The misuse that a draw means after these calls; None if there is nothing to misuse yet."""
        call = self.interface.contract.operations[draw.kind]
        if not call.takes_block:
            return Operation(draw.kind, None, tuple(draw.first % FOREIGN_PLACES for _ in call.numbers))
        freed = [operation.block for operation in before if operation.kind == call.misuse]
        return Operation(draw.kind, freed[draw.first % len(freed)]) if freed else None


def around(make: Operation, kind: str, contract: Contract) -> Iterator[Sequence]:
    """Sequences about one misuse; what is made after it shows whether it changed anything."""
    call = contract.operations[kind]
    if call.takes_block:
        for freed in range(3):
            yield (make, make, make, Operation(call.misuse, freed), Operation(kind, freed), make, make, make)
        return
    frees = misused(kind, call)
    yield (make, *frees, make, Operation(call.misuse, 0), *frees, make, make)


def misused(kind: str, call: Call) -> list[Operation]:
    """A misuse that is not of a block, with every number that it may be given."""
    return [
        Operation(kind, None, (which,) * len(call.numbers)) for which in range(FOREIGN_PLACES if call.numbers else 1)
    ]


class MisuseOracle:
    """An oracle, and what was declared of misuses."""

    def __init__(self, inner: Oracle, contract: Contract, declared: Declared) -> None:
        self.inner, self.contract, self.declared = inner, contract, declared
        self.counts: Counter[str] = inner.counts
        self.peaks: Counter[str] = inner.peaks

    def misuse(self, operation: Operation) -> bool:
        """Is this call a misuse?"""
        return bool(self.contract.operations[operation.kind].misuse)

    def expected(self, operation: Operation) -> str:
        """What was declared."""
        if not self.misuse(operation):
            return self.inner.expected(operation)
        return f"{self.declared[operation.kind]}, as declared"

    def show(self, operation: Operation, value: Any) -> str:
        """Was it rejected?"""
        return ("rejected" if value else "returned") if self.misuse(operation) else self.inner.show(operation, value)

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """Held to what was declared; of every other call the contract's oracle judges."""
        if not self.misuse(operation):
            return self.inner.observe(index, operation, value)
        self.counts["misuses"] += 1
        if (self.declared[operation.kind] == REJECTED) == value:
            return None
        done = "rejected" if value else "accepted"
        declared = f"it is declared to be {self.declared[operation.kind]}"
        return Broken("misuse", f"{operation.kind} is {done}, although {declared}")

    def after(self, operation: Operation, value: Any, answer: list[Any]) -> Broken | None:
        """What the child found in memory."""
        return self.inner.after(operation, value, answer)


MISUSE_CHECKS = '''
class Misuses:
    """For a class with a `target`: free of what must not be freed, by its place and the numbers of its allocation."""

    def place(self, block):
        return block

    def misuse(self, kind, block, *numbers):
        if block is None and kind != "free_null":
            return
        given = (self.place(block), *numbers)
        try:
            rejected = self.target.free(*given[: len(given) if takes(self.target.free, len(given)) else 1]) is False
        except Exception:
            rejected = True
        assert rejected == (DECLARED[kind] == "rejected"), f"{kind} is declared to be {DECLARED[kind]}"
'''
"""For a contract's `python_checks`: what a reproducer needs to misuse a Python class."""
