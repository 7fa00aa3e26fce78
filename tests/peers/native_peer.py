"""Runs the checker's own Python model of the buddy system through its native engine, for comparison with the peers.

`native_peer.py PAGES ORDERS START WHAT` (none, invariants or all) prints one line of JSON: run as a process of its own,
as pan is, so that a benchmark can measure the whole process too.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from kmemspec.model.lang.lowering import lower
from kmemspec.proofs.explore import Exploration, explore
from kmemspec.specs.buddy import SPEC


def explore_buddy(pages: int, orders: int, start: int = 0, what: str = "all") -> Exploration:
    """Every reachable state. `what` says which properties are evaluated: none, invariants (what `buddy.pml` asserts),
    or all, that is, step properties and the refinement too."""
    kinds = {"none": (), "invariants": ("invariant",), "all": ("invariant", "step", "refinement", "initial")}[what]
    program = lower(SPEC)
    program = dataclasses.replace(
        program,
        properties=tuple(item for item in program.properties if item.kind in kinds),
        fingerprint=f"{program.fingerprint}-{what}",
    )
    return explore(program, SPEC.resolve({"pages": pages, "orders": orders, "start": start}))


def main(arguments: list[str]) -> int:
    pages, orders, start = map(int, arguments[:3])
    exploration = explore_buddy(pages, orders, start, arguments[3])
    fields = ("states", "transitions", "depth", "cpu_seconds", "compile_seconds", "memory_bytes", "complete")
    answer = {name: getattr(exploration, name) for name in fields}
    answer["verdicts"] = sorted({str(verdict.outcome.value) for verdict in exploration.verdicts})
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
