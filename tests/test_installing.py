"""What is told to install is what installs it where raynas is."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raynas.installing import extra_line

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "raynas" / "installing.py"


def installed(folder: Path, *, is_clone: bool) -> Path:
    """A copy of the file, as a wheel has it or as a clone does."""
    (folder / "raynas").mkdir(parents=True)
    if is_clone:
        (folder / "pyproject.toml").touch()
    return Path(shutil.copy(SOURCE, folder / "raynas"))


def lines(python: str | Path, file: Path) -> list[str]:
    """What the file says, run by an interpreter of some environment."""
    script = (
        f"import runpy; found = runpy.run_path({str(file)!r}); "
        "print(found['extra_line']('onnx'), found['package_line']('wandb'), sep=chr(10))"
    )
    return subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(shutil.which("uv") is None, reason="there is no uv")
@pytest.mark.parametrize("has_pip", [False, True])
def test_an_environment_of_uv_without_pip_is_served_by_uv_pip(tmp_path: Path, has_pip: bool) -> None:
    subprocess.run(["uv", "venv", "-q", "--offline", "-p", sys.executable, tmp_path / "own"], check=True)
    python = tmp_path / "own" / "bin" / "python"
    if has_pip:
        packages = next((tmp_path / "own" / "lib").glob("python*")) / "site-packages"
        (packages / "pip.py").touch()
    wheel = installed(tmp_path / "site-packages", is_clone=False)
    name = "pip" if has_pip else "uv pip"
    assert lines(python, wheel) == [f"{name} install 'raynas[onnx]'", f"{name} install wandb"]


@pytest.mark.skipif(shutil.which("uv") is None, reason="there is no uv")
def test_a_clone_whose_environment_uv_keeps_is_synchronised(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    file = installed(clone, is_clone=True)
    subprocess.run(["uv", "venv", "-q", "--offline", "-p", sys.executable, clone / ".venv"], check=True)
    python = clone / ".venv" / "bin" / "python"
    assert lines(python, file)[0] == f"uv pip install -e '{clone}[onnx]'"
    (clone / "uv.lock").touch()
    assert lines(python, file) == ["uv sync --inexact --extra onnx", "uv pip install wandb"]


@pytest.mark.parametrize(
    ("receipt", "of_extra", "of_package"),
    [
        ("uv-receipt.toml", "uv tool install 'raynas[onnx]'", "uv tool install raynas --with wandb"),
        ("pipx_metadata.json", "pipx install --force 'raynas[onnx]'", "pipx inject raynas wandb"),
        ("", "pip install 'raynas[onnx]'", "pip install wandb"),
    ],
)
def test_programs_of_their_own_are_installed_again_with_what_they_lack(
    receipt: str, of_extra: str, of_package: str, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "own"], check=True)
    if receipt:
        (tmp_path / "own" / receipt).touch()
    wheel = installed(tmp_path / "site-packages", is_clone=False)
    assert lines(tmp_path / "own" / "bin" / "python", wheel) == [of_extra, of_package]


def test_raynas_as_it_is_installed_here_is_a_clone() -> None:
    assert runpy.run_path(str(SOURCE))["extra_line"]("onnx") == extra_line("onnx")
    assert str(ROOT) in extra_line("onnx") or "uv sync" in extra_line("onnx")
