"""Copies of /proc and /sys files, taken while the trace ran, against the events between them.

The one idea: the workload writes into the trace when it reads each file (`KT SNAP-BEGIN name`, `KT S file`, `KT
SNAP-END name`). So each file is of a moment between two markers, and what it shows lies between what the events say at
both. What the files of one snapshot say by themselves is checked by specs/snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ..contracts.contract import Clause
from ..recorded.page_flags import BEGIN, KPF_BUDDY, KPF_LRU, KPF_MMAP, KPF_SLAB, read_words
from ..snapshot.file_check import check_files
from ..snapshot.files import Files, archives
from ..snapshot.results import Snapshot
from ..snapshot.texts import read_counters
from .clauses import (
    LOST,
    NO_EVENTS,
    NOT_COUNTED,
    OTHERS,
    PAGES_UNSEEN,
    SILENTLY_FREED,
    SNAP_COUNTS,
    SNAP_LIVE,
    SNAP_OBJECTS,
    SNAP_UNUSED,
    SNAPSHOT_CLAUSES,
    WHOSE,
    Reason,
)
from .judging import Subject, Suspicion
from .objects import PAGES_FROM_SIZE
from .pages import Life
from .text import ClauseResult, TextChecker

SNAPSHOTS_MAX = 64
READ, END = "KT S ", "KT SNAP-END "
FLAGS, VMSTAT = "kpageflags.bin", "vmstat"
ANY = 1 << 62
_LRU, _SLAB, _BUDDY, _MMAP = 1 << KPF_LRU, 1 << KPF_SLAB, 1 << KPF_BUDDY, 1 << KPF_MMAP


def read_snapshots(path: Path) -> dict[str, Files]:
    """The files of each snapshot in an archive: members `snap_NAME/FILE`. Raises InputError."""
    return {files.name.rpartition("/")[2].removeprefix("snap_"): files for files in archives(path)}


def rows_of(snapshots: Mapping[str, Snapshot]) -> tuple[list[ClauseResult], list[Suspicion]]:
    """What checks of snapshots said: the rows of equal clauses added up, and what is broken."""
    rows: dict[Clause, tuple[int, int, Counter[str]]] = {}
    wrong: list[Suspicion] = []
    for name, snapshot in snapshots.items():
        for answer in snapshot.answers:
            clause = Clause(f"{answer.identifier} {answer.name}", answer.origin)
            held, broken, unknown = rows.get(clause, (0, 0, Counter()))
            unknown.update(answer.unknown)
            rows[clause] = (held + answer.checked - answer.broken, broken + answer.broken, unknown)
            for finding in answer.findings:
                said = f"{name}, {finding.about}: {finding.found}"
                wrong.append(Suspicion(clause, 0, b"", ("snapshot", 0), said, clause.name))
    results = [ClauseResult(clause, held, broken, tuple(sorted(unknown.items())))
               for clause, (held, broken, unknown) in rows.items()]  # fmt: skip
    return results, wrong


@dataclass
class _Moment:
    """What the events say when a marker is reached."""

    number: int
    pages: Mapping[int, Life]
    freed: Mapping[int, tuple[int, bytes, bytes, bool]]
    objects: Mapping[int, tuple[int, int]]  # by place: an object and the event that allocated it
    allocated: int
    released: int
    reclaim: Counter[str]


@dataclass
class _Tally:
    held: int = 0
    wrong: list[Suspicion] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)


class SnapshotChecker:
    """Told of the markers by the checker of the text, whose knowledge it compares with the snapshots' files."""

    def __init__(self, name: str, snapshots: Mapping[str, Files], text: TextChecker) -> None:
        self.name = name
        self.snapshots = snapshots
        self.text = text
        self.tallies = {clause: _Tally() for clause in SNAPSHOT_CLAUSES}
        self.now = ""  # the snapshot that is being taken
        self.file = ""  # and the file that is being read
        self.begun: dict[tuple[str, str], _Moment] = {}
        self.ended: dict[tuple[str, str], _Moment] = {}
        text.on_marker = self.marker

    # --- markers

    def marker(self, text: str, number: int) -> None:
        if not text.startswith((BEGIN, READ, END)):
            return
        moment = None
        if self.file:
            moment = self._moment(number, self.file == FLAGS)
            self.ended[self.now, self.file] = moment
            if self.file == FLAGS and self.now in self.snapshots:
                self._compare_flags(self.now, self.begun[self.now, FLAGS], moment)
        self.file = ""
        if text.startswith(BEGIN):
            self.now = text.removeprefix(BEGIN).strip()
        elif text.startswith(READ) and self.now:
            self.file = text.removeprefix(READ).strip()
            if len(self.begun) < SNAPSHOTS_MAX * 32:
                self.begun[self.now, self.file] = self._moment(number, self.file == FLAGS)
            else:
                self.file = ""

    def _moment(self, number: int, whole: bool) -> _Moment:
        text, counts = self.text, self.text.judge.counts
        pages, objects = text.pages, text.objects
        held: dict[int, tuple[int, int]] = {}
        if whole and objects.base is not None:
            for place, table in objects.live.items():
                address = next(iter(table))
                if 0 < table[address][3] <= PAGES_FROM_SIZE or not table[address][4]:
                    held[place - objects.base] = (address, table[address][0])
        bulk = counts.get(b"page_bulk_alloc", 0)
        return _Moment(
            number,
            dict(pages.live) if whole else {},
            dict(pages.freed) if whole else {},
            held,
            counts.get(b"mm_page_alloc", 0) + bulk + pages.more_allocated,
            counts.get(b"mm_page_free", 0) + pages.more_freed,
            text.reclaim.counts + text.reclaim.vmscan.counts,
        )  # fmt: skip

    # --- the end

    def finish(self) -> tuple[tuple[ClauseResult, ...], list[Suspicion]]:
        """Compare what needs no events, and the counters between snapshots; add up."""
        snapshots = {f"snapshot {name}": check_files(files, name) for name, files in self.snapshots.items()}
        results, wrong = rows_of(snapshots)
        order = [name for name, file in self.begun if file == VMSTAT and self._file(name, VMSTAT)]
        for before, after in pairwise(order):
            self._compare_counters(before, after)
        lost = self.text.judge.unknown_reason is LOST
        for clause, tally in self.tallies.items():
            if lost and tally.wrong:
                tally.unknown[LOST.text] += len(tally.wrong)
                tally.wrong.clear()
            wrong += tally.wrong[:50]
            unknown = tuple(sorted(tally.unknown.items()))
            results.append(ClauseResult(clause, tally.held, len(tally.wrong), unknown))
        return tuple(results), sorted(wrong, key=lambda one: one.number)

    def _file(self, name: str, file: str) -> bytes:
        files = self.snapshots.get(name)
        return b"" if files is None else files.content.get(file, b"")

    def _check(
        self,
        clause: Clause,
        right: bool,
        where: str,
        observed: object,
        expected: object,
        *,
        number: int = 0,
        subject: Subject = ("snapshot", 0),
        reason: Reason | None = None,
    ) -> None:
        tally = self.tallies[clause]
        if right:
            tally.held += 1
        elif reason is not None:
            tally.unknown[reason.text] += 1
        elif len(tally.wrong) < 1000:
            said = f"snapshot {where}: {observed}"
            tally.wrong.append(Suspicion(clause, number, b"", subject, said, str(expected)))

    # --- files against events

    def _compare_flags(self, name: str, begun: _Moment, ended: _Moment) -> None:
        """What the events say both before and after the file was read, against it."""
        words = read_words("kpageflags", FLAGS, self._file(name, FLAGS))
        judge = self.text.judge
        if not words:
            return
        for frame, life in begun.pages.items():
            if frame < len(words) and ended.pages.get(frame) is life:
                self._check(SNAP_LIVE, not words[frame] & _BUDDY, name, f"page {frame:#x} is free",
                            f"in use since event {life[0]}", number=begun.number, subject=("page", frame))  # fmt: skip
        unseen = None if judge.shown(PAGES_UNSEEN) else PAGES_UNSEEN
        for frame, freed in begun.freed.items():
            if frame < len(words) and ended.freed.get(frame) is freed:
                flags = words[frame] & (_LRU | _SLAB | _MMAP)
                self._check(SNAP_UNUSED, not flags, name, f"page {frame:#x} has flags {flags:#x}",
                            f"free since event {freed[0]}", number=begun.number, subject=("page", frame),
                            reason=unseen)  # fmt: skip
        silent = None if judge.shown(SILENTLY_FREED) else SILENTLY_FREED
        for frame, held in begun.objects.items():
            if 0 <= frame < len(words) and ended.objects.get(frame) == held:
                self._check(SNAP_OBJECTS, bool(words[frame] & _SLAB), name, f"page {frame:#x} is no slab's",
                            f"object {held[0]:#x} is in use since event {held[1]}", number=begun.number,
                            subject=("object", held[0]), reason=silent)  # fmt: skip

    def _compare_counters(self, before: str, after: str) -> None:
        """Both files are read some time between their marker and the next."""
        first = (self.begun[before, VMSTAT], self.ended.get((before, VMSTAT)))
        last = (self.begun[after, VMSTAT], self.ended.get((after, VMSTAT)))
        if first[1] is None or last[1] is None:
            return
        grown = _counters(self._file(after, VMSTAT))
        grown.subtract(_counters(self._file(before, VMSTAT)))
        judge, where = self.text.judge, f"{before} to {after}"

        def compare(name: str, least: int, most: int, fewer: Reason | None, more: Reason | None) -> None:
            have = grown[name]
            by_events = f"{least:,} to {most:,} by the events" if most < ANY else f"at least {least:,} by the events"
            self._check(SNAP_COUNTS, least <= have <= most, where, f"{name} grew by {have:,}", by_events,
                        number=last[0].number, reason=fewer if have < least else more)  # fmt: skip

        unseen = None if judge.shown(PAGES_UNSEEN) else PAGES_UNSEEN
        compare("pgalloc", last[0].allocated - first[1].allocated, last[1].allocated - first[0].allocated, None, unseen)
        compare("pgfree", last[0].released - first[1].released, last[1].released - first[0].released, NOT_COUNTED, None)
        nothing = None if any(name.startswith(b"mm_vmscan_lru_") for name in judge.counts) else NO_EVENTS
        vmscan = self.text.reclaim.vmscan
        doubt = OTHERS if vmscan.others else WHOSE if vmscan.nameless else None
        for name, event, bounded in _RECLAIM:
            inside = last[0].reclaim[event] - first[1].reclaim[event]
            around = last[1].reclaim[event] - first[0].reclaim[event]
            compare(name, inside, around if bounded else ANY, doubt, doubt or nothing)


_RECLAIM: Sequence[tuple[str, str, bool]] = (
    ("pgscan_kswapd", "PGSCAN_KSWAPD", True), ("pgscan_direct", "PGSCAN_DIRECT", True),
    ("pgsteal_kswapd", "PGSTEAL_KSWAPD", True), ("pgsteal_direct", "PGSTEAL_DIRECT", True),
    ("pgdeactivate", "PGDEACTIVATE", False), ("pageoutrun", "PAGEOUTRUN", True),
)  # fmt: skip
"""vmstat's counters, what the events say of them, and whether nothing else is counted there (paths without events)."""


def _counters(data: bytes) -> Counter[str]:
    """vmstat, with the pages that were allocated in all zones."""
    found = Counter(read_counters(VMSTAT, data))
    found["pgalloc"] = sum(count for name, count in found.items() if name.startswith("pgalloc_"))
    return found
