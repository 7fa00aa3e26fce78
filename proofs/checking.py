"""Every engine on one specification: what `kmemspec check` does.

The one idea: an engine gives verdicts and nothing else, so several of them are run in a loop, and the prover, which
waits for processes of its own most of the time, beside them. A violation by one does not stop the others, an interrupt
does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..model.lang.ir import Sizes
from ..model.lang.verdict import Outcome, Verdict, combine
from ..specs.loading import Loaded

if TYPE_CHECKING:
    from ..specs.stateful import StatefulRun
    from .explore import Exploration
    from .symbolic import Proof

ENGINES = ("explore", "hypothesis", "prove")
"""The engines of `check`, in the order in which their verdicts come: the fastest first."""
BESIDE = "prove"
"""The engine that runs beside the others."""

OnProgress = Callable[[str, Any], None]
"""Called with the engine's name and its own progress record."""


@dataclass(frozen=True)
class Effort:
    """How much `check` does: random steps of the testing engine, seconds for each engine, parallel provers, and whether
    the search uses the symmetry that a specification declares."""

    seed: int = 0
    examples: int = 60
    steps: int = 30
    seconds: float = 600.0
    hypothesis_seconds: float = 4.0
    jobs: int | None = None
    symmetry: bool = True


@dataclass(frozen=True)
class Further:
    """The search at one of a specification's further scopes (Spec.explored)."""

    scope: str
    exploration: Exploration

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The search's verdicts, which name the scope in their bounds."""
        found = self.exploration.verdicts
        return tuple(replace(verdict, bound=f"scope {self.scope}: {verdict.bound}") for verdict in found)


@dataclass(frozen=True)
class Check:
    """What the engines answered about one specification at one scope; `interrupted`: some were not asked.

    `verdicts` are those at the scope asked for, `others` the searches at the specification's further scopes."""

    loaded: Loaded
    sizes: Sizes
    verdicts: tuple[Verdict, ...]
    exploration: Exploration | None = None
    others: tuple[Further, ...] = ()
    testing: StatefulRun | None = None
    proof: Proof | None = None
    interrupted: bool = False

    @property
    def explorations(self) -> tuple[Exploration, ...]:
        """Every search that was made, that at the scope asked for first."""
        own = () if self.exploration is None else (self.exploration,)
        return own + tuple(further.exploration for further in self.others)

    @property
    def every_verdict(self) -> tuple[Verdict, ...]:
        """The verdicts at every scope, those at the scope asked for first."""
        further = [verdict for one in self.others for verdict in one.verdicts]
        return (*self.verdicts, *marked(further, self.loaded))

    @property
    def never_fired(self) -> tuple[str, ...]:
        """Actions that did nothing in any of the searches."""
        silent = [set(found.never_fired) for found in self.explorations]
        actions = [] if self.exploration is None else [action.name for action in self.exploration.actions]
        return tuple(name for name in actions if all(name in names for names in silent))

    @property
    def never_due(self) -> tuple[str, ...]:
        """Leads-to properties in which nothing was due in any of the searches."""
        vacuous = [set(found.vacuous) for found in self.explorations]
        own = () if self.exploration is None else self.exploration.vacuous
        return tuple(name for name in own if all(name in names for names in vacuous))

    @property
    def outcome(self) -> Outcome:
        missing = [Outcome.UNKNOWN] if self.interrupted else []
        return combine([*(verdict.outcome for verdict in self.every_verdict), *missing])

    def counterexample(self) -> Verdict | None:
        """The violation to show, or else a counterexample to induction."""
        return worst(self.every_verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The trace to show first: a reachable one before a perhaps unreachable one, a shortest one before others."""
    found = [verdict for verdict in verdicts if verdict.trace is not None]
    return min(found, key=_order, default=None)


def _order(verdict: Verdict) -> tuple[bool, bool, int]:
    assert verdict.trace is not None
    return (not verdict.trace.reachable, not verdict.trace.shortest, len(verdict.trace.steps))


def check(
    loaded: Loaded,
    sizes: Sizes,
    engines: Sequence[str] = ENGINES,
    effort: Effort | None = None,
    progress: OnProgress | None = None,
) -> Check:
    """Run these engines, the prover beside the others."""
    effort = effort or Effort()
    others = [engine for engine in engines if engine != BESIDE]
    if BESIDE not in engines or not others:
        return _one_by_one(Check(loaded, sizes, ()), engines, effort, progress)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        alone = Check(loaded, sizes, ())
        proof = executor.submit(_one_by_one, alone, [BESIDE], effort, _stopping(progress, stop))
        try:
            done = _one_by_one(alone, others, effort, progress)
            if done.interrupted:
                stop.set()
            return _together(done, _awaited(proof, stop))
        finally:
            stop.set()


def is_interrupted(verdicts: Iterable[Verdict]) -> bool:
    """Whether Ctrl-C ended the engine that gave these verdicts."""
    return any(verdict.reason.startswith("interrupted") for verdict in verdicts)


def _one_by_one(done: Check, engines: Sequence[str], effort: Effort, progress: OnProgress | None) -> Check:
    """Run engines in a loop."""
    for engine in engines:
        report = (lambda record, engine=engine: progress(engine, record)) if progress else None
        try:
            step = _RUN[engine](done, effort, report)
        except KeyboardInterrupt:  # before the engine had begun: what the others answered stands
            return replace(done, interrupted=True)
        done = replace(step, verdicts=tuple(marked(step.verdicts, done.loaded)))
        if is_interrupted(done.every_verdict):
            return replace(done, interrupted=True)
    return done


def _stopping(progress: OnProgress | None, stop: threading.Event) -> OnProgress:
    """Progress of an engine in a thread, where no signal arrives: it is interrupted, once, when it next reports."""

    def report(engine: str, record: Any) -> None:
        if stop.is_set():
            stop.clear()
            raise KeyboardInterrupt
        if progress is not None:
            progress(engine, record)

    return report


def _awaited(proof: Future[Check], stop: threading.Event) -> Check:
    """What the prover says; a Ctrl-C meanwhile is passed on to it."""
    try:
        return proof.result()
    except KeyboardInterrupt:
        stop.set()
        return replace(proof.result(), interrupted=True)


def _together(done: Check, proved: Check) -> Check:
    """The verdicts of the engines in their order."""
    return replace(
        done,
        verdicts=done.verdicts + proved.verdicts,
        proof=proved.proof,
        interrupted=done.interrupted or proved.interrupted,
    )


def marked(verdicts: Iterable[Verdict], loaded: Loaded) -> list[Verdict]:
    """The verdicts with the specification's name and its fault written into their traces."""
    fault = loaded.fault.identifier if loaded.fault else None
    return [
        replace(verdict, trace=replace(verdict.trace, spec=loaded.target, fault=fault)) if verdict.trace else verdict
        for verdict in verdicts
    ]


def symmetry_of(loaded: Loaded, sizes: Sizes, wanted: bool) -> bool | None:
    """How `explore` is to use the symmetry that a specification declares, when the user wants it used.

    A fault, or a scope of the user's, may break what the specification declares: it is then used if it holds (None)."""
    unusual = loaded.fault is not None or sizes != loaded.spec.resolve()
    return None if unusual and wanted else wanted


def _explore(done: Check, effort: Effort, progress: Callable[[Any], None] | None) -> Check:
    from .explore import Limits, explore

    loaded = done.loaded

    def search(sizes: Sizes) -> Exploration:
        reduced, limits = symmetry_of(loaded, sizes, effort.symmetry), Limits(seconds=effort.seconds)
        return explore(
            loaded.program, sizes, spec=loaded.target, limits=limits, progress=progress, symmetry=reduced
        )

    found = search(done.sizes)
    done = replace(done, verdicts=done.verdicts + found.verdicts, exploration=found)
    if found.stopped or done.sizes != loaded.spec.resolve():
        return done  # there is something to show already, or another scope was asked for, and that one alone
    for name in loaded.spec.explored:
        further = Further(name, search(loaded.spec.scope(name)))
        done = replace(done, others=(*done.others, further))
        if further.exploration.stopped.startswith("interrupted"):
            break
    return done


def _hypothesis(done: Check, effort: Effort, progress: Callable[[Any], None] | None) -> Check:
    from ..specs.stateful import run

    loaded = done.loaded
    found = run(
        loaded.spec,
        loaded.program,
        done.sizes,
        spec_name=loaded.target,
        seed=effort.seed,
        examples=effort.examples,
        steps=effort.steps,
        seconds=effort.hypothesis_seconds,
        progress=progress,
    )
    return replace(done, verdicts=done.verdicts + found.verdicts, testing=found)


def _prove(done: Check, effort: Effort, progress: Callable[[Any], None] | None) -> Check:
    from .symbolic import prove

    loaded = done.loaded
    found = prove(
        loaded.program,
        done.sizes,
        spec=loaded.target,
        jobs=effort.jobs,
        timeout_seconds=effort.seconds,
        progress=progress,
    )
    return replace(done, verdicts=done.verdicts + found.verdicts, proof=found)


_RUN: dict[str, Callable[[Check, Effort, Callable[[Any], None] | None], Check]] = {
    "explore": _explore,
    "hypothesis": _hypothesis,
    "prove": _prove,
}
