"""The heap contract's walks: sequences that take a first-fit heap through the state graph of `contract-heap`.

The one idea: where a heap's blocks lie in terms of the machine's arena is not known (headers, rounding, no arena at
all), so a run is not followed: the walks are planned for a heap of four units that takes the first gap, and replayed at
several sizes of a unit, the largest of which makes four units all that a small arena holds. What is said of coverage is
said of that heap.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING

from .interface import Attempt, Oracle, Scope, Workload
from .sequences import Draw, Operation, Sequence

if TYPE_CHECKING:
    from .guided import Edge, Tour

UNITS = 4
WALK = 40
UNIT_BYTES = (24, 1000, 40000)


class WalkedHeap:
    """A workload for heaps, and the walks after what it tries always."""

    def __init__(self, inner: Workload, seed: int, arena: int, skip: tuple[str, ...]) -> None:
        self.inner, self.seed, self.skip = inner, seed, skip
        self.kinds = inner.kinds
        self.scopes = inner.scopes
        most = arena // UNITS or max(UNIT_BYTES)
        self.unit_bytes = sorted({min(size, most) for size in UNIT_BYTES})
        self.coverage = ""

    def learn(self, attempt: Attempt) -> list[str]:
        """As without walks."""
        return self.inner.learn(attempt)

    def oracle(self, scope: Scope) -> Oracle:
        """As without walks."""
        return self.inner.oracle(scope)

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """As without walks."""
        return self.inner.program(draws, scope)

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """As without walks."""
        return self.inner.calls(scope, before)

    def closing(self, scope: Scope) -> Sequence:
        """As without walks."""
        return self.inner.closing(scope)

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """What is tried without walks, which fails shortest, and then the walks."""
        yield from self.inner.systematic()
        walked = heap_tour(self.seed, "realloc" not in self.skip)
        walks = list(first_fit(walked))
        for size in self.unit_bytes:
            for walk in walks:
                yield self.scopes[0], calls_of(walk, size)
        self.coverage = walked.coverage()

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """How much of the contract's graph the walks would cover in a first-fit heap."""
        return [*self.inner.notes(coverage), *([f"{self.coverage}, of a first-fit heap"] if self.coverage else [])]


def heap_tour(seed: int, with_realloc: bool) -> Tour:
    """The tour over the graph of a heap of a few units, whatever they hold."""
    from .guided import tour

    moving = {"reallocate", "refuse_to_reallocate"} if with_realloc else set()
    actions = {"allocate", "release", "refuse", *moving}
    sizes = {"units": UNITS, "bytes": 1}
    return tour("contract-heap", sizes, (), lambda name: name in actions, call_of, seed, ("units",))


def call_of(action: str, arguments: tuple[int, ...]) -> Hashable:
    """What a client decides: sizes and which block, but not where a block lies."""
    if action == "release":
        return "free", arguments[0]
    return ("malloc", arguments[-1]) if action in ("allocate", "refuse") else ("realloc", arguments[0], arguments[-1])


def first_fit(walked: Tour) -> Iterator[list[Edge]]:
    """The walks, each followed by the machine doing what is expected of it."""
    for walk in walked.walks(WALK):
        walked.begin()
        for edge in walk:
            walked.follow(edge.action, *edge.arguments)
        yield walk


def calls_of(walk: list[Edge], size: int) -> Sequence:
    """The calls of a walk, with units of so many bytes."""
    operations: list[Operation] = []
    maker: dict[int, int] = {}
    for edge in walk:
        if edge.action == "release":
            operations.append(Operation("free", maker.pop(edge.arguments[0])))
            continue
        length = (size * edge.arguments[-1],)
        if edge.action == "reallocate":
            maker[edge.arguments[1]] = maker.pop(edge.arguments[0])
            operations.append(Operation("realloc", maker[edge.arguments[1]], length))
        elif edge.action == "refuse_to_reallocate":
            operations.append(Operation("realloc", maker[edge.arguments[0]], length))
        else:
            if edge.action == "allocate":
                maker[edge.arguments[0]] = len(operations)
            operations.append(Operation("malloc", None, length))
    return tuple(operations)
