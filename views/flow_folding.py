"""Which branches a scope has already decided: constant folding over the IR, for drawing alone.

The one idea: an expression over sizes and constants has a value, every other has none (None), and a branch whose
condition has a value has one successor. Nothing is guessed: without a scope only constants count.
"""

from __future__ import annotations

from collections.abc import Callable

from ..model.lang.ir import (
    Apply,
    Assign,
    Binary,
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
    Jump,
    Local,
    Program,
    Return,
    SizeOf,
    Sizes,
    Unary,
)

ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "min": min,
    "max": max,
    "&": lambda left, right: left & right,
    "|": lambda left, right: left | right,
    "^": lambda left, right: left ^ right,
}
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


class Folding:
    """The program as one scope sees it."""

    def __init__(self, program: Program, sizes: Sizes | None) -> None:
        self.program = program
        self.sizes = sizes
        self.results: dict[str, int | None] = {}
        self.locals: dict[str, dict[int, Expression | None]] = {}

    def successors(self, function: Function, number: int) -> tuple[int, ...]:
        """Where a block can go: then, otherwise; one of them if the scope has decided."""
        terminator = function.blocks[number].terminator
        if isinstance(terminator, Jump):
            return (terminator.target,)
        if isinstance(terminator, Return):
            return ()
        assert isinstance(terminator, Branch)
        value = self.value(terminator.condition, function)
        if value is None:
            return (terminator.then, terminator.otherwise)
        return (terminator.then if value else terminator.otherwise,)

    def reachable(self, function: Function) -> set[int]:
        """The blocks that some run of the function can reach, as far as the scope tells."""
        seen: set[int] = set()
        todo = [0]
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                todo.extend(self.successors(function, number))
        return seen

    def value(self, expression: Expression, function: Function) -> int | None:
        """The value of an expression if the scope alone decides it."""
        if isinstance(expression, Constant):
            return expression.value
        if isinstance(expression, SizeOf):
            parameter = expression.size.parameter
            if parameter is not None and (self.sizes is None or parameter not in self.sizes):
                return None
            return expression.size.value(self.sizes or {})
        if isinstance(expression, Local):
            known = self.definitions(function)
            given = known.get(expression.index)
            known[expression.index] = None  # a variable of a loop may be computed from itself
            value = None if given is None else self.value(given, function)
            known[expression.index] = given if value is None else Constant(value)
            return value
        if isinstance(expression, Unary):
            operand = self.value(expression.operand, function)
            if operand is None:
                return None
            return {"not": 1 - operand, "-": -operand, "~": ~operand}[expression.operator]
        if isinstance(expression, Apply):
            return self.result(expression.function)
        if isinstance(expression, Conditional):
            condition = self.value(expression.condition, function)
            if condition is None:
                return None
            return self.value(expression.then if condition else expression.otherwise, function)
        if isinstance(expression, (Binary, Compare, BooleanAnd, BooleanOr)):
            return self.combined(expression, function)
        return None

    def combined(self, expression: Binary | Compare | BooleanAnd | BooleanOr, function: Function) -> int | None:
        left, right = self.value(expression.left, function), self.value(expression.right, function)
        if isinstance(expression, BooleanAnd):
            return 0 if 0 in (left, right) else None if None in (left, right) else 1
        if isinstance(expression, BooleanOr):
            return 1 if 1 in (left, right) else None if None in (left, right) else 0
        if left is None or right is None:
            return None
        if isinstance(expression, Compare):
            return int(COMPARISONS[expression.operator](left, right))
        compute = ARITHMETIC.get(expression.operator)
        return None if compute is None else compute(left, right)

    def definitions(self, function: Function) -> dict[int, Expression | None]:
        """The locals that are assigned in one place only, and what (None: by something that has no value here)."""
        if function.name not in self.locals:
            found: dict[int, Expression | None] = dict.fromkeys(function.parameters)
            for block in function.blocks:
                for item in block.instructions:
                    target = item.local if isinstance(item, (Assign, Choice)) else None
                    value = item.value if isinstance(item, Assign) else None
                    if isinstance(item, Call):
                        target, value = item.target, Apply(item.function, item.arguments, item.where)
                    if target is not None:
                        found[target] = None if target in found else value
            self.locals[function.name] = found
        return self.locals[function.name]

    def result(self, name: str) -> int | None:
        """What a function returns if every run of it, as far as the scope tells, returns the same."""
        if name not in self.results:
            self.results[name] = None  # the language has no recursion
            function = self.program.functions[name]
            found = {
                None if terminator.value is None else self.value(terminator.value, function)
                for number in self.reachable(function)
                if isinstance(terminator := function.blocks[number].terminator, Return)
            }
            self.results[name] = found.pop() if len(found) == 1 else None
        return self.results[name]
