"""Models that leave: run without raynas, in fresh processes, with the same outputs.

One file, since exports are made once and looked at by many tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import raynas
from raynas import Architecture, Choice, SearchSpace
from raynas.cli import main
from raynas.errors import ConfigError, RaynasError, StoreError
from raynas.exporting.folder import load_export
from raynas.models.families.as_vit import AsViT
from raynas.models.families.vit import ViT, plain_vit
from searchspaces.as_vit import as_vit
from searchspaces.autoformer import autoformer_tiny, autoformer_tiny_plain
from searchspaces.resnet import resnet
from searchspaces.vit import vit

ROOT = Path(__file__).parents[2]
# Overlapping patches and merges, windows in three stages, two of them padded at 32 pixels, heads that do not divide.
ODD = as_vit.read("7,7,2|3,4,1,2|4,2,1|4,1,1,2|32,12")
PLAIN = vit.read("p8-w24-d2-h3-m2.5")
LABELS = ["cat", "dog", "ship", "truck", "frog"]

# What every fresh process starts with: importing raynas, or what a model may not need, is an error.
ALONE = """
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
folder = Path({folder!r})
sys.path.insert(0, str(folder))
import numpy as np
"""


def alone(folder: Path, script: str, absent: tuple[str, ...] = ("raynas", "searchspaces", "ray", "timm")) -> str:
    """Run a script in a process of its own that sees the exported folder and no raynas."""
    code = ALONE.format(absent=(*absent,), folder=str(folder)) + script
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-c", code], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def training_folder(
    folder: Path, space: SearchSpace, architecture: Architecture, model: nn.Module, *, ema: nn.Module | None = None,
    retokenize: list[list[int]] | None = None, epoch: int = 3, step: int = 0, img_size: int = 32,
) -> Path:  # fmt: skip
    """A folder as a training leaves it."""
    size = {"img_size": img_size, "num_classes": 5}
    stored = {
        "kind": "training",
        "config": {**size, "space": space.name, "data": "digits", "epochs": 3, "retokenize": retokenize},
        "identity": {},
        "model": {
            "space": space.name,
            "architecture": {name: architecture[name] for name in architecture},
            "text": space.text(architecture),
            "label_names": LABELS,
            "settings": dict(size),
            **size,
        },
    }
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(stored))))
    (folder / "summary.json").write_text(json.dumps({"kind": "training", "status": "completed"}))
    state = {
        "model": model.state_dict(),
        "ema": None if ema is None else ema.state_dict(),
        "optimizer": {},
        "scaler": {},
        "epoch": epoch,
        "step": step,
        "history": [
            {"epoch": i, "val_top1": 0.1 * i, "ema_val_top1": None if ema is None else 0.2 * i} for i in range(epoch)
        ],
        "identity": "",
    }
    torch.save(state, folder / "checkpoints" / "last.pt")
    return folder


def drawn(architecture: Architecture, space: SearchSpace = as_vit, seed: int = 0, img_size: int = 32) -> Any:
    """A network whose weights are so large that its nonlinearities and positions matter."""
    torch.manual_seed(seed)
    made: Any = (AsViT if space is as_vit else plain_vit)(architecture, img_size=img_size, num_classes=5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim > 1 else 0.5)
    return made.eval()


def images(n: int, img_size: int = 32) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, 3, img_size, img_size)).astype(np.float32)


def outputs(model: nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.from_numpy(batch)).numpy()
    return found


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert expected.std() > 0.01
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AsViT]:
    """An As-ViT with all its odd features, exported with ONNX, and the network."""
    where = tmp_path_factory.mktemp("as-vit")
    model = drawn(ODD)
    training = training_folder(where / "run", as_vit, ODD, model)
    return raynas.export(training, where / "out", onnx=True), model


@pytest.fixture(scope="module")
def exported_vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ViT]:
    where = tmp_path_factory.mktemp("vit")
    model = drawn(PLAIN, vit)
    training = training_folder(where / "run", vit, PLAIN, model)
    return raynas.export(training, where / "out", onnx=True), model


# -- what was exported runs by itself ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_as_vit_runs_on_torch_alone(exported: tuple[Path, AsViT], tmp_path: Path) -> None:
    folder, model = exported
    np.save(tmp_path / "images.npy", images(3))
    script = f"""
import torch
import model
here = Path({str(tmp_path)!r})
images = torch.from_numpy(np.load(here / "images.npy"))
with torch.no_grad():
    np.save(here / "logits.npy", model.load()(images).numpy())
    elsewhere = model.load(str(folder))
    torch.manual_seed(0)
    fresh = model.create_model(num_classes=7)
    assert fresh(images).shape == (3, 7)
    assert abs(float(fresh.head.weight.std()) - 0.02) < 0.005
print(model.SETTINGS["kernel"], model.MEAN)
"""
    shown = alone(folder, script)
    assert_equal(np.load(tmp_path / "logits.npy"), outputs(model, images(3)))
    assert shown == "(7, 3, 4, 4) (0.485, 0.456, 0.406)\n"


@pytest.mark.slow
def test_timm_makes_exported_models_by_name(
    exported: tuple[Path, AsViT], exported_vit: tuple[Path, ViT], tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", images(2))
    script = f"""
import timm
import torch
import timm_model
here, other = Path({str(tmp_path)!r}), {str(exported_vit[0])!r}
names = [timm_model.NAME]
sys.path[0] = other
del sys.modules["timm_model"]
import timm_model
names.append(timm_model.NAME)
images = torch.from_numpy(np.load(here / "images.npy"))
for i, name in enumerate(names):
    model = timm.create_model(name, pretrained=True).eval()
    assert model.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert model.pretrained_cfg["input_size"] == (3, 32, 32)
    assert model.pretrained_cfg["num_classes"] == model.num_classes == 5
    assert tuple(model.pretrained_cfg["label_names"]) == {tuple(LABELS)!r}
    with torch.no_grad():
        np.save(here / f"{{i}}.npy", model(images).numpy())
        tuned = timm.create_model(name, pretrained=True, num_classes=9, drop_path_rate=0.1).eval()
        assert tuned(images).shape == (2, 9)
    kept = [torch.equal(a, tuned.state_dict()[n]) for n, a in model.state_dict().items() if not n.startswith("head")]
    assert all(kept)
    grey = timm.create_model(name, pretrained=True, in_chans=1)
    assert grey(images[:, :1]).shape == (2, 5)
    assert not torch.equal(timm.create_model(name).state_dict()["head.weight"], model.head.weight)
assert timm.data.resolve_data_config({{}}, model=model)["crop_mode"] == "squash"
print(*names)
"""
    shown = alone(exported[0], script, absent=("raynas", "searchspaces", "ray"))
    names = [name.rpartition("_")[0] for name in shown.split()]  # the last part is a hash of the weights
    assert names == [f"raynas_as_vit_{ODD.key[:8]}", f"raynas_vit_{PLAIN.key[:8]}"]
    assert_equal(np.load(tmp_path / "0.npy"), outputs(exported[1], images(2)))
    assert_equal(np.load(tmp_path / "1.npy"), outputs(exported_vit[1], images(2)))


def test_a_vit_is_a_plain_call_of_timm(exported_vit: tuple[Path, ViT], tmp_path: Path) -> None:
    folder, model = exported_vit
    np.save(tmp_path / "images.npy", images(3))
    script = f"""
import model, torch
from timm.models.vision_transformer import VisionTransformer
made = model.load()
assert type(made) is VisionTransformer
here = Path({str(tmp_path)!r})
with torch.no_grad():
    np.save(here / "logits.npy", made(torch.from_numpy(np.load(here / "images.npy"))).numpy())
"""
    alone(folder, script, absent=("raynas", "searchspaces", "ray"))
    assert_equal(np.load(tmp_path / "logits.npy"), outputs(model, images(3)))


def test_a_model_of_timm_leaves_as_a_call_of_timm(tmp_path: Path) -> None:
    """It once called itself without end, as the file's own function has the name of timm's."""
    folder = raynas.export("resnet10t", tmp_path / "out", space="timm", untrained=True, img_size=32, num_classes=5)
    np.save(tmp_path / "images.npy", images(2))
    script = f"""
import model, torch
here = Path({str(tmp_path)!r})
with torch.no_grad():
    np.save(here / "logits.npy", model.load()(torch.from_numpy(np.load(here / "images.npy"))).numpy())
"""
    alone(folder, script, absent=("raynas", "searchspaces", "ray"))
    assert_equal(np.load(tmp_path / "logits.npy"), outputs(load_export(folder).model, images(2)))


@pytest.mark.parametrize("kind", ["exported", "exported_vit"])
def test_onnx_runtime_gives_the_same_for_any_number_of_images(kind: str, request: pytest.FixtureRequest) -> None:
    import onnx
    import onnxruntime

    folder, model = request.getfixturevalue(kind)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        assert_equal(session.run(["logits"], {"images": images(n)})[0], outputs(model, images(n)))
    stated = json.loads((folder / "config.json").read_text())["onnx"]["opset"]
    found = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(found)
    assert [entry.version for entry in found.opset_import if entry.domain == ""] == [stated]


def test_the_folder_says_what_it_holds(exported: tuple[Path, AsViT]) -> None:
    folder, model = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "images.py", "model.onnx", "model.py", "model.safetensors", "timm_model.py"
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert as_vit.read(config["fields"]) == as_vit.read(config["text"]) == ODD
    assert config["architecture"] == config["name"]
    assert (config["space"], config["img_size"], config["num_classes"]) == ("as-vit", 32, 5)
    assert config["num_params"] == sum(parameter.numel() for parameter in model.parameters())
    assert config["class_names"] == LABELS
    assert config["top1"] == pytest.approx(0.2)
    assert config["weights"] == {
        "trained": True,
        "checkpoint": "last",
        "epochs": 3,
        "of_epochs": 3,
        "moving_average": False,
    }
    assert config["dtype"] == "float32"
    assert config["versions"]["torch"] == torch.__version__.partition("+")[0]
    readme = (folder / "README.md").read_text()
    assert config["name"] in readme
    assert "opset" in readme


def assert_readable(folder: Path) -> None:
    for tool in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, "--config", str(ROOT / "pyproject.toml"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    text = (folder / "model.py").read_text()
    assert "import raynas" not in text
    assert "from raynas" not in text
    assert text.index("SETTINGS = {") < text.index("def ")


def test_the_code_is_readable(exported: tuple[Path, AsViT], exported_vit: tuple[Path, ViT]) -> None:
    for folder in (exported[0], exported_vit[0]):
        assert_readable(folder)


@pytest.mark.parametrize("space", [as_vit, autoformer_tiny, autoformer_tiny_plain, resnet], ids=lambda one: one.name)
def test_a_network_written_in_several_files_leaves_as_one_with_the_same_bits(
    space: SearchSpace, tmp_path: Path
) -> None:
    architecture = space.sample(np.random.default_rng(0))
    size = {"img_size": 32, "num_classes": 3}
    folder = raynas.export(dict(architecture), tmp_path / "out", space=space, untrained=True, seed=3, **size)
    assert_readable(folder)
    torch.manual_seed(3)
    model = raynas.build(space, architecture, **size, **space.training).eval()
    np.save(tmp_path / "images.npy", images(2))
    script = f"""
import torch
import model
torch.set_num_threads(1)
here = Path({str(tmp_path)!r})
found = model.load()
with torch.no_grad():
    np.save(here / "logits.npy", found(torch.from_numpy(np.load(here / "images.npy"))).numpy())
torch.manual_seed(3)
fresh = model.create_model().state_dict()
print(all(torch.equal(value, fresh[name]) for name, value in found.state_dict().items()), *fresh)
"""
    same, *names = alone(folder, script).split()
    assert same == "True"
    assert names == list(model.state_dict())
    assert np.array_equal(np.load(tmp_path / "logits.npy"), outputs(model, images(2)))


# -- which weights -----------------------------------------------------------------------------------------------------


def loaded(folder: Path) -> nn.Module:
    from raynas.exporting.export import load_exported

    return load_exported(folder)


def test_the_moving_average_counts_where_there_is_one(tmp_path: Path) -> None:
    model, average = drawn(ODD), drawn(ODD, seed=1)
    training = training_folder(tmp_path / "run", as_vit, ODD, model, ema=average)
    folder = raynas.export(training, tmp_path / "out")
    assert_equal(outputs(loaded(folder), images(2)), outputs(average, images(2)))
    config = json.loads((folder / "config.json").read_text())
    assert config["weights"]["moving_average"] is True
    assert config["top1"] == pytest.approx(0.4)


def test_the_best_checkpoint_can_be_asked_for(tmp_path: Path) -> None:
    best = drawn(ODD, seed=2)
    training = training_folder(tmp_path / "run", as_vit, ODD, best)
    (training / "checkpoints" / "last.pt").rename(training / "checkpoints" / "best.pt")
    folder = raynas.export(training, tmp_path / "out", checkpoint="best")
    assert_equal(outputs(loaded(folder), images(2)), outputs(best, images(2)))
    with pytest.raises(StoreError, match=r"no checkpoint .*last\.pt"):
        raynas.export(training, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_finalists_give_the_weights_of_their_best(tmp_path: Path) -> None:
    folder = tmp_path / "finalists"
    models = [drawn(PLAIN.replace(depth=depth), vit, seed=depth) for depth in (1, 2)]
    trials = []
    for number, depth in enumerate((1, 2)):
        architecture = PLAIN.replace(depth=depth)
        training_folder(folder / f"0{number}", vit, architecture, models[number])
        costs = {"num_params": 1000 * depth, "macs": 1000 * depth}
        trials.append({"folder": f"0{number}", "top1": 0.5, "architecture": dict(architecture), "score": {}, **costs})
    (folder / "run.yaml").write_text(yaml.safe_dump({"kind": "finalists", "config": {}, "identity": {}}))
    (folder / "summary.json").write_text(json.dumps({"kind": "finalists", "best": trials}))
    batch = images(2)
    for pick, model in (([], models[0]), (["num_params>=2000"], models[1])):
        exported = raynas.export(folder, tmp_path / f"out{len(pick)}", pick=pick)
        assert_equal(outputs(loaded(exported), batch), outputs(model, batch))


@pytest.mark.parametrize(("epoch", "step", "stride"), [(1, 0, 16), (1, 4, 8), (2, 0, 8), (3, 0, 4)])
def test_tokens_are_those_that_the_weights_were_trained_with_last(
    tmp_path: Path, epoch: int, step: int, stride: int
) -> None:
    model = drawn(ODD)
    schedule = [[0, 16, 2], [1, 8, 1], [2, 4, 1]]
    training = training_folder(tmp_path / "run", as_vit, ODD, model, retokenize=schedule, epoch=epoch, step=step)
    folder = raynas.export(training, tmp_path / "out")
    model.retokenize(stride)
    assert_equal(outputs(loaded(folder), images(2)), outputs(model, images(2)))
    config = json.loads((folder / "config.json").read_text())
    assert config["macs"] == as_vit.macs(ODD, 32, 5, stride=stride)
    assert (config["top1"] is None) == bool(step)


def test_fresh_weights_follow_from_the_seed(tmp_path: Path) -> None:
    text = "8,2,3|4,1,2|4,1,4|4,1,6|32,8"
    settings = {"untrained": True, "img_size": 32, "num_classes": 4}
    folders = [raynas.export(text, tmp_path / str(i), seed=seed, **settings) for i, seed in enumerate((5, 5, 6))]
    first, second, third = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert first == second != third
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["weights"] == {"trained": False, "seed": 5}
    assert config["top1"] is None
    assert "not trained" in (folders[0] / "README.md").read_text()


@pytest.mark.parametrize("epoch", [2, 3])
def test_weights_of_an_unfinished_training_are_said_to_be_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], epoch: int
) -> None:
    training = training_folder(tmp_path / "run", vit, PLAIN, drawn(PLAIN, vit), epoch=epoch)
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(training), "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "out")
    assert said.err == ("weights of 2 of 3 epochs\n" if epoch == 2 else "")
    assert f"of {epoch} of 3 epochs" in (tmp_path / "out" / "README.md").read_text()


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_a_source_without_weights_is_refused_unless_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["export", "as-vit-small", "--out", str(tmp_path / "out")])
    assert "no trained weights in this source; export the folder of a training" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="0"):
        main(["export", "p16-w8-d1-h1-m1", "--untrained", "--img-size", "32", "--num-classes", "3", "--out",
              str(tmp_path / "out")])  # fmt: skip
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"untrained": True, "checkpoint": "last"}, "checkpoint 'last' and untrained exclude each other"),
        ({"checkpoint": "first"}, "checkpoint: input should be 'last' or 'best', got 'first'"),
        ({"img_size": 64}, "img_size is 64, but the trained model has 32"),
        ({"num_classes": 10}, "num_classes is 10, but the trained model has 5"),
        ({"pick": ["macs<=1"]}, "nothing to pick from"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    training = training_folder(tmp_path / "run", vit, PLAIN, drawn(PLAIN, vit))
    with pytest.raises(ConfigError, match=says):
        raynas.export(training, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is not empty: notes\.txt"):
        raynas.export("deit-tiny", tmp_path, untrained=True)
    with pytest.raises(StoreError, match="is a file"):
        raynas.export("deit-tiny", tmp_path / "notes.txt", untrained=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    training = training_folder(tmp_path / "run", vit, PLAIN, drawn(PLAIN.replace(depth=3), vit))
    with pytest.raises(StoreError, match="another architecture"):
        raynas.export(training, tmp_path / "out")


def test_a_model_that_has_no_plain_code_is_refused(tmp_path: Path) -> None:
    space = SearchSpace("own", {"width": Choice(4)}, lambda architecture, img_size, num_classes: nn.Linear(4, 4))
    with pytest.raises(ConfigError, match="Linear has no method plain_code"):
        raynas.export({"width": 4}, tmp_path / "out", space=space, untrained=True)


def test_outputs_that_differ_are_an_error_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ViT.plain_code

    def wrong(model: ViT) -> Any:
        code = original(model)
        return type(code)(**{**vars(code), "settings": {**code.settings, "num_heads": 1}})

    monkeypatch.setattr(ViT, "plain_code", wrong)
    training = training_folder(tmp_path / "run", vit, PLAIN, drawn(PLAIN, vit))
    with pytest.raises(RaynasError, match=r"outputs of the exported model\.py differ"):
        raynas.export(training, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_onnx_without_its_packages_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name.startswith("onnx") else original(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"ONNX needs the packages onnx, onnxscript, onnxruntime: \w+ .*onnx"):
        raynas.export("deit-tiny", tmp_path / "out", untrained=True, onnx=True)
    assert not list(tmp_path.iterdir())
