"""The model at the size of a real kernel, in the state that a memory dump showed, and its lists read back.

The one idea: the machine is the model's own record, `SlabAllocator`, at a scope computed from the dump; lists are built
with the model's own list functions where there are any. An object is a number in the model, `page * slots + slot`, and
an address in the kernel: only this module knows both.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ...model.faults import Fault
from ...model.lang.errors import InputError
from ...model.lang.execute import STEP_ERRORS
from ...model.lang.records import Store
from ..loading import model_modules
from .operations import PAGE_SHIFT
from .states import CacheState, KernelState, PcpState, ZoneState

KERNEL_ISOLATE = 4
"""MIGRATE_ISOLATE of a kernel without CONFIG_CMA, as the recorded one is; the model counts CMA before it."""
ARGUMENTS = 32 + 8 * 64
"""The longest array of a bulk operation that the probes can show."""
ZONE_TYPES = ("DMA", "DMA32", "Normal", "Movable")


@dataclass(frozen=True)
class Model:
    """The model's text that is run: its modules, one of them with a fault in it or none."""

    buddy: ModuleType
    slowpath: ModuleType
    page_alloc: ModuleType
    slub: ModuleType


MODULES = ("buddy", "slowpath", "page_alloc", "slub")


def model(fault: Fault | None = None) -> Model:
    """The model as it stands, or with a fault in one of its modules."""
    if fault is not None and fault.module.removeprefix("model.") not in MODULES:
        parts = ", ".join(MODULES)
        raise InputError(f"fault {fault.identifier} is in {fault.module}", f"recordings run through model: {parts}")
    return Model(*model_modules(MODULES, fault))


class RecordedMachine:
    """The model's record `m` in a recorded state, and the names that the recording uses for its parts."""

    def __init__(self, text: Model, state: KernelState) -> None:
        self.text = text
        self.page_offset_base = state.page_offset_base
        self.sizes = self.scale(state)
        self.store = Store(self.sizes)
        self.m: Any = text.slub.SlabAllocator(self.store)
        self.bulk: Any = text.slub.BulkArguments(self.store)
        self.slots = self.sizes["slots"]
        self.caches = state.caches
        self.by_address = {cache.address: number for number, cache in enumerate(state.caches)}
        self.by_name = {cache.name: number for number, cache in reversed(list(enumerate(state.caches)))}
        self.heads = heads(state)
        self.drift = [_drift(zone, state.cpus) for zone in state.zones]
        try:
            self._load_pages(state)
            self._load_slabs(state)
        except STEP_ERRORS as error:
            raise InputError(f"state {state.name} contradicts itself: {error}", "record it again") from None

    def scale(self, state: KernelState) -> dict[str, int]:
        """The scope of the machine."""
        return real_scale(state)

    # --- loading

    def _load_pages(self, state: KernelState) -> None:
        pages = self.m.pages
        mem_map = pages.memory.mem_map
        for run, what in state.classes:
            for page in run if what in ("used", "lru", "reserved", "head") else ():
                mem_map[page].refcount = 1
                mem_map[page].movable = what == "lru"
        for cache in state.caches:
            for page in cache.slabs:
                mem_map[page].refcount = 1
        for block, migratetype in enumerate(state.pageblock_migratetype):
            pages.memory.pageblock_flags[block] = migratetype
        for number, zone in enumerate(state.zones):
            self._load_zone(pages.zone[number], zone)
            for cpu in range(state.cpus):
                self._load_pcp(pages.zone[number], cpu, zone.pcp[cpu])

    def _load_zone(self, zone: Any, state: ZoneState) -> None:
        memory = self.m.pages.memory
        zone.managed_pages = state.managed
        zone.watermark_boost = state.watermark_boost
        zone.nr_reserved_highatomic = state.reserved_highatomic
        for index in range(3):
            zone.watermark[index] = state.watermark[index]
        for index, reserve in enumerate(state.lowmem_reserve[: len(zone.lowmem_reserve)]):
            zone.lowmem_reserve[index] = reserve
        for order, area in enumerate(state.free_area):
            for migratetype, blocks in enumerate(area):
                for block in blocks:
                    self.text.buddy.add_to_free_list_tail(memory, zone, block, order, migratetype)
                    self.text.buddy.set_buddy_order(memory, block, order)
        zone.nr_free_pages = state.free_pages

    def _load_pcp(self, zone: Any, cpu: int, state: PcpState) -> None:
        memory = self.m.pages.memory
        pcp = zone.per_cpu_pageset[cpu]
        self.text.page_alloc.pageset_update(pcp, state.high, state.batch)
        for pindex, blocks in enumerate(state.lists):
            migratetype = 1 if pindex == 13 else pindex % 3
            for block in blocks:
                self.text.buddy.list_add_tail(memory, pcp.lists[pindex], block)
                self.text.buddy.set_pcppage_migratetype(memory, block, migratetype)
                memory.mem_map[block].pcp_list = cpu * len(pcp.lists) + pindex
        pcp.count = state.count

    def _load_slabs(self, state: KernelState) -> None:
        for number, cache in enumerate(state.caches):
            s = self.m.kmem_cache[number]
            s.alive = True
            s.flags, s.size, s.object_size, s.align = cache.flags, cache.size, cache.object_size, cache.align
            s.refcount = 1
            for oo, (order, objects) in ((s.oo, cache.oo), (s.min, cache.least)):
                oo.order, oo.objects = order, objects
                for slot in range(objects):
                    oo.has[slot] = True
            s.min_partial, s.cpu_partial = cache.min_partial, cache.cpu_partial
            s.cpu_partial_slabs = cache.cpu_partial_slabs
            for position, slot in enumerate(cache.random_seq[: cache.oo[1]]):
                s.random_seq[position] = slot
            for page, slab in cache.slabs.items():
                record = self.m.slab[page]
                record.slab_cache = number
                record.inuse, record.objects, record.frozen = slab.inuse, slab.objects, slab.frozen
                self.m.pages.memory.mem_map[page].compound = slab.order or None
                record.freelist = self._link(page, slab.free)
            self._load_lists(s, cache)

    def _load_lists(self, s: Any, cache: CacheState) -> None:
        for cpu, state in enumerate(cache.cpu):
            c = s.cpu_slab[cpu]
            c.slab = state.slab
            if state.slab is not None:
                c.freelist = self._link(state.slab, state.free)
            c.partial = None
            for position, page in enumerate(reversed(state.partial)):
                self.m.slab[page].next = c.partial
                self.m.slab[page].slabs = position + 1
                c.partial = page
        for page in cache.partial:
            self.text.slub.add_partial(self.m, s.node[0], page, True)
        s.node[0].nr_slabs, s.node[0].total_objects = cache.nr_slabs, cache.total_objects

    def _link(self, page: int, slots: tuple[int, ...]) -> int | None:
        """A freelist through the free pointers of these objects; its first object."""
        first: int | None = None
        for slot in reversed(slots):
            object_ = self.text.slub.object_at(self.m, page, slot)
            self.text.slub.set_freepointer(self.m, object_, first)
            first = object_
        return first

    # --- names

    def zone_of(self, page: int) -> int | None:
        zones = self.m.pages.zone
        spanning = (z for z in range(len(zones)) if self.text.buddy.zone_spans_pfn(zones[z], page))
        return next(spanning, None)

    def frame(self, address: int) -> int:
        return (address - self.page_offset_base) >> PAGE_SHIFT

    def slab_of(self, address: int) -> int | None:
        """The head page of the slab that an address lies in."""
        return self.heads.get(self.frame(address))

    def cache_of(self, page: int) -> int | None:
        number: int | None = self.m.slab[page].slab_cache
        return number

    def object_of(self, page: int, address: int) -> int | None:
        """The model's object for an address in a slab; None for an address between objects."""
        number = self.cache_of(page)
        if number is None:
            return None
        slot, rest = divmod(self.offset(page, address, number), self.caches[number].size)
        if rest or not 0 <= slot < self.m.slab[page].objects:
            return None
        return int(self.text.slub.object_at(self.m, page, slot))

    def offset(self, page: int, address: int, number: int) -> int:
        return address - self.page_offset_base - (page << PAGE_SHIFT) - self.caches[number].red_left_pad

    def address_of(self, object_: int) -> int:
        page, slot = divmod(object_, self.slots)
        number = self.m.slab[page].slab_cache
        cache = self.caches[number]
        return int(self.page_offset_base + (page << PAGE_SHIFT) + cache.red_left_pad + slot * cache.size)

    def add_slab(self, page: int) -> None:
        """Note a slab that the model has made."""
        for frame in range(page, page + (1 << self.order_of(page))):
            self.heads[frame] = page

    def order_of(self, page: int) -> int:
        return int(self.text.slub.folio_order(self.m, page))

    def forget_slab(self, page: int, order: int) -> None:
        for frame in range(page, page + (1 << order)):
            self.heads.pop(frame, None)

    # --- lists

    def page_list(self, free_list: Any) -> tuple[int, ...]:
        """The blocks of a free list or a per-CPU list, first block first."""
        mem_map = self.m.pages.memory.mem_map
        found: list[int] = []
        page = free_list.first
        while page is not None and len(found) <= self.sizes["frames"]:
            found.append(page)
            page = mem_map[page].next
        return tuple(found)

    def turn(self, free_list: Any, first: int, end: int | None) -> None:
        """Put the pages of a list before `first` between those after it and `end`, or to the list's end."""
        memory = self.m.pages.memory
        pages = self.page_list(free_list)
        at = pages.index(first)
        last = len(pages) if end is None else pages.index(end)
        order = (*pages[at:last], *pages[:at], *pages[last:])
        for page in pages:
            self.text.buddy.list_del(memory, free_list, page)
        for page in order:
            self.text.buddy.list_add_tail(memory, free_list, page)

    def slab_list(self, page: int | None) -> tuple[int, ...]:
        """The slabs of a partial list, first slab first."""
        found: list[int] = []
        while page is not None and len(found) <= self.sizes["frames"]:
            found.append(page)
            page = self.m.slab[page].next
        return tuple(found)

    def freelist(self, object_: int | None) -> tuple[int, ...]:
        """The objects of a freelist by their slots, first object first."""
        found: list[int] = []
        while object_ is not None and len(found) <= self.slots:
            found.append(object_ % self.slots)
            object_ = self.m.freepointer[object_]
        return tuple(found)


def _drift(zone: ZoneState, cpus: int) -> int:
    """How many pages a zone's NR_FREE_PAGES may lack, or have too many, as each CPU keeps changes up to a threshold to
    itself: one of two, as kswapd sleeps or not (calculate_normal_threshold(), calculate_pressure_threshold())."""
    normal = 2 * cpus.bit_length() * (1 + (zone.managed >> (27 - PAGE_SHIFT)).bit_length())
    pressure = max(1, (zone.watermark[1] - zone.watermark[0]) // cpus)
    return cpus * min(125, max(normal, pressure))


def heads(state: KernelState) -> dict[int, int]:
    """The head page of the slab around each frame that is in one."""
    return {
        frame: page
        for cache in state.caches
        for page, slab in cache.slabs.items()
        for frame in range(page, page + (1 << slab.order))
    }


def real_scale(state: KernelState) -> dict[str, int]:
    """The scope of a recorded machine; raises InputError for one that the model has no scope for."""
    _check(state)
    most_objects = max(slab for cache in state.caches for slab in (cache.oo[1], cache.least[1]))
    frames = -(-state.frames >> 10) << 10
    orders = len(state.zones[0].free_area)
    partial_slabs = max(cache.cpu_partial_slabs for cache in state.caches)
    sizes = {
        "frames": frames,
        "orders": orders,
        "references": 1 << 16,
        "migratetypes": KERNEL_ISOLATE,
        "pageblock_order": 9,
        "pageblocks": frames >> 9,
        "pageblock_pages": 512,
        "zones": len(state.zones),
        "nodes": 1,
        "cpus": state.cpus,
        "long": 64,
        "cma_long": 1,
        "caches": len(state.caches),
        "slots": most_objects,
        "positions": most_objects,
        "objects": frames * most_objects,
        "arguments": ARGUMENTS,
        "tid_bits": 52,
        "inuse_bits": 16,
        "flags_max": (1 << 32) - 1,
        "size_max": 1 << 22,
        "refcount_max": 1 << 16,
        "cpu_partial_max": max(cache.cpu_partial for cache in state.caches),
        "cpu_partial_slabs_max": partial_slabs,
        "chain_turns": partial_slabs + 1,
        "partial_turns": partial_slabs // 2 + 2,
        "redo_turns": partial_slabs + 2,
        "slowpath_turns": 20,
        "rcu_delays": 1,
        **_pcp_sizes(state),
        **_vm_sizes(),
    }
    for number in range(4):
        zone = state.zones[min(number, len(state.zones) - 1)]
        suffix = str(number) if number else ""
        sizes["start" + suffix] = zone.start_pfn
        sizes["pages" + suffix] = zone.spanned
        sizes["type" + suffix] = ZONE_TYPES.index(zone.name)
        sizes["node" + suffix] = 0
    return sizes


def _pcp_sizes(state: KernelState) -> dict[str, int]:
    lists = len(state.zones[0].pcp[0].lists)
    return {
        "pcp_orders": 4,
        "pcp_types": 3,
        "pcp_thp": 1,
        "pcp_lists": lists,
        "pcp_slots": lists * state.cpus,
        "pcp_pages": state.frames,
        "pcp_high": max(pcp.high for zone in state.zones for pcp in zone.pcp),
        "pcp_batch": max(pcp.batch for zone in state.zones for pcp in zone.pcp),
        "pcp_batch_scale_max": 5,
        "costly_order": 3,
    }


def _vm_sizes() -> dict[str, int]:
    """What is set by sysctl and at boot, where only its default is known."""
    return {
        "reclaim_retries": 16,
        "watermark_boost_factor": 15000,
        "watermark_scale_factor": 10,
        "lowmem_reserve_ratio": 256,
        "min_free_pages": 0,
        "watch_kswapd": 0,
        "cma_pageblocks": 0,
        "isolation": 0,
    }


def _check(state: KernelState) -> None:
    names = [zone.name for zone in state.zones]
    if not state.zones or any(name not in ZONE_TYPES for name in names):
        raise InputError(f"the recorded zones are {', '.join(names)}", "the model has DMA, DMA32, Normal and Movable")
    if not state.caches:
        raise InputError("the recorded state has no caches", "record with the caches' debug information")
    for zone in state.zones:
        if any(len(area) != KERNEL_ISOLATE + 1 or area[KERNEL_ISOLATE] for area in zone.free_area):
            raise InputError(f"zone {zone.name} has isolated blocks or other migrate types", "record without CMA")
        if any(len(pcp.lists) != 14 for pcp in zone.pcp):
            raise InputError(f"zone {zone.name} has other per-CPU lists than Linux 6.1", "record Linux 6.1")
    if any(len(cache.random_seq) < cache.oo[1] > 1 for cache in state.caches):
        raise InputError("a cache has no random_seq", "record with CONFIG_SLAB_FREELIST_RANDOM")
