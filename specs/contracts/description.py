"""A C library described in TOML: what to open, how to make an arena and an instance, which function is which operation.

The one idea: a call is written as in C, `my_alloc(context, size)`, but its arguments are *roles* that the driver fills
in, so the description needs neither a compiler nor declarations. Only what is written is called. Plain data here; the
calls themselves are made in `library.py`, in the child. The form is documented in docs/adapters.md.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...model.lang.errors import InputError
from .arenas import GAP
from .contract import Call, Contract

POINTERS = frozenset({"context", "arena", "end", "block"})
"""Roles that are pointers; the others are numbers. A role behind & is a pointer to a variable that has its value."""
OUT = "&block"
"""The variable in which a call leaves the block, or number, that it makes; before, it has the block that it takes."""
PLACES = frozenset({"context", "arena", "end", "bytes"})
"""Roles that every call may use."""
DERIVED = {"order": ("count", "size")}
"""Roles that follow from a number: 2**order pages, and their bytes."""
TYPE_FORM = r"(?:(?P<type>(?:void|int|unsigned|long|size_t|ssize_t|u?int(?:8|16|32|64|ptr)_t|_Bool)(?:\s*\*)?)\s*)??"
ARGUMENTS_FORM = r"\((?P<arguments>[\w\s,&-]{0,300})\)"
CALL_FORM = re.compile(rf"\s*{TYPE_FORM}(?P<name>[A-Za-z_]\w{{0,100}})\s*{ARGUMENTS_FORM}\s*", re.ASCII)
PREFIX_FORM = re.compile(r"[A-Za-z_]?\w{0,60}", re.ASCII)
LARGEST_FILE = 1 << 16
LARGEST_ARENA = 1 << 26
MOST_VARIANTS, MOST_REGIONS = 24, 16
RESULT_TYPES = {"nothing": "void", "truth": "int", "number": "long"}
FAILURES = ("NULL", "negative", "zero", "status", "never")
"""How a call says that it failed; else by a number of its own, such as -1."""
NUMBER_FORM = re.compile(r"-?\d{1,18}|0x[0-9a-fA-F]{1,16}", re.ASCII)
KEYS = {
    "": (
        *("contract", "library", "prefix", "cdef", "failure", "failures", "init", "context", "calls", "arena"),
        *("declares", "block", "add"),
    ),
    "arena": ("sizes", "align", "phases", "fills", "guard", "wall", "pages", "regions"),
    "block": ("result", "unit", "header", "memory"),
}


@dataclass(frozen=True)
class CCall:
    """One C call: function, its result's type ("" if it follows from the operation), roles and constants."""

    name: str
    type: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A library and how to use it; see docs/adapters.md for each key.

    `calls` maps operations to C calls; `failure` is how a call says that it failed, `failures` how those of some
    operations do. A block is a pointer or an offset (`result`) of `unit` bytes each, found `header` bytes behind its
    own start. `variants` are the arenas to try: each has `arena` (bytes; 0: follows from pages), `align`, `phase`,
    `garbage` and `wall`."""

    library: str
    calls: Mapping[str, CCall]
    cdef: str = ""
    failure: str = "NULL"
    init: CCall | None = None
    add: CCall | None = None
    context: int = 0
    result: str = "pointer"
    unit: int = 1
    header: int = 0
    memory: bool = True
    guard: int = 64
    variants: tuple[Mapping[str, int], ...] = ()
    declares: Mapping[str, Any] = ()  # type: ignore[assignment]
    exported: bool = False
    failures: Mapping[str, str] = ()  # type: ignore[assignment]

    def failure_of(self, kind: str) -> str:
        """How the call of that operation says that it failed."""
        return dict(self.failures).get(kind, self.failure)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "declares": dict(self.declares), "failures": dict(self.failures)}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Description:
        """Back from JSON."""
        calls = {kind: c_call(call) for kind, call in plain["calls"].items()}
        once = {name: None if plain[name] is None else c_call(plain[name]) for name in ("init", "add")}
        return Description(**{**plain, **once, "calls": calls, "variants": tuple(plain["variants"])})


def c_call(plain: Mapping[str, Any]) -> CCall:
    """Back from JSON."""
    return CCall(plain["name"], plain["type"], tuple(plain["arguments"]))


def of_exports(target: str, exports: Mapping[str, str], prefix: str) -> Description:
    """The description of a library that exports an operation's function under the operation's own name."""
    if not PREFIX_FORM.fullmatch(prefix):
        raise InputError(f"{prefix!r} is no symbol prefix", "give the letters before malloc, such as mi_")
    calls = {}
    for kind, text in exports.items():
        call = parse_call(text, kind)
        calls[kind] = CCall(prefix + call.name, call.type, call.arguments)
    return Description(target, calls, exported=True)


def parse_call(text: object, where: str) -> CCall:
    """`int my_alloc(context, size, 0)`"""
    found = CALL_FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        remedy = "write it as a call with roles: my_alloc(context, size)"
        raise InputError(f"{where} is no C call: {str(text)[:80]!r}", remedy)
    arguments = tuple(part.strip() for part in found["arguments"].split(",")) if found["arguments"].strip() else ()
    return CCall(found["name"], " ".join((found["type"] or "").split()), arguments)


class Table:
    """One TOML table that is read key by key; every complaint names file, key and remedy."""

    def __init__(self, path: str, name: str, values: object) -> None:
        self.path, self.name = path, name
        self.values: Mapping[str, Any] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            raise self.wrong(name, "is no table", f"write [{name}]")
        for key in self.values:
            if name in KEYS and key not in KEYS[name]:
                raise self.wrong(str(key)[:60], "is not known here", f"known are {', '.join(KEYS[name])}")

    def wrong(self, key: str, problem: str, remedy: str) -> InputError:
        """The error for a key."""
        place = f"{self.name}.{key}" if self.name and key != self.name else key
        return InputError(f"{self.path}: {place} {problem}", remedy)

    def text(self, key: str, default: str, choices: tuple[str, ...] = ()) -> str:
        """A string."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or "\0" in value or (choices and value not in choices):
            wanted = f"one of {', '.join(choices)}" if choices else "a string"
            raise self.wrong(key, f"is not {wanted}: {str(value)[:60]!r}", f"write {key} = \"{default}\"")
        return value

    def number(self, key: str, default: int, least: int, most: int) -> int:
        """A number."""
        return self.checked(key, self.values.get(key, default), least, most)

    def checked(self, key: str, value: object, least: int, most: int) -> int:
        """A number within limits."""
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"is no number from {least} to {most}: {str(value)[:60]!r}", "change it")
        return value

    def truth(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(key, default)
        if type(value) is not bool:
            raise self.wrong(key, f"is neither true nor false: {str(value)[:60]!r}", f"write {key} = true")
        return value

    def items(self, key: str, default: list[Any]) -> list[Any]:
        """A short list."""
        value = self.values.get(key, default)
        if not isinstance(value, list) or not 1 <= len(value) <= 8:
            raise self.wrong(key, "is no list of 1 to 8 values", f"write {key} = {default}")
        return value


def read_description(path: str, contract: Contract) -> Description:
    """The description in a TOML file, complete and checked."""
    top = Table(path, "", load_toml(path))
    named = top.text("contract", contract.name)
    if named != contract.name:
        remedy = f"validate {named[:40]}, or change it"
        raise InputError(f"{path} describes a {named[:40]}, not a {contract.name}", remedy)
    given = top.text("library", "")
    if not given:
        raise top.wrong("library", "is missing", 'write library = "./my.so", or a soname')
    beside = os.path.join(os.path.dirname(os.path.abspath(path)), given)
    prefix = top.text("prefix", "")
    if not PREFIX_FORM.fullmatch(prefix):
        raise top.wrong("prefix", f"is no symbol prefix: {prefix[:40]!r}", "give the letters before the names")
    arena = Table(path, "arena", top.values["arena"]) if "arena" in top.values else None
    block = Table(path, "block", top.values.get("block", {}))
    once = dict(read_once(top, prefix))
    description = Description(
        library=beside if "/" in given or os.path.exists(beside) else given,
        calls=dict(read_calls(Table(path, "calls", top.values.get("calls", {})), contract, prefix)),
        cdef=top.text("cdef", ""),
        failure=read_failure(top, "failure"),
        failures=dict(read_failures(Table(path, "failures", top.values.get("failures", {})), contract)),
        init=once.get("init"),
        add=once.get("add"),
        context=top.number("context", 0, 0, 1 << 20),
        result=block.text("result", "pointer", ("pointer", "offset")),
        unit=block.number("unit", 1, 1, 1 << 24),
        header=block.number("header", 0, 0, 1 << 16),
        memory=block.truth("memory", True),
        guard=64 if arena is None else arena.number("guard", 64, 0, 2048),
        variants=() if arena is None else tuple(read_variants(arena)),
        declares=contract.declared(Table(path, "declares", top.values.get("declares", {})).values),
    )
    check_roles(path, description, contract)
    return description


def load_toml(path: str) -> object:
    """The tables of a file; its size is bounded."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "name a TOML description of a library") from None
    if len(data) > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE} bytes", "a description has about 20 lines")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML: {' '.join(str(error).split())[:200]}", "see docs/adapters.md") from None


def read_calls(table: Table, contract: Contract, prefix: str) -> Iterator[tuple[str, CCall]]:
    """The operations and their C calls."""
    for kind, text in table.values.items():
        if kind not in contract.operations:
            raise table.wrong(str(kind)[:60], "is no operation", f"known are {', '.join(contract.operations)}")
        call = parse_call(text, f"{table.path}: calls.{kind}")
        yield kind, CCall(prefix + call.name, call.type, call.arguments)
    if not table.values:
        raise table.wrong("calls", "is missing or empty", "write [calls] with one line for each operation")


def read_once(top: Table, prefix: str) -> Iterator[tuple[str, CCall]]:
    """The calls that make an instance."""
    for name in ("init", "add"):
        if name in top.values:
            call = parse_call(top.text(name, ""), f"{top.path}: {name}")
            yield name, CCall(prefix + call.name, call.type, call.arguments)


def read_failure(table: Table, key: str) -> str:
    """One way to fail."""
    value = table.text(key, "NULL")
    if value not in FAILURES and not NUMBER_FORM.fullmatch(value):
        remedy = f'write {key} = "NULL"'
        raise table.wrong(key, f"is neither one of {', '.join(FAILURES)} nor a number: {value[:60]!r}", remedy)
    return value


def read_failures(table: Table, contract: Contract) -> Iterator[tuple[str, str]]:
    """How the calls of some operations say that they failed."""
    for kind in table.values:
        if kind not in contract.operations:
            raise table.wrong(str(kind)[:60], "is no operation", f"known are {', '.join(contract.operations)}")
        yield kind, read_failure(table, kind)


def read_variants(table: Table) -> Iterator[Mapping[str, int]]:
    """Every combination of size, phase, fill and wall."""
    align = table.number("align", 4096, 1, 1 << 16)
    if align & (align - 1):
        raise table.wrong("align", f"is no power of two: {align}", "write 4096")
    sizes = [0] if table.truth("pages", False) else [
        table.checked("sizes", size, 1, LARGEST_ARENA) for size in table.items("sizes", [65536])
    ]
    phases = [table.checked("phases", phase, 0, align - 1) for phase in table.items("phases", [0])]
    fills = table.items("fills", ["zero", "garbage"])
    if any(fill not in ("zero", "garbage") for fill in fills):
        raise table.wrong("fills", "has something else than zero and garbage", 'write fills = ["zero", "garbage"]')
    wall = int(table.truth("wall", False))
    regions = table.number("regions", 1, 1, MOST_REGIONS)
    if regions > 1 and min(sizes) < 2 * GAP * regions:
        raise table.wrong("regions", f"need sizes of at least {2 * GAP * regions}", "give them, without pages = true")
    parts = {"regions": regions} if regions > 1 else {}
    if len(sizes) * len(phases) * len(fills) > MOST_VARIANTS:
        raise table.wrong("sizes", f"times phases times fills is more than {MOST_VARIANTS}", "shorten the lists")
    for fill in fills:
        for phase in phases:
            for size in sizes:
                place = {"align": align, "phase": phase, "garbage": int(fill == "garbage"), "wall": wall}
                yield {"arena": size, **parts, **place}


def check_roles(path: str, description: Description, contract: Contract) -> None:
    """Every argument must be a role that its call has, or a number."""
    for kind, call in description.calls.items():
        operation = contract.operations[kind]
        own = set(operation.numbers)
        own |= ({"block", "old_size"} if operation.takes_block else set())
        if operation.takes_block and operation.result == "nothing":
            own |= {name for maker in contract.operations.values() if maker.result == "block" for name in maker.numbers}
        own |= {derived for name in own for derived in DERIVED.get(name, ())}
        made = description.failure_of(kind) == "status" and operation.result in ("block", "moved", "number")
        own |= {f"&{name}" for name in own if name != "block"} | ({OUT} if made or operation.takes_block else set())
        complain(f"{path}: calls.{kind}", call, own | PLACES)
    for name, once in (("init", description.init), ("add", description.add)):
        if once is not None:
            complain(f"{path}: {name}", once, {*PLACES, "guard"}, scope_numbers=True)
    several = any("regions" in variant for variant in description.variants)
    if several != (description.add is not None):
        remedy = 'write both: regions = 2, and add = "my_add(context, arena, bytes)" for all but the first'
        raise InputError(f"{path}: several regions of an arena and a call that adds one belong together", remedy)
    if several and dict(description.declares).get("merges"):
        raise InputError(f"{path}: merges is followed in one region only", "leave out merges, or regions")


def complain(where: str, call: CCall, roles: set[str] | frozenset[str], scope_numbers: bool = False) -> None:
    """An argument that is no role."""
    for argument in call.arguments:
        number = NUMBER_FORM.fullmatch(argument.removeprefix("&"))
        if argument in roles or number or (scope_numbers and argument.isidentifier()):
            continue
        raise InputError(f"{where}: {argument[:40]!r} is no role of this call", f"roles are {', '.join(sorted(roles))}")


def bytes_of(description: Description, scope: Mapping[str, int], numbers: Mapping[str, int]) -> int:
    """The bytes that a block has, by what was asked for."""
    if "order" in numbers:
        return description.unit << numbers["order"]
    size = int(scope.get("size", dict(description.declares).get("size", 0)))
    return numbers.get("count", 1) * numbers.get("size", size)


def signature(kind: str, call: CCall, operation: Call | None, description: Description) -> str:
    """The C declaration that follows from the roles."""
    if call.type:
        result = call.type
    elif operation is None:
        result = "void *"
    elif operation.result in RESULT_TYPES:
        result = RESULT_TYPES[operation.result]
    elif description.failure_of(kind) == "status":
        result = "int"
    else:
        result = "void *" if description.result == "pointer" else "long"
    arguments = ", ".join(type_of(argument, description) for argument in call.arguments)
    return f"{result} {call.name}({arguments or 'void'});"


def type_of(argument: str, description: Description) -> str:
    """The C type of a role."""
    if argument == OUT:
        return "void **"
    if argument.startswith("&"):
        return f"{type_of(argument[1:], description)} *"
    if argument == "block" and description.result != "pointer":
        return "long"
    if argument in POINTERS:
        return "void *"
    if argument in ("order", "key", "value"):
        return "int" if argument == "order" else "long"
    return "size_t" if argument.isidentifier() else "long"
