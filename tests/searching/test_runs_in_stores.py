"""Searches whose folder is in an object store are as those on a disk: killed, stopped, resumed, read, taken from."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from machines import Machines
from object_stores import LEASE_S, Proxy, credentials, python_process
from report_folders import embedded
from toy_bench import architectures, bench, labels, write_table
from toy_runs import Recorder, content, search

import raynas
from raynas import api
from raynas.errors import ConfigError, StoreError
from raynas.storage.files import files_below, names_in, read_bytes, write_text
from raynas.storage.locks import check_free, held
from raynas.storage.paths import ObjectPath

pytest_plugins = ["object_store_fixtures"]

PAUSE = {"toy": {"pause_s": 0.05}}


def driver(folder: Path, **settings: Any) -> AbstractContextManager[subprocess.Popen[str]]:
    """A process that carries out, or goes on with, a search; it is killed in the end."""
    code = f"from toy_runs import *; search({str(folder)!r}, resume=True, **{settings!r})"
    return python_process(code)


def eventually(is_so: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


def parts_in(folder: Path) -> list[str]:
    return names_in(folder / "evaluations")


def raynas_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "raynas.cli", *words], capture_output=True, text=True, check=False)


# -- the same as on a disk ---------------------------------------------------------------------------------------------


def test_a_search_in_a_store_equals_one_on_a_disk(bucket: ObjectPath, tmp_path: Path) -> None:
    here, there = tmp_path / "run", bucket / "runs" / "run"
    for budget in (40, 160):  # so that parts are merged
        expected, found = (search(folder, budget=budget, resume=True) for folder in (here, there))
        assert content(found) == content(expected)
        for name in ("best", "evaluations", "failed", "reused"):
            assert found.summary[name] == expected.summary[name]
        assert found.table.equals(expected.table)
    assert found.folder == raynas.load_run(str(there)).folder == there
    files = {path.relative_to(there).as_posix() for path in files_below(there)}
    assert {"run.yaml", "summary.json", ".lock"} <= files
    assert not [name for name in files if "tmp" in name]


@pytest.mark.long
def test_workers_score_for_a_folder_in_a_store(bucket: ObjectPath, tmp_path: Path) -> None:
    expected, found = (search(folder / "run", workers=2) for folder in (tmp_path, bucket))
    assert content(found) == content(expected)


def test_scores_are_reused_from_and_in_a_store(bucket: ObjectPath, tmp_path: Path) -> None:
    first = search(bucket / "first")
    for folder in (tmp_path / "second", bucket / "second"):
        second = search(folder, reuse=[str(bucket / "first")])
        assert second.summary["reused"] == second.table.num_rows
        assert [{**row, "reused": False} for row in content(second)] == content(first)


def test_no_secret_is_kept(bucket: ObjectPath) -> None:
    search(bucket / "run", budget=5)
    api.report(bucket / "run")
    for path in files_below(bucket):
        assert b"very-secret" not in read_bytes(path)
        assert b"AWS" not in read_bytes(path)


def test_the_report_is_written_into_the_store(bucket: ObjectPath, tmp_path: Path) -> None:
    for folder in (bucket, tmp_path):
        search(folder / "run", budget=20)
    done = raynas_command("report", str(bucket / "run"))
    assert done.stdout == f"{bucket}/run/report.html\n", done.stderr
    page, expected = (
        embedded(read_bytes(path).decode()) for path in (bucket / "run" / "report.html", api.report(tmp_path / "run"))
    )
    assert page["title"] == expected["title"]
    assert page["points"]["text"] == expected["points"]["text"]


@pytest.mark.slow
def test_an_architecture_is_taken_from_a_run_in_a_store(bucket: ObjectPath, tmp_path: Path) -> None:
    words = ("-o", "num_params:max", "--searcher", "random", "--img-size", "32", "--budget", "6", "--workers", "0")
    done = raynas_command("search", "as-vit", *words, "--out", f"{bucket}/run")
    assert done.returncode == 0, done.stderr
    assert f"run folder {bucket}/run" in done.stderr + done.stdout
    best = json.loads(read_bytes(bucket / "run" / "summary.json"))["best"][0]["architecture"]
    done = raynas_command("export", f"{bucket}/run", "--untrained", "--num-classes", "3", "--out", str(tmp_path / "x"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x" / "config.json").read_text())["fields"] == best


def test_a_benchmark_in_a_store_equals_one_on_a_disk(bucket: ObjectPath, tmp_path: Path) -> None:
    chosen = architectures(30)
    table = write_table(tmp_path / "truth.csv", chosen, labels(chosen))
    expected, found = (bench(table, folder / "bench") for folder in (tmp_path, bucket))
    assert found.correlations.drop_columns(["seconds"]).equals(expected.correlations.drop_columns(["seconds"]))
    again = bench(None, bucket / "bench", resume=True)
    assert again.correlations.equals(found.correlations)
    assert api.report(bucket / "bench") == bucket / "bench" / "report.html"


# -- one driver --------------------------------------------------------------------------------------------------------


def test_a_second_driver_is_refused_in_one_line_before_anything_starts(bucket: ObjectPath) -> None:
    folder = bucket / "run"
    with held(folder):
        started = time.monotonic()
        done = raynas_command("search", "vit", "-o", "num_params", "--budget", "4", "--resume", "--out", str(folder))
        assert time.monotonic() - started < 60
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert re.fullmatch(rf"raynas: run folder {folder} is being written by process {os.getpid()} on \S+", last)
        assert "Traceback" not in done.stderr
    assert files_below(folder) == []
    check_free(folder)


@pytest.mark.long
def test_a_killed_driver_is_resumed_as_if_nobody_had_killed_it(bucket: ObjectPath, tmp_path: Path) -> None:
    expected = search(tmp_path / "run", settings=PAUSE)
    folder = bucket / "run"
    for number in (2, 8):
        with driver(folder, settings=PAUSE) as process:
            eventually(lambda number=number: len(parts_in(folder)) > number, process)
    assert raynas.load_run(folder).table.num_rows < 60
    recorder = Recorder()
    found = search(folder, settings=PAUSE, resume=True, listener=recorder)
    assert content(found) == content(expected)
    assert [one.id for one in recorder.told] == list(range(60))
    assert {name.rpartition("-")[2] for name in parts_in(folder)} <= {f"e{epoch}.parquet" for epoch in (1, 2, 3)}


@pytest.mark.slow
def test_a_driver_that_wakes_up_after_its_folder_was_taken_ends_at_once(
    bucket: ObjectPath, proxy: Proxy, tmp_path: Path
) -> None:
    expected = search(tmp_path / "run", settings=PAUSE, budget=40)
    folder = bucket / "run"
    with driver(folder, settings=PAUSE, budget=40) as sleeper:
        eventually(lambda: len(parts_in(folder)) > 5, sleeper)
        proxy.harm = lambda request: "hold" if request.method == "PUT" and "/part-" in request.key else None
        assert proxy.held.wait(30)  # a part is on its way
        sleeper.send_signal(signal.SIGSTOP)
        late = Path([one.key for one in proxy.requests if one.method == "PUT" and "/part-" in one.key][-1]).name
        proxy.harm = lambda request: None

        found = search(folder, settings=PAUSE, budget=30, resume=True)  # after the lease has stood still
        assert found.summary["evaluations"] == 30
        taken = parts_in(folder)
        assert late not in taken
        proxy.released.set()
        eventually(lambda: late in parts_in(folder))
        found = raynas.load_run(folder)
        assert content(found) == content(search(tmp_path / "shorter", settings=PAUSE, budget=30))

        sleeper.send_signal(signal.SIGCONT)
        _, told = sleeper.communicate(timeout=30)
    assert sleeper.returncode == 1
    assert re.search(
        r"StoreError: .*(process \d+ on \S+|another process) has taken over the folder, as this process had not "
        rf"renewed its lease for {LEASE_S:g} s; this process writes nothing more there$",
        told.strip(),
    ), told
    assert sorted({*parts_in(folder)} - {*taken}) == [late]
    assert json.loads(read_bytes(folder / "summary.json"))["status"] == "completed"

    lines: list[str] = []
    recorder = Recorder()
    recorder.on_log = lines.append  # type: ignore[method-assign]
    assert content(search(folder, settings=PAUSE, budget=40, resume=True, listener=recorder)) == content(expected)
    assert f"set aside {late}: it was written by a process that had lost the folder" in "\n".join(lines)
    assert names_in(folder / "set_aside") == [late]


@pytest.mark.long
def test_a_driver_whose_folder_was_taken_ends_though_it_writes_nothing(bucket: ObjectPath) -> None:
    folder = bucket / "run"
    with driver(folder, settings={"toy": {"pause_s": 600.0}}, workers=1) as process:
        eventually(lambda: "summary.json" in names_in(folder), process)
        lease = json.loads(read_bytes(folder / ".lock"))
        write_text(folder / ".lock", json.dumps({**lease, "id": "other", "holder": "somebody else", "epoch": 9}))
        _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"StoreError: run folder {folder} is lost: somebody else has taken over" in told


# -- what a store is not for -------------------------------------------------------------------------------------------


def test_what_needs_a_disk_is_refused_before_anything_is_written(bucket: ObjectPath) -> None:
    source, other = bucket / "run", str(bucket / "other")
    raynas.search("as-vit", objectives=["num_params"], img_size=32, budget=6, workers=0, out=source)
    told = "an export is for other programs"
    with pytest.raises(ConfigError, match=f"^{told}.*: name a folder on a disk in place of {other}$"):
        api.export(source, out=other, untrained=True)
    assert names_in(bucket) == ["run"]


# -- raynas list runs --------------------------------------------------------------------------------------------------


def test_runs_are_listed_with_how_they_stand(bucket: ObjectPath, tmp_path: Path) -> None:
    search(bucket / "a" / "done", budget=7)
    search(bucket / "b" / "going", budget=5)
    search(bucket / "b" / "killed", budget=6)
    for name in ("going", "killed"):
        summary = json.loads(read_bytes(bucket / "b" / name / "summary.json"))
        write_text(bucket / "b" / name / "summary.json", json.dumps({**summary, "status": "running"}))
    write_text(bucket / "c" / "run.yaml", "no: run")
    write_text(bucket / "d" / "notes.txt", "no run at all")
    with held(bucket / "b" / "going"):
        done = raynas_command("list", "runs", str(bucket), "--json")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
    assert [(row["folder"], row["status"], row["progress"]) for row in rows] == [
        (f"{bucket}/a/done", "completed", "7 of 7 evaluations"),
        (f"{bucket}/b/going", "running", "5 of 5 evaluations"),
        (f"{bucket}/b/killed", "killed", "6 of 6 evaluations"),
        (f"{bucket}/c", "unreadable", None),
    ]
    assert [(row["kind"], row["space"], row["done"]) for row in rows[:2]] == [
        ("search", "toy", 7),
        ("search", "toy", 5),
    ]
    assert "not the description of a run" in rows[3]["error"]
    below = raynas_command("list", "runs", f"{bucket}/b")
    assert below.stdout.count(f"{bucket}/b/") == 2
    assert "evaluations" in below.stdout


def test_runs_on_a_disk_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search(Path("runs/one"), budget=7)
    done = raynas_command("list", "runs")
    assert done.returncode == 0, done.stderr
    assert re.search(r"runs/one\s+search\s+toy\s+completed\s+7 of 7 evaluations\s+20\d\d-\d\d-\d\d \d\d:", done.stdout)
    assert json.loads(raynas_command("list", "runs", "--json").stdout)[0]["total"] == 7
    assert raynas_command("list", "runs", str(tmp_path / "runs" / "one" / "evaluations")).stderr.startswith(
        "there are no"
    )
    missing = raynas_command("list", "runs", "nowhere")
    assert (missing.returncode, missing.stderr) == (1, "raynas: there is no folder nowhere\n")
    wrong = raynas_command("list", "spaces", "runs")
    assert (wrong.returncode, wrong.stderr) == (1, "raynas: spaces are in no folder: 'runs' goes with runs\n")
    with pytest.raises(StoreError, match="there is no folder"):
        api.listing("runs", "nowhere")


# -- machines ----------------------------------------------------------------------------------------------------------

ON_A_MACHINE = """
import json, sys
sys.path.insert(0, {tests!r})
import raynas
from object_stores import made_bucket
from toy_runs import content, search
{work}
"""


@pytest.mark.netns
@pytest.mark.long
def test_a_driver_whose_machine_is_lost_is_resumed_on_another_one(tmp_path: Path) -> None:
    settings = {"settings": {"toy": {"pause_s": 0.5}}, "budget": 24}  # longer than it takes to look how far it is
    expected = content(search(tmp_path / "run", **settings))
    with Machines(3) as (store, first, second):
        store.popen([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000"], stderr=subprocess.DEVNULL)
        endpoint = f"http://{store.address}:5000"

        def python(work: str) -> list[str]:
            return [sys.executable, "-c", ON_A_MACHINE.format(tests=str(Path(__file__).parents[1]), work=work)]

        made = f"print(made_bucket({endpoint!r}))"
        eventually(lambda: store.run(python(made)).returncode == 0)
        folder = f"{store.run(python(made)).stdout.strip()}/run"
        on_it = f"run = search({folder!r}, resume=True, **{settings!r}); print(json.dumps(content(run)))"
        first.popen(python(on_it), env=credentials(endpoint), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = python(f"print(raynas.load_run({folder!r}).table.num_rows)")
        eventually(lambda: int(store.run(rows, env=credentials(endpoint)).stdout or 0) > 0)
        first.lose()
        assert 0 < int(store.run(rows, env=credentials(endpoint)).stdout) < 24
        done = second.run(python(on_it), env=credentials(endpoint))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))
