"""Where each leaf lies in a bit-packed state, and the parameter array that tells compiled code about a scope.

A state is an array of 64-bit words. Leaf by leaf, elements have a power-of-two width, so none straddles a word; leaves
are placed widest first, so every leaf is aligned to its width and only the tail of the last word is lost. The stored
bits are `value - low`. Compiled code knows no sizes: it reads base, width and bounds from an array of int64, so one
compilation serves every scope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...model.lang.errors import InputError, ScopeError
from ...model.lang.ir import Leaf, MachineType, Program, Schema, Size, Sizes

BASE, LOG2_WIDTH, MASK, LOW, SPAN, LEAF_SLOTS = range(6)
"""Slots of a leaf in the parameter array, and how many there are."""

LARGEST_SIZE = 1 << 40
LARGEST_STATE_BITS = 1 << 26
LARGEST_CHOICE_OF_ARGUMENTS = 10_000_000
WORD_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class LeafLayout:
    """One leaf at one scope: first bit, log2 of the element width, bounds, number of elements."""

    base: int
    log2_width: int
    low: int
    high: int
    count: int
    dimensions: tuple[int, ...]

    @property
    def mask(self) -> int:
        return (1 << (1 << self.log2_width)) - 1


class Layout:
    """The packed form of a schema's states at a scope."""

    def __init__(self, schema: Schema, sizes: Sizes) -> None:
        self.schema = schema
        shapes = [_shape(leaf, sizes) for leaf in schema.leaves]
        order = sorted(range(len(shapes)), key=lambda index: -shapes[index].log2_width)
        leaves = list(shapes)
        position = 0
        for index in order:
            shape = shapes[index]
            leaves[index] = LeafLayout(
                position, shape.log2_width, shape.low, shape.high, shape.count, shape.dimensions
            )
            position += shape.count << shape.log2_width
            if position > LARGEST_STATE_BITS:
                raise ScopeError(f"a state would need more than {LARGEST_STATE_BITS} bits", "choose a smaller scope")
        self.leaves = tuple(leaves)
        self.bits = position
        self.words = max(1, (position + 63) // 64)
        self.total = sum(leaf.count for leaf in leaves)

    def pack(self, flat: Sequence[int]) -> bytes:
        """A flat state as the bytes of its words; InputError when a value is outside its leaf."""
        if len(flat) != self.total:
            raise InputError(f"a state has {self.total} elements here, not {len(flat)}", "use the trace's own scope")
        bits = position = 0
        for leaf, shape in zip(self.schema.leaves, self.leaves, strict=True):
            for element in range(shape.count):
                value = flat[position]
                position += 1
                if not shape.low <= value <= shape.high:
                    raise InputError(
                        f"{leaf.path} is {value}, outside {shape.low}..{shape.high}", "restore the field's value"
                    )
                bits |= (value - shape.low) << (shape.base + (element << shape.log2_width))
        return bits.to_bytes(self.words * 8, "little")

    def unpack(self, words: bytes) -> tuple[int, ...]:
        """The inverse of `pack`."""
        bits = int.from_bytes(words, "little")
        return tuple(
            ((bits >> (shape.base + (element << shape.log2_width))) & shape.mask) + shape.low
            for shape in self.leaves
            for element in range(shape.count)
        )


def _shape(leaf: Leaf, sizes: Sizes) -> LeafLayout:
    low, high = leaf.type.bounds(checked(leaf.path, leaf.type, sizes))
    if high < low:
        raise ScopeError(f"{leaf.path} has no value: its range is {low}..{high}", "choose a larger scope")
    if isinstance(leaf.type, MachineType):
        check_machine_bits(leaf.type.bits.value(sizes), leaf.type.signed, leaf.path)
    if low < -(1 << 63) or high >= 1 << 63:
        raise ScopeError(f"{leaf.path} reaches beyond 64-bit integers", "choose a smaller range")
    dimensions = tuple(dimension.value(sizes) for dimension in leaf.dimensions)
    if any(not 0 <= dimension <= LARGEST_STATE_BITS for dimension in dimensions):
        raise ScopeError(f"{leaf.path} has dimensions {dimensions}", "choose sizes from 0 to some millions")
    width = max(1, (high - low).bit_length())
    return LeafLayout(0, (width - 1).bit_length(), low, high, math.prod(dimensions), dimensions)


def checked(where: str, type_: object, sizes: Sizes) -> Sizes:
    """`sizes`, after making sure that a type's bit count cannot make Python compute a gigantic power."""
    if isinstance(type_, MachineType):
        bits = type_.bits.value(sizes)
        if not 1 <= bits <= 64:
            raise ScopeError(f"{where} is a machine integer of {bits} bits", "choose 1 to 64 bits")
    return sizes


def check_machine_bits(bits: int, signed: bool, where: str) -> None:
    """The native engine computes in signed 64-bit integers; refuse what does not fit."""
    if not 1 <= bits <= 64:
        raise ScopeError(f"{where} is a machine integer of {bits} bits", "choose 1 to 64 bits")
    if bits == 64 and not signed:
        raise ScopeError(f"{where} is unsigned with 64 bits", "choose at most 63 bits, or a signed one")


class ParameterSlots:
    """Which slot of the parameter array holds what. Fixed by the program, except `sizes`, which grow as code is
    generated (and are then stored beside the code)."""

    def __init__(self, program: Program, size_names: Sequence[str] = ()) -> None:
        schemas = [program.schema] + ([program.abstract_schema] if program.abstract_schema else [])
        self._first_of_schema = [0, LEAF_SLOTS * len(program.schema.leaves)]
        leaves_end = LEAF_SLOTS * sum(len(schema.leaves) for schema in schemas)
        self._action_starts = [
            *accumulate((2 * len(action.parameters) for action in program.actions), initial=leaves_end)
        ]
        self._size_start = self._action_starts[-1]
        self.sizes = {name: index for index, name in enumerate(size_names)}

    def leaf(self, abstract: bool, leaf: int) -> int:
        """First slot of a leaf."""
        return self._first_of_schema[abstract] + LEAF_SLOTS * leaf

    def argument(self, action: int, parameter: int) -> int:
        """Slot of an action parameter's lower bound; the upper one follows."""
        return self._action_starts[action] + 2 * parameter

    def size(self, name: str) -> int:
        """Slot of a scope parameter."""
        return self._size_start + self.sizes.setdefault(name, len(self.sizes))


def resolve(size: Size, sizes: Sizes) -> int:
    """The value of a size, or a ScopeError when the scope lacks it or it is absurd."""
    if size.parameter is not None and size.parameter not in sizes:
        raise ScopeError(f"the scope gives no value to {size.parameter!r}", f"add {size.parameter}=…")
    value = size.value(sizes)
    if abs(value) > LARGEST_SIZE:
        raise ScopeError(f"{size} is {value}", "choose a smaller scope")
    return value


def parameter_values(
    program: Program, sizes: Sizes, layouts: Sequence[Layout], size_names: Sequence[str]
) -> list[int]:
    """The contents of the parameter array, in the order of `ParameterSlots`, as unsigned words."""
    values: list[int] = []
    for layout in layouts:
        for leaf in layout.leaves:
            values += [leaf.base, leaf.log2_width, leaf.mask, leaf.low, leaf.high - leaf.low]
    for bounds in argument_bounds(program, sizes):
        values += [bound for pair in bounds for bound in pair]
    values += [resolve(Size(name), sizes) for name in size_names]
    return [value & WORD_MASK for value in values]


def argument_bounds(program: Program, sizes: Sizes) -> list[list[tuple[int, int]]]:
    """For each action the bounds of its parameters; refuses more argument tuples than can be enumerated."""
    result = []
    for action in program.actions:
        where = f"a parameter of {action.name}"
        bounds = [p.type.bounds(checked(where, p.type, sizes)) for p in action.parameters]
        if math.prod(max(0, high - low + 1) for low, high in bounds) > LARGEST_CHOICE_OF_ARGUMENTS:
            raise ScopeError(
                f"{action.name} has more than {LARGEST_CHOICE_OF_ARGUMENTS} argument combinations",
                "give its parameters smaller ranges",
            )
        result.append(bounds)
    return result
