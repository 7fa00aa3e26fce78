"""Single steps by symbolic execution: what the agreement tests compare with the other engines.

Each action is executed once, on a state and parameters that are all variables, and the formulas are handed to Z3; a
step puts the concrete values in for the variables and has Z3 evaluate state, result and failures. So a step exercises
the same execution, merging and lowering that proofs rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import z3  # type: ignore[import-untyped]

from ...model.lang.errors import InputError
from ...model.lang.ir import Program, PropertyIR, Sizes
from ...model.lang.trace import Failure, StepOutcome, Violation
from .executor import Leaves, Run
from .lowering import Lowering, width_of
from .relations import WELL_DEFINED, Relations, Requirement, Transition
from .replaying import Replay
from .values import Boolean, Integer, Term, Value
from .worker import Z3Backend

_STATE = "before:"


@dataclass(frozen=True)
class _Outputs:
    """Values to evaluate together: one wide bit-vector, and where each of them lies in it."""

    values: tuple[Value, ...]
    joined: Any


class SymbolicMachine:
    """One program at one scope."""

    def __init__(self, program: Program, sizes: Sizes) -> None:
        self._relations = Relations(program, sizes)
        self._program = program
        self._backend = Z3Backend()
        self._lowering: Lowering[Any] = Lowering(self._backend)
        self._before = self._relations.variables(_STATE)
        self._transitions: dict[int, tuple[Transition, _Outputs]] = {}
        self._required: dict[str, tuple[list[Requirement], _Outputs]] = {}

    # --- steps -------------------------------------------------------------------------------------------------

    def initial_states(self, limit: int = 1000) -> list[tuple[int, ...]]:
        """Initial states, at most `limit`, in ascending order of their values."""
        run = self._relations.initial("init:")
        return sorted(islice(self._states_of(run), limit))

    def _states_of(self, run: Run) -> Any:
        values = [value for leaf in run.state[0] for value in leaf]
        symbolic = [value for value in values if isinstance(value, Integer | Boolean)]
        completed = run.completed(self._relations.terms)
        if completed is False:
            return
        solver = z3.Solver()
        for condition in self._z3([completed] if isinstance(completed, Boolean) else []):
            solver.add(condition)
        terms = self._z3(symbolic)
        for variable in self._lowering.variables.values():
            domain = self._lowering.domain(variable) if isinstance(variable, Integer) else None
            if domain is not None:
                solver.add(z3.BoolRef(domain.as_ast(), self._backend.context))
        while solver.check() == z3.sat:
            model = solver.model()
            found = [model.eval(term, model_completion=True) for term in terms]
            numbers = {term.number: _integer(term, value) for term, value in zip(symbolic, found, strict=True)}
            yield tuple(numbers[v.number] if isinstance(v, Integer | Boolean) else int(v) for v in values)
            if not terms:
                return
            solver.add(z3.Or([term != value for term, value in zip(terms, found, strict=True)]))

    def step(
        self, flat: Sequence[int], action: int, arguments: Sequence[int], choices: Sequence[int] = ()
    ) -> StepOutcome:
        """What the action does. Choices beyond those given take the first value of their range."""
        transition, outputs = self._transition(action)
        values = self._given(self._before, flat)
        for variable, argument in zip(transition.arguments, arguments, strict=True):
            if isinstance(variable, Integer | Boolean):
                values[variable.number] = argument
            elif int(variable) != argument:
                raise InputError(f"argument {argument} is outside its range", "take it from the parameter's type")
        self._decide(transition, values, choices)
        run, found = transition.run, self._evaluate(outputs, values)
        stops, finished, result = found[: len(run.stops)], found[len(run.stops)], found[len(run.stops) + 1]
        for stop, happens in zip(run.stops, stops, strict=True):
            if happens:
                if stop.kind is None:
                    return StepOutcome(False)
                return StepOutcome(True, failure=Failure(stop.kind, stop.where, stop.message))
        if not finished:
            return StepOutcome(False)
        returns = self._program.actions[action].returns
        return StepOutcome(True, tuple(found[len(run.stops) + 2 :]), None if returns is None else result)

    def _transition(self, action: int) -> tuple[Transition, _Outputs]:
        if action not in self._transitions:
            transition = self._relations.transition(action, self._before, "step:")
            run = transition.run
            result = 0 if run.value is None else run.value
            after = [value for leaf in transition.after for value in leaf]
            conditions = [stop.condition for stop in run.stops]
            outputs = self._outputs([*conditions, run.finished, result, *after])
            self._transitions[action] = transition, outputs
        return self._transitions[action]

    def _decide(self, transition: Transition, values: dict[int, int], choices: Sequence[int]) -> None:
        """Give the choices that are reached, in order, the values chosen."""
        waiting = list(choices)
        for made in transition.run.choices:
            variable = made.value
            if not isinstance(variable, Integer):
                if waiting and self._truth(made.reached, values):
                    waiting.pop(0)
            elif waiting and self._truth(made.reached, values):
                values[variable.number] = waiting.pop(0)
            else:
                values[variable.number] = variable.low

    def _truth(self, condition: Value, values: dict[int, int]) -> bool:
        if isinstance(condition, bool):
            return condition
        return bool(self._evaluate(self._outputs([condition]), values)[0])

    # --- properties --------------------------------------------------------------------------------------------

    def check(self, flat: Sequence[int]) -> list[Violation]:
        """The clauses of invariants that are false in a state, each with its first culprit."""
        values = self._given(self._before, flat)
        violations: list[Violation] = []
        for property_ in self._relations.state_properties("invariant"):
            requirements, outputs = self._requirements(property_)
            found = self._evaluate(outputs, values)
            position = 0
            named = {v.clause: v for v in Replay(self._relations).violations(property_, flat)}
            for requirement in requirements:
                parts = found[position : position + len(requirement.parts)]
                position += len(parts)
                if not all(parts):
                    plain = Violation(property_.identifier, requirement.clause, property_.kind)
                    violations.append(named.get(requirement.clause, plain))
        return violations

    def _requirements(self, property_: PropertyIR) -> tuple[list[Requirement], _Outputs]:
        if property_.identifier not in self._required:
            requirements = self._relations.required(property_, self._before)
            defined = [r for r in requirements if r.clause == WELL_DEFINED]
            ordered = [*(r for r in requirements if r.clause != WELL_DEFINED), *defined]
            outputs = self._outputs([part for requirement in ordered for part in requirement.parts])
            self._required[property_.identifier] = ordered, outputs
        return self._required[property_.identifier]

    # --- evaluation by Z3 --------------------------------------------------------------------------------------

    def _given(self, leaves: Leaves, flat: Sequence[int]) -> dict[int, int]:
        variables = [value for leaf in leaves for value in leaf]
        return {
            variable.number: value
            for variable, value in zip(variables, flat, strict=True)
            if isinstance(variable, Integer | Boolean)
        }

    def _z3(self, terms: Sequence[Term]) -> list[Any]:
        lowered = self._lowering.lower(terms)
        context = self._backend.context
        return [
            (z3.BoolRef if isinstance(term, Boolean) else z3.BitVecRef)(ast.as_ast(), context)
            for term, ast in zip(terms, lowered, strict=True)
        ]

    def _outputs(self, values: Sequence[Value]) -> _Outputs:
        symbolic = [value for value in values if isinstance(value, Integer | Boolean)]
        bits = [
            z3.If(term, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1)) if isinstance(value, Boolean) else term
            for value, term in zip(symbolic, self._z3(symbolic), strict=True)
        ]
        joined = None if not bits else bits[0] if len(bits) == 1 else z3.Concat(*bits)
        return _Outputs(tuple(values), joined)

    def _evaluate(self, outputs: _Outputs, values: dict[int, int]) -> list[int]:
        """The outputs' values when the variables have these."""
        whole = 0
        if outputs.joined is not None:
            variables = list(self._lowering.variables.values())
            pairs = [
                (term, self._constant(variable, values.get(variable.number, 0)))
                for variable, term in zip(variables, self._z3(variables), strict=True)
            ]
            whole = z3.simplify(z3.substitute(outputs.joined, *pairs)).as_long()
        found: list[int] = []
        for value in reversed(outputs.values):
            if isinstance(value, Boolean):
                found.append(whole & 1)
                whole >>= 1
            elif isinstance(value, Integer):
                width = width_of(value.low, value.high)
                bits = whole & ((1 << width) - 1)
                whole >>= width
                negative = value.low < 0 and bits >> (width - 1)
                found.append(bits - (1 << width) if negative else bits)
            else:
                found.append(int(value))
        found.reverse()
        return found

    def _constant(self, variable: Term, value: int) -> Any:
        if isinstance(variable, Boolean):
            return z3.BoolVal(bool(value))
        return z3.BitVecVal(value, width_of(variable.low, variable.high))


def _integer(term: Term, value: Any) -> int:
    if isinstance(term, Boolean):
        return int(z3.is_true(value))
    return int(value.as_signed_long() if term.low < 0 else value.as_long())
