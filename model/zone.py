"""The page allocator with its clients: who holds what, and the requests they make (model/page_alloc.py).

The one idea: a client does what callers of mm/page_alloc.c may do, and a ghost keeps what should be true of its pages
meanwhile, so that nothing is believed that the allocator says of itself.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import (
    Order,
    Page,
    Pageblock,
    is_migrate_cma,
    is_migrate_isolate,
    zone_end_pfn,
)
from .gfp import __GFP_COMP
from .lang import GHOST, Array, FromScope, Range, Record, Sort, action, indices, require
from .page_alloc import (
    PageAllocator,
    ZoneId,
    boot,
    drain_pages,
    page_zone,
    start_isolate_page_range,
    unset_migratetype_isolate,
    zone_set_pageset_high_and_batch,
)
from .page_alloc import free_pages as kernel_free_pages
from .page_alloc import get_page_unless_zero as kernel_get_page_unless_zero
from .page_alloc import put_page as kernel_put_page
from .page_alloc import put_page_back_buddy as kernel_put_page_back_buddy
from .page_alloc import take_page_off_buddy as kernel_take_page_off_buddy
from .slowpath import Cpu, Node
from .slowpath import alloc_pages as kernel_alloc_pages

Request = Annotated[int, Sort("request", "requests")]
High = Annotated[int, Range(0, "pcp_high")]
Batch = Annotated[int, Range(1, "pcp_batch")]


class Block(Record):
    """What the world knows of the block that starts at a page."""

    order: Order | None  # None: no block that somebody refers to starts here
    owned: bool  # who allocated it has not freed it
    compound: bool  # it was asked for as one page, and ends as one
    getters: Annotated[int, Range(0, "references")]  # speculative references to its head
    poisoned: bool  # taken off by memory failure


class ZoneMachine(Record):
    """The page allocator, and what is held of it."""

    pages: PageAllocator
    block: Annotated[Array[Page, Block], GHOST]
    requests: Annotated[int, FromScope("requests")]
    highatomic: Annotated[int, FromScope("highatomic")]  # whether any request may use the highatomic reserve
    gfp: Annotated[int, FromScope("gfp")]
    gfp1: Annotated[int, FromScope("gfp1")]
    gfp2: Annotated[int, FromScope("gfp2")]
    gfp3: Annotated[int, FromScope("gfp3")]
    tasks: Annotated[int, FromScope("tasks")]
    resize: Annotated[int, FromScope("resize")]
    failures: Annotated[int, FromScope("failures")]
    drains: Annotated[int, FromScope("drains")]
    kswapd: Annotated[int, FromScope("watch_kswapd")]


def boot_machine(m: ZoneMachine) -> None:
    """Boot: all memory is free."""
    boot(m.pages)


def gfp_of(m: ZoneMachine, request: int) -> int:
    """The flags of a kind of request: the scope names four."""
    if request == 0:
        return m.gfp
    if request == 1:
        return m.gfp1
    if request == 2:
        return m.gfp2
    return m.gfp3


# --- allocating and freeing


@action
def alloc_pages(m: ZoneMachine, cpu: Cpu, nid: Node, request: Request, order: Order) -> Page | None:
    """A client asks for 2**order contiguous pages near a node (__alloc_pages())."""
    gfp = gfp_of(m, request)
    page = kernel_alloc_pages(m.pages, cpu, nid, gfp, order)
    if page is not None:
        m.block[page].order = order
        m.block[page].owned = True
        m.block[page].compound = order > 0 and gfp & __GFP_COMP != 0
    return page


def forget_block(m: ZoneMachine, page: int) -> None:
    """Nobody refers to a block any more."""
    m.block[page].order = None
    m.block[page].owned = False
    m.block[page].compound = False


@action
def free_pages(m: ZoneMachine, cpu: Cpu, page: Page) -> Order | None:
    """The client of a block gives it back (__free_pages()); the result is what is left of it for others, who took
    references: all of a compound page, the head of any other block."""
    order = m.block[page].order
    require(m.block[page].owned)
    assert order is not None
    m.block[page].owned = False
    if m.block[page].getters == 0:
        forget_block(m, page)
    elif not m.block[page].compound:
        m.block[page].order = 0
    kernel_free_pages(m.pages, cpu, page, order)
    return m.block[page].order


@action
def get_page_unless_zero(m: ZoneMachine, page: Page) -> None:
    """Anybody takes a speculative reference to a page in use (get_page_unless_zero())."""
    require(m.pages.references > 1)
    require(m.block[page].getters + (1 if m.block[page].owned else 0) < m.pages.references)
    require(not m.block[page].poisoned)
    taken = kernel_get_page_unless_zero(m.pages.memory, page)
    require(taken)
    m.block[page].getters += 1


@action
def put_page(m: ZoneMachine, cpu: Cpu, page: Page) -> Order | None:
    """A speculative reference is dropped (put_page()); the result is what is left of the block."""
    require(m.block[page].getters > 0)
    m.block[page].getters -= 1
    if m.block[page].getters == 0 and not m.block[page].owned:
        forget_block(m, page)
    kernel_put_page(m.pages, cpu, page)
    return m.block[page].order


# --- what else happens to a zone


@action
def drain_local_pages(m: ZoneMachine, cpu: Cpu) -> None:
    """A CPU gives its lists back (drain_local_pages())."""
    require(m.drains != 0)
    drain_pages(m.pages, cpu)


@action
def resize_pcp_lists(m: ZoneMachine, z: ZoneId, high: High, batch: Batch) -> None:
    """The limits of a zone's pcp lists change (zone_pcp_update(), zone_pcp_disable() with high 0)."""
    require(m.resize != 0)
    require(high >= 2 * batch or (high == 0 and batch == 1))
    zone_set_pageset_high_and_batch(m.pages, z, high, batch)


def keeps_clear(page: int, order: Order | None, first: int, end: int) -> bool:
    """Whether the block at a page, if there is one, does not lie across the borders of a range."""
    if order is None:
        return True
    return (first <= page and page + (1 << order) <= end) or page >= end or page + (1 << order) <= first


def lies_in_a_zone(m: ZoneMachine, first: int, end: int) -> bool:
    """Whether a range of frames lies in one zone."""
    return any(
        m.pages.zone[z].zone_start_pfn <= first and end <= zone_end_pfn(m.pages.zone[z]) for z in indices(m.pages.zone)
    )


@action
def isolate_pageblock(m: ZoneMachine, block: Pageblock) -> bool:
    """Memory is to be offlined: a pageblock is isolated (start_isolate_page_range() of one pageblock)."""
    require(m.pages.isolation != 0)
    first = block << m.pages.memory.pageblock_order
    end = first + (1 << m.pages.memory.pageblock_order)
    require(lies_in_a_zone(m, first, end))
    require(not is_migrate_cma(m.pages.memory.pageblock_flags[block]))
    # 6.1 loses count when two ranges inside a block of the top order are isolated and given back one by one: free
    # pages of both merge, and the first one given back takes the other's along. So one at a time there.
    top = len(m.pages.zone[0].free_area) - 1 - m.pages.memory.pageblock_order
    require(
        all(
            not is_migrate_isolate(m.pages.memory.pageblock_flags[other])
            for other in indices(m.pages.memory.pageblock_flags)
            if other != block and other >> top == block >> top
        )
    )
    # alloc_contig_range() and offline_pages() migrate what lies across a border first, or fail.
    require(all(keeps_clear(page, m.block[page].order, first, end) for page in indices(m.block)))
    return start_isolate_page_range(m.pages, page_zone(m.pages, first), first)


@action
def unisolate_pageblock(m: ZoneMachine, block: Pageblock) -> None:
    """An isolated pageblock is put to use again (undo_isolate_page_range(): unset_migratetype_isolate())."""
    require(m.pages.isolation != 0)
    require(is_migrate_isolate(m.pages.memory.pageblock_flags[block]))
    first = block << m.pages.memory.pageblock_order
    unset_migratetype_isolate(m.pages, page_zone(m.pages, first), first, m.pages.isolation - 1)


@action
def take_page_off_buddy(m: ZoneMachine, page: Page) -> bool:
    """Memory failure hits a page, which is taken off if it is free (take_page_off_buddy())."""
    require(m.failures != 0)
    require(lies_in_a_zone(m, page, page + 1))
    taken = kernel_take_page_off_buddy(m.pages, page)
    if taken:
        m.block[page].poisoned = True
    return taken


@action
def put_page_back_buddy(m: ZoneMachine, page: Page) -> None:
    """A page is found to be in order after all (put_page_back_buddy())."""
    require(m.block[page].poisoned)
    m.block[page].poisoned = False
    kernel_put_page_back_buddy(m.pages, page)


@action
def kswapd_begins(m: ZoneMachine, node: Node) -> None:
    """kswapd of a node sets to work (balance_pgdat(): set_reclaim_active())."""
    require(m.kswapd != 0)
    require(m.pages.node[node].kswapd_order is not None)
    for z in indices(m.pages.zone):
        if m.pages.zone[z].node == node:
            m.pages.zone[z].reclaim_active = True


@action
def kswapd_ends(m: ZoneMachine, node: Node) -> None:
    """kswapd goes back to sleep; the boost of the watermarks ends (balance_pgdat(): clear_reclaim_active())."""
    require(m.kswapd != 0)
    require(m.pages.node[node].kswapd_order is not None)
    for z in indices(m.pages.zone):
        if m.pages.zone[z].node == node:
            m.pages.zone[z].reclaim_active = False
            m.pages.zone[z].watermark_boost = 0
    m.pages.node[node].kswapd_order = None
    m.pages.node[node].kswapd_highest_zoneidx = None


@action
def set_task(m: ZoneMachine, cpu: Cpu, memalloc: bool, oom_victim: bool) -> None:
    """Another task runs on a CPU: one that frees memory (PF_MEMALLOC), an OOM victim, or any other."""
    require(m.tasks != 0)
    m.pages.current[cpu].memalloc = memalloc
    m.pages.current[cpu].oom_victim = oom_victim
