"""From a solver's model to a trace: the steps are executed again with concrete values by the same executor.

So what a trace shows was computed, not decoded from solver output; a model that did not replay would show at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...model.lang.ir import PropertyIR
from ...model.lang.trace import Failure, FlatStep, StepOutcome, Violation, failure_violation
from .executor import Chooser, Executor, Run
from .relations import WELL_DEFINED, Relations, argument_name, choice_prefix, choices_from, step_arguments


class Replay:
    """Concrete execution of a program at a scope."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations
        self._program = relations.program

    def initial(self, model: Mapping[str, int], prefix: str) -> tuple[FlatStep, Violation | None]:
        """The initial state in a model, and the violation if init fails on the way to it."""
        relations = self._relations
        flat = self._program.schema.initial(relations.sizes)
        run = self._run(self._program.init, (), flat, choices_from(model, prefix + "init."))
        choices = tuple(int(choice.value) for choice in run.choices)  # type: ignore[arg-type]
        failure = _failure(run)
        if failure is not None:
            return FlatStep(-1, (), choices, None, flat), failure_violation(self._program, failure, "init")
        return FlatStep(-1, (), choices, None, relations.flat_of(run.state[0])), None

    def step(
        self, before: tuple[int, ...], action: int, model: Mapping[str, int], prefix: str
    ) -> tuple[FlatStep, StepOutcome]:
        """The step an action takes in a model."""
        ir_action = self._program.actions[action]
        arguments = tuple(
            model.get(argument_name(prefix, ir_action, p.name), p.type.bounds(self._relations.sizes)[0])
            for p in ir_action.parameters
        )
        run = self._run(ir_action.function, arguments, before, choices_from(model, choice_prefix(prefix, ir_action)))
        choices = tuple(int(choice.value) for choice in run.choices)  # type: ignore[arg-type]
        outcome = self.outcome(run, action)
        after = before if outcome.state is None else outcome.state
        return FlatStep(action, arguments, choices, outcome.result, after), outcome

    def outcome(self, run: Run, action: int) -> StepOutcome:
        """What a concrete run amounts to."""
        failure = _failure(run)
        if failure is not None:
            return StepOutcome(True, failure=failure)
        if any(stop.condition is True for stop in run.stops):
            return StepOutcome(False)
        returns = self._program.actions[action].returns
        result = None if returns is None or run.value is None else int(run.value)  # type: ignore[arg-type]
        return StepOutcome(True, self._relations.flat_of(run.state[0]), result)

    def _run(self, function: str, arguments: Sequence[int], flat: tuple[int, ...], choose: Chooser) -> Run:
        relations = self._relations
        leaves = relations.leaves_of(flat)
        executor = Executor(self._program, relations.sizes, relations.terms, choose=choose)
        return executor.run(function, arguments, (leaves, leaves, (), ()))

    def violations(self, property_: PropertyIR, current: Sequence[int]) -> list[Violation]:
        """Clauses of an invariant that are false in a state, each with its first culprit."""
        return self._violations(property_, (), current, current)

    def step_violations(
        self, property_: PropertyIR, step: FlatStep, before: Sequence[int], result: int | None
    ) -> list[Violation]:
        """Clauses of a step property that are false of a step."""
        arguments = step_arguments(self._program, property_, step.arguments, result)
        return self._violations(property_, arguments, step.state, before)  # type: ignore[arg-type]

    def _violations(
        self, property_: PropertyIR, arguments: Sequence[int], current: Sequence[int], before: Sequence[int]
    ) -> list[Violation]:
        relations = self._relations
        run = relations.evaluate(
            property_, arguments, relations.leaves_of(current), relations.leaves_of(before), witnesses=True
        )
        found: dict[str, Violation] = {}
        for claim in run.claims:
            clause = property_.clauses[claim.clause]
            if claim.reached is True and claim.condition is False and clause.name not in found:
                values = [int(witness) for witness in claim.witnesses]  # type: ignore[arg-type]
                elements = tuple(zip(clause.elements, values, strict=False))
                position = str(self._program.positions[claim.where])
                found[clause.name] = Violation(
                    property_.identifier, clause.name, property_.kind, elements, property_.name, position
                )
        for stop in run.stops:
            if stop.condition is True and stop.kind is None and property_.clauses:
                name, message = property_.clauses[-1].name, "the abstract machine cannot take this step"
            elif stop.condition is True and stop.kind is not None:
                name, message = WELL_DEFINED, f"{stop.message or stop.kind.value} while evaluating the property"
            else:
                continue
            position = str(self._program.positions[stop.where])
            found.setdefault(name, Violation(property_.identifier, name, property_.kind, (), message, position))
        return list(found.values())

    def failure(self, outcome: StepOutcome, action: int) -> Violation | None:
        """The violation that a failing step is."""
        if outcome.failure is None:
            return None
        return failure_violation(self._program, outcome.failure, self._program.actions[action].name)


def _failure(run: Run) -> Failure | None:
    """The failure at which a concrete run stopped, if it did (a concrete run stops at most once)."""
    for stop in run.stops:
        if stop.condition is True and stop.kind is not None:
            return Failure(stop.kind, stop.where, stop.message)
    return None
