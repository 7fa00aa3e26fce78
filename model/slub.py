"""The SLUB allocator: cpu slabs, frozen partial slabs, node lists, and slabs of pages (Linux 6.1, mm/slub.c).

Functions have the kernel's names and the kernel's order of steps; leading underscores are dropped unless two names
would then be one (`slab_free` and `__slab_free`). Every operation is one atomic step, so what the kernel tests again
after a window (a cmpxchg, a pointer read before the lock) cannot have changed: such tests stay where they are, with a
comment. CONFIG_SLUB_CPU_PARTIAL and CONFIG_SLAB_FREELIST_RANDOM are on, PREEMPT_RT is off.

What is left out: debug caches (their slabs are never frozen; the full lists are theirs too), pfmemalloc reserves,
memory control groups, KASAN and KFENCE (which keep freed objects back), grace periods, statistics, and memory
nodes that come and go. Before 5.17 `slab` was `page`; before 5.18 new_slab_objects() stood around new_slab().

A pointer that is no longer used is None here, where the kernel leaves its last value or poison (list_del()).
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page, UnsignedLong
from .gfp import (
    __GFP_COMP,
    __GFP_DIRECT_RECLAIM,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_RECLAIM,
)
from .lang import Array, FromScope, Range, Record, Sort, bounded, choose, indices, require
from .page_alloc import PageAllocator, free_pages, page_to_nid, zonelist_zone
from .slab import Cache, Cpu, KmemCache, KmemCacheCpu, KmemCacheNode, Node, Object, Position, Slab, Slot
from .slab_size import SLAB_TYPESAFE_BY_RCU
from .slowpath import alloc_pages, numa_mem_id

SHRINK_PROMOTE_MAX = 32
LOOKAHEAD = 3

Argument = Annotated[int, Sort("argument", "arguments")]
BulkCount = Annotated[int, Range(0, "bulk_max")]


class DetachedFreelist(Record):
    """struct detached_freelist: objects of one slab that are freed together."""

    slab: Page | None
    tail: Object | None
    freelist: Object | None
    cnt: Annotated[int, Range(0, "arguments")]


class BulkArguments(Record):
    """What the bulk operations have beside the allocator: their caller's array `p`, and `df` on their stack."""

    p: Array[Argument, Object | None]
    df: DetachedFreelist


class SlabAllocator(Record):
    """All caches and their memory; `freepointer` is the word at s->offset in each object.

    `nr_slab` is NR_SLAB_UNRECLAIMABLE_B of all nodes, in pages: large kmallocs count, too."""

    pages: PageAllocator
    kmem_cache: Array[Cache, KmemCache]
    slab: Array[Page, Slab]
    freepointer: Array[Object, Object | None]
    nr_slab: UnsignedLong
    rcu_delays: Annotated[int, FromScope("rcu_delays")]  # whether a grace period goes on when the step has ended

    def begin_attempt(self, cpu: Cpu, smallest: bool) -> None:
        """allocate_slab() asks for pages, a second time if `smallest`; who goes on later must know."""


# --- objects and free pointers


def virt_to_slab(m: SlabAllocator, object: Object) -> Page:
    """The head page of the slab that an object lies in (virt_to_slab())."""
    return object // len(m.kmem_cache[0].oo.has)


def slot_of(m: SlabAllocator, object: Object) -> Slot:
    """Which object of its slab this is (obj_to_index())."""
    return object % len(m.kmem_cache[0].oo.has)


def object_at(m: SlabAllocator, page: Page, slot: Slot) -> Object:
    """The address of a slab's object (slab_address(slab) + slot * s->size)."""
    return page * len(m.kmem_cache[0].oo.has) + slot


def has_slot(m: SlabAllocator, s: KmemCache, page: Page, slot: Slot) -> bool:
    """Whether a slab of this cache is large enough to have this slot (idx < slab->objects * s->size)."""
    if m.slab[page].objects == s.oo.objects:
        return s.oo.has[slot]
    return s.min.has[slot]


def get_freepointer(m: SlabAllocator, object: Object) -> Object | None:
    """The next free object, as written in a free one (get_freepointer())."""
    return m.freepointer[object]


def set_freepointer(m: SlabAllocator, object: Object, next: Object | None) -> None:
    """Link a free object to the next one (set_freepointer())."""
    m.freepointer[object] = next


def slab_nid(m: SlabAllocator, page: Page) -> int:
    """The node of a slab's memory (slab_nid())."""
    return page_to_nid(m.pages, page)


def folio_order(m: SlabAllocator, page: Page) -> int:
    """The order of an allocated block, which its head knows if it is compound (folio_order())."""
    order = m.pages.memory.mem_map[page].compound
    if order is None:
        return 0
    return order


def node_match(m: SlabAllocator, page: Page, node: Node | None) -> bool:
    """Whether a slab may serve a request for this node (node_match())."""
    return node is None or slab_nid(m, page) == node


def next_tid(c: KmemCacheCpu) -> None:
    """Mark a change of what a cpu allocates from (c->tid = next_tid(c->tid)).

    TID_STEP is 1 and every cpu begins at 0: the kernel's tid has the cpu's own number in its low bits besides."""
    c.tid += 1


# --- the list of a node's partial slabs


def list_add(m: SlabAllocator, n: KmemCacheNode, page: Page) -> None:
    """Link a slab in at the head of the partial list (list_add())."""
    head = n.first
    m.slab[page].next = head
    m.slab[page].prev = None
    if head is None:
        n.last = page
    else:
        m.slab[head].prev = page
    n.first = page


def list_add_tail(m: SlabAllocator, n: KmemCacheNode, page: Page) -> None:
    """Link a slab in at the tail of the partial list (list_add_tail())."""
    tail = n.last
    m.slab[page].prev = tail
    m.slab[page].next = None
    if tail is None:
        n.first = page
    else:
        m.slab[tail].next = page
    n.last = page


def list_del(m: SlabAllocator, n: KmemCacheNode, page: Page) -> None:
    """Unlink a slab from the partial list (list_del())."""
    next = m.slab[page].next
    prev = m.slab[page].prev
    if prev is None:
        n.first = next
    else:
        m.slab[prev].next = next
    if next is None:
        n.last = prev
    else:
        m.slab[next].prev = prev
    m.slab[page].next = None
    m.slab[page].prev = None


def add_partial(m: SlabAllocator, n: KmemCacheNode, page: Page, to_tail: bool) -> None:
    """Put a slab on the partial list of its node (add_partial(); the kernel holds n->list_lock)."""
    n.nr_partial += 1
    if to_tail:
        list_add_tail(m, n, page)
    else:
        list_add(m, n, page)


def remove_partial(m: SlabAllocator, n: KmemCacheNode, page: Page) -> None:
    """Take a slab off the partial list of its node (remove_partial(); the kernel holds n->list_lock)."""
    list_del(m, n, page)
    n.nr_partial -= 1


def inc_slabs_node(n: KmemCacheNode, objects: int) -> None:
    """Count a new slab and its objects (inc_slabs_node())."""
    n.nr_slabs += 1
    n.total_objects += objects


def dec_slabs_node(n: KmemCacheNode, objects: int) -> None:
    """Count a slab less (dec_slabs_node())."""
    n.nr_slabs -= 1
    n.total_objects -= objects


# --- new slabs


def alloc_slab_page(m: SlabAllocator, cpu: Cpu, flags: int, node: Node | None, order: int) -> Page | None:
    """A block of pages to become a slab (alloc_slab_page()); it is PageSlab once slab_cache is set."""
    return alloc_pages(m.pages, cpu, node, flags, order)


@bounded("slots")
def next_freelist_entry(m: SlabAllocator, s: KmemCache, page: Page, position: Position) -> Position:
    """The position from `position` on whose object the slab has (next_freelist_entry(), which also reads it).

    A slab of the smaller order may not have the object: the sequence is made for one of the larger order."""
    while not has_entry(m, s, page, position):
        position = 0 if position + 1 >= s.oo.objects else position + 1
    return position


def has_entry(m: SlabAllocator, s: KmemCache, page: Page, position: Position) -> bool:
    """Whether the slab has the object at a position of the random sequence; if that is not known, it has one."""
    slot = s.random_seq[position]
    return slot is None or has_slot(m, s, page, slot)


def freelist_entry(m: SlabAllocator, s: KmemCache, page: Page, position: Position, cur: Object | None) -> Object:
    """The object at a position of the random sequence: start + s->random_seq[pos].

    If the sequence is not known it is any object that the new freelist, which ends in `cur`, does not have yet."""
    known = s.random_seq[position]
    if known is not None:
        return object_at(m, page, known)
    slot = choose(indices(s.oo.has))
    object = object_at(m, page, slot)
    require(has_slot(m, s, page, slot) and object != cur and get_freepointer(m, object) is None)
    return object


def shuffle_freelist(m: SlabAllocator, s: KmemCache, page: Page) -> None:
    """Link the objects of a new slab in the order of the cache's random sequence, from any position on
    (shuffle_freelist()). A slab of one object needs no shuffling in the kernel, to the same effect."""
    slab = m.slab[page]
    position = 0
    if s.random_seq[0] is not None:
        position = choose(range(s.oo.objects))
    position = next_freelist_entry(m, s, page, position)
    cur = freelist_entry(m, s, page, position, None)
    slab.freelist = cur
    for _ in range(1, slab.objects):
        position = 0 if position + 1 >= s.oo.objects else position + 1
        position = next_freelist_entry(m, s, page, position)
        next = freelist_entry(m, s, page, position, cur)
        set_freepointer(m, cur, next)
        cur = next
    set_freepointer(m, cur, None)


def slab_gfp(s: KmemCache, flags: int, smallest: bool) -> int:
    """What alloc_pages() is asked for a slab with (allocate_slab()): the first attempt does not try hard, nor at all to
    reclaim if a smaller slab will do."""
    if s.oo.order > 0:
        flags |= __GFP_COMP  # s->allocflags
    if smallest:
        return flags
    alloc_gfp = (flags | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_NOFAIL
    if alloc_gfp & __GFP_DIRECT_RECLAIM != 0 and s.oo.order > s.min.order:
        alloc_gfp = (alloc_gfp | __GFP_NOMEMALLOC) & ~__GFP_RECLAIM
    return alloc_gfp


def allocate_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, flags: int, node: Node | None) -> Page | None:
    """Make a slab of the best order, or of the smallest one that will do if memory is short (allocate_slab()).

    None: there are no pages, or the task is in direct reclaim for them (`current[cpu].slow`); then make_slab() follows,
    or allocate_smallest_slab() if that was the first attempt and in vain."""
    s = m.kmem_cache[cache]
    m.begin_attempt(cpu, False)
    page = alloc_slab_page(m, cpu, slab_gfp(s, flags, False), node, s.oo.order)
    if page is not None:
        make_slab(m, cache, page, False)
        return page
    if m.pages.current[cpu].slow:
        return None
    return allocate_smallest_slab(m, cache, cpu, flags, node)


def allocate_smallest_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, flags: int, node: Node | None) -> Page | None:
    """The second attempt (allocate_slab(): "allocation may have failed due to fragmentation")."""
    s = m.kmem_cache[cache]
    m.begin_attempt(cpu, True)
    page = alloc_slab_page(m, cpu, slab_gfp(s, flags, True), node, s.min.order)
    if page is not None:
        make_slab(m, cache, page, True)
    return page


def make_slab(m: SlabAllocator, cache: Cache, page: Page, smallest: bool) -> None:
    """Pages become a slab (the rest of allocate_slab())."""
    s = m.kmem_cache[cache]
    order = s.oo.order
    objects = s.oo.objects
    if smallest:
        order = s.min.order
        objects = s.min.objects
    slab = m.slab[page]
    slab.objects = objects
    slab.inuse = 0
    slab.frozen = False
    m.nr_slab += 1 << order  # account_slab()
    slab.slab_cache = cache
    shuffle_freelist(m, s, page)


def new_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, flags: int, node: Node | None) -> Page | None:
    """A slab with all its objects on its freelist, on no list (new_slab(); the flags are legal here)."""
    return allocate_slab(m, cache, cpu, flags, node)


@bounded("slots")
def __free_slab(m: SlabAllocator, cpu: Cpu, page: Page) -> None:
    """Give a slab's pages back (__free_slab())."""
    slab = m.slab[page]
    order = folio_order(m, page)
    # What is written in the pages is nothing to the page allocator: one value stands for all.
    object = slab.freelist
    while object is not None:
        next = get_freepointer(m, object)
        set_freepointer(m, object, None)
        object = next
    slab.freelist = None
    slab.objects = 0
    slab.slab_cache = None  # __folio_clear_slab(), and folio->mapping = NULL, which is the same word
    m.nr_slab -= 1 << order  # unaccount_slab()
    free_pages(m.pages, cpu, page, order)


def rcu_free_slab(m: SlabAllocator, cpu: Cpu, page: Page) -> None:
    """Give a slab's pages back when nobody can look at its objects any more (rcu_free_slab(), after a grace period)."""
    __free_slab(m, cpu, page)


def free_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page) -> None:
    """Give a slab's pages back, at once or after a grace period (free_slab(); for the latter see rcu_free_slab())."""
    delayed = m.rcu_delays != 0 and m.kmem_cache[cache].flags & SLAB_TYPESAFE_BY_RCU != 0
    if not delayed:  # never false: grace periods go on only in a replay, where the recording says when they end
        __free_slab(m, cpu, page)


def discard_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page) -> None:
    """Free a slab that is empty and on no list (discard_slab())."""
    dec_slabs_node(m.kmem_cache[cache].node[slab_nid(m, page)], m.slab[page].objects)
    free_slab(m, cache, cpu, page)


# --- frozen slabs: the cpu slab and the cpu partial list


def acquire_slab(m: SlabAllocator, n: KmemCacheNode, page: Page, mode: bool) -> Object | None:
    """Freeze a slab and take it off the partial list; with `mode`, take all its free objects too (acquire_slab())."""
    slab = m.slab[page]
    freelist = slab.freelist
    assert not slab.frozen, "acquire_slab: VM_BUG_ON(new.frozen)"
    # __cmpxchg_double_slab(): nothing has run since the reads.
    if mode:
        slab.inuse = slab.objects
        slab.freelist = None
    slab.frozen = True
    remove_partial(m, n, page)
    assert freelist is not None, "acquire_slab: WARN_ON(!freelist)"
    return freelist


@bounded("partial_turns")
def get_partial_node(m: SlabAllocator, cache: Cache, cpu: Cpu, nid: int) -> Object | None:
    """Take a partial slab of a node, and half a list of further ones for this cpu (get_partial_node()).

    Gives the first one's free objects; the kernel's pc->slab is the slab they lie in."""
    s = m.kmem_cache[cache]
    n = s.node[nid]
    object: Object | None = None
    partial_slabs = 0
    if n.nr_partial == 0:
        return None
    page = n.first
    while page is not None:
        next = m.slab[page].next
        t = acquire_slab(m, n, page, object is None)
        # `if (!t) break`: the cmpxchg of acquire_slab() has no one to lose against.
        if object is None:
            object = t
        else:
            put_cpu_partial(m, cache, cpu, page, False)
            partial_slabs += 1
        if partial_slabs > s.cpu_partial_slabs // 2:
            break
        page = next
    return object


def get_any_partial(m: SlabAllocator, cache: Cache, cpu: Cpu, gfpflags: int) -> Object | None:
    """Take a partial slab of any node that has more than it should keep, nearest first (get_any_partial())."""
    s = m.kmem_cache[cache]
    if len(s.node) == 1:
        # The only node was searched before; the kernel would find nothing there either.
        return None
    leave_it = choose(range(2))  # get_cycles() % 1024 > s->remote_node_defrag_ratio
    if leave_it == 1:
        return None
    for position in indices(m.pages.zone):
        z = zonelist_zone(m.pages, numa_mem_id(m.pages, cpu), gfpflags, position)
        if z is None:  # never true: in the scopes of this model all zones may be used
            break
        nid = m.pages.zone[z].node
        if s.node[nid].nr_partial > s.min_partial:
            object = get_partial_node(m, cache, cpu, nid)
            if object is not None:  # never false: nobody empties the list before the lock is held
                return object
    return None


def get_partial(m: SlabAllocator, cache: Cache, cpu: Cpu, gfpflags: int, node: Node | None) -> Object | None:
    """Take a partial slab of the node that is asked for, or of this cpu's, or of any (get_partial())."""
    searchnode = numa_mem_id(m.pages, cpu)
    if node is not None:
        searchnode = node
    object = get_partial_node(m, cache, cpu, searchnode)
    if object is not None or node is not None:
        return object
    return get_any_partial(m, cache, cpu, gfpflags)


@bounded("slots")
def deactivate_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page, freelist: Object | None) -> None:
    """Join the cpu's freelist to the slab's, unfreeze it and put it where it belongs (deactivate_slab()).

    The caller has taken the slab away from its cpu."""
    s = m.kmem_cache[cache]
    slab = m.slab[page]
    n = s.node[slab_nid(m, page)]
    free_delta = 0
    to_tail = slab.freelist is not None  # objects were freed to it from outside: DEACTIVATE_TO_TAIL
    # Stage one: count the objects of the cpu's freelist and find the last.
    freelist_tail: Object | None = None
    freelist_iter = freelist
    while freelist_iter is not None:
        nextfree = get_freepointer(m, freelist_iter)
        freelist_tail = freelist_iter
        free_delta += 1
        freelist_iter = nextfree
    # Stage two: unfreeze the slab with the two freelists joined.
    new_freelist = slab.freelist
    assert slab.frozen, "deactivate_slab: VM_BUG_ON(!old.frozen)"
    new_inuse = slab.inuse - free_delta
    if freelist_tail is not None:
        set_freepointer(m, freelist_tail, new_freelist)
        new_freelist = freelist
    free = new_inuse == 0 and n.nr_partial >= s.min_partial
    # cmpxchg_double_slab(): nothing has run since the reads.
    slab.freelist = new_freelist
    slab.inuse = new_inuse
    slab.frozen = False
    if free:
        discard_slab(m, cache, cpu, page)  # M_FREE
    elif new_freelist is not None:
        add_partial(m, n, page, to_tail)  # M_PARTIAL
    # M_FULL_NOLIST: a full slab is on no list.


@bounded("chain_turns")
def __unfreeze_partials(m: SlabAllocator, cache: Cache, cpu: Cpu, partial_slab: Page | None) -> None:
    """Give a chain of frozen partial slabs to their nodes' lists; empty ones too many go (__unfreeze_partials())."""
    s = m.kmem_cache[cache]
    slab_to_discard: Page | None = None
    while partial_slab is not None:
        page = partial_slab
        slab = m.slab[page]
        partial_slab = slab.next
        n = s.node[slab_nid(m, page)]
        assert slab.frozen, "__unfreeze_partials: VM_BUG_ON(!old.frozen)"
        slab.frozen = False
        slab.slabs = 0
        if slab.inuse == 0 and n.nr_partial >= s.min_partial:
            slab.next = slab_to_discard
            slab_to_discard = page
        else:
            add_partial(m, n, page, True)
    while slab_to_discard is not None:
        page = slab_to_discard
        slab_to_discard = m.slab[page].next
        m.slab[page].next = None
        discard_slab(m, cache, cpu, page)


def unfreeze_partials(m: SlabAllocator, cache: Cache, cpu: Cpu) -> None:
    """Unfreeze all partial slabs of this cpu (unfreeze_partials(); unfreeze_partials_cpu() for a dead cpu)."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    partial_slab = c.partial
    c.partial = None
    if partial_slab is not None:
        __unfreeze_partials(m, cache, cpu, partial_slab)


def put_cpu_partial(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page, drain: bool) -> None:
    """Put a slab that was just frozen first on this cpu's partial list; a full list goes to the nodes
    (put_cpu_partial())."""
    s = m.kmem_cache[cache]
    c = s.cpu_slab[cpu]
    slab_to_unfreeze: Page | None = None
    slabs = 0
    oldslab = c.partial
    if oldslab is not None:
        if drain and m.slab[oldslab].slabs >= s.cpu_partial_slabs:
            slab_to_unfreeze = oldslab
            oldslab = None
        else:
            slabs = m.slab[oldslab].slabs
    slabs += 1
    m.slab[page].slabs = slabs
    m.slab[page].next = oldslab
    c.partial = page
    if slab_to_unfreeze is not None:
        __unfreeze_partials(m, cache, cpu, slab_to_unfreeze)


def set_percpu_partial(m: SlabAllocator, c: KmemCacheCpu, page: Page) -> None:
    """Take the first slab off this cpu's partial list (slub_set_percpu_partial(c, p): c->partial = p->next)."""
    c.partial = m.slab[page].next
    m.slab[page].next = None
    m.slab[page].slabs = 0


# --- flushing


def flush_slab(m: SlabAllocator, cache: Cache, cpu: Cpu) -> None:
    """Take the cpu slab away from a cpu (flush_slab())."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    page = c.slab
    freelist = c.freelist
    c.slab = None
    c.freelist = None
    next_tid(c)
    if page is not None:  # never false: flush_cpu_slab() has seen a cpu slab, and no interrupt took it since
        deactivate_slab(m, cache, cpu, page, freelist)


def flush_cpu_slab_work(m: SlabAllocator, cache: Cache, cpu: Cpu) -> None:
    """Flush the cpu slab and the partial slabs of the cpu it runs on (flush_cpu_slab(), a work item)."""
    if m.kmem_cache[cache].cpu_slab[cpu].slab is not None:
        flush_slab(m, cache, cpu)
    unfreeze_partials(m, cache, cpu)


def has_cpu_slab(m: SlabAllocator, cache: Cache, cpu: Cpu) -> bool:
    """Whether a cpu has anything to flush (has_cpu_slab())."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    return c.slab is not None or c.partial is not None


@bounded("cpus")
def flush_all(m: SlabAllocator, cache: Cache) -> None:
    """Flush every cpu that has something to flush (flush_all()); each works on its own, so the order is any."""
    while any(has_cpu_slab(m, cache, cpu) for cpu in indices(m.kmem_cache[cache].cpu_slab)):
        cpu = choose(indices(m.kmem_cache[cache].cpu_slab))
        require(has_cpu_slab(m, cache, cpu))
        flush_cpu_slab_work(m, cache, cpu)


# --- allocating


def get_freelist(m: SlabAllocator, page: Page) -> Object | None:
    """Take all free objects of the cpu slab for its cpu; without any, unfreeze it (get_freelist())."""
    slab = m.slab[page]
    freelist = slab.freelist
    assert slab.frozen, "get_freelist: VM_BUG_ON(!new.frozen)"
    # __cmpxchg_double_slab(): nothing has run since the reads.
    slab.inuse = slab.objects
    slab.frozen = freelist is not None
    slab.freelist = None
    return freelist


def load_freelist(m: SlabAllocator, c: KmemCacheCpu, freelist: Object) -> Object:
    """Give out the first object and leave the others to the cpu (___slab_alloc(), load_freelist:)."""
    page = c.slab
    assert page is not None, "___slab_alloc: load_freelist without a cpu slab"
    assert m.slab[page].frozen, "___slab_alloc: VM_BUG_ON(!c->slab->frozen)"
    c.freelist = get_freepointer(m, freelist)
    next_tid(c)
    return freelist


@bounded("redo_turns")
def ___slab_alloc(m: SlabAllocator, cache: Cache, cpu: Cpu, gfpflags: int, node: Node | None) -> Object | None:
    """Allocate when the cpu's freelist is empty or of another node (___slab_alloc()).

    The kernel's labels stand as comments; `goto reread_slab` is the next turn of the loop with the cpu slab read
    again. The tests under the lock whether something was changed before it was held can only say no here."""
    s = m.kmem_cache[cache]
    c = s.cpu_slab[cpu]
    freelist: Object | None = None
    # reread_slab:
    page = c.slab
    while True:  # never false: the loop is left by break and return
        if page is not None:
            # redo:
            if node_match(m, page, node):
                if page != c.slab:  # never true: the cpu slab cannot change before the lock is held; steps are atomic
                    page = c.slab
                    continue
                freelist = c.freelist
                if freelist is not None:  # never true: nobody fills the cpu's freelist before the lock is held
                    return load_freelist(m, c, freelist)
                freelist = get_freelist(m, page)
                if freelist is not None:
                    return load_freelist(m, c, freelist)
                c.slab = None
                next_tid(c)
            else:
                # deactivate_slab:
                if page != c.slab:  # never true: the cpu slab cannot change before the lock is held
                    page = c.slab
                    continue
                freelist = c.freelist
                c.slab = None
                c.freelist = None
                next_tid(c)
                deactivate_slab(m, cache, cpu, page, freelist)
        # new_slab:
        page = c.partial
        if page is None:
            break
        if c.slab is not None:  # never true: no interrupt installs a cpu slab meanwhile
            page = c.slab
            continue
        c.slab = page
        set_percpu_partial(m, c, page)
    # new_objects:
    freelist = get_partial(m, cache, cpu, gfpflags, node)
    if freelist is not None:
        return retry_load_slab(m, cache, cpu, freelist)
    page = new_slab(m, cache, cpu, gfpflags, node)
    if page is None:
        return None
    return use_new_slab(m, cache, cpu, page)


def use_new_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page) -> Object:
    """Take all objects of a new slab for this cpu and give out the first (___slab_alloc() after new_slab())."""
    slab = m.slab[page]
    freelist = slab.freelist
    slab.freelist = None
    slab.inuse = slab.objects
    slab.frozen = True
    inc_slabs_node(m.kmem_cache[cache].node[slab_nid(m, page)], slab.objects)
    assert freelist is not None, "___slab_alloc: a new slab without objects"
    return retry_load_slab(m, cache, cpu, freelist)


def retry_load_slab(m: SlabAllocator, cache: Cache, cpu: Cpu, freelist: Object) -> Object:
    """The slab of this freelist becomes the cpu's; one that was installed while pages were allocated is flushed, after
    which there is none (___slab_alloc(), retry_load_slab:)."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    flush_slab = c.slab
    if flush_slab is not None:
        flush_freelist = c.freelist
        c.slab = None
        c.freelist = None
        next_tid(c)
        deactivate_slab(m, cache, cpu, flush_slab, flush_freelist)
    c.slab = virt_to_slab(m, freelist)
    return load_freelist(m, c, freelist)


def slab_alloc_node(m: SlabAllocator, cache: Cache, cpu: Cpu, gfpflags: int, node: Node | None) -> Object | None:
    """Take the first object of the cpu's freelist, or go the slow way (slab_alloc_node(), the fast path)."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    object = c.freelist
    page = c.slab
    if object is None or page is None or not node_match(m, page, node):
        return ___slab_alloc(m, cache, cpu, gfpflags, node)
    next_object = get_freepointer(m, object)
    # this_cpu_cmpxchg_double(freelist, tid): this cpu has done nothing else since the reads.
    c.freelist = next_object
    next_tid(c)
    return object


# --- freeing


def __slab_free(m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page, head: Object, tail: Object, cnt: int) -> None:
    """Free objects of a slab that is not this cpu's (__slab_free())."""
    s = m.kmem_cache[cache]
    slab = m.slab[page]
    n = s.node[slab_nid(m, page)]
    prior = slab.freelist
    set_freepointer(m, tail, prior)
    was_frozen = slab.frozen
    new_inuse = slab.inuse - cnt
    new_frozen = was_frozen
    locked = False
    if (new_inuse == 0 or prior is None) and not was_frozen:
        if prior is None:
            # It was full and on no list, and will have free objects: freeze it instead of moving it to a list.
            new_frozen = True
        else:
            locked = True  # it may have to leave its list
    # cmpxchg_double_slab(): nothing has run since the reads.
    slab.freelist = head
    slab.inuse = new_inuse
    slab.frozen = new_frozen
    if not locked:
        if was_frozen:
            return
        if new_frozen:
            put_cpu_partial(m, cache, cpu, page, True)
        return
    if n.nr_partial >= s.min_partial:
        # slab_empty:
        remove_partial(m, n, page)
        discard_slab(m, cache, cpu, page)


def do_slab_free(
    m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page, head: Object, tail: Object | None, cnt: int
) -> None:
    """Put objects back first on the cpu's freelist if they are of its slab (do_slab_free(), the fast path)."""
    tail_obj = head
    if tail is not None:
        tail_obj = tail
    c = m.kmem_cache[cache].cpu_slab[cpu]
    if page != c.slab:
        __slab_free(m, cache, cpu, page, head, tail_obj, cnt)
        return
    freelist = c.freelist
    set_freepointer(m, tail_obj, freelist)
    # this_cpu_cmpxchg_double(freelist, tid): this cpu has done nothing else since the reads.
    c.freelist = head
    next_tid(c)


@bounded("slots")
def slab_free_freelist_hook(m: SlabAllocator, head: Object, old_tail: int) -> None:
    """Look at each object that is freed; this turns their list round (slab_free_freelist_hook())."""
    next: Object | None = head
    rebuilt: Object | None = None
    while rebuilt != old_tail:
        object = next
        assert object is not None, "slab_free_freelist_hook: the list ends before its tail"
        next = get_freepointer(m, object)
        set_freepointer(m, object, rebuilt)
        rebuilt = object


def slab_free(
    m: SlabAllocator, cache: Cache, cpu: Cpu, page: Page, head: Object, tail: Object | None, cnt: int
) -> None:
    """Free the objects from head to tail, all of one slab (slab_free(); the hook keeps none of them back)."""
    old_tail = head
    if tail is not None:
        old_tail = tail
    slab_free_freelist_hook(m, head, old_tail)
    if old_tail == head:
        do_slab_free(m, cache, cpu, page, head, None, cnt)
    else:
        do_slab_free(m, cache, cpu, page, old_tail, head, cnt)


# --- bulk


def build_detached_freelist(m: SlabAllocator, bulk: BulkArguments, cache: Cache, size: int) -> int:
    """Take the last object of the array and those of its slab before it, looking at three others on the way, as one
    list (build_detached_freelist()). Gives how many objects of the array are left."""
    size -= 1
    object = bulk.p[size]
    assert object is not None, "build_detached_freelist: no object"
    bulk.df.slab = virt_to_slab(m, object)
    bulk.df.tail = object
    bulk.df.freelist = object
    bulk.df.cnt = 1
    set_freepointer(m, object, None)
    same = size
    lookahead = LOOKAHEAD
    for index in range(size - 1, -1, -1):
        object = bulk.p[index]
        assert object is not None, "build_detached_freelist: no object"
        if bulk.df.slab == virt_to_slab(m, object):
            set_freepointer(m, object, bulk.df.freelist)
            bulk.df.freelist = object
            bulk.df.cnt += 1
            same -= 1
            if index != same:
                bulk.p[index] = bulk.p[same]
                bulk.p[same] = object
            continue
        lookahead -= 1
        if lookahead == 0:
            break
    return same


@bounded("arguments")
def kmem_cache_free_bulk_array(m: SlabAllocator, bulk: BulkArguments, cache: Cache, cpu: Cpu, size: int) -> None:
    """Free the first `size` objects of the array (kmem_cache_free_bulk())."""
    while size > 0:
        size = build_detached_freelist(m, bulk, cache, size)
        page = bulk.df.slab
        head = bulk.df.freelist
        assert page is not None, "kmem_cache_free_bulk: no slab"
        assert head is not None, "kmem_cache_free_bulk: an empty list"
        slab_free(m, cache, cpu, page, head, bulk.df.tail, bulk.df.cnt)
    bulk.df.slab = None
    bulk.df.tail = None
    bulk.df.freelist = None
    bulk.df.cnt = 0


def kmem_cache_alloc_bulk_array(
    m: SlabAllocator, bulk: BulkArguments, cache: Cache, cpu: Cpu, flags: int, size: BulkCount
) -> BulkCount:
    """Allocate `size` objects into the array, or none (kmem_cache_alloc_bulk())."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    for index in range(size):
        object = c.freelist
        if object is None:
            next_tid(c)  # the fast path below left the tid as it was
            object = ___slab_alloc(m, cache, cpu, flags, None)
            if object is None:
                kmem_cache_free_bulk_array(m, bulk, cache, cpu, index)
                return 0
            bulk.p[index] = object
            continue
        c.freelist = get_freepointer(m, object)
        bulk.p[index] = object
    next_tid(c)
    return size


# --- large blocks (mm/slab_common.c)


def kmalloc_large_node(m: SlabAllocator, cpu: Cpu, flags: int, node: Node | None, order: int) -> Page | None:
    """A block straight from the page allocator, larger than the objects of any cache (__kmalloc_large_node())."""
    page = alloc_pages(m.pages, cpu, node, flags | __GFP_COMP, order)
    if page is not None:
        m.nr_slab += 1 << order
    return page


def free_large_kmalloc(m: SlabAllocator, cpu: Cpu, page: Page) -> None:
    """Give such a block back (free_large_kmalloc())."""
    order = folio_order(m, page)
    m.nr_slab -= 1 << order
    free_pages(m.pages, cpu, page, order)


# --- shrinking and shutting down


@bounded("frames")
def promote(m: SlabAllocator, n: KmemCacheNode, free: int) -> None:
    """Move all partial slabs with so many free objects to the head of the list, the last of them first: what
    list_move() to a list of their own and list_splice() of that list do together."""
    page = n.first
    while page is not None:
        next = m.slab[page].next
        if m.slab[page].objects - m.slab[page].inuse == free:
            list_del(m, n, page)
            list_add(m, n, page)
        page = next


@bounded("frames")
def detach_empty_slabs(m: SlabAllocator, n: KmemCacheNode) -> Page | None:
    """Take the empty slabs off the partial list and off the counters; gives the chain of them, last first."""
    discard: Page | None = None
    page = n.first
    while page is not None:
        next = m.slab[page].next
        free = m.slab[page].objects - m.slab[page].inuse
        assert free > 0, "__kmem_cache_shrink: BUG_ON(free <= 0)"
        if free == m.slab[page].objects:
            list_del(m, n, page)
            m.slab[page].next = discard
            discard = page
            n.nr_partial -= 1
            dec_slabs_node(n, m.slab[page].objects)
        page = next
    return discard


@bounded("frames")
def kmem_cache_do_shrink(m: SlabAllocator, cache: Cache, cpu: Cpu) -> bool:
    """Free the empty slabs and put the fullest first on the partial lists (__kmem_cache_do_shrink()).

    Gives whether slabs are left. The walk that makes the kernel's lists of slabs to discard and to promote is one
    for each list here."""
    s = m.kmem_cache[cache]
    left = False
    for nid in indices(s.node):
        n = s.node[nid]
        discard = detach_empty_slabs(m, n)
        for free in range(min(SHRINK_PROMOTE_MAX, len(s.oo.has)), 0, -1):
            promote(m, n, free)
        while discard is not None:
            page = discard
            discard = m.slab[page].next
            m.slab[page].next = None
            free_slab(m, cache, cpu, page)
        if n.nr_slabs != 0:
            left = True
    return left


def list_slab_objects(m: SlabAllocator, s: KmemCache, page: Page) -> int:
    """How many objects of a slab somebody still has, which the kernel reports (list_slab_objects())."""
    on_freelist = freelist_length(m, m.slab[page].freelist)
    return m.slab[page].objects - on_freelist


@bounded("slots")
def freelist_length(m: SlabAllocator, object: Object | None) -> int:
    """The objects on a freelist (__fill_map())."""
    length = 0
    while object is not None:
        length += 1
        object = get_freepointer(m, object)
    return length


@bounded("frames")
def free_partial(m: SlabAllocator, cache: Cache, cpu: Cpu, nid: int) -> int:
    """Free the empty slabs on a node's partial list; gives how many objects are left in the others (free_partial())."""
    s = m.kmem_cache[cache]
    n = s.node[nid]
    remaining = 0
    discard: Page | None = None
    page = n.first
    while page is not None:
        next = m.slab[page].next
        if m.slab[page].inuse == 0:
            remove_partial(m, n, page)
            m.slab[page].next = discard
            discard = page
        else:
            remaining += list_slab_objects(m, s, page)
        page = next
    while discard is not None:
        page = discard
        discard = m.slab[page].next
        m.slab[page].next = None
        discard_slab(m, cache, cpu, page)
    return remaining


def free_partials(m: SlabAllocator, cache: Cache, cpu: Cpu) -> bool:
    """Free the empty slabs of all nodes; gives whether a node has slabs left, as objects remain
    (__kmem_cache_shutdown() after its flush_all())."""
    s = m.kmem_cache[cache]
    for nid in indices(s.node):
        free_partial(m, cache, cpu, nid)
        if s.node[nid].nr_partial != 0 or s.node[nid].nr_slabs != 0:
            return True
    return False
