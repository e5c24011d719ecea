"""What this process computes with: kind of device, and versions of all code that scores depend on."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raynas.cluster.own_code import OUR_FOLDERS
from raynas.errors import StoreError
from raynas.space.results import OF_PROCESSOR
from raynas.storage.files import files_below, is_folder, read_bytes
from raynas.storage.text_files import read_text
from raynas.version import __version__

LIBRARIES = ("numpy", "timm", "torch")
"""Libraries whose versions change the last digits of scores."""


def device_type(device: str, *, is_timed: bool = False) -> str:
    """What computes, as far as it changes scores.

    Args:
        device: "cpu" or "cuda".
        is_timed: Whether some scores are taken by the clock, for which one processor is not as another one with the
            same instructions; `raynas.space.results.Platform.of_arithmetic` takes its name away again.

    Returns:
        The name of this process's GPU, such as "NVIDIA H100 80GB HBM3"; or the vector instructions that torch uses on
        this processor, such as "AVX2", or "AVX2 of AMD EPYC 7763 64-Core Processor".
    """
    import torch

    if device != "cpu":
        return torch.cuda.get_device_name()
    instructions = str(torch.backends.cpu.get_cpu_capability())
    return f"{instructions}{OF_PROCESSOR}{processor()}" if is_timed else instructions


def processor() -> str:
    """The name of the processor, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        lines = read_text(Path("/proc/cpuinfo")).splitlines()
    except StoreError:  # another system
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def libraries() -> str:
    """Versions of `LIBRARIES`, such as "numpy 2.3.1, timm 1.0.31, torch 2.15.0"."""
    return ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)


def code_versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Versions of all that must be the same where a score is computed, by name.

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
        wanted: `code_versions` of the driver.
        found: Those of a worker.
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
        for file in sorted(files_below(place)) if is_folder(place) else [place]:
            if file.suffix == ".py":
                digest.update(f"{file.relative_to(place.parent)}\n".encode())
                digest.update(read_bytes(file))
    return digest.hexdigest()
