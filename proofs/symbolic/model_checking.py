"""Bounded model checking: the shortest run from an initial state that breaks anything, up to a depth.

Depth by depth, one query asks whether *any* clause or check breaks in exactly that many steps; the run in its model is
replayed to see which. The next depths are built, and asked on idle processes, while a depth is solved. States along
the run are terms over the choices made so far: the initial state is concrete, so much of the first steps folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, TimeoutError

from ...model.lang.ir import Program, Sizes
from ...model.lang.trace import FlatStep, Trace, Violation, to_step
from ...model.lang.verdict import Outcome, Verdict
from .executor import Leaves, TooBigError
from .induction import CHECKS, state_prefix
from .relations import Relations
from .replaying import Replay
from .results import Bounded, Progress
from .solving import Answer, Solvers
from .unrolling import AnyStep, any_step
from .values import Boolean, Integer, Truth, Value

ENGINE = "bounded"


class Unrolling:
    """The run as formulas, one depth after the other."""

    def __init__(self, relations: Relations) -> None:
        self.relations = relations
        self.steps: list[AnyStep] = []
        self._path: list[Truth] = []
        self._state: Leaves = ()

    def next_depth(self) -> list[Truth]:
        """Conditions that say: something breaks at exactly the next depth."""
        if not self._path:
            return self._begin()
        terms = self.relations.terms
        step = any_step(self.relations, self._state, state_prefix(len(self.steps) + 1))
        self.steps.append(step)
        broken = terms.disjunction([self._broken_state(step.after), self._broken_step(step)], flat=False)
        bad = terms.disjunction([step.failed, terms.conjunction([step.taken, broken], flat=False)], flat=False)
        conditions = [*self._path, bad]
        self._path.append(step.taken)
        self._state = self._named(step.after)
        return conditions

    def _begin(self) -> list[Truth]:
        relations = self.relations
        run = relations.initial(state_prefix(0))
        completed = run.completed(relations.terms)
        self._path = [completed]
        self._state = run.state[0]
        wrong = [self._broken_state(self._state)]
        for property_ in relations.state_properties("initial"):
            wrong.extend(relations.violated(r.parts) for r in relations.required(property_, self._state))
        broken = relations.terms.conjunction([completed, relations.terms.disjunction(wrong)], flat=False)
        return [relations.terms.disjunction([run.failed(relations.terms), broken])]

    def _broken_state(self, state: Leaves) -> Truth:
        relations = self.relations
        return relations.terms.disjunction(
            relations.violated(requirement.parts)
            for property_ in relations.state_properties("invariant")
            for requirement in relations.required(property_, state)
        )

    def _broken_step(self, step: AnyStep) -> Truth:
        relations = self.relations
        wrong = []
        for transition in step.transitions:
            for property_ in relations.step_properties(transition.action):
                broken = relations.terms.disjunction(
                    relations.violated(r.parts) for r in relations.required_of_step(property_, transition)
                )
                selected = step.selected(relations.terms, transition.action)
                wrong.append(relations.terms.conjunction([selected, broken], flat=False))
        return relations.terms.disjunction(wrong)

    def _named(self, state: Leaves) -> Leaves:
        """The state with a fresh variable for everything symbolic, defined by an equation of the path."""
        relations, terms = self.relations, self.relations.terms
        named = relations.variables(state_prefix(len(self.steps)))
        leaves: list[tuple[Value, ...]] = []
        for values, variables in zip(state, named, strict=True):
            leaf: list[Value] = []
            for value, variable in zip(values, variables, strict=True):
                if isinstance(value, Integer) and isinstance(variable, Integer):
                    variable = terms.integer_variable(str(variable.arguments[0]), value.low, value.high)
                    self._path.append(terms.equal(terms.number(variable), value))
                    leaf.append(variable)
                elif isinstance(value, Boolean) and isinstance(variable, Boolean):
                    self._path.append(terms.equivalent(variable, value))
                    leaf.append(variable)
                else:
                    leaf.append(value)
            leaves.append(tuple(leaf))
        return tuple(leaves)


class _Run:
    """One call of `bounded`."""

    def __init__(
        self, program: Program, sizes: Sizes, spec: str, depth: int, deadline: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._program = program
        self._sizes = sizes
        self._spec = spec
        self._depth = depth
        self._deadline = deadline
        self._progress = progress
        self._started = time.monotonic()
        self._unrolling = Unrolling(Relations(program, sizes, deadline))
        self._asked: list[Future[Answer]] = []
        self._found: tuple[Trace, tuple[Violation, ...]] | None = None
        self._reason = ""

    def search(self, jobs: int | None) -> Bounded:
        finished = -1
        with Solvers(self._unrolling.relations.terms, jobs) as solvers:
            try:
                for depth in range(self._depth + 1):
                    answer = self._answer(solvers, depth)
                    if answer.answer == "sat":
                        self._found = self._trace(answer.model, depth)
                        break
                    if answer.answer != "unsat":
                        self._reason = answer.reason or "unknown"
                        break
                    finished = depth
                    if self._progress is not None:
                        self._progress(Progress(depth + 1, self._depth + 1, time.monotonic() - self._started))
            except TooBigError as error:
                self._reason = error.reason
            except KeyboardInterrupt:
                self._reason = "interrupted"
        seconds = time.monotonic() - self._started
        return Bounded(self._verdicts(finished, seconds), finished, seconds)

    def _answer(self, solvers: Solvers, depth: int) -> Answer:
        """The answer about a depth; meanwhile the next depths are made ready for idle solvers."""
        while len(self._asked) <= depth:
            self._ask_next(solvers)
        while True:
            ahead = len(self._asked) <= min(depth + solvers.jobs - 1, self._depth)
            try:
                return self._asked[depth].result(timeout=0.0 if ahead else None)
            except TimeoutError:
                if time.monotonic() > self._deadline:
                    return Answer("unknown", 0.0, "timeout")
                self._ask_next(solvers)

    def _ask_next(self, solvers: Solvers) -> None:
        self._asked.append(solvers.ask(self._unrolling.next_depth(), self._deadline))

    # --- what was found ----------------------------------------------------------------------------------------

    def _trace(self, model: Mapping[str, int], depth: int) -> tuple[Trace, tuple[Violation, ...]]:
        replay = Replay(self._unrolling.relations)
        first_step, init_failure = replay.initial(model, state_prefix(0))
        steps = [first_step]
        violations = [] if init_failure is None else [init_failure]
        if depth == 0 and init_failure is None:
            violations = self._state_violations(replay, first_step, initial=True)
        for number, taken in enumerate(self._unrolling.steps[:depth], start=1):
            before = steps[-1].state
            step, outcome = replay.step(before, taken.action_in(model), model, taken.prefix)
            steps.append(step)
            if number < depth:
                continue
            failure = replay.failure(outcome, step.action)
            if failure is not None:
                violations.append(failure)
                break
            violations.extend(self._state_violations(replay, step, initial=False))
            for property_ in self._unrolling.relations.step_properties(step.action):
                violations.extend(replay.step_violations(property_, step, before, outcome.result))
        scope = {name: self._sizes[name] for name in self._program.parameters}
        flat = tuple(to_step(self._program, self._sizes, step) for step in steps)
        first = violations[0] if violations else None
        trace = Trace(self._spec, scope, flat, first, engine=ENGINE, shortest=True)
        return trace, tuple(violations)

    def _state_violations(self, replay: Replay, step: FlatStep, initial: bool) -> list[Violation]:
        relations = self._unrolling.relations
        properties = relations.state_properties("invariant")
        if initial:
            properties += relations.state_properties("initial")
        return [violation for property_ in properties for violation in replay.violations(property_, step.state)]

    def _verdicts(self, finished: int, seconds: float) -> tuple[Verdict, ...]:
        scope = self._program.scope_text(self._sizes)
        names = dict.fromkeys([*(p.identifier for p in self._program.properties), CHECKS])
        broken = {} if self._found is None else {v.property: v for v in reversed(self._found[1])}
        verdicts = []
        for name in names:
            if name in broken and self._found is not None:
                trace = _about(self._found[0], broken[name])
                bound = f"shortest: {len(trace.steps) - 1} steps at {scope}"
                verdicts.append(Verdict(ENGINE, name, Outcome.VIOLATED, bound, seconds=seconds, trace=trace))
            elif self._reason or finished < 0:
                verdicts.append(
                    Verdict(ENGINE, name, Outcome.UNKNOWN, _bound(finished, scope), seconds=seconds,
                            reason=self._reason or "the initial states violate another property")
                )
            else:
                verdicts.append(Verdict(ENGINE, name, Outcome.HOLDS, _bound(finished, scope), seconds=seconds))
        return tuple(verdicts)


def _bound(finished: int, scope: str) -> str:
    return f"no depth was finished at {scope}" if finished < 0 else f"up to depth {finished} at {scope}"


def _about(trace: Trace, violation: Violation) -> Trace:
    return Trace(
        trace.spec, trace.scope, trace.steps, violation, trace.fault, trace.engine, trace.shortest, trace.reachable
    )


def bounded(
    program: Program,
    sizes: Sizes,
    *,
    spec: str = "",
    depth: int,
    timeout_seconds: float = 600.0,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Bounded:
    """Search for the shortest run from an initial state that breaks a clause or a check, up to `depth` steps."""
    deadline = time.monotonic() + timeout_seconds
    return _Run(program, sizes, spec or program.name, depth, deadline, progress).search(jobs)
