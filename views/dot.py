"""A trace as a Graphviz graph: the steps as one table, and the last step's free lists as linked boxes beside it.

The one idea: every label is an HTML-like one whose texts went through `markup`, and every node name is ours, so that
no name of a specification can change the graph. The same shapes as in `svg`, for those who have `dot` and want PNG,
PDF or a graph to edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..model.lang.trace import Plain, Trace
from . import lru_dot, lru_drawing, lru_map, lru_reader, slab_map
from .canvas import COVERS
from .changes import Culprits, Grid, Path, Row, call_text, changes, layout, path_text, value_text
from .dot_labels import cell as _cell
from .dot_labels import font as _font
from .dot_labels import table as _table
from .lru_map import LRU
from .memory_map import Area, Block, FreeList, Memory, MemoryMap, culprits, lanes_of, read, shown_link, type_name
from .slab_drawing import KINDS, Marks, worth_drawing
from .slab_map import SLUB, CacheView, Cell, Freelist, SlabView
from .svg import Options, varied
from .table import blame, elements_text, headline, loop_text, standing, title

if TYPE_CHECKING:
    from graphviz import Digraph  # type: ignore[import-untyped]

WINDOW = 64
"""Pages or columns that a table shows; around the culprits, if there are more."""
LANES = 4
LISTED = 12
ROWS = 60
RED, CHANGED, QUIET, FRAME = "#d00000", "#b35c00", "#6a6a6a", "#c9c9c9"
FILLS = {kind: fill for kind, (fill, _, _) in COVERS.items()} | {"none": "#ffffff", "twice": "#ffb3b3"}
LINES = {kind: line for kind, (_, line, _) in COVERS.items()}
OBJECTS = {kind: (fill, line) for kind, (fill, line, _) in KINDS.items()} | {
    "lost": ("#ffffff", RED), "twice": (FILLS["twice"], RED)}
MARKS = {"none": "?", "twice": " twice", "outside": " out"}


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
    drawing.freelists(whole)
    drawing.links(whole)
    if drawing.map is not None:
        drawing.lists(whole, drawing.map)
    return whole


class _Drawing:
    """The tables of one trace."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.options = options
        state = trace.steps[-1].state
        self.map = options.memory_map.within(state)
        self.slabs = SLUB.within(state)
        self.lru = LRU.of(trace)
        self.named = slab_map.Guilty() if self.slabs is None else slab_map.guilty(trace, self.slabs.slots(state))
        lengths = options.memory_map.lengths(state) | (self.slabs.lengths(state) if self.slabs is not None else {})
        lengths |= self.lru.lengths(state) if self.lru is not None else {}
        self.culprits = Culprits(trace, options.dimension_sorts, lengths)
        self.varied = varied(trace)
        self.pages: frozenset[int] = frozenset()
        self.orders: frozenset[int] = frozenset()
        if self.map is not None:
            self.pages, self.orders = culprits(trace, self.map, read(state, self.map).pages)

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
            if number == self.trace.loop and not last:
                words += f"  ↺ {loop_text(self.trace)}"
            heading = _font(words, RED if broken else "", True)
            tables = [*self._slabs(before, state, changed, broken), *self._lru(before, state, changed, broken),
                      *self._state(state, changed, broken, last)]
            rows.append(_cell(
                _table((_cell(part, 'ALIGN="LEFT"') for part in (heading, *tables)), 'BORDER="0" CELLSPACING="2"'),
                f'ALIGN="LEFT" BORDER="{3 if broken else 1}" COLOR="{RED if broken else FRAME}"',
            ))
        return _table(rows, 'BORDER="0" CELLSPACING="5"')

    def _state(self, state: Plain, changed: frozenset[Path], broken: bool, last: bool) -> Iterator[str]:
        here = self.map if self.map is not None and self.map.fits(state) else None
        scalars, grids = layout(state)
        if here is not None:
            yield self._map(read(state, here, self.trace.scope), here.touched(changed), broken, last)
        if here is not None or self.lru is not None:
            scalars = tuple(one for one in scalars if not self._drawn_already(one[0]) and one[0] in self.varied)
        if scalars:
            yield "  ".join(self._scalar(path, value, changed) for path, value in scalars[:12])
        count = 0
        for grid in grids:
            rows = [row for row in grid.rows if row.cells and not self._hidden(row, here, changed, last)]
            count += len(rows)
            if rows and count <= ROWS:
                yield self._grid(Grid(grid.path, grid.columns, tuple(rows)), changed, broken)

    def _drawn_already(self, path: Path) -> bool:
        """Whether the map, the slabs or the lists show the value at this path."""
        return any(part is not None and part.covers(path) for part in (self.map, self.slabs, self.lru))

    def _hidden(self, row: Row, here: MemoryMap | None, changed: frozenset[Path], last: bool) -> bool:
        """Whether a row is shown in a picture of its own, or nothing in it changes (in an earlier step: in this
        step)."""
        if here is None and self.lru is None:
            return False
        shown, first = self.varied if last else changed, row.cells[0][0]
        pages = tuple(here.pages.split(".")) if here is not None else ("",)
        return self._drawn_already(first) or not any(
            path in shown or (last and self.slabs is None and path[: len(pages)] != pages
                              and self.culprits.points_at(path)) for path, _ in row.cells)

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

    # --- LRU lists -----------------------------------------------------------------------------------------------

    def _lru(self, before: Plain, state: Plain, changed: frozenset[Path], broken: bool) -> Iterator[str]:
        """The lists of a state that has some, with page tables, swap and the page cache."""
        if self.lru is not None and self.lru.fits(state):
            yield lru_dot.state_table(lru_reader.read(state, self.lru), self._marks(before, changed, broken))

    def _marks(self, before: Plain, changed: frozenset[Path], broken: bool) -> lru_drawing.Marks:
        here = self.lru or LRU
        earlier = lru_reader.read(before, here) if before is not None and here.fits(before) else None
        named = lru_map.guilty(self.trace) if broken else lru_map.Guilty()
        return lru_drawing.Marks(changed, earlier, named, here)

    def links(self, whole: Digraph) -> None:
        """The lists of the last step as chains, with the links of page tables, swap slots and the page cache."""
        steps, here = self.trace.steps, self.lru
        if here is None:
            return
        before = steps[-2].state if len(steps) > 1 else None
        changed = frozenset(change.path for change in changes(before, steps[-1].state)) if before is not None else (
            frozenset[Path]())
        marks = self._marks(before, changed, self.trace.violation is not None)
        lru_dot.draw_links(whole, lru_reader.read(steps[-1].state, here), marks)

    # --- slabs ---------------------------------------------------------------------------------------------------

    def _slabs(self, before: Plain, state: Plain, changed: frozenset[Path], broken: bool) -> Iterator[str]:
        """The caches of a state that has some: a row for each cpu and node, with its slabs."""
        here = self.slabs
        if here is None or not here.fits(state):
            return
        moved = frozenset[int]() if before is None else slab_map.touched(before, state, here)
        marks = Marks(moved, changed, self.named if broken else slab_map.Guilty(), here)
        for view in worth_drawing(state, here, marks):
            yield self._cache(view, marks)

    def _cache(self, view: CacheView, marks: Marks) -> str:
        rows = [_cell(_font(f"cache {view.number}: {view.words}", QUIET), 'BORDER="0" ALIGN="LEFT" COLSPAN="2"')]
        for owner in view.owners:
            words = " ".join([owner.label, *(f"{name}={value_text(value, 8)}" for name, _, value in owner.facts)])
            guilty = (owner.kind, owner.number) in marks.guilty.owners
            parts = []
            for slabs in owner.lists:
                if slabs.heading:
                    parts.append(_cell(_font(slabs.heading + ("" if slabs.slabs else ": none"), QUIET), 'BORDER="0"'))
                parts += [_cell(self._slab(slab, marks), 'BORDER="0"') for slab in slabs.slabs[:LISTED]]
                parts += [_cell(_font(remark, RED), 'BORDER="0"') for remark in slabs.remarks[:4]]
            inside = _table(["".join(parts)], 'BORDER="0" CELLSPACING="1"')
            rows.append(_cell(_font(words, RED if guilty else QUIET, guilty), 'BORDER="0" ALIGN="LEFT"')
                        + _cell(inside, 'BORDER="0" ALIGN="LEFT"'))
        return _table(rows, 'BORDER="0" CELLSPACING="1"')

    def _slab(self, slab: SlabView, marks: Marks) -> str:
        """A slab as a table: its numbers, its objects, what is odd."""
        cells = slab.cells[:WINDOW]
        guilty = slab.page in marks.guilty.slabs
        words = f"inuse {value_text(slab.inuse, 6)}/{value_text(slab.objects, 6)} " + (
            "frozen" if slab.frozen is True else "not frozen")
        span = f'COLSPAN="{max(1, len(cells))}" BORDER="0" ALIGN="LEFT"'
        rows = [_cell(_font(f"{slab.label()} ", RED if guilty else "", True) + _font(words, QUIET), span)]
        rows.append("".join(self._object(cell, marks) for cell in cells) or _cell(" "))
        rows += [_cell(_font(remark, RED, limit=70), span) for remark in slab.remarks[:6]]
        edge = f'COLOR="{RED}" BORDER="3"' if guilty else f'COLOR="{LINES["slab"]}" BORDER="1"'
        return _table(rows, f'{edge} CELLBORDER="1" CELLSPACING="2" BGCOLOR="#fbf9fe"')

    def _object(self, cell: Cell, marks: Marks) -> str:
        fill, line = OBJECTS[cell.kind]
        guilty, new = cell.object in marks.guilty.objects, cell.object in marks.objects
        bad = guilty or cell.kind in ("lost", "twice")
        text = str(cell.object) + {"lost": " lost", "twice": " twice"}.get(cell.kind, "") + ("*" if new else "")
        line = RED if bad else CHANGED if new else line
        return _cell(_font(text, RED if bad else "", bad),
                     f'BGCOLOR="{fill}" COLOR="{line}" BORDER="{3 if guilty else 2 if new or bad else 1}"')

    def freelists(self, whole: Digraph) -> None:
        """The freelists of the last step as linked boxes: those of the cpus, then those of the slabs."""
        state, here = self.trace.steps[-1].state, self.slabs
        if here is None:
            return
        named = self.named if self.trace.violation is not None else slab_map.Guilty()
        for view in worth_drawing(state, here, Marks(frozenset(), frozenset(), named, here)):
            kinds = {cell.object: cell.kind for slab in view.slabs() for cell in slab.cells}
            lists = [owner.freelist for owner in view.owners if owner.freelist is not None]
            lists += [freelist for slab in view.slabs() for freelist in slab.freelists if freelist.page == slab.page]
            for number, freelist in enumerate(dict.fromkeys(lists)):
                if freelist.first is not None and number < ROWS:
                    self._freelist(whole, freelist, f"cache{view.number}_{number}", kinds, named.objects)

    def _freelist(
        self, whole: Digraph, freelist: Freelist, name: str, kinds: Mapping[int, str], guilty: frozenset[int]
    ) -> None:
        lines = [_font(freelist.name), *([_font(freelist.wrong, RED)] if freelist.wrong else [])]
        whole.node(name, f"<{_table((_cell(line) for line in lines), _ROUNDED)}>")
        whole.edge("steps:e", name, style="invis")
        previous, names = name, dict[int, str]()
        for position, object in enumerate(freelist.objects[:LISTED]):
            names[object] = f"{name}_{position}"
            kind = kinds.get(object, "lost")
            bad = object in guilty or kind == "twice"
            fill, line = OBJECTS[kind]
            edge = f'BORDER="{3 if object in guilty else 1}" COLOR="{RED if bad else line}"'
            style = f'{edge} CELLBORDER="0" BGCOLOR="{fill}"'
            whole.node(names[object], f"<{_table([_cell(_font(str(object), RED if bad else '', bad))], style)}>")
            whole.edge(previous, names[object])
            previous = names[object]
        if freelist.loops_to in names:
            whole.edge(previous, names[freelist.loops_to], color=RED, style="dashed", constraint="false")
        if len(freelist.objects) > LISTED:
            whole.node(f"{name}_more", f"<{_font(f'… {len(freelist.objects) - LISTED} more', QUIET)}>")
            whole.edge(previous, f"{name}_more")

    # --- the memory map ------------------------------------------------------------------------------------------

    def _map(self, memory: Memory, touched: frozenset[int], broken: bool, last: bool) -> str:
        start, stop = _window(memory.pages, self.pages)
        rows: list[str] = []
        for cpu in memory.cpus():
            heads = {link.page for area in memory.areas_of_cpu(cpu) for free_list in area.lists
                     for link in free_list.links}
            blocks = [block for block in memory.blocks if block.kind == "pcp" and block.head in heads]
            rows += self._lanes(f"cpu {cpu} pages", f"cpu{cpu}" if last else "", blocks, (start, stop), touched, broken,
                                False)
        for order in memory.orders:
            blocks = [block for block in memory.blocks if block.order == order and block.kind != "pcp"]
            rows += self._lanes(f"order {order}", f"order{order}" if last else "", blocks, (start, stop), touched,
                                broken, broken and order in self.orders)
        rows.append(_cell(_font("pages", QUIET), 'BORDER="0" ALIGN="LEFT"') + "".join(
            self._page(page, memory.cover(page), broken and page in self.pages) for page in range(start, stop)
        ) + _cell("", 'BORDER="0"'))
        if memory.kinds:
            rows.append(self._kinds(memory, start, stop))
        return _table(rows, 'BORDER="0" CELLBORDER="1" CELLSPACING="1"')

    def _page(self, page: int, cover: str, guilty: bool) -> str:
        text = ("▲" if guilty else "") + str(page) + MARKS.get(cover, "")
        edge = f'COLOR="{RED}" BORDER="3"' if guilty else f'COLOR="{FRAME}" BORDER="1"'
        return _cell(_font(text, RED if guilty else "", guilty), f'BGCOLOR="{FILLS[cover]}" WIDTH="56" {edge}')

    def _kinds(self, memory: Memory, start: int, stop: int) -> str:
        """The migrate types of the pageblocks, below the pages."""
        cells = [_cell(_font("type", QUIET), 'BORDER="0" ALIGN="LEFT"')]
        for first, end, kind in memory.pageblocks(self.trace.scope):
            span = min(end, stop) - max(first, start)
            if span > 0:
                cells.append(_cell(_font(type_name(kind), QUIET), f'COLSPAN="{span}" COLOR="{FRAME}"'))
        return "".join(cells)

    def _lanes(
        self, name: str, port: str, blocks: Sequence[Block], window: tuple[int, int], touched: frozenset[int],
        broken: bool, guilty: bool,
    ) -> Iterator[str]:
        """The blocks of a row of the map, in as many lanes as their overlaps need."""
        shown = [block for block in blocks if block.head < window[1] and block.stop > window[0]]
        lanes = lanes_of(shown, LANES)
        for lane in range(min(LANES, max(lanes.values(), default=0) + 1)):
            row = sorted((block for block in shown if lanes[block] == lane), key=lambda block: block.head)
            label = _cell(_font(name if lane == 0 else "", RED if guilty else QUIET, guilty),
                          'BORDER="0" ALIGN="LEFT"')
            end = f'PORT="{port}" BORDER="0"' if port and lane == 0 else 'BORDER="0"'
            yield label + self._blocks(row, *window, touched, broken) + _cell("", end)

    def _blocks(self, row: Sequence[Block], start: int, stop: int, touched: frozenset[int], broken: bool) -> str:
        cells, page = [], start
        for block in row:
            head, end = max(block.head, start), min(block.stop, stop)
            if head > page:
                cells.append(_cell("", f'COLSPAN="{head - page}" BORDER="0"'))
            guilty = broken and any(block.head <= culprit < block.stop for culprit in self.pages)
            changed = block.head in touched
            colour = RED if guilty else CHANGED if changed else LINES[block.kind]
            text = f"{block.kind} {block.label()}" + ("→" if block.beyond else "") + (
                "*" if changed else "")
            cells.append(_cell(
                _font(text, RED if guilty else "", guilty),
                f'COLSPAN="{end - head}" BGCOLOR="{FILLS[block.kind]}" COLOR="{colour}" '
                f'BORDER="{3 if guilty else 2 if changed else 1}"',
            ))
            page = end
        if page < stop:
            cells.append(_cell("", f'COLSPAN="{stop - page}" BORDER="0"'))
        return "".join(cells)

    # --- free lists ----------------------------------------------------------------------------------------------

    def lists(self, whole: Digraph, here: MemoryMap) -> None:
        """The free lists of the last step, each beside its row."""
        memory = read(self.trace.steps[-1].state, here, self.trace.scope)
        for order in range(memory.listed_orders):
            for area in memory.areas_of(order):
                self._area(whole, area, f"order{order}")
        for cpu in memory.cpus():
            for area in memory.areas_of_cpu(cpu):
                self._area(whole, area, f"cpu{cpu}")

    def _area(self, whole: Digraph, area: Area, port: str) -> None:
        head = f"{port}_zone{area.zone or 0}"
        blamed = self.trace.violation is not None and area.cpu is None and area.order in self.orders
        words = f"zone {area.zone} " if area.zone is not None else ""
        words += f"order {area.order} " if area.cpu is None else f"cpu {area.cpu} "
        here = self.options.memory_map
        words += f"{here.count if area.cpu is None else here.cpu_count}={value_text(area.count, 8)}"
        lines = [_font("▶ " + words, RED, True) if blamed else _font(words)]
        remarks = (*area.remarks, *(remark for free_list in area.lists for remark in free_list.remarks))
        lines += [_font(remark, RED, limit=60) for remark in remarks[:6]]
        if area.unlisted:
            lines.append(_font(f"free, on no list: {', '.join(map(str, area.unlisted[:8]))}", RED))
        whole.node(head, f"<{_table((_cell(line) for line in lines), _ROUNDED)}>")
        whole.edge(f"steps:{port}:e", head, style="dotted", color="#9a9a9a", arrowhead="none")
        for number, free_list in enumerate(area.lists):
            self._list(whole, free_list, head, f"{head}_list{number}", blamed, area.cpu is None)

    def _list(
        self, whole: Digraph, free_list: FreeList, head: str, prefix: str, blamed: bool, buddy: bool
    ) -> None:
        names: dict[int, str] = {}
        previous = head
        usual = "free" if buddy else "pcp"
        for position, link in enumerate(free_list.links[:LISTED]):
            names[link.page] = name = f"{prefix}_{position}"
            guilty = self.trace.violation is not None and (link.page in self.pages or (blamed and bool(link.remark)))
            text = _font(str(link.page), RED if guilty else "", guilty)
            rows = [_cell(text)] + ([_cell(_font(link.remark, RED, size=9))] if link.remark else [])
            colour, fill = RED if guilty else LINES[usual], "#ffffff" if link.remark else FILLS[usual]
            style = f'BORDER="{3 if guilty else 1}" COLOR="{colour}" CELLBORDER="0" CELLSPACING="0" BGCOLOR="{fill}"'
            whole.node(name, f"<{_table(rows, style)}>")
            label = f"<{_font(free_list.name)}>" if position == 0 and free_list.name else ""
            whole.edge(previous, name, label)
            if link.prev == link.expected and (position or not free_list.name):
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
            whole.node(f"{prefix}_more", f"<{_font(f'… {len(free_list.links) - LISTED} more', QUIET)}>")
            whole.edge(previous, f"{prefix}_more")


_ROUNDED = 'BORDER="1" CELLBORDER="0" CELLSPACING="0" STYLE="ROUNDED" BGCOLOR="#f3f3f3"'


def _window(count: int, culprits: Iterable[int]) -> tuple[int, int]:
    """Which columns to show: all, or WINDOW of them around the first culprit."""
    if count <= WINDOW:
        return 0, count
    start = max(0, min(min(culprits, default=0) - WINDOW // 2, count - WINDOW))
    return start, start + WINDOW
