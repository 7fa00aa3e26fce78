"""What a task does with its memory: faults, fork, madvise, mlock, exit (Linux 6.1, mm/memory.c, madvise.c, mlock.c).

The one idea: each function is one fault or one system call, run under the task's locks; where a fault would sleep for
memory it gives up with what it has done so far, which is in order, and is taken again. Where it would wait for the lock
of a folio, the step waits.

Left out: FOLL_PIN (direct io takes plain references, FOLL_GET, as in 6.1), KSM, migration, userfaultfd, huge pages, the
zero page, private mappings of files, and swap devices that want stable pages.
"""

from __future__ import annotations

from .buddy import Page
from .filemap import filemap_get_folio
from .lang import indices
from .lru import folio_get
from .mm import (
    FileIndex,
    Memory,
    Mm,
    Pte,
    SwapEntry,
    VirtualPage,
    clear_pte,
    folio_lock,
    folio_mark_dirty,
    folio_trylock,
    folio_unlock,
)
from .rmap import (
    page_add_anon_rmap,
    page_add_file_rmap,
    page_add_new_anon_rmap,
    page_dup_anon_rmap,
    page_remove_anon_rmap,
    page_remove_rmap,
)
from .swap import (
    folio_free_swap,
    free_page_and_swap_cache,
    free_swap_and_cache,
    free_swap_cache,
    read_swap_cache_async,
    swap_duplicate,
    swap_free,
    swap_readpage,
    swapcache_pin,
    vm_swap_full,
)

# --- anonymous memory


def handle_mm_fault(m: Memory, cpu: int, mm: Mm, address: VirtualPage, write: bool) -> bool:
    """Make an access to anonymous memory possible (handle_pte_fault()); false if there is no memory for it."""
    pte = mm.anon[address]
    if pte.page is None and pte.swap is None:
        if write:
            return do_anonymous_page(m, cpu, mm, address)
        return True
    if pte.page is None:
        return do_swap_page(m, cpu, mm, address, write)
    if write and not pte.write:
        return do_wp_page(m, cpu, mm, address)
    if write:
        pte.dirty = True
    m.pte_mkyoung(pte)
    return True


def set_new_pte(m: Memory, cpu: int, mm: Mm, address: VirtualPage, page: Page) -> None:
    """Map a new page for writing (mk_pte(), page_add_new_anon_rmap(), lru_cache_add_inactive_or_unevictable())."""
    page_add_new_anon_rmap(m, page)
    if mm.locked[address]:
        m.mlock_new_page(cpu, page)
    else:
        m.folio_add_lru(cpu, page)
    pte = mm.anon[address]
    pte.page = page
    pte.dirty = True
    pte.write = True
    m.pte_mkyoung(pte)


def do_anonymous_page(m: Memory, cpu: int, mm: Mm, address: VirtualPage) -> bool:
    """The first write to a page: a new one, zeroed (do_anonymous_page())."""
    page = m.alloc_folio(cpu)
    if page is None:
        return False
    m.use[page].content = 0
    set_new_pte(m, cpu, mm, address, page)
    return True


def do_wp_page(m: Memory, cpu: int, mm: Mm, address: VirtualPage) -> bool:
    """A write to a page that is mapped read-only: the task may have it if it is alone with it, or gets a copy
    (do_wp_page())."""
    page = mm.anon[address].page
    assert page is not None
    if m.use[page].exclusive:
        return wp_page_reuse(m, mm.anon[address])
    if not m.folio[page].lru:
        m.lru_add_drain(cpu)
    cached = 1 if m.folio[page].swapcache else 0
    if m.folio[page].refcount > 1 + cached:
        return wp_page_copy(m, cpu, mm, address, page)
    locked = folio_trylock(m, page)
    if not locked:  # never true: who keeps a folio locked has a reference to it
        return wp_page_copy(m, cpu, mm, address, page)
    folio_free_swap(m, page)
    if m.folio[page].refcount != 1:
        folio_unlock(m, page)
        return wp_page_copy(m, cpu, mm, address, page)
    m.use[page].exclusive = True  # page_move_anon_rmap()
    folio_unlock(m, page)
    return wp_page_reuse(m, mm.anon[address])


def wp_page_reuse(m: Memory, pte: Pte) -> bool:
    """The page is the task's own: it may write (wp_page_reuse())."""
    pte.dirty = True
    pte.write = True
    m.pte_mkyoung(pte)
    return True


def wp_page_copy(m: Memory, cpu: int, mm: Mm, address: VirtualPage, old_page: Page) -> bool:
    """The page may be another's too: the task gets a copy (wp_page_copy())."""
    new_page = m.alloc_folio(cpu)
    if new_page is None:
        return False
    m.use[new_page].content = m.use[old_page].content
    clear_pte(mm.anon[address])
    mm.flush_tlb_page(address)  # ptep_clear_flush_notify()
    set_new_pte(m, cpu, mm, address, new_page)
    page_remove_anon_rmap(m, cpu, mm, address, old_page)
    free_swap_cache(m, old_page)
    m.folio_put(cpu, old_page)
    return True


# --- swapping in


def do_swap_page(m: Memory, cpu: int, mm: Mm, address: VirtualPage, write: bool) -> bool:
    """Bring a page back from swap (do_swap_page()), in one step."""
    entry = mm.anon[address].swap
    assert entry is not None
    exclusive = mm.anon[address].exclusive
    direct = may_skip_swapcache(m, entry)
    page = swapin_folio(m, cpu, entry)
    if page is None:
        return False
    return map_swapped_folio(m, cpu, mm, address, write, page, entry, exclusive, direct)


def may_skip_swapcache(m: Memory, entry: SwapEntry) -> bool:
    """Whether a folio is to be read past the swap cache: the device is fast and nobody else has the entry."""
    return m.swap[entry].folio is None and m.swap_is_synchronous() and m.swap[entry].count == 1


def swapin_folio(m: Memory, cpu: int, entry: SwapEntry) -> Page | None:
    """The first half of do_swap_page(): the folio, from the swap cache or read, with a reference; none if there is no
    memory, or somebody else is reading it. A folio that is read past the swap cache is locked."""
    if may_skip_swapcache(m, entry):
        return swapin_skipping_swapcache(m, cpu, entry)
    return read_swap_cache_async(m, cpu, entry)


def swapin_skipping_swapcache(m: Memory, cpu: int, entry: SwapEntry) -> Page | None:
    """Read a folio past the swap cache; SWAP_HAS_CACHE keeps all others from the entry until it is mapped."""
    prepared = swapcache_pin(m, entry, True)
    if not prepared:
        return None
    page = m.alloc_folio(cpu)
    if page is None:
        swapcache_pin(m, entry, False)
        return None
    m.folio[page].locked = True
    m.folio[page].swapbacked = True
    shadow = m.swap[entry].shadow
    if shadow is not None:  # never false: an entry that PTEs have left the swap cache by reclaim
        m.workingset_refault(page, shadow)
    m.folio_add_lru(cpu, page)
    swap_readpage(m, page, entry)
    # The entry goes when the page is mapped, and with it what is on the device. 6.1 leaves the page clean all the same.
    folio_mark_dirty(m, page)
    return page


def map_swapped_folio(
    m: Memory, cpu: int, mm: Mm, address: VirtualPage, write: bool, page: Page, entry: SwapEntry, exclusive: bool,
    direct: bool,
) -> bool:
    """The second half of do_swap_page(): map the folio if the PTE still has the entry; false if it has not, or a copy
    is needed for which there is no memory.

    `exclusive` is of the PTE as the fault found it, `direct` says that the folio was read past the swap cache."""
    pte = mm.anon[address]
    if not direct:
        folio_lock(m, page)
        if not m.folio[page].swapcache or m.use[page].swap != entry:
            # Somebody freed the swap space of the folio, and perhaps used it again.
            folio_unlock(m, page)
            m.folio_put(cpu, page)
            return False
        if write and not m.folio[page].lru:
            m.lru_add_drain(cpu)
    if pte.swap != entry or pte.exclusive != exclusive:  # !pte_same()
        folio_unlock(m, page)
        m.folio_put(cpu, page)
        if direct:
            swapcache_pin(m, entry, False)
        return False
    assert not (m.use[page].anon and m.use[page].exclusive), "do_swap_page: BUG_ON(PageAnonExclusive(page))"
    exclusive = exclusive or direct
    swap_free(m, entry)
    if should_try_to_free_swap(m, mm, address, page, write):
        folio_free_swap(m, page)
    clear_pte(pte)
    alone = exclusive or m.folio[page].refcount == 1
    if alone and write:
        pte.dirty = True
        pte.write = True
    page_add_anon_rmap(m, cpu, mm, address, page, alone)
    pte.page = page
    m.pte_mkyoung(pte)
    folio_unlock(m, page)
    done = True
    if write and not alone:
        done = do_wp_page(m, cpu, mm, address)
    if direct:
        swapcache_pin(m, entry, False)
    return done


def should_try_to_free_swap(m: Memory, mm: Mm, address: VirtualPage, page: Page, write: bool) -> bool:
    """Whether a folio that is brought back is to give up its swap space (should_try_to_free_swap())."""
    if not m.folio[page].swapcache:
        return False
    if vm_swap_full(m) or mm.locked[address] or m.folio[page].mlocked:
        return True
    return write and m.folio[page].refcount == 2


# --- the file


def do_file_fault(m: Memory, cpu: int, mm: Mm, index: FileIndex, write: bool) -> bool:
    """Make an access to the mapped file possible (do_read_fault(), do_shared_fault(), wp_page_shared()); false if there
    is no memory for it."""
    pte = mm.file[index]
    page = pte.page
    if page is None:
        page = filemap_get_folio(m, cpu, index)
        if page is None:
            return False
        folio_lock(m, page)
        if write:
            folio_mark_dirty(m, page)  # block_page_mkwrite(), fault_dirty_shared_page()
        page_add_file_rmap(m, page)
        folio_unlock(m, page)
        pte.page = page
        pte.write = write
    elif write and not pte.write:
        folio_lock(m, page)
        folio_mark_dirty(m, page)
        folio_unlock(m, page)
        pte.write = True
    if write:
        pte.dirty = True
    m.pte_mkyoung(pte)
    return True


# --- unmapping


def zap_anon_pte(m: Memory, cpu: int, mm: Mm, address: VirtualPage) -> None:
    """Take one page out of a task's memory (zap_pte_range(), free_pages_and_swap_cache())."""
    mm.flush_tlb_batched_pending()
    pte = mm.anon[address]
    page = pte.page
    entry = pte.swap
    clear_pte(pte)
    if page is not None:
        page_remove_anon_rmap(m, cpu, mm, address, page)
        mm.flush_tlb_page(address)  # tlb_finish_mmu(), before the page is let go
        m.lru_add_drain(cpu)
        free_page_and_swap_cache(m, cpu, page)
    elif entry is not None:
        free_swap_and_cache(m, cpu, entry)


def zap_file_pte(m: Memory, cpu: int, mm: Mm, index: FileIndex) -> None:
    """Take one page of the file out of a task's memory; what its PTE knew goes to the folio (zap_pte_range())."""
    pte = mm.file[index]
    page = pte.page
    if page is None:
        return
    if pte.dirty:
        folio_mark_dirty(m, page)
    if pte.young:
        m.folio_mark_accessed(cpu, page)
    clear_pte(pte)
    page_remove_rmap(m, page)
    m.folio_put(cpu, page)


def madvise_free_pte(m: Memory, cpu: int, mm: Mm, address: VirtualPage) -> None:
    """The content of a page is of no interest to the task any more (madvise_free_pte_range())."""
    mm.flush_tlb_batched_pending()
    pte = mm.anon[address]
    page = pte.page
    entry = pte.swap
    if entry is not None:
        clear_pte(pte)
        free_swap_and_cache(m, cpu, entry)
    if page is None:
        return
    if m.folio[page].swapcache or m.folio[page].dirty:
        locked = folio_trylock(m, page)
        if not locked:  # never true: who keeps a folio locked has unmapped it before
            return
        if m.folio[page].mapcount != 1:  # shared with others: it is not ours to make clean
            folio_unlock(m, page)
            return
        if m.folio[page].swapcache:
            freed = folio_free_swap(m, page)
            if not freed:
                folio_unlock(m, page)
                return
        m.folio[page].dirty = False
        folio_unlock(m, page)
    if pte.young or pte.dirty:
        pte.young = False
        pte.dirty = False
        mm.flush_tlb_page(address)
    m.mark_page_lazyfree(cpu, page)


def exit_mmap(m: Memory, cpu: int, mm: Mm) -> None:
    """A task's memory goes (exit_mmap())."""
    for address in indices(mm.anon):
        zap_anon_pte(m, cpu, mm, address)
        mm.locked[address] = False
        mm.expected[address] = 0
        mm.freed[address] = False
    for index in indices(mm.file):
        zap_file_pte(m, cpu, mm, index)
    mm.alive = False


# --- locking


def mlock_fixup(m: Memory, cpu: int, mm: Mm, address: VirtualPage, lock: bool) -> None:
    """A page of a task's memory is locked or unlocked (mlock_fixup(), mlock_pte_range()); what is not there comes with
    the faults that follow (__mm_populate())."""
    mm.locked[address] = lock
    page = mm.anon[address].page
    if page is not None:
        if lock:
            m.mlock_folio(cpu, page)
        else:
            m.munlock_page(cpu, page)


# --- fork


def dup_mmap(m: Memory, mm: Mm, child: Mm) -> None:
    """A child gets its parent's memory: the anonymous pages are shared until one of them writes, pages of the file come
    by faults (dup_mmap(), copy_pte_range()). Locks are not inherited."""
    child.alive = True
    for address in indices(mm.anon):
        page = mm.anon[address].page
        entry = mm.anon[address].swap
        if page is not None:
            copy_present_pte(m, mm.anon[address], child.anon[address], page)
        elif entry is not None:
            copy_nonpresent_pte(m, mm.anon[address], child.anon[address], entry)
    mm.flush_tlb_mm()


def copy_present_pte(m: Memory, src_pte: Pte, dst_pte: Pte, page: Page) -> None:
    """Share a page: nobody may write to it any more without a fault (copy_present_pte())."""
    folio_get(m, page)
    page_dup_anon_rmap(m, page)
    src_pte.write = False  # ptep_set_wrprotect()
    dst_pte.page = page
    dst_pte.dirty = src_pte.dirty


def copy_nonpresent_pte(m: Memory, src_pte: Pte, dst_pte: Pte, entry: SwapEntry) -> None:
    """Share a swap entry (copy_nonpresent_pte())."""
    swap_duplicate(m, entry)
    src_pte.exclusive = False
    dst_pte.swap = entry
