"""What becomes of an event that does not fit: violated, or, with the reason counted, not to be told.

The one idea: an event that contradicts what is known of its page or object is only a suspicion. Where CPUs' clocks do
not order events it waits until the text is past the clock's step; where a path of the kernel has no event it is kept
until the end of the trace, which may show that the path was recorded after all. What is left is violated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from ..contracts.contract import Clause
from .clauses import BEFORE, LOST, SWITCHED_ON, TIE, UNSHOWN, Reason
from .lines import UNKNOWN_CPU

KEPT_MAX = 200
"""Suspicions that are kept with their lines; of more only the number is known."""

Subject = tuple[str, int]
"""A page by its frame number, an object by its address, a task by its number, or a CPU."""
Moment = tuple[int, bytes, bytes]
"""Where an event stands: its number among the events, its CPU and its time."""


@dataclass(frozen=True)
class Suspicion:
    """An event that contradicts a clause: about what, what was seen, what was wanted. `against`: the numbers of the
    earlier events that it contradicts. `reasons`: why it may be right all the same."""

    clause: Clause
    number: int
    line: bytes
    subject: Subject
    observed: str
    expected: str
    against: tuple[int, ...] = ()
    reasons: tuple[Reason, ...] = ()


@dataclass
class _Blur:
    """What is suspected of one page or object within one step of the clock, and the CPUs that had events of it."""

    until: int
    cpus: set[bytes]
    suspicions: list[Suspicion] = field(default_factory=list)
    others: list[Clause] = field(default_factory=list)  # of the events that came meanwhile


class Judge:
    """`recorded`: names of events that are known to be switched on, beside those that the trace shows."""

    def __init__(self, recorded: Collection[str] = ()) -> None:
        self.recorded = frozenset(recorded)
        self.counts: dict[bytes, int] = {}  # events by name
        self.first: dict[bytes, int] = {}  # number of the first event of each name
        self.slack: int | None = None  # units of time within which the order of two CPUs' events is not known
        self.coarse = False  # whether the clock makes so many ties that nothing between CPUs is known
        self.several = False  # whether there are events of several CPUs
        self.since = 0  # number of the event from which on all events are there
        self.unknown_reason = BEFORE  # why nothing is known of a page or object
        self.hidden = False  # whether a bulk operation was shown in part
        self.unread: set[str] = set()  # probes of which it is not known which page they are about
        self.violations: list[Suspicion] = []
        self.deferred: list[Suspicion] = []
        self.waiting: dict[Subject, _Blur] = {}
        self.violated: Counter[Clause] = Counter()
        self.unknown: dict[Clause, Counter[str]] = {}
        self.evidence: set[int] = set()  # numbers of events that show how the trace was recorded
        self.forget_subject: Callable[[Subject], None] = lambda subject: None

    # --- what is known of the recording

    def shown(self, reason: Reason) -> bool:
        """Whether the events that leave no room for a reason are recorded."""
        return (
            bool(reason.probes)
            and self.unread.isdisjoint(reason.probes)
            and all(probe in self.recorded or probe.encode() in self.counts for probe in reason.probes)
        )

    def kinds_seen(self, names: Sequence[bytes], number: int) -> bool:
        """Whether all these kinds of events were seen before the event of this number, or are known to be recorded."""
        first = self.first
        return all(first.get(name, number) < number or name.decode() in self.recorded for name in names)

    # --- suspicions

    def cannot_tell(self, clause: Clause, reason: Reason, count: int = 1) -> None:
        self.unknown.setdefault(clause, Counter())[reason.text] += count

    def suspect(
        self, suspicion: Suspicion, now: Moment, before: Moment | None = None, missing: Sequence[bytes] = ()
    ) -> None:
        """An event contradicts that of the moment `before`: unless one of these kinds is missing between the two."""
        if missing and before is not None and not self.kinds_seen(missing, before[0]):
            self.cannot_tell(suspicion.clause, SWITCHED_ON)
        elif self.several and self.slack is not None:
            self._blur(suspicion.subject, now, before).suspicions.append(suspicion)
        else:
            self.decide(suspicion)

    def decide(self, suspicion: Suspicion) -> None:
        """A suspicion that time cannot explain."""
        unrecorded = next((reason for reason in suspicion.reasons if not self.shown(reason)), None)
        if unrecorded is not None and not unrecorded.probes:
            self.cannot_tell(suspicion.clause, unrecorded)
        elif self.hidden and suspicion.subject[0] == "object" and suspicion.reasons:
            self.cannot_tell(suspicion.clause, UNSHOWN)
        elif unrecorded is not None and len(self.deferred) < KEPT_MAX:
            self.deferred.append(suspicion)
        elif unrecorded is not None:
            self.cannot_tell(suspicion.clause, unrecorded)
        else:
            self.violated[suspicion.clause] += 1
            if len(self.violations) < KEPT_MAX:
                self.violations.append(suspicion)

    # --- clocks

    def watch(self, subject: Subject, now: Moment) -> None:
        """Nothing is known of a page or object that is freed: within a step of a coarse clock another CPU may have
        allocated it, whose event is yet to come."""
        if self.coarse and self.several:
            self._blur(subject, now, None)

    def _blur(self, subject: Subject, now: Moment, before: Moment | None) -> _Blur:
        blur = self.waiting.get(subject)
        if blur is None:
            blur = self.waiting[subject] = _Blur(0, {now[1]})
            if before is not None and (self._chained(now, before) or self.tied(before, now)):
                blur.cpus.update((before[1], b"another"))
        blur.until = max(blur.until, stamp(now[2]) + (self.slack or 0))
        return blur

    def _chained(self, now: Moment, before: Moment) -> bool:
        """Whether the clock counts in so large steps that a whole chain of events fits into the last one or two: then
        another CPU's events may have been before those that are known here."""
        return self.coarse and stamp(now[2]) - stamp(before[2]) <= (self.slack or 0)

    def tied(self, before: Moment, now: Moment) -> bool:
        """Whether it is not known in which order two events of different CPUs were."""
        return (
            self.slack is not None
            and (before[1] != now[1] or now[1] == UNKNOWN_CPU)
            and (self.coarse or abs(stamp(now[2]) - stamp(before[2])) <= self.slack)
        )

    def blurred(self, subject: Subject, cpu: bytes, clause: Clause) -> bool:
        """Whether an event of this CPU, which this clause is about, comes while suspicions about its subject wait."""
        blur = self.waiting.get(subject)
        if blur is not None:
            blur.cpus.add(b"another" if cpu == UNKNOWN_CPU else cpu)
            blur.others.append(clause)
        return blur is not None

    def pass_time(self, now: bytes | None) -> None:
        """Decide what has waited long enough; without a time, everything."""
        time = None if now is None else stamp(now)
        over = [subject for subject, blur in self.waiting.items() if time is None or blur.until < time]
        for subject in over:
            blur = self.waiting.pop(subject)
            for suspicion in blur.suspicions:
                if len(blur.cpus) > 1:
                    self.cannot_tell(suspicion.clause, TIE)
                else:
                    self.decide(suspicion)
            if len(blur.cpus) > 1:
                for clause in blur.others:
                    self.cannot_tell(clause, TIE)
                self.forget_subject(subject)

    # --- lost events, the end

    def excuse_after(self, number: int, reason: Reason = LOST) -> None:
        """No suspicion after the event of this number counts: events were lost, or are in no order."""
        for suspicion in self._take_after(number):
            self.cannot_tell(suspicion.clause, reason)

    def _take_after(self, number: int) -> Iterator[Suspicion]:
        for suspicions in (self.violations, self.deferred):
            for suspicion in [one for one in suspicions if one.number > number]:
                suspicions.remove(suspicion)
                if suspicions is self.violations:
                    self.violated[suspicion.clause] -= 1
                yield suspicion
        for blur in self.waiting.values():
            yield from blur.suspicions
        self.waiting.clear()

    def finish(self) -> None:
        """The trace is over: what was kept for lack of probes is decided."""
        self.pass_time(None)
        deferred, self.deferred = self.deferred, []
        for suspicion in deferred:
            self.decide(suspicion)
        for suspicion in self.deferred:
            reason = next(one for one in suspicion.reasons if not self.shown(one))
            self.cannot_tell(suspicion.clause, reason)
        self.violations.sort(key=lambda one: one.number)


def stamp(time: bytes) -> int:
    """A time in units of the last digit that is printed."""
    return int(time.replace(b".", b""))
