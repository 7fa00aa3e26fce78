"""Records and arrays: the state of a machine as ordinary Python objects.

The one idea: a record checks what is assigned to it against the declared type, so that the CPython engine reports
the same range, bounds and None violations as the others, at the line where they happen. A journal of old values
(`Store.journal`) lets an engine undo a step whose guard turned out false.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from .ir import BooleanType, FailureKind, IntegerType, Leaf, LeafType, MachineType, Schema, Size, Sizes
from .sorts import GHOST, AnnotationError, FromScope, scalar_type, size

Index = TypeVar("Index")
Element = TypeVar("Element")


class StepFailure(Exception):  # noqa: N818 (a finding about the specification, not an error)
    """A step that cannot complete, as the CPython engine raises it (the kinds are those of the IR)."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(slots=True)
class Store:
    """What all records of one machine share: the resolved scope and, during a step, the journal of old values."""

    sizes: Sizes
    journal: list[Callable[[], None]] | None = None

    def begin(self) -> None:
        self.journal = []

    def commit(self) -> None:
        self.journal = None

    def rollback(self) -> None:
        """Undo everything since `begin`, newest first."""
        for undo in reversed(self.journal or []):
            undo()
        self.journal = None


def _acceptor(type_: LeafType, sizes: Sizes) -> Callable[[str, Any], Any]:
    """A function that checks a value for a field of this type and gives what is stored."""
    low, high = type_.bounds(sizes)
    if isinstance(type_, MachineType):
        span = high - low + 1

        def wrap(name: str, value: Any) -> Any:
            if value is None:
                raise StepFailure(FailureKind.NONE, f"None assigned to {name}")
            return (value - low) % span + low

        return wrap
    if isinstance(type_, BooleanType):

        def boolean(name: str, value: Any) -> Any:
            if value is not True and value is not False:
                raise TypeError(f"{name} is a bool, not {value!r}")
            return value

        return boolean
    optional = type_.optional
    floor = type_.low.value(sizes)

    def check(name: str, value: Any) -> Any:
        if value is None:
            if optional:
                return None
            raise StepFailure(FailureKind.NONE, f"None assigned to {name}")
        if not floor <= value <= high:
            raise StepFailure(FailureKind.RANGE, f"{name} = {value} is outside {floor}..{high}")
        return value

    return check


def to_python(value: int, type_: LeafType, enumeration: type[enum.IntEnum] | None = None) -> Any:
    """An engine's integer as the Python value a specification sees."""
    if isinstance(type_, BooleanType):
        return bool(value)
    if isinstance(type_, IntegerType) and type_.optional and value == -1:
        return None
    return enumeration(value) if enumeration is not None else value


def to_integer(value: Any) -> int:
    """The inverse of `to_python`."""
    return -1 if value is None else int(value)


@dataclass(frozen=True)
class FieldType:
    """A resolved annotation: a scalar, a record, an array of either, or a constant of the scope."""

    scalar: LeafType | None = None
    enumeration: type[enum.IntEnum] | None = None
    record: type[Record] | None = None
    element: FieldType | None = None
    length: Size | None = None
    index_sort: str = ""
    constant: Size | None = None
    ghost: bool = False


def field_type(annotation: Any) -> FieldType:
    """Resolve an annotation of a record's field; raises AnnotationError."""
    ghost = False
    if typing.get_origin(annotation) is Annotated and GHOST in annotation.__metadata__:
        ghost = True
        rest = tuple(item for item in annotation.__metadata__ if item is not GHOST)
        base = annotation.__origin__
        annotation = Annotated[(base, *rest)] if rest else base
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return FieldType(record=annotation, ghost=ghost)
    if typing.get_origin(annotation) is Array:
        index_annotation, element_annotation = typing.get_args(annotation)
        index = scalar_type(index_annotation)
        if not isinstance(index, IntegerType) or index.optional or index.low != Size(None, 0):
            raise AnnotationError("an array is indexed by a sort or an enum", "write Array[Page, …] with Page a Sort")
        length = Size(index.high.parameter, index.high.offset + 1)
        element = field_type(element_annotation)
        return FieldType(element=element, length=length, index_sort=index.sort or "", ghost=ghost)
    type_ = scalar_type(annotation)
    if isinstance(type_, FromScope):
        return FieldType(constant=size(type_.size), ghost=ghost)
    bare = next((item for item in (annotation, *typing.get_args(annotation)) if _is_enum(item)), None)
    return FieldType(scalar=type_, enumeration=bare, ghost=ghost)


def _is_enum(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, enum.IntEnum)


def _check_field(record: type[Record], name: str) -> None:
    """A record is its annotated fields: what else a class can have would be lost on the engines."""
    if name.startswith("_"):
        raise AnnotationError(f"{record.__name__}.{name}: a field's name begins with _", "name it without _")
    if hasattr(record, name):
        message = f"{record.__name__}.{name}: a field has a default"
        raise AnnotationError(message, "leave the default out and set the field in init")
    for special in ("__init__", "__setattr__", "__getattribute__", "__new__"):
        if getattr(record, special) is not getattr(Record, special):
            message = f"{record.__name__}.{name}: the record defines {special}"
            raise AnnotationError(message, "leave it a plain class with annotations, without @dataclass and methods")


class Record:
    """A structure of the kernel: annotated fields, no methods. Instances are made by the machine, not by hand."""

    _types: dict[str, FieldType]
    _store: Store
    _acceptors: dict[str, Callable[[str, Any], Any]]

    @classmethod
    def field_types(cls) -> dict[str, FieldType]:
        """The resolved fields, in order; raises AnnotationError naming the field."""
        cached: dict[str, FieldType] | None = cls.__dict__.get("_types")
        if cached is None:
            cached = {}
            hints = typing.get_type_hints(cls, include_extras=True)
            for name, annotation in hints.items():
                if name in Record.__annotations__:
                    continue
                _check_field(cls, name)
                try:
                    cached[name] = field_type(annotation)
                except AnnotationError as error:
                    raise AnnotationError(f"{cls.__name__}.{name}: {error.message}", error.remedy) from None
            cls._types = cached
        return cached

    def __init__(self, store: Store) -> None:
        object.__setattr__(self, "_store", store)
        acceptors: dict[str, Callable[[str, Any], Any]] = {}
        object.__setattr__(self, "_acceptors", acceptors)
        for name, type_ in type(self).field_types().items():
            object.__setattr__(self, name, _initial(type_, store))
            if type_.scalar is not None:
                acceptors[name] = _acceptor(type_.scalar, store.sizes)

    def __setattr__(self, name: str, value: Any) -> None:
        acceptor = self._acceptors.get(name)
        if acceptor is None:
            raise AttributeError(f"{type(self).__name__}.{name} cannot be assigned")
        value = acceptor(name, value)
        journal = self._store.journal
        if journal is not None:
            old = getattr(self, name)
            journal.append(lambda: object.__setattr__(self, name, old))
        object.__setattr__(self, name, value)


def _initial(type_: FieldType, store: Store) -> Any:
    if type_.record is not None:
        return type_.record(store)
    if type_.element is not None:
        return Array._make(type_, store)
    if type_.constant is not None:
        return type_.constant.value(store.sizes)
    assert type_.scalar is not None
    return to_python(type_.scalar.initial(store.sizes), type_.scalar, type_.enumeration)


class Array(Generic[Index, Element]):
    """One element for each member of a finite sort, all there from the start."""

    _cells: list[Any]
    _store: Store
    _acceptor: Callable[[str, Any], Any] | None

    @classmethod
    def _make(cls, type_: FieldType, store: Store) -> Array[Any, Any]:
        assert type_.element is not None
        assert type_.length is not None
        array = cls()
        array._store = store
        array._cells = [_initial(type_.element, store) for _ in range(type_.length.value(store.sizes))]
        scalar = type_.element.scalar
        array._acceptor = None if scalar is None else _acceptor(scalar, store.sizes)
        return array

    def _check(self, index: Any) -> None:
        if index is None:
            raise StepFailure(FailureKind.NONE, "None used as an index")
        if not 0 <= index < len(self._cells):
            raise StepFailure(FailureKind.BOUNDS, f"index {index} outside 0..{len(self._cells) - 1}")

    def __getitem__(self, index: Index) -> Element:
        self._check(index)
        return typing.cast(Element, self._cells[index])  # type: ignore[call-overload]

    def __setitem__(self, index: Index, value: Element) -> None:
        self._check(index)
        if self._acceptor is None:
            raise AttributeError("an array of records cannot be assigned, only the fields of its records")
        position = typing.cast(int, index)
        stored = self._acceptor(f"element {index}", value)
        journal = self._store.journal
        if journal is not None:
            old = self._cells[position]
            journal.append(lambda: self._cells.__setitem__(position, old))
        self._cells[position] = stored

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[Element]:
        raise TypeError("iterate over the references: `for page in indices(array)`")


def indices(array: Array[Any, Any]) -> range:
    """All references into an array, in order."""
    return range(len(array))


def schema_of(state: type[Record]) -> Schema:
    """The leaves of a state record, in the order of declaration; raises AnnotationError."""
    leaves: list[Leaf] = []
    _collect(leaves, FieldType(record=state), "", (), (), False, (state,))
    return Schema(tuple(leaves))


def _collect(
    leaves: list[Leaf],
    type_: FieldType,
    path: str,
    dimensions: tuple[Size, ...],
    sorts: tuple[str, ...],
    ghost: bool,
    around: tuple[type[Record], ...],
) -> None:
    ghost = ghost or type_.ghost
    if type_.record is not None:
        for name, member in type_.record.field_types().items():
            if member.record in around:
                message = f"{type_.record.__name__}.{name}: the record contains itself"
                raise AnnotationError(message, "link records by references: `next: Page | None`")
            inner = around if member.record is None else (*around, member.record)
            _collect(leaves, member, f"{path}.{name}" if path else name, dimensions, sorts, ghost, inner)
    elif type_.element is not None:
        assert type_.length is not None
        element = type_.element
        inner = around if element.record is None else (*around, element.record)
        place = f"{around[-1].__name__}.{path.rpartition('.')[2].rstrip('[]')}"
        if element.record in around:
            message = f"{place}: the array contains the record around it"
            raise AnnotationError(message, "link elements by references: `next: Page | None`")
        known = len(leaves)
        _collect(leaves, element, path + "[]", (*dimensions, type_.length), (*sorts, type_.index_sort), ghost, inner)
        if len(leaves) == known:
            raise AnnotationError(f"{place}: the array has no state in it", "leave it out, or give its record a field")
    elif type_.scalar is not None:
        leaves.append(Leaf(path, dimensions, type_.scalar, ghost, sorts))


def read_state(record: Record, schema: Schema) -> tuple[int, ...]:
    """The flat state of a machine."""
    flat: list[int] = []
    for leaf in schema.leaves:
        flat.extend(to_integer(value) for holder, key in _cells(record, leaf) for value in _read(holder, key))
    return tuple(flat)


def write_state(record: Record, schema: Schema, flat: typing.Sequence[int]) -> None:
    """Set a machine to a flat state, without checks and without the journal."""
    position = 0
    for leaf in schema.leaves:
        enumeration = _enumeration(type(record), leaf.path)
        for holder, key in _cells(record, leaf):
            if isinstance(holder, Array):
                count = len(holder._cells)
                values = flat[position : position + count]
                holder._cells[:] = [to_python(value, leaf.type, enumeration) for value in values]
                position += count
            else:
                object.__setattr__(holder, key, to_python(flat[position], leaf.type, enumeration))
                position += 1


def _read(holder: Any, key: str) -> typing.Sequence[Any]:
    return holder._cells if isinstance(holder, Array) else (getattr(holder, key),)


def _cells(record: Record, leaf: Leaf) -> list[tuple[Any, str]]:
    """Where the elements of a leaf are: (record, field) or (array of scalars, '')."""
    nodes: list[Any] = [record]
    *parts, last = leaf.path.split(".")
    for part in parts:
        nodes = _descend(nodes, part.rstrip("[]"), part.count("[]"))
    depth = last.count("[]")
    if depth == 0:
        return [(node, last) for node in nodes]
    return [(node, "") for node in _descend(nodes, last.rstrip("[]"), depth - 1)]


def _descend(nodes: list[Any], name: str, depth: int) -> list[Any]:
    nodes = [getattr(node, name) for node in nodes]
    for _ in range(depth):
        nodes = [cell for node in nodes for cell in node._cells]
    return nodes


def _enumeration(state: type[Record], path: str) -> type[enum.IntEnum] | None:
    type_ = FieldType(record=state)
    for part in path.split("."):
        assert type_.record is not None
        type_ = type_.record.field_types()[part.rstrip("[]")]
        while type_.element is not None:
            type_ = type_.element
    return type_.enumeration
