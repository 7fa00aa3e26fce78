"""Flow charts: what is drawn of a small machine, words for every branch of the built-in ones, hostile texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.specs.loading import BUILT_IN, Loaded, load
from kmemspec.views import flow, flow_dot, render

MACHINE = '''
"""A stack of cells (Linux 6.1, mm/stack.c)."""
from __future__ import annotations
from typing import Annotated
from kmemspec.model.lang import (
    GHOST, Array, FromScope, Parameter, Range, Record, Sort, Spec, action, bounded, invariant, require)

Cell = Annotated[int, Sort("cell", "cells")]


class Pool(Record):
    """A pool."""
    first: Cell | None
    batch: Annotated[int, FromScope("batch")]
    next: Array[Cell, Cell | None]
    count: Annotated[int, Range(0, "cells")]
    held: Annotated[Array[Cell, bool], GHOST]


def uses_batch(pool: Pool) -> bool:
    """Whether there are batches."""
    return pool.batch > 1


def push(pool: Pool, cell: int) -> None:
    """A helper."""
    pool.next[cell] = pool.first
    pool.first = cell


def pop(pool: Pool) -> Cell | None:
    """Take <one> & "go"; escape \\\\N {here} |."""
    cell = pool.first
    if cell is not None:
        pool.first = pool.next[cell]
    return cell


@bounded("cells")
def refill(pool: Pool, wanted: int) -> Cell | None:
    """Fill the pool a batch at a time."""
    for cell in range(wanted):
        if cell == 1:
            continue
        push(pool, cell)
    # found:
    return pop(pool)


@action
def take(pool: Pool, wanted: Cell) -> Cell | None:
    """A client takes a cell (kmem_take())."""
    rest = pool
    assert wanted >= 0, "an assert is not drawn"
    if uses_batch(rest) and wanted > 0:
        cell = refill(rest, wanted)
    else:
        cell = pop(rest)
    if cell is None:
        return None
    rest.held[cell] = True
    rest.count = 1
    rest.count = 0
    return cell


def init(pool: Pool) -> None:
    """Nothing is free."""
    pool.first = None


@invariant("I1")
def counted(pool: Pool) -> bool:
    """There is a count."""
    return pool.count >= 0


SPEC = Spec("stack", Pool, init, (take,), (counted,), (Parameter("cells", 3, "cells"), Parameter("batch", 2, "batch")),
            flows={"alloc": (take,)})
'''


@pytest.fixture
def stack(tmp_path: Path) -> Loaded:
    (tmp_path / "stack.py").write_text(MACHINE)
    return load(str(tmp_path / "stack.py"))


def drawn(loaded: Loaded, **settings: object) -> dict[str, flow.Box]:
    options = flow.Options(**settings)  # type: ignore[arg-type]
    actions, _ = flow.actions_of(loaded.spec, loaded.program, "alloc")
    return {box.name: box for box in flow.chart(loaded.program, actions, "stack", options).boxes}


def shape(box: flow.Box) -> list[tuple[str, ...]]:
    """Each edge as (lines of its start, label, lines of its end)."""
    lines = {node.number: " / ".join(node.lines) for node in box.nodes}
    return [(lines[edge.start], edge.label + ("^" if edge.back else ""), lines[edge.end]) for edge in box.edges]


def test_an_action(stack: Loaded) -> None:
    boxes = drawn(stack)
    assert list(boxes) == ["take", "refill"]
    assert boxes["take"].title == "A client takes a cell (kmem_take())."
    assert sorted(shape(boxes["take"])) == sorted([
        ("uses_batch() and wanted > 0", "yes", "cell = refill(wanted)"),
        ("uses_batch() and wanted > 0", "no", "cell = pop()"),
        ("cell = refill(wanted)", "", "cell is None"),
        ("cell = pop()", "", "cell is None"),
        ("cell is None", "yes", "return None"),
        ("cell is None", "no", "rest.count = 1 / rest.count = 0 / return cell"),
    ])
    kinds = {node.lines[0]: (node.kind, node.returns, node.callee) for node in boxes["take"].nodes}
    assert kinds["cell = refill(wanted)"] == ("call", False, "refill")
    assert kinds["cell = pop()"] == ("steps", False, None)
    assert kinds["rest.count = 1"] == ("steps", True, None)


def test_a_loop_and_a_label(stack: Loaded) -> None:
    assert sorted(shape(drawn(stack)["refill"])) == sorted([
        ("for cell in range(wanted)", "each", "cell == 1"),
        ("for cell in range(wanted)", "done", "found: / return pop()"),
        ("cell == 1", "yes^", "for cell in range(wanted)"),
        ("cell == 1", "no", "push(cell)"),
        ("push(cell)", "^", "for cell in range(wanted)"),
    ])


def test_depth_detail_and_scope(stack: Loaded) -> None:
    summary = next(node for node in drawn(stack, depth=0)["take"].nodes if node.kind == "summary")
    assert summary.lines == ("cell = refill(wanted)", "Fill the pool a batch at a time.")
    assert list(drawn(stack, detail=True)) == ["take", "refill", "pop", "push"]
    assert "assert wanted >= 0" in drawn(stack, detail=True)["take"].nodes[0].lines[1]
    batches = drawn(stack, sizes=stack.spec.resolve({"batch": 2}))
    assert "refill" in batches
    none = drawn(stack, sizes=stack.spec.resolve({"batch": 1}))
    assert list(none) == ["take"]
    assert shape(none["take"])[0][0] == "cell = pop()"


def test_texts_are_escaped(stack: Loaded) -> None:
    actions, _ = flow.actions_of(stack.spec, stack.program, "take")
    title = '<b>"\\N\x1b[31m'
    source = flow_dot.dot(flow.chart(stack.program, actions, title, flow.Options(detail=True)))
    assert "&lt;b&gt;&quot;&#92;N&#92;x1b[31m" in source
    assert "Take &lt;one&gt; &amp; &quot;go&quot;; escape &#92;N {here} |." in source
    if shutil.which("dot"):
        assert render.run_dot(source, "svg").count(b'class="cluster"') == 4


@pytest.mark.parametrize("target", BUILT_IN)
def test_words_for_every_branch(target: str) -> None:
    """Every decision of the IR is drawn once, with its question; every box is entered, every node can be reached."""
    loaded = load(target)
    functions = loaded.program.functions.values()
    for action in loaded.program.actions:
        found = flow.chart(loaded.program, (action.name,), "", flow.Options(depth=99, detail=True))
        assert found.boxes[0].name == action.name
        called = {node.callee for box in found.boxes for node in box.nodes}
        assert {box.name for box in found.boxes[1:]} <= called
        for box in found.boxes:
            decisions = [node for node in box.nodes if node.kind == "decision"]
            assert all("?" not in node.lines for node in decisions)
            # A function that wraps one of its name (a system's action its part's) is in one box with it.
            conditions = sum(1 for one in functions if one.source == box.name for _ in one.branches())
            assert len(decisions) <= conditions
            reached, ends = {box.nodes[0].number}, {node.number for node in box.nodes if node.returns}
            for _ in box.nodes:
                reached |= {edge.end for edge in box.edges if edge.start in reached}
            assert reached == {node.number for node in box.nodes}
            assert ends


@pytest.mark.parametrize("target", BUILT_IN)
def test_the_picture_can_be_taken_in(target: str) -> None:
    """Not more boxes than can be read at once, and no wider than three times its height."""
    loaded = load(target)
    for name in loaded.spec.flows:
        actions, named = flow.actions_of(loaded.spec, loaded.program, name)
        found = flow.chart(loaded.program, actions, name, flow.Options(named=named))
        assert len(found.boxes) <= max(flow.BOXES, len(actions) + 5, len(actions) + len(named))
        assert named <= {box.name for box in found.boxes}, "a function that the flow names is called by none it names"
        if shutil.which("dot"):
            plain = render.run_dot(flow_dot.dot(found), "plain").decode().split("\n", 1)[0].split()
            assert float(plain[2]) <= 3.0 * float(plain[3])


def test_names_of_flows(stack: Loaded) -> None:
    with pytest.raises(InputError, match=r"stack has no flow 'nope'; it has: alloc, take"):
        flow.actions_of(stack.spec, stack.program, "nope")
    assert flow.first_flow(stack.spec) == "alloc"
    with pytest.raises(InputError, match=r"blocks has no flows; name an action: --flow NAME"):
        flow.first_flow(load("blocks").spec)


@pytest.mark.parametrize("flows", ['{"x": ()}', '{"x": (pop,)}', '{"x": take}', '{1: (take,)}', "[take]"])
def test_flows_name_actions(flows: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(MACHINE.replace('{"alloc": (take,)}', flows))
    with pytest.raises(InputError, match="the flows of the Spec is not a dict of tuples of actions, then functions"):
        load(str(tmp_path / "wrong.py"))


def test_commands(kmemspec: Callable[..., Any], tmp_path: Path) -> None:
    done = kmemspec("graph", "buddy", "--flow", "alloc", "-o", "alloc.dot")
    assert (done.status, done.err) == (0, "")
    text = (tmp_path / "alloc.dot").read_text()
    assert "rmqueue_smallest()" in text
    assert "expand()" in text
    for arguments, message in (
        (["buddy", "--flow", "nope"], "buddy has no flow 'nope'; it has: alloc, free, alloc_pages, free_pages"),
        (["buddy", "--depth", "2"], "--depth and --detail are for a flow chart; add --flow NAME"),
        (["x.json", "--flow", "alloc"], "--flow does not go with a trace; name a specification"),
        (["buddy", "--flow", "alloc", "-o", "x.jpg"], "a graph has no such form"),
    ):
        done = kmemspec("graph", *arguments)
        assert (done.status, done.out) == (2, "")
        assert message in done.err
    done = kmemspec("graph", "buddy", "--flow", "alloc", "-o", "x.svg", PATH="/nowhere")
    assert done.status == 2
    assert "install the graphviz system package, or write .dot, which needs nothing" in done.err
