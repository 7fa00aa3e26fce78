"""One door to every picture of a trace: the file's suffix says which.

SVG needs nothing outside Python; PNG and PDF need the `dot` program of Graphviz.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from ..model.lang.errors import InputError
from ..model.lang.trace import Trace
from . import dot, svg, table
from .memory_map import BUDDY, MemoryMap
from .text import printable
from .trace_file import save_trace
from .trace_json import write

SUFFIXES = (".svg", ".dot", ".gv", ".png", ".pdf", ".txt", ".itf.json", ".json")
SECONDS = 60
"""What `dot` may take for a picture."""


def render(
    trace: Trace,
    path: str | os.PathLike[str],
    memory_map: MemoryMap | None = None,
    dimension_sorts: Mapping[str, Sequence[str]] | None = None,
    panels: int = 8,
    trace_file: str | None = None,
) -> None:
    """Write a picture of `trace` to `path`, of the kind its suffix says.

    `memory_map` says where the specification keeps pages and lists, `dimension_sorts` the sorts of its arrays (leaf
    path → sort names), `panels` how many of the last steps to draw; `trace_file` is named in the replay command."""
    name = os.fspath(path).lower()
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    where = memory_map or BUDDY
    if suffix is None:
        remedy = f"use one of {', '.join(SUFFIXES)}"
        raise InputError(f"{printable(os.fspath(path))}: no picture has this suffix", remedy)
    if suffix in (".json", ".itf.json"):
        save_trace(trace, path)
    elif suffix == ".svg":
        write(path, svg.svg(trace, svg.Options(where, panels, dimension_sorts)))
    elif suffix == ".txt":
        options = table.Options(file=trace_file, dimension_sorts=dimension_sorts, memory_map=where)
        write(path, table.text(trace, options))
    else:
        source = dot.dot(trace, svg.Options(where, panels, dimension_sorts))
        write(path, source if suffix in (".dot", ".gv") else run_dot(source, suffix[1:]))


def run_dot(source: str, kind: str, remedy: str = "write .svg, which needs nothing") -> bytes:
    """What the system's `dot` makes of a graph; `remedy` says what can be written without it."""
    program = shutil.which("dot")
    if program is None:
        raise InputError(f"a .{kind} picture needs Graphviz's `dot`, which is not installed",
                         f"install the graphviz system package, or {remedy}")
    try:
        done = subprocess.run(
            [program, f"-T{kind}"], input=source.encode("utf-8", "backslashreplace"), capture_output=True,
            timeout=SECONDS, check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"`dot` took more than {SECONDS} seconds", f"{remedy}, or draw less") from None
    except OSError as error:
        raise InputError(f"`dot` cannot be run: {error.strerror}", remedy) from None
    if done.returncode or not done.stdout:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"`dot` failed: {printable(reason[0], 160)}", remedy)
    return done.stdout
