"""The slow path of __alloc_pages() in turns, and the pool of frames that stands for the page allocator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kmemspec.model.frame_pool import FramePool, boot_pool, free_frame, get_page_from_pool
from kmemspec.model.gfp import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_HIGH,
    __GFP_KSWAPD_RECLAIM,
    __GFP_MEMALLOC,
    __GFP_NOFAIL,
    __GFP_NOMEMALLOC,
    __GFP_NORETRY,
    __GFP_RETRY_MAYFAIL,
    __GFP_THISNODE,
    ALLOC_NO_WATERMARKS,
    GFP_KERNEL,
    MAX_RECLAIM_RETRIES,
)
from kmemspec.model.lang.actions import CHOOSER, Disabled
from kmemspec.model.lang.records import Store
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.page_alloc import PageAllocator, boot, free_pages, get_page_from_freelist
from kmemspec.model.slowpath import PageSource, alloc_pages, slowpath_enter, slowpath_reclaimed
from kmemspec.proofs.explore import explore
from kmemspec.specs.loading import load
from kmemspec.specs.zone import SPEC as ZONE

TOY = str(Path(__file__).with_name("frame_pool_toy.py"))
FRAMES = 6
FLAGS = (
    __GFP_HIGH | __GFP_ATOMIC, __GFP_KSWAPD_RECLAIM, __GFP_NOFAIL, __GFP_NORETRY, __GFP_RETRY_MAYFAIL, __GFP_THISNODE,
    __GFP_NOMEMALLOC, __GFP_MEMALLOC,
)
GOT, FAILED, RECLAIMS, WAITS = "got a page", "failed", "reclaims", "waits for others"


@dataclass
class World:
    """What surrounds the slow path: what could be reclaimed, and what the OOM killer does."""

    reclaimable: int = 0
    killable: bool = True
    killed: list[int] = field(default_factory=list)

    def kill(self, machine: PageSource, cpu: int) -> bool:
        self.killed.append(cpu)
        if self.killable:
            machine.current[cpu].oom_victim = True
        return self.killable


def page_allocator(world: World, marks: tuple[int, int, int], retries: int) -> PageAllocator:
    """The page allocator with one zone of single pages and no pcp lists, and reclaim in steps."""

    class Allocator(PageAllocator):
        def alloc_pages_slowpath(self, cpu: int, nid: int, gfp: int, order: int) -> int | None:
            return slowpath_enter(self, cpu, nid, gfp, order)

        def cond_resched(self) -> None:
            pass

        def zone_reclaimable_pages(self, z: int) -> int:
            return world.reclaimable

        def out_of_memory(self, cpu: int, gfp: int, order: int) -> bool:
            return world.kill(self, cpu)

    zone = f"zones=1,pages={FRAMES},type=2,orders=1,pageblock_order=0,migratetypes=1,pcp_orders=0,long=8,watch_kswapd=1"
    allocator = Allocator(Store(ZONE.scope(f"{zone},references=1,reclaim_retries={retries}")))
    boot(allocator)
    for index, mark in enumerate(marks):
        allocator.zone[0].watermark[index] = mark
    return allocator


def frame_pool(world: World, marks: tuple[int, int, int], retries: int) -> FramePool:
    """The pool with as many frames, in the same world."""

    class Pool(FramePool):
        def zone_reclaimable_pages(self, z: int) -> int:
            return world.reclaimable

        def out_of_memory(self, cpu: int, gfp: int, order: int) -> bool:
            return world.kill(self, cpu)

    sizes = load(TOY).spec.scope(f"frames={FRAMES},cpus=1,reclaim_retries={retries}")
    names = ("watermark_min", "watermark_low", "watermark_high")
    pool = Pool(Store({**sizes, **dict(zip(names, marks, strict=True))}))
    boot_pool(pool)
    return pool


class Side:
    """One allocator, the pages that are held of it, and what is seen of it from outside."""

    def __init__(self, machine: PageSource, world: World, take: Callable[[], int | None], give: Callable[[int], None]):
        self.machine, self.world, self.take, self.give = machine, world, take, give
        self.held: list[int] = []

    def set(self, free: int, memalloc: bool = False, oom_victim: bool = False) -> None:
        """So many pages are free; nothing is under way; the task has these rights."""
        self.release(len(self.held))
        for _ in range(FRAMES - free):
            self.hold(self.take())
        task, node = self.machine.current[0], self.machine.node[0]
        task.memalloc, task.oom_victim = memalloc, oom_victim
        task.slow, task.alloc_oom, task.no_progress_loops = False, False, 0
        node.kswapd_order, node.kswapd_highest_zoneidx = None, None
        self.world.killed.clear()

    def hold(self, page: int | None) -> None:
        assert page is not None
        self.held.append(page)

    def release(self, count: int) -> None:
        for _ in range(min(count, len(self.held))):
            self.give(self.held.pop())

    def ask(self, gfp: int) -> str:
        return self.outcome(lambda: alloc_pages(self.machine, 0, 0, gfp, 0))

    def reclaimed(self, gfp: int, progress: int) -> str:
        return self.outcome(lambda: slowpath_reclaimed(self.machine, 0, 0, gfp, 0, progress))

    def outcome(self, step: Callable[[], int | None]) -> str:
        slow = self.machine.current[0].slow
        try:
            page = step()
        except Disabled:
            self.machine.current[0].slow = slow
            return WAITS
        if page is not None:
            self.hold(page)
            return GOT
        return RECLAIMS if self.machine.current[0].slow else FAILED

    def seen(self) -> tuple[object, ...]:
        task, node = self.machine.current[0], self.machine.node[0]
        return (
            task.memalloc, task.oom_victim, task.slow, task.alloc_oom, task.no_progress_loops,
            node.kswapd_order, node.kswapd_highest_zoneidx, len(self.world.killed),
        )


class AnyFree:
    """Chooses a frame that is free; which one must not matter."""

    def __init__(self, pool: FramePool) -> None:
        self.pool = pool

    def choose(self, options: range) -> int:
        return next((page for page in reversed(options) if self.pool.free[page]), options[0])


def sides(marks: tuple[int, int, int], retries: int, reclaimable: int = 0, killable: bool = True) -> tuple[Side, Side]:
    """The page allocator and the pool, alike."""
    worlds = World(reclaimable, killable), World(reclaimable, killable)
    allocator, pool = page_allocator(worlds[0], marks, retries), frame_pool(worlds[1], marks, retries)
    CHOOSER.set(AnyFree(pool))
    return (
        Side(
            allocator, worlds[0],
            lambda: get_page_from_freelist(allocator, 0, 0, GFP_KERNEL, 0, ALLOC_NO_WATERMARKS),
            lambda page: free_pages(allocator, 0, page, 0),
        ),
        Side(
            pool, worlds[1], lambda: get_page_from_pool(pool, 0, ALLOC_NO_WATERMARKS),
            lambda page: free_frame(pool, page),
        ),
    )


def requests() -> Iterator[int]:
    """Every combination of the flags that the slow path looks at."""
    for chosen in itertools.product((0, 1), repeat=len(FLAGS)):
        flags = sum(flag for flag, on in zip(FLAGS, chosen, strict=True) if on)
        yield flags
        yield flags | __GFP_DIRECT_RECLAIM


@pytest.mark.parametrize(
    ("marks", "reclaimable", "killable"),
    [((2, 3, 4), 0, True), ((2, 3, 4), 3, False), ((4, 4, 5), 1, True), ((0, 1, 3), 0, False)],
)
def test_pool_decides_as_the_page_allocator_does(
    marks: tuple[int, int, int], reclaimable: int, killable: bool
) -> None:
    """Which requests succeed, wake kswapd, reclaim, wait, kill and fail, whatever is free and reclaim brings."""
    both = sides(marks, 1, reclaimable, killable)
    outcomes = set()
    rights = [(False, False), (True, False), (False, True)]
    for gfp, free, (memalloc, oom_victim) in itertools.product(requests(), range(FRAMES), rights):
        for side in both:
            side.set(free, memalloc, oom_victim)
        one, other = (side.ask(gfp) for side in both)
        turn = 0
        while True:
            about = f"gfp {gfp:#x}, {free} free, memalloc {memalloc}, victim {oom_victim}, turn {turn}"
            assert one == other, about
            assert both[0].seen() == both[1].seen(), about
            outcomes.add((one, bool(both[0].world.killed)))
            if one != RECLAIMS or turn == 4:
                break
            progress = (gfp + free + turn // 2) % 3  # any will do, as both get the same
            for side in both:
                side.release(progress - 1)
            one, other = (side.reclaimed(gfp, progress) for side in both)
            turn += 1
    assert {outcome for outcome, _ in outcomes} == {GOT, FAILED, RECLAIMS, WAITS}
    assert {killed for _, killed in outcomes} == {False, True}


def turns(side: Side, gfp: int, progress: int) -> list[tuple[str, int]]:
    """Outcome and number of those killed after the request and after each direct reclaim, to the end or for long."""
    found = [(side.ask(gfp), 0)]
    while found[-1][0] == RECLAIMS and len(found) < 2 * MAX_RECLAIM_RETRIES:
        found.append((side.reclaimed(gfp, progress), len(side.world.killed)))
    return found


@pytest.mark.parametrize("which", [0, 1])
def test_kernel_gives_up_after_sixteen_turns_without_progress_and_kills_last(which: int) -> None:
    """MAX_RECLAIM_RETRIES turns end without a kill; the next one kills, or fails where nobody can be killed."""
    side = sides((4, 5, 6), MAX_RECLAIM_RETRIES, reclaimable=5, killable=False)[which]
    side.set(free=2)
    assert turns(side, GFP_KERNEL, 0) == [(RECLAIMS, 0)] * (MAX_RECLAIM_RETRIES + 1) + [(FAILED, 1)]
    side.set(free=2)
    assert turns(side, GFP_KERNEL | __GFP_RETRY_MAYFAIL, 0)[-1] == (FAILED, 0)
    side.set(free=2)
    assert turns(side, GFP_KERNEL | __GFP_NORETRY, 0) == [(RECLAIMS, 0), (FAILED, 0)]
    side.set(free=2)
    assert {outcome for outcome, _ in turns(side, GFP_KERNEL, 1)} == {RECLAIMS}  # progress starts the count again
    side.world.reclaimable = 0
    side.set(free=2)
    assert turns(side, GFP_KERNEL, 0) == [(RECLAIMS, 0), (FAILED, 1)]  # all that is reclaimable would not do


@pytest.mark.parametrize("which", [0, 1])
def test_victim_gets_reserves_once_and_then_fails(which: int) -> None:
    """An OOM victim tries with half the lowest mark; killed while it asks, it reclaims once more and then fails."""
    side = sides((4, 5, 6), 1)[which]
    side.set(free=3)
    assert turns(side, GFP_KERNEL, 0) == [(RECLAIMS, 0), (GOT, 1)]
    side.set(free=2)
    assert turns(side, GFP_KERNEL, 0) == [(RECLAIMS, 0), (RECLAIMS, 1), (FAILED, 2)]
    side.set(free=3)
    assert side.ask(GFP_KERNEL) == RECLAIMS
    side.machine.current[0].oom_victim = True  # by another task's OOM: this turn has not the right yet
    assert side.reclaimed(GFP_KERNEL, 1) == GOT
    assert side.world.killed == [0]


@pytest.mark.parametrize("which", [0, 1])
def test_reclaimer_takes_what_it_needs_and_never_reclaims_inside_reclaim(which: int) -> None:
    """PF_MEMALLOC passes all watermarks, and when nothing is left it fails at once."""
    side = sides((4, 5, 6), 1)[which]
    side.set(free=1)
    assert side.ask(GFP_KERNEL) == RECLAIMS
    before = side.seen()
    assert side.machine.current[0].memalloc
    assert alloc_pages(side.machine, 0, 0, GFP_KERNEL, 0) is not None
    assert alloc_pages(side.machine, 0, 0, GFP_KERNEL, 0) is None
    assert side.seen() == before
    with pytest.raises(Disabled):
        alloc_pages(side.machine, 0, 0, GFP_KERNEL | __GFP_NOFAIL, 0)


def test_frames_and_cpus_are_interchangeable_in_steps_under_the_slow_path() -> None:
    """A small machine over the pool: symmetric in both sorts, and its rights, counts and kills are in order."""
    loaded = load(TOY)
    found = explore(loaded.program, loaded.spec.scope(None), spec="toy")
    assert {verdict.outcome for verdict in found.verdicts} == {Outcome.HOLDS}
    assert found.symmetry is not None
    assert found.complete
    assert not found.never_fired
