"""Records and arrays: the state of a machine as ordinary Python objects.

The one idea: a record checks what is assigned to it against the declared type, so that the CPython engine reports
the same range, bounds and None violations as the others, at the line where they happen. A journal of old values
(`Store.journal`) lets an engine undo a step whose guard turned out false, and tells it what a step changed.

A machine of a real size has millions of cells, nearly all at their initial value. So an array holds what was touched:
it is a dict, which CPython reads as fast as a list, and what is not in it has its initial value. Making the record
that was not there is no write.
"""

from __future__ import annotations

import enum
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import FunctionType
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


DENSE_MAX = 1024
"""Arrays of scalars up to this length hold every cell from the start: an untouched cell costs a call to read."""

Holder = Any
"""A Record or an Array, as the journal names it."""

Key = Any
"""The field of a record (a string) or the index of an array."""

Change = tuple[Holder, Key, Any]
"""What the journal keeps of a write: where, and the value before."""


@dataclass(slots=True, eq=False)
class Store:
    """What all records of one machine share: the resolved scope and, during a step, the journal of old values."""

    sizes: Sizes
    dense_max: int = field(default_factory=lambda: DENSE_MAX)
    journal: list[Change] | None = None
    classes: dict[type[Record], type[Record]] = field(default_factory=dict)
    cells: dict[int, _Cell] = field(default_factory=dict)
    plan: tuple[Record, Schema, list[_LeafPlan]] | None = None

    def begin(self) -> None:
        self.journal = []

    def commit(self) -> list[Change]:
        """Keep what was written since `begin`, and say what that was, oldest first."""
        changes, self.journal = self.journal or [], None
        return changes

    def rollback(self) -> None:
        """Undo everything since `begin`, newest first."""
        changes, self.journal = self.journal or [], None
        for holder, key, old in reversed(changes):
            put(holder, key, old)


def put(holder: Holder, key: Key, value: Any) -> None:
    """Write a cell without checks and without the journal."""
    if isinstance(holder, Array):
        _put(holder, key, value)
    else:
        holder.__dict__[key] = value


def present(holder: Holder, key: Key) -> Any:
    """What a cell holds now."""
    return holder[key] if isinstance(holder, Array) else holder.__dict__[key]


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
    """A resolved annotation: a scalar, a record, an array of either, or a constant of the scope (one for each of the
    first elements of the array around it)."""

    scalar: LeafType | None = None
    enumeration: type[enum.IntEnum] | None = None
    record: type[Record] | None = None
    element: FieldType | None = None
    length: Size | None = None
    index_sort: str = ""
    index_product: tuple[str, ...] = ()
    constants: tuple[Size, ...] = ()
    ghost: bool = False

    def constant_at(self, index: int) -> Size:
        """The constant that the element of this index has, in the nearest array around the field."""
        return self.constants[min(index, len(self.constants) - 1)]


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
        sort = index.sort or ""
        return FieldType(element=element, length=length, index_sort=sort, index_product=index.of, ghost=ghost)
    type_ = scalar_type(annotation)
    if isinstance(type_, FromScope):
        if not type_.sizes:
            raise AnnotationError("FromScope names no size", 'write FromScope("pages")')
        return FieldType(constants=tuple(size(item) for item in type_.sizes), ghost=ghost)
    bare = next((item for item in (annotation, *typing.get_args(annotation)) if _is_enum(item)), None)
    return FieldType(scalar=type_, enumeration=bare, ghost=ghost)


def _is_enum(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, enum.IntEnum)


def _check_field(record: type[Record], name: str) -> None:
    """A record is its annotated fields and its methods: what else a class can have would be lost on the engines."""

    def refused(message: str, remedy: str) -> AnnotationError:
        return AnnotationError(f"{record.__name__}.{name}: {message}", remedy, record)

    if name.startswith("_"):
        raise refused("a field's name begins with _", "name it without _")
    if isinstance(getattr(record, name, None), FunctionType):
        raise refused("a field and a method have the same name", "rename one of them")
    if hasattr(record, name):
        raise refused("a field has a default", "leave the default out and set the field in init")
    for special in ("__init__", "__setattr__", "__getattribute__", "__new__"):
        if getattr(record, special) is not getattr(Record, special):
            remedy = f"leave it a plain class of annotations and methods, without @dataclass and {special}"
            raise refused(f"the record defines {special}", remedy)


def _check_override(record: type[Record], name: str, type_: FieldType) -> None:
    """A base class's functions take the derived record too, so they must find the field as they know it."""
    for base in _family(record)[1:]:
        known = base.field_types().get(name)
        if known is not None and not _is_covariant(type_, known):
            message = f"{record.__name__}.{name}: the field has another type in the base {base.__name__}"
            remedy = "leave it as there; only the class of a record may become a class derived from it"
            raise AnnotationError(message, remedy, record)


def _is_covariant(type_: FieldType, known: FieldType) -> bool:
    """Whether a field of this type may take the place of one of the known type."""
    if type_.record is not None and known.record is not None:
        return issubclass(type_.record, known.record) and type_.ghost == known.ghost
    if type_.element is not None and known.element is not None:
        return replace(type_, element=known.element) == known and _is_covariant(type_.element, known.element)
    return type_ == known


PYTHONS_OWN = ("__annotate__", "__annotate_func__", "__dict__", "__weakref__")
"""Functions and descriptors that Python itself puts into a class."""


def _family(record: type[Record]) -> list[type[Record]]:
    """A record and those it is derived from, in the order in which Python looks a name up."""
    return [base for base in record.__mro__ if issubclass(base, Record) and base is not Record]


def _check_bases(record: type[Record]) -> None:
    for base in record.__mro__:
        if not issubclass(base, Record) and base is not object:
            message = f"{record.__name__}: its base {base.__name__} is not a record"
            raise AnnotationError(message, f"derive {base.__name__} from Record", record)


def _check_member(record: type[Record], name: str, member: Any) -> None:
    """A method is a plain function that is defined in its class."""

    def refused(message: str, remedy: str) -> AnnotationError:
        own = f"_{record.__name__.lstrip('_')}"
        shown = name.removeprefix(own) if name.startswith(own + "__") else name
        return AnnotationError(f"{record.__name__}.{shown}: {message}", remedy, record)

    if name in PYTHONS_OWN or not hasattr(type(member), "__get__"):
        return
    if not isinstance(member, FunctionType):
        message = f"a {type(member).__name__} is not in the language"
        raise refused(message, "write a method, def …(self, …), or a function of the module")
    if name.startswith("_"):
        raise refused("a method's name begins with _", "name it without _, or write a function of the module")
    if member.__qualname__ != f"{record.__qualname__}.{name}":
        remedy = f"write def {name}(self, …) in it, which calls the function"
        raise refused("the method is not defined in its class", remedy)


def method_of(record: type[Record], name: str) -> tuple[type[Record], Any] | None:
    """The class among a record's own and its bases that has a member of this name, as Python looks it up, and what it
    is there."""
    for base in _family(record):
        if name in vars(base):
            return base, vars(base)[name]
    return None


def methods_of(record: type[Record]) -> dict[str, FunctionType]:
    """The methods of a record by name, those of its bases first."""
    found: dict[str, FunctionType] = {}
    for base in reversed(_family(record)):
        for name, member in vars(base).items():
            if isinstance(member, FunctionType) and name not in PYTHONS_OWN:
                found[name] = member
    return found


class Record:
    """A structure of the kernel: annotated fields, and methods that a derived record may override. Instances are made
    by the machine, not by hand."""

    _types: dict[str, FieldType]
    _store: Store
    _place: tuple[Holder, Key] | None

    def __init_subclass__(cls) -> None:
        """The one name that a record cannot give to a method, for the engines call it."""
        if "field_types" in vars(cls):
            message = f"{cls.__name__}.field_types: every record has this name for itself"
            raise AnnotationError(message, "rename it", cls)

    @classmethod
    def field_types(cls) -> dict[str, FieldType]:
        """The resolved fields, in order; raises AnnotationError naming the field."""
        cached: dict[str, FieldType] | None = cls.__dict__.get("_types")
        if cached is None:
            cached = {}
            _check_bases(cls)
            for base in reversed(_family(cls)[1:]):
                base.field_types()
            hints = typing.get_type_hints(cls, include_extras=True)
            for name, annotation in hints.items():
                if name in Record.__annotations__:
                    continue
                _check_field(cls, name)
                try:
                    cached[name] = field_type(annotation)
                except AnnotationError as error:
                    raise AnnotationError(f"{cls.__name__}.{name}: {error.message}", error.remedy, cls) from None
                _check_override(cls, name, cached[name])
            for name, member in vars(cls).items():
                _check_member(cls, name, member)
            cls._types = cached
        return cached

    def __new__(cls, store: Store, index: int = 0, place: tuple[Holder, Key] | None = None) -> typing.Self:
        """`index` is that of the nearest array element around the record, `place` the record or array it is in."""
        made = object.__new__(store.classes.get(cls) or _concrete(cls, store))
        fields = made.__dict__
        fields.update(made._initial_fields)  # type: ignore[attr-defined]
        fields["_place"] = place
        for name, type_ in made._compound_fields:  # type: ignore[attr-defined]
            fields[name] = _initial(type_, store, index, (made, name))
        return typing.cast("typing.Self", made)


def _concrete(cls: type[Record], store: Store) -> type[Record]:
    """The class of a store's records: what all instances share, in a closure where CPython finds it fastest."""
    types = cls.field_types()
    scalars = {name: type_.scalar for name, type_ in types.items() if type_.scalar is not None}
    acceptors = {name: _acceptor(type_, store.sizes) for name, type_ in scalars.items()}
    limits = {name: _quick_limits(type_, store.sizes) for name, type_ in scalars.items()}
    optional = frozenset(name for name, type_ in scalars.items() if _is_optional(type_))

    def assign(self: Record, name: str, value: Any) -> None:
        if value is None:
            if name not in optional:
                value = _acceptor_of(acceptors, self, name)(name, value)
        else:
            low, high = limits.get(name, NEVER)
            if not low <= value <= high:
                value = _acceptor_of(acceptors, self, name)(name, value)
        fields = self.__dict__
        journal = store.journal
        if journal is not None:
            journal.append((self, name, fields[name]))
        fields[name] = value

    members = {
        "__setattr__": assign,
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "_types": types,
        "_store": store,
        "_initial_fields": {name: _initial(types[name], store, 0, None) for name in scalars},
        "_compound_fields": [item for item in types.items() if item[0] not in scalars],
    }
    store.classes[cls] = type(cls.__name__, (cls,), members)
    return store.classes[cls]


NEVER = (1, 0)
"""Limits that no value is within."""


def _quick_limits(type_: LeafType, sizes: Sizes) -> tuple[int, int]:
    """Between these a value other than None is stored as it is; any other goes through the acceptor."""
    if isinstance(type_, BooleanType):
        return NEVER
    low, high = type_.bounds(sizes)
    return (type_.low.value(sizes) if isinstance(type_, IntegerType) else low), high


def _is_optional(type_: LeafType) -> bool:
    return isinstance(type_, IntegerType) and type_.optional


def _acceptor_of(acceptors: dict[str, Callable[[str, Any], Any]], record: Record, name: str) -> Callable[..., Any]:
    acceptor = acceptors.get(name)
    if acceptor is None:
        raise AttributeError(f"{type(record).__name__}.{name} cannot be assigned")
    return acceptor


def _initial(type_: FieldType, store: Store, index: int, place: tuple[Holder, Key] | None) -> Any:
    """What a field or an array element holds at first; `index` is that of the nearest array element around it."""
    if type_.record is not None:
        return type_.record(store, index, place)
    if type_.element is not None:
        return Array._make(type_, store, place)
    if type_.constants:
        return type_.constant_at(index).value(store.sizes)
    assert type_.scalar is not None
    return to_python(type_.scalar.initial(store.sizes), type_.scalar, type_.enumeration)


@dataclass(slots=True, eq=False)
class _Cell:
    """What all arrays of one type in one store have in common (the type is kept, for it is known by its id)."""

    array: FieldType
    type: FieldType
    length: int
    scalar: LeafType | None
    initial: Any
    accept: Callable[[str, Any], Any] | None
    low: int
    high: int
    optional: bool
    filled: dict[int, Any] | None


def _cell(type_: FieldType, store: Store) -> _Cell:
    assert type_.element is not None
    assert type_.length is not None
    scalar, length = type_.element.scalar, type_.length.value(store.sizes)
    if scalar is None:
        return _Cell(type_, type_.element, length, None, None, None, *NEVER, False, None)
    initial = _initial(type_.element, store, 0, None)
    filled = dict.fromkeys(range(length), initial) if length <= store.dense_max else None
    accept, (low, high) = _acceptor(scalar, store.sizes), _quick_limits(scalar, store.sizes)
    return _Cell(type_, type_.element, length, scalar, initial, accept, low, high, _is_optional(scalar), filled)


if typing.TYPE_CHECKING:

    class _Elements(Generic[Index, Element]):
        """What a specification may do with an array: the rest of dict is none of its business."""

        def __getitem__(self, index: Index) -> Element: ...

else:
    _Elements = dict


_put: Callable[[Any, Any, Any], None] = dict.__setitem__


class Array(Generic[Index, Element], _Elements[Index, Element]):
    """One element for each member of a finite sort, all there from the start as far as anyone can tell.

    What was not touched is not in the dict: `__missing__` gives its initial value, or makes its record."""

    __slots__ = ("_cell", "_place", "_store")
    _cell: _Cell
    _store: Store
    _place: tuple[Holder, Key] | None

    @classmethod
    def _make(cls, type_: FieldType, store: Store, place: tuple[Holder, Key] | None) -> Array[Any, Any]:
        array = cls()
        array._store = store
        array._place = place
        cell = store.cells.get(id(type_))
        if cell is None:
            cell = store.cells[id(type_)] = _cell(type_, store)
        array._cell = cell
        if cell.filled is not None:
            _held(array).update(cell.filled)
        return array

    def _check(self, index: Any) -> None:
        if index is None:
            raise StepFailure(FailureKind.NONE, "None used as an index")
        if not 0 <= index < self._cell.length:
            raise StepFailure(FailureKind.BOUNDS, f"index {index} outside 0..{self._cell.length - 1}")

    def __missing__(self, index: Any) -> Any:
        self._check(index)
        cell = self._cell
        if cell.scalar is not None:
            return cell.initial
        made = _initial(cell.type, self._store, index, (self, index))
        _put(self, index, made)
        return made

    def __setitem__(self, index: Index, value: Element) -> None:
        cell = self._cell
        if index is None or not 0 <= index < cell.length:  # type: ignore[operator]
            self._check(index)
        if cell.accept is None:
            raise AttributeError("an array of records cannot be assigned, only the fields of its records")
        stored: Any = value
        if stored is None:
            if not cell.optional:
                stored = cell.accept(f"element {index}", value)
        elif not cell.low <= stored <= cell.high:
            stored = cell.accept(f"element {index}", value)
        journal = self._store.journal
        if journal is not None:
            journal.append((self, index, self[index]))
        _put(self, index, stored)

    def __len__(self) -> int:
        return self._cell.length

    def __iter__(self) -> Iterator[Element]:
        raise TypeError("iterate over the references: `for page in indices(array)`")


def _held(array: Array[Any, Any]) -> dict[int, Any]:
    """The dict that an array is: what was touched."""
    return typing.cast("dict[int, Any]", array)


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
    sorts: tuple[tuple[str, tuple[str, ...]], ...],
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
        index = (type_.index_sort, type_.index_product)
        _collect(leaves, element, path + "[]", (*dimensions, type_.length), (*sorts, index), ghost, inner)
        if len(leaves) == known:
            raise AnnotationError(f"{place}: the array has no state in it", "leave it out, or give its record a field")
    elif type_.scalar is not None:
        names, products = tuple(name for name, _ in sorts), tuple(product for _, product in sorts)
        leaves.append(Leaf(path, dimensions, type_.scalar, ghost, names, products))


PLANNED_MAX = 1 << 16
"""States of up to so many elements are read and written by a list of their cells; larger ones cell by cell, and what
was not touched stays so."""


@dataclass(slots=True, eq=False)
class _LeafPlan:
    """The cells of one leaf in order, each as (dict, key), and how their values translate."""

    leaf: LeafType
    enumeration: type[enum.IntEnum] | None
    cells: list[tuple[dict[Any, Any], Any]]


def read_state(record: Record, schema: Schema) -> tuple[int, ...]:
    """The flat state of a machine."""
    flat: list[int] = []
    if schema.total(record._store.sizes) > PLANNED_MAX:
        for leaf in schema.leaves:
            dimensions = [dimension.value(record._store.sizes) for dimension in leaf.dimensions]
            _read_sparse(flat, record, _parts(leaf), dimensions, leaf.type.initial(record._store.sizes))
        return tuple(flat)
    for plan in _plan(record, schema):
        if isinstance(plan.leaf, BooleanType) or plan.enumeration is not None:
            flat += [-1 if (value := holder[key]) is None else int(value) for holder, key in plan.cells]
        elif _is_optional(plan.leaf):
            flat += [-1 if (value := holder[key]) is None else value for holder, key in plan.cells]
        else:
            flat += [holder[key] for holder, key in plan.cells]
    return tuple(flat)


def write_state(record: Record, schema: Schema, flat: typing.Sequence[int]) -> None:
    """Set a machine to a flat state, without checks and without the journal."""
    position = 0
    if schema.total(record._store.sizes) > PLANNED_MAX:
        reset(record)
        for leaf in schema.leaves:
            count = leaf.count(record._store.sizes)
            values = flat[position : position + count]
            dimensions = [dimension.value(record._store.sizes) for dimension in leaf.dimensions]
            _write_sparse(leaf, record, _parts(leaf), dimensions, values)
            position += count
        return
    for plan in _plan(record, schema):
        for holder, key in plan.cells:
            _put(holder, key, to_python(flat[position], plan.leaf, plan.enumeration))
            position += 1


def reset(record: Record) -> None:
    """Give every cell its initial value again, without the journal. What was made stays."""
    fields = record.__dict__
    fields.update(record._initial_fields)  # type: ignore[attr-defined]
    for name, _ in record._compound_fields:  # type: ignore[attr-defined]
        _reset(fields[name])


def _reset(thing: Any) -> None:
    if isinstance(thing, Record):
        reset(thing)
    elif isinstance(thing, Array):
        if thing._cell.scalar is None:
            for made in _held(thing).values():
                _reset(made)
        else:
            _held(thing).clear()
            if thing._cell.filled is not None:
                _held(thing).update(thing._cell.filled)


def touched(array: Array[Any, Any]) -> list[int]:
    """The references into an array at which something is stored that is not the initial value, in order; of an array of
    records, those whose record was ever looked at."""
    cell = array._cell
    held = _held(array).items()
    if cell.scalar is None:
        return sorted(index for index, _ in held)
    return sorted(index for index, value in held if value != cell.initial)


def _plan(record: Record, schema: Schema) -> list[_LeafPlan]:
    plan = record._store.plan
    if plan is None or plan[0] is not record or plan[1] is not schema:
        leaves = [
            _LeafPlan(leaf.type, _enumeration(type(record), leaf.path), _cells(record, leaf)) for leaf in schema.leaves
        ]
        plan = record._store.plan = record, schema, leaves
    return plan[2]


def _parts(leaf: Leaf) -> list[tuple[str, int]]:
    """The fields on the way to a leaf, and how many arrays each is."""
    return [(part.rstrip("[]"), part.count("[]")) for part in leaf.path.split(".")]


def _cells(record: Record, leaf: Leaf) -> list[tuple[dict[Any, Any], Any]]:
    """Where the elements of a leaf are; every record on the way is made."""
    nodes: list[Any] = [record]
    *first, (last, depth) = _parts(leaf)
    for name, dimensions in first:
        nodes = [getattr(node, name) for node in nodes]
        for _ in range(dimensions):
            nodes = [node[index] for node in nodes for index in range(len(node))]
    if depth == 0:
        return [(node.__dict__, last) for node in nodes]
    nodes = [getattr(node, last) for node in nodes]
    for _ in range(depth - 1):
        nodes = [node[index] for node in nodes for index in range(len(node))]
    return [(node, index) for node in nodes for index in range(len(node))]


def _read_sparse(
    flat: list[int], node: Any, parts: list[tuple[str, int]], dimensions: list[int], initial: int
) -> None:
    """Append the elements of a leaf below a node; `parts` and `dimensions` are those that are still to go."""
    if isinstance(node, Array):
        inner = math.prod(dimensions[1:])
        following = 0
        for index in sorted(_held(node).keys()):
            flat.extend([initial] * ((index - following) * inner))
            _read_sparse(flat, node[index], parts, dimensions[1:], initial)
            following = index + 1
        flat.extend([initial] * ((dimensions[0] - following) * inner))
    elif parts:
        _read_sparse(flat, getattr(node, parts[0][0]), parts[1:], dimensions, initial)
    else:
        flat.append(to_integer(node))


def _write_sparse(
    leaf: Leaf, node: Any, parts: list[tuple[str, int]], dimensions: list[int], values: typing.Sequence[int]
) -> None:
    """Set the elements of a leaf below a node, all at their initial value so far."""
    store: Store = node._store
    initial = leaf.type.initial(store.sizes)
    if isinstance(node, Array):
        inner = math.prod(dimensions[1:])
        scalar = node._cell.scalar
        enumeration = node._cell.type.enumeration
        for index in sorted({position // inner for position, value in enumerate(values) if value != initial}):
            if scalar is not None:
                _put(node, index, to_python(values[index], scalar, enumeration))
            else:
                below = values[index * inner : (index + 1) * inner]
                _write_sparse(leaf, node[index], parts, dimensions[1:], below)
        return
    name = parts[0][0]
    type_ = type(node).field_types()[name]
    if type_.scalar is not None:
        node.__dict__[name] = to_python(values[0], type_.scalar, type_.enumeration)
    else:
        _write_sparse(leaf, getattr(node, name), parts[1:], dimensions, values)


def _enumeration(state: type[Record], path: str) -> type[enum.IntEnum] | None:
    type_ = FieldType(record=state)
    for part in path.split("."):
        assert type_.record is not None
        type_ = type_.record.field_types()[part.rstrip("[]")]
        while type_.element is not None:
            type_ = type_.element
    return type_.enumeration
