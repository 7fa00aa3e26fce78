"""A Hypothesis state machine made from any specification.

The one idea: every action becomes a rule with the action's own name and parameters, offered when its guards let it, so
that a failing example printed by Hypothesis reads like the specification and runs as it is printed:

    state = BuddyMachine()
    state.memblock_free_all()
    state.alloc_pages(order=0)
    state.teardown()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ...model.lang.ir import Call, Choice, Program, Sizes
from ...model.lang.records import to_integer
from ...model.lang.spec import Spec, check_layout
from .walking import LARGE_STATE, InitRejectedError, Walker

STAY = "nothing_is_enabled"
"""The rule for states in which no action is offered; Hypothesis wants one."""

BURST = "many_steps"
"""The rule of a large scope that takes many steps at once: `state.many_steps(seed=7, times=40)`."""

BURST_MAX = 128


def state_machine(spec: Spec, program: Program, sizes: Sizes, *, check_every: int = 1) -> type[RuleBasedStateMachine]:
    """A state machine class: `TestBuddy = state_machine(SPEC, lower(SPEC), SPEC.resolve()).TestCase`.

    A violation is an AssertionError that says what broke. Each instance is in the class's one machine, so use one at a
    time, as Hypothesis does; `walker.steps` is the run so far."""
    check_layout(program.schema, sizes, dense=False)  # a scope that makes no sense is reported here, not in a run
    shared = functools.cache(lambda: Walker(spec, program, sizes, check_every))

    def begin(self: Any) -> None:
        RuleBasedStateMachine.__init__(self)
        self.walker = shared()
        self.drawn = None

    names: dict[str, Any] = {"__init__": begin, "__doc__": f"Random runs of the specification {spec.name}."}
    start = _free(spec.init.__name__, names)
    names[start] = _start_rule(_chooses(program, program.init), start)
    for action in range(len(program.actions)):
        name = _free(program.actions[action].name, names)
        names[name] = _action_rule(program, action, name)
    if program.schema.total(sizes) > LARGE_STATE:
        burst = _free(BURST, names)
        names[burst] = _burst_rule(burst)
    stay = _free(STAY, names)
    names[stay] = precondition(_is_stuck)(_named(rule(), _stay, stay))
    title = "".join(part.title() for part in spec.name.replace("-", "_").split("_"))
    return type(f"{title}Machine", (RuleBasedStateMachine,), names)


def _action_rule(program: Program, action: int, name: str) -> Any:
    """The rule of one action: its parameters drawn among the enabled ones, its choices while it runs."""
    chooses = _chooses(program, program.actions[action].function)
    parameters = [parameter.name for parameter in program.actions[action].parameters]
    data = next(name for name in ("data", "data_", "choices_") if name not in parameters) if chooses else ""

    def take(self: Any, /, **values: Any) -> None:
        arguments = tuple(to_integer(values[parameter]) for parameter in parameters)
        self.drawn = None
        self.walker.take(action, arguments, Chosen(values[data]) if chooses else None)

    strategies: dict[str, Any] = {
        parameter: _parameter(action, position) for position, parameter in enumerate(parameters)
    }
    if chooses:
        strategies[data] = st.data()
    return precondition(lambda self: self.walker.offered(action))(_named(rule(**strategies), take, name))


def _burst_rule(name: str) -> Any:
    """The rule for many steps, which follow from a seed: what Hypothesis would need hours for in a large scope."""

    def take(self: Any, /, seed: int, times: int) -> None:
        self.drawn = None
        self.walker.burst(seed, min(times, self.walker.room()))

    strategies: dict[str, Any] = {"seed": st.integers(0, (1 << 32) - 1), "times": st.integers(1, BURST_MAX)}
    return precondition(lambda self: not self.walker.stuck())(_named(rule(**strategies), take, name))


def _start_rule(chooses: bool, name: str) -> Any:
    """The rule for init, which comes first."""

    def start(self: Any, /, **values: Any) -> None:
        try:
            self.walker.begin(Chosen(values["data"]) if chooses else None)
        except InitRejectedError:
            reject()

    strategies: dict[str, Any] = {"data": st.data()} if chooses else {}
    return _named(initialize(**strategies), start, name)


def _named(decorate: Callable[[Any], Any], function: Any, name: str) -> Any:
    function.__name__ = function.__qualname__ = name
    return decorate(function)


def _is_stuck(self: Any) -> bool:
    return bool(self.walker.stuck())


def _stay(self: Any) -> None:
    self.walker.stay()


def _parameter(action: int, position: int) -> st.SearchStrategy[Any]:
    """One parameter of an action. Whichever is drawn first draws them all, for they are enabled together."""

    @st.composite
    def argument(draw: Any) -> Any:
        machine = draw(st.runner())
        if machine.drawn is None or machine.drawn[0] != (action, len(machine.walker.steps)):
            enabled = machine.walker.arguments[action]
            flat = enabled.at(draw(_below(enabled.count())))
            python = machine.walker.machine.to_python(action, flat)
            machine.drawn = (action, len(machine.walker.steps)), python
        return machine.drawn[1][position]

    return argument()


@functools.lru_cache(maxsize=4096)
def _below(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count - 1)


class Chosen:
    """The chooser that lets Hypothesis choose."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def choose(self, options: Sequence[int]) -> int:
        position: int = self.data.draw(_below(len(options)), label=f"choice of {len(options)}")
        return options[position]


def _free(name: str, taken: dict[str, Any]) -> str:
    """A method name that neither Hypothesis's own class nor another rule has."""
    return name if not hasattr(RuleBasedStateMachine, name) and name not in taken else f"action_{name}"


def _chooses(program: Program, function: str) -> bool:
    """Whether a function, or one it calls, makes choices."""
    pending, seen = [function], set[str]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for block in program.functions[current].blocks:
            for instruction in block.instructions:
                if isinstance(instruction, Choice):
                    return True
                if isinstance(instruction, Call):
                    pending.append(instruction.function)
    return False
