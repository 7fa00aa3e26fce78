"""The CPython engine under Hypothesis: random runs of any specification, shrunk when they fail.

`run` gives verdicts; `state_machine` gives a class for a test suite of one's own. Hypothesis is imported when one
of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .results import ActionCount, BranchCoverage, StatefulProgress, StatefulRun

if TYPE_CHECKING:
    from .engine import run
    from .machine import state_machine

__all__ = ["ActionCount", "BranchCoverage", "StatefulProgress", "StatefulRun", "run", "state_machine"]

_HOME = {"run": "engine", "state_machine": "machine"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
