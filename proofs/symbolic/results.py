"""What the symbolic engine answers with: plain data, importable without Z3."""

from __future__ import annotations

from dataclasses import dataclass

from ...model.lang.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Progress:
    """How far a run is: obligations (or depths) done, of how many known by now, after how long."""

    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class Obligation:
    """One statement that a solver was to refute: this action (or "init", or "hypotheses"), this clause."""

    action: str
    property: str
    clause: str
    outcome: Outcome
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Proof:
    """The answer of `prove`: a verdict a property, and the obligations behind them."""

    verdicts: tuple[Verdict, ...]
    obligations: tuple[Obligation, ...]
    seconds: float


@dataclass(frozen=True)
class Bounded:
    """The answer of `bounded`: verdicts up to the depth that was finished."""

    verdicts: tuple[Verdict, ...]
    depth: int
    seconds: float
