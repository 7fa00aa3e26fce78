"""The contracts of `validate` as specifications: they hold at their scopes, searched and proved; each fault shows."""

from __future__ import annotations

import pytest
from kmemspec.model.faults.contracts import FAULTS
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.checking import ENGINES, Effort, check
from kmemspec.proofs.explore import Limits, explore
from kmemspec.specs.loading import CONTRACTS, load


@pytest.mark.parametrize("target", CONTRACTS)
def test_a_contract_holds_by_every_engine_at_every_scope(target: str) -> None:
    loaded = load(target)
    engines = [name for name in ENGINES if name != "hypothesis"]
    done = check(loaded, loaded.spec.scope(None), engines, Effort(seconds=60))
    verdicts = [*done.every_verdict]
    assert {verdict.outcome for verdict in verdicts} == {Outcome.HOLDS}
    stated = {item.identifier for item in loaded.program.properties}
    for engine in engines:
        assert stated <= {verdict.property for verdict in verdicts if verdict.engine == engine}


def test_each_fault_breaks_what_it_says_and_each_property_has_one() -> None:
    broken: set[str] = set()
    for fault in FAULTS:
        loaded = load(fault.spec, fault)
        sizes = loaded.spec.scope(fault.scope)
        found = explore(loaded.program, sizes, limits=Limits(states=3_000), stop_at_first=False, quick=True)
        violated = {verdict.property for verdict in found.verdicts if verdict.outcome is Outcome.VIOLATED}
        assert violated & set(fault.expected), f"{fault.identifier} breaks {violated}"
        broken |= violated
    stated = {item.identifier for target in CONTRACTS for item in load(target).program.properties}
    assert stated <= broken
