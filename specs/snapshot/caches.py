"""The caches of a state: the invariants of specs/slub.py, on one cache at a time.

The one idea: what these invariants say of a slab does not depend on which frame it begins in, so each cache is a small
machine of its own, whose frames are its slabs and what its lists name besides. A page that a list names and that is no
slab of the cache is there as what it is: no slab of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...model.lang.errors import InputError
from ...model.lang.execute import STEP_ERRORS
from ...model.lang.records import Record, Store, put
from ...model.slab_clients import SlubMachine
from ...model.slab_size import SLAB_DEBUG_FLAGS, order_objects
from ..recorded.machine import Model, RecordedMachine, model, real_scale
from ..recorded.slab_sysfs import x86_64
from ..recorded.states import CacheState, KernelState, PcpState, ZoneState
from .evaluating import Elements, Invariant, evaluate, invariants
from .places import Places, draw_freelist
from .results import Answer, Clause, Drawn, Finding

PART = "caches"
WORK_MAX = 40_000_000
"""Steps for one invariant of one cache; those of larger caches are not evaluated."""
TOO_LARGE = "the cache has too many slabs, or objects in a slab"
BOUNDS = "P7"
OUT_OF_BOUNDS = "the cache has a number that its field cannot hold"
CONTENTS = "what is in objects that are in use is not in the dump"
TIDS = "whether a tid was changed is no matter of one state"
NOT_EVALUATED = {
    "B17": "of the scopes alone", "B18": "of the scopes alone", "C5": "of the scopes alone", "S11": TIDS,
    "S17": CONTENTS,
}  # fmt: skip
"""What specs/slub.py says of the page allocator is said of the dump by specs/zone.py."""
SILENT = frozenset(
    {
        ("S16", "oo is as the cache was made"),
        ("S16", "min is as the cache was made"),
        ("S16", "the limits are as the cache was made"),
    }
)
"""What the scope says; here the scope is taken from the cache."""
DEBUGGED = "the cache is debugged: its slabs are never frozen"


def check_caches(state: KernelState, places: Places) -> list[Answer]:
    """Every invariant of the slab allocator on every cache of a state."""
    every = tuple(one for one in invariants("slub") if one.identifier[0] in "SC")
    clauses = {one.identifier: Clause(PART, one.identifier, one.name, one.origin) for one in every}
    clauses[BOUNDS] = Clause(PART, BOUNDS, "every number is one that the kernel's field can hold", "struct kmem_cache")
    evaluated = [one for one in every if one.identifier not in NOT_EVALUATED]
    for identifier in clauses.keys() & NOT_EVALUATED.keys():
        clauses[identifier].cannot(NOT_EVALUATED[identifier])
    text = model()
    for cache in state.caches:
        reason = _too_much(cache)
        if reason:
            for one in evaluated:
                clauses[one.identifier].cannot(reason)
            continue
        _check_cache(text, state, cache, places, evaluated, clauses)
    return [clause.answer() for clause in clauses.values()]


def _too_much(cache: CacheState) -> str:
    slabs, slots = len(cache.slabs) + len(cache.partial), _slots(cache)
    work = slabs * slabs + slabs * slots * slots + slots * slots
    if cache.flags & SLAB_DEBUG_FLAGS:
        return DEBUGGED
    return TOO_LARGE if work > WORK_MAX else ""


def _slots(cache: CacheState) -> int:
    """The most objects that a slab has, or says it has."""
    return max(cache.oo[1], cache.least[1], *(slab.objects for slab in cache.slabs.values()), 1)


def _check_cache(
    text: Model,
    state: KernelState,
    cache: CacheState,
    places: Places,
    evaluated: Sequence[Invariant],
    clauses: dict[str, Clause],
) -> None:
    pages = tuple(sorted({*cache.slabs, *_named(cache)}))
    try:
        machine = cache_machine(text, state, cache, pages)
    except InputError as error:
        clauses[BOUNDS].breach(Finding(clauses[BOUNDS].name, f"cache {cache.name}", error.message))
        for one in evaluated:
            clauses[one.identifier].cannot(OUT_OF_BOUNDS)
        return
    clauses[BOUNDS].checked += 1

    def explanation(said: str, about: Elements) -> Finding:
        return _explain(places, cache, pages, said, about)

    for one in evaluated:
        evaluate(one, machine, clauses[one.identifier], explanation, SILENT)


def _named(cache: CacheState) -> Iterator[int]:
    """The pages that a cache's lists and CPUs name."""
    yield from cache.partial
    for cpu in cache.cpu:
        yield from cpu.partial
        if cpu.slab is not None:
            yield cpu.slab


def cache_machine(text: Model, state: KernelState, cache: CacheState, pages: Sequence[int]) -> Record:
    """The machine of specs/slub.py with this one cache; page `pages[n]` of the dump is page n."""
    number = {page: position for position, page in enumerate(pages)}
    small = replace(
        state,
        frames=len(pages) + 1,
        zones=(_memory(len(pages) + 1, state.cpus),),
        pageblock_migratetype=(),
        classes=(),
        caches=(
            replace(
                cache,
                min_partial=min(cache.min_partial, len(pages)),  # no more slabs than that can be empty
                random_seq=cache.random_seq or tuple(range(cache.oo[1])),
                slabs={number[page]: slab for page, slab in cache.slabs.items()},
                cpu=tuple(
                    replace(
                        cpu,
                        slab=None if cpu.slab is None else number[cpu.slab],
                        partial=tuple(number[page] for page in cpu.partial),
                    )
                    for cpu in cache.cpu
                ),
                partial=tuple(number[page] for page in cache.partial),
            ),
        ),
    )
    recorded = _CacheMachine(text, small)
    held: dict[int, None] = {}
    try:
        recorded.m.kmem_cache[0].node[0].nr_partial = cache.nr_partial
        _as_known(recorded, cache)
        held = dict.fromkeys(_in_use(recorded, small.caches[0]))
    except STEP_ERRORS as error:
        raise InputError(f"cache {cache.name} contradicts itself: {error}", "record it again") from None
    m = SlubMachine(Store(recorded.sizes))
    for name in ("pages", "kmem_cache", "slab", "freepointer"):
        put(m, name, getattr(recorded.m, name))
    for object_ in held:
        m.held[object_] = 0
    return m


class _CacheMachine(RecordedMachine):
    """At the scope of one cache."""

    def scale(self, state: KernelState) -> dict[str, int]:
        sizes = real_scale(state)
        cache = state.caches[0]
        slots = _slots(cache)
        # A dump whose CPUs' lists are longer than they may be is loaded all the same.
        partial = max(sizes["cpu_partial_slabs_max"], *(len(cpu.partial) for cpu in cache.cpu))
        return {
            **sizes,
            "frames": state.frames, "pageblocks": 1, "slots": slots, "positions": slots,
            "objects": state.frames * slots, "pcp_pages": state.frames,
            "cpu_partial_slabs_max": partial, "oo_order": cache.oo[0], "oo_objects": cache.oo[1],
            "min_order": cache.least[0], "min_objects": cache.least[1], "min_partial": cache.min_partial,
            "cpu_partial_slabs": cache.cpu_partial_slabs, "known_random_seq": int(cache.oo[1] > 0), "gfp": 0,
        }  # fmt: skip


def _memory(frames: int, cpus: int) -> ZoneState:
    """A zone with nothing free."""
    pcp = PcpState(0, 1, 1, ((),) * 14, 0)
    empty = ((),) * 5
    return ZoneState("Normal", 0, frames, frames, (0, 0, 0), 0, (), 0, 0, (0,) * 11, (empty,) * 11, (pcp,) * cpus)


def _as_known(recorded: RecordedMachine, cache: CacheState) -> None:
    """A slab of a cache without a random sequence takes its objects in any order: the sequence is then one of them."""
    s = recorded.m.kmem_cache[0]
    for position in range(len(cache.random_seq), cache.oo[1]):
        s.random_seq[position] = position


def _in_use(recorded: RecordedMachine, cache: CacheState) -> Iterator[int]:
    """The objects on no freelist: somebody has them."""
    on_cpu: dict[int, set[int]] = {}
    for cpu in cache.cpu:
        if cpu.slab is not None:
            on_cpu.setdefault(cpu.slab, set()).update(cpu.free)
    for page, slab in cache.slabs.items():
        free = {*slab.free, *on_cpu.get(page, ())}
        for slot in range(min(slab.objects, recorded.slots)):
            if slot not in free:
                yield recorded.text.slub.object_at(recorded.m, page, slot)


# --- in words


def _explain(places: Places, cache: CacheState, pages: Sequence[int], said: str, about: Elements) -> Finding:
    words = [f"cache {cache.name}"]
    lists: tuple[Drawn, ...] = ()
    position = about.get("page")
    if position is not None and position < len(pages):
        page = pages[position]
        slot = about.get("slot")
        words.append(places.describe(page))
        if slot is not None:
            words.append(f"object {slot}")
        lists = (*places.draw((page,)), *freelists(cache, page, () if slot is None else (slot,)))
    elif "cpu" in about and about["cpu"] < len(cache.cpu):
        cpu = cache.cpu[about["cpu"]]
        words.append(f"cpu {about['cpu']}")
        lists = (
            draw_freelist(f"{cache.name} cpu {about['cpu']} freelist, of slab {cpu.slab}", cpu.free, ()),
            *places.draw(cpu.partial[:1]),
        )
    else:
        mine = [one for one in places.lists if one.cache is not None and places.state.caches[one.cache] is cache]
        lists = places.draw_some(one for one in mine if one.pages)
    return Finding(said, ", ".join(words), _found(cache, pages, about), lists)


def freelists(cache: CacheState, page: int, marked: Sequence[int]) -> Iterator[Drawn]:
    """The freelists of a slab and of the CPUs that allocate from it."""
    slab = cache.slabs.get(page)
    if slab is not None:
        yield draw_freelist(f"{cache.name} slab {page} freelist, by object", slab.free, marked)
    for number, cpu in enumerate(cache.cpu):
        if cpu.slab == page:
            yield draw_freelist(f"{cache.name} cpu {number} freelist, by object", cpu.free, marked)


def _found(cache: CacheState, pages: Sequence[int], about: Elements) -> str:
    position = about.get("page")
    if position is not None and position < len(pages):
        slab = cache.slabs.get(pages[position])
        if slab is None:
            return "no slab of the cache"
        frozen = "frozen" if slab.frozen else "not frozen"
        return f"order {slab.order}, objects {slab.objects}, inuse {slab.inuse}, {len(slab.free)} free, {frozen}"
    objects = sum(slab.objects for slab in cache.slabs.values())
    return (
        f"nr_partial {cache.nr_partial} ({len(cache.partial)} on the list), nr_slabs {cache.nr_slabs} "
        f"({len(cache.slabs)} there), total_objects {cache.total_objects} ({objects} there)"
    )


# --- what the lists of the file say before a machine is made of them


def one_list(places: Places) -> Answer:
    """A slab is of one cache, and at one place: one CPU's slab, one CPU's list or the node's list, once."""
    clause = Clause(PART, "P3", "a slab is of one cache and at one place", "add_partial(); put_cpu_partial()")
    cpu_slab: dict[int, int] = {}
    for cache in places.state.caches:
        for cpu in cache.cpu:
            if cpu.slab is not None:
                cpu_slab[cpu.slab] = cpu_slab.get(cpu.slab, 0) + 1
    for page, caches in places.slabs.items():
        times = places.times[True, page] + cpu_slab.get(page, 0)
        clause.check(len(caches) == 1 and times <= 1, _slab_finding(places, clause, page, cpu_slab.get(page, 0)))
    return clause.answer()


def _slab_finding(places: Places, clause: Clause, page: int, cpus: int) -> Callable[[], Finding]:
    return lambda: Finding(clause.name, places.describe(page), f"the slab of {cpus} CPUs", places.draw((page,)))


def free_once(places: Places) -> Answer:
    """An object is on one freelist, once: its slab's or the CPU's."""
    clause = Clause(PART, "P4", "an object is on one freelist, once", "on_freelist(); CONFIG_SLAB_FREELIST_HARDENED")
    for cache in places.state.caches:
        for page, slab in cache.slabs.items():
            seen: set[int] = set()
            twice: set[int] = set()
            for free in (slab.free, *(cpu.free for cpu in cache.cpu if cpu.slab == page)):
                for slot in free:
                    (twice if slot in seen else seen).add(slot)
            clause.check(not twice, _object_finding(clause, cache, page, sorted(twice)))
    return clause.answer()


def _object_finding(clause: Clause, cache: CacheState, page: int, twice: Sequence[int]) -> Callable[[], Finding]:
    def make() -> Finding:
        about = f"cache {cache.name}, slab {page}, object {', '.join(map(str, twice[:8]))}"
        return Finding(clause.name, about, "at two places of the freelists", tuple(freelists(cache, page, twice)))

    return make


def slab_sizes(places: Places) -> Answer:
    """A slab has as many objects as its size leaves room for, by the model's own function; an object holds its free
    pointer."""
    clause = Clause(PART, "P5", "order and size say how many objects a slab has", "order_objects(), calculate_order()")
    geometry = x86_64(places.state.cpus)
    for cache in places.state.caches:
        right = 0 < cache.object_size <= cache.size and 0 <= cache.offset <= cache.size - 8
        for order, objects in (cache.oo, cache.least):
            right = right and order <= 10 and cache.size > 0 and objects == order_objects(geometry, order, cache.size)
        clause.check(right, _size_finding(clause, cache))
    return clause.answer()


def _size_finding(clause: Clause, cache: CacheState) -> Callable[[], Finding]:
    sizes = f"size {cache.size}, object_size {cache.object_size}, offset {cache.offset}"
    said = f"{sizes}, oo {cache.oo}, min {cache.least}"
    return lambda: Finding(clause.name, f"cache {cache.name}", said)
