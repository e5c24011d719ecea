"""Files of input of any kind: each ends a command with one line on standard error, and nothing is written.

What is wrong with a file is generated: its kind, its encoding, its form, and its values. The right answer, that it is
refused, follows from how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command
from wrong_input import (
    BEYOND_USE,
    HUGE,
    KINDS,
    NO_MAPPING,
    UNPARSED,
    VALUES,
    check_refused,
    counted_fields,
    fresh,
    prepared,
    several,
    wrong_fields,
)

import raynas
from raynas.analysis.config import AnalysisConfig
from raynas.bench.config import BenchConfig, BenchSettings
from raynas.cli import app
from raynas.config import Config
from raynas.errors import ConfigError
from raynas.evaluation.config import EvaluateConfig, PassConfig, PredictConfig
from raynas.exporting.config import ExportConfig
from raynas.finalists.config import FinalistsConfig
from raynas.latency.config import LatencyConfig, LearnConfig
from raynas.proxies.registered import proxies
from raynas.registry import Registry
from raynas.searchers.base import own_settings
from raynas.searchers.registered import searchers
from raynas.searching.config import ResolvedRun, RunConfig
from raynas.searching.run import SearchListener
from raynas.space.registered import spaces
from raynas.space.results import Objective
from raynas.sweeps.config import ResolvedSweep, SweepConfig
from raynas.training.config import ResolvedTraining, TrainConfig
from raynas.training.plan import make_training_plan
from raynas.trials.config import TrialsConfig
from raynas.variants.config import VariantsConfig


@pytest.fixture(scope="module", autouse=True)
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield from prepared(tmp_path_factory.mktemp("imports"))


# -- files of settings -------------------------------------------------------------------------------------------------

TAKE_SETTINGS: tuple[list[str], ...] = (
    ["search", "as-vit"],
    ["score", "as-vit", "--samples", "2"],
    ["scale", "as-vit-small"],
    ["train", "as-vit-small"],
    ["bench", "proxies", "--space", "vit"],
)


@several
@given(text=NO_MAPPING, command=st.sampled_from(TAKE_SETTINGS))
def test_files_of_settings_that_are_none(tmp_path: Path, text: bytes, command: list[str]) -> None:
    folder = fresh(tmp_path)
    (folder / "settings.yaml").write_bytes(text)
    check_refused(folder, *command, "--config", str(folder / "settings.yaml"), "--out", str(folder / "run"))


@several
@given(fields=wrong_fields(RunConfig), command=st.sampled_from(TAKE_SETTINGS[:3]))
def test_settings_of_searches_that_no_field_takes(tmp_path: Path, fields: dict[str, Any], command: list[str]) -> None:
    folder = fresh(tmp_path)
    (folder / "settings.yaml").write_text(yaml.safe_dump(fields))
    check_refused(folder, *command, "--config", str(folder / "settings.yaml"), "--out", str(folder / "run"))


@several
@given(fields=wrong_fields(TrainConfig))
def test_settings_of_trainings_that_no_field_takes(tmp_path: Path, fields: dict[str, Any]) -> None:
    folder = fresh(tmp_path)
    (folder / "settings.yaml").write_text(yaml.safe_dump(fields))
    arguments = ["train", "as-vit-small", "--config", str(folder / "settings.yaml"), "--data", "digits"]
    check_refused(folder, *arguments, "--out", str(folder / "run"))


@several
@given(value=UNPARSED.map(bytes.decode) | HUGE)
def test_values_of_set(tmp_path: Path, value: str) -> None:
    folder = fresh(tmp_path)
    for command in (["search", "as-vit", "--set", f"length_distortion.repeats={value}"],
                    ["train", "as-vit-small", "--set", f"mixup={value}"]):  # fmt: skip
        check_refused(folder, *command, "--out", str(folder / "run"))


# -- whole numbers -----------------------------------------------------------------------------------------------------

CONFIGS = (
    RunConfig, ResolvedRun, TrainConfig, ResolvedTraining, TrialsConfig, FinalistsConfig, VariantsConfig,
    SweepConfig, ResolvedSweep, PassConfig, EvaluateConfig, PredictConfig, AnalysisConfig, LatencyConfig, LearnConfig,
    ExportConfig, BenchConfig, BenchSettings,
)  # fmt: skip


def test_all_configurations_are_looked_at() -> None:
    for file in Path(raynas.__file__).parent.rglob("*.py"):
        if file.name in ("config.py", "options.py"):
            import_module(f"raynas.{'.'.join(file.relative_to(Path(raynas.__file__).parent).with_suffix('').parts)}")

    def below(kind: type[Config]) -> set[type[Config]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    with_numbers = {kind for kind in below(Config) if kind.__module__.startswith("raynas.") and counted_fields(kind)}
    assert with_numbers == set(CONFIGS)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_whole_number_has_bounds(config: type[Config]) -> None:
    for name in counted_fields(config):
        for value in (1 - 2**63, -(10**9), -1, BEYOND_USE, 10**18, 2**63 - 1):
            with pytest.raises(ConfigError, match=rf"{name}: .*{value}"):
                config.check_values({name: value})
    for name in ("repeat", "epochs", "img_size", "num_classes", "batch_size", "budget", "window", "threads"):
        if name in config.model_fields:
            with pytest.raises(ConfigError, match=f"{name}: "):
                config.check_values({name: 0})
    assert "img_size" not in config.model_fields or _refuses(config, {"img_size": 8193})


def _refuses(config: type[Config], values: dict[str, Any]) -> bool:
    try:
        config.check_values(values)
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize("kind", ["proxy", "searcher"])
@pytest.mark.parametrize("value", [-(10**9), -1, BEYOND_USE, 2**63 - 1])
def test_every_whole_number_among_settings_has_bounds(kind: str, value: int) -> None:
    registry: Registry[Any] = proxies if kind == "proxy" else searchers
    for name in registry:
        member = registry.get(name)
        given = member.settings if kind == "proxy" else own_settings(member)
        numbers = [one for one, default in given.items() if isinstance(default, int) and not isinstance(default, bool)]
        for setting in [*numbers, *(("repeats", "width_divisor") if kind == "proxy" else ())]:
            with pytest.raises(ConfigError, match=setting):
                if kind == "proxy":
                    member.configured(**{setting: value})
                else:
                    member(spaces.get("as-vit"), (Objective("a"),), **{setting: value})


@pytest.mark.parametrize("searcher", [name for name in searchers if name != "growth"])
def test_whatever_number_a_seed_is_can_be_computed_with(tmp_path: Path, searcher: str) -> None:
    chosen = {"objectives": ["naswot"], "searcher": searcher, "budget": 1, "batch_size": 2, "img_size": 32}
    settings = {"seed": 2**63 - 1, "score_seed": 2**63 - 1, "workers": 0, "out": tmp_path / "run"}
    run = raynas.search("as-vit", listener=SearchListener(), **chosen, **settings)
    assert run.summary["status"] == "completed" and run.summary["failed"] == 0


def test_batches_that_no_memory_holds_are_refused(tmp_path: Path) -> None:
    # Each image of 8192 x 8192 pixels in three channels of four bytes takes three quarters of a GiB.
    big = ["--img-size", "8192", "--batch-size", "999998", "--workers", "0", "--out", str(tmp_path / "run")]
    for command in (
        ["search", "as-vit", "--objective", "naswot"],
        ["score", "as-vit", "--samples", "2", "-p", "naswot"],
    ):
        assert "take 749998.50 GiB of memory" in check_refused(tmp_path, *command, *big)
    many = [
        "--set",
        "naswot.repeats=10000",
        "--img-size",
        "2048",
        "--batch-size",
        "1000",
        "--out",
        str(tmp_path / "run"),
    ]
    assert "repeats must be smaller" in check_refused(tmp_path, "search", "as-vit", "--objective", "naswot", *many)
    one = {"space": "as-vit", "architecture": "as-vit-small", "img_size": 8192, "batch_size": 1600}
    with pytest.raises(ConfigError, match=r"1,600 images of 8,192 pixels a side take 1200\.00 GiB"):
        make_training_plan(TrainConfig.make({**one, "workers": 0}))
    with pytest.raises(ConfigError, match=r"at most there are 1024\.00 GiB: batch_size or img_size must be smaller"):
        make_training_plan(TrainConfig.make({**one, "workers": 1}))
    make_training_plan(TrainConfig.make({**one, "workers": 2}))  # each holds half of them


def options_of(command: tuple[str, ...]) -> set[str]:
    found: Any = get_command(app)
    for word in command:
        if word not in getattr(found, "commands", {}):
            break
        found = found.commands[word]
    return {text for parameter in found.params for text in parameter.opts}


TAKE_NUMBERS: dict[tuple[str, ...], type[Config]] = {
    ("search", "as-vit"): RunConfig,
    ("score", "as-vit", "--samples", "2"): RunConfig,
    ("scale", "as-vit-small"): RunConfig,
    ("search", "as-vit", "--repeat", "2"): SweepConfig,
    ("train", "as-vit-small", "--data", "digits"): TrainConfig,
    ("distill", "as-vit-small", "--data", "digits", "--teacher", "random:resnet8"): TrainConfig,
    ("supernet", "train", "vit-res-nano"): TrainConfig,
    ("train", "--finalists", "none"): FinalistsConfig,
    ("train", "as-vit-small", "--vary", "lr=1,2"): VariantsConfig,
    ("evaluate", "none"): EvaluateConfig,
    ("predict", "none", "--images", "none"): PredictConfig,
    ("analyze", "none", "--data", "digits"): AnalysisConfig,
    ("pretrain", "vit", "-a", "deit-tiny", "--method", "mae", "--data", "digits"): TrainConfig,
    ("finetune", "as-vit-small", "--weights", "none.pt", "--data", "digits"): TrainConfig,
    ("export", "--untrained", "as-vit-small"): ExportConfig,
    ("latency", "as-vit-small"): LatencyConfig,
    ("latency", "as-vit"): LearnConfig,
}


@several
@given(command=st.sampled_from(list(TAKE_NUMBERS)), data=st.data())
def test_numbers_of_the_command_line_that_are_beyond_all_use(
    tmp_path: Path, command: tuple[str, ...], data: st.DataObject
) -> None:
    folder = fresh(tmp_path)
    config = TAKE_NUMBERS[command]
    flags = {f"--{name.replace('_', '-')}" for name in counted_fields(config)} & options_of(command)
    flag = data.draw(st.sampled_from(sorted(flags)))
    number = data.draw(st.integers(BEYOND_USE, 2**63 - 1) | st.integers(1 - 2**63, -1))
    out = ["--out", str(folder / "run")]
    assert str(number) in check_refused(folder, *command, flag, str(number), *out)


# -- architectures and tables ------------------------------------------------------------------------------------------

NOT_ARCHITECTURES = st.one_of(
    NO_MAPPING.filter(lambda some: b"space" not in some or b"\0" in some),
    st.dictionaries(st.text(max_size=6), VALUES, min_size=1, max_size=3).map(lambda some: json.dumps(some).encode()),
    HUGE.map(lambda number: f'{{"embed_dim": {number}}}'.encode()),
)


@several
@given(text=NOT_ARCHITECTURES, command=st.sampled_from(["scale", "train", "export", "score", "inline"]))
def test_architectures_that_are_none(tmp_path: Path, text: bytes, command: str) -> None:
    folder = fresh(tmp_path)
    file = folder / "architecture.json"
    file.write_bytes(text)
    out = ["--out", str(folder / "run")]
    if command == "inline":
        typed = text.decode("latin-1")
        if "\0" not in typed and not typed.startswith("-"):
            check_refused(folder, "score", "as-vit", "--architecture", typed, *out)
    elif command == "score":
        check_refused(folder, "score", "as-vit", "--file", str(file), *out)
    else:
        check_refused(folder, command, str(file), *out)


CELLS = st.one_of(HUGE, st.text(max_size=5), st.sampled_from(["", "nan", "true", "[1]", '"', "a b", "é", "\x1b[2J"]))


@several
@given(
    header=st.lists(st.sampled_from(["embed_dim", "depth", "num_heads", "top1", "x", "", "é"]), max_size=6),
    rows=st.lists(st.lists(CELLS, max_size=6), max_size=6),
    ending=st.sampled_from(["", "\0", '"', "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_tables_that_are_none(
    tmp_path: Path, header: list[str], rows: list[list[str]], ending: str, encoding: str
) -> None:
    folder = fresh(tmp_path)
    file = folder / "table.csv"
    text = "\n".join(",".join(cells) for cells in [header, *rows]) + ending
    file.write_bytes(text.encode(encoding, "replace"))
    check_refused(folder, "bench", "proxies", "--space", "vit", "--truth", str(file), "--label", "top1", "-p", "dss",
                  "--out", str(folder / "run"))  # fmt: skip
    check_refused(folder, "score", "vit", "--file", str(file), "--out", str(folder / "run"))


# -- kinds of files ----------------------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path], list[str]]] = {
    "settings": lambda file: ["search", "as-vit", "--config", str(file)],
    "an architecture": lambda file: ["score", "as-vit", "--file", str(file)],
    "a source": lambda file: ["scale", str(file)],
    "a truth table": lambda file: ["bench", "proxies", "--space", "vit", "--label", "a", "--truth", str(file)],
    "weights": lambda file: ["train", "as-vit-small", "--data", "digits", "--weights", str(file)],
    "safe weights": lambda file: [
        "train", "as-vit-small", "--data", "digits", "--weights", f"{file.rename(f'{file}.safetensors')}"
    ],
    "a teacher": lambda file: ["distill", "as-vit-small", "--data", "digits", "--teacher", f"timm:resnet18:{file}"],
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_no_regular_ones(kind: str, reader: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path / "file")
    check_refused(tmp_path, *READERS[reader](tmp_path / "file"), "--out", str(tmp_path / "run"))
