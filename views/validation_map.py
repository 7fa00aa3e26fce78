"""A finding as a picture: the live blocks after each call, one row a call, what the failing call did in red.

The one idea: where places are few (pages, a small arena) the axis is true to scale; where they are scattered over an
address space, only the boundaries of blocks are on it, in order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from xml.sax.saxutils import escape

from ..specs.contracts import Extent, Finding
from .text import printable

WIDTH, ROW, LEFT, TOP = 720, 26, 330, 50
COLOURS = ("#8ecae6", "#b7e4c7", "#ffd6a5", "#cdb4db", "#f1c0e8", "#a3c4f3", "#e9edc9", "#d0d1ff")
COLUMNS = 64
MOST_ROWS = 200


def axis(finding: Finding) -> tuple[int, ...] | None:
    """The boundaries to show in order, or None if places 0 to `end` are shown to scale."""
    if end(finding):
        return None
    return tuple(sorted({place for row in finding.extents for block in row for place in (block.start, behind(block))}))


def behind(block: Extent) -> int:
    """The first place behind a block."""
    return block.start + block.size


def end(finding: Finding) -> int:
    """The number of places, if it is known."""
    return finding.scope.get("pages") or finding.scope.get("arena") or 0


def position(finding: Finding, places: tuple[int, ...] | None, place: int, width: int) -> float:
    """Where a place is on an axis of that width."""
    if places is None:
        return max(0, min(width, place * width / end(finding)))
    return bisect_left(places, place) * width / max(1, len(places) - 1)


def finding_svg(finding: Finding) -> str | None:
    """The picture; None where there is nothing to draw (no block was ever made)."""
    rows = list(zip(finding.sequence, finding.extents, strict=False))[-MOST_ROWS:]
    if not any(blocks for _, blocks in rows):
        return None
    height = TOP + ROW * len(rows) + 40
    title = f"{printable(finding.clause)}: {printable(finding.message, 110)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="monospace" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    places = axis(finding)
    for number, (record, blocks) in enumerate(rows):
        last = number == len(finding.sequence) - 1 or number == len(rows) - 1
        top = TOP + ROW * number
        colour = "#c1121f" if last else "black"
        text = escape(printable(f"{record.call} -> {record.observed}", 44))
        lines.append(f'<text x="10" y="{top + 16}" fill="{colour}">{text}</text>')
        lines.append(f'<rect x="{LEFT}" y="{top + 2}" width="{WIDTH}" height="{ROW - 6}" fill="#f4f4f4"/>')
        lines += [rectangle(finding, places, block, top, last) for block in blocks]
    lines.append(f'<text x="{LEFT}" y="{height - 14}" fill="#555">{escape(legend(finding, places))}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def rectangle(finding: Finding, places: tuple[int, ...] | None, block: Extent, top: int, last: bool) -> str:
    """One block in one row."""
    left = position(finding, places, block.start, WIDTH)
    width = max(3.0, position(finding, places, behind(block), WIDTH) - left)
    edge = ' stroke="#c1121f" stroke-width="2.5" fill-opacity="0.6"' if last and block.fresh else ' stroke="#555"'
    colour = COLOURS[int(block.name[1:]) % len(COLOURS)] if block.name[1:].isdigit() else COLOURS[0]
    name = escape(block.name)
    return (
        f'<rect x="{LEFT + left:.1f}" y="{top + 2}" width="{width:.1f}" height="{ROW - 6}" fill="{colour}"{edge}>'
        f"<title>{name}: {block.start} to {behind(block) - 1}</title></rect>"
        f'<text x="{LEFT + left + 3:.1f}" y="{top + 16}">{name if width >= 7 * len(block.name) else ""}</text>'
    )


def legend(finding: Finding, places: tuple[int, ...] | None) -> str:
    """What the axis is."""
    if places is not None:
        return f"addresses {places[0]:#x} to {places[-1]:#x}; only the boundaries of blocks, not to scale"
    unit = "page" if finding.scope.get("pages") else "byte"
    return f"{unit} 0 to {unit} {end(finding) - 1}"


def map_lines(finding: Finding) -> list[str]:
    """The last row in characters, and the one before it: which block covers which place; # is covered twice."""
    rows = [row for row in finding.extents[-2:] if row]
    if not rows or not end(finding):
        return []
    columns = min(COLUMNS, end(finding))
    texts = [(("before", "after")[number - len(rows)], row) for number, row in enumerate(rows)]
    return [f"  {name:<6} |{row_text(finding, row, columns)}|" for name, row in texts] + [f"  {legend(finding, None)}"]


def row_text(finding: Finding, row: Iterable[Extent], columns: int) -> str:
    """One row of characters."""
    shown = ["."] * columns
    for block in row:
        first = int(position(finding, None, block.start, columns))
        behind_last = max(first + 1, -int(-position(finding, None, behind(block), columns) // 1))
        letter = block.name[-1:] or "?"
        for column in range(max(0, first), min(columns, behind_last)):
            shown[column] = letter if shown[column] == "." else "#"
    return "".join(shown)
