"""The buddy allocator of one zone: free lists per order, splitting and merging (Linux 6.1, mm/page_alloc.c).

Functions have the kernel's names and the kernel's order of steps. What is left out: migrate types, pcp lists,
watermarks, compaction capture and guard pages. Frames outside the zone have a `struct page` too, as in the kernel,
where mem_map covers whole aligned blocks: a buddy outside the zone is looked at and turned down, not out of bounds.
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
    require,
)

Page = Annotated[int, Sort("page", "frames")]
Order = Annotated[int, Sort("order", "orders")]
UnsignedLong = Annotated[int, Machine("long")]


class PageStruct(Record):
    """struct page: what the buddy allocator keeps in it."""

    buddy: bool  # PageBuddy: the head of a free block
    order: Annotated[int, Range(0, "orders")]  # page_private, buddy_order(); wide enough to hold MAX_ORDER itself
    next: Page | None  # buddy_list.next
    prev: Page | None  # buddy_list.prev
    refcount: Annotated[int, Range(0, 1)]  # _refcount


class FreeArea(Record):
    """struct free_area: the free blocks of one order (of the one migrate type there is here)."""

    first: Page | None  # free_list.next
    last: Page | None  # free_list.prev
    nr_free: UnsignedLong


class Zone(Record):
    """struct zone. NR_FREE_PAGES is kept in nr_free_pages."""

    zone_start_pfn: Annotated[int, FromScope("start")]
    spanned_pages: Annotated[int, FromScope("pages")]
    mem_map: Array[Page, PageStruct]
    free_area: Array[Order, FreeArea]
    nr_free_pages: UnsignedLong


class BuddyMachine(Record):
    """One zone, and what its clients hold: the order of the block at each head page."""

    zone: Zone
    held: Annotated[Array[Page, Order | None], GHOST]


# --- struct page and zone (include/linux/mm.h, mmzone.h)


def zone_end_pfn(zone: Zone) -> int:
    """The first frame after the zone (zone_end_pfn())."""
    return zone.zone_start_pfn + zone.spanned_pages


def zone_spans_pfn(zone: Zone, page: int) -> bool:
    """Whether a frame belongs to the zone (zone_spans_pfn(), and page_zone_id() of its struct page)."""
    return zone.zone_start_pfn <= page and page < zone_end_pfn(zone)


def set_buddy_order(zone: Zone, page: int, order: int) -> None:
    """Mark the head of a free block (set_buddy_order(); set_page_order() before 5.10)."""
    zone.mem_map[page].order = order
    zone.mem_map[page].buddy = True


def bad_range(zone: Zone, page: int) -> bool:
    """Whether a page lies outside its zone (bad_range())."""
    return not zone_spans_pfn(zone, page)


# --- free lists (mm/page_alloc.c; list_add() and list_del() of include/linux/list.h)


def add_to_free_list(zone: Zone, page: int, order: int) -> None:
    """Put a block at the head of its free list (add_to_free_list())."""
    area = zone.free_area[order]
    head = area.first
    zone.mem_map[page].next = head
    zone.mem_map[page].prev = None
    if head is None:
        area.last = page
    else:
        zone.mem_map[head].prev = page
    area.first = page
    area.nr_free += 1


def add_to_free_list_tail(zone: Zone, page: int, order: int) -> None:
    """Put a block at the tail of its free list (add_to_free_list_tail())."""
    area = zone.free_area[order]
    tail = area.last
    zone.mem_map[page].prev = tail
    zone.mem_map[page].next = None
    if tail is None:
        area.first = page
    else:
        zone.mem_map[tail].next = page
    area.last = page
    area.nr_free += 1


def list_del(zone: Zone, page: int, order: int) -> None:
    """Unlink a block from the free list of its order (list_del(), with its poisoned links as None)."""
    area = zone.free_area[order]
    next = zone.mem_map[page].next
    prev = zone.mem_map[page].prev
    if prev is None:
        area.first = next
    else:
        zone.mem_map[prev].next = next
    if next is None:
        area.last = prev
    else:
        zone.mem_map[next].prev = prev
    zone.mem_map[page].next = None
    zone.mem_map[page].prev = None


def del_page_from_free_list(zone: Zone, page: int, order: int) -> None:
    """Take a block out of its free list and out of the buddy system (del_page_from_free_list())."""
    list_del(zone, page, order)
    zone.mem_map[page].buddy = False
    zone.mem_map[page].order = 0
    zone.free_area[order].nr_free -= 1


# --- freeing (mm/page_alloc.c)


def find_buddy_pfn(page: int, order: int) -> int:
    """The frame of a block's buddy (__find_buddy_pfn())."""
    return page ^ (1 << order)


def page_is_buddy(zone: Zone, buddy: int, order: int) -> bool:
    """Whether a block may be merged with: in the zone, free, of the same order (page_is_buddy())."""
    if not zone_spans_pfn(zone, buddy):
        return False
    if not zone.mem_map[buddy].buddy:
        return False
    if zone.mem_map[buddy].order != order:
        return False
    assert zone.mem_map[buddy].refcount == 0, "page_is_buddy: page_count(buddy) != 0"
    return True


def buddy_merge_likely(zone: Zone, page: int, buddy_pfn: int, order: int) -> bool:
    """Whether the next higher buddy is free, so that this block had better stay free (buddy_merge_likely())."""
    if order >= len(zone.free_area) - 2:
        return False
    higher_page = buddy_pfn & page
    return page_is_buddy(zone, find_buddy_pfn(higher_page, order + 1), order + 1)


@bounded("orders")
def free_one_page(zone: Zone, page: int, order: int, to_tail: bool) -> None:
    """Give a block back and merge it with its buddies as far as possible (__free_one_page())."""
    zone.nr_free_pages += 1 << order
    assert page & ((1 << order) - 1) == 0, "__free_one_page: block is not aligned"
    assert not bad_range(zone, page), "__free_one_page: bad_range()"
    buddy_pfn = page
    while order < len(zone.free_area) - 1:
        buddy_pfn = find_buddy_pfn(page, order)
        if not page_is_buddy(zone, buddy_pfn, order):
            break
        del_page_from_free_list(zone, buddy_pfn, order)
        page = buddy_pfn & page
        order += 1
    set_buddy_order(zone, page, order)
    if to_tail or buddy_merge_likely(zone, page, buddy_pfn, order):
        add_to_free_list_tail(zone, page, order)
    else:
        add_to_free_list(zone, page, order)


# --- allocating (mm/page_alloc.c)


@bounded("orders")
def expand(zone: Zone, page: int, low: int, high: int) -> None:
    """Give back the upper halves of a block of order `high` until `low` is left (expand())."""
    while high > low:
        high -= 1
        add_to_free_list(zone, page + (1 << high), high)
        set_buddy_order(zone, page + (1 << high), high)


def rmqueue_smallest(zone: Zone, order: int) -> Page | None:
    """Take the first block of the smallest order that is large enough, and split it (__rmqueue_smallest())."""
    for current_order in range(order, len(zone.free_area)):
        page = zone.free_area[current_order].first
        if page is None:
            continue
        del_page_from_free_list(zone, page, current_order)
        expand(zone, page, order, current_order)
        return page
    return None


def rmqueue(zone: Zone, order: int) -> Page | None:
    """Allocate from the buddy lists and count the pages (rmqueue_buddy())."""
    page = rmqueue_smallest(zone, order)
    if page is not None:
        zone.nr_free_pages -= 1 << order
    return page


def prep_new_page(zone: Zone, page: int) -> None:
    """Make a free block an allocated one (prep_new_page(): check_new_page(), set_page_refcounted())."""
    assert not zone.mem_map[page].buddy, "check_new_page: PageBuddy is set"
    assert zone.mem_map[page].refcount == 0, "set_page_refcounted: page has references"
    zone.mem_map[page].refcount = 1


# --- the machine


@bounded("pages")
def memblock_free_all(m: BuddyMachine) -> None:
    """Boot: hand all memory to the buddy system in the largest aligned blocks (__free_memory_core(), 6.1)."""
    zone = m.zone
    start = zone.zone_start_pfn
    end = zone_end_pfn(zone)
    while start < end:
        order = largest_aligned_order(zone, start, end)
        free_one_page(zone, start, order, True)
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
    page = rmqueue(m.zone, order)
    if page is not None:
        prep_new_page(m.zone, page)
        m.held[page] = order
    return page


@action
def free_pages(m: BuddyMachine, page: Page) -> None:
    """The client of a block gives it back (__free_pages() of a page with one reference)."""
    order = m.held[page]
    require(order is not None)
    assert order is not None
    m.held[page] = None
    assert m.zone.mem_map[page].refcount == 1, "put_page_testzero: page has no reference"
    m.zone.mem_map[page].refcount = 0
    free_one_page(m.zone, page, order, False)
