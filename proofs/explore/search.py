"""Exhaustive breadth-first search of a scope.

The loop itself is compiled (see `driver`); this module gives it memory, stops it at limits and turns what it recorded
into verdicts. It comes back to Python every 50 ms or so.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from ...model.lang.errors import InputError
from ...model.lang.ir import LeadsToIR, Program, Sizes
from ...model.lang.symmetry import may_hide_failures
from ...model.lang.verdict import Outcome, Verdict
from . import context as shared
from .context import CHOICES, COUNTER_SLOTS, Context
from .counterexample import NotReproducedError, Rebuilder, found, trace_of
from .liveness import LeadsAnswer, judge
from .machine import NativeMachine
from .results import ActionCount, BranchCoverage, Exploration, Limits, Progress, SymmetryReduction
from .store import StateStore
from .symmetry import PackedSymmetry, symmetric_program, symmetry_of

ENGINE = "explore"
_SLICE_SECONDS = 0.05
_LARGEST_SLICE = 1 << 20

OnProgress = Callable[[Progress], None]


def explore(
    program: Program,
    sizes: Sizes,
    *,
    spec: str = "",
    limits: Limits | None = None,
    progress: OnProgress | None = None,
    stop_at_first: bool = True,
    symmetry: bool | Sequence[str] | None = True,
    quick: bool = False,
    only: Collection[str] | None = None,
) -> Exploration:
    """Visit every reachable state of a scope and judge every property; leads-to properties when all states are known.

    With `stop_at_first` false the search goes on and each property gets its own shortest counterexample. `symmetry`:
    True reduces by the sorts that the specification declares symmetric, a sequence by the sorts named in it; both
    raise InputError (SpecError) when one is not symmetric. None reduces by those declared if they are (a fault may
    have broken it), False by none. `quick` does not optimise the code, for searches that end soon. `only` names the
    properties to judge, if not all (the assertions in the code are always judged)."""
    started = time.monotonic()
    if only is not None:
        program = program.restricted(only)
    machine, unreduced = _machine(program, sizes, symmetry, quick)
    compile_seconds = time.monotonic() - started
    search = Search(machine, limits or Limits(), stop_at_first, started)
    try:
        search.run(progress)
        search.judge_leads(spec, progress)
        return replace(search.result(spec, compile_seconds), unreduced=unreduced)
    finally:
        search.store.release()


def _machine(
    program: Program, sizes: Sizes, symmetry: bool | Sequence[str] | None, quick: bool
) -> tuple[NativeMachine, str]:
    """The machine to search, reduced as wanted, and why it is not."""
    names = program.symmetric if symmetry is None or symmetry is True else symmetry or ()
    if not names:
        return NativeMachine(program, sizes, quick), ""
    wanted = symmetric_program(program, names)
    try:
        group = symmetry_of(wanted, sizes)
        if group.order == 1:
            return NativeMachine(program, sizes, quick), ""
        machine = NativeMachine(wanted, sizes, quick)
        error = group.unclosed(wanted.schema, [step.state for step in machine.initial_states()])
        if error is not None:
            raise error
    except InputError as refused:
        if symmetry is not None:
            raise
        return NativeMachine(program, sizes, quick), str(refused)
    machine.reduce(PackedSymmetry(group, machine.layout))
    return machine, ""


class Search:
    """One search of one machine."""

    def __init__(
        self,
        machine: NativeMachine,
        limits: Limits,
        stop_at_first: bool,
        started: float,
        store: StateStore | None = None,
    ) -> None:
        self.machine = machine
        self.limits = limits
        self.started = started
        self.store = store or StateStore(machine, limits)
        self.stopped = ""
        self.complete = False
        self.initial_states = 0
        self.cpu_seconds = 0.0
        self.leads: list[LeadsAnswer] = []
        machine.set("stop_at_first", int(stop_at_first))

    def run(self, progress: OnProgress | None) -> None:
        """Search until nothing is left, something stops it, or Ctrl-C."""
        try:
            self._run(progress)
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        if self.store.interrupted is not None:
            if not isinstance(self.store.interrupted, KeyboardInterrupt):
                raise self.store.interrupted
            self.stopped, self.complete = "interrupted", False

    def _run(self, progress: OnProgress | None) -> None:
        machine = self.machine
        self._timed("seed_states")
        self.initial_states = machine.get("states")
        count = 256
        while not self._must_stop():
            before = time.monotonic()
            finished = self._timed("run", count)
            if finished and not machine.get("stop"):
                self.complete = True
                return
            now = time.monotonic()
            if now - before < _SLICE_SECONDS / 2 and count < _LARGEST_SLICE:
                count *= 2
            elif now - before > 2 * _SLICE_SECONDS and count > 1:
                count //= 2
            if progress is not None:
                progress(self._progress(now))

    def judge_leads(self, spec: str, progress: OnProgress | None) -> None:
        """Judge the leads-to properties, once every state is known."""
        undecided = "" if self.complete and self.initial_states else self.stopped or "there is no initial state"
        reason = undecided or self._hidden()

        def tick() -> str:
            if progress is not None:
                progress(self._progress(time.monotonic()))
            return self._time_is_up()

        for index in range(len(self.machine.program.liveness)):
            if reason:
                self.leads.append(LeadsAnswer(reason=reason))
                continue
            before = time.thread_time()
            try:
                self.leads.append(judge(self.machine, self.store, index, spec, ENGINE, tick))
            except NotReproducedError as unclear:
                self.leads.append(LeadsAnswer(reason=str(unclear)))
            except KeyboardInterrupt:
                reason = self.stopped = "interrupted"
                self.leads.append(LeadsAnswer(reason=reason))
            self.cpu_seconds += time.thread_time() - before

    def _time_is_up(self) -> str:
        limit = self.limits.seconds
        return f"time limit of {limit:g} s" if limit is not None and time.monotonic() - self.started > limit else ""

    def _timed(self, function: str, *arguments: int) -> int:
        before = time.thread_time()
        try:
            return self.machine.call(function, *arguments)
        finally:
            self.cpu_seconds += time.thread_time() - before

    def _progress(self, now: float) -> Progress:
        get = self.machine.get
        return Progress(
            get("states"), self.transitions(), get("depth"), get("states") - get("cursor"), now - self.started
        )

    def _must_stop(self) -> bool:
        reasons = {
            shared.STOP_VIOLATION: "stopped at the first violation",
            shared.STOP_MEMORY: f"memory limit of {self.store.limit / (1 << 20):,.0f} MiB",
            shared.STOP_STATES: f"limit of {self.limits.states or 0:,} states",
        }
        stop = self.machine.get("stop")
        if stop == shared.STOP_CHOICES:
            raise InputError(f"an action makes more than {CHOICES} choices", "choose less often in one action")
        if stop:
            self.stopped = reasons[stop]
        else:
            self.stopped = self._time_is_up()
        return bool(self.stopped)

    def transitions(self) -> int:
        """Completed executions so far."""
        return sum(action.fired for action in action_counts(self.machine))

    # --- the answer ------------------------------------------------------------------------------------------

    def result(self, spec: str, compile_seconds: float) -> Exploration:
        """Verdicts and counts."""
        get = self.machine.get
        actions = action_counts(self.machine)
        verdicts = self._verdicts(spec)
        return Exploration(
            verdicts=verdicts,
            states=get("states"),
            transitions=self.transitions(),
            depth=get("depth"),
            frontier_peak=get("peak"),
            initial_states=self.initial_states,
            actions=actions,
            branches=branch_coverage(self.machine),
            bits_per_state=self.machine.layout.bits,
            memory_bytes=self.store.peak,
            cpu_seconds=self.cpu_seconds,
            compile_seconds=compile_seconds,
            seconds=time.monotonic() - self.started,
            complete=self.complete,
            stopped=self.stopped,
            symmetry=self._reduction(),
            vacuous=tuple(
                leads.identifier
                for leads, answer in zip(self.machine.program.liveness, self.leads, strict=False)
                if answer.vacuous
            ),
        )

    def _reduction(self) -> SymmetryReduction | None:
        packed = self.machine.symmetry
        if packed is None:
            return None
        return SymmetryReduction(packed.symmetry.counts, packed.symmetry.order, self.machine.get("orbits"))

    def _verdicts(self, spec: str) -> tuple[Verdict, ...]:
        program = self.machine.program
        rebuilder = Rebuilder(self.machine, self.store)
        verdicts: list[Verdict] = []
        for index, name in judged_names(program, self.machine.context_map):
            try:
                counterexample = rebuilder.counterexample(index)
            except NotReproducedError as unclear:
                bound = f"{self.machine.get('states'):,} states"
                verdicts.append(self._verdict(name, Outcome.UNKNOWN, bound, reason=str(unclear)))
                continue
            if counterexample is not None:
                steps, violation = counterexample
                trace = trace_of(self.machine, steps, violation, spec, ENGINE, shortest=True)
                bound = f"shortest counterexample, {len(steps) - 1} steps"
                verdicts.append(self._verdict(name, Outcome.VIOLATED, bound, trace=trace))
            else:
                verdicts.append(self._unviolated(name))
        verdicts += itertools.starmap(self._of_leads, zip(program.liveness, self.leads, strict=False))
        return one_each(verdicts)

    def _of_leads(self, leads: LeadsToIR, answer: LeadsAnswer) -> Verdict:
        """The verdict about a leads-to."""
        name, trace = leads.identifier, answer.trace
        if trace is not None:
            stem = len(trace.steps) - 1 if trace.loop is None else trace.loop
            turn = len(trace.steps) - 1 - stem
            steps = f"{stem} step{'' if stem == 1 else 's'}"
            then = f"then {turn} for ever" if turn else "then it stands still"
            bound = f"lasso: {steps}, {then}" if trace.loop is not None else f"a run of {steps}"
            return self._verdict(name, Outcome.VIOLATED, bound, trace=trace)
        if answer.reason:
            return self._verdict(name, Outcome.UNKNOWN, f"{self.machine.get('states'):,} states", reason=answer.reason)
        reduced = ", elements followed through the renamings" if answer.renamed else ""
        vacuous = "; it is never due" if answer.vacuous else ""
        return self._verdict(name, Outcome.HOLDS, f"{self._searched()}{reduced}, {leads.runs_text()}{vacuous}")

    def _searched(self) -> str:
        """What a complete search has seen."""
        states, depth = self.machine.get("states"), self.machine.get("depth")
        reachable = f"all {self.machine.get('orbits'):,} reachable states"
        if self.machine.symmetry is not None:
            reachable += f" ({states:,} up to symmetry)"
        return f"{reachable}, depth {depth}"

    def _unviolated(self, name: str) -> Verdict:
        states, depth = self.machine.get("states"), self.machine.get("depth")
        hidden = self._hidden()
        if self.complete and hidden:
            return self._verdict(name, Outcome.UNKNOWN, f"{states:,} states up to symmetry", reason=hidden)
        if self.complete and self.initial_states:
            return self._verdict(name, Outcome.HOLDS, self._searched())
        reason = self.stopped or "there is no initial state"
        return self._verdict(name, Outcome.UNKNOWN, f"{states:,} states, all those up to depth {depth}", reason=reason)

    def _hidden(self) -> str:
        """Why a complete reduced search may have missed states: an action failed where, in another order of the
        elements, it would have gone on."""
        packed = self.machine.symmetry
        if packed is None or found(self.machine, self.machine.context_map.checks) is None:
            return ""
        if not may_hide_failures(self.machine.program, packed.symmetry.sorts):
            return ""
        names = ", ".join(packed.symmetry.counts)
        return f"an action fails, perhaps not in every order of {names}; --no-symmetry searches what comes after"

    def _verdict(self, name: str, outcome: Outcome, bound: str, **more: object) -> Verdict:
        return Verdict(
            ENGINE,
            name,
            outcome,
            bound,
            states=self.machine.get("states"),
            transitions=self.transitions(),
            seconds=time.monotonic() - self.started,
            **more,  # type: ignore[arg-type]
        )


def judged_names(program: Program, context: Context) -> list[tuple[int, str]]:
    """What gets a verdict: each property, the checks inside actions, and deadlock where it is excluded."""
    names = [(index, prop.identifier) for index, prop in enumerate(program.properties)]
    names.append((context.checks, "checks"))
    if program.deadlock_free:
        names.append((context.deadlock, "deadlock"))
    return names


def one_each(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """One verdict for each name (a refinement is several functions): the one with the shortest trace, if any."""
    chosen: dict[str, Verdict] = {}
    for verdict in verdicts:
        other = chosen.get(verdict.property)
        if other is None or _trace_length(verdict) < _trace_length(other):
            chosen[verdict.property] = verdict
    return tuple(chosen.values())


def _trace_length(verdict: Verdict) -> float:
    return math.inf if verdict.trace is None else len(verdict.trace.steps)


def action_counts(machine: NativeMachine) -> tuple[ActionCount, ...]:
    """The counters of every action."""
    return tuple(
        ActionCount(action.name, *machine.slots(machine.context_map.counter_slot(index), COUNTER_SLOTS))
        for index, action in enumerate(machine.program.actions)
    )


def branch_coverage(machine: NativeMachine) -> tuple[BranchCoverage, ...]:
    """Both sides of every branch."""
    where = machine.context_map
    covered = bytes(machine.context)[where.coverage * 8 : where.coverage * 8 + where.coverage_bytes]
    result = []
    for name, function in machine.program.functions.items():
        for branch in function.branches():
            first = where.branch_base[name] + 2 * branch.branch
            line = machine.program.positions[branch.where].line
            result.append(BranchCoverage(name, line, bool(covered[first]), bool(covered[first + 1])))
    return tuple(result)
