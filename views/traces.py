"""The answer of `kmemspec validate trace` in words, and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from ..model.lang.verdict import Outcome
from ..specs.traces.clauses import EXCUSES
from ..specs.traces.explanation import Rejection
from ..specs.traces.validation import SNAPSHOTS, STATES, TEXT, StrengthResult, TraceValidation
from .report import STYLE, SYMBOL, Cell, Table
from .text import printable

TITLES = {TEXT: "text alone", SNAPSHOTS: "with snapshots", STATES: "with full states"}
SAID = {Outcome.HOLDS: "holds", Outcome.VIOLATED: "violated", Outcome.UNKNOWN: "cannot tell"}
LINES_SHOWN = 24
LINE_WIDTH = 150


def trace_table(found: TraceValidation) -> Table:
    """A row for each clause that an event, a snapshot or a state has to do with; then why something cannot be told."""
    columns = ("clause", "", "holds", "violated", "cannot tell", "what it says")
    rows: list[tuple[Cell, ...]] = []
    for strength in found.strengths:
        mark = f"{SYMBOL[strength.outcome]} {SAID[strength.outcome]}"
        rows.append((Cell(f"{TITLES[strength.strength]}:"), Cell(mark, STYLE[strength.outcome]), *[Cell("")] * 4))
        rows += _rows(strength)
    title = f"{printable(found.target, 200)}: {found.events:,} events of {printable(found.trace, 100)}"
    notes = [note for strength in found.strengths for note in _notes(strength)]
    seconds = f"{found.seconds:.1f} s"
    closing = Cell(f"{SYMBOL[found.outcome]} {SAID[found.outcome]} ({seconds})", STYLE[found.outcome])
    return Table(title, columns, tuple(rows), frozenset({2, 3, 4}), (*notes, closing))


def _rows(strength: StrengthResult) -> Iterator[tuple[Cell, ...]]:
    for result in strength.results:
        unknown = sum(count for _, count in result.unknown)
        if not (result.held or result.violated or unknown):
            continue
        outcome = Outcome.VIOLATED if result.violated else Outcome.HOLDS
        if outcome is Outcome.HOLDS and any(reason in EXCUSES for reason, _ in result.unknown):
            outcome = Outcome.UNKNOWN
        numbers = (result.held, result.violated, unknown)
        texts = (Cell(f"{number:,}" if number else "") for number in numbers)
        said = printable(result.clause.statement, 90) if strength.strength == TEXT else ""
        yield Cell("  " + printable(result.clause.name, 60)), Cell(SYMBOL[outcome], STYLE[outcome]), *texts, Cell(said)


def _notes(strength: StrengthResult) -> Iterator[Cell]:
    reasons: dict[str, list[str]] = {}
    for result in strength.results:
        for reason, count in result.unknown:
            reasons.setdefault(reason, []).append(f"{count:,} of {printable(result.clause.name, 40)}")
    for reason, counts in reasons.items():
        sign = "? " if reason in EXCUSES else ""
        text = f"{sign}cannot tell: {printable(reason)}: {', '.join(counts)}"
        yield from (Cell(line) for line in textwrap.wrap(text, 118, subsequent_indent="    "))
    for note in strength.notes:
        yield Cell(f"{TITLES[strength.strength]}: {printable(note)}")


def rejection_text(rejection: Rejection) -> str:
    """One rejection: the event, the clause, what was accepted before it, the history, and the cut."""
    clause = rejection.clause
    lines = [f"{SYMBOL[Outcome.VIOLATED]} {printable(clause.name, 60)}: {printable(clause.statement)}"]
    if rejection.number:
        lines.append(f"  event {rejection.number:,}: {printable(rejection.line, LINE_WIDTH)}")
    lines.append(f"  {printable(rejection.observed)}; {printable(rejection.expected)}")
    if rejection.accepted:
        lines.append(f"  accepted: events 1 to {rejection.accepted:,}")
    elif not rejection.number:
        lines.append("  no event is rejected: what they lead to is not what was found")
    if rejection.history:
        lines.append(f"  the whole history ({len(rejection.history)} events):")
        lines += _listed(rejection.history, rejection.number)
    if rejection.cut:
        lines.append(f"  enough to reject it ({len(rejection.cut)} events):")
        lines += _listed(rejection.cut, rejection.number)
    return "\n".join(lines) + "\n"


def _listed(events: tuple[tuple[int, str], ...], rejected: int) -> Iterator[str]:
    half = LINES_SHOWN // 2
    for place, (number, text) in enumerate(events):
        if len(events) > LINES_SHOWN and place == half:
            yield f"       … {len(events) - LINES_SHOWN} more"
        if len(events) <= LINES_SHOWN or place < half or place >= len(events) - half:
            yield f"  {'✗' if number == rejected else ' '} {number:>9,}  {printable(text, LINE_WIDTH)}"


def trace_json(found: TraceValidation) -> str:
    """The same for programs."""
    data = {
        "schema": "kmemspec-trace-validation/1",
        "target": found.target,
        "outcome": found.outcome.value,
        "events": found.events,
        "strengths": [
            {
                "strength": strength.strength,
                "outcome": strength.outcome.value,
                "clauses": [
                    {"clause": one.clause.name, "statement": one.clause.statement, "holds": one.held,
                     "violated": one.violated, "cannot_tell": dict(one.unknown)}
                    for one in strength.results
                ],
                "notes": list(strength.notes),
            }
            for strength in found.strengths
        ],
        "rejections": [
            {"clause": one.clause.name, "statement": one.clause.statement, "event": one.number, "line": one.line,
             "observed": one.observed, "expected": one.expected, "accepted": one.accepted,
             "history": one.history, "cut": one.cut}
            for one in found.rejections
        ],
    }  # fmt: skip
    return json.dumps(data, indent=1) + "\n"
