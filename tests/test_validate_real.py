"""Real implementations: each keeps its contract, but for the deviations that are known; memcached, by its protocol."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate

ROOT = Path(__file__).resolve().parent.parent
TARGET = f"{ROOT / 'examples' / 'adapters' / 'memcached.py'}:Memcached"
SCRIPT = importlib.util.spec_from_file_location("real_implementations", ROOT / "benchmarks" / "real_implementations.py")
assert SCRIPT is not None
assert SCRIPT.loader is not None
REAL = importlib.util.module_from_spec(SCRIPT)
sys.modules[SCRIPT.name] = REAL
SCRIPT.loader.exec_module(REAL)


@pytest.fixture
def server() -> Iterator[None]:
    """A server of four megabytes, alone on a free port, as the table has it."""
    if REAL.version_of("deb:memcached") is None:
        pytest.skip("memcached is not installed")
    with REAL.memcached(*REAL.MEMCACHED):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("one", REAL.IMPLEMENTATIONS, ids=lambda one: one.name)
def test_what_others_wrote_keeps_its_contract_but_for_what_is_known(one: object) -> None:
    found = REAL.run(one, 5)
    if isinstance(found, str):
        assert found == "not installed"
        pytest.skip(f"{one.name} is not installed")  # type: ignore[attr-defined]
    assert {finding.clause for finding in found.findings} <= one.deviates  # type: ignore[attr-defined]
    assert found.examples > 0


SLAB_CLASS = f"{ROOT / 'examples' / 'adapters' / 'memcached_slabs.py'}:SlabClass"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "clause", "message"),
    [
        ("", None, ""),
        ("-f 2", "statistics", "statistics() gives 0 live objects, there are 1"),  # other classes than were expected
        ("-m 8", "in-slab", "in none of the 2 slabs"),  # more memory than it was given
    ],
)
def test_memcached_s_slab_classes_count_what_they_hold(
    options: str, clause: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if REAL.version_of("deb:memcached") is None:
        pytest.skip("memcached is not installed")
    monkeypatch.setenv("MEMCACHED", options)
    chosen = ValidateOptions(examples=5, seconds=20, example_seconds=5, max_findings=1)
    validation = validate("object-cache", SLAB_CLASS, chosen)
    assert [finding.clause for finding in validation.findings] == ([] if clause is None else [clause])
    assert all(message in finding.message for finding in validation.findings)
    assert clause is not None or validation.coverage["exhaustion reached again"] > 0


@pytest.mark.slow
def test_memcached_keeps_what_it_declares_and_is_no_exact_cache(server: None) -> None:
    options = ValidateOptions(examples=5, seconds=40, example_seconds=5)
    validation = validate("lru", TARGET, options)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert validation.coverage["peak entries"] > 40, "the cache was not filled"
    exact = ValidateOptions(
        examples=30, seconds=40, example_seconds=5, max_findings=1, declare={"policy": "fifo", "used_by": "put"}
    )
    finding = validate("lru", TARGET, exact).findings[0]
    assert finding.clause in ("retention", "eviction-order")
    assert "39 entries, there are 40" in finding.message or "is gone" in finding.message
