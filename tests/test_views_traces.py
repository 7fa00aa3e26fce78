"""Trace files: both formats give the trace back, and whatever is wrong with a file is one clear line."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.trace import Step, Trace, Violation
from kmemspec.views import itf, trace_file, trace_json
from kmemspec.views.strict_json import SIZE

EXPECT = Path(__file__).parent / "expect"
NAMES = ["views_overlap", "views_broken", "views_ring"]


def expected(name: str) -> Trace:
    return trace_json.load(EXPECT / f"{name}.json")


def odd_trace() -> Trace:
    """Values that a format may lose: big numbers, a record like a variant, choices, odd strings, a loop."""
    def state(number: int) -> dict[str, Any]:
        return {
            "counter": number,
            "pair": {"tag": "None" if number else "Some", "value": None if number else 3},
            "mode": "ünïcødé \u202e \n \x1b[31m",
            "deep": [[{"on": True, "at": None}, {"on": False, "at": 1}], []],
            "empty": [],
        }

    steps = (
        Step("", {}, (), None, state(0)),
        Step("init", {"page": None, "order": 2}, (0, 3), None, state(2**64 - 1)),
        Step("take", {"order": 1}, (1,), "label", state(-(2**63))),
        Step("take", {"order": 0, "page": 7}, (), False, state(2**53)),
    )
    violation = Violation('P"><1', "a\nclause", "invariant", (("page", 7), ("order", -1)), "why", "x.py:3")
    return Trace("my spec.py", {"pages": 8}, steps, violation, "a-fault", "prove", True, False, 2, ("one", "two"))


@pytest.mark.parametrize("save", [trace_json.save, itf.save])
@pytest.mark.parametrize("trace", [*map(expected, NAMES), odd_trace()], ids=[*NAMES, "odd"])
def test_round_trip(save: Any, trace: Trace, tmp_path: Path) -> None:
    file = tmp_path / "a trace"
    save(trace, file)
    loaded = trace_file.load_trace(file)
    assert loaded == trace
    assert [list(step.arguments) for step in loaded.steps] == [list(step.arguments) for step in trace.steps]
    assert repr(loaded) == repr(trace)  # True is not 1


def test_suffix_decides_the_format(tmp_path: Path) -> None:
    trace = expected("views_ring")
    trace_file.save_trace(trace, tmp_path / "a.itf.json")
    trace_file.save_trace(trace, tmp_path / "a.json")
    assert "#meta" in json.loads((tmp_path / "a.itf.json").read_text())
    assert json.loads((tmp_path / "a.json").read_text())["schema"] == "kmemspec-trace/1"


def test_itf_is_itf() -> None:
    """The shape that ADR-015 and Quint's readers ask for."""
    data = itf.to_itf(odd_trace())
    assert data["vars"][-2:] == ["mbt::actionTaken", "mbt::nondetPicks"]
    assert data["loop"] == 2
    assert all(state.keys() - {"#meta"} == set(data["vars"]) for state in data["states"])
    assert [state["mbt::actionTaken"] for state in data["states"]] == ["init", "init", "take", "take"]
    assert data["states"][1]["counter"] == {"#bigint": str(2**64 - 1)}
    assert data["states"][0]["counter"] == 0
    assert data["states"][0]["deep"][0][0] == {"on": True, "at": {"tag": "None", "value": {"#tup": []}}}
    assert data["states"][0]["deep"][0][1] == {"on": False, "at": {"tag": "Some", "value": 1}}
    picks = [state["mbt::nondetPicks"] for state in data["states"]]
    assert all(pick.keys() == picks[0].keys() for pick in picks)
    assert picks[2]["order"] == {"tag": "Some", "value": 1}
    assert picks[2]["page"]["tag"] == "None"

    def check(value: Any) -> None:
        assert value is not None
        assert not isinstance(value, float)
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
            check(child)

    for state in data["states"]:
        check({name: value for name, value in state.items() if name != "#meta"})


def one_line(error: InputError, file: Path) -> str:
    text = str(error)
    assert "\n" not in text
    assert "\x1b" not in text
    assert text.startswith(str(file))
    assert error.remedy
    return text


@pytest.mark.parametrize("module", [trace_json, itf])
def test_cut_files(module: Any, tmp_path: Path) -> None:
    """Cut at every 50th byte (and near the end), a file is refused in one line that says so with its line."""
    whole = module.text(expected("views_overlap")).encode()
    file = tmp_path / "cut.json"
    for length in [*range(0, len(whole) - 2, 50), len(whole) - 3, len(whole) - 2]:
        file.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            trace_file.load_trace(file)
        text = one_line(caught.value, file)
        assert "cut short" in text or length == 0
        assert text.startswith(f"{file}:{whole[:length].count(10) + 1}:")


def test_damaged_files(tmp_path: Path) -> None:
    """One damaged byte: either it still is a trace or the message is one line, never anything else."""
    chance = random.Random(2)
    file = tmp_path / "damaged.json"
    for module in (trace_json, itf):
        whole = module.text(expected("views_ring")).encode()
        for _ in range(300):
            data = bytearray(whole)
            data[chance.randrange(len(data))] = chance.randrange(256)
            file.write_bytes(data)
            try:
                trace_file.load_trace(file)
            except InputError as error:
                one_line(error, file)


def mutated(**fields: Any) -> str:
    return json.dumps({**trace_json.to_json(expected("views_ring")), **fields})


def with_step(number: int, **fields: Any) -> str:
    data = trace_json.to_json(expected("views_ring"))
    data["steps"][number].update(fields)
    return json.dumps(data)


def with_state(number: int, **fields: Any) -> str:
    data = trace_json.to_json(expected("views_ring"))
    data["steps"][number]["state"].update(fields)
    return json.dumps(data)


def without(field: str) -> str:
    data = trace_json.to_json(expected("views_ring"))
    del data[field]
    return json.dumps(data)


def itf_with(**fields: Any) -> str:
    data = itf.to_itf(expected("views_ring"))
    places = {"META": "#meta", "PICKS": itf.PICKS}
    for path, value in fields.items():
        node: Any = data
        *way, last = path.split("__")
        for part in way:
            node = node[int(part)] if part.isdigit() else node[places.get(part, part)]
        node[places.get(last, last)] = value
    return json.dumps(data)


REFUSED = {
    "nothing": ("", "empty"),
    "not JSON": ("hello", "not JSON"),
    "a list": ("[]", "not a JSON object"),
    "no schema": ("{}", "schema"),
    "other schema": (mutated(schema="kmemspec-trace/2"), "kmemspec-trace/2"),
    "NaN": (mutated(loop=float("nan")), "NaN is not an integer"),
    "infinity": (mutated(loop=float("-inf")), "-Infinity"),
    "a float": (mutated(scope={"slots": 4.0}), "4.0 is not an integer"),
    "a huge number": (with_state(0, head=0).replace('"head": 0', '"head": ' + "9" * 5000, 1), "more than 20 digits"),
    "nested deeply": ('{"a":' * 100_000, "deep"),
    "nested arrays": ("[" * 1_000_000, "deep"),
    "nested and closed": ('{"schema": ' + "[" * 60 + "]" * 60 + "}", "nested more than 32 deep"),
    "a key twice": ('{"schema": "kmemspec-trace/1", "spec": "a", "spec": "b"}', "'spec' is there twice"),
    "half a surrogate": (mutated(spec="\ud800"), "surrogate"),
    "a long string": (mutated(spec="x" * 5000), "longer than 4096"),
    "no spec": (without("spec"), "no 'spec'"),
    "no steps": (without("steps"), "no 'steps'"),
    "zero steps": (mutated(steps=[]), "0 steps"),
    "steps not a list": (mutated(steps={}), "steps is not a list"),
    "a step not an object": (mutated(steps=[1]), "step 0 is not an object"),
    "unknown field": (mutated(colour="red"), "unknown field 'colour'"),
    "hostile field": (mutated(**{"\x1b[31m\nx": 1}), "unknown field"),
    "scope not numbers": (mutated(scope={"slots": "4"}), "scope is not"),
    "scope of booleans": (mutated(scope={"slots": True}), "scope is not"),
    "shortest not a flag": (mutated(shortest=1), "shortest is not true or false"),
    "loop outside": (mutated(loop=99), '"loop" is 99'),
    "loop a flag": (mutated(loop=True), "loop is not"),
    "violation a string": (mutated(violation="B9"), "violation is not"),
    "violation without clause": (mutated(violation={"property": "P"}), "no 'clause'"),
    "odd elements": (mutated(violation={"property": "P", "clause": "c", "kind": "step", "elements": [["page"]]}),
                     "elements is not"),
    "notes not texts": (mutated(notes=[1]), "notes is not"),
    "first step acts": (with_step(0, action="push"), "initial state"),
    "later step does not": (with_step(2, action=""), "step 2 has no action"),
    "choices not numbers": (with_step(1, choices=["a"]), "choices is not"),
    "arguments nested": (with_step(1, arguments={"a": [1]}), "argument 'a' of step 1"),
    "result nested": (with_step(1, result={}), "result of step 1"),
    "state not an object": (with_step(1, state=[]), "state is not an object"),
    "another field": (with_state(3, extra=1), "state 3 differs"),
    "a shorter array": (with_state(3, slots=[1]), "state 3.slots has 1 elements"),
    "another kind": (with_state(3, slots=7), "state 3.slots is not of the kind"),
    "ITF of others": ('{"vars": [], "states": []}', "kmemspec"),
    "ITF without states": (itf_with(states=[]), "0 states"),
    "ITF states wrong": (itf_with(states=[1]), "state 0 is not an object"),
    "ITF bigint wrong": (itf_with(states__1__head={"#bigint": "1e9"}), "#bigint"),
    "ITF set": (itf_with(states__1__head={"#set": []}), "#set"),
    "ITF null": (itf_with(states__1__head=None), "head is not"),
    "ITF variant": (itf_with(states__1__head={"tag": "Left", "value": 1}), "variant"),
    "ITF picks": (itf_with(states__1__PICKS={}), "has no 'value'"),
    "ITF picks not variants": (itf_with(states__1__PICKS={"value": 3}), "variants"),
    "ITF stray pick": (itf_with(states__1__PICKS__other={"tag": "Some", "value": 3}), "neither"),
    "ITF variable": (itf_with(states__1__other=1), "unknown field 'other'"),
    "ITF vars": (itf_with(vars=[1]), "vars is not"),
    "ITF loop": (itf_with(loop=-1), '"loop" is -1'),
    "ITF meta": (itf_with(META=[]), "#meta is not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    text, says = REFUSED[case]
    file = tmp_path / "refused.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        trace_file.load_trace(file)
    assert says in one_line(caught.value, file)


def test_files_that_are_none(tmp_path: Path) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as stream:
        stream.truncate(SIZE + 1)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b'{\n"schema": "\xff"}')
    for file, says in [
        (tmp_path / "missing.json", "No such file"),
        (tmp_path, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (huge, "more than"),
        (binary, "not UTF-8"),
    ]:
        with pytest.raises(InputError) as caught:
            trace_file.load_trace(file)
        assert says in one_line(caught.value, file)
    with pytest.raises(InputError):
        trace_file.load_trace("a\0b")
    with pytest.raises(InputError):
        trace_file.save_trace(expected("views_ring"), tmp_path / "no" / "where.json")


def test_itf_needs_names() -> None:
    trace = expected("views_ring")
    steps = tuple(dataclasses.replace(step, state={"#meta": 1}) for step in trace.steps)
    with pytest.raises(InputError, match="not a name"):
        itf.to_itf(dataclasses.replace(trace, steps=steps))
