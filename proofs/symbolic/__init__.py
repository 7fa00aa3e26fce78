"""The symbolic engine: executes a specification on Z3 bit-vectors and proves what holds of it at a scope.

* `prove`: induction, one obligation for each action and clause, in parallel processes;
* `bounded`: the shortest violation from the initial states, up to a depth;
* `export`: every obligation as an SMT-LIB 2 file;
* `SymbolicMachine`: single steps, to compare this engine with the others.

Layers: `values` (terms with intervals) < `executor` (the IR on terms) < `relations` (states, transitions, requirements)
< `induction`, `model_checking`. `lowering` alone knows bit widths; Z3 runs in child processes (`worker`, `solving`).
Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.lang.lazily import attributes_of
from .results import Bounded, Obligation, Progress, Proof

if TYPE_CHECKING:
    from .induction import prove
    from .machine import SymbolicMachine
    from .model_checking import bounded
    from .smtlib import export

__all__ = ["Bounded", "Obligation", "Progress", "Proof", "SymbolicMachine", "bounded", "export", "prove"]

__getattr__ = attributes_of(
    __name__, {"SymbolicMachine": "machine", "bounded": "model_checking", "export": "smtlib", "prove": "induction"}
)
