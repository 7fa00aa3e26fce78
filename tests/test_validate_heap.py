"""The heap contract: real allocators hold or their real deviation is found; a small heap in C, with one bug each."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import CONTRACTS, Finding, ValidateOptions, Validation, validate

HERE = Path(__file__).parent
QUICK = ValidateOptions(examples=15, seconds=60, example_seconds=4)
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
BUGS = {
    "WRAPS": {"oversize-fails", "usable", "disjoint", "contents"},
    "SHORT": {"contents", "disjoint", "usable"},
    "MISALIGNED": {"aligned"},
    "SCRIBBLES": {"contents", "survives", "disjoint", "realloc-prefix"},
    "NEVER_MERGES": {"capacity"},
    "CALLOC_OVERFLOW": {"calloc-overflow"},
    "NOT_ZEROED": {"calloc-zeroed"},
    "REALLOC_FREES_FIRST": {"failure-harmless"},
    "REALLOC_PREFIX": {"realloc-prefix"},
    "CRASHES": {"survives"},
    "ABORTS": {"survives"},
    "EXITS": {"survives"},
    "HANGS": {"survives"},
}
SLOW = {"WRAPS", "SHORT", "SCRIBBLES", "NOT_ZEROED", "ABORTS", "HANGS", "REALLOC_PREFIX"}
ENDINGS = {
    "CRASHES": ("crash", "SIGSEGV"),
    "ABORTS": ("crash", "SIGABRT"),
    "EXITS": ("exit", "status 0"),
    "HANGS": ("hang", "time limit"),
}


def installed(library: str) -> None:
    """Skip, by name, when a library is not there."""
    script = f"import ctypes; ctypes.CDLL({library!r})"
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536"}
    if subprocess.run(["python3", "-c", script], env=environment, capture_output=True).returncode:
        pytest.skip(f"{library} is not installed")


def build(directory: Path, *flags: str, prefix: str = "") -> str:
    """Compile the small heap; the path of the library."""
    library = directory / "heap.so"
    names = f"-DPREFIX(x)={prefix}##x" if prefix else "-DPREFIX(x)=x"
    command = [str(COMPILER), "-O1", "-w", "-shared", "-fPIC", "-fno-builtin", names, *flags]
    subprocess.run([*command, str(HERE / "adapters" / "heap.c"), "-o", str(library)], check=True)
    return str(library)


def run_reproducer(finding: Finding, directory: Path) -> subprocess.CompletedProcess[str]:
    """Compile and run the C reproducer of a finding."""
    source = directory / finding.reproducer_name
    source.write_text(finding.reproducer)
    program = directory / "reproducer"
    subprocess.run([str(COMPILER), "-Wall", "-Werror", str(source), "-o", str(program), "-ldl"], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=30)


def only(validation: Validation) -> Finding:
    """The first finding, with what every finding must have."""
    assert validation.outcome is Outcome.VIOLATED
    finding = validation.findings[0]
    assert finding.deterministic
    assert finding.message
    assert finding.statement
    return finding


def test_the_c_library_holds() -> None:
    validation = validate("heap", "libc.so.6", QUICK)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    situations = ("exhaustion reached", "refilled after freeing all", "realloc moved")
    usual = [name for name, call in CONTRACTS["heap"].operations.items() if not call.misuse]
    assert all(validation.coverage[name] > 0 for name in (*usual, *situations))
    assert "all systematic" in validation.bound


def test_jemalloc_holds() -> None:
    installed("libjemalloc.so.2")
    assert validate("heap", "libjemalloc.so.2", QUICK).findings == ()


def test_mimalloc_holds_but_for_the_alignment_bug_of_its_2_0_9() -> None:
    """mimalloc 2.0.9, which Debian 12 ships, gives misaligned blocks for aligned_alloc(256, 256): its issue #700."""
    installed("libmimalloc.so.2")
    options = ValidateOptions(examples=15, seconds=60, example_seconds=4, prefix="mi_", skip=("aligned_alloc",))
    assert validate("heap", "libmimalloc.so.2", options).findings == ()
    for finding in validate("heap", "libmimalloc.so.2", QUICK).findings:
        assert finding.clause == "aligned"
        assert len(finding.sequence) == 1
        assert finding.sequence[0].call.startswith("b1 = aligned_alloc(")


@pytest.mark.slow
@needs_compiler
def test_a_small_correct_heap_holds_with_and_without_a_prefix(tmp_path: Path) -> None:
    library = build(tmp_path)
    assert validate("heap", library, QUICK).findings == ()
    library = build(tmp_path, prefix="my_")
    options = ValidateOptions(examples=10, seconds=60, example_seconds=4, prefix="my_")
    assert validate("heap", library, options).findings == ()
    with pytest.raises(InputError, match="does not export malloc"):
        validate("heap", library, QUICK)


@needs_compiler
@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=pytest.mark.slow) if bug in SLOW else bug for bug in BUGS]
)
def test_a_bug_in_c_is_found_and_its_reproducer_fails(bug: str, tmp_path: Path) -> None:
    library = build(tmp_path, f"-DBUG_{bug}")
    seconds = 0.5 if bug == "HANGS" else 4.0
    options = ValidateOptions(examples=50, seconds=60, example_seconds=seconds, max_findings=1)
    finding = only(validate("heap", library, options))
    assert finding.clause in BUGS[bug]
    assert len(finding.sequence) <= 5
    kind, detail = ENDINGS.get(bug, (finding.kind, finding.detail))
    assert (finding.kind, finding.detail) == (kind, detail)
    run = run_reproducer(finding, tmp_path)
    assert run.returncode == 1, finding.reproducer
    assert "broken: " in run.stderr
    build(tmp_path)
    assert run_reproducer(finding, tmp_path).returncode == 0, "the correct heap must pass the reproducer"


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("libnothing.so.9", QUICK, "libnothing.so.9"),
        (str(HERE / "test_validate_heap.py"), QUICK, "invalid ELF header"),
        ("libc.so.6", ValidateOptions(prefix="mi_"), "does not export mi_malloc"),
        ("libc.so.6", ValidateOptions(prefix="a; int"), "is no symbol prefix"),
        ("libc.so.6", ValidateOptions(declare={"alignment": 12}), "no power of two"),
        ("libc.so.6", ValidateOptions(skip=("alloc",)), "alloc is no operation"),
        ("libc.so.6", ValidateOptions(memory=1000), "memory limit"),
        ("my_file.py:MyHeap", QUICK, "there is no file my_file.py"),
    ],
)
def test_bad_input_is_one_line(target: str, options: ValidateOptions, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate("heap", target, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


HOSTILE = {
    "SEGFAULTS": ("crash", "survives", "SIGSEGV"),
    "FORKS": ("fork", "survives", ""),
    "RETURNS_TWICE": ("fork", "survives", ""),
    "SLEEPS": ("hang", "survives", "time limit"),
    "STOPS": ("hang", "survives", "time limit"),
    "CLOSES": ("closed", "survives", "descriptors closed"),
    "GARBAGE": ("rubbish", "answers", "pipe"),
    "EXITS": ("exit", "survives", "status 0"),
    "EATS": ("crash", "survives", "SIGABRT"),
    "TWICE": ("clause", "disjoint", ""),
    "ALIGNMENT": ("clause", "aligned", ""),
    "WRITES": ("clause", "contents", ""),
    "NOTHING": None,
}
PROMPT = {"GARBAGE", "RETURNS_TWICE"}


@needs_compiler
@pytest.mark.parametrize(
    "wrong", [wrong if wrong in PROMPT else pytest.param(wrong, marks=pytest.mark.slow) for wrong in HOSTILE]
)
def test_a_hostile_library_is_its_finding(wrong: str, tmp_path: Path) -> None:
    library = str(tmp_path / "hostile.so")
    command = [str(COMPILER), "-O1", "-w", "-shared", "-fPIC", "-fno-builtin", f"-DWRONG_{wrong}"]
    subprocess.run([*command, str(HERE / "adapters" / "hostile.c"), "-o", library], check=True)
    expected = HOSTILE[wrong]
    seconds = 0.6 if expected and expected[0] == "hang" else 4.0
    options = ValidateOptions(examples=20, seconds=30, example_seconds=seconds, prefix="bad_", max_findings=1)
    validation = validate("heap", library, options)
    if expected is None:
        assert validation.findings == ()
        return
    finding = only(validation)
    assert (finding.kind, finding.clause) == expected[:2]
    assert expected[2] in finding.detail
    assert len(finding.sequence) <= (100 if wrong == "SEGFAULTS" else 3)
