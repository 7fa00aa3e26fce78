"""The clients of user memory: tasks, devices, and a reclaimer that may take any folio at any time (Linux 6.1).

The one idea: which folio reclaim looks at next is policy, and whether anything is lost must not depend on it. So there
are no LRU lists here: a folio is on the LRU or it is not, and whichever is may be isolated, found unreferenced, taken
out of page tables, written, freed. What is proved here holds for every policy, that of model/reclaim.py among them.

Frames are the same: any unused frame serves. A fault that finds none fails, and may be taken again later.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .fault import (
    do_file_fault,
    dup_mmap,
    exit_mmap,
    handle_mm_fault,
    madvise_free_pte,
    map_swapped_folio,
    may_skip_swapcache,
    mlock_fixup,
    swapin_folio,
    zap_anon_pte,
)
from .filemap import (
    end_buffer_async_write,
    filemap_read,
    generic_perform_write,
    write_cache_page,
)
from .folio import FOLIO_RECLAIMED, Shadow
from .lang import GHOST, Array, FromScope, Record, action, choose, indices, require
from .lru import folio_get, folio_put_testzero, free_unref_page
from .mm import (
    Content,
    FileIndex,
    FolioScan,
    Memory,
    Mm,
    Pte,
    SwapEntry,
    TaskId,
    VirtualPage,
    clear_writeback_or_wake,
    folio_mark_dirty,
)
from .pageout import FOLIO_UNMAPPED, Outcome, remove_folio, shrink_folio
from .rmap import folio_referenced, is_mapped_locked, try_to_unmap_flush
from .swap import end_swap_bio_write

CPU = 0
"""There is one cpu: what cpus have of their own are batches of the LRU, which are not here."""


class TlbEntry(Record):
    """What the processors that run a task remember of one PTE."""

    page: Page | None
    write: bool  # writable and dirty: a write goes through without a look at the PTE


class MmWithTlb(Mm):
    """A task whose processors remember PTEs until they are told to forget."""

    has_tlb: Annotated[int, FromScope("tlb")]
    tlb: Array[VirtualPage, TlbEntry]
    tlb_flush_batched: bool  # pending != flushed

    def flush_tlb_page(self, address: VirtualPage) -> None:
        """flush_tlb_page()."""
        self.tlb[address].page = None
        self.tlb[address].write = False

    def flush_tlb_mm(self) -> None:
        """flush_tlb_mm()."""
        flush_tlb_mm(self)

    def flush_tlb_batched_pending(self) -> None:
        """flush_tlb_batched_pending()."""
        if self.tlb_flush_batched:
            flush_tlb_mm(self)
            self.tlb_flush_batched = False

    def set_tlb_ubc_flush_pending(self) -> None:
        """set_tlb_ubc_flush_pending()."""
        self.tlb_flush_batched = self.has_tlb != 0


class VmFault(Record):
    """A thread of a task that sleeps in do_swap_page(): it has the folio, not yet the PTE (struct vm_fault)."""

    task: TaskId | None
    address: VirtualPage
    page: Page | None
    entry: SwapEntry | None
    exclusive: bool  # of orig_pte
    direct: bool  # need_clear_cache


class DirectIo(Record):
    """A read from a device straight into a task's page, which holds a reference (get_user_pages(FOLL_GET)). The page is
    anonymous or of the file."""

    page: Page | None
    task: Annotated[TaskId | None, GHOST]  # whose anonymous page it is, as long as the task has not given it up
    address: Annotated[VirtualPage, GHOST]


class Shrink(FolioScan):
    """A reclaimer: the folio that it has in hand between two steps, and what it has unmapped."""

    folio: Page | None
    unmapped: bool  # the first half is done, and the second to follow


class SwapMachine(Memory):
    """User memory without LRU lists."""

    mm: Array[TaskId, MmWithTlb]  # type: ignore[assignment]
    scan: Shrink
    vmf: VmFault
    dio: DirectIo
    waking: Page | None  # writeback has ended, and who waits for that is not woken yet
    has_file: Annotated[int, FromScope("file")]
    has_mlock: Annotated[int, FromScope("mlock")]
    references_kept: Annotated[int, FromScope("references_kept")]
    synchronous: Annotated[int, FromScope("synchronous")]
    has_threads: Annotated[int, FromScope("threads")]
    has_direct_io: Annotated[int, FromScope("direct_io")]
    has_waiters: Annotated[int, FromScope("waiters")]
    together: Annotated[int, FromScope("together")]

    def alloc_folio(self, cpu: int) -> Page | None:
        """Any unused frame."""
        return alloc_any_folio(self)

    def folio_put(self, cpu: int, page: Page) -> None:
        """folio_put()."""
        folio_put(self, page)

    def folio_add_lru(self, cpu: int, page: Page) -> None:
        """folio_add_lru(), without batches."""
        self.folio[page].lru = True

    def folio_mark_accessed(self, cpu: int, page: Page) -> None:
        """folio_mark_accessed(), as far as it is not about lists."""
        self.folio[page].referenced = self.references_kept != 0

    def mark_page_lazyfree(self, cpu: int, page: Page) -> None:
        """mark_page_lazyfree(), without batches."""
        mark_page_lazyfree(self, page)

    def folio_rotate_reclaimable(self, cpu: int, page: Page) -> None:
        """There are no lists."""

    def mlock_folio(self, cpu: int, page: Page) -> None:
        """mlock_folio(), without batches."""
        mlock_folio(self, page)

    def mlock_new_page(self, cpu: int, page: Page) -> None:
        """mlock_new_page(), without batches."""
        mlock_new_page(self, page)

    def munlock_page(self, cpu: int, page: Page) -> None:
        """munlock_page(), without batches."""
        munlock_page(self, page)

    def mlock_page_drain_local(self, cpu: int) -> None:
        """There are no batches."""

    def wakes_later(self, page: Page) -> bool:
        """Whether the scope lets others run before."""
        later = may_wake_later(self)
        if later:
            self.waking = page
        return later

    def workingset_eviction(self, page: Page) -> Shadow | None:
        """Nobody asks how long ago a folio was reclaimed: any time is as good as another."""
        return 0

    def lru_add_drain(self, cpu: int) -> None:
        """There are no batches."""

    def folio_referenced(self, page: Page) -> int:
        """folio_referenced(), or any answer."""
        if self.references_kept != 0:
            return folio_referenced(self, page)
        references = choose(range(3))
        return references  # noqa: RET504 (a choice stands alone)

    def workingset_refault(self, page: Page, shadow: Shadow) -> None:
        """Nobody asks."""

    def referenced_vm_locked(self, page: Page) -> bool:
        """VM_LOCKED, if it is noticed: mlock() may come just after."""
        locked = any(is_mapped_locked(self.mm[task], page) for task in indices(self.mm))
        if locked and self.references_kept == 0:
            seen = choose(range(2))
            return seen == 1
        return locked

    def pte_mkyoung(self, pte: Pte) -> None:
        """If references are not kept, any answer is given when somebody asks for them."""
        pte.young = self.references_kept != 0

    def swap_is_synchronous(self) -> bool:
        """SWP_SYNCHRONOUS_IO."""
        return self.synchronous != 0


# --- what stands below user memory


def flush_tlb_mm(mm: MmWithTlb) -> None:
    """Forget everything about a task's memory (flush_tlb_mm())."""
    for address in indices(mm.tlb):
        mm.tlb[address].page = None
        mm.tlb[address].write = False


def alloc_any_folio(m: SwapMachine) -> Page | None:
    """Any unused frame, or none."""
    if all(m.folio[page].refcount > 0 for page in indices(m.folio)):
        return None
    page = choose(indices(m.folio))
    require(m.folio[page].refcount == 0)
    m.folio[page].refcount = 1
    return page


def folio_put(m: SwapMachine, page: Page) -> None:
    """Drop a reference (folio_put(), __folio_put(), page_cache_release())."""
    is_last = folio_put_testzero(m, page)
    if is_last:
        m.folio[page].lru = False
        m.folio[page].unevictable = False
        m.folio[page].mlock_count = 0
        free_unref_page(m, CPU, page)


def mark_page_lazyfree(m: SwapMachine, page: Page) -> None:
    """An anonymous folio may be dropped instead of swapped (mark_page_lazyfree(), lru_lazyfree_fn())."""
    folio = m.folio[page]
    if folio.lru and folio.swapbacked and not folio.swapcache and not folio.unevictable:
        folio.referenced = False
        folio.swapbacked = False


def mlock_folio(m: SwapMachine, page: Page) -> None:
    """One more PTE in locked memory maps the folio (mlock_folio(), __mlock_page())."""
    folio = m.folio[page]
    folio.mlocked = True
    if folio.lru:
        if folio.unevictable:
            folio.mlock_count += 1
        else:
            folio.unevictable = True
            folio.mlock_count = 1


def mlock_new_page(m: SwapMachine, page: Page) -> None:
    """A new folio is mapped in locked memory (mlock_new_page(), __mlock_new_page())."""
    folio = m.folio[page]
    folio.mlocked = True
    folio.unevictable = True
    folio.mlock_count = 1
    folio.lru = True


def munlock_page(m: SwapMachine, page: Page) -> None:
    """A PTE less in locked memory maps the folio (munlock_page(), __munlock_page())."""
    folio = m.folio[page]
    if folio.lru and folio.unevictable:
        if folio.mlock_count > 0:
            folio.mlock_count -= 1
        if folio.mlock_count > 0:
            return
    folio.mlocked = False
    if folio.lru:
        folio.unevictable = False


# --- boot


def first_task(m: SwapMachine) -> None:
    """One task runs, its memory empty; the file is empty, too."""
    task = choose(indices(m.mm))
    m.mm[task].alive = True


# --- what the scope lets happen, and whether at the same time


def is_file_in_use(m: SwapMachine) -> bool:
    """Whether a page of the file is in memory, or was, or there is something in the file."""
    return any(
        m.i_pages[index].folio is not None or m.i_pages[index].shadow is not None or m.i_pages[index].content != 0
        for index in indices(m.i_pages)
    )


def is_memory_locked(m: SwapMachine) -> bool:
    """Whether a task has locked memory."""
    return any(any(m.mm[task].locked[address] for address in indices(m.mm[task].locked)) for task in indices(m.mm))


def may_use_file(m: SwapMachine) -> bool:
    """Whether tasks may use the file now."""
    page = m.dio.page
    to_file = page is None or m.use[page].index is not None
    alone = to_file and m.vmf.task is None and m.waking is None and not is_memory_locked(m)
    return m.has_file != 0 and (alone or m.together != 0)


def may_mlock(m: SwapMachine) -> bool:
    """Whether tasks may lock memory now."""
    alone = m.dio.page is None and m.vmf.task is None and m.waking is None and not is_file_in_use(m)
    return m.has_mlock != 0 and (alone or m.together != 0)


def may_begin_direct_io(m: SwapMachine, to_file: bool) -> bool:
    """Whether direct io may begin now; there is one at a time."""
    alone = m.vmf.task is None and m.waking is None and not is_memory_locked(m) and (to_file or not is_file_in_use(m))
    return m.has_direct_io != 0 and m.dio.page is None and (alone or m.together != 0)


def may_sleep(m: SwapMachine) -> bool:
    """Whether a thread may sleep in a fault now; there is one at a time."""
    alone = m.dio.page is None and m.waking is None and not is_memory_locked(m) and not is_file_in_use(m)
    return m.has_threads != 0 and m.vmf.task is None and (alone or m.together != 0)


def may_wake_later(m: SwapMachine) -> bool:
    """Whether others may run between the end of writeback and the waking of who waits for it; one folio at a time."""
    alone = m.dio.page is None and m.vmf.task is None and not is_memory_locked(m) and not is_file_in_use(m)
    return m.has_waiters != 0 and m.waking is None and (alone or m.together != 0)


# --- what tasks do


def fault_in(m: SwapMachine, mm: MmWithTlb, address: VirtualPage, write: bool) -> Page | None:
    """An access to memory, by the TLB or by way of the PTE and perhaps a fault; the page that is accessed."""
    page = mm.tlb[address].page
    if page is not None and (mm.tlb[address].write or not write):
        return page
    done = handle_mm_fault(m, CPU, mm, address, write)
    if not done:
        return None
    pte = mm.anon[address]
    if mm.has_tlb != 0:
        mm.tlb[address].page = pte.page
        mm.tlb[address].write = pte.write and pte.dirty
    return pte.page


@action
def read_memory(m: SwapMachine, task: TaskId, address: VirtualPage) -> Content | None:
    """A task reads a page of its memory; none if a fault failed."""
    mm = m.mm[task]
    require(mm.alive)
    page = fault_in(m, mm, address, False)
    if page is not None:
        return m.use[page].content
    if mm.anon[address].page is None and mm.anon[address].swap is None:
        return 0  # the zero page
    return None


@action
def write_memory(m: SwapMachine, task: TaskId, address: VirtualPage) -> Content | None:
    """A task writes to a page of its memory; what it holds now, or none if a fault failed."""
    mm = m.mm[task]
    require(mm.alive)
    page = fault_in(m, mm, address, True)
    if page is None:
        return None
    content = m.next_content(m.use[page].content)
    m.use[page].content = content
    # Where the task had freed the page, what was there may have been lost.
    mm.expected[address] = content if mm.freed[address] else m.next_content(mm.expected[address])
    mm.freed[address] = False
    return content


@action
def fork(m: SwapMachine, task: TaskId, child: TaskId) -> None:
    """A task has a child (fork()). It must not while a device writes to its memory, says open(2) of O_DIRECT."""
    require(m.mm[task].alive and not m.mm[child].alive)
    require(m.dio.task is None or m.dio.task != task)
    dup_mmap(m, m.mm[task], m.mm[child])
    for address in indices(m.mm[task].anon):
        m.mm[child].expected[address] = m.mm[task].expected[address]
        m.mm[child].freed[address] = m.mm[task].freed[address]


@action
def exit(m: SwapMachine, task: TaskId) -> None:
    """A task ends, but not the last one (do_exit()). Its threads have ended before."""
    require(m.mm[task].alive)
    require(any(m.mm[other].alive and other != task for other in indices(m.mm)))
    require(m.vmf.task is None or m.vmf.task != task)
    if m.dio.task == task:
        m.dio.task = None
        m.dio.address = 0
    exit_mmap(m, CPU, m.mm[task])


@action
def madvise_free(m: SwapMachine, task: TaskId, address: VirtualPage) -> None:
    """A task does not need what is in a page, until it writes to it again (madvise(MADV_FREE)). It must not say so of
    one that a device will write to: the kernel may then drop the page, or keep it."""
    require(m.mm[task].alive and not m.mm[task].locked[address])
    require(m.dio.task is None or m.dio.task != task or m.dio.address != address)
    madvise_free_pte(m, CPU, m.mm[task], address)
    m.mm[task].freed[address] = m.mm[task].expected[address] != 0


@action
def madvise_dontneed(m: SwapMachine, task: TaskId, address: VirtualPage) -> None:
    """A task gives a page up (madvise(MADV_DONTNEED), or munmap() and mmap() again)."""
    require(m.mm[task].alive and not m.mm[task].locked[address])
    if m.dio.task == task and m.dio.address == address:
        m.dio.task = None
        m.dio.address = 0
    zap_anon_pte(m, CPU, m.mm[task], address)
    m.mm[task].expected[address] = 0
    m.mm[task].freed[address] = False


@action
def mlock(m: SwapMachine, task: TaskId, address: VirtualPage) -> None:
    """A task locks a page of its memory (mlock(), whose faults are reads and writes that follow)."""
    require(may_mlock(m) and m.mm[task].alive and not m.mm[task].locked[address])
    mlock_fixup(m, CPU, m.mm[task], address, True)


@action
def munlock(m: SwapMachine, task: TaskId, address: VirtualPage) -> None:
    """A task unlocks a page of its memory (munlock())."""
    require(m.mm[task].locked[address])
    mlock_fixup(m, CPU, m.mm[task], address, False)


@action
def read_mapped_file(m: SwapMachine, task: TaskId, index: FileIndex) -> Content | None:
    """A task reads a page of the file, which it has mapped; none if a fault failed."""
    mm = m.mm[task]
    require(may_use_file(m) and mm.alive)
    done = do_file_fault(m, CPU, mm, index, False)
    if not done:
        return None
    page = mm.file[index].page
    assert page is not None
    return m.use[page].content


@action
def write_mapped_file(m: SwapMachine, task: TaskId, index: FileIndex) -> Content | None:
    """A task writes to a page of the file, which it has mapped; what it holds now, or none if a fault failed."""
    mm = m.mm[task]
    require(may_use_file(m) and mm.alive)
    done = do_file_fault(m, CPU, mm, index, True)
    if not done:
        return None
    page = mm.file[index].page
    assert page is not None
    m.use[page].content = m.next_content(m.use[page].content)
    m.i_pages[index].expected = m.next_content(m.i_pages[index].expected)
    return m.use[page].content


@action
def read_file(m: SwapMachine, index: FileIndex) -> Content | None:
    """A task reads a page of the file (read()); none if there is no memory."""
    require(may_use_file(m))
    return filemap_read(m, CPU, index)


@action
def write_file(m: SwapMachine, index: FileIndex) -> Content | None:
    """A task writes to a page of the file (write()); what it holds now, or none if there is no memory."""
    require(may_use_file(m))
    content = generic_perform_write(m, CPU, index)
    if content is not None:
        m.i_pages[index].expected = m.next_content(m.i_pages[index].expected)
    return content


@action
def sync_file(m: SwapMachine, index: FileIndex) -> None:
    """A page of the file is written back, for fsync() or by a flusher."""
    page = m.i_pages[index].folio
    require(page is not None)
    assert page is not None
    require(not m.folio[page].writeback and not m.folio[page].locked)
    write_cache_page(m, page, index)


# --- devices


@action
def end_swap_write(m: SwapMachine, entry: SwapEntry) -> None:
    """The swap device has written a page."""
    require(m.swap[entry].io is not None)
    end_swap_bio_write(m, CPU, entry)


@action
def end_file_write(m: SwapMachine, index: FileIndex) -> None:
    """The disk has written a page of the file."""
    require(m.i_pages[index].io is not None)
    end_buffer_async_write(m, CPU, index)


@action
def wake_after_writeback(m: SwapMachine) -> None:
    """Who waits for the end of writeback is woken (the end of folio_end_writeback())."""
    page = m.waking
    require(page is not None)
    assert page is not None
    m.waking = None
    clear_writeback_or_wake(m, CPU, page, True)


@action
def begin_direct_io(m: SwapMachine, task: TaskId, address: VirtualPage) -> None:
    """A task asks a device to write to its memory (get_user_pages_fast(FOLL_WRITE | FOLL_GET)): a reference to the
    page, after a fault unless the PTE is writable."""
    mm = m.mm[task]
    require(may_begin_direct_io(m, False) and mm.alive)
    if mm.anon[address].page is None or not mm.anon[address].write:
        done = handle_mm_fault(m, CPU, mm, address, True)
        require(done)
    page = mm.anon[address].page
    assert page is not None
    folio_get(m, page)
    m.dio.page = page
    m.dio.task = task
    m.dio.address = address


@action
def begin_direct_io_to_file(m: SwapMachine, task: TaskId, index: FileIndex) -> None:
    """A task asks a device to write to its mapping of the file."""
    mm = m.mm[task]
    require(m.has_file != 0 and may_begin_direct_io(m, True) and mm.alive)
    if mm.file[index].page is None or not mm.file[index].write:
        done = do_file_fault(m, CPU, mm, index, True)
        require(done)
    page = mm.file[index].page
    assert page is not None
    folio_get(m, page)
    m.dio.page = page


@action
def end_direct_io(m: SwapMachine) -> Content:
    """The device has written to the page: it is dirty, and let go (set_page_dirty(), put_page()). Gives what it has
    then. Direct io proper waits for the folio's lock (set_page_dirty_lock()); drivers do not."""
    page = m.dio.page
    require(page is not None)
    assert page is not None
    content = m.next_content(m.use[page].content)
    m.use[page].content = content
    task = m.dio.task
    if task is not None:
        mm = m.mm[task]
        address = m.dio.address
        mm.expected[address] = content if mm.freed[address] else m.next_content(mm.expected[address])
        mm.freed[address] = False
    index = m.use[page].index
    if index is not None:
        m.i_pages[index].expected = m.next_content(m.i_pages[index].expected)
    folio_mark_dirty(m, page)
    m.dio.page = None
    m.dio.task = None
    m.dio.address = 0
    folio_put(m, page)
    return content


# --- a thread that sleeps in do_swap_page()


@action
def begin_swap_fault(m: SwapMachine, task: TaskId, address: VirtualPage) -> bool:
    """A thread of a task takes a fault for a read, gets the folio and sleeps; the task's other threads go on."""
    mm = m.mm[task]
    entry = mm.anon[address].swap
    require(may_sleep(m) and mm.alive and entry is not None)
    assert entry is not None
    direct = may_skip_swapcache(m, entry)
    page = swapin_folio(m, CPU, entry)
    if page is None:
        return False
    m.vmf.task = task
    m.vmf.address = address
    m.vmf.page = page
    m.vmf.entry = entry
    m.vmf.exclusive = mm.anon[address].exclusive
    m.vmf.direct = direct
    return True


@action
def end_swap_fault(m: SwapMachine) -> None:
    """The thread that slept maps the folio, if the PTE is still what it was; it will make its access again."""
    task = m.vmf.task
    page = m.vmf.page
    entry = m.vmf.entry
    require(task is not None and page is not None and entry is not None)
    assert task is not None
    assert page is not None
    assert entry is not None
    require(m.vmf.direct or not m.folio[page].locked)
    map_swapped_folio(m, CPU, m.mm[task], m.vmf.address, False, page, entry, m.vmf.exclusive, m.vmf.direct)
    m.vmf.task = None
    m.vmf.address = 0
    m.vmf.page = None
    m.vmf.entry = None
    m.vmf.exclusive = False
    m.vmf.direct = False


# --- reclaim


@action
def isolate_folio(m: SwapMachine, page: Page) -> None:
    """A reclaimer takes any folio that is on an evictable list (isolate_lru_folios())."""
    require(m.scan.folio is None and m.folio[page].refcount > 0)
    require(m.folio[page].lru and not m.folio[page].unevictable)
    folio_get(m, page)
    m.folio[page].lru = False
    m.scan.folio = page


@action
def shrink_folio_list(m: SwapMachine) -> Outcome:
    """The reclaimer does the first half with the folio that it has isolated; gives what it decides."""
    page = m.scan.folio
    require(page is not None and not m.scan.unmapped)
    assert page is not None
    outcome = shrink_folio(m, m.scan, CPU, page)
    if outcome == FOLIO_UNMAPPED:
        m.scan.unmapped = True
    else:
        try_to_unmap_flush(m, m.scan)
        putback_lru(m, page)
        m.scan.folio = None
    return outcome


@action
def finish_folio(m: SwapMachine) -> Outcome:
    """The reclaimer does the second half, and frees the folio if that is what it comes to."""
    page = m.scan.folio
    require(page is not None and m.scan.unmapped)
    assert page is not None
    outcome = remove_folio(m, page)
    try_to_unmap_flush(m, m.scan)
    if outcome == FOLIO_RECLAIMED:
        free_unref_page(m, CPU, page)
    else:
        putback_lru(m, page)
    m.scan.folio = None
    m.scan.unmapped = False
    return outcome


def putback_lru(m: SwapMachine, page: Page) -> None:
    """A folio goes back to some list, and the reclaimer's reference is dropped (move_folios_to_lru(),
    folio_putback_lru())."""
    folio = m.folio[page]
    folio.active = False
    folio.lru = True
    if folio.mlocked:  # lru_add_fn()
        folio.unevictable = True
        folio.mlock_count = 0
    folio_put(m, page)
