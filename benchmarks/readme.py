"""Writes the generated parts of the README: the table of what is checked, the kill matrix and the picture.

    python benchmarks/readme.py            # run the checks and rewrite README.md and docs/
    python benchmarks/readme.py --check    # exit 1 if the README is not what would be written

Nothing in those parts is typed by hand; a test runs `--check`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from kmemspec.model.faults.catalogue import ALL, find
from kmemspec.model.lang.verdict import Outcome, Verdict, combine
from kmemspec.proofs.checking import ENGINES, Effort, check, marked
from kmemspec.proofs.explore import explore
from kmemspec.proofs.mutation import attempts
from kmemspec.specs.loading import BUILT_IN, load
from kmemspec.views.svg import Options, svg

ROOT = Path(__file__).resolve().parent.parent
PICTURED = "merge-ignores-order"
SYMBOL = {Outcome.HOLDS: "holds", Outcome.VIOLATED: "**violated**", Outcome.UNKNOWN: "unknown"}


def cell(verdicts: list[Verdict], engine: str, identifier: str) -> str:
    mine = [verdict for verdict in verdicts if (verdict.engine, verdict.property) == (engine, identifier)]
    return SYMBOL[combine(verdict.outcome for verdict in mine)] if mine else ""


def row(identifier: str, words: str, verdicts: list[Verdict]) -> str:
    cells = " | ".join(cell(verdicts, engine, identifier) for engine in ENGINES)
    return f"| {identifier} | {words} | {cells} |"


def checked() -> Iterator[str]:
    """Every property with each engine's answer, and what the answers are worth."""
    for name in BUILT_IN:
        loaded = load(name)
        sizes = loaded.spec.scope(None)
        verdicts = list(check(loaded, sizes, effort=Effort(examples=20, hypothesis_seconds=60)).verdicts)
        first = loaded.program.properties[0].identifier
        bounds = {verdict.engine: verdict.bound for verdict in verdicts if verdict.property == first}
        yield f"**{name}** — search: {bounds['explore']}; prove: {bounds['prove']}; testing: random runs."
        yield ""
        yield "| property | what it says | search | testing | proof |"
        yield "|---|---|---|---|---|"
        said: set[str] = set()
        for item in loaded.program.properties:
            if item.identifier not in said:
                said.add(item.identifier)
                refined = item.kind in ("refinement", "initial")
                words = "It refines a set of disjoint blocks." if refined else item.doc.splitlines()[0]
                yield row(item.identifier, words, verdicts)
        for identifier, words in (
            ("checks", "No assert fails, no index, range or loop bound is exceeded."),
            ("deadlock", "Some action is always possible."),
            ("vacuity", "The hypotheses can be met and every action can fire."),
        ):
            if any(verdict.property == identifier for verdict in verdicts):
                yield row(identifier, words, verdicts)
        yield ""


def kills() -> Iterator[str]:
    """What search finds for each fault of the catalogue."""
    yield "| fault | what is wrong | killed by | steps |"
    yield "|---|---|---|---:|"
    for attempt in attempts(ALL, ["explore"]):
        trace = attempt.killer.trace if attempt.killer else None
        if trace is None or trace.violation is None:
            yield f"| {attempt.fault.identifier} | {attempt.fault.title} | equivalent at this bound | |"
        else:
            clause = f"{trace.violation.property}: {trace.violation.clause}"
            yield f"| {attempt.fault.identifier} | {attempt.fault.title} | {clause} | {len(trace.steps) - 1} |"
    yield ""


def picture() -> str:
    """The counterexample of the fault that the README shows."""
    loaded = load("buddy", find(PICTURED))
    found = explore(loaded.program, loaded.spec.scope(None), spec="buddy")
    trace = next(verdict.trace for verdict in marked(found.verdicts, loaded) if verdict.trace is not None)
    return svg(trace, Options())


def rewritten(text: str) -> str:
    """The README with its generated parts made anew."""
    for name, lines in (("checked", checked), ("kills", kills)):
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        part = f"{begin}\n" + "\n".join(lines()).rstrip() + f"\n{end}"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, name
        text = before + part + after
    return text


def main() -> int:
    readme, drawing = ROOT / "README.md", ROOT / "docs" / f"{PICTURED}.svg"
    old = readme.read_text(encoding="utf-8")
    new, image = rewritten(old), picture()
    if "--check" in sys.argv:
        return 0 if (new, image) == (old, drawing.read_text(encoding="utf-8")) else 1
    readme.write_text(new, encoding="utf-8")
    drawing.write_text(image, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
