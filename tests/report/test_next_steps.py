"""The lines that a search's page offers to copy: they are typed as they stand, and do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from report_folders import sampled_rows, write_folder
from typed_lines import SHORT, identity, lines, run, typed

import raynas
from raynas.report.page import report_data
from raynas.searching.run import SearchListener
from raynas.storage.runs import load_run
from raynas.training.config import TrainConfig
from raynas.trials.folder import load_trials

ROOT = Path(__file__).parents[2]
OWN = f"{ROOT / 'examples' / 'own_space.py'}:convnets"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search in a folder whose name a shell would take apart."""
    folder = tmp_path_factory.mktemp("runs") / "it's a $run"
    raynas.search(
        "as-vit", objectives=["length_distortion"], constraints=["num_params<=2e6"], budget=5, workers=0, img_size=32,
        data="digits", window=2, seed=3, settings={"length_distortion": {"repeats": 1}}, out=folder,
        listener=SearchListener(),
    )  # fmt: skip
    return folder


def test_the_command_makes_the_same_run_again(folder: Path) -> None:
    run(typed(lines(folder)["again"]))
    again = Path(f"{folder}-again")
    assert identity(again) == identity(folder)
    assert load_run(again).best == load_run(folder).best


def test_lines_that_train_say_what_and_how_long(folder: Path, tmp_path: Path) -> None:
    whats = [step["what"] for step in report_data(load_run(folder))["next"]["steps"] if " train " in step["command"]]
    long = ", for 30 epochs, which takes long: --epochs 3 is a first look"
    assert TrainConfig.make({"space": "vit", "architecture": "{}"}).epochs == 30
    assert whats[0] == f"Train the recommended architecture{long}"
    assert all(what.endswith(long) for what in whats)
    run = raynas.search(
        "as-vit", objectives=["num_params"], searcher="random", budget=2, workers=0, out=tmp_path / "random",
        listener=SearchListener(),
    )  # fmt: skip
    assert run.summary["recommended"] is None
    assert report_data(run)["next"]["steps"][0]["what"] == f"Train #1{long}"


@pytest.mark.slow
def test_what_was_found_is_trained_exported_and_grown_by_the_lines(folder: Path) -> None:
    told = lines(folder)
    run(typed(told["Train the recommended architecture"], *SHORT))
    chosen = load_run(folder).summary["recommended"]["architecture"]
    trained = raynas.load_training(f"{folder}-trained")
    assert trained.architecture == raynas.Architecture(chosen)
    assert trained.summary["status"] == "completed"
    run(typed(told["Export it as plain code and weights"]))
    assert (Path(f"{folder}-export") / "model.safetensors").exists()
    run(typed(told["Grow it into a family of larger models"], "--set", "length_distortion.repeats=1", "--workers", "0"))
    family = load_run(f"{folder}-family")
    assert family.family[-1]["num_params"] >= 3.9 * load_run(folder).summary["recommended"]["num_params"]
    of_family = lines(family.folder)
    assert "again" in of_family
    assert not any(" scale " in line for line in of_family.values() if line)
    run(typed(of_family["Train its smallest member"], *SHORT))
    smallest = raynas.load_training(f"{family.folder}-smallest")
    assert smallest.architecture == raynas.Architecture(family.family[0]["architecture"])


@pytest.mark.long
def test_the_best_are_trained_beside_the_uniform_network_by_the_line(folder: Path) -> None:
    line = lines(folder)["Train the best three beside the uniform network nearest in multiply-adds"]
    run(typed(line, *SHORT[:-2], "--top", "1"))
    assert len(load_trials(f"{folder}-finalists", "finalists").trainings) == 2


def test_a_space_without_growth_and_uniform_networks_offers_neither(tmp_path: Path) -> None:
    raynas.search(
        OWN, objectives=["synflow"], budget=2, workers=0, out=tmp_path / "own", listener=SearchListener()
    )  # fmt: skip
    told = lines(tmp_path / "own")
    assert list(told) == ["Train the recommended architecture", "again"]
    assert told["Train the recommended architecture"].endswith("--trust-code")
    run(typed(told["Train the recommended architecture"], *SHORT))


def test_there_are_no_lines_before_there_is_an_architecture_to_take(tmp_path: Path) -> None:
    told = report_data(load_run(write_folder(tmp_path, sampled_rows(3), summary={"status": "interrupted"})))["next"]
    assert told["steps"] == []
    assert told["folder"] == str(tmp_path)


def test_a_space_that_is_not_registered_has_no_lines(tmp_path: Path) -> None:
    best = [{"architecture": {"a": 1}, "num_params": 1}]
    write_folder(tmp_path, sampled_rows(3), summary={"best": best})
    described = yaml.safe_load((tmp_path / "run.yaml").read_text())
    described["config"]["space"] = described["identity"]["space"] = "gone"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(described))
    told = report_data(load_run(tmp_path))["next"]
    assert (told["command"], told["steps"]) == (None, [])
