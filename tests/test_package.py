"""The package as it is built: nothing missing from the list or from the wheel, README's commands as they stand."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {"tests", "examples", "benchmarks", "build", "dist"}


def packages_on_disk() -> set[str]:
    found = {"kmemspec"}
    for init in ROOT.rglob("__init__.py"):
        parts = init.relative_to(ROOT).parts[:-1]
        if parts and parts[0] not in OUTSIDE and not any(part.startswith(".") for part in parts):
            found.add(".".join(("kmemspec", *parts)))
    return found


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(listed) == packages_on_disk()
    assert len(listed) == len(set(listed))


def test_every_folder_with_modules_is_a_package() -> None:
    for module in ROOT.rglob("*.py"):
        parts = module.relative_to(ROOT).parts[:-1]
        if parts and (parts[0] in OUTSIDE or any(part.startswith(".") for part in parts)):
            continue
        assert (module.parent / "__init__.py").exists(), module


@pytest.mark.slow
def test_every_module_is_in_the_wheel(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(_copy(tmp_path))],
        check=True, capture_output=True, timeout=300,
    )
    [wheel] = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    wanted = {
        "kmemspec/" + str(module.relative_to(ROOT))
        for module in ROOT.rglob("*.py")
        if module.relative_to(ROOT).parts[0] not in OUTSIDE
        and not any(part.startswith(".") for part in module.relative_to(ROOT).parts)
    }
    assert inside == wanted
    assert "kmemspec/py.typed" in zipfile.ZipFile(wheel).namelist()


def _copy(tmp_path: Path) -> Path:
    """The tree without what building leaves behind, so that the build does not see or leave anything in ours."""
    import shutil

    target = tmp_path / "tree"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__"))
    return target


def test_imports_point_one_way() -> None:
    """cli -> views, proofs -> specs -> model -> model.lang (design)."""
    storey = {"model.lang": 0, "model": 1, "specs": 2, "proofs": 3, "views": 3, "": 4}

    def place(parts: tuple[str, ...]) -> int:
        name = ".".join(parts[:2]) if parts[:2] == ("model", "lang") else (parts[0] if parts else "")
        return storey.get(name, 4)

    import ast

    wrong = []
    for module in ROOT.rglob("*.py"):
        parts = module.relative_to(ROOT).with_suffix("").parts
        if parts[0] in OUTSIDE or parts[0].startswith(".") or len(parts) == 1:
            continue
        package = parts[:-1]
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - (node.level - 1)]
                target = (*base, *(node.module.split(".") if node.module else ()))
                if place(target) > place(package) or (
                    {package[0], target[0] if target else ""} == {"views", "proofs"}
                ):
                    wrong.append((str(module.relative_to(ROOT)), ".".join(target)))
    assert not wrong


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom kmemspec.cli import build_parser\nbuild_parser().format_help()\n"
        "print([name for name in ('z3', 'llvmlite', 'hypothesis', 'cffi', 'rich', 'graphviz') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
