"""The kill matrix: each fault against each engine.

The one idea: a fault is killed by an engine that says `violated` about the faulty model; one that an engine finds
nothing wrong with is *equivalent at this bound*, which is said and not hidden. The prover is first asked about the
properties that the catalogue expects to break, then about all. A counterexample to induction kills as well, since the
correct model is inductive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..model.faults import Fault
from ..model.lang.ir import Sizes
from ..model.lang.verdict import Outcome, Verdict, combine
from ..specs.loading import Loaded, load
from .checking import is_interrupted, marked

ENGINES = ("explore", "prove")

QUICK_STATES = 50_000
"""Most faults show after a few hundred states: so many are searched before code is optimised for more."""

OnStart = Callable[[str, str], None]
"""Called with the fault's identifier and the engine before each attempt."""


@dataclass(frozen=True)
class Attempt:
    """One engine on one fault: its answer, the violation that comes first (None if there is none), and the time."""

    fault: Fault
    engine: str
    outcome: Outcome
    killer: Verdict | None
    bound: str
    seconds: float


def attempts(
    faults: Sequence[Fault],
    engines: Sequence[str] = ENGINES,
    scope: str | None = None,
    timeout_seconds: float = 120.0,
    started: OnStart | None = None,
) -> Iterator[Attempt]:
    """Try each fault with each engine, at `scope` or at the fault's own, giving the answers as they come."""
    for fault in faults:
        loaded = load(fault.spec, fault)
        sizes = loaded.spec.scope(scope or fault.scope)
        for engine in engines:
            if started is not None:
                started(fault.identifier, engine)
            yield attempt(loaded, fault, sizes, engine, timeout_seconds)


def attempt(loaded: Loaded, fault: Fault, sizes: Sizes, engine: str, timeout_seconds: float) -> Attempt:
    """One engine on one faulty specification."""
    begun = time.monotonic()
    verdicts = marked(RUNNERS[engine](loaded, fault, sizes, timeout_seconds), loaded)
    broken = [verdict for verdict in verdicts if verdict.trace is not None]
    outcome = Outcome.VIOLATED if broken else combine(verdict.outcome for verdict in verdicts)
    killer = min(broken, key=lambda verdict: len(verdict.trace.steps) if verdict.trace else 0, default=None)
    bound = next((verdict.bound for verdict in verdicts if verdict.outcome is not Outcome.VIOLATED), "")
    return Attempt(fault, engine, outcome, killer, bound, time.monotonic() - begun)


def _explore(loaded: Loaded, fault: Fault, sizes: Sizes, timeout_seconds: float) -> Sequence[Verdict]:
    from .explore import Limits, explore

    target = loaded.target
    short = Limits(seconds=timeout_seconds, states=QUICK_STATES)
    found = explore(loaded.program, sizes, spec=target, limits=short, symmetry=None, quick=True)
    decided = combine(verdict.outcome for verdict in found.verdicts) is not Outcome.UNKNOWN
    if found.states < QUICK_STATES or decided or is_interrupted(found.verdicts):
        return found.verdicts
    limits = Limits(seconds=timeout_seconds)
    return explore(loaded.program, sizes, spec=target, limits=limits, symmetry=None).verdicts


def _hypothesis(loaded: Loaded, fault: Fault, sizes: Sizes, timeout_seconds: float) -> Sequence[Verdict]:
    from ..specs.stateful import run

    found = run(
        loaded.spec, loaded.program, sizes, spec_name=loaded.target, seed=0, examples=200, steps=30,
        seconds=min(20.0, timeout_seconds),
    )
    return found.verdicts


def _prove(loaded: Loaded, fault: Fault, sizes: Sizes, timeout_seconds: float) -> Sequence[Verdict]:
    from .symbolic import prove

    def ask(only: Sequence[str] | None) -> Sequence[Verdict]:
        return prove(
            loaded.program, sizes, spec=loaded.target, timeout_seconds=timeout_seconds, only=only
        ).verdicts

    first = ask(fault.expected)
    if any(verdict.trace is not None for verdict in first) or is_interrupted(first):
        return first
    return ask(None)


def _bounded(loaded: Loaded, fault: Fault, sizes: Sizes, timeout_seconds: float) -> Sequence[Verdict]:
    from .symbolic import bounded

    return bounded(loaded.program, sizes, spec=loaded.target, depth=6, timeout_seconds=timeout_seconds).verdicts


RUNNERS: dict[str, Callable[[Loaded, Fault, Sizes, float], Sequence[Verdict]]] = {
    "explore": _explore,
    "hypothesis": _hypothesis,
    "prove": _prove,
    "bounded": _bounded,
}
"""How each engine is asked about a faulty specification."""
