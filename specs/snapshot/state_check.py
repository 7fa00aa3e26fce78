"""One state of a kernel, as a memory dump showed it, against every structural invariant.

The one idea: the file is opened once and read by the readers of specs/recorded; the page allocator, the caches and the
LRU are then checked each by itself, and the clauses that only the file's lists can say stand before them. A file that
was cut down to the LRU's part has only that checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..recorded.lru_states import lru_state_of
from ..recorded.states import RELEASE, KernelState, Reader, classes, name_of, open_state, size_of, state_of
from .caches import check_caches, free_once, one_list, slab_sizes
from .lru import check_lru
from .places import Places
from .results import Answer, Snapshot
from .zones import buddy_flags, check_pages, flagged, one_place, one_use

OF_EVERY_RELEASE = frozenset(
    {"P1", "P2", "P3", "P4", "B1", "B2", "B3", "B7", "B8", "B10", "B12", "B14", "S1", "S2", "S3", "S4", "S8", "R1"}
)
"""A page, slab or object is in one place, lists are lists, and counters count: in any Linux with these structures."""

Progress = Callable[[str], None]


def check_state_file(path: Path, progress: Progress = lambda what: None) -> Snapshot:
    """A file state_*.json(.gz); raises InputError for one that is none."""
    progress("reading")
    reader, top = open_state(path, any_release=True)
    lru = lru_state_of(reader, top, name_of(path))
    if "caches" not in top:
        bare = _bare(reader, top, path)
        progress("LRU")
        of_lru = tuple(check_lru(lru, Places(bare, lru)))
        return Snapshot(str(path), "state, cut down to the LRU", _facts(bare, top), of_lru)
    state = state_of(reader, top, name_of(path))
    places = Places(state, lru)
    flags = buddy_flags(reader, top, state.frames)
    answers = [one_place(places), one_use(places), flagged(places, flags)]
    progress("pages")
    answers += check_pages(state, flags, places)
    progress("caches")
    answers += [one_list(places), free_once(places), slab_sizes(places), *check_caches(state, places)]
    progress("LRU")
    answers += check_lru(lru, places)
    if not str(top.get("release")).startswith(RELEASE):
        answers = [_of_another_release(answer) for answer in answers]
    return Snapshot(str(path), "state", _facts(state, top), tuple(answers))


def _of_another_release(answer: Answer) -> Answer:
    """What the model says of Linux 6.1 need not hold there; what is said of any kernel's lists must."""
    if answer.identifier in OF_EVERY_RELEASE or not answer.broken:
        return answer
    unknown = {**answer.unknown, f"the model is that of Linux {RELEASE}x, where this would be a breach": answer.broken}
    return replace(answer, checked=answer.checked - answer.broken, broken=0, findings=(), unknown=unknown)


def _bare(reader: Reader, top: Any, path: Path) -> KernelState:
    """A state of which only the LRU is known."""
    cpus, frames, lines = size_of(reader, top)
    return KernelState(name_of(path), cpus, 0, 0, frames, lines, (), (), (), classes(reader, top, frames))


def _facts(state: KernelState, top: Any) -> tuple[str, ...]:
    slabs = sum(len(cache.slabs) for cache in state.caches)
    return (
        f"Linux {top.get('release')}, {state.cpus} CPU{'s' if state.cpus > 1 else ''}, {state.frames:,} page frames",
        *(f"zone {zone.name}: {zone.managed:,} pages managed, {zone.free_pages:,} free" for zone in state.zones),
        *([f"{len(state.caches)} caches, {slabs:,} slabs"] if state.caches else []),
    )
