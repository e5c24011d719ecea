"""The comparison with another commit: what counts as equal, and that it finds what is not."""

from __future__ import annotations

import importlib
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
SCRIPT = "benchmarks/equal_to_commit.py"

sys.path.append(str(ROOT / "benchmarks"))  # of scripts, which is no package
compare = importlib.import_module("equality.differences").compare
undertakings = importlib.import_module("equality.undertakings").undertakings

ROWS = {"a synflow": {"value": 0.1, "candidate": 3, "error": None, "seconds": 1.0}, "b synflow": {"value": None}}


def compared(tmp_path: Path, old: Any, new: Any, name: str = "evaluations.json") -> Any:
    for side, value in (("old", old), ("new", new)):
        (tmp_path / side).mkdir()
        path = tmp_path / side / name
        if path.suffix == ".safetensors":
            save_file(value, path)
        else:
            path.write_text(value if path.suffix == ".txt" else json.dumps(value))
    return compare(tmp_path / "old", tmp_path / "new")


# -- what is equal -----------------------------------------------------------------------------------------------------


def test_equal_values_are_counted(tmp_path: Path) -> None:
    found = compared(tmp_path, ROWS, ROWS)
    assert found.is_equal
    assert (found.values, found.differences, found.remarks) == (3, [], [])


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({"value": 0.1}, {"value": float(np.nextafter(0.1, 1))}, "x.value was 0.1 (0x1.999999999999ap-4), now 0.1000"),
        ({"value": 0.0}, {"value": -0.0}, "x.value was 0.0 (0x0.0p+0), now -0.0 (-0x0.0p+0)"),
        ({"value": 1}, {"value": 1.0}, "x.value was 1, now 1.0"),
        ({"value": 1}, {"value": True}, "x.value was 1, now True"),
        ({"value": None}, {"value": 0.5}, "x.value was None, now 0.5"),
        ({"status": "ok"}, {"status": "failed"}, "x.status was 'ok', now 'failed'"),
        ({"value": 1.0}, {}, "x.value is missing on the new side"),
        ({}, {"value": 1.0}, "x.value is missing on the old side"),
        ([1, 2], [1, 2, 3], "x has 2 entries, now 3"),
        ([[1], [2]], [[1], [3]], "x[1][0] was 2, now 3"),
    ],
)
def test_one_value_that_differs_is_found(tmp_path: Path, old: Any, new: Any, line: str) -> None:
    found = compared(tmp_path, old, new, "x.json")
    assert not found.is_equal
    assert len(found.differences) == 1
    assert found.differences[0].startswith(line)


def test_not_a_number_equals_itself(tmp_path: Path) -> None:
    assert compared(tmp_path, {"value": float("nan")}, {"value": float("nan")}).is_equal


def test_times_are_not_compared_and_messages_only_reported(tmp_path: Path) -> None:
    new = {**ROWS, "a synflow": {**ROWS["a synflow"], "seconds": 2.0, "error": "another message"}}
    found = compared(tmp_path, ROWS, new)
    assert found.is_equal
    assert found.remarks == ["evaluations.a synflow.error was None, now 'another message'"]


def test_one_bit_of_a_tensor_that_differs_is_found(tmp_path: Path) -> None:
    weight = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    other = weight.copy()
    other.view(np.int32)[1, 2] ^= 1
    same = {"bias": np.zeros(2, np.float32)}
    found = compared(tmp_path, {"weight": weight, **same}, {"weight": other, **same}, "weights.safetensors")
    assert not found.is_equal
    assert len(found.differences) == 1
    assert found.differences[0].startswith("weights.weight[1, 2] was 0.0909")
    assert found.differences[0].endswith("; 1 of 12 differ")


@pytest.mark.parametrize(
    "new", [{"weight": np.zeros(3, np.float32)}, {"weight": np.zeros(2)}, {"other": np.zeros(2, np.float32)}]
)
def test_tensors_of_another_form_differ(tmp_path: Path, new: dict[str, np.ndarray]) -> None:
    assert not compared(tmp_path, {"weight": np.zeros(2, np.float32)}, new, "weights.safetensors").is_equal


def test_the_first_line_of_a_text_that_differs_is_reported(tmp_path: Path) -> None:
    found = compared(tmp_path, "a\nb\nc\n", "a\nB\nc\n", "model.py.txt")
    assert found.differences == []
    assert found.remarks == ["model.py differs from line 2: 'b', now 'B'"]
    assert not found.is_equal  # since nothing else was there to compare


def test_a_file_that_is_missing_differs(tmp_path: Path) -> None:
    compared(tmp_path, ROWS, ROWS)
    (tmp_path / "new" / "evaluations.json").unlink()
    found = compare(tmp_path / "old", tmp_path / "new")
    assert found.differences == ["evaluations.json is missing on the new side"]


# -- what is carried out -----------------------------------------------------------------------------------------------


def test_every_searcher_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = entry_points(group="console_scripts", name="raynas")
    monkeypatch.setattr(sys, "argv", ["raynas", "list", "searchers", "--json"])
    with redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        command.load()()
    known = {row["name"] for row in json.loads(out.getvalue())}
    compared = {one.settings["searcher"] for one in undertakings() if one.function == "search"}
    assert compared == known - {"growth"}  # which is a scale
    assert "scale" in {one.function for one in undertakings()}


def test_what_an_undertaking_needs_comes_before_it() -> None:
    for extent in ("quick", "usual", "long"):
        names = [one.name for one in undertakings(extent)]
        assert len(set(names)) == len(names)
        for one in undertakings(extent):
            assert all(names.index(needed) < names.index(one.name) for needed in one.needs)
    assert [one.name for one in undertakings("quick", ["export/distilled-best"])] == [
        "train/resnet",
        "train/distilled",
        "export/distilled-best",
    ]
    with pytest.raises(ValueError, match="no undertaking is called nonsense"):
        undertakings("quick", ["nonsense"])


# -- the comparison itself ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The present code as the only commit of a repository."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path_factory.mktemp("repository")
    for name in ("raynas", "searchspaces", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    own = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], [*own, "commit", "-q", "-m", "The present code"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_code_equals_itself(repository: Path) -> None:
    done = run(repository, "HEAD", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    names = [line.split()[1] for line in lines if line.startswith("equal ")]
    chosen = undertakings("quick")
    continued = [one for one in chosen if one.is_continued]
    assert names[: len(chosen)] == [one.name for one in chosen]
    assert {name for name in names if name.startswith("resumed/")} == {f"resumed/{one.name}" for one in continued}
    assert "reused/search/reinforce-0" in names
    assert lines[-1].startswith(f"{len(names)} equal, after ")
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(worktrees.stdout.splitlines()) == 1


@pytest.mark.slow
def test_code_that_differs_is_found(repository: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(repository, tmp_path / "changed")
    space = changed / "searchspaces" / "resnet.py"
    before = space.read_text()
    space.write_text(before.replace("num_classes * (before + 1))", "num_classes * (before + 1) + 1)"))
    assert space.read_text() != before
    done = run(changed, "HEAD", "--only", "export/resnet", "--only", "export/as-vit")
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = {line[10:].split()[0]: line for line in done.stdout.splitlines() if "export/" in line}
    assert verdicts["export/as-vit"].startswith("equal ")
    assert verdicts["export/resnet"].startswith("NOT EQUAL ")
    assert "config.num_params was 19218, now 19219" in verdicts["export/resnet"]
    assert "1 equal, 1 NOT EQUAL, after " in done.stdout


def test_a_commit_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    done = run(ROOT, "0123456789")
    assert done.returncode == 2
    assert "git knows no commit '0123456789' here" in done.stderr
