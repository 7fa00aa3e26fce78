"""Which options of a choice pass the guard that comes right after it.

The one idea: a specification writes `slot = choose(…)` and then `require(…)` of the slot. Drawn blindly, sixteen such
choices in a row, a permutation say, pass once in a million times. The statements between the two are read from the
source of the function that chooses, and evaluated with its own variables for each option; what they write is undone.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Sequence
from types import CodeType, FrameType, FunctionType
from typing import Any

from ...model.lang.actions import CHOOSER, Disabled
from ...model.lang.execute import STEP_ERRORS
from ...model.lang.records import Store, put

OPTIONS_MAX = 256
"""A choice among more is drawn blindly."""

AHEAD = "__ahead"


class _ChoosesAgain(Exception):  # noqa: N818 (a control flow, not an error)
    """The statements ahead choose again: that is as far as one can see."""


class _Stop:
    def choose(self, options: range) -> int:
        raise _ChoosesAgain


class LookAhead:
    """The options that may pass, for the choices of one machine."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[tuple[CodeType, int], tuple[CodeType, tuple[str, ...]] | None] = {}

    def passing(self, frame: FrameType, options: range) -> Sequence[int]:
        """The options that pass the next guard in the function of a frame, which is about to choose; all, if none does
        or there is no guard to see. An option that makes the guard fail is kept: that failure is to be found."""
        if len(options) > OPTIONS_MAX:
            return options
        key = frame.f_code, frame.f_lineno
        if key not in self._known:
            self._known[key] = _ahead(frame)
        known = self._known[key]
        if known is None:
            return options
        code, names = known
        variables = frame.f_locals
        guard = FunctionType(code, frame.f_globals)
        given = [variables.get(name) for name in names]
        return [option for option in options if self._passes(guard, option, given)] or options

    def _passes(self, guard: Callable[..., Any], option: int, given: Sequence[Any]) -> bool:
        journal = self.store.journal
        before = len(journal) if journal is not None else 0
        token = CHOOSER.set(_Stop())
        try:
            guard(option, *given)
        except Disabled:
            return False
        except (_ChoosesAgain, *STEP_ERRORS):
            return True
        finally:
            CHOOSER.reset(token)
            if journal is not None:
                for holder, key, old in reversed(journal[before:]):
                    put(holder, key, old)
                del journal[before:]
        return True


def _ahead(frame: FrameType) -> tuple[CodeType, tuple[str, ...]] | None:
    """What stands between the choice at a frame's line and the next guard, as the code of a function of the option and
    of the other variables; None if there is no guard before the next loop, branch or return."""
    definition = _definition(frame)
    if definition is None:
        return None
    path = _path(definition.body, frame.f_lineno)
    if not path:
        return None
    first = path[-1][0][path[-1][1]]
    if not isinstance(first, ast.Assign) or not _is_call(first.value, "choose"):
        return None
    target = first.targets[0]
    if not isinstance(target, ast.Name):
        return None
    body: list[ast.stmt] = []
    for statements, position in reversed(path):
        for statement in statements[position + 1 :]:
            if not isinstance(statement, (ast.Assign, ast.Expr)):
                return None
            body.append(statement)
            if isinstance(statement, ast.Expr) and _is_call(statement.value, "require"):
                return _compiled(body, target.id, frame.f_code)
    return None


def _definition(frame: FrameType) -> ast.FunctionDef | None:
    """The function of a frame in its source."""
    filename, line = frame.f_code.co_filename, frame.f_lineno
    for node in ast.walk(ast.parse("".join(linecache.getlines(filename)), filename)):
        if not isinstance(node, ast.FunctionDef) or node.name != frame.f_code.co_name:
            continue
        if node.lineno <= line <= (node.end_lineno or line):
            return node
    return None


def _path(statements: list[ast.stmt], line: int) -> list[tuple[list[ast.stmt], int]]:
    """The statement at a line, as a position in a list of statements, and the branches around it up to the nearest
    loop, outermost first."""
    for position, statement in enumerate(statements):
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            for inner in (getattr(statement, "body", []), getattr(statement, "orelse", [])):
                found = _path(inner, line)
                if found:
                    return [(statements, position), *found] if isinstance(statement, ast.If) else found
            return [(statements, position)]
    return []


def _is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _compiled(body: list[ast.stmt], target: str, code: CodeType) -> tuple[CodeType, tuple[str, ...]]:
    names = tuple(name for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars) if name != target)
    names = tuple(name for name in dict.fromkeys(names) if name.isidentifier())
    text = f"def {AHEAD}({', '.join((target, *names))}):\n    pass"
    module = ast.parse(text)
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = body
    compiled = compile(ast.fix_missing_locations(module), code.co_filename, "exec", dont_inherit=True)
    return next(constant for constant in compiled.co_consts if isinstance(constant, CodeType)), names
