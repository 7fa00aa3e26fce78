"""Leads-to properties: the native search against a naive checker and against Spin, lassos through every layer."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kmemspec import cli
from kmemspec.model.faults import Fault
from kmemspec.model.lang import lowering
from kmemspec.model.lang.errors import SpecError
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.ir import LeadsToIR
from kmemspec.model.lang.replay import replay
from kmemspec.model.lang.spec import Spec
from kmemspec.model.lang.symmetry import check as check_symmetry
from kmemspec.model.lang.trace import Trace
from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.proofs import checking, mutation
from kmemspec.proofs.explore import Limits, explore, search
from kmemspec.specs import loading
from kmemspec.views import dot, itf, svg, table, trace_json

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).with_name("peers")))
toys: Any = importlib.import_module("leads_toys")
spin_peer: Any = importlib.import_module("spin_peer")
MISSING = spin_peer.missing_tools()
needs_spin = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
KSWAPD = Path(__file__).parent / "specifications" / "leads_kswapd.py"
State = tuple[int, ...]
Instance = tuple[int, tuple[int, ...]]


class Naive:
    """Every reachable state and step of a machine, by CPython, and leads-to properties judged on them: a run breaks one
    if a counter that goes through the fair instances, and goes on at one when it is disabled or taken, goes on for ever
    (the classical reduction of several fairness conditions to one)."""

    def __init__(self, machine: PythonMachine) -> None:
        self.machine = machine
        self.steps: dict[State, list[tuple[Instance, State]]] = {}
        todo = [step.state for step in machine.initial_states()]
        while todo:
            state = todo.pop()
            if state in self.steps:
                continue
            self.steps[state] = [
                ((action, arguments), outcome.state)
                for action, arguments, _, outcome in machine.successors(state)
                if outcome.state is not None
            ]
            todo += [after for _, after in self.steps[state]]

    def violated(self, leads: LeadsToIR) -> bool:
        bounds = [parameter.type.bounds(self.machine.sizes) for parameter in leads.parameters]
        elements = itertools.product(*(range(low, high + 1) for low, high in bounds))
        return any(self._violated(leads, values) for values in elements)

    def _violated(self, leads: LeadsToIR, elements: tuple[int, ...]) -> bool:
        said: dict[State, Any] = {state: self.machine.leads(leads, elements, state) for state in self.steps}
        todo = [state for state in self.steps if said[state].when and not said[state].then]
        pending: set[State] = set()
        while todo:
            state = todo.pop()
            if state not in pending:
                pending.add(state)
                todo += [after for _, after in self.steps[state] if not said[after].then]
        return self._fair_cycle(leads, pending)

    def _fair_cycle(self, leads: LeadsToIR, pending: set[State]) -> bool:
        actions = self.machine.program.actions
        loud = [index for index, action in enumerate(actions) if action.name not in leads.quiet]
        if leads.fair is None:
            groups = [{(index, values) for index in loud for values in self.machine.arguments(index)}]
        else:
            fair = [index for index in loud if actions[index].name in leads.fair]
            groups = [{(index, values)} for index in fair for values in self.machine.arguments(index)]

        def after(node: tuple[State, int]) -> Iterator[tuple[tuple[State, int], bool]]:
            """What follows a node, and whether the counter has gone through all on the way."""
            state, counter = node
            group = groups[counter]
            enabled = {instance for instance, _ in self.steps[state]}
            for instance, target in [(None, state), *self.steps[state]]:
                if target in pending and (instance is None or instance[0] in loud):
                    turned = counter + (instance in group or not enabled & group)
                    yield (target, turned % len(groups)), turned == len(groups)

        def leads_back(start: tuple[State, int], goal: tuple[State, int]) -> bool:
            seen, todo = set[tuple[State, int]](), [start]
            while todo:
                node = todo.pop()
                if node not in seen:
                    seen.add(node)
                    todo += [following for following, _ in after(node)]
            return goal in seen

        lasts = [(state, len(groups) - 1) for state in pending]
        return any(turned and leads_back(first, last) for last in lasts for first, turned in after(last))


def agree(spec: Spec, seed: int, symmetry: bool | None, **sizes: int) -> dict[str, int]:
    """Judge a machine by both, and replay every lasso; how many properties are violated."""
    program = lowering.lower(spec)
    scope = spec.resolve({"seed": seed, **sizes} if spec.parameters else {})
    machine = PythonMachine(spec, program, scope)
    naive = Naive(machine)
    found = explore(program, scope, stop_at_first=False, symmetry=symmetry, quick=True)
    assert found.complete
    assert (found.symmetry is not None) == bool(symmetry)
    verdicts = {verdict.property: verdict for verdict in found.verdicts}
    for leads in program.liveness:
        verdict = verdicts[leads.identifier]
        wanted = Outcome.VIOLATED if naive.violated(leads) else Outcome.HOLDS
        assert verdict.outcome is wanted, (leads.identifier, seed, verdict.bound, verdict.reason)
        assert (verdict.trace is not None) == (wanted is Outcome.VIOLATED)
        if verdict.trace is not None:
            assert replay(spec, program, scope, verdict.trace).reproduced
    return {leads.identifier: verdicts[leads.identifier].outcome is Outcome.VIOLATED for leads in program.liveness}


def test_the_search_agrees_with_a_naive_checker() -> None:
    counts: dict[str, int] = {}
    for seed in range(60):
        for name, violated in agree(toys.WALKER, seed, None).items():
            counts[name] = counts.get(name, 0) + violated
    assert all(3 <= count <= 57 for count in counts.values()), counts


@pytest.mark.parametrize("symmetry", [True, False])
def test_a_reduced_search_agrees_with_a_naive_checker(symmetry: bool) -> None:
    counts: dict[str, int] = {}
    for seed in range(16):
        for name, violated in agree(toys.BOARD, seed, symmetry).items():
            counts[name] = counts.get(name, 0) + violated
    assert all(1 <= count <= 15 for count in counts.values()), counts


@pytest.mark.slow
def test_the_search_agrees_with_a_naive_checker_on_many_machines() -> None:
    for seed in range(60, 700):
        agree(toys.WALKER, seed, None)
    for tokens in (2, 3, 4):
        for seed in range(16, 100 if tokens < 4 else 40):
            agree(toys.BOARD, seed, True, tokens=tokens)


@pytest.mark.parametrize("symmetry", [True, False])
def test_elements_and_instances_are_told_apart_in_a_reduced_search(symmetry: bool) -> None:
    """In a queue nobody starves; without one, somebody does if it is held by others each time one looks."""
    for seed in range(8):
        queued, held = (toys.drawn(seed, 0, what) % 2 == 0 for what in (90, 91))
        found = agree(toys.QUEUE, seed, symmetry)
        assert found["SERVED"] == (held and not queued)
        assert not found["STOPS"]
    assert len({(toys.drawn(seed, 0, 90) % 2, toys.drawn(seed, 0, 91) % 2) for seed in range(8)}) == 4


# --- Spin


def spin_violates(directory: Path, defines: tuple[str, ...], claim: str, fair: bool) -> bool:
    """Whether Spin finds a run that breaks a claim."""
    directory.mkdir(exist_ok=True)
    if not (directory / "pan").exists():
        (directory / "leads.pml").write_text(spin_peer.MODEL.with_name("leads.pml").read_text())
        spin_peer.run_tool(["spin", *(f"-D{name}" for name in defines), "-a", "leads.pml"], directory)
        spin_peer.run_tool(["gcc", "-w", "-O0", "-DNOREDUCE", "-DNFAIR=3", "-o", "pan", "pan.c"], directory)
    told = spin_peer.run_tool(["./pan", "-a", *(["-f"] if fair else []), "-m100000", "-N", claim], directory)
    assert "Search not completed" not in told or "errors: 1" in told
    assert "max search depth too small" not in told
    return bool(spin_peer.read_number(r"errors: (\d+)", told))


@needs_spin
def test_spin_finds_the_same_for_kswapd(tmp_path: Path) -> None:
    found = agree(loading.load(str(KSWAPD)).spec, 0, None)
    assert found == {"FAIR": True, "STOPS": False, "UNFAIR": True, "NEVER": False}
    assert spin_violates(tmp_path, ("KSWAPD",), "sleeps", fair=True) == found["FAIR"]
    assert spin_violates(tmp_path, ("KSWAPD",), "stops", fair=True) == found["STOPS"]
    assert spin_violates(tmp_path, ("KSWAPD",), "stops", fair=False) == found["UNFAIR"]


@needs_spin
@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_spin_finds_the_same_for_a_queue(queued: bool, held: bool, tmp_path: Path) -> None:
    defines = tuple(name for name, wanted in (("QUEUED", queued), ("HELD", held)) if wanted)
    seed = next(
        seed for seed in range(8) if [toys.drawn(seed, 0, what) % 2 == 0 for what in (90, 91)] == [queued, held]
    )
    assert spin_violates(tmp_path, defines, "served", fair=True) == agree(toys.QUEUE, seed, True)["SERVED"]


# --- a lasso through every layer


def verdicts_of(target: Path, **options: Any) -> tuple[loading.Loaded, dict[str, Verdict]]:
    loaded = loading.load(str(target))
    found = explore(loaded.program, loaded.spec.resolve(), spec=str(target), quick=True, **options)
    return loaded, {verdict.property: verdict for verdict in found.verdicts}


@pytest.fixture(scope="module")
def lasso() -> Trace:
    """A run in which kswapd never sleeps: one allocation for each of its steps."""
    trace = verdicts_of(KSWAPD)[1]["FAIR"].trace
    assert trace is not None
    return trace


def test_a_lasso_is_short_and_says_where_its_loop_begins(lasso: Trace) -> None:
    assert [step.action for step in lasso.steps] == ["", "alloc", "alloc", "wake", "kswapd_step", "alloc"]
    assert lasso.loop == 3
    assert lasso.steps[3].state == lasso.steps[5].state
    assert lasso.violation is not None
    assert (lasso.violation.kind, lasso.violation.property) == ("leads-to", "FAIR")
    assert lasso.notes == ("the run is fair: kswapd_step() taken in step 4",)


def test_verdicts_say_what_they_hold_for() -> None:
    _, found = verdicts_of(KSWAPD)
    assert found["STOPS"].bound == "all 7 reachable states, depth 4, under weak fairness of kswapd_step, if alloc stops"
    assert found["NEVER"].bound.endswith("; it is never due")
    assert found["FAIR"].bound == "lasso: 3 steps, then 2 for ever"
    standing = found["UNFAIR"].trace
    assert standing is not None
    assert standing.loop is not None
    assert all(step.action == "idle" for step in standing.steps[standing.loop + 1 :])


def test_pictures_of_a_lasso_show_its_loop(lasso: Trace) -> None:
    text = table.text(lasso)
    assert "from here the steps 4..5 repeat for ever" in text
    assert "5✗" not in text
    assert "the last 2 for ever" in text
    assert "↺ after step 5 the state is that of step 3 again, and so on for ever" in text
    assert "tip-red" in svg.svg(lasso).partition("</defs>")[2]
    for picture in (dot.dot(lasso), svg.svg(lasso)):
        assert "from here the steps 4..5 repeat for ever" in picture
        assert "the state is that of step 3 again" in picture
    assert trace_json.from_json(json.loads(trace_json.text(lasso)), "lasso") == lasso
    written = json.loads(itf.text(lasso))
    assert written["loop"] == 3
    assert itf.from_itf(written, "lasso") == lasso
    still = replace(lasso, steps=lasso.steps[:4])
    assert "here the machine stands still, for ever" in table.text(still) + dot.dot(still) + svg.svg(still)


def test_the_command_line_finds_shows_and_replays_a_lasso(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    target = str(KSWAPD)
    assert cli.main(["check", target, "--json", "report.json", "--engine", "explore,hypothesis,prove"]) == 1
    shown = capsys.readouterr().out
    assert "! never due: NEVER; nothing was checked about it" in shown
    assert "STOPS sleeps_when_quiet" in shown
    answers = {
        (result["property"], result["engine"]): result["verdict"]
        for result in json.loads(Path("report.json").read_text())["results"]
    }
    assert answers["STOPS", "explore"] == "holds"
    assert answers["FAIR", "explore"] == "violated"
    assert {engine for identifier, engine in answers if identifier == "STOPS"} == {"explore"}
    file = next(path.name for path in tmp_path.glob("*-trace.json"))
    assert cli.main(["replay", file]) == 1
    assert "every state and the verdict are the same" in capsys.readouterr().out
    assert cli.main(["explain", "STOPS", "--spec", target]) == 0
    told = capsys.readouterr().out
    assert "under weak fairness of kswapd_step, if alloc stops; ask the search" in told
    assert "STOPS sleeps_when_quiet (leads-to of" in told
    assert "all 7 reachable states" in told


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "does not close": (lambda data: data.update(loop=2), "does not close: state 5 is not state 2"),
    "no loop": (lambda data: data.update(loop=None), "has no loop"),
    "outside": (lambda data: data.update(loop=6), '"loop" is 6'),
    "too short": (lambda data: data.update(loop=5), "kswapd_step() is possible all the way round the loop and never"),
    "quiet": (lambda data: data["violation"].update(property="STOPS"), "step 5: alloc is repeated for ever"),
    "elements": (lambda data: data["violation"].update(elements=[["page", 1]]), "not about what FAIR is about: none"),
    "no such leads-to": (lambda data: data["violation"].update(property="V9"), "there is no leads-to 'V9'"),
    "not due": (lambda data: data["violation"].update(property="NEVER"), "it ends with no violation"),
    "other clause": (lambda data: data["violation"].update(clause="well-defined"), "it ends with no violation"),
    "other kind": (lambda data: data["violation"].update(kind="invariant"), "it ends with no violation"),
    "other action": (lambda data: data["steps"][5].update(action="idle"), "step 5: idle leads to another state"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_loop_in_a_trace_file_is_one_clear_error(
    name: str, lasso: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mutate, message = HOSTILE[name]
    data = trace_json.to_json(lasso)
    mutate(data)
    file = tmp_path / "lasso.json"
    file.write_text(json.dumps(data))
    assert cli.main(["replay", str(file)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_cut_search_leaves_leads_to_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    _, cut = verdicts_of(KSWAPD, limits=Limits(states=4))
    assert {verdict.outcome for verdict in cut.values()} == {Outcome.UNKNOWN}
    assert cut["FAIR"].reason == "limit of 4 states"
    program = lowering.lower(toys.BOARD)
    sizes = toys.BOARD.resolve({"seed": 5, "tokens": 4})
    whole = explore(program, sizes, symmetry=False, quick=True)
    tight = Limits(memory_bytes=whole.memory_bytes + 1000)
    found = explore(program, sizes, symmetry=False, quick=True, limits=tight)
    verdicts = {verdict.property: verdict for verdict in found.verdicts}
    assert verdicts["checks"].outcome is Outcome.HOLDS
    assert verdicts["PAIR"].outcome is Outcome.UNKNOWN
    assert "memory limit" in verdicts["PAIR"].reason

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "judge", interrupt)
    _, stopped = verdicts_of(KSWAPD)
    assert stopped["checks"].outcome is Outcome.HOLDS
    assert {stopped[name].reason for name in ("FAIR", "STOPS", "NEVER")} == {"interrupted"}


def test_the_graph_grows_beyond_its_first_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from kmemspec.proofs.explore import liveness

    monkeypatch.setattr(liveness, "_FIRST_EDGES", 1)
    monkeypatch.setattr(liveness, "_NODES_A_CALL", 3)
    agree(toys.BOARD, 5, True)
    monkeypatch.setattr(liveness, "_CLOSING_MAX", 0)
    for seed in range(4):
        agree(toys.BOARD, seed, True)
        agree(toys.QUEUE, seed, True)


def test_a_fault_is_killed_by_a_lasso(tmp_path: Path) -> None:
    """kswapd finds nothing to free, and tries again for ever."""
    fault = Fault("k", "frees nothing", "own", "kswapd", "m", "kswapd_step", "level += 1", "level += 0", ("STOPS",))
    file = tmp_path / "faulty.py"
    file.write_text(fault.apply(KSWAPD.read_text()).replace("(sleeps, sleeps_when_quiet,", "(sleeps_when_quiet,"))
    loaded = loading.load(str(file))
    sizes = loaded.spec.resolve()
    attempt = mutation.attempt(loaded, fault, sizes, "explore", 20)
    assert attempt.outcome is Outcome.VIOLATED
    assert attempt.killer is not None
    found = {verdict.property: verdict for verdict in mutation.RUNNERS["explore"](loaded, fault, sizes, 20)}
    lasso = found["STOPS"].trace
    assert lasso is not None
    assert [step.action for step in lasso.steps[(lasso.loop or 0) + 1 :]] == ["kswapd_step"]


def test_a_leads_to_that_cannot_be_evaluated_is_violated(tmp_path: Path) -> None:
    file = tmp_path / "undefined.py"
    old = "    return leads(when=m.awake, then=not m.awake)"
    file.write_text(KSWAPD.read_text().replace(old, f'    assert m.level > 1, "low"\n{old}', 1))
    loaded, found = verdicts_of(file)
    trace = found["FAIR"].trace
    assert trace is not None
    assert trace.violation is not None
    assert (trace.violation.clause, trace.violation.message) == ("well-defined", "low")
    assert [step.action for step in trace.steps] == ["", "alloc", "alloc"]
    assert replay(loaded.spec, loaded.program, loaded.spec.resolve(), trace).reproduced


def test_a_leads_to_must_be_symmetric_as_well(tmp_path: Path) -> None:
    file = tmp_path / "asymmetric.py"
    text = Path(toys.__file__).read_text()
    start = text.index("WALKER = Spec(")
    end = text.index("class Board(Record)")
    text = text[:start] + text[end : text.index("class Queue(Record)")].replace("BOARD =", "SPEC =")
    old = "when=m.shared == 0, then"
    assert old in text
    file.write_text(text.replace(old, "when=m.spots[0] == 0, then"))
    loaded = loading.load(str(file))
    with pytest.raises(SpecError, match="token"):
        check_symmetry(loaded.program, ("token",), loaded.spec.resolve())
    found = explore(loaded.program, loaded.spec.resolve(), symmetry=None, quick=True)
    assert found.unreduced
    assert all(verdict.outcome is not Outcome.UNKNOWN for verdict in found.verdicts)


def test_check_counts_a_leads_to_once_per_scope() -> None:
    loaded = loading.load(str(KSWAPD))
    done = checking.check(loaded, loaded.spec.resolve(), ("explore",))
    assert done.never_due == ("NEVER",)
    assert done.outcome is Outcome.VIOLATED
