"""Errors a user can cause: each is one line that names the place and the remedy.

Everything raised for bad input derives from `InputError`; the command line prints it and exits with 2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """A place in a source file: 1-based line, 0-based columns as in Python's `ast`."""

    file: str
    line: int
    column: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class InputError(Exception):
    """Bad input of any kind: the message says what is wrong and what to do instead."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class SpecError(InputError):
    """A specification outside the language: where it is, what it is, what to write instead."""

    def __init__(self, code: str, message: str, remedy: str, position: Position, source_line: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code
        self.position = position
        self.source_line = source_line

    def __str__(self) -> str:
        return f"{self.position}: {self.message}; {self.remedy} [{self.code}]"

    def with_caret(self) -> str:
        """The error line, the source line and a caret under the offending expression."""
        if not self.source_line.strip():
            return str(self)
        width = max(1, self.position.end_column - self.position.column)
        caret = " " * self.position.column + "^" * width
        return f"{self}\n    {self.source_line.rstrip()}\n    {caret}"


class ScopeError(InputError):
    """A scope that does not fit the specification."""
