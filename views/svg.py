"""A trace as SVG, written directly: exact block spans, and no program outside Python.

The one idea: steps are panels one under another, the last one framed in red; whatever the violated clause points at is
red in it. A state with a memory map (see `MemoryMap`) is drawn by order with its free lists beside; any other
state, and what the map does not show, as scalars and rows of cells. Nothing depends on colour alone: changed cells
have a heavy outline and a dot, culprits a triangle, uncovered pages are hatched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..model.lang.trace import Plain, Step, Trace
from . import lru_drawing, lru_map, lru_reader, slab_drawing, slab_map
from .canvas import CHANGED, COVERS, FRAME, FREE, INK, MARGIN, MONO, QUIET, RED, ROW, Canvas
from .changes import (
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
from .lru_map import LRU
from .memory_map import (
    BUDDY,
    ZONE_NAMES,
    Area,
    Block,
    FreeList,
    Memory,
    MemoryMap,
    culprits,
    lanes_of,
    read,
    shown_link,
    type_name,
)
from .slab_map import SLUB
from .table import blame, elements_text, headline, loop_text, standing, title

LABEL = 84
PAGE_WIDTH = 52
MAP_WIDTH = 1100
"""A map of more than MAP_WIDTH / PAGE_WIDTH pages is drawn this wide, with narrower pages."""
BOX, GAP = 34, 26
LISTED = 12
"""Boxes of a free list that are drawn."""
LANES = 6
ZOOMED = 24
"""Pages around the culprit that a large map repeats in full size."""
MARKED = 16
COLUMNS = 96
ROWS = 200
GENERIC_WIDTH = 1000


@dataclass(frozen=True)
class Options:
    """How to draw: where the memory map is, how many of the last steps, and the sorts of arrays if known."""

    memory_map: MemoryMap = BUDDY
    panels: int = 8
    dimension_sorts: Mapping[str, Sequence[str]] | None = None


def svg(trace: Trace, options: Options | None = None) -> str:
    """The picture of a trace."""
    return _Picture(trace, options or Options()).draw()


@dataclass(frozen=True)
class _Panel:
    """One step to draw: the state before it, and whether it is the one that violates."""

    number: int
    step: Step
    before: Plain
    last: bool
    broken: bool


@dataclass(frozen=True)
class _Table:
    """An array to draw: the labels of its rows, the texts of its cells, the columns shown and the widths."""

    grid: Grid
    labels: tuple[str, ...]
    texts: Mapping[Path, str]
    columns: tuple[int, ...]
    left: float
    width: float


@dataclass(frozen=True)
class _Window:
    """The pages that a map shows, where it begins and how wide a page is."""

    start: int
    stop: int
    left: float
    width: float

    def x(self, page: int) -> float:
        return self.left + (page - self.start) * self.width

    def shows(self, block: Block) -> bool:
        return block.head < self.stop and block.stop > self.start


@dataclass(frozen=True)
class _MapRow:
    """A row of the map: what it is, its order if it is one of these, its blocks and its lists."""

    label: str
    order: int | None
    blocks: tuple[Block, ...]
    areas: tuple[Area, ...]


class _Picture:
    """One drawing: the trace, what is guilty in it, and the canvas."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.options = options
        self.canvas = Canvas()
        state = trace.steps[-1].state
        self.map = options.memory_map.within(state)
        slabs = SLUB.within(state)
        lengths = options.memory_map.lengths(state) | (slabs.lengths(state) if slabs is not None else {})
        self.lru = LRU.of(trace)
        lengths |= self.lru.lengths(state) if self.lru is not None else {}
        self.culprits = Culprits(trace, options.dimension_sorts, lengths)
        self.pages: frozenset[int] = frozenset()
        self.orders: frozenset[int] = frozenset()
        self.varied = varied(trace)
        self.slabs = slabs
        self.named = slab_map.guilty(trace, slabs.slots(state)) if slabs is not None else slab_map.Guilty()
        if self.map is not None:
            self.pages, self.orders = culprits(trace, self.map, read(state, self.map).pages)

    def draw(self) -> str:
        steps = self.trace.steps
        first = max(0, len(steps) - self.options.panels)
        y = self._head()
        if first:
            self.canvas.text(MARGIN, y + 12, f"… steps 0 to {first - 1} are not drawn", fill=QUIET)
            y += 24
        frames = []
        for number in range(first, len(steps)):
            last = number == len(steps) - 1
            before = steps[number - 1].state if number else None
            panel = _Panel(number, steps[number], before, last, last and self.trace.violation is not None)
            start, bottom = y, self.canvas.bottom
            self.canvas.bottom = y
            self._panel(panel, y + 6)
            y = self.canvas.bottom + 10
            frames.append((start, y - start, panel.broken))
            self.canvas.bottom = max(bottom, y)
            y += 8
        right = self.canvas.right
        for start, height, broken in frames:
            self.canvas.box(MARGIN - 10, start, right - MARGIN + 20, height, line=RED if broken else FRAME,
                            thick=2.5 if broken else 1, round_=5)
        self._turn([(start, height) for start, height, _ in frames], first)
        self.canvas.text(MARGIN, y + 10, standing(self.trace), size=11, fill=QUIET)
        violation = self.trace.violation
        return self.canvas.finish(headline(violation) if violation else title(self.trace))

    def _turn(self, frames: Sequence[tuple[float, float]], first: int) -> None:
        """The arrow of a run that goes on for ever, from its last state up to where it is the same again."""
        loop = self.trace.loop
        if loop is None or loop == len(self.trace.steps) - 1:
            return
        right = self.canvas.right + 10
        start, height = frames[-1]
        target, tall = frames[loop - first] if loop >= first else (frames[0][0] - 24, 16)
        up, down = target + tall / 2, start + height / 2
        self.canvas.path(f"M{right:.1f},{down:.1f} h18 V{up:.1f} h-18", line=RED, thick=2, tip="red")
        self.canvas.reach(right + 20, 0)

    def _head(self) -> float:
        canvas, violation = self.canvas, self.trace.violation
        y = MARGIN + 10.0
        if violation is not None:
            canvas.text(MARGIN, y, f"✗ {headline(violation)}", size=17, fill=RED, weight="bold", limit=110)
            if violation.elements:
                y += 22
                canvas.text(MARGIN, y, f"▼ {elements_text(violation)}", size=14, fill=RED, weight="bold", limit=130)
            if violation.message:
                y += 18
                canvas.text(MARGIN, y, violation.message, size=12, limit=150)
            y += 19
        canvas.text(MARGIN, y, title(self.trace), size=11, fill=QUIET, limit=160)
        if not self.trace.reachable:
            y += 17
            canvas.text(MARGIN, y, "⚠ counterexample to induction: the first state is perhaps unreachable", size=12,
                        weight="bold")
        y = self._legend(y + 12)
        return y + 12

    def _legend(self, y: float) -> float:
        keys = [("#ffffff", CHANGED, "changed by the step", 2.2), ("#ffffff", RED, "in the violated clause", 2.5)]
        shown = {"free", "held", "none", "twice"} | self._kinds()
        if self.map is not None:
            keys = [(fill, line, words, 1) for kind, (fill, line, words) in COVERS.items() if kind in shown] + keys
        if self.slabs is not None:
            y = self._keys(y, [("#ffffff", INK, "objects:", 0), *slab_drawing.legend()]) + 5
            keys = [("#ffffff", INK, "pages:", 0), *keys]
        if self.lru is not None:
            here = self.lru
            views = [lru_reader.read(step.state, here) for step in self._drawn() if here.fits(step.state)]
            for line in lru_drawing.legend(views):
                y = self._keys(y, line) + 5
        return self._keys(y, keys)

    def _keys(self, y: float, keys: Sequence[tuple[str, str, str, float]]) -> float:
        x = float(MARGIN)
        for fill, line, words, thick in keys:
            if thick == 0:
                x += self.canvas.text(x, y + 10, words, size=10.5, fill=QUIET) + 10
                continue
            self.canvas.box(x, y, 14, 12, fill=fill, line=line, thick=thick)
            x += 19
            x += self.canvas.text(x, y + 10, words, size=10.5, fill=QUIET) + 16
        return y + 12

    def _kinds(self) -> set[str]:
        """What pages are in, in the steps that are drawn."""
        here = self.map
        if here is None:
            return set()
        states = [step.state for step in self._drawn() if here.fits(step.state)]
        return {kind for state in states for kind in read(state, here, self.trace.scope).covers}

    def _drawn(self) -> Sequence[Step]:
        return self.trace.steps[-self.options.panels :]

    # --- one step ------------------------------------------------------------------------------------------------

    def _panel(self, panel: _Panel, y: float) -> None:
        canvas = self.canvas
        words = call_text(panel.step) if panel.number or self.trace.reachable else "some state, perhaps unreachable"
        x = MARGIN + canvas.text(MARGIN, y + 12, f"{panel.number}", size=14, weight="bold",
                                 fill=RED if panel.broken else INK) + 10
        x += canvas.text(x, y + 12, words, size=13, weight="bold", limit=120)
        said = blame(self.trace) if panel.broken else ""
        if panel.number == self.trace.loop and not panel.last:
            said = f"↺ {loop_text(self.trace)}"
        if said:
            canvas.text(x + 14, y + 12, said, size=12, fill=RED, weight="bold")
        y += 20
        changed = frozenset() if panel.before is None else frozenset(
            change.path for change in changes(panel.before, panel.step.state)
        )
        state = panel.step.state
        y = self._lru(state, self._slabs(state, y, changed, panel), changed, panel)
        if self.map is None or not self.map.fits(state):
            if self.lru is None or not self.lru.fits(state):
                self._cells(state, y, changed, panel, None)
                return
            shown = [cell for cell in layout(state)[0] if cell[0] in self.varied and not self._drawn_already(cell[0])]
            y = self._scalars(shown, y, changed, panel)
            if panel.last:
                self._cells(state, y, changed, panel, self._left_out(changed, panel))
            elif self._also_changed(state, MARGIN, y - 6, changed):
                self.canvas.reach(MARGIN, y + 12)
            return
        here, slabs = self.map, self.slabs
        if slabs is None or panel.last or panel.before is None or any(map(here.shows, changed)):
            y = self._memory(state, here, y, changed, panel)
        else:
            self.canvas.text(MARGIN, y + 12, "pages as before", size=11, fill=QUIET)
            self.canvas.reach(MARGIN, y + 12)
        if panel.last:
            self._cells(state, y, changed, panel, self._left_out(changed, panel))

    def _left_out(self, changed: frozenset[Path], panel: _Panel) -> Callable[[Path], bool]:
        """What is not drawn as a cell: what the picture of a part shows, and beside LRU lists what stays as it is."""
        return lambda path: self._drawn_already(path) or (
            self.lru is not None and path not in changed and not (panel.broken and self._telling(path)))

    def _drawn_already(self, path: Path) -> bool:
        """Whether one of the pictures of parts shows the value at this path."""
        return any(part is not None and part.covers(path) for part in (self.map, self.slabs, self.lru))

    # --- slabs ---------------------------------------------------------------------------------------------------

    def _slabs(self, state: Plain, y: float, changed: frozenset[Path], panel: _Panel) -> float:
        """The caches of a state that has some, above its memory map."""
        here = self.slabs
        if here is None or not here.fits(state):
            return y
        moved = frozenset[int]() if panel.before is None else slab_map.touched(panel.before, state, here)
        named = self.named if panel.broken else slab_map.Guilty()
        return slab_drawing.draw(self.canvas, state, y, slab_drawing.Marks(moved, changed, named, here)) + 4

    def _lru(self, state: Plain, y: float, changed: frozenset[Path], panel: _Panel) -> float:
        """The LRU lists of a state that has some, with page tables, swap and the page cache."""
        here = self.lru
        if here is None or not here.fits(state):
            return y
        before = lru_reader.read(panel.before, here) if here.fits(panel.before) else None
        named = lru_map.guilty(self.trace) if panel.broken else lru_map.Guilty()
        return lru_drawing.draw(self.canvas, state, y, lru_drawing.Marks(changed, before, named, here)) + 4

    # --- the memory map ------------------------------------------------------------------------------------------

    def _memory(self, state: Plain, here: MemoryMap, y: float, changed: frozenset[Path], panel: _Panel) -> float:
        memory = read(state, here, self.trace.scope)
        width = min(PAGE_WIDTH, MAP_WIDTH / memory.pages)
        whole = _Window(0, memory.pages, MARGIN + LABEL, width)
        beside = memory.pages * width <= 16 * PAGE_WIDTH
        touched = here.touched(changed)
        rows = self._rows(memory, whole)
        y = self._map(memory, rows, whole, y, touched, panel, beside)
        if beside:
            x = whole.left + memory.pages * width + 34
            self._beside_pages(state, here, x, y - 30, changed, panel)
        else:
            if panel.broken and self.pages:
                y = self._zoom(memory, y + 4, touched, panel)
            for row in reversed(rows):
                if panel.last and row.areas:
                    self._row_label(row, y, panel)
                    y += self._areas(row.areas, whole.left, y, touched, panel)
            self._beside_pages(state, here, MARGIN, y, changed, panel)
            y += ROW
        self.canvas.reach(whole.left, y)
        return y

    def _rows(self, memory: Memory, window: _Window) -> list[_MapRow]:
        """What the map shows under one another: the cpus' pages, then the orders, of many those with something."""
        blocks = [block for block in memory.blocks if window.shows(block)]
        rows = []
        for cpu in memory.cpus():
            areas = memory.areas_of_cpu(cpu)
            mine = {link.page for area in areas for free_list in area.lists for link in free_list.links}
            rows.append(_MapRow(f"cpu {cpu} pages", None, tuple(
                block for block in blocks if block.kind == "pcp" and block.head in mine), areas))
        for order in memory.orders:
            row = _MapRow(
                f"order {order}" + ("" if order < memory.listed_orders else "!"), order,
                tuple(block for block in blocks if block.order == order and block.kind != "pcp"),
                memory.areas_of(order),
            )
            busy = row.blocks or not all(area.quiet for area in row.areas) or order in self.orders
            if len(memory.orders) <= 5 or busy:
                rows.append(row)
        return rows

    def _zoom(self, memory: Memory, y: float, touched: frozenset[int], panel: _Panel) -> float:
        """The pages around the first culprit in full size."""
        centre = min(self.pages)
        start = max(0, min(centre - ZOOMED // 2, memory.pages - ZOOMED))
        window = _Window(start, min(memory.pages, start + ZOOMED), MARGIN + LABEL, PAGE_WIDTH)
        self.canvas.text(MARGIN, y + 12, f"pages {window.start} to {window.stop - 1}, enlarged", size=11, weight="bold")
        rows = [row for row in self._rows(memory, window) if row.blocks]
        return self._map(memory, rows, window, y + 18, touched, panel, False)

    def _map(
        self, memory: Memory, rows: Sequence[_MapRow], window: _Window, y: float, touched: frozenset[int],
        panel: _Panel, beside: bool,
    ) -> float:
        """A row of blocks for each order, with its free lists beside it if there is room, then the row of pages."""
        right = window.x(window.stop)
        guilty = {page for page in self.pages if window.start <= page < window.stop} if panel.broken else set()
        if guilty:
            y += 16
        top = y
        for row in rows:
            lanes = lanes_of(row.blocks, LANES)
            height = min(LANES, max(lanes.values(), default=0) + 1) * ROW + 4.0
            areas = row.areas if beside else ()
            height = max(height, sum(_area_height(area) for area in areas))
            self._row_label(row, y, panel)
            if panel.broken and row.order in self.orders:
                self.canvas.box(window.left, y + 1, right - window.left, height - 3, fill=RED, line=RED, dash="3 3",
                                opacity=0.05)
            for block in row.blocks:
                if lanes[block] < LANES:
                    self._block(block, window, y + 2 + lanes[block] * ROW, touched, panel)
            self._areas(areas, right + 34, y, touched, panel)
            self.canvas.path(f"M{window.left},{y + height:.1f} H{right:.1f}", line="#e4e4e4", thick=1)
            y += height
        bottom = self._page_row(memory, window, y + 2, panel)
        self._mark_pages(guilty, window, top, y + 25)
        return self._spans(memory, window, bottom, panel) + 4

    def _spans(self, memory: Memory, window: _Window, y: float, panel: _Panel) -> float:
        """Below the pages: the migrate type of each pageblock, and the zones, where there are several."""
        rows: list[tuple[str, list[tuple[int, int, str, bool]]]] = []
        if memory.kinds and self.map is not None:
            where = tuple(self.map.kinds.split("."))
            rows.append(("type", [
                (start, stop, type_name(kind), panel.broken and self.culprits.points_at((*where, number)))
                for number, (start, stop, kind) in enumerate(memory.pageblocks(self.trace.scope))
            ]))
        if memory.zones[0][2] is not None:
            guilty_zones = {value for name, value in self.culprits.elements if panel.broken and name in ZONE_NAMES}
            rows.append(("zone", [
                (start, stop, f"zone {number}", number in guilty_zones) for start, stop, number in memory.zones]))
        for label, spans in rows:
            self.canvas.text(MARGIN, y + 13, label, size=12, fill=QUIET)
            for start, stop, words, guilty in spans:
                left, right = window.x(max(start, window.start)), window.x(min(stop, window.stop))
                if right > left:
                    self.canvas.box(left + 1, y + 1, right - left - 2, 16, fill="#fafafa", hint=words,
                                    line=RED if guilty else FRAME, thick=2.5 if guilty else 1)
                    if len(words) * 10 * MONO <= right - left - 4:
                        self.canvas.text((left + right) / 2, y + 13, words, size=10, anchor="middle", fill=QUIET)
            y += 20
        return y

    def _beside_pages(
        self, state: Plain, hidden: MemoryMap, x: float, y: float, changed: frozenset[Path], panel: _Panel
    ) -> None:
        """Next to the row of pages: the scalars, and in words what else the step changed (the last step draws it)."""
        scalars = [scalar for scalar in layout(state)[0] if not hidden.covers(scalar[0]) and scalar[0] in self.varied]
        for path, value in scalars[:6]:
            x += self.canvas.text(x, y + 16, path_text(path), size=11, fill=QUIET) + 5
            shown = value_text(value, 16)
            width = len(shown) * 12 * MONO + 10
            self._cell(x, y, width, shown, path, changed, panel)
            x += width + 14
        if not panel.last:
            self._also_changed(state, x, y, changed)

    def _also_changed(self, state: Plain, x: float, y: float, changed: frozenset[Path]) -> bool:
        """In words what a step changed of arrays that no picture shows; gives whether there is something."""
        values = dict(leaves(state))
        words = [
            f"{path_text(path)} = {value_text(values.get(path), 16)}" for path in values
            if path in changed and any(isinstance(part, int) for part in path) and not self._drawn_already(path)
        ]
        text = ", ".join(words[:3]) + (f", … {len(words) - 3} more" if len(words) > 3 else "")
        if text:
            self.canvas.text(x, y + 16, text, size=10.5, fill=CHANGED, limit=90)
        return bool(text)

    def _row_label(self, row: _MapRow, y: float, panel: _Panel) -> None:
        guilty = panel.broken and row.order in self.orders
        self.canvas.text(MARGIN, y + 19, ("▶" if guilty else "") + row.label, size=12, fill=RED if guilty else QUIET,
                         weight="bold" if guilty else "normal")

    def _block(self, block: Block, window: _Window, y: float, touched: frozenset[int], panel: _Panel) -> None:
        guilty = panel.broken and any(block.head <= page < block.stop for page in self.pages)
        x = window.x(max(block.head, window.start))
        span = window.x(min(block.stop, window.stop)) - x
        kind, thick = block.kind, 1.2
        fill, line, _ = COVERS[kind]
        if block.head in touched:
            line, thick = CHANGED, 2.2
        if guilty:
            line, thick = RED, 3.2
        hint = f"{kind} block {block.label()}, order {block.order}"
        self.canvas.box(x + 1.5, y + 1, span - 3, ROW - 4, fill=fill, line=line, thick=thick, round_=3, hint=hint,
                        dash="5 3" if block.beyond else "")
        for words in (f"{kind} {block.label()}" + (" →" if block.beyond else ""), block.label(), str(block.head)):
            if len(words) * 11 * MONO <= span - 3:
                self.canvas.text(x + span / 2, y + ROW / 2 + 3, words, size=11, anchor="middle",
                                 fill=RED if guilty else INK, weight="bold" if guilty else "normal")
                break

    def _page_row(self, memory: Memory, window: _Window, y: float, panel: _Panel) -> float:
        width = window.width
        self.canvas.text(MARGIN, y + 15, "pages", size=12, fill=QUIET)
        page = window.start
        while page < window.stop:
            kind = memory.cover(page)
            stop = page + 1
            while width < 12 and stop < window.stop and memory.cover(stop) == kind:
                stop += 1
            fill, line, _ = COVERS[kind]
            self.canvas.box(window.x(page), y, (stop - page) * width, 22, fill=fill, line=line, thick=0.8)
            page = stop
        every = 1 if width >= 24 else 1 << max(1, int(34 / width)).bit_length()
        for page in range(window.start, window.stop, every):
            self._page_number(page, memory, window, y, every == 1, panel)
        for page in sorted(self.pages)[:MARKED]:
            if not panel.broken and window.start <= page < window.stop:
                self.canvas.box(window.x(page), y, width, 22, line=RED, thick=1.5, dash="3 2")
        return y + (26 if every == 1 else 40)

    def _page_number(
        self, page: int, memory: Memory, window: _Window, y: float, inside: bool, panel: _Panel
    ) -> None:
        guilty = panel.broken and page in self.pages
        fill, weight = (RED, "bold") if guilty else (INK, "normal")
        if not inside:
            self.canvas.text(window.x(page), y + 33, str(page), size=9, fill=fill, weight=weight)
            return
        x = window.x(page) + window.width / 2
        if memory.cover(page) in ("none", "twice"):
            half = len(str(page)) * 11 * MONO / 2 + 3
            self.canvas.box(x - half, y + 4, 2 * half, 14, fill="#ffffff", line="none")
        self.canvas.text(x, y + 15, str(page), size=11, anchor="middle", fill=fill, weight=weight)

    def _mark_pages(self, pages: set[int], window: _Window, top: float, bottom: float) -> None:
        """A red band down the whole map for each guilty page, with a mark on top."""
        edge = 0.0
        for page in sorted(pages)[:MARKED]:
            x, span = window.x(page), max(window.width, 3)
            self.canvas.box(x, top - 1, span, bottom - top, line=RED, thick=2, fill=RED, opacity=0.07)
            self.canvas.triangle(x + span / 2, top - 3)
            if window.width < 24 and x > edge:
                words = f"page {page}"
                edge = x + 24 + self.canvas.text(x + span / 2 + 9, top - 5, words, size=11, fill=RED, weight="bold")

    # --- free lists ----------------------------------------------------------------------------------------------

    def _areas(
        self, areas: Sequence[Area], x: float, y: float, touched: frozenset[int], panel: _Panel
    ) -> float:
        """The lists of a row, under one another; gives their height."""
        top = y
        for area in areas:
            left = x
            if area.zone is not None:
                left += self.canvas.text(x, y + 18, f"zone {area.zone}", size=11, fill=QUIET) + 8
            left = self._count(area, left, y, panel)
            shown = area.shown()
            name_width = max(len(free_list.name) for free_list in shown) * 11 * MONO
            for number, free_list in enumerate(shown):
                start = left
                if free_list.name:
                    self.canvas.text(start + 6, y + 18, free_list.name, size=11, fill=QUIET)
                    start += name_width + 12
                end = self._list(free_list, area, start, y, touched, panel)
                if number == 0:
                    self._area_remarks(area, end, y, panel)
                y += _list_height(free_list)
        return y - top

    def _count(self, area: Area, x: float, y: float, panel: _Panel) -> float:
        """The box with an area's counter; gives its right side."""
        here = self.options.memory_map
        words = f"{here.count if area.cpu is None else here.cpu_count}={value_text(area.count, 8)}"
        width = len(words) * 11 * MONO + 12
        blamed = panel.broken and area.cpu is None and area.order in self.orders
        self.canvas.box(x, y + 4, width, 20, fill="#f3f3f3", line=RED if blamed else QUIET, thick=2.5 if blamed else 1,
                        round_=8)
        self.canvas.text(x + 6, y + 18, words, size=11, fill=RED if blamed else INK)
        return x + width

    def _list(
        self, free_list: FreeList, area: Area, x: float, y: float, touched: frozenset[int], panel: _Panel
    ) -> float:
        """A list as linked boxes; gives where it ends."""
        canvas = self.canvas
        middle = y + 14
        blamed = panel.broken and area.cpu is None and area.order in self.orders
        fill, usual, _ = COVERS["free" if area.cpu is None else "pcp"]
        centres: dict[int, float] = {}
        for link in free_list.links[:LISTED]:
            canvas.path(f"M{x:.1f},{middle - 4:.1f} H{x + GAP - 1:.1f}", tip="ink")
            if link.prev == link.expected:
                canvas.path(f"M{x + GAP:.1f},{middle + 4:.1f} H{x + 2:.1f}", line="#9a9a9a", thick=1, tip="quiet")
            x += GAP
            centres[link.page] = x + BOX / 2
            guilty = panel.broken and (link.page in self.pages or (blamed and bool(link.remark)))
            line, thick = (CHANGED, 2.2) if link.page in touched else (usual, 1.2)
            if guilty:
                line, thick = RED, 3.2
            canvas.box(x, y + 4, BOX, 20, fill="#ffffff" if link.remark else fill, line=line, thick=thick,
                       dash="4 2" if link.remark else "")
            canvas.text(x + BOX / 2, y + 18, str(link.page), size=11, anchor="middle", fill=RED if guilty else INK,
                        weight="bold" if guilty else "normal")
            x += BOX
        self._wrong_links(free_list, centres, y)
        return self._list_end(free_list, centres, x, y)

    def _wrong_links(self, free_list: FreeList, centres: dict[int, float], y: float) -> None:
        """Back pointers that do not point back, dashed, and what is odd about a listed page, below its box."""
        bottom = y + 24
        lower = 0
        for link in free_list.links[:LISTED]:
            x = centres[link.page]
            words = [link.remark] if link.remark else []
            if link.prev != link.expected:
                words.append(f"prev {shown_link(link.prev)}")
                target = centres.get(link.prev) if isinstance(link.prev, int) else None
                if target is not None and target != x:
                    self.canvas.path(f"M{x - 6:.1f},{bottom} C{x - 6:.1f},{bottom + 16} {target:.1f},{bottom + 16} "
                                     f"{target:.1f},{bottom + 2}", line=RED, dash="4 3", tip="red")
                else:
                    self.canvas.path(f"M{x - BOX / 2:.1f},{y + 18} h-{GAP - 8}", line=RED, dash="4 3", tip="red")
            if words:
                self.canvas.text(x, bottom + 22 + lower, ", ".join(words), size=9.5, fill=RED, anchor="middle")
                lower = 12 - lower

    def _list_end(self, free_list: FreeList, centres: dict[int, float], x: float, y: float) -> float:
        canvas = self.canvas
        if len(free_list.links) > LISTED:
            x += 6 + canvas.text(x + 6, y + 18, f"… {len(free_list.links) - LISTED} more", size=11, fill=QUIET)
        elif free_list.loops_to is not None:
            target = centres.get(free_list.loops_to, x)
            canvas.path(f"M{x:.1f},{y + 10} h8 V{y - 1} H{target:.1f} V{y + 3}", line=RED, dash="4 3", tip="red")
            x += 10
        elif not free_list.links:
            x += 8 + canvas.text(x + 8, y + 18, "empty", size=11, fill=QUIET)
        else:
            canvas.path(f"M{x:.1f},{y + 14} h9 m0,-5 v10", line=INK)
            x += 10
        for remark in free_list.remarks:
            x += 12 + canvas.text(x + 12, y + 18, remark, size=10, fill=RED, limit=70)
        return x

    def _area_remarks(self, area: Area, x: float, y: float, panel: _Panel) -> None:
        """Free blocks on no list, and what is odd about an area as a whole."""
        canvas = self.canvas
        for page in area.unlisted[:8]:
            guilty = panel.broken and page in self.pages
            x += 12
            line, thick = (RED, 3.0) if guilty else (QUIET, 1.2)
            canvas.box(x, y + 4, BOX, 20, fill=FREE, line=line, dash="4 2", thick=thick)
            canvas.text(x + BOX / 2, y + 18, str(page), size=11, anchor="middle", fill=RED if guilty else INK)
            x += BOX
        if area.unlisted:
            x += 6 + canvas.text(x + 6, y + 18, "free, on no list", size=10, fill=RED)
        for remark in area.remarks:
            x += 12 + canvas.text(x + 12, y + 18, remark, size=10, fill=RED, limit=70)

    # --- any other state -----------------------------------------------------------------------------------------

    def _cells(
        self, state: Plain, y: float, changed: frozenset[Path], panel: _Panel, hidden: Callable[[Path], bool] | None
    ) -> None:
        """Scalars and arrays, side by side while there is room; `hidden` says what is drawn already."""
        scalars, grids = layout(state)
        if hidden is None:
            y = self._scalars(scalars, y, changed, panel)
        else:
            grids = _without(grids, lambda path: hidden(path) or not (
                path in self.varied or (panel.broken and self._telling(path))))
        x, line, rows = float(MARGIN), 0.0, 0
        for grid in grids:
            if rows > ROWS:
                self.canvas.text(MARGIN, y + line + 14, "… more arrays are not drawn", size=11, fill=QUIET)
                return
            rows += len(grid.rows)
            table = self._table(grid, changed, panel)
            if x > MARGIN and x + table.left + len(table.columns) * table.width > GENERIC_WIDTH:
                x, y, line = float(MARGIN), y + line, 0.0
            line = max(line, self._grid(table, x, y, changed, panel) - y)
            x += table.left + len(table.columns) * table.width + 26

    def _telling(self, path: Path) -> bool:
        """Whether a value that no step changed says something about what the clause names: not a field of a page."""
        here = self.map
        inside = here is not None and path[: here.pages.count(".") + 1] == tuple(here.pages.split("."))
        return self.slabs is None and not inside and self.culprits.points_at(path)

    def _scalars(
        self, scalars: Sequence[tuple[Path, Plain]], y: float, changed: frozenset[Path], panel: _Panel
    ) -> float:
        x = float(MARGIN)
        for path, value in scalars[:ROWS]:
            name, shown = path_text(path), value_text(value, 24)
            width = (len(name) * 11 + len(shown) * 12) * MONO + 26
            if x > MARGIN and x + width > GENERIC_WIDTH:
                x, y = float(MARGIN), y + ROW
            x += self.canvas.text(x, y + 16, name, size=11, fill=QUIET) + 5
            box = len(shown) * 12 * MONO + 10
            self._cell(x, y, box, shown, path, changed, panel)
            x += box + 16
        return y + ROW + 2 if scalars else y

    def _cell(
        self, x: float, y: float, width: float, shown: str, path: Path, changed: frozenset[Path], panel: _Panel
    ) -> None:
        guilty = panel.broken and self.culprits.points_at(path)
        if path in changed:
            self.canvas.box(x, y + 2, width, ROW - 6, fill="#fff4e5", line=CHANGED, thick=2.2, hint=path_text(path))
            self.canvas.shapes.append(f'<circle cx="{x + width:.1f}" cy="{y + 2:.1f}" r="3.2" fill="{CHANGED}"/>')
        else:
            self.canvas.box(x, y + 2, width, ROW - 6, fill="#ffffff", line="#8d8d8d", thick=0.8, hint=path_text(path))
        if guilty:
            self.canvas.box(x + 1, y + 3, width - 2, ROW - 8, line=RED, thick=2.6, fill=RED, opacity=0.08)
        self.canvas.text(x + width / 2, y + 16, shown, size=12, anchor="middle", fill=RED if guilty else INK,
                         weight="bold" if guilty or path in changed else "normal")

    def _table(self, grid: Grid, changed: frozenset[Path], panel: _Panel) -> _Table:
        name = path_text(grid.path)
        texts = {path: value_text(value, 14) for row in grid.rows for path, value in row.cells}
        width = max(28.0, max((len(shown) for shown in texts.values()), default=1) * 12 * MONO + 10,
                    len(str(grid.columns)) * 9 * MONO + 6)
        labels = tuple(_row_label(name, row) for row in grid.rows) or (name,)
        left = max(len(label) for label in labels) * 11 * MONO + 10
        return _Table(grid, labels, texts, tuple(self._columns(grid, changed)), left, width)

    def _grid(self, table: _Table, x: float, y: float, changed: frozenset[Path], panel: _Panel) -> float:
        if not table.columns:
            self.canvas.text(x, y + 16, f"{table.labels[0]} is empty", size=11, fill=QUIET)
            return y + ROW
        a_line = max(4, int((GENERIC_WIDTH - table.left) // table.width))
        for start in range(0, len(table.columns), a_line):
            y = self._grid_line(table, table.columns[start : start + a_line], x + table.left, y, changed, panel)
        return y + 4

    def _grid_line(
        self, table: _Table, columns: Sequence[int], left: float, y: float, changed: frozenset[Path], panel: _Panel
    ) -> float:
        rows, width = table.grid.rows, table.width
        guilty = [
            panel.broken and any(column < len(row.cells) and self.culprits.points_at(row.cells[column][0])
                                 for row in rows)
            for column in columns
        ]
        if any(guilty):
            y += 10
        for position, column in enumerate(columns):
            x = left + position * width + width / 2
            jumped = position > 0 and columns[position - 1] != column - 1
            self.canvas.text(x, y + 10, f"…{column}" if jumped else str(column), size=9, anchor="middle",
                             fill=RED if guilty[position] else QUIET, weight="bold" if guilty[position] else "normal")
            if guilty[position]:
                self.canvas.triangle(x, y + 1)
        y += 11
        for label, row in zip(table.labels, rows, strict=True):
            self.canvas.text(left - 8, y + 16, label, size=11, anchor="end", fill=QUIET, limit=40)
            for position, column in enumerate(columns):
                if column < len(row.cells):
                    path = row.cells[column][0]
                    self._cell(left + position * width, y, width - 3, table.texts[path], path, changed, panel)
            y += ROW - 2
        return y + 2

    def _columns(self, grid: Grid, changed: frozenset[Path]) -> list[int]:
        """All columns of a short array; of a long one the ends and what is around changes and culprits."""
        if grid.columns <= COLUMNS:
            return list(range(grid.columns))
        wanted = {*range(4), grid.columns - 1}
        for row in grid.rows:
            for column, (path, _) in enumerate(row.cells):
                if len(wanted) < COLUMNS and (path in changed or self.culprits.points_at(path)):
                    wanted.update(range(max(0, column - 1), min(grid.columns, column + 2)))
        return sorted(wanted)


def _row_label(array: str, row: Row) -> str:
    if not row.name:
        return array
    label = array + row.name if row.name.startswith("[") else f"{array}[].{row.name}"
    return label if len(label) <= 40 else "…" + label[-39:]


def varied(trace: Trace) -> frozenset[Path]:
    """The values that differ from the first state at some step, or all of a trace of one state without slabs."""
    first = trace.steps[0].state
    if len(trace.steps) == 1:
        return frozenset() if SLUB.within(first) is not None else frozenset(path for path, _ in leaves(first))
    return frozenset(
        change.path
        for before, after in pairwise(step.state for step in trace.steps)
        for change in changes(before, after)
    )


def _without(grids: Sequence[Grid], hidden: Callable[[Path], bool]) -> tuple[Grid, ...]:
    """The rows in which some cell is not hidden."""
    kept = []
    for grid in grids:
        rows = tuple(row for row in grid.rows if not all(hidden(path) for path, _ in row.cells))
        if rows:
            kept.append(Grid(grid.path, grid.columns, rows))
    return tuple(kept)


def _list_height(free_list: FreeList) -> float:
    shown = free_list.links[:LISTED]
    odd = sum(1 for link in shown if link.prev != link.expected or link.remark)
    return ROW + 4.0 if odd == 0 else 52.0 if odd == 1 else 64.0


def _area_height(area: Area) -> float:
    return sum(_list_height(free_list) for free_list in area.shown())
