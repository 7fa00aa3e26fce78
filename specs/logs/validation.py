"""A call log validated: accepted, or rejected with the call, the clause, the block's history and the lines that matter.

The one idea: the check is one pass that keeps live blocks alone; only when it rejects is the log read a second time,
for the lines about the blocks concerned, and these are cut down by checking them again with one line less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...model.lang.verdict import Outcome
from ..contracts.contract import Clause
from ..traces.lines import trace_lines
from . import clauses as of
from .formats import Call, Header, Key, calls
from .oracle import Block, Breach, LogOracle

HISTORY_MAX = 200
CUT_CALLS_MAX = 1000
"""Of the calls that may matter, so many before the rejected one are tried …"""
CUT_SINGLY_MAX = 100
"""… and when no more than this are left, one by one."""
LEFT_SHOWN = 20
STANDARD_INPUT = "-"
READ_ONCE = "the log came from standard input and was read once: there is no history"

NumberedLine = tuple[int, str]


@dataclass(frozen=True)
class ClauseAnswer:
    """How often a clause was put to the test and held, and what could not be told, by reason."""

    clause: Clause
    held: int
    unknown: tuple[tuple[str, int], ...]
    broken: bool

    @property
    def outcome(self) -> Outcome:
        if self.broken:
            return Outcome.VIOLATED
        return Outcome.HOLDS if self.held else Outcome.UNKNOWN


@dataclass(frozen=True)
class Rejection:
    """The first call that cannot be. `accepted`: the calls before it; `history`: the lines about its blocks; `cut`: the
    lines that are enough to reject the log."""

    clause: Clause
    line: int
    text: str
    message: str
    accepted: int
    history: tuple[NumberedLine, ...]
    cut: tuple[NumberedLine, ...]
    note: str = ""


@dataclass(frozen=True)
class LogValidation:
    """The answer about a log. `left`: the blocks that are live at its end, oldest first (the first `LEFT_SHOWN`)."""

    target: str
    header: Header
    calls: int
    counts: tuple[tuple[str, int], ...]
    peak: int
    answers: tuple[ClauseAnswer, ...]
    rejection: Rejection | None
    ended: bool
    left: tuple[NumberedLine, ...]
    left_blocks: int
    left_bytes: int

    @property
    def outcome(self) -> Outcome:
        if self.rejection is not None:
            return Outcome.VIOLATED
        return Outcome.HOLDS if any(one.outcome is Outcome.HOLDS for one in self.answers) else Outcome.UNKNOWN


def validate_log(target: str) -> LogValidation:
    """Check a log; raises InputError for what is none."""
    oracle, breach, ended = _check(target, _lines(target))
    header = oracle.header if oracle is not None else Header("empty")
    oracle = oracle or LogOracle(header)
    accepted = sum(oracle.counts[kind] for kind in ("alloc", "free", "realloc")) - (breach is not None)
    rejection = None if breach is None else _explain(target, header, breach, accepted)
    left = sorted(oracle.live.values(), key=lambda block: block.line)
    return LogValidation(
        target, header, accepted + (breach is not None), tuple(sorted(oracle.counts.items())), oracle.peak,
        _answers(oracle, breach), rejection, ended, _left_lines(target, left[:LEFT_SHOWN]), len(left),
        sum(block.size for block in left),
    )  # fmt: skip


def _lines(target: str) -> Iterator[str]:
    for lines in trace_lines(Path(target)):
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")


def _check(target: str, lines: Iterable[str]) -> tuple[LogOracle | None, Breach | None, bool]:
    oracle: LogOracle | None = None
    ended = False
    for header, call in calls(target, lines):
        oracle = oracle or LogOracle(header)
        ended = ended or call.kind == "end"
        breach = oracle.observe(call)
        if breach is not None:
            return oracle, breach, ended
    return oracle, None, ended


_WHY_NOT = {
    of.EXACT_SUCCESS.name: of.NO_BUDDY, of.CAPACITY.name: of.NOT_EMPTY, of.ONE_SIZE.name: of.NO_CACHE,
    of.REALLOC.name: of.NOT_RESIZED, of.NAMED_ONCE.name: of.NO_NAMES, of.DOUBLE_FREE.name: of.NOT_FREED,
    of.FOREIGN_FREE.name: of.NOT_FREED,
}  # fmt: skip


def _answers(oracle: LogOracle, breach: Breach | None) -> tuple[ClauseAnswer, ...]:
    answers = []
    for clause in of.CLAUSES:
        unknown = dict(oracle.unknown.get(clause.name, {}))
        held = oracle.held[clause.name]
        if not held and not unknown and clause.name in _WHY_NOT:
            refusable = clause is of.EXACT_SUCCESS and oracle.units is not None
            unknown[of.NOT_REFUSED if refusable else _WHY_NOT[clause.name]] = 1
        broken = breach is not None and breach.clause is clause
        answers.append(ClauseAnswer(clause, held, tuple(sorted(unknown.items())), broken))
    return tuple(answers)


# --- why a log is rejected


@dataclass(frozen=True)
class _Told:
    """A call with its text in the log (of mtrace's realloc two lines)."""

    call: Call
    text: str

    @property
    def numbered(self) -> NumberedLine:
        return self.call.line, self.text


def _explain(target: str, header: Header, breach: Breach, accepted: int) -> Rejection:
    if target == STANDARD_INPUT:
        return Rejection(breach.clause, breach.call.line, "", breach.message, accepted, (), (), READ_ONCE)
    concerned = _concerned(_told(target, breach.call.line), breach)
    first = list(islice(concerned, HISTORY_MAX // 2))
    last = deque(concerned, CUT_CALLS_MAX)
    head = _head(target)
    others = deque(_told(target, breach.call.line), CUT_CALLS_MAX) if breach.clause in _NEED_OTHERS else ()
    cut = _cut(target, breach, head, list(others) or [*first, *last][-CUT_CALLS_MAX:])
    history = tuple(one.numbered for one in (*first, *list(last)[-HISTORY_MAX // 2 :]))
    return Rejection(
        breach.clause, breach.call.line, history[-1][1], breach.message, accepted, history,
        tuple([*head, *(one.numbered for one in cut)] if cut else ()),
    )  # fmt: skip


_NEED_OTHERS = (of.CAPACITY,)
"""Here another block says that so much was given."""


def _told(target: str, last: int) -> Iterator[_Told]:
    """Each call up to a line."""
    texts: dict[int, str] = {}

    def noted() -> Iterator[str]:
        for number, line in enumerate(_lines(target), 1):
            if number > last:
                return
            texts.pop(number - 2, None)
            texts[number] = line
            yield line

    for _, call in calls(target, noted()):
        before = texts.get(call.line - 1, "")
        pair = [before] if _is_first_of_pair(before) else []
        yield _Told(call, "\n".join([*pair, texts[call.line]]))


def _is_first_of_pair(line: str) -> bool:
    """mtrace writes a realloc in two lines."""
    return " < 0x" in f" {line}"


def _concerned(told: Iterable[_Told], breach: Breach) -> Iterator[_Told]:
    """The calls that are about the blocks of a breach, by name or by bytes; the breaking one is the last."""
    mine = set(breach.keys)
    others: set[Key] = set()  # blocks that lay in these bytes before
    for one in told:
        call = one.call
        if call.kind != "free" and call.key not in mine and _meets(call, breach.bytes):
            others.add(call.new_key)
        if call.key in mine or call.new_key in mine or call.key in others or call.line == breach.call.line:
            yield one
        if call.kind == "free":
            others.discard(call.key)


def _meets(call: Call, span: range) -> bool:
    if call.address is None or not span:
        return False
    return call.address < span.stop and span.start < call.address + max(1, call.size or 0)


def _head(target: str) -> list[NumberedLine]:
    """What the log says of the allocator, if it begins with that."""
    first = next(iter(_lines(target)), "")
    return [(1, first)] if '"init"' in first or first.startswith(("#", "= ")) else []


def _cut(target: str, breach: Breach, head: list[NumberedLine], told: list[_Told]) -> list[_Told]:
    """Leave out the whole life of a block after the other, then single calls, as long as the rest is rejected for the
    same reason."""
    kept = told
    if not _rejects(target, head, kept, breach):
        return []
    for key in dict.fromkeys(one.call.key for one in kept):
        fewer = [one for one in kept if one.call.key != key]
        if _rejects(target, head, fewer, breach):
            kept = fewer
    if len(kept) <= CUT_SINGLY_MAX:
        for one in list(kept):
            fewer = [other for other in kept if other is not one]
            if _rejects(target, head, fewer, breach):
                kept = fewer
    return kept


def _rejects(target: str, head: list[NumberedLine], told: Sequence[_Told], breach: Breach) -> bool:
    texts = [text for _, text in head] + [line for one in told for line in one.text.split("\n")]
    if not told:
        return False
    _, found, _ = _check(target, texts)
    return found is not None and found.clause is breach.clause and found.call.key == breach.call.key


def _left_lines(target: str, left: Sequence[Block]) -> tuple[NumberedLine, ...]:
    """The lines that made the blocks that are left."""
    if not left or target == STANDARD_INPUT:
        return tuple((block.line, "") for block in left)
    wanted = {block.line for block in left}
    last = max(wanted)
    found = []
    for number, line in enumerate(_lines(target), 1):
        if number in wanted:
            found.append((number, line))
        if number >= last:
            break
    return tuple(found)
