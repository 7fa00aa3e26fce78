"""The README is true: its commands run as they stand, and its generated parts are what the checker says today."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kmemspec.specs.loading import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SKIPPED = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__", ".hypothesis", ".*_cache")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_it_shows_both_commands_and_files_that_exist() -> None:
    assert commands()[0] == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/kmemspec check"
    assert commands()[1] == "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_subcommand_it_names_exists() -> None:
    from kmemspec.cli import build_parser

    for line in re.findall(r"`(kmemspec [a-z]+)", README):
        with pytest.raises(SystemExit) as stopped:
            build_parser().parse_args([line.split()[1], "--help"])
        assert stopped.value.code == 0


@pytest.mark.slow
def test_its_commands_run_and_its_generated_parts_are_current(tmp_path: Path) -> None:
    """In a copy of the tree and a fresh environment; the tests themselves are only collected, not run once more.

    The main job says that everything holds, that every action of the model did something in some search, and that
    every branch was taken in one or says why it cannot be."""
    tree, file = tmp_path / "tree", tmp_path / "report.json"
    shutil.copytree(ROOT, tree, ignore=SKIPPED)
    environment = {**os.environ, "KMEMSPEC_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    for command in commands():
        if command.endswith("/pytest"):
            command += " --collect-only -q"
        if command.endswith("kmemspec check"):
            command += f" --json {file}"
        shell = ["bash", "-c", command]
        done = subprocess.run(
            shell, cwd=tree, env=environment, capture_output=True, text=True, timeout=1800, check=False
        )
        expected = 1 if "--fault" in command else 0
        assert done.returncode == expected, (command, done.stdout[-2000:], done.stderr[-2000:])
    assert (tree / "buddy-merge-ignores-order-trace.svg").exists()
    report = json.loads(file.read_text(encoding="utf-8"))
    assert [one["spec"] for one in report["reports"]] == list(BUILT_IN)
    assert {action for one in report["reports"] for action in one["never_fired"]} == set()
    assert report["branches"]["wrong"] == []
    script = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), str(file), "--check"]
    compared = subprocess.run(script, capture_output=True, text=True, timeout=1800, check=False)
    assert compared.returncode == 0, compared.stdout[-2000:] + compared.stderr[-2000:]
