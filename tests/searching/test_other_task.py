"""A task that scores no untrained network goes through pools, search, resumption and report: a stored model's accuracy.

A linear classifier of the digits was trained once and its weights are stored; an architecture says which rows and
columns of an image it sees, and inherits the weights of these pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import embedded
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from toy_runs import content

import raynas
from raynas import Architecture, Choice, SearchSpace
from raynas.cluster.joining import connect
from raynas.cluster.options import PoolSize
from raynas.errors import StoreError
from raynas.report.page import write_report
from raynas.scoring.failures import failure
from raynas.scoring.pool import EvaluatorPool, Job, SerialPool
from raynas.scoring.ray_pool import RayPool
from raynas.scoring.task import Output
from raynas.searching.config import RunConfig
from raynas.searching.plan import Plan, plan_of_task
from raynas.searching.run import SearchListener, execute
from raynas.searching.scores import Score, cost_scores
from raynas.space.results import Outcome, ScoreIdentity, Status

TRAINED, HELD_OUT = slice(0, 1400), slice(1400, None)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    disconnect = connect(None, min_cpus=2)
    yield
    disconnect()


@dataclass(frozen=True)
class InheritedAccuracy:
    """Evaluates weights of the stored model that an architecture inherits, on images that it was not trained on."""

    weights: np.ndarray  # (10, 8, 8)
    bias: np.ndarray  # (10,)
    images: np.ndarray  # (N, 8, 8)
    labels: np.ndarray  # (N,)
    device: str = "cpu"
    threads: int = 1

    @property
    def outputs(self) -> list[list[Output]]:
        """Accuracy and loss come out of one pass; how many pixels are seen is another thing."""
        return [[Output("accuracy", True), Output("loss", False)], [Output("pixels", False)]]

    @property
    def own_code(self) -> list[Callable[..., Any]]:
        """This class, which workers could not import."""
        return [type(self)]

    def evaluator(self) -> Callable[[Architecture, Sequence[int]], list[Outcome]]:
        """A function, as nothing has to be kept."""
        return self.evaluated

    def evaluated(self, architecture: Architecture, wanted: Sequence[int]) -> list[Outcome]:
        """Values of the wanted groups, or what went wrong."""
        outcomes: list[Outcome] = []
        for group in wanted:
            try:
                found = [self._passed, self._counted][group](architecture)
            except Exception as error:
                status, text = failure(error)
                outcomes += [Outcome(None, status, text)] * len(self.outputs[group])
            else:
                outcomes += [Outcome(value, Status.OK) for value in found]
        return outcomes

    def _passed(self, architecture: Any) -> list[float]:
        rows, columns = architecture["rows"], architecture["columns"]
        if rows * columns == 1:
            raise ValueError("one pixel is no image")
        seen = self.images[:, :rows, :columns].reshape(len(self.images), -1)
        logits = seen @ self.weights[:, :rows, :columns].reshape(10, -1).T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        log_chances = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        right = logits.argmax(axis=1) == self.labels
        return [float(right.mean()), float(-log_chances[np.arange(len(right)), self.labels].mean())]

    def _counted(self, architecture: Any) -> list[float]:
        return [float(architecture["rows"] * architecture["columns"])]


SPACE = SearchSpace(
    "seen-digits",
    {"rows": Choice(*range(1, 9)), "columns": Choice(*range(1, 9))},
    model="none",
    num_params=lambda architecture, img_size, num_classes: (
        10 * int(architecture["rows"]) * int(architecture["columns"])
    ),
    macs=lambda architecture, img_size, num_classes: 10 * int(architecture["rows"]) * int(architecture["columns"]),
)


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    images, labels = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=50, tol=0.1).fit(images[TRAINED] / 16, labels[TRAINED])


@pytest.fixture(scope="module")
def stored(model: LogisticRegression, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored model: a file of two arrays."""
    path = tmp_path_factory.mktemp("model") / "weights.npz"
    np.savez(path, weights=model.coef_.reshape(10, 8, 8), bias=model.intercept_)
    return path


def expected(model: LogisticRegression, architecture: Any) -> tuple[float, float]:
    """Accuracy and loss by scikit-learn, which is given images that are 0 where nothing is seen."""
    images, labels = load_digits(return_X_y=True)
    seen = np.zeros((len(labels) - TRAINED.stop, 8, 8))
    rows, columns = architecture["rows"], architecture["columns"]
    seen[:, :rows, :columns] = images[HELD_OUT].reshape(-1, 8, 8)[:, :rows, :columns] / 16
    seen = seen.reshape(len(seen), -1)
    return model.score(seen, labels[HELD_OUT]), log_loss(labels[HELD_OUT], model.predict_proba(seen))


@dataclass(frozen=True)
class StoredModel:
    """Makes the task from the file."""

    path: Path

    def __call__(self, device: str, threads: int) -> InheritedAccuracy:
        """The task; it is computed by numpy, wherever the workers are."""
        images, labels = load_digits(return_X_y=True)
        with np.load(self.path) as arrays:
            held_out = images[HELD_OUT].reshape(-1, 8, 8) / 16
            return InheritedAccuracy(arrays["weights"], arrays["bias"], held_out, labels[HELD_OUT], threads=threads)


def plan_of(stored: Path, **values: Any) -> Plan:
    """A search for what sees little and is right."""
    digest = blake2b(stored.read_bytes(), digest_size=8).hexdigest()
    common = {"space": SPACE.name, "img_size": 8, "num_classes": 10, "model_version": 1}
    groups = StoredModel(stored)("cpu", 1).outputs
    scores = [
        Score(name, ScoreIdentity(**common, proxy=name, settings=f'{{"weights":"{digest}"}}'), is_higher_better, number)
        for number, group in enumerate(groups)
        for name, is_higher_better in group
    ]
    asked = {
        "space": SPACE.name, "img_size": 8, "num_classes": 10, "objectives": ["accuracy", "pixels"],
        "constraints": ["num_params<=400"], "searcher": "nsga2", "budget": 60, "window": 8, "data": "digits", **values,
    }  # fmt: skip
    return plan_of_task(RunConfig.make(asked), SPACE, (*scores, *cost_scores(SPACE, 8, 10)), StoredModel(stored))


def searched(folder: Path, stored: Path, *, resume: bool = False, **values: Any) -> raynas.Run:
    execute(plan_of(stored, **values), folder, resume=resume, listener=SearchListener())
    return raynas.load_run(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_both_pools_carry_it_out(stored: Path, model: LogisticRegression, workers: int) -> None:
    task = StoredModel(stored)("cpu", 1)
    pool: EvaluatorPool = RayPool(task, size=PoolSize(workers, workers)) if workers else SerialPool(task)
    architectures = [Architecture({"rows": rows, "columns": columns}) for rows in (1, 4, 8) for columns in (1, 5, 8)]
    try:
        for architecture in architectures:
            pool.submit(Job(architecture, (0, 1), 3))
        pool.submit(Job(architectures[-1], (1,), 1))
        results = []
        while len(results) < 10:
            results += pool.poll(60.0)
    finally:
        pool.close()
    for job, outcomes in results:
        if job.wanted == (1,):
            assert [outcome.value for outcome in outcomes] == [64.0]
        elif job.architecture == architectures[0]:
            assert [outcome.status for outcome in outcomes] == ["failed", "failed", "ok"]
            assert "one pixel is no image" in (outcomes[0].error or "")
        else:
            assert [o.value for o in outcomes[:2]] == pytest.approx(expected(model, job.architecture), rel=1e-9)


@pytest.mark.slow
def test_a_search_by_it_gives_the_same_on_workers_and_goes_on_where_it_stopped(
    tmp_path: Path, stored: Path, model: LogisticRegression
) -> None:
    whole = searched(tmp_path / "whole", stored, workers=0)
    assert content(searched(tmp_path / "workers", stored, workers=2)) == content(whole)
    searched(tmp_path / "grown", stored, workers=0, budget=25)
    grown = searched(tmp_path / "grown", stored, workers=2, resume=True)
    assert content(grown) == content(whole)
    assert grown.summary["best"] == whole.summary["best"]
    assert whole.summary["status"] in ("completed", "exhausted")
    for one in whole.best:
        assert one["num_params"] <= 400
        assert one["scores"]["accuracy"] == pytest.approx(expected(model, one["architecture"])[0])
        assert one["scores"]["pixels"] == one["num_params"] / 10


def test_other_weights_are_another_run(tmp_path: Path, stored: Path) -> None:
    searched(tmp_path / "run", stored, workers=0, budget=10)
    other = tmp_path / "other.npz"
    with np.load(stored) as arrays:
        np.savez(other, weights=-arrays["weights"], bias=arrays["bias"])
    with pytest.raises(StoreError, match=r"scores\.accuracy\.settings was"):
        searched(tmp_path / "run", other, workers=0, budget=10, resume=True)


def test_its_report_tells_of_its_outputs(tmp_path: Path, stored: Path) -> None:
    run = searched(tmp_path / "run", stored, workers=0)
    data = embedded(write_report(run.folder).read_text())
    assert {"accuracy", "loss", "pixels"} <= {score["name"] for score in data["scores"]}
    assert data["status"]
