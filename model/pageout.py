"""What reclaim does with one folio that it has isolated: shrink_folio_list()'s loop (Linux 6.1, mm/vmscan.c).

The one idea: the loop's body is two steps. The first looks at the folio, takes its PTEs away and begins to write it if
it is dirty; the second takes it out of its cache if then nobody holds it and it is still clean. Between them the folio
is locked and isolated, and everybody else runs: a task may bring it back through the swap cache, a device may write to
it. What the first step found is not true any more in the second.

Left out: demotion, huge pages, buffers, memory control groups and the legacy wait for writeback, MGLRU.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .filemap import filemap_remove_folio, folio_clear_dirty_for_io, write_folio
from .folio import (
    FOLIO_ACTIVATE,
    FOLIO_KEEP,
    FOLIO_PAGEOUT,
    FOLIO_RECLAIMED,
    FOLIOREF_ACTIVATE,
    FOLIOREF_KEEP,
    FOLIOREF_RECLAIM_CLEAN,
)
from .lang import Range
from .lru import folio_check_references, folio_evictable, folio_is_file_lru
from .mm import (
    FolioScan,
    Memory,
    folio_mapped,
    folio_trylock,
    folio_unlock,
)
from .rmap import try_to_unmap, try_to_unmap_flush_dirty
from .swap import (
    __delete_from_swap_cache,
    add_to_swap,
    folio_free_swap,
    put_swap_folio,
    swap_writepage,
    vm_swap_full,
)

Outcome = Annotated[int, Range(0, 4)]

FOLIO_UNMAPPED = 4
"""Nothing speaks against reclaiming the folio so far: the second step decides."""

# enum pageout_t
PAGE_KEEP = 0
PAGE_SUCCESS = 1
PAGE_CLEAN = 2


def activate_locked(m: Memory, page: Page) -> Outcome:
    """The folio is not to be reclaimed soon; its swap space may be of more use to another."""
    folio = m.folio[page]
    if folio.swapcache and (vm_swap_full(m) or folio.mlocked):
        folio_free_swap(m, page)
    assert not folio.active, "shrink_folio_list: VM_BUG_ON_FOLIO(folio_test_active(folio))"
    if not folio.mlocked:
        folio.active = True
        folio_unlock(m, page)
        return FOLIO_ACTIVATE
    return keep_locked(m, page)


def keep_locked(m: Memory, page: Page) -> Outcome:
    """The folio goes back as it is."""
    folio_unlock(m, page)
    return FOLIO_KEEP


def may_enter_fs(m: Memory, sc: FolioScan, page: Page) -> bool:
    """Whether the reclaimer may write the folio (may_enter_fs()): to a file system, or just to swap."""
    if m.folio[page].swapcache:
        return sc.allows_io()
    return sc.allows_fs()


def pageout(m: Memory, cpu: int, page: Page) -> int:
    """Begin to write a dirty folio (pageout(), is_page_cache_freeable())."""
    index = m.use[page].index
    if m.folio[page].refcount != 2:
        return PAGE_KEEP
    if index is None and not m.folio[page].swapcache:
        return PAGE_KEEP
    dirty = folio_clear_dirty_for_io(m, page)
    if not dirty:  # never true: the caller has seen that it is dirty, and has it locked
        return PAGE_CLEAN
    m.folio[page].reclaim = True
    if index is None:
        swap_writepage(m, cpu, page)
    else:
        write_folio(m, page, index)
    if not m.folio[page].writeback:
        m.folio[page].reclaim = False
    return PAGE_SUCCESS


def shrink_folio(m: Memory, sc: FolioScan, cpu: int, page: Page) -> Outcome:
    """The first step for a folio that is isolated (shrink_folio_list() up to __remove_mapping()).

    FOLIO_UNMAPPED: the folio is locked, and remove_folio() is to follow. FOLIO_PAGEOUT: it is kept, and being written.
    Otherwise it is unlocked; PG_active is set if the outcome is FOLIO_ACTIVATE."""
    folio = m.folio[page]
    locked = folio_trylock(m, page)
    if not locked:
        return FOLIO_KEEP
    assert not folio.active, "shrink_folio_list: VM_BUG_ON_FOLIO(folio_test_active(folio))"
    if not folio_evictable(m, page):
        return activate_locked(m, page)
    may_unmap = sc.allows_unmap()
    if folio_mapped(m, page) and not may_unmap:
        return keep_locked(m, page)
    if folio.writeback:
        folio.reclaim = True
        return activate_locked(m, page)
    references = folio_check_references(m, cpu, page)
    if references == FOLIOREF_ACTIVATE:
        return activate_locked(m, page)
    if references == FOLIOREF_KEEP:
        return keep_locked(m, page)
    if m.use[page].anon and folio.swapbacked and not folio.swapcache:
        may_io = sc.allows_io()
        if not may_io:
            return keep_locked(m, page)
        added = add_to_swap(m, cpu, page)
        if not added:
            return activate_locked(m, page)
    if folio_mapped(m, page):
        try_to_unmap(m, sc, cpu, page)
        if folio_mapped(m, page):
            return activate_locked(m, page)
    if folio.dirty:
        if folio_is_file_lru(m, page):
            writes_files = sc.writes_files()
            if not writes_files or not folio.reclaim:
                folio.reclaim = True
                return activate_locked(m, page)
        if references == FOLIOREF_RECLAIM_CLEAN:
            return keep_locked(m, page)
        may_enter = may_enter_fs(m, sc, page)
        if not may_enter:
            return keep_locked(m, page)
        may_writepage = sc.allows_writepage()
        if not may_writepage:
            return keep_locked(m, page)
        try_to_unmap_flush_dirty(m, sc)
        outcome = pageout(m, cpu, page)
        if outcome == PAGE_KEEP:
            return keep_locked(m, page)
        if outcome == PAGE_SUCCESS:  # never false: see PAGE_CLEAN in pageout()
            if folio.writeback:
                return FOLIO_PAGEOUT
            if folio.dirty:
                return FOLIO_KEEP
            # A synchronous write: go ahead and try to reclaim the folio.
            folio_trylock(m, page)
    return FOLIO_UNMAPPED


def remove_folio(m: Memory, page: Page) -> Outcome:
    """The second step (the end of shrink_folio_list()'s loop): FOLIO_KEEP, or FOLIO_RECLAIMED. Then the folio has no
    reference any more, and is to be freed after try_to_unmap_flush()."""
    folio = m.folio[page]
    if m.use[page].anon and not folio.swapbacked:
        if folio.refcount != 1:
            return keep_locked(m, page)
        folio.refcount = 0  # folio_ref_freeze(folio, 1)
    else:
        removed = remove_mapping(m, page)
        if not removed:
            return keep_locked(m, page)
    folio_unlock(m, page)
    return FOLIO_RECLAIMED


def remove_mapping(m: Memory, page: Page) -> bool:
    """Take a folio out of the swap cache or the page cache if the reclaimer alone holds it and it is clean
    (__remove_mapping()); first the references are frozen, then PG_dirty is read."""
    folio = m.folio[page]
    assert folio.locked, "__remove_mapping: BUG_ON(!folio_test_locked(folio))"
    entry = m.use[page].swap
    index = m.use[page].index
    if entry is None and index is None:  # never true: a folio without a mapping is dirty, so that pageout() keeps it
        return False
    if folio.refcount != 2:
        return False
    folio.refcount = 0  # folio_ref_freeze(folio, 2)
    if folio.dirty:
        folio.refcount = 2
        return False
    shadow = m.workingset_eviction(page)
    if entry is not None:
        __delete_from_swap_cache(m, page, entry, shadow)
        put_swap_folio(m, entry)
    else:
        assert index is not None
        filemap_remove_folio(m, page, index, shadow)
    return True
