"""What must hold of the whole system: C1 ... C8, the parts' invariants in one machine, and the refinement.

The one idea: a page is in one part's hands at a time, and each part's own invariants then go on holding beside the
others'. So what specs/slub.py says of slabs and buddy lists and specs/reclaim.py of lists, references and reclaimers is
said again, of the same pages; new are the statements that tie them together. All of them together are inductive.

Identifiers are those of the project's reference. C5 replaces the clause of the same name in specs/slub.py, and B18 the
one there: not all that is allocated is a slab here. C7 (the same operations lead to the same state) is about the
engines. C8 is S17 for objects, which nobody but their holder writes to.
"""

from __future__ import annotations

from ..model.buddy import Page, expand, free_one_page, rmqueue_smallest
from ..model.contents import Contents, end, read, read_from_file, spawn, write, write_to_file
from ..model.lang import Clauses, Refinement, Spec, clause, indices, invariant, step_property, within
from ..model.mm import FileIndex, TaskId, VirtualPage
from ..model.page_alloc import (
    free_pages,
    free_pages_ok,
    free_the_page,
    free_to_zone,
    get_page_from_freelist,
    rmqueue,
    rmqueue_buddy,
)
from ..model.pageout import remove_folio, shrink_folio
from ..model.reclaim import (
    KSWAPD,
    RECLAIM_NOTHING,
    begin_turn,
    shrink_folio_list,
    shrink_folio_list_removes,
    shrink_list,
    shrink_node,
    shrink_zones,
)
from ..model.slowpath import alloc_pages, slowpath_enter, slowpath_reclaimed, slowpath_retry
from ..model.slub import (
    ___slab_alloc,
    __free_slab,
    __slab_free,
    __unfreeze_partials,
    alloc_slab_page,
    allocate_slab,
    allocate_smallest_slab,
    discard_slab,
    do_slab_free,
    free_slab,
    get_partial,
    make_slab,
    new_slab,
    put_cpu_partial,
    slab_alloc_node,
    slab_free,
    use_new_slab,
)
from ..model.system import (
    TASK_STRUCT_CACHEP,
    Outcome,
    SystemMachine,
    UserMemory,
    access_file,
    access_memory,
    alloc_task_struct_node,
    copy_mm,
    copy_process,
    dup_task_struct,
    end_direct_reclaim,
    end_file_write,
    end_fork,
    end_kmem_cache_alloc,
    end_swap_write,
    exit,
    exit_oom_victim,
    flush_cpu_slab,
    fork,
    free_object,
    get_page_of_type,
    kmem_cache_alloc,
    kmem_cache_alloc_node,
    kmem_cache_free,
    kmem_cache_shrink,
    new_slab_continues,
    reclaim_folio,
    reclaim_list,
    reclaim_mapping,
    reclaim_turn,
    reclaim_turn_end,
    release_task,
    start,
    start_kernel,
    sync_file,
)
from . import reclaim, slub
from .buddy import free_blocks_with
from .contents import SPEC as CONTENTS
from .lru import batch_slots
from .slub import block_order, is_slab
from .swap import dirty_ptes, is_clean
from .system_scope import DERIVED, PARAMETERS, REQUIREMENTS, SCOPES

# --- what a page is


def is_free(m: UserMemory, page: Page) -> bool:
    """Whether a page lies in a free block of the buddy system, or on a pcp list."""
    return free_blocks_with(m.memory, m.zone[0], page) > 0 or m.memory.mem_map[page].pcp_list is not None


def slabs_with(m: SystemMachine, page: Page) -> int:
    """How many slabs have a page."""
    return sum(
        1
        for head in indices(m.slab)
        if is_slab(m, head) and head <= page and page < head + (1 << block_order(m.pages, head))
    )


def is_user_page(m: UserMemory, page: Page) -> bool:
    """Whether a page is of user memory: somebody has a reference to its folio."""
    return m.folio[page].refcount > 0


def kinds(m: SystemMachine, page: Page) -> int:
    """How many kinds a page is of: free, on a pcp list, of a slab, on the LRU (anonymous, of the file, in the swap
    cache), isolated by a reclaimer, in a batch on its way to the LRU."""
    free = free_blocks_with(m.pages.memory, m.pages.zone[0], page)
    free += 1 if m.pages.memory.mem_map[page].pcp_list is not None else 0
    listed = 1 if m.pages.folio[page].lru else 0
    isolated = reclaim.takers(m.pages, page)
    waiting = 1 if batch_slots(m.pages, page) > 0 and listed + isolated == 0 else 0
    return free + slabs_with(m, page) + listed + isolated + waiting


def task_of(m: SystemMachine, object: int) -> int:
    """How many tasks have an object as their task_struct."""
    return sum(1 for task in indices(m.pages.task) if m.pages.task[task].task_struct == object)


# --- the composition


@invariant("C1", origin="(struct page: PageBuddy, PageSlab, PageLRU; check_new_page(), free_page_is_bad())")
def pages_of_one_kind(m: SystemMachine) -> Clauses:
    """Each page is of exactly one kind; that it is of user memory, and that it is allocated, goes together."""
    for page in indices(m.slab):
        expected = 1 if slub.lies_in_a_zone(m.pages, page, 0) else 0
        yield clause("a page is of one kind, a frame outside the zones of none", kinds(m, page) == expected, page)
        if is_user_page(m.pages, page):
            frame = m.pages.memory.mem_map[page]
            yield clause("a page of user memory is allocated", frame.refcount == 1 and frame.compound is None, page)
        else:
            use = m.pages.use[page]
            unused = not use.anon and not use.exclusive and use.index is None and use.swap is None
            yield clause("a page that is not of user memory has nothing of it", unused and use.content == 0, page)


@invariant("C2", origin="(/proc/zoneinfo: nr_free_pages, nr_slab_*, nr_inactive_anon ...; managed)")
def pages_add_up(m: SystemMachine) -> Clauses:
    """The counters of free pages, of slabs and of the lists, and what is isolated or waits, make up all memory."""
    lists = sum(m.pages.lruvec.nr_lru[lru] for lru in indices(m.pages.lruvec.nr_lru))
    apart = sum(
        1
        for page in indices(m.slab)
        if not m.pages.folio[page].lru and is_user_page(m.pages, page)
    )
    on_cpus = sum(1 for page in indices(m.slab) if m.pages.memory.mem_map[page].pcp_list is not None)
    managed = sum(m.pages.zone[z].managed_pages for z in indices(m.pages.zone))
    all_pages = m.pages.node_free_pages() + on_cpus + m.nr_slab + lists + apart
    yield clause("all memory is accounted for", all_pages == managed)


@step_property("C3", origin="__free_slab(): __free_pages(folio_page(folio, 0), order)")
def slabs_freed_whole(before: SystemMachine, after: SystemMachine) -> Clauses:
    """All pages of a slab that is given up are free then."""
    for page in indices(after.slab):
        if slabs_with(before, page) > 0 and slabs_with(after, page) == 0:
            yield clause("a page that was of a slab is free", is_free(after.pages, page), page)


@invariant("C4", origin="PAGE_FLAGS_CHECK_AT_PREP: PG_slab, PG_lru")
def slabs_apart(m: SystemMachine) -> Clauses:
    """A page of a slab is on no LRU list, in no page table and not free."""
    for page in indices(m.slab):
        if slabs_with(m, page) > 0:
            yield clause("a page of a slab is not on the LRU", not m.pages.folio[page].lru, page)
            yield clause("a page of a slab is not of user memory", not is_user_page(m.pages, page), page)
            yield clause("a page of a slab is not free", not m.pages.memory.mem_map[page].buddy, page)


@invariant("C5", origin="account_slab(), unaccount_slab(): NR_SLAB_UNRECLAIMABLE_B")
def slab_pages_counted(m: SystemMachine) -> Clauses:
    """NR_SLAB is the number of pages of slabs."""
    counted = sum(1 << block_order(m.pages, page) for page in indices(m.slab) if is_slab(m, page))
    yield clause("NR_SLAB counts the pages", m.nr_slab == counted)


@step_property("C6", origin="(the purpose of an allocator: alloc_pages() and free_pages())")
def pages_change_hands_by_way_of_none(before: SystemMachine, after: SystemMachine) -> Clauses:
    """A page that one part has goes to another only when it is free, and is free for a step at least."""
    for page in indices(after.slab):
        was_slab = slabs_with(before, page) > 0
        is_slab_now = slabs_with(after, page) > 0
        stolen = was_slab and is_user_page(after.pages, page)
        yield clause("a page of a slab does not become one of user memory", not stolen, page)
        taken = is_user_page(before.pages, page) and is_slab_now
        yield clause("a page of user memory does not become one of a slab", not taken, page)


@invariant("B18", origin="page_expected_state(), prep_new_page(): set_page_refcounted()")
def references_by_kind(m: SystemMachine) -> Clauses:
    """A slab has one reference, and so has a page of user memory, whose folio counts the others; others have none."""
    for page in indices(m.slab):
        frame = m.pages.memory.mem_map[page]
        expected = 1 if is_slab(m, page) or is_user_page(m.pages, page) else 0
        yield clause("a page is referenced by its kind", frame.refcount == expected, page)
        if frame.refcount == 0:
            yield clause("a page that is not allocated is not compound", frame.compound is None, page)
        yield clause("memory of one type is not movable", not frame.movable, page)


@invariant("B17", origin="__setup_per_zone_wmarks()")
def watermarks_kept(m: SystemMachine) -> Clauses:
    """The watermarks are as at boot; nothing else is kept back; where requests to kswapd are not kept, it sleeps."""
    asleep = m.pages.watch_kswapd != 0 or m.pages.reclaimer[KSWAPD].phase == RECLAIM_NOTHING
    yield clause("kswapd sleeps if nobody wakes it", asleep)
    for z in indices(m.pages.zone):
        zone = m.pages.zone[z]
        least = m.pages.min_free_pages
        gap = max(least >> 2, zone.managed_pages * m.pages.watermark_scale_factor // 10000)
        yield clause("all pages of the zone are managed", zone.managed_pages == zone.spanned_pages, z)
        for mark in indices(zone.watermark):
            yield clause("the watermarks are as at boot", zone.watermark[mark] == least + mark * gap, z, mark)
        for kind in indices(zone.lowmem_reserve):
            yield clause("no reserve for lower zones", zone.lowmem_reserve[kind] == 0, z)
        unboosted = zone.watermark_boost == 0 and not zone.boosted_watermark and not zone.reclaim_active
        yield clause("no boost", unboosted, z)
        together = zone.nr_reserved_highatomic == 0 and zone.nr_isolate_pageblock == 0 and zone.nr_free_cma_pages == 0
        yield clause("no pageblock is kept apart", together, z)


@invariant("C1-tasks", origin="dup_task_struct(), free_task_struct()")
def task_structs_held(m: SystemMachine) -> Clauses:
    """A task's memory is an object in use, its own; who is about to fork keeps the child's number free."""
    for task in indices(m.pages.task):
        t = m.pages.task[task]
        object = t.task_struct
        if object is not None:
            yield clause("a task_struct is an object in use", m.held[object] == TASK_STRUCT_CACHEP, task)
            yield clause("a task_struct is of one task", task_of(m, object) == 1, task)
        child = t.child
        asks = t.slow and t.request != 0
        if not asks:
            nothing = child is None and t.cache == 0 and not t.smallest
            yield clause("a task that asks for no object keeps nothing of it", nothing, task)
        if child is not None:
            unborn = not m.pages.mm[child].alive and m.pages.task[child].task_struct is None
            yield clause("a child that is to be born does not exist yet", unborn, task)
            once = sum(1 for other in indices(m.pages.task) if m.pages.task[other].child == child) == 1
            yield clause("a child has one parent", once, task)
        for object_of in indices(m.held):
            if m.clients == 0 and m.held[object_of] is not None:
                yield clause("objects are of tasks", task_of(m, object_of) == 1, task)


@invariant("C8", origin="do_swap_page(), __remove_mapping(), wp_page_copy(); clear_highpage()")
def contents_kept(m: SystemMachine) -> Clauses:
    """What a task wrote last is where its PTE leads: in a page, in the swap cache, on the device; zero before it wrote.
    What was written last to the file is in the page cache or on the disk."""
    for task in indices(m.pages.mm):
        mm = m.pages.mm[task]
        for address in indices(mm.anon):
            expected = mm.expected[address]
            page = mm.anon[address].page
            entry = mm.anon[address].swap
            yield clause("no task has given up what it wrote", not mm.freed[address], task)
            if page is not None:
                yield clause("the page holds what was written", m.pages.use[page].content == expected, task)
            elif entry is not None:
                cached = m.pages.swap[entry].folio
                if cached is not None:
                    same = m.pages.use[cached].content == expected
                    yield clause("the swap cache holds what was written", same, task)
                else:
                    same = m.pages.swap[entry].content == expected
                    yield clause("the swap device holds what was written", same, task)
            else:
                yield clause("zero is expected where nothing is", expected == 0, task)
    for index in indices(m.pages.i_pages):
        slot = m.pages.i_pages[index]
        filed = slot.folio
        if filed is not None:
            yield clause("the page cache holds what was written", m.pages.use[filed].content == slot.expected, index)
        else:
            yield clause("the disk holds what was written", slot.content == slot.expected, index)


@invariant("C8-clean", origin="folio_clear_dirty_for_io(), pageout()")
def clean_pages_stored(m: SystemMachine) -> Clauses:
    """What nobody would write is where it would be read from; nothing is dropped instead of swapped."""
    for page in indices(m.slab):
        entry = m.pages.use[page].swap
        index = m.pages.use[page].index
        folio = m.pages.folio[page]
        kept = folio.swapbacked or not m.pages.use[page].anon
        yield clause("an anonymous page is not dropped", kept, page)
        if entry is not None and not folio.dirty and not folio.writeback:
            same = m.pages.swap[entry].content == m.pages.use[page].content
            told = folio.mapcount > 0 and folio.mapcount == dirty_ptes(m.pages, page)
            written = told and m.pages.swap[entry].count == 0
            yield clause("a clean folio in the swap cache is on the device, or its PTEs know", same or written, page)
        if index is not None and is_clean(m.pages, page):
            same = m.pages.i_pages[index].content == m.pages.use[page].content
            yield clause("a clean folio in the page cache is on the disk", same, page)
        told_apart = m.pages.contents != 0 or m.pages.use[page].content == 0
        yield clause("contents are told apart only where they are kept", told_apart, page)
    for slot in indices(m.pages.swap):
        zero = m.pages.contents != 0 or m.pages.swap[slot].content == 0
        yield clause("contents of swap space are told apart only where they are kept", zero, slot)
    for place in indices(m.pages.i_pages):
        stored = m.pages.i_pages[place]
        alike = m.pages.contents != 0 or (stored.content == 0 and stored.expected == 0)
        yield clause("contents of the file are told apart only where they are kept", alike, place)


# --- refinement: memory with contents


def contents_of(concrete: SystemMachine, abstract: Contents) -> None:
    """The contents are what the tasks expect; C8 says that they will find it."""
    for task in indices(concrete.pages.mm):
        for address in indices(concrete.pages.mm[task].anon):
            abstract.task[task].value[address] = concrete.pages.mm[task].expected[address]
    for index in indices(concrete.pages.i_pages):
        abstract.file[index] = concrete.pages.i_pages[index].expected


def access_or_fail(abstract: Contents, task: TaskId, address: VirtualPage, write: bool, result: Outcome) -> None:
    """A task finds what it wrote last, or writes; or there was no memory."""
    take_outcome(abstract, task, result)


def access_file_or_fail(abstract: Contents, task: TaskId, index: FileIndex, write: bool, result: Outcome) -> None:
    """The same of the file."""
    take_outcome(abstract, task, result)


def go_on(abstract: Contents, task: TaskId, result: Outcome) -> None:
    """What was put off for want of memory is done."""
    take_outcome(abstract, task, result)


def take_outcome(abstract: Contents, task: TaskId, outcome: int) -> None:
    """The step of memory with contents that an outcome says."""
    vpages = len(abstract.task[task].value)
    content = (outcome - 1) % 2
    place = (outcome - 1) // 4
    written = (outcome - 1) // 2 % 2 == 1
    if outcome == 0:
        return
    for address in range(vpages):
        if place == address and written:
            write(abstract, task, address, content)
        elif place == address:
            read(abstract, task, address, content)
    for index in indices(abstract.file):
        if place == vpages + index and written:
            write_to_file(abstract, index, content)
        elif place == vpages + index:
            read_from_file(abstract, index, content)


def spawn_or_fail(abstract: Contents, task: TaskId, child: TaskId, result: bool) -> None:
    """fork()."""
    if result:
        spawn(abstract, task, child)


def end_task(abstract: Contents, task: TaskId) -> None:
    """exit(), or the OOM killer."""
    end(abstract, task)


FROM_SLUB = tuple(
    item for item in slub.INVARIANTS if item not in (slub.no_reserves, slub.reference_counts, slub.slab_pages_counted)
)
FROM_RECLAIM = tuple(
    item for item in reclaim.INVARIANTS if item not in (reclaim.frames_counted, reclaim.contents_alike)
)

INVARIANTS = (
    pages_of_one_kind,
    pages_add_up,
    slabs_apart,
    slab_pages_counted,
    references_by_kind,
    watermarks_kept,
    task_structs_held,
    contents_kept,
    clean_pages_stored,
)

STEPS = (slabs_freed_whole, pages_change_hands_by_way_of_none)

SPEC = Spec(
    name="system",
    state=SystemMachine,
    init=start_kernel,
    actions=(
        fork, exit, release_task, start, kmem_cache_alloc, kmem_cache_free, flush_cpu_slab, kmem_cache_shrink,
        access_memory, access_file, exit_oom_victim, sync_file, end_swap_write, end_file_write, reclaim_turn,
        reclaim_list, reclaim_folio, reclaim_mapping, reclaim_turn_end, end_direct_reclaim,
        end_kmem_cache_alloc, end_fork,
    ),
    properties=(*INVARIANTS, *STEPS, *FROM_SLUB, *within("pages", *FROM_RECLAIM)),
    parameters=PARAMETERS,
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes=SCOPES,
    explored=("three", "kswapd", "flags", "pairs", "contents"),
    refinement=Refinement(
        "R-contents",
        CONTENTS,
        contents_of,
        {
            access_memory: access_or_fail,
            access_file: access_file_or_fail,
            end_direct_reclaim: go_on,
            fork: spawn_or_fail,
            end_fork: spawn_or_fail,
            exit: end_task,
            exit_oom_victim: end_task,
        },
        origin="(what memory is for)",
    ),
    deadlock_free=True,
    doc=__doc__,
    flows={
        "fork": (
            fork, reclaim_turn, reclaim_list, reclaim_folio, reclaim_mapping, reclaim_turn_end, end_fork,
            copy_process, dup_task_struct, alloc_task_struct_node, kmem_cache_alloc_node, slab_alloc_node,
            ___slab_alloc, get_partial, new_slab, allocate_slab, allocate_smallest_slab, alloc_slab_page, alloc_pages,
            UserMemory.get_page_from_freelist, get_page_of_type, get_page_from_freelist, rmqueue, rmqueue_buddy,
            rmqueue_smallest, expand, UserMemory.alloc_pages_slowpath, slowpath_enter, slowpath_retry,
            begin_turn, shrink_zones, shrink_node, shrink_list, shrink_folio_list, shrink_folio,
            shrink_folio_list_removes, remove_folio, new_slab_continues, slowpath_reclaimed, make_slab, use_new_slab,
            copy_mm,
        ),
        "release": (
            release_task, free_object, slab_free, do_slab_free, __slab_free, put_cpu_partial, __unfreeze_partials,
            discard_slab, free_slab, __free_slab, free_pages, free_the_page, free_pages_ok, free_to_zone, free_one_page,
        ),
    },
    symmetric=("swap_entry", "task"),
)
