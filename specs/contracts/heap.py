"""The heap contract: its clauses, its oracle, what a probe of a fresh heap teaches it, and its generators.

The one idea: a heap's capacity is unknown, so refusals are judged against what this very heap did before: what a new
heap met must be met when nothing is live, a batch freed entirely must fit again, a failed call must change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .contract import Call, Clause, Contract, Declaration, Declared
from .interface import Attempt, Interface
from .judging import Broken, Judgement
from .pages import ordering
from .python_class import MethodAdapter
from .results import ValidateOptions
from .sequences import Draw, Operation, Sequence

CONTRACT = Contract(
    name="heap",
    title="malloc, free, realloc, calloc and aligned_alloc as the C standard and every user of them expect",
    target="a shared library: a path or a soname such as libc.so.6, with a symbol prefix if it has one",
    operations={
        "malloc": Call("malloc(size)", ("size",), "block"),
        "calloc": Call("calloc(count, size)", ("count", "size"), "block"),
        "aligned_alloc": Call(
            "aligned_alloc(alignment, size), where the library exports it", ("alignment", "size"), "block", fixed=True
        ),
        "realloc": Call("realloc(block, size); the block keeps its name", ("size",), "moved", takes_block=True),
        "free": Call("free(block)", takes_block=True),
    },
    clauses=(
        Clause("disjoint", "live blocks share no byte"),
        Clause("aligned", "a block is aligned as declared, or as its call asked"),
        Clause("usable", "every byte of a returned block can be read and written"),
        Clause("contents", "the contents of every live block are unchanged after every operation"),
        Clause("realloc-prefix", "realloc keeps the first min(old, new) bytes"),
        Clause("failure-harmless", "a failed call changes nothing: old blocks live, contents kept, requests still met"),
        Clause("oversize-fails", "a request larger than the address space returns NULL"),
        Clause("calloc-overflow", "calloc returns NULL when count * size overflows"),
        Clause("calloc-zeroed", "calloc returns zeroed memory"),
        Clause("zero-size", "a request of no bytes returns NULL or a block of its own"),
        Clause("available", "a request is refused only when memory is short"),
        Clause("capacity", "when everything is freed, each request that a new heap meets is met"),
        Clause("batch", "a batch of blocks that was freed entirely can be allocated again"),
    ),
    declarations={
        "alignment": Declaration(16, "what every block of at least that many bytes is aligned to", power_of_two=True),
        "small_alignment": Declaration(8, "what smaller blocks are aligned to", power_of_two=True),
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


class HeapOracle:
    """Follows one run of a heap. `largest` is what the probe got from a fresh heap at once (0: not probed yet)."""

    def __init__(self, declared: Declared, largest: int) -> None:
        self.declared, self.largest = declared, largest
        self.live: dict[int, Live] = {}
        self.batch: list[Operation] = []
        self.filling = True
        self.batches: list[tuple[Operation, ...]] = []
        self.last_made: tuple[int, Operation] | None = None
        self.met_before: Operation | None = None
        self.counts: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()

    def expected(self, operation: Operation) -> str:
        """NULL for what cannot be, a block for what was possible before."""
        if operation.kind == "free":
            return "the block is free, the others are untouched"
        if self.impossible(operation) is not None:
            return "NULL"
        return "a block" if self.must_succeed(operation) is not None else "a block or NULL"

    def show(self, operation: Operation, value: int | None) -> str:
        """An address, NULL, returned."""
        if operation.kind == "free":
            return "returned"
        return "NULL" if value is None else f"{value:#x}"

    def impossible(self, operation: Operation) -> str | None:
        """The clause that says that this call must fail."""
        size = requested(operation)
        if operation.kind == "calloc" and size > SIZE_MAX:
            return "calloc-overflow"
        return "oversize-fails" if size > ADDRESS_SPACE else None

    def must_succeed(self, operation: Operation) -> tuple[str, str] | None:
        """The clause that says that this call must not fail, and why."""
        size = requested(operation)
        plain = operation.kind in ("malloc", "calloc")
        if size == 0:
            return None
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
        if self.largest >= UNBOUNDED and size + sum(block.size for block in self.live.values()) <= ALWAYS_AVAILABLE:
            return "available", f"it asks for {size} bytes, and little is live"
        return None

    def observe(self, index: int, operation: Operation, value: int | None) -> Broken | None:
        """Judge one call."""
        if operation.kind == "free":
            self.freed(operation)
            return None
        name = index if operation.block is None else operation.block
        if value is None:
            return self.refused(operation)
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
        alignment = alignment_of(size, self.declared)
        if operation.kind == "aligned_alloc":
            alignment = operation.arguments[0]
        if (size or operation.kind == "aligned_alloc") and address % alignment:
            return Broken("aligned", f"a block of {size} bytes at {address:#x}, which is no multiple of {alignment}")
        block = Live(address, size)
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
        tag = answer[0]
        if tag == "nonzero" and len(answer) == 3:
            return Broken("calloc-zeroed", f"byte {answer[1]} of the new block is {answer[2]}, not 0")
        if tag not in ("contents", "prefix") or len(answer) != 5:
            return None
        _, _, offset, expected, found = answer
        change = f"byte {offset} is {found}, it was {expected}"
        if tag == "prefix":
            return Broken("realloc-prefix", f"after realloc {change}")
        if value is None and operation.kind != "free":
            return Broken("failure-harmless", f"the failed {operation.kind} changed a live block: {change}")
        return Broken("contents", f"{operation.kind} changed a live block: {change}")


class HeapWorkload:
    """What sequences a heap is tried with."""

    kinds = (
        *("malloc",) * 5,
        *("free",) * 5,
        *("realloc",) * 3,
        *("calloc", "aligned_alloc", "batch", "batch", "free all", "refill", "too large", "zero"),
    )

    def __init__(self, options: ValidateOptions, declared: Declared) -> None:
        self.options, self.declared = options, declared
        self.scopes: tuple[Mapping[str, int], ...] = ({},)
        self.largest = 0

    def learn(self, attempt: Attempt) -> list[str]:
        """Learn what a fresh heap gives at once; from then on the oracle holds the heap to it."""
        met = 0
        last: list[Judgement] = []

        def gives(size: int) -> bool:
            last[:] = [attempt((Operation("malloc", None, (size,)),), {})]
            return last[0].broken is None and last[0].values.get(0) is not None

        for size in PROBE_SIZES:
            met = size if gives(size) else met
            if last[0].broken is not None:
                return []
        step = met // 2
        while met and met < PROBE_SIZES[-1] and step >= 16 and last[0].broken is None:
            met += step if gives(met + step) else 0
            step //= 2
        self.largest = met or NOTHING
        return [f"a new heap gives at least {met} bytes at once"]

    def notes(self, coverage: Mapping[str, int]) -> list[str]:
        """What is left open by the C standard."""
        return ["a request of no bytes gives a block"] if coverage.get("zero-size blocks") else []

    def oracle(self, scope: Mapping[str, int]) -> HeapOracle:
        """A fresh oracle for one run."""
        return HeapOracle(self.declared, self.largest)

    def program(self, draws: list[Draw], scope: Mapping[str, int]) -> Sequence:
        """Drawn numbers to a sequence."""
        sketch = HeapSketch(self.options.operations * 2)
        for draw in draws:
            sketch.add(draw)
        return tuple(sketch.operations)

    def systematic(self) -> Iterator[tuple[Mapping[str, int], Sequence]]:
        """Sizes that cannot be met, by every function; every size alone, copied up and down; batches; exhaustion."""
        for sequence in (*too_large(), *every_size(), *every_batch(self.largest), exhaustion()):
            yield {}, sequence


def too_large() -> Iterator[Sequence]:
    """Every impossible size through each function, with live blocks around whose contents are checked."""
    around = (Operation("malloc", None, (24,)), Operation("malloc", None, (600,)))
    yield (*around, *(Operation("malloc", None, (size,)) for size in OVERSIZES), Operation("malloc", None, (24,)))
    yield (*around, *(Operation("realloc", 0, (size,)) for size in OVERSIZES), Operation("free", 0))
    yield (*around, *(Operation("calloc", None, (1, size)) for size in OVERSIZES))
    yield (*around, *(Operation("calloc", None, pair) for pair in CALLOC_OVERFLOWS))
    rounded = [(alignment, size & -alignment) for alignment in (16, 64, 4096) for size in OVERSIZES]
    yield (*around, *(Operation("aligned_alloc", None, pair) for pair in rounded if pair[1] > ADDRESS_SPACE))
    for size in (24, 600, 5000):
        make, large = Operation("malloc", None, (size,)), Operation("malloc", None, (SIZE_MAX - 64,))
        yield (make, Operation("free", 0), large, make, make, Operation("free", 4), large, make)


def every_size() -> Iterator[Sequence]:
    """Each size: blocks freed and reused beside their neighbours; realloc to a larger and to a smaller size."""
    for size in SIZES:
        make = Operation("malloc", None, (size,))
        zeroed = Operation("calloc", None, (1, size))
        free = [Operation("free", block) for block in range(3)]
        pairs = [(alignment, max(1, size // alignment) * alignment) for alignment in ALIGNMENTS]
        aligned = [Operation("aligned_alloc", None, pair) for pair in pairs]
        yield (make, make, make, free[1], zeroed, free[0], free[2], make, *aligned, zeroed)
    for small, large in zip(SIZES, SIZES[5:], strict=False):
        first, guard = Operation("malloc", None, (small,)), Operation("malloc", None, (small,))
        grown = [Operation("realloc", 0, (size,)) for size in (large, small, large * 3)]
        yield (first, guard, *grown, Operation("realloc", 1, (max(1, small // 2),)), Operation("free", 0), first)
    zero = Operation("malloc", None, (0,))
    yield (zero, zero, Operation("malloc", None, (1,)), Operation("calloc", None, (0, 8)), Operation("free", 0), zero)


def every_batch(largest: int) -> Iterator[Sequence]:
    """Batches of one size and of mixed sizes, freed in four orders, then made again; at last all there is, at once."""
    for sizes in ((16,) * 40, (64,) * 40, (1000,) * 30, (5000,) * 20, (70000,) * 12, SIZES[:40], SIZES[::-1]):
        for pattern in range(4):
            sketch = HeapSketch(400)
            for _ in range(2):
                for size in sizes:
                    sketch.make("malloc", size)
                sketch.free_all(pattern)
            sketch.make("malloc", max(largest, *sizes))
            yield tuple(sketch.operations)


def exhaustion() -> Sequence:
    """Fill memory up to the child's limit, free all, use the heap again."""
    sketch = HeapSketch(400)
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

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.operations: list[Operation] = []
        self.live: list[int] = []
        self.last_batch: list[Operation] = []

    def make(self, kind: str, *arguments: int) -> None:
        """Append a call that makes a block."""
        self.append(Operation(kind, None, arguments))

    def append(self, operation: Operation) -> None:
        """Append any call."""
        if len(self.operations) < self.limit:
            if operation.block is None and requested(operation) <= ADDRESS_SPACE:
                self.live.append(len(self.operations))
            self.operations.append(operation)

    def release(self, block: int) -> None:
        """Append a free."""
        self.live.remove(block)
        self.operations.append(Operation("free", block))

    def free_all(self, pattern: int) -> None:
        """Free everything in one of four orders and remember what it was."""
        made = [self.operations[block] for block in self.live]
        self.last_batch = made or self.last_batch
        for block in ordering(list(self.live), pattern):
            self.release(block)

    def add(self, draw: Draw) -> None:
        """One drawn operation."""
        size = SIZES[draw.first % len(SIZES)] if draw.second % 3 else 1 + draw.first * 7 % 6000
        chosen = self.live[draw.second % len(self.live)] if self.live else None
        if draw.kind == "malloc":
            self.make("malloc", size)
        elif draw.kind == "calloc":
            self.make("calloc", 1 + draw.second % 5, size)
        elif draw.kind == "aligned_alloc":
            alignment = ALIGNMENTS[draw.second % len(ALIGNMENTS)]
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
        elif draw.kind == "too large":
            huge = OVERSIZES[draw.first % len(OVERSIZES)]
            self.append(Operation("malloc", None, (huge,)) if chosen is None else Operation("realloc", chosen, (huge,)))
        elif chosen is not None and draw.kind == "free":
            self.release(chosen)
        elif chosen is not None:
            self.append(Operation("realloc", chosen, (size,)))


def adapt(factory: Any, scope: dict[str, int], declared: Declared) -> MethodAdapter:
    """In the child: a fresh heap over offsets and those of its methods that the contract knows."""
    heap = factory()
    return MethodAdapter(CONTRACT, {name: getattr(heap, name) for name in CONTRACT.operations if hasattr(heap, name)})


INTERFACE = Interface(
    contract=CONTRACT,
    workload=HeapWorkload,
    adapt=adapt,
    methods=("malloc", "free"),
    python_checks="",
    exports={
        "malloc": "void *{}malloc(size_t);",
        "free": "void {}free(void *);",
        "realloc": "void *{}realloc(void *, size_t);",
        "calloc": "void *{}calloc(size_t, size_t);",
        "aligned_alloc": "void *{}aligned_alloc(size_t, size_t);",
    },
)
