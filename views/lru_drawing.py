"""LRU lists on a canvas: page tables on the left, the lists as rows in the middle, swap and page cache on the right.

The one idea: every folio is drawn once in its place, and everything that refers to it is a line that runs between the
rows, never through a box: entries of page tables come from above, swap slots and the page cache from below. A folio
that a step moved leaves a dashed box at its old place, with an arrow to the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import cos, sin

from ..model.lang.trace import Plain
from .canvas import CHANGED, COVERS, INK, MARGIN, MONO, QUIET, RED, Canvas
from .changes import Path, value_text
from .lru_map import FLAGS, NOTES, Cell, FolioView, Guilty, LruMap, LruView, Row
from .lru_reader import read

BOX, TALL, GAP = 104.0, 42.0, 16.0
"""A folio's box, and what is between two of them."""
SMALL, LOW = 34.0, 20.0
"""A folio that is not in use, or that is in a cpu's batch and has its place elsewhere."""
CELL, CELL_HEIGHT = 172.0, 18.0
LABEL = 150.0
LANE, LANES = 5.0, 4
"""Between two lines that run side by side, and for how many there always is room."""
SHOWN, CELLS = 12, 40
"""Folios of a row, and entries or slots, that are drawn; of more, those that changed or are named come first."""
ORDERED = 200
"""In rows of more folios than these, changes of the order are not looked for."""
ANON, FILE = COVERS["held"][:2], ("#fbe6cf", "#a05a10")
LINKS = {"pte": "#3b6fb5", "tlb": "#8a8a8a", "hand": "#8a7a16", "slot": "#7a4fa3", "file": "#a05a10"}
MOVED = "#d97a00"
KINDS = {"batch": 0, "list": 1, "reclaimer": 2, "isolated": 2, "other": 3, "free": 4}
"""The order of rows."""


@dataclass(frozen=True)
class Marks:
    """What of a state is to be marked: what the step changed, what was where before it, what the clause names."""

    changed: frozenset[Path]
    before: LruView | None
    guilty: Guilty
    here: LruMap

    def changes(self, path: Path) -> bool:
        """Whether a value at or below this path is new."""
        return path in self.changed or any(other[: len(path)] == path for other in self.changed)

    def changes_cell(self, cell: Cell) -> bool:
        """Whether something is new that a cell says."""
        return self.changes(cell.path) or not self.changed.isdisjoint(cell.beside)

    def changes_link(self, cell: Cell) -> bool:
        """Whether a cell refers to something else than before."""
        return cell.path in self.changed or any(
            (*cell.path, name) in self.changed for name in ("page", "swap", "folio", "entry"))


@dataclass(frozen=True)
class Item:
    """A box of a row: a folio, or (`ghost`) where one was before the step; `gap` folios before it are not drawn."""

    page: int
    ghost: bool
    small: bool
    gap: int = 0


@dataclass(frozen=True)
class Spot:
    """Where a box is on the canvas."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


def draw(canvas: Canvas, state: Plain, y: float, marks: Marks) -> float:
    """Draw a state's lists from y on; gives where they end."""
    return _Drawing(canvas, read(state, marks.here), marks).draw(y)


def legend(views: Sequence[LruView]) -> list[list[tuple[str, str, str, float]]]:
    """Lines of fill, line, words and thickness for what a folio can be, and the letters of the flags in these states;
    with thickness 0 it is words alone."""
    letters = {letter for view in views for folio in view.folios.values() for letter in folio.flags}
    flags = ", ".join(f"{letter} {words}" for letter, words in FLAGS.values() if letter in letters)
    keys = [(*ANON, "anonymous page", 1.0), (*FILE, "page of a file", 1.0), ("#ffffff", "#b5b5b5", "not in use", 1.0)]
    if any(cell.page is not None or cell.slot is not None for view in views for cell in view.cells()):
        keys.append(("", "", "line: refers to, dashed: is swapped out", 0.0))
    return [keys, [("", "", f"flags: {flags}", 0.0)]] if flags else [keys]


def moved(before: LruView | None, after: LruView) -> dict[int, tuple[frozenset[str], frozenset[str]]]:
    """For each folio that is in another place, or at another position of its list, the rows it left and came to."""
    if before is None:
        return {}
    old, new = before.places(), after.places()
    found = {
        page: (frozenset(old.get(page, ())) - frozenset(new.get(page, ())),
               frozenset(new.get(page, ())) - frozenset(old.get(page, ())))
        for page in old.keys() | new.keys()
    }
    earlier = {row.key: row.folios for row in before.rows}
    for row in after.rows:
        if row.linked:
            for page in _reordered(earlier.get(row.key, ()), row.folios):
                gone, came = found[page]
                found[page] = gone | {row.key}, came | {row.key}
    return {page: change for page, change in found.items() if change[0] or change[1]}


def _reordered(old: Sequence[int], new: Sequence[int]) -> frozenset[int]:
    """The folios that are in both and not in the longest part whose order is the same."""
    both = set(old) & set(new)
    if len(both) > ORDERED:
        return frozenset()
    first, second = [page for page in old if page in both], [page for page in new if page in both]
    longest: dict[tuple[int, int], tuple[int, ...]] = {}
    for i in range(len(first), -1, -1):
        for j in range(len(second), -1, -1):
            if i == len(first) or j == len(second):
                longest[i, j] = ()
            elif first[i] == second[j]:
                longest[i, j] = (first[i], *longest[i + 1, j + 1])
            else:
                longest[i, j] = max(longest[i + 1, j], longest[i, j + 1], key=len)
    return frozenset(both - set(longest[0, 0]))


@dataclass(frozen=True)
class _Shelf:
    """A row with its boxes."""

    row: Row
    items: tuple[Item, ...]


class _Drawing:
    """One state: first everything gets its place, then lines, boxes and arrows are drawn in that order."""

    def __init__(self, canvas: Canvas, view: LruView, marks: Marks) -> None:
        self.canvas = canvas
        self.view = view
        self.marks = marks
        self.moved = moved(marks.before, view)
        self.home: dict[int, str] = {page: keys[0] for page, keys in view.places().items()}
        self.shelves = tuple(self._shelves())
        self.drawn = {(shelf.row.key, item.page) for shelf in self.shelves for item in shelf.items if not item.ghost}
        self.left = [(f"task {task}", self._chosen(cells)) for task, cells in view.tasks]
        self.left += [("in hand", self._chosen(view.hands))] if view.hands else []
        self.right = [(title, self._chosen(cells)) for title, cells in (
            ("swap", view.slots), ("page cache", view.file)) if cells]
        self.above = [cell for _, cells in self.left for cell in cells if self._linked(cell)]
        self.below = [cell for _, cells in self.right for cell in cells if self._linked(cell)]
        slots = {cell.number for title, cells in self.right for cell in cells if cell.kind == "slot"}
        self.across = [cell for _, cells in self.left for cell in cells if cell.slot in slots]
        self.label = max([LABEL, *(self._label_width(shelf) for shelf in self.shelves)])
        self.spots: dict[tuple[str, int, bool], Spot] = {}
        self.cells: dict[tuple[str, int, str], Spot] = {}

    def draw(self, y: float) -> float:
        canvas = self.canvas
        start = len(canvas.shapes)
        x, bottom = float(MARGIN), y
        if self.left:
            bottom, width = self._column(self.left, x, y)
            x += width + 22 + LANE * max(LANES, len(self.above) + len(self.across))
        top = y + (LANE * len(self.across) + 6 if self.across else 0)
        end, right = self._rows(x, top)
        if self.right:
            right += 22 + LANE * max(LANES, len(self.below) + len(self.across))
            bottom = max(bottom, self._column(self.right, right, y)[0])
        boxes, canvas.shapes[start:] = canvas.shapes[start:], []
        self._lines(x, right, y)
        heads = self._arrows()
        canvas.shapes += [*boxes, *heads]
        end = self._facts(max(end, bottom))
        canvas.reach(x, end)
        return end + 4

    # --- what is drawn

    def _chosen(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """The cells that are drawn: of many, those that have something, and before all those that changed."""
        if len(cells) <= CELLS:
            return tuple(cells)
        busy = [cell for cell in cells if self.marks.guilty.cell(cell) or self.marks.changes_cell(cell)]
        return tuple([*busy, *(cell for cell in cells if not cell.idle and cell not in busy)][:CELLS])

    def _linked(self, cell: Cell) -> bool:
        return cell.page is not None and (self.home.get(cell.page, ""), cell.page) in self.drawn

    def _shelves(self) -> Iterator[_Shelf]:
        """The rows with something in them, before the step or after it; the evictable lists always."""
        left: dict[str, list[int]] = {}
        for page, (gone, _) in self.moved.items():
            for key in gone:
                left.setdefault(key, []).append(page)
        known = {row.key for row in self.view.rows}
        earlier = self.marks.before.rows if self.marks.before is not None else ()
        emptied = [replace(row, folios=(), facts=(), remarks=()) for row in earlier
                   if row.key not in known and row.key in left]
        rows = sorted((*self.view.rows, *emptied), key=lambda row: KINDS[row.kind])
        old = {row.key: row.folios for row in earlier}
        for row in rows:
            items = self._items(row, old.get(row.key, ()), left.get(row.key, []))
            counted = any(value not in (0, False, None) for _, _, value in row.facts)
            always = row.kind in ("free", "reclaimer") or (row.kind == "list" and row.linked)
            if items or row.remarks or counted or always or self.marks.guilty.row(row):
                yield _Shelf(row, items)

    def _is_small(self, page: int, row: Row) -> bool:
        """Whether a folio is drawn as its number alone: it has its place in another row, or is free as it should be."""
        return self.home[page] != row.key or (row.kind == "free" and not self.view.folios[page].remarks)

    def _items(self, row: Row, old: Sequence[int], left: Sequence[int]) -> tuple[Item, ...]:
        """The boxes of a row, and the dashed ones of those that left it, each after the one it came after."""
        merged = [Item(page, False, self._is_small(page, row)) for page in row.folios]
        for page in sorted(left, key=list(old).index):
            before = set(old[: list(old).index(page)])
            position = max((at + 1 for at, item in enumerate(merged) if item.page in before), default=0)
            merged.insert(position if row.kind != "free" else len(merged), Item(page, True, True))
        if len(merged) <= SHOWN:
            return tuple(merged)
        busy = [at for at, item in enumerate(merged) if item.page in self.moved or item.page in self.marks.guilty.pages]
        chosen = sorted({0, len(merged) - 1, *busy[: SHOWN - 2]})
        gaps = [one - other - 1 for other, one in zip([-1, *chosen], chosen, strict=False)]
        return tuple(replace(merged[at], gap=gap) for at, gap in zip(chosen, gaps, strict=True))

    # --- columns

    def _column(self, groups: Sequence[tuple[str, Sequence[Cell]]], x: float, y: float) -> tuple[float, float]:
        """Cells under one another; gives where they end, and how wide they are."""
        canvas, marks = self.canvas, self.marks
        longest = max((len(cell.name) + len(cell.words) for _, cells in groups for cell in cells), default=0)
        width = max(CELL, (longest + 2) * 10 * MONO + 12)
        for number, (title, cells) in enumerate(groups):
            named = title.startswith("task") and self.view.tasks[number][0] in marks.guilty.tasks
            canvas.text(x, y + 12, ("▶" if named else "") + title, size=11.5, weight="bold", fill=RED if named else INK)
            y += 17
            for cell in cells:
                new, named = marks.changes_cell(cell), marks.guilty.cell(cell)
                line, thick = (RED, 3.0) if named else (CHANGED, 2.0) if new else (LINKS[cell.kind], 0.8)
                canvas.box(x, y, width, CELL_HEIGHT - 2, fill="#ffffff" if cell.idle else "#f7f9fc", line=line,
                           thick=thick, round_=2)
                after = x + 6 + canvas.text(x + 6, y + 12, cell.name, size=10, fill=QUIET) + 7
                canvas.text(after, y + 12, cell.words or "-", size=10, fill=RED if named else INK,
                            weight="bold" if new or named else "normal")
                self.cells[cell.kind, cell.group, cell.name] = Spot(x, y, width, CELL_HEIGHT - 2)
                y += CELL_HEIGHT
                for remark in cell.remarks:
                    canvas.text(x + 6, y + 9, remark, size=9.5, fill=RED, weight="bold", limit=60)
                    y += 13
            y += 6
        return y, width

    # --- rows

    def _rows(self, x: float, y: float) -> tuple[float, float]:
        """The rows under one another; gives where they end, below and on the right."""
        right = x + self.label
        for shelf in self.shelves:
            above = sum(self._in(cell, shelf.row) for cell in self.above)
            below = sum(self._in(cell, shelf.row) for cell in self.below)
            tall = any(not item.small for item in shelf.items)
            height = TALL if tall else LOW if shelf.items else 14.0
            middle = y + 3 + LANE * above + height / 2
            self._label(shelf, x, middle)
            end = self._boxes(shelf, x + self.label, middle)
            written = 16 if shelf.items and shelf.row.facts else 10
            written = 24 if shelf.row.kind == "free" and self.marks.here.watermarks else written
            bottom = max(middle + height / 2 + LANE * below, middle + written) + 4
            bottom = self._remarks(shelf, x + self.label, bottom)
            self.canvas.path(f"M{x:.1f},{bottom:.1f} H{max(end, x + 560):.1f}", line="#e4e4e4", thick=1)
            right, y = max(right, end, x + 560), bottom + 2
        return y, right

    def _in(self, cell: Cell, row: Row) -> bool:
        return cell.page is not None and self.home.get(cell.page) == row.key

    def _facts_of(self, row: Row) -> list[tuple[str, bool]]:
        """The numbers of a row as words, and whether they are new."""
        return [(f"{name} {value_text(value, 16)}", self.marks.changes(path)) for name, path, value in row.facts]

    def _label_width(self, shelf: _Shelf) -> float:
        """How much room the name of a row and its numbers need."""
        name = (len(shelf.row.label) + 1) * 11.5 * MONO + 10
        facts = sum(len(words) * 10 * MONO + 8 for words, _ in self._facts_of(shelf.row))
        if shelf.items or shelf.row.kind == "reclaimer":
            return max(name, facts if shelf.items else 0)
        return name + facts + 10

    def _label(self, shelf: _Shelf, x: float, middle: float) -> None:
        """The name of a row, and its numbers below it, or beside it if there are no boxes."""
        row, named = shelf.row, self.marks.guilty.row(shelf.row)
        facts = self._facts_of(row)
        y = middle + 4 - 6 * bool(facts and shelf.items)
        width = self.canvas.text(x, y, ("▶" if named else "") + row.label, size=11.5, fill=RED if named else INK,
                         weight="bold" if named or row.folios else "normal")
        if shelf.items:
            y += 13
        else:
            x += width + 10
        for words, new in facts:
            x += 8 + self.canvas.text(x, y, words, size=10, fill=CHANGED if new else QUIET,
                                      weight="bold" if new else "normal")

    def _boxes(self, shelf: _Shelf, x: float, middle: float) -> float:
        """The boxes of a row, from its head to its tail; gives where they end."""
        canvas = self.canvas
        previous: float | None = None
        start = end = x
        for item in shelf.items:
            if item.gap:
                x += 8 + canvas.text(x, middle + 4, f"… {item.gap} …", size=10, fill=QUIET)
            width, height = (SMALL, LOW) if item.small else (BOX, TALL)
            spot = Spot(x, middle - height / 2, width, height)
            self.spots[shelf.row.key, item.page, item.ghost] = spot
            if item.ghost:
                canvas.box(spot.x, spot.y, width, height, line=MOVED, thick=1, dash="3 3", round_=3,
                           hint=f"page {item.page} was here")
                canvas.text(x + width / 2, middle + 4, str(item.page), size=10, fill="#9a9a9a", anchor="middle")
            else:
                if shelf.row.linked and previous is not None:
                    canvas.path(f"M{previous:.1f},{middle:.1f} H{x - 1:.1f}", line=QUIET, thick=1, tip="quiet")
                self._folio(self.view.folios[item.page], spot, item.small, shelf.row)
                previous = x + width
            end = x + width
            x += width + (6 if item.small else GAP)
        if shelf.row.kind == "free":
            x = max(x, self._watermarks(start, middle))
        if not shelf.items and shelf.row.kind != "reclaimer":
            x += canvas.text(x, middle + 4, "empty", size=10.5, fill=QUIET)
        elif shelf.row.linked and shelf.row.folios:
            x = end + 5 + canvas.text(end + 5, middle + 4, "◂ scanned next", size=9.5, fill=QUIET)
        for remark in shelf.row.remarks:
            x += 10 + canvas.text(x, middle + 4, remark, size=10.5, fill=RED, weight="bold", limit=70)
        return x

    def _watermarks(self, x: float, middle: float) -> float:
        """Marks after as many free frames as each watermark says; gives where the last one is."""
        end = x
        at: dict[int, list[str]] = {}
        for name, mark in self.marks.here.watermarks:
            if mark <= SHOWN:
                at.setdefault(mark, []).append(name)
        for mark, names in sorted(at.items()):
            place = x + mark * (SMALL + 6) - 3
            self.canvas.path(f"M{place:.1f},{middle - 14:.1f} V{middle + 14:.1f}", line=INK, thick=1.4)
            self.canvas.text(place, middle + 23, "/".join(names), size=9, fill=INK, anchor="middle")
            end = max(end, place + 10)
        return end

    def _folio(self, folio: FolioView, spot: Spot, small: bool, row: Row) -> None:
        """A folio: its number and flags, its counts, what it holds."""
        canvas, page = self.canvas, folio.page
        named = page in self.marks.guilty.pages
        own = {self.marks.here.where(name, page) for name in ("folio", "use", *NOTES)}
        new = page in self.moved or any(
            path in own or (path[:-1] in own and path[-1] not in ("next", "prev")) for path in self.marks.changed)
        fill, line = (ANON if folio.anon else FILE) if folio.in_use else ("#ffffff", "#b5b5b5")
        thick = 1.2
        if new:
            line, thick = CHANGED, 2.2
        if named:
            line, thick = RED, 3.2
        twice = len([key for key in self.view.places().get(page, ()) if not key.startswith("batch")]) > 1
        canvas.box(spot.x, spot.y, spot.width, spot.height, fill="url(#twice)" if twice else fill, line=line,
                   thick=thick, round_=4, hint=f"page {page}: {row.label}")
        if twice:
            canvas.box(spot.x + 5, spot.y + 3, spot.width - 10, spot.height - 6, fill="#ffffff", line="none")
        if named:
            canvas.triangle(spot.x + spot.width - 9, spot.y + 7)
        ink = RED if named or folio.remarks else INK
        if small:
            canvas.text(spot.middle[0], spot.middle[1] + 4, str(page), size=11, fill=ink, anchor="middle",
                        weight="bold" if named else "normal")
            return
        x = spot.x + 6
        canvas.text(x, spot.y + 14, str(page), size=12.5, fill=ink, weight="bold")
        canvas.text(spot.x + spot.width - 6 - 12 * named, spot.y + 13, folio.flags, size=10.5, anchor="end",
                    fill=INK, weight="bold", limit=12)
        counts = f"ref {value_text(folio.refcount, 6)} map {value_text(folio.mapcount, 6)}"
        canvas.text(x, spot.y + 26, counts, size=9.5, fill=QUIET)
        canvas.text(x, spot.y + 38, folio.notes, size=9.5, fill=QUIET, limit=15)

    def _remarks(self, shelf: _Shelf, x: float, y: float) -> float:
        """What is odd about folios of a row, below it."""
        for item in shelf.items:
            folio = self.view.folios[item.page]
            if folio.remarks and not item.ghost and self.home.get(item.page) == shelf.row.key:
                words = f"page {item.page}: {'; '.join(folio.remarks)}"
                self.canvas.text(x, y + 9, words, size=10, fill=RED, weight="bold", limit=120)
                y += 14
        return y

    # --- lines

    def _lines(self, x: float, right: float, y: float) -> None:
        """From entries, slots and pages of files to folios, and from entries to slots."""
        slots = {cell.number: cell for _, cells in self.right for cell in cells if cell.kind == "slot"}
        above, below = self._ends(self.above, -1), self._ends(self.below, 1)
        tops = {(cell.kind, cell.group, cell.name): y + 3 + LANE * lane for lane, cell in enumerate(self.across)}
        one = [(cell, self._spot(cell), above[cell.kind, cell.group, cell.name][1]) for cell in self.above]
        one += [(cell, self._spot(cell), tops[cell.kind, cell.group, cell.name]) for cell in self.across]
        left = _gutter([(spot.middle[1], target) for _, spot, target in one], x - 10, -LANE)
        other = [(cell, self._spot(cell), below[cell.kind, cell.group, cell.name][1]) for cell in self.below]
        for cell in self.across:
            other.append((cell, self._spot(slots[cell.slot or 0]), tops[cell.kind, cell.group, cell.name]))
        far = _gutter([(spot.middle[1], target) for _, spot, target in other], right - 10 - LANE * len(other), LANE)
        gate: dict[tuple[str, int, str], float] = {}
        for (cell, spot, target), lane in zip(other, far, strict=True):
            key = (cell.kind, cell.group, cell.name)
            if key in tops:
                gate[key] = lane
                continue
            end, _ = below[key]
            self._line(cell, f"M{spot.x:.1f},{spot.middle[1]:.1f} H{lane:.1f} V{target:.1f} H{end[0]:.1f} "
                             f"V{end[1]:.1f}", end, LINKS[cell.kind])
        for number, ((cell, spot, target), lane) in enumerate(zip(one, left, strict=True)):
            start = f"M{spot.x + spot.width:.1f},{spot.middle[1]:.1f} H{lane:.1f} V{target:.1f} "
            key = (cell.kind, cell.group, cell.name)
            if number >= len(self.above):
                to = self._spot(slots[cell.slot or 0])
                end = (to.x, to.middle[1])
                self._line(cell, f"{start}H{gate[key]:.1f} V{end[1]:.1f} H{end[0]:.1f}", end, LINKS["slot"], "5 3")
            else:
                end, _ = above[key]
                self._line(cell, f"{start}H{end[0]:.1f} V{end[1]:.1f}", end, LINKS[cell.kind])

    def _spot(self, cell: Cell) -> Spot:
        return self.cells[cell.kind, cell.group, cell.name]

    def _ends(self, cells: Sequence[Cell], side: int) -> dict[tuple[str, int, str], tuple[tuple[float, float], float]]:
        """For each cell where its line meets its folio, and at which height it comes along the row: above the boxes
        (`side` -1), where the nearest from the left runs lowest, or below them, the nearest from the right highest."""
        found: dict[tuple[str, int, str], tuple[tuple[float, float], float]] = {}
        rows: dict[str, list[tuple[float, Spot, Cell]]] = {}
        met: dict[int, int] = {}
        for cell in cells:
            assert cell.page is not None
            key = self.home[cell.page]
            spot = self.spots[key, cell.page, False]
            number = met[cell.page] = met.get(cell.page, 0) + 1
            aside = min(10.0 * number, spot.width - 6)
            rows.setdefault(key, []).append((spot.x + aside if side < 0 else spot.x + spot.width - aside, spot, cell))
        for row in rows.values():
            heights = [spot.height for _, spot, _ in row]
            for lane, (x, spot, cell) in enumerate(sorted(row, key=lambda end: side * -end[0])):
                edge = spot.y if side < 0 else spot.y + spot.height
                outer = spot.middle[1] + side * (max(heights) / 2 + LANE * (lane + 1) - 1)
                found[cell.kind, cell.group, cell.name] = (x, edge), outer
        return found

    def _line(self, cell: Cell, data: str, end: tuple[float, float], colour: str, dash: str = "") -> None:
        new, named = self.marks.changes_link(cell), self.marks.guilty.cell(cell)
        line = RED if named else MOVED if new else colour
        self.canvas.path(data, line="#ffffff", thick=3.4)
        self.canvas.path(data, line=line, thick=2 if named or new else 1.1, dash=dash)
        self.canvas.shapes.append(f'<circle cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="2.6" fill="{line}"/>')

    # --- what the step moved

    def _arrows(self) -> list[str]:
        """Draw the curves, which run behind the boxes; gives their heads, which stand before them."""
        heads = []
        for page, (gone, came) in sorted(self.moved.items()):
            keys = sorted(gone, key=lambda key: key.startswith("batch"))
            sources = [self.spots.get((key, page, True)) for key in keys]
            home = self.spots.get((self.home.get(page, ""), page, False))
            source = next((spot for spot in sources if spot is not None), home)
            for key in sorted(came):
                target = self.spots.get((key, page, False))
                if source is not None and target is not None and source != target:
                    heads.append(self._arrow(source, target))
        return heads

    def _arrow(self, source: Spot, target: Spot) -> str:
        """A curve from box to box; gives its head."""
        (x, y), (to, end) = source.middle, target.middle
        down = 1 if end > y else -1
        if abs(end - y) < 2:
            y, end = source.y, target.y
            bend = y - 16
            data, angle = f"M{x:.1f},{y:.1f} C{x:.1f},{bend:.1f} {to:.1f},{bend:.1f} {to:.1f},{end:.1f}", 1.5708
        else:
            y, end = y + down * source.height / 2, end - down * target.height / 2
            pull = max(14.0, abs(end - y) * 0.45) * down
            data = f"M{x:.1f},{y:.1f} C{x:.1f},{y + pull:.1f} {to:.1f},{end - pull:.1f} {to:.1f},{end:.1f}"
            angle = 1.5708 * down
        self.canvas.path(data, line="#ffffff", thick=4.5)
        self.canvas.path(data, line=MOVED, thick=2.4)
        return f'<path d="M{to:.1f},{end:.1f} {_head(angle)} z" fill="{MOVED}"/>'

    def _facts(self, y: float) -> float:
        """The numbers of the lruvec that are not zero, or are new."""
        x = float(MARGIN)
        shown = [fact for fact in self.view.facts if fact[2] not in (0, None, False) or self.marks.changes(fact[1])]
        for name, path, value in shown[:16]:
            new = self.marks.changes(path)
            x += 14 + self.canvas.text(x, y + 13, f"{name} {value_text(value, 8)}", size=10,
                                       fill=CHANGED if new else QUIET, weight="bold" if new else "normal")
        return y + 18 if shown else y


def _head(angle: float) -> str:
    """The two other corners of an arrow head whose tip is where the path is."""
    one, other = angle + 2.7, angle - 2.7
    return (f"l{10 * cos(one):.1f},{10 * sin(one):.1f} "
            f"l{10 * (cos(other) - cos(one)):.1f},{10 * (sin(other) - sin(one)):.1f}")


def _gutter(ends: Sequence[tuple[float, float]], x: float, step: float) -> list[float]:
    """A lane for each line from a height to another, so that few of them cross; the first lanes are the farthest from
    the cells where lines begin."""
    down = sorted((at for at, (start, end) in enumerate(ends) if end >= start), key=lambda at: ends[at][0])
    up = sorted((at for at, (start, end) in enumerate(ends) if end < start), key=lambda at: -ends[at][0])
    lanes = {at: x + step * number for number, at in enumerate([*up, *down])}
    return [lanes[at] for at in range(len(ends))]
