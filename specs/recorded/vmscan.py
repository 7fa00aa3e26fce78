"""Relations that every run of mm/vmscan.c keeps between its events (Linux 6.1, the classic two-list LRU).

The one idea: one pass over the events, task by task. An isolation opens a bracket in its task that the shrink event of
the same list closes; direct_reclaim_begin or kswapd_wake opens one around many of these. What a bracket says when it
closes must be what was said when it opened, as the kernel's text has it, and every event counts for one row of a table:
right, wrong, or, with the reason, not to be told. Sources: isolate_lru_folios(), shrink_inactive_list(),
shrink_folio_list(), shrink_active_list(), shrink_lruvec(), do_try_to_free_pages(), balance_pgdat(), kswapd().
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...model.gfp import gfp_zone
from .ftrace import Event, PageAllocated, PageFreed
from .lru import SWAP_CLUSTER_MAX
from .naming import gfp_flags
from .tally import Difference, Tally
from .vmscan_events import (
    PRIORITY_MAX,
    ActiveShrunk,
    DirectReclaimBegun,
    DirectReclaimEnded,
    FolioWritten,
    InactiveShrunk,
    KswapdCalled,
    KswapdSlept,
    KswapdWoken,
    LruIsolated,
    OtherReclaim,
    SlabShrunk,
)

ZONES = ("DMA", "DMA32", "NORMAL", "MOVABLE")
BOOST_PRIORITY = PRIORITY_MAX - 2
"""balance_pgdat() does not go below this while it reclaims for the watermarks' boost."""
HUGE_PAGES = 512
"""HPAGE_PMD_NR: what a list's entry may stand for."""

TAKEN = "isolation: taken + skipped <= scanned"
REQUESTED = "isolation: scanned - skipped <= requested"
CLUSTER = "isolation: requested is 1 to SWAP_CLUSTER_MAX"
OF_RECLAIM = "isolation: order and highest zone of its reclaim"
FOLLOWED = "isolation, then its shrink event: same list and counts"
OUTCOMES = "inactive: reclaimed + activated + ref_keep <= taken"
KINDS = "inactive: dirty, writeback, activated fit the list"
ACTIVE = "active: taken = active + deactivated + freed"
REFERENCED = "active: active <= referenced, and 0 if anonymous"
WRITTEN = "write: in its list's shrinking, a page once"
PRIORITY = "priority never rises within a reclaim"
NESTED = "direct reclaim: begin and end alternate by task"
SUM = "direct reclaim: nr_reclaimed >= sum of its lists"
KSWAPD = "kswapd: sleep, call, wake, reclaim in this order"
EVENT_RELATIONS = (
    TAKEN, REQUESTED, CLUSTER, OF_RECLAIM, FOLLOWED, OUTCOMES, KINDS, ACTIVE, REFERENCED, WRITTEN, PRIORITY,
    NESTED, SUM, KSWAPD,
)  # fmt: skip

BEGUN_BEFORE = "the task's reclaim began before the trace"
OPEN_AT_END = "the trace ends first"
OTHER = "a memcg's or a node's own reclaim, or MADV_PAGEOUT, which have no such event"
BUFFER_HEADS = "with too many buffer heads all zones are reclaimed"
HUGE = "the last folio may be a huge page, of which all pages count"
NOT_RECORDED = "the recording has no event of the kind that this begins with"
UNEVICTABLE = "folios that are unevictable now go back without being counted"


BEGINS_WITH: Mapping[str, type[Event]] = {FOLLOWED: LruIsolated, KSWAPD: KswapdCalled}
"""What must be recorded at all for the others of a relation to be missed."""


@dataclass
class _Reclaim:
    """A direct reclaim, or kswapd between waking and trying to sleep."""

    begun: DirectReclaimBegun | KswapdWoken
    classzone: int | None
    order: int
    reclaimed: int = 0
    priority: int | None = None
    restarted: bool = False
    swapped: bool = False  # has an inactive anonymous list been scanned

    @property
    def direct(self) -> bool:
        return isinstance(self.begun, DirectReclaimBegun)


@dataclass
class _Task:
    seen: bool = False
    reclaim: _Reclaim | None = None
    isolation: LruIsolated | None = None
    written: set[int] = field(default_factory=set)
    freed: int = 0


class Vmscan:
    """One pass over the events. `huge`: there are huge pages on the lists."""

    def __init__(self, huge: bool = False) -> None:
        self.tallies = {row: Tally() for row in EVENT_RELATIONS}
        self.tasks: dict[int, _Task] = {}
        self.kswapd: int | None = None
        self.asleep: bool | None = None
        self.called: int | None = None  # the highest order asked for since kswapd fell asleep
        self.huge = huge
        self.others = False  # whether there are reclaims of other kinds, perhaps one within another
        self.counts: Counter[str] = Counter()  # what the events say of the counters, between the two states
        self.nameless = 0  # isolations there of which it is not known whether kswapd made them
        self.inside = False
        self.seen: set[type[Event]] = set()
        self.isolated_lists: set[int] = set()  # between the two states
        self._readers: dict[type[Event], Callable[[_Task, Any], None]] = {
            LruIsolated: self._isolated, InactiveShrunk: self._inactive, ActiveShrunk: self._active,
            FolioWritten: self._written, DirectReclaimBegun: self._begun, DirectReclaimEnded: self._ended,
            KswapdWoken: self._woken, KswapdSlept: self._slept, SlabShrunk: self._slab_shrunk,
        }  # fmt: skip

    # --- counting

    def check(self, row: str, event: Event, right: bool, recorded: object, wanted: object) -> bool:
        if right:
            self.tallies[row].right += 1
        else:
            self.tallies[row].wrong.append(Difference(event.line, f"task {event.pid}", str(recorded), str(wanted)))
        return right

    def unknown(self, row: str, reason: str) -> None:
        self.tallies[row].not_predicted[reason] += 1

    def add(self, name: str, count: int) -> None:
        if self.inside:
            self.counts[name] += count

    # --- events

    def read(self, event: Event, inside: bool) -> None:
        """`inside`: between the two states, where counters are compared."""
        self.inside = inside
        self.seen.add(type(event))
        if isinstance(event, KswapdCalled):
            self.called = max(self.called or 0, event.order)
            return
        if isinstance(event, OtherReclaim):
            self.others = True
            return
        if isinstance(event, PageAllocated):
            self.huge = self.huge or 1 << event.order == HUGE_PAGES
            return
        if isinstance(event, PageFreed):
            task = self.tasks.get(event.pid)
            if task is not None and task.isolation is not None and event.context[2:3] == ".":
                task.freed += 1 << event.order
            return
        reader = self._readers.get(type(event))
        if reader is not None:
            task = self.tasks.setdefault(event.pid, _Task())
            reader(task, event)
            task.seen = True

    def isolated_now(self) -> Counter[bool]:
        """How many pages tasks have isolated at this moment, by whether they are of files."""
        found: Counter[bool] = Counter()
        for task in self.tasks.values():
            if task.isolation is not None:
                found[task.isolation.lru >> 1 == 1] += task.isolation.taken
        return found

    def finish(self) -> None:
        """At the end of the trace: what is still open."""
        for task in self.tasks.values():
            if task.isolation is not None:
                self.unknown(FOLLOWED, OPEN_AT_END)
            if task.reclaim is not None and task.reclaim.direct:
                self.unknown(NESTED, OPEN_AT_END)
        if self.others:
            for row in (OF_RECLAIM, PRIORITY, SUM):
                self.tallies[row].excuse(OTHER)
        for row in self.not_recorded():
            self.tallies[row].excuse(NOT_RECORDED)

    def not_recorded(self) -> list[str]:
        """The relations of which the recording lacks the first half: it was made with fewer kinds of events."""
        return [row for row, needed in BEGINS_WITH.items() if needed not in self.seen]

    def _isolated(self, task: _Task, event: LruIsolated) -> None:
        self.check(TAKEN, event, event.taken + event.skipped <= event.scanned,
                   f"taken {event.taken}, skipped {event.skipped}", f"at most scanned {event.scanned}")  # fmt: skip
        excess = event.scanned - event.skipped - event.requested
        if 0 < excess < HUGE_PAGES and self.huge:
            self.unknown(REQUESTED, HUGE)
        else:
            self.check(REQUESTED, event, excess <= 0, f"scanned {event.scanned}, skipped {event.skipped}",
                       f"at most requested {event.requested}")  # fmt: skip
        self.check(CLUSTER, event, 1 <= event.requested <= SWAP_CLUSTER_MAX, event.requested, "1 to 32")
        if task.isolation is not None:
            self.check(FOLLOWED, event, False, "another isolation", f"the shrink event of {task.isolation.line}")
        self._of_reclaim(task, event)
        if self.inside:
            self.isolated_lists.add(event.lru)
        active, file = event.lru & 1, event.lru >> 1
        who = "KSWAPD" if event.pid == self.kswapd else "DIRECT"
        if active:
            self.add("PGREFILL", event.scanned)
        else:
            self.add(f"PGSCAN_{who}", event.scanned)
            self.add("PGSCAN_FILE" if file else "PGSCAN_ANON", event.scanned)
        self.add("PGSCAN_SKIP", event.skipped)
        task.isolation = event if active or event.taken else None
        if task.isolation is None:
            self.check(FOLLOWED, event, True, "", "")
        task.written.clear()
        task.freed = 0

    def _of_reclaim(self, task: _Task, event: LruIsolated) -> None:
        reclaim = task.reclaim
        if reclaim is None:
            self.nameless += self.inside
            if event.pid == self.kswapd and self.asleep:
                self.check(KSWAPD, event, False, "an isolation", "kswapd sleeps")
            self.unknown(OF_RECLAIM, OTHER if task.seen and event.pid != self.kswapd else BEGUN_BEFORE)
            return
        if reclaim.classzone is None:
            reclaim.classzone = event.classzone
        if not reclaim.direct and event.order == 0:
            reclaim.order = 0  # kswapd_shrink_node() goes on with order 0 after enough was reclaimed
        if event.classzone > reclaim.classzone:
            self.unknown(OF_RECLAIM, BUFFER_HEADS)
            return
        wanted = f"order {reclaim.order}, zone {reclaim.classzone}"
        self.check(OF_RECLAIM, event, (event.order, event.classzone) == (reclaim.order, reclaim.classzone),
                   f"order {event.order}, zone {event.classzone}", wanted)  # fmt: skip
        reclaim.swapped = reclaim.swapped or event.lru == 0

    def _followed(self, task: _Task, event: InactiveShrunk | ActiveShrunk) -> LruIsolated | None:
        isolation, task.isolation = task.isolation, None
        if isolation is None:
            if task.seen:
                self.check(FOLLOWED, event, False, "a shrink event", "an isolation of pages before it")
            else:
                self.unknown(FOLLOWED, BEGUN_BEFORE)
            return None
        active = isinstance(event, ActiveShrunk)
        count = isolation.taken if isinstance(event, ActiveShrunk) else isolation.scanned
        said = event.taken if isinstance(event, ActiveShrunk) else event.scanned
        right = (bool(isolation.lru & 1), bool(isolation.lru >> 1), count) == (active, event.file, said)
        self.check(FOLLOWED, event, right, f"active {active}, file {event.file}, pages {said}",
                   f"list {isolation.lru}, pages {count}")  # fmt: skip
        return isolation

    def _inactive(self, task: _Task, event: InactiveShrunk) -> None:
        isolation = self._followed(task, event)
        activated = event.activate_anon + event.activate_file
        # The taken pages are known from the isolation alone; without one the scanned are a bound.
        taken = event.scanned if isolation is None else isolation.taken
        ended = event.reclaimed + activated + event.ref_keep
        self.check(OUTCOMES, event, ended <= taken, f"{event.reclaimed} + {activated} + {event.ref_keep}",
                   f"at most {taken}")  # fmt: skip
        self._kinds(event, activated, taken)
        if isolation is not None:
            self.check(WRITTEN, event, len(task.written) <= taken - event.ref_keep, f"{len(task.written)} written",
                       f"at most {taken - event.ref_keep}")  # fmt: skip
        self._priority(task, event, event.priority)
        if task.reclaim is not None:
            task.reclaim.reclaimed += event.reclaimed
        who = "KSWAPD" if event.pid == self.kswapd else "DIRECT"
        self.add(f"PGSTEAL_{who}", event.reclaimed)
        self.add("PGSTEAL_FILE" if event.file else "PGSTEAL_ANON", event.reclaimed)
        self.add("PGACTIVATE", activated)

    def _kinds(self, event: InactiveShrunk, activated: int, taken: int) -> None:
        """Folios under writeback are activated (or are locked in memory by now); of anonymous ones and shmem neither
        dirty nor congested is counted; a folio changes its type only if it could not be unmapped (lazily freed)."""
        other = event.activate_anon if event.file else event.activate_file
        right = (
            event.writeback + event.immediate + event.unmap_fail <= taken - event.reclaimed - event.ref_keep
            and event.congested <= event.dirty <= taken
            and (event.file or event.dirty == 0)
            and other <= event.unmap_fail
        )
        said = (f"writeback {event.writeback}, immediate {event.immediate}, unmap_fail {event.unmap_fail}, "
                f"congested {event.congested}, dirty {event.dirty}, of the other type {other}")  # fmt: skip
        kind = "file" if event.file else "anon"
        self.check(KINDS, event, right, said, f"{kind}, activated {activated}, taken {taken}")

    def _active(self, task: _Task, event: ActiveShrunk) -> None:
        isolation = self._followed(task, event)
        back = event.active + event.deactivated
        if isolation is not None and back + task.freed < event.taken:
            self.unknown(ACTIVE, UNEVICTABLE)
        else:
            self.check(ACTIVE, event, back <= event.taken, f"{event.active} + {event.deactivated}", event.taken)
        right = event.active <= event.referenced and (event.file or event.referenced == 0)
        self.check(REFERENCED, event, right, f"active {event.active}, referenced {event.referenced}",
                   "file" if event.file else "anon")  # fmt: skip
        self._priority(task, event, event.priority)
        self.add("PGDEACTIVATE", event.deactivated)

    def _written(self, task: _Task, event: FolioWritten) -> None:
        isolation = task.isolation
        if isolation is None:
            if task.reclaim is not None or (event.pid == self.kswapd and self.asleep is not None):
                self.check(WRITTEN, event, False, f"page {event.pfn}", "a list that is being shrunk")
            else:
                self.unknown(WRITTEN, OTHER if task.seen else BEGUN_BEFORE)
            return
        right = isolation.lru == (2 if event.file else 0) and event.pfn not in task.written
        self.check(WRITTEN, event, right, f"page {event.pfn}, file {event.file}", f"list {isolation.lru}, once")
        task.written.add(event.pfn)

    # --- reclaims

    def _slab_shrunk(self, task: _Task, event: SlabShrunk) -> None:
        self._priority(task, event, event.priority)

    def _priority(self, task: _Task, event: InactiveShrunk | ActiveShrunk | SlabShrunk, priority: int) -> None:
        reclaim = task.reclaim
        if reclaim is None:
            if not isinstance(event, SlabShrunk):  # who drops all caches calls shrinkers too
                self.unknown(PRIORITY, OTHER if task.seen and event.pid != self.kswapd else BEGUN_BEFORE)
            return
        last, reclaim.priority = reclaim.priority, priority
        least = 0 if reclaim.direct else 1
        rises = last is not None and priority > last
        right = priority >= least and (not rises or (not reclaim.restarted and self._may_restart(reclaim, last or 0)))
        reclaim.restarted = reclaim.restarted or rises
        if rises and isinstance(reclaim.begun, DirectReclaimBegun):
            self._count_stall(reclaim.begun)
        self.check(PRIORITY, event, right, priority, f"{least} to {last if last is not None else PRIORITY_MAX}")

    def _may_restart(self, reclaim: _Reclaim, priority: int) -> bool:
        """do_try_to_free_pages() begins again, with active lists forced, if nothing was reclaimed; balance_pgdat()
        when a boosted reclaim, which does not swap, finds the zones unbalanced."""
        if reclaim.direct:
            return reclaim.reclaimed == 0
        return priority >= BOOST_PRIORITY and not reclaim.swapped

    def _count_stall(self, begun: DirectReclaimBegun) -> None:
        """do_try_to_free_pages() counts each of its beginnings for the highest zone that may be used."""
        self.add(f"ALLOCSTALL_{ZONES[gfp_zone(gfp_flags(begun.gfp_flags))]}", 1)

    def _begun(self, task: _Task, event: DirectReclaimBegun) -> None:
        self.check(NESTED, event, task.reclaim is None, "begin", "end of the one before")
        zone = gfp_zone(gfp_flags(event.gfp_flags))
        task.reclaim = _Reclaim(event, zone, event.order)
        self._count_stall(event)

    def _ended(self, task: _Task, event: DirectReclaimEnded) -> None:
        reclaim, task.reclaim = task.reclaim, None
        if task.isolation is not None:
            self.check(FOLLOWED, event, False, "the end of the reclaim", f"the shrink event of {task.isolation.line}")
            task.isolation = None
        if reclaim is None:
            if task.seen:
                self.check(NESTED, event, False, "end", "begin before it")
            else:
                self.unknown(NESTED, BEGUN_BEFORE)
                self.unknown(SUM, BEGUN_BEFORE)
            return
        self.check(NESTED, event, True, "", "")
        self.check(SUM, event, event.reclaimed >= reclaim.reclaimed, event.reclaimed, f"at least {reclaim.reclaimed}")

    def _woken(self, task: _Task, event: KswapdWoken) -> None:
        self._is_kswapd(event)
        called = -1 if self.called is None else self.called
        right = event.order >= called and not (self.asleep and self.called is None)
        self.check(KSWAPD, event, right, f"awake, order {event.order}", f"a call before, order {called}")
        if self.called is None:
            self.add("WOKEN_UNCALLED", 1)
        self.asleep = False
        task.reclaim = _Reclaim(event, None, event.order)
        self.called = None
        self.add("PAGEOUTRUN", 1)

    def _slept(self, task: _Task, event: KswapdSlept) -> None:
        self._is_kswapd(event)
        self.check(KSWAPD, event, not self.asleep, "falls asleep", "awake before")
        if task.isolation is not None:
            self.check(FOLLOWED, event, False, "kswapd sleeps", f"the shrink event of {task.isolation.line}")
            task.isolation = None
        self.asleep, self.called, task.reclaim = True, None, None
        self.add("KSWAPD_SLEPT", 1)

    def _is_kswapd(self, event: Event) -> None:
        if self.kswapd is None:
            self.kswapd = event.pid
        self.check(KSWAPD, event, event.pid == self.kswapd, f"task {event.pid}", f"task {self.kswapd}")
