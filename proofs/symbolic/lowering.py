"""From terms to bit-vectors: the one place where widths are chosen.

A term whose interval holds no negative number is an unsigned bit-vector of minimal width, any other a two's complement
one. Operands are extended to the width of the result, so no operation overflows. The same rules write Z3 terms (in
the solver processes) and SMT-LIB 2 text (for export): they differ in the `Backend` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from .values import Boolean, Integer, Number, Term

T = TypeVar("T")


class Backend(Protocol[T]):
    """What is needed of a bit-vector library. `operator` is SMT-LIB's name."""

    def constant(self, value: int, width: int) -> T: ...

    def truth(self, value: bool) -> T: ...

    def variable(self, name: str, width: int) -> T: ...

    def truth_variable(self, name: str) -> T: ...

    def extend(self, operand: T, by: int, signed: bool) -> T: ...

    def low_bits(self, operand: T, width: int) -> T: ...

    def apply(self, operator: str, operands: list[T]) -> T: ...

    def define(self, term: Term, width: int, meaning: T) -> T:
        """Called once for each term; may give it a name."""
        ...


def width_of(low: int, high: int) -> int:
    """Bits for low..high: two's complement if there is a negative number, else unsigned; at least 1."""
    if low < 0:
        return max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0) + 1
    return max(1, high.bit_length())


def is_exact(low: int, high: int) -> bool:
    """Is every bit pattern of that width a value of the interval?"""
    return high - low + 1 == 1 << width_of(low, high)


_MODULAR = {"+": "bvadd", "-": "bvsub", "*": "bvmul", "&": "bvand", "|": "bvor", "^": "bvxor"}


class Lowering(Generic[T]):
    """Lowers terms of one table, each once."""

    def __init__(self, backend: Backend[T]) -> None:
        self._backend = backend
        self._done: dict[int, T] = {}
        self.variables: dict[int, Term] = {}

    def lower(self, roots: Iterable[Term]) -> list[T]:
        """The bit-vector terms of the roots (a Boolean becomes a truth value)."""
        roots = list(roots)
        for term in self._missing(roots):
            self._done[term.number] = self._define(term)
        return [self._done[root.number] for root in roots]

    def domain(self, variable: Integer) -> T | None:
        """The constraint that a variable lies in its interval, None when its width says so."""
        if is_exact(variable.low, variable.high):
            return None
        width = width_of(variable.low, variable.high)
        at = self._done[variable.number]
        signed = variable.low < 0
        bounds = []
        if not signed or variable.low > -(1 << (width - 1)):
            bounds.append(self._ordered(self._backend.constant(variable.low, width), at, signed))
        if signed or variable.high < (1 << width) - 1:
            bounds.append(self._ordered(at, self._backend.constant(variable.high, width), signed))
        return self._backend.apply("and", bounds)

    def _ordered(self, left: T, right: T, signed: bool) -> T:
        return self._backend.apply("bvsle" if signed else "bvule", [left, right])

    def _missing(self, roots: list[Term]) -> list[Term]:
        """Every term below the roots that is not lowered yet, arguments first."""
        found: dict[int, Term] = {}
        pending = [root for root in roots if root.number not in self._done]
        while pending:
            term = pending.pop()
            if term.number in found:
                continue
            found[term.number] = term
            for argument in term.arguments:
                if isinstance(argument, Integer | Boolean) and argument.number not in self._done:
                    pending.append(argument)
        return [found[number] for number in sorted(found)]

    def _define(self, term: Term) -> T:
        if term.operator == "variable":
            self.variables[term.number] = term
            name = str(term.arguments[0])
            if isinstance(term, Boolean):
                return self._backend.truth_variable(name)
            return self._backend.variable(name, width_of(term.low, term.high))
        if isinstance(term, Boolean):
            return self._backend.define(term, 0, self._boolean(term))
        width = width_of(term.low, term.high)
        return self._backend.define(term, width, self._integer(term, width))

    # --- truth values ------------------------------------------------------------------------------------------

    def _boolean(self, term: Boolean) -> T:
        if term.operator in ("equal", "less"):
            left, right = term.arguments
            return self._compare(term.operator, left, right)  # type: ignore[arg-type]
        operands = [self._truth(argument) for argument in term.arguments]  # type: ignore[arg-type]
        return self._backend.apply("ite" if term.operator == "choose" else term.operator, operands)

    def _truth(self, argument: bool | Boolean) -> T:
        if isinstance(argument, Boolean):
            return self._done[argument.number]
        return self._backend.truth(argument)

    def _compare(self, operator: str, left: Number, right: Number) -> T:
        signed, width = _common(left, right)
        operands = [self._at(left, width), self._at(right, width)]
        if operator == "equal":
            return self._backend.apply("=", operands)
        return self._backend.apply("bvslt" if signed else "bvult", operands)

    # --- numbers -----------------------------------------------------------------------------------------------

    def _at(self, value: Number, width: int) -> T:
        """The value in `width` bits: extended, or its low bits."""
        if isinstance(value, int):
            return self._backend.constant(value, width)
        own = width_of(value.low, value.high)
        meaning = self._done[value.number]
        if own < width:
            return self._backend.extend(meaning, width - own, value.low < 0)
        return self._backend.low_bits(meaning, width) if own > width else meaning

    def _integer(self, term: Integer, width: int) -> T:
        operator = term.operator
        apply = self._backend.apply
        if operator == "choose":
            condition, then, otherwise = term.arguments
            return apply(
                "ite",
                [self._truth(condition), self._at(then, width), self._at(otherwise, width)],  # type: ignore[arg-type]
            )
        if operator in ("narrow", "wrap"):
            return self._at(term.arguments[0], width)  # type: ignore[arg-type]
        left, right = term.arguments
        assert isinstance(left, int | Integer)
        assert isinstance(right, int | Integer)
        if operator in _MODULAR:
            return apply(_MODULAR[operator], [self._at(left, width), self._at(right, width)])
        if operator in ("<<", ">>"):
            return self._shifted(operator, left, right, width)
        return self._divided(operator, left, right, width)

    def _shifted(self, operator: str, left: Number, right: Number, width: int) -> T:
        signed, wide = _common(left, right)
        wide = max(wide, width)
        name = "bvshl" if operator == "<<" else "bvashr" if signed else "bvlshr"
        return self._cut(self._backend.apply(name, [self._at(left, wide), self._at(right, wide)]), wide, width)

    def _divided(self, operator: str, left: Number, right: Number, width: int) -> T:
        apply = self._backend.apply
        signed, wide = _common(left, right)
        wide = max(wide + signed, width)
        operands = [self._at(left, wide), self._at(right, wide)]
        if not signed:
            return self._cut(apply("bvudiv" if operator == "//" else "bvurem", operands), wide, width)
        remainder = apply("bvsmod", operands)
        if operator == "%":
            return self._cut(remainder, wide, width)
        return self._cut(apply("bvsdiv", [apply("bvsub", [operands[0], remainder]), operands[1]]), wide, width)

    def _cut(self, meaning: T, width: int, to: int) -> T:
        return self._backend.low_bits(meaning, to) if to < width else meaning


def _common(left: Number, right: Number) -> tuple[bool, int]:
    """Signedness and width in which both operands are themselves."""
    intervals = [(v, v) if isinstance(v, int) else (v.low, v.high) for v in (left, right)]
    low, high = min(i[0] for i in intervals), max(i[1] for i in intervals)
    return low < 0, width_of(low, high)
