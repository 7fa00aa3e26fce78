"""The pytest plugin: a fixture that holds an implementation to a contract, in a process of its own.

    def test_my_buddy(kmemspec_validate):
        kmemspec_validate("page-allocator", "my_file.py:MyBuddy", seconds=5)

The one idea: a finding fails the test in the checker's own words. With `--kmemspec-report DIR` everything that
`kmemspec validate --report` writes lies in DIR, in a folder for each test. pytest loads this module by its entry point
whenever kmemspec is installed, so nothing is imported before a test asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where findings are written."""
    parser.getgroup("kmemspec").addoption(
        "--kmemspec-report", metavar="DIR", help="write words, picture and reproducer of each finding into DIR"
    )


@pytest.fixture
def kmemspec_validate(request: pytest.FixtureRequest) -> Callable[..., None]:
    """validate(contract, target, **options): the test fails if the contract is broken. The options are those of
    `kmemspec.specs.contracts.ValidateOptions`; bad ones raise InputError."""

    def validate(contract: str, target: str, **options: Any) -> None:
        from .specs.contracts import ValidateOptions
        from .specs.contracts import validate as run
        from .views.validation import report_files, validation_text

        found = run(contract, target, ValidateOptions(**options))
        place = request.config.getoption("--kmemspec-report")
        if place and found.findings:
            directory = Path(place) / re.sub(r"[^\w.-]", "_", request.node.name)
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in report_files(found).items():
                (directory / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if found.findings:
            pytest.fail(validation_text(found), pytrace=False)

    return validate
