"""The page allocator proper: zones, zonelists, watermarks, pcp lists and fallback over the buddy lists (Linux 6.1).

The one idea: each function is the kernel's function of that name in mm/page_alloc.c, with its steps in its order, run
as one atomic step. What decides between trying, waking kswapd, reclaiming and failing is in slowpath.py, with the
entry `alloc_pages` (__alloc_pages()); `PageAllocator` answers its questions. The other entry is `free_pages`
(__free_pages()).

Names that differ only by leading underscores in the kernel: `__rmqueue` is the kernel's __rmqueue(), `rmqueue` its
rmqueue(); `free_one_page` of buddy.py is __free_one_page(), `free_to_zone` here is free_one_page().
What is left out: cpusets and nodemasks, dirty limits, compaction, memory cgroups, deferred struct page
initialisation, zone_reclaim_mode (off, as by default), page poisoning.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import (
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    FreeArea,
    FreeList,
    MemoryMap,
    MigrateType,
    Page,
    UnsignedLong,
    Zone,
    add_to_free_list,
    bad_range,
    check_new_pages,
    del_page_from_free_list,
    find_buddy_pfn,
    free_core_memory,
    free_one_page,
    get_page_from_free_area,
    get_pageblock_migratetype,
    get_pcppage_migratetype,
    is_migrate_cma,
    is_migrate_isolate,
    list_add,
    list_add_tail,
    list_del,
    migratetype_is_mergeable,
    mod_zone_freepage_state,
    move_freepages_block,
    move_to_free_list,
    page_is_buddy,
    pageblock_nr_pages,
    rmqueue_smallest,
    set_buddy_order,
    set_page_refcounted,
    set_pageblock_migratetype,
    set_pcppage_migratetype,
    zone_end_pfn,
    zone_spans_pfn,
)
from .gfp import (
    __GFP_ATOMIC,
    __GFP_COMP,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MOVABLE,
    __GFP_THISNODE,
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    gfp_migratetype,
    gfp_zone,
)
from .lang import Array, FromScope, Machine, Range, Record, Sort, bounded, indices
from .slowpath import Cpu, Node, PageSource, ZoneType, wakeup_kswapd, watermark_min

ZoneId = Annotated[int, Sort("zone", "zones")]
PcpIndex = Annotated[int, Sort("pindex", "pcp_lists")]
Watermark = Annotated[int, Sort("watermark", 3)]
Long = Annotated[int, Machine("long", signed=True)]


class PerCpuPages(Record):
    """struct per_cpu_pages: free blocks that one CPU keeps of one zone."""

    count: Annotated[int, Range(0, "pcp_pages")]
    high: Annotated[int, Range(0, "pcp_high")]
    batch: Annotated[int, Range(1, "pcp_batch")]
    free_factor: Annotated[int, Range(0, "pcp_batch_scale_max")]
    lists: Array[PcpIndex, FreeList]


class ManagedZone(Zone):
    """struct zone, with what the page allocator keeps beside the free lists."""

    zone_type: Annotated[int, FromScope("type", "type1", "type2", "type3")]  # zone_idx()
    node: Annotated[int, FromScope("node", "node1", "node2", "node3")]  # zone_to_nid()
    managed_pages: UnsignedLong
    watermark: Array[Watermark, UnsignedLong]  # _watermark
    watermark_boost: UnsignedLong
    lowmem_reserve: Array[ZoneType, Long]
    nr_reserved_highatomic: UnsignedLong
    nr_isolate_pageblock: UnsignedLong
    boosted_watermark: bool  # ZONE_BOOSTED_WATERMARK in flags
    reclaim_active: bool  # ZONE_RECLAIM_ACTIVE in flags
    per_cpu_pageset: Array[Cpu, PerCpuPages]


class PageAllocator(PageSource):
    """All of memory: its frames, zones and nodes. The zones are in order of nodes, and of types in a node."""

    memory: MemoryMap
    zone: Array[ZoneId, ManagedZone]
    pcp_orders: Annotated[int, FromScope("pcp_orders")]  # orders below this one have pcp lists
    pcp_types: Annotated[int, FromScope("pcp_types")]  # MIGRATE_PCPTYPES, or the types there are
    pcp_thp: Annotated[int, FromScope("pcp_thp")]  # whether pageblocks have pcp lists (CONFIG_TRANSPARENT_HUGEPAGE)
    pcp_batch_scale_max: Annotated[int, FromScope("pcp_batch_scale_max")]  # CONFIG_PCP_BATCH_SCALE_MAX
    watermark_boost_factor: Annotated[int, FromScope("watermark_boost_factor")]
    watermark_scale_factor: Annotated[int, FromScope("watermark_scale_factor")]
    lowmem_reserve_ratio: Annotated[int, FromScope("lowmem_reserve_ratio")]
    min_free_pages: Annotated[int, FromScope("min_free_pages")]  # vm.min_free_kbytes, in pages
    pcp_high: Annotated[int, FromScope("pcp_high")]
    pcp_batch: Annotated[int, FromScope("pcp_batch")]
    isolation: Annotated[int, FromScope("isolation")]  # 1 + the type that isolated pageblocks get back; 0: none are
    references: Annotated[int, FromScope("references")]
    cma_pageblocks: Annotated[int, FromScope("cma_pageblocks")]
    long: Annotated[int, FromScope("long")]  # BITS_PER_LONG

    def get_page_from_freelist(self, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int) -> Page | None:
        return get_page_from_freelist(self, cpu, nid, gfp, order, alloc_flags)

    def alloc_flags_nofragment(self, nid: int, gfp: int) -> int:
        return alloc_flags_nofragment(self, zonelist_zone(self, nid, gfp, 0), gfp)

    def wake_all_kswapds(self, nid: int, gfp: int, order: int) -> None:
        wake_all_kswapds(self, nid, gfp, order)

    def watermark_ok_after_reclaim(self, nid: int, gfp: int, order: int, alloc_flags: int) -> bool:
        return watermark_ok_after_reclaim(self, nid, gfp, order, alloc_flags)

    def unreserve_highatomic_pageblock(self, nid: int, gfp: int, force: bool) -> bool:
        return unreserve_highatomic_pageblock(self, nid, gfp, force)

    def drain_all_pages(self) -> None:
        drain_all_pages(self)


# --- zones and pages (include/linux/mmzone.h, mm.h)


def page_zone(pages: PageAllocator, page: int) -> ZoneId:
    """The zone a page belongs to (page_zone())."""
    for z in indices(pages.zone):  # never false: no page is asked about that lies in no zone
        if zone_spans_pfn(pages.zone[z], page):
            return z
    assert page < 0, "page_zone: a frame outside every zone"
    return 0


def page_to_nid(pages: PageAllocator, page: int) -> int:
    """The node a page belongs to (page_to_nid())."""
    return pages.zone[page_zone(pages, page)].node


def zone_page_state(counter: int) -> int:
    """A zone counter as a reader sees it (zone_page_state(): never below zero)."""
    return max(counter, 0)


def has_isolate_pageblock(zone: ManagedZone) -> bool:
    """Whether some pageblock of the zone is isolated (has_isolate_pageblock())."""
    return zone.nr_isolate_pageblock != 0


def has_type(zone: ManagedZone, migratetype: int) -> bool:
    """Whether the scope has this migrate type (CONFIG_CMA, CONFIG_MEMORY_ISOLATION)."""
    return migratetype < len(zone.free_area[0].free_list)


def list_empty(area: FreeArea, migratetype: int) -> bool:
    """Whether there is no free block of an order on the list of a type (free_area_empty()), nor such a list."""
    return migratetype >= len(area.free_list) or area.free_list[migratetype].first is None


def wmark_pages(zone: ManagedZone, index: int) -> int:
    """A watermark with the boost (wmark_pages())."""
    return zone.watermark[index] + zone.watermark_boost


def node_at_distance(pages: PageAllocator, nid: int, distance: int) -> Node:
    """The nodes in the order of the zonelist of a node (find_next_best_node(): the next ones in turn)."""
    return (nid + distance) % len(pages.node)


# --- zonelists (mm/page_alloc.c, build_zonelists(); include/linux/mmzone.h)


def comes_before(pages: PageAllocator, nid: int, one: int, other: int) -> bool:
    """Whether a zone stands before another in the zonelist of a node: near nodes first, in a node high types first."""
    nodes = len(pages.node)
    one_distance = (pages.zone[one].node - nid) % nodes
    other_distance = (pages.zone[other].node - nid) % nodes
    if one_distance != other_distance:
        return one_distance < other_distance
    return pages.zone[one].zone_type > pages.zone[other].zone_type


def eligible(pages: PageAllocator, nid: int, gfp: int, z: int) -> bool:
    """Whether a zone is in a request's zonelist and not above its zone type (node_zonelist(), gfp_zone())."""
    if gfp & __GFP_THISNODE != 0 and pages.zone[z].node != nid:
        return False
    return pages.zone[z].zone_type <= gfp_zone(gfp)


def zonelist_zone(pages: PageAllocator, nid: int, gfp: int, position: int) -> ZoneId | None:
    """The zone at this position of a request's zonelist (for_each_zone_zonelist()), None after the last."""
    for z in indices(pages.zone):
        if eligible(pages, nid, gfp, z):
            before = sum(
                1
                for other in indices(pages.zone)
                if eligible(pages, nid, gfp, other) and comes_before(pages, nid, other, z)
            )
            if before == position:
                return z
    return None


# --- stealing from other migrate types (mm/page_alloc.c)


def fallback_type(migratetype: int, choice: int) -> MigrateType:
    """The types to fall back on, in order (fallbacks[][])."""
    if migratetype == MIGRATE_UNMOVABLE:
        return MIGRATE_RECLAIMABLE if choice == 0 else MIGRATE_MOVABLE
    if migratetype == MIGRATE_MOVABLE:
        return MIGRATE_RECLAIMABLE if choice == 0 else MIGRATE_UNMOVABLE
    return MIGRATE_UNMOVABLE if choice == 0 else MIGRATE_MOVABLE


def change_pageblock_range(memory: MemoryMap, page: int, start_order: int, migratetype: int) -> None:
    """Give all pageblocks of a large block one type (change_pageblock_range())."""
    for block in range(1 << (start_order - memory.pageblock_order)):
        set_pageblock_migratetype(memory, page + block * pageblock_nr_pages(memory), migratetype)


def can_steal_fallback(memory: MemoryMap, order: int, start_migratetype: int) -> bool:
    """Whether the whole pageblock may be claimed for another type (can_steal_fallback())."""
    if order >= memory.pageblock_order:
        return True
    return order >= memory.pageblock_order // 2 or start_migratetype != MIGRATE_MOVABLE


def boost_watermark(pages: PageAllocator, zone: ManagedZone) -> bool:
    """Raise the watermarks for a while, as pageblocks are being mixed (boost_watermark())."""
    if pages.watermark_boost_factor == 0:
        return False
    if pageblock_nr_pages(pages.memory) * 4 > zone.managed_pages:
        return False
    max_boost = zone.watermark[WMARK_HIGH] * pages.watermark_boost_factor // 10000
    if max_boost == 0:
        return False
    max_boost = max(pageblock_nr_pages(pages.memory), max_boost)
    zone.watermark_boost = min(zone.watermark_boost + pageblock_nr_pages(pages.memory), max_boost)
    return True


def movable_pages_in_block(memory: MemoryMap, zone: ManagedZone, page: int) -> int:
    """The pages in use around a page that could be migrated (move_freepages(): *num_movable)."""
    start = page & ~(pageblock_nr_pages(memory) - 1)
    end = start + pageblock_nr_pages(memory)
    if not zone_spans_pfn(zone, start):
        start = page
    if not zone_spans_pfn(zone, end - 1):
        return 0
    return sum(1 for other in range(start, end) if memory.mem_map[other].movable)


def steal_suitable_fallback(
    pages: PageAllocator, zone: ManagedZone, page: int, alloc_flags: int, start_type: int, whole_block: bool
) -> None:
    """Move a block, or all free blocks of its pageblock, to another type (steal_suitable_fallback())."""
    memory = pages.memory
    current_order = memory.mem_map[page].order
    old_block_type = get_pageblock_migratetype(memory, page)
    if old_block_type == MIGRATE_HIGHATOMIC:  # a page that was on a pcp list when its pageblock was reserved
        move_to_free_list(memory, zone, page, current_order, start_type)
        return
    if current_order >= memory.pageblock_order:
        change_pageblock_range(memory, page, current_order, start_type)
        move_to_free_list(memory, zone, page, current_order, start_type)
        return
    boosted = boost_watermark(pages, zone)
    if boosted and alloc_flags & ALLOC_KSWAPD != 0:
        zone.boosted_watermark = True
    if not whole_block:
        move_to_free_list(memory, zone, page, current_order, start_type)
        return
    movable_pages = movable_pages_in_block(memory, zone, page)
    free_pages = move_freepages_block(memory, zone, page, start_type)
    alike_pages = 0
    if start_type == MIGRATE_MOVABLE:
        alike_pages = movable_pages
    elif old_block_type == MIGRATE_MOVABLE:
        alike_pages = pageblock_nr_pages(memory) - (free_pages + movable_pages)
    if free_pages == 0:
        move_to_free_list(memory, zone, page, current_order, start_type)
        return
    if free_pages + alike_pages >= pageblock_nr_pages(memory) >> 1:
        set_pageblock_migratetype(memory, page, start_type)


def find_suitable_fallback(memory: MemoryMap, area: FreeArea, migratetype: int) -> MigrateType | None:
    """The first other type with a free block of this order (find_suitable_fallback(), not only_stealable)."""
    if area.nr_free == 0:
        return None
    for choice in range(2):
        fallback_mt = fallback_type(migratetype, choice)
        if not list_empty(area, fallback_mt):
            return fallback_mt
    return None


def rmqueue_fallback(
    pages: PageAllocator, zone: ManagedZone, order: int, start_migratetype: int, alloc_flags: int
) -> bool:
    """Bring blocks of another type to the list of this one (__rmqueue_fallback()); False if there are none."""
    memory = pages.memory
    min_order = order
    if order < memory.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT != 0:
        min_order = memory.pageblock_order
    for current_order in range(len(zone.free_area) - 1, min_order - 1, -1):
        fallback_mt = find_suitable_fallback(memory, zone.free_area[current_order], start_migratetype)
        if fallback_mt is None:
            continue
        can_steal = can_steal_fallback(memory, current_order, start_migratetype)
        smallest = not can_steal and start_migratetype == MIGRATE_MOVABLE and current_order > order
        if smallest:  # only in pageblocks of 2**4 pages or more
            return steal_smallest(pages, zone, order, start_migratetype, alloc_flags)
        page = get_page_from_free_area(zone.free_area[current_order], fallback_mt)
        assert page is not None
        steal_suitable_fallback(pages, zone, page, alloc_flags, start_migratetype, can_steal)
        return True
    return False


def steal_smallest(
    pages: PageAllocator, zone: ManagedZone, order: int, start_migratetype: int, alloc_flags: int
) -> bool:
    """Steal from the smallest block instead of the largest (__rmqueue_fallback(): find_smallest)."""
    memory = pages.memory
    for current_order in range(order, len(zone.free_area)):  # never false: the caller has seen a block to steal
        fallback_mt = find_suitable_fallback(memory, zone.free_area[current_order], start_migratetype)
        if fallback_mt is None:
            continue
        can_steal = can_steal_fallback(memory, current_order, start_migratetype)
        page = get_page_from_free_area(zone.free_area[current_order], fallback_mt)
        assert page is not None
        steal_suitable_fallback(pages, zone, page, alloc_flags, start_migratetype, can_steal)
        return True
    assert order < 0, "__rmqueue_fallback: no fallback found after all"
    return False


def rmqueue_cma_fallback(pages: PageAllocator, zone: ManagedZone, order: int) -> Page | None:
    """Take a block of the contiguous memory allocator (__rmqueue_cma_fallback())."""
    if not has_type(zone, MIGRATE_CMA):
        return None
    return rmqueue_smallest(pages.memory, zone, order, MIGRATE_CMA)


def __rmqueue(pages: PageAllocator, zone: ManagedZone, order: int, migratetype: int, alloc_flags: int) -> Page | None:
    """Remove a block from the free lists, of its own type if possible (__rmqueue()).

    The kernel's `goto retry` after a steal is the second look here: it cannot fail."""
    free_cma_pages = zone_page_state(zone.nr_free_cma_pages)
    page: Page | None = None
    if alloc_flags & ALLOC_CMA != 0 and free_cma_pages > zone_page_state(zone.nr_free_pages) // 2:
        page = rmqueue_cma_fallback(pages, zone, order)
        if page is not None:
            return page
    page = rmqueue_smallest(pages.memory, zone, order, migratetype)
    if page is not None:
        return page
    if alloc_flags & ALLOC_CMA != 0:
        page = rmqueue_cma_fallback(pages, zone, order)
        if page is not None:
            return page
    stolen = rmqueue_fallback(pages, zone, order, migratetype, alloc_flags)
    if not stolen:
        return None
    page = rmqueue_smallest(pages.memory, zone, order, migratetype)
    assert page is not None, "__rmqueue: what was stolen is not there"
    return page


# --- pcp lists (mm/page_alloc.c)


def pcp_allowed_order(pages: PageAllocator, order: int) -> bool:
    """Whether blocks of this order are kept on pcp lists (pcp_allowed_order())."""
    return order < pages.pcp_orders or (pages.pcp_thp != 0 and order == pages.memory.pageblock_order)


def order_to_pindex(pages: PageAllocator, migratetype: int, order: int) -> int:
    """The pcp list for a type and order (order_to_pindex())."""
    if order >= pages.pcp_orders:
        assert order == pages.memory.pageblock_order, "order_to_pindex: order != pageblock_order"
        return pages.pcp_types * pages.pcp_orders + (1 if migratetype == MIGRATE_MOVABLE else 0)
    return pages.pcp_types * order + migratetype


def pindex_to_order(pages: PageAllocator, pindex: int) -> int:
    """The order of the blocks on a pcp list (pindex_to_order())."""
    if pindex >= pages.pcp_types * pages.pcp_orders:
        return pages.memory.pageblock_order
    return pindex // pages.pcp_types


@bounded("pcp_lists")
def next_pcp_list(pages: PageAllocator, pcp: PerCpuPages, pindex: int) -> int:
    """The next pcp list that is not empty, in turn (free_pcppages_bulk(): the round-robin).

    The kernel also narrows the range it goes through, past lists seen empty; that saves time only."""
    pindex = pindex % len(pcp.lists)
    while pcp.lists[pindex].first is None:
        pindex = (pindex + 1) % len(pcp.lists)
    return pindex


@bounded("pcp_pages")
def free_pcp_list(pages: PageAllocator, cpu: int, z: int, pindex: int, count: int) -> int:
    """Free pages from the tail of one pcp list until it is empty or `count` is reached; gives what is left of it
    (free_pcppages_bulk(): the inner loop)."""
    memory = pages.memory
    zone = pages.zone[z]
    pcp = zone.per_cpu_pageset[cpu]
    order = pindex_to_order(pages, pindex)
    nr_pages = 1 << order
    while count > 0:
        page = pcp.lists[pindex].last
        if page is None:
            break
        migratetype = get_pcppage_migratetype(memory, page)
        list_del(memory, pcp.lists[pindex], page)
        memory.mem_map[page].pcp_list = None
        count -= nr_pages
        pcp.count -= nr_pages
        assert not is_migrate_isolate(migratetype), "free_pcppages_bulk: MIGRATE_ISOLATE page on a pcp list"
        if has_isolate_pageblock(zone):
            migratetype = get_pageblock_migratetype(memory, page)
        set_pcppage_migratetype(memory, page, MIGRATE_UNMOVABLE)
        free_one_page(memory, zone, page, order, migratetype, False)
    return count


@bounded("pcp_pages")
def free_pcppages_bulk(pages: PageAllocator, cpu: int, z: int, count: int, pindex: int) -> None:
    """Give pages of a CPU's lists back to the buddy lists, list after list from `pindex` (free_pcppages_bulk())."""
    pcp = pages.zone[z].per_cpu_pageset[cpu]
    count = min(pcp.count, count)
    while count > 0:
        pindex = next_pcp_list(pages, pcp, pindex)
        count = free_pcp_list(pages, cpu, z, pindex, count)
        pindex += 1


@bounded("pcp_pages")
def drain_pages_zone(pages: PageAllocator, cpu: int, z: int) -> None:
    """Give all pages of a CPU's lists of a zone back (drain_pages_zone())."""
    pcp = pages.zone[z].per_cpu_pageset[cpu]
    count = pcp.count
    while count > 0:
        to_drain = min(count, pcp.batch << pages.pcp_batch_scale_max)
        free_pcppages_bulk(pages, cpu, z, to_drain, 0)
        count = pcp.count


def drain_pages(pages: PageAllocator, cpu: int) -> None:
    """Give all pages of a CPU's lists back, zone after zone (drain_pages())."""
    for z in indices(pages.zone):
        drain_pages_zone(pages, cpu, z)


def drain_all_pages(pages: PageAllocator) -> None:
    """Drain the lists of every CPU (drain_all_pages()); where there are no lists, no CPU is asked."""
    if pages.pcp_orders > 0:
        for cpu in indices(pages.current):
            drain_pages(pages, cpu)


def nr_pcp_free(pages: PageAllocator, pcp: PerCpuPages, high: int, batch: int, free_high: bool) -> int:
    """How many pages to give back when a list is full (nr_pcp_free())."""
    if free_high:
        return pcp.count
    if high < batch:
        return 1
    min_nr_free = batch
    max_nr_free = high - batch
    batch <<= pcp.free_factor
    if batch < max_nr_free and pcp.free_factor < pages.pcp_batch_scale_max:
        pcp.free_factor += 1
    return min(max(batch, min_nr_free), max_nr_free)


def nr_pcp_high(zone: ManagedZone, pcp: PerCpuPages, free_high: bool) -> int:
    """The number of pages from which on a CPU gives some back (nr_pcp_high())."""
    high = pcp.high
    if high == 0 or free_high:
        return 0
    if not zone.reclaim_active:
        return high
    return min(pcp.batch << 2, high)


def free_unref_page_commit(pages: PageAllocator, cpu: int, z: int, page: int, migratetype: int, order: int) -> None:
    """Push a block on a pcp list and give some back if there are too many (free_unref_page_commit())."""
    zone = pages.zone[z]
    pcp = zone.per_cpu_pageset[cpu]
    pindex = order_to_pindex(pages, migratetype, order)
    list_add(pages.memory, pcp.lists[pindex], page)
    pages.memory.mem_map[page].pcp_list = cpu * len(pcp.lists) + pindex
    pcp.count += 1 << order
    free_high = pcp.free_factor != 0 and order != 0 and order <= pages.costly_order
    high = nr_pcp_high(zone, pcp, free_high)
    if pcp.count >= high:
        count = nr_pcp_free(pages, pcp, high, pcp.batch, free_high)
        free_pcppages_bulk(pages, cpu, z, count, pindex)


def free_unref_page(pages: PageAllocator, cpu: int, page: int, order: int) -> None:
    """Free a block through the pcp lists (free_unref_page())."""
    free_pages_prepare(pages.memory, page, order)
    z = page_zone(pages, page)
    migratetype = get_pageblock_migratetype(pages.memory, page)
    pcpmigratetype = migratetype
    if migratetype >= MIGRATE_PCPTYPES:
        if is_migrate_isolate(migratetype):
            free_to_zone(pages, z, page, order, migratetype)
            return
        pcpmigratetype = MIGRATE_MOVABLE
    set_pcppage_migratetype(pages.memory, page, migratetype)
    free_unref_page_commit(pages, cpu, z, page, pcpmigratetype, order)


def rmqueue_bulk(
    pages: PageAllocator, cpu: int, z: int, order: int, count: int, pindex: int, migratetype: int, alloc_flags: int
) -> int:
    """Move up to `count` blocks from the buddy lists to the tail of a pcp list (rmqueue_bulk())."""
    zone = pages.zone[z]
    pcp = zone.per_cpu_pageset[cpu]
    allocated = 0
    for _ in range(count):
        page = __rmqueue(pages, zone, order, migratetype, alloc_flags)
        if page is None:
            break
        list_add_tail(pages.memory, pcp.lists[pindex], page)
        pages.memory.mem_map[page].pcp_list = cpu * len(pcp.lists) + pindex
        allocated += 1
        if is_migrate_cma(get_pcppage_migratetype(pages.memory, page)):
            zone.nr_free_cma_pages -= 1 << order
    zone.nr_free_pages -= allocated << order
    return allocated


def rmqueue_pcplist(
    pages: PageAllocator, cpu: int, z: int, order: int, migratetype: int, alloc_flags: int
) -> Page | None:
    """Take the first block of a pcp list, which is filled first if it is empty (rmqueue_pcplist(),
    __rmqueue_pcplist())."""
    pcp = pages.zone[z].per_cpu_pageset[cpu]
    pcp.free_factor >>= 1
    pindex = order_to_pindex(pages, migratetype, order)
    if pcp.lists[pindex].first is None:
        batch = pcp.batch
        if batch > 1:
            batch = max(batch >> order, 2)
        alloced = rmqueue_bulk(pages, cpu, z, order, batch, pindex, migratetype, alloc_flags)
        pcp.count += alloced << order
    page = pcp.lists[pindex].first
    if page is None:
        return None
    list_del(pages.memory, pcp.lists[pindex], page)
    pages.memory.mem_map[page].pcp_list = None
    pcp.count -= 1 << order
    return page


def zone_set_pageset_high_and_batch(pages: PageAllocator, z: int, high: int, batch: int) -> None:
    """Change the limits of all CPUs' lists of a zone (__zone_set_pageset_high_and_batch())."""
    zone = pages.zone[z]
    for cpu in indices(zone.per_cpu_pageset):
        pageset_update(zone.per_cpu_pageset[cpu], high, batch)


def pageset_update(pcp: PerCpuPages, high: int, batch: int) -> None:
    """Change the limits of a CPU's lists, whatever is on them (pageset_update())."""
    pcp.batch = batch
    pcp.high = high


# --- freeing (mm/page_alloc.c)


def free_pages_prepare(memory: MemoryMap, page: int, order: int) -> None:
    """Check and clear what the owner left in the struct pages of a block (free_pages_prepare())."""
    compound = memory.mem_map[page].compound
    assert compound is None or compound == order, "free_pages_prepare: compound_order(page) != order"
    memory.mem_map[page].compound = None
    memory.mem_map[page].movable = False
    for offset in range(1 << order):
        assert not memory.mem_map[page + offset].buddy, "free_page_is_bad: PageBuddy is set"
        assert memory.mem_map[page + offset].refcount == 0, "free_page_is_bad: page has references"


def free_to_zone(pages: PageAllocator, z: int, page: int, order: int, migratetype: int) -> None:
    """Free a block to the buddy lists of its zone, by its type under the zone's lock (free_one_page())."""
    zone = pages.zone[z]
    if has_isolate_pageblock(zone) or is_migrate_isolate(migratetype):
        migratetype = get_pageblock_migratetype(pages.memory, page)
    free_one_page(pages.memory, zone, page, order, migratetype, False)


def free_pages_ok(pages: PageAllocator, page: int, order: int) -> None:
    """Free a block past the pcp lists (__free_pages_ok())."""
    free_pages_prepare(pages.memory, page, order)
    migratetype = get_pageblock_migratetype(pages.memory, page)
    free_to_zone(pages, page_zone(pages, page), page, order, migratetype)


def free_the_page(pages: PageAllocator, cpu: int, page: int, order: int) -> None:
    """Free a block that nobody refers to any more (free_the_page())."""
    if pcp_allowed_order(pages, order):
        free_unref_page(pages, cpu, page, order)
    else:
        free_pages_ok(pages, page, order)


def get_page_unless_zero(memory: MemoryMap, page: int) -> bool:
    """Take a speculative reference, unless the page is free (get_page_unless_zero())."""
    if memory.mem_map[page].refcount == 0:
        return False
    memory.mem_map[page].refcount += 1
    return True


def put_page_testzero(memory: MemoryMap, page: int) -> bool:
    """Drop a reference, and say whether it was the last (put_page_testzero())."""
    assert memory.mem_map[page].refcount != 0, "put_page_testzero: page has no reference"
    memory.mem_map[page].refcount -= 1
    return memory.mem_map[page].refcount == 0


def put_page(pages: PageAllocator, cpu: int, page: int) -> None:
    """Drop a reference; the last one frees a compound page whole, any other page alone (put_page(), __put_page())."""
    compound = pages.memory.mem_map[page].compound
    last = put_page_testzero(pages.memory, page)
    if last:
        if compound is not None:
            free_the_page(pages, cpu, page, compound)
        else:
            free_the_page(pages, cpu, page, 0)


@bounded("orders")
def free_pages(pages: PageAllocator, cpu: int, page: int, order: int) -> None:
    """Drop the owner's reference to a block, and free what nobody else refers to (__free_pages()).

    Whether the page is compound must be known before the reference is dropped: whoever drops the last one frees it."""
    head = pages.memory.mem_map[page].compound is not None
    last = put_page_testzero(pages.memory, page)
    if last:
        free_the_page(pages, cpu, page, order)
    elif not head:
        while order > 0:
            order -= 1
            free_the_page(pages, cpu, page + (1 << order), order)


# --- allocating from one zone (mm/page_alloc.c)


def rmqueue_buddy(
    pages: PageAllocator, z: int, order: int, alloc_flags: int, migratetype: int
) -> Page | None:
    """Allocate from the buddy lists and count the pages (rmqueue_buddy())."""
    zone = pages.zone[z]
    page: Page | None = None
    if alloc_flags & ALLOC_HIGHATOMIC != 0 and has_type(zone, MIGRATE_HIGHATOMIC):
        page = rmqueue_smallest(pages.memory, zone, order, MIGRATE_HIGHATOMIC)
    if page is None:
        page = __rmqueue(pages, zone, order, migratetype, alloc_flags)
        if page is None and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK) != 0 and has_type(zone, MIGRATE_HIGHATOMIC):
            page = rmqueue_smallest(pages.memory, zone, order, MIGRATE_HIGHATOMIC)
        if page is None:
            return None
    mod_zone_freepage_state(zone, -(1 << order), get_pcppage_migratetype(pages.memory, page))
    return page


def rmqueue(pages: PageAllocator, cpu: int, z: int, order: int, alloc_flags: int, migratetype: int) -> Page | None:
    """Allocate from a zone: from the CPU's lists for small orders, else from the buddy lists (rmqueue())."""
    zone = pages.zone[z]
    page: Page | None = None
    if pcp_allowed_order(pages, order) and (
        not has_type(zone, MIGRATE_CMA) or alloc_flags & ALLOC_CMA != 0 or migratetype != MIGRATE_MOVABLE
    ):
        page = rmqueue_pcplist(pages, cpu, z, order, migratetype, alloc_flags)
    if page is None:
        page = rmqueue_buddy(pages, z, order, alloc_flags, migratetype)
    if zone.boosted_watermark:
        zone.boosted_watermark = False
        wakeup_kswapd(pages, zone.node, 0, zone.zone_type)
    assert page is None or not bad_range(zone, page), "rmqueue: bad_range()"
    return page


def prep_new_page(memory: MemoryMap, page: int, order: int, gfp: int) -> None:
    """Make a free block an allocated one (prep_new_page(): check_new_pages(), set_page_refcounted(),
    prep_compound_page()). What movable requests get counts as movable from then on: its owner puts it on an LRU."""
    check_new_pages(memory, page, order)
    set_pcppage_migratetype(memory, page, MIGRATE_UNMOVABLE)
    set_page_refcounted(memory, page)
    memory.mem_map[page].movable = gfp & __GFP_MOVABLE != 0
    if order > 0 and gfp & __GFP_COMP != 0:
        memory.mem_map[page].compound = order


# --- the reserve for high-order atomic requests (mm/page_alloc.c)


def reserve_highatomic_pageblock(pages: PageAllocator, z: int, page: int) -> None:
    """Keep a pageblock for high-order atomic requests (reserve_highatomic_pageblock())."""
    memory = pages.memory
    zone = pages.zone[z]
    if not has_type(zone, MIGRATE_HIGHATOMIC):
        return
    max_managed = zone.managed_pages // 100 + pageblock_nr_pages(memory)
    if zone.nr_reserved_highatomic >= max_managed:
        return
    if migratetype_is_mergeable(get_pageblock_migratetype(memory, page)):
        zone.nr_reserved_highatomic += pageblock_nr_pages(memory)
        set_pageblock_migratetype(memory, page, MIGRATE_HIGHATOMIC)
        move_freepages_block(memory, zone, page, MIGRATE_HIGHATOMIC)


def unreserve_highatomic_pageblock(pages: PageAllocator, nid: int, gfp: int, force: bool) -> bool:
    """Give a reserved pageblock up, when a request is about to fail (unreserve_highatomic_pageblock())."""
    memory = pages.memory
    migratetype = gfp_migratetype(gfp)
    for position in indices(pages.zone):
        z = zonelist_zone(pages, nid, gfp, position)
        if z is None:
            break
        zone = pages.zone[z]
        if not has_type(zone, MIGRATE_HIGHATOMIC):
            continue
        if not force and zone.nr_reserved_highatomic <= pageblock_nr_pages(memory):
            continue
        for order in indices(zone.free_area):
            page = get_page_from_free_area(zone.free_area[order], MIGRATE_HIGHATOMIC)
            if page is None:
                continue
            if get_pageblock_migratetype(memory, page) == MIGRATE_HIGHATOMIC:
                zone.nr_reserved_highatomic -= min(pageblock_nr_pages(memory), zone.nr_reserved_highatomic)
            set_pageblock_migratetype(memory, page, migratetype)
            moved = move_freepages_block(memory, zone, page, migratetype)
            if moved != 0:
                return True
    return False


# --- watermarks (mm/page_alloc.c)


def zone_watermark_unusable_free(zone: ManagedZone, order: int, alloc_flags: int) -> int:
    """The free pages a request may not use (__zone_watermark_unusable_free())."""
    unusable_free = (1 << order) - 1
    if alloc_flags & ALLOC_RESERVES == 0:
        unusable_free += zone.nr_reserved_highatomic
    if alloc_flags & ALLOC_CMA == 0:
        unusable_free += zone_page_state(zone.nr_free_cma_pages)
    return unusable_free


def area_has_usable_block(pages: PageAllocator, area: FreeArea, alloc_flags: int) -> bool:
    """Whether an order has a free block that a request may take (__zone_watermark_ok(): the high-order check)."""
    if area.nr_free == 0:
        return False
    if any(not list_empty(area, migratetype) for migratetype in range(pages.pcp_types)):
        return True
    if alloc_flags & ALLOC_CMA != 0 and not list_empty(area, MIGRATE_CMA):
        return True
    return alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) != 0 and not list_empty(area, MIGRATE_HIGHATOMIC)


def zone_watermark_check(
    pages: PageAllocator, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, free_pages: int
) -> bool:
    """Whether a zone has enough free pages above a mark, and a block for the order (__zone_watermark_ok())."""
    zone = pages.zone[z]
    usable = free_pages - zone_watermark_unusable_free(zone, order, alloc_flags)
    if usable <= watermark_min(mark, alloc_flags) + zone.lowmem_reserve[highest_zoneidx]:
        return False
    if order == 0:
        return True
    return any(
        area_has_usable_block(pages, zone.free_area[other], alloc_flags)
        for other in range(order, len(zone.free_area))
    )


def zone_watermark_ok(
    pages: PageAllocator, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int
) -> bool:
    """The watermark check with the zone's own count (zone_watermark_ok())."""
    free_pages = zone_page_state(pages.zone[z].nr_free_pages)
    return zone_watermark_check(pages, z, order, mark, highest_zoneidx, alloc_flags, free_pages)


def zone_watermark_fast(
    pages: PageAllocator, z: int, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, gfp: int
) -> bool:
    """The watermark check with a short cut for single pages (zone_watermark_fast()).

    The mark is unsigned long and so is the comparison with it: a negative usable_free would be a huge number."""
    zone = pages.zone[z]
    free_pages = zone_page_state(zone.nr_free_pages)
    if order == 0:
        usable_free = free_pages
        reserved = zone_watermark_unusable_free(zone, 0, alloc_flags)
        usable_free -= min(usable_free, reserved)
        if usable_free % (1 << pages.long) > mark + zone.lowmem_reserve[highest_zoneidx]:
            return True
    if zone_watermark_check(pages, z, order, mark, highest_zoneidx, alloc_flags, free_pages):
        return True
    if (
        order == 0
        and gfp & __GFP_ATOMIC != 0
        and zone.watermark_boost != 0
        and alloc_flags & ALLOC_WMARK_MASK == WMARK_MIN
    ):
        mark = zone.watermark[WMARK_MIN]
        return zone_watermark_check(pages, z, order, mark, highest_zoneidx, alloc_flags, free_pages)
    return False


# --- kswapd (mm/vmscan.c)


def wake_all_kswapds(pages: PageAllocator, nid: int, gfp: int, order: int) -> None:
    """Wake the kswapd of every node in the zonelist (wake_all_kswapds())."""
    last_node: int = -1
    for position in indices(pages.zone):
        z = zonelist_zone(pages, nid, gfp, position)
        if z is None:
            break
        if pages.zone[z].node != last_node:
            wakeup_kswapd(pages, pages.zone[z].node, order, gfp_zone(gfp))
            last_node = pages.zone[z].node


# --- allocating (mm/page_alloc.c)


def alloc_flags_nofragment(pages: PageAllocator, preferred: int | None, gfp: int) -> int:
    """Whether to look at all near zones before mixing types in a pageblock (alloc_flags_nofragment())."""
    alloc_flags = gfp & __GFP_KSWAPD_RECLAIM
    if preferred is None or pages.zone[preferred].zone_type != ZONE_NORMAL:
        return alloc_flags
    node = pages.zone[preferred].node
    if len(pages.node) > 1 and not any(
        pages.zone[z].node == node and pages.zone[z].zone_type == ZONE_DMA32 for z in indices(pages.zone)
    ):
        return alloc_flags
    return alloc_flags | ALLOC_NOFRAGMENT


@bounded(2)
def get_page_from_freelist(
    pages: PageAllocator, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int
) -> Page | None:
    """Take a block from the first zone of the zonelist that has enough (get_page_from_freelist())."""
    highest_zoneidx = gfp_zone(gfp)
    preferred = zonelist_zone(pages, nid, gfp, 0)
    if preferred is None:
        return None
    while True:  # never false: the loop is left by return
        remote = False
        no_fallback = alloc_flags & ALLOC_NOFRAGMENT != 0
        for position in indices(pages.zone):
            z = zonelist_zone(pages, nid, gfp, position)
            if z is None:
                break
            if no_fallback and pages.zone[z].node != pages.zone[preferred].node:
                remote = True
                break
            mark = wmark_pages(pages.zone[z], alloc_flags & ALLOC_WMARK_MASK)
            ok = zone_watermark_fast(pages, z, order, mark, highest_zoneidx, alloc_flags, gfp)
            if not ok and alloc_flags & ALLOC_NO_WATERMARKS == 0:
                continue
            page = rmqueue(pages, cpu, z, order, alloc_flags, gfp_migratetype(gfp))
            if page is not None:
                prep_new_page(pages.memory, page, order, gfp)
                if alloc_flags & ALLOC_HIGHATOMIC != 0:
                    reserve_highatomic_pageblock(pages, z, page)
                return page
        if not no_fallback and not remote:
            return None
        alloc_flags &= ~ALLOC_NOFRAGMENT


def watermark_ok_after_reclaim(pages: PageAllocator, nid: int, gfp: int, order: int, alloc_flags: int) -> bool:
    """Whether some zone would pass its lowest mark if all that is reclaimable were free (should_reclaim_retry())."""
    for position in indices(pages.zone):
        z = zonelist_zone(pages, nid, gfp, position)
        if z is None:
            break
        available = pages.zone_reclaimable_pages(z) + zone_page_state(pages.zone[z].nr_free_pages)
        mark = wmark_pages(pages.zone[z], WMARK_MIN)
        if zone_watermark_check(pages, z, order, mark, gfp_zone(gfp), alloc_flags, available):
            return True
    return False


# --- page isolation and memory failure (mm/page_isolation.c, mm/page_alloc.c)


def set_migratetype_isolate(pages: PageAllocator, z: int, page: int) -> bool:
    """Take a pageblock's free pages out of reach (set_migratetype_isolate()); False if it is isolated already.

    Whether pages in use could be migrated is the caller's question: has_unmovable_pages() found none."""
    memory = pages.memory
    zone = pages.zone[z]
    migratetype = get_pageblock_migratetype(memory, page)
    if is_migrate_isolate(migratetype):
        return False
    set_pageblock_migratetype(memory, page, MIGRATE_ISOLATE)
    zone.nr_isolate_pageblock += 1
    nr_pages = move_freepages_block(memory, zone, page, MIGRATE_ISOLATE)
    mod_zone_freepage_state(zone, -nr_pages, migratetype)
    return True


def unset_migratetype_isolate(pages: PageAllocator, z: int, page: int, migratetype: int) -> None:
    """Give an isolated pageblock back (unset_migratetype_isolate())."""
    memory = pages.memory
    zone = pages.zone[z]
    if not is_migrate_isolate(get_pageblock_migratetype(memory, page)):  # never true: nobody else gives it back first
        return
    isolated_page = False
    order = memory.mem_map[page].order
    if memory.mem_map[page].buddy and memory.pageblock_order <= order and order < len(zone.free_area) - 1:
        buddy = find_buddy_pfn(page, order)
        if page_is_buddy(memory, zone, buddy, order) and not is_migrate_isolate(
            get_pageblock_migratetype(memory, buddy)
        ):
            del_page_from_free_list(memory, zone, page, order)
            isolated_page = True
    if not isolated_page:
        nr_pages = move_freepages_block(memory, zone, page, migratetype)
        mod_zone_freepage_state(zone, nr_pages, migratetype)
    set_pageblock_migratetype(memory, page, migratetype)
    if isolated_page:
        free_one_page(memory, zone, page, order, migratetype, True)
    zone.nr_isolate_pageblock -= 1


def lowest_bit(page: int, most: int) -> int:
    """The order to which a frame is aligned, at most `most` (__ffs())."""
    return sum(1 for order in range(1, most + 1) if page & ((1 << order) - 1) == 0)


def highest_bit(count: int, most: int) -> int:
    """The order of the largest power of two in a count (__fls())."""
    return sum(1 for order in range(1, most + 1) if count >> order != 0)


@bounded("frames")
def split_free_page(pages: PageAllocator, z: int, free_page: int, order: int, split_pfn_offset: int) -> None:
    """Split a free block that lies across the border of two pageblocks of different types (split_free_page())."""
    memory = pages.memory
    zone = pages.zone[z]
    migratetype = get_pageblock_migratetype(memory, free_page)
    if not is_migrate_isolate(migratetype):
        mod_zone_freepage_state(zone, -(1 << order), migratetype)
    del_page_from_free_list(memory, zone, free_page, order)
    page = free_page
    while page < free_page + (1 << order):
        free_page_order = min(lowest_bit(page, order), highest_bit(split_pfn_offset, order))
        migratetype = get_pageblock_migratetype(memory, page)
        free_one_page(memory, zone, page, free_page_order, migratetype, False)
        page += 1 << free_page_order
        split_pfn_offset -= 1 << free_page_order
        if split_pfn_offset == 0:
            split_pfn_offset = (1 << order) - (page - free_page)


def is_across(pages: PageAllocator, page: int, boundary: int) -> bool:
    """Whether a free block begins at a page and goes on past a boundary."""
    mem_map = pages.memory.mem_map
    return mem_map[page].buddy and page < boundary and page + (1 << mem_map[page].order) > boundary


def split_free_pages_across(pages: PageAllocator, z: int, boundary: int) -> None:
    """Split the free block that lies across the border of a pageblock, if one does (isolate_single_pageblock())."""
    top_order = len(pages.zone[z].free_area) - 1
    start = (boundary - 1) & ~((1 << top_order) - 1)
    for page in range(max(start, pages.zone[z].zone_start_pfn), boundary):
        if is_across(pages, page, boundary):
            split_free_page(pages, z, page, pages.memory.mem_map[page].order, boundary - page)


def start_isolate_page_range(pages: PageAllocator, z: int, page: int) -> bool:
    """Isolate one pageblock (start_isolate_page_range(): isolate_single_pageblock() at its two borders)."""
    isolated = set_migratetype_isolate(pages, z, page)
    if not isolated:
        return False
    end = page + pageblock_nr_pages(pages.memory)
    split_free_pages_across(pages, z, page)
    split_free_pages_across(pages, z, end)
    return True


@bounded("orders")
def break_down_buddy_pages(pages: PageAllocator, z: int, page: int, target: int, high: int, migratetype: int) -> None:
    """Split a block until one page is left, and put all but this page back (break_down_buddy_pages())."""
    memory = pages.memory
    while high > 0:
        high -= 1
        current_buddy = page + (1 << high)
        if target >= current_buddy:
            current_buddy = page
            page += 1 << high
        if current_buddy != target:  # never false: current_buddy is the half in which the target is not
            add_to_free_list(memory, pages.zone[z], current_buddy, high, migratetype)
            set_buddy_order(memory, current_buddy, high)


def take_page_off_buddy(pages: PageAllocator, page: int) -> bool:
    """Take a free page that memory failure hit out of the buddy system (take_page_off_buddy(), and the reference of
    page_handle_poison())."""
    memory = pages.memory
    zone = pages.zone[page_zone(pages, page)]
    for order in indices(zone.free_area):
        page_head = page & ~((1 << order) - 1)
        page_order = memory.mem_map[page_head].order
        if memory.mem_map[page_head].buddy and page_order >= order:
            migratetype = get_pageblock_migratetype(memory, page_head)
            del_page_from_free_list(memory, zone, page_head, page_order)
            break_down_buddy_pages(pages, page_zone(pages, page), page_head, page, page_order, migratetype)
            if not is_migrate_isolate(migratetype):
                mod_zone_freepage_state(zone, -1, migratetype)
            memory.mem_map[page].refcount += 1
            return True
        if memory.mem_map[page_head].refcount > 0:
            return False
    return False


def put_page_back_buddy(pages: PageAllocator, page: int) -> None:
    """Undo take_page_off_buddy() (put_page_back_buddy())."""
    memory = pages.memory
    migratetype = get_pageblock_migratetype(memory, page)
    last = put_page_testzero(memory, page)
    if last:  # never false: nobody takes a reference to a page that memory failure took off
        free_one_page(memory, pages.zone[page_zone(pages, page)], page, 0, migratetype, False)


# --- boot (mm/page_alloc.c)


def setup_per_zone_wmarks(pages: PageAllocator, min_free_pages: int) -> None:
    """Share the pages to be kept free among the zones by size (__setup_per_zone_wmarks(), no highmem)."""
    lowmem_pages = sum(
        pages.zone[z].managed_pages for z in indices(pages.zone) if pages.zone[z].zone_type != ZONE_MOVABLE
    )
    for z in indices(pages.zone):
        zone = pages.zone[z]
        smallest = min_free_pages * zone.managed_pages // max(lowmem_pages, 1)
        gap = max(smallest >> 2, zone.managed_pages * pages.watermark_scale_factor // 10000)
        zone.watermark_boost = 0
        zone.watermark[WMARK_MIN] = smallest
        zone.watermark[WMARK_LOW] = smallest + gap
        zone.watermark[WMARK_HIGH] = smallest + 2 * gap


def setup_per_zone_lowmem_reserve(pages: PageAllocator) -> None:
    """Keep part of the low zones from requests that may use a higher one (setup_per_zone_lowmem_reserve())."""
    for z in indices(pages.zone):
        zone = pages.zone[z]
        for highest in indices(zone.lowmem_reserve):
            above = sum(
                pages.zone[other].managed_pages
                for other in indices(pages.zone)
                if pages.zone[other].node == zone.node
                and zone.zone_type < pages.zone[other].zone_type
                and pages.zone[other].zone_type <= highest
            )
            if pages.lowmem_reserve_ratio != 0:
                zone.lowmem_reserve[highest] = above // pages.lowmem_reserve_ratio


@bounded("frames")
def init_cma_reserved_pageblocks(pages: PageAllocator) -> None:
    """Give the last pageblocks of the last zone to the contiguous memory allocator (init_cma_reserved_pageblock())."""
    zone = pages.zone[len(pages.zone) - 1]
    page = zone_end_pfn(zone)
    blocks = pages.cma_pageblocks
    while blocks > 0:
        page -= pageblock_nr_pages(pages.memory)
        blocks -= 1
        set_pageblock_migratetype(pages.memory, page, MIGRATE_CMA)


def free_zone_memory(pages: PageAllocator, z: int) -> None:
    """All memory of a zone is the allocator's, and free."""
    zone = pages.zone[z]
    free_core_memory(pages.memory, zone)
    zone.managed_pages = zone.spanned_pages


def boot(pages: PageAllocator) -> None:
    """All memory is free: pageblocks are movable (memmap_init()), limits and watermarks are set."""
    for block in indices(pages.memory.pageblock_flags):
        pages.memory.pageblock_flags[block] = min(MIGRATE_MOVABLE, pages.pcp_types - 1)
    init_cma_reserved_pageblocks(pages)
    for z in indices(pages.zone):
        free_zone_memory(pages, z)
        zone_set_pageset_high_and_batch(pages, z, pages.pcp_high, pages.pcp_batch)
    setup_per_zone_wmarks(pages, pages.min_free_pages)
    setup_per_zone_lowmem_reserve(pages)
