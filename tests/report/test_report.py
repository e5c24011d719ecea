"""Pages of searches; one file, since most look at the page of one search."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_folders import AS_VIT, embedded, sampled_rows, write_folder
from scipy.stats import kendalltau

import raynas
from raynas.errors import RaynasError, StoreError
from raynas.interruption import Interrupted
from raynas.report.page import page, report_data, write_report
from raynas.report.policy import MAX_SNAPSHOTS
from raynas.report.search import MAX_POINTS
from raynas.report.text import failure_groups
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.results import Outcome
from raynas.space.search_space import SearchSpace
from raynas.stats.hypervolume import hypervolume_trace
from raynas.stats.kendall import kendall_taus
from raynas.stats.pareto import best_so_far, pareto_front
from raynas.stats.thinning import sampled
from raynas.storage.points import PointState
from raynas.wording import duration, size_in_words

QUICK = {"workers": 0, "img_size": 32, "settings": {"length_distortion": {"repeats": 1}}}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "searched"
    return raynas.search("as-vit", objectives=["length_distortion"], budget=30, out=out, **QUICK)


class Stop(SearchListener):
    """Ends a run after some evaluations: by a signal, or by an error."""

    def __init__(self, after: int, error: Exception | None = None) -> None:
        self.after, self.error = after, error

    def on_tell(self, evaluation, told, ranking):
        if told == self.after:
            if self.error:
                raise self.error
            os.kill(os.getpid(), signal.SIGINT)


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


def test_failed_run_shows_its_error(tmp_path):
    with pytest.raises(OSError, match="full"):
        raynas.search("as-vit", budget=20, out=tmp_path / "run", listener=Stop(3, OSError("disk is full")), **QUICK)
    status = embedded(write_report(tmp_path / "run").read_text())["status"]
    assert (status["name"], status["error"]) == ("failed", "OSError: disk is full")


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


# -- the policy -------------------------------------------------------------------------------------------------------


def test_replayed_policy_ends_at_the_recommendation(searched):
    policy = report_data(searched)["policy"]
    assert policy["told"] == list(range(31))
    assert policy["note"] == ""
    numbers = [int(np.argmax(decision["probabilities"][-1])) for decision in policy["decisions"]]
    assert AS_VIT.text(AS_VIT.decode(numbers)) == searched.summary["recommended"]["text"]
    for decision in policy["decisions"]:
        np.testing.assert_allclose(np.sum(decision["probabilities"], axis=1), 1, atol=1e-3)


def test_snapshots_are_limited(tmp_path):
    run = raynas.search(
        "as-vit",
        budget=2 * MAX_SNAPSHOTS + 7,
        objectives=["macs:min"],
        out=tmp_path / "long",
        **{**QUICK, "settings": {}},
    )
    policy = report_data(run)["policy"]
    assert len(policy["told"]) <= MAX_SNAPSHOTS
    assert (policy["told"][0], policy["told"][-1]) == (0, 2 * MAX_SNAPSHOTS + 7)
    numbers = [int(np.argmax(decision["probabilities"][-1])) for decision in policy["decisions"]]
    assert dict(AS_VIT.decode(numbers)) == dict(Architecture(run.summary["recommended"]["architecture"]))


def test_policy_under_a_constraint_on_costs_is_replayed(tmp_path):
    run = raynas.search(
        "as-vit",
        budget=25,
        objectives=["length_distortion"],
        constraints=["num_params<=1.6e6"],
        out=tmp_path / "c",
        **QUICK,
    )
    policy = report_data(run)["policy"]
    assert (policy["told"][-1], policy["note"]) == (25, "")


def test_foreign_rows_end_the_policy_with_a_note(tmp_path):
    folder = write_folder(tmp_path, sampled_rows(10), searcher="reinforce", identity={"window": 4})
    policy = report_data(raynas.load_run(folder))["policy"]
    assert policy["told"] == [0]
    assert "not in the store" in policy["note"]


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


def test_run_in_which_everything_failed(tmp_path):
    errors = {k: ("non_finite", f"values of the repeats: [nan, {k}.5]") for k in range(6)}
    data = report_data(raynas.load_run(write_folder(tmp_path, sampled_rows(6, errors=errors))))
    assert data["points"]["state"] == [PointState.FAILED] * 6
    assert data["counts"]["failed"] == 6
    assert data["traces"] == [{"name": "length_distortion", "at": [], "values": []}]
    [group] = data["failures"]
    assert (group["count"], group["texts"], group["scores"]) == (6, 6, ["length_distortion"])


def test_failures_are_grouped_by_status_and_reason(tmp_path):
    errors = {0: ("failed", "size 3"), 1: ("failed", "size 14"), 2: ("timeout", "size 3"), 3: ("failed", "shape")}
    run = raynas.load_run(write_folder(tmp_path, sampled_rows(6, ("a", "b"), errors), scores=("a", "b")))
    groups = report_data(run)["failures"]
    assert [(group["status"], group["error"], group["count"]) for group in groups] == [
        ("failed", "size 3", 2),
        ("timeout", "size 3", 1),
        ("failed", "shape", 1),
    ]
    assert groups[0]["scores"] == ["a", "b"]
    assert groups[0]["example"] == 0


def not_applicable_rows():
    """Of six architectures, the second score applies to four."""
    rows = sampled_rows(6, ("a", "b"))
    for number in (1, 4):
        rows[number][1]["b"] = Outcome(None, "not_applicable", "needs transformer blocks, which Plain lacks", 0.1)
    return rows


def test_scores_that_do_not_apply_are_told_and_leave_the_architecture_its_others(tmp_path):
    rows = not_applicable_rows()
    run = raynas.load_run(write_folder(tmp_path, rows, scores=("a", "b")))
    data = report_data(run)
    (group,) = data["failures"]
    assert (group["status"], group["scores"], group["count"]) == ("not_applicable", ["b"], 2)
    assert group["error"] == "needs transformer blocks, which Plain lacks"
    by_text = dict(zip(data["points"]["text"], data["points"]["values"]["b"], strict=True))
    missing = {AS_VIT.text(rows[number][0]) for number in (1, 4)}
    assert {text for text, value in by_text.items() if value is None} == missing
    assert all(value is not None for value in data["points"]["values"]["a"])
    ranked = {one["name"]: len(one["members"]) for one in data["rankings"]}
    assert (ranked["a"], ranked["b"]) == (6, 4)


def test_many_kinds_of_failure_are_summed_up():
    class Failure:
        status, score = "failed", "a"

        def __init__(self, point):
            self.point, self.error = point, "x" * point

    groups, _ = failure_groups([Failure(point) for point in range(9)], limit=4)
    assert [group["count"] for group in groups] == [1, 1, 1, 1, 5]


def test_violated_constraints_and_missing_scores_are_told_apart(tmp_path):
    rows = sampled_rows(4)
    del rows[1][1]["length_distortion"]
    bound = sorted(row["macs"].value for _, row in rows)[1]
    run = raynas.load_run(write_folder(tmp_path, rows, identity={"constraints": [f"macs<={bound}"]}))
    expected = [
        PointState.INFEASIBLE
        if row["macs"].value > bound
        else PointState.OK
        if "length_distortion" in row
        else PointState.UNSCORED
        for _, row in rows
    ]
    assert report_data(run)["points"]["state"] == expected


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


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_pareto_front_is_what_nothing_dominates(columns):
    losses = np.random.default_rng(columns).integers(0, 12, size=(300, columns)).astype(float)
    expected = [
        i
        for i, own in enumerate(losses)
        if not any((other <= own).all() and ((other < own).any() or j < i) for j, other in enumerate(losses))
    ]
    front = pareto_front(losses)
    assert sorted(front) == expected
    assert list(losses[front, 0]) == sorted(losses[front, 0])
    assert len(pareto_front(np.zeros((0, columns)))) == 0


def test_hypervolume_is_the_dominated_area():
    losses = np.random.default_rng(1).random((60, 2))
    trace = hypervolume_trace(losses)
    scaled = (losses - losses.min(axis=0)) / np.ptp(losses, axis=0)
    centres = (np.arange(500) + 0.5) / 500
    for position, area in trace[:: max(1, len(trace) // 5)]:
        covered = np.zeros((500, 500), bool)
        for a, b in scaled[: position + 1]:
            covered |= (centres[:, None] > a) & (centres > b)
        assert area == pytest.approx(covered.mean(), abs=0.01)
    assert [area for _, area in trace] == sorted(area for _, area in trace)
    assert hypervolume_trace(np.zeros((0, 2))) == []


def test_best_so_far_steps_at_improvements():
    assert list(best_so_far(np.array([3.0, 3.0, 1.0, 2.0, 0.5]))) == [0, 2, 4]
    assert list(best_so_far(np.array([]))) == []


def test_kendall_tau_agrees_with_scipy():
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=200), rng.integers(0, 5, 200).astype(float), rng.normal(size=200)]
    columns[2][::3] = np.nan
    tau = kendall_taus([*columns, np.ones(200)])
    for i, first in enumerate(columns):
        for j, second in enumerate(columns):
            known = np.isfinite(first) & np.isfinite(second)
            assert tau[i, j] == pytest.approx(kendalltau(first[known], second[known]).statistic, abs=1e-6)
    assert np.isnan(tau[3]).all()


def test_sample_keeps_what_is_required():
    required = np.array([5, 99])
    chosen = sampled([required], 100, 10)
    assert len(chosen) == 10
    assert set(required) <= set(chosen)
    assert list(chosen) == list(sampled([required], 100, 10))
    assert len(sampled([np.arange(50)], 100, 10)) == 50


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (225, "225"),
        (12_345, "12,345"),
        (4_556_250, "4,556,250 (4.56 million)"),
        (10**25 + 7, "about 1.0 × 10^25"),  # noqa: RUF001
    ],
)
def test_size_in_words(size, words):
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (11.63, "11.6 s"), (61, "1 min 01 s"), (3720, "1 h 02 min"), (180_000, "2 d 2 h")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_per_layer_fields_of_an_own_space_are_embedded(tmp_path):
    space = SearchSpace("layers", {"depth": Choice(1, 2)}, model="none")
    rows = [(Architecture({"depth": d, "heads": [3] * d}), {"a": Outcome(float(d), "ok")}) for d in (1, 2)]
    folder = write_folder(tmp_path, rows, scores=("a",), identity={"space": space.name})
    data = embedded(page(report_data(raynas.load_run(folder))))
    assert ["heads", [3, 3]] in data["points"]["field_table"]
    assert data["correlation"] is None
