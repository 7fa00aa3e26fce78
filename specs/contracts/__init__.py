"""What any implementation must keep, and the checker that tries to make a real one break it (`kmemspec validate`).

    validation = validate("heap", "libc.so.6")
    validation = validate("page-allocator", "my_file.py:MyBuddy", ValidateOptions(seed=1))

The engine runs the target in a child process and prints nothing. Neither cffi nor Hypothesis is imported before it
runs.
"""

from __future__ import annotations

from .contract import Clause, Contract
from .registry import CONTRACTS
from .results import Extent, Finding, OperationRecord, ValidateOptions, Validation

__all__ = [
    "CONTRACTS",
    "Clause",
    "Contract",
    "Extent",
    "Finding",
    "OperationRecord",
    "ValidateOptions",
    "Validation",
    "validate",
]


def validate(contract: str, target: str, options: ValidateOptions | None = None) -> Validation:
    """Try to find a sequence of calls by which `target` breaks `contract`; see `engine.validate`."""
    from .engine import validate as run

    return run(contract, target, options)
