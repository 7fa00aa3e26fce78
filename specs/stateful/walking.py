"""A walk through a specification, step by step, with everything checked and counted on the way.

The one idea: whoever walks (Hypothesis, a person in a debugger) only says which action, arguments and choices; the
walker runs the step in CPython, checks it, and raises `ViolationError` at the first bad state. States and steps that
were found good are remembered by a 127-bit digest and not checked again, so that a small scope costs little. No state
is read as a whole while walking (a large one has millions of numbers); those of a finding are read when it is told.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from ...model.lang.execute import PythonMachine
from ...model.lang.ir import NONE, IntegerType, LeafType, Program, Sizes
from ...model.lang.spec import Spec
from ...model.lang.trace import FlatStep, StepOutcome, Trace, Violation, failure_violation, to_step
from .arguments import EnabledArguments, guarded_leaves
from .coverage import BranchTracer
from .following import Follower, LeafDimension, Pool
from .looking_ahead import LookAhead

REMEMBERED_MAX = 250_000
"""Digests of good states and of good steps that are kept; beyond, they are checked again."""

DEADLOCK_DOMAIN_MAX = 4096
"""An action that its later guards refuse is followed by a full look for a deadlock up to this many argument tuples."""


LARGE_STATE = 1024
"""States of more numbers than this are large: arguments are drawn from pools, and not every step is checked."""

TOLD_MAX = 1 << 24
"""The states of a finding are told if they have no more numbers than this in all."""

PINNED = 0.5
"""In a burst, the chance of each parameter of the favourite action to be held fixed."""

FAVOURED = (0.0, 0.6, 0.95)
"""In a phase of a burst, the share of steps that its favourite action takes is one of these."""

PHASE_ENDS = 1 / 24
"""In a burst, the chance that another phase begins with the next step."""

StepKey = tuple[int, int, tuple[int, ...], int | None, int]
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
    checked: int = 0
    offered: list[int] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


class Chooser(Protocol):
    """Who chooses: as the engines' choosers, among options that need not be a range."""

    def choose(self, options: Sequence[int]) -> int: ...


class _Recorder:
    """Passes choices on and remembers them. With `ahead`, among the options that pass the guard after the choice."""

    def __init__(self, chooser: Chooser | None, ahead: LookAhead | None = None) -> None:
        self.chooser = chooser
        self.ahead = ahead
        self.made: list[int] = []

    def choose(self, options: Sequence[int]) -> int:
        if self.ahead is not None and isinstance(options, range):
            options = self.ahead.passing(sys._getframe(2), options)
        value = options[0] if self.chooser is None else self.chooser.choose(options)
        self.made.append(value)
        return value


class Walker:
    """One specification at one scope, and the run it is in. `check_every` 8: all properties after one step in eight."""

    def __init__(self, spec: Spec, program: Program, sizes: Sizes, check_every: int = 1) -> None:
        self.program = program
        self.sizes = sizes
        self.machine = PythonMachine(spec, program, sizes)
        self.deadlock_free = spec.deadlock_free
        self.check_every = check_every
        actions = range(len(program.actions))
        self.large = program.schema.total(sizes) > LARGE_STATE
        self.ahead = LookAhead(self.machine.store) if self.large else None
        leaves = [guarded_leaves(program, sizes, action) if self.large else {} for action in actions]
        self.follower = Follower(program, sizes, {pair for item in leaves for pairs in item.values() for pair in pairs})
        self.arguments = [EnabledArguments(self.machine, action, self._pools(leaves[action])) for action in actions]
        self.counts = Counts(0, 0, 0, *([0 for _ in actions] for _ in range(3)))
        self.counting = True
        self.steps: list[FlatStep] = []
        self.finding: Finding | None = None
        self.tracer: BranchTracer | None = None
        self.before_step: Callable[[], None] | None = None
        self.states: set[int] = set()
        self._good_states: set[int] = set()
        self._good_steps: set[StepKey] = set()
        self._digest = self._digest_before = 0
        self._rerunning = False
        self.steps_max = 1 << 30
        self.focus: frozenset[str] | None = None  # while shortening: the properties that were broken, not all
        self._runs_until_all: int | None = None
        self._asked: list[bool | None] = [None for _ in actions]

    def _pools(self, leaves: dict[int, list[LeafDimension]]) -> dict[int, list[Pool]] | None:
        """The pools of an action's parameters; None in a small scope, where arguments are enumerated."""
        if not self.large:
            return None
        return {position: [self.follower.pools[pair] for pair in pairs] for position, pairs in leaves.items()}

    # --- a run

    def begin(self, chooser: Chooser | None = None) -> None:
        """Start a run: init, with its choices, and the checks of the initial state."""
        self._pause()
        if self._runs_until_all is not None:
            self._runs_until_all -= 1
            if self._runs_until_all <= 0:
                self.check_every = 1
        self.steps = []
        recorder = _Recorder(chooser, None if self._rerunning else self.ahead)
        with self._measured():
            outcome = self.machine.begin(recorder)
            if not outcome.enabled:
                raise InitRejectedError
            self.machine.restart()
            self.follower.restart()
            self._enter(FlatStep(-1, (), tuple(recorder.made), None, ()))
            for arguments in self.arguments:
                arguments.restart()
            if self.counting:
                self.counts.runs += 1
            if outcome.failure is not None:
                self._fail([failure_violation(self.program, outcome.failure, "init")])
            self._judge((0, -1, (), None, self._digest), self.machine.check_initial)
        self.machine.settle(self.machine.changes)

    def offered(self, action: int) -> bool:
        """Whether an action can be taken: some arguments pass its leading guards, and the run has not ended."""
        if self.room() <= 0:
            return False
        known = self._asked[action]
        if known is None:
            known = self._asked[action] = self.arguments[action].offered()
            if known and self.counting:
                self.counts.offered[action] += 1
        return known

    def room(self) -> int:
        """How many steps this run may still have."""
        return self.steps_max - (len(self.steps) - 1)

    def stuck(self) -> bool:
        """Whether no action is offered."""
        actions = range(len(self.program.actions))
        if any(self.offered(action) for action in actions):
            return False
        if self.room() <= 0:
            return True
        # In a large scope a few probes are no answer: look again before it is called a deadlock.
        self._asked = [arguments.insist() for arguments in self.arguments]
        return not any(self._asked)

    def stay(self) -> None:
        """The only thing to do when no action is offered; a violation if that must not happen."""
        self._pause()
        if self.deadlock_free and self.room() > 0 and all(arguments.exact for arguments in self.arguments):
            self._deadlock()

    def take(self, action: int, arguments: tuple[int, ...], chooser: Chooser | None = None) -> StepOutcome:
        """One step; raises ViolationError if it breaks something. A step that a later guard refuses changes nothing."""
        if not self._rerunning:
            # Hypothesis asks only until it has an answer; the counts are of all actions, and the search goes on from
            # what was found, so that it must not depend on who asked.
            for other in range(len(self.program.actions)):
                self.offered(other)
        return self._take(action, arguments, chooser)

    def _take(self, action: int, arguments: tuple[int, ...], chooser: Chooser | None) -> StepOutcome:
        self._pause()
        recorder = _Recorder(chooser, None if self._rerunning else self.ahead)
        with self._measured():
            outcome = self.machine.perform(action, arguments, recorder)
            if not outcome.enabled:
                if self.counting:
                    self.counts.refused[action] += 1
                self._look_for_deadlock()
                return outcome
            if self.counting:
                self.counts.steps += 1
                self.counts.fired[action] += 1
            self._enter(FlatStep(action, arguments, tuple(recorder.made), outcome.result, ()))
            if outcome.failure is not None:
                name = self.program.actions[action].name
                self._fail([failure_violation(self.program, outcome.failure, name)])
            # A sample that depends on the run alone: Hypothesis runs a bad run again and wants it to end as badly.
            if self.check_every == 1 or hash((self._digest, action, len(self.steps))) % self.check_every == 0:
                self._check(action, arguments, outcome)
        self.machine.settle(self.machine.changes)
        return outcome

    def burst(self, seed: int, times: int) -> None:
        """Up to `times` steps at random, in phases: in each, one action with some arguments held fixed may be favoured,
        so that what it uses up is used up and what it fills is filled. A seed and a state decide the steps."""
        generator = Random(seed)
        chooser = Chance(generator)
        favourite, favoured, pinned = -1, 0.0, {}
        for _ in range(times):
            if generator.random() < PHASE_ENDS:
                favourite = -1
            action = favourite
            if favourite < 0 or generator.random() >= favoured or not self.offered(favourite):
                # Asking may cost a search: ask until one is found, in any order.
                order = generator.sample(range(len(self.program.actions)), len(self.program.actions))
                action = next((action for action in order if self.offered(action)), -1)
            if action < 0:
                return
            if favourite < 0:
                favourite, favoured, pinned = action, generator.choice(FAVOURED), self._pinned(action, generator)
            arguments = self.arguments[action].at(generator.randrange(self.arguments[action].count()))
            if action == favourite and pinned:
                wanted = tuple(pinned.get(position, value) for position, value in enumerate(arguments))
                if self.machine.enabled(action, wanted):
                    arguments = wanted
            self._take(action, arguments, chooser)

    def _pinned(self, action: int, generator: Random) -> dict[int, int]:
        """Values for some of an action's parameters, not of those that have pools: they are to vary."""
        arguments = self.arguments[action]
        return {
            position: low + generator.randrange(length)
            for position, (low, length) in enumerate(zip(arguments.lows, arguments.lengths, strict=True))
            if position not in arguments.pools and generator.random() < PINNED
        }

    def told(self, finding: Finding) -> Finding | None:
        """A finding with the state after each of its steps; None if they are too large to be told."""
        if self.program.schema.total(self.sizes) * len(finding.steps) > TOLD_MAX:
            return None
        steps: list[FlatStep] = []
        for step in finding.steps:
            given = _Given(step.choices)
            if step.action < 0:
                self.machine.start(given)
            else:
                self.machine.take(step.action, step.arguments, given)
            steps.append(replace(step, state=self.machine.state))
        return replace(finding, steps=tuple(steps))

    def rerun(self, steps: tuple[FlatStep, ...]) -> Finding | None:
        """A run again with every step checked, without the steps that are not possible any more; what it breaks first,
        if it does. Where a step was about what an earlier one returned, it is about what that one returns now."""
        returned: dict[tuple[str, int], int] = {}
        every, self.check_every = self.check_every, 1
        self._rerunning = True
        try:
            self.begin(_Given(steps[0].choices))
            for step in steps[1:]:
                ir = self.program.actions[step.action]
                sorts = [_sort(parameter.type) for parameter in ir.parameters]
                arguments = [returned.get(pair, pair[1]) for pair in zip(sorts, step.arguments, strict=True)]
                outcome = self.take(step.action, tuple(arguments), _Given(step.choices))
                then, now = step.result, outcome.result
                if then is not None and now is not None and then != NONE and now != NONE and _sort(ir.returns):
                    returned[_sort(ir.returns), then] = now
            if self.stuck():
                self.stay()
        except ViolationError as violated:
            return violated.found
        except InitRejectedError:
            return None
        finally:
            self.check_every = every
            self._rerunning = False
        return None

    def check_all_from(self, run: int) -> None:
        """Check every step from the run with this number on, counted from now."""
        self._runs_until_all = run

    def look_for_the_same(self) -> None:
        """From now on check only one property that the finding breaks: all of them take long in a large scope."""
        if self.large and self.finding is not None:
            self.focus = frozenset((self.finding.violations[0].property,))

    # --- checks

    def evaluate(self) -> None:
        """Evaluate all properties of the run's last step and state, to see how long it takes; the answer is dropped,
        for the state before the step is gone."""
        self.machine.check()
        last = self.steps[-1]
        if last.action >= 0:
            self.machine.check_performed(last.action, last.arguments, StepOutcome(True, None, last.result))

    def _check(self, action: int, arguments: tuple[int, ...], outcome: StepOutcome) -> None:
        """All properties of a completed step and of the state after it."""
        if self.counting:
            self.counts.checked += 1
        key = (self._digest_before, action, arguments, outcome.result, self._digest)
        self._judge(key, lambda: self.machine.check_performed(action, arguments, outcome, self.focus))

    def _judge(self, step: StepKey, check_step: Callable[[], list[Violation]]) -> None:
        """Check a step and its state, as far as they are not known to be good."""
        violations = [] if step in self._good_steps else check_step()
        if self._digest not in self._good_states:
            violations += self.machine.check(only=self.focus)
        if violations:
            self._fail(violations)
        if self.focus is None and len(self._good_steps) < REMEMBERED_MAX:
            self._good_steps.add(step)
            self._good_states.add(self._digest)

    def _look_for_deadlock(self) -> None:
        if self.deadlock_free and sum(arguments.size for arguments in self.arguments) <= DEADLOCK_DOMAIN_MAX:
            state = self.machine.state
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
        self.follower.fold(self.machine.changes)
        self._digest_before, self._digest = self._digest, self.follower.digest
        if self.counting:
            self.states.add(self._digest)

    def _pause(self) -> None:
        if self.before_step is not None:
            self.before_step()

    def _measured(self) -> contextlib.AbstractContextManager[None]:
        if self.tracer is not None and self.counting and self.tracer.wanted(self.counts.steps):
            return self.tracer.measure()
        return contextlib.nullcontext()


def _sort(type_: LeafType | None) -> str:
    """The sort that a type refers into; '' if it is no reference."""
    return (type_.sort or "") if isinstance(type_, IntegerType) else ""


class _Given:
    """A chooser that repeats recorded choices."""

    def __init__(self, choices: tuple[int, ...]) -> None:
        self.choices = iter(choices)

    def choose(self, options: Sequence[int]) -> int:
        value = next(self.choices, options[0])
        return value if value in options else options[0]


class Chance:
    """A chooser at random."""

    def __init__(self, generator: Random) -> None:
        self.generator = generator

    def choose(self, options: Sequence[int]) -> int:
        return self.generator.choice(options)
