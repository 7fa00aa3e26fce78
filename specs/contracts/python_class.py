"""Adapter in the child: a Python class or factory whose instances have a method for each operation of a contract.

How an instance is made is the contract's (`Interface.adapt`); calling its methods is common to all. Whatever a method
returns is looked at with suspicion: only what the operation's `Call` says passes. What a class declares about itself is
its attribute `declares`, a dictionary.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ...model.lang.errors import InputError
from .adapter import Make, describe_exception, one_line
from .blocks import Blocks, Held, foreign_place
from .contract import LONGEST_LIST, Call, Contract

REMEDY = "name it as my_file.py:MyBuddy or package.module:Class"
PLAIN_TYPES = (bool, float, complex, str, bytes, list, tuple, dict, set)
MACHINE_BITS = 64


def load_class(setup: dict[str, Any]) -> tuple[Make, dict[str, Any]]:
    """Import the target of the request; a function that builds a fresh instance for a scope, and what it declares."""
    from .registry import INTERFACES

    interface = INTERFACES[str(setup["contract"])]
    source, _, name = str(setup["target"]).rpartition(":")
    factory = getattr(import_source(source), name, None)
    if factory is None:
        raise InputError(f"{source} has no {name}", REMEDY)
    if not callable(factory):
        raise InputError(f"{name} in {source} is no class or factory", REMEDY)
    missing = [method for method in interface.methods if inspect.isclass(factory) and not hasattr(factory, method)]
    if missing and not hasattr(factory, "__getattr__"):
        raise lacking(interface.contract, f"{name} in {source}", missing)
    declares = getattr(factory, "declares", {})
    if type(declares) is not dict:
        raise InputError(f"{name}.declares in {source} is no dictionary", "write declares = {'name': value, …}")
    declared = interface.contract.declared(declares, setup["declared"])
    return lambda scope: interface.adapt(factory, scope, declared), declared


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


def constructed(contract: Contract, factory: Callable[..., Any], *given: object) -> Any:
    """A fresh instance; a factory that does not take what the contract gives it is no adapter."""
    try:
        return factory(*given)
    except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise  # it took them, and failed inside
        call = f"{getattr(factory, '__name__', 'it')}({', '.join(str(value)[:40] for value in given)})"
        raise InputError(f"{call} makes no instance: {one_line(error, 200)}", f"give {contract.target}") from None


def methods_of(contract: Contract, made: object, required: tuple[str, ...]) -> dict[str, Callable[..., object]]:
    """Those of an instance's methods that are operations of the contract."""
    missing = [kind for kind in required if not callable(getattr(made, kind, None))]
    if missing:
        raise lacking(contract, type(made).__name__, missing)
    kinds = [kind for kind, call in contract.operations.items() if not call.misuse]
    return {kind: getattr(made, kind) for kind in kinds if callable(getattr(made, kind, None))}


def lacking(contract: Contract, name: str, missing: list[str]) -> InputError:
    """The error of an object that has not all methods that it needs."""
    plural = "s" if len(missing) > 1 else ""
    meanings = "; ".join(contract.operations[kind].meaning for kind in missing)
    return InputError(f"{name[:100]} has no method{plural} {', '.join(missing)}", f"give it {meanings}")


class MethodAdapter:
    """Calls one object's methods, one for each operation, and remembers what each call returned as its block; `end` is
    called when the sequence is over, however it ended.

    A method that takes a block gets what the call that made it returned, then the numbers of its own; a releasing one
    also those of the call that made it, if its signature has room for them (free(page, order)). `base` is where places
    are counted from, if blocks are addresses."""

    def __init__(
        self,
        contract: Contract,
        methods: Mapping[str, Callable[..., object]],
        scope: Mapping[str, int],
        base: int = 0,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        self.contract, self.methods, self.base, self.close = contract, methods, base, end
        self.blocks = Blocks(contract, scope, lambda which: base + foreign_place(which, scope))

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call and say its value, or what came instead of one."""
        call = self.contract.operations[kind]
        if call.misuse:
            held = self.blocks.misused(block, arguments)
            say(*(("skipped",) if held is None else ("value", self.rejects(call, held))))
            return
        if kind not in self.methods or (call.takes_block and block not in self.blocks.live):
            say("skipped")
            return
        method = self.methods[kind]
        given: list[object] = list(arguments)
        if block is not None:
            releases = call.result == "nothing"
            held = self.blocks.release(block) if releases else self.blocks.live[block]
            numbers = held.numbers.values() if releases else ()
            room = takes(method, 1 + len(arguments) + len(numbers))
            given = [held.handle, *arguments, *(numbers if room else ())]
        value = method(*given)
        answer = plain(call.result, value)
        if answer[0] == "value" and value is not None and call.result in ("block", "moved"):
            asked = dict(zip(call.numbers, arguments, strict=True))
            self.blocks.live[index if block is None else block] = Held(value, int(str(answer[1])), asked)
        say(*answer)

    def rejects(self, call: Call, held: Held) -> bool:
        """A call that frees what it must not, because it is declared what happens then: does it raise, or say False?"""
        method = self.methods[call.misuse]
        given = (held.handle, *held.numbers.values())
        try:
            return method(*given[: len(given) if takes(method, len(given)) else 1]) is False
        except Exception:
            return True


def takes(method: Callable[..., object], count: int) -> bool:
    """Does the method take that many arguments? True unless its signature clearly says otherwise."""
    try:
        inspect.signature(method).bind(*[0] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def plain(result: str, value: object) -> tuple[object, ...]:
    """What a call returned, as its `Call.result` says: ("value", …), or ("rubbish", what it is)."""
    if result == "nothing":
        return ("value", None)
    if result == "truth":
        return ("value", value) if isinstance(value, bool) else ("rubbish", shown(value))
    if result == "numbers":
        if not isinstance(value, (list, tuple)) or len(value) > LONGEST_LIST:
            return ("rubbish", shown(value))
        numbers = [plain("number", item) for item in value]
        wrong = next((answer for answer in numbers if answer[0] == "rubbish" or answer[1] is None), None)
        return ("value", [number for _, number in numbers]) if wrong is None else ("rubbish", shown(value))
    if value is None:
        return ("value", None)
    if not isinstance(value, bool):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if number.bit_length() > MACHINE_BITS:
                return ("rubbish", f"an integer of {number.bit_length()} bits")
            return ("value", number)
    return ("rubbish", shown(value))


def shown(value: object) -> str:
    """What came instead of a value; the text of an object of an unknown type may be hostile."""
    text = f" {reprlib.repr(value)[:100]}" if type(value) in PLAIN_TYPES else ""
    return f"a {type(value).__name__[:100]}{text}"
