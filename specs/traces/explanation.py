"""Why a trace is rejected: the event, what was accepted before it, the whole history of its page or object, and the few
events that are enough to reject it.

The one idea: the check keeps nothing of lines that fit, so the history is read in a second pass over the file; and a
cut is tried out by the same check, event by event, until nothing can be left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...model.lang.errors import InputError
from ..contracts.contract import Clause
from .clauses import SLAB_FREED, SLAB_PAGE, SPACING
from .judging import Subject, Suspicion
from .lines import numbered_lines
from .objects import KERNEL_HALF, PAGE_SHIFT
from .pages import STRUCT_PAGE_BYTES
from .text import TextChecker

HISTORY_MAX = 400
"""Lines of a history: of a longer one the first and the last."""

_FRAME = re.compile(rb"pfn=(?:0x([0-9a-f]{1,12})|(\d{1,12}))(?: order=(\d{1,2}))?")
_STRUCT = re.compile(rb"\) page=0x([0-9a-f]{1,16})(?: order=(\d{1,2}))?")

NumberedLine = tuple[int, bytes]


@dataclass(frozen=True)
class Rejection:
    """`accepted`: how many events come before the first that is rejected. `cut`: the events that are enough, with their
    numbers in the whole trace; none if the rejection needs more than events (a state, a snapshot)."""

    clause: Clause
    number: int
    line: str
    observed: str
    expected: str
    accepted: int
    history: tuple[tuple[int, str], ...]
    cut: tuple[tuple[int, str], ...]
    cut_text: str = ""


@dataclass(frozen=True)
class Where:
    """What names pages and objects in the lines of this trace: the address of the struct page of page 0, and that of
    page 0 itself, if they are known."""

    vmemmap: int | None = None
    base: int | None = None


class _Concerned:
    """Whether a line is about a page or an object."""

    def __init__(self, subject: Subject, clause: Clause, where: Where) -> None:
        self.kind, self.key = subject
        self.where = where
        self.pointer = b""
        self.frame: int | None = self.key if self.kind == "page" else None
        if self.kind == "object":
            self.pointer = b"%x" % self.key
            if clause in (SPACING, SLAB_PAGE, SLAB_FREED) and where.base is not None and self.key >= KERNEL_HALF:
                self.frame = (self.key >> PAGE_SHIFT) - where.base
        self.task = b"-%d " % self.key if self.kind == "task" else b""

    def __call__(self, line: bytes) -> bool:
        if self.pointer and self.pointer in line:
            return True
        if self.task:
            return self.task in line and b"mm_vmscan" in line
        return self.frame is not None and self._has_frame(line, self.frame)

    def _has_frame(self, line: bytes, frame: int) -> bool:
        match = _FRAME.search(line)
        if match is not None:
            first, order = int(match[1], 16) if match[1] else int(match[2]), match[3]
        else:
            match = _STRUCT.search(line)
            if match is None or self.where.vmemmap is None:
                return False
            first, order = (int(match[1], 16) - self.where.vmemmap) // STRUCT_PAGE_BYTES, match[2]
        return first <= frame < first + (1 << min(int(order or 0), 20))


def explain(
    path: Path, suspicions: Sequence[Suspicion], where: Where, evidence: Collection[int], recorded: Collection[str]
) -> tuple[Rejection, ...]:
    """The rejections for these suspicions. `evidence`: events that show how the trace was recorded."""
    first = min((one.number for one in suspicions if one.number), default=0)
    histories, shown = _collect(path, suspicions, where, evidence)
    found = []
    for suspicion, history in zip(suspicions, histories, strict=True):
        wanted = dict(history)
        wanted.update({number: shown[number] for number in (*suspicion.against, *evidence) if number in shown})
        cut = () if not suspicion.number else _cut(suspicion, sorted(wanted.items()), recorded)
        cut_text = cut_file(path.name, *cut) if cut else ""
        found.append(
            Rejection(
                suspicion.clause, suspicion.number, _text(suspicion.line), suspicion.observed, suspicion.expected,
                first - 1 if first else 0, _texts(history), _texts(cut[0]) if cut else (), cut_text,
            )
        )
    return tuple(found)


def _collect(
    path: Path, suspicions: Sequence[Suspicion], where: Where, evidence: Collection[int]
) -> tuple[list[list[NumberedLine]], dict[int, bytes]]:
    """One pass over the file: each suspicion's history, and the lines of the numbers that are asked for."""
    concerned = [_Concerned(one.subject, one.clause, where) for one in suspicions]
    histories: list[list[NumberedLine]] = [[] for _ in suspicions]
    numbers = {number for one in suspicions for number in one.against}.union(evidence)
    last = max((one.number for one in suspicions), default=0) if all(one.number for one in suspicions) else 1 << 62
    shown: dict[int, bytes] = {}
    if str(path) == "-":
        return [[(one.number, one.line)] if one.number else [] for one in suspicions], shown
    for number, line in numbered_lines(path):
        if number > last:
            break
        if number in numbers:
            shown[number] = line
        for suspicion, concerns, history in zip(suspicions, concerned, histories, strict=True):
            own = number == suspicion.number
            if own or (concerns(line) and not 0 < suspicion.number < number):
                history.append((number, line))
                if len(history) > HISTORY_MAX:
                    del history[HISTORY_MAX // 2]
    return histories, shown


# --- the cut


def _cut(
    suspicion: Suspicion, lines: Sequence[NumberedLine], recorded: Collection[str]
) -> tuple[list[NumberedLine], Collection[str]] | None:
    """The fewest of these lines, and if needed the names of the recorded events, that are rejected in the same way."""
    for names in ((), recorded):
        if rejects(suspicion, lines, names):
            break
    else:
        return None
    kept = list(lines)
    size = len(kept)
    while size >= 1:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if rejects(suspicion, fewer, names):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept, names


def rejects(suspicion: Suspicion, lines: Sequence[NumberedLine], recorded: Collection[str]) -> bool:
    """Whether a trace of these lines is rejected at this event for this clause."""
    checker = TextChecker("the cut", recorded)
    try:
        checker.read(_numbered(lines))
    except InputError:
        return False
    checker.finish()
    return any((one.clause, one.number) == (suspicion.clause, suspicion.number) for one in checker.judge.violations)


def _numbered(lines: Iterable[NumberedLine]) -> Iterable[bytes]:
    for number, line in lines:
        yield b"# event %d" % number
        yield line


def cut_file(name: str, lines: Sequence[NumberedLine], recorded: Collection[str]) -> str:
    """The text of a trace with these events alone, which keep their numbers."""
    head = [f"# cut by kmemspec from {name}: {len(lines)} events that are enough for its rejection"]
    if recorded:
        head.append("# switched on: " + " ".join(sorted(recorded)))
    body = [line.decode("utf-8", "replace") for line in _numbered(lines)]
    return "\n".join((*head, *body)) + "\n"


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _texts(lines: Iterable[NumberedLine]) -> tuple[tuple[int, str], ...]:
    return tuple((number, _text(line)) for number, line in lines)
