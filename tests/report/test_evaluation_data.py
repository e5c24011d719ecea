"""What the page of an evaluation shows, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_evaluations import drawn_predictions, evaluation_folder

from raynas.errors import StoreError
from raynas.evaluation.folder import load_evaluation, read_evaluation
from raynas.evaluation.report import Predictions
from raynas.report.evaluation import evaluation_report_data, weights_text
from raynas.report.page import write_report

NAMES = ("ant", "bee", "fly")


def by_hand() -> Predictions:
    """Three ants, of which one is taken for a bee and one for a fly; two bees; no fly."""
    return Predictions(
        ("a", "b", "c", "d", "e"),
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 1, 2, 1, 1]),
        np.array([0.9, 0.62, 0.78, 0.5, 1.0], np.float32),
        np.array([0.9, 0.3, 0.1, 0.5, 1.0], np.float32),
    )


def page_data(folder: Path, predictions: Predictions, **settings: Any) -> dict[str, Any]:
    evaluation_folder(folder, predictions, NAMES, **settings)
    data = evaluation_report_data(read_evaluation(folder))
    json.dumps(data, allow_nan=False)
    return data


def test_classes_confusion_and_images_by_hand(tmp_path: Path) -> None:
    shown = page_data(tmp_path / "run", by_hand())["evaluated"]
    counted = [tuple(one[key] for key in ("name", "images", "correct", "predicted")) for one in shown["classes"]]
    assert counted == [("ant", 3, 1, 1), ("bee", 2, 2, 3), ("fly", 0, 0, 1)]
    # Wilson's interval of 2 of 2 is from 2 / (2 + 1.96 ** 2) to 1.
    assert shown["classes"][1]["low"] == pytest.approx(2 / (2 + 1.959964**2), rel=1e-4)
    assert shown["classes"][1]["high"] == pytest.approx(1)
    assert shown["classes"][2]["low"] is None
    assert shown["confusion"] == [[0, 0, 1], [0, 1, 1], [0, 2, 1], [1, 1, 2]]
    assert [one["name"] for one in shown["wrong"]] == ["c", "b"]
    assert [one["name"] for one in shown["uncertain"]] == ["d", "b", "c", "a", "e"]
    assert (shown["wrong"][0]["label_probability"], shown["wrong"][0]["prediction"]) == (pytest.approx(0.1), 2)


def test_calibration_by_hand(tmp_path: Path) -> None:
    shown = page_data(tmp_path / "run", by_hand())["evaluated"]["calibration"]
    # All five are in bins of their own, of a width of 1 / 15: (0.1 + 0.62 + 0.78 + 0.5 + 0) / 5.
    assert shown["error"] == pytest.approx(2.0 / 5)
    assert sum(one["images"] for one in shown["bins"]) == shown["images"] == 5
    assert [k for k, one in enumerate(shown["bins"]) if one["images"]] == [7, 9, 11, 13, 14]
    assert (shown["confidence"], shown["accuracy"]) == (pytest.approx(3.8 / 5), pytest.approx(3 / 5))
    assert shown["bins"][0]["confidence"] is None


def test_probabilities_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    found = by_hand()
    found.probabilities[2] = np.nan
    shown = page_data(tmp_path / "run", found)["evaluated"]
    assert shown["calibration"]["images"] == 4
    assert [one["name"] for one in shown["wrong"]] == ["b"]


def test_an_evaluation_that_is_not_finished_says_how_to_go_on(tmp_path: Path) -> None:
    data = page_data(tmp_path / "run", by_hand(), is_finished=False)
    assert data["evaluated"] is None
    assert data["status"]["resume"] == "raynas evaluate runs/trained --data folder:test --out runs/test --resume"
    assert write_report(tmp_path / "run").stat().st_size > 10_000
    with pytest.raises(StoreError, match="is not finished"):
        load_evaluation(tmp_path / "run")


def test_the_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    report = evaluation_folder(tmp_path / "run", drawn_predictions(3, 40), NAMES)
    again = load_evaluation(tmp_path / "run")
    assert again.plain() == report.plain()
    assert again.predictions.table().equals(report.predictions.table())


def test_the_page_is_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    evaluation_folder(tmp_path / "run", drawn_predictions(3, 40), NAMES)
    assert write_report(tmp_path / "run").read_bytes() == write_report(tmp_path / "run").read_bytes()


@pytest.mark.parametrize("file", ["evaluation.json", "predictions.parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, file: str) -> None:
    evaluation_folder(tmp_path / "run", drawn_predictions(3, 40), NAMES)
    (tmp_path / "run" / file).write_bytes(b"{}")
    with pytest.raises(StoreError, match="damaged"):
        write_report(tmp_path / "run")


def test_weights_in_words() -> None:
    told = {"checkpoint": "last", "epochs": 3, "moving_average": True}
    assert weights_text(told) == "last weights after 3 epochs, of the moving average"
    of_export = {"trained": True, "checkpoint": "best", "epochs": 1, "of_epochs": 9, "moving_average": False}
    assert weights_text(of_export) == "best weights after 1 epoch"
