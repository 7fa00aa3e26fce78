"""A trace in the Informal Trace Format (Apalache ADR-015), which TLA+, Apalache and Quint tools read.

The one idea: what ITF has a place for is there (`vars`, `states`, `loop`, Quint's `mbt::` variables for the action
and its nondeterministic picks), and the rest is in `#meta` under "kmemspec", so that a file gives back its trace.
An optional field is a variant, `{"tag": "Some", "value": …}` or `{"tag": "None", "value": {"#tup": []}}`, in every
state, because ITF values have types; a field is optional if it is None anywhere in the trace. The last state of a lasso
is the one that `loop` names once more, for the action that leads back to it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ..model.lang.errors import InputError
from ..model.lang.trace import TRACE_SCHEMA, Plain, Step, Trace
from .strict_json import Fields, RejectedError, Where, is_integer, is_list, is_object, place, read
from .text import printable
from .trace_json import STEPS, from_header, header, lines, naming, write

ACTION = "mbt::actionTaken"
PICKS = "mbt::nondetPicks"
INITIAL = "init"
SMALL = (1 << 53) - 1
"""Beyond it a JSON number is not exact for every reader, and the ADR asks for `#bigint`."""

NOTHING: dict[str, Any] = {"tag": "None", "value": {"#tup": []}}
DESCRIPTION = "https://apalache-mc.org/docs/adr/015adr-trace.html"


def is_itf(data: Mapping[str, Any]) -> bool:
    """Whether JSON data looks like ITF and not like a kmemspec trace."""
    return "states" in data or "#meta" in data or "vars" in data


# --- writing -----------------------------------------------------------------------------------------------------


def to_itf(trace: Trace) -> dict[str, Any]:
    """A trace as ITF data."""
    names = list(trace.steps[0].state)
    for name in names:
        if not name.isidentifier():
            raise InputError(f"the state field {printable(name, 40)!r} is not a name", "ITF needs names for variables")
    optional = _optional_places(trace)
    picks = list(dict.fromkeys(name for step in trace.steps for name in step.arguments))
    choices = max(len(step.choices) for step in trace.steps)
    about = {key: value for key, value in header(trace).items() if key != "loop"}
    return {
        "#meta": {
            "format": "ITF",
            "format-description": DESCRIPTION,
            "source": trace.spec,
            "status": "violation" if trace.violation else "ok",
            "kmemspec": {"schema": TRACE_SCHEMA, **about},
        },
        "vars": [*names, ACTION, PICKS],
        "states": [_state(step, index, optional, picks, choices) for index, step in enumerate(trace.steps)],
        **({} if trace.loop is None else {"loop": trace.loop}),
    }


def _state(step: Step, index: int, optional: set[str], picks: list[str], choices: int) -> dict[str, Any]:
    drawn: dict[str, Any] = dict.fromkeys(picks, NOTHING)
    for name, value in step.arguments.items():
        drawn[name] = _some(_encode(value, f"argument {name}", optional))
    for number in range(choices):
        made = number < len(step.choices)
        drawn[_choice_name(number)] = _some(_number(step.choices[number])) if made else NOTHING
    return {
        "#meta": {
            "index": index,
            "kmemspec": {"arguments": list(step.arguments), "result": _encode(step.result, "result", {"result"})},
        },
        **{name: _encode(value, name, optional) for name, value in step.state.items()},
        ACTION: step.action or INITIAL,
        PICKS: drawn,
    }


def _choice_name(number: int) -> str:
    """No argument has such a name, for it is not an identifier."""
    return f"choose#{number}"


def _optional_places(trace: Trace) -> set[str]:
    """Places (a path with `[]` for every index) that are None somewhere."""
    found: set[str] = set()
    for step in trace.steps:
        found.update(f"argument {name}" for name, value in step.arguments.items() if value is None)
        stack: list[tuple[str, Plain]] = list(step.state.items())
        while stack:
            place, value = stack.pop()
            if value is None:
                found.add(place)
            elif isinstance(value, Mapping):
                stack.extend((f"{place}.{key}", child) for key, child in value.items())
            elif isinstance(value, list | tuple):
                stack.extend((f"{place}[]", child) for child in value)
    return found


def _encode(value: Plain, place: str, optional: set[str]) -> Any:
    if value is None:
        return NOTHING
    if isinstance(value, Mapping):
        record = {key: _encode(child, f"{place}.{key}", optional) for key, child in value.items()}
        # A record that would read as a variant becomes one, so that reading it is unambiguous.
        return {"tag": "Record", "value": record} if record.keys() == {"tag", "value"} else record
    if isinstance(value, list | tuple):
        return [_encode(child, f"{place}[]", optional) for child in value]
    plain = value if isinstance(value, bool | str) else _number(value)
    return _some(plain) if place in optional else plain


def _some(value: Any) -> dict[str, Any]:
    return {"tag": "Some", "value": value}


def _number(value: int) -> Any:
    return value if -SMALL <= value <= SMALL else {"#bigint": str(value)}


def text(trace: Trace) -> str:
    """The content of an ITF file."""
    return lines(to_itf(trace), "states")


def save(trace: Trace, file: str | os.PathLike[str]) -> None:
    write(file, text(trace))


# --- reading -----------------------------------------------------------------------------------------------------


def load(file: str | os.PathLike[str]) -> Trace:
    """The trace in an ITF file that kmemspec wrote."""
    return from_itf(read(file), printable(os.fspath(file)))


def from_itf(data: Mapping[str, Any], name: str) -> Trace:
    """The trace in ITF data; `name` is the file in messages."""
    return naming(name, lambda: _trace(data))


def _trace(data: Mapping[str, Any]) -> Trace:
    top = Fields(dict(data), "the ITF trace")
    meta = top.take("#meta", "an object", is_object, {})
    about = meta.get("kmemspec")
    if not isinstance(about, dict) or about.get("schema") != TRACE_SCHEMA:
        raise RejectedError("an ITF trace without \"kmemspec\" in its #meta; it does not name its specification")
    variables = top.take("vars", "a list of strings", _texts)
    states = top.take("states", "a list", is_list)
    loop = top.take("loop", "a state number", is_integer, None)
    top.take("params", "a list", is_list, [])
    top.done()
    if not 1 <= len(states) <= STEPS:
        raise RejectedError(f"the trace has {len(states)} states, not 1 to {STEPS}")
    steps = tuple(_step(state, index, variables) for index, state in enumerate(states))
    fields = Fields({**about, "loop": loop}, "#meta.kmemspec")
    fields.text("schema")
    trace = from_header(fields, steps)
    fields.done()
    return trace


def _step(raw: Any, index: int, variables: list[str]) -> Step:
    where = f"state {index}"
    fields = Fields(raw, where)
    meta = Fields(fields.take("#meta", "an object", is_object), f"{where}.#meta")
    meta.take("index", "a number", is_integer, index)
    own = Fields(meta.take("kmemspec", "an object", is_object), f"{where}.#meta.kmemspec")
    action = fields.text(ACTION)
    picks = {
        name: _decode(pick["value"], (None, f"{where}.{PICKS}"))
        for name, pick in fields.take(PICKS, "an object of variants", _are_variants).items()
        if pick["tag"] != "None"
    }
    names = own.take("arguments", "a list of strings", _texts, [])
    missing = next((name for name in names if name not in picks), None)
    if missing is not None:
        raise RejectedError(f"{where}.{PICKS} has no {printable(missing, 40)!r}")
    arguments = {name: picks.pop(name) for name in names}
    choices = tuple(picks.pop(_choice_name(number), None) for number in range(len(picks)))
    if picks or not all(is_integer(choice) for choice in choices):
        raise RejectedError(f"{where}.{PICKS} has picks that are neither arguments nor choices")
    result = _decode(own.take("result", "a value", lambda value: True, None), (None, f"{where}.#meta.kmemspec.result"))
    state = {
        name: _decode(fields.take(name, "a value", lambda value: value is not None), ((None, where), name))
        for name in dict.fromkeys(variables)
        if name not in (ACTION, PICKS)
    }
    fields.done()
    return Step("" if index == 0 and action == INITIAL else action, arguments, choices, result, state)


_DIGITS = re.compile(r"-?[0-9]{1,20}")


def _decode(value: Any, where: Where) -> Plain:
    if isinstance(value, list):
        return [_decode(element, (where, index)) for index, element in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"#bigint"}:
        digits = value["#bigint"]
        if not isinstance(digits, str) or not _DIGITS.fullmatch(digits):
            raise RejectedError(f"{place(where)} has no number of at most 20 digits in #bigint")
        return int(digits)
    if value.keys() == {"tag", "value"}:
        return _variant(value["tag"], value["value"], where)
    odd = next((key for key in value if key.startswith("#")), None)
    if odd is not None:
        raise RejectedError(f"{place(where)} is a {printable(odd, 40)}, which no kmemspec state has")
    return {key: _decode(child, (where, key)) for key, child in value.items()}


def _variant(tag: Any, value: Any, where: Where) -> Plain:
    if tag == "None":
        return None
    if tag == "Some":
        return _decode(value, where)
    if tag == "Record" and isinstance(value, dict):
        return {key: _decode(child, (where, key)) for key, child in value.items()}
    raise RejectedError(f"{place(where)} has the variant {printable(json.dumps(tag), 40)}, not Some or None")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)


def _are_variants(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pick, dict) and pick.keys() == {"tag", "value"} for pick in value.values()
    )
