"""The scope of the slab allocator: its caches and their slabs, over a page allocator with nothing more switched on.

The one idea: what the slab allocator does depends little on the finer points of the page allocator, so that in these
scopes it has one migrate type, no watermarks and no pcp lists; specs/zone.py is about those. By default requests do not
wait for reclaim (GFP_NOWAIT), which frees nothing in the model anyhow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..model.gfp import GFP_KERNEL, GFP_NOWAIT
from ..model.lang import Parameter, Requirement
from .zone_scope import OF_ONE_TYPE, PAGE_ALLOC_DERIVED, PAGE_ALLOC_REQUIREMENTS, page_alloc_parameters

Sizes = Mapping[str, int]


def chain_most(sizes: Sizes) -> int:
    """The most slabs on a cpu partial list: put_cpu_partial() lets one in whatever the limit is, and
    get_partial_node() no more than that."""
    return max(1, sizes["cpu_partial_slabs"])


DERIVED = {
    **PAGE_ALLOC_DERIVED,
    "objects": lambda sizes: sizes["frames"] * sizes["slots"],
    "gfp": lambda sizes: GFP_KERNEL if sizes["may_wait"] else GFP_NOWAIT,
    "cpu_partial_slabs_max": lambda sizes: sizes["cpu_partial_slabs"],
    "chain_turns": chain_most,
    "partial_turns": lambda sizes: sizes["cpu_partial_slabs"] // 2 + 2,
    "redo_turns": lambda sizes: 2 if sizes["nodes"] == 1 else chain_most(sizes) + 2,
    # What a cache's objects are like is of no account here (see slab_size.py):
    "flags_max": lambda sizes: 0,
    "size_max": lambda sizes: 0,
    "refcount_max": lambda sizes: 0,
    "cpu_partial_max": lambda sizes: 0,
    "rcu_delays": lambda sizes: 0,
}


OWN = (
    Parameter("caches", 1, "the number of caches", least=1, most=1 << 10),
    Parameter("slots", 3, "the most objects that a slab has", least=1, most=1 << 10),
    Parameter("oo_order", 0, "the order of a slab, if there is memory (oo_order(s->oo))", least=0, most=10),
    Parameter("oo_objects", 3, "the objects of such a slab (oo_objects(s->oo))", least=1, most=1 << 10),
    Parameter("min_order", 0, "the order of a slab if memory is short (oo_order(s->min))", least=0, most=10),
    Parameter("min_objects", 3, "the objects of such a slab (oo_objects(s->min))", least=1, most=1 << 10),
    Parameter("min_partial", 1, "the partial slabs that a node keeps even when empty", least=0, most=1 << 10),
    Parameter("cpu_partial_slabs", 2, "the partial slabs that a cpu keeps", least=0, most=1 << 10),
    Parameter("known_random_seq", 0, "whether a cache knows the order of its new freelists", least=0, most=1),
    Parameter("may_wait", 0, "whether requests are GFP_KERNEL, which may reclaim, or GFP_NOWAIT", least=0, most=1),
    Parameter("tid_bits", 3, "the bits of a tid, which counts the changes of one operation", least=1, most=64),
    Parameter("inuse_bits", 2, "the bits of slab->inuse", least=1, most=16),
)


def slub_parameters(**defaults: int) -> tuple[Parameter, ...]:
    """The parameters of a machine with model.slub in it; by default 3 pages, 3 objects a slab, 2 cpus."""
    small = {"pages": 3, "orders": 2, "pageblock_order": 1, "cpus": 2, "long": 4}
    zones = {**small, "type": 2, "type1": 2, "type2": 2, "type3": 2, **defaults}
    names = {parameter.name for parameter in OWN}
    return (
        *page_alloc_parameters(**{name: value for name, value in zones.items() if name not in names}),
        *(dataclasses.replace(item, default=defaults.get(item.name, item.default)) for item in OWN),
    )


REQUIREMENTS = (
    *PAGE_ALLOC_REQUIREMENTS,
    OF_ONE_TYPE,
    Requirement(
        lambda sizes: sizes["min_objects"] <= sizes["oo_objects"] <= sizes["slots"],
        "min_objects <= oo_objects <= slots",
    ),
    Requirement(
        lambda sizes: sizes["min_order"] <= sizes["oo_order"] < sizes["orders"], "min_order <= oo_order < orders"
    ),
    Requirement(lambda sizes: sizes["slots"] < 1 << sizes["inuse_bits"], "inuse must hold: slots < 2**inuse_bits"),
    Requirement(
        lambda sizes: sizes["pages"] * sizes["slots"] < 1 << sizes["long"],
        "a counter must hold all objects: pages * slots < 2**long",
    ),
)

TINY = {"pages": 2, "orders": 2, "pageblock_order": 1, "slots": 2, "oo_objects": 2, "min_objects": 2}
LARGE = {
    "zones": 2,
    "nodes": 2,
    "cpus": 4,
    "caches": 4,
    "orders": 8,
    "pageblock_order": 7,
    "pages": 256,
    "start1": 256,
    "pages1": 256,
    "node1": 1,
    "slots": 8,
    "oo_order": 1,
    "oo_objects": 8,
    "min_objects": 4,
    "min_partial": 5,
    "cpu_partial_slabs": 4,
    "known_random_seq": 1,
    "long": 63,
    "inuse_bits": 16,
    "tid_bits": 64,
}
SCOPES: dict[str, dict[str, int]] = {
    "tiny": TINY,
    "four": {"pages": 4, "orders": 3, "pageblock_order": 2},
    "caches": {**TINY, "caches": 2, "min_partial": 2},
    "nodes": {**TINY, "cpus": 1, "zones": 2, "nodes": 2, "start1": 2, "pages1": 2, "node1": 1},
    "fallback": {"pages": 4, "oo_order": 1, "oo_objects": 2, "min_objects": 1, "may_wait": 1},
    "large": LARGE,
}
"""`four` is the default with a page more and a higher order, `caches` has two caches, `nodes` two nodes, in `fallback`
slabs of one page replace those of two, and `large` is for random testing. With two nodes there is one cpu: cpus that
belong to different nodes are not interchangeable."""
