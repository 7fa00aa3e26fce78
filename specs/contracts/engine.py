"""`validate`: one contract, one target, one answer. Puts child process, workload and search together; prints nothing.

The one idea: only bad input raises (`InputError`); everything an implementation can do wrong becomes a `Finding`,
confirmed in a fresh process before it is reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...model.lang.errors import InputError, ScopeError
from ...model.lang.verdict import Outcome
from .contract import CONTRACTS, Contract
from .heap import NOTHING, PROBE_SIZES, HeapWorkload
from .pages import MAXIMUM_ORDERS, MAXIMUM_PAGES, PageWorkload
from .process import ChildProcess
from .reproducers import reproducer
from .results import Finding, ValidateOptions, Validation
from .search import Failure, Search, Workload, key_of, show_scope
from .sequences import Operation

CONFIRMATIONS = 3
PATIENCE = 3.0
"""How much longer a hang may take when it is confirmed: a busy machine is no finding."""


def validate(contract: str, target: str, options: ValidateOptions | None = None) -> Validation:
    """Try to find a sequence of calls by which `target` breaks `contract`.

    Raises `InputError` for an unknown contract, a target that cannot be loaded or options that make no sense."""
    chosen = ValidateOptions() if options is None else options
    if contract not in CONTRACTS:
        raise InputError(f"there is no contract {contract!r}", f"choose one of {', '.join(sorted(CONTRACTS))}")
    check_options(contract, chosen)
    check_target(contract, target)
    started = time.monotonic()
    setup = {
        "kind": "library" if contract == "heap" else "class",
        "target": target,
        "prefix": chosen.prefix,
        "memory": chosen.memory,
    }
    with ChildProcess(setup, {"PYTHONHASHSEED": "0"}) as child:
        deadline = started + chosen.seconds
        workload: Workload = HeapWorkload(chosen) if contract == "heap" else PageWorkload(chosen)
        search = Search(workload, child, chosen, deadline)
        return run_search(CONTRACTS[contract], target, search, setup, started)


def run_search(
    contract: Contract, target: str, search: Search, setup: Mapping[str, Any], started: float
) -> Validation:
    """Probe, search, cut down, confirm, report."""
    notes: list[str] = []
    findings: list[Finding] = []
    workload = search.workload
    if isinstance(workload, HeapWorkload):
        notes += search.until_interrupted(lambda: probe(search, workload), [])
    complete = not search.failures and search.until_interrupted(search.systematic, False)
    before = search.examples
    if not search.failures:
        search.until_interrupted(search.random, 0)
    drawn = search.examples - before
    for failure in list(search.failures.values())[: search.options.max_findings]:
        smallest = search.until_interrupted(lambda failure=failure: search.minimise(failure), failure)  # type: ignore[misc]
        confirmed = confirm(search, smallest, failure, setup)
        if confirmed is None:
            notes.append("a sequence took longer than the time limit once, and not when it was run again")
            continue
        smallest, deterministic = confirmed
        findings.append(to_finding(contract, target, search, smallest, deterministic))
    notes += [f"scope {scope} is declined by the target ({reason})" for scope, reason in search.declined.items()]
    if search.child.noise_bytes:
        text = " ".join(search.child.noise_text.decode(errors="replace").split())[:120]
        notes.append(f"the target printed {search.child.noise_bytes} bytes; tolerated: {text!r}")
    if isinstance(search.workload, HeapWorkload) and search.counts["zero-size blocks"]:
        notes.append("a request of no bytes gives a block")
    if search.interrupted:
        notes.append("interrupted: this is what was tried and found until then")
    outcome = Outcome.HOLDS if search.examples and not search.interrupted else Outcome.UNKNOWN
    if findings:
        outcome = Outcome.VIOLATED
    part = "all" if complete else "a part of the"
    scopes = [show_scope(scope) for scope in search.workload.scopes if show_scope(scope) not in search.declined]
    where = f" at {'; '.join(scopes)}" if any(scopes) else ""
    return Validation(
        contract=contract.name,
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


def probe(search: Search, workload: HeapWorkload) -> list[str]:
    """Learn what a fresh heap gives at once; from then on the oracle holds the heap to it."""
    met = 0

    def gives(size: int) -> bool:
        granted = search.counts["malloc"] - search.counts["failed calls"]
        search.attempt((Operation("malloc", None, (size,)),), {})
        return search.counts["malloc"] - search.counts["failed calls"] > granted

    for size in PROBE_SIZES:
        met = size if gives(size) else met
        if search.failures:
            return []
    step = met // 2
    while met and met < PROBE_SIZES[-1] and step >= 16 and not search.failures:
        met += step if gives(met + step) else 0
        step //= 2
    workload.largest = met or NOTHING
    return [f"a new heap gives at least {met} bytes at once"]


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


def to_finding(contract: Contract, target: str, search: Search, failure: Failure, deterministic: bool) -> Finding:
    """The report of one failure."""
    broken = failure.judgement.broken
    assert broken is not None
    doubt = "" if deterministic else " (not deterministic: a fresh process did not show it)"
    name, text = reproducer(contract, target, search.options, failure.scope, failure.sequence, broken)
    return Finding(
        clause=broken.clause,
        statement=contract.clause(broken.clause).statement,
        message=broken.message + doubt,
        kind=broken.kind,
        detail=broken.detail,
        sequence=failure.judgement.records,
        scope=failure.scope,
        reproducer=text,
        reproducer_name=name,
        deterministic=deterministic,
    )


def check_target(contract: str, target: str) -> None:
    """The form of the target; whether it exists shows when it is loaded."""
    if contract == "heap" and (".py:" in target or not target or "\0" in target):
        raise InputError(f"the heap contract needs a shared library, not {target!r}", "give a path or a soname")
    if contract == "page-allocator" and (not all(target.rpartition(":")) or "\0" in target):
        remedy = "name it as my_file.py:MyBuddy or package.module:Class"
        raise InputError(f"the page-allocator contract needs a Python class, not {target!r}", remedy)


def check_options(contract: str, options: ValidateOptions) -> None:
    """Options that make no sense are refused at once."""
    if options.examples < 0 or not 0 < options.seconds <= 86400 or not 0.05 <= options.example_seconds <= 3600:
        raise InputError("the limits make no sense", "examples >= 0, 0 < seconds, 0.05 <= example_seconds")
    if not 1 <= options.operations <= 1000 or options.max_findings < 1:
        raise InputError("operations must be 1 to 1000, and at least one finding reported", "leave them as they are")
    if options.memory and options.memory < 256 << 20:
        raise InputError("the memory limit is below 256 MiB, too little for Python itself", "raise it, or 0 for none")
    unknown = sorted(set(options.skip) - set(CONTRACTS[contract].operations))
    if unknown:
        raise InputError(f"{unknown[0]} is no operation", f"choose from {', '.join(CONTRACTS[contract].operations)}")
    for value in (options.alignment, options.small_alignment):
        if value < 1 or value & (value - 1):
            raise InputError(f"alignment {value} is no power of two", "give 1, 2, 4, 8, 16, …")
    if contract != "page-allocator":
        return
    if options.pages is not None and not 1 <= options.pages <= MAXIMUM_PAGES:
        raise ScopeError(f"pages={options.pages} is not within 1 to {MAXIMUM_PAGES}", "give a smaller scope")
    if options.orders is not None and not 1 <= options.orders <= MAXIMUM_ORDERS:
        raise ScopeError(f"orders={options.orders} is not within 1 to {MAXIMUM_ORDERS}", "give a smaller scope")
