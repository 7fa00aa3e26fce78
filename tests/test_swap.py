"""User memory and swap: searches and proofs, a naive machine beside it, what the scopes show, and what faults do."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.folio import FOLIO_ACTIVATE, FOLIO_RECLAIMED
from kmemspec.model.lang import Clauses, clause, indices, step_property
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.lowering import lower
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.mm import Content, TaskId, VirtualPage
from kmemspec.model.pageout import Outcome as Decision
from kmemspec.model.rmap import is_mapped_locked
from kmemspec.model.swap_clients import SwapMachine, finish_folio, read_memory, shrink_folio_list
from kmemspec.proofs.explore import Limits, explore
from kmemspec.proofs.symbolic import prove
from kmemspec.specs.loading import load

sys.path.insert(0, str(Path(__file__).with_name("peers")))
naive_memory: Any = importlib.import_module("naive_memory")


@functools.cache
def loaded() -> Any:
    return load("swap")


def sizes_of(scope: str) -> dict[str, int]:
    sizes: dict[str, int] = loaded().spec.scope(scope)
    return sizes


# --- engines


def test_all_states_of_the_smallest_scope_with_and_without_symmetry() -> None:
    """The states that the visited ones stand for are exactly those of the search without reduction."""
    program = loaded().program
    reduced = explore(program, sizes_of("tiny"))
    plain = explore(program, sizes_of("tiny"), symmetry=False)
    assert {v.property for v in reduced.verdicts if v.outcome is not Outcome.HOLDS} == set()
    assert reduced.symmetry is not None
    assert plain.states == reduced.symmetry.states == 229_725


@pytest.mark.slow
@pytest.mark.parametrize(
    "scope", ["together,vpages=2,frames=3", "together,synchronous=1,frames=3,swap_entries=2"]
)
def test_every_invariant_is_inductive(scope: str) -> None:
    """Also when everything is under way at the same time, which is too much for a search."""
    proof = prove(loaded().program, sizes_of(scope), timeout_seconds=900)
    assert {v.property: v.reason for v in proof.verdicts if v.outcome is not Outcome.HOLDS} == {}
    assert {v.property for v in proof.verdicts} >= {p.identifier for p in loaded().program.properties}


# --- a naive machine


class Dice:
    """Every choice from one seeded generator, which often lets reclaim go on: it may, and nothing was referenced."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def choose(self, options: range) -> int:
        if len(options) in (2, 3) and self.random.random() < 0.7:
            return options[len(options) == 2]
        return options[self.random.randrange(len(options))]


ACTIONS = (
    *["read_memory", "write_memory", "isolate_folio"] * 4, *["shrink_folio_list"] * 12, *["finish_folio"] * 6,
    *["end_swap_write"] * 4, "fork", "exit", "madvise_free", "madvise_dontneed",
)
WALK = "tiny,frames=5,tasks=4,vpages=2,swap_entries=5"


def follow(naive: Any, name: str, arguments: list[int], result: Any, machine: Any, sizes: dict[str, int]) -> Any:
    """The same step in the naive machine; gives its result."""
    if name in ("read_memory", "write_memory"):
        step = naive.read if name == "read_memory" else naive.write
        return step((arguments[0], arguments[1]), machine)
    if name == "fork":
        naive.fork(*arguments)
    elif name == "exit":
        naive.exit(arguments[0], sizes["vpages"])
    elif name == "madvise_free":
        naive.free_lazily(tuple(arguments))
    elif name == "madvise_dontneed":
        naive.give_up(tuple(arguments))
    elif name == "isolate_folio":
        naive.isolate(arguments[0])
    elif name == "end_swap_write":
        naive.end_write(arguments[0])
    elif name == "finish_folio":
        return naive.finish()
    else:
        naive.shrink(result, machine)
    return result


def compare(naive: Any, machine: Any, sizes: dict[str, int]) -> None:
    """Everything that the model counts is the size of a set, and everything that it stores is there."""
    for task in range(sizes["tasks"]):
        assert machine.mm[task].alive == (task in naive.alive)
        for address in range(sizes["vpages"]):
            place = (task, address)
            pte = machine.mm[task].anon[address]
            frame = naive.frame_of(place)
            assert pte.page == frame
            assert (pte.swap, pte.exclusive) == naive.entries.get(place, (None, False))
            if frame is not None:
                bits = naive.page[frame].mappers[place]
                assert (pte.dirty, pte.write) == (bits["dirty"], bits["write"])
    for frame in range(sizes["frames"]):
        folio, page = machine.folio[frame], naive.page.get(frame)
        assert (folio.refcount > 0) == (page is not None)
        if page is not None:
            assert (folio.refcount, folio.mapcount) == (naive.holders(frame), len(page.mappers))
            assert (machine.use[frame].content, machine.use[frame].swap) == (page.bytes, page.entry)
            assert (folio.dirty, folio.writeback, folio.swapbacked) == (page.dirty, page.io, not page.lazy)
    for entry in range(sizes["swap_entries"]):
        slot = machine.swap[entry]
        assert slot.count == len(naive.users(entry))
        assert slot.folio == naive.cached(entry)
        assert (slot.count > 0 or slot.has_cache) == (entry in naive.device)


def walk(seed: int, steps: int) -> dict[str, int]:
    """How often each action was taken on a random walk of the CPython engine, with the naive machine beside it."""
    sizes = sizes_of(WALK)
    engine: Any = PythonMachine(loaded().spec, loaded().program, sizes)
    dice = Dice(seed)
    engine.start(dice)
    [first] = [task for task in range(sizes["tasks"]) if engine.machine.mm[task].alive]
    naive = naive_memory.NaiveMemory(sizes["swap_entries"], first)
    numbers = {action.name: number for number, action in enumerate(loaded().program.actions)}
    taken: dict[str, int] = {}
    while sum(taken.values()) < steps:
        name = dice.random.choice(ACTIONS)
        if name == "shrink_folio_list" and dice.random.random() < 0.5:
            name = "isolate_folio"
        sorts = [parameter.type.sort for parameter in loaded().program.actions[numbers[name]].parameters]
        bounds = {"task": "tasks", "vpage": "vpages", "page": "frames", "swap_entry": "swap_entries"}
        arguments = [dice.random.randrange(sizes[bounds[sort]]) for sort in sorts]
        outcome = engine.perform(numbers[name], arguments, dice)
        assert outcome.failure is None, outcome.failure
        if not outcome.enabled:
            continue
        result = None if outcome.result == -1 else outcome.result
        assert follow(naive, name, arguments, result, engine.machine, sizes) == result, (name, arguments)
        compare(naive, engine.machine, sizes)
        if name == "read_memory" and result is not None:
            place = (arguments[0], arguments[1])
            assert result == naive.written.get(place, 0) or (place in naive.useless and result == 0)
        taken[name] = taken.get(name, 0) + 1
    return taken


@pytest.mark.parametrize("seed", range(4))
def test_the_model_agrees_with_a_naive_machine_on_random_walks(seed: int) -> None:
    taken = walk(seed, 1500)
    assert set(taken) == set(ACTIONS)


# --- what the default scope shows: each of these says that it never happens, and a search finds that it does


@step_property("shared page is swapped out", action=finish_folio)
def no_shared_page_is_swapped_out(before: SwapMachine, after: SwapMachine, result: Decision) -> Clauses:
    """The last step of it: the entry that two tasks have is all that is left of a page."""
    page = before.scan.folio
    if page is not None:
        entry = before.use[page].swap
        if entry is not None:
            yield clause("two tasks have it", result != FOLIO_RECLAIMED or before.swap[entry].count < 2, page)


@step_property("page comes back", action=read_memory)
def no_page_comes_back(
    before: SwapMachine, after: SwapMachine, task: TaskId, address: VirtualPage, result: Content | None
) -> Clauses:
    """A task finds what it wrote on a page that was freed in between; another task has the entry too."""
    entry = before.mm[task].anon[address].swap
    if entry is not None and before.swap[entry].folio is None and before.swap[entry].count == 2:
        yield clause("it reads what it wrote", result != 1, task)


@step_property("dirty file page is reclaimed", action=finish_folio)
def no_written_file_page_is_reclaimed(before: SwapMachine, after: SwapMachine, result: Decision) -> Clauses:
    """A page of the file is freed, and what was written to it is on the disk."""
    page = before.scan.folio
    if page is not None:
        index = before.use[page].index
        if index is not None:
            yield clause("it was written", result != FOLIO_RECLAIMED or before.i_pages[index].content == 0, page)


@step_property("unevictable page survives", action=shrink_folio_list)
def no_locked_page_is_met(before: SwapMachine, after: SwapMachine, result: Decision) -> Clauses:
    """Reclaim comes upon a page in locked memory, and it stays where it is."""
    page = before.scan.folio
    if page is not None and any(is_mapped_locked(before.mm[task], page) for task in indices(before.mm)):
        kept = result <= FOLIO_ACTIVATE  # or FOLIO_KEEP
        yield clause("it stays", not kept or not after.folio[page].unevictable, page)


@step_property("write after freeze is seen", action=finish_folio)
def no_page_is_found_dirty_at_last(before: SwapMachine, after: SwapMachine, result: Decision) -> Clauses:
    """Between its two halves a device writes to a folio and lets it go."""
    page = before.scan.folio
    if page is not None:
        late = before.folio[page].refcount == 2 and before.folio[page].dirty and before.use[page].index is not None
        yield clause("it is kept", not late or result == FOLIO_RECLAIMED, page)


PROBES = (
    no_shared_page_is_swapped_out,
    no_page_comes_back,
    no_written_file_page_is_reclaimed,
    no_locked_page_is_met,
    no_page_is_found_dirty_at_last,
)


def test_the_default_scope_shows_each_of_these() -> None:
    """By shortest traces."""
    spec = dataclasses.replace(loaded().spec, properties=PROBES, refinement=None)
    limits = Limits(states=600_000)
    found = explore(lower(spec), spec.scope(None), limits=limits, stop_at_first=False)
    shown = {verdict.property: verdict.trace for verdict in found.verdicts if verdict.outcome is Outcome.VIOLATED}
    assert set(shown) == {probe.identifier for probe in PROBES}
    lengths = {name: len(trace.steps) - 1 for name, trace in shown.items() if trace is not None}
    assert lengths == {
        "shared page is swapped out": 9,
        "page comes back": 10,
        "dirty file page is reclaimed": 6,
        "unevictable page survives": 4,
        "write after freeze is seen": 7,
    }
