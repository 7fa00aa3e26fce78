"""Interchangeable elements: which sorts may be declared symmetric, and what renaming their elements does to a state.

The one idea: two states that differ in the numbers of interchangeable elements alone have the same future, so a search
needs one of them. That holds when nothing in the specification can tell the elements apart: the rules are those of
Murphi's scalarsets. A value of a symmetric sort is assigned, compared by == and != with values of its sort and with
None, used as an index of an array over its sort, passed on, chosen from the whole sort and quantified over the whole
sort. A `for` loop over the whole sort is allowed when its turns could be taken in any order: none leaves by break or
return, chooses, requires, or hands a variable to the next, and each writes only elements of its own index, which no
other turn looks at. A product sort (`Sort("object", "objects", of=("page", "slot"))`) is taken apart and put together
by `object // slots`, `object % slots` and `page * slots + slot`, and by nothing else. A second factor that is not
symmetric must be seen to be in range there: it runs over `indices(…)`, or an array was indexed by it just before.

`check` finds a kind for each expression (a plain number, None, or an element of a sort), function by function for the
kinds of its arguments, and raises SpecError where the rules are broken. `init` is not checked here: whether the set of
initial states is closed under renaming is a question about a scope, which a search answers by looking.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from .errors import InputError, Position, ScopeError, SpecError
from .ir import (
    NONE,
    Apply,
    Assign,
    Binary,
    Block,
    BooleanAnd,
    BooleanOr,
    Branch,
    Call,
    Choice,
    Compare,
    Conditional,
    Constant,
    Expression,
    Function,
    Instruction,
    IntegerType,
    Jump,
    Leaf,
    Load,
    Local,
    Present,
    Program,
    Quantifier,
    Require,
    Return,
    Schema,
    Size,
    SizeOf,
    Sizes,
    Store,
    Unary,
    Wrap,
)

Kind = tuple[str, ...] | None
"""What a value is: None while nothing is known, NUMBER, NOTHING, or the names of the factors of its sort (one for a
plain sort, two for a product)."""

NUMBER: Kind = ()
NOTHING: Kind = ("None",)

PERMUTATIONS_MAX = 1000
"""A group of more renamings is refused: each is tried on each state."""


# --- sorts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SortUse:
    """A sort as a program uses it: its size, and its two factors if it is a product."""

    name: str
    size: Size
    of: tuple[str, ...]


def sorts_of(program: Program) -> dict[str, SortUse]:
    """Every sort of a program by name; raises InputError when one name stands for two sorts."""
    found: dict[str, SortUse] = {}

    def add(name: str, size: Size, of: tuple[str, ...]) -> None:
        known = found.get(name, SortUse(name, size, of))
        if known.size != size or (known.of and of and known.of != of):
            raise InputError(
                f"two sorts are called {name}: of {known.size} and of {size} elements", "rename one of them"
            )
        found[name] = SortUse(name, size, known.of or of)

    def add_type(type_: object) -> None:
        if isinstance(type_, IntegerType) and type_.sort is not None and not type_.labels:
            add(type_.sort, Size(type_.high.parameter, type_.high.offset + 1), type_.of)

    enums = _enum_names(program)
    for leaf in _leaves(program):
        add_type(leaf.type)
        products = leaf.dimension_products or ((),) * len(leaf.dimensions)
        for name, size, of in zip(leaf.dimension_sorts, leaf.dimensions, products, strict=False):
            if name and name not in enums:
                add(name, size, of)
    for action in program.actions:
        for parameter in action.parameters:
            add_type(parameter.type)
        add_type(action.returns)
    for function in program.functions.values():
        add_type(function.returns)
        for local in function.locals:
            if not isinstance(local.type, IntegerType) or local.type.sort not in enums:
                add_type(local.type)
    return found


def _enum_names(program: Program) -> set[str]:
    """An array over an enum, and a loop over it, have the enum's name but not its labels."""
    types = [leaf.type for leaf in _leaves(program)]
    types += [parameter.type for action in program.actions for parameter in action.parameters]
    return {type_.sort or "" for type_ in types if isinstance(type_, IntegerType) and type_.labels}


def _leaves(program: Program) -> tuple[Leaf, ...]:
    return program.schema.leaves + (program.abstract_schema.leaves if program.abstract_schema else ())


class Sorts:
    """The symmetric sorts of a program, and the products that they are factors of."""

    def __init__(self, program: Program, names: Sequence[str], sizes: Sizes) -> None:
        self.program = program
        self.all = sorts_of(program)
        self.sizes = sizes
        for name in names:
            if name not in self.all:
                known = ", ".join(sorted(self.all)) or "none"
                raise InputError(f"{program.name} has no sort {name!r}", f"its sorts are: {known}")
            if self.all[name].of:
                message = f"{name} is a product of {' and '.join(self.all[name].of)}"
                raise InputError(message, f'name the factors that are symmetric: symmetric=("{self.all[name].of[1]}",)')
        self.names = tuple(name for name in dict.fromkeys(names) if self.all[name].size.value(sizes) > 1)
        self.products: dict[tuple[str, ...], str] = {}
        for use in self.all.values():
            if set(use.of) & set(self.names):
                if use.of[1] not in self.all:
                    message = f"{use.name} is of {use.of[0]} and {use.of[1]}, but there is no sort {use.of[1]}"
                    raise InputError(message, "name the sort that its second factor has elsewhere")
                self.products.setdefault(use.of, use.name)

    def kind(self, name: str | None) -> Kind:
        """The kind of the references into a sort."""
        if name in self.names:
            return (str(name),)
        use = self.all.get(name or "")
        return use.of if use is not None and use.of in self.products else NUMBER

    def of_type(self, type_: object) -> Kind:
        """The kind of values of a type."""
        return self.kind(type_.sort) if isinstance(type_, IntegerType) and not type_.labels else NUMBER

    def of_dimension(self, leaf: Leaf, dimension: int) -> Kind:
        """The kind of the indices of an array."""
        return self.kind(leaf.dimension_sorts[dimension]) if dimension < len(leaf.dimension_sorts) else NUMBER

    def name(self, kind: Kind) -> str:
        """What a person calls the sort of a kind."""
        assert kind
        return kind[0] if len(kind) == 1 else self.products[kind]

    def size(self, kind: Kind) -> Size:
        """How many elements the sort of a kind has."""
        return self.all[self.name(kind)].size

    def is_sort(self, kind: Kind) -> bool:
        """Whether values of this kind are renamed."""
        return bool(kind) and kind != NOTHING

    def is_size(self, expression: Expression, size: Size) -> bool:
        """Whether an expression is a sort's number of elements."""
        plain = self.returned(expression)
        if isinstance(plain, Constant):
            return size == Size(None, plain.value)
        return plain == SizeOf(size)

    def stripped(self, expression: Expression) -> Expression:
        """An expression without the bounds check that the front end put around it."""
        while isinstance(expression, Conditional) and self.is_guard(expression):
            expression = expression.then
        return expression

    def is_guard(self, expression: Conditional) -> bool:
        """Whether the other side of a conditional always fails: `value if 0 <= i < n else a[i]`, n being len(a)."""
        load = expression.otherwise
        if not isinstance(load, Load):
            return False
        dimensions = self.program.schema_of(load.root).leaves[load.leaf].dimensions
        bounds = list(zip(load.indices, dimensions, strict=True))
        return all(
            isinstance(test, Compare)
            and any(
                test in (Compare(">=", index, Constant(0)), Compare("<", index, SizeOf(size))) for index, size in bounds
            )
            for test in _conjuncts(expression.condition)
        )

    def returned(self, expression: Expression) -> Expression:
        """An expression without bounds checks; for a call of a function that does nothing else, what it returns."""
        plain = self.stripped(expression)
        while isinstance(plain, Apply):
            blocks = self.program.functions[plain.function].blocks
            end = blocks[0].terminator
            if len(blocks) > 1 or blocks[0].instructions or not isinstance(end, Return) or end.value is None:
                break
            plain = self.stripped(end.value)
        return plain

    def is_whole(self, start: Expression, stop: Expression, kind: Kind) -> bool:
        """Whether a range is the whole sort."""
        return start == Constant(0) and self.is_sort(kind) and self.is_size(stop, self.size(kind))

    def parts(self, expression: Expression) -> Iterator[tuple[tuple[str, ...], Expression, Expression]]:
        """Every way in which an expression can be read as `first * size of second + second`."""
        if not isinstance(expression, Binary) or expression.operator != "+":
            return
        for product, second in ((expression.left, expression.right), (expression.right, expression.left)):
            if not isinstance(product, Binary) or product.operator != "*":
                continue
            for first, size in ((product.left, product.right), (product.right, product.left)):
                for of in self.products:
                    if self.is_size(size, self.all[of[1]].size):
                        yield of, first, second


def _conjuncts(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, BooleanAnd):
        yield from _conjuncts(expression.left)
        yield from _conjuncts(expression.right)
    else:
        yield expression


# --- the static check --------------------------------------------------------------------------------------------


def check(program: Program, names: Sequence[str], sizes: Sizes) -> Sorts:
    """Make sure that these sorts are symmetric at a scope; raises SpecError (where it can be said, with the place).

    At a scope where a sort has one element it is symmetric, whatever is done with it, and is left out."""
    sorts = Sorts(program, names, sizes)
    for leaf in program.abstract_schema.leaves if program.abstract_schema else ():
        kind = sorts.of_type(leaf.type)
        if sorts.is_sort(kind) and not (isinstance(leaf.type, IntegerType) and leaf.type.optional):
            raise InputError(
                f"the abstract machine's {leaf.path} begins as {sorts.name(kind)} 0, so {sorts.name(kind)} is not "
                "symmetric", "let it be None at first: annotate it with `| None`",
            )
    checker = Checker(program, sorts)
    results: dict[str, tuple[Kind, ...]] = {}
    for action in program.actions:
        kinds = tuple(sorts.of_type(parameter.type) for parameter in action.parameters)
        results[action.name] = (*kinds, checker.function(action.function, kinds))
    for prop in program.properties:
        given = results[prop.action] if prop.action is not None else ()
        count = len(program.functions[prop.function].parameters)
        checker.function(prop.function, given[:count])
    for leads in program.liveness:
        checker.function(leads.function, tuple(sorts.of_type(parameter.type) for parameter in leads.parameters))
    return sorts


class Checker:
    """Kinds of the functions of a program, each for the kinds of its arguments."""

    def __init__(self, program: Program, sorts: Sorts) -> None:
        self.program = program
        self.sorts = sorts
        self.known: dict[tuple[str, tuple[Kind, ...]], Kind] = {}
        self.loops = LoopRules(program, sorts)

    def function(self, name: str, arguments: tuple[Kind, ...]) -> Kind:
        """The kind of a function's result; raises SpecError."""
        key = (name, arguments)
        if key not in self.known:
            self.known[key] = FunctionChecker(self, self.program.functions[name], arguments).run()
        return self.known[key]


class FunctionChecker:
    """One function for one list of argument kinds: locals' kinds grow until they settle."""

    def __init__(self, checker: Checker, function: Function, arguments: tuple[Kind, ...]) -> None:
        self.checker = checker
        self.program, self.sorts = checker.program, checker.sorts
        self.body = function
        self.kinds: list[Kind] = [None] * len(function.locals)
        self.result: Kind = None
        self.changed = False
        self.context: list[object] = []
        for local, kind in zip(function.parameters, arguments, strict=True):
            self.kinds[local] = kind
        self.counters: dict[int, Kind] = {}
        self.headers: set[int] = set()
        self.reachable = reachable_blocks(function, self.sorts.sizes)
        for loop in checker.loops.of(function):
            if loop.header not in self.reachable:
                continue
            refused = checker.loops.reason(function, loop)
            if refused is not None:
                reason, where = refused
                self.context = [_Where(where)]
                sort = self.sorts.name(loop.kind)
                self.refuse(
                    "symmetry-loop",
                    f"the turns of this loop over every {sort} depend on their order: {reason}",
                    "use all(…), any(…) or sum(…) over the whole sort, a choice, or an action for one "
                    f"{sort}; or declare {sort} as not symmetric",
                )
            self.counters[loop.counter] = loop.kind
            self.kinds[loop.counter] = loop.kind
            self.headers.add(loop.header)

    def run(self) -> Kind:
        while True:
            self.changed = False
            for number in sorted(self.reachable):
                block = self.body.blocks[number]
                for instruction in block.instructions:
                    self.context = [instruction, block]
                    self.instruction(instruction)
                self.context = [block.terminator, block]
                self.terminator(block.terminator, number)
            if not self.changed:
                return self.result

    # --- refusals

    def refuse(self, code: str, message: str, remedy: str, *about: object) -> NoReturn:
        """Refuse at the place of the innermost thing that has one."""
        for thing in (*about, *self.context, self.body.blocks):
            where = next(_places(thing), None)
            if where is not None:
                raise SpecError(code, message, remedy, self.program.positions[where])
        raise SpecError(code, f"{message} (in {self.body.source})", remedy, Position("?", 0))

    def mixed(self, left: Kind, right: Kind, what: str, *about: object) -> NoReturn:
        sort, other = (left, right) if self.sorts.is_sort(left) else (right, left)
        name = self.sorts.name(sort)
        if self.sorts.is_sort(other):
            message = f"{what} mixes a {name} and a {self.sorts.name(other)}"
            self.refuse("symmetry-mixed", message, "keep the two sorts apart", *about)
        self.refuse(
            "symmetry-number",
            f"{what} mixes a {name} and a number, which tells one {name} from another",
            f"take every {name} from a parameter, a field, choose(…) or a quantifier; start what differs between them "
            f"at equal values or at one that is chosen; or declare {name} as not symmetric",
            *about,
        )

    # --- instructions

    def instruction(self, instruction: Instruction) -> None:
        match instruction:
            case Assign(local, value):
                if local not in self.counters:
                    self.assign(local, self.kind(value), value)
            case Store():
                self.store(instruction)
            case Call(target, function, arguments, _):
                result = self.checker.function(function, tuple(self.kind(argument) for argument in arguments))
                if target is not None:
                    self.assign(target, result, instruction)
            case Choice(local, start, stop, _):
                self.number(start, "a range")
                self.number(stop, "a range")
                self.assign(local, self.range_kind(local, start, stop), instruction)
            case _:
                self.number(instruction.condition, "a condition")
                for witness in getattr(instruction, "witnesses", ()):
                    self.kind(witness)

    def terminator(self, terminator: Jump | Branch | Return, number: int) -> None:
        if isinstance(terminator, Branch) and number not in self.headers:
            self.number(terminator.condition, "a condition")
        if isinstance(terminator, Return) and terminator.value is not None:
            kind = self.join(self.result, self.kind(terminator.value), "the result", terminator.value)
            self.changed = self.changed or kind != self.result
            self.result = kind

    def assign(self, local: int, kind: Kind, about: object) -> None:
        name = self.body.locals[local].name or "a value"
        joined = self.join(self.kinds[local], kind, name, about)
        self.changed = self.changed or joined != self.kinds[local]
        self.kinds[local] = joined

    def store(self, store: Store) -> None:
        leaf = self.program.schema_of(store.root).leaves[store.leaf]
        self.indices(leaf, store.indices, store)
        wanted, given = self.sorts.of_type(leaf.type), self.kind(store.value)
        if not self.fits(given, wanted):
            self.mixed(wanted, given, f"the assignment to {leaf.path}", store)

    def fits(self, given: Kind, wanted: Kind) -> bool:
        return given in (None, NOTHING, wanted)

    def indices(self, leaf: Leaf, indices: tuple[Expression, ...], about: object) -> None:
        for dimension, index in enumerate(indices):
            wanted, given = self.sorts.of_dimension(leaf, dimension), self.kind(index)
            if not self.fits(given, wanted):
                self.mixed(wanted, given, f"an index of {leaf.path}", about)

    def join(self, left: Kind, right: Kind, what: str, *about: object) -> Kind:
        if left is None or left == right:
            return right
        if right is None or right == NOTHING:
            return left
        return right if left == NOTHING else self.mixed(left, right, what, *about)

    # --- expressions

    def number(self, expression: Expression, what: str) -> Kind:
        """An expression that must not be of a symmetric sort."""
        kind = self.kind(expression)
        if self.sorts.is_sort(kind):
            name = self.sorts.name(kind)
            self.refuse(
                "symmetry-arithmetic",
                f"a {name} is used as a number in {what}, but {name} is declared symmetric",
                self.arithmetic_remedy(kind),
                expression,
            )
        return NUMBER

    def arithmetic_remedy(self, kind: Kind) -> str:
        name = self.sorts.name(kind)
        rest = f"or declare {name} as not symmetric"
        for of, product in self.sorts.products.items():
            size = self.sorts.all[of[1]].size
            if kind == of:
                return f"take it apart by `{name} // {size}` and `{name} % {size}`, {rest}"
            if kind in ((of[0],), (of[1],)):
                sure = "" if of[1] in self.sorts.names else f", {of[1]} from indices(…) or an index just before,"
                return f"write `{of[0]} * {size} + {of[1]}` for a {product}{sure} and no other arithmetic, {rest}"
        return f"only compare it with == and use it as an index, {rest}"

    def kind(self, expression: Expression) -> Kind:
        """The kind of an expression; raises SpecError inside it."""
        match expression:
            case Constant(value):
                return NOTHING if value == NONE else NUMBER
            case SizeOf():
                return NUMBER
            case Local(index):
                return self.kinds[index]
            case Load(root, leaf, indices, _):
                declared = self.program.schema_of(root).leaves[leaf]
                self.indices(declared, indices, expression)
                return self.sorts.of_type(declared.type)
            case Unary(symbol, operand):
                return self.number(operand, f"`{symbol}`")
            case Wrap(_, operand):
                return self.number(operand, "a conversion")
            case Binary():
                return self.binary(expression)
            case Compare():
                return self.compare(expression)
            case BooleanAnd(left, right) | BooleanOr(left, right):
                self.number(left, "a condition")
                return self.number(right, "a condition")
            case Conditional(condition, then, otherwise):
                self.number(condition, "a condition")
                if self.sorts.is_guard(expression):
                    return self.kind(then)
                return self.join(self.kind(then), self.kind(otherwise), "a conditional", then, otherwise)
            case Present(operand, _):
                return self.kind(operand)
            case Quantifier():
                return self.quantifier(expression)
            case Apply(function, arguments, _):
                return self.checker.function(function, tuple(self.kind(argument) for argument in arguments))

    def binary(self, binary: Binary) -> Kind:
        """Composition and decomposition of a product sort, or arithmetic on plain numbers."""
        for of, first, second in self.sorts.parts(binary):
            kinds = self.kind(first), self.kind(second)
            if kinds[0] not in (None, self.sorts.kind(of[0])) or kinds[1] not in (None, self.sorts.kind(of[1])):
                continue
            if kinds[1] == NUMBER and not self.is_inside(second, self.sorts.all[of[1]].size):
                continue
            return None if None in kinds else of
        if binary.operator in ("//", "%"):
            whole = self.kind(binary.left)
            if whole in self.sorts.products and self.sorts.is_size(binary.right, self.sorts.all[whole[1]].size):
                return self.sorts.kind(whole[binary.operator == "%"])
        if binary.operator == "%" and self.is_one(binary.right):
            self.kind(binary.left)
            return NUMBER
        self.number(binary.left, f"`{binary.operator}`")
        return self.number(binary.right, f"`{binary.operator}`")

    def is_inside(self, index: Expression, size: Size) -> bool:
        """Whether a number is sure to be less than a size: it runs over indices(…), or was an index just before.

        In `cpu * lists + list` a number too large would make another cpu."""
        if not isinstance(index, Local):
            return False
        sources = [item for item in _instructions(self.body.blocks) if _assigned_by(item) == index.index]
        for node in _nodes(self.body.blocks):
            if isinstance(node, Quantifier) and node.local == index.index:
                return not sources and node.start == Constant(0) and self.sorts.is_size(node.stop, size)
        counters = self.checker.loops.counters(self.body, size)
        if sources and all(isinstance(item, Assign) and item.value in counters for item in sources):
            return True
        instruction, block = (*self.context, None)[:2]
        if not isinstance(block, Block):
            return False
        checked = False
        for earlier in block.instructions:
            if earlier is instruction:
                return checked
            checked = (checked or self.checks(earlier, index, size)) and _assigned_by(earlier) != index.index
        return checked

    def checks(self, instruction: Instruction, index: Local, size: Size) -> bool:
        """Whether an instruction fails when an index is not less than a size."""
        if isinstance(instruction, (Call, Assign)):
            given = instruction.arguments if isinstance(instruction, Call) else (instruction.value,)
            return any(self.is_checked(expression, index, size) for expression in given)
        if isinstance(instruction, Store):
            return self.is_checked(instruction, index, size)
        return False

    def is_checked(self, node: Expression | Store, index: Local, size: Size) -> bool:
        if isinstance(node, (Load, Store)):
            leaf = self.program.schema_of(node.root).leaves[node.leaf]
            return any(pair == (index, size) for pair in zip(node.indices, leaf.dimensions, strict=True))
        if isinstance(node, Conditional) and self.sorts.is_guard(node):
            tests = [test for test in _conjuncts(node.condition) if isinstance(test, Compare)]
            return any(test.left == index and test.operator == "<" and test.right == SizeOf(size) for test in tests)
        return False

    def is_one(self, expression: Expression) -> bool:
        """Whether an expression is 1 at this scope: `cpu % nodes` tells nothing of a cpu where there is one node."""
        plain = self.sorts.returned(expression)
        return isinstance(plain, SizeOf) and plain.size.value(self.sorts.sizes) == 1

    def compare(self, compare: Compare) -> Kind:
        left, right = self.kind(compare.left), self.kind(compare.right)
        if not self.sorts.is_sort(left) and not self.sorts.is_sort(right):
            return NUMBER
        if compare.operator in ("==", "!="):
            if left not in (right, None, NOTHING) and right not in (None, NOTHING):
                self.mixed(left, right, "a comparison", compare.left, compare.right)
            return NUMBER
        low = compare.operator == ">=" and compare.right == Constant(0)
        if not low and not (
            compare.operator == "<" and self.sorts.is_sort(left)
            and self.sorts.is_size(compare.right, self.sorts.size(left))
        ):
            name = self.sorts.name(left if self.sorts.is_sort(left) else right)
            self.refuse(
                "symmetry-order",
                f"`{compare.operator}` puts one {name} before another, but {name} is declared symmetric",
                f"compare by == and !=, let a field of the state say which {name} comes first, or declare {name} as "
                "not symmetric",
                compare.left, compare.right,
            )
        return NUMBER

    def quantifier(self, quantifier: Quantifier) -> Kind:
        self.number(quantifier.start, "a range")
        self.number(quantifier.stop, "a range")
        self.kinds[quantifier.local] = self.range_kind(quantifier.local, quantifier.start, quantifier.stop)
        if quantifier.condition is not None:
            self.number(quantifier.condition, "a condition")
        return self.number(quantifier.body, quantifier.kind)

    def range_kind(self, local: int, start: Expression, stop: Expression) -> Kind:
        """The kind of what runs over a range: a sort when it is `indices(…)`, which is all of it."""
        kind = self.sorts.of_type(self.body.locals[local].type)
        return kind if self.sorts.is_whole(start, stop, kind) else NUMBER


@dataclass(frozen=True)
class _Where:
    where: int


def _places(thing: object) -> Iterator[int]:
    """The positions in an IR tree, outermost first."""
    if isinstance(thing, tuple):
        for item in thing:
            yield from _places(item)
    elif hasattr(thing, "__dataclass_fields__"):
        where = getattr(thing, "where", None)
        if isinstance(where, int):
            yield where
        for name in thing.__dataclass_fields__:
            if name != "where":
                yield from _places(getattr(thing, name))


def reachable_blocks(function: Function, sizes: Sizes) -> set[int]:
    """The blocks that a function can reach at a scope: what the scope switches off cannot break a symmetry."""
    reached: set[int] = set()
    todo = [0]
    while todo:
        number = todo.pop()
        if number in reached:
            continue
        reached.add(number)
        end = function.blocks[number].terminator
        known = _constant(end.condition, sizes) if isinstance(end, Branch) else None
        if isinstance(end, Branch) and known is not None:
            todo.append(end.then if known else end.otherwise)
        else:
            todo.extend(_targets(end))
    return reached


def _constant(expression: Expression, sizes: Sizes) -> int | None:
    """The value of an expression that the scope alone decides, if it is one."""
    match expression:
        case Constant(value):
            return value
        case SizeOf(size):
            return size.value(sizes)
        case Unary("not", operand):
            value_ = _constant(operand, sizes)
            return None if value_ is None else int(not value_)
        case Compare(symbol, left, right):
            sides = _constant(left, sizes), _constant(right, sizes)
            return None if sides[0] is None or sides[1] is None else int(_COMPARE[symbol](sides[0], sides[1]))
        case BooleanAnd(left, right):
            return _shortcut(_constant(left, sizes), _constant(right, sizes), 0)
        case BooleanOr(left, right):
            return _shortcut(_constant(left, sizes), _constant(right, sizes), 1)
    return None


def _shortcut(left: int | None, right: int | None, decisive: int) -> int | None:
    if left == decisive:
        return decisive
    return right if left is not None else None


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def may_hide_failures(program: Program, sorts: Sorts) -> bool:
    """Whether an action has an `all` or `any` over a symmetric sort in which one element may decide before another one
    fails: then the order of the elements says whether the action fails, and what comes after it when it does not."""
    todo, seen = [action.function for action in program.actions], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        function = program.functions[name]
        for node in _nodes(function.blocks):
            if isinstance(node, (Call, Apply)):
                todo.append(node.function)
            elif isinstance(node, Quantifier) and node.kind != "sum":
                over = sorts.of_type(function.locals[node.local].type)
                if sorts.is_sort(over) and _may_fail(program, function, (node.condition, node.body), {node.local}):
                    return True
    return False


def _may_fail(program: Program, function: Function, thing: object, bound: set[int]) -> bool:
    """Whether evaluating may fail, told roughly: an index is safe when a quantifier runs over its array's sort."""
    bound = bound | {node.local for node in _nodes(thing) if isinstance(node, Quantifier)}
    for node in _nodes(thing):
        if isinstance(node, (Present, Apply)):
            return True
        if isinstance(node, Binary) and node.operator in ("//", "%", "<<", ">>"):
            return True
        if isinstance(node, Load):
            leaf = program.schema_of(node.root).leaves[node.leaf]
            for index, size in zip(node.indices, leaf.dimensions, strict=True):
                known = function.locals[index.index].type if isinstance(index, Local) else None
                safe = isinstance(known, IntegerType) and Size(known.high.parameter, known.high.offset + 1) == size
                if not (safe and isinstance(index, Local) and index.index in bound):
                    return True
    return False


# --- loops -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loop:
    """A `for` loop over a whole symmetric sort: its header, its hidden counter, the kind that the counter has."""

    header: int
    counter: int
    kind: Kind
    where: int


@dataclass(frozen=True)
class Access:
    """A read or write of a leaf. For each dimension: which of the given locals the index belongs to."""

    root: int
    leaf: int
    writes: bool
    owners: tuple[frozenset[int], ...]


class LoopRules:
    """Finds the loops over symmetric sorts, and says what is wrong with them."""

    def __init__(self, program: Program, sorts: Sorts) -> None:
        self.program = program
        self.sorts = sorts
        self._summaries: dict[tuple[str, Kind], frozenset[Access]] = {}
        self._effects: dict[str, bool] = {}

    def of(self, function: Function) -> list[Loop]:
        """The loops of a function that run over a whole symmetric sort."""
        found = []
        for header, block in enumerate(function.blocks):
            branch = block.terminator
            if not isinstance(branch, Branch) or not block.loops or block.loops[-1] != header:
                continue
            test = branch.condition
            if not isinstance(test, Compare) or test.operator != "<" or not isinstance(test.left, Local):
                continue
            stop = self._stop(function, test.right)
            counter = test.left.index
            if stop is not None and self._steps(function, header, counter):
                kind = self._kind(function, header, counter, stop)
                if self.sorts.is_sort(kind):
                    found.append(Loop(header, counter, kind, branch.where))
        return found

    def counters(self, function: Function, size: Size) -> set[Expression]:
        """The hidden counters of the loops that run over range(size)."""
        found: set[Expression] = set()
        for header, block in enumerate(function.blocks):
            test = block.terminator.condition if isinstance(block.terminator, Branch) else None
            if block.loops and block.loops[-1] == header and isinstance(test, Compare) and test.operator == "<":
                stop = self._stop(function, test.right)
                if isinstance(test.left, Local) and stop is not None and self.sorts.is_size(stop, size):
                    found |= {test.left} if self._steps(function, header, test.left.index) else set()
        return found

    def _stop(self, function: Function, stop: Expression) -> Expression | None:
        if isinstance(stop, Local):
            values = [item.value for item in _assigns(function.blocks, stop.index)]
            return self.sorts.stripped(values[0]) if len(values) == 1 else None
        return self.sorts.stripped(stop)

    def _steps(self, function: Function, header: int, counter: int) -> bool:
        """Whether the counter goes 0, 1, 2, … and nothing else is done to it."""
        inside = [item.value for item in _assigns(_region(function, header), counter)]
        every = [item.value for item in _assigns(function.blocks, counter)]
        step = inside[0] if len(inside) == 1 else None
        by_one = isinstance(step, Binary) and (step.operator, step.left, step.right) == (
            "+", Local(counter), Constant(1),
        )
        return by_one and len(every) == 2 and Constant(0) in every and counter not in function.parameters

    def _kind(self, function: Function, header: int, counter: int, stop: Expression) -> Kind:
        """What the loop runs over: by the type of its variable, or else by the arrays that the counter indexes."""
        region = _region(function, header)
        variables = {counter}
        for instruction in _instructions(region):
            if isinstance(instruction, Assign) and instruction.value == Local(counter):
                variables.add(instruction.local)
        kinds = [self.sorts.of_type(function.locals[local].type) for local in variables]
        for access in _nodes(region):
            if isinstance(access, (Load, Store)):
                leaf = self.program.schema_of(access.root).leaves[access.leaf]
                kinds += [
                    self.sorts.of_dimension(leaf, dimension)
                    for dimension, index in enumerate(access.indices)
                    if isinstance(index, Local) and index.index in variables
                ]
        return next((kind for kind in kinds if self.sorts.is_whole(Constant(0), stop, kind)), NUMBER)

    # --- the rules

    def reason(self, function: Function, loop: Loop) -> tuple[str, int] | None:
        """Why the turns of a loop cannot be taken in any order (and where), or None when they can."""
        region = _region(function, loop.header)
        numbers = {number for number, block in enumerate(function.blocks) if loop.header in block.loops}
        for number in sorted(numbers):
            ends = function.blocks[number].terminator
            leaves = isinstance(ends, Return) or any(target not in numbers for target in _targets(ends))
            if leaves and number != loop.header:
                return "one leaves the loop", next(_places(ends), loop.where)
        carried = (_live(function)[loop.header] & _assigned(region)) - {loop.counter}
        if carried:
            names = sorted(function.locals[local].name for local in carried)
            where = next(
                (place for item in _instructions(region) for place in _places(item)
                 if _assigned_by(item) in carried), loop.where)
            return f"{names[-1] or 'a value'} goes from one to the next", where
        for instruction in _instructions(region):
            if isinstance(instruction, (Choice, Require)) or self._chooses(instruction):
                return "one chooses or requires something", next(_places(instruction), loop.where)
        return self._shared(function, loop, region)

    def _chooses(self, thing: object) -> bool:
        """Whether something calls a function that chooses or requires."""
        return any(
            self._function_chooses(node.function) for node in _nodes(thing) if isinstance(node, (Call, Apply))
        )

    def _function_chooses(self, name: str) -> bool:
        if name not in self._effects:
            blocks = self.program.functions[name].blocks
            own = any(isinstance(item, (Choice, Require)) for item in _instructions(blocks))
            self._effects[name] = own or self._chooses(blocks)
        return self._effects[name]

    def _shared(self, function: Function, loop: Loop, region: tuple[Block, ...]) -> tuple[str, int] | None:
        """A leaf that a turn writes and that is not its own."""
        accesses = self._accesses(function, region, loop.kind, (loop.counter,))
        for written in sorted({(access.root, access.leaf) for access in accesses if access.writes}):
            same = [access for access in accesses if (access.root, access.leaf) == written]
            leaf = self.program.schema_of(written[0]).leaves[written[1]]
            owned = [all(loop.counter in access.owners[d] for access in same) for d in range(len(leaf.dimensions))]
            if not any(owned):
                return f"{leaf.path} is written by one and seen by others", loop.where
        return None

    def _accesses(
        self, function: Function, blocks: tuple[Block, ...], kind: Kind, carriers: Sequence[int]
    ) -> set[Access]:
        """What blocks read and write; an index belongs to a carrier when it tells the carrier's value."""
        single: dict[int, Expression] = {}
        counts: dict[int, int] = {}
        for instruction in _instructions(blocks):
            local = _assigned_by(instruction)
            if local is not None:
                counts[local] = counts.get(local, 0) + 1
                if isinstance(instruction, Assign):
                    single[local] = instruction.value
        single = {local: value for local, value in single.items() if counts[local] == 1 and local not in carriers}

        def owners(index: Expression) -> frozenset[int]:
            return frozenset(carrier for carrier in carriers if self._owns(index, carrier, kind, single))

        found: set[Access] = set()
        for node in _nodes(blocks):
            if isinstance(node, (Load, Store)):
                indices = tuple(owners(index) for index in node.indices)
                found.add(Access(node.root, node.leaf, isinstance(node, Store), indices))
            elif isinstance(node, (Call, Apply)):
                given = [owners(argument) for argument in node.arguments]
                for access in self._summary(node.function, kind):
                    mapped = tuple(
                        frozenset[int]().union(*(given[parameter] for parameter in owner)) for owner in access.owners
                    )
                    found.add(Access(access.root, access.leaf, access.writes, mapped))
        return found

    def _summary(self, name: str, kind: Kind) -> frozenset[Access]:
        """What a function accesses, with the positions of its parameters as carriers."""
        key = (name, kind)
        if key not in self._summaries:
            function = self.program.functions[name]
            fixed = [local for local in function.parameters if local not in _assigned(function.blocks)]
            position = {local: number for number, local in enumerate(function.parameters)}
            self._summaries[key] = frozenset(
                Access(a.root, a.leaf, a.writes, tuple(frozenset(position[local] for local in o) for o in a.owners))
                for a in self._accesses(function, function.blocks, kind, fixed)
            )
        return self._summaries[key]

    def _owns(self, index: Expression, carrier: int, kind: Kind, single: Mapping[int, Expression]) -> bool:
        """Whether different values of the carrier always give different indices."""
        index = self.sorts.stripped(index)
        if isinstance(index, Present):
            return self._owns(index.operand, carrier, kind, single)
        if isinstance(index, Local):
            if index.index == carrier:
                return True
            return index.index in single and self._owns(single[index.index], carrier, kind, single)
        for of, first, second in self.sorts.parts(index):
            if kind == (of[1],) and self._owns(second, carrier, kind, single):
                return True
            if kind == (of[0],) and self._owns(first, carrier, kind, single):
                return True
        return False


def _region(function: Function, header: int) -> tuple[Block, ...]:
    return tuple(block for block in function.blocks if header in block.loops)


def _instructions(blocks: Iterable[Block]) -> Iterator[Instruction]:
    return (instruction for block in blocks for instruction in block.instructions)


def _assigns(blocks: Iterable[Block], local: int) -> list[Assign]:
    """The assignments to a local that has no other sources; none when it has."""
    sources = [item for item in _instructions(blocks) if _assigned_by(item) == local]
    plain = [item for item in sources if isinstance(item, Assign)]
    return plain if len(plain) == len(sources) else []


def _assigned_by(instruction: Instruction) -> int | None:
    if isinstance(instruction, (Assign, Choice)):
        return instruction.local
    return instruction.target if isinstance(instruction, Call) else None


def _assigned(blocks: Iterable[Block]) -> set[int]:
    return {local for item in _instructions(blocks) if (local := _assigned_by(item)) is not None}


def _targets(terminator: Jump | Branch | Return) -> tuple[int, ...]:
    if isinstance(terminator, Jump):
        return (terminator.target,)
    return (terminator.then, terminator.otherwise) if isinstance(terminator, Branch) else ()


def _nodes(thing: object) -> Iterator[object]:
    """Every dataclass node in an IR tree."""
    if isinstance(thing, tuple):
        for item in thing:
            yield from _nodes(item)
    elif hasattr(thing, "__dataclass_fields__"):
        yield thing
        for name in thing.__dataclass_fields__:
            yield from _nodes(getattr(thing, name))


def _reads(thing: object) -> set[int]:
    """The locals that a tree reads; those that its quantifiers bind are their own."""
    nodes = list(_nodes(thing))
    bound = {node.local for node in nodes if isinstance(node, Quantifier)}
    return {node.index for node in nodes if isinstance(node, Local)} - bound


def _live(function: Function) -> list[set[int]]:
    """For each block the locals whose value at its start may be read later."""
    live: list[set[int]] = [set() for _ in function.blocks]
    changed = True
    while changed:
        changed = False
        for number in range(len(function.blocks) - 1, -1, -1):
            block = function.blocks[number]
            now = set[int]().union(*(live[target] for target in _targets(block.terminator)))
            now |= _reads(block.terminator)
            for instruction in reversed(block.instructions):
                local = _assigned_by(instruction)
                if local is not None:
                    now.discard(local)
                now |= _reads(instruction)
            changed = changed or now != live[number]
            live[number] = now
    return live


# --- renaming ----------------------------------------------------------------------------------------------------

Images = Mapping[str, tuple[int, ...]]
"""A renaming: for each symmetric sort, what each element becomes."""


@dataclass(frozen=True)
class LeafRenaming:
    """What a renaming does to a leaf: element i moves to place `places[i]`; its value v (an index, None aside)
    becomes `values[v]`, or stays when `values` is None."""

    places: tuple[int, ...]
    values: tuple[int, ...] | None

    def is_identity(self) -> bool:
        return self.values is None and all(place == index for index, place in enumerate(self.places))


class Symmetry:
    """The group of renamings at a scope."""

    def __init__(self, sorts: Sorts, sizes: Sizes) -> None:
        self.sorts = sorts
        self.sizes = sizes
        self.counts = {name: sorts.all[name].size.value(sizes) for name in sorts.names}
        self.order = math.prod(math.factorial(min(count, 20)) for count in self.counts.values())
        if self.order > PERMUTATIONS_MAX:
            given = ", ".join(f"{count} of {name}" for name, count in self.counts.items())
            raise InputError(
                f"interchanging {given} makes {self.order:,} renamings, and at most {PERMUTATIONS_MAX:,} are tried",
                "choose a smaller scope, name fewer sorts (--symmetry SORT), or use --no-symmetry",
            )
        for use in sorts.all.values():
            if use.of in sorts.products:
                self._check_product(use)

    def _check_product(self, use: SortUse) -> None:
        size, second = use.size.value(self.sizes), self.sorts.all[use.of[1]].size.value(self.sizes)
        first = self.sorts.all.get(use.of[0])
        wrong = size % second if first is None else size != first.size.value(self.sizes) * second
        if wrong:
            raise ScopeError(
                f"{use.name} has {size} elements, which is not {use.of[0]} times {use.of[1]}",
                f"derive {use.size} from their sizes",
            )

    def renamings(self) -> Iterator[Images]:
        """Every renaming, the identity first."""
        every = [itertools.permutations(range(count)) for count in self.counts.values()]
        for chosen in itertools.product(*every):
            yield dict(zip(self.counts, chosen, strict=True))

    def generators(self) -> Iterator[Images]:
        """The exchanges of two neighbours, of which every renaming is made."""
        for name, count in self.counts.items():
            for element in range(count - 1):
                images = list(range(count))
                images[element], images[element + 1] = element + 1, element
                yield {other: tuple(range(self.counts[other])) for other in self.counts} | {name: tuple(images)}

    def images(self, name: str | None, renaming: Images) -> tuple[int, ...] | None:
        """What each element of any sort becomes; None when the sort has nothing to do with the symmetric ones."""
        kind = self.sorts.kind(name)
        if not kind or not name:
            return None
        if len(kind) == 1:
            return renaming[name]
        second = renaming.get(kind[1], tuple(range(self.sorts.all[kind[1]].size.value(self.sizes))))
        count = self.sorts.all[name].size.value(self.sizes) // len(second)
        first = renaming.get(kind[0], tuple(range(count)))
        return tuple(page * len(second) + slot for page in first for slot in second)

    def leaf(self, leaf: Leaf, renaming: Images) -> LeafRenaming:
        """What a renaming does to a leaf."""
        shape = [dimension.value(self.sizes) for dimension in leaf.dimensions]
        names = leaf.dimension_sorts or ("",) * len(shape)
        images = [
            self.images(name, renaming) or tuple(range(count)) for name, count in zip(names, shape, strict=True)
        ]
        places = []
        for indices in itertools.product(*images):
            place = 0
            for index, count in zip(indices, shape, strict=True):
                place = place * count + index
            places.append(place)
        is_reference = isinstance(leaf.type, IntegerType) and not leaf.type.labels
        values = self.images(leaf.type.sort, renaming) if is_reference and isinstance(leaf.type, IntegerType) else None
        if values is not None and values == tuple(range(len(values))):
            values = None
        return LeafRenaming(tuple(places), values)

    def state(self, schema: Schema, flat: Sequence[int], renaming: Images) -> tuple[int, ...]:
        """A flat state under a renaming."""
        result: list[int] = []
        position = 0
        for leaf in schema.leaves:
            change = self.leaf(leaf, renaming)
            moved = [0] * len(change.places)
            for index, place in enumerate(change.places):
                value = flat[position + index]
                moved[place] = value if change.values is None or value == NONE else change.values[value]
            result += moved
            position += len(moved)
        return tuple(result)

    def unclosed(self, schema: Schema, states: Iterable[tuple[int, ...]]) -> InputError | None:
        """The error when a set of initial states is not closed under renaming."""
        known = set(states)
        for renaming in self.generators():
            for flat in known:
                renamed = self.state(schema, flat, renaming)
                if renamed not in known:
                    return self._not_closed(schema, flat, renamed, renaming)
        return None

    def _not_closed(
        self, schema: Schema, flat: Sequence[int], renamed: Sequence[int], renaming: Images
    ) -> InputError:
        name = next(name for name, images in renaming.items() if images != tuple(range(len(images))))
        first = next(index for index, image in enumerate(renaming[name]) if image != index)
        paths = [leaf.path for leaf in schema.leaves for _ in range(leaf.count(self.sizes))]
        path = next(path for path, a, b in zip(paths, flat, renamed, strict=True) if a != b)
        return InputError(
            f"init tells {name} {first} from {name} {first + 1}: {path} changes when they are exchanged, so {name} is "
            "not symmetric",
            f"let {path} begin alike for every {name}, or with a choice; or declare {name} as not symmetric",
        )


__all__ = [
    "PERMUTATIONS_MAX",
    "Images",
    "LeafRenaming",
    "Sorts",
    "Symmetry",
    "check",
    "may_hide_failures",
    "sorts_of",
]
