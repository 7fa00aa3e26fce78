"""The state graph of a tiny scope: every reachable state a node, every step an edge.

Meant for learning, so it refuses graphs that nobody can read instead of drawing them.
"""

from __future__ import annotations

from dataclasses import dataclass

import graphviz  # type: ignore[import-untyped]

from ..model.lang.errors import InputError
from ..model.lang.execute import PythonMachine
from ..model.lang.ir import Program, Sizes
from ..model.lang.spec import Spec
from ..model.lang.trace import FlatStep, nest, to_step
from .changes import call_text, changes, path_text, value_text
from .text import printable

NODES_MAX = 250


@dataclass(frozen=True)
class StateGraph:
    """States in the order in which a breadth-first search meets them, and edges (from, to, label)."""

    states: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, int, str], ...]


def state_graph(spec: Spec, program: Program, sizes: Sizes, limit: int = NODES_MAX) -> StateGraph:
    """Search a scope in CPython; raises InputError when there are more than `limit` states."""
    machine = PythonMachine(spec, program, sizes)
    numbers: dict[tuple[int, ...], int] = {}
    for initial in machine.initial_states():
        numbers.setdefault(initial.state, len(numbers))
    states = list(numbers)
    edges: dict[tuple[int, int, str], None] = {}
    for state in states:
        for action, arguments, choices, outcome in machine.successors(state):
            if outcome.state is None:
                continue
            if outcome.state not in numbers:
                numbers[outcome.state] = len(states)
                states.append(outcome.state)
                if len(states) > limit:
                    raise InputError(
                        f"the state graph has more than {limit} states, which no picture can show",
                        "choose a smaller scope, e.g. --scope pages=2,orders=2",
                    )
            step = to_step(program, sizes, FlatStep(action, arguments, choices, outcome.result, outcome.state))
            edges[(numbers[state], numbers[outcome.state], call_text(step))] = None
    return StateGraph(tuple(states), tuple(edges))


def dot(graph: StateGraph, program: Program, sizes: Sizes, title: str) -> str:
    """The graph in DOT: a node says what differs from the first state, an edge what was done."""
    drawing = graphviz.Digraph(graph_attr={"label": graphviz.escape(printable(title)), "labelloc": "t"})
    drawing.attr("node", shape="box", fontname="sans-serif", fontsize="10", style="rounded")
    drawing.attr("edge", fontname="sans-serif", fontsize="9")
    first = nest(program.schema, graph.states[0], sizes)
    for number, state in enumerate(graph.states):
        found = changes(first, nest(program.schema, state, sizes))
        lines = [f"{path_text(change.path)} = {value_text(change.new)}" for change in found[:12]]
        lines += ["…"] if len(found) > 12 else []
        text = "\n".join([f"{number}", *lines] if number else ["0 (initial)"])
        drawing.node(str(number), graphviz.escape(text).replace("\n", r"\l") + r"\l", penwidth="1" if number else "2")
    for start, end, label in graph.edges:
        drawing.edge(str(start), str(end), label=graphviz.escape(printable(label, 60)))
    return str(drawing.source)
