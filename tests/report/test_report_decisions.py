"""Which decisions matter, as the page of a search has it: shares of fields whose effects are made for the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import AS_VIT, Row, sampled_rows, write_folder

from raynas.report.page import report_data
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.results import Outcome
from raynas.storage.runs import load_run


def decisions(folder: Path, rows: Sequence[Row], **more: Any) -> list[dict[str, Any]]:
    found = report_data(load_run(write_folder(folder, rows, **more)))["decisions"]
    return list(found["objectives"])


def valued(rows: Sequence[Row], value: Callable[[Architecture], float]) -> list[Row]:
    """The rows with values of length_distortion that follow from their architectures."""
    return [
        (one, {**outcomes, "length_distortion": Outcome(value(one), "ok", None, 0.5)})
        for one, outcomes in rows
    ]  # fmt: skip


def test_the_field_that_the_values_follow_from_has_the_whole_share(tmp_path: Path) -> None:
    rows = valued(sampled_rows(200), lambda one: float(one["num_heads"]) / 64)
    (found,) = decisions(tmp_path, rows)
    assert found["fields"][0]["field"] == "num_heads"
    assert found["fields"][0]["share"] == pytest.approx([1, 1, 1], abs=1e-4)
    assert found["fields"][0]["why"] == "best at 64"
    assert {field["field"] for field in found["fields"]} == {"kernel", "split", "mlp_ratio", "num_heads"}
    assert found["rest"][0] == pytest.approx(0, abs=1e-4)
    assert found["n"] == 200
    assert found["sample"] == ""


def test_of_a_list_the_position_that_matters_is_named_with_the_option_that_is_best(tmp_path: Path) -> None:
    rows = valued(sampled_rows(200), lambda one: 3.0 - one["mlp_ratio"][2] / 10)  # type: ignore[index, operator]
    (found,) = decisions(tmp_path, rows)
    assert found["fields"][0]["field"] == "mlp_ratio"
    assert found["fields"][0]["why"] == "most by mlp_ratio[2], best at 2"


def test_values_over_decades_count_by_their_logarithms(tmp_path: Path) -> None:
    rows = valued(sampled_rows(200), lambda one: 10.0 ** (one["split"][0] + one["num_heads"] / 16))  # type: ignore[index, operator]
    (found,) = decisions(tmp_path, rows)
    assert found["is_log"]
    shares = {field["field"]: field["share"][0] for field in found["fields"]}
    split, heads = np.var([2, 4, 8]), np.var([1, 2, 4])
    assert shares["split"] == pytest.approx(split / (split + heads), abs=0.03)
    assert shares["split"] + shares["num_heads"] == pytest.approx(1, abs=1e-3)


def test_too_few_architectures_are_said_to_be_so(tmp_path: Path) -> None:
    (found,) = decisions(tmp_path, sampled_rows(12))
    assert "fields" not in found
    assert found["missing"].startswith("12 architectures with a value are too few to tell the effects of")


def test_a_sample_that_prefers_options_is_said_to_be_biased(tmp_path: Path) -> None:
    every = sampled_rows(600)
    rows = [row for row in every if row[0]["num_heads"] == 16] + [row for row in every if row[0]["num_heads"] != 16][
        :20
    ]
    (found,) = decisions(tmp_path, rows)
    assert found["sample"].startswith("The sample is biased: the searcher preferred some options, those of num_heads")
    shares = np.unique([one["num_heads"] for one, _ in rows], return_counts=True)[1] / len(rows)
    told = round(100 * np.exp(-(shares * np.log(shares)).sum()) / 3)
    assert f"num_heads as if it had {told} %" in found["sample"]


def test_layers_are_summarised_where_there_are_more_of_them_than_rows_can_tell_apart(tmp_path: Path) -> None:
    space, rng = spaces.get("autoformer-tiny-plain"), np.random.default_rng(0)
    rows: list[Row] = []
    for _ in range(60):
        one = space.sample(rng)
        values: Any = one["num_heads"]
        rows.append((one, {"first": Outcome(float(np.mean(values)), "ok", None, 0.5)}))
    identity = {"space": space.name, "space_fields": space.fingerprint}
    (found,) = decisions(tmp_path, rows, scores=("first",), identity=identity)
    assert found["is_summarised"]
    assert found["fields"][0]["field"] == "num_heads"
    assert found["fields"][0]["share"][0] > 0.8
    assert found["fields"][0]["why"] == "most by mean of num_heads, best at its quarter 4"


def test_failures_have_no_part_and_a_scoring_run_has_no_decisions(tmp_path: Path) -> None:
    rows = valued(sampled_rows(150), lambda one: float(one["num_heads"]))  # type: ignore[arg-type]
    failed = Outcome(None, "failed", "ValueError: no")
    rows[:20] = [(one, {**outcomes, "length_distortion": failed}) for one, outcomes in rows[:20]]
    (found,) = decisions(tmp_path / "failed", rows)
    assert found["n"] == 130
    folder = write_folder(tmp_path / "scores", rows, identity={"objectives": []}, objectives=[])
    assert report_data(load_run(folder))["decisions"] is None
    assert AS_VIT.name == "as-vit"
