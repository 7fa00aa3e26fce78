"""The memory map in a state: blocks by order, free lists, and which page is covered by what.

The one idea: a view receives a `MemoryMap`, a description of where a specification keeps its pages and lists, and
reads every state through it into plain shapes to draw. Broken states are the point of a counterexample, so reading
assumes nothing: lists may loop, blocks overlap, numbers lie outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..model.lang.trace import Plain, Trace
from .changes import Path, sort_name
from .text import printable

LARGEST_ORDER = 40
MOST_PAGES = 1 << 16
"""A larger map is drawn as any other array is."""


@dataclass(frozen=True)
class MemoryMap:
    """Where a specification keeps its memory map. Paths are dotted; the other names are fields of an element.

    `pages` is the array of page records with `flag` (is a free block's head), `order`, `next`, `prev`; `lists` has for
    each order `head`, `tail` and `count`; `owner` has for each page the order of the block that the client holds there.
    The scope's `zone_start` and `zone_pages` say which pages are the zone's; there may be a page record for others.
    Elements of a violation whose sort is in `page_names` (or `order_names`) are pages (or orders)."""

    pages: str = "zone.mem_map"
    flag: str = "buddy"
    order: str = "order"
    next: str = "next"
    prev: str = "prev"
    lists: str = "zone.free_area"
    head: str = "first"
    tail: str = "last"
    count: str = "nr_free"
    owner: str = "held"
    zone_start: str = "start"
    zone_pages: str = "pages"
    page_names: tuple[str, ...] = ("page", "buddy", "block", "head", "neighbour", "other", "first", "second", "next")
    order_names: tuple[str, ...] = ("order",)

    def recognises(self, state: Plain) -> bool:
        """Whether a state has such pages and lists."""
        pages, lists = find(state, self.pages), find(state, self.lists)
        return (
            isinstance(pages, list)
            and isinstance(lists, list)
            and 0 < len(pages) <= MOST_PAGES
            and 0 < len(lists) <= LARGEST_ORDER + 1
            and all(isinstance(page, Mapping) and {self.flag, self.order} <= page.keys() for page in pages)
            and all(isinstance(area, Mapping) and self.head in area for area in lists)
        )

    def covers(self, path: Path) -> bool:
        """Whether the picture of the map shows the value at this path."""
        names = ".".join(part for part in path if isinstance(part, str))
        inside = {f"{self.pages}.{name}" for name in (self.flag, self.order, self.next, self.prev)}
        inside |= {f"{self.lists}.{name}" for name in (self.head, self.tail, self.count)}
        return names in inside or names == self.owner

    def lengths(self, state: Plain) -> dict[str, int]:
        """How many elements the sorts of pages and orders have in a state; empty if it has no such map."""
        if not self.recognises(state):
            return {}
        pages, orders = len(find(state, self.pages)), len(find(state, self.lists))
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
"""The map of `model/buddy.py`."""


@dataclass(frozen=True)
class Block:
    """A block: pages `head` to `stop` (exclusive, within the map); `beyond` says that it ends outside the map."""

    head: int
    stop: int
    order: int
    free: bool
    beyond: bool

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
    """An order's list as walked from its head. `loops_to` is the page at which it closes; `lost` is a link that leads
    outside the map; `unlisted` are free blocks of this order that the walk does not meet; `remarks` say what is odd."""

    order: int
    count: Plain
    links: tuple[Link, ...]
    loops_to: int | None
    unlisted: tuple[int, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Memory:
    """A state's memory map, ready to draw. `free` and `held` count for each page the blocks that cover it."""

    pages: int
    orders: tuple[int, ...]
    listed_orders: int
    blocks: tuple[Block, ...]
    lists: tuple[FreeList, ...]
    free: tuple[int, ...]
    held: tuple[int, ...]
    zone: tuple[int, int]

    def cover(self, page: int) -> str:
        """What a page is in: "none", "free", "held", "twice" for more than one block, or "outside" the zone and in no
        block."""
        total = self.free[page] + self.held[page]
        if total > 1:
            return "twice"
        if total == 0:
            return "none" if self.zone[0] <= page < self.zone[1] else "outside"
        return "free" if self.free[page] else "held"


def find(state: Plain, dotted: str) -> Plain:
    """The value at a dotted path, or None."""
    node = state
    for name in dotted.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node


def page_at(value: Plain, pages: int) -> int | None:
    """`value` if it is the number of a page."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < pages else None


def read(state: Plain, description: MemoryMap, scope: Mapping[str, int] | None = None) -> Memory:
    """The memory map of a state that the description recognises."""
    records = find(state, description.pages)
    areas = find(state, description.lists)
    blocks = _blocks(state, description, records)
    lists = tuple(_free_list(order, area, records, description) for order, area in enumerate(areas))
    orders = sorted({block.order for block in blocks} | set(range(len(areas))), reverse=True)
    start = (scope or {}).get(description.zone_start, 0)
    stop = start + (scope or {}).get(description.zone_pages, len(records))
    return Memory(
        pages=len(records),
        orders=tuple(orders),
        listed_orders=len(areas),
        blocks=blocks,
        lists=lists,
        free=_cover(blocks, len(records), True),
        held=_cover(blocks, len(records), False),
        zone=(start, stop),
    )


def _cover(blocks: tuple[Block, ...], pages: int, free: bool) -> tuple[int, ...]:
    """For each page how many blocks cover it."""
    steps = [0] * (pages + 1)
    for block in blocks:
        if block.free == free:
            steps[block.head] += 1
            steps[block.stop] -= 1
    return tuple(accumulate(steps[:pages]))


def _blocks(state: Plain, description: MemoryMap, records: list[Mapping[str, Plain]]) -> tuple[Block, ...]:
    found = []
    for page, record in enumerate(records):
        if record[description.flag]:
            found.append(_block(page, record[description.order], True, len(records)))
    owner = find(state, description.owner)
    if isinstance(owner, list):
        for page, order in enumerate(owner[: len(records)]):
            if order is not None:
                found.append(_block(page, order, False, len(records)))
    return tuple(block for block in found if block is not None)


def _block(page: int, order: Plain, free: bool, pages: int) -> Block | None:
    if not isinstance(order, int) or isinstance(order, bool) or not 0 <= order <= LARGEST_ORDER:
        return None
    stop = page + (1 << order)
    return Block(page, min(stop, pages), order, free, stop > pages)


def _free_list(
    order: int, area: Mapping[str, Plain], records: list[Mapping[str, Plain]], description: MemoryMap
) -> FreeList:
    links: list[Link] = []
    seen: set[int] = set()
    remarks: list[str] = []
    loops_to = None
    previous: int | None = None
    target = area[description.head]
    while target is not None:
        page = page_at(target, len(records))
        if page is None:
            remarks.append(f"leads to {shown_link(target)}, outside the map")
            break
        if page in seen:
            loops_to = page
            remarks.append(f"loops back to {page}")
            break
        seen.add(page)
        record = records[page]
        remark = _odd(record, order, description)
        links.append(Link(page, record.get(description.prev, previous), previous, remark))
        previous = page
        target = record.get(description.next)
    count = area.get(description.count)
    if loops_to is None:
        if isinstance(count, int) and count != len(links):
            remarks.append(f"{description.count} is {count}, listed {len(links)}")
        tail = area.get(description.tail, previous)
        if tail != previous:
            remarks.append(f"{description.tail} is {shown_link(tail)}, the walk ends at {shown_link(previous)}")
    unlisted = tuple(
        page for page, record in enumerate(records)
        if record[description.flag] and record[description.order] == order and page not in seen
    )
    return FreeList(order, count, tuple(links), loops_to, unlisted, tuple(remarks))


def _odd(record: Mapping[str, Plain], order: int, description: MemoryMap) -> str:
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
    for block in sorted(blocks, key=lambda block: (block.head, block.free)):
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
        elif sort in description.page_names and page_at(value, pages) is not None:
            guilty_pages.add(value)
    return frozenset(guilty_pages), frozenset(guilty_orders)
