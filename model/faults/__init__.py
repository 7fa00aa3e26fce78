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
    """One fault: in `function` of `module` (a module below the package; a method is "Class.method") the text `find`
    becomes `replace`.

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

    def apply(self, text: str) -> str:
        """The module's text with the fault in it; raises InputError unless it matches exactly once."""
        owner, _, name = self.function.rpartition(".")
        start, end = _part(text, f"class {owner}(", "", (0, len(text))) if owner else (0, len(text))
        start, end = _part(text, f"def {name}(", "    " if owner else "", (start, end))
        if start < 0:
            raise InputError(f"fault {self.identifier}: {self.module} has no function {self.function}")
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


def _part(text: str, heading: str, indent: str, within: tuple[int, int]) -> tuple[int, int]:
    """Where a function or class begins and ends that is indented so far; (-1, -1) if it is not there."""
    first, last = within
    start = f"\n{text}".find(f"\n{indent}{heading}", first, last + 1) if first >= 0 else -1
    after = [text.find(f"\n{indent}{mark}", start, last) for mark in ("def ", "@", "class ", "# ---")]
    return start, min((position for position in after if position > start), default=last)


@dataclass(frozen=True)
class Faults:
    """Makes the faults of one part of the model: what they have in common is said once, and any of it may be
    overridden for one of them."""

    spec: str
    module: str
    source: str
    scope: str = "default"

    def __call__(
        self,
        identifier: str,
        title: str,
        function: str,
        find: str,
        replace: str,
        expected: tuple[str, ...],
        source: str | None = None,
        catalogue: str = "",
        scope: str | None = None,
        module: str | None = None,
    ) -> Fault:
        return Fault(
            identifier, title, source or self.source, self.spec, module or self.module, function, find, replace,
            expected, catalogue, scope or self.scope,
        )
