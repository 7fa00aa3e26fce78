"""Adapter in the child: a Python class or factory that keeps the page-allocator interface.

The interface is `factory(pages, orders)` giving an object with `alloc(order) -> page or None` and `free(page, order)`;
`free(page)` is accepted too. Whatever alloc returns is looked at with suspicion: only integers and None pass.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import os
import reprlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...model.lang.errors import InputError
from .child import Adapter, describe_exception

REMEDY = "name it as my_file.py:MyBuddy or package.module:Class"
PLAIN_TYPES = (bool, float, complex, str, bytes, list, tuple, dict, set)
MACHINE_BITS = 64


def load_class(setup: dict[str, Any]) -> Callable[[dict[str, int]], Adapter]:
    """Import the target of the request; gives a function that builds a fresh allocator for a scope."""
    source, _, name = str(setup["target"]).rpartition(":")
    factory = getattr(import_source(source), name, None)
    if factory is None:
        raise InputError(f"{source} has no {name}", REMEDY)
    if not callable(factory):
        raise InputError(f"{name} in {source} is no class or factory", REMEDY)
    missing = [method for method in ("alloc", "free") if inspect.isclass(factory) and not hasattr(factory, method)]
    if missing and not hasattr(factory, "__getattr__"):
        raise InputError(f"{name} in {source} has no method {missing[0]}", "give it alloc(order) and free(page, order)")
    return lambda scope: PageAllocatorAdapter(factory(scope["pages"], scope["orders"]))


def import_source(source: str) -> Any:
    """The module of a file path or a dotted name; every failure is one line."""
    run: Callable[[ModuleType], None] | None = None
    if source.endswith(".py") or "/" in source:
        if not os.path.isfile(source):
            raise InputError(f"there is no file {source}", REMEDY)
        sys.path.insert(0, os.path.dirname(os.path.abspath(source)))
        name = os.path.splitext(os.path.basename(source))[0]
        spec = importlib.util.spec_from_file_location(name, source)
        if spec is None or spec.loader is None:
            raise InputError(f"{source} is no Python file", REMEDY)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        run = spec.loader.exec_module
    else:
        sys.path.insert(0, os.getcwd())
    try:
        if run is None:
            return importlib.import_module(source)
        run(module)
        return module
    except BaseException as error:
        problem = f"{type(error).__name__}: {describe_exception(error)}"
        raise InputError(f"cannot import {source}: {problem}", f"mend that, or {REMEDY}") from None


class PageAllocatorAdapter:
    """Calls alloc and free of one allocator and remembers which page each block got."""

    def __init__(self, allocator: Any) -> None:
        self.allocator = allocator
        self.pages: dict[int, tuple[Any, int]] = {}
        self.free_takes_order = takes_two(allocator.free)

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call and say the page, or what came instead of one."""
        if kind == "alloc":
            page = self.allocator.alloc(arguments[0])
            answer = plain_page(page)
            if answer[0] == "value" and answer[1] is not None:
                self.pages[index] = (page, arguments[0])
            say(*answer)
        elif block not in self.pages:
            say("skipped")
        else:
            page, order = self.pages.pop(block)
            _ = self.allocator.free(page, order) if self.free_takes_order else self.allocator.free(page)
            say("value", None)


def takes_two(method: Callable[..., object]) -> bool:
    """Does the method take page and order? True unless its signature clearly takes only one argument."""
    try:
        inspect.signature(method).bind(0, 0)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def plain_page(page: object) -> tuple[object, ...]:
    """What alloc returned: ("value", None or an integer), or ("rubbish", what it is)."""
    if page is None:
        return ("value", None)
    if not isinstance(page, bool):
        try:
            number = operator.index(page)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if number.bit_length() > MACHINE_BITS:
                return ("rubbish", f"an integer of {number.bit_length()} bits")
            return ("value", number)
    shown = f" {reprlib.repr(page)[:100]}" if type(page) in PLAIN_TYPES else ""
    return ("rubbish", f"a {type(page).__name__[:100]}{shown}")
