"""What SVG pictures are drawn with: shapes, texts, colours, arrow heads.

The one idea: every text goes through `Canvas.text`, which escapes it and knows how wide it is, so the picture is as
large as what is in it. Nothing depends on colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .text import markup, printable

MARGIN = 18
ROW = 26

INK, QUIET, RED, FRAME = "#1c1c1c", "#6a6a6a", "#d00000", "#c9c9c9"
FREE, FREE_LINE, HELD, HELD_LINE = "#d3ecd0", "#2e7d32", "#cfe0f7", "#2f5d9b"
COVERS = {
    "free": (FREE, FREE_LINE, "free block"),
    "held": (HELD, HELD_LINE, "held by a client"),
    "pcp": ("#f6efc3", "#8a7a16", "on a cpu's page list"),
    "slab": ("#e6dcf3", "#6a4b9c", "slab"),
    "user": (HELD, HELD_LINE, "user memory"),
    "none": ("url(#bare)", QUIET, "page in no block"),
    "twice": ("url(#twice)", RED, "page in two blocks"),
    "outside": ("#e9e9e9", FRAME, "outside the zone"),
}
"""Fill, line and legend of what a page can be in."""
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
