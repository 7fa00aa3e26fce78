"""A real memcached, started by the test, behind its text protocol: it keeps what it declares, and no more."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate

ROOT = Path(__file__).resolve().parent.parent
TARGET = f"{ROOT / 'examples' / 'adapters' / 'memcached.py'}:Memcached"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of four megabytes, alone on a free port, as the table of real implementations has it."""
    if shutil.which("memcached") is None:
        pytest.skip("memcached is not installed")
    script = ROOT / "benchmarks" / "real_implementations.py"
    spec = importlib.util.spec_from_file_location("real_implementations", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    with module.memcached(*module.MEMCACHED):
        yield


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
