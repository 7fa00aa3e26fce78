"""The object-cache contract: correct caches hold and their graph is walked; each broken one is its finding."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import CONTRACTS, ValidateOptions, validate

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
SLAB_PAGES = """
library = "./slab_pages.so"
init = "void slabs_init()"
[calls]
alloc = "slabs_alloc()"
free = "int slabs_free(block)"
[declares]
size = 32
alignment = 16
slab_bytes = 128
slots = 3
double_free = "rejected"
foreign_free = "rejected"
free_null = "rejected"
"""
LAYOUTS = {
    "STRADDLES": ("in-slab", "reaches over the end of its slab", 4),
    "FOUR": ("in-slab", "one more than its slab can hold", 4),
    "STRAY": ("in-slab", "one more than all slabs can hold", 12),
    "READ_ONLY": ("usable", "SIGSEGV", 1),
    "TWICE": ("misuse", "double_free is accepted", 3),
}
"""Clause, a part of the message, calls of the sequence at most."""
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


POOLS: dict[str, set[str]] = {
    "": set(),
    "OVERRUN": {"in-bounds"},
    "SCRIBBLES": {"contents", "in-bounds"},
    "LEAKS": {"exhaustion"},
}


def test_every_clause_is_broken_by_some_cache() -> None:
    broken = {clause for clause, *_ in (*BROKEN.values(), *LAYOUTS.values())}.union(*POOLS.values())
    assert {clause.name for clause in CONTRACTS["object-cache"].clauses} == broken


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize(("bug", "clauses"), POOLS.items())
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


def slab_pages(bug: str, directory: Path) -> str:
    """Compile the slabs with that bug beside their description; the path of that."""
    command = [str(COMPILER), "-O1", "-shared", "-fPIC", f"-DBUG_{bug}", str(SLABS.parent / "slab_pages.c")]
    subprocess.run([*command, "-o", str(directory / "slab_pages.so")], check=True)
    description = directory / "slab_pages.toml"
    description.write_text(SLAB_PAGES)
    return str(description)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_declared_slabs_in_c_hold_and_are_walked(tmp_path: Path) -> None:
    options = ValidateOptions(examples=5, seconds=4, example_seconds=4)
    validation = validate("object-cache", slab_pages("", tmp_path), options)
    assert validation.findings == ()
    assert validation.coverage["peak live objects"] == 12
    assert validation.coverage["peak slabs"] == 4
    assert validation.coverage["misuses"] > 10


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    "bug",
    ["STRADDLES", "READ_ONLY", *(pytest.param(bug, marks=pytest.mark.slow) for bug in ("STRAY", "FOUR", "TWICE"))],
)
def test_who_breaks_the_declared_slabs_is_found_with_a_program_that_shows_it(bug: str, tmp_path: Path) -> None:
    clause, message, length = LAYOUTS[bug]
    options = ValidateOptions(examples=20, seconds=6, example_seconds=4, max_findings=1)
    [finding] = validate("object-cache", slab_pages(bug, tmp_path), options).findings
    assert finding.clause == clause
    assert message in finding.message
    assert len(finding.sequence) <= length
    source, program = tmp_path / "reproducer.c", tmp_path / "reproducer"
    source.write_text(finding.reproducer)
    subprocess.run([str(COMPILER), "-Wall", "-Werror", str(source), "-o", str(program), "-ldl"], check=True)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 1, finding.reproducer
    slab_pages("", tmp_path)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 0, finding.reproducer


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_function_that_returns_nothing_cannot_be_declared_to_reject(tmp_path: Path) -> None:
    path = Path(slab_pages("", tmp_path))
    for change, message in (
        (("int slabs_free", "void slabs_free"), "slabs_free returns nothing"),
        (('free = "int slabs_free(block)"', ""), "has no call for free"),
    ):
        path.write_text(SLAB_PAGES.replace(*change))
        with pytest.raises(InputError, match=message) as caught:
            validate("object-cache", str(path), QUICK)
        assert caught.value.remedy


def test_bad_input_is_one_line() -> None:
    for options in (ValidateOptions(scope={"pages": 1}), ValidateOptions(scope={"slabs": 0})):
        with pytest.raises(InputError) as caught:
            validate("object-cache", f"{SLABS}:SlabCache", options)
        assert caught.value.remedy
