"""What the tests of the command line share: one cache of native code, and a way to run the program as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def native_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Native code is compiled once for all of them."""
    return tmp_path_factory.getbasetemp() / "command-line-cache"


@pytest.fixture
def environment(native_cache: Path) -> dict[str, str]:
    """An environment without a terminal's settings."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "KMEMSPEC_CACHE": str(native_cache), "PYTHONUTF8": "1"}


@pytest.fixture
def kmemspec(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Run `kmemspec …` in a process of its own, in a fresh directory."""

    def run(*arguments: str, cwd: Path | str = tmp_path, **variables: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "kmemspec", *arguments],
            cwd=cwd, env={**environment, **variables}, capture_output=True, timeout=240, check=False,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    return run
