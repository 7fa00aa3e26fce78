"""A workload in several arenas: the same sequences, in memory of other sizes, alignments and fillings.

The one idea: an arena is a part of the scope. Each one has a workload of its own, which learns what that arena holds;
the sequences go round among them, so that a short run has met them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .interface import Attempt, Oracle, Scope, Workload
from .sequences import Draw, Operation, Sequence

GAP = 64
"""Bytes between two regions of an arena, which belong to neither; regions begin at multiples of that."""


def regions_of(scope: Scope) -> tuple[tuple[int, int], ...]:
    """Where the regions of an arena begin, and their bytes: parts of nearly the same size, or the arena as a whole."""
    size, count = scope.get("arena", 0), scope.get("regions", 1)
    step = size // count // GAP * GAP
    ends = [*(step * number - GAP for number in range(1, count)), size]
    return tuple((step * number, end - step * number) for number, end in enumerate(ends))


def within(scope: Scope, at: int, size: int) -> bool:
    """Do these bytes lie whole in a region of the arena?"""
    return any(start <= at and at + size <= start + length for start, length in regions_of(scope))


PLACEMENT = frozenset({"align", "phase", "garbage", "wall"})


def without_placement(scope: Scope) -> Scope:
    """The scope without where an arena lies and what fills it; without its size if that follows from others."""
    return {name: value for name, value in scope.items() if name not in PLACEMENT and (name != "arena" or value)}


class InArenas:
    """One workload for each arena."""

    def __init__(self, make: Callable[[Scope], Workload], arenas: tuple[Scope, ...]) -> None:
        self.parts = tuple((arena, make(arena)) for arena in arenas)
        self.kinds = self.parts[0][1].kinds

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Every scope in every arena."""
        return tuple({**scope, **arena} for arena, workload in self.parts for scope in workload.scopes)

    def workload(self, scope: Scope) -> Workload:
        """The workload of the arena of a scope."""
        return next(workload for arena, workload in self.parts if arena.items() <= scope.items())

    def learn(self, attempt: Attempt) -> list[str]:
        """Probe each arena; what is said of several is said once."""
        notes: dict[str, None] = {}
        for arena, workload in self.parts:
            learnt = workload.learn(lambda sequence, scope, arena=arena: attempt(sequence, {**scope, **arena}))  # type: ignore[misc]
            where = f", arena of {arena['arena']} bytes" if arena["arena"] else ""
            notes.update((note + where, None) for note in learnt)
        return list(notes)

    def oracle(self, scope: Scope) -> Oracle:
        """A fresh oracle for one run."""
        return self.workload(scope).oracle(scope)

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """Drawn numbers to a sequence."""
        return self.workload(scope).program(draws, scope)

    def closing(self, scope: Scope) -> Sequence:
        """Calls that end a drawn sequence."""
        return self.workload(scope).closing(scope)

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """Every sequence in every arena; in the first pass each sequence once, in one arena after the other."""
        count = len(self.parts)
        for turn in range(count):
            sources = [workload.systematic() for _, workload in self.parts]
            for number, items in enumerate(zip(*sources, strict=False)):
                which = (number + turn) % count
                scope, sequence = items[which]
                yield {**scope, **self.parts[which][0]}, sequence

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """What may come next."""
        return self.workload(scope).calls(scope, before)

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """What the report should say; the same for each arena."""
        return self.parts[0][1].notes(coverage)
