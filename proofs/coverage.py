"""Which branches of the model the searches took, over all specifications, and why the others are never taken.

The one idea: a reason stands beside the branch, as a comment on the line of its condition, and nowhere else:

    if slab is None:  # never true: the re-check after the preemption window; a step is atomic here

`never false:` is for the other side. A reason on a side that some search took is a mistake and is reported.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..model.lang.ir import Program
from ..model.lang.source import PACKAGE_ROOT
from .explore.results import BranchCoverage

MODEL = "model/"
REASON = re.compile(r"#\s*never (true|false): (.+)")


@dataclass(frozen=True, order=True)
class Side:
    """One outcome of a branch: where its condition stands, the function it is in, whether it came out true."""

    file: str
    line: int
    function: str
    true: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, {self.function}: never {'true' if self.true else 'false'}"


@dataclass(frozen=True)
class ModelCoverage:
    """Every side of every branch of the model's functions that some program uses, sorted by what is known of it.

    `explained` gives the reason for each side that was not taken and has one; `mistaken` are sides with a reason that
    were taken; `open` are the rest."""

    reached: frozenset[Side]
    explained: Mapping[Side, str]
    mistaken: frozenset[Side]
    open: frozenset[Side]

    def wrong(self) -> list[str]:
        """What there is to correct, in a line each."""
        return [f"not reached: {side}" for side in sorted(self.open)] + [
            f"reached, though listed as never reached: {side}" for side in sorted(self.mistaken)
        ]


def model_coverage(searches: Iterable[tuple[Program, Iterable[BranchCoverage]]]) -> ModelCoverage:
    """The branches of model functions, over these searches; branches are those of `Exploration.branches`."""
    taken: dict[Side, bool] = {}
    for program, branches in searches:
        for side, reached in _sides(program, branches):
            taken[side] = taken.get(side, False) or reached
    reasons = {file: _reasons(PACKAGE_ROOT / file) for file in {side.file for side in taken}}
    given = {side: reasons[side.file].get((side.line, side.true)) for side in taken}
    return ModelCoverage(
        frozenset(side for side, reached in taken.items() if reached),
        {side: reason for side, reason in given.items() if reason is not None and not taken[side]},
        frozenset(side for side, reason in given.items() if reason is not None and taken[side]),
        frozenset(side for side, reason in given.items() if reason is None and not taken[side]),
    )


def _sides(program: Program, branches: Iterable[BranchCoverage]) -> Iterable[tuple[Side, bool]]:
    """The sides of branches in files of the model, with whether they were taken."""
    places = [
        (function.source, program.positions[branch.where])
        for function in program.functions.values()
        for branch in function.branches()
    ]
    for (source, position), branch in zip(places, branches, strict=True):
        file = position.file.partition(" with ")[0]
        if file.startswith(MODEL):
            yield Side(file, position.line, source, True), branch.then_reached
            yield Side(file, position.line, source, False), branch.otherwise_reached


def _reasons(path: Path) -> dict[tuple[int, bool], str]:
    """The reasons written in a file, by line and side."""
    reasons: dict[tuple[int, bool], str] = {}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        match = REASON.search(token.string) if token.type == tokenize.COMMENT else None
        if match:
            reasons[token.start[0], match[1] == "true"] = match[2].strip()
    return reasons
