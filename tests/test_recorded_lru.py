"""The LRU and reclaim of recorded kernels: every relation holds, and one that is broken anywhere is found."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.faults import Fault
from kmemspec.model.lang.errors import InputError
from kmemspec.specs.recorded import lru_comparison, page_flags, page_life, scan_counts, vmscan
from kmemspec.specs.recorded.ftrace import (
    Event,
    FreePageIsolated,
    Marker,
    PageAllocated,
    PageBulkAllocated,
    PageFreed,
    read_trace,
)
from kmemspec.specs.recorded.lru import PAGEVEC_SIZE, lru_text
from kmemspec.specs.recorded.lru_comparison import LruFidelity, compare_events, compare_lru, in_phases
from kmemspec.specs.recorded.lru_invariants import LruInvariants
from kmemspec.specs.recorded.lru_states import LruState, read_lru_state
from kmemspec.specs.recorded.tally import Row, Tally
from kmemspec.specs.recorded.vmscan_events import (
    ActiveShrunk,
    DirectReclaimBegun,
    DirectReclaimEnded,
    FolioWritten,
    InactiveShrunk,
    KswapdCalled,
    KswapdSlept,
    KswapdWoken,
    LruActivated,
    LruInserted,
    LruIsolated,
    parsers,
)

RECORDINGS = Path(__file__).parent / "data" / "recordings"
FLAG_FILE = "kpageflags_a.bin.xz"
LINE = "             wl-7       [000] d..1.   15: "

EXPECTED: dict[str, dict[str, int]] = {
    "swap2": {
        page_life.INSERTION: 23468, page_life.LISTED: 23468, page_life.ACTIVATION: 2205, page_life.WRITE: 7555,
        vmscan.TAKEN: 2654, vmscan.FOLLOWED: 2654, vmscan.OF_RECLAIM: 2654, vmscan.OUTCOMES: 2329, vmscan.ACTIVE: 325,
        vmscan.PRIORITY: 4810, vmscan.NESTED: 108, vmscan.SUM: 54, vmscan.KSWAPD: 266, scan_counts.FREED: 2067,
        scan_counts.SCAN: 1189, lru_comparison.COUNTERS: 22, lru_comparison.ONE_LIST: 939,
        lru_comparison.ZONE_COUNTERS: 20, lru_comparison.NODE_COUNTERS: 10, lru_comparison.MEMBERS: 358,
        lru_comparison.FRAMES: 28203,
        page_flags.NAMED: 303, "L1 one_place": 3, "L1-links lists_linked": 3, "L2 flags_agree": 5,
        "L3 lists_counted": 3, "L4 isolated_counted": 3, "L5 batches_counted": 3, "L7 mlocked_is_unevictable": 2,
    },
    "thp2": {
        page_life.INSERTION: 8335, page_life.ACTIVATION: 239, lru_comparison.COUNTERS: 21,
        lru_comparison.ONE_LIST: 5985, lru_comparison.ZONE_COUNTERS: 20, lru_comparison.NODE_COUNTERS: 7,
        lru_comparison.MEMBERS: 3061, lru_comparison.TYPES: 3061, lru_comparison.ORDER: 591,
        lru_comparison.FRAMES: 48682, page_flags.NAMED: 2499,
    },
    "mid1": {
        page_life.INSERTION: 3582, lru_comparison.COUNTERS: 21, lru_comparison.MEMBERS: 2736,
        lru_comparison.TYPES: 2736, lru_comparison.WHICH: 1914, lru_comparison.ORDER: 587,
    },
    "mid2": {
        page_life.INSERTION: 3719, vmscan.TAKEN: 3, lru_comparison.COUNTERS: 21, lru_comparison.FRAMES: 32299,
        lru_comparison.MEMBERS: 2730, lru_comparison.WHICH: 1975,
    },
}  # fmt: skip
"""How many checks of each kind there are, all of which hold."""


@dataclass(frozen=True)
class Recorded:
    """A recording, read."""

    events: list[tuple[Event, int]]
    before: LruState
    after: LruState

    def compare(self, events: Sequence[tuple[Event, int]] | None = None, **changed: LruState) -> LruFidelity:
        before, after = changed.get("before", self.before), changed.get("after", self.after)
        return compare_events(
            "changed", self.events if events is None else events, before, after, invariants=False
        )

    def invariants(self, after: LruState) -> dict[str, Tally]:
        """On a state alone."""
        found = LruInvariants()
        found.check_state(lru_text(), after)
        return found.tallies


def recorded(name: str) -> Recorded:
    before, after = (read_lru_state(RECORDINGS / name / f"state_{state}.json.gz") for state in "AB")
    path = lru_comparison.trace_of(RECORDINGS / name)
    events = read_trace(path, before.vmemmap_base, before.frames, parsers(before.frames))
    return Recorded(list(in_phases(events, before, after)), before, after)


@pytest.fixture(scope="module")
def swap2() -> Recorded:
    return recorded("swap2")


@pytest.fixture(scope="module")
def mid2() -> Recorded:
    return recorded("mid2")


def rows(found: LruFidelity) -> dict[str, Row]:
    return {row.what: row for row in found.rows}


# --- the recordings


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("swap2", "thp2", "mid2")]


@pytest.mark.parametrize("name", ["mid1", *SLOWLY])
def test_every_relation_holds(name: str) -> None:
    found = compare_lru(RECORDINGS / name)
    assert [difference for row in found.rows for difference in row.wrong] == []
    assert found.holds
    assert {what: rows(found)[what].right for what in EXPECTED[name]} == EXPECTED[name]
    assert found.exact_scans == (364 if name == "swap2" else 0)


@pytest.mark.slow
def test_what_has_no_event_is_not_told() -> None:
    found = rows(recorded("drv1").compare())
    assert not any(row.wrong for row in found.values())
    assert dict(found[lru_comparison.MEMBERS].not_predicted) == {lru_comparison.NO_LRU_EVENTS: 2543}
    assert dict(found[lru_comparison.NODE_COUNTERS].not_predicted) == {}
    found = rows(recorded("thp2").compare())
    assert dict(found[lru_comparison.NODE_COUNTERS].not_predicted) == {lru_comparison.NOT_ADDED: 3}
    assert dict(found[lru_comparison.WHICH].not_predicted) == {lru_comparison.DEACTIVATED: 873}


# --- corrupted events

Change = Callable[[Event], Event]
Choose = Callable[[Any], bool]


def anything(_: object) -> bool:
    return True


def dropped(data: Recorded, kind: type[Event], which: Choose = anything) -> list[tuple[Event, int]]:
    place = _place(data, kind, which)
    return data.events[:place] + data.events[place + 1 :]


def doubled(data: Recorded, kind: type[Event], which: Choose = anything) -> list[tuple[Event, int]]:
    place = _place(data, kind, which)
    return data.events[: place + 1] + data.events[place:]


def changed(
    data: Recorded, kind: type[Event], change: Callable[[Any], Event], which: Choose = anything
) -> list[tuple[Event, int]]:
    place = _place(data, kind, which)
    event, phase = data.events[place]
    return [*data.events[:place], (change(event), phase), *data.events[place + 1 :]]


def _place(data: Recorded, kind: type[Event], which: Choose) -> int:
    """The middle one of the events of a kind between the states, of those that `which` picks."""
    places = [
        number
        for number, (event, phase) in enumerate(data.events)
        if phase == 1 and type(event) is kind and which(event)
    ]
    return places[len(places) // 2]


def more(name: str, by: int = 1) -> Callable[[Any], Event]:
    return lambda event: replace(event, **{name: getattr(event, name) + by})


def first_isolation(data: Recorded) -> int:
    """The line of one at a high priority: reclaim begins there."""
    return next(event.line for event, phase in data.events if phase == 1 and isinstance(event, LruIsolated))


def kernel_page(data: Recorded) -> int:
    """A page that is in use from before the first state on."""
    return next(run[0] for run, what in data.before.classes if what == "reserved")


def some_free_page(data: Recorded) -> int:
    """A page that is free from the first state to the second."""
    used = {event.pfn for event, _ in data.events if isinstance(event, (PageAllocated, PageFreed))}
    free = [page for run, what in data.before.classes if what == "buddy" for page in run]
    return next(page for page in reversed(free) if page not in used)


CORRUPTIONS: dict[str, tuple[Callable[[Recorded], list[tuple[Event, int]]], str]] = {
    "an isolation is dropped": (lambda data: dropped(data, LruIsolated), vmscan.FOLLOWED),
    "an isolation happens twice": (lambda data: doubled(data, LruIsolated), vmscan.FOLLOWED),
    "a page more is taken": (lambda data: changed(data, LruIsolated, more("taken")), vmscan.TAKEN),
    "a page more is scanned": (lambda data: changed(data, LruIsolated, more("scanned")), vmscan.FOLLOWED),
    "another list is isolated": (
        lambda data: changed(data, LruIsolated, lambda event: replace(event, lru=event.lru ^ 2)), vmscan.FOLLOWED
    ),
    "more is asked for than a list's size >> priority": (
        lambda data: changed(data, LruIsolated, lambda event: replace(event, requested=32),
                             lambda event: event.line == first_isolation(data)), scan_counts.SCAN
    ),
    "more than SWAP_CLUSTER_MAX is asked for": (
        lambda data: changed(data, LruIsolated, lambda event: replace(event, requested=33)), vmscan.CLUSTER
    ),
    "another order is reclaimed for": (
        lambda data: changed(data, LruIsolated, more("order")), vmscan.OF_RECLAIM
    ),
    "a shrink event is dropped": (lambda data: dropped(data, InactiveShrunk), vmscan.FOLLOWED),
    "a page more is reclaimed": (lambda data: changed(data, InactiveShrunk, more("reclaimed")), scan_counts.FREED),
    "a page more is kept than was taken": (
        lambda data: changed(data, InactiveShrunk, lambda event: replace(event, ref_keep=event.scanned + 1)),
        vmscan.OUTCOMES,
    ),
    "an anonymous page is counted as dirty": (
        lambda data: changed(data, InactiveShrunk, more("dirty"), lambda event: not event.file), vmscan.KINDS
    ),
    "a page more is deactivated": (lambda data: changed(data, ActiveShrunk, more("deactivated")), vmscan.ACTIVE),
    "an anonymous page stays active": (lambda data: changed(data, ActiveShrunk, more("active")), vmscan.REFERENCED),
    "the priority rises": (
        lambda data: changed(data, InactiveShrunk, lambda event: replace(event, priority=12),
                             lambda event: event.priority < 6), vmscan.PRIORITY
    ),
    "a page is written twice": (lambda data: doubled(data, FolioWritten), vmscan.WRITTEN),
    "a write is dropped": (lambda data: dropped(data, FolioWritten), lru_comparison.COUNTERS),
    "a free page is written": (
        lambda data: changed(data, FolioWritten, lambda event: replace(event, pfn=some_free_page(data))),
        page_life.WRITE,
    ),
    "a reclaim does not begin": (lambda data: dropped(data, DirectReclaimBegun), lru_comparison.COUNTERS),
    "a reclaim does not end": (lambda data: dropped(data, DirectReclaimEnded), vmscan.NESTED),
    "a reclaim ends with less than its lists gave": (
        lambda data: changed(data, DirectReclaimEnded, more("reclaimed", -1), lambda event: event.reclaimed > 0),
        vmscan.SUM,
    ),
    "kswapd falls asleep twice": (lambda data: doubled(data, KswapdSlept), vmscan.KSWAPD),
    "kswapd is never called": (
        lambda data: [one for one in data.events if not isinstance(one[0], KswapdCalled)], vmscan.KSWAPD
    ),
    "an insertion is dropped": (
        lambda data: dropped(data, LruInserted, lambda event: event.pfn in data.after.lists[0]),
        lru_comparison.MEMBERS,
    ),
    "a page is inserted twice": (lambda data: doubled(data, LruInserted), page_life.ONCE),
    "a page is inserted on a list of the other type": (
        lambda data: changed(data, LruInserted, lambda event: replace(event, lru=event.lru ^ 2)), page_life.LISTED
    ),
    "a free page is inserted": (
        lambda data: changed(data, LruInserted, lambda event: replace(event, pfn=some_free_page(data))),
        page_life.INSERTION,
    ),
    "an activation is dropped": (lambda data: dropped(data, LruActivated), lru_comparison.COUNTERS),
    "a free page is activated": (
        lambda data: changed(data, LruActivated, lambda event: replace(event, pfn=some_free_page(data))),
        page_life.ACTIVATION,
    ),
    "an allocation is dropped": (lambda data: dropped(data, PageAllocated), lru_comparison.COUNTERS),
    "a free is dropped": (lambda data: dropped(data, PageFreed), lru_comparison.COUNTERS),
    "another page is freed": (
        lambda data: changed(data, PageFreed, lambda event: replace(event, pfn=kernel_page(data))),
        lru_comparison.FRAMES,
    ),
}  # fmt: skip
"""What is changed in one event, and a row that shows it."""


@pytest.mark.parametrize(
    "corruption",
    [pytest.param(one, marks=pytest.mark.slow if number >= 12 else ()) for number, one in enumerate(CORRUPTIONS)],
)
def test_one_corrupted_event_is_found(swap2: Recorded, mid2: Recorded, corruption: str) -> None:
    """Of swap2, but for what the shorter mid2 has too."""
    change, row = CORRUPTIONS[corruption]
    if row in vmscan.EVENT_RELATIONS:
        reading = vmscan.Vmscan()
        for event, phase in change(swap2):
            reading.read(event, phase == 1)
        assert reading.tallies[row].wrong, corruption
        return
    data = swap2 if row == scan_counts.SCAN else mid2
    try:
        events = change(data)
    except IndexError:  # no such event there
        data, events = swap2, change(swap2)
    assert rows(data.compare(events))[row].wrong, corruption


CORRUPTED = (
    ActiveShrunk, DirectReclaimBegun, DirectReclaimEnded, FolioWritten, InactiveShrunk, KswapdCalled, KswapdSlept,
    KswapdWoken, LruActivated, LruInserted, LruIsolated, PageAllocated, PageFreed,
)  # fmt: skip


@pytest.mark.slow
def test_most_random_corruptions_are_found(swap2: Recorded) -> None:
    """One event between the states is dropped, doubled, or has one number changed, in 16 runs."""
    generator = random.Random(3)
    found = sum(not swap2.compare(random_corruption(swap2, generator)).holds for _ in range(16))
    assert found >= 12


def random_corruption(data: Recorded, generator: random.Random) -> list[tuple[Event, int]]:
    places: dict[type[Event], list[int]] = {}
    for number, (event, phase) in enumerate(data.events):
        if phase == 1 and isinstance(event, CORRUPTED):
            places.setdefault(type(event), []).append(number)
    place = generator.choice(places[generator.choice(sorted(places, key=lambda kind: kind.__name__))])
    event, phase = data.events[place]
    common = {field.name for field in fields(Event)}
    numbers = [field.name for field in fields(event) if type(getattr(event, field.name)) is int]
    numbers = [name for name in numbers if name not in common]
    instead: list[Event] = []
    match generator.choice(("drop", "double", "change") if numbers else ("drop", "double")):
        case "double":
            instead = [event, event]
        case "change":
            name = generator.choice(numbers)
            old = getattr(event, name)
            value = generator.randrange(data.before.frames) if name == "pfn" else (old + 1) % 5 if name == "lru" else (
                old + 1
            )  # fmt: skip
            kind: Any = replace
            instead = [kind(event, **{name: value})]
    return [*data.events[:place], *((one, phase) for one in instead), *data.events[place + 1 :]]


# --- corrupted states


def lists_with(state: LruState, lru: int, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> LruState:
    lists = list(state.lists)
    lists[lru] = change(lists[lru])
    return replace(state, lists=tuple(lists))


def moved(state: LruState) -> LruState:
    """The first page of one list stands on the other one of its type instead."""
    page = state.lists[0][0]
    return lists_with(lists_with(state, 0, lambda pages: pages[1:]), 1, lambda pages: (page, *pages))


def of_another_type(state: LruState) -> LruState:
    page = state.lists[0][0]
    return lists_with(lists_with(state, 0, lambda pages: pages[1:]), 2, lambda pages: (page, *pages))


def one_zone_counter_more(state: LruState) -> LruState:
    zone = state.zones[1]
    counted = (zone.counted[0] + 1, *zone.counted[1:])
    return replace(state, zones=(state.zones[0], replace(zone, counted=counted)))


def some_page(state: LruState, what: str) -> int:
    return next(run[0] for run, use in state.classes if use == what)


def counter(name: str, by: int) -> Callable[[LruState], LruState]:
    return lambda state: replace(state, events={**state.events, name: state.events[name] + by})


def batched(page: Callable[[LruState], int], to: int = 0) -> Callable[[LruState], LruState]:
    """A page more in the first batch, or as many as there are then `to` in it."""

    def change(state: LruState) -> LruState:
        (first, *kinds), *cpus = state.batches
        more = (page(state),) * max(1, to - len(first))
        return replace(state, batches=(((*first, *more), *kinds), *cpus))

    return change


WRONG_STATES: dict[str, tuple[Callable[[LruState], LruState], str]] = {
    "a page is twice on a list": (
        lambda state: lists_with(state, 0, lambda pages: (*pages, pages[0])), lru_comparison.ONE_LIST
    ),
    "a page is on two lists": (
        lambda state: lists_with(state, 2, lambda pages: (*pages, state.lists[0][0])), lru_comparison.ONE_LIST
    ),
    "a page is on the other list of its type": (moved, lru_comparison.ZONE_COUNTERS),
    "a page is on a list of another type": (of_another_type, lru_comparison.TYPES),
    "a page is on no list": (
        lambda state: lists_with(state, 1, lambda pages: pages[1:]), lru_comparison.MEMBERS
    ),
    "two pages of an active list have changed places": (
        lambda state: lists_with(state, 3, lambda pages: (pages[1], pages[0], *pages[2:])), lru_comparison.ORDER
    ),
    "a free page is on a list": (
        lambda state: lists_with(state, 0, lambda pages: (some_page(state, "buddy"), *pages[1:])),
        lru_comparison.CLASSES,
    ),
    "a zone counts a page more": (one_zone_counter_more, lru_comparison.ZONE_COUNTERS),
    "the node counts far too many": (
        lambda state: replace(state, nr_lru=(state.nr_lru[0] + 1000, *state.nr_lru[1:])), lru_comparison.NODE_COUNTERS
    ),
    "pages are isolated": (
        lambda state: replace(state, nr_isolated=(0, 1000)), lru_comparison.ISOLATED
    ),
    "a batch has a page of a list": (batched(lambda state: state.lists[0][0]), lru_comparison.BATCHED),
    "a batch has a free page": (
        batched(lambda state: some_page(state, "pcp")), lru_comparison.BATCHED
    ),
    "PGACTIVATE is off by one": (counter("PGACTIVATE", 1), lru_comparison.COUNTERS),
    "PGREFILL is off by one": (counter("PGREFILL", -1), lru_comparison.COUNTERS),
    "PGFREE is off by one": (counter("PGFREE", 1), lru_comparison.COUNTERS),
}  # fmt: skip
"""What is changed in the second state of mid2, and a row that shows it."""


@pytest.mark.parametrize(
    "corruption",
    [pytest.param(one, marks=pytest.mark.slow if number >= 5 else ()) for number, one in enumerate(WRONG_STATES)],
)
def test_a_corrupted_state_is_found(mid2: Recorded, corruption: str) -> None:
    change, row = WRONG_STATES[corruption]
    assert rows(mid2.compare(after=change(mid2.after)))[row].wrong, corruption


BROKEN_INVARIANTS: dict[str, tuple[Callable[[LruState], LruState], str]] = {
    "a page is twice on a list": (
        lambda state: lists_with(state, 0, lambda pages: (*pages, pages[0])), "L1-links lists_linked"
    ),
    "a list is a page longer than counted": (
        lambda state: lists_with(state, 0, lambda pages: (*pages, some_page(state, "used"))), "L3 lists_counted"
    ),
    "a free page is on a list": (
        lambda state: lists_with(state, 0, lambda pages: (*pages, some_page(state, "buddy"))), "L1 one_place"
    ),
    "a free page has flags": (
        lambda state: lists_with(state, 0, lambda pages: (*pages, some_page(state, "buddy"))), "L2 flags_agree"
    ),
    "a page of a list waits in a batch": (
        batched(lambda state: state.lists[0][0]), "L1 one_place"
    ),
    "a batch is full, and not emptied": (
        batched(lambda state: some_page(state, "used"), PAGEVEC_SIZE), "L5 batches_counted"
    ),
    "the cost does not decay": (
        lambda state: replace(state, cost=(state.frames // 4 + 1, 0)), "L-cost costs_decay"
    ),
}  # fmt: skip


@pytest.mark.parametrize("corruption", BROKEN_INVARIANTS)
def test_a_broken_invariant_is_found(mid2: Recorded, corruption: str) -> None:
    """The second state of mid2, changed; and the invariant that shows it."""
    change, row = BROKEN_INVARIANTS[corruption]
    assert mid2.invariants(change(mid2.after))[row].wrong, corruption


COUNTERS_OF_SWAP2 = (
    "PGSCAN_KSWAPD", "PGSCAN_DIRECT", "PGSCAN_ANON", "PGSCAN_FILE", "PGSTEAL_KSWAPD", "PGSTEAL_DIRECT", "PGSTEAL_ANON",
    "PGSTEAL_FILE", "PGREFILL", "PGACTIVATE", "PGSCAN_SKIP_DMA32", "PAGEOUTRUN", "ALLOCSTALL_NORMAL",
    "ALLOCSTALL_MOVABLE", "PGALLOC_DMA", "PGFREE",
)  # fmt: skip


def test_every_counter_is_compared(swap2: Recorded) -> None:
    """All of them off by one at once: each is a difference of its own; PSWPOUT may be less than the writes, not more,
    and PGDEACTIVATE more than the events, not less."""
    after = swap2.after
    for name in (*COUNTERS_OF_SWAP2, "PSWPOUT"):
        after = counter(name, 1)(after)
    after = counter("PGDEACTIVATE", -1)(after)
    wrong = rows(swap2.compare(after=after))[lru_comparison.COUNTERS].wrong
    names = {difference.about for difference in wrong}
    assert names == {
        *(name for name in COUNTERS_OF_SWAP2 if name not in ("PGSCAN_SKIP_DMA32", "PGALLOC_DMA")),
        "PGSCAN_SKIP", "PGALLOC", "PSWPOUT", "PGDEACTIVATE",
    }  # fmt: skip


# --- corrupted flags


FLAGS: dict[str, tuple[Callable[[int], bool], int, str]] = {
    "an active page is not": (lambda word: word & (1 << 5 | 1 << 6) == 1 << 5 | 1 << 6, 1 << 6, page_flags.NAMED),
    "a page of a file is anonymous": (lambda word: word & (1 << 5 | 1 << 14) == 1 << 5, 1 << 14, page_flags.NAMED),
    "an unevictable page is active": (lambda word: bool(word & 1 << 18), 1 << 6, "L2 flags_agree"),
    "a free page is referenced": (lambda word: word == 1 << 10, 1 << 2, "L2 flags_agree"),
    "a page on a list is mlocked": (
        lambda word: word & (1 << 5 | 1 << 18) == 1 << 5, 1 << 33, "L7 mlocked_is_unevictable"
    ),
}  # fmt: skip
"""Of which frame's flags (the last one that is so) which bit is turned, and a row that shows it."""


@pytest.mark.parametrize(
    "corruption",
    [pytest.param(one, marks=pytest.mark.slow if number >= 1 else ()) for number, one in enumerate(FLAGS)],
)
def test_corrupted_flags_are_found(tmp_path: Path, corruption: str) -> None:
    choose, bit, row = FLAGS[corruption]
    thp2 = recorded("thp2")
    words = list(struct.unpack("<65536Q", lzma.decompress((RECORDINGS / "thp2" / FLAG_FILE).read_bytes())))
    there = {page for pages in thp2.before.lists for page in pages}
    chosen = [page for page, word in enumerate(words) if choose(word) and (row != page_flags.NAMED or page in there)]
    words[chosen[-1]] ^= bit
    file = tmp_path / FLAG_FILE
    file.write_bytes(lzma.compress(struct.pack("<65536Q", *words), preset=0))
    if row == page_flags.NAMED:
        found = compare_events("changed", thp2.events, thp2.before, thp2.after, [file], invariants=False)
        assert rows(found)[row].wrong
    else:
        invariants = LruInvariants()
        machine = page_flags.FlaggedLru(lru_text(), thp2.before, page_flags.flag_words(file))
        invariants.check_flags(machine.m, thp2.before, "changed")
        assert invariants.tallies[row].wrong


def test_bad_flags_are_refused(tmp_path: Path) -> None:
    for path in (RECORDINGS / "thp2").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / FLAG_FILE
    for data, message in ((lzma.compress(b"1234567"), "is not a copy of"), (b"no xz", "is not a complete xz file")):
        file.write_bytes(data)
        with pytest.raises(InputError, match=message):
            compare_lru(tmp_path)


# --- the model with a fault in it

FAULTS = {
    "anonymous folios are put with those of files": (
        "folio_is_file_lru", "return not m.folio[page].swapbacked", "return m.folio[page].swapbacked", page_life.LISTED
    ),
    "activation forgets to count": (
        "folio_activate_fn", "lruvec_del_folio(m, page)", "list_del(m, m.lruvec.lists[folio_lru_list(m, page)], page)",
        lru_comparison.LENGTHS,
    ),
    "folios are added at the tail": ("lruvec_add_folio", "list_add(", "list_add_tail(", lru_comparison.ORDER),
    "a list is scanned at the next priority": (
        "get_scan_count", ">> sc.priority", ">> (sc.priority + 1)", scan_counts.SCAN
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "what",
    [pytest.param(one, marks=pytest.mark.slow if number >= 1 else ()) for number, one in enumerate(FAULTS)],
)
def test_a_fault_in_the_model_shows(what: str) -> None:
    function, find, replacement, row = FAULTS[what]
    fault = Fault("test", what, "this test", "lru", "model.lru", function, find, replacement, ())
    data = recorded("swap2" if row == scan_counts.SCAN else "mid1")
    found = compare_events("faulty", data.events, data.before, data.after, (), fault, invariants=False)
    assert rows(found)[row].wrong, what


# --- the trace and the states as text


def read(tmp_path: Path, *lines: str) -> list[Event]:
    path = tmp_path / "trace.txt"
    path.write_text("".join(f"{LINE}{line}\n" for line in lines))
    return list(read_trace(path, 0, 1 << 15, parsers(1 << 15)))


def test_lines_of_the_events(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "mm_lru_insertion: folio=ffffea0000193080 pfn=0x64c2 lru=2 flags= f   B",
        "mm_lru_insertion: folio=ffffea0000193080 pfn=0x64c2 lru=0 flags=Ma",
        "mm_vmscan_lru_isolate: isolate_mode=0 classzone=3 order=1 nr_requested=32 nr_scanned=31 nr_skipped=5 "
        "nr_taken=26 lru=active_file",
        "mm_vmscan_lru_shrink_active: nid=0 nr_taken=26 nr_active=2 nr_deactivated=24 nr_referenced=3 priority=9 "
        "flags=RECLAIM_WB_FILE|RECLAIM_WB_ASYNC",
        "mm_vmscan_direct_reclaim_end: nr_reclaimed=48",
    )
    head = (0, 7, "d..1.")
    assert found == [
        LruInserted(1, *head, 0x64C2, 2, " f   B"),
        LruInserted(2, *head, 0x64C2, 0, "Ma    "),
        LruIsolated(3, *head, 3, 1, 32, 31, 5, 26, 3),
        ActiveShrunk(4, *head, 26, 2, 24, 3, 9, True),
        DirectReclaimEnded(5, *head, 48),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mm_lru_insertion: folio=0 pfn=0x10 lru=5 flags=", "number out of range"),
        ("mm_lru_insertion: folio=0 pfn=0x99999 lru=1 flags=", "number out of range"),
        ("mm_vmscan_lru_isolate: classzone=3 order=0 nr_requested=1 nr_scanned=1 nr_skipped=0 lru=inactive_anon",
         "lacks 'nr_taken'"),
        ("mm_vmscan_lru_isolate: classzone=3 order=0 nr_requested=-1 nr_scanned=1 nr_skipped=0 nr_taken=1 lru=x",
         "number out of range"),
        ("mm_vmscan_write_folio: page=0 pfn=0x10 flags=RECLAIM_WB_NONE", "number out of range"),
    ],
)  # fmt: skip
def test_bad_lines_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, line)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("lru/LRU_ACTIVE_ANON", [1 << 40], "lru.LRU_ACTIVE_ANON is not a number"),
        ("lru_batches/0/lru_add", 7, "is not a list"),
        ("lru_batches/0/lru_add", [1] * 99, "contradicts itself"),
        ("zones/0/pcp/0/vm_stat_diff", [0, 0], "is not a list of small numbers"),
        ("node_vm_stat", [3], "is not a table"),
        ("lru_total_cost", [1], "is not two numbers"),
        ("vm_events/PGFREE", "many", "vm_events.PGFREE is not a number"),
        ("max_pfn", 5, "is not a number from 0"),
    ],
)
def test_bad_states_are_refused(tmp_path: Path, path: str, value: object, message: str) -> None:
    source = RECORDINGS / "thp2"
    state = json.loads(gzip.decompress((source / "state_A.json.gz").read_bytes()))
    *parents, last = path.split("/")
    place = state
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[last] = value
    (tmp_path / "state_A.json.gz").write_bytes(gzip.compress(json.dumps(state).encode()))
    for name in ("state_B.json.gz", "vmscan.txt.xz"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    with pytest.raises(InputError, match=message):
        compare_lru(tmp_path)


def test_another_lru_is_not_told(tmp_path: Path) -> None:
    for name in ("state_A.json.gz", "state_B.json.gz", "vmscan.txt.xz"):
        (tmp_path / name).write_bytes((RECORDINGS / "thp2" / name).read_bytes())
    state = json.loads(gzip.decompress((tmp_path / "state_A.json.gz").read_bytes()))
    state["lrugen_enabled"] = True
    (tmp_path / "state_A.json.gz").write_bytes(gzip.compress(json.dumps(state).encode()))
    found = compare_lru(tmp_path)
    assert found.holds
    assert [row.not_predicted for row in found.rows] == [((lru_comparison.GENERATIONAL, 1),)]


def test_without_probes_pages_may_come_from_nowhere(swap2: Recorded) -> None:
    """Bulk allocation and compaction have no events then: that is no reason to find fault."""
    probes = (PageBulkAllocated, FreePageIsolated)
    found = swap2.compare([one for one in swap2.events if not isinstance(one[0], probes)])
    assert found.holds, [difference for row in found.rows for difference in row.wrong]
    assert page_life.NO_PROBES in dict(rows(found)[page_life.INSERTION].not_predicted)


def test_events_come_in_the_order_of_the_states(swap2: Recorded) -> None:
    """What one CPU does after a state may stand before what another one did before it."""
    before = replace(swap2.before, lines=(1, 2))
    after = replace(swap2.after, lines=(2, 2))
    events = [Marker(number, cpu, 1, ".....", "") for number, cpu in enumerate((0, 0, 0, 1, 1, 1))]
    phases = [(event.line, phase) for event, phase in in_phases(events, before, after)]
    assert phases == [(0, 0), (3, 0), (4, 0), (1, 1), (2, 2), (5, 2)]


# --- the command


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.json"
    assert main(["fidelity", str(RECORDINGS / "swap2"), "--json", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "2,654 of 2,654" in shown
    assert "✓ the LRU and reclaim keep their relations" in shown
    assert "page of each mm_page_alloc" not in shown  # cut down to the LRU's part
    data = json.loads(table.read_text())
    assert data["recordings"] == []
    assert data["lru"][0]["holds"]
    assert main(["fidelity", str(RECORDINGS / "swap2"), "--fault", "merge-ignores-order"]) == 2
    assert "was cut down to the LRU's part" in capsys.readouterr().err
