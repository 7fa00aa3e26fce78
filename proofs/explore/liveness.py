"""Leads-to properties on the finished search: is there a run in which something is due for ever?

The one idea: a run that breaks `when` leads to `then` is, from some state on, one that stays for ever in the *pending*
part of the graph: the states reached from one with `when` and not `then` through states without `then`. The states
that it visits again and again, and the steps that it takes again and again, are strongly connected and without the
steps of actions that stop (`quiet`); before that it may take any. So it is enough to look at the strongly connected
components of the pending part without quiet steps, a state without steps being one as well, since a run may stand
still. Such a component C holds a run that counts exactly if each fair instance (an action with its arguments; of a
property without `fair` all that are not quiet, together) is disabled in some state of C or taken by some step within C:

* if so, the run that goes round all of C for ever is fair, and if C is one state, standing still there or taking its
  steps to itself is;
* if a run stays in C' ⊆ C at the end, an instance that is enabled in all of C and taken nowhere in C is so in C', and
  the run is not fair to it. Weak fairness asks for less the more a run visits, so no part of C need be looked at.

That is linear in the pending part: one pass to find it (breadth first, for short stems), Tarjan's algorithm, one pass
for fairness. A step that changes nothing is an edge as others are. An action that fails is enabled and has no step.

*Symmetry.* In a reduced search a state r stands for all g·r. A node is a pair (r, e), e the elements that the property
is about, and an edge remembers the renaming π by which the successor t of r became r' = π·t: it leads to (r', π·e). The
pair stands for (g·r, g·e), every g; as `when` and `then` are checked to be symmetric, they hold in the pair as they do
in what it stands for. From (g·r, g·e) the step leads to (g·t, g·e) = (h·r', h·π·e) with h = g·π⁻¹: a path of pairs is a
path of the machine, for each g, and every path of the machine is found this way. So the pending part is the right one,
and a component D of pairs is what components C of the machine become (they are renamings of each other: a way back to
(r, e) that ends in (h·r, h·e), gone as many times as h has an order, ends in (r, e)). An instance i of C, seen from a
pair in D, is an instance of r that an edge renames by π as well. Follow i along the edges within D, both ways: the
pairs of a node and an instance so connected are those at which C is, as it goes round, when i is looked at. Hence i is
disabled or taken in C exactly if it is in one of them: a union-find over nodes and instances instead of one pass over
components. Where renamings leave every fair instance alone, they are not needed.
"""

from __future__ import annotations

import ctypes
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...model.lang.errors import ScopeError
from ...model.lang.ir import NONE, IntegerType, LeadsToIR, LeafType, Return
from ...model.lang.lasso import LEADS_TO, NEVER_COMES, UNDEFINED
from ...model.lang.symmetry import Images
from ...model.lang.trace import FlatStep, Trace, Violation, to_plain
from . import context as shared
from . import status
from .counterexample import Rebuilder, trace_of
from .liveness_code import FAIRNESS_SLOTS, TARGET_BITS
from .machine import NativeMachine
from .memory import Block
from .store import StateStore

ELEMENTS_MAX = 4096
INSTANCES_MAX = 4096
_NODES_MAX = (1 << 32) - 2
_LABEL_MAX = 1 << (64 - TARGET_BITS)
_STATES_A_CALL = 1 << 14
_NODES_A_CALL = 1 << 12
_FIRST_EDGES = 1 << 16
_CLOSING_MAX = 200_000

Tick = Callable[[], str]
"""Called now and then; why to stop, or ''."""


@dataclass(frozen=True)
class LeadsAnswer:
    """What became of one leads-to: a trace, or why it is not decided, or neither. `vacuous`: nothing is ever due.
    `renamed`: elements or fair instances were followed through renamings."""

    trace: Trace | None = None
    reason: str = ""
    vacuous: bool = False
    renamed: bool = False


class StoppedError(Exception):
    """The property is left undecided, for the reason given."""


def judge(machine: NativeMachine, store: StateStore, index: int, spec: str, engine: str, tick: Tick) -> LeadsAnswer:
    """One leads-to, on the states of a complete search."""
    search = LeadsSearch(machine, store, index, tick)
    try:
        return search.answer(spec, engine)
    except StoppedError as stopped:
        return LeadsAnswer(reason=str(stopped))
    except (MemoryError, OSError):
        return LeadsAnswer(reason="there is not enough memory for the graph of the leads-to")
    finally:
        search.release()


# --- elements, instances and renamings -------------------------------------------------------------------------


Renaming = tuple[tuple[int, ...], ...]
"""The images of the elements of each symmetric sort."""


def over(left: Renaming, right: Renaming) -> Renaming:
    """left · right⁻¹: what takes the image of an element under `right` to its image under `left`."""
    result = []
    for outer, inner in zip(left, right, strict=True):
        images = [0] * len(inner)
        for element, image in enumerate(inner):
            images[image] = outer[element]
        result.append(tuple(images))
    return tuple(result)


class Renamings:
    """What the renamings of a reduced search do to elements and to fair instances; without symmetry there is one, which
    does nothing. `chosen` are those that a step can lead to its representative by."""

    def __init__(self, machine: NativeMachine, instances: Sequence[tuple[int, tuple[int, ...]]], grouped: bool) -> None:
        self.machine = machine
        self.symmetry = machine.symmetry.symmetry if machine.symmetry else None
        self.names = tuple(self.symmetry.counts) if self.symmetry else ()
        acting = machine.symmetry.acting if machine.symmetry else ()
        self.identity = tuple(tuple(range(self.symmetry.counts[name])) for name in self.names) if self.symmetry else ()
        self.chosen = [self.identity, *(tuple(images[name] for name in self.names) for images in acting)]
        self._instances = instances
        self._grouped = grouped
        self._numbers = {instance: number for number, instance in enumerate(instances)}
        self._fair: dict[Renaming, tuple[int, ...]] = {}

    def images(self, renaming: Renaming) -> Images:
        return dict(zip(self.names, renaming, strict=True))

    def value(self, value: int, type_: LeafType, renaming: Renaming) -> int:
        """What a value of a type becomes."""
        if self.symmetry is None or value == NONE or not isinstance(type_, IntegerType) or type_.labels:
            return value
        images = self.symmetry.images(type_.sort, self.images(renaming))
        return value if images is None else images[value]

    def values(self, values: Sequence[int], types: Sequence[LeafType], renaming: Renaming) -> tuple[int, ...]:
        return tuple(self.value(value, type_, renaming) for value, type_ in zip(values, types, strict=True))

    def fair(self, renaming: Renaming) -> tuple[int, ...]:
        """What each fair instance becomes."""
        if renaming not in self._fair:
            actions = self.machine.program.actions
            self._fair[renaming] = (0,) if self._grouped else tuple(
                self._numbers[action, self.values(given, [p.type for p in actions[action].parameters], renaming)]
                for action, given in self._instances
            )
        return self._fair[renaming]

    def after(self, renaming: Renaming, chosen: int) -> Renaming:
        """The g of the successor (see the module): g · π⁻¹."""
        return over(renaming, self.chosen[chosen]) if chosen else renaming

    def state(self, words: bytes, renaming: Renaming) -> bytes:
        """A packed state under a renaming."""
        if self.machine.symmetry is None or renaming == self.identity:
            return words
        return self.machine.symmetry.rename(words, self.images(renaming))


class Fairness:
    """The fair instances of a property by number, and what code is told of each action."""

    def __init__(self, machine: NativeMachine, leads: LeadsToIR) -> None:
        self.bounds = machine.bounds
        self.grouped = leads.fair is None
        self.instances: list[tuple[int, tuple[int, ...]]] = []
        self.table: list[int] = []
        for number, action in enumerate(machine.program.actions):
            quiet = action.name in leads.quiet
            if leads.fair is None:
                self.table += [-1 if quiet else 0, 0, int(quiet)]
            elif action.name in leads.fair:
                self.table += [len(self.instances), 1, 0]
                for values in machine.argument_tuples(number):
                    self.instances.append((number, values))
                    if len(self.instances) > INSTANCES_MAX:
                        message = f"{leads.identifier} makes more than {INSTANCES_MAX} steps fair"
                        raise ScopeError(message, "choose a smaller scope")
            else:
                self.table += [-1, 0, int(quiet)]
        self.count = 1 if self.grouped else len(self.instances)
        self.words = max(1, -(-self.count // 64))

    def number(self, action: int, arguments: Sequence[int]) -> int:
        """The number of an instance, -1 if it is not fair."""
        base, stride, _ = self.table[FAIRNESS_SLOTS * action : FAIRNESS_SLOTS * (action + 1)]
        instance = 0
        for value, (low, high) in zip(arguments, self.bounds[action], strict=True):
            instance = instance * (high - low + 1) + value - low
        return base + stride * instance if base >= 0 else -1

    def is_quiet(self, action: int) -> bool:
        return bool(self.table[FAIRNESS_SLOTS * action + 2])


# --- the search ------------------------------------------------------------------------------------------------


class LeadsSearch:
    """One leads-to on the states of one search."""

    def __init__(self, machine: NativeMachine, store: StateStore, index: int, tick: Tick) -> None:
        self.machine, self.store, self.index, self.tick = machine, store, index, tick
        self.leads = machine.program.liveness[index]
        self.blocks: dict[str, Block] = {}
        self.fairness = Fairness(machine, self.leads)
        self.renamings = Renamings(machine, self.fairness.instances, self.fairness.grouped)
        self.elements = self._elements()
        self.nodes = store.count() * len(self.elements)

    def _elements(self) -> list[tuple[int, ...]]:
        ranges = []
        for parameter in self.leads.parameters:
            low, high = parameter.type.bounds(self.machine.sizes)
            ranges.append(range(low, high + 1))
        elements = list(itertools.islice(itertools.product(*ranges), ELEMENTS_MAX + 1))
        if len(elements) > ELEMENTS_MAX:
            message = f"{self.leads.identifier} is about more than {ELEMENTS_MAX} combinations of elements"
            raise ScopeError(message, "choose a smaller scope")
        return elements

    def release(self) -> None:
        """Give the memory back."""
        for block in self.blocks.values():
            block.release()
        self.blocks.clear()

    def answer(self, spec: str, engine: str) -> LeadsAnswer:
        """Judge the property."""
        if not self.elements:
            return LeadsAnswer(vacuous=True)
        self._prepare()
        failed = self._label()
        if failed is not None:
            return LeadsAnswer(replace(self._undefined(*failed, spec, engine), shortest=True))
        self._run("leads_begin", self.nodes)
        if not self.machine.get("when_nodes"):
            return LeadsAnswer(vacuous=True)
        self._expand()
        entry = self._judged() if self.machine.get("pending_nodes") else -1
        if entry < 0:
            return LeadsAnswer(renamed=self.renames_elements() or self.renames_fair())
        return LeadsAnswer(Lasso(self).trace(entry, spec, engine))

    def renames_elements(self) -> bool:
        """Whether some renaming changes an element."""
        types = [parameter.type for parameter in self.leads.parameters]
        return any(self.renamings.values(values, types, one) != values
                   for one in self.renamings.chosen for values in self.elements)

    def renames_fair(self) -> bool:
        """Whether some renaming changes a fair instance."""
        return any(self.renamings.fair(one) != self.renamings.fair(self.renamings.identity)
                   for one in self.renamings.chosen)

    # --- memory

    def _block(self, name: str, size: int) -> None:
        """Room for an array of the context; what is not written takes no memory."""
        if name in self.blocks:
            self.blocks.pop(name).release()
        self.blocks[name] = Block(max(8, size))
        self.machine.set(name, self.blocks[name].address)

    def _table(self, name: str, values: Sequence[int]) -> None:
        self._block(name, 8 * len(values))
        ctypes.memmove(self.blocks[name].address, (ctypes.c_int64 * len(values))(*values), 8 * len(values))

    def _prepare(self) -> None:
        machine, count = self.machine, self.nodes
        if count > _NODES_MAX:
            raise StoppedError(f"the graph of the leads-to has more than {_NODES_MAX:,} nodes")
        if (self.fairness.count + 1) * len(self.renamings.chosen) >= _LABEL_MAX:
            raise StoppedError("the graph of the leads-to has too many fair steps and renamings; use --no-symmetry")
        machine.set("strict", int(machine.symmetry is not None))
        names = {"elements": len(self.elements), "fair_words": self.fairness.words, "fair_count": self.fairness.count}
        for name in ("pending_nodes", "pended", "edge_count", "edges_full", "when_nodes", "component_count"):
            names[name] = 0
        for name, value in names.items():
            machine.set(name, value)
        self._table("element_values", [value for values in self.elements for value in values])
        self._table("fairness", self.fairness.table)
        numbers = {values: number for number, values in enumerate(self.elements)}
        types = [parameter.type for parameter in self.leads.parameters]
        chosen = self.renamings.chosen
        self._table(
            "element_images",
            [numbers[self.renamings.values(values, types, one)] for one in chosen for values in self.elements],
        )
        self._table("fair_images", [image for one in chosen for image in self.renamings.fair(one)])
        self._charge(5 * count)
        self._block("labels", count)
        for name, size in {"places": 4, "nodes": 4, "origins": 4, "vias": 4}.items():
            self._block(name, size * count)
        self._block("starts", 8 * (count + 1))
        self._block("enabled", 8 * self.fairness.words * count)
        self._set_edges(_FIRST_EDGES)

    def _set_edges(self, room: int) -> None:
        """A (larger) array for the edges, with those that there are."""
        old = self.blocks.pop("edges", None)
        count = self.machine.get("edge_count")
        self._block("edges", 8 * room)
        if old is not None:
            ctypes.memmove(self.blocks["edges"].address, old.address, 8 * count)
            old.release()
        self.machine.set("edges_room", room)

    def _charge(self, size: int) -> None:
        """Stop when the arrays would take more than the search may have."""
        if self.store.bytes + size > self.store.limit:
            limit = f"{self.store.limit / (1 << 20):,.0f} MiB"
            raise StoppedError(f"memory limit of {limit}, for the graph of the leads-to")

    def _charge_graph(self, more: int = 0) -> None:
        pending, edges = self.machine.get("pending_nodes"), self.machine.get("edges_room")
        self._charge(5 * self.nodes + (20 + 8 * self.fairness.words) * pending + 8 * edges + more)

    # --- phases

    def _ticked(self) -> None:
        reason = self.tick()
        if reason:
            raise StoppedError(reason)

    def _run(self, function: str, count: int) -> None:
        """A function over all states or nodes, in parts."""
        for start in range(0, count, _STATES_A_CALL):
            self.machine.call(function, start, min(count, start + _STATES_A_CALL))
            self._ticked()

    def _label(self) -> tuple[int, int] | None:
        """What holds in each node; a node in which the property fails, and the status of that."""
        for start in range(0, self.store.count(), _STATES_A_CALL):
            stop = min(self.store.count(), start + _STATES_A_CALL)
            code = self.machine.call("leads_label", self.index, start, stop)
            if code != status.OK:
                return self.machine.get("result"), code
            self._ticked()
        return None

    def _expand(self) -> None:
        while True:
            answer = self.machine.call("leads_expand", _NODES_A_CALL)
            self._charge_graph()
            if answer == 1:
                return
            if answer == 2:
                room = 2 * self.machine.get("edges_room")
                self._charge_graph(8 * room)
                self._set_edges(room)
            self._ticked()

    def _judged(self) -> int:
        """The first pending node of a component with a run that counts, -1 if there is none."""
        machine, count = self.machine, self.machine.get("pending_nodes")
        self._charge_graph(28 * count)
        self._block("components", 4 * count)
        self._block("scratch", 16 * count)
        self._block("cursors", 8 * count)
        machine.call("leads_components")
        self._ticked()
        if not self.renames_fair():
            size = 8 * self.fairness.words * machine.get("component_count")
            self._charge_graph(4 * count + size)
            self._block("scratch", size)
            ctypes.memset(self.blocks["scratch"].address, 0xFF, size)
            return machine.call("leads_judge")
        pairs = count * self.fairness.count
        if pairs > _NODES_MAX:
            raise StoppedError(f"the graph of the leads-to has {pairs:,} pairs of a node and a fair step")
        self._charge_graph(4 * count + 5 * pairs)
        self._block("scratch", 4 * pairs)
        self._block("cursors", pairs)
        return machine.call("leads_judge_renamed")

    # --- a property that cannot be evaluated

    def _undefined(self, node: int, code: int, spec: str, engine: str) -> Trace:
        number, element = divmod(node, len(self.elements))
        rebuilder = Rebuilder(self.machine, self.store)
        steps = rebuilder.steps(rebuilder.states_to(number))
        failure = self.machine.failure(code)
        position = str(self.machine.program.positions[failure.where])
        message = failure.message or f"{failure.kind.value} while evaluating {self.leads.name}"
        elements = self.named(self.elements[element])
        violation = Violation(self.leads.identifier, UNDEFINED, LEADS_TO, elements, message, position)
        return trace_of(self.machine, steps, violation, spec, engine, shortest=True)

    def named(self, values: Sequence[int]) -> tuple[tuple[str, int], ...]:
        """Elements with the names of their sorts."""
        return tuple(
            (getattr(parameter.type, "sort", None) or parameter.name, value)
            for parameter, value in zip(self.leads.parameters, values, strict=True)
        )


# --- the lasso -------------------------------------------------------------------------------------------------

Place = tuple[int, Renaming]
"""A pending node, and the g by which its state is renamed to the real one."""


@dataclass(frozen=True)
class Edge:
    """A step to a place: the fair instance it is a step of, in the real state's terms (-1: none)."""

    to: Place
    fair: int


class Lasso:
    """Finds a run that breaks a leads-to: to the component, and round in it until all is fair."""

    def __init__(self, search: LeadsSearch) -> None:
        self.search = search
        self.machine, self.store, self.renamings = search.machine, search.store, search.renamings
        self.count = self.machine.get("pending_nodes")
        self.nodes, self.origins, self.vias, self.components = (
            (ctypes.c_uint32 * self.count).from_address(self.machine.get(name))
            for name in ("nodes", "origins", "vias", "components")
        )
        self.starts = (ctypes.c_int64 * (self.count + 1)).from_address(self.machine.get("starts"))
        edges = self.machine.get("edge_count")
        self.edges = (ctypes.c_uint64 * edges).from_address(self.machine.get("edges"))
        words = search.fairness.words
        self.enabled = (ctypes.c_uint64 * (words * self.count)).from_address(self.machine.get("enabled"))

    def trace(self, entry: int, spec: str, engine: str) -> Trace:
        """The run that enters its component at a pending node."""
        rebuilder = Rebuilder(self.machine, self.store)
        chain = [entry]
        while self.origins[chain[-1]] != shared.NO_PARENT:
            chain.append(self.origins[chain[-1]])
        chain.reverse()
        number, element = divmod(self.nodes[chain[0]], len(self.search.elements))
        places: list[Place] = [(chain[0], self.renamings.identity)]
        for node in chain[1:]:
            places.append((node, self.renamings.after(places[-1][1], self.vias[node])))
        states = rebuilder.states_to(number)
        steps = rebuilder.steps([*states, *(self.state(place) for place in places[1:])])
        loop = len(steps) - 1
        before, cycle = self.state(places[-1]), self.cycle(places[-1])
        for edge in cycle:
            after = self.state(edge.to)
            steps.append(rebuilder.between(before, after, self.allowed(edge)))
            before = after
        trace = self._trace(steps, loop, element, spec, engine)
        return replace(trace, notes=self.notes(loop, places[-1], cycle))

    def notes(self, loop: int, entry: Place, cycle: Sequence[Edge]) -> tuple[str, ...]:
        """Why the run counts: for each fair instance the step of the loop that takes it, or a state without it."""
        if self.search.fairness.grouped:
            return () if cycle else ("the run stands still: no action is possible there, or only such as stop",)
        missing = [self.missing(entry), *(self.missing(edge.to) for edge in cycle)]
        words: dict[str, list[str]] = {}
        for number, (action, arguments) in enumerate(self.search.fairness.instances):
            taken = next((step for step, edge in enumerate(cycle, loop + 1) if edge.fair == number), None)
            state = next((state for state, without in enumerate(missing, loop) if number in without), None)
            why = f"impossible in state {state}" if taken is None else f"taken in step {taken}"
            words.setdefault(why, []).append(self.instance_text(action, arguments))
        said = [f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {why}"
                for why, names in words.items()]
        return (f"the run is fair: {'; '.join(said)}",)

    def instance_text(self, action: int, arguments: Sequence[int]) -> str:
        """`end_writeback(page=1)`."""
        declared = self.machine.program.actions[action]
        given = (
            f"{parameter.name}={to_plain(value, parameter.type)}"
            for parameter, value in zip(declared.parameters, arguments, strict=True)
        )
        return f"{declared.name}({', '.join(given)})"

    def _trace(self, steps: list[FlatStep], loop: int, element: int, spec: str, engine: str) -> Trace:
        leads, program = self.search.leads, self.machine.program
        wheres = [
            getattr(block.terminator.value, "where", 0)
            for block in program.functions[leads.function].blocks
            if isinstance(block.terminator, Return)
        ]
        elements = self.search.named(self.search.elements[element])
        message = f"{leads.name}, {leads.runs_text()}"
        position = str(program.positions[wheres[0]])
        violation = Violation(leads.identifier, NEVER_COMES, LEADS_TO, elements, message, position)
        trace = trace_of(self.machine, steps, violation, spec, engine, shortest=False)
        return replace(trace, loop=loop)

    def state(self, place: Place) -> bytes:
        """The real state at a place."""
        node, renaming = place
        return self.renamings.state(self.store.words(self.nodes[node] // len(self.search.elements)), renaming)

    def allowed(self, edge: Edge) -> Callable[[int, tuple[int, ...]], bool]:
        """Whether an action is one that may take a step of the loop."""
        fairness = self.search.fairness
        return lambda action, arguments: (
            not fairness.is_quiet(action) and fairness.number(action, arguments) == edge.fair
        )

    # --- the loop

    def cycle(self, start: Place) -> list[Edge]:
        """The steps from a place back to itself, none if the run may stand still there."""
        need = set(range(self.search.fairness.count)) - self.missing(start)
        path: list[Edge] = []
        at = start

        def helps(edge: Edge) -> bool:
            return edge.fair in need or bool(need & self.missing(edge.to))

        while need:
            found = self.nearest(at, helps)
            assert found is not None, "a fair step of a component was not found again"
            for edge in found:
                need -= {edge.fair} | self.missing(edge.to)
            path += found
            at = path[-1].to
        return path if at == start else self.closed(start, path)

    def closed(self, start: Place, path: list[Edge]) -> list[Edge]:
        """The path, and then back to where it began."""
        at = path[-1].to
        found = self.nearest(at, lambda edge: edge.to == start, _CLOSING_MAX)
        if found is not None:
            return path + found
        # Too far: back to a renaming of the start, and then all of it again until the renamings cancel.
        if at[0] != start[0]:
            back = self.nearest(at, lambda edge: edge.to[0] == start[0], by_node=True)
            assert back is not None, "the way back in a component was not found again"
            path = path + back
        once = list(path)
        while path[-1].to != start:
            shift = over(path[-1].to[1], start[1])
            path += [self._shifted(edge, shift) for edge in once]
        return path

    def _shifted(self, edge: Edge, shift: Renaming) -> Edge:
        """The edge that a renaming makes of an edge."""
        node, renaming = edge.to
        fair = edge.fair if edge.fair < 0 else self.renamings.fair(shift)[edge.fair]
        composed = tuple(
            tuple(outer[element] for element in inner) for inner, outer in zip(renaming, shift, strict=True)
        )
        return Edge((node, composed), fair)

    def missing(self, place: Place) -> set[int]:
        """The fair instances that are not enabled at a place."""
        node, renaming = place
        words = self.search.fairness.words
        images = self.renamings.fair(renaming)
        return {
            images[number]
            for number in range(self.search.fairness.count)
            if not self.enabled[node * words + number // 64] >> (number % 64) & 1
        }

    def leaving(self, place: Place) -> Iterator[Edge]:
        """The steps from a place within its component."""
        node, renaming = place
        choices = len(self.renamings.chosen)
        for number in range(self.starts[node], self.starts[node + 1]):
            edge = self.edges[number]
            target = edge & ((1 << TARGET_BITS) - 1)
            if self.components[target] == self.components[node]:
                fair, chosen = divmod(edge >> TARGET_BITS, choices)
                real = self.renamings.fair(renaming)[fair - 1] if fair else -1
                yield Edge((target, self.renamings.after(renaming, chosen)), real)

    def nearest(
        self, start: Place, goal: Callable[[Edge], bool], most: int | None = None, by_node: bool = False
    ) -> list[Edge] | None:
        """A shortest path within the component whose last edge is a goal, if there is one among so many places."""

        def key(place: Place) -> object:
            return place[0] if by_node else place

        came: dict[object, tuple[Place, Edge] | None] = {key(start): None}
        waiting = deque([start])
        while waiting and (most is None or len(came) <= most):
            at = waiting.popleft()
            for edge in self.leaving(at):
                if goal(edge):
                    path = [edge]
                    while (step := came[key(at)]) is not None:
                        at, last = step
                        path.append(last)
                    return path[::-1]
                if key(edge.to) not in came:
                    came[key(edge.to)] = (at, edge)
                    waiting.append(edge.to)
        return None

