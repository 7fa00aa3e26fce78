"""Faults of user memory and swap: bugs that Linux had, and mutants of each step that some invariant is about.

A fault with a catalogue identifier is a bug of its section C. `zram-clean` is one that this model found in Linux 6.1.
"""

from __future__ import annotations

from . import Fault, Faults

GENERIC = "generic mutant of user memory"
TINY = "tiny"
FILE = "tiny,file=1"
MLOCK = "tiny,mlock=1"
DIRECT_IO = "tiny,direct_io=1"

_fault = Faults("swap", "model.swap", GENERIC, TINY)
_rmap = Faults("swap", "model.rmap", GENERIC, TINY)
_memory = Faults("swap", "model.fault", GENERIC, TINY)
_file = Faults("swap", "model.filemap", GENERIC, FILE)
_pageout = Faults("swap", "model.pageout", GENERIC, TINY)
_contents = Faults("contents", "model.contents", "generic mutant of memory with contents")

ANON_EXCLUSIVE = "before 6c287605fd56 (mm: remember exclusively mapped anonymous pages with PG_anon_exclusive, 2022)"

FAULTS: tuple[Fault, ...] = (
    # --- section C of the catalogue
    _fault(
        "C5x",
        "two threads read the same entry past the swap cache, which nobody has claimed",
        "swapcache_pin",
        "    if pin:\n        return swapcache_prepare(m, entry)\n    put_swap_folio(m, entry)\n    return True\n",
        "    return True\n",
        ("R3", "R2", "R2-clean"),
        "13ddaf26be32 (mm/swap: fix race when skipping swapcache, 2024), CVE-2024-26759",
        "C5x",
        "fast",
    ),
    _rmap(
        "C7x",
        "a page that was lazily freed is dropped although a device will write to it",
        "try_to_unmap_anon",
        "        if m.folio[page].refcount != 1 + m.folio[page].mapcount or m.folio[page].dirty:\n",
        "        if m.folio[page].dirty:\n",
        ("R2-io", "R2", "R-contents"),
        "6c8e2a256915 (mm: fix race between MADV_FREE reclaim and blkdev direct IO read, 2022)",
        "C7x",
        DIRECT_IO,
    ),
    _memory(
        "C8x",
        "munmap() does not know of a flush that reclaim has put off",
        "zap_anon_pte",
        "    mm.flush_tlb_batched_pending()\n",
        "",
        ("R5-tlb", "R2", "R2-read"),
        "3ea277194daa (mm, mprotect: flush TLB if potentially racing with a parallel reclaim, 2017)",
        "C8x",
        "tlb",
    ),
    _fault(
        "C14x",
        "a folio is freed between the end of its writeback and the waking of who waits for it",
        "clear_writeback_or_wake",
        "    if not wake:\n        folio_get(m, page)\n",
        "    if wake:\n        return\n    if not wake:\n",
        ("L9", "R6"),
        "073861ed77b6 (mm: fix VM_BUG_ON(PageTail) and BUG_ON(PageWriteback), 2020)",
        "C14x",
        "tiny,waiters=1",
        "model.mm",
    ),
    _pageout(
        "C17x",
        "whether the folio is dirty is looked at before the references are frozen, not after",
        "remove_mapping",
        "    if folio.dirty:\n        folio.refcount = 2\n        return False\n",
        "",
        ("R1", "checks"),
        "class of bugs; the order is that of __remove_mapping() (see its comment)",
        "C17x",
        "tiny,file=1,direct_io=1",
    ),
    # --- bugs outside the catalogue
    _memory(
        "zram-clean",
        "a page that was read past the swap cache is clean, though its entry is freed",
        "swapin_skipping_swapcache",
        "    folio_mark_dirty(m, page)\n",
        "",
        ("R2-clean", "R2", "R6-lock", "R4"),
        "Linux 6.1 as it is, found by this model: swap-in from zram by a read, fork(), MADV_FREE by one of the two; "
        "reclaim then drops the page of the other as well",
        scope="fast",
    ),
    _memory(
        "swapin-forgets-exclusive",
        "a page that comes back from swap is copied on the next write, as somebody has a reference to it",
        "map_swapped_folio",
        "    alone = exclusive or m.folio[page].refcount == 1\n",
        "    alone = m.folio[page].refcount == 1\n",
        ("R2-io", "R2"),
        ANON_EXCLUSIVE,
        scope=DIRECT_IO,
    ),
    _memory(
        "reuse-by-mapcount",
        "a page that another task has in swap is written to, as only one maps it",
        "do_wp_page",
        "    if m.folio[page].refcount > 1 + cached:\n        return wp_page_copy(m, cpu, mm, address, page)\n",
        "    if m.folio[page].mapcount == 1:\n        m.use[page].exclusive = True\n"
        "        return wp_page_reuse(m, mm.anon[address])\n",
        ("R5-exclusive", "R2", "R-contents"),
        "class of bugs: CVE-2020-29374 and others about who may reuse a page",
    ),
    # --- references and frames
    _rmap(
        "unmap-keeps-reference",
        "reclaim takes a PTE away and keeps its reference",
        "try_to_unmap_anon",
        "    m.folio_put(cpu, page)\n    return True\n",
        "    return True\n",
        ("L9",),
    ),
    _memory(
        "fork-takes-no-reference",
        "a child maps a page without a reference to it",
        "copy_present_pte",
        "    folio_get(m, page)\n",
        "",
        ("L9", "checks"),
    ),
    _fault(
        "free-keeps-exclusive",
        "a frame that is freed stays exclusive to its last owner",
        "clear_use",
        "    use.exclusive = False\n",
        "",
        ("R1-free",),
        module="model.mm",
    ),
    # --- swap entries
    _memory(
        "fork-forgets-entry",
        "a child gets a swap entry that is not counted for it",
        "copy_nonpresent_pte",
        "    swap_duplicate(m, entry)\n",
        "",
        ("R3",),
    ),
    _rmap(
        "unmap-forgets-entry",
        "reclaim puts an entry into a PTE and does not count it",
        "try_to_unmap_anon",
        "        swap_duplicate(m, entry)\n",
        "",
        ("R3",),
    ),
    _memory(
        "zap-forgets-entry",
        "a PTE is cleared and its entry is still counted",
        "zap_anon_pte",
        "        free_swap_and_cache(m, cpu, entry)\n",
        "        pass\n",
        ("R3",),
    ),
    _fault(
        "free-swap-while-swapped",
        "a folio gives up its swap space although a PTE has the entry",
        "folio_free_swap",
        "    if m.swap[entry].count > 0:  # folio_swapped()\n        return False\n",
        "",
        ("R2", "R2-read"),
        scope="tiny,threads=1",
    ),
    _fault(
        "delete-keeps-private",
        "a folio that leaves the swap cache keeps the entry's number",
        "__delete_from_swap_cache",
        "    m.use[page].swap = None\n",
        "",
        ("R4", "checks"),
    ),
    _fault(
        "free-entry-keeps-shadow",
        "a free swap entry keeps the shadow of what was there",
        "swap_entry_free",
        "        m.swap[entry].shadow = None\n",
        "",
        ("R3",),
    ),
    _memory(
        "swapin-any-entry",
        "a thread that slept maps the folio that it had found, whatever has become of it",
        "map_swapped_folio",
        "        if not m.folio[page].swapcache or m.use[page].swap != entry:\n",
        "        if m.use[page].swap != entry and m.folio[page].swapcache:\n",
        ("R2", "R-contents", "checks"),
        "class of bugs; the test is that of do_swap_page() (see its comment)",
        scope="tiny,threads=1",
    ),
    # --- mappings
    _rmap(
        "file-mapping-uncounted",
        "a PTE of the file is not counted",
        "page_add_file_rmap",
        "    m.folio[page].mapcount += 1\n",
        "    m.folio[page].referenced = False\n",
        ("R5", "L9"),
        scope=FILE,
    ),
    _rmap(
        "fork-keeps-exclusive",
        "a page that a child shares is still exclusive to the parent",
        "page_dup_anon_rmap",
        "    m.use[page].exclusive = False\n",
        "",
        ("R5-exclusive", "R2"),
    ),
    _memory(
        "fork-leaves-writable",
        "the parent may go on writing to a page that the child shares",
        "copy_present_pte",
        "    src_pte.write = False  # ptep_set_wrprotect()\n",
        "",
        ("R5-exclusive", "R2", "R-contents"),
    ),
    _memory(
        "fork-keeps-exclusive-entry",
        "a swap entry that a child shares is still exclusive to the parent",
        "copy_nonpresent_pte",
        "    src_pte.exclusive = False\n",
        "",
        ("R5-exclusive", "R2"),
    ),
    _memory(
        "fork-without-flush",
        "a page is shared with a child, and the parent's processors still know that they may write to it",
        "dup_mmap",
        "    mm.flush_tlb_mm()\n",
        "",
        ("R5-tlb", "R2", "R-contents"),
        scope="tlb",
    ),
    _memory(
        "lazyfree-without-flush",
        "a page is made clean, and the next write goes through without a look at the PTE",
        "madvise_free_pte",
        "        mm.flush_tlb_page(address)\n",
        "",
        ("R5-tlb", "R2-clean"),
        scope="tlb",
    ),
    # --- writeback, locks
    _pageout(
        "reclaim-under-writeback",
        "a folio is reclaimed while it is being written",
        "shrink_folio",
        "    if folio.writeback:\n        folio.reclaim = True\n        return activate_locked(m, page)\n",
        "",
        ("R6-lock", "checks"),
    ),
    _fault(
        "free-swap-under-writeback",
        "a folio gives up its swap space while it is being written there",
        "folio_free_swap",
        "    if not m.folio[page].swapcache or m.folio[page].writeback:\n",
        "    if not m.folio[page].swapcache:\n",
        ("checks",),
    ),
    _file(
        "write-forgets-io",
        "a folio is marked as being written, and nothing is sent to the disk",
        "write_folio",
        "    m.i_pages[index].io = page\n",
        "    m.i_pages[index].shadow = None\n",
        ("R6",),
    ),
    _fault(
        "writepage-keeps-lock",
        "a folio that is being written to swap stays locked",
        "swap_writepage",
        "    m.swap[entry].io = page\n    folio_unlock(m, page)\n",
        "    m.swap[entry].io = page\n",
        ("R6-lock",),
    ),
    # --- locked memory
    _rmap(
        "unmap-locked",
        "a page in locked memory is unmapped, if reclaim does not see a mark on it",
        "try_to_unmap_anon",
        "    if mm.locked[address]:\n        m.mlock_folio(cpu, page)  # restore the mlock which got missed\n"
        "        return False\n",
        "",
        ("L7-kept",),
        scope=MLOCK,
    ),
    _rmap(
        "munlock-forgotten",
        "a page stays unevictable when the last locked memory that maps it goes",
        "page_remove_anon_rmap",
        "    if mm.locked[address]:\n        m.munlock_page(cpu, page)\n",
        "",
        ("L7",),
        scope=MLOCK,
    ),
    # --- contents
    _rmap(
        "unmap-loses-dirty",
        "reclaim takes a PTE away and forgets that the page was written to",
        "try_to_unmap_anon",
        "    if dirty:\n        folio_mark_dirty(m, page)\n",
        "",
        ("R2-clean", "R2"),
    ),
    _rmap(
        "mkclean-leaves-writable",
        "a folio is clean for io, and tasks may go on writing to it without a fault",
        "folio_mkclean",
        "            m.mm[task].file[index].write = False\n",
        "",
        ("R5",),
        scope=FILE,
    ),
    _file(
        "write-forgets-dirty",
        "write() changes a page and does not say that it is dirty",
        "generic_perform_write",
        "    folio_mark_dirty(m, page)\n",
        "",
        ("R2-clean", "R2"),
    ),
    _fault(
        "free-swap-forgets-dirty",
        "a folio gives up its swap space and is still clean",
        "folio_free_swap",
        "    folio_mark_dirty(m, page)\n",
        "",
        ("R2-clean", "R2"),
    ),
    _fault(
        "swapin-reads-nothing",
        "a page comes back from swap without what is on the device",
        "swap_readpage",
        "    m.use[page].content = m.swap[entry].content\n",
        "",
        ("R2", "R2-read", "R2-clean"),
    ),
    _memory(
        "copy-copies-nothing",
        "a task gets a new page instead of a copy",
        "wp_page_copy",
        "    m.use[new_page].content = m.use[old_page].content\n",
        "",
        ("R2", "R-contents"),
    ),
    _memory(
        "lazyfree-shared",
        "a page is marked clean by one task while another has written to it",
        "madvise_free_pte",
        "        if m.folio[page].mapcount != 1:  # shared with others: it is not ours to make clean\n"
        "            folio_unlock(m, page)\n            return\n",
        "",
        ("R2-clean", "R2"),
    ),
    _pageout(
        "free-with-references",
        "a folio is freed although somebody else holds it",
        "remove_mapping",
        "    if folio.refcount != 2:\n        return False\n",
        "",
        ("R1", "L9"),
        scope=DIRECT_IO,
    ),
    _memory(
        "fault-gives-up",
        "a write fails although there is an unused frame",
        "do_anonymous_page",
        "    set_new_pte(m, cpu, mm, address, page)\n    return True\n",
        "    m.folio_put(cpu, page)\n    return False\n",
        ("R2-write",),
    ),
    # --- memory with contents itself
    _contents(
        "contents-zero-lost",
        "zero may be lost",
        "free",
        "m.task[task].freed[address] = m.task[task].value[address] != 0",
        "m.task[task].freed[address] = True",
        ("M1",),
    ),
    _contents(
        "contents-write-lost",
        "a write changes nothing",
        "write",
        "    m.task[task].value[address] = value\n",
        "",
        ("M2",),
    ),
)
