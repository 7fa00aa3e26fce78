"""From the lines of a log to calls: the project's JSON lines, glibc's mtrace text, ltrace-like text.

The one idea: the first line that says anything decides which format it is; each line is then one call or nothing, and a
line that is neither is one error with its number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ...model.lang.errors import InputError

NUMBER_MAX = (1 << 64) - 1
NAME_MAX = 100
Key = int | str


@dataclass(frozen=True)
class Call:
    """One call and its answer. `kind`: alloc, free, realloc, end. `key`: the block's name in the log (an id, or its
    address); `new_key`: its name after a realloc. `address` None: the call failed (of alloc and realloc)."""

    line: int
    kind: str
    key: Key = 0
    new_key: Key = 0
    size: int | None = None
    address: int | None = None
    align: int | None = None


@dataclass(frozen=True)
class Header:
    """What a log says of the allocator. `complete`: nothing was live when it begins; `whole`: every call from then on
    is in it."""

    format: str
    kind: str = "heap"
    arena: int | None = None
    align: int | None = None
    min_block: int | None = None
    first: int = 0
    source: str = ""
    complete: bool = False
    whole: bool = True
    small_align: int | None = None
    object_size: int | None = None

    @property
    def by_address(self) -> bool:
        return self.format != JSON_LINES


JSON_LINES, MTRACE, LTRACE = "JSON lines", "mtrace", "ltrace"
GLIBC_ALIGN, GLIBC_SMALL_ALIGN = 16, 8
"""What malloc promises: suitable for any object that fits (ISO C; 16 from 16 bytes on)."""


class Reader(Protocol):
    """Reads one format: its header is known when the first call is there."""

    header: Header

    def read(self, number: int, line: str) -> Call | None: ...


def bad_line(file: str, number: int, what: str, format_: str) -> InputError:
    return InputError(f"{file}:{number}: {what}", f"this was read as {format_}; docs/logs.md describes the formats")


def reader_for(file: str, line: str) -> Reader:
    """The reader for a log whose first line that says anything is this one."""
    if line.lstrip().startswith("{"):
        return JsonLines(file)
    if MTRACE_LINE.match(line):
        return Mtrace(file)
    if LTRACE_LINE.search(line) or line.startswith("#"):
        return Ltrace(file)
    remedy = 'give JSON lines ({"op": "alloc", …}), mtrace text or lines `malloc(24) = 0x…`'
    raise InputError(f"{file}:1: this is no call log", remedy)


_HEADER_NUMBERS = ("arena", "align", "min_block", "first", "object_size")


class JsonLines:
    """`init`, then `alloc`, `free`, `realloc`, `end`; one object a line (docs/logs.md)."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.header = Header(JSON_LINES)
        self.begun = False

    def read(self, number: int, line: str) -> Call | None:
        data = self._object(number, line)
        op = data.get("op")
        if op == "init":
            if self.begun:
                raise bad_line(self.file, number, "a second init, or one after calls", JSON_LINES)
            self.header = self._header(data, number)
            self.begun = True
            return None
        self.begun = True
        if op == "end":
            return Call(number, "end")
        if op not in ("alloc", "free", "realloc"):
            raise bad_line(self.file, number, f"op is {str(op)[:40]!r}", JSON_LINES)
        key = self._key(data, number)
        if op == "free":
            return Call(number, op, key)
        size = self._number(data, "size", number)
        if "at" not in data or size is None:
            raise bad_line(self.file, number, f"an {op} without {'at' if size is not None else 'size'}", JSON_LINES)
        return Call(number, op, key, key, size, self._number(data, "at", number), self._number(data, "align", number))

    def _object(self, number: int, line: str) -> dict[str, Any]:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            raise bad_line(self.file, number, "this is not a JSON object", JSON_LINES) from None
        if not isinstance(data, dict):
            raise bad_line(self.file, number, "this is not a JSON object", JSON_LINES)
        return data

    def _number(self, data: dict[str, Any], name: str, number: int) -> int | None:
        value = data.get(name)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value <= NUMBER_MAX:
            raise bad_line(self.file, number, f"{name} is not a number from 0 to 2**64-1", JSON_LINES)
        return value

    def _key(self, data: dict[str, Any], number: int) -> Key:
        key = data.get("id")
        if type(key) is int and abs(key) <= NUMBER_MAX:
            return key
        if isinstance(key, str) and len(key) <= NAME_MAX:
            return key
        raise bad_line(self.file, number, "id is not a number or a short text", JSON_LINES)

    def _header(self, data: dict[str, Any], number: int) -> Header:
        kind, source = data.get("kind", "heap"), data.get("source", "")
        if not isinstance(kind, str) or not isinstance(source, str):
            raise bad_line(self.file, number, "kind or source is not a text", JSON_LINES)
        values = {name: self._number(data, name, number) for name in _HEADER_NUMBERS}
        align = values["align"]
        if align is not None and (align == 0 or align & (align - 1)):
            raise bad_line(self.file, number, f"align {align} is no power of two", JSON_LINES)
        if values["min_block"] == 0:
            raise bad_line(self.file, number, "min_block is 0", JSON_LINES)
        return Header(
            JSON_LINES, kind[:NAME_MAX], values["arena"], align, values["min_block"], values["first"] or 0,
            source[:NAME_MAX], complete=data.get("midway") is not True, whole=data.get("partial") is not True,
            object_size=values["object_size"],
        )  # fmt: skip


MTRACE_LINE = re.compile(
    r"= (?:Start|End)|(?:@ .{0,4000}? )?([-+<>!]) (0x[0-9a-f]{1,16}|\(nil\)|0)(?: (0x[0-9a-f]{1,16}|0))?\s*$"
)


class Mtrace:
    """The text that glibc writes to $MALLOC_TRACE: `@ caller + address size`, `- address`, `< old` with `> new size`.

    mtrace() may be called at any time: what was made before is not in the log."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.header = Header(MTRACE, align=GLIBC_ALIGN, small_align=GLIBC_SMALL_ALIGN)
        self.resized: int | None = None

    def read(self, number: int, line: str) -> Call | None:
        match = MTRACE_LINE.match(line)
        if match is None:
            raise bad_line(self.file, number, "this is not a line of mtrace", MTRACE)
        sign = match[1]
        if sign is None:
            return Call(number, "end") if "End" in line else None
        address = 0 if match[2] == "(nil)" else int(match[2], 16)
        size = None if match[3] is None else int(match[3], 16)
        if sign == "<":
            self.resized = address
            return None
        if sign in "+>!" and size is None:
            raise bad_line(self.file, number, "this line has no size", MTRACE)
        if sign == "-":
            return Call(number, "free", address) if address else None
        if sign == "+":
            return Call(number, "alloc", address, address, size, address or None)
        old, self.resized = self.resized, None
        if sign == "!":  # a failed realloc of this address
            return Call(number, "realloc", address, address, size, None)
        if old is None:
            raise bad_line(self.file, number, "a line with > has none with < before it", MTRACE)
        return Call(number, "realloc", old, address, size, address)


_POINTER = r"(0x[0-9a-f]{1,16}|\(nil\)|nil|NULL|0)"
LTRACE_LINE = re.compile(
    r"\b(malloc|calloc|realloc|free|memalign|aligned_alloc|valloc|reallocarray|strdup|strndup)\((.{0,4000}?)\)\s*"
    rf"(?:=\s*{_POINTER}|=\s*<void>|$)"
)
_NUMBER = re.compile(r"\d{1,20}")


class Ltrace:
    """Lines like `malloc(24) = 0x55…`, as ltrace and many malloc wrappers write them, whatever stands before.

    ltrace shows what the program calls, and not what libraries call. A first line `# complete` says that all calls of
    the allocator are there."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.header = Header(LTRACE, align=GLIBC_ALIGN, small_align=GLIBC_SMALL_ALIGN, whole=False)

    def read(self, number: int, line: str) -> Call | None:
        if line.strip() == "# complete":
            self.header = Header(LTRACE, align=GLIBC_ALIGN, small_align=GLIBC_SMALL_ALIGN, complete=True)
        match = LTRACE_LINE.search(line)
        if match is None or line.startswith("#"):
            return None
        name, arguments = match[1], [word.strip() for word in match[2].split(",")]
        answer = self._pointer(match[3] or "0", number)
        if name == "free":
            address = self._pointer(arguments[0], number)
            return Call(number, "free", address) if address else None
        if name in ("strdup", "strndup"):
            return Call(number, "alloc", answer, answer, 1, answer or None)
        if name in ("realloc", "reallocarray"):
            old, size = self._pointer(arguments[0], number), self._product(arguments[1:], number)
            if not old:
                return Call(number, "alloc", answer, answer, size, answer or None)
            return Call(number, "realloc", old, answer or old, size, answer or None)
        aligned = name in ("memalign", "aligned_alloc")
        size = self._product(arguments[1:] if aligned else arguments, number)
        align = self._product(arguments[:1], number) if aligned else None
        return Call(number, "alloc", answer, answer, size, answer or None, align)

    def _pointer(self, text: str, number: int) -> int:
        if text in ("(nil)", "nil", "NULL", "0"):
            return 0
        if re.fullmatch(_POINTER, text) is None:
            raise bad_line(self.file, number, f"{text[:40]!r} is not an address", LTRACE)
        return int(text, 16)

    def _product(self, texts: list[str], number: int) -> int:
        product = 1
        for text in texts[:2]:
            hexadecimal = re.fullmatch(r"0x[0-9a-f]{1,16}", text)
            if hexadecimal is None and _NUMBER.fullmatch(text) is None:
                raise bad_line(self.file, number, f"{text[:40]!r} is not a size", LTRACE)
            product *= int(text, 16 if hexadecimal else 10)
        return product


def calls(file: str, lines: Iterable[str]) -> Iterator[tuple[Header, Call]]:
    """The calls of a log with what it says of the allocator."""
    reader: Reader | None = None
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        reader = reader or reader_for(file, line)
        call = reader.read(number, line)
        if call is not None:
            yield reader.header, call
    if reader is None:
        raise InputError(f"{file} is empty", "give a call log")
