"""The lru contract: caches of every policy and memoisers hold, real ones too; each broken one is its finding."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import CONTRACTS, Finding, ValidateOptions, validate

CACHES = Path(__file__).parent / "adapters" / "caches.py"
TINY = {"capacity": 2, "keys": 3}
QUICK = ValidateOptions(examples=10, seconds=60, example_seconds=4, scope=TINY)
FIRST = ValidateOptions(examples=100, seconds=60, example_seconds=4, max_findings=2, scope=TINY)
CORRECT = ("Lru", "Fifo", "Clock", "TwoList", "Random", "memoise")
BROKEN = {
    "KeepsOldValue": ("values", 3),
    "Invents": ("values", 1),
    "OneTooMany": ("capacity", 4),
    "PutEvicts": ("retention", 4),
    "GetIsNoUse": ("eviction-order", 5),
    "ContainsIsUse": ("eviction-order", 5),
    "EvictsNewest": ("eviction-order", 4),
    "DeleteKeeps": ("deletion", 4),
    "DeleteTakesOldest": ("deletion", 4),
    "ResizeDropsNewest": ("resize", 5),
    "ResizeKeepsAll": ("resize", 4),
    "ClearKeepsOne": ("clear", 4),
    "Miscounts": ("length", 3),
    "CountsContains": ("statistics", 3),
    "ListsNewestFirst": ("order", 3),
    "memoise_carelessly": ("computes-once", 2),
    "ForgetsHand": ("eviction-order", 8),
    "ActivatesAtOnce": ("eviction-order", 7),
    "LosesNewest": ("retention", 3),
}
"""Clause, and length of the sequence at most."""


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_cache_of_each_policy_holds_and_its_graph_is_walked(name: str) -> None:
    validation = validate("lru", f"{CACHES}:{name}", QUICK)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert "all systematic" in validation.bound
    assert validation.coverage["evictions"] > 0 or name == "Random"
    walked = next(note for note in validation.notes if note.startswith("walks over the graph"))
    covered, total = walked.split(": ")[1].split(" transitions")[0].split(" of ")
    assert covered == total or name == "Random", walked


FAST = ("KeepsOldValue", "GetIsNoUse", "DeleteKeeps", "CountsContains", "memoise_carelessly", "LosesNewest")
MENDED = {"ForgetsHand": "Clock", "ActivatesAtOnce": "TwoList", "LosesNewest": "Random"}
MENDED["memoise_carelessly"] = "memoise"
SLOWLY = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BROKEN]


@cache
def finding_in(name: str) -> Finding:
    """A broken cache validated: of what is found, the clause that is expected, or what comes first."""
    validation = validate("lru", f"{CACHES}:{name}", FIRST)
    assert validation.outcome is Outcome.VIOLATED, name
    return next((item for item in validation.findings if item.clause == BROKEN[name][0]), validation.findings[0])


@pytest.mark.parametrize("name", SLOWLY)
def test_each_broken_cache_is_its_finding(name: str) -> None:
    clause, length = BROKEN[name]
    finding = finding_in(name)
    assert (finding.clause, finding.kind) == (clause, "clause"), finding.message
    assert len(finding.sequence) <= length
    assert finding.deterministic
    assert "\n" not in finding.message


def test_every_clause_is_broken_by_some_cache() -> None:
    broken = {clause for clause, _ in BROKEN.values()}
    assert {clause.name for clause in CONTRACTS["lru"].clauses} == broken


@pytest.mark.parametrize("names", [FAST, pytest.param(tuple(BROKEN), marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_reproducers_fail_and_pass_once_the_bug_is_mended(names: tuple[str, ...], tmp_path: Path) -> None:
    """The model inside a reproducer agrees with the machine: it refuses what the machine refuses, and nothing else."""
    for name in names:
        text = finding_in(name).reproducer
        (tmp_path / f"test_{name}.py").write_text(text)
        right = text.replace(f"caches.py:{name}", f"caches.py:{MENDED.get(name, 'Lru')}")
        (tmp_path / f"test_right_{name}.py").write_text(right)
    options = ["-q", "-rfp", "--tb=no", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *options, "."]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert [name for name in names if f"FAILED test_{name}.py" not in run.stdout] == [], run.stdout
    assert [name for name in names if f"PASSED test_right_{name}.py" not in run.stdout] == [], run.stdout


def test_the_memoiser_of_the_standard_library_holds_as_it_stands() -> None:
    validation = validate("lru", "functools:lru_cache", ValidateOptions(examples=10, seconds=60, example_seconds=4))
    assert validation.outcome is Outcome.HOLDS
    assert validation.findings == ()
    assert validation.coverage["hits"] > 0
    assert "capacity=0,keys=2" not in validation.bound
    with_none = ValidateOptions(examples=10, seconds=60, declare={"least_capacity": 0})
    assert "capacity=0,keys=2" in validate("lru", "functools:lru_cache", with_none).bound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "declare"),
    [
        ("cachetools:LRUCache", {"pops_victim": True}),
        ("cachetools:FIFOCache", {"policy": "fifo", "used_by": "put", "pops_victim": True}),
        ("lru:LRU", {"keys_order": "newest first"}),
    ],
)
def test_real_caches_hold(target: str, declare: dict[str, str | bool | int]) -> None:
    pytest.importorskip(target.partition(":")[0])
    options = ValidateOptions(examples=10, seconds=60, example_seconds=4, scope=TINY, declare=declare)
    validation = validate("lru", target, options)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS


@pytest.mark.slow
def test_a_wrong_declaration_is_found() -> None:
    """The declared policy is held to: an LRU is no FIFO and the other way round."""
    for name, declare in (
        ("Lru", {"policy": "fifo"}),
        ("Fifo", {"policy": "lru"}),
        ("TwoList", {"policy": "lru"}),
    ):
        options = ValidateOptions(examples=100, seconds=60, max_findings=1, declare=declare, scope=TINY)
        assert validate("lru", f"{CACHES}:{name}", options).findings[0].clause in ("eviction-order", "order")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (f"{CACHES}:Lru", ValidateOptions(declare={"policy": "random"}), "must be one of"),
        (f"{CACHES}:Lru", ValidateOptions(scope={"pages": 3}), "no scope number"),
        (f"{CACHES}:Lru", ValidateOptions(scope={"keys": 0}), "not within"),
        (f"{CACHES}:Nothing", QUICK, "has no Nothing"),
        ("builtins:dict", QUICK, "dict(2) makes no instance: 'int' object is not iterable"),
        ("builtins:int", QUICK, "has neither put nor []"),
        ("{place}/unfit.py:NoGet", QUICK, "NoGet has no method get"),
    ],
)
def test_bad_input_is_one_line(target: str, options: ValidateOptions, message: str, tmp_path: Path) -> None:
    (tmp_path / "unfit.py").write_text("class NoGet:\n    def __init__(self, capacity):\n        self.put = print\n")
    with pytest.raises(InputError) as caught:
        validate("lru", target.format(place=tmp_path), options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
