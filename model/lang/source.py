"""The source text of a specification's functions, as syntax trees with their places.

Text is read through `linecache`, so that a module executed from changed text (a fault) is found like any other.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import Position, SpecError


@functools.lru_cache(maxsize=64)
def _parse(filename: str, text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return ast.parse(text, filename)


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a plain function; raises SpecError when it is not one or its source is not available."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", None) or type(function).__name__
    if code is None:
        raise SpecError("not-a-function", f"{name} is not a plain function", "define it with def", Position("?", 0))
    for node in ast.walk(_parse(code.co_filename, "".join(linecache.getlines(code.co_filename)))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _first_line(node) == code.co_firstlineno:
            if isinstance(node, ast.AsyncFunctionDef):
                raise refusal(code.co_filename, node, "async", "async is not in the language", "write an atomic action")
            if node.name == code.co_name:
                return node
            break
    here = ast.Pass(lineno=code.co_firstlineno, col_offset=0)
    raise refusal(
        code.co_filename, here, "no-source", f"the source of {name} cannot be read", "define it with def in a file"
    )


def field(filename: str, record: str, name: str) -> ast.AST | None:
    """Where a record's field is annotated or its method defined; the record itself if neither is in it."""
    tree = _parse(filename, "".join(linecache.getlines(filename)))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == record]
    for statement in classes[-1].body if classes else ():
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == name:
            return statement
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return statement
    return classes[-1] if classes else None


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The directory of the package, so that places inside it are shown relative to it."""


def shown(filename: str) -> str:
    """A file name as it is shown: relative to the package or to the working directory where possible."""
    return _shown(filename, os.getcwd())


@functools.lru_cache(maxsize=256)
def _shown(filename: str, directory: str) -> str:
    path = Path(filename)
    if not path.is_absolute():
        return filename
    for base in (PACKAGE_ROOT, Path(directory)):
        try:
            return str(path.resolve().relative_to(base))
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
    line = linecache.getline(filename, place.line)
    column, end = _characters(line, place.column), _characters(line, place.end_column)
    if not isinstance(node, (ast.expr, ast.arg, ast.keyword)):
        end = max(column + 1, len(line.partition("#")[0].rstrip())) if end <= column + 1 else end
    return SpecError(code, message, remedy, Position(place.file, place.line, column, end), line.replace("\t", " "))


def _characters(line: str, column: int) -> int:
    """A column in bytes, as syntax trees count, in characters, as a caret needs it."""
    return len(line.encode()[:column].decode(errors="ignore"))
