"""Where a state has a page: the lists that name it, the slab it begins or lies in, and what the dump calls its frame.

The one idea: every list of the dump is here once, by a name that a reader knows, so that each finding about a page, an
order or a cache can show the lists that it is about.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..recorded.lru_states import BATCHES, LISTS, LruState
from ..recorded.states import CacheState, KernelState, ZoneState
from .results import Drawn, drawn

MIGRATE_NAMES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")
"""As /proc/pagetypeinfo has them, of a kernel without CONFIG_CMA."""
PCP_TYPES = 3
THP_ORDER = 9
PCP_ORDERS = 4
LISTS_DRAWN = 4
BLOCKS = ("free", "pcp")


@dataclass(frozen=True)
class PageList:
    """A list of blocks of 2**order pages, first block first. `what`: free, pcp, partial, cpu partial, lru, batch."""

    name: str
    what: str
    order: int
    pages: tuple[int, ...]
    zone: int | None = None
    cache: int | None = None


def pcp_order(pindex: int) -> int:
    """The order of the blocks of a per-CPU list (pindex_to_order())."""
    order = pindex // PCP_TYPES
    return order if order < PCP_ORDERS else THP_ORDER


def pcp_type(pindex: int) -> int:
    return pindex % PCP_TYPES if pcp_order(pindex) < PCP_ORDERS else 1


class Places:
    """All lists of a state, and the pages on them."""

    def __init__(self, state: KernelState, lru: LruState) -> None:
        self.state = state
        self.lists = (*_zone_lists(state), *_cache_lists(state), *_lru_lists(lru))
        self.on: dict[int, list[PageList]] = {}
        self.times: Counter[tuple[bool, int]] = Counter()  # (of a cache, page): entries on lists of blocks, or of slabs
        for one in self.lists:
            if one.what in BLOCKS or one.cache is not None:
                self.times.update((one.cache is not None, page) for page in one.pages)
            for page in dict.fromkeys(one.pages):
                self.on.setdefault(page, []).append(one)
        self.slabs: dict[int, list[CacheState]] = {}
        for cache in state.caches:
            for page in cache.slabs:
                self.slabs.setdefault(page, []).append(cache)
        self._runs = sorted((run.start, run.stop, what) for run, what in state.classes)
        self._starts = [start for start, _, _ in self._runs]

    def class_of(self, page: int) -> str:
        """What the dump calls a frame."""
        position = bisect_right(self._starts, page) - 1
        if position < 0 or page >= self._runs[position][1]:
            return "no frame"
        return self._runs[position][2]

    def describe(self, page: int) -> str:
        """Where a page is, in words."""
        named = [f"on {one.name}" + (" twice" if one.pages.count(page) > 1 else "") for one in self.on.get(page, ())]
        named += [f"a slab of {cache.name}" for cache in self.slabs.get(page, ())]
        return f"page {page}: {', '.join(named) or 'on no list'}; the dump calls it {self.class_of(page)}"

    def draw(self, pages: Collection[int]) -> tuple[Drawn, ...]:
        """The lists that these pages are on, with them marked."""
        found = dict.fromkeys(one for page in pages for one in self.on.get(page, ()))
        return tuple(drawn(one.name, one.pages, set(pages)) for one in list(found)[:LISTS_DRAWN])

    def draw_some(self, lists: Iterable[PageList]) -> tuple[Drawn, ...]:
        """Lists as a whole."""
        return tuple(drawn(one.name, one.pages, ()) for one in list(lists)[:LISTS_DRAWN])

    def of_order(self, zone: int, order: int) -> Iterator[PageList]:
        return (one for one in self.lists
                if one.what == "free" and one.zone == zone and one.order == order and one.pages)  # fmt: skip

    def of_cpu(self, zone: int, cpu: int) -> Iterator[PageList]:
        prefix = f"{self.state.zones[zone].name} pcp[{cpu}]"
        return (one for one in self.lists
                if one.what == "pcp" and one.zone == zone and one.name.startswith(prefix) and one.pages)  # fmt: skip


def _zone_lists(state: KernelState) -> Iterator[PageList]:
    for number, zone in enumerate(state.zones):
        for order, area in enumerate(zone.free_area):
            for kind, pages in enumerate(area):
                yield PageList(f"{zone.name} free_area[{order}] {_type(kind)}", "free", order, pages, number)
        yield from _pcp_lists(number, zone)


def _pcp_lists(number: int, zone: ZoneState) -> Iterator[PageList]:
    for cpu, pcp in enumerate(zone.pcp):
        for pindex, pages in enumerate(pcp.lists):
            order = pcp_order(pindex)
            name = f"{zone.name} pcp[{cpu}] order {order} {_type(pcp_type(pindex))}"
            yield PageList(name, "pcp", order, pages, number)


def _cache_lists(state: KernelState) -> Iterator[PageList]:
    for number, cache in enumerate(state.caches):
        yield PageList(f"{cache.name} node partial", "partial", cache.oo[0], cache.partial, cache=number)
        for cpu, one in enumerate(cache.cpu):
            name = f"{cache.name} cpu {cpu} partial"
            yield PageList(name, "cpu partial", cache.oo[0], one.partial, cache=number)


def _lru_lists(lru: LruState) -> Iterator[PageList]:
    for name, pages in zip(LISTS, lru.lists, strict=True):
        yield PageList(name, "lru", 0, pages)
    for cpu, kinds in enumerate(lru.batches):
        for kind, pages in zip(BATCHES, kinds, strict=True):
            yield PageList(f"cpu {cpu} {kind} batch", "batch", 0, pages)


def _type(kind: int) -> str:
    return MIGRATE_NAMES[kind] if kind < len(MIGRATE_NAMES) else f"type {kind}"


def draw_freelist(name: str, slots: Sequence[int], marked: Collection[int]) -> Drawn:
    """A freelist by the numbers of its objects."""
    return drawn(name, slots, marked)
