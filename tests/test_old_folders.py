"""Folders that an earlier commit wrote, 39bb60e: they are read and resumed, and keep their scores to themselves.

`folders/search_39bb60e` is a search that Ctrl-C ended after 32 of its 60 evaluations:

    raynas search as-vit --img-size 32 --data digits --batch-size 4 --searcher regularized_evolution
        --set searcher.population=8 -o length_distortion --set length_distortion.repeats=1 -p ntk_condition -p synflow
        -c "num_params<=2e6" --budget 60 --window 6 --seed 3 --workers 0

`folders/training_39bb60e` is a training that was completed, without its checkpoints:

    raynas train as-vit --architecture "4,2,2|2,1,2|2,1,2|2,1,2|8,8" --data digits --max-images 80 --img-size 32
        --epochs 2 --batch-size 32 --augment light --lr 1e-3 --ema 0.9 --threads 1 --loader-processes 0 --workers 0

Nothing here depends on the processor: a score of today is nowhere compared with a stored one.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import raynas

FOLDERS = Path(__file__).parent / "folders"
BUDGET, TOLD = 60, 32
SETTINGS: dict[str, Any] = {
    "img_size": 32,
    "data": "digits",
    "batch_size": 4,
    "workers": 0,
    "settings": {"length_distortion": {"repeats": 1}},
}


def copied(name: str, to: Path) -> Path:
    return Path(shutil.copytree(FOLDERS / f"{name}_39bb60e", to / name))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command as it is installed."""
    (command,) = entry_points(group="console_scripts", name="raynas")
    monkeypatch.setattr(sys, "argv", ["raynas", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.load()()
    code = ended.value.code
    return code if isinstance(code, int) else 0


def rows(found: raynas.Run) -> dict[tuple[str, str], dict[str, Any]]:
    """By architecture and score."""
    listed = found.evaluations.to_pylist()
    by_key = {(row["architecture_key"], row["proxy"]): row for row in listed}
    assert len(by_key) == len(listed)
    return by_key


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_goes_on_with_the_rows_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied("search", tmp_path)
    stored = rows(raynas.load_run(folder))
    assert run(monkeypatch, "search", "--resume", "--out", str(folder)) == 0
    found = raynas.load_run(folder)
    now = rows(found)
    # Also the seconds that they took, which no second scoring repeats; and that nobody knows what computed them.
    assert {key: now[key] for key in stored} == stored
    assert len(now) > len(stored) >= TOLD
    assert (found.summary["status"], found.summary["evaluations"]) == ("completed", BUDGET)
    assert not (folder / "set_aside").exists()


def test_its_scores_are_not_taken_as_nobody_knows_what_computed_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("search", tmp_path)
    before = content(folder)
    proxies = ["synflow", "ntk_condition", "length_distortion"]
    scored = {key: row for key, row in rows(raynas.load_run(folder)).items() if row["proxy"] in proxies}
    assert {row["device_type"] for row in scored.values()} == {None}
    architectures = list(dict.fromkeys(row["architecture"] for row in scored.values()))[:2]
    new = raynas.score("as-vit", architectures, proxies=proxies, reuse=[folder], out=tmp_path / "new", **SETTINGS)
    assert new.summary["reused"] == 0
    assert f"{len(scored)} scores of {folder} are not taken" in capsys.readouterr().err
    assert content(folder) == before


@pytest.mark.parametrize("name", ["search", "training"])
def test_a_folder_has_a_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(name, tmp_path)
    assert run(monkeypatch, "report", str(folder)) == 0
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_training_is_read() -> None:
    training = raynas.load_training(FOLDERS / "training_39bb60e")
    assert training.metrics["epoch"].to_pylist() == [0, 1]
    assert training.metrics["ema_val_top1"].null_count == 0
    assert training.summary["num_params"] == 61_898
    assert training.architecture["num_heads"] == 8


def test_a_training_is_refused_in_one_line_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("training", tmp_path)
    before = content(folder)
    code = run(monkeypatch, "train", "--resume", "--out", str(folder))
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder) in line
    assert "an earlier version of raynas wrote it" in line
    assert content(folder) == before
