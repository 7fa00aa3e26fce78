"""The relations between reclaim's events (specs/recorded/vmscan.py), in a stream of lines.

The one idea: these events are few and their reader exists; only they are made into records here, and of the pages that
are freed only those that a task frees in the midst of shrinking a list.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

from ..contracts.contract import Clause
from ..recorded.ftrace import MAX_ORDER, PageFreed
from ..recorded.tally import Tally
from ..recorded.vmscan import OF_RECLAIM, PRIORITY, SUM, Vmscan
from ..recorded.vmscan_events import parsers
from .clauses import NO_EVENTS, OTHERS, VMSCAN, Reason
from .judging import Judge, Suspicion
from .lines import CONTEXT
from .pages import FRAMES_MAX, Handler, PageLives

TASKS_MAX = 1 << 16
_ORDER = re.compile(rb" order=(\d{1,9})")

_FAST = ("mm_lru_insertion", "mm_lru_activate")


class ReclaimLives:
    """`vmscan` is told of the events from the last loss on; what it found before is kept in `judge`."""

    def __init__(self, judge: Judge, pages: PageLives) -> None:
        self.judge = judge
        self.pages = pages
        self.vmscan = Vmscan()
        self.right: Counter[Clause] = Counter()
        self.parsers = {name.encode(): parser for name, parser in parsers(FRAMES_MAX).items() if name not in _FAST}
        self.shrinking = False
        self.others = False  # whether there were reclaims of other kinds
        self.counts: Counter[str] = Counter()  # what the events say of the kernel's counters
        self.handlers: dict[bytes, Handler] = dict.fromkeys(self.parsers, self.read)
        self._free = pages.handlers[b"mm_page_free"]
        self.handlers[b"mm_page_free"] = self.page_freed
        self.handlers[b"mm_vmscan_write_folio"] = self.written

    def read(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        name = _name(line, end)
        context = CONTEXT.match(line)
        head = (number, int(cpu), int(task), "....." if context is None else context[1].decode("utf-8", "replace"))
        try:
            event = self.parsers[name](head, line[end:].decode("utf-8", "replace"))
        except (KeyError, ValueError):
            return False
        vmscan = self.vmscan
        vmscan.huge = vmscan.huge or self.pages.huge
        vmscan.read(event, inside=True)
        self.shrinking = any(one.isolation is not None for one in vmscan.tasks.values())
        self._report(line)
        if len(vmscan.tasks) > TASKS_MAX:
            self.forget()
        return True

    def page_freed(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        if not self._free(line, end, number, cpu, time, task):
            return False
        order = _ORDER.search(line, end) if self.shrinking else None
        if order is not None:
            context = CONTEXT.match(line)
            head = (number, int(cpu), int(task), "....." if context is None else context[1].decode("utf-8", "replace"))
            self.vmscan.read(PageFreed(*head, 0, min(int(order[1]), MAX_ORDER)), inside=True)
        return True

    def written(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        return self.pages.on_lru(line, end, number, cpu, time, task) and self.read(line, end, number, cpu, time, task)

    def _report(self, line: bytes) -> None:
        """What the last event broke."""
        for row, tally in self.vmscan.tallies.items():
            for wrong in tally.wrong:
                self.judge.decide(
                    Suspicion(
                        VMSCAN[row], wrong.line, line, ("task", int(wrong.about.removeprefix("task "))),
                        f"{wrong.about}: {wrong.recorded}", wrong.predicted,
                    )
                )
            tally.wrong.clear()

    def excuse(self, reason: Reason, rows: Collection[str] = tuple(VMSCAN)) -> None:
        """What these relations found may have this reason: between CPUs nothing is known of the order of events, or
        there are reclaims of other kinds."""
        found = {VMSCAN[row] for row in rows}
        for clause in found:
            if self.judge.violated[clause]:
                self.judge.cannot_tell(clause, reason, self.judge.violated[clause])
                self.judge.violated[clause] = 0
        self.judge.violations = [one for one in self.judge.violations if one.clause not in found]

    def forget(self) -> None:
        """Events were lost: count what was right, and begin anew."""
        self._add_up()
        self.others = self.others or self.vmscan.others
        seen = self.vmscan.seen
        self.vmscan = Vmscan(self.pages.huge)
        self.vmscan.seen = seen
        self.shrinking = False

    def _add_up(self) -> None:
        for row, tally in self.vmscan.tallies.items():
            self.right[VMSCAN[row]] += tally.right
            for reason, count in tally.not_predicted.items():
                self.judge.unknown.setdefault(VMSCAN[row], Counter())[reason] += count
        self.counts += self.vmscan.counts

    def finish(self) -> Mapping[Clause, Tally]:
        if self.others or self.vmscan.others:
            self.excuse(OTHERS, (OF_RECLAIM, PRIORITY, SUM))
        self.excuse(NO_EVENTS, self.vmscan.not_recorded())
        self.vmscan.finish()
        self._add_up()
        return {clause: Tally(right=self.right[clause]) for clause in VMSCAN.values()}


def _name(line: bytes, end: int) -> bytes:
    """The name of the event whose fields begin at `end`."""
    head = line[:end].rstrip()[:-1]
    return head[max(head.rfind(b" "), head.rfind(b":")) + 1 :]

