"""The users of the LRU lists: a machine whose actions are what tasks, reclaim and migration do with folios (Linux 6.1).

The one idea: model/lru.py is the kernel's text; here is who calls it. There is no page allocator: a frame is in use
exactly when its folio has references, so that any unused frame will do, and pages are interchangeable. A client has one
reference to a folio, and perhaps a slot of a mapping in which to find it, or its shadow, again. Reclaim runs in the
steps between which the kernel lets go of its lock; in between everybody else may run, on any cpu.

What a scope leaves out is switched off by a constant, so that small scopes stay small.
"""

from __future__ import annotations

from typing import Annotated

from .buddy import Page
from .folio import (
    ANON,
    FILE,
    FOLIO_ACTIVATE,
    FOLIO_KEEP,
    FOLIO_PAGEOUT,
    FOLIO_RECLAIMED,
    FOLIOREF_ACTIVATE,
    FOLIOREF_KEEP,
    BatchKind,
    Cpu,
    EvictableList,
    LruMemory,
    LruScan,
    LruType,
    Scan,
    Shadow,
)
from .lang import Array, FromScope, Range, Record, Sort, action, choose, indices, require
from .lru import (
    deactivate_file_folio,
    deactivate_next_folio,
    deactivate_page,
    folio_add_lru_vma,
    folio_batch_move_lru,
    folio_check_references,
    folio_evictable,
    folio_isolate_lru,
    folio_lru_type,
    folio_mark_accessed,
    folio_put,
    folio_putback_lru,
    folio_rotate_reclaimable,
    get_scan_count,
    is_active_lru,
    isolate_folios,
    mark_page_lazyfree,
    may_shrink,
    mlock_folio,
    mlock_page_drain_local,
    mod_isolated,
    munlock_page,
    prepare_scan_count,
    putback_active,
    putback_inactive,
    shrink_list,
    shrink_next_folio,
    snapshot_refaults,
    workingset_eviction,
    workingset_refault,
)

MappingSlot = Annotated[int, Sort("mapping_slot", "mapping_slots")]
Young = Annotated[int, Range(0, "mappings")]
References = Annotated[int, Range(1, "mappings")]
Priority = Annotated[int, Range(0, "priority_most")]
FolioState = Annotated[int, Range(0, 4)]
ToScan = Annotated[int, Range(1, "swap_cluster_max")]

# what is the matter with a folio, if anything
LOCKED = 1
MAPPED = 2
DIRTY = 3
WRITEBACK = 4


class CacheSlot(Record):
    """A slot of an address_space: the folio that is there, or what it left when it was reclaimed."""

    folio: Page | None
    shadow: Shadow | None


class LruMachine(LruMemory):
    """The lists, one reclaimer, and what clients have."""

    sc: LruScan
    slot: Array[MappingSlot, CacheSlot]
    young: Array[Page, Young]  # page table entries that were used since the last scan
    zonenum: Array[Page, Annotated[int, Range(0, "zonenum_max")]]
    held: Array[Page, bool]  # a client has a reference
    migrating: Array[Page, LruType | None]  # isolated by compaction, and the type that it counted
    most_references: Annotated[int, FromScope("most_references")]
    most_queued: Annotated[int, FromScope("most_queued")]
    most_mlocks: Annotated[int, FromScope("mlocks")]
    cost_rest: Annotated[int, FromScope("cost_rest")]
    zones: Annotated[int, FromScope("zones")]
    high_wmark: Annotated[int, FromScope("high_wmark")]
    swap: Annotated[int, FromScope("swap")]
    with_advice: Annotated[int, FromScope("with_advice")]
    with_mlock: Annotated[int, FromScope("with_mlock")]
    with_migration: Annotated[int, FromScope("with_migration")]
    with_reclaim: Annotated[int, FromScope("with_reclaim")]
    with_young: Annotated[int, FromScope("with_young")]
    with_io: Annotated[int, FromScope("with_io")]
    with_shadows: Annotated[int, FromScope("with_shadows")]
    with_contention: Annotated[int, FromScope("with_contention")]
    with_whole: Annotated[int, FromScope("with_whole")]
    force_deactivate: Annotated[int, FromScope("force_deactivate")]

    def can_reclaim_anon_pages(self) -> bool:
        """Whether there is a swap device; it is never full."""
        return self.swap != 0

    def folio_zonenum(self, page: Page) -> int:
        """The zone that the frame is in."""
        return self.zonenum[page]

    def node_free_pages(self) -> int:
        """The frames that nobody uses."""
        return sum(1 for page in indices(self.folio) if self.folio[page].refcount == 0)

    def total_high_wmark(self) -> int:
        """The high watermark, which nobody keeps here."""
        return self.high_wmark

    def free_folio(self, cpu: int, page: Page) -> None:
        """The frame is unused from now on."""
        self.zonenum[page] = 0

    def folio_referenced(self, page: Page) -> int:
        """How many page table entries were used since the last scan."""
        return scan_young(self, page)

    def referenced_vm_exec(self, page: Page) -> bool:
        """Any area may be executable."""
        executable = choose(range(2))
        return executable == 1

    def referenced_vm_locked(self, page: Page) -> bool:
        """Any area may be a locked one that has not mlocked the folio."""
        if self.with_mlock == 0 or not may_mlock(self, page):
            return False
        missed = choose(range(2))
        return missed == 1

    def mlock_folio(self, cpu: int, page: Page) -> None:
        """An area locks a folio."""
        mlock_folio(self, cpu, page)

    def shrink_folio(self, cpu: int, page: Page) -> int:
        """What reclaim does with an isolated folio."""
        return reclaim_folio(self, cpu, page)


# --- what reclaim finds and does


def scan_young(m: LruMachine, page: Page) -> int:
    """Look at the page table entries of a folio, unless the locks are taken (folio_referenced())."""
    if m.with_contention != 0:
        contended = choose(range(2))
        if contended == 1:
            return -1
    references = m.young[page]
    m.young[page] = 0
    return references


def reclaim_folio(m: LruMachine, cpu: int, page: Page) -> int:
    """Decide about a folio as shrink_folio_list() does; what comes of the attempt to unmap or write it is anybody's
    guess."""
    if m.folio[page].locked:
        return FOLIO_KEEP
    if not folio_evictable(m, page):
        return FOLIO_ACTIVATE
    references = folio_check_references(m, cpu, page)
    if references == FOLIOREF_ACTIVATE:
        return FOLIO_ACTIVATE
    if references == FOLIOREF_KEEP:
        return FOLIO_KEEP
    outcome = choose(range(FOLIO_RECLAIMED + 1))
    if outcome != FOLIO_RECLAIMED:
        return outcome
    if m.folio[page].dirty and m.held[page]:
        m.folio[page].dirty = False
        m.folio[page].writeback = True
        return FOLIO_PAGEOUT
    is_removed = remove_mapping(m, page)
    return FOLIO_RECLAIMED if is_removed else FOLIO_KEEP


def remove_mapping(m: LruMachine, page: Page) -> bool:
    """Take a folio from its client, unless somebody else uses it or it is still being written (__remove_mapping()); it
    leaves a shadow in its slot."""
    folio = m.folio[page]
    if not m.held[page] or folio.refcount != 2 or folio.writeback or folio.mapcount > 0:
        return False
    folio.refcount = 0
    m.held[page] = False
    for slot in indices(m.slot):
        if m.slot[slot].folio == page:
            m.slot[slot].folio = None
            m.slot[slot].shadow = workingset_eviction(m, page)
    return True


# --- what has no meaning between steps


def settle(m: LruMachine) -> None:
    """After a step: without a shadow the age of the lists has no meaning, so that it begins anew; of the number of
    refaults only whether there were some since the last reclaim is ever read."""
    if all(m.slot[slot].shadow is None for slot in indices(m.slot)):
        m.lruvec.nonresident_age = 0
    settle_refaults(m, ANON)
    settle_refaults(m, FILE)


def settle_refaults(m: LruMachine, type: int) -> None:
    """The number of refaults of a type is 1 more than it was, or the same: 0."""
    m.lruvec.activated[type] = 1 if m.lruvec.activated[type] != m.lruvec.refaults[type] else 0
    m.lruvec.refaults[type] = 0


def forget_scan_control(m: LruMachine) -> None:
    """What prepare_scan_count() and get_scan_count() found is not used any more."""
    m.sc.priority = 0
    m.sc.may_swap = False
    m.sc.force_deactivate = False
    m.sc.may_deactivate[ANON] = False
    m.sc.may_deactivate[FILE] = False
    m.sc.skipped_deactivate = False
    m.sc.cache_trim_mode = False
    m.sc.file_is_tiny = False
    m.sc.reclaim_idx = 0
    m.sc.anon_cost = 0
    m.sc.file_cost = 0
    for lru in indices(m.sc.nr):
        m.sc.nr[lru] = 0


def queued(m: LruMachine) -> int:
    """How many folios are in batches."""
    return sum(m.mlock_batch[cpu].nr for cpu in indices(m.mlock_batch)) + sum(
        m.batch[cpu][kind].nr for cpu in indices(m.batch) for kind in indices(m.batch[cpu])
    )


def may_queue(m: LruMachine, page: Page) -> bool:
    """Whether a client has the folio, and the scope lets it take one more reference and a place in a batch."""
    return m.held[page] and m.folio[page].refcount < m.most_references and queued(m) < m.most_queued


def pending_mlocks(m: LruMachine, page: Page) -> int:
    """How often the folio is in a cpu's mlock pagevec to be mlocked."""
    return sum(
        1
        for cpu in indices(m.mlock_batch)
        for slot in indices(m.mlock_batch[cpu].folios)
        if m.mlock_batch[cpu].folios[slot] == page and m.mlock_batch[cpu].kind[slot] != 0
    )


def may_mlock(m: LruMachine, page: Page) -> bool:
    """Whether the scope lets one more area lock the folio."""
    return may_queue(m, page) and m.folio[page].mlock_count + pending_mlocks(m, page) < m.most_mlocks


# --- boot


def lru_init(m: LruMachine) -> None:
    """No frame is in use (lruvec_init())."""


# --- tasks


@action
def add(m: LruMachine, cpu: Cpu, page: Page, file: bool, locked: bool, slot: MappingSlot | None) -> None:
    """A task gets a new folio: of a file, or anonymous, perhaps in a locked area. If its slot has a shadow, it is
    a refault (filemap_add_folio(), do_anonymous_page(), do_swap_page())."""
    require(m.folio[page].refcount == 0 and queued(m) < m.most_queued)
    # A folio that is read back is locked only when it is mapped: mlock_new_page() is not for one that is active.
    require(not locked or (m.with_mlock != 0 and not file and slot is None))
    require(slot is None or m.with_shadows != 0)
    m.folio[page].refcount = 1
    m.folio[page].swapbacked = not file
    m.held[page] = True
    if m.zones > 1:
        m.zonenum[page] = choose(range(m.zones))
    if slot is not None:
        require(m.slot[slot].folio is None)
        shadow = m.slot[slot].shadow
        if shadow is not None:
            workingset_refault(m, page, shadow)
        m.slot[slot].shadow = None
        m.slot[slot].folio = page
    folio_add_lru_vma(m, cpu, page, locked)
    settle(m)


@action
def add_fails(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A task gets a new folio, finds that somebody else has put one into the slot, and drops its own."""
    require(m.with_shadows != 0)
    require(m.folio[page].refcount == 0)
    m.folio[page].refcount = 1
    folio_put(m, cpu, page)


@action
def mark_accessed(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A task reads or writes a folio by a system call (folio_mark_accessed())."""
    require(may_queue(m, page))
    folio_mark_accessed(m, cpu, page)
    settle(m)


@action
def touch(m: LruMachine, page: Page, references: References) -> None:
    """Tasks use a folio through their page tables, which nobody notices until the next scan."""
    require(m.with_young != 0)
    require(m.held[page] and m.young[page] < references)
    m.young[page] = references


@action
def release(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """The client of a folio does not need it any more: it is unmapped, and taken out of its mapping."""
    require(m.held[page] and not m.folio[page].writeback)
    m.held[page] = False
    m.young[page] = 0
    m.folio[page].locked = False
    m.folio[page].mapcount = 0
    for slot in indices(m.slot):
        if m.slot[slot].folio == page:
            m.slot[slot].folio = None
    folio_put(m, cpu, page)


@action
def mlock(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """An area locks a folio, wherever it is (mlock_vma_folio())."""
    require(m.with_mlock != 0)
    require(may_mlock(m, page))
    mlock_folio(m, cpu, page)


@action
def munlock(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """An area does not lock a folio any more (munlock_vma_page())."""
    require(m.with_mlock != 0)
    require(m.folio[page].mlocked and may_queue(m, page))
    munlock_page(m, cpu, page)


@action
def advise_cold(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A task does not need a folio soon (MADV_COLD)."""
    require(m.with_advice != 0)
    require(may_queue(m, page))
    deactivate_page(m, cpu, page)


@action
def advise_free(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A task does not need a folio's content any more (MADV_FREE)."""
    require(m.with_advice != 0)
    require(may_queue(m, page))
    mark_page_lazyfree(m, cpu, page)


@action
def invalidate(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A folio could not be dropped from the page cache, and is to be reclaimed soon (invalidate_mapping_pages())."""
    require(m.with_advice != 0)
    require(may_queue(m, page))
    deactivate_file_folio(m, cpu, page)


@action
def rotate(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A folio's writeback ends that reclaim waits for (folio_end_writeback())."""
    require(m.with_advice != 0)
    require(may_queue(m, page))
    folio_rotate_reclaimable(m, cpu, page)


@action
def change_state(m: LruMachine, page: Page, state: FolioState) -> None:
    """A folio is locked, mapped, written to or written out by somebody, or no longer so."""
    require(m.with_io != 0)
    require(m.held[page])
    m.folio[page].locked = state == LOCKED
    m.folio[page].mapcount = 1 if state == MAPPED else 0
    m.folio[page].dirty = state == DIRTY
    m.folio[page].writeback = state == WRITEBACK


# --- every cpu, now and then


@action
def drain(m: LruMachine, cpu: Cpu, kind: BatchKind) -> None:
    """A cpu empties a batch: lru_add_drain() does so with one after the other, and lets go of the lru_lock between."""
    require(m.batch[cpu][kind].nr != 0)
    folio_batch_move_lru(m, cpu, kind)


@action
def drain_mlock(m: LruMachine, cpu: Cpu) -> None:
    """A cpu empties its mlock pagevec, the last thing that lru_add_drain() does."""
    require(m.with_mlock != 0)
    require(m.mlock_batch[cpu].nr != 0)
    mlock_page_drain_local(m, cpu)


# --- migration


@action
def isolate_page(m: LruMachine, page: Page) -> None:
    """Compaction or migration takes a folio off its list, if it is on one (isolate_migratepages_block())."""
    require(m.with_migration != 0)
    require(m.held[page])
    is_isolated = folio_isolate_lru(m, page)
    if is_isolated:
        type = folio_lru_type(m, page)
        mod_isolated(m, type, 1)
        m.migrating[page] = type


@action
def putback_page(m: LruMachine, cpu: Cpu, page: Page) -> None:
    """A folio was not migrated and is put back (putback_movable_pages())."""
    require(m.with_migration != 0)
    require(m.migrating[page] is not None)
    m.migrating[page] = None
    mod_isolated(m, folio_lru_type(m, page), -1)
    folio_putback_lru(m, cpu, page)


# --- reclaim, step by step


@action
def isolate(m: LruMachine, lru: EvictableList, nr_to_scan: ToScan, may_unmap: bool) -> None:
    """A reclaimer takes folios off a list, an active one only if it may (shrink_list(), after lru_add_drain(), whose
    parts are steps of their own)."""
    require(m.with_reclaim != 0)
    require(m.sc.lru is None)
    require(may_unmap or m.with_io != 0)
    m.sc.force_deactivate = m.force_deactivate != 0
    prepare_scan_count(m, m.sc)
    m.sc.reclaim_idx = choose(range(m.zones))
    may = may_shrink(m.sc, lru)
    if may:
        isolate_folios(m, m.sc, nr_to_scan, lru, may_unmap)
    forget_scan_control(m)


@action
def decide(m: LruMachine, cpu: Cpu) -> None:
    """The reclaimer decides about the next folio that it has taken."""
    lru = m.sc.lru
    require(lru is not None and m.sc.folio_list.last is not None)
    assert lru is not None
    if is_active_lru(lru):
        deactivate_next_folio(m, cpu, m.sc)
    else:
        shrink_next_folio(m, cpu, m.sc)
    settle(m)


@action
def putback(m: LruMachine, cpu: Cpu) -> None:
    """The reclaimer has decided about all that it took, and puts back what is left."""
    lru = m.sc.lru
    require(lru is not None and m.sc.folio_list.last is None)
    assert lru is not None
    if is_active_lru(lru):
        putback_active(m, cpu, m.sc)
    else:
        putback_inactive(m, cpu, m.sc)
    settle(m)


@action
def shrink(m: LruMachine, cpu: Cpu, lru: EvictableList, nr_to_scan: ToScan, is_kswapd: bool, io: bool) -> None:
    """The same in one step, with nobody in between (shrink_list())."""
    require(m.with_whole != 0)
    require(m.sc.lru is None)
    m.sc.force_deactivate = m.force_deactivate != 0
    prepare_scan_count(m, m.sc)
    shrink_list(m, cpu, m.sc, lru, nr_to_scan, True, is_kswapd, io)
    forget_scan_control(m)
    settle(m)


@action
def count_scan(m: LruMachine, priority: Priority, lru: EvictableList) -> Scan:
    """A reclaimer asks how many folios of a list to scan at a priority (prepare_scan_count(), get_scan_count())."""
    require(m.with_reclaim != 0)
    require(m.sc.lru is None)
    m.sc.priority = priority
    m.sc.may_swap = True
    m.sc.force_deactivate = m.force_deactivate != 0
    m.sc.reclaim_idx = m.zones - 1
    prepare_scan_count(m, m.sc)
    get_scan_count(m, m.sc)
    nr_to_scan = m.sc.nr[lru]
    forget_scan_control(m)
    return nr_to_scan


@action
def end_reclaim(m: LruMachine) -> None:
    """Reclaim ends, and remembers the refaults that there were until now (snapshot_refaults())."""
    require(m.with_shadows != 0)
    require(
        m.lruvec.activated[ANON] != m.lruvec.refaults[ANON] or m.lruvec.activated[FILE] != m.lruvec.refaults[FILE]
    )
    snapshot_refaults(m)
    settle(m)


ACTIONS = (
    add,
    add_fails,
    mark_accessed,
    touch,
    release,
    mlock,
    munlock,
    advise_cold,
    advise_free,
    invalidate,
    rotate,
    change_state,
    drain,
    drain_mlock,
    isolate_page,
    putback_page,
    isolate,
    decide,
    putback,
    shrink,
    count_scan,
    end_reclaim,
)
