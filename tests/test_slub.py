"""The slab allocator: its invariants hold in all states of small scopes and are inductive, and its faults are killed.

Compiling the searches takes longer than running them; what needs several is marked slow.
"""

from __future__ import annotations

import random

from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.explore import Exploration, Limits, explore
from kmemspec.proofs.symbolic import prove
from kmemspec.specs.loading import Loaded, load


def search(name: str, scope: str) -> tuple[Loaded, Exploration]:
    loaded = load(name)
    found = explore(loaded.program, loaded.spec.scope(scope), limits=Limits(states=2_000_000), stop_at_first=False)
    assert found.complete
    assert {v.property: v.bound for v in found.verdicts if v.outcome is not Outcome.HOLDS} == {}
    assert found.never_fired == ()
    return loaded, found


def test_all_states_of_the_smallest_scope_with_and_without_symmetry() -> None:
    """The states that the visited ones stand for are exactly those of the search without reduction."""
    loaded, reduced = search("slub", "tiny")
    plain = explore(loaded.program, loaded.spec.scope("tiny"), symmetry=False)
    assert reduced.symmetry is not None
    assert plain.states == reduced.symmetry.states == 1_094


def test_every_invariant_is_inductive() -> None:
    """Over the real page allocator. (The default scope is proved when the README's commands are run.)"""
    loaded = load("slub")
    proof = prove(loaded.program, loaded.spec.scope("tiny"), timeout_seconds=900)
    assert {v.property: v.reason for v in proof.verdicts if v.outcome is not Outcome.HOLDS} == {}
    assert {v.property for v in proof.verdicts} >= {p.identifier for p in loaded.program.properties}


class Dice:
    """Every choice from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def choose(self, options: range) -> int:
        return options[self.random.randrange(len(options))]


def test_a_thousand_random_steps_with_many_pages_caches_and_nodes() -> None:
    """At the scope `large` the same text keeps all invariants; half of the objects are freed on another cpu."""
    loaded = load("slub")
    sizes = loaded.spec.scope("large")
    machine = PythonMachine(loaded.spec, loaded.program, sizes)
    dice = Dice(1)
    machine.start(dice)
    actions = {action.name: number for number, action in enumerate(loaded.program.actions)}
    held: list[int] = []
    for turn in range(1000):
        cpu, cache, node = (dice.random.randrange(sizes[name]) for name in ("cpus", "caches", "nodes"))
        if dice.random.random() < (0.7 if turn < 600 else 0.3):
            outcome = machine.perform(actions["kmem_cache_alloc"], [cache, cpu, dice.random.choice([-1, node])], dice)
            assert outcome.failure is None
            if outcome.result is not None and outcome.result >= 0:
                held.append(outcome.result)
        elif held:
            freed = held.pop(dice.random.randrange(len(held)))
            assert machine.perform(actions["kmem_cache_free"], [cpu, freed], dice).failure is None
        if turn % 250 == 249:
            machine.perform(actions["flush_cpu_slab"], [cache, cpu], dice)
            assert machine.check() == []
    assert len(held) > 50
