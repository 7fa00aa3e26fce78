"""The structures of the LRU: folios, per-cpu batches, the lruvec (Linux 6.1, mm_types.h, mmzone.h, mm/swap.c).

The one idea: a folio is found by the number of its first page frame, and a list is a head and two links in each
folio, as in the kernel, so that a folio on two lists or on a list without its flag is a state that exists. All folios
have order 0. A frame that is not in use has refcount 0 and all flags clear.

`LruMemory` is what mm/swap.c and the list half of mm/vmscan.c work on. Its methods are the seams to what stands
below it (where a frame goes whose last reference is dropped) and above it (what reclaim does with a folio that was
isolated); a machine that has these parts overrides them.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page, UnsignedLong
from .lang import Array, FromScope, Machine, Range, Record, Sort, choose

Cpu = Annotated[int, Sort("cpu", "cpus")]
LruList = Annotated[int, Sort("lru", 5)]
EvictableList = Annotated[int, Sort("evictable_list", 4)]
LruType = Annotated[int, Sort("lru_type", 2)]
BatchKind = Annotated[int, Sort("batch", 6)]
BatchSlot = Annotated[int, Sort("batch_slot", "pagevec_size")]
Age = Annotated[int, Machine("age_bits")]
Cost = Annotated[int, Range(0, "cost_max")]
Shadow = Annotated[int, Range(0, "shadow_max")]
Scan = Annotated[int, Range(0, "scan_max")]

# enum lru_list (include/linux/mmzone.h)
LRU_BASE = 0
LRU_ACTIVE = 1
LRU_FILE = 2
LRU_INACTIVE_ANON = 0
LRU_ACTIVE_ANON = 1
LRU_INACTIVE_FILE = 2
LRU_ACTIVE_FILE = 3
LRU_UNEVICTABLE = 4
EVICTABLE_LISTS = 4

# WORKINGSET_ANON, WORKINGSET_FILE: the two types of pages
ANON = 0
FILE = 1

# struct cpu_fbatches (mm/swap.c), and lru_rotate
BATCH_LRU_ADD = 0
BATCH_LRU_ROTATE = 1
BATCH_LRU_DEACTIVATE_FILE = 2
BATCH_LRU_DEACTIVATE = 3
BATCH_LRU_LAZYFREE = 4
BATCH_ACTIVATE = 5

# what a slot of the mlock pagevec asks for: the low bits of the kernel's pointer (mm/mlock.c)
MUNLOCK_PAGE = 0
LRU_PAGE = 1
NEW_PAGE = 2

# what shrink_folio_list() decides about one folio; one that is kept may be under writeback from now on (nr_pageout)
FOLIO_KEEP = 0
FOLIO_ACTIVATE = 1
FOLIO_RECLAIMED = 2
FOLIO_PAGEOUT = 3

# enum folio_references (mm/vmscan.c)
FOLIOREF_RECLAIM = 0
FOLIOREF_RECLAIM_CLEAN = 1
FOLIOREF_KEEP = 2
FOLIOREF_ACTIVATE = 3


class Folio(Record):
    """struct folio: reference counts, flags and links; `next` and `prev` are `lru`."""

    refcount: Annotated[int, Range(0, "references")]  # _refcount
    mapcount: Annotated[int, Range(0, "mappings")]  # _mapcount + 1
    lru: bool  # PG_lru
    active: bool
    referenced: bool
    unevictable: bool
    swapbacked: bool  # anonymous or shmem; a folio without it is of a file (or lazily freed)
    mlocked: bool
    workingset: bool
    locked: bool
    dirty: bool
    writeback: bool
    reclaim: bool  # PG_reclaim: to the tail as soon as writeback ends
    swapcache: bool
    mlock_count: Annotated[int, Range(0, "mlocks")]  # lru.prev of an unevictable folio: how many VMAs lock it
    next: Page | None
    prev: Page | None


class FolioBatch(Record):
    """struct folio_batch: folios that one cpu gathers before it takes the lru_lock; each holds a reference."""

    nr: Annotated[int, Range(0, "pagevec_size")]
    folios: Array[BatchSlot, Page | None]


class MlockBatch(FolioBatch):
    """struct mlock_pvec: folios that a cpu will mlock or munlock; `kind` is what the low bits of a pointer say."""

    kind: Array[BatchSlot, Annotated[int, Range(0, 2)]]


class LruHead(Record):
    """A list_head of lruvec->lists: `first` is where folios are added, `last` is scanned next."""

    first: Page | None
    last: Page | None


class Lruvec(Record):
    """struct lruvec, and the node's counters of its lists (NR_LRU_BASE + lru, NR_ISOLATED_ANON + type).

    The unevictable list has no links since 5.18: its folios are counted, and known by their flag."""

    lists: Array[LruList, LruHead]
    nr_lru: Array[LruList, UnsignedLong]
    nr_isolated: Array[LruType, UnsignedLong]
    anon_cost: Cost
    file_cost: Cost
    nonresident_age: Age
    refaults: Array[LruType, Age]
    activated: Array[LruType, Age]  # WORKINGSET_ACTIVATE_*, which prepare_scan_count() compares with refaults


class LruScan(Record):
    """What struct scan_control says of the lists, and what shrink_lruvec() and the functions below it have on their
    stacks: whoever reclaims has one. `lru` is the list whose folios are in `folio_list`, None between two lists."""

    priority: Annotated[int, Range(0, 12)]
    may_swap: bool
    force_deactivate: bool
    may_deactivate: Array[LruType, bool]  # DEACTIVATE_ANON, DEACTIVATE_FILE
    skipped_deactivate: bool
    cache_trim_mode: bool
    file_is_tiny: bool
    reclaim_idx: Annotated[int, Range(0, 3)]  # the highest zone whose folios are wanted
    anon_cost: Cost
    file_cost: Cost
    nr: Array[EvictableList, Scan]  # how many folios of each list are still to be scanned
    lru: EvictableList | None
    nr_scanned: Scan
    nr_skipped: Scan
    nr_taken: Scan
    nr_pageout: Scan
    folio_list: LruHead  # isolated, nothing decided; the last one is next
    ret_folios: LruHead  # to be put back
    l_inactive: LruHead  # to be put back by shrink_active_list() as inactive


class LruMemory(Record):
    """What the LRU works on: folios, the lruvec of the node, and each cpu's batches."""

    folio: Array[Page, Folio]
    lruvec: Lruvec
    batch: Array[Cpu, Array[BatchKind, FolioBatch]]
    mlock_batch: Array[Cpu, MlockBatch]
    swap_cluster_max: Annotated[int, FromScope("swap_cluster_max")]  # SWAP_CLUSTER_MAX, the batch of isolation
    swappiness: Annotated[int, FromScope("swappiness")]  # vm.swappiness, 0 ... 200
    eviction_bits: Annotated[int, FromScope("eviction_bits")]  # BITS_PER_LONG - EVICTION_SHIFT
    bucket_order: Annotated[int, FromScope("bucket_order")]
    gigabyte_order: Annotated[int, FromScope("gigabyte_order")]  # 30 - PAGE_SHIFT
    sqrt_turns: Annotated[int, FromScope("sqrt_turns")]

    def free_folio(self, cpu: int, page: Page) -> None:
        """A frame whose last reference is gone, all flags clear, goes back to the page allocator (the rest of
        free_unref_page())."""

    def can_reclaim_anon_pages(self) -> bool:
        """Whether there is swap space for another anonymous page (can_reclaim_anon_pages(), get_nr_swap_pages())."""
        return True

    def folio_zonenum(self, page: Page) -> int:
        """The zone of a folio, which a reclaimer compares with its reclaim_idx (folio_zonenum())."""
        return 0

    def lruvec_lru_size(self, lru: int, reclaim_idx: int) -> int:
        """The folios of a list in the zones up to this one (lruvec_lru_size())."""
        return self.lruvec.nr_lru[lru]

    def node_free_pages(self) -> int:
        """The node's free pages (sum_zone_node_page_state(NR_FREE_PAGES))."""
        return 0

    def total_high_wmark(self) -> int:
        """The sum of the high watermarks of the node's zones."""
        return 0

    def folio_referenced(self, page: Page) -> int:
        """How many page table entries were used since the last scan, and forget it; -1 if the locks are taken
        (folio_referenced())."""
        return choose(range(3))

    def referenced_vm_exec(self, page: Page) -> bool:
        """Whether one of those entries is of executable memory (VM_EXEC in the vm_flags of folio_referenced())."""
        return False

    def referenced_vm_locked(self, page: Page) -> bool:
        """Whether one of those entries is of locked memory (VM_LOCKED in those vm_flags). The caller mlocks the folio,
        as folio_referenced_one() does."""
        return False

    def mlock_folio(self, cpu: int, page: Page) -> None:
        """An area locks a folio (mlock_folio())."""
        raise NotImplementedError

    def shrink_folio(self, cpu: int, page: Page) -> int:
        """What reclaim does with an isolated folio (shrink_folio_list()): one of FOLIO_KEEP, FOLIO_ACTIVATE,
        FOLIO_RECLAIMED, FOLIO_PAGEOUT. A folio that is reclaimed has no references any more; its frame is freed by the
        caller."""
        return choose(range(4))
