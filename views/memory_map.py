"""The memory map in a state: blocks by order, free lists, and which page is covered by what.

The one idea: a view receives a `MemoryMap`, a description of where a specification keeps its pages and lists, and
reads every state through it into plain shapes to draw. Broken states are the point of a counterexample, so reading
assumes nothing: lists may loop, blocks overlap, numbers lie outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

from ..model.lang.trace import Plain, Trace
from .changes import Path, sort_name
from .text import printable

LARGEST_ORDER = 40
MOST_PAGES = 1 << 16
"""A larger map is drawn as any other array is."""
MOST_LISTS = 1 << 12
DEEPEST = 3
"""Records inside records in which the map is looked for."""

Record = Mapping[str, Plain]


@dataclass(frozen=True)
class MemoryMap:
    """Where a specification keeps its memory map. `pages`, `kinds`, `zone`, `owner`, `slabs` and `large` are dotted
    paths, the other names are fields.

    `pages` is the array of page records with `flag` (is a free block's head), `order`, `next`, `prev`; `zone` is a
    record or an array of them, each with `lists`: for each order the `count` and `types`, for each migrate type `head`
    and `tail` (or these at once, if there are no types). A zone may have, under any name, an array over cpus of records
    with `cpu_lists` and `cpu_count`. `owner` (or else `holder`) has for each page the order of the block that a client
    holds there, or a record with it, and `kinds` for each pageblock its migrate type. With `slabs`, an array over pages
    of records with `slab_cache`, clients hold objects instead, and the blocks that `large` has a flag for; the order of
    these is the `compound` of the page, if it is not None. `folios` is an array over pages of records with `refcount`:
    where that is not 0, the page is user memory.
    The scope's `zone_start` and `zone_pages` (with 1, 2… for further zones) say which pages are a zone's; there may be
    a page record for others.
    Elements of a violation whose sort is in `page_names` (or `order_names`) are pages (or orders)."""

    pages: str = "memory.mem_map"
    flag: str = "buddy"
    order: str = "order"
    next: str = "next"
    prev: str = "prev"
    compound: str = "compound"
    kinds: str = "memory.pageblock_flags"
    zone: str = "zone"
    lists: str = "free_area"
    count: str = "nr_free"
    types: str = "free_list"
    head: str = "first"
    tail: str = "last"
    cpu_lists: str = "lists"
    cpu_count: str = "count"
    owner: str = "held"
    holder: str = "block"
    slabs: str = "slab"
    large: str = "held_large"
    folios: str = "folio"
    zone_start: str = "start"
    zone_pages: str = "pages"
    page_names: tuple[str, ...] = ("page", "buddy", "block", "head", "neighbour", "other", "first", "second", "next")
    order_names: tuple[str, ...] = ("order",)

    def within(self, state: Plain) -> MemoryMap | None:
        """This description with its paths as they are in a state, whose map may be some records deep; None if the
        state has no such pages and lists."""
        for prefix in records_within(state):
            pages, kinds, zone, owner, folios = (
                ".".join((*prefix, *path.split("."))) if path else ".".join(prefix)
                for path in (self.pages, self.kinds, self.zone, self.owner, self.folios)
            )
            moved = replace(self, pages=pages, kinds=kinds, zone=zone, folios=folios)
            if moved.fits(state):
                if isinstance(find(state, self.slabs), list):
                    return replace(moved, owner="")
                places = (owner, self.owner, self.holder)
                return replace(moved, owner=next((path for path in places if find(state, path) is not None), owner))
        return None

    def recognises(self, state: Plain) -> bool:
        """Whether a state has such pages and lists."""
        return self.within(state) is not None

    def zones(self, state: Plain) -> list[tuple[int | None, Record]]:
        """The zones, numbered if they are several."""
        found = find(state, self.zone) if self.zone else state
        if isinstance(found, list) and len(found) != 1:
            return [(number, zone) for number, zone in enumerate(found) if isinstance(zone, Mapping)]
        found = found[0] if isinstance(found, list) else found
        return [(None, found)] if isinstance(found, Mapping) else []

    def fits(self, state: Plain) -> bool:
        """Whether a state has such pages and lists at these very paths."""
        pages, zones = find(state, self.pages), self.zones(state)
        return (
            isinstance(pages, list)
            and 0 < len(pages) <= MOST_PAGES
            and all(isinstance(page, Mapping) and {self.flag, self.order} <= page.keys() for page in pages)
            and bool(zones)
            and all(self._has_lists(zone.get(self.lists)) for _, zone in zones)
        )

    def _has_lists(self, areas: Plain) -> bool:
        if not isinstance(areas, list) or not 0 < len(areas) <= LARGEST_ORDER + 1:
            return False
        return all(isinstance(area, Mapping) and 0 < len(self.heads(area)) <= MOST_LISTS for area in areas)

    def heads(self, area: Record) -> list[Record]:
        """The heads of an area's lists, one for each migrate type."""
        kinds = area.get(self.types, [area])
        if not isinstance(kinds, list):
            return []
        fitting = [kind for kind in kinds if isinstance(kind, Mapping) and self.head in kind]
        return fitting if len(fitting) == len(kinds) else []

    def per_cpu(self, zone: Record) -> list[tuple[str, list[Record]]]:
        """The per-cpu page lists of a zone: the name of the array and its records."""
        return [
            (name, value) for name, value in zone.items()
            if isinstance(value, list) and value and all(
                isinstance(cpu, Mapping) and isinstance(lists := cpu.get(self.cpu_lists), list)
                and all(isinstance(head, Mapping) and self.head in head for head in lists)
                for cpu in value
            )
        ]

    def covers(self, path: Path) -> bool:
        """Whether the picture of the map shows the value at this path."""
        names = ".".join(part for part in path if isinstance(part, str))
        inside = {f"{self.pages}.{name}" for name in (self.flag, self.order, self.next, self.prev, self.compound)}
        area = f"{self.zone}.{self.lists}" if self.zone else self.lists
        ends = (self.head, self.tail)
        inside |= {f"{area}.{name}" for name in (self.count, *ends)} | {f"{area}.{self.types}.{name}" for name in ends}
        if names in inside or names in (self.owner, f"{self.owner}.{self.order}", self.kinds):
            return True
        per_cpu = names.removeprefix(f"{self.zone}.").split(".") if names.startswith(f"{self.zone}.") else []
        return per_cpu[1:] in [[self.cpu_count], *([self.cpu_lists, name] for name in ends)]

    def shows(self, path: Path) -> bool:
        """Whether the picture of the map changes with the value at this path."""
        return self.covers(path) or path[:1] == (self.large,)

    def lengths(self, state: Plain) -> dict[str, int]:
        """How many elements the sorts of pages and orders have in a state; empty if it has no such map."""
        here = self.within(state)
        if here is None:
            return {}
        pages, orders = len(find(state, here.pages)), max(len(zone[here.lists]) for _, zone in here.zones(state))
        return dict.fromkeys(self.page_names, pages) | dict.fromkeys(self.order_names, orders)

    def touched(self, changed: Iterable[Path]) -> frozenset[int]:
        """The pages of which something changed that the map shows."""
        prefixes = (tuple(self.pages.split(".")), tuple(self.owner.split(".")))
        return frozenset(
            part
            for path in changed
            for prefix in prefixes
            if path[: len(prefix)] == prefix and self.covers(path)
            for part in path[len(prefix) : len(prefix) + 1]
            if isinstance(part, int)
        )


BUDDY = MemoryMap()
"""The map of `model/buddy.py` and of the machines that are made of it."""
ZONE_NAMES = ("zone", "z")
"""How a violation names a zone."""


@dataclass(frozen=True)
class Block:
    """A block: pages `head` to `stop` (exclusive, within the map), which is "free", "held", on a "pcp" list, a
    "slab" or of a "user"; `beyond` says that it ends outside the map."""

    head: int
    stop: int
    order: int
    kind: str
    beyond: bool

    @property
    def free(self) -> bool:
        return self.kind == "free"

    def label(self) -> str:
        return str(self.head) if self.stop == self.head + 1 and not self.beyond else (
            f"{self.head}-{self.head + (1 << self.order) - 1}"
        )


@dataclass(frozen=True)
class Link:
    """A page on a list: its `prev` as stored, and as it should be for the way we came."""

    page: int
    prev: Plain
    expected: int | None
    remark: str


@dataclass(frozen=True)
class FreeList:
    """A list as walked from its head; `name` is its migrate type if there are several. `loops_to` is the page at which
    it closes; `lost` says that a link leads outside the map; `remarks` say what is odd."""

    name: str
    order: int
    links: tuple[Link, ...]
    loops_to: int | None
    lost: bool
    remarks: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not self.links and not self.remarks


@dataclass(frozen=True)
class Area:
    """The lists of one order of a zone, or of one cpu if `cpu` is not None. `unlisted` are free blocks of the order
    that no list of the zone has; `remarks` say what is odd about them together."""

    zone: int | None
    order: int
    cpu: int | None
    count: Plain
    lists: tuple[FreeList, ...]
    unlisted: tuple[int, ...]
    remarks: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to see."""
        return not (self.unlisted or self.remarks) and all(free_list.empty for free_list in self.lists)

    def shown(self) -> tuple[FreeList, ...]:
        """The lists worth a line: all that have something, or the first."""
        return tuple(free_list for free_list in self.lists if not free_list.empty) or self.lists[:1]


@dataclass(frozen=True)
class Memory:
    """A state's memory map, ready to draw. `cover` says for each page what it is in: "none", "free", "held", "pcp",
    "slab", "twice" for more than one block, or "outside" every zone and in no block; `zones` are first page, end and
    number; `kinds` are the migrate types of the pageblocks, if there are several types."""

    pages: int
    orders: tuple[int, ...]
    listed_orders: int
    blocks: tuple[Block, ...]
    areas: tuple[Area, ...]
    covers: tuple[str, ...]
    zones: tuple[tuple[int, int, int | None], ...]
    kinds: tuple[Plain, ...]

    def cover(self, page: int) -> str:
        return self.covers[page]

    def pageblocks(self, scope: Mapping[str, int]) -> Iterator[tuple[int, int, Plain]]:
        """First page, end and migrate type of each pageblock, if there are several types."""
        size = 1 << scope.get("pageblock_order", max(0, (self.pages // max(1, len(self.kinds))).bit_length() - 1))
        for number, kind in enumerate(self.kinds):
            if number * size < self.pages:
                yield number * size, min((number + 1) * size, self.pages), kind

    def areas_of(self, order: int) -> tuple[Area, ...]:
        """The free lists of an order in every zone; of several, those that have something."""
        found = tuple(area for area in self.areas if area.order == order and area.cpu is None)
        return found if len(found) < 2 else tuple(area for area in found if not area.quiet) or found[:1]

    def cpus(self) -> tuple[int, ...]:
        """The cpus that keep lists of pages with something on them."""
        return tuple(sorted({area.cpu for area in self.areas if area.cpu is not None and not area.quiet}))

    def areas_of_cpu(self, cpu: int) -> tuple[Area, ...]:
        return tuple(area for area in self.areas if area.cpu == cpu and not area.quiet)


def find(state: Plain, dotted: str) -> Plain:
    """The value at a dotted path, or None."""
    node = state
    for name in dotted.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node


def records_within(state: Plain, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the records in a state that are in no array."""
    if isinstance(state, Mapping):
        yield prefix
        for name, value in state.items():
            if len(prefix) < DEEPEST:
                yield from records_within(value, (*prefix, name))


def number_at(value: Plain, count: int) -> int | None:
    """`value` if it is the number of one of `count` elements."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count else None


@cache
def type_names() -> Mapping[int, str]:
    """The kernel's names of the migrate types."""
    from ..model import buddy

    return {
        value: name.removeprefix("MIGRATE_").lower() for name, value in vars(buddy).items()
        if name.startswith("MIGRATE_") and name != "MIGRATE_PCPTYPES"
    }


def type_name(value: Plain) -> str:
    """The name of a migrate type, or the value if it is none."""
    known = isinstance(value, int) and not isinstance(value, bool)
    return type_names().get(value, f"type {value}") if known else shown_link(value)


def read(state: Plain, description: MemoryMap, scope: Mapping[str, int] | None = None) -> Memory:
    """The memory map of a state that the description, which is one made by `within`, recognises."""
    records = find(state, description.pages)
    zones = description.zones(state)
    spans = tuple(_span(number, zone, description, scope or {}, len(records)) for number, zone in zones)
    areas = tuple(
        area
        for (number, zone), (start, stop, _) in zip(zones, spans, strict=True)
        for area in _areas(number, zone, (start, stop) if number is not None else None, records, description,
                           scope or {})
    )
    blocks = _blocks(state, description, records, areas)
    listed = max(len(zone[description.lists]) for _, zone in zones)
    kinds = find(state, description.kinds) if description.kinds else None
    several = any(len(area.lists) > 1 for area in areas if area.cpu is None)
    return Memory(
        pages=len(records),
        orders=tuple(sorted({*range(listed), *(block.order for block in blocks if block.kind != "pcp")}, reverse=True)),
        listed_orders=listed,
        blocks=blocks,
        areas=areas,
        covers=_covers(blocks, len(records), spans),
        zones=spans,
        kinds=tuple(kinds) if several and isinstance(kinds, list) else (),
    )


def _span(
    number: int | None, zone: Record, description: MemoryMap, scope: Mapping[str, int], pages: int
) -> tuple[int, int, int | None]:
    """The first page of a zone, the end, and its number: as its record says, or the scope."""
    start, count = zone.get("zone_start_pfn"), zone.get("spanned_pages")
    if not isinstance(start, int) or not isinstance(count, int):
        suffix = str(number) if number else ""
        start = scope.get(description.zone_start + suffix, 0)
        count = scope.get(description.zone_pages + suffix, pages)
    start = min(max(start, 0), pages)
    return start, min(max(start + count, start), pages), number


def _covers(blocks: Sequence[Block], pages: int, zones: Sequence[tuple[int, int, int | None]]) -> tuple[str, ...]:
    steps: dict[str, list[int]] = {}
    for block in blocks:
        step = steps.setdefault(block.kind, [0] * (pages + 1))
        step[block.head] += 1
        step[block.stop] -= 1
    counts = {kind: list(accumulate(step[:pages])) for kind, step in steps.items()}
    found = []
    for page in range(pages):
        kinds = [kind for kind, count in counts.items() if count[page]]
        inside = any(start <= page < stop for start, stop, _ in zones)
        if not kinds:
            found.append("none" if inside else "outside")
        else:
            found.append(kinds[0] if sum(count[page] for count in counts.values()) == 1 else "twice")
    return tuple(found)


def _blocks(
    state: Plain, description: MemoryMap, records: list[Record], areas: Sequence[Area]
) -> tuple[Block, ...]:
    heads = [(page, record[description.order], "free") for page, record in enumerate(records)
             if record[description.flag]]
    slabs, owner, large = (find(state, path) for path in (description.slabs, description.owner, description.large))
    if isinstance(slabs, list):
        flags = large if isinstance(large, list) else []
        for page, record in enumerate(slabs[: len(records)]):
            order = records[page].get(description.compound)
            if isinstance(record, Mapping) and record.get("slab_cache") is not None:
                heads.append((page, 0 if order is None else order, "slab"))
            elif page < len(flags) and flags[page]:
                heads.append((page, 0 if order is None else order, "held"))
    elif isinstance(owner, list):
        orders = (held.get(description.order) if isinstance(held, Mapping) else held for held in owner[: len(records)])
        heads += [(page, order, "held") for page, order in enumerate(orders) if order is not None]
    folios = find(state, description.folios)
    heads += [
        (page, 0, "user") for page, folio in enumerate(folios[: len(records)] if isinstance(folios, list) else [])
        if isinstance(folio, Mapping) and folio.get("refcount") not in (0, None)
    ]
    heads += [
        (page, free_list.order, "pcp") for area in areas if area.cpu is not None for free_list in area.lists
        for page in sorted({link.page for link in free_list.links})
    ]
    return tuple(
        block for head, order, kind in heads if (block := _block(head, order, kind, len(records))) is not None
    )


def _block(page: int, order: Plain, kind: str, pages: int) -> Block | None:
    if number_at(order, LARGEST_ORDER + 1) is None:
        return None
    stop = page + (1 << order)
    return Block(page, min(stop, pages), order, kind, stop > pages)


def _areas(
    number: int | None, zone: Record, span: tuple[int, int] | None, records: list[Record], description: MemoryMap,
    scope: Mapping[str, int],
) -> Iterator[Area]:
    """The free lists of a zone's orders, then those of its cpus."""
    for order, area in enumerate(zone[description.lists]):
        heads = description.heads(area)
        lists = tuple(
            _walk(type_name(kind) if len(heads) > 1 else "", order, head, records, description, True)
            for kind, head in enumerate(heads)
        )
        seen = {link.page for free_list in lists for link in free_list.links}
        unlisted = tuple(
            page for page, record in enumerate(records)
            if record[description.flag] and record[description.order] == order and page not in seen
            and (span is None or span[0] <= page < span[1])
        )
        count = area.get(description.count)
        yield Area(number, order, None, count, lists, unlisted, _miscounted(description.count, count, lists))
    for _, cpus in description.per_cpu(zone):
        for cpu, record in enumerate(cpus):
            lists = tuple(
                _walk(*_cpu_list(index, scope), head, records, description, False)
                for index, head in enumerate(record[description.cpu_lists])
            )
            count = record.get(description.cpu_count)
            yield Area(number, 0, cpu, count, lists, (), _miscounted(description.cpu_count, count, lists, weighed=True))


def _cpu_list(index: int, scope: Mapping[str, int]) -> tuple[str, int]:
    """What is on a cpu's list, and of which order: it is number order * types + type (order_to_pindex())."""
    types, orders = max(1, scope.get("pcp_types", 3)), scope.get("pcp_orders", 4)
    order, kind = divmod(index, types)
    if order >= orders:
        return "pageblocks", scope.get("pageblock_order", order)
    return " ".join([f"order {order}", *([type_name(kind)] if types > 1 else [])]), order


def _miscounted(name: str, count: Plain, lists: Sequence[FreeList], weighed: bool = False) -> tuple[str, ...]:
    """That a counter is not the length of its lists, or the number of pages on them."""
    whole = all(free_list.loops_to is None for free_list in lists)
    listed = sum(len(free_list.links) << (min(free_list.order, LARGEST_ORDER) if weighed else 0) for free_list in lists)
    if whole and isinstance(count, int) and count != listed:
        return (f"{name} is {shown_link(count)}, listed {listed}",)
    return ()


def _walk(
    name: str, order: int, area: Record, records: list[Record], description: MemoryMap, buddy: bool
) -> FreeList:
    """A list from its head; on a `buddy` list, every page should be the head of a free block of the order."""
    links: list[Link] = []
    seen: set[int] = set()
    remarks: list[str] = []
    loops_to = None
    lost = False
    previous: int | None = None
    target = area[description.head]
    while target is not None:
        page = number_at(target, len(records))
        if page is None:
            lost = True
            remarks.append(f"leads to {shown_link(target)}, outside the map")
            break
        if page in seen:
            loops_to = page
            remarks.append(f"loops back to {page}")
            break
        seen.add(page)
        record = records[page]
        remark = _odd(record, order, description) if buddy else "PageBuddy" if record[description.flag] else ""
        links.append(Link(page, record.get(description.prev, previous), previous, remark))
        previous = page
        target = record.get(description.next)
    if loops_to is None:
        tail = area.get(description.tail, previous)
        if tail != previous:
            remarks.append(f"{description.tail} is {shown_link(tail)}, the walk ends at {shown_link(previous)}")
    return FreeList(name, order, tuple(links), loops_to, lost, tuple(remarks))


def _odd(record: Record, order: int, description: MemoryMap) -> str:
    if not record[description.flag]:
        return "not free"
    return "" if record[description.order] == order else f"order {shown_link(record[description.order])}"


def shown_link(value: Plain) -> str:
    """A link as words."""
    return "none" if value is None else printable(str(value), 20)


def lanes_of(blocks: Sequence[Block], limit: int) -> dict[Block, int]:
    """A lane for each block of one order, so that blocks which overlap are in different lanes; `limit` and more means
    that there is no room for the block."""
    ends: list[int] = []
    lanes: dict[Block, int] = {}
    for block in sorted(blocks, key=lambda block: (block.head, block.kind)):
        lane = next((number for number, end in enumerate(ends) if end <= block.head), len(ends))
        if lane < limit:
            ends[lane : lane + 1] = [block.stop]
        lanes[block] = lane
    return lanes


def culprits(trace: Trace, description: MemoryMap, pages: int) -> tuple[frozenset[int], frozenset[int]]:
    """The pages and the orders that the violated clause names."""
    guilty_pages, guilty_orders = set(), set()
    for name, value in trace.violation.elements if trace.violation else ():
        sort = sort_name(name)
        if sort in {sort_name(order) for order in description.order_names}:
            guilty_orders.add(value)
        elif sort in description.page_names and number_at(value, pages) is not None:
            guilty_pages.add(value)
    return frozenset(guilty_pages), frozenset(guilty_orders)
