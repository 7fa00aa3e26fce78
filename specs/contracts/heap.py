"""The heap contract: its clauses, its oracle, what a probe of a fresh heap teaches it, and its generators.

The one idea: a heap's capacity is unknown, so refusals are judged against what this very heap did before: what a new
heap met must be met when nothing is live, a batch freed entirely must fit again, a failed call must change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .arena import Arena, make_arena
from .contract import Call, Clause, Contract, Declaration, Declared
from .heap_walks import WalkedHeap
from .interface import Attempt, Interface
from .judging import Broken, Judgement, judge_memory
from .memory import Memory
from .pages import ordering
from .python_class import MethodAdapter
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence

MISUSES = ("undefined", "ignored", "rejected")
CONTRACT = Contract(
    name="heap",
    title="malloc, free, realloc, calloc and aligned_alloc as the C standard and every user of them expect",
    target="a shared library (a path or a soname such as libc.so.6, with a prefix if it has one) or MyHeap of a .py",
    operations={
        "malloc": Call("malloc(size)", ("size",), "block"),
        "calloc": Call("calloc(count, size)", ("count", "size"), "block"),
        "aligned_alloc": Call(
            "aligned_alloc(alignment, size), where the library exports it", ("alignment", "size"), "block", fixed=True
        ),
        "realloc": Call("realloc(block, size); the block keeps its name", ("size",), "moved", takes_block=True),
        "free": Call("free(block)", takes_block=True),
        "free_null": Call("free(NULL), where that is declared", result="truth", misuse="free"),
        "double_free": Call(
            "free of a block that was freed, where that is declared", result="truth", takes_block=True, misuse="free"
        ),
        "foreign_free": Call(
            "free of what no call returned, where that is declared", ("which",), result="truth", misuse="free"
        ),
    },
    clauses=(
        Clause("disjoint", "live blocks share no byte"),
        Clause("in-bounds", "a block lies whole inside the arena, and nothing is written around it"),
        Clause("aligned", "a block is aligned as declared, or as its call asked"),
        Clause("usable", "every byte of a returned block can be read and written"),
        Clause("contents", "the contents of every live block are unchanged after every operation"),
        Clause("realloc-prefix", "realloc keeps the first min(old, new) bytes"),
        Clause("failure-harmless", "a failed call changes nothing: old blocks live, contents kept, requests still met"),
        Clause("oversize-fails", "a request larger than the address space, or than the arena, returns NULL"),
        Clause("calloc-overflow", "calloc returns NULL when count * size overflows"),
        Clause("calloc-zeroed", "calloc returns zeroed memory"),
        Clause("zero-size", "a request of no bytes returns NULL or a block of its own, as declared"),
        Clause("available", "a request is refused only when memory is short"),
        Clause("capacity", "when everything is freed, each request that a new heap meets is met"),
        Clause("batch", "a batch of blocks that was freed entirely can be allocated again"),
        Clause("eager-merge", "a request succeeds if a gap between live blocks can hold it (where that is declared)"),
        Clause("misuse", "free of NULL, of freed and of foreign blocks does what was declared, and changes nothing"),
    ),
    declarations={
        "alignment": Declaration(16, "what every block of at least that many bytes is aligned to", power_of_two=True),
        "small_alignment": Declaration(8, "what smaller blocks are aligned to", power_of_two=True),
        "arena": Declaration(0, "bytes of the arena that a Python class is constructed with; 0: none"),
        "memory": Declaration(False, "a Python class returns addresses in real memory, not offsets"),
        "zero_size": Declaration("any", "what a request of no bytes returns", ("any", "null", "block", "undefined")),
        "free_null": Declaration("undefined", "what free(NULL) does", MISUSES),
        "double_free": Declaration("undefined", "what freeing a freed block does", MISUSES),
        "foreign_free": Declaration("undefined", "what freeing a foreign pointer does", MISUSES),
        "merges": Declaration(False, "freed neighbours merge at once: whatever fits into a gap must be met"),
        "header": Declaration(0, "bytes that each block has before it, for the clause eager-merge", most=1 << 16),
        "minimum": Declaration(1, "the smallest block, for the clause eager-merge", least=1, most=1 << 16),
        "rounding": Declaration(1, "what block sizes are multiples of, for the clause eager-merge", power_of_two=True),
    },
)

ADDRESS_SPACE = 1 << 47
"""No request larger than this can be met on a 64-bit machine."""
SIZE_MAX = (1 << 64) - 1
PROBE_SIZES = tuple(1 << power for power in range(4, 27))
NOTHING = -1
"""What the probe found when a fresh heap met no request at all."""
UNBOUNDED = PROBE_SIZES[-1]
"""A heap that gives this much at once has no small arena …"""
ALWAYS_AVAILABLE = 1 << 24
"""… and must not refuse anything while live bytes stay below this."""
SIZES = (
    *(1, 7, 8, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 511, 512, 513),
    *(1000, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 16384, 32767, 32768, 65535, 65536, 65537),
    *(131072, 262144, 1 << 20),
)
ALIGNMENTS = (16, 32, 64, 128, 256, 1024, 4096)
OVERSIZES = (
    *(SIZE_MAX - k for k in (0, 1, 7, 8, 15, 16, 17, 31, 32, 63, 64, 127, 255, 4095, 4096, 65535)),
    *((1 << power) + step for power in range(48, 64) for step in (-1, 0, 1) if (1 << power) + step > ADDRESS_SPACE),
)
CALLOC_OVERFLOWS = (
    *((1 << 32, 1 << 32), (1 << 63, 2), ((1 << 33), (1 << 31) + 1), (SIZE_MAX, 2), (2, SIZE_MAX)),
    *((SIZE_MAX // 16 + 2, 16), (16, SIZE_MAX // 16 + 2), ((1 << 32) + 1, 1 << 32), ((1 << 61) + 1, 8)),
)
MOST_BLOCKS = 200
"""Blocks that fill an arena, at most: each call looks at all of them."""
EXHAUSTING = 64 << 20
"""Block size for filling memory up to the limit of the child."""


@dataclass(frozen=True)
class Live:
    """A live block as the checker sees it."""

    address: int
    size: int

    def extent(self) -> int:
        """The bytes that must be its own; one even if nothing was asked for."""
        return max(1, self.size)


def alignment_of(size: int, declared: Declared) -> int:
    """What a block of that size is aligned to."""
    name = "alignment" if size >= declared["alignment"] else "small_alignment"
    return int(declared[name])


def requested(operation: Operation) -> int:
    """The bytes that a call asks for, as a true number."""
    if operation.kind == "calloc":
        return operation.arguments[0] * operation.arguments[1]
    return operation.arguments[-1]


@dataclass(frozen=True)
class Capacity:
    """What the probe got from a fresh heap: `largest` bytes at once (0: not probed yet), and, in an arena, how many
    blocks of `filled_with` bytes, between which offsets."""

    largest: int = 0
    filled_with: int = 0
    count: int = 0
    span: tuple[int, int] = (0, 0)

    def batches(self) -> list[tuple[Operation, ...]]:
        """The batch that a fresh heap can hold."""
        return [(Operation("malloc", None, (self.filled_with,)),) * self.count] if self.count else []


class HeapOracle:
    """Follows one run of a heap. Addresses are absolute, or offsets into the arena where the scope has one."""

    def __init__(self, declared: Declared, capacity: Capacity, scope: Mapping[str, int]) -> None:
        self.declared, self.capacity, self.largest = declared, capacity, capacity.largest
        self.arena, self.phase = scope.get("arena", 0), scope.get("phase", 0)
        self.live: dict[int, Live] = {}
        self.batch: list[Operation] = []
        self.filling = True
        self.batches = capacity.batches()
        self.last_made: tuple[int, Operation] | None = None
        self.met_before: Operation | None = None
        self.counts: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    def expected(self, operation: Operation) -> str:
        """NULL for what cannot be, a block for what was possible before."""
        if CONTRACT.operations[operation.kind].misuse:
            return f"{self.declared[operation.kind]}, as declared"
        if operation.kind == "free":
            return "the block is free, the others are untouched"
        if self.impossible(operation) is not None:
            return "NULL"
        return "a block" if self.must_succeed(operation) is not None else "a block or NULL"

    def show(self, operation: Operation, value: int | None) -> str:
        """An address, NULL, returned."""
        if CONTRACT.operations[operation.kind].misuse:
            return "rejected" if value else "returned"
        if operation.kind == "free":
            return "returned"
        return "NULL" if value is None else f"{value:#x}"

    def impossible(self, operation: Operation) -> str | None:
        """The clause that says that this call must fail."""
        size = requested(operation)
        if operation.kind == "calloc" and size > SIZE_MAX:
            return "calloc-overflow"
        return "oversize-fails" if size > (self.arena or ADDRESS_SPACE) else None

    def must_succeed(self, operation: Operation) -> tuple[str, str] | None:
        """The clause that says that this call must not fail, and why."""
        size = requested(operation)
        plain = operation.kind in ("malloc", "calloc")
        if size == 0:
            wanted = self.declared["zero_size"] == "block" and not self.live
            return ("zero-size", "it is declared to return a block, and nothing is live") if wanted else None
        if self.largest == NOTHING:
            return "available", "nothing is live; this heap meets no request at all"
        if plain and not self.live and size <= self.largest:
            return "capacity", f"nothing is live, and a new heap gave {self.largest} bytes at once"
        if operation == self.met_before:
            return "failure-harmless", "the same call succeeded before, with the same live blocks"
        candidate = (*self.batch, operation)
        small = self.largest < UNBOUNDED or sum(map(requested, candidate)) <= ALWAYS_AVAILABLE
        if self.filling and small and any(batch[: len(candidate)] == candidate for batch in self.batches):
            return "batch", "the same blocks were live before, and everything was freed since"
        if plain and self.fits_a_gap(size):
            return "eager-merge", "a gap between live blocks can hold it"
        if self.largest >= UNBOUNDED and size + sum(block.size for block in self.live.values()) <= ALWAYS_AVAILABLE:
            return "available", f"it asks for {size} bytes, and little is live"
        return None

    def fits_a_gap(self, size: int) -> bool:
        """Is there surely a gap between live blocks, or at an end of the arena, that can hold the request?"""
        if not (self.declared["merges"] and self.capacity.count):
            return False
        header, unit = self.declared["header"], self.declared["rounding"]

        def chunk(size: int) -> int:
            return int(-(-(max(size, self.declared["minimum"]) + header) // unit) * unit)

        # A block may be larger than asked for by a rest that is too small to be split off.
        spare = chunk(1) - 1
        low, high = self.capacity.span
        taken = sorted((block.address - header, block.size) for block in self.live.values())
        starts = [low, *(start + chunk(held) + spare for start, held in taken)]
        ends = [*(start for start, _ in taken), high]
        return any(end - start >= chunk(size) for start, end in zip(starts, ends, strict=True))

    def observe(self, index: int, operation: Operation, value: Any) -> Broken | None:
        """Judge one call."""
        if CONTRACT.operations[operation.kind].misuse:
            self.counts["misuses"] += 1
            if self.declared[operation.kind] == "rejected" and not value:
                return Broken("misuse", f"{operation.kind} is accepted, although it is declared to be rejected")
            return None
        if operation.kind == "free":
            self.freed(operation)
            return None
        name = index if operation.block is None else operation.block
        if value is None:
            return self.refused(operation)
        if requested(operation) == 0 and self.declared["zero_size"] == "null" and operation.kind != "realloc":
            return Broken("zero-size", f"{operation.kind} of no bytes returns a block, though NULL is declared")
        impossible = self.impossible(operation)
        if impossible is not None:
            return Broken(impossible, f"{operation.kind} of {requested(operation)} bytes returns a block, not NULL")
        broken = self.misplaced(name, operation, value)
        if broken is None:
            self.granted(name, operation, value)
        return broken

    def refused(self, operation: Operation) -> Broken | None:
        """NULL: was it due?"""
        self.counts["failed calls"] += 1
        if self.impossible(operation) is None and requested(operation) > 0:
            self.counts["exhaustion reached"] += 1
        if self.impossible(operation) is None:
            due = self.must_succeed(operation)
            if due is not None:
                return Broken(due[0], f"{operation.kind} gives NULL although {due[1]}")
        return None

    def misplaced(self, name: int, operation: Operation, address: int) -> Broken | None:
        """A block came back: is it aligned and its own?"""
        size = requested(operation)
        block = Live(address, size)
        if self.arena and not 0 <= address <= self.arena - size:
            where = f"at offset {address} is not within the arena of {self.arena}"
            return Broken("in-bounds", f"a block of {size} bytes {where}")
        alignment = alignment_of(size, self.declared)
        if operation.kind == "aligned_alloc":
            alignment = operation.arguments[0]
        if (size or operation.kind == "aligned_alloc") and (self.phase + address) % alignment:
            address += self.phase
            return Broken("aligned", f"a block of {size} bytes at {address:#x}, which is no multiple of {alignment}")
        for other_name, other in self.live.items():
            apart = address + block.extent() <= other.address or other.address + other.extent() <= address
            if other_name != name and not apart:
                clause = "disjoint" if size and other.size else "zero-size"
                shared = min(address + block.extent(), other.address + other.extent()) - max(address, other.address)
                return Broken(clause, f"the block shares {shared} bytes with a live block of {other.size} bytes")
        return None

    def granted(self, name: int, operation: Operation, address: int) -> None:
        """Note a new or moved block."""
        if operation.kind == "realloc":
            self.counts["realloc moved"] += address != self.live[name].address
            self.end_batch()
            self.last_made = None
        else:
            if not self.live:
                self.batch, self.filling = [], True
                self.counts["refilled after freeing all"] += bool(self.batches)
            if self.filling:
                self.batch.append(operation)
            self.last_made = (name, operation)
        self.met_before = None
        self.counts["zero-size blocks"] += not requested(operation)
        self.live[name] = Live(address, requested(operation))
        self.peaks["peak live blocks"] = max(self.peaks["peak live blocks"], len(self.live))
        live_bytes = sum(block.size for block in self.live.values())
        self.peaks["peak live bytes"] = max(self.peaks["peak live bytes"], live_bytes)

    def freed(self, operation: Operation) -> None:
        """Note a freed block; freeing the one just made takes the heap back to where that call succeeded."""
        assert operation.block is not None
        del self.live[operation.block]
        self.end_batch()
        undone = self.last_made is not None and self.last_made[0] == operation.block
        self.met_before = self.last_made[1] if undone and self.last_made else None
        self.last_made = None
        if not self.live:
            self.batch, self.filling = [], True

    def end_batch(self) -> None:
        """The blocks made since the heap was empty are a batch that fitted."""
        if self.filling and self.batch:
            self.batches.append(tuple(self.batch))
        self.batch, self.filling = [], False

    def after(self, operation: Operation, value: int | None, answer: list[Any]) -> Broken | None:
        """What the child found in memory after the call."""
        broken = judge_memory(operation, value, answer)
        if broken is not None and broken.clause == "contents" and value is None and operation.kind != "free":
            return Broken("failure-harmless", f"failed, yet {broken.message}")
        return broken


class HeapWorkload:
    """What sequences a heap is tried with."""

    usual_kinds = (
        *("malloc",) * 5,
        *("free",) * 5,
        *("realloc",) * 3,
        *("calloc", "aligned_alloc", "batch", "batch", "free all", "refill", "too large"),
    )

    def __init__(self, options: ValidateOptions, declared: Declared) -> None:
        self.options, self.declared = options, declared
        self.arena = options.scope.get("arena", int(declared["arena"]))
        self.scopes: tuple[Mapping[str, int], ...] = ({"arena": self.arena} if self.arena else {},)
        self.capacity = Capacity()
        self.sizes = sizes_within(self.arena) if self.arena else SIZES
        misused = [kind for kind, call in CONTRACT.operations.items() if call.misuse and declared[kind] != "undefined"]
        zero = ("zero",) if declared["zero_size"] != "undefined" else ()
        self.kinds = (*self.usual_kinds, *zero, *misused * 2, *(("fill", "fill") if self.arena else ()))

    def learn(self, attempt: Attempt) -> list[str]:
        """Learn what a fresh heap gives at once; from then on the oracle holds the heap to it."""
        met = 0
        last: list[Judgement] = []
        most = PROBE_SIZES[-1] if not self.arena else self.arena
        scope = self.scopes[0]

        def gives(size: int) -> bool:
            last[:] = [attempt((Operation("malloc", None, (size,)),), scope)]
            return last[0].broken is None and last[0].values.get(0) is not None

        for size in (*(size for size in PROBE_SIZES if size < most), most):
            met = size if gives(size) else met
            if last[0].broken is not None:
                return []
        step = met // 2
        while met and met < most and step >= (1 if self.arena else 16) and last[0].broken is None:
            met += step if met + step <= most and gives(met + step) else 0
            step //= 2
        self.capacity = Capacity(met or NOTHING)
        notes = [f"a new heap gives at least {met} bytes at once"]
        return notes + (self.learn_count(attempt) if self.arena and met else [])

    def learn_count(self, attempt: Attempt) -> list[str]:
        """Fill an arena with small blocks: how many, and where."""
        size = max(int(self.declared["minimum"]), 16, self.arena // MOST_BLOCKS)
        filling = attempt((Operation("malloc", None, (size,)),) * (self.arena // size + 1), self.scopes[0])
        places = [value for value in filling.values.values() if value is not None]
        if filling.broken is not None or not places:
            return []
        span = (min(places) - int(self.declared["header"]), max(places) + size)
        self.capacity = Capacity(self.capacity.largest, size, len(places), span)
        return [f"it holds {len(places)} blocks of {size} bytes"]

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """What is left open by the C standard."""
        return ["a request of no bytes gives a block"] if coverage.get("zero-size blocks") else []

    def oracle(self, scope: Mapping[str, int]) -> HeapOracle:
        """A fresh oracle for one run."""
        return HeapOracle(self.declared, self.capacity, scope)

    def program(self, draws: list[Draw], scope: Mapping[str, int]) -> Sequence:
        """Drawn numbers to a sequence."""
        sketch = HeapSketch(self.options.operations * (8 if self.arena else 2), self.arena, self.sizes)
        for draw in draws:
            sketch.add(draw)
        return tuple(sketch.operations)

    def systematic(self) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Sizes that cannot be met, by every function; every size alone, copied up and down; batches; exhaustion."""
        zero = self.declared["zero_size"] != "undefined"
        batches = every_batch(self.capacity.largest, self.arena, self.sizes)
        last = arena_walks(self) if self.arena else (exhaustion(),)
        misuses = misused(self.declared, self.sizes)
        for sequence in (*too_large(self.arena), *every_size(self.sizes, self.arena, zero), *misuses, *batches, *last):
            yield self.scopes[0], sequence


def sizes_within(arena: int) -> tuple[int, ...]:
    """Sizes that make sense in an arena: the usual small ones, and parts of it."""
    parts = {arena * part // 16 + step for part in (1, 2, 3, 4, 6, 8, 12, 14) for step in (-1, 0, 1)}
    sensible = {size for size in SIZES if size <= arena // 2} | {size for size in parts if 0 < size < arena}
    return tuple(sorted(sensible))


def too_large(arena: int) -> Iterator[Sequence]:
    """Every impossible size through each function, with live blocks around whose contents are checked."""
    sizes = (*OVERSIZES, *((arena + 1, arena * 2, arena + 4096) if arena else ()))
    around = (Operation("malloc", None, (24,)), Operation("malloc", None, (min(600, arena // 4 or 600),)))
    yield (*around, *(Operation("malloc", None, (size,)) for size in sizes), Operation("malloc", None, (24,)))
    yield (*around, *(Operation("realloc", 0, (size,)) for size in sizes), Operation("free", 0))
    yield (*around, *(Operation("calloc", None, (1, size)) for size in sizes))
    yield (*around, *(Operation("calloc", None, pair) for pair in CALLOC_OVERFLOWS))
    rounded = [(alignment, size & -alignment) for alignment in (16, 64, 4096) for size in OVERSIZES]
    yield (*around, *(Operation("aligned_alloc", None, pair) for pair in rounded if pair[1] > ADDRESS_SPACE))
    for size in (24, 600, 5000):
        make, large = Operation("malloc", None, (size,)), Operation("malloc", None, (SIZE_MAX - 64,))
        yield (make, Operation("free", 0), large, make, make, Operation("free", 4), large, make)


def every_size(sizes: tuple[int, ...], arena: int, with_zero: bool) -> Iterator[Sequence]:
    """Each size: blocks freed and reused beside their neighbours; realloc to a larger and to a smaller size."""
    alignments = tuple(alignment for alignment in ALIGNMENTS if not arena or alignment <= arena // 8)
    for size in sizes:
        make = Operation("malloc", None, (size,))
        zeroed = Operation("calloc", None, (1, size))
        free = [Operation("free", block) for block in range(3)]
        pairs = [(alignment, max(1, size // alignment) * alignment) for alignment in alignments]
        aligned = [Operation("aligned_alloc", None, pair) for pair in pairs]
        yield (make, make, make, free[1], zeroed, free[0], free[2], make, *aligned, zeroed)
    for small, large in zip(sizes, sizes[5:], strict=False):
        first, guard = Operation("malloc", None, (small,)), Operation("malloc", None, (small,))
        grown = [Operation("realloc", 0, (size,)) for size in (large, small, large * 3)]
        yield (first, guard, *grown, Operation("realloc", 1, (max(1, small // 2),)), Operation("free", 0), first)
    zero = Operation("malloc", None, (0,))
    one, nothing = Operation("malloc", None, (1,)), Operation("calloc", None, (0, 8))
    if with_zero:
        yield (zero, zero, one, nothing, Operation("free", 0), zero)


def misused(declared: Declared, sizes: tuple[int, ...]) -> Iterator[Sequence]:
    """Free of NULL, of freed and of foreign blocks where it is declared what happens; neighbours may suffer."""
    make = Operation("malloc", None, (sizes[len(sizes) // 3],))
    if declared["free_null"] != "undefined":
        yield (make, Operation("free_null"), make, Operation("free", 0), Operation("free_null"), make)
    if declared["double_free"] != "undefined":
        for freed in range(3):
            yield (make, make, make, Operation("free", freed), Operation("double_free", freed), make, make, make)
    if declared["foreign_free"] != "undefined":
        foreign = [Operation("foreign_free", None, (which,)) for which in range(3)]
        yield (make, make, *foreign, Operation("free", 0), make, make)


def every_batch(largest: int, arena: int, sizes: tuple[int, ...]) -> Iterator[Sequence]:
    """Batches of one size and of mixed sizes, freed in four orders, then made again; at last all there is, at once."""
    batches = ((16,) * 40, (48,) * 150, (64,) * 40, (1000,) * 30, (5000,) * 20, (70000,) * 12, sizes[:40], sizes[::-1])
    for batch in batches:
        if arena and min(batch) * 2 > arena:
            continue
        for pattern in range(4):
            sketch = HeapSketch(400, arena, sizes)
            for _ in range(2):
                for size in batch:
                    sketch.make("malloc", size)
                sketch.free_all(pattern)
            sketch.make("malloc", largest if arena else max(largest, *batch))
            yield tuple(sketch.operations)


def arena_walks(workload: HeapWorkload) -> Iterator[Sequence]:
    """An arena filled with blocks of one size, freed in four orders, filled again; then the largest block there is;
    every second block freed, so that only holes are left, and refilled; grown into the neighbour's hole."""
    capacity, arena = workload.capacity, workload.arena
    sizes = {capacity.filled_with, *(arena // part for part in (4, 8, 16, 32)), 24}
    for size in sorted(size for size in sizes if size > 0 and arena // size <= MOST_BLOCKS):
        count = arena // size + 1
        for pattern in range(4):
            sketch = HeapSketch(4 * count + 20, arena, workload.sizes)
            for _ in range(2):
                sketch.fill(size)
                sketch.free_all(pattern)
            sketch.make("malloc", capacity.largest)
            yield tuple(sketch.operations)
        sketch = HeapSketch(6 * count + 20, arena, workload.sizes)
        sketch.fill(size)
        for block in sketch.live[::2]:
            sketch.release(block)
        for block in sketch.live[:4]:
            sketch.append(Operation("realloc", block, (2 * size,)))
        sketch.fill(max(1, size // 2))
        sketch.free_all(2)
        sketch.make("malloc", capacity.largest)
        yield tuple(sketch.operations)
    if workload.declared["merges"]:
        # Two neighbours are freed in either order, and what they leave must hold one block of both their sizes.
        for size in workload.sizes[:: max(1, len(workload.sizes) // 8)]:
            make, both = Operation("malloc", None, (size,)), Operation("malloc", None, (2 * size,))
            for first, second in ((0, 1), (1, 0), (1, 2), (2, 1)):
                filling = (make,) * min(arena // size + 1, MOST_BLOCKS)
                yield (*filling, Operation("free", first), Operation("free", second), both)


def exhaustion() -> Sequence:
    """Fill memory up to the child's limit, free all, use the heap again."""
    sketch = HeapSketch(400, 0, SIZES)
    sketch.make("malloc", 100)
    for _ in range(33):
        sketch.make("malloc", EXHAUSTING)
    sketch.make("malloc", 64)
    sketch.free_all(2)
    sketch.make("malloc", 100)
    sketch.make("malloc", 5000)
    return tuple(sketch.operations)


class HeapSketch:
    """Builds a sequence, assuming that possible requests succeed."""

    def __init__(self, limit: int, arena: int, sizes: tuple[int, ...]) -> None:
        self.limit, self.arena, self.sizes = limit, arena, sizes
        self.used = 0
        self.operations: list[Operation] = []
        self.live: list[int] = []
        self.last_batch: list[Operation] = []

    def make(self, kind: str, *arguments: int) -> None:
        """Append a call that makes a block."""
        self.append(Operation(kind, None, arguments))

    def append(self, operation: Operation) -> None:
        """Append any call."""
        if len(self.operations) < self.limit:
            size, most = requested(operation) if operation.arguments else 0, self.arena - self.used
            makes = CONTRACT.makes_block(operation.kind)
            if makes and size <= (most if self.arena else ADDRESS_SPACE):
                self.live.append(len(self.operations))
                self.used += size
            self.operations.append(operation)

    def fill(self, size: int) -> None:
        """Append allocations of one size until there is no room for another, and that one."""
        while len(self.operations) < self.limit:
            self.make("malloc", size)
            if self.used + size > self.arena:
                break

    def release(self, block: int) -> None:
        """Append a free."""
        self.live.remove(block)
        self.used -= requested(self.operations[block])
        self.operations.append(Operation("free", block))

    def free_all(self, pattern: int) -> None:
        """Free everything in one of four orders and remember what it was."""
        made = [self.operations[block] for block in self.live]
        self.last_batch = made or self.last_batch
        for block in ordering(list(self.live), pattern):
            self.release(block)

    def add(self, draw: Draw) -> None:
        """One drawn operation."""
        size = self.sizes[draw.first % len(self.sizes)]
        if draw.second % 3 == 0:
            size = 1 + draw.first * 7 % (self.arena // 4 or 6000 if self.arena else 6000)
        chosen = self.live[draw.second % len(self.live)] if self.live else None
        if draw.kind == "malloc":
            self.make("malloc", size)
        elif draw.kind == "calloc":
            self.make("calloc", 1 + draw.second % 5, size)
        elif draw.kind == "aligned_alloc":
            alignment = ALIGNMENTS[draw.second % len(ALIGNMENTS)] if not self.arena else 16 << draw.second % 4
            self.make("aligned_alloc", alignment, (size + alignment - 1) // alignment * alignment)
        elif draw.kind == "batch":
            for _ in range(2 + draw.second % 12):
                self.make("malloc", min(size, 1 << 16))
        elif draw.kind == "free all":
            self.free_all(draw.second)
        elif draw.kind == "refill":
            self.free_all(draw.second)
            for operation in self.last_batch:
                self.append(operation)
        elif draw.kind == "zero":
            self.make("malloc", 0)
        elif draw.kind == "fill":
            self.fill(max(size, self.arena // 32))
        elif draw.kind == "free_null":
            self.append(Operation("free_null"))
        elif draw.kind == "foreign_free":
            self.append(Operation("foreign_free", None, (draw.first % 3,)))
        elif draw.kind == "double_free":
            freed = [operation.block for operation in self.operations if operation.kind == "free"]
            if freed:
                self.append(Operation("double_free", freed[draw.first % len(freed)]))
        elif draw.kind == "too large":
            huge = OVERSIZES[draw.first % len(OVERSIZES)]
            self.append(Operation("malloc", None, (huge,)) if chosen is None else Operation("realloc", chosen, (huge,)))
        elif chosen is not None and draw.kind == "free":
            self.release(chosen)
        elif chosen is not None:
            self.append(Operation("realloc", chosen, (size,)))


class MemoryMethods(MethodAdapter):
    """A Python class over real memory: what it returns is filled and checked like a C heap's blocks."""

    def __init__(self, methods: Mapping[str, Any], arena: Arena | None) -> None:
        super().__init__(CONTRACT, methods)
        self.arena = arena
        self.memory = Memory(arena)

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call, say where the block lies, then use the memory."""
        values: list[int] = []
        base = 0 if self.arena is None else self.arena.address

        def located(tag: str, *rest: Any) -> None:
            if tag == "value" and type(rest[0]) is int:
                values.append(rest[0])
                rest = (rest[0] - base,)
            say(tag, *rest)

        if kind == "free" and block is not None:
            self.memory.gone(block)
        super().perform(index, kind, block, arguments, located)
        for address in values:
            size = requested(Operation(kind, block, tuple(arguments)))
            if block is None:
                self.memory.made(index, address, size, kind == "calloc", say)
            else:
                self.memory.moved(index, block, address, size, say)
        self.memory.check_all(say)


def adapt(factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """In the child: a fresh heap, over offsets or over memory, and those of its methods that the contract knows."""
    arena = make_arena({"garbage": 1, **scope}, 0, 64) if declared["memory"] else None
    given = [] if "arena" not in scope else [scope["arena"] if arena is None else arena]
    heap = factory(*given)
    methods = {name: getattr(heap, name) for name in CONTRACT.operations if hasattr(heap, name)}
    return MemoryMethods(methods, arena) if declared["memory"] else MethodAdapter(CONTRACT, methods)


PYTHON_CHECKS = '''
class Checked:
    """Calls a heap over offsets and checks each answer against what is live."""

    def __init__(self):
        self.arena = SCOPE.get("arena", 0)
        self.heap, self.live = make()(*([self.arena] if self.arena else [])), {}
        self.number = 0

    def made(self, name, at, size):
        if at is None:
            return None
        assert not self.arena or 0 <= at <= self.arena - size, f"a block of {size} at {at}, out of bounds"
        assert size == 0 or at % DECLARED["alignment" if size >= DECLARED["alignment"] else "small_alignment"] == 0
        for other, (start, length) in self.live.items():
            overlaps = at < start + max(length, 1) and start < at + max(size, 1)
            assert other == name or not overlaps, f"a block of {size} at {at} overlaps the one at {start}"
        self.live[name] = (at, size)
        return name

    def malloc(self, size):
        self.number += 1
        return self.made(self.number, self.heap.malloc(size), size)

    def calloc(self, count, size):
        self.number += 1
        return self.made(self.number, self.heap.calloc(count, size), count * size)

    def aligned_alloc(self, alignment, size):
        self.number += 1
        at = self.heap.aligned_alloc(alignment, size)
        assert at is None or at % alignment == 0, f"{at} is no multiple of {alignment}"
        return self.made(self.number, at, size)

    def realloc(self, name, size):
        if name is not None:
            self.made(name, self.heap.realloc(self.live[name][0], size), size)

    def free(self, name):
        if name is not None:
            self.heap.free(self.live.pop(name)[0])

'''

def walked_heap(options: ValidateOptions, declared: Declared) -> WalkedHeap:
    """What is tried, and walks over the contract's graph."""
    inner = HeapWorkload(options, declared)
    return WalkedHeap(inner, options.seed, inner.arena, options.skip)


INTERFACE = Interface(
    contract=CONTRACT,
    workload=walked_heap,
    adapt=adapt,
    methods=("malloc", "free"),
    python_checks=PYTHON_CHECKS,
    exports={
        "malloc": "malloc(size)",
        "free": "free(block)",
        "realloc": "realloc(block, size)",
        "calloc": "calloc(count, size)",
        "aligned_alloc": "aligned_alloc(alignment, size)",
    },
)
