"""The page-allocator contract on Python classes: no false alarm on correct ones, each broken one is its finding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import CONTRACTS, Finding, ValidateOptions, Validation, validate

ADAPTERS = Path(__file__).parent / "adapters"
QUICK = ValidateOptions(examples=60, seconds=60, example_seconds=4)
TINY = ValidateOptions(examples=60, seconds=60, example_seconds=4, pages=4, orders=3, max_findings=1)
BROKEN = {
    "Aborts": ("crash", "survives", "SIGABRT", 2),
    "Segfaults": ("crash", "survives", "SIGSEGV", 2),
    "Hangs": ("hang", "survives", "time limit", 4),
    "Rubbish": ("rubbish", "answers", "a str 'page'", 4),
    "Fraction": ("rubbish", "answers", "a float 1.0", 2),
    "Huge": ("rubbish", "answers", "bits", 2),
    "Negative": ("clause", "in-bounds", "", 4),
    "HostileText": ("rubbish", "answers", "a Page", 1),
    "Raises": ("exception", "answers", "KeyError", 2),
    "Misaligned": ("clause", "aligned", "", 1),
    "Overlaps": ("clause", "disjoint", "", 4),
    "NeverMerges": ("clause", "", "", 4),
    "Leaks": ("clause", "", "", 4),
    "Exits": ("exit", "survives", "status 0", 2),
    "SysExits": ("exit", "survives", "status 0", 2),
    "ClosesDescriptors": ("closed", "survives", "descriptors closed", 2),
    "Forks": ("fork", "survives", "", 3),
    "ForksAndSleeps": ("fork", "survives", "", 3),
    "KillsItsParent": ("crash", "survives", "lost", 3),
    "WritesToThePipe": ("rubbish", "answers", "pipe", 3),
    "EatsMemory": ("exception", "answers", "MemoryError", 2),
    "RaisesAtOnce": ("exception", "answers", "OSError", 1),
}
"""Kind, clause (any if empty), detail, length of the sequence at most."""
NOT_SEEN_OUTSIDE = {"KillsItsParent", "WritesToThePipe", "EatsMemory"}
"""What they break is the checker's own arrangement (its parent, its pipe, its memory limit)."""


def broken(name: str, options: ValidateOptions = QUICK) -> Validation:
    """Validate one class of the broken ones."""
    return validate("page-allocator", f"{ADAPTERS / 'broken.py'}:{name}", options)


def run_reproducer(finding: Finding, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the pytest reproducer of a finding."""
    source = directory / finding.reproducer_name
    source.write_text(finding.reproducer)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(directory), str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=directory)


@pytest.mark.slow
def test_the_example_of_the_readme_holds_at_every_default_scope() -> None:
    validation = validate("page-allocator", f"{ADAPTERS / 'buddy.py'}:Buddy", QUICK)
    assert validation.outcome is Outcome.HOLDS
    assert validation.findings == ()
    assert [note for note in validation.notes if not note.startswith("walks over the graph")] == []
    assert "pages=13,orders=4" in validation.bound
    assert validation.coverage["exhaustion reached"] > 0
    assert validation.coverage["full coalescing reached"] > 0
    assert validation.coverage["peak live blocks"] >= 64


@pytest.mark.parametrize(("pages", "orders"), [(1, 1), (5, 4), pytest.param(33, 6, marks=pytest.mark.slow)])
def test_no_false_alarm_at_odd_scopes(pages: int, orders: int) -> None:
    options = ValidateOptions(examples=30, seconds=60, example_seconds=4, pages=pages, orders=orders)
    for name in ("buddy.py:Buddy", "broken.py:FreeTakesThePage"):
        assert validate("page-allocator", str(ADAPTERS / name), options).findings == ()


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    """Every broken class validated once."""
    hasty = ValidateOptions(examples=60, seconds=60, example_seconds=0.6, pages=4, orders=3, max_findings=1)
    found: dict[str, Finding] = {}
    for name, (kind, *_) in BROKEN.items():
        validation = broken(name, hasty if kind == "hang" else TINY)
        assert validation.outcome is Outcome.VIOLATED, name
        found[name] = validation.findings[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_allocator_is_its_finding(name: str, findings: dict[str, Finding]) -> None:
    kind, clause, detail, length = BROKEN[name]
    finding = findings[name]
    assert (finding.kind, finding.clause) == (kind, clause or finding.clause)
    assert detail in finding.detail
    assert finding.deterministic
    assert len(finding.sequence) <= length
    assert finding.statement == CONTRACTS["page-allocator"].clause(finding.clause).statement
    assert "\n" not in finding.message


@pytest.mark.slow
def test_every_reproducer_fails_by_itself(findings: dict[str, Finding], tmp_path: Path) -> None:
    shown = sorted(set(BROKEN) - NOT_SEEN_OUTSIDE)
    for name in shown:
        (tmp_path / f"test_{name}.py").write_text(findings[name].reproducer)
    options = ["-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *options, "."]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert [name for name in shown if f"FAILED test_{name}.py" not in run.stdout] == [], run.stdout


def test_the_reproducer_passes_once_the_bug_is_mended(tmp_path: Path) -> None:
    finding = broken("MergesAnyOrder", TINY).findings[0]
    assert finding.clause == "disjoint"
    assert len(finding.sequence) <= 7
    mended = tmp_path / finding.reproducer_name
    mended.write_text(finding.reproducer.replace("broken.py:MergesAnyOrder", "buddy.py:Buddy"))
    command = [sys.executable, "-m", "pytest", "-q", str(mended)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout


def test_noise_on_stdout_is_tolerated_and_noted() -> None:
    validation = broken("Prints", ValidateOptions(examples=10, seconds=3, example_seconds=4, pages=4, orders=3))
    assert validation.outcome is Outcome.HOLDS
    assert any("printed" in note and len(note) < 300 for note in validation.notes)


@pytest.mark.slow
def test_a_scope_that_the_target_refuses_is_noted() -> None:
    validation = broken("OnlyPowersOfTwo", ValidateOptions(examples=5, seconds=60, example_seconds=4))
    assert validation.outcome is Outcome.HOLDS
    assert any(note.startswith("scope pages=13,orders=4 is declined") for note in validation.notes)
    alone = broken("OnlyPowersOfTwo", ValidateOptions(pages=13, orders=3))
    assert alone.outcome is Outcome.UNKNOWN
    assert alone.examples == 0


def test_chance_is_reported_as_not_deterministic() -> None:
    validation = broken("Moody", ValidateOptions(examples=200, seconds=60, example_seconds=4, max_findings=1))
    assert validation.outcome is Outcome.VIOLATED
    assert not any(finding.deterministic for finding in validation.findings)
    assert "not deterministic" in validation.findings[0].message


@pytest.mark.slow
def test_hypothesis_finds_and_shrinks_what_the_systematic_sequences_do_not_reach(tmp_path: Path) -> None:
    """A bug behind a state that only a long run reaches: two frees of order 1 with five blocks live."""
    adapter = tmp_path / "deep.py"
    adapter.write_text(
        "from buddy import Buddy\n"
        "class Deep(Buddy):\n"
        "    live = 0\n"
        "    odd = 0\n"
        "    def alloc(self, order):\n"
        "        page = super().alloc(order)\n"
        "        self.live += page is not None\n"
        "        return page\n"
        "    def free(self, page, order):\n"
        "        self.odd += order == 1 and self.live == 5\n"
        "        self.live -= 1\n"
        "        if self.odd < 2:\n"
        "            super().free(page, order)\n"
    )
    (tmp_path / "buddy.py").write_text((ADAPTERS / "buddy.py").read_text())
    options = ValidateOptions(examples=1000, seconds=60, example_seconds=4, pages=16, orders=3, seed=3)
    finding = validate("page-allocator", f"{adapter}:Deep", options).findings[0]
    assert finding.clause == "exact-success"
    assert finding.deterministic
    assert len(finding.sequence) <= 24
    assert run_reproducer(finding, tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "Buddy", "there is no file"),
        ("def broken(:\n", "Buddy", "SyntaxError"),
        ("import nothing_of_this_name\n", "Buddy", "ModuleNotFoundError"),
        ("class Other: pass\n", "Buddy", "has no Buddy"),
        ("Buddy = 3\n", "Buddy", "is no class or factory"),
        ("class Buddy: pass\n", "Buddy", "has no methods alloc, free"),
        ("def Buddy(pages, orders): return 3\n", "Buddy", "int has no methods alloc, free"),
        ("class Buddy:\n    alloc = free = len\n", "Buddy", "Buddy(4, 3) makes no instance"),
        ("raise SystemExit(0)\n", "Buddy", "SystemExit"),
        ("import os\nos._exit(0)\n", "Buddy", "exit status 0"),
        ("import os\nos.abort()\n", "Buddy", "SIGABRT"),
        ("x = [" * 5000, "Buddy", "cannot import"),
    ],
)
def test_a_target_that_cannot_be_loaded(source: str | None, name: str, message: str, tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    if source is not None:
        target.write_text(source)
    with pytest.raises(InputError) as caught:
        validate("page-allocator", f"{target}:{name}", QUICK)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("contract", "target", "options"),
    [
        ("tree", "x.py:X", QUICK),
        ("page-allocator", "x.py", QUICK),
        ("page-allocator", ":X", QUICK),
        ("page-allocator", "x.py:X", ValidateOptions(pages=0)),
        ("page-allocator", "x.py:X", ValidateOptions(orders=99)),
        ("page-allocator", "x.py:X", ValidateOptions(seconds=0)),
        ("page-allocator", "no.such.module:X", QUICK),
    ],
)
def test_bad_usage_is_one_line(contract: str, target: str, options: ValidateOptions) -> None:
    with pytest.raises(InputError) as caught:
        validate(contract, target, options)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_package_itself_imports_neither_cffi_nor_hypothesis() -> None:
    script = "import sys, kmemspec.specs.contracts; print({'cffi', 'hypothesis'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


def test_every_clause_has_a_name_and_one_line() -> None:
    for contract in CONTRACTS.values():
        names = [clause.name for clause in contract.clauses]
        assert len(names) == len(set(names))
        assert all("\n" not in clause.statement and clause.statement for clause in contract.clauses)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def run(seed: int) -> tuple[int, object]:
        options = ValidateOptions(examples=30, seconds=60, example_seconds=4, pages=8, orders=2, seed=seed)
        validation = validate("page-allocator", f"{ADAPTERS / 'buddy.py'}:Buddy", options)
        return validation.operations, validation.coverage

    assert run(7) == run(7)
    assert run(7) != run(8)


@pytest.mark.slow
def test_an_allocator_that_keeps_pages_for_itself_is_held_to_what_it_gave_when_it_was_new(tmp_path: Path) -> None:
    adapter = tmp_path / "keeps.py"
    adapter.write_text(
        "from buddy import Buddy\n"
        "class Keeps(Buddy):\n"
        "    declares = {'usable': 'probed'}\n"
        "    def __init__(self, pages, orders):\n"
        "        super().__init__(pages, orders)\n"
        "        if pages > 1:\n"
        "            self.alloc(0)\n"
        "class Leaks(Keeps):\n"
        "    def free(self, page, order):\n"
        "        super().free(page, 0)\n"
        "class Says(Keeps):\n"
        "    declares = {}\n"
    )
    (tmp_path / "buddy.py").write_text((ADAPTERS / "buddy.py").read_text())
    kept = validate("page-allocator", f"{adapter}:Keeps", QUICK)
    assert kept.findings == ()
    assert "a new allocator of 100 pages keeps 1 for itself" in kept.notes
    for name, length in (("Leaks", 5), ("Says", 3)):
        finding = validate("page-allocator", f"{adapter}:{name}", TINY).findings[0]
        assert finding.clause in ("exact-success", "capacity")
        assert len(finding.sequence) <= length


# --- Linux's choice of blocks, in lock step with the model


def in_lock_step(name: str) -> Validation:
    options = ValidateOptions(examples=300, seconds=8, example_seconds=4, max_findings=1, pages=16, orders=4)
    return validate("page-allocator", f"{ADAPTERS / 'linux_buddy.py'}:{name}", options)


def test_who_takes_the_blocks_that_linux_takes_holds() -> None:
    validation = in_lock_step("LinuxBuddy")
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS


@pytest.mark.parametrize(
    ("name", "length"), [pytest.param("NeverToTheTail", 8, marks=pytest.mark.slow), ("OldestFirst", 6)]
)
def test_who_takes_others_is_found_with_linux_s_block(name: str, length: int, tmp_path: Path) -> None:
    [finding] = in_lock_step(name).findings
    assert (finding.clause, finding.kind) == ("linux-choice", "clause")
    assert len(finding.sequence) <= length
    assert "Linux takes page" in finding.message
    file = tmp_path / finding.reproducer_name
    file.write_text(finding.reproducer)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert "another block was due" in done.stdout


def test_the_choice_is_only_followed_where_all_pages_are_usable() -> None:
    options = ValidateOptions(declare={"choice": "linux", "usable": "probed"})
    with pytest.raises(InputError, match="only where all pages are usable"):
        validate("page-allocator", f"{ADAPTERS / 'buddy.py'}:Buddy", options)
