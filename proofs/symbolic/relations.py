"""The machine as formulas: states of variables, transitions, and what each property requires.

The one idea: everything a property demands is a flat list of *requirements*; the invariants' requirements are the
hypotheses of induction. A requirement after a step that is the same term as a hypothesis needs no proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...model.lang import ir
from ...model.lang.ir import ActionIR, LeafType, Program, PropertyIR, Sizes
from .executor import ClaimMade, Executor, Leaves, Run, Site, State
from .values import Interval, Number, Terms, Truth, Value

WELL_DEFINED = "well-defined"
"""The implicit clause of every property: evaluating it does not fail."""


@dataclass(frozen=True)
class Requirement:
    """What one clause demands; `parts` must all be true."""

    clause: str
    parts: tuple[Truth, ...]


@dataclass(frozen=True)
class Transition:
    """One action executed from a state: its parameters, the run, and the states before and after."""

    action: int
    arguments: tuple[Value, ...]
    run: Run
    before: Leaves
    after: Leaves
    completed: Truth
    failed: Truth


def leaf_elements(schema: ir.Schema, sizes: Sizes) -> Iterator[tuple[LeafType, str]]:
    """Type and name (`zone.pages[3].order`) of every element of a flat state."""
    for leaf in schema.leaves:
        dimensions = [dimension.value(sizes) for dimension in leaf.dimensions]
        for position in range(leaf.count(sizes)):
            indices = []
            for dimension in reversed(dimensions):
                position, index = divmod(position, dimension)
                indices.append(index)
            name = leaf.path
            for index in reversed(indices):
                name = name.replace("[]", f"[{index}]", 1)
            yield leaf.type, name


class Relations:
    """Builds the formulas of one program at one scope over one table of terms."""

    def __init__(self, program: Program, sizes: Sizes, deadline: float | None = None) -> None:
        self.program = program
        self.sizes = sizes
        self.terms = Terms()
        self._deadline = deadline
        abstract = program.abstract_schema
        self._abstract: Leaves = () if abstract is None else self.leaves_of(abstract.initial(sizes), abstract)

    # --- states ------------------------------------------------------------------------------------------------

    def with_terms_of_its_own(self) -> Relations:
        """The same program at the same scope over a new table of terms."""
        return Relations(self.program, self.sizes, self._deadline)

    def variables(self, prefix: str, intervals: Sequence[Interval] | None = None) -> Leaves:
        """A state of fresh variables; each in its interval, if these are given."""
        elements = list(leaf_elements(self.program.schema, self.sizes))
        known: Sequence[Interval | None] = intervals or [None] * len(elements)
        values = [
            self.variable(prefix + name, type_, interval)
            for (type_, name), interval in zip(elements, known, strict=True)
        ]
        return self._split(values, self.program.schema)

    def variable(self, name: str, type_: LeafType, interval: Interval | None = None) -> Value:
        """A fresh variable of a type; of an interval with one value, that value."""
        if isinstance(type_, ir.BooleanType):
            if interval is not None and interval[0] == interval[1]:
                return bool(interval[0])
            return self.terms.boolean_variable(name)
        return self.terms.integer_variable(name, *(interval or type_.bounds(self.sizes)))

    def leaves_of(self, flat: Sequence[int], schema: ir.Schema | None = None) -> Leaves:
        """A concrete flat state."""
        schema = schema or self.program.schema
        types = [type_ for type_, _ in leaf_elements(schema, self.sizes)]
        values = [
            bool(value) if isinstance(type_, ir.BooleanType) else value
            for value, type_ in zip(flat, types, strict=True)
        ]
        return self._split(values, schema)

    def flat_of(self, leaves: Leaves) -> tuple[int, ...]:
        """The flat state of concrete leaves."""
        return tuple(int(value) for leaf in leaves for value in leaf)  # type: ignore[arg-type]

    def flat_in(
        self, model: Mapping[str, int], prefix: str, intervals: Sequence[Interval] | None = None
    ) -> tuple[int, ...]:
        """The flat state a model gives to the variables of a prefix; where it gives none the initial value, or what is
        next to it in the element's interval, if these are given."""
        elements = list(leaf_elements(self.program.schema, self.sizes))
        values = [type_.initial(self.sizes) for type_, _ in elements]
        if intervals is not None:
            values = [min(max(value, low), high) for value, (low, high) in zip(values, intervals, strict=True)]
        return tuple(model.get(prefix + name, value) for (_, name), value in zip(elements, values, strict=True))

    def _split(self, values: Sequence[Value], schema: ir.Schema) -> Leaves:
        leaves, position = [], 0
        for leaf in schema.leaves:
            count = leaf.count(self.sizes)
            leaves.append(tuple(values[position : position + count]))
            position += count
        return tuple(leaves)

    def _state(self, current: Leaves, before: Leaves) -> State:
        return current, before, self._abstract, self._abstract

    # --- transitions -------------------------------------------------------------------------------------------

    def arguments(self, action: ActionIR, prefix: str) -> tuple[Value, ...]:
        """Fresh variables for an action's parameters."""
        return tuple(self.variable(argument_name(prefix, action, p.name), p.type) for p in action.parameters)

    def initial(self, prefix: str) -> Run:
        """The initial states: what `init` makes of the leaves' initial values."""
        flat = self.program.schema.initial(self.sizes)
        leaves = self.leaves_of(flat)
        executor = Executor(self.program, self.sizes, self.terms, prefix=prefix + "init.", deadline=self._deadline)
        return executor.run(self.program.init, (), self._state(leaves, leaves))

    def transition(
        self, action: int, before: Leaves, prefix: str, arguments: tuple[Value, ...] | None = None
    ) -> Transition:
        """One action from a state, for all its parameters and choices."""
        ir_action = self.program.actions[action]
        given = self.arguments(ir_action, prefix) if arguments is None else arguments
        prefix = choice_prefix(prefix, ir_action)
        executor = Executor(self.program, self.sizes, self.terms, prefix=prefix, deadline=self._deadline)
        run = executor.run(ir_action.function, given, self._state(before, before))
        failed = run.failed(self.terms)
        return Transition(action, given, run, before, run.state[0], run.completed(self.terms), failed)

    # --- properties --------------------------------------------------------------------------------------------

    def state_properties(self, kind: str) -> list[PropertyIR]:
        return [p for p in self.program.properties if p.kind == kind]

    def step_properties(self, action: int) -> list[PropertyIR]:
        """Step properties and refinements that a step of this action must satisfy."""
        name = self.program.actions[action].name
        return [
            p for p in self.program.properties if p.kind in ("step", "refinement") and p.action in (None, name)
        ]

    def required(self, property_: PropertyIR, current: Leaves) -> list[Requirement]:
        """What an invariant (or initial condition) demands of a state."""
        return self._requirements(property_, self.evaluate(property_, (), current, current))

    def required_of_step(self, property_: PropertyIR, transition: Transition) -> list[Requirement]:
        """What a step property demands of a transition."""
        arguments = step_arguments(self.program, property_, transition.arguments, transition.run.value)
        return self._requirements(
            property_, self.evaluate(property_, arguments, transition.after, transition.before)
        )

    def evaluate(
        self, property_: PropertyIR, arguments: Sequence[Value], current: Leaves, before: Leaves,
        witnesses: bool = False,
    ) -> Run:
        """Run a property's function."""
        deadline = None if witnesses else self._deadline  # a witness explains an answer that is there
        executor = Executor(self.program, self.sizes, self.terms, witnesses=witnesses, deadline=deadline)
        return executor.run(property_.function, arguments, self._state(current, before))

    def _requirements(self, property_: PropertyIR, run: Run) -> list[Requirement]:
        terms = self.terms
        parts: list[list[Truth]] = [[] for _ in property_.clauses]
        for claim in run.claims:
            parts[claim.clause].extend(self._demanded(claim))
        refused = [terms.negation(stop.condition) for stop in run.stops if stop.kind is None]
        if refused and property_.clauses:
            parts[-1].extend(refused)
        requirements = [
            Requirement(clause.name, tuple(part)) for clause, part in zip(property_.clauses, parts, strict=True)
        ]
        undefined = tuple(terms.negation(stop.condition) for stop in run.stops if stop.kind is not None)
        return [*requirements, Requirement(WELL_DEFINED, undefined)]

    def _demanded(self, claim: ClaimMade) -> Iterator[Truth]:
        for part in conjuncts(claim.condition):
            yield self.terms.implies(claim.reached, part)

    def violated(self, parts: Iterable[Truth], known: frozenset[int] | set[int] = frozenset()) -> Truth:
        """Some part is false; parts among the known terms are not."""
        open_parts = [part for part in parts if isinstance(part, bool) or part.number not in known]
        return self.terms.negation(self.terms.conjunction(open_parts))


def step_arguments(
    program: Program, property_: PropertyIR, arguments: Sequence[Value], result: Value | None
) -> tuple[Value, ...]:
    """What a step property's function is called with."""
    if property_.action is None:
        return ()
    action = next(a for a in program.actions if a.name == property_.action)
    if action.returns is None:
        return tuple(arguments)
    return (*arguments, 0 if result is None else result)


def argument_name(prefix: str, action: ActionIR, parameter: str) -> str:
    """The variable of an action's parameter."""
    return f"{prefix}{action.name}.{parameter}"


def choice_prefix(prefix: str, action: ActionIR) -> str:
    """What the names of an action's choices begin with."""
    return f"{prefix}{action.name}."


def conjuncts(condition: Truth) -> Iterator[Truth]:
    """The parts of a conjunction."""
    if isinstance(condition, bool) or condition.operator != "and":
        yield condition
        return
    for part in condition.arguments:
        yield from conjuncts(part)  # type: ignore[arg-type]


def choices_from(model: Mapping[str, int], prefix: str) -> _ModelChooser:
    """A chooser that takes every choice as a model does."""
    return _ModelChooser(model, prefix)


class _ModelChooser:
    def __init__(self, model: Mapping[str, int], prefix: str) -> None:
        self._model = model
        self._prefix = prefix

    def __call__(self, site: Site, start: Number, stop: Number) -> Number:
        name = self._prefix + "choice." + ".".join(str(part) for part in site)
        return self._model.get(name, start if isinstance(start, int) else start.low)
