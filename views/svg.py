"""A trace as SVG, written directly: exact block spans, and no program outside Python.

The one idea: steps are panels one under another, the last one framed in red; whatever the violated clause points at is
red in it. A state with a memory map (see `MemoryMap`) is drawn by order with its free lists beside; any other
state, and what the map does not show, as scalars and rows of cells. Nothing depends on colour alone: changed cells
have a heavy outline and a dot, culprits a triangle, uncovered pages are hatched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..model.lang.trace import Plain, Step, Trace
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
from .memory_map import BUDDY, Block, FreeList, Memory, MemoryMap, culprits, lanes_of, read, shown_link
from .table import blame, elements_text, headline, standing, title
from .text import markup, printable

MARGIN = 18
LABEL = 84
PAGE_WIDTH = 52
MAP_WIDTH = 1100
"""A map of more than MAP_WIDTH / PAGE_WIDTH pages is drawn this wide, with narrower pages."""
ROW = 26
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

INK, QUIET, RED, FRAME = "#1c1c1c", "#6a6a6a", "#d00000", "#c9c9c9"
FREE, FREE_LINE, HELD, HELD_LINE = "#d3ecd0", "#2e7d32", "#cfe0f7", "#2f5d9b"
CHANGED = "#b35c00"
MONO = 0.602
"""Width of a character of the monospaced font, in ems."""

STYLE = (
    "text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1c1c1c;white-space:pre}"
)
PATTERNS = (
    '<pattern id="bare" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#ffffff"/><line x1="0" y1="0" x2="0" y2="6" stroke="#b5b5b5" stroke-width="2"/>'
    "</pattern>"
    '<pattern id="twice" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">'
    '<rect width="7" height="7" fill="#ffd9d9"/><line x1="0" y1="0" x2="0" y2="7" stroke="#d00000" stroke-width="3"/>'
    "</pattern>"
    + "".join(
        f'<marker id="tip-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for name, colour in (("ink", INK), ("quiet", "#9a9a9a"), ("red", RED))
    )
)


@dataclass
class Canvas:
    """Collects shapes and how far they reach. Every text that comes from a trace goes through `text`."""

    shapes: list[str] = field(default_factory=list)
    right: float = 0
    bottom: float = 0

    def reach(self, right: float, bottom: float) -> None:
        self.right, self.bottom = max(self.right, right), max(self.bottom, bottom)

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, fill: str = INK, weight: str = "normal",
        anchor: str = "start", limit: int = 400,
    ) -> float:
        """Draw a text with its base line at y; gives its width."""
        width = len(printable(text, limit)) * size * MONO
        self.shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" style="fill:{fill}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{markup(text, limit)}</text>'
        )
        self.reach(x + {"start": width, "middle": width / 2, "end": 0}[anchor], y + size * 0.3)
        return width

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none", line: str = INK,
        thick: float = 1, round_: float = 0, dash: str = "", hint: str = "", opacity: float = 1,
    ) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        tail = f"><title>{markup(hint)}</title></rect>" if hint else "/>"
        faint = f' fill-opacity="{opacity:g}"' if opacity != 1 else ""
        self.shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="{round_:g}" '
            f'fill="{fill}"{faint} stroke="{line}" stroke-width="{thick:g}"{dashed}{tail}'
        )
        self.reach(x + width, y + height)

    def path(self, data: str, *, line: str = INK, thick: float = 1.2, dash: str = "", tip: str = "") -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        tipped = f' marker-end="url(#tip-{tip})"' if tip else ""
        self.shapes.append(f'<path d="{data}" fill="none" stroke="{line}" stroke-width="{thick:g}"{dashed}{tipped}/>')

    def triangle(self, x: float, y: float) -> None:
        """A red mark that points down at (x, y)."""
        self.shapes.append(f'<path d="M{x - 6:.1f},{y - 9:.1f} h12 l-6,9 z" fill="{RED}"/>')

    def finish(self, description: str) -> str:
        width, height = self.right + MARGIN, self.bottom + MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">\n<title>{markup(description)}</title>\n'
            f"<style>{STYLE}</style>\n<defs>{PATTERNS}</defs>\n"
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(self.shapes) + "\n</svg>\n"
        )


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


class _Picture:
    """One drawing: the trace, what is guilty in it, and the canvas."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.options = options
        self.canvas = Canvas()
        state = trace.steps[-1].state
        self.mapped = options.memory_map.recognises(state)
        self.culprits = Culprits(trace, options.dimension_sorts, options.memory_map.lengths(state))
        self.pages: frozenset[int] = frozenset()
        self.orders: frozenset[int] = frozenset()
        if self.mapped:
            count = read(state, options.memory_map).pages
            self.pages, self.orders = culprits(trace, options.memory_map, count)

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
        self.canvas.text(MARGIN, y + 10, standing(self.trace), size=11, fill=QUIET)
        violation = self.trace.violation
        return self.canvas.finish(headline(violation) if violation else title(self.trace))

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
        if self.mapped:
            keys = [(FREE, FREE_LINE, "free block", 1), (HELD, HELD_LINE, "held by a client", 1),
                    ("url(#bare)", QUIET, "page in no block", 1), ("url(#twice)", RED, "page in two blocks", 1),
                    *([("#e9e9e9", FRAME, "outside the zone", 1)] if self._beyond() else []), *keys]
        x = float(MARGIN)
        for fill, line, words, thick in keys:
            self.canvas.box(x, y, 14, 12, fill=fill, line=line, thick=thick)
            x += 19
            x += self.canvas.text(x, y + 10, words, size=10.5, fill=QUIET) + 16
        return y + 12

    def _beyond(self) -> bool:
        memory = read(self.trace.steps[-1].state, self.options.memory_map, self.trace.scope)
        return any(memory.cover(page) == "outside" for page in range(memory.pages))

    # --- one step ------------------------------------------------------------------------------------------------

    def _panel(self, panel: _Panel, y: float) -> None:
        canvas = self.canvas
        words = call_text(panel.step) if panel.number or self.trace.reachable else "some state, perhaps unreachable"
        x = MARGIN + canvas.text(MARGIN, y + 12, f"{panel.number}", size=14, weight="bold",
                                 fill=RED if panel.broken else INK) + 10
        x += canvas.text(x, y + 12, words, size=13, weight="bold", limit=120)
        if panel.broken:
            canvas.text(x + 14, y + 12, blame(self.trace), size=12, fill=RED, weight="bold")
        y += 20
        changed = frozenset() if panel.before is None else frozenset(
            change.path for change in changes(panel.before, panel.step.state)
        )
        state = panel.step.state
        if not (self.mapped and self.options.memory_map.recognises(state)):
            self._cells(state, y, changed, panel, None)
            return
        y = self._memory(state, y, changed, panel)
        if panel.last:
            self._cells(state, y, changed, panel, self.options.memory_map)

    # --- the memory map ------------------------------------------------------------------------------------------

    def _memory(self, state: Plain, y: float, changed: frozenset[Path], panel: _Panel) -> float:
        memory = read(state, self.options.memory_map, self.trace.scope)
        width = min(PAGE_WIDTH, MAP_WIDTH / memory.pages)
        whole = _Window(0, memory.pages, MARGIN + LABEL, width)
        beside = memory.pages * width <= 16 * PAGE_WIDTH
        touched = self.options.memory_map.touched(changed)
        orders = [order for order in memory.orders if len(memory.orders) <= 5 or self._busy(order, memory)]
        y = self._map(memory, orders, whole, y, touched, panel, beside)
        if beside:
            x = whole.left + memory.pages * width + 34
            self._beside_pages(state, x, y - 30, changed, panel)
        else:
            if panel.broken and self.pages:
                y = self._zoom(memory, y + 4, touched, panel)
            for free_list in reversed(memory.lists):
                if panel.last and free_list.order in orders:
                    self._order_label(free_list.order, memory, y, panel)
                    self._list(free_list, whole.left, y, touched, panel)
                    y += _list_height(free_list)
            self._beside_pages(state, MARGIN, y, changed, panel)
            y += ROW
        self.canvas.reach(whole.left, y)
        return y

    def _busy(self, order: int, memory: Memory) -> bool:
        """Whether there is something to see in the row of this order."""
        free_list = memory.lists[order] if order < memory.listed_orders else None
        listed = free_list is not None and bool(free_list.links or free_list.remarks or free_list.unlisted)
        return listed or order in self.orders or any(block.order == order for block in memory.blocks)

    def _zoom(self, memory: Memory, y: float, touched: frozenset[int], panel: _Panel) -> float:
        """The pages around the first culprit in full size."""
        centre = min(self.pages)
        start = max(0, min(centre - ZOOMED // 2, memory.pages - ZOOMED))
        window = _Window(start, min(memory.pages, start + ZOOMED), MARGIN + LABEL, PAGE_WIDTH)
        self.canvas.text(MARGIN, y + 12, f"pages {window.start} to {window.stop - 1}, enlarged", size=11, weight="bold")
        orders = sorted({block.order for block in memory.blocks if window.shows(block)}, reverse=True)
        return self._map(memory, orders, window, y + 18, touched, panel, False)

    def _map(
        self, memory: Memory, orders: Sequence[int], window: _Window, y: float, touched: frozenset[int],
        panel: _Panel, beside: bool,
    ) -> float:
        """A row of blocks for each order, with its free list beside it if there is room, then the row of pages."""
        right = window.x(window.stop)
        guilty = {page for page in self.pages if window.start <= page < window.stop} if panel.broken else set()
        if guilty:
            y += 16
        top = y
        for order in orders:
            row = [block for block in memory.blocks if block.order == order and window.shows(block)]
            lanes = lanes_of(row, LANES)
            height = min(LANES, max(lanes.values(), default=0) + 1) * ROW + 4.0
            free_list = memory.lists[order] if beside and order < memory.listed_orders else None
            if free_list is not None:
                height = max(height, _list_height(free_list))
            self._order_label(order, memory, y, panel)
            if panel.broken and order in self.orders:
                self.canvas.box(window.left, y + 1, right - window.left, height - 3, fill=RED, line=RED, dash="3 3",
                                opacity=0.05)
            for block in row:
                if lanes[block] < LANES:
                    self._block(block, window, y + 2 + lanes[block] * ROW, touched, panel)
            if free_list is not None:
                self._list(free_list, right + 34, y, touched, panel)
            self.canvas.path(f"M{window.left},{y + height:.1f} H{right:.1f}", line="#e4e4e4", thick=1)
            y += height
        bottom = self._page_row(memory, window, y + 2, panel)
        self._mark_pages(guilty, window, top, y + 25)
        return bottom + 4

    def _beside_pages(self, state: Plain, x: float, y: float, changed: frozenset[Path], panel: _Panel) -> None:
        """Next to the row of pages: the scalars, and in words what else the step changed (the last step draws it)."""
        hidden = self.options.memory_map
        for path, value in [scalar for scalar in layout(state)[0] if not hidden.covers(scalar[0])][:6]:
            x += self.canvas.text(x, y + 16, path_text(path), size=11, fill=QUIET) + 5
            shown = value_text(value, 16)
            width = len(shown) * 12 * MONO + 10
            self._cell(x, y, width, shown, path, changed, panel)
            x += width + 14
        if panel.last:
            return
        values = dict(leaves(state))
        words = [
            f"{path_text(path)} = {value_text(values.get(path), 16)}" for path in values
            if path in changed and not hidden.covers(path) and any(isinstance(part, int) for part in path)
        ]
        text = ", ".join(words[:3]) + (f", … {len(words) - 3} more" if len(words) > 3 else "")
        if text:
            self.canvas.text(x, y + 16, text, size=10.5, fill=CHANGED, limit=90)

    def _order_label(self, order: int, memory: Memory, y: float, panel: _Panel) -> None:
        guilty = panel.broken and order in self.orders
        words = f"order {order}" + ("" if order < memory.listed_orders else "!")
        self.canvas.text(MARGIN, y + 19, ("▶" if guilty else "") + words, size=12, fill=RED if guilty else QUIET,
                         weight="bold" if guilty else "normal")

    def _block(self, block: Block, window: _Window, y: float, touched: frozenset[int], panel: _Panel) -> None:
        guilty = panel.broken and any(block.head <= page < block.stop for page in self.pages)
        x = window.x(max(block.head, window.start))
        span = window.x(min(block.stop, window.stop)) - x
        fill, line = (FREE, FREE_LINE) if block.free else (HELD, HELD_LINE)
        kind = "free" if block.free else "held"
        thick = 1.2
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
            fill, line = {"free": (FREE, FREE_LINE), "held": (HELD, HELD_LINE), "none": ("url(#bare)", QUIET),
                          "twice": ("url(#twice)", RED), "outside": ("#e9e9e9", FRAME)}[kind]
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

    def _list(self, free_list: FreeList, x: float, y: float, touched: frozenset[int], panel: _Panel) -> None:
        canvas = self.canvas
        middle = y + 14
        count = value_text(free_list.count, 8)
        words = f"{self.options.memory_map.count}={count}"
        head = len(words) * 11 * MONO + 12
        blamed = panel.broken and free_list.order in self.orders
        line, thick = (RED, 2.5) if blamed else (QUIET, 1)
        canvas.box(x, y + 4, head, 20, fill="#f3f3f3", line=line, thick=thick, round_=8)
        canvas.text(x + 6, y + 18, words, size=11, fill=RED if blamed else INK)
        x += head
        centres: dict[int, float] = {}
        for link in free_list.links[:LISTED]:
            canvas.path(f"M{x:.1f},{middle - 4:.1f} H{x + GAP - 1:.1f}", tip="ink")
            if link.prev == link.expected:
                canvas.path(f"M{x + GAP:.1f},{middle + 4:.1f} H{x + 2:.1f}", line="#9a9a9a", thick=1, tip="quiet")
            x += GAP
            centres[link.page] = x + BOX / 2
            guilty = panel.broken and (link.page in self.pages or (blamed and bool(link.remark)))
            line, thick = (CHANGED, 2.2) if link.page in touched else (FREE_LINE, 1.2)
            if guilty:
                line, thick = RED, 3.2
            canvas.box(x, y + 4, BOX, 20, fill="#ffffff" if link.remark else FREE, line=line, thick=thick,
                       dash="4 2" if link.remark else "")
            canvas.text(x + BOX / 2, y + 18, str(link.page), size=11, anchor="middle", fill=RED if guilty else INK,
                        weight="bold" if guilty else "normal")
            x += BOX
        self._wrong_links(free_list, centres, y)
        self._list_end(free_list, centres, x, y, panel)

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

    def _list_end(self, free_list: FreeList, centres: dict[int, float], x: float, y: float, panel: _Panel) -> None:
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
        for page in free_list.unlisted[:8]:
            guilty = panel.broken and page in self.pages
            x += 12
            line, thick = (RED, 3.0) if guilty else (QUIET, 1.2)
            canvas.box(x, y + 4, BOX, 20, fill=FREE, line=line, dash="4 2", thick=thick)
            canvas.text(x + BOX / 2, y + 18, str(page), size=11, anchor="middle", fill=RED if guilty else INK)
            x += BOX
        if free_list.unlisted:
            x += 6 + canvas.text(x + 6, y + 18, "free, on no list", size=10, fill=RED)
        for remark in free_list.remarks:
            x += 12 + canvas.text(x + 12, y + 18, remark, size=10, fill=RED, limit=70)

    # --- any other state -----------------------------------------------------------------------------------------

    def _cells(
        self, state: Plain, y: float, changed: frozenset[Path], panel: _Panel, hidden: MemoryMap | None
    ) -> None:
        """Scalars and arrays, side by side while there is room; `hidden` is the map that is drawn already."""
        scalars, grids = layout(state)
        if hidden is None:
            y = self._scalars(scalars, y, changed, panel)
        else:
            grids = _without(grids, hidden)
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


def _without(grids: Sequence[Grid], hidden: MemoryMap) -> tuple[Grid, ...]:
    """The rows that the map does not show."""
    kept = []
    for grid in grids:
        rows = tuple(row for row in grid.rows if row.cells and not hidden.covers(row.cells[0][0]))
        if rows:
            kept.append(Grid(grid.path, grid.columns, rows))
    return tuple(kept)


def _list_height(free_list: FreeList) -> float:
    shown = free_list.links[:LISTED]
    odd = sum(1 for link in shown if link.prev != link.expected or link.remark)
    return ROW + 4.0 if odd == 0 else 52.0 if odd == 1 else 64.0
