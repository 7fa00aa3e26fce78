"""The LRU's and reclaim's events of a trace, as frozen records (Linux 6.1: events/vmscan.h, pagemap.h, compaction.h).

The one idea: these are events that the allocators' replay has no use for, so their parsers are given to ftrace.py's
reader from here. What a field means is said where the kernel fills it in (mm/vmscan.c, mm/swap.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .ftrace import Event, Fields, Head, Parser, fields_of, within

PAGES_MAX = 1 << 40
"""More pages than this in one count are not a count."""
LRU_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
"""enum lru_list, as mm_vmscan_lru_isolate prints it; mm_lru_insertion prints the number."""
PRIORITY_MAX = 12


@dataclass(frozen=True, slots=True)
class LruInserted(Event):
    """mm_lru_insertion, at the end of lru_add_fn(). `flags` are six letters or blanks: Mapped, anonymous or file,
    swapcache, swapbacked, mappedtodisk (or anonymous and exclusive: the same bit), Buffers."""

    pfn: int
    lru: int
    flags: str


@dataclass(frozen=True, slots=True)
class LruActivated(Event):
    """mm_lru_activate, in folio_activate_fn(): from an inactive list to the active one."""

    pfn: int


@dataclass(frozen=True, slots=True)
class LruIsolated(Event):
    """mm_vmscan_lru_isolate, at the end of isolate_lru_folios()."""

    classzone: int
    order: int
    requested: int
    scanned: int
    skipped: int
    taken: int
    lru: int


@dataclass(frozen=True, slots=True)
class InactiveShrunk(Event):
    """mm_vmscan_lru_shrink_inactive, at the end of shrink_inactive_list()."""

    scanned: int
    reclaimed: int
    dirty: int
    writeback: int
    congested: int
    immediate: int
    activate_anon: int
    activate_file: int
    ref_keep: int
    unmap_fail: int
    priority: int
    file: bool


@dataclass(frozen=True, slots=True)
class ActiveShrunk(Event):
    """mm_vmscan_lru_shrink_active, at the end of shrink_active_list()."""

    taken: int
    active: int
    deactivated: int
    referenced: int
    priority: int
    file: bool


@dataclass(frozen=True, slots=True)
class FolioWritten(Event):
    """mm_vmscan_write_folio, in pageout() after writepage(): whether or not anything was written."""

    pfn: int
    file: bool


@dataclass(frozen=True, slots=True)
class DirectReclaimBegun(Event):
    """mm_vmscan_direct_reclaim_begin, in try_to_free_pages()."""

    order: int
    gfp_flags: str


@dataclass(frozen=True, slots=True)
class DirectReclaimEnded(Event):
    """mm_vmscan_direct_reclaim_end; the pages of slabs that shrinkers freed count as reclaimed too."""

    reclaimed: int


@dataclass(frozen=True, slots=True)
class KswapdWoken(Event):
    """mm_vmscan_kswapd_wake: balance_pgdat() begins."""

    order: int


@dataclass(frozen=True, slots=True)
class KswapdSlept(Event):
    """mm_vmscan_kswapd_sleep: fully asleep, after a short sleep that nobody ended."""


@dataclass(frozen=True, slots=True)
class KswapdCalled(Event):
    """mm_vmscan_wakeup_kswapd: kswapd waits, and is woken."""

    order: int


@dataclass(frozen=True, slots=True)
class SlabShrunk(Event):
    """mm_shrink_slab_start: shrink_node() is done with the lists of a memcg, and asks a shrinker."""

    priority: int


@dataclass(frozen=True, slots=True)
class ForMigration(Event):
    """mm_compaction_isolate_migratepages: so many pages were taken off their lists, which ones has no event."""

    taken: int


@dataclass(frozen=True, slots=True)
class OtherReclaim(Event):
    """A memcg's or node_reclaim()'s own reclaim begins."""


_INSERTED = re.compile(r"pfn=0x([0-9a-f]+) lru=([0-4]) flags=(.{0,6})")
_OTHER_RECLAIMS = (
    "mm_vmscan_memcg_reclaim_begin", "mm_vmscan_memcg_softlimit_reclaim_begin", "mm_vmscan_node_reclaim_begin",
)  # fmt: skip
_PRIORITY = re.compile(r" priority (\d+)$")
_WRITEBACK_FLAGS = {"RECLAIM_WB_ANON": False, "RECLAIM_WB_FILE": True}


def parsers(frames: int) -> Mapping[str, Parser]:
    """How the fields of these events are read, by the event's name."""

    def page(fields: Fields) -> int:
        return within(int(fields["pfn"], 16), frames)

    def inserted(head: Head, rest: str) -> Event:
        match = _INSERTED.search(rest)
        if match is None:
            raise ValueError
        return LruInserted(*head, within(int(match[1], 16), frames), int(match[2]), match[3].ljust(6))

    def isolated(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        numbers = _counts(fields, ("requested", "scanned", "skipped", "taken"))
        zone, order = _small(fields, "classzone"), _small(fields, "order")
        return LruIsolated(*head, classzone=zone, order=order, **numbers, lru=_lru(fields))

    def inactive(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        numbers = _counts(fields, _INACTIVE_COUNTS)
        return InactiveShrunk(*head, **numbers, priority=_priority(fields["priority"]), file=_file(fields))

    def active(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        numbers = _counts(fields, ("taken", "active", "deactivated", "referenced"))
        return ActiveShrunk(*head, **numbers, priority=_priority(fields["priority"]), file=_file(fields))

    def written(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return FolioWritten(*head, page(fields), _file(fields))

    def begun(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return DirectReclaimBegun(*head, _small(fields, "order"), fields["gfp_flags"])

    def slab(head: Head, rest: str) -> Event:
        match = _PRIORITY.search(rest)
        if match is None:
            raise ValueError
        return SlabShrunk(*head, _priority(match[1]))

    def for_migration(head: Head, rest: str) -> Event:
        return ForMigration(*head, **_counts(fields_of(rest), ("taken",)))

    return {
        "mm_lru_insertion": inserted,
        "mm_lru_activate": lambda head, rest: LruActivated(*head, page(fields_of(rest))),
        "mm_vmscan_lru_isolate": isolated,
        "mm_vmscan_lru_shrink_inactive": inactive,
        "mm_vmscan_lru_shrink_active": active,
        "mm_vmscan_write_folio": written,
        "mm_vmscan_direct_reclaim_begin": begun,
        "mm_vmscan_direct_reclaim_end": lambda head, rest: DirectReclaimEnded(*head, _reclaimed(rest)),
        "mm_vmscan_kswapd_wake": lambda head, rest: KswapdWoken(*head, _small(fields_of(rest), "order")),
        "mm_vmscan_kswapd_sleep": lambda head, _: KswapdSlept(*head),
        "mm_vmscan_wakeup_kswapd": lambda head, rest: KswapdCalled(*head, _small(fields_of(rest), "order")),
        "mm_shrink_slab_start": slab,
        "mm_compaction_isolate_migratepages": for_migration,
        **dict.fromkeys(_OTHER_RECLAIMS, lambda head, _: OtherReclaim(*head)),
    }


_INACTIVE_COUNTS = (
    "scanned", "reclaimed", "dirty", "writeback", "congested", "immediate", "activate_anon", "activate_file",
    "ref_keep", "unmap_fail",
)  # fmt: skip


def _count(fields: Fields, name: str) -> int:
    return within(int(fields[name]), PAGES_MAX)


def _counts(fields: Fields, names: Iterable[str]) -> dict[str, Any]:
    return {name: _count(fields, "nr_" + name) for name in names}


def _small(fields: Fields, name: str) -> int:
    return within(int(fields[name]), 16)


def _priority(text: str) -> int:
    return within(int(text), PRIORITY_MAX + 1)


def _lru(fields: Fields) -> int:
    return LRU_NAMES.index(fields["lru"])


def _file(fields: Fields) -> bool:
    first = fields["flags"].split("|")[0]
    if first not in _WRITEBACK_FLAGS:
        raise ValueError
    return _WRITEBACK_FLAGS[first]


def _reclaimed(rest: str) -> int:
    return _count(fields_of(rest), "nr_reclaimed")
