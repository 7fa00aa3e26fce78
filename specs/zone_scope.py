"""The scope of one zone: how many pages, how many orders, where it starts. Shared by every spec with a zone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from ..model.lang import Parameter, Requirement


def frames(sizes: Mapping[str, int]) -> int:
    """Frames that have a struct page: the zone's, rounded up to whole blocks of the top order."""
    block = 1 << (sizes["orders"] - 1)
    return -(-(sizes["start"] + sizes["pages"]) // block) * block


ZONE_PARAMETERS = (
    Parameter("pages", 8, "the number of page frames in the zone (spanned_pages)", least=1, most=1 << 16),
    Parameter("orders", 3, "the number of block orders, 0 to MAX_ORDER - 1", least=1, most=11),
    Parameter("start", 0, "the first page frame of the zone (zone_start_pfn)", least=0, most=1 << 16),
)
REQUIREMENTS = (
    Requirement(
        lambda sizes: 1 << (sizes["orders"] - 1) <= sizes["pages"],
        "a block of the highest order must fit: 2**(orders-1) <= pages",
    ),
)
DERIVED = {
    "frames": frames,
    "zone_pages": lambda sizes: sizes["pages"],
    "first_page": lambda sizes: sizes["start"],
    "all_pages": lambda sizes: sizes["pages"],
}
ONE_TYPE = {
    **DERIVED,
    "migratetypes": lambda sizes: 1,
    "pageblock_order": lambda sizes: sizes["orders"] - 1,
    "pageblocks": lambda sizes: sizes["frames"] >> sizes["pageblock_order"],
    "references": lambda sizes: 1,
    "cma_long": lambda sizes: 1,
    "pcp_slots": lambda sizes: 1,
}
"""The further sizes of a zone with one migrate type, pageblocks of the top order and no speculative references."""

OF_ONE_TYPE = Requirement(
    lambda sizes: sizes["migratetypes"] == 1, "slabs stand on memory of one type here: migratetypes == 1"
)
"""What is said of the pages below slabs (specs/slub.py) is said of one list for each order."""


# --- the page allocator: several zones, nodes, migrate types, pcp lists (model/page_alloc.py)

ZONES_MAX = 4
ZONE_NAMES = ("", "1", "2", "3")
"""What the parameters of zone 0, 1, 2, 3 end in."""


def page_alloc_parameters(**defaults: int) -> tuple[Parameter, ...]:
    """The parameters of a machine with model.page_alloc in it; by default one zone with nothing switched on."""
    parameters = [
        Parameter("zones", 1, "the number of zones, in order of nodes and in a node of types", most=ZONES_MAX),
        Parameter("nodes", 1, "the number of nodes", most=ZONES_MAX),
        Parameter("cpus", 1, "the number of CPUs, dealt out to the nodes in turn", most=64),
        Parameter("orders", 3, "the number of block orders, 0 to MAX_ORDER - 1", most=11),
    ]
    for number, name in enumerate(ZONE_NAMES):
        least = 1 if number == 0 else 0
        pages, most = 8 if number == 0 else 0, 1 << 24
        parameters += [
            Parameter(f"start{name}", 0, f"the first page frame of zone {number} (zone_start_pfn)", least=0, most=most),
            Parameter(f"pages{name}", pages, f"the page frames of zone {number} (spanned_pages)", least, most),
            Parameter(
                f"type{name}", 1, f"the type of zone {number}: 0 DMA, 1 DMA32, 2 Normal, 3 Movable", 0, 3
            ),
            Parameter(f"node{name}", 0, f"the node of zone {number}", least=0, most=ZONES_MAX - 1),
        ]
    parameters += [
        Parameter("migratetypes", 1, "unmovable, movable, reclaimable, highatomic, CMA, isolate: how many", most=6),
        Parameter("pageblock_order", 2, "the order of a pageblock", least=0, most=10),
        Parameter("cma_pageblocks", 0, "pageblocks at the end of the last zone that are CMA", least=0, most=1 << 12),
        Parameter("isolation", 0, "1 + the type that isolated pageblocks get back; 0 for no isolation", 0, 3),
        Parameter("references", 1, "the most references a page has", most=1 << 16),
        Parameter("long", 8, "the bits of the kernel's long, in which counters wrap", least=1, most=64),
        Parameter("min_free_pages", 0, "pages to be kept free (vm.min_free_kbytes)", least=0, most=1 << 24),
        Parameter("watermark_scale_factor", 0, "the distance of watermarks (vm.watermark_scale_factor)", 0, 10000),
        Parameter("watermark_boost_factor", 0, "the boost of watermarks (vm.watermark_boost_factor)", 0, 1 << 16),
        Parameter("lowmem_reserve_ratio", 0, "vm.lowmem_reserve_ratio of every zone; 0: no reserve", 0, 1 << 16),
        Parameter("pcp_orders", 0, "orders with pcp lists, from 0; 0 switches the lists off", least=0, most=4),
        Parameter("pcp_thp", 0, "whether pageblocks have pcp lists too", least=0, most=1),
        Parameter("pcp_high", 2, "the pages from which on a CPU gives some back (pcp->high)", least=0, most=1 << 16),
        Parameter("pcp_batch", 1, "the blocks a CPU takes at once (pcp->batch)", least=1, most=1 << 12),
        Parameter("pcp_batch_scale_max", 0, "CONFIG_PCP_BATCH_SCALE_MAX", least=0, most=6),
        Parameter("costly_order", 3, "PAGE_ALLOC_COSTLY_ORDER", least=0, most=10),
        Parameter("reclaim_retries", 0, "MAX_RECLAIM_RETRIES", least=0, most=16),
        Parameter("watch_kswapd", 0, "whether requests to kswapd are recorded", least=0, most=1),
    ]
    known = {parameter.name for parameter in parameters}
    unknown = defaults.keys() - known
    assert not unknown, unknown
    return tuple(
        dataclasses.replace(parameter, default=defaults.get(parameter.name, parameter.default))
        for parameter in parameters
    )


def _zones(sizes: Mapping[str, int]) -> list[tuple[int, int, int, int]]:
    """(first frame, end, node, type) of each zone."""
    return [
        (
            sizes[f"start{name}"],
            sizes[f"start{name}"] + sizes[f"pages{name}"],
            sizes[f"node{name}"],
            sizes[f"type{name}"],
        )
        for name in ZONE_NAMES[: sizes["zones"]]
    ]


def _span(zone: tuple[int, int, int, int]) -> int:
    return zone[1] - zone[0]


def _all_frames(sizes: Mapping[str, int]) -> int:
    block = 1 << (sizes["orders"] - 1)
    return -(-max(end for _, end, _, _ in _zones(sizes)) // block) * block


def _disjoint(sizes: Mapping[str, int]) -> bool:
    spans = sorted((start, end) for start, end, _, _ in _zones(sizes))
    return all(start < end for start, end in spans) and all(
        end <= start for (_, end), (start, _) in itertools.pairwise(spans)
    )


def _ordered(sizes: Mapping[str, int]) -> bool:
    places = [(node, kind) for _, _, node, kind in _zones(sizes)]
    return places == sorted(set(places)) and {node for node, _ in places} == set(range(sizes["nodes"]))


def _managed(sizes: Mapping[str, int]) -> int:
    return sum(end - start for start, end, _, _ in _zones(sizes))


def _first_cma(sizes: Mapping[str, int]) -> int:
    """The first frame of the CMA pageblocks; boot frees whole blocks, which must be of one type."""
    return _zones(sizes)[-1][1] - (sizes["cma_pageblocks"] << sizes["pageblock_order"])


def _pcp_pages(sizes: Mapping[str, int]) -> int:
    """Pages a CPU can have on its lists: fewer than `high` after a free, and what refills of each list leave."""
    if sizes["pcp_orders"] == 0 and sizes["pcp_thp"] == 0:
        return 1
    top = sizes["pageblock_order"] if sizes["pcp_thp"] else sizes["pcp_orders"] - 1
    batch = max(sizes["pcp_batch"], 2) if sizes["pcp_batch"] > 1 else 1
    refill = sizes["pcp_lists"] * (batch - 1) << top
    return min(sizes["frames"], sizes["pcp_high"] + refill + (1 << top))


PAGE_ALLOC_REQUIREMENTS = (
    Requirement(_disjoint, "zones have pages and do not overlap"),
    Requirement(_ordered, "zones come in order of nodes, and of types in a node; every node has a zone"),
    Requirement(
        lambda sizes: 1 << (sizes["orders"] - 1) <= max(end - start for start, end, _, _ in _zones(sizes)),
        "a block of the highest order must fit into a zone: 2**(orders-1) <= pages",
    ),
    Requirement(lambda sizes: sizes["pageblock_order"] < sizes["orders"], "pageblock_order < orders"),
    Requirement(lambda sizes: sizes["pcp_orders"] <= sizes["orders"], "pcp_orders <= orders"),
    Requirement(
        lambda sizes: not sizes["pcp_thp"] or sizes["pageblock_order"] >= sizes["pcp_orders"],
        "pageblocks have pcp lists of their own: pageblock_order >= pcp_orders",
    ),
    Requirement(
        lambda sizes: sizes["pcp_high"] >= 2 * sizes["pcp_batch"] or sizes["pcp_high"] == 0,
        "pcp_high is 0 or at least twice pcp_batch (zone_highsize())",
    ),
    Requirement(
        lambda sizes: _managed(sizes) < 1 << (sizes["long"] - 1), "a counter must hold all pages: pages < 2**(long-1)"
    ),
    Requirement(
        lambda sizes: sizes["cma_pageblocks"] == 0 or sizes["migratetypes"] > 4, "CMA pageblocks need migratetypes > 4"
    ),
    Requirement(
        lambda sizes: sizes["isolation"] == 0 or sizes["migratetypes"] > 5, "isolation needs migratetypes > 5"
    ),
    Requirement(
        lambda sizes: sizes["cma_pageblocks"] << sizes["pageblock_order"] <= _span(_zones(sizes)[-1]),
        "the CMA pageblocks lie in the last zone",
    ),
    Requirement(
        lambda sizes: sizes["cma_pageblocks"] == 0 or _first_cma(sizes) % (1 << (sizes["orders"] - 1)) == 0,
        "the CMA pageblocks begin at a multiple of 2**(orders-1)",
    ),
)

PAGE_ALLOC_DERIVED = {
    "frames": _all_frames,
    "zone_pages": lambda sizes: max(end - start for start, end, _, _ in _zones(sizes)),
    "first_page": lambda sizes: min(start for start, _, _, _ in _zones(sizes)),
    "all_pages": lambda sizes: max(end for _, end, _, _ in _zones(sizes)) - sizes["first_page"],
    "pageblocks": lambda sizes: -(-sizes["frames"] >> sizes["pageblock_order"]),
    "pageblock_pages": lambda sizes: 1 << sizes["pageblock_order"],
    "pcp_types": lambda sizes: min(sizes["migratetypes"], 3),
    "pcp_lists": lambda sizes: max(sizes["pcp_types"] * sizes["pcp_orders"] + 2 * sizes["pcp_thp"], 1),
    "pcp_slots": lambda sizes: sizes["pcp_lists"] * sizes["cpus"],
    "pcp_pages": _pcp_pages,
    "slowpath_turns": lambda sizes: (
        2 * sizes["reclaim_retries"] + 3 + (sizes["pageblocks"] if sizes["migratetypes"] > 3 else 0)
    ),
    "cma_long": lambda sizes: sizes["long"] if sizes["migratetypes"] > 4 else 1,
}
