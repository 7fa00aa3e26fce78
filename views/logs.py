"""The answer of `kmemspec validate log`: each clause, and why a log is rejected, with the block's history."""

from __future__ import annotations

import json
from dataclasses import asdict

from ..model.lang.verdict import Outcome
from ..specs.logs.validation import LogValidation, NumberedLine, Rejection
from .report import STYLE, SYMBOL, Cell, Table
from .text import printable

WIDTH = 150
HISTORY_SHOWN = 24


def log_table(found: LogValidation) -> Table:
    """A row for each clause: how often it was put to the test."""
    rows = []
    for answer in found.answers:
        outcome = answer.outcome
        said = {Outcome.HOLDS: "holds", Outcome.VIOLATED: "violated"}.get(outcome, "cannot tell")
        tested = f"{answer.held:,}" if answer.held else ""
        rows.append((Cell(answer.clause.name), Cell(tested), Cell(f"{SYMBOL[outcome]} {said}", STYLE[outcome])))
    notes = [Cell(f"  cannot tell: {answer.clause.name}: {reason}" + (f" ({count:,} times)" if count > 1 else ""))
             for answer in found.answers for reason, count in answer.unknown]  # fmt: skip
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts)
    header = found.header
    source = f" of {printable(header.source, 40)}" if header.source else ""
    title = f"{printable(found.target, 80)}: {header.format}{source}, {printable(header.kind, 20)}"
    notes.append(Cell(f"{found.calls:,} calls ({counts}), at most {found.peak:,} blocks live"))
    notes += _left(found)
    notes.append(_conclusion(found))
    return Table(title, ("clause", "put to the test", "answer"), tuple(rows), frozenset({1}), tuple(notes))


def _left(found: LogValidation) -> list[Cell]:
    if not found.left_blocks or found.rejection is not None:
        return []
    end = "never freed" if found.ended else "live where the log ends"
    lines = [Cell(f"{end}: {found.left_blocks:,} block{'s' * (found.left_blocks != 1)}, {found.left_bytes:,} bytes")]
    if found.ended:
        lines += [Cell(f"  {number:>7}  {printable(text, WIDTH)}") for number, text in found.left]
    return lines


def _conclusion(found: LogValidation) -> Cell:
    said = {
        Outcome.HOLDS: "the log is accepted",
        Outcome.VIOLATED: "the log is rejected",
    }.get(found.outcome, "nothing can be told")
    return Cell(f"{SYMBOL[found.outcome]} {said}", STYLE[found.outcome])


def rejection_text(rejection: Rejection) -> str:
    """The clause, the call, its block's whole history, and the few lines that are enough."""
    lines = [
        "",
        f"{SYMBOL[Outcome.VIOLATED]} line {rejection.line:,}: {rejection.clause.name}: {rejection.clause.statement}",
        f"  {printable(rejection.message, WIDTH)}",
        f"  the {rejection.accepted:,} calls before it are accepted",
    ]
    if rejection.note:
        lines.append(f"  {rejection.note}")
    if rejection.history:
        lines += ["  what the log says of the block:", *_shown(rejection.history, rejection.line)]
    if rejection.cut:
        lines += ["  these lines are enough:", *_shown(rejection.cut, rejection.line)]
    return "\n".join(lines) + "\n"


def _shown(numbered: tuple[NumberedLine, ...], last: int) -> list[str]:
    some = list(numbered)
    half = HISTORY_SHOWN // 2
    left_out = len(some) - HISTORY_SHOWN
    some = some if left_out <= 0 else [*some[:half], *some[-half:]]
    lines = [
        f"  {number:>9,}{SYMBOL[Outcome.VIOLATED] if number == last else ' '} {printable(part, WIDTH)}"
        for number, text in some for part in text.split("\n")
    ]  # fmt: skip
    if left_out > 0:
        lines.insert(half, f"            … {left_out} lines more …")
    return lines


def cut_text(rejection: Rejection) -> str:
    """The lines that are enough, as a log that is rejected for the same reason."""
    return "".join(f"{text}\n" for _, text in rejection.cut)


def log_json(found: LogValidation) -> str:
    """The same for programs."""
    rejection = found.rejection
    data = {
        "schema": "kmemspec-log/1",
        "target": found.target,
        "verdict": found.outcome.value,
        "header": asdict(found.header),
        "calls": found.calls,
        "counts": dict(found.counts),
        "peak": found.peak,
        "clauses": [
            {"clause": answer.clause.name, "statement": answer.clause.statement, "verdict": answer.outcome.value,
             "held": answer.held, "cannot_tell": dict(answer.unknown)}
            for answer in found.answers
        ],
        "rejection": None if rejection is None else {**asdict(rejection), "clause": rejection.clause.name},
        "left": {"blocks": found.left_blocks, "bytes": found.left_bytes, "ended": found.ended, "first": found.left},
    }  # fmt: skip
    return json.dumps(data, indent=1) + "\n"
