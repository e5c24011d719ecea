"""Runs say which files of the user's own code have changed since they began."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import raynas
from raynas.errors import StoreError
from raynas.searching.run import SearchListener

SPACE = "from raynas import Choice, SearchSpace\nfrom torch import nn\n\n\ndef model(architecture, **size):\n"
SPACE += (
    "    return nn.Flatten()\n\n\nspace = SearchSpace('own', {'a': Choice(*range(40))}, model, search_img_size=8)\n"
)
PROXY = "from raynas import Proxy\n\nmine = Proxy('mine', lambda probe: float(probe.architecture['a']))\n"


@pytest.fixture(autouse=True)
def imported_anew() -> Iterator[Callable[[], None]]:
    """What a new process would be: no file is imported."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("raynas_file_")]:
            del sys.modules[name]

    yield forget
    forget()


class Lines(SearchListener):
    """Keeps what is said of files."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_log(self, line: str) -> None:
        """Keep a line."""
        if "changed" in line:
            self.said.append(line)


@pytest.fixture
def go(tmp_path: Path, imported_anew: Callable[[], None]) -> Callable[..., list[str]]:
    """Carries out a run in a process of its own, as it were, and returns what it says of changed files."""
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "proxy.py").write_text(PROXY)

    def run(
        out: str,
        budget: int,
        *,
        space: Path = tmp_path / "space.py",
        proxy: Path = tmp_path / "proxy.py",
        name: str = "mine",
        listener: Lines | None = None,
        **more: Any,
    ) -> list[str]:
        imported_anew()
        listener = listener or Lines()
        raynas.search(
            f"{space}:space", proxies=[f"{proxy}:{name}"], objectives=[name], searcher="random",
            budget=budget, workers=0, out=tmp_path / out, listener=listener, **more,
        )  # fmt: skip
        return listener.said

    return run


KEPT = "scores of before are kept: raise version= or begin anew if values change"


@pytest.mark.parametrize("edited", ["space.py", "proxy.py"])
def test_a_resumed_run_names_each_file_that_has_changed(
    tmp_path: Path, go: Callable[..., list[str]], edited: str
) -> None:
    assert go("run", 2) == []
    assert go("run", 3, resume=True) == []
    before = (tmp_path / edited).read_text()
    (tmp_path / edited).write_text(f"{before}# edited\n")
    for budget in (4, 5):  # as long as it is another file than the one that the run began with
        assert go("run", budget, resume=True) == [f"{tmp_path / edited} has changed since the run began; {KEPT}"]
    (tmp_path / edited).write_text(before)
    assert go("run", 6, resume=True) == []


@pytest.mark.parametrize("edited", ["space.py", "proxy.py"])
def test_a_run_that_takes_scores_names_files_that_have_changed(
    tmp_path: Path, go: Callable[..., list[str]], edited: str
) -> None:
    assert go("first", 2) == []
    assert go("second", 2, reuse=[tmp_path / "first"]) == []
    with (tmp_path / edited).open("a") as file:
        file.write("# edited\n")
    (said,) = go("third", 2, reuse=[tmp_path / "first"])
    assert said.startswith(f"{tmp_path / edited} has changed since the run in {tmp_path / 'first'} began;")


@pytest.mark.parametrize("moved", ["space.py", "proxy.py"])
def test_a_file_that_was_moved_is_compared_with_what_it_was(
    tmp_path: Path, go: Callable[..., list[str]], moved: str
) -> None:
    """What it holds decides: the same elsewhere is no change, and something else elsewhere is one, for good."""
    go("run", 2)
    go("other", 2)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere" / "renamed.py"
    (tmp_path / moved).rename(elsewhere)
    paths = {moved.removesuffix(".py"): elsewhere}
    assert go("run", 3, resume=True, **paths) == []
    assert go("third", 2, reuse=[tmp_path / "other"], **paths) == []
    with elsewhere.open("a") as file:
        file.write("# edited\n")
    for budget in (3, 4):
        assert go("run", budget, resume=True, **paths) == [f"{elsewhere} has changed since the run began; {KEPT}"]
        told = f"{elsewhere}, which was {tmp_path / moved}, has changed since the run began; {KEPT}"
        if budget == 3:
            assert go("other", budget, resume=True, **paths) == [told]
    # Once it was resumed with that file, it is known there, as what it was when the run began.
    assert go("other", 4, resume=True, **paths) == [f"{elsewhere} has changed since the run began; {KEPT}"]
    (said,) = go("fourth", 2, reuse=[tmp_path / "other"], **paths)
    assert said.startswith(f"{elsewhere} has changed since the run in {tmp_path / 'other'} began;")


def test_another_file_of_another_proxy_is_no_change(tmp_path: Path, go: Callable[..., list[str]]) -> None:
    go("first", 2)
    (tmp_path / "another.py").write_text(PROXY.replace("mine", "another"))
    assert go("second", 2, reuse=[tmp_path / "first"], proxy=tmp_path / "another.py", name="another") == []


def test_what_is_run_is_what_its_hash_is_of(tmp_path: Path, go: Callable[..., list[str]]) -> None:
    """An edit that keeps size and time, as one in the same second may, leaves compiled code that looks current."""
    go("before", 3)
    file = tmp_path / "proxy.py"
    time = file.stat().st_mtime
    file.write_text(PROXY.replace("float(probe", "-1. *(probe"))
    assert file.stat().st_size == len(PROXY)
    os.utime(file, (time, time))
    (said,) = go("before", 4, resume=True)
    assert said.startswith(f"{file} has changed since")
    go("after", 3)
    values = [sorted(raynas.load_run(tmp_path / out).table["mine"].to_pylist()) for out in ("before", "after")]
    assert all(value <= 0 for value in values[1]) and any(value > 0 for value in values[0])


def test_an_edit_while_a_run_goes_on_changes_none_of_its_scores(tmp_path: Path, go: Callable[..., list[str]]) -> None:
    file = tmp_path / "proxy.py"

    class Edits(Lines):
        def on_start(self, folder: Path, budget: int) -> None:
            file.write_text(PROXY.replace("float(probe", "-1. *(probe"))

    assert go("run", 6, listener=Edits()) == []
    assert all(value >= 0 for value in raynas.load_run(tmp_path / "run").table["mine"].to_pylist())
    (said,) = go("run", 7, resume=True)
    assert said.startswith(f"{file} has changed since the run began;")


def test_a_raised_version_is_another_run_still(tmp_path: Path, go: Callable[..., list[str]]) -> None:
    go("run", 2)
    (tmp_path / "proxy.py").write_text(
        PROXY.replace("'])))", "'])), version=2)").replace("['a']))", "['a']), version=2)")
    )
    with pytest.raises(StoreError, match="holds another run"):
        go("run", 3, resume=True)


@pytest.mark.parametrize("stored", [None, "text", [1], {"a": 1}])
def test_runs_that_do_not_say_what_files_held_are_resumed_in_silence(
    tmp_path: Path, go: Callable[..., list[str]], stored: Any
) -> None:
    go("run", 2)
    path = tmp_path / "run" / "run.yaml"
    content = yaml.safe_load(path.read_text())
    assert set(content.pop("own_files")) == {str(tmp_path / "space.py"), str(tmp_path / "proxy.py")}
    path.write_text(yaml.safe_dump(content if stored is None else {**content, "own_files": stored}))
    (tmp_path / "proxy.py").write_text(f"{PROXY}# edited\n")
    assert go("run", 3, resume=True) == []
