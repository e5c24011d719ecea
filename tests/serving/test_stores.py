"""Runs in an object store: compared, listed and shown as those on a disk."""

from __future__ import annotations

import pytest
from report_folders import embedded
from starlette.testclient import TestClient
from toy_runs import search

import raynas
from raynas.errors import ConfigError
from raynas.serving.application import application
from raynas.serving.watched import Watched
from raynas.storage.paths import ObjectPath

pytest_plugins = ["object_store_fixtures"]


def test_runs_in_a_store_are_compared_and_served(bucket: ObjectPath) -> None:
    for name, budget in {"one": 7, "two": 9}.items():
        search(bucket / "runs" / name, budget=budget)
    names = [f"{bucket}/runs/{name}" for name in ("one", "two")]
    found = raynas.compare(names)
    assert [row["evaluations"] for row in found.table] == [7, 9]
    assert found.differences["budget"] == (7, 9)
    with pytest.raises(ConfigError, match="is given twice"):
        raynas.compare([names[0], f"{names[0]}/"])

    asking = TestClient(application(Watched(f"{bucket}/runs"), ["localhost"]), base_url="http://localhost")
    assert [row["name"] for row in asking.get("/runs.json").json()["runs"]] == ["one", "two"]
    assert embedded(asking.get("/runs/one/report.html").text)["counts"]["evaluations"] == 7
    assert embedded(asking.get("/compare?run=one&run=two").text)["title"] == "2 searches compared"
    for outside in ("..", "%2e%2e", "..%2Fruns%2Fone", "three"):
        assert asking.get(f"/runs/{outside}/report.html").status_code == 404
