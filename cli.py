"""The command line: flags only. What each command does is in `commands`; the words are in `views`.

Exit status: 0 everything holds, 1 something is violated, 2 bad usage or input, 3 undecided within the limits.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .session import abandon_output, complain, prepare_streams

USAGE, UNDECIDED = 2, 3

STATUS = """exit status:
  0  everything asked about holds, for the bound that is shown
  1  something is violated, and a counterexample was written
  2  bad usage or bad input: one line says what and where
  3  undecided within the limits, or interrupted"""

SCOPE_HELP = "a named scope and settings, e.g. pages=8,orders=3"
JSON_HELP = "write the verdicts as JSON (- for standard output; the tables then go to standard error)"

MAIN_EPILOG = f"""to begin:
  kmemspec check                                        every engine on the built-in specifications
  kmemspec check my_allocator.py                        … on your own
  kmemspec check buddy --fault merge-ignores-order      see a bug found, drawn and replayable
  kmemspec validate heap libc.so.6                      an allocator against its contract

{STATUS}"""

CHECK_EPILOG = f"""examples:
  kmemspec check
  kmemspec check buddy --scope pages=12,orders=3 --engine explore
  kmemspec check examples/ring_buffer.py --json report.json

the JSON of one specification:
  {{"schema": "kmemspec-report/1", "spec", "scope", "fault", "verdict", "never_fired", "results": [{{"engine",
    "property", "verdict", "bound", "reason", "states", "transitions", "seconds", "trace"}}, ...]}}
of several, or of none named (then with the branches of the model that were reached, or cannot be):
  {{"schema": "kmemspec-reports/1", "verdict", "branches", "reports": [a kmemspec-report/1 each]}}

{STATUS}"""

GRAPH_EPILOG = f"""examples:
  kmemspec graph buddy-trace.json -o trace.svg            a trace, as `check` saves it
  kmemspec graph buddy --flow alloc -o alloc.svg          the path of an allocation through the kernel's functions
  kmemspec graph buddy --scope pages=2,orders=2 -o states.svg

A flow chart has a box for each function; small helpers are one line. With --scope it leaves out what this scope has
decided, e.g. what is switched off.

{STATUS}"""

FAULTS_EPILOG = f"""examples:
  kmemspec faults
  kmemspec faults show merge-ignores-order
  kmemspec faults run D7 merge-ignores-order --engine explore

A fault is killed when an engine finds a violation in the faulty model. `run` ends with 0 when every fault is killed by
some engine, and with 3 when one is not (it is equivalent at this bound, or undecided).

{STATUS}"""


FIDELITY_EPILOG = f"""examples:
  kmemspec fidelity recordings/drv1 recordings/mid2
  kmemspec fidelity recordings/drv1 --fault merge-ignores-order

From the first state on, each recorded operation is a call of the model's own function: which page or address each
allocation gives, and every list of the last state, is compared. The same for the LRU: who is on its lists, the
relations between reclaim's events, the counters that they add up to. 1 means that something differs.

{STATUS}"""


VALIDATE_EPILOG = f"""examples:
  kmemspec validate heap libc.so.6
  kmemspec validate log calls.jsonl                       the calls of an allocator (JSON lines, mtrace, ltrace)
  kmemspec validate trace trace.txt.xz --cut few.txt      the events alone
  kmemspec validate trace recordings/mid1                 and snapshots and full states, where there are any

A trace is accepted (0), rejected (1) or cannot be told (3): then the reasons are counted, such as lost events, clocks
that do not order CPUs, paths of the kernel that have no event.

{STATUS}"""

SNAPSHOT_EPILOG = f"""examples:
  kmemspec snapshot check state.json.gz -o broken.svg     a dump's state: every list, counter and freelist
  kmemspec snapshot check recordings/mid2/snap_end        copies of /proc/buddyinfo, zoneinfo, kpageflags, slabinfo, …
  kmemspec snapshot check /                               this machine, read-only
  kmemspec snapshot take --vmcore vmcore --vmlinux vmlinux -o state.json.gz

The invariants are those of the specifications, evaluated on the snapshot at its full size. What a snapshot cannot say,
or a file that cannot be read, is listed with the reason, and is no violation.

{STATUS}"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all our errors are."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}; `{self.prog} --help` shows the usage\n")


class Version(argparse.Action):
    """`--version`, looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        def of(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "(not installed)"

        engines = ", ".join(f"{name} {of(name)}" for name in ("z3-solver", "hypothesis", "llvmlite"))
        print(f"kmemspec {of('kmemspec')} (Python {sys.version.split()[0]}, {engines})")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="kmemspec",
        description="An executable formal model of Linux memory management, and the checker around it.",
        epilog=MAIN_EPILOG,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the versions of kmemspec and its engines")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def command(name: str, summary: str, epilog: str = STATUS) -> argparse.ArgumentParser:
        text = summary[0].upper() + summary[1:] + "."
        return commands.add_parser(name, help=summary, description=text, epilog=epilog)

    _check(command("check", "every engine on one or all specifications: the main job", CHECK_EPILOG))
    _explore(command("explore", "exhaustive search of every reachable state of a scope"))
    _simulate(command("simulate", "random walks in native code, for scopes too large to search"))
    _prove(command("prove", "proof by induction with Z3, or bounded model checking"))
    _faults(command("faults", "the catalogue of faults, a fault as a diff, and the kill matrix", FAULTS_EPILOG))
    _graph(command("graph", "a picture of a trace, of a flow, or of all states of a tiny scope", GRAPH_EPILOG))
    _replay(command("replay", "run a trace again, in CPython, and compare every state"))
    _validate(command("validate", "another implementation against a contract, or a kernel's trace", VALIDATE_EPILOG))
    _fidelity(command("fidelity", "the model beside recordings of a real kernel", FIDELITY_EPILOG))
    _snapshot(command("snapshot", "a state of a real kernel's allocator against every invariant", SNAPSHOT_EPILOG))
    _explain(command("explain", "what a property says, where it comes from and which faults it catches"))
    return parser


NO_SYMMETRY_HELP = "search every state, also those that differ in the numbers of interchangeable elements alone"


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="*", metavar="SPEC", help="built-in name or FILE.py (default: all built-in ones)")
    _common(parser)
    parser.add_argument("--engine", metavar="LIST", help="some of explore,hypothesis,prove (default: all)")
    parser.add_argument("--seed", type=_natural, default=0, help="seed of the random engine (default 0)")
    _jobs(parser)
    parser.add_argument("--seconds", type=_seconds, default=600.0, help="time limit of each engine (default 600)")
    parser.add_argument("--no-symmetry", action="store_true", help=NO_SYMMETRY_HELP)


def _explore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="built-in name or FILE.py")
    _common(parser)
    parser.add_argument("--all", action="store_true", help="go on after a violation: a trace for each property")
    parser.add_argument("--only", metavar="IDS", help="only these properties, e.g. V1 (and the assertions in the code)")
    parser.add_argument("--states", type=_positive, metavar="N", help="stop after N distinct states")
    parser.add_argument("--memory", type=_positive, metavar="MIB", help="stop at this much memory for states")
    parser.add_argument("--seconds", type=_seconds, help="stop after this time")
    symmetry = parser.add_mutually_exclusive_group()
    symmetry.add_argument(
        "--symmetry", metavar="SORTS", help="reduce by these sorts, e.g. cpu,slot (default: those the spec declares)"
    )
    symmetry.add_argument("--no-symmetry", action="store_true", help=NO_SYMMETRY_HELP)


def _simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="built-in name or FILE.py")
    _common(parser)
    parser.add_argument("--walks", type=_positive, default=1000, metavar="N", help="random walks (default 1000)")
    parser.add_argument("--depth", type=_positive, default=1000, metavar="N", help="steps of a walk (default 1000)")
    parser.add_argument("--seed", type=_natural, default=0, help="seed (default 0)")
    parser.add_argument("--seconds", type=_seconds, help="stop after this time")


def _prove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="built-in name or FILE.py")
    _common(parser)
    parser.add_argument("--k", type=_up_to_100, default=1, metavar="K", help="k-induction with this k (default 1)")
    parser.add_argument(
        "--depth", type=_positive, metavar="N", help="bounded model checking from the initial states to depth N instead"
    )
    parser.add_argument("--only", metavar="IDS", help="only these properties, e.g. B6,B9 (all stay hypotheses)")
    _jobs(parser)
    parser.add_argument("--seconds", type=_seconds, default=600.0, help="time limit (default 600)")
    parser.add_argument("--smt", metavar="DIR", help="write every obligation as an SMT-LIB 2 file, and solve none")
    parser.add_argument("--obligations", action="store_true", help="list every obligation with its time")


def _faults(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="what", metavar="list|show|run")
    actions.add_parser("list", help="all faults (the default)")
    show = actions.add_parser("show", help="one fault as a diff")
    show.add_argument("fault", metavar="ID")
    run = actions.add_parser("run", help="the kill matrix", epilog=FAULTS_EPILOG)
    run.add_argument("fault", nargs="*", metavar="ID", help="default: all")
    run.add_argument("--engine", metavar="LIST", help="of explore,prove,hypothesis,bounded (default: explore,prove)")
    run.add_argument("--scope", help=SCOPE_HELP + " (default: each fault's own)")
    run.add_argument("--seconds", type=_seconds, default=120.0, help="time limit of an attempt (default 120)")
    run.add_argument("--json", metavar="FILE", help=JSON_HELP.replace("verdicts", "matrix"))


def _graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="TRACE|SPEC", help="a trace file (.json), or a specification")
    parser.add_argument("--scope", help=SCOPE_HELP + " (of a specification)")
    parser.add_argument("--flow", metavar="NAME", nargs="?", const="",
                        help="a flow chart of a specification, e.g. alloc, or of one action; its first without a name")
    parser.add_argument("--depth", type=_positive, metavar="N", help="calls of calls that a flow chart follows")
    parser.add_argument("--detail", action="store_true", help="the flow chart with its helpers, asserts and all lines")
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="of a trace: .svg .dot .png .pdf .txt .json .itf.json; of a specification: .dot .svg .png .pdf "
        "(default: DOT to standard output)",
    )


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", metavar="TRACE", help="a trace file (.json or .itf.json)")


def _validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "contract", metavar="CONTRACT",
        help="heap, page-allocator, object-cache or lru; trace, of a kernel's events; log, of an allocator's calls",
    )
    parser.add_argument(
        "target", metavar="TARGET",
        help="FILE.py:Class, package.module:function, a C library (libc.so.6, ./my.so) that exports malloc, any C "
        "library by a description (my.toml), or a program that speaks JSON lines ('command:./my --flags'); a trace "
        "(ftrace, trace-cmd report, perf script; .xz, .gz, -) or the directory of a recording; a log of calls",
    )
    parser.add_argument("--seed", type=_natural, default=0, help="seed (default 0)")
    parser.add_argument("--examples", type=_positive, default=500, metavar="N", help="sequences to try (default 500)")
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="time limit (default 30)")
    parser.add_argument("--prefix", default="", help="prefix of the library's symbols, e.g. mi_")
    parser.add_argument("--pages", type=_positive, metavar="N", help="pages of the allocator (default: several sizes)")
    parser.add_argument("--orders", type=_positive, metavar="N", help="orders of the allocator (default: several)")
    parser.add_argument(
        "--declare", action="append", default=[], metavar="NAME=VALUE", help="what the target declares (alignment=8)"
    )
    parser.add_argument(
        "--scope", action="append", default=[], metavar="k=v,…", help="numbers of the scope (capacity=4)"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="OPERATION", help="do not call this operation")
    parser.add_argument(
        "--report", metavar="DIR", help="write words, picture and reproducer of each finding, and JSON, into DIR"
    )
    parser.add_argument("--strength", metavar="LIST", help="of a trace: some of text,snapshots,states (default: all)")
    parser.add_argument("--cut", metavar="FILE", help="of a trace: write the few events that are enough to reject it")
    parser.add_argument("--json", metavar="FILE", help=JSON_HELP.replace("verdicts", "result"))


def _fidelity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recording", nargs="+", metavar="DIR", help="a recording: state_A.json.gz, state_B.json.gz, trace.txt.xz"
    )
    parser.add_argument("--fault", metavar="ID", help="with this fault in the model (see kmemspec faults)")
    parser.add_argument("--json", metavar="FILE", help=JSON_HELP.replace("verdicts", "table"))


def _snapshot(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="what", metavar="check|take", required=True)
    check = actions.add_parser("check", help="check states, directories of files, or / for this machine",
                               epilog=SNAPSHOT_EPILOG)  # fmt: skip
    check.add_argument("target", nargs="*", metavar="FILE", help="state_*.json(.gz), a directory or tar archive, or /")
    check.add_argument("--live", action="store_true", help="check this machine, as / does")
    check.add_argument("-o", "--output", metavar="FILE.svg", help="draw what is found broken, with its lists")
    check.add_argument("--json", metavar="FILE", help=JSON_HELP)
    take = actions.add_parser("take", help="make a state from a live kernel or a crash dump, through drgn",
                              epilog=SNAPSHOT_EPILOG)  # fmt: skip
    take.add_argument("--vmcore", metavar="FILE", help="a crash dump (default: the running kernel)")
    take.add_argument("--vmlinux", metavar="FILE", help="the kernel with its debug information")
    take.add_argument("-o", "--output", metavar="FILE", required=True, help="the state, state.json.gz")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identifier", metavar="ID", help="a property (B9), checks, deadlock, vacuity, or a fault")
    parser.add_argument("--spec", metavar="SPEC", help="in this specification or FILE.py (default: the built-in ones)")


def _common(parser: argparse.ArgumentParser) -> None:
    """Flags of the commands that run an engine on a specification."""
    parser.add_argument("--scope", help=SCOPE_HELP)
    parser.add_argument("--fault", metavar="ID", help="with this fault in the model (see kmemspec faults)")
    parser.add_argument("--json", metavar="FILE", help=JSON_HELP)
    parser.add_argument(
        "-o", "--output", metavar="NAME", help="a counterexample goes to NAME.json and NAME.svg (default: SPEC-trace)"
    )


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_up_to_100, metavar="N", help="parallel provers (default: the processors)")


def _natural(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return value


def _positive(text: str) -> int:
    value = _natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return value


def _up_to_100(text: str) -> int:
    value = _positive(text)
    if value > 100:
        raise argparse.ArgumentTypeError("it must be at most 100")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    prepare_streams()
    try:
        try:
            options = build_parser().parse_args(arguments)
            from .commands import run

            return run(options)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        abandon_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Files have errors of their own. What is left is standard output on a full disk, a directory that has gone.
        abandon_output()
        nameless = "the current directory" if error.errno == errno.ENOENT else "standard output"
        complain(f"{error.filename or nameless}: {error.strerror or error}")
        return USAGE
    except KeyboardInterrupt:
        complain("interrupted before anything was established")
        return UNDECIDED


if __name__ == "__main__":
    sys.exit(main())
