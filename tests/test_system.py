"""The whole system: its invariants in all states of small scopes, what must be shown of it, and its faults.

Compiling the search takes longer than running it; what needs it more than once is marked slow.
"""

from __future__ import annotations

import dataclasses

import pytest
from kmemspec.cli import main
from kmemspec.model.faults.system import FAULTS
from kmemspec.model.lang import within
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.execute import PythonMachine, Script
from kmemspec.model.lang.lowering import lower
from kmemspec.model.lang.sorts import AnnotationError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.model.system import SystemMachine
from kmemspec.proofs.explore import explore
from kmemspec.specs import reclaim
from kmemspec.specs.loading import Loaded, load
from kmemspec.specs.stateful import run
from kmemspec.specs.system import INVARIANTS, STEPS


@pytest.fixture(scope="module")
def system() -> Loaded:
    return load("system")


@pytest.mark.slow
def test_all_states_of_the_default_scope(system: Loaded) -> None:
    """Every action fires, nothing is violated, and the reduction stands for all states."""
    found = explore(system.program, system.spec.resolve(), stop_at_first=False)
    assert found.complete
    assert {v.property: v.bound for v in found.verdicts if v.outcome is not Outcome.HOLDS} == {}
    assert found.never_fired == ()
    assert found.symmetry is not None
    assert found.symmetry.states > 1.9 * found.states


def test_random_steps_of_a_larger_system(system: Loaded) -> None:
    """Hypothesis, with more frames, tasks and pages than a search can have."""
    sizes = system.spec.scope(
        "pages=8,orders=3,pageblock_order=2,watermark_scale_factor=1300,tasks=3,vpages=2,file_pages=2,swap_entries=3,"
        "long=6,inuse_bits=3,contents=1,watch_kswapd=1"
    )
    found = run(system.spec, system.program, sizes, spec_name="system", seed=1, examples=8, steps=40, seconds=8.0)
    assert [v for v in found.verdicts if v.outcome is Outcome.VIOLATED] == []


class Story:
    """A system whose actions are told one by one, with the first choices that are possible; all invariants are checked
    after each."""

    def __init__(self, loaded: Loaded, scope: str) -> None:
        self.machine = PythonMachine(loaded.spec, loaded.program, loaded.spec.scope(scope))
        self.machine.start(Script())
        self.names = [action.name for action in loaded.program.actions]
        state = self.machine.machine
        assert isinstance(state, SystemMachine)
        self.state = state
        self.result: int | None = None

    def may(self, name: str, *arguments: int) -> bool:
        """Take a step if it is possible."""
        script: Script | None = Script()
        while script is not None:
            outcome = self.machine.perform(self.names.index(name), arguments, script)
            if outcome.enabled:
                assert outcome.failure is None, outcome.failure
                assert self.machine.check() == []
                self.result = outcome.result
                return True
            script = script.next()
        return False

    def step(self, name: str, *arguments: int) -> int | None:
        assert self.may(name, *arguments), name
        return self.result

    def reclaim(self, name: str, *arguments: int) -> list[str]:
        """The first task reclaims until it has gone on for good, by this action; gives what was done meanwhile."""
        parts = ("mapping", "folio", "list", "turn", "turn_end")
        work = {name: arguments, **{f"reclaim_{part}": (1,) for part in parts}}
        work |= {"end_swap_write": (0,), "end_file_write": (0,)}
        done: list[str] = []
        while self.state.pages.task[0].slow:
            done.append(next(step for step, given in work.items() if self.may(step, *given)))
            assert len(done) < 100
        return done


def test_a_fork_that_reclaims_and_what_becomes_of_its_pages(system: Loaded) -> None:
    """dup_task_struct() finds no page, direct reclaim frees one, the child is born in it, and at its end the page goes
    back to the buddy system."""
    story = Story(system, "contents")
    m = story.state
    story.step("access_memory", 0, 0, True)
    story.step("access_file", 0, 0, False)
    assert m.pages.node_free_pages() == 0
    assert story.step("fork", 0, 1) == 0
    assert m.pages.task[0].slow
    assert m.pages.task[0].memalloc
    done = story.reclaim("end_fork", 0, 1)
    assert story.result == 1
    assert "reclaim_mapping" in done
    child = m.pages.task[1].task_struct
    assert child is not None
    assert m.held[child] == 0
    assert m.pages.mm[1].alive
    assert m.nr_slab == 1
    story.step("exit", 1)
    assert m.nr_slab == 1
    story.step("release_task", 1)
    assert m.held[child] is None
    # With `shrinks` the empty cpu slab could be flushed; the next object comes from it without reclaim.
    assert story.step("fork", 0, 1) == 1
    assert m.pages.task[1].task_struct == child


def test_objects_come_by_reclaim_or_not_at_all(system: Loaded) -> None:
    """GFP_NOWAIT fails where GFP_KERNEL reclaims and succeeds; an empty slab goes back to the buddy system."""
    story = Story(system, "pages=2,tasks=1,requests=3")
    m = story.state
    story.step("access_file", 0, 0, False)
    story.step("access_memory", 0, 0, True)
    story.step("kmem_cache_alloc", 0, 2)
    assert not m.pages.task[0].slow
    assert all(m.held[object] is None for object in range(4))
    story.step("kmem_cache_alloc", 0, 1)
    story.reclaim("end_kmem_cache_alloc", 0)
    [object] = [object for object in range(4) if m.held[object] is not None]
    assert m.nr_slab == 1
    free = m.pages.node_free_pages()
    story.step("kmem_cache_free", object)
    story.step("flush_cpu_slab", 0)
    assert m.nr_slab == 0
    assert m.pages.node_free_pages() == free + 1


def test_every_composition_property_has_a_fault() -> None:
    """Those that are imported have theirs where they come from."""
    expected = {identifier for fault in FAULTS for identifier in fault.expected}
    own = {item.identifier for item in (*INVARIANTS, *STEPS)} | {"R-contents"}
    assert own - expected == set()


def test_the_flow_chart_goes_from_fork_down_to_expand_and_shrink_folio(
    system: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["graph", "system", "--flow", "fork"]) == 0
    chart = capsys.readouterr().out
    for name in ("dup_task_struct", "allocate_slab", "slowpath_retry", "expand", "shrink_folio", "copy_mm"):
        assert name in chart


# --- properties of a machine that is a field of another


def test_within_takes_fields_and_no_runs(system: Loaded) -> None:
    moved = within("pages", *reclaim.INVARIANTS[:1])
    assert moved[0].place == "pages"
    with pytest.raises(AnnotationError, match="names no field"):
        within("m.pages", *moved)
    with pytest.raises(AnnotationError, match="cannot move"):
        within("pages", *moved)
    with pytest.raises(AnnotationError, match="cannot move"):
        within("pages", *reclaim.LEADS[:1])
    spec = dataclasses.replace(system.spec, properties=within("nothing", reclaim.INVARIANTS[0]))
    with pytest.raises(InputError, match="no field nothing"):
        lower(spec)
