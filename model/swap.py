"""Swap: entries and their counts, the swap cache, reading and writing (Linux 6.1).

The one idea: an entry lives as long as a PTE or the swap cache names it: swap_map counts the PTEs, and SWAP_HAS_CACHE
is set while a folio has the entry in the swap cache, or somebody is about to put one there.

Sources: mm/swapfile.c, mm/swap_state.c, mm/page_io.c. Any free entry may be the one that is taken: which it is depends
on clusters, cpus and the past. Left out: several devices, huge pages, frontswap, readahead, the cache of free slots.
"""

from __future__ import annotations

from .buddy import Page
from .lang import choose, indices, require
from .lru import folio_get
from .mm import (
    Memory,
    SwapEntry,
    folio_end_writeback,
    folio_mapped,
    folio_mark_dirty,
    folio_start_writeback,
    folio_trylock,
    folio_unlock,
)

# --- entries: mm/swapfile.c


def swap_is_free(m: Memory, entry: SwapEntry) -> bool:
    """swap_map[offset] == 0."""
    return m.swap[entry].count == 0 and not m.swap[entry].has_cache


def vm_swap_full(m: Memory) -> bool:
    """Whether less than half of the entries are free (vm_swap_full())."""
    return 2 * sum(1 for entry in indices(m.swap) if swap_is_free(m, entry)) < len(m.swap)


def reclaimable_entry(m: Memory, entry: SwapEntry) -> bool:
    """Whether nobody but the swap cache has an entry, and its folio can be had (SWAP_HAS_CACHE alone)."""
    page = m.swap[entry].folio
    if m.swap[entry].count > 0 or page is None:
        return False
    return not m.folio[page].locked and not m.folio[page].writeback


def get_swap_pages(m: Memory, cpu: int) -> SwapEntry | None:
    """Any free entry; if there is none, one that the swap cache alone has (get_swap_pages(), scan_swap_map_slots())."""
    if any(swap_is_free(m, entry) for entry in indices(m.swap)):
        entry = choose(indices(m.swap))
        require(swap_is_free(m, entry))
        m.swap[entry].has_cache = True
        return entry
    if not any(reclaimable_entry(m, entry) for entry in indices(m.swap)):
        return None
    entry = choose(indices(m.swap))
    require(reclaimable_entry(m, entry))
    try_to_reclaim_swap(m, cpu, entry, True)
    m.swap[entry].has_cache = True
    return entry


def swap_duplicate(m: Memory, entry: SwapEntry) -> None:
    """One more PTE has the entry (swap_duplicate(); the count cannot overflow here)."""
    assert not swap_is_free(m, entry), "swap_duplicate: unused swap entry"
    m.swap[entry].count += 1


def swapcache_prepare(m: Memory, entry: SwapEntry) -> bool:
    """Claim the entry's place in the swap cache; false if somebody has (swapcache_prepare())."""
    if m.swap[entry].has_cache:
        return False
    if m.swap[entry].count == 0:  # never true: a fault is one step, so that its PTE still has the entry
        return False
    m.swap[entry].has_cache = True
    return True


def swapcache_pin(m: Memory, entry: SwapEntry, pin: bool) -> bool:
    """Keep all others from an entry that is read past the swap cache (swapcache_prepare()), until the page is mapped
    (swapcache_clear()); false if somebody has claimed it before."""
    if pin:
        return swapcache_prepare(m, entry)
    put_swap_folio(m, entry)
    return True


def swap_entry_free(m: Memory, entry: SwapEntry) -> None:
    """If nobody has the entry, it is free (swap_range_free()); what is on a free block is nothing to anybody."""
    if swap_is_free(m, entry):
        m.swap[entry].shadow = None
        m.swap[entry].content = 0


def swap_free(m: Memory, entry: SwapEntry) -> None:
    """A PTE less has the entry (swap_free())."""
    assert m.swap[entry].count > 0, "swap_free: unused swap entry"
    m.swap[entry].count -= 1
    swap_entry_free(m, entry)


def put_swap_folio(m: Memory, entry: SwapEntry) -> None:
    """The entry's place in the swap cache is empty again (put_swap_folio())."""
    assert m.swap[entry].has_cache, "put_swap_folio: VM_BUG_ON(!has_cache)"
    m.swap[entry].has_cache = False
    swap_entry_free(m, entry)


def free_swap_and_cache(m: Memory, cpu: int, entry: SwapEntry) -> None:
    """A PTE with the entry is cleared; if it was the last, the folio in the swap cache goes too
    (free_swap_and_cache())."""
    swap_free(m, entry)
    if m.swap[entry].count == 0 and m.swap[entry].has_cache:
        try_to_reclaim_swap(m, cpu, entry, False)


def try_to_reclaim_swap(m: Memory, cpu: int, entry: SwapEntry, anyway: bool) -> None:
    """Free the swap space of a folio if the swap cache alone has it (__try_to_reclaim_swap(), with TTRS_ANYWAY or with
    TTRS_UNMAPPED | TTRS_FULL)."""
    page = m.swap[entry].folio
    if page is None:
        return
    folio_get(m, page)
    locked = folio_trylock(m, page)
    if locked:
        if anyway or not folio_mapped(m, page) or vm_swap_full(m):
            folio_free_swap(m, page)
        folio_unlock(m, page)
    m.folio_put(cpu, page)


def folio_free_swap(m: Memory, page: Page) -> bool:
    """Give up the swap space of a folio that no PTE's entry needs (folio_free_swap(), try_to_free_swap())."""
    entry = m.use[page].swap
    if not m.folio[page].swapcache or m.folio[page].writeback:
        return False
    assert entry is not None
    if m.swap[entry].count > 0:  # folio_swapped()
        return False
    delete_from_swap_cache(m, page)
    folio_mark_dirty(m, page)
    return True


# --- the swap cache: mm/swap_state.c


def add_to_swap_cache(m: Memory, page: Page, entry: SwapEntry) -> None:
    """Put a folio into the swap cache (add_to_swap_cache(); the shadow is the caller's to look at before)."""
    folio = m.folio[page]
    assert folio.locked, "add_to_swap_cache: VM_BUG_ON_FOLIO(!folio_test_locked(folio))"
    assert not folio.swapcache, "add_to_swap_cache: VM_BUG_ON_FOLIO(folio_test_swapcache(folio))"
    assert folio.swapbacked, "add_to_swap_cache: VM_BUG_ON_FOLIO(!folio_test_swapbacked(folio))"
    folio.refcount += 1
    folio.swapcache = True
    m.use[page].swap = entry
    m.swap[entry].folio = page
    m.swap[entry].shadow = None


def __delete_from_swap_cache(m: Memory, page: Page, entry: SwapEntry, shadow: int | None) -> None:
    """Take a folio out of the swap cache; its reference is the caller's (__delete_from_swap_cache())."""
    folio = m.folio[page]
    assert folio.locked, "__delete_from_swap_cache: VM_BUG_ON_FOLIO(!folio_test_locked(folio))"
    assert folio.swapcache, "__delete_from_swap_cache: VM_BUG_ON_FOLIO(!folio_test_swapcache(folio))"
    assert not folio.writeback, "__delete_from_swap_cache: VM_BUG_ON_FOLIO(folio_test_writeback(folio))"
    assert m.swap[entry].folio == page, "__delete_from_swap_cache: VM_BUG_ON_PAGE(entry != folio)"
    m.swap[entry].folio = None
    m.swap[entry].shadow = shadow
    m.use[page].swap = None
    folio.swapcache = False


def delete_from_swap_cache(m: Memory, page: Page) -> None:
    """Take a folio out of the swap cache, and the entry from it (delete_from_swap_cache())."""
    entry = m.use[page].swap
    assert entry is not None
    __delete_from_swap_cache(m, page, entry, None)
    put_swap_folio(m, entry)
    m.folio[page].refcount -= 1


def add_to_swap(m: Memory, cpu: int, page: Page) -> bool:
    """Find swap space for a folio (add_to_swap()); false if there is none."""
    assert m.folio[page].locked, "add_to_swap: VM_BUG_ON_FOLIO(!folio_test_locked(folio))"
    entry = get_swap_pages(m, cpu)
    if entry is None:
        return False
    add_to_swap_cache(m, page, entry)
    folio_mark_dirty(m, page)
    return True


def free_swap_cache(m: Memory, page: Page) -> None:
    """A folio is no longer mapped by this task: perhaps nobody needs its swap space (free_swap_cache())."""
    if m.folio[page].swapcache and not folio_mapped(m, page):
        locked = folio_trylock(m, page)
        if locked:  # never false: who keeps a folio locked has unmapped it before
            folio_free_swap(m, page)
            folio_unlock(m, page)


def free_page_and_swap_cache(m: Memory, cpu: int, page: Page) -> None:
    """Drop the reference of a PTE that was cleared (free_page_and_swap_cache())."""
    free_swap_cache(m, page)
    m.folio_put(cpu, page)


def read_swap_cache_async(m: Memory, cpu: int, entry: SwapEntry) -> Page | None:
    """The folio of an entry, read into the swap cache unless it is there, with a reference for the caller; none if
    there is no memory or another task is about to put it there (read_swap_cache_async()). Reading is done when it
    returns."""
    cached = m.swap[entry].folio
    if cached is not None:
        folio_get(m, cached)
        return cached
    page = m.alloc_folio(cpu)
    if page is None:
        return None
    prepared = swapcache_prepare(m, entry)
    if not prepared:
        m.folio_put(cpu, page)
        return None
    m.folio[page].locked = True
    m.folio[page].swapbacked = True
    shadow = m.swap[entry].shadow
    add_to_swap_cache(m, page, entry)
    if shadow is not None:
        m.workingset_refault(page, shadow)
    m.folio_add_lru(cpu, page)
    swap_readpage(m, page, entry)
    folio_unlock(m, page)
    return page


# --- the device: mm/page_io.c


def swap_readpage(m: Memory, page: Page, entry: SwapEntry) -> None:
    """Read a folio from its place on the device (swap_readpage())."""
    assert m.folio[page].locked, "swap_readpage: VM_BUG_ON_PAGE(!PageLocked(page))"
    m.use[page].content = m.swap[entry].content


def swap_writepage(m: Memory, cpu: int, page: Page) -> None:
    """Write a folio to its place on the device, if it needs one still; unlocks it (swap_writepage())."""
    freed = folio_free_swap(m, page)
    if freed:
        folio_unlock(m, page)
        return
    entry = m.use[page].swap
    assert entry is not None
    folio_start_writeback(m, page)
    m.swap[entry].io = page
    folio_unlock(m, page)
    if m.swap_is_synchronous():
        end_swap_bio_write(m, cpu, entry)


def end_swap_bio_write(m: Memory, cpu: int, entry: SwapEntry) -> None:
    """The device has taken what the page holds now (end_swap_bio_write())."""
    page = m.swap[entry].io
    assert page is not None
    m.swap[entry].content = m.use[page].content
    m.swap[entry].io = None
    folio_end_writeback(m, cpu, page)
