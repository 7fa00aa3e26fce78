"""From a recorded violation to a trace.

The search keeps only parents, so a counterexample is found again: each state of the chain is expanded once more until
the next one, or the violation itself, comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ...model.lang.trace import FlatStep, Trace, Violation, to_step
from . import context as shared
from . import status
from .machine import NativeMachine, RawStep
from .store import StateStore


def trace_of(
    machine: NativeMachine, steps: Iterable[FlatStep], violation: Violation, spec: str, engine: str, shortest: bool
) -> Trace:
    """Flat steps as a trace."""
    plain = tuple(to_step(machine.program, machine.sizes, step) for step in steps)
    return Trace(spec, dict(machine.sizes), plain, violation, engine=engine, shortest=shortest)


def flat_step(machine: NativeMachine, action: int, arguments: Sequence[int], step: RawStep) -> FlatStep:
    """A completed raw step."""
    outcome = machine.outcome(action, step)
    assert outcome.state is not None
    return FlatStep(action, tuple(arguments), step.choices, outcome.result, outcome.state)


def found(machine: NativeMachine, index: int) -> tuple[int, int, int] | None:
    """Status, parent and state of a property's first violation, if there is one."""
    was_found, code, parent, state = machine.slots(machine.context_map.found_slot(index), shared.FOUND_SLOTS)
    return (code, parent, state) if was_found else None


class Rebuilder:
    """Finds the steps of counterexamples again."""

    def __init__(self, machine: NativeMachine, store: StateStore) -> None:
        self.machine = machine
        self.store = store

    def counterexample(self, index: int) -> tuple[list[FlatStep], Violation] | None:
        """The steps to the first violation of a property (or of the checks, or a deadlock), if there is one."""
        record = found(self.machine, index)
        if record is None:
            return None
        _, parent, state = record
        if index == self.machine.context_map.checks:
            return self._failure(parent)
        if index == self.machine.context_map.deadlock:
            steps = self.path(parent)
            return steps, Violation("deadlock", "no action is enabled", "deadlock", (), "no action is enabled")
        if state >= 0:
            steps = self.path(state)
            words = self.store.words(state)
            self.machine.write_words("source", words)
            self.machine.write_words("target", words)
            again = self.machine.judge_target(index)
            return steps, self.machine.property_violation(self.machine.program.properties[index], again)
        return self._step(index, parent)

    def path(self, number: int) -> list[FlatStep]:
        """The steps from an initial state to a state."""
        chain = [number]
        while (parent := self.store.parent(chain[-1])) != shared.NO_PARENT:
            chain.append(parent)
        chain.reverse()
        steps = [self._initial(self.store.words(chain[0]))]
        for before, after in pairwise(chain):
            steps.append(self._between(self.store.words(before), self.store.words(after)))
        return steps

    def _initial(self, words: bytes) -> FlatStep:
        for step in self.machine.executions(self.machine.start_words(), -1, ()):
            if step.status == status.OK and step.words == words:
                return flat_step(self.machine, -1, (), step)
        raise AssertionError("an initial state was not found again")

    def _between(self, before: bytes, after: bytes) -> FlatStep:
        for action, arguments, step in self.machine.raw_transitions(before):
            if step.status == status.OK and step.words == after:
                return flat_step(self.machine, action, arguments, step)
        raise AssertionError("a step of the search was not found again")

    def _failure(self, parent: int) -> tuple[list[FlatStep], Violation]:
        machine = self.machine
        if parent == shared.NO_PARENT:
            words = machine.start_words()
            for step in machine.executions(words, -1, ()):
                if step.status > status.DISABLED:
                    last = FlatStep(-1, (), step.choices, None, machine.layout.unpack(words))
                    return [last], machine.action_violation(-1, step.status)
            raise AssertionError("a failing init was not found again")
        words = self.store.words(parent)
        for action, arguments, step in machine.raw_transitions(words):
            if step.status != status.OK:
                last = FlatStep(action, arguments, step.choices, None, machine.layout.unpack(words))
                return [*self.path(parent), last], machine.action_violation(action, step.status)
        raise AssertionError("a failing step was not found again")

    def _step(self, index: int, parent: int) -> tuple[list[FlatStep], Violation]:
        machine = self.machine
        prop = machine.program.properties[index]
        for action, arguments, step in machine.raw_transitions(self.store.words(parent)):
            if step.status != status.OK or prop.action not in (None, machine.program.actions[action].name):
                continue
            code = machine.judge_target(index)
            if code != status.OK:
                violation = machine.property_violation(prop, code)
                last = flat_step(machine, action, arguments, step)
                return [*self.path(parent), last], violation
        raise AssertionError("a violating step was not found again")
