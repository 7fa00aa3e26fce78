"""The words of a specification: action, require, choose, bounded, invariant, step property, clause, leads-to.

In CPython they are ordinary functions and exceptions, so a specification runs and debugs as it stands; the front
end recognises the same names in the source. `choose` asks whoever runs the action (a `Chooser`), never a global.
"""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from . import source
from .ir import FailureKind, Size
from .records import Array, Record, StepFailure
from .sorts import AnnotationError, SizeExpression, size

Function = TypeVar("Function", bound=Callable[..., Any])


class Disabled(Exception):  # noqa: N818 (a control flow, not an error)
    """A guard is false: the action cannot happen with these arguments in this state."""


class GuardPassed(Exception):  # noqa: N818
    """Raised by `require` in a probe, once all leading guards of an action are true."""


class Chooser(Protocol):
    """Who decides non-deterministic choices: an engine, a test, or a person."""

    def choose(self, options: range) -> int: ...


CHOOSER: ContextVar[Chooser] = ContextVar("kmemspec_chooser")
"""The chooser of the step that is running; set by the engine for the duration of one step."""

PROBE: ContextVar[list[int] | None] = ContextVar("kmemspec_probe", default=None)
"""In a guard probe: how many leading guards are still to pass."""


def require(condition: bool) -> None:
    """The action is enabled only if the condition holds."""
    if not condition:
        raise Disabled
    probe = PROBE.get()
    if probe is not None:
        probe[0] -= 1
        if probe[0] == 0:
            raise GuardPassed


def choose(options: range) -> int:
    """Any of the options; an empty range disables the action. Options are `indices(array)` or `range(low, high)`."""
    if len(options) == 0:
        raise Disabled
    chooser = CHOOSER.get(None)
    if chooser is None:
        raise RuntimeError("choose() needs an engine: run the action through kmemspec, or set CHOOSER for a test")
    return chooser.choose(options)


def unsigned(value: int, bits: int) -> int:
    """`value` as a C unsigned integer of `bits` bits (a number, not a scope parameter)."""
    return value % (1 << bits)


def signed(value: int, bits: int) -> int:
    """`value` as a C signed integer of `bits` bits in two's complement."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


class Clause(NamedTuple):
    """One named statement of a property, and the elements it is about."""

    name: str
    holds: bool
    elements: tuple[Any, ...]


Clauses = Iterator[Clause]


def clause(name: str, holds: bool, *elements: int | None) -> Clause:
    """`yield clause("links back", condition, page)`: a named clause of a property, about these elements."""
    return Clause(name, holds, elements)


def action(function: Function) -> Function:
    """One atomic step that any client of the machine may take, with any arguments of the parameters' types."""
    cast(Any, function).kmemspec_action = True
    return function


@dataclass(frozen=True)
class Property:
    """An invariant, a step property or a leads-to: what it is called, where in the kernel it comes from, and its
    function. `fair` and `quiet` are actions, and of a leads-to alone (see `leads_to`). `place` is the field of the
    machine that an invariant or step property is about, if it is not about the whole machine (see `within`)."""

    identifier: str
    kind: str
    function: Callable[..., Any]
    origin: str
    action: Callable[..., Any] | None = None
    fair: tuple[Callable[..., Any], ...] | None = None
    quiet: tuple[Callable[..., Any], ...] = ()
    place: str = ""

    @property
    def name(self) -> str:
        return self.function.__name__


def invariant(identifier: str, *, origin: str = "") -> Callable[[Callable[..., Clauses | bool]], Property]:
    """A statement about every reachable state. The function returns a bool or yields clauses."""
    _check_identifier(identifier, "invariant")
    return lambda function: Property(identifier, "invariant", function, origin)


def step_property(
    identifier: str, *, action: Callable[..., Any] | None = None, origin: str = ""
) -> Callable[[Callable[..., Clauses | bool]], Property]:
    """A statement about every step: the function takes `before` and `after` and, if it is about one action, that
    action's parameters by name and `result`."""
    _check_identifier(identifier, "step_property")
    if action is not None and not getattr(action, "kmemspec_action", False):
        raise AnnotationError(f"{getattr(action, '__name__', action)} is not an action", "decorate it with @action")
    return lambda function: Property(identifier, "step", function, origin, action)


def within(place: str, *properties: Property) -> tuple[Property, ...]:
    """The invariants and step properties of a machine as properties of one that has such a machine as a field:
    `within("pages", *INVARIANTS)`. What they say holds of `m.pages`, `before.pages`, `after.pages`; a step property
    about an action is about the action of that name in the larger machine."""
    if not isinstance(place, str) or not place.isidentifier():
        raise AnnotationError(f"within({place!r}) names no field", 'write within("pages", …)')
    for item in properties:
        if item.kind == "leads-to" or item.place:
            message = f"within({place!r}) cannot move {item.identifier}, a {item.kind} of {item.place or 'runs'}"
            raise AnnotationError(message, "move invariants and step properties of a whole machine")
    return tuple(replace(item, place=place) for item in properties)


class Leads(NamedTuple):
    """What a leads-to says about one state: whether something is due from here on, and whether it has come."""

    when: bool
    then: bool


def leads(*, when: bool, then: bool) -> Leads:
    """`return leads(when=m.kswapd.awake, then=not m.kswapd.awake)`: what a leads-to says about a state."""
    return Leads(when, then)


def leads_to(
    identifier: str,
    *,
    fair: tuple[Callable[..., Any], ...] | None = None,
    quiet: tuple[Callable[..., Any], ...] = (),
    origin: str = "",
) -> Callable[[Callable[..., Leads]], Property]:
    """A statement about every infinite run: whenever `when` holds, `then` holds in that state or in a later one.

        @leads_to("R14", fair=(kswapd_step, end_writeback), quiet=(touch, write), origin="balance_pgdat()")
        def kswapd_sleeps(m: Memory) -> Leads:
            return leads(when=m.kswapd.awake, then=not m.kswapd.awake)

    Parameters after the machine are over sorts, and the statement is then about each element by itself.

    Which runs count: those in which each action in `fair` is *weakly fair*, with each of its arguments by itself (as
    TLA+'s WF over all of them): it is not enabled from some point on for ever without being taken again and again; and
    in which the actions in `quiet` are taken a finite number of times only ("if these stop"). Other actions may happen
    or not. A run may stand still in a state where no fair action is enabled, so a deadlock is a run that stands still.
    A step that changes nothing is a step of its action: what an action chooses is not in the hands of its scheduler.
    Without `fair` the runs are those that go on while they can: the machine does not stand still as long as any action
    is enabled that is not in `quiet`, and nothing is said about which. (So do Spin and Stateright by default.)"""
    _check_identifier(identifier, "leads_to")
    for word, given in (("fair", fair or ()), ("quiet", quiet)):
        for item in given if isinstance(given, tuple) else (given,):
            if not isinstance(given, tuple) or not getattr(item, "kmemspec_action", False):
                name = getattr(item, "__name__", item)
                message = f"{word} of @leads_to({identifier!r}) is not a tuple of actions: {name} is none"
                raise AnnotationError(message, "write fair=(an_action, …), and decorate each with @action")
    both = [item.__name__ for item in fair or () if item in quiet]
    if both:
        raise AnnotationError(f"{', '.join(both)} of @leads_to({identifier!r}) is fair and quiet", "name it once")
    if fair == ():
        message = f"@leads_to({identifier!r}) makes nothing fair, so the machine may always stand still"
        raise AnnotationError(message, "name the fair actions, or leave `fair` out: the machine then runs on")
    return lambda function: Property(identifier, "leads-to", function, origin, None, fair, quiet)


def _check_identifier(identifier: object, word: str) -> None:
    if not isinstance(identifier, str) or not identifier.strip():
        raise AnnotationError(f"@{word} needs an identifier", f'write @{word}("X1")')


def bounded(turns: SizeExpression) -> Callable[[Function], Function]:
    """Every `while` loop of the function turns at most `turns` times; one turn more is a violation.

    For CPython the loops are given a counter when the function is defined: its source is read again, each `while`
    gets one counting statement, and the result is compiled under the same file name and line numbers, so that
    debuggers and tracebacks show the text as written."""
    limit = size(turns)
    if limit.parameter is None and limit.offset < 0:
        raise AnnotationError(f"a loop cannot turn {turns} times", "use a number that is not negative")

    def decorate(function: Function) -> Function:
        counted = _count_turns(function, limit)
        functools.update_wrapper(counted, function)
        cast(Any, counted).kmemspec_turns = turns
        return cast(Function, counted)

    return decorate


class _Counters(ast.NodeTransformer):
    def __init__(self) -> None:
        self.loops = 0

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        self.generic_visit(node)
        self.loops += 1
        reset, count = ast.parse(f"__turns_{self.loops} = __turns(__given)\n__turns_{self.loops}.turn()").body
        for statement in (reset, count):
            for inner in ast.walk(statement):
                ast.copy_location(inner, node.test)
        node.body.insert(0, count)
        return [reset, node]


class _Turns:
    """The counter of one loop."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def turn(self) -> None:
        if self.left <= 0:
            raise StepFailure(FailureKind.UNWIND, "loop bound exceeded")
        self.left -= 1


def _count_turns(function: Callable[..., Any], limit: Size) -> Callable[..., Any]:
    definition = copy.deepcopy(source.definition(function))
    given = ", ".join(argument.arg for argument in definition.args.args)
    definition.decorator_list = []
    definition = _Counters().visit(definition)
    bind = ast.parse(f"__given = [{given}]").body[0]
    for inner in ast.walk(bind):
        ast.copy_location(inner, definition)
    definition.body.insert(1 if ast.get_docstring(definition, clean=False) else 0, bind)

    def make(given: list[Any]) -> _Turns:
        # A number needs no scope; a scope parameter's value is known to every part of the state.
        scopes = [thing._store.sizes for thing in given if isinstance(thing, (Record, Array))]
        return _Turns(limit.value(scopes[0] if scopes else {}))

    # The counted function needs `__turns` and the module's own globals, later definitions included: a factory
    # takes the first as a closure and is executed in the second, under a private name that is taken out again.
    name = definition.name
    factory = ast.parse(f"def __counted(__turns):\n    return {name}\n").body[0]
    assert isinstance(factory, ast.FunctionDef)
    factory.body.insert(0, definition)
    module = ast.fix_missing_locations(ast.Module(body=[factory], type_ignores=[]))
    namespace = function.__globals__
    filename = function.__code__.co_filename
    exec(compile(module, filename, "exec", dont_inherit=True, flags=_annotations_flag(namespace)), namespace)
    return cast(Callable[..., Any], namespace.pop("__counted")(make))


def _annotations_flag(namespace: dict[str, Any]) -> int:
    future = namespace.get("annotations")
    return int(getattr(future, "compiler_flag", 0))
