"""One program at one scope, in machine code: single steps and judgements.

The search and the walks use the same machine and the same context; the agreement tests and `replay` use the methods
here, which take and give flat states.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...model.lang.errors import InputError, ScopeError
from ...model.lang.ir import Program, PropertyIR, Size, Sizes
from ...model.lang.trace import Failure, FlatStep, StepOutcome, Violation, failure_violation
from . import status
from .compiler import native
from .context import CHOICES, SCALARS, Context
from .interrupts import deferred_signals
from .layout import (
    Layout,
    argument_bounds,
    check_machine_bits,
    parameter_values,
    resolve,
)
from .symmetry import PackedSymmetry

_MOST_INITIAL_STATES = 1_000_000


@dataclass(frozen=True)
class Transition:
    """One execution of an action (-1: init): its arguments, the choices it made, and what came of it."""

    action: int
    arguments: tuple[int, ...]
    choices: tuple[int, ...]
    outcome: StepOutcome


@dataclass(frozen=True)
class RawStep:
    """As `Transition`, before decoding: status, result and packed state."""

    status: int
    result: int
    words: bytes
    choices: tuple[int, ...]


class NativeMachine:
    """A program at a scope; `quick` compiles it without optimising."""

    def __init__(self, program: Program, sizes: Sizes, quick: bool = False) -> None:
        self.program = program
        self.sizes = dict(sizes)
        try:
            self.layout = Layout(program.schema, sizes)
            self.abstract_layout = Layout(program.abstract_schema, sizes) if program.abstract_schema else None
            self.bounds = argument_bounds(program, sizes)
        except KeyError as missing:
            raise ScopeError(f"the scope gives no value to {missing.args[0]!r}", "name it in the scope") from None
        self.native = native(program, quick)
        for parameter, offset, signed in self.native.compiled.machine_sizes:
            check_machine_bits(resolve(Size(parameter, offset), sizes), signed, "a value")
        self.context_map = Context(program)
        self.context = (ctypes.c_int64 * self.context_map.length)()
        self.address = ctypes.addressof(self.context)
        self._keep: list[object] = []
        self.symmetry: PackedSymmetry | None = None
        self._fill()

    # --- the context -----------------------------------------------------------------------------------------

    def _fill(self) -> None:
        layouts = [self.layout] + ([self.abstract_layout] if self.abstract_layout else [])
        parameters = parameter_values(self.program, self.sizes, layouts, self.native.compiled.sizes)
        words = self.layout.words
        self.set("words", words)
        self.set("parameters", self._buffer(len(parameters), b"".join(p.to_bytes(8, "little") for p in parameters)))
        self.set("start", self._buffer(words, self.layout.pack(self.program.schema.initial(self.sizes))))
        for name in ("source", "target"):
            self.set(name, self._buffer(words))
        if self.abstract_layout is not None:
            assert self.program.abstract_schema is not None
            count = self.abstract_layout.words
            initial = self.abstract_layout.pack(self.program.abstract_schema.initial(self.sizes))
            self.set("abstract_words", count)
            self.set("abstract_start", self._buffer(count, initial))
            for name in ("abstract", "abstract_after"):
                self.set(name, self._buffer(count))

    def _buffer(self, words: int, content: bytes = b"") -> int:
        buffer = ctypes.create_string_buffer(content, max(words * 8, 8))
        self._keep.append(buffer)
        return ctypes.addressof(buffer)

    def reduce(self, symmetry: PackedSymmetry) -> None:
        """Let the search take every successor to the state that stands for it."""
        self.symmetry = symmetry
        streams, tables = symmetry.tables()
        places = [self._array(table) for table in tables]
        addresses = [self._array([places[-value - 1] if value < 0 else value for value in s]) for s in streams]
        for name, value in {
            "renamings": len(streams),
            "idle": symmetry.idle,
            "group_order": symmetry.symmetry.order,
            "streams": self._array(addresses),
            "affected": len(symmetry.words),
            "affected_words": self._array(symmetry.words),
            "original": self._buffer(self.layout.words),
            "candidate": self._buffer(self.layout.words),
            "strict": 1,
        }.items():
            self.set(name, value)

    def _array(self, values: Sequence[int]) -> int:
        return self._buffer(len(values), b"".join(value.to_bytes(8, "little") for value in values))

    def canonical(self, words: bytes) -> bytes:
        """The state that stands for a packed state: itself, without symmetry."""
        if self.symmetry is None:
            return words
        self.write_words("target", words)
        self.call("canonical_target")
        return self.read_words(self.get("target"))

    def orbit(self, words: bytes) -> int:
        """How many states differ from a packed state in the numbers of interchangeable elements alone, itself too."""
        if self.symmetry is None:
            return 1
        self.write_words("target", words)
        return self.symmetry.symmetry.order // self.call("canonical_target")

    def get(self, name: str) -> int:
        """A scalar of the context."""
        return self.context[SCALARS.index(name)]

    def set(self, name: str, value: int) -> None:
        """Set a scalar of the context."""
        self.context[SCALARS.index(name)] = value

    def call(self, name: str, *arguments: int) -> int:
        """Call an exported function."""
        function = self.native.functions[name]
        if name in ("execute", "judge"):  # they ask for no memory, so they never call back
            return function(self.address, *arguments)
        with deferred_signals():
            return function(self.address, *arguments)

    def read_words(self, address: int) -> bytes:
        """The packed state at an address."""
        return ctypes.string_at(address, self.layout.words * 8)

    def write_words(self, name: str, words: bytes) -> None:
        """Put a packed state into the `source` or `target` buffer."""
        ctypes.memmove(self.get(name), words, len(words))

    def slots(self, start: int, count: int) -> tuple[int, ...]:
        """Consecutive slots of the context."""
        return tuple(self.context[start : start + count])

    # --- single steps ----------------------------------------------------------------------------------------

    def execute(self, words: bytes, action: int, arguments: Sequence[int], choices: Sequence[int] = ()) -> RawStep:
        """Run one action (-1: init) on a packed state; choices beyond the given ones are the first possible."""
        if len(choices) > CHOICES:
            raise InputError(f"a step makes at most {CHOICES} choices, not {len(choices)}", "shorten the list")
        where = self.context_map
        self.context[where.arguments : where.arguments + len(arguments)] = list(arguments)
        self.context[where.script : where.script + len(choices)] = list(choices)
        self.set("script_length", len(choices))
        self.set("random", 0)
        self.write_words("source", words)
        code = self.call("execute", action)
        if code == status.TOO_MANY_CHOICES:
            raise InputError(f"a step makes more than {CHOICES} choices", "choose less often in one action")
        made = self.slots(where.script, self.get("script_position"))
        return RawStep(code, self.get("result"), self.read_words(self.get("target")), made)

    def executions(self, words: bytes, action: int, arguments: Sequence[int]) -> Iterator[RawStep]:
        """Run an action once for each way to choose, in the order of the search."""
        choices: list[int] = []
        while True:
            step = self.execute(words, action, arguments, choices)
            stops = self.slots(self.context_map.stops, len(step.choices))
            yield step
            choices = list(step.choices)
            while choices and choices[-1] + 1 >= stops[len(choices) - 1]:
                choices.pop()
            if not choices:
                return
            choices[-1] += 1

    def argument_tuples(self, action: int) -> Iterator[tuple[int, ...]]:
        """Every combination of arguments, in the order of the search."""
        return itertools.product(*(range(low, high + 1) for low, high in self.bounds[action]))

    def outcome(self, action: int, step: RawStep) -> StepOutcome:
        """A raw step as the type in which engines are compared."""
        if step.status == status.DISABLED:
            return StepOutcome(False)
        if step.status != status.OK:
            return StepOutcome(True, failure=self.failure(step.status))
        returns = action >= 0 and self.program.actions[action].returns is not None
        return StepOutcome(True, self.layout.unpack(step.words), step.result if returns else None)

    def failure(self, code: int) -> Failure:
        """A failure status, decoded."""
        kind = status.kind_of(code)
        assert kind is not None
        return Failure(kind, status.where_of(code), self.native.compiled.messages[status.detail_of(code)])

    def step(
        self, flat: Sequence[int], action: int, arguments: Sequence[int], choices: Sequence[int] = ()
    ) -> StepOutcome:
        """What an action does on a flat state."""
        if not 0 <= action < len(self.program.actions):
            raise InputError(f"there is no action number {action}", f"choose 0 to {len(self.program.actions) - 1}")
        bounds = self.bounds[action]
        name, parameters = self.program.actions[action].name, self.program.actions[action].parameters
        if len(arguments) != len(bounds):
            raise InputError(f"{name} takes {len(bounds)} arguments, not {len(arguments)}", "correct the step")
        for parameter, value, (low, high) in zip(parameters, arguments, bounds, strict=True):
            if not low <= value <= high:
                raise InputError(f"{name}: {parameter.name} is {value}, outside {low}..{high}", "correct the step")
        return self.outcome(action, self.execute(self.layout.pack(flat), action, arguments, choices))

    def transitions(self, flat: Sequence[int]) -> Iterator[Transition]:
        """Every execution that is not disabled, failures included, in the order of the search."""
        for action, arguments, step in self.raw_transitions(self.layout.pack(flat)):
            yield Transition(action, arguments, step.choices, self.outcome(action, step))

    def raw_transitions(self, words: bytes) -> Iterator[tuple[int, tuple[int, ...], RawStep]]:
        """As `transitions`, on packed states."""
        for action in range(len(self.program.actions)):
            for arguments in self.argument_tuples(action):
                for step in self.executions(words, action, arguments):
                    if step.status != status.DISABLED:
                        yield action, arguments, step

    def successors(self, flat: Sequence[int]) -> list[FlatStep]:
        """Every completed step from a flat state."""
        return [
            FlatStep(t.action, t.arguments, t.choices, t.outcome.result, t.outcome.state)
            for t in self.transitions(flat)
            if t.outcome.state is not None
        ]

    def start_words(self) -> bytes:
        """The initial values, before init."""
        return self.read_words(self.get("start"))

    def initial_states(self) -> list[FlatStep]:
        """What `init` can make; each state once."""
        seen: dict[bytes, FlatStep] = {}
        for step in itertools.islice(self.executions(self.start_words(), -1, ()), _MOST_INITIAL_STATES):
            if step.status == status.OK and step.words not in seen:
                seen[step.words] = FlatStep(-1, (), step.choices, None, self.layout.unpack(step.words))
        return list(seen.values())

    # --- judgements ------------------------------------------------------------------------------------------

    def check(self, flat: Sequence[int], initial: bool = False) -> list[Violation]:
        """The invariants (and with `initial` the conditions on initial states) that a flat state breaks, each with
        its first false claim."""
        words = self.layout.pack(flat)
        self.write_words("source", words)
        self.write_words("target", words)
        kinds = ("invariant", "initial") if initial else ("invariant",)
        return self._judged(kinds, None)

    def check_step(self, before: Sequence[int], step: FlatStep) -> list[Violation]:
        """The step properties and refinements that a step breaks."""
        self.write_words("source", self.layout.pack(before))
        self.write_words("target", self.layout.pack(step.state))
        where = self.context_map.arguments
        self.context[where : where + len(step.arguments)] = list(step.arguments)
        self.set("result", step.result or 0)
        return self._judged(("step", "refinement"), self.program.actions[step.action].name)

    def _judged(self, kinds: Sequence[str], action: str | None) -> list[Violation]:
        violations = []
        for index, prop in enumerate(self.program.properties):
            if prop.kind in kinds and prop.action in (None, action):
                code = self.call("judge", index)
                if code != status.OK:
                    violations.append(self.property_violation(prop, code))
        return violations

    def judge_target(self, index: int) -> int:
        """The status of one property for the step from the source to the target buffer."""
        return self.call("judge", index)

    def property_violation(self, prop: PropertyIR, code: int) -> Violation:
        """The violation that a property's status means; witnesses come from the context."""
        if code == status.DISABLED:
            clause = prop.clauses[-1].name if prop.clauses else "abstract step is enabled"
            return Violation(prop.identifier, clause, prop.kind, (), prop.name)
        position = str(self.program.positions[status.where_of(code)])
        kind = status.kind_of(code)
        if kind is not None:
            failure = self.failure(code)
            message = f"{kind.value} while evaluating {prop.name}"
            return Violation(prop.identifier, failure.message or kind.value, kind.name, (), message, position)
        clause_ir = prop.clauses[status.detail_of(code)]
        values = self.slots(self.context_map.witness, self.get("witnesses"))
        elements = tuple(zip(clause_ir.elements, values, strict=False))
        return Violation(prop.identifier, clause_ir.name, prop.kind, elements, prop.name, position)

    def action_violation(self, action: int, code: int) -> Violation:
        """The violation that a failing action (-1: init) is."""
        name = self.program.actions[action].name if action >= 0 else "init"
        return failure_violation(self.program, self.failure(code), name)
