"""The scope of the whole system: two frames, which slabs of one or two pages, the memory of two tasks and a file share.

The one idea: every part acts with as little as it needs. Two frames make two orders; a page of a task, one of the file
and one of a slab are then together more than there is memory, so that a fork has to reclaim, and a fault, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..model.gfp import GFP_KERNEL, GFP_NOWAIT
from ..model.lang import Parameter, Requirement
from .lru_scope import LRU_DERIVED
from .reclaim_scope import DERIVED as RECLAIM_DERIVED
from .reclaim_scope import PARAMETERS as RECLAIM_PARAMETERS
from .slub_scope import DERIVED as SLUB_DERIVED
from .slub_scope import REQUIREMENTS as SLUB_REQUIREMENTS
from .slub_scope import slub_parameters

Sizes = Mapping[str, int]

SMALL = {
    "pages": 2, "orders": 2, "pageblock_order": 1, "cpus": 1, "long": 4, "costly_order": 3, "reclaim_retries": 1,
    "watermark_scale_factor": 5000,
}

OWN = (
    Parameter("clients", 1, "whether the kernel allocates objects beside those of fork", least=0, most=1),
    Parameter("shrinks", 1, "whether caches are flushed and shrunk", least=0, most=1),
    Parameter("contents", 0, "whether what is in the pages of user memory is kept", least=0, most=1),
)

REPLACED = ("watermark_min", "watermark_low", "watermark_high", "may_wait", "references")
"""What the page allocator computes, or what follows from the rest."""

DEFAULTS = {
    "swap_entries": 1, "requests": 2, "reserves": 0, "mlock": 0, "gfp2": GFP_NOWAIT, "min_partial": 0,
    "cpu_partial_slabs": 0,
}


def system_parameters() -> tuple[Parameter, ...]:
    """The parameters of the slab allocator and the zones, then those of reclaim that are not among them."""
    slabs = {"slots": 2, "oo_order": 1, "oo_objects": 2, "min_objects": 1, "inuse_bits": 2}
    named: dict[str, Parameter] = {}
    for item in (*slub_parameters(**SMALL, **slabs), *RECLAIM_PARAMETERS, *OWN):
        if item.name not in REPLACED and item.name not in named:
            named[item.name] = dataclasses.replace(item, default=DEFAULTS.get(item.name, item.default))
    return tuple(named.values())


PARAMETERS = system_parameters()

FROM_RECLAIM = ("mappings", "references", "isolation_turns", "reclaimers", "failure_bits", *LRU_DERIVED)

DERIVED = {
    **SLUB_DERIVED,
    **{name: RECLAIM_DERIVED[name] for name in FROM_RECLAIM},
    "gfp": lambda sizes: GFP_KERNEL,
    "throttles": lambda sizes: 0,
    "outcomes": lambda sizes: 4 * (sizes["vpages"] + sizes["file_pages"]),
}

REQUIREMENTS = (
    *SLUB_REQUIREMENTS,
    Requirement(lambda sizes: sizes["min_free_pages"] <= 1, "tasks do not wait for reserves here: min_free_pages <= 1"),
    Requirement(lambda sizes: sizes["zones"] == 1, "reclaim has one zone: zones == 1"),
    Requirement(lambda sizes: sizes["cpus"] == 1, "one processor has all steps: cpus == 1"),
)

LEAN = {"clients": 0, "shrinks": 0}

SCOPES: dict[str, dict[str, int]] = {
    "tiny": {"tasks": 1},
    "three": {**LEAN, "pages": 3, "watermark_scale_factor": 3333},
    "four": {**LEAN, "pages": 4, "watermark_scale_factor": 2500},
    "kswapd": {**LEAN, "watch_kswapd": 1},
    "flags": {"tasks": 1, "requests": 3, "shrinks": 0, "caches": 2},
    "pairs": {"shrinks": 0, "oo_order": 0, "min_objects": 2},
    "contents": {**LEAN, "contents": 1},
}
"""`three` and `four` have as many frames, so that slabs of two pages stand beside pages of tasks; in `kswapd` it is
awake beside direct reclaim; `flags` has a second cache, whose objects are also asked for without reclaim; in `pairs` a
slab of one page has two objects, so that another task may install a cpu slab while one reclaims for its own; in
`contents` what is in the pages is kept."""
