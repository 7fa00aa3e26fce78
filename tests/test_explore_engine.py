"""The native engine around the search: memory, limits, interruption, cache, deadlocks, random walks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from kmemspec.model.lang import ir
from kmemspec.model.lang.errors import Position
from kmemspec.model.lang.ir import Size
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.explore import Limits, NativeMachine, compiler, explore, search, simulate
from kmemspec.proofs.explore.store import StateStore
from kmemspec.specs import loading


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = load("test_explore_agreement")
cache = shared.cache
bitmap, plain, leaf = shared.bitmap, shared.plain, shared.leaf


def counter(stuck=False, bad_at=None):
    """Two digits below n that step up, one at a time, choosing how far; `stuck`: no way back from the top."""
    digit = lambda index: ir.Load(0, 0, (index,), 0)  # noqa: E731
    up = plain("up", [
        ((ir.Choice(1, ir.Constant(1), ir.Constant(3), 1),
          ir.Store(0, 0, (ir.Local(0),), ir.Binary("min", ir.Binary("+", digit(ir.Local(0)), ir.Local(1), 1),
                                                   ir.SizeOf(Size("n", -1)), 1), 1),
          *((ir.Require(ir.Compare("<", digit(ir.Local(0)), ir.SizeOf(Size("n", -1))), 1),) if stuck else ())),
         ir.Return(None))], 1)
    claim = ir.Compare("!=", digit(ir.Constant(1)), ir.Constant(-1 if bad_at is None else bad_at))
    properties = [plain("low", [((ir.Claim(0, claim, (digit(ir.Constant(1)),), 2),), ir.Return(None))])]
    functions = {f.name: f for f in (up, *properties, plain("init", [((), ir.Return(None))]))}
    below = ir.IntegerType(Size(None, 0), Size("n", -1))
    return ir.Program(
        "counter", ("n",), ir.Schema((leaf("digit[]", below, Size(None, 2)),)), None, functions, "init",
        (ir.ActionIR("up", "up", (ir.Parameter("i", ir.IntegerType(Size(None, 0), Size(None, 1))),), None),),
        (ir.PropertyIR("LOW", "digit", "invariant", "low", (ir.ClauseIR("not there", ("digit",)),)),),
        tuple(Position("counter.py", line) for line in range(3)), f"counter {stuck} {bad_at}", stuck,
    )


def outcomes(result):
    return {verdict.property: verdict.outcome for verdict in result.verdicts}


def test_tiny_chunks_and_tables_grow_without_losing_states():
    machine = NativeMachine(counter(), {"n": 150})
    store = StateStore(machine, Limits(), chunk_bytes=200, table_slots=4)
    run = search.Search(machine, Limits(), True, 0.0, store)
    run.run(None)
    result = run.result("", 0.0)
    assert result.complete
    assert (result.states, result.depth) == (150 * 150, 150)
    assert sorted({store.words(number) for number in range(result.states)}) == sorted(
        machine.layout.pack((a, b)) for a in range(150) for b in range(150)
    )
    assert all(store.parent(number) < number for number in range(1, result.states))


@pytest.mark.parametrize(("limits", "reason"), [
    (Limits(states=1000), "limit of 1,000 states"),
    (Limits(memory_bytes=6 << 20), "memory limit of 6 MiB"),
    (Limits(seconds=0.0), "time limit of 0 s"),
])
def test_limits_end_with_unknown(limits, reason):
    result = explore(counter(), {"n": 2000}, limits=limits)
    assert not result.complete
    assert result.stopped == reason
    assert set(outcomes(result).values()) == {Outcome.UNKNOWN}
    assert all(verdict.reason == reason and "all those up to depth" in verdict.bound for verdict in result.verdicts)
    if limits.states:
        assert result.states == 1000
    if limits.memory_bytes:
        assert result.memory_bytes <= limits.memory_bytes


def test_interruption_ends_with_unknown():
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    result = explore(counter(), {"n": 3000}, progress=stop)
    assert result.stopped == "interrupted"
    assert set(outcomes(result).values()) == {Outcome.UNKNOWN}
    assert seen[0].states <= seen[1].states <= result.states
    assert seen[1].transitions > 0


def test_deadlock_has_a_shortest_trace():
    result = explore(counter(stuck=True), {"n": 5})
    assert outcomes(result)["deadlock"] is Outcome.VIOLATED
    trace = next(v.trace for v in result.verdicts if v.property == "deadlock")
    assert len(trace.steps) - 1 == 4
    assert trace.steps[-1].state == {"digit": [3, 3]}
    walked = simulate(counter(stuck=True), {"n": 5}, 5, 50, 1)
    assert outcomes(walked)["deadlock"] is Outcome.VIOLATED


def test_no_initial_state_is_not_success():
    program = counter()
    init = plain("init", [((ir.Require(ir.Constant(0), 0),), ir.Return(None))])
    functions = {**program.functions, "init": init}
    empty = ir.Program(**{**vars(program), "functions": functions, "fingerprint": "empty"})
    result = explore(empty, {"n": 3})
    assert set(outcomes(result).values()) == {Outcome.UNKNOWN}
    assert result.never_fired == ("up",)


def test_one_compilation_serves_all_scopes_and_damage_is_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path / "cache"))
    compiled = []
    original = compiler.compile_program
    monkeypatch.setattr(compiler, "compile_program", lambda *a: compiled.append(1) or original(*a))
    states = [explore(counter(), {"n": n}).states for n in (2, 3, 300)]
    assert states == [4, 9, 90000]
    assert len(compiled) == 1
    entry, = (tmp_path / "cache").iterdir()
    content = entry.read_bytes()
    for damaged in (content[:100], content[:-1] + b"\0\0", b"", content.replace(b'"sizes"', b'"seizs"')):
        compiled.clear()
        entry.write_bytes(damaged)
        assert explore(counter(), {"n": 3}).states == 9
        assert compiled == [1]
        assert entry.read_bytes() == content
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path / "file" / "cache"))
    assert explore(counter(), {"n": 3}).states == 9
    assert explore(counter(bad_at=2), {"n": 2}).complete  # another fingerprint, another code


def test_walks_find_shorten_and_repeat():
    program, sizes = counter(bad_at=40), {"n": 1000}
    walked = simulate(program, sizes, 50, 500, 7)
    verdict = {v.property: v for v in walked.verdicts}["LOW"]
    assert verdict.outcome is Outcome.VIOLATED
    assert not verdict.trace.shortest
    assert verdict.trace.violation.elements == (("digit", 40),)
    assert all(step.arguments == {"i": 1} for step in verdict.trace.steps[1:])  # steps of the other digit are left out
    shared.assert_trace_is_a_run(program, sizes, verdict.trace)
    assert simulate(program, sizes, 50, 500, 7).verdicts[0].trace == verdict.trace


@pytest.mark.parametrize("stop_at_first", [True, False])
def test_walks_judge_steps_and_failures(stop_at_first):
    sizes = {"n": 3, "w": 2}
    walked = simulate(bitmap(wrong=True), sizes, 100, 30, 3, stop_at_first=stop_at_first)
    violated = {v.property for v in walked.verdicts if v.outcome is Outcome.VIOLATED}
    assert violated == {"COUNT", "SPARE", "checks"} if not stop_at_first else violated
    for verdict in walked.verdicts:
        if verdict.trace is not None:
            shared.assert_trace_is_a_run(bitmap(wrong=True), sizes, verdict.trace)


def test_walks_meet_every_state_of_a_small_scope():
    result = simulate(bitmap(), {"n": 3, "w": 2}, 20, 5000, 11)
    assert set(outcomes(result).values()) == {Outcome.HOLDS}
    assert result.steps == 20 * 5000
    assert result.states == explore(bitmap(), {"n": 3, "w": 2}).states
    assert all(action.fired for action in result.actions)


SILENT = '''
from typing import Annotated

from kmemspec.model.lang import Range, Record, Sort, Spec, action, invariant

Place = Annotated[int, Sort("place", 3)]


class M(Record):
    count: Annotated[int, Range(0, 3)]
    next: Place | None


def begin(m: M) -> None:
    m.next = 0


@action
def add(m: M) -> None:
    assert m.count < LIMIT
    m.count += 1
    if m.count == 2:
        m.next = None


@invariant("N")
def next_is_small(m: M) -> bool:
    if m.count == 3:
        return True
    following = m.next
    assert following is not None
    return following < 3


LIMIT = 1
SPEC = Spec(name="silent", state=M, init=begin, actions=(add,), properties=(next_is_small,))
'''


@pytest.mark.parametrize(("limit", "broken"), [(1, "checks"), (3, "N")])
def test_a_failure_without_words_replays(limit: int, broken: str, tmp_path: Path) -> None:
    """An assert without a message in an action, and a failure inside a property."""
    path = tmp_path / "silent.py"
    path.write_text(SILENT.replace("LIMIT = 1", f"LIMIT = {limit}"))
    loaded = loading.load(str(path))
    found = explore(loaded.program, loaded.spec.scope(None))
    [trace] = [verdict.trace for verdict in found.verdicts if verdict.property == broken]
    assert trace is not None
    assert replay(loaded.spec, loaded.program, loaded.spec.scope(None), trace).reproduced
