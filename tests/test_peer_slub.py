"""The slab allocator's model and a naive machine written from the kernel's source must have the same states and steps.

The one idea: walk the lists of every state that the native engine reaches, which gives a state of the naive machine.
The two sets of states must be equal, and from each state the same actions with the same arguments and results must lead
to the same states. What the naive machine does not have (links, counters, flags) is compared with what follows from it.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang.ir import Schema
from kmemspec.model.lang.trace import nest
from kmemspec.proofs.explore import NativeMachine, explore, status
from kmemspec.specs.loading import load

sys.path.insert(0, str(Path(__file__).with_name("peers")))
naive_buddy: Any = importlib.import_module("naive_buddy")
naive_slub: Any = importlib.import_module("naive_slub")
spin_peer: Any = importlib.import_module("spin_peer")

MISSING = spin_peer.missing_tools()
needs_spin = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

Seen = tuple[str, tuple[int, ...], int, Any]
"""An action, its arguments, its result and the naive machine's state after it; -1 is None."""

SINGLES = "tiny,slots=1,oo_objects=1,min_objects=1"
SINGLES4 = f"{SINGLES},pages=4,cpus=1,min_partial=0,cpu_partial_slabs=3"
SINGLES_ORDERS = f"{SINGLES},pages=4,orders=3,cpus=1,min_partial=2"
NODES = "tiny,zones=2,nodes=2,start1=2,node1=1,pages=1,pages1=2,cpus=1,min_partial=0"
SHORT = "fallback,pages=3"
SEQUENCE = f"{SHORT},cpus=1,oo_objects=3,min_objects=2,known_random_seq=1"
SORTED = "tiny,pages=2,cpus=1,slots=3,oo_objects=3,min_objects=3"

# scope: states and steps
SCOPES = {
    "tiny": (1094, 12840),
    "tiny,min_partial=0,cpu_partial_slabs=0": (886, 10688),
    "tiny,min_partial=2": (1102, 12904),
    "tiny,pages=3,cpus=1": (3384, 23250),
    SORTED: (2426, 16010),
    "tiny,caches=2,cpus=1,min_partial=0": (615, 6724),
    SHORT: (338, 3724),
    f"{SHORT},pages=5,cpus=1,min_partial=0,cpu_partial_slabs=1": (433, 3053),
    SEQUENCE: (4416, 28110),
    SINGLES4: (501, 3076),
    SINGLES_ORDERS: (1076, 6400),
    NODES: (1892, 15978),
    f"{NODES},min_partial=1": (3084, 24764),
    f"{SINGLES},zones=2,nodes=2,start1=2,node1=1,pages1=1": (892, 11576),
}
SCOPES_LARGE = {
    "caches": (4653, 92984),
    "fallback": (1095, 12852),
    "fallback,pages=5": (9193, 114230),
    f"{NODES},pages=2": (18448, 169681),
}

# pages, objects, cpus, min_partial, cpu_partial_slabs: states, transitions, longest distance
PROMELA = {
    (2, 2, 2, 1, 2): (1095, 12852, 9),
    (2, 2, 1, 0, 0): (133, 868, 10),
    (3, 2, 1, 1, 2): (3403, 23359, 17),
    (2, 3, 1, 1, 2): (2427, 16024, 15),
}
PROMELA_LARGE = {
    (4, 1, 2, 0, 1): (3265, 39088, 11),
    (3, 2, 2, 1, 2): (29794, 390086, 14),
    (4, 2, 1, 0, 1): (11353, 94060, 18),
    (4, 2, 1, 1, 2): (50289, 383076, 23),
    (3, 3, 1, 1, 2): (125860, 955957, 23),
    (3, 3, 2, 1, 2): (1668955, 24006290, 19),
}

# what is wrong: a scope that shows it, the text of the naive machine, the text instead
MUTANTS = {
    "remote frees do not matter": ("tiny,min_partial=2", "elif remote:", "elif remote and not freelist:"),
    "the cpu's slots go last": ("tiny", "freelist=(*freelist, *remote)", "freelist=(*remote, *freelist)"),
    "a cpu slab is put last": ("tiny,pages=3,cpus=1", "elif freelist:\n            self.list_of(page).insert(0, page)",
                               "elif freelist:\n            self.list_of(page).append(page)"),
    "unfrozen slabs are discarded from the front": (SINGLES4, "in reversed(surplus)", "in surplus"),
    "unfrozen slabs are put first": (
        "tiny,pages=3,cpus=1", "            else:\n                self.list_of(page).append(page)",
        "            else:\n                self.list_of(page).insert(0, page)"),
    "one slab more is kept": ("tiny", "len(self.list_of(page)) >= ", "len(self.list_of(page)) > "),
    "a cpu keeps one slab more": (SINGLES4, ">= self.shape.cpu_partial_slabs", "> self.shape.cpu_partial_slabs"),
    "the drained slabs are kept too": (SINGLES4, "surplus, cpu.partial = cpu.partial, []\n        cpu.partial.insert",
                                       "surplus, cpu.partial = [], cpu.partial\n        cpu.partial.insert"),
    "a full slab is not unfrozen": ("tiny", "self.change(cpu.page, frozen=False)", "pass"),
    "half is all": ("tiny,pages=3,cpus=1", "self.shape.cpu_partial_slabs // 2", "0"),
    "a free goes last": ("tiny", "freelist=(slot, *before.freelist)", "freelist=(*before.freelist, slot)"),
    "a slab that was full goes to the node": ("tiny", "if not before.freelist:", "if False:"),
    "a slab on the node stays when empty": ("tiny,min_partial=0,cpu_partial_slabs=0",
                                            "elif self.is_empty(page) and self.has_enough(page):\n            self.l",
                                            "elif False:\n            self.l"),
    "shrink discards from the front": (SINGLES_ORDERS, "in reversed(empty)", "in empty"),
    "shrink keeps the order": ("tiny,pages=3,cpus=1", "in reversed(pages) if", "in pages if"),
    "shrink does not sort": (SORTED, "*sorted(promoted, key=free_slots.__getitem__)", "*promoted"),
    "no fallback to the least order": (SHORT, "in (self.shape.oo, self.shape.minimum)", "in (self.shape.oo,)"),
    "the sequence starts at its first": (SEQUENCE, "start in range(len(random_seq))", "start in range(1)"),
    "any sequence": (SEQUENCE, "if not random_seq:", "if True:"),
    "pages of one node only": (NODES, "[first, *(nid for nid in range(len(self.nodes)) if nid != first)]", "[first]"),
    "a node's name is ignored": (NODES, "self.shape.node_of(cpu.page) != node:", "False:"),
    "other nodes' last slabs are taken": (f"{NODES},min_partial=1",
                                          ") > self.shape.min_partial and", ") >= self.shape.min_partial and"),
    "other nodes are not asked": (NODES, "if node is None and defragment:", "if False:"),
    "shutdown goes on": (NODES, "        if left:\n            break", ""),
}


@functools.cache
def loaded() -> Any:
    return load("slub")


def sizes_of(scope: str) -> dict[str, int]:
    return loaded().spec.scope(scope)


def shape_of(sizes: Mapping[str, int]) -> Any:
    """What the naive machine calls a scope."""
    zones = [
        naive_buddy.Geometry(sizes[f"pages{zone or ''}"], sizes["orders"], sizes[f"start{zone or ''}"])
        for zone in range(sizes["zones"])
    ]
    assert [sizes[f"node{zone or ''}"] for zone in range(sizes["zones"])] == list(range(sizes["nodes"]))
    return naive_slub.Shape(
        nodes=tuple(zones),
        cpus=sizes["cpus"],
        caches=sizes["caches"],
        oo=(sizes["oo_order"], sizes["oo_objects"]),
        minimum=(sizes["min_order"], sizes["min_objects"]),
        min_partial=sizes["min_partial"],
        cpu_partial_slabs=sizes["cpu_partial_slabs"],
        known_random_seq=bool(sizes["known_random_seq"]),
    )


# --- a state of the model as one of the naive machine


def chain(first: int | None, following: Callable[[int], int | None], most: int) -> tuple[int, ...]:
    """A list of the machine, walked."""
    walked: list[int] = []
    while first is not None:
        assert len(walked) < most, walked
        walked.append(first)
        first = following(first)
    return tuple(walked)


FRAME = ("buddy", "order", "next", "prev", "refcount", "compound")
LISTS = (
    *(f"pages.memory.mem_map[].{name}" for name in FRAME), "pages.zone[].free_area", "pages.zone[].nr_free_pages",
    "slab", "freepointer", "nr_slab", "held", "kmem_cache[].random_seq", "kmem_cache[].cpu_slab", "kmem_cache[].node",
)  # fmt: skip
SLOTS = ("kmem_cache[].oo", "kmem_cache[].min.")
"""Where the leaves are that are read."""


class Reader:
    """Reads states of the model."""

    def __init__(self, schema: Schema, sizes: Mapping[str, int], paths: tuple[str, ...] = LISTS) -> None:
        self.sizes, self.shape = sizes, shape_of(sizes)
        self.schema = Schema(tuple(leaf for leaf in schema.leaves if leaf.path.startswith(paths)))
        starts = dict(zip(schema.leaves, schema.offsets(sizes), strict=True))
        self.places = [(starts[leaf], starts[leaf] + leaf.count(sizes)) for leaf in self.schema.leaves]
        self.state: Any = {}
        self.frames: Any = []
        self.slab: Any = []
        self.heads: list[int] = []

    def nested(self, flat: Sequence[int]) -> Any:
        """The part of a state that is read."""
        return nest(self.schema, [value for start, end in self.places for value in flat[start:end]], self.sizes)

    def linked(self, records: Any, first: int | None, last: int | None) -> tuple[int, ...]:
        """A list with links back and an end; no page of it is on another one that far."""
        pages = chain(first, lambda page: records[page]["next"], len(records))
        assert [records[page]["prev"] for page in pages] == [None, *pages][: len(pages)]
        assert last == (pages[-1] if pages else None)
        return pages

    def slots(self, page: int, first: int | None) -> tuple[int, ...]:
        """A freelist, all of whose objects are of the slab."""
        slots = self.sizes["slots"]
        objects = chain(first, lambda item: self.state["freepointer"][item], slots)
        assert all(item // slots == page for item in objects)
        return tuple(item % slots for item in objects)

    def node(self, nid: int) -> Any:
        zone, geometry = self.state["pages"]["zone"][nid], self.shape.nodes[nid]
        lists = tuple(
            self.linked(self.frames, area["free_list"][0]["first"], area["free_list"][0]["last"])
            for area in zone["free_area"]
        )
        assert [area["nr_free"] for area in zone["free_area"]] == list(map(len, lists))
        assert zone["nr_free_pages"] == sum(len(pages) << order for order, pages in enumerate(lists))
        assert all(self.frames[page]["order"] == order for order, pages in enumerate(lists) for page in pages)
        held = tuple((page, self.frames[page]["compound"] or 0) for page in self.heads if geometry.contains(page))
        return lists, held

    def read_slab(self, page: int) -> Any:
        slab, slots = self.slab[page], self.sizes["slots"]
        freelist = self.slots(page, slab["freelist"])
        held = self.state["held"][page * slots : (page + 1) * slots]
        assert set(held) <= {None, slab["slab_cache"]}
        assert slab["inuse"] == slab["objects"] - len(freelist)
        assert self.frames[page]["refcount"] == 1
        assert not self.frames[page]["buddy"]
        return naive_slub.Slab(
            slab["slab_cache"],
            self.frames[page]["compound"] or 0,
            slab["objects"],
            freelist,
            frozenset(slot for slot, holder in enumerate(held) if holder is not None),
            slab["frozen"],
        )

    def cpu(self, cpu: Any) -> Any:
        partial = chain(cpu["partial"], lambda page: self.slab[page]["next"], len(self.slab))
        assert [self.slab[page]["slabs"] for page in partial] == list(range(len(partial), 0, -1))
        assert cpu["slab"] is not None or cpu["freelist"] is None
        return naive_slub.Cpu(cpu["slab"], self.slots(cpu["slab"], cpu["freelist"]), partial)

    def cache(self, number: int) -> Any:
        cache, partial = self.state["kmem_cache"][number], []
        for nid, node in enumerate(cache["node"]):
            pages = self.linked(self.slab, node["first"], node["last"])
            mine = [
                self.slab[page]
                for page in self.heads
                if self.slab[page]["slab_cache"] == number and self.shape.node_of(page) == nid
            ]
            assert node["nr_partial"] == len(pages)
            assert node["nr_slabs"] == len(mine)
            assert node["total_objects"] == sum(slab["objects"] for slab in mine)
            partial.append(pages)
        random_seq = tuple(slot for slot in cache["random_seq"] if slot is not None)
        return naive_slub.Cache(random_seq, tuple(map(self.cpu, cache["cpu_slab"])), tuple(partial))

    def read(self, flat: Sequence[int]) -> Any:
        self.state = self.nested(flat)
        self.frames, self.slab = self.state["pages"]["memory"]["mem_map"], self.state["slab"]
        self.heads = [page for page, slab in enumerate(self.slab) if slab["slab_cache"] is not None]
        slots = self.sizes["slots"]
        assert all(holder is None or item // slots in self.heads for item, holder in enumerate(self.state["held"]))
        assert self.state["nr_slab"] == sum(1 << (self.frames[page]["compound"] or 0) for page in self.heads)
        return naive_slub.State(
            tuple(map(self.node, range(self.sizes["nodes"]))),
            tuple((page, self.read_slab(page)) for page in self.heads),
            tuple(map(self.cache, range(self.sizes["caches"]))),
        )


def slots_are_the_first(state: Any) -> bool:
    """Which slots a slab has is a choice of the initial state, so that slots are interchangeable; take the kernel's."""
    return all(
        kind["has"] == [slot < kind["objects"] for slot in range(len(kind["has"]))]
        for cache in state["kmem_cache"]
        for kind in (cache["oo"], cache["min"])
    )


# --- comparison


def encoded(step: Any, slots: int) -> Seen:
    """A step of the naive machine with numbers as the native engine has them; -1 is None."""
    result = step.result
    if isinstance(result, tuple):
        result = result[0] * slots + result[1]
    arguments = tuple(-1 if value is None else value for value in step.arguments)
    return step.action, arguments, -1 if result is None else int(result), step.state


class Model:
    """The real model, its states seen as those of the naive machine."""

    def __init__(self, scope: str) -> None:
        self.program, self.sizes = loaded().program, sizes_of(scope)
        self.machine = NativeMachine(self.program, self.sizes)
        self.reader = Reader(self.program.schema, self.sizes)
        self.projected: dict[bytes, Any] = {}

    def project(self, words: bytes) -> Any:
        if words not in self.projected:
            self.projected[words] = self.reader.read(self.machine.layout.unpack(words))
        return self.projected[words]

    def initial(self) -> set[bytes]:
        pack = self.machine.layout.pack
        every = [step.state for step in self.machine.initial_states()]
        reader = Reader(self.program.schema, self.sizes, SLOTS)
        return {pack(flat) for flat in every if slots_are_the_first(reader.nested(flat))}

    def steps(self, words: bytes) -> dict[Seen, bytes]:
        """Every step out of a state, and the packed state after it; all of them are defined."""
        found = {}
        for action, arguments, step in self.machine.raw_transitions(words):
            assert step.status == status.OK, (action, arguments, self.machine.failure(step.status))
            name, returns = self.program.actions[action].name, self.program.actions[action].returns
            key = name, arguments, -1 if returns is None else step.result, self.project(step.words)
            found[key] = step.words
        return found

    def graph(self) -> dict[Any, set[Seen]]:
        """Every reachable state with its steps. States that look alike here must take the same steps."""
        found: dict[Any, set[Seen]] = {}
        level = self.initial()
        seen = set(level)
        while level:
            following = set()
            for words in level:
                steps = self.steps(words)
                assert found.setdefault(self.project(words), set(steps)) == steps.keys()
                following.update(steps.values())
            level = following - seen
            seen |= level
        return found


@functools.cache
def model_graph(scope: str) -> dict[Any, set[Seen]]:
    return Model(scope).graph()


def steps_of(machine: Any, scope: str, state: Any) -> set[Seen]:
    """What a naive machine does in a state."""
    sizes = sizes_of(scope)
    return {encoded(step, sizes["slots"]) for step in machine.successors(shape_of(sizes), state, sizes["slots"])}


def assert_same(scope: str, known: tuple[int, int]) -> None:
    sizes = sizes_of(scope)
    ours, theirs = model_graph(scope), naive_slub.search(shape_of(sizes), sizes["slots"])
    assert set(naive_slub.initial_states(shape_of(sizes))) <= ours.keys()
    for state in ours.keys() & theirs.keys():
        expected = {encoded(step, sizes["slots"]) for step in theirs[state]}
        assert ours[state] == expected, (state, ours[state] - expected, expected - ours[state])
    assert ours.keys() == theirs.keys()
    assert (len(theirs), sum(map(len, theirs.values()))) == known


@pytest.mark.parametrize(
    "scope",
    [pytest.param(one, marks=pytest.mark.slow if number >= 4 else ()) for number, one in enumerate(SCOPES)],
)
def test_model_and_naive_machine_have_the_same_states_and_steps(scope: str) -> None:
    assert_same(scope, SCOPES[scope])


@pytest.mark.slow
@pytest.mark.parametrize("scope", SCOPES_LARGE)
def test_large_scopes_agree(scope: str) -> None:
    assert_same(scope, SCOPES_LARGE[scope])
    model_graph.cache_clear()


@pytest.mark.parametrize("scope", [*SCOPES, *SCOPES_LARGE])
def test_the_search_finds_the_known_number_of_states(scope: str) -> None:
    """With what it adds: which slots the slabs of a cache have is a choice there."""
    sizes = sizes_of(scope)
    choices = comb(sizes["slots"], sizes["oo_objects"]) * comb(sizes["oo_objects"], sizes["min_objects"])
    found = explore(loaded().program, sizes, symmetry=False, stop_at_first=False)
    assert found.complete
    assert found.states == (SCOPES | SCOPES_LARGE)[scope][0] * choices ** sizes["caches"]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_of_the_naive_machine_is_told_from_the_model(mutant: str, monkeypatch: Any) -> None:
    scope, found, instead = MUTANTS[mutant]
    text = Path(naive_slub.__file__).read_text()
    assert text.count(found) == 1
    changed = types.ModuleType("mutant")
    monkeypatch.setitem(sys.modules, "mutant", changed)
    exec(compile(text.replace(found, instead), mutant, "exec"), changed.__dict__)
    assert any(steps_of(changed, scope, state) != steps for state, steps in model_graph(scope).items())


# --- Promela


def promela_scope(pages: int, objects: int, cpus: int, min_partial: int, cpu_partial_slabs: int) -> str:
    return (
        f"pages={pages},orders=1,pageblock_order=0,slots={objects},oo_objects={objects},min_objects={objects},"
        f"cpus={cpus},min_partial={min_partial},cpu_partial_slabs={cpu_partial_slabs}"
    )


def promela_counts(sizes: tuple[int, ...], directory: Path) -> tuple[int, int, int]:
    """What Spin finds for the Promela model, breadth first."""
    names = ("OBJECTS", "CPUS", "MIN_PARTIAL", "CPU_PARTIAL_SLABS")
    defines = "".join(f"#define {name} {value}\n" for name, value in zip(names, sizes[1:], strict=True))
    text = defines + Path(naive_slub.__file__).with_name("slub.pml").read_text()
    found = spin_peer.count_states(spin_peer.Build(sizes[0], 1, breadth_first=True), directory, text)
    return found.states, found.transitions, found.depth


def native_counts(scope: str) -> tuple[int, int, int]:
    found = explore(loaded().program, sizes_of(scope), symmetry=False, stop_at_first=False)
    assert found.complete
    return found.states, found.transitions, found.depth


@needs_spin
@pytest.mark.parametrize("sizes", PROMELA)
def test_spin_the_naive_machine_and_the_model_have_the_same_counts(sizes: tuple[int, ...], tmp_path: Path) -> None:
    assert promela_counts(sizes, tmp_path) == native_counts(promela_scope(*sizes)) == PROMELA[sizes]
    shape = shape_of(sizes_of(promela_scope(*sizes)))
    found = naive_slub.search(shape, sizes[1])
    assert (len(found), sum(map(len, found.values()))) == PROMELA[sizes][:2]


@pytest.mark.slow
@needs_spin
@pytest.mark.parametrize("sizes", PROMELA_LARGE)
def test_spin_and_the_model_have_the_same_counts(sizes: tuple[int, ...], tmp_path: Path) -> None:
    assert promela_counts(sizes, tmp_path) == native_counts(promela_scope(*sizes)) == PROMELA_LARGE[sizes]
