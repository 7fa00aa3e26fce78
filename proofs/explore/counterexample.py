"""From a recorded violation to a trace.

The search keeps only parents, so a counterexample is found again: each state of the chain is expanded once more until
the next one, or the violation itself, comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from ...model.lang.trace import FlatStep, Trace, Violation, to_step
from . import context as shared
from . import status
from .machine import NativeMachine, RawStep
from .store import StateStore

Allowed = Callable[[int, tuple[int, ...]], bool]


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


class NotReproducedError(Exception):
    """A violation of a reduced search that no renaming of its path shows."""


class Rebuilder:
    """Finds the steps of counterexamples again.

    In a reduced search the states kept stand for others, so a path is found anew from a real initial state: a step is
    right when the state that stands for its end is the next one of the chain. Every renaming of a path is a path; one
    of them shows the violation even where a failure hides behind another element (see `codegen.quantify_symmetric`)."""

    def __init__(self, machine: NativeMachine, store: StateStore) -> None:
        self.machine = machine
        self.store = store

    def counterexample(self, index: int) -> tuple[list[FlatStep], Violation] | None:
        """The steps to the first violation of a property (or of the checks, or a deadlock), if there is one."""
        record = found(self.machine, index)
        if record is None:
            return None
        self.machine.set("strict", 0)  # a trace is what the specification says, evaluated in its own order
        _, parent, state = record
        if index == self.machine.context_map.checks and parent == shared.NO_PARENT:
            return self._failing_init()
        for path in self._paths(state if state >= 0 else parent):
            ending = self._ending(index, state, path[-1])
            if ending is not None:
                last, violation = ending
                return [*self.steps(path), *last], violation
        raise self._not_reproduced("the end of a counterexample")

    def _ending(self, index: int, state: int, words: bytes) -> tuple[list[FlatStep], Violation] | None:
        """What breaks the property in or out of this state, if it breaks: the last step (unless it is the state)."""
        if index == self.machine.context_map.checks:
            return self._failure(words)
        if index == self.machine.context_map.deadlock:
            if self.machine.symmetry is not None and any(self.machine.raw_transitions(words)):
                return None
            return [], Violation("deadlock", "no action is enabled", "deadlock", (), "no action is enabled")
        return self._in_state(index, words) if state >= 0 else self._step(index, words)

    def _not_reproduced(self, what: str) -> Exception:
        if self.machine.symmetry is None:
            return AssertionError(f"{what} was not found again")
        names = ", ".join(self.machine.symmetry.symmetry.counts)
        return NotReproducedError(f"whether an evaluation fails depends on the order of {names}; use --no-symmetry")

    # --- paths

    def path(self, number: int) -> list[FlatStep]:
        """The steps from an initial state to a state."""
        return self.steps(next(self._paths(number)))

    def states_to(self, number: int) -> list[bytes]:
        """The states of a real path to a state as the search has it."""
        self.machine.set("strict", 0)  # as in `counterexample`
        wanted = self.store.words(number)
        return next(path for path in self._paths(number) if path[-1] == wanted)

    def _paths(self, number: int) -> Iterator[list[bytes]]:
        """The states of a real path to a state, or to one that it stands for; under every renaming."""
        chain = [number]
        while (parent := self.store.parent(chain[-1])) != shared.NO_PARENT:
            chain.append(parent)
        chain.reverse()
        symmetry = self.machine.symmetry
        if symmetry is None:
            yield [self.store.words(state) for state in chain]
            return
        path = [self._like(self._initial_words(), self.store.words(chain[0]))]
        for state in chain[1:]:
            steps = self.machine.raw_transitions(path[-1])
            ends = (step.words for _, _, step in steps if step.status == status.OK)
            path.append(self._like(ends, self.store.words(state)))
        for renaming in symmetry.renamings:
            yield [symmetry.rename(words, renaming) for words in path]

    def _initial_words(self) -> Iterator[bytes]:
        steps = self.machine.executions(self.machine.start_words(), -1, ())
        return (step.words for step in steps if step.status == status.OK)

    def _like(self, candidates: Iterable[bytes], wanted: bytes) -> bytes:
        """The first of these states that a state stands for."""
        for words in candidates:
            if self.machine.canonical(words) == wanted:
                return words
        raise self._not_reproduced("a step of the search")

    def steps(self, path: Sequence[bytes]) -> list[FlatStep]:
        """The steps of a path whose states are known."""
        steps = [self._initial(path[0])]
        for before, after in pairwise(path):
            steps.append(self.between(before, after))
        return steps

    def _initial(self, words: bytes) -> FlatStep:
        for step in self.machine.executions(self.machine.start_words(), -1, ()):
            if step.status == status.OK and step.words == words:
                return flat_step(self.machine, -1, (), step)
        raise self._not_reproduced("an initial state")

    def between(self, before: bytes, after: bytes, allowed: Allowed = lambda action, arguments: True) -> FlatStep:
        """A step between two states, of an action (with its arguments) that is allowed."""
        for action, arguments, step in self.machine.raw_transitions(before):
            if step.status == status.OK and step.words == after and allowed(action, arguments):
                return flat_step(self.machine, action, arguments, step)
        raise self._not_reproduced("a step of the search")

    # --- endings

    def _in_state(self, index: int, words: bytes) -> tuple[list[FlatStep], Violation] | None:
        machine = self.machine
        machine.write_words("source", words)
        machine.write_words("target", words)
        code = machine.judge_target(index)
        return None if code == status.OK else ([], machine.property_violation(machine.program.properties[index], code))

    def _failing_init(self) -> tuple[list[FlatStep], Violation]:
        machine = self.machine
        words = machine.start_words()
        for step in machine.executions(words, -1, ()):
            if step.status > status.DISABLED:
                last = FlatStep(-1, (), step.choices, None, machine.layout.unpack(words))
                return [last], machine.action_violation(-1, step.status)
        raise self._not_reproduced("a failing init")

    def _failure(self, words: bytes) -> tuple[list[FlatStep], Violation] | None:
        machine = self.machine
        for action, arguments, step in machine.raw_transitions(words):
            if step.status != status.OK:
                last = FlatStep(action, arguments, step.choices, None, machine.layout.unpack(words))
                return [last], machine.action_violation(action, step.status)
        return None

    def _step(self, index: int, words: bytes) -> tuple[list[FlatStep], Violation] | None:
        machine = self.machine
        prop = machine.program.properties[index]
        for action, arguments, step in machine.raw_transitions(words):
            if step.status != status.OK or prop.action not in (None, machine.program.actions[action].name):
                continue
            code = machine.judge_target(index)
            if code != status.OK:
                violation = machine.property_violation(prop, code)
                return [flat_step(machine, action, arguments, step)], violation
        return None
