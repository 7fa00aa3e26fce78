"""In the child: memory that the driver gives to an implementation: guard bytes around it, perhaps a wall.

The one idea: base alignment, phase, filling and wall are numbers of the scope, so that a finding is reproduced with the
very same arena.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable

from .arenas import GAP, regions_of

PAGE = mmap.PAGESIZE
PROT_NONE = 0


class Arena:
    """`size` bytes at `address`, which is `phase` behind a multiple of `align`; filled; guarded on both sides, and
    between its `regions` (where each begins, and its bytes)."""

    def __init__(
        self,
        size: int,
        align: int,
        phase: int,
        garbage: bool,
        wall: bool,
        guard: int,
        regions: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.size = size
        self.regions = regions or ((0, size),)
        lead = max(align, PAGE) + PAGE
        room = (lead + size + 2 * PAGE + align) // PAGE * PAGE + PAGE
        self.memory = mmap.mmap(-1, room)
        origin = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        ceiling = origin + room - PAGE
        if wall:
            # As close to the wall as alignment and phase allow; what is left between them is guard bytes.
            self.address = (ceiling - size - phase) // align * align + phase
            change = ctypes.CDLL(None, use_errno=True).mprotect
            change.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            change(ceiling, PAGE, PROT_NONE)
        else:
            self.address = (origin + PAGE + align - 1) // align * align + phase
        self.start = self.address - origin
        behind = min(guard, ceiling - self.address - size) if wall else guard
        gaps = ((self.start + begin - GAP, GAP) for begin, _ in self.regions[1:])
        self.guards = ((self.start - guard, guard), (self.start + size, behind), *gaps)
        self.pattern = bytes((x * 91 + 165) & 0xFF for x in range(max(guard, GAP)))
        if garbage:
            self.memory[self.start : self.start + size] = (bytes(range(255, 0, -1)) * (size // 255 + 1))[:size]
        for place, length in self.guards:
            self.memory[place : place + length] = self.pattern[:length]

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + self.size

    def contains(self, address: int, size: int) -> bool:
        """Do these bytes lie in a region of the arena?"""
        at = address - self.address
        return any(begin <= at and at + size <= begin + length for begin, length in self.regions)

    def check(self, say: Callable[..., None]) -> None:
        """Are the guard bytes untouched? Says the first that is not, by its offset from the arena's start."""
        for place, length in self.guards:
            found = self.memory[place : place + length]
            if found != self.pattern[:length]:
                pairs = enumerate(zip(found, self.pattern, strict=False))
                first = next(at for at, (one, other) in pairs if one != other)
                say("guard", place + first - self.start, self.pattern[first], found[first])
                return


def make_arena(scope: dict[str, int], bytes_needed: int, guard: int) -> Arena | None:
    """The arena of a scope, if it has one."""
    if "arena" not in scope:
        return None
    size = scope["arena"] or bytes_needed
    phase, garbage, wall = (scope.get(name, 0) for name in ("phase", "garbage", "wall"))
    regions = regions_of({**scope, "arena": size})
    return Arena(size, scope.get("align", PAGE), phase, bool(garbage), bool(wall), guard, regions)
