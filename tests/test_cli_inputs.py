"""Broken inputs, one after the other: each is one clear line and status 2, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kmemspec.cli import main

ADAPTERS = Path(__file__).parent / "adapters"

HEAD = """
from typing import Annotated
from kmemspec import Record, Sort, Spec, Parameter, Array, action, require, Range
class State(Record):
    x: Annotated[int, Range(0, 3)]
def init(m: State) -> None:
    m.x = 0
"""
STEP = """
@action
def step(m: State) -> None:
    require(m.x < 3)
    m.x += 1
"""
SPEC = "SPEC = Spec(name='tiny', state=State, init=init, actions=(step,))\n"
GOOD = HEAD + STEP + SPEC

FILES: dict[str, str | bytes] = {
    "good.py": GOOD,
    "empty.py": "",
    "binary.py": bytes(range(256)),
    "nulls.py": "x = 1\0",
    "syntax.py": GOOD + "def broken(:\n",
    "outside.py": HEAD + STEP.replace("m.x += 1", "m.x = {1: 2}[1]") + SPEC,
    "two.py": GOOD + SPEC.replace("SPEC", "OTHER", 1),
    "raises.py": "raise ValueError('no luck')\n",
    "exits.py": "import sys\nsys.exit(0)\n",
    "imports.py": "import no_such_module_at_all\n",
    "recurses.py": "def f(): f()\nf()\n",
    "rubbish.json": "[1, 2",
    "list.json": "[1, 2]",
    "other.json": '{"schema": "something-else/7"}',
    "deep.json": "[" * 100_000,
    "number.json": '{"schema": ' + "9" * 5000 + "}",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native_cache: Path) -> Path:
    """A directory with good and bad files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KMEMSPEC_CACHE", str(native_cache))
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "directory.py").mkdir()
    return tmp_path


def call(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else -1


CASES: list[tuple[str, str]] = [
    # the command line itself
    ("", "required: COMMAND"),
    ("frobnicate", "invalid choice"),
    ("check --frobnicate", "unrecognized arguments"),
    ("explore", "required: SPEC"),
    ("explore buddy --states 0", "at least 1"),
    ("explore buddy --states -5", "not a whole number"),
    ("explore buddy --seconds nan", "not a number of seconds"),
    ("simulate buddy --seed 99999999999999999999999", "not a whole number"),
    ("prove buddy --k 1000000", "at most 100"),
    ("prove buddy --depth 2 --only B1", "--depth does not go with --only"),
    # specifications
    ("check missing.py", "does not exist"),
    ("check no/such/place.py", "does not exist"),
    ("check directory.py", "is not a file"),
    ("check empty.py", "0 specifications"),
    ("check binary.py", "not UTF-8"),
    ("check nulls.py", "nulls.py:1"),
    ("check syntax.py", "syntax.py:14"),
    ("check two.py", "2 specifications"),
    ("check raises.py", "raises.py:1: ValueError: no luck"),
    ("check exits.py", "SystemExit"),
    ("check imports.py", "no_such_module_at_all"),
    ("check recurses.py", "recurses.py:1"),
    ("check nonsense", "there is no specification 'nonsense'"),
    ("explore nonsense", "the built-in ones are: buddy, blocks"),
    ("prove ''", "there is no specification"),
    ("check good.py --fault D7", "does not apply"),
    ("check blocks --fault D7", "it is in buddy"),
    # scopes
    ("explore buddy --scope pages=0", "outside"),
    ("explore buddy --scope pages=-1", "outside"),
    ("explore buddy --scope pages=x", "not name=number"),
    ("explore buddy --scope pages=", "not name=number"),
    ("explore buddy --scope pages=99999999999999999999", "outside"),
    ("explore buddy --scope pages=" + "9" * 6000, "not name=number"),
    ("explore buddy --scope frames=8", "no scope parameter 'frames'"),
    ("explore buddy --scope elephants=8", "no scope parameter 'elephants'"),
    ("explore buddy --scope ''", "empty"),
    ("explore buddy --scope orders=11,pages=8", "makes no sense"),
    ("explore buddy --scope pages=8,,", "no scope ''"),
    ("explore buddy --scope enormous", "no scope 'enormous'"),
    ("simulate buddy --scope pages=x", "not name=number"),
    ("prove buddy --scope frames=8", "no scope parameter"),
    ("check --scope pages=0", "outside"),
    ("graph buddy --scope pages=0", "outside"),
    ("graph buddy --scope pages=8", "more than 250 states"),
    ("faults run D7 --scope pages=0", "outside"),
    # names
    ("check buddy --fault nonsense", "there is no fault 'nonsense'"),
    ("faults show nonsense", "there is no fault"),
    ("faults run nonsense", "there is no fault"),
    ("faults run D7 --engine spin", "there is no engine 'spin'"),
    ("check buddy --engine spin", "the engines are: explore, hypothesis, prove"),
    ("check buddy --engine ''", "there is no engine ''"),
    ("prove buddy --only B99", "no property 'B99'"),
    ("explain B99", "there is no property or fault 'B99'"),
    ("explain coalescd", "did you mean coalesced"),
    ("explain B9 --spec missing.py", "does not exist"),
    # output
    ("explore good.py --json no/such/place.json", "there is no directory no/such"),
    ("explore good.py --json directory.py", "is a directory"),
    ("explore good.py -o no/such/trace", "there is no directory no/such"),
    ("graph good.py -o no/such/x.svg", "there is no directory no/such"),
    ("graph good.py -o x.frob", "no such form"),
    ("prove good.py --smt good.py", "cannot write"),
    ("faults run D7 --json no/such/x.json", "there is no directory"),
    ("validate heap libc.so.6 --json no/such/x.json", "there is no directory"),
    ("validate heap libc.so.6 --report good.py", "cannot be made"),
    ("explore good.py --json " + "x" * 5000, "File name too long"),
    # traces
    ("replay missing.json", "No such file"),
    ("replay directory.py", "not a regular file"),
    ("replay /dev/zero", "not a regular file"),
    ("replay empty.py", "empty.py"),
    ("replay binary.py", "not UTF-8"),
    ("replay rubbish.json", "rubbish.json:1"),
    ("replay list.json", "list.json"),
    ("replay other.json", "other.json"),
    ("replay deep.json", "deep.json"),
    ("replay number.json", "number.json"),
    ("graph missing.json", "No such file"),
    ("graph rubbish.json -o x.svg", "rubbish.json:1"),
    ("graph rubbish.json --scope pages=8", "--scope does not go with a trace"),
    # other implementations
    ("validate nonsense libc.so.6", "there is no contract 'nonsense'"),
    ("validate heap ./missing.so", "missing.so"),
    ("validate heap ./good.py", "good.py"),
    ("validate heap libc.so.6 --prefix nope_", "does not export nope_malloc"),
    ("validate page-allocator good.py", "cannot be applied to 'good.py'"),
    ("validate page-allocator missing.py:Buddy", "missing.py"),
    ("validate page-allocator good.py:Missing", "Missing"),
    ("validate page-allocator raises.py:Buddy", "no luck"),
    ("validate page-allocator syntax.py:Buddy", "syntax"),
    ("validate page-allocator exits.py:Buddy", "exits.py"),
    ("validate page-allocator good.py:State --pages 99999999", "not within"),
]


@pytest.mark.parametrize(("command", "words"), CASES, ids=[command[:60] or "nothing" for command, _ in CASES])
def test_one_clear_line(command: str, words: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import shlex

    before = set(place.iterdir())
    status = call(*shlex.split(command))
    out, err = capfd.readouterr()
    assert (status, out) == (2, ""), err
    assert words in err
    assert err.startswith("kmemspec")
    assert err.count("\n") == 1, err
    assert len(err) < 1100
    assert set(place.iterdir()) == before


def test_outside_the_language_shows_the_place(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("check", "outside.py") == 2
    first, line, caret = capfd.readouterr().err.splitlines()
    assert "outside.py:12" in first
    assert line.strip() == "m.x = {1: 2}[1]"
    assert set(caret.strip()) == {"^"}
    assert line[caret.index("^")] == "{"


def test_what_a_file_prints_does_not_reach_the_report(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "prints.py").write_text("print('hello')\n" + GOOD)
    assert call("explore", "prints.py", "--json", "-") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["verdict"] == "holds"
    assert "hello" in err


# --- edited traces


@pytest.fixture
def trace(place: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A counterexample: `m.x` leaves its range."""
    text = (HEAD + STEP + SPEC).replace("m.x < 3", "m.x < 9").replace("name='tiny'", "name='over'")
    (place / "over.py").write_text(text)
    assert call("explore", "over.py", "-o", "over") == 1
    assert call("graph", "over.json", "-o", "over.itf.json") == 0
    assert call("replay", "over.json") == call("replay", "over.itf.json") == 1
    capfd.readouterr()
    found: dict[str, Any] = json.loads((place / "over.json").read_text())
    return found


def test_files_cut_anywhere(trace: dict[str, Any], place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("over.json", "over.itf.json"):
        whole = (place / name).read_bytes()
        for length in {*range(0, len(whole) - 2, max(1, len(whole) // 25)), len(whole) // 2}:
            (place / "cut.json").write_bytes(whole[:length])
            for command in (("replay", "cut.json"), ("graph", "cut.json", "-o", "x.svg")):
                assert call(*command) == 2, (length, command)
                out, err = capfd.readouterr()
                assert out == ""
                assert err.startswith("kmemspec: cut.json")
                assert err.count("\n") == 1


Edit = Callable[[dict[str, Any]], object]

EDITS: list[tuple[str, Edit]] = [
    ("leads to another state", lambda t: t["steps"][2]["state"].update(x=0)),
    ("not an initial state", lambda t: t["steps"][0]["state"].update(x=1)),
    ("no action 'jump'", lambda t: t["steps"][1].update(action="jump")),
    ("other parameters", lambda t: t["steps"][1].update(arguments={"far": 1})),
    ("", lambda t: t["steps"][1].update(result=7)),
    ("", lambda t: t["steps"][1].update(choices=[5])),
    ("", lambda t: t["steps"][1]["state"].update(x=10**30)),
    ("", lambda t: t["steps"][1]["state"].update(x=1.5)),
    ("", lambda t: t["steps"][1]["state"].update(x="one")),
    ("", lambda t: t["steps"][1]["state"].update(x=None)),
    ("", lambda t: t["steps"][1]["state"].update(y=1)),
    ("", lambda t: t["steps"][1]["state"].pop("x")),
    ("", lambda t: t["steps"].pop(2)),
    ("", lambda t: t["steps"].clear()),
    ("", lambda t: t.update(steps=7)),
    ("no scope parameter 'pages'", lambda t: t["scope"].update(pages=8)),
    ("there is no fault", lambda t: t.update(fault="nonsense")),
    ("does not apply", lambda t: t.update(fault="D7")),
    ("there is no specification", lambda t: t.update(spec="nonsense")),
    ("does not exist", lambda t: t.update(spec="gone.py")),
    ("", lambda t: t.update(spec="buddy")),
    ("", lambda t: t.update(spec="good.py")),
    ("", lambda t: t.update(spec="\0.py")),
    ("says that it ends with B9", lambda t: t["violation"].update(property="B9")),
    ("no violation", lambda t: t.update(violation=None)),
    ("", lambda t: t.update(extra=1)),
]


@pytest.mark.parametrize(("words", "edit"), EDITS)
def test_edited_traces(
    words: str, edit: Edit, trace: dict[str, Any], place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    edit(trace)
    (place / "edited.json").write_text(json.dumps(trace))
    assert call("replay", "edited.json") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("kmemspec: ")
    assert err.count("\n") == 1


def test_arguments_of_a_built_in_trace_are_checked(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("explore", "buddy", "--fault", "D7", "-o", "d7") == 1
    good = json.loads((place / "d7.json").read_text())
    for value in (99, -1, True, "0", None, 10**25, [0], {"order": 1}):
        edited = json.loads(json.dumps(good))
        edited["steps"][1]["arguments"]["order"] = value
        (place / "edited.json").write_text(json.dumps(edited))
        capfd.readouterr()
        assert call("replay", "edited.json") == 2, value
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)
    good["scope"] = {"pages": 10**12}
    (place / "edited.json").write_text(json.dumps(good))
    assert call("replay", "edited.json") == 2


# --- adapters: what an implementation does wrong is a finding, not an error


@pytest.mark.parametrize(
    "name", ["Aborts", pytest.param("Hangs", marks=pytest.mark.slow), "Rubbish", "Prints", "Exits", "HostileText"]
)
def test_adapters_that_misbehave(name: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = f"{ADAPTERS}/broken.py:{name}"
    limits = ("--seconds", "4", "--examples", "5", "--pages", "4", "--orders", "2")
    status = call("validate", "page-allocator", target, *limits, "--json", "v.json", "--report", "r")
    assert status == (0 if name == "Prints" else 1)
    out, err = capfd.readouterr()
    assert err == ""
    report = json.loads((place / "v.json").read_text())
    assert report["schema"] == "kmemspec-validation/1"
    assert report["outcome"] == ("holds" if name == "Prints" else "violated")
    if name != "Prints":
        assert "✗ finding 1" in out
        assert len(list((place / "r").glob("*reproduce*"))) == len(report["findings"]) > 0
