"""What each command of the command line does: load, run an engine, hand its answer to a view.

The one idea: every command returns an `Outcome`, and the exit status is derived from it in one place (`run`). What an
engine found is first written to files and then shown, so that nothing is lost when the reader of the output goes away.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model.lang.errors import InputError, SpecError
from .model.lang.trace import Trace
from .model.lang.verdict import EXIT_STATUS, Outcome, Verdict, combine
from .session import Session, check_place, complain, make_directory, write_bytes
from .specs.loading import BUILT_IN, NAMED, Loaded, built_in, load
from .views import report

if TYPE_CHECKING:
    from .model.faults import Fault
    from .model.lang.ir import Program
    from .model.lang.spec import Spec
    from .proofs.checking import Check
    from .proofs.coverage import ModelCoverage
    from .proofs.explore import ActionCount, BranchCoverage, Exploration, Simulation
    from .proofs.mutation import Attempt
    from .proofs.symbolic import Obligation
    from .views import explain as explain_view
    from .views import table

Sizes = Mapping[str, int]
Update = Callable[[str, Any], None]
"""Shows an engine's progress record."""

USAGE = 2

def run(options: argparse.Namespace) -> int:
    """One command, with errors of the user's as one line on standard error."""
    session = Session()
    try:
        with session.interruptible(), session.words_elsewhere(getattr(options, "json", None) == "-"):
            outcome = COMMANDS[options.command](options, session)
            sys.stdout.flush()
        if session.unwritten and outcome is not Outcome.VIOLATED:
            return USAGE
        return EXIT_STATUS[outcome]
    except SpecError as error:
        complain(*error.with_caret().split("\n"))
    except InputError as error:
        complain(str(error))
    except RecursionError:
        complain("the input is nested too deeply; simplify it")
    except MemoryError:
        complain("there is not enough memory; choose a smaller scope")
        return EXIT_STATUS[Outcome.UNKNOWN]
    except (OSError, KeyboardInterrupt):
        raise
    except Exception:
        # A bug of ours. Python would end with 1, which means "violated"; nothing was established, so it is 3.
        traceback.print_exc()
        complain("this is a bug in kmemspec, please report it; nothing was established")
        return EXIT_STATUS[Outcome.UNKNOWN]
    return USAGE


# --- check, explore, simulate, prove


@dataclass(frozen=True)
class Answer:
    """What an engine command shows: its verdicts, and its own statistics below them."""

    verdicts: Sequence[Verdict]
    statistics: Callable[[], None] = lambda: None


Engine = Callable[[Loaded, Sizes, Callable[[Any], None]], Answer]


def check(options: argparse.Namespace, session: Session) -> Outcome:
    """Every engine on each specification named, or on all built-in ones."""
    from .proofs.checking import ENGINES, Effort
    from .proofs.checking import check as run_check
    from .proofs.ledger import remember

    engines = _chosen(options.engine, ENGINES)
    effort = Effort(
        seed=options.seed, seconds=options.seconds, jobs=options.jobs, symmetry=not options.no_symmetry
    )
    named = options.spec or ([_fault(options.fault).spec] if options.fault else BUILT_IN)
    targets = [_load(target, options) for target in named]
    _check_places(options)
    started = time.monotonic()
    reports: list[Report] = []
    searches: list[tuple[Program, Sequence[BranchCoverage]]] = []
    rows: list[tuple[report.Cell, ...]] = []
    for loaded, sizes in targets:
        begun = time.monotonic()
        with _progress(loaded.target) as update:
            done = run_check(loaded, sizes, engines, effort, update)
        rows.append(_summary(done, time.monotonic() - begun))
        remember(loaded, sizes, done.verdicts)
        for further in done.others:
            remember(loaded, loaded.spec.scope(further.scope), further.exploration.verdicts)
        silent = done.never_fired if done.exploration is not None and done.exploration.complete else ()
        reports.append(Report(loaded, sizes, done.every_verdict, silent))
        name = options.output
        if name and len(targets) > 1:
            name = f"{name}-{Path(loaded.target).stem}"
        saved = _save_counterexample(session, done.counterexample(), name, loaded)
        if reports[1:]:
            print()
        _show_verdicts(reports[-1])
        if silent:
            print(f"! never fired: {', '.join(silent)}; nothing was checked about it")
        _show_vacuous(done.never_due)
        for search in done.explorations:
            _show_symmetry(search)
        searches += [(loaded.program, found.branches) for found in done.explorations if found.complete]
        _show_counterexample(saved)
        if session.interrupted or done.interrupted:
            break
    outcomes = [report.outcome for report in reports]
    if len(reports) < len(targets) or session.interrupted:
        outcomes.append(Outcome.UNKNOWN)
    whole = combine(outcomes)
    several = not options.spec or len(targets) > 1
    coverage = None
    if len(targets) > 1 and not options.spec and not options.scope and len(searches) >= len(targets):
        from .proofs.coverage import model_coverage

        coverage = model_coverage(searches)
    session.attempt(lambda: _write_reports(session, options.json, reports, whole, several, coverage))
    if len(targets) > 1:
        missing = [loaded.target for loaded, _ in targets[len(reports) :]]
        if coverage is not None:
            listed = {str(side): reason for side, reason in coverage.explained.items()}
            print("\n" + report.model_coverage_text(len(coverage.reached), listed, coverage.wrong()), end="")
        columns = ("specification", "properties", "explore: states", "hypothesis: steps", "prove: obligations", "time")
        print()
        report.show(report.Table("", columns, tuple(rows), frozenset(range(1, 6))), report.console())
        print("\n" + _closing_line(reports, missing, time.monotonic() - started))
    return whole


def _summary(done: Check, seconds: float) -> tuple[report.Cell, ...]:
    """A specification in one line: what each engine answered, and to how much."""

    def cell(engine: str, amount: str) -> report.Cell:
        outcomes = [verdict.outcome for verdict in done.every_verdict if verdict.engine == engine]
        if not outcomes:
            return report.Cell("·")
        outcome = combine(outcomes)
        return report.Cell(f"{report.SYMBOL[outcome]} {amount}", report.STYLE[outcome])

    searches = done.explorations
    states = sum(found.symmetry.states if found.symmetry else found.states for found in searches)
    scopes = f" in {len(searches)} scopes" if len(searches) > 1 else ""
    return (
        report.Cell(done.loaded.target),
        report.Cell(str(len({verdict.property for verdict in done.every_verdict}))),
        cell("explore", f"{states:,}{scopes}"),
        cell("hypothesis", f"{done.testing.steps:,}" if done.testing else ""),
        cell("prove", f"{len(done.proof.obligations):,}" if done.proof else ""),
        report.Cell(f"{seconds:.1f} s"),
    )


def explore(options: argparse.Namespace, session: Session) -> Outcome:
    """Exhaustive search."""
    from .proofs.explore import Limits
    from .proofs.explore import explore as search

    limits = Limits(options.states, options.memory * (1 << 20) if options.memory else None, options.seconds)

    def engine(loaded: Loaded, sizes: Sizes, progress: Callable[[Any], None]) -> Answer:
        found = search(
            loaded.program, sizes, spec=options.spec, limits=limits, progress=progress, stop_at_first=not options.all,
            symmetry=_symmetry(options, loaded, sizes), only=_properties(options.only, loaded, leads=True),
        )
        return Answer(found.verdicts, lambda: _show_search(loaded, found))

    return _with_engine(options, session, engine)


def _symmetry(options: argparse.Namespace, loaded: Loaded, sizes: Sizes) -> bool | Sequence[str] | None:
    """Which sorts a search reduces by, as `explore` takes it."""
    if options.symmetry is not None:
        return _words(options.symmetry, "--symmetry", "cpu,slot")
    from .proofs.checking import symmetry_of

    return symmetry_of(loaded, sizes, not options.no_symmetry)


def _words(text: str, option: str, example: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"{option} {text!r} names nothing in one place", f"write {option} {example}")
    return names


def simulate(options: argparse.Namespace, session: Session) -> Outcome:
    """Random walks."""
    from .proofs.explore import Limits
    from .proofs.explore import simulate as walk

    def engine(loaded: Loaded, sizes: Sizes, progress: Callable[[Any], None]) -> Answer:
        found = walk(
            loaded.program,
            sizes,
            spec=options.spec,
            walks=options.walks,
            depth=options.depth,
            seed=options.seed,
            limits=Limits(seconds=options.seconds),
            progress=progress,
        )
        return Answer(found.verdicts, lambda: _show_walks(loaded, found, options.seed))

    return _with_engine(options, session, engine)


def prove(options: argparse.Namespace, session: Session) -> Outcome:
    """Induction, or bounded model checking with --depth, or only the obligations' files with --smt."""
    from .proofs import symbolic

    if options.smt:
        loaded, sizes = _load(options.spec, options)
        files = symbolic.export(loaded.program, sizes, options.smt, k=options.k)
        print(f"{len(files)} obligations written to {options.smt}; each file says what a solver should answer")
        return Outcome.HOLDS

    def induction(loaded: Loaded, sizes: Sizes, progress: Callable[[Any], None]) -> Answer:
        only = _properties(options.only, loaded, leads=False)
        limit = options.seconds
        proof = symbolic.prove(
            loaded.program, sizes, spec=options.spec, k=options.k, jobs=options.jobs, timeout_seconds=limit,
            progress=progress, only=only,
        )
        return Answer(proof.verdicts, lambda: _show_obligations(proof.obligations, options.obligations))

    def unrolling(loaded: Loaded, sizes: Sizes, progress: Callable[[Any], None]) -> Answer:
        return Answer(
            symbolic.bounded(
                loaded.program, sizes, spec=options.spec, depth=options.depth, timeout_seconds=options.seconds,
                jobs=options.jobs, progress=progress,
            ).verdicts
        )

    if options.depth and (options.only or options.k > 1 or options.obligations):
        raise InputError("--depth does not go with --only, --k or --obligations", "those are for induction")
    return _with_engine(options, session, unrolling if options.depth else induction)


def _with_engine(options: argparse.Namespace, session: Session, engine: Engine) -> Outcome:
    """Run one engine on one specification, write what it found, show it."""
    from .proofs.checking import marked, worst
    from .proofs.ledger import remember

    loaded, sizes = _load(options.spec, options)
    _check_places(options)
    with _progress(options.spec) as update:
        answer = engine(loaded, sizes, lambda record: update(options.command, record))
    found = Report(loaded, sizes, marked(answer.verdicts, loaded))
    remember(loaded, sizes, found.verdicts)
    saved = _save_counterexample(session, worst(found.verdicts), options.output, loaded)
    session.attempt(lambda: _write_reports(session, options.json, [found], found.outcome))
    _show_verdicts(found)
    answer.statistics()
    _show_counterexample(saved)
    return found.outcome


def _properties(only: str | None, loaded: Loaded, leads: bool) -> list[str] | None:
    """The properties that --only names, of those that an engine can judge."""
    if only is None:
        return None
    known = {item.identifier for item in loaded.program.properties} | {"checks", "vacuity"}
    if leads:
        known |= {item.identifier for item in loaded.program.liveness}
    chosen = [name.strip() for name in only.split(",")]
    for name in chosen:
        if name not in known:
            raise InputError(f"{loaded.target} has no property {name!r}", f"it has: {', '.join(sorted(known))}")
    return chosen


def _show_obligations(obligations: Sequence[Obligation], each: bool) -> None:
    if obligations:
        slowest = max(obligations, key=lambda item: item.seconds)
        where = f"{slowest.action} / {slowest.property} / {slowest.clause}"
        print(f"{len(obligations)} obligations; the slowest took {slowest.seconds:.1f} s: {where}")
    if each:
        rows = tuple(
            (
                report.Cell(f"{report.SYMBOL[item.outcome]} {item.outcome.value}", report.STYLE[item.outcome]),
                *map(report.Cell, (f"{item.seconds:.2f} s", item.action, item.property, item.clause)),
            )
            for item in obligations
        )
        columns = ("answer", "time", "step", "property", "clause")
        report.show(report.Table("", columns, rows, frozenset({1})), report.console())


# --- faults


def faults(options: argparse.Namespace, session: Session) -> Outcome:
    """The catalogue."""
    if options.what == "run":
        return _run_faults(options, session)
    if options.what == "show":
        _show_fault(_fault(options.fault))
        return Outcome.HOLDS
    from .model.faults.catalogue import ALL
    from .model.faults.unmodelled import UNMODELLED

    rows = tuple(
        tuple(map(report.Cell, (fault.identifier, fault.spec, fault.function, ", ".join(fault.expected), fault.title)))
        for fault in ALL
    )
    columns = ("fault", "spec", "function", "should break", "what is wrong")
    report.show(report.Table("", columns, rows), report.console())
    missing = tuple(tuple(map(report.Cell, (item.catalogue, item.title, item.lacks))) for item in UNMODELLED)
    headings = ("bug", "what went wrong", "why the model cannot have it")
    report.show(report.Table("\nnot in the model:", headings, missing), report.console())
    print(f"\n{len(ALL)} faults; as a diff: kmemspec faults show ID; in action: kmemspec check --fault ID")
    return Outcome.HOLDS


def _fault(identifier: str) -> Fault:
    from .model.faults.catalogue import find

    return find(identifier)


def _show_fault(fault: Fault) -> None:
    import importlib

    module = importlib.import_module(f"{__package__}.{fault.module}")
    print(f"{fault.identifier}: {fault.title}")
    print(f"  source        {fault.source}")
    print(f"  should break  {', '.join(fault.expected)}")
    print(f"  see it        kmemspec check {fault.spec} --fault {fault.identifier}\n")
    print(fault.diff(Path(str(module.__file__)).read_text(encoding="utf-8")), end="")


def _run_faults(options: argparse.Namespace, session: Session) -> Outcome:
    """The kill matrix. It holds when every fault is killed by some engine, which is what is asked of the checker."""
    from .model.faults.catalogue import ALL
    from .proofs.mutation import ENGINES, RUNNERS, attempts

    chosen = list(dict.fromkeys(map(_fault, options.fault))) or list(ALL)
    engines = _chosen(options.engine, tuple(RUNNERS), ENGINES)
    check_place(options.json)
    found: list[Attempt] = []
    with report.Progress() as progress, contextlib.suppress(KeyboardInterrupt):

        def started(fault: str, engine: str) -> None:
            progress.update(f"{fault} / {engine} ({len(found) + 1} of {len(chosen) * len(engines)})")

        for attempt in attempts(chosen, engines, options.scope, options.seconds, started):
            if session.interrupted:
                break  # an attempt that was cut short says nothing
            found.append(attempt)
    rows = []
    for fault in chosen:
        kills = {item.engine: _kill(item) for item in found if item.fault == fault}
        if kills:
            rows.append(report.KillRow(fault.identifier, kills))
    session.attempt(lambda: _write_kills(session, options.json, rows))
    report.show(report.kill_table(rows), report.console())
    if len(found) < len(chosen) * len(engines):
        print(f"? interrupted: {len(found)} of {len(chosen) * len(engines)} attempts were made")
        return Outcome.UNKNOWN
    killed = [row for row in rows if any(kill.outcome is Outcome.VIOLATED for kill in row.kills.values())]
    outcome = Outcome.HOLDS if len(killed) == len(rows) else Outcome.UNKNOWN
    print(f"{report.SYMBOL[outcome]} {len(killed)} of {len(rows)} faults killed by some engine")
    return outcome


def _kill(attempt: Attempt) -> report.Kill:
    killer = attempt.killer
    if killer is None or killer.trace is None or killer.trace.violation is None:
        return report.Kill(attempt.outcome, "", None, attempt.seconds, attempt.bound)
    violation = killer.trace.violation
    clause = f"{violation.property}: {violation.clause}"
    steps = len(killer.trace.steps) - 1
    return report.Kill(attempt.outcome, clause, steps, attempt.seconds, attempt.bound, killer.trace.reachable)


def _write_kills(session: Session, file: str | None, rows: Sequence[report.KillRow]) -> None:
    if file:
        kills = [
            {"fault": row.fault, "engine": engine, **asdict(kill), "outcome": kill.outcome.value}
            for row in rows
            for engine, kill in row.kills.items()
        ]
        session.write(file, json.dumps({"schema": "kmemspec-kills/1", "kills": kills}, indent=1) + "\n")


# --- graph, replay, explain


def graph(options: argparse.Namespace, session: Session) -> Outcome:
    """A picture of a trace file, a flow chart, or the state graph of a specification."""
    from .views import dot, render, svg

    check_place(options.output)
    if options.flow is None and (options.depth or options.detail):
        raise InputError("--depth and --detail are for a flow chart", "add --flow NAME")
    if options.flow is not None and options.what.endswith(".json"):
        raise InputError("--flow does not go with a trace", "name a specification")
    if options.what.endswith(".json"):
        from .views.trace_file import load_trace

        if options.scope:
            raise InputError("--scope does not go with a trace, which has its own", "leave it out")
        trace = load_trace(options.what)
        sorts = _sorts_of(trace)
        if options.output:
            render.render(trace, options.output, dimension_sorts=sorts, trace_file=options.what)
            print(f"{options.output} written: {_trace_title(trace)}")
        else:
            print(dot.dot(trace, svg.Options(dimension_sorts=sorts)), end="")
        return Outcome.HOLDS
    suffix = Path(options.output).suffix.lower() if options.output else ".dot"
    if suffix not in (".dot", ".gv", ".svg", ".png", ".pdf"):
        raise InputError(f"{options.output}: a graph has no such form", "use .dot, .svg, .png or .pdf")
    loaded, sizes = _load(options.what, options)
    if options.flow is not None:
        source, title = _flow_chart(options, loaded, sizes)
    else:
        from .views import state_graph

        found = state_graph.state_graph(loaded.spec, loaded.program, sizes)
        scope = loaded.program.scope_text(sizes)
        title = f"{loaded.target}: {scope}; {len(found.states)} states, {len(found.edges)} steps"
        source = state_graph.dot(found, loaded.program, sizes, title)
    if not options.output:
        print(source, end="")
        return Outcome.HOLDS
    is_text = suffix in (".dot", ".gv")
    remedy = "write .dot, which needs nothing"
    write_bytes(options.output, source.encode() if is_text else render.run_dot(source, suffix[1:], remedy))
    print(f"{options.output} written: {title}")
    return Outcome.HOLDS


def _flow_chart(options: argparse.Namespace, loaded: Loaded, sizes: Sizes) -> tuple[str, str]:
    """The DOT text of a flow chart, and what it shows."""
    from .views import flow, flow_dot

    name = options.flow or flow.first_flow(loaded.spec)
    actions, named = flow.actions_of(loaded.spec, loaded.program, name)
    scoped = options.scope is not None
    title = f"{loaded.target}: flow {name}" + (f" at {loaded.program.scope_text(sizes)}" if scoped else "")
    settings = flow.Options(options.depth, named, options.detail, sizes if scoped else None)
    found = flow.chart(loaded.program, actions, title, settings)
    return flow_dot.dot(found, options.detail), f"{title}; {len(found.boxes)} functions"


def _trace_title(trace: Trace) -> str:
    from .views import table

    return table.title(trace)


def _sorts(loaded: Loaded) -> dict[str, Sequence[str]]:
    """What the indices of each array are, which tells the views where a violation's elements are."""
    return {leaf.path: leaf.dimension_sorts for leaf in loaded.program.schema.leaves}


def _sorts_of(trace: Trace) -> dict[str, Sequence[str]] | None:
    """Those of a built-in specification: a picture is no reason to run a file that a trace names."""
    return _sorts(load(trace.spec)) if trace.spec in NAMED else None


def replay(options: argparse.Namespace, session: Session) -> Outcome:
    """Run a trace again; the status is that of the verdict it ends with."""
    from .model.lang.replay import replay as run_again
    from .model.lang.spec import check_layout
    from .views import table
    from .views.trace_file import load_trace

    trace = load_trace(options.trace)
    loaded = load(trace.spec, _fault(trace.fault) if trace.fault else None)
    sizes = loaded.spec.resolve({name: value for name, value in trace.scope.items() if name not in loaded.spec.derived})
    check_layout(loaded.program.schema, sizes)
    try:
        found = run_again(loaded.spec, loaded.program, sizes, trace)
    except InputError as error:
        raise InputError(f"{options.trace}: {error.message}", error.remedy) from None
    if not found.reproduced:
        wanted = f"{trace.violation.property}: {trace.violation.clause}" if trace.violation else "no violation"
        seen = "; ".join(f"{item.property}: {item.clause}" for item in found.violations) or "no violation"
        raise InputError(
            f"{options.trace} says that it ends with {wanted}, and it ends with {seen}",
            "the specification has changed since, or the file was edited",
        )
    _print_trace(trace, table.Options(file=options.trace, dimension_sorts=_sorts(loaded)))
    steps = f"{found.steps} step{'' if found.steps == 1 else 's'}"
    print(f"replayed: {steps} in CPython, every state and the verdict are the same")
    if trace.violation is None:
        return Outcome.HOLDS
    # A counterexample to induction decides nothing, neither when it is found nor when it is run again.
    return Outcome.VIOLATED if trace.reachable else Outcome.UNKNOWN


def explain(options: argparse.Namespace, session: Session) -> Outcome:
    """A property in words and in text, where it comes from, what established it, and the faults it should catch."""
    from .model.faults.catalogue import ALL
    from .proofs.ledger import recall
    from .views import explain as words

    wanted = options.identifier.lower()
    stated = {target: words.names(spec) for target, spec in _stating(options.spec).items()}
    homes: dict[str, list[str]] = {}
    for target, names in stated.items():
        for identifier in names:
            homes.setdefault(identifier, []).append(target)
    everywhere = wanted in words.WORDS
    told: set[Any] = set()
    texts: list[str] = []
    answers: dict[str, list[explain_view.Answer]] = {}
    for target, names in stated.items():
        here = wanted in map(str.lower, (*names, *names.values()))
        if not here and not (everywhere and recall(target)):
            continue
        loaded = load(target)
        answers[target] = _answers(loaded)
        others = {identifier: [home for home in given if home != target] for identifier, given in homes.items()}
        texts += [
            found.text
            for found in words.explanations(loaded, ALL, answers[target], others, told)
            if wanted in (found.identifier.lower(), found.name.lower())
        ]
        told |= {item.function for item in loaded.spec.properties}
    if everywhere:
        texts.append(words.of_word(wanted, ALL, list(answers.items())))
    if texts:
        print("\n\n".join(texts))
        return Outcome.HOLDS
    identifiers = [fault.identifier for fault in ALL]
    if wanted in map(str.lower, identifiers):
        _show_fault(_fault(options.identifier))
        return Outcome.HOLDS
    known = {identifier: name for names in stated.values() for identifier, name in names.items()}
    near = difflib.get_close_matches(
        options.identifier, [*known, *known.values(), *words.WORDS, *identifiers], 4
    )
    remedy = f"did you mean {', '.join(near)}" if near else f"there are: {', '.join([*known, *words.WORDS])}"
    raise InputError(f"there is no property or fault {options.identifier!r}", remedy)


def _stating(target: str | None) -> dict[str, Spec]:
    """The specifications in which a property is looked for; built-in ones are lowered when they have it."""
    return {name: built_in(name) for name in BUILT_IN} if target is None else {target: load(target).spec}


def _answers(loaded: Loaded) -> list[explain_view.Answer]:
    """What this machine's engines have said about a specification."""
    from .proofs.ledger import recall
    from .views import explain as words

    return [
        words.Answer(
            entry.property, entry.engine, entry.outcome, entry.bound, entry.reason,
            loaded.program.scope_text(entry.sizes), entry.is_current(loaded),
        )
        for entry in recall(loaded.target)
    ]


# --- validate


def validate(options: argparse.Namespace, session: Session) -> Outcome:
    """Another implementation against a contract, or a kernel's trace against what every trace keeps."""
    if options.contract == "trace":
        return _validate_trace(options, session)
    if options.contract == "log":
        return _validate_log(options, session)
    from .specs.contracts import ValidateOptions
    from .specs.contracts import validate as run_validation
    from .views.validation import report_files, validation_text

    settings = ValidateOptions(
        seed=options.seed,
        examples=options.examples,
        seconds=options.seconds,
        prefix=options.prefix,
        pages=options.pages,
        orders=options.orders,
        declare=dict(declaration(text) for text in options.declare),
        scope=dict(number_of_scope(text) for part in options.scope for text in part.split(",")),
        skip=tuple(options.skip),
    )
    check_place(options.json)
    if options.report:
        make_directory(options.report)
    with report.Progress() as progress:
        progress.update(f"{options.contract} against {options.target}")
        found = run_validation(options.contract, options.target, settings)
    written: list[str] = []
    record = {"schema": "kmemspec-validation/1", **asdict(found), "outcome": found.outcome.value}
    as_json = json.dumps(record, indent=1) + "\n"

    def write_report() -> None:
        for name, text in {**report_files(found), "report.json": as_json}.items():
            path = str(Path(options.report) / name)
            write_bytes(path, text.encode("utf-8", "backslashreplace"))
            written.append(path)

    if options.report:
        session.attempt(write_report)
    if options.json:
        session.attempt(lambda: session.write(options.json, as_json))
    print(validation_text(found), end="")
    for path in written:
        print(f"written: {path}")
    return found.outcome


def declaration(text: str) -> tuple[str, int | str | bool]:
    """`alignment=8`, `merges=true`, `zero_size=null`"""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"{text!r} is no declaration", "write it as NAME=VALUE, such as alignment=8")
    if value in ("true", "false"):
        return name, value == "true"
    number = value.removeprefix("-")
    return name, int(value) if number.isascii() and number.isdigit() and len(number) <= 18 else value


def number_of_scope(text: str) -> tuple[str, int]:
    """`capacity=4`"""
    name, value = declaration(text)
    if type(value) is not int:
        raise InputError(f"{text!r} is no number of a scope", "write it as NAME=NUMBER, such as capacity=4")
    return name, value


def _validate_trace(options: argparse.Namespace, session: Session) -> Outcome:
    from .specs.traces.validation import STRENGTHS, validate_trace
    from .views.traces import rejection_text, trace_json, trace_table

    strengths = _chosen(options.strength, STRENGTHS)
    for place in (options.cut, options.json):
        check_place(place)
    with report.Progress() as line:
        found = validate_trace(Path(options.target), strengths, lambda what: line.update(f"{options.target}: {what}"))
    cut = next((one for one in found.rejections if one.cut_text), None)
    if options.cut and cut:
        session.attempt(lambda: session.write(options.cut, cut.cut_text))
    if options.json:
        session.attempt(lambda: session.write(options.json, trace_json(found)))
    report.show(trace_table(found), report.console())
    for rejection in found.rejections:
        print("\n" + rejection_text(rejection), end="")
    if options.cut:
        print(f"cut: {options.cut}" if cut else "cut: there is nothing to cut")
    return found.outcome


def _validate_log(options: argparse.Namespace, session: Session) -> Outcome:
    from .specs.logs.validation import validate_log
    from .views.logs import cut_text, log_json, log_table, rejection_text

    for place in (options.cut, options.json):
        check_place(place)
    with report.Progress() as progress:
        progress.update(f"log {options.target}")
        found = validate_log(options.target)
    if options.json:
        session.attempt(lambda: session.write(options.json, log_json(found)))
    report.show(log_table(found), report.console())
    rejection = found.rejection
    if rejection is not None:
        print(rejection_text(rejection), end="")
        if options.cut:
            session.attempt(lambda: write_bytes(options.cut, cut_text(rejection).encode("utf-8", "backslashreplace")))
    return found.outcome


def fidelity(options: argparse.Namespace, session: Session) -> Outcome:
    """Recordings of a real kernel beside the model."""
    from .specs.recorded.comparison import compare_recording
    from .specs.recorded.lru_comparison import compare_lru, concerns_lru, only_lru
    from .views.fidelity import fidelity_json, fidelity_table, lru_table

    fault = _fault(options.fault) if options.fault else None
    check_place(options.json)
    directories = [Path(name) for name in dict.fromkeys(options.recording)]
    with report.Progress() as line:
        pages = [
            compare_recording(
                directory, fault, lambda what, done, total: line.update(what, operations=done, of=total)
            )
            for directory in directories
            if not only_lru(directory, fault)
        ]
        lists = []
        for directory in directories if concerns_lru(fault) else ():
            line.update(f"{directory.name} / LRU")
            lists.append(compare_lru(directory, fault))
    if options.json:
        session.attempt(lambda: session.write(options.json, fidelity_json(pages, options.fault, lists)))
    console = report.console()
    if pages:
        report.show(fidelity_table(pages, options.fault), console)
    if lists:
        report.show(lru_table(lists, options.fault), console)
    right = [*(one.exact for one in pages), *(one.holds for one in lists)]
    return Outcome.HOLDS if all(right) else Outcome.VIOLATED


def snapshot(options: argparse.Namespace, session: Session) -> Outcome:
    """A state of a real kernel's allocator: checked, or taken."""
    return _check_snapshots(options, session) if options.what == "check" else _take_snapshot(options)


def _check_snapshots(options: argparse.Namespace, session: Session) -> Outcome:
    from .specs.snapshot.checking import LIVE, check_snapshot
    from .views.snapshot import findings_text, snapshot_json, snapshot_svg, snapshot_table

    targets = list(dict.fromkeys([*options.target, *([LIVE] if options.live else [])]))
    if not targets:
        raise InputError("no snapshot is named", "name a state, a directory of files, or / for this machine")
    for place in (options.output, options.json):
        check_place(place)
    with report.Progress() as line:
        found = [one for target in targets for one in check_snapshot(target, line.update)]
    if options.json:
        session.attempt(lambda: session.write(options.json, snapshot_json(found)))
    # The picture is of the first snapshot that is broken, or of the first.
    chosen = next((one for one in found if one.outcome is Outcome.VIOLATED), found[0])
    if options.output:
        session.attempt(lambda: session.write(options.output, snapshot_svg(chosen)))
    console = report.console()
    for number, one in enumerate(found):
        if number:
            print()
        report.show(snapshot_table(one), console)
        print(findings_text(one), end="")
    if options.output and not session.unwritten:
        print(f"picture: {options.output}")
    outcomes = {one.outcome for one in found}
    return next(one for one in (Outcome.VIOLATED, Outcome.HOLDS, Outcome.UNKNOWN) if one in outcomes)


def _take_snapshot(options: argparse.Namespace) -> Outcome:
    from .specs.snapshot.drgn_reader import take

    check_place(options.output)
    content = take(options.vmcore, options.vmlinux)
    write_bytes(options.output, content)
    print(f"state: {options.output}")
    return Outcome.HOLDS


# --- what the commands share


@dataclass(frozen=True)
class Report:
    """The verdicts about one specification at one scope, and the actions that did nothing in any search."""

    loaded: Loaded
    sizes: Sizes
    verdicts: Sequence[Verdict]
    never_fired: Sequence[str] = ()

    @property
    def outcome(self) -> Outcome:
        return combine(verdict.outcome for verdict in self.verdicts)


def _load(target: str, options: argparse.Namespace) -> tuple[Loaded, dict[str, int]]:
    from .model.lang.spec import check_layout

    identifier = getattr(options, "fault", None)
    fault = _fault(identifier) if identifier else None
    if fault is not None and target in NAMED and fault.spec != target:
        raise InputError(f"fault {fault.identifier} is not in {target}", f"it is in {fault.spec}")
    loaded = load(target, fault)
    scope = options.scope if options.scope is not None else (fault.scope if fault else None)
    if scope is not None and not scope.strip():
        raise InputError("the scope is empty", "leave --scope out, or write pages=8,orders=3")
    sizes = loaded.spec.scope(scope)
    check_layout(loaded.program.schema, sizes)
    return loaded, sizes


def _check_places(options: argparse.Namespace) -> None:
    check_place(options.json)
    check_place(f"{options.output}.json" if options.output is not None else None)


def _chosen(text: str | None, known: Sequence[str], default: Sequence[str] | None = None) -> tuple[str, ...]:
    """The engines that --engine lists, in our order."""
    if text is None:
        return tuple(default or known)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f"there is no engine {name!r}", f"the engines are: {', '.join(known)}")
    return tuple(name for name in known if name in names)


@contextlib.contextmanager
def _progress(target: str) -> Iterator[Update]:
    """A line on a terminal that shows an engine's numbers, whatever they are; one engine may run beside another."""
    with report.Progress() as line:
        line.update(f"{target} / loading")
        running: dict[int, str] = {}

        def update(engine: str, record: Any) -> None:
            numbers = {name: value for name, value in asdict(record).items() if type(value) is int}
            part = f" ({numbers.pop('done')} of {numbers.pop('total')})" if {"done", "total"} <= set(numbers) else ""
            running[threading.get_ident()] = f"{engine}{part}"
            line.update(f"{target} / {' + '.join(running.values())}", **numbers)

        yield update


def _show_verdicts(found: Report) -> None:
    loaded = found.loaded
    title = f"{loaded.target}: {loaded.program.scope_text(found.sizes)}"
    if loaded.fault is not None:
        title += f", with fault {loaded.fault.identifier}"
    names = {item.identifier: item.name for item in loaded.spec.properties}
    if loaded.spec.refinement is not None:
        names[loaded.spec.refinement.identifier] = f"refines {loaded.spec.refinement.abstract.name}"
    # Once something is violated, rows that only say "not decided, for the search ended there" would hide it.
    hidden = {verdict.property for verdict in found.verdicts} if found.outcome is Outcome.VIOLATED else set()
    hidden -= {verdict.property for verdict in found.verdicts if verdict.outcome is not Outcome.UNKNOWN}
    report.show(report.verdict_table(found.verdicts, title, names, hidden), report.console())


def _closing_line(reports: Sequence[Report], missing: Sequence[str], seconds: float) -> str:
    """All specifications in one line."""
    outcome = combine([*(found.outcome for found in reports), *([Outcome.UNKNOWN] if missing else [])])
    parts = []
    for one, words in ((Outcome.VIOLATED, "violated"), (Outcome.UNKNOWN, "undecided"), (Outcome.HOLDS, "all hold")):
        names = [found.loaded.target for found in reports if found.outcome is one]
        if names:
            parts.append(f"{words}: {', '.join(names)}")
    if missing:
        parts.append(f"not checked: {', '.join(missing)}")
    count = sum(len(found.verdicts) for found in reports)
    return f"{report.SYMBOL[outcome]} {'; '.join(parts)} ({count} verdicts, {seconds:.1f} s)"


def _show_search(loaded: Loaded, found: Exploration) -> None:
    print(
        f"{found.bits_per_state} bits a state, {found.memory_bytes / (1 << 20):.1f} MiB; native code made or loaded in "
        f"{found.compile_seconds:.1f} s, searched in {found.cpu_seconds:.2f} s"
    )
    _show_symmetry(found)
    _show_vacuous(found.vacuous)
    if found.complete:
        _show_counts(loaded, found.actions, found.branches)
    elif found.stopped == "stopped at the first violation":
        print("with --all the search goes on, to a shortest trace for each property")


def _show_symmetry(found: Exploration) -> None:
    if found.symmetry is not None:
        reduction = found.symmetry
        print(report.symmetry_text(reduction.sorts, reduction.renamings, found.states, reduction.states), end="")
    if found.unreduced:
        print(f"! not reduced by symmetry: {found.unreduced}")


def _show_vacuous(names: Sequence[str]) -> None:
    if names:
        print(f"! never due: {', '.join(names)}; nothing was checked about it")


def _show_walks(loaded: Loaded, found: Simulation, seed: int) -> None:
    rate = found.steps / found.seconds if found.seconds else 0
    walks = f"{found.walks:,} walk{'' if found.walks == 1 else 's'}"
    print(f"{walks}, {found.steps:,} steps in {found.seconds:.1f} s ({rate:,.0f} a second), seed {seed}")
    if all(verdict.outcome is not Outcome.VIOLATED for verdict in found.verdicts):
        _show_counts(loaded, found.actions, found.branches)


def _show_counts(loaded: Loaded, actions: Sequence[ActionCount], branches: Sequence[BranchCoverage]) -> None:
    print()
    rows = [report.ActionCount(item.name, item.enabled, item.fired, item.new) for item in actions]
    report.show(report.action_table(rows), report.console())
    print(report.coverage_text(_coverage(loaded, branches)), end="")


def _coverage(loaded: Loaded, branches: Iterable[BranchCoverage]) -> report.BranchCoverage:
    """Coverage in terms of the source: a function that was compiled for several argument types counts once."""
    program = loaded.program
    files = {name: program.positions[branch.where].file for name, function in program.functions.items()
             for branch in function.branches()}
    seen: dict[tuple[str, bool], bool] = {}
    order: dict[tuple[str, int], int] = {}
    for branch in branches:
        order[branch.function, branch.line] = number = order.get((branch.function, branch.line), 0) + 1
        name = branch.function.partition("(")[0]
        which = f" (branch {number} of the line)" if number > 1 else ""
        place = f"{files.get(branch.function, '')}:{branch.line}, {name}{which}"
        for side, reached in ((True, branch.then_reached), (False, branch.otherwise_reached)):
            seen[place, side] = seen.get((place, side), False) or reached
    unseen = [(place, "true" if side else "false") for (place, side), reached in seen.items() if not reached]
    missing = tuple(f"{place}: never {side}" for place, side in unseen)
    return report.BranchCoverage(len(seen) - len(missing), len(seen), missing)


# --- counterexamples and reports


@dataclass(frozen=True)
class Saved:
    """A counterexample and what was written of it."""

    trace: Trace
    loaded: Loaded
    file: str | None
    picture: str | None


def _save_counterexample(session: Session, verdict: Verdict | None, output: str | None, loaded: Loaded) -> Saved | None:
    """Write the trace as a file and as a picture; if that fails, it is said, and the violation shown all the same."""
    if verdict is None or verdict.trace is None:
        return None
    from .views import render
    from .views.trace_file import save_trace

    trace = verdict.trace
    name = output or "-".join(filter(None, (Path(trace.spec).stem, trace.fault, "trace")))
    file, picture = f"{name}.json", f"{name}.svg"
    if not session.attempt(lambda: save_trace(trace, file)):
        return Saved(trace, loaded, None, None)
    drawn = session.attempt(lambda: render.render(trace, picture, dimension_sorts=_sorts(loaded), trace_file=file))
    return Saved(trace, loaded, file, picture if drawn else None)


def _show_counterexample(saved: Saved | None) -> None:
    if saved is None:
        return
    from .views import table

    print()
    _print_trace(saved.trace, table.Options(file=saved.file, dimension_sorts=_sorts(saved.loaded)))
    if saved.picture is not None:
        print(f"picture:   {saved.picture}")


def _print_trace(trace: Trace, options: table.Options) -> None:
    from .views import table

    target = report.console()
    if target.is_terminal:
        target.print(table.styled(trace, options), end="")
    else:
        print(table.text(trace, options), end="")


def _write_reports(
    session: Session, file: str | None, reports: Sequence[Report], whole: Outcome, several: bool = False,
    coverage: ModelCoverage | None = None,
) -> None:
    """One report; or, when several specifications were asked about, an object with all of them."""
    if file is None:
        return
    texts = [
        report.json_report(
            item.loaded.target, item.sizes, item.verdicts, item.loaded.fault.identifier if item.loaded.fault else None,
            item.never_fired,
        )
        for item in reports
    ]
    if several:
        branches = "null"
        if coverage is not None:
            explained = {str(side): reason for side, reason in coverage.explained.items()}
            counts = {"reached": len(coverage.reached), "explained": explained, "wrong": coverage.wrong()}
            branches = json.dumps(counts, indent=1, sort_keys=True)
        head = f'{{\n"schema": "kmemspec-reports/1",\n"verdict": "{whole.value}",\n"branches": {branches},\n'
        session.write(file, head + '"reports": [\n' + ",\n".join(text.rstrip() for text in texts) + "\n]\n}\n")
    else:
        session.write(file, texts[0])


COMMANDS: dict[str, Callable[[argparse.Namespace, Session], Outcome]] = {
    "check": check,
    "explore": explore,
    "simulate": simulate,
    "prove": prove,
    "faults": faults,
    "graph": graph,
    "replay": replay,
    "validate": validate,
    "fidelity": fidelity,
    "snapshot": snapshot,
    "explain": explain,
}
