"""Values of the symbolic engine: a Python int or bool when concrete, else a shared term with an interval.

The one idea: terms are *mathematical* integers and booleans, each integer with the interval its value lies in. So
nothing overflows here, whatever the intervals decide folds to a constant at once, and bit widths appear only in
`lowering`, which reads them off the intervals. Terms are shared (equal terms are one object), so that a clause an
action does not touch is *the same term* before and after, and needs no solver.

A term may assume what its path assumes: under a path whose facts rule a value out, the term need not respect it.
`narrow` is that assumption written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

SIGNED_64 = (-(1 << 63), (1 << 63) - 1)
"""The integers a machine word holds; an intermediate value outside is an arithmetic failure."""

_SMALL_TREE = 8
"""An if-then-else tree with at most this many constant leaves is computed with leaf by leaf."""


class Integer:
    """A symbolic integer between `low` and `high`. `leaves` counts the leaves of a tree of constants, else 0."""

    __slots__ = ("arguments", "high", "leaves", "low", "number", "operator")

    def __init__(
        self, number: int, operator: str, arguments: tuple[Argument, ...], low: int, high: int, leaves: int
    ) -> None:
        self.number = number
        self.operator = operator
        self.arguments = arguments
        self.low = low
        self.high = high
        self.leaves = leaves

    def __repr__(self) -> str:
        return f"{self.operator}#{self.number}[{self.low}..{self.high}]"


class Boolean:
    """A symbolic truth value."""

    __slots__ = ("arguments", "number", "operator")

    def __init__(self, number: int, operator: str, arguments: tuple[Argument, ...]) -> None:
        self.number = number
        self.operator = operator
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{self.operator}#{self.number}"


Term = Integer | Boolean
Number = int | Integer
Truth = bool | Boolean
Value = int | bool | Integer | Boolean
Argument = int | str | Integer | Boolean


def low_of(value: Number) -> int:
    """Smallest possible value."""
    return value.low if isinstance(value, Integer) else value


def high_of(value: Number) -> int:
    """Largest possible value."""
    return value.high if isinstance(value, Integer) else value


def strip(value: Number) -> Number:
    """The value without the assumptions its path made about it."""
    while isinstance(value, Integer) and value.operator == "narrow":
        value = value.arguments[0]  # type: ignore[assignment]
    return value


class Terms:
    """The table of all terms: makes them, folds what intervals decide, and shares equal ones.

    `nodes[i].number == i`, and the arguments of a term come before it."""

    def __init__(self) -> None:
        self.nodes: list[Term] = []
        self._integers: dict[tuple[object, ...], Integer] = {}
        self._booleans: dict[tuple[object, ...], Boolean] = {}

    # --- making shared terms -----------------------------------------------------------------------------------

    def _integer(self, operator: str, arguments: tuple[Argument, ...], low: int, high: int, leaves: int = 0) -> Number:
        if low == high and operator != "variable":
            return low
        key = (operator, low, high, *[a.number + 0.5 if isinstance(a, Integer | Boolean) else a for a in arguments])
        found = self._integers.get(key)
        if found is None:
            found = self._integers[key] = Integer(len(self.nodes), operator, arguments, low, high, leaves)
            self.nodes.append(found)
        return found

    def _boolean(self, operator: str, arguments: tuple[Argument, ...]) -> Boolean:
        key = (operator, *[a.number + 0.5 if isinstance(a, Integer | Boolean) else a for a in arguments])
        found = self._booleans.get(key)
        if found is None:
            found = self._booleans[key] = Boolean(len(self.nodes), operator, arguments)
            self.nodes.append(found)
        return found

    def integer_variable(self, name: str, low: int, high: int) -> Number:
        """The variable `name` in low..high; the interval is part of what every query assumes."""
        return self._integer("variable", (name,), low, high) if low < high else low

    def boolean_variable(self, name: str) -> Boolean:
        """The truth variable `name`."""
        return self._boolean("variable", (name,))

    # --- between numbers and truth values ----------------------------------------------------------------------

    def truth(self, value: Value) -> Truth:
        """A number as a truth value: is it not 0?"""
        if isinstance(value, bool | Boolean):
            return value
        return self.negation(self.equal(value, 0))

    def number(self, value: Value) -> Number:
        """A truth value as 0 or 1."""
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, Boolean):
            return self.choose_number(value, 1, 0)
        return value

    # --- truth values ------------------------------------------------------------------------------------------

    def negation(self, value: Truth) -> Truth:
        if isinstance(value, bool):
            return not value
        if value.operator == "not":
            return value.arguments[0]  # type: ignore[return-value]
        return self._boolean("not", (value,))

    def conjunction(self, values: Iterable[Truth], flat: bool = True) -> Truth:
        """All of them; nested conjunctions are flattened unless `flat` is off."""
        return self._junction("and", values, flat)

    def disjunction(self, values: Iterable[Truth], flat: bool = True) -> Truth:
        """Any of them."""
        return self._junction("or", values, flat)

    def _junction(self, operator: str, values: Iterable[Truth], flat: bool) -> Truth:
        neutral = operator == "and"
        members: dict[int, Boolean] = {}
        pending = list(values)
        pending.reverse()
        while pending:
            value = pending.pop()
            if isinstance(value, bool):
                if value is not neutral:
                    return not neutral
            elif flat and value.operator == operator:
                pending.extend(reversed(value.arguments))  # type: ignore[arg-type]
            else:
                members[value.number] = value
        for value in members.values():
            if value.operator == "not" and value.arguments[0].number in members:  # type: ignore[union-attr]
                return not neutral
        if not members:
            return neutral
        if len(members) == 1:
            return next(iter(members.values()))
        return self._boolean(operator, tuple(members[number] for number in sorted(members)))

    def implies(self, left: Truth, right: Truth) -> Truth:
        if left is True:
            return right
        return self.disjunction([self.negation(left), right])

    def choose_truth(self, condition: Truth, then: Truth, otherwise: Truth) -> Truth:
        """`then if condition else otherwise`."""
        if isinstance(condition, bool):
            return then if condition else otherwise
        if then is otherwise:
            return then
        if condition.operator == "not":
            condition, then, otherwise = condition.arguments[0], otherwise, then  # type: ignore[assignment]
        if isinstance(then, bool) or then is condition:
            return self._half_chosen(condition, then is not False, otherwise)
        if isinstance(otherwise, bool) or otherwise is condition:
            negated = self.negation(condition)
            return self._half_chosen(negated, otherwise is True, then)
        return self._boolean("choose", (condition, then, otherwise))

    def _half_chosen(self, condition: Truth, then: bool, otherwise: Truth) -> Truth:
        if then:
            return self.disjunction([condition, otherwise], flat=False)
        return self.conjunction([self.negation(condition), otherwise], flat=False)

    def equivalent(self, left: Truth, right: Truth) -> Truth:
        if isinstance(left, bool):
            return right if left else self.negation(right)
        if isinstance(right, bool):
            return left if right else self.negation(left)
        return self.choose_truth(left, right, self.negation(right))

    # --- comparisons -------------------------------------------------------------------------------------------

    def equal(self, left: Number, right: Number) -> Truth:
        if isinstance(left, int) and isinstance(right, int):
            return left == right
        if low_of(left) > high_of(right) or high_of(left) < low_of(right):
            return False
        left, right = strip(left), strip(right)
        if left is right:
            return True
        if isinstance(left, int):
            left, right = right, left
        assert isinstance(left, Integer)
        if isinstance(right, int):
            return self._equals_constant(left, right)
        if left.leaves:
            return self._spread(left, lambda leaf: self.equal(right, leaf))
        if right.leaves:
            return self._spread(right, lambda leaf: self.equal(left, leaf))
        if left.number > right.number:
            left, right = right, left
        return self._boolean("equal", (left, right))

    def _equals_constant(self, left: Integer, right: int) -> Truth:
        if not left.low <= right <= left.high:
            return False
        if left.operator == "choose":
            condition, then, otherwise = left.arguments
            if isinstance(then, int) or isinstance(otherwise, int):
                return self.choose_truth(
                    condition, self.equal(then, right), self.equal(otherwise, right)  # type: ignore[arg-type]
                )
        elif left.operator == "+" and isinstance(left.arguments[1], int):
            return self.equal(left.arguments[0], right - left.arguments[1])  # type: ignore[arg-type]
        return self._boolean("equal", (left, right))

    def less(self, left: Number, right: Number) -> Truth:
        """left < right."""
        if high_of(left) < low_of(right):
            return True
        if low_of(left) >= high_of(right):
            return False
        left, right = strip(left), strip(right)
        if left is right:
            return False
        if isinstance(left, Integer) and isinstance(right, int):
            if left.leaves:
                return self._spread(left, lambda leaf: leaf < right)
            if right == left.low + 1:
                return self.equal(left, left.low)
            if right == left.high:
                return self.negation(self.equal(left, left.high))
        elif isinstance(left, int) and isinstance(right, Integer):
            if right.leaves:
                return self._spread(right, lambda leaf: left < leaf)
            if left == right.high - 1:
                return self.equal(right, right.high)
            if left == right.low:
                return self.negation(self.equal(right, right.low))
        elif isinstance(left, Integer) and left.leaves:
            return self._spread(left, lambda leaf: self.less(leaf, right))
        elif isinstance(right, Integer) and right.leaves:
            return self._spread(right, lambda leaf: self.less(left, leaf))
        return self._boolean("less", (left, right))

    def at_most(self, left: Number, right: Number) -> Truth:
        """left <= right."""
        return self.negation(self.less(right, left))

    def within(self, value: Number, low: int, high: int) -> Truth:
        """low <= value <= high."""
        return self.conjunction([self.at_most(low, value), self.at_most(value, high)])

    def _spread(self, tree: Integer, test: Callable[[int], Truth]) -> Truth:
        condition, then, otherwise = tree.arguments
        return self.choose_truth(
            condition,  # type: ignore[arg-type]
            self._spread(then, test) if isinstance(then, Integer) else test(then),  # type: ignore[arg-type]
            self._spread(otherwise, test) if isinstance(otherwise, Integer) else test(otherwise),  # type: ignore[arg-type]
        )

    # --- choices -----------------------------------------------------------------------------------------------

    def choose(self, condition: Truth, then: Value, otherwise: Value) -> Value:
        """`then if condition else otherwise`, of either kind."""
        if then is otherwise:
            return then
        then_truth, otherwise_truth = isinstance(then, bool | Boolean), isinstance(otherwise, bool | Boolean)
        if then_truth or otherwise_truth:
            if not then_truth and then in (0, 1):
                then, then_truth = bool(then), True
            if not otherwise_truth and otherwise in (0, 1):
                otherwise, otherwise_truth = bool(otherwise), True
            if then_truth and otherwise_truth:
                return self.choose_truth(condition, then, otherwise)  # type: ignore[arg-type]
        return self.choose_number(condition, self.number(then), self.number(otherwise))

    def choose_number(self, condition: Truth, then: Number, otherwise: Number) -> Number:
        if isinstance(condition, bool):
            return then if condition else otherwise
        if then is otherwise or (isinstance(then, int) and isinstance(otherwise, int) and then == otherwise):
            return then
        bare_then, bare_otherwise = strip(then), strip(otherwise)
        if bare_then is bare_otherwise and isinstance(bare_then, Integer):
            return bare_then
        if condition.operator == "not":
            condition, then, otherwise = condition.arguments[0], otherwise, then  # type: ignore[assignment]
        if isinstance(then, Integer) and then.operator == "choose" and then.arguments[0] is condition:
            return self.choose_number(condition, then.arguments[1], otherwise)  # type: ignore[arg-type]
        if isinstance(otherwise, Integer) and otherwise.operator == "choose":
            inner, second, third = otherwise.arguments
            if inner is condition:
                return self.choose_number(condition, then, third)  # type: ignore[arg-type]
            if second is then or (isinstance(then, int) and isinstance(second, int) and second == then):
                either = self.disjunction([condition, inner], flat=False)  # type: ignore[list-item]
                return self.choose_number(either, then, third)  # type: ignore[arg-type]
        low, high = min(low_of(then), low_of(otherwise)), max(high_of(then), high_of(otherwise))
        leaves = _leaves(then) + _leaves(otherwise) if _leaves(then) and _leaves(otherwise) else 0
        return self._integer(
            "choose", (condition, then, otherwise), low, high, leaves if leaves <= _SMALL_TREE else 0
        )

    def select(self, elements: Sequence[Value], index: Number, first: int = 0) -> Value:
        """elements[index - first], for an index that is known to be in range."""
        index = self._out_of_trees(index)
        if isinstance(index, int):
            return elements[index - first]
        if index.operator == "choose" and (isinstance(index.arguments[1], int) or isinstance(index.arguments[2], int)):
            condition, then, otherwise = index.arguments
            last = first + len(elements) - 1
            return self.choose(
                condition,  # type: ignore[arg-type]
                self.select(elements, self.narrow(then, first, last), first),  # type: ignore[arg-type]
                self.select(elements, self.narrow(otherwise, first, last), first),  # type: ignore[arg-type]
            )
        result = elements[index.high - first]
        for position in range(index.high - 1, index.low - 1, -1):
            element = elements[position - first]
            if element is not result:
                result = self.choose(self.equal(index, position), element, result)
        return result

    def _out_of_trees(self, index: Number) -> Number:
        """An index whose narrowing can move into the branches of a choice."""
        if isinstance(index, Integer) and index.operator == "narrow":
            return self.narrow(index.arguments[0], index.low, index.high)  # type: ignore[arg-type]
        return index

    def narrow(self, value: Number, low: int, high: int) -> Number:
        """The value, which the path says lies in low..high."""
        own_low, own_high = low_of(value), high_of(value)
        if low <= own_low and own_high <= high:
            return value
        low, high = max(low, own_low), min(high, own_high)
        if low >= high:
            return max(min(low, own_high), own_low) if low == high else min(max(own_low, high), own_high)
        value = strip(value)
        assert isinstance(value, Integer)
        if low <= value.low and value.high <= high:
            return value
        if value.operator == "choose":
            _, then, otherwise = value.arguments
            for kept, dropped in ((then, otherwise), (otherwise, then)):
                if isinstance(dropped, int) and not low <= dropped <= high:
                    return self.narrow(kept, low, high)  # type: ignore[arg-type]
        return self._integer("narrow", (value,), low, high)

    # --- arithmetic --------------------------------------------------------------------------------------------

    def binary(self, operator: str, left: Number, right: Number) -> Number:
        """The operators of `ir.Binary`. The caller has checked divisors and shift amounts."""
        if isinstance(left, int) and isinstance(right, int):
            return concrete_binary(operator, left, right)
        if operator in ("min", "max"):
            smaller = self.less(left, right)
            pair = (left, right) if operator == "min" else (right, left)
            return self._clip(operator, self.choose_number(smaller, *pair), left, right)
        if isinstance(left, int):
            folded = self._with_left(operator, left, right)
        elif isinstance(right, int):
            folded = self._with_right(operator, left, right)
        else:
            folded = 0 if operator in ("-", "^") and strip(left) is strip(right) else None
        if folded is not None:
            return folded
        if isinstance(left, Integer) and left.leaves and isinstance(right, int):
            return self._map(left, lambda leaf: concrete_binary(operator, leaf, right))
        if isinstance(right, Integer) and right.leaves and isinstance(left, int):
            return self._map(right, lambda leaf: concrete_binary(operator, left, leaf))
        low, high = interval(operator, (low_of(left), high_of(left)), (low_of(right), high_of(right)))
        return self._integer(operator, (left, right), low, high)

    def _clip(self, operator: str, value: Number, left: Number, right: Number) -> Number:
        function = min if operator == "min" else max
        return self.narrow(value, function(low_of(left), low_of(right)), function(high_of(left), high_of(right)))

    def _with_left(self, operator: str, left: int, right: Number) -> Number | None:
        if operator in ("+", "*", "&", "|", "^"):
            return self.binary(operator, right, left)
        if operator in ("//", "%", "<<", ">>") and left == 0:
            return 0
        return None

    def _with_right(self, operator: str, left: Number, right: int) -> Number | None:
        if right == 0:
            if operator in ("+", "-", "<<", ">>", "|", "^"):
                return left
            return 0 if operator in ("*", "&") else None
        if right == 1 and operator in ("*", "//", "%"):
            return 0 if operator == "%" else left
        if operator == "-":
            return self.binary("+", left, -right)
        if operator == "+" and isinstance(left, Integer) and left.operator == "+":
            base, shift = left.arguments
            if isinstance(shift, int):
                return self.binary("+", base, shift + right)  # type: ignore[arg-type]
        if low_of(left) >= 0 and self._keeps(operator, high_of(left), right):
            return left
        return None

    def _keeps(self, operator: str, high: int, right: int) -> bool:
        """Does the operation change nothing in 0..high?"""
        if operator == "%":
            return high < right
        return operator == "&" and right > 0 and right & (right + 1) == 0 and high <= right

    def _map(self, tree: Integer, function: Callable[[int], int]) -> Number:
        condition, then, otherwise = tree.arguments
        return self.choose_number(
            condition,  # type: ignore[arg-type]
            self._map(then, function) if isinstance(then, Integer) else function(then),  # type: ignore[arg-type]
            self._map(otherwise, function) if isinstance(otherwise, Integer) else function(otherwise),  # type: ignore[arg-type]
        )

    def negative(self, value: Number) -> Number:
        return self.binary("-", 0, value)

    def inverted(self, value: Number) -> Number:
        """~value, which is -value - 1."""
        return self.binary("-", -1, value)

    def wrap(self, value: Number, low: int, high: int) -> Number:
        """The value modulo high - low + 1 (a power of two), in low..high."""
        if isinstance(value, int):
            return (value - low) % (high - low + 1) + low
        value = strip(value) if low > value.low or high < value.high else value
        assert isinstance(value, Integer)
        if low <= value.low and value.high <= high:
            return value
        if value.leaves:
            return self._map(value, lambda leaf: (leaf - low) % (high - low + 1) + low)
        return self._integer("wrap", (value,), low, high)

    def total(self, values: Sequence[Number]) -> Number:
        """Their sum, as a balanced tree so that every adder is as narrow as its operands allow."""
        constant = sum(value for value in values if isinstance(value, int))
        level: list[Number] = [value for value in values if isinstance(value, Integer)]
        while len(level) > 1:
            pairs = [self.binary("+", level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = pairs + level[len(level) - len(level) % 2 :]
        return self.binary("+", level[0], constant) if level else constant


def _leaves(value: Number) -> int:
    return 1 if isinstance(value, int) else value.leaves


def concrete_binary(operator: str, left: int, right: int) -> int:
    """Python's operator on two ints; 0 where Python has no value (the caller reported the failure)."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "//":
        return left // right if right else 0
    if operator == "%":
        return left % right if right else 0
    if operator == "<<":
        return left << right if 0 <= right < 128 else 0
    if operator == ">>":
        return left >> right if right >= 0 else 0
    if operator == "&":
        return left & right
    if operator == "|":
        return left | right
    if operator == "^":
        return left ^ right
    return min(left, right) if operator == "min" else max(left, right)


Interval = tuple[int, int]


def interval(operator: str, left: Interval, right: Interval) -> Interval:
    """An interval that holds every result."""
    if operator == "+":
        return left[0] + right[0], left[1] + right[1]
    if operator == "-":
        return left[0] - right[1], left[1] - right[0]
    if operator in ("*", "<<", ">>"):
        corners = [concrete_binary(operator, a, b) for a in left for b in right]
        return min(corners), max(corners)
    if operator == "//":
        return _divided(left, right)
    if operator == "%":
        return _remainder(left, right)
    return _bitwise(operator, left, right)


def _divided(left: Interval, right: Interval) -> Interval:
    divisors = {divisor for divisor in (*right, -1, 1) if divisor and right[0] <= divisor <= right[1]}
    corners = [a // b for a in left for b in divisors] or [0]
    return min(0, *corners), max(0, *corners)


def _remainder(left: Interval, right: Interval) -> Interval:
    low = 0 if right[0] >= 0 else right[0] + 1
    high = 0 if right[1] <= 0 else right[1] - 1
    if left[0] >= 0 and right[0] >= 0:
        high = min(high, left[1])
    return min(low, 0), max(high, 0)


def _bitwise(operator: str, left: Interval, right: Interval) -> Interval:
    if left[0] >= 0 and right[0] >= 0:
        if operator == "&":
            return 0, min(left[1], right[1])
        ones = (1 << max(left[1].bit_length(), right[1].bit_length())) - 1
        return (max(left[0], right[0]) if operator == "|" else 0), ones
    if operator == "&" and (left[0] >= 0 or right[0] >= 0):
        return 0, left[1] if left[0] >= 0 else right[1]
    bits = max((~v if v < 0 else v).bit_length() for v in (*left, *right))
    return -(1 << bits), (1 << bits) - 1
