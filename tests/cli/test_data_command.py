"""raynas data as a user types it, and what searches do with images of files."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from toy_images import encoded, noise, png
from toy_trainings import SMALL
from typer.main import get_command

import raynas
from raynas.cli import app, main
from raynas.errors import DataError, PoolError
from raynas.searching.run import SearchListener


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", *arguments])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def folder(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return f"folder:{root}"


SOUND = {f"{'ab'[seed % 2]}<i>/{seed:02d}.png": png(seed, (10, 8)) for seed in range(12)}


def test_what_is_in_a_data_set_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = folder(tmp_path, {**SOUND, "a<i>/notes.txt": b"", "__MACOSX/x.png": b""})
    code, out, err = run(capsys, spec)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"images: {spec}, 12 images, all decoded",
        "  2 classes: smallest a<i> with 6, largest a<i> with 6; names from the class folders: a<i>, b<i>",
        "  12 RGB; 10 x 8 pixels",
        *sorted(
            [
                "  passed over, hidden, or left behind by a system: __MACOSX/",
                "  passed over, no image by the end of its name: a<i>/notes.txt",
            ],
            key=out.index,
        ),
    ]
    code, out, _ = run(capsys, spec, "--json")
    found = json.loads(out)
    assert (code, found["images"]) == (0, 12)
    assert found["per_class"] == [{"name": "a<i>", "images": 6}, {"name": "b<i>", "images": 6}]


def test_images_without_labels_are_looked_at_and_what_refuses_them_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = folder(tmp_path / "images", {f"{seed}.png": png(seed, (10, 8)) for seed in range(6)})
    code, out, err = run(capsys, spec)
    assert (code, err) == (0, "")
    lacking = f"no class folders in {str(tmp_path / 'images')!r}; expected DIR/class/image.png"
    lines = [line.strip() for line in out.splitlines()]
    assert f"no labels: {lacking}" in lines
    (line,) = (line for line in lines if "refuse images without labels" in line)
    refusing, _, taking = line.partition(" refuse images without labels; ")
    named, taken = (re.split(r", | and ", part.strip()) for part in (refusing, taking.partition(" take ")[0]))
    assert {*named, *taken} == {name for name, options in with_options() if "--data" in options}
    small = ["--data", spec, "--img-size", "32", "--batch-size", "2", "--out", str(tmp_path / "run")]
    for command in (["search", "as-vit"], ["score", "as-vit", "--samples", "2", "-p", "synflow"],
                    ["scale", "as-vit-small"], ["train", "as-vit-small"], ["supernet", "train", "vit-res-nano"],
                    ["distill", "as-vit-small", "--teacher", "random:resnet8"]):  # fmt: skip
        assert command[0] in named
        with pytest.raises(SystemExit) as ended:
            main([*command, *small])
        assert (ended.value.code, capsys.readouterr().err) == (1, f"raynas: data {spec!r}: {lacking}\n")
    learned = str(tmp_path / "learned")
    refused = f"raynas: data {spec!r}: {lacking}\n"
    for command, error in (
        (["pretrain", "p8-w48-d1-h2-m1", "--method", "mae", "--epochs", "1", *small[:-1], learned], ""),
        (["analyze", learned, "--data", spec, "--out", str(tmp_path / "seen")], ""),
        (["finetune", learned, *small], refused),
    ):
        assert command[0] in (named if error else taken)
        with pytest.raises(SystemExit) as ended:
            main(command)
        said = capsys.readouterr().err
        assert (ended.value.code, said if error else "") == (int(bool(error)), error)
    code, out, _ = run(capsys, spec, "--json")
    assert (code, json.loads(out)["classes"]["lacks_labels"]) == (0, lacking)
    with_labels = folder(tmp_path / "labelled", SOUND)
    assert "refuse" not in run(capsys, with_labels)[1]


def with_options() -> Iterator[tuple[str, set[str]]]:
    """The first word of every command, with its options."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for one in getattr(command, "commands", {"": command}).values():
            yield name, {text for parameter in one.params for text in parameter.opts}


def test_names_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever names of classes and of images come from."""
    steering = "\x1b[2J\x1b]0;owned\x07\nimages: forged"
    tables = {
        "metadata": pa.table({"image": [png(0), b"none"], "label": [0, 1]}).replace_schema_metadata(
            {"label_names": json.dumps([steering, f"{steering}\ud800"])}
        ),
        "texts": pa.table({"image": [png(0), b"none"], "label": [steering, f"{steering} too"]}),
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        code, out, err = run(capsys, f"parquet:{tmp_path / name}.parquet", "--skip-unreadable", "--keep-empty-classes")
        assert (code, err) == (0, "")
        assert r"\x1b[2J\x1b]0;owned\x07\nimages: forged" in out
        assert all(line.isprintable() for line in out.splitlines())
        assert len([line for line in out.splitlines() if line.startswith("images: ")]) == 1


def test_names_of_classes_that_hold_commas_can_be_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = folder(tmp_path / "images", {"ant/1.png": png(1), "fly, house/2.png": png(2), "fly, house/3.png": png(3)})
    code, out, _ = run(capsys, spec)
    said = 'smallest ant with 1, largest "fly, house" with 2; names from the class folders: ant, "fly, house"'
    assert (code, out.splitlines()[1]) == (0, f"  2 classes: {said}")


@pytest.mark.parametrize("form", ["lines", "json"])
def test_it_fails_where_a_training_would_refuse_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    spec = folder(tmp_path, {**SOUND, "a<i>/x.png": b"", "b<i>/y.png": png(0)[:60]})
    flags = ["--json"] if form == "json" else []
    code, out, err = run(capsys, spec, *flags)
    assert code == 1
    assert "a<i>/x.png" in out and "b<i>/y.png" in out
    assert err.startswith(f"raynas: data {spec!r}: 2 of 14 images cannot be read (a<i>/x.png: is empty; b<i>/y.png: ")
    assert err.count("\n") == 1
    assert run(capsys, spec, "--skip-unreadable")[0] == 0
    (tmp_path / "c").mkdir()
    assert "1 of 3 classes have no image (c)" in run(capsys, spec, "--skip-unreadable")[2]
    assert run(capsys, spec, "--skip-unreadable", "--renumber-labels")[0] == 0


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_all_reasons_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = folder(tmp_path, {"a/1.png": png(1), "a/2.png": b"no image"})
    (tmp_path / "b").mkdir()
    code, out, err = run(capsys, spec)
    assert code == 1
    assert "images: " in out
    for reason in ("1 of 2 images cannot be read", "1 of 2 classes", "all images are of one class"):
        assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{root}", "did you mean 'folder:{root}'?"),
        ("floder:{root}", "did you mean 'folder:{root}'?"),
        ("{root}/table.parquet", "did you mean 'parquet:{root}/table.parquet'?"),
        ("images", "known forms: digits, folder:DIR"),
    ],
)
def test_what_was_meant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, message: str) -> None:
    code, _, err = run(capsys, spec.format(root=tmp_path))
    assert code == 1 and message.format(root=tmp_path) in err


def test_the_home_folder_is_known_behind_a_colon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "images", SOUND)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = run(capsys, "folder:~/images")
    assert (code, out.splitlines()[0]) == (0, "images: folder:~/images, 12 images, all decoded")


@pytest.mark.filterwarnings("always::raynas.errors.RaynasWarning")
def test_what_is_of_no_use_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = folder(tmp_path / "images", SOUND)
    code, out, err = run(capsys, spec, "--augmentation", "strong")
    assert (code, out) == (1, "") and "augmentation is of the page" in err and "--out" in err
    code, out, err = run(capsys, spec, "--skip-image", "nowhere.png", "--skip-image", "a<i>/00.png")
    assert code == 0 and "11 images" in out
    assert "no image is named nowhere.png, which is to be left out" in err
    assert "Did you mean 'a<i>/00.png'" in run(capsys, spec, "--skip-image", "a(i)/00.png")[2]
    assert "  passed over, to be left out, and not there: nowhere.png" in out.splitlines()
    table = pa.table({"image": [png(1), png(2)], "fine": [0, 1]})
    pq.write_table(table, tmp_path / "table.parquet")
    assert "fine" in next(
        line for line in run(capsys, f"parquet:{tmp_path}/table.parquet")[1].splitlines() if "no labels" in line
    )


def test_a_page_shows_what_a_model_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = folder(tmp_path / "images", SOUND)
    sheet = tmp_path / "sheet.html"
    code, out, _ = run(capsys, spec, "--out", str(sheet), "--img-size", "16", "--per-class", "2")
    assert code == 0
    assert out.splitlines()[-1] == f"page {sheet}"
    page = sheet.read_text()
    assert "<i>" not in page
    assert "a&lt;i&gt; <small>6 images</small>" in page
    assert "://" not in page
    shown = pictures(page)
    assert [one.shape for one in shown] == [(16, 16, 3)] * 4
    expected = [
        np.asarray(Image.fromarray(noise(seed, (10, 8))).resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
        for seed in range(12)
    ]
    for one in shown:
        assert min(np.abs(one - other).max() for other in expected) <= 1
    run(capsys, spec, "--out", str(sheet), "--img-size", "16", "--per-class", "2", "--augmentation", "light")
    assert len(pictures(sheet.read_text())) == 12
    code, _, err = run(capsys, spec, "--out", str(sheet), "--augmentation", "much")
    assert (code, err.strip()) == (1, "raynas: augmentation is 'much'; it is one of strong, light, none")


def test_a_page_says_how_many_images_of_a_class_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {f"ant/{number:02d}.png": png(number)[:60] for number in range(50)}
    spec = folder(tmp_path / "images", {**broken, "ant/50.png": png(50), "bee/1.png": png(1), "cow/2.png": b""})
    sheet = tmp_path / "sheet.html"
    run(capsys, spec, "--out", str(sheet), "--img-size", "16")
    page = sheet.read_text()
    assert f"<h1>{spec}, 53 images, of which 51 cannot be read</h1>" in page
    for said in (
        "ant <small>51 images, of which 50 cannot be read",
        "bee <small>1 image<",
        "cow <small>1 image, of which 1",
    ):
        assert said in page
    assert len(pictures(page)) == 2  # the one of the ants that can be read is found among all


def test_a_search_looks_at_the_images_of_its_batches(tmp_path: Path) -> None:
    spec = folder(tmp_path / "images", SOUND)
    lines: list[str] = []

    class Listener(SearchListener):
        def on_images(self, inspection: object) -> None:
            lines.append(str(inspection))

    def score(out: str, **fields: object) -> raynas.Run:
        settings = {"data": spec, "img_size": 32, "batch_size": 8, "workers": 0, "out": tmp_path / out, **fields}
        return raynas.score("as-vit", [SMALL], proxies=["naswot"], listener=Listener(), **settings)

    score("first")
    images = yaml.safe_load((tmp_path / "first" / "run.yaml").read_text())["images"]["used"]
    assert (images["images"], images["looked_at"], images["classes"]["number"]) == (12, 8, 2)
    assert len(lines) == 1
    folder(tmp_path / "images", {"a<i>/00_cut.png": png(1)[:60]})
    with pytest.raises(DataError, match="cannot be read"):
        score("all", batch_size=13)
    assert not (tmp_path / "all").exists()
    score("again", skip_unreadable=True)
    stored = yaml.safe_load((tmp_path / "again" / "run.yaml").read_text())
    assert stored["config"]["skipped_images"] == ["a<i>/00_cut.png"]
    of_first = yaml.safe_load((tmp_path / "first" / "run.yaml").read_text())
    assert stored["identity"] == of_first["identity"]
    (tmp_path / "images" / "a<i>" / "00_cut.png").write_bytes(png(3))
    assert raynas.score(out=tmp_path / "again", resume=True, listener=SearchListener()).summary["status"] == "completed"


def test_a_search_refuses_depths_that_are_not_declared(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    spec = folder(tmp_path / "images", {f"{name}/1.png": encoded(Image.fromarray(values)) for name in "ab"})
    settings = {"data": spec, "img_size": 32, "batch_size": 2, "workers": 0, "out": tmp_path / "run"}
    with pytest.raises(DataError, match=r"2 of 2 images .* go from 0 to 4095: say .* such as --pixel-range 0,4095"):
        raynas.score("as-vit", [SMALL], proxies=["naswot"], **settings)
    assert not (tmp_path / "run").exists()


def heard(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What a command prints to standard error before it asks for Ray."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, lines[-1]) == (1, "raynas: no Ray here")
    return lines[:-1]


@pytest.mark.parametrize("has_files", [True, False])
def test_sweeps_and_finalists_say_what_is_in_their_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, has_files: bool
) -> None:
    def refused(*given: object, **more: object) -> None:
        raise PoolError("no Ray here")

    spec = folder(tmp_path / "images", SOUND) if has_files else "digits"
    size = ["--data", spec, "--img-size", "32"]
    classes = "2 classes: smallest a<i> with 6, largest a<i> with 6; names from the class folders: a<i>, b<i>"
    monkeypatch.setattr("raynas.sweeps.run.connect", refused)
    sweep = ["search", "as-vit", "--objective", "naswot", "--repeat", "2", "--budget", "2", "--batch-size", "8"]
    said = heard(capsys, *sweep, *size, "--searcher", "random", "--out", str(tmp_path / "sweep"))
    looked = f"images: {spec}, 12 images, of which 8 are used and were looked at, all decoded"
    assert [line.strip() for line in said] == ([looked, classes, "8 RGB; 10 x 8 pixels"] if has_files else [])

    source = tmp_path / "search"
    searched = {"searcher": "random", "budget": 4, "workers": 0, "img_size": 32, "out": source}
    raynas.search("as-vit", objectives=["macs:min"], listener=SearchListener(), **searched)
    monkeypatch.setattr("raynas.trials.run.connect", refused)
    train = ["train", "--finalists", str(source), "--top", "2", "--epochs", "1", "--batch-size", "4", *size]
    said = heard(capsys, *train, "--val-data", spec, "--out", str(tmp_path / "finalists"))
    images = [f"images to train on: {spec}, 12 images, all decoded", classes, "12 RGB; 10 x 8 pixels"]
    others = [line.replace("to train on", "to evaluate on") for line in images]
    counts = "per class: 6 to train on, 6 to evaluate on"
    assert [line.strip() for line in said] == ([*images, *others, counts] if has_files else [])
