"""The command line's words: golden tables, the JSON report, progress only on a terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from kmemspec.model.lang.verdict import Outcome, Verdict
from kmemspec.views import report, trace_json

EXPECT = Path(__file__).parent / "expect"
TRACE = trace_json.load(EXPECT / "views_overlap.json")

VERDICTS = [
    Verdict("explore", "B1", Outcome.HOLDS, "all states at pages=8,orders=3", 4801, 20115, 0.4),
    Verdict("explore", "B3", Outcome.VIOLATED, "", 4801, 20115, 0.4, TRACE),
    Verdict("prove", "B1", Outcome.HOLDS, "inductive at pages=8,orders=3", seconds=3.25),
    Verdict("prove", "B3", Outcome.UNKNOWN, "up to depth 4", seconds=60, reason="time limit of 60 s"),
    Verdict("hypothesis", "B1", Outcome.HOLDS, "200 runs of 50 steps"),
]


def all_tables() -> str:
    actions = [report.ActionCount("alloc_pages", 14403, 14403, 4800), report.ActionCount("free_pages", None, 0)]
    coverage = report.BranchCoverage(30, 32, ("model/buddy.py:41 true", "model/buddy.py:77 false"))
    kills = [
        report.KillRow("merge-ignores-order", {
            "explore": report.Kill(Outcome.VIOLATED, "B3 overlap", 5, 0.31),
            "prove": report.Kill(Outcome.VIOLATED, "B3 overlap", 1, 2.0, reachable=False),
        }),
        report.KillRow("tail-not-head", {"explore": report.Kill(Outcome.HOLDS, seconds=0.4, bound="pages=8,orders=3")}),
        report.KillRow("slow", {"prove": report.Kill(Outcome.UNKNOWN, seconds=60, bound="depth 4")}, expected=False),
    ]
    return "\n".join([
        report.plain(report.verdict_table(VERDICTS, "buddy at pages=8,orders=3", {"B1": "coverage"})),
        report.plain(report.action_table(actions)),
        report.coverage_text(coverage),
        report.plain(report.kill_table(kills)),
        report.plain(report.verdict_table([])),
    ])


def test_tables() -> None:
    assert all_tables() == (EXPECT / "views_report.txt").read_text()


def test_show_is_plain_in_a_pipe_and_whole_on_a_terminal() -> None:
    from rich.console import Console

    table = report.verdict_table(VERDICTS, "[bold]title")
    pipe = io.StringIO()
    report.show(table, report.console(pipe))
    assert pipe.getvalue() == report.plain(table)
    terminal = io.StringIO()
    report.show(table, Console(file=terminal, force_terminal=True, width=140, markup=False))
    words = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).split()
    assert {"[bold]title", "✓", "✗", "violated", "inductive"} <= set(words)


def test_json_report() -> None:
    data = json.loads(report.json_report("buddy", {"pages": 8}, VERDICTS, "a-fault"))
    assert data["schema"] == "kmemspec-report/1"
    head = [data[key] for key in ("spec", "scope", "fault", "verdict")]
    assert head == ["buddy", {"pages": 8}, "a-fault", "violated"]
    assert [result["verdict"] for result in data["results"]] == ["holds", "violated", "holds", "unknown", "holds"]
    assert set(data["results"][0]) >= {
        "engine", "property", "verdict", "bound", "states", "transitions", "seconds", "trace"}
    assert trace_json.from_json(data["results"][1]["trace"], "the report") == TRACE


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    for stream, shown in [(io.StringIO(), False), (Terminal(), True)]:
        with report.Progress(stream, interval=0) as progress:
            progress.update("explore", states=1000, frontier=20)
        if not shown:
            assert stream.getvalue() == ""
    text = report.progress_text("explore", {"states": 400_000, "frontier": 20}, 4.0)
    assert text == "explore: states 400,000, frontier 20, 100,000 states/s, 0:00:04"
