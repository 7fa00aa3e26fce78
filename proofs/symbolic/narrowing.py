"""What invariants alone say of each element of a state: the interval that they leave to it.

The one idea: many elements have one value in every state that satisfies the invariants (a watermark, a counter that a
scope keeps at 0). Found before anything is executed, they are constants and no variables, and what depends on them
folds. It is sound because a state outside the intervals violates an invariant, and every query of an induction step
supposes all invariants.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...model.lang.ir import BooleanType, PropertyIR
from .executor import Leaves, learn
from .relations import Relations, leaf_elements
from .values import Boolean, Integer, Interval, Truth

ROUNDS = 10
"""How often the invariants are evaluated again on the narrower state; a few rounds reach the end."""


def narrowed(relations: Relations, invariants: Sequence[PropertyIR]) -> tuple[Interval, ...]:
    """The interval of each element, in the order of a flat state, in every state that satisfies the invariants.

    If these contradict each other it is that of its type: that there is no such state is for a solver to say."""
    types = [type_ for type_, _ in leaf_elements(relations.program.schema, relations.sizes)]
    full = tuple((0, 1) if isinstance(type_, BooleanType) else type_.bounds(relations.sizes) for type_ in types)
    intervals = full
    for _ in range(ROUNDS):
        scratch = relations.with_terms_of_its_own()
        state = scratch.variables("", intervals)
        required = [requirement for item in invariants for requirement in scratch.required(item, state)]
        facts = _facts([part for requirement in required for part in requirement.parts])
        if facts is None:
            return full
        found = _intervals(state, facts)
        if found == intervals:
            break
        intervals = found
    return intervals


def _facts(parts: Sequence[Truth]) -> dict[int, Interval] | None:
    """What follows from all parts together; None if they contradict each other."""
    facts: dict[int, Interval] = {}
    for _ in range(ROUNDS):
        before = dict(facts)
        for part in parts:
            if part is False or (part is not True and not learn(facts, part, True)):
                return None
        if facts == before:
            break
    return facts


def _intervals(state: Leaves, facts: dict[int, Interval]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for element in (element for leaf in state for element in leaf):
        if isinstance(element, Boolean):
            found.append(facts.get(element.number, (0, 1)))
        elif isinstance(element, Integer):
            found.append(facts.get(element.number, (element.low, element.high)))
        else:
            found.append((int(element), int(element)))
    return tuple(found)
