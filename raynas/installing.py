"""The command that installs what raynas lacks, in the way in which it was installed here itself."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

_NAME = "raynas"


def extra_line(extra: str) -> str:
    """The command that installs an extra of raynas into the environment of this process.

    Args:
        extra: The extra's name, such as "onnx".

    Returns:
        A line for a shell: of `uv tool` or `pipx` where one of them has installed raynas as a program of its own, of
        `uv sync` in a clone whose environment uv keeps, of `uv pip` in other environments of uv, else of pip.
    """
    prefix, clone = Path(sys.prefix), _clone()
    wanted = shlex.quote(f"{_NAME}[{extra}]") if clone is None else f"-e {shlex.quote(f'{clone}[{extra}]')}"
    if _is_tool_of_uv(prefix):
        return f"uv tool install {wanted}"
    if _is_of_pipx(prefix):
        return f"pipx install --force {wanted}"
    if clone is not None and prefix.parent == clone and (clone / "uv.lock").is_file():
        return f"uv sync --inexact --extra {extra}"
    return f"{_installer(prefix)} install {wanted}"


def missing_packages_line(packages: Iterable[str], extra: str) -> str | None:
    """Which packages of an extra are missing and how they are installed, in words that follow what needs them.

    Args:
        packages: Names of packages, as they are imported.
        extra: The extra that has them.

    Returns:
        Words such as "needs the package onnx: pip install 'raynas[onnx]'"; None where all packages are there.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"needs the {'package' if len(missing) == 1 else 'packages'} {', '.join(missing)}: {extra_line(extra)}"


def package_line(package: str) -> str:
    """The command that installs another package into the environment of this process; see `extra_line`.

    Args:
        package: The package's name, such as "wandb".
    """
    prefix, clone = Path(sys.prefix), _clone()
    if _is_tool_of_uv(prefix):
        own = _NAME if clone is None else f"-e {shlex.quote(str(clone))}"
        return f"uv tool install {own} --with {package}"
    if _is_of_pipx(prefix):
        return f"pipx inject {_NAME} {package}"
    return f"{_installer(prefix)} install {package}"


def _is_tool_of_uv(prefix: Path) -> bool:
    return (prefix / "uv-receipt.toml").is_file()


def _is_of_pipx(prefix: Path) -> bool:
    return (prefix / "pipx_metadata.json").is_file()


def _clone() -> Path | None:
    """The clone of raynas whose files are run, if they are not those of an installed wheel."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


def _installer(prefix: Path) -> str:
    """The program that installs packages into an environment: uv has made it without pip, or there is pip."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        lines = []
    is_made_by_uv = any(line.partition("=")[0].strip() == "uv" for line in lines)
    return "uv pip" if is_made_by_uv and importlib.util.find_spec("pip") is None else "pip"
