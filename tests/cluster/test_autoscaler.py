"""A search and an autoscaler: it is asked for as many nodes as the work can use, and gets all of them back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
import yaml
from elastic_runs import content, search, undisturbed, wait_until
from machines import Machine, Machines

pytestmark = [pytest.mark.netns, pytest.mark.long]

HEAD_ID = "f" * 51 + "00000"
ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
}  # fmt: skip
IDLE_MINUTES = 0.25
PROXY = '''
import time
from pathlib import Path
from raynas.proxies.probe import Proxy

def late(probe, mark: str = ""):
    """Takes a second, but for the one that comes after fifty others."""
    with Path(mark).open("a") as file:
        place = file.tell()
        file.write("x")
    time.sleep(120 if place == 50 else 1)
    return 1.0

LATE = Proxy("late", late)
'''


def config(address: str) -> dict[str, Any]:
    """A cluster of Ray's own provider for tests, whose nodes are processes of the head's machine."""
    nothing: list[str] = []
    return {
        "cluster_name": "tried", "max_workers": 4, "idle_timeout_minutes": IDLE_MINUTES, "upscaling_speed": 20.0,
        "provider": {
            "type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True, "disable_node_updaters": True, "gcs_address": f"{address}:6379",
            "launch_multiple": True, "head_node_id": HEAD_ID,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "small": {"resources": {"CPU": 1, "object_store_memory": 100_000_000}, "node_config": {},
                      "min_workers": 0, "max_workers": 3},
        },
        "head_node_type": "ray.head.default", "auth": {"ssh_user": "nobody"}, "docker": {}, "file_mounts": {},
        "file_mounts_sync_continuously": False, "cluster_synced_files": nothing, "rsync_exclude": nothing,
        "rsync_filter": nothing, "initialization_commands": nothing, "setup_commands": nothing,
        "head_setup_commands": nothing, "worker_setup_commands": nothing, "head_start_ray_commands": nothing,
        "worker_start_ray_commands": nothing,
    }  # fmt: skip


def num_nodes(machine: Machine) -> int:
    """How many raylets run, the head's aside."""
    return machine.run(["ps", "-ww", "-eo", "args"]).stdout.count("raylet/raylet ") - 1


def wait_for(is_so: Callable[[], bool], seconds: float) -> float:
    """Wait until something is so; how long that took."""
    began = monotonic()
    while not is_so():
        assert monotonic() < began + seconds
        sleep(0.5)
    return monotonic() - began


def start(machine: Machine, folder: Path) -> str:
    """A head with an autoscaler; the address of its cluster."""
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(config(machine.address)))
    return machine.start_ray("--num-cpus=0", f"--autoscaling-config={file}", env=ENVIRONMENT)


def test_nodes_come_for_the_work_and_go_after_it_also_when_the_run_is_ended_by_a_signal(tmp_path: Path) -> None:
    budget = 200
    with Machines(1) as machines:
        (head,) = machines
        address = start(head, tmp_path)
        words = search(tmp_path, "--budget", str(budget), "--address", address, "--set", "waits.pause_s=1")
        command = [sys.executable, "-m", "raynas.cli", *words]

        def begun(*more: str) -> subprocess.Popen[str]:
            return head.popen([*command, *more], stderr=subprocess.PIPE)

        driver = begun("--workers", "1:2")
        wait_until(driver, lambda: num_nodes(head) == 2)
        sleep(5)
        assert num_nodes(head) == 2  # and not the three that there may be
        (process,) = psutil.Process(driver.pid).children()
        process.terminate()
        assert driver.wait(60) == 143, driver.stderr.read()
        assert wait_for(lambda: num_nodes(head) == 0, 120) > 5  # what was asked for is withdrawn
        driver = begun("--workers", "1:8", "--resume")
        wait_until(driver, lambda: num_nodes(head) == 3)
        said = driver.stderr.read()
        assert driver.wait(120) == 0, said
        wait_for(lambda: num_nodes(head) == 0, 120)
        assert content(tmp_path) == undisturbed(tmp_path / "alone", head, budget)


def test_workers_that_have_nothing_left_to_do_give_their_nodes_back_while_the_run_goes_on(tmp_path: Path) -> None:
    with Machines(1) as machines:
        (head,) = machines
        address = start(head, tmp_path)
        proxy, mark = tmp_path / "proxy.py", tmp_path / "mark"
        proxy.write_text(PROXY)
        words = (
            "search", "as-vit", "--img-size", "32", "--proxy", f"{proxy}:LATE", "-o", "late", "--set",
            f"late.mark={mark}", "--searcher", "random", "--budget", "60", "--workers", "1:3", "--address", address,
            "--out", str(tmp_path / "run"),
        )  # fmt: skip
        driver = head.popen([sys.executable, "-m", "raynas.cli", *words], stderr=subprocess.PIPE)
        wait_until(driver, lambda: num_nodes(head) == 3)
        # The late one has a node, and so has a worker for what may be queued behind it.
        wait_until(driver, lambda: num_nodes(head) <= 2, 200)
        assert driver.wait(200) == 0, driver.stderr.read()
