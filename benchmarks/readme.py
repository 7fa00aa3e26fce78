"""Writes the generated parts of the README: the table of what is checked, the kill matrix and the picture.

    python benchmarks/readme.py            # run the checks and rewrite README.md and docs/
    python benchmarks/readme.py --check    # exit 1 if the README is not what would be written

Nothing in those parts is typed by hand; a test runs `--check`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from kmemspec.model.faults.catalogue import ALL, find
from kmemspec.model.lang.verdict import Outcome, Verdict, combine
from kmemspec.proofs.checking import Effort, check, marked
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


def checked() -> Iterator[str]:
    """Every property with each engine's answer, and what the answers are worth."""
    for name in BUILT_IN:
        loaded = load(name)
        sizes = loaded.spec.scope(None)
        verdicts = list(check(loaded, sizes, effort=Effort(examples=20, hypothesis_seconds=60)).verdicts)
        bounds = {verdict.engine: verdict.bound for verdict in verdicts if verdict.property == loaded.program.properties[0].identifier}
        yield f"**{name}** — search: {bounds['explore']}; prove: {bounds['prove']}; testing: random runs."
        yield ""
        yield "| property | what it says | search | testing | proof |"
        yield "|---|---|---|---|---|"
        said: set[str] = set()
        for item in loaded.program.properties:
            if item.identifier not in said:
                said.add(item.identifier)
                words = item.doc.splitlines()[0] if item.kind != "refinement" else "It refines a set of disjoint blocks."
                cells = " | ".join(cell(verdicts, engine, item.identifier) for engine in ("explore", "hypothesis", "prove"))
                yield f"| {item.identifier} | {words} | {cells} |"
        for identifier, words in (
            ("checks", "No assert fails, no index, range or loop bound is exceeded."),
            ("deadlock", "Some action is always possible."),
            ("vacuity", "The hypotheses can be met and every action can fire."),
        ):
            cells = [cell(verdicts, engine, identifier) for engine in ("explore", "hypothesis", "prove")]
            if any(cells):
                yield f"| {identifier} | {words} | {' | '.join(cells)} |"
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
        text, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _, part=part: part, text, flags=re.DOTALL)
        assert count == 1, name
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
