"""Random testing of a specification with Hypothesis: verdicts, counts, coverage and a shrunk counterexample.

The one idea: what Hypothesis generates is what the bound speaks of; what it does after the first violation, to shrink
it, is not counted. In a large scope a check of all properties takes far longer than a step; they are then checked so
often that they take about half of the time, measured before the runs. A bad run is generated once more from the same
seed, with every step checked from there on, and that is shrunk.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.errors import HypothesisException, Unsatisfiable
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ...model.lang.errors import InputError
from ...model.lang.ir import Program, Sizes
from ...model.lang.spec import Spec
from ...model.lang.trace import Trace
from ...model.lang.verdict import Outcome, Verdict
from .coverage import BranchTracer
from .machine import state_machine
from .results import ActionCount, StatefulProgress, StatefulRun
from .shortening import shorten
from .walking import LARGE_STATE, Chance, Finding, InitRejectedError, ViolationError, Walker

CHECK_EVERY_MAX = 1 << 12
"""All properties are checked at least after so many steps."""

CHECKS_MIN, CHECKS_SECONDS = 16, 5.0
"""So many checks are made at least, if they take no longer than this."""

CHECK_EVERY_BROKEN = 8
"""After so many, if the sample that was to be timed broke already."""

HYPOTHESIS_SECONDS = 0.0001
"""What Hypothesis itself costs for each step, about."""

SAMPLE_STEPS, SAMPLE_SECONDS = 64, 0.5
"""The steps that are timed to find out how often properties can be checked, and the time after which fewer do."""

STEPS_MAX = 250
"""Steps of one run. Hypothesis bounds the choices of one example, and would cut longer runs short."""

RULE_STEPS, RULES_MIN, RUNS_MORE = 2, 16, 8
"""In a large scope, where some rules take many steps: steps for each rule of a run, the fewest rules of a run, and how
many times the runs asked for are begun if they turn out short."""

PROGRESS_SECONDS = 0.1

SHRINKING_SHARE = 0.75
"""Of a time limit, the part after which Hypothesis must leave the rest of the shrinking to `shorten`."""

INTERRUPTED = "interrupted"

OnProgress = Callable[[StatefulProgress], None]


class _OutOfTime(BaseException):
    """Leaves Hypothesis, which catches every Exception."""


class _Done(BaseException):
    """Leaves Hypothesis when the steps asked for were done: in a large scope it cannot count them."""


def run(
    spec: Spec,
    program: Program,
    sizes: Sizes,
    *,
    spec_name: str = "",
    seed: int = 0,
    examples: int = 100,
    steps: int = 50,
    progress: OnProgress | None = None,
    seconds: float | None = None,
    check_every: int | None = None,
) -> StatefulRun:
    """Test a specification with `examples` random runs of `steps` steps, for at most so many seconds of CPU time."""
    if examples < 1 or steps < 1:
        raise InputError(f"{examples} runs of {steps} steps test nothing", "ask for at least one run of one step")
    if check_every is None:
        check_every = _affordable(spec, program, sizes, seed, examples * steps)
    testing = _Testing(spec, program, sizes, seed, examples, steps, check_every)
    testing.limit(seconds, progress)
    with _no_files():
        testing.test()
    return testing.result(spec_name or spec.name)


class _Testing:
    """One call of `run`."""

    def __init__(
        self, spec: Spec, program: Program, sizes: Sizes, seed: int, examples: int, steps: int, check_every: int
    ) -> None:
        self.spec = spec
        self.program = program
        self.sizes = sizes
        self.seed = seed
        # Long runs are cut into more of the allowed length, so that as many steps are done as were asked for.
        self.large = program.schema.total(sizes) > LARGE_STATE
        self.steps = steps if self.large else min(steps, STEPS_MAX)
        self.examples = -(-examples * steps // self.steps)
        self.wanted = examples * steps
        self.check_every = check_every
        self.machine = state_machine(spec, program, sizes, check_every=check_every)
        hypothesis.seed(seed)(self.machine)
        self.walker: Walker = _walker(self.machine)
        self.walker.tracer = BranchTracer(spec, program)
        self.walker.steps_max = self.steps
        self.began = time.monotonic()
        self.worked = time.thread_time()
        self.stopped = ""
        self.told: Finding | None = None
        self.smallest = False
        self.shortening = False

    # --- limits and progress

    def limit(self, seconds: float | None, progress: OnProgress | None) -> None:
        """Watch the time, and report, before each step."""
        shown = self.began

        def before_step() -> None:
            nonlocal shown
            now = time.monotonic()
            share = 1.0 if self.walker.counting or self.shortening else SHRINKING_SHARE
            if self.large and self.walker.counting and self.walker.counts.steps >= self.wanted:
                raise _Done
            # Of this thread alone: another engine may be at work beside it.
            if seconds is not None and time.thread_time() - self.worked > seconds * share:
                self.stopped = f"time limit of {seconds:g} s"
                raise _OutOfTime
            if progress is not None and now - shown >= PROGRESS_SECONDS:
                shown = now
                progress(self.progress(now))

        self.walker.before_step = before_step

    def progress(self, now: float) -> StatefulProgress:
        counts = self.walker.counts
        return StatefulProgress(
            counts.steps, counts.runs, len(self.walker.states), now - self.began, not self.walker.counting
        )

    # --- the work

    def test(self) -> None:
        """Random runs until they are done or one is bad, and that one shrunk."""
        if self.check_every == 1:
            self._run_hypothesis((Phase.generate, Phase.shrink))
        else:
            self._run_hypothesis((Phase.generate,))
            if self.walker.finding is not None and not self.stopped:
                self._shrink_again(self.walker.finding)
        if self.best is not None and self.stopped != INTERRUPTED:
            self.shortening = True
            with self._leaving():
                shorten(self.walker)
        self.smallest = self.best is not None and not self.stopped

    @property
    def best(self) -> Finding | None:
        return self.walker.finding

    def _shrink_again(self, sparse: Finding) -> None:
        """Shrink a violation that was found between unchecked steps; until then, cut it after its first bad state."""
        with self._leaving():
            self.walker.rerun(sparse.steps)
            if self.large:
                return  # the steps of a burst can be left out one by one, which Hypothesis cannot: `shorten` does
            self.walker.check_all_from(self.walker.counts.runs)
            self._run_hypothesis((Phase.generate, Phase.shrink))

    def _run_hypothesis(self, phases: tuple[Phase, ...]) -> None:
        # A rule may be a burst of steps in a large scope: fewer rules to a run, and more runs if these were too few.
        rules = min(STEPS_MAX, max(RULES_MIN, self.steps // RULE_STEPS)) if self.large else self.steps
        chosen = settings(
            max_examples=self.examples * (RUNS_MORE if self.large else 1),
            stateful_step_count=rules + 1,  # init is a step to Hypothesis
            phases=phases,
            database=None,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=Verbosity.quiet,
        )
        with self._leaving():
            run_state_machine_as_test(self.machine, settings=chosen)

    @contextlib.contextmanager
    def _leaving(self) -> Iterator[None]:
        """What ends a pass: the violation itself, the time limit, Ctrl-C, or Hypothesis giving up."""
        try:
            yield
        except (ViolationError, _OutOfTime, _Done):
            pass
        except Unsatisfiable:
            self.stopped = "no run could be generated"
        except HypothesisException as error:
            # Hypothesis takes a replayed run that was left half-way for a flaky one.
            if isinstance(error.__context__, _Done):
                return
            if isinstance(error.__context__, KeyboardInterrupt):
                self.stopped = INTERRUPTED
            elif self.best is None and not isinstance(error.__context__, _OutOfTime):
                raise
            self.stopped = self.stopped or f"Hypothesis gave up: {type(error).__name__}"
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED

    # --- the answer

    def result(self, spec_name: str) -> StatefulRun:
        counts = self.walker.counts
        tracer = self.walker.tracer
        assert tracer is not None
        self.told = None if self.best is None else self.walker.told(self.best)
        trace = None if self.told is None else self.told.trace(self.program, self.sizes, spec_name)
        if trace is not None and not self.smallest:
            trace = replace(trace, notes=(*trace.notes, f"not shrunk to the end: {self.stopped}"))
        seconds = time.monotonic() - self.began
        actions = tuple(
            ActionCount(action.name, counts.offered[number], counts.fired[number], counts.refused[number])
            for number, action in enumerate(self.program.actions)
        )
        return StatefulRun(
            verdicts=tuple(self._verdicts(spec_name, trace, seconds)),
            seed=self.seed,
            runs=counts.runs,
            steps=counts.steps,
            states=len(self.walker.states),
            check_every=self.check_every,
            checked=counts.checked,
            actions=actions,
            branches=tracer.result() if tracer.usable else (),
            branches_measured=tracer.usable,
            seconds=seconds,
            stopped=self.stopped,
            trace=trace,
            smallest=self.smallest,
        )

    def _verdicts(self, spec_name: str, trace: Trace | None, seconds: float) -> Iterator[Verdict]:
        counts = self.walker.counts
        names = [*dict.fromkeys(item.identifier for item in self.program.properties), "checks"]
        if self.spec.deadlock_free:
            names.append("deadlock")
        violations = self.best.violations if self.best is not None else ()
        broken = {item.property: number for number, item in reversed(list(enumerate(violations)))}
        outcome = Outcome.HOLDS
        if self.best is None and (self.stopped == INTERRUPTED or not counts.runs):
            outcome = Outcome.UNKNOWN
        for name in names:
            verdict = Verdict(
                "hypothesis", name, outcome, self._bound(), len(self.walker.states), counts.steps, seconds,
                reason=self.stopped,
            )
            if name in broken:
                verdict = replace(verdict, outcome=Outcome.VIOLATED, bound=self._length())
                if trace is None or self.told is None:
                    verdict = replace(verdict, reason="the states are too large to be told")
                else:
                    own = self.told.trace(self.program, self.sizes, spec_name, broken[name])
                    verdict = replace(verdict, trace=replace(own, notes=trace.notes))
            yield verdict

    def _length(self) -> str:
        assert self.best is not None
        count = len(self.best.steps) - 1
        return f"{_count(count, 'step')}" + (", shrunk" if self.smallest else "")

    def _bound(self) -> str:
        counts = self.walker.counts
        text = f"{_count(counts.steps, 'random step')} in {_count(counts.runs, 'run')}, seed {self.seed}"
        if self.check_every > 1:
            text += f", properties checked after one step in {self.check_every} ({counts.checked:,} of them)"
        return text


def _walker(machine: type[RuleBasedStateMachine]) -> Walker:
    instance: Any = machine()
    walker = instance.walker
    assert isinstance(walker, Walker)
    return walker


def _affordable(spec: Spec, program: Program, sizes: Sizes, seed: int, wanted: int) -> int:
    """After how many steps all properties can be checked so that this takes about half of the time: 1 in a small scope,
    else a power of two, so that it comes out the same more often than not. A short test has a few checks anyway."""
    if program.schema.total(sizes) <= LARGE_STATE:
        return 1
    walker = Walker(spec, program, sizes, check_every=1 << 62)
    try:
        walker.begin(Chance(Random(seed)))
        started = time.process_time()
        for number in range(SAMPLE_STEPS):
            walker.burst(seed + number, 1)
            if time.process_time() - started > SAMPLE_SECONDS:
                break
        stepped = time.process_time()
        walker.evaluate()
    except (ViolationError, InitRejectedError):
        return CHECK_EVERY_BROKEN
    a_step = (stepped - started) / max(1, walker.counts.steps) + HYPOTHESIS_SECONDS
    a_check = time.process_time() - stepped
    most = CHECK_EVERY_MAX
    if a_check * CHECKS_MIN <= CHECKS_SECONDS:
        most = max(1, min(most, wanted // CHECKS_MIN))
    return 1 << min(most.bit_length() - 1, max(0, math.ceil(math.log2(a_check / a_step))))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


@contextlib.contextmanager
def _no_files() -> Iterator[None]:
    """Keep Hypothesis from leaving its directory of cached constants where the user happens to stand."""
    from hypothesis import configuration

    before = getattr(configuration, "__hypothesis_home_directory", None)
    with tempfile.TemporaryDirectory() as directory:
        set_hypothesis_home_dir(directory)
        try:
            yield
        finally:
            set_hypothesis_home_dir(before)
