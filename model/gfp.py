"""Allocation flags: gfp_t as callers write it, ALLOC_* as the page allocator turns it (Linux 6.1).

The one idea: flags are plain integers with the kernel's values, so that a recorded `gfp_flags` and a request of the
model are the same number. Sources: include/linux/gfp_types.h, gfp.h, mmzone.h (x86-64 without CONFIG_LOCKDEP) and
mm/internal.h. The names with two underscores are the kernel's single bits; those without are what callers use.
"""

from __future__ import annotations

# --- enum zone_type (include/linux/mmzone.h)

ZONE_DMA = 0
ZONE_DMA32 = 1
ZONE_NORMAL = 2
ZONE_MOVABLE = 3
MAX_NR_ZONES = 4

# --- gfp_t, one bit each

__GFP_DMA = 0x01
__GFP_HIGHMEM = 0x02
__GFP_DMA32 = 0x04
__GFP_MOVABLE = 0x08
__GFP_RECLAIMABLE = 0x10
__GFP_HIGH = 0x20
__GFP_IO = 0x40
__GFP_FS = 0x80
__GFP_ZERO = 0x100
__GFP_ATOMIC = 0x200
__GFP_DIRECT_RECLAIM = 0x400
__GFP_KSWAPD_RECLAIM = 0x800
__GFP_WRITE = 0x1000
__GFP_NOWARN = 0x2000
__GFP_RETRY_MAYFAIL = 0x4000
__GFP_NOFAIL = 0x8000
__GFP_NORETRY = 0x10000
__GFP_MEMALLOC = 0x20000
__GFP_COMP = 0x40000
__GFP_NOMEMALLOC = 0x80000
__GFP_HARDWALL = 0x100000
__GFP_THISNODE = 0x200000
__GFP_ACCOUNT = 0x400000
__GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM
GFP_ZONEMASK = __GFP_DMA | __GFP_HIGHMEM | __GFP_DMA32 | __GFP_MOVABLE
GFP_MOVABLE_MASK = __GFP_RECLAIMABLE | __GFP_MOVABLE
GFP_MOVABLE_SHIFT = 3
GFP_BITS = 25
"""gfp_t has this many bits (__GFP_BITS_SHIFT without CONFIG_LOCKDEP, whose bits 23 and up concern no allocator)."""

# --- what callers use

GFP_ATOMIC = __GFP_HIGH | __GFP_ATOMIC | __GFP_KSWAPD_RECLAIM
GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS
GFP_KERNEL_ACCOUNT = GFP_KERNEL | __GFP_ACCOUNT
GFP_NOWAIT = __GFP_KSWAPD_RECLAIM
GFP_NOIO = __GFP_RECLAIM
GFP_NOFS = __GFP_RECLAIM | __GFP_IO
GFP_USER = __GFP_RECLAIM | __GFP_IO | __GFP_FS | __GFP_HARDWALL
GFP_DMA = __GFP_DMA
GFP_DMA32 = __GFP_DMA32
GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | __GFP_MOVABLE
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOMEMALLOC | __GFP_NOWARN) & ~__GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM

# --- ALLOC_* (mm/internal.h); the watermark bits are an index into zone->_watermark

WMARK_MIN = 0
WMARK_LOW = 1
WMARK_HIGH = 2
ALLOC_WMARK_MIN = WMARK_MIN
ALLOC_WMARK_LOW = WMARK_LOW
ALLOC_WMARK_HIGH = WMARK_HIGH
ALLOC_NO_WATERMARKS = 0x04
ALLOC_WMARK_MASK = ALLOC_NO_WATERMARKS - 1
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_CPUSET = 0x40
ALLOC_CMA = 0x80
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

PAGE_ALLOC_COSTLY_ORDER = 3
MAX_RECLAIM_RETRIES = 16


def gfp_zone(gfp: int) -> int:
    """The highest zone type a request may take pages from (gfp_zone(): GFP_ZONE_TABLE; no highmem on 64 bits)."""
    if gfp & __GFP_DMA != 0:
        return ZONE_DMA
    if gfp & __GFP_DMA32 != 0:
        return ZONE_DMA32
    if gfp & __GFP_HIGHMEM != 0 and gfp & __GFP_MOVABLE != 0:
        return ZONE_MOVABLE
    return ZONE_NORMAL


def gfp_migratetype(gfp: int) -> int:
    """The migrate type a request asks for (gfp_migratetype()): 0 unmovable, 1 movable, 2 reclaimable."""
    assert gfp & GFP_MOVABLE_MASK != GFP_MOVABLE_MASK, "gfp_migratetype: both __GFP_MOVABLE and __GFP_RECLAIMABLE"
    return (gfp & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT


def gfp_to_alloc_flags_cma(gfp: int, alloc_flags: int) -> int:
    """Movable requests may use the contiguous memory allocator's pages (gfp_to_alloc_flags_cma())."""
    if gfp_migratetype(gfp) == 1:
        return alloc_flags | ALLOC_CMA
    return alloc_flags


def gfp_to_alloc_flags(gfp: int, order: int) -> int:
    """The reserves the slow path may dip into (gfp_to_alloc_flags()); no realtime tasks here."""
    alloc_flags = ALLOC_WMARK_MIN | ALLOC_CPUSET
    alloc_flags |= gfp & (__GFP_HIGH | __GFP_KSWAPD_RECLAIM)
    if gfp & __GFP_DIRECT_RECLAIM == 0:
        if gfp & __GFP_NOMEMALLOC == 0:
            alloc_flags |= ALLOC_NON_BLOCK
            if order > 0 and alloc_flags & ALLOC_MIN_RESERVE != 0:
                alloc_flags |= ALLOC_HIGHATOMIC
        if alloc_flags & ALLOC_MIN_RESERVE != 0:
            alloc_flags &= ~ALLOC_CPUSET
    return gfp_to_alloc_flags_cma(gfp, alloc_flags)


def gfp_compaction_allowed(gfp: int) -> bool:
    """Whether the request may compact memory (gfp_compaction_allowed())."""
    return gfp & __GFP_IO != 0
