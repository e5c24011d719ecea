"""A band is two bounds on one cost or score, on the command line, in files and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_runs import content, search

import raynas
from raynas.cli import main
from raynas.errors import ConfigError, RaynasError
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.space.results import Constraint, parse_band

RESNAS = {"space": "vit-res-small", "num_classes": 1000, "objectives": ["length_distortion"]}


def plan(**settings: Any) -> Any:
    return make_plan(RunConfig.make({"space": "as-vit", "img_size": 32, "searcher": "evolution", **settings}))


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("macs:1.7e9:1.7944e9", 1.7e9, 1.7944e9), ("num-params: 5 : 5", 5, 5), ("naswot:-3:1e-2", -3, 0.01)],
)
def test_a_band_is_two_constraints(text: str, low: float, high: float) -> None:
    name = text.partition(":")[0].replace("-", "_")
    assert parse_band(text) == (Constraint(name, ">=", low), Constraint(name, "<=", high))


@pytest.mark.parametrize("text", ["macs", "macs:1", "macs:1:2:3", "macs:x:2", "macs:1:", ":1:2", "macs:nan:2", ""])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a band is NAME:LOW:HIGH, such as macs:1\.75e9:1\.79e9, not "):
        parse_band(text)


def test_a_band_makes_the_run_that_its_two_constraints_make() -> None:
    band, bounds = plan(bands=["num_params:1e6:1.5e6"]), plan(constraints=["num_params>=1e6", "num_params<=1.5e6"])
    assert band.identity() == bounds.identity()
    both = plan(bands=["num_params:1e6:1.5e6"], constraints=["num_params<=1.5e6", "naswot>=0"])
    assert list(map(str, both.constraints)) == ["num_params<=1.5e+06", "naswot>=0", "num_params>=1e+06"]
    assert "naswot" in [score.name for score in both.scores]


@pytest.mark.parametrize("searcher", ["evolution", "random", "reinforce"])
def test_what_is_scored_lies_in_the_band_and_a_run_goes_on_with_it(tmp_path: Path, searcher: str) -> None:
    settings: dict[str, Any] = {"searcher": searcher, "bands": ["num_params:480:520"]}
    whole = search(tmp_path / "whole", **settings, budget=50)
    search(tmp_path / "parts", **settings, budget=20)
    assert content(search(tmp_path / "parts", resume=True, **settings, budget=50)) == content(whole)
    inside = [480 <= row["num_params"] <= 520 for row in whole.table.to_pylist()]
    assert len(inside) >= 20 and (all(inside) or searcher == "reinforce")


@pytest.mark.parametrize("settings", [{"bands": ["macs:4.485e9:4.6e9"]}, {"bands": ["macs:6.2e9:6.26e9"]}])
def test_a_band_that_uniform_draws_hardly_meet_is_taken(settings: dict[str, Any]) -> None:
    assert len(make_plan(RunConfig.make({**RESNAS, **settings})).searcher().ask(5)) > 0


BAD = [
    (["macs:1"], "a band is NAME:LOW:HIGH, such as macs:1.75e9:1.79e9, not 'macs:1'"),
    (["macs:2e9:1e9"], "the band 'macs:2e9:1e9' has its low bound 2e+09 above its high bound 1e+09"),
    (["latencies:1:2"], "unknown score 'latencies'. Did you mean 'latency_ms'"),
    # Of as-vit at 32 pixels with 10 classes the smallest network has 12 million multiply-adds or so.
    (["macs:1e3:2e3"], "tried in as-vit meets the band macs:1000:2000: macs is from "),
    (["macs:1e9:2e9"], "tried in as-vit meets the band macs:1e+09:2e+09: macs is from "),
    (["macs:18000000.1:18000000.2"], "meets the band macs:18000000.1:18000000.2: macs is from "),
]


@pytest.mark.parametrize(("bands", "message"), BAD)
def test_bad_bands_are_one_line_before_anything_starts(
    tmp_path: Path, bands: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = [part for band in bands for part in ("--band", band)]
    assert run("search", "as-vit", "--img-size", "32", *given, "--workers", "0", "--out", str(out)) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.exists()
    with pytest.raises(RaynasError) as raised:
        raynas.search("as-vit", img_size=32, bands=bands, workers=0, out=out)
    assert message in str(raised.value)


def test_the_lowest_and_the_highest_cost_are_named() -> None:
    space = plan().space
    costs = [space.macs(extreme, 32, 10) for extreme in (space.smallest(), space.largest())]
    with pytest.raises(ConfigError) as raised:
        plan(bands=["macs:1e9:2e9"])
    low, high = (int(text.replace(",", "")) for text in str(raised.value).partition("is from ")[2].split(" to "))
    assert low <= min(costs) and high >= max(costs)


def test_bands_come_from_the_command_line_and_from_files(tmp_path: Path) -> None:
    values = {"space": "as-vit", "img_size": 32, "searcher": "evolution", "budget": 3, "workers": 0}
    small = {"settings": {"length_distortion": {"repeats": 1}}}
    for name, in_file, typed in (("file", {"bands": ["num_params:1e6:1.5e6"]}, []), ("typed", {}, ["--band"])):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**values, **small, **in_file}))
        given = [*typed, "num_params:1e6:1.5e6"] if typed else []
        assert run("search", "--config", str(file), *given, "--out", str(tmp_path / name)) == 0
        found = raynas.load_run(tmp_path / name)
        assert found.description["config"]["bands"] == ["num_params:1e6:1.5e6"]
        assert found.description["identity"]["constraints"] == ["num_params>=1e+06", "num_params<=1.5e+06"]
        assert all(1e6 <= row["num_params"] <= 1.5e6 for row in found.table.to_pylist())
    assert raynas.load_run(tmp_path / "file").table.num_rows == 3
