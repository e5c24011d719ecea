"""Files of input of any kind: each ends a command with one line on standard error, and nothing is written.

What is wrong with a file is generated: its kind, its encoding, its form, and its values. The right answer, that it is
refused, follows from how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from wrong_input import HUGE, KINDS, NO_MAPPING, UNPARSED, VALUES, check_refused, fresh, prepared, several, wrong_fields

from raynas.searching.config import RunConfig
from raynas.training.config import TrainConfig


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
