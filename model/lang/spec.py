"""A specification: state, actions, properties and the scopes it makes sense at.

The one idea: a `Spec` only names things that are written elsewhere as plain Python; `lower` (front end) turns it
into a `Program` once, and every engine runs that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .actions import Property
from .errors import ScopeError
from .ir import MachineType, Schema, Sizes
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
    parameters' defaults are the scope called "default"."""

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
    deadlock_free: bool = False
    doc: str = ""

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
            if not requirement.holds(sizes):
                given = ", ".join(f"{name}={value}" for name, value in sizes.items())
                raise ScopeError(f"scope {given} makes no sense for {self.name}", requirement.text)
        for name, compute in self.derived.items():
            sizes[name] = compute(sizes)
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


def check_layout(schema: Schema, sizes: Sizes) -> None:
    """Every array must have an element and every integer a value at this scope; raises ScopeError."""
    for leaf in schema.leaves:
        for dimension in leaf.dimensions:
            if dimension.value(sizes) < 1:
                raise ScopeError(f"{leaf.path} has {dimension} = {dimension.value(sizes)} elements", "enlarge the scope")
        if isinstance(leaf.type, MachineType):
            bits = leaf.type.bits.value(sizes)
            if not 1 <= bits <= 64:
                raise ScopeError(f"{leaf.path} has {bits} bits", "a machine integer has 1 to 64 bits")
            continue
        low, high = leaf.type.bounds(sizes)
        if low > high:
            raise ScopeError(f"{leaf.path} has an empty range {low}..{high}", "enlarge the scope")
