"""Model-guided sequences: walks cover the contracts' graphs, by the seed alone; oracle and machine are of one mind."""

from __future__ import annotations

from pathlib import Path

import pytest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate
from kmemspec.specs.contracts.guided import Tour, tour
from kmemspec.specs.contracts.heap_walks import calls_of, first_fit, heap_tour
from kmemspec.specs.contracts.lru import whole
from kmemspec.specs.contracts.page_walks import TINY, page_tour
from kmemspec.specs.contracts.pages import PageOracle
from kmemspec.specs.contracts.sequences import Operation

ADAPTERS = Path(__file__).parent / "adapters"


def every_walk(walked: Tour) -> list[list[tuple[str, tuple[int, ...]]]]:
    """The walks, each followed as an implementation that does the first thing it may would be."""
    walks = []
    for walk in walked.walks(40):
        walked.begin()
        for edge in walk:
            walked.follow(edge.action, *edge.arguments)
        walks.append([(edge.action, edge.arguments) for edge in walk])
    return walks


def lru_tour(policy: int, seed: int) -> Tour:
    """The graph of a cache of three keys and capacities 1 to 3."""
    sizes = {"keys": 3, "values": 1, "counting": 0, "policy": policy}
    return tour("contract-lru", sizes, (2,), lambda name: name != "drop", whole, seed, ("keys",))


@pytest.mark.parametrize(("policy", "states"), [(0, 30), (1, 117)])
def test_walks_take_every_transition_of_a_deterministic_contract(policy: int, states: int) -> None:
    walked = lru_tour(policy, 0)
    walks = every_walk(walked)
    assert len(walked.graph.edges) == states
    assert len(walked.covered) == walked.graph.transitions
    calls = sum(map(len, walks))
    assert calls < 2 * walked.graph.transitions, "the way to what is not covered is short"
    assert all(len(walk) <= 40 for walk in walks)


def test_the_seed_alone_decides_the_walks() -> None:
    assert every_walk(lru_tour(0, 3)) == every_walk(lru_tour(0, 3))
    assert every_walk(lru_tour(0, 3)) != every_walk(lru_tour(0, 4))


def test_walks_are_corrected_by_what_the_implementation_does() -> None:
    """An allocator that takes the last run is not what a walk expects; all it can be asked is tried all the same."""
    walked = page_tour(TINY, 0)
    runs = 0
    for walk in walked.walks(40):
        runs += 1
        walked.begin()
        for edge in walk:
            here = walked.lockstep.machine.state
            possible = [
                other
                for other in walked.graph.edges[here]
                if walked.call_of(other.action, other.arguments) == walked.call_of(edge.action, edge.arguments)
            ]
            if possible:
                walked.follow(possible[-1].action, *possible[-1].arguments)
    assert 2 <= runs < 60
    for state in walked.states:
        for call in walked.calls[state]:
            assert (state, call) in walked.known


@pytest.mark.parametrize("scope", [TINY, {"pages": 6, "orders": 3}, {"pages": 3, "orders": 2}])
def test_the_page_oracle_accepts_exactly_the_steps_of_the_machine(scope: dict[str, int]) -> None:
    """In every state of the graph, to every request, every answer: one source of truth, though one is a bit mask."""
    graph = page_tour(scope, 0).graph
    judged = 0
    for state, edges in graph.edges.items():
        given = {(edge.arguments[0], edge.arguments[1]) for edge in edges if edge.action == "allocate"}
        refused = {edge.arguments[0] for edge in edges if edge.action == "refuse"}
        for order in range(scope["orders"]):
            for answer in (None, *range(-1, scope["pages"] + 1)):
                oracle = PageOracle(scope, 0, False)
                for page, live in enumerate(state):
                    if live >= 0:
                        assert oracle.observe(page, Operation("alloc", None, (live,)), page) is None
                broken = oracle.observe(100, Operation("alloc", None, (order,)), answer)
                legal = order in refused if answer is None else (answer, order) in given
                assert (broken is None) is legal, (state, order, answer, broken)
                judged += 1
    assert judged > len(graph.edges)


def test_a_validation_says_how_much_of_the_graph_was_walked() -> None:
    options = ValidateOptions(examples=5, seconds=60, example_seconds=4, scope={"capacity": 2, "keys": 3})
    validation = validate("lru", f"{ADAPTERS / 'caches.py'}:Fifo", options)
    assert validation.outcome is Outcome.HOLDS
    assert "walks over the graph of contract-lru at keys=3" in validation.notes[-1]
    assert "transitions" in validation.notes[-1]


def test_the_walks_of_a_heap_are_programs_that_make_what_they_free() -> None:
    walked = heap_tour(0, True)
    walks = list(first_fit(walked))
    assert len(walked.states) == len(walked.graph.edges) == 34
    assert len(walked.covered) > 450
    kinds = set()
    for walk in walks:
        live: set[int] = set()
        for index, operation in enumerate(calls_of(walk, 24)):
            kinds.add(operation.kind)
            if operation.kind == "malloc":
                live.add(index)
            else:
                assert operation.block is not None
                assert operation.block in live
            if operation.kind == "free":
                live.remove(operation.block or 0)
            else:
                assert operation.arguments[0] % 24 == 0
    assert kinds == {"malloc", "realloc", "free"}
    without = first_fit(heap_tour(0, False))
    assert "realloc" not in {operation.kind for walk in without for operation in calls_of(walk, 24)}
