"""A trace, or the directory of a recording, in up to three strengths: text alone, with snapshots, with full states.

The one idea: each strength answers with the same rows (a clause: how often it held, was violated, could not be told)
and the same rejections. The lock-step with full states is that of `kmemspec fidelity`, its rows taken over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...model.lang.errors import InputError
from ...model.lang.verdict import Outcome, combine
from ..contracts.contract import Clause
from ..recorded.comparison import Fidelity, compare_recording
from ..recorded.lru_comparison import TRACES, compare_lru, only_lru
from ..recorded.states import OtherReleaseError, read_state
from ..recorded.tally import INTERRUPT, Difference, Row
from ..snapshot.state_check import check_state_file
from .clauses import BULK_ALLOCATED, CPUS, EXCUSES, PAGES_UNSEEN, SILENTLY_FREED
from .explanation import Rejection, Where, explain
from .judging import Subject, Suspicion
from .lines import numbered_lines
from .objects import KERNEL_HALF
from .pages import STRUCT_PAGE_BYTES
from .snapshots import SnapshotChecker, read_snapshots, rows_of
from .text import ClauseResult, TextChecker, check_text

TEXT, SNAPSHOTS, STATES = STRENGTHS = ("text", "snapshots", "states")
EXPLAINED = 3
OTHER_NAMES = ("trace.txt.gz", "trace", "trace_pipe.txt.xz", "trace_pipe.txt", "trace_pipe", "report.txt", "script.txt")
"""A recording's trace, where it has none of the names in `recorded.lru_comparison.TRACES`."""
STATE_FILES = ("state_A.json.gz", "state_B.json.gz")
Progress = Callable[[str], None]

_PFN = re.compile(rb"pfn=(0x[0-9a-f]{1,12}|\d{1,12})")
_POINTER = re.compile(rb"ptr=(?:0x)?([0-9a-f]{1,16})")


@dataclass(frozen=True)
class StrengthResult:
    """The verdict of one strength, its rows, and how many events or operations it saw."""

    strength: str
    outcome: Outcome
    results: tuple[ClauseResult, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def violated(self) -> int:
        return sum(one.violated for one in self.results)


@dataclass(frozen=True)
class TraceValidation:
    """The whole answer. `rejections` are the first of each strength; the rows have the number of all."""

    target: str
    trace: str
    outcome: Outcome
    events: int
    strengths: tuple[StrengthResult, ...]
    rejections: tuple[Rejection, ...]
    seconds: float


def trace_of(path: Path) -> Path:
    """The trace of a recording's directory, or the file itself."""
    if not path.is_dir():
        return path
    found = next((path / name for name in (*TRACES, *OTHER_NAMES) if (path / name).exists()), None)
    if found is None:
        raise InputError(f"{path} has no trace", f"name it {TRACES[0]}, or give the file")
    return found


def switched_on(directory: Path) -> tuple[str, ...]:
    """The events that a recording's file `set_event` names."""
    try:
        data = (directory / "set_event").read_bytes()[: 1 << 20]
    except OSError:
        return ()
    return tuple(word.rpartition(":")[2] for word in data.decode("utf-8", "replace").split())


def dropped_events(directory: Path) -> dict[int, int]:
    """By CPU, how many events a recording's file `per_cpu_stats.txt` says were dropped because its buffer was full."""
    try:
        text = (directory / "per_cpu_stats.txt").read_bytes()[: 1 << 20].decode("utf-8", "replace")
    except OSError:
        return {}
    parts = re.split(r"^== cpu(\d{1,5})$", text, flags=re.MULTILINE)
    found = {int(cpu): re.search(r"^dropped events: (\d{1,15})$", part, re.MULTILINE)
             for cpu, part in zip(parts[1::2], parts[2::2], strict=False)}  # fmt: skip
    return {cpu: int(match[1]) for cpu, match in found.items() if match is not None and int(match[1])}


def validate_trace(
    path: Path, strengths: Sequence[str] = STRENGTHS, progress: Progress = lambda what: None
) -> TraceValidation:
    """Check a trace in those of the strengths that there are files for; raises InputError."""
    started = time.monotonic()
    trace = trace_of(path)
    directory = path if path.is_dir() else None
    recorded = switched_on(directory) if directory else ()
    checker = TextChecker(str(trace), recorded)
    snapshots = None
    if directory and SNAPSHOTS in strengths and (directory / "snaps.tar.xz").exists():
        files = read_snapshots(directory / "snaps.tar.xz")
        snapshots = SnapshotChecker(str(directory / "snaps.tar.xz"), files, checker)
    progress("text")
    if directory:
        checker.dropped = dropped_events(directory)
    found = [_strength(TEXT, check_text(trace, checker), started)]
    wrong = [_first(checker.judge.violations)]
    if snapshots is not None:
        progress("snapshots")
        begun = time.monotonic()
        results, suspicions = snapshots.finish()
        found.append(_strength(SNAPSHOTS, results, begun))
        wrong.append(_first(suspicions))
    where = Where(
        checker.pages.vmemmap if checker.pages.page_bytes == STRUCT_PAGE_BYTES else None, checker.objects.base
    )
    if directory and STATES in strengths and all((directory / name).exists() for name in STATE_FILES):
        progress("states")
        try:
            stated, differences = _states(directory, trace, checker)
            state = read_state(directory / STATE_FILES[0])
            where = Where(state.vmemmap_base, state.page_offset_base >> 12)
        except OtherReleaseError as error:
            stated, differences = StrengthResult(STATES, Outcome.UNKNOWN, (), 0.0, (str(error),)), []
        found.append(stated)
        wrong.append(_first(differences))
    progress("explaining")
    evidence = checker.judge.evidence
    rejections = [one for some in wrong if some for one in explain(trace, some, where, evidence, recorded)]
    outcome = combine(one.outcome for one in found)
    return TraceValidation(
        str(path), trace.name, outcome, checker.number, tuple(found), tuple(rejections), time.monotonic() - started
    )


def _strength(name: str, results: tuple[ClauseResult, ...], started: float) -> StrengthResult:
    outcome = Outcome.HOLDS
    if any(one.violated for one in results):
        outcome = Outcome.VIOLATED
    elif any(reason in EXCUSES for one in results for reason, _ in one.unknown):
        outcome = Outcome.UNKNOWN
    return StrengthResult(name, outcome, results, time.monotonic() - started)


def _first(suspicions: Iterable[Suspicion]) -> list[Suspicion]:
    """The first of each of a few clauses."""
    found: dict[Clause, Suspicion] = {}
    for suspicion in suspicions:
        if len(found) >= EXPLAINED:
            break
        found.setdefault(suspicion.clause, suspicion)
    return list(found.values())


# --- full states


def _states(directory: Path, trace: Path, text: TextChecker) -> tuple[StrengthResult, list[Suspicion]]:
    """The lock-step from the first state to the second. If the text is wrong already, it need not be one that the
    lock-step can read."""
    started = time.monotonic()
    state = read_state(directory / STATE_FILES[0])
    strangers = [
        Suspicion(CPUS, number, line, subject_of(line), f"CPU {int(cpu)}", f"the state has {state.cpus} CPUs")
        for cpu, (number, line) in text.first_of.items()
        if int(cpu) >= state.cpus
    ]
    rows: list[Row] = []
    notes: list[str] = []
    unreached = False  # whether the lock-step did not come to the end with all its lists
    try:
        if not only_lru(directory):
            exact = compare_recording(directory)
            unreached = exact.stopped_at is not None or exact.slabs_until is not None
            rows += followed(exact, text)
            if exact.stopped_at is not None:
                notes.append(f"too many differences: not followed after event {exact.stopped_at:,}")
            if exact.slabs_until is not None:
                notes.append(f"slabs are followed up to event {exact.slabs_until:,}")
        rows += compare_lru(directory).rows
    except InputError as error:
        if not (strangers or text.judge.violated.total()):
            raise
        notes.append(f"the lock-step ends here: {error.message}")
    results = [ClauseResult(clause_of(row.what), row.right, len(row.wrong), row.not_predicted) for row in rows]
    results.insert(0, ClauseResult(CPUS, len(text.first_of) - len(strangers), len(strangers), ()))
    pairs = [(row, difference) for row in rows for difference in row.wrong[:100]]
    pairs.sort(key=lambda pair: pair[1].line or 1 << 62)
    broken: list[Suspicion] = []
    if unreached and not any(row.wrong for row in rows):
        # What the lock-step says nothing about, the state's own invariants still do.
        answers, broken = rows_of({"state B": check_state_file(directory / STATE_FILES[1])})
        results += answers
    lines = _lines_of(trace, [difference.line for _, difference in pairs if difference.line])
    suspicions = [_suspicion(row, difference, lines.get(difference.line, b"")) for row, difference in pairs]
    found = _strength(STATES, tuple(results), started)
    if notes and found.outcome is Outcome.HOLDS and not rows:
        found = replace(found, outcome=Outcome.UNKNOWN)
    return replace(found, notes=tuple(notes)), [*strangers, *suspicions, *broken]


def followed(exact: Fidelity, text: TextChecker) -> list[Row]:
    """The rows. But nothing that differs can be told from where the lock-step cannot be followed, because of something
    that has no event: each such thing is looked for, so that a difference without one is a violation."""
    rows = [*exact.during, *exact.at_end]
    differing = [(one.line, one.reason) for row in rows for one in row.wrong if one.line]
    if not differing:
        return rows
    line, said = min(differing)
    needed = (PAGES_UNSEEN, BULK_ALLOCATED, SILENTLY_FREED) if b"kmalloc" in text.judge.counts else (PAGES_UNSEEN,)
    unrecorded = next((one.text for one in needed if not text.judge.shown(one)), "")
    if said == INTERRUPT:
        reason = said
    else:
        unseen = (one.reason for one in exact.unseen if one.first <= line <= one.last)
        reason = next(unseen, unrecorded)
    if not reason:
        return rows
    return [
        replace(row, wrong=(), not_predicted=(*row.not_predicted, (reason, len(row.wrong)))) if row.wrong else row
        for row in rows
    ]


def clause_of(what: str) -> Clause:
    """The clause of a row of the lock-step: the row says itself what it compares."""
    return Clause(what, "what the model says, from the first state and the events, is what the kernel had")


def _suspicion(row: Row, difference: Difference, line: bytes) -> Suspicion:
    observed = f"{difference.about}: the kernel had {difference.recorded}"
    against = () if difference.because is None else (difference.because,)
    subject = subject_of(line) if line else _subject_of_state(difference)
    expected = f"the model has {difference.predicted}" + (f" ({difference.reason})" if difference.reason else "")
    return Suspicion(clause_of(row.what), difference.line, line, subject, observed, expected, against)


def subject_of(line: bytes) -> Subject:
    """The page or object that an event names first."""
    pointer, pfn = _POINTER.search(line), _PFN.search(line)
    if pointer is not None:
        return ("object", int(pointer[1], 16))
    return ("page", int(pfn[1], 0)) if pfn is not None else ("line", 0)


def _subject_of_state(difference: Difference) -> Subject:
    """The page or object that a difference of the last state is about."""
    if difference.pages:
        return ("page", difference.pages[0])
    if difference.about.startswith("0x"):
        address = int(difference.about, 16)
        return ("object" if address >= KERNEL_HALF else "page", address)
    named = re.search(r"\b(?:page|slab) (\d+)", difference.about)
    return ("page", int(named[1])) if named is not None else ("line", 0)


def _lines_of(trace: Path, numbers: Collection[int]) -> dict[int, bytes]:
    wanted, last = set(numbers), max(numbers, default=0)
    found: dict[int, bytes] = {}
    for number, line in numbered_lines(trace) if wanted else ():
        if number > last:
            break
        if number in wanted:
            found[number] = line
    return found
