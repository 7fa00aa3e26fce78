"""Exhaustive search of the buddy allocator: kmemspec's native engine against Spin, in one run, as a Markdown table.

The one idea: same machine, same run, alternating processes, and every count must be equal before a number is printed.
Spin gets its best: one d_step an action, bit-fields packed to bytes, no temporaries in the state vector, no checks
or reductions that this model has no use for, -O3 -march=native, a hash table that fits the number of states.

    python benchmarks/search_vs_spin.py [--pages 14] [--orders 3] [--start 0] [--repetitions 5]

Needs spin and gcc. CPU seconds are user + system; for Spin those of the whole pan process (its compilation by gcc not
counted), for kmemspec those of the search (`cpu_seconds` of the result, making machine code not counted) and, in a
column of its own, those of the whole Python process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / "tests" / "peers"
sys.path.insert(0, str(PEERS))

from spin_peer import BASE_FLAGS, FAST_FLAGS, Build, SpinCount, SpinError, build_pan, missing_tools, run_pan  # noqa: E402

DEPTH_MARGIN = 10
TABLE_BITS_FIRST = 24
WHAT_CHECKED, WHAT_UNCHECKED = ("invariants", "all"), ("none",)


class BenchmarkError(Exception):
    """A run failed or two searches disagree."""


@dataclass(frozen=True)
class Run:
    """One search. `process_seconds` is the CPU time of the whole process."""

    states: int
    transitions: int
    cpu_seconds: float
    process_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Contestant:
    """A searcher: its name in the table and how to run it once.

    `build_seconds` is the wall time of making machine code: by spin and gcc, or by kmemspec with an empty cache."""

    name: str
    is_spin: bool
    build_seconds: float
    run: Callable[[], Run]


@dataclass(frozen=True)
class Scope:
    """What is searched; `checked` says whether the invariants are evaluated on the way."""

    pages: int
    orders: int
    start: int
    checked: bool

    def __str__(self) -> str:
        start = f", start={self.start}" if self.start else ""
        return f"pages={self.pages}, orders={self.orders}{start}"


def spin_contestant(scope: Scope, breadth_first: bool, directory: Path) -> Contestant:
    """Build pan and run it once to learn how large its table and stack must be."""
    name = "breadth-first" if breadth_first else "depth-first"
    build = Build(scope.pages, scope.orders, scope.start, scope.checked, breadth_first, fast=True)
    before = time.perf_counter()
    pan = build_pan(build, directory / f"{name}-{scope.checked}")
    build_seconds = time.perf_counter() - before
    probe = run_pan(pan, table_bits=TABLE_BITS_FIRST)
    table_bits = max(10, probe.states.bit_length())
    depth_limit = probe.depth + DEPTH_MARGIN

    def run() -> Run:
        count: SpinCount = run_pan(pan, depth_limit=depth_limit, table_bits=table_bits)
        return Run(count.states, count.transitions, count.cpu_seconds, count.cpu_seconds, count.memory_bytes)

    return Contestant(f"Spin, {name}", True, build_seconds, run)


def run_native_once(scope: Scope, what: str, cache: Path) -> tuple[Run, float]:
    """The native engine in a process of its own; also returns its compile seconds."""
    command = [sys.executable, str(PEERS / "native_peer.py"), *map(str, (scope.pages, scope.orders, scope.start)), what]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, cwd=cache, env={**os.environ, "KMEMSPEC_CACHE": str(cache)})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise BenchmarkError(f"kmemspec ended with status {child.returncode}: {text[-500:]}")
    answer = json.loads(text)
    if not answer["complete"] or set(answer["verdicts"]) - {"holds"} or not (what == "none" or answer["verdicts"]):
        raise BenchmarkError(f"kmemspec did not finish with everything holding: {answer}")
    process_seconds = usage.ru_utime + usage.ru_stime
    run = Run(
        answer["states"], answer["transitions"], answer["cpu_seconds"], process_seconds, answer["memory_bytes"]
    )
    return run, answer["compile_seconds"]


def native_contestant(scope: Scope, what: str, cache: Path) -> Contestant:
    """`what` as in native_peer.py. A first run fills `cache`, which is empty, with the compiled code."""
    names = {"none": "kmemspec", "invariants": "kmemspec", "all": "kmemspec, also step properties and refinement"}
    _, compile_seconds = run_native_once(scope, what, cache)
    return Contestant(names[what], False, compile_seconds, lambda: run_native_once(scope, what, cache)[0])


def alternate(contestants: Sequence[Contestant], repetitions: int) -> dict[str, list[Run]]:
    """Every contestant once a round, so that a slow minute of the machine hits all of them."""
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for round_number in range(repetitions):
        for contestant in contestants:
            runs[contestant.name].append(contestant.run())
        print(f"round {round_number + 1} of {repetitions}", file=sys.stderr)
    counts = {(run.states, run.transitions) for results in runs.values() for run in results}
    if len(counts) != 1:
        found = {name: (results[0].states, results[0].transitions) for name, results in runs.items()}
        raise BenchmarkError(f"the searches disagree about (states, transitions): {found}")
    return runs


def rate(runs: Sequence[Run]) -> float:
    """Distinct states a CPU second, the median of the runs."""
    return statistics.median(run.states / run.cpu_seconds for run in runs)


def table(contestants: Sequence[Contestant], runs: dict[str, list[Run]]) -> Iterator[str]:
    """The Markdown lines. The last columns divide each rate by that of Spin's two searches."""
    spins = [contestant.name for contestant in contestants if contestant.is_spin]
    yield (
        "| search | distinct states | transitions | CPU s, median (min to max) | whole process, CPU s "
        "| distinct states per CPU s | bytes per state | made ready in, s | "
        + " | ".join(f"ratio to {name}" for name in spins) + " |"
    )
    yield "|---|" + "---:|" * (7 + len(spins))
    for contestant in contestants:
        results = runs[contestant.name]
        seconds = sorted(run.cpu_seconds for run in results)
        first = results[0]
        memory = statistics.median(run.memory_bytes for run in results)
        cells = [
            contestant.name,
            f"{first.states:,}",
            f"{first.transitions:,}",
            f"{statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})",
            f"{statistics.median(run.process_seconds for run in results):.2f}",
            f"{rate(results):,.0f}",
            f"{memory / first.states:.0f}",
            f"{contestant.build_seconds:.1f}",
            *(f"{rate(results) / rate(runs[name]):.2f}" for name in spins),
        ]
        yield "| " + " | ".join(cells) + " |"


def measure(scope: Scope, repetitions: int) -> Iterator[str]:
    """One table and the lines around it."""
    whats = WHAT_CHECKED if scope.checked else WHAT_UNCHECKED
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        contestants = [
            spin_contestant(scope, False, directory),
            spin_contestant(scope, True, directory),
            *(native_contestant(scope, what, directory) for what in whats),
        ]
        runs = alternate(contestants, repetitions)
    what = "invariants checked" if scope.checked else "reachability alone, no invariant evaluated"
    yield f"**{scope}, {what}** (median of {repetitions} alternating runs)"
    yield ""
    yield from table(contestants, runs)
    yield ""


def surroundings() -> str:
    """Versions and flags, for the line under the tables."""
    spin = subprocess.run(["spin", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    gcc = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{spin}; gcc {gcc} with {' '.join((*FAST_FLAGS, *BASE_FLAGS))}; Python {platform.python_version()}; "
        f"{platform.machine()}, {os.cpu_count()} CPUs. With invariants, each searcher evaluates them once in every "
        "state. Memory is what each program says it took: states, hash table, stack or queue."
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=14)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=("checked", "unchecked"), help="one of the two tables")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if missing_tools():
        print(f"not installed: {', '.join(missing_tools())}", file=sys.stderr)
        return 2
    if options.repetitions < 1:
        print("--repetitions must be 1 or more", file=sys.stderr)
        return 2
    wanted = {"checked": [True], "unchecked": [False], None: [False, True]}[options.only]
    try:
        for checked in wanted:
            scope = Scope(options.pages, options.orders, options.start, checked)
            print("\n".join(measure(scope, options.repetitions)), flush=True)
    except (SpinError, BenchmarkError) as error:
        print(f"search_vs_spin: {error}", file=sys.stderr)
        return 1
    print(surroundings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
