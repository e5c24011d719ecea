"""What a caller gives stands over a file, and a file over the run that is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import raynas
from raynas import api
from raynas.api.layers import base_values, laid_over
from raynas.bench.config import BenchConfig
from raynas.config import Config
from raynas.errors import ConfigError, RaynasError, StoreError
from raynas.latency.config import LatencyConfig
from raynas.searching.config import KIND, RunConfig
from raynas.searching.run import SearchListener
from raynas.sweeps.config import SweepConfig
from raynas.sweeps.run import SweepListener


def base(folder: Path, **settings: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"config": None, "out": folder, "resume": True, **settings}
    return base_values(RunConfig, KIND, given={}, **given)


def stored(folder: Path, kind: str = "search", **config: Any) -> Path:
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump({"kind": kind, "config": config, "identity": {}}))
    return folder


def test_a_file_stands_over_the_stored_run(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", seed=1, budget=20, space="vit")
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 2\nwindow: 4\n")
    assert base(folder, config=file) == {"seed": 2, "budget": 20, "space": "vit", "window": 4}
    assert base(folder, config=file, resume=False) == {"seed": 2, "window": 4}
    assert base(tmp_path / "none") == {}


def test_a_run_of_another_kind_is_not_resumed(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", "training", epochs=3)
    with pytest.raises(StoreError, match="holds a run of the kind training, not search"):
        base(folder)
    with pytest.raises(ConfigError, match="--resume needs --out"):
        base(folder, out=None)


def test_what_is_given_stands_over_both_and_settings_setting_by_setting() -> None:
    below = {"seed": 1, "budget": 20, "settings": {"a": {"x": 1, "y": 2}, "b": {"z": 3}}}
    above = {"seed": 2, "budget": None, "settings": {"a": {"y": 5}, "c": {"w": 6}}}
    assert laid_over(below, above) == {
        "seed": 2, "budget": 20, "settings": {"a": {"x": 1, "y": 5}, "b": {"z": 3}, "c": {"w": 6}},
    }  # fmt: skip
    assert laid_over(below, {"settings": None}) == below
    assert below["settings"] == {"a": {"x": 1, "y": 2}, "b": {"z": 3}}


def test_a_search_goes_on_in_python_as_on_the_command_line(tmp_path: Path) -> None:
    costs: dict[str, Any] = {"objectives": ["macs:min"], "searcher": "random", "workers": 0, "seed": 4}
    raynas.search("as-vit", out=tmp_path / "run", budget=3, listener=SearchListener(), **costs)
    again = api.search(out=tmp_path / "run", resume=True, budget=5, listener=SearchListener())
    config = again.description["config"]
    assert (config["seed"], config["searcher"], again.summary["evaluations"]) == (4, "random", 5)
    with pytest.raises(StoreError, match="seed was 4 and is now 0"):
        api.search(out=tmp_path / "run", resume=True, seed=0, listener=SearchListener())


def test_a_file_says_what_is_searched(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text("space: as-vit\nobjectives: [macs:min]\nsearcher: random\nworkers: 0\nbudget: 9\n")
    run = api.search(config=file, budget=2, out=tmp_path / "run", listener=SearchListener())
    assert run.summary["evaluations"] == 2
    assert run.description["config"]["objectives"] == ["macs:min"]


@pytest.mark.parametrize("config", [SweepConfig, BenchConfig, LatencyConfig])
def test_one_text_is_taken_for_several(config: type[Config]) -> None:
    lists = {
        name: field
        for name, field in config.model_fields.items()
        if "tuple[str, ...]" in str(field.annotation) and "tuple[tuple" not in str(field.annotation)
    }
    assert lists
    for name in lists:
        told: list[str] = []
        for value in ("torch", ["torch"]):
            try:
                told.append(repr(getattr(config.make({"space": "vit", name: value}), name)))
            except ConfigError as error:
                told.append(str(error))
        assert told[0] == told[1], name


def test_arguments_of_several_take_one(tmp_path: Path) -> None:
    silent = {"workers": 0, "listener": SearchListener(), "space": "vit", "img_size": 32}
    first = api.search(
        objectives="num_params:max", constraints="num_params<=2e6", budget=3, searcher="random",
        out=tmp_path / "first", **silent,
    )  # fmt: skip
    assert first.description["config"]["objectives"] == ["num_params:max"]
    assert first.description["config"]["constraints"] == ["num_params<=2e6"]
    one = {"architectures": "p8-w24-d3-h3-m2", "proxies": "naswot", **silent}
    scored = api.score(out=tmp_path / "scored", **one)
    again = api.score(reuse=tmp_path / "scored", out=tmp_path / "again", **one)
    assert [run.summary["evaluations"] for run in (scored, again)] == [1, 1]
    assert (scored.summary["reused"], again.summary["reused"]) == (0, 1)
    with pytest.raises(RaynasError, match=r"^unknown searcher 'no-such'"):
        api.sweep(
            searchers="no-such", objectives="num_params:max", repeat=2, budget=2,
            out=tmp_path / "sweep", **{**silent, "listener": SweepListener()},
        )  # fmt: skip
    assert not (tmp_path / "sweep").exists()
    with pytest.raises(ConfigError, match=r"nothing meets num_params<=1|num_params"):
        api.measure_latency(first.folder, pick="num_params<=1", engines="torch", runs=2)


def test_scores_are_those_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "architectures.txt"
    table.write_text("as-vit-small\n8,2,3|4,1,2|4,1,4|4,1,6|32\n")
    run = api.score("as-vit", table, proxies=["macs"], workers=0, out=tmp_path / "run", listener=SearchListener())
    assert run.table.num_rows == 2
    with pytest.raises(ConfigError, match="scale takes a SOURCE"):
        api.scale(out=tmp_path / "family", listener=SearchListener())
    assert not (tmp_path / "family").exists()
