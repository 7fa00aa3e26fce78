"""What every adapter in the child is, and how it words what went wrong.

The one idea: an adapter makes one call at a time and says what came of it at once, so that whatever happens next, the
checker knows how far it came.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

LOST_PIPE = 113
"""Exit status of a fork that could not write its answers any more."""


class ProgramEndedError(Exception):
    """The program that the adapter talks to ended; its arguments are "exit", status or "signal", number or "closed"."""


class Adapter(Protocol):
    """One fresh instance of the implementation. `perform` makes one call and says its answers as they come.

    It may have `finish(say)`, called when the sequence is over, and `close()`, called however it ended."""

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call and `say` what came of it."""


Make = Callable[[dict[str, int]], Adapter]
"""Makes a fresh instance for a scope."""
Loader = Callable[[dict[str, Any]], tuple[Make, dict[str, Any]]]
"""Loads the target of a request; gives what makes instances of it, and what it declares."""


def one_line(text: object, limit: int = 300) -> str:
    """Any text on one bounded line."""
    return " ".join(str(text).split())[:limit]


def describe_exception(error: BaseException) -> str:
    """Message and innermost place of an exception; its __str__ may be hostile."""
    try:
        message = one_line(error, 200)
    except BaseException:
        message = "(its message cannot be printed)"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else ""
    return f"{message}{where}".strip()
