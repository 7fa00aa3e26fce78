"""What must hold of the page allocator proper: B1 … B24 over several zones, migrate types and pcp lists.

Identifiers are those of the project's reference; what is said of one zone's free lists there (specs/buddy.py) is said
here of every zone, and besides of the pages on pcp lists, of reserves, watermarks and references. B11 is said in the
form that holds in 6.1, where a free block may be on a list of another type than its pageblock's.
"""

from __future__ import annotations

from ..model.blocks import Blocks, allocate, release, shrink
from ..model.buddy import (
    MIGRATE_CMA,
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MemoryMap,
    Order,
    Page,
    Zone,
    find_buddy_pfn,
    get_pageblock_migratetype,
    migratetype_is_mergeable,
    pageblock_nr_pages,
    zone_end_pfn,
    zone_spans_pfn,
)
from ..model.gfp import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_THISNODE,
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    gfp_migratetype,
    gfp_to_alloc_flags,
    gfp_zone,
)
from ..model.lang import Clauses, Parameter, Refinement, Spec, clause, indices, invariant, step_property
from ..model.page_alloc import (
    ManagedZone,
    eligible,
    has_type,
    order_to_pindex,
    page_zone,
    pcp_allowed_order,
    pindex_to_order,
    wmark_pages,
    zone_watermark_fast,
)
from ..model.slowpath import Cpu, Node, watermark_min
from ..model.zone import (
    Request,
    ZoneMachine,
    alloc_pages,
    boot_machine,
    drain_local_pages,
    free_pages,
    get_page_unless_zero,
    gfp_of,
    isolate_pageblock,
    kswapd_begins,
    kswapd_ends,
    put_page,
    put_page_back_buddy,
    resize_pcp_lists,
    set_task,
    take_page_off_buddy,
    unisolate_pageblock,
)
from .blocks import SPEC as BLOCKS
from .buddy import free_blocks_with, head_at, inside_free_block, is_free_block, list_length
from .zone_scope import PAGE_ALLOC_DERIVED, PAGE_ALLOC_REQUIREMENTS, page_alloc_parameters

# --- words of the properties


def is_pcp_block(m: ZoneMachine, page: int, order: int) -> bool:
    """Whether a block of this order that is on a pcp list starts at the page."""
    slot = m.pages.memory.mem_map[page].pcp_list
    return slot is not None and pindex_to_order(m.pages, slot % pcp_lists(m)) == order


def pcp_lists(m: ZoneMachine) -> int:
    """The pcp lists of a CPU and zone (NR_PCP_LISTS)."""
    return len(m.pages.zone[0].per_cpu_pageset[0].lists)


def held_blocks_with(m: ZoneMachine, page: int) -> int:
    """How many blocks that somebody refers to contain a page."""
    orders = m.pages.zone[0].free_area
    return sum(1 for order in indices(orders) if m.block[head_at(page, order)].order == order)


def pcp_blocks_with(m: ZoneMachine, page: int) -> int:
    """How many blocks on pcp lists contain a page."""
    return sum(1 for order in indices(m.pages.zone[0].free_area) if is_pcp_block(m, head_at(page, order), order))


def in_some_zone(m: ZoneMachine, page: int) -> bool:
    """Whether a frame belongs to a zone."""
    return any(zone_spans_pfn(m.pages.zone[z], page) for z in indices(m.pages.zone))


def in_one_zone(m: ZoneMachine, page: int, order: int) -> bool:
    """Whether a block lies in one zone."""
    return any(
        zone_spans_pfn(m.pages.zone[z], page) and page + (1 << order) <= zone_end_pfn(m.pages.zone[z])
        for z in indices(m.pages.zone)
    )


def is_listed(memory: MemoryMap, page: int, order: int, migratetype: int) -> bool:
    """Whether a free block of this order is on the list of this type."""
    return is_free_block(memory, page, order) and memory.mem_map[page].listed == migratetype


def listed_blocks(memory: MemoryMap, zone: Zone, order: int, migratetype: int) -> int:
    """How many free blocks of a zone say they are on this list."""
    return sum(
        1
        for page in indices(memory.mem_map)
        if is_listed(memory, page, order, migratetype) and zone_spans_pfn(zone, page)
    )


def free_pages_listed(memory: MemoryMap, zone: Zone, migratetype: int) -> int:
    """The pages of a zone in free blocks on the lists of a type."""
    return sum(
        1 << memory.mem_map[page].order
        for page in indices(memory.mem_map)
        if memory.mem_map[page].buddy and memory.mem_map[page].listed == migratetype and zone_spans_pfn(zone, page)
    )


def all_free_pages(memory: MemoryMap, zone: Zone) -> int:
    """The pages of a zone in free blocks."""
    return sum(
        1 << memory.mem_map[page].order
        for page in indices(memory.mem_map)
        if memory.mem_map[page].buddy and zone_spans_pfn(zone, page)
    )


def pcp_count(m: ZoneMachine, z: int, cpu: int) -> int:
    """The pages of a zone in blocks that are on a CPU's lists."""
    return sum(
        1 << order
        for page in indices(m.block)
        for order in indices(m.pages.zone[0].free_area)
        if is_on_cpu(m, page, cpu)
        and is_pcp_block(m, page, order)
        and zone_spans_pfn(m.pages.zone[z], page)
    )


def is_on_cpu(m: ZoneMachine, page: int, cpu: int) -> bool:
    """Whether a page is on a list of this CPU."""
    slot = m.pages.memory.mem_map[page].pcp_list
    return slot is not None and slot // pcp_lists(m) == cpu


def pcp_list_blocks(m: ZoneMachine, z: int, slot: int) -> int:
    """How many blocks of a zone say they are on this pcp list."""
    return sum(
        1
        for page in indices(m.block)
        if m.pages.memory.mem_map[page].pcp_list == slot and zone_spans_pfn(m.pages.zone[z], page)
    )


def pcp_type(migratetype: int) -> int:
    """The type whose pcp list takes pages of a type: CMA and highatomic pages go with the movable ones."""
    return MIGRATE_MOVABLE if migratetype >= MIGRATE_PCPTYPES else migratetype


# --- blocks


@invariant("B1", origin="__free_one_page(): VM_BUG_ON_PAGE(pfn & ((1 << order) - 1))")
def blocks_aligned(m: ZoneMachine) -> Clauses:
    """The head of a block of order o is a multiple of 2**o: free, on a pcp list or held."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            yield clause("a free block is aligned", page & ((1 << memory.mem_map[page].order) - 1) == 0, page)
        held = m.block[page].order
        if held is not None:
            yield clause("a held block is aligned", page & ((1 << held) - 1) == 0, page)
        for order in indices(m.pages.zone[0].free_area):
            if is_pcp_block(m, page, order):
                yield clause("a block on a pcp list is aligned", page & ((1 << order) - 1) == 0, page)


@invariant("B2", origin="bad_range(), page_is_buddy(): page_zone_id()")
def blocks_in_zone(m: ZoneMachine) -> Clauses:
    """Every block lies in one zone."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            yield clause("a free block lies in one zone", in_one_zone(m, page, memory.mem_map[page].order), page)
        held = m.block[page].order
        if held is not None:
            yield clause("a held block lies in one zone", in_one_zone(m, page, held), page)
        for order in indices(m.pages.zone[0].free_area):
            if is_pcp_block(m, page, order):
                yield clause("a block on a pcp list lies in one zone", in_one_zone(m, page, order), page)


@invariant("B3", origin="(none in the kernel; CN page_group_ok on pKVM's allocator)")
def free_blocks_disjoint(m: ZoneMachine) -> Clauses:
    """No page is in two free blocks, whatever their orders and types."""
    for page in indices(m.block):
        free = free_blocks_with(m.pages.memory, m.pages.zone[0], page)
        yield clause("a page is in at most one free block", free <= 1, page)


@invariant("B4", origin="(the allocator's purpose: no double allocation)")
def pages_exclusive(m: ZoneMachine) -> Clauses:
    """Each page of a zone is in exactly one block: free, on a pcp list, held, or taken off; others are in none."""
    for page in indices(m.block):
        owners = (
            free_blocks_with(m.pages.memory, m.pages.zone[0], page)
            + pcp_blocks_with(m, page)
            + held_blocks_with(m, page)
            + (1 if m.block[page].poisoned else 0)
        )
        if in_some_zone(m, page):
            yield clause("a page is not in two blocks", owners <= 1, page)
            yield clause("a page is not lost", owners >= 1, page)
        else:
            yield clause("a frame outside the zones is in no block", owners == 0, page)


@invariant("B5", origin="managed_pages; crash kmem -f checks it in part")
def pages_conserved(m: ZoneMachine) -> Clauses:
    """Free pages, pages on pcp lists, held and taken pages of a zone add up to managed_pages."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        free = all_free_pages(m.pages.memory, zone)
        pcp = sum(pcp_count(m, z, cpu) for cpu in indices(zone.per_cpu_pageset))
        held = sum(
            1 << order
            for page in indices(m.block)
            for order in indices(zone.free_area)
            if m.block[page].order == order and zone_spans_pfn(zone, page)
        )
        taken = sum(1 for page in indices(m.block) if zone_spans_pfn(zone, page) and m.block[page].poisoned)
        yield clause("the pages of a zone add up", free + pcp + held + taken == zone.managed_pages, z)
        yield clause("managed_pages is what the zone spans", zone.managed_pages == zone.spanned_pages, z)


@invariant("B6", origin="set_buddy_order(), del_page_from_free_list(): __ClearPageBuddy")
def flag_means_listed(m: ZoneMachine) -> Clauses:
    """A page is PageBuddy of order o exactly when it is on one free_list[o], and it is there once."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        next = memory.mem_map[page].next
        prev = memory.mem_map[page].prev
        kind = memory.mem_map[page].listed
        if memory.mem_map[page].buddy:
            order = memory.mem_map[page].order
            z = page_zone(m.pages, page)
            if next is not None:
                same = is_listed(memory, next, order, kind) and zone_spans_pfn(m.pages.zone[z], next)
                yield clause("a free block's successor is on the same list", same, page)
            if prev is not None:
                same = is_listed(memory, prev, order, kind) and zone_spans_pfn(m.pages.zone[z], prev)
                yield clause("a free block's predecessor is on the same list", same, page)
        else:
            yield clause("a page that is not PageBuddy is on no type's list", kind == 0, page)
            if memory.mem_map[page].pcp_list is None:
                yield clause("a page on no list has no links", next is None and prev is None, page)
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        for order in indices(zone.free_area):
            for kind in indices(zone.free_area[order].free_list):
                free_list = zone.free_area[order].free_list[kind]
                first = free_list.first
                last = free_list.last
                if first is not None:
                    right = zone_spans_pfn(zone, first) and is_listed(memory, first, order, kind)
                    yield clause("a free list begins with a free block of its order and type", right, z, order)
                if last is not None:
                    right = zone_spans_pfn(zone, last) and is_listed(memory, last, order, kind)
                    yield clause("a free list ends with a free block of its order and type", right, z, order)
                listed = listed_blocks(memory, zone, order, kind)
                complete = list_length(memory, free_list, order) >= listed
                yield clause("every free block is on the list", complete, z, order)


@invariant("B7", origin="free_area[].nr_free in add_to_free_list(), del_page_from_free_list()")
def nr_free_counts(m: ZoneMachine) -> Clauses:
    """nr_free of each order is the length of its lists."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        for order in indices(zone.free_area):
            area = zone.free_area[order]
            length = sum(list_length(m.pages.memory, area.free_list[kind], order) for kind in indices(area.free_list))
            yield clause("nr_free is the length of the lists", area.nr_free == length, z, order)


@invariant("B8", origin="__mod_zone_freepage_state(): NR_FREE_PAGES, NR_FREE_CMA_PAGES")
def nr_free_pages_counts(m: ZoneMachine) -> Clauses:
    """NR_FREE_PAGES counts the free pages that are not isolated, NR_FREE_CMA_PAGES the CMA part."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        free = all_free_pages(m.pages.memory, zone)
        isolated = free_pages_listed(m.pages.memory, zone, MIGRATE_ISOLATE)
        yield clause("NR_FREE_PAGES counts the free pages", zone.nr_free_pages == free - isolated, z)
        cma = free_pages_listed(m.pages.memory, zone, MIGRATE_CMA)
        yield clause("NR_FREE_CMA_PAGES counts the CMA pages", zone.nr_free_cma_pages == cma, z)


def may_stay_split(m: ZoneMachine, page: int, buddy: int, order: int) -> bool:
    """Whether two free buddies may stay apart: from a pageblock up, if a type must be kept apart, or was (6.1 does not
    merge when it gives a highatomic pageblock up)."""
    if order < m.pages.memory.pageblock_order:
        return False
    one = get_pageblock_migratetype(m.pages.memory, page)
    other = get_pageblock_migratetype(m.pages.memory, buddy)
    apart = one != other and not (migratetype_is_mergeable(one) and migratetype_is_mergeable(other))
    both_isolated = one == MIGRATE_ISOLATE and other == MIGRATE_ISOLATE
    return apart or both_isolated or m.highatomic != 0


@invariant("B9", origin="__free_one_page() merge loop")
def coalesced(m: ZoneMachine) -> Clauses:
    """No two buddies of the same order below the top are both free, unless their pageblocks' types keep them apart."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        if memory.mem_map[page].buddy and order < len(m.pages.zone[0].free_area) - 1:
            buddy = find_buddy_pfn(page, order)
            z = page_zone(m.pages, page)
            split = (
                not zone_spans_pfn(m.pages.zone[z], buddy)
                or not is_free_block(memory, buddy, order)
                or may_stay_split(m, page, buddy, order)
            )
            yield clause("a free block has no free buddy of its order", split, page)


@invariant("B10", origin="__free_one_page(), expand(): only heads carry PageBuddy")
def tails_unmarked(m: ZoneMachine) -> Clauses:
    """Inside a block no page but the head of a free one is PageBuddy."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            inside = inside_free_block(memory, m.pages.zone[0], page)
            yield clause("a PageBuddy page is not inside a larger free block", not inside, page)
            used = held_blocks_with(m, page) + pcp_blocks_with(m, page)
            yield clause("a PageBuddy page is not inside a block in use", used == 0, page)


@invariant("B11", origin="__free_one_page(): migratetype; set_migratetype_isolate(), init_cma_reserved_pageblock()")
def list_types(m: ZoneMachine) -> Clauses:
    """A free block is on a valid list: that of isolated or CMA pages exactly if its pageblock is isolated or CMA (6.1;
    from 6.10 on the list is always that of the pageblock's type)."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            listed = memory.mem_map[page].listed
            block_type = get_pageblock_migratetype(memory, page)
            isolated = (listed == MIGRATE_ISOLATE) == (block_type == MIGRATE_ISOLATE)
            yield clause("the list of isolated pages has the isolated pageblocks' pages", isolated, page)
            cma = (listed == MIGRATE_CMA) == (block_type == MIGRATE_CMA)
            yield clause("the list of CMA pages has the CMA pageblocks' pages", cma, page)
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        isolated_blocks = sum(
            1
            for block in indices(memory.pageblock_flags)
            if memory.pageblock_flags[block] == MIGRATE_ISOLATE
            and zone_spans_pfn(zone, block << memory.pageblock_order)
        )
        counted = zone.nr_isolate_pageblock == isolated_blocks
        yield clause("nr_isolate_pageblock counts the isolated pageblocks", counted, z)


@invariant("B12", origin="lib/list_debug.c: __list_add_valid(), __list_del_entry_valid()")
def lists_linked(m: ZoneMachine) -> Clauses:
    """Free lists are linked both ways, acyclic, with proper ends, and every free head is reachable."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        next = memory.mem_map[page].next
        prev = memory.mem_map[page].prev
        if next is not None:
            yield clause("the successor points back", memory.mem_map[next].prev == page, page)
        if prev is not None:
            yield clause("the predecessor points forward", memory.mem_map[prev].next == page, page)
        order = memory.mem_map[page].order
        if memory.mem_map[page].buddy and order < len(m.pages.zone[0].free_area):
            area = m.pages.zone[page_zone(m.pages, page)].free_area[order]
            if next is None:
                is_last = area.free_list[memory.mem_map[page].listed].last == page
                yield clause("a block without successor is the last", is_last, page)
            if prev is None:
                is_first = area.free_list[memory.mem_map[page].listed].first == page
                yield clause("a block without predecessor is the first", is_first, page)
    for z in indices(m.pages.zone):
        for order in indices(m.pages.zone[z].free_area):
            for kind in indices(m.pages.zone[z].free_area[order].free_list):
                free_list = m.pages.zone[z].free_area[order].free_list[kind]
                first = free_list.first
                last = free_list.last
                yield clause("a list has both ends or none", (first is None) == (last is None), z, order)
                if first is not None:
                    yield clause("the first block has no predecessor", memory.mem_map[first].prev is None, z, order)
                if last is not None:
                    yield clause("the last block has no successor", memory.mem_map[last].next is None, z, order)
                finite = list_length(memory, free_list, order) <= len(memory.mem_map) >> order
                yield clause("the list is acyclic", finite, z, order)


@invariant("B13", origin="__free_one_page(): while (order < MAX_ORDER - 1)")
def order_below_max(m: ZoneMachine) -> Clauses:
    """A free block's order is below MAX_ORDER."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            yield clause("order < MAX_ORDER", memory.mem_map[page].order < len(m.pages.zone[0].free_area), page)


# --- pcp lists


@invariant("B14", origin="free_unref_page_commit(), rmqueue_bulk(): pcp->count")
def pcp_counts(m: ZoneMachine) -> Clauses:
    """pcp->count is the number of pages on a CPU's lists of a zone."""
    for z in indices(m.pages.zone):
        for cpu in indices(m.pages.zone[z].per_cpu_pageset):
            pcp = m.pages.zone[z].per_cpu_pageset[cpu]
            yield clause("pcp->count counts the pages on the lists", pcp.count == pcp_count(m, z, cpu), z, cpu)


@invariant("B15", origin="free_unref_page(), rmqueue_bulk(), order_to_pindex()")
def pcp_lists_hold_free_pages(m: ZoneMachine) -> Clauses:
    """A page on a pcp list is free, of the list's type, order, CPU and zone; the lists are proper lists."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        slot = memory.mem_map[page].pcp_list
        if slot is None:
            yield clause("a page on no pcp list has no type noted", memory.mem_map[page].migratetype == 0, page)
        else:
            next = memory.mem_map[page].next
            prev = memory.mem_map[page].prev
            order = pindex_to_order(m.pages, slot % pcp_lists(m))
            yield clause("a page on a pcp list is not PageBuddy", not memory.mem_map[page].buddy, page)
            noted = pcp_type(memory.mem_map[page].migratetype)
            if pcp_allowed_order(m.pages, order):
                right = order_to_pindex(m.pages, noted, order) == slot % pcp_lists(m)
                yield clause("the list is that of the page's type", right, page)
            yield clause("the order has pcp lists", pcp_allowed_order(m.pages, order), page)
            isolate = memory.mem_map[page].migratetype == MIGRATE_ISOLATE
            yield clause("an isolated page is not put on a pcp list", not isolate, page)
            z = page_zone(m.pages, page)
            pcp_list = m.pages.zone[z].per_cpu_pageset[slot // pcp_lists(m)].lists[slot % pcp_lists(m)]
            if next is None:
                yield clause("a page without successor is the last of its list", pcp_list.last == page, page)
            else:
                same = memory.mem_map[next].pcp_list == slot and zone_spans_pfn(m.pages.zone[z], next)
                yield clause("the successor is on the same list", same, page)
            if prev is None:
                yield clause("a page without predecessor is the first of its list", pcp_list.first == page, page)
            else:
                same = memory.mem_map[prev].pcp_list == slot and zone_spans_pfn(m.pages.zone[z], prev)
                yield clause("the predecessor is on the same list", same, page)
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        for cpu in indices(zone.per_cpu_pageset):
            for pindex in indices(zone.per_cpu_pageset[cpu].lists):
                pcp_list = zone.per_cpu_pageset[cpu].lists[pindex]
                own = cpu * pcp_lists(m) + pindex
                first = pcp_list.first
                last = pcp_list.last
                yield clause("a pcp list has both ends or none", (first is None) == (last is None), z, cpu, pindex)
                if first is not None:
                    right = memory.mem_map[first].pcp_list == own and zone_spans_pfn(zone, first)
                    yield clause("a pcp list begins with a page of its own", right, z, cpu, pindex)
                if last is not None:
                    right = memory.mem_map[last].pcp_list == own and zone_spans_pfn(zone, last)
                    yield clause("a pcp list ends with a page of its own", right, z, cpu, pindex)
                length = list_length(memory, pcp_list, 0)
                whole = length == pcp_list_blocks(m, z, own)
                yield clause("every page of a pcp list is reached", whole, z, cpu, pindex)


@invariant("B24", origin="free_pcppages_bulk(): the round-robin ends only if a list is not empty (88e8ac11d2ea)")
def drains_end(m: ZoneMachine) -> Clauses:
    """A CPU whose count is not zero has a list that is not empty, so that draining ends. That every loop ends within
    its bound is checked in each step besides."""
    for z in indices(m.pages.zone):
        for cpu in indices(m.pages.zone[z].per_cpu_pageset):
            pcp = m.pages.zone[z].per_cpu_pageset[cpu]
            some = any(pcp.lists[pindex].first is not None for pindex in indices(pcp.lists))
            yield clause("pages that are counted are on some list", pcp.count == 0 or some, z, cpu)
            sane = pcp.high >= 2 * pcp.batch or (pcp.high == 0 and pcp.batch == 1)
            yield clause("high is 0 or at least twice batch", sane, z, cpu)


@step_property("B14s", action=free_pages, origin="free_unref_page_commit(): pcp->count >= high")
def pcp_below_high(before: ZoneMachine, after: ZoneMachine, cpu: Cpu, page: Page) -> Clauses:
    """After a free a CPU keeps fewer pages of the zone than pcp->high, or at least no more than before."""
    for z in indices(after.pages.zone):
        pcp = after.pages.zone[z].per_cpu_pageset[cpu]
        was = before.pages.zone[z].per_cpu_pageset[cpu].count
        below = pcp.count < max(pcp.high, 1) or pcp.count <= was
        yield clause("a CPU gives pages back when it has too many", below, z)


# --- watermarks and reserves


def usable_pages(m: ZoneMachine, zone: ManagedZone, order: int, alloc_flags: int) -> int:
    """The free pages of a zone that a request may count on, by the lists: no isolated ones, reserves only by right."""
    memory = m.pages.memory
    pages = all_free_pages(memory, zone) - free_pages_listed(memory, zone, MIGRATE_ISOLATE) - ((1 << order) - 1)
    if alloc_flags & ALLOC_RESERVES == 0:
        pages -= zone.nr_reserved_highatomic
    if alloc_flags & ALLOC_CMA == 0:
        pages -= free_pages_listed(memory, zone, MIGRATE_CMA)
    return pages


def may_take(kind: int, alloc_flags: int) -> bool:
    """Whether a request may be given a block of a type's list."""
    if kind < MIGRATE_PCPTYPES:
        return True
    if kind == MIGRATE_CMA:
        return alloc_flags & ALLOC_CMA != 0
    return kind == MIGRATE_HIGHATOMIC and alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) != 0


def has_block(m: ZoneMachine, zone: ManagedZone, order: int, alloc_flags: int) -> bool:
    """Whether a zone has a free block of at least this order that a request may be given."""
    memory = m.pages.memory
    return any(
        zone_spans_pfn(zone, page)
        and memory.mem_map[page].buddy
        and memory.mem_map[page].order >= order
        and may_take(memory.mem_map[page].listed, alloc_flags)
        for page in indices(memory.mem_map)
    )


def watermark_is_sound(m: ZoneMachine, z: int, gfp: int, order: int, alloc_flags: int) -> bool:
    """If the check passes, the zone has more usable pages than the mark and the reserve for others."""
    zone = m.pages.zone[z]
    index = alloc_flags & ALLOC_WMARK_MASK
    mark = wmark_pages(zone, index)
    if not zone_watermark_fast(m.pages, z, order, mark, gfp_zone(gfp), alloc_flags, gfp):
        return True
    if order == 0 and gfp & __GFP_ATOMIC != 0 and index == WMARK_MIN:
        mark = zone.watermark[WMARK_MIN]
    limit = watermark_min(mark, alloc_flags) + zone.lowmem_reserve[gfp_zone(gfp)]
    return usable_pages(m, zone, order, alloc_flags) > limit


def check_finds_block(m: ZoneMachine, z: int, gfp: int, order: int, alloc_flags: int) -> bool:
    """If the check passes for a block of several pages, there is one."""
    zone = m.pages.zone[z]
    mark = wmark_pages(zone, alloc_flags & ALLOC_WMARK_MASK)
    ok = zone_watermark_fast(m.pages, z, order, mark, gfp_zone(gfp), alloc_flags, gfp)
    return not ok or order == 0 or has_block(m, zone, order, alloc_flags)


@invariant("B16", origin="__zone_watermark_ok(), zone_watermark_fast()")
def watermarks_sound(m: ZoneMachine) -> Clauses:
    """A request that passes the watermark has that many usable pages, and for several pages a block."""
    for z in indices(m.pages.zone):
        for request in range(m.requests):
            gfp = gfp_of(m, request)
            for order in indices(m.pages.zone[z].free_area):
                low = ALLOC_CMA | WMARK_LOW if gfp_migratetype(gfp) == MIGRATE_MOVABLE else WMARK_LOW
                least = gfp_to_alloc_flags(gfp, order)
                sound = watermark_is_sound(m, z, gfp, order, low) and watermark_is_sound(m, z, gfp, order, least)
                yield clause("what passes the mark has more usable pages than it", sound, z, request, order)
                found = check_finds_block(m, z, gfp, order, low) and check_finds_block(m, z, gfp, order, least)
                yield clause("what passes the mark finds a block", found, z, request, order)


@invariant("B17", origin="__setup_per_zone_wmarks(), boost_watermark()")
def watermarks_ordered(m: ZoneMachine) -> Clauses:
    """min <= low <= high; the boost is bounded, and there is none in a zone of less than four pageblocks."""
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        low = zone.watermark[WMARK_LOW]
        yield clause("min <= low <= high", zone.watermark[WMARK_MIN] <= low and low <= zone.watermark[WMARK_HIGH], z)
        yield clause("high is less than the zone", zone.watermark[WMARK_HIGH] < zone.managed_pages, z)
        most = max(
            pageblock_nr_pages(m.pages.memory),
            zone.watermark[WMARK_HIGH] * m.pages.watermark_boost_factor // 10000,
        )
        yield clause("the boost is bounded", zone.watermark_boost <= most, z)
        small = pageblock_nr_pages(m.pages.memory) * 4 > zone.managed_pages
        yield clause("a small zone is not boosted", zone.watermark_boost == 0 or not small, z)
        for kind in indices(zone.lowmem_reserve):
            yield clause("a reserve is not negative", zone.lowmem_reserve[kind] >= 0, z)
            yield clause("a reserve is no more than all pages", zone.lowmem_reserve[kind] <= len(m.block), z)


@invariant("B18", origin="page_expected_state(), prep_new_page(): set_page_refcounted()")
def reference_counts(m: ZoneMachine) -> Clauses:
    """The head of a held block has its owner's and the speculative references; every other page has none."""
    memory = m.pages.memory
    for page in indices(memory.mem_map):
        count = memory.mem_map[page].refcount
        if m.block[page].poisoned:
            yield clause("a page taken off has one reference", count == 1, page)
        else:
            known = m.block[page].getters + (1 if m.block[page].owned else 0)
            yield clause("the references are those that were taken", count == known, page)
        live = m.block[page].order is not None
        referenced = count > 0 and not m.block[page].poisoned
        yield clause("a block is live while it has references", live == referenced, page)
        if m.block[page].compound:
            yield clause("a compound page says its order", memory.mem_map[page].compound == m.block[page].order, page)
        else:
            yield clause("no other page is compound", memory.mem_map[page].compound is None, page)
        used = live or m.block[page].owned or m.block[page].getters > 0 or m.block[page].compound
        yield clause("a page taken off is not used", not m.block[page].poisoned or not used, page)
        order = m.block[page].order
        whole = m.block[page].owned or m.block[page].compound or order is None or order == 0
        yield clause("what its owner freed is a compound page or one page", whole, page)
        yield clause("only a live block is movable", live or not memory.mem_map[page].movable, page)


@invariant("B22", origin="reserve_highatomic_pageblock(), unreserve_highatomic_pageblock()")
def highatomic_reserve(m: ZoneMachine) -> Clauses:
    """nr_reserved_highatomic counts the pageblocks of that type, about 1% of a zone and one pageblock at most.

    6.1 loses count where blocks larger than a pageblock exist: a page that waited on a pcp list while its pageblock was
    unreserved is freed as highatomic, merges with a reserved pageblock, and the whole is then stolen."""
    memory = m.pages.memory
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        blocks = sum(
            1
            for block in indices(memory.pageblock_flags)
            if memory.pageblock_flags[block] == MIGRATE_HIGHATOMIC
            and zone_spans_pfn(zone, block << memory.pageblock_order)
        )
        larger = memory.pageblock_order < len(zone.free_area) - 1
        counted = larger or zone.nr_reserved_highatomic == blocks << memory.pageblock_order
        yield clause("nr_reserved_highatomic counts the pageblocks", counted, z)
        most = zone.managed_pages // 100 + 2 * pageblock_nr_pages(memory) - 1
        yield clause("the reserve is bounded", zone.nr_reserved_highatomic <= most, z)
        none = m.highatomic != 0 or blocks == 0
        yield clause("without atomic requests nothing is reserved", none, z)


# --- steps


@step_property("B19", action=alloc_pages, origin="get_page_from_freelist(): the page it returns")
def block_as_asked(
    before: ZoneMachine, after: ZoneMachine, nid: Node, request: Request, order: Order, result: Page | None
) -> Clauses:
    """The block returned was free as a whole, is aligned, in a zone that may be used, and no live block is touched."""
    if result is not None:
        yield clause("the block is aligned", result & ((1 << order) - 1) == 0, result)
        yield clause("the block lies in one zone", in_one_zone(after, result, order), result)
        z = page_zone(after.pages, result)
        gfp = gfp_of(before, request)
        allowed = after.pages.zone[z].zone_type <= gfp_zone(gfp)
        allowed = allowed and (gfp & __GFP_THISNODE == 0 or after.pages.zone[z].node == nid)
        yield clause("the zone is one that the request may use", allowed, result)
        for offset in range(1 << order):
            page = result + offset
            free = free_blocks_with(before.pages.memory, before.pages.zone[0], page) + pcp_blocks_with(before, page)
            yield clause("every page of the block was free", free == 1, page)
            free = free_blocks_with(after.pages.memory, after.pages.zone[0], page) + pcp_blocks_with(after, page)
            yield clause("no page of the block stays free", free == 0, page)
            reachable = get_pageblock_migratetype(before.pages.memory, page) != MIGRATE_ISOLATE
            reachable = reachable or pcp_blocks_with(before, page) == 1
            yield clause("no page of the block was isolated, but on a pcp list", reachable, page)
    for other in indices(before.block):
        if result is None or other != result:
            same = after.block[other].order == before.block[other].order
            yield clause("no other block is touched", same, other)
        else:
            yield clause("the block was not held", before.block[other].order is None, other)


@step_property("B20", action=alloc_pages, origin="rmqueue_pcplist(), __rmqueue_smallest(), expand()")
def first_block_is_taken(
    before: ZoneMachine, after: ZoneMachine, cpu: Cpu, request: Request, order: Order, result: Page | None
) -> Clauses:
    """A CPU's list gives its first block; else the first block of the smallest order that suffices is taken."""
    gfp = gfp_of(before, request)
    kind = gfp_migratetype(gfp)
    if result is not None and gfp & __GFP_DIRECT_RECLAIM == 0:
        z = page_zone(before.pages, result)
        zone = before.pages.zone[z]
        on_pcp = before.pages.memory.mem_map[result].pcp_list
        use_pcp = pcp_allowed_order(before.pages, order) and not has_type(zone, MIGRATE_CMA)
        if use_pcp:
            pindex = order_to_pindex(before.pages, kind, order)
            first = zone.per_cpu_pageset[cpu].lists[pindex].first
            yield clause("a pcp list gives its first block", first is None or first == result, result)
        may_use_pcp = use_pcp or has_type(zone, MIGRATE_CMA)
        yield clause("no other pcp list is taken from", may_use_pcp or on_pcp is None, result)
        smallest = smallest_order(zone, order, kind)
        if on_pcp is None and smallest is not None and not has_type(zone, MIGRATE_HIGHATOMIC):
            head = zone.free_area[smallest].free_list[kind].first
            yield clause("the first block of the smallest order is taken", head == result, result)


def smallest_order(zone: ManagedZone, order: Order, kind: int) -> Order | None:
    """The smallest order from this one on that has a free block on a type's list."""
    for current in range(order, len(zone.free_area)):
        if zone.free_area[current].free_list[kind].first is not None:
            return max(current, 0)
    return None


def zone_could_give(m: ZoneMachine, z: int, gfp: int, order: int) -> bool:
    """Whether a zone passes the lowest mark for a request and has a block of it."""
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    zone = m.pages.zone[z]
    mark = wmark_pages(zone, alloc_flags & ALLOC_WMARK_MASK)
    if not zone_watermark_fast(m.pages, z, order, mark, gfp_zone(gfp), alloc_flags, gfp):
        return False
    return has_block(m, zone, order, alloc_flags)


@step_property("B21", action=alloc_pages, origin="get_page_from_freelist(); Appel and Naumann's resource awareness")
def request_succeeds_if_possible(
    before: ZoneMachine, after: ZoneMachine, nid: Node, request: Request, order: Order, result: Page | None
) -> Clauses:
    """A request fails only if no zone that it may use passes the mark and has a block."""
    gfp = gfp_of(before, request)
    for z in indices(before.pages.zone):
        if eligible(before.pages, nid, gfp, z):
            met = result is not None or not zone_could_give(before, z, gfp, order)
            yield clause("a request that can be met is met", met, z, order)


@step_property("B23", action=free_pages, origin="__free_pages(): e320d3012d25, 462a8e08e0e6")
def freed_once_and_whole(before: ZoneMachine, after: ZoneMachine, page: Page, result: Order | None) -> Clauses:
    """Only a live block is freed; all of its pages become free but those kept for others; no other block is touched."""
    yield clause("the freed block was owned", before.block[page].owned, page)
    yield clause("the freed block is not owned any more", not after.block[page].owned, page)
    for other in indices(before.block):
        if other != page:
            same = after.block[other].order == before.block[other].order
            yield clause("no other block is touched", same, other)
    order = before.block[page].order
    if order is not None:
        kept = 0 if result is None else 1 << result
        for offset in range(1 << order):
            free = free_blocks_with(after.pages.memory, after.pages.zone[0], page + offset)
            free += pcp_blocks_with(after, page + offset)
            right = free == (0 if offset < kept else 1)
            yield clause("no page of the block is orphaned", right, page + offset)


# --- refinement: the page allocator is a set of disjoint blocks


def live_blocks(concrete: ZoneMachine, abstract: Blocks) -> None:
    """The live blocks are those somebody refers to, and the pages taken off."""
    for page in indices(concrete.block):
        if concrete.block[page].poisoned:
            abstract.block[page] = 0
        else:
            abstract.block[page] = concrete.block[page].order


def allocate_or_fail(
    abstract: Blocks, cpu: Cpu, nid: Node, request: Request, order: Order, result: Page | None
) -> None:
    """alloc_pages takes a block where nothing is live, or fails: watermarks and pcp lists may keep pages back."""
    if result is not None:
        allocate(abstract, result, order)


def release_or_shrink(abstract: Blocks, cpu: Cpu, page: Page, result: Order | None) -> None:
    """free_pages and put_page end a block, or leave what others refer to."""
    if result is None:
        release(abstract, page)
    else:
        shrink(abstract, page, result)


def take_page(abstract: Blocks, page: Page, result: bool) -> None:
    """A page taken off is like one held for ever."""
    if result:
        allocate(abstract, page, 0)


def put_page_back(abstract: Blocks, page: Page) -> None:
    """A page put back is free again."""
    release(abstract, page)


GFP_NOWAIT_FLAGS = 0x800
GFP_ATOMIC_FLAGS = 0xA20

SPEC = Spec(
    name="zone",
    state=ZoneMachine,
    init=boot_machine,
    actions=(
        alloc_pages,
        free_pages,
        get_page_unless_zero,
        put_page,
        drain_local_pages,
        resize_pcp_lists,
        isolate_pageblock,
        unisolate_pageblock,
        take_page_off_buddy,
        put_page_back_buddy,
        kswapd_begins,
        kswapd_ends,
        set_task,
    ),
    properties=(
        blocks_aligned,
        blocks_in_zone,
        free_blocks_disjoint,
        pages_exclusive,
        pages_conserved,
        flag_means_listed,
        nr_free_counts,
        nr_free_pages_counts,
        coalesced,
        tails_unmarked,
        list_types,
        lists_linked,
        order_below_max,
        pcp_counts,
        pcp_lists_hold_free_pages,
        watermarks_sound,
        watermarks_ordered,
        reference_counts,
        highatomic_reserve,
        drains_end,
        pcp_below_high,
        block_as_asked,
        first_block_is_taken,
        request_succeeds_if_possible,
        freed_once_and_whole,
    ),
    parameters=(
        *page_alloc_parameters(
            zones=2, pages=1, start1=1, pages1=3, type=0, orders=2, pageblock_order=1, migratetypes=2, pcp_orders=1,
            long=5, min_free_pages=1, references=2,
        ),
        Parameter("requests", 1, "kinds of requests, with the flags gfp, gfp1, gfp2, gfp3", most=4),
        Parameter("gfp", GFP_NOWAIT_FLAGS, "the flags of the first kind of request", least=0, most=(1 << 25) - 1),
        Parameter("gfp1", GFP_ATOMIC_FLAGS, "the flags of the second kind of request", least=0, most=(1 << 25) - 1),
        Parameter("gfp2", 0x808, "the flags of the third kind of request", least=0, most=(1 << 25) - 1),
        Parameter("gfp3", 0xCC0, "the flags of the fourth kind of request", least=0, most=(1 << 25) - 1),
        Parameter("tasks", 0, "whether tasks of other rights run", least=0, most=1),
        Parameter("resize", 0, "whether the limits of pcp lists change", least=0, most=1),
        Parameter("failures", 0, "whether memory fails", least=0, most=1),
        Parameter("drains", 1, "whether CPUs give their lists back", least=0, most=1),
    ),
    derived={
        **PAGE_ALLOC_DERIVED,
        "highatomic": lambda sizes: int(
            sizes["migratetypes"] > 3
            and any(
                sizes[name] & 0x20 and not sizes[name] & 0x400
                for name in ("gfp", "gfp1", "gfp2", "gfp3")[: sizes["requests"]]
            )
        ),
    },
    requirements=PAGE_ALLOC_REQUIREMENTS,
    scopes={
        "nodes": {
            "references": 1,
            "zones": 3, "nodes": 2, "pages": 1, "type": 1, "node": 0, "start1": 1, "pages1": 2, "type1": 2, "node1": 0,
            "start2": 3, "pages2": 2, "type2": 2, "node2": 1, "orders": 2, "pageblock_order": 1, "migratetypes": 2,
            "pcp_orders": 0, "long": 5, "min_free_pages": 2, "lowmem_reserve_ratio": 2, "requests": 4, "gfp": 0x800,
            "gfp1": 0x4, "gfp2": 0x200000, "gfp3": 0x40a, "watch_kswapd": 1,
        },
        "pcp": {
            "references": 1,
            "zones": 1, "cpus": 2, "pages": 5, "orders": 2, "pageblock_order": 1, "migratetypes": 1, "pcp_orders": 2,
            "pcp_high": 4, "pcp_batch": 2, "pcp_batch_scale_max": 1, "resize": 1, "watch_kswapd": 1, "type": 1,
            "long": 6, "min_free_pages": 1,
        },
        "types": {
            "references": 1,
            "zones": 1, "pages": 6, "orders": 3, "pageblock_order": 2, "migratetypes": 3, "pcp_orders": 0, "type": 1,
            "requests": 4, "gfp": 0xa20, "gfp1": 0x808, "gfp2": 0x810, "gfp3": 0x80800, "long": 6,
            "min_free_pages": 2, "watermark_boost_factor": 15000,
        },
        # A pageblock of 2**4 pages, of which the zone that is asked has four; nobody asks ZONE_MOVABLE for the others.
        "pageblock": {
            "references": 1,
            "zones": 2, "start": 16, "pages": 4, "type": 2, "start1": 0, "pages1": 16, "type1": 3, "orders": 5,
            "pageblock_order": 4, "migratetypes": 2, "pcp_orders": 0, "requests": 2, "gfp": 0x800, "gfp1": 0x808,
            "long": 7, "min_free_pages": 0,
        },
        "highatomic": {
            "references": 1,
            "zones": 1, "pages": 6, "orders": 3, "pageblock_order": 2, "migratetypes": 4, "pcp_orders": 1, "type": 1,
            "requests": 2, "gfp": 0xa20, "gfp1": 0x408, "long": 6, "min_free_pages": 3,
        },
        "cma": {
            "references": 1,
            "zones": 1, "pages": 8, "orders": 3, "pageblock_order": 1, "migratetypes": 5, "pcp_orders": 1, "type": 1,
            "requests": 2, "gfp": 0x804, "gfp1": 0x20a28, "cma_pageblocks": 2, "long": 6, "min_free_pages": 3,
            "pcp_thp": 1, "watermark_boost_factor": 15000,
        },
        "isolate": {
            "references": 1,
            "zones": 1, "pages": 6, "orders": 3, "pageblock_order": 1, "migratetypes": 6, "pcp_orders": 1, "type": 1,
            "requests": 1, "gfp": 0x800, "isolation": 2, "long": 6, "min_free_pages": 0,
        },
        # Pageblocks so small that a free block across a border is split into more than two.
        "memory-failure": {
            "references": 1,
            "zones": 1, "pages": 4, "orders": 3, "pageblock_order": 0, "migratetypes": 6, "pcp_orders": 1, "type": 1,
            "requests": 1, "gfp": 0x800, "isolation": 2, "failures": 1, "long": 6, "min_free_pages": 0,
        },
        "references": {
            "zones": 1, "pages": 6, "orders": 3, "pageblock_order": 2, "migratetypes": 1, "pcp_orders": 1, "type": 1,
            "requests": 2, "gfp": 0x800, "gfp1": 0x40800, "references": 2, "failures": 1, "long": 6,
        },
        "slow": {
            "references": 1,
            "zones": 2, "pages": 2, "start1": 2, "pages1": 4, "type": 1, "type1": 2, "orders": 2,
            "pageblock_order": 1, "migratetypes": 2, "pcp_orders": 1, "long": 6, "min_free_pages": 3, "requests": 4,
            "gfp": 0xCC0, "gfp1": 0x98CC0, "gfp2": 0x8CC0, "gfp3": 0xCC1, "reclaim_retries": 1, "tasks": 1,
            "watch_kswapd": 0, "watermark_boost_factor": 15000, "costly_order": 0,
        },
        # A zone of four pageblocks, the fewest that are boosted; only movable requests get the pages of three.
        "boost": {
            "references": 1,
            "zones": 1, "pages": 8, "type": 2, "orders": 2, "pageblock_order": 1, "migratetypes": 5,
            "cma_pageblocks": 3, "pcp_orders": 0, "long": 6, "min_free_pages": 0, "watermark_scale_factor": 1250,
            "requests": 3, "gfp": 0xa20, "gfp1": 0x810, "gfp2": 0x80a, "watermark_boost_factor": 15000,
            "watch_kswapd": 1,
        },
        # The same without watermarks, so that there is nothing to boost.
        "no-watermarks": {
            "references": 1,
            "zones": 1, "pages": 8, "type": 2, "orders": 2, "pageblock_order": 1, "migratetypes": 5,
            "cma_pageblocks": 3, "pcp_orders": 0, "long": 6, "min_free_pages": 0,
            "requests": 2, "gfp": 0xa20, "gfp1": 0x810, "watermark_boost_factor": 15000, "watch_kswapd": 1,
        },
        "large": {
            "references": 3, "zones": 3, "nodes": 2, "cpus": 4, "pages": 64, "type": 0, "start1": 64, "pages1": 191,
            "type1": 2, "start2": 257, "pages2": 250, "type2": 2, "node2": 1, "orders": 6, "pageblock_order": 4,
            "migratetypes": 4, "pcp_orders": 4, "pcp_high": 16, "pcp_batch": 4, "pcp_batch_scale_max": 2,
            "long": 63, "min_free_pages": 16, "lowmem_reserve_ratio": 16, "watermark_boost_factor": 15000,
            "requests": 4, "gfp": 0xCC0, "gfp1": 0xA20, "gfp2": 0x100CCA, "gfp3": 0x40CC1, "reclaim_retries": 2,
            "watch_kswapd": 1, "resize": 1, "failures": 1, "tasks": 1,
        },
    },
    explored=(
        "nodes", "pcp", "types", "pageblock", "highatomic", "cma", "isolate", "memory-failure", "references", "slow",
        "boost", "no-watermarks",
    ),
    refinement=Refinement(
        "R-blocks",
        BLOCKS,
        live_blocks,
        {
            alloc_pages: allocate_or_fail,
            free_pages: release_or_shrink,
            put_page: release_or_shrink,
            take_page_off_buddy: take_page,
            put_page_back_buddy: put_page_back,
        },
        origin="mm/page_alloc.c as its callers see it",
    ),
    deadlock_free=True,
    doc=__doc__,
    flows={"alloc": (alloc_pages,), "free": (free_pages,)},
)
