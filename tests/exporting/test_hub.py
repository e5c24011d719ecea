"""Exports of a network that was trained on digits: for a model hub, as timm loads it, and in 8 bits.

One file, since one training and one export are looked at by all tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits
from toy_trainings import trained

import raynas
from raynas.cli import main
from raynas.errors import ConfigError, DataError, RaynasWarning
from raynas.evaluation.run import EvaluationListener
from raynas.exporting.folder import load_export
from raynas.exporting.hub import data_name, training_facts
from raynas.stats.proportion import wilson_interval
from raynas.training.folder import load_training
from raynas.training.images import eval_transform

DIGITS = "1,797 handwritten digits of 8 x 8 pixels, embedded in scikit-learn"
SILENT = EvaluationListener()


def alone(folder: Path, script: str, *given: str, absent: tuple[str, ...] = ("raynas", "searchspaces", "ray")) -> str:
    """Run a script in a folder, in a process in which there is no raynas."""
    before = f"import sys\nfor name in {absent!r}: sys.modules[name] = None\nsys.path.insert(0, '.')\n"
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-c", before + script, *given],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as files, a folder for each class; the last ones, which the training may have seen."""
    where, digits = tmp_path_factory.mktemp("secret") / "photos", load_digits()
    for number in range(len(digits.target) - 120, len(digits.target)):
        folder = where / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 15.9).astype(np.uint8)).save(folder / f"{number}.png")
    return where


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("hub") / "run"
    settings = {"space": "vit", "architecture": "p8-w48-d2-h3-m2", "epochs": 20, "lr": 2e-3, "max_images": 600}
    trained(folder, **settings, eval_crop=0.875)
    raynas.evaluate(folder, out=folder / "evaluation", listener=SILENT)
    raynas.evaluate(folder, data=f"folder:{photos}", out=folder / "evaluation-photos", listener=SILENT)
    return folder


@pytest.fixture(scope="module")
def hub(run: Path) -> Path:
    return raynas.export(run, run.parent / "out", to="hub-folder", license="Apache-2.0", int8=True, listener=SILENT)


def front_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def test_timm_loads_the_folder_by_its_path_alone(run: Path, hub: Path, tmp_path: Path) -> None:
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 52, 3), dtype=np.uint8))
    torch.save(images, tmp_path / "images.pt")
    image.save(tmp_path / "photo.png")
    script = """
import timm, timm_model, torch
from pathlib import Path
from PIL import Image
here = Path(sys.argv[1])
model = timm.create_model("local-dir:.", pretrained=True).eval()
data = timm.data.resolve_data_config({}, model=model)
pixels = timm.data.create_transform(**data)(Image.open(here / "photo.png"))
with torch.no_grad():
    torch.save((model(torch.load(here / "images.pt")), pixels), here / "found.pt")
assert timm.create_model("local-dir:.", pretrained=True, num_classes=3)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
print(model.num_classes, model.num_features, *model.pretrained_cfg["label_names"])
"""
    said = alone(hub, script, str(tmp_path))
    assert said.split() == ["10", "48", *map(str, range(10))]
    logits, pixels = torch.load(tmp_path / "found.pt")
    with torch.no_grad():
        torch.testing.assert_close(logits, load_training(run).model()(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(pixels, eval_transform(32, 0.875)(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["test_vit", pytest.param("resnet10t", marks=pytest.mark.slow)])
def test_a_network_of_timms_own_is_loaded_without_any_import(name: str, tmp_path: Path) -> None:
    with pytest.warns(RaynasWarning, match="licence is unknown; --license names it"):
        folder = raynas.export(
            name, tmp_path / "out", space="timm", to="hub-folder", untrained=True, img_size=32, num_classes=5
        )
    (folder / "timm_model.py").unlink()
    (folder / "model.py").unlink()
    np.save(tmp_path / "images.npy", np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32))
    script = """
import numpy as np, timm, torch
model = timm.create_model("local-dir:.", pretrained=True).eval()
with torch.no_grad():
    np.save("../logits.npy", model(torch.from_numpy(np.load("../images.npy"))).numpy())
"""
    alone(folder, script)
    with torch.no_grad():
        expected = load_export(folder).model(torch.from_numpy(np.load(tmp_path / "images.npy"))).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=0, atol=1e-5)
    front, text = front_of(folder)
    assert front["license"] == "unknown"
    assert "model-index" not in front
    assert "**Unknown.**" in text
    assert "The weights are random" in text
    assert "import timm, timm_model" not in text.partition("## Use")[2].partition("```\n")[0]


def test_the_card_tells_data_recipe_accuracy_cost_and_licence(run: Path, hub: Path) -> None:
    front, text = front_of(hub)
    assert {name: front[name] for name in ("license", "library_name", "pipeline_tag", "metrics")} == {
        "license": "apache-2.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "metrics": ["accuracy"],
    }
    (model,) = front["model-index"]
    assert len(model["results"]) == 2
    top1 = load_training(run).metrics["val_top1"][-1].as_py()
    assert model["results"][0]["metrics"] == [{"type": "accuracy", "name": "top-1", "value": top1}]
    images = json.loads((run / "summary.json").read_text())["images"]
    low, high = wilson_interval(top1, images["val"])
    row = f"| digits, held out | {images['val']} | {100 * top1:.2f} % | {100 * low:.2f} % to {100 * high:.2f} % |"
    assert text.count(row) == 1  # of the training, and not again of the evaluation on the same images
    told = json.loads((run / "evaluation-photos" / "evaluation.json").read_text())
    assert (
        f"| photos | 120 | {100 * told['top1']:.2f} % | "
        f"{100 * told['top1_low']:.2f} % to {100 * told['top1_high']:.2f} % |"
    ) in text
    config = json.loads((hub / "config.json").read_text())
    for words in (
        "| lr | 0.002 |",
        "| epochs | 20 |",
        f"| parameters | {sum(p.numel() for p in load_training(run).model().parameters()):,} |",
        f"| multiply-adds, of an image of 32 x 32 pixels | {config['macs']:,} |",
        "Apache-2.0 (SPDX)",
        'timm.create_model("local-dir:.", pretrained=True)',
    ):
        assert words in text
    chosen = load_training(run).description["model"]["architecture"]
    assert all(f"| {name} | {value} |" in text for name, value in chosen.items() if isinstance(value, int)) and chosen
    said = f"Trained on {images['train']:,} images of digits ({DIGITS}), 10 classes such as 0, 1, 2, 3, 4; evaluated on"
    assert said in " ".join(text.split())
    time = config["latency"]
    assert 0 < time["q1_s"] <= time["median_s"] <= time["q3_s"] < 1
    assert f"{time['threads']} thread" in text
    assert time["device"] in text
    assert str(run.parent) not in text + json.dumps(config)


def test_a_folder_that_is_called_like_a_built_in_set_is_not_taken_for_it(run: Path) -> None:
    training, weights = load_training(run), {"checkpoint": "last"}
    assert training_facts(training, weights, 0.5)["about_data"] == DIGITS
    other = {**training.description, "config": {**training.description["config"], "data": "folder:/data/digits"}}
    facts = training_facts(replace(training, description=other), weights, 0.5)
    assert (facts["data"], facts["about_data"]) == ("digits", None)


def test_an_accuracy_by_which_the_epoch_was_chosen_is_called_so(run: Path, tmp_path: Path) -> None:
    folder = raynas.export(run, tmp_path / "out", to="hub-folder", license="LicenseRef-mine", checkpoint="best")
    front, text = front_of(folder)
    assert (front["license"], front["license_name"]) == ("other", "LicenseRef-mine")
    assert "The epoch was chosen by the accuracy" in text
    assert len(front["model-index"][0]["results"]) == 1  # the evaluations were of the last weights


def test_raynas_evaluates_and_finds_the_same(run: Path, hub: Path) -> None:
    found = raynas.evaluate(hub, data="digits", listener=SILENT)
    expected = raynas.evaluate(run, data="digits", listener=SILENT)
    assert (found.top1, found.images) == (expected.top1, expected.images)


def test_names_of_data_have_no_folders() -> None:
    names = {
        "digits": "digits",
        "digits, held out": "digits, held out",
        "folder:/home/me/cats/": "cats",
        "folder:/home/me/cats, held out": "cats, held out",
        "torchvision:CIFAR10:/data/sets": "CIFAR10",
        "webdataset:/data/train-{0..9}.tar": "train-{0..9}.tar",
    }
    assert {spec: data_name(spec) for spec in names} == names


# -- int8 --------------------------------------------------------------------------------------------------------------


def test_int8_is_measured_on_the_images_that_the_training_evaluated_on(run: Path, hub: Path) -> None:
    told = json.loads((hub / "int8.json").read_text())
    expected = raynas.evaluate(run, listener=SILENT)
    measured = told["accuracy"]
    assert measured["images"] == expected.images
    assert measured["before"] == {"top1": expected.top1, "low": expected.top1_low, "high": expected.top1_high}
    assert expected.top1 > 0.3  # it has learned something, so that it can be lost
    assert measured["after"]["top1"] > expected.top1 - 0.1
    difference = measured["difference"]
    assert difference["low"] <= difference["top1"] <= difference["high"]
    assert difference["top1"] == pytest.approx(measured["after"]["top1"] - expected.top1)
    sizes = {"before": (hub / "model.onnx").stat().st_size, "after": (hub / "model_int8.onnx").stat().st_size}
    assert told["size_bytes"] == sizes
    assert sizes["after"] < sizes["before"]
    assert f"{sizes['after']:,} bytes" in " ".join((hub / "README.md").read_text().split())


def test_only_linear_layers_are_in_8_bits(run: Path, hub: Path) -> None:
    graph = onnx.load(hub / "model_int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    linear = [one for one in load_training(run).model().modules() if isinstance(one, torch.nn.Linear)]
    assert kinds.count("MatMulInteger") == len(linear) == 9
    assert kinds.count("MatMul") == 4  # in two blocks, queries with keys and shares with values
    assert kinds.count("Conv") == 1  # the patches
    small = [
        tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.UINT8 and len(tensor.dims) == 2
    ]
    shapes = sorted(tuple(tensor.dims) for tensor in small)
    assert shapes == sorted((one.in_features, one.out_features) for one in linear)
    told = json.loads((hub / "int8.json").read_text())
    assert (told["linear_layers"], told["left_in_float32"]) == (9, {"MatMul": 4, "Conv": 1})


@pytest.mark.slow
def test_int8_on_images_that_are_given_is_what_anybody_measures(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", str(run), "--int8", "--data", f"folder:{photos}", "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    script = """
import numpy as np, onnxruntime, images
from pathlib import Path
for name in ("model.onnx", "model_int8.onnx"):
    session, right = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]), 0
    for file in Path(sys.argv[1]).glob("*/*.png"):
        logits = session.run(None, {"images": images.load_image(file).numpy()[None]})[0]
        right += int(logits.argmax() == int(file.parent.name))
    print(right)
"""
    before, after = map(int, alone(tmp_path / "out", script, str(photos)).split())
    measured = json.loads((tmp_path / "out" / "int8.json").read_text())["accuracy"]
    assert (measured["data"], measured["images"]) == ("photos", 120)
    assert (measured["before"]["top1"], measured["after"]["top1"]) == (before / 120, after / 120)
    assert f"Top-1 is {100 * after / 120:.2f} % and was {100 * before / 120:.2f} %, on 120 images of photos" in said.err
    assert said.out.strip() == str(tmp_path / "out")
    assert "model.onnx takes any number of images in multiples of 8 from 16 pixels" in said.err


def test_int8_of_fresh_weights_has_no_accuracy(tmp_path: Path) -> None:
    size = {"img_size": 32, "num_classes": 3}
    folder = raynas.export("p16-w96-d1-h3-m2", tmp_path / "out", space="vit", untrained=True, int8=True, **size)
    assert json.loads((folder / "int8.json").read_text())["accuracy"] is None
    assert "The accuracy was not measured" in " ".join((folder / "README.md").read_text().split())


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"int8": True, "data": "folder:/nowhere"}, DataError, "nowhere"),
        ({"int8": True, "max_images": 0}, ConfigError, "max_images: .* 1"),
    ],
)
def test_images_that_are_none_are_refused_before_anything_is_written(
    settings: dict[str, Any], error: type[Exception], says: str, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        raynas.export(run, tmp_path / "out", listener=SILENT, **settings)
    assert not list(tmp_path.iterdir())
