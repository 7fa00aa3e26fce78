"""Adapter in the child: a program that speaks JSON lines on its standard input and output (docs/adapters.md).

The one idea: the program is started anew for each sequence by the fork that runs it, and everything it says is bounded:
a line has a length limit, what is no answer is a finding, and silence ends with the time limit of the sequence.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from ...model.lang.errors import InputError
from .adapter import Make, ProgramEndedError, one_line
from .contract import Contract
from .python_class import plain
from .sequences import Operation

LONGEST_LINE = 1 << 16
PREFIX = "command:"


def load_command(setup: dict[str, Any]) -> tuple[Make, dict[str, Any]]:
    """Find the program; a function that starts it, and what is declared."""
    from .registry import INTERFACES

    contract = INTERFACES[str(setup["contract"])].contract
    command = command_of(str(setup["target"]))
    if shutil.which(command[0]) is None:
        raise InputError(f"there is no program {command[0][:200]}", "name it as command:./my_allocator --flags")
    declared = contract.declared(setup["declared"])
    return (lambda scope: CommandAdapter(contract, command, scope, declared)), declared


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
    contract: Contract, index: int, operation: Operation, at: int | None, made: Mapping[str, int]
) -> dict[str, Any]:
    """The request of one call; a call that takes a block also says where that is and what was asked for it."""
    call = contract.operations[operation.kind]
    numbers = dict(zip(call.numbers, operation.arguments, strict=True))
    request: dict[str, Any] = {"op": operation.kind, **numbers}
    if call.result == "block":
        request["id"] = index
    if operation.block is not None:
        request = {**made, **request, "id": operation.block, "at": at}
    return request


class CommandAdapter:
    """One run of the program."""

    def __init__(
        self, contract: Contract, command: list[str], scope: dict[str, int], declared: Mapping[str, Any]
    ) -> None:
        self.contract = contract
        self.kept: dict[int, tuple[int, dict[str, int]]] = {}
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.rest = b""
        answer = self.ask(init_request(contract, scope, declared))
        if answer.get("declined") is not None:
            raise ValueError(one_line(answer["declined"], 200))
        if "error" in answer or "garbage" in answer:
            raise RuntimeError(f"init is answered with {one_line(answer, 200)}")
        if "ended" in answer:
            raise ProgramEndedError(*answer["ended"])

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Ask for one operation and say what was answered."""
        call = self.contract.operations[kind]
        if call.misuse or (call.takes_block and block not in self.kept):
            say("skipped")
            return
        numbers = dict(zip(call.numbers, arguments, strict=True))
        at, made = self.kept.get(-1 if block is None else block, (None, {}))
        if block is not None and call.result == "nothing":
            del self.kept[block]
        answer = self.ask(request_of(self.contract, index, Operation(kind, block, tuple(arguments)), at, made))
        said = self.value_of(call.result, answer)
        if said[0] == "value" and said[1] is not None and call.result in ("block", "moved"):
            self.kept[index if block is None else block] = (said[1], numbers)
        say(*said)

    def value_of(self, result: str, answer: dict[str, Any]) -> tuple[Any, ...]:
        """An answer as the child says it."""
        if "ended" in answer:
            return ("program", *answer["ended"])
        if "garbage" in answer:
            return ("rubbish", f"no JSON object: {answer['garbage']}")
        if "error" in answer:
            return ("raised", "error", one_line(answer["error"], 200))
        if answer.get("skipped") is True:
            return ("skipped",)
        key = "at" if result in ("block", "moved") else "value"
        if result == "nothing":
            return ("value", None)
        if key not in answer:
            return ("rubbish", f"an answer without {key!r}: {one_line(json.dumps(answer), 100)}")
        return plain(result, answer[key])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request line, one answer line; {"ended": …} or {"garbage": …} if there is none."""
        assert self.program.stdin is not None
        try:
            self.program.stdin.write(json.dumps(request).encode() + b"\n")
            self.program.stdin.flush()
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
        assert self.program.stdout is not None
        while b"\n" not in self.rest and len(self.rest) < LONGEST_LINE:
            data = os.read(self.program.stdout.fileno(), LONGEST_LINE)
            if not data:
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def ending(self) -> list[Any]:
        """How the program ended: ["exit", status], ["signal", number], or ["closed"] if it goes on in silence."""
        try:
            status = self.program.wait(0.5)
        except subprocess.TimeoutExpired:
            return ["closed"]
        return ["exit", status] if status >= 0 else ["signal", -status]

    def finish(self, say: Callable[..., None]) -> None:
        """End of the sequence: the program must end, well, when its input ends, and have no more to say."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        with contextlib.suppress(OSError):
            self.program.stdin.close()
        extra = self.rest or os.read(self.program.stdout.fileno(), 100)
        if extra:
            say("rubbish", f"more than was asked for: {one_line(extra[:80].decode(errors='replace'), 80)!r}")
            return
        status = self.program.wait()
        if status:
            say("program", *(["exit", status] if status > 0 else ["signal", -status]))

    def close(self) -> None:
        """End the program; what it leaves behind is found by the zygote."""
        self.program.kill()
        self.program.wait()

