"""What must hold of the buddy allocator: invariants B1 … B23 with their kernel origin, and the refinement.

Identifiers are those of the project's reference. The structural invariants together are inductive: they say
everything about the lists (links both ways, ends, membership and flag, counters) and that every page is in
exactly one block.
"""

from __future__ import annotations

from ..model.blocks import Blocks, allocate, refuse, release
from ..model.buddy import (
    MIGRATE_UNMOVABLE,
    BuddyMachine,
    FreeList,
    MemoryMap,
    Order,
    Page,
    Zone,
    alloc_pages,
    find_buddy_pfn,
    free_pages,
    memblock_free_all,
    zone_end_pfn,
    zone_spans_pfn,
)
from ..model.lang import (
    Clauses,
    Parameter,
    Refinement,
    Requirement,
    Spec,
    clause,
    indices,
    invariant,
    step_property,
)
from .blocks import SPEC as BLOCKS
from .zone_scope import ONE_TYPE, REQUIREMENTS, ZONE_PARAMETERS


def is_free_block(memory: MemoryMap, page: int, order: int) -> bool:
    """Whether a free block of exactly this order starts at the page."""
    return memory.mem_map[page].buddy and memory.mem_map[page].order == order


def head_at(page: int, order: int) -> int:
    """The head of the block of this order that a page would be in."""
    return page & ~((1 << order) - 1)


def free_blocks_with(memory: MemoryMap, zone: Zone, page: int) -> int:
    """How many free blocks contain a page (free blocks are aligned, so there is one candidate for each order)."""
    return sum(1 for order in indices(zone.free_area) if is_free_block(memory, head_at(page, order), order))


def held_blocks_with(m: BuddyMachine, page: int) -> int:
    """How many held blocks contain a page."""
    return sum(1 for order in indices(m.zone.free_area) if m.held[head_at(page, order)] == order)


def free_block_count(memory: MemoryMap, order: int) -> int:
    """How many pages are flagged as heads of free blocks of an order."""
    return sum(1 for page in indices(memory.mem_map) if is_free_block(memory, page, order))


def list_length(memory: MemoryMap, free_list: FreeList, order: int) -> int:
    """Blocks met on a walk from the head of a free list; one more than can exist if the walk does not end."""
    length = 0
    page = free_list.first
    for _ in range((len(memory.mem_map) >> order) + 1):
        if page is None:
            break
        length += 1
        page = memory.mem_map[page].next
    return length


def area_length(memory: MemoryMap, zone: Zone, order: int) -> int:
    """Blocks met on walks of all the free lists of an order."""
    area = zone.free_area[order]
    return sum(list_length(memory, area.free_list[kind], order) for kind in indices(area.free_list))


@invariant("B1", origin="__free_one_page(): VM_BUG_ON_PAGE(pfn & ((1 << order) - 1))")
def blocks_aligned(m: BuddyMachine) -> Clauses:
    """The head of a block of order o is a multiple of 2**o, free or held."""
    for page in indices(m.memory.mem_map):
        order = m.memory.mem_map[page].order
        if m.memory.mem_map[page].buddy:
            yield clause("a free block is aligned", page & ((1 << order) - 1) == 0, page)
        held = m.held[page]
        if held is not None:
            yield clause("a held block is aligned", page & ((1 << held) - 1) == 0, page)


@invariant("B2", origin="bad_range(), page_is_buddy(): page_zone_id()")
def blocks_in_zone(m: BuddyMachine) -> Clauses:
    """Every block lies in the zone."""
    memory = m.memory
    zone = m.zone
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        if memory.mem_map[page].buddy:
            inside = zone_spans_pfn(zone, page) and page + (1 << order) <= zone_end_pfn(zone)
            yield clause("a free block lies in the zone", inside, page)
        held = m.held[page]
        if held is not None:
            inside_held = zone_spans_pfn(zone, page) and page + (1 << held) <= zone_end_pfn(zone)
            yield clause("a held block lies in the zone", inside_held, page)


@invariant("B3", origin="(none in the kernel; CN page_group_ok on pKVM's allocator)")
def free_blocks_disjoint(m: BuddyMachine) -> Clauses:
    """No page is in two free blocks, whatever their orders."""
    for page in indices(m.memory.mem_map):
        yield clause("a page is in at most one free block", free_blocks_with(m.memory, m.zone, page) <= 1, page)


@invariant("B4", origin="(the allocator's purpose: no double allocation)")
def pages_exclusive(m: BuddyMachine) -> Clauses:
    """Each page of the zone is in exactly one block, free or held; frames outside are in none."""
    for page in indices(m.memory.mem_map):
        owners = free_blocks_with(m.memory, m.zone, page) + held_blocks_with(m, page)
        if zone_spans_pfn(m.zone, page):
            yield clause("a page is not in two blocks", owners <= 1, page)
            yield clause("a page is not lost", owners >= 1, page)
        else:
            yield clause("a frame outside the zone is in no block", owners == 0, page)


@invariant("B5", origin="managed_pages; crash kmem -f checks it in part")
def pages_conserved(m: BuddyMachine) -> Clauses:
    """Free pages and held pages add up to the zone's pages."""
    free = sum(1 << m.memory.mem_map[page].order for page in indices(m.memory.mem_map) if m.memory.mem_map[page].buddy)
    held = sum(
        1 << order for page in indices(m.held) for order in indices(m.zone.free_area) if m.held[page] == order
    )
    yield clause("free and held pages add up to the zone", free + held == m.zone.spanned_pages)


@invariant("B6", origin="set_buddy_order(), del_page_from_free_list(): __ClearPageBuddy")
def flag_means_listed(m: BuddyMachine) -> Clauses:
    """A page is PageBuddy of order o exactly when it is on free_list[o], and it is there once."""
    memory = m.memory
    zone = m.zone
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        next = memory.mem_map[page].next
        prev = memory.mem_map[page].prev
        if memory.mem_map[page].buddy:
            if next is not None:
                yield clause("a free block's successor is on the same list", is_free_block(memory, next, order), page)
            if prev is not None:
                yield clause("a free block's predecessor is on the same list", is_free_block(memory, prev, order), page)
        else:
            yield clause("a page that is not PageBuddy is linked nowhere", next is None and prev is None, page)
    for order in indices(zone.free_area):
        for kind in indices(zone.free_area[order].free_list):
            first = zone.free_area[order].free_list[kind].first
            if first is not None:
                begins = is_free_block(memory, first, order)
                yield clause("a free list begins with a free block of its order", begins, order)
            last = zone.free_area[order].free_list[kind].last
            if last is not None:
                ends = is_free_block(memory, last, order)
                yield clause("a free list ends with a free block of its order", ends, order)
        listed = area_length(memory, zone, order)
        yield clause("every free block is on the list", listed >= free_block_count(m.memory, order), order)


@invariant("B7", origin="free_area[].nr_free in add_to_free_list(), del_page_from_free_list()")
def nr_free_counts(m: BuddyMachine) -> Clauses:
    """nr_free of each order is the length of its list."""
    for order in indices(m.zone.free_area):
        counted = m.zone.free_area[order].nr_free == area_length(m.memory, m.zone, order)
        yield clause("nr_free is the length of the list", counted, order)


@invariant("B8", origin="__mod_zone_freepage_state(NR_FREE_PAGES)")
def nr_free_pages_counts(m: BuddyMachine) -> Clauses:
    """NR_FREE_PAGES is the number of pages in free blocks."""
    free = sum(1 << m.memory.mem_map[page].order for page in indices(m.memory.mem_map) if m.memory.mem_map[page].buddy)
    yield clause("NR_FREE_PAGES counts the free pages", m.zone.nr_free_pages == free)


@invariant("B9", origin="__free_one_page() merge loop")
def coalesced(m: BuddyMachine) -> Clauses:
    """No two buddies of the same order below the top are both free."""
    memory = m.memory
    zone = m.zone
    for page in indices(memory.mem_map):
        order = memory.mem_map[page].order
        if memory.mem_map[page].buddy and order < len(zone.free_area) - 1:
            buddy = find_buddy_pfn(page, order)
            split = not zone_spans_pfn(zone, buddy) or not is_free_block(memory, buddy, order)
            yield clause("a free block has no free buddy of its order", split, page)


@invariant("B10", origin="__free_one_page(), expand(): only heads carry PageBuddy")
def tails_unmarked(m: BuddyMachine) -> Clauses:
    """Inside a free or held block no page but the head of a free one is PageBuddy."""
    memory = m.memory
    zone = m.zone
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            outside = not inside_free_block(memory, zone, page)
            yield clause("a PageBuddy page is not inside a larger free block", outside, page)
            yield clause("a PageBuddy page is not inside a held block", held_blocks_with(m, page) == 0, page)


def inside_free_block(memory: MemoryMap, zone: Zone, page: int) -> bool:
    """Whether a page lies in a free block that starts before it."""
    return any(
        is_free_block(memory, head_at(page, order), order)
        for order in indices(zone.free_area)
        if head_at(page, order) != page
    )


@invariant("B12", origin="lib/list_debug.c: __list_add_valid(), __list_del_entry_valid()")
def lists_linked(m: BuddyMachine) -> Clauses:
    """Free lists are linked both ways, acyclic, with proper ends, and every free head is reachable."""
    memory = m.memory
    zone = m.zone
    for page in indices(memory.mem_map):
        if memory.mem_map[page].buddy:
            order = memory.mem_map[page].order
            next = memory.mem_map[page].next
            prev = memory.mem_map[page].prev
            if order < len(zone.free_area):
                if next is None:
                    yield clause("a block without successor is the last", is_last(zone, page, order), page)
                if prev is None:
                    yield clause("a block without predecessor is the first", is_first(zone, page, order), page)
            if next is not None:
                yield clause("the successor points back", memory.mem_map[next].prev == page, page)
            if prev is not None:
                yield clause("the predecessor points forward", memory.mem_map[prev].next == page, page)
    for order in indices(zone.free_area):
        for kind in indices(zone.free_area[order].free_list):
            free_list = zone.free_area[order].free_list[kind]
            first = free_list.first
            last = free_list.last
            yield clause("a list has both ends or none", (first is None) == (last is None), order)
            if first is not None:
                yield clause("the first block has no predecessor", memory.mem_map[first].prev is None, order)
            if last is not None:
                yield clause("the last block has no successor", memory.mem_map[last].next is None, order)
            acyclic = list_length(memory, free_list, order) <= len(memory.mem_map) >> order
            yield clause("the list is acyclic", acyclic, order)


def is_first(zone: Zone, page: int, order: int) -> bool:
    """Whether some list of the order begins with the page."""
    area = zone.free_area[order]
    return any(area.free_list[kind].first == page for kind in indices(area.free_list))


def is_last(zone: Zone, page: int, order: int) -> bool:
    """Whether some list of the order ends with the page."""
    area = zone.free_area[order]
    return any(area.free_list[kind].last == page for kind in indices(area.free_list))


@invariant("B13", origin="__free_one_page(): while (order < MAX_ORDER - 1)")
def order_below_max(m: BuddyMachine) -> Clauses:
    """A free block's order is below MAX_ORDER."""
    for page in indices(m.memory.mem_map):
        if m.memory.mem_map[page].buddy:
            yield clause("order < MAX_ORDER", m.memory.mem_map[page].order < len(m.zone.free_area), page)


@invariant("B18", origin="page_expected_state(), prep_new_page(): set_page_refcounted()")
def reference_counts(m: BuddyMachine) -> Clauses:
    """A held block's head has one reference; every other page has none."""
    for page in indices(m.memory.mem_map):
        if m.held[page] is not None:
            yield clause("a held block has one reference", m.memory.mem_map[page].refcount == 1, page)
        else:
            yield clause("a page that is not a held head has no reference", m.memory.mem_map[page].refcount == 0, page)


@step_property("B19", action=alloc_pages, origin="get_page_from_freelist(): the page it returns")
def block_as_asked(before: BuddyMachine, after: BuddyMachine, order: Order, result: Page | None) -> Clauses:
    """The block returned was free as a whole, is aligned and in the zone, and no live block is touched."""
    if result is not None:
        yield clause("the block is aligned", result & ((1 << order) - 1) == 0, result)
        lies_inside = zone_spans_pfn(after.zone, result) and result + (1 << order) <= zone_end_pfn(after.zone)
        yield clause("the block lies in the zone", lies_inside, result)
        for offset in range(1 << order):
            page = result + offset
            was_free = free_blocks_with(before.memory, before.zone, page) == 1
            yield clause("every page of the block was free", was_free, page)
            is_taken = free_blocks_with(after.memory, after.zone, page) == 0
            yield clause("no page of the block stays free", is_taken, page)
    for other in indices(before.held):
        if result is None or other != result:
            yield clause("no other block is touched", after.held[other] == before.held[other], other)
        else:
            yield clause("the block was not held", before.held[other] is None, other)


@step_property("B20", action=alloc_pages, origin="__rmqueue_smallest(), expand()")
def smallest_order_is_split(before: BuddyMachine, after: BuddyMachine, order: Order, result: Page | None) -> Clauses:
    """The first block of the smallest sufficient order is taken; its split adds one block of each order between."""
    found = False
    for current in indices(before.zone.free_area):
        was = before.zone.free_area[current].nr_free
        now = after.zone.free_area[current].nr_free
        if current < order or result is None or found:
            yield clause("a list that is not needed keeps its blocks", now == was, current)
        elif before.zone.free_area[current].free_list[MIGRATE_UNMOVABLE].first is None:
            yield clause("an order that is skipped gets one half", current_gains(was, now), current)
        else:
            found = True
            first = before.zone.free_area[current].free_list[MIGRATE_UNMOVABLE].first
            yield clause("the first block is taken", first == result, current)
            yield clause("one block leaves the list that is split", now + 1 == was, current)


def current_gains(was: int, now: int) -> bool:
    """Whether a list got exactly one block more."""
    return now == was + 1


@step_property("B21", action=alloc_pages, origin="__rmqueue_smallest(); Appel and Naumann's resource awareness")
def request_succeeds_if_possible(
    before: BuddyMachine, after: BuddyMachine, order: Order, result: Page | None
) -> Clauses:
    """An allocation succeeds exactly when a free block of sufficient order exists."""
    possible = any(
        before.memory.mem_map[page].buddy and before.memory.mem_map[page].order >= order
        for page in indices(before.memory.mem_map)
    )
    yield clause("a request that can be met is met", not possible or result is not None, order)
    yield clause("a request that cannot be met fails", possible or result is None, order)


@step_property("B23", action=free_pages, origin="__free_pages(): e320d3012d25, 462a8e08e0e6")
def freed_once_and_whole(before: BuddyMachine, after: BuddyMachine, page: Page) -> Clauses:
    """Only a live block is freed, all of its pages become free, and no other block is touched."""
    yield clause("the freed block was live", before.held[page] is not None, page)
    yield clause("the freed block is not live any more", after.held[page] is None, page)
    for other in indices(before.held):
        if other != page:
            yield clause("no other block is touched", after.held[other] == before.held[other], other)
    order = before.held[page]
    if order is not None:
        for offset in range(1 << order):
            is_free = free_blocks_with(after.memory, after.zone, page + offset) == 1
            yield clause("no page of the block is orphaned", is_free, page)


# --- refinement: the buddy allocator is a set of disjoint blocks


def live_blocks(concrete: BuddyMachine, abstract: Blocks) -> None:
    """The live blocks are what the clients hold."""
    for page in indices(concrete.held):
        abstract.block[page] = concrete.held[page]


def allocate_or_refuse(abstract: Blocks, order: Order, result: Page | None) -> None:
    """alloc_pages takes a block where nothing is live, or fails when no aligned run is free."""
    if result is not None:
        allocate(abstract, result, order)
    else:
        refuse(abstract, order)


SPEC = Spec(
    name="buddy",
    state=BuddyMachine,
    init=memblock_free_all,
    actions=(alloc_pages, free_pages),
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
        lists_linked,
        order_below_max,
        reference_counts,
        block_as_asked,
        smallest_order_is_split,
        request_succeeds_if_possible,
        freed_once_and_whole,
    ),
    parameters=(
        *ZONE_PARAMETERS,
        Parameter("long", 8, "the bits of the kernel's unsigned long, in which counters wrap", least=1, most=64),
    ),
    derived=ONE_TYPE,
    requirements=(
        *REQUIREMENTS,
        Requirement(
            lambda sizes: sizes["pages"] < 1 << sizes["long"], "a counter must hold all pages: pages < 2**long"
        ),
    ),
    scopes={
        "odd": {"pages": 6},
        "unaligned": {"pages": 9, "start": 3},
        "large": {"pages": 1024, "orders": 11, "long": 63},
    },
    explored=("odd", "unaligned"),
    refinement=Refinement(
        "R-blocks",
        BLOCKS,
        live_blocks,
        {alloc_pages: allocate_or_refuse, free_pages: release},
        origin="mm/page_alloc.c as its callers see it",
    ),
    deadlock_free=True,
    doc=__doc__,
    flows={"alloc": (alloc_pages,), "free": (free_pages,)},
)
