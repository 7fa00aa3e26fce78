"""The whole of memory management in one machine: tasks, SLUB, the page allocator, user memory, reclaim (Linux 6.1).

The one idea: nothing is modelled here that is not modelled elsewhere. User memory and its reclaimers stand over the
buddy lists of real zones, and the slab allocator asks the same zones for its slabs; what is new is who uses them: a
fork needs a task_struct, which needs an object, which may need a slab, which may need pages that reclaim has to free
first; and a task that waits for that keeps what it was about to do.

Sources: kernel/fork.c (copy_process(), dup_task_struct()), kernel/exit.c (do_exit(), release_task()), and those of
the parts. The kernel has one _refcount. Here mem_map[page].refcount says that a block is allocated, and
folio[page].refcount counts the references of a page of user memory from 1 on; at 0 its frame is given back. C1 states
that the two agree.

Left out: waiting for reserves (throttle_direct_reclaim(); the lowest watermark is 0 or 1), thread stacks, credentials
and all else that a fork allocates; a task_struct's last reference is dropped by release_task(); init_task's task_struct
is not from a cache. kswapd reclaims for single pages whatever it was asked for, as it does after its first turn.
"""

from __future__ import annotations

from typing import Annotated

from . import reclaim_clients
from .buddy import Page
from .fault import dup_mmap, handle_mm_fault
from .filemap import filemap_read, generic_perform_write
from .gfp import GFP_MOVABLE_MASK, WMARK_HIGH, WMARK_MIN
from .lang import Array, FromScope, Range, action, choose, indices, require
from .mm import Content, FileIndex, SwapEntry, TaskId, VirtualPage, clear_use
from .page_alloc import (
    PageAllocator,
    boot,
    free_the_page,
    get_page_from_freelist,
    put_page_testzero,
    zone_page_state,
    zone_watermark_ok,
)
from .reclaim import (
    KSWAPD,
    ReclaimerId,
)
from .reclaim_clients import (
    CPU,
    USER,
    Request,
    TaskMemory,
    TaskStruct,
    access_ends,
    access_gfp,
    begin_access,
    is_idle,
    take_progress,
)
from .slab import Cache, Object
from .slab_clients import SlubMachine, give_out, kmem_cache_open, settle_tid
from .slowpath import slowpath_enter, slowpath_reclaimed
from .slub import (
    allocate_smallest_slab,
    flush_cpu_slab_work,
    has_cpu_slab,
    kmem_cache_do_shrink,
    make_slab,
    slab_alloc_node,
    slab_free,
    slab_gfp,
    use_new_slab,
    virt_to_slab,
)

TASK_STRUCT_CACHEP = 0
"""The cache of task_structs; kernel clients use the last cache, which is the same one if there is no other."""

Outcome = Annotated[int, Range(0, "outcomes")]
"""What an access has done: nothing (0), or where it was, whether it wrote, and what is there (`access_outcome`)."""

FORK = 1
"""The request of a fork: GFP_KERNEL, unless the scope's gfp1 says otherwise."""


class SystemTask(TaskStruct):
    """A task, and what it is about to do while it waits for a slab: the object it asks for is of `cache`, for `child`
    if it forks, and the pages are those of allocate_slab()'s first or second attempt."""

    task_struct: Object | None  # its own memory; None for init_task, and for no task
    child: TaskId | None
    cache: Cache
    smallest: bool


class UserMemory(TaskMemory, PageAllocator):
    """User memory and its reclaimers over buddy lists, zones and watermarks."""

    task: Array[TaskId, SystemTask]  # type: ignore[assignment]
    contents: Annotated[int, FromScope("contents")]  # whether what is in the pages of user memory is kept

    def next_content(self, content: Content) -> Content:
        """What a write makes of a page."""
        return 1 if self.contents != 0 and content == 0 else 0

    def get_page_from_freelist(self, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int) -> Page | None:
        """get_page_from_freelist(), by the type that gfp_migratetype() says."""
        return get_page_of_type(self, cpu, nid, gfp, order, alloc_flags)

    def alloc_pages_slowpath(self, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
        """Reclaim runs in steps."""
        return slowpath_enter(self, cpu, nid, gfp, order)

    def cond_resched(self) -> None:
        """Others run before the next step."""

    def alloc_folio(self, cpu: int) -> Page | None:
        """folio_alloc()."""
        return alloc_folio(self)

    def free_folio(self, cpu: int, page: Page) -> None:
        """free_unref_page()."""
        free_folio(self, cpu, page)

    def node_free_pages(self) -> int:
        """sum_zone_node_page_state(NR_FREE_PAGES)."""
        return sum(zone_page_state(self.zone[z].nr_free_pages) for z in indices(self.zone))

    def total_high_wmark(self) -> int:
        """high_wmark_pages()."""
        return sum(self.zone[z].watermark[WMARK_HIGH] for z in indices(self.zone))

    def min_wmark(self) -> int:
        """min_wmark_pages()."""
        return sum(self.zone[z].watermark[WMARK_MIN] for z in indices(self.zone))

    def zone_balanced(self) -> bool:
        """zone_watermark_ok_safe() for a single page; there is one zone."""
        return zone_watermark_ok(self, 0, 0, self.zone[0].watermark[WMARK_HIGH], 0, 0)


class SystemMachine(SlubMachine):
    """Everything: the caches and their slabs over the pages that user memory has, too."""

    pages: UserMemory
    clients: Annotated[int, FromScope("clients")]  # whether the kernel allocates objects beside those of fork
    shrinks: Annotated[int, FromScope("shrinks")]  # whether caches are flushed and shrunk

    def begin_attempt(self, cpu: int, smallest: bool) -> None:
        """allocate_slab()."""
        task = self.pages.running
        if task is not None:  # never false: objects are allocated for tasks
            self.pages.task[task].smallest = smallest


# --- what stands below user memory


def get_page_of_type(m: UserMemory, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int) -> Page | None:
    """Take a block for a request; all memory is of one type (gfp_migratetype(): page_group_by_mobility_disabled, which
    is so on a machine with few pageblocks)."""
    return get_page_from_freelist(m, cpu, nid, gfp & ~GFP_MOVABLE_MASK, order, alloc_flags)


def alloc_folio(m: UserMemory) -> Page | None:
    """A page of user memory with one reference, which the slow path may have got before (folio_alloc())."""
    page = reclaim_clients.alloc_folio(m)
    if page is not None:
        m.folio[page].refcount = 1
    return page


def free_folio(m: UserMemory, cpu: int, page: Page) -> None:
    """The last reference to a page of user memory is gone (free_unref_page(), its folio checked before)."""
    clear_use(m, page)
    last = put_page_testzero(m.memory, page)
    assert last, "free_unref_page: the page is not allocated as one"
    free_the_page(m, cpu, page, 0)


# --- boot


def start_kernel(m: SystemMachine) -> None:
    """All memory is free, the caches are there, and one task runs (start_kernel(), fork_init())."""
    boot(m.pages)
    for cache in indices(m.kmem_cache):
        kmem_cache_open(m, m.kmem_cache[cache])
    task = choose(indices(m.pages.mm))
    m.pages.mm[task].alive = True


# --- objects


def kmem_cache_alloc_node(m: SystemMachine, cache: Cache, flags: int) -> Object | None:
    """An object for the task that runs (kmem_cache_alloc_node()); None if there is none, or if the task has to reclaim
    for its slab first."""
    c = m.kmem_cache[cache].cpu_slab[CPU]
    page = c.slab
    freelist = c.freelist
    object = slab_alloc_node(m, cache, CPU, flags, None)
    settle_tid(m, cache, CPU, page, freelist)
    give_out(m, cache, object)
    return object


def new_slab_continues(m: SystemMachine, task: TaskId, progress: int) -> Object | None:
    """A task has reclaimed for a slab: to an object, to the second attempt, to failure, or to reclaim again
    (allocate_slab() and ___slab_alloc() from alloc_pages() on)."""
    flags = access_gfp(m.pages, m.pages.task[task].request)
    cache = m.pages.task[task].cache
    smallest = m.pages.task[task].smallest
    s = m.kmem_cache[cache]
    c = s.cpu_slab[CPU]
    slab = c.slab
    freelist = c.freelist
    order = s.min.order if smallest else s.oo.order
    page = slowpath_reclaimed(m.pages, CPU, 0, slab_gfp(s, flags, smallest), order, progress)
    if page is not None:
        make_slab(m, cache, page, smallest)
    elif not m.pages.current[CPU].slow and not smallest:
        page = allocate_smallest_slab(m, cache, CPU, flags, None)
    if page is None:
        return None
    object = use_new_slab(m, cache, CPU, page)
    settle_tid(m, cache, CPU, slab, freelist)
    give_out(m, cache, object)
    return object


def begin_request(m: SystemMachine, task: TaskId, request: Request, cache: Cache, child: TaskId | None) -> None:
    """A task runs and asks for an object."""
    begin_access(m.pages, task, request)
    m.pages.task[task].cache = cache
    m.pages.task[task].child = child


def request_ends(m: SystemMachine, task: TaskId) -> None:
    """A task has what it asked for, or fails, or reclaims."""
    access_ends(m.pages, task)
    t = m.pages.task[task]
    if not t.slow:
        t.child = None
        t.cache = 0
        t.smallest = False


def free_object(m: SystemMachine, cache: Cache, object: Object) -> None:
    """kmem_cache_free()."""
    c = m.kmem_cache[cache].cpu_slab[CPU]
    page = c.slab
    freelist = c.freelist
    m.held[object] = None
    slab_free(m, cache, CPU, virt_to_slab(m, object), object, None, 1)
    settle_tid(m, cache, CPU, page, freelist)


def is_task_struct(m: SystemMachine, object: Object) -> bool:
    """Whether an object is the memory of a task."""
    return any(m.pages.task[task].task_struct == object for task in indices(m.pages.task))


# --- fork and exit (kernel/fork.c, kernel/exit.c)


def alloc_task_struct_node(m: SystemMachine, task: TaskId) -> Object | None:
    """Memory for a task_struct (alloc_task_struct_node())."""
    return kmem_cache_alloc_node(m, TASK_STRUCT_CACHEP, access_gfp(m.pages, FORK))


def dup_task_struct(m: SystemMachine, task: TaskId, child: TaskId) -> bool:
    """A child's task_struct (dup_task_struct()); false if there is no memory for it, or not yet."""
    object = alloc_task_struct_node(m, task)
    if object is None:
        return False
    m.pages.task[child].task_struct = object
    return True


def copy_mm(m: SystemMachine, task: TaskId, child: TaskId) -> None:
    """A child's memory, shared with its parent until one writes (copy_mm(), dup_mm())."""
    dup_mmap(m.pages, m.pages.mm[task], m.pages.mm[child])


def access_outcome(m: SystemMachine, place: int, write: bool, content: Content | None) -> Outcome:
    """An access to a page of the task's memory, or to one of the file, which come after those; with what was there or
    is there now. If contents are not kept, or there was no memory, it is nothing."""
    if content is None or m.pages.contents == 0:
        return 0
    return 1 + (max(0, place) * 2 + (1 if write else 0)) * 2 + content


def copy_process(m: SystemMachine, task: TaskId, child: TaskId) -> None:
    """A task's child, if there is memory for it (copy_process())."""
    done = dup_task_struct(m, task, child)
    if done:
        copy_mm(m, task, child)


def is_free_pid(m: SystemMachine, task: TaskId) -> bool:
    """Whether no task has this number, nor is to have it."""
    unborn = all(m.pages.task[other].child != task for other in indices(m.pages.task))
    return not m.pages.mm[task].alive and m.pages.task[task].task_struct is None and unborn


@action
def fork(m: SystemMachine, task: TaskId, child: TaskId) -> bool:
    """A task has a child, or -ENOMEM, or has to reclaim first (kernel_clone()); whether it has."""
    require(is_idle(m.pages, task) and is_free_pid(m, child))
    begin_request(m, task, FORK, TASK_STRUCT_CACHEP, child)
    copy_process(m, task, child)
    request_ends(m, task)
    born = m.pages.mm[child].alive
    if born:
        for address in indices(m.pages.mm[task].anon):
            m.pages.mm[child].expected[address] = m.pages.mm[task].expected[address]
    return born


@action
def exit(m: SystemMachine, task: TaskId) -> None:
    """A task gives its memory back; its task_struct stays (do_exit(), EXIT_ZOMBIE). Not the last one."""
    reclaim_clients.exit(m.pages, task)


@action
def release_task(m: SystemMachine, task: TaskId) -> None:
    """Somebody has waited for a task that has ended: its task_struct is freed (release_task(), put_task_struct(),
    free_task_struct())."""
    object = m.pages.task[task].task_struct
    require(object is not None and not m.pages.mm[task].alive)
    assert object is not None
    m.pages.task[task].task_struct = None
    free_object(m, TASK_STRUCT_CACHEP, object)


@action
def start(m: SystemMachine, task: TaskId) -> None:
    """All tasks were killed, and waited for; the first one begins again."""
    require(all(m.pages.task[other].task_struct is None for other in indices(m.pages.task)))
    reclaim_clients.start(m.pages, task)


# --- the kernel's own objects


@action
def kmem_cache_alloc(m: SystemMachine, task: TaskId, request: Request) -> None:
    """The kernel needs an object while it works for a task (kmem_cache_alloc())."""
    require(m.clients != 0)
    require(request != USER and is_idle(m.pages, task))
    cache = max(0, len(m.kmem_cache) - 1)
    begin_request(m, task, request, cache, None)
    kmem_cache_alloc_node(m, cache, access_gfp(m.pages, request))
    request_ends(m, task)


@action
def kmem_cache_free(m: SystemMachine, object: Object) -> None:
    """The kernel gives such an object back (kmem_cache_free())."""
    require(m.clients != 0)
    cache = m.held[object]
    require(cache is not None and not is_task_struct(m, object))
    assert cache is not None
    free_object(m, cache, object)


@action
def flush_cpu_slab(m: SystemMachine, cache: Cache) -> None:
    """A cache's cpu slabs are flushed (flush_all(): flush_cpu_slab())."""
    require(m.shrinks != 0)
    require(has_cpu_slab(m, cache, CPU))
    c = m.kmem_cache[cache].cpu_slab[CPU]
    page = c.slab
    freelist = c.freelist
    flush_cpu_slab_work(m, cache, CPU)
    settle_tid(m, cache, CPU, page, freelist)


@action
def kmem_cache_shrink(m: SystemMachine, cache: Cache) -> bool:
    """A cache's node lists are cleaned up (__kmem_cache_shrink() after its flush_all())."""
    require(m.shrinks != 0)
    return kmem_cache_do_shrink(m, cache, CPU)


# --- user memory, devices and reclaimers: as in model/reclaim_clients.py


@action
def access_memory(m: SystemMachine, task: TaskId, address: VirtualPage, write: bool) -> Outcome:
    """A task reads or writes a page of its memory."""
    require(is_idle(m.pages, task))
    begin_access(m.pages, task, USER)
    content = touch(m.pages, task, address, write)
    if write and content is not None:
        m.pages.mm[task].expected[address] = m.pages.next_content(m.pages.mm[task].expected[address])
    access_ends(m.pages, task)
    return access_outcome(m, address, write, content)


@action
def access_file(m: SystemMachine, task: TaskId, index: FileIndex, write: bool) -> Outcome:
    """A task reads or writes a page of the file (read(), write())."""
    require(is_idle(m.pages, task))
    begin_access(m.pages, task, USER)
    content = use_file(m.pages, index, write)
    if write and content is not None:
        m.pages.i_pages[index].expected = m.pages.next_content(m.pages.i_pages[index].expected)
    access_ends(m.pages, task)
    return access_outcome(m, len(m.pages.mm[task].anon) + index, write, content)


def touch(m: UserMemory, task: TaskId, address: VirtualPage, write: bool) -> Content | None:
    """An access to a page of a task's memory: what is there then, or none if a fault failed."""
    done = handle_mm_fault(m, CPU, m.mm[task], address, write)
    if not done:
        return None
    page = m.mm[task].anon[address].page
    if page is None:
        return 0  # the zero page
    if write:
        m.use[page].content = m.next_content(m.use[page].content)
    return m.use[page].content


def use_file(m: UserMemory, index: FileIndex, write: bool) -> Content | None:
    """read() or write() of a page of the file: what is there then, or none if there is no memory."""
    if write:
        return generic_perform_write(m, CPU, index)
    return filemap_read(m, CPU, index)


def use_memory(m: SystemMachine, task: TaskId) -> Outcome:
    """Some access to the task's memory or to the file: which one makes no difference until there is a frame for it."""
    write = choose(range(2))
    file = choose(range(2))
    if file == 1:
        index = choose(indices(m.pages.i_pages))
        of_file = use_file(m.pages, index, write == 1)
        return access_outcome(m, len(m.pages.mm[task].anon) + index, write == 1, of_file)
    address = choose(indices(m.pages.mm[task].anon))
    content = touch(m.pages, task, address, write == 1)
    return access_outcome(m, address, write == 1, content)


@action
def exit_oom_victim(m: SystemMachine, task: TaskId) -> None:
    """A task that was killed ends, as soon as it does not wait for memory."""
    reclaim_clients.exit_oom_victim(m.pages, task)


@action
def sync_file(m: SystemMachine, index: FileIndex) -> None:
    """A flusher writes a page of the file back."""
    reclaim_clients.sync_file(m.pages, index)


@action
def end_swap_write(m: SystemMachine, entry: SwapEntry) -> None:
    """The swap device has written a page."""
    reclaim_clients.end_swap_write(m.pages, entry)


@action
def end_file_write(m: SystemMachine, index: FileIndex) -> None:
    """The disk has written a page of the file."""
    reclaim_clients.end_file_write(m.pages, index)


@action
def reclaim_turn(m: SystemMachine, r: ReclaimerId) -> None:
    """A reclaimer begins a turn."""
    require(m.pages.watch_kswapd != 0 or r != KSWAPD)
    reclaim_clients.reclaim_turn(m.pages, r)


@action
def reclaim_list(m: SystemMachine, r: ReclaimerId) -> None:
    """A reclaimer isolates folios of a list, or shrinks an active list."""
    require(m.pages.watch_kswapd != 0 or r != KSWAPD)
    reclaim_clients.reclaim_list(m.pages, r)


@action
def reclaim_folio(m: SystemMachine, r: ReclaimerId) -> None:
    """A reclaimer decides about a folio that it has isolated."""
    require(m.pages.watch_kswapd != 0 or r != KSWAPD)
    reclaim_clients.reclaim_folio(m.pages, r)


@action
def reclaim_mapping(m: SystemMachine, r: ReclaimerId) -> None:
    """A reclaimer frees the folio that it has unmapped, or puts it back."""
    require(m.pages.watch_kswapd != 0 or r != KSWAPD)
    reclaim_clients.reclaim_mapping(m.pages, r)


@action
def reclaim_turn_end(m: SystemMachine, r: ReclaimerId) -> None:
    """A reclaimer ends a turn: it has enough, scans harder, gives up, or goes to sleep."""
    require(m.pages.watch_kswapd != 0 or r != KSWAPD)
    reclaim_clients.reclaim_turn_end(m.pages, r)


@action
def end_direct_reclaim(m: SystemMachine, task: TaskId) -> Outcome:
    """A task that has reclaimed for its memory or the file goes on: to a page and its access, to failure, or to reclaim
    again."""
    require(m.pages.task[task].request == USER)
    progress = take_progress(m.pages, task)
    outcome = user_page_continues(m, task, progress)
    access_ends(m.pages, task)
    written = (outcome - 1) // 2 % 2 == 1
    place = (outcome - 1) // 4
    for address in indices(m.pages.mm[task].anon):
        if written and place == address:
            m.pages.mm[task].expected[address] = m.pages.next_content(m.pages.mm[task].expected[address])
    for index in indices(m.pages.i_pages):
        if written and place == len(m.pages.mm[task].anon) + index:
            m.pages.i_pages[index].expected = m.pages.next_content(m.pages.i_pages[index].expected)
    return outcome


@action
def end_kmem_cache_alloc(m: SystemMachine, task: TaskId) -> None:
    """A task that has reclaimed for an object of the kernel goes on, likewise."""
    require(m.clients != 0)
    require(m.pages.task[task].request != USER and m.pages.task[task].child is None)
    progress = take_progress(m.pages, task)
    new_slab_continues(m, task, progress)
    request_ends(m, task)


@action
def end_fork(m: SystemMachine, task: TaskId, child: TaskId) -> bool:
    """A task that has reclaimed for its child's task_struct goes on, likewise; whether there is a child now."""
    require(m.pages.task[task].child == child)
    progress = take_progress(m.pages, task)
    object = new_slab_continues(m, task, progress)
    if object is not None:
        m.pages.task[child].task_struct = object
        copy_mm(m, task, child)
    request_ends(m, task)
    if object is not None:
        for address in indices(m.pages.mm[task].anon):
            m.pages.mm[child].expected[address] = m.pages.mm[task].expected[address]
    return object is not None


def user_page_continues(m: SystemMachine, task: TaskId, progress: int) -> Outcome:
    """A task has reclaimed for a page of its memory or of the file."""
    page = slowpath_reclaimed(m.pages, CPU, 0, access_gfp(m.pages, USER), 0, progress)
    if page is None:
        return 0
    m.pages.folio[page].refcount = 1
    m.pages.new_page = page
    return use_memory(m, task)
