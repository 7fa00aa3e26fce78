"""Slabs on a canvas: for each cache its cpus and nodes, each slab as a box of its objects with its freelists.

The one idea: a freelist is drawn as arrows from object to object in its order, a slab's own below its objects and the
cpus' above, so an object on two freelists has arrows on both sides (and is hatched red, and named below the slab).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..model.lang.trace import Plain
from .canvas import CHANGED, COVERS, INK, MARGIN, MONO, QUIET, RED, Canvas
from .changes import Path, value_text
from .memory_map import find
from .slab_map import FIELDS, CacheView, Freelist, Guilty, Owner, SlabList, SlabMap, SlabView, cache_of, caches

LEFT = 84.0
RIGHT = 1180.0
"""Where a row of slabs goes on in the next line."""
CELL, SMALL_CELL = 36.0, 9.0
ARROWS = 12
"""The freelists of a slab with more objects are written, not drawn."""
WIDE = 24
"""A slab of more objects has small ones without numbers."""
HEIGHT = 24.0
LANE = 24.0
LINE = 13.0
SHORT, SHOWN = 4, 12
"""A list of more than SHORT slabs is drawn without those that neither changed nor have anything odd; at most SHOWN."""
MOST_CACHES = 3
WRITTEN = 8
RULE = 640

KINDS = {
    "free": (COVERS["free"][0], COVERS["free"][1], "on the slab's freelist"),
    "cpu": (COVERS["pcp"][0], COVERS["pcp"][1], "on a cpu's freelist"),
    "held": (COVERS["held"][0], COVERS["held"][1], "held by a client"),
    "lost": ("url(#bare)", RED, "object in no place"),
    "twice": ("url(#twice)", RED, "object in two places"),
}
"""Fill, line and legend of what an object can be."""


@dataclass(frozen=True)
class Marks:
    """What of a state is to be marked: objects and values that changed, and what the violated clause names."""

    objects: frozenset[int]
    changed: frozenset[Path]
    guilty: Guilty
    here: SlabMap

    def slab_changed(self, page: int, field: str) -> bool:
        return (*self.here.slabs.split("."), page, field) in self.changed


def worth_drawing(state: Plain, here: SlabMap, marks: Marks) -> tuple[CacheView, ...]:
    """All caches if they are few, else those that the step changed or the clause names."""
    if len(find(state, here.caches)) <= MOST_CACHES:
        return caches(state, here)
    where, slots = tuple(here.caches.split(".")), here.slots(state)
    pages = {*marks.guilty.slabs, *(object // slots for object in (*marks.objects, *marks.guilty.objects))}
    named = {*marks.guilty.caches, *(cache_of(state, here, page) for page in pages)}
    changed = {path[len(where)] for path in marks.changed if path[: len(where)] == where}
    busy = sorted(number for number in named | changed if isinstance(number, int))
    return caches(state, here, frozenset(busy[:MOST_CACHES]))


def draw(canvas: Canvas, state: Plain, y: float, marks: Marks) -> float:
    """Draw a state's caches from y on; gives where they end."""
    shown = worth_drawing(state, marks.here, marks)
    total = len(find(state, marks.here.caches))
    for view in shown:
        if total > 1 or view.words:
            guilty = view.number in marks.guilty.caches
            x = MARGIN + canvas.text(MARGIN, y + 12, f"cache {view.number}", size=11.5, weight="bold",
                                     fill=RED if guilty else INK) + 12
            canvas.text(x, y + 12, view.words, size=10.5, fill=QUIET)
            y += 20
        if total > 1 and not any(view.slabs()) and not any(
                slabs.remarks for owner in view.owners for slabs in owner.lists):
            canvas.text(LEFT + MARGIN, y + 8, "no slabs", size=10.5, fill=QUIET)
            y += 16
            continue
        for owner in view.owners:
            y = _Owner(canvas, owner, marks).draw(y)
    if len(shown) < total:
        words = f"{total - len(shown)} caches are not drawn: unused, or the step does not change them"
        canvas.text(MARGIN, y + 12, words, size=10.5, fill=QUIET)
        y += 20
    return y


class _Owner:
    """One row: a cpu or a node, its numbers, and its slabs from left to right."""

    def __init__(self, canvas: Canvas, owner: Owner, marks: Marks) -> None:
        self.canvas = canvas
        self.owner = owner
        self.marks = marks
        self.x = LEFT + MARGIN
        self.y = 0.0
        self.tallest = 0.0

    def draw(self, y: float) -> float:
        canvas, owner = self.canvas, self.owner
        self.y = y
        guilty = (owner.kind, owner.number) in self.marks.guilty.owners
        canvas.text(MARGIN, y + 14, ("▶" if guilty else "") + owner.label, size=12, fill=RED if guilty else QUIET,
                    weight="bold" if guilty else "normal")
        idle = not any(slabs.slabs for slabs in owner.lists)
        for line, (name, path, value) in enumerate(owner.facts):
            new, words = path in self.marks.changed, f"{name.removeprefix('total_')} {value_text(value, 6)}"
            left, base = (self.x, y + 14) if idle else (MARGIN, y + 29 + 13 * line)
            width = canvas.text(left, base, words, size=10, fill=CHANGED if new else QUIET,
                                weight="bold" if new else "normal")
            self.x += width + 12 if idle else 0
        self.tallest = 18.0 if idle else 18.0 + 13 * len(owner.facts)
        for slabs in owner.lists:
            self._list(slabs)
        freelist = owner.freelist
        if freelist is not None and freelist.first is not None and not self._inside(freelist):
            words = f"its freelist leads to {value_text(freelist.first, 12)}, outside its slab"
            self._words(words, RED)
        canvas.path(f"M{MARGIN},{self.y + self.tallest + 3:.1f} H{RULE}", line="#e4e4e4", thick=1)
        return self.y + self.tallest + 7

    def _inside(self, freelist: Freelist) -> bool:
        """Whether a cpu's freelist begins in its slab."""
        cells = {cell.object for slabs in self.owner.lists[:1] for slab in slabs.slabs for cell in slab.cells}
        return freelist.first in cells

    def _words(self, words: str, fill: str) -> None:
        width = len(words) * 10.5 * MONO
        if self.x + width > RIGHT:
            self._break()
        self.x += self.canvas.text(self.x, self.y + 14, words, size=10.5, fill=fill, limit=90) + 12

    def _break(self) -> None:
        self.y += self.tallest + 4
        self.x, self.tallest = LEFT + MARGIN, 18.0

    def _list(self, slabs: SlabList) -> None:
        if not slabs.slabs and not slabs.remarks:
            if self.owner.kind != "none":
                self._words(f"{slabs.heading}: none", QUIET)
            return
        if slabs.heading:
            self._words(f"{slabs.heading}:", QUIET)
        chosen = self._chosen(slabs)
        for position, slab in enumerate(slabs.slabs):
            if position not in chosen:
                if position - 1 in chosen:
                    self._words(f"… {min(other for other in chosen if other > position) - position} more …", QUIET)
                continue
            box = _Slab(self.canvas, slab, self.marks)
            link = 22.0 if slabs.linked and position else 0.0
            if self.x + link + box.width > RIGHT and self.x > LEFT + MARGIN:
                self._break()
            if link:
                middle = self.y + 9
                self.canvas.path(f"M{self.x - 8:.1f},{middle:.1f} H{self.x + link - 4:.1f}", tip="ink")
                self.x += link
            self.tallest = max(self.tallest, box.draw(self.x, self.y))
            self.x += box.width + 10
        for remark in slabs.remarks:
            self._words(remark, RED)


    def _chosen(self, slabs: SlabList) -> frozenset[int]:
        """The positions of a list that are drawn."""
        if len(slabs.slabs) <= SHORT:
            return frozenset(range(len(slabs.slabs)))
        guilty = self.marks.guilty
        busy = [
            position for position, slab in enumerate(slabs.slabs)
            if slab.remarks or slab.page in guilty.slabs
            or any(cell.object in self.marks.objects | guilty.objects for cell in slab.cells)
            or any(self.marks.slab_changed(slab.page, field) for field in FIELDS["slab"])
        ]
        return frozenset([0, *busy[: SHOWN - 2], len(slabs.slabs) - 1])


class _Slab:
    """A slab: its numbers, its objects in a row, the cpus' freelists above and its own below."""

    def __init__(self, canvas: Canvas, slab: SlabView, marks: Marks) -> None:
        self.canvas = canvas
        self.slab = slab
        self.marks = marks
        digits = max((len(str(cell.object)) for cell in slab.cells), default=1)
        self.cell = max(CELL, digits * 11 * MONO + 6) if len(slab.cells) <= WIDE else SMALL_CELL
        self.arrows = len(slab.cells) <= ARROWS
        self.above = [freelist for freelist in slab.freelists if freelist.cpu is not None]
        self.below = [freelist for freelist in slab.freelists if freelist.cpu is None]
        words = max((len(self._name(freelist)) for freelist in slab.freelists), default=0)
        self.label = words * 9.5 * MONO + 16 if self.arrows and words else 8
        cells = len(slab.cells) * self.cell
        header = sum(len(words) for words, _ in self._header()) * 10.5 * MONO + 10 * len(list(self._header()))
        remarks = max((len(_cut(remark)) for remark in slab.remarks), default=0) * 10 * MONO
        written = max((len(words) for words, _ in self._written()), default=0) * 9.5 * MONO
        self.width = max(self.label + cells + 12, header + 28, remarks + 16, written + 16, 120)

    def _header(self) -> Iterator[tuple[str, str]]:
        """The words of the first line, each with the field that it shows."""
        slab = self.slab
        yield slab.label(), ""
        yield f"inuse {value_text(slab.inuse, 6)}/{value_text(slab.objects, 6)}", "inuse"
        yield ("frozen" if slab.frozen is True else "not frozen"), "frozen"

    def _name(self, freelist: Freelist) -> str:
        """What stands before a freelist inside the box."""
        if freelist.cpu is not None:
            return f"cpu {freelist.cpu} freelist"
        return "freelist" if freelist.page == self.slab.page else f"slab {freelist.page} freelist"

    def _written(self) -> Iterator[tuple[str, bool]]:
        """The freelists as text, where the objects are too many for arrows."""
        if self.arrows:
            return
        for freelist in (*self.above, *self.below):
            objects = " → ".join(map(str, freelist.objects[:WRITTEN]))
            rest = f" → … {len(freelist.objects) - WRITTEN} more" if len(freelist.objects) > WRITTEN else ""
            yield f"{self._name(freelist)}: {objects or 'empty'}{rest}", bool(freelist.wrong)

    def draw(self, x: float, y: float) -> float:
        """Draw it with its upper left corner there; gives its height."""
        canvas, slab, marks = self.canvas, self.slab, self.marks
        guilty = slab.page in marks.guilty.slabs
        frame = len(canvas.shapes)
        left = x + 8
        for number, (words, field) in enumerate(self._header()):
            new = bool(field) and marks.slab_changed(slab.page, field)
            fill = RED if guilty and number == 0 else CHANGED if new else INK if number == 0 else QUIET
            left += canvas.text(left, y + 14, words, size=10.5, fill=fill,
                                weight="bold" if new or number == 0 else "normal") + 10
        above = self.above if self.arrows else []
        below = [freelist for freelist in self.below if freelist.first is not None] if self.arrows else []
        top = y + 20 + LANE * len(above)
        start = x + self.label
        for number, cell in enumerate(slab.cells):
            self._object(start + number * self.cell, top, cell.object, cell.kind)
        centres = {cell.object: start + (number + 0.5) * self.cell for number, cell in enumerate(slab.cells)}
        for lane, freelist in enumerate(above):
            self._lane(freelist, centres, x + 8, top, -1, len(above) - lane)
        for lane, freelist in enumerate(below):
            self._lane(freelist, centres, x + 8, top + HEIGHT, 1, lane + 1)
        bottom = top + HEIGHT + LANE * len(below) + 5
        for words, wrong in self._written():
            canvas.text(x + 8, bottom + 8, words, size=9.5, fill=RED if wrong else QUIET)
            bottom += LINE
        for remark in slab.remarks:
            canvas.text(x + 8, bottom + 8, _cut(remark), size=10, fill=RED, weight="bold")
            bottom += LINE
        shapes, canvas.shapes[frame:] = canvas.shapes[frame:], []
        line, thick = (CHANGED, 2) if marks.slab_changed(slab.page, "slab_cache") else (COVERS["slab"][1], 1)
        if guilty:
            line, thick = RED, 3
        canvas.box(x, y, self.width, bottom - y, fill="#fbf9fe", line=line, thick=thick, round_=5,
                   dash="" if slab.frozen else "6 3")
        canvas.shapes.extend(shapes)
        if guilty:
            canvas.triangle(x + self.width - 14, y + 12)
        return bottom - y

    def _object(self, x: float, y: float, object: int, kind: str) -> None:
        fill, line, words = KINDS[kind]
        guilty = object in self.marks.guilty.objects
        thick = 2.0 if kind in ("lost", "twice") else 1.0
        if object in self.marks.objects:
            line, thick = (line if kind in ("lost", "twice") else CHANGED), 2.4
        if guilty:
            line, thick = RED, 3.4
        inset = 1.5 if self.cell > SMALL_CELL else 0.5
        self.canvas.box(x + inset, y, self.cell - 2 * inset, HEIGHT, fill=fill, line=line, thick=thick, round_=2,
                        hint=f"object {object}: {words}")
        if self.cell > SMALL_CELL:
            middle, half = x + self.cell / 2, len(str(object)) * 11 * MONO / 2 + 2
            if kind in ("lost", "twice"):
                self.canvas.box(middle - half, y + 5, 2 * half, 14, fill="#ffffff", line="none")
            red = guilty or kind in ("lost", "twice")
            self.canvas.text(middle, y + 16, str(object), size=11, anchor="middle", fill=RED if red else INK,
                             weight="bold" if red else "normal")

    def _lane(
        self, freelist: Freelist, centres: dict[int, float], x: float, y: float, down: int, lane: int
    ) -> None:
        """A freelist as arrows along one side of the objects: `down` is 1 below them and -1 above."""
        canvas = self.canvas
        depth = down * (LANE * lane - 10)
        words = self._name(freelist)
        width = canvas.text(x, y + depth + 3.5, words, size=9.5, fill=RED if freelist.wrong else QUIET)
        objects = [object for object in freelist.objects if object in centres]
        tip = "red" if freelist.wrong else "ink"
        line = RED if freelist.wrong else INK
        if objects:
            first = centres[objects[0]] - 7
            if objects[0] != freelist.objects[0]:
                line, tip = RED, "red"
            canvas.path(f"M{x + width + 3:.1f},{y + depth:.1f} H{first:.1f} V{y + down * 2:.1f}", line=line, tip=tip)
        if not freelist.objects:
            canvas.text(x + width + 4, y + depth + 3.5, "∅", size=9.5, fill=QUIET)
        steps = list(zip(freelist.objects, freelist.objects[1:], strict=False))
        for one, other in steps:
            if one in centres and other in centres:
                self._arc(centres[one] + 5, centres[other] - 7, y, down, depth, line, tip)
            elif one in centres:
                self._end(centres[one] + 5, y, down, depth, f"→ {other}")
        if freelist.loops_to in centres and objects:
            self._arc(centres[objects[-1]] + 9, centres[freelist.loops_to] - 2, y, down, depth, RED, "red", dash="4 2")
        elif objects and objects[-1] == freelist.objects[-1]:
            end = centres[objects[-1]] + 5
            if freelist.wrong:
                self._end(end, y, down, depth, "→ ?")
            else:
                canvas.path(f"M{end:.1f},{y + down:.1f} v{down * 8} m-4,0 h8", line=INK, thick=1)

    def _arc(
        self, start: float, end: float, y: float, down: int, depth: float, line: str, tip: str, dash: str = ""
    ) -> None:
        reach = y + depth + down * 4
        self.canvas.path(f"M{start:.1f},{y + down:.1f} C{start:.1f},{reach:.1f} {end:.1f},{reach:.1f} "
                         f"{end:.1f},{y + down * 2:.1f}", line=line, tip=tip, dash=dash)

    def _end(self, x: float, y: float, down: int, depth: float, words: str) -> None:
        """A link that leaves the slab."""
        self.canvas.path(f"M{x:.1f},{y + down:.1f} V{y + depth - down * 3:.1f}", line=RED)
        self.canvas.text(x + 3, y + depth + 3.5, words, size=9, fill=RED, weight="bold")


def _cut(remark: str) -> str:
    return remark if len(remark) <= 70 else remark[:69] + "…"


def legend() -> list[tuple[str, str, str, float]]:
    """Fill, line, words and thickness for what an object can be."""
    return [(fill, line, words, 1) for fill, line, words in KINDS.values()]
