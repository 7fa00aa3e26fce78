"""Cutting a failing sequence down to what its failure needs, and the evidence that less does not show it.

The one idea: removing calls ends in a local minimum, since a shorter sequence may need another call than those that are
there. So three things are tried in turn until none helps: calls removed and numbers lowered; every short sequence there
is, in ascending length; and another call at any place of the sequence, in case the damage can be seen sooner by it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

from .arenas import PLACEMENT
from .interface import Scope
from .judging import Judgement
from .search import SHORT, Failure, Key, Search, key_of, show_scope
from .sequences import Operation, Sequence, every_sequence, smaller, weight, without

SECONDS, HANG_SECONDS = 8.0, 4.0
"""The time for one failure, and for one that hangs."""
HANG_CALL_SECONDS = 0.7
SHORTER_MAX, ELSEWHERE_MAX, OTHER_CALLS_MAX = 500, 150, 800
"""How many sequences are run: shorter ones at the failure's scope, those at other scopes, those with another call."""
MORE = 3
"""How many failures are cut down beyond those to be reported, if cutting down shows others that are shorter."""
PAIRS_LENGTH = 12
"""Up to this length pairs of calls are left out before another call is tried."""


@dataclass(frozen=True)
class Cut:
    """A failure as found, cut down; `shortest` if every shorter sequence at its scope was tried, in vain."""

    original: Failure
    smallest: Failure
    shortest: bool = False


def cut_down(search: Search) -> list[Cut]:
    """The failures to report, the shortest first. Cutting one down may show another, which then is cut down too."""
    most = search.options.max_findings
    cuts: dict[Key, Cut] = {}
    for _ in range(most + MORE):
        lengths = {key: weight(cut.smallest.sequence) for key, cut in cuts.items()}
        waiting = [
            (weight(failure.sequence), key)
            for key, failure in search.failures.items()
            if key not in cuts or weight(failure.sequence) < min(lengths[key], weight(cuts[key].original.sequence))
        ]
        if not waiting or (len(cuts) >= most and min(waiting)[0] >= sorted(lengths.values())[most - 1]):
            break
        failure = search.failures[min(waiting)[1]]
        cut = search.until_interrupted(Cutter(search, failure).cut, Cut(failure, failure))
        key = key_of(cut.original.judgement)
        assert key is not None
        cuts[key] = cut
    return ordered(cuts)[:most]


def ordered(cuts: dict[Key, Cut]) -> list[Cut]:
    """The shortest first."""
    return sorted(cuts.values(), key=lambda cut: weight(cut.smallest.sequence))


class _EnoughError(Exception):
    """The time or the number of runs is used up."""


class Cutter:
    """Cuts down one failure: `best` is the smallest so far, `passed` are sequences known not to show it."""

    def __init__(self, search: Search, original: Failure) -> None:
        self.search, self.original, self.best = search, original, original
        self.key = key_of(original.judgement)
        hang = self.key is not None and self.key[1] == "hang"
        self.until = time.monotonic() + (HANG_SECONDS if hang else SECONDS)
        self.seconds = HANG_CALL_SECONDS if hang else None
        self.passed: set[tuple[str, Sequence]] = set()
        self.left = {True: SHORTER_MAX, False: ELSEWHERE_MAX}
        """How many short sequences may still be run, at the scope of the best and at others."""

    def cut(self) -> Cut:
        """As far as it goes, within the limits."""
        shortest = False
        with contextlib.suppress(_EnoughError):
            self.simpler_scope()
            self.fewer_calls()
            improved = True
            while improved and not shortest:
                improved = self.other_calls()
                if not improved:
                    improved, shortest = self.shorter()
                if improved:
                    self.fewer_calls()
        return Cut(self.original, self.best, shortest)

    def fails(self, sequence: Sequence, scope: Scope) -> bool:
        """Does it fail in the same way? Then it is the best.

        What fails in another way is remembered for a finding of its own; it takes this one's place if only one is
        wanted and it is shorter."""
        where = show_scope(scope)
        if (where, sequence) in self.passed:
            return False
        if time.monotonic() >= self.until:
            raise _EnoughError
        judgement = self.search.run(sequence, scope, self.seconds)
        key = key_of(judgement)
        cut = without_skipped(sequence[: judgement.failed_at + 1], judgement)
        another = key is not None and key != self.key and key[1] != "hang" and len(cut) < len(self.best.sequence)
        if another and self.search.options.max_findings == 1:
            self.key, self.original = key, Failure(scope, cut, judgement)
        if key is not None and key == self.key:
            self.best = Failure(scope, cut, judgement)
            return True
        # A sequence that shows nothing shows nothing up to any place.
        self.passed.update((where, sequence[:end]) for end in range(len(sequence) if key else 1, len(sequence) + 1))
        if key is not None and another:
            self.search.keep(key, sequence, scope, judgement)
        return False

    def calls(self, scope: Scope, before: Sequence) -> Iterator[Operation]:
        """What may come next and is not to be skipped."""
        for operation in self.search.workload.calls(scope, before):
            if operation.kind not in self.search.options.skip:
                yield operation

    def simpler_scope(self) -> None:
        """The same sequence at the simplest scope where it fails in the same way."""
        for scope in self.search.workload.scopes:
            if scope == self.original.scope:
                return
            alike = set(scope) == set(self.original.scope)
            simpler = alike and sum(scope.values()) < sum(self.original.scope.values())
            if simpler and self.fails(self.original.sequence, scope):
                return

    def fewer_calls(self) -> None:
        """Cut calls and lower numbers as long as it still fails in the same way."""
        while any(
            weight(candidate) < weight(self.best.sequence) and self.fails(candidate, self.best.scope)
            for candidate in smaller(self.search.contract, self.best.sequence)
        ):
            pass

    def shorter(self) -> tuple[bool, bool]:
        """Every shorter sequence in ascending length: was one found that fails; is there none at the best's scope?"""
        own, most = self.best.scope, len(self.best.sequence)
        scopes = [own, *(self.neighbours(own) if most > SHORT else ())]
        whole = True
        for length, scope in product(range(1, most), scopes):
            found, every = self.every(length, scope, scope is own)
            whole = whole and (every or scope is not own)
            if found:
                return True, whole and scope is own
        return False, whole

    def every(self, length: int, scope: Scope, own: bool) -> tuple[bool, bool]:
        """Every sequence of a length at a scope: was one found that fails; were all of them tried that come before?"""
        listed = False
        for sequence in every_sequence(partial(self.calls, scope), length) if self.left[own] else ():
            listed = True
            if (show_scope(scope), sequence) not in self.passed:
                if not self.left[own]:
                    return False, False
                self.left[own] -= 1
                if self.fails(sequence, scope):
                    return True, True
        return False, listed

    def neighbours(self, own: Scope) -> list[Scope]:
        """The other scopes in memory that lies in the same way."""

        def placement(scope: Scope) -> Scope:
            return {name: value for name, value in scope.items() if name in PLACEMENT}

        return [scope for scope in self.search.workload.scopes if scope != own and placement(scope) == placement(own)]

    def other_calls(self) -> bool:
        """Another call at any place, of what is left without one call or two: does that show it sooner?"""
        sequence, scope = self.best.sequence, self.best.scope
        dropped = [frozenset[int](), *(frozenset((index,)) for index in range(len(sequence)))]
        if len(sequence) <= PAIRS_LENGTH:
            dropped += map(frozenset, combinations(range(len(sequence)), 2))
        runs = 0
        for base in (without(sequence, calls) for calls in dropped):
            for end in range(min(len(base), len(sequence) - 1)):
                for operation in self.calls(scope, base[:end]):
                    candidate = (*base[:end], operation)
                    runs += (show_scope(scope), candidate) not in self.passed
                    if runs > OTHER_CALLS_MAX:
                        return False
                    if len(candidate) < len(sequence) and self.fails(candidate, scope):
                        return True
        return False


def without_skipped(sequence: Sequence, judgement: Judgement) -> Sequence:
    """The sequence without calls that were never made."""
    idle = [index for index, record in enumerate(judgement.records) if record.observed == "not called"]
    return without(sequence, frozenset(idle))
