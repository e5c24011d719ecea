"""Evaluations give what trainings measured, and numbers that are worked out another way."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from toy_images import png
from toy_trainings import trained

import raynas
from raynas.data.labels import numbered, numbered_by_text, renumbered
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, DataError, RaynasError, StoreError
from raynas.evaluation.images import network_labels
from raynas.evaluation.report import EvaluationReport
from raynas.evaluation.run import EvaluationListener, class_accuracies
from raynas.evaluation.source import TrainedNetwork
from raynas.training.folder import load_training
from raynas.training.images import eval_transform

SETTINGS: dict[str, Any] = {"epochs": 1, "max_images": 150, "val_fraction": 0.3, "lr": 3e-3}
HERE: dict[str, Any] = {"listener": EvaluationListener(), "device": "cpu", "loader_processes": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on digits, with a moving average and a crop."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    trained(folder, **SETTINGS, ema_decay=0.5, eval_crop=0.875)
    return folder


@pytest.fixture(scope="module")
def found(run: Path) -> EvaluationReport:
    return raynas.evaluate(run, **HERE, batch_size=7)


@pytest.fixture(scope="module")
def export(run: Path) -> Path:
    return raynas.export(run, run.parent / "export")


def logits_of(run: Path, rows: np.ndarray) -> np.ndarray:
    """Logits of digits, one image at a time."""
    images, _ = open_dataset("digits").read(rows.tolist())
    model = load_training(run).model()
    with torch.no_grad():
        return np.array([model(eval_transform(32, 0.875)(image)[None])[0].numpy() for image in images])


def test_a_training_is_worth_what_it_measured_itself(run: Path, found: EvaluationReport) -> None:
    row = load_training(run).metrics.to_pylist()[-1]
    assert (found.images, found.eval_crop, found.precision) == (45, 0.875, "float32")
    assert found.top1 == row["ema_val_top1"]
    assert found.loss == pytest.approx(row["ema_val_loss"], rel=1e-6)
    assert found.weights == {"checkpoint": "last", "epochs": 1, "moving_average": True}


def test_numbers_are_those_of_the_definition(run: Path) -> None:
    rows = np.arange(60)
    report = raynas.evaluate(run, data="digits", max_images=60, seed=3, **HERE)
    names = report.predictions.names
    rows = np.array([int(name.removeprefix("row ")) for name in names])
    logits, labels = logits_of(run, rows), open_dataset("digits").labels(rows)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    best = [max(range(10), key=lambda k, row=row: row[k]) for row in logits]
    right = sum(int(one == label) for one, label in zip(best, labels, strict=True))
    among_five = sum(int(label in sorted(range(10), key=lambda k, row=row: -row[k])[:5])
                     for row, label in zip(logits, labels, strict=True))  # fmt: skip
    assert report.top1 == right / 60
    assert report.top5 == among_five / 60
    assert report.loss == pytest.approx(
        np.mean([-math.log(s[k]) for s, k in zip(shares, labels, strict=True)]), rel=1e-5
    )
    assert report.predictions.predictions.tolist() == best
    np.testing.assert_allclose(report.predictions.probabilities, shares.max(1), rtol=1e-5)
    p, z, n = right / 60, 1.959963984540054, 60
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert report.top1_low == pytest.approx((middle - half) / (1 + z * z / n))
    assert report.top1_high == pytest.approx((middle + half) / (1 + z * z / n))


def test_classes_are_counted_by_hand() -> None:
    one, two, none = class_accuracies(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 1]), 3, ("a", "b", "c"))
    assert (one.images, one.correct, one.predicted, one.accuracy) == (3, 1, 1, 1 / 3)
    assert (two.images, two.correct, two.predicted, two.accuracy) == (1, 1, 3, 1.0)
    assert (none.name, none.images, none.accuracy) == ("c", 0, None)


def test_an_export_is_worth_what_its_training_is(run: Path, export: Path) -> None:
    of_run, of_export = (raynas.evaluate(one, data="digits", max_images=40, **HERE) for one in (run, export))
    assert round(32 / of_export.eval_crop) == round(32 / of_run.eval_crop) == 37
    assert of_export.top1 == of_run.top1
    assert of_export.loss == pytest.approx(of_run.loss, rel=1e-6)
    assert of_export.predictions.names == of_run.predictions.names


def test_position_embeddings_are_resized_to_another_image_side(run: Path, export: Path) -> None:
    of_run, of_export = (
        raynas.evaluate(one, data="digits", max_images=20, img_size=64, eval_crop=1.0, **HERE) for one in (run, export)
    )
    assert (of_run.img_size, of_run.eval_crop) == (64, 1.0)
    assert of_export.loss == pytest.approx(of_run.loss, rel=1e-6)


def test_classes_are_matched_by_their_names(run: Path, tmp_path: Path) -> None:
    digits, rows = open_dataset("digits"), np.arange(30)
    images, labels = digits.read(rows.tolist())
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        if label in (7, 3):  # as classes of a folder, they are numbered 0 and 1
            (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "data" / str(label) / f"{row}.png")
    report = raynas.evaluate(run, data=f"folder:{tmp_path / 'data'}", **HERE)
    kept = rows[np.isin(labels, (3, 7))]
    expected = (logits_of(run, kept).argmax(1) == labels[kept]).mean()
    assert set(report.predictions.labels.tolist()) == {3, 7}
    assert report.top1 == pytest.approx(expected)
    (tmp_path / "data" / "ten").mkdir()
    (tmp_path / "data" / "ten" / "x.png").write_bytes(png(0))
    with pytest.raises(DataError, match="has the class 'ten', which is not among those of"):
        raynas.evaluate(run, data=f"folder:{tmp_path / 'data'}", **HERE)


def test_without_names_classes_go_by_their_numbers(run: Path, tmp_path: Path) -> None:
    def table(*labels: int) -> str:
        pq.write_table(
            pa.table({"image": [png(k) for k in range(len(labels))], "label": labels}), tmp_path / "t.parquet"
        )
        return f"parquet:{tmp_path / 't.parquet'}"

    assert raynas.evaluate(run, data=table(4, 9, 4), **HERE).predictions.labels.tolist() == [4, 9, 4]
    with pytest.raises(DataError, match="has the class 10, but"):
        raynas.evaluate(run, data=table(4, 10), **HERE)


def network(num_classes: int, names: tuple[str, ...] = (), *, is_renumbered: bool = False) -> TrainedNetwork:
    return TrainedNetwork(
        torch.nn.Identity(), "runs/a", "a", {}, 32, num_classes, names, is_renumbered, None, 1.0, "auto", None
    )


def test_classes_without_names_must_be_as_many_where_their_order_numbers_them() -> None:
    of_folders = numbered_by_text(["cat", "dog", "cat"], "the class folders")
    assert network_labels(of_folders, "d", network(2), is_renumbered=False).tolist() == [0, 1, 0]
    assert network_labels(of_folders, "d", network(3, ("dog", "eel", "cat")), is_renumbered=False).tolist() == [2, 0, 2]
    with pytest.raises(DataError, match="has 2 classes and the network of runs/a has 3, and no names say which"):
        network_labels(of_folders, "d", network(3), is_renumbered=False)
    by_number = numbered("d", np.array([7, 3, 7]))
    with pytest.raises(DataError, match="has 8 classes and the network of runs/a has 2"):
        network_labels(by_number, "d", network(2, is_renumbered=True), is_renumbered=False)
    anew = network_labels(renumbered(by_number), "d", network(2, is_renumbered=True), is_renumbered=True)
    assert anew.tolist() == [1, 0, 1]


def test_results_are_written(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "images.parquet"
    report = raynas.evaluate(run, **HERE, out=tmp_path / "out", predictions=file)
    rows = pq.read_table(file).to_pylist()
    assert list(rows[0]) == ["name", "label", "prediction", "probability", "label_probability"]
    assert sum(row["label"] == row["prediction"] for row in rows) / len(rows) == report.top1
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == json.loads(json.dumps(report.plain()))
    with (tmp_path / "out" / "classes.csv").open() as opened:
        classes = list(csv.DictReader(opened))
    assert [row["name"] for row in classes] == list("0123456789")
    assert sum(int(row["correct"]) for row in classes) / report.images == report.top1
    with pytest.raises(StoreError, match="holds a run already"):
        raynas.evaluate(run, **HERE, out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"call it .*images\.csv\.parquet"):
        raynas.evaluate(run, **HERE, predictions=tmp_path / "images.csv")
    with pytest.raises(StoreError, match=r"images\.parquet is there already: --overwrite replaces it"):
        raynas.evaluate(run, **HERE, predictions=file)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(StoreError, match="is not empty and holds no run"):
        raynas.evaluate(run, **HERE, out=tmp_path / "other")


def test_progress_is_told(run: Path) -> None:
    class Keeper(EvaluationListener):
        def __init__(self) -> None:
            self.heard: list[tuple[int, int]] = []

        def on_progress(self, done: int, total: int, images_per_s: float) -> None:
            self.heard.append((done, total))

    keeper = Keeper()
    raynas.evaluate(run, **{**HERE, "listener": keeper}, batch_size=20)
    assert keeper.heard == [(20, 45), (40, 45), (45, 45)]


LEAVES_A_MARK = "from pathlib import Path\nPath(__file__).with_suffix('.mark').touch()\n"


def test_the_code_of_an_export_is_run_only_if_it_is_trusted(export: Path) -> None:
    code, config = export / "model.py", export / "config.json"
    before = config.read_text()
    first, _, rest = code.read_text().partition("from __future__ import annotations\n")
    code.write_text(f"{first}from __future__ import annotations\n{LEAVES_A_MARK}{rest}")
    try:
        raynas.evaluate(export, data="digits", max_images=20, **HERE)
        assert not code.with_suffix(".mark").exists()  # it is built by its space
        config.write_text(before.replace('"space": "as-vit"', '"space": "theirs"'))
        with pytest.raises(ConfigError, match=r"of the space .theirs., which is not known here.*--trust-code"):
            raynas.evaluate(export, data="digits", max_images=20, **HERE)
        assert not code.with_suffix(".mark").exists()
        report = raynas.evaluate(export, data="digits", max_images=20, trust_code=True, **HERE)
        assert code.with_suffix(".mark").exists()
        config.write_text(before)
        assert report.loss == pytest.approx(
            raynas.evaluate(export, data="digits", max_images=20, **HERE).loss, rel=1e-6
        )
    finally:
        config.write_text(before)
        code.with_suffix(".mark").unlink(missing_ok=True)


def test_what_cannot_be_evaluated_is_refused_before(run: Path, export: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png(0))
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("as-vit-small", {"data": "digits"}, "there are no trained weights in 'as-vit-small'"),
        (export, {}, "say with --data on which images"),
        (export, {"data": "digits", "checkpoint": "best"}, "holds one network"),
        (run, {"img_size": 33}, "img_size of as-vit is a multiple of 32, not 33"),
        (run, {"data": f"folder:{tmp_path / 'images'}"}, "no class folders"),
        (run, {"skip_unreadable": True}, "skip_unreadable go with --data"),
        (run, {"device": "tpu"}, "device is 'tpu'"),
        (run, {"device": "cpu", "precision": "float16"}, "precision float16 needs a GPU"),
        (tmp_path / "none", {}, "no architecture"),
    ]
    for source, settings, message in wrong:
        with pytest.raises(RaynasError, match=message):
            raynas.evaluate(source, **{**HERE, **settings})


def test_a_training_without_classes_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raynas.training import checkpoints

    state = checkpoints.read_last(run)
    state["history"][-1]["val_top1"] = None
    monkeypatch.setattr(checkpoints, "read_last", lambda folder: state)
    with pytest.raises(ConfigError, match="was trained without classes, by the objective 'classification'"):
        raynas.evaluate(run, **HERE)
