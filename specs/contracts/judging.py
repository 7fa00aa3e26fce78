"""From the transcript of a run to a judgement: which call broke which clause, with expected and observed of each call.

The one idea: the child is never believed. The oracle of the contract follows the answers call
by call; what is common to all contracts (the process ended, hung, forked, answered garbage) is judged here. The
earliest broken clause counts, since whatever follows it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .adapter import LOST_PIPE
from .contract import Contract
from .interface import Answer, Oracle
from .process import Transcript, signal_name
from .results import OperationRecord
from .sequences import Operation, Sequence

MEMORY_SIGNALS = {"SIGSEGV", "SIGBUS"}


@dataclass(frozen=True)
class Broken:
    """A broken clause: what happened, its kind and detail as in `Finding`. What a reproducer cannot know otherwise:
    `wanted` is the only right answer, if one alone is right, and `most` how many slabs there can be, if this was one
    more."""

    clause: str
    message: str
    kind: str = "clause"
    detail: str = ""
    wanted: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Judgement:
    """One run judged: the broken clause if any, by which call (-1: the construction), and every call's record.

    `values` has what each call returned; `declined` is the reason if the target refused the scope when it was
    constructed."""

    broken: Broken | None
    failed_at: int
    records: tuple[OperationRecord, ...]
    counts: Mapping[str, int]
    peaks: Mapping[str, int]
    declined: str = ""
    values: Mapping[int, Any] = field(default_factory=dict)


def block_names(contract: Contract, sequence: Sequence) -> dict[int, str]:
    """b1, b2, … for the calls that make a block."""
    makers = [index for index, operation in enumerate(sequence) if contract.makes_block(operation.kind)]
    return {index: f"b{number}" for number, index in enumerate(makers, 1)}


def call_text(index: int, operation: Operation, names: Mapping[int, str]) -> str:
    """The call as a line of code."""
    block = [] if operation.block is None else [names.get(operation.block, "?")]
    text = f"{operation.kind}({', '.join([*block, *map(size_text, operation.arguments)])})"
    return f"{names[index]} = {text}" if index in names else text


def size_text(value: int) -> str:
    """A number; beyond 2**32 relative to the nearest power of two."""
    if value < 1 << 32:
        return str(value)
    power = value.bit_length() if value >= 3 << (value.bit_length() - 2) else value.bit_length() - 1
    difference = value - (1 << power)
    return f"2**{power}{difference:+d}" if difference else f"2**{power}"


def judge(contract: Contract, sequence: Sequence, transcript: Transcript, oracle: Oracle) -> Judgement:
    """Follow the transcript call by call until a clause breaks or the sequence is over."""
    names = block_names(contract, sequence)
    records: list[OperationRecord] = []
    values: dict[int, Any] = {}

    def judgement(broken: Broken | None, failed_at: int, declined: str = "") -> Judgement:
        counts, peaks = dict(oracle.counts), dict(oracle.peaks)
        return Judgement(broken, failed_at, tuple(records), counts, peaks, declined, values)

    def at_the_end(doing: str) -> Judgement:
        broken = judge_ending(transcript.answers.get(len(sequence), ()), transcript, doing)
        records.append(OperationRecord("(end of the sequence)", "the process ends when told to", broken.message))
        return judgement(broken, len(sequence))

    # A second process or the end of the whole child makes the order of answers a race: that is the finding.
    undermined = transcript.leftovers or transcript.ending.kind == "lost"
    opening = transcript.answers.get(-1, ())
    if ["ready"] not in opening:
        raised = next((answer for answer in opening if answer[0] == "raised"), None)
        if raised is not None and raised[1] == "ValueError":
            return judgement(None, -1, str(raised[2]))
        broken = judge_ending(opening, transcript, "the construction")
        records.append(OperationRecord("construct", "an allocator", broken.message))
        return judgement(broken, -1)
    for index, operation in enumerate(sequence):
        answers = transcript.answers.get(index, ())
        call = call_text(index, operation, names)
        if ["skipped"] in answers:
            oracle.counts["skipped"] += 1
            records.append(OperationRecord(call, "nothing: there is no such block", "not called"))
            continue
        expected = oracle.expected(operation)
        oracle.counts[operation.kind] += 1
        values.update((index, answer[1]) for answer in answers if answer[0] == "value" and len(answer) == 2)
        found, observed = judge_call(contract, index, operation, answers, transcript, oracle)
        records.append(OperationRecord(call, expected, observed))
        if found is not None and undermined and found.kind != "fork":
            break
        if found is not None:
            return judgement(found, index)
    if undermined or ["done"] not in transcript.answers.get(len(sequence), ()):
        return at_the_end("the sequence")
    return judgement(None, len(sequence))


def judge_call(
    contract: Contract,
    index: int,
    operation: Operation,
    answers: tuple[Answer, ...],
    transcript: Transcript,
    oracle: Oracle,
) -> tuple[Broken | None, str]:
    """The broken clause of one call, if any, and what was observed."""
    if ["forked"] in answers:
        broken = Broken("survives", f"{operation.kind} came back in a second process", "fork", "fork")
        return broken, broken.message
    value = next((answer for answer in answers if answer[0] == "value"), None)
    if value is None or not (len(value) == 2 and contract.operations[operation.kind].well_formed(value[1])):
        broken = judge_ending(answers, transcript, operation.kind)
        return broken, broken.message
    observed = oracle.show(operation, value[1])
    broken_value = oracle.observe(index, operation, value[1])
    if broken_value is not None:
        return broken_value, observed
    for answer in answers:
        broken_memory = oracle.after(operation, value[1], answer)
        if broken_memory is not None:
            return broken_memory, f"{observed}; {broken_memory.message}"
    if ["next"] not in answers:
        broken = judge_ending(answers, transcript, f"what followed {operation.kind}")
        if broken.detail in MEMORY_SIGNALS and contract.has("usable"):
            clause = "usable" if value[1] is not None else "contents"
            message = f"memory of a live block cannot be used: {broken.detail}"
            broken = Broken(clause, message, broken.kind, broken.detail)
        return broken, f"{observed}; {broken.message}"
    return None, observed


def judge_program(ending: Answer, doing: str) -> Broken:
    """The program under validation ended or fell silent."""
    if ending[0] == "signal":
        name = signal_name(int(ending[1]))
        return Broken("survives", f"{doing} ended the program by {name}", "crash", name)
    if ending[0] == "exit":
        status = f"status {ending[1]}"
        return Broken("survives", f"{doing} ended the program with exit {status}", "exit", status)
    return Broken("survives", f"{doing}: the program closed its output and goes on", "closed", "output closed")


def judge_memory(operation: Operation, value: Any, answer: Answer) -> Broken | None:
    """What the child found in memory after a call, for contracts whose blocks are real memory (see `memory.py`)."""
    tag = answer[0]
    if tag == "nonzero" and len(answer) == 3:
        return Broken("calloc-zeroed", f"byte {answer[1]} of the new block is {answer[2]}, not 0")
    if tag == "guard" and len(answer) == 4:
        _, offset, expected, found = answer
        change = f"the byte at offset {offset} is {found}, it was {expected}"
        return Broken("in-bounds", f"{operation.kind} wrote outside the arena: {change}")
    if tag not in ("contents", "prefix") or len(answer) != 5:
        return None
    _, _, offset, expected, found = answer
    change = f"byte {offset} is {found}, it was {expected}"
    if tag == "prefix":
        return Broken("realloc-prefix", f"after realloc {change}")
    return Broken("contents", f"{operation.kind} changed a live block: {change}")


def judge_ending(answers: tuple[Answer, ...], transcript: Transcript, doing: str) -> Broken:
    """Why a call did not come back as it should."""
    for tag, *rest in answers:
        if tag == "raised" and len(rest) == 2:
            return Broken("answers", f"{doing} raised {rest[0]}: {rest[1]}", "exception", str(rest[0]))
        if tag == "unfit" and len(rest) == 2:
            return Broken("answers", f"{doing}: {rest[0]}", "exception", "unfit")
        if tag == "rubbish" and rest:
            return Broken("answers", f"{doing} returned {rest[0]}", "rubbish", str(rest[0]))
        if tag == "program" and rest and rest[0] in ("exit", "signal", "closed"):
            return judge_program(rest, doing)
        if tag == "left":
            return Broken("survives", f"{doing} left the process by sys.exit({rest[0]})", "exit", f"status {rest[0]}")
        if tag == "forked":
            return Broken("survives", f"{doing} came back in a second process", "fork", "fork")
    if transcript.leftovers:
        return Broken("survives", f"{doing} left another process running", "fork", "process left behind")
    if transcript.garbage:
        return Broken("answers", f"garbage on the checker's private pipe: {transcript.garbage!r}", "rubbish", "pipe")
    ending = transcript.ending
    if ending.kind == "signal":
        name = signal_name(ending.number)
        return Broken("survives", f"{doing} ended the process by {name}", "crash", name)
    if ending.kind == "timeout":
        return Broken("survives", f"{doing} did not come back in time", "hang", "time limit")
    if ending.kind == "lost":
        return Broken("survives", f"{doing} ended or blocked the checker's own child process", "crash", "lost")
    if ending.number == LOST_PIPE:
        return Broken("survives", f"{doing} closed descriptors that are not its own", "closed", "descriptors closed")
    status = f"status {ending.number}"
    return Broken("survives", f"{doing} ended the process with exit {status}", "exit", status)
