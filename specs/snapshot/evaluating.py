"""The model's own invariants, evaluated by the CPython engine on a machine that a state was loaded into.

The one idea: a specification's invariant is a plain function of its machine, whatever its size; what comes back is the
clause's own name with the elements it is about, and these are found again in the dump. What a dump cannot say is
listed with the reason, by property or by clause, and is no verdict.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...model.lang.actions import Clause as Stated
from ...model.lang.execute import STEP_ERRORS, failure_kind
from ...model.lang.ir import PropertyIR
from ...model.lang.records import Record
from ..loading import Loaded, load
from .results import Clause, Finding

Elements = Mapping[str, int]
"""What a clause is about, by the name of its sort."""


@dataclass(frozen=True)
class Silent:
    """What is not evaluated, and why: whole properties by identifier, clauses by (identifier, clause)."""

    properties: Mapping[str, str] = field(default_factory=dict)
    clauses: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Invariant:
    """One invariant of a specification, with the sorts that its clauses name."""

    identifier: str
    name: str
    origin: str
    function: Callable[..., object]
    labels: Mapping[str, Sequence[str]]


@functools.cache
def specification(name: str) -> Loaded:
    """A built-in specification; lowering one takes longer than evaluating it on a small machine."""
    return load(name)


def invariants(name: str) -> tuple[Invariant, ...]:
    """The invariants of a specification."""
    loaded = specification(name)
    pairs = zip(loaded.spec.safety, loaded.program.properties, strict=False)
    return tuple(_invariant(item.function, ir, item.origin) for item, ir in pairs if item.kind == "invariant")


def _invariant(function: Callable[..., object], ir: PropertyIR, origin: str) -> Invariant:
    labels = {clause.name: clause.elements for clause in ir.clauses}
    return Invariant(ir.identifier, function.__name__, origin, function, labels)


def evaluate(
    invariant: Invariant,
    machine: Record,
    clause: Clause,
    explain: Callable[[str, Elements], Finding],
    silent: frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """One invariant on one machine; each breach is explained."""
    try:
        for stated in _stated(invariant, machine):
            if (invariant.identifier, stated.name) in silent:
                continue
            if stated.holds:
                clause.checked += 1
            else:
                clause.breach(explain(stated.name, _elements(invariant, stated)))
    except STEP_ERRORS as error:
        kind, message = failure_kind(error)
        clause.breach(explain(f"not defined: {message or kind.value}", {}))


def _stated(invariant: Invariant, machine: Record) -> Sequence[Stated]:
    answer = invariant.function(machine)
    return [Stated("holds", answer, ())] if isinstance(answer, bool) else answer  # type: ignore[return-value]


def _elements(invariant: Invariant, stated: Stated) -> Elements:
    labels = invariant.labels.get(stated.name, ())
    return {label: int(value) for label, value in zip(labels, stated.elements, strict=False) if value is not None}
