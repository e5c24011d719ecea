"""A sweep whose folder is in an object store is as one on a disk; on a cluster, see tests/cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from object_stores import python_process
from toy_runs import content
from toy_sweeps import sweep

import raynas
from raynas.errors import StoreError
from raynas.storage.files import exists, files_below
from raynas.storage.paths import ObjectPath
from raynas.sweeps.folder import Sweep

pytest_plugins = ["object_store_fixtures"]

SETTINGS: dict[str, Any] = {"repeat": 1, "workers": 0, "budget": 20}


def tables(swept: Sweep) -> dict[str, list[dict[str, Any]]]:
    """What the searches have stored, without where they took it from."""
    return {name: [{**row, "reused": False} for row in content(run)] for name, run in swept.runs.items()}


@pytest.mark.long
def test_a_sweep_in_a_store_equals_one_on_a_disk(bucket: ObjectPath, tmp_path: Path) -> None:
    expected, found = (sweep(folder / "sweep", **SETTINGS) for folder in (tmp_path, bucket))
    assert tables(found) == tables(expected)
    assert found.summary["levels"] == expected.summary["levels"]
    best = [[one["best"] for one in swept.summary["searches"]] for swept in (found, expected)]
    assert best[0] == best[1]
    names = {path.relative_to(found.folder).as_posix() for path in files_below(found.folder)}
    assert {"run.yaml", "summary.json", "random-seed0/run.yaml"} < names
    assert not [name for name in names if name.startswith("tune") or name.endswith((".session", ".pkl"))]
    again = sweep(found.folder, resume=True, **SETTINGS)
    assert again.summary["searches"] == found.summary["searches"]
    assert raynas.api.report(found.folder) == found.folder / "report.html"
    # Another driver, while this one is there.
    code = (
        "import sys, time\nfrom raynas.storage.locks import held\nfrom raynas.storage.paths import as_path\n"
        f"with held(as_path({str(found.folder)!r})):\n"
        "    print('held', file=sys.stderr, flush=True)\n    time.sleep(60)"
    )
    with python_process(code) as other:
        assert other.stderr is not None and other.stderr.readline() == "held\n"
        with pytest.raises(StoreError, match="sweep is being written by process"):
            sweep(found.folder, resume=True, **SETTINGS)
    assert exists(found.folder / "summary.json")
