"""Runs say which files of the user's own code have changed since they began."""

from __future__ import annotations

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

    def run(out: str, budget: int, **more: Any) -> list[str]:
        imported_anew()
        listener = Lines()
        raynas.search(
            f"{tmp_path}/space.py:space", proxies=[f"{tmp_path}/proxy.py:mine"], objectives=["mine"], searcher="random",
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
