"""The symbolic engine on programs written by hand in the IR, and on random ones against the plain interpreter."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang import ir
from kmemspec.model.lang.errors import Position
from kmemspec.model.lang.ir import FailureKind
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.symbolic import SymbolicMachine, bounded, export, prove
from kmemspec.proofs.symbolic.narrowing import narrowed
from kmemspec.proofs.symbolic.relations import Relations
from kmemspec.proofs.symbolic.solving import Solvers
from kmemspec.proofs.symbolic.values import high_of, low_of
from kmemspec.specs.loading import load as load_spec

Code = list[tuple[list[ir.Instruction], ir.Terminator, tuple[int, ...]]]


def number(value: int) -> ir.Size:
    return ir.Size(None, value)


def c(value: int) -> ir.Expression:
    return ir.Constant(value)


def local(index: int) -> ir.Expression:
    return ir.Local(index)


def load(leaf: int, *indices: ir.Expression) -> ir.Expression:
    return ir.Load(ir.CURRENT, leaf, indices, 0)


def store(leaf: int, value: ir.Expression, *indices: ir.Expression) -> ir.Instruction:
    return ir.Store(ir.CURRENT, leaf, indices, value, 0)


def op(operator: str, left: ir.Expression, right: ir.Expression) -> ir.Expression:
    return ir.Binary(operator, left, right, 0)


def compare(operator: str, left: ir.Expression, right: ir.Expression) -> ir.Expression:
    return ir.Compare(operator, left, right)


def integer(low: int, high: int, optional: bool = False) -> ir.IntegerType:
    return ir.IntegerType(number(low), number(high), optional)


def function(name: str, code: Code, locals_: int = 0, parameters: int = 0, returns: Any = None) -> ir.Function:
    blocks = tuple(ir.Block(tuple(instructions), end, loops) for instructions, end, loops in code)
    variables = tuple(ir.LocalVariable(f"v{index}") for index in range(locals_))
    return ir.Function(name, tuple(range(parameters)), variables, blocks, False, returns, name)


def straight(name: str, *instructions: ir.Instruction, locals_: int = 0, parameters: int = 0) -> ir.Function:
    return function(name, [(list(instructions), ir.Return(None), ())], locals_, parameters)


def program(
    leaves: list[tuple[str, ir.LeafType, tuple[int, ...]]],
    functions: list[ir.Function],
    actions: dict[str, tuple[ir.LeafType, ...]],
    invariants: dict[str, tuple[str, ...]],
    kinds: dict[str, str] | None = None,
) -> ir.Program:
    """A program whose init is the function "init", and whose actions and properties are named as their functions."""
    return ir.Program(
        "by-hand", ("n",),
        ir.Schema(tuple(ir.Leaf(path, tuple(map(number, sizes)), type_) for path, type_, sizes in leaves)), None,
        {f.name: f for f in [straight("init"), *functions]}, "init",
        tuple(
            ir.ActionIR(name, name, tuple(ir.Parameter(f"p{i}", t) for i, t in enumerate(types)), None)
            for name, types in actions.items()
        ),
        tuple(
            ir.PropertyIR(name, name, (kinds or {}).get(name, "invariant"), name, tuple(map(ir.ClauseIR, clauses)))
            for name, clauses in invariants.items()
        ),
        (Position("by_hand.py", 1),), "0",
    )


def claim(condition: ir.Expression, clause: int = 0, *witnesses: ir.Expression) -> ir.Claim:
    return ir.Claim(clause, condition, witnesses, 0)


SIZES = {"n": 4}


def ring(wraps: bool) -> ir.Program:
    step = op("+", load(0), c(1))
    following = op("%", step, ir.SizeOf(ir.Size("n"))) if wraps else step
    return program(
        [("at", integer(0, 3), ())], [straight("tick", store(0, following)), straight("I", claim(c(1)))],
        {"tick": ()}, {"I": ("small",)},
    )


def outcomes(verdicts: Any) -> dict[str, Outcome]:
    return {verdict.property: verdict.outcome for verdict in verdicts}


def test_a_ring_counter_is_proved_and_a_broken_one_is_found_in_as_many_steps_as_it_has() -> None:
    assert set(outcomes(prove(ring(True), SIZES).verdicts).values()) == {Outcome.HOLDS}
    proof = prove(ring(False), SIZES)
    checks = next(v for v in proof.verdicts if v.property == "checks")
    assert checks.outcome is Outcome.UNKNOWN
    assert checks.trace is not None and not checks.trace.reachable and checks.trace.notes  # noqa: PT018
    assert [step.state["at"] for step in checks.trace.steps] == [3, 3]
    found = bounded(ring(False), SIZES, depth=6)
    trace = next(v.trace for v in found.verdicts if v.outcome is Outcome.VIOLATED)
    assert trace is not None
    assert (len(trace.steps) - 1, trace.shortest, trace.violation.kind if trace.violation else "") == (4, True, "RANGE")
    assert outcomes(bounded(ring(False), SIZES, depth=3).verdicts) == {"I": Outcome.HOLDS, "checks": Outcome.HOLDS}


def by_two() -> ir.Program:
    """0, 2, 4, 6, 0 …: never 7, but that is only 4-inductive (7, 1, 3, 5, 7)."""
    return program(
        [("x", ir.MachineType(number(3), False), ())],
        [straight("add", store(0, op("+", load(0), c(2)))), straight("not7", claim(compare("!=", load(0), c(7))))],
        {"add": ()}, {"not7": ("x is not 7",)},
    )


@pytest.mark.parametrize(("k", "expected"), [(1, Outcome.UNKNOWN), (3, Outcome.UNKNOWN), (4, Outcome.HOLDS)])
def test_k_induction_needs_the_right_k(k: int, expected: Outcome) -> None:
    verdict = prove(by_two(), SIZES, k=k).verdicts[0]
    assert verdict.outcome is expected
    if verdict.trace is not None:
        assert [step.state["x"] for step in verdict.trace.steps] == [(7 - 2 * back) % 8 for back in range(k, -1, -1)]
        assert not verdict.trace.reachable
        assert verdict.trace.violation is not None


def test_k_induction_checks_its_base_case() -> None:
    spec = by_two()
    wrong = straight("not7", claim(compare("!=", load(0), c(4)), 0, load(0)))
    changed = replace(spec, functions={**spec.functions, "not7": wrong})
    trace = prove(changed, SIZES, k=4).verdicts[0].trace
    assert trace is not None
    assert trace.reachable
    assert [step.state["x"] for step in trace.steps] == [0, 2, 4]


def test_vacuity_names_the_action_that_never_fires_and_contradictory_hypotheses() -> None:
    spec = program(
        [("x", integer(0, 7), ())],
        [
            straight("never", ir.Require(compare(">", load(0), c(5)), 0), store(0, c(0))),
            straight("small", claim(compare("<", load(0), c(3)))),
        ],
        {"never": ()}, {"small": ("x < 3",)},
    )
    vacuity = prove(spec, SIZES).verdicts[-1]
    assert (vacuity.property, vacuity.outcome) == ("vacuity", Outcome.VIOLATED)
    assert "never" in vacuity.reason
    assert "hypotheses" not in vacuity.reason
    impossible = straight("small", claim(compare("!=", load(0), load(0))))
    changed = replace(spec, functions={**spec.functions, "small": impossible})
    assert "hypotheses" in prove(changed, SIZES).verdicts[-1].reason


FAILING: dict[FailureKind, list[ir.Instruction]] = {
    FailureKind.BOUNDS: [store(1, c(1), local(0))],
    FailureKind.RANGE: [store(0, op("+", local(0), c(1)))],
    FailureKind.NONE: [store(0, ir.Present(op("-", local(0), c(1)), 0))],
    FailureKind.ASSERT: [ir.Check(FailureKind.ASSERT, compare("<", local(0), c(4)), "below 4", 0)],
    FailureKind.ARITHMETIC: [store(0, op("//", c(4), op("-", c(4), local(0))))],
}
BAD = {kind: 0 if kind is FailureKind.NONE else 4 for kind in FAILING}


@pytest.mark.parametrize("kind", FAILING, ids=lambda kind: kind.name)
def test_each_kind_of_failure_is_found_and_is_no_other(kind: FailureKind) -> None:
    spec = program(
        [("x", integer(0, 4), ()), ("a[]", integer(0, 1), (4,))],
        [straight("act", *FAILING[kind], locals_=1, parameters=1)], {"act": (integer(0, 4),)}, {},
    )
    machine = SymbolicMachine(spec, SIZES)
    for argument in range(5):
        failure = machine.step((0, 0, 0, 0, 0), 0, (argument,)).failure
        assert (failure is not None) == (argument == BAD[kind])
        assert failure is None or failure.kind is kind
    trace = prove(spec, SIZES, only={"checks"}).verdicts[0].trace
    assert trace is not None
    assert trace.violation is not None
    assert (trace.violation.kind, trace.steps[1].arguments) == (kind.name, {"p0": BAD[kind]})


def test_a_loop_bound_is_an_obligation() -> None:
    code: Code = [
        ([ir.Assign(1, c(0))], ir.Jump(1), ()),
        ([], ir.Branch(compare("<", local(1), local(0)), 2, 3, 0, 0), (1,)),
        (
            [
                ir.Check(FailureKind.UNWIND, compare("<", local(1), c(3)), "", 0),
                ir.Assign(1, op("+", local(1), c(1))),
            ],
            ir.Jump(1), (1,),
        ),
        ([store(0, local(1))], ir.Return(None), ()),
    ]
    spec = program(
        [("x", integer(0, 9), ())], [function("count", code, 2, 1)], {"count": (integer(0, 4),)}, {}
    )
    trace = prove(spec, SIZES).verdicts[0].trace
    assert trace is not None
    assert trace.steps[1].arguments == {"p0": 4}
    machine = SymbolicMachine(spec, SIZES)
    assert [machine.step((0,), 0, (n,)).state for n in range(5)] == [(0,), (1,), (2,), (3,), None]


def test_nothing_is_claimed_without_time() -> None:
    proof = prove(by_two(), SIZES, timeout_seconds=0.0)
    assert {v.outcome for v in proof.verdicts if v.property == "not7"} == {Outcome.UNKNOWN}
    assert all(v.outcome is not Outcome.VIOLATED for v in proof.verdicts)


def remembering() -> ir.Program:
    """Any number of 0..7 is put into x, and what was there into y; x and y may not be 3, nor x be 5."""
    return program(
        [("x", integer(0, 7), ()), ("y", integer(0, 7), ())],
        [
            straight("put", store(1, load(0)), store(0, local(0)), locals_=1, parameters=1),
            *(straight(f"{name}{n}", claim(compare("!=", load(leaf), c(n)))) for name, leaf, n in REFUSED),
        ],
        {"put": (integer(0, 7),)},
        {f"{name}{n}": ("refused",) for name, _, n in REFUSED},
    )


REFUSED = (("x", 0, 3), ("x", 0, 5), ("y", 1, 3))


@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_obligations_asked_together_are_settled_one_by_one(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmemspec.proofs.symbolic.induction.TOGETHER_SECONDS", seconds)
    proof = prove(remembering(), SIZES)
    of_put = {o.property: o.outcome for o in proof.obligations if o.action == "put" and o.clause == "refused"}
    assert of_put == {"x3": Outcome.VIOLATED, "x5": Outcome.VIOLATED, "y3": Outcome.HOLDS}
    traces = {verdict.property: verdict.trace for verdict in proof.verdicts if verdict.trace is not None}
    assert {name: dict(trace.steps[1].arguments)["p0"] for name, trace in traces.items()} == {"x3": 3, "x5": 5}
    assert len(proof.obligations) == len({(o.action, o.property, o.clause) for o in proof.obligations})


@pytest.mark.parametrize(("name", "scope"), [("buddy", "pages=4,orders=2"), ("lru", "default"), ("zone", "default")])
def test_no_state_outside_the_narrowed_intervals_satisfies_the_invariants(name: str, scope: str) -> None:
    loaded = load_spec(name)
    relations = Relations(loaded.program, loaded.spec.scope(scope))
    invariants = relations.state_properties("invariant")
    terms, state, intervals = relations.terms, relations.variables(""), narrowed(relations, invariants)
    elements = [terms.number(element) for leaf in state for element in leaf]
    bounds = [(low_of(element), high_of(element)) for element in elements]
    assert bounds != list(intervals)
    supposed = [part for item in invariants for need in relations.required(item, state) for part in need.parts]
    inside = terms.conjunction(
        terms.within(element, *interval) for element, interval in zip(elements, intervals, strict=True)
    )
    with Solvers(terms, 1) as solvers:
        answer = solvers.ask([*supposed, terms.negation(inside)], time.monotonic() + 60).result()
    assert answer.answer == "unsat"


def test_exported_obligations_are_what_was_proved(tmp_path: Path) -> None:
    z3 = pytest.importorskip("z3")
    paths = export(by_two(), SIZES, tmp_path, k=4)
    assert len(paths) == len({path.name for path in paths}) >= 3
    for path in paths:
        text = path.read_text()
        expected = "unsat" if "expected unsat" in text else "sat"
        solver = z3.Solver()
        solver.add(z3.parse_smt2_string(text))
        assert str(solver.check()) == expected
        assert "(set-logic QF_BV)" in text


def test_importing_the_engine_does_not_import_z3() -> None:
    code = "import sys, kmemspec.proofs.symbolic; sys.exit('z3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- random programs, against the plain interpreter


def interpreter(spec: ir.Program, sizes: dict[str, int]) -> Any:
    where = Path(__file__).parent / "ir_interpreter.py"
    loader = importlib.util.spec_from_file_location("ir_interpreter", where)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module.Interpreter(spec, sizes)


class Writer:
    """Writes random code over three leaves: x in -3..6, an optional reference r to a, and a[3] of wrapping bits."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self, depth: int) -> ir.Expression:
        pick = self.random.choice
        if depth == 0:
            return pick([c(self.random.randint(-2, 5)), local(0), local(1), local(2), load(0), load(1)])
        kind = self.random.randrange(8)
        left, right = self.number(depth - 1), self.number(depth - 1)
        if kind < 3:
            return op(pick(["+", "-", "*", "//", "%", "&", "|", "^", "min", "max", ">>", "<<"]), left, right)
        if kind == 3:
            return load(2, left)
        if kind == 4:
            return ir.Conditional(self.truth(depth - 1), left, right)
        if kind == 5:
            return ir.Present(load(1), 0)
        if kind == 6:
            return ir.Wrap(ir.MachineType(number(3), self.random.random() < 0.5), left)
        body = op("+", local(3), ir.Unary(pick(["-", "~"]), left))
        return ir.Quantifier("sum", 3, c(0), pick([c(3), load(1)]), self.truth(depth - 1), body)

    def truth(self, depth: int) -> ir.Expression:
        pick = self.random.choice
        kind = self.random.randrange(5) if depth > 0 else 0
        if kind == 1:
            return ir.BooleanAnd(self.truth(depth - 1), self.truth(depth - 1))
        if kind == 2:
            return ir.BooleanOr(self.truth(depth - 1), self.truth(depth - 1))
        if kind == 3:
            return ir.Unary("not", self.truth(depth - 1))
        if kind == 4:
            body = compare(pick(["<", "!="]), load(2, local(4)), self.number(depth - 1))
            return ir.Quantifier(pick(["all", "any"]), 4, c(0), c(3), self.truth(0), body)
        depth = max(0, depth - 1)
        return compare(pick(["==", "!=", "<", "<=", ">", ">="]), self.number(depth), self.number(depth))

    def instructions(self) -> list[ir.Instruction]:
        made: list[ir.Instruction] = []
        for _ in range(self.random.randrange(3)):
            kind = self.random.randrange(6)
            if kind == 0:
                made.append(store(2, self.number(1), self.number(1)))
            elif kind == 1:
                made.append(store(self.random.choice([0, 1]), self.number(2)))
            elif kind == 2:
                made.append(ir.Require(self.truth(1), 0))
            elif kind == 3:
                made.append(ir.Choice(1, self.number(0), self.number(1), 0))
            else:
                made.append(ir.Assign(self.random.choice([1, 2]), self.number(2)))
        return made

    def function(self) -> ir.Function:
        """if; a loop with a break, at most three turns; an early return."""
        bound = ir.Check(FailureKind.UNWIND, compare("<", local(5), c(3)), "", 0)
        again = [bound, ir.Assign(5, op("+", local(5), c(1)))]
        code: Code = [
            (self.instructions(), ir.Branch(self.truth(1), 1, 2, 0, 0), ()),
            (self.instructions(), ir.Jump(3), ()),
            (self.instructions(), ir.Branch(self.truth(1), 3, 7, 1, 0), ()),
            ([], ir.Branch(self.truth(1), 4, 6, 2, 0), (3,)),
            ([*again, *self.instructions()], ir.Branch(self.truth(1), 5, 6, 3, 0), (3,)),
            (self.instructions(), ir.Jump(3), (3,)),
            (self.instructions(), ir.Jump(7), ()),
            ([], ir.Return(ir.Wrap(ir.MachineType(number(8), True), local(2))), ()),
        ]
        return function("act", code, 6, 1, integer(-128, 127))


def random_state(generator: random.Random) -> tuple[int, ...]:
    return (generator.randint(-3, 6), generator.randint(-1, 2), *[generator.randrange(4) for _ in range(3)])


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_do_what_the_interpreter_does(seed: int) -> None:
    array = ("a[]", ir.MachineType(number(2), False), (3,))
    leaves = [("x", integer(-3, 6), ()), ("r", integer(0, 2, True), ()), array]
    spec = program(leaves, [Writer(seed).function()], {"act": (integer(-1, 3, True),)}, {})
    spec = replace(spec, actions=(replace(spec.actions[0], returns=integer(-128, 127)),))
    machine, plain = SymbolicMachine(spec, {"n": 4}), interpreter(spec, {"n": 4})
    generator = random.Random(seed)
    for _ in range(12):
        state, argument = random_state(generator), generator.randint(-1, 3)
        for tried, (choices, expected) in enumerate(plain.executions("act", (argument,), state)):
            assert machine.step(state, 0, (argument,), choices) == expected, (state, argument, choices)
            if tried == 4:
                break
