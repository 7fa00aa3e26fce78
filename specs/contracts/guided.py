"""Model-guided sequences: walks that take an implementation through every transition of the contract's state graph.

The one idea: the graph is the contract's own machine at a tiny scope, and the way through it is planned with what the
implementation did before. A call may have several outcomes in the contract (which page an allocation takes); the walk
guesses the first and is corrected by what is observed: a `Tour` is told of every step of every run, so that the next
walk leads to the nearest state that has a call not yet tried. What was covered is measured, not assumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from ...model.lang.execute import PythonMachine, Script
from .lockstep import LockStep

if TYPE_CHECKING:
    from ..loading import Loaded

State = tuple[int, ...]
TRANSITIONS_MAX = 30_000
"""A larger graph is not tiny: it is cut, and the coverage says of how much."""
ATTEMPTS_MAX = 3
"""How many runs that come to nothing new a call may be planned for."""


@dataclass(frozen=True)
class Edge:
    """A step of the machine: an action by name with its arguments, and the state after it."""

    action: str
    arguments: tuple[int, ...]
    after: State


@dataclass(frozen=True)
class Graph:
    """The reachable states of a machine at a tiny scope, breadth first, and the steps from each."""

    start: State
    edges: Mapping[State, tuple[Edge, ...]]
    whole: bool = True

    @property
    def transitions(self) -> int:
        """How many steps there are."""
        return sum(map(len, self.edges.values()))


def graph_of(machine: PythonMachine, choices: tuple[int, ...], wanted: Callable[[str], bool]) -> Graph:
    """Every state that the wanted actions reach from one initial state."""
    machine.begin(Script(choices))
    start = machine.state
    names = [action.name for action in machine.program.actions]
    edges: dict[State, tuple[Edge, ...]] = {}
    waiting, seen, total = deque([start]), {start}, 0
    while waiting and total < TRANSITIONS_MAX:
        state = waiting.popleft()
        found: list[Edge] = []
        for action, name in enumerate(names):
            for arguments in machine.arguments(action) if wanted(name) else ():
                outcome = machine.step(state, action, arguments)
                if outcome.enabled and outcome.state is not None:
                    found.append(Edge(name, arguments, outcome.state))
        edges[state] = tuple(found)
        total += len(found)
        for edge in found:
            if edge.after not in seen:
                seen.add(edge.after)
                waiting.append(edge.after)
    return Graph(start, edges, not waiting)


CallOf = Callable[[str, tuple[int, ...]], Hashable]
"""What the client decides of a step; the implementation decides the rest."""


@dataclass
class Tour:
    """The walks over one graph, and what the runs covered of it."""

    loaded: Loaded
    graph: Graph
    lockstep: LockStep
    choices: tuple[int, ...]
    call_of: CallOf
    generator: Random
    shown: tuple[str, ...]
    """The scope parameters that a report names."""
    known: dict[tuple[State, Hashable], Edge] = field(default_factory=dict)
    covered: set[tuple[State, str, tuple[int, ...]]] = field(default_factory=set)
    states: set[State] = field(default_factory=set)
    attempts: dict[tuple[State, Hashable], int] = field(default_factory=dict)
    calls: dict[State, dict[Hashable, Edge]] = field(default_factory=dict)
    open: dict[State, list[Hashable]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The calls that a client can make in each state, with the first outcome of each; none is tried yet."""
        for state, edges in self.graph.edges.items():
            self.calls[state] = {self.call_of(edge.action, edge.arguments): edge for edge in reversed(edges)}
            self.open[state] = list(self.calls[state])

    # --- following a run

    def begin(self) -> None:
        """A run begins."""
        self.lockstep.begin(self.choices)
        self.states.add(self.graph.start)

    def follow(self, action: str, *arguments: int) -> None:
        """The run took this step; raises `Impossible` if the contract has no such step."""
        machine = self.lockstep.machine
        before = machine.state
        self.lockstep.take(action, *arguments)
        after = machine.state
        self.states.add(after)
        self.covered.add((before, action, arguments))
        self.known[before, self.call_of(action, arguments)] = Edge(action, arguments, after)

    # --- planning

    def outcome(self, state: State, call: Hashable) -> Edge:
        """What a call does in a state: what it was seen to do, else the first thing that it may do."""
        return self.known.get((state, call)) or self.calls[state][call]

    def untried(self, state: State, planned: set[tuple[State, Hashable]]) -> list[Hashable]:
        """The calls of a state that were neither observed nor planned."""
        left = self.open.get(state)
        if not left:
            return []
        left[:] = [
            call
            for call in left
            if (state, call) not in self.known and self.attempts.get((state, call), 0) < ATTEMPTS_MAX
        ]
        return [call for call in left if (state, call) not in planned]

    def way(self, state: State, planned: set[tuple[State, Hashable]]) -> list[Edge]:
        """The shortest way to an untried call, that call included; empty if there is none."""
        came: dict[State, tuple[State, Edge] | None] = {state: None}
        waiting = deque([state])
        while waiting:
            here = waiting.popleft()
            untried = self.untried(here, planned)
            if untried:
                way = [self.outcome(here, self.generator.choice(untried))]
                back = came[here]
                while back is not None:
                    way.append(back[1])
                    back = came[back[0]]
                return way[::-1]
            for call in self.calls.get(here, ()):
                edge = self.outcome(here, call)
                if edge.after not in came:
                    came[edge.after] = (here, edge)
                    waiting.append(edge.after)
        return []

    def walks(self, longest: int) -> Iterator[list[Edge]]:
        """Walks of about `longest` steps, until no call is untried in a state that can be reached."""
        while True:
            state, planned = self.graph.start, set[tuple[State, Hashable]]()
            walk: list[Edge] = []
            while len(walk) < longest:
                way = self.way(state, planned)
                if not way or (walk and len(walk) + len(way) > longest):
                    break
                for edge in way:
                    planned.add((state, self.call_of(edge.action, edge.arguments)))
                    state = edge.after
                walk += way
            if not walk:
                return
            before = len(self.known)
            yield walk
            if len(self.known) == before:
                # Nothing new was observed, so the next plan would be this one: some of it cannot be reached.
                for pair in planned:
                    self.attempts[pair] = self.attempts.get(pair, 0) + 1

    # --- what was reached

    def coverage(self) -> str:
        """In words: how many transitions of the graph the runs took, and how many states they came to."""
        sizes = self.lockstep.machine.sizes
        names = [parameter.name for parameter in self.loaded.spec.parameters]
        scope = ", ".join(f"{name}={sizes[name]}" for name in names if name in self.shown)
        part = "" if self.graph.whole else " (the graph goes on)"
        return (
            f"walks over the graph of {self.loaded.spec.name} at {scope}: {len(self.covered):,} of "
            f"{self.graph.transitions:,} transitions, {len(self.states):,} of {len(self.graph.edges):,} states{part}"
        )


def tour(
    target: str,
    settings: Mapping[str, int],
    choices: tuple[int, ...],
    wanted: Callable[[str], bool],
    call_of: CallOf,
    seed: int,
    shown: tuple[str, ...],
) -> Tour:
    """The tour over a contract's graph at a tiny scope."""
    from ..loading import load

    loaded = load(target)
    lockstep = LockStep(loaded, settings)
    graph = graph_of(lockstep.machine, choices, wanted)
    return Tour(loaded, graph, LockStep(loaded, settings), choices, call_of, Random(seed), shown)
