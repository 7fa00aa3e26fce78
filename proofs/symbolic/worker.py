"""A solver process: reads terms and queries as JSON lines, answers each query with Z3.

It knows nothing of specifications. Its parent sends the table of terms as it grows, then queries (term numbers to be
satisfied together, perhaps with those of one of several ways); the domains of the variables a query mentions are added
here. One process serves one query at a time, so the parent can end a query by ending the process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import IO, Any

import z3  # type: ignore[import-untyped]

from .lowering import Lowering
from .values import Boolean, Integer, Term

_FUNCTIONS = {
    "bvadd": "Z3_mk_bvadd", "bvsub": "Z3_mk_bvsub", "bvmul": "Z3_mk_bvmul", "bvand": "Z3_mk_bvand",
    "bvor": "Z3_mk_bvor", "bvxor": "Z3_mk_bvxor", "bvudiv": "Z3_mk_bvudiv", "bvurem": "Z3_mk_bvurem",
    "bvsdiv": "Z3_mk_bvsdiv", "bvsmod": "Z3_mk_bvsmod", "bvshl": "Z3_mk_bvshl", "bvlshr": "Z3_mk_bvlshr",
    "bvashr": "Z3_mk_bvashr", "bvult": "Z3_mk_bvult", "bvule": "Z3_mk_bvule", "bvslt": "Z3_mk_bvslt",
    "bvsle": "Z3_mk_bvsle", "=": "Z3_mk_eq", "ite": "Z3_mk_ite", "not": "Z3_mk_not",
}


class Z3Backend:
    """Z3's C functions called directly: the Python operators cost several times as much a term."""

    def __init__(self) -> None:
        self.context = z3.main_ctx()
        self._reference = self.context.ref()
        self._constants: dict[tuple[int, int], Any] = {}

    def _keep(self, ast: Any) -> Any:
        return z3.ExprRef(ast, self.context)

    def constant(self, value: int, width: int) -> Any:
        key = (value, width)
        if key not in self._constants:
            self._constants[key] = z3.BitVecVal(value, width)
        return self._constants[key]

    def truth(self, value: bool) -> Any:
        return z3.BoolVal(value)

    def variable(self, name: str, width: int) -> Any:
        return z3.BitVec(name, width)

    def truth_variable(self, name: str) -> Any:
        return z3.Bool(name)

    def extend(self, operand: Any, by: int, signed: bool) -> Any:
        function = z3.Z3_mk_sign_ext if signed else z3.Z3_mk_zero_ext
        return self._keep(function(self._reference, by, operand.as_ast()))

    def low_bits(self, operand: Any, width: int) -> Any:
        return self._keep(z3.Z3_mk_extract(self._reference, width - 1, 0, operand.as_ast()))

    def apply(self, operator: str, operands: list[Any]) -> Any:
        if operator in ("and", "or"):
            array = (z3.Ast * len(operands))(*[operand.as_ast() for operand in operands])
            function = z3.Z3_mk_and if operator == "and" else z3.Z3_mk_or
            return self._keep(function(self._reference, len(operands), array))
        function = getattr(z3, _FUNCTIONS[operator])
        return self._keep(function(self._reference, *[operand.as_ast() for operand in operands]))

    def define(self, term: Term, width: int, meaning: Any) -> Any:
        return meaning


def decode(nodes: list[Term], rows: Iterable[list[Any]]) -> None:
    """Append rows of `solving.encode` to the table: a number is a term, a string a constant (or a name)."""
    for operator, low, high, arguments in rows:
        number = len(nodes)
        if operator == "variable":
            given: tuple[Any, ...] = (arguments[0],)
        else:
            given = tuple(nodes[a] if isinstance(a, int) else int(a) for a in arguments)
        if low is None:
            nodes.append(Boolean(number, operator, given))
        else:
            nodes.append(Integer(number, operator, given, low, high, 0))


class Solving:
    """The state of a solver process."""

    def __init__(self) -> None:
        self.nodes: list[Term] = []
        self._backend = Z3Backend()
        self._lowering: Lowering[Any] = Lowering(self._backend)

    def solve(
        self, roots: list[int], ways: list[list[int]], milliseconds: int, want_model: bool
    ) -> dict[str, Any]:
        """Are the terms satisfiable together, and, if there are ways, with all terms of one of these? With the model
        comes which ways are true in it."""
        started = time.perf_counter()
        variables = self._below([*roots, *(root for way in ways for root in way)])
        assertions = [self._assertion(root) for root in roots]
        alternatives = [z3.And([z3.BoolVal(True), *map(self._assertion, way)]) for way in ways]
        if alternatives:
            assertions.append(z3.Or(alternatives))
        solver = z3.Then("simplify", "bit-blast", "sat").solver()  # a third of the time of SolverFor("QF_BV")
        solver.set("timeout", max(1, milliseconds))
        for variable in variables:
            domain = self._lowering.domain(variable) if isinstance(variable, Integer) else None
            if domain is not None:
                solver.add(z3.BoolRef(domain.as_ast(), self._backend.context))
        for assertion in assertions:
            solver.add(assertion)
        answer = solver.check()
        result: dict[str, Any] = {"answer": str(answer), "seconds": time.perf_counter() - started}
        if answer == z3.unknown:
            result["reason"] = solver.reason_unknown()
        elif answer == z3.sat and want_model:
            model = solver.model()
            result["model"] = self._model(model, variables)
            true = [z3.is_true(model.eval(way, model_completion=True)) for way in alternatives]
            result["ways"] = [number for number, holds in enumerate(true) if holds]
        return result

    def _assertion(self, root: int) -> Any:
        [term] = self._lowering.lower([self.nodes[root]])
        return z3.BoolRef(term.as_ast(), self._backend.context)

    def _below(self, roots: list[int]) -> list[Term]:
        """The variables the roots depend on."""
        seen: set[int] = set()
        variables: list[Term] = []
        pending: list[Term] = [self.nodes[root] for root in roots]
        while pending:
            term = pending.pop()
            if term.number in seen:
                continue
            seen.add(term.number)
            if term.operator == "variable":
                variables.append(term)
            else:
                pending.extend(a for a in term.arguments if isinstance(a, Integer | Boolean))
        return variables

    def _model(self, model: Any, variables: list[Term]) -> dict[str, int]:
        values: dict[str, int] = {}
        for variable in variables:
            name = str(variable.arguments[0])
            if isinstance(variable, Boolean):
                values[name] = int(z3.is_true(model.eval(z3.Bool(name), model_completion=True)))
                continue
            [term] = self._lowering.lower([variable])
            bits = model.eval(z3.BitVecRef(term.as_ast(), self._backend.context), model_completion=True)
            values[name] = bits.as_signed_long() if variable.low < 0 else bits.as_long()
        return values


def serve(source: IO[str], sink: IO[str]) -> None:
    """Answer line by line until the source ends."""
    solving = Solving()
    for line in source:
        message = json.loads(line)
        decode(solving.nodes, message["nodes"])
        result = solving.solve(message["roots"], message["ways"], message["milliseconds"], message["model"])
        sink.write(json.dumps(result) + "\n")
        sink.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
