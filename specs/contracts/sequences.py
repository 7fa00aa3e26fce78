"""Sequences of operations as plain data, and how they are cut down.

The one idea: a sequence is a straight program. `block` names a live block by the index of the operation that made it,
so a sequence reads the same in the driver, the child and a reproducer; if that operation failed, the call is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .contract import Contract

ALL_PAIRS = 24
"""Up to this length any two calls are left out together, of longer sequences those that stand close together."""


@dataclass(frozen=True)
class Operation:
    """One call: its kind, the block it takes (or None) and its numbers (order, sizes, alignment)."""

    kind: str
    block: int | None = None
    arguments: tuple[int, ...] = ()


Sequence = tuple[Operation, ...]


@dataclass(frozen=True)
class Draw:
    """What a generator draws: a kind and two numbers, whose meaning `Generator.program` fixes."""

    kind: str
    first: int
    second: int


def to_plain(sequence: Sequence) -> list[list[object]]:
    """The sequence as JSON."""
    return [[operation.kind, operation.block, *operation.arguments] for operation in sequence]


def without(sequence: Sequence, dropped: frozenset[int]) -> Sequence:
    """The sequence without those operations and without all that use their blocks, renumbered."""
    kept: list[Operation] = []
    renumbered: dict[int, int] = {}
    for index, operation in enumerate(sequence):
        if index in dropped or (operation.block is not None and operation.block not in renumbered):
            continue
        block = None if operation.block is None else renumbered[operation.block]
        renumbered[index] = len(kept)
        kept.append(Operation(operation.kind, block, operation.arguments))
    return tuple(kept)


def unfreed(sequence: Sequence) -> list[int]:
    """The allocations that no call of the sequence frees."""
    freed = {operation.block for operation in sequence if operation.kind == "free"}
    return [index for index, operation in enumerate(sequence) if operation.kind == "alloc" and index not in freed]


def every_sequence(calls: Callable[[Sequence], Iterator[Operation]], length: int) -> Iterator[Sequence]:
    """Every sequence of that length, by what may come next (the shorter ones are their prefixes)."""

    def extend(prefix: Sequence) -> Iterator[Sequence]:
        if len(prefix) == length:
            yield prefix
            return
        for operation in calls(prefix):
            yield from extend((*prefix, operation))

    return extend(())


def inserted(sequence: Sequence, place: int, operation: Operation) -> Sequence:
    """The sequence with one more operation before that place, renumbered."""
    after = (
        Operation(later.kind, later.block + (later.block >= place), later.arguments)
        if later.block is not None
        else later
        for later in sequence[place:]
    )
    return (*sequence[:place], operation, *after)


def smaller(contract: Contract, sequence: Sequence) -> Iterator[Sequence]:
    """Simpler variants of a sequence, the boldest first: chunks removed, single calls removed, numbers lowered."""
    length = len(sequence)
    chunk = length // 2
    while chunk >= 1:
        for start in range(0, length, chunk):
            yield without(sequence, frozenset(range(start, min(start + chunk, length))))
        chunk //= 2
    for first in range(length):
        for second in range(first + 1, length if length <= ALL_PAIRS else min(length, first + 8)):
            yield without(sequence, frozenset((first, second)))
    for index, operation in enumerate(sequence):
        if contract.operations[operation.kind].fixed:
            continue
        for position, value in enumerate(operation.arguments):
            for lower in lower_numbers(value):
                arguments = (*operation.arguments[:position], lower, *operation.arguments[position + 1 :])
                changed = Operation(operation.kind, operation.block, arguments)
                yield (*sequence[:index], changed, *sequence[index + 1 :])


def lower_numbers(value: int) -> tuple[int, ...]:
    """Simpler values for one number of a call; a huge size becomes a round one."""
    if value > 1 << 47:
        candidates = [1 << 63]
    else:
        candidates = [0, 1, 16, *(value * part // 16 for part in (8, 12, 14, 15)), value - 1 if value <= 64 else 0]
    return tuple(sorted({lower for lower in candidates if 0 <= lower < value}))


def weight(sequence: Sequence) -> tuple[int, int]:
    """How large a sequence is: its length, then the sum of its numbers."""
    return len(sequence), sum(value for operation in sequence for value in operation.arguments)
