"""The best of a search, trained against each other under Ray Tune.

One file, since all finalists come from one search and train on one Ray.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from random_moments import killed_at, random_moments
from report_folders import epoch_rows, write_training
from toy_finalists import TRAINING, best_of_search
from toy_scores import SLOPE, TOY, toy_space
from toy_trainings import SMALL, largest_difference, trained, weights, with_broken_image

import raynas
from raynas import Architecture, Choice
from raynas.api.trials import finalists as trained_finalists
from raynas.cli import main
from raynas.errors import ConfigError, PoolError, SpaceError, StoreError
from raynas.finalists.choice import finalists
from raynas.finalists.config import FinalistsConfig
from raynas.finalists.plan import make_finalists_plan
from raynas.interruption import Interrupted
from raynas.report.trials import trials_report_data
from raynas.searching.run import SearchListener
from raynas.space.registered import spaces
from raynas.storage.sources import read_source
from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.plan import make_training_plan
from raynas.training.run import TrainingListener
from raynas.trials.folder import read_judged, write_judged
from raynas.trials.mark import Mark
from raynas.trials.run import TrialsListener, execute_trials
from raynas.trials.share import trial_share

TOYS = Path(__file__).parents[1] / "toy_objectives.py"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return best_of_search(tmp_path_factory.mktemp("finalists") / "search")


def config(source: Path, **settings: Any) -> FinalistsConfig:
    chosen = {"source": str(source), "top": 4, "training": TRAINING, **settings}
    return FinalistsConfig.make(chosen)


def test_finalists_are_ranked_front_by_front(searched: Path) -> None:
    rows = raynas.load_run(searched).table.to_pylist()
    assert all(row["length_distortion"] is not None for row in rows)

    def dominates(a: dict[str, float], b: dict[str, float]) -> bool:
        at_least = a["macs"] <= b["macs"] and a["length_distortion"] >= b["length_distortion"]
        return at_least and (a["macs"], a["length_distortion"]) != (b["macs"], b["length_distortion"])

    expected: list[str] = []
    fronts = 0
    while rows:
        front = [row for row in rows if not any(dominates(other, row) for other in rows)]
        expected += [row["architecture"] for row in sorted(front, key=lambda row: row["macs"])]
        rows = [row for row in rows if row not in front]
        fronts += 1
    assert fronts > 1
    found = finalists(searched, len(expected))
    assert [member.architecture.to_json() for member in found] == expected
    assert [member.name for member in found] == [
        f"{rank:02d}-{member.architecture.key[:8]}" for rank, member in enumerate(found, start=1)
    ]
    assert [member.architecture for member in finalists(searched, 4)] == [m.architecture for m in found[:4]]


@pytest.mark.parametrize(("objective", "sign"), [("toy", -1), ("toy:min", 1)])
def test_finalists_of_one_objective_are_the_best_that_violate_nothing(
    tmp_path: Path, objective: str, sign: int
) -> None:
    harms = Choice("none", "none of it", "raise", "nan")
    raynas.search(
        toy_space(a=Choice(*range(40)), b=Choice(*range(30)), harm=harms),
        proxies=[TOY, SLOPE],
        objectives=[objective],
        constraints=["slope<=0.5"],
        searcher="random",
        budget=60,
        workers=0,
        out=tmp_path / "run",
    )
    rows = raynas.load_run(tmp_path / "run").table.to_pylist()
    assert any(row["toy"] is None for row in rows)
    assert any(row["toy"] is not None and row["slope"] > 0.5 for row in rows)
    feasible = [row for row in rows if row["toy"] is not None and row["slope"] <= 0.5]
    assert len(feasible) > 5
    best = sorted(sign * row["toy"] for row in feasible)
    found = finalists(tmp_path / "run", len(feasible))
    assert [sign * member.scores["toy"] for member in found] == best
    with pytest.raises(ConfigError, match=f"holds {len(feasible)} feasible architectures"):
        finalists(tmp_path / "run", len(feasible) + 1)


def test_too_few_and_other_folders_are_refused(searched: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="feasible architectures with all objectives; --top is 50"):
        finalists(searched, 50)
    with pytest.raises(StoreError, match="holds no run"):
        finalists(tmp_path, 2)
    trained(tmp_path / "training")
    with pytest.raises(ConfigError, match="holds a run of the kind training; finalists come from a search"):
        finalists(tmp_path / "training", 2)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({**TRAINING, "workers": 2}, "each training is done by one process"),
        ({**TRAINING, "num_classes": 7}, "num_classes is 7, but data 'digits' has 10 classes"),
        ({**TRAINING, "epochz": 7}, "unknown key 'epochz'"),
        ({**TRAINING, "objective": f"{TOYS}:two_views"}, "by their accuracy, and the objective two_views has none"),
    ],
)
def test_trainings_are_checked_before_any_starts(searched: Path, training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_finalists_plan(config(searched, training=training))


@pytest.mark.parametrize(
    ("node", "gpus", "expected"),
    [
        ({"CPU": 8.0}, None, 0.0),
        ({"CPU": 8.0, "GPU": 4.0}, None, 1.0),
        ({"CPU": 8.0, "GPU": 4.0}, 0.0, 0.0),
        ({"CPU": 8.0, "GPU": 4.0}, 0.25, 0.25),
        ({"CPU": 8.0, "GPU": 4.0}, 4.0, 4.0),
    ],
)
def test_a_trial_takes_a_gpu_where_the_node_has_one(
    node: dict[str, float], gpus: float | None, expected: float
) -> None:
    training = TrainConfig.make({"space": "as-vit", "architecture": SMALL, "threads": 8})
    for nodes in ([node], [{"CPU": 0.0}, node]):  # of which the driver's is the first
        assert trial_share([training], gpus, nodes) == {"CPU": 8.0, "GPU": expected}
        assert trial_share([training.resolved(threads=None)], gpus, nodes) == {"CPU": 1.0, "GPU": expected}


@pytest.mark.parametrize(
    ("settings", "gpus", "node", "error", "message"),
    [
        ({}, 2.0, {"CPU": 2.0}, PoolError, "asks for 1 CPU and 2 GPU; Ray has 2 CPU and 0 GPU on this node"),
        ({}, 0.5, {"CPU": 2.0}, PoolError, r"asks for 1 CPU and 0\.5 GPU; Ray has 2 CPU and 0 GPU"),
        ({"threads": 64}, None, {"CPU": 2.0, "GPU": 1.0}, PoolError, "64 CPU and 1 GPU; Ray has 2 CPU and 1 GPU"),
        ({}, None, {}, PoolError, "asks for 1 CPU and 0 GPU; Ray has 0 CPU and 0 GPU"),
        ({}, 1.5, {"CPU": 2.0, "GPU": 4.0}, ConfigError, r"gpus_per_worker is 1\.5; Ray gives out parts of one GPU"),
        ({"precision": "float16"}, None, {"CPU": 2.0}, ConfigError, "precision float16 needs a GPU"),
        ({"precision": "float16"}, 0.0, {"CPU": 2.0, "GPU": 1.0}, ConfigError, "precision float16 needs a GPU"),
    ],
)
def test_what_the_node_has_not_got_is_refused(
    settings: dict[str, Any], gpus: float | None, node: dict[str, float], error: type[Exception], message: str
) -> None:
    training = TrainConfig.make({"space": "as-vit", "architecture": SMALL, **settings})
    with pytest.raises(error, match=message):
        trial_share([training], gpus, [node])


def test_what_no_node_has_alone_is_refused() -> None:
    training = TrainConfig.make({"space": "as-vit", "architecture": SMALL, "threads": 4})
    has = "asks for 4 CPU and 1 GPU; Ray has 2 CPU and 1 GPU, 8 CPU and 0 GPU on the nodes that they may run on"
    with pytest.raises(PoolError, match=has):
        trial_share([training], 1.0, [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}, {"CPU": 8.0}])


@pytest.mark.parametrize(("has_gpu", "visible"), [(True, "0,1"), (False, "")])
def test_a_trial_without_a_share_of_a_gpu_sees_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_gpu: bool, visible: str
) -> None:
    from raynas.trials.training_trial import TrainingJob, TrainingTrial

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    trial = TrainingTrial.__new__(TrainingTrial)  # Tune's own part is not needed
    plan = make_training_plan(TrainConfig.make({"space": "as-vit", "architecture": SMALL, "img_size": 32}))
    trial.setup({"trial": "a"}, TrainingJob(Mark(tmp_path, ""), {"a": plan}, has_gpu=has_gpu, until=1))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


@pytest.fixture(scope="module")
def joined() -> Iterator[None]:
    """A node with room for two trials at once, and with two GPUs as far as Ray knows."""
    import ray

    ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"threads": 64}, PoolError, "each training asks for 64 CPU and 1 GPU; Ray has 2 CPU and 2 GPU on this node"),
        ({"gpus_per_worker": 3}, PoolError, "each training asks for 1 CPU and 3 GPU; Ray has 2 CPU and 2 GPU"),
        ({"gpus_per_worker": 0, "precision": "float16"}, ConfigError, "precision float16 needs a GPU"),
    ],
)
def test_what_cannot_run_is_refused_before_a_folder_is_written(
    searched: Path, tmp_path: Path, joined: None, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    plan = make_finalists_plan(config(searched, training={**TRAINING, **settings}))
    with pytest.raises(error, match=message):
        execute_trials(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_says_what_is_refused_in_one_line(
    searched: Path, tmp_path: Path, joined: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--top", "2", "--max-images", "220", "--batch-size", "32", "--gpus-per-worker", "0"]
    for more, message in (
        (["--precision", "float16"], "precision float16 needs a GPU"),
        (["--space", "vit"], "space 'vit': an architecture has the fields"),
        (["--threads", "3"], "each training asks for 3 CPU and 0 GPU; Ray has 2 CPU and 2 GPU on this node"),
    ):
        with pytest.raises(SystemExit, match="1"):
            main(["train", "--finalists", str(searched), *arguments, *more, "--out", str(tmp_path / "run")])
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "run").exists()


class Heard(TrialsListener):
    """Keeps the lines, and how many GPUs Ray has given out at most."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gpus = 0.0

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        import ray

        self.gpus = max(self.gpus, 2 - ray.available_resources().get("GPU", 0.0))

    def on_log(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.long
def test_the_worst_are_stopped_early_and_the_others_are_trained_as_if_alone(
    searched: Path, tmp_path: Path, joined: None
) -> None:
    plan, heard, folder = make_finalists_plan(config(searched)), Heard(), tmp_path / "run"
    summary = execute_trials(plan, folder, listener=heard)
    assert (summary["status"], summary["error"]) == ("completed", None)
    assert heard.gpus == 2  # one for each of those that run at once, unless another share is asked for
    trials = summary["trials"]
    assert [trial["top1"] for trial in trials] == sorted((trial["top1"] for trial in trials), reverse=True)
    assert {trial["status"] for trial in trials} == {"completed", "stopped"}
    curves = {
        trial["folder"]: load_training(folder / trial["folder"]).metrics["val_top1"].to_pylist() for trial in trials
    }
    for trial in trials:
        own = curves[trial["folder"]]
        assert trial["epochs_done"] == len(own)
        assert trial["top1"] == own[-1]
        if trial["status"] == "completed":
            assert len(own) == 4
        else:  # after one of the epochs at which ASHA looks, when another one did better until then
            assert len(own) < 4
            assert any(
                other[rung] > own[rung] for other in curves.values() for rung in range(min(2, len(own), len(other)))
            )
    assert [best["name"] for best in summary["best"]] == [t["name"] for t in trials if t["status"] == "completed"]
    best = summary["best"][0]
    alone = trained(tmp_path / "alone", **TRAINING, architecture=json.dumps(best["architecture"]), img_size=32)
    assert largest_difference(weights(folder / best["folder"]), alone) == 0

    again = execute_trials(make_finalists_plan(config(searched)), folder, resume=True)
    assert again["trials"] == trials
    with pytest.raises(StoreError, match="grace was 1 and is now 2"):
        execute_trials(make_finalists_plan(config(searched, grace=2)), folder, resume=True)

    exported = raynas.export(folder, tmp_path / "exported")
    about = json.loads((exported / "config.json").read_text())
    assert about["top1"] == best["top1"]
    assert about["fields"] == json.loads(json.dumps(best["architecture"]))


# -- a space of one's own, and trials that fail ---------------------------------------------------------------------

OWN_SPACE = """
import os
from pathlib import Path

import torch
from torch import nn

from raynas import Choice, SearchSpace
from raynas.space.registered import models

HERE = Path(__file__).parent


@models.register("toy-convnet")
def convnet(architecture, *, img_size, num_classes):
    width = architecture["width"]
    if torch.empty(0).device.type != "meta":  # else its costs are counted
        with (HERE / "builds").open("a") as log:
            log.write(f"{width}\\n")
        tries = (HERE / "builds").read_text().split().count(str(width))
        if width == 4 and tries <= 4:
            raise RuntimeError("this width\\nis broken")
        if width == 8 and tries == 1:
            os._exit(1)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
    )


def num_params(architecture, img_size, num_classes):
    return (28 + num_classes) * architecture["width"] + num_classes


convnets = SearchSpace(
    "toy-convnets",
    {"width": Choice(*range(4, 44, 4))},
    "toy-convnet",
    num_params=num_params,
    search_img_size=32,
)
"""
OWN_TRAINING = {**TRAINING, "epochs": 2, "drop_path_rate": 0.0, "gpus_per_worker": 0}


@pytest.fixture(scope="module")
def own_search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of a space in a file, whose best is of the least width."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN_SPACE)
    (folder / "builds").touch()
    objectives = {"objectives": ["num_params:min"], "searcher": "random", "workers": 0}
    raynas.search(f"{folder / 'own.py'}:convnets", budget=10, out=folder / "search", **objectives)
    return folder


def test_a_space_passed_in_python_is_taken(own_search: Path, tmp_path: Path) -> None:
    space = spaces.get(f"{own_search / 'own.py'}:convnets")
    same = replace(space, name="passed")
    raynas.search(same, objectives=["num_params:min"], searcher="random", workers=0, budget=10, out=tmp_path / "run")
    made = config(tmp_path / "run", top=2, training=OWN_TRAINING)
    with pytest.raises(KeyError, match="unknown space 'passed'"):
        make_finalists_plan(made)
    plan = make_finalists_plan(made, space=same)
    assert plan.config.space == "passed"
    assert [one.architecture["width"] for one in plan.plans.values()] == [4, 8]
    assert all(one.space is same for one in plan.plans.values())
    with pytest.raises(SpaceError, match="space 'as-vit'"):
        make_finalists_plan(config(tmp_path / "run", space="as-vit", training=OWN_TRAINING))


@pytest.mark.long
def test_finalists_of_a_space_of_ones_own_that_fail_are_tried_again_after_the_others_and_when_resumed(
    own_search: Path, tmp_path: Path, joined: None
) -> None:
    folder, heard = tmp_path / "run", Heard()
    made = config(own_search / "search", top=3, grace=2, training=OWN_TRAINING)
    plan = make_finalists_plan(made)
    assert [member.architecture["width"] for member in plan.members] == [4, 8, 12]
    first, second, *_ = plan.plans
    builds = own_search / "builds"
    summary = execute_trials(plan, folder, listener=heard)
    assert heard.gpus == 0
    tried = builds.read_text().split()
    assert [tried.count(width) for width in ("4", "8", "12")] == [3, 2, 1]
    assert "4" in tried[tried.index("12") :]
    error = 'SpaceError: {"width":4} cannot be built: RuntimeError: this width is broken'
    again = f"{first} failed: {error}; it is tried again after the others"
    assert [line for line in heard.lines if line.startswith(first)] == [again, again, f"{first} failed: {error}"]
    lost = rf"{second}: its process on node [0-9a-f]{{8}} \(.+\) is lost; the training goes on from its last checkpoint"
    assert any(re.fullmatch(lost, line) for line in heard.lines)
    assert (summary["status"], summary["error"]) == ("failed", f"1 of 3 trainings failed: {first}: {error}")
    assert {trial["name"]: trial["error"] for trial in summary["trials"]} == {**dict.fromkeys(plan.plans), first: error}
    assert [trial["status"] for trial in summary["trials"]] == ["completed"] * 2 + ["failed"]
    before = ended(summary["trials"])

    # The failures of the session before are not counted: the first of this one is not the last.
    summary = execute_trials(make_finalists_plan(made), folder, resume=True, listener=heard)
    assert builds.read_text().split()[len(tried) :] == ["4", "4"]
    assert not (folder / "tune").exists()
    assert (summary["status"], summary["error"]) == ("completed", None)
    assert {trial["error"] for trial in summary["trials"]} == {None}
    assert before.items() < ended(summary["trials"]).items()

    best = read_source(str(folder))
    assert spaces.reference(best.space) == f"{own_search / 'own.py'}:convnets"
    assert dict(best.architecture) == summary["best"][0]["architecture"]
    assert load_training(folder / first).model()[-1].weight.shape == (10, 4)
    assert read_source(str(folder), pick=["num_params<=162"]).architecture["width"] == 4
    settings = {name: value for name, value in OWN_TRAINING.items() if name != "gpus_per_worker"}
    alone = raynas.train(folder, out=tmp_path / "alone", listener=TrainingListener(), **settings)
    assert alone.architecture == best.architecture
    assert largest_difference(weights(tmp_path / "alone"), weights(folder / summary["best"][0]["folder"])) == 0


class Interrupts(TrialsListener):
    """Sends this process a signal once a trial has ended: stopped early, or completed."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[str, int]] = {}

    def on_progress(self, trials: Sequence[Mapping[str, Any]]) -> None:
        if not self.ended and ended(trials):  # others are still to start then, as two run at once
            self.ended = ended(trials)
            os.kill(os.getpid(), signal.SIGINT)


def ended(trials: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, int]]:
    """Status and epochs of the trials that are over."""
    return {t["name"]: (t["status"], t["epochs_done"]) for t in trials if t["status"] in ("completed", "stopped")}


def check_resumed(folder: Path, made: FinalistsConfig, alone: Path, before: dict[str, tuple[str, int]]) -> None:
    """Going on keeps what has ended, and comes to the same weights as a training alone."""
    summary = execute_trials(make_finalists_plan(made), folder, resume=True)
    assert summary["status"] == "completed"
    assert before.items() <= ended(summary["trials"]).items()
    best = summary["best"][0]
    assert best["epochs_done"] == made.training["epochs"]
    settings = {**made.training, "architecture": json.dumps(best["architecture"]), "img_size": 32}
    assert largest_difference(weights(folder / best["folder"]), trained(alone, **settings)) == 0


def epochs_done(folder: Path) -> int:
    try:
        return sum(trial["epochs_done"] for trial in json.loads((folder / "summary.json").read_text())["trials"])
    except (OSError, ValueError):
        return 0


@pytest.mark.long
def test_interrupted_finalists_write_checkpoints_and_go_on(searched: Path, tmp_path: Path, joined: None) -> None:
    folder, made = tmp_path / "run", config(searched, training={**TRAINING, "epochs": 16})
    listener = Interrupts()
    with pytest.raises(Interrupted):
        execute_trials(make_finalists_plan(made), folder, listener=listener)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert listener.ended.items() <= ended(summary["trials"]).items()
    stopped = [trial for trial in summary["trials"] if trial["name"] not in ended(summary["trials"])]
    assert stopped  # two run at once, and not all others were stopped early
    for trial in stopped:
        if trial["epochs_done"]:
            is_over = trial["epochs_done"] == 16
            status = load_training(folder / trial["folder"]).summary["status"]
            assert status == ("completed" if is_over else "interrupted")
    check_resumed(folder, made, tmp_path / "alone", listener.ended)
    assert not (folder / "tune").exists()


class ToyTrial:
    """As much of one of Tune's trials as a scheduler looks at."""

    def __init__(self, name: str) -> None:
        self.trial_id = f"id of {name} in this session"
        self.config = {"trial": name}


def test_a_scheduler_judges_by_what_all_trials_had_reached_in_earlier_sessions(tmp_path: Path) -> None:
    from raynas.trials.halving import Halving

    judged = {"a": [0.5, 0.6, 0.7], "b": [0.4], "c": [0.3]}  # the second epoch of b was stored, and nobody told of it
    write_judged(tmp_path, judged)
    scheduler = Halving(
        read_judged(tmp_path, [*judged, "d"]), time_attr="epochs_done", max_t=8, grace_period=1, reduction_factor=2
    )
    scheduler.set_search_properties("top1", "max")
    trials = {name: ToyTrial(name) for name in "abd"}  # c was stopped
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)

    def decision(name: str, epoch: int, top1: float) -> str:
        return scheduler.on_trial_result(None, trials[name], {"epochs_done": epoch, "top1": top1})

    assert decision("b", 1, 0.4) == "CONTINUE"  # it had passed, though a alone did better
    assert decision("b", 2, 0.55) == "STOP"  # worse than a after as many epochs
    assert decision("a", 1, 0.5) == decision("a", 2, 0.6) == decision("a", 3, 0.7) == "CONTINUE"
    assert decision("d", 1, 0.39) == "STOP"  # the median of the three others is 0.4
    scheduler.on_trial_complete(None, trials["d"], {"epochs_done": 1, "top1": 0.39})
    scheduler.on_trial_remove(None, trials["b"])


def test_the_record_of_what_was_judged_may_be_missing_or_damaged(tmp_path: Path) -> None:
    rows = [{**row, "val_top1": top1} for row, top1 in zip(epoch_rows(2, macs=1000), [0.5, 0.25], strict=True)]
    write_training(tmp_path / "a", rows, epochs=8)
    assert read_judged(tmp_path, ["a", "b"]) == {"a": [0.5, 0.25]}  # as folders of before
    for damaged in ("", "[]", "{", '{"a": 3}', '{"a": ["x"]}'):
        (tmp_path / "judged.json").write_text(damaged)
        assert read_judged(tmp_path, ["a", "b"]) == {}


@pytest.mark.long
def test_trainings_that_wait_for_room_say_so(
    searched: Path, tmp_path: Path, joined: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynas.trials.run._IDLE_SAID_EVERY_S", 2.0)

    @ray.remote(num_cpus=ray.cluster_resources()["CPU"])
    class Other:
        def is_here(self) -> bool:
            return True

    other = Other.remote()
    assert ray.get(other.is_here.remote())
    lines: list[str] = []

    class SearchListener(TrialsListener):
        def on_log(self, line: str) -> None:
            lines.append(line)
            ray.kill(other)

    made = config(searched, top=2, training={**TRAINING, "epochs": 1})
    assert (
        execute_trials(make_finalists_plan(made), tmp_path / "run", listener=SearchListener())["status"] == "completed"
    )
    has = ray.cluster_resources()["CPU"]
    assert lines[0].startswith(
        f"waiting for trainings with 1 CPU and 1 GPU each; the cluster has 1 node with {has:g} CPU (0 free)"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "moments",
    [(3, 9), random_moments(4, most=11)],  # of 13 epochs at least, as one of two may be stopped after its first
)
def test_finalists_go_on_after_their_driver_was_killed(
    searched: Path, tmp_path: Path, joined: None, moments: tuple[int, ...]
) -> None:
    folder, made = tmp_path / "run", config(searched, top=2, training={**TRAINING, "epochs": 12})
    code = (
        "from pathlib import Path; from raynas.finalists.config import FinalistsConfig;"
        "from raynas.finalists.plan import make_finalists_plan; from raynas.trials.run import execute_trials;"
        f"execute_trials(make_finalists_plan(FinalistsConfig.make({made.model_dump()!r})), Path({str(folder)!r}),"
        "resume=True)"
    )
    killed_at(moments, code, lambda: epochs_done(folder), spread_s=1.0)
    assert 0 < epochs_done(folder) < 24
    before = ended(json.loads((folder / "summary.json").read_text())["trials"])
    check_resumed(folder, made, tmp_path / "alone", before)  # at once, while processes of the killed one are ending


@pytest.mark.parametrize("given", [None, "digits"])
def test_finalists_are_trained_on_the_images_of_their_search(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    source = Path(shutil.copytree(searched, tmp_path / "search"))
    description = yaml.safe_load((source / "run.yaml").read_text())
    description["config"] |= {"data": with_broken_image(tmp_path / "t.parquet", row=None), "skipped_images": ["row 7"]}
    (source / "run.yaml").write_text(yaml.safe_dump(description))
    seen: dict[str, Any] = {}

    def execute(plan: Any, folder: Path, **more: Any) -> None:
        seen.update(more, training=plan.config.training)
        raise StoreError("enough")

    monkeypatch.setattr("raynas.trials.run.execute_trials", execute)
    with pytest.raises(StoreError, match="enough"):
        trained_finalists(source, top=2, data=given, batch_size=32, epochs=2, out=tmp_path / "out")
    data = given or description["config"]["data"]
    assert seen["training"]["data"] == data
    assert list(seen["training"]["skipped_images"]) == ([] if given else ["row 7"])
    assert seen["note"] == ("" if given else f"trains on {data}, as {source} records it: --data names other images")


@pytest.mark.long
@pytest.mark.parametrize("halving", ["asynchronous", "synchronous"])
def test_the_uniform_network_is_trained_to_the_end_beside_the_best(
    searched: Path, tmp_path: Path, halving: str
) -> None:
    found = trained_finalists(
        str(searched), top=3, compare="uniform", halving=halving, reduction=4, out=tmp_path / "run",
        listener=TrialsListener(), **{**TRAINING, "epochs": 2},
    )  # fmt: skip
    trials = {trial["name"]: trial for trial in found.summary["trials"]}
    (uniform,) = (trial for trial in trials.values() if trial["is_compared"])
    assert uniform["status"] == "completed" and uniform["epochs_done"] == 2
    space = spaces.get("as-vit")
    size = {"img_size": 32, "num_classes": 10}
    best = finalists(searched, 1)[0].architecture
    assert space.macs is not None and space.uniform is not None
    costs = {one: space.macs(one, *size.values()) for one in space.uniform(space.fields)}
    target = space.macs(best, *size.values())
    assert Architecture(uniform["architecture"]) == min(costs, key=lambda one: abs(costs[one] - target))
    ended = [trial["top1"] for trial in trials.values() if trial["status"] == "completed" and not trial["is_compared"]]
    assert ended, "one of the best goes on"
    assert f"({max(ended):.2%} against {uniform['top1']:.2%})" in found.summary["comparison"]
    page = trials_report_data(tmp_path / "run", lambda folder: folder)
    assert page["comparison"] == found.summary["comparison"]
    at = [trial["name"] for trial in page["trials"]].index(uniform["name"])
    assert page["points"]["values"]["length_distortion"][at] is None  # it is no candidate of the search


def test_the_uniform_network_has_the_scores_that_the_search_gave_it(tmp_path: Path) -> None:
    run = raynas.search(
        "as-vit", objectives=["num_params:min"], proxies=["synflow"], searcher="random",
        img_size=32, data="digits", budget=6, compare=1, workers=0, out=tmp_path / "search", listener=SearchListener(),
    )  # fmt: skip
    made = make_finalists_plan(config(tmp_path / "search", top=1, compare="uniform"))
    told = run.summary["comparison"]["uniform"]["scores"]
    assert made.members[-1].is_compared and made.members[-1].scores == told and told.keys() == {"synflow"}
    # Compared by a cost, which no summary has among the scores.
    least = min(run.table["num_params"].to_pylist())
    found = run.summary["comparison"]
    assert found["winner"]["num_params"] == least and found["verdict"].startswith("by num_params, the winner is ")
    assert f"({least:.4g} against {found['uniform']['num_params']:.4g})" in found["verdict"]


def test_one_finalist_alone_has_nobody_to_be_compared_with(searched: Path) -> None:
    with pytest.raises(ConfigError, match="top is 1: finalists are at least two, or one with compare uniform"):
        config(searched, top=1)
    assert config(searched, top=1, compare="uniform").top == 1
