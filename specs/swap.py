"""What must hold of user memory: nothing is lost, and every count is exact: R1 ... R6, L7, L9, and the refinement.

The one idea: R2 in its strong form. Whatever a PTE leads to, a page, a folio in the swap cache or a block on a device,
holds what the task wrote there last; a folio that is clean has what the disk has. The other invariants say of every
frame who holds it, of every swap entry who names it, of every lock and every io whose it is. Together they are
inductive, for a reclaimer that may take any folio at any time.

Identifiers are those of the project's reference. R7 ... R13 are of kswapd, direct reclaim and the slow path
(specs/reclaim.py), L1 ... L12 of the lists (specs/lru.py).
"""

from __future__ import annotations

from ..model.buddy import Page
from ..model.contents import (
    Contents,
    begin_file_io,
    begin_io,
    drop,
    end,
    end_io,
    free,
    read,
    read_from_file,
    spawn,
    write,
    write_to_file,
)
from ..model.fault import (
    do_anonymous_page,
    do_swap_page,
    do_wp_page,
    handle_mm_fault,
    map_swapped_folio,
    swapin_folio,
    wp_page_copy,
)
from ..model.folio import FOLIO_RECLAIMED
from ..model.lang import Clauses, Refinement, Spec, clause, indices, invariant, step_property
from ..model.mm import Content, FileIndex, Memory, Mm, Pte, SwapEntry, TaskId, VirtualPage
from ..model.pageout import Outcome, pageout, remove_folio, remove_mapping, shrink_folio
from ..model.rmap import try_to_unmap, try_to_unmap_anon
from ..model.swap import add_to_swap, folio_free_swap, read_swap_cache_async, swap_is_free, swap_writepage
from ..model.swap_clients import (
    SwapMachine,
    begin_direct_io,
    begin_direct_io_to_file,
    begin_swap_fault,
    end_direct_io,
    end_file_write,
    end_swap_fault,
    end_swap_write,
    exit,
    fault_in,
    finish_folio,
    first_task,
    fork,
    isolate_folio,
    madvise_dontneed,
    madvise_free,
    mlock,
    munlock,
    read_file,
    read_mapped_file,
    read_memory,
    shrink_folio_list,
    sync_file,
    wake_after_writeback,
    write_file,
    write_mapped_file,
    write_memory,
)
from .contents import SPEC as CONTENTS
from .swap_scope import DERIVED, PARAMETERS, REQUIREMENTS, SCOPES

# --- what the statements are made of


def anon_ptes(mm: Mm, page: Page) -> int:
    """How many anonymous PTEs of a task map a page."""
    return sum(1 for address in indices(mm.anon) if mm.anon[address].page == page)


def file_ptes(mm: Mm, page: Page) -> int:
    """How many PTEs of the file of a task map a page."""
    return sum(1 for index in indices(mm.file) if mm.file[index].page == page)


def locked_ptes(mm: Mm, page: Page) -> int:
    """How many PTEs in locked memory of a task map a page."""
    return sum(1 for address in indices(mm.anon) if mm.locked[address] and mm.anon[address].page == page)


def swap_ptes(mm: Mm, entry: SwapEntry) -> int:
    """How many PTEs of a task have a swap entry."""
    return sum(1 for address in indices(mm.anon) if mm.anon[address].swap == entry)


def all_anon_ptes(m: Memory, page: Page) -> int:
    """How many anonymous PTEs map a page."""
    return sum(anon_ptes(m.mm[task], page) for task in indices(m.mm))


def all_file_ptes(m: Memory, page: Page) -> int:
    """How many PTEs of the file map a page."""
    return sum(file_ptes(m.mm[task], page) for task in indices(m.mm))


def is_used(m: Memory, page: Page | None) -> bool:
    """Whether a frame is in use."""
    return page is not None and m.folio[page].refcount > 0


def dirty_ptes(m: Memory, page: Page) -> int:
    """How many anonymous PTEs know that a page was written to."""
    return sum(
        sum(1 for address in indices(m.mm[task].anon) if m.mm[task].anon[address].page == page
            and m.mm[task].anon[address].dirty)
        for task in indices(m.mm)
    )


def is_dirty_by_pte(m: Memory, page: Page) -> bool:
    """Whether a PTE of the file knows that a page was written to."""
    return any(
        any(m.mm[task].file[index].page == page and m.mm[task].file[index].dirty for index in indices(m.mm[task].file))
        for task in indices(m.mm)
    )


def is_clean(m: Memory, page: Page) -> bool:
    """Whether nobody would say that a page must be written, and it is not being written."""
    return not m.folio[page].dirty and not m.folio[page].writeback and not is_dirty_by_pte(m, page)


def holds(m: Memory, page: Page, expected: Content, freed: bool) -> bool:
    """Whether a page has what is expected, or zero where the rest may have been lost."""
    return m.use[page].content == expected or (freed and m.use[page].content == 0)


def is_unmarked(m: Memory, page: Page) -> bool:
    """Whether a folio has no place to come back from, and is not marked as dirty itself."""
    return m.use[page].swap is None and not m.folio[page].dirty


def is_empty(pte: Pte) -> bool:
    """pte_none()."""
    return pte.page is None and pte.swap is None


def holds_reference(page: Page | None, other: Page) -> int:
    """1 if somebody has a page, which is this one."""
    return 1 if page is not None and page == other else 0


def is_direct(m: SwapMachine, page: Page) -> bool:
    """Whether a page is being read past the swap cache by a thread that sleeps."""
    return m.vmf.direct and m.vmf.page == page


# --- R1, L9: references, and frames that nobody uses


@invariant("L9", origin="folio_ref_count(); is_page_cache_freeable(), folio_ref_freeze()")
def references_counted(m: SwapMachine) -> Clauses:
    """A folio has a reference for each PTE, for its cache, and for each who has it in hand."""
    for page in indices(m.folio):
        cached = 1 if m.folio[page].swapcache or m.use[page].index is not None else 0
        hands = holds_reference(m.scan.folio, page)
        hands += holds_reference(m.dio.page, page)
        hands += holds_reference(m.vmf.page, page)
        hands += holds_reference(m.waking, page)
        exact = m.folio[page].refcount == m.folio[page].mapcount + cached + hands
        yield clause("the references are those that are known", exact, page)


@invariant("R1-free", origin="free_pages_prepare(): PAGE_FLAGS_CHECK_AT_FREE")
def unused_frames_clean(m: SwapMachine) -> Clauses:
    """A frame that is not in use has nothing of its last use."""
    for page in indices(m.folio):
        folio = m.folio[page]
        use = m.use[page]
        yield clause("no folio is active where there are no lists", not folio.active, page)
        if folio.refcount == 0:
            unlisted = not folio.lru and not folio.unevictable and not folio.mlocked and not folio.reclaim
            yield clause("an unused frame is on no list", unlisted, page)
            idle = not folio.dirty and not folio.writeback and not folio.locked and not folio.swapcache
            yield clause("an unused frame is clean, unlocked, and in no cache", idle and not folio.swapbacked, page)
            forgotten = not use.anon and not use.exclusive and use.index is None and use.swap is None
            yield clause("an unused frame is used for nothing", forgotten, page)
        else:
            yield clause("a folio is on the LRU or isolated", folio.lru != (m.scan.folio == page), page)


# --- R3, R4: swap entries and the swap cache


@invariant("R3", origin="swap_duplicate(), swap_free(), put_swap_page(): si->swap_map")
def swap_map_exact(m: SwapMachine) -> Clauses:
    """swap_map counts the PTEs that have an entry; SWAP_HAS_CACHE says that the swap cache has it, or will."""
    for entry in indices(m.swap):
        slot = m.swap[entry]
        ptes = sum(swap_ptes(m.mm[task], entry) for task in indices(m.mm))
        yield clause("the count is that of the PTEs", slot.count == ptes, entry)
        claimed = m.vmf.direct and m.vmf.entry == entry
        cached = slot.folio is not None
        right = slot.has_cache == (cached or claimed)
        yield clause("SWAP_HAS_CACHE is set for a folio, or for one to come", right, entry)
        yield clause("it is not claimed while a folio is there", not (cached and claimed), entry)
        if swap_is_free(m, entry):
            yield clause("a free entry remembers nothing", slot.shadow is None and slot.io is None, entry)
        yield clause("there is a shadow only where there is no folio", not cached or slot.shadow is None, entry)


@invariant("R4", origin="add_to_swap_cache(), __delete_from_swap_cache()")
def swap_cache_one_to_one(m: SwapMachine) -> Clauses:
    """The swap cache has one folio for an entry, and the folio knows that entry; so the page cache."""
    for entry in indices(m.swap):
        cached = m.swap[entry].folio
        if cached is not None:
            yield clause("the folio of an entry has that entry", m.use[cached].swap == entry, entry)
    for index in indices(m.i_pages):
        filed = m.i_pages[index].folio
        if filed is not None:
            yield clause("the folio of a page of the file has its index", m.use[filed].index == index, index)
            lone = m.i_pages[index].shadow is None
            yield clause("the file has a shadow only where it has no folio", lone, index)
    for page in indices(m.folio):
        own = m.use[page].swap
        place = m.use[page].index
        flagged = m.folio[page].swapcache == (own is not None)
        yield clause("PG_swapcache is set for a folio with an entry", flagged, page)
        if own is not None:
            yield clause("the entry of a folio has that folio", m.swap[own].folio == page, page)
            yield clause("a folio in the swap cache is swap-backed", m.folio[page].swapbacked and place is None, page)
        if place is not None:
            yield clause("the page cache has a folio that has an index", m.i_pages[place].folio == page, page)
            file = not m.use[page].anon and not m.folio[page].swapbacked and not m.use[page].exclusive
            yield clause("a folio of the file is not anonymous", file, page)
        elif m.folio[page].refcount > 0:
            yield clause("only an anonymous folio is lazily freed", m.folio[page].swapbacked or m.use[page].anon, page)
            kept = own is not None or m.use[page].anon or m.folio[page].dirty
            yield clause("a folio that was read from swap, and has no place there any more, is dirty", kept, page)


# --- R5: reverse mapping, and what the processors remember


@invariant("R5", origin="page_add_anon_rmap(), page_remove_rmap(), try_to_unmap()")
def mappings_exact(m: SwapMachine) -> Clauses:
    """mapcount is the number of PTEs that map a page, and those are of its kind."""
    for page in indices(m.folio):
        ptes = all_anon_ptes(m, page) + all_file_ptes(m, page)
        yield clause("mapcount is the number of PTEs", m.folio[page].mapcount == ptes, page)
    for task in indices(m.mm):
        mm = m.mm[task]
        for address in indices(mm.anon):
            pte = mm.anon[address]
            mapped = pte.page
            yield clause("a PTE has a page, or an entry, or neither", mapped is None or pte.swap is None, task, address)
            if mapped is None:
                plain = not pte.young and not pte.dirty and not pte.write
                yield clause("a PTE without a page has no bits of one", plain, task, address)
            else:
                yield clause("an anonymous PTE maps an anonymous page", m.use[mapped].anon, task, address)
            entry = pte.swap
            yield clause("only an entry is exclusive", entry is not None or not pte.exclusive, task, address)
            if not mm.alive:
                empty = is_empty(pte) and not mm.locked[address]
                yield clause("a task that does not exist has no memory", empty, task, address)
        for index in indices(mm.file):
            filed = mm.file[index].page
            if filed is not None:
                yield clause("a PTE of the file maps the page of the file", m.use[filed].index == index, task, index)
                noticed = mm.file[index].dirty or not mm.file[index].write
                yield clause("a writable PTE of the file is dirty", noticed, task, index)
                yield clause("a task that does not exist maps no file", mm.alive, task, index)
            else:
                none = not mm.file[index].dirty and not mm.file[index].write and mm.file[index].swap is None
                yield clause("a PTE of the file without a page has no bits of one", none, task, index)


@invariant("R5-exclusive", origin="PageAnonExclusive(), pte_swp_exclusive(): VM_BUG_ON_PAGE() in page_add_anon_rmap()")
def exclusive_pages_are_alone(m: SwapMachine) -> Clauses:
    """A page that is exclusive has one PTE or none, and no other PTE leads to it; only such a page is written to."""
    for page in indices(m.folio):
        entry = m.use[page].swap
        if m.use[page].exclusive:
            yield clause("an exclusive page is mapped once", m.folio[page].mapcount <= 1, page)
            unnamed = entry is None or m.swap[entry].count == 0
            yield clause("no PTE has the entry of an exclusive page", unnamed, page)
    for task in indices(m.mm):
        for address in indices(m.mm[task].anon):
            pte = m.mm[task].anon[address]
            mapped = pte.page
            named = pte.swap
            if mapped is not None:
                yield clause("a writable page is exclusive", m.use[mapped].exclusive or not pte.write, task, address)
            if named is not None and pte.exclusive:
                yield clause("an exclusive entry has one PTE", m.swap[named].count == 1, task, address)
                cached = m.swap[named].folio
                unmapped = cached is None or m.folio[cached].mapcount == 0
                yield clause("the folio of an exclusive entry is not mapped", unmapped, task, address)


@invariant("R5-tlb", origin="try_to_unmap_flush(), flush_tlb_batched_pending()")
def translations_current(m: SwapMachine) -> Clauses:
    """What a processor remembers is what the PTE says, or reclaim has unmapped it, read-only, and will tell."""
    yield clause("what was written through is flushed before it is written out", not m.scan.writable)
    yield clause("a flush is left for the second half alone", m.scan.unmapped or not m.scan.flush_required)
    for task in indices(m.mm):
        mm = m.mm[task]
        for address in indices(mm.tlb):
            page = mm.tlb[address].page
            pte = mm.anon[address]
            if page is None:
                yield clause("nothing is remembered without a page", not mm.tlb[address].write, task, address)
            else:
                current = pte.page == page and ((pte.write and pte.dirty) or not mm.tlb[address].write)
                stale = m.scan.unmapped and m.scan.folio == page and pte.page is None and not mm.tlb[address].write
                told = stale and m.scan.flush_required and mm.tlb_flush_batched
                yield clause("a translation is current, or a flush is pending", current or told, task, address)
                yield clause("a translation leads to a page in use", is_used(m, page), task, address)
                yield clause("a processor remembers if there is a TLB", mm.alive and mm.has_tlb != 0, task, address)
        yield clause("a flush is pending if there is a TLB", mm.has_tlb != 0 or not mm.tlb_flush_batched, task)


# --- R6, locks: whose a folio is for the moment


@invariant("R6", origin="folio_start_writeback(), folio_end_writeback()")
def writeback_means_io(m: SwapMachine) -> Clauses:
    """PG_writeback is set exactly while the content is on its way to where the cache says."""
    for page in indices(m.folio):
        entry = m.use[page].swap
        place = m.use[page].index
        to_swap = entry is not None and m.swap[entry].io is not None
        to_disk = place is not None and m.i_pages[place].io is not None
        yield clause("PG_writeback is set while io is under way", m.folio[page].writeback == (to_swap or to_disk), page)
    waking = m.waking
    yield clause("a folio is in use until who waits for writeback is woken", waking is None or is_used(m, waking))
    for slot in indices(m.swap):
        io = m.swap[slot].io
        known = io is None or m.swap[slot].folio == io
        yield clause("what is written to swap is what the swap cache has", known, slot)
    for index in indices(m.i_pages):
        out = m.i_pages[index].io
        same = out is None or m.i_pages[index].folio == out
        yield clause("what is written to disk is what the page cache has", same, index)


@invariant("R6-lock", origin="shrink_folio_list(): folio_trylock(); do_swap_page(): __folio_set_locked()")
def locks_held(m: SwapMachine) -> Clauses:
    """A folio is locked by the reclaimer between its two halves, or by a thread that reads it past the swap cache."""
    for page in indices(m.folio):
        reclaimed = m.scan.unmapped and m.scan.folio == page
        held = reclaimed or is_direct(m, page)
        yield clause("a folio is locked by one who has it", m.folio[page].locked == held, page)
        yield clause("a folio is locked by one alone", not (reclaimed and is_direct(m, page)), page)
        if reclaimed:
            gone = m.folio[page].mapcount == 0 and not m.folio[page].writeback
            yield clause("what is in its second half is unmapped, and not written", gone, page)
            kept = not m.folio[page].swapbacked or m.folio[page].swapcache
            yield clause("what is in its second half has a place to come back from", kept, page)
        if is_direct(m, page):
            new = m.folio[page].mapcount == 0 and m.folio[page].swapbacked and m.folio[page].dirty
            yield clause("what is read past the swap cache is new", new and not m.use[page].anon, page)
            unnamed = not m.folio[page].swapcache and not m.use[page].exclusive and m.dio.page != page
            yield clause("what is read past the swap cache is in no cache", unnamed, page)
    yield clause("the second half is of a folio", m.scan.folio is not None or not m.scan.unmapped)
    task = m.vmf.task
    complete = (m.vmf.page is not None) == (task is not None) and (m.vmf.entry is not None) == (task is not None)
    yield clause("who sleeps in a fault has a folio and an entry", complete and (task is not None or not m.vmf.direct))
    if task is not None:
        yield clause("who sleeps in a fault exists", m.mm[task].alive, task)


# --- L7: locked memory


@invariant("L7", origin="mlock_folio(), munlock_page(), lru_add_fn()")
def locked_folios_unevictable(m: SwapMachine) -> Clauses:
    """A folio that is marked as locked is in locked memory, and unevictable if it is on the LRU."""
    for page in indices(m.folio):
        folio = m.folio[page]
        locked = sum(locked_ptes(m.mm[task], page) for task in indices(m.mm))
        yield clause("what is mlocked is in locked memory", locked > 0 or not folio.mlocked, page)
        unevictable = folio.lru and folio.mlocked
        yield clause("what is unevictable is mlocked and on the LRU", folio.unevictable == unevictable, page)
        most = locked if folio.unevictable else 0
        yield clause("mlock_count counts no more than there is", folio.mlock_count <= most, page)


# --- R2: contents


@invariant("R2", origin="do_swap_page(), __remove_mapping(): \"our write_to data is lost\"")
def nothing_is_lost(m: SwapMachine) -> Clauses:
    """What a PTE leads to holds what the task wrote there last, or zero if it said that it does not matter."""
    for task in indices(m.mm):
        mm = m.mm[task]
        for address in indices(mm.anon):
            expected = mm.expected[address]
            freed = mm.freed[address]
            page = mm.anon[address].page
            entry = mm.anon[address].swap
            remembered = mm.tlb[address].page
            yield clause("what may be lost is not zero", not freed or expected != 0, task, address)
            if page is not None:
                yield clause("the page holds what was written", holds(m, page, expected, freed), task, address)
            elif entry is not None:
                cached = m.swap[entry].folio
                if cached is not None:
                    same = holds(m, cached, expected, freed)
                    yield clause("the swap cache holds what was written", same, task, address)
                else:
                    same = m.swap[entry].content == expected or (freed and m.swap[entry].content == 0)
                    yield clause("the swap device holds what was written", same, task, address)
            else:
                yield clause("nothing is expected where nothing is", expected == 0 or freed, task, address)
            if remembered is not None:
                same = holds(m, remembered, expected, freed)
                yield clause("what a processor reads is what was written", same, task, address)
    for index in indices(m.i_pages):
        slot = m.i_pages[index]
        filed = slot.folio
        if filed is not None:
            yield clause("the page cache holds what was written", m.use[filed].content == slot.expected, index)
        else:
            yield clause("the disk holds what was written", slot.content == slot.expected, index)


@invariant("R2-clean", origin="folio_clear_dirty_for_io(), pageout()")
def clean_pages_are_stored(m: SwapMachine) -> Clauses:
    """What nobody would write is where it would be read from: on the device, on the disk, or of no interest."""
    for page in indices(m.folio):
        entry = m.use[page].swap
        index = m.use[page].index
        if entry is not None and not m.folio[page].dirty and not m.folio[page].writeback:
            same = m.swap[entry].content == m.use[page].content
            told = m.folio[page].mapcount > 0 and m.folio[page].mapcount == dirty_ptes(m, page)
            written = told and m.swap[entry].count == 0
            yield clause("a clean folio in the swap cache is on the device, or its PTEs know", same or written, page)
        if index is not None and is_clean(m, page):
            same = m.i_pages[index].content == m.use[page].content
            yield clause("a clean folio in the page cache is on the disk", same, page)
    for task in indices(m.mm):
        for address in indices(m.mm[task].anon):
            pte = m.mm[task].anon[address]
            mapped = pte.page
            if mapped is not None and is_unmarked(m, mapped) and not pte.dirty:
                useless = m.mm[task].freed[address] or m.mm[task].expected[address] == 0
                yield clause("a page that is nowhere else is dirty, or of no interest", useless, task, address)
    source = m.vmf.entry
    fresh = m.vmf.page
    if m.vmf.direct and source is not None and fresh is not None:
        same = m.use[fresh].content == m.swap[source].content
        yield clause("what was read past the swap cache is what is on the device", same, fresh)


@invariant("R2-io", origin="get_user_pages(): FOLL_GET; PageAnonExclusive()")
def direct_io_reaches_its_task(m: SwapMachine) -> Clauses:
    """A page that a device will write to is still the one that the task would find, and no other's."""
    page = m.dio.page
    task = m.dio.task
    yield clause("io to a task's memory has a page", task is None or page is not None)
    yield clause("io to nobody's memory has no address", task is not None or m.dio.address == 0)
    if page is not None:
        kind = m.use[page].index is None or task is None
        yield clause("the page is anonymous, or of the file", m.use[page].anon or m.use[page].index is not None, page)
        yield clause("io to the file is not io to a task's memory", kind, page)
        entry = m.use[page].swap
        if task is not None:
            pte = m.mm[task].anon[m.dio.address]
            mapped = pte.page == page and m.use[page].exclusive
            swapped = entry is not None and pte.swap == entry and pte.exclusive
            yield clause("the task still has the page to itself", m.mm[task].alive and (mapped or swapped), page)
        elif m.use[page].index is None:
            unmapped = m.folio[page].mapcount == 0 and (entry is None or m.swap[entry].count == 0)
            yield clause("a page that was given up is nobody's", unmapped, page)


# --- step properties


@step_property("R1", action=finish_folio, origin="__remove_mapping(): folio_ref_freeze(), then folio_test_dirty()")
def only_idle_folios_are_freed(before: SwapMachine, after: SwapMachine, result: Outcome) -> Clauses:
    """Reclaim frees a folio that is unmapped, held by nobody, not being written and clean, or of no interest."""
    page = before.scan.folio
    if page is not None and result == FOLIO_RECLAIMED:
        folio = before.folio[page]
        lazy = before.use[page].anon and not folio.swapbacked
        yield clause("it is freed", after.folio[page].refcount == 0, page)
        yield clause("it was unmapped and not being written", folio.mapcount == 0 and not folio.writeback, page)
        yield clause("it was clean, or of no interest", not folio.dirty or lazy, page)
        yield clause("nobody else held it", folio.refcount == (1 if lazy else 2), page)


@step_property("L7-kept", origin="try_to_unmap_one(): VM_LOCKED")
def locked_memory_stays(before: SwapMachine, after: SwapMachine) -> Clauses:
    """A page in locked memory stays mapped until it is unlocked or its task ends."""
    for task in indices(after.mm):
        for address in indices(after.mm[task].anon):
            if before.mm[task].locked[address] and after.mm[task].locked[address]:
                there = before.mm[task].anon[address].page is None or after.mm[task].anon[address].page is not None
                yield clause("locked memory stays mapped", there, task, address)


@step_property("R2-read", action=read_memory, origin="(what memory is for)")
def a_read_finds_the_last_write(
    before: SwapMachine, after: SwapMachine, task: TaskId, address: VirtualPage, result: Content | None
) -> Clauses:
    """What a task reads is what it wrote last, or zero if it said that it does not matter."""
    if result is not None:
        mm = before.mm[task]
        right = result == mm.expected[address] or (mm.freed[address] and result == 0)
        yield clause("what is read is what was written", right, task, address)


def has_unused_frame(m: SwapMachine) -> bool:
    """Whether a frame is unused."""
    return any(m.folio[page].refcount == 0 for page in indices(m.folio))


@step_property("R2-write", action=write_memory, origin="handle_mm_fault(): VM_FAULT_OOM")
def a_fault_fails_for_memory_alone(
    before: SwapMachine, after: SwapMachine, task: TaskId, address: VirtualPage, result: Content | None
) -> Clauses:
    """A write fails only if there is no unused frame, or a thread of the task has the entry in hand."""
    if result is None:
        entry = before.mm[task].anon[address].swap
        claimed = before.vmf.direct and entry is not None and before.vmf.entry == entry
        yield clause("there is no unused frame", not has_unused_frame(after) or claimed, task, address)


# --- refinement: memory with contents


def contents_of(concrete: SwapMachine, abstract: Contents) -> None:
    """The contents are what the tasks expect; R2 says that they will find it."""
    for task in indices(concrete.mm):
        for address in indices(concrete.mm[task].anon):
            abstract.task[task].value[address] = concrete.mm[task].expected[address]
            abstract.task[task].freed[address] = concrete.mm[task].freed[address]
    for index in indices(concrete.i_pages):
        abstract.file[index] = concrete.i_pages[index].expected
    abstract.io_task = concrete.dio.task
    abstract.io_address = concrete.dio.address
    page = concrete.dio.page
    abstract.io_index = None if page is None else concrete.use[page].index


def read_or_fail(abstract: Contents, task: TaskId, address: VirtualPage, result: Content | None) -> None:
    """A read gives the content, or a fault failed."""
    if result is not None:
        read(abstract, task, address, result)


def write_or_fail(abstract: Contents, task: TaskId, address: VirtualPage, result: Content | None) -> None:
    """A write changes the content, or a fault failed."""
    if result is not None:
        write(abstract, task, address, result)


def spawn_task(abstract: Contents, task: TaskId, child: TaskId) -> None:
    """fork()."""
    spawn(abstract, task, child)


def end_task(abstract: Contents, task: TaskId) -> None:
    """exit()."""
    end(abstract, task)


def free_page(abstract: Contents, task: TaskId, address: VirtualPage) -> None:
    """madvise(MADV_FREE)."""
    free(abstract, task, address)


def drop_page(abstract: Contents, task: TaskId, address: VirtualPage) -> None:
    """madvise(MADV_DONTNEED)."""
    drop(abstract, task, address)


def begin_device_write(abstract: Contents, task: TaskId, address: VirtualPage) -> None:
    """Direct io begins."""
    begin_io(abstract, task, address)


def begin_device_write_to_file(abstract: Contents, task: TaskId, index: FileIndex) -> None:
    """Direct io to the file begins."""
    begin_file_io(abstract, index)


def end_device_write(abstract: Contents, result: Content) -> None:
    """Direct io ends."""
    end_io(abstract, result)


def read_mapping_or_fail(abstract: Contents, task: TaskId, index: FileIndex, result: Content | None) -> None:
    """A read of the mapped file gives the content, or a fault failed."""
    if result is not None:
        read_from_file(abstract, index, result)


def write_mapping_or_fail(abstract: Contents, task: TaskId, index: FileIndex, result: Content | None) -> None:
    """A write to the mapped file changes the content, or a fault failed."""
    if result is not None:
        write_to_file(abstract, index, result)


def read_file_or_fail(abstract: Contents, index: FileIndex, result: Content | None) -> None:
    """read() gives the content, or there is no memory."""
    if result is not None:
        read_from_file(abstract, index, result)


def write_file_or_fail(abstract: Contents, index: FileIndex, result: Content | None) -> None:
    """write() changes the content, or there is no memory."""
    if result is not None:
        write_to_file(abstract, index, result)


INVARIANTS = (
    references_counted,
    unused_frames_clean,
    swap_map_exact,
    swap_cache_one_to_one,
    mappings_exact,
    exclusive_pages_are_alone,
    translations_current,
    writeback_means_io,
    locks_held,
    locked_folios_unevictable,
    nothing_is_lost,
    clean_pages_are_stored,
    direct_io_reaches_its_task,
)

STEPS = (
    only_idle_folios_are_freed,
    locked_memory_stays,
    a_read_finds_the_last_write,
    a_fault_fails_for_memory_alone,
)

SPEC = Spec(
    name="swap",
    state=SwapMachine,
    init=first_task,
    actions=(
        read_memory,
        write_memory,
        fork,
        exit,
        madvise_free,
        madvise_dontneed,
        mlock,
        munlock,
        read_mapped_file,
        write_mapped_file,
        read_file,
        write_file,
        sync_file,
        end_swap_write,
        end_file_write,
        wake_after_writeback,
        begin_direct_io,
        begin_direct_io_to_file,
        end_direct_io,
        begin_swap_fault,
        end_swap_fault,
        isolate_folio,
        shrink_folio_list,
        finish_folio,
    ),
    properties=(*INVARIANTS, *STEPS),
    parameters=PARAMETERS,
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes=SCOPES,
    explored=("entries", "fast", "tlb", "references"),
    refinement=Refinement(
        "R-contents",
        CONTENTS,
        contents_of,
        {
            read_memory: read_or_fail,
            write_memory: write_or_fail,
            fork: spawn_task,
            exit: end_task,
            madvise_free: free_page,
            madvise_dontneed: drop_page,
            begin_direct_io: begin_device_write,
            begin_direct_io_to_file: begin_device_write_to_file,
            end_direct_io: end_device_write,
            read_mapped_file: read_mapping_or_fail,
            write_mapped_file: write_mapping_or_fail,
            read_file: read_file_or_fail,
            write_file: write_file_or_fail,
        },
        origin="memory as its tasks see it",
    ),
    doc=__doc__,
    flows={
        "fault": (
            write_memory, fault_in, handle_mm_fault, do_anonymous_page, do_swap_page, swapin_folio,
            read_swap_cache_async, map_swapped_folio, do_wp_page, wp_page_copy, folio_free_swap,
        ),
        "pageout": (
            shrink_folio_list, shrink_folio, add_to_swap, try_to_unmap, try_to_unmap_anon, pageout, swap_writepage,
        ),
        "free": (finish_folio, remove_folio, remove_mapping),
    },
    symmetric=("page", "task", "swap_entry"),
)
