"""What `raynas serve` answers: which runs, with which headers, to whom; that it writes and runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_bench
import yaml
from report_folders import (
    AS_VIT,
    SUMMARY,
    embedded,
    epoch_rows,
    sampled_rows,
    write_finalists,
    write_folder,
    write_training,
)
from starlette.testclient import TestClient

from raynas.errors import RaynasWarning, StoreError
from raynas.report.page import live_data
from raynas.serving.application import application
from raynas.serving.watched import Watched
from raynas.storage.files import write_json
from raynas.storage.locks import held

HOSTS = ["localhost", "127.0.0.1", "[::1]"]
MACS = AS_VIT.macs(AS_VIT.named["seed"], 64, 10)  # type: ignore[misc]


def client(folder: Path) -> TestClient:
    return TestClient(application(Watched(folder), HOSTS), base_url="http://localhost")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a training, finalists with trainings in them, and a benchmark whose tables are not there."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    write_folder(folder / "search", sampled_rows(5))
    write_training(folder / "deep" / "er" / "training", epoch_rows(3, macs=MACS), epochs=3)
    trials = [{"top1": 0.7, "epochs_done": 2, "status": "completed", "score": {}}]
    write_finalists(folder / "finalists", trials, epochs=2)
    chosen = toy_bench.architectures(40)
    table = toy_bench.write_table(tmp_path_factory.mktemp("truth") / "truth.csv", chosen, toy_bench.labels(chosen))
    toy_bench.bench(table, folder / "bench")
    for name in ("correlations.parquet", "scores.parquet"):
        (folder / "bench" / name).unlink()
    return folder


@pytest.fixture
def asking(runs: Path) -> Iterator[TestClient]:
    before = content(runs)
    yield client(runs)
    assert content(runs) == before  # whatever was asked


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


PAGES = (
    "/",
    "/runs.json",
    "/state.json?run=search",
    "/runs/search/report.html",
    "/runs/deep/er/training/report.html",
    "/runs/finalists/report.html",
    "/runs/finalists/finalist-00/report.html",
    "/runs/bench/report.html",
    "/compare?run=search&run=deep/er/training&run=bench&run=finalists",
)
WRONG = {
    "/nothing": 404,
    "/runs/nothing/report.html": 404,
    "/runs/search/nothing": 404,
    "/compare?run=search": 400,
    "/compare?run=search&run=search": 400,
    "/state.json?run=nothing": 404,
}


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_list_has_each_run_once_and_no_part_of_another(asking: TestClient) -> None:
    rows = {row["name"]: row for row in asking.get("/runs.json").json()["runs"]}
    assert sorted(rows) == ["bench", "deep/er/training", "finalists", "search"]
    assert (rows["bench"]["kind"], rows["search"]["kind"]) == ("bench", "search")
    training = rows["deep/er/training"]
    assert (training["kind"], training["status"], training["progress"]) == ("training", "completed", "3 of 3 epochs")
    assert training["link"] == "runs/deep/er/training/report.html"
    last = 0.8 * (1 - 2.718281828459045 ** (-3 / 2))  # as `epoch_rows` has it
    assert training["found"] == f"best top-1 {100 * last:.2f} %"
    assert embedded(asking.get("/").text)["runs"] == asking.get("/runs.json").json()["runs"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_there_and_write_nothing(asking: TestClient, page: str) -> None:
    answer = asking.get(page)
    assert answer.status_code == 200
    assert ("json" in answer.headers["content-type"]) == (".json" in page)


def test_a_page_is_that_of_the_run_and_knows_where_to_ask(asking: TestClient) -> None:
    data = embedded(asking.get("/runs/deep/er/training/report.html").text)
    assert data["title"] == "as-vit training"
    assert data["live"]["home"] == "../../../../"
    assert data["live"]["state"] == "../../../../state.json?run=deep%2Fer%2Ftraining"
    state = asking.get("/state.json", params={"run": "deep/er/training"}).json()
    assert state["version"] == data["live"]["version"]
    assert [one["has_report"] for one in embedded(asking.get("/runs/finalists/report.html").text)["trials"]] == [True]


def test_the_folder_itself_may_be_a_run(runs: Path) -> None:
    asking = client(runs / "search")
    (row,) = asking.get("/runs.json").json()["runs"]
    assert (row["name"], row["link"]) == ("", "runs/report.html")
    assert embedded(asking.get("/runs/report.html").text)["live"]["home"] == "../"
    assert asking.get("/state.json?run=").json()["runs"][0]["kind"] == "search"


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/runs", "/"),
        ("/runs/", "/"),
        ("/runs/search", "/runs/search/report.html"),
        ("/runs/search/", "/runs/search/report.html"),
        ("/runs/deep/er/training", "/runs/deep/er/training/report.html"),
    ],
)
def test_addresses_without_a_page_lead_to_it(asking: TestClient, path: str, page: str) -> None:
    answer = asking.get(path)
    assert (answer.status_code, answer.url.path) == (200, page)


@pytest.mark.parametrize("path", ["/runs/javascript:x", "/runs//evil.example", "/runs/%2F%2Fevil.example", "/runs/%25"])
def test_no_address_leads_elsewhere(asking: TestClient, path: str) -> None:
    answer = asking.get(path)
    assert (answer.status_code, answer.url.host) == (404, "localhost")


def test_a_page_that_is_opened_before_its_run_looks_again(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    asking = client(folder)
    early = asking.get("/runs/a%20%C3%A9%23")
    assert early.status_code == 404
    assert early.text.count("there is no run &#x27;a é#&#x27;") == 1
    assert '<meta http-equiv="refresh" content="5">' in early.text
    shutil.copytree(runs / "search", folder / "a é#")
    assert asking.get(str(early.url)).status_code == 200
    assert "refresh" not in asking.get("/nothing").text


def test_compared_runs_link_to_their_pages(asking: TestClient) -> None:
    data = embedded(asking.get("/compare?run=search&run=deep/er/training").text)
    assert [one["link"] for one in data["runs"]] == ["runs/search/report.html", "runs/deep/er/training/report.html"]
    assert "little in common" in data["notes"][0]


# -- runs that begin, go on, end, are damaged and vanish ---------------------------------------------------------------


def test_a_run_is_followed_from_its_beginning_until_it_is_gone(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    asking = TestClient(application(watched, HOSTS), base_url="http://localhost")

    def rows() -> list[dict[str, object]]:
        watched._stale_at = 0.0
        found: list[dict[str, object]] = asking.get("/runs.json").json()["runs"]
        return found

    assert rows() == []
    summary = {"status": "running", "epochs_done": 1, "seconds": 1000.0}
    training = write_training(tmp_path / "run", epoch_rows(1, macs=MACS), epochs=4, summary=summary)
    with held(training):
        (row,) = rows()
        assert (row["status"], row["progress"][:11]) == ("running", "1 of 4 epoc")  # type: ignore[index]
        # Three times what the first epoch took, less the moment since it was told.
        assert 2990 < float(str(row["left_s"])) <= 3000
        assert str(row["progress"]).endswith("about 50 min 00 s left") or "49 min" in str(row["progress"])
        first = asking.get("/state.json?run=run").json()["version"]
        page = asking.get("/runs/run/report.html").text
        assert asking.get("/runs/run/report.html").text == page  # it is not made again
        write_training(training, epoch_rows(2, macs=MACS), epochs=4, summary={**summary, "epochs_done": 2})
        assert asking.get("/state.json?run=run").json()["version"] != first
        assert len(embedded(asking.get("/runs/run/report.html").text)["curves"]["epoch"]) == 2
    (row,) = rows()
    assert (row["status"], row["left_s"]) == ("killed", None)
    shutil.rmtree(training)
    assert rows() == []
    for page in ("/runs/run/report.html", "/state.json?run=run"):
        gone = asking.get(page)
        assert gone.status_code == 404
        assert "run" in gone.text


def test_a_damaged_run_is_told_and_hides_no_other(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs / "search", folder / "good")
    shutil.copytree(runs / "search", folder / "rows")
    (part,) = (folder / "rows" / "evaluations").glob("part-*")
    part.write_bytes(b"<script>")
    for name, text in {"text": "{<b>", "list": "- 1", "config": "config: 1\nidentity: {}"}.items():
        (folder / name).mkdir()
        (folder / name / "run.yaml").write_text(text)
    asking = client(folder)
    statuses = {row["name"]: row["status"] for row in asking.get("/runs.json").json()["runs"]}
    assert statuses == {
        "good": "completed",
        "rows": "completed",
        **dict.fromkeys(("text", "list", "config"), "unreadable"),
    }
    assert asking.get("/").status_code == 200
    for page in ("/runs/rows/report.html", "/compare?run=good&run=rows"):
        with pytest.warns(RaynasWarning, match="skipped .*part-"):
            assert asking.get(page).status_code == 200
    for name in ("text", "list", "config"):
        answer = asking.get(f"/runs/{name}/report.html")
        assert answer.status_code == 422
        assert answer.text.startswith("<!doctype html>")
        assert "<b>" not in answer.text
        assert asking.get(f"/compare?run=good&run={name}").status_code == 422


# -- who may ask, and for what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *WRONG])
def test_every_answer_has_the_headers(asking: TestClient, page: str) -> None:
    answer = asking.get(page)
    assert answer.status_code == WRONG.get(page, 200)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    if "text/html" in answer.headers["content-type"]:
        (policy,) = [line for line in answer.text.splitlines() if "Content-Security-Policy" in line]
        assert "default-src 'none'" in policy
        assert "script-src 'unsafe" not in policy


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_names_that_lead_here_from_elsewhere_are_refused(asking: TestClient, host: str) -> None:
    answer = asking.get("/runs.json", headers={"host": host})
    assert answer.status_code == 400
    assert "search" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:80"])
def test_names_of_this_machine_are_answered(asking: TestClient, host: str) -> None:
    assert asking.get("/runs.json", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_looking_is_allowed(asking: TestClient, method: str) -> None:
    for page in PAGES:
        assert asking.request(method, page).status_code == 405
    assert asking.head("/").status_code == 200


SECRET = "a secret beyond the folder"


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../outside",
        "search/../../outside",
        "..%2foutside",
        "%2e%2e/outside",
        "%2e%2e%2foutside",
        "..%5coutside",
        "%2e%2e%252foutside",
        "/outside",
        "%2F{outside}",
        "link",
        "link/inner",
        "search/link",
        "loop",
        "a%00b",
        "x" * 5000,
    ],
)
def test_nothing_beyond_the_folder_is_read(tmp_path: Path, name: str) -> None:
    outside = write_folder(tmp_path / "outside", sampled_rows(2), identity={"space": SECRET})
    write_folder(outside / "inner", sampled_rows(2), identity={"space": SECRET})
    folder = tmp_path / "runs"
    write_folder(folder / "search", sampled_rows(2))
    (folder / "link").symlink_to(outside)
    (folder / "search" / "link").symlink_to(outside)
    (folder / "loop").symlink_to(folder / "loop")
    asking = client(folder)
    name = name.format(outside=str(outside).replace("/", "%2F"))
    for path in (f"/runs/{name}/report.html", f"/state.json?run={name}", f"/compare?run=search&run={name}"):
        answer = asking.get(path)
        assert answer.status_code in (400, 404)
        assert SECRET not in answer.text
    # From this run a link leads out, so that no page is made of it.
    assert asking.get("/runs/search/report.html").status_code == 422
    assert SECRET not in json.dumps(asking.get("/runs.json").json())


def test_code_that_a_folder_names_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w')\nspace = None\n")
    for name in ("one", "two"):
        run = write_folder(tmp_path / "runs" / name, sampled_rows(2))
        description = yaml.safe_load((run / "run.yaml").read_text())
        for part in ("config", "identity"):
            description[part]["space"] = f"{tmp_path}/own.py:space"
        (run / "run.yaml").write_text(yaml.safe_dump(description))
    asking = client(tmp_path / "runs")
    for page in ("/", "/runs/one/report.html", "/compare?run=one&run=two", "/state.json?run=one"):
        assert asking.get(page).status_code == 200
    assert not mark.exists()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"there is no folder .*nowhere: `mkdir -p .*nowhere` makes it"):
        Watched(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="file is no folder: name one with runs in it"):
        Watched(tmp_path / "file")


def test_a_page_says_one_number_where_its_run_goes_on_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "a", sampled_rows(3), budget=9, summary={"evaluations": 3})
    made: list[Path] = []

    def made_late(folder: Path) -> dict[str, Any]:
        if not made:  # between a look at how the run stands and its page
            write_json(folder / "summary.json", {**SUMMARY, "evaluations": 5})
        made.append(folder)
        return live_data(folder)

    monkeypatch.setattr("raynas.serving.watched.live_data", made_late)
    data = embedded(Watched(tmp_path).run_page("a"))
    assert data["counts"]["evaluations"] == 5
    assert data["live"]["runs"][0]["progress"] == "5 of 9 evaluations"
    assert made == [folder, folder]
