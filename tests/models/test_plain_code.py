"""Several files of a package as the text of one."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raynas.models.families import as_vit_network, autoformer_network, resnet_network
from raynas.models.plain_code import source_of

PARTS = '''"""Parts.

More of them.
"""

import math
from typing import Any


def half(x: Any) -> float:
    return math.floor(x) / 2
'''
TWICE = '''"""Twice."""

from typing import Any

from {package}.parts import half


def quarter(x: Any) -> float:
    return half(half(x))
'''
WHOLE = '''"""The whole."""

import json

from {package}.parts import half
from {package}.twice import quarter


def both(x: float) -> str:
    return json.dumps([half(x), quarter(x)])
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of a package that is written from texts by the names of their files."""
    monkeypatch.syspath_prepend(tmp_path)
    name = "package_of_a_network"

    def imported(module: str, **texts: str) -> ModuleType:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        for file, text in texts.items():
            (tmp_path / name / f"{file}.py").write_text(text.replace("{package}", name))
        return importlib.import_module(f"{name}.{module}")

    yield imported
    for loaded in [one for one in sys.modules if one.partition(".")[0] == name]:
        del sys.modules[loaded]


def test_what_a_module_imports_of_its_package_stands_before_it_once(package: Any) -> None:
    text = source_of(package("whole", parts=PARTS, twice=TWICE, whole=WHOLE))
    tree = ast.parse(text)
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["half", "quarter", "both"]
    assert ast.get_docstring(tree) == "The whole."
    assert [line for line in text.splitlines() if line.startswith("#") and "--" not in line] == [
        "# Parts.", "#", "# More of them.", "# Twice.",
    ]  # fmt: skip
    alone: dict[str, Any] = {}
    exec(text, alone)
    assert alone["both"](9) == "[4.5, 2.0]"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("from {package} import parts", "import parts` cannot be part of one text"),
        ("from {package}.parts import half as halved", "half as halved` cannot be part of one text"),
        ("from .parts import half", "from .parts import half` cannot be part of one text"),
        ("import {package}.parts", r"import package_of_a_network\.parts` cannot be part of one text"),
    ],
)
def test_imports_that_need_the_package_are_refused(package: Any, statement: str, says: str) -> None:
    whole = package("whole", parts=PARTS, whole=f'"""The whole."""\n\n{statement}\n')
    with pytest.raises(ValueError, match=says):
        source_of(whole)


def test_a_name_that_two_files_define_is_refused(package: Any) -> None:
    whole = package("whole", parts=PARTS, twice=TWICE, whole=WHOLE + "\n\ndef quarter() -> None: ...\n")
    with pytest.raises(ValueError, match=r"twice and package_of_a_network\.whole both define quarter"):
        source_of(whole)


@pytest.mark.parametrize("module", [as_vit_network, autoformer_network, resnet_network])
def test_the_networks_that_come_along_are_one_text_without_raynas(module: ModuleType) -> None:
    text = source_of(module)
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [one for one in map(ast.unparse, imported) if "raynas" in one or "import ." in one]
    defined = [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert len(set(defined)) == len(defined)
