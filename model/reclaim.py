"""Reclaim: kswapd, direct reclaim and the OOM killer, over the LRU lists and the watermarks (Linux 6.1, mm/vmscan.c).

The one idea: whoever reclaims does it in small steps, between which everybody else runs: its position is data, a
`struct scan_control` with the numbers that shrink_lruvec() keeps on its stack. One step begins a priority's turn, takes
folios off a list, decides about one folio, frees it, or goes to sleep. What a step finds is true when it looks, and may
be false at the next one, as in the kernel, where the locks are let go there.

Functions have the kernel's names and the kernel's order of steps; where steps cut a function, its later parts are
named after it. What is left out, as there is one node, one zone and order 0 alone: classzones, boosted watermarks,
compaction, memory control groups, shrinkers and demotion. Throttling (PGDAT_WRITEBACK, LRUVEC_CONGESTED,
reclaim_throttle()) is time that passes, and any time may pass between two steps; kswapd's short nap before its sleep is
left out for that reason.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .folio import (
    ANON,
    EVICTABLE_LISTS,
    FILE,
    FOLIO_PAGEOUT,
    FOLIO_RECLAIMED,
    LRU_ACTIVE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    EvictableList,
    LruScan,
)
from .lang import Array, FromScope, Machine, Range, Sort, indices
from .lru import (
    free_unref_page,
    get_scan_count,
    inactive_is_low,
    is_active_lru,
    is_file_lru,
    isolate_folios,
    list_add,
    list_del,
    lru_add_drain,
    lru_type,
    prepare_scan_count,
    putback_inactive,
    shrink_active_list,
    snapshot_refaults,
    too_many_isolated,
)
from .mm import FolioScan, Memory
from .pageout import FOLIO_UNMAPPED, remove_folio, shrink_folio
from .rmap import try_to_unmap_flush
from .slowpath import PageSource
from .swap import swap_is_free

ReclaimerId = Annotated[int, Sort("reclaimer", "reclaimers")]
Pages = Annotated[int, Range(0, "frames")]

KSWAPD = 0
"""The first reclaimer; the others are direct reclaimers."""

# What a reclaimer does next.
RECLAIM_NOTHING = 0  # kswapd is asleep, a direct reclaimer not at work
RECLAIM_TURN = 1  # shrink_node() at its priority
RECLAIM_LIST = 2  # shrink_list() of the next list
RECLAIM_FOLIO = 3  # shrink_folio_list() of the next isolated folio
RECLAIM_MAPPING = 4  # __remove_mapping() of that folio
RECLAIM_TURN_END = 5  # the ends of shrink_lruvec() and shrink_node(), and what follows from the turn
RECLAIM_LAST = 6  # the end of try_to_free_pages()


class Reclaimer(LruScan, FolioScan):
    """struct scan_control of one reclaimer, what shrink_lruvec() and shrink_node() keep on their stacks, and where it
    is. It may unmap, swap and write unless its gfp_mask says no: there is no boost, no laptop mode."""

    phase: Annotated[int, Range(0, 6)]
    kswapd: bool  # current_is_kswapd()
    may_unmap: bool
    may_writepage: bool
    io: bool  # gfp_mask & __GFP_IO
    fs: bool  # gfp_mask & __GFP_FS
    nr_to_reclaim: Pages
    scanned: Pages  # sc->nr_scanned
    nr_reclaimed: Pages
    next_lru: Annotated[int, Range(0, 4)]  # the list that shrink_lruvec() comes to next; 4 at the end of a round
    targets: Array[EvictableList, Pages]  # nr at the beginning, unless is_proportional()
    lruvec_reclaimed: Pages  # nr_reclaimed of shrink_lruvec()
    file_clean: bool  # sc->nr.unqueued_dirty != sc->nr.file_taken
    writes_dirty: bool  # PGDAT_DIRTY when kswapd last looked

    def allows_unmap(self) -> bool:
        """sc->may_unmap."""
        return self.may_unmap

    def allows_writepage(self) -> bool:
        """sc->may_writepage."""
        return self.may_writepage

    def allows_io(self) -> bool:
        """sc->gfp_mask & __GFP_IO."""
        return self.io

    def allows_fs(self) -> bool:
        """sc->gfp_mask & __GFP_FS."""
        return self.fs

    def writes_files(self) -> bool:
        """current_is_kswapd() and PGDAT_DIRTY."""
        return self.kswapd and self.writes_dirty


class ReclaimMemory(Memory, PageSource):
    """Memory that is reclaimed: the reclaimers, and what pg_data_t keeps for them."""

    reclaimer: Array[ReclaimerId, Reclaimer]
    kswapd_failures: Annotated[int, Machine("failure_bits")]
    pgdat_dirty: bool  # PGDAT_DIRTY in pgdat->flags
    def_priority: Annotated[int, FromScope("def_priority")]  # DEF_PRIORITY

    overlap: Annotated[int, FromScope("overlap")]  # whether reclaimers may be in the midst of their turns together

    def zone_balanced(self) -> bool:
        """Whether the zone has more free pages than its high watermark (zone_watermark_ok_safe())."""
        raise NotImplementedError

    def min_wmark(self) -> int:
        """The zone's lowest watermark (min_wmark_pages())."""
        raise NotImplementedError


# --- the zone


def get_nr_swap_pages(m: Memory) -> int:
    """Free entries of the swap device (get_nr_swap_pages())."""
    return sum(1 for entry in indices(m.swap) if swap_is_free(m, entry))


def zone_reclaimable_pages(m: ReclaimMemory) -> int:
    """The pages that reclaim could free; if there are none, those that are free (zone_reclaimable_pages())."""
    nr = m.lruvec.nr_lru[LRU_INACTIVE_FILE] + m.lruvec.nr_lru[LRU_ACTIVE_FILE]
    if m.can_reclaim_anon_pages():
        nr += m.lruvec.nr_lru[LRU_INACTIVE_ANON] + m.lruvec.nr_lru[LRU_ACTIVE_ANON]
    if nr == 0:
        nr = m.node_free_pages()
    return nr


def pgdat_balanced(m: ReclaimMemory) -> bool:
    """Whether the high watermark is reached (pgdat_balanced())."""
    return m.zone_balanced()


# --- the lists of a node (shrink_node(), shrink_lruvec(), shrink_list())


def shrink_node(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Begin a turn: how much of each list is to be scanned (shrink_node(), shrink_lruvec() up to its loop)."""
    sc = m.reclaimer[r]
    prepare_scan_count(m, sc)
    get_scan_count(m, sc)
    if not is_proportional(m, sc):
        for lru in range(EVICTABLE_LISTS):
            sc.targets[lru] = sc.nr[lru]
    sc.writes_dirty = m.pgdat_dirty
    sc.next_lru = 0
    if lists_left(sc):
        next_list(sc)
    else:
        sc.phase = RECLAIM_TURN_END


def lists_left(sc: Reclaimer) -> bool:
    """Whether shrink_lruvec() goes on scanning: that active anonymous folios are left is no reason."""
    return sc.nr[LRU_INACTIVE_ANON] != 0 or sc.nr[LRU_ACTIVE_FILE] != 0 or sc.nr[LRU_INACTIVE_FILE] != 0


def is_proportional(m: ReclaimMemory, sc: Reclaimer) -> bool:
    """Whether all that get_scan_count() said is scanned, however much is reclaimed (proportional_reclaim)."""
    return not sc.kswapd and sc.priority == m.def_priority


def next_list(sc: Reclaimer) -> None:
    """Find the next list of this round with folios to be scanned; 4 if there is none (for_each_evictable_lru)."""
    sc.phase = RECLAIM_LIST
    for _ in range(EVICTABLE_LISTS):
        if sc.next_lru < EVICTABLE_LISTS and sc.nr[sc.next_lru] == 0:
            sc.next_lru += 1


def shrink_lruvec(m: ReclaimMemory, r: ReclaimerId) -> None:
    """Go on to the next list, to the next round, or to the end (shrink_lruvec())."""
    sc = m.reclaimer[r]
    next_list(sc)
    if sc.next_lru < EVICTABLE_LISTS:
        return
    if sc.lruvec_reclaimed >= sc.nr_to_reclaim and not is_proportional(m, sc):
        stop_proportionally(sc)
    if not lists_left(sc):
        sc.phase = RECLAIM_TURN_END
        return
    sc.next_lru = 0
    next_list(sc)


def stop_proportionally(sc: Reclaimer) -> None:
    """Enough is reclaimed: scan no more, or if folios of both types are left to be scanned, of one type no more, and of
    the other as much as was scanned of the first (shrink_lruvec())."""
    nr_file = sc.nr[LRU_INACTIVE_FILE] + sc.nr[LRU_ACTIVE_FILE]
    nr_anon = sc.nr[LRU_INACTIVE_ANON] + sc.nr[LRU_ACTIVE_ANON]
    if nr_file == 0 or nr_anon == 0:
        for lru in range(EVICTABLE_LISTS):
            sc.nr[lru] = 0
        return
    smaller = LRU_INACTIVE_ANON if nr_file > nr_anon else LRU_INACTIVE_FILE
    scan_target = sc.targets[smaller] + sc.targets[smaller + LRU_ACTIVE] + 1
    percentage = min(nr_file, nr_anon) * 100 // scan_target
    for lru in range(EVICTABLE_LISTS):
        if lru_type(lru) == lru_type(smaller):
            sc.nr[lru] = 0
        else:
            nr_scanned = sc.targets[lru] - sc.nr[lru]
            left = sc.targets[lru] * (100 - percentage) // 100
            sc.nr[lru] = left - min(left, nr_scanned)


def shrink_list(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Scan some folios of the next list (shrink_list(), shrink_active_list(), and shrink_inactive_list() up to
    shrink_folio_list())."""
    sc = m.reclaimer[r]
    lru = sc.next_lru
    assert lru < EVICTABLE_LISTS
    nr_to_scan = min(sc.nr[lru], m.swap_cluster_max)
    sc.nr[lru] -= nr_to_scan
    sc.next_lru = lru + 1
    if is_active_lru(lru):
        if sc.may_deactivate[lru_type(lru)]:
            shrink_active_list(m, cpu, sc, nr_to_scan, lru, sc.may_unmap)
        else:
            sc.skipped_deactivate = True
        shrink_lruvec(m, r)
        return
    taken = begin_inactive_list(m, cpu, r, nr_to_scan, lru)
    if taken > 0:
        sc.phase = RECLAIM_FOLIO
    else:
        shrink_lruvec(m, r)


def begin_inactive_list(m: ReclaimMemory, cpu: int, r: ReclaimerId, nr_to_scan: int, lru: int) -> int:
    """Isolate folios of an inactive list; gives how many (shrink_inactive_list()).

    A direct reclaimer that meets too many isolated folios waits a little and then gives up the list: the wait is the
    time until this step."""
    sc = m.reclaimer[r]
    if too_many_isolated(m, lru_type(lru), sc.kswapd, sc.io and sc.fs):
        return 0
    lru_add_drain(m, cpu)
    return isolate_folios(m, sc, nr_to_scan, lru, sc.may_unmap)


def shrink_folio_list(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Decide about the next folio that was isolated (shrink_folio_list(), to the end or up to __remove_mapping())."""
    sc = m.reclaimer[r]
    page = sc.folio_list.last
    assert page is not None
    lru = sc.lru
    assert lru is not None
    if not m.folio[page].locked:  # never false: who has isolated a folio is the only one to keep it locked
        # The kernel counts on, but nobody asks how much more than enough it is.
        sc.scanned = min(sc.scanned + 1, sc.nr_to_reclaim)
    if is_file_lru(lru) and not is_unqueued_dirty(m, sc, page):
        sc.file_clean = True
    outcome = shrink_folio(m, sc, cpu, page)
    if outcome == FOLIO_UNMAPPED:
        sc.phase = RECLAIM_MAPPING
        return
    if outcome == FOLIO_PAGEOUT:
        sc.nr_pageout += 1
    keep_folio(m, cpu, r, page)


def is_unqueued_dirty(m: ReclaimMemory, sc: Reclaimer, page: Page) -> bool:
    """Whether shrink_folio_list() counts a folio as dirty and not yet on its way (stat->nr_unqueued_dirty,
    folio_check_dirty_writeback())."""
    folio = m.folio[page]
    if folio.locked or (folio.mapcount > 0 and not sc.may_unmap):  # never true: the file is not mapped here
        return False
    return not folio.swapbacked and not m.use[page].anon and folio.dirty and not folio.writeback


def shrink_folio_list_removes(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Take the folio out of its cache and free it, or keep it (the end of shrink_folio_list()'s loop)."""
    sc = m.reclaimer[r]
    page = sc.folio_list.last
    assert page is not None
    outcome = remove_folio(m, page)
    if outcome != FOLIO_RECLAIMED:  # never true: nobody takes references between the two steps here, as in `swap`
        keep_folio(m, cpu, r, page)
        return
    list_del(m, sc.folio_list, page)
    sc.lruvec_reclaimed += 1
    try_to_unmap_flush(m, sc)
    free_unref_page(m, cpu, page)
    next_folio(m, cpu, r)


def keep_folio(m: ReclaimMemory, cpu: int, r: ReclaimerId, page: Page) -> None:
    """The folio goes back to a list later on."""
    sc = m.reclaimer[r]
    list_del(m, sc.folio_list, page)
    list_add(m, sc.ret_folios, page)
    next_folio(m, cpu, r)


def next_folio(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Go on to the next isolated folio, or put back those that are kept (the end of shrink_inactive_list())."""
    sc = m.reclaimer[r]
    sc.phase = RECLAIM_FOLIO
    if sc.folio_list.last is not None:
        return
    try_to_unmap_flush(m, sc)
    putback_inactive(m, cpu, sc)
    shrink_lruvec(m, r)


def age_active_anon(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """Keep the inactive anonymous list long enough (kswapd_age_node(), the end of shrink_lruvec()); there is a swap
    device, so that anonymous memory can be aged (can_age_anon_pages())."""
    sc = m.reclaimer[r]
    if inactive_is_low(m, ANON):
        shrink_active_list(m, cpu, sc, m.swap_cluster_max, LRU_ACTIVE_ANON, sc.may_unmap)


def shrink_lruvec_ends(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """The lists are scanned (the ends of shrink_lruvec() and shrink_node())."""
    sc = m.reclaimer[r]
    age_active_anon(m, cpu, r)
    if sc.kswapd and not sc.file_clean:
        m.pgdat_dirty = True
    reclaimed = sc.lruvec_reclaimed
    if reclaimed > 0:
        m.kswapd_failures = 0
    # The kernel's counter has 64 bits; that it is more than there are pages makes no difference to anybody.
    sc.nr_reclaimed = min(sc.nr_reclaimed + reclaimed, len(m.folio))
    end_of_turn(sc)
    if sc.kswapd:
        balance_pgdat_continues(m, r, reclaimed)
    else:
        try_to_free_pages_continues(m, r)


def end_of_turn(sc: Reclaimer) -> None:
    """What shrink_node() and the functions below it had on their stacks is gone."""
    for lru in range(EVICTABLE_LISTS):
        sc.nr[lru] = 0
        sc.targets[lru] = 0
    sc.next_lru = 0
    sc.lruvec_reclaimed = 0
    sc.file_clean = False
    sc.writes_dirty = False
    sc.cache_trim_mode = False
    sc.file_is_tiny = False
    sc.anon_cost = 0
    sc.file_cost = 0
    sc.may_deactivate[ANON] = False
    sc.may_deactivate[FILE] = False
    sc.phase = RECLAIM_TURN


def begin_scan(sc: Reclaimer, priority: int, nr_to_reclaim: int, kswapd: bool, io: bool, fs: bool) -> None:
    """A new struct scan_control."""
    sc.phase = RECLAIM_TURN
    sc.kswapd = kswapd
    sc.priority = priority
    sc.nr_to_reclaim = nr_to_reclaim
    sc.may_unmap = True
    sc.may_writepage = True
    sc.may_swap = True
    sc.io = io
    sc.fs = fs


def end_scan(sc: Reclaimer) -> None:
    """The struct scan_control is gone."""
    sc.phase = RECLAIM_NOTHING
    sc.kswapd = False
    sc.priority = 0
    sc.nr_to_reclaim = 0
    sc.may_unmap = False
    sc.may_writepage = False
    sc.may_swap = False
    sc.io = False
    sc.fs = False
    sc.force_deactivate = False
    sc.skipped_deactivate = False
    sc.scanned = 0
    sc.nr_reclaimed = 0


def may_begin_turn(m: ReclaimMemory) -> bool:
    """Whether turns may overlap, or nobody is in the midst of one."""
    return m.overlap != 0 or not any(
        RECLAIM_LIST <= m.reclaimer[r].phase <= RECLAIM_TURN_END for r in indices(m.reclaimer)
    )


def begin_turn(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """A reclaimer's next turn."""
    if m.reclaimer[r].kswapd:
        balance_pgdat(m, cpu)
    else:
        shrink_zones(m, cpu, r)


# --- kswapd


def kswapd_begins(m: ReclaimMemory) -> None:
    """A new run of kswapd (balance_pgdat() up to its loop)."""
    nr_to_reclaim = max(m.total_high_wmark(), m.swap_cluster_max)
    begin_scan(m.reclaimer[KSWAPD], m.def_priority, nr_to_reclaim, True, True, True)


def balance_pgdat(m: ReclaimMemory, cpu: int) -> None:
    """kswapd begins a turn, unless the high watermark is reached (balance_pgdat(), kswapd_shrink_node())."""
    sc = m.reclaimer[KSWAPD]
    if pgdat_balanced(m):
        balance_pgdat_ends(m)
        return
    age_active_anon(m, cpu, KSWAPD)
    sc.scanned = 0
    shrink_node(m, cpu, KSWAPD)


def balance_pgdat_continues(m: ReclaimMemory, r: ReclaimerId, reclaimed: int) -> None:
    """After a turn: scan harder if too little was scanned or nothing reclaimed; after the last one, note whether all of
    them were in vain (balance_pgdat())."""
    sc = m.reclaimer[r]
    raise_priority = sc.scanned < sc.nr_to_reclaim or reclaimed == 0
    if raise_priority and sc.priority > 1:
        sc.priority -= 1
        return
    if not raise_priority and sc.priority >= 1:
        return
    if sc.nr_reclaimed == 0:
        m.kswapd_failures += 1
    balance_pgdat_ends(m)


def balance_pgdat_ends(m: ReclaimMemory) -> None:
    """kswapd has done what it can (balance_pgdat(): `out`)."""
    snapshot_refaults(m)
    end_scan(m.reclaimer[KSWAPD])
    kswapd_try_to_sleep(m)


def prepare_kswapd_sleep(m: ReclaimMemory) -> bool:
    """Whether kswapd may sleep: the watermark is reached, or it is hopeless (prepare_kswapd_sleep())."""
    if m.kswapd_failures >= m.reclaim_retries:
        return True
    if pgdat_balanced(m):
        m.pgdat_dirty = False  # clear_pgdat_congested()
        return True
    return False


def kswapd_try_to_sleep(m: ReclaimMemory) -> None:
    """kswapd sleeps until it is woken, or begins again (kswapd_try_to_sleep(), kswapd())."""
    sleeps = prepare_kswapd_sleep(m)
    if not sleeps:
        kswapd_begins(m)


def wake_up_kswapd(m: ReclaimMemory) -> None:
    """Wake kswapd if it sleeps, and there is something for it to do (wakeup_kswapd()). What it was asked for is always
    the same, and so need not be kept for it."""
    m.node[0].kswapd_order = None
    m.node[0].kswapd_highest_zoneidx = None
    if m.reclaimer[KSWAPD].phase != RECLAIM_NOTHING:
        return
    if m.kswapd_failures >= m.reclaim_retries or pgdat_balanced(m):
        return
    kswapd_begins(m)


# --- direct reclaim


def allow_direct_reclaim(m: ReclaimMemory) -> bool:
    """Whether a task may reclaim: else the reserves are so low that it is to wait for kswapd, which is woken
    (allow_direct_reclaim())."""
    if m.kswapd_failures >= m.reclaim_retries:
        return True
    pfmemalloc_reserve = m.min_wmark() if zone_reclaimable_pages(m) > 0 else 0
    if pfmemalloc_reserve == 0:
        return True
    wmark_ok = m.node_free_pages() > pfmemalloc_reserve // 2
    if not wmark_ok and m.reclaimer[KSWAPD].phase == RECLAIM_NOTHING:
        kswapd_begins(m)
    return wmark_ok


def try_to_free_pages(m: ReclaimMemory, r: ReclaimerId, io: bool, fs: bool) -> None:
    """A task begins to reclaim (try_to_free_pages(), after throttle_direct_reclaim())."""
    begin_scan(m.reclaimer[r], m.def_priority, m.swap_cluster_max, False, io, fs)


def shrink_zones(m: ReclaimMemory, cpu: int, r: ReclaimerId) -> None:
    """A direct reclaimer begins a turn (do_try_to_free_pages(), shrink_zones())."""
    m.reclaimer[r].scanned = 0
    shrink_node(m, cpu, r)


def try_to_free_pages_continues(m: ReclaimMemory, r: ReclaimerId) -> None:
    """After a turn: enough, or the next priority; after the last one, once more with the active lists if they were
    spared and nothing was reclaimed (do_try_to_free_pages())."""
    sc = m.reclaimer[r]
    if sc.nr_reclaimed < sc.nr_to_reclaim and sc.priority > 0:
        sc.priority -= 1
        return
    snapshot_refaults(m)
    if sc.nr_reclaimed == 0 and sc.skipped_deactivate:
        sc.priority = m.def_priority
        sc.force_deactivate = True
        sc.skipped_deactivate = False
        return
    sc.phase = RECLAIM_LAST
