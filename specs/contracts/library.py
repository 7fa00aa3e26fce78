"""Adapter in the child: a shared library's C functions through cffi in ABI mode (no compiler), as a `Description` says.

The one idea: one adapter for every contract. An operation is a C call whose arguments are roles; what comes back is
turned into the value that the operation's `Call` promises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from ...model.lang.errors import InputError
from .adapter import Make, one_line
from .arena import make_arena
from .blocks import Blocks, Held, foreign_place
from .contract import Call, Contract, Declared
from .description import OUT, CCall, Description, bytes_of, signature, type_of
from .memory import Memory, tools
from .misuse import REJECTED, declared_misuses

MACHINE = 1 << 64
ERRORS = 4096
"""A pointer in the last 4096 bytes of the address space is a negative error number."""


def load_library(setup: dict[str, Any]) -> tuple[Make, dict[str, Any]]:
    """Open the library and find its functions; a function that makes a fresh adapter, and what is declared."""
    import cffi  # type: ignore[import-untyped]

    from .registry import INTERFACES

    interface = INTERFACES[str(setup["contract"])]
    description = Description.from_plain(setup["description"])
    foreign = cffi.FFI()
    calls = dict(description.calls)
    operations: Mapping[str, Call | None] = {kind: interface.contract.operations[kind] for kind in calls}
    once = {name: call for name, call in (("init", description.init), ("add", description.add)) if call is not None}
    every = {**operations, **dict.fromkeys(once)}
    asked = {**calls, **once}
    try:
        foreign.cdef(description.cdef)
        declared_names = set(re.findall(r"(\w+)\s*\(", description.cdef))
        known = {call.name for call in asked.values() if call.name in declared_names}
        for kind, call in asked.items():
            if call.name not in known:
                foreign.cdef(signature(kind, call, every[kind], description))
                known.add(call.name)
    except (cffi.CDefError, cffi.FFIError, TypeError, ValueError) as error:
        reason = one_line(error, 200)
        raise InputError(f"{setup['target']}: declarations are refused: {reason}", "mend cdef, or a type") from None
    # DEEPBIND: a library that defines malloc and calls it itself must reach its own, not the one of this process.
    flags = os.RTLD_NOW | os.RTLD_LOCAL | getattr(os, "RTLD_DEEPBIND", 0)
    try:
        library = foreign.dlopen(description.library, flags)
    except OSError as error:
        reason = one_line(str(error).split("Additionally")[0].strip(" ."))
        raise InputError(reason, "give a path with a slash to a shared library, or an installed soname") from None
    missing = [kind for kind in interface.methods if kind not in calls]
    if missing:
        meaning = interface.contract.operations[missing[0]].meaning
        raise InputError(f"{setup['target']} has no call for {missing[0]}", f"write it under [calls]: {meaning}")
    functions = find_functions(foreign, library, description, asked, interface.methods)
    declared = interface.contract.declared(description.declares, setup["declared"])
    contract = interface.contract
    check_misuses(foreign, functions, contract, description, declared)
    if description.memory:
        tools()
    return (lambda scope: CAdapter(contract, description, foreign, functions, scope)), declared


def check_misuses(
    foreign: Any, functions: Mapping[str, Any], contract: Contract, description: Description, declared: Declared
) -> None:
    """A function that returns nothing cannot say that it rejects anything."""
    for kind in declared_misuses(contract, declared):
        call = description.calls[contract.operations[kind].misuse]
        function = functions[contract.operations[kind].misuse]
        if declared[kind] == REJECTED and foreign.typeof(function).result.kind == "void":
            remedy = f'write "int {call.name}(…)" if it returns one, or declare ignored or undefined'
            raise InputError(f"{kind} is declared to be rejected, but {call.name} returns nothing", remedy)


def find_functions(
    foreign: Any, library: Any, description: Description, asked: Mapping[str, CCall], required: tuple[str, ...]
) -> dict[str, Any]:
    """The functions by operation. What a library merely exports by a usual name must be its own, and may be missing."""
    functions: dict[str, Any] = {}
    for kind, call in asked.items():
        function = getattr(library, call.name, None)
        if function is not None and (
            not description.exported or same_file(owner(foreign, function), description.library)
        ):
            functions[kind] = function
        elif kind in required or not description.exported:
            remedy = "give the prefix of its symbols, or the right name"
            raise InputError(f"{description.library} does not export {call.name}", remedy)
    return functions


def owner(foreign: Any, function: Any) -> str | None:
    """The file a function comes from: looking a name up finds it in a library's dependencies (libc) as well."""
    import cffi

    system = cffi.FFI()
    system.cdef(
        "typedef struct { const char *name; void *base; const char *symbol; void *address; } Dl_info;"
        "int dladdr(const void *, Dl_info *);"
    )
    try:
        found = system.dlopen(None).dladdr
    except AttributeError:
        return None
    information = system.new("Dl_info *")
    address = int(foreign.cast("uintptr_t", function))
    if not found(system.cast("void *", address), information):
        return None
    name = system.string(information.name)
    return os.fsdecode(name) if isinstance(name, bytes) else None


def same_file(loaded: str | None, target: str) -> bool:
    """Is the loaded file the target, as far as names tell?"""
    if loaded is None:
        return True
    names = {os.path.basename(path) for path in (target, os.path.realpath(target))}
    return not names.isdisjoint({os.path.basename(loaded), os.path.basename(os.path.realpath(loaded))})


class CAdapter:
    """One instance: its arena, its context, and the calls by which it is used."""

    def __init__(
        self,
        contract: Contract,
        description: Description,
        foreign: Any,
        functions: dict[str, Any],
        scope: dict[str, int],
    ) -> None:
        self.contract, self.description, self.foreign, self.functions = contract, description, foreign, functions
        self.scope = scope
        self.arena = make_arena(scope, scope.get("pages", 0) * description.unit, description.guard)
        self.memory = Memory(self.arena) if description.memory else None
        self.context: Any = foreign.NULL
        self.region = (0, 0) if self.arena is None else self.arena.regions[0]
        self.blocks = Blocks(contract, scope, self.foreign_handle)
        if description.context:
            self.room = foreign.new("char[]", description.context)
            self.context = foreign.cast("void *", self.room)
        if description.init is not None:
            made = functions["init"](*self.arguments(description.init, {}, None))
            if isinstance(made, foreign.CData) and not description.context:
                if made == foreign.NULL:
                    raise RuntimeError(f"{description.init.name} returned NULL")
                self.context = made
        if description.add is not None and self.arena is not None:
            for region in self.arena.regions[1:]:
                self.region = region
                functions["add"](*self.arguments(description.add, {}, None))
            self.region = self.arena.regions[0]

    def perform(self, index: int, kind: str, block: int | None, arguments: list[int], say: Callable[..., None]) -> None:
        """Make one call, say its value, then use the memory and say what was wrong with it."""
        operation = self.contract.operations[kind]
        if operation.misuse:
            self.misuse(operation, self.blocks.misused(block, arguments), say)
            return
        if kind not in self.functions or (operation.takes_block and block not in self.blocks.live):
            say("skipped")
            return
        numbers = dict(zip(operation.numbers, arguments, strict=True))
        raw: int | None = None
        known = numbers
        if block is not None:
            releases = operation.result == "nothing"
            held = self.blocks.release(block) if releases else self.blocks.live[block]
            raw, known = held.handle, {**held.numbers, **numbers, "old_size": self.size_of(held.numbers)}
            if releases and self.memory is not None:
                self.memory.gone(block)
        value = self.call(kind, known, raw)
        if operation.result in ("block", "moved"):
            self.returned(index, kind, block, numbers, value, say)
        else:
            say("value", bool(value) if operation.result == "truth" else value)
        if self.memory is not None:
            self.memory.check_all(say)

    def misuse(self, operation: Call, held: Held | None, say: Callable[..., None]) -> None:
        """A call that frees what it must not, because it is declared what happens then: was it rejected?"""
        if held is None:
            say("skipped")
            return
        call = self.description.calls[operation.misuse]
        known = {**held.numbers, "old_size": self.size_of(held.numbers)}
        result = self.functions[operation.misuse](*self.arguments(call, known, held.handle or 0))
        say("value", bool(result) if isinstance(result, int) else False)
        if self.memory is not None:
            self.memory.check_all(say)

    def foreign_handle(self, which: int) -> int:
        """Something that no call returned: behind the arena, before it, or memory of someone else."""
        if self.description.result != "pointer":
            unit = self.description.unit if self.description.result == "index" else 1
            return foreign_place(which, {**self.scope, "arena": self.arena.size // unit if self.arena else 0})
        if self.arena is None or which % 3 == 2:
            self.other = self.foreign.new("char[]", 256)
            return int(self.foreign.cast("uintptr_t", self.other)) + 128
        return self.arena.address - 16 if which % 3 else self.arena.end + 16

    def call(self, kind: str, numbers: Mapping[str, int], block: int | None) -> int | None:
        """The call itself: what it gives as a number, None if it failed."""
        operation, call = self.contract.operations[kind], self.description.calls[kind]
        out: Any = None
        if OUT in call.arguments:
            out = self.foreign.new("void **", self.foreign.cast("void *", block or 0))
        result = self.functions[kind](*self.arguments(call, numbers, block, out))
        if operation.result == "nothing":
            return None
        if operation.result == "truth":
            return int(result)
        number = int(self.foreign.cast("intptr_t", result))
        if self.failed(kind, number):
            return None
        if out is not None and self.description.failure_of(kind) == "status":
            number = int(self.foreign.cast("intptr_t", out[0]))
        pointer = operation.result != "number" and self.description.result == "pointer"
        return number % MACHINE if pointer else number

    def failed(self, kind: str, number: int) -> bool:
        """Is this the failure value?"""
        failure = self.description.failure_of(kind)
        if failure in ("NULL", "zero"):
            return number == 0
        if failure == "negative":
            return -ERRORS < number < 0 if self.description.result == "pointer" else number < 0
        if failure in ("status", "never"):
            return failure == "status" and number != 0
        return number == int(failure, 0)

    def returned(
        self,
        index: int,
        kind: str,
        block: int | None,
        numbers: dict[str, int],
        raw: int | None,
        say: Callable[..., None],
    ) -> None:
        """A block came back: say where it lies, and fill it."""
        if raw is None:
            say("value", None)
            return
        base = 0 if self.arena is None else self.arena.address
        unit, header = self.description.unit, self.description.header
        offset = {"pointer": raw - base, "offset": raw, "index": raw * unit}[self.description.result] - header
        in_units = "order" in numbers
        at = offset // unit if in_units else offset
        say("value", at)
        if in_units and offset % unit:
            say("odd", offset % unit, unit)
        name = index if block is None else block
        self.blocks.live[name] = Held(raw, at, numbers)
        if self.memory is None:
            return
        address, size = base + offset + header, self.size_of(numbers) - header
        if block is None:
            self.memory.made(index, address, size, kind == "calloc", say)
        else:
            self.memory.moved(index, block, address, size, say)

    def size_of(self, numbers: Mapping[str, int]) -> int:
        """The bytes that a block has, by what was asked for."""
        return bytes_of(self.description, self.scope, numbers)

    def arguments(
        self, call: CCall, numbers: Mapping[str, int], block: int | None, out: Any = None
    ) -> list[Any]:
        """The values of a call's roles."""
        return [self.argument(role, numbers, block, out) for role in call.arguments]

    def argument(self, role: str, numbers: Mapping[str, int], block: int | None, out: Any) -> Any:
        """The value of one role."""
        if role == OUT:
            # A call that only takes a block finds it in a variable of its own.
            return out if out is not None else self.foreign.new("void **", self.foreign.cast("void *", block or 0))
        if role.startswith("&"):
            value = self.argument(role[1:], numbers, block, out)
            return self.foreign.new(type_of(role, self.description), value)
        if not role.isidentifier():
            return int(role, 0)
        if role == "context":
            return self.context
        if role == "block":
            pointer = self.description.result == "pointer"
            return self.foreign.cast("void *", block) if pointer else block
        if role in ("arena", "end") and self.arena is not None:
            begin = self.arena.address + self.region[0]
            return self.foreign.cast("void *", begin + (self.region[1] if role == "end" else 0))
        if role == "bytes" and self.arena is not None:
            return self.region[1]
        if role in numbers:
            return numbers[role]
        if role in ("count", "size") and "order" in numbers:
            return (self.description.unit if role == "size" else 1) << numbers["order"]
        if role in self.scope:
            return self.scope[role]
        raise ValueError(f"there is no {role} to be given to a call")
