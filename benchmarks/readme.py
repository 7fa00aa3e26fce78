"""Writes the generated parts of the README and the tables and pictures in docs/.

    python benchmarks/readme.py [REPORT]            # rewrite README.md and docs/
    python benchmarks/readme.py [REPORT] --check    # exit 1 if they are not what would be written

REPORT is what `kmemspec check --json REPORT` wrote; without one the checks are run. The table of real implementations
is that of docs/validated.md, which benchmarks/real_implementations.py writes. Nothing in those parts is typed by hand;
a test runs `--check`. Two things are written and not compared: the kill matrix, which takes minutes and whose faults
have tests of their own, and the flow charts, as the version of dot decides where things stand.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from kmemspec.cli import main as kmemspec
from kmemspec.model.faults.catalogue import ALL, find
from kmemspec.model.faults.unmodelled import UNMODELLED
from kmemspec.model.lang.ir import LeadsToIR
from kmemspec.model.lang.verdict import Outcome, combine
from kmemspec.proofs.checking import ENGINES, marked
from kmemspec.proofs.explore import explore
from kmemspec.proofs.mutation import attempts
from kmemspec.specs.loading import load
from kmemspec.views import flow, flow_dot, render
from kmemspec.views.svg import Options, svg

ROOT = Path(__file__).resolve().parent.parent
PICTURED: Mapping[str, Sequence[str] | None] = {
    "merge-ignores-order": None, "fast-path-frees-any-slab": None, "C1x": ("V1",)
}
"""The faults whose counterexamples the README shows, and the properties that are judged, if not all."""
SYMBOL = {Outcome.HOLDS: "holds", Outcome.VIOLATED: "**violated**", Outcome.UNKNOWN: "unknown"}
GENERATED = "<!-- written by benchmarks/readme.py -->\n\n"
FLOWS = (("slub", "alloc"), ("slub", "free"), ("reclaim", "reclaim"), ("system", "fork"))


Report = Mapping[str, Any]
"""One specification in the JSON of `kmemspec check`."""


def cell(report: Report, engine: str, identifier: str) -> str:
    mine = [one for one in report["results"] if (one["engine"], one["property"]) == (engine, identifier)]
    return SYMBOL[combine(Outcome(one["verdict"]) for one in mine)] if mine else ""


def row(identifier: str, words: str, report: Report) -> str:
    cells = " | ".join(cell(report, engine, identifier) for engine in ENGINES)
    return f"| {identifier} | {words} | {cells} |"


def bounds(report: Report, engine: str) -> list[str]:
    """What an engine's answers hold for."""
    mine = [one for one in report["results"] if one["engine"] == engine]
    return list(dict.fromkeys(one["bound"] for one in mine if one["property"] == mine[0]["property"]))


def states(report: Report) -> list[int]:
    """The number of states of each search; what it has visited is less if it was reduced."""
    found = [re.search(r"all ([0-9,]+) reachable states", bound) for bound in bounds(report, "explore")]
    return [int(match[1].replace(",", "")) for match in found if match]


def summary(reports: Report) -> Iterator[str]:
    """A line for each specification: what it is, and how far each engine got."""
    yield "| spec | what | properties | all reachable states, at so many scopes | proof | verdict |"
    yield "|---|---|---:|---|---|---|"
    for report in reports["reports"]:
        title = load(report["spec"]).spec.doc.splitlines()[0].rstrip(".")
        searched = states(report)
        count = len({one["property"] for one in report["results"]})
        scopes = f"{sum(searched):,} ({len(searched)} scope{'s' if len(searched) > 1 else ''})"
        proof = "; ".join(bounds(report, "prove"))
        verdict = SYMBOL[Outcome(report["verdict"])]
        yield f"| `{report['spec']}` | {title} | {count} | {scopes} | {proof} | {verdict} |"
    yield ""
    branches = reports["branches"]
    reached, explained, wrong = branches["reached"], len(branches["explained"]), len(branches["wrong"])
    yield (
        f"Of the {reached + explained + wrong} sides of branches in the model's functions, these searches take "
        f"{reached}; {explained} cannot be taken, for the reasons beside them; {wrong} are open."
    )
    yield ""


def properties(reports: Report) -> Iterator[str]:
    """Every property with each engine's answer, and what the answers are worth."""
    yield "# What is checked"
    yield ""
    for report in reports["reports"]:
        loaded = load(report["spec"])
        yield f"## {report['spec']}"
        yield ""
        for engine in ("explore", "prove"):
            yield from (f"* {engine}: {bound}" for bound in bounds(report, engine))
        yield "* hypothesis: random runs"
        yield ""
        yield "| property | what it says | search | testing | proof |"
        yield "|---|---|---|---|---|"
        said: set[str] = set()
        for item in (*loaded.program.properties, *loaded.program.liveness):
            if item.identifier not in said:
                said.add(item.identifier)
                refinement = loaded.spec.refinement
                words = item.doc.splitlines()[0]
                if isinstance(item, LeadsToIR):
                    words = f"{words.rstrip('.')}: {item.runs_text()}."
                elif item.kind in ("refinement", "initial") and refinement is not None:
                    words = f"It refines `{refinement.abstract.name}`."
                yield row(item.identifier, words, report)
        for identifier, words in (
            ("checks", "No assert fails, no index, range or loop bound is exceeded."),
            ("deadlock", "Some action is always possible."),
            ("vacuity", "The hypotheses can be met and every action can fire."),
        ):
            if any(one["property"] == identifier for one in report["results"]):
                yield row(identifier, words, report)
        yield ""


def kills() -> Iterator[str]:
    """What search finds for each fault of the catalogue, and what the model cannot have."""
    yield "# Faults"
    yield ""
    yield "Each is a small change to the text of the model: `kmemspec faults show ID` prints it."
    yield ""
    yield "| fault | spec | what is wrong | from | killed by | steps |"
    yield "|---|---|---|---|---|---:|"
    with ProcessPoolExecutor() as processes:
        yield from processes.map(kill, [fault.identifier for fault in ALL], chunksize=4)
    yield ""
    yield "## Bugs of the catalogue that the model cannot have"
    yield ""
    yield "| row | what went wrong | what it lacks |"
    yield "|---|---|---|"
    for item in UNMODELLED:
        yield f"| {item.catalogue} | {cell_text(item.title)} | {cell_text(item.lacks)} |"
    yield ""


def kill(identifier: str) -> str:
    """The row of one fault."""
    [attempt] = attempts([find(identifier)], ["explore"])
    fault = attempt.fault
    trace = attempt.killer.trace if attempt.killer else None
    about = f"| {fault.identifier} | {fault.spec} | {cell_text(fault.title)} | {cell_text(fault.source)} |"
    if trace is None or trace.violation is None:
        return f"{about} equivalent at this bound | |"
    clause = f"{trace.violation.property}: {trace.violation.clause}"
    return f"{about} {cell_text(clause)} | {len(trace.steps) - 1} |"


def cell_text(text: str) -> str:
    """A text inside a table."""
    return text.replace("|", "\\|")


def picture(identifier: str) -> str:
    """The counterexample of a fault."""
    fault = find(identifier)
    loaded = load(fault.spec, fault)
    sizes = loaded.spec.scope(fault.scope)
    found = explore(loaded.program, sizes, spec=fault.spec, symmetry=None, only=PICTURED[identifier])
    trace = next(verdict.trace for verdict in marked(found.verdicts, loaded) if verdict.trace is not None)
    return svg(trace, Options())


def validated() -> Iterator[str]:
    """The README's table of real implementations: that of docs/validated.md, without the walks over the graph."""
    document = (ROOT / "docs" / "validated.md").read_text(encoding="utf-8")
    for line in document.splitlines():
        if line.startswith("|"):
            yield "|".join(line.split("|")[:-2]) + "|"


def rewritten(text: str, name: str, lines: Iterator[str]) -> str:
    """A document with one generated part made anew."""
    begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
    part = f"{begin}\n" + "\n".join(lines).rstrip() + f"\n{end}"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    assert found, name
    return before + part + after


def documents(reports: Report) -> dict[Path, str]:
    """Everything that is written and compared, by file."""
    readme = ROOT / "README.md"
    docs = ROOT / "docs"
    text = rewritten(readme.read_text(encoding="utf-8"), "checked", summary(reports))
    return {
        readme: rewritten(text, "validated", validated()),
        docs / "checked.md": GENERATED + "\n".join(properties(reports)).rstrip() + "\n",
        **{docs / f"{identifier}.svg": picture(identifier) for identifier in PICTURED},
    }


def checked() -> Report:
    """What all engines say of all specifications, now."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "report.json"
        kmemspec(["check", "--json", str(file)])
        return read(file)


def read(file: Path) -> Report:
    report: Report = json.loads(file.read_text(encoding="utf-8"))
    return report


def write_flows() -> None:
    """The flow charts of the allocator's paths, at the default scope."""
    for target, name in FLOWS:
        loaded = load(target)
        actions, named = flow.actions_of(loaded.spec, loaded.program, name)
        settings = flow.Options(named=named, sizes=loaded.spec.scope(None))
        chart = flow.chart(loaded.program, actions, f"{target}: flow {name} at the default scope", settings)
        (ROOT / "docs" / f"{target}-{name}.svg").write_bytes(render.run_dot(flow_dot.dot(chart), "svg"))


def main() -> int:
    files = [Path(argument) for argument in sys.argv[1:] if argument != "--check"]
    made = documents(read(files[0]) if files else checked())
    if "--check" in sys.argv:
        stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what would be written")
        return 1 if stale else 0
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    (ROOT / "docs" / "faults.md").write_text(GENERATED + "\n".join(kills()).rstrip() + "\n", encoding="utf-8")
    write_flows()
    return 0


if __name__ == "__main__":
    sys.exit(main())
