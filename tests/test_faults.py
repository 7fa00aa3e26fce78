"""The catalogue of faults: every one applies, every one is killed, and every property has a fault that breaks it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from kmemspec.model.faults import Fault
from kmemspec.model.faults.buddy import FAULTS as BUDDY
from kmemspec.model.faults.catalogue import ALL, find
from kmemspec.model.faults.unmodelled import UNMODELLED
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.ir import Program
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.trace import Trace
from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.proofs.explore import Limits, explore
from kmemspec.proofs.mutation import QUICK_STATES, attempt, attempts
from kmemspec.proofs.symbolic import prove
from kmemspec.specs.loading import BUILT_IN, load

MEASURED = {
    "merge-ignores-order": 5,
    "merge-ignores-pagebuddy": 3,
    "rmqueue-keeps-pagebuddy": 1,
    "expand-wrong-half": 1,
    "expand-wrong-list": 1,
    "expand-forgets-flag": 1,
    "expand-too-far": 1,
    "nr-free-pages-not-updated": 1,
    "nr-free-pages-whole-block": 1,
    "merge-without-list-del": 2,
    "merge-keeps-nr-free": 2,
    "merge-keeps-pagebuddy": 2,
    "combine-with-or": 2,
}
"""Steps to the first violation that the bug catalogue measured on models by other hands."""


@pytest.mark.parametrize("fault", BUDDY, ids=lambda fault: fault.identifier)
def test_search_kills(fault: Fault) -> None:
    """Each by a shortest trace that CPython replays to the same verdict; the lengths are those others measured."""
    [attempt] = attempts([fault], ["explore"])
    assert attempt.outcome is Outcome.VIOLATED
    assert attempt.killer is not None
    trace = attempt.killer.trace
    assert trace is not None
    assert trace.violation is not None
    if fault.identifier in MEASURED:
        assert len(trace.steps) - 1 == MEASURED[fault.identifier]
    loaded = load(fault.spec, fault)
    sizes = loaded.spec.scope(fault.scope)
    assert replay(loaded.spec, loaded.program, sizes, trace).reproduced


@pytest.mark.slow
@pytest.mark.parametrize("fault", BUDDY, ids=lambda fault: fault.identifier)
def test_proof_kills(fault: Fault) -> None:
    [attempt] = attempts([fault], ["prove"])
    assert attempt.outcome is Outcome.VIOLATED


def stated_by(program: Program) -> set[str]:
    """Every property of a specification."""
    return {item.identifier for item in (*program.properties, *program.liveness)}


def witnesses() -> list[Fault]:
    """Faults that together are expected to break every property, none of them to spare. That every fault is killed is
    seen when the kill matrix in docs/faults.md is made."""
    first = {identifier: fault for fault in reversed(ALL) for identifier in fault.expected}
    needed = [fault for fault in ALL if fault in first.values()]
    for fault in sorted(needed, key=lambda fault: len(fault.expected)):
        others = {identifier for other in needed if other is not fault for identifier in other.expected}
        if set(fault.expected) <= others:
            needed.remove(fault)
    return needed


@pytest.mark.slow
@pytest.mark.parametrize("fault", witnesses(), ids=lambda fault: fault.identifier)
def test_every_property_is_broken_by_a_fault(fault: Fault) -> None:
    """All of it, in a search of a few thousand states, or of more if it must; CPython replays the shortest trace."""
    loaded = load(fault.spec, fault)
    sizes = loaded.spec.scope(fault.scope)
    traces: dict[str, Trace] = {}
    for states in (3_000, 300_000, 3_000_000):
        limits = Limits(states=states)
        found = explore(
            loaded.program, sizes, limits=limits, stop_at_first=False, symmetry=None, quick=states < 10_000
        )
        traces = {verdict.property: verdict.trace for verdict in found.verdicts if verdict.trace is not None}
        if set(fault.expected) <= set(traces):
            break
    assert set(fault.expected) - set(traces) == set()
    shortest = min((traces[identifier] for identifier in fault.expected), key=lambda trace: len(trace.steps))
    assert replay(loaded.spec, loaded.program, sizes, shortest).reproduced


def test_every_property_has_a_fault_that_is_expected_to_break_it() -> None:
    """A check that cannot fail is a defect."""
    expected = {identifier for fault in ALL for identifier in fault.expected}
    properties = {identifier for target in BUILT_IN for identifier in stated_by(load(target).program)}
    assert properties - expected == set()


def test_the_kill_matrix_in_the_documents_has_every_fault() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    listed = {(row[0].removeprefix("| "), row[1]) for row in rows if len(row) > 4}
    assert {(fault.identifier, fault.spec) for fault in ALL} <= listed
    assert "equivalent at this bound" not in text


CATALOGUE = {
    *(f"A{n}" for n in range(1, 23)),
    *(f"B{n}x" for n in range(1, 21)),
    *(f"C{n}x" for n in range(1, 19)),
    *(f"D{n}" for n in range(1, 28)),
}


def test_every_row_of_the_catalogue_is_a_fault_or_has_a_reason_not_to_be() -> None:
    faults = {fault.catalogue for fault in ALL} - {""}
    listed = [item.catalogue for item in UNMODELLED]
    assert len(listed) == len(set(listed))
    assert faults & set(listed) == set()
    assert faults | set(listed) == CATALOGUE


def test_client_visible_overlap_comes_one_step_later() -> None:
    """The structure breaks in 5 steps. In the 6th a client would get a page that another has: there the kernel's own
    check stops the allocation, so that the refinement, which is what clients see, breaks later still."""
    faulty = load("buddy", find("merge-ignores-order"))
    found = explore(faulty.program, faulty.spec.scope(None), limits=Limits(states=200_000), stop_at_first=False)
    traces = {verdict.property: verdict.trace for verdict in found.verdicts if verdict.trace is not None}
    steps = {name: len(trace.steps) - 1 for name, trace in traces.items()}
    assert min(steps.values()) == 5
    assert (steps["checks"], steps["R-blocks"]) == (6, 8)
    violation = traces["checks"].violation
    assert violation is not None
    assert violation.clause == "check_new_page: page has references"


def test_a_fault_that_does_not_match_is_an_error() -> None:
    fault = find("D7")
    stale = Fault(**{**vars(fault), "find": "no such text"})
    with pytest.raises(InputError, match="matches 0 times"):
        load("buddy", stale)
    twice = Fault(**{**vars(fault), "find": "order"})
    with pytest.raises(InputError, match="must match exactly once"):
        load("buddy", twice)


def test_identifiers_are_unique_and_an_unknown_one_is_an_error() -> None:
    assert len({fault.identifier.lower() for fault in ALL}) == len(ALL)
    with pytest.raises(InputError, match="did you mean: merge-ignores-order"):
        find("ignores-order")


def contradictions(fault: Fault, scope: str) -> set[str]:
    """Properties that the proof says hold and the search violates."""
    loaded = load(fault.spec, fault)
    sizes = loaded.spec.scope(scope)
    found = explore(loaded.program, sizes, limits=Limits(states=100_000), stop_at_first=False)
    violated = {verdict.property for verdict in found.verdicts if verdict.outcome is Outcome.VIOLATED}
    proof = prove(loaded.program, sizes)
    return violated & {verdict.property for verdict in proof.verdicts if verdict.outcome is Outcome.HOLDS}


@pytest.mark.parametrize("identifier", ["merge-ignores-order", "D7", "rmqueue-any-order", "nr-free-pages-not-updated"])
def test_no_proof_contradicts_the_search(identifier: str) -> None:
    """Obligations suppose all invariants; one that fails must take the others' `holds` with it."""
    assert contradictions(find(identifier), "pages=4") == set()


@pytest.mark.slow
@pytest.mark.parametrize("fault", BUDDY, ids=lambda fault: fault.identifier)
def test_no_proof_contradicts_the_search_for_any_fault(fault: Fault) -> None:
    assert contradictions(fault, "pages=5" if fault.identifier == "merge-ignores-zone" else "pages=4") == set()


@pytest.mark.parametrize("engine", ["explore", "prove"])
def test_an_interrupted_attempt_asks_no_second_time(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that Ctrl-C has ended says so, and is not asked again at more length."""
    stopped = Verdict(engine, "B9", Outcome.UNKNOWN, "", reason="interrupted")
    asked = []

    def answer(*arguments: object, **options: object) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace(verdicts=(stopped,), states=QUICK_STATES)

    monkeypatch.setattr(f"kmemspec.proofs.{'explore' if engine == 'explore' else 'symbolic'}.{engine}", answer)
    fault = find("D7")
    loaded = load(fault.spec, fault)
    assert attempt(loaded, fault, loaded.spec.resolve(), engine, 20).outcome is Outcome.UNKNOWN
    assert len(asked) == 1
