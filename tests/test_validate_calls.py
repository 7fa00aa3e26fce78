"""C calls of other forms: variables that have a value before and another after, and a failure value for each call."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.specs.contracts import Finding, ValidateOptions, validate

SOURCE = Path(__file__).parent / "adapters" / "calls.c"
COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
QUICK = ValidateOptions(examples=5, seconds=2, example_seconds=4, max_findings=1)
HEAP = """
library = "./calls.so"
prefix = "calls_"
[calls]
malloc = "take(&block, &size, &7)"
free = "int give(&block)"
[failures]
malloc = "status"
[declares]
zero_size = "null"
double_free = "rejected"
free_null = "rejected"
"""
LRU = """
library = "./calls.so"
prefix = "calls_"
failure = "-1"
init = "void cache(capacity)"
[calls]
get = "get(key)"
put = "put(key, value)"
delete = "int delete(key)"
[failures]
get = "-2000000"
[declares]
most_capacity = 8
"""


REGIONS = """
library = "./regions.so"
prefix = "regions_"
init = "void init(arena, bytes)"
add = "void add(arena, bytes)"
[calls]
malloc = "alloc(size)"
free = "free(block)"
[arena]
sizes = [1536, 2000]
regions = 3
[declares]
alignment = 16
small_alignment = 16
zero_size = "null"
"""


def build(contract: str, text: str, directory: Path, bug: str = "") -> str:
    """Compile the library with that bug; the path of the description."""
    source = SOURCE.with_name("regions.c") if "regions.so" in text else SOURCE
    library = directory / source.with_suffix(".so").name
    command = [str(COMPILER), "-O1", "-shared", "-fPIC", f"-DBUG_{bug}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return describe(contract, text, directory)


def describe(contract: str, text: str, directory: Path) -> str:
    """The path of the description."""
    (directory / f"{contract}.toml").write_text(text)
    return str(directory / f"{contract}.toml")


def status_of_reproducer(finding: Finding, directory: Path) -> int:
    """Compile it and run it."""
    source, program = directory / "reproducer.c", directory / "reproducer"
    source.write_text(finding.reproducer)
    subprocess.run([str(COMPILER), "-Wall", "-Werror", str(source), "-o", str(program), "-ldl"], check=True)
    return subprocess.run([str(program)], capture_output=True, timeout=60).returncode


@pytest.mark.parametrize(("contract", "text"), [("heap", HEAP), ("lru", LRU), ("heap", REGIONS)])
def test_correct_calls_hold(contract: str, text: str, tmp_path: Path) -> None:
    validation = validate(contract, build(contract, text, tmp_path), QUICK)
    assert validation.findings == ()
    assert validation.coverage.get("misuses", 1) > 0
    assert validation.coverage["exhaustion reached" if contract == "heap" else "misses"] > 0


@pytest.mark.parametrize(
    ("contract", "text", "bug", "clause", "message"),
    [
        ("heap", HEAP, "SHARED", "disjoint", "with a live block"),
        ("lru", LRU, "MINUS_ONE", "values", "get(0) gives -1, and "),
        ("heap", REGIONS, "JOINS", "in-bounds", "is not within a region of the arena"),
        pytest.param(
            *("heap", REGIONS, "MARKS", "in-bounds", "wrote outside the arena: the byte at offset 448"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_bug_is_found_and_shown(
    contract: str, text: str, bug: str, clause: str, message: str, tmp_path: Path
) -> None:
    [finding] = validate(contract, build(contract, text, tmp_path, bug), QUICK).findings
    assert finding.clause == clause
    assert len(finding.sequence) <= 2
    assert message in finding.message
    assert status_of_reproducer(finding, tmp_path) == 1, finding.reproducer
    build(contract, text, tmp_path)
    assert status_of_reproducer(finding, tmp_path) == 0, finding.reproducer


@pytest.mark.slow
def test_what_the_variable_has_before_matters(tmp_path: Path) -> None:
    """A seven is wanted, NULL in the block's place: with another number nothing is ever given."""
    target = build("heap", HEAP.replace("&7", "&8"), tmp_path)
    assert validate("heap", target, QUICK).findings[0].clause == "available"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("regions = 3", ""), "belong together"),
        (('add = "void add(arena, bytes)"', ""), "belong together"),
        (("sizes = [1536, 2000]", "sizes = [200]"), "arena.regions need sizes of at least 384"),
        (('zero_size = "null"', "merges = true"), "in one region only"),
        (('get = "-2000000"', 'get = "minus"'), "failures.get is neither one of NULL"),
        (('get = "-2000000"', 'gets = "-1"'), "gets is no operation"),
        (('failure = "-1"', 'failure = 1'), "failure is not a string"),
        (('"get(key)"', '"get(&value)"'), "'&value' is no role"),
    ],
)
def test_a_bad_description_is_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    text = next(text for text in (REGIONS, LRU) if change[0] in text)
    contract = "lru" if text is LRU else "heap"
    target = describe(contract, text.replace(*change), tmp_path)
    with pytest.raises(InputError) as caught:
        validate(contract, target, QUICK)
    assert message in str(caught.value)
    assert caught.value.remedy
