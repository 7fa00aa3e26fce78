"""`validate`: one contract, one target, one answer. Puts child process, workload and search together; prints nothing.

The one idea: only bad input raises (`InputError`); everything an implementation can do wrong becomes a `Finding`,
confirmed in a fresh process before it is reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...model.lang.errors import InputError
from ...model.lang.verdict import Outcome
from .arenas import InArenas, without_placement
from .command import PREFIX
from .cutting import cut_down
from .description import Description, of_exports, read_description
from .extents import extents
from .interface import Interface, Workload
from .misuse import workload_of
from .process import ChildProcess
from .registry import INTERFACES
from .reproducers import reproducer
from .results import Finding, ValidateOptions, Validation
from .search import Failure, Search, key_of, show_scope

CONFIRMATIONS = 3
PATIENCE = 3.0
"""How much longer a hang may take when it is confirmed: a busy machine is no finding."""


def validate(contract: str, target: str, options: ValidateOptions | None = None) -> Validation:
    """Try to find a sequence of calls by which `target` breaks `contract`.

    Raises `InputError` for an unknown contract, a target that cannot be loaded or options that make no sense."""
    chosen = ValidateOptions() if options is None else options
    if contract not in INTERFACES:
        raise InputError(f"there is no contract {contract!r}", f"choose one of {', '.join(sorted(INTERFACES))}")
    interface = INTERFACES[contract]
    check_options(interface, chosen)
    started = time.monotonic()
    setup = setup_of(interface, target, chosen)
    with ChildProcess(setup, {"PYTHONHASHSEED": "0"}) as child:
        workload = workload_in_arenas(interface, chosen, child)
        check_fit(child, workload, chosen.example_seconds)
        search = Search(interface.contract, workload, child, chosen, started + chosen.seconds)
        return run_search(interface, target, search, setup, started)


def run_search(
    interface: Interface, target: str, search: Search, setup: Mapping[str, Any], started: float
) -> Validation:
    """Probe, search, cut down, confirm, report."""
    findings: list[Finding] = []
    workload = search.workload
    notes = search.until_interrupted(lambda: workload.learn(search.attempt), list[str]())
    complete = not search.failures and search.until_interrupted(search.systematic, False)
    before = search.examples
    if not search.failures:
        search.until_interrupted(search.random, 0)
    drawn = search.examples - before
    for cut in cut_down(search):
        confirmed = confirm(search, cut.smallest, cut.original, setup)
        if confirmed is None:
            notes.append("a sequence took longer than the time limit once, and not when it was run again")
            continue
        failure, deterministic = confirmed
        shortest = cut.shortest and failure.sequence == cut.smallest.sequence
        findings.append(to_finding(interface, target, search, failure, deterministic, shortest))
    notes += [f"scope {scope} is declined by the target ({reason})" for scope, reason in search.declined.items()]
    if search.child.noise_bytes:
        text = " ".join(search.child.noise_text.decode(errors="replace").split())[:120]
        notes.append(f"the target printed {search.child.noise_bytes} bytes; tolerated: {text!r}")
    notes += workload.notes(search.counts)
    if search.interrupted:
        notes.append("interrupted: this is what was tried and found until then")
    outcome = Outcome.HOLDS if search.examples and not search.interrupted else Outcome.UNKNOWN
    if findings:
        outcome = Outcome.VIOLATED
    part = "all" if complete else "a part of the"
    scopes = [scope for scope in search.workload.scopes if show_scope(scope) not in search.declined]
    where = bound_text(scopes)
    return Validation(
        contract=interface.contract.name,
        target=target,
        outcome=outcome,
        bound=f"{part} systematic sequences and {drawn} random ones of up to {search.options.operations} steps{where}",
        findings=tuple(findings),
        examples=search.examples,
        operations=search.operations,
        seconds=time.monotonic() - started,
        coverage={**search.counts, **search.peaks},
        seed=search.options.seed,
        notes=tuple(notes),
    )


def bound_text(scopes: list[Mapping[str, int]]) -> str:
    """The scopes; those of arenas that differ only in placement and filling are one."""
    shown = dict.fromkeys(show_scope(without_placement(scope)) for scope in scopes)
    return f" at {'; '.join(shown)}" if any(shown) else ""


def confirm(
    search: Search, smallest: Failure, original: Failure, setup: Mapping[str, Any]
) -> tuple[Failure, bool] | None:
    """Replay in fresh processes: the failure to report and whether it is deterministic; None if it only took long."""
    key = key_of(original.judgement)
    hang = key is not None and key[1] == "hang"
    seconds = search.options.example_seconds * (PATIENCE if hang else 1)
    for candidate in (smallest, original):
        with ChildProcess(setup, search.child.environment) as fresh:
            replayed = replace(search, child=fresh)
            for _ in range(1 if hang else CONFIRMATIONS):
                again = replayed.run(candidate.sequence, candidate.scope, seconds)
                if key_of(again) != key:
                    break
            else:
                return Failure(candidate.scope, candidate.sequence, again), True
    return None if hang else (original, False)


def to_finding(
    interface: Interface, target: str, search: Search, failure: Failure, deterministic: bool, shortest: bool
) -> Finding:
    """The report of one failure."""
    broken = failure.judgement.broken
    assert broken is not None
    doubt = "" if deterministic else " (not deterministic: a fresh process did not show it)"
    name, text = reproducer(interface, target, search, failure)
    return Finding(
        clause=broken.clause,
        statement=interface.contract.clause(broken.clause).statement,
        message=broken.message + doubt,
        kind=broken.kind,
        detail=broken.detail,
        sequence=failure.judgement.records,
        scope=failure.scope,
        reproducer=text,
        reproducer_name=name,
        deterministic=deterministic,
        shortest=shortest,
        extents=extents(interface.contract, failure, int(search.child.declared.get("size", 0))),
    )


def setup_of(interface: Interface, target: str, options: ValidateOptions) -> dict[str, Any]:
    """What the child must know to load the target; whether it exists shows when it is loaded."""
    contract = interface.contract
    description: Description | None = None
    remedy = f"give {contract.target}; a .toml description of a C library, or command:PROGRAM"
    if not target or "\0" in target:
        raise InputError(f"{target!r} is no target", remedy)
    if target.startswith(PREFIX):
        kind = "command"
    elif target.endswith(".toml"):
        kind, description = "library", read_description(target, contract)
    elif interface.exports and ".py:" not in target:
        kind, description = "library", of_exports(target, interface.exports, options.prefix)
    elif all(target.rpartition(":")):
        kind = "class"
    else:
        raise InputError(f"the {contract.name} contract cannot be applied to {target!r}", remedy)
    return {
        "kind": kind,
        "contract": contract.name,
        "target": target,
        "declared": dict(options.declare),
        "scope": dict(interface.workload(options, contract.declared(options.declare)).scopes[0]),
        "memory": options.memory,
        "description": None if description is None else description.plain(),
    }


def workload_in_arenas(interface: Interface, options: ValidateOptions, child: ChildProcess) -> Workload:
    """The contract's workload, in every arena that the target wants to be given."""
    declared = interface.contract.declared(child.declared)
    description = child.setup["description"]
    arenas = tuple(description["variants"]) if description else ()

    def make(arena: Mapping[str, int]) -> Workload:
        return workload_of(interface, options, {**declared, **arena})

    return InArenas(make, arenas) if arenas else make({})


def check_fit(child: ChildProcess, workload: Workload, seconds: float) -> None:
    """Make one instance, if a scope is not declined. What has not the form of an adapter is no finding but bad input;
    whatever else goes wrong now will do so again when the sequences are run."""
    for scope in workload.scopes:
        opening = child.run((), scope, seconds).answers.get(-1, ())
        for tag, *rest in opening:
            if tag == "unfit" and len(rest) == 2:
                raise InputError(str(rest[0]), str(rest[1]))
        if not any(answer[:2] == ["raised", "ValueError"] for answer in opening):
            return


def check_options(interface: Interface, options: ValidateOptions) -> None:
    """Options that make no sense are refused at once."""
    if options.examples < 0 or not 0 < options.seconds <= 86400 or not 0.05 <= options.example_seconds <= 3600:
        raise InputError("the limits make no sense", "examples >= 0, 0 < seconds, 0.05 <= example_seconds")
    if not 1 <= options.operations <= 1000 or options.max_findings < 1:
        raise InputError("operations must be 1 to 1000, and at least one finding reported", "leave them as they are")
    if options.memory and options.memory < 256 << 20:
        raise InputError("the memory limit is below 256 MiB, too little for Python itself", "raise it, or 0 for none")
    operations = interface.contract.operations
    unknown = sorted(set(options.skip) - set(operations))
    if unknown:
        raise InputError(f"{unknown[0]} is no operation", f"choose from {', '.join(operations)}")
    interface.contract.declared(options.declare)
    interface.check_options(options)
