"""Steps of any action, one after another, as formulas.

Each step has a selector variable that names its action; the state after it is a choice between the actions' states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .executor import Leaves
from .relations import Relations, Transition
from .values import Number, Terms, Truth


@dataclass(frozen=True)
class AnyStep:
    """A step of whichever action the selector names. `taken`: that action completes; `failed`: it fails."""

    prefix: str
    selector: Number
    transitions: tuple[Transition, ...]
    after: Leaves
    taken: Truth
    failed: Truth

    def selected(self, terms: Terms, action: int) -> Truth:
        return terms.equal(self.selector, action)

    def action_in(self, model: Mapping[str, int]) -> int:
        """The action this step takes in a model."""
        return model.get(self.prefix + "action", 0)


def any_step(relations: Relations, before: Leaves, prefix: str) -> AnyStep:
    """One step of any action from a state."""
    terms = relations.terms
    count = len(relations.program.actions)
    selector = terms.integer_variable(prefix + "action", 0, count - 1)
    transitions = tuple(relations.transition(action, before, prefix) for action in range(count))
    after = transitions[-1].after
    for action in range(count - 2, -1, -1):
        after = _choose(terms, terms.equal(selector, action), transitions[action].after, after)
    taken = _of_selected(terms, selector, [transition.completed for transition in transitions])
    failed = _of_selected(terms, selector, [transition.failed for transition in transitions])
    return AnyStep(prefix, selector, transitions, after, taken, failed)


def _of_selected(terms: Terms, selector: Number, conditions: list[Truth]) -> Truth:
    return terms.disjunction(
        terms.conjunction([terms.equal(selector, action), condition], flat=False)
        for action, condition in enumerate(conditions)
    )


def _choose(terms: Terms, condition: Truth, then: Leaves, otherwise: Leaves) -> Leaves:
    return tuple(
        leaf if leaf is other else tuple(
            a if a is b else terms.choose(condition, a, b) for a, b in zip(leaf, other, strict=True)
        )
        for leaf, other in zip(then, otherwise, strict=True)
    )
