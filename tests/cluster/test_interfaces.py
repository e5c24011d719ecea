"""Trainings over several machines: which network they talk over, and that a lost machine costs no more than time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from machines import Machines
from ray.exceptions import RayActorError
from toy_trainings import largest_difference

import raynas
from raynas.cluster.interfaces import VARIABLES, interface_of, use_interface_of_the_node
from raynas.cluster.process_groups import CheckedNodes
from raynas.errors import PoolError
from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint

ARGUMENTS = (
    "train", "as-vit-small", "--data", "digits", "--img-size", "32", "--max-images", "200", "--batch-size", "40",
    "--augment", "none", "--seed", "3",
)  # fmt: skip


def test_each_address_of_this_machine_is_found_with_its_interface() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            assert interface_of(one.address.partition("%")[0]) in psutil.net_if_addrs()
            if one.address == "127.0.0.1":
                assert interface_of("127.0.0.1") == name
    assert interface_of("203.0.113.77") is None


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(VARIABLES[0], "mine")
    monkeypatch.delenv(VARIABLES[1], raising=False)
    use_interface_of_the_node()
    assert os.environ[VARIABLES[0]] == "mine"
    assert os.environ[VARIABLES[1]] == interface_of("127.0.0.1")
    monkeypatch.delenv(VARIABLES[1])


def test_ray_train_asks_for_the_backend_of_a_configuration() -> None:
    # A private class of Ray's is extended: this says that it is still there, and used.
    order: list[str] = []

    class Group:
        def get_workers(self) -> list[object]:
            return []

        def execute(self, function: object) -> None:
            order.append(getattr(function, "__name__", ""))
            raise InterruptedError

    config = CheckedNodes()
    with pytest.raises(InterruptedError):
        config.backend_cls().on_start(Group(), config)
    assert order == ["use_interface_of_the_node"]


def test_a_worker_that_is_lost_whenever_it_starts_is_not_started_for_ever() -> None:
    class Group:
        def get_workers(self) -> list[object]:
            return []

        def execute(self, function: object) -> None:
            raise RayActorError(error_msg="The actor died.\nhostname='far', pid=77")

    config = CheckedNodes()
    backend = config.backend_cls()
    for _ in range(2):
        with pytest.raises(RayActorError):
            backend.on_start(Group(), config)
    told = r"^a worker was lost 3 times while it started: its process 77 on far was lost$"
    with pytest.raises(PoolError, match=told):
        backend.on_start(Group(), config)


@pytest.mark.netns
@pytest.mark.long
def test_a_training_over_two_machines_survives_the_loss_of_one(tmp_path: Path) -> None:
    epochs = "6"
    with Machines(3) as machines:
        address = machines[0].start_ray("--num-cpus=0")
        for other in (machines[1], machines[2]):
            other.start_ray("--num-cpus=1", head=machines[0])
        words = (*ARGUMENTS, "--epochs", epochs, "--address", address, "--workers", "2", f"--out={tmp_path / 'run'}")
        training = machines[0].popen([sys.executable, "-m", "raynas.cli", *words])
        metrics, deadline = tmp_path / "run" / "metrics.parquet", monotonic() + 300
        while not metrics.exists():
            assert monotonic() < deadline
            assert training.poll() is None
            sleep(0.5)
        machines[2].lose()
        machines.add(3).start_ray("--num-cpus=1", head=machines[0])
        assert training.wait(400) == 0
    alone = raynas.train(
        "as-vit-small", data="digits", img_size=32, max_images=200, batch_size=40, augment="none", seed=3,
        epochs=int(epochs), workers=0, out=tmp_path / "alone",
    )  # fmt: skip
    weights, others = (
        read_checkpoint(checkpoint_folder(folder) / LAST)["model"] for folder in (tmp_path / "run", alone.folder)
    )
    assert largest_difference(weights, others) < 1e-4
