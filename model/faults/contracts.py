"""Faults of the contracts of `validate` as specifications: what real caches, heaps and object caches got wrong.

They are here so that each property of a contract is known to be able to fail; they are apart from the kernel's.
"""

from __future__ import annotations

from . import Faults

SOURCE = "real bugs of caches and allocators, generalised (bug catalogue, section D)"

_lru = Faults("contract-lru", "specs.contract_lru", SOURCE)
_heap = Faults("contract-heap", "specs.contract_heap", SOURCE)
_slab = Faults("contract-slab", "specs.contract_slab", SOURCE)

FAULTS = (
    _lru(
        "lru-one-too-many",
        "a cache evicts when it is over its capacity, not when it is full",
        "insert",
        "m.length == m.capacity:",
        "m.length > m.capacity:",
        ("U1", "checks"),
    ),
    _lru(
        "lru-stale-link",
        "taking a key out of the queue leaves the last place taken",
        "take_out",
        "    m.queue[m.length] = None\n",
        "",
        ("U2",),
    ),
    _lru(
        "lru-marks-stay",
        "a removed entry stays marked as used",
        "remove",
        "    entry.referenced = False\n",
        "",
        ("U3",),
        scope="clock",
    ),
    _lru(
        "lru-hit-not-moved",
        "a hit is noted but the entry stays where it is in the queue",
        "to_end",
        "    take_out(m, key)\n    put_last(m, key)\n",
        "",
        ("U4",),
    ),
    _lru(
        "lru-evicts-newest",
        "the entry used most recently is evicted",
        "next_victim",
        "    return m.queue[0]",
        "    return m.queue[max(0, m.length - 1)]",
        ("U5",),
    ),
    _lru(
        "lru-put-keeps-old",
        "a put of a present key refreshes it and keeps the old value",
        "put",
        "    m.entry[key].value = value\n",
        "",
        ("U6",),
    ),
    _lru(
        "clock-no-second-chance",
        "the hand clears the mark of an entry and then takes it at once",
        "next_victim",
        "            m.entry[first].referenced = False\n            to_end(m, first)\n",
        "            m.entry[first].referenced = False\n",
        ("U7",),
        scope="clock",
    ),
    _lru(
        "lru-get-is-no-use",
        "a hit does not refresh the entry",
        "get",
        "        use(m, key)\n",
        "        pass\n",
        ("U8",),
    ),
    _lru(
        "lru-resize-drops-newest",
        "shrinking a cache drops the entries used most recently",
        "resize",
        "            evict(m)\n",
        "            last = m.queue[max(0, m.length - 1)]\n            if last is not None:\n"
        "                remove(m, last)\n",
        ("U9",),
    ),
    _heap(
        "heap-header-overlaps",
        "a block's header is put into the block before it",
        "fits",
        "range(at - m.header, at + length)",
        "range(at, at + length)",
        ("H1",),
        scope="header",
    ),
    _heap(
        "heap-misaligned",
        "a block is put where there is room, aligned or not",
        "fits",
        "at % m.alignment != 0 or ",
        "",
        ("H2",),
        scope="header",
    ),
    _heap(
        "heap-writes-into-blocks",
        "the heap's own data lie anywhere but at the start of a block",
        "use",
        "    require(all(not covers(m, start, unit) for start in indices(m.block)))\n",
        "    require(m.block[unit] is None)\n",
        ("H3",),
    ),
    _heap(
        "heap-realloc-memcpy",
        "realloc to an overlapping place copies forwards",
        "reallocate",
        "    if to <= at:\n",
        "    if to >= 0:\n",
        ("H4",),
    ),
    _heap(
        "heap-no-coalescing",
        "a request is refused although a gap holds it",
        "refuse",
        "all(not fits(m, at, length, None)",
        "any(not fits(m, at, length, None)",
        ("H5",),
    ),
    _heap(
        "heap-footer-overlaps",
        "free writes the word before the block, which is the last of its neighbour",
        "release",
        "    m.block[at] = None\n",
        "    m.block[at] = None\n    if at > 0:\n        m.memory[at - 1] = 0\n",
        ("H6",),
    ),
    _slab(
        "slab-freed-with-an-object",
        "a slab goes back with its last object but one",
        "release",
        "    if inuse(m, slab) == 0 and empty_slabs(m) > m.keep_empty:\n",
        "    if inuse(m, slab) <= 1 and m.slab[slab]:\n",
        ("O1",),
    ),
    _slab(
        "slab-shrink-not-counted",
        "shrink does not take the slabs it gives back off the count",
        "shrink",
        "    m.slabs -= gone\n",
        "",
        ("O2",),
    ),
    _slab(
        "slab-empties-pile-up",
        "one empty slab more than declared is kept",
        "release",
        "empty_slabs(m) > m.keep_empty",
        "empty_slabs(m) > m.keep_empty + 1",
        ("O3",),
    ),
    _slab(
        "slab-free-takes-the-neighbour",
        "freeing an object frees the one before it in its slab too",
        "release",
        "    m.live[object] = False\n",
        "    m.live[object] = False\n    if object % m.slots != 0:\n        m.live[max(0, object - 1)] = False\n",
        ("O4",),
    ),
    _slab(
        "slab-given-twice",
        "an object that is live is given again",
        "allocate",
        "    require(not m.live[object])\n",
        "",
        ("O5",),
    ),
)
