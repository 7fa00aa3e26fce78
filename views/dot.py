"""A trace as a Graphviz graph: the steps as one table, and the last step's free lists as linked boxes beside it.

The one idea: every label is an HTML-like one whose texts went through `markup`, and every node name is ours, so that
no name of a specification can change the graph. The same shapes as in `svg`, for those who have `dot` and want PNG,
PDF or a graph to edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..model.lang.trace import Plain, Trace
from .changes import Culprits, Grid, Path, Row, call_text, changes, layout, path_text, value_text
from .memory_map import Block, FreeList, Memory, culprits, lanes_of, read, shown_link
from .svg import Options
from .table import blame, elements_text, headline, standing, title
from .text import markup

if TYPE_CHECKING:
    from graphviz import Digraph  # type: ignore[import-untyped]

WINDOW = 64
"""Pages or columns that a table shows; around the culprits, if there are more."""
LANES = 4
LISTED = 12
ROWS = 60
RED, CHANGED, QUIET, FREE, HELD, TWICE = "#d00000", "#b35c00", "#6a6a6a", "#d3ecd0", "#cfe0f7", "#ffb3b3"
FREE_LINE, HELD_LINE, FRAME = "#2e7d32", "#2f5d9b", "#c9c9c9"


def dot(trace: Trace, options: Options | None = None) -> str:
    """The DOT text of a trace."""
    return str(graph(trace, options).source)


def graph(trace: Trace, options: Options | None = None) -> Digraph:
    """The graph of a trace, for the graphviz package to render."""
    from graphviz import Digraph

    drawing = _Drawing(trace, options or Options())
    whole = Digraph(
        "trace",
        graph_attr={"rankdir": "LR", "labelloc": "t", "labeljust": "l", "fontname": "monospace", "nodesep": "0.15",
                    "ranksep": "0.35", "label": f"<{drawing.heading()}>"},
        node_attr={"shape": "plain", "fontname": "monospace", "fontsize": "11"},
        edge_attr={"arrowsize": "0.6", "fontname": "monospace", "fontsize": "9"},
    )
    whole.node("steps", f"<{drawing.steps()}>")
    if drawing.mapped:
        drawing.lists(whole)
    return whole


def _font(text: str, colour: str = "", bold: bool = False, size: int = 0, limit: int = 200) -> str:
    inside = markup(text, limit).replace("\\", "&#92;") or " "
    if bold:
        inside = f"<B>{inside}</B>"
    attributes = (f' COLOR="{colour}"' if colour else "") + (f' POINT-SIZE="{size}"' if size else "")
    return f"<FONT{attributes}>{inside}</FONT>" if attributes else inside


def _cell(content: str, attributes: str = "") -> str:
    return f"<TD{' ' if attributes else ''}{attributes}>{content}</TD>"


def _table(rows: Iterable[str], attributes: str) -> str:
    return f"<TABLE {attributes}>{''.join(f'<TR>{row}</TR>' for row in rows)}</TABLE>"


class _Drawing:
    """The tables of one trace."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.options = options
        state = trace.steps[-1].state
        self.mapped = options.memory_map.recognises(state)
        self.culprits = Culprits(trace, options.dimension_sorts, options.memory_map.lengths(state))
        self.pages: frozenset[int] = frozenset()
        self.orders: frozenset[int] = frozenset()
        if self.mapped:
            self.pages, self.orders = culprits(trace, options.memory_map, read(state, options.memory_map).pages)

    def heading(self) -> str:
        violation = self.trace.violation
        rows = []
        if violation is not None:
            rows.append(_font(f"✗ {headline(violation)}", RED, True, 16))
            if violation.elements:
                rows.append(_font(f"▼ {elements_text(violation)}", RED, True, 14))
            if violation.message:
                rows.append(_font(violation.message))
        rows += [_font(title(self.trace), QUIET), _font(standing(self.trace), QUIET)]
        return _table((_cell(row, 'ALIGN="LEFT"') for row in rows), 'BORDER="0" CELLSPACING="1"')

    def steps(self) -> str:
        """One table with the steps under one another."""
        steps = self.trace.steps
        first = max(0, len(steps) - self.options.panels)
        rows = [_cell(_font(f"… steps 0 to {first - 1} are not drawn", QUIET))] if first else []
        for number in range(first, len(steps)):
            last = number == len(steps) - 1
            broken = last and self.trace.violation is not None
            before = steps[number - 1].state if number else None
            state = steps[number].state
            changed = frozenset() if before is None else frozenset(
                change.path for change in changes(before, state)
            )
            words = call_text(steps[number]) if number or self.trace.reachable else "some state, perhaps unreachable"
            words = f"{number} {words}" + (f"  {blame(self.trace)}" if broken else "")
            heading = _font(words, RED if broken else "", True)
            tables = self._state(state, changed, broken, last)
            rows.append(_cell(
                _table((_cell(part, 'ALIGN="LEFT"') for part in (heading, *tables)), 'BORDER="0" CELLSPACING="2"'),
                f'ALIGN="LEFT" BORDER="{3 if broken else 1}" COLOR="{RED if broken else FRAME}"',
            ))
        return _table(rows, 'BORDER="0" CELLSPACING="5"')

    def _state(self, state: Plain, changed: frozenset[Path], broken: bool, last: bool) -> Iterator[str]:
        description = self.options.memory_map
        mapped = self.mapped and description.recognises(state)
        scalars, grids = layout(state)
        if mapped:
            yield self._map(read(state, description, self.trace.scope), description.touched(changed), broken, last)
        if mapped:
            scalars = tuple(scalar for scalar in scalars if not description.covers(scalar[0]))
        if scalars:
            yield "  ".join(self._scalar(path, value, changed) for path, value in scalars[:12])
        count = 0
        for grid in grids:
            rows = [row for row in grid.rows if row.cells and not (mapped and self._hidden(row, changed, last))]
            count += len(rows)
            if rows and count <= ROWS:
                yield self._grid(Grid(grid.path, grid.columns, tuple(rows)), changed, broken)

    def _hidden(self, row: Row, changed: frozenset[Path], last: bool) -> bool:
        return self.options.memory_map.covers(row.cells[0][0]) or not (
            last or any(path in changed for path, _ in row.cells)
        )

    def _scalar(self, path: Path, value: Plain, changed: frozenset[Path]) -> str:
        new = path in changed
        shown = _font(value_text(value, 24) + ("*" if new else ""), CHANGED if new else "", True)
        return _font(f"{path_text(path)} = ", QUIET) + shown

    def _value(self, path: Path, value: Plain, changed: frozenset[Path], broken: bool) -> str:
        guilty = broken and self.culprits.points_at(path)
        colour = RED if guilty else CHANGED if path in changed else "#8d8d8d"
        thick = 3 if guilty else 2 if path in changed else 1
        text = value_text(value, 14) + ("*" if path in changed else "")
        shown = _font(text, RED if guilty else "", guilty or path in changed)
        return _cell(shown, f'COLOR="{colour}" BORDER="{thick}"')

    def _grid(self, grid: Grid, changed: frozenset[Path], broken: bool) -> str:
        guilty = {
            column for row in grid.rows for column, (path, _) in enumerate(row.cells) if self.culprits.points_at(path)
        }
        start, stop = _window(grid.columns, guilty)
        name = path_text(grid.path)
        rows = [_cell("", 'BORDER="0"') + "".join(
            _cell(_font(("▼" if broken and column in guilty else "") + str(column),
                        RED if broken and column in guilty else QUIET, False, 8), 'BORDER="0"')
            for column in range(start, stop)
        )]
        for row in grid.rows[:ROWS]:
            label = name if not row.name else name + row.name if row.name.startswith("[") else f"{name}[].{row.name}"
            rows.append(_cell(_font(label, QUIET), 'BORDER="0" ALIGN="RIGHT"') + "".join(
                self._value(path, value, changed, broken) for path, value in row.cells[start:stop]
            ))
        return _table(rows, 'BORDER="0" CELLBORDER="1" CELLSPACING="1"')

    # --- the memory map ------------------------------------------------------------------------------------------

    def _map(self, memory: Memory, touched: frozenset[int], broken: bool, last: bool) -> str:
        start, stop = _window(memory.pages, self.pages)
        rows = []
        for order in memory.orders:
            blocks = [block for block in memory.blocks
                      if block.order == order and block.head < stop and block.stop > start]
            lanes = lanes_of(blocks, LANES)
            for lane in range(min(LANES, max(lanes.values(), default=0) + 1)):
                row = sorted((block for block in blocks if lanes[block] == lane), key=lambda block: block.head)
                guilty = broken and order in self.orders
                label = _cell(_font(f"order {order}" if lane == 0 else "", RED if guilty else QUIET, guilty),
                              'BORDER="0" ALIGN="LEFT"')
                port = f'PORT="order{order}" BORDER="0"' if last and lane == 0 else 'BORDER="0"'
                rows.append(label + self._blocks(row, start, stop, touched, broken) + _cell("", port))
        colours = {"none": "#ffffff", "free": FREE, "held": HELD, "twice": TWICE, "outside": "#e9e9e9"}
        marks = {"none": "?", "free": "", "held": "", "twice": " twice", "outside": " out"}
        rows.append(_cell(_font("pages", QUIET), 'BORDER="0" ALIGN="LEFT"') + "".join(
            _cell(_font(("▲" if broken and page in self.pages else "") + str(page) + marks[memory.cover(page)],
                        RED if broken and page in self.pages else "", broken and page in self.pages),
                  f'BGCOLOR="{colours[memory.cover(page)]}" WIDTH="56" '
                  + (f'COLOR="{RED}" BORDER="3"' if broken and page in self.pages else f'COLOR="{FRAME}" BORDER="1"'))
            for page in range(start, stop)
        ) + _cell("", 'BORDER="0"'))
        return _table(rows, 'BORDER="0" CELLBORDER="1" CELLSPACING="1"')

    def _blocks(self, row: Sequence[Block], start: int, stop: int, touched: frozenset[int], broken: bool) -> str:
        cells, page = [], start
        for block in row:
            head, end = max(block.head, start), min(block.stop, stop)
            if head > page:
                cells.append(_cell("", f'COLSPAN="{head - page}" BORDER="0"'))
            guilty = broken and any(block.head <= culprit < block.stop for culprit in self.pages)
            changed = block.head in touched
            colour = RED if guilty else CHANGED if changed else FREE_LINE if block.free else HELD_LINE
            text = f"{'free' if block.free else 'held'} {block.label()}" + ("→" if block.beyond else "") + (
                "*" if changed else "")
            cells.append(_cell(
                _font(text, RED if guilty else "", guilty),
                f'COLSPAN="{end - head}" BGCOLOR="{FREE if block.free else HELD}" COLOR="{colour}" '
                f'BORDER="{3 if guilty else 2 if changed else 1}"',
            ))
            page = end
        if page < stop:
            cells.append(_cell("", f'COLSPAN="{stop - page}" BORDER="0"'))
        return "".join(cells)

    # --- free lists ----------------------------------------------------------------------------------------------

    def lists(self, whole: Digraph) -> None:
        """The free lists of the last step, each beside its order's row."""
        memory = read(self.trace.steps[-1].state, self.options.memory_map)
        for free_list in memory.lists:
            self._list(whole, free_list)

    def _list(self, whole: Digraph, free_list: FreeList) -> None:
        order = free_list.order
        head = f"head{order}"
        blamed = self.trace.violation is not None and order in self.orders
        words = f"order {order} {self.options.memory_map.count}={value_text(free_list.count, 8)}"
        lines = [_font("▶ " + words, RED, True) if blamed else _font(words)]
        lines += [_font(remark, RED, limit=60) for remark in free_list.remarks]
        if free_list.unlisted:
            lines.append(_font(f"free, on no list: {', '.join(map(str, free_list.unlisted[:8]))}", RED))
        whole.node(head, f"<{_table((_cell(line) for line in lines), _ROUNDED)}>")
        whole.edge(f"steps:order{order}:e", head, style="dotted", color="#9a9a9a", arrowhead="none")
        names: dict[int, str] = {}
        previous = head
        for position, link in enumerate(free_list.links[:LISTED]):
            names[link.page] = name = f"list{order}_{position}"
            guilty = self.trace.violation is not None and (link.page in self.pages or (blamed and bool(link.remark)))
            text = _font(str(link.page), RED if guilty else "", guilty)
            rows = [_cell(text)] + ([_cell(_font(link.remark, RED, size=9))] if link.remark else [])
            colour, fill = RED if guilty else FREE_LINE, "#ffffff" if link.remark else FREE
            style = f'BORDER="{3 if guilty else 1}" COLOR="{colour}" CELLBORDER="0" CELLSPACING="0" BGCOLOR="{fill}"'
            whole.node(name, f"<{_table(rows, style)}>")
            whole.edge(previous, name)
            if link.prev == link.expected:
                whole.edge(name, previous, color="#9a9a9a", constraint="false")
            previous = name
        for link in free_list.links[:LISTED]:
            if link.prev != link.expected:
                target = names.get(link.prev) if isinstance(link.prev, int) else None
                label = f"<{_font(f'prev {shown_link(link.prev)}', RED)}>"
                whole.edge(names[link.page], target or head, label, color=RED, style="dashed", constraint="false")
        if free_list.loops_to in names:
            whole.edge(previous, names[free_list.loops_to], color=RED, style="dashed", constraint="false")
        if len(free_list.links) > LISTED:
            whole.node(f"more{order}", f"<{_font(f'… {len(free_list.links) - LISTED} more', QUIET)}>")
            whole.edge(previous, f"more{order}")


_ROUNDED = 'BORDER="1" CELLBORDER="0" CELLSPACING="0" STYLE="ROUNDED" BGCOLOR="#f3f3f3"'


def _window(count: int, culprits: Iterable[int]) -> tuple[int, int]:
    """Which columns to show: all, or WINDOW of them around the first culprit."""
    if count <= WINDOW:
        return 0, count
    start = max(0, min(min(culprits, default=0) - WINDOW // 2, count - WINDOW))
    return start, start + WINDOW
