"""The source text behind a program's positions, as syntax trees, for views that quote it."""

from __future__ import annotations

import ast
import functools
import linecache
import os
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from ..model.lang.ir import Function, Program
from ..model.lang.source import PACKAGE_ROOT


def lines_of(file: str) -> list[str]:
    """The text of a file as positions name it: relative to the package, to here, or a name of ours."""
    names = [file] if file in linecache.cache else []
    for name in [*names, str(PACKAGE_ROOT / file), os.path.abspath(file)] if file else ():
        lines = linecache.getlines(name)
        if lines:
            return lines
    return []


def tree(file: str) -> ast.Module:
    """The syntax tree of such a file."""
    return _parsed("".join(lines_of(file)))


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return ast.parse(text)


def file_of(program: Program, function: Function) -> str:
    """The file that a function stands in; '' if nothing in it has a position."""
    where = next(_positions(function.blocks), None)
    return "" if where is None else program.positions[where].file


def functions_in(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of a module by name, and the methods of its classes as `Class.method`."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
            yield from ((f"{node.name}.{method.name}", method) for method in methods)


def definition(program: Program, function: Function) -> ast.FunctionDef | None:
    """A function's syntax tree: around a position of something in it, or the only one of its name."""
    where = next(_positions(function.blocks), None)
    position = None if where is None else program.positions[where]
    files = dict.fromkeys(place.file for place in program.positions) if position is None else (position.file,)
    found = [node for file in files for name, node in functions_in(tree(file)) if name == function.source]
    if position is not None:
        found = [node for node in found if node.lineno <= position.line <= (node.end_lineno or node.lineno)]
    return found[0] if len(found) == 1 else None


def _positions(part: object) -> Iterator[int]:
    """The places of everything in a part of a function."""
    if isinstance(part, tuple):
        for item in part:
            yield from _positions(item)
    elif is_dataclass(part):
        where = getattr(part, "where", None)
        if isinstance(where, int):
            yield where
        for item in fields(part):
            yield from _positions(getattr(part, item.name))
