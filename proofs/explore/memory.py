"""Zeroed memory for states and table: anonymous mappings that the system backs page by page as they are touched."""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress


class Block:
    """So many zeroed bytes at `address`, until released."""

    def __init__(self, size: int) -> None:
        self.size = size
        flags = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
        self._map = mmap.mmap(-1, size, flags=flags) if flags else mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE") and size >= 1 << 21:
            with suppress(OSError):
                self._map.madvise(mmap.MADV_HUGEPAGE)  # the table is read at random: fewer TLB misses
        self._view: ctypes.Array[ctypes.c_char] | None = (ctypes.c_char * size).from_buffer(self._map)
        self.address = ctypes.addressof(self._view)

    def release(self) -> None:
        """Give the memory back; the address is invalid from here on."""
        self._view = None
        self._map.close()


def available_bytes() -> int:
    """Memory that is available now, or a cautious guess."""
    with suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
