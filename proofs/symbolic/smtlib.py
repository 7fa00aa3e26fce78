"""Every obligation as a self-contained SMT-LIB 2 file in QF_BV, so that any other solver can check it again.

Written by the same `Lowering` that feeds Z3: one `define-fun` a shared term, in the order of their making. The
hypotheses are written as they are, without what `narrowing` concludes from them, so that this need not be believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...model.lang.errors import InputError
from ...model.lang.ir import Program, Sizes
from .induction import Induction, Query
from .lowering import Lowering, width_of
from .relations import Relations
from .values import Boolean, Integer, Term


class TextBackend:
    """Bit-vector terms as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def constant(self, value: int, width: int) -> str:
        return f"#b{value & ((1 << width) - 1):0{width}b}"

    def truth(self, value: bool) -> str:
        return "true" if value else "false"

    def variable(self, name: str, width: int) -> str:
        self.lines.append(f"(declare-const {quoted(name)} {_sort(width)})")
        return quoted(name)

    def truth_variable(self, name: str) -> str:
        self.lines.append(f"(declare-const {quoted(name)} Bool)")
        return quoted(name)

    def extend(self, operand: str, by: int, signed: bool) -> str:
        return f"((_ {'sign' if signed else 'zero'}_extend {by}) {operand})"

    def low_bits(self, operand: str, width: int) -> str:
        return f"((_ extract {width - 1} 0) {operand})"

    def apply(self, operator: str, operands: list[str]) -> str:
        return f"({operator} {' '.join(operands)})"

    def define(self, term: Term, width: int, meaning: str) -> str:
        name = f"t{term.number}"
        self.lines.append(f"(define-fun {name} () {_sort(width) if width else 'Bool'} {meaning})")
        return name


def quoted(name: str) -> str:
    """A symbol of SMT-LIB."""
    return "|" + name.replace("\\", "/").replace("|", "/") + "|"


def _sort(width: int) -> str:
    return f"(_ BitVec {width})"


def script(conditions: list[Boolean], comments: list[str], expected: str) -> str:
    """A script that asks whether the conditions can hold together."""
    backend = TextBackend()
    lowering: Lowering[str] = Lowering(backend)
    assertions = lowering.lower(conditions)
    domains: list[str] = []
    for variable in lowering.variables.values():
        if isinstance(variable, Integer):
            domain = lowering.domain(variable)
            if domain is not None:
                width = width_of(variable.low, variable.high)
                domains.append(f"(assert {domain}) ; {variable.low}..{variable.high} in {width} bits")
    head = [*(f"; {_one_line(comment)}" for comment in comments), f"(set-info :status {expected})"]
    body = [*backend.lines, *domains, *(f"(assert {assertion})" for assertion in assertions)]
    return "\n".join([*head, "(set-logic QF_BV)", *body, "(check-sat)", "(exit)", ""])


def _one_line(comment: str) -> str:
    return " ".join(comment.split())


def export(program: Program, sizes: Sizes, directory: Path | str, *, k: int = 1) -> list[Path]:
    """Write every obligation of the induction proof that is not decided at once; gives the files in order."""
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder, number, query, program, sizes) for number, query in enumerate(_open(program, sizes, k))]
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}", "name a directory you may write to") from None


def _open(program: Program, sizes: Sizes, k: int) -> Iterator[Query]:
    induction = Induction(Relations(program, sizes), k, narrow=False)
    queries = induction.initial_queries(lambda _: True)
    queries.append(induction.hypotheses_query())
    for action in range(len(program.actions)):
        queries.extend(induction.action_queries(action, lambda _: True))
    for query in queries:
        if False not in [c for c in query.conditions if isinstance(c, bool)] and _terms(query):
            yield query


def _terms(query: Query) -> list[Boolean]:
    return [condition for condition in query.conditions if isinstance(condition, Boolean)]


def _write(folder: Path, number: int, query: Query, program: Program, sizes: Sizes) -> Path:
    action, property_, clause = query.label
    meaning = (
        "the negation of the clause after the step, under the hypotheses: unsat means that the clause is kept"
        if query.expected == "unsat"
        else "sat means that the proof is not vacuous"
    )
    comments = [
        f"{program.name} at {program.scope_text(sizes)}",
        f"action {action}, property {property_}, clause: {clause}",
        f"{meaning}; expected {query.expected}",
    ]
    name = "-".join(_sanitised(part) for part in (action, property_, clause))
    path = folder / f"{number:04d}-{name}.smt2"
    path.write_text(script(_terms(query), comments, query.expected), encoding="utf-8")
    return path


def _sanitised(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:60]
