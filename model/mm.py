"""The structures of user memory: page tables, swap, the page cache, and what is in the pages (Linux 6.1).

The one idea: what a page holds is part of the machine, a bit that each write flips. A ghost keeps what each task wrote
last, so that "nothing is lost" is what it says: what a task reads is what was last written, whatever was reclaimed,
written out, shared or copied in between.

Sources: mm_types.h, include/linux/swap.h, pagemap.h, mm/swapfile.c, mm/swap_state.c. A task's memory has `vpages`
anonymous pages, private, shared with a child by fork until one writes; and it maps the pages of one file, shared. There
is one swap device and one file. The zero page is not counted or mapped: where nothing is mapped, zero is read.

`Memory` has methods for what stands below user memory (frames, the LRU), `FolioScan` for what a reclaimer may do, and
`Mm` for a TLB; machines override them.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .folio import LruMemory, Shadow
from .lang import GHOST, Array, Range, Record, Sort, choose, require
from .lru import (
    folio_add_lru,
    folio_get,
    folio_mark_accessed,
    folio_put,
    folio_rotate_reclaimable,
    lru_add_drain,
    mark_page_lazyfree,
    mlock_folio,
    mlock_new_page,
    mlock_page_drain_local,
    munlock_page,
    workingset_eviction,
    workingset_refault,
)

TaskId = Annotated[int, Sort("task", "tasks")]
VirtualPage = Annotated[int, Sort("vpage", "vpages")]
FileIndex = Annotated[int, Sort("file_page", "file_pages")]
SwapEntry = Annotated[int, Sort("swap_entry", "swap_entries")]
Content = Annotated[int, Range(0, 1)]


class Pte(Record):
    """pte_t: a page, a swap entry, or neither."""

    page: Page | None  # present
    swap: SwapEntry | None
    young: bool
    dirty: bool
    write: bool
    exclusive: bool  # pte_swp_exclusive(): nobody else has the swap entry


class Mm(Record):
    """mm_struct of one task. `alive` is false for a task that does not exist.

    The methods are what a TLB needs to be told; without one there is nothing to do."""

    alive: bool
    anon: Array[VirtualPage, Pte]
    file: Array[FileIndex, Pte]
    locked: Array[VirtualPage, bool]  # VM_LOCKED
    expected: Annotated[Array[VirtualPage, Content], GHOST]  # what the task wrote there last
    freed: Annotated[Array[VirtualPage, bool], GHOST]  # MADV_FREE, and no write since: zero may be read as well

    def flush_tlb_page(self, address: VirtualPage) -> None:
        """No processor may use what it remembers of this address (flush_tlb_page())."""

    def flush_tlb_mm(self) -> None:
        """No processor may use what it remembers of this task's memory (flush_tlb_mm())."""

    def flush_tlb_batched_pending(self) -> None:
        """If reclaim unmapped something and has not told the processors yet, do so now."""

    def set_tlb_ubc_flush_pending(self) -> None:
        """Reclaim unmaps something, and tells the processors later."""


class SwapSlot(Record):
    """An entry of swap_info_struct->swap_map, of the swap cache, and the block on the device."""

    count: Annotated[int, Range(0, "mappings")]  # swap_map without SWAP_HAS_CACHE: the PTEs that name it
    has_cache: bool  # SWAP_HAS_CACHE
    folio: Page | None  # swap cache
    shadow: Shadow | None
    io: Page | None  # the page that is being written there (bio)
    content: Content  # on the device


class CachedPage(Record):
    """A slot of address_space->i_pages, and the block on the disk."""

    folio: Page | None
    shadow: Shadow | None
    io: Page | None  # the page that is being written there (bio)
    content: Content  # on the disk
    expected: Annotated[Content, GHOST]  # what was written last to this page of the file


class PageUse(Record):
    """What a folio is used for: `mapping`, `index` and `private` of struct folio, and its bytes."""

    anon: bool  # PageAnon
    exclusive: bool  # PageAnonExclusive: the one PTE that maps it may write
    index: FileIndex | None  # of a page cache folio that is still in the cache (mapping is not NULL)
    swap: SwapEntry | None  # page_private() of a swap cache folio
    content: Content


class FolioScan(Record):
    """What shrink_folio_list() asks of its reclaimer (struct scan_control, pgdat->flags), and the reclaimer's batch of
    TLB flushes (current->tlb_ubc).

    The default is a reclaimer of which nothing is known: whatever it may do, it may at any time."""

    flush_required: bool  # tlb_ubc.flush_required
    writable: bool  # tlb_ubc.writable

    def allows_unmap(self) -> bool:
        """sc->may_unmap."""
        answer = choose(range(2))
        return answer == 1

    def allows_writepage(self) -> bool:
        """sc->may_writepage."""
        answer = choose(range(2))
        return answer == 1

    def allows_io(self) -> bool:
        """sc->gfp_mask & __GFP_IO."""
        answer = choose(range(2))
        return answer == 1

    def allows_fs(self) -> bool:
        """sc->gfp_mask & __GFP_FS."""
        answer = choose(range(2))
        return answer == 1

    def writes_files(self) -> bool:
        """current_is_kswapd() and PGDAT_DIRTY: dirty folios of files that were met before are written."""
        answer = choose(range(2))
        return answer == 1


class Memory(LruMemory):
    """User memory over the LRU."""

    use: Array[Page, PageUse]
    mm: Array[TaskId, Mm]
    swap: Array[SwapEntry, SwapSlot]
    i_pages: Array[FileIndex, CachedPage]

    def alloc_folio(self, cpu: int) -> Page | None:
        """A frame for user memory, with one reference and zeroed (alloc_zeroed_user_highpage_movable())."""
        return None

    def free_folio(self, cpu: int, page: Page) -> None:
        """A frame is unused again; a machine with a page allocator gives it back after clear_use()."""
        clear_use(self, page)

    def folio_put(self, cpu: int, page: Page) -> None:
        """Drop a reference; the last one frees the folio (folio_put())."""
        folio_put(self, cpu, page)

    def folio_add_lru(self, cpu: int, page: Page) -> None:
        """A new folio is to be on the LRU (folio_add_lru())."""
        folio_add_lru(self, cpu, page)

    def folio_mark_accessed(self, cpu: int, page: Page) -> None:
        """A folio was used by a system call (folio_mark_accessed())."""
        folio_mark_accessed(self, cpu, page)

    def mark_page_lazyfree(self, cpu: int, page: Page) -> None:
        """A folio's content is of no interest any more (mark_page_lazyfree())."""
        mark_page_lazyfree(self, cpu, page)

    def folio_rotate_reclaimable(self, cpu: int, page: Page) -> None:
        """A folio was written and is to be reclaimed next (folio_rotate_reclaimable())."""
        folio_rotate_reclaimable(self, cpu, page)

    def mlock_folio(self, cpu: int, page: Page) -> None:
        """A folio is mapped in locked memory (mlock_folio())."""
        mlock_folio(self, cpu, page)

    def mlock_new_page(self, cpu: int, page: Page) -> None:
        """A new folio is mapped in locked memory (mlock_new_page())."""
        mlock_new_page(self, cpu, page)

    def munlock_page(self, cpu: int, page: Page) -> None:
        """A folio is no longer mapped in this locked memory (munlock_page())."""
        munlock_page(self, cpu, page)

    def mlock_page_drain_local(self, cpu: int) -> None:
        """What was mlocked or munlocked on this cpu is dealt with (mlock_page_drain_local())."""
        mlock_page_drain_local(self, cpu)

    def lru_add_drain(self, cpu: int) -> None:
        """What the batches of this cpu hold goes to the lists (lru_add_drain())."""
        lru_add_drain(self, cpu)

    def wakes_later(self, page: Page) -> bool:
        """Whether others run before those are woken who wait for the end of writeback."""
        return False

    def workingset_eviction(self, page: Page) -> Shadow | None:
        """What to remember of a folio that is reclaimed (workingset_eviction())."""
        return workingset_eviction(self, page)

    def workingset_refault(self, page: Page, shadow: Shadow) -> None:
        """A folio is read back that was reclaimed (workingset_refault())."""
        workingset_refault(self, page, shadow)

    def pte_mkyoung(self, pte: Pte) -> None:
        """A page was used through this PTE (pte_mkyoung(), or the processor's accessed bit)."""
        pte.young = True

    def next_content(self, content: Content) -> Content:
        """What a write makes of a page."""
        return 1 if content == 0 else 0

    def swap_is_synchronous(self) -> bool:
        """SWP_SYNCHRONOUS_IO: the swap device is done when a read or write returns (zram)."""
        return False


# --- small words of pagemap.h, mm.h, page-flags.h and page-writeback.c


def folio_lock(m: Memory, page: Page) -> None:
    """Wait until the folio is unlocked, and lock it (folio_lock())."""
    require(not m.folio[page].locked)
    m.folio[page].locked = True


def folio_trylock(m: Memory, page: Page) -> bool:
    """Lock the folio unless somebody has (folio_trylock())."""
    if m.folio[page].locked:
        return False
    m.folio[page].locked = True
    return True


def folio_unlock(m: Memory, page: Page) -> None:
    """Unlock the folio (folio_unlock())."""
    assert m.folio[page].locked, "folio_unlock: VM_BUG_ON_FOLIO(!folio_test_locked(folio))"
    m.folio[page].locked = False


def folio_mapped(m: Memory, page: Page) -> bool:
    """Whether some PTE maps the folio (folio_mapped())."""
    return m.folio[page].mapcount > 0


def folio_mark_dirty(m: Memory, page: Page) -> None:
    """The folio's content must be kept (folio_mark_dirty(), folio_set_dirty())."""
    m.folio[page].reclaim = False  # of a folio with a mapping; others do not have it
    m.folio[page].dirty = True


def folio_start_writeback(m: Memory, page: Page) -> None:
    """The folio's content is on its way (folio_start_writeback())."""
    assert not m.folio[page].writeback, "folio_start_writeback: WARN_ON_ONCE(folio_test_writeback(folio))"
    m.folio[page].writeback = True


def folio_end_writeback(m: Memory, cpu: int, page: Page) -> None:
    """The folio's content has arrived, and who waits for that is woken (folio_end_writeback())."""
    if m.folio[page].reclaim:
        m.folio[page].reclaim = False
        m.folio_rotate_reclaimable(cpu, page)
    clear_writeback_or_wake(m, cpu, page, False)
    later = m.wakes_later(page)
    if not later:
        clear_writeback_or_wake(m, cpu, page, True)


def clear_writeback_or_wake(m: Memory, cpu: int, page: Page, wake: bool) -> None:
    """PG_writeback is cleared, and later who waits for that is woken. Writeback itself holds no reference: here must be
    one, lest the folio is freed and used again between the two."""
    if not wake:
        folio_get(m, page)
        assert m.folio[page].writeback, "folio_end_writeback: BUG_ON(!__folio_end_writeback(folio))"
        m.folio[page].writeback = False
    else:
        m.folio_put(cpu, page)  # after folio_wake(folio, PG_writeback)


def clear_pte(pte: Pte) -> None:
    """Nothing is mapped any more (pte_clear())."""
    pte.page = None
    pte.swap = None
    pte.young = False
    pte.dirty = False
    pte.write = False
    pte.exclusive = False


def clear_use(m: Memory, page: Page) -> None:
    """A frame is used for nothing any more (free_pages_prepare()); what is in it is nothing to anybody."""
    use = m.use[page]
    assert use.index is None, "free_page_is_bad: non-NULL mapping"
    assert use.swap is None, "free_page_is_bad: in the swap cache"
    use.anon = False
    use.exclusive = False
    use.content = 0
