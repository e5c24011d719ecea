"""raynas train as a user types it: what it reaches, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from toy_trainings import SMALL, trained, with_broken_image

from raynas.cli import main
from raynas.errors import StoreError
from raynas.training.checkpoints import LAST, checkpoint_folder
from raynas.training.folder import load_training
from searchspaces.as_vit import as_vit

CIFAR10 = Path(__file__).parents[2] / "../shared/data/cifar10"
TINY = ["--epochs", "1", "--max-images", "100", "--batch-size", "32", "--augment", "none", "--threads", "1"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    code = ended.value.code
    return 0 if code is None else int(code)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(*arguments) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("raynas: ")
    assert "\n" not in error
    return error


def table(path: Path, labels: list[int], names: str | None = None) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    made = pa.table({"image": [buffer.getvalue()] * len(labels), "label": pa.array(labels, pa.int64())})
    pq.write_table(made.replace_schema_metadata({"label_names": names} if names else None), path)
    return f"parquet:{path}"


def test_batches_are_even_only_where_images_are_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["as-vit", "-a", "4,2,2|2,1,2|2,1,2|2,1,2|8,8", "--img-size", "32", "--max-images", "50", "--epochs", "1"]
    odd = [*small, "--augment", "light", "--threads", "1", "--batch-size", "15"]
    assert run(*odd, "--out", str(tmp_path / "run")) == 0
    capsys.readouterr()
    assert "--batch-size 45 is the largest" in refused(capsys, *odd[:-1], "47", "--out", str(tmp_path / "other"))
    for mixing in ("mixup=0.1", "cutmix=1", "token_labels=true"):
        assert "must be even" in refused(capsys, *odd, "--set", mixing, "--out", str(tmp_path / "other"))


@pytest.mark.long
def test_digits_are_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["as-vit", "-a", "4,2,2|2,1,2|2,1,2|2,1,2|16,16", "--img-size", "32", "--augment", "light"]
    arguments += ["--set", "hflip=0", "--epochs", "8", "--batch-size", "64", "--lr", "2e-3", "--drop-path", "0"]
    assert run(*arguments, "--out", str(out)) == 0
    training = load_training(out)
    assert training.summary["top1"] > 0.9
    shown = capsys.readouterr()
    assert "top-1 9" in shown.out
    assert "epoch 8/8" in shown.err
    assert (out / "report.html").exists()
    assert list((out / "tensorboard").iterdir())


@pytest.mark.long
def test_a_slice_of_cifar10_is_learned_with_retokenization(tmp_path: Path) -> None:
    if not CIFAR10.exists():
        pytest.skip("needs ../shared/data/cifar10")
    out = tmp_path / "run"
    arguments = ["4,2,2|3,1,2|3,1,4|3,1,4|16,16", "--img-size", "32", "--augment", "light", "--epochs", "8"]
    arguments += ["--data", f"parquet:{CIFAR10}/train.parquet", "--val-data", f"parquet:{CIFAR10}/test.parquet"]
    arguments += ["--max-images", "8000", "--max-val-images", "2000", "--batch-size", "64", "--lr", "2e-3"]
    assert run(*arguments, "--drop-path", "0", "--retokenize", "0:8,3:4", "--out", str(out)) == 0
    training = load_training(out)
    assert training.summary["top1"] > 0.42  # chance is 0.1
    assert training.summary["saved"] > 0.2


def test_a_run_is_a_source_and_a_training_is_resumed_by_its_folder(tmp_path: Path) -> None:
    trained(tmp_path / "first")
    assert run(str(tmp_path / "first"), *TINY, "--out", str(tmp_path / "second")) == 0
    second = load_training(tmp_path / "second")
    assert second.architecture == load_training(tmp_path / "first").architecture
    assert second.description["model"]["img_size"] == 32
    before = (tmp_path / "second" / "checkpoints" / LAST).read_bytes()
    assert run("--resume", "--out", str(tmp_path / "second")) == 0
    assert (tmp_path / "second" / "checkpoints" / LAST).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["as-vit"], "as-vit is a space: say with --architecture which of its architectures to train, such as seed"),
        ([SMALL, "--retokenize", "0:12"], "strides that fit: 4, 8, 16, 32"),
        ([SMALL, "--retokenize", "0:16,9:8,5:4"], "epoch 5 follows epoch 9; epochs must ascend"),
        ([SMALL, "--retokenize", "5:4"], "starts at epoch 0, not 5"),
        ([SMALL, "--retokenize", "0:16,99:4"], "starts at epoch 99, but training has 30 epochs"),
        ([SMALL, "--num-classes", "12"], "num_classes is 12, but data 'digits' has 10 classes"),
        ([SMALL, "--batch-size", "33"], "batch_size is 33; it must be even"),
        (
            [SMALL, "--max-images", "50"],
            "batch_size is 128, but there are only 45 images to train on: --batch-size 44 is the "
            "largest for them, as it must be even: images are mixed in pairs",
        ),
        ([SMALL, "--optimizer", "adamq"], "optimizer 'adamq' is not one of timm's"),
        ([SMALL, "--precision", "half"], "precision: input should be 'auto', 'float32', 'bfloat16' or 'float16'"),
        ([SMALL, "--warmup-epochs", "30"], "warmup_epochs is 30; it must be below the 30 epochs"),
        ([SMALL, "--weights", "missing.pt"], "cannot read weights missing.pt"),
        ([SMALL, "--data", "parquet:missing.parquet"], "there is no file 'missing.parquet'"),
        ([SMALL, "--img-size", "30"], "img_size of as-vit is a multiple of 32, not 30"),
        ([SMALL, "--log", "mlfow"], "loggers"),
        ([SMALL, "--set", "mixed=1"], "unknown key 'mixed'"),
        (["nothing"], "nothing"),
        ([], "say what to train"),
        ([SMALL, "--workers", "4", "--batch-size", "4"], "cannot be divided over 4 workers"),
        ([SMALL, "--precision", "float16"], "precision float16 needs a GPU"),
        ([SMALL, "--workers", "2", "--set", "min_workers=3"], "min_workers is 3, more than the 2 workers"),
        ([SMALL, "--top", "4"], "--top and --compare go with --finalists"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "run"
    size = [] if "--img-size" in arguments else ["--img-size", "32"]
    assert message in refused(capsys, *arguments, *size, "--out", str(out))
    assert not out.exists()


def test_data_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = table(tmp_path / "one.parquet", [0] * 64)
    assert "the images to train on are of 1 class; at least 2 are needed" in refused(
        capsys, SMALL, *TINY, "--data", one
    )
    two = table(tmp_path / "two.parquet", [0, 1] * 32)
    three = table(tmp_path / "three.parquet", [0, 2] * 32)
    assert "has the class 2, but" in refused(capsys, SMALL, *TINY, "--data", two, "--val-data", three)
    cats = table(tmp_path / "cats.parquet", [0, 1] * 32, "cat,dog")
    dogs = table(tmp_path / "dogs.parquet", [0, 1] * 32, "dog,cat")
    assert "class 0 of " in (said := refused(capsys, SMALL, *TINY, "--data", cats, "--val-data", dogs))
    assert "is 'dog', and of " in said


def test_an_image_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = with_broken_image(tmp_path / "images.parquet", row=77)
    options = [*TINY, "--max-images", "220", "--img-size", "32", "--out", str(tmp_path / "run")]
    assert "1 of 220 images cannot be read (row 77: " in refused(capsys, SMALL, *options, "--data", data)
    assert not (tmp_path / "run").exists()


def test_other_images_with_the_same_labels_are_another_training(tmp_path: Path) -> None:
    for name, grey in (("first", 0), ("second", 255)):
        for label in ("cats", "dogs"):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for i in range(20):
                Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(folder / f"{i}.png")
    options = {"batch_size": 8, "epochs": 1, "data": f"folder:{tmp_path / 'first'}"}
    trained(tmp_path / "run", **options)
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    trained(tmp_path / "run", **{**options, "data": f"folder:{moved}"})
    with pytest.raises(StoreError, match=r"run: the images to train on are others than .* \(data\.images\)$"):
        trained(tmp_path / "run", **{**options, "data": f"folder:{tmp_path / 'second'}"})


def test_a_setting_of_a_file_is_set_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("clip_grad: 1.0\nlabel_smoothing: 0.2\n")
    given = ["as-vit", "--architecture", SMALL, "--data", "digits", "--img-size", "32", *TINY]
    out = tmp_path / "run"
    again = ["--config", str(tmp_path / "recipe.yaml"), "--set", "clip_grad=null", "--out", str(out)]
    assert run(*given, *again) == 0
    config = load_training(out).description["config"]
    assert (config["clip_grad"], config["label_smoothing"]) == (None, 0.2)


def test_weights_of_another_architecture_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "first")
    file = checkpoint_folder(tmp_path / "first") / LAST
    other = SMALL.replace("8,8", "8,16")
    error = refused(capsys, other, "--img-size", "32", "--weights", str(file), "--out", str(tmp_path / "second"))
    assert (
        "holds the weights of another architecture: pos_embed is 1x8x8x8 in the file and 1x8x8x16 in the model" in error
    )


def test_a_folder_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path)
    assert main_code(["search", "as-vit", "--budget", "2", "--out", str(tmp_path)]) == 1
    assert "holds a run" in capsys.readouterr().err
    assert "another" in refused(capsys, SMALL.replace("8,8", "8,16"), "--img-size", "32", "--out", str(tmp_path))


def main_code(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


# -- images that a run records -----------------------------------------------------------------------------------------


def deep_images(folder: Path) -> str:
    """Images of 12 bits in files of 16, which nothing can read without a range, in two classes."""
    for label in ("cats", "dogs"):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            values = np.random.default_rng(i).integers(0, 4096, (8, 8)).astype(np.uint16)
            Image.fromarray(values).save(folder / label / f"{i}.png")
    return f"folder:{folder}"


def recorded(folder: Path, kind: str, **config: Any) -> Path:
    """A folder of a run that has an architecture, with what it says of its images."""
    architecture = dict(as_vit.read(SMALL))
    model = {"space": "as-vit", "architecture": architecture, "img_size": 32, "num_classes": 10}
    config = {"space": "as-vit", "img_size": 32, **config}
    folder.mkdir(parents=True)
    text = {"kind": kind, "config": config, "identity": {}, "model": model}
    if kind in ("finalists", "variants"):
        recorded(folder / "01", "training", **config)
        text["config"] = {}
    best = {"architecture": architecture, "scores": {}, "folder": "01", "top1": 0.5, "score": {}}
    (folder / "run.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(text))))
    (folder / "summary.json").write_text(json.dumps({"kind": kind, "best": [best]}))
    return folder


FEW = ["--epochs", "1", "--batch-size", "8", "--augment", "none", "--threads", "1", "--loader-processes", "0"]


@pytest.mark.parametrize("kind", ["search", "training", "finalists", "variants"])
def test_a_run_as_source_says_which_images_are_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    data = deep_images(tmp_path / "mine")
    options = {"pixel_range": [0, 4095], "skipped_images": ["cats/3.png"]}
    source = recorded(tmp_path / "source", kind, data=data, **options)
    assert run(str(source), *FEW, "--out", str(tmp_path / "run")) == 0
    config = load_training(tmp_path / "run").description["config"]
    assert {name: config[name] for name in ("data", *options)} == {"data": data, **options}
    where = source / "01" if kind in ("finalists", "variants") else source
    said = capsys.readouterr().err
    assert said.index("per class:") < said.index("run folder") < said.index("M MACs at 32 pixels")
    assert f"trains on {data}, as {where} records it: --data names other images" in said
    assert run(str(source), *FEW, "--data", "digits", "--max-images", "50", "--out", str(tmp_path / "other")) == 0
    assert load_training(tmp_path / "other").description["config"]["data"] == "digits"
    assert "trains on" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "mine")
    error = refused(capsys, str(source), *FEW, "--out", str(tmp_path / "third"))
    assert f"there is no folder '{tmp_path / 'mine'}'; {where} records these images, and --data names others" in error


@pytest.mark.parametrize("data", [None, "random"])
def test_without_any_record_the_digits_are_taken_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str | None
) -> None:
    source = recorded(tmp_path / "source", "search", data=data)
    for given in ([str(source)], [SMALL, "--img-size", "32"]):
        out = tmp_path / f"run{len(given)}"
        assert run(*given, *FEW, "--max-images", "50", "--out", str(out)) == 0
        assert load_training(out).description["config"]["data"] == "digits"
        assert "trains on digits, since nothing names other images: --data does" in capsys.readouterr().err
        assert run("--resume", "--out", str(out)) == 0
        assert "trains on" not in capsys.readouterr().err


def test_a_resumed_training_keeps_its_images_whatever_its_source_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = recorded(tmp_path / "source", "training", data=deep_images(tmp_path / "mine"), pixel_range=[0, 4095])
    arguments = [str(source), *FEW, "--max-images", "50", "--out", str(tmp_path / "run")]
    assert run(*arguments, "--data", "digits") == 0
    assert run(*arguments, "--resume") == 0
    assert load_training(tmp_path / "run").description["config"]["data"] == "digits"
