"""The native engine: the IR compiled to machine code, and the exhaustive search and random walks built on it.

`explore` visits every reachable state of a scope breadth first, `simulate` walks at random, `NativeMachine` runs single
steps. LLVM is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.lang.lazily import attributes_of
from .results import ActionCount, BranchCoverage, Exploration, Limits, Progress, Simulation, SymmetryReduction

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
    "SymmetryReduction",
    "explore",
    "simulate",
]

__getattr__ = attributes_of(
    __name__, {"NativeMachine": "machine", "explore": "search", "simulate": "walk"}
)
