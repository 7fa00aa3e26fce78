"""The page allocator proper: numbers worked out by hand from mm/page_alloc.c, and the searches of its scopes."""

from __future__ import annotations

import pytest
from kmemspec.model.buddy import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kmemspec.model.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_MIN,
    GFP_ATOMIC,
    GFP_DMA,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_TRANSHUGE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    gfp_migratetype,
    gfp_to_alloc_flags,
    gfp_zone,
)
from kmemspec.model.lang.errors import ScopeError
from kmemspec.model.lang.records import Store
from kmemspec.model.page_alloc import (
    PageAllocator,
    boot,
    fallback_type,
    free_pages,
    nr_pcp_free,
    order_to_pindex,
    zonelist_zone,
)
from kmemspec.model.slowpath import alloc_pages, watermark_min
from kmemspec.proofs.explore import explore
from kmemspec.specs.loading import load
from kmemspec.specs.zone import SPEC

REAL_PCP = (
    "zones=1,pages=1024,orders=11,pageblock_order=9,migratetypes=3,type=1,long=63,references=1,pcp_orders=4,pcp_thp=1"
)


def booted(scope: str) -> PageAllocator:
    pages = PageAllocator(Store(SPEC.scope(scope)))
    boot(pages)
    return pages


def test_flags_are_those_of_the_kernel() -> None:
    """The values that a recorded trace prints, and what gfp_zone() and gfp_to_alloc_flags() make of them."""
    assert (GFP_KERNEL, GFP_ATOMIC, GFP_HIGHUSER_MOVABLE, GFP_TRANSHUGE) == (0xCC0, 0xA20, 0x100CCA, 0x1C24CA)
    assert [gfp_zone(gfp) for gfp in (GFP_DMA, 0x4, GFP_KERNEL, GFP_HIGHUSER_MOVABLE)] == [
        ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE,
    ]
    assert [gfp_migratetype(gfp) for gfp in (GFP_KERNEL, GFP_HIGHUSER_MOVABLE, 0x10)] == [0, 1, 2]
    atomic = ALLOC_WMARK_MIN | ALLOC_MIN_RESERVE | ALLOC_KSWAPD | ALLOC_NON_BLOCK
    assert gfp_to_alloc_flags(GFP_ATOMIC, 0) == atomic
    assert gfp_to_alloc_flags(GFP_ATOMIC, 1) == atomic | ALLOC_HIGHATOMIC


@pytest.mark.parametrize(
    ("alloc_flags", "expected"),
    [
        (0, 64),
        (ALLOC_MIN_RESERVE, 32),
        (ALLOC_NON_BLOCK, 64),
        (ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, 24),
        (ALLOC_OOM, 32),
        (ALLOC_MIN_RESERVE | ALLOC_OOM, 16),
    ],
)
def test_reserves_lower_the_mark(alloc_flags: int, expected: int) -> None:
    assert watermark_min(64, alloc_flags) == expected


def test_watermarks_are_shared_out_by_size() -> None:
    """400 pages kept free in zones of 1000 and 3000: shared by size; the gap is min/4, or 0.1% of the zone."""
    sizes = "pages=1000,start1=1000,pages1=3000,orders=3,long=63,min_free_pages=400,lowmem_reserve_ratio=32"
    pages = booted(sizes + ",watermark_scale_factor=10,type=0,type1=1")
    marks = [[pages.zone[z].watermark[index] for index in (WMARK_MIN, WMARK_LOW, WMARK_HIGH)] for z in (0, 1)]
    assert marks == [[100, 125, 150], [300, 375, 450]]
    assert [pages.zone[0].lowmem_reserve[kind] for kind in range(4)] == [0, 93, 93, 93]
    assert [pages.zone[1].lowmem_reserve[kind] for kind in range(4)] == [0, 0, 0, 0]


def test_frees_in_a_row_double_what_a_cpu_gives_back() -> None:
    """batch 3, high 14: 3, then 6, then 12 cut down to high - batch; all of it for blocks of several pages."""
    pages = booted(REAL_PCP + ",pcp_batch=3,pcp_high=14,pcp_batch_scale_max=5")
    pcp = pages.zone[0].per_cpu_pageset[0]
    assert [nr_pcp_free(pages, pcp, 14, 3, False) for _ in range(4)] == [3, 6, 11, 11]
    assert pcp.free_factor == 2
    pcp.count = 5
    assert nr_pcp_free(pages, pcp, 0, 3, True) == 5
    assert nr_pcp_free(pages, pcp, 2, 3, False) == 1


@pytest.mark.parametrize(("order", "blocks"), [(0, 7), (1, 3), (2, 2), (3, 2)])
def test_a_refill_takes_a_batch_scaled_by_the_order(order: int, blocks: int) -> None:
    """max(batch >> order, 2) blocks for a batch of 7; the head of the list is the first that was taken."""
    pages = booted(REAL_PCP + ",pcp_batch=7,pcp_high=63")
    first = alloc_pages(pages, 0, None, GFP_HIGHUSER_MOVABLE, order)
    assert first is not None
    assert pages.zone[0].per_cpu_pageset[0].count == (blocks - 1) << order
    assert pages.zone[0].nr_free_pages == 1024 - (blocks << order)
    assert alloc_pages(pages, 0, None, GFP_HIGHUSER_MOVABLE, order) == first + (1 << order)


def test_pcp_lists_are_by_order_and_type() -> None:
    pages = booted(REAL_PCP)
    assert order_to_pindex(pages, MIGRATE_RECLAIMABLE, 0) == 2
    assert order_to_pindex(pages, MIGRATE_MOVABLE, 3) == 10
    assert [order_to_pindex(pages, kind, 9) for kind in range(3)] == [12, 13, 12]
    assert len(pages.zone[0].per_cpu_pageset[0].lists) == 14


def test_a_page_freed_last_is_given_first() -> None:
    pages = booted(REAL_PCP + ",pcp_batch=7,pcp_high=63")
    one = alloc_pages(pages, 0, None, GFP_KERNEL, 0)
    two = alloc_pages(pages, 0, None, GFP_KERNEL, 0)
    assert one is not None
    assert two is not None
    free_pages(pages, 0, two, 0)
    free_pages(pages, 0, one, 0)
    assert alloc_pages(pages, 0, None, GFP_KERNEL, 0) == one
    assert alloc_pages(pages, 0, None, GFP_KERNEL, 0) == two


def test_types_fall_back_in_the_order_of_the_kernel() -> None:
    expected = {
        MIGRATE_UNMOVABLE: [MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE],
        MIGRATE_MOVABLE: [MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE],
        MIGRATE_RECLAIMABLE: [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE],
    }
    for kind, fallbacks in expected.items():
        assert [fallback_type(kind, choice) for choice in range(2)] == fallbacks


def test_zonelists_go_through_the_near_node_first_and_down_in_a_node() -> None:
    """Zones 0 (DMA) and 1 (Normal) on node 0, zone 2 (Normal) on node 1."""
    pages = booted("nodes,type=0")

    def zonelist(nid: int, gfp: int) -> list[int | None]:
        return [zonelist_zone(pages, nid, gfp, position) for position in range(3)]

    assert zonelist(0, GFP_KERNEL) == [1, 0, 2]
    assert zonelist(1, GFP_KERNEL) == [2, 1, 0]
    assert zonelist(1, GFP_DMA) == [0, None, None]
    assert zonelist(1, GFP_KERNEL | 0x200000) == [2, None, None]


COUNTS = {
    "default": (1_592, 11_927),
    "references": (140_018, 2_730_200),
    "types": (3_600, 58_789),
    "isolate": (54_075, 515_277),
}
"""States and transitions: a change of the model shows here first."""


@pytest.mark.parametrize(
    "scope", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in COUNTS if name != "default")]
)
def test_every_property_holds_in_all_reachable_states(scope: str) -> None:
    loaded = load("zone")
    found = explore(loaded.program, loaded.spec.scope(scope), spec="zone")
    assert {verdict.outcome.name for verdict in found.verdicts} == {"HOLDS"}
    assert (found.states, found.transitions) == COUNTS[scope]


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("start1=0", "zones have pages and do not overlap"),
        ("type=2,type1=1", "zones come in order of nodes"),
        ("nodes=2", "every node has a zone"),
        ("pageblock_order=2", "pageblock_order < orders"),
        ("pcp_batch=2", "twice pcp_batch"),
        ("long=3", "pages < 2"),
        ("cma_pageblocks=1", "CMA pageblocks need"),
        ("isolation=1", "isolation needs"),
        ("orders=5", "must fit into a zone"),
    ],
)
def test_scopes_that_make_no_sense_are_refused(scope: str, reason: str) -> None:
    with pytest.raises(ScopeError) as caught:
        SPEC.scope(scope)
    assert reason in f"{caught.value.message} {caught.value.remedy}"
