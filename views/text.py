"""Strings from specifications and files, made safe to show.

The one idea: names, messages and labels may be hostile (terminal escapes, markup, bidirectional overrides), so each
view passes them through one of these two before they reach a terminal or a picture.
"""

from __future__ import annotations

import html


def printable(text: str, limit: int = 400) -> str:
    """`text` on one line: characters that are not printable become visible escapes; at most `limit` characters.

    >>> printable("a\\x1b[31m")
    'a\\\\x1b[31m'
    """
    shown = "".join(char if char.isprintable() else _escape(char) for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escape(char: str) -> str:
    if char == "\n":
        return "\\n"
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def markup(text: str, limit: int = 400) -> str:
    """`text` as character data or an attribute value of SVG, HTML or a Graphviz HTML-like label."""
    return html.escape(printable(text, limit), quote=True)
