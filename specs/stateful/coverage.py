"""Which branches of a specification its own Python text took, while it ran.

The one idea: the front end refuses compound statements on one line, so the line that follows the header of an `if`,
`while` or `for` tells which way it went. A line tracer is set around parts of the run, looks at code of the
specification alone, and leaves a function alone once all its branches were seen both ways.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType
from typing import Any

from ...model.lang import source
from ...model.lang.ir import Program
from ...model.lang.records import FieldType, methods_of
from ...model.lang.spec import Spec
from .results import BranchCoverage

ALWAYS_FIRST = 64
ONE_IN, OFTEN_FIRST, LATER_ONE_IN = 4, 4096, 32
"""The first steps are traced, then one in so many, and in a long test fewer."""


@dataclass
class Branch:
    """One header in the source, the lines of what it governs, and what was seen."""

    function: str
    file: str
    line: int
    last_header_line: int
    first: int
    last: int
    then: bool = False
    otherwise: bool = False

    def went_to(self, line: int) -> None:
        if self.first <= line <= self.last:
            self.then = True
        else:
            self.otherwise = True

    @property
    def done(self) -> bool:
        return self.then and self.otherwise


class BranchTracer:
    """Records the branches that the specification takes inside `measure`."""

    def __init__(self, spec: Spec, program: Program) -> None:
        self.usable = sys.gettrace() is None
        self._codes = _branches(spec, program)
        self._open = {code: headers for code, headers in self._codes.items() if headers}

    def wanted(self, number: int) -> bool:
        """Whether step `number` is to be traced."""
        one_in = 1 if number < ALWAYS_FIRST else ONE_IN if number < OFTEN_FIRST else LATER_ONE_IN
        return self.usable and bool(self._open) and number % one_in == 0

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Trace what runs inside; nothing happens if a debugger has taken the tracer's place."""
        if sys.gettrace() is not None:
            self.usable = False
            yield
            return
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)
            for code in [code for code, headers in self._open.items() if all(item.done for item in headers.values())]:
                del self._open[code]

    def result(self) -> tuple[BranchCoverage, ...]:
        """Every branch, by file and line. (A function compiled again by `bounded` counts once.)"""
        merged: dict[tuple[str, int], BranchCoverage] = {}
        for headers in self._codes.values():
            for item in headers.values():
                known = merged.get((item.file, item.line))
                then = item.then or (known is not None and known.then_reached)
                otherwise = item.otherwise or (known is not None and known.otherwise_reached)
                merged[item.file, item.line] = BranchCoverage(item.function, item.file, item.line, then, otherwise)
        return tuple(merged[key] for key in sorted(merged))

    def _called(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        headers = self._open.get(frame.f_code)
        return None if headers is None else _follow(headers)


def _follow(headers: dict[int, Branch]) -> Callable[..., Any]:
    """A tracer for one frame: remembers the header it is at and tells it where control went."""
    at: Branch | None = None

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        nonlocal at
        if event == "line":
            line = frame.f_lineno
            if at is not None and not at.line <= line <= at.last_header_line:
                at.went_to(line)
            at = headers.get(line)
        elif event == "return":
            if at is not None:
                at.otherwise = True
            at = None
        elif event == "exception":
            at = None
        return trace

    return trace


def _branches(spec: Spec, program: Program) -> dict[CodeType, dict[int, Branch]]:
    """For each code object of the specification, its branches by every line of their headers."""
    lowered = {
        (program.positions[branch.where].file, program.positions[branch.where].line)
        for function in program.functions.values()
        for branch in function.branches()
    }
    found: dict[CodeType, dict[int, Branch]] = {}
    texts: dict[str, dict[tuple[str, int], ast.FunctionDef]] = {}
    for code in _codes(spec):
        file = source.shown(code.co_filename)
        if code.co_filename not in texts:
            texts[code.co_filename] = _definitions(code.co_filename)
        definition = texts[code.co_filename].get((code.co_name, code.co_firstlineno))
        headers: dict[int, Branch] = {}
        for node in ast.walk(definition) if definition is not None else ():
            if isinstance(node, (ast.If, ast.While, ast.For)):
                test = node.iter if isinstance(node, ast.For) else node.test
                if (file, test.lineno) in lowered:
                    end = test.end_lineno or test.lineno
                    _enter(headers, Branch(code.co_name, file, node.lineno, end, *_span(node.body)))
        found[code] = headers
    return found


def _span(body: list[ast.stmt]) -> tuple[int, int]:
    return body[0].lineno, body[-1].end_lineno or body[-1].lineno


def _enter(headers: dict[int, Branch], branch: Branch) -> None:
    for line in range(branch.line, branch.last_header_line + 1):
        headers[line] = branch


def _definitions(filename: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """The functions of a file by name and by each first line their code may claim (the def's or a decorator's)."""
    tree = ast.parse("".join(linecache.getlines(filename)), filename)
    found: dict[tuple[str, int], ast.FunctionDef] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for line in (node.lineno, *(decorator.lineno for decorator in node.decorator_list)):
                found[node.name, line] = node
    return found


def _codes(spec: Spec) -> list[CodeType]:
    """The code of every function that the specification's functions name, directly or not."""
    roots: list[Any] = [spec.init, *spec.actions, *(item.function for item in spec.safety)]
    if spec.refinement is not None:
        roots += [spec.refinement.mapping, spec.refinement.abstract.init, *spec.refinement.steps.values()]
    pending = [function for function in roots if isinstance(function, FunctionType)]
    methods = _methods(spec)
    seen: dict[FunctionType, None] = {}
    while pending:
        function = pending.pop()
        if function in seen:
            continue
        seen[function] = None
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, FunctionType):
                pending.append(value)
            pending.extend(methods.get(name, ()))
    return list(dict.fromkeys(function.__code__ for function in seen))


def _methods(spec: Spec) -> dict[str, list[FunctionType]]:
    """The methods of the records in the state by name: whatever calls one of a name may call any of them."""
    pending = [FieldType(record=spec.state)]
    if spec.refinement is not None:
        pending.append(FieldType(record=spec.refinement.abstract.state))
    found: dict[str, list[FunctionType]] = {}
    while pending:
        type_ = pending.pop()
        if type_.element is not None:
            pending.append(type_.element)
        if type_.record is not None:
            pending.extend(type_.record.field_types().values())
            for name, function in methods_of(type_.record).items():
                found.setdefault(name, []).append(function)
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
