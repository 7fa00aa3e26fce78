"""Runs the Promela model `buddy.pml` through Spin and reads what pan reports.

The one idea: one build a (geometry, mode); the numbers returned are those of the machine, Spin's own bookkeeping
(the state before boot) already subtracted as the comment in `buddy.pml` derives. Storage is always exact: neither
bitstate hashing nor hash compaction. Source: Spin 6.5.2, https://spinroot.com/spin/Man/Pan.html.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("buddy.pml")
TOOLS = ("spin", "gcc")
BFS_REFUSAL = "#error cannot use BFS on models with variables declared hidden"
BASE_FLAGS = ("-DSAFETY", "-DNOREDUCE", "-DXUSAFE", "-DNOFAIR", "-DVECTORSZ=512")
FAST_FLAGS = ("-O3", "-march=native", "-DNOBOUNDCHECK", "-fpack-struct=1")
CAREFUL_FLAGS = ("-O0",)


class SpinError(Exception):
    """Spin, gcc or pan did not do a full, error-free search; the message holds their last lines."""


@dataclass(frozen=True)
class Build:
    """What to compile. `fast` is for measuring: it drops pan's array bound checks and packs its structs to bytes
    (with one process and no channels, one safety property, partial order reduction and fairness have no use and are
    off in both)."""

    pages: int
    orders: int
    start: int = 0
    checked: bool = True
    breadth_first: bool = False
    fast: bool = False


@dataclass(frozen=True)
class SpinCount:
    """A finished search. `memory_bytes` is pan's "total actual memory usage" (hash table and stack included);
    `depth` is the longest distance from the initial state in breadth-first mode, else the deepest path tried."""

    states: int
    transitions: int
    depth: int
    user_seconds: float
    system_seconds: float
    memory_bytes: int

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


def missing_tools() -> list[str]:
    """Names of the programs this needs and that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def run_tool(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SpinError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def build_pan(build: Build, directory: Path, model: str | None = None) -> Path:
    """Generate and compile pan in `directory` (from the text `model` if given, else from buddy.pml)."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "buddy.pml").write_text(MODEL.read_text() if model is None else model)
    constants = {"PAGES": build.pages, "ORDERS": build.orders, "START": build.start, "CHECKED": int(build.checked)}
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    run_tool(["spin", *defines, "-a", "buddy.pml"], directory)
    flags = [*BASE_FLAGS, *(FAST_FLAGS if build.fast else CAREFUL_FLAGS)]
    if build.breadth_first:
        flags.append("-DBFS")
        header = (directory / "pan.h").read_text()
        if header.count(BFS_REFUSAL) != 1:
            raise SpinError("this Spin's pan.h does not look as expected: cannot allow hidden variables in BFS")
        (directory / "pan.h").write_text(header.replace(BFS_REFUSAL, ""))
    run_tool(["gcc", "-w", *flags, "-o", "pan", "pan.c"], directory)
    return directory / "pan"


def read_number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise SpinError(f"no match for {pattern!r} in pan's report:\n{text[-2000:]}")
    return float(found.group(1))


def parse_report(report: str, user_seconds: float, system_seconds: float) -> SpinCount:
    """Read pan's report; anything but a full search without errors is refused."""
    cut_short = any(text in report for text in ("max search depth too small", "Search not completed"))
    if cut_short or "Full statespace search" not in report:
        raise SpinError(f"not a full search:\n{report[-2000:]}")
    if read_number(r"errors: (\d+)", report):
        raise SpinError(f"pan found an error:\n{report[:2000]}")
    return SpinCount(
        states=int(read_number(r"^\s*(\d+) states, stored", report)) - 1,
        transitions=int(read_number(r"^\s*(\d+) transitions \(", report)) - 2,
        depth=int(read_number(r"depth reached (\d+)", report)) - 1,
        user_seconds=user_seconds,
        system_seconds=system_seconds,
        memory_bytes=int(read_number(r"^\s*([\d.]+)\s+total actual memory usage", report) * 2**20),
    )


def run_pan(pan: Path, depth_limit: int = 1_000_000, table_bits: int = 20) -> SpinCount:
    """Run a compiled pan. `depth_limit` sizes the depth-first stack, `table_bits` the hash table (2**bits slots)."""
    output = pan.with_name("report.txt")
    with output.open("wb") as stream:
        child = subprocess.Popen(
            [str(pan), f"-m{depth_limit}", f"-w{table_bits}"], cwd=pan.parent, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    report = output.read_text(errors="replace")
    if child.returncode < 0:
        raise SpinError(f"pan was killed by signal {-child.returncode}:\n{report[-2000:]}")
    return parse_report(report, usage.ru_utime, usage.ru_stime)


def count_states(build: Build, directory: Path, model: str | None = None) -> SpinCount:
    """Build and run once."""
    return run_pan(build_pan(build, directory, model))


def main(arguments: list[str]) -> int:
    """`spin_peer.py PAGES ORDERS [START]`: the counts of both searches, invariants asserted."""
    import tempfile

    pages, orders, start = [*map(int, arguments), 0][:3]
    for breadth_first in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            print(count_states(Build(pages, orders, start, breadth_first=breadth_first), Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
