"""Recorded operations of the page allocator applied to the model, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...model import gfp as gfp_names
from ...model.buddy import MIGRATE_MOVABLE
from ...model.lang.actions import CHOOSER
from ...model.lang.execute import STEP_ERRORS
from .changes import Changes
from .machine import RecordedMachine
from .naming import gfp_flags
from .operations import (
    AllocatePageInBulk,
    AllocatePages,
    CompactZone,
    DrainPages,
    FreePages,
    IsolateFreePage,
    ReclaimActive,
)
from .tally import (
    BLOCKS,
    BOOST,
    BULK,
    DRAINED,
    DRIFT,
    EVENT_ROWS,
    FACTOR,
    ISOLATED,
    KSWAPD,
    PAGES,
    STEPS,
    TURNED,
    ZONES,
    Difference,
    Tally,
)


class Given:
    """The chooser of a step: what the recording says was chosen, in order; the first option where it says nothing."""

    def __init__(self, positions: Sequence[int]) -> None:
        self.positions = list(positions)

    def choose(self, options: range) -> int:
        if self.positions and self.positions[0] in options and len(options) > 1:
            return self.positions.pop(0)
        return options[0]


NOTHING_GIVEN = Given(())


@dataclass
class TurnedList:
    """A free list that compaction may have turned round: what it had then, and whether compaction is still at work.
    After its end the list was turned by one amount: all that is not known is which of these blocks became the first."""

    blocks: set[int]
    active: bool

    def explains(self, predicted: Sequence[int], recorded: Sequence[int]) -> bool:
        """Whether what was recorded is the predicted list with those blocks, which are in a row, turned round."""
        if self.active:
            return sorted(predicted) == sorted(recorded)
        places = [place for place, page in enumerate(predicted) if page in self.blocks]
        if not places or recorded[places[0]] not in predicted:
            return False
        start, end, first = places[0], places[-1] + 1, predicted.index(recorded[places[0]])
        turned = (*predicted[:start], *predicted[first:end], *predicted[start:first], *predicted[end:])
        return start <= first < end and end - start == len(places) and turned == tuple(recorded)


class PageReplay:
    """A machine, and how the predictions about it went."""

    def __init__(self, machine: RecordedMachine) -> None:
        self.machine = machine
        self.pages = machine.m.pages
        self.page_alloc = machine.text.page_alloc
        self.slowpath = machine.text.slowpath
        self.tallies = {row: Tally() for row in EVENT_ROWS}
        self.differences = 0
        self.factor_known: set[tuple[int, int]] = set()  # zones and CPUs that have drained pages
        self.boost = [0] * len(self.pages.zone)
        counts = [(zone, zone) for zone in self.free_now()]
        self.counts = [counts] * machine.sizes["cpus"]  # by CPU and zone: least and most free since its last operation
        self.locked: list[tuple[int, int]] = []  # lines of drains of another CPU's lists, and that CPU
        self.ending = False  # whether kswapd may have taken the boosts back already
        self.turned: dict[tuple[int, int], TurnedList] = {}  # by zone and order; of movable blocks

    # --- counting

    def right(self, row: str, count: int = 1) -> None:
        self.tallies[row].right += count

    def wrong(self, row: str, line: int, about: str, recorded: object, predicted: object) -> None:
        self.add(row, Difference(line, about, str(recorded), str(predicted)))

    def add(self, row: str, difference: Difference) -> None:
        self.differences += 1
        self.tallies[row].wrong.append(difference)

    def not_predicted(self, row: str, reason: str, count: int = 1) -> None:
        self.tallies[row].not_predicted[reason] += count

    def compare(self, row: str, line: int, about: str, recorded: Sequence[Any], predicted: Sequence[Any]) -> None:
        """Item by item; what one side has more than the other is wrong too."""
        for position in range(max(len(recorded), len(predicted))):
            want = recorded[position] if position < len(recorded) else "none"
            have = predicted[position] if position < len(predicted) else "none"
            if want == have:
                self.right(row)
            else:
                self.wrong(row, line, about, want, have)

    # --- calling the model

    def call(
        self,
        line: int,
        chooser: Any,
        function: Callable[..., Any],
        *arguments: Any,
        keep: Callable[[Any, Changes], bool] = lambda result, changes: True,
    ) -> tuple[Any, Changes]:
        """One call as one step: its result and what it wrote. A step that fails, or is not to be kept, is undone."""
        store = self.machine.store
        token = CHOOSER.set(chooser)
        store.begin()
        try:
            result = function(*arguments)
        except STEP_ERRORS as error:
            store.rollback()
            said = str(error) or type(error).__name__
            self.wrong(STEPS, line, function.__name__, "the kernel went on", said)
            return None, Changes([])
        finally:
            CHOOSER.reset(token)
        changes = Changes(store.journal or [])
        if not keep(result, changes):
            store.rollback()
            return result, Changes([], kept=False)
        store.commit()
        self.right(STEPS)
        return result, changes

    # --- pages

    def allocate_pages(self, operation: AllocatePages) -> None:
        gfp = gfp_flags(operation.gfp_flags)
        self.turn_lists(operation)
        page, changes = self.in_zone(operation, self.machine.zone_of(operation.pfn), gfp)
        about = f"order {operation.order}, {operation.gfp_flags}"
        self.compare(PAGES, operation.line, about, [operation.pfn], [page])
        self.compare_blocks(operation, changes, page)

    def in_zone(self, operation: AllocatePages, zone: int | None, gfp: int) -> tuple[Any, Changes]:
        """alloc_pages(); and if it takes another zone than the kernel did, rmqueue() of the kernel's zone instead."""
        order, cpu = operation.order, operation.cpu
        if zone is None:
            self.wrong(ZONES, operation.line, f"page {operation.pfn}", "no zone of the state", "never")
            return None, Changes([])

        def in_its_zone(page: Any, _: Changes) -> bool:
            return page is not None and self.machine.zone_of(page) == zone

        arguments = (self.pages, cpu, None, gfp, order)
        function = self.slowpath.alloc_pages
        self.pages.current[cpu].memalloc = operation.memalloc
        page, changes = self.call(operation.line, NOTHING_GIVEN, function, *arguments, keep=in_its_zone)
        other, reason = page, ""
        for cause, free, boost in () if changes.kept else self.other_counts(zone, cpu):

            def with_others(free: Sequence[int] = free, boost: Sequence[int] = boost) -> Any:
                self.shift(free, boost, 1)
                taken = function(*arguments)
                self.shift(free, boost, -1)
                return taken

            other, changes = self.call(operation.line, NOTHING_GIVEN, with_others, keep=in_its_zone)
            if changes.kept:
                reason = cause
                break
        self.pages.current[cpu].memalloc = False
        if changes.kept:
            if reason:
                self.not_predicted(ZONES, reason)
            else:
                self.right(ZONES)
            return other, changes
        predicted = "no page" if page is None else f"page {page}"
        recorded = f"zone {zone}, page {operation.pfn}"
        self.wrong(ZONES, operation.line, f"order {order}, {operation.gfp_flags}", recorded, predicted)

        def rmqueue() -> Any:
            flags = gfp_names.gfp_to_alloc_flags_cma(gfp, gfp_names.ALLOC_WMARK_LOW)
            taken = self.page_alloc.rmqueue(self.pages, cpu, zone, order, flags, operation.migratetype)
            if taken is not None:
                self.page_alloc.prep_new_page(self.pages.memory, taken, order, gfp)
            return taken

        return self.call(operation.line, NOTHING_GIVEN, rmqueue)

    def other_counts(self, zone: int, cpu: int) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
        """What the zones' counts of free pages, and the boosts of their watermarks, may have been beside what the model
        has, as changes of these: all in favour of this zone. The counts may be of any time since this CPU's last
        operation."""
        drift, nothing = self.machine.drift, [0] * len(self.machine.drift)
        free = []
        for number, (least, most) in enumerate(self.counts[cpu]):
            now = self.pages.zone[number].nr_free_pages
            if number == zone:
                free.append(max(most, now) + drift[number] - now)
            else:
                free.append(max(min(least, now) - drift[number], 0) - now)
        yield DRIFT, free, nothing
        if self.ending:
            gone = [-min(self.pages.zone[number].watermark_boost, boost) for number, boost in enumerate(self.boost)]
            yield BOOST, nothing, gone
            yield BOOST, free, gone

    def free_now(self) -> list[int]:
        return [self.pages.zone[number].nr_free_pages for number in range(len(self.pages.zone))]

    def note_counts(self, cpu: int) -> None:
        """An operation of this CPU is done: for the others, its zones' counts of free pages are one more that they may
        have seen."""
        now = self.free_now()
        for other, seen in enumerate(self.counts):
            if other == cpu:
                self.counts[other] = [(count, count) for count in now]
            else:
                pairs = zip(seen, now, strict=True)
                self.counts[other] = [(min(least, count), max(most, count)) for (least, most), count in pairs]

    def shift(self, free: Sequence[int], boost: Sequence[int], sign: int) -> None:
        for number in range(len(free)):
            self.pages.zone[number].nr_free_pages += sign * free[number]
            self.pages.zone[number].watermark_boost += sign * boost[number]

    # --- compaction

    def compact_zone(self, operation: CompactZone) -> None:
        """Compaction looks for free pages from somewhere within the lists of movable blocks, and turns them round so
        that the next search begins elsewhere (fast_isolate_freepages(), fast_find_migrateblock())."""
        number = self.machine.zone_of(operation.pfn)
        if number is None:
            return
        for order in range(len(self.pages.zone[number].free_area)):
            blocks = self.machine.page_list(self.movable(number, order))
            self.turned[number, order] = TurnedList(set(blocks), operation.begins)

    def movable(self, zone: int, order: int) -> Any:
        return self.pages.zone[zone].free_area[order].free_list[MIGRATE_MOVABLE]

    def turn_lists(self, operation: AllocatePages) -> None:
        """If the recorded block is on a list that compaction may have turned round, but not its first, then it was."""
        zone = self.machine.zone_of(operation.pfn)
        if zone is None or not operation.taken:
            return
        first = operation.taken[0][0]
        head = self.pages.memory.mem_map[first]
        turned = self.turned.get((zone, head.order)) if head.buddy else None
        if turned is None:
            return
        free_list = self.movable(zone, head.order)
        pages = self.machine.page_list(free_list)
        smaller = any(self.movable(zone, order).first is not None for order in range(operation.taken[0][1], head.order))
        if smaller or first not in pages[1:]:
            return
        # What was freed since lies before or behind the others, which are in a row.
        end = next((page for page in pages if not turned.active and page not in turned.blocks), None)
        if end is not None and pages.index(end) <= pages.index(first):
            return
        self.machine.turn(free_list, first, end)
        self.not_predicted(BLOCKS, TURNED)
        if not turned.active:
            del self.turned[zone, head.order]

    def note_freed(self, pfn: int) -> None:
        """A page is freed: the blocks around it have left their lists long ago, and their buddies do if they merge. If
        they come back, it is to where the model puts them."""
        zone = self.machine.zone_of(pfn) if self.turned else None
        mem_map = self.pages.memory.mem_map
        for order in range(len(self.pages.zone[0].free_area) if zone is not None else 0):
            turned = self.turned.get((zone, order)) if zone is not None else None
            if turned is None:
                continue
            block = pfn >> order << order
            buddy = block ^ (1 << order)
            turned.blocks.discard(block)
            if buddy in turned.blocks and not (mem_map[buddy].buddy and mem_map[buddy].order == order):
                turned.blocks.discard(buddy)

    def compare_blocks(self, operation: AllocatePages | AllocatePageInBulk, changes: Changes, page: Any) -> None:
        order = operation.order if isinstance(operation, AllocatePages) else 0
        if self.page_alloc.pcp_allowed_order(self.pages, order):
            taken = [(block, order) for block in changes.to_pcp()]
        else:
            taken = [(page, order)]
        self.compare(BLOCKS, operation.line, f"order {order}", operation.taken, taken)

    def allocate_page_in_bulk(self, operation: AllocatePageInBulk) -> None:
        """The probe does not say for whom; those who ask for pages in bulk (vmalloc()) want unmovable ones."""
        zone = self.machine.zone_of(operation.pfn)
        if zone is None:
            self.wrong(BULK, operation.line, f"page {operation.pfn}", "no zone of the state", "never")
            return

        def take_one() -> Any:
            pcp = self.pages.zone[zone].per_cpu_pageset[operation.cpu]
            factor = pcp.free_factor
            taken = self.page_alloc.rmqueue_pcplist(self.pages, operation.cpu, zone, 0, 0, gfp_names.ALLOC_WMARK_LOW)
            pcp.free_factor = factor  # __alloc_pages_bulk() calls __rmqueue_pcplist(), which does not halve it
            if taken is not None:
                self.page_alloc.prep_new_page(self.pages.memory, taken, 0, gfp_names.GFP_KERNEL)
            return taken

        page, changes = self.call(operation.line, NOTHING_GIVEN, take_one)
        self.compare(BULK, operation.line, "order 0", [operation.pfn], [page])
        self.compare_blocks(operation, changes, page)

    def free_pages(self, operation: FreePages) -> None:
        self.compare_drained(operation, self.free_block(operation))

    def compare_drained(self, operation: FreePages, drained: tuple[int, ...]) -> None:
        about = f"free of page {operation.pfn}, order {operation.order}"
        for page in (operation.pfn, *operation.drained):
            self.note_freed(page)
        self.compare(DRAINED, operation.line, about, operation.drained[: len(drained)], drained)
        self.drain(operation, operation.drained[len(drained) :])

    def free_block(self, operation: FreePages) -> tuple[int, ...]:
        """__free_pages(); gives the pages that the CPU's lists had too many of.

        How many that are depends on two things that are not recorded: whether kswapd runs, whose beginning and end have
        no events, and free_factor, which is not in the state. They are taken so that the recorded pages are drained."""
        z = self.machine.zone_of(operation.pfn)
        if z is None:
            self.wrong(STEPS, operation.line, f"page {operation.pfn}", "no zone of the state", "never")
            return ()
        zone, pcp = self.pages.zone[z], self.pages.zone[z].per_cpu_pageset[operation.cpu]
        active, factor = zone.reclaim_active, pcp.free_factor
        for flag, other in self.tries(z, operation.cpu):
            zone.reclaim_active, pcp.free_factor = flag, other
            drained = self.free_once(operation, operation.drained)
            if drained is not None:
                if flag != active:
                    self.not_predicted(DRAINED, KSWAPD)
                if other != factor:
                    self.not_predicted(DRAINED, FACTOR)
                if drained:
                    self.factor_known.add((z, operation.cpu))
                return drained
        # Neither helps: then somebody else drains this CPU right after the free.
        zone.reclaim_active, pcp.free_factor = active, factor
        return self.free_once(operation, None) or ()

    def tries(self, z: int, cpu: int) -> Iterator[tuple[bool, int]]:
        """Values for reclaim_active and free_factor: those of the model, then others that may be."""
        active, factor = self.pages.zone[z].reclaim_active, self.pages.zone[z].per_cpu_pageset[cpu].free_factor
        yield active, factor
        yield not active, factor
        if (z, cpu) not in self.factor_known:
            for other in range(self.pages.pcp_batch_scale_max, -1, -1):
                yield active, other
                yield not active, other

    def free_once(self, operation: FreePages, wanted: Sequence[int] | None) -> tuple[int, ...] | None:
        """The same, undone and None if the pages drained are not those wanted."""
        arguments = (self.pages, operation.cpu, operation.pfn, operation.order)

        def fits(_: Any, changes: Changes) -> bool:
            return wanted is None or changes.drained() == tuple(wanted)

        _, changes = self.call(operation.line, NOTHING_GIVEN, self.page_alloc.free_pages, *arguments, keep=fits)
        return changes.drained() if changes.kept else None

    def drain_pages(self, operation: DrainPages) -> None:
        self.drain(operation, operation.drained)
        for page in operation.drained:
            self.note_freed(page)

    def drain(self, operation: DrainPages | FreePages, recorded: Sequence[int]) -> None:
        """Pages that leave a CPU's lists though no free makes them: somebody drains all of that CPU, for compaction or
        before giving up, maybe from another one (drain_pages_zone())."""
        line = operation.line
        while recorded:
            place = self.pages.memory.mem_map[recorded[0]].pcp_list
            zone = self.machine.zone_of(recorded[0])
            if place is None or zone is None:
                self.wrong(DRAINED, line, "drain_pages_zone", recorded[0], "on no per-CPU list")
                return
            cpu = place // len(self.pages.zone[zone].per_cpu_pageset[0].lists)
            if cpu != operation.cpu:
                self.locked.append((operation.line, cpu))
            arguments = (self.pages, cpu, zone)
            _, changes = self.call(line, NOTHING_GIVEN, self.page_alloc.drain_pages_zone, *arguments)
            drained = changes.drained()
            self.compare(DRAINED, line, f"drain of cpu {cpu}", recorded[: len(drained)], drained)
            recorded = recorded[max(len(drained), 1) :]

    def isolate_free_page(self, operation: IsolateFreePage) -> None:
        """__isolate_free_page() and split_page(), which compaction calls; the model leaves compaction out."""
        memory, number = self.pages.memory, self.machine.zone_of(operation.pfn)
        if number is None:
            self.wrong(ISOLATED, operation.line, f"page {operation.pfn}", "no zone of the state", "never")
            return
        zone, buddy = self.pages.zone[number], self.machine.text.buddy

        def take() -> Any:
            head = memory.mem_map[operation.pfn]
            found = head.order if head.buddy else None
            assert found == operation.order, "__isolate_free_page: no free block of this order"
            buddy.del_page_from_free_list(memory, zone, operation.pfn, operation.order)
            migratetype = buddy.get_pageblock_migratetype(memory, operation.pfn)
            buddy.mod_zone_freepage_state(zone, -(1 << operation.order), migratetype)
            for page in range(operation.pfn, operation.pfn + (1 << operation.order)):
                buddy.set_page_refcounted(memory, page)
            return operation.pfn

        taken, _ = self.call(operation.line, NOTHING_GIVEN, take)
        self.compare(ISOLATED, operation.line, f"order {operation.order}", [operation.pfn], [taken])

    def reclaim_active(self, operation: ReclaimActive) -> None:
        """kswapd is outside the model: its flag, and the boost of the watermarks that it takes back, are given."""
        self.ending = not operation.sure
        if self.ending:
            return
        for number in range(len(self.pages.zone)):
            zone = self.pages.zone[number]
            zone.reclaim_active = operation.active
            if operation.active:
                self.boost[number] = zone.watermark_boost
            else:
                zone.watermark_boost -= min(zone.watermark_boost, self.boost[number])
