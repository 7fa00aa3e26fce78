"""Proof by induction: the initial states satisfy every clause, and every action keeps it if all clauses held.

One obligation for each action and clause. What an action does not touch is the same term before and after and needs no
solver; what is left of an action is asked in one query, whether any clause can be violated, which costs hardly more
than the hardest of them alone: each would repeat the hypotheses and the step. A model settles the obligations that are
violated in it, and the rest is asked again; a query that takes too long is halved. k-induction assumes the clauses
along k states and checks its base case by unrolling.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

from ...model.lang.ir import Compare, Constant, Expression, Program, PropertyIR, Require, SizeOf, Sizes
from ...model.lang.trace import FlatStep, Trace, Violation, to_step
from ...model.lang.verdict import Outcome, Verdict, combine
from .executor import Leaves, TooBigError
from .narrowing import narrowed
from .relations import WELL_DEFINED, Relations, Requirement, Transition
from .replaying import Replay
from .results import Obligation, Progress, Proof
from .solving import Answer, Solvers
from .unrolling import AnyStep, any_step
from .values import Boolean, Interval, Truth

ENGINE = "prove"
CHECKS, VACUITY, INIT, HYPOTHESES = "checks", "vacuity", "init", "hypotheses"
PERHAPS = "counterexample to induction: its first state satisfies every invariant, but is perhaps unreachable"
TOGETHER_SECONDS = 60.0
"""How long a solver may take for many obligations in one query, before it is asked for half as many."""
_NO_FAILURE, _SATISFIABLE, _FIRES = "no failure", "satisfiable", "can fire"


@dataclass(frozen=True)
class Query:
    """An obligation as conditions that must not be (for vacuity: must be) satisfiable together.

    `action` is the number of the last step's action, -1 for a query about initial states."""

    label: tuple[str, str, str]
    conditions: tuple[Truth, ...]
    expected: str
    action: int = -1
    property: PropertyIR | None = None


class Induction:
    """The queries of an induction proof, made one action at a time."""

    def __init__(self, relations: Relations, k: int, *, narrow: bool = True) -> None:
        self.relations = relations
        self.intervals: tuple[Interval, ...] | None = None
        self._narrow = narrow
        self._program = relations.program
        self._invariants = relations.state_properties("invariant")
        self.steps: list[AnyStep] = []
        self._k = k
        self._ready = False
        self._last: Leaves = ()
        self._hypotheses: list[Truth] = []
        self._known: set[int] = set()

    def _prepare(self) -> None:
        """States 0..k-1 with their hypotheses; k-1 steps of any action between them."""
        if self._narrow:
            self.intervals = narrowed(self.relations, self._invariants)
        self._last = self.relations.variables(state_prefix(0), self.intervals)
        self._assume(self._last)
        for step in range(1, self._k):
            taken = any_step(self.relations, self._last, state_prefix(step))
            self.steps.append(taken)
            self._last = taken.after
            self._hypotheses.append(taken.taken)
            self._assume(self._last)
        self._ready = True

    def _assume(self, state: Leaves) -> None:
        self._known = set()
        for property_ in self._invariants:
            for requirement in self.relations.required(property_, state):
                for part in requirement.parts:
                    self._hypotheses.append(part)
                    if not isinstance(part, bool):
                        self._known.add(part.number)

    # --- queries -----------------------------------------------------------------------------------------------

    def labels(self) -> list[tuple[str, str, str]]:
        """Every obligation there will be."""
        found = [(INIT, CHECKS, _NO_FAILURE), (INIT, VACUITY, _SATISFIABLE), (HYPOTHESES, VACUITY, _SATISFIABLE)]
        initial = self.relations.state_properties("initial")
        found += [(INIT, p.identifier, name) for p in (*self._invariants, *initial) for name in clause_names(p)]
        for number, action in enumerate(self._program.actions):
            if not switched_off(self._program, number, self.relations.sizes):
                found.append((action.name, VACUITY, _FIRES))
            found.append((action.name, CHECKS, _NO_FAILURE))
            kept = (*self._invariants, *self.relations.step_properties(number))
            found += [(action.name, p.identifier, name) for p in kept for name in clause_names(p)]
        return found

    def initial_queries(self, wanted: Callable[[str], bool]) -> list[Query]:
        """Every clause holds in every initial state."""
        relations = self.relations
        run = relations.initial(state_prefix(0))
        completed = run.completed(relations.terms)
        queries = []
        if wanted(VACUITY):
            queries.append(Query((INIT, VACUITY, _SATISFIABLE), (completed,), "sat"))
        if wanted(CHECKS):
            queries.append(Query((INIT, CHECKS, _NO_FAILURE), (run.failed(relations.terms),), "unsat"))
        for property_ in (*self._invariants, *relations.state_properties("initial")):
            if wanted(property_.identifier):
                for requirement in relations.required(property_, run.state[0]):
                    conditions = (completed, relations.violated(requirement.parts))
                    label = (INIT, property_.identifier, requirement.clause)
                    queries.append(Query(label, conditions, "unsat", -1, property_))
        return queries

    def hypotheses_query(self) -> Query:
        """The hypotheses do not contradict each other."""
        if not self._ready:
            self._prepare()
        return Query((HYPOTHESES, VACUITY, _SATISFIABLE), tuple(self._hypotheses), "sat")

    def action_queries(self, action: int, wanted: Callable[[str], bool]) -> list[Query]:
        """A step of this action fails no check, and keeps every clause."""
        if not self._ready:
            self._prepare()
        name = self._program.actions[action].name
        relations, given = self.relations, tuple(self._hypotheses)
        transition = relations.transition(action, self._last, state_prefix(self._k))
        queries = []
        if wanted(CHECKS):
            queries.append(Query((name, CHECKS, _NO_FAILURE), (*given, transition.failed), "unsat", action))
        for property_ in (*self._invariants, *relations.step_properties(action)):
            if not wanted(property_.identifier):
                continue
            for requirement in self._demanded(property_, transition):
                violated = relations.violated(requirement.parts, self._known)
                label = (name, property_.identifier, requirement.clause)
                conditions = (*given, transition.completed, violated)
                queries.append(Query(label, conditions, "unsat", action, property_))
        if wanted(VACUITY) and not switched_off(self._program, action, relations.sizes):
            queries.append(Query((name, VACUITY, _FIRES), (*given, transition.completed), "sat", action))
        return queries

    def _demanded(self, property_: PropertyIR, transition: Transition) -> list[Requirement]:
        if property_.kind == "invariant":
            return self.relations.required(property_, transition.after)
        return self.relations.required_of_step(property_, transition)


def switched_off(program: Program, action: int, sizes: Sizes) -> bool:
    """Whether the scope alone keeps an action from happening: one of its first guards compares constants of the scope
    and is false. Such an action is not vacuous by mistake."""
    first = program.functions[program.actions[action].function].blocks[0]
    guards = [item.condition for item in first.instructions if isinstance(item, Require)]
    return any(_constant(guard, sizes) == 0 for guard in guards)


_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}


def _constant(expression: Expression, sizes: Sizes) -> int | None:
    """The value of a comparison of constants of the scope; None for anything else."""
    match expression:
        case Constant(value):
            return value
        case SizeOf(size):
            return size.value(sizes)
        case Compare(sign, left, right):
            values = _constant(left, sizes), _constant(right, sizes)
            named = isinstance(left, SizeOf) or isinstance(right, SizeOf)
            if named and values[0] is not None and values[1] is not None:
                return int(_COMPARISONS[sign](values[0], values[1]))
    return None


def state_prefix(step: int) -> str:
    """What the names of a step's variables begin with: its parameters and choices, and the state after it."""
    return f"{step}:"


def clause_names(property_: PropertyIR) -> list[str]:
    return [*(clause.name for clause in property_.clauses), WELL_DEFINED]


# --- running the proof -----------------------------------------------------------------------------------------


class _Run:
    """One call of `prove`: asks the queries, gathers the answers, turns models into traces."""

    def __init__(
        self, program: Program, sizes: Sizes, spec: str, k: int, only: Collection[str] | None, deadline: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._program = program
        self._sizes = sizes
        self._spec = spec
        self._k = k
        self._only = only
        self._started = time.monotonic()
        self._deadline = deadline
        self._progress = progress
        self._induction = Induction(Relations(program, sizes, deadline), k)
        self._labels = [label for label in self._induction.labels() if self._wanted(label[1])]
        self._asked: list[tuple[tuple[Query, ...], Future[Answer]]] = []
        self._settled: dict[tuple[str, str, str], Obligation] = {}
        self._traces: dict[str, Trace] = {}
        self._stopped = "timeout"

    def _wanted(self, property_: str) -> bool:
        return self._only is None or property_ in self._only

    def prove(self, jobs: int | None) -> Proof:
        with Solvers(self._induction.relations.terms, jobs) as solvers:
            try:
                try:
                    self._ask_all(solvers)
                except TooBigError as error:
                    self._stopped = error.reason
                self._gather(solvers)
            except KeyboardInterrupt:
                self._stopped = "interrupted"
            self._collect(solvers, lambda future: future.done() and not future.cancelled())
        base = self._base_case(jobs) if self._k > 1 and self._stopped == "timeout" else ()
        seconds = time.monotonic() - self._started
        obligations = tuple(self._settled.get(label) or self._unsettled(label) for label in self._labels)
        return Proof(self._verdicts(obligations, base, seconds), obligations, seconds)

    def _ask_all(self, solvers: Solvers) -> None:
        self._ask(solvers, self._induction.initial_queries(self._wanted))
        for action in range(len(self._program.actions)):
            self._ask(solvers, self._induction.action_queries(action, self._wanted))
            self._collect(solvers, Future.done)
        if self._wanted(VACUITY):
            self._ask(solvers, [self._induction.hypotheses_query()])

    def _ask(self, solvers: Solvers, queries: Iterable[Query]) -> None:
        """Ask what must not be satisfiable together, anything else alone."""
        together = []
        for query in queries:
            if query.expected == "unsat" and False not in query.conditions:
                together.append(query)
            else:
                self._ask_alone(solvers, query)
        self._ask_together(solvers, together)

    def _ask_alone(self, solvers: Solvers, query: Query) -> None:
        future = solvers.ask(query.conditions, self._deadline, query.expected == "unsat")
        self._asked.append(((query,), future))

    def _ask_together(self, solvers: Solvers, queries: Sequence[Query]) -> None:
        if len(queries) <= 1:
            for query in queries:
                self._ask_alone(solvers, query)
            return
        terms = [{c.number: c for c in query.conditions if isinstance(c, Boolean)} for query in queries]
        common = set.intersection(*(set(one) for one in terms))
        ways = [[one[number] for number in one if number not in common] for one in terms]
        future = solvers.ask_any(
            [terms[0][number] for number in sorted(common)], ways, self._deadline, TOGETHER_SECONDS
        )
        self._asked.append((tuple(queries), future))

    def _gather(self, solvers: Solvers) -> None:
        while self._asked:
            wait([future for _, future in self._asked], timeout=0.5, return_when="FIRST_COMPLETED")
            self._collect(solvers, Future.done)

    def _collect(self, solvers: Solvers, ready: Callable[[Future[Answer]], bool]) -> None:
        """Settle the obligations whose answers are ready; ask again what an answer leaves open."""
        asked, self._asked = self._asked, []
        for queries, future in asked:
            if ready(future):
                self._settle_all(solvers, queries, future.result())
            else:
                self._asked.append((queries, future))
        if self._progress is not None:
            seconds = time.monotonic() - self._started
            self._progress(Progress(len(self._settled), len(self._labels), seconds))

    def _settle_all(self, solvers: Solvers, queries: tuple[Query, ...], answer: Answer) -> None:
        share = replace(answer, seconds=answer.seconds / len(queries))
        late = self._deadline <= time.monotonic()
        if len(queries) == 1 or answer.answer == "unsat" or (answer.answer == "unknown" and late):
            for query in queries:
                self._settle(query, share)
        elif answer.answer == "sat" and answer.ways:
            for number in answer.ways:
                self._settle(queries[number], share)
            self._ask_together(solvers, [q for number, q in enumerate(queries) if number not in answer.ways])
        else:
            half = len(queries) // 2
            self._ask_together(solvers, queries[:half])
            self._ask_together(solvers, queries[half:])

    def _settle(self, query: Query, answer: Answer) -> None:
        action, property_, clause = query.label
        outcome, reason = Outcome.UNKNOWN, answer.reason
        if answer.answer == query.expected:
            outcome = Outcome.HOLDS
        elif answer.answer != "unknown":
            outcome = Outcome.VIOLATED
            if query.expected == "sat":
                reason = f"{action} {clause}: no such state or step exists, so what is proved of it says nothing"
            else:
                reason = self._explain(query, answer.model)
        self._settled[query.label] = Obligation(action, property_, clause, outcome, answer.seconds, reason)

    def _unsettled(self, label: tuple[str, str, str]) -> Obligation:
        return Obligation(*label, Outcome.UNKNOWN, 0.0, self._stopped)

    # --- counterexamples ---------------------------------------------------------------------------------------

    def _explain(self, query: Query, model: Mapping[str, int]) -> str:
        """Keep the trace of a property's first counterexample; say what it is."""
        replay = Replay(self._induction.relations)
        reachable = query.action < 0
        if reachable:
            first, violation = replay.initial(model, state_prefix(0))
            steps = [first]
            violation = violation or self._state_violation(replay, query, first)
        else:
            steps, violation = self._steps(replay, query, model)
        flat = tuple(to_step(self._program, self._sizes, step) for step in steps)
        scope = {name: self._sizes[name] for name in self._program.parameters}
        trace = Trace(
            self._spec, scope, flat, violation, engine=ENGINE, reachable=reachable, shortest=reachable,
            notes=() if reachable else (PERHAPS,),
        )
        self._traces.setdefault(query.label[1], trace)
        return "an initial state violates it" if reachable else "not inductive: " + PERHAPS

    def _steps(
        self, replay: Replay, query: Query, model: Mapping[str, int]
    ) -> tuple[list[FlatStep], Violation | None]:
        state = self._induction.relations.flat_in(model, state_prefix(0), self._induction.intervals)
        steps = [FlatStep(-1, (), (), None, state)]
        for taken in self._induction.steps:
            step, _ = replay.step(steps[-1].state, taken.action_in(model), model, taken.prefix)
            steps.append(step)
        before = steps[-1].state
        step, outcome = replay.step(before, query.action, model, state_prefix(self._k))
        steps.append(step)
        violation = replay.failure(outcome, query.action)
        if violation is None and query.property is not None:
            if query.property.kind == "invariant":
                violation = self._state_violation(replay, query, step)
            else:
                found = replay.step_violations(query.property, step, before, outcome.result)
                violation = _of_clause(found, query.label[2])
        return steps, violation

    def _state_violation(self, replay: Replay, query: Query, step: FlatStep) -> Violation | None:
        if query.property is None:
            return None
        return _of_clause(replay.violations(query.property, step.state), query.label[2])

    # --- verdicts ----------------------------------------------------------------------------------------------

    def _base_case(self, jobs: int | None) -> tuple[Verdict, ...]:
        from .model_checking import bounded

        remaining = max(0.1, self._deadline - time.monotonic())
        return bounded(
            self._program, self._sizes, spec=self._spec, depth=self._k - 1, timeout_seconds=remaining, jobs=jobs
        ).verdicts

    def _verdicts(
        self, obligations: tuple[Obligation, ...], base: tuple[Verdict, ...], seconds: float
    ) -> tuple[Verdict, ...]:
        grouped: dict[str, list[Obligation]] = {}
        for obligation in obligations:
            grouped.setdefault(obligation.property, []).append(obligation)
        based = {verdict.property: verdict for verdict in base}
        names = dict.fromkeys([*(p.identifier for p in self._program.properties), CHECKS, VACUITY])
        verdicts = [self._verdict(name, grouped[name], based.get(name)) for name in names if name in grouped]
        return tuple(self._grounded(verdicts))

    def _grounded(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Every obligation supposes all invariants, so when one of them is not proved nothing else is, either; those
        that were not asked about are named in the bound."""
        invariants = dict.fromkeys(p.identifier for p in self._program.properties if p.kind == "invariant")
        answered = {verdict.property: verdict.outcome for verdict in verdicts}
        unproved = [name for name in invariants if answered.get(name, Outcome.HOLDS) is not Outcome.HOLDS]
        assumed = [name for name in invariants if name not in answered]
        reason = f"every step keeps it, but only given invariants that are not proved: {', '.join(unproved)}"
        result: list[Verdict] = []
        for verdict in verdicts:
            if verdict.outcome is Outcome.HOLDS and verdict.property != VACUITY:
                if unproved:
                    verdict = replace(verdict, outcome=Outcome.UNKNOWN, reason=reason)
                elif assumed:
                    verdict = replace(verdict, bound=f"{verdict.bound}, given {', '.join(assumed)}")
            result.append(verdict)
        return result

    def _verdict(self, name: str, obligations: list[Obligation], base: Verdict | None) -> Verdict:
        outcomes = [obligation.outcome for obligation in obligations]
        if base is not None:
            outcomes.append(base.outcome)
        outcome = combine(outcomes)
        if outcome is Outcome.VIOLATED and not self._refuted(name, obligations, base):
            # A counterexample to induction begins in a state that perhaps no run reaches: nothing is decided.
            outcome = Outcome.UNKNOWN
        reasons = dict.fromkeys(o.reason for o in obligations if o.outcome is not Outcome.HOLDS and o.reason)
        if base is not None and base.outcome is not Outcome.HOLDS:
            reasons[base.reason or f"base case: {base.outcome.value}"] = None
        kinds = {p.kind for p in self._program.properties if p.identifier == name}
        how = "inductive" if outcome is Outcome.HOLDS else "induction"
        if self._k > 1:
            how = f"{self._k}-{how}"
        if kinds == {"initial"}:
            how = "initial states"
        trace = base.trace if base is not None and base.trace is not None else self._traces.get(name)
        return Verdict(
            ENGINE, name, outcome, f"{how} at {self._program.scope_text(self._sizes)}",
            seconds=sum(obligation.seconds for obligation in obligations),
            trace=trace if Outcome.VIOLATED in outcomes else None,
            reason="; ".join(reasons) if outcome is not Outcome.HOLDS else "",
        )

    def _refuted(self, name: str, obligations: list[Obligation], base: Verdict | None) -> bool:
        """Whether a violation is certain: in an initial state, in the base case, or of a proof's own hypotheses."""
        if name == VACUITY or (base is not None and base.outcome is Outcome.VIOLATED):
            return True
        return any(item.outcome is Outcome.VIOLATED and item.action == INIT for item in obligations)


def _of_clause(violations: list[Violation], clause: str) -> Violation | None:
    for violation in violations:
        if violation.clause == clause:
            return violation
    return violations[0] if violations else None


def prove(
    program: Program,
    sizes: Sizes,
    *,
    spec: str = "",
    k: int = 1,
    jobs: int | None = None,
    timeout_seconds: float = 600.0,
    progress: Callable[[Progress], None] | None = None,
    only: Collection[str] | None = None,
) -> Proof:
    """Prove every property inductive at a scope (k-inductive for k > 1), with vacuity checks.

    `jobs` solver processes (default: one a core). `only` limits the obligations to these property identifiers (also
    "checks", "vacuity"); all invariants stay hypotheses. A counterexample to induction is UNKNOWN, with a trace that
    says `reachable=False`. What is not decided within `timeout_seconds`, or at Ctrl-C, is UNKNOWN."""
    deadline = time.monotonic() + timeout_seconds
    return _Run(program, sizes, spec or program.name, k, only, deadline, progress).prove(jobs)
