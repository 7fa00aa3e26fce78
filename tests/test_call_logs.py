"""Call logs: the recorded ones are accepted, every kind of corruption is found and explained, all three formats."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main
from kmemspec.model.lang.errors import InputError
from kmemspec.model.lang.verdict import Outcome
from kmemspec.specs.logs import clauses as of
from kmemspec.specs.logs.validation import LogValidation, validate_log

LOGS = Path(__file__).parent / "data" / "logs"
Record = dict[str, Any]


def records(name: str) -> list[Record]:
    return [json.loads(line) for line in (LOGS / f"{name}.jsonl").read_text().splitlines()]


def checked(directory: Path, log: list[Record] | str) -> LogValidation:
    path = directory / "log"
    path.write_text(log if isinstance(log, str) else "".join(json.dumps(one) + "\n" for one in log))
    return validate_log(str(path))


@pytest.mark.parametrize("name", ["bbu_slab", "cloudwu", "freertos_heap4", "tlsf"])
def test_the_recorded_logs_are_accepted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = validate_log(str(LOGS / f"{name}.jsonl"))
    assert found.outcome is Outcome.HOLDS
    assert found.rejection is None
    assert found.calls == 400
    held = {answer.clause.name for answer in found.answers if answer.outcome is Outcome.HOLDS}
    assert {"disjoint", "aligned", "in-bounds", "double-free", "foreign-free", "named-once"} <= held
    assert main(["validate", "log", str(LOGS / f"{name}.jsonl")]) == 0
    assert "✓ the log is accepted" in capsys.readouterr().out


# --- corruptions

KINDS: dict[str, tuple[str, str, Callable[[list[Record]], object]]] = {}


def kind(clause: str, log: str) -> Callable[[Callable[[list[Record]], object]], Callable[[list[Record]], object]]:
    def note(function: Callable[[list[Record]], object]) -> Callable[[list[Record]], object]:
        KINDS[function.__name__] = clause, log, function
        return function

    return note


def nth(log: list[Record], op: str, number: int) -> int:
    return [position for position, one in enumerate(log) if one["op"] == op][number]


@kind("double-free", "tlsf")
def freed_twice(log: list[Record]) -> None:
    log.insert(nth(log, "free", 60) + 3, dict(log[nth(log, "free", 60)]))


@kind("foreign-free", "freertos_heap4")
def freed_without_alloc(log: list[Record]) -> None:
    log.insert(200, {"op": "free", "id": 99999})


@kind("disjoint", "tlsf")
def a_free_dropped(log: list[Record]) -> None:
    """One whose memory is given again."""
    position = nth(log, "free", 3)
    address = next(one["at"] for one in log if one["op"] == "alloc" and one["id"] == log[position]["id"])
    assert any(one.get("at") == address for one in log[position:])
    del log[position]


@kind("disjoint", "bbu_slab")
def given_twice(log: list[Record]) -> None:
    log.insert(nth(log, "alloc", 9) + 1, {**log[nth(log, "alloc", 9)], "id": 99999})


@kind("disjoint", "freertos_heap4")
def larger_than_there_is_room(log: list[Record]) -> None:
    log[nth(log, "alloc", 1)]["size"] += 400


@kind("aligned", "tlsf")
def not_aligned(log: list[Record]) -> None:
    log[nth(log, "alloc", 30)]["at"] += 4


@kind("aligned", "cloudwu")
def a_buddy_not_at_its_own_size(log: list[Record]) -> None:
    position = next(number for number, one in enumerate(log) if one["op"] == "alloc" and one["size"] == 4)
    log[position]["at"] = 130


@kind("in-bounds", "tlsf")
def outside_the_arena(log: list[Record]) -> None:
    log[nth(log, "alloc", 30)]["at"] = log[0]["arena"] - 8


@kind("exact-success", "cloudwu")
def refused_though_there_is_room(log: list[Record]) -> None:
    log[nth(log, "alloc", 50)]["at"] = None


@kind("capacity", "freertos_heap4")
def refused_when_all_is_free(log: list[Record]) -> None:
    live: set[int] = set()
    for position, one in enumerate(log[1:], 1):
        (live.add if one["op"] == "alloc" else live.discard)(one["id"])
        if not live:
            log.insert(position + 1, {"op": "alloc", "id": 99999, "size": 5, "at": None})
            return


@kind("one-size", "bbu_slab")
def an_object_of_another_size(log: list[Record]) -> None:
    log[0]["object_size"] = 48
    log[nth(log, "alloc", 40)]["size"] = 40


@kind("named-once", "tlsf")
def a_name_given_twice(log: list[Record]) -> None:
    log[nth(log, "alloc", 1)]["id"] = log[nth(log, "alloc", 0)]["id"]


@kind("realloc-live", "tlsf")
def resized_after_free(log: list[Record]) -> None:
    position = nth(log, "free", 20)
    log.insert(position + 1, {"op": "realloc", "id": log[position]["id"], "size": 8, "at": 8})


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_corruption_is_found_and_cut_down(tmp_path: Path, name: str) -> None:
    clause, log, corrupt = KINDS[name]
    changed = records(log)
    corrupt(changed)
    found = checked(tmp_path, changed)
    rejection = found.rejection
    assert rejection is not None
    assert rejection.clause.name == clause
    assert rejection.history[-1][0] == rejection.line
    assert rejection.accepted < 401
    assert 1 < len(rejection.cut) <= 5
    again = checked(tmp_path, "".join(f"{text}\n" for _, text in rejection.cut))
    assert again.rejection is not None
    assert again.rejection.clause is rejection.clause


def test_every_clause_is_broken_by_some_kind() -> None:
    assert {clause for clause, _, _ in KINDS.values()} == {clause.name for clause in of.CLAUSES}


def test_the_history_is_the_whole_of_the_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log: list[Record] = [
        {"op": "init", "kind": "heap", "arena": 4096, "align": 8, "first": 0},
        {"op": "alloc", "id": "a", "size": 40, "at": 64}, {"op": "alloc", "id": "other", "size": 8, "at": 512},
        {"op": "realloc", "id": "a", "size": 80, "at": 128}, {"op": "realloc", "id": "a", "size": 4000, "at": None},
        {"op": "free", "id": "a"}, {"op": "free", "id": "other"}, {"op": "free", "id": "a"},
    ]  # fmt: skip
    rejection = checked(tmp_path, log).rejection
    assert rejection is not None
    assert [line for line, _ in rejection.history] == [2, 4, 5, 6, 8]
    assert [line for line, _ in rejection.cut] == [1, 2, 6, 8]
    cut = tmp_path / "cut"
    assert main(["validate", "log", str(tmp_path / "log"), "--cut", str(cut), "--json", str(tmp_path / "j")]) == 1
    assert "✗ line 8: double-free: a block is freed once" in capsys.readouterr().out
    assert cut.read_text().count("\n") == 4
    assert json.loads((tmp_path / "j").read_text())["rejection"]["accepted"] == 6


def test_logs_that_are_not_whole_cannot_be_told(tmp_path: Path) -> None:
    free: Record = {"op": "free", "id": 7}
    again: list[Record] = [{"op": "alloc", "id": 1, "size": 8, "at": 64}, {"op": "alloc", "id": 2, "size": 8, "at": 64}]
    midway = checked(tmp_path, [{"op": "init", "midway": True}, free, again[0], {"op": "free", "id": 1}])
    assert midway.outcome is Outcome.HOLDS
    assert {reason for answer in midway.answers for reason, _ in answer.unknown} >= {of.BEGUN_LATER}
    assert checked(tmp_path, [{"op": "init", "midway": True}, *again]).outcome is Outcome.VIOLATED
    partial = checked(tmp_path, [{"op": "init", "partial": True}, *again, {"op": "free", "id": 1}])
    assert partial.rejection is None
    assert {reason for answer in partial.answers for reason, _ in answer.unknown} >= {of.NOT_ALL_CALLS}
    assert checked(tmp_path, [{"op": "init"}, free]).outcome is Outcome.VIOLATED


def test_a_buddy_refuses_only_when_there_is_no_run(tmp_path: Path) -> None:
    head: Record = {"op": "init", "kind": "buddy", "arena": 64, "min_block": 16, "align": 16, "first": 4096}
    calls: list[Record] = [
        {"op": "alloc", "id": 1, "size": 10, "at": 4096}, {"op": "alloc", "id": 2, "size": 33, "at": None},
        {"op": "alloc", "id": 3, "size": 32, "at": 4128}, {"op": "alloc", "id": 4, "size": 17, "at": None},
        {"op": "alloc", "id": 5, "size": 99, "at": None},
    ]  # fmt: skip
    assert checked(tmp_path, [head, *calls]).outcome is Outcome.HOLDS
    refused = checked(tmp_path, [head, *calls, {"op": "alloc", "id": 6, "size": 16, "at": None}]).rejection
    assert refused is not None
    assert refused.message == "16 were refused, yet 16 are free at 4112"


# --- mtrace


PROGRAM = """
#include <mcheck.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    void *fill[7], *a, *b, *aligned = 0;
    char *leak, *grown;
    mtrace();
    for (int i = 0; i < 7; i++) fill[i] = malloc(24);
    a = malloc(24); b = calloc(3, 8);
    grown = realloc(malloc(100), 5000);
    if (posix_memalign(&aligned, 256, 1000)) return 1;
    leak = strdup("never freed");
    for (int i = 0; i < 7; i++) free(fill[i]);
    free(grown); free(aligned); free(a); free(b);
    if (argc > 1) free(a); /* the caches are full, so that glibc does not notice */
    muntrace();
    return leak == 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_a_real_mtrace_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O0", "-w", "-o", "program", "program.c"], cwd=tmp_path, check=True, timeout=60)
    for name, arguments in (("good", []), ("twice", ["twice"])):
        environment = {**os.environ, "MALLOC_TRACE": f"{name}.log", "LD_PRELOAD": "libc_malloc_debug.so.0"}
        subprocess.run(["./program", *arguments], cwd=tmp_path, env=environment, timeout=60, stderr=subprocess.DEVNULL)
    if not (tmp_path / "good.log").exists():
        pytest.skip("this C library has no mtrace")
    good = validate_log(str(tmp_path / "good.log"))
    assert good.outcome is Outcome.HOLDS
    assert (good.header.format, good.left_blocks, good.left_bytes) == ("mtrace", 1, 12)
    assert main(["validate", "log", str(tmp_path / "good.log")]) == 0
    shown = capsys.readouterr().out
    assert "never freed: 1 block, 12 bytes" in shown
    assert "strdup" in shown
    twice = validate_log(str(tmp_path / "twice.log"))
    assert twice.rejection is not None
    assert twice.rejection.clause.name == "double-free"
    assert len(twice.rejection.cut) == 4


def test_mtrace_text(tmp_path: Path) -> None:
    text = "= Start\n@ a:[1] + 0x1000 0x18\n@ a:[1] < 0x1000\n@ a:[1] > 0x2000 0x30\n@ a:[1] - 0x1000\n= End\n"
    rejection = checked(tmp_path, text).rejection
    assert rejection is not None
    assert (rejection.clause.name, rejection.line) == ("double-free", 5)
    assert rejection.history[1] == (4, "@ a:[1] < 0x1000\n@ a:[1] > 0x2000 0x30")
    again = checked(tmp_path, "".join(f"{text}\n" for _, text in rejection.cut))
    assert again.rejection is not None
    unknown = checked(tmp_path, "= Start\n- 0x5000\n+ 0x1000 0x18\n- 0x1000\n")
    assert (unknown.outcome, unknown.rejection) == (Outcome.HOLDS, None)


# --- ltrace


LTRACE = """\
[pid 7] prog->malloc(24) = 0x1000
prog->calloc(4, 8)                               = 0x1020
12:00:01 realloc(0x1000, 100) = 0x2000
puts("hello") = 6
aligned_alloc(64, 128) = 0x2100
strdup("x") = 0x3000
malloc(99999999999999) = (nil)
free(0x1020) = <void>
free(nil)
free(0x2000)
"""


def test_ltrace_text(tmp_path: Path) -> None:
    found = checked(tmp_path, LTRACE)
    assert (found.outcome, found.calls, found.left_blocks) == (Outcome.HOLDS, 8, 2)
    again = LTRACE + "free(0x2000)\n"
    assert checked(tmp_path, again).rejection is None
    for wrong, clause in (
        ("free(0x2000)", "double-free"), ("free(0x7000)", "foreign-free"), ("malloc(8) = 0x2100", "disjoint"),
        ("malloc(32) = 0x4008", "aligned"), ("memalign(256, 8) = 0x4010", "aligned"),
        ("realloc(0x1020, 8) = 0x1020", "realloc-live"),
    ):  # fmt: skip
        rejection = checked(tmp_path, f"# complete\n{LTRACE}{wrong}\n").rejection
        assert rejection is not None, wrong
        assert rejection.clause.name == clause


# --- files


def test_packed_logs(tmp_path: Path) -> None:
    path = tmp_path / "log.xz"
    path.write_bytes(lzma.compress((LOGS / "tlsf.jsonl").read_bytes()))
    assert validate_log(str(path)).outcome is Outcome.HOLDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"), ("hello\n", "no call log"), ('{"op": "alloc", "id": 1, "size": 8}', "without at"),
        ('{"op": "init"}\n{"op": "init"}', ":2: a second init"), ('{"op": "init"}\n[1]', "not a JSON object"),
        ('{"op": "alloc", "id": 1, "size": -8, "at": 0}', "size is not a number"),
        ('{"op": "alloc", "id": 1, "size": 8, "at": "x"}', "at is not a number"),
        ('{"op": "alloc", "id": [], "size": 8, "at": 1}', "id is not"), ('{"op": "steal", "id": 1}', "op is 'steal'"),
        ('{"op": "init", "align": 3}\n', "no power of two"), ("= Start\nhello\n", ":2: this"),
        ('{"op": "free", "id": 1}\n' + "{" * 60000, ":2: this is not"),
        ('{"op": "free", "id": 1e5}', "id is not"), ("= Start\n@ a + 0x10\n", "no size"),
        ("- 0x10\n> 0x20 0x8\n", "has none with <"), ("malloc(many) = 0x10", "not a size"), ("x" * 70000, "too long"),
        ('{"op": "init", "min_block": 0}', "min_block is 0"),
    ],
)  # fmt: skip
def test_bad_logs_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        checked(tmp_path, text)
    assert main(["validate", "log", str(tmp_path / "log")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
