"""The page-allocator contract: its clauses, its oracle, its generators and its scopes.

The one idea: under eager coalescing the set of free pages says everything. An allocation of order k must succeed
exactly when an aligned run of 2**k free pages exists, whatever the placement policy: checked at every call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice, zip_longest
from typing import Any, TypeVar

from ...model.lang.errors import InputError, ScopeError
from .contract import Call, Clause, Contract, Declaration, Declared
from .interface import Attempt, Interface
from .judging import Broken, judge_memory
from .lockstep import LockStep
from .misuse import MISUSE_CALLS, MISUSE_CHECKS, MISUSE_CLAUSE, MISUSE_DECLARATIONS
from .page_walks import WalkedPages
from .python_class import MethodAdapter, constructed, methods_of
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence, every_sequence, unfreed

T = TypeVar("T")
CONTRACT = Contract(
    name="page-allocator",
    title="blocks of 2**order pages from pages 0 to pages-1, merged eagerly when freed",
    target="a Python class or factory: MyBuddy(pages, orders) with alloc(order) -> page | None and free(page, order)",
    operations={
        "alloc": Call(
            "alloc(order): the first page of 2**order contiguous pages, None when there is no such block",
            numbers=("order",),
            result="block",
        ),
        "free": Call("free(page, order): gives back a block that alloc returned", takes_block=True),
        **MISUSE_CALLS,
    },
    clauses=(
        Clause("in-bounds", "a block lies whole inside pages 0 to pages-1"),
        Clause("aligned", "the first page of a block of order k is a multiple of 2**k"),
        Clause("disjoint", "a block shares no page with a live block"),
        Clause("usable", "every byte of a returned block can be read and written, where blocks are memory"),
        Clause("contents", "the contents of every live block are unchanged after every operation"),
        Clause("exact-success", "alloc(k) succeeds exactly when an aligned run of 2**k free pages exists"),
        Clause("linux-choice", "the block is the one that Linux's buddy allocator takes (where that is declared)"),
        Clause("capacity", "when everything is freed, every block a new allocator can give is available again"),
        MISUSE_CLAUSE,
    ),
    declarations={
        "choice": Declaration(
            "any", "which block is taken: any that fits, or the one that Linux takes (linux)", ("any", "linux")
        ),
        "usable": Declaration(
            "all", "which pages can be given: all, or those that a new allocator gives when it is filled (probed)",
            ("all", "probed"),
        ),
        **MISUSE_DECLARATIONS,
    },
)

METHODS = ("alloc", "free")
TINY_SCOPES = ((2, 2, 5), (3, 2, 5), (4, 2, 4), (4, 3, 4), (6, 3, 4))
"""Scopes searched by every sequence of the given length: pages, orders, length."""
SCOPES = ((4, 3), (1, 1), (3, 2), (6, 3), (8, 4), (13, 4), (16, 5), (64, 7), (100, 6))
FIRST = 40
"""Short sequences that are tried before the long ones begin: what they find is minimal at once."""
MAXIMUM_PAGES, MAXIMUM_ORDERS = 4096, 20


class FreePages:
    """The free pages of a scope as a bit mask."""

    def __init__(self, scope: Mapping[str, int], reserved: int = 0) -> None:
        self.pages = scope["pages"]
        self.orders = scope["orders"]
        self.taken = reserved

    def first_run(self, order: int) -> int | None:
        """The first aligned run of 2**order free pages."""
        block = (1 << (1 << order)) - 1
        for page in range(0, self.pages - (1 << order) + 1, 1 << order):
            if not self.taken & block << page:
                return page
        return None

    def flip(self, page: int, order: int) -> None:
        """Take a free block, or give back a taken one."""
        self.taken ^= ((1 << (1 << order)) - 1) << page

    def largest_order(self) -> int:
        """The largest order that fits into the empty scope."""
        return min(self.orders, self.pages.bit_length()) - 1


class PageOracle:
    """Follows one run of a page allocator."""

    def __init__(
        self, scope: Mapping[str, int], reserved: int, learning: bool, linux: LockStep | None = None
    ) -> None:
        self.free, self.learning, self.linux = FreePages(scope, reserved), learning, linux
        self.live: dict[int, tuple[int, int]] = {}
        self.freed_since_empty = 0
        self.anything_freed = False
        self.counts: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    def expected(self, operation: Operation) -> str:
        """A block exactly when an aligned run is free."""
        if operation.kind == "free":
            return "the block is free again"
        size = 1 << operation.arguments[0]
        run = f"an aligned run of {size} free page{'s' if size > 1 else ''}"
        if self.free.first_run(operation.arguments[0]) is None:
            return f"None: there is not {run}"
        return run if self.linux is None else f"{run}: the one that Linux takes"

    def show(self, operation: Operation, value: int | None) -> str:
        """page 4, None, returned."""
        if operation.kind == "free":
            return "returned"
        return "None" if value is None else f"page {value}"

    def observe(self, index: int, operation: Operation, value: int | None) -> Broken | None:
        """Judge one call."""
        if operation.kind == "free":
            assert operation.block is not None
            page, order = self.live.pop(operation.block)
            self.free.flip(page, order)
            if self.linux is not None:
                self.linux.take("free_pages", page)
            self.freed_since_empty += 1
            self.anything_freed = True
            return None
        order = operation.arguments[0]
        if value is None:
            return self.refused(order)
        broken = self.misplaced(value, order) or self.chosen(value, order)
        if broken is None:
            self.granted(index, value, order)
        return broken

    def chosen(self, page: int, order: int) -> Broken | None:
        """Is it the block that Linux takes? The model itself says which (model/buddy.py), in lock step."""
        taken = page if self.linux is None else self.linux.take("alloc_pages", order)
        if taken == page:
            return None
        return Broken("linux-choice", f"alloc({order}) gives page {page}; Linux takes page {taken}", wanted=taken)

    def refused(self, order: int) -> Broken | None:
        """alloc returned None: is there really no run?"""
        page = None if self.learning else self.free.first_run(order)
        if page is None:
            self.counts["exhaustion reached"] += bool(self.live)
            return None
        where = f"pages {page} to {page + (1 << order) - 1} are free" if order else f"page {page} is free"
        if not self.live and self.anything_freed:
            return Broken("capacity", f"everything is freed, yet alloc({order}) gives None")
        return Broken("exact-success", f"alloc({order}) gives None although {where}")

    def misplaced(self, page: int, order: int) -> Broken | None:
        """alloc returned a page: may the block lie there?"""
        size = 1 << order
        if page < 0 or page + size > self.free.pages:
            pages = f"pages 0 to {self.free.pages - 1}"
            return Broken("in-bounds", f"a block of {size} at page {page} is not within {pages}")
        if page % size:
            return Broken("aligned", f"a block of {size} at page {page}, which is no multiple of {size}")
        for other, other_order in self.live.values():
            if page < other + (1 << other_order) and other < page + size:
                shared = max(page, other)
                return Broken("disjoint", f"page {shared} is handed out again while it is live")
        return None

    def granted(self, index: int, page: int, order: int) -> None:
        """Note a new live block."""
        if not self.live:
            if self.freed_since_empty > 1 and order == self.free.largest_order():
                self.counts["full coalescing reached"] += 1
            self.freed_since_empty = 0
        self.live[index] = (page, order)
        self.free.flip(page, order)
        self.peaks["peak live blocks"] = max(self.peaks["peak live blocks"], len(self.live))

    def after(self, operation: Operation, value: int | None, answer: list[Any]) -> Broken | None:
        """What the child found: a block between two pages, or changed memory."""
        if answer[0] == "odd" and len(answer) == 3:
            return Broken("aligned", f"a block {answer[1]} bytes behind page {value}, which is {answer[2]} bytes large")
        return judge_memory(operation, value, answer)


class PageWorkload:
    """What sequences a page allocator is tried with."""

    kinds = ("alloc",) * 5 + ("free",) * 4 + ("fill", "free all")

    def __init__(self, options: ValidateOptions, declared: Declared) -> None:
        if options.pages is None and options.orders is None:
            self.scopes = tuple({"pages": pages, "orders": orders} for pages, orders in SCOPES)
            self.tiny: tuple[tuple[int, int, int], ...] = TINY_SCOPES
        else:
            pages = 16 if options.pages is None else options.pages
            orders = pages.bit_length() if options.orders is None else options.orders
            self.scopes = ({"pages": pages, "orders": orders},)
            self.tiny = ((pages, orders, 3 if orders > 3 else 4),)
        self.limit = options.operations
        self.probed = declared["usable"] == "probed"
        self.linux = declared["choice"] == "linux"
        self.machines: dict[tuple[int, int], LockStep] = {}
        if self.linux and self.probed:
            remedy = "declare one of them"
            raise InputError("Linux's choice of blocks is followed only where all pages are usable", remedy)
        self.reserved: dict[tuple[int, int], int] = {}

    def learn(self, attempt: Attempt) -> list[str]:
        """Nothing if all pages are usable: what a new allocator can give follows from its scope then."""
        if not self.probed:
            return []
        tiny = ({"pages": pages, "orders": orders} for pages, orders, _ in self.tiny)
        for scope in (*self.scopes, *tiny):
            filling = attempt((Operation("alloc", None, (0,)),) * (scope["pages"] + 1), scope)
            given = {value for value in filling.values.values() if value is not None}
            reserved = sum(1 << page for page in range(scope["pages"]) if page not in given)
            self.reserved[scope["pages"], scope["orders"]] = reserved
        pages, orders = max(self.reserved)
        count = self.reserved[pages, orders].bit_count()
        return [f"a new allocator of {pages} pages keeps {count} for itself"]

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """Nothing."""
        return []

    def oracle(self, scope: Mapping[str, int]) -> PageOracle:
        """A fresh oracle for one run."""
        key = scope["pages"], scope["orders"]
        linux = self.machine(scope) if self.linux else None
        return PageOracle(scope, self.reserved.get(key, 0), self.probed and key not in self.reserved, linux)

    def machine(self, scope: Mapping[str, int]) -> LockStep:
        """The model's buddy allocator at a scope, new."""
        from ..loading import load

        key = scope["pages"], scope["orders"]
        if key not in self.machines:
            self.machines[key] = LockStep(load("buddy"), {"pages": key[0], "orders": key[1], "long": 16})
        self.machines[key].begin()
        return self.machines[key]

    def program(self, draws: list[Draw], scope: Mapping[str, int]) -> Sequence:
        """Drawn numbers to a sequence; a first-fit simulation guesses which blocks will be live."""
        sketch = Sketch(scope, self.limit * 2)
        for draw in draws:
            if draw.kind == "alloc":
                sketch.alloc(draw.first % scope["orders"])
            elif draw.kind == "free" and sketch.live:
                sketch.release(list(sketch.live)[draw.first % len(sketch.live)])
            elif draw.kind == "fill":
                sketch.fill(draw.first % scope["orders"])
            elif draw.kind == "free all":
                sketch.free_all(draw.second)
        return tuple(sketch.operations)

    def calls(self, scope: Mapping[str, int], before: Sequence) -> Iterator[Operation]:
        """An allocation of any order, a free of any block not yet freed."""
        for order in range(scope["orders"]):
            yield Operation("alloc", None, (order,))
        for block in unfreed(before):
            yield Operation("free", block)

    def closing(self, scope: Mapping[str, int]) -> Sequence:
        """Nothing: what can be seen is seen at each call."""
        return ()

    def systematic(self) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Every short sequence at tiny scopes; fill, free in four orders and refill at the others."""
        short = alternating(*(self.every_short(*scope) for scope in self.tiny))
        yield from islice(short, FIRST)
        yield from alternating(self.refills(), short)

    def every_short(self, pages: int, orders: int, length: int) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Every short sequence at one tiny scope."""
        scope = {"pages": pages, "orders": orders}
        for sequence in every_sequence(lambda before: self.calls(scope, before), length):
            yield scope, sequence

    def refills(self) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Fill, free in one of four orders, take the largest blocks, free, fill again."""
        for scope in self.scopes:
            for fill in range(scope["orders"]):
                for pattern in range(4):
                    sketch = Sketch(scope, 3 * scope["pages"] + 10)
                    sketch.fill(fill)
                    sketch.free_all(pattern)
                    sketch.fill(scope["orders"] - 1)
                    sketch.free_all(pattern)
                    sketch.fill(0)
                    yield scope, tuple(sketch.operations)


def alternating(*sources: Iterator[T]) -> Iterator[T]:
    """One of each in turn; those that are longer go on."""
    for items in zip_longest(*sources):
        yield from (item for item in items if item is not None)


class Sketch:
    """Builds a sequence; knows which blocks would be live if the allocator took the first fit."""

    def __init__(self, scope: Mapping[str, int], limit: int) -> None:
        self.free = FreePages(scope)
        self.limit = limit
        self.operations: list[Operation] = []
        self.live: dict[int, tuple[int, int]] = {}

    def alloc(self, order: int) -> bool:
        """Append an allocation; would it succeed?"""
        if len(self.operations) >= self.limit:
            return False
        page = self.free.first_run(order)
        if page is not None:
            self.free.flip(page, order)
            self.live[len(self.operations)] = (page, order)
        self.operations.append(Operation("alloc", None, (order,)))
        return page is not None

    def release(self, block: int) -> None:
        """Append a free."""
        self.free.flip(*self.live.pop(block))
        self.operations.append(Operation("free", block))

    def fill(self, order: int) -> None:
        """Allocate until it fails."""
        while self.alloc(order):
            pass

    def free_all(self, pattern: int) -> None:
        """Free everything: first to last, last to first, every second one and then the rest, both ways."""
        for block in ordering(list(self.live), pattern):
            self.release(block)


def ordering(blocks: list[int], pattern: int) -> list[int]:
    """Four orders of freeing that merge differently."""
    if pattern % 4 == 0:
        return blocks
    if pattern % 4 == 1:
        return blocks[::-1]
    return blocks[::2] + blocks[1::2] if pattern % 4 == 2 else blocks[1::2][::-1] + blocks[::2]


def check_options(options: ValidateOptions) -> None:
    """Scopes that are too large to follow."""
    if options.pages is not None and not 1 <= options.pages <= MAXIMUM_PAGES:
        raise ScopeError(f"pages={options.pages} is not within 1 to {MAXIMUM_PAGES}", "give a smaller scope")
    if options.orders is not None and not 1 <= options.orders <= MAXIMUM_ORDERS:
        raise ScopeError(f"orders={options.orders} is not within 1 to {MAXIMUM_ORDERS}", "give a smaller scope")


def adapt(factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """In the child: a fresh allocator and its methods."""
    allocator = constructed(CONTRACT, factory, scope["pages"], scope["orders"])
    return MethodAdapter(CONTRACT, methods_of(CONTRACT, allocator, METHODS), scope)


def blocks_to_make(scope: Mapping[str, int]) -> tuple[Operation, ...]:
    """A page, and two."""
    return tuple(Operation("alloc", None, (order,)) for order in range(min(2, scope["orders"])))


PYTHON_CHECKS = f"{MISUSE_CHECKS}\n" + '''
PAGES, ORDERS = SCOPE["pages"], SCOPE["orders"]


class Checked(Misuses):
    """Calls the allocator and checks each answer against what is live."""

    def __init__(self):
        self.target, self.live = make()(PAGES, ORDERS), {}

    def taken(self):
        return {page + i for page, order in self.live.items() for i in range(1 << order)}

    def alloc(self, order):
        size, taken = 1 << order, self.taken()
        runs = [p for p in range(0, PAGES - size + 1, size) if not taken & set(range(p, p + size))]
        page = self.target.alloc(order)
        if page is None:
            assert not runs, f"alloc({order}) gives None, but page {runs[0]} and {size - 1} more are free"
            return None
        assert not isinstance(page, bool) and hasattr(page, "__index__"), f"alloc({order}) gives {page!r:.100}"
        assert 0 <= page <= PAGES - size, f"alloc({order}) gives {page}, out of bounds"
        assert page % size == 0, f"alloc({order}) gives {page}, not aligned"
        assert not taken & set(range(page, page + size)), f"alloc({order}) gives {page}, which is live"
        self.live[page] = order
        return page

    def free(self, page):
        if page is not None:
            order = self.live.pop(page)
            arguments = (page, order) if takes(self.target.free, 2) else (page,)
            self.target.free(*arguments)
'''

INTERFACE = Interface(
    contract=CONTRACT,
    workload=lambda options, declared: WalkedPages(PageWorkload(options, declared), options.seed),
    adapt=adapt,
    methods=METHODS,
    python_checks=PYTHON_CHECKS,
    makes=blocks_to_make,
    check_options=check_options,
)
