"""What random testing answers: plain data, importable without Hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

from ...model.lang.trace import Trace
from ...model.lang.verdict import Verdict


@dataclass(frozen=True)
class StatefulProgress:
    """How far a running test is. `shrinking`: a violation was found, and Hypothesis looks for a smaller one."""

    steps: int
    runs: int
    states: int
    seconds: float
    shrinking: bool = False


@dataclass(frozen=True)
class ActionCount:
    """What one action did.

    `offered` counts the moments at which it could be drawn because some arguments passed its leading guards (in a large
    scope: were found that do, when it was asked for), `fired`
    its completed steps, `refused` the draws that a later guard or an empty choice turned down. With `fired` 0 the
    action was never taken: properties about it hold vacuously."""

    name: str
    offered: int
    fired: int
    refused: int


@dataclass(frozen=True)
class BranchCoverage:
    """Whether each side of an `if`, `while` or `for` of the specification was taken (entered or left, for a loop)."""

    function: str
    file: str
    line: int
    then_reached: bool
    otherwise_reached: bool

    @property
    def reached(self) -> bool:
        return self.then_reached and self.otherwise_reached


@dataclass(frozen=True)
class StatefulRun:
    """The result of random testing: verdicts, and what they rest on.

    `states` counts distinct states; all properties were checked after one step in `check_every` (1: after each), which
    were `checked` steps.
    `branches` is empty and `branches_measured` False when another tracer (a debugger) was at work; after the first
    steps only every fourth (later every 32nd) is measured, so a branch that is listed as not reached may have been
    taken in between.
    `stopped` says why fewer steps were done than asked for; `smallest` that Hypothesis finished shrinking the trace."""

    verdicts: tuple[Verdict, ...]
    seed: int
    runs: int
    steps: int
    states: int
    check_every: int
    checked: int
    actions: tuple[ActionCount, ...]
    branches: tuple[BranchCoverage, ...]
    branches_measured: bool
    seconds: float
    stopped: str = ""
    trace: Trace | None = None
    smallest: bool = False

    @property
    def never_fired(self) -> tuple[str, ...]:
        """Actions that did nothing: what was checked about them is vacuous."""
        return tuple(action.name for action in self.actions if not action.fired)

    @property
    def unreached(self) -> tuple[BranchCoverage, ...]:
        """Branches of which some side was never seen."""
        return tuple(branch for branch in self.branches if not branch.reached)
