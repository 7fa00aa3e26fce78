"""The slabs in a state: what each cpu allocates from, the partial lists, and on which freelist each object is.

The one idea: an object should be in one place, a slab's freelist, a cpu's freelist or a client's hand; so reading
collects for every object all the places it is in, and a picture shows at a glance those that are in two or in none.
Broken states are the point: freelists may loop, leave their slab or lead nowhere, and slabs may be on several lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..model.lang.trace import Plain, Trace
from .changes import Path, sort_name
from .memory_map import Record, find, number_at, records_within, shown_link

MOST_OBJECTS = 1 << 20
SHOWN_OBJECTS = 1 << 9
"""Objects of a slab that are read as cells; `slots` may be far more than a slab has."""
HELD = "held"
FIELDS = {
    "cpu": ("freelist", "slab", "partial"),
    "node": ("first", "last", "nr_partial", "nr_slabs", "total_objects"),
    "slab": ("slab_cache", "next", "prev", "slabs", "freelist", "inuse", "frozen", "objects"),
}


@dataclass(frozen=True)
class SlabMap:
    """Where a specification keeps its caches and slabs; the names of fields are the kernel's, see `model/slab.py`.

    `caches` is an array of records with `cpu_slab` over cpus and `node` over nodes, `slabs` one over pages, `links` has
    for each object the next free one, `held` for each object the cache it was allocated from, and `pages` the order of
    each compound page. All are dotted paths."""

    caches: str = "kmem_cache"
    slabs: str = "slab"
    links: str = "freepointer"
    held: str = "held"
    pages: str = "pages.memory.mem_map"

    def within(self, state: Plain) -> SlabMap | None:
        """This description with its paths as they are in a state; None if the state has no such caches."""
        for prefix in records_within(state):
            names = (self.caches, self.slabs, self.links, self.held, self.pages)
            moved = SlabMap(*(".".join((*prefix, name)) for name in names))
            if moved.fits(state):
                return moved
        return None

    def fits(self, state: Plain) -> bool:
        """Whether a state has caches and slabs at these very paths."""
        caches, slabs, links = (find(state, path) for path in (self.caches, self.slabs, self.links))
        return (
            isinstance(caches, list) and bool(caches) and all(map(_is_cache, caches))
            and isinstance(slabs, list) and bool(slabs) and all(map(_is_slab, slabs))
            and isinstance(links, list) and 0 < len(links) <= MOST_OBJECTS and len(links) % len(slabs) == 0
        )

    def slots(self, state: Plain) -> int:
        """The object pointers of a page."""
        return len(find(state, self.links)) // len(find(state, self.slabs))

    def covers(self, path: Path) -> bool:
        """Whether the picture of the slabs shows the value at this path."""
        names = ".".join(part for part in path if isinstance(part, str))
        return names in {self.links, self.held, *(
            f"{self.slabs}.{name}" for name in FIELDS["slab"]), *(
            f"{self.caches}.cpu_slab.{name}" for name in (*FIELDS["cpu"], "tid")), *(
            f"{self.caches}.node.{name}" for name in FIELDS["node"]),
        }

    def lengths(self, state: Plain) -> dict[str, int]:
        """How many elements the sorts of objects, slabs and slots have."""
        objects, pages = len(find(state, self.links)), len(find(state, self.slabs))
        return {"object": objects, "slab": pages, "page": pages}


SLUB = SlabMap()
"""The slabs of `model/slub.py`."""


def _is_cache(value: Plain) -> bool:
    if not isinstance(value, Mapping):
        return False
    cpus, nodes = value.get("cpu_slab"), value.get("node")
    return (
        isinstance(cpus, list) and all(isinstance(cpu, Mapping) and {"freelist", "slab"} <= cpu.keys() for cpu in cpus)
        and isinstance(nodes, list) and all(isinstance(node, Mapping) and "first" in node for node in nodes)
    )


def _is_slab(value: Plain) -> bool:
    return isinstance(value, Mapping) and {"slab_cache", "freelist", "inuse"} <= value.keys()


@dataclass(frozen=True)
class Freelist:
    """A freelist as walked: of a slab, or of a cpu. `wrong` says how it ends if not with None: it `loops_to` an object,
    or leads to something that is no object."""

    name: str
    cpu: int | None
    page: int | None
    first: Plain
    objects: tuple[int, ...]
    loops_to: int | None
    wrong: str


@dataclass(frozen=True)
class Cell:
    """An object of a slab: "free" on the slab's freelist, on a "cpu"'s, "held", "lost" in none of these places, or in
    two of them ("twice"); `places` are their names."""

    object: int
    kind: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class SlabView:
    """A slab: its numbers as stored, its objects, the freelists that go through it, and what is odd."""

    page: int
    order: Plain
    cache: Plain
    objects: Plain
    inuse: Plain
    frozen: Plain
    cells: tuple[Cell, ...]
    freelists: tuple[Freelist, ...]
    remarks: tuple[str, ...]

    def label(self) -> str:
        order = number_at(self.order, 20)
        return f"slab {self.page}" if not order else f"slab {self.page}-{self.page + (1 << order) - 1}"


@dataclass(frozen=True)
class SlabList:
    """Slabs of a cpu or a node under one heading: the cpu slab, a partial list, or those on no list."""

    heading: str
    slabs: tuple[SlabView, ...]
    linked: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Owner:
    """A cpu or a node of a cache, or (`kind` "none") what belongs to neither: `facts` are its numbers by path."""

    kind: str
    number: int
    facts: tuple[tuple[str, Path, Plain], ...]
    lists: tuple[SlabList, ...]
    freelist: Freelist | None

    @property
    def label(self) -> str:
        return f"{self.kind} {self.number}" if self.kind != "none" else "on no list"


@dataclass(frozen=True)
class CacheView:
    """A cache: its number, its sizes in words, its cpus, nodes and remaining slabs."""

    number: int
    words: str
    owners: tuple[Owner, ...]

    def slabs(self) -> Iterator[SlabView]:
        for owner in self.owners:
            for slabs in owner.lists:
                yield from slabs.slabs


def caches(state: Plain, here: SlabMap, only: frozenset[int] | None = None) -> tuple[CacheView, ...]:
    """The caches in use, or `only` those, of a state that `here`, which is one made by `within`, fits."""
    reader = _Reader(state, here)
    found = (
        reader.cache(number, cache) for number, cache in enumerate(find(state, here.caches))
        if only is None or number in only
    )
    return tuple(view for view in found if view is not None)


def cache_of(state: Plain, here: SlabMap, page: int) -> int | None:
    """The cache whose slab a page is the head of."""
    slabs, count = find(state, here.slabs), len(find(state, here.caches))
    return number_at(slabs[page]["slab_cache"], count) if 0 <= page < len(slabs) else None


def touched(before: Plain, state: Plain, here: SlabMap) -> frozenset[int]:
    """The objects that are in another place than before."""
    if not here.fits(before):
        return frozenset()
    old, new = _Reader(before, here).places, _Reader(state, here).places
    return frozenset(object for object in old.keys() | new.keys() if old.get(object) != new.get(object))


OBJECT_NAMES = frozenset({"object", "obj", "pointer", "freed", "result_object"})
SLAB_NAMES = frozenset({"page", "slab"})


@dataclass(frozen=True)
class Guilty:
    """What the violated clause names."""

    objects: frozenset[int] = frozenset()
    slabs: frozenset[int] = frozenset()
    owners: frozenset[tuple[str, int]] = frozenset()
    caches: frozenset[int] = frozenset()


def guilty(trace: Trace, slots: int) -> Guilty:
    """The objects, slabs, cpus, nodes and caches that the violated clause names; a page and a slot are an object."""
    found = [(sort_name(name), value) for name, value in (trace.violation.elements if trace.violation else ())]
    slabs = frozenset(value for name, value in found if name in SLAB_NAMES)
    objects = {page * slots + value for page in slabs for name, value in found if name == "slot"}
    return Guilty(
        frozenset(objects | {value for name, value in found if name in OBJECT_NAMES}),
        slabs,
        frozenset((name, value) for name, value in found if name in ("cpu", "node")),
        frozenset(value for name, value in found if name == "cache"),
    )


class _Reader:
    """The freelists of a state, and the places of its objects."""

    def __init__(self, state: Plain, here: SlabMap) -> None:
        self.here = here
        self.state = state
        self.slabs: list[Record] = find(state, here.slabs)
        self.links: list[Plain] = find(state, here.links)
        self.slots = here.slots(state)
        pages = find(state, here.pages)
        self.pages: list[Plain] = pages if isinstance(pages, list) else []
        held = find(state, here.held)
        self.places: dict[int, tuple[str, ...]] = {}
        self.of_slab: dict[int, Freelist] = {}
        self.of_cpu: dict[tuple[int, int], Freelist] = {}
        for page, slab in enumerate(self.slabs):
            if slab.get("slab_cache") is not None or slab.get("freelist") is not None:
                self.of_slab[page] = self._walk(f"freelist of slab {page}", None, page, slab["freelist"])
        several = len(find(state, here.caches)) > 1
        for number, cache in enumerate(find(state, here.caches)):
            for cpu, record in enumerate(cache["cpu_slab"]):
                name = f"freelist of cpu {cpu}" + (f", cache {number}" if several else "")
                self.of_cpu[number, cpu] = self._walk(name, cpu, None, record["freelist"])
        self.through: dict[int, list[Freelist]] = {}
        for freelist in (*self.of_cpu.values(), *self.of_slab.values()):
            pages_met = {object // self.slots for object in freelist.objects}
            for page in pages_met | ({freelist.page} if freelist.page is not None else set()):
                self.through.setdefault(page, []).append(freelist)
        for freelist in (*self.of_slab.values(), *self.of_cpu.values()):
            for object in freelist.objects:
                self._place(object, freelist.name)
        self.on_cpus = {object for freelist in self.of_cpu.values() for object in freelist.objects}
        for object, owner in enumerate(held if isinstance(held, list) else []):
            if owner is not None and owner is not False:
                self._place(object, HELD)

    def _place(self, object: int, name: str) -> None:
        self.places[object] = (*self.places.get(object, ()), name)

    def _walk(self, name: str, cpu: int | None, page: int | None, first: Plain) -> Freelist:
        objects: list[int] = []
        seen: set[int] = set()
        target, loops_to, wrong = first, None, ""
        while target is not None:
            object = number_at(target, len(self.links))
            if object is None:
                wrong = f"leads to {shown_link(target)}, no object"
                break
            if object in seen:
                loops_to, wrong = object, f"loops back to {object}"
                break
            seen.add(object)
            objects.append(object)
            target = self.links[object]
        return Freelist(name, cpu, page, first, tuple(objects), loops_to, wrong)

    def cache(self, number: int, cache: Record) -> CacheView | None:
        """A cache, unless it is not in use and nothing is left of it."""
        mine = [page for page, slab in enumerate(self.slabs) if slab["slab_cache"] == number]
        where: dict[int, list[str]] = {}
        pages: list[tuple[str, int, str, list[int], bool, list[str]]] = []
        for cpu, record in enumerate(cache["cpu_slab"]):
            slab, odd = self._one(record["slab"])
            pages.append(("cpu", cpu, "slab", slab, False, odd))
            partial, odd = self._chain(record.get("partial"))
            pages.append(("cpu", cpu, "partial", partial, True, odd))
        for node, record in enumerate(cache["node"]):
            listed, odd = self._chain(record["first"], record)
            pages.append(("node", node, "partial", listed, True, odd))
        for kind, index, heading, found, _, _ in pages:
            for page in found:
                where.setdefault(page, []).append(f"{kind} {index} {heading}")
        rest = [page for page in mine if page not in where]
        if not cache.get("alive", True) and not mine and not where:
            return None
        pages.append(("none", 0, "", rest, False, []))
        base: Path = (*self.here.caches.split("."), number)
        owners = []
        for kind, index in dict.fromkeys((kind, index) for kind, index, *_ in pages):
            lists = tuple(
                SlabList(heading, tuple(self.slab(page, number, where.get(page, [])) for page in found), linked,
                         tuple(odd))
                for other, at, heading, found, linked, odd in pages if (other, at) == (kind, index)
            )
            facts = _facts(kind, index, cache, base)
            freelist = self.of_cpu[number, index] if kind == "cpu" else None
            if kind != "none" or rest:
                owners.append(Owner(kind, index, facts, lists, freelist))
        return CacheView(number, _words(cache), tuple(owners))

    def _one(self, value: Plain) -> tuple[list[int], list[str]]:
        page = number_at(value, len(self.slabs))
        return ([page], []) if page is not None else ([], [f"slab is {shown_link(value)}"] if value is not None else [])

    def _chain(self, first: Plain, ends: Record | None = None) -> tuple[list[int], list[str]]:
        """The slabs of a list and what is odd about it; a node's list goes both ways and is counted."""
        found: list[int] = []
        odd: list[str] = []
        target, previous = first, None
        while target is not None:
            page = number_at(target, len(self.slabs))
            if page is None or page in found:
                odd.append(f"loops back to {page}" if page is not None else f"leads to {shown_link(target)}")
                return found, odd
            found.append(page)
            if ends is not None and self.slabs[page].get("prev", previous) != previous:
                odd.append(f"prev of {page} is {shown_link(self.slabs[page]['prev'])}")
            target, previous = self.slabs[page].get("next"), page
        if ends is not None and ends.get("last", previous) != previous:
            odd.append(f"last is {shown_link(ends['last'])}")
        if ends is not None and ends.get("nr_partial", len(found)) != len(found):
            odd.append(f"nr_partial is {shown_link(ends['nr_partial'])}, listed {len(found)}")
        return found, odd

    def _has(self, slab: Record, slot: int) -> bool:
        """Whether a slab should have an object there: the first ones, or those that its cache says for so many."""
        count = number_at(slab.get("objects"), self.slots + 1)
        records = find(self.state, self.here.caches)
        owner = number_at(slab.get("slab_cache"), len(records))
        for name in ("oo", "min") if owner is not None else ():
            sizes = records[owner].get(name)
            if isinstance(sizes, Mapping) and sizes.get("objects") == count and isinstance(sizes.get("has"), list):
                return slot < len(sizes["has"]) and sizes["has"][slot] is True
        return slot < (self.slots if count is None else count)

    def slab(self, page: int, cache: int, where: Sequence[str]) -> SlabView:
        """A slab as one cache sees it."""
        record = self.slabs[page]
        first = page * self.slots
        inside = range(first, first + self.slots)
        count = number_at(record.get("objects"), self.slots + 1)
        cells = []
        for object in inside[:SHOWN_OBJECTS]:
            places = self.places.get(object, ())
            if places or self._has(record, object - first):
                cells.append(Cell(object, self._kind(object, places), places))
        lists = self.through.get(page, [])
        twice: dict[tuple[str, ...], list[int]] = {}
        for cell in cells:
            if cell.kind == "twice":
                twice.setdefault(cell.places, []).append(cell.object)
        remarks = [f"{_objects(objects)} on {' and '.join(places)}" for places, objects in twice.items()]
        lost = [cell.object for cell in cells if cell.kind == "lost"]
        if lost:
            remarks.append(f"{_objects(lost)} lost: on no freelist, not held")
        remarks += [f"{freelist.name} {freelist.wrong}" for freelist in lists if freelist.wrong and (
            freelist.page == page or (freelist.objects and freelist.objects[-1] in inside))]
        own = self.of_slab.get(page)
        strays = [object for object in own.objects if object not in inside] if own is not None else []
        remarks += [f"its freelist leads to object {strays[0]} of page {strays[0] // self.slots}"] if strays else []
        if record["slab_cache"] != cache:
            owner = record["slab_cache"]
            remarks.append("no slab" if owner is None else f"a slab of cache {shown_link(owner)}")
        elif own is not None and count is not None and not own.wrong and record["inuse"] != count - len(own.objects):
            remarks.append(f"inuse is {shown_link(record['inuse'])}, should be {count - len(own.objects)}")
        if len(where) > 1:
            remarks.append(f"in {len(where)} places: {', '.join(where)}")
        compound = self.pages[page] if page < len(self.pages) else None
        order = compound.get("compound") if isinstance(compound, Mapping) else None
        return SlabView(page, order, record["slab_cache"], record.get("objects"), record["inuse"],
                        record.get("frozen"), tuple(cells), tuple(lists), tuple(remarks))

    def _kind(self, object: int, places: Sequence[str]) -> str:
        if len(places) != 1:
            return "twice" if places else "lost"
        if places[0] == HELD:
            return "held"
        return "cpu" if object in self.on_cpus else "free"


def _objects(numbers: Sequence[int]) -> str:
    """`object 3 is`, `objects 3, 5 are`."""
    if len(numbers) == 1:
        return f"object {numbers[0]} is"
    words = ", ".join(map(str, numbers[:4])) + (f" and {len(numbers) - 4} more" if len(numbers) > 4 else "")
    return f"objects {words} are"


def _facts(kind: str, index: int, cache: Record, base: Path) -> tuple[tuple[str, Path, Plain], ...]:
    if kind == "none":
        return ()
    array, names = ("cpu_slab", ("tid",)) if kind == "cpu" else ("node", ("nr_partial", "nr_slabs", "total_objects"))
    record = cache[array][index]
    return tuple((name, (*base, array, index, name), record[name]) for name in names if name in record)


def _words(cache: Record) -> str:
    """A cache's sizes in words."""
    words = []
    oo = cache.get("oo")
    if isinstance(oo, Mapping):
        words.append(f"{shown_link(oo.get('objects'))} objects a slab of order {shown_link(oo.get('order'))}")
    words += [f"{name} {shown_link(cache[name])}" for name in ("min_partial", "cpu_partial_slabs") if name in cache]
    if not cache.get("alive", True):
        words.append("not alive")
    return " · ".join(words)
