"""The lives of pages, by the events of the page allocator alone.

The one idea: the life of a block that the events show, from its mm_page_alloc (which comes after the allocation) to its
mm_page_free (which comes before the free), lies inside its real life. So two such lives never overlap, and no free list
holds a page that has one. Memory: an entry for each page in use, and one for each frame whose last event was its free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ...model.gfp import gfp_migratetype
from ..contracts.contract import Clause
from ..recorded.ftrace import MAX_ORDER
from ..recorded.naming import gfp_flags
from .clauses import (
    ALIGNED,
    BATCHED,
    DRAINED,
    FREED,
    HUGE_SPLIT,
    LRU,
    MIGRATETYPE,
    NUMBERS,
    OVERLAP,
    PAGES_UNSEEN,
    SPLIT,
    STRUCT_PAGE,
    TAKEN,
    TIE,
    WHOLE,
    Reason,
)
from .judging import Judge, Moment, Subject, Suspicion

LIST_MAX = 4096
"""Events within which the second mention of a page that was freed in a list comes after the first."""
FRAMES_MAX = 1 << 40
FLAGS_MAX = 1 << 12
STRUCT_PAGE_BYTES = 64
HUGE_ORDER = 9

_NAMED = rb"(?:page|folio)=(?:0x)?([0-9a-f]{1,16}|\(nil\)) pfn=(?:0x([0-9a-f]{1,12})|(\d{1,12}))"
_FOLIO = re.compile(_NAMED)
_PAGE = re.compile(_NAMED + rb" order=(\d{1,9})")
_ALLOCATED = re.compile(_PAGE.pattern + rb"(?: migratetype=(\d{1,9}) gfp_flags=([\w|]{0,500}))?")
_FAILED = re.compile(rb"page=\S+ pfn=(?:-1|0xf{16}|18446744073709551615) order=\d{1,9} ")
"""A failure, as it is printed by who does not know the kernel's rule for it (`perf script`)."""
_STRUCT = re.compile(rb"\([^)]*\) page=0x([0-9a-f]{1,16})(?: order=(\d{1,9}))?")
_RETURNED = re.compile(rb"\([^)]*\) ret=(\d{1,9})")

Life = tuple[int, bytes, bytes, int, int]
"""The moment of an allocation, the first page of its block, and the block's order."""
Handler = Callable[[bytes, int, int, bytes, bytes, bytes], bool]
"""Reads one event: its line, where its fields begin, its number, CPU, time and task. False if it cannot be read."""

_FREE = (b"mm_page_free",)
_ALLOC = (b"mm_page_alloc",)


class PageLives:
    """`freed` has, for each frame whose last event was its free, the moment, and whether that was repeated."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.live: dict[int, Life] = {}
        self.freed: dict[int, tuple[int, bytes, bytes, bool]] = {}
        self.last: tuple[bytes, int, int] = (b"", 0, 0)  # task, first page and order of the last allocation
        self.isolating: dict[bytes, tuple[int, int]] = {}  # by task: the block that compaction is about to take
        self.vmemmap: int | None = None
        self.page_bytes = STRUCT_PAGE_BYTES  # distance of the addresses of two pages, as the reader prints them
        self.first_page: tuple[int, int] | None = None
        self.page_freed: Callable[[int, int, bytes, Moment], None] = lambda pfn, order, line, now: None
        self.huge = False
        self.kinds: dict[bytes, bytes] = {}  # the migrate type that gfp flags ask for
        self.grouped = False  # whether pages are grouped by their migrate type at all
        self.more_allocated = self.more_freed = 0  # pages of the events beyond one each
        self.handlers: dict[bytes, Handler] = {
            b"mm_page_alloc": self.allocated,
            b"mm_page_free": self.free,
            b"mm_page_free_batched": self.batched,
            b"mm_page_alloc_zone_locked": self.taken,
            b"mm_page_pcpu_drain": self.drained,
            b"mm_lru_insertion": self.on_lru,
            b"mm_lru_activate": self.on_lru,
            b"page_bulk_alloc": self.allocated_in_bulk,
            b"isolate_free": self.isolate,
            b"isolate_free_ret": self.isolated,
            b"split_page": self.split,
        }

    def forget(self) -> None:
        """Nothing that was known counts any more."""
        self.live.clear()
        self.freed.clear()
        self.isolating.clear()
        self.last = (b"", 0, 0)

    def forget_page(self, frame: int) -> None:
        self.live.pop(frame, None)
        self.freed.pop(frame, None)

    # --- events

    def allocated(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _ALLOCATED.match(line, end)
        if match is None:
            failed = _FAILED.match(line, end) is not None
            self.more_allocated -= failed
            return failed
        page, pfn_text, decimal, order_text, kind, flags = match.groups()
        pfn = int(pfn_text, 16) if pfn_text is not None else int(decimal)
        order = int(order_text)
        if flags and self.kinds.get(flags) != kind:
            self._migratetype(line, number, pfn, kind, flags)
        if not pfn and (page == b"(nil)" or not page.strip(b"0")):
            self.more_allocated -= 1  # the allocation failed
            return True
        if page[0] == 102 and int(page, 16) - self.page_bytes * pfn != self.vmemmap:
            self._struct_page(line, number, int(page, 16), pfn)
        life = (number, cpu, time, pfn, order)
        if order == 0:
            if pfn in self.live or self.judge.waiting:
                self._begins(OVERLAP, pfn, line, (number, cpu, time))
            self.live[pfn] = life
            self.freed.pop(pfn, None)
        elif self._block(line, number, pfn, order):
            self.huge = self.huge or order == HUGE_ORDER
            self.more_allocated += (1 << order) - 1
            for frame in range(pfn, pfn + (1 << order)):
                if frame in self.live or self.judge.waiting:
                    self._begins(OVERLAP, frame, line, (number, cpu, time))
                self.live[frame] = life
                self.freed.pop(frame, None)
        else:
            return True
        self.last = (task, pfn, order)
        return True

    def free(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _PAGE.match(line, end)
        if match is None:
            return False
        page, pfn_text, decimal, order_text = match.groups()
        pfn = int(pfn_text, 16) if pfn_text is not None else int(decimal)
        order = int(order_text)
        if page[0] == 102 and int(page, 16) - self.page_bytes * pfn != self.vmemmap:
            self._struct_page(line, number, int(page, 16), pfn)
        if order:
            if not self._block(line, number, pfn, order):
                return True
            self.more_freed += (1 << order) - 1
        now = (number, cpu, time)
        life = self.live.pop(pfn, None)
        if life is None or self.judge.waiting:
            self._ends(pfn, line, now, life)
        elif life[4] != order or life[3] != pfn:
            self._parts(life, pfn, order, line, now)
        self.freed[pfn] = (number, cpu, time, False)
        for frame in range(pfn + 1, pfn + (1 << order)):
            self.live.pop(frame, None)
            self.freed[frame] = (number, cpu, time, True)
        if life is not None and self.judge.coarse and self.judge.tied(life[:3], now):
            self.forget_page(pfn)  # perhaps the free was the earlier one of the two
        self.page_freed(pfn, order, line, now)
        return True

    def batched(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _PAGE.match(line, end)
        if match is None:
            return False
        page, pfn_text, decimal, _ = match.groups()
        pfn = int(pfn_text, 16) if pfn_text is not None else int(decimal)
        if page[0] == 102 and int(page, 16) - self.page_bytes * pfn != self.vmemmap:
            self._struct_page(line, number, int(page, 16), pfn)
        freed = self.freed.get(pfn)
        if freed is not None and not freed[3] and not self.judge.waiting:
            self.freed[pfn] = (*freed[:3], True)
        else:
            self._repeated(pfn, line, (number, cpu, time), freed)
        return True

    def taken(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        return self._unused(TAKEN, line, end, (number, cpu, time))

    def drained(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        return self._unused(DRAINED, line, end, (number, cpu, time))

    def on_lru(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _FOLIO.match(line, end)
        if match is None:
            return False
        page, pfn_text, decimal = match.groups()
        pfn = int(pfn_text, 16) if pfn_text is not None else int(decimal)
        if page[0] == 102 and int(page, 16) - STRUCT_PAGE_BYTES * pfn != self.vmemmap:
            self._struct_page(line, number, int(page, 16), pfn, folio=True)
        if pfn not in self.live:
            freed = self.freed.get(pfn)
            if freed is None:
                self.judge.cannot_tell(LRU, self.judge.unknown_reason)
            else:
                self._suspect(LRU, pfn, line, (number, cpu, time), freed[:3], _ALLOC, (PAGES_UNSEEN,),
                              "comes to the LRU", f"free since event {freed[0]}")  # fmt: skip
        return True

    # --- what only probes show

    def allocated_in_bulk(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _STRUCT.match(line, end)
        if match is None:
            return False
        pfn = self._probed(int(match[1], 16), "page_bulk_alloc")
        if pfn is not None:
            self._begins(OVERLAP, pfn, line, (number, cpu, time))
            self.live[pfn] = (number, cpu, time, pfn, 0)
            self.freed.pop(pfn, None)
        return True

    def isolate(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _STRUCT.match(line, end)
        if match is None or match[2] is None:
            return False
        pfn, order = self._probed(int(match[1], 16), "isolate_free_ret"), int(match[2])
        if pfn is not None and self._block(line, number, pfn, order):
            self.isolating[task] = (pfn, order)
        return True

    def isolated(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _RETURNED.match(line, end)
        block = self.isolating.pop(task, None)
        if match is not None and block is not None and int(match[1]):
            pfn, order = block
            for frame in range(pfn, pfn + (1 << order)):
                self._begins(OVERLAP, frame, line, (number, cpu, time))
                self.live[frame] = (number, cpu, time, frame, 0)
                self.freed.pop(frame, None)
        return match is not None

    def split(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _STRUCT.match(line, end)
        if match is None or match[2] is None:
            return False
        pfn, order = self._probed(int(match[1], 16), "split_page"), int(match[2])
        if pfn is not None and self._block(line, number, pfn, order):
            self._divide(range(pfn, pfn + (1 << order)))
        return True

    # --- what does not fit

    def _begins(self, clause: Clause, frame: int, line: bytes, now: Moment) -> None:
        """A page is taken though it may be in use."""
        if self.judge.waiting and self.judge.blurred(("page", frame), now[1], clause):
            return
        life = self.live.get(frame)
        if life is not None:
            what = "taken from a free list" if clause is TAKEN else "drained" if clause is DRAINED else "allocated"
            self._suspect(clause, frame, line, now, life[:3], _FREE, (), what, f"in use since event {life[0]}")

    def _ends(self, pfn: int, line: bytes, now: Moment, life: Life | None) -> None:
        """A page is freed though it may be free."""
        if self.judge.waiting and self.judge.blurred(("page", pfn), now[1], FREED):
            return
        freed = self.freed.get(pfn)
        if freed is not None:
            self._suspect(FREED, pfn, line, now, freed[:3], _ALLOC, (PAGES_UNSEEN,), "freed",
                          f"free since event {freed[0]}")  # fmt: skip
        elif life is None:
            self.judge.cannot_tell(FREED, self.judge.unknown_reason)
            self.judge.watch(("page", pfn), now)

    def _parts(self, life: Life, pfn: int, order: int, line: bytes, now: Moment) -> None:
        """A block is freed that was allocated as another one."""
        inside = life[3] <= pfn and pfn + (1 << order) <= life[3] + (1 << life[4])
        reasons: tuple[Reason, ...] = ((HUGE_SPLIT if life[4] >= HUGE_ORDER else SPLIT),) if inside else ()
        self._suspect(WHOLE, pfn, line, now, life[:3], (), reasons, f"a free of order {order}",
                      f"page {life[3]:#x} was allocated with order {life[4]} by event {life[0]}")  # fmt: skip
        self._divide(range(life[3], life[3] + (1 << life[4])))
        self.live.pop(pfn, None)

    def _divide(self, frames: Iterable[int]) -> None:
        for frame in frames:
            life = self.live.get(frame)
            if life is not None:
                self.live[frame] = (*life[:3], frame, 0)

    def _repeated(self, pfn: int, line: bytes, now: Moment, freed: tuple[int, bytes, bytes, bool] | None) -> None:
        judge = self.judge
        if judge.waiting and judge.blurred(("page", pfn), now[1], BATCHED):
            return
        if freed is not None and freed[3]:
            self._suspect(BATCHED, pfn, line, now, freed[:3], (), (), "repeated again",
                          f"freed once, by event {freed[0]}")  # fmt: skip
        elif freed is not None:
            self.freed[pfn] = (*freed[:3], True)
        elif pfn in self.live:
            life = self.live.pop(pfn)
            self._suspect(BATCHED, pfn, line, now, life[:3], _FREE, (), "its free is repeated",
                          f"in use since event {life[0]}")  # fmt: skip
            self.freed[pfn] = (*now, True)
        elif judge.coarse and judge.several:
            judge.cannot_tell(BATCHED, TIE)
        elif now[0] - judge.since <= LIST_MAX or not judge.kinds_seen(_FREE, now[0]):
            judge.cannot_tell(BATCHED, judge.unknown_reason)
        else:
            self._suspect(BATCHED, pfn, line, now, None, (), (), "its free is repeated", "no free of it before")

    def _unused(self, clause: Clause, line: bytes, end: int, now: Moment) -> bool:
        match = _PAGE.match(line, end)
        if match is None:
            return False
        page, pfn_text, decimal, order_text = match.groups()
        pfn = int(pfn_text, 16) if pfn_text is not None else int(decimal)
        order = int(order_text)
        if page[0] == 102 and int(page, 16) - self.page_bytes * pfn != self.vmemmap:
            self._struct_page(line, now[0], int(page, 16), pfn)
        if order and not self._block(line, now[0], pfn, order):
            return True
        live = self.live
        for frame in (pfn,) if not order else range(pfn, pfn + (1 << order)):
            if frame in live:
                self._begins(clause, frame, line, now)
                break
        return True

    def _suspect(
        self,
        clause: Clause,
        frame: int,
        line: bytes,
        now: Moment,
        before: Moment | None,
        missing: tuple[bytes, ...],
        reasons: tuple[Reason, ...],
        observed: str,
        expected: str,
    ) -> None:
        subject: Subject = ("page", frame)
        against = () if before is None else (before[0],)
        suspicion = Suspicion(clause, now[0], line, subject, f"page {frame:#x}: {observed}", expected, against, reasons)
        self.judge.suspect(suspicion, now, before, missing)

    # --- numbers

    def _block(self, line: bytes, number: int, pfn: int, order: int) -> bool:
        """Whether there is such a block at all."""
        if order >= MAX_ORDER or pfn >= FRAMES_MAX:
            said = f"at most order {MAX_ORDER - 1}"
            self.judge.decide(Suspicion(NUMBERS, number, line, ("page", pfn), f"order {order}, page {pfn:#x}", said))
            return False
        if pfn & ((1 << order) - 1):
            said = f"a multiple of {1 << order:#x}"
            self.judge.decide(Suspicion(ALIGNED, number, line, ("page", pfn), f"page {pfn:#x}, order {order}", said))
            return False
        return True

    def _migratetype(self, line: bytes, number: int, pfn: int, kind: bytes, flags: bytes) -> None:
        """A type of flags that were not seen before, or not the type of these flags."""
        try:
            asked = b"%d" % gfp_migratetype(gfp_flags(flags.decode()))
        except AssertionError:  # both types at once: the kernel warns, and takes neither
            asked = kind
        if len(self.kinds) < FLAGS_MAX:
            self.kinds[flags] = asked
        self.grouped = self.grouped or (kind == asked != b"0")
        if kind != asked and (self.grouped or kind != b"0"):
            said = f"migrate type {kind.decode()} with {flags.decode()}"
            self.judge.decide(Suspicion(MIGRATETYPE, number, line, ("page", pfn), said, f"type {asked.decode()}"))

    def _probed(self, address: int, probe: str) -> int | None:
        """The page of a probe. `perf script` gives no page's address, so that it is not known where they begin."""
        pfn = self._frame(address)
        if pfn is None and (self.live or self.freed):
            self.judge.unread.add(probe)
        return pfn

    def _frame(self, address: int) -> int | None:
        if self.vmemmap is None or self.page_bytes != STRUCT_PAGE_BYTES or address < self.vmemmap:
            return None
        return (address - self.vmemmap) // STRUCT_PAGE_BYTES

    def _struct_page(self, line: bytes, number: int, address: int, pfn: int, folio: bool = False) -> None:
        """The address does not fit the frame number; the first two pages say where the addresses begin. (A reader of
        raw traces that does not know vmemmap_base prints a sum of numbers instead, of events that have no address.)"""
        if self.vmemmap is None:
            self.judge.evidence.add(number)
            self.vmemmap, self.first_page = address - STRUCT_PAGE_BYTES * pfn, (address, pfn)
            self.page_bytes = STRUCT_PAGE_BYTES
            return
        if folio and self.page_bytes != STRUCT_PAGE_BYTES:
            return
        if self.first_page is not None and self.first_page[1] != pfn and self.page_bytes == STRUCT_PAGE_BYTES:
            first, frame = self.first_page
            if address - pfn == first - frame:
                self.judge.evidence.add(number)
                self.vmemmap, self.page_bytes = first - frame, 1
                return
        self.judge.decide(
            Suspicion(
                STRUCT_PAGE, number, line, ("page", pfn), f"page={address:#x} with pfn={pfn:#x}",
                f"page={(self.vmemmap or 0) + self.page_bytes * pfn:#x}",
            )
        )
