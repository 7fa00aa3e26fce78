"""Pictures of traces: the golden tables, well-formed SVG and DOT in which the culprit is red, and hostile names."""

from __future__ import annotations

import copy
import dataclasses
import io
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.trace import Step, Trace, Violation
from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.views import dot, memory_map, render, report, slab_map, svg, table, trace_file, trace_json
from kmemspec.views.changes import Culprits, changes, path_text

EXPECT = Path(__file__).parent / "expect"
NAMES = ["views_overlap", "views_broken", "views_ring"]
SVG_TAGS = {"svg", "title", "style", "defs", "pattern", "line", "marker", "path", "rect", "text", "circle"}
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def expected(name: str) -> Trace:
    return trace_json.load(EXPECT / f"{name}.json")


def shapes(picture: str) -> list[ElementTree.Element]:
    elements = list(ElementTree.fromstring(picture).iter())
    assert {element.tag.rsplit("}", 1)[-1] for element in elements} <= SVG_TAGS
    assert not any(name.startswith("on") or "href" in name for element in elements for name in element.attrib)
    assert "nan" not in picture
    return elements


def texts(elements: list[ElementTree.Element]) -> list[str]:
    return [element.text or "" for element in elements if element.tag.endswith("text")]


@pytest.mark.parametrize("name", NAMES)
def test_table(name: str) -> None:
    assert table.text(expected(name), table.Options(file=f"{name}.json")) == (EXPECT / f"{name}.txt").read_text()


@pytest.mark.parametrize("no_color", [True, False])
def test_table_on_a_terminal(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same characters as in a pipe; a colour only if NO_COLOR is not set."""
    from rich.console import Console

    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200, color_system="standard")
    console.print(table.styled(expected("views_overlap")), end="")
    written = stream.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", written).split() == table.text(expected("views_overlap")).split()
    assert bool(re.search(r"\x1b\[[0-9;]*3[1-7]m", written)) != no_color


def test_long_arrays_are_runs() -> None:
    state = {"cells": [{"free": number > 2, "at": {"x": 0}} for number in range(1000)], "flags": [True] * 500}
    text = table.text(Trace("s", {}, (Step("", {}, (), None, state),)))
    assert "0..2: F  3..999: T" in text
    assert "0..499: T" in text
    assert max(map(len, text.splitlines())) <= 100


def test_changes() -> None:
    found = changes({"a": [1, {"b": True, "e": 0}], "c": 1}, {"a": [2, {"b": 1, "e": 3}], "d": None})
    assert [path_text(change.path) for change in found] == ["a[0]", "a[1].b", "a[1].e", "d", "c"]
    assert [(change.old, change.new) for change in found[:2]] == [(1, 2), (True, 1)]


def test_failed_step_says_that_its_state_is_the_one_before() -> None:
    trace = expected("views_ring")
    last = dataclasses.replace(trace.steps[-1], state=trace.steps[-2].state)
    violation = Violation("checks", "slot is taken", "ASSERT", (), "assertion in reset", "ring.py:9")
    trace = dataclasses.replace(trace, steps=(*trace.steps[:-1], last), violation=violation)
    assert "it fails, the state is the one before" in table.text(trace)
    assert any("fails here" in text for text in texts(shapes(svg.svg(trace))))


def test_culprits_with_and_without_sorts() -> None:
    state = {"zone": {"mem_map": [{"order": 0}] * 3, "names": [1, 2, 3]}, "slots": [[1, 2], [3, 4]]}
    def trace(*elements: tuple[str, int], **scope: int) -> Trace:
        violation = Violation("P", "c", "invariant", elements)
        return Trace("s", scope, (Step("", {}, (), None, state),), violation)

    named = Culprits(trace(("slot", 1)))
    assert named.points_at(("slots", 1, 0))
    assert not named.points_at(("slots", 0, 1))
    assert not named.points_at(("zone", "names", 1))
    sized = Culprits(trace(("page", 2), pages=3))
    assert sized.points_at(("zone", "mem_map", 2, "order"))
    assert not sized.points_at(("zone", "mem_map", 1, "order"))
    declared = Culprits(trace(("column", 1)), {"slots[][]": ("row", "column"), "zone.names[]": ("page",)})
    assert declared.points_at(("slots", 0, 1))
    assert not declared.points_at(("slots", 1, 0))
    assert not declared.points_at(("zone", "names", 1))


# --- SVG ---------------------------------------------------------------------------------------------------------


def well_placed(elements: list[ElementTree.Element]) -> None:
    """Everything is inside the view box, and no two texts of one row are over each other."""
    width, height = (float(elements[0].attrib[side]) for side in ("width", "height"))
    placed: dict[float, list[tuple[float, float, str]]] = {}
    for element in elements:
        if element.tag.endswith("text"):
            words, size = element.text or "", float(element.attrib["font-size"])
            span = len(words) * size * svg.MONO
            before = {"start": 0, "middle": span / 2, "end": span}[element.attrib["text-anchor"]]
            start = float(element.attrib["x"]) - before
            assert 0 <= start <= start + span <= width, words
            assert float(element.attrib["y"]) <= height
            placed.setdefault(float(element.attrib["y"]), []).append((start, start + span, words))
        elif element.tag.endswith("rect") and "x" in element.attrib:
            assert float(element.attrib["x"]) + float(element.attrib["width"]) <= width
            assert float(element.attrib["y"]) + float(element.attrib["height"]) <= height
    for row in placed.values():
        for (_, end, words), (start, _, other) in zip(sorted(row), sorted(row)[1:], strict=False):
            assert end <= start + 2, (words, other)


@pytest.mark.parametrize("name", NAMES)
def test_svg(name: str) -> None:
    """Well formed, inside its own view box, no two texts of one row over each other, culprits named and red."""
    trace = expected(name)
    elements = shapes(svg.svg(trace))
    well_placed(elements)
    assert trace.violation is not None
    assert f"✗ {table.headline(trace.violation)}" in texts(elements)
    assert f"▼ {table.elements_text(trace.violation)}" in texts(elements)


def red_texts(elements: list[ElementTree.Element]) -> set[str]:
    found = [element for element in elements if element.tag.endswith("text") and svg.RED in element.attrib["style"]]
    return set(texts(found))


def test_svg_shows_the_overlap_in_red() -> None:
    found = red_texts(shapes(svg.svg(expected("views_overlap"))))
    assert {"free 0-3", "held 1", "1", "✗ violates it here"} <= found
    assert not {"free 4-7", "2", "held 2", "4"} & found


def test_svg_shows_broken_links() -> None:
    found = red_texts(shapes(svg.svg(expected("views_broken"))))
    assert {"▶order 2", "8", "prev 1", "last is 8, the walk ends at 0", "free 8-11"} <= found
    assert any("perhaps unreachable" in text for text in texts(shapes(svg.svg(expected("views_broken")))))


def test_memory_map_of_any_state() -> None:
    """Random and impossible values are drawn, not trusted: loops, links outside, overlaps, blocks beyond the end."""
    chance = random.Random(1)
    trace = expected("views_broken")
    for _ in range(60):
        state = copy.deepcopy(dict(trace.steps[-1].state))
        odd = [None, -1, 0, 3, 8, 11, 12, 2**64, "label", True]
        for page in state["memory"]["mem_map"]:
            for field in ("order", "next", "prev", "buddy"):
                if chance.random() < 0.4:
                    page[field] = chance.choice(odd)
        for area in state["zone"]["free_area"]:
            for record, field in [(area, "nr_free"), (area["free_list"][0], "first"), (area["free_list"][0], "last")]:
                if chance.random() < 0.4:
                    record[field] = chance.choice(odd)
        state["held"] = [chance.choice(odd) for _ in state["held"]]
        broken = dataclasses.replace(trace, steps=(trace.steps[0], dataclasses.replace(trace.steps[-1], state=state)))
        shapes(svg.svg(broken))
        dot.dot(broken)
        table.text(broken)


def test_memory_map_reads_what_is_there() -> None:
    state = expected("views_broken").steps[-1].state
    memory = memory_map.read(state, memory_map.BUDDY)
    assert [(block.label(), block.order, block.free, block.beyond) for block in memory.blocks] == [
        ("0", 0, True, False), ("4-7", 2, True, False), ("8-11", 2, True, False),
        ("1", 0, False, False), ("2-3", 1, False, False), ("10-13", 2, False, True),
    ]
    (area,) = memory.areas_of(2)
    (free_list,) = area.lists
    assert [link.page for link in free_list.links] == [4, 8, 0]
    assert free_list.links[1].prev == 1
    assert free_list.links[2].remark == "order 0"
    assert free_list.remarks == ("last is 8, the walk ends at 0",)
    assert memory.cover(10) == "twice"
    assert memory.cover(9) == "free"


def test_large_map_repeats_the_culprit_enlarged() -> None:
    page = {"buddy": False, "order": 0, "next": None, "prev": None}
    area = {"free_list": [{"first": None, "last": None}], "nr_free": 0}
    state = {"memory": {"mem_map": [dict(page) for _ in range(1024)], "pageblock_flags": [0]},
             "zone": {"free_area": [copy.deepcopy(area) for _ in range(11)]}, "held": [0] * 1024}
    state["held"][517] = None
    violation = Violation("B1", "every page is in a block", "invariant", (("page", 517),))
    trace = Trace("buddy", {"pages": 1024}, (Step("", {}, (), None, state),), violation)
    elements = shapes(svg.svg(trace))
    assert any("enlarged" in text for text in texts(elements))
    assert {"517", "page 517"} <= red_texts(elements)
    assert float(elements[0].attrib["width"]) < 1400


def test_own_names_for_the_map() -> None:
    state = {"pages": [{"head": True, "size": 1}, {"head": False, "size": 0}], "areas": [{"top": None}, {"top": 0}]}
    own = memory_map.MemoryMap("pages", "head", "size", zone="", lists="areas", head="top", owner="owner")
    trace = Trace("s", {}, (Step("", {}, (), None, state),))
    assert "free 0-1" in texts(shapes(svg.svg(trace, svg.Options(own))))
    assert "free 0-1" not in texts(shapes(svg.svg(trace)))


# --- zones and slabs ---------------------------------------------------------------------------------------------


def linked(records: list[dict[str, Any]], heads: list[int], ends: dict[str, Any], **fields: Any) -> None:
    """Put records on a list, both ways."""
    ends.update(first=heads[0], last=heads[-1])
    for previous, head, following in zip([None, *heads], heads, [*heads[1:], None], strict=False):
        records[head].update(prev=previous, next=following, **fields)


def page_records(count: int) -> list[dict[str, Any]]:
    return [{"buddy": False, "order": 0, "next": None, "prev": None, "refcount": 0} for _ in range(count)]


def empty_list() -> dict[str, Any]:
    return {"first": None, "last": None}


def zones_state() -> dict[str, Any]:
    """Two zones of 8 and 7 pages, three migrate types, two cpus with pages of orders 0 and 1."""
    pages, zones = page_records(16), []
    for _ in range(2):
        areas = [{"free_list": [empty_list() for _ in range(3)], "nr_free": 0} for _ in range(3)]
        cpus = [{"count": 0, "high": 4, "lists": [empty_list() for _ in range(6)]} for _ in range(2)]
        zones.append({"free_area": areas, "watermark": [1, 2, 3], "per_cpu_pageset": cpus})
    for zone, order, kind, heads in [(0, 2, 1, [4]), (0, 0, 0, [3]), (1, 1, 1, [10]), (1, 1, 2, [14]), (1, 0, 1, [9])]:
        area = zones[zone]["free_area"][order]
        linked(pages, heads, area["free_list"][kind], buddy=True, order=order)
        area["nr_free"] += len(heads)
    for zone, cpu, index, heads, count in [(0, 0, 0, [1, 0], 2), (1, 1, 5, [12], 2)]:
        linked(pages, heads, zones[zone]["per_cpu_pageset"][cpu]["lists"][index])
        zones[zone]["per_cpu_pageset"][cpu]["count"] = count
    block: list[dict[str, Any]] = [{"order": None, "owned": False} for _ in range(16)]
    block[2], block[8] = {"order": 0, "owned": True}, {"order": 0, "owned": True}
    return {"pages": {"memory": {"mem_map": pages, "pageblock_flags": [0, 1, 1, 2]}, "zone": zones}, "block": block}


ZONES = {"pages": 8, "start1": 8, "pages1": 7, "pageblock_order": 2, "pcp_types": 3, "pcp_orders": 2}


def test_map_of_several_zones_and_types() -> None:
    state = zones_state()
    here = memory_map.BUDDY.within(state)
    assert here is not None
    memory = memory_map.read(state, here, ZONES)
    assert memory.zones == ((0, 8, 0), (8, 15, 1))
    assert memory.covers == ("pcp", "pcp", "held", *["free"] * 5, "held", *["free"] * 3, "pcp", "pcp", "free", "free")
    assert [(area.zone, area.remarks, area.unlisted) for area in memory.areas_of(1)] == [(1, (), ())]
    shown = memory.areas_of(1)[0].shown()
    assert [(free_list.name, [link.page for link in free_list.links]) for free_list in shown] == [
        ("movable", [10]), ("reclaimable", [14])]
    assert [area.lists[5].name for area in memory.areas_of_cpu(1)] == ["order 1 reclaimable"]
    assert list(memory.pageblocks(ZONES)) == [
        (0, 4, 0), (4, 8, 1), (8, 12, 1), (12, 16, 2)]
    state["pages"]["zone"][1]["free_area"][1]["nr_free"] = 1
    state["pages"]["zone"][1]["per_cpu_pageset"][1]["count"] = 1
    state["pages"]["memory"]["mem_map"][3]["next"] = 10
    broken = memory_map.read(state, here, ZONES)
    assert broken.areas_of(1)[0].remarks == ("nr_free is 1, listed 2",)
    assert broken.areas_of_cpu(1)[0].remarks == ("count is 1, listed 2",)
    (area, _) = broken.areas_of(0)
    assert area.lists[0].links[1].remark == "order 1"
    assert area.lists[0].remarks == ("last is 3, the walk ends at 10",)


def zones_trace() -> Trace:
    before, after = zones_state(), zones_state()
    after["pages"]["zone"][1]["free_area"][1]["nr_free"] = 1
    elements = (("zone", 1), ("order", 1), ("pageblock", 3))
    steps = (Step("", {}, (), None, before), Step("free", {}, (), None, after))
    return Trace("zone", ZONES, steps, Violation("B7", "nr_free is the length", "invariant", elements))


def test_picture_of_several_zones() -> None:
    sorts = {"pages.memory.pageblock_flags[]": ("pageblock",), "pages.zone[].watermark[]": ("zone", "watermark")}
    elements = shapes(svg.svg(zones_trace(), svg.Options(dimension_sorts=sorts)))
    assert {"▶order 1", "nr_free=1", "nr_free is 1, listed 2"} <= red_texts(elements)
    assert {"zone 0", "zone 1", "unmovable", "reclaimable", "pcp 1", "pcp 12-13", "count=2"} <= set(texts(elements))
    red = [element.findtext("{*}title") for element in elements
           if element.tag.endswith("rect") and element.attrib.get("stroke") == svg.RED]
    assert {"zone 1", "reclaimable"} <= set(red)
    assert not {"zone 0", "movable"} & set(red)
    assert "pages.zone[1].watermark" in texts(elements)


def slub_state(pages: int = 4, slots: int = 3, caches: int = 1) -> dict[str, Any]:
    """Two cpus, one node, and no slab."""
    slab = {"slab_cache": None, "next": None, "prev": None, "slabs": 0, "freelist": None, "inuse": 0, "objects": 0,
            "frozen": False}
    cache = {"alive": True, "oo": {"order": 0, "objects": slots}, "min_partial": 1, "refcount": 1,
             "cpu_slab": [{"freelist": None, "tid": 0, "slab": None, "partial": None} for _ in range(2)],
             "node": [{"first": None, "last": None, "nr_partial": 0, "nr_slabs": 0}]}
    zone = {"free_area": [{"free_list": [empty_list()], "nr_free": 0} for _ in range(2)], "nr_free_pages": 0}
    return {
        "pages": {"memory": {"mem_map": page_records(pages), "pageblock_flags": [0]}, "zone": [zone]},
        "kmem_cache": [copy.deepcopy(cache) for _ in range(caches)], "slab": [dict(slab) for _ in range(pages)],
        "freepointer": [None] * (pages * slots), "held": [None] * (pages * slots),
        "held_large": [False] * pages,
    }


def chain(state: dict[str, Any], objects: list[int]) -> int | None:
    """Link free objects; gives the first."""
    for one, other in zip(objects, [*objects[1:], None], strict=False):
        state["freepointer"][one] = other
    return objects[0] if objects else None


def add_slab(
    state: dict[str, Any], page: int, free: list[int], inuse: int, frozen: bool, held: list[int], cache: int = 0
) -> None:
    slots = len(state["freepointer"]) // len(state["slab"])
    state["slab"][page].update(slab_cache=cache, freelist=chain(state, free), inuse=inuse, objects=slots, frozen=frozen)
    for object in held:
        state["held"][object] = cache


def good_slabs() -> dict[str, Any]:
    """A cpu slab with its freelist, a cpu partial slab, a node partial slab, a free page."""
    state = slub_state()
    cpus, node = state["kmem_cache"][0]["cpu_slab"], state["kmem_cache"][0]["node"][0]
    add_slab(state, 0, [], 3, True, [0])
    cpus[0].update(slab=0, freelist=chain(state, [2, 1]), tid=3)
    add_slab(state, 1, [4, 3], 1, True, [5])
    cpus[1].update(partial=1, tid=2)
    add_slab(state, 2, [7], 2, False, [6, 8])
    node.update(first=2, last=2, nr_partial=1, nr_slabs=3)
    zone = state["pages"]["zone"][0]
    linked(state["pages"]["memory"]["mem_map"], [3], zone["free_area"][0]["free_list"][0], buddy=True)
    zone["free_area"][0]["nr_free"] = zone["nr_free_pages"] = 1
    return state


def bad_slabs() -> dict[str, Any]:
    """Object 1 was freed although it is on cpu 0's freelist, and object 0 is nowhere."""
    state = good_slabs()
    state["held"][0] = None
    state["slab"][0].update(freelist=1, inuse=2)
    return state


def slab_trace(*states: dict[str, Any], elements: tuple[tuple[str, int], ...] = (("object", 1),)) -> Trace:
    steps = [Step("", {}, (), None, states[0])]
    steps += [Step("kmem_cache_free", {"cpu": 1, "object": 1}, (), None, state) for state in states[1:]]
    violation = Violation("S3", "an object is in one place", "invariant", elements)
    return Trace("slub", {"pages": 4, "slots": 3}, tuple(steps), violation)


def slab_views(state: dict[str, Any]) -> dict[int, slab_map.SlabView]:
    here = slab_map.SLUB.within(state)
    assert here is not None
    return {slab.page: slab for view in slab_map.caches(state, here) for slab in view.slabs()}


def test_slabs_are_read() -> None:
    state = good_slabs()
    here = slab_map.SLUB.within(state)
    assert here is not None
    (cache,) = slab_map.caches(state, here)
    places = [(owner.label, slabs.heading, [slab.page for slab in slabs.slabs])
              for owner in cache.owners for slabs in owner.lists]
    assert places == [("cpu 0", "slab", [0]), ("cpu 0", "partial", []), ("cpu 1", "slab", []),
                      ("cpu 1", "partial", [1]), ("node 0", "partial", [2])]
    views = slab_views(state)
    assert {page: [cell.kind for cell in view.cells] for page, view in views.items()} == {
        0: ["held", "cpu", "cpu"], 1: ["free", "free", "held"], 2: ["held", "free", "held"]}
    assert [freelist.objects for freelist in views[0].freelists] == [(2, 1), ()]
    assert not any(view.remarks for view in views.values())
    kinds = [cell.kind for cell in slab_views(bad_slabs())[0].cells]
    assert kinds == ["lost", "twice", "cpu"]
    assert slab_map.touched(state, bad_slabs(), here) == {0, 1}
    state["pages"]["memory"]["mem_map"][1]["compound"] = 1
    state["held_large"][3] = True
    memory = memory_map.read(state, memory_map.BUDDY.within(state) or memory_map.BUDDY)
    assert memory.covers == ("slab", "slab", "twice", "twice")
    assert slab_views(state)[1].label() == "slab 1-2"


def test_broken_slabs_are_read() -> None:
    """A freelist that loops, one that leaves its slab, a pointer to nothing, a slab on two lists, a wrong inuse."""
    state = good_slabs()
    state["freepointer"][3] = 4
    state["freepointer"][7] = 5
    state["kmem_cache"][0]["node"][0].update(first=2, last=1, nr_partial=1)
    state["slab"][2]["next"] = 1
    state["slab"][1]["prev"] = 0
    state["kmem_cache"][0]["cpu_slab"][0].update(freelist=99)
    state["slab"][0]["inuse"] = 2
    views = slab_views(state)
    assert views[0].remarks == ("objects 1, 2 are lost: on no freelist, not held", "inuse is 2, should be 3")
    assert views[1].remarks == (
        "object 5 is on freelist of slab 2 and held", "freelist of slab 1 loops back to 4",
        "in 2 places: cpu 1 partial, node 0 partial")
    assert views[2].remarks == (
        "its freelist leads to object 5 of page 1", "inuse is 2, should be 1")
    here = slab_map.SLUB.within(state)
    assert here is not None
    (cache,) = slab_map.caches(state, here)
    assert cache.owners[2].lists[0].remarks == ("prev of 1 is 0", "nr_partial is 1, listed 2")
    assert cache.owners[0].freelist is not None
    assert cache.owners[0].freelist.wrong == "leads to 99, no object"
    state["kmem_cache"][0]["cpu_slab"][1].update(slab=3)
    assert slab_views(state)[3].remarks == ("no slab",)


def test_slab_picture_shows_the_object_on_two_freelists() -> None:
    trace = slab_trace(slub_state(), good_slabs(), bad_slabs())
    drawn = shapes(svg.svg(trace))
    found = red_texts(drawn)
    assert {"1", "object 1 is on freelist of slab 0 and freelist of cpu 0"} <= found
    assert not {"7", "slab 0", "slab 1", "cpu 0"} & found
    hints = [element.findtext("{*}title") for element in drawn
             if element.tag.endswith("rect") and element.attrib.get("stroke") == svg.RED]
    assert sorted(hint for hint in hints if hint) == ["object 0: object in no place", "object 1: object in two places"]
    elements = (("page", 1), ("slot", 2), ("cpu", 1), ("node", 0))
    named = red_texts(shapes(svg.svg(slab_trace(good_slabs(), elements=elements))))
    assert {"5", "slab 1", "▶cpu 1", "▶node 0"} <= named
    assert not {"3", "8", "slab 0", "slab 2", "cpu 0"} & named
    source = dot.dot(trace)
    assert source.count("1 twice*") == 1
    assert "freelist of cpu 0" in source


def test_slab_pages_that_stay_are_not_drawn_again() -> None:
    found = texts(shapes(svg.svg(slab_trace(slub_state(), good_slabs(), bad_slabs(), bad_slabs()))))
    assert found.count("pages as before") == 1


def test_large_slabs_and_many_caches() -> None:
    """Small cells and freelists in words; of many caches only those that the step changed."""
    state = slub_state(pages=8, slots=64, caches=20)
    add_slab(state, 2, list(range(191, 171, -1)), 44, False, list(range(128, 172)), cache=7)
    state["kmem_cache"][7]["node"][0].update(first=2, last=2, nr_partial=1)
    found = texts(shapes(svg.svg(slab_trace(slub_state(8, 64, 20), state, elements=(("object", 180),)))))
    assert "freelist: 191 → 190 → 189 → 188 → 187 → 186 → 185 → 184 → … 12 more" in found
    assert "19 caches are not drawn: unused, or the step does not change them" in found
    assert "cache 7" in found
    assert not {"cache 6", "180"} & set(found)


def test_of_a_long_list_only_what_matters_is_drawn() -> None:
    def partial(freed: int | None) -> dict[str, Any]:
        state = slub_state(pages=40)
        for page in range(30):
            add_slab(state, page, [3 * page], 2, False, [3 * page + 1, 3 * page + 2])
        if freed is not None:
            state["held"][freed] = None
        linked(state["slab"], list(range(30)), state["kmem_cache"][0]["node"][0])
        state["kmem_cache"][0]["node"][0]["nr_partial"] = 30
        return state

    found = texts(shapes(svg.svg(slab_trace(partial(None), partial(61), elements=(("object", 61),)))))
    assert [words for words in found if words.endswith("more …")] == ["… 28 more …", "… 19 more …", "… 8 more …"]
    assert [words for words in found if words.startswith("inuse")].count("inuse 2/3") == 5
    assert "object 61 is lost: on no freelist, not held" in found


@pytest.mark.parametrize("seed", range(4))
def test_any_slabs_are_drawn(seed: int) -> None:
    """Random and impossible values are drawn, not trusted, and nothing is cut off or written over."""
    chance = random.Random(seed)
    odd = [None, -1, 0, 1, 2, 3, 5, 7, 11, 12, 2**64, True, "a\x1b<b>"]
    for _ in range(12):
        state = good_slabs()
        cache = state["kmem_cache"][0]
        for record in (*state["slab"], *cache["cpu_slab"], *cache["node"]):
            for field in record:
                if chance.random() < 0.2:
                    record[field] = chance.choice(odd)
        for array in (state["freepointer"], state["held"]):
            for index in range(len(array)):
                if chance.random() < 0.3:
                    array[index] = chance.choice(odd)
        trace = slab_trace(good_slabs(), state, elements=(("object", chance.randrange(12)), ("slab", 1), ("cpu", 5)))
        well_placed(shapes(svg.svg(trace)))
        table.text(trace)
        dot.dot(trace)


# --- hostile names -----------------------------------------------------------------------------------------------

HOSTILE = ['"><script>alert(1)</script>', "\\N \\G \\l", "a\nb\r\x00\x1b[31m", "ünï \u202e \U0001f4a5 漢",
           "]]>--><!--&amp;", '">];digraph{x->y}', "x" * 5000, "[bold]:smile:[/]", "\ud800",
           "<B>", "steps:order1", "{|}"]


def hostile_trace(name: str) -> Trace:
    def state(value: Any) -> dict[str, Any]:
        return {name: value, "zone": {name: [value, name]}, "list": [{name: value}, {name: name}]}

    steps = (Step("", {}, (), None, state(1)), Step(name, {name: name}, (1,), name, state(2)))
    violation = Violation(name, name, name, ((name, 1),), name, name)
    return Trace(name, {name: 2}, steps, violation, name, name, notes=(name,))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str, tmp_path: Path) -> None:
    trace = hostile_trace(name)
    shapes(svg.svg(trace))
    text = table.text(trace, table.Options(file=name))
    assert all(line.isprintable() for line in text.splitlines())
    text.encode()
    source = dot.dot(trace)
    assert "script>" not in source
    defaults = ("\tgraph", "\tnode", "\tedge")
    first_words = [line.split()[0] for line in source.splitlines() if not line.startswith(defaults)]
    assert first_words == ["digraph", "steps", "}"]
    verdict = Verdict(name, name, Outcome.VIOLATED, name, trace=trace)
    assert all(line.isprintable() for line in report.plain(report.verdict_table([verdict])).splitlines())
    render.render(trace, tmp_path / "a.svg")
    ElementTree.parse(tmp_path / "a.svg")


@needs_dot
@pytest.mark.parametrize("name", [*NAMES, *HOSTILE[:6]])
def test_dot_accepts_the_graph(name: str, tmp_path: Path) -> None:
    trace = expected(name) if name in NAMES else hostile_trace(name)
    source = dot.dot(trace)
    done = subprocess.run(["dot", "-Tsvg"], input=source.encode(), capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    nodes = re.findall(rb'class="node"', done.stdout)
    assert len(nodes) == (1 if name not in ("views_overlap", "views_broken") else len(nodes))
    assert b"<script" not in done.stdout
    render.render(trace, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_render_by_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = expected("views_overlap")
    for suffix, start in [("svg", "<svg"), ("dot", "digraph"), ("txt", "buddy"), ("json", "{"), ("itf.json", "{")]:
        file = tmp_path / f"picture.{suffix}"
        render.render(trace, file)
        assert file.read_text().startswith(start)
    assert trace_file.load_trace(tmp_path / "picture.itf.json") == trace
    with pytest.raises(InputError, match="suffix"):
        render.render(trace, tmp_path / "picture.bmp")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"needs Graphviz.*write \.svg"):
        render.render(trace, tmp_path / "picture.png")
    render.render(trace, tmp_path / "still.svg")
    fake = tmp_path / "dot"
    fake.write_text("#!/bin/sh\necho 'Error: \033[31m no' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(InputError, match="`dot` failed: Error"):
        render.render(trace, tmp_path / "picture.png")
