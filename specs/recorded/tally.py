"""What is predicted of a recording, and how a prediction went: right, wrong, or not made and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

PAGES = "page of each mm_page_alloc"
ZONES = "zone of each mm_page_alloc"
BLOCKS = "block of each mm_page_alloc_zone_locked"
DRAINED = "page of each mm_page_pcpu_drain"
BULK = "page of each __alloc_pages_bulk"
ISOLATED = "block of each __isolate_free_page"
ADDRESSES = "address of each slab allocation"
DISCARDED = "pages of each slab given back"
STEPS = "no step of the model fails"
EVENT_ROWS = (PAGES, ZONES, BLOCKS, DRAINED, BULK, ISOLATED, ADDRESSES, DISCARDED, STEPS)
"""The rows of the table that are about events."""

FRESH = "first object of a fresh slab (random start)"
INTERRUPT = "order of a free and of an interrupt's free right after its event is not recorded"
SHRUNK = "caches with several names were shrunk: which of them when has no event"
SHRUNK_BY_ALL = "the caches were shrunk: in which order the CPUs were flushed has no event"
NO_SLAB_EVENTS = "the recording has no events of slabs"
UNKNOWN_CACHE = "the event does not say which cache"
UNSEEN = "the probes do not show the whole array"
KSWAPD = "frees before which kswapd was taken to have begun or ended, which has no event"
FACTOR = "first frees that drained a CPU's list: free_factor is not in the state, and taken from them"

DRIFT = "a watermark is within what CPUs may still have to add to a zone's count of free pages, which has no event"
BOOST = "kswapd had just taken back the boost of the watermarks, or was about to, which has no event"
LOCKED = "another CPU drained a CPU's lists: while it held their lock, pages may have passed them by, with no event"
CAPTURED = "a task compacted memory: a block that is freed meanwhile may have been given to it, with no event"
TURNED = "compaction turned a free list round, which has no event: which block is then the first"

@dataclass(frozen=True)
class Difference:
    """One wrong prediction: at which line of the trace, about what, what the kernel did and what the model did, and if
    known the reason and the line of the operation behind it. `pages`: some that a list has at another place, or not."""

    line: int
    about: str
    recorded: str
    predicted: str
    reason: str = ""
    because: int | None = None
    pages: tuple[int, ...] = ()


@dataclass
class Tally:
    """How one kind of prediction went: right, wrong, and not made, by reason."""

    right: int = 0
    wrong: list[Difference] = field(default_factory=list)
    not_predicted: Counter[str] = field(default_factory=Counter)

    def excuse(self, reason: str) -> None:
        """What seems wrong may have this reason."""
        if self.wrong:
            self.not_predicted[reason] += len(self.wrong)
            self.wrong.clear()


@dataclass(frozen=True)
class Row:
    """One kind of prediction: `wrong` are the differences, `not_predicted` the counts by reason."""

    what: str
    right: int
    wrong: tuple[Difference, ...]
    not_predicted: tuple[tuple[str, int], ...]

    @property
    def predicted(self) -> int:
        return self.right + len(self.wrong)


def row_of(what: str, tally: Tally) -> Row:
    return Row(what, tally.right, tuple(tally.wrong), tuple(sorted(tally.not_predicted.items())))
