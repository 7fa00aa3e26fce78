"""The answer of `kmemspec validate` in words."""

from __future__ import annotations

import textwrap

from ..model.lang.verdict import Outcome
from ..specs.contracts import Finding, Validation
from .report import SYMBOL
from .text import printable
from .validation_map import finding_svg, map_lines


def validation_text(validation: Validation) -> str:
    """The verdict with its bound, what was reached, and each finding as a sequence of calls."""
    verdict, bound = f"{SYMBOL[validation.outcome]} {validation.outcome.value}", printable(validation.bound)
    if validation.outcome is Outcome.VIOLATED:
        count = len(validation.findings)
        verdict, bound = f"{verdict}: {count} finding{'' if count == 1 else 's'}", f"tried: {bound}"
    lines = [
        f"{printable(validation.target)} against the contract {validation.contract}, seed {validation.seed}",
        *([f"{verdict}: {bound}"] if validation.outcome is not Outcome.VIOLATED else [verdict, bound]),
        f"{validation.examples:,} sequences, {validation.operations:,} calls, {validation.seconds:.1f} s",
    ]
    if validation.coverage:
        reached = ", ".join(f"{printable(name, 60)} {count:,}" for name, count in sorted(validation.coverage.items()))
        lines += textwrap.wrap(f"reached: {reached}", 110, subsequent_indent="  ")
    lines += [f"note: {printable(note)}" for note in validation.notes]
    for number, finding in enumerate(validation.findings, 1):
        lines += ["", *_finding(number, finding)]
    return "\n".join(lines) + "\n"


def _finding(number: int, finding: Finding) -> list[str]:
    detail = f" ({printable(finding.detail, 200)})" if finding.detail else ""
    lines = [
        f"{SYMBOL[Outcome.VIOLATED]} finding {number}: {printable(finding.clause)}: {printable(finding.statement)}",
        f"  {finding.kind}{detail}: {printable(finding.message)}",
    ]
    if finding.scope:
        lines.append("  with " + ", ".join(f"{printable(name)}={value}" for name, value in finding.scope.items()))
    if not finding.deterministic:
        lines.append("  not deterministic: a fresh process did not show it again")
    if finding.shortest:
        lines.append("  every shorter sequence of calls was tried here: none of them shows it")
    width = max((len(record.call) for record in finding.sequence), default=0)
    for step, record in enumerate(finding.sequence, 1):
        last = step == len(finding.sequence)
        expected = f", expected {printable(record.expected)}" if last and record.expected else ""
        call = f"{printable(record.call):<{width}}"
        lines.append(f"  {step:>3}{'✗' if last else ' '} {call}  -> {printable(record.observed)}{expected}")
    return lines + map_lines(finding)


def report_files(validation: Validation) -> dict[str, str]:
    """What `--report DIR` writes: the whole in words, and for each finding its words, picture and reproducer."""
    files = {"report.txt": validation_text(validation)}
    for number, finding in enumerate(validation.findings, 1):
        files[f"{number}-{finding.clause}.txt"] = "\n".join(_finding(number, finding)) + "\n"
        picture = finding_svg(finding)
        if picture is not None:
            files[f"{number}-{finding.clause}.svg"] = picture
        files[f"{number}-{finding.reproducer_name}"] = finding.reproducer
    return files
