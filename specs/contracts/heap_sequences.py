"""What sequences a heap is tried with, and what a probe of a fresh heap teaches before.

The one idea: sizes that cannot be met, every size alone, batches freed in several orders and made again, a full arena;
what is drawn at random fills in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .contract import Declared
from .heap_oracle import (
    ADDRESS_SPACE,
    CONTRACT,
    NOTHING,
    PROBE_SIZES,
    SIZE_MAX,
    Capacity,
    HeapOracle,
    requested,
)
from .interface import Attempt
from .judging import Judgement
from .pages import ordering
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence

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
        zero = ("zero",) if declared["zero_size"] != "undefined" else ()
        self.kinds = (*self.usual_kinds, *zero, *(("fill", "fill") if self.arena else ()))

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

    def calls(self, scope: Mapping[str, int], before: Sequence) -> Iterator[Operation]:
        """Nothing: there are as many sizes as numbers."""
        return iter(())

    def closing(self, scope: Mapping[str, int]) -> Sequence:
        """Nothing: what can be seen is seen at each call."""
        return ()

    def systematic(self) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Sizes that cannot be met, by every function; every size alone, copied up and down; batches; exhaustion."""
        zero = self.declared["zero_size"] != "undefined"
        batches = every_batch(self.capacity.largest, self.arena, self.sizes)
        last = arena_walks(self) if self.arena else (exhaustion(),)
        for sequence in (*too_large(self.arena), *every_size(self.sizes, self.arena, zero), *batches, *last):
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
        elif draw.kind == "too large":
            huge = OVERSIZES[draw.first % len(OVERSIZES)]
            self.append(Operation("malloc", None, (huge,)) if chosen is None else Operation("realloc", chosen, (huge,)))
        elif chosen is not None and draw.kind == "free":
            self.release(chosen)
        elif chosen is not None:
            self.append(Operation("realloc", chosen, (size,)))
