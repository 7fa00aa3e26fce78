"""Programs that speak JSON lines: the examples hold, every way to misbehave is its finding, the checker survives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import Finding, ValidateOptions, validate

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "adapters"
COMPILER = shutil.which("cc") or shutil.which("gcc")
QUICK = ValidateOptions(examples=20, seconds=4, example_seconds=4, pages=5, orders=3, max_findings=1)
HOSTILE = {
    "segfaults": ("crash", "survives", "SIGSEGV"),
    "exits": ("exit", "survives", "status 0"),
    "exits with 3": ("exit", "survives", "status 3"),
    "sleeps": ("hang", "survives", "time limit"),
    "closes stdout": ("closed", "survives", "output closed"),
    "garbage": ("rubbish", "answers", "hello"),
    "megabytes": ("rubbish", "answers", "no JSON"),
    "nests": ("rubbish", "answers", "no JSON"),
    "forks": ("fork", "survives", ""),
    "escapes": ("fork", "survives", ""),
    "eats memory": ("exit", "survives", "status 1"),
    "talks on": ("rubbish", "answers", "more than was asked"),
    "no place": ("rubbish", "answers", "without 'at'"),
    "a text": ("rubbish", "answers", "0x10"),
    "an error": ("exception", "answers", "error"),
    "ends at once": ("exit", "survives", "status 7"),
    "fails at the end": ("exit", "survives", "status 23"),
    "stays": ("hang", "survives", "time limit"),
    "misaligned": ("clause", "aligned", ""),
    "twice": ("clause", "disjoint", ""),
}
"""Kind, clause, a part of the detail."""
NOT_SEEN_OUTSIDE = {"forks", "escapes", "eats memory", "megabytes"}
"""What they break shows in the checker's own arrangement: its process group, its limits."""


def hostile(name: str) -> str:
    """The target with that thing wrong."""
    return f'command:{sys.executable} -S {HERE / "adapters" / "hostile_lines.py"} "{name}"'


@pytest.mark.parametrize("name", ["buddy_lines.py", "buddy_lines.c"])
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= 40


def test_the_python_example_holds() -> None:
    validation = validate("page-allocator", f"command:{sys.executable} -S {EXAMPLES / 'buddy_lines.py'}", QUICK)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert validation.operations > 0


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_the_c_example_holds(tmp_path: Path) -> None:
    program = tmp_path / "buddy_lines"
    command = [str(COMPILER), "-Wall", "-Werror", str(EXAMPLES / "buddy_lines.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    options = ValidateOptions(examples=30, seconds=5, example_seconds=4)
    validation = validate("page-allocator", f"command:{program}", options)
    assert validation.findings == ()
    assert validation.coverage["exhaustion reached"] > 0


def run_reproducer(finding: Finding, directory: Path) -> int:
    """The exit status of a command's reproducer."""
    script = directory / finding.reproducer_name
    script.write_text(finding.reproducer)
    return subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60).returncode


PROMPT = ("segfaults", "garbage")
"""Those that are tried in every run of the tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in PROMPT else pytest.mark.slow) for name in HOSTILE]
)
def test_a_hostile_program_is_its_finding(name: str, tmp_path: Path) -> None:
    kind, clause, detail = HOSTILE[name]
    seconds = 0.7 if kind == "hang" else 4.0
    options = ValidateOptions(
        examples=20, seconds=20, example_seconds=seconds, pages=4, orders=2, max_findings=1, memory=512 << 20
    )
    validation = validate("page-allocator", hostile(name), options)
    assert validation.outcome is Outcome.VIOLATED
    finding = validation.findings[0]
    assert (finding.kind, finding.clause) == (kind, clause)
    assert detail in finding.detail
    assert finding.deterministic
    assert len(finding.sequence) <= 3
    if name not in NOT_SEEN_OUTSIDE:
        assert run_reproducer(finding, tmp_path) == 1, finding.reproducer


@pytest.mark.slow
def test_the_program_without_a_fault_holds_and_one_may_decline() -> None:
    assert validate("page-allocator", hostile("none"), QUICK).findings == ()
    declined = validate("page-allocator", hostile("declines"), QUICK)
    assert declined.outcome is Outcome.UNKNOWN
    assert any("only whole numbers" in note for note in declined.notes)


@pytest.mark.parametrize("target", ["command:", "command:./nothing/of/this/name", 'command:"open'])
def test_a_command_that_cannot_be_run(target: str) -> None:
    with pytest.raises(InputError) as caught:
        validate("page-allocator", target, QUICK)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
