"""A real memcached, started by the test, behind its text protocol: it keeps what it declares, and no more."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.contracts import ValidateOptions, validate

TARGET = f"{Path(__file__).resolve().parent.parent / 'examples' / 'adapters' / 'memcached.py'}:Memcached"
SERVER = shutil.which("memcached")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server of four megabytes, alone on a free port."""
    if SERVER is None:
        pytest.skip("memcached is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [SERVER, *user, "-m", "4", "-l", "127.0.0.1", "-p", str(port), "-o", "no_lru_maintainer"]
    process = subprocess.Popen(command)
    for _ in range(100):
        time.sleep(0.05)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
    monkeypatch.setenv("MEMCACHED_PORT", str(port))
    yield port
    process.terminate()
    process.wait()


def test_memcached_keeps_what_it_declares_and_is_no_exact_cache(server: int) -> None:
    options = ValidateOptions(examples=5, seconds=40, example_seconds=5)
    validation = validate("lru", TARGET, options)
    assert validation.findings == ()
    assert validation.outcome is Outcome.HOLDS
    assert validation.coverage["peak entries"] > 40, "the cache was not filled"
    exact = ValidateOptions(
        examples=30, seconds=40, example_seconds=5, max_findings=1, declare={"policy": "fifo", "used_by": "put"}
    )
    finding = validate("lru", TARGET, exact).findings[0]
    assert finding.clause in ("retention", "length", "eviction-order")
    assert "39 entries, there are 40" in finding.message or "is gone" in finding.message
