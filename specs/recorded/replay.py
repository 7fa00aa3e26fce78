"""A recording applied to the model: every recorded operation is a call of the model's own function, and what the model
does is compared with what the kernel did.

The one idea: which function is called, with which arguments, comes from the recording; what happens then is the model's
affair alone. What the kernel takes from outside is given to the model in the same way: where a random freelist begins,
when kswapd runs, which of two frees an interrupt let go first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...model import gfp as gfp_names
from ...model.slab_size import SLAB_TYPESAFE_BY_RCU
from .changes import Changes
from .machine import RecordedMachine
from .naming import cache_flags, gfp_flags, kmalloc_name, live_addresses, named_later
from .operations import (
    AllocateObject,
    AllocateObjects,
    AllocatePageInBulk,
    AllocatePages,
    CompactZone,
    DrainPages,
    FreeObject,
    FreeObjects,
    FreePages,
    IsolateFreePage,
    Operation,
    ReclaimActive,
    ShrinkCache,
)
from .page_replay import NOTHING_GIVEN, Given, PageReplay, TurnedList
from .states import KernelState
from .tally import (
    ADDRESSES,
    BLOCKS,
    DISCARDED,
    FRESH,
    INTERRUPT,
    NO_SLAB_EVENTS,
    PAGES,
    SHRUNK,
    SHRUNK_BY_ALL,
    STEPS,
    UNKNOWN_CACHE,
    UNSEEN,
    Difference,
    Tally,
)
from .unseen import Unseen, unseen

NULL_POINTERS = (0, 16)
"""NULL and ZERO_SIZE_PTR: freeing them does nothing."""
DIFFERENCES_MAX = 1000
"""After so many differences the model is elsewhere, and going on says nothing more."""


@dataclass
class Replay:
    """What was found, the machine in its last state, the objects live by the events, and until where slabs followed."""

    machine: RecordedMachine
    tallies: Mapping[str, Tally]
    live: set[int]
    slabs_until: int | None
    slabs_reason: str
    stopped_at: int | None
    turned: Mapping[tuple[int, int], TurnedList]
    unseen: tuple[Unseen, ...]


def replay(
    machine: RecordedMachine,
    operations: Sequence[Operation],
    before: KernelState,
    after: KernelState,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Apply the operations to a machine in the first state; the second only helps to name the caches of new slabs."""
    run = _Run(machine, before, named_later(operations, machine, after))
    if operations and not any(isinstance(operation, AllocateObject | FreeObject) for operation in operations):
        run.lose_slabs(operations[0].line, NO_SLAB_EVENTS)
    shrinks = sum(1 for operation in operations if isinstance(operation, ShrinkCache))
    if shrinks == len(machine.caches) and before.cpus == 1:
        # As many files as caches: none has a second name, and the shell goes through them in the order of paths.
        run.shrunk = sorted(range(shrinks), key=lambda number: machine.caches[number].name + "/shrink")
    for number, operation in enumerate(operations):
        if number & 255 == 0:
            progress(number, len(operations))
        if run.differences >= DIFFERENCES_MAX:
            run.stopped_at = operation.line
            break
        run.apply(operation)
    progress(len(operations), len(operations))
    return Replay(machine, run.tallies, run.live, run.slabs_until, run.slabs_reason, run.stopped_at, run.turned,
                  unseen(operations, run.locked))  # fmt: skip


class _Run(PageReplay):
    """Operations of both allocators; slabs take their pages from the page allocator themselves."""

    def __init__(self, machine: RecordedMachine, before: KernelState, named: Mapping[int, int]) -> None:
        super().__init__(machine)
        self.m = machine.m
        self.bulk = machine.bulk
        self.slub = machine.text.slub
        self.named = named
        self.live = live_addresses(machine, before)
        self.freed: dict[int, Operation] = {}  # the last free of each address
        self.given_back: dict[int, tuple[int, ...]] = {}  # slabs the model has freed, with the pages drained for them
        self.slabs_until: int | None = None
        self.slabs_reason = ""
        self.shrunk: Sequence[int] = ()  # the caches in the order in which the workload shrinks them, if it is known
        self.stopped_at: int | None = None
        self.handlers: dict[type, Callable[[Any], None]] = {
            AllocatePages: self.allocate_pages,
            AllocatePageInBulk: self.allocate_page_in_bulk,
            FreePages: self.free_pages,
            DrainPages: self.drain_pages,
            IsolateFreePage: self.isolate_free_page,
            ReclaimActive: self.reclaim_active,
            CompactZone: self.compact_zone,
            ShrinkCache: self.shrink_cache,
            AllocateObject: self.allocate_object,
            AllocateObjects: self.allocate_objects,
            FreeObject: self.free_object,
            FreeObjects: self.free_objects,
        }

    def apply(self, operation: Operation) -> None:
        self.handlers[type(operation)](operation)
        self.note_counts(operation.cpu)

    # --- pages of slabs

    def free_pages(self, operation: FreePages) -> None:
        """Pages are freed; those of a slab the model has freed itself, when it discarded the slab."""
        pfn, line = operation.pfn, operation.line
        if self.slabs_until is not None or self.machine.heads.get(pfn) != pfn:
            super().free_pages(operation)
            return
        if self.waits(pfn):
            _, changes = self.call(line, NOTHING_GIVEN, self.slub.rcu_free_slab, self.m, operation.cpu, pfn)
            self.note_given_back(changes)
        drained = self.given_back.pop(pfn, None)
        if drained is None:
            self.wrong(DISCARDED, line, f"slab {pfn}", "freed", "kept")
            return
        self.machine.forget_slab(pfn, operation.order)
        self.right(DISCARDED)
        self.compare_drained(operation, drained)

    def waits(self, page: int) -> bool:
        """Whether a slab has been discarded and its pages wait for a grace period to pass."""
        number, slab = self.machine.cache_of(page), self.m.slab[page]
        if number is None or not self.machine.caches[number].flags & SLAB_TYPESAFE_BY_RCU:
            return False
        node = self.m.kmem_cache[number].node[0]
        return slab.inuse == 0 and not slab.frozen and page not in self.machine.slab_list(node.first)

    # --- objects

    def shrink_cache(self, operation: ShrinkCache) -> None:
        """kmem_cache_shrink(): the CPU is flushed, then the node's list is sorted."""
        if self.slabs_until is not None:
            return
        if len(self.shrunk) <= operation.number:
            several = self.machine.sizes["cpus"] > 1
            self.lose_slabs(operation.line, SHRUNK_BY_ALL if several else SHRUNK)
            return
        cache = self.shrunk[operation.number]
        arguments = (self.m, cache, operation.cpu)
        for function in (self.slub.flush_cpu_slab_work, self.slub.kmem_cache_do_shrink):
            _, changes = self.call(operation.line, NOTHING_GIVEN, function, *arguments)
            self.note_given_back(changes)

    def lose_slabs(self, line: int, reason: str) -> None:
        """From here on the lists of slabs are not known."""
        if self.slabs_until is None:
            self.slabs_until, self.slabs_reason = line, reason
            for pfn in self.given_back:
                self.wrong(DISCARDED, line, f"slab {pfn}", "kept", "freed")

    def allocate_object(self, operation: AllocateObject) -> None:
        address = operation.address
        self.live.add(address)
        if self.slabs_until is not None:
            self.follow_pages_only(operation)
            return
        number = self.cache_of(operation)
        if number is None:
            self.not_predicted(ADDRESSES, UNKNOWN_CACHE)
            self.follow_pages_only(operation)
            return
        flags = gfp_flags(operation.gfp_flags) | cache_flags(self.machine.caches[number])
        chooser = Given(self.positions(operation, number, (address,)))
        arguments = (self.m, number, operation.cpu, flags, None)
        found, changes = self.call(operation.line, chooser, self.slub.slab_alloc_node, *arguments)
        fresh = self.new_slabs(operation, changes)
        if found is None:
            self.wrong(ADDRESSES, operation.line, self.machine.caches[number].name, hex(address), "no object")
        else:
            self.compare_address(operation, number, address, found, fresh)

    def compare_address(
        self, operation: AllocateObject | AllocateObjects, number: int, address: int, found: int, fresh: list[int]
    ) -> None:
        predicted = self.machine.address_of(found)
        if predicted == address:
            if self.machine.heads.get(self.machine.frame(address)) in fresh:
                fresh.remove(self.machine.heads[self.machine.frame(address)])
                self.not_predicted(ADDRESSES, FRESH)
            else:
                self.right(ADDRESSES)
            return
        because = self.interrupted(address, predicted)
        reason = "" if because is None else INTERRUPT
        name = self.machine.caches[number].name
        self.add(ADDRESSES, Difference(operation.line, name, hex(address), hex(predicted), reason, because))

    def interrupted(self, address: int, predicted: int) -> int | None:
        """If both were freed on one CPU, one by an interrupt: which was first has no event. Gives the other's line."""
        one, other = self.freed.get(address), self.freed.get(predicted)
        if one is None or other is None or one.cpu != other.cpu or one.level == other.level:
            return None
        return min(one, other, key=lambda operation: operation.level).line

    def allocate_objects(self, operation: AllocateObjects) -> None:
        self.live.update(operation.addresses)
        number = self.machine.by_name.get(operation.cache)
        if self.slabs_until is not None or number is None:
            if number is None:
                self.not_predicted(ADDRESSES, UNKNOWN_CACHE, len(operation.addresses))
            self.follow_pages_only(operation)
            return
        if not operation.complete:
            self.lose_slabs(operation.line, UNSEEN)
            self.follow_pages_only(operation)
            return
        size = len(operation.addresses)
        flags = gfp_names.GFP_KERNEL | cache_flags(self.machine.caches[number])
        chooser = Given(self.positions(operation, number, operation.addresses))
        arguments = (self.m, self.bulk, number, operation.cpu, flags, size)
        _, changes = self.call(operation.line, chooser, self.slub.kmem_cache_alloc_bulk_array, *arguments)
        fresh = self.new_slabs(operation, changes)
        for position, address in enumerate(operation.addresses):
            found = self.bulk.p[position]
            self.bulk.p[position] = None
            if found is None:
                self.wrong(ADDRESSES, operation.line, operation.cache, hex(address), "no object")
            else:
                self.compare_address(operation, number, address, found, fresh)

    def follow_pages_only(self, operation: AllocateObject | AllocateObjects) -> None:
        """Where slabs are not followed, the pages of a new slab are pages like others."""
        if self.slabs_until is not None:
            self.not_predicted(ADDRESSES, self.slabs_reason, _objects(operation))
        for pages in operation.pages:
            self.allocate_pages(pages)

    def new_slabs(self, operation: AllocateObject | AllocateObjects, changes: Changes) -> list[int]:
        """Compare the pages of the slabs that the model made with those of the recorded allocations."""
        made = changes.new_slabs()
        for page in made:
            self.machine.add_slab(page)
        recorded = [(pages.pfn, pages.order) for pages in operation.pages]
        predicted = [(page, self.machine.order_of(page)) for page in made]
        self.compare(PAGES, operation.line, "a new slab", recorded, predicted)
        if operation.pages or made:
            self.compare_slab_blocks(operation, changes, made)
        return made

    def compare_slab_blocks(
        self, operation: AllocateObject | AllocateObjects, changes: Changes, made: list[int]
    ) -> None:
        order = operation.pages[0].order if operation.pages else self.machine.order_of(made[0])
        recorded = [block for pages in operation.pages for block in pages.taken]
        if self.page_alloc.pcp_allowed_order(self.pages, order):
            taken = [(block, order) for block in changes.to_pcp()]
        else:
            taken = [(page, order) for page in made]
        self.compare(BLOCKS, operation.line, f"order {order}, a new slab", recorded, taken)

    def free_object(self, operation: FreeObject) -> None:
        address, cache = operation.address, operation.cache
        if address in NULL_POINTERS:
            return
        page = self.machine.slab_of(address)
        if self.slabs_until is not None or page is None:
            self.live.discard(address)  # not in a slab: of kmalloc_large(), whose pages have an event of their own
            return
        number, object_ = self.machine.cache_of(page), self.machine.object_of(page, address)
        if number is None or object_ is None or address not in self.live:
            self.wrong(STEPS, operation.line, f"free of {hex(address)}", "freed", "no live object")
            return
        if cache is not None and cache != self.machine.caches[number].name:
            self.wrong(STEPS, operation.line, f"free of {hex(address)}", cache, self.machine.caches[number].name)
        self.note_free(operation, address)
        arguments = (self.m, number, operation.cpu, page, object_, None, 1)
        _, changes = self.call(operation.line, NOTHING_GIVEN, self.slub.slab_free, *arguments)
        self.note_given_back(changes)

    def note_free(self, operation: Operation, address: int) -> None:
        self.live.discard(address)
        self.freed[address] = operation

    def note_given_back(self, changes: Changes) -> None:
        drained = changes.drained_by_page()
        for page in changes.discarded_slabs():
            self.given_back[page] = drained.get(page, ())

    def free_objects(self, operation: FreeObjects) -> None:
        if self.slabs_until is not None:
            self.live.difference_update(operation.addresses)
            return
        if not operation.complete:
            self.lose_slabs(operation.line, UNSEEN)
            return
        size = 0
        for address in operation.addresses:
            page = self.machine.slab_of(address)
            object_ = None if page is None else self.machine.object_of(page, address)
            if page is None:
                self.live.discard(address)  # kmalloc_large(): its pages have an event
            elif object_ is None or address not in self.live:
                self.wrong(STEPS, operation.line, f"free of {hex(address)}", "freed", "no live object")
            else:
                self.note_free(operation, address)
                self.bulk.p[size] = object_
                size += 1
        _, changes = self.call(operation.line, NOTHING_GIVEN, self.free_array, operation.cpu, size)
        for position in range(size):
            self.bulk.p[position] = None
        self.note_given_back(changes)

    def free_array(self, cpu: int, size: int) -> None:
        """kmem_cache_free_bulk() of the objects of any caches (kfree_bulk()): the model has that of one cache."""
        while size > 0:
            cache = self.m.slab[self.slub.virt_to_slab(self.m, self.bulk.p[size - 1])].slab_cache
            size = self.slub.build_detached_freelist(self.m, self.bulk, cache, size)
            df = self.bulk.df
            self.slub.slab_free(self.m, cache, cpu, df.slab, df.freelist, df.tail, df.cnt)

    # --- caches

    def cache_of(self, operation: AllocateObject) -> int | None:
        """The cache that was asked: that of the recorded object's slab, or for a new slab what the event tells."""
        if not operation.pages:
            page = self.machine.slab_of(operation.address)
            return None if page is None else self.machine.cache_of(page)
        if operation.kmalloc:
            return self.machine.by_name.get(kmalloc_name(operation.gfp_flags, operation.bytes_alloc))
        sizes = (operation.bytes_req, operation.bytes_alloc)
        fitting = [
            number for number, cache in enumerate(self.machine.caches) if (cache.object_size, cache.size) == sizes
        ]
        return fitting[0] if len(fitting) == 1 else self.named.get(operation.line)

    def positions(
        self, operation: AllocateObject | AllocateObjects, number: int, addresses: Sequence[int]
    ) -> list[int]:
        """Where in the random sequence the freelists of the new slabs begin: at the first object given out."""
        found = []
        cache = self.machine.caches[number]
        for pages in operation.pages:
            frames = range(pages.pfn, pages.pfn + (1 << pages.order))
            first = next((address for address in addresses if self.machine.frame(address) in frames), None)
            if first is not None:
                slot = self.machine.offset(pages.pfn, first, number) // cache.size
                found.append(cache.random_seq.index(slot) if slot in cache.random_seq else 0)
        return found


def _objects(operation: AllocateObject | AllocateObjects) -> int:
    return 1 if isinstance(operation, AllocateObject) else len(operation.addresses)
