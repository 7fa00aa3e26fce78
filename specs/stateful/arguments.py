"""Which arguments an action can be called with in the present state, found as they are needed.

The one idea: arguments are numbered, and Hypothesis draws a number. A small domain is probed whole, and the number is a
position among the enabled ones: uniform, and smaller is simpler. In a large domain most arguments are refused, so most
numbers choose among the references in use, at the arrays that the action's guards read there (`following.Pool`); the
rest name any arguments. From a disabled number the probe goes on in long strides, so that clusters of enabled arguments
do not draw all the luck.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from ...model.lang.execute import PythonMachine
from ...model.lang.ir import (
    Apply,
    Assign,
    Call,
    Choice,
    Expression,
    IntegerType,
    Load,
    Local,
    Present,
    Program,
    Sizes,
    Store,
)
from .following import LeafDimension, Pool

ENUMERATED_MAX = 2048
"""Domains up to this size are probed whole when arguments are drawn."""

ENUMERATED_LARGE = 1
"""The same where the state is large: a guard may look at all of it, so as few as possible are evaluated."""

PROBES_MAX = 8192
"""In a larger domain, probes from one number before the action counts as not offered."""

PROBES_QUICK = 96
"""The same where the state is large, as long as some other action is offered."""

PATIENCE_MAX = 64
"""An action that was not found enabled is looked for again when a pool changed, or after 1, 3, 7, … up to so many
steps."""

POOLED_MIN = 16
"""Parameters with fewer values are not worth a pool."""

IN_USE, ANY = 3, 1
"""Of the numbers in a large domain, the shares that choose among references in use and among all."""


class EnabledArguments:
    """The enabled arguments of one action; `forget` when the state changes.

    `pools`, for a large scope: for each parameter the references in use that may be what its guards want."""

    def __init__(self, machine: PythonMachine, action: int, pools: Mapping[int, Sequence[Pool]] | None = None) -> None:
        self.machine = machine
        self.action = action
        bounds = [parameter.type.bounds(machine.sizes) for parameter in machine.program.actions[action].parameters]
        self.lows = [low for low, _ in bounds]
        self.lengths = [high - low + 1 for low, high in bounds]
        self.size = math.prod(self.lengths)
        self.exact = self.size <= PROBES_MAX
        self.stride = _stride(self.size)
        self.pools = pools or {}
        self.enumerated = self.size <= (ENUMERATED_MAX if pools is None else ENUMERATED_LARGE)
        self._probes = PROBES_MAX if pools is None else PROBES_QUICK
        self._found: list[tuple[int, ...]] = []
        self._offered: bool | None = None
        self.restart()

    def restart(self) -> None:
        """A new run begins, which must not depend on the runs before it."""
        self._hint = 0
        self._last: tuple[int, ...] | None = None
        self._version = -1
        self._patience = self._waiting = 0
        self.forget()

    def forget(self) -> None:
        self._found.clear()
        self._next = 0
        self._offered = None

    def offered(self) -> bool:
        """Whether some arguments pass the leading guards (for a huge domain: whether some were found)."""
        if self._offered is None:
            self._offered = self._extend(1) if self.enumerated else self._look()
        return self._offered

    def insist(self) -> bool:
        """As `offered`, with many probes: nothing else is offered."""
        if not self._offered and not self.enumerated:
            self._offered = self._remember(self.near(self._hint, PROBES_MAX)) is not None
        return bool(self._offered)

    def count(self) -> int:
        """How many numbers can be drawn."""
        if not self.enumerated:
            return self.size * (IN_USE + ANY if self.pools else 1)
        self._extend(self.size)
        return len(self._found)

    def at(self, number: int) -> tuple[int, ...]:
        """The arguments that a drawn number stands for; they are enabled."""
        if self.enumerated:
            return self._found[number]
        found = None
        if self.pools and number < self.size * IN_USE:
            found = self._near_in_use(number)
        if found is None:
            found = self.near(number % self.size, self._probes)
        if found is None and self.pools:
            found = self._near_in_use(number)
        if found is None:
            assert self._last is not None
            found = self._last
        return found

    def named(self, number: int) -> tuple[int, ...]:
        """The arguments with this number in the whole domain, the last parameter fastest."""
        values: list[int] = []
        for low, length in zip(reversed(self.lows), reversed(self.lengths), strict=True):
            number, rest = divmod(number, length)
            values.append(low + rest)
        return tuple(reversed(values))

    def near(self, number: int, probes: int) -> tuple[int, ...] | None:
        """The first enabled arguments from a number on, in strides; None if there are none, or not near."""
        for _ in range(min(self.size, probes)):
            arguments = self.named(number)
            if self.machine.enabled(self.action, arguments):
                self._hint = number
                return arguments
            number = (number + self.stride) % self.size
        return None

    def _near_in_use(self, number: int) -> tuple[int, ...] | None:
        """As `near`, among the arguments whose references are in use; None as well if no reference is."""
        if not any(pool.values for pools in self.pools.values() for pool in pools):
            return None
        columns = [self._column(position) for position in range(len(self.lengths))]
        total = math.prod(len(column) for column in columns)
        stride = _stride(total)
        number %= total
        for _ in range(min(total, self._probes)):
            rest, values = number, []
            for column in reversed(columns):
                rest, place = divmod(rest, len(column))
                values.append(column[place])
            arguments = tuple(reversed(values))
            if self.machine.enabled(self.action, arguments):
                return arguments
            number = (number + stride) % total
        return None

    def _column(self, position: int) -> Sequence[int]:
        """The values to try for one parameter: those in use, or all."""
        in_use = [pool.values for pool in self.pools.get(position, ()) if pool.values]
        if len(in_use) == 1:
            return in_use[0]
        if in_use:
            return sorted(set().union(*in_use))
        return range(self.lows[position], self.lows[position] + self.lengths[position])

    def _look(self) -> bool:
        """Whether enabled arguments are found: those of the last time, some in use, or any."""
        if self._last is not None and self.machine.enabled(self.action, self._last):
            return True
        version = sum(pool.version for pools in self.pools.values() for pool in pools)
        if version == self._version and self._waiting:
            self._waiting -= 1
            return False
        found = self._near_in_use(0) if self.pools else None
        if found is None:
            found = self.near(self._hint, self._probes)
        if found is None and self._probes == PROBES_QUICK:
            self._version = version
            self._patience = min(PATIENCE_MAX, self._patience * 2 + 1)
            self._waiting = self._patience
        return self._remember(found) is not None

    def _remember(self, found: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if found is not None:
            self._last = found
            self._patience = self._waiting = 0
        return found

    def _extend(self, wanted: int) -> bool:
        while len(self._found) < wanted and self._next < self.size:
            arguments = self.named(self._next)
            self._next += 1
            if self.machine.enabled(self.action, arguments):
                self._found.append(arguments)
        return len(self._found) >= wanted


def _stride(size: int) -> int:
    """About the golden section of the size and without a common divisor, so that strides visit everything."""
    stride = max(1, size * 618 // 1000)
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


# --- what the guards of an action look at


def guarded_leaves(program: Program, sizes: Sizes, action: int) -> dict[int, list[LeafDimension]]:
    """For each parameter that refers into a large sort: the leaves that it indexes in the guards of the action, or, if
    there are none, all leaves with a dimension of that sort."""
    ir = program.actions[action]
    function = program.functions[ir.function]
    parameters = {local: position for position, local in enumerate(function.parameters)}
    seen = sorted(set(_indexed(program, ir.function, parameters, True)))
    found: dict[int, list[LeafDimension]] = {}
    for position, parameter in enumerate(ir.parameters):
        low, high = parameter.type.bounds(sizes)
        if not isinstance(parameter.type, IntegerType) or parameter.type.sort is None or high - low < POOLED_MIN:
            continue
        sort = parameter.type.sort
        read = [(leaf, dimension) for leaf, dimension, by in seen if by == position]
        found[position] = read or [
            (number, dimension)
            for number, leaf in enumerate(program.schema.leaves)
            for dimension, name in enumerate(leaf.dimension_sorts)
            if name == sort
        ]
    return {position: leaves for position, leaves in found.items() if leaves}


def _indexed(
    program: Program, name: str, parameters: dict[int, int], guards_only: bool, depth: int = 0
) -> Iterator[tuple[int, int, int]]:
    """(leaf, dimension, parameter) of each load that a parameter indexes; of an action, before its first write."""
    known = dict(parameters)
    for block in program.functions[name].blocks if depth < CALLS_MAX else ():
        for instruction in block.instructions:
            if guards_only and isinstance(instruction, (Store, Choice)):
                return
            if isinstance(instruction, Assign) and (source := _local(instruction.value)) in known:
                known[instruction.local] = known[source]
            for expression in _expressions(instruction):
                if isinstance(expression, Load):
                    for dimension, index in enumerate(expression.indices):
                        if (local := _local(index)) in known:
                            yield expression.leaf, dimension, known[local]
                elif isinstance(expression, (Apply, Call)):
                    inner = program.functions[expression.function]
                    passed = {
                        parameter: known[local]
                        for parameter, argument in zip(inner.parameters, expression.arguments, strict=True)
                        if (local := _local(argument)) in known
                    }
                    if passed:
                        yield from _indexed(program, expression.function, passed, False, depth + 1)
            if guards_only and isinstance(instruction, Call):
                return


CALLS_MAX = 8
"""Calls within calls that are followed in search of what a guard reads."""


def _local(expression: Expression) -> int:
    """The local that an expression is, perhaps said to be present; -1 if it is anything else."""
    while isinstance(expression, Present):
        expression = expression.operand
    return expression.index if isinstance(expression, Local) else -1


def _expressions(thing: object) -> Iterator[object]:
    """An instruction or expression and everything in it."""
    if isinstance(thing, tuple):
        for item in thing:
            yield from _expressions(item)
    elif dataclasses.is_dataclass(thing):
        yield thing
        for item in dataclasses.fields(thing):
            yield from _expressions(getattr(thing, item.name))
