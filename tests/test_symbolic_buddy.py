"""The symbolic engine on the buddy allocator: its invariants are inductive, and faults are found both ways."""

from __future__ import annotations

import pytest
from kmemspec.model.faults.catalogue import find
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.symbolic import Progress, bounded, prove
from kmemspec.specs.loading import load


@pytest.mark.parametrize(
    "scope",
    [
        "pages=4,orders=2",
        "pages=5,orders=2,start=1",
        pytest.param("default", marks=pytest.mark.slow),
        pytest.param("odd", marks=pytest.mark.slow),
    ],
)
def test_every_invariant_is_inductive(scope: str) -> None:
    loaded = load("buddy")
    seen: list[Progress] = []
    proof = prove(loaded.program, loaded.spec.scope(scope), progress=seen.append)
    assert {v.property: v.reason for v in proof.verdicts if v.outcome is not Outcome.HOLDS} == {}
    assert {v.property for v in proof.verdicts} >= {p.identifier for p in loaded.program.properties}
    assert seen[-1].done == seen[-1].total == len(proof.obligations)


def test_a_fault_is_found_by_induction_and_in_the_fewest_steps_by_unrolling() -> None:
    loaded = load("buddy", find("merge-ignores-order"))
    sizes = loaded.spec.scope("pages=8,orders=3")
    proof = prove(loaded.program, sizes, only={"B4", "B6"})
    assert {v.outcome for v in proof.verdicts} == {Outcome.UNKNOWN}
    for verdict in proof.verdicts:
        assert verdict.trace is not None
        assert verdict.trace.violation is not None
        assert (verdict.trace.reachable, len(verdict.trace.steps)) == (False, 2)
    found = [v for v in bounded(loaded.program, sizes, depth=5).verdicts if v.outcome is Outcome.VIOLATED]
    trace = found[0].trace
    assert trace is not None
    assert (len(trace.steps) - 1, trace.reachable, trace.shortest) == (5, True, True)
