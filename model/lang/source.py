"""The source text of a specification's functions, as syntax trees with their places.

Text is read through `linecache`, so that a module executed from changed text (a fault) is found like any other.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import Position, SpecError


@functools.lru_cache(maxsize=64)
def _parse(filename: str, text: str) -> ast.Module:
    return ast.parse(text, filename)


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a plain function; raises SpecError when it is not one or its source is not available."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", repr(function))
    if code is None:
        raise SpecError("not-a-function", f"{name} is not a plain function", "define it with def", Position("?", 0))
    text = "".join(linecache.getlines(code.co_filename))
    for node in ast.walk(_parse(code.co_filename, text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _first_line(node) == code.co_firstlineno:
            if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
                return node
            break
    raise SpecError(
        "no-source",
        f"the source of {name} is not available",
        "define it with def in a file",
        Position(code.co_filename, code.co_firstlineno),
    )


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The directory of the package, so that places inside it are shown relative to it."""


def shown(filename: str) -> str:
    """A file name as it is shown: relative to the package or to the working directory where possible."""
    for base in (PACKAGE_ROOT, Path.cwd()):
        try:
            return str(Path(filename).relative_to(base))
        except ValueError:
            continue
    return filename


def position(filename: str, node: ast.AST) -> Position:
    """Where a node is."""
    line = getattr(node, "lineno", 0)
    column = getattr(node, "col_offset", 0)
    end = getattr(node, "end_col_offset", column) if getattr(node, "end_lineno", line) == line else column + 1
    return Position(shown(filename), line, column, end or column)


def refusal(filename: str, node: ast.AST, code: str, message: str, remedy: str) -> SpecError:
    """The error for a node that is outside the language."""
    place = position(filename, node)
    return SpecError(code, message, remedy, place, linecache.getline(filename, place.line))
