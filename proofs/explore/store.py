"""The memory of a search: chunks of states and the hash table, grown on demand from inside the compiled loop."""

from __future__ import annotations

import ctypes

from . import context as shared
from .machine import NativeMachine
from .memory import Block, available_bytes
from .results import Limits

_CHUNK_BYTES = 4 << 20
_CHUNKS = 1 << 16
_ARENA_BYTES = 1 << 26
_HUGE_PAGE = 1 << 21
_ENTRY_BYTES = 4
_LOAD = 0.8
_MOST_STATES = (1 << 31) - 16
_GROW = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


class StateStore:
    """States in the order found, their parents, and the table; attached to a machine's context."""

    def __init__(
        self, machine: NativeMachine, limits: Limits, chunk_bytes: int = _CHUNK_BYTES, table_slots: int = 1 << 16
    ) -> None:
        self.machine = machine
        words = machine.layout.words
        self.state_bytes = words * 8 + 4
        self.shift = max(4, (chunk_bytes // self.state_bytes).bit_length() - 1)
        self.limit = limits.memory_bytes if limits.memory_bytes is not None else available_bytes() * 3 // 4
        self.bytes = self.peak = 0
        self.interrupted: BaseException | None = None
        self._chunks: list[int] = []
        self._arenas: list[Block] = []
        self._free = self._arena_end = 0
        self._addresses = Block(_CHUNKS * 8)
        self._table = Block(table_slots * _ENTRY_BYTES)
        self._charge(self._table.size)
        self._pending = Block(shared.PENDING * (words + shared.PENDING_HEADER) * 8)
        self._callback = _GROW(self._grow)
        callback_address = ctypes.cast(self._callback, ctypes.c_void_p).value
        assert callback_address is not None
        state_limit = _MOST_STATES if limits.states is None else min(limits.states, _MOST_STATES)
        for name, value in {
            "chunks": self._addresses.address,
            "chunk_shift": self.shift,
            "pending": self._pending.address,
            "grow": callback_address,
            "state_limit": state_limit,
        }.items():
            machine.set(name, value)
        self._use_table()

    def count(self) -> int:
        """Distinct states."""
        return self.machine.get("states")

    def words(self, number: int) -> bytes:
        """A state, packed."""
        chunk, inside = divmod(number, 1 << self.shift)
        return self.machine.read_words(self._chunks[chunk] + inside * self.machine.layout.words * 8)

    def parent(self, number: int) -> int:
        """The state from which a state was first reached, or NO_PARENT."""
        chunk, inside = divmod(number, 1 << self.shift)
        base = self._chunks[chunk] + (self.machine.layout.words * 8 << self.shift)
        return ctypes.c_uint32.from_address(base + inside * 4).value

    def release(self) -> None:
        """Give the memory back."""
        for block in (*self._arenas, self._addresses, self._table, self._pending):
            block.release()
        self._chunks.clear()
        self._arenas.clear()

    def _grow(self, kind: int) -> int:
        """Called from compiled code; must not raise."""
        try:
            return self._new_chunk() if kind == shared.GROW_STATES else self._new_table()
        except (MemoryError, OSError):
            return 1
        except BaseException as stopped:  # a Ctrl-C must not vanish in the callback
            self.interrupted = stopped
            return 1

    def _charge(self, size: int) -> None:
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def _new_chunk(self) -> int:
        size = self.state_bytes << self.shift
        if self.bytes + size > self.limit or len(self._chunks) == _CHUNKS:
            return 1
        address = self._carve(-(-size // 64) * 64)
        ctypes.c_uint64.from_address(self._addresses.address + 8 * len(self._chunks)).value = address
        self._chunks.append(address)
        self._charge(size)
        self.machine.set("capacity", len(self._chunks) << self.shift)
        return 0

    def _carve(self, size: int) -> int:
        """The next part of an arena. Arenas are large so that the system can back them with huge pages; what is
        not touched yet takes no memory."""
        if self._free + size > self._arena_end:
            arena = Block(max(_ARENA_BYTES, size) + _HUGE_PAGE)
            self._arenas.append(arena)
            self._free = -(-arena.address // _HUGE_PAGE) * _HUGE_PAGE
            self._arena_end = arena.address + arena.size
        address = self._free
        self._free += size
        return address

    def _new_table(self) -> int:
        """Twice the table. It is filled from the states, so the old one goes before the new one is touched."""
        old, size = self._table, self._table.size * 2
        if self.bytes - old.size + size > self.limit:
            return 1
        self._table = Block(size)
        self._charge(size - old.size)
        self._use_table()
        old.release()
        return 0

    def _use_table(self) -> None:
        slots = self._table.size // _ENTRY_BYTES
        self.machine.set("table", self._table.address)
        self.machine.set("table_mask", slots - 1)
        self.machine.set("table_room", int(slots * _LOAD))
