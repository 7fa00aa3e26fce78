"""Heaps in arenas by a TOML description or a Python class: every clause can fail, and bad input is one line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate

ADAPTERS = Path(__file__).parent / "adapters"
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
QUICK = ValidateOptions(examples=15, seconds=20, example_seconds=4, max_findings=1)
HEAP = """
contract = "heap"
library = "./arena_heap.so"
prefix = "heap_"
context = 64
init = "void init(context, arena, end)"
[calls]
malloc = "alloc(context, size)"
free = "int free(context, block)"
[arena]
sizes = [1024, 1000]
wall = true
[declares]
alignment = 16
small_alignment = 16
zero_size = "null"
double_free = "rejected"
foreign_free = "rejected"
free_null = "ignored"
merges = true
header = 16
rounding = 16
"""
BUGS = {
    "BEHIND": ({"in-bounds", "survives"}, 2),
    "TRUSTS_ZEROS": ({"available", "survives"}, 1),
    "ACCEPTS_DOUBLE": ({"misuse"}, 3),
    "FORWARD_ONLY": ({"eager-merge", "capacity", "batch"}, 6),
}


def build(directory: Path, *flags: str) -> str:
    """Compile the heap and write its description; the path of that."""
    command = [str(COMPILER), "-O1", "-w", "-shared", "-fPIC", *flags, str(ADAPTERS / "arena_heap.c")]
    subprocess.run([*command, "-o", str(directory / "arena_heap.so")], check=True)
    description = directory / "arena_heap.toml"
    description.write_text(HEAP)
    return str(description)


@needs_compiler
@pytest.mark.slow
def test_a_heap_in_an_arena_holds(tmp_path: Path) -> None:
    validation = validate("heap", build(tmp_path), QUICK)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert validation.coverage["misuses"] > 0
    assert validation.coverage["exhaustion reached"] > 0
    assert "a new heap gives at least 1008 bytes at once, arena of 1024 bytes" in validation.notes


@needs_compiler
@pytest.mark.parametrize(
    "bug",
    [pytest.param(one, marks=pytest.mark.slow if number >= 1 else ()) for number, one in enumerate(BUGS)],
)
def test_each_clause_of_an_arena_can_fail(bug: str, tmp_path: Path) -> None:
    clauses, length = BUGS[bug]
    finding = validate("heap", build(tmp_path, f"-DBUG_{bug}"), QUICK).findings[0]
    assert finding.clause in clauses
    assert len(finding.sequence) <= length
    source, program = tmp_path / "reproducer.c", tmp_path / "reproducer"
    source.write_text(finding.reproducer)
    subprocess.run([str(COMPILER), "-Wall", "-Werror", str(source), "-o", str(program), "-ldl"], check=True)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 1, finding.reproducer
    build(tmp_path)
    assert subprocess.run([str(program)], capture_output=True, timeout=60).returncode == 0, finding.reproducer


ARENA_CLASS = """
class Bump:
    declares = {"arena": 2048, "memory": True, "alignment": 8, "small_alignment": 8, "zero_size": "undefined"}

    def __init__(self, arena):
        self.arena, self.top, self.live, self.last = arena, arena.address, 0, None

    def malloc(self, size):
        size = (size + 7) & -8
        if self.top + size > self.arena.end:
            return None
        self.last, self.top, self.live = self.top, self.top + size, self.live + 1
        return self.last

    def free(self, block):
        self.live -= 1
        if block == self.last:
            self.top, self.last = block, None
        if not self.live:
            self.top = self.arena.address


class Scribbles(Bump):
    def malloc(self, size):
        at = super().malloc(size)
        if at is not None and at - 8 >= self.arena.address:
            import ctypes
            ctypes.memset(at - 8, 0, 8)
        return at


class Outside(Bump):
    def malloc(self, size):
        import ctypes
        ctypes.memset(self.arena.end, 0, 1)
        return super().malloc(size)
"""


@pytest.mark.parametrize(
    ("name", "clause"),
    [pytest.param("Bump", None, marks=pytest.mark.slow), ("Scribbles", "contents"), ("Outside", "in-bounds")],
)
def test_a_class_over_real_memory(name: str, clause: str | None, tmp_path: Path) -> None:
    (tmp_path / "bump.py").write_text(ARENA_CLASS)
    validation = validate("heap", f"{tmp_path / 'bump.py'}:{name}", QUICK)
    assert [finding.clause for finding in validation.findings] == ([] if clause is None else [clause])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("library", "livrary"), "livrary is not known here"),
        (("[calls]", "[calls]\nmallloc = 'f(size)'"), "mallloc is no operation"),
        (("alloc(context, size)", "alloc(context, sise)"), "'sise' is no role"),
        (("alloc(context, size)", "alloc(context, size"), "is no C call"),
        (("alloc(context, size)", "allocate(context, size)"), "does not export heap_allocate"),
        (("sizes = [1024, 1000]", "sizes = [1024, -1]"), "arena.sizes is no number"),
        (("sizes = [1024, 1000]", "sizes = 5"), "is no list"),
        (("wall = true", "wall = 1"), "neither true nor false"),
        (("alignment = 16", "alignment = 12"), "no power of two"),
        (('zero_size = "null"', 'zero_size = "nul"'), "zero_size must be one of"),
        (('contract = "heap"', 'contract = "lru"'), "describes a lru"),
        (("[calls]", "[calls"), "is no TOML"),
        (("context = 64", 'context = "64"'), "context is no number"),
        (("./arena_heap.so", "./nothing.so"), "nothing.so"),
        (("context = 64", "context = 64\ncdef = 'int x'"), "declarations are refused"),
    ],
)
@needs_compiler
def test_a_bad_description_is_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = Path(build(tmp_path))
    path.write_text(HEAP.replace(*change))
    with pytest.raises(InputError) as caught:
        validate("heap", str(path), QUICK)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
