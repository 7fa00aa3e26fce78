"""The LRU of a state: the invariants of specs/lru.py and the relations between lists, classes and counters.

Both are those that `kmemspec fidelity` holds the states of a recording to (specs/recorded); here each is an answer.
"""

from __future__ import annotations

import re
from collections import Counter

from ...model.lang.errors import InputError
from ..recorded.lru import lru_text
from ..recorded.lru_comparison import GENERATIONAL, ISOLATED, STATE_RELATIONS, check_state
from ..recorded.lru_invariants import LruInvariants, row_name
from ..recorded.lru_states import LruState
from ..recorded.tally import Difference, Tally
from .evaluating import specification
from .places import Places
from .results import FINDINGS_MAX, Answer, Finding
from .zones import FRAMES_EVALUATED_MAX, TOO_LARGE

PART = "LRU"
BOUNDS = "lists and batches hold what the kernel's can"
OUT_OF_BOUNDS = "a list or batch holds more than the kernel's can"
RELATION = "kernel-traces: what holds of every state"
TASKS = "what tasks have isolated is not in the dump"
NUMBER = re.compile(r"\bpage (\d+)")


def check_lru(state: LruState, places: Places) -> list[Answer]:
    """Every invariant and relation of the LRU's lists."""
    evaluated = LruInvariants(specification("lru"))
    tallies = {row: Tally() for row in STATE_RELATIONS}
    if state.generational or state.frames > FRAMES_EVALUATED_MAX:
        for tally in (*evaluated.tallies.values(), *tallies.values()):
            tally.not_predicted[GENERATIONAL if state.generational else TOO_LARGE] += 1
    else:
        try:
            evaluated.check_state(lru_text(), state)
        except InputError as error:
            tallies[BOUNDS] = Tally(wrong=[Difference(0, "the lists and batches", error.message, "within the bounds")])
            for tally in evaluated.tallies.values():
                tally.not_predicted[OUT_OF_BOUNDS] += 1
        else:
            tallies[BOUNDS] = Tally(right=1)
        check_state(state, Counter(), tallies)
        if any(state.nr_isolated):
            tallies[ISOLATED].excuse(TASKS)
    answers = [
        _answer(item.identifier, item.function.__name__, item.origin, evaluated.tallies[row_name(item)], places)
        for item in evaluated.invariants
    ]
    relations = [
        _answer(f"R{number}", row, RELATION, tally, places) for number, (row, tally) in enumerate(tallies.items(), 1)
    ]
    return [*answers, *relations]


def _answer(identifier: str, name: str, origin: str, tally: Tally, places: Places) -> Answer:
    findings = tuple(_finding(name, difference, places) for difference in tally.wrong[:FINDINGS_MAX])
    return Answer(
        PART, identifier, name, origin, tally.right + len(tally.wrong), findings, len(tally.wrong),
        dict(tally.not_predicted),
    )  # fmt: skip


def _finding(name: str, difference: Difference, places: Places) -> Finding:
    """A difference says `predicted` of what the dump has as `recorded`; of an invariant it says which clause."""
    pages = tuple(int(number) for number in NUMBER.findall(difference.about))
    about = "; ".join([difference.about, *(places.describe(page) for page in pages[:2])])
    recorded, predicted = difference.recorded, difference.predicted
    found = "" if recorded == "it does not" else f"{recorded}, which should be {predicted}"
    clause = name if found else difference.predicted
    return Finding(clause, about, found, places.draw(pages))
