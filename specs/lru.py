"""What must hold of the LRU lists: invariants L1 ... L12 with their kernel origin, and what scanning may do (R11).

Identifiers are those of the project's reference. The invariants together are inductive: they say of every folio in use
whether it is on a list, in a cpu's batch on its way to one, or isolated, and by whom; of its references, who has them;
and of every counter and link what it counts or names.

What a folio's flags say is local, and so are the links: a folio's neighbours are on its list and point back, an end of
a list is one of its head's ends. Only that nothing is outside (a ring, a list that begins elsewhere) needs a walk.

L10 is about MGLRU, which is off.
"""

from __future__ import annotations

from ..model.buddy import Page
from ..model.folio import (
    ANON,
    BATCH_ACTIVATE,
    BATCH_LRU_ADD,
    EVICTABLE_LISTS,
    FILE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_PAGE,
    LRU_UNEVICTABLE,
    NEW_PAGE,
    Cpu,
    EvictableList,
    LruHead,
    LruMemory,
    Scan,
)
from ..model.lang import Clauses, Spec, clause, indices, invariant, step_property
from ..model.lru import (
    deactivate_next_folio,
    folio_activate,
    folio_batch_add_and_move,
    folio_batch_move_lru,
    folio_check_references,
    folio_lru_type,
    folio_mark_accessed,
    is_active_lru,
    is_file_lru,
    isolate_folios,
    isolate_lru_folios,
    lru_cache_activate_folio,
    lru_type,
    move_fn,
    move_folios_to_lru,
    putback_active,
    putback_inactive,
    shrink_active_list,
    shrink_inactive_list,
    shrink_list,
    shrink_next_folio,
)
from ..model.lru_clients import (
    ACTIONS,
    LruMachine,
    MappingSlot,
    Priority,
    ToScan,
    add,
    count_scan,
    decide,
    isolate,
    lru_init,
    mark_accessed,
    pending_mlocks,
    reclaim_folio,
    remove_mapping,
    shrink,
)
from .lru_scope import DERIVED, PARAMETERS, REQUIREMENTS, SCOPES

# --- what the statements are made of


def is_listed(m: LruMemory, page: Page, lru: int) -> bool:
    """Whether the flags of a folio say that it is on this list."""
    return m.folio[page].lru and listed_on(m, page) == lru


def listed_on(m: LruMemory, page: Page) -> int:
    """The list that a folio's flags name: unevictable before active before inactive, files apart (L2)."""
    if m.folio[page].unevictable:
        return LRU_UNEVICTABLE
    return (1 if m.folio[page].active else 0) + (0 if m.folio[page].swapbacked else 2)


def is_linked(m: LruMemory, page: Page) -> bool:
    """Whether a folio should be linked into a list of the lruvec: the unevictable one has no links."""
    return m.folio[page].lru and not m.folio[page].unevictable


def list_length(m: LruMemory, head: LruHead) -> int:
    """Folios met on a walk along a list; one more than there can be if the walk does not end."""
    length = 0
    page = head.first
    for _ in range(len(m.folio) + 1):
        if page is None:
            break
        length += 1
        page = m.folio[page].next
    return length


def batch_slots(m: LruMemory, page: Page) -> int:
    """In how many slots of batches a folio is; each has a reference."""
    in_batches = sum(
        1
        for cpu in indices(m.batch)
        for kind in indices(m.batch[cpu])
        for slot in indices(m.batch[cpu][kind].folios)
        if m.batch[cpu][kind].folios[slot] == page
    )
    in_mlock_batches = sum(
        1
        for cpu in indices(m.mlock_batch)
        for slot in indices(m.mlock_batch[cpu].folios)
        if m.mlock_batch[cpu].folios[slot] == page
    )
    return in_batches + in_mlock_batches


def add_slots(m: LruMemory, page: Page) -> int:
    """In how many batches a folio waits to be put on a list for the first time, or again."""
    in_batches = sum(
        1
        for cpu in indices(m.batch)
        for slot in indices(m.batch[cpu][BATCH_LRU_ADD].folios)
        if m.batch[cpu][BATCH_LRU_ADD].folios[slot] == page
    )
    return in_batches + mlock_slots(m, page, NEW_PAGE)


def mlock_slots(m: LruMemory, page: Page, kind: int) -> int:
    """In how many mlock pagevecs a folio is for this purpose."""
    return sum(
        1
        for cpu in indices(m.mlock_batch)
        for slot in indices(m.mlock_batch[cpu].folios)
        if m.mlock_batch[cpu].folios[slot] == page and m.mlock_batch[cpu].kind[slot] == kind
    )


def activating(m: LruMemory, page: Page) -> bool:
    """Whether a folio is in a batch of those to be activated."""
    return any(
        m.batch[cpu][BATCH_ACTIVATE].folios[slot] == page
        for cpu in indices(m.batch)
        for slot in indices(m.batch[cpu][BATCH_ACTIVATE].folios)
    )


def is_taken(m: LruMachine, page: Page) -> bool:
    """Whether the reclaimer has a folio: it is in use, and nowhere else."""
    return (
        m.folio[page].refcount != 0
        and not m.folio[page].lru
        and m.migrating[page] is None
        and add_slots(m, page) == 0
    )


def has_shadow(m: LruMachine) -> bool:
    """Whether some folio that was reclaimed has left a shadow."""
    return any(m.slot[slot].shadow is not None for slot in indices(m.slot))


def was_reclaimed(before: LruMachine, after: LruMachine, page: Page) -> bool:
    """Whether a step of the reclaimer has taken a folio from its client."""
    return before.held[page] and not after.held[page]


# --- places and links


@invariant("L1", origin="PG_lru; isolate_lru_folios(), folio_batch_move_lru()")
def one_place(m: LruMachine) -> Clauses:
    """A folio in use is on a list (PG_lru), or in one cpu's batch to be added, or isolated by one; one that is not in
    use is nowhere."""
    for page in indices(m.folio):
        folio = m.folio[page]
        waiting = add_slots(m, page) + (0 if m.migrating[page] is None else 1)
        if folio.refcount == 0:
            yield clause("a folio that is not in use is on no list", not folio.lru, page)
            yield clause("a folio that is not in use is in no batch", batch_slots(m, page) == 0, page)
            yield clause("a folio that is not in use is not isolated", m.migrating[page] is None, page)
        elif folio.lru:
            yield clause("a folio on a list is in no add batch, and not isolated", waiting == 0, page)
        else:
            yield clause("a folio is not in two places", waiting <= 1, page)
            yield clause("a folio is not lost", waiting == 1 or m.sc.lru is not None, page)
        if not is_linked(m, page) and not is_taken(m, page):
            yield clause("a folio on no list has no links", folio.next is None and folio.prev is None, page)


@invariant("L1-links", origin="lib/list_debug.c: __list_add_valid(), __list_del_entry_valid()")
def lists_linked(m: LruMemory) -> Clauses:
    """The lists are linked both ways, with proper ends; the neighbours of a folio are on its list."""
    for page in indices(m.folio):
        next = m.folio[page].next
        prev = m.folio[page].prev
        if is_linked(m, page):
            lru = listed_on(m, page)
            if next is not None:
                yield clause("the successor is on the same list", is_listed(m, next, lru), page)
                yield clause("the successor points back", m.folio[next].prev == page, page)
            else:
                yield clause("a folio without successor is the last", m.lruvec.lists[lru].last == page, page)
            if prev is not None:
                yield clause("the predecessor is on the same list", is_listed(m, prev, lru), page)
                yield clause("the predecessor points forward", m.folio[prev].next == page, page)
            else:
                yield clause("a folio without predecessor is the first", m.lruvec.lists[lru].first == page, page)
    for lru in indices(m.lruvec.lists):
        first = m.lruvec.lists[lru].first
        last = m.lruvec.lists[lru].last
        yield clause("a list has both ends or none", (first is None) == (last is None), lru)
        if lru == LRU_UNEVICTABLE:
            yield clause("the unevictable list has no links", first is None, lru)
        if first is not None and last is not None:
            at_ends = m.folio[first].prev is None and m.folio[last].next is None
            listed = is_listed(m, first, lru) and is_listed(m, last, lru)
            yield clause("the ends of a list are ends, and on it", at_ends and listed, lru)


@invariant("L1-taken", origin="shrink_inactive_list(): folio_list; shrink_active_list(): l_hold, l_active, l_inactive")
def taken_lists_linked(m: LruMachine) -> Clauses:
    """What the reclaimer has taken is on its own lists, linked both ways, and nowhere else."""
    sc = m.sc
    for page in indices(m.folio):
        next = m.folio[page].next
        prev = m.folio[page].prev
        if is_taken(m, page):
            if next is not None:
                yield clause("the successor is taken", not m.folio[next].lru, page)
                yield clause("the successor points back", m.folio[next].prev == page, page)
            if prev is not None:
                yield clause("the predecessor points forward", m.folio[prev].next == page, page)
            firsts = (
                (1 if sc.folio_list.first == page else 0)
                + (1 if sc.ret_folios.first == page else 0)
                + (1 if sc.l_inactive.first == page else 0)
            )
            expected = 1 if prev is None else 0
            yield clause("a folio without predecessor is the first of one list", firsts == expected, page)
            yield clause("a folio that was taken is not unevictable", not m.folio[page].unevictable, page)
    yield clause("what was isolated has ends", is_sound(m, sc.folio_list))
    yield clause("what is put back has ends", is_sound(m, sc.ret_folios))
    yield clause("what is deactivated has ends", is_sound(m, sc.l_inactive))
    lengths = list_length(m, sc.folio_list) + list_length(m, sc.ret_folios) + list_length(m, sc.l_inactive)
    taken = sum(1 for page in indices(m.folio) if is_taken(m, page))
    yield clause("all that was taken is on the lists", lengths == taken)
    yield clause("no more is on the lists than was taken", lengths <= sc.nr_taken)
    yield clause("no more is put back than was written", sc.nr_pageout <= list_length(m, sc.ret_folios))


def is_sound(m: LruMachine, head: LruHead) -> bool:
    """Whether a list of the reclaimer has both ends or none, and leads from one to the other through what was taken."""
    first = head.first
    last = head.last
    if first is None or last is None:
        return first is None and last is None
    page = first
    for _ in range(m.swap_cluster_max):
        next = m.folio[page].next
        if next is None:
            break
        page = next
    return page == last and is_taken(m, first) and m.folio[first].prev is None


@invariant("L1-scan", origin="shrink_folio_list(): VM_BUG_ON_FOLIO(folio_test_active(folio)); move_folios_to_lru()")
def scan_state(m: LruMachine) -> Clauses:
    """What a reclaimer has taken off an inactive list is not active until it says so, and what it deactivates is not;
    between two lists it has nothing."""
    sc = m.sc
    lru = sc.lru
    if lru is None:
        yield clause("a reclaimer at no list has taken nothing", sc.nr_taken == 0 and sc.nr_pageout == 0)
        yield clause("a reclaimer at no list has scanned nothing", sc.nr_scanned == 0 and sc.nr_skipped == 0)
    else:
        yield clause("a reclaimer takes no more than it may", sc.nr_taken > 0 and sc.nr_taken <= m.swap_cluster_max)
        if is_active_lru(lru):
            yield clause("nothing is written off an active list", sc.nr_pageout == 0)
        else:
            yield clause("an inactive list is not deactivated", sc.l_inactive.first is None)
            page = sc.folio_list.first
            for _ in range(m.swap_cluster_max):
                if page is not None:
                    yield clause("a folio of an inactive list is not active", not m.folio[page].active, page)
                    page = m.folio[page].next
    page = sc.l_inactive.first
    for _ in range(m.swap_cluster_max):
        if page is not None:
            yield clause("a folio that is deactivated is not active", not m.folio[page].active, page)
            page = m.folio[page].next
    idle = sc.priority == 0 and not sc.may_swap and not sc.cache_trim_mode and not sc.file_is_tiny
    costs = sc.anon_cost == 0 and sc.file_cost == 0 and sc.reclaim_idx == 0
    deactivates = sc.force_deactivate or sc.skipped_deactivate or sc.may_deactivate[ANON] or sc.may_deactivate[FILE]
    counted = any(sc.nr[other] != 0 for other in indices(sc.nr))
    yield clause("between steps no decision is kept", idle and costs and not deactivates and not counted)


# --- flags


@invariant("L2", origin="folio_lru_list(): VM_BUG_ON_FOLIO(active && unevictable); free_page_is_bad()")
def flags_agree(m: LruMachine) -> Clauses:
    """A folio is not both active and unevictable; one that is not in use has no flags; a new one that is locked has
    neither."""
    for page in indices(m.folio):
        folio = m.folio[page]
        yield clause("a folio is not active and unevictable", not (folio.active and folio.unevictable), page)
        if folio.refcount == 0:
            of_lru = folio.active or folio.unevictable or folio.mlocked or folio.referenced or folio.workingset
            other = folio.swapbacked or folio.locked or folio.dirty or folio.writeback or folio.reclaim
            yield clause("a folio that is not in use has no flags", not of_lru and not other, page)
            yield clause("a folio that is not in use is in no zone yet", m.zonenum[page] == 0, page)
        yield clause("folios are not in the swap cache here", not folio.swapcache, page)
        if mlock_slots(m, page, NEW_PAGE) > 0:
            yield clause("a new locked folio is neither active nor unevictable", not folio.active, page)
            yield clause("a new locked folio is not unevictable yet", not folio.unevictable, page)


@invariant("L3", origin="update_lru_size(), lruvec_add_folio(), lruvec_del_folio()")
def lists_counted(m: LruMemory) -> Clauses:
    """NR_LRU of each list is its length, and every folio whose flags say so is on it."""
    for lru in indices(m.lruvec.lists):
        flagged = sum(1 for page in indices(m.folio) if is_listed(m, page, lru))
        yield clause("NR_LRU counts the folios of the list", m.lruvec.nr_lru[lru] == flagged, lru)
        if lru < EVICTABLE_LISTS:
            on_list = list_length(m, m.lruvec.lists[lru])
            yield clause("every folio is on its list", on_list == flagged, lru)


@invariant("L4", origin="mod_node_page_state(NR_ISOLATED_ANON + file); b5916c025432, 2da9f6305f30")
def isolated_counted(m: LruMachine) -> Clauses:
    """NR_ISOLATED of each type is what migration and the reclaimer have taken; migration gives back the type that it
    took."""
    lru = m.sc.lru
    for type in indices(m.lruvec.nr_isolated):
        migrating = sum(1 for page in indices(m.folio) if m.migrating[page] == type)
        taken = 0
        if lru is not None and lru_type(lru) == type:
            taken = m.sc.nr_taken
        yield clause("NR_ISOLATED counts what was isolated", m.lruvec.nr_isolated[type] == migrating + taken, type)
    for page in indices(m.folio):
        counted = m.migrating[page]
        if counted is not None:
            yield clause("a folio is put back as the type it was", counted == folio_lru_type(m, page), page)


# --- batches and references


@invariant("L5", origin="folio_batch_add_and_move(), folio_batch_init(); mlock_pagevec()")
def batches_counted(m: LruMemory) -> Clauses:
    """A batch holds folios in its first slots, and is never full between steps: one for a single folio is empty."""
    for cpu in indices(m.batch):
        for kind in indices(m.batch[cpu]):
            fbatch = m.batch[cpu][kind]
            yield clause("a full batch is emptied", fbatch.nr < len(fbatch.folios), cpu, kind)
            for slot in indices(fbatch.folios):
                there = fbatch.folios[slot] is not None
                yield clause("a batch holds what it counts", there == (slot < fbatch.nr), cpu, kind, slot)
        pvec = m.mlock_batch[cpu]
        yield clause("a full mlock pagevec is emptied", pvec.nr < len(pvec.folios), cpu)
        for slot in indices(pvec.folios):
            there = pvec.folios[slot] is not None
            yield clause("an mlock pagevec holds what it counts", there == (slot < pvec.nr), cpu, slot)
            yield clause("an empty slot asks for nothing", there or pvec.kind[slot] == 0, cpu, slot)


@invariant("L9", origin="folio_get() of isolate_lru_folios() and of each batch; being on a list holds no reference")
def references_counted(m: LruMachine) -> Clauses:
    """The references to a folio are its client's, one for each slot of a batch, and one of who has isolated it."""
    for page in indices(m.folio):
        folio = m.folio[page]
        if folio.refcount != 0:
            isolated = 1 if m.migrating[page] is not None or is_taken(m, page) else 0
            held = (1 if m.held[page] else 0) + isolated + batch_slots(m, page)
            yield clause("every reference has an owner", folio.refcount == held, page)
            most = m.most_references + (0 if folio.lru else 1)
            yield clause("clients take no more references than the scope lets them", folio.refcount <= most, page)
        if not m.held[page]:
            unused = m.young[page] == 0 and folio.mapcount == 0
            yield clause("a folio without client is mapped nowhere", unused, page)
            yield clause("a folio without client is not locked or written", not (folio.locked or folio.writeback), page)
        else:
            yield clause("a client's folio is in use", folio.refcount != 0, page)


# --- unevictable folios


@invariant("L7", origin="folio_evictable(), lru_add_fn(), __mlock_page(), __munlock_page(); 9c4e6b1a7027")
def mlocked_is_unevictable(m: LruMachine) -> Clauses:
    """A folio on a list that is mlocked is unevictable, or a cpu's pagevec will see to it; an unevictable one is
    mlocked. Who has mlocked it is counted there alone, and not too often."""
    for page in indices(m.folio):
        folio = m.folio[page]
        if folio.lru and folio.mlocked and not folio.unevictable:
            pending = mlock_slots(m, page, LRU_PAGE) > 0
            yield clause("a folio that is mlocked becomes unevictable", pending, page)
        if folio.lru and folio.unevictable:
            yield clause("a folio that is unevictable is mlocked", folio.mlocked, page)
        else:
            yield clause("mlocks are counted on the unevictable list alone", folio.mlock_count == 0, page)
        counted = folio.mlock_count + pending_mlocks(m, page)
        yield clause("no more mlocks are counted than there were", counted <= m.most_mlocks, page)


# --- what was reclaimed


@invariant("L12", origin="workingset_eviction(), __filemap_remove_folio(), workingset_refault()")
def shadows(m: LruMachine) -> Clauses:
    """A shadow is only in a slot that has no folio; a folio is in one slot at most, and has a client."""
    for slot in indices(m.slot):
        page = m.slot[slot].folio
        if page is not None:
            yield clause("a slot has a folio or a shadow", m.slot[slot].shadow is None, slot)
            yield clause("a folio in a slot has a client", m.held[page], slot)
            once = sum(1 for other in indices(m.slot) if m.slot[other].folio == page) == 1
            yield clause("a folio is in one slot", once, slot)
    yield clause("without shadows the age is of no account", has_shadow(m) or m.lruvec.nonresident_age == 0)
    for type in indices(m.lruvec.refaults):
        settled = m.lruvec.refaults[type] == 0 and m.lruvec.activated[type] <= 1
        yield clause("refaults are some or none", settled, type)


@invariant("L-cost", origin="lru_note_cost(): floating average")
def costs_decay(m: LruMachine) -> Clauses:
    """The costs of reclaim decay, so that what counts is what was of late."""
    yield clause("anonymous costs are bounded", m.lruvec.anon_cost <= m.cost_rest)
    yield clause("file costs are bounded", m.lruvec.file_cost <= m.cost_rest)


# --- step properties


@step_property("L6", action=mark_accessed, origin="folio_mark_accessed()")
def accessed_as_listed(before: LruMachine, after: LruMachine, cpu: Cpu, page: Page) -> Clauses:
    """inactive, unreferenced -> inactive, referenced -> active, unreferenced -> active, referenced; an unevictable
    folio stays as it is. Activation waits in a batch of this cpu."""
    was = before.folio[page]
    now = after.folio[page]
    if not was.referenced:
        yield clause("a folio is referenced first", now.referenced and now.active == was.active, page)
    elif was.unevictable or was.active:
        kept = now.referenced and now.active == was.active
        yield clause("a folio that cannot be promoted stays as it is", kept, page)
    else:
        yield clause("a folio that is promoted is not referenced any more", not now.referenced, page)
        if was.lru:
            queued = any(
                after.batch[cpu][BATCH_ACTIVATE].folios[slot] == page
                for slot in indices(after.batch[cpu][BATCH_ACTIVATE].folios)
            )
            yield clause("a folio on a list is activated, or will be", now.active or queued, page)
        else:
            local = any(
                before.batch[cpu][BATCH_LRU_ADD].folios[slot] == page
                for slot in indices(before.batch[cpu][BATCH_LRU_ADD].folios)
            )
            yield clause("a folio on no list is active if this cpu will add it", now.active == local, page)


@step_property("L6-active", origin="folio_activate_fn(), lru_cache_activate_folio(), shrink_folio_list()")
def active_for_a_reason(before: LruMachine, after: LruMachine) -> Clauses:
    """A folio becomes active only if it was referenced twice, was to be activated, was isolated by a reclaimer, or came
    back soon."""
    whole = before.with_whole != 0  # a list may be shrunk in one step, which isolates folios and puts them back
    for page in indices(after.folio):
        was = before.folio[page]
        if after.folio[page].active and not was.active and not whole:
            reason = was.referenced or activating(before, page) or is_taken(before, page) or was.refcount == 0
            yield clause("a folio becomes active for a reason", reason, page)


@step_property("L8", action=isolate, origin="shrink_list(): may_deactivate; inactive_is_low(), prepare_scan_count()")
def active_list_spared(
    before: LruMachine, after: LruMachine, lru: EvictableList, nr_to_scan: ToScan, may_unmap: bool
) -> Clauses:
    """An active list is shrunk only if the inactive list of its type is short, or folios of its type came back."""
    if is_active_lru(lru) and after.sc.lru is not None and before.force_deactivate == 0:
        type = lru_type(lru)
        came_back = before.lruvec.activated[type] != before.lruvec.refaults[type]
        low = is_short(before, before.lruvec.nr_lru[lru - 1], before.lruvec.nr_lru[lru])
        yield clause("an active list is shrunk for a reason of its type", came_back or low, lru)


def is_short(m: LruMachine, inactive: int, active: int) -> bool:
    """Whether an inactive list is short: its target ratio is the root of 10 times the gigabytes, or 1."""
    gb = (inactive + active) >> m.gigabyte_order
    if gb == 0:
        return inactive < active
    return any(
        root * root <= 10 * gb and 10 * gb < (root + 1) * (root + 1) and inactive * root < active
        for root in range(1 << m.sqrt_turns)
    )


@step_property("L11", action=isolate, origin="isolate_lru_folios(): lru_to_folio(), scan, nr_skipped")
def isolated_from_the_tail(
    before: LruMachine, after: LruMachine, lru: EvictableList, nr_to_scan: ToScan, may_unmap: bool
) -> Clauses:
    """No more is scanned than was asked for, besides folios of other zones; what is isolated was at the tail then, and
    keeps its order."""
    sc = after.sc
    yield clause("no more is scanned than was asked for", sc.nr_scanned <= nr_to_scan + sc.nr_skipped, lru)
    yield clause("what is taken was scanned", sc.nr_taken + sc.nr_skipped <= sc.nr_scanned, lru)
    for page in indices(after.folio):
        next = before.folio[page].next
        if before.folio[page].lru and not after.folio[page].lru:
            yield clause("a folio is taken off the list that is shrunk", is_listed(before, page, lru), page)
            if next is not None:
                turn = not after.folio[next].lru or passed_over(before, next, may_unmap)
                yield clause("what comes before it in the queue is taken, too", turn, page)
                kept = after.folio[next].lru or after.folio[page].next == next
                yield clause("what is taken keeps its order", kept, page)


def passed_over(m: LruMachine, page: Page, may_unmap: bool) -> bool:
    """Whether a reclaimer may leave a folio where it is: of a high zone, or mapped."""
    return m.zonenum[page] > 0 or (not may_unmap and m.folio[page].mapcount > 0)


@step_property("second-chance", action=decide, origin="folio_check_references(), shrink_folio_list()")
def referenced_is_kept(before: LruMachine, after: LruMachine, cpu: Cpu) -> Clauses:
    """A folio that was used since it was last scanned is not reclaimed, nor one that is mlocked, written, or in use by
    others."""
    for page in indices(after.folio):
        if was_reclaimed(before, after, page):
            was = before.folio[page]
            yield clause("a folio used since the last scan is not reclaimed", before.young[page] == 0, page)
            yield clause("a folio that is mlocked is not reclaimed", not was.mlocked, page)
            yield clause("a folio that is written is not reclaimed", not was.dirty and not was.writeback, page)
            yield clause("a folio in use by others is not reclaimed", was.refcount == 2, page)


@step_property("second-chance-whole", action=shrink, origin="shrink_inactive_list()")
def referenced_is_kept_at_once(
    before: LruMachine, after: LruMachine, cpu: Cpu, lru: EvictableList, nr_to_scan: ToScan, is_kswapd: bool, io: bool
) -> Clauses:
    """The same for a list that is shrunk in one step; an active one loses no folios."""
    for page in indices(after.folio):
        if was_reclaimed(before, after, page):
            yield clause("a folio used since the last scan is not reclaimed", before.young[page] == 0, page)
            yield clause("an active list loses nothing", not is_active_lru(lru), page)


@step_property("L12-eviction", action=decide, origin="__remove_mapping(), workingset_eviction()")
def eviction_leaves_shadow(before: LruMachine, after: LruMachine, cpu: Cpu) -> Clauses:
    """A folio that is reclaimed leaves the time of its eviction in its slot, and whether it was of the working set."""
    for slot in indices(after.slot):
        page = before.slot[slot].folio
        if page is not None and was_reclaimed(before, after, page):
            age = (before.lruvec.nonresident_age >> before.bucket_order) % (1 << before.eviction_bits)
            left = 2 * age + (1 if before.folio[page].workingset else 0)
            yield clause("a folio that is reclaimed leaves a shadow", after.slot[slot].shadow == left, slot)
            aged = (after.lruvec.nonresident_age - before.lruvec.nonresident_age) % (1 << before.eviction_bits)
            yield clause("an eviction ages what was evicted before", aged == 1 % (1 << before.eviction_bits), slot)


@step_property("L12-refault", action=add, origin="workingset_refault(): refault_distance > workingset_size")
def refault_by_distance(
    before: LruMachine, after: LruMachine, cpu: Cpu, page: Page, file: bool, locked: bool, slot: MappingSlot | None
) -> Clauses:
    """A folio that comes back is active exactly if it had stayed, had the other lists been kept: all but the inactive
    one of its type, and those of files alone without swap."""
    if slot is not None:
        shadow = before.slot[slot].shadow
        if shadow is not None:
            evicted = (shadow // 2) << before.bucket_order
            distance = (before.lruvec.nonresident_age - evicted) % (1 << before.eviction_bits)
            room = before.lruvec.nr_lru[LRU_ACTIVE_FILE]
            if before.swap != 0:
                room += before.lruvec.nr_lru[LRU_ACTIVE_ANON]
            if not file:
                room += before.lruvec.nr_lru[LRU_INACTIVE_FILE]
            elif before.swap != 0:
                room += before.lruvec.nr_lru[LRU_INACTIVE_ANON]
            yield clause("a refault activates by its distance", after.folio[page].active == (distance <= room), slot)
            restored = distance <= room and shadow % 2 == 1
            yield clause("a folio of the working set is so again", after.folio[page].workingset == restored, slot)
            type = FILE if file else ANON
            counted = after.lruvec.activated[type] != after.lruvec.refaults[type]
            yield clause("a refault that activates is counted for its type", counted or distance > room, slot)


@step_property("R11", action=count_scan, origin="get_scan_count(): scan_balance, fraction, denominator")
def scan_mix(
    before: LruMachine, after: LruMachine, priority: Priority, lru: EvictableList, result: Scan
) -> Clauses:
    """Anonymous folios are not scanned without swap, nor with swappiness 0 unless there are hardly any file pages; of
    both types no more than a share of the list, and the shares make up one."""
    nr_lru = before.lruvec.nr_lru
    asked = nr_lru[lru] >> priority
    anon = not is_file_lru(lru)
    tiny = is_tiny(before, priority)
    trim = nr_lru[LRU_INACTIVE_FILE] >> priority != 0 and not may_deactivate(before, FILE)
    yield clause("no more is scanned than the priority says", result <= asked, lru)
    if before.swap == 0:
        yield clause("without swap files alone are scanned", result == (0 if anon else asked), lru)
    elif priority == 0 and before.swappiness != 0:
        yield clause("close to out of memory all is scanned", result == asked, lru)
    elif tiny:
        yield clause("with hardly any file pages anonymous ones are scanned", result == (asked if anon else 0), lru)
    elif trim:
        yield clause("with many idle file pages those are scanned", result == (0 if anon else asked), lru)
    else:
        share = pressure(before, ANON if anon else FILE)
        total = pressure(before, ANON) + pressure(before, FILE)
        exact = result * total <= asked * share and asked * share < (result + 1) * total
        yield clause("each type is scanned in proportion", exact, lru)
        if anon and before.swappiness == 0:
            yield clause("with swappiness 0 no anonymous folio is scanned", result == 0, lru)


def may_deactivate(m: LruMachine, type: int) -> bool:
    """Whether the active list of a type may be shrunk."""
    inactive = LRU_INACTIVE_FILE if type == FILE else LRU_INACTIVE_ANON
    low = is_short(m, m.lruvec.nr_lru[inactive], m.lruvec.nr_lru[inactive + 1])
    return m.force_deactivate != 0 or low or m.lruvec.activated[type] != m.lruvec.refaults[type]


def is_tiny(m: LruMachine, priority: int) -> bool:
    """Whether there are so few file pages that not even all of them would make the high watermark."""
    file = m.lruvec.nr_lru[LRU_ACTIVE_FILE] + m.lruvec.nr_lru[LRU_INACTIVE_FILE]
    free = sum(1 for page in indices(m.folio) if m.folio[page].refcount == 0)
    idle = m.lruvec.nr_lru[LRU_INACTIVE_ANON] >> priority != 0
    return file + free <= m.high_wmark and idle and not may_deactivate(m, ANON)


def pressure(m: LruMachine, type: int) -> int:
    """The pressure on a type: swappiness or what is left of 200, over a cost that is between a third and two of all."""
    costs = m.lruvec.anon_cost + m.lruvec.file_cost
    if type == ANON:
        return m.swappiness * (3 * costs + 1) // (costs + m.lruvec.anon_cost + 1)
    return (200 - m.swappiness) * (3 * costs + 1) // (costs + m.lruvec.file_cost + 1)


INVARIANTS = (
    one_place,
    lists_linked,
    taken_lists_linked,
    scan_state,
    flags_agree,
    lists_counted,
    isolated_counted,
    batches_counted,
    references_counted,
    mlocked_is_unevictable,
    shadows,
    costs_decay,
)

STEPS = (
    accessed_as_listed,
    active_for_a_reason,
    active_list_spared,
    isolated_from_the_tail,
    referenced_is_kept,
    referenced_is_kept_at_once,
    eviction_leaves_shadow,
    refault_by_distance,
    scan_mix,
)

SPEC = Spec(
    name="lru",
    state=LruMachine,
    init=lru_init,
    actions=ACTIONS,
    properties=(*INVARIANTS, *STEPS),
    parameters=PARAMETERS,
    derived=DERIVED,
    requirements=REQUIREMENTS,
    scopes=SCOPES,
    explored=tuple(name for name in SCOPES if name != "large"),
    deadlock_free=True,
    doc=__doc__,
    flows={
        "mark_accessed": (
            mark_accessed, folio_mark_accessed, folio_activate, lru_cache_activate_folio, folio_batch_add_and_move,
            folio_batch_move_lru, move_fn,
        ),
        "shrink_inactive": (
            shrink, shrink_list, shrink_inactive_list, shrink_active_list, isolate_folios, isolate_lru_folios,
            shrink_next_folio, reclaim_folio, folio_check_references, remove_mapping, putback_inactive,
            move_folios_to_lru, deactivate_next_folio, putback_active,
        ),
    },
    symmetric=("page", "cpu"),
)
