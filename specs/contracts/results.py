"""What `validate` is asked and what it answers: options, findings, the validation as a whole. Plain data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...model.lang.verdict import Outcome


@dataclass(frozen=True)
class ValidateOptions:
    """How to search and what the target declares.

    `seed` makes a run reproducible; `examples` and `seconds` bound it. `example_seconds` is the time one sequence of
    about `operations` operations may take, `memory` the address space of the child (0: no limit). `pages` and `orders`
    fix the scope of a page allocator (default: several small ones). Operations in `skip` are not called. `prefix` is
    put before each C symbol; `declare` is what the target declares about itself beside what its adapter says (see the
    contract's `declarations`), `scope` fixes numbers of the scope by name."""

    seed: int = 0
    examples: int = 500
    seconds: float = 30.0
    example_seconds: float = 2.0
    operations: int = 40
    memory: int = 2 << 30
    max_findings: int = 3
    pages: int | None = None
    orders: int | None = None
    skip: tuple[str, ...] = ()
    prefix: str = ""
    declare: Mapping[str, int | str | bool] = field(default_factory=dict)
    scope: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class OperationRecord:
    """One call of a failing sequence: how it reads, what the contract expects of it, what was observed."""

    call: str
    expected: str
    observed: str


@dataclass(frozen=True)
class Extent:
    """A live block: its name, the place it begins at and how many places it has (pages, or bytes); was it just made?"""

    name: str
    start: int
    size: int
    fresh: bool = False


@dataclass(frozen=True)
class Finding:
    """One way in which the target breaks its contract, with a minimal sequence; its last record is the failing call.

    `kind` is "clause", "crash", "hang", "exit", "exception", "rubbish", "fork" or "closed"; `detail` is the signal,
    exception or exit status; `deterministic` is False when a fresh process did not show it again; `extents` has the
    live blocks after each call; `shortest` is True if every shorter sequence of calls at this scope was tried, and none
    fails in this way."""

    clause: str
    statement: str
    message: str
    kind: str
    detail: str
    sequence: tuple[OperationRecord, ...]
    scope: Mapping[str, int]
    reproducer: str
    reproducer_name: str
    deterministic: bool = True
    extents: tuple[tuple[Extent, ...], ...] = ()
    shortest: bool = False


@dataclass(frozen=True)
class Validation:
    """The answer: `coverage` counts operations by kind and the situations reached; `bound` says for what it holds."""

    contract: str
    target: str
    outcome: Outcome
    bound: str
    findings: tuple[Finding, ...]
    examples: int
    operations: int
    seconds: float
    coverage: Mapping[str, int]
    seed: int
    notes: tuple[str, ...] = field(default=())
