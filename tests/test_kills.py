"""Undertakings whose whole process group is killed at several moments come out as if nobody had killed them.

Searches, growths, sweeps, trainings in one process and finalists have theirs beside their other tests.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from random_moments import killed_at, random_moments, started
from toy_bench import architectures, labels, write_table
from toy_runs import content
from toy_trainings import largest_difference, trained, weights

import raynas
from raynas.errors import RaynasError
from raynas.training.checkpoints import BEST, LAST, checkpoint_folder, read_checkpoint
from raynas.training.folder import METRICS, load_training

TIMES = ("images_per_s", "train_s", "data_wait_s", "eval_s", "seconds")
TEACHER = {"teacher": "random:resnet8", "logit_weight": 0.3, "temperature": 2.0, "ema_decay": 0.9}
VIT = {"space": "vit", "architecture": "p8-w48-d2-h4-m2", "drop_path_rate": 0.0}
MASKED = {**VIT, "objective": "mae"}
CONTRAST = {**VIT, "objective": "moco-v3", "projector_width": 32, "projector_dim": 16}


def completed(code: str) -> None:
    process = started(code)
    assert process.wait(timeout=400) == 0


# -- trainings --------------------------------------------------------------------------------------------------------


def training_code(folder: Path, settings: dict[str, Any]) -> str:
    return f"from toy_trainings import *; execute_training(plan(**{settings!r}), Path({str(folder)!r}), resume=True)"


def epochs_in(folder: Path) -> int:
    try:
        return int(pq.read_metadata(folder / "metrics.parquet").num_rows)
    except OSError:
        return 0


def epoch_s(folder: Path) -> float:
    """Half a second, or the time of an epoch where that is shorter, so that none is killed after its end."""
    table = load_training(folder).metrics
    times = [row["train_s"] + row["eval_s"] for row in table.select(["train_s", "eval_s"]).to_pylist()]
    return min(0.5, statistics.median(times))


def metrics(folder: Path) -> list[dict[str, Any]]:
    table = load_training(folder).metrics
    assert set(TIMES) < set(METRICS.names)
    rows: list[dict[str, Any]] = table.drop_columns(list(TIMES)).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("settings", "moments"),
    [
        pytest.param(TEACHER, random_moments(6, most=10), marks=pytest.mark.long, id="distilled"),
        pytest.param({"workers": 2}, random_moments(4, most=8, seed=1), marks=pytest.mark.long, id="two-workers"),
        pytest.param(MASKED, random_moments(6, most=10, seed=2), marks=pytest.mark.long, id="masked"),
        pytest.param({**MASKED, "workers": 2}, random_moments(4, most=8, seed=3), marks=pytest.mark.long,
                     id="masked-two-workers"),
        pytest.param(CONTRAST, random_moments(6, most=10, seed=4), marks=pytest.mark.long, id="contrast"),
        pytest.param({**CONTRAST, "workers": 2}, random_moments(4, most=8, seed=5), marks=pytest.mark.long,
                     id="contrast-two-workers"),
    ],
)  # fmt: skip
def test_a_killed_training_ends_with_the_same_bits(
    tmp_path: Path, settings: dict[str, Any], moments: tuple[int, ...]
) -> None:
    settings = {**settings, "epochs": moments[-1] + 2, "checkpoint_every_s": 0.2}
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    completed(training_code(whole, settings))
    killed_at(moments, training_code(folder, settings), lambda: epochs_in(folder), spread_s=epoch_s(whole))
    assert epochs_in(folder) < settings["epochs"]
    completed(training_code(folder, settings))
    assert metrics(folder) == metrics(whole)
    for name in (LAST, BEST):
        first, second = (read_checkpoint(checkpoint_folder(one) / name) for one in (whole, folder))
        assert first["epoch"] == second["epoch"]
        for part in ("model", "ema"):
            if first[part] is not None:
                assert largest_difference(first[part], second[part]) == 0
        assert first["parts"].keys() == second["parts"].keys()
        for part, values in first["parts"].items():
            assert largest_difference(values, second["parts"][part]) == 0
    summaries = [load_training(one).summary for one in (whole, folder)]
    for name in ("status", "top1", "best_top1", "best_epoch", "epochs_done", "training_macs"):
        assert summaries[0][name] == summaries[1][name]


# -- supernets --------------------------------------------------------------------------------------------------------


def supernet_code(folder: Path, **settings: Any) -> str:
    chosen = {
        "data": "digits", "img_size": 16, "max_images": 300, "batch_size": 32, "augment": "light", "loggers": [],
        "loader_processes": 0, "threads": 1, "checkpoint_every_s": 0.2, "choice_warmup_epochs": 2, **settings,
    }  # fmt: skip
    imports = "import raynas; from toy_spaces import small_res; from toy_trainings import StepCounter"
    given = f"out={str(folder)!r}, resume=True, listener=StepCounter(), **{chosen!r}"
    return f"{imports}; raynas.train_supernet(small_res, {given})"


@pytest.mark.parametrize(
    ("settings", "moments"),
    [
        pytest.param({"workers": 0}, (1,), marks=pytest.mark.slow, id="once"),
        pytest.param({"workers": 0}, random_moments(6, most=10), marks=pytest.mark.long, id="often"),
        pytest.param({"workers": 2}, random_moments(4, most=8, seed=1), marks=pytest.mark.long, id="two-workers"),
    ],
)
def test_a_killed_supernet_ends_with_the_same_bits(
    tmp_path: Path, settings: dict[str, Any], moments: tuple[int, ...]
) -> None:
    settings = {**settings, "epochs": moments[-1] + 2}
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    completed(supernet_code(whole, **settings))
    killed_at(moments, supernet_code(folder, **settings), lambda: epochs_in(folder), spread_s=epoch_s(whole))
    assert epochs_in(folder) < settings["epochs"]
    completed(supernet_code(folder, **settings))
    assert metrics(folder) == metrics(whole)
    assert largest_difference(weights(folder), weights(whole)) == 0


@pytest.mark.parametrize(
    ("workers", "moments"),
    [
        pytest.param(0, random_moments(8, most=50), marks=pytest.mark.long),
        pytest.param(2, random_moments(8, most=50, seed=1), marks=pytest.mark.long),
    ],
)
def test_a_killed_search_of_a_supernet_ends_with_the_same_table(
    tmp_path: Path, workers: int, moments: tuple[int, ...]
) -> None:
    supernet, whole, folder = tmp_path / "supernet", tmp_path / "whole", tmp_path / "killed"
    completed(supernet_code(supernet, workers=0, epochs=1, val_fraction=0.5))

    def code(out: Path) -> str:
        settings = {
            "constraints": ["macs>=600e3", "macs<=1100e3"], "budget": moments[-1] + 12, "compare": 3,
            "searcher": "evolution",
            "settings": {"searcher": {"population": 6, "mutants": 3, "children": 3, "parents": 3}},
            "workers": workers, "threads": 1, "window": 4,
        }  # fmt: skip
        imports = "import raynas; from toy_spaces import small_res; from raynas.searching.run import SearchListener"
        given = f"space=small_res, out={str(out)!r}, resume=True, listener=SearchListener(), **{settings!r}"
        return f"{imports}; raynas.search_supernet({str(supernet)!r}, {given})"

    completed(code(whole))
    killed_at(moments, code(folder), lambda: evaluations_in(folder))
    completed(code(folder))
    first, second = raynas.load_run(whole), raynas.load_run(folder)
    assert content(first) == content(second)
    assert first.summary["comparison"] == second.summary["comparison"]
    assert second.summary["status"] == "completed"
    scored = second.table.to_pylist()
    assert len({row["architecture"] for row in scored}) == len(scored) == moments[-1] + 12
    assert all(600e3 <= row["macs"] <= 1100e3 for row in scored)


def evaluations_in(folder: Path) -> int:
    try:
        return len(raynas.load_run(folder).table)
    except RaynasError:
        return 0


# -- benchmarks of proxies --------------------------------------------------------------------------------------------


def lines_in(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.parametrize(
    ("workers", "moments"),
    [
        pytest.param(0, (20,), marks=pytest.mark.slow),
        pytest.param(0, random_moments(8, most=70), marks=pytest.mark.long),
        pytest.param(2, random_moments(8, most=70, seed=1), marks=pytest.mark.long),
    ],
)
def test_a_killed_benchmark_ends_with_the_same_tables(tmp_path: Path, workers: int, moments: tuple[int, ...]) -> None:
    chosen = architectures(80, harm=("none", "none", "raise", "nan"))
    table = write_table(tmp_path / "table.csv", chosen, labels(chosen))
    whole, folder, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"

    def code(out: Path) -> str:
        pause = {"toy": {"pause_s": 0.03, "log": str(log)}}
        given = f"settings={pause!r}, workers={workers}, combine=['toy+slope'], within=['depth']"
        return f"from toy_bench import *; bench(Path({str(table)!r}), Path({str(out)!r}), resume=True, {given})"

    completed(code(whole))
    log.unlink()
    killed_at(moments, code(folder), lambda: lines_in(log), spread_s=0.2)
    completed(code(folder))
    first, second = raynas.load_bench(whole), raynas.load_bench(folder)
    assert second.run.summary["status"] == "completed"
    assert content(first.run) == content(second.run)
    assert first.scores == second.scores
    assert first.correlations.drop_columns(["seconds"]) == second.correlations.drop_columns(["seconds"])


# -- exports ----------------------------------------------------------------------------------------------------------


def outputs(folder: Path) -> np.ndarray:
    import onnxruntime

    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"images": images})[0])


@pytest.mark.long
def test_a_killed_export_is_not_there_or_whole_and_ends_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    source, folder, begun = tmp_path / "training", tmp_path / "killed", tmp_path / "begun"
    trained(source, epochs=1)
    before = weights(source)

    def code(out: Path, rest_s: float) -> str:
        export = f"out.exists() or raynas.export({str(source)!r}, out, onnx=True); time.sleep({rest_s})"
        imports = "import time; from pathlib import Path; import torch, raynas"
        return f"{imports}; torch.set_num_threads(1); out = Path({str(out)!r}); Path({str(begun)!r}).touch(); {export}"

    completed(code(tmp_path / "whole", 0))
    took = time.time() - begun.stat().st_mtime
    expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    del expected["model.onnx"]  # which holds names that the exporter makes up

    def check(there: Path) -> None:
        files = {path.name: path.read_bytes() for path in there.iterdir()}
        assert files.pop("model.onnx")
        assert files == expected
        np.testing.assert_array_equal(outputs(there), outputs(tmp_path / "whole"))

    for moment in np.random.default_rng(12).random(12) * took:
        begun.unlink(missing_ok=True)
        killed_at(
            [float(moment)], code(folder, 600), lambda: time.time() - begun.stat().st_mtime if begun.exists() else -1.0
        )
        if folder.exists():
            check(folder)
    completed(code(folder, 0))
    check(folder)
    assert largest_difference(weights(source), before) == 0
