"""What the search and the random walks answer: plain data, importable without LLVM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...model.lang.verdict import Verdict


@dataclass(frozen=True)
class Limits:
    """Where to stop with `unknown`: distinct states, bytes for states and table, seconds. None: no limit (for bytes:
    three quarters of the memory that is free when the search starts)."""

    states: int | None = None
    memory_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a running search is: `depth` is the level being expanded, `frontier` its states still to expand."""

    states: int
    transitions: int
    depth: int
    frontier: int
    seconds: float


@dataclass(frozen=True)
class ActionCount:
    """What one action did.

    `enabled` counts pairs (state, arguments) whose guards passed for the first choices; `fired` counts completed
    executions, one for each way to choose, `new` those that ended in a state not seen before. An action with
    `fired` 0 was never taken: properties about it hold vacuously."""

    name: str
    enabled: int
    fired: int
    new: int


@dataclass(frozen=True)
class BranchCoverage:
    """Whether each side of a branch was ever taken, in any evaluation of its function."""

    function: str
    line: int
    then_reached: bool
    otherwise_reached: bool


@dataclass(frozen=True)
class SymmetryReduction:
    """What symmetry saved: the sizes of the symmetric sorts, how many renamings of their elements there are, and how
    many states the visited ones stand for: exactly those that a search without reduction would visit."""

    sorts: Mapping[str, int]
    renamings: int
    states: int


@dataclass(frozen=True)
class Exploration:
    """The result of an exhaustive search. `complete`: every reachable state was visited and expanded.

    `depth` is the number of steps to the farthest level reached; `transitions` counts completed executions;
    `frontier_peak` is the largest level; `memory_bytes` the peak of what states, parents and table took;
    `cpu_seconds` the time in native code, `compile_seconds` that of making or loading it. With `symmetry`, states,
    transitions and counts are those of the reduced search; `unreduced` says why a declared symmetry was not used.
    `vacuous` are the leads-to properties in which nothing is ever due."""

    verdicts: tuple[Verdict, ...]
    states: int
    transitions: int
    depth: int
    frontier_peak: int
    initial_states: int
    actions: tuple[ActionCount, ...]
    branches: tuple[BranchCoverage, ...]
    bits_per_state: int
    memory_bytes: int
    cpu_seconds: float
    compile_seconds: float
    seconds: float
    complete: bool
    stopped: str = ""
    symmetry: SymmetryReduction | None = None
    unreduced: str = ""
    vacuous: tuple[str, ...] = ()

    @property
    def never_fired(self) -> tuple[str, ...]:
        """Actions that did nothing: what was checked about them is vacuous."""
        return tuple(action.name for action in self.actions if not action.fired)


@dataclass(frozen=True)
class Simulation:
    """The result of random walks. `states` counts distinct states (a lower bound once memory is full)."""

    verdicts: tuple[Verdict, ...]
    walks: int
    steps: int
    states: int
    actions: tuple[ActionCount, ...]
    branches: tuple[BranchCoverage, ...]
    cpu_seconds: float
    seconds: float
    stopped: str = ""
