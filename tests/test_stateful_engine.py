"""The Hypothesis engine: holds, finds and shrinks, counts, covers, is deterministic, and serves other test suites."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from kmemspec.model.faults import Fault
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.loading import Loaded, load
from kmemspec.specs.stateful import StatefulRun, run, state_machine

MERGE = Fault(
    "merge-ignores-order",
    "page_is_buddy() does not compare orders",
    "a test",
    "buddy",
    module="model.buddy",
    function="page_is_buddy",
    find="    if memory.mem_map[buddy].order != order:\n        return False\n",
    replace="",
    expected=("B4",),
)

LAMPS = '''
"""A row of lamps with a switch: enums, booleans, optional references, choices, and an action that never happens."""

import enum
from typing import Annotated

from kmemspec.model.lang import (
    Array, Clauses, Parameter, Range, Record, Sort, Spec, action, choose, clause, indices, invariant, require,
    step_property,
)

Lamp = Annotated[int, Sort("lamp", "lamps")]


class Colour(enum.IntEnum):
    OFF = 0
    RED = 1
    GREEN = 2


class Row(Record):
    colour: Array[Lamp, Colour]
    chosen: Lamp | None
    dimmed: bool
    switched: Annotated[int, Range(0, LIMIT)]


def dark(m: Row) -> None:
    m.chosen = choose(range(0, 2))


@action
def paint(m: Row, lamp: Lamp, colour: Colour, dimmed: bool) -> None:
    require(m.chosen is not None)
    require(m.chosen == lamp)
    m.colour[lamp] = colour
    m.dimmed = dimmed


@action
def choose_another(m: Row, instead_of: Lamp | None) -> Lamp | None:
    require(m.chosen == instead_of)
    lamp = choose(indices(m.colour))
    if m.colour[lamp] == Colour.RED:
        m.chosen = None
    else:
        m.chosen = lamp
    return m.chosen


@action
def switch(m: Row) -> None:
    lamp = choose(indices(m.colour))
    require(m.colour[lamp] == Colour.GREEN)
    m.switched += 1
    if m.switched == 3:
        m.switched = 0


@action
def explode(m: Row, lamp: Lamp) -> None:
    require(len(m.colour) == 0)
    m.colour[lamp] = Colour.OFF


@invariant("L1")
def few_switches(m: Row) -> Clauses:
    for lamp in indices(m.colour):
        yield clause("a red lamp is not alone", m.colour[lamp] != Colour.RED or m.switched <= 2, lamp)


@step_property("L2", action=paint)
def painted(before: Row, after: Row, lamp: Lamp, colour: Colour, dimmed: bool) -> Clauses:
    yield clause("the lamp has its colour", after.colour[lamp] == colour and after.dimmed == dimmed, lamp)


SPEC = Spec(
    name="lamps",
    state=Row,
    init=dark,
    actions=(paint, choose_another, switch, explode),
    properties=(few_switches, painted),
    parameters=(Parameter("lamps", 3, "the number of lamps", least=2),),
)
'''


@pytest.fixture(scope="module")
def buddy() -> Loaded:
    return load("buddy")


def lamps(tmp_path: Path, limit: int) -> Loaded:
    path = tmp_path / "lamps.py"
    path.write_text(LAMPS.replace("LIMIT", str(limit)), encoding="utf-8")
    return load(str(path))


def outcomes(found: StatefulRun) -> set[Outcome]:
    return {verdict.outcome for verdict in found.verdicts}


def test_buddy_holds_and_its_branches_are_covered(buddy: Loaded) -> None:
    reached: set[tuple[str, str, int, bool]] = set()
    known: set[tuple[str, str, int, bool]] = set()
    for scope in ("default", "pages=7,start=1"):
        sizes = buddy.spec.scope(scope)
        found = run(buddy.spec, buddy.program, sizes, seed=3, examples=60, steps=40)
        assert outcomes(found) == {Outcome.HOLDS}
        properties = {item.identifier for item in buddy.program.properties}
        assert {verdict.property for verdict in found.verdicts} == properties | {"checks", "deadlock"}
        assert f"{found.steps:,} random steps in {found.runs} runs, seed 3" == found.verdicts[0].bound
        assert found.steps >= 60 * 40 * 0.8
        assert found.states > 50
        assert found.never_fired == ()
        assert all(action.offered >= action.fired > 0 for action in found.actions)
        for branch in found.branches:
            for side, seen in ((True, branch.then_reached), (False, branch.otherwise_reached)):
                known.add((branch.file, branch.function, branch.line, side))
                if seen:
                    reached.add((branch.file, branch.function, branch.line, side))
    if not found.branches_measured:
        pytest.skip("another tracer is installed")
    assert len(known) > 100
    # What cannot happen while the invariants hold: a list's walk that has to be cut, a page lost, an order too high.
    impossible = {"list_length", "lists_linked", "freed_once_and_whole"}
    # What needs a second migrate type, or a pageblock below the highest order.
    one_type = {
        ("mod_zone_freepage_state", True), ("free_one_page", False), ("free_one_page", True), ("list_of", False)
    }
    never = {(function, side) for _, function, _, side in known - reached}
    assert never == {(name, False) for name in impossible} | one_type


def test_buddy_holds_at_the_large_scope(buddy: Loaded) -> None:
    found = run(buddy.spec, buddy.program, buddy.spec.scope("large"), seed=1, examples=3, steps=40)
    assert outcomes(found) == {Outcome.HOLDS}
    assert found.steps >= 60
    words = f"properties checked after one step in {found.check_every} ({found.checked} of them)"
    assert words in found.verdicts[0].bound


@pytest.mark.parametrize("scope", ["default", "pages=256,orders=9,long=63"])
def test_a_fault_is_found_shrunk_and_replayed(scope: str) -> None:
    faulty = load("buddy", MERGE)
    sizes = faulty.spec.scope(scope)
    found = run(faulty.spec, faulty.program, sizes, spec_name="buddy", seed=1, examples=40, steps=40, seconds=8)
    trace = found.trace
    assert trace is not None
    assert trace.violation is not None
    assert (trace.spec, trace.engine, trace.shortest, trace.reachable) == ("buddy", "hypothesis", False, True)
    broken = [verdict for verdict in found.verdicts if verdict.outcome is Outcome.VIOLATED]
    assert "B4" in {verdict.property for verdict in broken}
    for verdict in broken:
        assert verdict.trace is not None
        assert replay(faulty.spec, faulty.program, sizes, verdict.trace).reproduced
    # Only the last state is bad, though in the large scope not every step is checked.
    before = replay(faulty.spec, faulty.program, sizes, type(trace)("", sizes, trace.steps[:-1]))
    assert before.violations == ()
    if found.smallest:
        assert len(trace.steps) - 1 <= 7


def test_the_same_seed_gives_the_same_run() -> None:
    faulty = load("buddy", MERGE)
    sizes = faulty.spec.resolve()
    first, second = (run(faulty.spec, faulty.program, sizes, seed=5, examples=20, steps=12) for _ in range(2))
    assert (first.steps, first.runs, first.states) == (second.steps, second.runs, second.states)
    assert (first.actions, first.branches) == (second.actions, second.branches)
    assert first.trace == second.trace
    other = run(faulty.spec, faulty.program, sizes, seed=6, examples=20, steps=12)
    assert (other.steps, other.actions) != (first.steps, first.actions)


def test_choices_enums_booleans_and_optional_references(tmp_path: Path) -> None:
    loaded = lamps(tmp_path, 3)
    found = run(loaded.spec, loaded.program, loaded.spec.resolve(), seed=1, examples=60, steps=40)
    assert outcomes(found) == {Outcome.HOLDS}
    counts = {action.name: action for action in found.actions}
    assert found.never_fired == ("explode",)
    assert counts["explode"].offered == 0
    assert counts["switch"].refused > 0
    assert counts["switch"].fired > 0
    assert counts["choose_another"].fired > 0
    if found.branches_measured:
        assert [branch.function for branch in found.unreached] == []


def test_a_range_violation_with_choices_replays(tmp_path: Path) -> None:
    loaded = lamps(tmp_path, 2)
    sizes = loaded.spec.resolve()
    found = run(loaded.spec, loaded.program, sizes, seed=1, examples=60, steps=20)
    broken = {verdict.property: verdict for verdict in found.verdicts if verdict.outcome is Outcome.VIOLATED}
    assert list(broken) == ["checks"]
    trace = broken["checks"].trace
    assert trace is not None
    assert trace.violation is not None
    assert trace.violation.kind == "RANGE"
    assert [step.action for step in trace.steps] == ["", "paint", "switch", "switch", "switch"]
    assert trace.steps[1].arguments["colour"] == "GREEN"
    assert replay(loaded.spec, loaded.program, sizes, trace).reproduced


def test_limits_and_interrupts_end_with_what_was_done(buddy: Loaded) -> None:
    sizes = buddy.spec.resolve()
    timed = run(buddy.spec, buddy.program, sizes, seed=1, examples=100_000, steps=50, seconds=1.0)
    assert outcomes(timed) == {Outcome.HOLDS}
    assert timed.stopped == "time limit of 1 s"
    assert f"{timed.steps:,} random steps" in timed.verdicts[0].bound

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    stopped = run(buddy.spec, buddy.program, sizes, seed=1, examples=100_000, steps=50, progress=interrupt)
    assert outcomes(stopped) == {Outcome.UNKNOWN}
    assert stopped.verdicts[0].reason == "interrupted"
    assert stopped.steps > 0
    with pytest.raises(InputError, match="test nothing"):
        run(buddy.spec, buddy.program, sizes, examples=0)


def test_a_machine_for_another_test_suite(buddy: Loaded) -> None:
    import unittest

    from hypothesis import HealthCheck, settings

    quick = settings(max_examples=5, stateful_step_count=10, database=None, suppress_health_check=list(HealthCheck))
    case = state_machine(buddy.spec, buddy.program, buddy.spec.resolve()).TestCase
    case.settings = quick
    assert unittest.TestResult.wasSuccessful(_result(case))
    faulty = load("buddy", MERGE)
    machine = state_machine(faulty.spec, faulty.program, faulty.spec.resolve())
    state = machine()  # what Hypothesis prints runs as it stands
    state.memblock_free_all()
    for _ in range(3):
        state.alloc_pages(order=0)
    state.free_pages(page=0)
    with pytest.raises(AssertionError, match="B"):
        state.free_pages(page=2)


def _result(case: type) -> object:
    import unittest

    result = unittest.TestResult()
    case("runTest").run(result)
    return result


def test_nothing_is_printed_or_left_behind(
    buddy: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = lamps(tmp_path, 2)
    before = sys.gettrace()
    monkeypatch.chdir(tmp_path)
    run(loaded.spec, loaded.program, loaded.spec.resolve(), seed=1, examples=30, steps=20)
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == ["lamps.py"]
    assert sys.gettrace() is before
