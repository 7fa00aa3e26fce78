"""The page-allocator contract's walks: a workload that also goes through the state graph of `blocks` at a tiny scope.

The one idea: beside the oracle, which knows any scope, the machine itself (specs/blocks.py) follows each run at the
tiny scope, under CPython, and says what was covered. It follows no further than it can: it has no pages that an
allocator keeps for itself, which the oracle learns.
tests/test_validate_guided.py shows that the two agree on every answer in every state of that graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from .interface import Attempt, Oracle, Scope, Workload
from .judging import Broken
from .lockstep import Impossible
from .sequences import Draw, Operation, Sequence

if TYPE_CHECKING:
    from .guided import Edge, Tour

TINY = {"pages": 4, "orders": 3}
"""26 states, 149 transitions; of those an allocator takes the ones that its placement leads to."""
WALK, WALKS_MAX = 40, 60


class WalkedPages:
    """A workload for page allocators, and walks at the tiny scope if it is among its scopes."""

    def __init__(self, inner: Workload, seed: int) -> None:
        self.inner, self.seed = inner, seed
        self.kinds = inner.kinds
        self.scopes = inner.scopes
        self.tour: Tour | None = None

    def learn(self, attempt: Attempt) -> list[str]:
        """As without walks."""
        return self.inner.learn(attempt)

    def program(self, draws: list[Draw], scope: Scope) -> Sequence:
        """As without walks."""
        return self.inner.program(draws, scope)

    def closing(self, scope: Scope) -> Sequence:
        """As without walks."""
        return self.inner.closing(scope)

    def oracle(self, scope: Scope) -> Oracle:
        """The oracle; at the tiny scope the machine goes along."""
        oracle = self.inner.oracle(scope)
        tiny = self.tour is not None and TINY.items() <= scope.items()
        return FollowedOracle(oracle, self.tour) if tiny and self.tour is not None else oracle

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """As without walks."""
        return self.inner.calls(scope, before)

    def systematic(self) -> Iterator[tuple[Scope, Sequence]]:
        """What is tried without walks, which fails shortest, and then the walks."""
        if any(TINY.items() <= scope.items() for scope in self.scopes):
            self.tour = page_tour(TINY, self.seed)
        yield from self.inner.systematic()
        scope = next((scope for scope in self.scopes if TINY.items() <= scope.items()), {})
        for walk in islice(self.tour.walks(WALK), WALKS_MAX) if self.tour is not None else ():
            yield scope, walked(walk)

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """How much of the contract's graph was walked."""
        return [*self.inner.notes(coverage), *([self.tour.coverage()] if self.tour is not None else [])]


class FollowedOracle:
    """An oracle with the machine beside it."""

    def __init__(self, inner: Oracle, tour: Tour) -> None:
        self.inner = inner
        self.tour: Tour | None = tour
        self.counts: Counter[str] = inner.counts
        self.peaks: Counter[str] = inner.peaks
        self.page: dict[int, int] = {}
        tour.begin()

    def expected(self, operation: Operation) -> str:
        """As the oracle says."""
        return self.inner.expected(operation)

    def show(self, operation: Operation, value: Any) -> str:
        """As the oracle says."""
        return self.inner.show(operation, value)

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """The oracle judges; then the machine takes the step."""
        broken = self.inner.observe(index, operation, value)
        if broken is not None or self.tour is None or operation.kind not in ("alloc", "free"):
            return broken
        try:
            if operation.block is not None:
                self.tour.follow("release", self.page.pop(operation.block))
            elif value is None:
                self.tour.follow("refuse", *operation.arguments)
            else:
                self.tour.follow("allocate", value, *operation.arguments)
                self.page[index] = value
        except Impossible:
            self.tour = None
        return None

    def after(self, operation: Operation, value: Any, answer: list[Any]) -> Broken | None:
        """As the oracle says."""
        return self.inner.after(operation, value, answer)


def page_tour(scope: Mapping[str, int], seed: int) -> Tour:
    """The tour over the graph of `blocks`, without the shrinking that only the kernel has."""
    from .guided import tour

    return tour("blocks", scope, (), lambda name: name != "shrink", call_of, seed, ("pages", "orders"))


def call_of(action: str, arguments: tuple[int, ...]) -> Hashable:
    """What a client decides: the order, or which block to free, but not which page it gets."""
    return ("free", arguments[0]) if action == "release" else ("alloc", arguments[-1])


def walked(walk: list[Edge]) -> Sequence:
    """The calls of a walk; a block is named by the call that should have made it."""
    operations: list[Operation] = []
    maker: dict[int, int] = {}
    for edge in walk:
        if edge.action == "release":
            operations.append(Operation("free", maker.pop(edge.arguments[0])))
            continue
        if edge.action == "allocate":
            maker[edge.arguments[0]] = len(operations)
        operations.append(Operation("alloc", None, (edge.arguments[-1],)))
    return tuple(operations)
