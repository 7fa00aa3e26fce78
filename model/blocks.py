"""The abstract page allocator: a set of disjoint blocks, and nothing else.

No free lists, no merging, no policy: what a client may rely on. The buddy allocator refines it (specs/buddy.py).
Eager coalescing shows here as the guard of `refuse`: a request fails only if no aligned run of that size is free.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Order, Page
from .lang import Array, FromScope, Record, action, indices, require


class Blocks(Record):
    """The order of the live block that starts at each page, if one does."""

    zone_start_pfn: Annotated[int, FromScope("first_page")]
    spanned_pages: Annotated[int, FromScope("all_pages")]
    orders: Annotated[int, FromScope("orders")]
    block: Array[Page, Order | None]


def covers(m: Blocks, head: int, page: int) -> bool:
    """Whether the live block that starts at `head`, if one does, contains a page."""
    order = m.block[head]
    return order is not None and head <= page and page < head + (1 << order)


def is_live(m: Blocks, page: int) -> bool:
    """Whether some live block contains a page."""
    return any(covers(m, head, page) for head in indices(m.block))


def run_is_free(m: Blocks, first: int, order: int) -> bool:
    """Whether 2**order pages from `first` lie in the zone and in no live block."""
    if first < m.zone_start_pfn or first + (1 << order) > m.zone_start_pfn + m.spanned_pages:
        return False
    return all(not is_live(m, page) for page in range(first, first + (1 << order)))


def no_blocks(m: Blocks) -> None:
    """At the beginning nothing is live."""


@action
def allocate(m: Blocks, page: Page, order: Order) -> None:
    """A block of 2**order pages becomes live where nothing is live."""
    require(page & ((1 << order) - 1) == 0)
    require(run_is_free(m, page, order))
    m.block[page] = order


@action
def release(m: Blocks, page: Page) -> None:
    """A live block ends."""
    require(m.block[page] is not None)
    m.block[page] = None


@action
def refuse(m: Blocks, order: Order) -> None:
    """A request fails: no aligned run of 2**order pages is free."""
    require(
        all(not run_is_free(m, page, order) for page in indices(m.block) if page & ((1 << order) - 1) == 0)
    )


@action
def shrink(m: Blocks, page: Page, order: Order) -> None:
    """The last pages of a live block become free, and it goes on smaller: what a last reference to its head keeps."""
    live = m.block[page]
    require(live is not None)
    assert live is not None
    require(order <= live)
    m.block[page] = order
