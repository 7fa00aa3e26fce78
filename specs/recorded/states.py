"""The whole state of a kernel's page allocator and caches, as a memory dump showed it (kernel-allocator-state/1).

The one idea: the file is checked here once, field by field, and is plain data with plain types afterwards; what is not
as it should be is one error line that names the place.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.lang.errors import InputError

FORMAT = "kernel-allocator-state/1"
RELEASE = "6.1."
JSON_BYTES_MAX = 1 << 26
GZIP_MAGIC = b"\x1f\x8b"
FRAMES_MAX = 1 << 24
CPUS_MAX = 256
ADDRESS_MAX = (1 << 64) - 1
COUNT_MAX = (1 << 63) - 1


class OtherReleaseError(InputError):
    """A state of a kernel that the model is not about."""


@dataclass(frozen=True)
class PcpState:
    """struct per_cpu_pages of one CPU: its lists by pindex, first page first; and what this CPU has counted of
    NR_FREE_PAGES and not yet added to the zone's counter (vm_stat_diff)."""

    count: int
    high: int
    batch: int
    lists: tuple[tuple[int, ...], ...]
    free_pages_diff: int


@dataclass(frozen=True)
class ZoneState:
    """struct zone: `free_area[order][migratetype]` is a free list, first block first; `free_pages` is NR_FREE_PAGES
    with what the CPUs have not yet added."""

    name: str
    start_pfn: int
    spanned: int
    managed: int
    watermark: tuple[int, ...]
    watermark_boost: int
    lowmem_reserve: tuple[int, ...]
    reserved_highatomic: int
    free_pages: int
    nr_free: tuple[int, ...]
    free_area: tuple[tuple[tuple[int, ...], ...], ...]
    pcp: tuple[PcpState, ...]


@dataclass(frozen=True)
class SlabState:
    """struct slab: `free` is its freelist in order."""

    order: int
    inuse: int
    objects: int
    frozen: bool
    free: tuple[int, ...]


@dataclass(frozen=True)
class CpuState:
    """struct kmem_cache_cpu: the cpu slab, its lockless freelist, and the partial slabs in order."""

    tid: int
    slab: int | None
    free: tuple[int, ...]
    partial: tuple[int, ...]


@dataclass(frozen=True)
class CacheState:
    """struct kmem_cache and its one struct kmem_cache_node."""

    name: str
    address: int
    size: int
    object_size: int
    offset: int
    align: int
    flags: int
    min_partial: int
    cpu_partial: int
    cpu_partial_slabs: int
    oo: tuple[int, int]
    least: tuple[int, int]
    red_left_pad: int
    constructed: bool
    random_seq: tuple[int, ...]
    slabs: Mapping[int, SlabState]
    cpu: tuple[CpuState, ...]
    nr_partial: int
    nr_slabs: int
    total_objects: int
    partial: tuple[int, ...]


@dataclass(frozen=True)
class KernelState:
    """One dump. `lines[cpu]`: how many of that CPU's trace lines lie before it. `classes`: what the frames are used
    for, run by run: buddy, pcp, slab, lru, reserved, head, tail, used, ref0 (no reference), absent."""

    name: str
    cpus: int
    page_offset_base: int
    vmemmap_base: int
    frames: int
    lines: tuple[int, ...]
    zones: tuple[ZoneState, ...]
    pageblock_migratetype: tuple[int, ...]
    caches: tuple[CacheState, ...]
    classes: tuple[tuple[range, str], ...]


def read_state(path: Path) -> KernelState:
    """The state in a file state_*.json.gz; raises InputError."""
    return state_of(*open_state(path), name_of(path))


def state_of(reader: Reader, top: Mapping[str, Any], name: str) -> KernelState:
    """The state in a file that has been opened."""
    cpus, frames, lines = size_of(reader, top)
    zones = tuple(
        _zone(reader, reader.mapping(item, f"zones[{number}]"), f"zones[{number}]", cpus, frames)
        for number, item in enumerate(reader.items(top, "zones", ""))
    )
    caches = tuple(
        _cache(reader, reader.mapping(item, f"caches[{number}]"), f"caches[{number}]", cpus, frames)
        for number, item in enumerate(reader.items(top, "caches", ""))
    )
    return KernelState(
        name,
        cpus,
        reader.address(top, "page_offset_base", ""),
        reader.address(top, "vmemmap_base", ""),
        frames,
        lines,
        zones,
        reader.numbers(top, "pageblock_migratetype", "", most=8),
        caches,
        classes(reader, top, frames),
    )


def open_state(path: Path, any_release: bool = False) -> tuple[Reader, Mapping[str, Any]]:
    """The content of a state's file, of a format and a kernel that are known, and what reads it."""
    reader = Reader(str(path))
    top = reader.mapping(_json(path), "the file")
    if top.get("format") != FORMAT:
        raise InputError(f"{path}: the format is {top.get('format')!r}", f"this version reads {FORMAT}")
    if not any_release and not str(top.get("release")).startswith(RELEASE):
        release = str(top.get("release"))[:40]
        raise OtherReleaseError(f"{path} is of Linux {release}", f"the model is that of Linux {RELEASE}x")
    return reader, top


def size_of(reader: Reader, top: Mapping[str, Any]) -> tuple[int, int, tuple[int, ...]]:
    """How many CPUs and page frames there are, and how many of each CPU's trace lines lie before the dump."""
    cpus = len(reader.items(top, "cpus", ""))
    if not 1 <= cpus <= CPUS_MAX:
        reader.refuse("cpus", f"a list of 1 to {CPUS_MAX} CPUs")
    frames = reader.number(top, "max_pfn", "", most=FRAMES_MAX)
    entries = reader.mapping(top.get("trace_entries"), "trace_entries")
    lines = []
    for cpu in range(cpus):
        entry = reader.mapping(entries.get(str(cpu)), f"trace_entries[{cpu}]")
        lines.append(reader.number(entry, "entries", f"trace_entries[{cpu}]") + reader.number(entry, "overrun", ""))
    return cpus, frames, tuple(lines)


def name_of(path: Path) -> str:
    return path.name.split(".")[0].removeprefix("state_")


def _zone(reader: Reader, data: Mapping[str, Any], where: str, cpus: int, frames: int) -> ZoneState:
    areas = [reader.mapping(area, f"{where}.free_area") for area in reader.items(data, "free_area", where)]
    if not 1 <= len(areas) <= 64:
        reader.refuse(f"{where}.free_area", "a list of orders")
    pcp = reader.mapping(data.get("pcp"), f"{where}.pcp")
    vm_stat = reader.mapping(data.get("vm_stat"), f"{where}.vm_stat")
    per_cpu = tuple(
        _pcp(reader, reader.mapping(pcp.get(str(cpu)), f"{where}.pcp[{cpu}]"), f"{where}.pcp[{cpu}]", frames)
        for cpu in range(cpus)
    )
    not_added = sum(one.free_pages_diff for one in per_cpu)
    return ZoneState(
        name=reader.text(data, "name", where),
        start_pfn=reader.number(data, "start_pfn", where, most=frames),
        spanned=reader.number(data, "spanned", where, most=FRAMES_MAX),
        managed=reader.number(data, "managed", where, most=FRAMES_MAX),
        watermark=reader.numbers(data, "watermark", where),
        watermark_boost=reader.number(data, "watermark_boost", where),
        lowmem_reserve=reader.numbers(data, "lowmem_reserve", where),
        reserved_highatomic=reader.number(data, "nr_reserved_highatomic", where),
        free_pages=reader.number(vm_stat, "NR_FREE_PAGES", where) + not_added,
        nr_free=tuple(reader.number(area, "nr_free", where) for area in areas),
        free_area=tuple(reader.lists(area, "lists", f"{where}.free_area[{order}]", frames)
                        for order, area in enumerate(areas)),
        pcp=per_cpu,
    )  # fmt: skip


def _pcp(reader: Reader, data: Mapping[str, Any], where: str, frames: int) -> PcpState:
    count, high, batch = (reader.number(data, name, where, most=FRAMES_MAX) for name in ("count", "high", "batch"))
    differences = reader.items(data, "vm_stat_diff", where)
    if not differences or type(differences[0]) is not int or not -128 <= differences[0] <= 127:
        reader.refuse(f"{where}.vm_stat_diff", "a list of small numbers")
    return PcpState(count, high, batch, reader.lists(data, "lists", where, frames), differences[0])


def _cache(reader: Reader, data: Mapping[str, Any], where: str, cpus: int, frames: int) -> CacheState:
    where = f"{where} ({reader.text(data, 'name', where)})"
    slabs = reader.mapping(data.get("slabs"), f"{where}.slabs")
    cpu = reader.mapping(data.get("cpu"), f"{where}.cpu")
    node = reader.mapping(data.get("node"), f"{where}.node")
    return CacheState(
        name=reader.text(data, "name", where),
        address=reader.address(data, "addr", where),
        **{name: reader.number(data, name, where) for name in _CACHE_NUMBERS},
        flags=reader.address(data, "flags", where),
        oo=reader.pair(data, "oo", where),
        least=reader.pair(data, "min", where),
        constructed=data.get("ctor") is True,
        random_seq=reader.numbers(data, "random_seq", where, most=FRAMES_MAX) if data.get("random_seq") else (),
        slabs={
            reader.page(pfn, f"{where}.slabs", frames): _slab(reader, slab, f"{where}.slabs[{pfn}]")
            for pfn, slab in slabs.items()
        },
        cpu=tuple(
            _cpu(reader, cpu.get(str(number)), f"{where}.cpu[{number}]", frames) for number in range(cpus)
        ),
        nr_partial=reader.number(node, "nr_partial", where),
        nr_slabs=reader.number(node, "nr_slabs", where),
        total_objects=reader.number(node, "total_objects", where),
        partial=reader.numbers(node, "partial", where, most=frames),
    )


_CACHE_NUMBERS = (
    "size", "object_size", "offset", "align", "min_partial", "cpu_partial", "cpu_partial_slabs", "red_left_pad",
)  # fmt: skip


def _slab(reader: Reader, value: object, where: str) -> SlabState:
    data = reader.mapping(value, where)
    objects = reader.number(data, "objects", where, most=1 << 15)
    return SlabState(
        reader.number(data, "order", where, most=10),
        reader.number(data, "inuse", where, most=1 << 15),
        objects,
        bool(reader.number(data, "frozen", where, most=1)),
        reader.numbers(data, "free", where, most=objects - 1),
    )


def _cpu(reader: Reader, value: object, where: str, frames: int) -> CpuState:
    data = reader.mapping(value, where)
    return CpuState(
        reader.number(data, "tid", where),
        None if data.get("slab") is None else reader.number(data, "slab", where, most=frames),
        reader.numbers(data, "free", where, most=1 << 15),
        reader.numbers(data, "partial", where, most=frames),
    )


def classes(reader: Reader, top: Mapping[str, Any], frames: int) -> tuple[tuple[range, str], ...]:
    """What the frames are used for, run by run."""
    found = []
    for item in reader.items(top, "pages_rle", ""):
        if not isinstance(item, list) or len(item) != 4 or not isinstance(item[2], str):
            reader.refuse("pages_rle", "a list of [first, count, class, detail]")
        first, count = reader.whole(item[0], "pages_rle", frames), reader.whole(item[1], "pages_rle", frames)
        found.append((range(first, min(first + count, frames)), item[2]))
    if sum(len(run) for run, _ in found) > frames:
        reader.refuse("pages_rle", "a list of runs without overlaps")
    return tuple(found)


def _json(path: Path) -> object:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            text = stream.read(JSON_BYTES_MAX + 1)
        if len(text) > JSON_BYTES_MAX:
            raise InputError(f"{path} holds more than {JSON_BYTES_MAX >> 20} MiB", "it is not an allocator's state")
        return json.loads(text)
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or "it is not a complete gzip file"
        raise InputError(f"{path} cannot be read: {said}", "give the directory of a recording") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} does not hold JSON", "copy it again") from None


class Reader:
    """Values of expected types out of parsed JSON; each refusal names the place."""

    def __init__(self, file: str) -> None:
        self.file = file

    def refuse(self, where: str, wanted: str) -> None:
        raise InputError(f"{self.file}: {where.strip('.')} is not {wanted}", f"this version reads {FORMAT}")

    def mapping(self, value: object, where: str) -> Mapping[str, Any]:
        if value == []:
            return {}  # drgn's script writes an empty table so
        if not isinstance(value, dict):
            self.refuse(where, "a table")
        assert isinstance(value, dict)
        return value

    def items(self, data: Mapping[str, Any], name: str, where: str) -> list[Any]:
        value = data.get(name)
        if not isinstance(value, list):
            self.refuse(f"{where}.{name}", "a list")
        assert isinstance(value, list)
        return value

    def text(self, data: Mapping[str, Any], name: str, where: str) -> str:
        value = data.get(name)
        if not isinstance(value, str):
            self.refuse(f"{where}.{name}", "a text")
        assert isinstance(value, str)
        return value

    def number(self, data: Mapping[str, Any], name: str, where: str, most: int = COUNT_MAX) -> int:
        return self.whole(data.get(name), f"{where}.{name}", most)

    def whole(self, value: object, where: str, most: int) -> int:
        if type(value) is not int or not 0 <= value <= most:
            self.refuse(where, f"a number from 0 to {most}")
        assert isinstance(value, int)
        return value

    def numbers(self, data: Mapping[str, Any], name: str, where: str, most: int = COUNT_MAX) -> tuple[int, ...]:
        return tuple(self.whole(value, f"{where}.{name}", most) for value in self.items(data, name, where))

    def lists(self, data: Mapping[str, Any], name: str, where: str, frames: int) -> tuple[tuple[int, ...], ...]:
        found = []
        for value in self.items(data, name, where):
            if not isinstance(value, list):
                self.refuse(f"{where}.{name}", "a list of lists of page frames")
            found.append(tuple(self.whole(page, f"{where}.{name}", frames) for page in value))
        return tuple(found)

    def pair(self, data: Mapping[str, Any], name: str, where: str) -> tuple[int, int]:
        value = self.numbers(data, name, where, most=1 << 16)
        if len(value) != 2:
            self.refuse(f"{where}.{name}", "two numbers")
        return value[0], value[1]

    def page(self, text: str, where: str, frames: int) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= frames):
            self.refuse(where, "a table by page frame")
        return int(text)

    def address(self, data: Mapping[str, Any], name: str, where: str) -> int:
        value = data.get(name)
        if isinstance(value, str) and len(value) <= 18:
            try:
                return self.whole(int(value, 16), f"{where}.{name}", ADDRESS_MAX)
            except ValueError:
                pass
        elif isinstance(value, int):
            return self.whole(value, f"{where}.{name}", ADDRESS_MAX)
        self.refuse(f"{where}.{name}", "an address")
        return 0
