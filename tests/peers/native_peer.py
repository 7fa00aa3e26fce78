"""Runs the checker's own Python model of the buddy system, or of the slab allocator, through its native engine.

`native_peer.py PAGES ORDERS START WHAT` (none, invariants or all) prints one line of JSON: run as a process of its own,
as pan is, so that a benchmark can measure the whole process too. `native_peer.py slub SCOPE WHAT SYMMETRY` does so for
the slab allocator, with the states that it visited for all that there are if SYMMETRY is 1.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from kmemspec.model.lang.ir import Program
from kmemspec.model.lang.lowering import lower
from kmemspec.proofs.explore import Exploration, explore
from kmemspec.specs.buddy import SPEC

KINDS = {"none": (), "invariants": ("invariant",), "all": ("invariant", "step", "refinement", "initial")}
"""Which properties are evaluated: none, invariants (what the Promela peer asserts), or all."""


def with_properties(program: Program, what: str) -> Program:
    """The program with some kinds of its properties."""
    kept = tuple(item for item in program.properties if item.kind in KINDS[what])
    return dataclasses.replace(program, properties=kept, fingerprint=f"{program.fingerprint}-{what}")


def explore_buddy(pages: int, orders: int, start: int = 0, what: str = "all") -> Exploration:
    """Every reachable state of the buddy system."""
    return explore(with_properties(lower(SPEC), what), SPEC.resolve({"pages": pages, "orders": orders, "start": start}))


def explore_slub(scope: str, what: str, symmetry: bool) -> Exploration:
    """Every reachable state of the slab allocator, or one of those that differ in cpus and slots alone."""
    from kmemspec.specs.slub import SPEC as SLUB

    return explore(with_properties(lower(SLUB), what), SLUB.scope(scope), symmetry=symmetry)


def main(arguments: list[str]) -> int:
    if arguments[0] == "slub":
        exploration = explore_slub(arguments[1], arguments[2], arguments[3] == "1")
    else:
        pages, orders, start = map(int, arguments[:3])
        exploration = explore_buddy(pages, orders, start, arguments[3])
    fields = ("states", "transitions", "depth", "cpu_seconds", "compile_seconds", "memory_bytes", "complete")
    answer = {name: getattr(exploration, name) for name in fields}
    answer["visited"] = exploration.states
    if exploration.symmetry is not None:
        answer["states"] = exploration.symmetry.states
    answer["verdicts"] = sorted({str(verdict.outcome.value) for verdict in exploration.verdicts})
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
