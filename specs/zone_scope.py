"""The scope of one zone: how many pages, how many orders, where it starts. Shared by every spec with a zone."""

from __future__ import annotations

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
DERIVED = {"frames": frames}
ONE_TYPE = {
    **DERIVED,
    "migratetypes": lambda sizes: 1,
    "pageblock_order": lambda sizes: sizes["orders"] - 1,
    "pageblocks": lambda sizes: sizes["frames"] >> sizes["pageblock_order"],
    "references": lambda sizes: 1,
    "cma_long": lambda sizes: 1,
}
"""The further sizes of a zone with one migrate type, pageblocks of the top order and no speculative references."""
