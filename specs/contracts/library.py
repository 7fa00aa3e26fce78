"""Adapter in the child: a shared library with the C heap functions, through cffi in ABI mode (no compiler).

The one idea: contents are checked here, beside the memory. Every block is filled with a pattern of its own that also
depends on the offset, and after each call all live blocks are compared with theirs by memcmp.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...model.lang.errors import InputError
from .adapter import Make

TILE = bytes((x * 167 + (x >> 8) * 13 + (x >> 16) * 7) & 0xFF for x in range(1 << 17))
WHOLE = 1 << 16
"""Blocks up to this size are filled and compared whole; of larger ones the ends and a window in the middle."""
PREFIX_FORM = re.compile(r"[A-Za-z_]?\w{0,60}", re.ASCII)


def load_library(setup: dict[str, Any]) -> tuple[Make, dict[str, Any]]:
    """Open the library and find its functions; a function that makes a fresh adapter, and what is declared."""
    import cffi  # type: ignore[import-untyped]

    from .registry import INTERFACES

    interface = INTERFACES[str(setup["contract"])]

    target, prefix = str(setup["target"]), str(setup["prefix"])
    if not PREFIX_FORM.fullmatch(prefix):
        raise InputError(f"{prefix!r} is no symbol prefix", "give the letters before malloc, such as mi_")
    foreign = cffi.FFI()
    foreign.cdef("\n".join(text.format(prefix) for text in interface.exports.values()))
    compare = cffi.FFI()
    compare.cdef("int memcmp(const void *, const void *, size_t);")
    # DEEPBIND: a library that defines malloc and calls it itself must reach its own, not the one of this process.
    flags = os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0)
    try:
        library = foreign.dlopen(target, flags)
    except OSError as error:
        reason = str(error).split("Additionally")[0].strip(" .")
        raise InputError(reason, "give a path with a slash to a shared library, or an installed soname") from None
    functions: dict[str, Any] = {}
    for name in interface.exports:
        function = getattr(library, prefix + name, None)
        if function is not None and same_file(owner(foreign, function), target):
            functions[name] = function
        elif name in interface.methods:
            remedy = f"give the prefix of its symbols (it is {prefix!r} now)"
            raise InputError(f"{target} does not export {prefix}{name}", remedy)
    memcmp = compare.dlopen(None).memcmp
    declared = interface.contract.declared(setup["declared"])
    return (lambda scope: HeapAdapter(foreign, memcmp, functions)), declared


def owner(foreign: Any, function: Any) -> str | None:
    """The file a function comes from: looking a name up finds it in a library's dependencies (libc) as well."""
    import cffi

    system = cffi.FFI()
    system.cdef(
        "typedef struct { const char *name; void *base; const char *symbol; void *address; } Dl_info;"
        "int dladdr(const void *, Dl_info *);"
    )
    try:
        found = system.dlopen(None).dladdr
    except AttributeError:
        return None
    information = system.new("Dl_info *")
    address = int(foreign.cast("uintptr_t", function))
    if not found(system.cast("void *", address), information):
        return None
    name = system.string(information.name)
    return os.fsdecode(name) if isinstance(name, bytes) else None


def same_file(loaded: str | None, target: str) -> bool:
    """Is the loaded file the target, as far as names tell?"""
    if loaded is None:
        return True
    names = {os.path.basename(path) for path in (target, os.path.realpath(target))}
    return not names.isdisjoint({os.path.basename(loaded), os.path.basename(os.path.realpath(loaded))})


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


class HeapAdapter:
    """Calls the heap functions, fills what they return and checks everything that lives."""

    def __init__(self, foreign: Any, memcmp: Any, functions: dict[str, Any]) -> None:
        self.foreign, self.memcmp, self.functions = foreign, memcmp, functions
        self.tile = foreign.from_buffer("char[]", TILE)
        self.blocks: dict[int, Block] = {}

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call, say the address, then use the memory and say what was wrong with it."""
        if kind not in self.functions or (block is not None and block not in self.blocks):
            say("skipped")
            return
        function = self.functions[kind]
        if kind == "free":
            assert block is not None
            gone = self.blocks.pop(block)
            function(self.pointer(gone.address))
            say("value", None)
        elif kind == "realloc":
            assert block is not None
            old = self.blocks[block]
            address = self.address(function(self.pointer(old.address), *arguments))
            say("value", address or None)
            if address:
                self.accept_moved(index, block, Block(address, arguments[0], phase_of(index)), say)
        else:
            address = self.address(function(*arguments))
            say("value", address or None)
            size = arguments[0] * arguments[1] if kind == "calloc" else arguments[-1]
            if address and size < 1 << 47:
                made = Block(address, size, phase_of(index))
                if kind == "calloc":
                    self.check_zero(made, say)
                self.fill(made)
                self.blocks[index] = made
        self.check_all(say)

    def pointer(self, address: int) -> Any:
        """An address as void *."""
        return self.foreign.cast("void *", address)

    def address(self, pointer: Any) -> int:
        """A void * as a number."""
        return int(self.foreign.cast("uintptr_t", pointer))

    def accept_moved(self, index: int, name: int, moved: Block, say: Callable[..., None]) -> None:
        """After realloc: the common prefix must carry the old pattern; then the block gets a pattern of its own."""
        if moved.size >= 1 << 47:
            return
        old = self.blocks[name]
        common = min(old.size, moved.size)
        for offset, length in old.windows():
            kept = Block(moved.address, common, old.phase)
            self.compare("prefix", name, kept, offset, min(length, common - offset), say)
        self.fill(moved)
        self.blocks[name] = moved

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
        """Do all live blocks carry their patterns?"""
        memcmp = self.memcmp
        for name, block in self.blocks.items():
            for place, pattern, length, offset in block.parts:
                if memcmp(place, pattern, length):
                    self.compare("contents", name, block, offset, length, say)

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
