"""Sorts, ranges and machine integers: what may stand in an annotation of a specification.

They are `typing.Annotated` markers, so a type checker sees `int` and the front end sees the finite set:

    Page = Annotated[int, Sort("page", "pages")]        # a reference to one of `pages` page frames
    Count = Annotated[int, Range(0, "pages")]           # 0..pages, checked at every assignment
    Counter = Annotated[int, Machine("long")]           # wraps as C's unsigned long of that many bits
"""

from __future__ import annotations

import enum
import re
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from .ir import BooleanType, IntegerType, LeafType, MachineType, Size

SizeExpression = str | int
"""A number, the name of a scope parameter, or a parameter plus or minus a number: 4, "pages", "orders-1"."""


class AnnotationError(Exception):
    """An annotation that is not a type of the language; the front end turns it into a SpecError with a place.

    `record` is the record class that it stands in, if it is in one."""

    def __init__(self, message: str, remedy: str, record: type[Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.record = record


def size(expression: SizeExpression) -> Size:
    """The IR's form of a size expression."""
    if isinstance(expression, bool) or not isinstance(expression, (int, str)):
        raise AnnotationError(f"{expression!r} is not a size", "use a number or the name of a scope parameter")
    if isinstance(expression, int):
        return Size(None, expression)
    match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*(?:([+-])\s*(\d+))?\s*", expression)
    if match is None:
        raise AnnotationError(f"size {expression!r} is not understood", 'write "pages", "pages+1" or a number')
    name, sign, digits = match.groups()
    return Size(name, int(f"{sign}{digits}") if digits else 0)


@dataclass(frozen=True)
class Sort:
    """References to the elements of a finite set: 0 .. size-1. `name` is the singular a person reads: "page".

    A product sort names its two factors, `of=("page", "slot")`: its element is page * slots + slot."""

    name: str
    size: SizeExpression
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Range:
    """Integers low..high, both inclusive; assigning anything else is a violation."""

    low: SizeExpression
    high: SizeExpression


@dataclass(frozen=True)
class Machine:
    """A C integer of `bits` bits; assignment wraps modulo 2**bits."""

    bits: SizeExpression
    signed: bool = False


@dataclass(frozen=True, init=False)
class FromScope:
    """A constant of the scope, readable as a field and never assigned.

    With several sizes, the record is an element of an array and element 0, 1, 2 … has the first, second, third … size;
    the last one is that of all further elements: `FromScope("start", "second_start")`."""

    sizes: tuple[SizeExpression, ...]

    def __init__(self, *sizes: SizeExpression) -> None:
        object.__setattr__(self, "sizes", sizes)


class _Ghost:
    """Marker of ghost state: written by actions, read by properties and by the actions' own guards only."""

    def __repr__(self) -> str:
        return "GHOST"


GHOST = _Ghost()


def scalar_type(annotation: Any) -> LeafType | FromScope:
    """The IR type of a scalar annotation; raises AnnotationError for anything that is not one."""
    annotation, optional = _without_none(annotation)
    marker: Any = None
    if typing.get_origin(annotation) is Annotated:
        markers = [item for item in annotation.__metadata__ if isinstance(item, (Sort, Range, Machine, FromScope))]
        if len(markers) != 1:
            raise AnnotationError(
                f"{annotation} needs exactly one of Sort, Range, Machine, FromScope",
                'declare for example Page = Annotated[int, Sort("page", "pages")]',
            )
        marker = markers[0]
        if annotation.__origin__ is not int:
            raise AnnotationError(
                f"{annotation} is not an Annotated int", "write Annotated[int, …], and `| None` outside: Page | None"
            )
        if isinstance(marker, Sort) and not isinstance(marker.name, str):
            raise AnnotationError(f"a Sort is named by a string, not {marker.name!r}", 'write Sort("page", "pages")')
        if isinstance(marker, Sort) and not _is_product(marker.of):
            message = f"sort {marker.name} is of {marker.of!r}"
            raise AnnotationError(message, 'name its two factors: of=("page", "slot")')
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum_type(annotation, optional)
    if annotation is bool:
        if optional:
            raise AnnotationError("an optional boolean has three values", "use an enum.IntEnum of three members")
        return BooleanType()
    if isinstance(marker, Sort):
        high = size_minus_one(size(marker.size))
        return IntegerType(Size(None, 0), high, optional, marker.name, of=marker.of)
    if isinstance(marker, Range):
        low = size(marker.low)
        if optional and (low.parameter is None and low.offset < 0):
            raise AnnotationError("an optional range must not have negative values", "use a range from 0")
        return IntegerType(low, size(marker.high), optional)
    if isinstance(marker, Machine) and not optional:
        return MachineType(size(marker.bits), marker.signed)
    if isinstance(marker, FromScope) and not optional:
        return marker
    if annotation is int:
        raise AnnotationError(
            "a plain int has no bounds",
            'give it a finite type: Annotated[int, Range(0, "pages")], a Sort or a Machine integer',
        )
    raise AnnotationError(f"{annotation!r} is not a type of state", "use bool, an IntEnum, or an Annotated int")


def _is_product(of: object) -> bool:
    return of == () or (isinstance(of, tuple) and len(of) == 2 and all(isinstance(name, str) for name in of))


def size_minus_one(value: Size) -> Size:
    return Size(value.parameter, value.offset - 1)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arguments = [item for item in typing.get_args(annotation) if item is not type(None)]
        if len(arguments) != 1 or len(typing.get_args(annotation)) != 2:
            raise AnnotationError(f"{annotation} mixes types", "a value has one type, optionally `| None`")
        return arguments[0], True
    return annotation, False


def _enum_type(annotation: type[enum.Enum], optional: bool) -> IntegerType:
    values = [member.value for member in annotation]
    if not issubclass(annotation, enum.IntEnum) or values != list(range(len(values))):
        raise AnnotationError(
            f"enum {annotation.__name__} must be an IntEnum with the values 0, 1, 2, …",
            "derive it from enum.IntEnum and number its members from 0 without gaps",
        )
    labels = tuple(member.name for member in annotation)
    return IntegerType(Size(None, 0), Size(None, len(values) - 1), optional, annotation.__name__, labels)
