"""Front end, first half: expressions of the restricted language to IR expressions.

Every syntax that is not handled is refused by name, with what to write instead (`REFUSED`).
"""

from __future__ import annotations

import ast
import builtins
import enum
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

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
from .records import FieldType, indices
from .values import Kind, Place, Signature, Value, is_non_negative, kind_of

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
    ast.Await: ("await", "await is not in the language", "write an atomic action"),
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

    def leaf_type(self, root: int, leaf: int) -> LeafType: ...

    def dimensions(self, root: int, path: str) -> tuple[Size, ...]: ...

    def is_ghost(self, root: int, leaf: int) -> bool: ...

    def where(self, filename: str, node: ast.AST) -> int: ...

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
        self.assigned: set[str] = set()
        self.known: set[str] = set()
        self.locals: list[tuple[str, LeafType | None]] = []
        self.reads_ghost: tuple[str, ast.AST] | None = None

    # --- errors and small tools

    def refuse(self, node: ast.AST, code: str, message: str, remedy: str) -> NoReturn:
        raise source.refusal(self.filename, node, code, message, remedy)

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
            self.refuse(node, "record-value", f"{result.describe()} is not a value", "name one of its fields or elements")
        return result

    def boolean(self, node: ast.expr) -> Expression:
        """A condition. Integers and references have no truth value: 0 is a page like any other."""
        value = self.value(node)
        if value.kind is Kind.BOOLEAN:
            return value.expression
        remedy = "compare it: `is not None`" if value.kind in (Kind.OPTIONAL, Kind.NONE) else "compare it: `!= 0`"
        self.refuse(node, "truth", f"{value.kind.value} is used as a condition", remedy)

    def integer(self, node: ast.expr) -> Value:
        """A number; an optional reference is checked not to be None."""
        return self.as_integer(self.value(node), node)

    def as_integer(self, value: Value, node: ast.AST) -> Value:
        if value.kind is Kind.INTEGER:
            return value
        if value.kind is Kind.OPTIONAL:
            type_ = value.type
            if isinstance(type_, IntegerType):
                type_ = IntegerType(type_.low, type_.high, False, type_.sort, type_.labels)
            return Value(Present(value.expression, self.where(node)), Kind.INTEGER, type_, True)
        if value.kind is Kind.NONE:
            self.refuse(node, "none-number", "None is used as a number", "test it first: `is not None`")
        self.refuse(node, "boolean-number", "a boolean is used as a number", "write `1 if … else 0`")

    def coerce(self, value: Value, kind: Kind, node: ast.AST) -> Expression:
        """The value as a variable, field or parameter of this kind takes it."""
        if kind is Kind.BOOLEAN:
            if value.kind is not Kind.BOOLEAN:
                self.refuse(node, "not-boolean", f"{value.kind.value} is given where a boolean is needed", "compare it")
            return value.expression
        if value.kind is Kind.BOOLEAN:
            self.refuse(
                node, "boolean-integer", "a boolean is given where an integer is needed", "write `1 if … else 0`"
            )
        if kind is Kind.INTEGER:
            return self.as_integer(value, node).expression
        if value.kind is Kind.INTEGER and not value.non_negative:
            self.refuse(
                node,
                "maybe-negative",
                "an integer that may be negative is given where an optional reference is needed",
                "give it a type first: store it in a field, or use an expression without subtraction",
            )
        return value.expression

    # --- expressions

    def expression(self, node: ast.expr) -> Value | Place:
        """Lower one expression."""
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
        self.refuse(node, code, message, remedy)

    def constant(self, node: ast.Constant) -> Value:
        if node.value is None:
            return Value(Constant(-1), Kind.NONE, None, True)
        if isinstance(node.value, bool):
            return Value(Constant(int(node.value)), Kind.BOOLEAN, None, True)
        if isinstance(node.value, int):
            return self.number(node.value, node)
        if isinstance(node.value, float):
            self.refuse(node, "float", "a floating-point number is not in the language", "use integers, scaled if needed")
        if isinstance(node.value, str):
            self.refuse(node, "string", "a string is not a value of the language", "use an enum.IntEnum")
        self.refuse(node, "constant", f"the constant {node.value!r} is not in the language", "use integers and booleans")

    def number(self, value: int, node: ast.AST) -> Value:
        if not -(1 << 63) <= value < 1 << 63:
            self.refuse(node, "big-constant", f"{value} does not fit in 64 bits", "use a smaller constant")
        return Value(Constant(value), Kind.INTEGER, None, value >= 0)

    def name(self, node: ast.Name) -> Value | Place:
        if node.id in self.slots or node.id in self.places or node.id in self.known:
            if node.id not in self.assigned:
                self.refuse(
                    node, "unassigned", f"{node.id} may have no value here", "assign it on every path before this line"
                )
            if node.id in self.places:
                return self.places[node.id]
            slot = self.slots[node.id]
            return Value(Local(slot.index), slot.kind, slot.type, slot.non_negative)
        return self.global_value(self.lookup(node.id, node), node)

    def lookup(self, name: str, node: ast.AST) -> Any:
        """A name of the module or of Python."""
        if name in self.namespace:
            return self.namespace[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        self.refuse(node, "unknown-name", f"{name} is not defined", "define it, or pass it as a parameter")

    def global_value(self, thing: Any, node: ast.expr) -> Value:
        text = ast.unparse(node)
        if isinstance(thing, enum.IntEnum):
            return Value(Constant(int(thing)), Kind.INTEGER, enum_type(type(thing)), True)
        if isinstance(thing, bool):
            return Value(Constant(int(thing)), Kind.BOOLEAN, None, True)
        if isinstance(thing, int):
            return self.number(thing, node)
        if callable(thing):
            self.refuse(node, "function-value", f"{text} is a function, not a value", "call it")
        self.refuse(
            node, "global-state", f"{text} is module-level state", "keep state in the machine's records; constants are ints"
        )

    def attribute(self, node: ast.Attribute) -> Value | Place:
        owner = self.static(node.value)
        if owner is not None:
            return self.global_value(self.member(owner, node), node)
        base = self.expression(node.value)
        if not isinstance(base, Place) or base.type.record is None:
            what = base.describe() if isinstance(base, Place) else base.kind.value
            self.refuse(node, "no-fields", f"{what} has no field {node.attr}", "take the field of a record")
        fields = base.type.record.field_types()
        if node.attr not in fields:
            known = ", ".join(fields)
            self.refuse(
                node, "no-field", f"{base.type.record.__name__} has no field {node.attr}", f"its fields are: {known}"
            )
        path = f"{base.path}.{node.attr}" if base.path else node.attr
        return self.at(Place(base.root, path, base.indices, fields[node.attr]), node)

    def static(self, node: ast.expr) -> Any:
        """The enum or module that a name stands for, or None."""
        if isinstance(node, ast.Name) and node.id not in self.slots and node.id not in self.places:
            thing = self.namespace.get(node.id)
            if isinstance(thing, types.ModuleType) or (isinstance(thing, type) and issubclass(thing, enum.Enum)):
                return thing
        return None

    def member(self, owner: Any, node: ast.Attribute) -> Any:
        if not hasattr(owner, node.attr):
            self.refuse(node, "no-member", f"{ast.unparse(node.value)} has no {node.attr}", "check the spelling")
        return getattr(owner, node.attr)

    def at(self, place: Place, node: ast.AST) -> Value | Place:
        """A place itself if it is a record or an array, else the value there."""
        type_ = place.type
        if type_.constant is not None:
            return Value(SizeOf(type_.constant), Kind.INTEGER, None, type_.constant.offset >= 0)
        if type_.scalar is None:
            return place
        leaf = self.program.leaf(place.root, place.path)
        if self.program.is_ghost(place.root, leaf) and self.reads_ghost is None:
            self.reads_ghost = (self.filename, node)
        load = Load(place.root, leaf, place.indices, self.where(node))
        return Value(load, kind_of(type_.scalar), type_.scalar, is_non_negative(type_.scalar))

    def subscript(self, node: ast.Subscript) -> Value | Place:
        return self.at(self.element(node), node)

    def element(self, node: ast.Subscript) -> Place:
        """The place that `array[index]` names."""
        base = self.expression(node.value)
        if not isinstance(base, Place) or base.type.element is None:
            what = base.describe() if isinstance(base, Place) else base.kind.value
            self.refuse(node, "not-array", f"{what} cannot be indexed", "index an Array")
        index = self.integer(node.slice)
        return Place(base.root, base.path + "[]", (*base.indices, index.expression), base.type.element)

    def binary(self, node: ast.BinOp) -> Value:
        operator = OPERATORS.get(type(node.op))
        if operator is None:
            name = {ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}.get(type(node.op), "this operator")
            remedy = {"/": "use // for whole numbers", "**": "use << for powers of two"}.get(name, "use arithmetic")
            self.refuse(node, "operator", f"{name} is not in the language", remedy)
        left, right = self.integer(node.left), self.integer(node.right)
        both = left.non_negative and right.non_negative
        non_negative = (left.non_negative or right.non_negative) if operator == "&" else both and operator != "-"
        return Value(
            Binary(operator, left.expression, right.expression, self.where(node)), Kind.INTEGER, None, non_negative
        )

    def unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(Unary("not", self.boolean(node.operand)), Kind.BOOLEAN)
        operand = self.integer(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(operand.expression, Constant) and isinstance(node.op, ast.USub):
            return self.number(-operand.expression.value, node)
        return Value(Unary(OPERATORS[type(node.op)], operand.expression), Kind.INTEGER)

    def boolean_operation(self, node: ast.BoolOp) -> Value:
        make = BooleanAnd if isinstance(node.op, ast.And) else BooleanOr
        operands = [self.boolean(operand) for operand in node.values]
        result = operands[-1]
        for operand in reversed(operands[:-1]):
            result = make(operand, result)
        return Value(result, Kind.BOOLEAN)

    def comparison(self, node: ast.Compare) -> Value:
        parts: list[Expression] = []
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            parts.append(self.compare(left, operator, right, node))
            left = right
        result = parts[-1]
        for part in reversed(parts[:-1]):
            result = BooleanAnd(part, result)
        return Value(result, Kind.BOOLEAN)

    def compare(self, left_node: ast.expr, operator: ast.cmpop, right_node: ast.expr, node: ast.Compare) -> Expression:
        if isinstance(operator, (ast.In, ast.NotIn)):
            self.refuse(node, "in", "`in` is not in the language", "compare with bounds, or use any(… for …)")
        left, right = self.value(left_node), self.value(right_node)
        if isinstance(operator, (ast.Is, ast.IsNot)):
            if Kind.NONE not in (left.kind, right.kind) and not _same_enum(left, right):
                self.refuse(node, "is", "`is` compares only with None or enum members", "use ==")
            symbol = "==" if isinstance(operator, ast.Is) else "!="
            return Compare(symbol, left.expression, right.expression)
        symbol = OPERATORS[type(operator)]
        if symbol not in ("==", "!="):
            return Compare(symbol, self.as_integer(left, left_node).expression, self.as_integer(right, right_node).expression)
        if Kind.NONE in (left.kind, right.kind):
            self.refuse(node, "equals-none", "None is compared with ==", "use `is None` or `is not None`")
        if (left.kind is Kind.BOOLEAN) != (right.kind is Kind.BOOLEAN):
            self.refuse(node, "compare-kinds", f"{left.kind.value} is compared with {right.kind.value}", "compare like with like")
        return self.equality(symbol, left, right)

    def equality(self, symbol: str, left: Value, right: Value) -> Expression:
        """== and !=; an integer that may be -1 must not pass for None."""
        equal = Compare(symbol, left.expression, right.expression)
        for optional, other in ((left, right), (right, left)):
            if optional.kind is Kind.OPTIONAL and other.kind is Kind.INTEGER and not other.non_negative:
                missing = Compare("==" if symbol == "!=" else "!=", optional.expression, Constant(-1))
                return BooleanOr(missing, equal) if symbol == "!=" else BooleanAnd(missing, equal)
        return equal

    def conditional(self, node: ast.IfExp) -> Value:
        condition = self.boolean(node.test)
        then, otherwise = self.value(node.body), self.value(node.orelse)
        kinds = {then.kind, otherwise.kind}
        if kinds == {Kind.BOOLEAN}:
            kind = Kind.BOOLEAN
        elif Kind.BOOLEAN in kinds:
            self.refuse(node, "mixed-conditional", "the branches have different kinds", "give both the same kind")
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
            if function.id in self.slots or function.id in self.places:
                self.refuse(node, "call-value", f"{function.id} is a variable, not a function", "call a function")
            return self.lookup(function.id, function)
        if isinstance(function, ast.Attribute):
            owner = self.static(function.value)
            if isinstance(owner, types.ModuleType):
                return self.member(owner, function)
            self.refuse(node, "method", "records have no methods", "write a function that takes the record")
        self.refuse(node, "call", "only named functions can be called", "define the function with def")

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
            self.refuse(node, "range-value", "a range stands only in for, in quantifiers and in choose", "move it there")
        if function is actions.choose:
            self.refuse(node, "choose-inside", "choose stands alone", "write `x = choose(…)` on its own line")
        if function is actions.require:
            self.refuse(node, "require-inside", "require stands alone", "write require(…) on its own line")
        if function is actions.clause:
            self.refuse(node, "clause-inside", "a clause must be yielded", "write `yield clause(…)`")
        callee, arguments = self.arguments(node, function)
        if not callee.pure:
            self.refuse(
                node,
                "impure-inside",
                f"{ast.unparse(node.func)} changes state or chooses, inside an expression",
                "assign its result to a variable on a line of its own",
            )
        kind = callee.returns.kind
        if kind is None:
            self.refuse(node, "no-result", f"{ast.unparse(node.func)} returns nothing", "call it on a line of its own")
        type_ = callee.returns.type
        non_negative = is_non_negative(type_) or kind is Kind.OPTIONAL
        return Value(Apply(callee.name, arguments, self.where(node)), kind, type_, non_negative)

    def arguments(self, node: ast.Call, function: Any) -> tuple[Callee, tuple[Expression, ...]]:
        """Lower the arguments of a call to a specification function, and the function for these records."""
        if not isinstance(function, types.FunctionType):
            self.refuse(
                node,
                "foreign-call",
                f"{ast.unparse(node.func)} is not a function of a specification",
                "use len, min, max, all, any, sum, or a plain function defined with def",
            )
        definition = source.definition(function)
        names = [argument.arg for argument in definition.args.args]
        given: dict[str, ast.expr] = {}
        for name, argument in zip(names, node.args, strict=False):
            if isinstance(argument, ast.Starred):
                self.refuse(argument, "star", "a starred argument is not in the language", "write the arguments out")
            given[name] = argument
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in names or keyword.arg in given:
                self.refuse(node, "keyword", f"argument {keyword.arg} does not fit {function.__name__}", f"it takes: {', '.join(names)}")
            given[keyword.arg] = keyword.value
        if len(node.args) > len(names) or set(given) != set(names):
            self.refuse(
                node, "argument-count", f"{function.__name__} takes {len(names)} arguments", f"give: {', '.join(names)}"
            )
        lowered = {name: self.expression(given[name]) for name in names}
        places = tuple(value for value in lowered.values() if isinstance(value, Place))
        callee = self.program.call(function, places)
        if callee.reads_ghost is not None and self.reads_ghost is None:
            self.reads_ghost = callee.reads_ghost
        expressions: list[Expression] = []
        for name, signature in callee.parameters:
            value = lowered[name]
            if isinstance(value, Place):
                expressions.extend(value.indices)
            elif signature.kind is None:
                self.refuse(given[name], "record-expected", f"{name} is a record, a value is given", "pass the record")
            else:
                expressions.append(self.coerce(value, signature.kind, given[name]))
        return callee, tuple(expressions)

    def length(self, node: ast.Call) -> Value:
        array = self.expression(node.args[0]) if len(node.args) == 1 else None
        if not isinstance(array, Place) or array.type.length is None:
            self.refuse(node, "len", "len takes an array of the state", "write len(machine.field)")
        return Value(SizeOf(array.type.length), Kind.INTEGER, None, True)

    def extremum(self, node: ast.Call, name: str) -> Value:
        if len(node.args) < 2 or node.keywords:
            self.refuse(node, "extremum", f"{name} takes two or more numbers", f"write {name}(a, b)")
        values = [self.integer(argument) for argument in node.args]
        result = values[0]
        for value in values[1:]:
            result = Value(
                Binary(name, result.expression, value.expression, self.where(node)),
                Kind.INTEGER,
                None,
                result.non_negative and value.non_negative,
            )
        return result

    def machine_cast(self, node: ast.Call, is_signed: bool) -> Value:
        if len(node.args) != 2 or not isinstance(node.args[1], ast.Constant) or not isinstance(node.args[1].value, int):
            self.refuse(node, "cast-width", "the width must be a constant number of bits", "write unsigned(value, 32)")
        bits = node.args[1].value
        if not 1 <= bits <= 63:
            self.refuse(node, "cast-width", f"a width of {bits} bits is not possible", "use 1 to 63 bits")
        type_ = MachineType(Size(None, bits), is_signed)
        return Value(Wrap(type_, self.integer(node.args[0]).expression), Kind.INTEGER, type_, not is_signed)

    # --- quantifiers

    def domain(self, node: ast.expr, *, steps: bool = False) -> Domain:
        """`range(…)` or `indices(array)`."""
        if isinstance(node, ast.Call) and not node.keywords:
            function = self.callee(node)
            if function is indices and len(node.args) == 1:
                array = self.expression(node.args[0])
                if isinstance(array, Place) and array.type.length is not None:
                    return _domain_of(array.type)
                self.refuse(node, "indices", "indices takes an array of the state", "write indices(machine.pages)")
            if function is range and 1 <= len(node.args) <= 3:
                return self.range_domain(node, steps)
        self.refuse(node, "iterate", "only range(…) and indices(array) can be iterated over", "loop over indices(array)")

    def range_domain(self, node: ast.Call, steps: bool) -> Domain:
        step = 1
        if len(node.args) == 3:
            constant = node.args[2]
            negative = isinstance(constant, ast.UnaryOp) and isinstance(constant.op, ast.USub)
            inner = constant.operand if isinstance(constant, ast.UnaryOp) and negative else constant
            if not steps or not isinstance(inner, ast.Constant) or not isinstance(inner.value, int) or inner.value == 0:
                self.refuse(node, "range-step", "the step of a range must be a constant, and only in a for", "use step 1")
            step = -inner.value if negative else inner.value
        if len(node.args) == 1:
            return Domain(Value(Constant(0), Kind.INTEGER, None, True), self.integer(node.args[0]))
        return Domain(self.integer(node.args[0]), self.integer(node.args[1]), step)

    def quantifier(self, node: ast.Call, kind: str) -> Value:
        argument = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if not isinstance(argument, ast.GeneratorExp):
            self.refuse(node, "quantifier", f"{kind} takes one generator", f"write {kind}(… for page in indices(array))")
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
            self.refuse(first.target, "unpack", "a quantifier has one variable", "use a plain name")
        name = first.target.id
        domain = self.domain(first.iter)
        local = self.new_local(name, domain.type)
        shadowed = self.slots.get(name), self.places.get(name), name in self.assigned
        self.places.pop(name, None)
        self.slots[name] = Slot(local, Kind.INTEGER, domain.type, domain.start.non_negative)
        self.assigned.add(name)
        condition: Expression | None = None
        for test in reversed(first.ifs):
            lowered = self.boolean(test)
            condition = lowered if condition is None else BooleanAnd(lowered, condition)
        body = self.comprehension(node, rest, kind)
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


def _domain_of(type_: FieldType) -> Domain:
    assert type_.length is not None
    stop = Value(SizeOf(type_.length), Kind.INTEGER, None, True)
    high = Size(type_.length.parameter, type_.length.offset - 1)
    sort = IntegerType(Size(None, 0), high, False, type_.index_sort or None)
    return Domain(Value(Constant(0), Kind.INTEGER, None, True), stop, 1, sort)


def enum_type(enumeration: type[enum.IntEnum]) -> IntegerType:
    """The type of an enum's members."""
    labels = tuple(member.name for member in enumeration)
    return IntegerType(Size(None, 0), Size(None, len(labels) - 1), False, enumeration.__name__, labels)


def _same_enum(left: Value, right: Value) -> bool:
    return (
        isinstance(left.type, IntegerType)
        and isinstance(right.type, IntegerType)
        and bool(left.type.labels)
        and left.type.labels == right.type.labels
    )


__all__ = ["Callee", "Domain", "ExpressionLowering", "Instances", "Slot", "SpecError"]
