"""A finding as a program that fails by itself: a pytest file for a Python class, a C main() for a library
(`c_reproducer.py`), a script that plays the JSON lines again for a command.

The one idea: a reproducer needs nothing of this package. It carries the few checks its sequence needs, so it stays a
useful regression test when the bug is mended. Texts only; who calls decides where to write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import Blocks, Held, foreign_place
from .c_reproducer import REFUSALS, absolute, c_text, quoted
from .command import command_of, init_request, request_of
from .contract import Call, Contract
from .interface import Interface
from .judging import Broken, block_names
from .search import Failure, Search
from .sequences import Operation, Sequence

PYTEST_HEAD = '''"""{title}

Found by kmemspec validate: {message}
"""

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys

TARGET = {target!r}
SCOPE = {scope!r}
DECLARED = {declared!r}


def make():
    """The class or factory under test."""
    source, _, name = TARGET.rpartition(":")
    if source.endswith(".py"):
        sys.path.insert(0, os.path.dirname(source))
        spec = importlib.util.spec_from_file_location("validated", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(source)
    return getattr(module, name)


def takes(method, count):
    """Does the method take that many arguments, as far as its signature tells?"""
    try:
        inspect.signature(method).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True
    return True

{checks}


def sequence():
    a = Checked()
{steps}

'''
PYTEST_INSIDE = '''
def test_{name}():
    """{statement}"""
    sequence()
'''
PYTEST_OUTSIDE = '''
def test_{name}():
    """{statement}"""
    command = [sys.executable, __file__]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5)
    assert run.returncode == 0, f"ended with {{run.returncode}}: {{run.stderr[-500:]}}"
    assert run.stdout.count("the sequence is over") == 1


if __name__ == "__main__":
    guard = os.dup(2)
    sequence()
    os.fstat(guard)
    print("the sequence is over", flush=True)
'''

def reproducer(interface: Interface, target: str, search: Search, failure: Failure) -> tuple[str, str]:
    """File name and text of the program that shows the failure."""
    contract, broken = interface.contract, failure.judgement.broken
    assert broken is not None
    name = identifier(broken.clause)
    if search.child.setup["kind"] == "library":
        return f"reproduce_{name}.c", c_text(contract, search, failure)
    if search.child.setup["kind"] == "command":
        return f"reproduce_{name}.py", command_text(contract, target, search, failure)
    return f"test_reproduce_{name}.py", pytest_text(interface, target, search, failure, broken)


def identifier(name: str) -> str:
    """A clause's name as part of a Python name."""
    return name.replace("-", "_")


def pytest_text(interface: Interface, target: str, search: Search, failure: Failure, broken: Broken) -> str:
    """A pytest file; when the process itself ends, the sequence runs in a process of its own."""
    contract, sequence = interface.contract, failure.sequence
    source, _, name = target.rpartition(":")
    names = block_names(contract, sequence)
    steps = [f"    {pytest_step(contract, sequence, index, names, failure.scope)}" for index in range(len(sequence))]
    last = sequence[-1] if sequence else None
    if last is not None and broken.clause in REFUSALS and contract.makes_block(last.kind):
        steps.append(f"    assert {names[len(sequence) - 1]} is not None, 'the request is refused'")
    if broken.wanted is not None:
        steps.append(f"    assert {names[len(sequence) - 1]} == {broken.wanted}, 'another block was due'")
    statement = contract.clause(broken.clause).statement
    form = PYTEST_INSIDE if broken.kind == "clause" else PYTEST_OUTSIDE
    head = PYTEST_HEAD.format(
        title=f"The {contract.name} contract, clause {broken.clause}: {statement}.",
        message=quoted(broken.message),
        target=f"{absolute(source)}:{name}",
        scope=dict(failure.scope),
        declared=dict(search.child.declared),
        checks=interface.python_checks.strip("\n"),
        steps="\n".join(steps) or "    assert a",
    )
    return head + form.format(name=identifier(broken.clause), statement=statement)


def pytest_step(
    contract: Contract, sequence: Sequence, index: int, names: Mapping[int, str], scope: Mapping[str, int]
) -> str:
    """One call as Python."""
    operation = sequence[index]
    if contract.operations[operation.kind].misuse:
        made = Operation(contract.block_maker) if operation.block is None else sequence[operation.block]
        numbers = made.arguments or (0,) * len(contract.operations[made.kind].numbers)
        place = None if not operation.arguments else foreign_place(operation.arguments[0], scope)
        what = str(place) if operation.block is None else names[operation.block]
        return f"a.misuse({', '.join([repr(operation.kind), what, *map(str, numbers)])})"
    block = [] if operation.block is None else [names[operation.block]]
    call = f"a.{operation.kind}({', '.join([*block, *map(str, operation.arguments)])})"
    return f"{names[index]} = {call}" if index in names else call


COMMAND_TEXT = '''"""{title}

Found by kmemspec validate: {message}

Run it: exit status 1 while the program answers as it did when this was found, 0 when it does not any more.
"""

import json
import subprocess
import sys

COMMAND = {command!r}
LINES = [
{lines}
]
"""Requests, and what came then: an answer, or None where the program ended, hung or said no answer."""
AT_THE_END, WANTED, NULL = {ended!r}, {wanted!r}, type(None)
"""Did it go wrong when the input ended? What the last answer must have."""


def main():
    program = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    requests = "".join(json.dumps(request) + "\\n" for request, _ in LINES)
    try:
        said, _ = program.communicate(requests, timeout=5)
    except subprocess.TimeoutExpired:
        program.kill()
        said = ""
    answers = said.split("\\n")
    for number, (request, before) in enumerate(LINES):
        try:
            answer = json.loads(answers[number])
        except (IndexError, ValueError):
            answer = None
        print(json.dumps(request), "->", json.dumps(answer), "(when found:", json.dumps(before) + ")")
    if AT_THE_END:
        return int(program.returncode != 0 or len(answers) != len(LINES) + 1)
    if before is None:
        return int(not isinstance(answer, dict) or not (WANTED is None or type(answer.get(WANTED, "")) in (int, NULL)))
    return int(answer == before or not isinstance(answer, dict) or answer.get(WANTED) == before.get(WANTED))


if __name__ == "__main__":
    sys.exit(main())
'''


def command_text(contract: Contract, target: str, search: Search, failure: Failure) -> str:
    """A script that plays the requests again and compares the last answer."""
    broken, values = failure.judgement.broken, failure.judgement.values
    assert broken is not None
    declared = search.child.declared
    lines: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
        (init_request(contract, failure.scope, declared), {} if failure.judgement.failed_at >= 0 else None)
    ]
    blocks = Blocks(contract, failure.scope, lambda which: foreign_place(which, failure.scope))
    for index, operation in enumerate(failure.sequence):
        call, block = contract.operations[operation.kind], operation.block
        numbers = dict(zip(call.numbers, operation.arguments, strict=True))
        held = blocks.live.get(-1 if block is None else block)
        if call.misuse:
            held = blocks.misused(block, list(operation.arguments))
        elif call.result == "nothing" and block is not None and held is not None:
            blocks.release(block)
        name = index if call.result == "block" else block
        lines.append((request_of(contract, operation.kind, numbers, name, held), answer_of(call, values, index)))
        if call.result in ("block", "moved") and values.get(index) is not None:
            blocks.live[index if block is None else block] = Held(values[index], values[index], numbers)
    return COMMAND_TEXT.format(
        title=f"The {contract.name} contract, clause {broken.clause}: {contract.clause(broken.clause).statement}.",
        message=quoted(broken.message),
        command=command_of(target),
        lines="\n".join(f"    {line!r}," for line in lines),
        ended=failure.judgement.failed_at >= len(failure.sequence),
        wanted=wanted_key(contract, failure),
    )


def wanted_key(contract: Contract, failure: Failure) -> str | None:
    """What the last answer must have."""
    if not failure.sequence:
        return None
    last = contract.operations[failure.sequence[-1].kind]
    if last.misuse:
        return "rejected"
    return {"block": "at", "moved": "at", "nothing": None}.get(last.result, "value")


def answer_of(call: Call, values: Mapping[int, Any], index: int) -> dict[str, Any] | None:
    """What a program answered, as far as it is known."""
    if index not in values:
        return None
    if call.misuse:
        return {"rejected": True} if values[index] else {}
    return {"at" if call.result in ("block", "moved") else "value": values[index]}
