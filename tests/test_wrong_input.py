"""Input of any kind, by kinds: each ends a command with one line on standard error, and nothing is written.

What is wrong with a file is generated: its kind, its encoding, its form, and the values at any place of it. The right
value, that it is refused, follows from how it was made. Commands run in this process, some of them in their own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raynas.cli import main
from raynas.searching.config import RunConfig
from raynas.training.config import TrainConfig

FOLDERS = Path(__file__).parent / "folders"
SEARCH, TRAINING = FOLDERS / "search_39bb60e", FOLDERS / "training_39bb60e"
MOST_S = 2.0
"""Seconds for one that is wrong, beyond imports."""

# -- what is generated -------------------------------------------------------------------------------------------------

HUGE = st.sampled_from(["1e400", "-1e400", ".inf", "-.inf", ".nan", "NaN", "Infinity", "9" * 400, "-" + "9" * 5000])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def nested(depth: int, open_: str, close: str) -> bytes:
    return (open_ * depth + close * depth).encode()


def bomb() -> bytes:
    """Aliases of aliases: a billion values in some hundred bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


UNREADABLE = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda some: b"\xff" + some),
    st.sampled_from(["utf-16", "utf-32"]).map(lambda name: "budget: 5".encode(name)),
    st.just("# caf\xe9\nspace: as-vit".encode("latin-1")),
    st.integers(0, 8).map(lambda at: b"budget: 5"[:at] + b"\0" + b"budget: 5"[at:]),
)
"""Contents of files that are no text."""

UNPARSED = st.one_of(
    st.integers(100, 100_000).map(lambda depth: nested(depth, "[", "]")),
    st.integers(100, 20_000).map(lambda depth: nested(depth, '{"a":', "}")),
    st.integers(100, 5_000).map(lambda depth: b"- " * depth + b"1"),
    st.just(bomb()),
    st.just(b"space: !!python/object/apply:os.system [id]"),
    st.just(b"space: as-vit\nspace: vit"),
    st.just(b"--- {}\n--- {}\n"),
    st.sampled_from([b"[", b"{", b"a: b: c", b"'", b"%", b"@", b"a: *b"]),
)
"""Texts that are no YAML as settings have it, and no JSON."""

NO_MAPPING = st.one_of(
    UNREADABLE,
    UNPARSED,
    st.just(b""),
    SCALARS.map(lambda value: yaml.safe_dump(value).encode()),
    st.lists(SCALARS, max_size=3).map(lambda value: yaml.safe_dump(value).encode()),
)
"""Contents of files that are no mapping in YAML, and no JSON object."""


def refused_values(config: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Values that a field cannot have, whichever it is: of a type that none of them has, or beyond all numbers."""
    wrong: st.SearchStrategy[Any] = st.one_of(
        st.lists(st.lists(st.just([])), min_size=1, max_size=2),
        st.dictionaries(st.text(min_size=1, max_size=3), st.lists(st.just([])), min_size=1, max_size=2),
    )
    kind = str(config.model_fields[name].annotation)
    if "int" in kind or "float" in kind:
        wrong |= st.booleans() | st.sampled_from([10**400, -(10**19), float("nan"), float("inf"), "many", ""])
    return wrong


def wrong_fields(config: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from([name for name in config.model_fields if name not in ("space", "architecture")])
    wrong = names.flatmap(lambda name: st.tuples(st.just(name), refused_values(config, name)))
    return wrong.map(lambda pair: {pair[0]: pair[1]}) | st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name not in config.model_fields), SCALARS, min_size=1,
        max_size=2,
    )  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all places of a value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = json.loads(json.dumps(value))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


# -- how commands end --------------------------------------------------------------------------------------------------


def ended(*arguments: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged parts are named by warnings
        signal.setitimer(signal.ITIMER_REAL, 30)  # what is not refused may compute for long
        try:
            main(list(arguments))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return status, out.getvalue(), err.getvalue()


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


def check_refused(folder: Path, *arguments: str) -> str:
    """The command ends with one line, within two seconds, and leaves the folder as it is."""
    before = content(folder)
    started = time.perf_counter()
    status, out, err = ended(*arguments)
    took = time.perf_counter() - started
    assert status == 1, (arguments, out, err)
    assert err.count("\n") == 1 and err.startswith("raynas: "), err
    assert err[:-1].isprintable() and len(err) < 4000, err
    assert out == ""
    assert content(folder) == before
    assert took < MOST_S, f"{took:.1f} s"
    return err


def _too_late(*_: object) -> None:
    raise AssertionError("the command was not refused")


@pytest.fixture(scope="module", autouse=True)
def limited() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _too_late)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def imports_are_done(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Torch and what else the first command imports, so that it is not counted."""
    folder = tmp_path_factory.mktemp("imports")
    for command in (["search", "as-vitt"], ["train", "as-vitt"], ["export", "as-vitt"], ["scale", "as-vitt"],
                    ["bench", "proxies", "--space", "vit", "--truth", "none", "--label", "a"],
                    ["train", "--finalists", str(folder)], ["distill", "as-vitt", "--teacher", "none"]):  # fmt: skip
        assert ended(*command, "--out", str(folder / "run"))[0] == 1


several = settings(
    max_examples=60, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def fresh(tmp_path: Path) -> Path:
    """An empty folder, since all examples of a test share its own."""
    folder = tmp_path / "example"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


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


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe": fifo,
    "a socket": unix_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a full device": lambda path: path.symlink_to("/dev/full"),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
}
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
        started = time.perf_counter()
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
        assert time.perf_counter() - started < 4 * MOST_S


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
    texts = [b"\xff\xfe", b"[" * 50_000, bomb(), b"budget: 1.0e400\n", b"budget: true\n", b"null\n", b"a: 1\na: 2\n",
             b"- 1\n", b"budget: " + b"9" * 400, b"budget: 5\0"]  # fmt: skip
    ran = 0
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "file").write_bytes(text)
        shutil.copytree(SEARCH, folder / "search")
        (folder / "search" / "run.yaml").write_bytes(text)
        before = content(folder)
        for command in (["search", "as-vit", "--config", "file", "--out", "run"], ["report", "search"],
                        ["scale", "file", "--out", "run"]):  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "raynas.cli", *command], cwd=folder, capture_output=True, text=True, timeout=60
            )
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), (command, text, done.stderr)
            assert content(folder) == before
            ran += 1
    assert ran == 30
