"""What a recording's events say was done: the calls to make of the model, in the order in which they took effect.

The one idea: an event is not an operation. Events of an allocation come after it, those of a free before it, and those
of a slab operation have the page events it caused between its beginning and its own event. So a call takes effect at
its first nested page event, or at its own; the rest is kept with the call, to compare with what the model does.

Events of one task in one context (task, softirq, hardirq) nest; those of an interrupt between them do not belong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .ftrace import (
    BlockTaken,
    Compaction,
    Event,
    FreePageIsolated,
    IsolationResult,
    KswapdSleep,
    KswapdWake,
    Marker,
    ObjectAllocated,
    ObjectFreed,
    ObjectsBulkAllocated,
    ObjectsBulkFreed,
    Other,
    PageAllocated,
    PageBulkAllocated,
    PageDrained,
    PageFreed,
    PageFreedBatched,
)
from .states import KernelState

KMALLOC_MAX_CACHE_SIZE = 2 * 4096
"""A larger kmalloc takes pages (kmalloc_large())."""
PAGE_SHIFT = 12


@dataclass(frozen=True, slots=True)
class Operation:
    """`at`: the trace line at which it takes effect; `line`: that of its own event; `level`: 0 task, 1 soft, 2 hard."""

    at: int
    line: int
    cpu: int
    level: int


@dataclass(frozen=True, slots=True)
class AllocatePages(Operation):
    """alloc_pages(): which page it gave, and the blocks that left the buddy lists for it, in order; and whether the
    task may use all memory, as it reclaims (PF_MEMALLOC)."""

    pfn: int
    order: int
    migratetype: int
    gfp_flags: str
    taken: tuple[tuple[int, int], ...]
    memalloc: bool = False


@dataclass(frozen=True, slots=True)
class AllocatePageInBulk(Operation):
    """One page of __alloc_pages_bulk()."""

    pfn: int
    taken: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class FreePages(Operation):
    """A page goes to its per-CPU list or to the buddy lists; `drained` pages then leave the per-CPU lists."""

    pfn: int
    order: int
    drained: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DrainPages(Operation):
    """Pages leave a CPU's lists though no free made them."""

    drained: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class IsolateFreePage(Operation):
    """Compaction takes a free block for itself and splits it."""

    pfn: int
    order: int


@dataclass(frozen=True, slots=True)
class ReclaimActive(Operation):
    """kswapd begins or ends balance_pgdat(): per-CPU lists are kept short meanwhile (ZONE_RECLAIM_ACTIVE). `sure`: it
    has ended, and taken back the boost of the watermarks; not sure: from here on it may have."""

    active: bool
    sure: bool = True


@dataclass(frozen=True, slots=True)
class CompactZone(Operation):
    """Compaction begins or ends in the zone of a frame: meanwhile it turns free lists round, which has no event. It is
    `direct` if a task does it for itself."""

    pfn: int
    begins: bool
    direct: bool


@dataclass(frozen=True, slots=True)
class AllocateObject(Operation):
    """kmalloc() or kmem_cache_alloc(); `pages` are those of the new slab it made."""

    address: int
    bytes_req: int
    bytes_alloc: int
    gfp_flags: str
    kmalloc: bool
    pages: tuple[AllocatePages, ...]


@dataclass(frozen=True, slots=True)
class AllocateObjects(Operation):
    """kmem_cache_alloc_bulk(); `complete` when the probe showed all objects."""

    cache: str
    addresses: tuple[int, ...]
    complete: bool
    pages: tuple[AllocatePages, ...]


@dataclass(frozen=True, slots=True)
class FreeObject(Operation):
    """kfree() or kmem_cache_free(); `cache` only for the latter."""

    address: int
    cache: str | None


@dataclass(frozen=True, slots=True)
class FreeObjects(Operation):
    """kmem_cache_free_bulk(), of any caches; `complete` when the probes showed the whole array."""

    addresses: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class ShrinkCache(Operation):
    """The workload writes to one of the files /sys/kernel/slab/*/shrink, `number` in their order: a cache is flushed
    and its lists are sorted, with no event but the allocation of the buffer that is written."""

    number: int


PHASE, SHRINKING, SYSFS_WRITE = "KT PHASE ", "KT PHASE drop", "kernfs_fop_write_iter"
"""The markers of the workload; in one of its phases it shrinks all caches, and writes nothing else to sysfs."""

COMPACTION, KCOMPACTD = "mm_compaction_", "mm_compaction_kcompactd_"

Context = tuple[int | None, int, int]


def between(events: Iterable[Event], before: KernelState, after: KernelState) -> list[Event]:
    """The events after the first dump and before the second, by each CPU's own count of lines."""
    seen = [0] * before.cpus
    found: list[Event] = []
    for event in events:
        if event.cpu < before.cpus:
            seen[event.cpu] += 1
            if before.lines[event.cpu] < seen[event.cpu] <= after.lines[event.cpu]:
                found.append(event)
    return found


def operations(events: Sequence[Event], page_offset_base: int) -> list[Operation]:
    """The operations behind the events, in the order in which they take effect."""
    reader = _Reader(events, page_offset_base)
    for event in events:
        reader.read(event)
    found = [operation for operation in reader.found if operation is not None]
    return sorted(found, key=lambda operation: (operation.at, operation.line))


def postponed(operations: Sequence[Operation], lines: frozenset[int]) -> list[Operation]:
    """The operations, with those of these lines after the interrupts that directly follow them on their CPU: an event
    of a free comes before it, and an interrupt may strike between the two."""
    found: list[Operation] = []
    waiting: list[Operation] = []
    for operation in operations:
        for other in [other for other in waiting if other.cpu == operation.cpu and other.level >= operation.level]:
            waiting.remove(other)
            found.append(other)
        (waiting if operation.line in lines else found).append(operation)
    return found + waiting


class _Reader:
    """One pass over the events, remembering for each context what its next event may belong to."""

    def __init__(self, events: Sequence[Event], page_offset_base: int) -> None:
        self.page_offset_base = page_offset_base
        self.found: list[Operation | None] = []  # None: a page allocation that a slab operation has taken over
        self.batched = _announced(events)
        self.ending, self.asleep = _ends_of_reclaim(events)
        self.kcompactd = {
            event.pid for event in events if isinstance(event, Other) and event.name.startswith(KCOMPACTD)
        }
        self.reclaiming = {event.pid for event in events if isinstance(event, KswapdWake | KswapdSleep)}
        self.taken: dict[Context, list[BlockTaken]] = {}
        self.pages: dict[Context, list[int]] = {}  # positions in `found`: page allocations a slab may have made
        self.freeing: dict[Context, int] = {}  # position in `found`: the free that a drain may follow
        self.isolating: dict[Context, FreePageIsolated] = {}
        self.shrinking, self.shrunk = False, 0

    def read(self, event: Event) -> None:
        context = _context(event)
        level = context[2]
        if not isinstance(event, PageDrained):
            self.freeing.pop(context, None)
        if event.line in self.ending:
            self.found.append(ReclaimActive(event.line, event.line, event.cpu, level, False, False))
        if event.line in self.asleep:
            self.found.append(ReclaimActive(event.line, event.line, event.cpu, level, False))
        match event:
            case BlockTaken():
                self.taken.setdefault(context, []).append(event)
            case PageAllocated(pfn=int(pfn)):
                at, blocks = self._blocks(event, context)
                self.pages.setdefault(context, []).append(len(self.found))
                memalloc = level < 2 and event.pid in self.reclaiming
                own = (event.order, event.migratetype, event.gfp_flags, blocks, memalloc)
                self.found.append(AllocatePages(at, event.line, event.cpu, level, pfn, *own))
            case PageBulkAllocated():
                at, blocks = self._blocks(event, context)
                self.found.append(AllocatePageInBulk(at, event.line, event.cpu, level, event.pfn, blocks))
            case PageFreed():
                self.pages.pop(context, None)
                if event.line not in self.batched:
                    self._free(event, context, event.pfn, event.order)
            case PageFreedBatched():
                self._free(event, context, event.pfn, 0)
            case PageDrained():
                self._drain(event, context)
            case FreePageIsolated():
                self.isolating[context] = event
            case IsolationResult():
                self._isolate(event, context)
            case Compaction():
                mine = (event.pfn, event.begins, event.pid not in self.kcompactd)
                self.found.append(CompactZone(event.line, event.line, event.cpu, level, *mine))
            case Other(name="mm_vmscan_direct_reclaim_begin"):
                self.reclaiming.add(event.pid)
            case Other(name="mm_vmscan_direct_reclaim_end"):
                self.reclaiming.discard(event.pid)
            case KswapdWake():
                self.found.append(ReclaimActive(event.line, event.line, event.cpu, level, True))
            case Marker(text=text) if text.startswith(PHASE):
                self.shrinking = text.strip() == SHRINKING
            case _:
                self._read_objects(event, context)

    def _read_objects(self, event: Event, context: Context) -> None:
        level = context[2]
        match event:
            case ObjectAllocated() if not (event.kmalloc and event.bytes_alloc > KMALLOC_MAX_CACHE_SIZE):
                at, pages = self._slab_pages(event, context, (event.address,))
                own = (event.address, event.bytes_req, event.bytes_alloc, event.gfp_flags, event.kmalloc)
                self.found.append(AllocateObject(at, event.line, event.cpu, level, *own, pages))
                if self.shrinking and event.call_site == SYSFS_WRITE:
                    self.found.append(ShrinkCache(at, event.line, event.cpu, level, self.shrunk))
                    self.shrunk += 1
            case ObjectAllocated():
                self.pages.pop(context, None)
            case ObjectsBulkAllocated():
                at, pages = self._slab_pages(event, context, event.addresses)
                mine = (event.cache, event.addresses, len(event.addresses) == event.count, pages)
                self.found.append(AllocateObjects(at, event.line, event.cpu, level, *mine))
            case ObjectFreed():
                self.pages.pop(context, None)
                self.found.append(FreeObject(event.line, event.line, event.cpu, level, event.address, event.cache))
            case ObjectsBulkFreed():
                self._free_in_bulk(event, level)

    def _blocks(self, event: Event, context: Context) -> tuple[int, tuple[tuple[int, int], ...]]:
        taken = self.taken.pop(context, [])
        return (taken[0].line if taken else event.line), tuple((block.pfn, block.order) for block in taken)

    def _slab_pages(
        self, event: Event, context: Context, addresses: tuple[int, ...]
    ) -> tuple[int, tuple[AllocatePages, ...]]:
        """The page allocations since this context's last object event that these objects lie in, taken out of the
        list of operations: the model makes them itself."""
        mine: list[AllocatePages] = []
        for position in self.pages.pop(context, []):
            candidate = self.found[position]
            assert isinstance(candidate, AllocatePages)
            frames = range(candidate.pfn, candidate.pfn + (1 << candidate.order))
            if any((address - self.page_offset_base) >> PAGE_SHIFT in frames for address in addresses):
                mine.append(candidate)
                self.found[position] = None
        return (mine[0].at if mine else event.line), tuple(mine)

    def _free(self, event: Event, context: Context, pfn: int, order: int) -> None:
        self.freeing[context] = len(self.found)
        self.found.append(FreePages(event.line, event.line, event.cpu, context[2], pfn, order, ()))

    def _drain(self, event: PageDrained, context: Context) -> None:
        position = self.freeing.get(context)
        if position is None:
            self.freeing[context] = len(self.found)
            self.found.append(DrainPages(event.line, event.line, event.cpu, context[2], (event.pfn,)))
            return
        operation = self.found[position]
        assert isinstance(operation, FreePages | DrainPages)
        # The pages go under the zone's lock: what other CPUs took of the zone since the free's event, they took before.
        at = operation.at if operation.drained else event.line
        self.found[position] = replace(operation, at=at, drained=(*operation.drained, event.pfn))

    def _isolate(self, event: IsolationResult, context: Context) -> None:
        begun = self.isolating.pop(context, None)
        if begun is not None and event.pages:
            self.found.append(IsolateFreePage(begun.line, begun.line, begun.cpu, context[2], begun.pfn, begun.order))

    def _free_in_bulk(self, event: ObjectsBulkFreed, level: int) -> None:
        """The parts of one array are shown in consecutive lines, in any order."""
        last = self.found[-1] if self.found else None
        addresses = event.addresses
        if isinstance(last, FreeObjects) and not last.complete and (last.line, last.cpu) == (event.line - 1, event.cpu):
            self.found.pop()
            addresses = (*last.addresses, *addresses) if event.first else (*addresses, *last.addresses)
        complete = len(addresses) == event.count
        self.found.append(FreeObjects(event.line, event.line, event.cpu, level, addresses, complete))


def _context(event: Event) -> Context:
    mark = event.context[2:3]
    level = 2 if mark in ("h", "H") else 1 if mark == "s" else 0
    return (event.cpu if level or event.pid == 0 else None, event.pid, level)


def _announced(events: Sequence[Event]) -> set[int]:
    """Lines of mm_page_free that only announce a page of a list: its mm_page_free_batched says when it goes."""
    last: dict[int, int] = {}
    found = set()
    for event in events:
        if isinstance(event, PageFreed):
            last[event.pfn] = event.line
        elif isinstance(event, PageFreedBatched) and event.pfn in last:
            found.add(last.pop(event.pfn))
    return found


def _ends_of_reclaim(events: Sequence[Event]) -> tuple[set[int], set[int]]:
    """Lines from which on balance_pgdat() may be over, and lines by which it is: what follows the last event of kswapd
    before its sleep event. (The sleep comes later, after a nap that has no event.) Of compaction's events it is not
    known whether they are its own or those of wakeup_kcompactd(), which comes after the boost has been taken back."""
    maybe, over = set(), set()
    pid: int | None = None
    follows = follows_own = False
    first = last = 0
    for event in events:
        if isinstance(event, KswapdWake | KswapdSleep) and pid is not None:
            sleeps = isinstance(event, KswapdSleep)
            if last or sleeps:
                over.add(last or event.line)
                maybe.add(first or last or event.line)
            pid = None
        if isinstance(event, KswapdWake):
            pid, first, last = event.pid, 0, 0
        if follows:
            last = event.line
        if follows_own:
            first = event.line
        follows = pid is not None and event.pid == pid
        follows_own = follows and not (isinstance(event, Other) and event.name.startswith(COMPACTION))
    return maybe, over
