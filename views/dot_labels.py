"""What the HTML-like labels of Graphviz are made of.

The one idea: a text becomes part of a label in `font` alone, where it is escaped, so that no name of a specification
can change a graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from .text import markup


def font(text: str, colour: str = "", bold: bool = False, size: int = 0, limit: int = 200) -> str:
    """A text as it is to look; never empty, which Graphviz refuses."""
    inside = markup(text, limit).replace("\\", "&#92;") or " "
    if bold:
        inside = f"<B>{inside}</B>"
    attributes = (f' COLOR="{colour}"' if colour else "") + (f' POINT-SIZE="{size}"' if size else "")
    return f"<FONT{attributes}>{inside}</FONT>" if attributes else inside


def cell(content: str, attributes: str = "") -> str:
    """A cell of a table."""
    return f"<TD{' ' if attributes else ''}{attributes}>{content}</TD>"


def table(rows: Iterable[str], attributes: str) -> str:
    """A table of rows that are cells one after another."""
    return f"<TABLE ALIGN=\"LEFT\" {attributes}>{''.join(f'<TR>{row}</TR>' for row in rows)}</TABLE>"
