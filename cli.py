"""The command line: flags only. What each command does is in `commands`; the words are in `views`.

Exit status: 0 everything holds, 1 something is violated, 2 bad usage or input, 3 undecided within the limits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

SCOPE_HELP = "a named scope or settings: --scope pages=8,orders=3"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="kmemspec",
        description="An executable formal model of Linux memory management, and the checker around it.",
        epilog="exit status: 0 holds, 1 violated, 2 bad usage or input, 3 undecided within the limits",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _check(commands.add_parser("check", help="every engine on one or all specifications: the main job"))
    _explore(commands.add_parser("explore", help="exhaustive search of every reachable state"))
    _simulate(commands.add_parser("simulate", help="random walks in native code"))
    _prove(commands.add_parser("prove", help="induction with Z3, or bounded model checking"))
    _faults(commands.add_parser("faults", help="the catalogue of faults and the kill matrix"))
    _graph(commands.add_parser("graph", help="a picture of a trace, or of a tiny scope's states"))
    _replay(commands.add_parser("replay", help="run a trace again"))
    _validate(commands.add_parser("validate", help="another implementation against a contract"))
    _explain(commands.add_parser("explain", help="what a property says and who checks it"))
    return parser


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="*", metavar="SPEC", help="built-in name or FILE.py (default: all built-in ones)")
    _common(parser)
    parser.add_argument("--engine", metavar="LIST", help="some of explore,hypothesis,prove (default: all)")
    parser.add_argument("--seed", type=_natural, default=0, help="seed of the random engine (default 0)")
    parser.add_argument("--jobs", type=_positive, metavar="N", help="parallel provers (default: the processors)")
    parser.add_argument("--seconds", type=_seconds, default=600.0, help="time limit of each engine (default 600)")


def _explore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="built-in name or FILE.py")
    _common(parser)
    parser.add_argument("--all", action="store_true", help="go on after a violation: a shortest trace for each property")
    parser.add_argument("--states", type=_positive, metavar="N", help="stop after N distinct states")
    parser.add_argument("--memory", type=_positive, metavar="MIB", help="stop at this much memory for states")
    parser.add_argument("--seconds", type=_seconds, help="stop after this time")


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
    parser.add_argument("--k", type=_positive, default=1, help="k-induction with this k (default 1)")
    parser.add_argument("--depth", type=_positive, metavar="N", help="bounded model checking to depth N instead")
    parser.add_argument("--only", metavar="IDS", help="only these properties: B6,B9")
    parser.add_argument("--jobs", type=_positive, metavar="N", help="parallel provers (default: the processors)")
    parser.add_argument("--seconds", type=_seconds, default=600.0, help="time limit (default 600)")
    parser.add_argument("--smt", metavar="DIR", help="write every obligation as an SMT-LIB 2 file, and do not solve it")
    parser.add_argument("--obligations", action="store_true", help="list every obligation with its time")


def _faults(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="what", metavar="list|show|run")
    actions.add_parser("list", help="all faults (the default)")
    show = actions.add_parser("show", help="one fault as a diff")
    show.add_argument("fault", metavar="ID")
    run = actions.add_parser("run", help="the kill matrix")
    run.add_argument("fault", nargs="*", metavar="ID", help="default: all")
    run.add_argument("--engine", metavar="LIST", help="some of explore,prove,hypothesis,bounded (default: explore,prove)")
    run.add_argument("--scope", help=SCOPE_HELP + " (default: each fault's own)")
    run.add_argument("--seconds", type=_seconds, default=120.0, help="time limit of an attempt (default 120)")
    run.add_argument("--json", metavar="FILE", help="write the matrix as JSON")


def _graph(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="SPEC|TRACE", help="a trace file, or a specification for its state graph")
    parser.add_argument("--scope", help=SCOPE_HELP)
    parser.add_argument("-o", "--output", metavar="FILE", help=".svg .dot .png .pdf .txt .json .itf.json (default: DOT to standard output)")


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", metavar="TRACE", help="a trace file (.json or .itf.json)")


def _validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contract", metavar="CONTRACT", help="heap or page-allocator")
    parser.add_argument("target", metavar="TARGET", help="a library (libc.so.6, ./my.so) or FILE.py:Class")
    parser.add_argument("--seed", type=_natural, default=0, help="seed (default 0)")
    parser.add_argument("--examples", type=_positive, default=500, metavar="N", help="sequences to try (default 500)")
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="time limit (default 30)")
    parser.add_argument("--prefix", default="", help="prefix of the library's symbols, e.g. mi_")
    parser.add_argument("--pages", type=_positive, metavar="N", help="pages of the allocator (default: several sizes)")
    parser.add_argument("--orders", type=_positive, metavar="N", help="orders of the allocator (default: several)")
    parser.add_argument("--report", metavar="DIR", help="write a reproducer of each finding into DIR")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identifier", metavar="ID", help="a property, e.g. B9, or a fault")


def _common(parser: argparse.ArgumentParser) -> None:
    """Flags of the commands that run an engine on a specification."""
    parser.add_argument("--scope", help=SCOPE_HELP)
    parser.add_argument("--fault", metavar="ID", help="with this fault in the model")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts as JSON (- for standard output)")
    parser.add_argument("-o", "--output", metavar="NAME", help="where a counterexample goes: NAME.json and NAME.svg")


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
    options = build_parser().parse_args(arguments)
    from .commands import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
