"""What must hold of the slab allocator's other entries: bulk operations, large blocks, two nodes, slabs of two orders.

All invariants of specs/slub.py hold here, too; this machine has more actions, and its default scope the things that the
default scope of `slub` leaves out, so that together they reach every branch of model/slub.py.
"""

from __future__ import annotations

from ..model.lang import Clauses, Parameter, Spec, clause, indices, invariant, step_property
from ..model.slab import Cache
from ..model.slab_bulk_clients import (
    BulkMachine,
    is_in_array,
    kfree,
    kfree_large,
    kmalloc_large,
    kmem_cache_alloc_bulk,
    kmem_cache_flush_all,
    kmem_cache_free_bulk,
    store_in_array,
    take_from_array,
)
from ..model.slab_clients import kmem_cache_alloc, kmem_cache_init
from ..model.slub import BulkCount
from .slub import INVARIANTS, is_slab, object_as_asked, reference_counts, request_succeeds_if_possible
from .slub_scope import DERIVED, LARGE, REQUIREMENTS, slub_parameters


@invariant("B18", origin="page_expected_state(), prep_new_page(): set_page_refcounted()")
def references_of_slabs_and_large_blocks(m: BulkMachine) -> Clauses:
    """A slab has one reference, and so has a large block; every other page has none."""
    for page in indices(m.slab):
        frame = m.pages.memory.mem_map[page]
        yield clause("a page is not a slab and a large block", not (is_slab(m, page) and m.held_large[page]), page)
        references = 1 if is_slab(m, page) or m.held_large[page] else 0
        yield clause("a slab or large block has one reference, any other page none", frame.refcount == references, page)
        if frame.refcount == 0:
            yield clause("a page that is not allocated is not compound", frame.compound is None, page)


@invariant("S20", origin="build_detached_freelist(), kmem_cache_free_bulk(): 899447f669da")
def array_of_live_objects(m: BulkMachine) -> Clauses:
    """The client's array has objects that are in use, each once, without gaps; nothing of a bulk operation is left."""
    for index in indices(m.bulk.p):
        object = m.bulk.p[index]
        if object is not None:
            yield clause("an object in the array is in use", m.held[object] is not None, index)
            once = sum(1 for other in indices(m.bulk.p) if m.bulk.p[other] == object) == 1
            yield clause("an object is in the array once", once, index)
            gap = any(m.bulk.p[before] is None for before in range(index))
            yield clause("the array has no gap", not gap, index)
    done = m.bulk.df.slab is None and m.bulk.df.tail is None and m.bulk.df.freelist is None and m.bulk.df.cnt == 0
    yield clause("no detached freelist is left", done)


@step_property("S20-alloc", action=kmem_cache_alloc_bulk, origin="kmem_cache_alloc_bulk()")
def bulk_gives_all_or_none(
    before: BulkMachine, after: BulkMachine, cache: Cache, size: BulkCount, result: BulkCount
) -> Clauses:
    """As many objects as were asked for, which were in nobody's use, or none; nobody else's object is touched."""
    yield clause("all or none are given", result == size or result == 0)
    given = sum(1 for object in indices(after.held) if is_in_array(after, object))
    yield clause("as many are given as it says", given == result)
    for object in indices(after.held):
        if is_in_array(after, object):
            fresh = before.held[object] is None and after.held[object] == cache
            yield clause("an object that is given was in nobody's use", fresh, object)
        else:
            yield clause("no other object is touched", after.held[object] == before.held[object], object)


@step_property("S18-flush", action=kmem_cache_flush_all, origin="flush_all(): 02e1a9cd1ebf")
def flush_leaves_cpus_nothing(before: BulkMachine, after: BulkMachine, cache: Cache) -> Clauses:
    """After a flush no cpu has a slab of the cache."""
    for cpu in indices(after.kmem_cache[cache].cpu_slab):
        c = after.kmem_cache[cache].cpu_slab[cpu]
        yield clause("the cpus are flushed", c.slab is None and c.partial is None and c.freelist is None, cpu)


ARRAY = {
    "zones": 1,
    "nodes": 1,
    "cpus": 1,
    "slots": 3,
    "oo_order": 0,
    "oo_objects": 3,
    "min_objects": 3,
    "known_random_seq": 0,
    "min_partial": 1,
    "bulk_max": 4,
}
"""One cpu, two slabs of three objects, and an array long enough for the lookahead to give up."""

SPEC = Spec(
    name="slub_bulk",
    state=BulkMachine,
    init=kmem_cache_init,
    actions=(
        kmem_cache_alloc,
        kfree,
        store_in_array,
        take_from_array,
        kmem_cache_alloc_bulk,
        kmem_cache_free_bulk,
        kmalloc_large,
        kfree_large,
        kmem_cache_flush_all,
    ),
    properties=(
        *(item for item in INVARIANTS if item is not reference_counts),
        references_of_slabs_and_large_blocks,
        array_of_live_objects,
        bulk_gives_all_or_none,
        flush_leaves_cpus_nothing,
        object_as_asked,
        request_succeeds_if_possible,
    ),
    parameters=(
        *slub_parameters(
            zones=2, nodes=2, cpus=1, orders=2, pageblock_order=1, pages=2, start1=2, pages1=1, node1=1, slots=2,
            tid_bits=5,
            oo_order=1, oo_objects=2, min_objects=1, known_random_seq=1, cpu_partial_slabs=1, min_partial=0,
        ),
        Parameter("bulk_max", 2, "the length of the client's array of objects", least=1, most=64),
        Parameter("large_orders", 1, "the orders, from 0, of which clients ask for large blocks", least=0, most=11),
    ),
    derived={**DERIVED, "arguments": lambda sizes: sizes["bulk_max"]},
    requirements=REQUIREMENTS,
    scopes={"cpus": {"cpus": 2, "pages1": 2}, "array": ARRAY, "large": {**LARGE, "bulk_max": 16, "large_orders": 4}},
    explored=("cpus", "array"),
    deadlock_free=True,
    doc=__doc__,
    symmetric=("slot",),
)
