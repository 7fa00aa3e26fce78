"""The pages in a state that LRU lists hold: on which list, batch or reclaimer's list each one is, and who refers to it.

The one idea: a folio should be in one place, a list, a cpu's add batch, a reclaimer's list, in use outside the lists
or not in use; so reading walks every list and collects for each folio the places it is in, and what does not agree (a
flag, a link, a counter) is a remark beside it. Broken states are the point: lists may loop, lead nowhere, and share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from ..model.lang.trace import Plain, Trace
from .changes import Path, sort_name
from .memory_map import find, records_within

MOST_FOLIOS = 1 << 12
MOST_CELLS = 1 << 10
"""Page table entries, swap slots and pages of files that are read, and folios of a batch or list."""
NEEDED = frozenset({"refcount", "lru", "next", "prev"})
FLAGS = {
    "locked": ("L", "locked"), "active": ("A", "active"), "referenced": ("R", "referenced"),
    "unevictable": ("U", "unevictable"), "dirty": ("D", "dirty"), "writeback": ("W", "under writeback"),
    "reclaim": ("I", "to be reclaimed when written"), "swapcache": ("S", "in the swap cache"),
    "mlocked": ("M", "mlocked"), "workingset": ("w", "workingset"),
}
"""A letter and words for each flag of a folio; the letters are near to those of the kernel's page-types tool."""
USE, MM, SWAP, FILE = "use", "mm", "swap", "i_pages"
WATERMARKS = ("min", "low", "high")
ISOLATED = ("folio_list", "ret_folios", "l_inactive")
"""A reclaimer's lists of folios."""
POSITION = ("phase", "priority", "folio", "unmapped")
"""What says where a reclaimer is."""
TOLD = ("nr_reclaimed", "nr_to_reclaim")
NOTES = ("held", "young", "migrating", "zonenum")
"""What a machine may say about each page."""
POOL, FREE_COUNT = "free", "nr_free_pages"
MAPPING, TASK = "slot", "task"
HANDS = {"vmf": "in do_swap_page", "dio": "direct io"}
SHOWN = ("folio", "lruvec", "batch", "mlock_batch", USE, MM, SWAP, FILE, MAPPING, POOL, TASK, *HANDS, *NOTES)


@dataclass(frozen=True)
class LruMap:
    """Where a specification keeps its LRU: the fields are those of `model/folio.py` and `model/mm.py`, at `prefix`.

    `lists` is false for a machine that has them and puts no folio on them, `mapping` for one whose page cache is never
    used. `watermarks` are those of the frames."""

    prefix: tuple[str, ...] = ()
    lists: bool = True
    mapping: bool = True
    watermarks: tuple[tuple[str, int], ...] = ()

    def of(self, trace: Trace) -> LruMap | None:
        """Where the states of a trace have folios and an lruvec, and what the trace as a whole says about them."""
        here = self.within(trace.steps[-1].state)
        if here is None:
            return None
        marks = [(name, trace.scope[f"watermark_{name}"]) for name in WATERMARKS if f"watermark_{name}" in trace.scope]
        states = [step.state for step in trace.steps if here.fits(step.state)]
        kept = any(here._keeps_lists(state) for state in states)
        mapping = any(isinstance(slot, Mapping) and (slot.get("folio"), slot.get("shadow")) != (None, None)
                      for state in states for slot in here.array(state, MAPPING))
        return replace(here, lists=kept, mapping=mapping, watermarks=tuple(marks))

    def _keeps_lists(self, state: Plain) -> bool:
        """Whether there is something on a list, or no folio says that it is on one."""
        heads, counts = self.array(state, "lruvec.lists"), self.array(state, "lruvec.nr_lru")
        return any(head["first"] is not None for head in heads) or any(count != 0 for count in counts)

    def within(self, state: Plain) -> LruMap | None:
        """Where a state has folios and an lruvec, or None."""
        return next((moved for moved in map(LruMap, records_within(state)) if moved.fits(state)), None)

    def fits(self, state: Plain) -> bool:
        """Whether a state has them at this very place."""
        folios, lists = self.array(state, "folio"), find(state, self.path("lruvec.lists"))
        return (
            0 < len(folios) <= MOST_FOLIOS
            and all(isinstance(folio, Mapping) and folio.keys() >= NEEDED for folio in folios)
            and isinstance(lists, list) and 0 < len(lists) <= MOST_CELLS
            and all(isinstance(head, Mapping) and head.keys() >= {"first", "last"} for head in lists)
        )

    def path(self, name: str) -> str:
        return ".".join((*self.prefix, name))

    def where(self, *parts: str | int) -> Path:
        """The path of a value below the prefix."""
        return (*self.prefix, *parts)

    def shares_pages(self, state: Plain) -> bool:
        """Whether the page allocator is there, too, so that pages may have other uses."""
        return isinstance(find(state, self.path("memory.mem_map")), list)

    def array(self, state: Plain, name: str) -> Sequence[Plain]:
        """An array of the machine, or nothing."""
        found = find(state, self.path(name))
        return found if isinstance(found, list) else ()

    def covers(self, path: Path) -> bool:
        """Whether the picture shows the value at this path."""
        own, inside = path[: len(self.prefix)], path[len(self.prefix) :]
        isolated = path[-2:-1] in {(name,) for name in ISOLATED} and path[-1:] in (("first",), ("last",))
        shown = inside[:1] in {(name,) for name in SHOWN} or inside == (FREE_COUNT,)
        return (own == self.prefix and shown) or isolated or path[-1:] in {(name,) for name in POSITION + TOLD}

    def lengths(self, state: Plain) -> dict[str, int]:
        """How many elements the sorts have in a state that fits."""
        return {
            "page": len(self.array(state, "folio")), "lru": len(self.array(state, "lruvec.lists")),
            "task": len(self.array(state, MM)), "swap_entry": len(self.array(state, SWAP)),
            "file_page": len(self.array(state, FILE)), "cpu": len(self.array(state, "batch")),
        }


LRU = LruMap()
"""The LRU of `model/folio.py`, wherever a machine has it."""


@cache
def list_names() -> Mapping[int, str]:
    """The kernel's names of the lists."""
    from ..model import folio

    return {
        folio.LRU_INACTIVE_ANON: "inactive anon", folio.LRU_ACTIVE_ANON: "active anon",
        folio.LRU_INACTIVE_FILE: "inactive file", folio.LRU_ACTIVE_FILE: "active file",
        folio.LRU_UNEVICTABLE: "unevictable",
    }


def list_name(number: int) -> str:
    """The name of a list, or its number if it has none."""
    return list_names().get(number, f"list {number}")


def phase_name(phase: Plain) -> Plain:
    """What a reclaimer does next, as `model/reclaim.py` names it; any other value as it is."""
    from ..model import reclaim

    known = {
        reclaim.RECLAIM_NOTHING: "sleeps", reclaim.RECLAIM_TURN: "next priority", reclaim.RECLAIM_LIST: "next list",
        reclaim.RECLAIM_FOLIO: "next folio", reclaim.RECLAIM_MAPPING: "remove mapping",
        reclaim.RECLAIM_TURN_END: "lists scanned", reclaim.RECLAIM_LAST: "end",
    }
    return known.get(phase, phase) if isinstance(phase, int) and not isinstance(phase, bool) else phase


def kswapd() -> int:
    """Which reclaimer is kswapd."""
    from ..model import reclaim

    return reclaim.KSWAPD


@cache
def batch_names() -> Mapping[int, str]:
    """The kernel's names of the batches: `lru add`, from BATCH_LRU_ADD."""
    from ..model import folio

    return {value: name.removeprefix("BATCH_").lower().replace("_", " ") for name, value in vars(folio).items()
            if name.startswith("BATCH_")}


@dataclass(frozen=True)
class FolioView:
    """A folio: its flags as letters, its counts as stored, what else the machine says about it (`notes`: what it holds,
    who has it), the names of the page table entries that map it, and what is odd about it."""

    page: int
    anon: bool
    in_use: bool
    flags: str
    refcount: Plain
    mapcount: Plain
    notes: str
    users: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Folios that are somewhere together: `kind` is "batch", "list", "isolated", "other" or "free", `key` the place,
    `linked` says that they are a list with links, from the end where pages are added to the one that is scanned next.

    `facts` are numbers beside it, with their paths."""

    key: str
    kind: str
    number: int
    label: str
    folios: tuple[int, ...]
    linked: bool = False
    facts: tuple[tuple[str, Path, Plain], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """Something outside the lists that refers to a folio or a swap slot: a page table entry ("pte"), what a processor
    remembers of one ("tlb"), what somebody has in hand ("hand"), a swap slot ("slot") or a page of a file ("file").

    `words` say what it has, `path` is where it is, `beside` where else what it says comes from."""

    kind: str
    group: int
    number: int
    name: str
    path: Path
    page: int | None
    slot: int | None
    words: str
    remarks: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()

    @property
    def idle(self) -> bool:
        """Whether it has nothing."""
        return not self.words


@dataclass(frozen=True)
class LruView:
    """A state's folios by number, the rows they are in, the cells that refer to them, and numbers of the lruvec."""

    folios: Mapping[int, FolioView]
    rows: tuple[Row, ...]
    tasks: tuple[tuple[int, tuple[Cell, ...]], ...]
    hands: tuple[Cell, ...]
    slots: tuple[Cell, ...]
    file: tuple[Cell, ...]
    facts: tuple[tuple[str, Path, Plain], ...]

    def cells(self) -> Iterator[Cell]:
        for _, cells in self.tasks:
            yield from cells
        yield from self.hands
        yield from self.slots
        yield from self.file

    def places(self) -> dict[int, tuple[str, ...]]:
        """The rows that each folio is in, its own place first."""
        found: dict[int, tuple[str, ...]] = {}
        for row in sorted(self.rows, key=lambda row: row.kind == "batch"):
            for page in row.folios:
                found[page] = (*found.get(page, ()), row.key)
        return found


@dataclass(frozen=True)
class Guilty:
    """What the violated clause names: folios, rows, and cells by kind, group and number (None: any)."""

    pages: frozenset[int] = frozenset()
    lists: frozenset[int] = frozenset()
    cpus: frozenset[int] = frozenset()
    tasks: frozenset[int] = frozenset()
    entries: frozenset[int] = frozenset()
    slots: frozenset[int] = frozenset()
    file: frozenset[int] = frozenset()

    def row(self, row: Row) -> bool:
        return (row.kind == "list" and row.number in self.lists) or (row.kind == "batch" and row.number in self.cpus)

    def cell(self, cell: Cell) -> bool:
        """Whether a cell is named: an entry by its task and number, or by its number if no task is named."""
        if cell.kind == "slot":
            return cell.number in self.slots
        if cell.kind == "file":
            return cell.number in self.file
        if cell.kind == "hand":
            return False
        own = self.file if cell.name.startswith("file") else self.entries
        return cell.number in own and (not self.tasks or cell.group in self.tasks)


PAGE_NAMES = frozenset({"page", "folio", "pfn", "frame"})


def guilty(trace: Trace) -> Guilty:
    """What the violated clause names, by the names of its elements."""
    found = [(sort_name(name), value) for name, value in (trace.violation.elements if trace.violation else ())]

    def named(*wanted: str) -> frozenset[int]:
        return frozenset(value for name, value in found if name in wanted)

    return Guilty(
        named(*PAGE_NAMES), named("lru", "list"), named("cpu"), named("task", "mm"), named("vpage"),
        named("swap_entry", "entry", "slot", "swap"), named("file_page", "index", "mapping_slot"),
    )
