"""What pages say of the images that a run had: built-in sets are described among the settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_folders import epoch_rows, sampled_rows, write_folder, write_training
from toy_evaluations import drawn_predictions, evaluation_folder

from raynas.report.page import live_data

DIGITS = "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn"


def search(folder: Path, data: str) -> None:
    write_folder(folder, sampled_rows(3))
    described = yaml.safe_load((folder / "run.yaml").read_text())
    described["config"]["data"] = data
    (folder / "run.yaml").write_text(yaml.safe_dump(described))


def training(folder: Path, data: str) -> None:
    write_training(folder, epoch_rows(2, macs=10**8), epochs=2, data=data)


def evaluation(folder: Path, data: str) -> None:
    evaluation_folder(folder, drawn_predictions(2, 20), ("a", "b"))
    described = yaml.safe_load((folder / "run.yaml").read_text())
    described["identity"]["data"] = f"{data}, held out"
    (folder / "run.yaml").write_text(yaml.safe_dump(described))


@pytest.mark.parametrize("write", [search, training, evaluation])
def test_a_built_in_set_is_described_and_one_in_a_folder_is_named(
    tmp_path: Path, write: Callable[[Path, str], Any]
) -> None:
    write(tmp_path / "built-in", "digits")
    write(tmp_path / "own", "folder:digits")
    assert f"digits ({DIGITS})" in json.dumps(live_data(tmp_path / "built-in")["groups"])
    own = json.dumps(live_data(tmp_path / "own")["groups"])
    assert "folder:digits" in own
    assert DIGITS not in own
