"""The page allocator of a state: the invariants of specs/zone.py on the whole machine, and the clauses about its files.

The one idea: lists come from the lists of the dump, and what the dump calls each frame is held against them: a block
that is called free and is on no list is in the machine, too. Frames in use are blocks of one page, a slab is a block of
its order; a frame that boot kept, or that has no reference and is on no list, counts as taken by somebody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...model.lang.errors import InputError
from ...model.lang.execute import STEP_ERRORS
from ...model.lang.records import Store, put
from ...model.zone import ZoneMachine
from ..recorded.machine import KERNEL_ISOLATE, RecordedMachine, model, real_scale
from ..recorded.states import CacheState, KernelState, Reader
from .evaluating import Elements, Silent, evaluate, invariants
from .places import Places
from .results import Answer, Clause, Finding

PART = "pages"
FRAMES_EVALUATED_MAX = 1 << 20
"""Above this the invariants of single pages are not evaluated: CPython would need hours and gigabytes."""
TOO_LARGE = f"the machine has more than {FRAMES_EVALUATED_MAX:,} page frames"
ISOLATED = "there are isolated pageblocks, which this reader of states has no place for"
OUT_OF_BOUNDS = "the zones have a number that its field cannot hold"
NO_REFERENCE = "frames without a reference, on no list: parts of blocks that are not compound, or lost"
HELD = frozenset({"used", "lru", "head", "tail"})
UNMANAGED = frozenset({"reserved", "absent"})
MANAGED = ("B5",)
"""The properties for which a zone is all that it spans: what boot kept counts as taken."""

SILENT = Silent(
    {
        "B18": "reference counts are not in the dump",
    },
    frozenset({("B22", "without atomic requests nothing is reserved")}),
)
REQUESTS = {"requests": 2, "gfp": 0xCC0, "gfp1": 0xA20, "gfp2": 0, "gfp3": 0}
"""GFP_KERNEL and GFP_ATOMIC, about which B16 asks what the watermarks let through."""


@dataclass(frozen=True)
class BuddyFlags:
    """The frames that the dump calls buddy: the order of each block by its first page, and all frames."""

    heads: Mapping[int, int]
    frames: int


def buddy_flags(reader: Reader, top: Mapping[str, Any], frames: int) -> BuddyFlags:
    """The blocks in pages_rle, whose last column is a block's order at its first page and -1 behind it."""
    heads: dict[int, int] = {}
    count = 0
    for first, length, what, detail in reader.items(top, "pages_rle", ""):
        if what != "buddy":
            continue
        count += length
        if type(detail) is not int or not -1 <= detail <= 10:
            reader.refuse("pages_rle", "a list with the order of each free block, from 0 to 10")
        if detail >= 0:
            for block in range(first, min(first + length, frames)):
                heads[block] = detail
    return BuddyFlags(heads, count)


def check_pages(state: KernelState, flags: BuddyFlags, places: Places) -> list[Answer]:
    """Every invariant of the page allocator on a state."""
    every = invariants("zone")
    clauses = {one.identifier: Clause(PART, one.identifier, one.name, one.origin) for one in every}
    if state.frames > FRAMES_EVALUATED_MAX:
        for clause in clauses.values():
            clause.cannot(TOO_LARGE)
        return [clause.answer() for clause in clauses.values()]
    if _isolated(state):
        for clause in clauses.values():
            clause.cannot(ISOLATED)
        return [clause.answer() for clause in clauses.values()]
    real_scale(replace(state, caches=(_NO_SLABS,)))  # refuses a kernel that the model has no scope for
    bounds = Clause(PART, "P8", "every number is one that the kernel's field can hold", "struct zone")
    try:
        zones = _Zones(state, flags)
    except InputError as error:
        bounds.breach(Finding(bounds.name, "the zones", error.message))
        for clause in clauses.values():
            clause.cannot(OUT_OF_BOUNDS)
        return [bounds.answer(), *(clause.answer() for clause in clauses.values())]
    bounds.checked += 1
    for one in every:
        clause = clauses[one.identifier]
        if one.identifier in SILENT.properties:
            clause.cannot(SILENT.properties[one.identifier])
            continue
        zones.set_managed(whole=one.identifier in MANAGED)
        evaluate(one, zones.m, clause, lambda said, about: explain(places, said, about), SILENT.clauses)
    if zones.unreferenced:
        clauses["B4"].cannot(NO_REFERENCE, zones.unreferenced)
    return [bounds.answer(), *(clause.answer() for clause in clauses.values())]


_NO_SLABS = CacheState(
    name="", address=0, size=8, object_size=8, offset=0, align=8, flags=0, min_partial=0, cpu_partial=0,
    cpu_partial_slabs=0, oo=(0, 1), least=(0, 1), red_left_pad=0, constructed=False, random_seq=(), slabs={}, cpu=(),
    nr_partial=0, nr_slabs=0, total_objects=0, partial=(),
)  # fmt: skip
"""The page allocator's machine has a cache, of which nothing is asked."""


def _isolated(state: KernelState) -> bool:
    blocks = any(len(area) > KERNEL_ISOLATE and area[KERNEL_ISOLATE] for zone in state.zones for area in zone.free_area)
    return blocks or any(kind >= KERNEL_ISOLATE for kind in state.pageblock_migratetype)


class _Zones:
    """The machine `m` of specs/zone.py in the state."""

    def __init__(self, state: KernelState, flags: BuddyFlags) -> None:
        self.state = state
        recorded = RecordedMachine(model(), replace(state, caches=(_NO_SLABS,)))
        sizes = {**recorded.sizes, **REQUESTS, "highatomic": 1, "tasks": 0, "resize": 0, "failures": 0, "drains": 0}
        self.m: Any = ZoneMachine(Store(sizes))
        put(self.m, "pages", recorded.m.pages)
        self.unmanaged = [0] * len(state.zones)
        self.unreferenced = 0
        try:
            self._load_flags(flags)
            self._load_counters()
            self._load_blocks()
        except STEP_ERRORS as error:
            raise InputError(f"state {state.name} contradicts itself: {error}", "record it again") from None

    def _load_flags(self, flags: BuddyFlags) -> None:
        """PageBuddy also where the dump has it and no list does; the other way round is P6's matter."""
        mem_map = self.m.pages.memory.mem_map
        for block, order in flags.heads.items():
            if not mem_map[block].buddy:
                mem_map[block].buddy = True
                mem_map[block].order = order

    def _load_counters(self) -> None:
        for zone, recorded in zip(self._zones(), self.state.zones, strict=True):
            for order, counted in enumerate(recorded.nr_free):
                zone.free_area[order].nr_free = counted

    def _load_blocks(self) -> None:
        block = self.m.block
        in_slabs = {
            frame for cache in self.state.caches for page, slab in cache.slabs.items()
            for frame in range(page, page + (1 << slab.order))
        }  # fmt: skip
        for cache in self.state.caches:
            for page, slab in cache.slabs.items():
                block[page].order = slab.order
                block[page].owned = True
        for frame, what, zone in self._frames():
            if what in HELD and frame not in in_slabs:
                block[frame].order = 0
                block[frame].owned = True
            elif what in UNMANAGED and zone is not None:
                block[frame].poisoned = True
                self.unmanaged[zone] += 1
            elif what == "ref0" and zone is not None:
                block[frame].poisoned = True
                self.unreferenced += 1

    def _frames(self) -> Iterator[tuple[int, str, int | None]]:
        """Each frame with what the dump calls it and its zone; frames of no run are absent."""
        spans = [range(zone.start_pfn, zone.start_pfn + zone.spanned) for zone in self.state.zones]
        known = {frame: what for run, what in self.state.classes for frame in run}
        most = max((span.stop for span in spans), default=0)
        for frame in range(max(most, self.state.frames)):
            zone = next((number for number, span in enumerate(spans) if frame in span), None)
            yield frame, known.get(frame, "absent"), zone

    def set_managed(self, whole: bool) -> None:
        """managed_pages as recorded, or with what boot kept."""
        for number, (zone, recorded) in enumerate(zip(self._zones(), self.state.zones, strict=True)):
            zone.managed_pages = recorded.managed + (self.unmanaged[number] if whole else 0)

    def _zones(self) -> list[Any]:
        return [self.m.pages.zone[number] for number in range(len(self.state.zones))]


def explain(places: Places, said: str, about: Elements) -> Finding:
    """A breach by the pages, lists and zones that it is about."""
    zones = places.state.zones
    zone = about.get("zone")
    words, lists = [], places.draw(())
    if "page" in about:
        words.append(places.describe(about["page"]))
        lists = places.draw((about["page"],))
    if zone is not None:
        words.append(f"zone {zones[zone].name}")
    words += [f"{name} {value}" for name, value in about.items() if name not in ("page", "zone")]
    found = ""
    if zone is not None and "order" in about:
        lists = places.draw_some(places.of_order(zone, about["order"]))
        length = sum(len(blocks) for blocks in zones[zone].free_area[about["order"]])
        found = f"nr_free {zones[zone].nr_free[about['order']]}, {length} blocks on the lists"
    elif zone is not None and "cpu" in about:
        lists = places.draw_some(places.of_cpu(zone, about["cpu"]))
        found = f"count {zones[zone].pcp[about['cpu']].count}"
    elif zone is not None:
        pages = sum(len(blocks) << order for order, area in enumerate(zones[zone].free_area) for blocks in area)
        counted = f"NR_FREE_PAGES {zones[zone].free_pages}, {pages} pages on the free lists"
        found = f"{counted}, {zones[zone].managed} managed"
    return Finding(said, ", ".join(words) or "the whole state", found, lists)


# --- what the lists of the file say before a machine is made of them


def one_place(places: Places) -> Answer:
    """A block is on one free list or per-CPU list, once: a second list would take it off the first one's links."""
    clause = Clause(PART, "P1", "a block is on one list, once", "list_add(): __list_add_valid()")
    for (of_cache, page), times in places.times.items():
        if not of_cache:
            clause.check(times == 1, _about(places, clause, page))
    return clause.answer()


def one_use(places: Places) -> Answer:
    """No frame is in two of: free blocks, blocks of per-CPU lists, slabs, folios of the LRU."""
    clause = Clause(PART, "P2", "a frame has one use", "(the allocator's purpose: no double allocation)")
    uses: dict[int, str] = {}
    if places.state.frames > FRAMES_EVALUATED_MAX:
        clause.cannot(TOO_LARGE)
        return clause.answer()
    named = sum(1 << order for _, order, _ in _blocks(places))
    if named > 2 * places.state.frames:
        said = f"{named:,} pages are named, and there are {places.state.frames:,} frames"
        clause.breach(Finding(clause.name, "all lists", said))
        return clause.answer()
    for first, order, use in _blocks(places):
        frames = range(first, min(first + (1 << order), places.state.frames))
        others = Counter(uses[frame] for frame in frames if uses.get(frame, use) != use)
        clause.check(not others, _shared(places, clause, first, others))
        for frame in frames:
            uses.setdefault(frame, use)
    return clause.answer()


def flagged(places: Places, flags: BuddyFlags) -> Answer:
    """The blocks on the free lists are those that the dump calls buddy, of the same order."""
    clause = Clause(PART, "P6", "free lists = blocks that the dump calls buddy", "set_buddy_order(): __SetPageBuddy")
    listed: dict[int, int] = {}
    for one in places.lists:
        if one.what == "free":
            listed.update(dict.fromkeys(one.pages, one.order))
    for page in sorted(listed.keys() | flags.heads.keys()):
        on, called = listed.get(page), flags.heads.get(page)
        clause.check(on == called, _flag_finding(places, clause, page, on, called))
    return clause.answer()


def _flag_finding(
    places: Places, clause: Clause, page: int, on: int | None, called: int | None
) -> Callable[[], Finding]:
    listed, flag = ("none" if order is None else f"order {order}" for order in (on, called))
    return lambda: Finding(
        clause.name, places.describe(page), f"on a list: {listed}; called buddy: {flag}", places.draw((page,))
    )


def _blocks(places: Places) -> Iterator[tuple[int, int, str]]:
    for one in places.lists:
        if one.what in ("free", "pcp", "lru"):
            yield from ((page, one.order, one.name if one.what != "lru" else "the LRU") for page in one.pages)
    for page, caches in places.slabs.items():
        yield from ((page, cache.slabs[page].order, f"a slab of {cache.name} at {page}") for cache in caches)


def _about(places: Places, clause: Clause, page: int) -> Callable[[], Finding]:
    return lambda: Finding(clause.name, places.describe(page), "", places.draw((page,)))


def _shared(places: Places, clause: Clause, page: int, others: Counter[str]) -> Callable[[], Finding]:
    return lambda: Finding(clause.name, places.describe(page), f"shared with {', '.join(others)}", places.draw((page,)))
