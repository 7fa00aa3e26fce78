"""The object-cache contract: correct caches hold and their graph is walked; each broken one is its finding."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate

SLABS = Path(__file__).parent / "adapters" / "slabs.py"
POOL = """
contract = "object-cache"
library = "./pool.so"
init = "pool_init(context, arena, bytes)"
context = 64
[calls]
alloc = "pool_alloc(context)"
free = "pool_free(context, block)"
[arena]
sizes = [256, 24]
phases = [0, 8]
[declares]
size = 24
alignment = 8
"""
COMPILER = shutil.which("cc") or shutil.which("gcc")
QUICK = ValidateOptions(examples=20, seconds=60, example_seconds=4)
FIRST = ValidateOptions(examples=50, seconds=60, example_seconds=4, max_findings=1, scope={"slabs": 2, "slots": 2})
BROKEN = {
    "GivenTwice": ("disjoint", 6),
    "OutOfSlab": ("in-slab", 5),
    "OneTooFew": ("available", 4),
    "LeaksSlabs": ("exhaustion", 7),
    "ShrinkLies": ("shrink", 3),
    "KeepsTwo": ("statistics", 8),
    "Misaligned": ("aligned", 1),
}
"""Clause, and length of the sequence at most."""


@pytest.mark.parametrize("name", ["SlabCache", "Plain"])
def test_a_correct_cache_holds_and_its_graph_is_walked(name: str) -> None:
    validation = validate("object-cache", f"{SLABS}:{name}", QUICK)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert "all systematic" in validation.bound
    assert validation.coverage["exhaustion reached again"] > 0
    assert any(note.startswith("walks over the graph of contract-slab at frames=2") for note in validation.notes)


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow if number >= 2 else ()) for number, one in enumerate(BROKEN)],
)
def test_each_broken_cache_is_its_finding_and_the_reproducer_fails(name: str, tmp_path: Path) -> None:
    clause, length = BROKEN[name]
    finding = validate("object-cache", f"{SLABS}:{name}", FIRST).findings[0]
    assert (finding.clause, finding.kind) == (clause, "clause"), finding.message
    assert len(finding.sequence) <= length
    assert finding.deterministic
    if name == "Misaligned":
        return  # the declaration is what is wrong with it
    right = finding.reproducer.replace(f"slabs.py:{name}", "slabs.py:SlabCache")
    for text, passes in ((finding.reproducer, False), (right, True)):
        source = tmp_path / finding.reproducer_name
        source.write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(source)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert (run.returncode == 0) is passes, run.stdout


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    ("bug", "clauses"),
    [
        ("", set()),
        ("OVERRUN", {"in-bounds"}),
        ("SCRIBBLES", {"contents", "in-bounds"}),
        ("LEAKS", {"exhaustion"}),
    ],
)
def test_a_pool_in_c_by_its_description(bug: str, clauses: set[str], tmp_path: Path) -> None:
    command = [str(COMPILER), "-O1", "-shared", "-fPIC", f"-DBUG_{bug}", str(SLABS.parent / "pool.c")]
    subprocess.run([*command, "-o", str(tmp_path / "pool.so")], check=True)
    (tmp_path / "pool.toml").write_text(POOL)
    options = ValidateOptions(examples=20, seconds=60, example_seconds=4, max_findings=1)
    validation = validate("object-cache", str(tmp_path / "pool.toml"), options)
    assert {finding.clause for finding in validation.findings} <= clauses
    assert bool(validation.findings) is bool(clauses)
    if not bug:
        assert any(note.startswith("a new cache holds 10 objects") for note in validation.notes)
        assert validation.coverage["exhaustion reached again"] > 0


def test_bad_input_is_one_line() -> None:
    for options in (ValidateOptions(scope={"pages": 1}), ValidateOptions(scope={"slabs": 0})):
        with pytest.raises(InputError) as caught:
            validate("object-cache", f"{SLABS}:SlabCache", options)
        assert caught.value.remedy
