"""The contracts as data: which clauses an implementation must keep, one line each, and which operations.

The one idea: everything a report says about a clause (its name, its statement) is written here and nowhere else; the
oracles in `heap.py` and `pages.py` refer to clauses by name. Source: the strictest checkable forms that 49 real
implementations keep (allocators and heaps in C, C++, Rust, Python).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Clause:
    """One thing that must hold, with a name for reports and a one-line statement."""

    name: str
    statement: str


@dataclass(frozen=True)
class Contract:
    """What any implementation of one interface must keep.

    `operations` maps each operation the driver may call to its meaning; `target` says what can be validated."""

    name: str
    title: str
    target: str
    operations: Mapping[str, str]
    clauses: tuple[Clause, ...]

    def clause(self, name: str) -> Clause:
        """The clause of that name, its own or one that every contract has."""
        return next(clause for clause in (*self.clauses, *EVERY_CONTRACT) if clause.name == name)


EVERY_CONTRACT = (
    Clause("survives", "no call crashes, aborts, hangs, leaves the process or starts another one"),
    Clause("answers", "every call returns a value of the declared kind and raises nothing"),
)

PAGE_ALLOCATOR = Contract(
    name="page-allocator",
    title="blocks of 2**order pages from pages 0 to pages-1, merged eagerly when freed",
    target="a Python class or factory: MyBuddy(pages, orders) with alloc(order) -> page | None and free(page, order)",
    operations={
        "alloc": "alloc(order): the first page of 2**order contiguous pages, None when there is no such block",
        "free": "free(page, order): gives back a block that alloc returned",
    },
    clauses=(
        Clause("in-bounds", "a block lies whole inside pages 0 to pages-1"),
        Clause("aligned", "the first page of a block of order k is a multiple of 2**k"),
        Clause("disjoint", "a block shares no page with a live block"),
        Clause("exact-success", "alloc(k) succeeds exactly when an aligned run of 2**k free pages exists"),
        Clause("capacity", "when everything is freed, every block a new allocator can give is available again"),
    ),
)

HEAP = Contract(
    name="heap",
    title="malloc, free, realloc, calloc and aligned_alloc as the C standard and every user of them expect",
    target="a shared library: a path or a soname such as libc.so.6, with a symbol prefix if it has one",
    operations={
        "malloc": "malloc(size)",
        "calloc": "calloc(count, size)",
        "aligned_alloc": "aligned_alloc(alignment, size), where the library exports it",
        "realloc": "realloc(block, size); the block keeps its name, moved or not",
        "free": "free(block)",
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
)

CONTRACTS: Mapping[str, Contract] = {contract.name: contract for contract in (HEAP, PAGE_ALLOCATOR)}
