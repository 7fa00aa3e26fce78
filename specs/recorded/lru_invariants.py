"""The invariants of specs/lru.py, evaluated by the CPython engine on a recorded machine of tens of thousands of folios.

The one idea: the very functions that the engines check at small scopes are called on the machine that a dump was
loaded into. Those that speak of what a dump does not have are named, with the reason. Frames that the LRU does not know
are all alike, so in a machine that was only loaded one stands for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...model.lang.actions import Property
from ...model.lang.execute import PythonMachine
from ...model.lang.records import Record
from ..loading import Loaded, load
from .lru import LruText, RecordedLru, lru_scale
from .lru_states import BATCHES, LruState, compact
from .tally import Difference, Tally

EVALUATED = ("L1", "L1-links", "L2", "L3", "L4", "L5", "L-cost")
OF_SIZE = ("L-cost",)
"""Those that are about how many frames there are, and not about folios."""
OF_FLAGS = ("L2", "L7")
"""Those that are about the flags of each folio alone."""
NO_RECLAIMER = "what a reclaimer has taken is not in the dump"
NOT_EVALUATED = {
    "L1-taken": NO_RECLAIMER,
    "L1-scan": NO_RECLAIMER,
    "L7": "PG_mlocked is not in the dump, only in /proc/kpageflags",
    "L9": "reference counts are not in the dump",
    "L12": "shadows are not in the dump",
}
NOT_KNOWN = "it is not known whether the dump has what it is about"
LAGGING = "the dump has not what the CPUs have still to add to NR_ISOLATED"
VIOLATIONS_MAX = 20
"""So many of each invariant are told."""


class LruInvariants:
    """The invariants, and how often each held."""

    def __init__(self, loaded: Loaded | None = None) -> None:
        self.loaded: Loaded = loaded or load("lru")
        self.invariants = [item for item in self.loaded.spec.safety if item.kind == "invariant"]
        self.tallies = {row_name(item): Tally() for item in self.invariants}

    def check_state(self, text: LruText, state: LruState) -> None:
        """On the machine of one state."""
        small, frames = compact(state)
        bare = replace(state, lists=((),) * len(state.lists), batches=(((),) * len(BATCHES),) * state.cpus, classes=())
        of_folios = frozenset(item.identifier for item in self.invariants if item.identifier not in OF_SIZE)
        self.check(RecordedLru(text, small), small, f"state {state.name}", of_folios, frames)
        self.check(RecordedLru(text, bare), bare, f"state {state.name}", frozenset(OF_SIZE))

    def check(
        self,
        lru: RecordedLru,
        state: LruState,
        about: str,
        only: frozenset[str] | None = None,
        frames: Sequence[int] = (),
    ) -> None:
        """On one machine, which has been loaded from this state and perhaps moved on. `frames`: the numbers that its
        pages have, if not their own."""
        engine = PythonMachine(self.loaded.spec, self.loaded.program, lru_scale(state))
        engine.machine = lru.m
        for item in self.invariants:
            if only is not None and item.identifier not in only:
                continue
            tally = self.tallies[row_name(item)]
            reason = _reason(item.identifier, state)
            if reason:
                tally.not_predicted[reason] += 1
                continue
            _evaluate(engine, item.identifier, tally, about, frames)

    def check_flags(self, machine: Record, state: LruState, about: str) -> None:
        """On a machine of which the flags are known alone."""
        engine = PythonMachine(self.loaded.spec, self.loaded.program, lru_scale(state))
        engine.machine = machine
        for item in self.invariants:
            if item.identifier in OF_FLAGS:
                _evaluate(engine, item.identifier, self.tallies[row_name(item)], about)


def _evaluate(
    engine: PythonMachine, identifier: str, tally: Tally, about: str, frames: Sequence[int] = ()
) -> None:
    found = engine.check(only=frozenset({identifier}))
    for violation in found[:VIOLATIONS_MAX]:
        where = ", ".join(
            f"{sort} {frames[value] if sort == 'page' and value < len(frames) else value}"
            for sort, value in violation.elements
        )
        said = violation.clause + (f": {violation.message}" if violation.message else "")
        tally.wrong.append(Difference(0, f"{about}: {where}", "it does not", said))
    tally.right += not found


def row_name(item: Property) -> str:
    return f"{item.identifier} {item.function.__name__}"


def _reason(identifier: str, state: LruState) -> str:
    if identifier in EVALUATED:
        # A difference that single CPUs have kept to themselves is no violation; lru_comparison.py says how large.
        return LAGGING if identifier == "L4" and any(state.nr_isolated) else ""
    return NOT_EVALUATED.get(identifier, NOT_KNOWN)
