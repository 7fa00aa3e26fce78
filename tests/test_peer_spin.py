"""Spin, a naive search and the native engine must find the same number of states of the buddy machine.

The one idea: three programs that share no line and no representation. The Promela model asserts the invariants too;
mutants of it show that those assertions bite.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).with_name("peers")))
spin_peer: Any = importlib.import_module("spin_peer")
naive_buddy: Any = importlib.import_module("naive_buddy")

MISSING = spin_peer.missing_tools()
needs_spin = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

# (pages, orders, start): states, transitions, longest distance from the initial state
KNOWN = {
    (4, 2, 0): (30, 118, 6),
    (4, 3, 0): (30, 149, 6),
    (5, 1, 0): (326, 651, 10),
    (6, 3, 0): (214, 1265, 9),
    (7, 3, 1): (776, 4822, 11),
    (8, 3, 0): (1829, 12611, 12),
    (8, 5, 5): (3590, 30117, 13),
    (9, 4, 5): (8232, 66796, 14),
    (10, 3, 0): (19001, 148864, 15),
}
KNOWN_LARGE = {
    (12, 3, 0): (229652, 2027985, 18),
    (13, 3, 1): (1464408, 13178858, 20),
    (14, 3, 0): (3267364, 31963495, 21),
}

MUTANTS = {
    "order is not compared": ("PAGE(f).buddy && PAGE(f).order == (o))", "PAGE(f).buddy)"),
    "merge stops one order early": (":: order < ORDERS - 1 ->", ":: order < ORDERS - 2 ->"),
    "buddy outside the zone": ("IN_ZONE(f) ((f) >= START && (f) < END)", "IN_ZONE(f) ((f) >= START && (f) <= END)"),
    "head of the list forgotten": (":: else -> free_area[o].first = after", ":: else"),
    "back link forgotten": ("PAGE(FRAME(after)).prev = before", "skip"),
    "counter not updated": ("nr_free_pages = nr_free_pages - (1 << wanted)", "skip"),
    "reference kept": ("PAGE(p).refcount = 0;", ""),
}

def explored(pages: int, orders: int, start: int) -> tuple[int, int, int]:
    """What the native engine finds for the Python model."""
    exploration = importlib.import_module("native_peer").explore_buddy(pages, orders, start)
    assert exploration.complete
    assert all(verdict.outcome.value == "holds" for verdict in exploration.verdicts)
    return exploration.states, exploration.transitions, exploration.depth


@pytest.mark.parametrize("geometry", KNOWN)
def test_naive_search_finds_the_known_counts(geometry: tuple[int, int, int]) -> None:
    count = naive_buddy.search(naive_buddy.Geometry(*geometry))
    assert (count.states, count.transitions, count.depth) == KNOWN[geometry]


@needs_spin
@pytest.mark.parametrize("breadth_first", [False, True], ids=["depth-first", "breadth-first"])
@pytest.mark.parametrize("geometry", [(8, 3, 0), (9, 4, 5)])
def test_spin_agrees_with_the_naive_search(geometry: tuple[int, int, int], breadth_first: bool, tmp_path: Path) -> None:
    count = spin_peer.count_states(spin_peer.Build(*geometry, breadth_first=breadth_first), tmp_path)
    states, transitions, depth = KNOWN[geometry]
    assert (count.states, count.transitions) == (states, transitions)
    if breadth_first:
        assert count.depth == depth


@needs_spin
def test_the_flags_for_measuring_do_not_change_the_counts(tmp_path: Path) -> None:
    for name, breadth_first in (("depth", False), ("breadth", True)):
        build = spin_peer.Build(10, 3, checked=False, breadth_first=breadth_first, fast=True)
        count = spin_peer.count_states(build, tmp_path / name)
        assert (count.states, count.transitions) == KNOWN[10, 3, 0][:2]


@needs_spin
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_assertions_in_promela_bite(mutant: str, tmp_path: Path) -> None:
    found, instead = MUTANTS[mutant]
    text = spin_peer.MODEL.read_text()
    assert text.count(found) == 1
    with pytest.raises(spin_peer.SpinError, match=r"assertion violated|indexing|out of bounds"):
        spin_peer.count_states(spin_peer.Build(6, 3), tmp_path, text.replace(found, instead))


@needs_spin
def test_a_search_cut_short_is_refused(tmp_path: Path) -> None:
    pan = spin_peer.build_pan(spin_peer.Build(8, 3), tmp_path)
    with pytest.raises(spin_peer.SpinError, match="not a full search"):
        spin_peer.run_pan(pan, depth_limit=50)


@pytest.mark.parametrize("geometry", [(4, 2, 0), (5, 1, 0), (8, 3, 0), (7, 3, 1), (9, 4, 5), (10, 3, 0)])
def test_the_native_engine_finds_the_known_counts(geometry: tuple[int, int, int]) -> None:
    assert explored(*geometry) == KNOWN[geometry]


@pytest.mark.slow
@needs_spin
@pytest.mark.parametrize("geometry", KNOWN_LARGE)
def test_large_zones_agree(geometry: tuple[int, int, int], tmp_path: Path) -> None:
    count = spin_peer.count_states(spin_peer.Build(*geometry), tmp_path)
    assert (count.states, count.transitions) == KNOWN_LARGE[geometry][:2]
    assert explored(*geometry) == KNOWN_LARGE[geometry]
