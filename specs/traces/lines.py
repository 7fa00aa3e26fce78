"""The lines of a trace file, whatever wrote it and however it is packed: one pass, in memory of a fixed size.

The one idea: a file is read in blocks and cut into lines of bytes; what a line says is for its reader. Formats: ftrace
(`trace`, `trace_pipe`), `trace-cmd report`, `perf script`; plain, xz or gzip, by the first bytes.
"""

from __future__ import annotations

import gzip
import lzma
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from ...model.lang.errors import InputError

BLOCK_BYTES = 1 << 18
LINE_BYTES_MAX = 1 << 16
TRACE_BYTES_MAX = 1 << 40
"""A limit on hostile input: a small compressed file can hold anything."""

_TASK = rb"\s*(?:.+?[-\s])?(?:\d{1,9}/)?(\d{1,9})\s+"
_TIME = rb"(\d[\d.]{0,29}):\s+(?:\d{1,18}\s+)?"
HEAD = re.compile(_TASK + rb"\[(\d{1,5})\]\s+(?:[^\s:]+\s+)?" + _TIME + rb"(?:[\w-]+:)?([\w-]+):\s*")
"""Task, CPU, time and event of a line of any of the formats (`perf script`: `pid/tid`, and the period before the event,
where they are asked for)."""
WITHOUT_CPU = re.compile(_TASK + rb"()" + _TIME + rb"[\w-]+:([\w-]+):\s*")
"""The same of a line of `perf script -F comm,tid,time,event,trace`; a group's name is before the event's."""
UNKNOWN_CPU = b"-1"
CONTEXT = re.compile(rb"\s*.+?-\d+\s+\[\d+\]\s+(\S+)\s+[\d.]+: ")
"""The context flags, which `trace-cmd report` and `perf script` do not print."""
FASTER = re.compile(rb".{16,}?-(\d{1,9}) +\[(\d{1,5})\] \S+ +(\d[\d.]{0,29}): (\w+): ")
"""The same head for ftrace's own text alone."""
_CALLER = rb"\s+[0-9a-f]{1,16} (?!.*kmem:)\S|\s*=> |.*: <(?:user )?stack trace>\s*$"
_LOST_RECORD = rb"(?:.*\s\[(\d{1,5})\])?.*\s[\d.]+:\s+PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,18})"
_LOST_CHUNKS = rb"Processed \d+ events and lost (\d{1,18}) chunks"
_WARNING = rb"Warning:\s*$|Check IO/CPU overload!"
ASIDE = re.compile(rb"|".join((_CALLER, _LOST_RECORD, _LOST_CHUNKS, _WARNING)))
"""Lines between events: the callers of the one before (perf's and ftrace's), and what perf says was lost: the CPU and
how much, or how many chunks."""
SETTING = re.compile(rb"\w{1,20} ?= ?\w{1,20}\s*$")
"""What `trace-cmd report` prints first: `cpus=2`, `version = 7`."""
LOST = re.compile(rb"CPU:(\d{1,5}) \[(?:LOST )?(?:(\d{1,18}) )?EVENTS(?: DROPPED)?\]")
WRITTEN = re.compile(rb"entries-in-buffer/entries-written: (\d+)/(\d+)")
NUMBERED = re.compile(rb"# event (\d{1,15})$")
"""What a cut of a trace says before each line: the number that the event has in the whole trace."""

SWITCHED_ON = re.compile(rb"# switched on: ([\w ]{0,4000})$")
"""And which events were recorded there, where the verdict needs that."""


def trace_lines(path: Path) -> Iterator[list[bytes]]:
    """The lines of a trace, block by block and without their ends; "-" is standard input. Raises InputError."""
    try:
        if str(path) == "-":
            yield from _blocks(path, sys.stdin.buffer)
            return
        with _opened(path) as stream:
            yield from _blocks(path, stream)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}", "give a trace") from None
    except (lzma.LZMAError, EOFError, zlib.error):
        raise InputError(f"{path} is not a complete compressed file", "copy it again") from None


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic == b"\xfd7zXZ\0":
        return cast(BinaryIO, lzma.open(path, "rb"))
    if magic[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return cast(BinaryIO, path.open("rb"))


def _blocks(path: Path, stream: BinaryIO) -> Iterator[list[bytes]]:
    rest, total = b"", 0
    while block := stream.read(BLOCK_BYTES):
        total += len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > LINE_BYTES_MAX or total > TRACE_BYTES_MAX:
            raise InputError(f"{path} has a line too long, or is too long as a whole", "give the text of a trace")
        yield lines
    if rest:
        yield [rest]


def head_of(line: bytes) -> re.Match[bytes] | None:
    """Task, CPU (or nothing), time and event of a line, if it is one of an event."""
    if b": " not in line:  # most callers' lines, which the expressions would search from each of their letters on
        return None
    return HEAD.match(line) or WITHOUT_CPU.match(line)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The events of a trace with their numbers, as the checks count them."""
    number = 0
    for lines in trace_lines(path):
        for line in lines:
            if not line or line.isspace() or line.startswith(b"CPU:") or (not number and SETTING.match(line)):
                continue
            if line[0] == 35:
                numbered = NUMBERED.match(line)
                number = number if numbered is None else max(number, int(numbered[1]) - 1)
                continue
            if ASIDE.match(line) and head_of(line) is None:
                continue
            number += 1
            yield number, line
