"""The page cache of a file: adding and removing folios, reading, writing, writing back (Linux 6.1).

The one idea: a folio that is clean has what the disk has, or will have when the io that is on its way ends; whoever
changes it says so after the change and before anybody can think it clean.

Sources: mm/filemap.c, mm/page-writeback.c, fs/buffer.c. One file, never truncated; a read from the disk is done when it
returns, a write ends in an event of its own.
"""

from __future__ import annotations

from .buddy import Page
from .lru import folio_get
from .mm import (
    Content,
    FileIndex,
    Memory,
    folio_end_writeback,
    folio_lock,
    folio_mark_dirty,
    folio_start_writeback,
    folio_unlock,
)
from .rmap import folio_mkclean

# --- what is in the cache


def filemap_add_folio(m: Memory, cpu: int, page: Page, index: FileIndex) -> None:
    """Put a new folio into the page cache, locked, and onto the LRU (filemap_add_folio())."""
    m.folio[page].locked = True
    m.folio[page].refcount += 1
    m.use[page].index = index
    shadow = m.i_pages[index].shadow
    m.i_pages[index].folio = page
    m.i_pages[index].shadow = None
    if shadow is not None:
        m.workingset_refault(page, shadow)
    m.folio_add_lru(cpu, page)


def filemap_remove_folio(m: Memory, page: Page, index: FileIndex, shadow: int | None) -> None:
    """Take a folio out of the page cache; its reference is the caller's (__filemap_remove_folio())."""
    assert m.folio[page].locked, "__filemap_remove_folio: VM_BUG_ON_FOLIO(!folio_test_locked(folio))"
    assert m.folio[page].mapcount == 0, "__filemap_remove_folio: VM_BUG_ON_FOLIO(folio_mapped(folio))"
    assert not m.folio[page].dirty, "__filemap_remove_folio: WARN_ON_ONCE(folio_test_dirty(folio))"
    m.i_pages[index].folio = None
    m.i_pages[index].shadow = shadow
    m.use[page].index = None


def filemap_get_folio(m: Memory, cpu: int, index: FileIndex) -> Page | None:
    """The folio of a page of the file, read from the disk unless it is there, with a reference for the caller; none if
    there is no memory (filemap_get_pages(), filemap_fault())."""
    cached = m.i_pages[index].folio
    if cached is not None:
        folio_get(m, cached)
        return cached
    page = m.alloc_folio(cpu)
    if page is None:
        return None
    filemap_add_folio(m, cpu, page, index)
    m.use[page].content = m.i_pages[index].content
    folio_unlock(m, page)
    return page


# --- system calls


def filemap_read(m: Memory, cpu: int, index: FileIndex) -> Content | None:
    """Read a page of the file (filemap_read()); none if there is no memory."""
    page = filemap_get_folio(m, cpu, index)
    if page is None:
        return None
    content = m.use[page].content
    m.folio_mark_accessed(cpu, page)
    m.folio_put(cpu, page)
    return content


def generic_perform_write(m: Memory, cpu: int, index: FileIndex) -> Content | None:
    """Write to a page of the file (generic_perform_write(), block_write_begin(), generic_write_end()); none if there is
    no memory. Gives what the page holds now."""
    page = filemap_get_folio(m, cpu, index)
    if page is None:
        return None
    folio_lock(m, page)
    content = m.next_content(m.use[page].content)
    m.use[page].content = content
    folio_mark_dirty(m, page)
    m.folio_mark_accessed(cpu, page)
    folio_unlock(m, page)
    m.folio_put(cpu, page)
    return content


# --- writing back


def folio_clear_dirty_for_io(m: Memory, page: Page) -> bool:
    """The folio is clean from now on, as it is about to be written; true if it was dirty (folio_clear_dirty_for_io()).

    PTEs of a file's folio are made read-only before: who writes from now on will say so."""
    index = m.use[page].index
    if index is not None:
        cleaned = folio_mkclean(m, page, index)
        if cleaned:
            folio_mark_dirty(m, page)
    if not m.folio[page].dirty:
        return False
    m.folio[page].dirty = False
    return True


def write_folio(m: Memory, page: Page, index: FileIndex) -> None:
    """Send a clean folio on its way to the disk; unlocks it (__block_write_full_page())."""
    folio_start_writeback(m, page)
    m.i_pages[index].io = page
    folio_unlock(m, page)


def write_cache_page(m: Memory, page: Page, index: FileIndex) -> None:
    """A flusher writes a folio if it is dirty (write_cache_pages()); it waits for the lock and for older io."""
    folio_lock(m, page)
    dirty = folio_clear_dirty_for_io(m, page)
    if dirty:
        write_folio(m, page, index)
    else:
        folio_unlock(m, page)


def end_buffer_async_write(m: Memory, cpu: int, index: FileIndex) -> None:
    """The disk has taken what the page holds now (end_buffer_async_write())."""
    page = m.i_pages[index].io
    assert page is not None
    m.i_pages[index].content = m.use[page].content
    m.i_pages[index].io = None
    folio_end_writeback(m, cpu, page)
