"""Whether a trace with a loop is a run that breaks a leads-to: checked in CPython, as `replay` checks the steps.

The one idea: the definition is read off (see `actions.leads_to`), state by state and instance by instance; nothing of
how an engine finds lassos is used. A loop that is none, or a run that does not count, is an InputError that says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .actions import Leads
from .errors import InputError
from .execute import PythonMachine
from .ir import LeadsToIR
from .trace import Trace, Violation

CORRECT = "correct the trace file, or search again"
LEADS_TO = "leads-to"
"""The kind of a violation of a leads-to."""
NEVER_COMES = "what is due never comes"
"""Its clause, when a lasso breaks it."""
UNDEFINED = "well-defined"
"""Its clause, when `when` or `then` cannot be evaluated in the last state."""

Flat = tuple[int, ...]
Instance = tuple[int, tuple[int, ...]]
"""An action and its arguments."""


def check_closed(trace: Trace, states: Sequence[Flat]) -> None:
    """The last state of a trace with a loop is the one that the loop begins with."""
    loop = trace.loop
    if loop is not None and states[-1] != states[loop]:
        last = len(states) - 1
        raise InputError(f"the loop does not close: state {last} is not state {loop}", CORRECT)


def broken(
    machine: PythonMachine, trace: Trace, states: Sequence[Flat], taken: Sequence[Instance]
) -> list[Violation]:
    """What a trace breaks that says it breaks a leads-to; `taken` are its steps."""
    wanted = trace.violation
    assert wanted is not None
    found = next((leads for leads in machine.program.liveness if leads.identifier == wanted.property), None)
    if found is None:
        known = ", ".join(leads.identifier for leads in machine.program.liveness) or "none"
        raise InputError(f"there is no leads-to {wanted.property!r}", f"those of {machine.program.name} are: {known}")
    elements = _elements(machine, found, wanted)
    if wanted.clause == UNDEFINED:
        undefined = isinstance(machine.leads(found, elements, states[-1]), str)
        return [wanted] if undefined else []
    if trace.loop is None:
        raise InputError(f"the trace breaks {found.identifier}, a leads-to, and has no loop", CORRECT)
    answers = [machine.leads(found, elements, state) for state in states]
    _check_counts(machine, found, states[trace.loop :], taken[trace.loop :], trace.loop)
    return [replace(wanted, clause=NEVER_COMES)] if _stays_due(answers) else []


def _elements(machine: PythonMachine, leads: LeadsToIR, wanted: Violation) -> tuple[int, ...]:
    """The elements that a violation is about."""
    values = tuple(value for _, value in wanted.elements)
    bounds = [parameter.type.bounds(machine.sizes) for parameter in leads.parameters]
    if len(values) != len(bounds) or any(
        not low <= value <= high for value, (low, high) in zip(values, bounds, strict=True)
    ):
        names = ", ".join(parameter.name for parameter in leads.parameters) or "none"
        raise InputError(f"the violation is not about what {leads.identifier} is about: {names}", CORRECT)
    return values


def _stays_due(answers: Sequence[Leads | str]) -> bool:
    """Whether something is due in some state and does not come in it or later; at the end everything repeats."""
    for answer in reversed(answers):
        if isinstance(answer, str) or answer.then:
            return False
        if answer.when:
            return True
    return False


def _check_counts(
    machine: PythonMachine, leads: LeadsToIR, states: Sequence[Flat], taken: Sequence[Instance], loop: int
) -> None:
    """Whether the run that goes round these states for ever, by these steps, is one that the leads-to is about."""
    actions = machine.program.actions
    for number, (action, _) in enumerate(taken, loop + 1):
        if actions[action].name in leads.quiet:
            raise InputError(
                f"step {number}: {actions[action].name} is repeated for ever, and {leads.identifier} is about runs in "
                "which it stops", CORRECT
            )
    for group in _fair(machine, leads):
        if any(instance in group for instance in taken):
            continue
        always = all(any(machine.possible(state, *instance) for instance in group) for state in states)
        if always:
            raise InputError(
                f"the run is not fair: {_said(machine, leads, group)} all the way round the loop and never taken",
                CORRECT,
            )


def _fair(machine: PythonMachine, leads: LeadsToIR) -> Iterator[list[Instance]]:
    """Of each of these groups a step is taken, again and again, unless none can be again and again."""
    every = [
        (number, arguments)
        for number, action in enumerate(machine.program.actions)
        if (action.name in leads.fair if leads.fair is not None else action.name not in leads.quiet)
        for arguments in machine.arguments(number)
    ]
    if leads.fair is None:
        yield every
        return
    for instance in every:
        yield [instance]


def _said(machine: PythonMachine, leads: LeadsToIR, group: Sequence[Instance]) -> str:
    if leads.fair is None:
        return "some action is possible"
    action, arguments = group[0]
    declared = machine.program.actions[action]
    given = ", ".join(
        f"{parameter.name}={value}" for parameter, value in zip(declared.parameters, arguments, strict=True)
    )
    return f"{declared.name}({given}) is possible"
