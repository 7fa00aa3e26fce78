"""Words for the command line: verdicts, counts, coverage and kill matrix as tables, the JSON report, progress.

The one idea: functions take plain data and give a `Table` of texts, which is written the same to a pipe (`plain`)
and to a terminal (`styled`, through rich, which honours NO_COLOR); a symbol carries every meaning a colour repeats.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from ..model.lang.trace import Trace
from ..model.lang.verdict import Outcome, Verdict, combine
from . import trace_json
from .changes import call_text
from .table import elements_text, headline
from .text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table as RichTable

REPORT_SCHEMA = "kmemspec-report/1"

SYMBOL = {Outcome.HOLDS: "✓", Outcome.VIOLATED: "✗", Outcome.UNKNOWN: "?"}
STYLE = {Outcome.HOLDS: "green", Outcome.VIOLATED: "bold red", Outcome.UNKNOWN: "yellow"}


# --- tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A text and rich's style for it."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns; the columns numbered in `right` are aligned right. `notes` follow below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()
    notes: tuple[Cell, ...] = ()


def plain(table: Table) -> str:
    """A table for a pipe or a file."""
    texts = [[*table.columns], *([cell.text for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(table.columns))]
    lines = [table.title] if table.title else []
    for number, row in enumerate(texts):
        cells = [
            text.rjust(width) if column in table.right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("─" * width for width in widths))
    lines += [note.text for note in table.notes]
    return "\n".join(lines) + "\n"


def styled(table: Table) -> RichTable:
    """The rows for a terminal. Texts are never read as rich's markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(table.columns):
        shown.add_column(Text(column), justify="right" if number in table.right else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell.text, cell.style) for cell in row))
    return shown


def console(stream: IO[str] | None = None) -> Console:
    """A rich console that reads nothing into texts: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show(table: Table, target: Console) -> None:
    """Write a table: drawn on a terminal, plain text elsewhere, at its full width."""
    if target.is_terminal:
        from rich.text import Text

        # Title and notes are not rich's own, which it would wrap at the width of the rows.
        if table.title:
            target.print(Text(table.title, "bold"))
        target.print(styled(table))
        for note in table.notes:
            target.print(Text(note.text, note.style))
    else:
        target.file.write(plain(table))


# --- verdicts ----------------------------------------------------------------------------------------------------


def verdict_table(
    verdicts: Sequence[Verdict], title: str = "", names: Mapping[str, str] | None = None, hidden: Collection[str] = ()
) -> Table:
    """A row for each property and a column for each engine; then what each engine's answers hold for, and the
    violations. `names` adds a property's name to its identifier; properties in `hidden` get no row of their own."""
    engines = list(dict.fromkeys(verdict.engine for verdict in verdicts))
    properties = list(dict.fromkeys(verdict.property for verdict in verdicts))
    rows = []
    for identifier in properties:
        if identifier in hidden:
            continue
        name = (names or {}).get(identifier, "")
        label = printable(identifier, 40) + (f" {printable(name, 50)}" if name else "")
        rows.append((Cell(label), *(_answer(verdicts, engine, identifier) for engine in engines)))
    return Table(printable(title), ("property", *(printable(engine, 30) for engine in engines)), tuple(rows),
                 notes=(*_bounds(verdicts, engines), *_violations(verdicts), *_reasons(verdicts),
                        conclusion(verdicts)))


def _answer(verdicts: Sequence[Verdict], engine: str, identifier: str) -> Cell:
    mine = [verdict for verdict in verdicts if verdict.engine == engine and verdict.property == identifier]
    if not mine:
        return Cell("·", "dim")
    outcome = combine(verdict.outcome for verdict in mine)
    traces = [verdict.trace for verdict in mine if verdict.trace and verdict.outcome is Outcome.VIOLATED]
    shortest = min(traces, key=lambda trace: len(trace.steps), default=None)
    words = f"{SYMBOL[outcome]} {outcome.value}" + (f" in {length(shortest)}" if shortest else "")
    return Cell(words, STYLE[outcome])


def length(trace: Trace) -> str:
    """How many steps a trace has; of a run that goes on for ever, how many before its loop and how many round it."""
    count = len(trace.steps) - 1
    turn = count - trace.loop if trace.loop is not None else 0
    return f"{count - turn} + {_count(turn, 'step')}" if turn else _count(count, "step")


def _bounds(verdicts: Sequence[Verdict], engines: Sequence[str]) -> list[Cell]:
    """For each engine its bounds, each said once, with its properties when it is not that of all; an engine's counts
    stand with its first bound, or with each bound that is of all properties."""
    notes = []
    for engine in engines:
        mine = [verdict for verdict in verdicts if verdict.engine == engine]
        whole = {verdict.property for verdict in mine}
        bounds = list(dict.fromkeys(verdict.bound for verdict in mine if verdict.outcome is not Outcome.VIOLATED))
        counted = mine
        for bound in bounds:
            these = [verdict for verdict in mine if verdict.bound == bound]
            of_all = {verdict.property for verdict in these} == whole
            size = _sizes_of(these if of_all else counted, bound)
            which = "" if len(bounds) == 1 or of_all else f" ({_some([verdict.property for verdict in these])})"
            notes.append(Cell(f"{printable(engine, 30)}{which}: {', '.join([printable(bound), *size])}", "dim"))
            counted = []
        if not bounds and _sizes_of(mine, ""):
            notes.append(Cell(f"{printable(engine, 30)}: {', '.join(_sizes_of(mine, ''))}", "dim"))
    return notes


def _sizes_of(verdicts: Sequence[Verdict], said: str) -> list[str]:
    """The most states and transitions of these verdicts, unless it was said."""
    return [_count(max(values), what) for values, what in (
        ([verdict.states for verdict in verdicts if verdict.states is not None], "state"),
        ([verdict.transitions for verdict in verdicts if verdict.transitions is not None], "transition"),
    ) if values and not re.search(rf"\b{max(values):,} (\w+ )?({what}|step)", said) and not (
        what == "state" and f"({max(values):,} up to symmetry)" in said
    )]


def _some(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(printable(name, 40) for name in names[:6]) + more


def _violations(verdicts: Sequence[Verdict]) -> list[Cell]:
    notes: dict[str, Cell] = {}
    for verdict in verdicts:
        if verdict.outcome is Outcome.VIOLATED and verdict.trace and verdict.trace.violation:
            violation = verdict.trace.violation
            elements = f" — {elements_text(violation)}" if violation.elements else ""
            perhaps = "" if verdict.trace.reachable else " (perhaps unreachable)"
            last = call_text(verdict.trace.steps[-1])
            how = f"by {last}{perhaps}" if verdict.trace.loop is None else f"after step {verdict.trace.loop}, for ever"
            text = f"✗ {headline(violation)}{elements}, {how}"
            notes.setdefault(text, Cell(text, "red"))
    return list(notes.values())


def _reasons(verdicts: Sequence[Verdict]) -> list[Cell]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        if verdict.outcome is Outcome.UNKNOWN:
            reasons.setdefault((verdict.engine, verdict.reason or "no reason given"), []).append(verdict.property)
    return [Cell(f"? {printable(engine, 30)} on {_some(properties)}: {printable(reason)}", "yellow")
            for (engine, reason), properties in reasons.items()]


def conclusion(verdicts: Sequence[Verdict]) -> Cell:
    """One line for all of it."""
    outcome = combine(verdict.outcome for verdict in verdicts)
    count = len({verdict.property for verdict in verdicts})
    counts = ", ".join(
        f"{sum(verdict.outcome is one for verdict in verdicts)} {one.value}" for one in Outcome
        if any(verdict.outcome is one for verdict in verdicts)
    )
    if not verdicts:
        return Cell("? nothing was checked", STYLE[Outcome.UNKNOWN])
    words = {Outcome.HOLDS: "all hold", Outcome.VIOLATED: "violated", Outcome.UNKNOWN: "undecided"}[outcome]
    properties = f"{count} {'property' if count == 1 else 'properties'}"
    text = f"{SYMBOL[outcome]} {words}: {properties}, {_count(len(verdicts), 'verdict')} ({counts})"
    return Cell(text, STYLE[outcome])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# --- actions and branches ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActionCount:
    """How often an action was enabled, completed, and led to a new state (None where an engine does not count it)."""

    action: str
    enabled: int | None
    fired: int
    new: int | None = None


def action_table(counts: Iterable[ActionCount], title: str = "") -> Table:
    """Counts by action; an action that never fired is marked, for what is said about it is vacuous."""
    rows, silent = [], []
    for count in counts:
        if not count.fired:
            silent.append(printable(count.action, 60))
        name = Cell(("" if count.fired else "! ") + printable(count.action, 60), "" if count.fired else "yellow")
        numbers = (count.enabled, count.fired, count.new)
        rows.append((name, *(Cell("-" if number is None else f"{number:,}") for number in numbers)))
    notes = (Cell(f"! never fired: {', '.join(silent)}; nothing was checked about it", "yellow"),) if silent else ()
    return Table(title, ("action", "enabled", "fired", "new states"), tuple(rows), frozenset({1, 2, 3}), notes)


@dataclass(frozen=True)
class BranchCoverage:
    """Branch outcomes that a run reached, of all there are, and those it did not ("model/buddy.py:41 true")."""

    reached: int
    total: int
    unreached: tuple[str, ...] = ()


def coverage_text(coverage: BranchCoverage, limit: int = 20) -> str:
    """Coverage in a line, and a line for each branch that was not reached."""
    share = 100 * coverage.reached // coverage.total if coverage.total else 100
    lines = [f"branches: {coverage.reached} of {coverage.total} reached ({share}%)"]
    lines += [f"  ! not reached: {printable(place)}" for place in coverage.unreached[:limit]]
    if len(coverage.unreached) > limit:
        lines.append(f"  … and {len(coverage.unreached) - limit} more")
    return "\n".join(lines) + "\n"


def model_coverage_text(reached: int, listed: Mapping[str, str], wrong: Sequence[str], limit: int = 20) -> str:
    """The sides of the model's branches over all searches in a line: how many were taken, and how many are `listed`
    with the reason why they cannot be; then a line for each that is `wrong`."""
    total = reached + len(listed) + sum(line.startswith("not") for line in wrong)
    never = f", {len(listed)} cannot be, for the reasons beside them" if listed else ""
    lines = [f"branches of the model: {reached} of {total} sides reached by some search{never}"]
    lines += [f"  ! {printable(line)}" for line in wrong[:limit]]
    if len(wrong) > limit:
        lines.append(f"  … and {len(wrong) - limit} more")
    return "\n".join(lines) + "\n"


def symmetry_text(sorts: Mapping[str, int], renamings: int, visited: int, states: int) -> str:
    """`symmetry of cpu (3): 6 renamings, 990 canonical states for 5,652 states, factor 5.7`."""
    which = ", ".join(f"{printable(name, 40)} ({count})" for name, count in sorts.items())
    factor = f", factor {states / visited:.1f}" if visited else ""
    return (
        f"symmetry of {which}: {_count(renamings, 'renaming')}, {_count(visited, 'canonical state')} for "
        f"{_count(states, 'state')}{factor}\n"
    )


# --- the kill matrix ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """What one engine made of one fault. `outcome` is VIOLATED (killed, by `clause` in `steps`), HOLDS (equivalent at
    `bound`) or UNKNOWN (`bound` says how far it came)."""

    outcome: Outcome
    clause: str = ""
    steps: int | None = None
    seconds: float = 0.0
    bound: str = ""
    reachable: bool = True


@dataclass(frozen=True)
class KillRow:
    """A fault, and what each engine made of it; `expected` is False for one that no engine should kill."""

    fault: str
    kills: Mapping[str, Kill] = field(default_factory=dict)
    expected: bool = True


def kill_table(rows: Sequence[KillRow], title: str = "") -> Table:
    """Faults by engines."""
    engines = list(dict.fromkeys(engine for row in rows for engine in row.kills))
    shown = tuple(
        (Cell(printable(row.fault, 60)), *(_kill(row.kills.get(engine)) for engine in engines)) for row in rows
    )
    notes = []
    for engine in engines:
        mine = [row.kills[engine] for row in rows if engine in row.kills]
        killed = sum(kill.outcome is Outcome.VIOLATED for kill in mine)
        seconds = sum(kill.seconds for kill in mine)
        notes.append(Cell(f"{printable(engine, 30)}: {killed} of {len(mine)} killed, {seconds:.1f} s", "dim"))
    alive = [printable(row.fault, 60) for row in rows
             if row.expected and not any(kill.outcome is Outcome.VIOLATED for kill in row.kills.values())]
    if alive:
        notes.append(Cell(f"! killed by no engine: {', '.join(alive)}", "bold red"))
    return Table(title, ("fault", *(printable(engine, 30) for engine in engines)), shown, notes=tuple(notes))


def _kill(kill: Kill | None) -> Cell:
    if kill is None:
        return Cell("·", "dim")
    seconds = f"{kill.seconds:.1f} s"
    if kill.outcome is Outcome.VIOLATED:
        steps = "" if kill.steps is None else f", {_count(kill.steps, 'step')}"
        perhaps = "" if kill.reachable else " (perhaps unreachable)"
        return Cell(f"✗ {printable(kill.clause, 60)}{steps}{perhaps}, {seconds}", "green")
    bound = f" at {printable(kill.bound, 60)}" if kill.bound else ""
    if kill.outcome is Outcome.HOLDS:
        return Cell(f"= equivalent{bound}, {seconds}", "yellow")
    return Cell(f"? unknown{bound}, {seconds}", "yellow")


# --- the JSON report ---------------------------------------------------------------------------------------------


def json_report(
    spec: str, scope: Mapping[str, int], verdicts: Sequence[Verdict], fault: str | None = None,
    never_fired: Sequence[str] = (),
) -> str:
    """The text of `--json FILE`. A trace is embedded as in a trace file, so it can be cut out and replayed."""
    results: list[dict[str, Any]] = [
        {
            "engine": verdict.engine,
            "property": verdict.property,
            "verdict": verdict.outcome.value,
            "bound": verdict.bound,
            "reason": verdict.reason,
            "states": verdict.states,
            "transitions": verdict.transitions,
            "seconds": round(verdict.seconds, 3),
            "trace": None if verdict.trace is None else trace_json.to_json(verdict.trace),
        }
        for verdict in verdicts
    ]
    report = {
        "schema": REPORT_SCHEMA,
        "spec": spec,
        "scope": dict(scope),
        "fault": fault,
        "verdict": combine(verdict.outcome for verdict in verdicts).value,
        "never_fired": list(never_fired),
        "results": results,
    }
    return trace_json.lines(report, "results")


# --- progress ----------------------------------------------------------------------------------------------------


class Progress:
    """One line on a terminal's standard error that says how far a long job is; silent everywhere else.

    with Progress() as progress:
        progress.update("explore", states=120_000, frontier=8_000)
    """

    def __init__(self, stream: IO[str] | None = None, interval: float = 0.2) -> None:
        self._stream = stream or sys.stderr
        self._interval = interval
        self._status: Status | None = None
        self._shown = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        if self._stream.isatty():
            from rich.console import Console

            terminal = Console(file=self._stream, markup=False, emoji=False, highlight=False)
            if not terminal.is_dumb_terminal:
                self._status = terminal.status("", refresh_per_second=8)
                self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def update(self, what: str, **numbers: int) -> None:
        """Say what is being done and how much of it; cheap enough to be called often."""
        now = time.monotonic()
        if self._status is None or now - self._shown < self._interval:
            return
        from rich.text import Text

        self._shown = now
        self._status.update(Text(progress_text(what, numbers, now - self._started)))


def progress_text(what: str, numbers: Mapping[str, int], seconds: float) -> str:
    """`explore: states 120,000, frontier 8,000, 400,000 states/s, 0:00:03`."""
    parts = [f"{name.replace('_', ' ')} {number:,}" for name, number in numbers.items()]
    if seconds > 0 and "states" in numbers:
        parts.append(f"{round(numbers['states'] / seconds):,} states/s")
    minutes, rest = divmod(int(seconds), 60)
    return f"{printable(what, 60)}: " + ", ".join([*parts, f"{minutes // 60}:{minutes % 60:02}:{rest:02}"])
