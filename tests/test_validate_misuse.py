"""Double free, foreign pointers, free of NULL: tried where it is declared what comes of them, and held to that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.specs.contracts import CONTRACTS, Finding, ValidateOptions, Validation, validate

ADAPTERS = Path(__file__).parent / "adapters"
QUICK = ValidateOptions(examples=8, seconds=2, example_seconds=4, max_findings=1, pages=4, orders=3)
PAGES, OBJECTS, HEAP = "page-allocator", "object-cache", "heap"
CORRECT = {"Careful": PAGES, "Forgiving": PAGES, "CarefulObjects": OBJECTS, "CarefulBytes": HEAP}
BROKEN = {
    "AcceptsDouble": (PAGES, {"misuse"}, 3, "double_free is accepted", "Careful"),
    "AcceptsForeign": (PAGES, {"misuse"}, 1, "foreign_free is accepted", "Careful"),
    "AcceptsNull": (PAGES, {"misuse"}, 1, "free_null is accepted", "Careful"),
    "SaysIgnored": (PAGES, {"misuse"}, 3, "is rejected, although it is declared to be ignored", "Forgiving"),
    "Mangles": (PAGES, {"exact-success", "disjoint", "capacity"}, 6, "", "Forgiving"),
    "TwiceFreeObjects": (OBJECTS, {"misuse"}, 3, "double_free is accepted", "CarefulObjects"),
    "TwiceFreeBytes": (HEAP, {"misuse"}, 3, "double_free is accepted", "CarefulBytes"),
}
"""Contract, clauses, calls of the sequence at most, a part of the message, what it is when it is mended."""


def run(name: str, contract: str, options: ValidateOptions = QUICK) -> Validation:
    """Validate one class."""
    return validate(contract, f"{ADAPTERS / 'misused.py'}:{name}", options)


PROMPT = ("Careful", "AcceptsDouble", "TwiceFreeObjects")
"""Those that are tried in every run of the tests."""


def some(names: Iterable[str]) -> list[Any]:
    """The names; most are slow."""
    return [pytest.param(name, marks=() if name in PROMPT else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some(CORRECT))
def test_who_does_what_he_declares_holds(name: str) -> None:
    validation = run(name, CORRECT[name])
    assert validation.findings == ()
    assert validation.coverage["misuses"] > 20


@cache
def finding_in(name: str) -> Finding:
    """What is found in a broken one."""
    [finding] = run(name, BROKEN[name][0]).findings
    return finding


@pytest.mark.parametrize("name", some(BROKEN))
def test_who_does_not_is_found(name: str) -> None:
    _, clauses, length, message, _ = BROKEN[name]
    finding = finding_in(name)
    assert finding.clause in clauses
    assert message in finding.message
    assert len(finding.sequence) <= length


@pytest.mark.parametrize(
    "names",
    [tuple(set(PROMPT) & set(BROKEN)), pytest.param(tuple(BROKEN), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_the_reproducers_fail_and_pass_once_the_bug_is_mended(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        text = finding_in(name).reproducer
        (tmp_path / f"test_{name}.py").write_text(text)
        right = text.replace(f"misused.py:{name}", f"misused.py:{BROKEN[name][-1]}")
        (tmp_path / f"test_right_{name}.py").write_text(right)
    options = ["-q", "-rfp", "--tb=short", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert [name for name in names if f"FAILED test_{name}.py" not in done.stdout] == [], done.stdout
    assert [name for name in names if f"PASSED test_right_{name}.py" not in done.stdout] == [], done.stdout


def test_nothing_is_misused_that_was_not_declared() -> None:
    options = ValidateOptions(examples=5, seconds=1, pages=2, orders=2)
    validation = validate(PAGES, f"{ADAPTERS / 'buddy.py'}:Buddy", options)
    assert "misuses" not in validation.coverage
    assert validation.findings == ()


def test_every_contract_that_hands_out_blocks_knows_the_same_misuses() -> None:
    kinds = {name: {kind for kind, call in one.operations.items() if call.misuse} for name, one in CONTRACTS.items()}
    assert kinds["lru"] == set()
    assert {frozenset(found) for name, found in kinds.items() if name != "lru"} == {
        frozenset({"free_null", "double_free", "foreign_free"})
    }


# --- a program that speaks JSON lines


def lines(name: str, **changes: object) -> Validation:
    """Validate the program with that thing wrong."""
    options = ValidateOptions(examples=2, seconds=2, pages=4, orders=2, max_findings=1, **changes)  # type: ignore[arg-type]
    return validate(PAGES, f'command:{sys.executable} -S {ADAPTERS / "hostile_lines.py"} "{name}"', options)


def run_again(finding: Finding, name: str, directory: Path) -> int:
    """The status of the reproducer, with the program as it is or mended."""
    script = directory / "again.py"
    script.write_text(finding.reproducer.replace("'accepts twice'", f"'{name}'"))
    return subprocess.run([sys.executable, str(script)], capture_output=True, timeout=60).returncode


def test_a_program_declares_in_its_first_answer_and_is_held_to_it(tmp_path: Path) -> None:
    careful = lines("careful")
    assert careful.findings == ()
    assert careful.coverage["misuses"] > 5
    [finding] = lines("accepts twice").findings
    assert (finding.clause, len(finding.sequence)) == ("misuse", 3)
    assert [run_again(finding, name, tmp_path) for name in ("accepts twice", "careful")] == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("accepts NULL", "free_null"), ("accepts any", "foreign_free")])
def test_a_program_that_accepts_what_it_says_to_reject_is_found(name: str, kind: str) -> None:
    [finding] = lines(name).findings
    assert (finding.clause, len(finding.sequence)) == ("misuse", 1)
    assert finding.message.startswith(kind)


@pytest.mark.slow
def test_what_a_program_declares_is_overridden_and_nonsense_is_one_line() -> None:
    undefined = dict.fromkeys(("free_null", "double_free", "foreign_free"), "undefined")
    assert lines("accepts twice", declare=undefined).findings == ()
    for name, message in (("promises", "double_free must be one of"), ("promises badly", "declares no object")):
        with pytest.raises(InputError, match=message) as caught:
            lines(name)
        assert caught.value.remedy
        assert "\n" not in str(caught.value)
