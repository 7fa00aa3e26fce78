"""What each command of the command line does: load, run an engine, hand its answer to a view.

The one idea: every command returns an `Outcome`, and the exit status is derived from it in one place (`run`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .model.lang.errors import InputError, SpecError
from .model.lang.trace import Trace
from .model.lang.verdict import EXIT_STATUS, Outcome, Verdict, combine
from .specs.loading import BUILT_IN, Loaded, load
from .views import report

USAGE = 2
INTERRUPTED = 3


def run(options: argparse.Namespace) -> int:
    """One command, with errors of the user's as one line on standard error."""
    try:
        outcome = COMMANDS[options.command](options)
        sys.stdout.flush()
        return EXIT_STATUS[outcome]
    except SpecError as error:
        _complain(error.with_caret())
        return USAGE
    except InputError as error:
        _complain(str(error))
        return USAGE
    except RecursionError:
        _complain("the input is nested too deeply; simplify it")
        return USAGE
    except KeyboardInterrupt:
        _complain("interrupted before anything was established")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _complain(text: str) -> None:
    print(f"kmemspec: {text}", file=sys.stderr)


# --- check, explore, simulate, prove


def check(options: argparse.Namespace) -> Outcome:
    """Every engine on each specification named, or on all built-in ones."""
    from .proofs.checking import ENGINES, Check, Effort
    from .proofs.checking import check as run_check

    engines = _engines(options.engine, ENGINES)
    effort = Effort(seed=options.seed, seconds=options.seconds, jobs=options.jobs)
    targets = options.spec or (list(BUILT_IN) if not options.fault else [_fault(options.fault).spec])
    outcomes: list[Outcome] = []
    reports: list[tuple[Loaded, dict[str, int], Sequence[Verdict]]] = []
    for target in targets:
        loaded, sizes = _load(target, options)
        with _progress(target) as update:
            done: Check = run_check(loaded, sizes, engines, effort, update)
        _show_verdicts(loaded, sizes, done.verdicts)
        if done.exploration is not None:
            _show_search(done.exploration)
        _show_counterexample(done.counterexample(), options.output)
        outcomes.append(done.outcome)
        reports.append((loaded, sizes, done.verdicts))
    _write_json(options.json, reports)
    return combine(outcomes)


def explore(options: argparse.Namespace) -> Outcome:
    """Exhaustive search."""
    from .proofs.checking import marked
    from .proofs.explore import Limits
    from .proofs.explore import explore as search

    loaded, sizes = _load(options.spec, options)
    limits = Limits(options.states, options.memory * (1 << 20) if options.memory else None, options.seconds)
    with _progress(options.spec) as update:
        found = search(
            loaded.program,
            sizes,
            spec=options.spec,
            limits=limits,
            progress=lambda record: update("explore", record),
            stop_at_first=not options.all,
        )
    verdicts = marked(found.verdicts, loaded)
    _show_verdicts(loaded, sizes, verdicts)
    _show_search(found)
    return _finish(options, loaded, sizes, verdicts)


def simulate(options: argparse.Namespace) -> Outcome:
    """Random walks."""
    from .proofs.checking import marked
    from .proofs.explore import Limits
    from .proofs.explore import simulate as walk

    loaded, sizes = _load(options.spec, options)
    with _progress(options.spec) as update:
        found = walk(
            loaded.program,
            sizes,
            spec=options.spec,
            walks=options.walks,
            depth=options.depth,
            seed=options.seed,
            limits=Limits(seconds=options.seconds),
            progress=lambda record: update("simulate", record),
        )
    verdicts = marked(found.verdicts, loaded)
    _show_verdicts(loaded, sizes, verdicts)
    print(f"{found.walks:,} walks, {found.steps:,} steps, {found.states:,} distinct states, {found.seconds:.1f} s")
    _show_counts(found)
    return _finish(options, loaded, sizes, verdicts)


def prove(options: argparse.Namespace) -> Outcome:
    """Induction, or bounded model checking with --depth, or only the obligations' files with --smt."""
    from .proofs import symbolic
    from .proofs.checking import marked

    loaded, sizes = _load(options.spec, options)
    if options.smt:
        files = symbolic.export(loaded.program, sizes, options.smt)
        print(f"{len(files)} obligations written to {options.smt}; each is expected to be unsat")
        return Outcome.HOLDS
    obligations: Sequence[Any] = ()
    with _progress(options.spec) as update:
        if options.depth:
            bounded = symbolic.bounded(
                loaded.program,
                sizes,
                spec=options.spec,
                depth=options.depth,
                timeout_seconds=options.seconds,
                progress=lambda record: update("bounded", record),
            )
            verdicts = marked(bounded.verdicts, loaded)
        else:
            proof = symbolic.prove(
                loaded.program,
                sizes,
                spec=options.spec,
                k=options.k,
                jobs=options.jobs,
                timeout_seconds=options.seconds,
                progress=lambda record: update("prove", record),
                only=_properties(options.only, loaded),
            )
            verdicts, obligations = marked(proof.verdicts, loaded), proof.obligations
    _show_verdicts(loaded, sizes, verdicts)
    if obligations:
        slowest = max(obligations, key=lambda item: item.seconds)
        print(
            f"{len(obligations)} obligations; the slowest took {slowest.seconds:.1f} s: "
            f"{slowest.action} / {slowest.property} / {slowest.clause}"
        )
    if options.obligations:
        for item in obligations:
            print(f"{item.outcome.value:8}  {item.seconds:7.2f} s  {item.action} / {item.property} / {item.clause}")
    return _finish(options, loaded, sizes, verdicts)


def _properties(only: str | None, loaded: Loaded) -> list[str] | None:
    if only is None:
        return None
    known = {item.identifier for item in loaded.program.properties} | {"checks", "vacuity"}
    chosen = [name.strip() for name in only.split(",")]
    for name in chosen:
        if name not in known:
            raise InputError(f"{loaded.target} has no property {name!r}", f"its properties are: {', '.join(sorted(known))}")
    return chosen


def _finish(
    options: argparse.Namespace, loaded: Loaded, sizes: dict[str, int], verdicts: Sequence[Verdict]
) -> Outcome:
    found = [verdict for verdict in verdicts if verdict.trace is not None and verdict.outcome is Outcome.VIOLATED]
    _show_counterexample(min(found, key=lambda item: len(item.trace.steps) if item.trace else 0, default=None), options.output)
    _write_json(options.json, [(loaded, sizes, verdicts)])
    return combine(verdict.outcome for verdict in verdicts)


# --- faults


def faults(options: argparse.Namespace) -> Outcome:
    """The catalogue."""
    if options.what == "run":
        return _run_faults(options)
    if options.what == "show":
        _show_fault(options.fault)
        return Outcome.HOLDS
    from .model.faults.catalogue import ALL

    rows = tuple(
        tuple(map(report.Cell, (fault.identifier, fault.spec, fault.function, ", ".join(fault.expected), fault.title)))
        for fault in ALL
    )
    report.show(report.Table("", ("fault", "spec", "function", "expected", "what is wrong"), rows), report.console())
    return Outcome.HOLDS


def _fault(identifier: str) -> Any:
    from .model.faults.catalogue import find

    return find(identifier)


def _show_fault(identifier: str) -> None:
    import importlib

    fault = _fault(identifier)
    module = importlib.import_module(f"{__package__}.{fault.module}")
    print(f"{fault.identifier}: {fault.title}\nsource: {fault.source}\nexpected to break: {', '.join(fault.expected)}\n")
    print(fault.diff(Path(str(module.__file__)).read_text(encoding="utf-8")), end="")


def _run_faults(options: argparse.Namespace) -> Outcome:
    """The kill matrix. It holds when every fault is killed by some engine, which is what is asked of the checker."""
    from .model.faults.catalogue import ALL
    from .proofs.mutation import ENGINES, _RUN, Attempt, attempts

    chosen = [_fault(identifier) for identifier in options.fault] or list(ALL)
    engines = _engines(options.engine, tuple(_RUN), ENGINES)
    found: list[Attempt] = []
    with report.Progress() as progress:
        started = lambda fault, engine: progress.update(f"{fault} / {engine}", done=len(found))  # noqa: E731
        with contextlib.suppress(KeyboardInterrupt):
            for attempt in attempts(chosen, engines, options.scope, options.seconds, started):
                found.append(attempt)
    rows = [
        report.KillRow(
            fault.identifier, {item.engine: _kill(item) for item in found if item.fault.identifier == fault.identifier}
        )
        for fault in chosen
        if any(item.fault.identifier == fault.identifier for item in found)
    ]
    report.show(report.kill_table(rows, "kill matrix"), report.console())
    if options.json:
        matrix = [{"fault": row.fault, "engine": engine, **_plain(kill)} for row in rows for engine, kill in row.kills.items()]
        _write_text(options.json, json.dumps({"schema": "kmemspec-kills/1", "kills": matrix}, indent=1) + "\n")
    killed = {item.fault.identifier for item in found if item.outcome is Outcome.VIOLATED}
    if len(found) < len(chosen) * len(engines):
        return Outcome.UNKNOWN
    return Outcome.HOLDS if all(fault.identifier in killed for fault in chosen) else Outcome.UNKNOWN


def _kill(attempt: Any) -> report.Kill:
    killer: Verdict | None = attempt.killer
    if killer is None or killer.trace is None or killer.trace.violation is None:
        return report.Kill(attempt.outcome, "", None, attempt.seconds, attempt.bound)
    violation = killer.trace.violation
    clause = f"{violation.property} {violation.clause}"
    return report.Kill(
        attempt.outcome, clause, len(killer.trace.steps) - 1, attempt.seconds, attempt.bound, killer.trace.reachable
    )


def _plain(kill: report.Kill) -> dict[str, Any]:
    return {**asdict(kill), "outcome": kill.outcome.value}


# --- graph, replay, explain


def graph(options: argparse.Namespace) -> Outcome:
    """A picture of a trace file, or the state graph of a specification."""
    from .views import dot, render

    if options.what.endswith(".json"):
        from .views.trace_file import load_trace

        trace = load_trace(options.what)
        if options.output:
            render.render(trace, options.output, trace_file=options.what)
            print(f"{options.output} written")
        else:
            print(dot.dot(trace), end="")
        return Outcome.HOLDS
    from .views import state_graph

    loaded, sizes = _load(options.what, options)
    found = state_graph.state_graph(loaded.spec, loaded.program, sizes)
    title = f"{loaded.target}: {_scope_text(sizes)}; {len(found.states)} states, {len(found.edges)} steps"
    source = state_graph.dot(found, loaded.program, sizes, title)
    if not options.output:
        print(source, end="")
        return Outcome.HOLDS
    suffix = Path(options.output).suffix
    if suffix not in (".dot", ".gv", ".svg", ".png", ".pdf"):
        raise InputError(f"{options.output}: a state graph has no such form", "use .dot, .svg, .png or .pdf")
    content = source.encode() if suffix in (".dot", ".gv") else render.run_dot(source, suffix[1:])
    _write_bytes(options.output, content)
    print(f"{options.output} written: {title}")
    return Outcome.HOLDS


def replay(options: argparse.Namespace) -> Outcome:
    """Run a trace again; the status is that of the verdict it ends with."""
    from .model.lang.replay import replay as run_again
    from .views import table
    from .views.trace_file import load_trace

    trace = load_trace(options.trace)
    loaded = load(trace.spec, _fault(trace.fault) if trace.fault else None)
    sizes = loaded.spec.resolve({name: value for name, value in trace.scope.items() if name not in loaded.spec.derived})
    found = run_again(loaded.spec, loaded.program, sizes, trace)
    _print_trace(trace, table.Options(file=options.trace))
    if not found.reproduced:
        wanted = f"{trace.violation.property}: {trace.violation.clause}" if trace.violation else "no violation"
        seen = "; ".join(f"{item.property}: {item.clause}" for item in found.violations) or "nothing is violated"
        raise InputError(f"{options.trace} ends otherwise than it says: {seen}, not {wanted}", "the specification has changed")
    print(f"replayed {found.steps} steps in CPython: the same verdict")
    return Outcome.VIOLATED if trace.violation is not None else Outcome.HOLDS


def explain(options: argparse.Namespace) -> Outcome:
    """A property in words and in text, where it comes from, and the faults that it is expected to catch."""
    import inspect

    from .model.faults.catalogue import ALL

    wanted = options.identifier.lower()
    found = False
    for target in BUILT_IN:
        loaded = load(target)
        for item in loaded.spec.properties:
            if item.identifier.lower() != wanted:
                continue
            found = True
            ir = next(ir for ir in loaded.program.properties if ir.name == item.name)
            print(f"{item.identifier} {item.name} ({item.kind} of {target})\n  {inspect.getdoc(item.function)}")
            print(f"  kernel: {item.origin or '-'}")
            print("  clauses: " + "; ".join(clause.name for clause in ir.clauses))
            catches = [fault.identifier for fault in ALL if fault.spec == target and item.identifier in fault.expected]
            print(f"  faults it is expected to catch: {', '.join(catches) or '-'}")
            print(f"  checked by: explore, hypothesis, prove (kmemspec check {target})\n")
            print("    " + inspect.getsource(item.function).replace("\n", "\n    ").rstrip() + "\n")
        refinement = loaded.spec.refinement
        if refinement is not None and refinement.identifier.lower() == wanted:
            found = True
            print(f"{refinement.identifier}: {target} refines {refinement.abstract.name} ({refinement.origin})")
            print("    " + inspect.getsource(refinement.mapping).replace("\n", "\n    ").rstrip())
    if found:
        return Outcome.HOLDS
    if any(fault.identifier.lower() == wanted for fault in ALL):
        _show_fault(options.identifier)
        return Outcome.HOLDS
    known = sorted({item.identifier for target in BUILT_IN for item in load(target).spec.properties})
    raise InputError(f"there is no property or fault {options.identifier!r}", f"properties are: {', '.join(known)}")


# --- validate


def validate(options: argparse.Namespace) -> Outcome:
    """Another implementation against a contract."""
    from .specs.contracts import ValidateOptions
    from .specs.contracts import validate as run_validation
    from .views.validation import validation_text

    settings = ValidateOptions(
        seed=options.seed,
        examples=options.examples,
        seconds=options.seconds,
        prefix=options.prefix,
        pages=options.pages,
        orders=options.orders,
    )
    found = run_validation(options.contract, options.target, settings)
    print(validation_text(found), end="")
    if options.report:
        for number, finding in enumerate(found.findings, 1):
            path = Path(options.report) / f"{number}-{finding.reproducer_name}"
            _make_directory(options.report)
            _write_text(str(path), finding.reproducer)
            print(f"reproducer: {path}")
    if options.json:
        record = {"schema": "kmemspec-validation/1", **asdict(found), "outcome": found.outcome.value}
        _write_text(options.json, json.dumps(record, indent=1) + "\n")
    return found.outcome


# --- what the commands share


def _load(target: str, options: argparse.Namespace) -> tuple[Loaded, dict[str, int]]:
    from .model.lang.spec import check_layout

    identifier = getattr(options, "fault", None)
    fault = _fault(identifier) if identifier else None
    loaded = load(target, fault)
    sizes = loaded.spec.scope(options.scope or (fault.scope if fault else None))
    check_layout(loaded.program.schema, sizes)
    return loaded, sizes


def _engines(text: str | None, known: Sequence[str], default: Sequence[str] | None = None) -> tuple[str, ...]:
    if text is None:
        return tuple(default or known)
    chosen = tuple(name.strip() for name in text.split(","))
    for name in chosen:
        if name not in known:
            raise InputError(f"there is no engine {name!r}", f"the engines are: {', '.join(known)}")
    return chosen


@contextlib.contextmanager
def _progress(target: str) -> Iterator[Callable[[str, Any], None]]:
    """A line on a terminal that shows an engine's numbers, whatever they are."""
    with report.Progress() as line:

        def update(engine: str, record: Any) -> None:
            numbers = {name: value for name, value in asdict(record).items() if isinstance(value, int)}
            line.update(f"{target} / {engine}", **numbers)

        yield update


def _scope_text(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sizes.items())


def _show_verdicts(loaded: Loaded, sizes: dict[str, int], verdicts: Sequence[Verdict]) -> None:
    title = f"{loaded.target}: {_scope_text(sizes)}"
    if loaded.fault is not None:
        title += f", with fault {loaded.fault.identifier}"
    names: dict[str, str] = {}
    for item in loaded.program.properties:
        refined = loaded.spec.refinement
        is_refinement = refined is not None and item.identifier == refined.identifier
        names[item.identifier] = f"refines {refined.abstract.name}" if is_refinement and refined else item.name
    report.show(report.verdict_table(verdicts, title, names), report.console())


def _show_search(found: Any) -> None:
    whole = "" if found.complete else ", not complete"
    print(
        f"{found.states:,} distinct states, {found.transitions:,} transitions, depth {found.depth}{whole}; "
        f"{found.bits_per_state} bits a state, {found.memory_bytes / (1 << 20):.1f} MiB, "
        f"{found.cpu_seconds:.2f} s in native code, {found.compile_seconds:.2f} s compiling or loading it"
    )
    _show_counts(found)


def _show_counts(found: Any) -> None:
    rows = [report.ActionCount(item.name, item.enabled, item.fired, item.new) for item in found.actions]
    report.show(report.action_table(rows), report.console())
    sides = [
        (f"{branch.function} line {branch.line} {side}", reached)
        for branch in found.branches
        for side, reached in (("true", branch.then_reached), ("false", branch.otherwise_reached))
    ]
    missing = tuple(text for text, reached in sides if not reached)
    print(report.coverage_text(report.BranchCoverage(len(sides) - len(missing), len(sides), missing)), end="")


def _show_counterexample(verdict: Verdict | None, output: str | None) -> None:
    """Print the trace and write it as a file and as a picture."""
    if verdict is None or verdict.trace is None:
        return
    from .views import render, table
    from .views.trace_file import save_trace

    trace = verdict.trace
    name = output or "-".join(filter(None, (Path(trace.spec).stem, trace.fault, "trace")))
    save_trace(trace, f"{name}.json")
    render.render(trace, f"{name}.svg", trace_file=f"{name}.json")
    print()
    _print_trace(trace, table.Options(file=f"{name}.json"))
    print(f"picture: {name}.svg")


def _print_trace(trace: Trace, options: Any) -> None:
    from .views import table

    target = report.console()
    if target.is_terminal:
        target.print(table.styled(trace, options))
    else:
        print(table.text(trace, options), end="")


def _write_json(file: str | None, reports: Sequence[tuple[Loaded, dict[str, int], Sequence[Verdict]]]) -> None:
    """One report, or a list of them when several specifications were checked."""
    if file is None:
        return
    texts = [
        report.json_report(loaded.target, sizes, verdicts, loaded.fault.identifier if loaded.fault else None)
        for loaded, sizes, verdicts in reports
    ]
    _write_text(file, texts[0] if len(texts) == 1 else "[" + ",\n".join(text.rstrip() for text in texts) + "]\n")


def _write_text(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
    else:
        _write_bytes(file, text.encode("utf-8", "backslashreplace"))


def _write_bytes(file: str, content: bytes) -> None:
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}", "choose another place") from None


def _make_directory(directory: str) -> None:
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory} cannot be made: {error.strerror}", "choose another place") from None


COMMANDS: dict[str, Callable[[argparse.Namespace], Outcome]] = {
    "check": check,
    "explore": explore,
    "simulate": simulate,
    "prove": prove,
    "faults": faults,
    "graph": graph,
    "replay": replay,
    "validate": validate,
    "explain": explain,
}
