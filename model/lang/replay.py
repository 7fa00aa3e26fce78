"""Replaying a trace: the same steps again, in CPython, compared state by state.

The one idea: a trace carries its arguments, choices and states, so it is checked, not believed: every step must be
possible, must lead to the recorded state, and the end must break what the trace says it breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import lasso
from .errors import InputError
from .execute import InitError, PythonMachine, Script
from .ir import FailureKind, LeafType, Program, Sizes
from .spec import Spec
from .trace import Step, StepOutcome, Trace, Violation, failure_violation, flatten, from_plain, to_plain

CHANGED = "the specification has changed since the trace was made"


@dataclass(frozen=True)
class Replay:
    """What happened: the steps that were run, and what the last state or step broke (nothing: the trace ends well)."""

    steps: int
    violations: tuple[Violation, ...]
    reproduced: bool


def replay(spec: Spec, program: Program, sizes: Sizes, trace: Trace) -> Replay:
    """Run a trace again; raises InputError naming the step at which it stops fitting the specification."""
    if not trace.steps:
        raise InputError("the trace has no states", "a trace begins with its initial state")
    machine = PythonMachine(spec, program, sizes)
    violations: list[Violation] = []
    try:
        states = [_state(program, sizes, step, number) for number, step in enumerate(trace.steps)]
        if trace.reachable:
            _check_start(machine, trace, states[0])
    except InitError as error:
        violations.append(failure_violation(program, error.failure, "init"))
        return _conclude(trace, 0, violations)
    machine.state = states[0]
    violations = machine.check() + (machine.check_initial() if trace.reachable else [])
    lasso.check_closed(trace, states)
    taken: list[tuple[int, tuple[int, ...]]] = []
    for number in range(1, len(trace.steps)):
        instance = _resolve(program, sizes, trace.steps[number], number)
        taken.append(instance)
        goes_on = trace.loop is not None or number + 1 < len(trace.steps)
        violations = _step(machine, trace.steps[number], instance, number, states, goes_on)
    if trace.violation is not None and trace.violation.kind == lasso.LEADS_TO:
        violations = violations + lasso.broken(machine, trace, states, taken)
    if trace.violation is not None and trace.violation.kind == "deadlock":
        violations = [] if any(machine.successors(states[-1])) else [trace.violation]
    return _conclude(trace, len(trace.steps) - 1, violations)


def _state(program: Program, sizes: Sizes, step: Step, number: int) -> tuple[int, ...]:
    """The flat state of a step, every value within its declared range."""
    flat = flatten(program.schema, step.state, sizes)
    position = 0
    for leaf in program.schema.leaves:
        for value in flat[position : position + leaf.count(sizes)]:
            _check_range(value, leaf.type, sizes, f"step {number}, {leaf.path}")
        position += leaf.count(sizes)
    return flat


def _check_range(value: int, type_: LeafType, sizes: Sizes, where: str) -> None:
    low, high = type_.bounds(sizes)
    if not low <= value <= high:
        raise InputError(f"{where}: {value} is outside {low}..{high}", "restore the value")


def _conclude(trace: Trace, steps: int, violations: Sequence[Violation]) -> Replay:
    wanted = trace.violation
    if wanted is None:
        return Replay(steps, tuple(violations), not violations)
    return Replay(steps, tuple(violations), any(_is_same(found, wanted) for found in violations))


def _is_same(found: Violation, wanted: Violation) -> bool:
    """Whether CPython found what an engine reports. Of a failure it knows the place alone: an assert without a message
    is called by its condition elsewhere, and what fails inside a property leaves it not well-defined."""
    if found.property != wanted.property:
        return False
    if found.clause == wanted.clause:
        return True
    failed = wanted.kind in FailureKind.__members__
    return failed and (found.clause == "well-defined" or found.position == wanted.position)


def _check_start(machine: PythonMachine, trace: Trace, first: tuple[int, ...]) -> None:
    if all(initial.state != first for initial in machine.initial_states()):
        raise InputError("the first state of the trace is not an initial state", CHANGED)


def _step(
    machine: PythonMachine,
    step: Step,
    instance: tuple[int, tuple[int, ...]],
    number: int,
    states: Sequence[tuple[int, ...]],
    goes_on: bool,
) -> list[Violation]:
    action, arguments = instance
    machine.state = states[number - 1]
    script = Script(step.choices)
    outcome: StepOutcome = machine.take(action, arguments, script)
    name = machine.program.actions[action].name
    if not outcome.enabled:
        raise InputError(f"step {number}: {name} is not enabled", CHANGED)
    if tuple(script.made[: len(step.choices)]) != tuple(step.choices):
        raise InputError(f"step {number}: {name} makes other choices", CHANGED)
    if outcome.failure is not None and goes_on:
        raise InputError(f"step {number}: {name} fails, and the trace goes on", CHANGED)
    if outcome.failure is not None:
        return [failure_violation(machine.program, outcome.failure, name)]
    if outcome.state != states[number]:
        raise InputError(f"step {number}: {name} leads to another state", CHANGED)
    returns = machine.program.actions[action].returns
    result = None if outcome.result is None else to_plain(outcome.result, returns)
    if result != step.result:
        raise InputError(f"step {number}: {name} returns another result", CHANGED)
    return machine.check_step(states[number - 1], action, arguments, outcome) + machine.check()


def _resolve(program: Program, sizes: Sizes, step: Step, number: int) -> tuple[int, tuple[int, ...]]:
    """The action's number and its integer arguments."""
    for position, action in enumerate(program.actions):
        if action.name != step.action:
            continue
        if set(step.arguments) != {parameter.name for parameter in action.parameters}:
            raise InputError(f"step {number}: {step.action} has other parameters", CHANGED)
        arguments = []
        for parameter in action.parameters:
            where = f"step {number}, argument {parameter.name}"
            arguments.append(from_plain(step.arguments[parameter.name], parameter.type, where))
            _check_range(arguments[-1], parameter.type, sizes, where)
        return position, tuple(arguments)
    known = ", ".join(action.name for action in program.actions)
    raise InputError(f"step {number}: there is no action {step.action!r}", f"the actions are: {known}")
