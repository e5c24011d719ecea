"""The lines that pages of trained networks offer to copy: they are typed as they stand, and do what they say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from report_folders import epoch_rows, write_finalists, write_training
from toy_evaluations import drawn_predictions, evaluation_folder
from toy_trainings import SMALL
from typed_lines import SHORT, identity, lines, run, typed

import raynas
from raynas.api import finalists
from raynas.evaluation.folder import load_evaluation
from raynas.report.page import live_data, write_report
from raynas.searching.run import SearchListener
from raynas.storage.runs import load_run
from raynas.training.run import TrainingListener
from raynas.trials.folder import load_trials
from raynas.trials.run import TrialsListener

pytest_plugins = ["report_browser"]

ROOT = Path(__file__).parents[2]
OWN = f"{ROOT / 'examples' / 'own_space.py'}:convnets"
SMALL_TRAINING: dict[str, Any] = {
    "data": "digits", "img_size": 32, "epochs": 1, "batch_size": 32, "max_images": 220, "augment": "light",
    "threads": 1, "loader_processes": 0, "loggers": [],
}  # fmt: skip
VIT = '{"depth": 4, "embed_dim": 96, "mlp_ratio": 2, "num_heads": 3, "patch_size": 8}'
EXPORT = "Export it as plain code and weights"
EVALUATE = "Evaluate it: a page of its classes, mistakes and calibration"
PREDICT = (
    "Name the classes of images without labels: of those that the evaluation shows, or of any folder in their place"
)
MEASURE = "Measure how long it takes on this device"
LONGER = "Train the most accurate one longer"
FAST = ("--engine", "torch", "--runs", "2", "--warmup", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with settings of many forms, in a folder whose name a shell would take apart."""
    folder = tmp_path_factory.mktemp("runs") / "it's a $run"
    raynas.train(
        "as-vit", architecture=SMALL, out=folder, listener=TrainingListener(),
        **{**SMALL_TRAINING, "epochs": 2}, seed=4, lr=1e-3, betas=(0.8, 0.99), min_lr=1e-5,
        hflip=0.0, auto_augment="rand-m3", mixup=0.1, ema_decay=0.5,
        retokenize="0:8,1:4",
    )  # fmt: skip
    return folder


def predicted(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_training_is_made_again_by_the_line(folder: Path) -> None:
    again = Path(f"{folder}-again")
    run(typed(lines(folder)["again"]))
    assert identity(again) == identity(folder)
    assert raynas.load_training(again).summary["top1"] == raynas.load_training(folder).summary["top1"]


def test_a_training_is_exported_evaluated_and_measured_by_the_lines(folder: Path, capfd: Any) -> None:
    told = lines(folder)
    assert list(told) == [EXPORT, EVALUATE, PREDICT, MEASURE, "again"]
    run(typed(told[EXPORT]))
    assert (Path(f"{folder}-export") / "model.safetensors").exists()
    run(typed(told[EVALUATE]))
    evaluation = Path(f"{folder}-evaluation")
    assert load_evaluation(evaluation).top1 == pytest.approx(raynas.load_training(folder).summary["top1"])
    capfd.readouterr()
    run(typed(told[PREDICT]))
    pictures = sorted(path.name for path in (evaluation / "pictures").iterdir())
    assert [row["path"] for row in predicted(capfd.readouterr().out)] == pictures
    run(typed(told[MEASURE], *FAST, "--json"))
    assert json.loads(capfd.readouterr().out)

    of_evaluation = lines(evaluation)
    assert list(of_evaluation) == [PREDICT, MEASURE, "again"]
    run(typed(of_evaluation[PREDICT]))
    assert [row["path"] for row in predicted(capfd.readouterr().out)] == pictures
    run(typed(of_evaluation[MEASURE], *FAST, "--json"))
    run(typed(of_evaluation["again"]))
    assert load_evaluation(f"{evaluation}-again").top1 == load_evaluation(evaluation).top1


@pytest.mark.slow
def test_what_was_trained_without_labels_is_trained_on_and_analysed_by_the_lines(tmp_path: Path) -> None:
    trained = raynas.pretrain(
        "vit", method="mae", architecture=VIT, out=tmp_path / "run", listener=TrainingListener(), **SMALL_TRAINING,
    )  # fmt: skip
    told = lines(trained.folder)
    assert list(told) == [
        "Train it on, with labels and a fresh head", "See what it has learned: likeness of layers, attention", "again",
    ]  # fmt: skip
    run(typed(told["Train it on, with labels and a fresh head"], *SHORT))
    tuned = raynas.load_training(tmp_path / "run-finetuned")
    assert tuned.summary["top1"] is not None
    assert tuned.architecture == trained.architecture
    again = lines(tuned.folder)
    assert list(again) == [EXPORT, EVALUATE, PREDICT, MEASURE, "again"]
    run(typed(again["again"]))  # a fine-tuning is made again by the fields that it set
    assert identity(tmp_path / "run-finetuned-again") == identity(tuned.folder)
    run(typed(told["See what it has learned: likeness of layers, attention"], "--max-images", "60"))
    assert (tmp_path / "run-analysis" / "cka.parquet").exists()
    run(typed(told["again"]))
    assert identity(tmp_path / "run-again") == identity(trained.folder)


@pytest.mark.slow
def test_a_distillation_is_made_again_by_the_line(folder: Path, tmp_path: Path) -> None:
    taught = raynas.distill(
        "as-vit", architecture=SMALL, teacher=str(folder), out=tmp_path / "run", listener=TrainingListener(),
        **SMALL_TRAINING, logit_weight=0.5,
    )  # fmt: skip
    run(typed(lines(taught.folder)["again"]))
    assert identity(tmp_path / "run-again") == identity(taught.folder)


@pytest.mark.slow
def test_members_of_a_supernet_are_searched_by_the_line(tmp_path: Path) -> None:
    supernet = raynas.train_supernet(
        "vit-res-nano", out=tmp_path / "run", listener=TrainingListener(), **SMALL_TRAINING, choice_warmup_epochs=0
    )
    told = lines(supernet.folder)
    assert list(told) == ["Search its members, 400 of them", "again"]
    run(typed(told["Search its members, 400 of them"], "--budget", "3", "--compare", "0", "--workers", "0"))
    assert load_run(tmp_path / "run-search").summary["evaluations"] == 3
    run(typed(told["again"]))
    assert identity(tmp_path / "run-again") == identity(supernet.folder)


@pytest.mark.long
def test_the_best_of_several_is_taken_by_the_lines(tmp_path: Path) -> None:
    raynas.search(
        "as-vit", objectives=["num_params:min"], constraints=["num_params<=2e6"], searcher="random", budget=3,
        workers=0, img_size=32, data="digits", out=tmp_path / "search", listener=SearchListener(),
    )  # fmt: skip
    finalists(
        tmp_path / "search", top=2, out=tmp_path / "run", listener=TrialsListener(),
        **{**SMALL_TRAINING, "max_images": 60, "batch_size": 30},
    )  # fmt: skip
    told = lines(tmp_path / "run")
    assert list(told) == [EXPORT, EVALUATE, PREDICT, MEASURE, LONGER, "again"]
    assert told["again"] is None
    best = load_trials(tmp_path / "run", "finalists").summary["best"][0]
    run(typed(told[EXPORT]))
    assert json.loads((tmp_path / "run-export" / "config.json").read_text())["fields"] == best["architecture"]
    run(typed(told[EVALUATE]))
    assert load_evaluation(tmp_path / "run-evaluation").top1 == pytest.approx(best["top1"])
    run(typed(told[PREDICT]))
    run(typed(told[MEASURE], *FAST))
    run(typed(told[LONGER]))
    longer = raynas.load_training(tmp_path / "run-longer")
    assert longer.summary["epochs_done"] == 4
    assert longer.architecture == raynas.Architecture(best["architecture"])
    assert longer.summary["images"] == {"train": 54, "val": 6}


@pytest.mark.slow
def test_lines_on_a_network_of_ones_own_say_that_its_code_is_trusted(tmp_path: Path) -> None:
    trained = raynas.train(
        OWN, architecture='{"width": 16, "depth": 2, "kernel": [3, 3]}', out=tmp_path / "run",
        listener=TrainingListener(), **SMALL_TRAINING,
    )  # fmt: skip
    told = lines(trained.folder)
    assert list(told) == [EVALUATE, PREDICT, MEASURE, "again"]
    run(typed(told[EVALUATE]))
    run(typed(told[PREDICT]))
    run(typed(told[MEASURE], *FAST))
    run(typed(lines(tmp_path / "run-evaluation")["again"]))
    run(typed(lines(tmp_path / "run-evaluation")[PREDICT]))


def test_what_is_not_over_has_no_lines(tmp_path: Path) -> None:
    macs = 10**8
    write_training(tmp_path / "run", epoch_rows(2, macs=macs), epochs=4)
    write_training(tmp_path / "new", [], epochs=4, summary={})
    trial = {"top1": 0.5, "epochs_done": 6, "status": "completed", "score": {"naswot": 1.0}}
    write_finalists(tmp_path / "finalists", [trial, {**trial, "epochs_done": 2, "status": "interrupted"}],
                    summary={"status": "interrupted"})  # fmt: skip
    evaluation_folder(tmp_path / "evaluation", drawn_predictions(2, 20), ("a", "b"), is_finished=False)
    for name in ("run", "new", "finalists", "evaluation"):
        told = live_data(tmp_path / name)["next"]
        assert told == {"folder": str(tmp_path / name), "command": None, "steps": []}


@pytest.mark.slow
def test_the_lines_of_trainings_and_evaluations_are_copied_by_a_click(opened: Any, tmp_path: Path) -> None:
    write_training(tmp_path / "run", epoch_rows(4, macs=10**8), epochs=4)
    trial = {"top1": 0.5, "epochs_done": 6, "status": "completed", "score": {"naswot": 1.0}}
    write_finalists(tmp_path / "finalists", [trial, {**trial, "top1": 0.4}])
    evaluation_folder(tmp_path / "evaluation", drawn_predictions(2, 20), ("a", "b"))
    for name in ("run", "finalists", "evaluation"):
        told = live_data(tmp_path / name)["next"]
        page = opened(write_report(tmp_path / name), permissions=["clipboard-read", "clipboard-write"])
        assert page.locator("#next-title").inner_text() == "What next"
        offered = [*(step["command"] for step in told["steps"]), *filter(None, [told["command"]]), str(tmp_path / name)]
        assert page.locator("#next code").all_inner_texts() == offered
        for number, text in enumerate(offered):
            page.locator("#next button").nth(number).click()
            page.locator("#next button").nth(number).filter(has_text="copied").wait_for()
            assert page.evaluate("navigator.clipboard.readText()") == text
