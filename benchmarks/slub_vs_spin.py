"""Exhaustive search of the slab allocator: kmemspec's native engine against Spin, in one run, as a Markdown table.

The one idea: as search_vs_spin.py, for the machine of `tests/peers/slub.pml`. Spin evaluates a few assertions there and
no invariants, so the row to compare it with is the one without properties; the others show what those cost, and what
symmetry saves: it visits one of the states that differ in the numbers of cpus and object slots alone.

    python benchmarks/slub_vs_spin.py [--pages 3] [--objects 3] [--cpus 2] [--repetitions 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from search_vs_spin import (
    PEERS,
    BenchmarkError,
    Build,
    Contestant,
    Run,
    SpinError,
    alternate,
    build_pan,
    missing_tools,
    run_pan,
    surroundings,
    table,
)

PARTIAL = {"MIN_PARTIAL": 1, "CPU_PARTIAL_SLABS": 2}
ROWS = (
    ("kmemspec, no properties", "none", "0"),
    ("kmemspec, invariants", "invariants", "0"),
    ("kmemspec, all properties, symmetry", "all", "1"),
)


def spin_contestant(options: argparse.Namespace, breadth_first: bool, directory: Path) -> Contestant:
    """Build pan and run it once to learn how large its table and stack must be."""
    sizes = {"OBJECTS": options.objects, "CPUS": options.cpus, **PARTIAL}
    text = "".join(f"#define {name} {value}\n" for name, value in sizes.items()) + (PEERS / "slub.pml").read_text()
    name = "breadth-first" if breadth_first else "depth-first"
    pan = build_pan(Build(options.pages, 1, breadth_first=breadth_first, fast=True), directory / name, text)
    probe = run_pan(pan, 20_000_000, 24)

    def run() -> Run:
        count = run_pan(pan, probe.depth + 10, max(10, probe.states.bit_length()))
        # Spin counts the state before its initialisation, and the step out of it, for each initial state.
        return Run(count.states, count.transitions, count.cpu_seconds, count.cpu_seconds, count.memory_bytes)

    return Contestant(f"Spin, {name}", True, 0.0, run)


def native_contestant(options: argparse.Namespace, name: str, what: str, symmetry: str) -> Contestant:
    """The native engine in a process of its own."""
    scope = (
        f"pages={options.pages},orders=1,pageblock_order=0,slots={options.objects},oo_objects={options.objects},"
        f"min_objects={options.objects},cpus={options.cpus},min_partial=1,cpu_partial_slabs=2"
    )
    command = [sys.executable, str(PEERS / "native_peer.py"), "slub", scope, what, symmetry]

    def run() -> Run:
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        if not answer["complete"] or set(answer["verdicts"]) - {"holds"}:
            raise BenchmarkError(f"kmemspec did not finish with everything holding: {answer}")
        seconds = answer["cpu_seconds"]
        return Run(answer["states"], answer["transitions"], seconds, seconds, answer["memory_bytes"])

    return Contestant(name, False, 0.0, run)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("pages", 3), ("objects", 3), ("cpus", 2), ("repetitions", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main() -> int:
    options = parse()
    if missing_tools():
        print(f"not installed: {', '.join(missing_tools())}", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as name:
            spins = [spin_contestant(options, breadth_first, Path(name)) for breadth_first in (False, True)]
            natives = [native_contestant(options, *row) for row in ROWS]
            runs: dict[str, list[Run]] = {}
            for group in (spins, natives[:2], natives[2:]):
                runs |= alternate(group, options.repetitions)
    except (SpinError, BenchmarkError, subprocess.CalledProcessError) as error:
        print(f"slub_vs_spin: {error}", file=sys.stderr)
        return 1
    print(f"**pages={options.pages}, objects={options.objects}, cpus={options.cpus}** ({options.repetitions} runs)\n")
    print("\n".join(table([*spins, *natives], runs)))
    print()
    print(surroundings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
