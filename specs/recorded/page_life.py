"""Which frames are in use and which are on an LRU list, event by event, from the first recorded state on.

The one idea: a page comes to the LRU with an event (mm_lru_insertion) and leaves it for good only when it is freed,
with an event too. In between reclaim and compaction take it off and put it back without saying which page; so who
belongs to the LRU, and of which type, is exact, and is compared with the second state page by page. On which of the two
lists of its type a page is, follows the events, and where a later event or the second state shows another one, it was
moved silently: how often that may have happened is known from the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ...model.folio import LRU_UNEVICTABLE
from .ftrace import MAX_ORDER, Event, FreePageIsolated, PageAllocated, PageBulkAllocated, PageFreed
from .lru import FREE as UNUSED
from .lru import RecordedLru
from .lru_states import LruState
from .tally import Difference, Tally
from .vmscan_events import LRU_NAMES, FolioWritten, ForMigration, LruActivated, LruInserted, LruIsolated

ALLOCATION = "page allocation: of free pages"
FREE = "page free: of pages in use"
INSERTION = "insertion: of a page in use"
LISTED = "insertion: its list is the model's folio_lru_list()"
ONCE = "insertion: the page was on no list, or isolated"
ACTIVATION = "activation: of a page in use, on an LRU list"
WRITE = "write: of a page in use, on an LRU list"
PAGE_RELATIONS = (ALLOCATION, FREE, INSERTION, LISTED, ONCE, ACTIVATION, WRITE)

BEFORE_STATE = "before the first state"
IN_TRANSIT = "frames without a reference in a state: unused since boot, or just being freed or allocated"
NO_PROBES = "without probes bulk allocation and compaction take pages with no event"
MUNLOCKED = "munlock() has no event"
NO_ISOLATION = "nothing shows who isolated it: MADV_PAGEOUT, MADV_COLD and mlock() have no events"

HUGE_ORDER = 9
_FREE, _USED, _TRANSIT = range(3)
_USES = {**dict.fromkeys(UNUSED, _FREE), "ref0": _TRANSIT}


def _compound(flags: str) -> bool:
    return "__GFP_COMP" in flags or "GFP_TRANSHUGE" in flags


class PageLife:
    """What is known of each frame from the first state on, in the machine `lru`; before `start` nothing is."""

    def __init__(self, lru: RecordedLru, state: LruState) -> None:
        self.lru = lru
        self.state = state
        self.tallies = {row: Tally() for row in PAGE_RELATIONS}
        self.uses: list[int] = []
        self.huge: dict[int, int] = {}  # pages of each folio that has several, by its first page
        self.newcomers: dict[int, int] = {}  # pages allocated since the first state and not inserted, by whom
        self.inserters: set[int] = set()  # tasks of whose pages some were inserted
        self.probed = False
        self.counts: Counter[str] = Counter()
        self.deactivated = 0  # active folios of which an event shows that they were made inactive before
        self.rescued = 0  # unevictable folios of which the same is shown
        self.isolated = 0  # pages taken off the lists for migration, and not put back yet
        self.reclaimed = 0  # pages taken by reclaim, which puts back by an insertion those that are unevictable now
        self.runs: dict[int, set[int]] = {}  # by CPU: pages inserted with nothing else between
        self.inside = False
        self._readers: dict[type[Event], Callable[[Any], None]] = {
            PageAllocated: self._allocated, PageFreed: self._freed, PageBulkAllocated: self._allocated_in_bulk,
            FreePageIsolated: self._free_page_isolated, LruInserted: self._inserted, LruActivated: self._activated,
            FolioWritten: self._written, ForMigration: self._for_migration, LruIsolated: self._taken,
        }  # fmt: skip

    @property
    def known(self) -> bool:
        return bool(self.uses)

    def start(self) -> None:
        """The first state is reached."""
        self.uses = [_USED] * self.state.frames
        for run, what in self.state.classes:
            for page in run:
                self.uses[page] = _USES.get(what, _USED)
        for pages in self.state.lists:
            for page in pages:
                if len(self.state.folio(page)) > 1:
                    self.huge[page] = len(self.state.folio(page))

    # --- counting

    def check(self, row: str, event: Event, right: bool, recorded: object, wanted: object) -> None:
        if right:
            self.tallies[row].right += 1
        else:
            self.tallies[row].wrong.append(Difference(event.line, f"task {event.pid}", str(recorded), str(wanted)))

    def unknown(self, row: str, reason: str) -> None:
        self.tallies[row].not_predicted[reason] += 1

    def count(self, name: str, count: int) -> None:
        if self.inside:
            self.counts[name] += count

    def _in_use(self, row: str, event: Event, frames: range, wanted: str, listed: bool = False) -> None:
        if not self.known:
            self.unknown(row, BEFORE_STATE)
            return
        uses = {self.uses[frame] for frame in frames}
        lost = listed and not all(self.lru.on_list(frame) for frame in frames)
        if _TRANSIT in uses:
            self.unknown(row, IN_TRANSIT)
        elif lost and all(frame in self.newcomers for frame in frames):
            self.unknown(row, MUNLOCKED)
        else:
            said = "free" if _FREE in uses else "on no list" if lost else "in use"
            self.check(row, event, not lost and uses == {_USED}, f"page {frames[0]}: {said}", wanted)

    # --- pages

    def read(self, event: Event, inside: bool) -> None:
        """`inside`: between the two states, where counters are compared."""
        self.inside = inside
        if not isinstance(event, LruInserted):
            self.runs.pop(event.cpu, None)
        reader = self._readers.get(type(event))
        if reader is not None:
            reader(event)

    def finish(self) -> None:
        """At the end of the trace: whether there were probes is known only now."""
        if not self.probed:
            for row in (FREE, INSERTION, ACTIVATION, WRITE):
                self.tallies[row].excuse(NO_PROBES)

    def uses_as(self, page: int, what: str) -> bool | None:
        """Whether a frame is in use or free as a state's class says; None where that says neither."""
        there = _USES.get(what, _USED)
        return None if _TRANSIT in (there, self.uses[page]) else there == self.uses[page]

    def silent(self, page: int) -> bool:
        """Whether a page can have come to a list with no event: its task has mlocked its new pages, and munlocked them.
        Of such a task no new page is inserted."""
        return page in self.newcomers and self.newcomers[page] not in self.inserters

    def _use(self, frames: range) -> None:
        for frame in frames if self.known else ():
            self.uses[frame] = _USED

    def _allocated(self, event: PageAllocated) -> None:
        if event.pfn is None:
            return
        self.count("PGALLOC", 1 << event.order)
        frames = range(event.pfn, event.pfn + (1 << event.order))
        if not self.known:
            self.unknown(ALLOCATION, BEFORE_STATE)
        elif any(self.uses[frame] == _TRANSIT for frame in frames):
            self.unknown(ALLOCATION, IN_TRANSIT)
        else:
            right = all(self.uses[frame] == _FREE for frame in frames)
            self.check(ALLOCATION, event, right, f"page {event.pfn}: in use", "free")
        self._use(frames)
        if self.known and event.order in (0, HUGE_ORDER):
            self.newcomers.update(dict.fromkeys(frames, event.pid))
        if event.order and _compound(event.gfp_flags):
            self.huge[event.pfn] = 1 << event.order

    def _allocated_in_bulk(self, event: PageBulkAllocated) -> None:
        self.probed = True
        self.count("PGALLOC", 1)
        self._use(range(event.pfn, event.pfn + 1))

    def _free_page_isolated(self, event: FreePageIsolated) -> None:
        """Compaction takes a free block: its pages become those that others are moved to, or are freed."""
        self.probed = True
        self._use(range(event.pfn, event.pfn + (1 << event.order)))

    def _freed(self, event: PageFreed) -> None:
        self.count("PGFREE", 1 << event.order)
        frames = range(event.pfn, event.pfn + (1 << event.order))
        self._in_use(FREE, event, frames, "in use")
        for order in range(MAX_ORDER) if self.huge else ():
            head = event.pfn >> order << order
            if event.pfn in self.folio(head):
                self.huge.pop(head, None)  # gone as a whole, or split before
        for frame in frames if self.known else ():
            self.uses[frame] = _FREE
            self.lru.release(frame)
            self.newcomers.pop(frame, None)

    # --- the LRU

    def folio(self, page: int) -> range:
        return range(page, page + self.huge.get(page, 1))

    def _inserted(self, event: LruInserted) -> None:
        swapbacked = event.flags[3] == "b"
        frames = self.folio(event.pfn)
        self._in_use(INSERTION, event, frames, "in use")
        if not self.known:
            self.unknown(ONCE, BEFORE_STATE)
            self.unknown(LISTED, BEFORE_STATE)
            return
        self._once(event)
        lists = set()
        for frame in frames:
            self.uses[frame] = _USED
            if frame in self.newcomers:
                self.inserters.add(self.newcomers.pop(frame))
            self.lru.isolate(frame)
            lists.add(self.lru.insert(frame, swapbacked, event.lru in (1, 3), event.lru == LRU_UNEVICTABLE))
        right = lists == {event.lru} and (swapbacked or event.flags[2] != "s")
        model = ", ".join(LRU_NAMES[lru] for lru in lists)
        self.check(LISTED, event, right, f"{LRU_NAMES[event.lru]}, flags {event.flags!r}", model)

    def _once(self, event: LruInserted) -> None:
        """A page that is on a list must have been isolated to be inserted. A batch is drained with interrupts off:
        nobody can isolate a page between two insertions of it."""
        run = self.runs.setdefault(event.cpu, set())
        again = event.pfn in run
        run.add(event.pfn)
        if again or not self.lru.on_list(event.pfn):
            self.check(ONCE, event, not again, f"page {event.pfn} again", "once in a batch")
        elif event.lru == LRU_UNEVICTABLE and self.reclaimed:
            self.reclaimed -= 1
            self.check(ONCE, event, True, "", "")
        elif self.isolated:
            self.isolated -= 1
            self.check(ONCE, event, True, "", "")
        else:
            self.unknown(ONCE, NO_ISOLATION)

    def _activated(self, event: LruActivated) -> None:
        frames = self.folio(event.pfn)
        self.count("PGACTIVATE", len(frames))
        self._in_use(ACTIVATION, event, frames, "in use, on a list", listed=True)
        for frame in frames if self.known else ():
            lru = self.lru.list_of(frame)
            if lru == LRU_UNEVICTABLE:
                self.rescued += 1
                swapbacked = self.lru.swapbacked(frame)
                self.lru.isolate(frame)
                self.lru.insert(frame, swapbacked, False, False)
            elif lru in (1, 3):
                self.deactivated += 1
                self.lru.deactivate(frame)
            if lru is not None:
                self.lru.activate(frame)

    def _written(self, event: FolioWritten) -> None:
        frames = self.folio(event.pfn)
        self._in_use(WRITE, event, frames, "in use, on a list", listed=True)
        if not event.file:
            self.count("PSWPOUT", len(frames))

    def _for_migration(self, event: ForMigration) -> None:
        self.isolated += event.taken

    def _taken(self, event: LruIsolated) -> None:
        self.reclaimed += event.taken
