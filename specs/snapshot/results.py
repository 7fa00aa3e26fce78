"""What a check of a snapshot says: a row for each clause, with what breaks it and the lists that show it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...model.lang.verdict import Outcome

FINDINGS_MAX = 20
"""So many findings of each clause are told."""


@dataclass(frozen=True)
class Drawn:
    """A list as the snapshot has it, first entry first: which of its entries a finding is about, and how many entries
    were left out before and after those that are shown."""

    name: str
    entries: tuple[str, ...]
    marked: frozenset[int]
    before: int = 0
    after: int = 0


@dataclass(frozen=True)
class Finding:
    """One breach: the clause in words, what it is about, what is there, and the lists around it."""

    clause: str
    about: str
    found: str = ""
    lists: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The answer about one clause: how often it was evaluated, its findings (the first `FINDINGS_MAX`, and how many
    there are in all), or why it cannot be told, by reason."""

    part: str
    identifier: str
    name: str
    origin: str
    checked: int = 0
    findings: tuple[Finding, ...] = ()
    broken: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        if self.broken:
            return Outcome.VIOLATED
        return Outcome.HOLDS if self.checked else Outcome.UNKNOWN


@dataclass(frozen=True)
class Snapshot:
    """The whole check: what was read, and every clause's answer."""

    target: str
    kind: str
    facts: tuple[str, ...]
    answers: tuple[Answer, ...]

    @property
    def outcome(self) -> Outcome:
        """Violated if any clause is; what cannot be told does not count, unless nothing can."""
        outcomes = {answer.outcome for answer in self.answers}
        if Outcome.VIOLATED in outcomes:
            return Outcome.VIOLATED
        return Outcome.HOLDS if Outcome.HOLDS in outcomes else Outcome.UNKNOWN

    @property
    def findings(self) -> tuple[tuple[Answer, Finding], ...]:
        return tuple((answer, finding) for answer in self.answers for finding in answer.findings)


@dataclass
class Clause:
    """An answer in the making. `true` counts, `breach` notes, `cannot` gives a reason."""

    part: str
    identifier: str
    name: str
    origin: str
    checked: int = 0
    broken: int = 0
    findings: list[Finding] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)

    def check(self, holds: bool, finding: Callable[[], Finding]) -> None:
        if holds:
            self.checked += 1
        else:
            self.breach(finding())

    def breach(self, finding: Finding) -> None:
        self.checked += 1
        self.broken += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def cannot(self, reason: str, count: int = 1) -> None:
        self.unknown[reason] = self.unknown.get(reason, 0) + count

    def answer(self) -> Answer:
        return Answer(
            self.part, self.identifier, self.name, self.origin, self.checked, tuple(self.findings), self.broken,
            dict(self.unknown),
        )  # fmt: skip


ENTRIES_SHOWN = 12


def drawn(name: str, entries: Sequence[int], marked: Collection[int], names: Mapping[int, str] | None = None) -> Drawn:
    """A list with the entries that equal one of `marked`; of a long one only those around the first such entry."""
    positions = [position for position, entry in enumerate(entries) if entry in marked]
    start = max(0, min((positions[0] if positions else 0) - ENTRIES_SHOWN // 2, len(entries) - ENTRIES_SHOWN))
    stop = min(len(entries), start + ENTRIES_SHOWN)
    shown = tuple((names or {}).get(entry, str(entry)) for entry in entries[start:stop])
    inside = frozenset(position - start for position in positions if start <= position < stop)
    return Drawn(name, shown, inside, start, len(entries) - stop)
