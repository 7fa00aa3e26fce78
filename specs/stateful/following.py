"""What a run knows about its state without reading it: a digest, and which references are in use.

The one idea: a step says which cells it wrote, and nothing else changed. The digest is a sum of weight times value over
all cells modulo a prime of 127 bits, with a pseudo-random weight for each cell (a universal hash), so a step changes it
by the cells it wrote. A pool is the set of references at which an array holds something that is not its initial value:
the pages held, the objects that are live. In a large scope those are what an action can be about.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ...model.lang.ir import Program, Sizes
from ...model.lang.records import Array, Change, Holder, Key, present

PRIME = (1 << 127) - 1


@dataclass
class Pool:
    """References in use, in order. `version` grows with every change."""

    values: list[int] = field(default_factory=list)
    version: int = 0
    _cells: dict[int, int] = field(default_factory=dict)

    def add(self, value: int) -> None:
        known = self._cells.get(value, 0)
        self._cells[value] = known + 1
        if not known:
            insort(self.values, value)
            self.version += 1

    def remove(self, value: int) -> None:
        left = self._cells[value] - 1
        if left:
            self._cells[value] = left
        else:
            del self._cells[value]
            del self.values[bisect_left(self.values, value)]
            self.version += 1

    def clear(self) -> None:
        self.values.clear()
        self._cells.clear()
        self.version += 1


LeafDimension = tuple[int, int]
"""A leaf of the schema, and one of its dimensions."""


@dataclass(slots=True)
class _Cell:
    """What is known of one cell: its weight, its initial value, and the pools it is in with which reference."""

    weight: int
    initial: int
    pools: tuple[tuple[Pool, int], ...]


class Follower:
    """Follows one machine, from init on, by the changes of its steps."""

    def __init__(self, program: Program, sizes: Sizes, wanted: Iterable[LeafDimension]) -> None:
        self.pools = {key: Pool() for key in wanted}
        self.digest = 0
        self._leaves = {leaf.path: number for number, leaf in enumerate(program.schema.leaves)}
        self._initial = [leaf.type.initial(sizes) for leaf in program.schema.leaves]
        self._cells: dict[int, dict[Key, _Cell]] = {}

    def restart(self) -> None:
        """The machine is before init."""
        self.digest = 0
        for pool in self.pools.values():
            pool.clear()

    def fold(self, changes: Sequence[Change]) -> None:
        """Take in what a step wrote."""
        first: dict[tuple[int, Key], tuple[Holder, Any]] = {}
        for holder, key, old in changes:
            first.setdefault((id(holder), key), (holder, old))
        digest = self.digest
        for (number, key), (holder, old) in first.items():
            new = present(holder, key)
            if new == old:
                continue
            cells = self._cells.get(number)
            cell = cells.get(key) if cells is not None else None
            if cell is None:
                cell = self._cell(holder, key)
            was = -1 if old is None else int(old)
            now = -1 if new is None else int(new)
            digest += cell.weight * (now - was)
            for pool, reference in cell.pools:
                if was == cell.initial:
                    pool.add(reference)
                elif now == cell.initial:
                    pool.remove(reference)
        self.digest = digest % PRIME

    def _cell(self, holder: Holder, key: Key) -> _Cell:
        path, indices = _address(holder)
        if isinstance(holder, Array):
            path, indices = path + "[]", (*indices, int(key))
        else:
            path = f"{path}.{key}" if path else key
        leaf = self._leaves[path]
        weight = int.from_bytes(blake2b(repr((path, indices)).encode(), digest_size=16).digest()) % PRIME
        pools = tuple(
            (self.pools[leaf, dimension], index)
            for dimension, index in enumerate(indices)
            if (leaf, dimension) in self.pools
        )
        cell = _Cell(weight, self._initial[leaf], pools)
        self._cells.setdefault(id(holder), {})[int(key) if isinstance(holder, Array) else key] = cell
        return cell


def _address(holder: Holder) -> tuple[str, tuple[int, ...]]:
    """The path of a record or array in the schema's notation, and the indices on the way."""
    if holder._place is None:
        return "", ()
    around, key = holder._place
    path, indices = _address(around)
    if isinstance(around, Array):
        return path + "[]", (*indices, int(key))
    return (f"{path}.{key}" if path else key), indices
