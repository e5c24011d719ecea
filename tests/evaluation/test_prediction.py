"""Predictions are what evaluations find for the same images, in the form that is promised."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_images import encoded, noise, png
from toy_trainings import trained

import raynas
from raynas.cli import main
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, DataError, RaynasError, StoreError
from raynas.evaluation.run import EvaluationListener

HERE: dict[str, Any] = {"listener": EvaluationListener(), "device": "cpu", "loader_processes": 0}
STRANGE = ('a, "b".png', "line\nbreak.png", "zürich 東京.png", "=1+1.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on digits that cuts out the centre of images."""
    folder = tmp_path_factory.mktemp("predicting") / "run"
    trained(folder, epochs=1, max_images=120, lr=3e-3, eval_crop=0.875)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in a folder for each class, one of them in a folder below."""
    root = tmp_path_factory.mktemp("digits")
    images, labels = open_dataset("digits").read(list(range(24)))
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        place = root / str(label) / ("deep" if row == 5 else "")
        place.mkdir(parents=True, exist_ok=True)
        image.resize((20, 14)).save(place / f"{row:02d}.png")
    return root


def ended(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_predictions_are_those_of_an_evaluation(run: Path, folder: Path) -> None:
    export = raynas.export(run, run.parent / "export")
    for source in (run, export):
        evaluated = raynas.evaluate(source, data=f"folder:{folder}", batch_size=7, **HERE).predictions
        found = raynas.predict(source, folder, batch_size=7, top_k=3, all_probabilities=True, **HERE)
        assert found.paths == evaluated.names  # both are in the order of their paths
        np.testing.assert_array_equal(found.classes[:, 0], evaluated.predictions)
        np.testing.assert_array_equal(found.probabilities[:, 0], evaluated.probabilities)
        assert found.all_probabilities is not None
        of_labels = found.all_probabilities[np.arange(24), evaluated.labels]
        np.testing.assert_array_equal(of_labels, evaluated.label_probabilities)


def test_top_k_and_all_probabilities_agree(run: Path, folder: Path) -> None:
    found = raynas.predict(run, folder, top_k=10, all_probabilities=True, **HERE)
    whole = found.all_probabilities
    assert whole is not None
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)
    for row in range(len(found.paths)):
        by_hand = sorted(range(10), key=lambda one, row=row: -whole[row, one])  # type: ignore[misc]
        assert found.classes[row].tolist() == by_hand
        assert found.probabilities[row].tolist() == [whole[row, one] for one in by_hand]
    table = found.table()
    assert table.column_names[:5] == ["path", "prediction", "probability", "prediction_2", "probability_2"]
    assert table.column_names[-1] == "probability of 9"
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [row["path"] for row in rows] == list(found.paths)
    assert [float(row["probability of 3"]) for row in rows] == pytest.approx(whole[:, 3].tolist(), rel=1e-6)
    assert [row["prediction_2"] for row in rows] == [str(one) for one in found.classes[:, 1]]


def test_paths_are_those_on_the_disk_whatever_is_in_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(STRANGE):
        (tmp_path / "below").mkdir(exist_ok=True)
        (tmp_path / "below" / name).write_bytes(png(number))
    out = tmp_path / "out" / "found.csv"
    code, printed, err = ended(capsys, "predict", run, "--images", tmp_path, "--loader-processes", 0)
    assert code == 0
    assert "4 images of" in err
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert {row["path"] for row in rows} == {f"below/{name}" for name in STRANGE}
    assert list(rows[0]) == ["path", "prediction", "probability"]
    code, said, _ = ended(capsys, "predict", run, "--images", tmp_path, "--loader-processes", 0, "--out", out)
    assert (code, said) == (0, "")
    assert out.read_bytes().decode() == printed
    before = out.read_bytes()
    code, _, err = ended(capsys, "predict", run, "--images", tmp_path, "--out", out, "--top-k", 2)
    assert (code, err) == (1, f"raynas: {out} is there already: --overwrite replaces it\n")
    assert out.read_bytes() == before
    raynas.predict(run, tmp_path, out=out, top_k=2, overwrite=True, **HERE)
    assert out.read_text().startswith("path,prediction,probability,prediction_2,probability_2\n")
    assert [one.name for one in out.parent.iterdir()] == ["found.csv"]


def test_images_are_read_as_everywhere(run: Path, tmp_path: Path) -> None:
    upright = Image.fromarray(noise(3, (20, 16)))
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees to the right
    (tmp_path / "upright.png").write_bytes(encoded(upright))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "turned.png").write_bytes(encoded(lying, exif=turned))
    clear = np.dstack([noise(4), np.zeros((9, 12), np.uint8)])
    (tmp_path / "clear.png").write_bytes(encoded(Image.fromarray(clear)))
    (tmp_path / "white.png").write_bytes(encoded(Image.new("RGB", (12, 9), "white")))
    found = raynas.predict(run, tmp_path, all_probabilities=True, **HERE)
    by_path = dict(zip(found.paths, found.all_probabilities.tolist(), strict=True))  # type: ignore[union-attr]
    assert by_path["turned.png"] == pytest.approx(by_path["upright.png"], rel=1e-5)
    assert by_path["clear.png"] == pytest.approx(by_path["white.png"], rel=1e-5)
    assert by_path["white.png"] != pytest.approx(by_path["upright.png"], rel=1e-3)


def test_images_of_12_bits_need_their_range(run: Path, tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 256, dtype=np.uint16).reshape(16, 16)
    (tmp_path / "scan.png").write_bytes(encoded(Image.fromarray(values)))
    with pytest.raises(DataError, match=r"more than 8 bits .*--pixel-range"):
        raynas.predict(run, tmp_path, **HERE)
    assert raynas.predict(run, tmp_path, pixel_range=(0, 4095), **HERE).paths == ("scan.png",)


def test_unreadable_images_are_named_together_or_skipped_and_listed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(png(9)[:60])
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"2 of 5 images cannot be read \(cut.png: .*; empty.png: .*--skip-unreadable"):
        raynas.predict(run, tmp_path, **HERE)
    found = raynas.predict(run, tmp_path, skip_unreadable=True, **HERE)
    assert found.paths == ("0.png", "1.png", "2.png")
    assert list(found.skipped) == ["cut.png", "empty.png"]
    code, out, err = ended(capsys, "predict", run, "--images", tmp_path, "--skip-unreadable", "--loader-processes", 0)
    assert (code, out.count("\n")) == (0, 4)
    assert "skips 2 images that cannot be read:\n  cut.png: " in err
    assert "\n  empty.png: " in err
    assert "passes over 1 file, no image by the end of its name: notes.txt\n" in err
    code, _, err = ended(capsys, "predict", run, "--images", tmp_path, "--loader-processes", 0)
    assert (code, f"`raynas data files:{tmp_path}` lists all" in err) == (1, True)


def test_one_image_is_enough(run: Path, folder: Path) -> None:
    file = next((folder / "3").glob("*.png"))
    assert raynas.predict(run, file, **HERE).paths == (file.name,)


def test_what_cannot_be_predicted_is_refused_before(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me.txt").touch()
    wrong: list[tuple[Any, Any, dict[str, Any], str]] = [
        (run, tmp_path / "none", {}, "there is no folder"),
        (run, tmp_path / "empty", {}, r"no images in .*; expected files ending with \.\w+"),
        (run, tmp_path / "notes", {}, r"no images in .*; there are read me\.txt"),
        (run, folder, {"top_k": 11}, "top_k is 11, and .* knows 10 classes"),
        (run, folder, {"top_k": 0}, "top_k"),
        (run, folder, {"label_column": "label"}, "label_column does not go with the form files:DIR"),
        (run, folder, {"device": "tpu"}, "device is 'tpu'"),
        ("as-vit-small", folder, {}, "there are no trained weights in 'as-vit-small'"),
        (run, folder, {"out": tmp_path / "found.txt"}, r"is to be a \.csv file: call it .*found\.txt\.csv"),
    ]
    for source, images, settings, message in wrong:
        with pytest.raises(RaynasError, match=message):
            raynas.predict(source, images, **{**HERE, **settings})
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StoreError, match="is a folder, and is to be a file"):
        raynas.predict(run, folder, out=tmp_path / "folder.csv", **HERE)


def test_an_evaluation_of_images_without_labels_names_predict(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    for spec in (f"folder:{tmp_path}", f"files:{tmp_path}"):
        with pytest.raises(DataError, match="`raynas predict SOURCE --images DIR` takes images without labels"):
            raynas.evaluate(run, data=spec, **HERE)


def test_an_option_of_labels_is_none_of_predictions(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ended(capsys, "predict", run, "--images", ".", "--renumber-labels")
    assert code == 2
    assert "No such option" in err
    with pytest.raises(ConfigError, match="unknown key 'topk'"):
        raynas.predict(run, ".", topk=3)
