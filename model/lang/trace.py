"""A trace: a run of the machine, the states between, and what went wrong at its end.

Plain data that every engine produces, every view draws and `replay` runs again. States are nested plain data
(dict for a record, list for an array, int, bool, None, enum label), so a trace can be read without its spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InputError
from .ir import NONE, BooleanType, FailureKind, IntegerType, Leaf, LeafType, Program, Schema, Sizes

TRACE_SCHEMA = "kmemspec-trace/1"

Plain = Any
"""Nested plain data: dict, list, int, bool, None or str."""


@dataclass(frozen=True)
class Violation:
    """What broke: the property, its clause, and which elements broke it (`page` 3).

    `kind` is "invariant", "step", "refinement", "initial", "leads-to", "deadlock" or a failure kind's name ("ASSERT",
    …); `elements` are (sort or name, value) pairs; `position` is file:line of the clause or of the failing line."""

    property: str
    clause: str
    kind: str
    elements: tuple[tuple[str, int], ...] = ()
    message: str = ""
    position: str = ""


@dataclass(frozen=True)
class Step:
    """One action and the state after it. The first step of a trace is the initial state, with action ''."""

    action: str
    arguments: Mapping[str, Plain]
    choices: tuple[int, ...]
    result: Plain
    state: Mapping[str, Plain]


@dataclass(frozen=True)
class Trace:
    """A run. `spec` is a name or file as the command line takes it; `shortest` says whether no shorter one exists;
    `reachable` is False when the first state was not reached from an initial state (induction). With `loop`, a number
    of a step, it is an infinite run: the last state is the one after that step, and the steps in between repeat for
    ever; if there are none, the machine stands still for ever."""

    spec: str
    scope: Mapping[str, int]
    steps: tuple[Step, ...]
    violation: Violation | None = None
    fault: str | None = None
    engine: str = ""
    shortest: bool = False
    reachable: bool = True
    loop: int | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Failure:
    """A step that could not complete: kind, `where` (an index into `Program.positions`), message of an assert."""

    kind: FailureKind
    where: int
    message: str = ""


@dataclass(frozen=True)
class StepOutcome:
    """What one engine says one action does on one flat state; the type in which engines are compared.

    Disabled: `enabled` False and nothing else. Failed: `failure` set, `state` None."""

    enabled: bool
    state: tuple[int, ...] | None = None
    result: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class FlatStep:
    """A step in the engines' own terms: action number (-1 for the initial state), integer arguments, the choices in
    the order they were made, result (None if the action returns nothing) and the flat state after it. A failing
    last step has the state before it."""

    action: int
    arguments: tuple[int, ...]
    choices: tuple[int, ...]
    result: int | None
    state: tuple[int, ...]


def to_step(program: Program, sizes: Sizes, step: FlatStep) -> Step:
    """A flat step as the plain data of a trace."""
    state = nest(program.schema, step.state, sizes)
    if step.action < 0:
        return Step("", {}, step.choices, None, state)
    action = program.actions[step.action]
    arguments = {
        parameter.name: to_plain(value, parameter.type)
        for parameter, value in zip(action.parameters, step.arguments, strict=True)
    }
    result = None if step.result is None else to_plain(step.result, action.returns)
    return Step(action.name, arguments, step.choices, result, state)


def failure_violation(program: Program, failure: Failure, action: str) -> Violation:
    """The violation that a failing action is: property "checks", with the place."""
    position = program.positions[failure.where]
    clause = failure.message or failure.kind.value
    return Violation("checks", clause, failure.kind.name, (), f"{failure.kind.value} in {action}", str(position))


def to_plain(value: int, type_: LeafType | None) -> Plain:
    """An engine's integer as the plain value a person reads."""
    if isinstance(type_, BooleanType):
        return bool(value)
    if isinstance(type_, IntegerType):
        if type_.optional and value == NONE:
            return None
        if type_.labels and 0 <= value < len(type_.labels):
            return type_.labels[value]
    return value


def from_plain(value: Plain, type_: LeafType | None, where: str) -> int:
    """The inverse of `to_plain`; raises InputError naming `where`."""
    if isinstance(type_, BooleanType):
        if isinstance(value, bool):
            return int(value)
    elif isinstance(type_, IntegerType) and value is None and type_.optional:
        return NONE
    elif isinstance(type_, IntegerType) and type_.labels:
        if value in type_.labels:
            return type_.labels.index(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputError(f"{where}: {json.dumps(value)[:60]} is not a value of this field", "restore the field's value")


def nest(schema: Schema, flat: Sequence[int], sizes: Sizes) -> dict[str, Plain]:
    """A flat state as nested plain data."""
    root: dict[str, Plain] = {}
    position = 0
    for leaf in schema.leaves:
        count = leaf.count(sizes)
        _place(root, leaf, flat[position : position + count], sizes)
        position += count
    return root


def _place(root: dict[str, Plain], leaf: Leaf, values: Sequence[int], sizes: Sizes) -> None:
    parts = leaf.path.split(".")
    dimensions = [dimension.value(sizes) for dimension in leaf.dimensions]

    def descend(node: dict[str, Plain], part: int, dimension: int, values: Sequence[int]) -> None:
        name = parts[part]
        depth = name.count("[]")
        last = part == len(parts) - 1
        if depth == 0:
            if last:
                node[name] = to_plain(values[0], leaf.type)
            else:
                descend(node.setdefault(name, {}), part + 1, dimension, values)
            return
        bare = name[: -2 * depth]
        array(node, bare, depth, part, dimension, values, last)

    def array(
        holder: Any, key: Any, depth: int, part: int, dimension: int, values: Sequence[int], last: bool
    ) -> None:
        length = dimensions[dimension]
        cells = holder.setdefault(key, [None] * length) if isinstance(holder, dict) else holder[key]
        if cells is None:
            cells = holder[key] = [None] * length
        stride = len(values) // length if length else 0
        for index in range(length):
            part_values = values[index * stride : (index + 1) * stride]
            if depth > 1:
                array(cells, index, depth - 1, part, dimension + 1, part_values, last)
            elif last:
                cells[index] = to_plain(part_values[0], leaf.type)
            else:
                if cells[index] is None:
                    cells[index] = {}
                descend(cells[index], part + 1, dimension + 1, part_values)

    descend(root, 0, 0, values)


def flatten(schema: Schema, nested: Mapping[str, Plain], sizes: Sizes) -> tuple[int, ...]:
    """The inverse of `nest`; raises InputError when the data does not have the schema's shape."""
    flat: list[int] = []
    for leaf in schema.leaves:
        nodes: list[tuple[str, Plain]] = [("state", nested)]
        dimension = 0
        for part in leaf.path.split("."):
            depth = part.count("[]")
            name = part[: len(part) - 2 * depth]
            nodes = [(f"{where}.{name}", _member(node, name, where)) for where, node in nodes]
            for _ in range(depth):
                length = leaf.dimensions[dimension].value(sizes)
                dimension += 1
                nodes = [
                    (f"{where}[{index}]", element)
                    for where, node in nodes
                    for index, element in enumerate(_elements(node, length, where))
                ]
        flat.extend(from_plain(value, leaf.type, where) for where, value in nodes)
    return tuple(flat)


def _member(node: Plain, name: str, where: str) -> Plain:
    if not isinstance(node, Mapping) or name not in node:
        raise InputError(f"{where} has no field {name!r}", "the trace was cut or belongs to another specification")
    return node[name]


def _elements(node: Plain, length: int, where: str) -> Sequence[Plain]:
    if not isinstance(node, list) or len(node) != length:
        raise InputError(f"{where} is not an array of {length}", "the trace belongs to another scope")
    return node
