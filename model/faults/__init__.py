"""Faults as data: real and generic bugs, each a small change to the text of the model.

The one idea: a fault is a diff, not code. It names the text it replaces, and applying it must match exactly once,
so a fault cannot go stale unnoticed when the model changes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ..lang.errors import InputError


@dataclass(frozen=True)
class Fault:
    """One fault: in `function` of `module` (a module below the package) the text `find` becomes `replace`.

    `expected` are the properties that should catch it, `source` says where it comes from, `catalogue` is its
    identifier in the project's bug catalogue, `scope` (as the command line writes it) where it shows."""

    identifier: str
    title: str
    source: str
    spec: str
    module: str
    function: str
    find: str
    replace: str
    expected: tuple[str, ...]
    catalogue: str = ""
    scope: str = "default"
    interleaving: bool = False

    def apply(self, text: str) -> str:
        """The module's text with the fault in it; raises InputError unless it matches exactly once."""
        start = text.find(f"def {self.function}(")
        if start < 0:
            raise InputError(f"fault {self.identifier}: {self.module} has no function {self.function}")
        after = [text.find(mark, start) for mark in ("\ndef ", "\n@", "\nclass ", "\n# ---")]
        end = min((position for position in after if position > 0), default=len(text))
        body = text[start:end]
        count = body.count(self.find)
        if count != 1:
            raise InputError(
                f"fault {self.identifier} matches {count} times in {self.function}",
                "its text must match exactly once; the model has changed",
            )
        return text[:start] + body.replace(self.find, self.replace) + text[end:]

    def diff(self, text: str) -> str:
        """The fault as a unified diff of the module's text."""
        name = self.module.replace(".", "/") + ".py"
        before, after = text.splitlines(keepends=True), self.apply(text).splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, name, f"{name} with {self.identifier}", n=2))
