"""What an engine answers: holds (with its bound), violated (with a trace) or unknown (with the reason).

One type for every engine and every view; exit statuses are derived from it and from nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from .trace import Trace


class Outcome(enum.Enum):
    """The three answers."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """One engine's answer about one property.

    `property` is the property's identifier (``B9``) or "checks" for the failures inside actions (asserts, bounds,
    ranges, loop bounds) or "deadlock" or "vacuity". `bound` says in words for what the answer holds."""

    engine: str
    property: str
    outcome: Outcome
    bound: str
    states: int | None = None
    transitions: int | None = None
    seconds: float = 0.0
    trace: Trace | None = None
    reason: str = ""


def combine(outcomes: Iterable[Outcome]) -> Outcome:
    """Violated beats unknown beats holds; nothing at all is unknown.

    >>> combine([Outcome.HOLDS, Outcome.UNKNOWN]).value
    'unknown'
    >>> combine([]).value
    'unknown'
    """
    seen = set(outcomes)
    if Outcome.VIOLATED in seen:
        return Outcome.VIOLATED
    return Outcome.HOLDS if seen == {Outcome.HOLDS} else Outcome.UNKNOWN


EXIT_STATUS = {Outcome.HOLDS: 0, Outcome.VIOLATED: 1, Outcome.UNKNOWN: 3}
"""Exit statuses of the command line; 2 is bad usage or input."""
