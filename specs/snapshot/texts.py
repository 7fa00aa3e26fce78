"""What /proc/buddyinfo, zoneinfo, pagetypeinfo, slabinfo, vmstat, meminfo and /sys/kernel/slab say, as plain data.

The one idea: each file is read once, line by line, with bounded numbers; a line that is not as the kernel writes it is
one error that names the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...model.lang.errors import InputError

LINES_MAX = 200_000
ORDERS_MAX = 32
PLENTY = re.compile(r">\d{1,15}")
"""How pagetypeinfo says that it has not counted further."""

ZoneKey = tuple[int, str]
"""Node and zone."""


@dataclass(frozen=True)
class ZoneText:
    """A zone in zoneinfo."""

    free: int
    watermark: tuple[int, int, int]
    boost: int
    spanned: int
    managed: int
    protection: tuple[int, ...]
    counters: Mapping[str, int]
    thresholds: tuple[int, ...]
    start_pfn: int

    @property
    def tolerance(self) -> int:
        """The most that the CPUs can have kept to themselves of a counter (vm_stat_diff)."""
        return sum(self.thresholds)


@dataclass(frozen=True)
class SlabText:
    """A cache in slabinfo."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    active_slabs: int
    num_slabs: int


class _Lines:
    """The lines of a file, and refusals that name it."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.text = content.decode("utf-8", "replace")
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self.text.splitlines(), 1):
            self.number = number
            if number > LINES_MAX:
                raise InputError(f"{self.name} has more than {LINES_MAX:,} lines", "it is no file of /proc")
            yield line

    def refuse(self) -> InputError:
        return InputError(f"{self.name}:{self.number}: not a line of /proc/{self.name.rstrip('2')}", "copy it again")

    def whole(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise self.refuse()
        return int(text)

    def wholes(self, text: str) -> tuple[int, ...]:
        return tuple(self.whole(word) for word in text.split())


def read_buddyinfo(name: str, content: bytes) -> dict[ZoneKey, tuple[int, ...]]:
    """Free blocks by zone and order."""
    lines = _Lines(name, content)
    found: dict[ZoneKey, tuple[int, ...]] = {}
    for line in lines:
        match = re.fullmatch(r"Node (\d{1,6}), zone +(\w{1,20}) +([\d ]+)", line.rstrip())
        if match is None:
            raise lines.refuse()
        counts = lines.wholes(match[3])
        if not 1 <= len(counts) <= ORDERS_MAX or (int(match[1]), match[2]) in found:
            raise lines.refuse()
        found[int(match[1]), match[2]] = counts
    return found


def read_pagetypeinfo(content: bytes) -> dict[ZoneKey, dict[str, tuple[int | None, ...]]]:
    """Free blocks by zone, type and order; None where the kernel says `>100000`."""
    lines = _Lines("pagetypeinfo", content)
    found: dict[ZoneKey, dict[str, tuple[int | None, ...]]] = {}
    for line in lines:
        match = re.match(r"Node +(\d{1,6}), zone +(\w{1,20}), type +(\w{1,20}) +(.+)", line)
        if match is not None:
            counts = tuple(None if PLENTY.fullmatch(word) else lines.whole(word) for word in match[4].split())
            found.setdefault((int(match[1]), match[2]), {})[match[3]] = counts
    return found


def read_zoneinfo(content: bytes) -> dict[ZoneKey, ZoneText]:
    """The zones that have pages."""
    lines = _Lines("zoneinfo", content)
    found: dict[ZoneKey, ZoneText] = {}
    key: ZoneKey | None = None
    values: dict[str, int] = {}
    protection: tuple[int, ...] = ()
    thresholds: list[int] = []
    for line in lines:
        words = line.replace(":", " ").split()
        if len(words) == 4 and words[0] == "Node" and words[2] == "zone":
            _finish(lines, found, key, values, protection, thresholds)
            key = (lines.whole(words[1].rstrip(",")), words[3])
            values, protection, thresholds = {}, (), []
        elif words[:1] == ["protection"]:
            protection = tuple(lines.whole(word.strip("(),")) for word in words[1:])
        elif words[:3] == ["vm", "stats", "threshold"] and len(words) == 4:
            thresholds.append(lines.whole(words[3]))
        elif words[:2] == ["pages", "free"] and len(words) == 3:
            values["free"] = lines.whole(words[2])
        elif len(words) == 2 and words[1].isdigit():
            values.setdefault(words[0], lines.whole(words[1]))
    _finish(lines, found, key, values, protection, thresholds)
    return found


_ZONE_VALUES = ("free", "min", "low", "high", "spanned", "managed")


def _finish(
    lines: _Lines,
    found: dict[ZoneKey, ZoneText],
    key: ZoneKey | None,
    values: Mapping[str, int],
    protection: tuple[int, ...],
    thresholds: list[int],
) -> None:
    if key is None or values.get("managed") == 0:
        return
    missing = [name for name in _ZONE_VALUES if name not in values]
    if missing:
        raise InputError(f"zoneinfo: zone {key[1]} has no {missing[0]!r}", "copy the whole file")
    found[key] = ZoneText(
        values["free"], (values["min"], values["low"], values["high"]), values.get("boost", 0), values["spanned"],
        values["managed"], protection, dict(values), tuple(thresholds), values.get("start_pfn", 0),
    )  # fmt: skip


def read_slabinfo(name: str, content: bytes) -> tuple[SlabText, ...]:
    """The caches; merged ones are there once."""
    lines = _Lines(name, content)
    found = []
    for line in lines:
        if line.startswith(("slabinfo", "#")):
            continue
        match = re.fullmatch(r"(.{1,60}?) +(\d[\d ]*): tunables[\d ]+: slabdata([\d ]+)", line)
        if match is None:
            raise lines.refuse()
        sizes, slabs = lines.wholes(match[2]), lines.wholes(match[3])
        if len(sizes) != 5 or len(slabs) != 3:
            raise lines.refuse()
        found.append(SlabText(match[1].strip(), *sizes, slabs[0], slabs[1]))
    return tuple(found)


def read_counters(name: str, content: bytes) -> dict[str, int]:
    """The lines `name value` of vmstat, or `name: value kB` of meminfo."""
    lines = _Lines(name, content)
    found: dict[str, int] = {}
    for line in lines:
        words = line.split()
        if len(words) not in (2, 3):
            raise lines.refuse()
        found[words[0].rstrip(":")] = lines.whole(words[1])
    return found


def read_sysfs(content: bytes) -> dict[str, dict[str, int]]:
    """The numbers of each cache in lines `cache attribute value`; of `64 N0=64` the first one."""
    lines = _Lines("slab_sysfs.txt", content)
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        cache, _, rest = line.partition(" ")
        attribute, _, value = rest.partition(" ")
        if not cache or not attribute:
            raise lines.refuse()
        first = value.split(" ")[0]
        if first.isascii() and first.isdigit():
            found.setdefault(cache, {})[attribute] = lines.whole(first)
    return found
