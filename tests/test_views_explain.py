"""`explain`: what it looks up, and the ledger of answers behind it, which is outside input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kmemspec.model.faults.catalogue import ALL
from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.proofs import ledger
from kmemspec.specs.loading import BUILT_IN, load
from kmemspec.views import explain

Kmemspec = Callable[..., Any]
SIZES = {"pages": 4, "orders": 2}


def verdict(outcome: Outcome, bound: str = "all 9 states", engine: str = "explore", name: str = "B9") -> Verdict:
    return Verdict(engine, name, outcome, bound, reason="" if outcome is not Outcome.UNKNOWN else "time")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "blocks.ledger.json"


def test_the_ledger_remembers_the_last_decided_answer(cache: Path) -> None:
    loaded = load("blocks")
    assert ledger.recall(loaded.target) == ()
    ledger.remember(loaded, SIZES, [verdict(Outcome.HOLDS), verdict(Outcome.HOLDS, engine="prove")])
    ledger.remember(loaded, SIZES, [verdict(Outcome.UNKNOWN)])
    ledger.remember(loaded, {**SIZES, "pages": 8}, [verdict(Outcome.UNKNOWN)])
    assert [(entry.engine, entry.sizes["pages"], entry.outcome) for entry in ledger.recall(loaded.target)] == [
        ("explore", 4, "holds"), ("prove", 4, "holds"), ("explore", 8, "unknown"),
    ]
    ledger.remember(loaded, SIZES, [verdict(Outcome.VIOLATED, "")])
    assert ledger.recall(loaded.target)[-1].outcome == "violated"
    assert all(entry.is_current(loaded) for entry in ledger.recall(loaded.target))


def test_a_changed_program_makes_answers_stale(cache: Path) -> None:
    loaded = load("blocks")
    before = dataclasses.replace(loaded, program=dataclasses.replace(loaded.program, fingerprint="0"))
    ledger.remember(before, SIZES, [verdict(Outcome.HOLDS)])
    (entry,) = ledger.recall(loaded.target)
    assert not entry.is_current(loaded)
    ledger.remember(loaded, SIZES, [verdict(Outcome.UNKNOWN)])
    (entry,) = ledger.recall(loaded.target)
    assert entry.is_current(loaded)
    assert entry.outcome == "unknown"


def test_answers_about_faults_are_not_remembered(cache: Path) -> None:
    ledger.remember(dataclasses.replace(load("blocks"), fault=ALL[0]), SIZES, [verdict(Outcome.VIOLATED)])
    assert not cache.exists()


GOOD = {
    "fingerprint": "f", "sizes": {"pages": 4}, "engine": "explore", "property": "B9", "outcome": "holds", "bound": "b",
    "reason": "",
}


@pytest.mark.parametrize("entry", [
    None, [], "x", {}, {**GOOD, "more": 1}, {**GOOD, "outcome": "proved"}, {**GOOD, "bound": None},
    {**GOOD, "sizes": {"pages": 4.5}}, {**GOOD, "sizes": {"pages": True}}, {**GOOD, "sizes": [1]},
    {**GOOD, "bound": "x" * 401}, {**GOOD, "sizes": {"pages": 1 << 70}},
])
def test_what_is_no_entry_is_left_out(cache: Path, entry: Any) -> None:
    cache.parent.mkdir()
    cache.write_text(json.dumps({"schema": ledger.SCHEMA, "entries": [entry, GOOD]}))
    assert [found.property for found in ledger.recall("blocks")] == ["B9"]


@pytest.mark.parametrize("content", [
    b"", b"{", b"null", b"[" * 100_000, b"\xff\xfe", b'{"schema": "kmemspec-ledger/1", "entries": 3}',
    b'{"schema": "other", "entries": []}', b" " * (ledger.BYTES_MAX + 1), b'{"schema": ' + b"9" * 5000 + b"}",
])
def test_a_damaged_ledger_is_none_and_is_replaced(cache: Path, content: bytes) -> None:
    loaded = load("blocks")
    cache.parent.mkdir()
    cache.write_bytes(content)
    assert ledger.recall(loaded.target) == ()
    ledger.remember(loaded, SIZES, [verdict(Outcome.HOLDS)])
    assert len(ledger.recall(loaded.target)) == 1


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KMEMSPEC_CACHE", str(tmp_path / "file" / "cache"))
    ledger.remember(load("blocks"), SIZES, [verdict(Outcome.HOLDS)])
    assert ledger.recall("blocks") == ()


@pytest.mark.parametrize("target", BUILT_IN)
def test_every_property_is_explained(target: str) -> None:
    """Words, formal text and, of what names a kernel function that the model has, the place and the version."""
    loaded = load(target)
    for found in explain.explanations(loaded, ALL, [], {}):
        lines = found.text.split("\n")
        words = found.text.split("  must hold  ")[0].split("  origin ")[0]
        assert words.strip().endswith("."), f"{found.identifier} has no words"
        assert f"  verdicts   nothing on this machine yet: run `kmemspec check {target}`" in lines
        assert any(line.startswith("    def ") for line in lines)
        expected = [fault.identifier for fault in ALL if fault.spec == target and found.identifier in fault.expected]
        shown = " ".join(found.text.split("  faults     ")[1].split("\n  verdicts")[0].split())
        assert all(identifier in shown for identifier in expected)


def test_answers_in_words() -> None:
    hostile = explain.Answer("P", "simulate", "unknown", "", "\x1b[31mtime", "n=1", True)
    holds = explain.Answer("P", "explore", "holds", "all 9 reachable states", "", "n=1", True)
    proved = explain.Answer("P", "prove", "holds", "inductive at n=1", "", "n=1", True)
    old = explain.Answer("P", "bounded", "holds", "to depth 3", "", "n=1", False)
    assert explain.established("s", [proved, old, hostile, holds], "P") == [
        "  verdicts   explore: ✓ holds, all 9 reachable states, at n=1",
        "             simulate: ? unknown, \\x1b[31mtime, at n=1",
        "             prove: ✓ holds, inductive at n=1",
        "  stale      bounded answered about an earlier version of s; run again: kmemspec check s",
    ]


def test_the_commands_fill_the_ledger(kmemspec: Kmemspec, tmp_path: Path) -> None:
    cache = {"KMEMSPEC_CACHE": str(tmp_path / "cache")}
    source = Path(__file__).parent.parent / "examples" / "ring_buffer.py"
    (tmp_path / "ring.py").write_text(source.read_text())

    def verdicts(*arguments: str) -> list[str]:
        lines: list[str] = kmemspec("explain", *arguments, **cache).out.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith(("  verdicts", "  stale")))
        return [line.strip() for line in lines[start : lines.index("", start)]]

    assert verdicts("window", "--spec", "ring.py") == [
        "verdicts   nothing on this machine yet: run `kmemspec check ring.py`"
    ]
    assert kmemspec("explore", "ring.py", "--scope", "slots=2", **cache).status == 0
    assert kmemspec("prove", "ring.py", **cache).status == 0
    explored, proved = verdicts("window", "--spec", "ring.py")
    assert explored.startswith("verdicts   explore: ✓ holds, all ")
    assert explored.endswith(", at slots=2, bits=3")
    assert proved == "prove: ✓ holds, inductive at slots=4, bits=3"
    (tmp_path / "ring.py").write_text(source.read_text().replace("ring.head += 1", "ring.head += 2"))
    assert verdicts("window", "--spec", "ring.py") == [
        "stale      explore, prove answered about an earlier version of ring.py; run again: kmemspec check ring.py"
    ]
