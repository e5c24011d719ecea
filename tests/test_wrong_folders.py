"""Run folders of any content: each ends a command with one line on standard error, and nothing is written.

Any place of their texts is given any value, and any file of theirs is one of another kind.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_input import (
    KINDS,
    MOST_S,
    NO_MAPPING,
    VALUES,
    bomb,
    check_refused,
    content,
    ended,
    fresh,
    places,
    prepared,
    several,
    with_value,
)


@pytest.fixture(scope="module", autouse=True)
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield from prepared(tmp_path_factory.mktemp("imports"))


FOLDERS = Path(__file__).parent / "folders"
SEARCH, TRAINING = FOLDERS / "search_39bb60e", FOLDERS / "training_39bb60e"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["run.yaml", "summary.json", "evaluations", ".lock", "metrics.parquet",
                                  "evaluations/part-00000000-00000000.parquet"])  # fmt: skip
def test_folders_that_hold_no_regular_files(kind: str, name: str, tmp_path: Path) -> None:
    """Pages and sources are made without, or refused; what is resumed takes no part for one that is none."""
    for original in (SEARCH, TRAINING):
        folder = Path(shutil.copytree(original, tmp_path / original.name / "run"))
        if not (folder / name).parent.exists() or (name == "metrics.parquet") != (original == TRAINING):
            continue
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        KINDS[kind](path)
        started = time.process_time()
        for command in (
            ["report", str(folder)],
            ["export", "--untrained", str(folder), "--out", str(tmp_path / "new")],
        ):
            status, _, err = ended(*command)
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
            if status:
                assert err.count("\n") == 1 and err.startswith("raynas: "), err
            if name == "run.yaml":
                assert status == 1
        assert time.process_time() - started < 4 * MOST_S


# -- run folders -------------------------------------------------------------------------------------------------------

READ: tuple[tuple[Path, str, list[str]], ...] = (
    (SEARCH, "run.yaml", ["report", "{}"]),
    (SEARCH, "run.yaml", ["search", "--resume", "--out", "{}"]),
    (SEARCH, "run.yaml", ["score", "--resume", "--out", "{}"]),
    (SEARCH, "run.yaml", ["scale", "{}", "--out", "{}-new"]),
    (SEARCH, "run.yaml", ["train", "{}", "--out", "{}-new"]),
    (SEARCH, "run.yaml", ["train", "--finalists", "{}", "--out", "{}-new"]),
    (SEARCH, "run.yaml", ["bench", "proxies", "--resume", "--out", "{}"]),
    (SEARCH, "summary.json", ["report", "{}"]),
    (SEARCH, "summary.json", ["scale", "{}", "--out", "{}-new"]),
    (SEARCH, "summary.json", ["train", "{}", "--out", "{}-new"]),
    (TRAINING, "run.yaml", ["report", "{}"]),
    (TRAINING, "run.yaml", ["train", "--resume", "--out", "{}"]),
    (TRAINING, "run.yaml", ["export", "{}", "--out", "{}-new"]),
    (TRAINING, "run.yaml", ["distill", "as-vit-small", "--data", "digits", "--teacher", "{}", "--out", "{}-new"]),
    (TRAINING, "summary.json", ["report", "{}"]),
)


@several
@given(text=NO_MAPPING, case=st.sampled_from(READ))
def test_run_folders_whose_files_are_none(tmp_path: Path, text: bytes, case: tuple[Path, str, list[str]]) -> None:
    original, name, command = case
    example = fresh(tmp_path)
    folder = Path(shutil.copytree(original, example / "run"))
    (folder / name).write_bytes(text)
    check_refused(example, *[part.format(folder) for part in command])


@pytest.mark.slow
@settings(several, max_examples=250)
@given(data=st.data(), case=st.sampled_from([case for case in READ if case[2][0] != "train" or "--resume" in case[2]]))
def test_run_folders_with_any_value_at_any_place(
    tmp_path: Path, data: st.DataObject, case: tuple[Path, str, list[str]]
) -> None:
    """What is said of a folder may still be read, or is refused in one line; no place of it ends in a traceback."""
    original, name, command = case
    example = fresh(tmp_path)
    folder = Path(shutil.copytree(original, example / "run"))
    path = folder / name
    stored = yaml.safe_load(path.read_text())
    if command[0] == "search":  # would go on with all that is the same
        place = data.draw(st.sampled_from([one for one in places(stored) if one[0] == "identity"]))
    else:
        place = data.draw(st.sampled_from(list(places(stored))))
    value = data.draw(VALUES)
    old: Any = stored
    for key in place:
        old = old[key]
    if type(old) is type(value):
        value = [[]]
    changed = with_value(stored, place, value)
    path.write_text(yaml.safe_dump(changed) if name == "run.yaml" else json.dumps(changed))
    if command[0] in ("score", "bench") or command[:2] == ["train", "--resume"]:
        command = [*command, "--batch-size", "3"]  # refused or another run in any case, so that nothing is computed
    if command[0] == "scale":
        command = [*command, "--stop", "num_params>=1"]
    before = content(example)
    status, _, err = ended(*[part.format(folder) for part in command])
    if status:
        assert (status, err.count("\n")) == (1, 1) and err.startswith("raynas: "), err
        assert err[:-1].isprintable()
        assert content(example) == before
    else:
        assert command[0] in ("report",), (place, value)


# -- as commands -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wrong_files_as_commands(tmp_path: Path) -> None:
    """One process runs the commands of a text, with all that it would print, since it takes seconds to come up."""
    texts = [b"\xff\xfe", b"[" * 50_000, bomb(), b"budget: 1.0e400\n", b"budget: true\n", b"null\n", b"a: 1\na: 2\n",
             b"- 1\n", b"budget: " + b"9" * 400, b"budget: 5\0"]  # fmt: skip
    program = (
        "import sys\n"
        "from raynas.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n"
        "        main(line.split())\n"
        "    except SystemExit as end:\n"
        "        print(end.code, file=sys.stderr)\n"
    )
    commands = ["search as-vit --config file --out run", "report search", "scale file --out run"]
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(text)
        shutil.copytree(SEARCH, folder / "search")
        (folder / "search" / "run.yaml").write_bytes(text)
        before = content(folder)
        done = subprocess.run(
            [sys.executable, "-c", program, *commands], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, ""), (text, done.stderr)
        said = done.stderr.splitlines()
        assert len(said) == 2 * len(commands) and said[1::2] == ["1"] * len(commands), (text, done.stderr)
        assert all(line.startswith("raynas: ") for line in said[::2])
        assert content(folder) == before
