"""Bugs of the catalogue's section D in three small C implementations: every one is found, none in the correct ones.

What each bug is stands in the comment at the head of its twin.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, Validation, validate

TWINS = Path(__file__).parent / "twins"
COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
CONTRACT = {"buddy": "page-allocator", "buddy_heap": "heap", "slab": "object-cache", "lru": "lru"}
ESTIMATES = {
    1: 4, 2: 2, 3: 1, 4: 3, 5: 4, 6: 2, 7: 3, 8: 2, 10: 2, 11: 1,
    12: 1, 13: 2, 15: 1, 16: 2, 17: 3, 19: 4, 22: 2, 23: 3, 24: 3, 27: 0,
}  # fmt: skip
"""Calls that show Dn to a client, as the catalogue estimates them (the end of a range)."""
LONGER = {27: "the damage is done at init, and a driver looks for it after a call"}
"""Why one needs a call more than that."""
BUGS = {
    ("buddy", 1): 4,
    ("buddy", 2): 2,
    ("buddy", 3): 1,
    ("buddy", 4): 1,
    ("buddy", 5): 4,
    ("buddy", 6): 2,
    ("buddy", 7): 3,
    ("buddy", 8): 1,
    ("buddy", 13): 2,
    ("buddy", 19): 2,
    ("buddy_heap", 11): 1,
    ("buddy_heap", 12): 1,
    ("slab", 10): 1,
    ("slab", 15): 1,
    ("slab", 16): 2,
    ("slab", 17): 3,
    ("slab", 27): 1,
    ("lru", 22): 2,
    ("lru", 122): 1,
    ("lru", 23): 2,
    ("lru", 24): 3,
}
"""The twin and the bug: n for Dn, 100 + n for a second form of it. The calls of the minimal sequence, exactly."""
QUICK = {("buddy", 1), ("buddy_heap", 11), ("slab", 15), ("lru", 22)}
SECONDS = 30
CORRECT_MINUTES = 0.4


def build(directory: Path, twin: str, bug: int) -> str:
    """Compile the twin with one bug (0: none) beside its description; the path of that."""
    source = twin.partition("_")[0]
    command = [str(COMPILER), "-O1", "-w", f"-DBUG={bug}", "-shared", "-fPIC", str(TWINS / f"{source}.c")]
    subprocess.run([*command, "-o", str(directory / f"{source}.so")], check=True)
    return shutil.copy(TWINS / f"{twin}.toml", directory)


def run(directory: Path, twin: str, bug: int, options: ValidateOptions) -> Validation:
    """Validate one twin."""
    return validate(CONTRACT[twin], build(directory, twin, bug), options)


@pytest.mark.parametrize(
    ("twin", "bug"), [key if key in QUICK else pytest.param(*key, marks=pytest.mark.slow) for key in BUGS]
)
def test_a_bug_is_found_with_a_short_sequence_and_a_reproducer(twin: str, bug: int, tmp_path: Path) -> None:
    options = ValidateOptions(examples=500, seconds=SECONDS, example_seconds=1.0, max_findings=1)
    validation = run(tmp_path, twin, bug, options)
    assert validation.outcome is Outcome.VIOLATED
    finding = validation.findings[0]
    assert finding.deterministic
    assert len(finding.sequence) == BUGS[twin, bug]
    assert finding.shortest, "every shorter sequence was tried"
    source, program = tmp_path / finding.reproducer_name, tmp_path / "reproducer"
    source.write_text(finding.reproducer)
    subprocess.run([str(COMPILER), "-Wall", "-Werror", str(source), "-o", str(program), "-ldl"], check=True)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 1
    build(tmp_path, twin, 0)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 0, "the correct twin passes"


def test_no_bug_needs_more_calls_than_the_catalogue_estimates() -> None:
    assert {bug % 100 for _, bug in BUGS} == set(ESTIMATES)
    assert len(ESTIMATES) == 20
    for (_, bug), calls in BUGS.items():
        assert calls <= ESTIMATES[bug % 100] + (bug in LONGER)


@pytest.mark.slow
def test_a_finding_is_cut_to_calls_that_no_sequence_had(tmp_path: Path) -> None:
    # Leaving out calls of what fails first ends at 10; of five calls, none of the 1,458 sequences shows it.
    options = ValidateOptions(examples=500, seconds=SECONDS, max_findings=1, pages=8, orders=3)
    finding = run(tmp_path, "buddy", 119, options).findings[0]
    assert (finding.clause, len(finding.sequence)) == ("disjoint", 6)


@pytest.mark.parametrize("twin", CONTRACT)
def test_nothing_is_found_in_a_correct_twin(twin: str, tmp_path: Path) -> None:
    validation = run(tmp_path, twin, 0, ValidateOptions(examples=20, seconds=1.5, example_seconds=10))
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS


@pytest.mark.slow
@pytest.mark.parametrize("twin", CONTRACT)
def test_nothing_is_found_in_a_correct_twin_in_minutes(twin: str, tmp_path: Path) -> None:
    seconds = CORRECT_MINUTES * 60 / len(CONTRACT)
    options = ValidateOptions(examples=1_000_000, seconds=seconds, example_seconds=10, seed=1)
    assert run(tmp_path, twin, 0, options).findings == ()
