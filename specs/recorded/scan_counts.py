"""How long the lists are as reclaim goes on, and how much of them it scans, beside the model's get_scan_count().

The one idea: isolations and shrink events say how many pages go from list to list, and insertions, activations and
frees which; so the length of each list is known as a range, exact until a page is freed of which it is not known on
which list of its type it was. What one call of shrink_lruvec() asks for of a list, 32 by 32 and then the rest, is what
get_scan_count() said: the length >> priority, or the type's share of that. The share depends on costs that are not
recorded, so it is a range too: from all the cost on this type to all of it on the other one.

Compaction, munlock() and drop_caches move pages between lists with no event: then a length may be outside its range,
and only what no length of the type's lists allows is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...model.folio import LRU_UNEVICTABLE
from ...model.lang.records import Store
from .ftrace import Event, PageFreed
from .lru import SWAP_CLUSTER_MAX, LruText, RecordedLru, lru_scale
from .lru_states import LruState
from .page_life import PageLife
from .tally import Difference, Tally
from .vmscan_events import (
    LRU_NAMES,
    ActiveShrunk,
    DirectReclaimBegun,
    DirectReclaimEnded,
    ForMigration,
    InactiveShrunk,
    KswapdSlept,
    KswapdWoken,
    LruActivated,
    LruInserted,
    LruIsolated,
    SlabShrunk,
)

FREED = "inactive: pages of the LRU freed meanwhile = reclaimed"
SCAN = "scanned of a list: what get_scan_count() says"
SCAN_RELATIONS = (FREED, SCAN)

OUTSIDE = "not between the two states"
PUT_BACK = "folios that nobody else uses any more are freed when they are put back, and not counted"
SILENT = "compaction, munlock() or drop_caches moved pages between lists with no event"
NO_END = "no event says at which priority this was"

ACTIVE_ANON = 1


class ScanModel:
    """get_scan_count() of the model, for one list of some length."""

    def __init__(self, text: LruText, state: LruState) -> None:
        sizes = lru_scale(state)
        self.text = text.lru
        self.m: Any = text.clients.LruMachine(Store(sizes))
        self.scan: Any = self.m.sc
        self.scan.may_swap = True
        self.cost = sizes["cost_max"]

    def count(self, lru: int, size: int, priority: int, alone: bool, dear: bool = False) -> int:
        """Of a list of this size, with its type scanned alone, or with all the cost on it or on the other one."""
        file = self.text.is_file_lru(lru)
        self.m.lruvec.nr_lru[lru] = size
        self.scan.priority = priority
        self.scan.file_is_tiny, self.scan.cache_trim_mode = alone and not file, alone and file
        self.scan.anon_cost, self.scan.file_cost = (self.cost, 0) if file != dear else (0, self.cost)
        self.text.get_scan_count(self.m, self.scan)
        return int(self.scan.nr[lru])

    def allows(self, lru: int, low: int, high: int, priority: int, asked: int, whole: bool) -> bool:
        """Whether so much may be asked for of a list whose length is in this range; if not the whole, at most that."""
        most = self.count(lru, high, priority, alone=True)
        if not whole:
            return asked <= most
        if self.count(lru, low, priority, alone=True) <= asked <= most:
            return True
        dearest = self.count(lru, low, priority, alone=False, dear=True)
        return dearest <= asked <= self.count(lru, high, priority, alone=False)


@dataclass
class _Range:
    """The least and the greatest length of each evictable list, over some time."""

    low: list[int]
    high: list[int]
    newcomers: int


@dataclass
class _Turn:
    """One call of shrink_lruvec(): its lists' lengths when it began, and what was asked for of each list."""

    line: int
    lengths: _Range
    asked: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    priority: int | None = None


class ScanCounts:
    """Reads each event before the machine `lru` is moved on by it."""

    def __init__(self, text: LruText, life: PageLife) -> None:
        self.lru: RecordedLru = life.lru
        self.life = life
        state = life.state
        self.model = ScanModel(text, state)
        self.tallies = {row: Tally() for row in SCAN_RELATIONS}
        lengths = [sum(len(state.folio(page)) for page in pages) for pages in state.lists[:LRU_UNEVICTABLE]]
        self.now = _Range(list(lengths), list(lengths), 0)
        self.moved = [0, 0]  # how often pages of a type were moved between its lists without being named
        self.certain: dict[int, int] = {}  # `moved` when it was last known on which list a page is
        self.isolated: dict[int, LruIsolated] = {}  # by task
        self.freed: dict[int, int] = {}  # by task, since its isolation
        self.perhaps: dict[int, int] = {}  # the same for pages of which it is not known whether they are on a list
        self.waiting: dict[int, _Range] = {}  # by task that may be in get_scan_count() at any moment
        self.turns: dict[int, _Turn] = {}
        self.exact = 0
        self._readers: dict[type[Event], Callable[[Any], None]] = {
            PageFreed: self._page_freed, LruInserted: self._inserted, LruActivated: self._activated,
            ForMigration: self._for_migration, LruIsolated: self._isolated, InactiveShrunk: self._inactive,
            ActiveShrunk: self._active, SlabShrunk: self._slab, KswapdWoken: self._boundary,
            KswapdSlept: self._boundary, DirectReclaimBegun: self._boundary, DirectReclaimEnded: self._boundary,
        }  # fmt: skip

    def read(self, event: Event, inside: bool) -> None:
        if not inside:
            if isinstance(event, LruIsolated):
                self.tallies[SCAN].not_predicted[OUTSIDE] += 1
            elif isinstance(event, InactiveShrunk):
                self.tallies[FREED].not_predicted[OUTSIDE] += 1
            return
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    # --- lengths

    def _add(self, lru: int, low: int, high: int) -> None:
        self.now.low[lru] = max(self.now.low[lru] + low, 0)
        self.now.high[lru] = max(self.now.high[lru] + high, self.now.low[lru])
        for waiting in self.waiting.values():
            waiting.low[lru] = min(waiting.low[lru], self.now.low[lru])
            waiting.high[lru] = max(waiting.high[lru], self.now.high[lru])

    def _page_freed(self, event: PageFreed) -> None:
        isolation = self.isolated.get(event.pid) if event.context[2:3] == "." else None
        for page in range(event.pfn, event.pfn + (1 << event.order)):
            lru = self.lru.list_of(page)
            if lru is None or lru == LRU_UNEVICTABLE:
                if isolation is not None and (lru is not None or page in self.life.newcomers):
                    self.perhaps[event.pid] += 1
                continue
            kind = lru >> 1
            if isolation is not None and isolation.lru >> 1 == kind:
                self.freed[event.pid] += 1  # nobody else can free what is isolated
            elif self.certain.get(page, 0) == self.moved[kind]:
                self._add(lru, -1, -1)
            else:
                self._add(2 * kind, -1, 0)
                self._add(2 * kind + 1, -1, 0)

    def _inserted(self, event: LruInserted) -> None:
        if event.lru != LRU_UNEVICTABLE:
            for page in self.life.folio(event.pfn):
                self._add(event.lru, 1, 1)
                self.certain[page] = self.moved[event.lru >> 1]

    def _activated(self, event: LruActivated) -> None:
        for page in self.life.folio(event.pfn):
            lru = self.lru.list_of(page)
            if lru is not None and lru != LRU_UNEVICTABLE:
                kind = lru >> 1
                self._add(2 * kind, -1, -1)
                self._add(2 * kind + 1, 1, 1)
                self.certain[page] = self.moved[kind]

    def _for_migration(self, event: ForMigration) -> None:
        for lru in range(LRU_UNEVICTABLE):
            self._add(lru, -event.taken, 0)

    # --- reclaim

    def _isolated(self, event: LruIsolated) -> None:
        turn = self.turns.get(event.pid)
        if turn is None:
            since = self.waiting.pop(event.pid, self.now)
            newcomers = max(since.newcomers, len(self.life.newcomers))
            turn = self.turns[event.pid] = _Turn(event.line, _Range(list(since.low), list(since.high), newcomers))
        turn.asked[event.lru] = turn.asked.get(event.lru, 0) + event.requested
        turn.last[event.lru] = event.requested
        if event.lru != LRU_UNEVICTABLE:
            self._add(event.lru, -event.taken, -event.taken)
        self.isolated.pop(event.pid, None)
        if event.taken:
            self.isolated[event.pid] = event
            self.freed[event.pid] = self.perhaps[event.pid] = 0

    def _inactive(self, event: InactiveShrunk) -> None:
        isolation = self.isolated.pop(event.pid, None)
        self._priority(event)
        if isolation is None:
            return
        freed, perhaps = self.freed.pop(event.pid), self.perhaps.pop(event.pid)
        if freed > event.reclaimed:
            self.tallies[FREED].not_predicted[PUT_BACK] += 1
        elif freed < event.reclaimed <= freed + perhaps:
            self.tallies[FREED].not_predicted[SILENT] += 1
        else:
            self._check(FREED, event.line, freed == event.reclaimed, f"task {event.pid}", f"{freed} freed",
                        f"{event.reclaimed} reclaimed")  # fmt: skip
        activated = event.activate_file if event.file else event.activate_anon
        inactive = isolation.taken - freed - activated
        self._put_back(int(event.file), inactive, activated, activated)

    def _active(self, event: ActiveShrunk) -> None:
        isolation = self.isolated.pop(event.pid, None)
        self._priority(event)
        if isolation is not None:
            self._put_back(int(event.file), event.deactivated, event.active, event.deactivated)

    def _put_back(self, kind: int, inactive: int, active: int, moved: int) -> None:
        self._add(2 * kind, inactive, inactive)
        self._add(2 * kind + 1, active, active)
        self.moved[kind] += moved != 0

    def _priority(self, event: InactiveShrunk | ActiveShrunk | SlabShrunk) -> None:
        turn = self.turns.get(event.pid)
        if turn is not None:
            turn.priority = event.priority

    # --- turns

    def _slab(self, event: SlabShrunk) -> None:
        """shrink_node_memcgs() asks the shrinkers after shrink_lruvec()."""
        self._priority(event)
        self._boundary(event)

    def _boundary(self, event: Event) -> None:
        turn = self.turns.pop(event.pid, None)
        self.waiting[event.pid] = _Range(list(self.now.low), list(self.now.high), len(self.life.newcomers))
        if turn is None:
            return
        for lru, asked in turn.asked.items():
            if turn.priority is None:
                self.tallies[SCAN].not_predicted[NO_END] += 1
            elif lru != ACTIVE_ANON:  # which is aged apart from get_scan_count(), too
                self._compare(turn, turn.priority, lru, asked)

    def _compare(self, turn: _Turn, priority: int, lru: int, asked: int) -> None:
        low, high = turn.lengths.low[lru], turn.lengths.high[lru]
        whole = turn.last[lru] < SWAP_CLUSTER_MAX
        # Every page of the type may be on this list, and those that came silently.
        longest = high + turn.lengths.high[lru ^ 1] + turn.lengths.newcomers
        about = f"{LRU_NAMES[lru]}, {low} to {high} pages, priority {priority}"
        if self.model.allows(lru, low, high, priority, asked, whole):
            self._check(SCAN, turn.line, True, about, "", "")
            self.exact += whole and low >> priority == high >> priority == asked
        elif asked <= (most := self.model.count(lru, longest, priority, alone=True)):
            self.tallies[SCAN].not_predicted[SILENT] += 1
        else:
            self._check(SCAN, turn.line, False, about, f"asks for {asked}", f"at most {most}")

    def _check(self, row: str, line: int, right: bool, about: str, recorded: str, wanted: str) -> None:
        if right:
            self.tallies[row].right += 1
        else:
            self.tallies[row].wrong.append(Difference(line, about, recorded, wanted))
