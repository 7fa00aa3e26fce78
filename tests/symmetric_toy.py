"""A toy object cache with interchangeable cpus and slots: the specification that test_symmetry varies."""

from typing import Annotated

from kmemspec import (
    Array,
    FromScope,
    Machine,
    Parameter,
    Range,
    Record,
    Refinement,
    Sort,
    Spec,
    action,
    choose,
    clause,
    indices,
    invariant,
    require,
    step_property,
)

Cpu = Annotated[int, Sort("cpu", "cpus")]
Page = Annotated[int, Sort("page", "pages")]
Slot = Annotated[int, Sort("slot", "slots")]
Object = Annotated[int, Sort("object", "objects", of=("page", "slot"))]


class PerCpu(Record):
    page: Page | None
    freelist: Object | None
    tid: Annotated[int, Machine(1)]


class Cache(Record):
    slots: Annotated[int, FromScope("slots")]
    cpu: Array[Cpu, PerCpu]
    held: Array[Object, Cpu | None]
    next: Array[Object, Object | None]
    used: Array[Slot, Annotated[int, Range(0, "pages")]]
    last: Slot | None
    lock: Cpu | None


class Live(Record):
    live: Array[Object, bool]
    some: Object | None


def init(m: Cache) -> None:
    for cpu in indices(m.cpu):
        m.cpu[cpu].tid = 1


@action
def take_page(m: Cache, cpu: Cpu, page: Page) -> None:
    require(m.cpu[cpu].page is None and m.lock is None)
    require(all(m.cpu[other].page is None or m.cpu[other].page != page for other in indices(m.cpu)))
    m.cpu[cpu].page = page
    m.cpu[cpu].tid += 1
    for slot in indices(m.used):
        link(m, page * m.slots + slot)


def link(m: Cache, object: int) -> None:
    if m.held[object] is None:
        m.next[object] = None


@action
def allocate(m: Cache, cpu: Cpu) -> Object | None:
    page = m.cpu[cpu].page
    if page is None:
        return None
    slot = choose(indices(m.used))
    object = page * m.slots + slot
    require(m.held[object] is None)
    m.held[object] = cpu
    m.used[slot] += 1
    m.next[object] = m.cpu[cpu].freelist
    m.cpu[cpu].freelist = object
    m.last = slot
    return m.cpu[cpu].freelist


@action
def release(m: Cache, cpu: Cpu, object: Object) -> None:
    require(m.held[object] == cpu and m.cpu[cpu].freelist == object)
    m.cpu[cpu].freelist = m.next[object]
    m.next[object] = None
    m.held[object] = None
    m.used[object % m.slots] -= 1
    if m.cpu[cpu].page == object // m.slots and m.cpu[cpu].freelist is None:
        m.cpu[cpu].page = None


@action
def toggle(m: Cache, cpu: Cpu | None) -> None:
    require(m.lock is None or cpu is None)
    m.lock = cpu


@invariant("T1")
def counted(m: Cache) -> bool:
    return all(
        m.used[slot] == sum(1 for o in indices(m.held) if m.held[o] is not None and o % m.slots == slot)
        for slot in indices(m.used)
    )


@invariant("T2")
def owned_once(m: Cache):
    for cpu in indices(m.cpu):
        object = m.cpu[cpu].freelist
        if object is not None:
            yield clause("the first object is held here", m.held[object] == cpu, cpu)
    yield clause("not all taken", any(m.held[o] is None for o in indices(m.held)) or m.lock is None)


@step_property("T3")
def held_stays(before: Cache, after: Cache) -> bool:
    return all(
        before.held[o] is None or after.held[o] is None or after.held[o] == before.held[o] for o in indices(after.held)
    )


def initial_live(abstract: Live) -> None:
    for object in indices(abstract.live):
        abstract.live[object] = False


def mapping(m: Cache, abstract: Live) -> None:
    for object in indices(m.held):
        abstract.live[object] = m.held[object] is not None


def begin(abstract: Live, cpu: int, object: int | None) -> None:
    if object is not None:
        abstract.live[object] = True


def end(abstract: Live, cpu: int, object: int) -> None:
    abstract.live[object] = False


@action
def nothing(abstract: Live) -> None:
    abstract.some = None


SPEC = Spec(
    name="toy",
    state=Cache,
    init=init,
    actions=(take_page, allocate, release, toggle),
    properties=(counted, owned_once, held_stays),
    parameters=(
        Parameter("cpus", 3, "cpus"),
        Parameter("pages", 2, "pages"),
        Parameter("slots", 2, "slots of a page"),
    ),
    derived={"objects": lambda sizes: sizes["pages"] * sizes["slots"]},
    refinement=Refinement(
        "T4",
        Spec(
            name="live",
            state=Live,
            init=initial_live,
            actions=(nothing,),
            parameters=(Parameter("objects", 4, "objects"),),
        ),
        mapping,
        {allocate: begin, release: end},
    ),
    symmetric=("cpu", "slot"),
)
