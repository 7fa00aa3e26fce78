"""The abstract page allocator as a specification of its own (model/blocks.py)."""

from __future__ import annotations

from ..model.blocks import Blocks, allocate, covers, no_blocks, refuse, release, shrink
from ..model.lang import Clauses, Spec, clause, indices, invariant
from .zone_scope import DERIVED, REQUIREMENTS, ZONE_PARAMETERS


@invariant("B3", origin="(none in the kernel; CN page_group_ok on pKVM's allocator)")
def live_blocks_disjoint(m: Blocks) -> Clauses:
    """Live blocks do not overlap: no page is in two of them."""
    for page in indices(m.block):
        owners = sum(1 for head in indices(m.block) if covers(m, head, page))
        yield clause("a page is in at most one live block", owners <= 1, page)


@invariant("B2", origin="bad_range()")
def live_blocks_in_zone(m: Blocks) -> Clauses:
    """Live blocks lie in the zone."""
    for page in indices(m.block):
        order = m.block[page]
        if order is not None:
            inside = page >= m.zone_start_pfn and page + (1 << order) <= m.zone_start_pfn + m.spanned_pages
            yield clause("a live block lies in the zone", inside, page)


SPEC = Spec(
    name="blocks",
    state=Blocks,
    init=no_blocks,
    actions=(allocate, release, refuse, shrink),
    properties=(live_blocks_disjoint, live_blocks_in_zone),
    parameters=ZONE_PARAMETERS,
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes={"odd": {"pages": 6, "orders": 3}},
    explored=("odd",),
    doc=__doc__,
)
