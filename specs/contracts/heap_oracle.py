"""The heap contract: its clauses, and the oracle that follows one run.

The one idea: a heap's capacity is unknown, so refusals are judged against what this very heap did before: what a new
heap met must be met when nothing is live, a batch freed entirely must fit again, a failed call must change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .arenas import regions_of, within
from .contract import Call, Clause, Contract, Declaration, Declared
from .judging import Broken, judge_memory
from .misuse import MISUSE_CALLS, MISUSE_CLAUSE, MISUSE_DECLARATIONS
from .sequences import Operation

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
        **MISUSE_CALLS,
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
        MISUSE_CLAUSE,
    ),
    declarations={
        "alignment": Declaration(16, "what every block of at least that many bytes is aligned to", power_of_two=True),
        "small_alignment": Declaration(8, "what smaller blocks are aligned to", power_of_two=True),
        "arena": Declaration(0, "bytes of the arena that a Python class is constructed with; 0: none"),
        "memory": Declaration(False, "a Python class returns addresses in real memory, not offsets"),
        "zero_size": Declaration("any", "what a request of no bytes returns", ("any", "null", "block", "undefined")),
        **MISUSE_DECLARATIONS,
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
        self.scope, self.arena, self.phase = scope, scope.get("arena", 0), scope.get("phase", 0)
        self.most = max(length for _, length in regions_of(scope)) if self.arena else ADDRESS_SPACE
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
        return "oversize-fails" if size > self.most else None

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
        if self.arena and not within(self.scope, address, size):
            what = "a region of the arena" if self.scope.get("regions", 1) > 1 else "the arena"
            where = f"at offset {address} is not within {what} of {self.arena}"
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
