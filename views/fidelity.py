"""How well the model predicts recorded kernels: a row for each kind of thing, a column for each recording."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..model.lang.verdict import Outcome
from ..specs.recorded.comparison import Fidelity, Row
from .report import STYLE, SYMBOL, Cell, Table
from .text import printable

DIFFERENCES_SHOWN = 8


def fidelity_table(found: Sequence[Fidelity], fault: str | None = None) -> Table:
    """What was predicted of each recording and how much of it was right, then what was not and why."""
    title = "the model beside the recorded kernel" + (f", with fault {fault}" if fault else "")
    columns = ("predicted", *(printable(one.name, 40) for one in found))
    names = [row.what for row in (*found[0].during, *found[0].at_end)]
    rows = [(Cell(name), *(_cell(_named(one, name)) for one in found)) for name in names]
    rows.insert(len(found[0].during), (Cell("and in the last state:"), *(Cell("") for _ in found)))
    notes = [note for one in found for note in _notes(one)]
    return Table(title, columns, tuple(rows), frozenset(range(1, len(columns))), (*notes, _conclusion(found)))


def _named(one: Fidelity, name: str) -> Row:
    return next(row for row in (*one.during, *one.at_end) if row.what == name)


def _cell(row: Row) -> Cell:
    if row.wrong:
        text = f"{SYMBOL[Outcome.VIOLATED]} {row.right:,} of {row.predicted:,}"
        return Cell(text, STYLE[Outcome.VIOLATED])
    if row.predicted:
        return Cell(f"{row.right:,} of {row.predicted:,}", STYLE[Outcome.HOLDS])
    return Cell("not predicted" if row.not_predicted else "none there")


def _notes(one: Fidelity) -> Iterator[Cell]:
    name = printable(one.name, 40)
    yield Cell(f"{name}: {one.events:,} events, {one.operations:,} operations")
    reasons: dict[str, list[str]] = {}
    for row in (*one.during, *one.at_end):
        for reason, count in row.not_predicted:
            reasons.setdefault(reason, []).append(f"{count:,} of {row.what.split(',')[0].split(':')[0]}")
    for reason, counts in reasons.items():
        yield from _wrapped(f"  not predicted: {printable(reason)}: {', '.join(counts)}")
    if one.slabs_until is not None:
        yield Cell(f"  slabs are followed up to event {one.slabs_until:,}")
    if one.orders_tried:
        lines = ", ".join(f"{line:,}" for line in one.orders_tried)
        yield from _wrapped(f"  done only after the interrupt between event and operation: the frees of event {lines}")
    if one.stopped_at is not None:
        yield Cell(f"  ! too many differences: not followed after event {one.stopped_at:,}", STYLE[Outcome.VIOLATED])
    yield from _differences(one)


def _wrapped(text: str) -> Iterator[Cell]:
    return (Cell(line) for line in textwrap.wrap(text, 110, subsequent_indent="    "))


def _differences(one: Fidelity) -> Iterator[Cell]:
    wrong = [(row, difference) for row in (*one.during, *one.at_end) for difference in row.wrong]
    wrong.sort(key=lambda pair: pair[1].line or 1 << 62)
    for row, difference in wrong[:DIFFERENCES_SHOWN]:
        place = f"event {difference.line:,}" if difference.line else "last state"
        told = f"{printable(difference.about, 80)}: kernel {printable(difference.recorded, 100)}"
        text = f"  ✗ {place}, {row.what}: {told}, model {printable(difference.predicted, 100)}"
        yield Cell(text + (f" ({difference.reason})" if difference.reason else ""), STYLE[Outcome.VIOLATED])
    if len(wrong) > DIFFERENCES_SHOWN:
        yield Cell(f"  … and {len(wrong) - DIFFERENCES_SHOWN:,} differences more", STYLE[Outcome.VIOLATED])


def _conclusion(found: Sequence[Fidelity]) -> Cell:
    right = sum(row.right for one in found for row in (*one.during, *one.at_end))
    total = sum(row.predicted for one in found for row in (*one.during, *one.at_end))
    outcome = Outcome.HOLDS if all(one.exact for one in found) else Outcome.VIOLATED
    said = "the model does what the kernel did" if outcome is Outcome.HOLDS else "the model does something else"
    return Cell(f"{SYMBOL[outcome]} {said}: {right:,} of {total:,} predictions are right", STYLE[outcome])


def fidelity_json(found: Sequence[Fidelity], fault: str | None = None) -> str:
    """The same for programs; of the differences of a row the first 100."""
    recordings = [
        {
            "recording": one.name,
            "exact": one.exact,
            "events": one.events,
            "operations": one.operations,
            "slabs_until": one.slabs_until,
            "stopped_at": one.stopped_at,
            "orders_tried": list(one.orders_tried),
            "rows": [
                {
                    "what": row.what,
                    "when": when,
                    "right": row.right,
                    "predicted": row.predicted,
                    "not_predicted": dict(row.not_predicted),
                    "differences": [asdict(difference) for difference in row.wrong[:100]],
                }
                for when, rows in (("event", one.during), ("last state", one.at_end))
                for row in rows
            ],
        }
        for one in found
    ]
    return json.dumps({"schema": "kmemspec-fidelity/1", "fault": fault, "recordings": recordings}, indent=1) + "\n"
