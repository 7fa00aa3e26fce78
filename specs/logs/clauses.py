"""What a call log is held to: the clauses of the contracts, and those that only a log can break.

The one idea: a log shows calls and answers, not memory: contents cannot be checked, but frees can, which the checker's
own driver never gets wrong. The statements stand here and in specs/contracts, nowhere else.
"""

from __future__ import annotations

from ..contracts.contract import Clause
from ..contracts.heap_oracle import CONTRACT as HEAP
from ..contracts.pages import CONTRACT as PAGE_ALLOCATOR

DISJOINT = HEAP.clause("disjoint")
ALIGNED = Clause("aligned", "a block is aligned as the log or its call declares; of a buddy allocator, to its own size")
IN_BOUNDS = Clause("in-bounds", "a block lies whole inside the arena")
CAPACITY = HEAP.clause("capacity")
EXACT_SUCCESS = Clause(
    PAGE_ALLOCATOR.clause("exact-success").name,
    "a buddy allocator refuses a request only when no aligned run of that many units is free",
)
DOUBLE_FREE = Clause("double-free", "a block is freed once")
FOREIGN_FREE = Clause("foreign-free", "only what the allocator gave is freed")
REALLOC = Clause("realloc-live", "only a live block is resized")
ONE_SIZE = Clause("one-size", "all objects of a cache have its size")
NAMED_ONCE = Clause("named-once", "a name in the log is that of one live block")

CLAUSES = (
    DISJOINT, ALIGNED, IN_BOUNDS, DOUBLE_FREE, FOREIGN_FREE, REALLOC, EXACT_SUCCESS, CAPACITY, ONE_SIZE, NAMED_ONCE,
)  # fmt: skip

NO_ARENA = "the log does not say where the arena is"
BEGUN_LATER = "the block was made before the log begins, or by a call that the log does not show"
NOT_ALL_CALLS = "the log does not show the calls that libraries make"
NO_ALIGNMENT = "the log does not say how blocks are aligned"
NO_BUDDY = "only of a buddy allocator, whose arena and smallest block the log names"
NO_CACHE = "only of a cache whose log names its object_size"
NOT_REFUSED = "no request was refused"
NOT_EMPTY = "nothing was refused while nothing was live"
LARGE_ARENA = "the arena has too many units to follow each one"
NOT_RESIZED = "nothing was resized"
NOT_FREED = "nothing was freed"
NO_NAMES = "blocks have no names of their own in this log"
