"""Which room may import which, what only one room does, and that these rules bite."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("raynas/**/*.py"), *ROOT.glob("searchspaces/*.py")])

VIOLATIONS = {
    "downwards": ("raynas/stats/quantiles.py", "from raynas.space.results import Status"),
    "cluster": ("raynas/cluster/resources.py", "from raynas.stats.pareto import pareto_front"),
    "training": ("raynas/training/loop.py", "from raynas.scoring.pool import Job"),
    "spaces": ("searchspaces/vit.py", "from raynas.searching.plan import Plan"),
    "no_space": ("raynas/report/page.py", "def drawn():\n    from searchspaces.vit import vit"),
    "light": ("raynas/searchers/base.py", "def started():\n    import ray"),
    "report": ("raynas/report/sweep.py", "from raynas.sweeps.run import execute_sweep"),
}
"""By the id of each contract in pyproject.toml, a file and a line that breaks it."""


def linted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_keep_their_contracts() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout


def test_each_contract_is_broken_by_an_import_against_it(tmp_path: Path) -> None:
    for name in ("raynas", "searchspaces"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in VIOLATIONS.values():
        with (tmp_path / file).open("a") as added:
            added.write(f"\n{line}\n")
    for contract in VIOLATIONS:
        done = linted(tmp_path, "--contract", contract)
        assert done.returncode == 1, contract
        assert "0 kept, 1 broken" in done.stdout, contract


def imported(file: Path) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Each name that a file takes from a module of ours, with its statement."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("raynas", "searchspaces"):
            for alias in node.names:
                yield node, alias.name


def modules() -> dict[str, Path]:
    named = {}
    for file in FILES:
        parts = file.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


def test_no_files_import_each_other_in_a_circle() -> None:
    files = modules()
    takes = {name: set[str]() for name in files}
    for name, file in files.items():
        for node, taken in imported(file):
            whole = f"{node.module}.{taken}"
            takes[name].add(whole if whole in files else str(node.module))
    # What imports nothing that is left is taken away, until only circles remain.
    while free := [name for name, others in takes.items() if not others & takes.keys() - {name}]:
        for name in free:
            del takes[name]
    assert not takes, "these are in circles, or import such: " + ", ".join(sorted(takes))


@pytest.mark.parametrize("folder", ["raynas", "searchspaces", "tests", "benchmarks", "examples"])
def test_no_private_name_is_imported(folder: str) -> None:
    for file in ROOT.glob(f"{folder}/**/*.py"):
        private = [name for _, name in imported(file) if name.startswith("_") and not name.startswith("__")]
        assert not private, f"{file.relative_to(ROOT)} imports {private}"


def test_only_the_room_of_ray_sets_what_ray_reads() -> None:
    for file in FILES:
        if file.relative_to(ROOT).parts[:2] == ("raynas", "cluster"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            sets = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
            sets = sets or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setdefault", "putenv"))
            strings = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)] if sets else []
            found = [text for text in strings if isinstance(text, str) and text.startswith("RAY_")]
            assert not found, f"{file.relative_to(ROOT)}:{node.lineno} sets {found}"


def test_long_files_say_why() -> None:
    for file in [*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        text = file.read_text()
        if text.count("\n") > 400:
            reason = ast.get_docstring(ast.parse(text)) or ""
            assert "one file" in reason.lower(), f"{file.relative_to(ROOT)} is long, and its head does not say why"
