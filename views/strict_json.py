"""JSON from a file nobody vouches for, read strictly and within bounds.

The one idea: whatever is wrong with the file, the caller gets one `InputError` that names the file, for a syntax
error the line, and what to do. Accepted are objects without duplicate keys, arrays, strings without control
characters, booleans, null and integers of at most 20 digits, nested at most `DEPTH` deep.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..model.lang.errors import InputError
from .text import printable

SIZE = 64 << 20
"""Bytes that a trace file may have."""

DEPTH = 32
TEXT = 4096

WRITE_AGAIN = "make the trace again with `kmemspec check`"


class RejectedError(Exception):
    """Why the JSON is refused; `read` adds the file."""


def read(file: str | os.PathLike[str], size: int = SIZE) -> dict[str, Any]:
    """The JSON object in a file."""
    name = printable(os.fspath(file))
    return parse(_text(Path(file), name, size), name)


def _text(path: Path, name: str, size: int) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name} is not a regular file", "name a trace file (.json or .itf.json)")
        if status.st_size > size:
            raise InputError(f"{name} has {status.st_size} bytes, more than the {size} a trace may have", WRITE_AGAIN)
        with path.open("rb") as stream:
            data = stream.read(size + 1)[:size]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: {printable(reason)}", "name a trace file that can be read") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: not UTF-8 text", WRITE_AGAIN) from None


def parse(text: str, name: str) -> dict[str, Any]:
    """The JSON object in `text`; `name` is the file in messages."""
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
        )
        _bounded(value)
    except json.JSONDecodeError as error:
        what = "the file is empty" if not text.strip() else _what(error, text)
        raise InputError(f"{name}:{error.lineno}: {what}", WRITE_AGAIN) from None
    except RejectedError as error:
        raise InputError(f"{name}: {error}", WRITE_AGAIN) from None
    except RecursionError:
        raise InputError(f"{name}: nested more than {DEPTH} deep", WRITE_AGAIN) from None
    if not isinstance(value, dict):
        raise InputError(f"{name}: the top of the file is not a JSON object", WRITE_AGAIN)
    return value


def _what(error: json.JSONDecodeError, text: str) -> str:
    rest = text[error.pos : error.pos + 10].rstrip()
    cut = any(word.startswith(rest) for word in ("true", "false", "null", "-"))
    if cut or error.msg.startswith("Unterminated string"):
        return "the file ends in the middle of its JSON (cut short?)"
    return f"not JSON ({error.msg}, column {error.colno})"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RejectedError(f"the key {printable(key, 40)!r} is there twice in one object")
            seen.add(key)
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise RejectedError(f"the number {digits[:12]}… has more than 20 digits")
    return int(digits)


def _no_float(digits: str) -> NoReturn:
    raise RejectedError(f"{digits[:20]} is not an integer")


def _bounded(value: Any) -> None:
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, dict | list):
            if depth > DEPTH:
                raise RejectedError(f"nested more than {DEPTH} deep")
            if isinstance(node, dict):
                for key in node:
                    _check_text(key)
            stack.extend((child, depth + 1) for child in (node.values() if isinstance(node, dict) else node))


def _check_text(text: str) -> None:
    if len(text) > TEXT:
        raise RejectedError(f"a string is longer than {TEXT} characters: {printable(text, 30)}")
    if not text.isascii() and any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise RejectedError(f"half a surrogate pair in the string {printable(text, 30)}")


Where = tuple[Any, str | int]
"""A place in the data: the place around it (or None) and a name or an index. Made into words only for a message."""


def place(where: Where) -> str:
    """`state 3.zone.mem_map[2]`."""
    around, part = where
    if around is None:
        return str(part)
    return place(around) + (f"[{part}]" if isinstance(part, int) else f".{printable(part, 40)}")


class Fields:
    """An object's fields, taken out one by one with their types; what is left over at the end is an error."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise RejectedError(f"{where} is not an object")
        self._rest = dict(value)
        self._where = where

    def take(self, name: str, what: str, fits: Callable[[Any], bool], *default: Any) -> Any:
        """The value of a field; `default` makes it optional."""
        if name not in self._rest:
            if default:
                return default[0]
            raise RejectedError(f"{self._where} has no {name!r}")
        value = self._rest.pop(name)
        if not fits(value):
            raise RejectedError(f"{self._where}.{name} is not {what}: {printable(json.dumps(value), 40)}")
        return value

    def text(self, name: str, *default: str) -> str:
        return str(self.take(name, "a string", is_text, *default))

    def flag(self, name: str, *default: bool) -> bool:
        return bool(self.take(name, "true or false", is_flag, *default))

    def done(self) -> None:
        """Nothing unknown may be left."""
        if self._rest:
            raise RejectedError(f"{self._where} has an unknown field {printable(next(iter(self._rest)), 40)!r}")


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_object(value: Any) -> bool:
    return isinstance(value, dict)
