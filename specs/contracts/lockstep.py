"""A contract's machine beside a run of an implementation: the same calls, under CPython, answer by answer.

The one idea: what an implementation must answer is not described a second time. The machine is the specification that
the engines search and prove (`specs/contract_*.py`, `specs/blocks.py`), run by `PythonMachine` at the scope of the run.
A step that the machine cannot take is one that the contract forbids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...model.lang.ir import ActionIR
    from ...model.lang.trace import StepOutcome
    from ..loading import Loaded


class Impossible(Exception):  # noqa: N818 (an answer about the contract, not an error)
    """The machine cannot take that step."""


class LockStep:
    """One machine, used for one run after another: `begin` makes it new."""

    def __init__(self, loaded: Loaded, settings: Mapping[str, int]) -> None:
        # Imported here: the child process imports the contracts too, and needs no machine.
        from ...model.lang.execute import PythonMachine, Script

        self.loaded, self.script = loaded, Script
        self.machine = PythonMachine(loaded.spec, loaded.program, loaded.spec.resolve(settings))
        self.actions = {action.name: number for number, action in enumerate(loaded.program.actions)}

    @property
    def state(self) -> Any:
        """The machine's record, to be read."""
        return self.machine.machine

    def begin(self, choices: tuple[int, ...] = ()) -> None:
        """The initial state that these choices of init lead to."""
        self.machine.begin(self.script(choices))

    def take(self, action: str, *arguments: int) -> int | None:
        """One step; what it returns (None if nothing). Raises `Impossible`."""
        number = self.actions[action]
        ir = self.loaded.program.actions[number]
        if not self.within(ir, arguments):
            raise Impossible
        outcome = self.machine.perform(number, arguments, self.script())
        if not outcome.enabled:
            raise Impossible
        return result_of(ir, outcome)

    def within(self, ir: ActionIR, arguments: tuple[int, ...]) -> bool:
        """Are the arguments in their ranges? What an implementation answers need not be."""
        bounds = [parameter.type.bounds(self.machine.sizes) for parameter in ir.parameters]
        return all(low <= value <= high for value, (low, high) in zip(arguments, bounds, strict=True))


def result_of(ir: ActionIR, outcome: StepOutcome) -> int | None:
    """A step's result; None stands for None. A failing machine would be an error in the specification."""
    from ...model.lang.ir import NONE, BooleanType, IntegerType

    assert outcome.failure is None, f"{ir.name} of the contract fails: {outcome.failure}"
    optional = isinstance(ir.returns, IntegerType) and ir.returns.optional
    if outcome.result is None or (optional and outcome.result == NONE):
        return None
    return bool(outcome.result) if isinstance(ir.returns, BooleanType) else outcome.result
