"""Bugs of the catalogue that this model cannot have, and what it would need for them.

The one idea: nothing is quietly dropped. Every row of the catalogue's sections A, B, C and D is a fault here or stands
in this list; a test says so.
"""

from __future__ import annotations

from dataclasses import dataclass

INTERLEAVING = "needs two operations interleaved step by step; every operation of the model is one atomic step"
OTHER_DESIGN = "is in an allocator of another design, of which the model has no counterpart"


@dataclass(frozen=True)
class Unmodelled:
    """A row of the bug catalogue, what went wrong, and what the model lacks to have it."""

    catalogue: str
    title: str
    lacks: str


UNMODELLED = (
    Unmodelled("A3", "the free fast path reads the cpu freelist twice", INTERLEAVING),
    Unmodelled("A4", "the tid of one cpu, the freelist of another after a migration", INTERLEAVING),
    Unmodelled("A5", "no comparison of the tid", INTERLEAVING),
    Unmodelled("A8", "the walk of the partial list goes on after a lost race", INTERLEAVING),
    Unmodelled("A11", "the cpu slab is freed by an interrupt between test and use", INTERLEAVING),
    Unmodelled("A12", "remote objects are forgotten by the bulk free of sheaves", "sheaves came with Linux 6.18"),
    Unmodelled("A13", "no barn on a node without memory", "sheaves came with Linux 6.18"),
    Unmodelled("A15", "two operations on one cpu's partial list interleave", INTERLEAVING),
    Unmodelled("A17", "the count of objects charged in a bulk free is off", "there are no memory control groups"),
    Unmodelled("A20", "statistics read the cpu slab twice", INTERLEAVING),
    Unmodelled("A21", "the list of full slabs is changed without its lock", INTERLEAVING),
    Unmodelled("A22", "SLOB takes the wrong order for a large request", OTHER_DESIGN),
    Unmodelled("B4x", "the type of a buddy's pageblock is read before the buddy is looked at",
               "every frame of an aligned block has a pageblock here, so that the early read finds one"),
    Unmodelled("B13x", "a free that finds the pcp lock taken uses the pcp list's type", INTERLEAVING),
    Unmodelled("B14x", "an interrupt captures into a half-initialised capture control", INTERLEAVING),
    Unmodelled("B17x", "the zonelist is empty while it is rebuilt", INTERLEAVING),
    Unmodelled("B19x", "a bulk allocation of pages compares with its bound too late", "pages are allocated one by one"),
    Unmodelled("B20x", "deferred memory counts for the watermark", "all memory is there from boot on"),
    Unmodelled("C4x", "compaction counts a large folio that it isolates as one page", "all folios have order 0"),
    Unmodelled("C6x", "free_swap_and_cache() uses a swap device that swapoff() has freed", INTERLEAVING),
    Unmodelled("C9x", "compaction is said to make progress for a costly request that must not enter it",
               "nothing is compacted, and only large orders are costly"),
    Unmodelled("C10x", "the loop over the shrinkers of memory control groups does not end",
               "there are no shrinkers and no memory control groups"),
    Unmodelled("C11x", "pages that are read through file descriptors are in a generation too old",
               "the lists are the classic two, without generations"),
    Unmodelled("C13x", "a node of the page cache's tree is freed while it is on the list of shadow nodes",
               "shadows are kept by page of the file, not in tree nodes that are reclaimed"),
    Unmodelled("C15x", "migration copies a page's flags before it is dirtied for the last time", "no page is migrated"),
    Unmodelled("C16x", "a task with priority spins for a swap-in of one without", INTERLEAVING),
    Unmodelled("D4", "memory that is added later is not merged with its neighbours", "no memory is added after boot"),
    Unmodelled("D9", "the lock is let go between a split and the return of its halves", INTERLEAVING),
    Unmodelled("D10", "success is reported although another context took the block", INTERLEAVING),
    Unmodelled("D11", "blocks may be smaller than the list node in them", "list nodes lie in struct page"),
    Unmodelled("D12", "the size of a request overflows", "a request for pages is an order"),
    Unmodelled("D13", "a wrong split, an internal error code, an endless loop between contexts", INTERLEAVING),
    Unmodelled("D14", "a header or the padding overflows the size word", "blocks have no headers in memory"),
    Unmodelled("D15", "the start of the heap is rounded in the wrong variable", "the heap's bounds are the scope's"),
    Unmodelled("D16", "a tagged pointer is used with its tag", "pointers have no tag bits"),
    Unmodelled("D17", "a thread collects the delayed frees of one of its heaps alone", OTHER_DESIGN),
    Unmodelled("D18", "a span is freed twice by a race of two counters", INTERLEAVING),
    Unmodelled("D19", "a neighbour changed its size class while it is merged", INTERLEAVING),
    Unmodelled("D20", "a thread never gets its decay ticker", OTHER_DESIGN),
    Unmodelled("D21", "a span can be found while it is released to the system", INTERLEAVING),
    Unmodelled("D22", "the crawler's budget is off by one", OTHER_DESIGN),
    Unmodelled("D23", "the header of a chunked item is freed, its chunks are not", OTHER_DESIGN),
    Unmodelled("D24", "an item is unlinked twice", INTERLEAVING),
    Unmodelled("D25", "the lock is let go between the last reference and the free list", INTERLEAVING),
    Unmodelled("D26", "one path does not check the size for overflow", OTHER_DESIGN),
    Unmodelled("D27", "a hole's header does not fit into a tiny heap", "blocks have no headers in memory"),
)
"""To be checked against the catalogue whenever a part is added to the model."""
