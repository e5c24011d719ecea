"""One network trained under different settings, under Ray Tune."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from random_moments import killed_at
from report_folders import embedded
from report_pages import sections
from toy_finalists import epochs_done
from toy_trainings import SMALL, largest_difference, trained, weights
from toy_variants import SHARED, variants_config

import raynas
from raynas.api import supernet_variants, variants
from raynas.cli import main
from raynas.cli.train import varied_settings
from raynas.errors import ConfigError, StoreError
from raynas.trials.folder import load_trials
from raynas.trials.run import TrialsListener, execute_trials
from raynas.variants.config import FIXED, MOST_VARIANTS
from raynas.variants.plan import file_name, make_variants_plan

pytest_plugins = ["report_browser"]

VARY = {"lr": ["1e-3", 1e-4], "label_smoothing": [0.0, 0.2]}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """That of a node with room for two trials at once, which this process has joined."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def carried_out(*words: str) -> None:
    """Carry out a command, which ends well."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert not end.value.code


# -- the grid ----------------------------------------------------------------------------------------------------------


def test_each_combination_of_the_values_is_a_training_of_its_own() -> None:
    plan = make_variants_plan(variants_config(VARY))
    by_hand = [(1e-3, 0.0), (1e-3, 0.2), (1e-4, 0.0), (1e-4, 0.2)]
    assert [(one.config.lr, one.config.label_smoothing) for one in plan.plans.values()] == by_hand
    assert [member.settings for member in plan.members] == [
        {"lr": lr, "label_smoothing": smoothing} for lr, smoothing in by_hand
    ]
    assert list(plan.plans) == [
        "1-lr=0.001-label_smoothing=0",
        "2-lr=0.001-label_smoothing=0.2",
        "3-lr=0.0001-label_smoothing=0",
        "4-lr=0.0001-label_smoothing=0.2",
    ]
    assert [member.text for member in plan.members][:2] == [
        "lr=0.001, label_smoothing=0",
        "lr=0.001, label_smoothing=0.2",
    ]
    assert len({json.dumps(one, sort_keys=True, default=str) for one in plan.identity()["trainings"].values()}) == 4


def test_images_are_those_of_each_variant_and_looked_at_once_where_they_are_the_same() -> None:
    same = list(make_variants_plan(variants_config(VARY)).plans.values())
    assert all(one.rows is same[0].rows for one in same)
    seeds = list(make_variants_plan(variants_config({"seed": [0, 1]})).plans.values())
    assert not np.array_equal(seeds[0].val_rows, seeds[1].val_rows)
    sizes = make_variants_plan(variants_config({"max_images": [60, 120]}, batch_size=16)).plans.values()
    assert [len(one.rows) + len(one.val_rows) for one in sizes] == [60, 120]


@pytest.mark.parametrize("characters", ["a/b c", "ß", "x" * 300, "../..", "a\nb"])
def test_folders_have_names_that_stores_and_disks_take(characters: str) -> None:
    name = file_name({"data": characters, "lr": 1e-5})
    assert name.isascii()
    assert len(name) <= 60
    assert not set(name) & set('/\\ \n:*?"<>|')


@pytest.mark.parametrize(
    ("vary", "more", "message"),
    [
        ({}, {}, "vary names no setting"),
        ({"lr": [1e-3]}, {}, "lr has fewer than two values"),
        ({"lr": []}, {}, "lr has fewer than two values"),
        ({"lr": ["1e-3", 0.001]}, {}, "variant lr=0.001: it is there twice"),
        ({"lr": 1e-3}, {}, "lr has 0.001, which is no list of values"),
        ({"lr": "1e-3"}, {}, "lr has '1e-3', which is no list of values"),
        ({"learning_rate": [1, 2]}, {}, "unknown key 'learning_rate'"),
        ({"seed": range(200), "batch_size": range(2, 9)}, {}, "have 1,400 combinations; at most 256 are trained"),
        ({"epochs": [1, 2]}, {"halving": "synchronous"}, "trainings of different lengths are not compared on the way"),
        *(({name: [1, 2]}, {}, f"{name} is the same for all variants") for name in FIXED),
        ({"lr": [1e-3, -1]}, {}, r"variant lr=-1: lr: .* greater than 0, got -1"),
        ({"lr": [1e-3, "fast"]}, {}, r"variant lr=fast: lr: .* got 'fast'"),
        ({"img_size": [32, 33]}, {}, "variant img_size=33: img_size of as-vit is a multiple of"),
        ({"data": ["digits", "folder:nowhere"]}, {}, "variant data=folder:nowhere: "),
        ({"lr": [1e-3, 1e-4]}, {"grace": 5}, "grace says when trainings are stopped, and with halving none all go to"),
        ({"lr": [1e-3, 1e-4]}, {"workers": 2}, "each training is done by one process"),
        ({"warmup_epochs": [0, 4]}, {}, "variant warmup_epochs=4: warmup_epochs is 4; it must be below the 4 epochs"),
        ({"lr": [1e-3, 1e-4]}, {"halving": "asynchronous", "grace": 5}, "grace is 5 epochs, more than a"),
    ],
)  # fmt: skip
def test_what_is_no_grid_of_trainings_is_refused(vary: Any, more: dict[str, Any], message: str) -> None:
    from raynas.errors import RaynasError
    from raynas.variants.config import VariantsConfig

    own = {name: more.pop(name) for name in ("halving", "grace") if name in more}
    with pytest.raises(RaynasError, match=message):
        make_variants_plan(VariantsConfig.make({"vary": vary, "training": {**SHARED, **more}, **own}))


def test_a_grid_is_as_large_as_is_said() -> None:
    assert MOST_VARIANTS == 256
    config = variants_config({"seed": list(range(MOST_VARIANTS))})
    assert len(config.vary["seed"]) == MOST_VARIANTS


# -- the command -------------------------------------------------------------------------------------------------------


def test_values_are_read_from_the_command_line() -> None:
    texts = ["lr=1e-3,0.1", "augment=none,light", "betas=[0.9, 0.99],[0.9, 0.999]", "lr=5", "data=folder:a,folder:b"]
    assert varied_settings(texts) == {
        "lr": ["1e-3", 0.1, 5],  # a text in YAML 1.1, of which the configuration makes a number
        "augment": ["none", "light"],
        "betas": [[0.9, 0.99], [0.9, 0.999]],
        "data": ["folder:a", "folder:b"],
    }
    assert varied_settings([]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "lr"], "--vary takes KEY=VALUE,VALUE,..., such as lr=1e-4,1e-3, not 'lr'"),
        (["--vary", "lr="], "--vary takes KEY=VALUE,VALUE,..., such as lr=1e-4,1e-3, not 'lr='"),
        (["--vary", "lr=[1"], "--vary 'lr=[1': it is no YAML"),
        (["--vary", "lr=1,2", "--lr", "3"], "lr is varied, and set for all variants: one of the two"),
        (["--vary", "lr=1,2", "--set", "lr=3"], "lr is varied, and set for all variants: one of the two"),
        (["--vary", "lr=1,2", "--top", "3"], "--top and --compare go with --finalists"),
        (["--grace", "2"], "--grace goes with several trainings, such as --vary names"),
        (["--halving", "none"], "--halving goes with several trainings, such as --vary names"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["train", "as-vit", "-a", SMALL, *arguments, "--out", str(tmp_path / "run")])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_finalists_are_not_varied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["train", "--finalists", str(tmp_path), "--vary", "lr=1,2"])
    assert "--finalists takes the place of SOURCE, --architecture, --pick and --vary" in capsys.readouterr().err


def test_a_varied_setting_stands_over_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raynas.trials import run

    plans = []
    monkeypatch.setattr(run, "execute_trials", lambda plan, *_, **__: plans.append(plan))
    file = tmp_path / "settings.yaml"
    file.write_text("lr: 0.5\nepochs: 7\nlabel_smoothing: 0.0\n")
    given = {name: value for name, value in SHARED.items() if name not in ("space", "architecture", "epochs")}
    with pytest.raises(StoreError, match="holds no"):  # as nothing is carried out
        variants("as-vit", architecture=SMALL, vary={"lr": np.array([1e-3, 1e-2])}, config=file, out=tmp_path / "run",
                 listener=TrialsListener(), **given)  # fmt: skip
    (plan,) = plans
    found = [(one.config.lr, one.config.epochs, one.config.label_smoothing) for one in plan.plans.values()]
    assert found == [(1e-3, 7, 0.0), (1e-2, 7, 0.0)]
    assert yaml.safe_load(yaml.safe_dump(plan.config.model_dump()))["vary"] == {"lr": [1e-3, 1e-2]}


# -- carried out -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, address: str) -> Path:
    """Two variants, of which all is shown here; of two lengths."""
    folder = tmp_path_factory.mktemp("variants") / "run"
    shared = [
        item
        for name in ("max_images", "batch_size", "threads", "augment")
        for item in (f"--{name.replace('_', '-')}", str(SHARED[name]))
    ]
    out = ["--loader-processes", "0", "--set", "loggers=[]", "--address", address, "--out", str(folder)]
    carried_out(
        "train", "as-vit", "-a", SMALL, "--img-size", "32", "--vary", "epochs=1,3", "--lr", "1e-3", *shared, *out
    )
    return folder


@pytest.mark.slow
def test_variants_are_trained_as_if_alone(
    done: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load_trials(done, "variants")
    assert found.summary["status"] == "completed"
    assert [trial["status"] for trial in found.summary["trials"]] == ["completed", "completed"]
    assert {trial["name"]: trial["settings"] for trial in found.summary["trials"]} == {
        "1-epochs=1": {"epochs": 1},
        "2-epochs=3": {"epochs": 3},
    }
    for name, epochs in (("1-epochs=1", 1), ("2-epochs=3", 3)):
        alone = trained(tmp_path / name, **{**SHARED, "lr": 1e-3, "epochs": epochs})
        assert largest_difference(alone, weights(done / name)) == 0
        assert found.trainings[name].metrics.num_rows == epochs
    top1 = {name: one.metrics["val_top1"].to_pylist()[-1] for name, one in found.trainings.items()}
    assert [trial["top1"] for trial in found.summary["trials"]] == sorted(top1.values(), reverse=True)

    # What is taken from there is the most accurate one, as of finalists.
    exported = raynas.export(done, tmp_path / "exported")
    assert json.loads((exported / "config.json").read_text())["top1"] == max(top1.values())

    # Resumed, nothing is trained again; with another grid, it is another run.
    carried_out("train", "--resume", "--address", address, "--out", str(done))
    assert "2/2" not in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        main(["train", "--resume", "--vary", "epochs=1,2", "--address", address, "--out", str(done)])
    assert "trainings" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("vary", ["betas=[0.9,0.99],[0.8,0.99]", "seed=0,1", "max_images=60,80", "augment=none,light"])
def test_variants_of_all_kinds_of_values_are_resumed(
    vary: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ["--vary", vary, "--img-size", "32", "--epochs", "1", "--batch-size", "16", "--loader-processes", "0"]
    images = [] if vary.startswith("max_images") else ["--max-images", "60"]
    out = ["--threads", "1", "--address", address, "--out", str(folder)]
    carried_out("train", "as-vit", "-a", SMALL, *words, *images, *out)
    before = json.loads((folder / "summary.json").read_text())["trials"]
    assert [trial["status"] for trial in before] == ["completed"] * 2
    (folder / "summary.json").unlink()  # as of a driver that was killed: all is looked at again
    capsys.readouterr()
    carried_out("train", "--resume", "--address", address, "--out", str(folder))
    assert json.loads((folder / "summary.json").read_text())["trials"] == before
    page = embedded((folder / "report.html").read_text())
    assert ("seed" in page["points"]["values"]) == vary.startswith("seed")
    assert [trial["status"] for trial in page["trials"]] == ["completed"] * 2
    with pytest.raises(SystemExit, match="1"):
        main(
            ["train", "--resume", "--address", address, "--out", str(folder), "--set", f"{vary.partition('=')[0]}=null"]
        )
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "is varied, and set for all variants: one of the two" in line


@pytest.mark.slow
def test_the_page_of_variants(done: Path, browser: Any) -> None:
    data = embedded((done / "report.html").read_text())
    assert data["title"] == "as-vit variants"
    assert data["points"]["values"]["epochs"] == [trial["epochs"] for trial in data["trials"]]
    page = browser.new_page()
    page.goto((done / "report.html").as_uri())
    assert sections(page) == ["trainings", "trials", "next", "scatter", "setup"]
    headings = page.locator("#trials-table th").all_inner_texts()
    assert "variant" in " ".join(headings).lower()
    assert "settings" in " ".join(headings).lower()
    assert page.locator("#trainings-plot .plot path.line").count() == 2


@pytest.mark.long
@pytest.mark.parametrize("halving", ["none", "synchronous"])
def test_variants_killed_at_two_moments_come_out_as_if_nobody_had(address: str, tmp_path: Path, halving: str) -> None:
    config, folder = variants_config({"lr": [1e-3, 1e-4]}, halving=halving, epochs=3), tmp_path / "run"
    elsewhere = {**config.model_dump(), "training": {**config.training, "address": address}}
    code = (
        "from pathlib import Path; from raynas.variants.config import VariantsConfig;"
        "from raynas.variants.plan import make_variants_plan; from raynas.trials.run import execute_trials;"
        f"execute_trials(make_variants_plan(VariantsConfig.make({elsewhere!r})), Path({str(folder)!r}), resume=True)"
    )
    killed_at((1, 2), code, lambda: epochs_done(folder))
    summary = execute_trials(make_variants_plan(config), folder, resume=True)
    assert summary["status"] == "completed"
    alone = {
        name: trained(tmp_path / name, **{**SHARED, "epochs": 3, "lr": lr})
        for name, lr in (("1-lr=0.001", 1e-3), ("2-lr=0.0001", 1e-4))
    }
    ended = {trial["name"]: (trial["status"], trial["epochs_done"]) for trial in summary["trials"]}
    if halving == "none":
        assert ended == dict.fromkeys(alone, ("completed", 3))
    else:  # of two, one goes on after the first epoch
        assert sorted(ended.values()) == [("completed", 3), ("stopped", 1)]
    for name, (status, _) in ended.items():
        if status == "completed":
            assert largest_difference(alone[name], weights(folder / name)) == 0


@pytest.mark.long
def test_supernets_are_varied_in_how_they_sample(address: str, tmp_path: Path) -> None:
    settings = {
        "data": "digits", "img_size": 32, "epochs": 1, "batch_size": 32, "max_images": 160, "augment": "light",
        "loggers": [], "loader_processes": 0, "threads": 1, "val_fraction": 0.5, "choice_warmup_epochs": 0,
    }  # fmt: skip
    found = supernet_variants(
        "vit-res-nano", vary={"subnets": [1, 2]}, listener=TrialsListener(), address=address, out=tmp_path / "run",
        **settings,
    )  # fmt: skip
    for trial in found.summary["trials"]:
        row = found.trainings[trial["name"]].metrics.to_pylist()[-1]
        assert trial["accuracies"] == {"smallest": row["val_smallest_top1"], "uniform": row["val_uniform_top1"]}
        alone = raynas.api.train_supernet(
            "vit-res-nano", **settings, **trial["settings"], listener=None, out=tmp_path / trial["name"]
        )
        assert largest_difference(weights(tmp_path / trial["name"]), weights(tmp_path / "run" / trial["name"])) == 0
        assert alone.metrics["val_top1"].to_pylist() == [trial["top1"]]
    with pytest.raises(ConfigError, match="objective is varied, and set"):
        supernet_variants("vit-res-nano", vary={"objective": ["supernet", "classification"]}, objective="supernet")
    with pytest.raises(StoreError, match="of the kind variants"):
        raynas.train(out=tmp_path / "run", resume=True)
