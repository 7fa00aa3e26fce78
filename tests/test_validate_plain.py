"""The contracts inside someone else's test suite: a test case passes on a correct class and shrinks on a broken one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ADAPTERS = Path(__file__).parent / "adapters"
SUITE = """
import functools
import sys
import hypothesis
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")
sys.path.insert(0, {adapters!r})
from broken import NeverMerges, OnlyPowersOfTwo, Rubbish
from buddy import Buddy
from caches import GetIsNoUse
from kmemspec import HeapContract, LruContract, ObjectCacheContract, PageAllocatorContract
from misused import AcceptsDouble
from slabs import LeaksSlabs

class Bump:
    '''A heap over offsets that never reuses anything, and hands out one byte too few for odd sizes.'''
    declares = {{"arena": 4096, "alignment": 1, "small_alignment": 1, "zero_size": "undefined"}}
    def __init__(self, size):
        self.size, self.top, self.live = size, 0, 0
    def malloc(self, size):
        at = self.top
        if at + size > self.size:
            return None
        self.top, self.live = at + size - (size % 2), self.live + 1
        return at
    def free(self, at):
        self.live -= 1
        self.top = self.top if self.live else 0

TestGood = PageAllocatorContract.TestCase(Buddy, examples=8, steps=25)
TestPowers = PageAllocatorContract.TestCase(OnlyPowersOfTwo, scope={{"pages": 8, "orders": 3}}, examples=5)
TestMerges = PageAllocatorContract.TestCase(NeverMerges, scope={{"pages": 4, "orders": 3}}, examples=100, steps=25)
TestRubbish = PageAllocatorContract.TestCase(Rubbish, examples=10)
TestLru = LruContract.TestCase(functools.lru_cache, examples=4)
TestGetIsNoUse = LruContract.TestCase(GetIsNoUse, scope={{"capacity": 2, "keys": 3}})
TestLeaks = ObjectCacheContract.TestCase(LeaksSlabs, scope={{"slabs": 2, "slots": 2}}, steps=15)
TestDouble = PageAllocatorContract.TestCase(AcceptsDouble, scope={{"pages": 4, "orders": 2}}, steps=12)
TestBump = HeapContract.TestCase(Bump, examples=60, steps=15)

def test_in_a_child():
    PageAllocatorContract.check({adapters!r} + "/broken.py:Segfaults", seconds=20, max_findings=1)
"""


def test_a_suite_of_someone_else(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(SUITE.format(adapters=str(ADAPTERS)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-rA", "test_theirs.py"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    passed = {line.split("::")[1] for line in run.stdout.splitlines() if line.startswith("PASSED")}
    failed = {line.split("::")[1].split(" ")[0] for line in run.stdout.splitlines() if line.startswith("FAILED")}
    assert passed == {"TestGood", "TestPowers", "TestLru"}, run.stdout
    broken = {"TestMerges", "TestRubbish", "TestBump", "TestGetIsNoUse", "TestLeaks", "TestDouble", "test_in_a_child"}
    assert failed == broken, run.stdout
    said = {"answers: alloc returned", "misuse: double_free is accepted", "exhaustion: ", "disjoint: the block shares"}
    for text in (*said, "SIGSEGV", "Failing test case"):
        assert text in run.stdout, run.stdout


def test_the_names_are_there_and_cost_nothing() -> None:
    script = (
        "import sys, kmemspec\n"
        "print({'cffi', 'hypothesis', 'kmemspec.specs.contracts'} & set(sys.modules))\n"
        "print([getattr(kmemspec, name).interface.contract.name for name in sorted(kmemspec.CONTRACT_TESTS)])\n"
        "from kmemspec.specs.contracts import CONTRACTS\n"
        "from kmemspec.specs.contracts.testing import TESTS\n"
        "print(set(TESTS) == kmemspec.CONTRACT_TESTS, len(TESTS) == len(CONTRACTS))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "set()", "['heap', 'lru', 'object-cache', 'page-allocator']", "True True"
    ], run.stderr


def test_the_plugin_s_fixture_fails_with_the_finding_and_writes_it(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(f"""
def test_good(kmemspec_validate):
    kmemspec_validate("page-allocator", {str(ADAPTERS / "buddy.py:Buddy")!r}, pages=4, orders=2, examples=5)

def test_bad(kmemspec_validate):
    kmemspec_validate("page-allocator", {str(ADAPTERS / "broken.py:NeverMerges")!r}, pages=2, orders=2, examples=5)
""")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "kmemspec.pytest_plugin"]
    run = subprocess.run(
        [*command, "--kmemspec-report", "findings", "test_theirs.py"], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout
    assert "finding 1: capacity" in run.stdout
    written = {path.name for path in (tmp_path / "findings" / "test_bad").iterdir()}
    assert {"report.txt", "1-test_reproduce_capacity.py"} <= written
