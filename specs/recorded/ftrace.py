"""The text trace of ftrace's kmem events, read line by line into frozen records (Linux 6.1, /sys/kernel/tracing/trace).

The one idea: a line says which CPU and task it is from, and what happened; everything that has to do with the order
of events (one may come before or after the operation it is about) is left to the reader of the records, operations.py.
The extra kprobes show paths that the kernel has no event for: bulk allocation and free, compaction.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ...model.lang.errors import InputError

LINES_MAX = 2_000_000
LINE_BYTES_MAX = 1 << 16
"""Limits on hostile input: a compressed file can hold anything."""

MAX_ORDER, MIGRATE_TYPES = 11, 6
LARGER = "record with larger buffers: lost events cannot be replayed"


@dataclass(frozen=True, slots=True)
class Event:
    """What all lines have: its number among the lines of the file, CPU, task, and the context flags (`d.h3.`)."""

    line: int
    cpu: int
    pid: int
    context: str


@dataclass(frozen=True, slots=True)
class Marker(Event):
    """A line written by the workload itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Other(Event):
    """An event that says nothing about the allocators' state."""

    name: str


@dataclass(frozen=True, slots=True)
class PageAllocated(Event):
    """mm_page_alloc, after __alloc_pages(); None for a failure."""

    pfn: int | None
    order: int
    migratetype: int
    gfp_flags: str


@dataclass(frozen=True, slots=True)
class PageFreed(Event):
    """mm_page_free, in free_pages_prepare(): before the page goes anywhere."""

    pfn: int
    order: int


@dataclass(frozen=True, slots=True)
class PageFreedBatched(Event):
    """mm_page_free_batched, in free_unref_page_list(): when a page that was announced by mm_page_free goes."""

    pfn: int


@dataclass(frozen=True, slots=True)
class BlockTaken(Event):
    """mm_page_alloc_zone_locked: a block leaves the buddy lists, at the end of __rmqueue()."""

    pfn: int
    order: int
    migratetype: int


@dataclass(frozen=True, slots=True)
class PageDrained(Event):
    """mm_page_pcpu_drain: a page goes from a per-CPU list to the buddy lists."""

    pfn: int
    order: int
    migratetype: int


@dataclass(frozen=True, slots=True)
class PageBulkAllocated(Event):
    """One page of __alloc_pages_bulk() (a probe)."""

    pfn: int


@dataclass(frozen=True, slots=True)
class FreePageIsolated(Event):
    """Compaction takes a free block out of the buddy lists: __isolate_free_page() (a probe at its entry)."""

    pfn: int
    order: int


@dataclass(frozen=True, slots=True)
class IsolationResult(Event):
    """What __isolate_free_page() returned: the pages of the block, or 0 (a probe)."""

    pages: int


@dataclass(frozen=True, slots=True)
class KswapdWake(Event):
    """mm_vmscan_kswapd_wake: balance_pgdat() begins."""


@dataclass(frozen=True, slots=True)
class KswapdSleep(Event):
    """mm_vmscan_kswapd_sleep: some time after balance_pgdat()."""


@dataclass(frozen=True, slots=True)
class Compaction(Event):
    """mm_compaction_begin, and mm_compaction_end: of the zone that has this frame."""

    pfn: int
    begins: bool


@dataclass(frozen=True, slots=True)
class ObjectAllocated(Event):
    """kmalloc and kmem_cache_alloc, after the allocation; `call_site` is the function that asked."""

    address: int
    bytes_req: int
    bytes_alloc: int
    gfp_flags: str
    kmalloc: bool
    call_site: str


@dataclass(frozen=True, slots=True)
class ObjectFreed(Event):
    """kfree and kmem_cache_free, before the free; kfree does not say which cache."""

    address: int
    cache: str | None


@dataclass(frozen=True, slots=True)
class ObjectsBulkAllocated(Event):
    """kmem_cache_alloc_bulk() of `count` objects, of which the probe at its end shows the first 32."""

    cache: str
    count: int
    addresses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ObjectsBulkFreed(Event):
    """kmem_cache_free_bulk(), before the free (a probe). An array of `count` pointers is shown in several lines, of
    which this one begins with the pointer number `first`."""

    count: int
    first: int
    addresses: tuple[int, ...]


Fields = dict[str, str]
Head = tuple[int, int, int, str]
Parser = Callable[[Head, str], Event]

_LINE = re.compile(r"^\s*(.+)-(\d+)\s+\[(\d+)\]\s+(\S+)\s+([\d.]+): (\w+): ?(.*)$")
_FIELD = re.compile(r"(\w+)=(\S*)")
_WRITTEN = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")
_PAGE_BYTES = 64
"""sizeof(struct page): what the probes' `page=` pointers are multiples of, from vmemmap_base on."""


def read_trace(
    path: Path, vmemmap_base: int, frames: int, more: Mapping[str, Parser] = MappingProxyType({})
) -> Iterator[Event]:
    """The events of a trace file (text, or text compressed by xz), one by one; raises InputError. The machine's page
    frames are the numbers below `frames`; the probes give them by the address of their struct page. `more` are
    parsers for other events, or to be used instead of those here."""
    number = 0
    parsers = {**_parsers(vmemmap_base, frames), **more}
    for text in _lines(path):
        if text.startswith("#"):
            _check_complete(path, text)
            continue
        if not text.strip():
            continue
        if "LOST" in text and text.startswith("CPU:"):
            raise InputError(f"{path} says {text.strip()[:60]}", LARGER)
        number += 1
        match = _LINE.match(text)
        if match is None:
            raise InputError(f"{path}: event {number} is not a line of ftrace: {text[:60]!r}", "give a text trace")
        _, pid, cpu, context, _, name, rest = match.groups()
        head = (number, int(cpu), int(pid), context)
        parser = parsers.get(name)
        if parser is None:
            yield Other(*head, name)
            continue
        try:
            yield parser(head, rest)
        except (KeyError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else "has a number out of range, or none"
            raise InputError(f"{path}: event {number} ({name}) {what}", "give a trace of Linux 6.1") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as stream:
            for _ in range(LINES_MAX):
                line = stream.readline(LINE_BYTES_MAX)
                if not line:
                    return
                if len(line) == LINE_BYTES_MAX:
                    break
                yield line.decode("utf-8", "replace").rstrip("\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "give a recording") from None
    except (lzma.LZMAError, EOFError):
        raise InputError(f"{path} is not a complete xz file", "copy it again") from None
    raise InputError(f"{path} has more than {LINES_MAX} lines or a line too long", "record less")


def _check_complete(path: Path, text: str) -> None:
    match = _WRITTEN.search(text)
    if match is not None and match[1] != match[2]:
        raise InputError(f"{path}: only {match[1]} of {match[2]} events are in the buffer", LARGER)


def _parsers(vmemmap_base: int, frames: int) -> dict[str, Parser]:
    """How each event's fields are read, by its name."""

    def frame(pointer: str) -> int:
        return within((int(pointer, 16) - vmemmap_base) // _PAGE_BYTES, frames)

    def page_alloc(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        pfn = None if _pointer(fields["page"]) == 0 else within(int(fields["pfn"], 16), frames)
        return PageAllocated(*head, pfn, order(fields), migratetype(fields), fields["gfp_flags"])

    def page_free(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return PageFreed(*head, within(int(fields["pfn"], 16), frames), order(fields))

    def page_free_batched(head: Head, rest: str) -> Event:
        return PageFreedBatched(*head, within(int(fields_of(rest)["pfn"], 16), frames))

    def zone_locked(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return BlockTaken(*head, within(int(fields["pfn"], 16), frames), order(fields), migratetype(fields))

    def drain(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return PageDrained(*head, within(int(fields["pfn"], 16), frames), order(fields), migratetype(fields))

    def isolate_free(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return FreePageIsolated(*head, frame(fields["page"]), order(fields))

    def compaction(begins: bool) -> Parser:
        def parse(head: Head, rest: str) -> Event:
            return Compaction(*head, within(int(fields_of(rest)["zone_start"], 16), frames), begins)

        return parse

    def alloc(kmalloc: bool) -> Parser:
        def parse(head: Head, rest: str) -> Event:
            fields = fields_of(rest)
            sizes = int(fields["bytes_req"]), int(fields["bytes_alloc"])
            caller = fields["call_site"].partition("+")[0]
            return ObjectAllocated(*head, _pointer(fields["ptr"]), *sizes, fields["gfp_flags"], kmalloc, caller)

        return parse

    def free(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        return ObjectFreed(*head, _pointer(fields["ptr"]), fields.get("name"))

    def bulk_alloc(head: Head, rest: str) -> Event:
        fields = fields_of(rest)
        count = int(fields["ret"])
        return ObjectsBulkAllocated(*head, fields["name"].strip('"'), count, _pointers(fields["p"], count))

    def bulk_free(first: int) -> Parser:
        def parse(head: Head, rest: str) -> Event:
            fields = fields_of(rest)
            count = int(fields["n"])
            return ObjectsBulkFreed(*head, count, first, _pointers(fields["p"], count - first))

        return parse

    parsers: dict[str, Parser] = {
        "tracing_mark_write": lambda head, rest: Marker(*head, rest),
        "mm_page_alloc": page_alloc,
        "mm_page_free": page_free,
        "mm_page_free_batched": page_free_batched,
        "mm_page_alloc_zone_locked": zone_locked,
        "mm_page_pcpu_drain": drain,
        "mm_vmscan_kswapd_wake": lambda head, rest: KswapdWake(*head),
        "mm_vmscan_kswapd_sleep": lambda head, rest: KswapdSleep(*head),
        "mm_compaction_begin": compaction(True),
        "mm_compaction_end": compaction(False),
        "kmalloc": alloc(True),
        "kmem_cache_alloc": alloc(False),
        "kfree": free,
        "kmem_cache_free": free,
        "slab_bulk_alloc": bulk_alloc,
        "slab_bulk_free": bulk_free(0),
        "page_bulk_alloc": lambda head, rest: PageBulkAllocated(*head, frame(fields_of(rest)["page"])),
        "isolate_free": isolate_free,
        "isolate_free_ret": lambda head, rest: IsolationResult(*head, int(fields_of(rest)["ret"])),
    }
    for number in range(2, 10):
        parsers[f"slab_bulk_free{number}"] = bulk_free(32 + 64 * (number - 2))
    return parsers


def within(number: int, end: int) -> int:
    """The number, if it is one from 0 to end - 1; raises ValueError."""
    if not 0 <= number < end:
        raise ValueError
    return number


def order(fields: Fields) -> int:
    return within(int(fields["order"]), MAX_ORDER)


def migratetype(fields: Fields) -> int:
    return within(int(fields["migratetype"]), MIGRATE_TYPES)


def fields_of(text: str) -> Fields:
    """The `name=value` fields of an event."""
    return dict(_FIELD.findall(text))


def _pointer(text: str) -> int:
    return 0 if text == "(nil)" else int(text, 16)


def _pointers(text: str, count: int) -> tuple[int, ...]:
    """The pointers that are part of an array of `count`: a probe always shows as many as it can."""
    return tuple(int(pointer, 16) for pointer in text.strip("{}").split(",")[: max(count, 0)])
