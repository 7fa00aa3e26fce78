"""The judge of a call log: what was live at each call decides whether it can be.

The one idea: live blocks are kept by name and by address; a call is compared with its neighbours by address alone, so
each costs the same however many blocks are live. What an incomplete log cannot show is counted, not judged.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from dataclasses import dataclass

from ..contracts.contract import Clause
from ..contracts.pages import FreePages
from . import clauses as of
from .formats import LTRACE, Call, Header, Key

UNITS_MAX = 1 << 16
REMEMBERED = 1 << 16
"""So many freed blocks are remembered, to tell a second free from one of what never was."""


@dataclass(frozen=True)
class Block:
    """A live block, and the line that made it."""

    key: Key
    address: int
    size: int
    line: int

    @property
    def stop(self) -> int:
        return self.address + max(1, self.size)


@dataclass(frozen=True)
class Breach:
    """A call that breaks a clause, and the blocks that it is about: their names, and their bytes."""

    clause: Clause
    call: Call
    message: str
    keys: frozenset[Key] = frozenset()
    bytes: range = range(0)


class LogOracle:
    """Follows a log. `held` counts how often each clause was put to the test, `unknown` what could not be, and why."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.live: dict[Key, Block] = {}
        self.starts: list[int] = []
        self.at: dict[int, Block] = {}
        self.freed: OrderedDict[Key, int] = OrderedDict()
        self.forgot = False
        self.held: Counter[str] = Counter()
        self.unknown: dict[str, Counter[str]] = {}
        self.counts: Counter[str] = Counter()
        self.peak = 0
        self.granted_empty = 0
        self.units = self._units()

    def _units(self) -> FreePages | None:
        """The free units of a buddy allocator of which enough is known."""
        header = self.header
        if header.kind != "buddy" or header.arena is None or header.min_block is None:
            return None
        pages = header.arena // header.min_block
        if not 1 <= pages <= UNITS_MAX:
            self._cannot(of.EXACT_SUCCESS, of.LARGE_ARENA)
            return None
        return FreePages({"pages": pages, "orders": pages.bit_length()})

    # --- calls

    def observe(self, call: Call) -> Breach | None:
        """Judge a call and move on."""
        self.counts[call.kind] += 1
        if call.kind == "alloc":
            return self._alloc(call)
        if call.kind == "free":
            return self._free(call)
        return self._realloc(call) if call.kind == "realloc" else None

    def _alloc(self, call: Call) -> Breach | None:
        if call.address is None:
            self.counts["refused"] += 1
            return self._refused(call)
        if call.key in self.live and not self.header.by_address:
            return self._breach(of.NAMED_ONCE, call, f"block {call.key} is live since line {self.live[call.key].line}")
        self.held[of.NAMED_ONCE.name] += not self.header.by_address
        return self._place(call, call.key)

    def _free(self, call: Call) -> Breach | None:
        block = self.live.get(call.key)
        if block is None:
            return self._not_live(call, of.DOUBLE_FREE, of.FOREIGN_FREE)
        self.held[of.DOUBLE_FREE.name] += 1
        self.held[of.FOREIGN_FREE.name] += 1
        self._remove(block)
        self._remember(call)
        return None

    def _realloc(self, call: Call) -> Breach | None:
        block = self.live.get(call.key)
        if block is None:
            breach = self._not_live(call, of.REALLOC, of.REALLOC)
            if breach is None and call.address is not None:
                self._forget(call.new_key)
                return self._place(call, call.new_key)
            return breach
        self.held[of.REALLOC.name] += 1
        if call.address is None:
            self.counts["refused"] += 1
            if call.size == 0:  # realloc(block, 0) may free it
                self._remove(block)
                self._remember(call)
            return None
        self._remove(block)
        if call.new_key != call.key:
            self._remember(call)
        return self._place(call, call.new_key)

    # --- clauses

    def _not_live(self, call: Call, twice: Clause, never: Clause) -> Breach | None:
        """A call about a block that is not live by the log."""
        before = self.freed.get(call.key)
        if before is not None and self.header.whole:
            message = f"{_name(self.header, call.key)} was freed in line {before} and is not live"
            return self._breach(twice, call, message)
        if self.header.complete and self.header.whole and not self.forgot:
            return self._breach(never, call, f"{_name(self.header, call.key)} was never given")
        for clause in dict.fromkeys((twice, never)):
            self._cannot(clause, of.BEGUN_LATER if self.header.whole else of.NOT_ALL_CALLS)
        return None

    def _place(self, call: Call, key: Key) -> Breach | None:
        """A new block, or one that may have moved: may it lie there?"""
        assert call.address is not None
        block = Block(key, call.address, call.size or 0, call.line)
        breach = self._bounded(call, block) or self._aligned(call, block) or self._sized(call, block)
        other = self._overlapped(block)
        if breach is None and other is not None:
            if self.header.whole:
                shared = max(block.address, other.address)
                where = _address(self.header, shared)
                message = f"byte {where} is also in the block of line {other.line}, which is live"
                return self._breach(of.DISJOINT, call, message, other)
            self._cannot(of.DISJOINT, of.NOT_ALL_CALLS)
            while (gone := self._overlapped(block)) is not None:
                self._remove(gone)
        else:
            self.held[of.DISJOINT.name] += 1
        if breach is None:
            self._add(block)
        return breach

    def _bounded(self, call: Call, block: Block) -> Breach | None:
        header = self.header
        if header.arena is None:
            self._cannot(of.IN_BOUNDS, of.NO_ARENA)
            return None
        self.held[of.IN_BOUNDS.name] += 1
        # A block of no bytes may lie anywhere in it.
        if header.first <= block.address and block.address + self._room(block) <= header.first + header.arena:
            return None
        arena = f"{_address(header, header.first)} to {_address(header, header.first + header.arena - 1)}"
        message = f"{self._room(block)} bytes at {_address(header, block.address)} are not within {arena}"
        return self._breach(of.IN_BOUNDS, call, message)

    def _room(self, block: Block) -> int:
        """What a block takes up: of a buddy allocator, its size rounded up."""
        return 1 << self._order(block.size) if self.units is not None else block.size

    def _order(self, size: int) -> int:
        """The order in bytes of a buddy's block."""
        return (max(size, self.header.min_block or 1) - 1).bit_length()

    def _aligned(self, call: Call, block: Block) -> Breach | None:
        header = self.header
        offset = block.address
        align = call.align or header.align
        if header.small_align is not None and call.align is None and block.size < (header.align or 1):
            align = header.small_align
        if self.units is not None:
            offset, align = block.address - header.first, max(align or 1, 1 << self._order(block.size))
        if align is None:
            self._cannot(of.ALIGNED, of.NO_ALIGNMENT)
            return None
        self.held[of.ALIGNED.name] += 1
        if align & (align - 1) == 0 and offset % align == 0:
            return None
        message = f"{block.size} bytes at {_address(header, block.address)}, which is no multiple of {align}"
        return self._breach(of.ALIGNED, call, message)

    def _sized(self, call: Call, block: Block) -> Breach | None:
        wanted = self.header.object_size
        if wanted is None:
            return None
        self.held[of.ONE_SIZE.name] += 1
        if block.size == wanted:
            return None
        return self._breach(of.ONE_SIZE, call, f"{block.size} bytes, in a cache of objects of {wanted}")

    def _refused(self, call: Call) -> Breach | None:
        """A request was not met: could it have been?"""
        size = call.size or 0
        if self.units is not None:
            self.held[of.EXACT_SUCCESS.name] += 1
            order = self._unit_order(size)
            fits = order < self.units.orders and (1 << order) <= self.units.pages
            page = self.units.first_run(order) if fits else None
            if page is not None and self.header.complete and self.header.whole:
                unit = self.header.min_block or 1
                where = _address(self.header, self.header.first + page * unit)
                message = f"{size} were refused, yet {unit << order} are free at {where}"
                return self._breach(of.EXACT_SUCCESS, call, message)
        elif not self.live and self.header.complete and self.header.whole:
            self.held[of.CAPACITY.name] += 1
            if 0 < size <= self.granted_empty:
                message = f"{size} were refused, nothing is live, and {self.granted_empty} were given before"
                return self._breach(of.CAPACITY, call, message)
        return None

    def _unit_order(self, size: int) -> int:
        """The order in units of a buddy's block."""
        return max(0, self._order(size) - ((self.header.min_block or 1) - 1).bit_length())

    # --- live blocks

    def _overlapped(self, block: Block) -> Block | None:
        position = bisect_left(self.starts, block.address)
        after = self.at[self.starts[position]] if position < len(self.starts) else None
        before = self.at[self.starts[position - 1]] if position else None
        if after is not None and after.address < block.stop:
            return after
        return before if before is not None and before.stop > block.address else None

    def _add(self, block: Block) -> None:
        if not self.live:
            self.granted_empty = max(self.granted_empty, block.size)
        self._forget(block.key)
        self.live[block.key] = self.at[block.address] = block
        insort(self.starts, block.address)
        self.peak = max(self.peak, len(self.live))
        if self.units is not None:
            self._flip(block)

    def _remove(self, block: Block) -> None:
        del self.live[block.key], self.at[block.address]
        del self.starts[bisect_left(self.starts, block.address)]
        if self.units is not None:
            self._flip(block)

    def _flip(self, block: Block) -> None:
        assert self.units is not None
        page = (block.address - self.header.first) // (self.header.min_block or 1)
        self.units.flip(page, self._unit_order(block.size))

    def _remember(self, call: Call) -> None:
        self.freed[call.key] = call.line
        if len(self.freed) > REMEMBERED:
            self.freed.popitem(last=False)
            self.forgot = True

    def _forget(self, key: Key) -> None:
        self.freed.pop(key, None)

    # --- words

    def _cannot(self, clause: Clause, reason: str) -> None:
        self.unknown.setdefault(clause.name, Counter())[reason] += 1

    def _breach(self, clause: Clause, call: Call, message: str, other: Block | None = None) -> Breach:
        keys = {call.key, call.new_key if call.kind == "realloc" else call.key, *([other.key] if other else [])}
        span = range(0)
        if call.address is not None:
            span = range(call.address, call.address + max(1, call.size or 0))
        return Breach(clause, call, message, frozenset(keys), span)


def _name(header: Header, key: Key) -> str:
    return _address(header, key) if header.by_address and isinstance(key, int) else f"block {key}"


def _address(header: Header, address: int) -> str:
    return hex(address) if address >= 1 << 20 or header.format == LTRACE else str(address)
