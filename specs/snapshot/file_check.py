"""The clauses that /proc and /sys files can be held to, as data, and their check.

The one idea: a clause names the files it needs and yields what it finds; what it needs and cannot be read is why it
cannot be told. A clause about files that were read one after another (`together`) is told only if buddyinfo (and the
counts of allocations in vmstat), read once more at the end, were still the same, or if what it says holds anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from ...model.lang.records import Store
from ...model.slab_size import order_objects
from ...model.zone import ZoneMachine
from ..recorded.lru import lru_text
from ..recorded.lru_invariants import LruInvariants, row_name
from ..recorded.lru_states import LruState
from ..recorded.machine import ZONE_TYPES, real_scale
from ..recorded.page_flags import (
    KPF_ACTIVE,
    KPF_ANON,
    KPF_BUDDY,
    KPF_LRU,
    KPF_MMAP,
    KPF_SLAB,
    KPF_SWAPBACKED,
    KPF_THP,
    KPF_UNEVICTABLE,
    FlaggedLru,
    read_words,
)
from ..recorded.slab_sysfs import x86_64
from ..recorded.states import CacheState, KernelState, PcpState, ZoneState
from .evaluating import Elements, evaluate, invariants, specification
from .files import Files
from .results import Answer, Clause, Drawn, Finding, Snapshot, drawn
from .texts import (
    ZoneKey,
    ZoneText,
    read_buddyinfo,
    read_counters,
    read_pagetypeinfo,
    read_slabinfo,
    read_sysfs,
    read_zoneinfo,
)
from .zones import FRAMES_EVALUATED_MAX, REQUESTS, TOO_LARGE

PART = "files"
ONE_BY_ONE = "the counts of a cache are files that are read one after another"
AT_WORK = "the machine was at work: buddyinfo was another one at the end"
ALLOCATED = "the machine was at work: pages were allocated or freed between the first file and the last"
ONCE = "buddyinfo was read once: files that were read at different times need not agree"
LEAST_ORDER = "slabs of the least order have fewer objects"
NOT_COUNTED = "pagetypeinfo says only that there are more"
HUGE = "there are huge pages, whose parts have no flags of their own"
OTHER_USES = {KPF_LRU: "LRU", KPF_SLAB: "SLAB", KPF_MMAP: "MMAP", KPF_ANON: "ANON", KPF_ACTIVE: "ACTIVE"}
PAGE_SIZE = 4096


class Stated(NamedTuple):
    """One thing that a clause says: whether it holds, about what, what is there, and a reason if it cannot be told."""

    holds: bool
    about: str
    found: str = ""
    lists: tuple[Drawn, ...] = ()
    cannot: str = ""


class Parsed:
    """The files, each read when a clause first needs it."""

    def __init__(self, files: Files) -> None:
        self.files = files

    @cached_property
    def buddyinfo(self) -> dict[ZoneKey, tuple[int, ...]]:
        return read_buddyinfo("buddyinfo", self.files.content["buddyinfo"])

    @cached_property
    def zoneinfo(self) -> dict[ZoneKey, ZoneText]:
        return read_zoneinfo(self.files.content["zoneinfo"])

    @cached_property
    def flags(self) -> tuple[int, ...]:
        return read_words("kpageflags", "kpageflags.bin", self.files.content["kpageflags.bin"])

    @cached_property
    def counts(self) -> tuple[int, ...]:
        return read_words("kpagecount", "kpagecount.bin", self.files.content["kpagecount.bin"])

    @cached_property
    def sysfs(self) -> dict[str, dict[str, int]]:
        return read_sysfs(self.files.content["slab_sysfs.txt"])

    @cached_property
    def vmstat(self) -> dict[str, int]:
        return read_counters("vmstat", self.files.content["vmstat"])

    @property
    def moved(self) -> str:
        """Why files need not agree, or nothing."""
        content = self.files.content
        if "buddyinfo" not in content or "buddyinfo2" not in content:
            return ONCE
        if read_buddyinfo("buddyinfo2", content["buddyinfo2"]) != self.buddyinfo:
            return AT_WORK
        if "vmstat" not in content or "vmstat2" not in content:
            return ""
        later = read_counters("vmstat2", content["vmstat2"])
        counted = [name for name in self.vmstat if name.startswith(("pgalloc", "pgfree"))]
        return "" if all(self.vmstat[name] == later.get(name) for name in counted) else ALLOCATED


# --- the clauses


def flags_cut_to_buddyinfo(parsed: Parsed) -> Iterator[Stated]:
    """kpageflags' BUDDY pages, cut into the largest aligned blocks, are the blocks that buddyinfo counts."""
    for key, counts in parsed.buddyinfo.items():
        zone = parsed.zoneinfo.get(key)
        if zone is None:
            continue
        blocks = list(buddy_blocks(parsed.flags, zone.start_pfn, zone.start_pfn + zone.spanned, len(counts)))
        for order, counted in enumerate(counts):
            pages = [page for page, of in blocks if of == order]
            lists = () if len(pages) == counted else (drawn(f"BUDDY blocks of order {order}", pages, ()),)
            yield Stated(len(pages) == counted, f"zone {key[1]}, node {key[0]}, order {order}",
                         f"{len(pages)} blocks by flags, buddyinfo says {counted}", lists)  # fmt: skip


def buddy_blocks(flags: Sequence[int], start: int, stop: int, orders: int) -> Iterator[tuple[int, int]]:
    """The largest aligned blocks that runs of BUDDY pages can be cut into: page and order. Where no two free buddies
    are left apart, these are the free blocks."""
    page, stop = start, min(stop, len(flags))
    while page < stop:
        if not flags[page] >> KPF_BUDDY & 1:
            page += 1
            continue
        order = min(orders - 1, (page & -page).bit_length() - 1 if page else orders - 1)
        while page + (1 << order) > stop or not all(map(_is_buddy, flags[page : page + (1 << order)])):
            order -= 1
        yield page, order
        page += 1 << order


def _is_buddy(word: int) -> int:
    return word >> KPF_BUDDY & 1


def types_add_up(parsed: Parsed) -> Iterator[Stated]:
    """The blocks of all types in pagetypeinfo are those that buddyinfo counts."""
    by_type = read_pagetypeinfo(parsed.files.content["pagetypeinfo"])
    for key, types in by_type.items():
        for order, counted in enumerate(parsed.buddyinfo.get(key, ())):
            counts = [row[order] if order < len(row) else 0 for row in types.values()]
            known = [count for count in counts if count is not None]
            about = f"zone {key[1]}, node {key[0]}, order {order}"
            said = " + ".join(f"{name} {count}" for name, count in zip(types, counts, strict=True))
            cannot = NOT_COUNTED if len(known) < len(counts) else ""
            yield Stated(sum(known) == counted, about, f"{said} = {sum(known)}, buddyinfo says {counted}", (), cannot)


def free_pages_near(parsed: Parsed) -> Iterator[Stated]:
    """zoneinfo's free pages are buddyinfo's, but for what the CPUs have not added yet."""
    for key, zone in parsed.zoneinfo.items():
        counts = parsed.buddyinfo.get(key)
        if counts is not None:
            free = sum(count << order for order, count in enumerate(counts))
            found = f"{zone.free} free by zoneinfo, {free} by buddyinfo, the CPUs may keep {zone.tolerance} back"
            yield Stated(abs(zone.free - free) <= zone.tolerance, f"zone {key[1]}, node {key[0]}", found)


def counters_near(parsed: Parsed) -> Iterator[Stated]:
    """vmstat's nr_free_pages is the zones' sum, but for what the CPUs have not added yet."""
    zones = parsed.zoneinfo.values()
    counted, free = parsed.vmstat.get("nr_free_pages"), sum(zone.free for zone in zones)
    if counted is not None:
        near = abs(counted - free) <= sum(zone.tolerance for zone in zones)
        yield Stated(near, "nr_free_pages", f"{counted} by vmstat, {free} by zoneinfo")


def managed_in_span(parsed: Parsed) -> Iterator[Stated]:
    """A zone's free pages are among its managed pages, and these among those that it spans."""
    for key, zone in parsed.zoneinfo.items():
        right = zone.free <= zone.managed <= zone.spanned
        found = f"{zone.free} free, {zone.managed} managed, {zone.spanned} spanned"
        yield Stated(right, f"zone {key[1]}, node {key[0]}", found)


def free_pages_unused(parsed: Parsed) -> Iterator[Stated]:
    """A frame that is BUDDY has no other use, and nobody maps it."""
    mapped = parsed.counts if "kpagecount.bin" in parsed.files.content else ()
    for page, word in enumerate(parsed.flags):
        if word >> KPF_BUDDY & 1:
            others = [name for bit, name in OTHER_USES.items() if word >> bit & 1]
            count = mapped[page] if page < len(mapped) else 0
            yield Stated(not others and not count, f"page {page}", f"BUDDY, {', '.join(others)} mapped {count} times")


def lists_near(parsed: Parsed) -> Iterator[Stated]:
    """The pages of each LRU list by their flags are those that zoneinfo counts, but for what the CPUs keep back."""
    for key, zone in parsed.zoneinfo.items():
        words = parsed.flags[zone.start_pfn : zone.start_pfn + zone.spanned]
        on_lists = [word for word in words if word >> KPF_LRU & 1]
        huge = HUGE if any(word >> KPF_THP & 1 for word in words) else ""
        for name, belongs in _LISTS.items():
            counted = zone.counters.get(name)
            there = sum(map(belongs, on_lists))
            if counted is not None:
                found = f"{there} pages by flags, zoneinfo says {counted}"
                yield Stated(abs(there - counted) <= zone.tolerance, f"zone {key[1]}, {name}", found, (), huge)


def _list_of(active: int, swapbacked: int) -> Callable[[int], bool]:
    def belongs(word: int) -> bool:
        on = (word >> KPF_ACTIVE & 1, word >> KPF_SWAPBACKED & 1)
        return not word >> KPF_UNEVICTABLE & 1 and on == (active, swapbacked)

    return belongs


_LISTS: Mapping[str, Callable[[int], bool]] = {
    "nr_zone_inactive_anon": _list_of(0, 1),
    "nr_zone_active_anon": _list_of(1, 1),
    "nr_zone_inactive_file": _list_of(0, 0),
    "nr_zone_active_file": _list_of(1, 0),
    "nr_zone_unevictable": lambda word: bool(word >> KPF_UNEVICTABLE & 1),
}


def slabs_hold_objects(parsed: Parsed) -> Iterator[Stated]:
    """num_objs is num_slabs times objperslab, no more are active than there are, and objects fit into their slab."""
    for cache in read_slabinfo("slabinfo", parsed.files.content["slabinfo"]):
        room = cache.num_slabs * cache.objperslab
        sound = cache.active_objs <= cache.num_objs <= room and cache.active_slabs <= cache.num_slabs
        fits = cache.objperslab * cache.objsize <= cache.pagesperslab * PAGE_SIZE
        found = f"{cache.active_objs} of {cache.num_objs} objects, {cache.num_slabs} slabs of {cache.objperslab}"
        fewer = LEAST_ORDER if sound and fits and cache.num_objs < room else ""
        yield Stated(sound and fits and not fewer, f"cache {cache.name}", found, (), fewer)


def slab_geometry(parsed: Parsed) -> Iterator[Stated]:
    """A cache's order and size say how many objects a slab has, by the model's function; counts are within bounds."""
    geometry = x86_64(1)
    for name, cache in parsed.sysfs.items():
        size, order, objects = (cache.get(key, 0) for key in ("slab_size", "order", "objs_per_slab"))
        right = size > 0 and order <= 10 and objects == order_objects(geometry, order, size)
        right = right and cache.get("object_size", 0) <= size
        found = ", ".join(f"{key} {value}" for key, value in cache.items())
        yield Stated(right, f"cache {name}", found)
        bounded = cache.get("partial", 0) <= cache.get("slabs", 0)
        total = cache.get("total_objects", 0)
        bounded = bounded and cache.get("objects", 0) <= total <= cache.get("slabs", 0) * objects
        yield Stated(bounded, f"cache {name}", found, cannot="" if bounded else ONE_BY_ONE)


def slabinfo_is_sysfs(parsed: Parsed) -> Iterator[Stated]:
    """slabinfo and sysfs describe one cache alike, also where several names share it."""
    for cache in read_slabinfo("slabinfo", parsed.files.content["slabinfo"]):
        other = parsed.sysfs.get(cache.name)
        if other is not None and all(key in other for key in ("slab_size", "objs_per_slab", "order")):
            there = (other["slab_size"], other["objs_per_slab"], 1 << min(other["order"], 20))
            here = (cache.objsize, cache.objperslab, cache.pagesperslab)
            yield Stated(there == here, f"cache {cache.name}", f"{here} by slabinfo, {there} by sysfs")


@dataclass(frozen=True)
class FileClause:
    """A clause, the files it needs, and whether it compares files that were read at different times."""

    identifier: str
    name: str
    origin: str
    needs: tuple[str, ...]
    together: bool
    check: Callable[[Parsed], Iterator[Stated]]


CLAUSES = (
    FileClause("F1", "BUDDY flags cut into blocks = buddyinfo", "stable_page_flags(), frag_show()",
               ("kpageflags.bin", "buddyinfo", "zoneinfo"), True, flags_cut_to_buddyinfo),
    FileClause("F2", "pagetypeinfo adds up to buddyinfo", "pagetypeinfo_showfree_print()",
               ("pagetypeinfo", "buddyinfo"), True, types_add_up),
    FileClause("F3", "zoneinfo's free pages = buddyinfo's, nearly", "zoneinfo_show_print(): NR_FREE_PAGES",
               ("zoneinfo", "buddyinfo"), True, free_pages_near),
    FileClause("F4", "vmstat's free pages = zoneinfo's, nearly", "vmstat_start()",
               ("vmstat", "zoneinfo"), True, counters_near),
    FileClause("F5", "free <= managed <= spanned", "zone_managed_pages()", ("zoneinfo",), False, managed_in_span),
    FileClause("F6", "a free frame has no other use", "free_pages_check(): PAGE_FLAGS_CHECK_AT_FREE",
               ("kpageflags.bin",), True, free_pages_unused),
    FileClause("F7", "LRU flags by list = zoneinfo's, nearly", "update_lru_size()",
               ("kpageflags.bin", "zoneinfo"), True, lists_near),
    FileClause("F8", "num_objs = num_slabs * objperslab", "get_slabinfo()", ("slabinfo",), False, slabs_hold_objects),
    FileClause("F9", "order and size say how many objects", "order_objects(), show_slab_objects()",
               ("slab_sysfs.txt",), False, slab_geometry),
    FileClause("F10", "slabinfo and sysfs say the same", "get_slabinfo(), slab_attrs",
               ("slabinfo", "slab_sysfs.txt"), False, slabinfo_is_sysfs),
)  # fmt: skip
"""What only files can say."""


# --- the check


def check_files(files: Files, target: str) -> Snapshot:
    """Every clause on the files that there are."""
    parsed = Parsed(files)
    answers = [_answer(one, parsed) for one in CLAUSES]
    answers += [watermarks(parsed), *flag_invariants(parsed)]
    return Snapshot(target, "files of /proc and /sys", _facts(parsed), tuple(answers))


def _answer(one: FileClause, parsed: Parsed) -> Answer:
    clause = Clause(PART, one.identifier, one.name, one.origin)
    missing = [name for name in one.needs if name not in parsed.files.content]
    for name in missing:
        clause.cannot(parsed.files.reason(name))
    if not missing:
        moved = parsed.moved if one.together else ""
        for stated in one.check(parsed):
            _state(clause, stated, moved)
    return clause.answer()


def _state(clause: Clause, stated: Stated, moved: str) -> None:
    if stated.holds:
        clause.checked += 1
    elif stated.cannot or moved:
        clause.cannot(stated.cannot or moved)
    else:
        clause.breach(Finding(clause.name, stated.about, stated.found, stated.lists))


def watermarks(parsed: Parsed) -> Answer:
    """B17 of specs/zone.py, on a machine with the zones of zoneinfo."""
    [invariant] = [one for one in invariants("zone") if one.identifier == "B17"]
    clause = Clause(PART, "B17", invariant.name, invariant.origin)
    if "zoneinfo" not in parsed.files.content:
        clause.cannot(parsed.files.reason("zoneinfo"))
        return clause.answer()
    for key, zone in parsed.zoneinfo.items():
        if key[1] in ZONE_TYPES:
            about = f"zone {key[1]}, node {key[0]}"
            found = f"{zone.watermark}, boost {zone.boost}, {zone.managed} managed, protection {zone.protection}"
            machine = _zone_machine(key[1], zone)
            evaluate(invariant, machine, clause, partial(_about_zone, about, f"min, low, high {found}"))
    return clause.answer()


def _about_zone(about: str, found: str, said: str, elements: Elements) -> Finding:
    return Finding(said, about, found)


def _zone_machine(name: str, text: ZoneText) -> Any:
    """The machine of specs/zone.py with one zone, nothing in it."""
    frames = max(text.start_pfn + text.spanned, *text.protection, 1)
    zone = ZoneState(name, 0, frames, text.managed, text.watermark, text.boost, text.protection, 0, 0, (0,) * 11,
                     (((),) * 5,) * 11, (PcpState(0, 1, 1, ((),) * 14, 0),))  # fmt: skip
    cache = CacheState("", 0, 8, 8, 0, 8, 0, 0, 0, 0, (0, 1), (0, 1), 0, False, (), {}, (), 0, 0, 0, ())
    state = KernelState("zoneinfo", 1, 0, 0, frames, (0,), (zone,), (), (cache,), ())
    sizes = {**real_scale(state), **REQUESTS, "highatomic": 1, "tasks": 0, "resize": 0, "failures": 0, "drains": 0}
    m: Any = ZoneMachine(Store(sizes))
    m.pages.zone[0].managed_pages = text.managed
    m.pages.zone[0].watermark_boost = text.boost
    for index, mark in enumerate(text.watermark):
        m.pages.zone[0].watermark[index] = mark
    for index, reserve in enumerate(text.protection[: len(m.pages.zone[0].lowmem_reserve)]):
        m.pages.zone[0].lowmem_reserve[index] = reserve
    return m


def flag_invariants(parsed: Parsed) -> list[Answer]:
    """What specs/lru.py says of the flags of each folio, on those of kpageflags."""
    loaded = LruInvariants(specification("lru"))
    of_flags = [item for item in loaded.invariants if item.identifier in ("L2", "L7")]
    clauses = {item.identifier: Clause(PART, item.identifier, item.function.__name__, item.origin) for item in of_flags}
    reason = ""
    if "kpageflags.bin" not in parsed.files.content:
        reason = parsed.files.reason("kpageflags.bin")
    elif len(parsed.flags) > FRAMES_EVALUATED_MAX:
        reason = TOO_LARGE
    if reason:
        for clause in clauses.values():
            clause.cannot(reason)
        return [clause.answer() for clause in clauses.values()]
    frames = len(parsed.flags)
    state = LruState("kpageflags", 1, frames, 0, (0,), ((),) * 5, (((),) * 6,), (), (0,) * 5, (0, 0), (0, 0), {}, (),
                     frozenset())  # fmt: skip
    loaded.check_flags(FlaggedLru(lru_text(), state, parsed.flags).m, state, "kpageflags")
    for item in of_flags:
        tally, clause = loaded.tallies[row_name(item)], clauses[item.identifier]
        clause.checked += tally.right
        for difference in tally.wrong:
            _state(clause, Stated(False, difference.about, difference.predicted), parsed.moved)
    return [clause.answer() for clause in clauses.values()]


def _facts(parsed: Parsed) -> tuple[str, ...]:
    there = ", ".join(parsed.files.content)
    facts = [f"read: {there or 'nothing'}"]
    facts += [f"not read: {name}: {reason}" for name, reason in parsed.files.missing.items()]
    if parsed.moved:
        facts.append(parsed.moved)
    return tuple(facts)
