"""The program as a process: exit statuses, streams, signals, a terminal, places that cannot be written."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kmemspec.proofs.explore.interrupts import deferred_signals

Kmemspec = Callable[..., "Done"]  # type: ignore[name-defined]  # noqa: F821 (of conftest)
ROOT = Path(__file__).parent.parent
ADAPTERS = Path(__file__).parent / "adapters"
SMALL = "pages=4,orders=2"

# Statuses of 2 are in test_cli_inputs.py.
STATUSES: list[tuple[int, str]] = [
    (0, f"check blocks --scope {SMALL} --engine explore,hypothesis"),
    (1, "check --fault D7 --engine explore"),
    (3, "check buddy --scope pages=24,orders=4 --engine explore --seconds 0.1"),
    (0, f"explore buddy --scope {SMALL}"),
    (1, "explore buddy --fault D7"),
    (3, "explore buddy --states 50"),
    (0, "simulate buddy --walks 3 --depth 50"),
    (1, "simulate buddy --fault D7 --walks 100"),
    (0, f"prove blocks --scope {SMALL}"),
    (3, "prove buddy --fault D7 --only B9"),
    (1, "prove buddy --fault D7 --depth 3"),
    (3, "prove buddy --seconds 0.01"),
    (0, f"prove blocks --scope {SMALL} --depth 1"),
    (0, "faults"),
    (0, "faults show D7"),
    (0, "faults run D7 --engine explore"),
    (3, f"faults run D7 --engine explore --scope {SMALL}"),
    (0, "graph blocks --scope pages=2,orders=2"),
    (0, "explain B9 --spec buddy"),
    (0, f"validate page-allocator {ADAPTERS}/buddy.py:Buddy --examples 3 --seconds 2"),
    (1, f"validate page-allocator {ADAPTERS}/broken.py:NeverMerges --examples 3 --pages 2 --orders 2 --seconds 5"),
    (0, "--version"),
]


@pytest.mark.parametrize(("status", "command"), STATUSES, ids=[command[:50] for _, command in STATUSES])
def test_exit_status(status: int, command: str, kmemspec: Kmemspec) -> None:
    done = kmemspec(*command.split())
    assert (done.status, done.err) == (status, ""), done.out
    assert done.out


def test_help_is_instant(environment: dict[str, str]) -> None:
    """No engine, no table library: what is imported decides how long `--help` takes."""
    code = (
        "import sys\nfrom kmemspec.cli import build_parser\nbuild_parser().format_help()\n"
        "heavy = {'z3', 'llvmlite', 'hypothesis', 'rich', 'cffi', 'graphviz', 'kmemspec.commands', 'kmemspec.proofs'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- streams


def test_the_report_alone_on_standard_output(kmemspec: Kmemspec) -> None:
    one = kmemspec("check", "buddy", "--fault", "D7", "--engine", "explore", "--json", "-")
    report = json.loads(one.out)
    assert (one.status, report["schema"], report["verdict"]) == (1, "kmemspec-report/1", "violated")
    assert report["fault"] == "D7"
    keys = {"engine", "property", "verdict", "bound", "states", "transitions", "seconds", "trace"}
    assert all(keys <= set(result) for result in report["results"])
    assert "B9 violated" in one.err
    several = kmemspec("check", "buddy", "blocks", "--engine", "explore", "--scope", SMALL, "--json", "-")
    reports = json.loads(several.out)
    assert (several.status, reports["schema"], reports["verdict"]) == (0, "kmemspec-reports/1", "holds")
    assert [report["spec"] for report in reports["reports"]] == ["buddy", "blocks"]
    kills = json.loads(kmemspec("faults", "run", "D7", "--engine", "explore", "--json", "-").out)
    assert [(kill["fault"], kill["outcome"]) for kill in kills["kills"]] == [("D7", "violated")]


def test_a_trace_cut_out_of_a_report_replays(kmemspec: Kmemspec, tmp_path: Path) -> None:
    kmemspec("explore", "buddy", "--fault", "D7", "--json", "report.json", "--all")
    report = json.loads((tmp_path / "report.json").read_text())
    traces = [result["trace"] for result in report["results"] if result["trace"]]
    assert len(traces) > 1
    for trace in traces:
        (tmp_path / "cut.json").write_text(json.dumps(trace))
        done = kmemspec("replay", "cut.json")
        assert (done.status, done.err) == (1, "")


def test_a_counterexample_to_induction_decides_nothing(kmemspec: Kmemspec) -> None:
    found = kmemspec("prove", "buddy", "--fault", "D7", "--only", "B9", "-o", "cti")
    again = kmemspec("replay", "cti.json")
    assert (found.status, again.status) == (3, 3)
    assert again.out.count("perhaps unreachable") == 2  # at its first state, and below


def test_symbols_on_a_poor_stream(kmemspec: Kmemspec) -> None:
    for encoding in ("ascii", "latin-1", "ascii:strict"):
        done = kmemspec("explore", "buddy", "--fault", "D7", PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
        assert done.status == 1
        assert done.err == ""
        assert "x B9 violated" in done.out


def pipeline(text: str, cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    """A line of shell; its status is that of kmemspec. Gives the status and what standard error got."""
    script = f'kmemspec() {{ "{sys.executable}" -m kmemspec "$@"; }}\nset -o pipefail\n{text}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_is_no_noise(tmp_path: Path, environment: dict[str, str]) -> None:
    for command in ("explore buddy --fault D7", "check --help", "explain B4 --spec buddy"):
        for reader in ("head -1 > /dev/null", "true"):
            status, err = pipeline(f"kmemspec {command} | {reader}", tmp_path, environment)
            assert err == "", (command, reader)
            assert status in (0, 1, 128 + signal.SIGPIPE), (command, reader)
    assert (tmp_path / "buddy-D7-trace.json").exists()


def test_closed_and_full_outputs(tmp_path: Path, environment: dict[str, str]) -> None:
    run = "kmemspec explore buddy --fault D7"
    status, err = pipeline(f"mkdir gone && cd gone && rmdir ../gone && {run}", tmp_path, environment)
    assert (status, err) == (2, "kmemspec: the current directory: No such file or directory\n")
    assert pipeline(f"{run} >&-", tmp_path, environment) == (1, "")
    assert pipeline(f"{run} >&- 2>&- <&-", tmp_path, environment) == (1, "")
    assert pipeline(f"{run} > /dev/null 2> /dev/full", tmp_path, environment) == (1, "")
    status, err = pipeline(f"{run} > /dev/full", tmp_path, environment)
    assert status == 2
    assert err == "kmemspec: standard output: No space left on device\n"


# --- places


def test_a_violation_is_reported_where_nothing_can_be_written(kmemspec: Kmemspec, tmp_path: Path) -> None:
    # /proc cannot be written by anyone, root included.
    done = kmemspec("explore", "buddy", "--fault", "D7", cwd="/proc/self")
    assert done.status == 1
    assert "✗ B9 violated" in done.out
    assert done.err.startswith("kmemspec: buddy-D7-trace.json")
    assert done.err.count("\n") == 1
    # A disk that fills up during the work: the answer is shown, and the missing report is a failure of its own.
    held = kmemspec("explore", "buddy", "--scope", SMALL, "--json", "/dev/full")
    assert (held.status, held.err.count("\n")) == (2, 1)
    assert "✓ all hold" in held.out
    assert "No space left" in held.err
    assert kmemspec("explore", "buddy", "--fault", "D7", "--json", "/dev/full").status == 1


@pytest.mark.parametrize("cache", ["/proc/self/cache", "/dev/null/cache", "", None])
def test_a_cache_that_cannot_be_written(cache: str | None, kmemspec: Kmemspec, environment: dict[str, str]) -> None:
    if cache is None:
        for name in ("HOME", "XDG_CACHE_HOME", "KMEMSPEC_CACHE"):
            environment.pop(name, None)
    else:
        environment["KMEMSPEC_CACHE"] = cache
        environment["HOME"] = environment["XDG_CACHE_HOME"] = "/proc/self"
    done = kmemspec("explore", str(ROOT / "examples" / "ring_buffer.py"))
    assert done.status == 0
    assert done.err.count("\n") <= 1
    assert "Traceback" not in done.err


# --- signals


def start(environment: dict[str, str], cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kmemspec", *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )


def work(process: subprocess.Popen[str]) -> None:
    """Wait until the program is well beyond loading, by its own processor time: the machine may be slow."""
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        assert process.poll() is None, process.communicate()
        times = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        if sum(map(int, times)) > 1.2 * os.sysconf("SC_CLK_TCK"):
            return
        time.sleep(0.05)


BIG = "pages=32,orders=4"
LONG = [
    (signal.SIGINT, f"explore buddy --scope {BIG}", "interrupted"),
    (signal.SIGINT, "simulate buddy --walks 100000000", "interrupted"),
    (signal.SIGINT, f"check buddy blocks --scope {BIG} --engine explore,hypothesis", "not checked: blocks"),
    (signal.SIGTERM, "prove buddy --scope pages=32,orders=5", "interrupted"),
    (signal.SIGINT, f"faults run --engine explore --scope {BIG}", "interrupted"),
    (signal.SIGINT, f"validate page-allocator {ADAPTERS}/buddy.py:Buddy --examples 100000 --seconds 99", "interrupted"),
]
LONGER = [
    (signal.SIGTERM, f"explore buddy --scope {BIG}", "interrupted"),
    (signal.SIGINT, "check buddy --scope pages=64,orders=7 --engine hypothesis", ""),
    (signal.SIGINT, "prove buddy --scope pages=32,orders=5", "interrupted"),
    (signal.SIGINT, "prove buddy --depth 50", "interrupted"),
]
CASES = [*LONG, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONGER)]


NAMES = [f"{number.name} {command[:40]}" for number, command, _ in (*LONG, *LONGER)]


@pytest.mark.parametrize(("number", "command", "words"), CASES, ids=NAMES)
def test_interrupted(
    number: signal.Signals, command: str, words: str, environment: dict[str, str], tmp_path: Path, kmemspec: Kmemspec
) -> None:
    kmemspec("explore", "buddy", "--scope", SMALL)  # the native code is in the cache from now on
    process = start(environment, tmp_path, *command.split())
    work(process)
    begun = time.monotonic()
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the whole group
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert (process.returncode, err) == (3, ""), out
    assert words in out
    leftovers = subprocess.run(["ps", "-eo", "sid="], capture_output=True, text=True, check=True).stdout.split()
    assert str(process.pid) not in leftovers


def test_signals_wait_for_compiled_code() -> None:
    """An exception must not begin in a callback from compiled code, which would go on with a wrong answer."""
    before = signal.getsignal(signal.SIGINT)
    reached = False

    def compiled_code() -> None:
        nonlocal reached
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
        reached = True

    with pytest.raises(KeyboardInterrupt), deferred_signals():
        compiled_code()
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_after_a_violation(environment: dict[str, str], tmp_path: Path, kmemspec: Kmemspec) -> None:
    kmemspec("explore", "buddy", "--fault", "D7")
    process = start(environment, tmp_path, *f"explore buddy --fault D7 --all --scope {BIG}".split())
    work(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    assert "B9 violated" in out
    assert (tmp_path / "buddy-D7-trace.json").exists()


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_interrupted_at_the_very_start(delay: float, environment: dict[str, str], tmp_path: Path) -> None:
    process = start(environment, tmp_path, "explore", "buddy", "--scope", BIG)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # Before our first line runs, Python's own death by SIGINT is all there can be.
    assert process.returncode in (3, -signal.SIGINT)
    if process.returncode == 3:
        assert "Traceback" not in err


# --- a terminal


def on_a_terminal(environment: dict[str, str], cwd: Path, *arguments: str) -> tuple[str, str]:
    """What the program writes to standard output and to standard error, both terminals of 120 columns."""
    pairs = [pty.openpty(), pty.openpty()]
    process = subprocess.Popen(
        [sys.executable, "-m", "kmemspec", *arguments], cwd=cwd, stdin=subprocess.DEVNULL,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "120"}, stdout=pairs[0][1], stderr=pairs[1][1],
    )
    for _, slave in pairs:
        os.close(slave)
    texts = {pairs[0][0]: b"", pairs[1][0]: b""}
    living = set(texts)
    while living:
        for master in select.select(list(living), [], [], 60)[0]:
            try:
                data = os.read(master, 1 << 16)
            except OSError:  # the other side is closed
                data = b""
            texts[master] += data
            if not data:
                living.discard(master)
                os.close(master)
    process.wait(timeout=60)
    out, err = (text.decode() for text in texts.values())
    return out, err


def test_progress_and_colour_only_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    command = ("explore", "buddy", "--scope", BIG, "--seconds", "1")
    out, err = on_a_terminal(environment, tmp_path, *command)
    assert re.search(r"buddy / explore: states [\d,]+.*states/s", err)
    assert "\x1b[3" in out  # colours
    out, _ = on_a_terminal({**environment, "NO_COLOR": "1"}, tmp_path, *command)
    assert not re.search(r"\x1b\[[\d;]*3\dm", out)
    assert "? undecided" in out
    _, err = on_a_terminal({**environment, "TERM": "dumb"}, tmp_path, *command)
    assert "Traceback" not in err
