"""What every trace of a kernel's memory events must keep, and why it cannot always be told: all as data.

The one idea: a report says nothing about a clause or a reason that is not written here; the checks refer to both by
name. What is exact and what is an artefact was measured on recordings of Linux 6.1 (kmem, vmscan and pagemap events).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..contracts.contract import Clause
from ..recorded import tally, vmscan
from ..recorded.lru_comparison import NAMELESS, SHRINKING
from ..snapshot.file_check import AT_WORK, ONE_BY_ONE

TIME = Clause("time", "the time of one CPU's events never goes back")
NUMBERS = Clause("numbers", "an order is 0 to 10, and no number of pages or bytes is out of all proportion")
ALIGNED = Clause("aligned", "the first page of a block of order k is a multiple of 2**k")
MIGRATETYPE = Clause("migratetype", "a page's migrate type is the one that its gfp flags ask for")
STRUCT_PAGE = Clause("struct-page", "the address of a page and its frame number name one page")
OVERLAP = Clause("page-alloc", "an allocated block has no page that is in use")
FREED = Clause("page-free", "a freed page is in use")
WHOLE = Clause("page-order", "a block is freed with the order it was allocated with, or in parts after it was split")
BATCHED = Clause("page-batched", "mm_page_free_batched repeats, once, an mm_page_free of its page")
TAKEN = Clause("block-taken", "a block that leaves the free lists has no page in use")
DRAINED = Clause("page-drained", "a page that leaves a per-CPU list is not in use")
LRU = Clause("lru-page", "a page that comes to the LRU, is activated or written, is in use")
SIZE = Clause("object-size", "an object has at least the bytes that were asked for")
OBJECT = Clause("object-alloc", "an allocated object was free")
OBJECT_FREED = Clause("object-free", "a freed object is allocated")
CACHE = Clause("cache-size", "all objects freed to a cache of one name have one size")
SPACING = Clause("slab-spacing", "objects in one page are of one size, and a whole number of objects apart")
SLAB_PAGE = Clause("slab-page", "an object is allocated in pages that are in use")
SLAB_FREED = Clause("slab-free", "a page is freed only when no object in it is allocated")

VMSCAN: Mapping[str, Clause] = {
    row: Clause(name, row)
    for name, row in (
        ("isolate-taken", vmscan.TAKEN), ("isolate-requested", vmscan.REQUESTED), ("isolate-cluster", vmscan.CLUSTER),
        ("isolate-reclaim", vmscan.OF_RECLAIM), ("isolate-shrink", vmscan.FOLLOWED),
        ("inactive-outcomes", vmscan.OUTCOMES), ("inactive-kinds", vmscan.KINDS), ("active-sum", vmscan.ACTIVE),
        ("active-referenced", vmscan.REFERENCED), ("written", vmscan.WRITTEN), ("priority", vmscan.PRIORITY),
        ("direct-nested", vmscan.NESTED), ("direct-sum", vmscan.SUM), ("kswapd", vmscan.KSWAPD),
    )
}  # fmt: skip
"""The relations between the events of reclaim, by the row of `recorded.vmscan` that checks them."""

_PAGES = ("mm_page_alloc", "mm_page_free", "mm_page_free_batched", "mm_page_alloc_zone_locked", "mm_page_pcpu_drain")
_ALLOCATED = ("kmalloc", "kmem_cache_alloc")

CHECKED: Mapping[Clause, tuple[str, ...]] = {
    NUMBERS: (*_PAGES, *_ALLOCATED, "kfree", "kmem_cache_free", "mm_lru_insertion", "mm_lru_activate"),
    ALIGNED: _PAGES,
    MIGRATETYPE: ("mm_page_alloc",),
    STRUCT_PAGE: _PAGES,
    OVERLAP: ("mm_page_alloc", "page_bulk_alloc"),
    FREED: ("mm_page_free",),
    WHOLE: ("mm_page_free",),
    BATCHED: ("mm_page_free_batched",),
    TAKEN: ("mm_page_alloc_zone_locked",),
    DRAINED: ("mm_page_pcpu_drain",),
    LRU: ("mm_lru_insertion", "mm_lru_activate"),
    SIZE: _ALLOCATED,
    OBJECT: _ALLOCATED,
    OBJECT_FREED: ("kfree", "kmem_cache_free"),
    CACHE: ("kmem_cache_free",),
    SPACING: _ALLOCATED,
    SLAB_PAGE: _ALLOCATED,
    SLAB_FREED: ("mm_page_free",),
}
"""The clauses about single events, with the events that each is checked on."""

TEXT_CLAUSES = (TIME, *CHECKED, *VMSCAN.values())

SNAP_COUNTS = Clause("snapshot-counters", "vmstat's counters grow by what the events between two snapshots add up to")
SNAP_LIVE = Clause("snapshot-in-use", "no page that is in use by the events is free in kpageflags")
SNAP_OBJECTS = Clause("snapshot-objects", "a page with objects in use by the events is a slab's in kpageflags")
SNAP_UNUSED = Clause("snapshot-unused", "a page that is free by the events is not on the LRU, a slab's or mapped")
CPUS = Clause("cpus", "events are of the CPUs that the state has")
SNAPSHOT_CLAUSES = (SNAP_COUNTS, SNAP_LIVE, SNAP_OBJECTS, SNAP_UNUSED)


@dataclass(frozen=True)
class Reason:
    """Why something that looks wrong need not be: `probes` are events that, where all of them are recorded, leave no
    room for this reason."""

    text: str
    probes: tuple[str, ...] = ()


BEFORE = Reason("in use since before the trace began, or given out at boot by memblock")
LOST = Reason("events were lost")
TIE = Reason("the clock does not tell which of two CPUs was first")
SWITCHED_ON = Reason("no event of the missing kind had been seen yet: it may have been switched on later")
PAGES_UNSEEN = Reason(
    "bulk allocation and compaction take pages with no event", ("page_bulk_alloc", "isolate_free_ret")
)
SPLIT = Reason("a block may be split with no event (split_page())", ("split_page",))
HUGE_SPLIT = Reason("a huge page is split with no event")
BULK_ALLOCATED = Reason("kmem_cache_alloc_bulk() has no event", ("slab_bulk_alloc",))
SILENTLY_FREED = Reason("kvfree_rcu(), kfree_bulk() and kmem_cache_free_bulk() have no event", ("slab_bulk_free",))
UNSHOWN = Reason("the probes do not show the whole array of a bulk operation")
MADE_ANEW = Reason("a cache may have been destroyed, and another one of its name made")
HASHED = Reason("the addresses of objects are hashed, or where pages begin is not known")
NOT_COUNTED = Reason("free_one_page() counts no PGFREE, when the per-CPU lists are locked")
WHOSE = Reason(NAMELESS)
OTHERS = Reason(vmscan.OTHER)
NO_EVENTS = Reason("the trace has no events of this")

EXCUSES = frozenset(
    {
        *(one.text for one in (LOST, TIE, SWITCHED_ON, PAGES_UNSEEN, SPLIT, HUGE_SPLIT, BULK_ALLOCATED)),
        SILENTLY_FREED.text, UNSHOWN.text, NOT_COUNTED.text,
        MADE_ANEW.text, vmscan.OTHER, vmscan.HUGE, vmscan.UNEVICTABLE, vmscan.BUFFER_HEADS,
        tally.INTERRUPT, tally.SHRUNK, tally.SHRUNK_BY_ALL, tally.DRIFT, tally.BOOST, tally.TURNED, tally.LOCKED,
        tally.CAPTURED,
        tally.UNSEEN, tally.UNKNOWN_CACHE, SHRINKING, NAMELESS, AT_WORK, ONE_BY_ONE,
    }
)  # fmt: skip
"""Reasons that excuse something that looks wrong, or cut a check short. All others only say of what nothing is known:
what began before the trace, what a dump has not."""
