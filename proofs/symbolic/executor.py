"""Executes a function of the IR on symbolic values: all paths at once, merged where they meet.

The one idea: (block, iteration of each loop around it) is visited once, in the order `ir` promises, when every path to
it has arrived; what differs between the paths becomes an if-then-else. A path knows *facts*, the intervals its branch
conditions leave to terms, so most checks and many branches fold without a solver. With concrete values nothing is
symbolic and this is a plain interpreter; counterexamples are replayed that way.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...model.lang import ir
from ...model.lang.errors import InputError
from ...model.lang.ir import FailureKind, Sizes
from .values import (
    SIGNED_64,
    Boolean,
    Integer,
    Number,
    Terms,
    Truth,
    Value,
    high_of,
    interval,
    low_of,
    strip,
)

VISIT_LIMIT = 4_000_000
"""Blocks and quantifier elements one execution may visit; a loop that turns oftener is too much for this engine."""

TERM_LIMIT = 1_500_000
"""Terms that formulas may have together, about a gigabyte."""


class TooBigError(InputError):
    """The formulas do not fit the limits of time or size; a prover answers "unknown"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"symbolic execution: {reason}", "use a smaller scope, or another engine")
        self.reason = reason


Facts = Mapping[int, tuple[int, int]]
Leaves = tuple[tuple[Value, ...], ...]
State = tuple[Leaves, ...]
"""For each root, for each leaf, its elements in row-major order."""

Site = tuple[int, ...]
"""Which instance of a choice: calls and blocks on the way to it, with loop iterations."""


class Path:
    """A path condition as a chain of literals, shared with the paths it forked from, and the facts that follow."""

    __slots__ = ("_term", "depth", "facts", "literal", "parent")

    def __init__(self, parent: Path | None, literal: Truth, facts: Facts) -> None:
        self.parent = parent
        self.literal = literal
        self.depth: int = parent.depth + 1 if parent else 0
        self.facts = facts
        self._term: Truth | None = None

    def term(self, terms: Terms) -> Truth:
        """The condition under which this path is taken."""
        chain = []
        path: Path | None = self
        while path is not None and path._term is None:
            chain.append(path)
            path = path.parent
        for path in reversed(chain):
            above = True if path.parent is None else path.parent._term
            assert above is not None
            path._term = terms.conjunction([above, path.literal], flat=False)
        assert self._term is not None
        return self._term

    def extended(self, literal: Truth) -> Path | None:
        """This path where the literal holds as well; None if the facts rule it out."""
        if isinstance(literal, bool):
            return self if literal else None
        facts = dict(self.facts)
        return Path(self, literal, facts) if learn(facts, literal, True) else None

    def knowing(self, literal: Truth) -> Path:
        """This path, which may take the literal for granted (a check said so, or failed)."""
        if isinstance(literal, bool):
            return self
        facts = dict(self.facts)
        if not learn(facts, literal, True):
            return self
        copy = Path(self.parent, self.literal, facts)
        copy.depth, copy._term = self.depth, self._term
        return copy

    def same(self, other: Path) -> bool:
        """Is it the same condition (the facts may differ)?"""
        return self.parent is other.parent and self.literal is other.literal and self.depth == other.depth


def learn(facts: dict[int, tuple[int, int]], literal: Boolean, holds: bool) -> bool:
    """Add what follows when the literal has this truth value; False if it contradicts what is known."""
    while literal.operator == "not":
        literal, holds = literal.arguments[0], not holds  # type: ignore[assignment]
    truth = (1, 1) if holds else (0, 0)
    if facts.get(literal.number, truth) != truth:
        return False
    facts[literal.number] = truth
    if literal.operator == ("and" if holds else "or"):
        return all(learn(facts, member, holds) for member in literal.arguments)  # type: ignore[arg-type]
    if literal.operator in ("equal", "less"):
        left, right = literal.arguments
        assert isinstance(left, int | Integer)
        assert isinstance(right, int | Integer)
        return _learn_comparison(facts, literal.operator, left, right, holds)
    return True


def _learn_comparison(
    facts: dict[int, tuple[int, int]], operator: str, left: Number, right: Number, holds: bool
) -> bool:
    (low, high), (right_low, right_high) = _known(facts, left), _known(facts, right)
    if operator == "less":
        if holds:
            return _bound(facts, left, low, right_high - 1) and _bound(facts, right, low + 1, right_high)
        return _bound(facts, left, right_low, high) and _bound(facts, right, right_low, high)
    if holds:
        low, high = max(low, right_low), min(high, right_high)
        return _bound(facts, left, low, high) and _bound(facts, right, low, high)
    if right_low == right_high:
        return _exclude(facts, left, low, high, right_low)
    if low == high:
        return _exclude(facts, right, right_low, right_high, low)
    return True


def _exclude(facts: dict[int, tuple[int, int]], value: Number, low: int, high: int, excluded: int) -> bool:
    return _bound(facts, value, low + (low == excluded), high - (high == excluded))


def _known(facts: Facts, value: Number) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    low, high = facts.get(value.number, (value.low, value.high))
    return max(low, value.low), min(high, value.high)


def _bound(facts: dict[int, tuple[int, int]], value: Number, low: int, high: int) -> bool:
    if isinstance(value, int):
        return low <= value <= high
    known_low, known_high = _known(facts, value)
    low, high = max(low, known_low), min(high, known_high)
    if (low, high) != (value.low, value.high):
        facts[value.number] = (low, high)
        bare = strip(value)
        if bare is not value:
            return low <= high and _bound(facts, bare, low, high)
        if value.operator == "+" and isinstance(value.arguments[1], int) and low <= high:
            shift = value.arguments[1]
            return _bound(facts, value.arguments[0], low - shift, high - shift)  # type: ignore[arg-type]
    return low <= high


@dataclass(frozen=True)
class Stop:
    """The execution stops here when the condition holds: it fails, or (kind None) is disabled."""

    condition: Truth
    kind: FailureKind | None
    where: int
    message: str = ""


@dataclass(frozen=True)
class ClaimMade:
    """A claim that was reached when `reached`; its truth value then."""

    clause: int
    reached: Truth
    condition: Truth
    witnesses: tuple[Value, ...]
    where: int


@dataclass(frozen=True)
class ChoiceMade:
    """A choice that was reached when `reached`, in execution order."""

    site: Site
    reached: Truth
    value: Number


@dataclass(frozen=True)
class Run:
    """What executing a function gave. `finished` is when it ran to its end, if nothing failed before."""

    finished: Truth
    value: Value | None
    state: State
    stops: tuple[Stop, ...]
    claims: tuple[ClaimMade, ...]
    choices: tuple[ChoiceMade, ...]

    def failed(self, terms: Terms) -> Truth:
        """Some check fails. (A check that comes after a false `require` has that in its condition.)"""
        return terms.disjunction(stop.condition for stop in self.stops if stop.kind is not None)

    def completed(self, terms: Terms) -> Truth:
        """It ran to its end and nothing failed."""
        return terms.conjunction([self.finished, terms.negation(self.failed(terms))], flat=False)


class _PathEndsError(Exception):
    """The path at hand cannot go on: a check surely fails, or a requirement surely does."""


@dataclass
class _Frame:
    """A running function: its locals and the path they are the values of."""

    locals: list[Value]
    path: Path
    state: State
    site: Site


_Arrival = tuple[Path, list[Value], State]
_Key = tuple[tuple[int, int], ...]
Chooser = Callable[[Site, Number, Number], Number]


class Executor:
    """Executes functions of one program at one scope, over one table of terms.

    `choose` gives the value of a choice from its site and range(start, stop); without one, fresh variables."""

    def __init__(
        self,
        program: ir.Program,
        sizes: Sizes,
        terms: Terms,
        *,
        prefix: str = "",
        choose: Chooser | None = None,
        witnesses: bool = False,
        deadline: float | None = None,
    ) -> None:
        self.terms = terms
        self._deadline = deadline
        self._program = program
        self._sizes = sizes
        self._prefix = prefix
        self._choose = choose or self._fresh
        self._want_witnesses = witnesses
        self._stops: list[Stop] = []
        self._claims: list[ClaimMade] = []
        self._choices: list[ChoiceMade] = []
        self._visited = 0
        self._shapes = {root: _shapes(schema, sizes) for root, schema in _roots(program)}
        self._evaluate_by_type: dict[type, Callable[[ir.Expression, _Frame], Value]] = {
            ir.Constant: lambda e, f: e.value,  # type: ignore[union-attr]
            ir.SizeOf: lambda e, f: e.size.value(self._sizes),  # type: ignore[union-attr]
            ir.Local: self._local,
            ir.Load: self._load,
            ir.Unary: self._unary,
            ir.Binary: self._binary,
            ir.Compare: self._compare,
            ir.BooleanAnd: self._and,
            ir.BooleanOr: self._or,
            ir.Conditional: self._conditional,
            ir.Present: self._present,
            ir.Quantifier: self._quantifier,
            ir.Apply: self._apply,
            ir.Wrap: self._wrap,
        }

    def run(self, function: str, arguments: Sequence[Value], state: State) -> Run:
        """Execute a function from a state. The executor may be used again afterwards."""
        self._stops, self._claims, self._choices, self._visited = [], [], [], 0
        try:
            path, value, state = self._function(function, arguments, Path(None, True, {}), state, ())
            finished = path.term(self.terms)
        except _PathEndsError:
            finished, value = False, None
        return Run(finished, value, state, tuple(self._stops), tuple(self._claims), tuple(self._choices))

    # --- control flow ------------------------------------------------------------------------------------------

    def _function(
        self, name: str, arguments: Sequence[Value], path: Path, state: State, site: Site
    ) -> tuple[Path, Value | None, State]:
        function = self._program.functions[name]
        start: list[Value] = [0] * len(function.locals)
        for index, argument in zip(function.parameters, arguments, strict=True):
            start[index] = argument
        blocks = function.blocks
        waiting: dict[_Key, list[_Arrival]] = {}
        queue: list[_Key] = []
        returned: list[_Arrival] = []

        def arrive(key: _Key, arrival: _Arrival) -> None:
            if key not in waiting:
                waiting[key] = []
                heapq.heappush(queue, key)
            waiting[key].append(arrival)

        arrive(_successor((), 0, blocks[0].loops, 0), (path, start, state))
        while queue:
            key = heapq.heappop(queue)
            self._count()
            arrived, values, reached = self._merged(waiting.pop(key))
            number = key[-1][0]
            frame = _Frame(values, arrived, reached, (*site, *[part for pair in key for part in pair]))
            try:
                for index, instruction in enumerate(blocks[number].instructions):
                    self._instruction(instruction, frame, index)
                self._terminate(blocks, number, key, frame, arrive, returned)
            except _PathEndsError:
                continue
        if not returned:
            raise _PathEndsError
        path, (value,), state = self._merged(returned)
        return path, value if _gives_value(function) else None, state

    def _terminate(
        self,
        blocks: tuple[ir.Block, ...],
        number: int,
        key: _Key,
        frame: _Frame,
        arrive: Callable[[_Key, _Arrival], None],
        returned: list[_Arrival],
    ) -> None:
        terminator = blocks[number].terminator
        if isinstance(terminator, ir.Return):
            value = 0 if terminator.value is None else self._evaluate(terminator.value, frame)
            returned.append((frame.path, [value], frame.state))
            return
        if isinstance(terminator, ir.Jump):
            ways: list[tuple[Truth, int]] = [(True, terminator.target)]
        else:
            condition = self._truth(terminator.condition, frame)
            ways = [(condition, terminator.then), (self.terms.negation(condition), terminator.otherwise)]
        for literal, target in ways:
            path = frame.path.extended(literal)
            if path is not None:
                locals_ = list(frame.locals)
                arrive(_successor(key, number, blocks[target].loops, target), (path, locals_, frame.state))

    def _count(self) -> None:
        self._visited += 1
        if self._visited > VISIT_LIMIT:
            raise TooBigError(f"more than {VISIT_LIMIT:,} blocks and quantifier elements")
        if len(self.terms.nodes) > TERM_LIMIT:
            raise TooBigError(f"more than {TERM_LIMIT:,} terms")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TooBigError("timeout")

    # --- merging -----------------------------------------------------------------------------------------------

    def _merged(self, arrivals: list[_Arrival]) -> _Arrival:
        """One arrival for all; the paths that forked last meet first, which keeps the conditions small."""
        arrivals = list(arrivals)
        while len(arrivals) > 1:
            best, depth = 0, -1
            for index in range(len(arrivals) - 1):
                common = _fork(arrivals[index][0], arrivals[index + 1][0])[2].depth
                if common > depth:
                    best, depth = index, common
            arrivals[best : best + 2] = [self._joined(arrivals[best], arrivals[best + 1])]
        return arrivals[0]

    def _joined(self, one: _Arrival, other: _Arrival) -> _Arrival:
        terms = self.terms
        own, others, common = _fork(one[0], other[0])
        if not own or not others:
            condition: Truth = True if not others else terms.negation(terms.conjunction(others, flat=False))
            literal: Truth = True
        elif own[0] is terms.negation(others[0]):
            condition = own[0]
            literal = terms.choose_truth(
                own[0], terms.conjunction(own[1:], flat=False), terms.conjunction(others[1:], flat=False)
            )
        else:
            condition = terms.conjunction(own, flat=False)
            literal = terms.disjunction([condition, terms.conjunction(others, flat=False)], flat=False)
        path = Path(common, literal, self._shared_facts(one[0].facts, other[0].facts))
        if literal is True:
            path = Path(common.parent, common.literal, path.facts)
            path.depth, path._term = common.depth, common._term
        locals_ = self._chosen(condition, one[1], other[1])
        return path, locals_, self._joined_state(condition, one[2], other[2])

    def _chosen(self, condition: Truth, then: Sequence[Value], otherwise: Sequence[Value]) -> list[Value]:
        choose = self.terms.choose
        return [a if a is b else choose(condition, a, b) for a, b in zip(then, otherwise, strict=True)]

    def _joined_state(self, condition: Truth, then: State, otherwise: State) -> State:
        if then is otherwise:
            return then
        return tuple(
            a if a is b else tuple(
                c if c is d else tuple(self._chosen(condition, c, d)) for c, d in zip(a, b, strict=True)
            )
            for a, b in zip(then, otherwise, strict=True)
        )

    def _shared_facts(self, one: Facts, other: Facts) -> Facts:
        if one is other:
            return one
        shared: dict[int, tuple[int, int]] = {}
        for number, (low, high) in one.items():
            if number in other:
                low, high = min(low, other[number][0]), max(high, other[number][1])
                node = self.terms.nodes[number]
                full = (node.low, node.high) if isinstance(node, Integer) else (0, 1)
                if (low, high) != full:
                    shared[number] = (low, high)
        return shared

    # --- instructions ------------------------------------------------------------------------------------------

    def _instruction(self, instruction: ir.Instruction, frame: _Frame, index: int) -> None:
        if isinstance(instruction, ir.Assign):
            frame.locals[instruction.local] = self._evaluate(instruction.value, frame)
        elif isinstance(instruction, ir.Store):
            self._store(instruction, frame)
        elif isinstance(instruction, ir.Call):
            arguments = [self._evaluate(argument, frame) for argument in instruction.arguments]
            site = (*frame.site, index)
            frame.path, value, frame.state = self._function(
                instruction.function, arguments, frame.path, frame.state, site
            )
            if instruction.target is not None:
                frame.locals[instruction.target] = 0 if value is None else value
        elif isinstance(instruction, ir.Choice):
            self._choice(instruction, frame, index)
        elif isinstance(instruction, ir.Require):
            self._require(self._truth(instruction.condition, frame), frame, instruction.where)
        elif isinstance(instruction, ir.Check):
            condition = self._truth(instruction.condition, frame)
            self._check(condition, instruction.kind, frame, instruction.where, instruction.message)
        else:
            self._claim(instruction, frame)

    def _store(self, store: ir.Store, frame: _Frame) -> None:
        raw = [self._number(index, frame) for index in store.indices]
        value = self._evaluate(store.value, frame)
        type_, dimensions, low, high = self._shapes[store.root][store.leaf]
        indices = [self._index(i, size, frame, store.where) for i, size in zip(raw, dimensions, strict=True)]
        if isinstance(type_, ir.BooleanType):
            stored: Value = self.terms.truth(value)
        else:
            number = self.terms.number(value)
            if isinstance(type_, ir.MachineType):
                stored = self.terms.wrap(number, low, high)
            else:
                self._check(self.terms.within(number, low, high), FailureKind.RANGE, frame, store.where)
                bare = strip(number)
                fits = low <= low_of(bare) and high_of(bare) <= high
                stored = bare if fits else self.terms.narrow(number, low, high)
        leaves = frame.state[store.root]
        elements = list(leaves[store.leaf])
        self._write(elements, 0, dimensions, indices, stored, True)
        changed = (*leaves[: store.leaf], tuple(elements), *leaves[store.leaf + 1 :])
        frame.state = (*frame.state[: store.root], changed, *frame.state[store.root + 1 :])

    def _write(
        self, elements: list[Value], offset: int, dimensions: Sequence[int], indices: Sequence[Number],
        value: Value, condition: Truth,
    ) -> None:
        if not indices:
            elements[offset] = self.terms.choose(condition, value, elements[offset])
            return
        index = indices[0]
        stride = 1
        for dimension in dimensions[1:]:
            stride *= dimension
        for position in range(low_of(index), high_of(index) + 1):
            here = self.terms.conjunction([condition, self.terms.equal(index, position)])
            if here is not False:
                self._write(elements, offset + position * stride, dimensions[1:], indices[1:], value, here)

    def _choice(self, choice: ir.Choice, frame: _Frame, index: int) -> None:
        terms = self.terms
        start, stop = self._number(choice.start, frame), self._number(choice.stop, frame)
        self._require(terms.less(start, stop), frame, choice.where)
        site = (*frame.site, index)
        value = self._choose(site, start, stop)
        self._choices.append(ChoiceMade(site, frame.path.term(terms), value))
        inside = terms.conjunction([terms.at_most(start, value), terms.less(value, stop)])
        self._require(inside, frame, choice.where)
        frame.locals[choice.local] = value

    def _fresh(self, site: Site, start: Number, stop: Number) -> Number:
        name = self._prefix + "choice." + ".".join(str(part) for part in site)
        return self.terms.integer_variable(name, low_of(start), high_of(stop) - 1)

    def _require(self, condition: Truth, frame: _Frame, where: int) -> None:
        condition = self._known_truth(condition, frame)
        if condition is True:
            return
        self._stops.append(Stop(self._under(frame, self.terms.negation(condition)), None, where))
        path = frame.path.extended(condition)
        if path is None:
            raise _PathEndsError
        frame.path = path

    def _check(self, condition: Truth, kind: FailureKind, frame: _Frame, where: int, message: str = "") -> None:
        condition = self._known_truth(condition, frame)
        if condition is True:
            return
        self._stops.append(Stop(self._under(frame, self.terms.negation(condition)), kind, where, message))
        if condition is False:
            raise _PathEndsError
        frame.path = frame.path.knowing(condition)

    def _claim(self, claim: ir.Claim, frame: _Frame) -> None:
        condition = self._truth(claim.condition, frame)
        witnesses: tuple[Value, ...] = ()
        if self._want_witnesses and condition is False:
            witnesses = tuple(self._evaluate(witness, frame) for witness in claim.witnesses)
        reached = frame.path.term(self.terms)
        self._claims.append(ClaimMade(claim.clause, reached, condition, witnesses, claim.where))

    def _under(self, frame: _Frame, condition: Truth) -> Truth:
        return self.terms.conjunction([frame.path.term(self.terms), condition], flat=False)

    # --- expressions -------------------------------------------------------------------------------------------

    def _evaluate(self, expression: ir.Expression, frame: _Frame) -> Value:
        return self._evaluate_by_type[type(expression)](expression, frame)

    def _number(self, expression: ir.Expression, frame: _Frame) -> Number:
        value = self._evaluate_by_type[type(expression)](expression, frame)
        return value if type(value) is int else self.terms.number(value)

    def _truth(self, expression: ir.Expression, frame: _Frame) -> Truth:
        return self._known_truth(self.terms.truth(self._evaluate(expression, frame)), frame)

    def _known_truth(self, value: Truth, frame: _Frame) -> Truth:
        if isinstance(value, bool):
            return value
        holds = True
        if value.operator == "not":
            value, holds = value.arguments[0], False  # type: ignore[assignment]
        known = frame.path.facts.get(value.number)
        if known is not None:
            return (known[0] == 1) is holds
        return value if holds else self.terms.negation(value)

    def _known_value(self, value: Value, frame: _Frame) -> Value:
        """The value with what its path knows about it."""
        if isinstance(value, Boolean):
            return self._known_truth(value, frame)
        if isinstance(value, Integer):
            known = frame.path.facts.get(value.number)
            if known is None and value.operator == "narrow":
                known = frame.path.facts.get(strip(value).number)  # type: ignore[union-attr]
            if known is not None:
                return self.terms.narrow(value, *known)
        return value

    def _local(self, local: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(local, ir.Local)
        value = frame.locals[local.index]
        return value if isinstance(value, int) else self._known_value(value, frame)

    def _load(self, load: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(load, ir.Load)
        elements = frame.state[load.root][load.leaf]
        if not load.indices:
            return self._known_value(elements[0], frame)
        dimensions = self._shapes[load.root][load.leaf][1]
        raw = [self._number(index, frame) for index in load.indices]
        indices = [self._index(i, size, frame, load.where) for i, size in zip(raw, dimensions, strict=True)]
        return self._known_value(self._read(elements, dimensions, indices), frame)

    def _read(self, elements: Sequence[Value], dimensions: Sequence[int], indices: Sequence[Number]) -> Value:
        if len(indices) == 1:
            return self.terms.select(elements, indices[0])
        stride = len(elements) // dimensions[0]
        first, last = low_of(indices[0]), high_of(indices[0])
        rows = [
            self._read(elements[row * stride : (row + 1) * stride], dimensions[1:], indices[1:])
            for row in range(first, last + 1)
        ]
        return self.terms.select(rows, indices[0], first)

    def _index(self, index: Number, size: int, frame: _Frame, where: int) -> Number:
        if low_of(index) >= 0 and high_of(index) < size:
            return index
        self._check(self.terms.within(index, 0, size - 1), FailureKind.BOUNDS, frame, where)
        return self.terms.narrow(index, 0, size - 1)

    def _unary(self, unary: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(unary, ir.Unary)
        if unary.operator == "not":
            return self.terms.negation(self._truth(unary.operand, frame))
        operand = self._number(unary.operand, frame)
        return self.terms.negative(operand) if unary.operator == "-" else self.terms.inverted(operand)

    def _binary(self, binary: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(binary, ir.Binary)
        left = self._number(binary.left, frame)
        right = self._number(binary.right, frame)
        return self._computed(binary.operator, left, right, frame, binary.where)

    def _computed(self, operator: str, left: Number, right: Number, frame: _Frame, where: int) -> Number:
        terms = self.terms
        if operator in ("//", "%"):
            self._check(terms.negation(terms.equal(right, 0)), FailureKind.ARITHMETIC, frame, where)
        elif operator in ("<<", ">>") and (low_of(right) < 0 or high_of(right) > 63):
            self._check(terms.at_most(0, right), FailureKind.ARITHMETIC, frame, where)
            right = terms.narrow(right, 0, max(0, high_of(right)))
            if high_of(right) > 63:
                right = self._shift_amount(operator, left, right, frame, where)
        low, high = _bounds(operator, left, right)
        if low < SIGNED_64[0] or high > SIGNED_64[1]:
            result = terms.binary(operator, left, right)
            self._check(terms.within(result, *SIGNED_64), FailureKind.ARITHMETIC, frame, where)
            return terms.narrow(result, *SIGNED_64)
        return terms.binary(operator, left, right)

    def _shift_amount(self, operator: str, left: Number, right: Number, frame: _Frame, where: int) -> Number:
        """A shift amount below 64: a larger one overflows to the left, and to the right is as good as 63."""
        terms = self.terms
        if operator == "<<":
            small = terms.disjunction([terms.equal(left, 0), terms.less(right, 64)])
            self._check(small, FailureKind.ARITHMETIC, frame, where)
        return terms.binary("min", right, 63)

    def _compare(self, compare: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(compare, ir.Compare)
        left, right = self._evaluate(compare.left, frame), self._evaluate(compare.right, frame)
        return self._known_truth(self._compared(compare.operator, left, right), frame)

    def _compared(self, operator: str, left: Value, right: Value) -> Truth:
        terms = self.terms
        if operator in ("==", "!="):
            if isinstance(left, bool | Boolean) and isinstance(right, bool | Boolean):
                same = terms.equivalent(left, right)
            else:
                same = terms.equal(terms.number(left), terms.number(right))
            return same if operator == "==" else terms.negation(same)
        first, second = terms.number(left), terms.number(right)
        if operator in (">", "<="):
            first, second = second, first
        smaller = terms.less(first, second)
        return smaller if operator in ("<", ">") else terms.negation(smaller)

    def _and(self, expression: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(expression, ir.BooleanAnd)
        left = self._truth(expression.left, frame)
        right = self._guarded_truth(expression.right, left, frame)
        return self.terms.conjunction([left, False if right is None else right])

    def _or(self, expression: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(expression, ir.BooleanOr)
        left = self._truth(expression.left, frame)
        right = self._guarded_truth(expression.right, self.terms.negation(left), frame)
        return self.terms.disjunction([left, True if right is None else right])

    def _guarded_truth(self, expression: ir.Expression, guard: Truth, frame: _Frame) -> Truth | None:
        value = self._guarded(expression, guard, frame)
        return None if value is None else self.terms.truth(value)

    def _guarded(self, expression: ir.Expression, guard: Truth, frame: _Frame) -> Value | None:
        """The value when the guard holds; None if it cannot hold (or its evaluation surely fails when it does)."""
        if guard is True:
            return self._evaluate(expression, frame)
        outside = frame.path
        inside = outside.extended(guard)
        if inside is None:
            return None
        frame.path = inside
        try:
            return self._evaluate(expression, frame)
        except _PathEndsError:
            return None
        finally:
            frame.path = outside

    def _conditional(self, expression: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(expression, ir.Conditional)
        condition = self._truth(expression.condition, frame)
        then = self._guarded(expression.then, condition, frame)
        otherwise = self._guarded(expression.otherwise, self.terms.negation(condition), frame)
        if then is None and otherwise is None:
            raise _PathEndsError
        if then is None or otherwise is None:
            return then if otherwise is None else otherwise  # type: ignore[return-value]
        return self.terms.choose(condition, then, otherwise)

    def _present(self, present: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(present, ir.Present)
        value = self._number(present.operand, frame)
        if low_of(value) > ir.NONE or high_of(value) < ir.NONE:
            return value
        there = self.terms.negation(self.terms.equal(value, ir.NONE))
        self._check(there, FailureKind.NONE, frame, present.where)
        return self.terms.narrow(value, 0, high_of(value)) if low_of(value) == ir.NONE else value

    def _quantifier(self, quantifier: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(quantifier, ir.Quantifier)
        start, stop = self._number(quantifier.start, frame), self._number(quantifier.stop, frame)
        outside = frame.path
        saved = frame.locals[quantifier.local]
        try:
            if quantifier.kind == "sum":
                return self._sum(quantifier, start, stop, frame)
            return self._all_or_any(quantifier, start, stop, frame, quantifier.kind == "all")
        finally:
            frame.path = outside
            frame.locals[quantifier.local] = saved

    def _sum(self, quantifier: ir.Quantifier, start: Number, stop: Number, frame: _Frame) -> Value:
        values: list[Number] = []
        outside = frame.path
        for element in range(low_of(start), high_of(stop)):
            self._count()
            frame.locals[quantifier.local] = element
            frame.path = outside
            included = self._included(quantifier, element, start, stop, frame)
            if included is not False:
                value = self._guarded(quantifier.body, included, frame)
                if value is not None:
                    values.append(self.terms.choose_number(included, self.terms.number(value), 0))
        return self.terms.total(values)

    def _all_or_any(
        self, quantifier: ir.Quantifier, start: Number, stop: Number, frame: _Frame, every: bool
    ) -> Truth:
        """`all` is the conjunction of condition => body; `any` its dual. Later elements run under the earlier ones."""
        terms = self.terms
        values: list[Truth] = []
        path: Path = frame.path
        for element in range(low_of(start), high_of(stop)):
            self._count()
            frame.locals[quantifier.local] = element
            frame.path = path
            try:
                included = self._included(quantifier, element, start, stop, frame)
                body = None if included is False else self._guarded_truth(quantifier.body, included, frame)
            except _PathEndsError:
                if not values:
                    raise
                values.append(not every)  # evaluating this element fails, so an earlier one must have decided
                break
            if body is None:
                body = every
            member = terms.implies(included, body) if every else terms.conjunction([included, body])
            if isinstance(member, bool):
                if member is not every:
                    values.append(member)
                    break
                continue
            values.append(member)
            go_on = member if every else terms.negation(member)
            path = Path(path, go_on, path.facts)  # its facts are rarely of use to the other elements
        return terms.conjunction(values) if every else terms.disjunction(values)

    def _included(
        self, quantifier: ir.Quantifier, element: int, start: Number, stop: Number, frame: _Frame
    ) -> Truth:
        """Is the element in the range, and does it satisfy the condition?"""
        terms = self.terms
        inside = terms.conjunction([terms.at_most(start, element), terms.less(element, stop)])
        if quantifier.condition is None or inside is False:
            return inside
        condition = self._guarded_truth(quantifier.condition, inside, frame)
        return False if condition is None else terms.conjunction([inside, condition])

    def _apply(self, apply: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(apply, ir.Apply)
        arguments = [self._evaluate(argument, frame) for argument in apply.arguments]
        _, value, _ = self._function(apply.function, arguments, frame.path, frame.state, frame.site)
        return 0 if value is None else self._known_value(value, frame)

    def _wrap(self, wrap: ir.Expression, frame: _Frame) -> Value:
        assert isinstance(wrap, ir.Wrap)
        low, high = wrap.type.bounds(self._sizes)
        return self.terms.wrap(self._number(wrap.operand, frame), low, high)


# --- keys, forks, shapes ---------------------------------------------------------------------------------------


def _gives_value(function: ir.Function) -> bool:
    """Does it return something? (A plain integer has no declared leaf type, so `returns` does not say.)"""
    ends = (block.terminator for block in function.blocks)
    return any(isinstance(end, ir.Return) and end.value is not None for end in ends)


def _successor(key: _Key, block: int, loops: tuple[int, ...], target: int) -> _Key:
    """The key of `target` reached from a block at `key`; its last pair is (block number, -1)."""
    vector = []
    for depth, header in enumerate(loops):
        here = key[depth][1] if depth < len(key) - 1 and key[depth][0] == header else None
        if here is None:
            vector.append((header, 0))
        elif header == target and block >= target:
            vector.append((header, here + 1))
        else:
            vector.append((header, here))
    return (*vector, (target, -1))


def _fork(one: Path, other: Path) -> tuple[list[Truth], list[Truth], Path]:
    """The literals of each path after the last condition they share, and that shared path."""
    own: list[Truth] = []
    others: list[Truth] = []
    while not one.same(other):
        if one.depth >= other.depth:
            own.append(one.literal)
            assert one.parent is not None
            one = one.parent
        else:
            others.append(other.literal)
            assert other.parent is not None
            other = other.parent
    own.reverse()
    others.reverse()
    return own, others, one


_Shape = tuple[ir.LeafType, tuple[int, ...], int, int]


def _shapes(schema: ir.Schema, sizes: Sizes) -> list[_Shape]:
    return [
        (leaf.type, tuple(d.value(sizes) for d in leaf.dimensions), *leaf.type.bounds(sizes))
        for leaf in schema.leaves
    ]


def _roots(program: ir.Program) -> list[tuple[int, ir.Schema]]:
    schemas = [(root, program.schema) for root in (ir.CURRENT, ir.BEFORE)]
    if program.abstract_schema is not None:
        schemas += [(root, program.abstract_schema) for root in (ir.ABSTRACT, ir.ABSTRACT_AFTER)]
    return schemas


def _bounds(operator: str, left: Number, right: Number) -> tuple[int, int]:
    if operator in ("min", "max"):
        return min(low_of(left), low_of(right)), max(high_of(left), high_of(right))
    return interval(operator, (low_of(left), high_of(left)), (low_of(right), high_of(right)))
