"""Metrics of a pool: what the board asks for is what is counted, and what Prometheus would read is right."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from elastic_runs import search, wait_until
from machines import Machine, Machines

from raynas.cluster.metrics import PoolMetrics
from raynas.scoring.states import ItemState, WorkerState

BOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"
needs_agents = pytest.mark.skipif(importlib.util.find_spec("opencensus") is None, reason="needs the extra cluster")


def metric_names() -> set[str]:
    """Names under which Prometheus finds what is counted, as Ray changes them."""
    names = set()
    for metric in vars(PoolMetrics("run")).values():
        name, kind = f"ray_{metric.info['name']}", type(metric).__name__
        names |= {"Counter": {f"{name}_total"}, "Gauge": {name}}.get(
            kind, {f"{name}_{part}" for part in ("bucket", "sum")}
        )
    return names


def test_the_board_asks_for_what_there_is() -> None:
    board = json.loads(BOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    used = {name for text in asked for name in re.findall(r"\bray_\w+", text)}
    assert used
    assert used <= metric_names()
    states = {state for text in asked for state in re.findall(r'state="(\w+)"', text)}
    assert states <= {*WorkerState, *ItemState}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def scraped(machine: Machine) -> Iterator[tuple[str, dict[str, str], float]]:
    """What Prometheus would read: names, labels and values."""
    found = machine.run(["cat", "/tmp/ray/prom_metrics_service_discovery.json"]).stdout
    for target in json.loads(found)[0]["targets"]:
        code = f"import urllib.request; print(urllib.request.urlopen('http://{target}/metrics').read().decode())"
        for line in machine.run([sys.executable, "-c", code]).stdout.splitlines():
            if line.startswith("ray_raynas_"):
                name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
                yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)


@needs_agents
@pytest.mark.netns
@pytest.mark.long
def test_prometheus_reads_what_the_run_has_evaluated(tmp_path: Path) -> None:
    with Machines(2) as machines:
        head, other = machines
        address = head.start_ray("--num-cpus=1", "--include-dashboard=true")
        other.start_ray("--num-cpus=1", head=head)
        words = search(tmp_path, "--budget", "150", "--workers", "2", "--address", address)
        driver = head.popen([sys.executable, "-m", "raynas.cli", *words])
        summary = tmp_path / "run" / "summary.json"
        wait_until(driver, lambda: summary.exists() and json.loads(summary.read_text())["evaluations"] > 60)

        def totals() -> dict[tuple[str, str], float]:
            found = defaultdict[tuple[str, str], float](float)
            for name, labels, value in scraped(head):
                assert labels["run"] == "run"
                found[name, labels.get("status") or labels.get("state", "")] += value
            return found

        wait_until(driver, lambda: totals()["ray_raynas_evaluations_total", "ok"] > 60)
        found = totals()
        stored = json.loads(summary.read_text())
        assert [use["host"] for use in stored["nodes"]]
        assert {use["workers"] for use in stored["nodes"]} == {1}
        assert sum(use["evaluated"] for use in stored["nodes"]) >= stored["evaluations"]
        assert found["ray_raynas_workers", "busy"] == 2
        waiting = sum(found["ray_raynas_queue", state] for state in ItemState)
        assert 0 < waiting <= 16  # the window
        assert driver.wait(200) == 0
