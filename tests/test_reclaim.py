"""Reclaim: searches and proofs, what the default scope shows, liveness with its lasso, and what faults do."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.faults.catalogue import find
from kmemspec.model.lang import Clauses, clause, indices, invariant, step_property
from kmemspec.model.lang.lowering import lower
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.mm import Content, TaskId, VirtualPage
from kmemspec.model.reclaim import KSWAPD, RECLAIM_NOTHING, ReclaimerId
from kmemspec.model.reclaim_clients import (
    ReclaimMachine,
    access_memory,
    end_direct_reclaim,
    reclaim_mapping,
)
from kmemspec.proofs.explore import Limits, explore
from kmemspec.specs.loading import load
from kmemspec.specs.reclaim import is_hopeless, reclaimed_so_far

LEADS = {"V1", "V2", "V3"}


@functools.cache
def loaded() -> Any:
    return load("reclaim")


def sizes_of(scope: str | None) -> dict[str, int]:
    sizes: dict[str, int] = loaded().spec.scope(scope)
    return sizes


# --- engines


@pytest.mark.slow
def test_all_states_of_a_small_scope_with_and_without_symmetry() -> None:
    """The states that the visited ones stand for are exactly those of the search without reduction."""
    reduced = explore(loaded().program, sizes_of("small"), stop_at_first=False)
    plain = explore(loaded().program, sizes_of("small"), stop_at_first=False, symmetry=False)
    for found in (reduced, plain):
        assert {v.property for v in found.verdicts if v.outcome is not Outcome.HOLDS} == set()
    assert {verdict.property for verdict in plain.verdicts} >= LEADS
    assert reduced.symmetry is not None
    assert plain.states == reduced.symmetry.states


# --- what the default scope shows: each of these says that it never happens, and a search finds that it does


class WithContents(ReclaimMachine):
    """The same with contents, so that it can be seen what a page was used for before."""

    def next_content(self, content: Content) -> Content:
        """Something else than before."""
        return 1 if content == 0 else 0


@step_property("a shared page is swapped out", action=reclaim_mapping)
def no_shared_page_is_swapped_out(before: ReclaimMachine, after: ReclaimMachine, r: ReclaimerId) -> Clauses:
    """An anonymous page of two tasks is freed; both have its swap entry."""
    page = before.reclaimer[r].folio_list.last
    if page is not None and after.folio[page].refcount == 0:
        entry = before.use[page].swap
        if entry is not None:
            yield clause("two tasks have it", before.swap[entry].count < 2, page)


@step_property("a page that was swapped out comes back", action=access_memory)
def no_page_comes_back(
    before: ReclaimMachine, after: ReclaimMachine, task: TaskId, address: VirtualPage, write: bool
) -> Clauses:
    """A task has a page again that was freed in between."""
    entry = before.mm[task].anon[address].swap
    if entry is not None and before.swap[entry].folio is None:
        yield clause("it is in swap", after.mm[task].anon[address].page is None, task)


@step_property("a dirty file page is reclaimed after writeback", action=reclaim_mapping)
def no_written_file_page_is_reclaimed(before: ReclaimMachine, after: ReclaimMachine, r: ReclaimerId) -> Clauses:
    """A page of the file is freed, and what was written to it is on the disk."""
    page = before.reclaimer[r].folio_list.last
    if page is not None and after.folio[page].refcount == 0:
        index = before.use[page].index
        if index is not None:
            yield clause("it was written", before.i_pages[index].content == 0, page)


@step_property("kswapd is woken by the low watermark")
def kswapd_is_never_woken(before: ReclaimMachine, after: ReclaimMachine) -> Clauses:
    """A frame is taken that leaves no more than the low watermark, while there are some above the lowest."""
    if before.reclaimer[KSWAPD].phase == RECLAIM_NOTHING and after.reclaimer[KSWAPD].phase != RECLAIM_NOTHING:
        direct = any(after.task[task].slow for task in indices(after.task))
        yield clause("it sleeps on", direct or before.nr_free_pages > before.watermark_low)


@step_property("kswapd is put to sleep by the high watermark")
def kswapd_never_reaches_the_watermark(before: ReclaimMachine, after: ReclaimMachine) -> Clauses:
    """After it has freed frames itself."""
    if before.reclaimer[KSWAPD].phase != RECLAIM_NOTHING and after.reclaimer[KSWAPD].phase == RECLAIM_NOTHING:
        balanced = after.nr_free_pages > after.watermark_high and not is_hopeless(after)
        yield clause("it is awake", not balanced or reclaimed_so_far(before.reclaimer[KSWAPD]) == 0)


@step_property("a task reclaims and gets a frame", action=end_direct_reclaim)
def direct_reclaim_is_in_vain(before: ReclaimMachine, after: ReclaimMachine, task: TaskId) -> Clauses:
    """Direct reclaim, with success."""
    r = before.task[task].reclaimer
    if r is not None and before.reclaimer[r].nr_reclaimed > 0:
        yield clause("it fails", after.task[task].slow)


@step_property("an unevictable page survives", action=end_direct_reclaim)
def no_unevictable_page_survives(before: ReclaimMachine, after: ReclaimMachine, task: TaskId) -> Clauses:
    """A task has reclaimed at all priorities, in vain, and a page in locked memory is still there."""
    r = before.task[task].reclaimer
    if r is not None and before.reclaimer[r].nr_reclaimed == 0:
        for page in indices(after.folio):
            yield clause("it is gone", not after.folio[page].unevictable, page)


@step_property("a task is killed", action=end_direct_reclaim)
def nobody_is_killed(before: ReclaimMachine, after: ReclaimMachine, task: TaskId) -> Clauses:
    """OOM."""
    for victim in indices(after.task):
        yield clause("no OOM", before.task[victim].oom_victim or not after.task[victim].oom_victim, victim)


@invariant("a page is shared by two tasks")
def no_page_is_shared(m: ReclaimMachine) -> Clauses:
    """Two tasks map one anonymous page."""
    for page in indices(m.folio):
        tasks = sum(
            1 for task in indices(m.mm) if any(m.mm[task].anon[at].page == page for at in indices(m.mm[task].anon))
        )
        yield clause("it is of one", tasks < 2, page)


PROBES = (
    no_page_is_shared,
    no_shared_page_is_swapped_out,
    no_page_comes_back,
    kswapd_is_never_woken,
    kswapd_never_reaches_the_watermark,
    direct_reclaim_is_in_vain,
    no_unevictable_page_survives,
    nobody_is_killed,
)


def shown_by(state: type[ReclaimMachine], probes: tuple[Any, ...], states: int) -> dict[str, int]:
    """What a search of the default scope finds to happen, with the lengths of the shortest traces."""
    spec = dataclasses.replace(loaded().spec, state=state, properties=probes)
    found = explore(lower(spec), spec.scope(None), limits=Limits(states=states), stop_at_first=False)
    return {
        verdict.property: len(verdict.trace.steps) - 1
        for verdict in found.verdicts
        if verdict.outcome is Outcome.VIOLATED and verdict.trace is not None
    }


def test_the_default_scope_shows_each_of_these() -> None:
    assert shown_by(ReclaimMachine, PROBES, 600_000) == {
        "a page is shared by two tasks": 2,
        "a shared page is swapped out": 12,
        "a page that was swapped out comes back": 11,
        "kswapd is woken by the low watermark": 2,
        "kswapd is put to sleep by the high watermark": 9,
        "a task reclaims and gets a frame": 11,
        "an unevictable page survives": 9,
        "a task is killed": 9,
    }
    written = (no_written_file_page_is_reclaimed,)
    assert shown_by(WithContents, written, 300_000) == {"a dirty file page is reclaimed after writeback": 9}


# --- liveness

LASSO_SCOPE = "small,vpages=1"


def test_without_the_bound_on_failures_kswapd_runs_for_ever(tmp_path: Path) -> None:
    """C1x: a lasso in which kswapd takes turns in vain, which CPython replays; with the bound there is none."""
    faulty = load("reclaim", find("C1x"))
    sizes = faulty.spec.scope(LASSO_SCOPE)
    [violated] = [
        verdict
        for verdict in explore(faulty.program, sizes, only=["V1"]).verdicts
        if verdict.outcome is Outcome.VIOLATED
    ]
    assert violated.property == "V1"
    trace = violated.trace
    assert trace is not None
    assert trace.loop is not None
    turns = [step.action for step in trace.steps[trace.loop + 1 :]]
    assert set(turns) == {"reclaim_turn", "reclaim_turn_end"}
    assert replay(faulty.spec, faulty.program, sizes, trace).reproduced
    sound = {verdict.property: verdict.outcome for verdict in explore(loaded().program, sizes).verdicts}
    assert {sound[identifier] for identifier in LEADS} == {Outcome.HOLDS}


def test_the_command_shows_the_lasso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["explore", "reclaim", "--fault", "C1x", "--only", "V1", "--scope", LASSO_SCOPE, "-o", "lasso"]
    assert main([*command, "--json", "report.json"]) == 1
    [violated] = [
        result
        for result in json.loads((tmp_path / "report.json").read_text())["results"]
        if result["verdict"] == "violated"
    ]
    assert violated["property"] == "V1"
    assert "lasso.json" in {path.name for path in tmp_path.iterdir()}
    assert main(["replay", "lasso.json"]) == 1
    assert main(["explore", "reclaim", "--only", "V7"]) == 2
