"""Where the live blocks of a failing sequence lie after each of its calls, for pictures.

The one idea: everything is in the sequence and in what its calls returned; nothing is asked of the target again.
"""

from __future__ import annotations

from collections.abc import Mapping

from .blocks import places_of
from .contract import Contract
from .judging import block_names
from .results import Extent
from .search import Failure
from .sequences import Operation


def extents(contract: Contract, failure: Failure, object_size: int) -> tuple[tuple[Extent, ...], ...]:
    """After each call, every live block; the one that the call made or moved is `fresh`."""
    names = block_names(contract, failure.sequence)
    live: dict[int, Extent] = {}
    rows: list[tuple[Extent, ...]] = []
    for index, operation in enumerate(failure.sequence):
        live = {block: Extent(extent.name, extent.start, extent.size) for block, extent in live.items()}
        call, value = contract.operations[operation.kind], failure.judgement.values.get(index)
        if call.result == "nothing" and operation.block is not None:
            live.pop(operation.block, None)
        if call.result in ("block", "moved") and type(value) is int:
            name = index if operation.block is None else operation.block
            live[name] = Extent(names[name], value, size_of(contract, operation, object_size), True)
        rows.append(tuple(sorted(live.values(), key=lambda extent: extent.start)))
    return tuple(rows)


def size_of(contract: Contract, operation: Operation, object_size: int) -> int:
    """How large the block is, in the unit of its place."""
    numbers: Mapping[str, int] = dict(
        zip(contract.operations[operation.kind].numbers, operation.arguments, strict=True)
    )
    return places_of(numbers, object_size)
