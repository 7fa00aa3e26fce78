"""The answer of `kmemspec snapshot check`: a row for each clause, each finding with the lists it is about, drawn."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..model.lang.verdict import Outcome
from ..specs.snapshot.results import Answer, Drawn, Finding, Snapshot
from .canvas import FREE, INK, MARGIN, MONO, QUIET, RED, Canvas
from .report import STYLE, SYMBOL, Cell, Table
from .text import printable

FINDINGS_SHOWN = 12
FINDINGS_DRAWN = 24
BOX, GAP, LINE = 26, 18, 20
TEXT_LIMIT = 160
SCHEMA = "kmemspec-snapshot/1"


def snapshot_table(found: Snapshot) -> Table:
    """Every clause with how often it was evaluated and its answer."""
    rows = [
        (Cell(answer.part), Cell(f"{answer.identifier} {answer.name}"), Cell(_checked(answer)), _answer(answer))
        for answer in found.answers
    ]
    notes = [*(Cell(printable(fact)) for fact in found.facts), *_reasons(found), _conclusion(found)]
    return Table(f"{printable(found.target, 80)}: {found.kind}", ("of", "clause", "evaluated", "answer"), tuple(rows),
                 frozenset({2}), tuple(notes))  # fmt: skip


def _checked(answer: Answer) -> str:
    return f"{answer.checked:,}" if answer.checked else ""


def _answer(answer: Answer) -> Cell:
    outcome = answer.outcome
    words = {Outcome.HOLDS: "holds", Outcome.VIOLATED: f"violated, {answer.broken:,} times"}.get(outcome, "cannot tell")
    return Cell(f"{SYMBOL[outcome]} {words}", STYLE[outcome])


def _reasons(found: Snapshot) -> Iterator[Cell]:
    reasons: dict[str, Counter[str]] = {}
    for answer in found.answers:
        for reason, count in answer.unknown.items():
            reasons.setdefault(reason, Counter())[answer.identifier] += count
    for reason, counts in reasons.items():
        listed = ", ".join(f"{name} ({count:,})" if count > 1 else name for name, count in counts.items())
        yield Cell(f"  cannot tell: {printable(reason, TEXT_LIMIT)}: {listed}")


def _conclusion(found: Snapshot) -> Cell:
    broken = sum(answer.outcome is Outcome.VIOLATED for answer in found.answers)
    held = sum(answer.outcome is Outcome.HOLDS for answer in found.answers)
    silent = len(found.answers) - broken - held
    said = {
        Outcome.HOLDS: "nothing is broken",
        Outcome.VIOLATED: f"{broken} clause{'s are' if broken > 1 else ' is'} broken",
    }.get(found.outcome, "nothing can be told")
    return Cell(f"{SYMBOL[found.outcome]} {said}: {held} hold, {broken} violated, {silent} cannot be told",
                STYLE[found.outcome])  # fmt: skip


# --- findings in words


def findings_text(found: Snapshot) -> str:
    """The first findings, one of each clause before a second of any."""
    lines: list[str] = []
    chosen = _chosen(found, FINDINGS_SHOWN)
    for number, (answer, finding) in enumerate(chosen, 1):
        lines += ["", f"{SYMBOL[Outcome.VIOLATED]} finding {number}: {answer.part}, {_title(answer, finding)}"]
        lines.append(f"  {printable(finding.about, 2 * TEXT_LIMIT)}")
        if finding.found:
            lines.append(f"  there is: {printable(finding.found, TEXT_LIMIT)}")
        lines += [line for one in finding.lists for line in _list_text(one)]
    more = sum(answer.broken for answer in found.answers) - len(chosen)
    if more > 0:
        lines += ["", f"… and {more:,} more"]
    return "\n".join(lines) + "\n" if lines else ""


def _chosen(found: Snapshot, most: int) -> list[tuple[Answer, Finding]]:
    ranked = [
        (position, number, answer, finding)
        for number, answer in enumerate(found.answers)
        for position, finding in enumerate(answer.findings)
    ]
    ranked.sort(key=lambda item: item[:2])
    return [(answer, finding) for _, _, answer, finding in ranked[:most]]


def _title(answer: Answer, finding: Finding) -> str:
    clause = printable(finding.clause, TEXT_LIMIT)
    name = f"{answer.identifier} {answer.name}"
    return name if answer.name == finding.clause else f"{name}: {clause}"


def _list_text(one: Drawn) -> Iterator[str]:
    entries = [f"[{entry}✗]" if position in one.marked else f"[{entry}]"
               for position, entry in enumerate(map(printable, one.entries))]  # fmt: skip
    if one.before:
        entries.insert(0, f"… {one.before} more …")
    if one.after:
        entries.append(f"… {one.after} more")
    yield f"    {printable(one.name, 80)}: {' → '.join(entries) or 'empty'}"


# --- findings as a picture


def snapshot_svg(found: Snapshot) -> str:
    """Each finding with its lists as chains of boxes, head first; the entries that it is about in red."""
    canvas = Canvas()
    title = f"{printable(found.target, 80)}: {found.kind}"
    canvas.text(MARGIN, MARGIN + 12, title, size=15, weight="bold")
    y = float(MARGIN + 12 + LINE)
    for fact in found.facts:
        canvas.text(MARGIN, y, fact, fill=QUIET)
        y += LINE
    conclusion = _conclusion(found).text
    canvas.text(MARGIN, y, conclusion, size=13, fill=RED if found.outcome is Outcome.VIOLATED else INK)
    y += 2 * LINE
    for answer, finding in _chosen(found, FINDINGS_DRAWN):
        y = _draw_finding(canvas, y, answer, finding)
    return canvas.finish(f"{title}: {conclusion}")


def _draw_finding(canvas: Canvas, y: float, answer: Answer, finding: Finding) -> float:
    canvas.text(MARGIN, y, f"✗ {_title(answer, finding)}", size=13, weight="bold", fill=RED)
    y += LINE
    for text in (finding.about, f"there is: {finding.found}" if finding.found else "", f"kernel: {answer.origin}"):
        if text:
            canvas.text(MARGIN + 12, y, text, fill=QUIET, limit=TEXT_LIMIT)
            y += LINE
    for one in finding.lists:
        y = _draw_list(canvas, y, one)
    return y + LINE


def _draw_list(canvas: Canvas, y: float, one: Drawn) -> float:
    canvas.text(MARGIN + 12, y + 4, one.name, limit=80)
    y += 14
    x = float(MARGIN + 24)
    if one.before:
        x += canvas.text(x, y + 17, f"… {one.before} more", fill=QUIET) + GAP
    for position, entry in enumerate(one.entries):
        marked = position in one.marked
        width = max(BOX, len(printable(entry, 24)) * 12 * MONO + 12)
        if position or one.before:
            canvas.path(f"M{x - GAP:.1f},{y + 13:.1f} H{x - 2:.1f}", tip="red" if marked else "quiet")
        canvas.box(x, y, width, BOX, fill="#ffd9d9" if marked else FREE, line=RED if marked else INK,
                   thick=2.5 if marked else 1, round_=3)  # fmt: skip
        canvas.text(x + width / 2, y + 17, entry, anchor="middle", limit=24)
        if marked:
            canvas.triangle(x + width / 2, y - 1)
        x += width + GAP
    if one.after:
        canvas.text(x, y + 17, f"… {one.after} more", fill=QUIET)
    if not one.entries:
        canvas.text(x, y + 17, "empty", fill=QUIET)
    return y + BOX + LINE


def snapshot_json(found: Sequence[Snapshot]) -> str:
    """The same for programs."""
    data = {
        "schema": SCHEMA,
        "snapshots": [
            {
                "target": one.target,
                "kind": one.kind,
                "verdict": one.outcome.value,
                "facts": list(one.facts),
                "clauses": [_json_answer(answer) for answer in one.answers],
            }
            for one in found
        ],
    }
    return json.dumps(data, indent=1) + "\n"


def _json_answer(answer: Answer) -> dict[str, object]:
    findings = [
        {**asdict(finding), "lists": [{**asdict(one), "marked": sorted(one.marked)} for one in finding.lists]}
        for finding in answer.findings
    ]
    return {
        "part": answer.part,
        "clause": answer.identifier,
        "name": answer.name,
        "origin": answer.origin,
        "verdict": answer.outcome.value,
        "evaluated": answer.checked,
        "broken": answer.broken,
        "cannot_tell": dict(answer.unknown),
        "findings": findings,
    }
