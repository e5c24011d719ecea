"""Folders from elsewhere are data: no command runs what they name or hold, unless the user names it or trusts them."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from report_folders import epoch_rows, sampled_rows, write_finalists, write_folder, write_training
from toy_runs import search
from toy_sweeps import small_space, sweep

import raynas
from raynas.cli import main
from raynas.errors import RaynasError
from raynas.registry import named_code
from raynas.space.registered import spaces
from raynas.storage.sources import read_source

FOLDERS = Path(__file__).parent / "folders"
LEAVES_A_MARK = "from pathlib import Path\nPath(__file__).with_suffix('.mark').touch()\n"
REFUSED = "holds code that a folder names, and you have not"


@pytest.fixture(autouse=True)
def imported_anew() -> Iterator[None]:
    """Files of one test are not imported before the next one."""
    before = set(sys.modules)
    yield
    forget(before)


def forget(before: set[str]) -> None:
    """Forget files of users that were imported since, as a later process would not know of them."""
    for name in [name for name in sys.modules if name.startswith("raynas_file_") and name not in before]:
        del sys.modules[name]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A file that leaves a mark beside it when it is run."""
    file = tmp_path / "theirs.py"
    file.write_text(LEAVES_A_MARK)
    return file


def is_run(code: Path) -> bool:
    return code.with_suffix(".mark").exists()


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The status of a command, and what it said on standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert isinstance(end.value.code, int | None)
    return end.value.code or 0, capsys.readouterr().err


def benchmark_folder(to: Path, **config: Any) -> Path:
    search_folder(to, **config, architectures=[])
    rng = np.random.default_rng(0)
    drawn = [spaces.get("as-vit").sample(rng) for _ in range(4)]
    columns = {"architecture": [one.to_json() for one in drawn], "text": [one.to_json() for one in drawn]}
    columns |= {"row": [1, 2, 3, 4], "merged": [1] * 4, "label.top1": [0.1, 0.2, 0.3, 0.4]}
    pq.write_table(pa.table(columns).replace_schema_metadata({"total": "4"}), to / "truth.parquet")
    (to / "bench.yaml").write_text(yaml.safe_dump({"settings": {"labels": ["top1"]}, "about": {}}))
    return to


def search_folder(to: Path, **config: Any) -> Path:
    shutil.copytree(FOLDERS / "search_39bb60e", to)
    return described(to, **config)


def training_folder(to: Path, **config: Any) -> Path:
    shutil.copytree(FOLDERS / "training_39bb60e", to)
    return described(to, **config)


def variants_folder(to: Path, **config: Any) -> Path:
    trial = {"top1": 0.5, "epochs_done": 2, "status": "completed", "score": {}, "settings": {"lr": 0.1}}
    write_finalists(to, [trial, trial], kind="variants", epochs=2)
    content = yaml.safe_load((to / "run.yaml").read_text())
    architecture = spaces.get("as-vit").largest().to_json()
    training = {"space": "as-vit", "architecture": architecture, "img_size": 32, **config.get("training", {})}
    content["config"] = {"vary": config.get("vary", {"lr": [1e-3, 1e-4]}), "training": training}
    (to / "run.yaml").write_text(yaml.safe_dump(content))
    if "space" in training:
        for folder in to.glob("finalist-*"):
            (folder / "run.yaml").write_text(
                (folder / "run.yaml").read_text().replace("space: as-vit", f"space: {training['space']}")
            )
    return to


def described(folder: Path, **config: Any) -> Path:
    """The folder with other settings in its run.yaml, also where its model is described."""
    content = yaml.safe_load((folder / "run.yaml").read_text())
    content["config"] |= config
    if "model" in content:  # as a teacher, it has to have weights
        (folder / "checkpoints").mkdir()
        state = {"model": {}, "ema": None, "epoch": 1, "step": 0, "history": []}
        torch.save(state, folder / "checkpoints" / "last.pt")
    if "space" in config and "model" in content:
        content["model"]["space"] = config["space"]
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    return folder


NAMING: dict[str, tuple[Callable[..., Path], Callable[[str], dict[str, Any]], list[str]]] = {
    "a search's space, resumed": (search_folder, lambda it: {"space": it}, ["search", "--resume", "--out"]),
    "a search's space, scored on": (search_folder, lambda it: {"space": it}, ["score", "--resume", "--out"]),
    "a search's proxy": (search_folder, lambda it: {"proxies": [it]}, ["search", "--resume", "--out"]),
    "a search's searcher": (search_folder, lambda it: {"searcher": it}, ["search", "--resume", "--out"]),
    "a search's space, trained": (search_folder, lambda it: {"space": it}, ["train"]),
    "a search's space, its finalists": (search_folder, lambda it: {"space": it}, ["train", "--finalists"]),
    "a search's space, grown": (search_folder, lambda it: {"space": it}, ["scale"]),
    "a search's space, exported": (search_folder, lambda it: {"space": it}, ["export", "--untrained"]),
    "a training's space, resumed": (training_folder, lambda it: {"space": it}, ["train", "--resume", "--out"]),
    "a training's objective": (training_folder, lambda it: {"objective": it}, ["train", "--resume", "--out"]),
    "variants' objective": (variants_folder, lambda it: {"training": {"objective": it}}, [
        "train", "--resume", "--out"
    ]),
    "an objective of some variants": (variants_folder, lambda it: {"vary": {"objective": [it, "classification"]}}, [
        "train", "--resume", "--out"
    ]),
    "variants' space, exported": (variants_folder, lambda it: {"training": {"space": it}}, ["export"]),
    "a training's space, exported": (training_folder, lambda it: {"space": it}, ["export"]),
    "a benchmark's proxy": (benchmark_folder, lambda it: {"proxies": [it]}, ["bench", "proxies", "--resume", "--out"]),
    "a teacher's space": (training_folder, lambda it: {"space": it}, [
        "distill", "as-vit-small", "--data", "digits", "--img-size", "32", "--teacher"
    ]),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMING)
def test_code_that_a_folder_names_is_run_only_for_those_who_trust_it(
    case: str, code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, config, command = NAMING[case]
    folder = make(tmp_path / "theirs", **config(f"{code}:thing"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, said = ended(capsys, *command, str(folder))
    assert (status, said.count("\n")) == (1, 1), said
    assert REFUSED in said
    assert "--trust-code" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not is_run(code)
    _, said = ended(capsys, *command, str(folder), "--trust-code")
    assert is_run(code), said
    assert "has no" in said  # it registers nothing


def test_a_page_of_a_folder_that_names_code_is_made_without_it(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for make in (search_folder, training_folder):
        folder = make(tmp_path / make.__name__, space=f"{code}:thing")
        assert ended(capsys, "report", str(folder))[0] == 0
    assert not is_run(code)


def test_what_the_user_names_needs_no_flag_also_where_a_folder_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    file = Path("mine.py")
    examples = Path(__file__).resolve().parents[1] / "examples"
    file.write_text((examples / "own_space.py").read_text() + LEAVES_A_MARK)
    mark = tmp_path / "mine.mark"
    small = ["--objective", "num_params:min", "--searcher", "random", "--workers", "0", "--out", "run"]
    assert ended(capsys, "search", "mine.py:convnets", "--budget", "2", *small)[0] == 0
    forget(before)
    mark.unlink()
    status, said = ended(capsys, "search", "--resume", "--out", "run", "--budget", "3")
    assert (status, REFUSED in said, mark.exists()) == (1, True, False)
    assert ended(capsys, "search", "mine.py:convnets", "--resume", "--out", "run", "--budget", "3")[0] == 0
    assert mark.exists()
    # Imported by now, it is the user's in this process.
    assert ended(capsys, "search", "--resume", "--out", "run", "--budget", "4")[0] == 0
    assert raynas.load_run("run").space.name == "convnets"


def test_a_file_of_settings_that_the_user_names_may_name_code(
    code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"space": f"{code}:thing"}))
    _, said = ended(capsys, "search", "--config", str(tmp_path / "settings.yaml"), "--out", str(tmp_path / "run"))
    assert "has no space 'thing'" in said
    assert is_run(code)


def test_a_program_names_what_it_asks_registries_for_and_reading_names_nothing(code: Path, tmp_path: Path) -> None:
    run = raynas.load_run(search_folder(tmp_path / "search", space=f"{code}:thing"))
    training = raynas.load_training(training_folder(tmp_path / "training", space=f"{code}:thing"))
    for read in (lambda: run.space, training.model, lambda: read_source(str(run.folder))):
        with pytest.raises(RaynasError):
            read()
        assert not is_run(code)
    with pytest.raises(RaynasError, match="has no space"):
        spaces.get(f"{code}:thing")
    assert is_run(code)


def test_files_that_own_code_asks_for_are_its_own(tmp_path: Path) -> None:
    other, code = tmp_path / "other.py", tmp_path / "own.py"
    other.write_text((Path(__file__).resolve().parents[1] / "examples" / "own_space.py").read_text())
    code.write_text(f"from raynas.space.registered import spaces\nconvnets = spaces.get({f'{other}:convnets'!r})\n")
    with named_code(f"{code}:convnets"):
        assert spaces.get(f"{code}:convnets").name == "convnets"


def test_a_cluster_that_a_folder_names_is_not_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = search_folder(tmp_path / "run", address="203.0.113.5:6379", workers=1)
    status, said = ended(capsys, "search", "--resume", "--out", str(folder))
    assert (status, said.count("\n")) == (1, 1)
    assert "the folder says that its run is to go on at the address 203.0.113.5:6379" in said
    for allowed in (["--address", "127.0.0.1:1"], ["--trust-code", "--address", "127.0.0.1:1"]):
        status, said = ended(capsys, "search", "--resume", "--out", str(folder), *allowed)
        assert (status, "cannot join the Ray cluster at '127.0.0.1:1'" in said) == (1, True), said


def test_a_timm_model_is_made_of_names_that_timm_lists(tmp_path: Path) -> None:
    folder = training_folder(tmp_path / "training", space="timm")
    content = yaml.safe_load((folder / "run.yaml").read_text())
    content["model"]["architecture"] = {"name": f"local-dir:{tmp_path}"}
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RaynasError, match="no model is called 'local-dir:"):
        raynas.load_training(folder).model()


# -- pickles -----------------------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


TUNE = ("tuner.pkl", "trainable.pkl", "searcher-state-2026-01-01_00-00-00.pkl", "search_gen_state-x.json", ".validate")


def armed(folder: Path, mark: Path) -> Path:
    """The folder with a pickle in place of all that is no text, and wherever Tune, Train or torch look for one."""
    bomb = pickle.dumps(Bomb(mark))
    for path in [*folder.rglob("*.parquet"), *folder.rglob("*.pt"), *folder.rglob("*.pkl")]:
        path.write_bytes(bomb)
    for name in TUNE:
        (folder / "tune").mkdir(exist_ok=True)
        (folder / "tune" / name).write_bytes(bomb)
    state = {"checkpoints": [], "runner_data": {"_session": bomb.hex()}, "stats": {}}
    (folder / "tune" / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps(state))
    for where in ("checkpoints/last.pt", "checkpoints/best.pt", ".ray_train/session-a/trainer.pkl"):
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        (folder / where).write_bytes(bomb)
    return folder


def test_a_bomb_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


COMMANDS = (
    ["report", "{}"],
    ["search", "--resume", "--out", "{}", "--workers", "0"],
    ["score", "as-vit", "--samples", "2", "-p", "macs", "--workers", "0", "--reuse", "{}", "--out", "{}/../new"],
    ["scale", "{}", "--workers", "0", "--stop", "num_params>=1", "--out", "{}/../new"],
    ["train", "{}", "--out", "{}/../new", "--max-images", "10", "--img-size", "32"],
    ["train", "--resume", "--out", "{}"],
    ["train", "--finalists", "{}", "--out", "{}/../new"],
    ["distill", "as-vit-small", "--data", "digits", "--img-size", "32", "--teacher", "{}", "--out", "{}/../new"],
    ["distill", "as-vit-small", "--data", "digits", "--img-size", "32", "--teacher", "{}/checkpoints/last.pt", "--out",
     "{}/../new"],
    ["train", "as-vit-small", "--data", "digits", "--img-size", "32", "--weights", "{}/checkpoints/last.pt", "--out",
     "{}/../new"],
    ["export", "{}", "--out", "{}/../new"],
    ["bench", "proxies", "--resume", "--out", "{}"],
)  # fmt: skip


@pytest.mark.parametrize("kind", ["search", "training", "finalists", "variants"])
def test_no_command_unpickles_what_a_folder_holds(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, command in enumerate(COMMANDS):
        folder = tmp_path / str(number) / "theirs"
        if kind == "search":
            write_folder(folder, sampled_rows(3), objectives=["length_distortion:max"])
        elif kind == "training":
            write_training(folder, epoch_rows(2, macs=1000), epochs=3)
        else:
            trial = {"top1": 0.5, "epochs_done": 2, "status": "completed", "score": {}}
            settings = {"settings": {"lr": 0.1}} if kind == "variants" else {}
            write_finalists(folder, [trial | settings, {**trial, **settings, "epochs_done": 6}], kind=kind)
        armed(folder, tmp_path / "mark")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files are named by warnings
            status, said = ended(capsys, *[part.format(folder) for part in command])
        assert not (tmp_path / "mark").exists(), command
        assert "Traceback" not in said
        assert status == 0 or said.strip().splitlines()[-1].startswith("raynas: "), (command, said)


def test_checkpoints_of_every_form_are_read_without_what_is_in_them(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for is_zip in (True, False):
        file = tmp_path / "weights.pt"
        torch.save({"model": {"weight": Bomb(mark)}}, file, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(RaynasError):
            raynas.train("as-vit-small", data="digits", img_size=32, weights=str(file), out=tmp_path / "run")
    assert not mark.exists()


@pytest.mark.long
def test_what_tune_left_in_a_sweep_is_removed_unread_and_the_sweep_goes_on(tmp_path: Path) -> None:
    folder, mark = tmp_path / "sweep", tmp_path / "mark"
    settings: dict[str, Any] = {"repeat": 1, "searchers": ["random"], "workers": 0}
    sweep(folder, budget=10, **settings)
    assert not (folder / "tune").exists()
    (folder / "tune").mkdir()
    for name in TUNE:
        (folder / "tune" / name).write_bytes(pickle.dumps(Bomb(mark)))
    (folder / "tune" / "experiment_state-2026-01-01_00-00-00.json").write_text("{}")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    grown = sweep(folder, resume=True, budget=20, **settings)
    assert grown.summary["status"] == "completed"
    assert not mark.exists()
    assert not (folder / "tune").exists()
    (folder / "tune").symlink_to(outside)
    with pytest.raises(RaynasError, match="holds a link that leads out of it, tune"):
        sweep(folder, resume=True, budget=30, **settings)
    (folder / "tune").unlink()
    assert sweep(folder, resume=True, budget=30, **settings).summary["status"] == "completed"
    assert [path.name for path in outside.iterdir()] == ["kept"]
    alone = search(tmp_path / "alone", space=small_space(), searcher="random", budget=30, window=4)
    assert grown.runs["random-seed0"].table.num_rows <= alone.table.num_rows
    assert raynas.load_run(folder / "random-seed0").table.equals(alone.table)
