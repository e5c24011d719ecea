"""Files that start clusters: the launcher, KubeRay and Slurm take them, and would refuse what is misspelt in them."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import jsonschema
import pytest
import yaml
from machines import Machines

import raynas

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT.parent / "shared" / "data" / "kuberay"
LAUNCHED = [ROOT / "cluster.yaml", DEPLOY / "gcp.yaml", DEPLOY / "azure.yaml", DEPLOY / "own-nodes.yaml"]
KUBERAY = {"kuberay-cluster.yaml": "rayclusters.v1.schema.json", "kuberay-job.yaml": "rayjobs.v1.schema.json"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# -- the launcher ------------------------------------------------------------------------------------------------------


def launched(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_the_launcher_takes_it_and_refuses_what_is_misspelt(path: Path) -> None:
    config = read(path)
    launched(config)
    for key in config:
        if key in ("provider", "max_workers", "min_workers"):
            continue
        misspelt = {name if name != key else f"{name}x": value for name, value in config.items()}
        with pytest.raises(Exception, match=f"{key}x|required|head_node_type|node type|ssh"):
            launched(misspelt)


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_what_machines_run_is_said_for_all_of_them(path: Path) -> None:
    config = read(path)
    assert config["file_mounts"] == {"~/raynas-wheel": "dist", "~/.ray/auth_token": "~/.ray/auth_token"}
    starts = [
        line for part in ("head", "worker") for line in config[f"{part}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    head = path.read_text().partition("\ncluster_name:")[0]
    assert f"ray up {path.relative_to(ROOT)}\n" in head
    assert "# Change: " in head


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """The schema, with keys refused that it does not know, as the server refuses them when asked to validate."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = "properties" in schema and "additionalProperties" not in schema
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema = {**schema, "additionalProperties": False}
    return {key: strict(value) for key, value in schema.items()}


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document, outer ones first."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from mappings(inner)


@pytest.mark.skipif(not SCHEMAS.exists(), reason="the schemas of KubeRay are not here")
@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_it_and_refuses_what_is_misspelt(name: str) -> None:
    schema = strict(json.loads((SCHEMAS / KUBERAY[name]).read_text()))
    validator = jsonschema.Draft202012Validator(schema)
    document = read(DEPLOY / name)
    named = document.pop("metadata")  # which the schema leaves to Kubernetes itself
    assert re.fullmatch("[a-z-]+", named["name"])
    document["metadata"] = {}
    assert [error.message for error in validator.iter_errors(document)] == []
    free = {"metadata", "rayStartParams", "requests", "limits"}  # in which any key may stand
    places = [number for number, _ in enumerate(mappings(document))]
    refused = 0
    for number in places:
        changed = copy.deepcopy(document)
        place = list(mappings(changed))[number]
        place["misspelt"] = 1
        refused += bool(list(validator.iter_errors(changed)))
    num_free = sum(key in free for one in mappings(document) for key in one)
    assert refused >= len(places) - num_free
    assert refused > 10


@pytest.mark.parametrize("name", KUBERAY)
def test_all_of_kubernetes_has_the_version_of_ray_that_is_tested(name: str) -> None:
    spec = read(DEPLOY / name)["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    assert cluster["rayVersion"] == version("ray")
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"\d+\.\d+\.\d+", dockerfile) == [version("ray")] * 2
    (tag,) = re.findall(r"-t (\S+)", dockerfile)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {one["image"] for group in groups for one in group["template"]["spec"]["containers"]}
    assert images == {tag}


# -- Slurm -------------------------------------------------------------------------------------------------------------


def test_the_script_for_slurm_has_no_faults_that_are_seen_without_it() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("shellcheck")), str(DEPLOY / "slurm.sh")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


_SRUN = '''#!{python}
"""Stands for Slurm's srun: runs a command on the machine that is named, or on the other one, and passes signals on."""
import os, signal, subprocess, sys

words = sys.argv[1:]
options = [word for word in words if word.startswith("--")][: next(i for i, w in enumerate(words) if w[:2] != "--")]
inside = os.environ["OTHER" if any(word.startswith("--exclude") for word in options) else "HEAD"]
command = ["nsenter", "-t", inside, "--net", "--mount", "--pid", "--wd=" + os.getcwd(), *words[len(options):]]
process = subprocess.Popen(command, start_new_session=True)


def pass_on(number, frame):
    for child in open(f"/proc/{{process.pid}}/task/{{process.pid}}/children").read().split():
        os.kill(int(child), number)


signal.signal(signal.SIGTERM, pass_on)
sys.exit(process.wait())
'''
_SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then echo {head}; echo other; else echo "$@" >> {told}; fi
"""


@pytest.mark.netns
@pytest.mark.long
def test_a_job_of_slurm_uses_both_machines_and_goes_on_after_its_time(tmp_path: Path) -> None:
    tools, told, out = tmp_path / "tools", tmp_path / "told", tmp_path / "run"
    tools.mkdir()
    words = ["search", "vit", "-o", "synflow", "--img-size", "32", "--budget", "40", "--window", "8", "--workers", "2",
             "--resume"]  # fmt: skip
    with Machines(2) as machines:
        for name, text in (
            ("srun", _SRUN.format(python=sys.executable)),
            ("scontrol", _SCONTROL.format(head=machines[0].address, told=told)),
        ):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        env = {
            **os.environ, **machines[0].given, "HEAD": machines[0].inside, "OTHER": machines[1].inside,
            "SLURM_JOB_NODELIST": "both", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7",
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        command = [
            "ip",
            "netns",
            "exec",
            machines[0].network,
            "bash",
            str(DEPLOY / "slurm.sh"),
            *words,
            "--out",
            str(out),
        ]
        said = tmp_path / "said"
        with said.open("w") as file:  # which nodes that are left may have open, too
            job = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
        deadline = monotonic() + 120
        while not list(out.glob("evaluations/*.parquet")):
            assert monotonic() < deadline and job.poll() is None, said.read_text()
            sleep(0.5)
        job.terminate()  # as Slurm does before the time is over
        assert job.wait(120) == 143, said.read_text()
        assert told.read_text() == "requeue 7\n"
        assert raynas.load_run(out).summary["status"] == "interrupted"
        with said.open("w") as file:
            again = subprocess.run(command, env=env, stdout=file, stderr=subprocess.STDOUT, timeout=300)
        assert again.returncode == 0, said.read_text()
    run = raynas.load_run(out)
    assert run.summary["status"] == "completed"
    alone = raynas.search(
        "vit", objectives=["synflow"], img_size=32, budget=40, window=8, workers=0, out=tmp_path / "alone"
    )
    keys = ("architecture_key", "proxy", "value")
    assert sorted(run.evaluations.select(keys).to_pylist(), key=str) == sorted(
        alone.evaluations.select(keys).to_pylist(), key=str
    )
