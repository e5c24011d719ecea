"""`raynas doctor` on real clusters: on this machine, and on three machines of which one is broken in turn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
import ray
from machines import Machine, Machines

import raynas
from raynas.cli import main
from raynas.errors import ConfigError
from raynas.examination import examining, probe
from raynas.examination.examining import ExaminationListener

RAYNAS = str(Path(sys.executable).with_name("raynas"))
LONGEST_S = 60.0


def states(found: dict[str, Any], check: str) -> list[tuple[str, list[str]]]:
    return [(one["state"], list(one["where"])) for one in found["findings"] if one["check"] == check]


def texts(found: dict[str, Any], check: str) -> str:
    return "\n".join(one["text"] for one in found["findings"] if one["check"] == check)


# -- this machine ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """A Ray of this process, with a GPU that there is not."""
    ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.slow
def test_without_an_address_this_machine_is_examined(tmp_path: Path) -> None:
    command = [RAYNAS, "doctor", "--json", "--out", str(tmp_path / "made" / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    (node,) = found["nodes"]
    assert node["has_driver"]
    assert node["facts"]["errors"] == {}
    assert node["facts"]["cpus"] == len(psutil.cpu_percent(percpu=True))
    assert node["facts"]["versions"]["raynas"].startswith(f"{raynas.__version__} (files ")
    assert abs(node["clock"]["seconds"]) <= node["clock"]["uncertainty_s"] + 0.001  # it is the same clock
    usage = shutil.disk_usage(node["facts"]["session_disk"]["path"])
    assert node["facts"]["session_disk"]["total_bytes"] == usage.total
    assert states(found, "storage") == [("ok", [])]
    assert found["pairs"] == []
    failing = [one for one in found["findings"] if one["state"] == "fail"]
    assert done.returncode == (1 if failing else 0), done.stderr  # this machine's memory or disk may be nearly full
    assert {one["check"] for one in failing} <= {"memory", "disk"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_gpus_that_torch_does_not_see_fail_and_what_is_written_is_removed(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    (tmp_path / "mine").touch()
    found = raynas.doctor(out=tmp_path, listener=ExaminationListener()).plain()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert states(found, "storage") == [("ok", [])]
    if not torch.cuda.is_available():
        assert [state for state, _ in states(found, "GPUs")] == ["fail"]
        assert "Ray counts 1 GPU and torch sees 0" in texts(found, "GPUs")
        assert not found["is_ready"]
        with pytest.raises(SystemExit) as ended:
            main(["doctor"])
        assert ended.value.code == 1
        shown = capsys.readouterr()
        assert "asks 1 node" in shown.err
        assert "is not ready: 1 check fails, GPUs" in shown.err.replace("\n", " ")
        assert "torch sees 0" in shown.out
    assert ray.is_initialized()  # which was there before, and is left so


@pytest.mark.slow
def test_a_gpu_that_hangs_costs_nothing_but_what_it_would_say(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_ASK_GPUS", f"import time; print('{probe._IS_UP}', flush=True); time.sleep(600)")
    monkeypatch.setattr(examining, "GPUS_S", 5.0)
    found = raynas.doctor(listener=ExaminationListener()).plain()
    assert states(found, "GPUs") == [("fail", [found["nodes"][0]["name"]])]
    assert "not known: TimeoutError: torch gets no answer of them within 5 s: see what" in texts(found, "GPUs")
    (node,) = found["nodes"]
    assert list(node["facts"]["errors"]) == ["gpus"]
    assert node["clock"] is not None
    assert states(found, "nodes") == [("ok", [])]


def test_a_folder_in_which_a_file_stands_where_one_is_needed_fails(here: None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file; --out names the folder"):
        raynas.doctor(out=tmp_path / "file", listener=ExaminationListener())
    found = raynas.doctor(out=tmp_path / "file" / "below", listener=ExaminationListener()).plain()
    assert [state for state, _ in states(found, "storage")] == ["fail"]
    assert "cannot be used there (NotADirectoryError" in texts(found, "storage")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- three machines ----------------------------------------------------------------------------------------------------


class Cluster:
    """Three machines in a cluster, which are examined from the first.

    Args:
        machines: The machines.
        elsewhere: A folder from which commands are started, since Ray has workers find code where a driver does.
    """

    def __init__(self, machines: Machines, elsewhere: Path) -> None:
        self.machines, self._elsewhere = machines, elsewhere
        self.address = machines[0].start_ray("--num-cpus=1")
        self.started = [machines[0]]
        self.wait_for_nodes()  # a head that is not there yet takes no other ones
        self.start(machines[1])
        self.start(machines[2])

    def start(self, machine: Machine, env: dict[str, str] | None = None) -> None:
        machine.start_ray("--num-cpus=1", head=self.machines[0], env=env)
        self.started.append(machine)
        self.wait_for_nodes()

    def leave(self, machine: Machine) -> None:
        self.started.remove(machine)
        machine.lose()
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        ask = [sys.executable, "-m", "raynas.cluster.inquiry", self.address]
        deadline = monotonic() + 120
        while True:
            said = self.machines[0].run(ask).stdout.partition("raynas cluster: ")[2]
            if said and json.loads(said).get("nodes") == sorted(machine.address for machine in self.started):
                return
            assert monotonic() < deadline, said
            sleep(0.5)

    def command(self, *words: str) -> list[str]:
        arguments = [RAYNAS, "doctor", "--address", self.address, *words]
        return ["sh", "-c", 'cd "$0" && exec "$@"', str(self._elsewhere), *arguments]

    def examined(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.machines[0].run(self.command("--json", *words))
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Machines(3) as machines:
        yield Cluster(machines, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.netns
@pytest.mark.slow
def test_three_machines_that_are_well_are_ready(cluster: Cluster, tmp_path: Path) -> None:
    started = monotonic()
    code, found = cluster.examined("--out", str(tmp_path / "runs"))
    assert monotonic() - started < LONGEST_S
    assert (code, found["is_ready"]) == (0, True)
    addresses = [machine.address for machine in cluster.started]
    assert [node["name"] for node in found["nodes"]] == addresses
    # Interfaces are named so by whoever has made the machines.
    assert [node["facts"]["network"]["interface"] for node in found["nodes"]] == ["eth0", "eth1", "eth2"]
    # Their /dev/shm is of 1 GiB, of which Ray is told to take 200 MB.
    assert states(found, "shared memory") == [("warn", addresses)]
    assert f"{(2**30 - 200_000_000) / 2**20:.0f} MiB of /dev/shm are left" in texts(found, "shared memory")
    between = {(pair["taker"], pair["giver"]) for pair in found["pairs"]}
    assert between == {(one, other) for one in addresses for other in addresses if one != other}
    assert all(0 < pair["call_s"] < 1 and pair["bytes_per_s"] > 1e6 for pair in found["pairs"])
    assert "on 3 nodes, files are written once" in texts(found, "storage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.netns
@pytest.mark.slow
def test_a_folder_that_one_machine_has_for_itself_is_told(cluster: Cluster, tmp_path: Path) -> None:
    apart = cluster.machines[2]
    apart.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)])
    try:
        code, found = cluster.examined("--out", str(tmp_path / "runs"))
        left = apart.run(["ls", "-A", str(tmp_path)]).stdout
    finally:
        apart.run(["umount", str(tmp_path)])
    assert code == 1
    assert states(found, "storage") == [("fail", [apart.address])]
    assert f"is not shared: what {cluster.machines[0].address} writes is not there" in texts(found, "storage")
    assert left == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.netns
@pytest.mark.slow
def test_files_and_locks_that_one_machine_keeps_for_itself_are_told(cluster: Cluster, tmp_path: Path) -> None:
    """It sees what others write through a layer of its own, into which what it opens for writing is copied."""
    apart = cluster.machines[2]
    layer = "mkdir -p /tmp/ray/upper /tmp/ray/work && mount -t overlay overlay -o lowerdir=$0,upperdir=/tmp/ray/upper,"
    mounted = apart.run(["sh", "-c", f"{layer}workdir=/tmp/ray/work $0", str(tmp_path)])
    if mounted.returncode != 0:
        pytest.skip(f"layers of file systems cannot be mounted here: {mounted.stderr}")
    try:
        code, found = cluster.examined("--out", str(tmp_path))
    finally:
        apart.run(["umount", str(tmp_path)])
    first, second = (machine.address for machine in cluster.machines.machines[:2])
    assert code == 1
    assert states(found, "storage") == [("fail", [first]), ("fail", [apart.address]), ("fail", [first, second])]
    assert "lets a file be written a second time as a new one" in texts(found, "storage")
    assert f"can be locked there while {first} holds the lock" in texts(found, "storage")
    assert "is missing or other there" in texts(found, "storage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.netns
@pytest.mark.slow
def test_a_full_disk_is_told_of_the_machine_that_has_it(cluster: Cluster, tmp_path: Path) -> None:
    full = cluster.machines[1]
    full.run(["mount", "-o", "remount,size=64m", "/tmp/ray"])
    full.run(["sh", "-c", "head -c 62m /dev/zero > /tmp/ray/full || true"])
    try:
        code, found = cluster.examined()
    finally:
        full.run(["rm", "/tmp/ray/full"])
        full.run(["mount", "-o", "remount,size=50%", "/tmp/ray"])
    assert code == 1
    assert states(found, "disk") == [("fail", [full.address])]
    assert "of 64 MiB are free for what Ray keeps in /tmp/ray/session_" in texts(found, "disk")
    assert states(found, "storage") == []  # nobody has asked for it


@pytest.mark.netns
@pytest.mark.long
def test_machines_that_reach_the_driver_but_not_each_other_are_told(cluster: Cluster) -> None:
    one, other = cluster.machines[1], cluster.machines[2]
    one.run(["ip", "route", "add", "blackhole", f"{other.address}/32"])
    started = monotonic()
    try:
        code, found = cluster.examined()
    finally:
        one.run(["ip", "route", "delete", "blackhole", f"{other.address}/32"])
    assert monotonic() - started < LONGEST_S
    assert code == 1
    assert states(found, "nodes") == [("ok", [])]
    unmeasured = {(pair["taker"], pair["giver"]) for pair in found["pairs"] if pair["call_s"] is None}
    assert unmeasured == {(one.address, other.address), (other.address, one.address)}
    assert [state for state, _ in states(found, "pairs")] == ["fail"] * len(states(found, "pairs"))
    assert "both answer the driver, but not each other" in texts(found, "pairs")


@pytest.mark.netns
@pytest.mark.long
def test_a_machine_with_another_raynas_is_told_even_if_it_has_no_doctor(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("raynas", "searchspaces"):
        shutil.copytree(
            Path(raynas.__file__).parents[1] / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc")
        )
    shutil.rmtree(tmp_path / "raynas" / "examination")
    (tmp_path / "raynas" / "version.py").write_text('__version__ = "0.0.9"\n')
    other = cluster.machines.add(3)
    cluster.start(other, env={"PYTHONPATH": str(tmp_path), "GLOO_SOCKET_IFNAME": "eth77"})
    try:
        code, found = cluster.examined()
    finally:
        cluster.leave(other)
    assert code == 1
    assert states(found, "versions") == [("fail", [other.address])]
    assert texts(found, "versions").startswith("raynas is 0.0.9 (files ")
    assert states(found, "network") == [("fail", [other.address])]
    assert "GLOO_SOCKET_IFNAME is eth77, and interfaces there are eth3, lo" in texts(found, "network")


@pytest.mark.netns
@pytest.mark.long
@pytest.mark.parametrize("driver", [0, 4])  # at the head; where the link is cut
def test_a_link_that_is_cut_meanwhile_is_told_in_time(driver: int, cluster: Cluster, tmp_path: Path) -> None:
    lost = cluster.machines.add(4 + (driver == 0))
    cluster.start(lost)
    number = 4 + (driver == 0)
    started = monotonic()
    examining = (cluster.machines[0] if driver == 0 else lost).popen(
        cluster.command("--json", "--out", str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert examining.stderr is not None
    for line in examining.stderr:
        if line.startswith("measures"):
            cluster.machines.cut(number)
            break
    said, errors = examining.communicate(timeout=200)
    seconds = monotonic() - started
    cluster.leave(lost)
    assert examining.returncode == 1, errors
    assert "Traceback" not in errors
    found = json.loads(said)
    others = [machine.address for machine in cluster.started]
    silent = [node["name"] for node in found["nodes"] if node["silent"] is not None]
    assert silent == ([lost.address] if driver == 0 else others)
    assert [state for state, _ in states(found, "nodes")] == ["fail"] * len(states(found, "nodes"))
    assert [state for state, _ in states(found, "storage")] == ["ok"]
    assert seconds < LONGEST_S + 30  # for which Ray may try to leave
    assert list(tmp_path.iterdir()) == []
