"""A trace as a file: JSON with `"schema": "kmemspec-trace/1"`, one step a line.

`load` takes nothing on trust: every field is checked for its type and the states for one common shape, so that what
draws or replays a trace need not check again. Whatever is wrong is one InputError that names the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..model.lang.errors import InputError
from ..model.lang.trace import TRACE_SCHEMA, Plain, Step, Trace, Violation
from .strict_json import (
    WRITE_AGAIN,
    Fields,
    RejectedError,
    Where,
    is_integer,
    is_list,
    is_object,
    is_optional_text,
    place,
    read,
)
from .text import printable

STEPS = 100_000


def to_json(trace: Trace) -> dict[str, Any]:
    """A trace as JSON data."""
    return {
        "schema": TRACE_SCHEMA,
        **header(trace),
        "steps": [
            {
                "action": step.action,
                "arguments": dict(step.arguments),
                "choices": list(step.choices),
                "result": step.result,
                "state": dict(step.state),
            }
            for step in trace.steps
        ],
    }


def header(trace: Trace) -> dict[str, Any]:
    """Everything but the steps."""
    violation = trace.violation
    return {
        "spec": trace.spec,
        "scope": dict(trace.scope),
        "fault": trace.fault,
        "engine": trace.engine,
        "shortest": trace.shortest,
        "reachable": trace.reachable,
        "loop": trace.loop,
        "notes": list(trace.notes),
        "violation": None
        if violation is None
        else {
            "property": violation.property,
            "clause": violation.clause,
            "kind": violation.kind,
            "elements": [list(element) for element in violation.elements],
            "message": violation.message,
            "position": violation.position,
        },
    }


def text(trace: Trace) -> str:
    """The content of a trace file."""
    return lines(to_json(trace), "steps")


def lines(data: Mapping[str, Any], spread: str) -> str:
    """JSON with one line a key, and one line an element under the key `spread`."""
    return "{\n" + ",\n".join(_lines(data, spread)) + "\n}\n"


def _lines(data: Mapping[str, Any], spread: str) -> Iterator[str]:
    for key, value in data.items():
        if key == spread and value:
            yield f" {json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(element)}" for element in value) + "\n ]"
        else:
            yield f" {json.dumps(key)}: {json.dumps(value)}"


def save(trace: Trace, file: str | os.PathLike[str]) -> None:
    write(file, text(trace))


def write(file: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file, or say in one line why it cannot be written."""
    try:
        Path(file).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{printable(os.fspath(file))}: {printable(reason)}", "name a file in a directory that can be written"
        ) from None


def load(file: str | os.PathLike[str]) -> Trace:
    """The trace in a file."""
    return from_json(read(file), printable(os.fspath(file)))


def from_json(data: Mapping[str, Any], name: str) -> Trace:
    """The trace in JSON data; `name` is the file in messages."""
    return naming(name, lambda: _trace(data))


_T = TypeVar("_T")


def naming(name: str, decode: Callable[[], _T]) -> _T:
    """Run a decoder; what it rejects becomes an InputError that names the file."""
    try:
        return decode()
    except RejectedError as error:
        raise InputError(f"{name}: {error}", WRITE_AGAIN) from None


def _trace(data: Mapping[str, Any]) -> Trace:
    if data.get("schema") != TRACE_SCHEMA:
        raise RejectedError(f"not a trace: \"schema\" is {printable(json.dumps(data.get('schema')), 40)}, "
                       f"not \"{TRACE_SCHEMA}\"")
    fields = Fields(dict(data), "the trace")
    fields.text("schema")
    raw_steps = fields.take("steps", "a list", is_list)
    if not 1 <= len(raw_steps) <= STEPS:
        raise RejectedError(f"the trace has {len(raw_steps)} steps, not 1 to {STEPS}")
    steps = tuple(_step(raw, index) for index, raw in enumerate(raw_steps))
    trace = from_header(fields, steps)
    fields.done()
    return trace


def _step(raw: Any, index: int) -> Step:
    where = f"step {index}"
    fields = Fields(raw, where)
    step = Step(
        fields.text("action"),
        fields.take("arguments", "an object", is_object, {}),
        tuple(fields.take("choices", "a list of integers", _integers, [])),
        fields.take("result", "a value", lambda value: True, None),
        fields.take("state", "an object", is_object),
    )
    fields.done()
    return step


def from_header(fields: Fields, steps: tuple[Step, ...]) -> Trace:
    """The trace with these steps and the fields that `header` wrote."""
    check_steps(steps)
    loop = fields.take("loop", "null or a step number", _optional_integer, None)
    if loop is not None and not 0 <= loop < len(steps):
        raise RejectedError(f"\"loop\" is {loop}, but the steps are 0 to {len(steps) - 1}")
    return Trace(
        spec=fields.text("spec"),
        scope=fields.take("scope", "an object of integers", _is_scope),
        steps=steps,
        violation=_violation(fields.take("violation", "null or an object", _optional_object, None)),
        fault=fields.take("fault", "null or a string", is_optional_text, None),
        engine=fields.text("engine", ""),
        shortest=fields.flag("shortest", False),
        reachable=fields.flag("reachable", True),
        loop=loop,
        notes=tuple(fields.take("notes", "a list of strings", _texts, [])),
    )


def _violation(raw: Any) -> Violation | None:
    if raw is None:
        return None
    fields = Fields(raw, "the violation")
    violation = Violation(
        fields.text("property"),
        fields.text("clause"),
        fields.text("kind"),
        tuple((name, value) for name, value in fields.take("elements", "[[name, integer], …]", _elements, [])),
        fields.text("message", ""),
        fields.text("position", ""),
    )
    fields.done()
    return violation


# --- the states --------------------------------------------------------------------------------------------------


def check_steps(steps: tuple[Step, ...]) -> None:
    """The first step is the initial state, the others have actions; all states have the shape of the first."""
    for index, step in enumerate(steps):
        if (step.action == "") != (index == 0):
            raise RejectedError(f"step {index} has {'an' if step.action else 'no'} action, "
                           "but the first step (and only that) is the initial state")
        for name, value in step.arguments.items():
            if isinstance(value, dict | list):
                raise RejectedError(f"argument {printable(name, 40)!r} of step {index} is not a single value")
        if isinstance(step.result, dict | list):
            raise RejectedError(f"the result of step {index} is not a single value")
        _same_shape(steps[0].state, step.state, (None, f"state {index}"))


def _same_shape(expected: Plain, found: Plain, where: Where) -> None:
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            odd = printable(next(iter(expected.keys() ^ found.keys())), 40)
            raise RejectedError(f"{place(where)} differs from the initial state in having the field {odd!r}")
        for key, child in expected.items():
            if not key.isidentifier():
                raise RejectedError(f"{place(where)} has a field {printable(key, 40)!r}, which is not a name")
            _same_shape(child, found[key], (where, key))
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            raise RejectedError(f"{place(where)} has {len(found)} elements, and {len(expected)} in the initial state")
        for index, (first, second) in enumerate(zip(expected, found, strict=True)):
            _same_shape(first, second, (where, index))
    elif isinstance(expected, dict | list) or isinstance(found, dict | list):
        raise RejectedError(f"{place(where)} is not of the kind it is in the initial state")


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(is_integer(element) for element in value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)


def _optional_integer(value: Any) -> bool:
    return value is None or is_integer(value)


def _optional_object(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_scope(value: Any) -> bool:
    return isinstance(value, dict) and all(is_integer(size) for size in value.values())


def _elements(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(element, list) and len(element) == 2 and isinstance(element[0], str) and is_integer(element[1])
        for element in value
    )
