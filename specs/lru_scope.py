"""The scope of the LRU lists: how many folios, how wide the counters, and what of the machine is switched on.

The one idea: what the lists are like depends on few folios and little of what happens to them at a time; the default
scope has what most of the invariants are about, and the further ones switch the rest on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..model.lang import Parameter, Requirement

Sizes = Mapping[str, int]


def sqrt_turns(sizes: Sizes) -> int:
    """The pairs of bits of 10 * gb, of which inactive_is_low() takes the root."""
    return max(1, (((10 * sizes["pages"]) >> sizes["gigabyte_order"]).bit_length() + 1) // 2)


def cost_rest(sizes: Sizes) -> int:
    """The most that costs are when lru_note_cost() has halved them."""
    return max(sizes["pages"] // 4, sizes["swap_cluster_max"])


LRU_DERIVED = {
    "shadow_max": lambda sizes: (1 << (sizes["eviction_bits"] + 1)) - 1,
    "sqrt_turns": sqrt_turns,
    "cost_rest": cost_rest,
    "cost_max": lambda sizes: cost_rest(sizes) + sizes["swap_cluster_max"],
    "scan_max": lambda sizes: sizes["pages"] + sizes["swap_cluster_max"],
}
"""Further sizes of every machine with model.lru in it. `pages` is the number of its frames that may be on a list."""

LRU_PARAMETERS = (
    Parameter("pages", 2, "the number of page frames", least=1, most=1 << 20),
    Parameter("cpus", 2, "the number of CPUs, each with its batches", least=1, most=64),
    Parameter("pagevec_size", 2, "the folios of a batch (PAGEVEC_SIZE)", least=1, most=31),
    Parameter("swap_cluster_max", 2, "the folios that are isolated at a time (SWAP_CLUSTER_MAX)", least=1, most=64),
    Parameter("long", 3, "the bits of the kernel's long, in which counters wrap", least=1, most=64),
    Parameter("age_bits", 2, "the bits of the age of the lists", least=1, most=64),
    Parameter("eviction_bits", 2, "the bits of the age that a shadow keeps", least=1, most=62),
    Parameter("bucket_order", 0, "the low bits of the age that a shadow drops", least=0, most=63),
    Parameter("gigabyte_order", 1, "the pages of a gigabyte as a power of two, for inactive_is_low()", 0, 62),
    Parameter("swappiness", 60, "vm.swappiness", least=0, most=200),
    Parameter("mlocks", 2, "how many areas lock a folio at most", least=1, most=1 << 10),
)
"""The parameters of model/folio.py's records; of Folio's references each machine has its own."""

DERIVED = {
    "frames": lambda sizes: sizes["pages"],
    **LRU_DERIVED,
    "references": lambda sizes: sizes["most_references"] + 2,
    "isolation_turns": lambda sizes: sizes["swap_cluster_max"] + (sizes["pages"] if sizes["zones"] > 1 else 0),
    "zonenum_max": lambda sizes: sizes["zones"] - 1,
}

PARAMETERS = (
    *LRU_PARAMETERS,
    Parameter("mappings", 1, "the page table entries of a folio that are looked at", least=1, most=1 << 10),
    Parameter("most_references", 3, "the references to a folio with which a client takes no further one", 2, 1 << 10),
    Parameter("most_queued", 2, "the folios in batches with which a client does not add one", 1, 1 << 20),
    Parameter("mapping_slots", 1, "the slots of a mapping, for folios and shadows", least=1, most=1 << 16),
    Parameter("priority_most", 1, "the highest priority that is asked for", least=0, most=12),
    Parameter("zones", 1, "the zones that frames may be in", least=1, most=4),
    Parameter("high_wmark", 1, "the high watermark of the node", least=0, most=1 << 20),
    Parameter("swap", 1, "whether there is swap space", least=0, most=1),
    Parameter("with_advice", 0, "whether clients give advice: cold, free, invalidate, rotate", least=0, most=1),
    Parameter("with_mlock", 1, "whether folios are mlocked", least=0, most=1),
    Parameter("with_migration", 0, "whether folios are isolated for migration", least=0, most=1),
    Parameter("with_reclaim", 1, "whether there is a reclaimer", least=0, most=1),
    Parameter("with_young", 0, "whether folios are used through page tables", least=0, most=1),
    Parameter("with_io", 0, "whether folios are locked, mapped, dirty and written", least=0, most=1),
    Parameter("with_shadows", 0, "whether folios are in a mapping, and leave shadows there", least=0, most=1),
    Parameter("with_contention", 0, "whether the locks of the page tables may be taken", least=0, most=1),
    Parameter("with_whole", 0, "whether lists are also shrunk in one step", least=0, most=1),
    Parameter("force_deactivate", 0, "whether active lists are shrunk in any case", least=0, most=1),
)

REQUIREMENTS = (
    Requirement(
        lambda sizes: sizes["pages"] < 1 << sizes["long"], "a counter must hold all folios: pages < 2**long"
    ),
    Requirement(
        lambda sizes: sizes["eviction_bits"] + sizes["bucket_order"] <= sizes["age_bits"],
        "a shadow's age is part of the age: eviction_bits + bucket_order <= age_bits",
    ),
)

SMALL = {"with_mlock": 0, "with_reclaim": 0}
LARGE = {
    "pages": 200,
    "cpus": 4,
    "pagevec_size": 15,
    "swap_cluster_max": 32,
    "long": 63,
    "age_bits": 63,
    "eviction_bits": 45,
    "gigabyte_order": 5,
    "mlocks": 100,
    "mappings": 4,
    "most_references": 100,
    "most_queued": 1000,
    "mapping_slots": 50,
    "priority_most": 12,
    "zones": 3,
    "high_wmark": 20,
    "with_advice": 1,
    "with_migration": 1,
    "with_young": 1,
    "with_io": 1,
    "with_shadows": 1,
    "with_contention": 1,
    "with_whole": 1,
}
SCOPES: dict[str, dict[str, int]] = {
    "young": {"with_mlock": 0, "with_young": 1, "with_contention": 1, "mappings": 2},
    "three": {"pages": 3, "cpus": 1, "with_mlock": 0, "gigabyte_order": 0},
    "migration": {"with_migration": 1, "with_reclaim": 0},
    "advice": {"with_advice": 1, "with_reclaim": 0},
    "whole": {
        **SMALL, "cpus": 1, "with_advice": 1, "with_migration": 1, "with_young": 1, "with_whole": 1, "most_queued": 1
    },
    "io": {**SMALL, "cpus": 1, "with_io": 1, "with_advice": 1},
    "pageout": {"cpus": 1, "with_mlock": 0, "with_io": 1, "swappiness": 0, "high_wmark": 2},
    "refault": {"cpus": 1, "with_mlock": 0, "with_shadows": 1},
    "noswap": {"cpus": 1, "with_mlock": 0, "with_shadows": 1, "swap": 0, "most_queued": 1},
    "zones": {"cpus": 1, "with_mlock": 0, "pages": 3, "zones": 2, "swap": 0, "force_deactivate": 1, "most_queued": 1},
    "large": LARGE,
}
"""`three` has lists with a middle; the others switch on what their names say; `large` is for random testing, with
counters as wide as the kernel's."""


def lru_parameters(**defaults: int) -> tuple[Parameter, ...]:
    """The parameters of model/folio.py's records, with other defaults."""
    return tuple(dataclasses.replace(item, default=defaults.get(item.name, item.default)) for item in LRU_PARAMETERS)
