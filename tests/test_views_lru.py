"""Pictures of LRU lists, page tables, swap and the page cache: what is read, what moves, what is wrong."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.trace import Step, Trace, Violation
from kmemspec.specs.loading import BUILT_IN, load
from kmemspec.views import dot, lru_drawing, lru_map, lru_reader, slab_map, svg
from kmemspec.views.changes import leaves
from kmemspec.views.state_graph import FlatStep, to_step


def sibling(name: str) -> ModuleType:
    """A module beside this one (tests are not a package)."""
    found = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


pictures = sibling("test_views_pictures")
State = dict[str, Any]
ANON_INACTIVE, ANON_ACTIVE, FILE_INACTIVE, UNEVICTABLE = 0, 1, 2, 4
FLAGS = ("lru", "active", "referenced", "unevictable", "swapbacked", "mlocked", "workingset", "locked", "dirty",
         "writeback", "reclaim", "swapcache")


def blank(pages: int = 6, tasks: int = 2, cpus: int = 2) -> State:
    """A machine as model/mm.py has it, in which nothing is in use."""
    pte = {"page": None, "swap": None, "young": False, "dirty": False, "write": False}
    return {
        "memory": {
            "folio": [{"refcount": 0, "mapcount": 0, **dict.fromkeys(FLAGS, False), "mlock_count": 0, "next": None,
                       "prev": None} for _ in range(pages)],
            "lruvec": {"lists": [{"first": None, "last": None} for _ in range(5)], "nr_lru": [0] * 5,
                       "nr_isolated": [0, 0], "anon_cost": 0, "file_cost": 0, "nonresident_age": 0},
            "batch": [[{"nr": 0, "folios": [None, None]} for _ in range(6)] for _ in range(cpus)],
            "use": [{"anon": False, "index": None, "swap": None, "uptodate": False, "content": 0}
                    for _ in range(pages)],
            "mm": [{"alive": True, "anon": [dict(pte) for _ in range(2)], "file": [dict(pte)],
                    "locked": [False, False], "expected": [0, 0]} for _ in range(tasks)],
            "swap": [{"count": 0, "has_cache": False, "folio": None, "shadow": None, "content": 0} for _ in range(2)],
            "i_pages": [{"folio": None, "shadow": None, "content": 0, "expected": 0} for _ in range(2)],
        },
        "clock": 0,
    }


def put(state: State, number: int, pages: list[int]) -> None:
    """Make these pages a list, from its head to its tail."""
    memory = state["memory"]
    for page in pages:
        folio = memory["folio"][page]
        folio.update(lru=True, active=number in (1, 3), swapbacked=number < 2, unevictable=number == UNEVICTABLE)
        folio["refcount"] = max(folio["refcount"], 1)
    for one, other in zip([None, *pages], [*pages, None], strict=True):
        if number != UNEVICTABLE and one is not None:
            memory["folio"][one]["next"] = other
        if number != UNEVICTABLE and other is not None:
            memory["folio"][other]["prev"] = one
    if number != UNEVICTABLE:
        memory["lruvec"]["lists"][number].update(first=pages[0] if pages else None, last=pages[-1] if pages else None)
    memory["lruvec"]["nr_lru"][number] = len(pages)


def map_page(state: State, task: int, index: int, page: int, array: str = "anon") -> None:
    state["memory"]["mm"][task][array][index].update(page=page, swap=None, young=True)
    folio = state["memory"]["folio"][page]
    folio["mapcount"] += 1
    folio["refcount"] += 1


def good() -> State:
    """Two anonymous pages, one of them shared; a page of the file; one in a batch; one swapped out."""
    state = blank()
    memory = state["memory"]
    put(state, ANON_INACTIVE, [1, 0])
    put(state, FILE_INACTIVE, [3])
    map_page(state, 0, 0, 0)
    map_page(state, 1, 0, 0)
    map_page(state, 0, 1, 1)
    memory["mm"][1]["anon"][1]["swap"] = 1
    memory["swap"][1].update(count=1, shadow=3, content=2)
    map_page(state, 0, 0, 3, "file")
    memory["i_pages"][1].update(folio=3)
    memory["batch"][0][0].update(nr=1, folios=[4, None])
    memory["folio"][4].update(refcount=2, swapbacked=False)
    return state


def activated() -> State:
    """Page 0 goes to the active list, and page 4 from the batch to the head of its list."""
    state = good()
    memory = state["memory"]
    put(state, ANON_INACTIVE, [1])
    put(state, ANON_ACTIVE, [0])
    put(state, FILE_INACTIVE, [4, 3])
    memory["batch"][0][0].update(nr=0, folios=[None, None])
    memory["folio"][0]["referenced"] = True
    state["clock"] = 1
    return state


def swapping() -> State:
    """Page 1 is in the swap cache and under writeback, and no entry maps it any more."""
    state = activated()
    memory = state["memory"]
    put(state, ANON_INACTIVE, [])
    memory["folio"][1].update(lru=False, swapcache=True, writeback=True, mapcount=0, reclaim=True)
    memory["mm"][0]["anon"][1].update(page=None, swap=0, young=False)
    memory["swap"][0].update(count=1, has_cache=True, folio=1)
    memory["lruvec"]["nr_isolated"][0] = 1
    return state


def broken() -> State:
    """Page 1 is freed though it is under writeback, still in the swap cache; page 0 is also on the file list."""
    state = swapping()
    memory = state["memory"]
    memory["folio"][1].update(refcount=0)
    memory["folio"][3]["next"] = 0
    memory["lruvec"]["lists"][FILE_INACTIVE]["last"] = 0
    return state


def trace(*states: State, elements: tuple[tuple[str, int], ...] = (("page", 1),)) -> Trace:
    names = ("mark_page_accessed", "shrink_folio_list", "folio_put")
    steps = [Step("", {}, (), None, states[0])]
    steps += [Step(name, {"page": 1}, (), None, state) for name, state in zip(names, states[1:], strict=False)]
    violation = Violation("R6", "a page is never freed under writeback", "invariant", elements)
    return Trace("reclaim", {"pages": 6, "tasks": 2}, tuple(steps), violation)


def view(state: State) -> lru_map.LruView:
    here = lru_map.LRU.of(trace(state))
    assert here is not None
    return lru_reader.read(state, here)


def rows(state: State) -> dict[str, tuple[int, ...]]:
    return {row.label: row.folios for row in view(state).rows if row.folios}


def remarks(found: lru_map.LruView) -> list[str]:
    words = [f"{row.label}: {remark}" for row in found.rows for remark in row.remarks]
    words += [f"{folio.page}: {remark}" for folio in found.folios.values() for remark in folio.remarks]
    return words + [f"{cell.name}: {remark}" for cell in found.cells() for remark in cell.remarks]


def test_lists_are_read() -> None:
    assert rows(good()) == {"cpu 0 lru add": (4,), "inactive anon": (1, 0), "inactive file": (3,), "not in use": (2, 5)}
    assert rows(swapping())["in use, on no list"] == (1,)
    found = view(swapping())
    assert remarks(found) == []
    assert found.folios[0].users == ("anon 0", "anon 0")
    assert (found.folios[1].flags, found.folios[1].anon, found.folios[4].anon) == ("WIS", True, False)
    links = [(cell.name, cell.page, cell.slot) for cell in found.cells() if not cell.idle]
    assert links[:3] == [("anon 0", 0, None), ("anon 1", None, 0), ("file 0", 3, None)]
    assert ("swap 0", 1, None) in links
    assert ("file 1", 3, None) in links
    state = good()
    put(state, UNEVICTABLE, [2])
    assert rows(state)["unevictable"] == (2,)
    assert remarks(view(state)) == []


def test_reclaimers_and_frames_are_read() -> None:
    """A reclaimer's folio list has the links of the lists; watermarks are in the scope."""
    state = swapping()
    memory = state["memory"]
    memory["reclaimer"] = [
        {"phase": 3, "priority": 1, "nr": [0, 0, 2, 0], "folio_list": {"first": 1, "last": 1},
         "ret_folios": {"first": None, "last": None}} for _ in range(1)]
    memory["free"] = [page in (2, 5) for page in range(6)]
    memory["nr_free_pages"] = 3
    found = view(state)
    assert [(row.label, row.folios) for row in found.rows if row.kind in ("reclaimer", "isolated")] == [
        ("kswapd", ()), ("↳ folio_list", (1,))]
    facts = {name: value for row in found.rows if row.kind == "reclaimer" for name, _, value in row.facts}
    assert facts == {"phase": "next folio", "priority": 1, "to scan: inactive file": 2}
    assert remarks(found) == ["free frames: counted 3, free are 2"]
    run = Trace("reclaim", {"watermark_min": 1, "watermark_low": 2, "watermark_high": 2}, trace(state).steps)
    assert {"min", "low/high"} <= set(pictures.texts(pictures.shapes(svg.svg(run))))


def test_what_does_not_agree_is_said() -> None:
    """Lists that loop or share a folio, flags of another list, wrong counts, entries that map a free page."""
    assert remarks(view(broken())) == [
        "inactive file: counted 2, listed 3",
        "0: on active anon and inactive file", "0: prev is none", "0: its flags say active anon",
        "1: not in use, but under writeback, to be reclaimed when written, in the swap cache",
    ]
    state = good()
    memory = state["memory"]
    memory["folio"][0]["next"] = 1
    memory["folio"][3].update(lru=False, mapcount=2)
    memory["folio"][2].update(refcount=1, lru=True)
    memory["lruvec"]["nr_lru"][UNEVICTABLE] = 1
    memory["lruvec"]["lists"][ANON_ACTIVE]["first"] = 17
    memory["folio"][4]["refcount"] = 0
    memory["batch"][1][2]["nr"] = 1
    memory["mm"][1]["anon"][1].update(page=5, swap=None)
    assert remarks(view(state)) == [
        "cpu 1 lru deactivate file: nr is 1",
        "active anon: leads to 17", "inactive anon: loops back to 1", "unevictable: counted 1, there are 0",
        "2: PG_lru, but on no list", "3: on a list without PG_lru", "3: mapcount 2, mapped by 1",
        "4: not in use, but on a list or in a batch", "5: mapcount 0, mapped by 1",
        "anon 1: page 5 is not in use", "swap 1: 0 entries name it",
    ]


def test_what_moved() -> None:
    """From row to row, from a batch, and within a list, where as few as possible count as moved."""
    assert lru_drawing.moved(view(good()), view(activated())) == {
        0: (frozenset({"list 0"}), frozenset({"list 1"})), 4: (frozenset({"batch 0 lru add"}), frozenset({"list 2"}))}
    one, other = blank(), blank()
    put(one, ANON_INACTIVE, [0, 1, 2, 3, 4])
    put(other, ANON_INACTIVE, [4, 0, 1, 2, 3])
    assert lru_drawing.moved(view(one), view(other)) == {4: (frozenset({"list 0"}), frozenset({"list 0"}))}
    assert lru_drawing.moved(None, view(one)) == {}


def test_picture() -> None:
    """Rows with their folios, an arrow and a dashed box for each that moved, what is named and what is wrong in red."""
    drawn = pictures.shapes(svg.svg(trace(good(), activated(), swapping(), broken())))
    pictures.well_placed(drawn)
    assert {"active anon", "inactive file", "cpu 0 lru add", "task 1", "page cache", "page 0 young expects 0"} <= set(
        pictures.texts(drawn))
    assert {"1", "page 1: not in use, but under writeback, to be reclaimed when written, in the swap cache",
            "counted 2, listed 3"} <= pictures.red_texts(drawn)
    assert not {"4", "active anon"} & pictures.red_texts(drawn)
    hints = [element.findtext("{*}title") for element in drawn if element.tag.endswith("rect")]
    assert [hint for hint in hints if hint and hint.endswith("was here")] == [
        "page 4 was here", "page 0 was here", "page 1 was here", "page 1 was here"]
    assert len([element for element in drawn if element.attrib.get("fill") == lru_drawing.MOVED]) >= 5
    named = trace(good(), elements=(("lru", 2), ("task", 1), ("vpage", 1), ("swap_entry", 0)))
    assert {"▶inactive file", "▶task 1", "swap 1 expects 0", "-"} <= pictures.red_texts(pictures.shapes(svg.svg(named)))


def test_graph() -> None:
    """As DOT: rows in a table for each step, and the last one's lists and references as edges."""
    source = dot.dot(trace(good(), activated(), swapping()))
    assert "from inactive anon" in source
    lines = [line.strip() for line in source.splitlines()]
    edges = [line for line in lines if "->" in line and "invis" not in line]
    assert len([edge for edge in edges if "dashed" in edge]) == 2
    assert any("penwidth=2" in edge and "cell" in edge for edge in edges)


def test_without_lists() -> None:
    """A machine that puts no folio on a list is drawn without them, and none is said to be missing there."""
    state = good()
    for number in (ANON_INACTIVE, FILE_INACTIVE):
        put(state, number, [])
    assert remarks(view(state)) == []
    assert {row.label for row in view(state).rows} == {"cpu 0 lru add", "in use", "not in use"}


def test_long_lists_and_many_entries() -> None:
    """Of long rows only what moved and the ends, and not all entries of a large task."""
    before, after = blank(60, 1), blank(60, 1)
    for state, pages in ((before, list(range(50))), (after, [49, *range(49)])):
        put(state, ANON_INACTIVE, pages)
        state["memory"]["mm"][0]["anon"] = [dict(state["memory"]["mm"][0]["file"][0]) for _ in range(300)]
        map_page(state, 0, 250, 7)
    drawn = pictures.shapes(svg.svg(trace(before, after)))
    pictures.well_placed(drawn)
    found = pictures.texts(drawn)
    assert "… 48 …" in found
    assert "anon 250" in found
    assert "anon 3" not in found


@pytest.mark.parametrize("seed", range(4))
def test_any_state_is_drawn(seed: int) -> None:
    """Random and impossible values are drawn, not trusted, and nothing is cut off or written over."""
    chance = random.Random(seed)
    odd = [None, -1, 0, 1, 2, 5, 6, 17, 2**64, True, False, "a\x1b<b>", [], {}]
    for _ in range(12):
        states = [good(), swapping()]
        for state in states:
            for path, _ in list(leaves(state)):
                if chance.random() < 0.12:
                    node: Any = state
                    for part in path[:-1]:
                        node = node[part]
                    node[path[-1]] = chance.choice(odd)
        run = trace(*states, elements=(("page", chance.randrange(7)), ("lru", 9), ("task", 1)))
        pictures.well_placed(pictures.shapes(svg.svg(run)))
        dot.dot(run)


@pytest.mark.parametrize("name", pictures.HOSTILE)
def test_hostile_names(name: str) -> None:
    """Names that a trace file brings along cannot change a picture."""
    state = swapping()
    memory = state["memory"]
    memory["mm"][0][name] = memory["mm"][0]["anon"]
    memory["lruvec"][name] = 3
    memory[name] = {"folio_list": {"first": 1, "last": 1}, name: {"first": 1, "last": name}, "phase": name}
    memory["swap"][0]["folio"] = name
    run = trace(good(), state)
    pictures.shapes(svg.svg(run))
    source = dot.dot(run)
    assert "script>" not in source
    if shutil.which("dot") is not None:
        done = subprocess.run(["dot", "-Tsvg"], input=source.encode("utf-8", "replace"), capture_output=True,
                              check=True, timeout=60)
        assert done.stderr == b""


@pytest.mark.parametrize("target", sorted({"lru", "swap", "reclaim", "system"} & set(BUILT_IN)))
def test_nothing_is_remarked_about_states_of_the_model(target: str) -> None:
    """What the pictures call odd never is in a random run of the model without a fault, and every picture is drawn."""
    loaded = load(target)
    sizes = loaded.spec.scope(None)
    machine = PythonMachine(loaded.spec, loaded.program, sizes)
    chance = random.Random(1)
    flat = [machine.initial_states()[0]]
    for _ in range(60):
        found = [each for each in machine.successors(flat[-1].state)
                 if each[3].state is not None and each[3].state != flat[-1].state]
        action, arguments, choices, outcome = chance.choice(found)
        assert outcome.state is not None
        flat.append(FlatStep(action, arguments, choices, outcome.result, outcome.state))
    run = Trace(target, dict(sizes), tuple(to_step(loaded.program, sizes, step) for step in flat))
    here = lru_map.LRU.of(run)
    assert here is not None
    for step in run.steps:
        assert remarks(lru_reader.read(step.state, here)) == []
        slabs = slab_map.SLUB.within(step.state)
        for cache in slab_map.caches(step.state, slabs) if slabs is not None else ():
            assert [slab.remarks for slab in cache.slabs() if slab.remarks] == []
    pictures.well_placed(pictures.shapes(svg.svg(run)))
    dot.dot(run)
