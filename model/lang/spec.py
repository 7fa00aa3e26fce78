"""A specification: state, actions, properties and the scopes it makes sense at.

The one idea: a `Spec` only names things that are written elsewhere as plain Python; `lower` (front end) turns it
into a `Program` once, and every engine runs that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from .actions import Property
from .errors import InputError, ScopeError
from .ir import IntegerType, MachineType, Schema, Sizes
from .records import Record


@dataclass(frozen=True)
class Parameter:
    """A scope parameter: its name, its meaning, its smallest and largest sensible value and its default."""

    name: str
    default: int
    meaning: str
    least: int = 1
    most: int = 1 << 20


@dataclass(frozen=True)
class Requirement:
    """A relation between scope parameters that a scope must satisfy, and how to say it."""

    holds: Callable[[Mapping[str, int]], bool]
    text: str


@dataclass(frozen=True)
class Refinement:
    """The machine simulates an abstract one.

    `mapping(concrete, abstract)` writes the abstract state that a concrete state stands for (into initial values).
    `steps` gives for each action the function `step(abstract, <the action's parameters>, result)` that takes the
    abstract step; it may call the abstract spec's actions, whose guards then must hold. An action without an entry
    must not change the abstract state."""

    identifier: str
    abstract: Spec
    mapping: Callable[..., None]
    steps: Mapping[Callable[..., Any], Callable[..., Any]]
    origin: str = ""


@dataclass(frozen=True)
class Spec:
    """Everything the engines need to know about a machine.

    `derived` computes further sizes from the parameters, in order. `scopes` are named settings of parameters; the
    parameters' defaults are the scope called "default". `explored` names the scopes that `check` searches besides
    the one it is asked for, where that one switches a part of the machine off. `flows` names the actions that a
    flow chart is drawn of, and after them, if not all functions below them are to be drawn, those that are.
    `symmetric` names the sorts whose elements are interchangeable (see `symmetry`): a search visits one of the states
    that differ in the numbers of those elements alone."""

    name: str
    state: type[Record]
    init: Callable[..., None]
    actions: tuple[Callable[..., Any], ...]
    properties: tuple[Property, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    derived: Mapping[str, Callable[[Mapping[str, int]], int]] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    scopes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    refinement: Refinement | None = None
    explored: tuple[str, ...] = ()
    deadlock_free: bool = False
    doc: str = ""
    flows: Mapping[str, tuple[Callable[..., Any], ...]] = field(default_factory=dict)
    symmetric: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is not a specification where it is written, before an engine trips over it."""
        callables = "a function defined with def"
        shapes: list[tuple[str, bool, str]] = [
            ("name", isinstance(self.name, str) and bool(self.name.strip()), "a string"),
            ("state", isinstance(self.state, type) and issubclass(self.state, Record), "a class derived from Record"),
            ("init", isinstance(self.init, FunctionType), callables),
            ("actions", _all_are(self.actions, FunctionType), "a tuple of @action functions"),
            ("properties", _all_are(self.properties, Property), "a tuple of @invariant, @step_property and @leads_to"),
            ("parameters", _all_are(self.parameters, Parameter), "a tuple of Parameter(…)"),
            ("requirements", _all_are(self.requirements, Requirement), "a tuple of Requirement(…)"),
            ("derived", isinstance(self.derived, Mapping), "a dict of functions by name"),
            ("scopes", isinstance(self.scopes, Mapping), "a dict of settings by name"),
            ("refinement", isinstance(self.refinement, (Refinement, type(None))), "a Refinement(…)"),
            ("symmetric", _all_are(self.symmetric, str), "a tuple of names of sorts"),
            ("flows", _are_flows(self.flows, self.actions), "a dict of tuples of actions, then functions, by name"),
        ]
        for name, right, shape in shapes:
            if not right:
                raise InputError(f"the {name} of the Spec is not {shape}", f"give Spec({name}=…) {shape}")
        for name in self.explored:
            if name not in self.scopes:
                raise InputError(f"explored scope {name!r} is none of the Spec's scopes", "name one of its scopes")
        names = [parameter.name for parameter in self.parameters] + list(self.derived)
        for name in names:
            if not isinstance(name, str) or not name.isidentifier() or names.count(name) > 1:
                raise InputError(f"scope parameter {name!r} is not a name of its own", "use plain, different names")
        for parameter in self.parameters:
            values = (parameter.least, parameter.default, parameter.most)
            if not all(type(value) is int for value in values) or sorted(values) != list(values):
                raise InputError(
                    f"scope parameter {parameter.name} needs whole numbers, least <= default <= most", "correct them"
                )

    @property
    def safety(self) -> tuple[Property, ...]:
        """The properties of states and steps, in the order of `Program.properties`."""
        return tuple(item for item in self.properties if item.kind != "leads-to")

    @property
    def liveness(self) -> tuple[Property, ...]:
        """The properties of infinite runs, in the order of `Program.liveness`."""
        return tuple(item for item in self.properties if item.kind == "leads-to")

    def resolve(self, chosen: Mapping[str, int] | None = None) -> dict[str, int]:
        """The full scope for these parameter values (the rest have their defaults); raises ScopeError."""
        names = {parameter.name for parameter in self.parameters}
        for name in chosen or {}:
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise ScopeError(f"{self.name} has no scope parameter {name!r}", f"its parameters are: {known}")
        sizes: dict[str, int] = {}
        for parameter in self.parameters:
            value = (chosen or {}).get(parameter.name, parameter.default)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ScopeError(f"scope parameter {parameter.name} is {value!r}", "give it a whole number")
            if not parameter.least <= value <= parameter.most:
                raise ScopeError(
                    f"{parameter.name}={value} is outside {parameter.least}..{parameter.most}",
                    f"{parameter.name} is {parameter.meaning}",
                )
            sizes[parameter.name] = value
        for requirement in self.requirements:
            if not _computed(self, requirement.text, requirement.holds, sizes):
                given = ", ".join(f"{name}={value}" for name, value in sizes.items())
                raise ScopeError(f"scope {given} makes no sense for {self.name}", requirement.text)
        for name, compute in self.derived.items():
            value = _computed(self, name, compute, sizes)
            if type(value) is not int:
                raise ScopeError(f"the derived size {name} of {self.name} is {value!r}", "compute a whole number")
            sizes[name] = value
        return sizes

    def scope(self, text: str | None) -> dict[str, int]:
        """A scope as the command line writes it: a name, or `pages=8,orders=3`, or a name and then changes."""
        chosen: dict[str, int] = {}
        for item in (text or "default").split(","):
            item = item.strip()
            name, equals, value = item.partition("=")
            if equals:
                try:
                    chosen[name.strip()] = int(value)
                except ValueError:
                    raise ScopeError(f"scope setting {item!r} is not name=number", "write pages=8,orders=3") from None
            elif item in self.scopes:
                chosen.update(self.scopes[item])
            elif item != "default":
                known = ", ".join(["default", *self.scopes])
                raise ScopeError(f"{self.name} has no scope {item!r}", f"its scopes are: {known}; or write pages=8")
        return self.resolve(chosen)


def _all_are(things: object, kind: type[Any]) -> bool:
    return isinstance(things, tuple) and all(isinstance(thing, kind) for thing in things)


def _are_flows(flows: object, actions: object) -> bool:
    return isinstance(flows, Mapping) and isinstance(actions, tuple) and all(
        isinstance(name, str) and _all_are(flow, FunctionType) and flow and flow[0] in actions
        for name, flow in flows.items()
    )


def _computed(spec: Spec, what: str, compute: Callable[[Mapping[str, int]], Any], sizes: Mapping[str, int]) -> Any:
    """The user's own computation on a scope; whatever it raises is about the scope."""
    try:
        return compute(dict(sizes))
    except Exception as error:
        given = ", ".join(f"{name}={value}" for name, value in sizes.items())
        message = f"{what!r} of {spec.name} cannot be computed for scope {given}: {type(error).__name__}: {error}"
        message = " ".join(message.split())
        raise ScopeError(message, "correct it in the Spec, or choose another scope") from None


ELEMENTS_MAX = 1 << 26
"""Elements of one state; more do not fit into memory when each is held."""


def check_layout(schema: Schema, sizes: Sizes, *, dense: bool = True) -> None:
    """Every array must have an element and every integer a value at this scope; raises ScopeError.

    `dense`: the engine holds every element of a state, so they must fit into memory (CPython holds what it touched)."""
    for leaf in schema.leaves:
        for dimension in leaf.dimensions:
            if dimension.value(sizes) < 1:
                raise ScopeError(
                    f"{leaf.path} has {dimension} = {dimension.value(sizes)} elements", "enlarge the scope"
                )
        if isinstance(leaf.type, MachineType):
            bits = leaf.type.bits.value(sizes)
            if not 1 <= bits <= 64:
                raise ScopeError(f"{leaf.path} has {bits} bits", "a machine integer has 1 to 64 bits")
            continue
        low, high = leaf.type.bounds(sizes)
        if isinstance(leaf.type, IntegerType):
            low = leaf.type.low.value(sizes)
            if leaf.type.optional and low < 0:
                raise ScopeError(f"{leaf.path} is optional and has the range {low}..{high}", "let it begin at 0")
        if low > high:
            raise ScopeError(f"{leaf.path} has an empty range {low}..{high}", "enlarge the scope")
        if not -(1 << 63) <= low <= high < 1 << 63:
            raise ScopeError(f"{leaf.path} has the range {low}..{high}", "its values must fit in 64 bits")
    if dense and schema.total(sizes) > ELEMENTS_MAX:
        raise ScopeError(
            f"a state has {schema.total(sizes)} elements", f"at most {ELEMENTS_MAX} fit; use a smaller scope"
        )
