"""A walk through a specification, step by step, with everything checked and counted on the way.

The one idea: whoever walks (Hypothesis, a person in a debugger) only says which action, arguments and choices; the
walker runs the step in CPython, checks it, and raises `ViolationError` at the first bad state. States and steps that
were found good are remembered by a 128-bit digest and not checked again, so that a small scope costs little.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from ...model.lang.actions import Chooser
from ...model.lang.execute import PythonMachine
from ...model.lang.ir import Program, Sizes
from ...model.lang.spec import Spec
from ...model.lang.trace import FlatStep, StepOutcome, Trace, Violation, failure_violation, to_step
from .arguments import EnabledArguments
from .coverage import BranchTracer

REMEMBERED_MAX = 250_000
"""Digests of good states and of good steps that are kept; beyond, they are checked again."""

DEADLOCK_DOMAIN_MAX = 4096
"""An action that its later guards refuse is followed by a full look for a deadlock up to this many argument tuples."""


StepKey = tuple[bytes, int, tuple[int, ...], int | None, bytes]
"""The state before, the action, its arguments and result, the state after."""


class ViolationError(AssertionError):
    """The specification does not hold: what broke first, and the run that broke it."""

    def __init__(self, found: Finding) -> None:
        first = found.violations[0]
        elements = ", ".join(f"{name} {value}" for name, value in first.elements)
        place = f" at {first.position}" if first.position else ""
        super().__init__(f"{first.property}: {first.clause}" + (f" ({elements})" if elements else "") + place)
        self.found = found


class InitRejectedError(Exception):
    """Init cannot happen with these choices: the run is none."""


@dataclass(frozen=True)
class Finding:
    """A run that ends badly, and everything that its last state or step breaks."""

    steps: tuple[FlatStep, ...]
    violations: tuple[Violation, ...]

    def trace(self, program: Program, sizes: Sizes, spec_name: str, number: int = 0) -> Trace:
        steps = tuple(to_step(program, sizes, step) for step in self.steps)
        return Trace(spec_name, dict(sizes), steps, self.violations[number], engine="hypothesis", shortest=False)


@dataclass
class Counts:
    """What was done so far."""

    runs: int = 0
    steps: int = 0
    offered: list[int] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


class _Recorder:
    """Passes choices on and remembers them."""

    def __init__(self, chooser: Chooser | None) -> None:
        self.chooser = chooser
        self.made: list[int] = []

    def choose(self, options: range) -> int:
        value = options[0] if self.chooser is None else self.chooser.choose(options)
        self.made.append(value)
        return value


class Walker:
    """One specification at one scope, and the run it is in. `check_every` 8: all properties after every eighth step."""

    def __init__(self, spec: Spec, program: Program, sizes: Sizes, check_every: int = 1) -> None:
        self.program = program
        self.sizes = sizes
        self.machine = PythonMachine(spec, program, sizes)
        self.deadlock_free = spec.deadlock_free
        self.check_every = check_every
        actions = range(len(program.actions))
        self.arguments = [EnabledArguments(self.machine, action) for action in actions]
        self.counts = Counts(0, 0, *([0 for _ in actions] for _ in range(3)))
        self.counting = True
        self.steps: list[FlatStep] = []
        self.finding: Finding | None = None
        self.tracer: BranchTracer | None = None
        self.before_step: Callable[[], None] | None = None
        self.states: set[bytes] = set()
        self._good_states: set[bytes] = set()
        self._good_steps: set[StepKey] = set()
        self._digest = self._digest_before = b""
        self._runs_until_all: int | None = None
        self._asked: list[bool | None] = [None for _ in actions]

    # --- a run

    def begin(self, chooser: Chooser | None = None) -> None:
        """Start a run: init, with its choices, and the checks of the initial state."""
        self._pause()
        if self._runs_until_all is not None:
            self._runs_until_all -= 1
            if self._runs_until_all <= 0:
                self.check_every = 1
        self.steps = []
        recorder = _Recorder(chooser)
        with self._measured():
            outcome = self.machine.start(recorder)
            if not outcome.enabled:
                raise InitRejectedError
            state = outcome.state if outcome.state is not None else self.machine.state
            self._enter(FlatStep(-1, (), tuple(recorder.made), None, state))
            for arguments in self.arguments:
                arguments.restart()
            if self.counting:
                self.counts.runs += 1
            if outcome.failure is not None:
                self._fail([failure_violation(self.program, outcome.failure, "init")])
            self._judge((b"", -1, (), None, self._digest), self.machine.check_initial)

    def offered(self, action: int) -> bool:
        """Whether an action can be taken: some arguments pass its leading guards."""
        known = self._asked[action]
        if known is None:
            known = self._asked[action] = self.arguments[action].offered()
            if known and self.counting:
                self.counts.offered[action] += 1
        return known

    def stuck(self) -> bool:
        """Whether no action is offered."""
        return not any(self.offered(action) for action in range(len(self.program.actions)))

    def stay(self) -> None:
        """The only thing to do when no action is offered; a violation if that must not happen."""
        self._pause()
        if self.deadlock_free and all(arguments.exact for arguments in self.arguments):
            self._deadlock()

    def take(self, action: int, arguments: tuple[int, ...], chooser: Chooser | None = None) -> StepOutcome:
        """One step; raises ViolationError if it breaks something. A step that a later guard refuses changes nothing."""
        self._pause()
        if self.counting:
            for other in range(len(self.program.actions)):
                self.offered(other)  # Hypothesis asks only until it has an answer; the counts are of all actions
        before = self.steps[-1].state
        recorder = _Recorder(chooser)
        with self._measured():
            outcome = self.machine.take(action, arguments, recorder)
            if not outcome.enabled:
                if self.counting:
                    self.counts.refused[action] += 1
                self._look_for_deadlock(before)
                return outcome
            if self.counting:
                self.counts.steps += 1
                self.counts.fired[action] += 1
            after = outcome.state if outcome.state is not None else before
            self._enter(FlatStep(action, arguments, tuple(recorder.made), outcome.result, after))
            if outcome.failure is not None:
                name = self.program.actions[action].name
                self._fail([failure_violation(self.program, outcome.failure, name)])
            if (len(self.steps) - 1) % self.check_every == 0:
                self._check(before, action, arguments, outcome)
        return outcome

    def rerun(self, steps: tuple[FlatStep, ...]) -> Finding | None:
        """A run again with every step checked; what it breaks first, if all its steps are possible and it does."""
        every, self.check_every = self.check_every, 1
        try:
            self.begin(_Given(steps[0].choices))
            for step in steps[1:]:
                if not self.take(step.action, step.arguments, _Given(step.choices)).enabled:
                    return None
            if self.stuck():
                self.stay()
        except ViolationError as violated:
            return violated.found
        except InitRejectedError:
            return None
        finally:
            self.check_every = every
        return None

    def check_all_from(self, run: int) -> None:
        """Check every step from the run with this number on, counted from now."""
        self._runs_until_all = run

    # --- checks

    def _check(self, before: tuple[int, ...], action: int, arguments: tuple[int, ...], outcome: StepOutcome) -> None:
        """All properties of a completed step and of the state after it."""
        key = (self._digest_before, action, arguments, outcome.result, self._digest)
        self._judge(key, lambda: self.machine.check_step(before, action, arguments, outcome))

    def _judge(self, step: StepKey, check_step: Callable[[], list[Violation]]) -> None:
        """Check a step and its state, as far as they are not known to be good."""
        violations = [] if step in self._good_steps else check_step()
        if self._digest not in self._good_states:
            violations += self.machine.check()
        if violations:
            self._fail(violations)
        if len(self._good_steps) < REMEMBERED_MAX:
            self._good_steps.add(step)
            self._good_states.add(self._digest)

    def _look_for_deadlock(self, state: tuple[int, ...]) -> None:
        if self.deadlock_free and sum(arguments.size for arguments in self.arguments) <= DEADLOCK_DOMAIN_MAX:
            possible = any(True for _ in self.machine.successors(state))
            self.machine.state = state
            if not possible:
                self._deadlock()

    def _deadlock(self) -> None:
        self._fail([Violation("deadlock", "no action is enabled", "deadlock", (), "no action is enabled")])

    def _fail(self, violations: list[Violation]) -> None:
        self.counting = False
        found = Finding(tuple(self.steps), tuple(violations))
        # The later of two equally long ones is the simpler one: shrinking only goes down.
        if self.finding is None or len(found.steps) <= len(self.finding.steps):
            self.finding = found
        raise ViolationError(found)

    # --- bookkeeping

    def _enter(self, step: FlatStep) -> None:
        self.steps.append(step)
        for arguments in self.arguments:
            arguments.forget()
        self._asked = [None for _ in self._asked]
        self._digest_before, self._digest = self._digest, _digest(step.state)
        if self.counting:
            self.states.add(self._digest)

    def _pause(self) -> None:
        if self.before_step is not None:
            self.before_step()

    def _measured(self) -> contextlib.AbstractContextManager[None]:
        if self.tracer is not None and self.counting and self.tracer.wanted(self.counts.steps):
            return self.tracer.measure()
        return contextlib.nullcontext()


class _Given:
    """A chooser that repeats recorded choices."""

    def __init__(self, choices: tuple[int, ...]) -> None:
        self.choices = iter(choices)

    def choose(self, options: range) -> int:
        value = next(self.choices, options[0])
        return value if value in options else options[0]


def _digest(state: tuple[int, ...]) -> bytes:
    """128 bits of a state. Values beyond 64 bits signed (an unsigned counter of 64 bits) go through text."""
    try:
        return blake2b(array("q", state).tobytes(), digest_size=16).digest()
    except OverflowError:
        return blake2b(repr(state).encode(), digest_size=16).digest()

