"""A machine with no purpose but to use every construct of the language, and to fail in every way it can."""

import enum
from typing import Annotated

from kmemspec import (
    Array,
    Clauses,
    FromScope,
    Machine,
    Parameter,
    Range,
    Record,
    Sort,
    Spec,
    action,
    bounded,
    choose,
    clause,
    indices,
    invariant,
    require,
    signed,
    step_property,
    unsigned,
)

Cell = Annotated[int, Sort("cell", "cells")]
Row = Annotated[int, Sort("row", "rows")]
Small = Annotated[int, Range(-2, "cells")]
Number = Annotated[int, Range(-1000, 1000)]


class Colour(enum.IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2


class Node(Record):
    colour: Colour
    next: Cell | None
    marked: bool


class Shelf(Record):
    node: Array[Cell, Node]


class Table(Shelf):
    room: Annotated[int, FromScope("cells", "cells-1")]
    weight: Array[Colour, Annotated[int, Machine("bits", signed=True)]]


class World(Record):
    limit: Annotated[int, FromScope("cells")]
    table: Array[Row, Table]
    grid: Array[Row, Array[Cell, bool]]
    small: Small
    ticks: Annotated[int, Machine("bits")]
    current: Row | None


def begin(w: World) -> None:
    w.small = choose(range(0, 2))
    for row in indices(w.table):
        for cell in indices(w.table[row].node):
            if cell + 1 < len(w.table[row].node):
                w.table[row].node[cell].next = cell + 1


@bounded("cells")
def chain_length(table: Shelf, start: Cell | None) -> int:
    length = 0
    cell = start
    while cell is not None:
        length += 1
        cell = table.node[cell].next
    return length


def count_marked(table: Table) -> int:
    return sum(1 for cell in indices(table.node) if table.node[cell].marked)


def brightest(w: World, colour: Colour) -> int:
    best = -100
    for row in range(len(w.table) - 1, -1, -1):
        weight = w.table[row].weight[colour]
        if weight < 0 and colour != Colour.RED:
            continue
        if weight == 3:
            return 7
        best = max(best, weight)
    return best


@action
def paint(w: World, row: Row, cell: Cell, colour: Colour) -> Colour:
    node = w.table[row].node[cell]
    old = node.colour
    node.colour = colour
    w.table[row].weight[colour] += 1 if colour == Colour.BLUE else -1
    w.ticks -= 1
    return old


@action
def link(w: World, row: Row, cell: Cell, to: Cell | None) -> bool:
    table = w.table[row]
    table.node[cell].next = to
    shorter = chain_length(table, cell) < 2 and cell < table.room
    if shorter and to is not None:
        table.node[to].marked = not table.node[to].marked
    return shorter


@action
def shift(w: World, amount: Annotated[int, Range(-3, 3)]) -> Number:
    require(amount != 0)
    w.small = (w.small * 3 + amount) // 2
    w.ticks += (w.small % 5) << 1
    return -w.small if w.small < 0 else w.small & 3


@action
def pick(w: World) -> Row | None:
    row = choose(indices(w.table))
    require(w.current is None or w.current != row)
    cell = choose(range(row, w.limit))
    w.grid[row][cell] = not w.grid[row][cell]
    w.current = row if any(w.grid[row][other] for other in indices(w.grid[row])) else None
    return w.current


@action
def jump(w: World) -> Number:
    current: Row | None = w.current
    row = w.table[current].node[0].colour + w.small
    w.table[row].node[row].marked = True
    return unsigned(row - 1, 3) ^ signed(w.ticks, 2)


@action
def divide(w: World, row: Row) -> Number:
    divisor = count_marked(w.table[row]) - 1
    quotient = (brightest(w, Colour.GREEN) * 5) // divisor
    remainder = (7 - w.ticks) % divisor
    assert quotient != 2, "the quotient is two"
    w.small = min(remainder, 1)
    return quotient >> (1 if quotient > 4 else 0)


@action
def sweep(w: World, all_of_them: bool) -> Number:
    done = 0
    for row in indices(w.table):
        for cell in indices(w.table[row].node):
            if not w.table[row].node[cell].marked:
                continue
            if done == 1 and not all_of_them:
                break
            w.table[row].node[cell].marked = False
            done += 1
        else_done = done
        if else_done > 2:
            return else_done
    return done | w.ticks


@invariant("E1")
def marks_are_few(w: World) -> Clauses:
    for row in indices(w.table):
        yield clause("not all are marked", count_marked(w.table[row]) < w.limit, row)
        if w.current is not None and w.current == row:
            yield clause("the current row has a mark", any(w.grid[row][cell] for cell in indices(w.grid[row])), row)


@invariant("E2")
def weights_are_low(w: World) -> bool:
    return all(w.table[row].weight[2] <= 2 for row in indices(w.table) if row != 1)


@step_property("E3", action=paint)
def painting_paints(before: World, after: World, row: Row, cell: Cell, colour: Colour, result: Colour) -> Clauses:
    yield clause("the old colour is returned", before.table[row].node[cell].colour == result, row, cell)
    yield clause("the new colour is there", after.table[row].node[cell].colour == colour, row, cell)
    yield clause("it was not that colour", result != colour, row)


@step_property("E4")
def ticks_move(before: World, after: World) -> bool:
    return not (before.ticks == 1 and after.ticks == 0)


SPEC = Spec(
    name="every-construct",
    state=World,
    init=begin,
    actions=(paint, link, shift, pick, jump, divide, sweep),
    properties=(marks_are_few, weights_are_low, painting_paints, ticks_move),
    parameters=(
        Parameter("cells", 3, "cells of a row"),
        Parameter("rows", 2, "rows"),
        Parameter("bits", 3, "the width of the machine integers"),
    ),
)
