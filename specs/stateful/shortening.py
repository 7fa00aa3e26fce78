"""What Hypothesis's shrinking leaves over: steps that can be left out together, arguments that can be smaller.

Hypothesis shrinks the choices a run was made from; two steps that cancel out are often far apart there. Here steps
themselves are left out, alone and in pairs and in blocks, as long as the rest still ends badly (steps that are about
what an earlier step returned follow it, and those that cannot be any more go with it).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from ...model.lang.trace import FlatStep
from .walking import Walker

ATTEMPTS_MAX = 3000
PAIRS_MAX = 40
"""Runs up to this length are tried without each pair of steps; in longer ones only neighbours are left out."""

SMALLER_MAX = 16
"""How many smaller values of one argument are tried."""

Steps = tuple[FlatStep, ...]


def shorten(walker: Walker) -> None:
    """Make the walker's finding smaller until nothing more can be left out."""
    walker.look_for_the_same()
    try:
        _shorten(walker)
    finally:
        walker.focus = None
    if walker.large and walker.finding is not None:
        walker.rerun(walker.finding.steps)


def _shorten(walker: Walker) -> None:
    attempts = 0
    improved = True
    while improved and walker.finding is not None:
        improved = False
        steps = walker.finding.steps
        for candidate in itertools.chain(_without(steps), _smaller(walker, steps)):
            attempts += 1
            if attempts > ATTEMPTS_MAX:
                return
            if walker.rerun(candidate) is not None:
                improved = walker.finding.steps != steps
                break


def _without(steps: Steps) -> Iterator[Steps]:
    """The run without some of its steps, many at once first. The first is the initial state and stays."""
    count = len(steps)
    for width in sorted({count // 2, count // 4, 4, 3}, reverse=True):
        for first in range(1, count - width + 1) if width > 2 else ():
            yield steps[:first] + steps[first + width :]
    for first, second in itertools.combinations(range(1, count), 2):
        if count <= PAIRS_MAX or second == first + 1:
            yield steps[:first] + steps[first + 1 : second] + steps[second + 1 :]
    for first in range(1, count):
        yield steps[:first] + steps[first + 1 :]


def _smaller(walker: Walker, steps: Steps) -> Iterator[Steps]:
    """The run with one argument smaller."""
    for number, step in enumerate(steps[1:], start=1):
        lows = walker.arguments[step.action].lows
        for position, (low, value) in enumerate(zip(lows, step.arguments, strict=True)):
            for other in range(low, min(value, low + SMALLER_MAX)):
                arguments = (*step.arguments[:position], other, *step.arguments[position + 1 :])
                yield (*steps[:number], replace(step, arguments=arguments), *steps[number + 1 :])
