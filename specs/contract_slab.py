"""What an object cache does: objects of one size in slabs that come and go whole, and no policy.

The one idea: an object is a slot of a slab. A slab is there or not; an object is live, or free in a slab that is there.
`objects` (specs/objects.py) is the same without slabs, so this machine refines it. `kmemspec validate object-cache`
runs it beside an implementation: which slab grows and which object is given is the implementation's choice, that it
refuses only when every slab it can have is full, and that its statistics are these counts, is not.
"""

from __future__ import annotations

from typing import Annotated

from ..model.lang import (
    Array,
    Clauses,
    FromScope,
    Parameter,
    Range,
    Record,
    Refinement,
    Sort,
    Spec,
    action,
    clause,
    indices,
    invariant,
    require,
    step_property,
)
from ..model.objects import Objects
from ..model.objects import allocate as allocate_object
from ..model.objects import release as release_object
from ..model.slab import Object
from .objects import SPEC as OBJECTS

Slab = Annotated[int, Sort("slab", "frames")]
SlabCount = Annotated[int, Range(0, "frames")]


class SlabCache(Record):
    """Which slabs are there, which objects are live, and what the cache says of both."""

    slots: Annotated[int, FromScope("slots")]
    keep_empty: Annotated[int, FromScope("keep_empty")]
    slab: Array[Slab, bool]
    live: Array[Object, bool]
    slabs: SlabCount
    active: Annotated[int, Range(0, "objects")]


def inuse(m: SlabCache, slab: int) -> int:
    """The live objects of a slab."""
    return sum(1 for slot in range(0, m.slots) if m.live[slab * m.slots + slot])


def empty_slabs(m: SlabCache) -> int:
    """How many slabs are there without a live object."""
    return sum(1 for slab in indices(m.slab) if m.slab[slab] and inuse(m, slab) == 0)


def no_slabs(m: SlabCache) -> None:
    """A new cache has no slab."""


@action
def allocate(m: SlabCache, object: Object) -> None:
    """An object becomes live that was not; its slab comes if it is not there."""
    require(not m.live[object])
    slab = object // m.slots
    if not m.slab[slab]:
        m.slab[slab] = True
        m.slabs += 1
    m.live[object] = True
    m.active += 1


@action
def release(m: SlabCache, object: Object) -> None:
    """A live object ends. An empty slab more than are kept goes back."""
    require(m.live[object])
    m.live[object] = False
    m.active -= 1
    slab = object // m.slots
    if inuse(m, slab) == 0 and empty_slabs(m) > m.keep_empty:
        m.slab[slab] = False
        m.slabs -= 1


@action
def refuse(m: SlabCache) -> None:
    """A request fails: every object that there can be is live."""
    require(all(m.live[object] for object in indices(m.live)))


@action
def shrink(m: SlabCache) -> SlabCount:
    """Every empty slab goes back; gives how many."""
    gone = 0
    for slab in indices(m.slab):
        if m.slab[slab] and inuse(m, slab) == 0:
            m.slab[slab] = False
            gone += 1
    m.slabs -= gone
    return gone


@invariant("O1")
def objects_are_in_slabs(m: SlabCache) -> Clauses:
    """A live object lies in a slab that is there."""
    for object in indices(m.live):
        yield clause("its slab is there", not m.live[object] or m.slab[object // m.slots], object)


@invariant("O2", origin="slabinfo: num_slabs, active_objs")
def counts_agree(m: SlabCache) -> Clauses:
    """The counts are of the slabs that are there and of the objects that are live."""
    yield clause("slabs", m.slabs == sum(1 for slab in indices(m.slab) if m.slab[slab]))
    yield clause("active", m.active == sum(1 for object in indices(m.live) if m.live[object]))


@invariant("O3", origin="min_partial")
def empty_slabs_go_back(m: SlabCache) -> bool:
    """No more empty slabs are kept than declared."""
    return empty_slabs(m) <= m.keep_empty


@step_property("O4")
def others_live_on(before: SlabCache, after: SlabCache) -> Clauses:
    """A step changes one object at most, and no slab with a live object goes."""
    yield clause("one object at most", sum(1 for o in indices(before.live) if before.live[o] != after.live[o]) <= 1)


def objects_of(concrete: SlabCache, abstract: Objects) -> None:
    """The live objects are those of cache 0."""
    for object in indices(concrete.live):
        if concrete.live[object]:
            abstract.object[object] = 0


def as_allocate(abstract: Objects, object: Object) -> None:
    """The object becomes live there too."""
    allocate_object(abstract, 0, object)


def as_release(abstract: Objects, object: Object) -> None:
    """The object ends there too."""
    release_object(abstract, object)


SPEC = Spec(
    name="contract-slab",
    state=SlabCache,
    init=no_slabs,
    actions=(allocate, release, refuse, shrink),
    properties=(objects_are_in_slabs, counts_agree, empty_slabs_go_back, others_live_on),
    parameters=(
        Parameter("frames", 3, "the number of slabs that there can be"),
        Parameter("slots", 3, "the objects of a slab"),
        Parameter("keep_empty", 1, "how many empty slabs are kept", least=0),
        Parameter("caches", 1, "one cache", most=1),
    ),
    derived={"objects": lambda sizes: sizes["frames"] * sizes["slots"]},
    scopes={"eager": {"keep_empty": 0}},
    explored=("eager",),
    refinement=Refinement("O5", OBJECTS, objects_of, {allocate: as_allocate, release: as_release}),
    doc=__doc__,
)
