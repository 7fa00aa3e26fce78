"""The clients of the slab allocator: machines whose actions are what a kernel does with its caches (Linux 6.1).

The one idea: model/slub.py is the kernel's text; here is who calls it, and what they hold. A client may be on any
cpu at any time, frees what it holds and nothing else, and writes over what it got.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .lang import GHOST, Array, FromScope, action, choose, indices, require
from .page_alloc import PageAllocator, free_zone_memory
from .slab import Cache, Cpu, KmemCache, Node, Object, OrderObjects
from .slub import (
    SlabAllocator,
    flush_cpu_slab_work,
    free_partials,
    has_cpu_slab,
    kmem_cache_do_shrink,
    set_freepointer,
    slab_alloc_node,
    slab_free,
    virt_to_slab,
)


class SlubMachine(SlabAllocator):
    """The allocator, and the objects that its clients hold, by the cache they are from.

    The constants are what the scope says of a cache; how the kernel computes them is the subject of slab_size.py.
    `tid_kept` says that an operation changed what a cpu allocates from and left its tid as it was."""

    oo_order: Annotated[int, FromScope("oo_order")]
    oo_objects: Annotated[int, FromScope("oo_objects")]
    min_order: Annotated[int, FromScope("min_order")]
    min_objects: Annotated[int, FromScope("min_objects")]
    min_partial: Annotated[int, FromScope("min_partial")]
    cpu_partial_slabs: Annotated[int, FromScope("cpu_partial_slabs")]
    known_random_seq: Annotated[int, FromScope("known_random_seq")]
    gfp: Annotated[int, FromScope("gfp")]
    held: Annotated[Array[Object, Cache | None], GHOST]
    tid_kept: Annotated[bool, GHOST]


# --- boot


def kmem_cache_init(m: SlubMachine) -> None:
    """All memory is free, and the caches of the scope exist, with no slabs (mm_init(): mem_init(),
    kmem_cache_init())."""
    mem_init(m.pages)
    for cache in indices(m.kmem_cache):
        kmem_cache_open(m, m.kmem_cache[cache])


def kmem_cache_open(m: SlubMachine, s: KmemCache) -> None:
    """A cache as the scope describes it (kmem_cache_open())."""
    s.alive = True
    s.oo.order = m.oo_order
    s.oo.objects = m.oo_objects
    s.min.order = m.min_order
    s.min.objects = m.min_objects
    s.min_partial = m.min_partial
    s.cpu_partial_slabs = m.cpu_partial_slabs
    has_objects(s.oo, s.oo)
    has_objects(s.min, s.oo)
    if m.known_random_seq != 0:
        init_cache_random_seq(s)


def has_objects(oo: OrderObjects, largest: OrderObjects) -> None:
    """Say which slots a slab has: as many as it has objects, any of those that the largest has."""
    missing = oo.objects
    for slot in indices(oo.has):
        oo.has[slot] = False
        if oo.objects == largest.objects and oo.order == largest.order:
            left = len(oo.has) - slot
        else:
            left = sum(1 for other in range(slot, len(oo.has)) if largest.has[other])
            if not largest.has[slot]:
                continue
        take = 1
        if missing < left:
            take = choose(range(min(missing, 1) + 1))
        if take == 1:
            oo.has[slot] = True
            missing -= 1


def init_cache_random_seq(s: KmemCache) -> None:
    """A random order of the objects of a slab (init_cache_random_seq(), freelist_randomize())."""
    for position in range(s.oo.objects):
        skipped = choose(range(s.oo.objects - position))
        for slot in indices(s.oo.has):  # never false: there is a slot left for each position
            used = any(s.random_seq[before] == slot for before in range(position))
            if not s.oo.has[slot] or used:
                continue
            if skipped == 0:
                s.random_seq[position] = slot
                break
            skipped -= 1


def mem_init(pages: PageAllocator) -> None:
    """Boot: hand the memory of every zone to the buddy system; no watermarks (mem_init())."""
    for z in indices(pages.zone):
        free_zone_memory(pages, z)


# --- what the clients do


def settle_tid(m: SlubMachine, cache: Cache, cpu: Cpu, page: Page | None, freelist: Object | None) -> None:
    """After an operation: note whether it changed what the cpu allocates from without marking that.

    Between atomic steps nobody holds a tid, so that its value means nothing: it begins anew."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    if (c.slab != page or c.freelist != freelist) and c.tid == 0:  # never true: S11
        m.tid_kept = True
    c.tid = 0


def give_out(m: SlubMachine, cache: Cache, object: Object | None) -> None:
    """A client gets an object and writes over it: what stands where the free pointer was is its own business."""
    if object is not None:
        m.held[object] = cache
        set_freepointer(m, object, None)


@action
def kmem_cache_alloc(m: SlubMachine, cache: Cache, cpu: Cpu, node: Node | None) -> Object | None:
    """A client on any cpu asks for an object: kmem_cache_alloc(), or kmem_cache_alloc_node() if it names a node."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    require(m.kmem_cache[cache].alive)
    page = c.slab
    freelist = c.freelist
    object = slab_alloc_node(m, cache, cpu, m.gfp, node)
    settle_tid(m, cache, cpu, page, freelist)
    give_out(m, cache, object)
    return object


@action
def kmem_cache_free(m: SlubMachine, cpu: Cpu, object: Object) -> None:
    """The client of an object gives it back, on any cpu (kmem_cache_free())."""
    cache = m.held[object]
    require(cache is not None)
    assert cache is not None
    c = m.kmem_cache[cache].cpu_slab[cpu]
    page = c.slab
    freelist = c.freelist
    m.held[object] = None
    slab_free(m, cache, cpu, virt_to_slab(m, object), object, None, 1)
    settle_tid(m, cache, cpu, page, freelist)


@action
def flush_cpu_slab(m: SlubMachine, cache: Cache, cpu: Cpu) -> None:
    """A cpu's slabs are flushed (flush_cpu_slab(), as flush_all() queues it)."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    require(has_cpu_slab(m, cache, cpu))
    page = c.slab
    freelist = c.freelist
    flush_cpu_slab_work(m, cache, cpu)
    settle_tid(m, cache, cpu, page, freelist)


@action
def kmem_cache_shrink(m: SlubMachine, cache: Cache, cpu: Cpu) -> bool:
    """A cache's node lists are cleaned up (__kmem_cache_shrink() after its flush_all(), whose work on each cpu is a
    step of its own, flush_cpu_slab: other tasks may run between). Gives whether slabs are left."""
    require(m.kmem_cache[cache].alive)
    return kmem_cache_do_shrink(m, cache, cpu)


@action
def kmem_cache_shutdown(m: SlubMachine, cache: Cache, cpu: Cpu) -> bool:
    """A cache's node lists are emptied as far as the slabs are empty (__kmem_cache_shutdown() after its flush_all()).

    Gives whether slabs are left; otherwise kmem_cache_destroy() would go on, and here the cache is as new."""
    require(m.kmem_cache[cache].alive)
    return free_partials(m, cache, cpu)
