"""Single-event corruptions of a trace or of its last state: what a checker of traces must find.

The one idea: each kind is a small function that changes one place, chosen by a seed among all places where the change
means something; how many of each kind are found measures the checker, kind by kind. The text around stays as it was:
stamps, CPUs and tasks are those of a line's place, so that nothing but what an event says gives a change away.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.lang.errors import InputError
from .lines import HEAD, numbered_lines
from .text import TextChecker

Lines = list[bytes]
"""The events of a trace, without headers."""

_PAGE_EVENT = re.compile(rb" (mm_page_alloc|mm_page_free): page=\S+ pfn=(0x[0-9a-f]+) order=(\d+)")
_OBJECT_ALLOC = re.compile(rb" (?:kmalloc|kmem_cache_alloc): .*? ptr=([0-9a-f]{16}) .*bytes_alloc=(\d+)")
_OBJECT_FREE = re.compile(rb" (?:kfree|kmem_cache_free): .*? ptr=([0-9a-f]{16})")
_PAGES = re.compile(rb"page=(\S+) pfn=0x([0-9a-f]+) order=(\d+)")


@dataclass(frozen=True)
class Corruption:
    """One kind: what it is, and the function that does it to the lines at a position, or to a state. `fits` are the
    lines at which it means something."""

    name: str
    title: str
    fits: Callable[[bytes], bool]
    change: Callable[[Lines, int, random.Random], bool]


@dataclass(frozen=True)
class StateCorruption:
    """One kind of changes to the JSON of the last state."""

    name: str
    title: str
    change: Callable[[Any, random.Random], bool]


# --- which lines


def _page(name: bytes, least: int = 0, most: int = 10) -> Callable[[bytes], bool]:
    def fits(line: bytes) -> bool:
        match = _PAGE_EVENT.search(line)
        return match is not None and match[1] == name and match[2] != b"0x0" and least <= int(match[3]) <= most

    return fits


def _object_alloc(line: bytes) -> bool:
    match = _OBJECT_ALLOC.search(line)
    return match is not None and match[1].strip(b"0") != b"" and int(match[2]) <= 8192


def _object_free(line: bytes) -> bool:
    match = _OBJECT_FREE.search(line)
    return match is not None and match[1].lstrip(b"0") not in (b"", b"10")


# --- changes of lines


def _drop(lines: Lines, at: int, choice: random.Random) -> bool:
    del lines[at]
    return True


def _duplicate(lines: Lines, at: int, choice: random.Random) -> bool:
    lines.insert(at + 1, lines[at])
    return True


def _with_page(line: bytes, pfn: int, order: int) -> bytes:
    """The line with another block; the address of its first page goes with it where it is one."""
    match = _PAGES.search(line)
    assert match is not None
    page = match[1]
    if page.startswith(b"ffff"):
        page = b"%016x" % (int(page, 16) + 64 * (pfn - int(match[2], 16)))
    return line[: match.start()] + b"page=%s pfn=0x%x order=%d" % (page, pfn, order) + line[match.end() :]


def _block_of(line: bytes) -> tuple[int, int]:
    match = _PAGES.search(line)
    assert match is not None
    return int(match[2], 16), int(match[3])


def _shift(lines: Lines, at: int, choice: random.Random) -> bool:
    pfn, order = _block_of(lines[at])
    lines[at] = _with_page(lines[at], pfn ^ (1 << order), order)
    return True


def _other_order(lines: Lines, at: int, choice: random.Random) -> bool:
    pfn, order = _block_of(lines[at])
    if pfn & ((2 << order) - 1) == 0 and order < 10:
        other = order + 1
    elif order:
        other = order - 1
    else:
        return False
    lines[at] = _with_page(lines[at], pfn, other)
    return True


def _misalign(lines: Lines, at: int, choice: random.Random) -> bool:
    pfn, order = _block_of(lines[at])
    lines[at] = _with_page(lines[at], pfn + 1, order)
    return True


def _swap(lines: Lines, at: int, choice: random.Random) -> bool:
    """What this event says and what the next one of the same page says change places."""
    pfn, _ = _block_of(lines[at])
    mine = b" pfn=0x%x " % pfn
    for other in range(at + 1, min(at + 20_000, len(lines))):
        match = _PAGE_EVENT.search(lines[other])
        if match is not None and mine in lines[other]:
            if match[1] != b"mm_page_free":
                return False
            first, second = HEAD.match(lines[at]), HEAD.match(lines[other])
            if first is None or second is None:
                return False
            here, there = first.start(4), second.start(4)
            lines[at], lines[other] = lines[at][:here] + lines[other][there:], lines[other][:there] + lines[at][here:]
            return True
    return False


def _other_cpu(lines: Lines, at: int, choice: random.Random) -> bool:
    match = HEAD.match(lines[at])
    if match is None:
        return False
    start, end = match.span(2)
    lines[at] = lines[at][:start] + (b"000" if int(match[2]) else b"001") + lines[at][end:]
    return True


def _other_type(lines: Lines, at: int, choice: random.Random) -> bool:
    lines[at] = re.sub(rb"migratetype=(\d)", lambda match: b"migratetype=%d" % ((int(match[1]) + 1) % 3), lines[at])
    return True


def _other_address(lines: Lines, at: int, choice: random.Random) -> bool:
    """Another object: the one beside, or where addresses are hashed, one of another number."""
    match = _OBJECT_ALLOC.search(lines[at]) or _OBJECT_FREE.search(lines[at])
    assert match is not None
    step = int(match[2]) if match.re is _OBJECT_ALLOC else 64
    lines[at] = lines[at].replace(b"ptr=" + match[1], b"ptr=%016x" % (int(match[1], 16) + step))
    return True


def _inside(lines: Lines, at: int, choice: random.Random) -> bool:
    match = _OBJECT_ALLOC.search(lines[at])
    assert match is not None
    lines[at] = lines[at].replace(b"ptr=" + match[1], b"ptr=%016x" % (int(match[1], 16) + 4))
    return True


def _short(lines: Lines, at: int, choice: random.Random) -> bool:
    """An object that has less than what was asked for."""
    asked = re.search(rb"bytes_req=(\d+)", lines[at])
    if asked is None or int(asked[1]) < 2:
        return False
    lines[at] = re.sub(rb"bytes_alloc=\d+", b"bytes_alloc=%d" % (int(asked[1]) - 1), lines[at])
    return True


def _earlier(lines: Lines, at: int, choice: random.Random) -> bool:
    match = HEAD.match(lines[at])
    first = HEAD.match(lines[0])
    if match is None or first is None or len(first[3]) > len(match[3]) or first[3] == match[3]:
        return False
    start, end = match.span(3)
    lines[at] = lines[at][:start] + first[3].rjust(end - start) + lines[at][end:]
    return True


_ALLOC, _FREE = b"mm_page_alloc", b"mm_page_free"

TRACE_KINDS: tuple[Corruption, ...] = (
    Corruption("drop-page-free", "a page's free is missing", _page(_FREE), _drop),
    Corruption("drop-page-alloc", "a page's allocation is missing", _page(_ALLOC), _drop),
    Corruption("double-page-alloc", "a page is allocated twice", _page(_ALLOC), _duplicate),
    Corruption("double-page-free", "a page is freed twice", _page(_FREE), _duplicate),
    Corruption("other-page", "the buddy of the page is allocated", _page(_ALLOC), _shift),
    Corruption("other-page-freed", "the buddy of the page is freed", _page(_FREE), _shift),
    Corruption("other-order", "a block is allocated with another order", _page(_ALLOC), _other_order),
    Corruption("misaligned", "a block begins one page later", _page(_ALLOC, 1), _misalign),
    Corruption("swapped", "a page's allocation and free change places", _page(_ALLOC, 0, 0), _swap),
    Corruption("other-cpu", "a page is allocated on another CPU", _page(_ALLOC, 0, 0), _other_cpu),
    Corruption("other-type", "a page has another migrate type", _page(_ALLOC), _other_type),
    Corruption("drop-object-free", "an object's free is missing", _object_free, _drop),
    Corruption("drop-object-alloc", "an object's allocation is missing", _object_alloc, _drop),
    Corruption("double-object-alloc", "an object is allocated twice", _object_alloc, _duplicate),
    Corruption("double-object-free", "an object is freed twice", _object_free, _duplicate),
    Corruption("other-object", "the object beside is allocated", _object_alloc, _other_address),
    Corruption("inside-object", "an object begins within another one", _object_alloc, _inside),
    Corruption("short-object", "an object is smaller than what was asked for", _object_alloc, _short),
    Corruption("earlier", "an event has the time of the first one", lambda line: b": " in line, _earlier),
)  # fmt: skip


# --- changes of the last state


def _lists(state: Any, least: int) -> list[list[int]]:
    return [
        blocks
        for zone in state["zones"]
        for area in zone["free_area"]
        for blocks in area["lists"]
        if len(blocks) >= least
    ]


def _move(state: Any, choice: random.Random) -> bool:
    """A list is not turned round, which compaction does with no event: two of three or more change places."""
    lists = _lists(state, 3)
    if not lists:
        return False
    blocks = choice.choice(lists)
    blocks[0], blocks[1] = blocks[1], blocks[0]
    return True


def _miscount(state: Any, choice: random.Random) -> bool:
    areas = [area for zone in state["zones"] for area in zone["free_area"]]
    choice.choice(areas)["nr_free"] += 1
    return True


def _pcp(state: Any, choice: random.Random) -> bool:
    """A page leaves the per-CPU lists."""
    pcps = [pcp for zone in state["zones"] for pcp in zone["pcp"].values() if any(pcp["lists"])]
    if not pcps:
        return False
    pcp = choice.choice(pcps)
    blocks = choice.choice([blocks for blocks in pcp["lists"] if blocks])
    blocks.pop(choice.randrange(len(blocks)))
    return True


def _slabs(state: Any) -> list[Any]:
    """Slabs of which some objects are in use, and that no CPU has."""
    owned = {cpu["slab"] for cache in state["caches"] for cpu in cache["cpu"].values()}
    return [
        slab
        for cache in state["caches"]
        for page, slab in cache["slabs"].items()
        if slab["inuse"] and int(page) not in owned and len(slab["free"]) < slab["objects"]
    ]


def _lose_object(state: Any, choice: random.Random) -> bool:
    slabs = _slabs(state)
    if not slabs:
        return False
    slab = choice.choice(slabs)
    slab["free"].insert(0, next(slot for slot in range(slab["objects"]) if slot not in slab["free"]))
    slab["inuse"] -= 1
    return True


def _recount_objects(state: Any, choice: random.Random) -> bool:
    slabs = _slabs(state)
    if not slabs:
        return False
    choice.choice(slabs)["inuse"] -= 1
    return True


def _retype(state: Any, choice: random.Random) -> bool:
    types = state["pageblock_migratetype"]
    place = choice.randrange(len(types))
    types[place] = (types[place] + 1) % 3
    return True


STATE_KINDS: tuple[StateCorruption, ...] = (
    StateCorruption("state-list", "the first block of a free list is behind the next", _move),
    StateCorruption("state-count", "a free list has one block less than its counter", _miscount),
    StateCorruption("state-pcp", "a page is missing from a CPU's list", _pcp),
    StateCorruption("state-object", "an object in use is free", _lose_object),
    StateCorruption("state-inuse", "a slab has one object in use less", _recount_objects),
    StateCorruption("state-type", "a pageblock has another type", _retype),
)


# --- doing it


def trace_events(path: Path) -> Lines:
    """The events of a trace, to be changed."""
    return [line for _, line in numbered_lines(path)]


def corrupted(lines: Sequence[bytes], kind: Corruption, seed: int, first: int = 0, last: int | None = None) -> Lines:
    """The events with one of this kind between two positions; raises InputError if there is no place for it."""
    choice = random.Random(f"{kind.name} {seed}")
    end = len(lines) if last is None else min(last, len(lines))
    places = [place for place in range(first, end) if kind.fits(lines[place])]
    for place in choice.sample(places, min(len(places), 50)):
        changed = list(lines)
        if kind.change(changed, place, choice):
            return changed
    raise InputError(f"there is no place for {kind.name}", "give a trace with such events")


def corrupted_state(state: Any, kind: StateCorruption, seed: int) -> Any:
    """The JSON of a state with one of this kind."""
    changed = copy.deepcopy(state)
    if not kind.change(changed, random.Random(f"{kind.name} {seed}")):
        raise InputError(f"there is no place for {kind.name}", "give a state with such lists")
    return changed


def text_finds(lines: Sequence[bytes], recorded: Sequence[str] = ()) -> bool:
    """Whether the text alone is rejected."""
    checker = TextChecker("a changed trace", recorded)
    try:
        checker.read(lines)
    except InputError:
        return True
    checker.finish()
    return bool(checker.judge.violations)


def write_recording(directory: Path, source: Path, lines: Sequence[bytes] | None, state: Any = None) -> None:
    """A copy of a recording with other events, or another last state."""
    for name in ("state_A.json.gz", "state_B.json.gz", "set_event"):
        if (source / name).exists():
            (directory / name).write_bytes((source / name).read_bytes())
    if state is not None:
        (directory / "state_B.json.gz").write_bytes(gzip.compress(json.dumps(state).encode(), 1))
    if lines is None:
        (directory / "trace.txt.xz").write_bytes((source / "trace.txt.xz").read_bytes())
    else:
        (directory / "trace.txt").write_bytes(b"\n".join(lines) + b"\n")
