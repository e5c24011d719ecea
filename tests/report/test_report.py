"""What pages of searches hold, whatever their runs came to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_folders import AS_VIT, embedded, sampled_rows, write_folder
from toy_runs import QUICK, Stop

import raynas
from raynas.errors import RaynasError, StoreError
from raynas.interruption import Interrupted
from raynas.report.page import page, report_data, write_report
from raynas.report.search import MAX_POINTS
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.results import Outcome
from raynas.space.search_space import SearchSpace


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "searched"
    return raynas.search("as-vit", objectives=["length_distortion"], budget=30, out=out, **QUICK)


# -- what it is made from ---------------------------------------------------------------------------------------------


def test_neither_torch_nor_ray_is_imported():
    code = "import sys, raynas.report.page; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_report_of_a_search_holds_what_the_run_found(searched):
    path = write_report(searched.folder)
    data = embedded(path.read_text())
    assert path == searched.folder / "report.html"
    assert data["status"] == {"name": "completed", "error": None, "resume": None}
    assert data["counts"]["evaluations"] == 30
    best = data["rankings"][0]["members"][0]
    assert data["points"]["text"][best] == searched.best[0]["text"]
    assert data["points"]["values"]["macs"][best] == searched.best[0]["macs"]
    assert data["points"]["text"][data["recommended"]] == searched.summary["recommended"]["text"]
    stages = [data["points"]["stage_table"][i] for i in data["points"]["stages"][best]]
    assert [stage["width"] for stage in stages] == [32, 64, 128, 256]


def test_ranking_agrees_with_the_summary(searched):
    data = report_data(searched)
    texts = [data["points"]["text"][point] for point in data["rankings"][0]["members"]]
    # The recommendation is in the store, so it may be among the best; the summary ranks what was asked.
    recommended = searched.summary["recommended"]["text"]
    asked = [text for text in texts if text != recommended]
    told = [entry["text"] for entry in searched.best if entry["text"] != recommended]
    assert asked == told[: len(asked)]
    assert len(asked) >= 9


def test_writing_twice_gives_the_same_bytes(searched):
    first = write_report(searched.folder).read_bytes()
    assert write_report(searched.folder).read_bytes() == first


@pytest.mark.parametrize("content", [None, "run.yaml", "evaluations"])
def test_a_folder_without_a_run_is_refused(tmp_path, content):
    if content == "evaluations":
        (tmp_path / content).mkdir()
    elif content:
        (tmp_path / content).write_text("config: {}\nidentity: {}\n")
    with pytest.raises(StoreError, match="holds no run"):
        write_report(tmp_path)
    with pytest.raises(RaynasError):
        write_report(tmp_path / "absent")
    assert not (tmp_path / "report.html").exists()


def test_interrupted_run_shows_how_to_resume(tmp_path):
    with pytest.raises(Interrupted):
        raynas.search("as-vit", budget=20, out=tmp_path / "a run", listener=Stop(6), **QUICK)
    data = embedded(write_report(tmp_path / "a run").read_text())
    assert data["status"]["name"] == "interrupted"
    assert data["status"]["resume"] == f"raynas search --resume --out '{tmp_path}/a run'"
    assert data["counts"]["evaluations"] == 6
    assert data["policy"]["told"][-1] == 6


def test_run_without_a_summary_is_reported(tmp_path):
    data = embedded(write_report(write_folder(tmp_path, sampled_rows(5), summary={})).read_text())
    assert data["status"]["name"] == "unknown"
    assert data["counts"]["evaluations"] == 5


def test_scoring_run_ranks_by_each_score(tmp_path):
    run = raynas.score(
        "as-vit", ["seed", "7,4,2|3,2,2|4,1,6|2,1,2|32"], proxies=["length_distortion"], out=tmp_path / "s", **QUICK
    )
    data = report_data(run)
    assert data["title"] == "as-vit scores"
    assert data["objectives"] == data["traces"] == []
    assert [ranking["name"] for ranking in data["rankings"]] == ["length_distortion", "num_params", "macs"]
    assert data["policy"] is None


def test_unregistered_space_falls_back_to_fields(tmp_path):
    own = replace(AS_VIT, name="mine")
    run = raynas.search(
        own, budget=4, objectives=["length_distortion"], searcher="random", out=tmp_path / "own", **QUICK
    )
    data = report_data(run)
    assert data["points"]["stages"] is None
    assert data["points"]["text"] is None
    fields = dict(data["points"]["field_table"][i] for i in data["points"]["fields"][0])
    assert fields == json.loads(run.evaluations["architecture"][0].as_py())


def test_changed_space_falls_back_to_fields(tmp_path):
    data = report_data(
        raynas.load_run(write_folder(tmp_path, sampled_rows(3), identity={"space_fields": "of another version"}))
    )
    assert data["points"]["stages"] is None
    assert "has changed" in dict(data["groups"][0]["rows"])["note"]


def test_fingerprint_is_that_of_run_yaml(searched):
    assert AS_VIT.fingerprint == searched.description["identity"]["space_fields"]


# -- awkward contents -------------------------------------------------------------------------------------------------


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{data}} \u2028 \u0000 'quoted' &amp; é"


def test_hostile_text_stays_text(tmp_path):
    rows = sampled_rows(4, errors={1: ("failed", HOSTILE)})
    folder = write_folder(
        tmp_path, rows, identity={"space": HOSTILE, "searcher": HOSTILE}, summary={"status": "failed", "error": HOSTILE}
    )
    text = write_report(folder).read_text()
    parser = _Tags()
    parser.feed(text)
    assert [attributes.get("id") for tag, attributes in parser.found if tag == "script"] == ["data", None]
    assert not [tag for tag, _ in parser.found if tag == "img"]
    data = embedded(text)
    assert data["status"]["error"] == data["failures"][0]["error"] == HOSTILE
    assert data["title"] == f"{HOSTILE} search"


def test_page_refers_to_nothing_outside(searched):
    text = write_report(searched.folder).read_text()
    parser = _Tags()
    parser.feed(text)
    assert "default-src 'none'" in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text
    assert "script-src 'unsafe" not in text
    for tag, attributes in parser.found:
        assert tag not in ("iframe", "object", "embed", "base")
        assert attributes.get("src") is None
        assert (attributes.get("href") or "#")[0] == "#" or tag == "link"
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML", text)


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_evaluations(tmp_path, n):
    data = report_data(raynas.load_run(write_folder(tmp_path, sampled_rows(n))))
    assert len(data["points"]["candidate"]) == data["total"] == n
    assert len(data["rankings"]) == 3 * n
    assert data["correlation"] is None


def test_front_of_several_objectives_and_hypervolume(tmp_path):
    run = raynas.load_run(
        write_folder(tmp_path, sampled_rows(80, ("a", "b")), scores=("a", "b"), objectives=["a:max", "b:max"])
    )
    data = report_data(run)
    values = np.array([data["points"]["values"][name] for name in "ab"]).T
    dominated = [any((other >= own).all() and (other > own).any() for other in values) for own in values]
    assert sorted(data["rankings"][0]["members"]) == list(np.flatnonzero(~np.array(dominated)))
    assert data["front_size"] == len(data["rankings"][0]["members"])
    assert [trace["name"] for trace in data["traces"]] == ["a", "b", "hypervolume"]


# -- size -------------------------------------------------------------------------------------------------------------


def test_large_run_is_sampled_and_the_page_stays_small(tmp_path):
    folder = write_folder(
        tmp_path, sampled_rows(MAX_POINTS + 2000, ("a", "b")), scores=("a", "b"), objectives=["a:max", "macs:min"]
    )
    path = write_report(folder)
    data = embedded(path.read_text())
    assert path.stat().st_size < 3e6
    assert data["total"] == MAX_POINTS + 2000
    assert len(data["points"]["candidate"]) == MAX_POINTS
    assert data["points"]["candidate"] == sorted(data["points"]["candidate"])
    table = raynas.load_run(folder).table
    best = int(np.argmax(table["a"].to_numpy()))
    assert data["points"]["candidate"][data["rankings"][0]["members"][0]] == table["candidate"][best].as_py()
    assert data["correlation"]["n"] < data["correlation"]["total"] == MAX_POINTS + 2000


def test_per_layer_fields_of_an_own_space_are_embedded(tmp_path):
    space = SearchSpace("layers", {"depth": Choice(1, 2)}, model="none")
    rows = [(Architecture({"depth": d, "heads": [3] * d}), {"a": Outcome(float(d), "ok")}) for d in (1, 2)]
    folder = write_folder(tmp_path, rows, scores=("a",), identity={"space": space.name})
    data = embedded(page(report_data(raynas.load_run(folder))))
    assert ["heads", [3, 3]] in data["points"]["field_table"]
    assert data["correlation"] is None
