"""What must hold of reclaim: kswapd, direct reclaim, the slow path and the OOM killer: R7 ... R13.

The one idea: lists, swap and watermarks meet in the position of a reclaimer. What it has isolated is counted, and on
its list alone; what it has locked is in its hand; what it has freed it has counted. So the invariants of the lists
(L1 ... L9) and of swap (R3 ... R6) are stated for this machine too, with its reclaimers as those who hold folios;
together with what a scan_control may be in each phase they are inductive.

Identifiers are those of the project's reference. That nothing is lost (R2) is proved for every policy in specs/swap.py.
The leads-to properties hold if tasks become quiet: kswapd sleeps, writeback ends, and a slow path leads to a frame, to
failure or to the end of a task. They are weakly fair to kswapd, to devices, to each task that reclaims or is to die.
"""

from __future__ import annotations

from ..model.buddy import Page
from ..model.folio import (
    ANON,
    EVICTABLE_LISTS,
    FILE,
    LruHead,
)
from ..model.gfp import __GFP_FS, __GFP_IO
from ..model.lang import Clauses, Leads, Spec, clause, indices, invariant, leads, leads_to, step_property
from ..model.lru import is_active_lru, is_file_lru, lru_type
from ..model.mm import TaskId
from ..model.pageout import pageout, remove_folio, remove_mapping, shrink_folio
from ..model.reclaim import (
    KSWAPD,
    RECLAIM_FOLIO,
    RECLAIM_LAST,
    RECLAIM_LIST,
    RECLAIM_MAPPING,
    RECLAIM_NOTHING,
    RECLAIM_TURN,
    RECLAIM_TURN_END,
    Reclaimer,
    ReclaimMemory,
    balance_pgdat,
    balance_pgdat_continues,
    balance_pgdat_ends,
    begin_turn,
    kswapd_try_to_sleep,
    shrink_folio_list,
    shrink_folio_list_removes,
    shrink_list,
    shrink_lruvec_ends,
    zone_reclaimable_pages,
)
from ..model.reclaim_clients import (
    CPU,
    USER,
    ReclaimMachine,
    TaskMemory,
    access_file,
    access_gfp,
    access_memory,
    ask_in_reclaim,
    boot,
    end_direct_reclaim,
    end_file_write,
    end_swap_write,
    end_throttle,
    exit,
    exit_oom_victim,
    fork,
    get_kernel_page,
    mlock,
    munlock,
    oom_badness,
    out_of_memory,
    put_kernel_page,
    reclaim_folio,
    reclaim_list,
    reclaim_mapping,
    reclaim_turn,
    reclaim_turn_end,
    start,
    sync_file,
)
from ..model.rmap import try_to_unmap, young_ptes
from ..model.slowpath import (
    alloc_pages_direct_reclaim,
    alloc_pages_may_oom,
    get_page_before_oom,
    should_reclaim_retry,
    slowpath_reclaimed,
    slowpath_retry,
)
from ..model.swap import swap_is_free
from .lru import batch_slots, batches_counted, is_linked, list_length, lists_counted, lists_linked
from .reclaim_scope import DERIVED, PARAMETERS, REQUIREMENTS, SCOPES
from .swap import all_anon_ptes, is_empty, locked_ptes, swap_ptes

# --- what the statements are made of


def is_on(m: ReclaimMemory, head: LruHead, page: Page) -> bool:
    """Whether a folio is met on a walk along a reclaimer's list, which is as short as a batch."""
    found = False
    other = head.first
    for _ in range(m.swap_cluster_max):
        if other is None:
            break
        if other == page:
            found = True
        other = m.folio[other].next
    return found


def taken_by(m: ReclaimMemory, sc: Reclaimer, page: Page) -> int:
    """How many of a reclaimer's lists have a folio."""
    return (1 if is_on(m, sc.folio_list, page) else 0) + (1 if is_on(m, sc.ret_folios, page) else 0)


def takers(m: ReclaimMemory, page: Page) -> int:
    """How many lists of reclaimers have a folio."""
    return sum(taken_by(m, m.reclaimer[r], page) for r in indices(m.reclaimer))


def kernel_holders(m: TaskMemory, page: Page) -> int:
    """How many tasks have a frame as a page of the kernel."""
    return sum(1 for task in indices(m.task) if m.task[task].kernel_page == page)


def in_hand(m: ReclaimMemory, page: Page) -> bool:
    """Whether a reclaimer has unmapped a folio and is about to free it."""
    return any(
        m.reclaimer[r].phase == RECLAIM_MAPPING and m.reclaimer[r].folio_list.last == page
        for r in indices(m.reclaimer)
    )


def is_amid(sc: Reclaimer) -> bool:
    """Whether a reclaimer is in the midst of a turn."""
    return sc.phase >= RECLAIM_LIST and sc.phase <= RECLAIM_TURN_END


def reclaimed_so_far(sc: Reclaimer) -> int:
    """What a scan has freed."""
    return sc.nr_reclaimed + sc.lruvec_reclaimed


def all_young(m: TaskMemory, page: Page) -> int:
    """How many PTEs that map a page were used since they were last asked."""
    return sum(young_ptes(m.mm[task], page) for task in indices(m.mm))


def is_balanced(m: ReclaimMemory) -> bool:
    """Whether more frames are free than the high watermark: what pgdat_balanced() is to find out."""
    return m.node_free_pages() > m.total_high_wmark()


def is_hopeless(m: ReclaimMemory) -> bool:
    """Whether kswapd has given up (kswapd_failures >= MAX_RECLAIM_RETRIES)."""
    return m.kswapd_failures >= m.reclaim_retries


# --- frames and places


@invariant("B4", origin="free_unref_page(), rmqueue(): a frame is free or in use")
def frames_counted(m: ReclaimMachine) -> Clauses:
    """A frame is free exactly when nobody has a reference to it, and NR_FREE_PAGES counts the free ones."""
    for page in indices(m.free):
        yield clause("a frame is free if nobody refers to it", m.free[page] == (m.folio[page].refcount == 0), page)
    free = sum(1 for page in indices(m.free) if m.free[page])
    yield clause("NR_FREE_PAGES counts the free frames", m.nr_free_pages == free)


@invariant("L1", origin="PG_lru; isolate_lru_folios()")
def one_place(m: TaskMemory) -> Clauses:
    """A frame in use is on a list (PG_lru), isolated by one reclaimer, or the kernel's; a free one is nowhere."""
    for page in indices(m.folio):
        places = (1 if m.folio[page].lru else 0) + takers(m, page) + kernel_holders(m, page)
        if m.folio[page].refcount == 0:
            yield clause("a free frame is nowhere", places == 0, page)
        else:
            yield clause("a folio is not in two places", places <= 1, page)
            yield clause("a folio is not lost", places >= 1, page)
        unlinked = m.folio[page].next is None and m.folio[page].prev is None
        on_none = not is_linked(m, page) and takers(m, page) == 0
        yield clause("a folio on no list has no links", unlinked or not on_none, page)


@invariant("L1-taken", origin="shrink_inactive_list(): folio_list; shrink_folio_list(): ret_folios")
def taken_lists_linked(m: TaskMemory) -> Clauses:
    """What a reclaimer has isolated is on its lists, linked both ways; it counts them, and they are not active
    before it says so."""
    for r in indices(m.reclaimer):
        sc = m.reclaimer[r]
        yield clause("what was isolated has ends", is_sound(m, sc.folio_list), r)
        yield clause("what is put back has ends", is_sound(m, sc.ret_folios), r)
        yield clause("nothing is deactivated between steps", sc.l_inactive.first is None, r)
        yield clause("nothing is deactivated between steps (last)", sc.l_inactive.last is None, r)
        lengths = list_length(m, sc.folio_list) + list_length(m, sc.ret_folios)
        yield clause("no more is on the lists than was taken", lengths <= sc.nr_taken, r)
        yield clause("no more was written than is put back", sc.nr_pageout <= list_length(m, sc.ret_folios), r)
        for page in indices(m.folio):
            if is_on(m, sc.folio_list, page):
                yield clause("what was isolated is not active", not m.folio[page].active, page)
            if taken_by(m, sc, page) > 0:
                yield clause("what was isolated is not unevictable", not m.folio[page].unevictable, page)


def is_sound(m: ReclaimMemory, head: LruHead) -> bool:
    """Whether a reclaimer's list has both ends or none, and leads from one to the other and back."""
    first = head.first
    last = head.last
    if first is None or last is None:
        return first is None and last is None
    page = first
    back = True
    for _ in range(m.swap_cluster_max):
        next = m.folio[page].next
        if next is None:
            break
        back = back and m.folio[next].prev == page
        page = next
    return page == last and back and m.folio[first].prev is None


@invariant("L2", origin="folio_lru_list(): VM_BUG_ON_FOLIO(active && unevictable); free_page_is_bad()")
def flags_agree(m: TaskMemory) -> Clauses:
    """A folio is not both active and unevictable; a free frame, or one of the kernel, has nothing of its last use."""
    for page in indices(m.folio):
        folio = m.folio[page]
        use = m.use[page]
        yield clause("a folio is not active and unevictable", not (folio.active and folio.unevictable), page)
        yield clause("without history nobody was active before", m.keeps_history != 0 or not folio.workingset, page)
        if folio.refcount == 0 or kernel_holders(m, page) > 0:
            of_lru = folio.active or folio.unevictable or folio.mlocked or folio.referenced or folio.workingset
            other = folio.swapbacked or folio.locked or folio.dirty or folio.writeback or folio.reclaim
            yield clause("a frame that is not user memory has no flags", not of_lru and not other, page)
            forgotten = not use.anon and not use.exclusive and use.index is None and use.swap is None
            yield clause("a frame that is not user memory is used for nothing", forgotten and not folio.swapcache, page)


@invariant("L4", origin="mod_node_page_state(NR_ISOLATED_ANON + file); b5916c025432, 2da9f6305f30")
def isolated_counted(m: TaskMemory) -> Clauses:
    """NR_ISOLATED of each type is what the reclaimers have taken."""
    for type in indices(m.lruvec.nr_isolated):
        taken = sum(m.reclaimer[r].nr_taken for r in indices(m.reclaimer) if takes_type(m.reclaimer[r], type))
        yield clause("NR_ISOLATED counts what was isolated", m.lruvec.nr_isolated[type] == taken, type)


def takes_type(sc: Reclaimer, type: int) -> bool:
    """Whether a reclaimer has isolated folios of a type."""
    lru = sc.lru
    return lru is not None and lru_type(lru) == type


@invariant("L7", origin="folio_evictable(), move_folios_to_lru(), __mlock_page(); 9c4e6b1a7027")
def locked_folios_unevictable(m: TaskMemory) -> Clauses:
    """A folio that is mlocked is in locked memory, and unevictable if it is on a list: it is on no evictable one."""
    for page in indices(m.folio):
        folio = m.folio[page]
        locked = sum(locked_ptes(m.mm[task], page) for task in indices(m.mm))
        yield clause("what is mlocked is in locked memory", locked > 0 or not folio.mlocked, page)
        right = folio.unevictable == (folio.lru and folio.mlocked)
        yield clause("what is unevictable is mlocked and on the LRU", right, page)
        most = locked if folio.unevictable else 0
        yield clause("mlock_count counts no more than there is", folio.mlock_count <= most, page)


@invariant("L9", origin="folio_ref_count(); is_page_cache_freeable(), folio_ref_freeze()")
def references_counted(m: TaskMemory) -> Clauses:
    """A folio has a reference for each PTE, for its cache, for a batch, and for a reclaimer or task that has it."""
    for page in indices(m.folio):
        cached = 1 if m.folio[page].swapcache or m.use[page].index is not None else 0
        held = takers(m, page) + kernel_holders(m, page) + batch_slots(m, page)
        exact = m.folio[page].refcount == m.folio[page].mapcount + cached + held
        yield clause("the references are those that are known", exact, page)


@invariant("L12", origin="workingset_eviction(), lru_note_cost()")
def history_bounded(m: TaskMemory) -> Clauses:
    """The costs decay; without history there are no shadows, and no refaults."""
    yield clause("anonymous costs are bounded", m.lruvec.anon_cost <= m.cost_rest)
    yield clause("file costs are bounded", m.lruvec.file_cost <= m.cost_rest)
    kept = m.keeps_history != 0
    yield clause("without history the lists have no age", kept or m.lruvec.nonresident_age == 0)
    for type in indices(m.lruvec.refaults):
        none = m.lruvec.refaults[type] == 0 and m.lruvec.activated[type] == 0
        yield clause("without history nothing comes back", kept or none, type)
    for entry in indices(m.swap):
        yield clause("without history a swap entry has no shadow", kept or m.swap[entry].shadow is None, entry)
        yield clause("a cached swap entry has no shadow", m.swap[entry].folio is None or m.swap[entry].shadow is None)
    for index in indices(m.i_pages):
        yield clause("without history the file has no shadow", kept or m.i_pages[index].shadow is None, index)
        cached = m.i_pages[index].folio is not None
        yield clause("a cached page of the file has no shadow", not cached or m.i_pages[index].shadow is None, index)


# --- swap, mappings, writeback


@invariant("R3", origin="swap_duplicate(), swap_free(), put_swap_page(): si->swap_map")
def swap_map_exact(m: TaskMemory) -> Clauses:
    """swap_map counts the PTEs that have an entry; SWAP_HAS_CACHE says that the swap cache has it."""
    for entry in indices(m.swap):
        slot = m.swap[entry]
        ptes = sum(swap_ptes(m.mm[task], entry) for task in indices(m.mm))
        yield clause("the count is that of the PTEs", slot.count == ptes, entry)
        yield clause("SWAP_HAS_CACHE is set for a folio", slot.has_cache == (slot.folio is not None), entry)
        if swap_is_free(m, entry):
            yield clause("a free entry remembers nothing", slot.shadow is None and slot.io is None, entry)


@invariant("R4", origin="add_to_swap_cache(), __delete_from_swap_cache(), filemap_add_folio()")
def caches_one_to_one(m: TaskMemory) -> Clauses:
    """The swap cache has one folio for an entry, and the folio knows that entry; so the page cache."""
    for entry in indices(m.swap):
        cached = m.swap[entry].folio
        if cached is not None:
            yield clause("the folio of an entry has that entry", m.use[cached].swap == entry, entry)
    for index in indices(m.i_pages):
        filed = m.i_pages[index].folio
        if filed is not None:
            yield clause("the folio of a page of the file has its index", m.use[filed].index == index, index)
    for page in indices(m.folio):
        own = m.use[page].swap
        place = m.use[page].index
        user = m.folio[page].refcount > 0 and kernel_holders(m, page) == 0
        cached_there = m.folio[page].swapcache == (own is not None)
        yield clause("PG_swapcache is set for a folio with an entry", cached_there, page)
        if own is not None:
            yield clause("the entry of a folio has that folio", m.swap[own].folio == page, page)
            yield clause("a folio in the swap cache is swap-backed", m.folio[page].swapbacked and place is None, page)
        if place is not None:
            yield clause("the page cache has a folio that has an index", m.i_pages[place].folio == page, page)
            file = not m.use[page].anon and not m.folio[page].swapbacked and not m.use[page].exclusive
            yield clause("a folio of the file is not anonymous", file and m.folio[page].mapcount == 0, page)
        elif user:
            yield clause("what is not of the file is swap-backed", m.folio[page].swapbacked, page)
            kept = own is not None or m.use[page].anon or m.folio[page].dirty
            yield clause("a folio that was read from swap, and has no place there any more, is dirty", kept, page)


@invariant("R5", origin="page_add_anon_rmap(), page_remove_rmap(), try_to_unmap()")
def mappings_exact(m: TaskMemory) -> Clauses:
    """mapcount is the number of PTEs that map a page; a page that is exclusive has one at most, and only such a page is
    written to."""
    for page in indices(m.folio):
        yield clause("mapcount is the number of PTEs", m.folio[page].mapcount == all_anon_ptes(m, page), page)
        entry = m.use[page].swap
        if m.use[page].exclusive:
            yield clause("an exclusive page is mapped once", m.folio[page].mapcount <= 1, page)
            unnamed = entry is None or m.swap[entry].count == 0
            yield clause("no PTE has the entry of an exclusive page", unnamed, page)
    for task in indices(m.mm):
        mm = m.mm[task]
        for address in indices(mm.anon):
            pte = mm.anon[address]
            mapped = pte.page
            entry = pte.swap
            yield clause("a PTE has a page, or an entry, or neither", mapped is None or entry is None, task, address)
            yield clause("only an entry is exclusive", entry is not None or not pte.exclusive, task, address)
            if mapped is None:
                plain = not pte.young and not pte.dirty and not pte.write
                yield clause("a PTE without a page has no bits of one", plain, task, address)
            else:
                yield clause("an anonymous PTE maps an anonymous page", m.use[mapped].anon, task, address)
                yield clause("a writable page is exclusive", m.use[mapped].exclusive or not pte.write, task, address)
            if entry is not None and pte.exclusive:
                yield clause("an exclusive entry has one PTE", m.swap[entry].count == 1, task, address)
                cached = m.swap[entry].folio
                unmapped = cached is None or m.folio[cached].mapcount == 0
                yield clause("the folio of an exclusive entry is not mapped", unmapped, task, address)
            if not mm.alive:
                empty = is_empty(pte) and not mm.locked[address]
                yield clause("a task that does not exist has no memory", empty, task, address)
            yield clause("no page is lazily freed here", not mm.freed[address], task, address)
        for index in indices(mm.file):
            none = is_empty(mm.file[index]) and not mm.file[index].young and not mm.file[index].exclusive
            bare = not mm.file[index].dirty and not mm.file[index].write
            yield clause("the file is not mapped here", none and bare, task, index)


@invariant("R2-none", origin="(what is in the pages is the subject of the specification swap)")
def contents_alike(m: TaskMemory) -> Clauses:
    """Contents are not told apart here."""
    for page in indices(m.folio):
        yield clause("all pages hold the same", m.use[page].content == 0, page)
    for entry in indices(m.swap):
        yield clause("all swap space holds the same", m.swap[entry].content == 0, entry)
    for index in indices(m.i_pages):
        slot = m.i_pages[index]
        yield clause("the file holds the same", slot.content == 0 and slot.expected == 0, index)
    for task in indices(m.mm):
        for address in indices(m.mm[task].anon):
            yield clause("nothing else is expected", m.mm[task].expected[address] == 0, task, address)


@invariant("R6", origin="folio_start_writeback(), folio_end_writeback()")
def writeback_means_io(m: TaskMemory) -> Clauses:
    """PG_writeback is set exactly while the content is on its way to where the cache says."""
    for page in indices(m.folio):
        entry = m.use[page].swap
        place = m.use[page].index
        to_swap = entry is not None and m.swap[entry].io is not None
        to_disk = place is not None and m.i_pages[place].io is not None
        yield clause("PG_writeback is set while io is under way", m.folio[page].writeback == (to_swap or to_disk), page)
    for slot in indices(m.swap):
        io = m.swap[slot].io
        known = io is None or m.swap[slot].folio == io
        yield clause("what is written to swap is what the swap cache has", known, slot)
    for index in indices(m.i_pages):
        out = m.i_pages[index].io
        same = out is None or m.i_pages[index].folio == out
        yield clause("what is written to disk is what the page cache has", same, index)


@invariant("R6-lock", origin="shrink_folio_list(): folio_trylock(); __remove_mapping(): BUG_ON(!locked)")
def locks_held(m: TaskMemory) -> Clauses:
    """A folio is locked by the reclaimer that has unmapped it; it has a place to come back from."""
    for page in indices(m.folio):
        held = in_hand(m, page)
        yield clause("a folio is locked by one who has it", m.folio[page].locked == held, page)
        if held:
            gone = m.folio[page].mapcount == 0 and not m.folio[page].writeback
            yield clause("what is in its second half is unmapped, and not written", gone, page)
            kept = not m.folio[page].swapbacked or m.folio[page].swapcache
            yield clause("what is in its second half has a place to come back from", kept, page)


# --- reclaimers and tasks


@invariant("R8-scan", origin="struct scan_control; shrink_lruvec(): nr[], targets[]")
def scans_bounded(m: TaskMemory) -> Clauses:
    """A scan_control is what its reclaimer's phase says; what was reclaimed and what is still to be scanned are
    together no more than there is."""
    for r in indices(m.reclaimer):
        sc = m.reclaimer[r]
        amid = is_amid(sc)
        works = sc.phase != RECLAIM_NOTHING
        yield clause("kswapd is the first reclaimer", sc.kswapd == (works and r == KSWAPD), r)
        yield clause("kswapd sleeps at once", r != KSWAPD or sc.phase != RECLAIM_LAST, r)
        rights = sc.may_unmap == works and sc.may_writepage == works and sc.may_swap == works
        yield clause("a reclaimer may do everything, one that is not at work nothing", rights, r)
        yield clause("gfp flags are a reclaimer's", works or (not sc.io and not sc.fs), r)
        yield clause("kswapd may write", not sc.kswapd or (sc.io and sc.fs), r)
        wanted = 0
        if works:
            wanted = m.swap_cluster_max
            if r == KSWAPD:
                wanted = max(m.total_high_wmark(), m.swap_cluster_max)
        yield clause("a reclaimer wants a batch, kswapd the high watermark", sc.nr_to_reclaim == wanted, r)
        yield clause("the priority is one there is", sc.priority <= m.def_priority, r)
        lowest = min(1, m.def_priority)
        yield clause("kswapd does not scan at priority 0", not sc.kswapd or sc.priority >= lowest, r)
        if not works:
            none = sc.priority == 0 and sc.scanned == 0 and sc.nr_reclaimed == 0
            yield clause("a scan that is over leaves nothing", none, r)
            yield clause("a scan that is over forces nothing", not sc.force_deactivate and not sc.skipped_deactivate, r)
        yield clause("kswapd forces nothing", not (sc.kswapd and sc.force_deactivate), r)
        yield clause("who is forced spares nothing", not (sc.force_deactivate and sc.skipped_deactivate), r)
        forced = sc.may_deactivate[ANON] and sc.may_deactivate[FILE]
        yield clause("who is forced deactivates both types", not (amid and sc.force_deactivate) or forced, r)
        noted = not (amid and sc.kswapd) or sc.writes_dirty == m.pgdat_dirty
        yield clause("PGDAT_DIRTY does not change during a turn of kswapd", noted, r)
        if not amid:
            of_turn = sc.next_lru != 0 or sc.lruvec_reclaimed != 0 or sc.file_clean or sc.writes_dirty
            found = sc.cache_trim_mode or sc.file_is_tiny or sc.may_deactivate[ANON] or sc.may_deactivate[FILE]
            costs = sc.anon_cost != 0 or sc.file_cost != 0
            yield clause("between turns nothing of a turn is kept", not of_turn and not found and not costs, r)
            for lru in indices(sc.nr):
                yield clause("between turns no list is scanned", sc.nr[lru] == 0 and sc.targets[lru] == 0, r, lru)
        yield clause("folios of all zones are wanted", sc.reclaim_idx == 0 and sc.nr_skipped == 0, r)
        isolating = sc.phase == RECLAIM_FOLIO or sc.phase == RECLAIM_MAPPING
        lru_now = sc.lru
        yield clause("a list is being shrunk in the phases that shrink it", (lru_now is not None) == isolating, r)
        waiting = sc.folio_list.last is not None
        yield clause("there is a folio to be looked at", waiting == isolating, r)
        if lru_now is None:
            counted = sc.nr_taken != 0 or sc.nr_scanned != 0 or sc.nr_pageout != 0
            yield clause("between two lists nothing is taken", not counted and sc.ret_folios.first is None, r)
        else:
            yield clause("folios of inactive lists are reclaimed", not is_active_lru(lru_now), r)
            yield clause("a batch is no larger than it may be", sc.nr_taken <= m.swap_cluster_max, r)
            yield clause("a list is passed when it is scanned", sc.next_lru > lru_now, r)
        if sc.phase == RECLAIM_LIST:
            yield clause("there is a list to be scanned", next_to_scan(sc) > 0, r)
        left = sc.nr[0] + sc.nr[1] + sc.nr[2] + sc.nr[3]
        sum_bounded = reclaimed_and_left(m, sc) <= len(m.folio) and left <= len(m.folio)
        yield clause("no more is reclaimed than there is", sum_bounded, r)
        for lru in indices(sc.nr):
            sized = sc.targets[lru] == 0 or sc.nr[lru] <= sc.targets[lru]
            yield clause("no more is scanned than was wanted", sized, r, lru)
        unproportional = sc.kswapd or sc.priority < m.def_priority
        for lru in indices(sc.nr):
            known = not unproportional or sc.nr[lru] <= sc.targets[lru]
            yield clause("targets are kept where they are needed", known, r, lru)
        yield clause("a flush is pending for what is at hand", isolating or not sc.flush_required, r)
        yield clause("what was written through is flushed first", sc.flush_required or not sc.writable, r)


def next_to_scan(sc: Reclaimer) -> int:
    """The folios to be scanned of the next list."""
    if sc.next_lru < EVICTABLE_LISTS:
        return sc.nr[sc.next_lru]
    return 0


def reclaimed_and_left(m: ReclaimMemory, sc: Reclaimer) -> int:
    """What shrink_lruvec() has reclaimed, has isolated, and may still isolate."""
    return sc.lruvec_reclaimed + list_length(m, sc.folio_list) + sc.nr[0] + sc.nr[2]


@invariant("R9-tasks", origin="__perform_reclaim(): memalloc_noreclaim_save(); throttle_direct_reclaim()")
def tasks_in_reclaim(m: TaskMemory) -> Clauses:
    """A task has PF_MEMALLOC exactly while it is in direct reclaim; then it has a scan_control of its own, or waits for
    kswapd to build up reserves."""
    for task in indices(m.task):
        t = m.task[task]
        r = t.reclaimer
        yield clause("a task has PF_MEMALLOC while it reclaims", t.memalloc == t.slow, task)
        yield clause("a task that reclaims exists", m.mm[task].alive or not (t.slow or t.oom_victim), task)
        if not t.slow:
            idle = t.no_progress_loops == 0 and not t.alloc_oom and r is None and t.request == USER
            yield clause("a task that does not reclaim keeps nothing of it", idle, task)
        if r is not None:
            sc = m.reclaimer[r]
            yield clause("a task reclaims as a direct reclaimer", r != KSWAPD and sc.phase != RECLAIM_NOTHING, task)
            gfp = access_gfp(m, t.request)
            flags = sc.io == (gfp & __GFP_IO != 0) and sc.fs == (gfp & __GFP_FS != 0)
            yield clause("the flags are those of the request", flags, task)
            alone = all(m.task[other].reclaimer != r for other in indices(m.task) if other != task)
            yield clause("a scan_control is of one task", alone, task)
        else:
            yield clause("a task waits only for reserves that are kept", m.throttles != 0 or not t.slow, task)
        held = t.kernel_page
        if held is not None:
            yield clause("a page of the kernel is in use", m.folio[held].refcount == 1, task)
            waits = t.slow and t.request != USER
            yield clause("a task that does not exist has no page", m.mm[task].alive and not waits, task)
        yield clause("OOM reserves are for those who are to die", t.oom_victim or not t.alloc_oom, task)
    for number in indices(m.reclaimer):
        works = m.reclaimer[number].phase != RECLAIM_NOTHING
        owned = any(m.task[task].reclaimer == number for task in indices(m.task))
        yield clause("a direct reclaimer is a task", number == KSWAPD or works == owned, number)
    victims = sum(1 for task in indices(m.task) if m.task[task].oom_victim)
    yield clause("one task is killed at a time", victims <= 1)


@invariant("R7-asleep", origin="wakeup_kswapd(), switch_to(): what is of one step")
def nothing_between_steps(m: TaskMemory) -> Clauses:
    """Between steps nobody has the processor or a new frame, kswapd was asked for nothing that it was not told, and it
    has not failed more often than it may."""
    yield clause("nobody has the processor", m.running is None and m.new_page is None)
    current = m.current[CPU]
    idle = not current.memalloc and not current.oom_victim and not current.slow and not current.alloc_oom
    yield clause("the processor keeps nothing", idle and current.no_progress_loops == 0)
    told = m.node[0].kswapd_order is None and m.node[0].kswapd_highest_zoneidx is None
    yield clause("what kswapd is asked for is told at once", told)
    yield clause("kswapd gives up as counted", m.kswapd_failures <= m.reclaim_retries)
    awake = m.reclaimer[KSWAPD].phase != RECLAIM_NOTHING
    yield clause("kswapd that gave up sleeps", not awake or not is_hopeless(m))


# --- steps


@step_property("R7", origin="kswapd_try_to_sleep(): prepare_kswapd_sleep()")
def kswapd_sleeps_for_a_reason(before: TaskMemory, after: TaskMemory) -> Clauses:
    """kswapd falls asleep only if the high watermark is reached, or it has failed as often as it may."""
    if before.reclaimer[KSWAPD].phase != RECLAIM_NOTHING and after.reclaimer[KSWAPD].phase == RECLAIM_NOTHING:
        yield clause("kswapd sleeps if all is well, or hopeless", is_balanced(after) or is_hopeless(after))


@step_property("R7-woken", origin="__alloc_pages_slowpath(): wake_all_kswapds(); wakeup_kswapd()")
def kswapd_woken_at_the_low_mark(before: ReclaimMachine, after: ReclaimMachine) -> Clauses:
    """Who takes a frame though the low watermark is not met, or waits for one, has woken kswapd, unless that is
    hopeless or the frames came back meanwhile."""
    awake = after.reclaimer[KSWAPD].phase != RECLAIM_NOTHING or is_hopeless(after) or is_balanced(after)
    reclaimed = any(before.task[task].reclaimer is not None and after.task[task].reclaimer is None
                    for task in indices(after.task))
    if after.nr_free_pages < before.nr_free_pages and before.nr_free_pages <= before.watermark_low:
        yield clause("kswapd is woken at the low watermark", awake or reclaimed)
    if any(after.task[task].slow and not before.task[task].slow for task in indices(after.task)):
        yield clause("kswapd is woken by who reclaims", awake)


@step_property("R8", origin="shrink_folio_list(): nr_reclaimed; do_try_to_free_pages()")
def direct_progress_is_exact(before: TaskMemory, after: TaskMemory) -> Clauses:
    """What a task reports as reclaimed is what it freed; its priority falls, until active lists are forced once."""
    for r in indices(after.reclaimer):
        was = before.reclaimer[r]
        now = after.reclaimer[r]
        if r != KSWAPD and is_at_work(was):
            counted = reclaimed_so_far(was) + frames_reclaimed(before, after, was)
            yield clause("what is counted is what was freed", is_exact(now, counted, len(after.folio)), r)
            forced = now.force_deactivate and not was.force_deactivate
            falls = now.priority <= was.priority or (forced and now.nr_reclaimed == 0)
            yield clause("the priority falls", falls, r)
            if is_amid(was) and now.phase == RECLAIM_TURN:
                short = now.nr_reclaimed < now.nr_to_reclaim
                yield clause("who has enough scans no more", short, r)
                yield clause("another turn is at another priority", now.priority < was.priority or forced, r)
            if now.phase == RECLAIM_LAST:
                tried = now.priority == 0 and not now.skipped_deactivate
                yield clause("who gives up has tried everything", now.nr_reclaimed > 0 or tried, r)


def is_exact(sc: Reclaimer, counted: int, most: int) -> bool:
    """Whether a reclaimer has counted so much; between turns that is no more than there is."""
    return reclaimed_so_far(sc) == (counted if is_amid(sc) else min(counted, most))


def is_at_work(sc: Reclaimer) -> bool:
    """Whether a reclaimer is in a turn or before one."""
    return sc.phase >= RECLAIM_TURN and sc.phase <= RECLAIM_TURN_END


def has_moved(was: Reclaimer, now: Reclaimer) -> bool:
    """Whether a step was a step of this reclaimer: nobody else changes its position."""
    place = was.phase != now.phase or was.next_lru != now.next_lru or was.folio_list.last != now.folio_list.last
    tries = was.priority != now.priority or was.force_deactivate != now.force_deactivate
    return place or tries or was.ret_folios.first != now.ret_folios.first


def frames_reclaimed(before: TaskMemory, after: TaskMemory, was: Reclaimer) -> int:
    """How many frames a step freed of what a reclaimer was about to free."""
    page = was.folio_list.last
    if was.phase != RECLAIM_MAPPING or page is None:
        return 0
    return 1 if after.folio[page].refcount == 0 else 0


@step_property("R8-kswapd", origin="balance_pgdat(): kswapd_failures")
def kswapd_progress_is_exact(before: TaskMemory, after: TaskMemory) -> Clauses:
    """kswapd counts what it freed, and counts a failure exactly when a whole run has freed nothing."""
    was = before.reclaimer[KSWAPD]
    now = after.reclaimer[KSWAPD]
    if is_at_work(was):
        counted = reclaimed_so_far(was) + frames_reclaimed(before, after, was)
        in_turn = was.lruvec_reclaimed + frames_reclaimed(before, after, was)
        failed = after.kswapd_failures > before.kswapd_failures
        begins = reclaimed_so_far(now) == 0 and now.priority == after.def_priority and now.phase == RECLAIM_TURN
        ended = is_amid(was) and not is_amid(now)
        exact = is_exact(now, counted, len(after.folio))
        yield clause("what is counted is what was freed", exact or begins or now.phase == RECLAIM_NOTHING)
        if failed:
            yield clause("a run that freed something is no failure", counted == 0)
            once = after.kswapd_failures == before.kswapd_failures + 1
            yield clause("a failure is a run at all priorities", was.priority <= 1 and once)
        if ended and in_turn > 0:
            yield clause("progress is no failure", after.kswapd_failures == 0)
        if ended and was.priority <= 1 and counted == 0:
            yield clause("a run in vain is a failure", failed)
        if ended and now.phase == RECLAIM_TURN and not begins:
            enough = now.scanned >= now.nr_to_reclaim and in_turn > 0
            yield clause("kswapd scans harder unless it scanned enough", now.priority < was.priority or enough)


@step_property("R9", action=ask_in_reclaim, origin="__alloc_pages_slowpath(): PF_MEMALLOC, avoid recursion")
def no_recursion(before: TaskMemory, after: TaskMemory, task: TaskId) -> Clauses:
    """A task that reclaims and needs a frame itself gets one from the reserves or none, without reclaim."""
    was = before.task[task]
    now = after.task[task]
    same = now.no_progress_loops == was.no_progress_loops and now.alloc_oom == was.alloc_oom
    yield clause("no reclaim begins within reclaim", same and now.reclaimer == was.reclaimer, task)
    yield clause("the right to reserves is not lost", now.memalloc, task)


@step_property("R9-flags", origin="shrink_folio_list(): may_enter_fs(), __GFP_IO")
def flags_kept(before: TaskMemory, after: TaskMemory) -> Clauses:
    """Who may not do io gives no folio a place in swap, and writes none; who may not enter a file system writes no
    file; only kswapd writes files at all."""
    for r in indices(after.reclaimer):
        sc = before.reclaimer[r]
        page = sc.folio_list.last
        if sc.phase == RECLAIM_FOLIO and page is not None:
            written = after.folio[page].writeback and not before.folio[page].writeback
            acted = after.reclaimer[r].phase != RECLAIM_FOLIO or after.reclaimer[r].folio_list.last != page
            given = after.folio[page].swapcache and not before.folio[page].swapcache
            yield clause("without __GFP_IO nothing is written", sc.io or not (written and acted), page)
            yield clause("without __GFP_IO nothing gets a place in swap", sc.io or not given, page)
            if not before.folio[page].swapbacked:
                allowed = (sc.kswapd and sc.fs) or not (written and acted)
                yield clause("only kswapd writes files, if it may", allowed, page)
                marked = before.folio[page].reclaim and before.pgdat_dirty
                yield clause("files are written if all of the list is dirty", marked or not (written and acted), page)


@step_property("R11", origin="get_scan_count(), prepare_scan_count(): swappiness, file_is_tiny, cache_trim_mode")
def scan_mix(before: TaskMemory, after: TaskMemory) -> Clauses:
    """No more of a list is to be scanned than its share at this priority; without swap no anonymous folios; all folios
    equally at priority 0; anonymous ones alone if the file is tiny, files alone if there are plenty."""
    for r in indices(after.reclaimer):
        was = before.reclaimer[r]
        sc = after.reclaimer[r]
        if was.phase == RECLAIM_TURN and is_amid(sc):
            for lru in indices(sc.nr):
                if lru < EVICTABLE_LISTS:
                    share = after.lruvec.nr_lru[lru] >> was.priority
                    yield clause("no more is scanned than the share of the priority", sc.nr[lru] <= share, r, lru)
                    if not can_swap(before):
                        expected = share if is_file_lru(lru) else 0
                        yield clause("without swap anonymous folios are spared", sc.nr[lru] == expected, r, lru)
                    elif was.priority == 0 and before.swappiness > 0:
                        yield clause("at priority 0 all are scanned alike", sc.nr[lru] == share, r, lru)
                    elif sc.file_is_tiny:
                        expected = 0 if is_file_lru(lru) else share
                        yield clause("if the file is tiny anonymous folios are scanned", sc.nr[lru] == expected, r, lru)
                    elif sc.cache_trim_mode:
                        expected = share if is_file_lru(lru) else 0
                        yield clause("if the file is plenty it is scanned alone", sc.nr[lru] == expected, r, lru)
                    elif before.swappiness == 0:
                        expected = share if is_file_lru(lru) else 0
                        yield clause("swappiness 0 spares anonymous folios", sc.nr[lru] == expected, r, lru)
                    elif before.swappiness == 200:
                        expected = 0 if is_file_lru(lru) else share
                        yield clause("swappiness 200 spares the file", sc.nr[lru] == expected, r, lru)
            tiny = file_pages(after) + after.node_free_pages() <= after.total_high_wmark()
            yield clause("the file is tiny if it and what is free are", tiny or not sc.file_is_tiny, r)
            plenty = after.lruvec.nr_lru[2] >> was.priority > 0
            yield clause("there is enough of the file if its share is not 0", plenty or not sc.cache_trim_mode, r)


def can_swap(m: TaskMemory) -> bool:
    """Whether a swap entry is free."""
    return any(swap_is_free(m, entry) for entry in indices(m.swap))


def file_pages(m: TaskMemory) -> int:
    """The folios of the file on evictable lists."""
    return m.lruvec.nr_lru[2] + m.lruvec.nr_lru[3]


@step_property("R12", origin="(the purpose of reclaim)")
def reclaim_frees(before: ReclaimMachine, after: ReclaimMachine) -> Clauses:
    """Who reclaims never leaves fewer free frames than there were."""
    for r in indices(after.reclaimer):
        if is_at_work(before.reclaimer[r]) and has_moved(before.reclaimer[r], after.reclaimer[r]):
            yield clause("reclaim does not lower free", after.nr_free_pages >= before.nr_free_pages, r)


@step_property("R12-progress", action=end_direct_reclaim, origin="__alloc_pages_direct_reclaim()")
def progress_is_rewarded(before: ReclaimMachine, after: ReclaimMachine, task: TaskId) -> Clauses:
    """Who has freed frames gets one if there are any above the lowest watermark, or may try as often again; who has not
    comes closer to giving up."""
    r = before.task[task].reclaimer
    if r is not None:
        progress = before.reclaimer[r].nr_reclaimed > 0
        was = before.task[task]
        now = after.task[task]
        enough = before.nr_free_pages > before.watermark_min
        none = now.slow and after.nr_free_pages == before.nr_free_pages  # otherwise it waits for a second frame
        yield clause("who has freed a frame gets one if there is one", not (progress and enough and none), task)
        if none and not killed(before, after):
            fresh = now.no_progress_loops == 0
            next_loop = now.no_progress_loops == was.no_progress_loops + 1
            dying = any(before.task[other].oom_victim for other in indices(before.task))
            excused = dying or access_gfp(before, was.request) & __GFP_FS == 0
            yield clause("progress begins the count of loops anew", fresh or not progress, task)
            yield clause("a loop without progress is counted", progress or next_loop or (fresh and excused), task)


def killed(before: TaskMemory, after: TaskMemory) -> bool:
    """Whether a step killed a task."""
    return any(after.task[task].oom_victim and not before.task[task].oom_victim for task in indices(after.task))


@step_property("R13", action=end_direct_reclaim, origin="__alloc_pages_may_oom(), should_reclaim_retry()")
def oom_comes_last(before: ReclaimMachine, after: ReclaimMachine, task: TaskId) -> Clauses:
    """A task is killed only if one that reclaimed has made no progress too often, or even all that is reclaimable would
    not do; never while frames are plenty or another is dying; and it is one that has most."""
    r = before.task[task].reclaimer
    for victim in indices(after.task):
        if after.task[victim].oom_victim and not before.task[victim].oom_victim:
            yield clause("frames are scarce", before.nr_free_pages <= before.watermark_high, victim)
            alone = not any(before.task[other].oom_victim for other in indices(before.task))
            yield clause("nobody is dying already", alone, victim)
            worst = all(oom_badness(before.mm[other]) <= oom_badness(before.mm[victim]) for other in indices(before.mm))
            yield clause("it is one that has most", worst and before.mm[victim].alive, victim)
            yield clause("only who may enter file systems kills", may_kill(before, task), task)
            if r is not None:
                vain = before.reclaimer[r].nr_reclaimed == 0
                loops = before.task[task].no_progress_loops + 1 > before.reclaim_retries
                nothing = before.nr_free_pages + zone_reclaimable_pages(before) <= before.watermark_min
                yield clause("reclaim was in vain too often, or is hopeless", (vain and loops) or nothing, task)


def may_kill(m: TaskMemory, task: TaskId) -> bool:
    """Whether a task's request may enter file systems."""
    return access_gfp(m, m.task[task].request) & __GFP_FS != 0


@step_property("second-chance", origin="folio_check_references(), shrink_folio_list()")
def referenced_is_kept(before: TaskMemory, after: TaskMemory) -> Clauses:
    """A page that was used since a reclaimer last looked is not unmapped by it, and a page that was used twice becomes
    active."""
    for r in indices(after.reclaimer):
        sc = before.reclaimer[r]
        page = sc.folio_list.last
        if sc.phase == RECLAIM_FOLIO and page is not None and all_young(before, page) > 0:
            decided = after.reclaimer[r].phase != RECLAIM_FOLIO or after.reclaimer[r].folio_list.last != page
            if decided:
                kept = after.folio[page].mapcount >= before.folio[page].mapcount
                yield clause("a page that was used stays mapped", kept and after.folio[page].refcount > 0, page)
                # At the end of a turn the active list may be shrunk in the same step.
                twice = (before.folio[page].referenced or all_young(before, page) > 1) and is_amid(after.reclaimer[r])
                active = after.folio[page].active or before.folio[page].mlocked or after.folio[page].mlocked
                yield clause("a page that was used twice becomes active", active or not twice, page)


@step_property("R1", origin="__remove_mapping(): folio_ref_freeze(), then folio_test_dirty()")
def only_idle_folios_are_freed(before: TaskMemory, after: TaskMemory) -> Clauses:
    """What reclaim frees was unmapped, held by nobody else, clean and not being written."""
    for r in indices(after.reclaimer):
        sc = before.reclaimer[r]
        page = sc.folio_list.last
        if sc.phase == RECLAIM_MAPPING and page is not None and after.folio[page].refcount == 0:
            folio = before.folio[page]
            yield clause("it was unmapped", folio.mapcount == 0, page)
            yield clause("it was clean and not being written", not folio.dirty and not folio.writeback, page)
            yield clause("nobody else held it", folio.refcount == 2, page)


@step_property("L7-kept", origin="try_to_unmap_one(): VM_LOCKED")
def locked_memory_stays(before: TaskMemory, after: TaskMemory) -> Clauses:
    """A page in locked memory stays mapped until it is unlocked or its task ends."""
    for task in indices(after.mm):
        for address in indices(after.mm[task].anon):
            if before.mm[task].locked[address] and after.mm[task].locked[address]:
                there = before.mm[task].anon[address].page is None or after.mm[task].anon[address].page is not None
                yield clause("locked memory stays mapped", there, task, address)


# --- leads-to

DEVICES = (end_swap_write, end_file_write)
STEPS_OF_RECLAIM = (reclaim_turn, reclaim_list, reclaim_folio, reclaim_mapping, reclaim_turn_end)
WORKERS = (*STEPS_OF_RECLAIM, end_direct_reclaim, end_throttle, exit_oom_victim)
TASKS = (access_memory, access_file, get_kernel_page, fork, exit, start, mlock, munlock, ask_in_reclaim)


@leads_to("V1", fair=(*DEVICES, *WORKERS), quiet=TASKS, origin="balance_pgdat(), prepare_kswapd_sleep(): c73322d098e4")
def kswapd_sleeps(m: TaskMemory) -> Leads:
    """kswapd that is awake reaches the high watermark, or gives up as counted; then it sleeps."""
    return leads(when=m.reclaimer[KSWAPD].phase != RECLAIM_NOTHING, then=m.reclaimer[KSWAPD].phase == RECLAIM_NOTHING)


@leads_to("V2", fair=(*DEVICES, *WORKERS), quiet=TASKS, origin="folio_end_writeback(), __remove_mapping()")
def isolated_folios_return(m: TaskMemory, page: Page) -> Leads:
    """A folio that a reclaimer has isolated is freed or put back, and one under writeback is written."""
    return leads(
        when=m.folio[page].writeback or takers(m, page) > 0, then=not m.folio[page].writeback and takers(m, page) == 0
    )


@leads_to("V3", fair=(*DEVICES, *WORKERS), quiet=TASKS, origin="__alloc_pages_slowpath(), should_reclaim_retry()")
def slow_path_ends(m: TaskMemory, task: TaskId) -> Leads:
    """A task in the slow path gets a frame, fails, or dies.

    Whose request may not enter file systems kills nobody and tries for ever (out_of_memory(): "the OOM killer does not
    compensate for IO-less reclaim"), so that nothing is said of it."""
    return leads(when=m.task[task].slow and may_kill(m, task), then=not m.task[task].slow)


INVARIANTS = (
    frames_counted,
    one_place,
    lists_linked,
    taken_lists_linked,
    flags_agree,
    lists_counted,
    isolated_counted,
    batches_counted,
    locked_folios_unevictable,
    references_counted,
    history_bounded,
    swap_map_exact,
    caches_one_to_one,
    mappings_exact,
    contents_alike,
    writeback_means_io,
    locks_held,
    scans_bounded,
    tasks_in_reclaim,
    nothing_between_steps,
)

STEPS = (
    kswapd_sleeps_for_a_reason,
    kswapd_woken_at_the_low_mark,
    direct_progress_is_exact,
    kswapd_progress_is_exact,
    no_recursion,
    flags_kept,
    scan_mix,
    reclaim_frees,
    progress_is_rewarded,
    oom_comes_last,
    referenced_is_kept,
    only_idle_folios_are_freed,
    locked_memory_stays,
)

LEADS = (kswapd_sleeps, isolated_folios_return, slow_path_ends)

SPEC = Spec(
    name="reclaim",
    state=ReclaimMachine,
    init=boot,
    actions=(
        access_memory, access_file, get_kernel_page, put_kernel_page, ask_in_reclaim, fork, exit, mlock, munlock,
        exit_oom_victim, start, sync_file, end_swap_write, end_file_write, *STEPS_OF_RECLAIM, end_throttle,
        end_direct_reclaim,
    ),
    properties=(*INVARIANTS, *STEPS, *LEADS),
    parameters=PARAMETERS,
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes=SCOPES,
    explored=("kernel", "noio", "reserve", "retries", "priorities", "proportion", "batch", "history", "entries"),
    deadlock_free=True,
    doc=__doc__,
    flows={
        "reclaim": (
            reclaim_turn, reclaim_list, reclaim_folio, reclaim_mapping, reclaim_turn_end, begin_turn, balance_pgdat,
            shrink_list, shrink_folio_list, shrink_folio, try_to_unmap, pageout, shrink_folio_list_removes,
            remove_folio, remove_mapping, shrink_lruvec_ends, balance_pgdat_continues, balance_pgdat_ends,
            kswapd_try_to_sleep,
        ),
        "direct": (
            end_direct_reclaim, slowpath_reclaimed, alloc_pages_direct_reclaim, should_reclaim_retry,
            get_page_before_oom, alloc_pages_may_oom, out_of_memory, slowpath_retry,
        ),
    },
    symmetric=("page", "swap_entry", "task"),
)
