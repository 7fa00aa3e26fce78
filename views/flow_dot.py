"""A flow chart in DOT: a cluster for each function, decisions as diamonds, calls as dashed arrows between clusters.

The one idea: what a learner looks for has a shape of its own, and colour only repeats it: the deeper a function is in
calls, the further the path is from the fast one. Texts go through `markup`, node names are ours.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from typing import TYPE_CHECKING

from .flow import Box, Chart, Node
from .text import markup

if TYPE_CHECKING:
    from graphviz import Digraph  # type: ignore[import-untyped]

STEP_WIDTH, DECISION_WIDTH, TITLE_WIDTH = 46, 24, 58
STEP_LINES, DECISION_LINES = 7, 4
"""Of more lines than these the rest is counted, not shown, unless everything is asked for."""

DEPTHS = ("#e3f1e1", "#fdf3d3", "#fde4cf", "#f8d7da", "#e6dcf2", "#d9e6f7")
"""Fill of a box by its depth in calls."""
ASPECT = 1.5
"""Width to height of the whole picture, as far as it can be chosen."""
INK, QUIET, CALL, BACK = "#1c1c1c", "#5c5c5c", "#7a3db8", "#1f5fae"
ENDS = "#3d7a3a"


def dot(chart: Chart, detail: bool = False) -> str:
    """The chart's DOT text."""
    return str(graph(chart, detail).source)


def graph(chart: Chart, detail: bool = False) -> Digraph:
    """The chart, for the graphviz package to render."""
    from graphviz import Digraph

    whole = Digraph(
        "flow",
        graph_attr={
            "label": f"<{_heading(chart)}>", "labelloc": "t", "labeljust": "l", "fontname": "sans-serif",
            "compound": "true", "newrank": "true", "nodesep": "0.25", "ranksep": "0.32", "pad": "0.2",
        },
        node_attr={"fontname": "sans-serif", "fontsize": "11", "color": INK, "margin": "0.10,0.05", "height": "0.3"},
        edge_attr={"fontname": "sans-serif", "fontsize": "10", "arrowsize": "0.7", "color": INK},
    )
    places = {box.name: number for number, box in enumerate(chart.boxes)}
    for number, box in enumerate(chart.boxes):
        with whole.subgraph(name=f"cluster_{number}") as inside:
            _box(inside, box, number, places, detail)
    for number, box in enumerate(chart.boxes):
        for node in box.nodes:
            if node.callee is not None:
                target = places[node.callee]
                whole.edge(
                    _name(number, node.number), _entry(chart, target), style="dashed", color=CALL, penwidth="1.3",
                    lhead=f"cluster_{target}", constraint="false",
                )
    _arrange(whole, chart)
    return whole


def _entry(chart: Chart, number: int) -> str:
    return _name(number, chart.boxes[number].nodes[0].number)


def _arrange(whole: Digraph, chart: Chart) -> None:
    """Columns of boxes, the first of each in one row: invisible edges, which is how `dot` is told."""
    columns = arrange([_extent(box) for box in chart.boxes], _in_order_of_calls(chart))
    with whole.subgraph() as row:
        row.attr(rank="same")
        for left, right in pairwise(columns):
            row.edge(_entry(chart, left[0]), _entry(chart, right[0]), style="invis")
    for column in columns:
        for upper, lower in pairwise(column):
            for node in _ends(chart.boxes[upper]):
                whole.edge(_name(upper, node), _entry(chart, lower), style="invis", minlen="2")


def arrange(extents: Sequence[tuple[float, float]], order: Sequence[int]) -> list[list[int]]:
    """Boxes of these widths and heights in columns, in this order, so that the whole has about the ASPECT wanted."""
    best: tuple[float, list[list[int]]] = (float("inf"), [])
    tallest = max(height for _, height in extents)
    for limit in sorted({tallest} | {tallest + step * tallest / 4 for step in range(1, 24)}):
        columns: list[list[int]] = []
        height = limit + 1
        for number in order:
            if height + extents[number][1] > limit:
                columns.append([])
                height = 0
            columns[-1].append(number)
            height += extents[number][1]
        wide = sum(max(extents[number][0] for number in column) for column in columns)
        high = max(sum(extents[number][1] for number in column) for column in columns)
        best = min(best, (abs(log(wide / high / ASPECT)), columns), key=lambda item: item[0])
    return best[1]


def _in_order_of_calls(chart: Chart) -> list[int]:
    """The boxes so that a callee comes soon after its first caller."""
    places = {box.name: number for number, box in enumerate(chart.boxes)}
    order: dict[int, None] = {}
    todo = [number for number, box in enumerate(chart.boxes) if box.depth == 0][::-1]
    while todo:
        number = todo.pop()
        if number not in order:
            order[number] = None
            todo += [places[node.callee] for node in chart.boxes[number].nodes if node.callee is not None][::-1]
    return list(order)


def _levels(box: Box) -> dict[int, int]:
    """How far down each node of a box is."""
    level = dict.fromkeys((node.number for node in box.nodes), 0)
    for _ in box.nodes:
        for edge in box.edges:
            if not edge.back:
                level[edge.end] = max(level[edge.end], level[edge.start] + 1)
    return level


def _ends(box: Box) -> list[int]:
    level = _levels(box)
    return [number for number in level if level[number] == max(level.values())][:1]


def _extent(box: Box) -> tuple[float, float]:
    """About how wide and high `dot` will draw a box, in points."""
    level = _levels(box)
    most = max(sum(1 for number in level if level[number] == row) for row in set(level.values()))
    return 60 + 210.0 * most, 90 + 76.0 * (1 + max(level.values()))


def _heading(chart: Chart) -> str:
    legend = (
        f'<FONT COLOR="{QUIET}" POINT-SIZE="11">'
        f'a box is a function; <FONT COLOR="{CALL}"><B>- - &gt; number</B></FONT>: '
        'the function that is called, then the caller goes on; '
        f'<FONT COLOR="{BACK}"><B>&#8594;</B> next turn of a loop</FONT>; '
        f'<FONT COLOR="{ENDS}"><B>bold outline</B></FONT>: the function ends here</FONT>'
    )
    return f'<B>{_safe(chart.title)}</B><BR ALIGN="LEFT"/>{legend}<BR ALIGN="LEFT"/>'


def _box(inside: Digraph, box: Box, number: int, places: Mapping[str, int], detail: bool) -> None:
    rows = [f'<B><FONT POINT-SIZE="15">{number + 1}. {_safe(box.name)}()</FONT></B>']
    rows += [f'<FONT COLOR="{QUIET}" POINT-SIZE="11">{_safe(line)}</FONT>'
             for line in textwrap.wrap(box.title, TITLE_WIDTH)[:3]]
    cells = "".join(f'<TR><TD ALIGN="LEFT">{row}</TD></TR>' for row in rows)
    label = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{cells}</TABLE>'
    inside.attr(
        label=f"<{label}>", style="filled,rounded", fillcolor=DEPTHS[min(box.depth, len(DEPTHS) - 1)], color="#9a9a9a",
        margin="10", labeljust="l",
    )
    for node in box.nodes:
        inside.node(_name(number, node.number), _label(node, places, detail), **_shape(node))
    for edge in box.edges:
        style = {"color": BACK, "fontcolor": BACK, "constraint": "false", "penwidth": "1.3"} if edge.back else {}
        if edge.label:
            style["label"] = f" {edge.label} "
        inside.edge(_name(number, edge.start), _name(number, edge.end), **style)


def _name(box: int, node: int) -> str:
    return f"box{box}_{node}"


def _shape(node: Node) -> dict[str, str]:
    if node.kind == "decision":
        return {"shape": "diamond", "style": "filled", "fillcolor": "#ffffff", "margin": "0.0,0.0", "fontsize": "10"}
    if node.kind == "end":
        return {"shape": "box", "style": "filled,rounded", "fillcolor": "#ffffff", "color": ENDS, "penwidth": "2.2"}
    style = {"shape": "box", "style": "filled,rounded" if node.returns else "filled", "fillcolor": "#ffffff"}
    if node.returns:
        style |= {"color": ENDS, "penwidth": "2.2"}
    if node.kind == "call":
        style |= {"fillcolor": "#f3e9fb", "color": ENDS if node.returns else CALL}
    if node.kind == "summary":
        style |= {"peripheries": "2", "fillcolor": "#f3f3f3"}
    return style


def _label(node: Node, places: Mapping[str, int], detail: bool) -> str:
    width = DECISION_WIDTH if node.kind == "decision" else STEP_WIDTH
    limit = DECISION_LINES if node.kind == "decision" else STEP_LINES
    lines: list[tuple[str, bool]] = []
    for position, text in enumerate(node.lines):
        wrapped = _wrapped(text, width)
        quiet = text.endswith(":") or (node.kind == "summary" and position == len(node.lines) - 1 and position > 0)
        lines += [(line if not place else ("  " * (node.kind != "decision") + line), quiet)
                  for place, line in enumerate(wrapped)]
    if len(lines) > limit + 1 and not detail:
        hidden = len(lines) - limit
        lines = [*lines[:limit], (f"… {hidden} more lines", True)]
    ending = "<BR/>" if node.kind in ("decision", "end") else '<BR ALIGN="LEFT"/>'
    bold = node.kind in ("call", "summary")
    shown = [
        f'<FONT COLOR="{QUIET}">{_safe(line)}</FONT>' if quiet else f"<B>{_safe(line)}</B>" if bold else _safe(line)
        for line, quiet in lines
    ]
    if node.callee is not None:
        shown[-1] += f' <FONT COLOR="{CALL}">&#8594;&#160;{places[node.callee] + 1}</FONT>'
    return f"<{''.join(line + ending for line in shown)}>"


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of about this width: broken at spaces, or after an opening bracket where there is none in time."""
    lines = [""]
    for word in text.split(" "):
        parts = re.findall(r"[^([]+[([]*|[([]+", word) if len(word) > width else [word]
        for position, part in enumerate(parts):
            space = " " if lines[-1] and not position else ""
            if lines[-1] and len(lines[-1]) + len(space) + len(part) > width:
                lines.append(part)
            else:
                lines[-1] += space + part
    return lines


def _safe(text: str) -> str:
    return markup(text, 400).replace("\\", "&#92;").replace("  ", "&#160;&#160;")
