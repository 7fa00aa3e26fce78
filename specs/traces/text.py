"""One pass over the text of a trace: every event against the clauses of pages, objects and reclaim.

The one idea: a line costs one match of its head and one of its fields, and everything else about it (its time as a
number, its task's context) is worked out only when it does not fit. Nothing is kept of a line that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...model.lang.errors import InputError
from ..contracts.contract import Clause
from .clauses import (
    CHECKED,
    HASHED,
    LOST,
    SLAB_FREED,
    SLAB_PAGE,
    SPACING,
    TEXT_CLAUSES,
    TIE,
    TIME,
    Reason,
)
from .judging import Judge, Subject, Suspicion, stamp
from .lines import ASIDE, FASTER, NUMBERED, SETTING, SWITCHED_ON, UNKNOWN_CPU, WRITTEN, head_of, trace_lines
from .lines import LOST as LOST_LINE
from .objects import ObjectLives
from .pages import Handler, PageLives
from .reclaim import ReclaimLives

KINDS_MAX = 4096
CPUS_MAX = 1 << 13
TIES_MAX = 8
GIVE = "give the text of ftrace, `trace-cmd report` or `perf script`"


@dataclass(frozen=True)
class ClauseResult:
    """How one clause went: how often it held, was violated, and, by reason, could not be told."""

    clause: Clause
    held: int
    violated: int
    unknown: tuple[tuple[str, int], ...]


class TextChecker:
    """`recorded`: names of events known to be switched on. `on_marker` is told of every marker, and its number."""

    def __init__(
        self,
        name: str,
        recorded: Collection[str] = (),
        on_marker: Callable[[str, int], None] | None = None,
    ) -> None:
        self.name = name
        self.judge = Judge(recorded)
        self.pages = PageLives(self.judge)
        self.objects = ObjectLives(self.judge, self.pages)
        self.reclaim = ReclaimLives(self.judge, self.pages)
        self.judge.forget_subject = self._forget_subject
        self.number = 0
        self.lossy = False  # whether the oldest events of each CPU were overwritten
        self.last_time = b""
        self.tied_time, self.ties = b"", 0
        self.seen: dict[bytes, tuple[int, bytes]] = {}  # by CPU: number and time of its last event
        self.first_of: dict[bytes, tuple[int, bytes]] = {}  # by CPU: its first event
        self.dropped: Mapping[int, int] = {}  # by CPU: events that were dropped after its last one
        self.on_marker = on_marker
        self.handlers: dict[bytes, Handler] = {
            **self.pages.handlers,
            **self.objects.handlers,
            **self.reclaim.handlers,
            b"tracing_mark_write": self._marker,
            b"print": self._marker,
        }

    def _forget_subject(self, subject: Subject) -> None:
        kind, key = subject
        if kind == "page":
            self.pages.forget_page(key)
        elif kind == "object":
            self.objects.forget_object(key)

    # --- lines

    def read(self, lines: Iterable[bytes]) -> None:
        """The next lines; raises InputError for one that is not of a trace."""
        judge, seen, counts, handlers = self.judge, self.seen, self.judge.counts, self.handlers
        waiting = judge.waiting
        faster, number, last_time = FASTER.match, self.number, self.last_time
        for line in lines:
            match = faster(line)
            if match is None:
                if not line or line.isspace():
                    continue
                if line[0] == 35 or line.startswith(b"CPU:"):
                    self.number = number
                    self._comment(line)
                    number = self.number
                    continue
                match = head_of(line)
                if match is None:
                    self.number = number
                    self._between(line)
                    continue
            task, cpu, time, name = match.groups()
            if not cpu:
                cpu = UNKNOWN_CPU
            number += 1
            if time != last_time:
                if time < last_time or len(time) != len(last_time):
                    self._time(line, number, cpu, time, last_time)
                if waiting:
                    judge.pass_time(time)
                last_time = time
            elif cpu not in seen or seen[cpu][0] != number - 1:
                self._tie(time)
            if cpu not in seen:
                self.first_of[cpu] = (number, line)
                self._new_cpu(cpu, number)
            seen[cpu] = (number, time)
            if name in counts:
                counts[name] += 1
            else:
                self._new_kind(name, number)
            handler = handlers.get(name)
            if handler is not None and not handler(line, match.end(), number, cpu, time, task):
                raise InputError(
                    f"{self.name}: event {number} ({name.decode()}) has other fields: {_shown(line)}", GIVE
                )
        self.number, self.last_time = number, last_time

    def _marker(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        if self.on_marker is not None:
            text = line[end:].decode("utf-8", "replace").strip()
            self.on_marker(text.removeprefix("tracing_mark_write:").strip(), number)
        return True

    def _comment(self, line: bytes) -> None:
        if line.startswith(b"CPU:"):
            lost = LOST_LINE.match(line)
            if lost is None and (b"LOST" in line or b"DROPPED" in line):
                raise InputError(f"{self.name} says {_shown(line)}", "that is of no format that is known")
            if lost is not None:
                last = self.seen.get(b"%03d" % int(lost[1]), self.seen.get(lost[1], (0, b"")))[0]
                self._lost(last, int(lost[2] or 1))
            return
        numbered = NUMBERED.match(line)
        if numbered is not None:
            self.number = max(self.number, int(numbered[1]) - 1)
            return
        switched = SWITCHED_ON.match(line)
        if switched is not None:
            self.judge.recorded |= frozenset(switched[1].decode().split())
            return
        written = WRITTEN.search(line)
        if written is not None and int(written[1]) < int(written[2]):
            self.lossy = True
            self.judge.unknown_reason = LOST
            self.judge.cannot_tell(TIME, LOST, int(written[2]) - int(written[1]))

    def _between(self, line: bytes) -> None:
        """A line that is no event: what perf says was lost, or the callers of the event before."""
        between = ASIDE.match(line)
        if between is None:
            if self.number or not SETTING.match(line):
                said = f"{self.name}: event {self.number + 1} is not a line of a trace: {_shown(line)}"
                raise InputError(said, GIVE)
            return
        cpu, events, chunks = between.groups()
        if events or chunks:
            last = self.seen.get(b"%03d" % int(cpu), (0, b""))[0] if cpu else 0
            self._lost(last, int(events or chunks))

    def _lost(self, number: int, count: int) -> None:
        """A CPU's events after the one of this number were lost."""
        self.judge.excuse_after(number)
        self.judge.cannot_tell(TIME, LOST, count)
        self._forget(LOST)

    def _forget(self, reason: Reason | None = None) -> None:
        """Nothing that was known counts any more, for this reason."""
        self.pages.forget()
        self.objects.forget()
        self.reclaim.forget()
        self.judge.since = self.number
        self.judge.unknown_reason = reason or self.judge.unknown_reason

    def _new_cpu(self, cpu: bytes, number: int) -> None:
        if len(self.seen) >= CPUS_MAX:
            raise InputError(f"{self.name}: event {number} is of more than {CPUS_MAX} CPUs", GIVE)
        self.judge.several = bool(self.seen) or cpu == UNKNOWN_CPU
        if self.lossy and self.seen:
            # What this CPU did before was overwritten; from here on everything is there.
            self.judge.excuse_after(0)
            self.number = number
            self._forget(LOST)

    def _new_kind(self, name: bytes, number: int) -> None:
        if len(self.judge.counts) >= KINDS_MAX:
            raise InputError(f"{self.name}: event {number} is of more than {KINDS_MAX} kinds", GIVE)
        self.judge.counts[name] = 1
        self.judge.first[name] = number
        self.judge.evidence.add(number)

    def _time(self, line: bytes, number: int, cpu: bytes, time: bytes, last: bytes) -> None:
        """The time is not a later one of as many digits."""
        if time.count(b".") > 1 or not time.replace(b".", b"").isdigit():
            raise InputError(f"{self.name}: event {number} has the time {time.decode()}", GIVE)
        if not last:
            # CPUs' clocks agree to a microsecond at best, however many digits are printed (`perf script --ns`).
            self.judge.slack = 10 ** max(len(time.partition(b".")[2]) - 6, 0) if b"." in time else None
            return
        own = self.seen.get(cpu)
        if cpu != UNKNOWN_CPU and own is not None and stamp(time) < stamp(own[1]):
            self.judge.decide(
                Suspicion(
                    TIME, number, line, ("cpu", int(cpu)), f"CPU {int(cpu)} at {time.decode()}",
                    f"event {own[0]} of it was at {own[1].decode()}", (own[0],),
                )
            )
        elif stamp(time) < stamp(last):
            self.judge.slack = max(self.judge.slack or 0, stamp(last) - stamp(time))

    def _tie(self, time: bytes) -> None:
        """Two CPUs have the same time. A clock of whole numbers should not; one with decimals may, but not often."""
        self.ties = self.ties + 1 if time == self.tied_time else 1
        self.tied_time = time
        if not self.judge.coarse and (b"." not in time or self.ties > TIES_MAX):
            self.judge.slack, self.judge.coarse = max(self.judge.slack or 0, 1), True
            self.judge.excuse_after(0, TIE)
            self._forget()

    # --- the end

    def finish(self) -> tuple[ClauseResult, ...]:
        """Decide what is left, and add up."""
        judge = self.judge
        for cpu, count in self.dropped.items():
            judge.cannot_tell(TIME, LOST, count)
            judge.excuse_after(self.seen.get(b"%03d" % cpu, (0, b""))[0])
        if judge.coarse and judge.several:
            self.reclaim.excuse(TIE)
        reclaim = self.reclaim.finish()
        self.objects.finish()
        judge.finish()
        found = []
        for clause in TEXT_CLAUSES:
            unknown = dict(judge.unknown.get(clause, {}))
            violated = judge.violated[clause]
            if clause in CHECKED:
                total = sum(judge.counts.get(name.encode(), 0) for name in CHECKED[clause])
                if clause in (SPACING, SLAB_PAGE, SLAB_FREED) and self.objects.base is None and total:
                    unknown[HASHED.text] = total
            elif clause is TIME:
                total = self.number + sum(unknown.values())
            else:
                tally = reclaim[clause]
                total = tally.right + violated + sum(unknown.values())
            held = max(total - violated - sum(unknown.values()), 0)
            found.append(ClauseResult(clause, held, violated, tuple(sorted(unknown.items()))))
        return tuple(found)


def _shown(line: bytes) -> str:
    text = line[:100].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def check_text(path: Path, checker: TextChecker) -> tuple[ClauseResult, ...]:
    """A whole file; raises InputError."""
    for lines in trace_lines(path):
        checker.read(lines)
    if not checker.number:
        raise InputError(f"{path} has no event", GIVE)
    return checker.finish()

