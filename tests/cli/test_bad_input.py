"""What is refused before anything is written, and what enters a run's configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import raynas
import raynas.searching.run
from raynas.errors import ConfigError, UnknownNameError
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"space": "as-vitt"}, UnknownNameError, "unknown space 'as-vitt'. Did you mean 'as-vit'"),
        ({"objectives": ["length"]}, UnknownNameError, "unknown score 'length'.*Known scores: .*length_distortion"),
        (
            {"objectives": ["synfow"]},
            UnknownNameError,
            "unknown score 'synfow'. Did you mean 'synflow'",
        ),
        ({"constraints": ["mac<=1"]}, UnknownNameError, "unknown score 'mac'. Did you mean 'macs'. Known scores: "),
        ({"searcher": "annealing"}, UnknownNameError, "unknown searcher 'annealing'.*Known searchers: .*random"),
        ({"bugdet": 5}, ConfigError, r"unknown key 'bugdet'\. Did you mean budget\?"),
        ({"luck": 5}, ConfigError, r"unknown key 'luck'\. Known keys: .*budget"),
        ({"budget": 0}, ConfigError, "budget: .*greater than or equal to 1, got 0"),
        ({"worker_memory_gib": 0.001}, ConfigError, "worker_memory_gib: .*greater than or equal to 0.1, got 0.001"),
        ({"img_size": 65}, ConfigError, "img_size of as-vit is a multiple of 32, not 65"),
        ({"constraints": ["macs<2<3"]}, ConfigError, "a constraint is NAME<=NUMBER"),
        ({"constraints": ["macs<=1000"]}, ConfigError, "meets macs<=1000: macs is from"),
        ({"constraints": ["macs>=1e99"]}, ConfigError, "meets macs>=1e"),
        ({"objectives": ["macs:up"]}, ConfigError, "an objective is NAME, NAME:max or NAME:min"),
        (
            {"objectives": ["a/own.py:mine:max"]},
            ConfigError,
            "named by --proxy a/own.py:mine, and then by --objective mine$",
        ),
        ({"objectives": []}, ConfigError, "searcher 'reinforce' needs an objective"),
        ({"objectives": ["macs", "macs"]}, ConfigError, "named twice"),
        (
            {"settings": {"length_distortion": {"point": 5}}},
            UnknownNameError,
            "no setting 'point'. Known settings: points",
        ),
        ({"settings": {"length_distortion": {"points": "x"}}}, ConfigError, "points is of type int, not 'x'"),
        ({"settings": {"length_distortion": {"repeats": 0}}}, ConfigError, "repeats is an integer of at least 1"),
        ({"settings": {"length_distortion": {"dtype": "float16"}}}, ConfigError, "dtype is one of float32, float64"),
        (
            {"settings": {"ntk_condition": {"repeats": 1}}},
            ConfigError,
            "'ntk_condition', which is not among the proxies",
        ),
        ({"settings": {"searcher": {"rate": 1}}}, UnknownNameError, "searcher 'reinforce' has no setting 'rate'"),
        ({"settings": {"searcher": {"learning_rate": -1.0}}}, ConfigError, "learning_rate"),
        ({"data": "parquet:missing.parquet", "proxies": ["ntk_condition"]}, raynas.RaynasError, "missing.parquet"),
        ({"workers": 0, "gpus_per_worker": 0.5}, ConfigError, "workers=0"),
        ({"architectures": ["8,2,3"]}, raynas.RaynasError, "8,2,3"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    chosen: dict[str, Any] = {"space": "as-vit", "budget": 3, "workers": 0, **settings}
    with pytest.raises(error, match=message):
        raynas.search(chosen.pop("space"), out=tmp_path / "run", **chosen)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_comes_back_from_yaml_as_it_was() -> None:
    config = RunConfig.make({"space": "as-vit", "constraints": ["macs<=2e7"], "settings": {"searcher": {"history": 5}}})
    dumped = yaml.safe_dump(json.loads(config.model_dump_json()))
    assert RunConfig.make(yaml.safe_load(dumped)) == config


def test_input_enters_the_key_of_those_scores_that_see_it() -> None:
    plans = [
        make_plan(RunConfig.make({"space": "as-vit", "proxies": ["ntk_condition"], "data": data, "img_size": 32}))
        for data in ("digits", "random")
    ]
    first, second = ({score.name: score.identity.input_hash for score in plan.scores} for plan in plans)
    assert first["ntk_condition"] != second["ntk_condition"] != ""
    assert first["length_distortion"] == second["length_distortion"] == ""


def test_what_is_no_folder_is_called_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for name in ("pipe", "file"):
        with pytest.raises(raynas.RaynasError, match=f"{name} is no folder$"):
            raynas.search(out=tmp_path / name, budget=1)
