"""The native engine against the interpreter of `ir_interpreter.py`: random programs, failures, reachable sets."""

from __future__ import annotations

import importlib.util
import random
from itertools import islice
from pathlib import Path

import pytest
from kmemspec.model.lang import ir
from kmemspec.model.lang.errors import InputError, Position, ScopeError
from kmemspec.model.lang.ir import FailureKind as Kind
from kmemspec.model.lang.ir import Size
from kmemspec.model.lang.trace import Failure, FlatStep, StepOutcome, flatten
from kmemspec.model.lang.verdict import Outcome
from kmemspec.proofs.explore import Limits, NativeMachine, explore
from kmemspec.proofs.explore.layout import Layout


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Interpreter = load("ir_interpreter").Interpreter
SIZES = {"n": 3, "w": 3, "k": 2}
N, W, K = Size("n"), Size("w"), Size("k")
CONSTANTS = (-(1 << 63), -65, -7, -2, -1, 0, 1, 2, 3, 7, 63, 64, 65, 1 << 40, (1 << 63) - 1)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path_factory.getbasetemp() / "native-cache"))


def leaf(path, type_, *dimensions):
    return ir.Leaf(path, dimensions, type_)


SCHEMA = ir.Schema((
    leaf("flag", ir.BooleanType()),
    leaf("small", ir.IntegerType(Size(None, -5), N)),
    leaf("next[]", ir.IntegerType(Size(None, 0), Size("n", -1), optional=True), N),
    leaf("grid[][]", ir.IntegerType(Size(None, 0), Size(None, 4)), N, Size("k", 1)),
    leaf("bits[]", ir.BooleanType(), Size(None, 3)),
    leaf("counter[]", ir.MachineType(W, False), K),
    leaf("signed", ir.MachineType(Size("w", 1), True)),
    leaf("wide", ir.MachineType(Size(None, 64), True)),
    leaf("fixed", ir.MachineType(Size(None, 5), True)),
))
ABSTRACT = ir.Schema((
    leaf("held[]", ir.IntegerType(Size(None, 0), N, optional=True), N),
    leaf("sum", ir.MachineType(W, True)),
))


MOST = 200  # random programs can choose in loops, in very many ways
OPERATORS = ("+", "-", "*", "//", "%", "<<", ">>", "&", "|", "^", "min", "max")


class Generator:
    """Random functions over SCHEMA: every expression and instruction, failures likely but not everywhere."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.functions = {}
        self.where = 0

    def place(self):
        self.where = (self.where + 1) % 50
        return self.where

    def integer(self, depth, pure=("p0",)):
        r = self.random
        if depth <= 0 or r.random() < 0.2:
            return r.choice([
                lambda: ir.Constant(r.choice(CONSTANTS) if r.random() < 0.15 else r.randrange(-1, 4)),
                lambda: ir.Local(r.randrange(self.usable)),
                lambda: ir.Local(r.randrange(self.usable)),
                lambda: ir.SizeOf(r.choice([N, W, K, Size("n", -1), Size(None, 2)])),
                lambda: self.load(0, pure),
            ])()
        sub = lambda: self.integer(depth - 1, pure)  # noqa: E731
        return r.choice([
            lambda: ir.Binary(r.choice(OPERATORS), sub(), sub(), self.place()),
            lambda: ir.Binary(r.choice(["+", "-", "&", "min", "max"]), sub(), sub(), self.place()),
            lambda: ir.Binary(r.choice(["//", "%"]), sub(), ir.Constant(r.choice([1, 2, 4, 3, -2])), self.place()),
            lambda: ir.Unary(r.choice("-~"), sub()),
            lambda: self.load(depth - 1, pure),
            lambda: ir.Conditional(self.boolean(depth - 1, pure), sub(), sub()),
            lambda: ir.Present(sub(), self.place()),
            lambda: self.quantifier("sum", depth, pure),
            lambda: ir.Apply(r.choice(pure), (sub(),), self.place()) if pure else sub(),
            lambda: ir.Wrap(ir.MachineType(r.choice([W, Size(None, 3), Size(None, 64)]), True), sub()),
            lambda: ir.Wrap(ir.MachineType(r.choice([W, Size("w", 2), Size(None, 63)]), False), sub()),
            lambda: self.boolean(depth - 1, pure),
        ])()

    def boolean(self, depth, pure=("p0",)):
        r = self.random
        if depth <= 0 or r.random() < 0.2:
            return r.choice([
                lambda: ir.Constant(r.randrange(2)), lambda: ir.Load(0, 0, (), self.place()),
                lambda: ir.Compare("<", ir.Local(r.randrange(self.usable)), ir.Constant(r.randrange(4))),
            ])()
        sub = lambda: self.boolean(depth - 1, pure)  # noqa: E731
        integers = lambda: (self.integer(depth - 1, pure), self.integer(depth - 1, pure))  # noqa: E731
        return r.choice([
            lambda: ir.Compare(r.choice(["==", "!=", "<", "<=", ">", ">="]), *integers()),
            lambda: ir.Compare(r.choice(["==", "!=", "<", "<=", ">", ">="]), *integers()),
            lambda: ir.BooleanAnd(sub(), sub()), lambda: ir.BooleanOr(sub(), sub()), lambda: ir.Unary("not", sub()),
            lambda: ir.Conditional(sub(), sub(), sub()),
            lambda: self.quantifier(r.choice(["all", "any"]), depth, pure),
            lambda: ir.Load(0, 4, (self.index(depth - 1, pure),), self.place()),
        ])()

    def index(self, depth, pure):
        r = self.random
        return r.choice([lambda: ir.Constant(r.randrange(2)), lambda: ir.Constant(r.randrange(3)),
                         lambda: ir.Local(0), lambda: self.integer(depth, pure)])()

    def load(self, depth, pure):
        root, schema = self.random.choice(self.roots)
        number = self.random.randrange(len(schema.leaves))
        indices = tuple(self.index(depth, pure) for _ in schema.leaves[number].dimensions)
        return ir.Load(root, number, indices, self.place())

    def quantifier(self, kind, depth, pure):
        local = self.new_local()
        start, stop = ir.Binary("max", self.integer(-1, ()), ir.Constant(-3), 1), ir.SizeOf(self.random.choice([N, K]))
        if self.random.random() < 0.9:
            start = ir.Constant(self.random.randrange(-1, 2))
        old, self.usable = self.usable, self.usable
        condition = self.boolean(depth - 1, pure) if self.random.random() < 0.5 else None
        body = self.integer(depth - 1, pure) if kind == "sum" else self.boolean(depth - 1, pure)
        if self.random.random() < 0.7:
            use = ir.Compare("<=", ir.Local(local), body) if kind != "sum" else ir.Binary("+", ir.Local(local), body, 1)
            body = use
        self.usable = old
        return ir.Quantifier(kind, local, start, stop, condition, body)

    def new_local(self):
        self.count += 1
        return self.count - 1

    def store(self):
        root, schema = self.roots[0]
        number = self.random.randrange(len(schema.leaves))
        kind = schema.leaves[number].type
        value = self.boolean(2) if isinstance(kind, ir.BooleanType) else self.integer(2)
        indices = tuple(self.index(1, ("p0",)) for _ in schema.leaves[number].dimensions)
        return ir.Store(root, number, indices, value, self.place())

    def instruction(self, kind):
        r = self.random
        local = r.randrange(self.usable)
        options = [lambda: ir.Assign(local, self.integer(2)), self.store, self.store, self.store,
                   lambda: ir.Check(Kind.ASSERT, self.boolean(3), r.choice(["", "oops"]), self.place())]
        if kind == "action":
            start = lambda: ir.Binary("max", self.integer(0), ir.Constant(-2), 1)  # noqa: E731
            options += [lambda: ir.Call(r.choice([None, local]), "helper", (self.integer(1),), self.place()),
                        lambda: ir.Choice(local, start(), ir.SizeOf(N), self.place()),
                        lambda: ir.Require(self.boolean(2), self.place())]
        if kind == "property":
            witnesses = lambda: (self.integer(1),) * r.randrange(3)  # noqa: E731
            options = [lambda: ir.Claim(r.randrange(2), self.boolean(2), witnesses(), self.place()),
                       lambda: ir.Assign(local, self.integer(2))]
            if self.roots[0][0] == ir.ABSTRACT:
                options.append(self.store)
        return r.choice(options)()

    def function(self, name, parameters, kind, roots=((0, SCHEMA),), value=None):
        """if/else around a loop with a checked bound around an if."""
        self.roots, self.usable, self.count = roots, 4, 4
        turns = self.new_local()
        some = lambda: tuple(self.instruction(kind) for _ in range(self.random.randrange(3)))  # noqa: E731
        loop = ir.Check(Kind.UNWIND, ir.Compare("<", ir.Local(turns), ir.Constant(4)), "", self.place())
        step = ir.Assign(turns, ir.Binary("+", ir.Local(turns), ir.Constant(1), 0))
        result = ir.Return(value or self.integer(2))
        blocks = (
            ir.Block(some(), ir.Branch(self.boolean(2), 1, 2, 0, self.place())),
            ir.Block(some(), ir.Jump(3)),
            ir.Block(some(), ir.Jump(3)),
            ir.Block((loop, step), ir.Branch(self.boolean(2), 4, 5, 1, self.place()), (3,)),
            ir.Block(some(), ir.Jump(3), (3,)),
            ir.Block(some(), result),
        )
        locals_ = tuple(ir.LocalVariable(f"l{number}") for number in range(self.count))
        self.functions[name] = ir.Function(name, tuple(range(parameters)), locals_, blocks, False, None, name)

    def pure(self):
        self.roots, self.usable, self.count = ((0, SCHEMA),), 1, 1
        body = ir.Block((), ir.Return(self.integer(2, ())))
        self.functions["p0"] = ir.Function("p0", (0,), (ir.LocalVariable("x"),) * self.count, (body,), True, None, "p0")

    def program(self, seed):
        self.pure()
        self.function("helper", 1, "helper")
        self.function("init", 0, "action")
        self.function("first", 2, "action")
        self.function("second", 1, "action")
        self.function("invariant", 0, "property")
        self.function("step", 2, "property", ((0, SCHEMA), (1, SCHEMA)))
        self.function("refine", 3, "property", ((2, ABSTRACT), (3, ABSTRACT), (0, SCHEMA), (1, SCHEMA)))
        optional = ir.IntegerType(Size(None, 0), Size("n", -1), True)
        parameters = (ir.Parameter("i", optional), ir.Parameter("b", ir.BooleanType()))
        clauses = (ir.ClauseIR("zero", ("a", "b")), ir.ClauseIR("one", ("a", "b")))
        return ir.Program(
            "random", ("n", "w", "k"), SCHEMA, ABSTRACT, self.functions, "init",
            (ir.ActionIR("first", "first", parameters, ir.BooleanType()),
             ir.ActionIR("second", "second", parameters[:1], None)),
            (ir.PropertyIR("I", "i", "invariant", "invariant", clauses),
             ir.PropertyIR("S", "s", "step", "step", clauses, "first"),
             ir.PropertyIR("R", "r", "refinement", "refine", clauses, "first")),
            tuple(Position("random.py", line) for line in range(51)), f"random {seed}",
        )


def random_state(rng, schema, sizes):
    return tuple(rng.randint(*(lambda low, high: (max(low, -99), min(high, 99)))(*leaf.type.bounds(sizes)))
                 for leaf in schema.leaves for _ in range(leaf.count(sizes)))


def completed(native, flat):
    """Some of the completed steps out of a state."""
    for t in islice(native.transitions(flat), MOST):
        if t.outcome.state is not None:
            yield FlatStep(t.action, t.arguments, t.choices, t.outcome.result, t.outcome.state)


def simplified(outcome):
    """Positions of arithmetic failures are a matter of taste."""
    failure = outcome.failure
    if failure is not None and failure.kind is Kind.ARITHMETIC:
        return StepOutcome(True, failure=Failure(failure.kind, 0))
    return outcome


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 100))])
def test_random_programs_agree(seed):
    program = Generator(seed).program(seed)
    rng = random.Random(seed)
    seen = set()
    for sizes in (SIZES, {"n": 2, "w": 6, "k": 1}, {"n": 5, "w": 1, "k": 3}):
        native, oracle = NativeMachine(program, sizes), Interpreter(program, sizes)
        start = SCHEMA.initial(sizes)
        ours = [(step.choices, simplified(native.outcome(-1, step)))
                for step in islice(native.executions(native.start_words(), -1, ()), MOST)]
        theirs = [(choices, simplified(StepOutcome(outcome.enabled, outcome.state, None, outcome.failure)))
                  for choices, outcome in islice(oracle.executions("init", (), start), MOST)]
        assert theirs == ours
        for _ in range(10):
            flat = random_state(rng, SCHEMA, sizes)
            ours = [(t.action, t.arguments, t.choices, simplified(t.outcome))
                    for t in islice(native.transitions(flat), MOST)]
            theirs = [(*rest, simplified(outcome)) for *rest, outcome in islice(oracle.transitions(flat), MOST)]
            assert [tuple(item) for item in theirs] == ours
            seen.update(item[3].failure.kind if item[3].failure else "done" for item in ours)
            assert bool(native.check(flat)) == (oracle.judge(program.properties[0], flat, flat) is not None)
            for step in list(completed(native, flat))[:8]:
                broken = {violation.property: violation for violation in native.check_step(flat, step)}
                for prop in program.properties[1:]:
                    extra = () if prop.identifier == "S" else (step.result or 0,)
                    told = oracle.judge(prop, step.state, flat, (*step.arguments, *extra)) if step.action == 0 else None
                    assert (told is not None) == (prop.identifier in broken)
                    if told is not None and isinstance(told[0], int):
                        violation = broken[prop.identifier]
                        assert violation.clause == prop.clauses[told[0]].name
                        assert violation.elements == tuple(zip("ab", told[1], strict=False))
    assert seen


def test_every_operator_agrees_at_the_edges():
    wide = ir.Schema((leaf("left", ir.MachineType(Size(None, 64), True)), leaf("right", ir.MachineType(W, True)),
                      leaf("result", ir.MachineType(Size(None, 64), True))))
    left, right = ir.Load(0, 0, (), 0), ir.Load(0, 1, (), 0)
    constants = [ir.Constant(value) for value in (-3, 0, 1, 8, 63)]
    expressions = [ir.Unary(operator, left) for operator in "-~"]
    for operator in OPERATORS:
        expressions.append(ir.Binary(operator, left, right, 0))
        for constant in constants:
            expressions += [ir.Binary(operator, left, constant, 0), ir.Binary(operator, constant, right, 0)]
    pair = ir.Conditional(ir.Compare("==", ir.Local(0), ir.Constant(0)), left, right)
    expressions.append(ir.Quantifier("sum", 0, ir.Constant(0), ir.Constant(2), None, pair))
    functions = {"init": plain("init", [((), ir.Return(None))])}
    for number, expression in enumerate(expressions):
        name = f"f{number}"
        functions[name] = plain(name, [((ir.Store(0, 2, (), expression, 0),), ir.Return(None))])
    actions = tuple(ir.ActionIR(name, name, (), None) for name in functions if name != "init")
    positions = (Position("operators.py", 1),)
    program = ir.Program("operators", ("w",), wide, None, functions, "init", actions, (), positions, "operators")
    native, oracle = NativeMachine(program, {"w": 64}), Interpreter(program, {"w": 64})
    for a in CONSTANTS:
        for b in CONSTANTS:
            ours = [(t.action, t.outcome) for t in native.transitions((a, b, 0))]
            assert ours == [(action, outcome) for action, _, _, outcome in oracle.transitions((a, b, 0))]


# --- a bitmap allocator by hand ----------------------------------------------------------------------------------


def local(index):
    return ir.Local(index)


def same(left, right):
    return ir.Compare("==", left, right)


def plain(name, blocks, parameters=0, count=8, returns=None):
    blocks = tuple(ir.Block(*block) for block in blocks)
    return ir.Function(name, tuple(range(parameters)), (ir.LocalVariable(""),) * count, blocks, False, returns, name)


def bitmap(wrong=False, failing=None, deadlock_free=False):
    """alloc() chooses any free bit and gives it an owner, free(bit) clears it; `used` counts, `tid` wraps."""
    used = ir.Load(0, 1, (), 0)
    bit = lambda index: ir.Load(0, 0, (index,), 1)  # noqa: E731
    cells = ir.Schema((
        leaf("bit[]", ir.BooleanType(), N), leaf("used", ir.IntegerType(Size(None, 0), N)),
        leaf("tid", ir.MachineType(Size("w"), False)),
        leaf("last", ir.IntegerType(Size(None, 0), Size("n", -1), True, "cell")),
    ))
    tick = ir.Store(0, 2, (), ir.Binary("+", ir.Load(0, 2, (), 9), ir.Constant(1), 9), 9)
    alloc = plain("alloc", [
        ((ir.Choice(0, ir.Constant(0), ir.SizeOf(N), 2), ir.Require(ir.Unary("not", bit(local(0))), 3),
          ir.Store(0, 0, (local(0),), ir.Constant(1), 4),
          ir.Store(0, 1, (), ir.Binary("+", used, ir.Constant(1), 5), 5),
          ir.Store(0, 3, (), local(0), 5), tick), ir.Return(local(0)))], returns=ir.BooleanType())
    again = (ir.Store(0, 1, (), ir.Binary("-", used, ir.Constant(1), 6), 6),)
    free = plain("free", [
        ((*((failing,) if failing else ()),), ir.Branch(bit(ir.Present(local(0), 7)), 1, 2, 0, 7)),
        ((ir.Store(0, 0, (local(0),), ir.Constant(0), 8), *again, *(again if wrong else ())), ir.Jump(3)),
        ((ir.Require(ir.Constant(0), 8),), ir.Jump(3)),
        ((tick,), ir.Return(None))], 1)
    set_bits = ir.Quantifier("sum", 0, ir.Constant(0), ir.SizeOf(N), None, bit(local(0)))
    counted = plain("counted", [((ir.Claim(0, same(used, set_bits), (used,), 10),), ir.Return(None))])
    not_all = plain("not_all", [((ir.Claim(0, ir.Compare("<", used, ir.SizeOf(N)), (), 11),), ir.Return(None))])
    next_tid = ir.Wrap(ir.MachineType(W, False), ir.Binary("+", ir.Load(1, 2, (), 0), ir.Constant(1), 0))
    forward = plain("forward", [((ir.Claim(0, same(ir.Load(0, 2, (), 0), next_tid), (), 12),), ir.Return(None))])
    functions = {f.name: f for f in (alloc, free, counted, not_all, forward, plain("init", [((), ir.Return(None))]))}
    one = (ir.ClauseIR("it is so", ("cell",)),)
    return ir.Program(
        "bitmap", ("n", "w"), cells, None, functions, "init",
        (ir.ActionIR("alloc", "alloc", (), ir.BooleanType()),
         ir.ActionIR("free", "free", (ir.Parameter("cell", ir.IntegerType(Size(None, 0), Size("n", -1))),), None)),
        (ir.PropertyIR("COUNT", "used counts", "invariant", "counted", one),
         *((ir.PropertyIR("SPARE", "one is free", "invariant", "not_all", one),) if wrong else ()),
         ir.PropertyIR("TID", "tid moves", "step", "forward", one)),
        tuple(Position("bitmap.py", line) for line in range(20)), f"bitmap {wrong} {failing} {deadlock_free}",
        deadlock_free,
    )


def breadth_first(program, sizes):
    """(depth of each reachable state, number of transitions) by the interpreter."""
    oracle = Interpreter(program, sizes)
    depth = {step.state: 0 for step in oracle.initial_states()}
    queue, transitions = list(depth), 0
    for state in queue:
        for *_, outcome in oracle.transitions(state):
            if outcome.state is not None:
                transitions += 1
                if outcome.state not in depth:
                    depth[outcome.state] = depth[state] + 1
                    queue.append(outcome.state)
    return depth, transitions


def native_states(machine):
    reached = {step.state for step in machine.initial_states()}
    queue = list(reached)
    for state in queue:
        for step in machine.successors(state):
            if step.state not in reached:
                reached.add(step.state)
                queue.append(step.state)
    return reached


@pytest.mark.parametrize("sizes", [{"n": 4, "w": 2}, {"n": 1, "w": 5}, {"n": 3, "w": 1}])
def test_reachable_set_and_counts(sizes):
    program = bitmap()
    depth, transitions = breadth_first(program, sizes)
    result = explore(program, sizes)
    assert native_states(NativeMachine(program, sizes)) == set(depth)
    assert result.complete
    assert (result.states, result.transitions, result.depth) == (len(depth), transitions, max(depth.values()))
    assert {verdict.outcome for verdict in result.verdicts} == {Outcome.HOLDS}
    assert sum(action.new for action in result.actions) == result.states - result.initial_states
    assert [(b.then_reached, b.otherwise_reached) for b in result.branches if b.function == "free"] == [(True, True)]


def assert_trace_is_a_run(program, sizes, trace):
    """Every step of the trace is one the interpreter takes; every state is what it says."""
    oracle = Interpreter(program, sizes)
    states = [flatten(program.schema, step.state, sizes) for step in trace.steps]
    assert states[0] in [step.state for step in oracle.initial_states()]
    for before, after, step in zip(states, states[1:], trace.steps[1:], strict=False):
        outcomes = [o for number, _, choices, o in oracle.transitions(before)
                    if program.actions[number].name == step.action and choices == step.choices]
        assert any(o.state == after or (o.failure and after == before) for o in outcomes)


def test_shortest_counterexamples():
    sizes = {"n": 3, "w": 2}
    program = bitmap(wrong=True)
    result = explore(program, sizes, stop_at_first=False)
    verdicts = {verdict.property: verdict for verdict in result.verdicts}
    assert result.complete
    depth, _ = breadth_first(program, sizes)
    oracle = Interpreter(program, sizes)
    for prop in program.properties[:2]:
        trace = verdicts[prop.identifier].trace
        shortest = min(depth[state] for state in depth if oracle.judge(prop, state, state))
        assert trace.shortest
        assert len(trace.steps) - 1 == shortest
        assert_trace_is_a_run(program, sizes, trace)
    assert verdicts["SPARE"].trace.violation.position == "bitmap.py:11"
    assert verdicts["COUNT"].trace.violation.elements == (("cell", 0),)
    assert verdicts["checks"].trace.violation.kind == "RANGE"
    assert verdicts["TID"].outcome is Outcome.HOLDS
    first = explore(program, sizes)
    assert not first.complete
    assert Outcome.VIOLATED in {verdict.outcome for verdict in first.verdicts}
    assert {v.outcome for v in first.verdicts if v.trace is None} == {Outcome.UNKNOWN}


X = ir.Load(0, 1, (), 13)
FAILURES = {
    Kind.BOUNDS: ir.Assign(1, ir.Load(0, 0, (ir.Binary("+", local(0), X, 13),), 13)),
    Kind.RANGE: ir.Store(0, 3, (), ir.Binary("+", X, ir.Constant(2), 13), 13),
    Kind.NONE: ir.Assign(1, ir.Present(ir.Load(0, 3, (), 13), 13)),
    Kind.ASSERT: ir.Check(Kind.ASSERT, ir.Compare("<", X, ir.Constant(2)), "two are used", 13),
    Kind.UNWIND: ir.Check(Kind.UNWIND, ir.Compare("<", X, ir.Constant(3)), "", 13),
    Kind.ARITHMETIC: ir.Assign(1, ir.Binary("//", X, ir.Binary("-", X, ir.Constant(1), 13), 13)),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_each_failure_is_found_and_explained(kind):
    sizes = {"n": 3, "w": 2}
    program = bitmap(failing=FAILURES[kind])
    depth, _ = breadth_first(program, sizes)
    oracle = Interpreter(program, sizes)
    shortest = min(depth[s] + 1 for s in depth if any(o.failure for *_, o in oracle.transitions(s)))
    verdict = {v.property: v for v in explore(program, sizes).verdicts}["checks"]
    assert verdict.outcome is Outcome.VIOLATED
    assert verdict.trace.violation.kind == kind.name
    assert verdict.trace.violation.position == "bitmap.py:13"
    assert len(verdict.trace.steps) - 1 == shortest
    assert verdict.trace.steps[-1].action == "free"
    assert verdict.trace.steps[-1].state == verdict.trace.steps[-2].state
    assert_trace_is_a_run(program, sizes, verdict.trace)


def test_bad_scopes_and_steps_are_refused():
    program = bitmap()
    with pytest.raises(ScopeError, match="unsigned with 64 bits; choose at most 63"):
        explore(program, {"n": 2, "w": 64})
    with pytest.raises(ScopeError, match="no value to 'w'"):
        explore(program, {"n": 2})
    with pytest.raises(ScopeError):
        explore(program, {"n": 1 << 40, "w": 2})
    machine = NativeMachine(program, {"n": 2, "w": 63})
    for call in (lambda: machine.step((0, 0, 0, 0, -1), 7, ()), lambda: machine.step((0, 0, 0, 0, -1), 1, (2,)),
                 lambda: machine.step((0, 2, 0, 0, -1), 1, (0,)), lambda: machine.step((0, 0), 1, (0,)),
                 lambda: machine.step((0, 0, 0, 0, -1), 1, ())):
        with pytest.raises(InputError):
            call()


def test_packing_is_exact():
    rng = random.Random(5)
    for sizes in (SIZES, {"n": 40, "w": 20, "k": 7}):
        layout = Layout(SCHEMA, sizes)
        for _ in range(50):
            flat = random_state(rng, SCHEMA, sizes)
            assert layout.unpack(layout.pack(flat)) == flat


def test_buddy_reachable_set():
    from kmemspec.model.lang.lowering import lower
    from kmemspec.specs.buddy import SPEC

    program, sizes = lower(SPEC), SPEC.scope("pages=5,orders=2")
    depth, transitions = breadth_first(program, sizes)
    result = explore(program, sizes, limits=Limits())
    assert (result.states, result.transitions, result.depth) == (len(depth), transitions, max(depth.values()))
    assert native_states(NativeMachine(program, sizes)) == set(depth)
