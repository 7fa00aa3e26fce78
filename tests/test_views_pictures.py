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
from kmemspec.views import dot, memory_map, render, report, svg, table, trace_file, trace_json
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


@pytest.mark.parametrize("name", NAMES)
def test_svg(name: str) -> None:
    """Well formed, inside its own view box, no two texts of one row over each other, culprits named and red."""
    trace = expected(name)
    elements = shapes(svg.svg(trace))
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
    assert trace.violation is not None
    assert f"✗ {table.headline(trace.violation)}" in texts(elements)
    assert f"▼ {table.elements_text(trace.violation)}" in texts(elements)


def red_texts(elements: list[ElementTree.Element]) -> set[str]:
    found = [element for element in elements if element.tag.endswith("text") and svg.RED in element.attrib["style"]]
    return set(texts(found))


def test_svg_shows_the_overlap_in_red() -> None:
    found = red_texts(shapes(svg.svg(expected("views_overlap"))))
    assert {"free 0-3", "held 3", "3", "✗ violates it here"} <= found
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
        for page in state["zone"]["mem_map"]:
            for field in ("order", "next", "prev", "buddy"):
                if chance.random() < 0.4:
                    page[field] = chance.choice(odd)
        for area in state["zone"]["free_area"]:
            for field in area:
                if chance.random() < 0.4:
                    area[field] = chance.choice(odd)
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
    assert [link.page for link in memory.lists[2].links] == [4, 8, 0]
    assert memory.lists[2].links[1].prev == 1
    assert memory.lists[2].links[2].remark == "order 0"
    assert memory.cover(10) == "twice"
    assert memory.cover(9) == "free"


def test_large_map_repeats_the_culprit_enlarged() -> None:
    page = {"buddy": False, "order": 0, "next": None, "prev": None}
    state = {"zone": {"mem_map": [dict(page) for _ in range(1024)],
                      "free_area": [{"first": None, "last": None, "nr_free": 0} for _ in range(11)]},
             "held": [0] * 1024}
    state["held"][517] = None
    violation = Violation("B1", "every page is in a block", "invariant", (("page", 517),))
    trace = Trace("buddy", {"pages": 1024}, (Step("", {}, (), None, state),), violation)
    elements = shapes(svg.svg(trace))
    assert any("enlarged" in text for text in texts(elements))
    assert {"517", "page 517"} <= red_texts(elements)
    assert float(elements[0].attrib["width"]) < 1400


def test_own_names_for_the_map() -> None:
    state = {"pages": [{"head": True, "size": 1}, {"head": False, "size": 0}], "areas": [{"top": None}, {"top": 0}]}
    own = memory_map.MemoryMap(pages="pages", flag="head", order="size", lists="areas", head="top", owner="owner")
    trace = Trace("s", {}, (Step("", {}, (), None, state),))
    assert "free 0-1" in texts(shapes(svg.svg(trace, svg.Options(own))))
    assert "free 0-1" not in texts(shapes(svg.svg(trace)))


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
