"""The LRU lists: batches of each cpu, activation, isolation, mlock, working set, and how much is scanned (Linux 6.1).

Sources: mm/swap.c, include/linux/mm_inline.h, mm/mlock.c, mm/workingset.c, and the list half of mm/vmscan.c. The
classic two lists of each type; MGLRU is off. Functions have the kernel's names and order of steps; leading underscores
are dropped unless two names would be one. Every operation is one atomic step, so that a folio that was found on a list
is still on it when its flag is cleared: such tests stay where they are, with a comment.

What reclaim does to a list is cut into the parts between which the kernel lets go of the lru_lock: isolate_folios(),
then shrink_next_folio() or deactivate_next_folio() for each folio, then putback_inactive() or putback_active().
shrink_inactive_list() and shrink_active_list() put them together.

What is left out: folios of several pages, memory control groups, shmem (what is swapbacked is anonymous), mappings
that are unevictable as a whole, buffer heads, the counts of events. Before 5.16 `folio` was `page`, `folio_batch` was
`pagevec`.

A pointer that is no longer used is None here, where the kernel leaves its last value.
"""

from __future__ import annotations

from .buddy import Page
from .folio import (
    ANON,
    BATCH_ACTIVATE,
    BATCH_LRU_ADD,
    BATCH_LRU_DEACTIVATE,
    BATCH_LRU_DEACTIVATE_FILE,
    BATCH_LRU_LAZYFREE,
    BATCH_LRU_ROTATE,
    EVICTABLE_LISTS,
    FILE,
    FOLIO_ACTIVATE,
    FOLIO_PAGEOUT,
    FOLIO_RECLAIMED,
    FOLIOREF_ACTIVATE,
    FOLIOREF_KEEP,
    FOLIOREF_RECLAIM,
    FOLIOREF_RECLAIM_CLEAN,
    LRU_ACTIVE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_PAGE,
    LRU_UNEVICTABLE,
    MUNLOCK_PAGE,
    NEW_PAGE,
    FolioBatch,
    LruHead,
    LruMemory,
    LruScan,
)
from .lang import bounded

# enum scan_balance (mm/vmscan.c)
SCAN_EQUAL = 0
SCAN_FRACT = 1
SCAN_ANON = 2
SCAN_FILE = 3


# --- lists of folios (include/linux/list.h)


def list_add(m: LruMemory, head: LruHead, page: Page) -> None:
    """Link a folio in at the head of a list (list_add())."""
    first = head.first
    m.folio[page].next = first
    m.folio[page].prev = None
    if first is None:
        head.last = page
    else:
        m.folio[first].prev = page
    head.first = page


def list_add_tail(m: LruMemory, head: LruHead, page: Page) -> None:
    """Link a folio in at the tail of a list (list_add_tail())."""
    last = head.last
    m.folio[page].prev = last
    m.folio[page].next = None
    if last is None:
        head.first = page
    else:
        m.folio[last].next = page
    head.last = page


def list_del(m: LruMemory, head: LruHead, page: Page) -> None:
    """Unlink a folio from the list it is on (list_del())."""
    next = m.folio[page].next
    prev = m.folio[page].prev
    if prev is None:
        head.first = next
    else:
        m.folio[prev].next = next
    if next is None:
        head.last = prev
    else:
        m.folio[next].prev = prev
    m.folio[page].next = None
    m.folio[page].prev = None


def list_splice(m: LruMemory, head: LruHead, to: LruHead) -> None:
    """Put a whole list before the first of another one (list_splice_init())."""
    first = head.first
    last = head.last
    next = to.first
    if first is None or last is None:
        return
    m.folio[last].next = next
    if next is None:
        to.last = last
    else:
        m.folio[next].prev = last
    to.first = first
    head.first = None
    head.last = None


# --- which list (include/linux/mm_inline.h)


def folio_is_file_lru(m: LruMemory, page: Page) -> bool:
    """Whether a folio is kept with those of files: of a file, or lazily freed (folio_is_file_lru())."""
    return not m.folio[page].swapbacked


def folio_lru_type(m: LruMemory, page: Page) -> int:
    """The type of a folio as an index: ANON + folio_is_file_lru()."""
    return FILE if folio_is_file_lru(m, page) else ANON


def is_file_lru(lru: int) -> bool:
    """Whether a list is of files (is_file_lru())."""
    return lru & LRU_FILE != 0


def is_active_lru(lru: int) -> bool:
    """Whether a list is an active one (is_active_lru())."""
    return lru & LRU_ACTIVE != 0


def lru_type(lru: int) -> int:
    """The type of the folios on a list: ANON + is_file_lru()."""
    return FILE if is_file_lru(lru) else ANON


def folio_evictable(m: LruMemory, page: Page) -> bool:
    """Whether a folio may be on an evictable list (folio_evictable())."""
    return not m.folio[page].mlocked


def folio_lru_list(m: LruMemory, page: Page) -> int:
    """The list that a folio should be on (folio_lru_list())."""
    folio = m.folio[page]
    assert not (folio.active and folio.unevictable), "folio_lru_list: VM_BUG_ON_FOLIO(active && unevictable)"
    if folio.unevictable:
        return LRU_UNEVICTABLE
    lru = LRU_INACTIVE_FILE if folio_is_file_lru(m, page) else LRU_INACTIVE_ANON
    if folio.active:
        lru += LRU_ACTIVE
    return lru


def update_lru_size(m: LruMemory, lru: int, nr_pages: int) -> None:
    """Count folios on a list (update_lru_size())."""
    m.lruvec.nr_lru[lru] += nr_pages


def lruvec_add_folio(m: LruMemory, page: Page) -> None:
    """Put a folio at the head of its list (lruvec_add_folio()); the unevictable list has no links."""
    lru = folio_lru_list(m, page)
    update_lru_size(m, lru, 1)
    if lru != LRU_UNEVICTABLE:
        list_add(m, m.lruvec.lists[lru], page)


def lruvec_add_folio_tail(m: LruMemory, page: Page) -> None:
    """Put a folio at the tail of its list, which is not the unevictable one (lruvec_add_folio_tail())."""
    lru = folio_lru_list(m, page)
    update_lru_size(m, lru, 1)
    list_add_tail(m, m.lruvec.lists[lru], page)


def lruvec_del_folio(m: LruMemory, page: Page) -> None:
    """Take a folio off its list (lruvec_del_folio())."""
    lru = folio_lru_list(m, page)
    if lru != LRU_UNEVICTABLE:
        list_del(m, m.lruvec.lists[lru], page)
    else:
        m.folio[page].mlock_count = 0  # this word will be a link of the next list
    update_lru_size(m, lru, -1)


def folio_clear_lru_flags(m: LruMemory, page: Page) -> None:
    """A folio that was on a list has no references any more (__folio_clear_lru_flags())."""
    folio = m.folio[page]
    assert folio.lru, "__folio_clear_lru_flags: VM_BUG_ON_FOLIO(!folio_test_lru(folio))"
    folio.lru = False
    # If both are set, the kernel leaves them to bad_page(); free_pages_prepare() says so below.
    if not (folio.active and folio.unevictable):  # never false: L2
        folio.active = False
        folio.unevictable = False


# --- references (include/linux/mm.h, mm/swap.c)


def folio_get(m: LruMemory, page: Page) -> None:
    """Take a reference (folio_get())."""
    m.folio[page].refcount += 1


def folio_put_testzero(m: LruMemory, page: Page) -> bool:
    """Drop a reference, and whether it was the last one (folio_put_testzero())."""
    assert m.folio[page].refcount > 0, "put_page_testzero: VM_BUG_ON_PAGE(page_ref_count(page) == 0)"
    m.folio[page].refcount -= 1
    return m.folio[page].refcount == 0


def folio_test_clear_lru(m: LruMemory, page: Page) -> bool:
    """Claim a folio that is on a list: who clears the flag may move it (folio_test_clear_lru())."""
    was_lru = m.folio[page].lru
    m.folio[page].lru = False
    return was_lru


def page_cache_release(m: LruMemory, page: Page) -> None:
    """Take a folio without references off its list (__page_cache_release())."""
    if m.folio[page].lru:
        lruvec_del_folio(m, page)
        folio_clear_lru_flags(m, page)


def free_unref_page(m: LruMemory, cpu: int, page: Page) -> None:
    """Check and clear the flags of a folio without references, and give its frame back (free_unref_page(), with
    free_pages_prepare())."""
    folio = m.folio[page]
    folio.mlocked = False
    on_list = folio.lru or folio.active or folio.unevictable
    assert not on_list, "free_page_is_bad: PAGE_FLAGS_CHECK_AT_FREE: on an LRU list"
    in_use = folio.locked or folio.writeback
    assert not in_use, "free_page_is_bad: PAGE_FLAGS_CHECK_AT_FREE: locked or writeback"
    assert folio.refcount == 0, "free_page_is_bad: nonzero _refcount"
    assert folio.mapcount == 0, "free_page_is_bad: nonzero mapcount"
    folio.referenced = False
    folio.swapbacked = False
    folio.workingset = False
    folio.dirty = False
    folio.reclaim = False
    folio.swapcache = False
    m.free_folio(cpu, page)


def folio_put(m: LruMemory, cpu: int, page: Page) -> None:
    """Drop a reference; with the last one the folio is freed (folio_put(), __folio_put_small())."""
    is_last = folio_put_testzero(m, page)
    if is_last:
        page_cache_release(m, page)
        free_unref_page(m, cpu, page)


@bounded("pagevec_size")
def free_unref_page_list(m: LruMemory, cpu: int, pages_to_free: Page | None) -> None:
    """Free a chain of folios (free_unref_page_list())."""
    while pages_to_free is not None:
        page = pages_to_free
        pages_to_free = m.folio[page].next
        m.folio[page].next = None
        free_unref_page(m, cpu, page)


def release_pages(m: LruMemory, cpu: int, fbatch: FolioBatch) -> None:
    """Drop a reference to each folio of a batch and empty it (folios_put(), release_pages(), folio_batch_init()).

    Those that have no other are freed at the end, the last one first."""
    pages_to_free: Page | None = None
    for slot in range(fbatch.nr):
        page = fbatch.folios[slot]
        assert page is not None, "release_pages: no folio"
        fbatch.folios[slot] = None
        is_last = folio_put_testzero(m, page)
        if not is_last:
            continue
        page_cache_release(m, page)
        m.folio[page].next = pages_to_free
        pages_to_free = page
    fbatch.nr = 0
    free_unref_page_list(m, cpu, pages_to_free)


# --- batches (mm/swap.c)


def lru_add_fn(m: LruMemory, page: Page) -> None:
    """A folio comes onto its list (lru_add_fn())."""
    folio = m.folio[page]
    assert not folio.lru, "lru_add_fn: VM_BUG_ON_FOLIO(folio_test_lru(folio))"
    folio.unevictable = False
    if not folio_evictable(m, page):
        folio.active = False
        folio.unevictable = True
        folio.mlock_count = 0  # who mlocked it has perhaps not been counted yet, or will not be: err on the safe side
    lruvec_add_folio(m, page)


def lru_move_tail_fn(m: LruMemory, page: Page) -> None:
    """A folio that was written is to be reclaimed next (lru_move_tail_fn())."""
    if not m.folio[page].unevictable:
        lruvec_del_folio(m, page)
        m.folio[page].active = False
        lruvec_add_folio_tail(m, page)


def folio_activate_fn(m: LruMemory, page: Page) -> None:
    """A folio moves to the active list (folio_activate_fn())."""
    folio = m.folio[page]
    if not folio.active and not folio.unevictable:
        lruvec_del_folio(m, page)
        folio.active = True
        lruvec_add_folio(m, page)


def lru_deactivate_file_fn(m: LruMemory, page: Page) -> None:
    """A folio that could not be invalidated moves to the inactive list: to its tail, or to the head if it must be
    written before (lru_deactivate_file_fn())."""
    folio = m.folio[page]
    if folio.unevictable:
        return
    if folio.mapcount > 0:
        return
    lruvec_del_folio(m, page)
    folio.active = False
    folio.referenced = False
    if folio.writeback or folio.dirty:
        lruvec_add_folio(m, page)
        folio.reclaim = True
    else:
        lruvec_add_folio_tail(m, page)


def lru_deactivate_fn(m: LruMemory, page: Page) -> None:
    """An active folio moves to the inactive list (lru_deactivate_fn())."""
    folio = m.folio[page]
    if not folio.unevictable and folio.active:
        lruvec_del_folio(m, page)
        folio.active = False
        folio.referenced = False
        lruvec_add_folio(m, page)


def lru_lazyfree_fn(m: LruMemory, page: Page) -> None:
    """An anonymous folio whose content is of no interest moves to the inactive list of files (lru_lazyfree_fn())."""
    folio = m.folio[page]
    if folio.swapbacked and not folio.swapcache and not folio.unevictable:
        lruvec_del_folio(m, page)
        folio.active = False
        folio.referenced = False
        folio.swapbacked = False
        lruvec_add_folio(m, page)


def move_fn(m: LruMemory, kind: int, page: Page) -> None:
    """What a batch of a kind does with a folio (move_fn_t)."""
    if kind == BATCH_LRU_ADD:
        lru_add_fn(m, page)
    elif kind == BATCH_LRU_ROTATE:
        lru_move_tail_fn(m, page)
    elif kind == BATCH_LRU_DEACTIVATE_FILE:
        lru_deactivate_file_fn(m, page)
    elif kind == BATCH_LRU_DEACTIVATE:
        lru_deactivate_fn(m, page)
    elif kind == BATCH_LRU_LAZYFREE:
        lru_lazyfree_fn(m, page)
    else:
        folio_activate_fn(m, page)


def folio_batch_move_lru(m: LruMemory, cpu: int, kind: int) -> None:
    """Do what a batch of this cpu was filled for, folio by folio, and drop its references (folio_batch_move_lru())."""
    fbatch = m.batch[cpu][kind]
    for slot in range(fbatch.nr):
        page = fbatch.folios[slot]
        assert page is not None, "folio_batch_move_lru: no folio"
        if kind != BATCH_LRU_ADD:
            was_lru = folio_test_clear_lru(m, page)
            if not was_lru:
                continue  # somebody has isolated it
        move_fn(m, kind, page)
        m.folio[page].lru = True
    release_pages(m, cpu, fbatch)


def folio_batch_add(fbatch: FolioBatch, page: Page) -> bool:
    """Put a folio into a batch, and whether there is room for another one (folio_batch_add())."""
    fbatch.folios[fbatch.nr] = page
    fbatch.nr += 1
    return fbatch.nr < len(fbatch.folios)


def folio_batch_add_and_move(m: LruMemory, cpu: int, kind: int, page: Page) -> None:
    """Put a folio into a batch, which is dealt with when it is full (folio_batch_add_and_move())."""
    has_room = folio_batch_add(m.batch[cpu][kind], page)
    if not has_room:
        folio_batch_move_lru(m, cpu, kind)


def folio_rotate_reclaimable(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio was written that reclaim waits for (folio_rotate_reclaimable())."""
    folio = m.folio[page]
    if not folio.locked and not folio.dirty and not folio.unevictable and folio.lru:
        folio_get(m, page)
        folio_batch_add_and_move(m, cpu, BATCH_LRU_ROTATE, page)


def folio_activate(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio on an inactive list is to be active (folio_activate())."""
    folio = m.folio[page]
    if folio.lru and not folio.active and not folio.unevictable:  # never false: folio_mark_accessed() has looked
        folio_get(m, page)
        folio_batch_add_and_move(m, cpu, BATCH_ACTIVATE, page)


def lru_cache_activate_folio(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio in this cpu's add batch is to be active when it is added (__lru_cache_activate_folio()).

    Other cpus' batches are not looked at: they may be on their way to the lists."""
    fbatch = m.batch[cpu][BATCH_LRU_ADD]
    for slot in range(fbatch.nr - 1, -1, -1):
        if fbatch.folios[slot] == page:
            m.folio[page].active = True
            break


def folio_mark_accessed(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio was used (folio_mark_accessed()).

    inactive, unreferenced -> inactive, referenced -> active, unreferenced -> active, referenced."""
    folio = m.folio[page]
    if not folio.referenced:
        folio.referenced = True
    elif folio.unevictable:
        pass  # its list is not scanned
    elif not folio.active:
        if folio.lru:
            folio_activate(m, cpu, page)
        else:
            lru_cache_activate_folio(m, cpu, page)
        folio.referenced = False
        workingset_activation(m)


def folio_add_lru(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio is to come onto a list, which one is decided when the batch is full (folio_add_lru())."""
    folio = m.folio[page]
    assert not (folio.active and folio.unevictable), "folio_add_lru: VM_BUG_ON_FOLIO(active && unevictable)"
    assert not folio.lru, "folio_add_lru: VM_BUG_ON_FOLIO(folio_test_lru(folio))"
    folio_get(m, page)
    folio_batch_add_and_move(m, cpu, BATCH_LRU_ADD, page)


def folio_add_lru_vma(m: LruMemory, cpu: int, page: Page, locked: bool) -> None:
    """A new folio of an area, which may be locked, is to come onto a list (folio_add_lru_vma())."""
    assert not m.folio[page].lru, "folio_add_lru_vma: VM_BUG_ON_FOLIO(folio_test_lru(folio))"
    if locked:
        mlock_new_page(m, cpu, page)
    else:
        folio_add_lru(m, cpu, page)


def deactivate_file_folio(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio could not be invalidated: reclaim it soon (deactivate_file_folio())."""
    if m.folio[page].unevictable:
        return
    folio_get(m, page)
    folio_batch_add_and_move(m, cpu, BATCH_LRU_DEACTIVATE_FILE, page)


def deactivate_page(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio is not needed soon: MADV_COLD (deactivate_page())."""
    folio = m.folio[page]
    if folio.lru and not folio.unevictable and folio.active:
        folio_get(m, page)
        folio_batch_add_and_move(m, cpu, BATCH_LRU_DEACTIVATE, page)


def mark_page_lazyfree(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio's content is of no interest any more: MADV_FREE (mark_page_lazyfree())."""
    folio = m.folio[page]
    if folio.lru and folio.swapbacked and not folio.swapcache and not folio.unevictable:
        folio_get(m, page)
        folio_batch_add_and_move(m, cpu, BATCH_LRU_LAZYFREE, page)


def lru_add_drain_cpu(m: LruMemory, cpu: int) -> None:
    """Do what a cpu's batches were filled for (lru_add_drain_cpu())."""
    if m.batch[cpu][BATCH_LRU_ADD].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_LRU_ADD)
    if m.batch[cpu][BATCH_LRU_ROTATE].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_LRU_ROTATE)
    if m.batch[cpu][BATCH_LRU_DEACTIVATE_FILE].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_LRU_DEACTIVATE_FILE)
    if m.batch[cpu][BATCH_LRU_DEACTIVATE].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_LRU_DEACTIVATE)
    if m.batch[cpu][BATCH_LRU_LAZYFREE].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_LRU_LAZYFREE)
    if m.batch[cpu][BATCH_ACTIVATE].nr != 0:
        folio_batch_move_lru(m, cpu, BATCH_ACTIVATE)


def lru_add_drain(m: LruMemory, cpu: int) -> None:
    """Empty all batches of this cpu (lru_add_drain(); lru_add_drain_all() has each cpu that needs it do so)."""
    lru_add_drain_cpu(m, cpu)
    mlock_page_drain_local(m, cpu)


# --- locked folios (mm/mlock.c)


def __mlock_page(m: LruMemory, page: Page) -> None:
    """A folio that an area locks goes to the unevictable list, or is counted there (__mlock_page())."""
    folio = m.folio[page]
    was_lru = folio_test_clear_lru(m, page)
    if not was_lru:
        return  # lru_add_fn() will see the flag
    if folio_evictable(m, page):
        if folio.unevictable:  # never true: L7, who cleared PG_mlocked has moved it
            lruvec_del_folio(m, page)
            folio.unevictable = False
            lruvec_add_folio(m, page)
    elif folio.unevictable:
        if folio.mlocked:  # never false: only PG_mlocked makes a folio unevictable here
            folio.mlock_count += 1
    else:
        lruvec_del_folio(m, page)
        folio.active = False
        folio.unevictable = True
        folio.mlock_count = 1 if folio.mlocked else 0
        lruvec_add_folio(m, page)
    folio.lru = True


def __mlock_new_page(m: LruMemory, page: Page) -> None:
    """A new folio of a locked area comes onto its list (__mlock_new_page())."""
    folio = m.folio[page]
    assert not folio.lru, "__mlock_new_page: VM_BUG_ON_PAGE(PageLRU(page))"
    if not folio_evictable(m, page):
        folio.unevictable = True
        folio.mlock_count = 1 if folio.mlocked else 0
    lruvec_add_folio(m, page)
    folio.lru = True


def __munlock_page(m: LruMemory, page: Page) -> None:
    """An area does not lock a folio any more, which is evictable if it was the last one (__munlock_page())."""
    folio = m.folio[page]
    isolated = folio_test_clear_lru(m, page)
    if isolated and folio.unevictable:
        if folio.mlock_count > 0:
            folio.mlock_count -= 1
        if folio.mlock_count > 0:
            folio.lru = True
            return
    folio.mlocked = False
    if isolated and folio.unevictable and folio_evictable(m, page):
        lruvec_del_folio(m, page)
        folio.unevictable = False
        lruvec_add_folio(m, page)
    if isolated:
        folio.lru = True


def mlock_pagevec(m: LruMemory, cpu: int) -> None:
    """Do what this cpu's mlock pagevec asks for, and drop its references (mlock_pagevec())."""
    pvec = m.mlock_batch[cpu]
    for slot in range(pvec.nr):
        page = pvec.folios[slot]
        assert page is not None, "mlock_pagevec: no folio"
        if pvec.kind[slot] == LRU_PAGE:
            __mlock_page(m, page)
        elif pvec.kind[slot] == NEW_PAGE:
            __mlock_new_page(m, page)
        else:
            __munlock_page(m, page)
        pvec.kind[slot] = 0
    release_pages(m, cpu, pvec)


def mlock_page_drain_local(m: LruMemory, cpu: int) -> None:
    """Empty this cpu's mlock pagevec (mlock_page_drain_local())."""
    if m.mlock_batch[cpu].nr != 0:
        mlock_pagevec(m, cpu)


def mlock_pagevec_add(m: LruMemory, cpu: int, page: Page, kind: int) -> None:
    """Put a folio into this cpu's mlock pagevec with a reference, and deal with it when it is full (pagevec_add())."""
    pvec = m.mlock_batch[cpu]
    folio_get(m, page)
    pvec.kind[pvec.nr] = kind
    has_room = folio_batch_add(pvec, page)
    if not has_room:
        mlock_pagevec(m, cpu)


def mlock_folio(m: LruMemory, cpu: int, page: Page) -> None:
    """An area locks a folio that is on a list, or for a moment off it (mlock_folio())."""
    m.folio[page].mlocked = True
    mlock_pagevec_add(m, cpu, page, LRU_PAGE)


def mlock_new_page(m: LruMemory, cpu: int, page: Page) -> None:
    """A new folio, on no list yet, is of a locked area (mlock_new_page())."""
    m.folio[page].mlocked = True
    mlock_pagevec_add(m, cpu, page, NEW_PAGE)


def munlock_page(m: LruMemory, cpu: int, page: Page) -> None:
    """An area does not lock a folio any more (munlock_page())."""
    mlock_pagevec_add(m, cpu, page, MUNLOCK_PAGE)


# --- what was evicted and comes back (mm/workingset.c)


def pack_shadow(m: LruMemory, eviction: int, workingset: bool) -> int:
    """What stands in a mapping in the place of a folio that was evicted (pack_shadow(): one group, one node)."""
    eviction &= (1 << m.eviction_bits) - 1
    return (eviction << 1) | (1 if workingset else 0)


def workingset_age_nonresident(m: LruMemory, nr_pages: int) -> None:
    """The lists moved on by some folios, and what was evicted ages with them (workingset_age_nonresident())."""
    m.lruvec.nonresident_age += nr_pages


def workingset_eviction(m: LruMemory, page: Page) -> int:
    """The shadow of a folio that is reclaimed: when that was (workingset_eviction())."""
    assert not m.folio[page].lru, "workingset_eviction: VM_BUG_ON_FOLIO(folio_test_lru(folio))"
    assert m.folio[page].refcount == 0, "workingset_eviction: VM_BUG_ON_FOLIO(folio_ref_count(folio))"
    eviction = m.lruvec.nonresident_age >> m.bucket_order
    workingset_age_nonresident(m, 1)
    return pack_shadow(m, eviction, m.folio[page].workingset)


def refault_distance(m: LruMemory, shadow: int) -> int:
    """How many folios were evicted or activated since the eviction that left a shadow."""
    eviction = (shadow >> 1) << m.bucket_order
    return (m.lruvec.nonresident_age - eviction) & ((1 << m.eviction_bits) - 1)


def workingset_size(m: LruMemory, file: bool) -> int:
    """How many folios compete with one that comes back: it would have stayed if so many more had been kept."""
    size = m.lruvec.nr_lru[LRU_ACTIVE_FILE]
    if not file:
        size += m.lruvec.nr_lru[LRU_INACTIVE_FILE]
    if m.can_reclaim_anon_pages():
        size += m.lruvec.nr_lru[LRU_ACTIVE_ANON]
        if file:
            size += m.lruvec.nr_lru[LRU_INACTIVE_ANON]
    return size


def workingset_refault(m: LruMemory, page: Page, shadow: int) -> None:
    """A folio comes back that left a shadow: active at once if it was needed all the time (workingset_refault())."""
    file = folio_is_file_lru(m, page)
    if refault_distance(m, shadow) > workingset_size(m, file):
        return
    m.folio[page].active = True
    workingset_age_nonresident(m, 1)
    m.lruvec.activated[folio_lru_type(m, page)] += 1
    if shadow & 1 != 0:
        m.folio[page].workingset = True
        lru_note_cost(m, file, 1)


def workingset_activation(m: LruMemory) -> None:
    """A folio was activated (workingset_activation())."""
    workingset_age_nonresident(m, 1)


def lru_note_cost(m: LruMemory, file: bool, nr_pages: int) -> None:
    """Reclaim of a type had so many costs; those long ago count less (lru_note_cost())."""
    lruvec = m.lruvec
    if file:
        lruvec.file_cost += nr_pages
    else:
        lruvec.anon_cost += nr_pages
    lrusize = (
        lruvec.nr_lru[LRU_INACTIVE_ANON]
        + lruvec.nr_lru[LRU_ACTIVE_ANON]
        + lruvec.nr_lru[LRU_INACTIVE_FILE]
        + lruvec.nr_lru[LRU_ACTIVE_FILE]
    )
    if lruvec.file_cost + lruvec.anon_cost > lrusize // 4:
        lruvec.file_cost //= 2
        lruvec.anon_cost //= 2


# --- isolation (mm/vmscan.c)


def mod_isolated(m: LruMemory, type: int, nr_pages: int) -> None:
    """Count folios of a type that were taken off the lists (mod_node_page_state(NR_ISOLATED_ANON + type))."""
    m.lruvec.nr_isolated[type] += nr_pages


@bounded("isolation_turns")
def isolate_lru_folios(
    m: LruMemory, sc: LruScan, nr_to_scan: int, lru: int, may_unmap: bool
) -> int:
    """Move folios from the tail of a list to the reclaimer's own (isolate_lru_folios()).

    Those of zones that are not wanted do not count, and go to the head of the list at the end."""
    src = m.lruvec.lists[lru]
    folios_skipped = sc.ret_folios  # which is empty here; in the kernel it is a list on the stack
    nr_taken = 0
    scan = 0
    while scan < nr_to_scan:
        page = src.last
        if page is None:
            break
        list_del(m, src, page)
        if m.folio_zonenum(page) > sc.reclaim_idx:
            sc.nr_skipped += 1
            list_add(m, folios_skipped, page)
            continue
        scan += 1
        if not m.folio[page].lru:  # never true: it is cleared only while the folio is moved
            list_add(m, src, page)
            continue
        if not may_unmap and m.folio[page].mapcount > 0:
            list_add(m, src, page)
            continue
        if m.folio[page].refcount == 0:  # never true: with the last reference it leaves the list
            list_add(m, src, page)
            continue
        folio_get(m, page)
        m.folio[page].lru = False
        nr_taken += 1
        list_add(m, sc.folio_list, page)
    list_splice(m, folios_skipped, src)
    sc.nr_scanned = scan + sc.nr_skipped
    update_lru_size(m, lru, -nr_taken)
    return nr_taken


def folio_isolate_lru(m: LruMemory, page: Page) -> bool:
    """Take a folio that the caller has a reference to off its list (folio_isolate_lru()); false if it is on none."""
    assert m.folio[page].refcount > 0, "folio_isolate_lru: VM_BUG_ON_FOLIO(!folio_ref_count(folio))"
    was_lru = folio_test_clear_lru(m, page)
    if not was_lru:
        return False
    folio_get(m, page)
    lruvec_del_folio(m, page)
    return True


def folio_putback_lru(m: LruMemory, cpu: int, page: Page) -> None:
    """A folio that was isolated is to come onto a list again (folio_putback_lru())."""
    folio_add_lru(m, cpu, page)
    folio_put(m, cpu, page)


def too_many_isolated(m: LruMemory, type: int, is_kswapd: bool, io: bool) -> bool:
    """Whether direct reclaimers should wait, as others have taken much of the list (too_many_isolated()); `io` is
    that they may wait for io and for file systems, and so for one another."""
    if is_kswapd:
        return False
    inactive = m.lruvec.nr_lru[LRU_INACTIVE_FILE if type == FILE else LRU_INACTIVE_ANON]
    if io:
        inactive >>= 3
    return m.lruvec.nr_isolated[type] > inactive


@bounded("swap_cluster_max")
def move_folios_to_lru(m: LruMemory, cpu: int, list: LruHead) -> int:
    """Put back the folios of a list, last first, and free those that nobody else needs (move_folios_to_lru(), and
    free_unref_page_list() by its caller). Gives how many went to an evictable list."""
    nr_moved = 0
    folios_to_free: Page | None = None
    page = list.last
    while page is not None:
        assert not m.folio[page].lru, "move_folios_to_lru: VM_BUG_ON_FOLIO(folio_test_lru(folio))"
        list_del(m, list, page)
        if not folio_evictable(m, page):
            folio_putback_lru(m, cpu, page)
        else:
            m.folio[page].lru = True
            is_last = folio_put_testzero(m, page)
            if is_last:
                folio_clear_lru_flags(m, page)
                m.folio[page].next = folios_to_free
                folios_to_free = page
            else:
                lruvec_add_folio(m, page)
                nr_moved += 1
                if m.folio[page].active:
                    workingset_age_nonresident(m, 1)
        page = list.last
    while folios_to_free is not None:
        page = folios_to_free
        folios_to_free = m.folio[page].next
        m.folio[page].next = None
        free_unref_page(m, cpu, page)
    return nr_moved


def isolate_folios(m: LruMemory, sc: LruScan, nr_to_scan: int, lru: int, may_unmap: bool) -> int:
    """Take folios off a list to shrink it: what shrink_inactive_list() and shrink_active_list() do first, under the
    lru_lock. Gives how many; with none there is nothing to put back."""
    nr_taken = isolate_lru_folios(m, sc, nr_to_scan, lru, may_unmap)
    mod_isolated(m, lru_type(lru), nr_taken)
    if nr_taken == 0:
        sc.nr_scanned = 0
        sc.nr_skipped = 0
        return 0
    sc.lru = lru
    sc.nr_taken = nr_taken
    return nr_taken


def finish_scan(sc: LruScan) -> None:
    """The reclaimer has put back all that it took: what it had on its stack is gone."""
    sc.lru = None
    sc.nr_scanned = 0
    sc.nr_skipped = 0
    sc.nr_taken = 0
    sc.nr_pageout = 0


# --- shrinking the inactive list (mm/vmscan.c)


def folio_check_references(m: LruMemory, cpu: int, page: Page) -> int:
    """What the page table entries and the flag of a folio say about its use (folio_check_references())."""
    referenced_ptes = m.folio_referenced(page)
    referenced_folio = m.folio[page].referenced
    m.folio[page].referenced = False
    vm_locked = m.referenced_vm_locked(page)
    if vm_locked:
        m.mlock_folio(cpu, page)  # folio_referenced_one() restores the mlock which got missed
        return FOLIOREF_ACTIVATE
    if referenced_ptes == -1:
        return FOLIOREF_KEEP
    if referenced_ptes > 0:
        m.folio[page].referenced = True
        if referenced_folio or referenced_ptes > 1:
            return FOLIOREF_ACTIVATE
        vm_exec = m.referenced_vm_exec(page)
        if vm_exec and folio_is_file_lru(m, page):
            return FOLIOREF_ACTIVATE
        return FOLIOREF_KEEP
    if referenced_folio and folio_is_file_lru(m, page):
        return FOLIOREF_RECLAIM_CLEAN
    return FOLIOREF_RECLAIM


def shrink_next_folio(m: LruMemory, cpu: int, sc: LruScan) -> bool:
    """Decide about the next of the folios that were taken; true if it is reclaimed, and freed (the loop of
    shrink_folio_list(), which frees them together at its end)."""
    page = sc.folio_list.last
    assert page is not None, "shrink_next_folio: no folio"
    list_del(m, sc.folio_list, page)
    assert not m.folio[page].active, "shrink_folio_list: VM_BUG_ON_FOLIO(folio_test_active(folio))"
    outcome = m.shrink_folio(cpu, page)
    if outcome == FOLIO_RECLAIMED:
        free_unref_page(m, cpu, page)
        return True
    if outcome == FOLIO_ACTIVATE and not m.folio[page].mlocked:
        m.folio[page].active = True
    if outcome == FOLIO_PAGEOUT:
        sc.nr_pageout += 1
    list_add(m, sc.ret_folios, page)
    return False


def putback_inactive(m: LruMemory, cpu: int, sc: LruScan) -> None:
    """Put back what shrink_folio_list() left (the end of shrink_inactive_list())."""
    lru = sc.lru
    assert lru is not None, "putback_inactive: nothing was taken"
    move_folios_to_lru(m, cpu, sc.ret_folios)
    mod_isolated(m, lru_type(lru), -sc.nr_taken)
    lru_note_cost(m, is_file_lru(lru), sc.nr_pageout)
    finish_scan(sc)


@bounded("swap_cluster_max")
def shrink_inactive_list(
    m: LruMemory, cpu: int, sc: LruScan, nr_to_scan: int, lru: int, may_unmap: bool, is_kswapd: bool, io: bool
) -> int:
    """Reclaim from the tail of an inactive list; gives how many folios were freed (shrink_inactive_list())."""
    if too_many_isolated(m, lru_type(lru), is_kswapd, io):
        return 0  # after a wait that did not help
    lru_add_drain(m, cpu)
    nr_taken = isolate_folios(m, sc, nr_to_scan, lru, may_unmap)
    if nr_taken == 0:
        return 0
    nr_reclaimed = 0
    while sc.folio_list.last is not None:
        is_reclaimed = shrink_next_folio(m, cpu, sc)
        if is_reclaimed:
            nr_reclaimed += 1
    putback_inactive(m, cpu, sc)
    return nr_reclaimed


# --- shrinking the active list (mm/vmscan.c)


def deactivate_next_folio(m: LruMemory, cpu: int, sc: LruScan) -> None:
    """Decide about the next of the folios that were taken: executable ones that were used go round once more (the loop
    of shrink_active_list())."""
    page = sc.folio_list.last
    assert page is not None, "deactivate_next_folio: no folio"
    list_del(m, sc.folio_list, page)
    if not folio_evictable(m, page):
        folio_putback_lru(m, cpu, page)
        return
    references = m.folio_referenced(page)
    vm_locked = m.referenced_vm_locked(page)
    if vm_locked:
        m.mlock_folio(cpu, page)  # as in folio_check_references()
    if references != 0:
        vm_exec = m.referenced_vm_exec(page)
        if vm_exec and folio_is_file_lru(m, page):
            list_add(m, sc.ret_folios, page)
            return
    m.folio[page].active = False
    m.folio[page].workingset = True
    list_add(m, sc.l_inactive, page)


def putback_active(m: LruMemory, cpu: int, sc: LruScan) -> int:
    """Put back what was decided about, the folios that stay active first (the end of shrink_active_list()); gives how
    many are inactive now."""
    lru = sc.lru
    assert lru is not None, "putback_active: nothing was taken"
    move_folios_to_lru(m, cpu, sc.ret_folios)
    nr_deactivate = move_folios_to_lru(m, cpu, sc.l_inactive)
    mod_isolated(m, lru_type(lru), -sc.nr_taken)
    finish_scan(sc)
    return nr_deactivate


@bounded("swap_cluster_max")
def shrink_active_list(m: LruMemory, cpu: int, sc: LruScan, nr_to_scan: int, lru: int, may_unmap: bool) -> int:
    """Move folios from the tail of an active list to the inactive one; gives how many (shrink_active_list(), which
    only counts them)."""
    lru_add_drain(m, cpu)
    nr_taken = isolate_folios(m, sc, nr_to_scan, lru, may_unmap)
    if nr_taken == 0:
        return 0
    while sc.folio_list.last is not None:
        deactivate_next_folio(m, cpu, sc)
    return putback_active(m, cpu, sc)


def may_shrink(sc: LruScan, lru: int) -> bool:
    """Whether a list may be shrunk: an active one only if prepare_scan_count() said so (the test of shrink_list())."""
    if is_active_lru(lru) and not sc.may_deactivate[lru_type(lru)]:
        sc.skipped_deactivate = True
        return False
    return True


def shrink_list(
    m: LruMemory, cpu: int, sc: LruScan, lru: int, nr_to_scan: int, may_unmap: bool, is_kswapd: bool, io: bool
) -> int:
    """Shrink any list; gives how many folios were freed (shrink_list())."""
    may = may_shrink(sc, lru)
    if not may:
        return 0
    if is_active_lru(lru):
        shrink_active_list(m, cpu, sc, nr_to_scan, lru, may_unmap)
        return 0
    return shrink_inactive_list(m, cpu, sc, nr_to_scan, lru, may_unmap, is_kswapd, io)


# --- how much to scan (mm/vmscan.c)


def int_sqrt(m: LruMemory, value: int) -> int:
    """The largest integer whose square is not more than a value (int_sqrt(); bits from the highest that there is)."""
    root = 0
    for turn in range(m.sqrt_turns - 1, -1, -1):
        bit = 1 << (2 * turn)
        below = root + bit
        root >>= 1
        if value >= below:
            value -= below
            root += bit
    return root


def inactive_is_low(m: LruMemory, type: int) -> bool:
    """Whether the inactive list of a type is too short for its active one (inactive_is_low())."""
    inactive = m.lruvec.nr_lru[LRU_INACTIVE_FILE if type == FILE else LRU_INACTIVE_ANON]
    active = m.lruvec.nr_lru[LRU_ACTIVE_FILE if type == FILE else LRU_ACTIVE_ANON]
    gb = (inactive + active) >> m.gigabyte_order
    inactive_ratio = 1
    if gb != 0:
        inactive_ratio = int_sqrt(m, 10 * gb)
    return inactive * inactive_ratio < active


def snapshot_refaults(m: LruMemory) -> None:
    """Remember how many refaults there were, to see whether there are more later (snapshot_refaults())."""
    m.lruvec.refaults[ANON] = m.lruvec.activated[ANON]
    m.lruvec.refaults[FILE] = m.lruvec.activated[FILE]


def prepare_scan_count(m: LruMemory, sc: LruScan) -> None:
    """What the lists are like when a node is shrunk (prepare_scan_count(); not for a memory control group)."""
    sc.anon_cost = m.lruvec.anon_cost
    sc.file_cost = m.lruvec.file_cost
    if not sc.force_deactivate:
        refaults = m.lruvec.activated[ANON]
        sc.may_deactivate[ANON] = refaults != m.lruvec.refaults[ANON] or inactive_is_low(m, ANON)
        refaults = m.lruvec.activated[FILE]
        sc.may_deactivate[FILE] = refaults != m.lruvec.refaults[FILE] or inactive_is_low(m, FILE)
    else:
        sc.may_deactivate[ANON] = True
        sc.may_deactivate[FILE] = True
    file = m.lruvec.nr_lru[LRU_INACTIVE_FILE]
    sc.cache_trim_mode = file >> sc.priority != 0 and not sc.may_deactivate[FILE]
    free = m.node_free_pages()
    file = m.lruvec.nr_lru[LRU_ACTIVE_FILE] + m.lruvec.nr_lru[LRU_INACTIVE_FILE]
    anon = m.lruvec.nr_lru[LRU_INACTIVE_ANON]
    sc.file_is_tiny = (
        file + free <= m.total_high_wmark() and not sc.may_deactivate[ANON] and anon >> sc.priority != 0
    )


def scan_balance(m: LruMemory, sc: LruScan) -> int:
    """Which types are scanned (the first half of get_scan_count())."""
    if not sc.may_swap or not m.can_reclaim_anon_pages():
        return SCAN_FILE
    if sc.priority == 0 and m.swappiness != 0:
        return SCAN_EQUAL
    if sc.file_is_tiny:
        return SCAN_ANON
    if sc.cache_trim_mode:
        return SCAN_FILE
    return SCAN_FRACT


def scan_fraction(m: LruMemory, sc: LruScan, type: int) -> int:
    """How much of the pressure is on a type: the more, the less it cost (ap and fp of get_scan_count())."""
    total_cost = sc.anon_cost + sc.file_cost
    anon_cost = total_cost + sc.anon_cost
    file_cost = total_cost + sc.file_cost
    total_cost = anon_cost + file_cost
    if type == FILE:
        return (200 - m.swappiness) * (total_cost + 1) // (file_cost + 1)
    return m.swappiness * (total_cost + 1) // (anon_cost + 1)


def get_scan_count(m: LruMemory, sc: LruScan) -> None:
    """How many folios of each list to scan, in sc.nr (get_scan_count())."""
    balance = scan_balance(m, sc)
    denominator = scan_fraction(m, sc, ANON) + scan_fraction(m, sc, FILE)
    for lru in range(EVICTABLE_LISTS):
        scan = m.lruvec_lru_size(lru, sc.reclaim_idx) >> sc.priority
        if balance == SCAN_FRACT:
            scan = scan * scan_fraction(m, sc, lru_type(lru)) // denominator
        elif balance != SCAN_EQUAL and (balance == SCAN_FILE) != is_file_lru(lru):
            scan = 0
        sc.nr[lru] = scan
