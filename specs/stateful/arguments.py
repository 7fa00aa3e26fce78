"""Which arguments an action can be called with in the present state, found as they are needed.

The one idea: arguments are numbered, and Hypothesis draws a number. A small domain is probed whole, and the number is a
position among the enabled ones: uniform, and smaller is simpler. In a large domain the number names the arguments
themselves, and from a disabled number the probe goes on in long strides, so that clusters of enabled arguments do not
draw all the luck.
"""

from __future__ import annotations

import math

from ...model.lang.execute import PythonMachine

ENUMERATED_MAX = 2048
"""Domains up to this size are probed whole when arguments are drawn."""

PROBES_MAX = 8192
"""In a larger domain, probes from one number before the action counts as not offered."""


class EnabledArguments:
    """The enabled arguments of one action; `forget` when the state changes."""

    def __init__(self, machine: PythonMachine, action: int) -> None:
        self.machine = machine
        self.action = action
        bounds = [parameter.type.bounds(machine.sizes) for parameter in machine.program.actions[action].parameters]
        self.lows = [low for low, _ in bounds]
        self.lengths = [high - low + 1 for low, high in bounds]
        self.size = math.prod(self.lengths)
        self.exact = self.size <= PROBES_MAX
        self.stride = _stride(self.size)
        self._found: list[tuple[int, ...]] = []
        self._next = 0
        self._hint = 0
        self._offered: bool | None = None

    def restart(self) -> None:
        """A new run begins, which must not depend on the runs before it."""
        self._hint = 0
        self.forget()

    def forget(self) -> None:
        self._found.clear()
        self._next = 0
        self._offered = None

    def offered(self) -> bool:
        """Whether some arguments pass the leading guards (for a huge domain: whether some were found)."""
        if self._offered is None:
            self._offered = self._extend(1) if self.size <= ENUMERATED_MAX else self.near(self._hint) is not None
        return self._offered

    def count(self) -> int:
        """How many numbers can be drawn."""
        if self.size > ENUMERATED_MAX:
            return self.size
        self._extend(self.size)
        return len(self._found)

    def at(self, number: int) -> tuple[int, ...]:
        """The arguments that a drawn number stands for; they are enabled."""
        if self.size <= ENUMERATED_MAX:
            return self._found[number]
        found = self.near(number)
        return found if found is not None else self.named(self._hint)

    def named(self, number: int) -> tuple[int, ...]:
        """The arguments with this number in the whole domain, the last parameter fastest."""
        values: list[int] = []
        for low, length in zip(reversed(self.lows), reversed(self.lengths), strict=True):
            number, rest = divmod(number, length)
            values.append(low + rest)
        return tuple(reversed(values))

    def near(self, number: int) -> tuple[int, ...] | None:
        """The first enabled arguments from a number on, in strides; None if there are none, or not near."""
        for _ in range(min(self.size, PROBES_MAX)):
            arguments = self.named(number)
            if self.machine.enabled(self.action, arguments):
                self._hint = number
                return arguments
            number = (number + self.stride) % self.size
        return None

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
