"""The symbolic engine: executes a specification on Z3 bit-vectors and proves what holds of it at a scope.

* `prove`: induction, one obligation for each action and clause, in parallel processes;
* `bounded`: the shortest violation from the initial states, up to a depth;
* `export`: every obligation as an SMT-LIB 2 file;
* `SymbolicMachine`: single steps, to compare this engine with the others.

Layers: `values` (terms with intervals) < `executor` (the IR on terms) < `relations` (states, transitions, requirements)
< `induction`, `bounded`. `lowering` alone knows bit widths; Z3 runs in child processes (`worker`, `solving`).
Importing this package imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...model.lang.ir import Program, Sizes
from .results import Bounded, Obligation, Progress, Proof

if TYPE_CHECKING:
    from .machine import SymbolicMachine

__all__ = ["Bounded", "Obligation", "Progress", "Proof", "SymbolicMachine", "bounded", "export", "prove"]


def prove(
    program: Program,
    sizes: Sizes,
    *,
    spec: str = "",
    k: int = 1,
    jobs: int | None = None,
    timeout_seconds: float = 600.0,
    progress: Callable[[Progress], None] | None = None,
    only: Collection[str] | None = None,
) -> Proof:
    """Prove every property inductive at a scope (k-inductive for k > 1), with vacuity checks.

    `jobs` solver processes (default: one a core). `only` limits the obligations to these property identifiers (also
    "checks", "vacuity"); all invariants stay hypotheses. A counterexample to induction is UNKNOWN, with a trace that
    says `reachable=False`. What is not decided within `timeout_seconds`, or at Ctrl-C, is UNKNOWN."""
    from .induction import prove as run

    return run(
        program, sizes, spec=spec, k=k, jobs=jobs, timeout_seconds=timeout_seconds, progress=progress, only=only
    )


def bounded(
    program: Program,
    sizes: Sizes,
    *,
    spec: str = "",
    depth: int,
    timeout_seconds: float = 600.0,
    jobs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Bounded:
    """Search for the shortest run from an initial state that breaks a clause or a check, up to `depth` steps."""
    from .model_checking import bounded as run

    return run(
        program, sizes, spec=spec, depth=depth, timeout_seconds=timeout_seconds, jobs=jobs, progress=progress
    )


def export(program: Program, sizes: Sizes, directory: Path | str, *, k: int = 1) -> list[Path]:
    """Write every open obligation of the induction proof as an SMT-LIB 2 file; gives the paths."""
    from .smtlib import export as run

    return run(program, sizes, directory, k=k)


def __getattr__(name: str) -> Any:
    if name == "SymbolicMachine":
        from .machine import SymbolicMachine

        return SymbolicMachine
    raise AttributeError(name)
