"""The lock-step while memory is short: it is followed, and what has no event is told from what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from kmemspec.model.buddy import MIGRATE_MOVABLE
from kmemspec.specs.recorded import comparison, tally
from kmemspec.specs.recorded.comparison import Fidelity, compare_recording, compare_state
from kmemspec.specs.recorded.ftrace import LINES_MAX, Event, KswapdSleep, KswapdWake, Other, read_trace
from kmemspec.specs.recorded.lru_comparison import compare_lru
from kmemspec.specs.recorded.machine import RecordedMachine, model
from kmemspec.specs.recorded.operations import (
    AllocatePages,
    CompactZone,
    FreePages,
    Operation,
    ReclaimActive,
    between,
    operations,
)
from kmemspec.specs.recorded.page_replay import PageReplay, TurnedList
from kmemspec.specs.recorded.replay import Replay, replay
from kmemspec.specs.recorded.states import KernelState, read_state
from kmemspec.specs.recorded.unseen import Unseen, unseen
from kmemspec.specs.recorded.vmscan import FOLLOWED, KSWAPD, NOT_RECORDED
from kmemspec.specs.traces.clauses import PAGES_UNSEEN
from kmemspec.specs.traces.text import TextChecker
from kmemspec.specs.traces.validation import followed

RECORDING = Path(__file__).parent / "data" / "recordings" / "swap2-pages"
LINES = 46_000
MOVABLE = "GFP_HIGHUSER_MOVABLE|__GFP_COMP"


@cache
def recorded() -> tuple[KernelState, KernelState, Sequence[Operation]]:
    """The states, and the operations of the first events: in their middle tasks begin to reclaim."""
    before, after = (read_state(RECORDING / f"state_{state}.json.gz") for state in "AB")
    events = []
    for event in read_trace(RECORDING / "trace.txt.xz", before.vmemmap_base, before.frames):
        if event.line > LINES:
            break
        events.append(event)
    done = operations(between(events, before, after), before.page_offset_base)
    return before, after, [one for one in done if one.line < LINES - 300]  # those whose own events are all there


def run(done: Sequence[Operation]) -> Replay:
    before, after, _ = recorded()
    return replay(RecordedMachine(model(), before), done, before, after)


def wrong(found: Replay) -> list[tally.Difference]:
    return [one for row in found.tallies.values() for one in row.wrong]


def reasons(found: Replay, row: str) -> dict[str, int]:
    return dict(found.tallies[row].not_predicted)


# --- the recording


def test_every_page_is_predicted_while_tasks_reclaim() -> None:
    done = recorded()[2]
    found = run(done)
    assert wrong(found) == []
    assert found.tallies[tally.PAGES].right > 5000
    assert found.tallies[tally.DRAINED].right > 3000
    assert set(reasons(found, tally.ZONES)) == {tally.DRIFT}
    assert reasons(found, tally.ZONES)[tally.DRIFT] < found.tallies[tally.ZONES].right / 8
    # CPUs drain each other's lists, but the events soon show that no page has passed these by.
    assert {one.reason for one in found.unseen} == {tally.LOCKED}
    assert max(one.last - one.first for one in found.unseen) < 200
    assert sum(one.last - one.first for one in found.unseen) < 2000


def test_a_wrong_event_is_found_after_tasks_have_reclaimed() -> None:
    """Where before everything that came later could not be told."""
    done = list(recorded()[2])
    at = next(place for place, one in enumerate(done) if one.line > 43_500 and isinstance(one, AllocatePages))
    moved = done[at] = replace(done[at], cpu=1 - done[at].cpu)
    found = run(done)
    first = min(one.line for one in wrong(found))
    assert first >= moved.line
    assert not any(one.first <= first <= one.last for one in found.unseen)


@pytest.mark.slow
def test_the_whole_recording() -> None:
    found = compare_recording(RECORDING)
    rows = {row.what: row for row in (*found.during, *found.at_end)}
    assert found.exact
    assert [rows[what].right for what in (tally.PAGES, tally.BLOCKS, tally.DRAINED)] == [26090, 25635, 26691]
    assert [rows[what].right for what in (comparison.FREE_LISTS, comparison.PCP_LISTS)] == [85, 56]
    assert dict(rows[comparison.FREE_LISTS].not_predicted) == {tally.TURNED: 3}
    assert dict(rows[tally.BLOCKS].not_predicted) == {tally.TURNED: 2}
    assert rows[tally.ZONES].right > 24_000
    assert {reason for reason, _ in rows[tally.ZONES].not_predicted} == {tally.DRIFT, tally.BOOST}


# --- each thing that has no event


def replaying() -> PageReplay:
    return PageReplay(RecordedMachine(model(), recorded()[0]))


def allocation(pfn: int, order: int = 0, taken: tuple[tuple[int, int], ...] = ()) -> AllocatePages:
    return AllocatePages(9, 9, 0, 0, pfn, order, MIGRATE_MOVABLE, MOVABLE, taken)


@pytest.mark.parametrize(
    ("free", "boost", "ending", "expected"),
    [
        (lambda low, drift: low + 1, 0, False, None),
        (lambda low, drift: low - drift + 1, 0, False, tally.DRIFT),
        (lambda low, drift: low - drift, 0, False, "wrong"),
        (lambda low, drift: low + drift + 1, 512, False, "wrong"),
        (lambda low, drift: low + drift + 1, 512, True, tally.BOOST),
        (lambda low, drift: low - drift, 512, True, "wrong"),
    ],
)
def test_which_zone_cannot_be_told_near_a_watermark_alone(
    free: Callable[[int, int], int], boost: int, ending: bool, expected: str | None
) -> None:
    """The kernel takes zone 1 where there is so much free in it."""
    one = replaying()
    zone = one.pages.zone[1]
    if boost:
        zone.watermark_boost = boost
        one.reclaim_active(ReclaimActive(1, 1, 0, 0, True))
        if ending:
            one.reclaim_active(ReclaimActive(2, 2, 0, 0, False, False))
    zone.nr_free_pages = free(zone.watermark[1], one.machine.drift[1])
    one.note_counts(0)
    one.allocate_pages(allocation(one.machine.page_list(zone.per_cpu_pageset[0].lists[MIGRATE_MOVABLE])[0]))
    found = one.tallies[tally.ZONES]
    assert (found.right, len(found.wrong)) == (expected is None, expected == "wrong")
    assert dict(found.not_predicted) == ({expected: 1} if expected in (tally.DRIFT, tally.BOOST) else {})
    assert one.tallies[tally.PAGES].wrong == []
    assert zone.watermark_boost == boost


def test_counts_may_be_of_any_time_since_the_last_operation_of_the_cpu() -> None:
    one = replaying()
    zone = one.pages.zone[1]
    page = one.machine.page_list(zone.per_cpu_pageset[0].lists[MIGRATE_MOVABLE])[0]
    one.note_counts(0)
    zone.nr_free_pages = 1
    one.note_counts(1)
    one.allocate_pages(allocation(page))
    assert dict(one.tallies[tally.ZONES].not_predicted) == {tally.DRIFT: 1}


ORDER = 7


def compacted(active: bool) -> tuple[PageReplay, tuple[int, ...]]:
    one = replaying()
    blocks = one.machine.page_list(one.movable(1, ORDER))
    assert len(blocks) == 4
    for begins in (True,) if active else (True, False):
        one.compact_zone(CompactZone(5, 5, 0, 0, blocks[0], begins, False))
    return one, blocks


def take(one: PageReplay, block: int) -> bool:
    """Whether the model takes it too."""
    right = one.tallies[tally.BLOCKS].right
    one.allocate_pages(allocation(block, ORDER, ((block, ORDER),)))
    return one.tallies[tally.BLOCKS].right > right


def test_compaction_turns_a_list_once() -> None:
    one, (first, second, third, fourth) = compacted(False)
    one.machine.turn(one.movable(1, ORDER), third, None)
    assert one.machine.page_list(one.movable(1, ORDER)) == (third, fourth, first, second)
    one, _ = compacted(False)
    assert take(one, third)
    assert dict(one.tallies[tally.BLOCKS].not_predicted) == {tally.TURNED: 1}
    assert one.machine.page_list(one.movable(1, ORDER)) == (fourth, first, second)
    assert not take(one, second)
    assert len(one.tallies[tally.BLOCKS].wrong) == 1


def test_without_compaction_a_list_is_not_turned() -> None:
    one = replaying()
    blocks = one.machine.page_list(one.movable(1, ORDER))
    assert not take(one, blocks[2])
    one, (first, second, third, _) = compacted(True)
    assert take(one, third)
    assert take(one, second)  # as long as compaction is at work, again and again
    assert take(one, first)


def test_what_was_freed_after_compaction_is_not_turned() -> None:
    one, (first, second, third, fourth) = compacted(False)
    assert take(one, first)
    one.allocate_pages(allocation(second, ORDER, ((second, ORDER),)))
    one.free_pages(FreePages(8, 8, 0, 0, first, ORDER, ()))
    head, *rest = one.machine.page_list(one.movable(1, ORDER))
    assert (head, set(rest)) == (first, {third, fourth})
    assert not take(one, fourth)


def test_the_order_of_a_turned_list_cannot_be_told_in_the_end() -> None:
    before = recorded()[0]

    def free_lists(done: Sequence[Operation]) -> tuple[int, int]:
        found = replay(RecordedMachine(model(), before), done, before, before)
        lists = found.machine.m.pages.zone[1].free_area[ORDER].free_list[MIGRATE_MOVABLE]
        found.machine.turn(lists, found.machine.page_list(lists)[1], None)
        row = compare_state(found, before, before)[comparison.FREE_LISTS]
        return len(row.wrong), row.not_predicted[tally.TURNED]

    start = before.zones[1].start_pfn
    assert free_lists([]) == (1, 0)
    assert free_lists([CompactZone(5, 5, 0, 0, start, begins, False) for begins in (True, False)]) == (0, 1)


# --- what the reader of the events says of it


@pytest.mark.parametrize(
    ("blocks", "active", "recorded", "explained"),
    [
        ({1, 2, 3}, False, (9, 2, 3, 1, 8), True),
        ({1, 2, 3}, False, (9, 3, 1, 2, 8), True),
        ({1, 2, 3}, False, (9, 2, 1, 3, 8), False),  # not a turn
        ({1, 2, 3}, False, (1, 2, 3, 8, 9), False),  # what was freed since turned with it
        (set(), False, (1, 9, 2, 3, 8), False),
        ({1, 2, 3}, False, (9, 7, 3, 1, 2), False),
        ({1, 2, 3}, True, (2, 9, 1, 8, 3), True),  # it is still being turned, and blocks are freed meanwhile
        ({1, 2, 3}, True, (2, 9, 1, 8, 7), False),
    ],
)
def test_a_turn_explains_a_turned_list_alone(
    blocks: set[int], active: bool, recorded: tuple[int, ...], explained: bool
) -> None:
    assert TurnedList(blocks, active).explains((9, 1, 2, 3, 8), recorded) is explained


@pytest.mark.slow
def test_with_fewer_kinds_of_events_less_can_be_told_and_nothing_is_broken() -> None:
    """The recording has no isolations from lists, and not who called kswapd."""
    found = compare_lru(RECORDING)
    assert found.holds
    untold = {row.what for row in found.during if NOT_RECORDED in dict(row.not_predicted)}
    assert untold == {FOLLOWED, KSWAPD}


def test_when_kswapd_may_have_ended() -> None:
    def other(line: int, pid: int, name: str) -> Event:
        return Other(line, 0, pid, ".....", name)

    events = [
        KswapdWake(1, 0, 5, "....."), other(2, 5, "mm_vmscan_lru_shrink_inactive"), other(3, 1, "x"),
        other(4, 5, "mm_compaction_suitable"), other(5, 1, "x"), other(6, 1, "x"), KswapdSleep(7, 0, 5, "....."),
    ]  # fmt: skip
    found = [(one.line, one.active, one.sure) for one in operations(events, 0) if isinstance(one, ReclaimActive)]
    assert found == [(1, True, True), (3, False, False), (5, False, True)]


def test_who_reclaims_uses_all_memory() -> None:
    done = [one for one in recorded()[2] if isinstance(one, AllocatePages)]
    assert 0 < sum(one.memalloc for one in done) < len(done) / 10


def test_a_task_that_compacts_may_be_given_what_is_freed() -> None:
    def compaction(direct: bool) -> tuple[Unseen, ...]:
        begin, end = (CompactZone(line, line, 0, 0, 5000, line == 1, direct) for line in (1, 3))
        return run([begin, end, allocation(5000)]).unseen

    assert compaction(False) == ()
    assert [(one.first, one.reason) for one in compaction(True)] == [(1, tally.CAPTURED), (3, tally.CAPTURED)]


def test_pages_may_pass_a_locked_list_by_until_they_are_seen_again() -> None:
    """CPU 1 drains the lists of CPU 0 at line 4: between its operations of lines 2 and 8."""
    def free(line: int, cpu: int, pfn: int, *drained: int) -> FreePages:
        return FreePages(line, line, cpu, 0, pfn, 0, drained)

    done = [
        free(1, 0, 11), free(2, 1, 12), free(3, 0, 13), free(4, 1, 14, 15), allocation(16), free(6, 0, 17),
        free(8, 1, 18), free(10, 0, 19, 17), free(11, 0, 20),
    ]  # fmt: skip
    doubts = unseen(done, [(4, 0)])
    assert {(one.first, one.last) for one in doubts} == {(3, LINES_MAX), (9, 9), (6, 10)}
    assert unseen(done, []) == ()


# --- what a difference is then


def fidelity(line: int, reason: str = "") -> Fidelity:
    difference = tally.Difference(line, "order 0", "5", "6", reason)
    rows = (tally.Row(tally.PAGES, 7, (difference,), ()),)
    unseen = (Unseen(20, 30, tally.LOCKED), Unseen(50, 60, tally.CAPTURED))
    return Fidelity("test", 99, 9, rows, (), (), None, None, unseen)


@pytest.mark.parametrize(
    ("line", "said", "reason"),
    [(19, "", ""), (20, "", tally.LOCKED), (30, "", tally.LOCKED), (31, "", ""), (60, "", tally.CAPTURED),
     (61, "", ""), (19, tally.INTERRUPT, tally.INTERRUPT)],
)  # fmt: skip
def test_a_difference_is_wrong_unless_something_unseen_may_be_behind_it(line: int, said: str, reason: str) -> None:
    probed = TextChecker("test", ("page_bulk_alloc", "isolate_free_ret"))
    [row] = followed(fidelity(line, said), probed)
    assert (len(row.wrong), dict(row.not_predicted)) == ((0, {reason: 1}) if reason else (1, {}))
    # Without probes, paths that have no event may be behind anything.
    [row] = followed(fidelity(line, said), TextChecker("test"))
    assert dict(row.not_predicted) == {reason or PAGES_UNSEEN.text: 1}
