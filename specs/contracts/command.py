"""Adapter in the child: a program that speaks JSON lines on its standard input and output (docs/adapters.md).

The one idea: the program is started anew for each sequence by the fork that runs it, and everything it says is bounded:
a line has a length limit, what is no answer is a finding, and silence ends with the time limit of the sequence.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from ...model.lang.errors import InputError
from .adapter import Make, ProgramEndedError, one_line
from .blocks import Blocks, Held, foreign_place
from .contract import Call, Contract
from .python_class import plain

LONGEST_LINE = 1 << 16
PREFIX = "command:"
DECLARING_SECONDS = 3.0
"""How long a program may take to answer the first request of all, in which it can declare something."""


def load_command(setup: dict[str, Any]) -> tuple[Make, dict[str, Any]]:
    """Find the program; a function that starts it, and what is declared: in its answer to init, or by the user."""
    from .registry import INTERFACES

    contract = INTERFACES[str(setup["contract"])].contract
    command = command_of(str(setup["target"]))
    if shutil.which(command[0]) is None:
        raise InputError(f"there is no program {command[0][:200]}", "name it as command:./my_allocator --flags")
    said = declares(contract, command, setup)
    declared = contract.declared(said, setup["declared"])
    return (lambda scope: CommandAdapter(contract, command, scope, declared)), declared


def declares(contract: Contract, command: list[str], setup: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the program declares when it is first asked for an instance. If it does not answer well, that is no error
    yet: the sequences will find it."""
    program = Program(command, time.monotonic() + DECLARING_SECONDS)
    try:
        answer = program.ask(init_request(contract, setup["scope"], contract.declared(setup["declared"])))
    finally:
        program.kill()
    said = answer.get("declares", {})
    if not isinstance(said, dict):
        raise InputError(f"{command[0][:200]} declares no object", 'answer {"declares": {"double_free": "rejected"}}')
    return said


def command_of(target: str) -> list[str]:
    """The words of `command:./my_allocator --flags`."""
    try:
        words = shlex.split(target.removeprefix(PREFIX))
    except ValueError as error:
        raise InputError(f"{target[:80]!r}: {error}", "quote it as in a shell") from None
    if not words:
        raise InputError("there is no command", "name it as command:./my_allocator --flags")
    return words


def init_request(contract: Contract, scope: Mapping[str, int], declared: Mapping[str, Any]) -> dict[str, Any]:
    """The first request."""
    return {"op": "init", "contract": contract.name, **declared, **scope}


def request_of(
    contract: Contract, kind: str, numbers: Mapping[str, int], name: int | None, held: Held | None
) -> dict[str, Any]:
    """The request of one call about the block of that name; a call that takes a block, or misuses one, also says where
    that is and what was asked for it."""
    call = contract.operations[kind]
    if held is not None:
        asked = {**held.numbers, **({} if call.misuse else numbers)}
        return {**asked, "op": call.misuse or kind, "id": name, "at": held.handle}
    return {"op": kind, **numbers, **({"id": name} if call.result == "block" else {})}


class CommandAdapter:
    """One run of the program."""

    def __init__(
        self, contract: Contract, command: list[str], scope: dict[str, int], declared: Mapping[str, Any]
    ) -> None:
        self.contract = contract
        self.blocks = Blocks(contract, scope, lambda which: foreign_place(which, scope))
        self.program = Program(command)
        answer = self.program.ask(init_request(contract, scope, declared))
        if answer.get("declined") is not None:
            raise ValueError(one_line(answer["declined"], 200))
        if "error" in answer or "garbage" in answer:
            raise RuntimeError(f"init is answered with {one_line(answer, 200)}")
        if "ended" in answer:
            raise ProgramEndedError(*answer["ended"])

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Ask for one operation and say what was answered."""
        call = self.contract.operations[kind]
        numbers = dict(zip(call.numbers, arguments, strict=True))
        if call.misuse:
            held = self.blocks.misused(block, arguments)
        elif call.takes_block and block is not None and call.result == "nothing" and block in self.blocks.live:
            held = self.blocks.release(block)
        else:
            held = None if block is None else self.blocks.live.get(block)
        if held is None and (call.misuse or call.takes_block):
            say("skipped")
            return
        name = index if call.result == "block" else block
        answer = self.program.ask(request_of(self.contract, kind, numbers, name, held))
        said = self.value_of(call, answer)
        if said[0] == "value" and said[1] is not None and call.result in ("block", "moved"):
            self.blocks.live[index if block is None else block] = Held(said[1], said[1], numbers)
        say(*said)

    def value_of(self, call: Call, answer: dict[str, Any]) -> tuple[Any, ...]:
        """An answer as the child says it."""
        if "ended" in answer:
            return ("program", *answer["ended"])
        if "garbage" in answer:
            return ("rubbish", f"no JSON object: {answer['garbage']}")
        if "error" in answer:
            return ("raised", "error", one_line(answer["error"], 200))
        if answer.get("skipped") is True:
            return ("skipped",)
        if call.misuse:
            return plain(call.result, answer.get("rejected", False))
        if answer.get("rejected", False) is not False:
            return ("raised", "rejected", "a call that is right")
        key = "at" if call.result in ("block", "moved") else "value"
        if call.result == "nothing":
            return ("value", None)
        if key not in answer:
            return ("rubbish", f"an answer without {key!r}: {one_line(json.dumps(answer), 100)}")
        return plain(call.result, answer[key])

    def finish(self, say: Callable[..., None]) -> None:
        """End of the sequence: the program must end, well, when its input ends, and have no more to say."""
        extra = self.program.end_of_input()
        if extra:
            say("rubbish", f"more than was asked for: {one_line(extra[:80].decode(errors='replace'), 80)!r}")
            return
        status = self.program.process.wait()
        if status:
            say("program", *(["exit", status] if status > 0 else ["signal", -status]))

    def close(self) -> None:
        """End the program; what it leaves behind is found by the zygote."""
        self.program.kill()


class Program:
    """The program with its pipes; it is given up at the deadline, if there is one."""

    def __init__(self, command: list[str], deadline: float | None = None) -> None:
        self.deadline = deadline
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.rest = b""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request line, one answer line; {"ended": …} or {"garbage": …} if there is none."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return {"ended": self.ending()}
        line = self.read_line()
        if line is None:
            return {"ended": self.ending()}
        try:
            answer = json.loads(line) if len(line) < LONGEST_LINE else None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or {"ended", "garbage"} & set(answer):
            return {"garbage": one_line(line[:100].decode(errors="replace"), 100) or "an empty line"}
        return answer

    def read_line(self) -> bytes | None:
        """The next line, cut at the limit; None at the end of the output."""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        while b"\n" not in self.rest and len(self.rest) < LONGEST_LINE:
            if self.deadline is not None:
                left = max(0.0, self.deadline - time.monotonic())
                if not select.select([output], [], [], left)[0]:
                    return None
            data = os.read(output, LONGEST_LINE)
            if not data:
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def ending(self) -> list[Any]:
        """How the program ended: ["exit", status], ["signal", number], or ["closed"] if it goes on in silence."""
        try:
            status = self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            return ["closed"]
        return ["exit", status] if status >= 0 else ["signal", -status]

    def end_of_input(self) -> bytes:
        """Close its input; what it says that was not asked for."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return self.rest or os.read(self.process.stdout.fileno(), 100)

    def kill(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.process.wait()
