"""The documents in `documents/` are run: each `$ command` of a console block must print what stands below it.

In expected output `...` stands for any text of a line, and on a line of its own for any lines; `[1]` after the output
is the exit status where it is not 0. A command goes on in lines that begin with `> `. Commands of one document share a
directory, in which `examples` and `adapters` are those of the repository.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENTS = sorted((HERE / "documents").glob("*.md"))


@dataclass(frozen=True)
class Example:
    """A command, the line it stands in, what it should print and its exit status."""

    line: int
    command: str
    expected: list[str]
    status: int


def examples(text: str) -> Iterator[Example]:
    """The commands of a document's console blocks."""
    for block in re.finditer(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            command, expected = [lines[start]], lines[start + 1 : end]
            while expected and expected[0].startswith(">"):
                command.append(expected.pop(0))
            status = re.fullmatch(r"\[(\d+)\]", expected[-1]) if expected else None
            yield Example(
                first + start,
                "\n".join(line[2:] for line in command),
                expected[:-1] if status else expected,
                int(status[1]) if status else 0,
            )


def matches(expected: list[str], actual: list[str]) -> int | None:
    """None when the output is as expected; else the number of the first expected line that no reading satisfies."""
    reached = {0}
    for number, line in enumerate(expected):
        if line == "...":
            reached = set(range(min(reached), len(actual) + 1))
            continue
        pattern = re.compile(".*".join(map(re.escape, line.rstrip().split("..."))))
        reached = {at + 1 for at in reached if at < len(actual) and pattern.fullmatch(actual[at].rstrip())}
        if not reached:
            return number
    return None if len(actual) in reached else len(expected)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[path.stem for path in DOCUMENTS])
def test_document(document: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    program = tmp_path / "bin" / "kmemspec"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kmemspec "$@"\n')
    program.chmod(0o755)
    place = tmp_path / "work"
    place.mkdir()
    (place / "examples").symlink_to(HERE.parent / "examples")
    (place / "adapters").symlink_to(HERE / "adapters")
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    found = list(examples(document.read_text(encoding="utf-8")))
    assert found
    for example in found:
        done = subprocess.run(
            ["bash", "-c", example.command], cwd=place, env=environment, text=True, encoding="utf-8", timeout=240,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )
        wrong = matches(example.expected, done.stdout.splitlines())
        where = f"{document.name}:{example.line}: $ {example.command}"
        missing = "the end" if wrong is None else "".join(example.expected[wrong : wrong + 1]) or "the end"
        assert wrong is None, f"{where}\nexpected: {missing}\nthe output was:\n{done.stdout}"
        assert done.returncode == example.status, f"{where}\n{done.stdout}"


def test_the_runner_notices_differences() -> None:
    assert matches(["a", "...", "c"], ["a", "b", "b", "c"]) is None
    assert matches(["a", "...", "c"], ["a", "c", "d"]) == 3
    assert matches(["a ... s"], ["a 12 s"]) is None
    assert matches(["a"], ["b"]) == 0
    assert matches([], ["b"]) == 0
    assert matches(["...", "x", "...", "x"], ["x", "y", "x"]) is None
    text = "```console\n$ one\n1\n[3]\n$ two\n```\n"
    assert [(item.line, item.command, item.expected, item.status) for item in examples(text)] == [
        (2, "one", ["1"], 3), (5, "two", [], 0),
    ]
