"""The LRU's part of a recorded state: lists, batches, counters (kernel-allocator-state/1).

The one idea: a counter of the kernel is a sum with parts that single CPUs have not added yet. Of the zones' counters
the dump has these parts, so their sums are exact; of the node's counters it has not. What is absent from a file that
was cut down to the LRU's part is not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .states import FRAMES_MAX, Reader, classes, name_of, open_state, size_of

LISTS = ("LRU_INACTIVE_ANON", "LRU_ACTIVE_ANON", "LRU_INACTIVE_FILE", "LRU_ACTIVE_FILE", "LRU_UNEVICTABLE")
"""enum lru_list."""
BATCHES = ("lru_add", "lru_rotate", "lru_deactivate_file", "lru_deactivate", "lru_lazyfree", "activate")
"""The per-CPU batches, in the order of the model's numbers for them (model/folio.py)."""
_ZONE_COUNTERS = tuple("NR_ZONE_" + name.removeprefix("LRU_") for name in LISTS)
_FIRST_DIFFERENCE = 1
"""Where these counters begin in a zone's vm_stat_diff: after NR_FREE_PAGES (enum zone_stat_item)."""


@dataclass(frozen=True)
class LruZone:
    """A zone's counters of the lists' pages: as they stand, and what the CPUs have not added yet."""

    name: str
    frames: range
    counted: tuple[int, ...]
    not_added: tuple[int, ...]

    def pages(self, lru: int) -> int:
        return self.counted[lru] + self.not_added[lru]


@dataclass(frozen=True)
class LruState:
    """One dump. `lists[lru]` begins with the folio at the head; `batches[cpu][kind]` are folios in order; `nr_lru` and
    `nr_isolated` are counters of the node, without what the CPUs have not added; `events` are the sums of vm_events.
    `generational`: the other LRU is on, or not said to be off, and the lists are not used."""

    name: str
    cpus: int
    frames: int
    vmemmap_base: int
    lines: tuple[int, ...]
    lists: tuple[tuple[int, ...], ...]
    batches: tuple[tuple[tuple[int, ...], ...], ...]
    zones: tuple[LruZone, ...]
    nr_lru: tuple[int, ...]
    nr_isolated: tuple[int, int]
    cost: tuple[int, int]
    events: Mapping[str, int]
    classes: tuple[tuple[range, str], ...]
    tails: frozenset[int]
    generational: bool = False

    @property
    def on_lru(self) -> frozenset[int]:
        """The pages on a list or in a batch."""
        batched = (page for kinds in self.batches for folios in kinds for page in folios)
        return frozenset(batched).union(*self.lists)

    def folio(self, page: int) -> range:
        """The frames of the folio that begins at this one: a huge page has all its tail pages behind it."""
        end = page + 1
        while end in self.tails:
            end += 1
        return range(page, end)


def compact(state: LruState) -> tuple[LruState, tuple[int, ...]]:
    """The lists and batches with other frame numbers, and which frames these are. Frames that are on no list and in no
    batch are all alike: the last number stands for all of them."""
    folios = tuple(tuple(frame for page in pages for frame in state.folio(page)) for pages in state.lists)
    batched = (page for kinds in state.batches for pages in kinds for page in pages)
    frames = tuple(sorted({*batched, *(frame for pages in folios for frame in pages)}))
    number = {frame: position for position, frame in enumerate(frames)}
    runs = tuple((run, what) for run, what in state.classes if what != "used")
    small = replace(
        state,
        frames=len(frames) + 1,
        lists=tuple(tuple(number[frame] for frame in pages) for pages in folios),
        batches=tuple(tuple(tuple(number[page] for page in pages) for pages in kinds) for kinds in state.batches),
        classes=tuple(
            (range(number[frame], number[frame] + 1), what) for run, what in runs for frame in run if frame in number
        ),
        tails=frozenset(),
        cost=(0, 0),
    )
    return small, frames


def read_lru_state(path: Path) -> LruState:
    """The LRU's part of a file state_*.json.gz; raises InputError."""
    return lru_state_of(*open_state(path), name_of(path))


def lru_state_of(reader: Reader, top: Mapping[str, Any], name: str) -> LruState:
    """The LRU's part of a file that has been opened."""
    state = _state(reader, top, name)
    # A page that is there twice is a finding; this is about how long it takes to find it.
    if sum(len(state.folio(page)) for pages in state.lists for page in pages) > 2 * state.frames:
        reader.refuse("lru", "lists of pages that there are")
    return state


def _state(reader: Reader, top: Mapping[str, Any], name: str) -> LruState:
    cpus, frames, lines = size_of(reader, top)
    lru = reader.mapping(top.get("lru"), "lru")
    batches = reader.mapping(top.get("lru_batches"), "lru_batches")
    node = reader.mapping(top.get("node_vm_stat"), "node_vm_stat")
    runs = classes(reader, top, frames)
    return LruState(
        name=name,
        cpus=cpus,
        frames=frames,
        vmemmap_base=reader.address(top, "vmemmap_base", ""),
        lines=lines,
        lists=tuple(reader.numbers(lru, name, "lru", most=frames - 1) for name in LISTS),
        batches=tuple(_batches(reader, batches.get(str(cpu)), f"lru_batches[{cpu}]", frames) for cpu in range(cpus)),
        zones=tuple(
            _zone(reader, reader.mapping(item, f"zones[{number}]"), f"zones[{number}]", cpus)
            for number, item in enumerate(reader.items(top, "zones", ""))
        ),
        nr_lru=tuple(reader.number(node, name.replace("LRU", "NR"), "node_vm_stat") for name in LISTS),
        nr_isolated=(
            reader.number(node, "NR_ISOLATED_ANON", "node_vm_stat"),
            reader.number(node, "NR_ISOLATED_FILE", "node_vm_stat"),
        ),
        cost=reader.pair(top, "lru_total_cost", ""),
        events=_events(reader, top),
        classes=runs,
        tails=frozenset(frame for run, what in runs if what == "tail" for frame in run),
        generational=top.get("lrugen_enabled") is not False,
    )


def _batches(reader: Reader, value: object, where: str, frames: int) -> tuple[tuple[int, ...], ...]:
    data = reader.mapping(value, where)
    return tuple(reader.numbers(data, name, where, most=frames - 1) for name in BATCHES)


def _zone(reader: Reader, data: Mapping[str, Any], where: str, cpus: int) -> LruZone:
    vm_stat = reader.mapping(data.get("vm_stat"), f"{where}.vm_stat")
    pcp = reader.mapping(data.get("pcp"), f"{where}.pcp")
    not_added = [0] * len(LISTS)
    for cpu in range(cpus):
        one = reader.mapping(pcp.get(str(cpu)), f"{where}.pcp[{cpu}]")
        differences = reader.items(one, "vm_stat_diff", f"{where}.pcp[{cpu}]")
        for lru in range(len(LISTS)):
            position = _FIRST_DIFFERENCE + lru
            value = differences[position] if position < len(differences) else None
            if type(value) is not int or not -128 <= value <= 127:
                reader.refuse(f"{where}.pcp[{cpu}].vm_stat_diff", "a list of small numbers")
            assert isinstance(value, int)
            not_added[lru] += value
    start = reader.number(data, "start_pfn", where, most=FRAMES_MAX)
    return LruZone(
        reader.text(data, "name", where),
        range(start, start + reader.number(data, "spanned", where, most=FRAMES_MAX)),
        tuple(reader.number(vm_stat, name, f"{where}.vm_stat") for name in _ZONE_COUNTERS),
        tuple(not_added),
    )


def _events(reader: Reader, top: Mapping[str, Any]) -> Mapping[str, int]:
    data = reader.mapping(top.get("vm_events"), "vm_events")
    return {name: reader.number(data, name, "vm_events") for name in data if isinstance(name, str)}
