"""How well the model predicts recorded kernels, and what holds of their LRU: a row for each kind of thing, a column
for each recording."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from ..model.lang.verdict import Outcome
from ..specs.recorded.comparison import Fidelity
from ..specs.recorded.lru_comparison import LruFidelity
from ..specs.recorded.tally import Row
from .report import STYLE, SYMBOL, Cell, Table
from .text import printable

DIFFERENCES_SHOWN = 8


def fidelity_table(found: Sequence[Fidelity], fault: str | None = None) -> Table:
    """What was predicted of each recording and how much of it was right, then what was not and why."""
    title = "the model beside the recorded kernel" + (f", with fault {fault}" if fault else "")
    columns = ("predicted", *(printable(one.name, 40) for one in found))
    names = [row.what for row in (*found[0].during, *found[0].at_end)]
    rows = [(Cell(name), *(_cell(_named((*one.during, *one.at_end), name)) for one in found)) for name in names]
    rows.insert(len(found[0].during), (Cell("and in the last state:"), *(Cell("") for _ in found)))
    notes = [note for one in found for note in _notes(one)]
    return Table(title, columns, tuple(rows), frozenset(range(1, len(columns))), (*notes, _conclusion(found)))


def lru_table(found: Sequence[LruFidelity], fault: str | None = None) -> Table:
    """What holds of each recording's LRU and reclaim, then what could not be told and why."""
    title = "the LRU and reclaim of the recorded kernel" + (f", with fault {fault}" if fault else "")
    columns = ("checked", *(printable(one.name, 40) for one in found))
    rows: list[tuple[Cell, ...]] = []
    most = max(found, key=lambda one: len(one.rows))
    for heading, part in _LRU_PARTS:
        rows.append((Cell(heading), *(Cell("") for _ in found)))
        for row in part(most):
            rows.append((Cell(row.what), *(_cell(_named(one.rows, row.what), "cannot tell") for one in found)))
    notes = [note for one in found for note in _lru_notes(one)]
    return Table(title, columns, tuple(rows), frozenset(range(1, len(columns))), (*notes, _lru_conclusion(found)))


_LRU_PARTS: tuple[tuple[str, Callable[[LruFidelity], tuple[Row, ...]]], ...] = (
    ("each event:", lambda one: one.during),
    ("from the first state to the second:", lambda one: one.counters),
    ("each of the two states:", lambda one: one.states),
    ("invariants of specs/lru.py, on the states:", lambda one: one.invariants),
    ("the first state, moved on by the events, is the second:", lambda one: one.at_end),
)


def _named(rows: Sequence[Row], name: str) -> Row:
    return next((row for row in rows if row.what == name), Row(name, 0, (), ()))


def _cell(row: Row, unknown: str = "not predicted") -> Cell:
    if row.wrong:
        text = f"{SYMBOL[Outcome.VIOLATED]} {row.right:,} of {row.predicted:,}"
        return Cell(text, STYLE[Outcome.VIOLATED])
    if row.predicted:
        return Cell(f"{row.right:,} of {row.predicted:,}", STYLE[Outcome.HOLDS])
    return Cell(unknown if row.not_predicted else "none there")


def _notes(one: Fidelity) -> Iterator[Cell]:
    name = printable(one.name, 40)
    yield Cell(f"{name}: {one.events:,} events, {one.operations:,} operations")
    yield from _reasons("not predicted", (*one.during, *one.at_end))
    if one.slabs_until is not None:
        yield Cell(f"  slabs are followed up to event {one.slabs_until:,}")
    if one.orders_tried:
        lines = ", ".join(f"{line:,}" for line in one.orders_tried)
        yield from _wrapped(f"  done only after the interrupt between event and operation: the frees of event {lines}")
    if one.stopped_at is not None:
        yield Cell(f"  ! too many differences: not followed after event {one.stopped_at:,}", STYLE[Outcome.VIOLATED])
    yield from _differences((*one.during, *one.at_end))


def _lru_notes(one: LruFidelity) -> Iterator[Cell]:
    yield Cell(f"{printable(one.name, 40)}: {one.events:,} events")
    if one.exact_scans:
        said = "times the model has one number for what is scanned of a list, and it is that"
        yield from _wrapped(f"  {one.exact_scans:,} {said}")
    yield from _reasons("cannot tell", one.rows)
    yield from _differences(one.rows)


def _reasons(said: str, rows: Sequence[Row]) -> Iterator[Cell]:
    reasons: dict[str, Counter[str]] = {}
    for row in rows:
        for reason, count in row.not_predicted:
            reasons.setdefault(reason, Counter())[row.what.split(",")[0].split(":")[0]] += count
    for reason, counts in reasons.items():
        listed = ", ".join(f"{count:,} of {what}" for what, count in counts.items())
        yield from _wrapped(f"  {said}: {printable(reason)}: {listed}")


def _wrapped(text: str) -> Iterator[Cell]:
    return (Cell(line) for line in textwrap.wrap(text, 110, subsequent_indent="    "))


def _differences(rows: Sequence[Row]) -> Iterator[Cell]:
    wrong = [(row, difference) for row in rows for difference in row.wrong]
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


def _lru_conclusion(found: Sequence[LruFidelity]) -> Cell:
    right = sum(row.right for one in found for row in one.rows)
    total = sum(row.predicted for one in found for row in one.rows)
    outcome = Outcome.HOLDS if all(one.holds for one in found) else Outcome.VIOLATED
    said = "the LRU and reclaim keep their relations" if outcome is Outcome.HOLDS else "a relation is broken"
    return Cell(f"{SYMBOL[outcome]} {said}: {right:,} of {total:,} checks hold", STYLE[outcome])


def fidelity_json(
    found: Sequence[Fidelity], fault: str | None = None, lru: Sequence[LruFidelity] = ()
) -> str:
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
            "rows": _json_rows({"event": one.during, "last state": one.at_end}),
        }
        for one in found
    ]
    lists = [
        {
            "recording": one.name,
            "holds": one.holds,
            "events": one.events,
            "exact_scans": one.exact_scans,
            "rows": _json_rows(
                {"event": one.during, "counter": one.counters, "state": one.states, "invariant": one.invariants,
                 "last state": one.at_end}
            ),
        }
        for one in lru
    ]
    data = {"schema": "kmemspec-fidelity/1", "fault": fault, "recordings": recordings, "lru": lists}
    return json.dumps(data, indent=1) + "\n"


def _json_rows(parts: Mapping[str, Sequence[Row]]) -> list[dict[str, object]]:
    return [
        {
            "what": row.what,
            "when": when,
            "right": row.right,
            "predicted": row.predicted,
            "not_predicted": dict(row.not_predicted),
            "differences": [asdict(difference) for difference in row.wrong[:100]],
        }
        for when, rows in parts.items()
        for row in rows
    ]
