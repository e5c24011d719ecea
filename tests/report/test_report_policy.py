"""What the page of a search shows of its policy."""

from __future__ import annotations

import numpy as np
import pytest
from report_folders import AS_VIT, sampled_rows, write_folder

import raynas
from raynas.report.page import report_data
from raynas.report.policy import MAX_SNAPSHOTS
from raynas.space.architecture import Architecture

QUICK = {"workers": 0, "img_size": 32, "settings": {"length_distortion": {"repeats": 1}}}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "searched"
    return raynas.search("as-vit", objectives=["length_distortion"], budget=30, out=out, **QUICK)


def test_replayed_policy_ends_at_the_recommendation(searched):
    policy = report_data(searched)["policy"]
    assert policy["told"] == list(range(31))
    assert policy["note"] == ""
    numbers = [int(np.argmax(decision["probabilities"][-1])) for decision in policy["decisions"]]
    assert AS_VIT.text(AS_VIT.decode(numbers)) == searched.summary["recommended"]["text"]
    for decision in policy["decisions"]:
        np.testing.assert_allclose(np.sum(decision["probabilities"], axis=1), 1, atol=1e-3)


def test_snapshots_are_limited(tmp_path):
    run = raynas.search(
        "as-vit",
        budget=2 * MAX_SNAPSHOTS + 7,
        objectives=["macs:min"],
        out=tmp_path / "long",
        **{**QUICK, "settings": {}},
    )
    policy = report_data(run)["policy"]
    assert len(policy["told"]) <= MAX_SNAPSHOTS
    assert (policy["told"][0], policy["told"][-1]) == (0, 2 * MAX_SNAPSHOTS + 7)
    numbers = [int(np.argmax(decision["probabilities"][-1])) for decision in policy["decisions"]]
    assert dict(AS_VIT.decode(numbers)) == dict(Architecture(run.summary["recommended"]["architecture"]))


def test_policy_under_a_constraint_on_costs_is_replayed(tmp_path):
    run = raynas.search(
        "as-vit",
        budget=25,
        objectives=["length_distortion"],
        constraints=["num_params<=1.6e6"],
        out=tmp_path / "c",
        **QUICK,
    )
    policy = report_data(run)["policy"]
    assert (policy["told"][-1], policy["note"]) == (25, "")


def test_foreign_rows_end_the_policy_with_a_note(tmp_path):
    folder = write_folder(tmp_path, sampled_rows(10), searcher="reinforce", identity={"window": 4})
    policy = report_data(raynas.load_run(folder))["policy"]
    assert policy["told"] == [0]
    assert "not in the store" in policy["note"]
