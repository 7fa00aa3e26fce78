"""What the front end knows about an expression while it lowers it: its kind, its type, where it points."""

from __future__ import annotations

import enum
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from .actions import Leads
from .ir import BooleanType, Expression, IntegerType, LeafType, MachineType
from .records import Array, FieldType, Record, field_type
from .sorts import AnnotationError, FromScope, scalar_type


class Kind(enum.Enum):
    """The kinds of value that the language tells apart."""

    BOOLEAN = "a boolean"
    INTEGER = "an integer"
    OPTIONAL = "an optional reference"
    NONE = "None"


@dataclass(frozen=True)
class Value:
    """A scalar expression. `type` is its declared type if it has one (for display); `non_negative` says that the
    front end can tell it is 0 or more, so that it cannot be taken for None; `present`, that an optional reference
    was tested not to be None."""

    expression: Expression
    kind: Kind
    type: LeafType | None = None
    non_negative: bool = False
    present: bool = False


@dataclass(frozen=True)
class Place:
    """A record or an array: a path of leaves below one root, and an index expression for each array on the way.

    The first `checked` indices are known to be inside their arrays."""

    root: int
    path: str
    indices: tuple[Expression, ...]
    type: FieldType
    checked: int = 0

    def describe(self) -> str:
        if self.type.record is not None:
            return f"a record ({self.type.record.__name__})"
        return "an array"


@dataclass(frozen=True)
class Signature:
    """The annotation of a parameter or result of a specification function."""

    kind: Kind | None
    type: LeafType | None = None
    place: FieldType | None = None


def signature_of(annotation: Any) -> Signature:
    """What a parameter's or result's annotation means; raises AnnotationError."""
    if annotation is None or annotation is type(None) or annotation is Leads:
        return Signature(None)  # what a leads-to returns is its own affair, see StatementLowering.leads_return
    if annotation is int:
        return Signature(Kind.INTEGER)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [item for item in typing.get_args(annotation) if item is not type(None)]
        if rest == [int]:
            return Signature(Kind.OPTIONAL)
    is_record = isinstance(annotation, type) and issubclass(annotation, Record)
    if is_record or typing.get_origin(annotation) is Array:
        return Signature(None, None, field_type(annotation))
    if typing.get_origin(annotation) is Annotated and typing.get_origin(annotation.__origin__) is Array:
        return Signature(None, None, field_type(annotation))
    type_ = scalar_type(annotation)
    if isinstance(type_, FromScope):
        raise AnnotationError("FromScope is for fields of records", "annotate a parameter with int")
    return Signature(kind_of(type_), type_)


def is_a(given: type[Record] | None, wanted: type[Record] | None) -> bool:
    """Whether a record may be passed for another: it is that one, or derived from it (with more fields)."""
    return given is wanted or (given is not None and wanted is not None and issubclass(given, wanted))


def kind_of(type_: LeafType) -> Kind:
    """The kind of values of a type."""
    if isinstance(type_, BooleanType):
        return Kind.BOOLEAN
    if isinstance(type_, IntegerType) and type_.optional:
        return Kind.OPTIONAL
    return Kind.INTEGER


def is_non_negative(type_: LeafType | None) -> bool:
    """Whether every value of the type but None is 0 or more, at any scope."""
    if isinstance(type_, IntegerType):
        return type_.low.parameter is None and type_.low.offset >= 0
    return isinstance(type_, BooleanType) or (isinstance(type_, MachineType) and not type_.signed)
