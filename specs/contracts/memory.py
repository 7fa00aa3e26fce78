"""In the child: fills what an implementation hands out, and checks after each call that everything still is as it was.

The one idea: contents are checked here, beside the memory. Every block is filled with a pattern of its own that also
depends on the offset, and after each call all live blocks are compared with theirs by memcmp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .arena import Arena

TILE = bytes((x * 167 + (x >> 8) * 13 + (x >> 16) * 7) & 0xFF for x in range(1 << 17))
WHOLE = 1 << 16
"""Blocks up to this size are filled and compared whole; of larger ones the ends and a window in the middle."""
LARGEST = 1 << 47
"""A larger block cannot be there; it is not touched."""


@dataclass
class Block:
    """A live block: where, how large, where in the tile its pattern starts; `parts`: its windows, ready to compare."""

    address: int
    size: int
    phase: int
    parts: list[tuple[Any, Any, int, int]] = field(default_factory=list)

    def windows(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of the parts that are filled and compared."""
        if self.size <= WHOLE:
            yield 0, self.size
            return
        middle = self.size // 2 & ~4095
        yield 0, WHOLE // 2
        yield middle, 4096
        yield self.size - WHOLE // 4, WHOLE // 4


@cache
def tools() -> tuple[Any, Any, Any]:
    """What compares memory, and the pattern that it is compared with; made once, before the forks."""
    import cffi  # type: ignore[import-untyped]

    foreign = cffi.FFI()
    foreign.cdef("int memcmp(const void *, const void *, size_t);")
    return foreign, foreign.dlopen(None).memcmp, foreign.from_buffer("char[]", TILE)


class Memory:
    """The live blocks of one instance, in memory that can be read and written."""

    def __init__(self, arena: Arena | None) -> None:
        self.foreign, self.memcmp, self.tile = tools()
        self.arena = arena
        self.blocks: dict[int, Block] = {}

    def pointer(self, address: int) -> Any:
        """An address as void *."""
        return self.foreign.cast("void *", address)

    def usable(self, address: int, size: int) -> bool:
        """May these bytes be touched at all? What lies outside the arena is a finding already."""
        return 0 < size < LARGEST and (self.arena is None or self.arena.contains(address, size))

    def made(self, index: int, address: int, size: int, zeroed: bool, say: Callable[..., None]) -> None:
        """A call made a block."""
        if self.usable(address, size):
            made = Block(address, size, phase_of(index))
            if zeroed:
                self.check_zero(made, say)
            self.fill(made)
            self.blocks[index] = made

    def moved(self, index: int, name: int, address: int, size: int, say: Callable[..., None]) -> None:
        """After realloc: the common prefix must carry the old pattern; then the block gets a pattern of its own."""
        old = self.blocks.pop(name, None)
        if not self.usable(address, size):
            return
        moved = Block(address, size, phase_of(index))
        if old is not None:
            common = min(old.size, size)
            kept = Block(address, common, old.phase)
            for offset, length in old.windows():
                self.compare("prefix", name, kept, offset, min(length, common - offset), say)
        self.fill(moved)
        self.blocks[name] = moved

    def gone(self, name: int) -> None:
        """A block is to be freed."""
        self.blocks.pop(name, None)

    def fill(self, block: Block) -> None:
        """Write the pattern."""
        for offset, length in block.windows():
            place, pattern = self.pointer(block.address + offset), self.tile + (block.phase + offset) % WHOLE
            self.foreign.memmove(place, pattern, length)
            block.parts.append((place, pattern, length, offset))

    def check_zero(self, block: Block, say: Callable[..., None]) -> None:
        """Is fresh calloc memory zero?"""
        for offset, length in block.windows():
            found = bytes(self.foreign.buffer(self.pointer(block.address + offset), length)) if length else b""
            if found.count(0) != length:
                first = next(position for position, byte in enumerate(found) if byte)
                say("nonzero", offset + first, found[first])
                return

    def check_all(self, say: Callable[..., None]) -> None:
        """Do all live blocks carry their patterns, and the guards around the arena theirs?"""
        memcmp = self.memcmp
        for name, block in self.blocks.items():
            for place, pattern, length, offset in block.parts:
                if memcmp(place, pattern, length):
                    self.compare("contents", name, block, offset, length, say)
        if self.arena is not None:
            self.arena.check(say)

    def compare(self, tag: str, name: int, block: Block, offset: int, length: int, say: Callable[..., None]) -> None:
        """Compare one window with the pattern; say the first byte that differs."""
        if length <= 0:
            return
        start = (block.phase + offset) % WHOLE
        place = self.pointer(block.address + offset)
        if self.memcmp(place, self.tile + start, length):
            found = bytes(self.foreign.buffer(place, length))
            expected = TILE[start : start + length]
            pairs = enumerate(zip(found, expected, strict=True))
            first = next((at for at, (one, other) in pairs if one != other), 0)
            say(tag, name, offset + first, expected[first], found[first])


def phase_of(index: int) -> int:
    """Where in the tile the pattern of the block made by call `index` starts."""
    return (index + 1) * 4099 % WHOLE
