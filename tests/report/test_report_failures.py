"""What the page of a search says of failures, and of scores that are not there."""

from __future__ import annotations

import pytest
from report_folders import AS_VIT, embedded, sampled_rows, write_folder
from toy_runs import QUICK, Stop

import raynas
from raynas.report.page import report_data, write_report
from raynas.report.text import failure_groups
from raynas.space.results import Outcome
from raynas.storage.points import PointState


def test_run_in_which_everything_failed(tmp_path):
    errors = {k: ("non_finite", f"values of the repeats: [nan, {k}.5]") for k in range(6)}
    data = report_data(raynas.load_run(write_folder(tmp_path, sampled_rows(6, errors=errors))))
    assert data["points"]["state"] == [PointState.FAILED] * 6
    assert data["counts"]["failed"] == 6
    assert data["traces"] == [{"name": "length_distortion", "at": [], "values": []}]
    [group] = data["failures"]
    assert (group["count"], group["texts"], group["scores"]) == (6, 6, ["length_distortion"])


def test_failures_are_grouped_by_status_and_reason(tmp_path):
    errors = {0: ("failed", "size 3"), 1: ("failed", "size 14"), 2: ("timeout", "size 3"), 3: ("failed", "shape")}
    run = raynas.load_run(write_folder(tmp_path, sampled_rows(6, ("a", "b"), errors), scores=("a", "b")))
    groups = report_data(run)["failures"]
    assert [(group["status"], group["error"], group["count"]) for group in groups] == [
        ("failed", "size 3", 2),
        ("timeout", "size 3", 1),
        ("failed", "shape", 1),
    ]
    assert groups[0]["scores"] == ["a", "b"]
    assert groups[0]["example"] == 0


def not_applicable_rows():
    """Of six architectures, the second score applies to four."""
    rows = sampled_rows(6, ("a", "b"))
    for number in (1, 4):
        rows[number][1]["b"] = Outcome(None, "not_applicable", "needs transformer blocks, which Plain lacks", 0.1)
    return rows


def test_scores_that_do_not_apply_are_told_and_leave_the_architecture_its_others(tmp_path):
    rows = not_applicable_rows()
    run = raynas.load_run(write_folder(tmp_path, rows, scores=("a", "b")))
    data = report_data(run)
    (group,) = data["failures"]
    assert (group["status"], group["scores"], group["count"]) == ("not_applicable", ["b"], 2)
    assert group["error"] == "needs transformer blocks, which Plain lacks"
    by_text = dict(zip(data["points"]["text"], data["points"]["values"]["b"], strict=True))
    missing = {AS_VIT.text(rows[number][0]) for number in (1, 4)}
    assert {text for text, value in by_text.items() if value is None} == missing
    assert all(value is not None for value in data["points"]["values"]["a"])
    ranked = {one["name"]: len(one["members"]) for one in data["rankings"]}
    assert (ranked["a"], ranked["b"]) == (6, 4)


def test_many_kinds_of_failure_are_summed_up():
    class Failure:
        status, score = "failed", "a"

        def __init__(self, point):
            self.point, self.error = point, "x" * point

    groups, _ = failure_groups([Failure(point) for point in range(9)], limit=4)
    assert [group["count"] for group in groups] == [1, 1, 1, 1, 5]


def test_violated_constraints_and_missing_scores_are_told_apart(tmp_path):
    rows = sampled_rows(4)
    del rows[1][1]["length_distortion"]
    bound = sorted(row["macs"].value for _, row in rows)[1]
    run = raynas.load_run(write_folder(tmp_path, rows, identity={"constraints": [f"macs<={bound}"]}))
    expected = [
        PointState.INFEASIBLE
        if row["macs"].value > bound
        else PointState.OK
        if "length_distortion" in row
        else PointState.UNSCORED
        for _, row in rows
    ]
    assert report_data(run)["points"]["state"] == expected


def test_failed_run_shows_its_error(tmp_path):
    with pytest.raises(OSError, match="full"):
        raynas.search("as-vit", budget=20, out=tmp_path / "run", listener=Stop(3, OSError("disk is full")), **QUICK)
    status = embedded(write_report(tmp_path / "run").read_text())["status"]
    assert (status["name"], status["error"]) == ("failed", "OSError: disk is full")
