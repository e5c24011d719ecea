"""A kind of run of one's own: registered in one place, its folders are read, reported and taken from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import raynas
from raynas.errors import ConfigError, StoreError
from raynas.report.kinds import Layout, ReportedKind, layout_of
from raynas.report.page import write_report
from raynas.storage.kinds import Bounds, RunKind, Taken, add_kind, run_kinds
from raynas.storage.sources import read_source
from searchspaces.as_vit import as_vit

ASSETS = Path(raynas.__file__).parent / "report" / "assets"

SEED = as_vit.named["seed"]


def taken(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Taken:
    if bounds:
        raise ConfigError("one model, nothing to pick")
    return Taken(json.loads(SEED.to_json()), {"space": "as-vit", "img_size": 96})


def data(folder: Path, write: Any) -> dict[str, Any]:
    return {"layout": "garden", "title": f"A garden in {folder.name}", "kind": "garden"}


@pytest.fixture
def garden(tmp_path: Path) -> Iterator[Path]:
    """A folder of a kind that the test registers."""
    kind = ReportedKind("garden", taken, data, {"garden": Layout(("setup",), ("values.js",))})
    add_kind(kind)
    yield written(tmp_path / "run", "garden")
    run_kinds._members.pop("garden")


def written(folder: Path, kind: str) -> Path:
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump({"kind": kind, "config": {}, "identity": {}}))
    return folder


def test_its_page_is_written_in_its_layout(garden: Path) -> None:
    page = write_report(garden).read_text()
    assert "<title>A garden in run" in page
    assert page.count("<section ") == 1
    assert '<section id="setup"' in page


def test_an_architecture_is_taken_from_its_folder(garden: Path) -> None:
    source = read_source(str(garden))
    assert (source.architecture, source.kind, source.img_size) == (SEED, "garden", 96)
    with pytest.raises(ConfigError, match="nothing to pick"):
        read_source(str(garden), pick=["macs<=1e9"])


def test_a_kind_without_page_and_architecture_is_refused(tmp_path: Path) -> None:
    add_kind(RunKind("desert", None))
    try:
        folder = written(tmp_path / "run", "desert")
        with pytest.raises(
            StoreError,
            match="of the kind 'desert'; there are reports of the kinds analysis, evaluation, finalists, search, sw",
        ):
            write_report(folder)
        with pytest.raises(StoreError, match="holds a desert, which has no architecture of its own"):
            read_source(str(folder))
    finally:
        run_kinds._members.pop("desert")


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", "jungle")
    with pytest.raises(StoreError, match="of the kind 'jungle'; there are reports of the kinds"):
        write_report(folder)
    with pytest.raises(StoreError, match="holds a jungle, which has no architecture of its own"):
        read_source(str(folder))


def test_scripts_of_a_page_have_no_name_in_common() -> None:
    kinds = [kind for kind in map(run_kinds.get, run_kinds) if isinstance(kind, ReportedKind)]
    names = [name for kind in kinds for name in kind.layouts]
    assert len(names) > 8
    for name in (*names, "compared", "runs"):
        scripts = [*layout_of(name).scripts, *["live.js"] * (name != "runs")]  # as they are served
        text = "\n".join((ASSETS / script).read_text() for script in scripts)
        defined = re.findall(r"^(?:async )?(?:function|const|let) (\w+)", text, re.MULTILINE)
        assert sorted(defined) == sorted(set(defined)), name
