"""What the model predicted of a recording: event by event, and every list and counter of the last state.

The one idea: each row of the table counts one kind of thing the kernel did or has; right, wrong, and, with the reason,
not predicted, add up to all there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.buddy import MIGRATE_MOVABLE
from ...model.faults import Fault
from .ftrace import LINES_MAX, read_trace
from .machine import Model, RecordedMachine, model
from .naming import live_addresses
from .operations import Operation, between, operations, postponed
from .replay import Replay, replay
from .states import CacheState, KernelState, read_state
from .tally import INTERRUPT, NO_SLAB_EVENTS, TURNED, Difference, Row, Tally, row_of
from .unseen import Unseen

TID_STEP = 8192
"""roundup_pow_of_two(CONFIG_NR_CPUS): the recorded kernels are built for 8192 CPUs."""
ORDERS_TRIED_MAX = 16
"""How many times the order of a free and an interrupt's frees may be taken the other way round."""

FREE_LISTS = "free lists, in order"
PCP_LISTS = "per-CPU page lists, in order"
PAGE_COUNTERS = "counters of zones and free lists"
PAGEBLOCKS = "types of the pageblocks"
LIVE = "live objects, by address"
CPU_LISTS = "cpu freelists, in order"
CPU_PARTIAL = "cpu partial lists, in order"
NODE_PARTIAL = "node partial lists, in order"
SLABS = "slabs: freelist in order, inuse, frozen"
CACHE_COUNTERS = "counters of caches, and each tid"
END_ROWS = (
    FREE_LISTS, PCP_LISTS, PAGE_COUNTERS, PAGEBLOCKS, LIVE, CPU_LISTS, CPU_PARTIAL, NODE_PARTIAL, SLABS, CACHE_COUNTERS,
)  # fmt: skip
"""The rows of the table that are about the last state."""
PAGE_ROWS = (FREE_LISTS, PCP_LISTS, CPU_PARTIAL, NODE_PARTIAL)
"""Those of them whose things are lists of pages."""
NEW_CACHE = "the cache was created after the first state"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fidelity:
    """The table of one recording. `orders_tried`: lines of frees that were taken as done only after the interrupt that
    came between their event and themselves. `slabs_until`: the line from which on slabs could not be followed.
    `unseen`: where something may have happened to the lists with no event."""

    name: str
    events: int
    operations: int
    during: tuple[Row, ...]
    at_end: tuple[Row, ...]
    orders_tried: tuple[int, ...]
    slabs_until: int | None
    stopped_at: int | None
    unseen: tuple[Unseen, ...]

    @property
    def exact(self) -> bool:
        return self.stopped_at is None and not any(row.wrong for row in (*self.during, *self.at_end))


def compare_recording(
    directory: Path, fault: Fault | None = None, progress: Progress = lambda what, done, total: None
) -> Fidelity:
    """Replay a recording through the model, with a fault or without; raises InputError for bad recordings."""
    progress("reading", 0, 0)
    before = read_state(directory / "state_A.json.gz")
    after = read_state(directory / "state_B.json.gz")
    trace = directory / "trace.txt"
    trace = trace if trace.exists() else directory / "trace.txt.xz"
    events = between(read_trace(trace, before.vmemmap_base, before.frames), before, after)
    done = operations(events, before.page_offset_base)
    found, late = _replay(model(fault), done, before, after, lambda now, of: progress(directory.name, now, of))
    rows = tuple(row_of(what, tally) for what, tally in found.tallies.items())
    ends = tuple(row_of(what, tally) for what, tally in compare_state(found, before, after).items())
    until = None if found.slabs_reason == NO_SLAB_EVENTS else found.slabs_until
    return Fidelity(directory.name, len(events), len(done), rows, ends, late, until, found.stopped_at, found.unseen)


def _replay(
    text: Model,
    done: Sequence[Operation],
    before: KernelState,
    after: KernelState,
    progress: Callable[[int, int], None],
) -> tuple[Replay, tuple[int, ...]]:
    """A replay in the order of the events; and where an address shows that a free was done only after the interrupt
    that struck between its event and itself, another one with that order, as long as it is the better one."""
    late: tuple[int, ...] = ()
    found = replay(RecordedMachine(text, before), done, before, after, progress)
    for _ in range(ORDERS_TRIED_MAX):
        another = _order_to_try(found, late)
        if another is None:
            break
        order = postponed(done, frozenset((*late, another)))
        tried = replay(RecordedMachine(text, before), order, before, after, progress)
        if _first_wrong(tried) <= _first_wrong(found):
            break
        found, late = tried, (*late, another)
    return found, late


def _first_wrong(found: Replay) -> int:
    """The line of the first difference, or one after all."""
    lines = [difference.line for tally in found.tallies.values() for difference in tally.wrong]
    return min(lines, default=LINES_MAX)


def _order_to_try(found: Replay, late: Sequence[int]) -> int | None:
    """The free whose order with an interrupt's frees explains the first difference, if one does."""
    wrong = [difference for tally in found.tallies.values() for difference in tally.wrong]
    first = min(wrong, key=lambda difference: difference.line, default=None)
    if first is None or first.reason != INTERRUPT or first.because in late:
        return None
    return first.because


# --- the last state


class _State:
    """Things of the last state, compared one by one."""

    def __init__(self) -> None:
        self.tallies = {row: Tally() for row in END_ROWS}

    def compare(self, row: str, about: str, recorded: Any, predicted: Any) -> None:
        tally = self.tallies[row]
        if recorded == predicted:
            tally.right += 1
        else:
            pages = _moved(recorded, predicted) if row in PAGE_ROWS else ()
            tally.wrong.append(Difference(0, about, _shown(recorded), _shown(predicted), pages=pages))


def _moved(recorded: Sequence[int], predicted: Sequence[int]) -> tuple[int, ...]:
    """The first pages that only one of two lists has, or that they have at different places."""
    odd = set(recorded) ^ set(predicted)
    if not odd:
        odd = {one for one, other in zip(recorded, predicted, strict=True) if one != other}
    return tuple(page for page in (*recorded, *predicted) if page in odd)[:4]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def compare_state(found: Replay, before: KernelState, after: KernelState) -> dict[str, Tally]:
    """Every list and counter of the last state, as the model has it."""
    state = _State()
    _compare_pages(state, found, after)
    _compare_live(state, found, after)
    starts = {cache.address: cache for cache in before.caches}
    for cache in after.caches:
        number = found.machine.by_address.get(cache.address)
        if found.slabs_until is not None or number is None:
            _leave_out(state, cache, found.slabs_reason or NEW_CACHE)
        else:
            _compare_cache(state, found.machine, number, starts[cache.address], cache)
    return state.tallies


def _compare_live(state: _State, found: Replay, after: KernelState) -> None:
    """Which objects are live is known by the events alone, even where the lists of slabs are not followed."""
    live = live_addresses(found.machine, after)
    tally = state.tallies[LIVE]
    if found.slabs_reason == NO_SLAB_EVENTS:
        tally.not_predicted[NO_SLAB_EVENTS] = len(live)
        return
    tally.right = len(live & found.live)
    for address in sorted(live ^ found.live):
        here = "live" if address in live else "free"
        tally.wrong.append(Difference(0, hex(address), here, "free" if address in live else "live"))


def _compare_pages(state: _State, run: Replay, after: KernelState) -> None:
    machine = run.machine
    pages = machine.m.pages
    for number, zone in enumerate(after.zones):
        have = pages.zone[number]
        for order, area in enumerate(zone.free_area):
            for migratetype, blocks in enumerate(area[: machine.sizes["migratetypes"]]):
                about = f"{zone.name}, order {order}, type {migratetype}"
                found = machine.page_list(have.free_area[order].free_list[migratetype])
                turned = run.turned.get((number, order)) if migratetype == MIGRATE_MOVABLE else None
                if turned is not None and blocks != found and turned.explains(found, blocks):
                    state.tallies[FREE_LISTS].not_predicted[TURNED] += 1
                else:
                    state.compare(FREE_LISTS, about, blocks, found)
            state.compare(PAGE_COUNTERS, f"{zone.name}, order {order}: nr_free", zone.nr_free[order],
                          have.free_area[order].nr_free)  # fmt: skip
        state.compare(PAGE_COUNTERS, f"{zone.name}: NR_FREE_PAGES", zone.free_pages, have.nr_free_pages)
        state.compare(PAGE_COUNTERS, f"{zone.name}: watermark_boost", zone.watermark_boost, have.watermark_boost)
        state.compare(PAGE_COUNTERS, f"{zone.name}: nr_reserved_highatomic", zone.reserved_highatomic,
                      have.nr_reserved_highatomic)  # fmt: skip
        for cpu, pcp in enumerate(zone.pcp):
            lists = have.per_cpu_pageset[cpu].lists
            for pindex, blocks in enumerate(pcp.lists):
                about = f"{zone.name}, cpu {cpu}, list {pindex}"
                state.compare(PCP_LISTS, about, blocks, machine.page_list(lists[pindex]))
            about = f"{zone.name}, cpu {cpu}: pcp count"
            state.compare(PAGE_COUNTERS, about, pcp.count, have.per_cpu_pageset[cpu].count)
    for block, migratetype in enumerate(after.pageblock_migratetype):
        state.compare(PAGEBLOCKS, f"pageblock {block}", migratetype, pages.memory.pageblock_flags[block])


def _compare_cache(
    state: _State, machine: RecordedMachine, number: int, before: CacheState, after: CacheState
) -> None:
    m, s = machine.m, machine.m.kmem_cache[number]
    for cpu, recorded in enumerate(after.cpu):
        c = s.cpu_slab[cpu]
        about = f"{after.name}, cpu {cpu}"
        state.compare(CPU_LISTS, about, (recorded.slab, recorded.free), (c.slab, machine.freelist(c.freelist)))
        state.compare(CPU_PARTIAL, about, recorded.partial, machine.slab_list(c.partial))
        steps, rest = divmod(recorded.tid - before.cpu[cpu].tid, TID_STEP)
        state.compare(CACHE_COUNTERS, f"{about}: tid", (steps, rest), (c.tid, 0))
    node = s.node[0]
    state.compare(NODE_PARTIAL, after.name, after.partial, machine.slab_list(node.first))
    for what in ("nr_partial", "nr_slabs", "total_objects"):
        state.compare(CACHE_COUNTERS, f"{after.name}: {what}", getattr(after, what), getattr(node, what))
    for page, slab in after.slabs.items():
        record = m.slab[page]
        found = (machine.freelist(record.freelist), record.inuse, record.frozen, record.slab_cache == number)
        state.compare(SLABS, f"{after.name}, slab {page}", (slab.free, slab.inuse, slab.frozen, True), found)


def _leave_out(state: _State, cache: CacheState, reason: str) -> None:
    """The things of a cache that cannot be predicted, counted all the same."""
    cpus = len(cache.cpu)
    counts = {CPU_LISTS: cpus, CPU_PARTIAL: cpus, NODE_PARTIAL: 1, SLABS: len(cache.slabs), CACHE_COUNTERS: cpus + 3}
    for row, count in counts.items():
        state.tallies[row].not_predicted[reason] += count
