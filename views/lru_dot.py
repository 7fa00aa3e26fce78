"""LRU lists for Graphviz: in each step a table with a row for each list, and the last step's as a graph of links.

The one idea: the same rows, folios and cells as in `lru_drawing`, which Graphviz places: lists are chains from their
name, entries of page tables, swap slots and the page cache point at folios, and what the last step moved is an edge
from where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .changes import value_text
from .dot_labels import cell, font, table
from .lru_drawing import ANON, CELLS, FILE, LINKS, MOVED, SHOWN, Marks, moved
from .lru_map import Cell, FolioView, LruView, Row

if TYPE_CHECKING:
    from graphviz import Digraph  # type: ignore[import-untyped]

RED, QUIET = "#d00000", "#6a6a6a"
ALWAYS = ("list", "reclaimer", "free")
_BOX = 'BORDER="0" CELLBORDER="1" CELLSPACING="0"'
PLAIN = 'BORDER="0" ALIGN="LEFT"'


def state_table(view: LruView, marks: Marks) -> str:
    """A state: a row for each list and for each task's entries, then swap and the page cache."""
    changes = moved(marks.before, view)
    rows = []
    for row in view.rows:
        if row.folios or row.remarks or (row.kind in ALWAYS and (row.linked or row.kind != "list")):
            named = marks.guilty.row(row)
            words = [row.label, *(f"{name} {value_text(value, 8)}" for name, _, value in row.facts)]
            boxes = [_folio(view, row, page, marks, changes) for page in row.folios[:SHOWN]]
            if len(row.folios) > SHOWN:
                boxes.append(cell(font(f"… {len(row.folios) - SHOWN} more", QUIET), PLAIN))
            boxes += [cell(font(remark, RED, True), PLAIN) for remark in row.remarks]
            none = cell(font("" if row.kind == "reclaimer" else "empty", QUIET), PLAIN)
            inside = table(["".join(boxes) or none], 'BORDER="0" CELLSPACING="2"')
            rows.append(_line(" ".join(words), inside, named))
    groups = [(f"task {task}", cells) for task, cells in view.tasks]
    groups += [("in hand", view.hands), ("swap", view.slots), ("page cache", view.file)]
    for title, cells in groups:
        if cells:
            shown = [one for one in cells if not one.idle or marks.changes_cell(one)][:CELLS]
            entries = "".join(_entry(one, marks) for one in shown)
            if entries:
                rows.append(_line(title, table([entries], 'BORDER="0" CELLSPACING="2"'), False))
    return table(rows, 'BORDER="0" CELLSPACING="1"')


def _line(words: str, inside: str, named: bool) -> str:
    return cell(font(("▶" if named else "") + words, RED if named else QUIET, named), PLAIN) + cell(inside, PLAIN)


def _folio(
    view: LruView, row: Row, page: int, marks: Marks, changes: dict[int, tuple[frozenset[str], frozenset[str]]]
) -> str:
    """A folio in a row; what came in this step says where from."""
    folio = view.folios[page]
    named, new = page in marks.guilty.pages, page in changes
    gone, came = changes.get(page, (frozenset[str](), frozenset[str]()))
    labels = {one.key: one.label for one in (*(marks.before.rows if marks.before else ()), *view.rows)}
    lines = [" ".join(filter(None, (str(page), folio.flags)))]
    if row.key in came:
        lines.append("from " + ", ".join(labels.get(key, key) for key in sorted(gone)) if gone else "also here")
    texts = "<BR/>".join(font(line, RED if named else MOVED if number else "", named or not number)
                         for number, line in enumerate(lines))
    remarks = "".join(f"<BR/>{font(remark, RED, size=9, limit=60)}" for remark in folio.remarks)
    colour, border = (RED, 3) if named else (MOVED, 2) if new else (_colours(folio)[1], 1)
    return cell(texts + remarks, f'BGCOLOR="{_colours(folio)[0]}" COLOR="{colour}" BORDER="{border}"')


def _colours(folio: FolioView) -> tuple[str, str]:
    if not folio.in_use:
        return "#ffffff", "#b5b5b5"
    return ANON if folio.anon else FILE


def _entry(one: Cell, marks: Marks, prefix: str = "") -> str:
    """A page table entry, swap slot or page of a file."""
    named, new = marks.guilty.cell(one), marks.changes_cell(one)
    words = font(f"{prefix}{one.name}: ", QUIET)
    words += font((one.words or "-") + ("*" if new else ""), RED if named else "", named)
    words += "".join(f"<BR/>{font(remark, RED, size=9)}" for remark in one.remarks)
    colour, border = (RED, 3) if named else (MOVED, 2) if new else (LINKS[one.kind], 1)
    return cell(words, f'COLOR="{colour}" BORDER="{border}"')


def draw_links(whole: Digraph, view: LruView, marks: Marks) -> None:
    """The rows as chains of folios, and who refers to them, as nodes of a graph."""
    changes = moved(marks.before, view)
    rows = {row.key: f"lru{number}" for number, row in enumerate(view.rows) if row.folios or row.linked}
    places = view.places()
    drawn: set[str] = set()
    for row in view.rows:
        if row.key in rows:
            drawn |= set(_chain(whole, view, row, rows[row.key], marks, changes))
    for page, (gone, came) in changes.items():
        for start, end in ((start, end) for start in gone for end in came if start in rows and start != end):
            if f"{rows[end]}_{page}" in drawn:
                whole.edge(rows[start], f"{rows[end]}_{page}", color=MOVED, penwidth="2", constraint="false")
    shown = list(_referring(view))
    names = {(one.kind, one.path): f"cell{number}" for number, one in enumerate(shown)}
    slots = {one.number: names[one.kind, one.path] for one in shown if one.kind == "slot"}
    for one in shown:
        name = names[one.kind, one.path]
        prefix = f"task {one.group} " if one.kind == "pte" else ""
        whole.node(name, f"<{table([_entry(one, marks, prefix)], _BOX)}>")
        whole.edge("steps:e", name, style="invis")
        new = marks.changes_link(one)
        style = {"color": MOVED if new else LINKS[one.kind], "penwidth": "2" if new else "1"}
        if one.page in places and f"{rows.get(places[one.page][0])}_{one.page}" in drawn:
            whole.edge(name, f"{rows[places[one.page][0]]}_{one.page}", **style)
        if one.kind != "slot" and one.slot in slots:
            whole.edge(name, slots[one.slot], style="dashed", **style)


def _referring(view: LruView) -> Iterator[Cell]:
    """The entries, slots and pages of files that are drawn: those that have something."""
    shown: Sequence[Sequence[Cell]] = (*(cells for _, cells in view.tasks), view.hands, view.slots, view.file)
    for cells in shown:
        yield from [one for one in cells if one.page is not None or one.slot is not None or (
            one.kind == "slot" and not one.idle)][:CELLS]


def _chain(
    whole: Digraph, view: LruView, row: Row, head: str, marks: Marks,
    changes: dict[int, tuple[frozenset[str], frozenset[str]]],
) -> Iterator[str]:
    """A row: its name, then its folios, linked if it is a list; gives the names of the nodes."""
    words = table([cell(font(row.label, RED if marks.guilty.row(row) else "", True))], _ROUNDED)
    whole.node(head, f"<{words}>")
    whole.edge("steps:e", head, style="invis")
    previous = head
    for page in row.folios[:SHOWN]:
        name = f"{head}_{page}"
        box = _folio(view, row, page, marks, changes)
        whole.node(name, f"<{table([box], _BOX)}>")
        style = {} if row.linked else {"arrowhead": "none", "style": "dotted"}
        whole.edge(previous, name, **style)
        previous = name
        yield name


_ROUNDED = 'BORDER="1" CELLBORDER="0" CELLSPACING="0" STYLE="ROUNDED" BGCOLOR="#f3f3f3"'
