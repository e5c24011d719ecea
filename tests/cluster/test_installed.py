"""What is compared between machines: versions, and hashes of the files that scores are computed by."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raynas.cluster.installed import code_versions, differences, libraries
from raynas.cluster.own_code import installed_packages
from raynas.scoring.device_types import device_type

HASHES = "from raynas.cluster.installed import code_versions; print(code_versions()['raynas'])"


def test_versions_are_those_that_are_installed() -> None:
    found = code_versions()
    assert found["Python"] == platform.python_version()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert f"torch {found['torch']}" in libraries()
    assert device_type("cpu") == torch.backends.cpu.get_cpu_capability()


def test_raynas_has_a_hash_of_its_files_and_not_of_what_lies_beside_them(tmp_path: Path) -> None:
    """Asked in processes of their own, of a copy that is changed."""
    import shutil

    root = Path(__file__).parents[2]
    for name in ("raynas", "searchspaces"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))

    def asked() -> str:
        done = subprocess.run([sys.executable, "-c", HASHES], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    as_it_is = asked()
    assert as_it_is == code_versions()["raynas"]
    (tmp_path / "raynas" / "notes.txt").write_text("nothing")
    assert asked() == as_it_is
    with (tmp_path / "searchspaces" / "pit.py").open("a") as file:
        file.write("# another version\n")
    assert asked() != as_it_is


def test_own_code_that_is_installed_has_a_hash_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "scores.py").write_text("def score(probe):\n    return 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"purelib": str(tmp_path)})
    function = importlib.import_module("own_package.scores").score
    assert installed_packages(function) == ["own_package"]
    (name,) = code_versions(["own_package"]).keys() - code_versions().keys()
    assert name == "own_package"
    assert code_versions(["own_package"])[name].startswith("files ")
    assert code_versions(["not_there_at_all"])["not_there_at_all"] == "missing"


def test_a_difference_names_both_sides() -> None:
    assert differences({"torch": "2.15", "timm": "1.0"}, {"torch": "2.15", "timm": "1.0", "more": "1"}) == ""
    assert differences({"torch": "2.15", "own": "files 1"}, {"torch": "2.14"}) == (
        "torch is 2.14 there and 2.15 here, own is missing there and files 1 here"
    )
