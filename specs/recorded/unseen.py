"""Where something may have happened to the lists of pages with no event, and until when that can still show.

The one idea: a doubt begins with an operation that need not have done what its events say, and ends with the event that
shows that it did. So a difference outside of all doubts is one between the model and the kernel.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .ftrace import LINES_MAX
from .operations import (
    AllocateObject,
    AllocateObjects,
    AllocatePageInBulk,
    AllocatePages,
    CompactZone,
    DrainPages,
    FreePages,
    Operation,
)
from .tally import CAPTURED, LOCKED

_ON_LISTS = (AllocatePages, AllocatePageInBulk, FreePages, AllocateObject, AllocateObjects)


@dataclass(frozen=True)
class Unseen:
    """From one line of the trace to another, a difference may be of something that has no event, for this reason."""

    first: int
    last: int
    reason: str


def unseen(operations: Sequence[Operation], locked: Sequence[tuple[int, int]]) -> tuple[Unseen, ...]:
    """All doubts of a recording. `locked`: lines of operations that drained the lists of another CPU, and that CPU.

    While it does, that CPU finds its lists locked: it frees to the buddy lists, and allocates from them, instead
    (free_unref_page(), rmqueue_pcplist()). A task that compacts memory for itself may be given a block that is freed to
    it directly (compaction_capture())."""
    shown = _places_of_pages(operations)
    drained = dict[int, list[int]]()
    for line, cpu in locked:
        drained.setdefault(line, []).append(cpu)
    found: list[Unseen] = []
    last_of: dict[int, int] = {}  # by CPU: the place of its last operation
    open_: dict[int, list[tuple[int, int]]] = {}  # by CPU that drains: from which place on, whose lists
    for place, one in enumerate(operations):
        for first, cpu in open_.pop(one.cpu, ()):
            found += _of_one(operations, shown, range(first, place), cpu)
        for cpu in drained.get(one.line, ()):
            # The lock was held from somewhere after the drainer's operation before, until before its next one.
            open_.setdefault(one.cpu, []).append((last_of.get(one.cpu, 0), cpu))
        last_of[one.cpu] = place
    for windows in open_.values():
        for first, cpu in windows:
            found += _of_one(operations, shown, range(first, len(operations)), cpu)
    return (*dict.fromkeys(found), *_captured(operations))


def _places_of_pages(operations: Sequence[Operation]) -> dict[int, list[int]]:
    """By page: the places of the operations that show that it was on a per-CPU list, or is given out."""
    found: dict[int, list[int]] = {}
    for place, one in enumerate(operations):
        pages: tuple[int, ...] = ()
        match one:
            case FreePages() | DrainPages():
                pages = one.drained
            case AllocatePages() | AllocatePageInBulk():
                pages = (one.pfn,)
            case AllocateObject() | AllocateObjects():
                pages = tuple(block.pfn for block in one.pages)
        for page in pages:
            found.setdefault(page, []).append(place)
    return found


def _of_one(
    operations: Sequence[Operation], shown: dict[int, list[int]], places: range, cpu: int
) -> Iterator[Unseen]:
    """The doubts about what a CPU did while its lists were locked: an allocation shows at once where it took its page;
    where a freed page went shows when it is drained, or given out again."""
    for place in places:
        one = operations[place]
        if one.cpu != cpu or not isinstance(one, _ON_LISTS):
            continue
        last = one.line
        if isinstance(one, FreePages):
            later = shown.get(one.pfn, [])
            at = bisect_left(later, place)
            last = operations[later[at]].line if at < len(later) else LINES_MAX
        yield Unseen(one.line, last, LOCKED)


def _captured(operations: Sequence[Operation]) -> list[Unseen]:
    """The doubts about compaction by a task: until the next page that is given out on its CPU after it."""
    found = []
    next_of: dict[int, int] = {}  # by CPU: the line of its next allocation, or compaction
    for one in reversed(operations):
        if isinstance(one, CompactZone) and one.direct:
            found.append(Unseen(one.line, next_of.get(one.cpu, LINES_MAX), CAPTURED))
        if isinstance(one, AllocatePages | CompactZone):
            next_of[one.cpu] = one.line
    return found[::-1]
