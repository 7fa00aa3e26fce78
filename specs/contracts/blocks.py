"""In the child: which blocks an adapter has, which it had, and what a misuse frees.

The one idea: every adapter keeps the same of a block, whatever a block is to it: the handle as the implementation gave
it, the place in the contract's unit, and what was asked for. Which call would be a double free can only be known here,
when it is made: a place that was handed out again is nobody's to free twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .contract import Contract

FAR = 1 << 40
"""A place behind everything, where it is not known where that ends."""


@dataclass(frozen=True)
class Held:
    """A block: its handle, its place, the numbers of the call that made it."""

    handle: Any
    at: int
    numbers: Mapping[str, int]


class Blocks:
    """The blocks of one instance, by the index of the call that made them; those that are `live` and those `freed`.

    `foreign` makes one of the handles (0 to 2) that no call returned."""

    def __init__(self, contract: Contract, scope: Mapping[str, int], foreign: Callable[[int], Any]) -> None:
        self.contract, self.foreign = contract, foreign
        self.object_size = scope.get("size", 0)
        self.live: dict[int, Held] = {}
        self.freed: dict[int, Held] = {}

    def release(self, block: int) -> Held:
        """A live block is freed now."""
        self.freed[block] = self.live.pop(block)
        return self.freed[block]

    def misused(self, block: int | None, arguments: list[int]) -> Held | None:
        """What a misuse is about: None if the block is not free, or if what is there now is live."""
        if block is None:
            call = self.contract.operations[self.contract.block_maker]
            return Held(self.foreign(arguments[0]) if arguments else None, 0, dict.fromkeys(call.numbers, 0))
        held = self.freed.get(block)
        if held is None or any(self.overlap(held, other) for other in self.live.values()):
            return None
        return held

    def overlap(self, one: Held, other: Held) -> bool:
        """Do two blocks share a place?"""
        ends = [held.at + places_of(held.numbers, self.object_size) for held in (one, other)]
        return one.at < ends[1] and other.at < ends[0]


def places_of(numbers: Mapping[str, int], object_size: int) -> int:
    """How large a block is in the unit of its place, by what was asked for."""
    if "order" in numbers:
        return 1 << numbers["order"]
    return max(1, numbers.get("count", 1) * numbers.get("size", object_size or 1))


def foreign_place(which: int, scope: Mapping[str, int]) -> int:
    """A place that no call returns: right behind the end of all, before its begin, or far behind it."""
    end = scope.get("pages") or scope.get("slabs", 0) * scope.get("slots", 0) or scope.get("arena") or FAR
    return (end, -1, 2 * end + 1)[which % 3]
