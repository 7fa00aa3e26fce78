"""Every obligation of the buddy proof, exported as SMT-LIB 2 and decided again by a solver that is not Z3."""

from __future__ import annotations

from pathlib import Path

import pytest
from kmemspec.model.faults.catalogue import find
from kmemspec.proofs.symbolic import export
from kmemspec.specs.loading import load

bitwuzla = pytest.importorskip("bitwuzla", reason="the second solver, bitwuzla, is not installed")


def answer(file: Path) -> str:
    options = bitwuzla.Options()
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    parser.parse(str(file), True)
    return str(parser.bitwuzla().check_sat())


def expected(file: Path) -> str:
    [line] = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("(set-info :status ")]
    return line.removeprefix("(set-info :status ").removesuffix(")")


@pytest.mark.parametrize("scope", ["odd", pytest.param("default", marks=pytest.mark.slow)])
def test_it_confirms_every_obligation(scope: str, tmp_path: Path) -> None:
    loaded = load("buddy")
    files = export(loaded.program, loaded.spec.scope(scope), tmp_path)
    assert len(files) > 80
    assert {file.name: answer(file) for file in files} == {file.name: expected(file) for file in files}


def test_it_refutes_what_a_fault_breaks(tmp_path: Path) -> None:
    loaded = load("buddy", find("D7"))
    files = export(loaded.program, loaded.spec.scope("pages=4"), tmp_path)
    broken = [file.name for file in files if answer(file) != expected(file)]
    assert any("-B9-" in name for name in broken)
