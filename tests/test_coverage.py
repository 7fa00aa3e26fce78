"""Which branches of the model are taken: the report on a toy, and the claim about the built-in specifications."""

from __future__ import annotations

from pathlib import Path

import pytest
from kmemspec.proofs import coverage
from kmemspec.proofs.coverage import ModelCoverage, model_coverage
from kmemspec.proofs.explore import explore
from kmemspec.specs.loading import load
from kmemspec.views.report import model_coverage_text

TOY = '''\
from typing import Annotated

from kmemspec import FromScope, Parameter, Range, Record, Spec, action, require


class Lamp(Record):
    most: Annotated[int, FromScope("most")]
    on: Annotated[int, Range(0, "most")]


def dark(m: Lamp) -> None:
    m.on = 0


@action
def press(m: Lamp) -> None:
    require(m.on >= 0)
    if m.on > m.most:  # never true: a lamp has no more levels
        m.on = 0
    if m.on == 0:  # never false: a mistake, for it is pressed twice
        m.on = m.most
    elif m.on == 2:
        m.on = 1
    else:
        m.on = 0


SPEC = Spec(
    name="lamp",
    state=Lamp,
    init=dark,
    actions=(press,),
    properties=(),
    parameters=(Parameter("most", 1, "the highest level", least=1, most=2),),
)
'''
LINES = TOY.splitlines()


def toy_coverage(path: Path, *scopes: str) -> ModelCoverage:
    path.write_text(TOY)
    loaded = load(str(path))
    return model_coverage(
        (loaded.program, explore(loaded.program, loaded.spec.scope(scope), quick=True).branches) for scope in scopes
    )


def line_of(text: str) -> int:
    [number] = [number for number, line in enumerate(LINES, 1) if text in line]
    return number


def test_sides_are_reached_explained_mistaken_or_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason beside a branch explains the side that is never taken, one on a side that is taken is a mistake, and
    what is neither taken nor explained is open, until a further scope takes it."""
    monkeypatch.setattr(coverage, "MODEL", str(tmp_path))
    found = toy_coverage(tmp_path / "lamp.py", "most=1")
    assert {(side.line, side.true): reason for side, reason in found.explained.items()} == {
        (line_of("m.on > m.most"), True): "a lamp has no more levels"
    }
    assert {(side.line, side.true) for side in found.mistaken} == {(line_of("m.on == 0:"), False)}
    assert {(side.line, side.true) for side in found.open} == {(line_of("m.on == 2"), True)}
    assert len(found.reached) == 4
    assert [line.partition(":")[0] for line in found.wrong()] == [
        "not reached", "reached, though listed as never reached"
    ]
    text = model_coverage_text(len(found.reached), {str(side): why for side, why in found.explained.items()},
                               found.wrong())
    assert text.startswith("branches of the model: 4 of 6 sides reached by some search, 1 cannot be, for the reasons")
    assert "press: never true" in text
    both = toy_coverage(tmp_path / "lamp.py", "most=1", "most=2")
    assert both.open == frozenset()
    assert both.mistaken == found.mistaken
