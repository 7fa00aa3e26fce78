"""The CPython engine: the specification's own functions, called.

The one idea: nothing is translated. A `PythonMachine` holds one instance of the state record, sets it to a flat
state, calls the action, and reads the flat state back; failures are the exceptions that records, arrays and
asserts raise. The other engines are compared with it. At a real scale, where a flat state has millions of numbers,
`begin` and `perform` leave it unread and say what changed instead.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from . import source
from .actions import CHOOSER, PROBE, Clause, Disabled, GuardPassed, Leads, Property
from .errors import InputError
from .ir import NONE, ActionIR, BooleanType, FailureKind, IntegerType, LeadsToIR, LeafType, Program, PropertyIR, Sizes
from .records import (
    Change,
    Holder,
    Record,
    StepFailure,
    Store,
    present,
    put,
    read_state,
    reset,
    to_integer,
    write_state,
)
from .spec import ELEMENTS_MAX, Refinement, Spec, check_layout
from .trace import Failure, FlatStep, StepOutcome, Violation

STEP_ERRORS = (StepFailure, AssertionError, ArithmeticError, MemoryError, TypeError, ValueError)
"""What a specification's function raises when a step cannot complete; anything else is an error of ours."""

CHOICES_MAX = 100_000
"""More choice sequences than this from one step are an error in the specification, not work to be done."""


class InitError(InputError):
    """The init function of a specification fails: a violation of "checks" in the state where it happens."""

    def __init__(self, message: str, failure: Failure, choices: tuple[int, ...], state: tuple[int, ...]) -> None:
        super().__init__(message)
        self.failure = failure
        self.choices = choices
        self.state = state


class Script:
    """A chooser that follows given choices and then takes the first option, recording what it did."""

    def __init__(self, choices: Sequence[int] = ()) -> None:
        self.given = list(choices)
        self.made: list[int] = []
        self.options: list[range] = []

    def choose(self, options: range) -> int:
        position = len(self.made)
        value = self.given[position] if position < len(self.given) else options[0]
        if value not in options:
            raise Disabled
        self.made.append(value)
        self.options.append(options)
        return value

    def next(self) -> Script | None:
        """The script after this one in odometer order, or None after the last."""
        for position in range(len(self.made) - 1, -1, -1):
            following = self.options[position].index(self.made[position]) + 1
            if following < len(self.options[position]):
                return Script([*self.made[:position], self.options[position][following]])
        return None


class _Undecided:
    """The chooser of a guard probe: what comes after a choice is not a leading guard any more."""

    def choose(self, options: range) -> int:
        raise GuardPassed


class PythonMachine:
    """One machine at one scope, run by CPython."""

    def __init__(self, spec: Spec, program: Program, sizes: Sizes) -> None:
        if not __debug__:
            raise InputError("Python runs with -O, which drops the asserts that are checked", "run it without -O")
        check_layout(program.schema, sizes, dense=False)
        self.spec = spec
        self.program = program
        self.sizes = sizes
        self.store = Store(sizes)
        self.machine = spec.state(self.store)
        self.before = spec.state(Store(sizes))
        self.enumerations = [_enumerations(function) for function in spec.actions]
        self.changes: list[Change] = []
        self._guards = [_leading_guards(function) for function in spec.actions]
        self._wanted = [tuple(inspect.signature(item.function).parameters) for item in spec.safety]
        self._twins: dict[int, Holder] = {id(self.machine): self.before}
        self._abstract: tuple[Record, Record] | None = None

    # --- states

    @property
    def state(self) -> tuple[int, ...]:
        """The flat state the machine is in."""
        if self.program.schema.total(self.sizes) > ELEMENTS_MAX:
            raise InputError("the state is too large to be read as a whole", "use a smaller scope")
        return read_state(self.machine, self.program.schema)

    @state.setter
    def state(self, flat: Sequence[int]) -> None:
        write_state(self.machine, self.program.schema, flat)

    def initial_states(self) -> list[FlatStep]:
        """Every initial state, one for each way init can choose; raises InitError if init fails."""
        found: list[FlatStep] = []
        script: Script | None = Script()
        while script is not None:
            reset(self.machine)
            outcome = self._read(self._run(self.spec.init, (self.machine,), script, None))
            if outcome.failure is not None:
                place = self.program.positions[outcome.failure.where]
                message = f"{place}: init fails: {outcome.failure.message or outcome.failure.kind.value}"
                raise InitError(message, outcome.failure, tuple(script.made), self.state)
            if outcome.enabled and outcome.state is not None:
                found.append(FlatStep(-1, (), tuple(script.made), None, outcome.state))
            script = script.next()
            if len(found) > CHOICES_MAX:
                raise InputError("init has too many initial states", "choose less")
        return found

    def start(self, chooser: Any) -> StepOutcome:
        """Put the machine in the initial state that the chooser picks; a failing init leaves it half done."""
        return self._read(self.begin(chooser))

    def begin(self, chooser: Any) -> StepOutcome:
        """As `start`, but the state is not read (None): `changes` is what init wrote."""
        self.store.commit()
        reset(self.machine)
        self.store.begin()
        outcome = self._run(self.spec.init, (self.machine,), chooser, None)
        self.changes = self.store.commit()
        return outcome

    # --- steps

    def arguments(self, action: int) -> Iterator[tuple[int, ...]]:
        """All argument tuples of an action, in order."""
        parameters = self.program.actions[action].parameters
        return itertools.product(*(_values(parameter.type, self.sizes) for parameter in parameters))

    def step(
        self, flat: Sequence[int], action: int, arguments: Sequence[int], choices: Sequence[int] = ()
    ) -> StepOutcome:
        """What one action does on one state; missing choices take the first option."""
        self.state = tuple(flat)
        return self.take(action, arguments, Script(choices))

    def take(self, action: int, arguments: Sequence[int], chooser: Any) -> StepOutcome:
        """One action on the machine as it stands; when it is disabled or fails the machine is as before."""
        return self._read(self.perform(action, arguments, chooser))

    def perform(self, action: int, arguments: Sequence[int], chooser: Any) -> StepOutcome:
        """As `take`, but the state is not read (None): `changes` is what the step wrote."""
        values = self.to_python(action, arguments)
        self.store.begin()
        outcome = self._run(self.spec.actions[action], (self.machine, *values), chooser, self.program.actions[action])
        if outcome.enabled and outcome.failure is None:
            self.changes = self.store.commit()
        else:
            self.changes = []
            self.store.rollback()
        return outcome

    def _read(self, outcome: StepOutcome) -> StepOutcome:
        """The outcome with the state, if there is one."""
        return replace(outcome, state=self.state) if outcome.enabled and outcome.failure is None else outcome

    def to_python(self, action: int, arguments: Sequence[int]) -> list[Any]:
        """Integer arguments as the values the action sees: None, booleans, enum members."""
        parameters = self.program.actions[action].parameters
        return [
            _python_value(value, parameter.type, self.enumerations[action].get(parameter.name))
            for value, parameter in zip(arguments, parameters, strict=True)
        ]

    def enabled(self, action: int, arguments: Sequence[int]) -> bool:
        """Whether the leading guards of an action hold on the machine as it stands (later ones may still fail)."""
        guards = self._guards[action]
        if guards == 0:
            return True
        token = PROBE.set([guards])
        choices = CHOOSER.set(_Undecided())
        self.store.begin()
        try:
            self.spec.actions[action](self.machine, *self.to_python(action, arguments))
        except GuardPassed:
            return True
        except Disabled:
            return False
        except STEP_ERRORS:
            return True
        finally:
            self.store.rollback()
            CHOOSER.reset(choices)
            PROBE.reset(token)
        return True

    def successors(self, flat: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...], StepOutcome]]:
        """Every step from a state: action, arguments, choices, outcome (enabled ones only)."""
        for action in range(len(self.program.actions)):
            for arguments in self.arguments(action):
                script: Script | None = Script()
                while script is not None:
                    self.state = tuple(flat)
                    outcome = self.take(action, arguments, script)
                    if outcome.enabled:
                        yield action, arguments, tuple(script.made), outcome
                    script = script.next()

    def possible(self, flat: Sequence[int], action: int, arguments: Sequence[int]) -> bool:
        """Whether an action is enabled in a state, for some way to choose (a failure is a step that is possible)."""
        script: Script | None = Script()
        while script is not None:
            self.state = tuple(flat)
            if self.take(action, arguments, script).enabled:
                return True
            script = script.next()
        return False

    def _run(
        self, function: Callable[..., Any], values: Sequence[Any], chooser: Any, action: ActionIR | None
    ) -> StepOutcome:
        token = CHOOSER.set(chooser)
        try:
            result = function(*values)
        except Disabled:
            return StepOutcome(False)
        except STEP_ERRORS as error:
            return StepOutcome(True, failure=self._failure(error))
        finally:
            CHOOSER.reset(token)
        returns = action.returns if action is not None else None
        return StepOutcome(True, None, None if returns is None else to_integer(result))

    def _failure(self, error: BaseException) -> Failure:
        kind, message = failure_kind(error)
        files = {position.file for position in self.program.positions}
        frames = [
            (source.shown(frame.filename), frame.lineno or 0)
            for frame in traceback.extract_tb(error.__traceback__)
            if source.shown(frame.filename) in files
        ]
        file, line = frames[-1] if frames else ("", 0)
        # Not every line is a position of the IR; the failure is then at the nearest one before it.
        candidates = [
            (position.line, -number)
            for number, position in enumerate(self.program.positions)
            if position.file == file and position.line <= line
        ]
        if not candidates:
            raise error
        return Failure(kind, -max(candidates)[1], message)

    # --- properties

    def check(self, flat: Sequence[int] | None = None, only: frozenset[str] | None = None) -> list[Violation]:
        """The invariants (or some, by identifier) that do not hold in a state (the machine's own, if none is given)."""
        if flat is not None:
            self.state = tuple(flat)
        found: list[Violation] = []
        for item, ir in zip(self.spec.safety, self.program.properties, strict=False):
            if item.kind == "invariant" and (only is None or ir.identifier in only):
                found.extend(self._clauses(item, ir, (self.machine,)))
        return found

    def leads(self, ir: LeadsToIR, elements: Sequence[int], flat: Sequence[int]) -> Leads | str:
        """What a leads-to says about a state and these elements, or why that cannot be evaluated."""
        function = self.spec.liveness[self.program.liveness.index(ir)].function
        enumerations = _enumerations(function)
        values = [
            _python_value(value, parameter.type, enumerations.get(parameter.name))
            for value, parameter in zip(elements, ir.parameters, strict=True)
        ]
        self.state = tuple(flat)
        try:
            return cast(Leads, function(self.machine, *values))
        except STEP_ERRORS as error:
            kind, message = failure_kind(error)
            return message or kind.value

    def check_initial(self) -> list[Violation]:
        """The conditions on initial states that the machine's present state breaks."""
        refinement = self.spec.refinement
        if refinement is None:
            return []
        start, image = self._abstract_states(refinement)
        refinement.abstract.init(start)
        refinement.mapping(self.machine, image)
        return self._compare(self._refinement_ir(None), start, image)

    def check_step(
        self, before: Sequence[int], action: int, arguments: Sequence[int], outcome: StepOutcome
    ) -> list[Violation]:
        """The step properties and refinements that a completed step breaks; the machine is in the state after it."""
        write_state(self.before, self.program.schema, before)
        return self.check_performed(action, arguments, outcome)

    def check_performed(
        self, action: int, arguments: Sequence[int], outcome: StepOutcome, only: frozenset[str] | None = None
    ) -> list[Violation]:
        """As `check_step`, of the step since `settle`: `self.before` is in the state before it."""
        ir_action = self.program.actions[action]
        named: dict[str, Any] = dict(
            zip((parameter.name for parameter in ir_action.parameters), self.to_python(action, arguments), strict=True)
        )
        if ir_action.returns is not None and outcome.result is not None:
            named["result"] = _python_value(outcome.result, ir_action.returns, self.enumerations[action].get("return"))
        named.update(before=self.before, after=self.machine)
        found: list[Violation] = []
        for item, ir, wanted in zip(self.spec.safety, self.program.properties, self._wanted, strict=False):
            if item.kind == "step" and ir.action in (None, ir_action.name) and (only is None or ir.identifier in only):
                found.extend(self._clauses(item, ir, [named[name] for name in wanted]))
        refinement = self.spec.refinement
        if refinement is not None and (only is None or refinement.identifier in only):
            found.extend(self._check_refinement(ir_action, named))
        return found

    def settle(self, changes: Sequence[Change]) -> None:
        """Make `before` what the machine is, by what changed since they were the same."""
        for holder, key, _ in changes:
            put(self._twin(holder), key, present(holder, key))

    def restart(self) -> None:
        """Make `before` a machine before init, for `settle` to go on from."""
        reset(self.before)

    def _twin(self, holder: Holder) -> Holder:
        """The record or array of `before` that is at a place of the machine."""
        twin = self._twins.get(id(holder))
        if twin is None:
            around, key = holder._place
            twin = self._twins[id(holder)] = present(self._twin(around), key)
        return twin

    def _abstract_states(self, refinement: Refinement) -> tuple[Record, Record]:
        """Two abstract machines at their initial values."""
        if self._abstract is None:
            make = refinement.abstract.state
            self._abstract = make(Store(self.sizes)), make(Store(self.sizes))
        for machine in self._abstract:
            reset(machine)
        return self._abstract

    def _clauses(self, item: Property, ir: PropertyIR, values: Sequence[Any]) -> list[Violation]:
        found: list[Violation] = []
        if item.place:
            machines = (id(self.machine), id(self.before))
            values = [getattr(value, item.place) if id(value) in machines else value for value in values]
        try:
            answer = item.function(*values)
            clauses = [Clause("holds", answer, ())] if isinstance(answer, bool) else answer
            for clause in clauses:
                if not clause.holds:
                    found.append(_violation(ir, clause))
        except STEP_ERRORS as error:
            found.append(self._undefined(ir, error))
        return found

    def _undefined(self, ir: PropertyIR, error: BaseException) -> Violation:
        kind, message = failure_kind(error)
        return Violation(ir.identifier, "well-defined", ir.kind, (), message or kind.value)

    def _check_refinement(self, action: ActionIR, named: dict[str, Any]) -> list[Violation]:
        refinement = self.spec.refinement
        if refinement is None:
            return []
        ir = self._refinement_ir(action)
        start, image = self._abstract_states(refinement)
        steps = {function.__name__: step for function, step in refinement.steps.items()}
        try:
            refinement.mapping(named["before"], start)
            if action.name in steps:
                values = [named[parameter.name] for parameter in action.parameters]
                steps[action.name](start, *values, *([named["result"]] if "result" in named else []))
            refinement.mapping(named["after"], image)
        except Disabled:
            return [Violation(ir.identifier, ir.clauses[-1].name, ir.kind)]
        except STEP_ERRORS as error:
            return [self._undefined(ir, error)]
        return self._compare(ir, start, image)

    def _refinement_ir(self, action: ActionIR | None) -> PropertyIR:
        name = action.name if action is not None else None
        return next(
            item for item in self.program.properties if item.kind in ("refinement", "initial") and item.action == name
        )

    def _compare(self, ir: PropertyIR, expected: Record, found: Record) -> list[Violation]:
        schema = self.program.abstract_schema
        assert schema is not None
        left, right = read_state(expected, schema), read_state(found, schema)
        if left == right:
            return []
        violations: list[Violation] = []
        position = 0
        for number, leaf in enumerate(schema.leaves):
            for offset in range(leaf.count(self.sizes)):
                if left[position + offset] != right[position + offset]:
                    indices = _unravel(offset, [dimension.value(self.sizes) for dimension in leaf.dimensions])
                    elements = tuple(zip(ir.clauses[number].elements, indices, strict=True))
                    violations.append(Violation(ir.identifier, ir.clauses[number].name, ir.kind, elements))
            position += leaf.count(self.sizes)
        return violations


def failure_kind(error: BaseException) -> tuple[FailureKind, str]:
    """The IR's kind of failure for an exception a specification's function raised, and its message."""
    if isinstance(error, StepFailure):
        return error.kind, ""
    if isinstance(error, AssertionError):
        return FailureKind.ASSERT, str(error)
    if isinstance(error, (ArithmeticError, MemoryError)) or (isinstance(error, ValueError) and "shift" in str(error)):
        return FailureKind.ARITHMETIC, ""
    if isinstance(error, TypeError) and "NoneType" in str(error):
        return FailureKind.NONE, ""
    raise error


def _violation(ir: PropertyIR, clause: Clause) -> Violation:
    labels = next((item.elements for item in ir.clauses if item.name == clause.name), ())
    elements = tuple((label, to_integer(value)) for label, value in zip(labels, clause.elements, strict=False))
    return Violation(ir.identifier, clause.name, ir.kind, elements)


def _values(type_: LeafType, sizes: Sizes) -> range:
    low, high = type_.bounds(sizes)
    return range(low, high + 1)


def _python_value(value: int, type_: LeafType, enumeration: Any) -> Any:
    if isinstance(type_, BooleanType):
        return bool(value)
    if isinstance(type_, IntegerType) and type_.optional and value == NONE:
        return None
    return value if enumeration is None else enumeration(value)


def _enumerations(function: Callable[..., Any]) -> dict[str, Any]:
    """The enum classes among an action's parameters and result."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(inspect.unwrap(function), include_extras=True).items():
        for item in (hint, *typing.get_args(hint)):
            if isinstance(item, type) and issubclass(item, enum.IntEnum):
                found[name] = item
    return found


def _leading_guards(function: Callable[..., Any]) -> int:
    """How many require lines stand at the top level of an action before anything but variables is assigned."""
    count = 0
    for statement in source.definition(function).body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            continue
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "require":
            count += 1
            continue
        break
    return count


def _unravel(offset: int, dimensions: Sequence[int]) -> tuple[int, ...]:
    result: list[int] = []
    for length in reversed(dimensions):
        result.append(offset % length)
        offset //= length
    return tuple(reversed(result))

