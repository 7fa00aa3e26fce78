"""A trace as text: the initial state in full, then for each step what it changed, then what it broke.

The one idea: lines are lists of (style, text) spans; `text` drops the styles and `styled` hands them to rich, so what a
pipe gets and what a terminal shows are the same characters, and no meaning is in a colour alone (`~` marks a change,
`✗` the violation, `!` a changed value that the violated clause points at).
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ..model.lang.ir import FailureKind
from ..model.lang.trace import Trace, Violation
from .changes import (
    Change,
    Culprits,
    Grid,
    Path,
    Row,
    call_text,
    changes,
    layout,
    leaves,
    path_text,
    value_text,
)
from .memory_map import BUDDY, MemoryMap
from .text import printable

if TYPE_CHECKING:
    from rich.text import Text

Span = tuple[str, str]
"""Style and text. Styles are names of `STYLES` or ''."""
Line = list[Span]
GUILTY = 12
"""Elements of the last state that are shown once more below the violation."""
SIZES = 6
"""Sizes of the scope in a title; those that follow from others are the last."""

STYLES = {"title": "bold", "action": "bold", "change": "yellow", "culprit": "bold red", "quiet": "dim"}


@dataclass(frozen=True)
class Options:
    """`file` is the trace's own file, for the command that replays it; `width` is where lines should end; at most
    `changes` changed values a step and `steps` steps are shown (the last ones, for the culprit is at the end)."""

    file: str | None = None
    width: int = 100
    changes: int = 40
    steps: int = 200
    dimension_sorts: Mapping[str, Sequence[str]] | None = None
    memory_map: MemoryMap = BUDDY


def text(trace: Trace, options: Options | None = None) -> str:
    """The table without any styling."""
    return "".join("".join(part for _, part in line).rstrip() + "\n" for line in lines(trace, options or Options()))


def styled(trace: Trace, options: Options | None = None) -> Text:
    """The table for a rich console, which decides about colour (NO_COLOR, pipes)."""
    from rich.text import Text

    whole = Text()
    for line in lines(trace, options or Options()):
        for style, part in line:
            whole.append(part, STYLES.get(style))
        whole.append("\n")
    return whole


def lines(trace: Trace, options: Options) -> Iterator[Line]:
    """The table, line by line."""
    culprits = Culprits(trace, options.dimension_sorts, options.memory_map.lengths(trace.steps[-1].state))
    yield from _head(trace)
    last = len(trace.steps) - 1
    skipped = max(0, last - options.steps)
    margin = len(str(last)) + 2
    for number, step in enumerate(trace.steps):
        if number == 0:
            yield [("action", f"{number:>{margin - 2}}  {_first(trace)}")]
            yield from _state(step.state, margin, culprits, options.width)
            if skipped:
                yield [("quiet", " " * margin + f"… {skipped} steps are not shown")]
        elif number > skipped:
            broken = number == last and trace.violation is not None and trace.loop is None
            if trace.loop is not None and trace.loop == number - 1:
                yield [("culprit", f"{'↺':>{margin - 2}}  {loop_text(trace)}")]
            yield [("culprit" if broken else "action", f"{number:>{margin - 2}}{'✗' if broken else ' '} "
                    f"{call_text(step)}")]
            found = changes(trace.steps[number - 1].state, step.state)
            yield from _changes(found, margin, culprits, options, broken, broken and failed(trace))
    yield from _tail(trace, culprits, options)


def title(trace: Trace) -> str:
    """Specification, scope, fault, engine and length in a line."""
    sizes = [f"{printable(name, 40)}={size}" for name, size in trace.scope.items()]
    scope = ",".join([*sizes[:SIZES], *(["…"] if len(sizes) > SIZES else [])])
    parts = [printable(trace.spec, 120), scope]
    if trace.fault:
        parts.append(f"fault {printable(trace.fault, 80)}")
    if trace.engine:
        parts.append(f"by {printable(trace.engine, 40)}")
    count = len(trace.steps) - 1
    turn = f", the last {count - trace.loop} for ever" if trace.loop is not None and trace.loop < count else ""
    parts.append(f"{count} step{'' if count == 1 else 's'}{turn}")
    return " · ".join(part for part in parts if part)


def standing(trace: Trace) -> str:
    """What the length and the first state of the trace mean."""
    if not trace.reachable:
        return "counterexample to induction: its first state is perhaps unreachable"
    if trace.violation is None:
        return "a run without a violation"
    return "shortest: no shorter run violates it" if trace.shortest else "perhaps not the shortest run that violates it"


def loop_text(trace: Trace) -> str:
    """Where a trace with a loop goes on for ever: said where the loop begins."""
    assert trace.loop is not None
    last = len(trace.steps) - 1
    if trace.loop == last:
        return "here the machine stands still, for ever"
    first = trace.loop + 1
    return f"from here step {first} repeats for ever" if first == last else (
        f"from here the steps {first}..{last} repeat for ever"
    )


def blame(trace: Trace) -> str:
    """What is wrong with the last step."""
    if trace.loop is not None:
        last = len(trace.steps) - 1
        return f"↺ {loop_text(trace)}" if trace.loop == last else f"↺ the state is that of step {trace.loop} again"
    return "✗ fails here, the state is the one before" if failed(trace) else "✗ violates it here"


def failed(trace: Trace) -> bool:
    """Whether the last action stopped in the middle, so that its state is the one before it."""
    return trace.violation is not None and trace.violation.kind in FailureKind.__members__


def elements_text(violation: Violation) -> str:
    """`page 2, order 1`."""
    return ", ".join(f"{printable(name, 40)} {value}" for name, value in violation.elements[:32])


def headline(violation: Violation) -> str:
    """Property and clause: `B9 violated: no two free buddies`."""
    clause = printable(violation.clause, 300)
    return f"{printable(violation.property, 80)} violated" + (f": {clause}" if clause else "")


def replay_command(trace_file: str | None) -> str:
    """What to type to run the trace again."""
    return f"kmemspec replay {printable(shlex.quote(trace_file), 300) if trace_file else 'TRACE'}"


def _first(trace: Trace) -> str:
    return "initial state" if trace.reachable else "some state (perhaps unreachable)"


def _head(trace: Trace) -> Iterator[Line]:
    yield [("title", title(trace))]
    if trace.violation is not None:
        yield [("culprit", f"✗ {headline(trace.violation)}"),
               ("culprit", f" — {elements_text(trace.violation)}" if trace.violation.elements else "")]
    yield []


def _changes(
    found: Sequence[Change], margin: int, culprits: Culprits, options: Options, broken: bool, stopped: bool
) -> Iterator[Line]:
    """A line for each scalar and one for each array element, whose changed fields stand side by side."""
    if not found:
        yield [("quiet", " " * margin + ("it fails, the state is the one before" if stopped else "nothing changed"))]
    groups = [(where, list(group)) for where, group in groupby(found[: options.changes], key=_element)]
    names = [path_text(where) for where, _ in groups]
    width = min(40, max((len(name) for name in names), default=0))
    for (where, group), name in zip(groups, names, strict=True):
        guilty = broken and any(culprits.points_at(change.path) for change in group)
        mark, style = ("!", "culprit") if guilty else ("~", "change")
        words = [
            (f"{path_text(change.path[len(where):])} " if len(change.path) > len(where) else "")
            + f"{value_text(change.old)} → {value_text(change.new)}"
            for change in group
        ]
        start = f"{' ' * margin}{mark} {name:<{width}}  "
        for number, line in enumerate(_filled(words, max(30, options.width - len(start)))):
            yield [(style, (start if number == 0 else " " * len(start)) + line)]
    if len(found) > options.changes:
        yield [("quiet", f"{' ' * margin}… and {len(found) - options.changes} more changed values")]


def _element(change: Change) -> Path:
    """The array element that a changed value is a field of, or else the value itself."""
    indices = [position for position, part in enumerate(change.path) if isinstance(part, int)]
    return change.path[: indices[-1] + 1] if indices else change.path


def _tail(trace: Trace, culprits: Culprits, options: Options) -> Iterator[Line]:
    yield []
    violation = trace.violation
    if violation is not None:
        yield [("culprit", f"✗ {headline(violation)}")]
        details = [
            ("elements", elements_text(violation)),
            ("message", printable(violation.message)),
            ("kind", printable(violation.kind, 40)),
            ("stated at", printable(violation.position)),
        ]
        for name, value in details:
            if value:
                yield [("quiet", f"  {name:<10}"), ("culprit" if name == "elements" else "", value)]
        yield from _guilty(trace, culprits, options.width)
    if trace.loop is not None:
        last = len(trace.steps) - 1
        again = f"after step {last} the state is that of step {trace.loop} again, and so on for ever"
        yield [("", f"↺ {again if trace.loop < last else f'after step {last} the machine stands still, for ever'}")]
    if trace.reachable or not any(note.startswith("counterexample to induction") for note in trace.notes):
        yield [("", standing(trace))]
    for note in trace.notes[:20]:
        for line in textwrap.wrap(printable(note, 1000), options.width) or [""]:
            yield [("quiet", line)]
    yield [("quiet", "replay it: "), ("", replay_command(options.file))]


def _guilty(trace: Trace, culprits: Culprits, width: int) -> Iterator[Line]:
    """What the last state says about the elements that broke the clause."""
    found = [Change(path, None, value) for path, value in leaves(trace.steps[-1].state) if culprits.points_at(path)]
    for number, (where, group) in enumerate(groupby(found, key=_element)):
        if number == GUILTY:
            yield [("quiet", "            …")]
            return
        words = [
            f"{path_text(change.path[len(where):])}={value_text(change.new)}" if change.path != where
            else f"= {value_text(change.new)}"
            for change in group
        ]
        start = f"  {'! ' + path_text(where):<22} "
        for position, line in enumerate(_filled(words, max(30, width - len(start)))):
            yield [("culprit", start if position == 0 else " " * len(start)), ("", line)]


# --- a whole state -----------------------------------------------------------------------------------------------


def _state(state: object, margin: int, culprits: Culprits, width: int) -> Iterator[Line]:
    scalars, grids = layout(state)
    indent = " " * (margin + 2)
    words = [f"{path_text(path)}={value_text(value)}" for path, value in scalars]
    for line in _filled(words, width - len(indent)):
        yield [("", indent + line)]
    for grid in grids:
        yield from _grid(grid, indent, width)


def _filled(words: Iterable[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 2 + len(word) > width:
            yield line
            line = ""
        line = f"{line}  {word}" if line else word
    if line:
        yield line


def _grid(grid: Grid, indent: str, width: int) -> Iterator[Line]:
    name = path_text(grid.path) + "[]"
    if not grid.columns:
        yield [("", f"{indent}{name} is empty")]
        return
    labels = ["." + row.name if row.name and not row.name.startswith("[") else row.name for row in grid.rows]
    label_width = max(len(name), *(len(label) + 2 for label in labels))
    cells = [[value_text(value, 12) for _, value in row.cells] for row in grid.rows]
    cell_width = max(len(str(grid.columns - 1)), *(len(cell) for row in cells for cell in row))
    needed = len(indent) + label_width + (cell_width + 1) * grid.columns
    regular = all(len(row.cells) == grid.columns for row in grid.rows)
    if needed > width or not regular:
        yield from _runs(grid, name, labels, indent, width)
        return
    header = "".join(f" {index:>{cell_width}}" for index in range(grid.columns))
    yield [("", f"{indent}{name:<{label_width}}"), ("quiet", header)]
    for label, row in zip(labels, cells, strict=True):
        yield [("", f"{indent}  {label:<{label_width - 2}}" + "".join(f" {cell:>{cell_width}}" for cell in row))]


def _runs(grid: Grid, name: str, labels: Sequence[str], indent: str, width: int) -> Iterator[Line]:
    """A long array as runs of equal values: `0: 10  1..1023: -`."""
    yield [("", f"{indent}{name}"), ("quiet", f" {grid.columns} elements")]
    label_width = max(len(label) for label in labels)
    for label, row in zip(labels, grid.rows, strict=True):
        inside = f"{indent}  {label:<{label_width}}  " if label else f"{indent}  "
        for number, line in enumerate(_filled(_run_words(row), max(20, width - len(inside)))):
            if number == 8:
                yield [("quiet", " " * len(inside) + "…")]
                break
            yield [("", (inside if number == 0 else " " * len(inside)) + line)]


def _run_words(row: Row) -> Iterator[str]:
    """Indices are those of the elements, which the last integer of a path is for a scalar or a field."""
    for value, run in groupby(row.cells, key=lambda cell: value_text(cell[1], 12)):
        paths = [path for path, _ in run]
        first, last = (next(part for part in reversed(path) if isinstance(part, int)) for path in (paths[0], paths[-1]))
        yield f"{first}: {value}" if first == last else f"{first}..{last}: {value}"
