"""The flags of every frame, as /proc/kpageflags showed them while the machine ran (Documentation: pagemap.rst).

The one idea: a dump has the lists and no flags, this file has the flags and no lists; each frame's flags are read at
once, so what must hold of the flags of one folio must hold here, and is evaluated on the model's own folios.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...model.folio import LRU_UNEVICTABLE
from ...model.lang.errors import InputError
from ...model.lang.records import Store
from .ftrace import Event, Marker, PageAllocated, PageFreed
from .lru import LruText, lru_scale
from .lru_states import LISTS, LruState
from .tally import Difference, Tally
from .vmscan_events import LruActivated, LruInserted, LruIsolated

KPF_LRU, KPF_ACTIVE, KPF_SLAB, KPF_BUDDY, KPF_MMAP, KPF_ANON, KPF_SWAPBACKED, KPF_UNEVICTABLE, KPF_THP = (
    5, 6, 7, 10, 11, 12, 14, 18, 22,
)  # fmt: skip
KPF_TAIL, KPF_NO_PAGE = 16, 20
"""Bits of include/uapi/linux/kernel-page-flags.h."""
_FLAGS = {
    0: "locked", 2: "referenced", 4: "dirty", KPF_LRU: "lru", KPF_ACTIVE: "active", 8: "writeback", 9: "reclaim",
    KPF_SWAPBACKED: "swapbacked", KPF_UNEVICTABLE: "unevictable", 33: "mlocked",
}  # fmt: skip
"""The folio's flags, by bit; those for the kernel's own developers from 32 on."""
BYTES_MAX = 1 << 27
BEGIN, READ = "KT SNAP-BEGIN ", "KT S kpageflags.bin"
"""What the workload writes into the trace when it begins a snapshot, and just before it reads this file."""


def flag_files(directory: Path) -> list[Path]:
    """The files of a recording: kpageflags_NAME.bin.xz."""
    return sorted(directory.glob("kpageflags_*.bin.xz"))


class FlaggedLru:
    """The model's machine `m` with the flags of every folio, and without lists."""

    def __init__(self, text: LruText, state: LruState, words: Sequence[int]) -> None:
        sizes = lru_scale(state)
        self.m: Any = text.clients.LruMachine(Store(sizes))
        for page, word in enumerate(words[: state.frames]):
            if word >> KPF_TAIL & 1 or word >> KPF_NO_PAGE & 1:
                continue
            names = [name for bit, name in _FLAGS.items() if word >> bit & 1]
            if word >> KPF_BUDDY & 1 and not names:
                continue
            folio = self.m.folio[page]
            folio.refcount = 0 if word >> KPF_BUDDY & 1 else 1
            for name in names:
                setattr(folio, name, True)


def flag_words(path: Path) -> tuple[int, ...]:
    """The flags of every frame, from a compressed copy of /proc/kpageflags."""
    try:
        with lzma.open(path, "rb") as stream:
            data = stream.read(BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "give a recording") from None
    except (lzma.LZMAError, EOFError):
        raise InputError(f"{path} is not a complete xz file", "copy it again") from None
    if len(data) > BYTES_MAX:
        raise InputError(f"{path} is longer than {BYTES_MAX} bytes", "give a copy of /proc/kpageflags")
    return read_words("kpageflags", str(path), data)


def read_words(proc: str, name: str, content: bytes) -> tuple[int, ...]:
    """The words for the frames in a file that copies /proc/kpageflags or /proc/kpagecount, as `proc` says."""
    if len(content) % 8:
        raise InputError(f"{name} is not a copy of /proc/{proc}", "it has 8 bytes for each page frame")
    return struct.unpack(f"<{len(content) // 8}Q", content)


NAMED = "flags of a frame name the list of the next state"
FLAG_RELATIONS = (NAMED,)
RECLAIMED_SINCE = "reclaim has isolated pages since, without saying which"
MUNLOCKED = "munlock() has no event"
DEACTIVATED = "pages are made inactive with no event"


class FlagWatch:
    """Follows the pages whose flags were read, to the next state: those that no event names are still where their flags
    said (folio_lru_list())."""

    def __init__(self, text: LruText, state: LruState, files: Sequence[Path]) -> None:
        self.text = text
        self.files = {path.name.removeprefix("kpageflags_").removesuffix(".bin.xz"): path for path in files}
        self.state = state
        self.tally = Tally()
        self.machines: dict[str, FlaggedLru] = {}
        self.name = ""  # of the snapshot that is being taken
        self.watched: dict[str, set[int]] = {}  # by snapshot: pages that an event has named since
        self.taken: dict[str, int] = {}  # by snapshot: pages that reclaim has isolated since

    def read(self, event: Event) -> None:
        match event:
            case Marker(text=text) if text.startswith(BEGIN):
                self.name = text.removeprefix(BEGIN)
            case Marker(text=text) if text == READ and self.name in self.files:
                self.watched[self.name], self.taken[self.name] = set(), 0
            case LruIsolated(taken=taken):
                for name in self.taken:
                    self.taken[name] += taken
            case PageFreed(pfn=page, order=order) | PageAllocated(pfn=int(page), order=order):
                for touched in self.watched.values():
                    touched.update(range(page, page + (1 << order)))
            case LruInserted(pfn=page) | LruActivated(pfn=page):
                for touched in self.watched.values():
                    touched.add(page)

    def compare(self, state: LruState) -> None:
        """The next state is reached."""
        lists = {frame: on for on, pages in enumerate(state.lists) for page in pages for frame in state.folio(page)}
        for name, touched in self.watched.items():
            machine = self.machines[name] = FlaggedLru(self.text, self.state, flag_words(self.files[name]))
            for page in range(state.frames):
                if page not in touched:
                    self._compare_page(name, machine, page, lists.get(page))
        self.watched, self.taken = {}, {}

    def _compare_page(self, name: str, machine: FlaggedLru, page: int, there: int | None) -> None:
        on_list = machine.m.folio[page].lru
        named = int(self.text.lru.folio_lru_list(machine.m, page)) if on_list else None
        if named == there:
            self.tally.right += named is not None
        elif named == LRU_UNEVICTABLE:
            self.tally.not_predicted[MUNLOCKED] += 1
        elif named is None or there is None or named >> 1 != there >> 1:
            self._differ(name, page, named, there)
        elif self.taken[name]:
            self.tally.not_predicted[RECLAIMED_SINCE] += 1
        elif there < named:
            self.tally.not_predicted[DEACTIVATED] += 1
        else:
            self._differ(name, page, named, there)

    def _differ(self, name: str, page: int, named: int | None, there: int | None) -> None:
        said, found = ("no list" if on is None else LISTS[on] for on in (named, there))
        self.tally.wrong.append(Difference(0, f"page {page}, snapshot {name}", found, said))
