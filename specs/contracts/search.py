"""The search for a failing sequence: systematic ones first, then Hypothesis. `cutting.py` cuts down what was found.

The one idea: a failure is known by its clause and kind. The first one found fixes what Hypothesis shrinks towards, so
that it never slips from one bug to another.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .contract import Contract
from .interface import Workload
from .judging import Judgement, judge
from .process import ChildProcess
from .results import ValidateOptions
from .sequences import Draw, Sequence, weight, without

T = TypeVar("T")
Key = tuple[str, str, str]
"""What makes two failures the same: clause, kind and detail."""
FAILURES_KEPT = 5
"""How many sequences have to fail before the search ends, if more than one finding is wanted."""
SETTLING, SHORT = 60, 3
"""How many sequences more are tried when a long one failed: another may show the same in a simpler way."""
DRAWN_SHRINK_SECONDS = 4.0
SYSTEMATIC_PART = 0.7
"""How much of the time the systematic sequences may take: some is left for drawn ones."""
NUMBERS = 1 << 16
CHUNK = 100


@dataclass
class Failure:
    """A failing run as found: its scope, its sequence cut at the failing call, its judgement."""

    scope: Mapping[str, int]
    sequence: Sequence
    judgement: Judgement


@dataclass
class Search:
    """One search over one target; counts everything it runs."""

    contract: Contract
    workload: Workload
    child: ChildProcess
    options: ValidateOptions
    deadline: float
    failures: dict[Key, Failure] = field(default_factory=dict)
    failed: int = 0
    hangs: int = 0
    examples: int = 0
    operations: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)
    declined: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def until_interrupted(self, part: Callable[[], T], otherwise: T) -> T:
        """A part of the search. Ctrl-C ends it and leaves out those that follow; what was found until then stands."""
        if not self.interrupted:
            try:
                return part()
            except KeyboardInterrupt:
                self.interrupted = True
                self.child.stop()
        return otherwise

    def run(self, sequence: Sequence, scope: Mapping[str, int], seconds: float | None = None) -> Judgement:
        """Run and judge one sequence."""
        limit = self.options.example_seconds if seconds is None else seconds
        transcript = self.child.run(sequence, scope, limit)
        return judge(self.contract, sequence, transcript, self.workload.oracle(scope))

    def attempt(self, sequence: Sequence, scope: Mapping[str, int]) -> Judgement:
        """Run one sequence of the search proper: count it, keep it if it fails."""
        judgement = self.run(sequence, scope)
        if judgement.declined:
            self.declined[show_scope(scope)] = judgement.declined
            return judgement
        self.examples += 1
        self.operations += len(judgement.records)
        self.counts.update(judgement.counts)
        for name, value in judgement.peaks.items():
            self.peaks[name] = max(self.peaks[name], value)
        key = key_of(judgement)
        if key is not None:
            self.keep(key, sequence, scope, judgement)
        return judgement

    def keep(self, key: Key, sequence: Sequence, scope: Mapping[str, int], judgement: Judgement) -> None:
        """Remember the smallest failing sequence of each kind of failure."""
        self.failed += 1
        self.hangs += key[1] == "hang"
        cut = sequence[: judgement.failed_at + 1]
        known = self.failures.get(key)
        if known is None or weight(cut) < weight(known.sequence):
            self.failures[key] = Failure(scope, cut, judgement)

    def allowed(self, sequence: Sequence) -> Sequence:
        """The sequence without the operations that are not to be called."""
        skipped = [index for index, operation in enumerate(sequence) if operation.kind in self.options.skip]
        return without(sequence, frozenset(skipped)) if skipped else sequence

    def expired(self) -> bool:
        """Is the time used up?"""
        return time.monotonic() >= self.deadline

    def shortest(self) -> int:
        """The length of the shortest failing sequence."""
        return min((len(failure.sequence) for failure in self.failures.values()), default=0)

    def systematic(self) -> bool:
        """Every systematic sequence; was it completed?"""
        since = self.examples
        enough = FAILURES_KEPT if self.options.max_findings > 1 else 1
        until = time.monotonic() + SYSTEMATIC_PART * (self.deadline - time.monotonic())
        for scope, sequence in self.workload.systematic():
            if time.monotonic() >= until:
                return False
            if show_scope(scope) not in self.declined:
                self.attempt(self.allowed(sequence), scope)
            since = self.examples if not self.failures else since
            settled = self.examples - since >= SETTLING or self.shortest() <= SHORT
            if (self.failed >= enough and settled) or self.hangs:
                return False
        return True

    def random(self) -> int:
        """Sequences drawn and shrunk by Hypothesis, in chunks until examples or time are used up; how many were run."""
        scopes = [scope for scope in self.workload.scopes if show_scope(scope) not in self.declined]
        before, chunk = self.examples, 0
        while scopes and not self.failures and not self.expired() and self.examples - before < self.options.examples:
            count = min(CHUNK, self.options.examples - (self.examples - before))
            if not self.draw_chunk(scopes, count, self.options.seed + chunk * 1_000_003):
                break
            chunk += 1
        return self.examples - before

    def draw_chunk(self, scopes: list[Mapping[str, int]], count: int, seed: int) -> bool:
        """One Hypothesis run; False when it drew nothing new. A failing sequence is shrunk by Hypothesis itself."""
        import hypothesis
        from hypothesis import strategies

        numbers = strategies.integers(0, NUMBERS - 1)
        draws = strategies.builds(Draw, strategies.sampled_from(self.workload.kinds), numbers, numbers)
        longest = self.options.operations
        # Hypothesis draws short lists unless told otherwise; exhaustion and fragmentation need long ones.
        short, long = (strategies.lists(draws, min_size=least, max_size=longest) for least in (1, 1 + longest // 2))
        chosen = strategies.sampled_from(range(len(scopes)))
        results: dict[tuple[int, Sequence], Key | None] = {}
        target: list[Key] = []
        shrink_until = [float("inf")]

        def example(number: int, drawn: list[Draw]) -> None:
            scope = scopes[number]
            sequence = self.workload.program(drawn, scope)
            sequence = self.allowed((*sequence, *self.workload.closing(scope)))
            known = (number, sequence)
            if known not in results:
                if time.monotonic() >= (shrink_until[0] if target else self.deadline):
                    raise _EnoughError
                results[known] = key_of(self.attempt(sequence, scope))
            key = results[known]
            if key is not None and not target:
                target.append(key)
                shrink_until[0] = time.monotonic() + DRAWN_SHRINK_SECONDS
            if key is not None and key == target[0]:
                raise _Failing

        settings = hypothesis.settings(
            max_examples=count,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            verbosity=hypothesis.Verbosity.quiet,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        decorated = hypothesis.seed(seed)(settings(hypothesis.given(chosen, short | long)(example)))
        with contextlib.suppress(_Failing, _EnoughError, hypothesis.errors.HypothesisException, BaseExceptionGroup):
            decorated()
        return bool(results)


class _Failing(Exception):  # noqa: N818
    """Tells Hypothesis that a sequence fails."""


class _EnoughError(BaseException):
    """Stops Hypothesis at once, drawing or shrinking: only exceptions outside Exception pass through it."""


def key_of(judgement: Judgement) -> Key | None:
    """What kind of failure a judgement is; None if it is none."""
    broken = judgement.broken
    if broken is None:
        return None
    return broken.clause, broken.kind, broken.detail if broken.kind in ("crash", "exception") else ""


def show_scope(scope: Mapping[str, int]) -> str:
    """pages=4,orders=3"""
    return ",".join(f"{name}={value}" for name, value in scope.items())
