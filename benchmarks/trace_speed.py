"""Events a second of `kmemspec validate trace`'s text checks, beside peers on the same files in the same run.

python benchmarks/trace_speed.py TRACE… [--rounds 3]

Peers: `wc -l` (only reads), splitting each line by one regular expression in Python (a parser that checks nothing), and
mawk or awk counting live objects and pages (the least that a checker of lifetimes does). Time is that of the processor.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kmemspec.specs.traces.lines import trace_lines
from kmemspec.specs.traces.text import TextChecker, check_text

AWK = r"""
/ (kmalloc|kmem_cache_alloc): / { match($0, /ptr=[0-9a-f]+/); live[substr($0, RSTART, RLENGTH)] = NR }
/ (kfree|kmem_cache_free): / { match($0, /ptr=[0-9a-f]+/); delete live[substr($0, RSTART, RLENGTH)] }
/ mm_page_alloc: / { match($0, /pfn=0x[0-9a-f]+/); live[substr($0, RSTART, RLENGTH)] = NR }
/ mm_page_free: / { match($0, /pfn=0x[0-9a-f]+/); delete live[substr($0, RSTART, RLENGTH)] }
END { n = 0; for (one in live) n++; print n }
"""
LINE = re.compile(r"^\s*(.+)-(\d+)\s+\[(\d+)\]\s+(\S+)\s+([\d.]+): (\w+): ?(.*)$")
FIELD = re.compile(r"(\w+)=(\S*)")


def own_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def child_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def split_only(path: Path) -> int:
    count = 0
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            match = LINE.match(line)
            if match is not None:
                count += len(dict(FIELD.findall(match[7]))) > 0
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    awk = shutil.which("mawk") or shutil.which("awk")
    heads = ("checked/s", "split/s", "ratio", "awk/s", "ratio", "wc -l/s")
    print(f"{'trace':36}{'events':>9}" + "".join(f"{head:>{len(head) + 5}}" for head in heads))
    for trace in options.trace:
        with tempfile.TemporaryDirectory() as directory:
            plain = Path(directory) / "trace.txt"
            with plain.open("wb") as stream:
                for lines in trace_lines(trace):
                    stream.write(b"\n".join(lines) + b"\n")
            counted = TextChecker(str(plain))
            check_text(plain, counted)
            events = counted.number
            rates: dict[str, float] = {}
            for _ in range(options.rounds):
                measured = {
                    "checked": own_seconds(lambda: check_text(plain, TextChecker("trace"))),  # noqa: B023
                    "split": own_seconds(lambda: split_only(plain)),  # noqa: B023
                    "wc": child_seconds(["wc", "-l", str(plain)]),
                    "awk": child_seconds([awk, AWK, str(plain)]) if awk else float("inf"),
                }
                for name, seconds in measured.items():
                    rates[name] = max(rates.get(name, 0.0), events / max(seconds, 1e-6))
        checked = rates["checked"]
        name = "/".join(trace.parts[-2:])[-35:]
        print(
            f"{name:36}{events:>9,}{checked:>14,.0f}{rates['split']:>12,.0f}{checked / rates['split']:>10.2f}"
            f"{rates['awk']:>10,.0f}{checked / max(rates['awk'], 1):>10.2f}{rates['wc']:>12,.0f}"
        )


if __name__ == "__main__":
    main()
