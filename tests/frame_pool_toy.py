"""The smallest machine that reclaims in steps under the slow path: frames, tasks that ask, and steps that free one."""

from typing import Annotated

from kmemspec import (
    GHOST,
    Array,
    Clauses,
    FromScope,
    Parameter,
    Sort,
    Spec,
    action,
    choose,
    clause,
    indices,
    invariant,
    require,
    step_property,
)
from kmemspec.model.buddy import Page
from kmemspec.model.frame_pool import FramePool, boot_pool, free_frame
from kmemspec.model.slowpath import Cpu, alloc_pages, slowpath_reclaimed

Request = Annotated[int, Sort("request", 3)]


class Pool(FramePool):
    asked: Array[Cpu, Request | None]
    oom: Annotated[bool, GHOST]  # the step just done ended in the OOM killer
    used: Array[Page, bool]
    ooms: Annotated[int, FromScope("ooms")]

    def prep_new_frame(self, page: int) -> None:
        self.used[page] = True

    def zone_reclaimable_pages(self, z: int) -> int:
        return len(self.used) - self.nr_free_pages

    def out_of_memory(self, cpu: int, gfp: int, order: int) -> bool:
        self.oom = True
        if self.ooms == 0:
            return False
        victim = choose(indices(self.current))
        self.current[victim].oom_victim = True
        return True


def gfp_of(request: int) -> int:
    """GFP_KERNEL, the same with __GFP_NOFAIL, GFP_ATOMIC."""
    if request == 0:
        return 0xCC0
    return 0x8CC0 if request == 1 else 0xA20


@action
def ask(m: Pool, cpu: Cpu, request: Request) -> Page | None:
    """A task asks for a page; if it gets none it may now be in direct reclaim."""
    require(m.asked[cpu] is None)
    m.oom = False
    page = alloc_pages(m, cpu, 0, gfp_of(request), 0)
    if m.current[cpu].slow:
        m.asked[cpu] = request
    return page


@action
def ask_in_reclaim(m: Pool, cpu: Cpu) -> Page | None:
    """Reclaim itself needs a page."""
    require(m.current[cpu].slow)
    m.oom = False
    return alloc_pages(m, cpu, 0, 0xCC0, 0)


@action
def reclaim_ends(m: Pool, cpu: Cpu, progress: bool) -> Page | None:
    """Direct reclaim comes back with or without progress; what it freed others may have taken."""
    request = m.asked[cpu]
    require(request is not None)
    assert request is not None
    m.oom = False
    page = slowpath_reclaimed(m, cpu, 0, gfp_of(request), 0, 1 if progress else 0)
    assert page is not None or m.current[cpu].slow or request != 1, "__GFP_NOFAIL failed"
    if not m.current[cpu].slow:
        m.asked[cpu] = None
    return page


@action
def free(m: Pool, page: Page) -> None:
    """Anybody frees a page."""
    require(not m.free[page])
    m.oom = False
    m.used[page] = False
    free_frame(m, page)


@invariant("T1")
def counted(m: Pool) -> Clauses:
    """The free frames are counted, and what is used is not free."""
    yield clause("nr_free_pages", m.nr_free_pages == sum(1 for page in indices(m.free) if m.free[page]))
    for page in indices(m.free):
        yield clause("used or free", m.used[page] != m.free[page], page)


@invariant("T2")
def rights_end_with_reclaim(m: Pool) -> Clauses:
    """A task has PF_MEMALLOC exactly while it reclaims, and nothing of the slow path stays."""
    for cpu in indices(m.current):
        task = m.current[cpu]
        yield clause("memalloc while slow", task.memalloc == task.slow, cpu)
        yield clause("who asked is in the slow path", task.slow == (m.asked[cpu] is not None), cpu)
        yield clause("nothing stays", task.slow or (not task.alloc_oom and task.no_progress_loops == 0), cpu)


@step_property("T3", action=reclaim_ends)
def oom_last(before: Pool, after: Pool, cpu: Cpu, progress: bool, result: Page | None) -> Clauses:
    """OOM only if nothing was freed for so many turns, or all that is reclaimable would not do."""
    retried = before.current[cpu].no_progress_loops == before.reclaim_retries and not progress
    hopeless = before.zone_reclaimable_pages(0) + before.nr_free_pages <= before.watermark_min
    yield clause("OOM last", not after.oom or retried or hopeless)


def boot(m: Pool) -> None:
    boot_pool(m)


SPEC = Spec(
    name="frame_pool_toy",
    state=Pool,
    init=boot,
    actions=(ask, ask_in_reclaim, reclaim_ends, free),
    properties=(counted, rights_end_with_reclaim, oom_last),
    parameters=(
        Parameter("frames", 4, "frames", most=8),
        Parameter("cpus", 2, "tasks, each on its cpu", most=4),
        Parameter("reclaim_retries", 1, "MAX_RECLAIM_RETRIES", least=0, most=16),
        Parameter("watch_kswapd", 1, "whether requests to kswapd are recorded", least=0, most=1),
        Parameter("watermark_min", 2, "the lowest mark", least=0, most=8),
        Parameter("ooms", 1, "whether tasks are killed", least=0, most=1),
    ),
    derived={
        "orders": lambda sizes: 1,
        "nodes": lambda sizes: 1,
        "costly_order": lambda sizes: 3,
        "slowpath_turns": lambda sizes: 1,
        "watermark_low": lambda sizes: sizes["watermark_min"] + 1,
        "watermark_high": lambda sizes: sizes["watermark_min"] + 2,
    },
    symmetric=("page", "cpu"),
)
