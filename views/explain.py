"""A property in words: what it says, its formal text, where it comes from, what established it, what it catches.

The one idea: every line is looked up (docstring, source, catalogue, ledger of answers), none is written here, so that
an explanation cannot say what is no longer so.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..model.faults import Fault
from ..model.lang.errors import Position
from ..model.lang.ir import Program
from ..model.lang.source import position
from ..model.lang.spec import Spec
from ..model.lang.verdict import Outcome
from ..specs.loading import Loaded
from .report import SYMBOL
from .source_text import tree
from .text import printable

WIDTH = 110
ORDER = ("explore", "simulate", "hypothesis", "prove", "bounded")
MODEL_MAX = 6

WORDS = {
    "checks": "No step fails on the way: every assert holds, every index is inside its array, every value inside its "
    "declared range, None is never used as a number, every loop ends within its bound, and nothing is divided by zero.",
    "deadlock": "In every reachable state some action is enabled (for specifications that say so: deadlock_free=True).",
    "vacuity": "What is proved says something: the hypotheses of the induction do not contradict each other, there is "
    "an initial state, and every action can happen.",
}
"""What gets a verdict without being a property of a specification."""


LEADS_TO = "whenever `when` holds, `then` holds in the same state or in a later one of every such run"


@dataclass(frozen=True)
class Answer:
    """What an engine answered about a property at a scope; `current` if that was about the program as it is now."""

    property: str
    engine: str
    outcome: str
    bound: str
    reason: str
    scope: str
    current: bool


@dataclass(frozen=True)
class Explanation:
    """The text about one property of one specification."""

    identifier: str
    name: str
    text: str


def names(spec: Spec) -> dict[str, str]:
    """What a specification states: identifiers with names."""
    stated = {item.identifier: item.name for item in spec.properties}
    if spec.refinement is not None:
        stated[spec.refinement.identifier] = f"refines {spec.refinement.abstract.name}"
    return stated


def explanations(
    loaded: Loaded,
    faults: Sequence[Fault],
    answers: Sequence[Answer],
    elsewhere: Mapping[str, Sequence[str]],
    told: Set[Any] = frozenset(),
) -> Iterator[Explanation]:
    """Each property of a specification. `elsewhere` gives the other specifications that an identifier stands in; of a
    function that is `told` already, only what differs is said."""
    kinds = {"invariant": "in every reachable state", "step": "for every step from a reachable state"}
    for item in loaded.spec.properties:
        leads = next((ir for ir in loaded.program.liveness if ir.identifier == item.identifier), None)
        clauses = [ir.clauses for ir in loaded.program.properties if ir.identifier == item.identifier]
        others = elsewhere.get(item.identifier, ())
        if item.function in told:
            yield Explanation(item.identifier, item.name, _again(loaded.target, item.identifier, faults, answers))
            continue
        lines = [
            f"{item.identifier} {item.name} ({item.kind} of {loaded.target})",
            textwrap.indent(inspect.getdoc(item.function) or "", "  "),
            f"  must hold  {kinds[item.kind]}; ask every engine: kmemspec check {loaded.target}" if leads is None else
            wrapped("  must hold  ", f"{leads.runs_text()}; ask the search: kmemspec explore {loaded.target}"),
            f"  origin     {item.origin or '-'}",
            wrapped("  clauses    ", "; ".join(clause.name for clause in clauses[0])) if leads is None else
            wrapped("  leads to   ", LEADS_TO),
            wrapped("  faults     ", catching(faults, loaded.target, item.identifier)),
            *(f"  model      {place}" for place in _model(loaded.program, item.origin)),
            *([f"  also in    {', '.join(others)}"] if others else []),
            *established(loaded.target, answers, item.identifier),
            "",
            textwrap.indent(inspect.getsource(item.function).rstrip(), "    "),
        ]
        yield Explanation(item.identifier, item.name, "\n".join(lines))
    if loaded.spec.refinement is not None:
        yield _of_refinement(loaded, loaded.spec.refinement, faults, answers)


def _again(target: str, identifier: str, faults: Sequence[Fault], answers: Sequence[Answer]) -> str:
    """The same property in another specification."""
    lines = [f"{identifier} in {target}: the same text"]
    if any(fault.spec == target and identifier in fault.expected for fault in faults):
        lines.append(wrapped("  faults     ", catching(faults, target, identifier)))
    return "\n".join([*lines, *established(target, answers, identifier)])


def _of_refinement(loaded: Loaded, refinement: Any, faults: Sequence[Fault], answers: Sequence[Answer]) -> Explanation:
    abstract = refinement.abstract.name
    lines = [
        f"{refinement.identifier} refines {abstract} (refinement, of {loaded.target})",
        f"  Every step of {loaded.target} is a step of {abstract}, as the mapping shows the states.",
        f"  origin     {refinement.origin or '-'}",
        wrapped("  faults     ", catching(faults, loaded.target, refinement.identifier)),
        *established(loaded.target, answers, refinement.identifier),
    ]
    for function in dict.fromkeys((refinement.mapping, *refinement.steps.values())):
        lines += ["", textwrap.indent(inspect.getsource(function).rstrip(), "    ")]
    return Explanation(refinement.identifier, f"refines {abstract}", "\n".join(lines))


def of_word(word: str, faults: Sequence[Fault], answers: Sequence[tuple[str, Sequence[Answer]]]) -> str:
    """What is checked beside the properties; `answers` by specification."""
    lines = [wrapped(f"{word}: ", WORDS[word], 2), wrapped("  faults     ", catching(faults, None, word))]
    for target, given in answers:
        lines += [f"  of {target}", *("  " + line for line in established(target, given, word))]
    return "\n".join(lines)


def wrapped(label: str, text: str, margin: int | None = None) -> str:
    """A labelled text in lines of 110 columns."""
    indent = " " * (len(label) if margin is None else margin)
    return "\n".join(textwrap.wrap(label + text, WIDTH, subsequent_indent=indent, break_on_hyphens=False))


def catching(faults: Sequence[Fault], spec: str | None, identifier: str) -> str:
    """The faults that a property is expected to catch."""
    found = [fault.identifier for fault in faults if spec in (None, fault.spec) and identifier in fault.expected]
    return f"it should catch {', '.join(found)}" if found else "none in the catalogue is expected to break it"


# --- what established it


def established(target: str, answers: Sequence[Answer], identifier: str) -> list[str]:
    """The answers about a property, and the command that gives those that are missing."""
    command = f"kmemspec check {printable(target)}"
    mine = [answer for answer in answers if answer.property == identifier]
    current = sorted((answer for answer in mine if answer.current), key=_rank)
    stale = sorted({answer.engine for answer in mine if not answer.current} - {answer.engine for answer in current})
    lines = [wrapped("  verdicts   " if not number else " " * 13, _said(answer), 13)
             for number, answer in enumerate(current)]
    if stale:
        engines = printable(", ".join(stale))
        text = f"{engines} answered about an earlier version of {printable(target)}; run again: {command}"
        lines.append(wrapped("  stale      ", text, 13))
    elif not current:
        lines.append(f"  verdicts   nothing on this machine yet: run `{command}`")
    return lines


def _rank(answer: Answer) -> tuple[int, str]:
    return (ORDER.index(answer.engine) if answer.engine in ORDER else len(ORDER), answer.engine)


def _said(answer: Answer) -> str:
    outcome = Outcome(answer.outcome)
    said = answer.bound if outcome is not Outcome.UNKNOWN else answer.reason or answer.bound
    text = f"{answer.engine}: {SYMBOL[outcome]} {outcome.value}" + (f", {said}" if said else "")
    at = "" if answer.scope in said else f", at {answer.scope}"
    return printable(text + at, 600)


# --- where the kernel's functions are in the model


def _model(program: Program, origin: str) -> list[str]:
    """The functions of the model that an origin names, with their places and the version they follow."""
    named = dict.fromkeys(name.lstrip("_") for name in re.findall(r"\b(\w+)\(", origin))
    functions: dict[str, Position] = {}
    for name, where in _places(program).items():
        if name in named:
            functions[name] = where
    return [f"{name}(), {functions[name]}{_version(functions[name].file)}" for name in named if name in functions][
        :MODEL_MAX
    ]


def _places(program: Program) -> dict[str, Position]:
    """Where the functions of a program are defined: those in files of which something has a position."""
    wanted = {function.source for function in program.functions.values()}
    found: dict[str, Position] = {}
    for file in dict.fromkeys(place.file for place in program.positions):
        for node in tree(file).body:
            if isinstance(node, ast.FunctionDef) and node.name in wanted:
                found.setdefault(node.name, position(file, node))
    return found


def _version(file: str) -> str:
    """What a module's docstring says it follows: "Linux 6.1, mm/page_alloc.c"."""
    said = re.search(r"\bLinux \d[\w.]*(?:, [\w/.]+\.[ch])*", " ".join((ast.get_docstring(tree(file)) or "").split()))
    return f" ({said[0]})" if said else ""


__all__ = ["WORDS", "Answer", "Explanation", "catching", "established", "explanations", "of_word", "wrapped"]
