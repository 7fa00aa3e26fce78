"""A naive machine of the slab allocator, to be searched breadth first: it shares nothing with the checker's model.

The one idea: a representation in which lists are tuples and every counter is a length. A slab is the tuple of its
free slots and the set of its held ones; links, inuse, nr_partial, nr_slabs, tids and reference counts do not exist
here; in the machine they follow from these. Pages come from naive_buddy.py, one such machine a node.
Models: Linux 6.1 mm/slub.c without debugging, CONFIG_SLUB_CPU_PARTIAL, operations one after the other.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import naive_buddy

Slots = tuple[int, ...]
Pages = tuple[int, ...]


class Slab(NamedTuple):
    """`held` are the slots that clients have; a slot neither held nor in `freelist` is on a cpu's freelist."""

    cache: int
    order: int
    objects: int
    freelist: Slots
    held: frozenset[int]
    frozen: bool


class Cpu(NamedTuple):
    """kmem_cache_cpu: `freelist` are slots of the slab at `page`."""

    page: int | None
    freelist: Slots
    partial: Pages


class Cache(NamedTuple):
    """`random_seq` is empty if any order of a new freelist is possible."""

    random_seq: Slots
    cpus: tuple[Cpu, ...]
    partial: tuple[Pages, ...]


class State(NamedTuple):
    nodes: tuple[naive_buddy.State, ...]
    slabs: tuple[tuple[int, Slab], ...]
    caches: tuple[Cache, ...]


class Step(NamedTuple):
    """What one action does: its name, arguments and result, and the state after it."""

    action: str
    arguments: tuple[int | None, ...]
    result: tuple[int, int] | bool | None
    state: State


@dataclass(frozen=True)
class Shape:
    """Sizes. Each node has one zone; cpus belong to the nodes in turn."""

    nodes: tuple[naive_buddy.Geometry, ...]
    cpus: int
    caches: int
    oo: tuple[int, int]
    minimum: tuple[int, int]
    min_partial: int
    cpu_partial_slabs: int
    known_random_seq: bool

    def node_of(self, page: int) -> int:
        return next(nid for nid, node in enumerate(self.nodes) if node.contains(page))


@dataclass
class CpuNow:
    page: int | None
    freelist: list[int]
    partial: list[int]


class Work:
    """A state taken apart into lists, on which one operation works."""

    def __init__(self, shape: Shape, state: State) -> None:
        self.shape = shape
        self.nodes = list(state.nodes)
        self.slabs = dict(state.slabs)
        self.random_seqs = [cache.random_seq for cache in state.caches]
        self.cpus = [[CpuNow(c.page, list(c.freelist), list(c.partial)) for c in cache.cpus] for cache in state.caches]
        self.partial = [[list(pages) for pages in cache.partial] for cache in state.caches]

    def state(self) -> State:
        caches = (
            Cache(
                random_seq,
                tuple(Cpu(cpu.page, tuple(cpu.freelist), tuple(cpu.partial)) for cpu in cpus),
                tuple(map(tuple, partial)),
            )
            for random_seq, cpus, partial in zip(self.random_seqs, self.cpus, self.partial, strict=True)
        )
        return State(tuple(self.nodes), tuple(sorted(self.slabs.items())), tuple(caches))

    # --- slabs and pages

    def change(self, page: int, **fields: Any) -> Slab:
        self.slabs[page] = self.slabs[page]._replace(**fields)
        return self.slabs[page]

    def is_empty(self, page: int) -> bool:
        """Not `inuse`: slots on a cpu's freelist count as in use."""
        return len(self.slabs[page].freelist) == self.slabs[page].objects

    def has_enough(self, page: int) -> bool:
        """`n->nr_partial >= s->min_partial`, of the node of the page."""
        return len(self.list_of(page)) >= self.shape.min_partial

    def list_of(self, page: int) -> list[int]:
        return self.partial[self.slabs[page].cache][self.shape.node_of(page)]

    def hand_out(self, page: int, slot: int) -> tuple[int, int]:
        self.change(page, held=self.slabs[page].held | {slot})
        return page, slot

    def take_pages(self, cpu: int, node: int | None) -> tuple[int, int, int] | None:
        """`allocate_slab`: (page, order, objects) of the preferred order, else of the least; any node may serve."""
        first = cpu % len(self.nodes) if node is None else node
        nids = [first, *(nid for nid in range(len(self.nodes)) if nid != first)]
        for order, objects in (self.shape.oo, self.shape.minimum):
            for nid in nids:
                before = self.nodes[nid]
                self.nodes[nid] = naive_buddy.allocate(before, order)
                if self.nodes[nid] != before:
                    ((page, _),) = set(self.nodes[nid][1]) - set(before[1])
                    return page, order, objects
        return None

    def discard_slab(self, page: int) -> None:
        del self.slabs[page]
        nid = self.shape.node_of(page)
        self.nodes[nid] = naive_buddy.free(self.shape.nodes[nid], self.nodes[nid], page)

    # --- lists

    def deactivate_slab(self, page: int, freelist: list[int]) -> None:
        """Stage two sees the slots of the cpu before those freed by others."""
        remote = self.slabs[page].freelist
        self.change(page, freelist=(*freelist, *remote), frozen=False)
        if self.is_empty(page) and self.has_enough(page):
            self.discard_slab(page)
        elif remote:
            self.list_of(page).append(page)
        elif freelist:
            self.list_of(page).insert(0, page)

    def unfreeze_partials(self, pages: list[int]) -> None:
        """The slabs to discard form a stack."""
        surplus = []
        for page in pages:
            self.change(page, frozen=False)
            if self.is_empty(page) and self.has_enough(page):
                surplus.append(page)
            else:
                self.list_of(page).append(page)
        for page in reversed(surplus):
            self.discard_slab(page)

    def put_cpu_partial(self, cpu: CpuNow, page: int, drain: bool) -> None:
        surplus: list[int] = []
        if drain and cpu.partial and len(cpu.partial) >= self.shape.cpu_partial_slabs:
            surplus, cpu.partial = cpu.partial, []
        cpu.partial.insert(0, page)
        self.unfreeze_partials(surplus)

    def drop_cpu_slab(self, cpu: CpuNow) -> None:
        page, freelist = cpu.page, cpu.freelist
        cpu.page, cpu.freelist = None, []
        if page is not None:
            self.deactivate_slab(page, freelist)

    # --- allocation

    def load_freelist(self, cpu: CpuNow) -> tuple[int, int]:
        assert cpu.page is not None
        return self.hand_out(cpu.page, cpu.freelist.pop(0))

    def from_own_slabs(self, cpu: CpuNow, node: int | None) -> tuple[int, int] | None:
        """The fast path, and `___slab_alloc` up to `new_objects`: the cpu slab, then the cpu partial slabs."""
        while True:
            if cpu.page is not None:
                if node is not None and self.shape.node_of(cpu.page) != node:
                    self.drop_cpu_slab(cpu)
                elif cpu.freelist:
                    return self.load_freelist(cpu)
                elif self.slabs[cpu.page].freelist:
                    cpu.freelist = list(self.slabs[cpu.page].freelist)
                    self.change(cpu.page, freelist=())
                    return self.load_freelist(cpu)
                else:
                    self.change(cpu.page, frozen=False)
                    cpu.page = None
            if not cpu.partial:
                return None
            cpu.page = cpu.partial.pop(0)

    def from_node(self, cache: int, cpu: CpuNow, nid: int) -> bool:
        """`get_partial_node`: whether the cpu has a new slab."""
        pages = self.partial[cache][nid]
        taken = 0
        while pages:
            page = pages.pop(0)
            freelist = self.slabs[page].freelist
            if cpu.page is None:
                cpu.page, cpu.freelist = page, list(freelist)
                self.change(page, freelist=(), frozen=True)
            else:
                self.change(page, frozen=True)
                self.put_cpu_partial(cpu, page, False)
                taken += 1
            if taken > self.shape.cpu_partial_slabs // 2:
                break
        return cpu.page is not None

    def from_nodes(self, cache: int, cpu: int, node: int | None, defragment: bool) -> tuple[int, int] | None:
        """`get_partial`; `defragment` is the outcome of comparing the clock with remote_node_defrag_ratio."""
        now = self.cpus[cache][cpu]
        local = cpu % len(self.nodes)
        if self.from_node(cache, now, local if node is None else node):
            return self.load_freelist(now)
        if node is None and defragment:
            for nid in (local, *(nid for nid in range(len(self.nodes)) if nid != local)):
                if len(self.partial[cache][nid]) > self.shape.min_partial and self.from_node(cache, now, nid):
                    return self.load_freelist(now)
        return None

    def load_new_slab(self, cache: int, cpu: CpuNow, taken: tuple[int, int, int], freelist: Slots) -> tuple[int, int]:
        page, order, objects = taken
        self.slabs[page] = Slab(cache, order, objects, (), frozenset(), True)
        cpu.page, cpu.freelist = page, list(freelist)
        return self.load_freelist(cpu)

    # --- release

    def free_to_slab(self, cpu: CpuNow, page: int, slot: int) -> None:
        """`__slab_free`."""
        before = self.slabs[page]
        self.change(page, freelist=(slot, *before.freelist))
        if before.frozen:
            return
        if not before.freelist:
            self.change(page, frozen=True)
            self.put_cpu_partial(cpu, page, True)
        elif self.is_empty(page) and self.has_enough(page):
            self.list_of(page).remove(page)
            self.discard_slab(page)

    def discard_empty(self, cache: int, nid: int) -> None:
        """Slabs move to the head of a list of their own, so that the last one goes first."""
        pages = self.partial[cache][nid]
        empty = [page for page in pages if self.is_empty(page)]
        pages[:] = [page for page in pages if page not in empty]
        for page in reversed(empty):
            self.discard_slab(page)

    def slabs_left(self, cache: int, nid: int) -> bool:
        return any(slab.cache == cache and self.shape.node_of(page) == nid for page, slab in self.slabs.items())


PROMOTED = 32


def new_freelists(shape: Shape, random_seq: Slots, objects: int) -> set[Slots]:
    """`shuffle_freelist`: the sequence from any place on, without the slots that this slab does not have."""
    if not random_seq:
        return set(itertools.permutations(range(objects)))
    if objects < 2:
        return {tuple(range(objects))}
    turned = (random_seq[start:] + random_seq[:start] for start in range(len(random_seq)))
    return {tuple(slot for slot in sequence if slot < objects) for sequence in turned}


def allocate(shape: Shape, state: State, cache: int, cpu: int, node: int | None) -> Iterator[Step]:
    """kmem_cache_alloc, or kmem_cache_alloc_node if a node is named."""
    for defragment in (False, True)[: len(shape.nodes)]:
        work = Work(shape, state)
        found = work.from_own_slabs(work.cpus[cache][cpu], node) or work.from_nodes(cache, cpu, node, defragment)
        taken = None if found else work.take_pages(cpu, node)
        if taken is None:
            yield Step("kmem_cache_alloc", (cache, cpu, node), found, work.state())
            continue
        between = work.state()
        for freelist in new_freelists(shape, state.caches[cache].random_seq, taken[2]):
            work = Work(shape, between)
            found = work.load_new_slab(cache, work.cpus[cache][cpu], taken, freelist)
            yield Step("kmem_cache_alloc", (cache, cpu, node), found, work.state())


def free(shape: Shape, state: State, cpu: int, page: int, slot: int, slots: int) -> Step:
    """kmem_cache_free; objects are numbered `slots` a page."""
    work = Work(shape, state)
    slab = work.slabs[page]
    now = work.cpus[slab.cache][cpu]
    work.change(page, held=slab.held - {slot})
    if now.page == page:
        now.freelist.insert(0, slot)
    else:
        work.free_to_slab(now, page, slot)
    return Step("kmem_cache_free", (cpu, page * slots + slot), None, work.state())


def flush(shape: Shape, state: State, cache: int, cpu: int) -> Step:
    """flush_cpu_slab, which flush_all() asks for if has_cpu_slab()."""
    work = Work(shape, state)
    now = work.cpus[cache][cpu]
    work.drop_cpu_slab(now)
    surplus, now.partial = now.partial, []
    work.unfreeze_partials(surplus)
    return Step("flush_cpu_slab", (cache, cpu), None, work.state())


def shrink(shape: Shape, state: State, cache: int, cpu: int) -> Step:
    """__kmem_cache_do_shrink: each slab moves to the head of the list of those with as many free slots."""
    work = Work(shape, state)
    left = False
    for nid, pages in enumerate(work.partial[cache]):
        work.discard_empty(cache, nid)
        free_slots = {page: len(work.slabs[page].freelist) for page in pages}
        promoted = [page for page in reversed(pages) if free_slots[page] <= PROMOTED]
        pages[:] = [*sorted(promoted, key=free_slots.__getitem__), *(page for page in pages if page not in promoted)]
        left |= work.slabs_left(cache, nid)
    return Step("kmem_cache_shrink", (cache, cpu), left, work.state())


def shutdown(shape: Shape, state: State, cache: int, cpu: int) -> Step:
    """__kmem_cache_shutdown after its flush_all(): the first node that keeps slabs ends it."""
    work = Work(shape, state)
    left = False
    for nid in range(len(shape.nodes)):
        work.discard_empty(cache, nid)
        left = work.slabs_left(cache, nid)
        if left:
            break
    return Step("kmem_cache_shutdown", (cache, cpu), left, work.state())


def successors(shape: Shape, state: State, slots: int) -> set[Step]:
    """Every step that clients of the allocator can make it take."""
    steps: set[Step] = set()
    for cache, cpu in itertools.product(range(shape.caches), range(shape.cpus)):
        for node in (None, *range(len(shape.nodes))):
            steps.update(allocate(shape, state, cache, cpu, node))
        if state.caches[cache].cpus[cpu].page is not None or state.caches[cache].cpus[cpu].partial:
            steps.add(flush(shape, state, cache, cpu))
        steps.add(shrink(shape, state, cache, cpu))
        steps.add(shutdown(shape, state, cache, cpu))
    for page, slab in state.slabs:
        steps.update(free(shape, state, cpu, page, slot, slots) for slot in slab.held for cpu in range(shape.cpus))
    return steps


def initial_states(shape: Shape) -> Iterator[State]:
    """One for each choice of the caches' sequences."""
    nodes = tuple(map(naive_buddy.initial_state, shape.nodes))
    cpus, partial = (Cpu(None, (), ()),) * shape.cpus, ((),) * len(nodes)
    objects = shape.oo[1]
    sequences: list[Slots] = [()]
    if shape.known_random_seq and objects > 1:
        sequences = list(itertools.permutations(range(objects)))
    for chosen in itertools.product(sequences, repeat=shape.caches):
        yield State(nodes, (), tuple(Cache(sequence, cpus, partial) for sequence in chosen))


def check_places(shape: Shape, state: State) -> None:
    """Each slot is held or in one freelist, each slab with free slots on one list or a cpu, each block a slab."""
    for nid, (geometry, buddies) in enumerate(zip(shape.nodes, state.nodes, strict=True)):
        naive_buddy.check_cover(geometry, buddies)
        held = [(page, slab.order) for page, slab in state.slabs if shape.node_of(page) == nid]
        assert list(buddies[1]) == held, state
    for page, slab in state.slabs:
        cache = state.caches[slab.cache]
        owners = [cpu for cpu in cache.cpus if cpu.page == page]
        slots = [*slab.freelist, *slab.held, *(slot for cpu in owners for slot in cpu.freelist)]
        assert sorted(slots) == list(range(slab.objects)), state
        on_cpus = len(owners) + sum(cpu.partial.count(page) for cpu in cache.cpus)
        assert on_cpus == slab.frozen, state
        listed = sum(partial.count(page) for partial in cache.partial)
        assert listed == (bool(slab.freelist) and not slab.frozen), state
        assert listed == cache.partial[shape.node_of(page)].count(page), state


def search(shape: Shape, slots: int) -> dict[State, set[Step]]:
    """All reachable states, each with its steps."""
    found: dict[State, set[Step]] = {}
    level = set(initial_states(shape))
    while level:
        for state in level:
            check_places(shape, state)
            found[state] = successors(shape, state, slots)
        level = {step.state for state in level for step in found[state]} - found.keys()
    return found


if __name__ == "__main__":
    pages, orders, cpus, objects, min_partial, cpu_partial_slabs = map(int, sys.argv[1:])
    one_node, single = (naive_buddy.Geometry(pages, orders),), (0, objects)
    shape = Shape(one_node, cpus, 1, single, single, min_partial, cpu_partial_slabs, known_random_seq=False)
    reached = search(shape, objects)
    print(len(reached), sum(map(len, reached.values())))
