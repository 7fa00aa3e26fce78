"""The page allocator as reclaim sees it: any free frame, against watermarks (Linux 6.1, mm/page_alloc.c).

The one idea: whether a request succeeds, wakes kswapd, reclaims or fails depends on how many frames are free, not on
which. So a request gets any frame that is free, as the world outside chooses, and frames stay interchangeable: none
is before or next to another. It is model/page_alloc.py for order 0, one zone of type Normal and requests for it,
without pcp lists, migrate types and reserves, below the same slow path; that both decide alike is tested. Reclaim runs
in steps of its own between the two parts of the slow path.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .gfp import ALLOC_NO_WATERMARKS, ALLOC_WMARK_MASK, WMARK_LOW, WMARK_MIN, gfp_zone
from .lang import Array, FromScope, Range, choose, indices, require
from .slowpath import PageSource, slowpath_enter, wakeup_kswapd, watermark_min


class FramePool(PageSource):
    """One node with one zone of frames, each free or taken."""

    free: Array[Page, bool]
    nr_free_pages: Annotated[int, Range(0, "frames")]
    watermark_min: Annotated[int, FromScope("watermark_min")]
    watermark_low: Annotated[int, FromScope("watermark_low")]
    watermark_high: Annotated[int, FromScope("watermark_high")]

    def get_page_from_freelist(self, cpu: int, nid: int, gfp: int, order: int, alloc_flags: int) -> Page | None:
        return get_page_from_pool(self, order, alloc_flags)

    def wake_all_kswapds(self, nid: int, gfp: int, order: int) -> None:
        wakeup_kswapd(self, 0, order, gfp_zone(gfp))

    def watermark_ok_after_reclaim(self, nid: int, gfp: int, order: int, alloc_flags: int) -> bool:
        available = self.nr_free_pages + self.zone_reclaimable_pages(0)
        return pool_watermark_ok(available, self.watermark_min, alloc_flags)

    def alloc_pages_slowpath(self, cpu: int, nid: int, gfp: int, order: int) -> Page | None:
        return slowpath_enter(self, cpu, nid, gfp, order)

    def cond_resched(self) -> None:
        """Others run before the next step."""

    def prep_new_frame(self, page: int) -> None:
        """A frame was taken and is to be used (prep_new_page())."""


def boot_pool(pool: FramePool) -> None:
    """All frames are free."""
    for page in indices(pool.free):
        pool.free[page] = True
    pool.nr_free_pages = len(pool.free)


def pool_watermark_ok(free_pages: int, mark: int, alloc_flags: int) -> bool:
    """Whether so many free pages are enough above a mark (__zone_watermark_ok() for order 0)."""
    return free_pages > watermark_min(mark, alloc_flags)


def zone_watermark(pool: FramePool, index: int) -> int:
    """A watermark of the zone (wmark_pages())."""
    if index == WMARK_MIN:
        return pool.watermark_min
    if index == WMARK_LOW:
        return pool.watermark_low
    return pool.watermark_high


def get_page_from_pool(pool: FramePool, order: int, alloc_flags: int) -> Page | None:
    """Take any free frame if there are enough (get_page_from_freelist(), prep_new_page())."""
    assert order == 0, "get_page_from_freelist: only single pages here"
    mark = zone_watermark(pool, alloc_flags & ALLOC_WMARK_MASK)
    if alloc_flags & ALLOC_NO_WATERMARKS == 0 and not pool_watermark_ok(pool.nr_free_pages, mark, alloc_flags):
        return None
    if pool.nr_free_pages == 0:
        return None
    page = choose(indices(pool.free))
    require(pool.free[page])
    pool.free[page] = False
    pool.nr_free_pages -= 1
    pool.prep_new_frame(page)
    return page


def free_frame(pool: FramePool, page: int) -> None:
    """Give a frame back (free_unref_page())."""
    assert not pool.free[page], "free_unref_page: the page is free already"
    pool.free[page] = True
    pool.nr_free_pages += 1
