"""The native engine: the IR compiled to machine code, and the exhaustive search and random walks built on it.

`explore` visits every reachable state of a scope breadth first, `simulate` walks at random, `NativeMachine` runs single
steps. LLVM is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .results import ActionCount, BranchCoverage, Exploration, Limits, Progress, Simulation

if TYPE_CHECKING:
    from .machine import NativeMachine
    from .search import explore
    from .walk import simulate

__all__ = [
    "ActionCount",
    "BranchCoverage",
    "Exploration",
    "Limits",
    "NativeMachine",
    "Progress",
    "Simulation",
    "explore",
    "simulate",
]

_HOME = {"NativeMachine": "machine", "explore": "search", "simulate": "walk"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
