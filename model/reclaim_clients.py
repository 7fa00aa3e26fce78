"""The clients of reclaim: tasks that use memory until there is none, kswapd, devices, the OOM killer (Linux 6.1).

The one idea: a task that needs a frame and finds none is in the slow path of the page allocator, its access put off; it
reclaims in steps, as kswapd does beside it, and when it has a frame the access is made at once. There is one processor,
which any task may have for one step; what the page allocator reads of `current` is brought there for that step, so that
tasks are the same but for what they have done.
"""

from __future__ import annotations

from typing import Annotated

from . import lru
from .buddy import Page
from .fault import dup_mmap, exit_mmap, handle_mm_fault, mlock_fixup
from .filemap import end_buffer_async_write, filemap_read, generic_perform_write, write_cache_page
from .folio import Shadow
from .frame_pool import FramePool, boot_pool, free_frame, pool_watermark_ok
from .gfp import __GFP_FS, __GFP_IO, GFP_HIGHUSER_MOVABLE, GFP_NOIO
from .lang import Array, FromScope, Range, Record, Sort, action, choose, indices, require
from .lru import folio_put
from .mm import Content, FileIndex, Mm, SwapEntry, TaskId, VirtualPage, clear_use
from .reclaim import (
    KSWAPD,
    RECLAIM_FOLIO,
    RECLAIM_LAST,
    RECLAIM_LIST,
    RECLAIM_MAPPING,
    RECLAIM_NOTHING,
    RECLAIM_TURN,
    RECLAIM_TURN_END,
    ReclaimerId,
    ReclaimMemory,
    allow_direct_reclaim,
    begin_turn,
    end_scan,
    get_nr_swap_pages,
    may_begin_turn,
    shrink_folio_list,
    shrink_folio_list_removes,
    shrink_list,
    shrink_lruvec_ends,
    try_to_free_pages,
    wake_up_kswapd,
    zone_reclaimable_pages,
)
from .rmap import folio_referenced, is_mapped_locked
from .slowpath import alloc_pages, slowpath_reclaimed
from .swap import end_swap_bio_write

CPU = 0
"""The processor."""

Request = Annotated[int, Sort("request", "requests")]

USER = 0
"""The request of a fault or of a system call on a file; the others are of the kernel, for itself."""


class TaskStruct(Record):
    """struct task_struct: what the page allocator reads of it, and what it does while it waits for a frame."""

    memalloc: bool  # PF_MEMALLOC
    oom_victim: bool  # TIF_MEMDIE
    slow: bool
    alloc_oom: bool
    no_progress_loops: Annotated[int, Range(0, "reclaim_retries")]
    reclaimer: ReclaimerId | None  # whose scan_control is this task's
    request: Request  # what the slow path was entered with
    kernel_page: Page | None  # a page that the kernel holds for the task


class TaskMemory(ReclaimMemory):
    """Memory, its reclaimers, and the tasks that use it, over any page allocator.

    `running` and `new_page` are of one step alone: the task that has the processor, and the frame that the slow path
    has got for it."""

    task: Array[TaskId, TaskStruct]
    running: TaskId | None
    new_page: Page | None
    requests: Annotated[int, FromScope("requests")]
    gfp1: Annotated[int, FromScope("gfp1")]
    gfp2: Annotated[int, FromScope("gfp2")]
    file_writes: Annotated[int, FromScope("file_writes")]  # whether tasks write to the file, too
    mlock: Annotated[int, FromScope("mlock")]
    munlock: Annotated[int, FromScope("munlock")]
    throttles: Annotated[int, FromScope("throttles")]  # whether the lowest watermark is such that tasks may wait for it
    reserves: Annotated[int, FromScope("reserves")]  # whether tasks that reclaim need frames themselves
    keeps_history: Annotated[int, FromScope("keeps_history")]
    cost_rest: Annotated[int, FromScope("cost_rest")]

    def alloc_folio(self, cpu: int) -> Page | None:
        """A frame, if the task has one or gets it at once (folio_alloc())."""
        return alloc_folio(self)

    def next_content(self, content: Content) -> Content:
        """What is in the pages is the subject of the specification `swap`."""
        return 0

    def can_reclaim_anon_pages(self) -> bool:
        """can_reclaim_anon_pages()."""
        return get_nr_swap_pages(self) > 0

    def workingset_eviction(self, page: Page) -> Shadow | None:
        """workingset_eviction(), if history is kept."""
        return workingset_eviction(self, page)

    def zone_reclaimable_pages(self, z: int) -> int:
        """zone_reclaimable_pages()."""
        return zone_reclaimable_pages(self)

    def folio_referenced(self, page: Page) -> int:
        """folio_referenced()."""
        return folio_referenced(self, page)

    def referenced_vm_locked(self, page: Page) -> bool:
        """VM_LOCKED."""
        return any(is_mapped_locked(self.mm[task], page) for task in indices(self.mm))

    def wake_up_kswapd(self, nid: int) -> None:
        """wakeup_kswapd()."""
        wake_up_kswapd(self)

    def out_of_memory(self, cpu: int, gfp: int, order: int) -> bool:
        """out_of_memory()."""
        return out_of_memory(self, gfp)


class ReclaimMachine(TaskMemory, FramePool):
    """The same over any free frame."""

    def prep_new_frame(self, page: Page) -> None:
        """prep_new_page()."""
        self.folio[page].refcount = 1

    def free_folio(self, cpu: int, page: Page) -> None:
        """free_unref_page()."""
        free_folio(self, page)

    def node_free_pages(self) -> int:
        """sum_zone_node_page_state(NR_FREE_PAGES)."""
        return self.nr_free_pages

    def total_high_wmark(self) -> int:
        """high_wmark_pages()."""
        return self.watermark_high

    def min_wmark(self) -> int:
        """min_wmark_pages()."""
        return self.watermark_min

    def zone_balanced(self) -> bool:
        """zone_watermark_ok_safe()."""
        return pool_watermark_ok(self.nr_free_pages, self.watermark_high, 0)


# --- what stands below


def alloc_folio(m: TaskMemory) -> Page | None:
    """The frame that the slow path has got, or one from the fast path (__alloc_pages())."""
    page = m.new_page
    if page is not None:
        m.new_page = None
        return page
    return alloc_pages(m, CPU, 0, GFP_HIGHUSER_MOVABLE, 0)


def free_folio(m: ReclaimMachine, page: Page) -> None:
    """A frame is free again; what was in it is nothing to anybody."""
    clear_use(m, page)
    free_frame(m, page)


def workingset_eviction(m: TaskMemory, page: Page) -> Shadow | None:
    """The shadow of a folio, or none if nobody is to ask for it."""
    if m.keeps_history == 0:
        return None
    shadow = lru.workingset_eviction(m, page)
    return max(0, shadow)


# --- boot, and who has the processor


def boot(m: ReclaimMachine) -> None:
    """All frames are free, and one task runs, its memory empty."""
    boot_pool(m)
    task = choose(indices(m.mm))
    m.mm[task].alive = True


def switch_to(m: TaskMemory, task: TaskId) -> None:
    """A task has the processor for the time of this step (switch_to())."""
    t = m.task[task]
    current = m.current[CPU]
    m.running = task
    current.memalloc = t.memalloc
    current.oom_victim = t.oom_victim
    current.slow = t.slow
    current.alloc_oom = t.alloc_oom
    current.no_progress_loops = t.no_progress_loops


def switch_from(m: TaskMemory, task: TaskId) -> None:
    """The step is over: what the processor knows of its task goes back there."""
    t = m.task[task]
    current = m.current[CPU]
    t.memalloc = current.memalloc
    t.oom_victim = current.oom_victim
    t.slow = current.slow
    t.alloc_oom = current.alloc_oom
    t.no_progress_loops = current.no_progress_loops
    m.running = None
    current.memalloc = False
    current.oom_victim = False
    current.slow = False
    current.alloc_oom = False
    current.no_progress_loops = 0
    settle(m)


def settle(m: TaskMemory) -> None:
    """Without shadows nobody asks how old the lists are, and who was active before."""
    if m.keeps_history != 0:
        return
    m.lruvec.nonresident_age = 0
    for page in indices(m.folio):
        m.folio[page].workingset = False


# --- what a task does with a frame


def access_gfp(m: TaskMemory, request: Request) -> int:
    """The flags of a request."""
    if request == USER:
        return GFP_HIGHUSER_MOVABLE
    if request == 1:
        return m.gfp1
    return m.gfp2


def begin_access(m: TaskMemory, task: TaskId, request: Request) -> None:
    """A task runs, and may need a frame."""
    m.task[task].request = request
    switch_to(m, task)


def access_ends(m: TaskMemory, task: TaskId) -> None:
    """The access is made, or has failed, or waits for a frame; then the task begins to reclaim."""
    page = m.new_page
    if page is not None:  # the frame is not needed any more
        m.new_page = None
        folio_put(m, CPU, page)
    switch_from(m, task)
    t = m.task[task]
    if not t.slow:
        t.request = USER
        return
    allowed = allow_direct_reclaim(m)
    if t.oom_victim or (allowed and not is_preceded(m, task)):
        begin_direct_reclaim(m, task)


def is_preceded(m: TaskMemory, task: TaskId) -> bool:
    """Whether a task that is to die waits for one of the few reclaimers that the scope has: it comes first."""
    return any(
        m.task[other].oom_victim and m.task[other].slow and m.task[other].reclaimer is None
        for other in indices(m.task)
        if other != task
    )


def begin_direct_reclaim(m: TaskMemory, task: TaskId) -> None:
    """A task reclaims (try_to_free_pages()). There are as many at a time as the scope says: a further one waits before
    its access."""
    r = choose(indices(m.reclaimer))
    require(r != KSWAPD and m.reclaimer[r].phase == RECLAIM_NOTHING)
    t = m.task[task]
    gfp = access_gfp(m, t.request)
    t.reclaimer = r
    try_to_free_pages(m, r, gfp & __GFP_IO != 0, gfp & __GFP_FS != 0)


def use_memory(m: TaskMemory, task: TaskId) -> None:
    """Some access to the task's memory or to the file: which one makes no difference until there is a frame for it."""
    write = choose(range(2))
    file = choose(range(2))
    if file == 1:
        require(m.file_writes != 0 or write == 0)
        index = choose(indices(m.i_pages))
        use_file(m, index, write == 1)
    else:
        address = choose(indices(m.mm[task].anon))
        handle_mm_fault(m, CPU, m.mm[task], address, write == 1)


def use_file(m: TaskMemory, index: FileIndex, write: bool) -> None:
    """read() or write() of a page of the file."""
    if write:
        generic_perform_write(m, CPU, index)
    else:
        filemap_read(m, CPU, index)


def is_idle(m: TaskMemory, task: TaskId) -> bool:
    """Whether a task exists and waits for nothing. One that is to be killed does nothing more on its own."""
    return m.mm[task].alive and not m.task[task].slow and not m.task[task].oom_victim


@action
def access_memory(m: TaskMemory, task: TaskId, address: VirtualPage, write: bool) -> None:
    """A task reads or writes a page of its memory."""
    require(is_idle(m, task))
    begin_access(m, task, USER)
    handle_mm_fault(m, CPU, m.mm[task], address, write)
    access_ends(m, task)


@action
def access_file(m: TaskMemory, task: TaskId, index: FileIndex, write: bool) -> None:
    """A task reads or writes a page of the file (read(), write())."""
    require(is_idle(m, task))
    require(m.file_writes != 0 or not write)
    begin_access(m, task, USER)
    use_file(m, index, write)
    access_ends(m, task)


@action
def get_kernel_page(m: TaskMemory, task: TaskId, request: Request) -> None:
    """The kernel takes a page for a task, for itself (__get_free_pages())."""
    require(m.requests > 1)
    require(request != USER and is_idle(m, task) and m.task[task].kernel_page is None)
    begin_access(m, task, request)
    page = alloc_pages(m, CPU, 0, access_gfp(m, request), 0)
    m.task[task].kernel_page = page
    access_ends(m, task)


@action
def put_kernel_page(m: TaskMemory, task: TaskId) -> None:
    """The kernel gives the page back."""
    page = m.task[task].kernel_page
    require(m.requests > 1)
    require(is_idle(m, task) and page is not None)
    assert page is not None
    m.task[task].kernel_page = None
    folio_put(m, CPU, page)


@action
def fork(m: TaskMemory, task: TaskId, child: TaskId) -> None:
    """A task has a child."""
    require(is_idle(m, task) and not m.mm[child].alive)
    dup_mmap(m, m.mm[task], m.mm[child])


@action
def exit(m: TaskMemory, task: TaskId) -> None:
    """A task ends, but not the last one."""
    require(is_idle(m, task))
    require(any(m.mm[other].alive and other != task for other in indices(m.mm)))
    do_exit(m, task)


def do_exit(m: TaskMemory, task: TaskId) -> None:
    """All that a task has is given back (do_exit())."""
    exit_mmap(m, CPU, m.mm[task])
    page = m.task[task].kernel_page
    m.task[task].kernel_page = None
    if page is not None:
        folio_put(m, CPU, page)
    settle(m)


@action
def mlock(m: ReclaimMachine, task: TaskId, address: VirtualPage) -> None:
    """A task locks a page of its memory; in a scope without munlock, one that it has not used yet."""
    require(m.mlock != 0)
    require(is_idle(m, task) and not m.mm[task].locked[address])
    pte = m.mm[task].anon[address]
    require(m.munlock != 0 or (pte.page is None and pte.swap is None))
    mlock_fixup(m, CPU, m.mm[task], address, True)
    settle(m)


@action
def munlock(m: ReclaimMachine, task: TaskId, address: VirtualPage) -> None:
    """A task unlocks a page of its memory."""
    require(m.munlock != 0)
    require(is_idle(m, task) and m.mm[task].locked[address])
    mlock_fixup(m, CPU, m.mm[task], address, False)
    settle(m)


# --- the OOM killer (mm/oom_kill.c)


def oom_badness(mm: Mm) -> int:
    """How much memory a task has, in frames and in swap (oom_badness())."""
    anon = sum(
        1 for address in indices(mm.anon) if mm.anon[address].page is not None or mm.anon[address].swap is not None
    )
    return anon + sum(1 for index in indices(mm.file) if mm.file[index].page is not None)


def is_worst(m: TaskMemory, task: TaskId) -> bool:
    """Whether no task has more memory than this one (select_bad_process(); of several any may come first)."""
    return m.mm[task].alive and all(
        oom_badness(m.mm[other]) <= oom_badness(m.mm[task]) for other in indices(m.mm) if m.mm[other].alive
    )


def out_of_memory(m: TaskMemory, gfp: int) -> bool:
    """Choose the task that has most memory and let it die, unless one is dying (out_of_memory())."""
    if m.current[CPU].oom_victim:  # task_will_free_mem(current)
        return True
    if gfp & __GFP_FS == 0:
        return True
    if any(m.task[other].oom_victim for other in indices(m.task)):
        return True
    victim = choose(indices(m.mm))
    require(is_worst(m, victim))
    if victim == m.running:
        m.current[CPU].oom_victim = True
    else:
        m.task[victim].oom_victim = True
    return True


@action
def exit_oom_victim(m: TaskMemory, task: TaskId) -> None:
    """A task that was killed ends, as soon as it does not wait for memory (do_exit(), exit_oom_victim())."""
    require(m.task[task].oom_victim and not m.task[task].slow)
    m.task[task].oom_victim = False
    do_exit(m, task)


@action
def start(m: TaskMemory, task: TaskId) -> None:
    """All tasks were killed; the first one begins again."""
    require(not any(m.mm[other].alive for other in indices(m.mm)))
    m.mm[task].alive = True


# --- devices


@action
def sync_file(m: TaskMemory, index: FileIndex) -> None:
    """A flusher writes a page of the file back."""
    page = m.i_pages[index].folio
    require(page is not None)
    assert page is not None
    require(m.folio[page].dirty and not m.folio[page].writeback and not m.folio[page].locked)
    write_cache_page(m, page, index)


@action
def end_swap_write(m: TaskMemory, entry: SwapEntry) -> None:
    """The swap device has written a page."""
    require(m.swap[entry].io is not None)
    end_swap_bio_write(m, CPU, entry)
    settle(m)


@action
def end_file_write(m: TaskMemory, index: FileIndex) -> None:
    """The disk has written a page of the file."""
    require(m.i_pages[index].io is not None)
    end_buffer_async_write(m, CPU, index)
    settle(m)


# --- reclaim


@action
def reclaim_turn(m: TaskMemory, r: ReclaimerId) -> None:
    """A reclaimer begins a turn; kswapd, unless it need not (balance_pgdat(), shrink_zones(), shrink_node())."""
    require(m.reclaimer[r].phase == RECLAIM_TURN and may_begin_turn(m))
    begin_turn(m, CPU, r)
    settle(m)


@action
def reclaim_list(m: TaskMemory, r: ReclaimerId) -> None:
    """A reclaimer isolates folios of a list, or shrinks an active list (shrink_list())."""
    require(m.reclaimer[r].phase == RECLAIM_LIST)
    shrink_list(m, CPU, r)
    settle(m)


@action
def reclaim_folio(m: TaskMemory, r: ReclaimerId) -> None:
    """A reclaimer decides about a folio that it has isolated (shrink_folio_list())."""
    require(m.reclaimer[r].phase == RECLAIM_FOLIO)
    shrink_folio_list(m, CPU, r)
    settle(m)


@action
def reclaim_mapping(m: TaskMemory, r: ReclaimerId) -> None:
    """A reclaimer frees the folio that it has unmapped, or puts it back (__remove_mapping())."""
    require(m.reclaimer[r].phase == RECLAIM_MAPPING)
    shrink_folio_list_removes(m, CPU, r)
    settle(m)


@action
def reclaim_turn_end(m: TaskMemory, r: ReclaimerId) -> None:
    """A reclaimer ends a turn: it has enough, scans harder, gives up, or goes to sleep (shrink_node(), balance_pgdat(),
    do_try_to_free_pages())."""
    require(m.reclaimer[r].phase == RECLAIM_TURN_END)
    shrink_lruvec_ends(m, CPU, r)
    settle(m)


@action
def end_throttle(m: TaskMemory, task: TaskId) -> None:
    """A task that waits for kswapd looks again: it reclaims if the reserves allow it or it is to die; or wakes kswapd,
    which wakes all who wait when it goes to sleep (throttle_direct_reclaim(): pfmemalloc_wait)."""
    require(m.throttles != 0)
    t = m.task[task]
    require(t.slow and t.reclaimer is None)
    was_asleep = m.reclaimer[KSWAPD].phase == RECLAIM_NOTHING
    allowed = allow_direct_reclaim(m)
    require(allowed or t.oom_victim or was_asleep)
    require(not is_preceded(m, task))
    if allowed or t.oom_victim:
        begin_direct_reclaim(m, task)


@action
def ask_in_reclaim(m: TaskMemory, task: TaskId) -> None:
    """A task that reclaims needs a frame itself, for a bio perhaps, and gives it back at once (PF_MEMALLOC)."""
    require(m.reserves != 0)
    require(m.task[task].slow)
    switch_to(m, task)
    page = alloc_pages(m, CPU, 0, GFP_NOIO, 0)
    if page is not None:
        folio_put(m, CPU, page)
    switch_from(m, task)


def take_progress(m: TaskMemory, task: TaskId) -> int:
    """A task has reclaimed, and goes on: how much it has freed (the end of try_to_free_pages())."""
    r = m.task[task].reclaimer
    require(r is not None)
    assert r is not None
    require(m.reclaimer[r].phase == RECLAIM_LAST)
    progress = m.reclaimer[r].nr_reclaimed
    end_scan(m.reclaimer[r])
    m.task[task].reclaimer = None
    switch_to(m, task)
    return progress


@action
def end_direct_reclaim(m: TaskMemory, task: TaskId) -> None:
    """A task that has reclaimed goes on: to a frame and its use, to failure, or to reclaim again."""
    progress = take_progress(m, task)
    request = m.task[task].request
    page = slowpath_reclaimed(m, CPU, 0, access_gfp(m, request), 0, progress)
    if page is not None and request == USER:
        m.new_page = page
        use_memory(m, task)
    elif page is not None:
        m.task[task].kernel_page = page
    access_ends(m, task)
