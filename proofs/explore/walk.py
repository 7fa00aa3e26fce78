"""Random walks: for scopes too large to search.

A compiled loop draws an action, arguments and choices until one is enabled, judges the step and, when the state is
new, the state. States seen are kept in the search's table, so that the walks can say how many distinct ones they met.
A walk that ends in a violation is walked again from its seed, this time written down, and then shortened by leaving
out steps for as long as the same property breaks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ...model.lang.errors import InputError
from ...model.lang.ir import Program, Sizes
from ...model.lang.trace import FlatStep, Trace, Violation
from ...model.lang.verdict import Outcome, Verdict
from . import context as shared
from . import status
from .context import CHOICES
from .counterexample import flat_step, found, trace_of
from .driver import DRAWS_PER_ACTION
from .machine import NativeMachine
from .results import Limits, Progress, Simulation
from .search import OnProgress, action_counts, branch_coverage, judged_names, one_each
from .store import StateStore

ENGINE = "simulate"
_SLICE = 20_000
_DRAWS = 16 * DRAWS_PER_ACTION
_SHORTEN_SECONDS = 5.0
_NO_STATE = Violation("deadlock", "no action is enabled", "deadlock", (), "no action is enabled")


def simulate(
    program: Program,
    sizes: Sizes,
    walks: int,
    depth: int,
    seed: int = 0,
    *,
    spec: str = "",
    limits: Limits | None = None,
    progress: OnProgress | None = None,
    stop_at_first: bool = True,
) -> Simulation:
    """So many random walks of so many steps each, judged as the search judges."""
    walker = Walker(NativeMachine(program, sizes), limits or Limits(), stop_at_first, seed, spec)
    try:
        walker.run(walks, depth, progress)
        return walker.result(walks, depth)
    finally:
        walker.store.release()


@dataclass(frozen=True)
class WalkStart:
    """All that a walk depends on."""

    initial: FlatStep
    seed: int


class Walker:
    """The walks of one machine."""

    def __init__(self, machine: NativeMachine, limits: Limits, stop_at_first: bool, seed: int, spec: str) -> None:
        self.machine = machine
        self.limits = limits
        self.spec = spec
        self.stop_at_first = stop_at_first
        self.started = time.monotonic()
        self.cpu_seconds = 0.0
        self.store = StateStore(machine, limits)
        self.random = random.Random(seed)
        self.names = judged_names(machine.program, machine.context_map)
        self.counterexamples: dict[int, tuple[list[FlatStep], Violation]] = {}
        self.walks = 0
        self.stopped = ""
        machine.set("stop_at_first", 1)  # a walk ends at a violation; whether more walks follow is decided here
        machine.set("draws", _DRAWS)

    def run(self, walks: int, depth: int, progress: OnProgress | None) -> None:
        """Walk until done, stopped or interrupted."""
        try:
            initial = self._initial_states()
            while self.walks < walks and initial and not self.stopped:
                start = WalkStart(self.random.choice(initial), self.random.getrandbits(63) | 1)
                taken = self._walk(start, depth, None)
                self.walks += 1
                self._note_violations(start, taken)
                if progress is not None:
                    progress(self._progress(depth))
        except KeyboardInterrupt:
            self.stopped = "interrupted"

    def _initial_states(self) -> list[FlatStep]:
        """The initial states, judged."""
        machine = self.machine
        words = machine.start_words()
        for step in machine.executions(words, -1, ()):
            if step.status > status.DISABLED:
                last = FlatStep(-1, (), step.choices, None, machine.layout.unpack(words))
                self._note(machine.context_map.checks, [last], machine.action_violation(-1, step.status))
        initial = machine.initial_states()
        for start in initial:
            self._begin(start)
            for index, _ in self.names:
                self._note_found(index, [start])
        return initial

    def _begin(self, start: FlatStep) -> None:
        """Make an initial state the source of the walk and put it into the table."""
        words = self.machine.layout.pack(start.state)
        self.machine.write_words("source", words)
        self.machine.write_words("target", words)
        self.machine.set("parent", shared.NO_PARENT)
        self.machine.call("insert_target")

    # --- one walk --------------------------------------------------------------------------------------------

    def _walk(self, start: WalkStart, depth: int, record: list[FlatStep] | None) -> int:
        """Walk at most so many steps; writes them down when `record` is given. The number of steps taken."""
        machine = self.machine
        self._begin(start.initial)
        machine.set("seed", start.seed)
        machine.set("stop", 0)
        first = machine.get("steps")
        while (taken := machine.get("steps") - first) < depth and not self._limit_reached():
            machine.set("random", 1)
            answer = self._timed(1 if record is not None else min(_SLICE, depth - taken))
            if answer == shared.WALK_STUCK:
                if not self._unlikely_step(record):
                    return machine.get("steps") - first
            elif answer != shared.WALK_GOES_ON:
                return machine.get("steps") - first
            elif record is not None:
                record.append(self._last_step())
        return machine.get("steps") - first

    def _timed(self, steps: int) -> int:
        before = time.thread_time()
        try:
            return self.machine.call("walk", steps)
        finally:
            self.cpu_seconds += time.thread_time() - before

    def _limit_reached(self) -> bool:
        limit = self.limits.seconds
        if limit is not None and time.monotonic() - self.started > limit:
            self.stopped = f"time limit of {limit:g} s"
        if self.machine.get("stop") == shared.STOP_CHOICES:
            raise InputError(f"an action makes more than {CHOICES} choices", "choose less often in one action")
        return bool(self.stopped)

    def _last_step(self) -> FlatStep:
        machine, where = self.machine, self.machine.context_map
        action = machine.get("action")
        arguments = machine.slots(where.arguments, len(machine.bounds[action]))
        choices = machine.slots(where.script, machine.get("script_position"))
        result = machine.get("result") if machine.program.actions[action].returns is not None else None
        words = machine.read_words(machine.get("target"))
        return FlatStep(action, arguments, choices, result, machine.layout.unpack(words))

    def _unlikely_step(self, record: list[FlatStep] | None) -> bool:
        """After many vain draws: try everything and take one of what is enabled. False at the end of the road."""
        machine = self.machine
        words = machine.read_words(machine.get("source"))
        chosen = self._choose(words)
        if chosen is None:
            if machine.program.deadlock_free:
                self._record(machine.context_map.deadlock, 0)
            return False
        action, arguments, choices = chosen
        step = machine.execute(words, action, arguments, choices)
        if step.status != status.OK:
            self._record(machine.context_map.checks, step.status)
            return False
        counters = machine.context_map.counter_slot(action)
        machine.context[counters] += 1
        machine.context[counters + 1] += 1
        if record is not None:
            record.append(flat_step(machine, action, arguments, step))
        machine.set("parent", shared.NO_PARENT - 1)
        if machine.call("insert_target") == -2:
            machine.set("stop", 0)  # no room: states are no longer counted, but judged all the same
        self._judge_unlikely(action)
        machine.set("steps", machine.get("steps") + 1)
        machine.write_words("source", step.words)
        return machine.get("stop") != shared.STOP_VIOLATION

    def _choose(self, words: bytes) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
        """One of the executions that are possible, if there is one."""
        possible = [
            (action, arguments, step.choices) for action, arguments, step in self.machine.raw_transitions(words)
        ]
        return random.Random(self.machine.get("seed")).choice(possible) if possible else None

    def _judge_unlikely(self, action: int) -> None:
        name = self.machine.program.actions[action].name
        for index, prop in enumerate(self.machine.program.properties):
            if prop.kind in ("invariant", "step", "refinement") and prop.action in (None, name):
                code = self.machine.judge_target(index)
                if code != status.OK:
                    self._record(index, code)

    def _record(self, index: int, code: int) -> None:
        """As the compiled code records a violation."""
        slot = self.machine.context_map.found_slot(index)
        if not self.machine.context[slot]:
            self.machine.context[slot : slot + 2] = [1, code]
            self.machine.set("stop", shared.STOP_VIOLATION)

    # --- violations ------------------------------------------------------------------------------------------

    def _note(self, index: int, steps: list[FlatStep], violation: Violation) -> None:
        self.counterexamples.setdefault(index, (steps, violation))
        if self.stop_at_first:
            self.stopped = "stopped at the first violation"

    def _note_found(self, index: int, steps: list[FlatStep]) -> None:
        """Note a violation that the steps are known to lead to."""
        if found(self.machine, index) is None or index in self.counterexamples:
            return
        again = self._replay(steps[0], steps[1:], index)
        if again is not None:
            self._note(index, *again)

    def _note_violations(self, start: WalkStart, taken: int) -> None:
        fresh = [
            index for index, _ in self.names if found(self.machine, index) and index not in self.counterexamples
        ]
        if not fresh:
            return
        steps = self._walk_again(start, taken)
        for index in fresh:
            again = self._replay(start.initial, steps, index)
            if again is None:
                raise AssertionError("a walk did not find its violation again")
            self._note(index, *self._shorten(*again, index))

    def _walk_again(self, start: WalkStart, taken: int) -> list[FlatStep]:
        """The steps of a walk and, where it failed, the failing one."""
        machine, where = self.machine, self.machine.context_map
        before = list(machine.context)
        stopped, self.stopped = self.stopped, ""
        limits, self.limits = self.limits, Limits()
        steps: list[FlatStep] = []
        self._walk(start, taken, steps)
        machine.set("random", 1)
        machine.set("stop", 0)
        if machine.call("walk", 1) == shared.WALK_STUCK:
            chosen = self._choose(machine.read_words(machine.get("source")))
            if chosen is not None:
                steps.append(FlatStep(*chosen, None, ()))
        else:
            action = machine.get("action")
            arguments = machine.slots(where.arguments, len(machine.bounds[action]))
            choices = machine.slots(where.script, machine.get("script_position"))
            steps.append(FlatStep(action, arguments, choices, None, ()))
        self.stopped, self.limits = stopped, limits
        self._restore(before)
        return steps

    def _restore(self, before: list[int]) -> None:
        """Undo what walking again did to counts and records."""
        machine, where = self.machine, self.machine.context_map
        for slot in range(where.found, where.counter_slot(len(machine.program.actions) + 1)):
            machine.context[slot] = before[slot]
        machine.set("steps", before[shared.SCALARS.index("steps")])

    def _replay(
        self, initial: FlatStep, steps: Sequence[FlatStep], index: int
    ) -> tuple[list[FlatStep], Violation] | None:
        """Run the steps that are possible until this property breaks; None when it does not."""
        machine = self.machine
        done = [initial]
        words = machine.layout.pack(initial.state)
        violation = self._state_violation(words, index, True)
        seen = {words: 0}
        for step in steps:
            if violation is not None:
                return done, violation
            raw = machine.execute(words, step.action, step.arguments, step.choices)
            if raw.status == status.DISABLED:
                continue
            if raw.status != status.OK:
                if index != machine.context_map.checks:
                    return None
                last = FlatStep(step.action, step.arguments, raw.choices, None, machine.layout.unpack(words))
                return [*done, last], machine.action_violation(step.action, raw.status)
            violation = self._step_violation(step.action, index)
            if violation is None and raw.words in seen:  # a loop: leave it out
                words = raw.words
                done = done[: seen[words] + 1]
                seen = {key: place for key, place in seen.items() if place < len(done)}
                continue
            words = raw.words
            done.append(flat_step(machine, step.action, step.arguments, raw))
            seen[words] = len(done) - 1
            violation = violation or self._state_violation(words, index, False)
        if violation is None:
            violation = self._deadlock(words, index)
        return (done, violation) if violation is not None else None

    def _state_violation(self, words: bytes, index: int, initial: bool) -> Violation | None:
        properties = self.machine.program.properties
        kinds = ("invariant", "initial") if initial else ("invariant",)
        if index >= len(properties) or properties[index].kind not in kinds:
            return None
        self.machine.write_words("source", words)
        self.machine.write_words("target", words)
        return self._judge(index)

    def _step_violation(self, action: int, index: int) -> Violation | None:
        program = self.machine.program
        if index >= len(program.properties) or program.properties[index].kind not in ("step", "refinement"):
            return None
        if program.properties[index].action not in (None, program.actions[action].name):
            return None
        return self._judge(index)

    def _judge(self, index: int) -> Violation | None:
        code = self.machine.judge_target(index)
        if code == status.OK:
            return None
        return self.machine.property_violation(self.machine.program.properties[index], code)

    def _deadlock(self, words: bytes, index: int) -> Violation | None:
        if index != self.machine.context_map.deadlock or any(self.machine.raw_transitions(words)):
            return None
        return _NO_STATE

    def _shorten(
        self, steps: list[FlatStep], violation: Violation, index: int
    ) -> tuple[list[FlatStep], Violation]:
        """Leave out ever smaller stretches of steps while the property still breaks."""
        deadline = time.monotonic() + _SHORTEN_SECONDS
        size = max(1, (len(steps) - 1) // 2)
        while True:
            position, shorter = 1, False
            while position < len(steps):
                if time.monotonic() > deadline:
                    return steps, violation
                candidate = steps[1:position] + steps[position + size :]
                again = self._replay(steps[0], candidate, index)
                if again is not None and len(again[0]) < len(steps):
                    (steps, violation), shorter = again, True
                else:
                    position += size
            if size == 1 and not shorter:
                return steps, violation
            size = max(1, size // 2)

    # --- the answer ------------------------------------------------------------------------------------------

    def _progress(self, depth: int) -> Progress:
        seconds = time.monotonic() - self.started
        return Progress(self.store.count(), self.machine.get("steps"), depth, 0, seconds)

    def result(self, walks: int, depth: int) -> Simulation:
        """Verdicts and counts."""
        states, steps = self.store.count(), self.machine.get("steps")
        bound = f"{self.walks:,} random walks of up to {depth:,} steps, {states:,} distinct states"
        verdicts = []
        answer: tuple[Outcome, str, Trace | None, str]
        for index, name in self.names:
            if index in self.counterexamples:
                path, violation = self.counterexamples[index]
                trace = trace_of(self.machine, path, violation, self.spec, ENGINE, shortest=False)
                answer = (Outcome.VIOLATED, f"counterexample of {len(path) - 1} steps", trace, "")
            elif self.walks == walks and states:
                answer = (Outcome.HOLDS, bound, None, "")
            else:
                answer = (Outcome.UNKNOWN, bound, None, self.stopped or "there is no initial state")
            seconds = time.monotonic() - self.started
            verdicts.append(Verdict(ENGINE, name, answer[0], answer[1], states, steps, seconds, *answer[2:]))
        return Simulation(
            verdicts=one_each(verdicts),
            walks=self.walks,
            steps=steps,
            states=states,
            actions=action_counts(self.machine),
            branches=branch_coverage(self.machine),
            cpu_seconds=self.cpu_seconds,
            seconds=time.monotonic() - self.started,
            stopped=self.stopped,
        )
