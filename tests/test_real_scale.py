"""CPython at real scale: sparse arrays mean what dense ones do, cost what was touched, and large scopes are walked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kmemspec.model.faults.catalogue import find
from kmemspec.model.lang import records
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.execute import PythonMachine, Script
from kmemspec.model.lang.ir import Sizes
from kmemspec.model.lang.records import Array, Record, touched
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.spec import ScopeError, check_layout
from kmemspec.model.lang.trace import StepOutcome
from kmemspec.specs.loading import Loaded, load
from kmemspec.specs.stateful import run, state_machine
from kmemspec.specs.stateful.walking import Chance, Walker

HERE = Path(__file__).parent
EVERY_CONSTRUCT = str(HERE / "specifications" / "every_construct.py")
RING = str(HERE.parent / "examples" / "ring_buffer.py")
REAL = "pages=33000,orders=11,long=63"

SLABS = '''
"""Objects of caches in pages, as many as a real machine has: 17 million cells, five times over."""

from typing import Annotated

from kmemspec.model.lang import Array, Parameter, Range, Record, Sort, Spec, action, require

Page = Annotated[int, Sort("page", "pages")]
Object = Annotated[int, Sort("object", "objects")]
Cache = Annotated[int, Sort("cache", "caches")]
Cpu = Annotated[int, Sort("cpu", "cpus")]


class Slab(Record):
    inuse: Annotated[int, Range(0, "slots")]
    owner: Cache | None


class CpuSlab(Record):
    freelist: Object | None
    allocations: Annotated[int, Range(0, 1000)]


class KmemCache(Record):
    cpu_slab: Array[Cpu, CpuSlab]


class Machine(Record):
    slab: Array[Page, Slab]
    cache: Array[Cache, KmemCache]
    next: Array[Object, Object | None]
    owner: Array[Object, Cache | None]
    stamp: Array[Object, Annotated[int, Range(0, 7)]]
    bad: Array[Object, bool]
    used: Array[Object, bool]


def nothing(m: Machine) -> None:
    m.cache[0].cpu_slab[0].freelist = 5


@action
def allocate(m: Machine, cache: Cache, object: Object) -> Object:
    require(m.owner[object] is None)
    m.owner[object] = cache
    m.used[object] = True
    m.cache[cache].cpu_slab[0].freelist = object
    return object


@action
def release(m: Machine, cache: Cache, object: Object) -> None:
    require(m.used[object])
    require(m.owner[object] == cache)
    m.owner[object] = None
    m.used[object] = False
    m.slab[object].inuse = 1


SPEC = Spec(
    name="slabs", state=Machine, init=nothing, actions=(allocate, release), properties=(),
    parameters=(
        Parameter("pages", 4, "pages", least=1), Parameter("slots", 2, "objects of a page", least=1),
        Parameter("caches", 2, "caches", least=1), Parameter("cpus", 2, "CPUs", least=1),
    ),
    derived={"objects": lambda sizes: sizes["pages"] * sizes["slots"]},
)
'''


@pytest.fixture(scope="module")
def buddy() -> Loaded:
    return load("buddy")


@pytest.fixture
def slabs(tmp_path: Path) -> Loaded:
    path = tmp_path / "slabs.py"
    path.write_text(SLABS, encoding="utf-8")
    return load(str(path))


def made(record: Record) -> int:
    """How many cells are there, of all records and arrays below one."""
    count = 0
    for value in vars(record).values():
        if isinstance(value, Record):
            count += made(value)
        elif isinstance(value, Array):
            count += _made(value)
        else:
            count += 1
    return count


def _made(array: Array[object, object]) -> int:
    cells = records._held(array).values()
    return sum(
        made(cell) if isinstance(cell, Record) else _made(cell) if isinstance(cell, Array) else 1 for cell in cells
    )


def sparse(loaded: Loaded, sizes: Sizes, monkeypatch: pytest.MonkeyPatch) -> PythonMachine:
    """A machine that holds no cell before it is touched."""
    with monkeypatch.context() as patch:
        patch.setattr(records, "DENSE_MAX", 0)
        return PythonMachine(loaded.spec, loaded.program, sizes)


@pytest.mark.parametrize(
    ("target", "fault", "scope", "steps"),
    [
        ("buddy", None, "pages=13,start=3", 250),
        ("buddy", "merge-ignores-order", "pages=6", 300),
        ("buddy", "merge-beyond-max-order", "pages=4,orders=2,start=2", 200),
        (EVERY_CONSTRUCT, None, "default", 500),
        (RING, None, "slots=4,bits=3", 200),
    ],
    ids=lambda value: str(value).rsplit("/", 1)[-1],
)
def test_sparse_arrays_mean_what_dense_ones_do(
    target: str, fault: str | None, scope: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(target, find(fault) if fault else None)
    sizes = loaded.spec.scope(scope)
    machines = PythonMachine(loaded.spec, loaded.program, sizes), sparse(loaded, sizes, monkeypatch)
    generator = random.Random(1)
    seen: set[str] = set()
    for run_number in range(4):
        state: tuple[int, ...] | None = None
        for number in range(steps // 4):
            action = generator.randrange(len(loaded.program.actions))
            arguments = generator.choice(list(machines[0].arguments(action)))
            seed = generator.random()
            outcomes: list[StepOutcome] = []
            for machine in machines:
                # The sparse one is read and written as a large one is.
                monkeypatch.setattr(records, "PLANNED_MAX", 0 if machine is machines[1] else 1 << 16)
                if number == 0:
                    started = machine.start(Chance(random.Random(run_number)))
                    seen.add("failed" if started.failure else "started")
                elif number % 3 == 0 and state is not None:
                    machine.state = state
                before = machine.state
                outcomes.append(machine.take(action, arguments, Chance(random.Random(seed))))
                if outcomes[-1].state is None:
                    assert machine.state == before
            first, second = outcomes
            assert first == second
            seen.add("failed" if first.failure else "taken" if first.enabled else "disabled")
            state = first.state or state
            if number % 8 == 0 and state is not None:
                monkeypatch.setattr(records, "PLANNED_MAX", 1 << 16)
                assert machines[0].check(state) == machines[1].check(state)
                if first.state is not None:
                    assert machines[0].check_step(before, action, arguments, first) == machines[1].check_step(
                        before, action, arguments, second
                    )
    assert "taken" in seen
    assert target != EVERY_CONSTRUCT or {"failed", "disabled"} <= seen


def test_a_machine_of_33000_pages_holds_what_was_touched(buddy: Loaded) -> None:
    sizes = buddy.spec.scope(REAL)
    machine = PythonMachine(buddy.spec, buddy.program, sizes)
    assert made(machine.machine) < 500
    assert machine.begin(Script()).enabled
    generator = random.Random(2)
    held: list[int] = []
    for _ in range(400):
        if held and generator.random() < 0.4:
            outcome = machine.perform(1, (held.pop(generator.randrange(len(held))),), Script())
        else:
            outcome = machine.perform(0, (generator.choice((0, 0, 0, 1, 2, 3)),), Script())
            if outcome.result is not None and outcome.result >= 0:
                held.append(outcome.result)
        assert outcome.enabled
        assert outcome.failure is None
    assert touched(machine.machine.held) == sorted(held)  # type: ignore[attr-defined]
    assert machine.before is not machine.machine
    assert made(machine.machine) < 30_000 < buddy.program.schema.total(sizes) // 8
    wrong = machine.perform(1, (next(page for page in range(33_000) if page not in held),), Script())
    assert not wrong.enabled


def test_arrays_of_17_million_cells(slabs: Loaded) -> None:
    sizes = slabs.spec.scope("pages=33000,slots=512,caches=200,cpus=4")
    with pytest.raises(ScopeError, match="elements"):
        check_layout(slabs.program.schema, sizes)
    machine = PythonMachine(slabs.spec, slabs.program, sizes)
    machine.begin(Script())
    last = 33_000 * 512 - 1
    assert machine.perform(0, (199, last), Script()).result == last
    assert not machine.perform(0, (3, last), Script()).enabled
    assert not machine.perform(1, (3, last), Script()).enabled
    failing = machine.perform(1, (199, last), Script())
    assert failing.failure is not None
    assert failing.failure.kind.name == "BOUNDS"
    state = machine.machine
    assert touched(state.owner) == touched(state.used) == [last]  # type: ignore[attr-defined]
    assert state.owner[last] == 199  # type: ignore[attr-defined]
    assert made(state) < 400
    with pytest.raises(InputError, match="too large"):
        _ = machine.state


@pytest.mark.parametrize("scope", ["pages=48,orders=4,long=63", "pages=200,orders=6,long=63,start=5"])
def test_digest_copy_and_pools_follow_the_state(buddy: Loaded, scope: str) -> None:
    sizes = buddy.spec.scope(scope)
    walker = Walker(buddy.spec, buddy.program, sizes, check_every=7)
    digests: dict[int, tuple[int, ...]] = {}
    for number in range(4):
        walker.begin(None)
        for turn in range(60):
            walker.burst(number * 1000 + turn, 2)
            state = walker.machine.state
            assert digests.setdefault(walker.follower.digest, state) == state
            assert records.read_state(walker.machine.before, buddy.program.schema) == state
            for pool in walker.follower.pools.values():
                assert pool.values == touched(walker.machine.machine.held)  # type: ignore[attr-defined]
    assert len(set(digests.values())) == len(digests) > 50
    assert walker.large == (len(walker.follower.pools) == 1)


def test_large_scopes_are_walked_far_and_reproducibly(buddy: Loaded) -> None:
    sizes = buddy.spec.scope("large")
    first, second = (
        run(buddy.spec, buddy.program, sizes, seed=3, examples=6, steps=200, check_every=100) for _ in range(2)
    )
    assert first.steps == 1200
    assert (first.steps, first.runs, first.states, first.actions) == (
        second.steps, second.runs, second.states, second.actions,
    )
    assert first.never_fired == ()
    assert first.states > 200
    assert 0 < first.checked < 40
    assert first.verdicts[0].bound.endswith(f"properties checked after one step in 100 ({first.checked} of them)")
    measured = run(buddy.spec, buddy.program, sizes, seed=3, examples=2, steps=100)
    assert measured.check_every > 1
    assert measured.checked > 0


def test_a_walk_reaches_both_ends(buddy: Loaded) -> None:
    """Memory runs out and comes back, though a uniform argument is refused 999 times of 1000."""
    walker = Walker(buddy.spec, buddy.program, buddy.spec.scope("large"), check_every=1 << 30)
    walker.begin(None)
    failed = empty = 0
    for seed in range(40):
        walker.burst(seed, 64)
        failed += sum(1 for step in walker.steps[-64:] if step.action == 0 and step.result == -1)
        empty += not touched(walker.machine.machine.held)  # type: ignore[attr-defined]
    assert failed > 0
    assert empty > 0
    assert walker.counts.fired[1] > 500


def test_the_owner_of_an_object_is_found(slabs: Loaded) -> None:
    sizes = slabs.spec.scope("pages=400,slots=512,caches=8,cpus=4")
    walker = Walker(slabs.spec, slabs.program, sizes, check_every=1 << 30)
    walker.begin(None)
    with pytest.raises(AssertionError, match="index outside its array"):
        walker.burst(1, 10_000)
    assert walker.finding is not None
    assert walker.finding.steps[-1].action == 1


PERMUTATION = '''
"""A permutation chosen element by element, as a cache chooses the order of its freelist."""

from typing import Annotated

from kmemspec.model.lang import Array, Parameter, Record, Sort, Spec, action, choose, indices, require

Slot = Annotated[int, Sort("slot", "slots")]
Page = Annotated[int, Sort("page", "pages")]


class Machine(Record):
    place: Array[Slot, Slot | None]
    other: Array[Page, bool]


def nothing(m: Machine) -> None:
    m.other[0] = True


@action
def shuffle(m: Machine) -> None:
    for slot in indices(m.place):
        m.place[slot] = None
    for slot in indices(m.place):
        wanted = 0
        if slot >= 0:
            wanted = choose(indices(m.place))
        require(all(m.place[other] != wanted for other in range(slot)))
        m.place[slot] = wanted


SPEC = Spec(
    name="permutation", state=Machine, init=nothing, actions=(shuffle,), properties=(),
    parameters=(Parameter("slots", 3, "slots", least=1), Parameter("pages", 2, "pages", least=1)),
)
'''


def test_choices_look_ahead_to_their_guard(tmp_path: Path) -> None:
    """Sixteen choices that must all differ: blindly, one in 900,000 such steps would happen."""
    path = tmp_path / "permutation.py"
    path.write_text(PERMUTATION, encoding="utf-8")
    loaded = load(str(path))
    found = run(loaded.spec, loaded.program, loaded.spec.scope("slots=16,pages=2000"), seed=1, examples=4, steps=30)
    assert found.steps >= 100
    assert found.actions[0].refused == 0
    assert found.states > 50
    tiny = run(loaded.spec, loaded.program, loaded.spec.resolve(), seed=1, examples=4, steps=30)
    assert tiny.actions[0].refused > 0


def test_a_burst_runs_as_it_is_printed(buddy: Loaded) -> None:
    machine = state_machine(buddy.spec, buddy.program, buddy.spec.scope("large"), check_every=1 << 30)
    ends = []
    for _ in range(2):
        state = machine()
        state.memblock_free_all()
        state.many_steps(seed=7, times=40)
        ends.append((state.walker.follower.digest, len(state.walker.steps)))
    assert ends[0] == ends[1]
    assert ends[0][1] == 41
    assert not hasattr(state_machine(buddy.spec, buddy.program, buddy.spec.resolve()), "many_steps")


@pytest.mark.parametrize("seed", [1, 3])
def test_a_fault_at_a_large_scope_is_shrunk_to_few_steps(seed: int) -> None:
    faulty = load("buddy", find("merge-ignores-order"))
    sizes = faulty.spec.scope("pages=256,orders=9,long=63")
    found = run(faulty.spec, faulty.program, sizes, spec_name="buddy", seed=seed, examples=40, steps=40, check_every=16)
    assert found.trace is not None
    assert replay(faulty.spec, faulty.program, sizes, found.trace).reproduced
    assert found.trace.violation is not None
    assert len(found.trace.steps) <= 12
    assert found.smallest
