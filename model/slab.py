"""The structures of the slab allocator: caches, cpu slabs, node lists, slabs (Linux 6.1, mm/slab.h, slub_def.h).

The one idea: an object pointer is global. Object `page * slots + slot` is slot number `slot` of the slab whose head is
`page`, so a pointer into another slab, or into memory that is no slab at all, is a state that exists and that the
invariants rule out. `slots` is the most objects a slab can have in this scope.

`struct slab` overlays `struct page`; here it is a record of its own for every page frame, of which the head of a slab
uses its own. Fields of a page that is no slab are None or 0: what the kernel leaves there it never reads.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page, UnsignedLong
from .lang import Array, Machine, Range, Record, Sort

Slot = Annotated[int, Sort("slot", "slots")]
Position = Annotated[int, Sort("position", "slots")]
Object = Annotated[int, Sort("object", "objects", of=("page", "slot"))]
Cache = Annotated[int, Sort("cache", "caches")]
Cpu = Annotated[int, Sort("cpu", "cpus")]
Node = Annotated[int, Sort("node", "nodes")]

SlabOrder = Annotated[int, Range(0, "orders")]
ObjectCount = Annotated[int, Range(0, "slots")]
SlabCount = Annotated[int, Range(0, "frames")]


class KmemCacheCpu(Record):
    """struct kmem_cache_cpu: what one cpu allocates from without a lock."""

    freelist: Object | None
    tid: Annotated[int, Machine("tid_bits")]
    slab: Page | None  # `page` before 5.17
    partial: Page | None  # the first of the frozen partial slabs, linked by Slab.next


class KmemCacheNode(Record):
    """struct kmem_cache_node: the partial slabs of one node, and its counters (CONFIG_SLUB_DEBUG)."""

    first: Page | None  # partial.next
    last: Page | None  # partial.prev
    nr_partial: UnsignedLong
    nr_slabs: UnsignedLong
    total_objects: UnsignedLong


class OrderObjects(Record):
    """struct kmem_cache_order_objects: an order, and how many objects a slab of that order has.

    `has` says which slots those are, the first `objects`: as a set, so that slots are interchangeable elsewhere."""

    order: SlabOrder
    objects: ObjectCount
    has: Array[Slot, bool]


class KmemCache(Record):
    """struct kmem_cache. `alive` is false for an entry that names no cache (never created, or destroyed)."""

    alive: bool
    flags: Annotated[int, Range(0, "flags_max")]
    size: Annotated[int, Range(0, "size_max")]
    object_size: Annotated[int, Range(0, "size_max")]
    align: Annotated[int, Range(0, "size_max")]
    refcount: Annotated[int, Range(-1, "refcount_max")]  # -1: a cache of the boot, which takes no aliases
    oo: OrderObjects
    min: OrderObjects
    min_partial: SlabCount
    cpu_partial: Annotated[int, Range(0, "cpu_partial_max")]  # in objects, as sysfs shows it
    cpu_partial_slabs: Annotated[int, Range(0, "cpu_partial_slabs_max")]
    random_seq: Array[Position, Slot | None]  # None: not known, any slot that does not stand before it
    cpu_slab: Array[Cpu, KmemCacheCpu]
    node: Array[Node, KmemCacheNode]


class Slab(Record):
    """struct slab, by the page frame of its head; PageSlab is `slab_cache is not None`."""

    slab_cache: Cache | None
    next: Page | None  # slab_list.next, or the next slab of a cpu partial list
    prev: Page | None  # slab_list.prev
    slabs: SlabCount  # on a cpu partial list: how many slabs there are from here on
    freelist: Object | None
    inuse: Annotated[int, Machine("inuse_bits")]  # unsigned inuse:16
    objects: ObjectCount  # unsigned objects:15
    frozen: bool
