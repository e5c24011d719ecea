"""Pages of searches that predict latency."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raynas
from raynas.report.page import report_data, write_report
from raynas.searchers.reinforce import Reinforce
from raynas.searching.run import SearchListener
from raynas.space.results import Evaluation
from raynas.storage.latencies import PREDICTED, latency_predictor

pytest_plugins = ["report_browser"]
pytestmark = pytest.mark.slow  # measures latencies

QUICK: dict[str, Any] = {"img_size": 32, "listener": SearchListener()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latency") / "measured"
    raynas.learn_latency("vit", out=folder, runs=2, warmup=0, seconds=0, measurements=12, **QUICK)
    return folder


@pytest.fixture(scope="module")
def told() -> list[np.ndarray]:
    """The probabilities of the searcher that ran, after each evaluation that it was told."""
    return []


@pytest.fixture(scope="module")
def bounded(measured: Path, told: list[np.ndarray]) -> raynas.Run:
    """A search of which its bound refuses half of the space."""
    predictor, rng = latency_predictor(measured), np.random.default_rng(0)
    middle = float(np.median([predictor(predictor.space.sample(rng), 32, 10) for _ in range(50)]))
    tell = Reinforce.tell

    def noting(self: Reinforce, evaluations: Sequence[Evaluation]) -> None:
        tell(self, evaluations)
        told.append(np.concatenate(list(self.probabilities().values())))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reinforce, "tell", noting)
        return raynas.search(
            "vit", objectives=["num_params:max"], constraints=[f"latency<={middle}"], latency=str(measured),
            searcher="reinforce", budget=12, workers=0, out=measured.parent / "bounded", **QUICK,
        )  # fmt: skip


def test_the_policy_under_a_bound_on_the_predicted_latency_is_replayed(
    bounded: raynas.Run, told: list[np.ndarray]
) -> None:
    """It is compared with what the searcher went through: its recommendation is another where the bound refuses the
    likeliest architecture, which depends on what was measured.
    """
    policy = report_data(bounded)["policy"]
    assert (policy["told"], policy["note"]) == ([*range(13)], "")
    shown = np.concatenate([decision["probabilities"] for decision in policy["decisions"]], axis=1)
    np.testing.assert_allclose(shown[1:], told, rtol=0, atol=6e-5)  # the page has four digits


def test_without_the_measurements_the_page_says_why_the_policy_is_not_there(
    bounded: raynas.Run, measured: Path, tmp_path: Path
) -> None:
    away = shutil.move(measured, tmp_path / "away")
    try:
        policy = report_data(bounded)["policy"]
        raynas.learn_latency("vit", out=measured, runs=2, warmup=0, seconds=0, measurements=12, seed=1, **QUICK)
        others = report_data(bounded)["policy"]
    finally:
        shutil.rmtree(measured, ignore_errors=True)
        shutil.move(away, measured)
    assert policy["decisions"] == others["decisions"] == []
    assert policy["note"].startswith("Not shown: ") and str(measured) in policy["note"]
    assert f"{measured} holds other measurements by now" in others["note"]


def test_the_predicted_latency_is_a_cost_among_others(bounded: raynas.Run, opened: Any) -> None:
    """Everything of the page that goes by costs has it: the coordinates, and the front of a score against a cost."""
    scores = report_data(bounded)["scores"]
    assert {one["name"]: (one["is_cost"], one["maximize"]) for one in scores} == {
        "num_params": (True, True), "macs": (True, False), PREDICTED: (True, False),
    }  # fmt: skip
    page = opened(write_report(bounded.folder))
    axes = [node.text_content() for node in page.locator("#parallel-plot .axis-name title").all()]
    assert {"parameters", "MACs", PREDICTED} <= {*axes}
    first = page.locator("#best-list .architecture").first
    shown = dict(zip(*[first.locator(f".scores {tag}").all_text_contents() for tag in ("dt", "dd")], strict=True))
    drawn = report_data(bounded)["points"]["values"][PREDICTED][int(first.get_attribute("data-point"))]
    assert float(shown[PREDICTED]) == pytest.approx(drawn, rel=1e-3)  # and no count
