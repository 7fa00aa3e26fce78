"""Validates real allocators and caches by others, and writes docs/validated.md from the runs.

    python benchmarks/real_implementations.py                # run all that are installed and rewrite the table
    python benchmarks/real_implementations.py --seconds 5    # shorter runs

Nothing in the table is typed by hand: outcome, bound, counts and findings are those of the run, versions those of the
package managers. What is not installed is listed as that, and nothing is said of it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import Finding, ValidateOptions, Validation, validate

ROOT = Path(__file__).resolve().parent.parent
ADAPTERS = "examples/adapters"
WHERE = "docs/validated.md"
HEAD = """<!-- written by benchmarks/real_implementations.py -->

# Real implementations, validated

Each line is a run of `kmemspec validate CONTRACT TARGET` on what the package managers install. A finding is a real
deviation from the contract as declared: its minimal sequence stands below the table. That none was found holds for the
sequences that were tried, and for no more.

"""


@dataclass(frozen=True)
class Implementation:
    """One line: a name, whose version it is (`deb:`, `pypi:` or `python`), what is validated and how."""

    name: str
    package: str
    contract: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    server: tuple[str, ...] = ()
    deviates: frozenset[str] = frozenset()
    """The clauses that it is known to break; a test holds the runs to that."""

    def said(self) -> str:
        """The command, as far as it says more than the defaults."""
        words = [f"--prefix {self.options['prefix']}"] if "prefix" in self.options else []
        words += [f"--declare '{name}={word(value)}'" for name, value in self.options.get("declare", {}).items()]
        words += [f"--skip {name}" for name in self.options.get("skip", ())]
        return " ".join([f"`{self.contract} {self.target}", *words]) + "`"


def word(value: object) -> str:
    """A declared value as the command line takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


MEMCACHED = ("-m", "4", "-o", "no_lru_maintainer")
EXACT = {"policy": "fifo", "used_by": "put"}
IMPLEMENTATIONS = (
    Implementation("glibc malloc", "deb:libc6", "heap", "libc.so.6"),
    Implementation(
        "mimalloc",
        "deb:libmimalloc2.0",
        "heap",
        "libmimalloc.so.2",
        {"prefix": "mi_"},
        deviates=frozenset({"aligned"}),  # its issue #700, in the 2.0.9 of Debian 12
    ),
    Implementation(
        "mimalloc, without aligned_alloc",
        "deb:libmimalloc2.0",
        "heap",
        "libmimalloc.so.2",
        {"prefix": "mi_", "skip": ("aligned_alloc",)},
    ),
    Implementation("jemalloc", "deb:libjemalloc2", "heap", "libjemalloc.so.2"),
    Implementation("tcmalloc (minimal)", "deb:libtcmalloc-minimal4", "heap", "libtcmalloc_minimal.so.4"),
    Implementation("talloc pools", "deb:libtalloc2", "heap", f"{ADAPTERS}/talloc.toml"),
    Implementation("APR pools", "deb:libapr1", "heap", f"{ADAPTERS}/apr.py:Pool"),
    Implementation("functools.lru_cache", "python", "lru", "functools:lru_cache", {"declare": {"least_capacity": 0}}),
    Implementation(
        "cachetools.LRUCache", "pypi:cachetools", "lru", "cachetools:LRUCache", {"declare": {"pops_victim": True}}
    ),
    Implementation(
        "cachetools.FIFOCache",
        "pypi:cachetools",
        "lru",
        "cachetools:FIFOCache",
        {"declare": {"policy": "fifo", "used_by": "put", "pops_victim": True}},
    ),
    Implementation("cachetools.func.lru_cache", "pypi:cachetools", "lru", "cachetools.func:lru_cache"),
    Implementation("lru-dict", "pypi:lru-dict", "lru", "lru:LRU", {"declare": {"keys_order": "newest first"}}),
    Implementation("memcached", "deb:memcached", "lru", f"{ADAPTERS}/memcached.py:Memcached", {}, MEMCACHED),
    Implementation(
        "memcached, a slab class", "deb:memcached", "object-cache", f"{ADAPTERS}/memcached_slabs.py:SlabClass"
    ),
    Implementation(
        "memcached, as an exact FIFO",
        "deb:memcached",
        "lru",
        f"{ADAPTERS}/memcached.py:Memcached",
        {"declare": EXACT, "max_findings": 1},
        MEMCACHED,
        frozenset({"retention", "eviction-order"}),  # an overwrite evicts: the new item comes before the old one goes
    ),
)


def version_of(package: str) -> str | None:
    """The installed version; None if it is not installed."""
    kind, _, name = package.partition(":")
    if kind == "python":
        return platform.python_version()
    if kind == "pypi":
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
        return None
    command = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", name]
    run = subprocess.run(command, capture_output=True, text=True) if shutil.which("dpkg-query") else None
    return run.stdout[2:].strip() if run is not None and run.stdout.startswith("ii") else None


@contextlib.contextmanager
def memcached(*options: str) -> Iterator[None]:
    """A memcached on a free port of its own, named to the adapter; nothing if no options are given."""
    if not options:
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(["memcached", *user, "-l", "127.0.0.1", "-p", str(port), *options])
    try:
        for _ in range(100):
            time.sleep(0.05)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        os.environ["MEMCACHED_PORT"] = str(port)
        yield
    finally:
        os.environ.pop("MEMCACHED_PORT", None)
        process.terminate()
        process.wait()


def run(one: Implementation, seconds: float) -> Validation | str:
    """Validate one, or say why not."""
    if one.target.startswith(ADAPTERS) and not (ROOT / one.target.partition(":")[0]).exists():
        return "there is no adapter"
    if version_of(one.package) is None:
        return "not installed"
    target = str(ROOT / one.target) if one.target.startswith(ADAPTERS) else one.target
    try:
        with memcached(*one.server):
            return validate(one.contract, target, ValidateOptions(seconds=seconds, example_seconds=5, **one.options))
    except InputError as error:
        return str(error)


def line(one: Implementation, found: Validation | str) -> str:
    """A line of the table."""
    start = f"| {one.name} | {version_of(one.package) or ''} | {one.said()} |"
    if isinstance(found, str):
        return f"{start} {found} | | |"
    verdict = "holds" if found.outcome is Outcome.HOLDS else found.outcome.value
    if found.findings:
        verdict = "**" + ", ".join(finding.clause for finding in found.findings) + "**"
    walked = [note.split(": ")[1] for note in found.notes if note.startswith("walks over")]
    part = "" if found.bound.startswith("all ") else ", not all systematic ones"
    return f"{start} {verdict} | {found.examples:,} sequences{part}, {found.operations:,} calls | {''.join(walked)} |"


def told(one: Implementation, finding: Finding) -> Iterator[str]:
    """A finding with its sequence; a long one by its ends."""
    yield f"**{one.name}**, clause {finding.clause} ({finding.statement}): {finding.message}"
    yield ""
    yield "```"
    calls = [f"{record.call}  -> {record.observed}" for record in finding.sequence]
    if len(calls) > 14:
        calls = [*calls[:4], f"… {len(calls) - 8} more calls", *calls[-4:]]
    yield from calls
    yield "```"
    yield ""


def report(seconds: float) -> str:
    """The whole document."""
    found = [(one, run(one, seconds)) for one in IMPLEMENTATIONS]
    lines = [
        "| implementation | version | contract, target and what is declared | outcome | tried | contract's graph |",
        "|---|---|---|---|---|---|",
        *(line(one, answer) for one, answer in found),
        "",
    ]
    deviating = [(one, answer) for one, answer in found if isinstance(answer, Validation) and answer.findings]
    if deviating:
        lines += ["## Deviations", ""]
    for one, answer in deviating:
        for finding in answer.findings:
            lines += told(one, finding)
    return HEAD + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run all, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit of each (default 20)")
    (ROOT / WHERE).write_text(report(parser.parse_args().seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
