"""Searches of a trained supernet: what sub-networks are worth by inherited weights, and on which images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from toy_images import png
from toy_spaces import small_res as SPACE
from toy_trainings import StepCounter

import raynas
from raynas import SearchSpace
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, DataError, StoreError
from raynas.models.elastic.supernet import Supernet
from raynas.report.search import report_data
from raynas.scoring.inherited import normalized
from raynas.searching.run import SearchListener
from raynas.space.registered import spaces
from raynas.training.config import TrainConfig
from raynas.training.image_choice import chosen_rows
from raynas.training.images import eval_pixels, eval_transform

NANO = spaces.get("vit-res-nano")


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("supernet") / "run"
    raynas.train_supernet(
        SPACE, data="digits", img_size=16, max_images=600, batch_size=32, epochs=3, augment="none", lr=2e-3,
        choice_warmup_epochs=0, workers=0, loader_processes=0, out=out, listener=StepCounter(),
    )  # fmt: skip
    return out


def search(source: Path | None, out: Path, **settings: Any) -> Any:
    of_new = {} if source is None else {"searcher": "random", "budget": 6, "compare": 0, "workers": 0}
    chosen = {**of_new, "listener": SearchListener(), **settings}
    return raynas.search_supernet(source, space=SPACE, out=out, **chosen)


def held_out(supernet: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    config = TrainConfig.make(raynas.load_training(supernet).description["config"])
    data = open_dataset(config.data)
    rows, val_rows = chosen_rows(config, data, data)
    return data, rows, val_rows


@pytest.mark.slow
def test_a_sub_network_is_worth_what_the_extracted_model_is_on_the_images_that_were_left_out(
    supernet: Path, tmp_path: Path
) -> None:
    run = search(supernet, tmp_path / "run")
    data, _, rows = held_out(supernet)
    training = raynas.load_training(supernet)
    whole = Supernet(
        SPACE, training.architecture, training.model(space=SPACE), training.description["model"]["settings"]
    )
    transform = eval_transform(16)
    shown, labels = data.read(rows.tolist())
    images = torch.stack([transform(image) for image in shown])
    for row in run.table.to_pylist():
        member = whole.extract(raynas.Architecture.from_json(row["architecture"])).eval()
        with torch.no_grad():
            logits = torch.cat([member(image[None]) for image in images])
        right = (logits.argmax(1).numpy() == labels).mean()
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        assert row["top1"] == pytest.approx(right, abs=1e-12)
        assert row["loss"] == pytest.approx(float(loss), rel=1e-5)
        assert row["macs"] == NANO.macs(raynas.Architecture.from_json(row["architecture"]), 16, 10)
    assert len(rows) == 60


def test_the_largest_member_is_worth_what_the_training_says(supernet: Path, tmp_path: Path) -> None:
    training = raynas.load_training(supernet)
    run = raynas.score(
        SPACE, [SPACE.largest(), SPACE.smallest()], supernet=str(supernet), workers=0, out=tmp_path / "run",
        listener=SearchListener(),
    )  # fmt: skip
    last, scored = training.metrics.to_pylist()[-1], run.table.to_pylist()
    assert [row["top1"] for row in scored] == [last["val_top1"], last["val_smallest_top1"]]
    assert scored[0]["loss"] == pytest.approx(last["val_loss"], rel=1e-6)


@pytest.mark.parametrize("eval_crop", [1.0, 0.875])
def test_pixels_become_the_numbers_that_a_training_sees(eval_crop: float) -> None:
    images, _ = open_dataset("digits").read([3, 5])
    expected = torch.stack([eval_transform(24, eval_crop)(image) for image in images])
    pixels = torch.stack([eval_pixels(24, eval_crop)(image) for image in images])
    assert pixels.dtype == torch.uint8
    assert torch.equal(normalized(pixels), expected)


@pytest.mark.slow
def test_a_search_that_is_resumed_and_one_on_two_workers_equal_the_unbroken_one(supernet: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "searcher": "regularized_evolution",
        "settings": {"searcher": {"population": 4, "sample_size": 2}},
        "constraints": ["macs<=900e3"],
        "compare": 3,
        "seed": 3,
    }
    whole = search(supernet, tmp_path / "whole", budget=12, **settings)
    search(supernet, tmp_path / "parts", budget=5, **settings)
    parts = search(None, tmp_path / "parts", resume=True, budget=12)
    spread = search(supernet, tmp_path / "spread", budget=12, **{**settings, "workers": 2})
    assert parts.table == whole.table and spread.table == whole.table
    assert parts.summary["comparison"] == whole.summary["comparison"] == spread.summary["comparison"]
    assert len(set(whole.table["architecture"].to_pylist())) == 12
    assert max(whole.table["macs"].to_pylist()) <= 900e3


def test_scores_of_untrained_networks_come_beside_the_accuracy_as_they_are_by_themselves(
    supernet: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"proxies": ["naswot", "synflow"], "batch_size": 4}
    joined = search(supernet, tmp_path / "joined", **settings)
    texts = joined.table["architecture"].to_pylist()
    alone = raynas.score(
        SPACE,
        texts,
        data="digits",
        img_size=16,
        workers=0,
        out=tmp_path / "alone",
        listener=SearchListener(),
        **settings,
    )
    by_accuracy = search(supernet, tmp_path / "accuracy")
    names = ["architecture", "naswot", "synflow", "num_params", "macs"]
    assert joined.table.select(names) == alone.table.select(names)
    names = ["architecture", "top1", "loss", "num_params", "macs"]
    assert joined.table.select(names) == by_accuracy.table.select(names)
    assert len(joined.table) == 6
    assert [row["status"] for row in joined.evaluations.to_pylist()] == ["ok"] * 6 * 6
    taken = search(supernet, tmp_path / "taken", reuse=[tmp_path / "alone", tmp_path / "accuracy"], **settings)
    assert taken.table == joined.table
    assert taken.summary["reused"] == 6


def test_a_supernet_is_searched_on_the_files_that_its_training_left_out_whatever_becomes_of_others(
    tmp_path: Path,
) -> None:
    for number in range(80):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, (16, 16)))
    raynas.train_supernet(
        SPACE, data=f"folder:{tmp_path / 'images'}", img_size=16, batch_size=16, epochs=1, augment="none",
        max_images=60, val_fraction=0.2, choice_warmup_epochs=0, workers=0, loader_processes=0,
        out=tmp_path / "supernet", listener=StepCounter(),
    )  # fmt: skip
    whole = search(tmp_path / "supernet", tmp_path / "whole")
    rows = pq.read_table(tmp_path / "supernet" / "images.parquet").to_pylist()
    trained_on, left_out = ([row["name"] for row in rows if row["part"] == part] for part in ("train", "val"))
    (tmp_path / "images" / trained_on[0]).unlink()
    unused = {f"{'ab'[number % 2]}/{number:02d}.png" for number in range(80)} - {*trained_on, *left_out}
    for name in sorted(unused)[::2]:
        (tmp_path / "images" / name).unlink()
    assert search(tmp_path / "supernet", tmp_path / "again").table == whole.table
    (tmp_path / "images" / left_out[0]).unlink()
    with pytest.raises(DataError, match=f"1 of 12 images .*not there: {left_out[0]}; put them back"):
        search(tmp_path / "supernet", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_accuracy_and_latency_are_searched_together_and_are_kept_when_resumed(
    supernet: Path, workers: int, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "objectives": ["top1", "latency_ms"],
        "constraints": ["latency_ms<=10e3"],
        "settings": {"latency": {"runs": 3, "warmup": 1}},
        "searcher": None,
        "window": 4,
    }
    first = search(supernet, tmp_path / "run", budget=5, **settings)
    assert first.description["config"]["searcher"] == "nsga2"
    before = {row["architecture"]: row for row in first.table.to_pylist()}
    assert all(0 < row["latency_ms"] <= 10e3 and 0 <= row["top1"] <= 1 for row in before.values())
    spread = search(None, tmp_path / "run", resume=True, budget=8, workers=workers)
    after = {row["architecture"]: row for row in spread.table.to_pylist()}
    assert {text: after[text] for text in before} == before
    assert len(after) == 8


def counted_space() -> SearchSpace:
    """The space without closed forms, whose costs are counted on workers."""
    return SearchSpace("small-res", SPACE.fields, SPACE.model, grammar=SPACE.grammar, img_size_multiple=16)


def test_counted_costs_are_there_once_and_keep_both_from_being_computed(supernet: Path, tmp_path: Path) -> None:
    texts = [SPACE.largest().to_json(), SPACE.smallest().to_json()]
    run = raynas.score(
        counted_space(), texts, supernet=str(supernet), proxies=["synflow"], constraints=["macs<=800e3"], workers=0,
        out=tmp_path / "run", listener=SearchListener(),
    )  # fmt: skip
    large, small = ({row["proxy"]: row["value"] for row in rows} for rows in rows_by_candidate(run))
    assert large.keys() == {"num_params", "macs"}
    assert small.keys() == {"top1", "loss", "synflow", "num_params", "macs"}
    for architecture, found in ((SPACE.largest(), large), (SPACE.smallest(), small)):
        assert found["macs"] == NANO.macs(architecture, 16, 10)
        assert found["num_params"] == NANO.num_params(architecture, 16, 10)


def rows_by_candidate(run: Any) -> list[list[dict[str, Any]]]:
    rows = run.evaluations.to_pylist()
    return [[row for row in rows if row["candidate"] == number] for number in (0, 1)]


def test_images_that_were_trained_on_are_refused_as_a_hold_out_and_left_out_where_they_are_held_out_twice(
    supernet: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"540 of 1,797 images are among those that the supernet was trained on"):
        search(supernet, tmp_path / "run", holdout="digits")
    with pytest.raises(DataError, match="no image is left to evaluate"):
        search(supernet, tmp_path / "run", test_data="digits")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"img_size": 32}, r"img_size is 32, but the network in .* has 16"),
        ({"num_classes": 7}, r"num_classes is 7, but the network in .* has 10"),
        ({"width_divisor": 2}, r"width_divisor go with proxies, and none is asked for"),
        ({"data": "random"}, r"data is 'random', but sub-networks of .* are evaluated on the images of --holdout"),
        ({"objectives": ["top5"]}, r"unknown score 'top5'. Did you mean 'top1'. Known scores: .*naswot.*top1"),
        ({"constraints": ["macs<=10"]}, r"no .*architecture"),
        ({"holdout": "folder:nowhere"}, r"nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(
    supernet: Path, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(raynas.RaynasError, match=message):
        search(supernet, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_training_of_one_network_and_weights_of_another_space_are_refused(supernet: Path, tmp_path: Path) -> None:
    raynas.train(
        SPACE, architecture=SPACE.smallest().to_json(), data="digits", img_size=16, max_images=64, batch_size=32,
        epochs=1, augment="none", workers=0, out=tmp_path / "one", listener=StepCounter(),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="holds a network of which the members of small-res are no parts"):
        search(tmp_path / "one", tmp_path / "run")
    with pytest.raises(raynas.RaynasError, match="the members of vit-res-nano are no parts"):
        raynas.search_supernet(supernet, space=NANO, budget=2, out=tmp_path / "run", workers=0)
    with pytest.raises(StoreError, match=r"no run|holds no"):
        search(tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_winner_is_set_beside_the_uniform_network_and_random_ones_of_its_band(
    supernet: Path, tmp_path: Path
) -> None:
    run = search(supernet, tmp_path / "run", budget=8, compare=5, constraints=["macs<=900e3", "macs>=700e3"])
    found = run.summary["comparison"]
    assert found["winner"]["scores"]["top1"] == max(run.table["top1"].to_pylist())
    uniform = raynas.Architecture(found["uniform"]["architecture"])
    of_same_cost = [abs(NANO.macs(one, 16, 10) - found["winner"]["macs"]) for one in SPACE.uniform(SPACE.fields)]
    assert abs(NANO.macs(uniform, 16, 10) - found["winner"]["macs"]) == min(of_same_cost)
    assert found["random"]["number"] == 5
    assert found["random"]["mean"] == pytest.approx(np.mean(found["random"]["values"]))
    assert found["random"]["std"] == pytest.approx(np.std(found["random"]["values"], ddof=1))
    assert found["better_random"] == sum(v > found["winner"]["scores"]["top1"] for v in found["random"]["values"])
    assert "the uniform network of nearly equal multiply-adds" in found["verdict"]


def test_the_winner_is_trained_from_what_it_inherits_beside_the_uniform_network(supernet: Path, tmp_path: Path) -> None:
    run = search(supernet, tmp_path / "run", budget=4, constraints=["macs<=900e3"])
    settings: dict[str, Any] = {"weights_policy": "inherited", "augment": "none", "batch_size": 32, "epochs": 1}
    few = {**settings, "max_images": 64, "lr": 1e-9, "min_lr": 0.0, "weight_decay": 0.0, "drop_path_rate": 0.0}
    trained = raynas.train(str(run.folder), space=SPACE, workers=0, out=tmp_path / "one", listener=StepCounter(), **few)
    source = raynas.load_training(supernet)
    whole = Supernet(SPACE, source.architecture, source.model(space=SPACE), source.description["model"]["settings"])
    expected = whole.extract(trained.architecture).state_dict()
    assert trained.architecture == raynas.Architecture(run.best[0]["architecture"])
    for name, value in trained.model(space=SPACE).state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(value, expected[name], atol=1e-6), name
    with pytest.raises(ConfigError, match="inherited needs a SOURCE that was found in a supernet"):
        raynas.train(SPACE, architecture=SPACE.smallest().to_json(), weights_policy="inherited", out=tmp_path / "no")
    other = spaces.get("vit-res-nano")
    with pytest.raises(StoreError, match="is of no supernet with this architecture"):
        raynas.train(
            other, architecture=other.smallest().to_json(), weights_policy="inherited", data="digits", img_size=16,
            weights=str(supernet / "checkpoints" / "last.pt"), out=tmp_path / "no",
        )  # fmt: skip


def test_a_trained_vit_is_searched_without_training_a_supernet(tmp_path: Path) -> None:
    raynas.train(
        "vit", architecture="p4-w24-d3-h3-m2", data="digits", img_size=16, max_images=300, batch_size=32, epochs=1,
        augment="none", workers=0, loader_processes=0, out=tmp_path / "vit", listener=StepCounter(),
    )  # fmt: skip
    training = raynas.load_training(tmp_path / "vit")
    run = raynas.search_supernet(
        tmp_path / "vit", searcher="random", budget=5, compare=2, workers=0, out=tmp_path / "run",
        listener=SearchListener(),
    )  # fmt: skip
    assert run.description["config"]["space"] == "vit-elastic@p4-w24-d3-h3-m2"
    assert run.summary["comparison"]["uniform"] is not None
    space = run.space
    whole = raynas.score(
        space, [space.largest()], supernet=str(tmp_path / "vit"), workers=0, out=tmp_path / "whole",
        listener=SearchListener(),
    )  # fmt: skip
    (largest,), last = whole.table.to_pylist(), training.metrics.to_pylist()[-1]
    assert largest["top1"] == last["val_top1"]
    assert largest["loss"] == pytest.approx(last["val_loss"], rel=1e-5)


def test_a_network_that_was_evaluated_on_other_images_needs_a_hold_out(tmp_path: Path) -> None:
    rows = open_dataset("digits")
    assert len(rows) == 1797
    folder = tmp_path / "images"
    for i in range(40):
        (image,), (label,) = rows.read([i])
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        image.save(folder / str(label) / f"{i}.png")
    raynas.train(
        "vit", architecture="p4-w24-d2-h3-m2", data=f"folder:{folder}", val_data=f"folder:{folder}", img_size=16,
        batch_size=32, epochs=1, augment="none", workers=0, loader_processes=0, out=tmp_path / "vit",
        listener=StepCounter(),
    )  # fmt: skip
    with pytest.raises(
        ConfigError, match="may be kept for the end: name images to evaluate its members on with --holdout"
    ):
        raynas.search_supernet(tmp_path / "vit", budget=2, out=tmp_path / "run", workers=0)
    with pytest.raises(DataError, match="40 of 40 images are among those"):
        raynas.search_supernet(tmp_path / "vit", holdout=f"folder:{folder}", budget=2, out=tmp_path / "run", workers=0)


def test_the_page_says_what_sub_networks_are_parts_of_and_sets_the_winner_beside_others(
    supernet: Path, tmp_path: Path
) -> None:
    run = search(supernet, tmp_path / "run", compare=2)
    data = report_data(run)
    rows = {term: text for group in data["groups"] for term, text in group["rows"]}
    assert rows["supernet"] == str(supernet)
    digits = "digits (1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn)"
    assert rows["evaluated on"] == f"what the training left out of {digits}"
    assert "by inherited weights" in rows["top1"]
    assert rows["macs"] == "lower is better; a cost, counted before scoring"
    assert data["comparison"]["winner"]["value"] == max(run.table["top1"].to_pylist())
    assert len(data["comparison"]["random"]) == 2
    assert data["comparison"]["verdict"] == run.summary["comparison"]["verdict"]
