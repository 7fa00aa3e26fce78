"""The three engines say the same: random runs, compared whole state by whole state.

A test that cannot fail is worth nothing, so the same comparison is run against engines whose translation is broken on
purpose, construct by construct, and must notice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.faults.catalogue import find
from kmemspec.model.lang import records
from kmemspec.model.lang.execute import PythonMachine
from kmemspec.model.lang.trace import StepOutcome, Violation
from kmemspec.proofs.explore import NativeMachine, codegen
from kmemspec.proofs.symbolic import SymbolicMachine, executor, values
from kmemspec.specs.loading import Loaded, load

HERE = Path(__file__).parent
EVERY_CONSTRUCT = str(HERE / "specifications" / "every_construct.py")
RING = str(HERE.parent / "examples" / "ring_buffer.py")

Seen = tuple[bool, tuple[int, ...] | None, int | None, tuple[str, str] | None]


class RandomChooser:
    """Chooses at random and remembers, so that the other engines can be told the same choices."""

    def __init__(self, generator: random.Random) -> None:
        self.generator = generator
        self.made: list[int] = []

    def choose(self, options: range) -> int:
        self.made.append(self.generator.choice(options))
        return self.made[-1]


def seen(outcome: StepOutcome, machine: PythonMachine) -> Seen:
    """An outcome in a form in which engines can be compared: a failure by its kind and source line."""
    failure = None
    if outcome.failure is not None:
        position = machine.program.positions[outcome.failure.where]
        failure = (outcome.failure.kind.name, f"{position.file}:{position.line}")
    return outcome.enabled, outcome.state, outcome.result, failure


def broken(violations: list[Violation]) -> dict[str, str]:
    """Each broken property with its first false clause (the native engine looks no further)."""
    first: dict[str, str] = {}
    for violation in violations:
        first.setdefault(violation.property, violation.clause)
    return first


def disagreements(loaded: Loaded, scope: str, steps: int, seed: int, engines: str = "native symbolic") -> Iterator[str]:
    """Run at random and yield what another engine sees differently."""
    sizes = loaded.spec.scope(scope)
    python = PythonMachine(loaded.spec, loaded.program, sizes)
    others: dict[str, Any] = {}
    if "native" in engines:
        others["native"] = NativeMachine(loaded.program, sizes)
    if "symbolic" in engines:
        others["symbolic"] = SymbolicMachine(loaded.program, sizes)
    initial = sorted(step.state for step in python.initial_states())
    for name, machine in others.items():
        if sorted(getattr(start, "state", start) for start in machine.initial_states()) != initial:
            yield f"{name}: initial states differ"
    generator = random.Random(seed)
    state = generator.choice(initial)
    for number in range(steps):
        action = generator.randrange(len(loaded.program.actions))
        arguments = generator.choice(list(python.arguments(action)))
        chooser = RandomChooser(generator)
        python.state = state
        outcome = python.take(action, arguments, chooser)
        mine = seen(outcome, python)
        for name, machine in others.items():
            its = seen(machine.step(state, action, arguments, tuple(chooser.made)), python)
            if its != mine:
                yield f"{name}, step {number}: {loaded.program.actions[action].name}{arguments}: {its} is not {mine}"
        if outcome.state is not None:
            state = outcome.state
            if number % 4 == 0:
                wrong = broken(python.check(state))
                for name, machine in others.items():
                    if broken(machine.check(state)) != wrong:
                        yield f"{name}, step {number}: invariants {broken(machine.check(state))} are not {wrong}"
        elif outcome.failure is not None or generator.random() < 0.02:
            state = generator.choice(initial)


CASES = [
    ("buddy", None, "default", 150),
    ("buddy", None, "odd", 100),
    ("buddy", None, "unaligned", 60),
    ("buddy", "merge-ignores-order", "pages=6", 150),
    ("buddy", "merge-beyond-max-order", "pages=4,orders=2,start=2", 60),
    ("blocks", None, "pages=6", 80),
    (EVERY_CONSTRUCT, None, "default", 250),
    (EVERY_CONSTRUCT, None, "cells=4,rows=1,bits=2", 150),
    (RING, None, "slots=4,bits=3", 100),
]


@pytest.mark.parametrize(("target", "fault", "scope", "steps"), CASES, ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_engines_agree(target: str, fault: str | None, scope: str, steps: int) -> None:
    loaded = load(target, find(fault) if fault else None)
    assert next(disagreements(loaded, scope, steps, seed=1), None) is None


@pytest.mark.slow
def test_engines_agree_for_long() -> None:
    for target, fault, scope, steps in CASES:
        loaded = load(target, find(fault) if fault else None)
        assert next(disagreements(loaded, scope, steps * 4, seed=2), None) is None


# --- the same with a broken translation


def wrong_operator(operator: str, instead: str) -> Callable[[Any], Any]:
    """An expression translator that takes one binary operator for another."""

    def patch(original: Callable[..., Any]) -> Callable[..., Any]:
        def translate(self: Any, binary: Any, *rest: Any) -> Any:
            if binary.operator == operator:
                binary = type(binary)(instead, binary.left, binary.right, binary.where)
            return original(self, binary, *rest)

        return translate

    return patch


def ignored(original: Callable[..., Any]) -> Callable[..., Any]:
    """A translator that translates nothing."""
    return lambda *_: None


def unwrapped_native(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, type_, value: value


def unwrapped_symbolic(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, value, low, high: self.narrow(value, low, high)


def unwrapped_python(original: Callable[..., Any]) -> Callable[..., Any]:
    def acceptor(type_: Any, sizes: Any) -> Any:
        kept = original(type_, sizes)
        return (lambda _, value: max(value, 0)) if type(type_).__name__ == "MachineType" else kept

    return acceptor


def breakage_name(value: Any) -> str:
    return str(getattr(value, "__name__", value))


BREAKAGES: list[tuple[str, Any, str, Callable[[Any], Any]]] = [
    ("native", codegen.FunctionEmitter, "binary", wrong_operator("-", "+")),
    ("native", codegen.FunctionEmitter, "binary", wrong_operator("&", "|")),
    ("native", codegen.FunctionEmitter, "binary", wrong_operator("//", "*")),
    ("native", codegen.FunctionEmitter, "store", ignored),
    ("native", codegen.FunctionEmitter, "wrap", unwrapped_native),
    ("symbolic", executor.Executor, "_binary", wrong_operator("-", "+")),
    ("symbolic", executor.Executor, "_binary", wrong_operator("&", "|")),
    ("symbolic", executor.Executor, "_binary", wrong_operator("%", "//")),
    ("symbolic", executor.Executor, "_store", ignored),
    ("symbolic", values.Terms, "wrap", unwrapped_symbolic),
    ("python", records, "_acceptor", unwrapped_python),
]


@pytest.mark.parametrize(("engine", "owner", "name", "patch"), BREAKAGES, ids=breakage_name)
def test_a_broken_translation_is_noticed(
    engine: str, owner: Any, name: str, patch: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(owner, name, patch(getattr(owner, name)))
    engines = "native" if engine == "python" else engine
    loaded = load(EVERY_CONSTRUCT)
    try:
        noticed = next(disagreements(loaded, "default", 400, 1, engines), None)
    except Exception as error:  # an engine that falls over its own mistake has been noticed too
        noticed = repr(error)
    assert noticed is not None
