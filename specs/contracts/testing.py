"""A contract inside another project's test suite: by Hypothesis' stateful testing, or by the checker's child process.

    from kmemspec import PageAllocatorContract

    TestMyBuddy = PageAllocatorContract.TestCase(MyBuddy)               # in this process: pytest or unittest runs it
    def test_my_buddy():
        PageAllocatorContract.check("my_file.py:MyBuddy", seconds=5)    # in a child: survives crashes and hangs

The one idea: the state machine calls the same adapter and asks the same oracle as `kmemspec validate`; nothing about a
contract is said twice.
"""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .interface import Interface, Scope
from .misuse import workload_of
from .registry import INTERFACES
from .results import Finding, ValidateOptions
from .sequences import Draw, Operation

NUMBERS = 1 << 16
TESTS = {"".join(map(str.capitalize, name.split("-"))) + "Contract": name for name in INTERFACES}
"""PageAllocatorContract for page-allocator, and so on."""


class BrokenContractError(AssertionError):
    """An implementation breaks its contract; the message has the calls."""


class ContractTests:
    """The tests that one contract gives."""

    def __init__(self, name: str) -> None:
        self.interface = INTERFACES[name]

    def TestCase(
        self, factory: Any, *, scope: Mapping[str, int] | None = None, steps: int = 40, examples: int = 100
    ) -> type[unittest.TestCase]:
        """A test case like that of a Hypothesis state machine: name it Test… and pytest or unittest runs it."""
        machine = self.machine(factory, scope=scope)
        import hypothesis

        case: type[unittest.TestCase] = machine.TestCase
        case.settings = hypothesis.settings(  # type: ignore[attr-defined]
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # Not explain: it traces every line that the oracle and the adapter run.
            phases=(hypothesis.Phase.reuse, hypothesis.Phase.generate, hypothesis.Phase.shrink),
        )
        return case

    def machine(self, factory: Any, *, scope: Mapping[str, int] | None = None) -> Any:
        """The Hypothesis state machine itself: one rule, which makes the calls that a draw means."""
        from hypothesis import stateful, strategies

        interface, given = self.interface, dict(scope or {})
        declared = interface.contract.declared(getattr(factory, "declares", {}))
        options = ValidateOptions(pages=given.get("pages"), orders=given.get("orders"), scope=given)
        interface.check_options(options)
        workload = workload_of(interface, options, declared)
        numbers = strategies.integers(0, NUMBERS - 1)
        scopes = strategies.sampled_from(range(len(workload.scopes)))

        def start(self: Any, number: int) -> None:
            self.run = Run(interface, workload, factory, workload.scopes[number], declared)

        def step(self: Any, kind: str, first: int, second: int) -> None:
            self.run.step(Draw(kind, first, second))

        def finish(self: Any) -> None:
            if hasattr(self, "run"):
                self.run.finish()

        body = {
            "teardown": finish,
            "start": stateful.initialize(number=scopes)(start),
            "step": stateful.rule(kind=strategies.sampled_from(workload.kinds), first=numbers, second=numbers)(step),
        }
        name = f"{interface.contract.name.title().replace('-', '')}Machine"
        return type(name, (stateful.RuleBasedStateMachine,), body)

    def check(self, target: str, options: ValidateOptions | None = None, **changes: Any) -> None:
        """Validate a target (as `kmemspec validate` names it) in a child process; raises at the first finding."""
        from .engine import validate

        found = validate(self.interface.contract.name, target, replace(options or ValidateOptions(), **changes))
        if found.findings:
            raise BrokenContractError(finding_text(found.findings[0]))


class Run:
    """One run of the state machine: an instance, the oracle beside it, the calls so far."""

    def __init__(
        self, interface: Interface, workload: Any, factory: Any, scope: Scope, declared: Mapping[str, Any]
    ) -> None:
        self.interface, self.workload, self.scope = interface, workload, scope
        self.contract, self.oracle = interface.contract, workload.oracle(scope)
        self.draws: list[Draw] = []
        self.made = 0
        self.broken = False
        try:
            self.adapter: Any = interface.adapt(factory, dict(scope), declared)
        except ValueError:
            import hypothesis

            hypothesis.reject()

    def step(self, draw: Draw) -> None:
        """The calls that one more draw adds to the sequence."""
        self.draws.append(draw)
        sequence = self.workload.program(self.draws, self.scope)
        for index in range(self.made, len(sequence)):
            self.call(index, sequence[index])
        self.made = len(sequence)

    def finish(self) -> None:
        """Look at all that there is to be seen, if nothing was wrong until now; then end the instance."""
        try:
            for index, operation in enumerate(self.workload.closing(self.scope) if not self.broken else (), self.made):
                self.call(index, operation)
        finally:
            getattr(self.adapter, "close", lambda: None)()

    def call(self, index: int, operation: Operation) -> None:
        """One call, judged as the checker judges it."""
        self.broken = True
        self.judged(index, operation)
        self.broken = False

    def judged(self, index: int, operation: Operation) -> None:
        """One call; raises if it breaks a clause, or whatever the implementation raises."""
        answers: list[tuple[Any, ...]] = []
        arguments = list(operation.arguments)
        self.adapter.perform(index, operation.kind, operation.block, arguments, lambda *said: answers.append(said))
        if ("skipped",) in answers:
            return
        expected = self.oracle.expected(operation)
        form = self.contract.operations[operation.kind]
        value = next((answer[1] for answer in answers if answer[0] == "value"), None)
        rubbish = next((answer[1] for answer in answers if answer[0] == "rubbish"), None)
        if rubbish is not None or not form.well_formed(value):
            raise BrokenContractError(f"answers: {operation.kind} returned {rubbish or repr(value)[:100]}")
        broken = self.oracle.observe(index, operation, value)
        for answer in answers:
            broken = broken or self.oracle.after(operation, value, list(answer))
        if broken is not None:
            call = f"{operation.kind}({', '.join(map(str, operation.arguments))})"
            scope = ", ".join(f"{name}={number}" for name, number in self.scope.items())
            raise BrokenContractError(
                f"{broken.clause}: {broken.message}\n{call} -> {self.oracle.show(operation, value)}, "
                f"expected {expected}; with {scope}\nclause: {self.contract.clause(broken.clause).statement}"
            )


def finding_text(finding: Finding) -> str:
    """A finding as the message of an assertion."""
    calls = "\n".join(f"  {record.call} -> {record.observed}" for record in finding.sequence)
    return f"{finding.clause}: {finding.message}\n{calls}\nclause: {finding.statement}"


def __getattr__(name: str) -> ContractTests:
    """PageAllocatorContract, HeapContract, …: one for each contract there is."""
    if name in TESTS:
        return ContractTests(TESTS[name])
    raise AttributeError(name)
