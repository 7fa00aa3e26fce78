"""From a folio to the PTEs that map it: their number, whether they were used, clearing them (Linux 6.1, mm/rmap.c).

The one idea: mapcount is the number of PTEs, and whoever takes a PTE away first makes sure that what it knew is kept:
its dirty bit in the folio, its way back in a swap entry. The order in which the VMAs are visited is that of a tree that
the past has made: any order.
"""

from __future__ import annotations

from .buddy import Page
from .lang import bounded, choose, indices, require
from .mm import (
    FileIndex,
    FolioScan,
    Memory,
    Mm,
    Pte,
    VirtualPage,
    clear_pte,
    folio_mapped,
    folio_mark_dirty,
)
from .swap import swap_duplicate

# --- the count of mappings


def page_add_new_anon_rmap(m: Memory, page: Page) -> None:
    """The first PTE maps a new folio (page_add_new_anon_rmap())."""
    assert m.folio[page].mapcount == 0, "page_add_new_anon_rmap: the folio is mapped"
    m.folio[page].swapbacked = True
    m.folio[page].mapcount = 1
    m.use[page].anon = True
    m.use[page].exclusive = True


def page_add_anon_rmap(m: Memory, cpu: int, mm: Mm, address: VirtualPage, page: Page, exclusive: bool) -> None:
    """One more PTE maps a folio that may be shared (page_add_anon_rmap())."""
    assert m.folio[page].locked, "page_add_anon_rmap: VM_BUG_ON_PAGE(!PageLocked(page))"
    first = m.folio[page].mapcount == 0
    m.folio[page].mapcount += 1
    assert first or not exclusive, "page_add_anon_rmap: VM_BUG_ON_PAGE(!first && (flags & RMAP_EXCLUSIVE))"
    assert first or not m.use[page].exclusive, "page_add_anon_rmap: VM_BUG_ON_PAGE(!first && PageAnonExclusive(page))"
    if first:  # __page_set_anon_rmap()
        m.use[page].anon = True
        if exclusive:
            m.use[page].exclusive = True
    if mm.locked[address]:
        m.mlock_folio(cpu, page)


def page_dup_anon_rmap(m: Memory, page: Page) -> None:
    """A child maps the folio too, so that it is no one's alone (page_try_dup_anon_rmap(); nothing is pinned with
    FOLL_PIN here)."""
    m.use[page].exclusive = False
    m.folio[page].mapcount += 1


def page_add_file_rmap(m: Memory, page: Page) -> None:
    """One more PTE maps a folio of the file (page_add_file_rmap(); the file is not in locked memory)."""
    m.folio[page].mapcount += 1


def page_remove_rmap(m: Memory, page: Page) -> None:
    """A PTE less maps the folio (page_remove_rmap())."""
    m.folio[page].mapcount -= 1


def page_remove_anon_rmap(m: Memory, cpu: int, mm: Mm, address: VirtualPage, page: Page) -> None:
    """A PTE less maps the folio; in locked memory that is a reason less to keep it (page_remove_rmap(),
    munlock_vma_page())."""
    page_remove_rmap(m, page)
    if mm.locked[address]:
        m.munlock_page(cpu, page)


# --- visiting the PTEs


def anon_mapped_by(mm: Mm, page: Page) -> bool:
    """Whether one of the anonymous PTEs of a task maps the folio."""
    return any(mm.anon[address].page == page for address in indices(mm.anon))


def is_mapped_anon(m: Memory, page: Page) -> bool:
    """Whether some anonymous PTE maps the folio."""
    return any(anon_mapped_by(m.mm[task], page) for task in indices(m.mm))


def is_mapped_file(m: Memory, page: Page, index: FileIndex) -> bool:
    """Whether some PTE of the file maps the folio."""
    return any(m.mm[task].file[index].page == page for task in indices(m.mm))


def is_mapped_locked(mm: Mm, page: Page) -> bool:
    """Whether a task maps the folio in locked memory."""
    return any(mm.locked[address] and mm.anon[address].page == page for address in indices(mm.anon))


def young_ptes(mm: Mm, page: Page) -> int:
    """How many PTEs of a task map the folio and were used."""
    anon = sum(1 for address in indices(mm.anon) if mm.anon[address].page == page and mm.anon[address].young)
    return anon + sum(1 for index in indices(mm.file) if mm.file[index].page == page and mm.file[index].young)


def clear_young(mm: Mm, page: Page) -> None:
    """Forget that PTEs of the folio were used (ptep_clear_flush_young_notify())."""
    for address in indices(mm.anon):
        if mm.anon[address].page == page:
            mm.anon[address].young = False
    for index in indices(mm.file):
        if mm.file[index].page == page:
            mm.file[index].young = False


def folio_referenced(m: Memory, page: Page) -> int:
    """How many PTEs that map the folio were used since they were last asked (folio_referenced())."""
    referenced = sum(young_ptes(m.mm[task], page) for task in indices(m.mm))
    for task in indices(m.mm):
        clear_young(m.mm[task], page)
    return referenced


# --- taking the PTEs away


@bounded("mappings")
def try_to_unmap(m: Memory, sc: FolioScan, cpu: int, page: Page) -> None:
    """Take the folio's PTEs away, as far as that may be (try_to_unmap(), TTU_BATCH_FLUSH)."""
    index = m.use[page].index
    if index is None:
        while folio_mapped(m, page) and is_mapped_anon(m, page):
            task = choose(indices(m.mm))
            address = choose(indices(m.mm[task].anon))
            require(m.mm[task].anon[address].page == page)
            unmapped = try_to_unmap_anon(m, sc, cpu, m.mm[task], address, page)
            if not unmapped:
                break
    else:
        while folio_mapped(m, page) and is_mapped_file(m, page, index):
            task = choose(indices(m.mm))
            require(m.mm[task].file[index].page == page)
            try_to_unmap_file(m, cpu, m.mm[task].file[index], page)


def try_to_unmap_anon(
    m: Memory, sc: FolioScan, cpu: int, mm: Mm, address: VirtualPage, page: Page
) -> bool:
    """Replace a PTE by a swap entry, or by nothing if its content is of no interest (try_to_unmap_one()); false if the
    folio is to stay mapped."""
    if mm.locked[address]:
        m.mlock_folio(cpu, page)  # restore the mlock which got missed
        return False
    pte = mm.anon[address]
    dirty = pte.dirty
    write = pte.write
    young = pte.young
    exclusive = m.use[page].exclusive
    clear_pte(pte)
    sc.flush_required = True
    if dirty:
        sc.writable = True
    mm.set_tlb_ubc_flush_pending()
    if dirty:
        folio_mark_dirty(m, page)
    entry = m.use[page].swap
    assert m.folio[page].swapbacked == (entry is not None), "try_to_unmap_one: WARN_ON_ONCE(1)"
    if entry is None:  # MADV_FREE page check
        if m.folio[page].refcount != 1 + m.folio[page].mapcount or m.folio[page].dirty:
            # The folio was redirtied, or somebody may yet write to it: it cannot be discarded.
            pte.page = page
            pte.young = young
            pte.dirty = dirty
            pte.write = write
            m.folio[page].swapbacked = True
            return False
    else:
        swap_duplicate(m, entry)
        m.use[page].exclusive = False  # page_try_share_anon_rmap()
        pte.swap = entry
        pte.exclusive = exclusive
    page_remove_anon_rmap(m, cpu, mm, address, page)
    m.folio_put(cpu, page)
    return True


def try_to_unmap_file(m: Memory, cpu: int, pte: Pte, page: Page) -> None:
    """Clear a PTE; the page cache knows where the content is (try_to_unmap_one())."""
    dirty = pte.dirty
    clear_pte(pte)
    if dirty:
        folio_mark_dirty(m, page)
    page_remove_rmap(m, page)
    m.folio_put(cpu, page)


def try_to_unmap_flush(m: Memory, sc: FolioScan) -> None:
    """Tell the processors what was unmapped (try_to_unmap_flush()); each is told of everything it may remember."""
    if not sc.flush_required:
        return
    for task in indices(m.mm):
        m.mm[task].flush_tlb_mm()
    sc.flush_required = False
    sc.writable = False


def try_to_unmap_flush_dirty(m: Memory, sc: FolioScan) -> None:
    """Tell the processors before what they may have written is written out (try_to_unmap_flush_dirty())."""
    if sc.writable:
        try_to_unmap_flush(m, sc)


def folio_mkclean(m: Memory, page: Page, index: FileIndex) -> bool:
    """Make the PTEs of a file's folio read-only, so that the next write is noticed (folio_mkclean()); true if one of
    them was dirty or writable."""
    cleaned = any(
        m.mm[task].file[index].page == page and (m.mm[task].file[index].dirty or m.mm[task].file[index].write)
        for task in indices(m.mm)
    )
    for task in indices(m.mm):
        if m.mm[task].file[index].page == page:
            m.mm[task].file[index].write = False
            m.mm[task].file[index].dirty = False
    return cleaned
