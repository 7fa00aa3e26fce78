"""The lives of slab objects, by the events of kmalloc and the caches alone.

The one idea: objects are kept page by page, as the kernel keeps them: those of one page are of one size and whole sizes
apart, and the page is in use as long as one of them is. Where addresses are hashed only their identity is left. Memory:
an entry for each object in use, and one for each of the objects freed last.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

from ..contracts.contract import Clause
from .clauses import (
    BULK_ALLOCATED,
    CACHE,
    MADE_ANEW,
    OBJECT,
    OBJECT_FREED,
    SILENTLY_FREED,
    SIZE,
    SLAB_FREED,
    SLAB_PAGE,
    SPACING,
    TIE,
    Reason,
)
from .judging import Judge, Moment, Subject, Suspicion
from .pages import Handler, PageLives

PAGE_SHIFT = 12
PAGES_FROM_SIZE = 2 * 4096
"""A larger kmalloc() takes pages of its own (KMALLOC_MAX_CACHE_SIZE)."""
FREED_MIN = 1 << 16
NAMES_MAX = 1 << 14
NULLS = (0, 16)
KERNEL_HALF = 1 << 63
GIGABYTE_SHIFT = 30
"""Where page 0 is mapped (page_offset_base) is a multiple of this."""
VOTES = 4

_POINTER = rb"(?:\([^)]*\) )?call_site=[^=]{1,200} ptr=(?:0x)?([0-9a-f]{1,16}|\(nil\)|\(null\))"
_ALLOCATED = re.compile(_POINTER + rb" bytes_req=(\d{1,15}) bytes_alloc=(\d{1,15})")
_FREED = re.compile(_POINTER + rb"(?: name=(\S*))?")
_BULK = re.compile(
    rb"\([^)]*\) s=0x[0-9a-f]+ (?:name=\"([^\"]*)\" )?n=(\d{1,7})(?: ret=(\d{1,7}))? p=\{([0-9a-fx,]*)\}"
)

_KFREE, _CACHE_FREE = (b"kfree",), (b"kmem_cache_free",)
_KMALLOC, _ANY_ALLOC = (b"kmalloc",), (b"kmalloc", b"kmem_cache_alloc")

Life = tuple[int, bytes, bytes, int, bool]
"""The moment of an allocation, the object's bytes (0: not known), and whether kmalloc() gave it."""


class ObjectLives:
    """`live` has a table of objects for each page (by address >> 12; a single table where addresses are hashed)."""

    def __init__(self, judge: Judge, pages: PageLives) -> None:
        self.judge = judge
        self.pages = pages
        pages.page_freed = self.page_freed
        self.live: dict[int, dict[int, Life]] = {}
        self.count = 0
        self.freed: dict[int, tuple[int, bytes, bytes, bool]] = {}  # and whether by kfree()
        self.sizes: dict[bytes, tuple[int, int]] = {}  # by cache: its objects' bytes, and the event that showed it
        self.changed: dict[bytes, tuple[int, Suspicion]] = {}  # by cache: its size before the last change of it
        self.base: int | None = None  # address >> 12 of page 0
        self.votes: Counter[int] = Counter()
        self.handlers: dict[bytes, Handler] = {
            b"kmalloc": self.kmalloc,
            b"kmem_cache_alloc": self.cache_alloc,
            b"kmalloc_node": self.kmalloc,
            b"kmem_cache_alloc_node": self.cache_alloc,
            b"kfree": self.free,
            b"kmem_cache_free": self.free,
            b"slab_bulk_alloc": self.bulk_alloc,
            b"slab_bulk_free": self._bulk_free_from(0),
            **{b"slab_bulk_free%d" % part: self._bulk_free_from(32 + 64 * (part - 2)) for part in range(2, 10)},
        }

    def forget(self) -> None:
        self.live.clear()
        self.freed.clear()
        self.count = 0

    def forget_object(self, address: int) -> None:
        table = self.live.get(_place(address))
        if table is not None and table.pop(address, None) is not None:
            self.count -= 1
            if not table:
                del self.live[_place(address)]
        self.freed.pop(address, None)

    # --- events

    def kmalloc(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        return self._allocated(line, end, number, cpu, time, task, True)

    def cache_alloc(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        return self._allocated(line, end, number, cpu, time, task, False)

    def _allocated(
        self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes, kmalloc: bool
    ) -> bool:
        match = _ALLOCATED.match(line, end)
        if match is None:
            return False
        pointer, asked, got = match.groups()
        if pointer[0] == 40:
            return True  # NULL: the allocation failed
        address, size = int(pointer, 16), int(got)
        if address in NULLS:
            return True
        if int(asked) > size or size == 0:
            self._suspect_number(SIZE, address, line, number, f"{asked.decode()} bytes asked, {size} given")
        self.begin(address, size, kmalloc, line, (number, cpu, time))
        if address < KERNEL_HALF:
            return True
        frame = address >> PAGE_SHIFT
        if self.base is None:
            self._vote(address, task, number)
        else:
            frame -= self.base
            if frame in self.pages.freed:
                self._in_free_page(address, frame, line, (number, cpu, time))
            elif kmalloc and size > PAGES_FROM_SIZE:
                self._large(address, frame, size, line, (number, cpu, time))
        return True

    def begin(self, address: int, size: int, kmalloc: bool, line: bytes, now: Moment) -> None:
        """An object is allocated."""
        place = address >> PAGE_SHIFT if address >= KERNEL_HALF else 0
        table = self.live.get(place)
        if table is None:
            self.live[place] = {address: (*now, size, kmalloc)}
            self.count += 1
        else:
            life = table.get(address)
            if life is not None or self.judge.waiting:
                self._begins(address, life, line, now)
            if life is None:
                self.count += 1
            if place and table:
                other = next(iter(table))
                other_size = table[other][3]
                if other_size and size and (other_size != size or (address - other) % size):
                    self._spacing(address, other, size, table, line, now)
            table[address] = (*now, size, kmalloc)
        self.freed.pop(address, None)

    def free(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _FREED.match(line, end)
        if match is None:
            return False
        pointer, name = match.groups()
        address = 0 if pointer[0] == 40 else int(pointer, 16)
        if address not in NULLS:
            self.end(address, name, line, (number, cpu, time))
        return True

    def end(self, address: int, name: bytes | None, line: bytes, now: Moment) -> None:
        """An object is freed, to a cache of this name if the event says so."""
        place = address >> PAGE_SHIFT if address >= KERNEL_HALF else 0
        table = self.live.get(place)
        life = None if table is None else table.pop(address, None)
        if life is None or self.judge.waiting:
            self._ends(address, name, line, now, life)
        if life is not None:
            self.count -= 1
            if not table:
                del self.live[place]
            if name and life[3]:
                known = self.sizes.get(name)
                if known is None:
                    if len(self.sizes) < NAMES_MAX:
                        self.sizes[name] = (life[3], now[0])
                        self.judge.evidence.update((now[0], life[0]) if len(self.sizes) < 16 else ())
                elif known[0] != life[3]:
                    self._other_size(address, name, life, known, line, now)
        if life is not None and self.judge.coarse and self.judge.tied(life[:3], now):
            return  # perhaps the free was the earlier one of the two
        self.freed[address] = (*now, name is None)
        if len(self.freed) > FREED_MIN + 2 * self.count:
            for old in list(islice(self.freed, FREED_MIN // 2)):
                del self.freed[old]

    # --- what only probes show

    def bulk_alloc(self, line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
        match = _BULK.match(line, end)
        if match is None or match[3] is None:
            return False
        for address in self._array(match[4], int(match[3]), 0):
            self.begin(address, 0, False, line, (number, cpu, time))
        return True

    def _bulk_free_from(self, first: int) -> Handler:
        def bulk_free(line: bytes, end: int, number: int, cpu: bytes, time: bytes, task: bytes) -> bool:
            match = _BULK.match(line, end)
            if match is None:
                return False
            for address in self._array(match[4], int(match[2]), first):
                self.end(address, None, line, (number, cpu, time))
            return True

        return bulk_free

    def _array(self, pointers: bytes, count: int, first: int) -> list[int]:
        """The pointers that are part of an array of `count`, of which this line shows those from `first` on."""
        shown = pointers.split(b",") if pointers else []
        last = first + len(shown)
        self.judge.hidden = self.judge.hidden or (count > last and last != 32 and first + 64 > 512) or count > 544
        return [int(pointer, 16) for pointer in shown[: max(count - first, 0)]]

    # --- pages

    def page_freed(self, pfn: int, order: int, line: bytes, now: Moment) -> None:
        """A block is freed: with the objects that are left in it."""
        if self.base is None:
            return
        for frame in range(pfn, pfn + (1 << order)):
            table = self.live.get(frame + self.base)
            if table is not None:
                address = next(iter(table))
                life = table[address]
                self._suspect(SLAB_FREED, address, line, now, life[:3], (SILENTLY_FREED,), (),
                              f"its page {frame:#x} is freed", f"allocated by event {life[0]}")  # fmt: skip
                self.count -= len(table)
                del self.live[frame + self.base]

    def _vote(self, address: int, task: bytes, number: int) -> None:
        """An object of a new slab comes right after the pages of the slab: together they show where page 0 is."""
        last_task, pfn, order = self.pages.last
        distance = address - (pfn << PAGE_SHIFT)
        if task == last_task and (distance & ((1 << GIGABYTE_SHIFT) - 1)) < 4096 << order:
            gigabyte = distance >> GIGABYTE_SHIFT
            self.votes[gigabyte] += 1
            self.judge.evidence.add(number)
            if self.votes[gigabyte] >= VOTES and len(self.votes) == 1:
                self.base = gigabyte << (GIGABYTE_SHIFT - PAGE_SHIFT)

    def _in_free_page(self, address: int, frame: int, line: bytes, now: Moment) -> None:
        freed = self.pages.freed[frame]
        self._suspect(SLAB_PAGE, address, line, now, freed[:3], (), (b"mm_page_alloc",),
                      f"allocated in page {frame:#x}", f"the page is free since event {freed[0]}")  # fmt: skip
        del self.pages.freed[frame]

    def _large(self, address: int, frame: int, size: int, line: bytes, now: Moment) -> None:
        life = self.pages.live.get(frame)
        if life is not None and (life[3] != frame or 4096 << life[4] != size):
            self._suspect(SLAB_PAGE, address, line, now, life[:3], (), (), f"{size} bytes in page {frame:#x}",
                          f"page {life[3]:#x} was allocated with order {life[4]} by event {life[0]}")  # fmt: skip

    # --- what does not fit

    def _begins(self, address: int, life: Life | None, line: bytes, now: Moment) -> None:
        if self.judge.waiting and self.judge.blurred(("object", address), now[1], OBJECT):
            return
        if life is not None:
            missing = _KFREE if life[4] else _CACHE_FREE
            self._suspect(OBJECT, address, line, now, life[:3], (SILENTLY_FREED,), missing, "allocated",
                          f"in use since event {life[0]}")  # fmt: skip

    def _ends(
        self, address: int, name: bytes | None, line: bytes, now: Moment, life: Life | None
    ) -> None:
        """An object is freed that is free. Only the objects of caches with names are allocated in bulk, and those are
        not freed by kfree()."""
        if self.judge.waiting and self.judge.blurred(("object", address), now[1], OBJECT_FREED):
            return
        freed = self.freed.get(address)
        if freed is not None:
            kfree = freed[3] and name is None
            reasons, missing = ((), _KMALLOC) if kfree else ((BULK_ALLOCATED,), _ANY_ALLOC)
            self._suspect(OBJECT_FREED, address, line, now, freed[:3], reasons, missing, "freed",
                          f"free since event {freed[0]}")  # fmt: skip
        elif life is None:
            self.judge.cannot_tell(OBJECT_FREED, self.judge.unknown_reason)
            self.judge.watch(("object", address), now)

    def _spacing(
        self, address: int, other: int, size: int, table: dict[int, Life], line: bytes, now: Moment
    ) -> None:
        life = table[other]
        self._suspect(SPACING, address, line, now, life[:3], (SILENTLY_FREED,), (), f"allocated, {size} bytes",
                      f"{other:#x} with {life[3]} bytes is in use there since event {life[0]}")  # fmt: skip
        self.count -= len(table)
        table.clear()
        self.count += 1

    def _other_size(
        self, address: int, name: bytes, life: Life, known: tuple[int, int], line: bytes, now: Moment
    ) -> None:
        """An object of another size is freed to a cache. Unless the size before comes again, it is another cache."""
        said = name.decode("utf-8", "replace")
        suspicion = Suspicion(
            CACHE, now[0], line, ("object", address), f"{address:#x}: {life[3]} bytes, freed to {said}",
            f"{known[0]} bytes as by event {known[1]}", (life[0], known[1]),
        )  # fmt: skip
        before = self.changed.pop(name, None)
        if before is not None and before[0] == life[3]:
            self.judge.evidence.update((now[0], life[0]))
            self.judge.suspect(before[1], now)
        elif before is not None:
            self.judge.cannot_tell(CACHE, MADE_ANEW)
            self.changed[name] = (known[0], suspicion)
        else:
            self.changed[name] = (known[0], suspicion)
        self.sizes[name] = (life[3], now[0])

    def finish(self) -> None:
        """The trace is over."""
        for _ in self.changed:
            self.judge.cannot_tell(CACHE, MADE_ANEW)

    def _suspect_number(self, clause: Clause, address: int, line: bytes, number: int, observed: str) -> None:
        self.judge.decide(Suspicion(clause, number, line, ("object", address), f"{address:#x}: {observed}", "no less"))

    def _suspect(
        self,
        clause: Clause,
        address: int,
        line: bytes,
        now: Moment,
        before: Moment,
        reasons: tuple[Reason, ...],
        missing: tuple[bytes, ...],
        observed: str,
        expected: str,
    ) -> None:
        if clause not in (OBJECT, OBJECT_FREED) and self.judge.tied(before, now):
            self.judge.cannot_tell(clause, TIE)
            return
        subject: Subject = ("object", address)
        said = f"{address:#x}: {observed}"
        suspicion = Suspicion(clause, now[0], line, subject, said, expected, (before[0],), reasons)
        if clause in (OBJECT, OBJECT_FREED):
            self.judge.suspect(suspicion, now, before, missing)
        elif self.judge.kinds_seen(missing, before[0]):
            self.judge.decide(suspicion)


def _place(address: int) -> int:
    return address >> PAGE_SHIFT if address >= KERNEL_HALF else 0

