"""The buddy allocator of one zone: free lists per order and type, splitting and merging (Linux 6.1, mm/page_alloc.c).

Functions have the kernel's names and the kernel's order of steps. Watermarks, pcp lists, fallback between migrate
types and the choice of a zone stand above it, in page_alloc.py. What is left out: compaction capture and guard pages.
Frames outside the zone have a `struct page` too, as in the kernel, where mem_map covers whole aligned blocks: a buddy
outside the zone is looked at and turned down, not out of bounds.
"""

from __future__ import annotations

from typing import Annotated

from .lang import (
    GHOST,
    Array,
    FromScope,
    Machine,
    Range,
    Record,
    Sort,
    action,
    bounded,
    indices,
    require,
)

Page = Annotated[int, Sort("page", "frames")]
Order = Annotated[int, Sort("order", "orders")]
MigrateType = Annotated[int, Sort("migratetype", "migratetypes")]
Pageblock = Annotated[int, Sort("pageblock", "pageblocks")]
PcpSlot = Annotated[int, Sort("pcp_list", "pcp_slots", of=("cpu", "pindex"))]
UnsignedLong = Annotated[int, Machine("long")]

# enum migratetype (include/linux/mmzone.h); a scope with n migrate types has the first n
MIGRATE_UNMOVABLE = 0
MIGRATE_MOVABLE = 1
MIGRATE_RECLAIMABLE = 2
MIGRATE_PCPTYPES = 3  # the number of types on the pcp lists
MIGRATE_HIGHATOMIC = 3
MIGRATE_CMA = 4
MIGRATE_ISOLATE = 5


class PageStruct(Record):
    """struct page: what the page allocator keeps in it."""

    buddy: bool  # PageBuddy: the head of a free block
    order: Annotated[int, Range(0, "orders")]  # page_private, buddy_order(); wide enough to hold MAX_ORDER itself
    next: Page | None  # buddy_list.next
    prev: Page | None  # buddy_list.prev
    refcount: Annotated[int, Range(0, "references")]  # _refcount
    compound: Order | None  # PageHead, and compound_order() of page[1]; page_alloc.py uses it and what follows
    migratetype: MigrateType  # page->index while the allocator has the page: get_pcppage_migratetype()
    movable: bool  # PageLRU or __PageMovable: in use, and could be migrated
    listed: Annotated[MigrateType, GHOST]  # the type whose free list a free block is on
    pcp_list: Annotated[PcpSlot | None, GHOST]  # the pcp list a page is on


class MemoryMap(Record):
    """mem_map, the struct pages of all frames, and the migrate type of each pageblock."""

    mem_map: Array[Page, PageStruct]
    pageblock_order: Annotated[int, FromScope("pageblock_order")]
    pageblock_flags: Array[Pageblock, MigrateType]


class FreeList(Record):
    """A list_head in a free_area: the free blocks of one order and one migrate type."""

    first: Page | None  # next
    last: Page | None  # prev


class FreeArea(Record):
    """struct free_area: the free blocks of one order."""

    free_list: Array[MigrateType, FreeList]
    nr_free: UnsignedLong


class Zone(Record):
    """struct zone. NR_FREE_PAGES and NR_FREE_CMA_PAGES of its vm_stat are kept in nr_free_pages, nr_free_cma_pages."""

    zone_start_pfn: Annotated[int, FromScope("start", "start1", "start2", "start3")]
    spanned_pages: Annotated[int, FromScope("pages", "pages1", "pages2", "pages3")]
    free_area: Array[Order, FreeArea]
    nr_free_pages: UnsignedLong
    nr_free_cma_pages: Annotated[int, Machine("cma_long")]


class BuddyMachine(Record):
    """One zone, and what its clients hold: the order of the block at each head page."""

    memory: MemoryMap
    zone: Zone
    held: Annotated[Array[Page, Order | None], GHOST]


# --- struct page and zone (include/linux/mm.h, mmzone.h)


def zone_end_pfn(zone: Zone) -> int:
    """The first frame after the zone (zone_end_pfn())."""
    return zone.zone_start_pfn + zone.spanned_pages


def zone_spans_pfn(zone: Zone, page: int) -> bool:
    """Whether a frame belongs to the zone (zone_spans_pfn(), and page_zone_id() of its struct page)."""
    return zone.zone_start_pfn <= page and page < zone_end_pfn(zone)


def set_buddy_order(memory: MemoryMap, page: int, order: int) -> None:
    """Mark the head of a free block (set_buddy_order(); set_page_order() before 5.10)."""
    memory.mem_map[page].order = order
    memory.mem_map[page].buddy = True


def bad_range(zone: Zone, page: int) -> bool:
    """Whether a page lies outside its zone (bad_range())."""
    return not zone_spans_pfn(zone, page)


# --- pageblocks and migrate types (include/linux/mmzone.h, page-isolation.h)


def get_pageblock_migratetype(memory: MemoryMap, page: int) -> int:
    """The migrate type of the pageblock around a page (get_pageblock_migratetype())."""
    return memory.pageblock_flags[page >> memory.pageblock_order]


def set_pageblock_migratetype(memory: MemoryMap, page: int, migratetype: int) -> None:
    """Change the migrate type of the pageblock around a page (set_pageblock_migratetype())."""
    memory.pageblock_flags[page >> memory.pageblock_order] = migratetype


def pageblock_nr_pages(memory: MemoryMap) -> int:
    """The pages of a pageblock (pageblock_nr_pages)."""
    return 1 << memory.pageblock_order


def get_pcppage_migratetype(memory: MemoryMap, page: int) -> int:
    """The type noted for a page on its way between free lists, pcp lists and clients (get_pcppage_migratetype())."""
    return memory.mem_map[page].migratetype


def set_pcppage_migratetype(memory: MemoryMap, page: int, migratetype: int) -> None:
    """Note a page's type in page->index (set_pcppage_migratetype())."""
    memory.mem_map[page].migratetype = migratetype


def is_migrate_isolate(migratetype: int) -> bool:
    """Whether pages of this type are out of the allocator's reach (is_migrate_isolate())."""
    return migratetype == MIGRATE_ISOLATE


def is_migrate_cma(migratetype: int) -> bool:
    """Whether the type is that of the contiguous memory allocator (is_migrate_cma())."""
    return migratetype == MIGRATE_CMA


def migratetype_is_mergeable(migratetype: int) -> bool:
    """Whether blocks of this type may merge with other types above a pageblock (migratetype_is_mergeable())."""
    return migratetype < MIGRATE_PCPTYPES


def mod_zone_freepage_state(zone: Zone, nr_pages: int, migratetype: int) -> None:
    """Count free pages (__mod_zone_freepage_state())."""
    zone.nr_free_pages += nr_pages
    if is_migrate_cma(migratetype):
        zone.nr_free_cma_pages += nr_pages


# --- free lists (mm/page_alloc.c; list_add() and list_del() of include/linux/list.h)


def list_add(memory: MemoryMap, free_list: FreeList, page: int) -> None:
    """Link a page in at the head of a list (list_add())."""
    head = free_list.first
    memory.mem_map[page].next = head
    memory.mem_map[page].prev = None
    if head is None:
        free_list.last = page
    else:
        memory.mem_map[head].prev = page
    free_list.first = page


def list_add_tail(memory: MemoryMap, free_list: FreeList, page: int) -> None:
    """Link a page in at the tail of a list (list_add_tail())."""
    tail = free_list.last
    memory.mem_map[page].prev = tail
    memory.mem_map[page].next = None
    if tail is None:
        free_list.first = page
    else:
        memory.mem_map[tail].next = page
    free_list.last = page


def list_del(memory: MemoryMap, free_list: FreeList, page: int) -> None:
    """Unlink a page from the list it is on (list_del(), with its poisoned links as None)."""
    next = memory.mem_map[page].next
    prev = memory.mem_map[page].prev
    if prev is None:
        free_list.first = next
    else:
        memory.mem_map[prev].next = next
    if next is None:
        free_list.last = prev
    else:
        memory.mem_map[next].prev = prev
    memory.mem_map[page].next = None
    memory.mem_map[page].prev = None


def list_of(memory: MemoryMap, area: FreeArea, page: int) -> int:
    """The migrate type whose list a free block is on.

    The kernel's lists are rings through their heads, so it need not know. Ours end in None: a block at an end is
    found among the ends; for one inside any list will do, as only its neighbours change."""
    for migratetype in indices(area.free_list):
        if area.free_list[migratetype].first == page or area.free_list[migratetype].last == page:
            return migratetype
    return 0


def add_to_free_list(memory: MemoryMap, zone: Zone, page: int, order: int, migratetype: int) -> None:
    """Put a block at the head of its free list (add_to_free_list())."""
    area = zone.free_area[order]
    list_add(memory, area.free_list[migratetype], page)
    memory.mem_map[page].listed = migratetype
    area.nr_free += 1


def add_to_free_list_tail(memory: MemoryMap, zone: Zone, page: int, order: int, migratetype: int) -> None:
    """Put a block at the tail of its free list (add_to_free_list_tail())."""
    area = zone.free_area[order]
    list_add_tail(memory, area.free_list[migratetype], page)
    memory.mem_map[page].listed = migratetype
    area.nr_free += 1


def move_to_free_list(memory: MemoryMap, zone: Zone, page: int, order: int, migratetype: int) -> None:
    """Move a free block to the tail of another type's list of the same order (move_to_free_list())."""
    area = zone.free_area[order]
    list_del(memory, area.free_list[list_of(memory, area, page)], page)
    list_add_tail(memory, area.free_list[migratetype], page)
    memory.mem_map[page].listed = migratetype


def del_page_from_free_list(memory: MemoryMap, zone: Zone, page: int, order: int) -> None:
    """Take a block out of its free list and out of the buddy system (del_page_from_free_list())."""
    area = zone.free_area[order]
    list_del(memory, area.free_list[list_of(memory, area, page)], page)
    memory.mem_map[page].buddy = False
    memory.mem_map[page].order = 0
    memory.mem_map[page].listed = 0
    area.nr_free -= 1


def get_page_from_free_area(area: FreeArea, migratetype: int) -> Page | None:
    """The first block of a list (get_page_from_free_area())."""
    return area.free_list[migratetype].first


# --- freeing (mm/page_alloc.c)


def find_buddy_pfn(page: int, order: int) -> int:
    """The frame of a block's buddy (__find_buddy_pfn())."""
    return page ^ (1 << order)


def page_is_buddy(memory: MemoryMap, zone: Zone, buddy: int, order: int) -> bool:
    """Whether a block may be merged with: in the zone, free, of the same order (page_is_buddy())."""
    if not zone_spans_pfn(zone, buddy):
        return False
    if not memory.mem_map[buddy].buddy:
        return False
    if memory.mem_map[buddy].order != order:
        return False
    assert memory.mem_map[buddy].refcount == 0, "page_is_buddy: page_count(buddy) != 0"
    return True


def buddy_merge_likely(memory: MemoryMap, zone: Zone, page: int, buddy_pfn: int, order: int) -> bool:
    """Whether the next higher buddy is free, so that this block had better stay free (buddy_merge_likely())."""
    if order >= len(zone.free_area) - 2:
        return False
    higher_page = buddy_pfn & page
    return page_is_buddy(memory, zone, find_buddy_pfn(higher_page, order + 1), order + 1)


def may_merge_types(memory: MemoryMap, buddy: int, migratetype: int) -> bool:
    """Whether a block may merge across the border of a pageblock: not if one side must keep its type apart."""
    buddy_migratetype = get_pageblock_migratetype(memory, buddy)
    return migratetype == buddy_migratetype or (
        migratetype_is_mergeable(migratetype) and migratetype_is_mergeable(buddy_migratetype)
    )


@bounded("orders")
def free_one_page(memory: MemoryMap, zone: Zone, page: int, order: int, migratetype: int, to_tail: bool) -> None:
    """Give a block back and merge it with its buddies as far as possible (__free_one_page())."""
    if not is_migrate_isolate(migratetype):
        mod_zone_freepage_state(zone, 1 << order, migratetype)
    assert page & ((1 << order) - 1) == 0, "__free_one_page: block is not aligned"
    assert not bad_range(zone, page), "__free_one_page: bad_range()"
    buddy_pfn = page
    while order < len(zone.free_area) - 1:
        buddy_pfn = find_buddy_pfn(page, order)
        if not page_is_buddy(memory, zone, buddy_pfn, order):
            break
        if order >= memory.pageblock_order and not may_merge_types(memory, buddy_pfn, migratetype):
            break
        del_page_from_free_list(memory, zone, buddy_pfn, order)
        page = buddy_pfn & page
        order += 1
    set_buddy_order(memory, page, order)
    if to_tail or buddy_merge_likely(memory, zone, page, buddy_pfn, order):
        add_to_free_list_tail(memory, zone, page, order, migratetype)
    else:
        add_to_free_list(memory, zone, page, order, migratetype)


# --- allocating (mm/page_alloc.c)


@bounded("orders")
def expand(memory: MemoryMap, zone: Zone, page: int, low: int, high: int, migratetype: int) -> None:
    """Give back the upper halves of a block of order `high` until `low` is left (expand())."""
    while high > low:
        high -= 1
        add_to_free_list(memory, zone, page + (1 << high), high, migratetype)
        set_buddy_order(memory, page + (1 << high), high)


def rmqueue_smallest(memory: MemoryMap, zone: Zone, order: int, migratetype: int) -> Page | None:
    """Take the first block of the smallest order that is large enough, and split it (__rmqueue_smallest())."""
    for current_order in range(order, len(zone.free_area)):
        page = get_page_from_free_area(zone.free_area[current_order], migratetype)
        if page is None:
            continue
        del_page_from_free_list(memory, zone, page, current_order)
        expand(memory, zone, page, order, current_order, migratetype)
        set_pcppage_migratetype(memory, page, migratetype)
        return page
    return None


def check_new_pages(memory: MemoryMap, page: int, order: int) -> None:
    """No page of a block that was free is marked as anything else (check_new_pages())."""
    for offset in range(1 << order):
        assert not memory.mem_map[page + offset].buddy, "check_new_page: PageBuddy is set"
        assert memory.mem_map[page + offset].refcount == 0, "check_new_page: page has references"


def set_page_refcounted(memory: MemoryMap, page: int) -> None:
    """The first reference to a page (set_page_refcounted())."""
    memory.mem_map[page].refcount = 1


# --- moving free blocks to another migrate type (mm/page_alloc.c)


@bounded("pageblock_pages")
def move_freepages(memory: MemoryMap, zone: Zone, start_pfn: int, end_pfn: int, migratetype: int) -> int:
    """Move the free blocks from start_pfn to end_pfn to the tails of another type's lists (move_freepages());
    gives the number of their pages."""
    pages_moved = 0
    page = start_pfn
    while page <= end_pfn:
        if not memory.mem_map[page].buddy:
            page += 1
            continue
        assert zone_spans_pfn(zone, page), "move_freepages: page_zone(page) != zone"
        order = memory.mem_map[page].order
        move_to_free_list(memory, zone, page, order, migratetype)
        page += 1 << order
        pages_moved += 1 << order
    return pages_moved


def move_freepages_block(memory: MemoryMap, zone: Zone, page: int, migratetype: int) -> int:
    """Move the free blocks of the pageblock around a page to another type's lists (move_freepages_block())."""
    start_pfn = page & ~(pageblock_nr_pages(memory) - 1)
    end_pfn = start_pfn + pageblock_nr_pages(memory) - 1
    if not zone_spans_pfn(zone, start_pfn):
        start_pfn = page
    if not zone_spans_pfn(zone, end_pfn):
        return 0
    return move_freepages(memory, zone, start_pfn, end_pfn, migratetype)


# --- the machine


def memblock_free_all(m: BuddyMachine) -> None:
    """Boot: hand all memory to the buddy system (memblock_free_all())."""
    free_core_memory(m.memory, m.zone)


@bounded("zone_pages")
def free_core_memory(memory: MemoryMap, zone: Zone) -> None:
    """Hand a zone's memory to the buddy system in the largest aligned blocks (__free_memory_core(), 6.1)."""
    start = zone.zone_start_pfn
    end = zone_end_pfn(zone)
    while start < end:
        order = largest_aligned_order(zone, start, end)
        free_one_page(memory, zone, start, order, get_pageblock_migratetype(memory, start), True)
        start += 1 << order


@bounded("orders")
def largest_aligned_order(zone: Zone, start: int, end: int) -> int:
    """min(MAX_ORDER - 1, __ffs(start)), lowered until the block ends in the zone."""
    order = len(zone.free_area) - 1
    while start & ((1 << order) - 1) != 0 or start + (1 << order) > end:
        order -= 1
    return order


@action
def alloc_pages(m: BuddyMachine, order: Order) -> Page | None:
    """Any client asks for 2**order contiguous pages (alloc_pages(), without watermarks and pcp lists)."""
    page = rmqueue_smallest(m.memory, m.zone, order, MIGRATE_UNMOVABLE)
    if page is not None:
        mod_zone_freepage_state(m.zone, -(1 << order), get_pcppage_migratetype(m.memory, page))
        check_new_pages(m.memory, page, order)
        set_page_refcounted(m.memory, page)
        m.held[page] = order
    return page


@action
def free_pages(m: BuddyMachine, page: Page) -> None:
    """The client of a block gives it back (__free_pages() of a page with one reference)."""
    order = m.held[page]
    require(order is not None)
    assert order is not None
    m.held[page] = None
    assert m.memory.mem_map[page].refcount == 1, "put_page_testzero: page has no reference"
    m.memory.mem_map[page].refcount = 0
    free_one_page(m.memory, m.zone, page, order, get_pageblock_migratetype(m.memory, page), False)
