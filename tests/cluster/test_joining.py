"""Joining a cluster: what is refused before anything starts, and machines that are no nodes of it."""

from __future__ import annotations

import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from heads import listening_head
from machines import Machines
from toy_scores import TOY, toy_space

import raynas
from raynas.cluster import inquiry
from raynas.cluster.inquiry import ANSWER_S, ClusterInfo, address_towards, ask_cluster, check_joinable
from raynas.cluster.joining import cluster_address
from raynas.errors import ConfigError, PoolError, StoreError
from raynas.storage.locks import held
from raynas.storage.result_store import TIMING_COLUMNS

OPEN = {"RAY_AUTH_MODE": "disabled"}


def toy_search(folder: Path, **settings: object) -> raynas.Run:
    return raynas.search(
        toy_space(), proxies=[TOY], objectives=["toy"], searcher="regularized_evolution", window=16, budget=40,
        out=folder, **settings,
    )  # fmt: skip


def content(run: raynas.Run) -> list[dict[str, object]]:
    rows = run.evaluations.drop_columns([*TIMING_COLUMNS, "settings"]).to_pylist()
    return sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"]))


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def a_web_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


# -- which cluster -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "environment", "joined"),
    [
        (None, None, None),
        ("local", None, None),
        ("head:6379", None, "head:6379"),
        (None, "head:6379", "head:6379"),
        (None, "", None),
        (None, "local", None),
        ("other:6379", "head:6379", "other:6379"),
        ("local", "head:6379", None),
        ("", "head:6379", "head:6379"),
    ],
)
def test_what_is_given_comes_before_the_environment(
    given: str | None, environment: str | None, joined: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    assert cluster_address(given) == joined


@pytest.mark.parametrize("undertaking", ["search", "train", "sweep"])
def test_the_cluster_of_the_environment_is_joined_and_a_failure_leaves_nothing(
    undertaking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = nobody()
    monkeypatch.setenv("RAY_ADDRESS", address)
    out = tmp_path / "made" / "run"
    with pytest.raises(PoolError, match=f"cannot join the Ray cluster at '{address}'"):
        if undertaking == "search":
            toy_search(out, workers=2)
        elif undertaking == "train":
            raynas.train("as-vit-small", data="digits", img_size=32, epochs=1, workers=1, out=out)
        else:
            raynas.sweep("as-vit", objectives=["num_params"], img_size=32, budget=4, repeat=2, out=out)
    assert list(tmp_path.iterdir()) == []


# -- refused before anything starts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:0", "head:65536", "head:six", "../head:6379"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(PoolError, match="is no address of a Ray cluster: HOST:PORT of its head, or auto"):
        ask_cluster(address)


def test_the_address_of_a_client_is_told(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="'ray://head:10001' is the address of a Ray client"):
        toy_search(tmp_path / "run", address="ray://head:10001", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_node_of_no_cluster_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its address is needed"):
        toy_search(tmp_path / "run", join=True, workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_listens_and_is_no_cluster_is_told() -> None:
    with (
        a_web_server() as address,
        pytest.raises(PoolError, match=r"what listens there does not answer as Ray .* does"),
    ):
        ask_cluster(address)


@pytest.mark.slow
def test_a_head_that_listens_is_asked_until_it_is_a_node() -> None:
    with listening_head(OPEN) as (address, starting):
        starting.send_signal(signal.SIGSTOP)  # before it has written what it is, or made itself a node
        resumed = threading.Timer(1, starting.send_signal, [signal.SIGCONT])
        resumed.start()
        cluster = ask_cluster(address)
        resumed.join()
    assert len(cluster.nodes) == 1
    assert cluster.has_node_here


@pytest.mark.slow
def test_a_head_that_never_becomes_a_node_is_told() -> None:
    with listening_head(OPEN) as (address, starting):
        starting.send_signal(signal.SIGSTOP)  # or just after it has written what it is
        with pytest.raises(PoolError, match=f"'{address}'(: its head has listened for| has no living node)"):
            check_joinable(ask_cluster(address))


@pytest.mark.slow
def test_a_machine_that_imports_ray_slowly_asks_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_to_import_ray(tmp_path, ANSWER_S + 1, monkeypatch)
    with listening_head(OPEN) as (address, _):
        assert len(ask_cluster(address).nodes) == 1


def test_a_machine_that_cannot_import_ray_in_a_minute_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_to_import_ray(tmp_path, 600, monkeypatch)
    monkeypatch.setattr(inquiry, "_IMPORTS_S", 0.5)
    monkeypatch.setattr(inquiry, "ANSWER_S", 0.5)
    with a_web_server() as address, pytest.raises(PoolError, match=r"Ray takes over 0\.5 s to import on this machine"):
        ask_cluster(address)


def slow_to_import_ray(folder: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes that ask wait at `import ray`."""
    (folder / "sitecustomize.py").write_text(
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        time.sleep({seconds} * (name == 'ray'))\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    monkeypatch.syspath_prepend(folder)  # they find what is found here


@pytest.mark.parametrize(("ray", "python"), [("2.9.0", None), (None, "3.8.1")])
def test_other_versions_are_told(ray: str | None, python: str | None) -> None:
    from importlib.metadata import version

    here = ".".join(map(str, sys.version_info[:3]))
    cluster = ClusterInfo("head:6379", ray or version("ray"), python or here, ["head"], has_node_here=True)
    with pytest.raises(
        PoolError, match=f"was started with Ray {cluster.ray_version} and Python {cluster.python_version}"
    ):
        check_joinable(cluster)
    check_joinable(ClusterInfo("head:6379", version("ray"), here, ["head"], has_node_here=True))


def test_a_cluster_that_has_lost_all_its_nodes_is_told() -> None:
    with pytest.raises(PoolError, match=r"'head:6379' has no living node: `ray status --address=head:6379` says"):
        check_joinable(ClusterInfo("head:6379", "2.9.0", "3.8.1", [], has_node_here=False))


def test_the_folder_is_held_before_the_cluster_is_joined(tmp_path: Path) -> None:
    with held(tmp_path / "run"), pytest.raises(StoreError, match="is being written by"):
        toy_search(tmp_path / "run", address=nobody(), workers=2)


def test_the_address_towards_another_is_that_of_the_network_between() -> None:
    with a_web_server() as address:
        assert address_towards(address) == "127.0.0.1"


# -- machines ----------------------------------------------------------------------------------------------------------

ARGUMENTS = ("search", "vit", "-o", "num_params", "--img-size", "32", "--budget", "4", "--workers", "1")


@pytest.mark.netns
@pytest.mark.long
def test_a_machine_outside_says_how_to_join_or_joins_for_the_run(tmp_path: Path) -> None:
    with Machines(2) as machines:
        head, outside = machines
        address = head.start_ray("--num-cpus=1")
        refused = outside.raynas(*ARGUMENTS, "--address", address, "--out", str(tmp_path / "run"))
        assert refused.returncode == 1
        assert f"`ray start --address={address} --num-cpus=0` makes it one, and --join" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert list(tmp_path.iterdir()) == []
        done = outside.raynas(*ARGUMENTS, "--address", address, "--join", "--out", str(tmp_path / "run"))
        assert done.returncode == 0, done.stderr
        assert not outside.has_raylet()
        inside = head.raynas(*ARGUMENTS, "--out", str(tmp_path / "inside"), env={"RAY_ADDRESS": address})
        assert inside.returncode == 0, inside.stderr
        asked = head.run([sys.executable, "-m", "raynas.cluster.inquiry", "auto"]).stdout
    joined, of_the_head = (raynas.load_run(tmp_path / name) for name in ("run", "inside"))
    assert content(joined) == content(of_the_head)
    answer = json.loads(asked.partition("raynas cluster: ")[2])
    assert answer["nodes"] == [head.address]  # the other one has left
    assert answer["has_node_here"]


@pytest.mark.netns
@pytest.mark.long
def test_a_machine_without_a_token_says_what_to_set(tmp_path: Path) -> None:
    right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    with Machines(1) as machines:
        address = machines[0].start_ray("--num-cpus=1", env=right)
        wrong = {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}  # Ray ends the process that asks for one
        done = machines[0].raynas(*ARGUMENTS, "--address", address, "--out", str(tmp_path / "run"), env=wrong)
    assert done.returncode == 1
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the head node" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_inquiry_imports_neither_torch_nor_more_of_raynas() -> None:
    code = (
        "import sys, raynas.cluster.inquiry\n"
        "print([name for name in sys.modules if name in ('torch', 'scipy') or name.startswith('raynas.s')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
