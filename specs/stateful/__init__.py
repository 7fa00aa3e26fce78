"""The CPython engine under Hypothesis: random runs of any specification, shrunk when they fail.

`run` gives verdicts; `state_machine` gives a class for a test suite of one's own. Hypothesis is imported when one
of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.lang.lazily import attributes_of
from .results import ActionCount, BranchCoverage, StatefulProgress, StatefulRun

if TYPE_CHECKING:
    from .engine import run
    from .machine import state_machine

__all__ = ["ActionCount", "BranchCoverage", "StatefulProgress", "StatefulRun", "run", "state_machine"]

__getattr__ = attributes_of(
    __name__, {"run": "engine", "state_machine": "machine"}
)
