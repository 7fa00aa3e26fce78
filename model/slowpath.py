"""__alloc_pages() and its slow path, over any allocator (Linux 6.1, mm/page_alloc.c).

The one idea: what decides between trying, waking kswapd, reclaiming, retrying, killing and failing needs little of the
allocator below it, and asks that little by the methods of `PageSource`. And direct reclaim is where the slow path is
cut in two, so that reclaim can run as many small steps while others run: `slowpath_enter` goes as far as direct reclaim
and leaves the task in it (`Task.slow`), `slowpath_reclaimed` goes on from there, to a page, to failure, or to the next
turn's direct reclaim. Where an allocation is one atomic step both run in one loop, `alloc_pages_slowpath`.

What is left out: cpusets and nodemasks, compaction, memory cgroups, interrupts (PF_MEMALLOC is looked at alone), core
dumps, the lock of the OOM killer (nobody else holds it: it is let go within a step).
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Order, Page
from .gfp import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    ALLOC_CPUSET,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ZONE_NORMAL,
    gfp_compaction_allowed,
    gfp_to_alloc_flags,
    gfp_to_alloc_flags_cma,
    gfp_zone,
)
from .lang import Array, FromScope, Range, Record, Sort, bounded, choose, require

Node = Annotated[int, Sort("node", "nodes")]
Cpu = Annotated[int, Sort("cpu", "cpus")]
ZoneType = Annotated[int, Sort("zone_type", 4)]


class NodeData(Record):
    """pg_data_t: what kswapd of a node was asked for; None while nothing was asked."""

    kswapd_order: Order | None
    kswapd_highest_zoneidx: ZoneType | None


class Task(Record):
    """What the allocator reads of `current` on a CPU, and what __alloc_pages_slowpath() keeps on its stack while the
    task reclaims; without a slow path under way `slow`, `alloc_oom` and `no_progress_loops` are as at first."""

    memalloc: bool  # PF_MEMALLOC
    oom_victim: bool  # tsk_is_oom_victim()
    slow: bool  # in the slow path, in direct reclaim
    alloc_oom: bool  # ALLOC_OOM in alloc_flags of this turn
    no_progress_loops: Annotated[int, Range(0, "reclaim_retries")]


class PageSource(Record):
    """What __alloc_pages() needs: the tasks that ask, the nodes whose kswapd it wakes, and the questions that an
    allocator and a machine with reclaim answer."""

    node: Array[Node, NodeData]
    current: Array[Cpu, Task]
    max_order: Annotated[int, FromScope("orders")]  # MAX_ORDER
    costly_order: Annotated[int, FromScope("costly_order")]  # PAGE_ALLOC_COSTLY_ORDER
    reclaim_retries: Annotated[int, FromScope("reclaim_retries")]  # MAX_RECLAIM_RETRIES
    watch_kswapd: Annotated[int, FromScope("watch_kswapd")]  # whether requests to kswapd are recorded

    # the allocator

    def get_page_from_freelist(self, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int) -> Page | None:
        """Take a block from the first zone that has enough."""
        raise NotImplementedError

    def alloc_flags_nofragment(self, nid: int, gfp: int) -> int:
        """Further flags of the fast path."""
        return alloc_flags_kswapd(gfp)

    def wake_all_kswapds(self, nid: int, gfp: int, order: int) -> None:
        """Ask the kswapd of every node in the zonelist for pages."""
        raise NotImplementedError

    def watermark_ok_after_reclaim(self, nid: int, gfp: int, order: int, alloc_flags: int) -> bool:
        """Whether a zone would pass its lowest mark if all that is reclaimable were reclaimed."""
        raise NotImplementedError

    def unreserve_highatomic_pageblock(self, nid: int, gfp: int, force: bool) -> bool:
        """Give a pageblock of the highatomic reserve up, if there is one."""
        return False

    def drain_all_pages(self) -> None:
        """Give what CPUs keep on lists of their own back."""

    # reclaim

    def zone_reclaimable_pages(self, z: int) -> int:
        """The pages of a zone that reclaim could free (zone_reclaimable_pages())."""
        return 0

    def wake_up_kswapd(self, nid: int) -> None:
        """kswapd of a node was asked for something, and is to wake (wakeup_kswapd(): wake_up_interruptible())."""

    def try_to_free_pages(self, cpu: int, nid: int, gfp: int, order: int) -> int:
        """Direct reclaim in one atomic step: it reports progress or none, as the world outside decides."""
        return choose(range(2))

    def out_of_memory(self, cpu: int, gfp: int, order: int) -> bool:
        """Choose a task and kill it; whether there is one (out_of_memory()). Nobody is killed here."""
        return False

    # one step or many

    def alloc_pages_slowpath(self, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
        """The slow path in one atomic step; a machine that reclaims in steps begins it only: slowpath_enter()."""
        return alloc_pages_slowpath(self, cpu, nid, gfp, order)

    def cond_resched(self) -> None:
        """The slow path waits for others before it tries for ever again (cond_resched()). In one atomic step nobody
        else does anything: the step does not happen until it can. A machine that reclaims in steps lets others run."""
        require(False)


# --- nodes and watermarks (include/linux/topology.h, mm/page_alloc.c)


def cpu_to_node(pages: PageSource, cpu: int) -> int:
    """The node a CPU belongs to (cpu_to_node()): CPUs are dealt out to the nodes in turn."""
    return cpu % len(pages.node)


def numa_mem_id(pages: PageSource, cpu: int) -> int:
    """The node whose memory is nearest to a CPU (numa_mem_id())."""
    return cpu_to_node(pages, cpu)


def alloc_flags_kswapd(gfp: int) -> int:
    """Whether kswapd may be woken (alloc_flags_nofragment(): ALLOC_KSWAPD)."""
    return gfp & __GFP_KSWAPD_RECLAIM


def watermark_min(mark: int, alloc_flags: int) -> int:
    """The mark, lowered by the reserves a request may dip into (__zone_watermark_ok())."""
    low = mark
    if alloc_flags & ALLOC_RESERVES != 0:
        if alloc_flags & ALLOC_MIN_RESERVE != 0:
            low -= low // 2
            if alloc_flags & ALLOC_NON_BLOCK != 0:
                low -= low // 4
        if alloc_flags & ALLOC_OOM != 0:
            low -= low // 2
    return low


def wakeup_kswapd(pages: PageSource, nid: int, order: int, highest_zoneidx: int) -> None:
    """Tell the kswapd of a node what is wanted (mm/vmscan.c, wakeup_kswapd())."""
    if pages.watch_kswapd == 0:
        return
    node = pages.node[nid]
    current_zoneidx = node.kswapd_highest_zoneidx
    if current_zoneidx is None or current_zoneidx < highest_zoneidx:
        node.kswapd_highest_zoneidx = highest_zoneidx
    current_order = node.kswapd_order
    if current_order is None or current_order < order:
        node.kswapd_order = order
    pages.wake_up_kswapd(nid)


# --- the fast path


def alloc_pages(pages: PageSource, cpu: int, nid: int | None, gfp: int, order: int) -> Page | None:
    """Allocate 2**order contiguous pages, near a node if one is named (__alloc_pages()).

    Where reclaim runs in steps None means either that the request failed, or that its task is now in direct reclaim
    (`current[cpu].slow`), and slowpath_reclaimed() gives the page later."""
    if order >= pages.max_order:  # never true: no client here asks for MAX_ORDER or more
        return None
    preferred_nid: int = cpu_to_node(pages, cpu)
    if nid is not None:
        preferred_nid = nid
    alloc_flags = gfp_to_alloc_flags_cma(gfp, ALLOC_WMARK_LOW)
    alloc_flags |= pages.alloc_flags_nofragment(preferred_nid, gfp)
    page = pages.get_page_from_freelist(cpu, preferred_nid, gfp, order, alloc_flags)
    if page is not None:
        return page
    return pages.alloc_pages_slowpath(cpu, preferred_nid, gfp, order)


# --- the slow path


@bounded("slowpath_turns")
def alloc_pages_slowpath(pages: PageSource, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
    """What a request does when the fast path failed (__alloc_pages_slowpath()), in one atomic step.

    Reclaim reports progress at most once: what it freed others took."""
    pages.current[cpu].slow = False
    progressed = False
    page = slowpath_enter(pages, cpu, nid, gfp, order)
    while pages.current[cpu].slow:
        progress = 0
        if not progressed:
            progress = pages.try_to_free_pages(cpu, nid, gfp, order)
            progressed = progress != 0
        page = slowpath_reclaimed(pages, cpu, nid, gfp, order, progress)
    return page


def slowpath_enter(pages: PageSource, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
    """The slow path up to its first direct reclaim (__alloc_pages_slowpath(): `restart`).

    The kernel tries for compaction of costly orders here; it is skipped, so that those who do not retry give up."""
    gfp = slowpath_gfp(gfp)
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    if alloc_flags & ALLOC_KSWAPD != 0:
        pages.wake_all_kswapds(nid, gfp, order)
    page = pages.get_page_from_freelist(cpu, nid, gfp, order, alloc_flags)
    if page is not None:
        return page
    compact_first = gfp & __GFP_DIRECT_RECLAIM != 0 and gfp_compaction_allowed(gfp) and order > pages.costly_order
    if compact_first and gfp & __GFP_NORETRY != 0 and current_reserve_flags(pages, cpu, gfp) == 0:
        return slowpath_nopage(pages, cpu, nid, gfp, order, 0)
    return slowpath_retry(pages, cpu, nid, gfp, order, 0, False)


def slowpath_retry(
    pages: PageSource, cpu: int, nid: int, gfp: int, order: int, no_progress_loops: int, again: bool
) -> Page | None:
    """A turn of the slow path up to its direct reclaim (__alloc_pages_slowpath(): `retry`).

    The first turn's try without other rights than before is left out: nothing has happened since it failed."""
    reserve_flags = current_reserve_flags(pages, cpu, gfp)
    alloc_flags = slowpath_alloc_flags(gfp, order, reserve_flags)
    if alloc_flags & ALLOC_KSWAPD != 0:
        pages.wake_all_kswapds(nid, gfp, order)
    if reserve_flags != 0 or again:
        page = pages.get_page_from_freelist(cpu, nid, gfp, order, alloc_flags)
        if page is not None:
            return page
    if gfp & __GFP_DIRECT_RECLAIM == 0:
        return None
    if pages.current[cpu].memalloc:  # no recursion of direct reclaim
        if gfp & __GFP_NOFAIL == 0:
            return None
        page = pages.get_page_from_freelist(cpu, nid, gfp, order, ALLOC_MIN_RESERVE)
        require(page is not None)  # only others can help it
        return page
    begin_direct_reclaim(pages, cpu, no_progress_loops, alloc_flags)
    return None


def begin_direct_reclaim(pages: PageSource, cpu: int, no_progress_loops: int, alloc_flags: int) -> None:
    """The task reclaims, and may use all memory while it does (__perform_reclaim(): memalloc_noreclaim_save())."""
    current = pages.current[cpu]
    current.slow = True
    current.memalloc = True
    current.alloc_oom = alloc_flags & ALLOC_OOM != 0
    current.no_progress_loops = no_progress_loops


def end_direct_reclaim(pages: PageSource, cpu: int) -> None:
    """The task has reclaimed (__perform_reclaim(): memalloc_noreclaim_restore())."""
    current = pages.current[cpu]
    current.slow = False
    current.memalloc = False
    current.alloc_oom = False
    current.no_progress_loops = 0


def slowpath_reclaimed(pages: PageSource, cpu: int, nid: int, gfp: int, order: int, progress: int) -> Page | None:
    """The slow path from the end of a direct reclaim, which freed `progress` pages, to a page, to failure, or to the
    next direct reclaim (__alloc_pages_slowpath())."""
    gfp = slowpath_gfp(gfp)
    no_progress_loops = pages.current[cpu].no_progress_loops
    reserve_flags = gfp_pfmemalloc_flags(gfp, False, pages.current[cpu].alloc_oom)
    alloc_flags = slowpath_alloc_flags(gfp, order, reserve_flags)
    end_direct_reclaim(pages, cpu)
    page = alloc_pages_direct_reclaim(pages, cpu, nid, gfp, order, alloc_flags, progress)
    if page is not None:
        return page
    costly_order = order > pages.costly_order
    if gfp & __GFP_NORETRY != 0:
        return slowpath_nopage(pages, cpu, nid, gfp, order, no_progress_loops)
    if costly_order and (not gfp_compaction_allowed(gfp) or gfp & __GFP_RETRY_MAYFAIL == 0):
        return slowpath_nopage(pages, cpu, nid, gfp, order, no_progress_loops)
    no_progress_loops = 0 if progress != 0 and not costly_order else no_progress_loops + 1
    retry = should_reclaim_retry(pages, nid, gfp, order, alloc_flags, no_progress_loops)
    if not retry:
        page = get_page_before_oom(pages, cpu, nid, gfp, order)
        if page is not None:
            return page
        killed = alloc_pages_may_oom(pages, cpu, gfp, order)
        if killed and gfp & __GFP_NOFAIL != 0:
            page = pages.get_page_from_freelist(cpu, nid, gfp, order, ALLOC_NO_WATERMARKS)
            if page is not None:
                return page
        had_reserves = alloc_flags & ALLOC_OOM != 0 or gfp & __GFP_NOMEMALLOC != 0
        if not killed or (pages.current[cpu].oom_victim and had_reserves):
            return slowpath_nopage(pages, cpu, nid, gfp, order, no_progress_loops)
        pages.cond_resched()
        no_progress_loops = 0
    return slowpath_retry(pages, cpu, nid, gfp, order, min(no_progress_loops, pages.reclaim_retries), True)


def slowpath_nopage(
    pages: PageSource, cpu: int, nid: int, gfp: int, order: int, no_progress_loops: int
) -> Page | None:
    """A request that may reclaim fails, unless it must not (__alloc_pages_slowpath(): `nopage`)."""
    if gfp & __GFP_NOFAIL == 0:
        return None
    page = pages.get_page_from_freelist(cpu, nid, gfp, order, ALLOC_MIN_RESERVE)
    if page is not None:
        return page
    pages.cond_resched()
    return slowpath_retry(pages, cpu, nid, gfp, order, min(no_progress_loops, pages.reclaim_retries), True)


# --- flags


def slowpath_gfp(gfp: int) -> int:
    """Who may reclaim does not get the reserves of those who may not sleep (__alloc_pages_slowpath())."""
    return gfp & ~__GFP_ATOMIC if gfp & __GFP_DIRECT_RECLAIM != 0 else gfp


def gfp_pfmemalloc_flags(gfp: int, memalloc: bool, oom_victim: bool) -> int:
    """The rights of a task that frees memory itself or is about to die (__gfp_pfmemalloc_flags())."""
    if gfp & __GFP_NOMEMALLOC != 0:
        return 0
    if gfp & __GFP_MEMALLOC != 0:
        return ALLOC_NO_WATERMARKS
    if memalloc:
        return ALLOC_NO_WATERMARKS
    if oom_victim:
        return ALLOC_OOM
    return 0


def current_reserve_flags(pages: PageSource, cpu: int, gfp: int) -> int:
    """The rights that the task on a CPU has now."""
    return gfp_pfmemalloc_flags(gfp, pages.current[cpu].memalloc, pages.current[cpu].oom_victim)


def slowpath_alloc_flags(gfp: int, order: int, reserve_flags: int) -> int:
    """The flags of a turn: the slow path's own, or those of a task with rights (__alloc_pages_slowpath()).

    They need not be kept over a turn: who has rights does not lose them while it asks."""
    alloc_flags = gfp_to_alloc_flags(gfp, order)
    if reserve_flags != 0:
        return gfp_to_alloc_flags_cma(gfp, reserve_flags) | (alloc_flags & ALLOC_KSWAPD)
    return alloc_flags


# --- the parts of a turn


def alloc_pages_direct_reclaim(
    pages: PageSource, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int, progress: int
) -> Page | None:
    """Try again after reclaim, and once more with the pcp lists and a reserve given back
    (__alloc_pages_direct_reclaim()); `progress` is what try_to_free_pages() reports."""
    if progress == 0:
        return None
    page = pages.get_page_from_freelist(cpu, nid, gfp, order, alloc_flags)
    if page is not None:
        return page
    pages.unreserve_highatomic_pageblock(nid, gfp, False)
    pages.drain_all_pages()
    return pages.get_page_from_freelist(cpu, nid, gfp, order, alloc_flags)


def should_reclaim_retry(
    pages: PageSource, nid: int, gfp: int, order: int, alloc_flags: int, no_progress_loops: int
) -> bool:
    """Whether reclaim could still help (should_reclaim_retry(), after it counted the loops)."""
    if no_progress_loops <= pages.reclaim_retries:
        enough = pages.watermark_ok_after_reclaim(nid, gfp, order, alloc_flags)
        if enough:
            return True
    return pages.unreserve_highatomic_pageblock(nid, gfp, True)


def get_page_before_oom(pages: PageSource, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
    """The last try before the OOM killer, with a very high mark, in case another kill helped
    (__alloc_pages_may_oom())."""
    flags = ALLOC_WMARK_HIGH | ALLOC_CPUSET
    return pages.get_page_from_freelist(cpu, nid, gfp & ~__GFP_DIRECT_RECLAIM, order, flags)


def alloc_pages_may_oom(pages: PageSource, cpu: int, gfp: int, order: int) -> bool:
    """Kill a task, if that could help; whether to go on (__alloc_pages_may_oom()). Who must not fail goes on anyway."""
    if order > pages.costly_order or gfp & (__GFP_RETRY_MAYFAIL | __GFP_THISNODE) != 0 or gfp_zone(gfp) < ZONE_NORMAL:
        return False
    killed = pages.out_of_memory(cpu, gfp, order)
    return killed or gfp & __GFP_NOFAIL != 0
