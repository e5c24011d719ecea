"""Versions of all code that what is computed depends on, which must be the same on all nodes of a run."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raynas.cluster.own_code import OUR_FOLDERS
from raynas.version import __version__

LIBRARIES = ("numpy", "timm", "torch")
"""Libraries whose versions change the last digits of what is computed."""


def libraries() -> str:
    """Versions of `LIBRARIES`, such as "numpy 2.3.1, timm 1.0.31, torch 2.15.0"."""
    return ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def code_versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Versions of all that must be the same wherever a run computes, by name.

    Args:
        packages: Names of installed packages that the user's own code is from, see `installed_packages`.
    """
    return {
        **{name: _files_of(name) for name in packages},
        "Python": platform.python_version(),
        "raynas": f"{__version__} (files {_hash_of(OUR_FOLDERS)})",
        **{name: _version(name) for name in LIBRARIES},
    }


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """What differs, in words; empty if nothing does.

    Args:
        wanted: What there is at the driver, by name, such as `code_versions`.
        found: The same of a worker.
    """
    return ", ".join(
        f"{name} is {found.get(name, 'missing')} there and {text} here"
        for name, text in wanted.items()
        if found.get(name) != text
    )


def _files_of(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return "missing"
    places = spec.submodule_search_locations or ([] if spec.origin is None else [spec.origin])
    return f"files {_hash_of(tuple(map(Path, places)))}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


@cache
def _hash_of(places: tuple[Path, ...]) -> str:
    """Eight hexadecimal digits of the Python files in folders, or of single files."""
    digest = blake2b(digest_size=4)
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if file.is_file():
                digest.update(f"{file.relative_to(place.parent)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()
