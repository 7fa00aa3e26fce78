"""The LRU of the model at the size of a real kernel, in the state that a memory dump showed, and moved on by events.

The one idea: the machine is the model's own record, and what an event says the kernel did to a page is done with the
model's own functions: mm_lru_insertion is lru_add_fn(), mm_lru_activate is folio_activate_fn(), and a page that is
freed leaves by __page_cache_release(). The dump has the lists and no flags, so flags are set as the lists say; the
model's folios have one page, so a huge page is its pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ...model.faults import Fault
from ...model.folio import LRU_UNEVICTABLE
from ...model.lang.errors import InputError
from ...model.lang.execute import STEP_ERRORS
from ...model.lang.records import Store
from ..loading import model_modules
from ..lru import SPEC
from .lru_states import LruState

PAGEVEC_SIZE = 15
SWAP_CLUSTER_MAX = 32
FREE = frozenset({"buddy", "pcp", "absent", "ref0"})
"""Classes of frames that nobody uses."""


@dataclass(frozen=True)
class LruText:
    """The text that is run: model/lru.py, and the machine above it."""

    lru: ModuleType
    clients: ModuleType


MODULES = ("folio", "lru", "lru_clients")


def lru_text(fault: Fault | None = None) -> LruText:
    """The text as it stands, or with a fault in it."""
    _, lru, clients = model_modules(MODULES, fault)
    return LruText(lru, clients)


def lru_scale(state: LruState) -> dict[str, int]:
    """The scope of a recorded machine, where nothing is switched off; what is set by sysctl has its default."""
    return SPEC.resolve(
        {
            "pages": state.frames,
            "cpus": state.cpus,
            "pagevec_size": PAGEVEC_SIZE,
            "swap_cluster_max": SWAP_CLUSTER_MAX,
            "long": 64,
            "age_bits": 62,
            "eviction_bits": 48,
            "gigabyte_order": 18,
            "mlocks": 1 << 10,
            "most_references": 1 << 10,
            "priority_most": 12,
            **{item.name: item.most for item in SPEC.parameters if item.name.startswith("with_")},
        }
    )


class RecordedLru:
    """The machine `m` in a recorded state. A frame is in use there if it belongs to the LRU, on a list or in a batch on
    its way to one; with `batches` False only the lists are loaded, as the events show no batches."""

    def __init__(self, text: LruText, state: LruState, batches: bool = True) -> None:
        self.text = text.lru
        self.sizes = lru_scale(state)
        self.m: Any = text.clients.LruMachine(Store(self.sizes))
        self.frames = state.frames
        try:
            self._load(state, batches)
        except STEP_ERRORS as error:
            raise InputError(f"state {state.name} contradicts itself: {error}", "record it again") from None

    def _load(self, state: LruState, batches: bool) -> None:
        for lru, pages in enumerate(state.lists):
            for page in pages:
                for frame in state.folio(page):
                    self._load_folio(frame, lru)
        if batches:
            self._load_batches(state)
        for run, what in state.classes:
            if what in FREE:
                for page in state.on_lru.intersection(run):
                    self.m.folio[page].refcount = 0
        for lru in range(len(state.lists)):
            self.m.lruvec.nr_lru[lru] = sum(zone.pages(lru) for zone in state.zones)
        for kind, isolated in enumerate(state.nr_isolated):
            self.m.lruvec.nr_isolated[kind] = isolated
        # A cost that is too high for the field is too high for the invariant, too.
        anon_cost, file_cost = (min(cost, self.sizes["cost_max"]) for cost in state.cost)
        self.m.lruvec.anon_cost, self.m.lruvec.file_cost = anon_cost, file_cost

    def _load_folio(self, page: int, lru: int) -> None:
        """Link a folio in at its list's tail, the counters aside: they are compared with the lists."""
        folio = self.m.folio[page]
        folio.active = self.text.is_active_lru(lru)
        folio.unevictable = folio.mlocked = lru == LRU_UNEVICTABLE
        folio.swapbacked = not self.text.is_file_lru(lru)
        folio.lru = True
        folio.refcount = 1
        if lru != LRU_UNEVICTABLE:
            self.text.list_add_tail(self.m, self.m.lruvec.lists[lru], page)

    def _load_batches(self, state: LruState) -> None:
        slots = Counter(page for kinds in state.batches for folios in kinds for page in folios)
        for page, count in slots.items():
            self.m.folio[page].refcount = 1 + count
        for cpu, kinds in enumerate(state.batches):
            for kind, folios in enumerate(kinds):
                batch = self.m.batch[cpu][kind]
                for slot, page in enumerate(folios):
                    batch.folios[slot] = page
                batch.nr = len(folios)

    # --- what is there

    def on_list(self, page: int) -> bool:
        return bool(self.m.folio[page].lru)

    def list_of(self, page: int) -> int | None:
        """The list of a folio that is on one."""
        return int(self.text.folio_lru_list(self.m, page)) if self.m.folio[page].lru else None

    def swapbacked(self, page: int) -> bool:
        return bool(self.m.folio[page].swapbacked)

    def pages_of_type(self, kind: int) -> int:
        """How many pages are on the two lists of a type."""
        nr_lru = self.m.lruvec.nr_lru
        return int(sum(nr_lru[lru] for lru in range(LRU_UNEVICTABLE) if self.text.lru_type(lru) == kind))

    def lists(self) -> Mapping[int, list[int]]:
        """The pages of each list from its head on; the unevictable one has no links."""
        found: dict[int, list[int]] = {}
        for lru in range(LRU_UNEVICTABLE):
            pages: list[int] = []
            page = self.m.lruvec.lists[lru].first
            while page is not None and len(pages) <= self.frames:
                pages.append(page)
                page = self.m.folio[page].next
            found[lru] = pages
        return found

    # --- what events say was done

    def insert(self, page: int, swapbacked: bool, active: bool, unevictable: bool) -> int:
        """lru_add_fn() of a folio with these flags; the list that it is on then."""
        folio = self.m.folio[page]
        folio.refcount = 1
        folio.swapbacked, folio.active, folio.mlocked = swapbacked, active, unevictable
        self.text.lru_add_fn(self.m, page)
        folio.lru = True
        return int(self.text.folio_lru_list(self.m, page))

    def isolate(self, page: int) -> None:
        """Somebody has taken a folio off its list (folio_isolate_lru())."""
        self.text.page_cache_release(self.m, page)
        self.m.folio[page].mlocked = False

    def deactivate(self, page: int) -> None:
        """Somebody has made an active folio inactive (lru_deactivate_fn())."""
        self.text.lru_deactivate_fn(self.m, page)

    def activate(self, page: int) -> None:
        self.text.folio_activate_fn(self.m, page)

    def release(self, page: int) -> None:
        """A page without references is freed."""
        self.isolate(page)
        folio = self.m.folio[page]
        folio.refcount = 0
        folio.swapbacked = False
