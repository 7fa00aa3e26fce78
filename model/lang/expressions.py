"""Front end, first half: expressions of the restricted language to IR expressions.

Every syntax that is not handled is refused by name, with what to write instead (`REFUSED`).
"""

from __future__ import annotations

import ast
import builtins
import enum
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from . import actions, source
from .errors import SpecError
from .ir import (
    Apply,
    Binary,
    BooleanAnd,
    BooleanOr,
    Compare,
    Conditional,
    Constant,
    Expression,
    IntegerType,
    LeafType,
    Load,
    Local,
    MachineType,
    Present,
    Quantifier,
    Size,
    SizeOf,
    Unary,
    Wrap,
)
from .records import FieldType, Record, indices, methods_of
from .sorts import AnnotationError, FromScope, scalar_type
from .values import Kind, Place, Signature, Value, is_a, is_non_negative, kind_of

REFUSED: dict[type[ast.AST], tuple[str, str, str]] = {
    ast.Lambda: ("lambda", "a lambda is not in the language", "define a function with def"),
    ast.List: ("list", "a list is not in the language", "use an Array in the state, or several variables"),
    ast.Tuple: ("tuple", "a tuple is not in the language", "use several variables"),
    ast.Set: ("set", "a set is not in the language", "use an array of booleans over the sort"),
    ast.Dict: ("dict", "a dict is not in the language", "use an Array over the sort of its keys"),
    ast.ListComp: ("list-comprehension", "a list comprehension is not in the language", "use all(…), any(…) or sum(…)"),
    ast.SetComp: ("set-comprehension", "a set comprehension is not in the language", "use all(…), any(…) or sum(…)"),
    ast.DictComp: ("dict-comprehension", "a dict comprehension is not in the language", "use an Array in the state"),
    ast.GeneratorExp: ("generator", "a generator stands only inside all, any or sum", "wrap it: any(… for …)"),
    ast.JoinedStr: ("f-string", "a formatted string is not in the language", "use a constant message"),
    ast.NamedExpr: ("walrus", "an assignment inside an expression is not in the language", "assign on a line before"),
    ast.Starred: ("star", "a starred expression is not in the language", "write the values out"),
    ast.Yield: ("yield", "a step point is not in the language yet", "an action is one atomic step; split it in two"),
    ast.YieldFrom: ("yield-from", "yield from is not in the language", "yield the clauses one by one"),
    ast.Slice: ("slice", "a slice is not in the language", "use a loop over range(…)"),
}

OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.USub: "-",
    ast.Invert: "~",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


Item = TypeVar("Item")

DEPTH_MAX = 64
"""Expressions and statements nested deeper are refused, so that no engine has to recurse far."""


@dataclass
class Slot:
    """A local variable of the function being lowered."""

    index: int
    kind: Kind
    type: LeafType | None = None
    non_negative: bool = False


@dataclass(frozen=True)
class Domain:
    """What a loop or quantifier runs over: range(start, stop), and the type of its variable."""

    start: Value
    stop: Value
    step: int = 1
    type: LeafType | None = None


class Instances(Protocol):
    """What the program gives to a function's lowering: leaves, positions, other functions."""

    def leaf(self, root: int, path: str) -> int: ...

    def leaf_below(self, root: int, path: str) -> tuple[int, int]: ...

    def dimensions(self, root: int, path: str) -> tuple[Size, ...]: ...

    def is_ghost(self, root: int, leaf: int) -> bool: ...

    def where(self, filename: str, node: ast.AST) -> int: ...

    def parameters(self, function: Callable[..., Any]) -> tuple[tuple[str, Signature], ...]: ...

    def method(self, record: type[Record], name: str) -> types.FunctionType | None: ...

    def call(self, function: Callable[..., Any], places: tuple[Place, ...]) -> Callee: ...


@dataclass(frozen=True)
class Callee:
    """A lowered function as its callers see it."""

    name: str
    pure: bool
    parameters: tuple[tuple[str, Signature], ...]
    returns: Signature
    reads_ghost: tuple[str, ast.AST] | None


class ExpressionLowering:
    """Lowers expressions of one function. Statements are lowered by the class derived from it."""

    def __init__(self, program: Instances, filename: str, namespace: dict[str, Any]) -> None:
        self.program = program
        self.filename = filename
        self.namespace = namespace
        self.slots: dict[str, Slot] = {}
        self.places: dict[str, Place] = {}
        # What is known here: `x` has a value, and as `x!`, the reference in it is not None.
        self.assigned: set[str] = set()
        self.known: set[str] = set()
        self.negative: set[str] = set()
        self.depth = 0
        self.locals: list[tuple[str, LeafType | None]] = []
        self.reads_ghost: tuple[str, ast.AST] | None = None

    # --- errors and small tools

    def refusal(self, node: ast.AST, code: str, message: str, remedy: str) -> SpecError:
        return source.refusal(self.filename, node, code, message, remedy)

    def where(self, node: ast.AST) -> int:
        return self.program.where(self.filename, node)

    def new_local(self, name: str = "", type_: LeafType | None = None) -> int:
        self.locals.append((name, type_))
        return len(self.locals) - 1

    # --- entry points by kind

    def value(self, node: ast.expr) -> Value:
        """A scalar; records and arrays are refused."""
        result = self.expression(node)
        if isinstance(result, Place):
            raise self.refusal(
                node, "record-value", f"{result.describe()} is not a value", "name one of its fields or elements"
            )
        return result

    def boolean(self, node: ast.expr) -> Expression:
        """A condition. Integers and references have no truth value: 0 is a page like any other."""
        value = self.value(node)
        if value.kind is Kind.BOOLEAN:
            return value.expression
        remedy = "compare it: `is not None`" if value.kind in (Kind.OPTIONAL, Kind.NONE) else "compare it: `!= 0`"
        raise self.refusal(node, "truth", f"{value.kind.value} is used as a condition", remedy)

    def integer(self, node: ast.expr, at: ast.AST | None = None) -> Value:
        """A number; an optional reference is checked not to be None."""
        return self.as_integer(self.value(node), node, at)

    def as_integer(self, value: Value, node: ast.AST, at: ast.AST | None = None) -> Value:
        """The value as a number. A None in it fails at the node `at`, which is where CPython would raise."""
        if value.kind is Kind.INTEGER:
            return value
        if value.kind is Kind.OPTIONAL:
            type_ = value.type
            if isinstance(type_, IntegerType):
                type_ = IntegerType(type_.low, type_.high, False, type_.sort, type_.labels)
            number = value.expression if value.present else Present(value.expression, self.where(at or node))
            return Value(number, Kind.INTEGER, type_, True)
        if value.kind is Kind.NONE:
            raise self.refusal(node, "none-number", "None is used as a number", "test it first: `is not None`")
        raise self.refusal(node, "boolean-number", "a boolean is used as a number", "write `1 if … else 0`")

    def coerce(self, value: Value, kind: Kind, node: ast.AST, type_: LeafType | None = None) -> Expression:
        """The value as a variable, field or parameter of this kind takes it.

        A declared type that has no negative values is believed where the value is read, so a value that may be
        negative is refused here."""
        if kind is Kind.BOOLEAN:
            if value.kind is not Kind.BOOLEAN:
                raise self.refusal(
                    node, "not-boolean", f"{value.kind.value} is given where a boolean is needed", "compare it"
                )
            return value.expression
        if value.kind is Kind.BOOLEAN:
            raise self.refusal(
                node, "boolean-integer", "a boolean is given where an integer is needed", "write `1 if … else 0`"
            )
        if kind is Kind.INTEGER:
            value = self.as_integer(value, node)
        if value.kind is Kind.INTEGER and not value.non_negative and (kind is Kind.OPTIONAL or is_non_negative(type_)):
            raise self.refusal(
                node,
                "maybe-negative",
                "an integer that may be negative is given where a reference is needed",
                "store it in a field first, use max(0, …) or % n, or annotate the variable or parameter with int",
            )
        return value.expression

    def check_present(self, value: Value, kind: Kind, node: ast.AST) -> None:
        """Where a number is passed on, CPython does not look at it: it would fail somewhere later, or not at all."""
        if kind is Kind.INTEGER and value.kind is Kind.OPTIONAL and not value.present:
            raise self.refusal(
                node,
                "maybe-none",
                "a reference that may be None is given where an integer is needed",
                "give it a name, and test that with `is not None` (if, require or assert) before",
            )

    # --- expressions

    def expression(self, node: ast.expr) -> Value | Place:
        """Lower one expression."""
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.too_deep(node)
        result = self.expression_here(node)
        self.depth -= 1
        return result

    def too_deep(self, node: ast.AST) -> SpecError:
        return self.refusal(
            node,
            "too-deep",
            f"this is nested more than {DEPTH_MAX} levels deep",
            "give parts of it names, line by line",
        )

    def expression_here(self, node: ast.expr) -> Value | Place:
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.UnaryOp):
            return self.unary(node)
        if isinstance(node, ast.BoolOp):
            return self.boolean_operation(node)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.IfExp):
            return self.conditional(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        code, message, remedy = REFUSED.get(
            type(node), ("syntax", f"{type(node).__name__} is not in the language", "write it with simple expressions")
        )
        raise self.refusal(node, code, message, remedy)

    def constant(self, node: ast.Constant) -> Value:
        if node.value is None:
            return Value(Constant(-1), Kind.NONE, None, True)
        if isinstance(node.value, bool):
            return Value(Constant(int(node.value)), Kind.BOOLEAN, None, True)
        if isinstance(node.value, int):
            return self.number(node.value, node)
        if isinstance(node.value, float):
            raise self.refusal(
                node, "float", "a floating-point number is not in the language", "use integers, scaled if needed"
            )
        if isinstance(node.value, str):
            raise self.refusal(node, "string", "a string is not a value of the language", "use an enum.IntEnum")
        raise self.refusal(
            node, "constant", f"the constant {node.value!r} is not in the language", "use integers and booleans"
        )

    def number(self, value: int, node: ast.AST) -> Value:
        if not -(1 << 63) <= value < 1 << 63:
            raise self.refusal(node, "big-constant", f"{value} does not fit in 64 bits", "use a smaller constant")
        return Value(Constant(value), Kind.INTEGER, None, value >= 0)

    def name(self, node: ast.Name) -> Value | Place:
        if self.is_variable(node.id):
            if node.id not in self.assigned:
                raise self.refusal(
                    node, "unassigned", f"{node.id} may have no value here", "assign it on every path before this line"
                )
            if node.id in self.places:
                return self.places[node.id]
            slot = self.slots[node.id]
            present = slot.kind is Kind.OPTIONAL and _present(node.id) in self.assigned
            return Value(Local(slot.index), slot.kind, slot.type, slot.non_negative, present)
        return self.global_value(self.lookup(node.id, node), node)

    def is_variable(self, name: str) -> bool:
        """Whether a name is local to the function (as in Python: when it is assigned anywhere in it)."""
        return name in self.slots or name in self.places or name in self.known

    def lookup(self, name: str, node: ast.AST) -> Any:
        """A name of the module or of Python."""
        if name in self.namespace:
            return self.namespace[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise self.refusal(node, "unknown-name", f"{name} is not defined", "define it, or pass it as a parameter")

    def global_value(self, thing: Any, node: ast.expr) -> Value:
        text = ast.unparse(node)
        if isinstance(thing, enum.IntEnum):
            return Value(Constant(int(thing)), Kind.INTEGER, self.enum_type(type(thing), node), True)
        if isinstance(thing, bool):
            return Value(Constant(int(thing)), Kind.BOOLEAN, None, True)
        if isinstance(thing, int):
            return self.number(thing, node)
        if callable(thing):
            raise self.refusal(node, "function-value", f"{text} is a function, not a value", "call it")
        raise self.refusal(
            node,
            "global-state",
            f"{text} is module-level state",
            "keep state in the machine's records; constants are ints",
        )

    def enum_type(self, enumeration: type[enum.IntEnum], node: ast.AST) -> LeafType:
        try:
            type_ = scalar_type(enumeration)
        except AnnotationError as error:
            raise self.refusal(node, "annotation", error.message, error.remedy) from None
        assert not isinstance(type_, FromScope)
        return type_

    def attribute(self, node: ast.Attribute) -> Value | Place:
        owner = self.static(node.value)
        if owner is not None:
            return self.global_value(self.member(owner, node), node)
        base = self.expression(node.value)
        if not isinstance(base, Place) or base.type.record is None:
            what = base.describe() if isinstance(base, Place) else base.kind.value
            raise self.refusal(node, "no-fields", f"{what} has no field {node.attr}", "take the field of a record")
        fields = base.type.record.field_types()
        if node.attr not in fields:
            known = ", ".join(fields)
            if node.attr in methods_of(base.type.record):
                raise self.refusal(node, "method-value", f"{node.attr} is a method, not a value", "call it")
            raise self.refusal(
                node, "no-field", f"{base.type.record.__name__} has no field {node.attr}", f"its fields are: {known}"
            )
        path = f"{base.path}.{node.attr}" if base.path else node.attr
        return self.at(Place(base.root, path, base.indices, fields[node.attr], base.checked), node)

    def static(self, node: ast.expr) -> Any:
        """The enum or module that a name stands for, or None."""
        if isinstance(node, ast.Name) and not self.is_variable(node.id):
            thing = self.namespace.get(node.id)
            if isinstance(thing, types.ModuleType) or (isinstance(thing, type) and issubclass(thing, enum.Enum)):
                return thing
        return None

    def member(self, owner: Any, node: ast.Attribute) -> Any:
        if not hasattr(owner, node.attr):
            raise self.refusal(node, "no-member", f"{ast.unparse(node.value)} has no {node.attr}", "check the spelling")
        return getattr(owner, node.attr)

    def at(self, place: Place, node: ast.AST) -> Value | Place:
        """A place itself if it is a record or an array, else the value there."""
        type_ = place.type
        if type_.constants:
            size = self.inside(place, self.constant_of(place), node)
            least = all(constant.parameter is None and constant.offset >= 0 for constant in type_.constants)
            return Value(size, Kind.INTEGER, None, least)
        if type_.scalar is None:
            return place
        leaf = self.program.leaf(place.root, place.path)
        if self.program.is_ghost(place.root, leaf) and self.reads_ghost is None:
            self.reads_ghost = (self.filename, node)
        load = Load(place.root, leaf, place.indices, self.where(node))
        return Value(load, kind_of(type_.scalar), type_.scalar, is_non_negative(type_.scalar))

    def constant_of(self, place: Place) -> Expression:
        """The constant of the scope that a place holds: by the index of the nearest array element around it."""
        *first, last = place.type.constants
        if not place.indices:
            return SizeOf(place.type.constant_at(0))
        chosen: Expression = SizeOf(last)
        for number, constant in reversed(list(enumerate(first))):
            chosen = Conditional(Compare("==", place.indices[-1], Constant(number)), SizeOf(constant), chosen)
        return chosen

    def inside(self, place: Place, expression: Expression, node: ast.AST) -> Expression:
        """The expression, which fails when an index on the way to the place is outside its array.

        CPython checks an index when it takes the element, even if no field of it is read. An expression cannot fail
        by itself, so a load from the place stands where the index is wrong."""
        if len(place.indices) <= place.checked:
            return expression
        lengths = self.program.dimensions(place.root, place.path)
        tests = [
            BooleanAnd(Compare(">=", index, Constant(0)), Compare("<", index, SizeOf(length)))
            for index, length in list(zip(place.indices, lengths, strict=False))[place.checked :]
        ]
        leaf, depth = self.program.leaf_below(place.root, place.path)
        indices = place.indices + (Constant(0),) * (depth - len(place.indices))
        failing = Load(place.root, leaf, indices, self.where(node))
        return Conditional(balanced(tests, BooleanAnd), expression, failing)

    def subscript(self, node: ast.Subscript) -> Value | Place:
        return self.at(self.element(node), node)

    def element(self, node: ast.Subscript) -> Place:
        """The place that `array[index]` names."""
        base = self.expression(node.value)
        if not isinstance(base, Place) or base.type.element is None:
            what = base.describe() if isinstance(base, Place) else base.kind.value
            raise self.refusal(node, "not-array", f"{what} cannot be indexed", "index an Array")
        index = self.integer(node.slice, node).expression
        if can_fail(index):
            index = self.inside(base, index, node.value)
        return Place(base.root, base.path + "[]", (*base.indices, index), base.type.element, base.checked)

    def binary(self, node: ast.BinOp) -> Value:
        operator = OPERATORS.get(type(node.op))
        if operator is None:
            name = {ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}.get(type(node.op), "this operator")
            remedy = {"/": "use // for whole numbers", "**": "use << for powers of two"}.get(name, "use arithmetic")
            raise self.refusal(node, "operator", f"{name} is not in the language", remedy)
        left, right = self.integer(node.left, node), self.integer(node.right, node)
        if operator in ("<<", ">>") and isinstance(right.expression, Constant) and right.expression.value > 63:
            raise self.refusal(node, "big-shift", "a shift by more than 63 bits", "use a smaller constant")
        non_negative = left.non_negative and right.non_negative and operator != "-"
        if operator == "&":
            non_negative = left.non_negative or right.non_negative
        elif operator in ("%", ">>"):
            non_negative = right.non_negative if operator == "%" else left.non_negative
        return Value(
            Binary(operator, left.expression, right.expression, self.where(node)), Kind.INTEGER, None, non_negative
        )

    def unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(Unary("not", self.boolean(node.operand)), Kind.BOOLEAN)
        operand = self.integer(node.operand, node)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand.expression, Constant) and isinstance(node.op, ast.USub):
            return self.number(-operand.expression.value, node)
        return Value(Unary(OPERATORS[type(node.op)], operand.expression), Kind.INTEGER)

    def boolean_operation(self, node: ast.BoolOp) -> Value:
        make = BooleanAnd if isinstance(node.op, ast.And) else BooleanOr
        known = set(self.assigned)
        operands: list[Expression] = []
        for operand in node.values:
            operands.append(self.boolean(operand))
            self.assigned |= facts(operand, isinstance(node.op, ast.And))
        self.assigned = known
        return Value(balanced(operands, make), Kind.BOOLEAN)

    def comparison(self, node: ast.Compare) -> Value:
        """A chain `a < b < c` is `a < b and b < c`; b stands twice, but it is pure."""
        if any(isinstance(operator, (ast.In, ast.NotIn)) for operator in node.ops):
            raise self.refusal(node, "in", "`in` is not in the language", "compare with bounds, or use any(… for …)")
        for middle in node.comparators[:-1]:
            if any(isinstance(inner, ast.Compare) and len(inner.ops) > 1 for inner in ast.walk(middle)):
                raise self.refusal(
                    middle, "nested-chain", "a chained comparison inside another", "give it a name first"
                )
        nodes = [node.left, *node.comparators]
        values = [self.value(operand) for operand in nodes]
        parts = [
            self.compare((values[number], nodes[number]), operator, (values[number + 1], nodes[number + 1]), node)
            for number, operator in enumerate(node.ops)
        ]
        return Value(balanced(parts, BooleanAnd), Kind.BOOLEAN)

    def compare(
        self,
        left_side: tuple[Value, ast.expr],
        operator: ast.cmpop,
        right_side: tuple[Value, ast.expr],
        node: ast.Compare,
    ) -> Expression:
        (left, left_node), (right, right_node) = left_side, right_side
        if isinstance(operator, (ast.Is, ast.IsNot)):
            return self.identity(left, isinstance(operator, ast.Is), right, node)
        symbol = OPERATORS[type(operator)]
        if symbol not in ("==", "!="):
            left, right = self.as_integer(left, left_node, node), self.as_integer(right, right_node, node)
            return Compare(symbol, left.expression, right.expression)
        if Kind.NONE in (left.kind, right.kind):
            raise self.refusal(node, "equals-none", "None is compared with ==", "use `is None` or `is not None`")
        if (left.kind is Kind.BOOLEAN) != (right.kind is Kind.BOOLEAN):
            message = f"{left.kind.value} is compared with {right.kind.value}"
            raise self.refusal(node, "compare-kinds", message, "compare like with like")
        return self.equality(symbol, left, right)

    def identity(self, left: Value, positive: bool, right: Value, node: ast.AST) -> Expression:
        """`is None`. (Enum members read from the state may be plain numbers in CPython: those are compared by ==.)"""
        if Kind.NONE not in (left.kind, right.kind):
            raise self.refusal(node, "is", "`is` compares only with None", "use ==")
        for value in (left, right):
            if value.kind in (Kind.INTEGER, Kind.BOOLEAN):
                raise self.refusal(node, "never-none", f"{value.kind.value} is never None", "delete the comparison")
        return Compare("==" if positive else "!=", left.expression, right.expression)

    def equality(self, symbol: str, left: Value, right: Value) -> Expression:
        """== and !=; an integer that may be -1 must not pass for None."""
        equal = Compare(symbol, left.expression, right.expression)
        for optional, other in ((left, right), (right, left)):
            if optional.kind is Kind.OPTIONAL and other.kind is Kind.INTEGER and not other.non_negative:
                missing = Compare("==" if symbol == "!=" else "!=", optional.expression, Constant(-1))
                return BooleanOr(equal, missing) if symbol == "!=" else BooleanAnd(equal, missing)
        return equal

    def conditional(self, node: ast.IfExp) -> Value:
        condition = self.boolean(node.test)
        known = set(self.assigned)
        self.assigned |= facts(node.test, True)
        then = self.value(node.body)
        self.assigned = known | facts(node.test, False)
        otherwise = self.value(node.orelse)
        self.assigned = known
        kinds = {then.kind, otherwise.kind}
        if kinds == {Kind.BOOLEAN}:
            kind = Kind.BOOLEAN
        elif Kind.BOOLEAN in kinds:
            raise self.refusal(
                node, "mixed-conditional", "the branches have different kinds", "give both the same kind"
            )
        else:
            kind = Kind.OPTIONAL if kinds & {Kind.OPTIONAL, Kind.NONE} else Kind.INTEGER
        expression = Conditional(
            condition, self.coerce(then, kind, node.body), self.coerce(otherwise, kind, node.orelse)
        )
        type_ = then.type if then.type == otherwise.type else None
        return Value(expression, kind, type_, then.non_negative and otherwise.non_negative)

    # --- calls

    def callee(self, node: ast.Call) -> Any:
        """What is called: a Python object of the module, never a value of the specification."""
        function = node.func
        if isinstance(function, ast.Name):
            if self.is_variable(function.id):
                raise self.refusal(
                    node, "call-value", f"{function.id} is a variable, not a function", "call a function"
                )
            return self.lookup(function.id, function)
        if isinstance(function, ast.Attribute):
            owner = self.static(function.value)
            if isinstance(owner, types.ModuleType):
                return self.member(owner, function)
            return self.method(function, node)
        raise self.refusal(node, "call", "only named functions can be called", "define the function with def")

    def method(self, function: ast.Attribute, node: ast.Call) -> types.FunctionType:
        """What `record.name(…)` calls: the method of the class that the record has, be it derived from the one that
        this function's parameter names. That is the one Python finds."""
        record = self.record_class(function.value)
        if record is None:
            owner = ast.unparse(function.value)
            message = f"{owner} is not a record of the state, so it has no method {function.attr}"
            raise self.refusal(node, "method", message, "call it on a record: machine.zone.method(…)")
        found = self.program.method(record, function.attr)
        if found is None:
            known = ", ".join(methods_of(record))
            remedy = f"its methods are: {known}" if known else "define it in the class, or write a function"
            raise self.refusal(node, "no-method", f"{record.__name__} has no method {function.attr}", remedy)
        return found

    def record_class(self, node: ast.expr) -> type[Record] | None:
        """The class of the record that an expression names, which is not lowered for it; None if it names none."""
        type_ = self.place_type(node)
        return type_.record if type_ is not None else None

    def place_type(self, node: ast.expr) -> FieldType | None:
        if isinstance(node, ast.Name):
            return self.places[node.id].type if node.id in self.places else None
        owner = self.place_type(node.value) if isinstance(node, (ast.Attribute, ast.Subscript)) else None
        if owner is None or isinstance(node, ast.Subscript):
            return owner.element if owner is not None else None
        assert isinstance(node, ast.Attribute)
        return owner.record.field_types().get(node.attr) if owner.record is not None else None

    def call(self, node: ast.Call) -> Value | Place:
        function = self.callee(node)
        if function is len:
            return self.length(node)
        if function in (all, any, sum):
            return self.quantifier(node, function.__name__)
        if function in (min, max):
            return self.extremum(node, function.__name__)
        if function in (actions.unsigned, actions.signed):
            return self.machine_cast(node, function is actions.signed)
        if function in (range, indices):
            raise self.refusal(
                node, "range-value", "a range stands only in for, in quantifiers and in choose", "move it there"
            )
        if function is actions.choose:
            raise self.refusal(node, "choose-inside", "choose stands alone", "write `x = choose(…)` on its own line")
        if function is actions.require:
            raise self.refusal(node, "require-inside", "require stands alone", "write require(…) on its own line")
        if function is actions.clause:
            raise self.refusal(node, "clause-inside", "a clause must be yielded", "write `yield clause(…)`")
        if function is actions.leads:
            raise self.refusal(node, "leads-inside", "leads stands alone", "write `return leads(…)` in a @leads_to")
        callee, arguments = self.arguments(node, function)
        if not callee.pure:
            raise self.refusal(
                node,
                "impure-inside",
                f"{ast.unparse(node.func)} changes state or chooses, inside an expression",
                "assign its result to a variable on a line of its own",
            )
        kind = callee.returns.kind
        if kind is None:
            raise self.refusal(
                node, "no-result", f"{ast.unparse(node.func)} returns nothing", "call it on a line of its own"
            )
        type_ = callee.returns.type
        non_negative = is_non_negative(type_) or kind is Kind.OPTIONAL
        return Value(Apply(callee.name, arguments, self.where(node)), kind, type_, non_negative)

    def arguments(self, node: ast.Call, function: Any) -> tuple[Callee, tuple[Expression, ...]]:
        """Lower the arguments of a call to a specification function, and the function for these records."""
        if not isinstance(function, types.FunctionType):
            raise self.refusal(
                node,
                "foreign-call",
                f"{ast.unparse(node.func)} is not a function of a specification",
                "use len, min, max, all, any, sum, or a plain function defined with def",
            )
        parameters = self.program.parameters(function)
        names = [name for name, _ in parameters]
        given: dict[str, ast.expr] = {}
        if isinstance(node.func, ast.Attribute) and self.record_class(node.func.value) is not None:
            given[names.pop(0)] = node.func.value
        given |= self.given_arguments(node, function.__name__, names)
        lowered = {name: self.expression(argument) for name, argument in given.items()}
        for name, signature in parameters:
            self.check_argument(lowered[name], name, signature, given[name])
        places = tuple(value for value in lowered.values() if isinstance(value, Place))
        callee = self.program.call(function, places)
        if callee.reads_ghost is not None and self.reads_ghost is None:
            self.reads_ghost = callee.reads_ghost
        expressions: list[Expression] = []
        for name, signature in parameters:
            value = lowered[name]
            if isinstance(value, Value):
                assert signature.kind is not None
                self.check_present(value, signature.kind, given[name])
                expressions.append(self.coerce(value, signature.kind, given[name], signature.type))
            elif value.indices:
                last = self.inside(value, value.indices[-1], given[name])
                expressions.extend((*value.indices[:-1], last))
        return callee, tuple(expressions)

    def given_arguments(self, node: ast.Call, function: str, names: list[str]) -> dict[str, ast.expr]:
        """The arguments of a call by parameter, in order."""
        given: dict[str, ast.expr] = {}
        for name, argument in zip(names, node.args, strict=False):
            if isinstance(argument, ast.Starred):
                raise self.refusal(
                    argument, "star", "a starred argument is not in the language", "write the arguments out"
                )
            given[name] = argument
        takes = f"it takes: {', '.join(names) or 'nothing'}"
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refusal(
                    keyword, "star", "a starred argument is not in the language", "write the arguments out"
                )
            if keyword.arg not in names or keyword.arg in given:
                raise self.refusal(keyword, "keyword", f"argument {keyword.arg} does not fit {function}", takes)
            given[keyword.arg] = keyword.value
        if len(node.args) > len(names) or len(given) != len(names):
            raise self.refusal(node, "argument-count", f"{function} takes {len(names)} arguments", takes)
        if list(given) != names:
            raise self.refusal(node, "keyword-order", "the arguments are not in the order of the parameters", takes)
        return given

    def check_argument(self, value: Value | Place, name: str, signature: Signature, node: ast.AST) -> None:
        """A record parameter takes a part of the state of its type, any other a value."""
        wanted = signature.place
        if wanted is None:
            if isinstance(value, Place):
                message = f"{value.describe()} is given where {name} is a value"
                raise self.refusal(node, "record-value", message, "name one of its fields or elements")
            return
        what = f"a record ({wanted.record.__name__})" if wanted.record is not None else "an array"
        if isinstance(value, Value):
            raise self.refusal(
                node, "record-expected", f"{name} is {what}, {value.kind.value} is given", "pass the record"
            )
        if not is_a(value.type.record, wanted.record):
            raise self.refusal(node, "record-type", f"{name} is {what}, {value.describe()} is given", f"pass {what}")

    def length(self, node: ast.Call) -> Value:
        array = self.expression(node.args[0]) if len(node.args) == 1 else None
        if not isinstance(array, Place) or array.type.length is None:
            raise self.refusal(node, "len", "len takes an array of the state", "write len(machine.field)")
        return Value(self.inside(array, SizeOf(array.type.length), node.args[0]), Kind.INTEGER, None, True)

    def extremum(self, node: ast.Call, name: str) -> Value:
        if len(node.args) < 2 or node.keywords:
            raise self.refusal(node, "extremum", f"{name} takes two or more numbers", f"write {name}(a, b)")
        values = [self.integer(argument, node) for argument in node.args]
        where = self.where(node)
        result = balanced([value.expression for value in values], lambda left, right: Binary(name, left, right, where))
        enough = any if name == "max" else all
        return Value(result, Kind.INTEGER, None, enough(value.non_negative for value in values))

    def machine_cast(self, node: ast.Call, is_signed: bool) -> Value:
        width = node.args[1] if len(node.args) == 2 and not node.keywords else None
        if not isinstance(width, ast.Constant) or type(width.value) is not int:
            raise self.refusal(
                node, "cast-width", "the width must be a constant number of bits", "write unsigned(value, 32)"
            )
        bits = width.value
        if not 1 <= bits <= 63:
            raise self.refusal(node, "cast-width", f"a width of {bits} bits is not possible", "use 1 to 63 bits")
        type_ = MachineType(Size(None, bits), is_signed)
        return Value(Wrap(type_, self.integer(node.args[0], node).expression), Kind.INTEGER, type_, not is_signed)

    # --- quantifiers

    def domain(self, node: ast.expr, *, steps: bool = False) -> Domain:
        """`range(…)` or `indices(array)`."""
        if isinstance(node, ast.Call) and not node.keywords:
            function = self.callee(node)
            if function is indices and len(node.args) == 1:
                array = self.expression(node.args[0])
                if isinstance(array, Place) and array.type.length is not None:
                    return self.array_domain(array, array.type.length, node.args[0])
                raise self.refusal(
                    node, "indices", "indices takes an array of the state", "write indices(machine.pages)"
                )
            if function is range and 1 <= len(node.args) <= 3:
                return self.range_domain(node, steps)
        raise self.refusal(
            node, "iterate", "only range(…) and indices(array) can be iterated over", "loop over indices(array)"
        )

    def array_domain(self, array: Place, length: Size, node: ast.AST) -> Domain:
        stop = Value(self.inside(array, SizeOf(length), node), Kind.INTEGER, None, True)
        high = Size(length.parameter, length.offset - 1)
        sort = IntegerType(Size(None, 0), high, False, array.type.index_sort or None)
        return Domain(Value(Constant(0), Kind.INTEGER, None, True), stop, 1, sort)

    def range_domain(self, node: ast.Call, steps: bool) -> Domain:
        step = 1
        if len(node.args) == 3:
            constant = node.args[2]
            negative = isinstance(constant, ast.UnaryOp) and isinstance(constant.op, ast.USub)
            inner = constant.operand if isinstance(constant, ast.UnaryOp) and negative else constant
            if not steps or not isinstance(inner, ast.Constant) or type(inner.value) is not int or inner.value == 0:
                raise self.refusal(
                    node, "range-step", "the step of a range must be a constant, and only in a for", "use step 1"
                )
            step = -inner.value if negative else inner.value
        if len(node.args) == 1:
            return Domain(Value(Constant(0), Kind.INTEGER, None, True), self.integer(node.args[0], node))
        return Domain(self.integer(node.args[0], node), self.integer(node.args[1], node), step)

    def quantifier(self, node: ast.Call, kind: str) -> Value:
        argument = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if not isinstance(argument, ast.GeneratorExp):
            raise self.refusal(
                node, "quantifier", f"{kind} takes one generator", f"write {kind}(… for page in indices(array))"
            )
        expression = self.comprehension(argument, argument.generators, kind)
        if kind == "sum":
            return Value(expression, Kind.INTEGER)
        return Value(expression, Kind.BOOLEAN)

    def comprehension(self, node: ast.GeneratorExp, generators: list[ast.comprehension], kind: str) -> Expression:
        if not generators:
            if kind != "sum":
                return self.boolean(node.elt)
            value = self.value(node.elt)
            return value.expression if value.kind is Kind.BOOLEAN else self.as_integer(value, node.elt).expression
        first, rest = generators[0], generators[1:]
        if not isinstance(first.target, ast.Name):
            raise self.refusal(first.target, "unpack", "a quantifier has one variable", "use a plain name")
        name = first.target.id
        domain = self.domain(first.iter)
        if any(name == inner.id for later in rest for inner in ast.walk(later.target) if isinstance(inner, ast.Name)):
            raise self.refusal(
                first.target, "same-variable", f"{name} is bound twice in one generator", "use two names"
            )
        local = self.new_local(name, domain.type)
        shadowed = self.slots.get(name), self.places.get(name), name in self.assigned
        self.places.pop(name, None)
        self.slots[name] = Slot(local, Kind.INTEGER, domain.type, domain.start.non_negative)
        self.assigned.add(name)
        tests: list[Expression] = []
        known = set(self.assigned)
        for test in first.ifs:
            tests.append(self.boolean(test))
            self.assigned |= facts(test, True)
        condition = balanced(tests, BooleanAnd) if tests else None
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.too_deep(node)
        body = self.comprehension(node, rest, kind)
        self.depth -= 1
        self.assigned = known
        self.restore(name, *shadowed)
        return Quantifier(kind, local, domain.start.expression, domain.stop.expression, condition, body)

    def restore(self, name: str, slot: Slot | None, place: Place | None, assigned: bool) -> None:
        """Give a name back what it meant before a quantifier used it."""
        del self.slots[name]
        if slot is not None:
            self.slots[name] = slot
        if place is not None:
            self.places[name] = place
        if not assigned:
            self.assigned.discard(name)


def balanced(items: Sequence[Item], combine: Callable[[Item, Item], Item]) -> Item:
    """Combine the items in order by a tree of little depth."""
    if len(items) == 1:
        return items[0]
    middle = len(items) // 2
    return combine(balanced(items[:middle], combine), balanced(items[middle:], combine))


def _present(name: str) -> str:
    return f"{name}!"


def facts(test: ast.expr, truth: bool) -> set[str]:
    """The variables that are not None when a condition has this truth value (`x!` for x)."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return facts(test.operand, not truth)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) is truth:
        return set[str]().union(*(facts(operand, truth) for operand in test.values))
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.left, ast.Name):
        right = test.comparators[0]
        wanted = ast.IsNot if truth else ast.Is
        if isinstance(test.ops[0], wanted) and isinstance(right, ast.Constant) and right.value is None:
            return {_present(test.left.id)}
    return set()


def facts_about(names: Iterable[str]) -> set[str]:
    """What may be known of these variables, to be forgotten where they are assigned."""
    return {_present(name) for name in names}


def can_fail(expression: Expression) -> bool:
    """Whether evaluating the expression may fail, as far as one can tell without looking inside."""
    return not isinstance(expression, (Constant, SizeOf, Local))


__all__ = ["Callee", "Domain", "ExpressionLowering", "Instances", "Slot", "can_fail", "facts", "facts_about"]
