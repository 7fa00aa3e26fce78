"""More clients of the slab allocator: arrays of objects, large blocks, all cpus flushed at once (Linux 6.1).

The one idea: the array of a bulk operation is the client's and lives between steps. It is filled object by object and
then freed at once, or allocated at once; so each step says by itself which objects it is about.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Order, Page
from .lang import GHOST, Array, FromScope, action, indices, require
from .slab import Cache, Cpu, Object
from .slab_clients import SlubMachine, give_out, settle_tid
from .slub import (
    BulkArguments,
    BulkCount,
    flush_all,
    free_large_kmalloc,
    kmalloc_large_node,
    kmem_cache_alloc_bulk_array,
    kmem_cache_free_bulk_array,
    slab_free,
    virt_to_slab,
)


class BulkMachine(SlubMachine):
    """The allocator, and clients that also hold large blocks and an array of objects, `bulk.p`, which are theirs."""

    bulk_max: Annotated[int, FromScope("bulk_max")]
    large_orders: Annotated[int, FromScope("large_orders")]
    bulk: BulkArguments
    held_large: Annotated[Array[Page, bool], GHOST]


# --- large blocks


@action
def kmalloc_large(m: BulkMachine, cpu: Cpu, order: Order) -> Page | None:
    """A client asks for a block of pages (kmalloc_large())."""
    require(order < m.large_orders)
    page = kmalloc_large_node(m, cpu, m.gfp, None, order)
    if page is not None:
        m.held_large[page] = True
    return page


@action
def kfree_large(m: BulkMachine, cpu: Cpu, page: Page) -> None:
    """The client of a large block gives it back (kfree() of a pointer into no slab)."""
    require(m.held_large[page])
    m.held_large[page] = False
    assert m.slab[page].slab_cache is None, "kfree: a large block is PageSlab"
    free_large_kmalloc(m, cpu, page)


# --- an array of objects


def array_length(m: BulkMachine) -> int:
    """How many objects the array has; they are its first entries."""
    return sum(1 for index in indices(m.bulk.p) if m.bulk.p[index] is not None)


def is_in_array(m: BulkMachine, object: Object) -> bool:
    """Whether the array has an object."""
    return any(m.bulk.p[index] == object for index in indices(m.bulk.p))


@action
def store_in_array(m: BulkMachine, object: Object) -> None:
    """A client puts an object of its own in the array, to free it with others."""
    require(m.held[object] is not None and not is_in_array(m, object))
    length = array_length(m)
    require(length < m.bulk_max)
    m.bulk.p[length] = object


@action
def take_from_array(m: BulkMachine) -> None:
    """A client takes the last object out of the array, to use it by itself."""
    length = array_length(m)
    require(length > 0)
    m.bulk.p[length - 1] = None


@action
def kfree(m: BulkMachine, cpu: Cpu, object: Object) -> None:
    """The client of an object that is not in the array gives it back (kfree(), which asks the slab for the cache)."""
    require(m.held[object] is not None and not is_in_array(m, object))
    page = virt_to_slab(m, object)
    cache = m.slab[page].slab_cache
    assert cache is not None, "kfree: not a slab"
    c = m.kmem_cache[cache].cpu_slab[cpu]
    cpu_page = c.slab
    freelist = c.freelist
    m.held[object] = None
    slab_free(m, cache, cpu, page, object, None, 1)
    settle_tid(m, cache, cpu, cpu_page, freelist)


@action
def kmem_cache_alloc_bulk(m: BulkMachine, cache: Cache, cpu: Cpu, size: BulkCount) -> BulkCount:
    """A client asks for several objects at once (kmem_cache_alloc_bulk())."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    require(size > 0 and m.kmem_cache[cache].alive)
    require(array_length(m) == 0)
    page = c.slab
    freelist = c.freelist
    allocated = kmem_cache_alloc_bulk_array(m, m.bulk, cache, cpu, m.gfp, size)
    for index in indices(m.bulk.p):
        if index < allocated:
            give_out(m, cache, m.bulk.p[index])
        else:
            m.bulk.p[index] = None
    settle_tid(m, cache, cpu, page, freelist)
    return allocated


@action
def kmem_cache_free_bulk(m: BulkMachine, cache: Cache, cpu: Cpu) -> None:
    """A client frees all objects of the array, which are of one cache (kmem_cache_free_bulk())."""
    length = array_length(m)
    require(length > 0)
    require(all(m.held[object] == cache for object in indices(m.held) if is_in_array(m, object)))
    c = m.kmem_cache[cache].cpu_slab[cpu]
    page = c.slab
    freelist = c.freelist
    for index in indices(m.bulk.p):
        object = m.bulk.p[index]
        if object is not None:
            m.held[object] = None
    kmem_cache_free_bulk_array(m, m.bulk, cache, cpu, length)
    for index in indices(m.bulk.p):
        m.bulk.p[index] = None
    settle_tid(m, cache, cpu, page, freelist)


# --- all cpus at once


def settle_all_tids(m: BulkMachine, cache: Cache, cpu: Cpu, page: Page | None, freelist: Object | None) -> None:
    """After an operation on all cpus: as settle_tid() for one of them, any."""
    settle_tid(m, cache, cpu, page, freelist)
    for other in indices(m.kmem_cache[cache].cpu_slab):
        m.kmem_cache[cache].cpu_slab[other].tid = 0


@action
def kmem_cache_flush_all(m: BulkMachine, cache: Cache, cpu: Cpu) -> None:
    """All cpus are flushed, undisturbed (flush_all(), with which __kmem_cache_shrink() and __kmem_cache_shutdown()
    begin). `cpu` is the one whose tid is watched, any."""
    c = m.kmem_cache[cache].cpu_slab[cpu]
    require(m.kmem_cache[cache].alive)
    page = c.slab
    freelist = c.freelist
    flush_all(m, cache)
    settle_all_tids(m, cache, cpu, page, freelist)
