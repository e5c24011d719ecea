"""The page of a training: its data against numbers worked out by hand, and what a browser draws of it.

One file, since most look at the page of one training.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image
from report_folders import AS_VIT, embedded, epoch_rows, write_training
from report_pages import check_layout, sections
from toy_trainings import SMALL
from toy_trainings import trained as train_small

import raynas
from raynas.console.training import show_training
from raynas.errors import StoreError
from raynas.report.page import write_report
from raynas.report.training import (
    curves,
    own_columns,
    phases_of,
    saving,
    time_of_training,
    training_report_data,
)
from raynas.storage.run_folder import run_description
from raynas.training.best_epoch import counted_top1
from raynas.training.folder import METRICS
from raynas.wording import setting_text

pytest_plugins = ["report_browser"]

MACS = AS_VIT.macs(AS_VIT.named["seed"], 64, 10)
SCHEDULE = [[0, 16, 5], [2, 8, 2], [3, 4, 1]]
# A tenth and a half of the MACs in the first two phases.
PHASES = [(0, 16, 5, MACS // 10), (2, 8, 2, MACS // 2), (3, 4, 1, MACS)]


def retokenized(folder, epochs=6, **summary):
    """The folder of a training of six epochs, of which so many are finished."""
    rows = epoch_rows(epochs, macs=MACS, phases=PHASES, ema=True)
    return write_training(folder, rows, summary=summary, epochs=6, retokenize=SCHEDULE, ema_decay=0.99)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return write_report(retokenized(tmp_path_factory.mktemp("runs") / "trained", status="completed"))


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "an unfinished"
    return write_report(retokenized(folder, epochs=2, status="interrupted"))


# -- data -------------------------------------------------------------------------------------------------------------


def test_neither_torch_nor_ray_is_imported():
    modules = "raynas.report.page, raynas.report.training, raynas.report.trials, raynas.report.sweep"
    code = f"import sys, {modules}; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_phases_have_what_was_measured_in_them():
    # 10 s an epoch with all tokens, in proportion to the MACs; 1,000 images an epoch.
    rows = epoch_rows(5, macs=1000, phases=[(0, 16, 5, 100), (2, 8, 2, 500), (3, 4, 1, 1000)])
    first, second, third = phases_of(rows, SCHEDULE, 8, 1000)
    assert (first["start"], first["end"], first["stride"], first["dilation"], first["done"]) == (0, 2, 16, 5, 2)
    assert (first["macs"], first["share"]) == (100, 0.1)
    assert (first["epoch_s"], first["images_per_s"]) == pytest.approx((1.0, 1000.0))
    assert (second["start"], second["end"], second["done"], second["epoch_s"]) == (2, 3, 1, 5.0)
    assert (third["start"], third["end"], third["done"], third["images_per_s"]) == (3, 8, 2, 100.0)


def test_phases_that_have_not_begun_are_planned():
    planned = phases_of([], SCHEDULE, 6, 1000)
    assert [(phase["start"], phase["end"], phase["share"], phase["done"]) for phase in planned] == [
        (0, 2, None, 0),
        (2, 3, None, 0),
        (3, 6, None, 0),
    ]
    assert phases_of([], None, 6, 1000) == []


def test_saving_of_macs_and_time():
    rows = epoch_rows(6, macs=1000, phases=[(0, 16, 5, 100), (2, 8, 2, 500), (3, 4, 1, 1000)])
    summary = {"macs": 1000, "training_macs": 3700, "training_macs_full": 6000, "saved": 1 - 3700 / 6000}
    found = saving(phases_of(rows, SCHEDULE, 6, 1000), rows, summary)
    assert found["share"] == pytest.approx(0.3833, abs=1e-4)
    # 1 + 1 + 5 + 3 x 10 seconds of steps, where six epochs at full speed take 60.
    assert (found["train_s"], found["full_s"]) == (37.0, 60.0)


def test_time_saved_is_not_known_before_all_tokens_were_used():
    rows = epoch_rows(2, macs=1000, phases=[(0, 16, 5, 100)])
    summary = {"macs": 1000, "training_macs": 200, "training_macs_full": 2000, "saved": 0.9}
    assert saving(phases_of(rows, SCHEDULE, 6, 1000), rows, summary)["full_s"] is None
    assert saving(phases_of([], SCHEDULE, 6, 1000), [], summary) is None
    assert saving([], rows, summary) is None


def test_time_is_all_accounted_for():
    rows = epoch_rows(4, macs=1000)
    found = time_of_training({"seconds": 50.0}, rows)
    # Four epochs of 10 s of steps, of which 0.5 s waiting, and 2 s of evaluation.
    assert [part["seconds"] for part in found["parts"]] == pytest.approx([38.0, 2.0, 8.0, 2.0])
    assert "5.0 % of their time; 100 images a second" in found["sentence"]
    assert sum(part["seconds"] for part in time_of_training({}, rows)["parts"]) == pytest.approx(48.0)
    assert time_of_training({}, [])["sentence"] == "No epoch is finished yet."


def test_accuracy_that_counts_is_that_of_the_moving_average():
    assert counted_top1({"val_top1": 0.5, "ema_val_top1": 0.25}) == 0.25
    assert counted_top1({"val_top1": 0.5, "ema_val_top1": None}) == 0.5


def test_long_traces_are_thinned_out_and_empty_columns_left_out():
    table = pa.Table.from_pylist(epoch_rows(2500, macs=1000), schema=METRICS)
    found = curves(table)
    assert len(found["epoch"]) == len(found["val_loss"]) == 1000
    assert (found["epoch"][0], found["epoch"][-1]) == (0, 2499)
    assert not {"ema_val_top1", "stride", "dilation"} & found.keys()


def test_accuracies_have_wilsons_intervals_over_the_images_evaluated_on(trained):
    data = embedded(trained.read_text())
    found = data["uncertainty"]
    assert (found["column"], found["n"]) == ("ema_val_top1", 100)
    for top1, low, high in zip(data["curves"]["ema_val_top1"], found["low"], found["high"], strict=True):
        assert low < top1 < high
    # Of a share p, n images: the solutions x of n (p - x)^2 = z^2 x (1 - x).
    p, n, z = data["curves"]["ema_val_top1"][-1], 100, 1.959963984540054
    roots = sorted(np.roots([n + z * z, -2 * n * p - z * z, n * p * p]).real)
    assert (found["low"][-1], found["high"][-1]) == pytest.approx(tuple(roots), abs=1e-6)
    assert dict(data["facts"])["top-1, 95 % interval"] == f"{100 * roots[0]:.1f} % to {100 * roots[1]:.1f} %"


def test_without_a_number_of_images_nothing_is_said_of_uncertainty(tmp_path):
    folder = write_training(tmp_path / "run", epoch_rows(3, macs=MACS), epochs=3, summary={"images": None})
    data = embedded(write_report(folder).read_text())
    assert data["uncertainty"] is None
    assert dict(data["facts"])["top-1, 95 % interval"] is None


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.4], [0.5, 0.5], [0.3], [None, 0.2, 0.1], [None]])
def test_the_best_epoch_is_the_first_of_the_best(tmp_path, values):
    rows = epoch_rows(len(values), macs=MACS)
    for row, value in zip(rows, values, strict=True):
        row["val_top1"] = float("nan") if value is None else value
    folder = write_training(tmp_path / "run", rows, epochs=len(values), summary={"top1": None, "best_top1": None})
    data = embedded(write_report(folder).read_text())
    known = [value for value in values if value is not None]
    assert data["best_epoch"] == (values.index(max(known)) + 1 if known else None)


def test_head_and_settings(trained):
    data = embedded(trained.read_text())
    top1 = epoch_rows(6, macs=MACS, ema=True)[-1]["ema_val_top1"]
    facts = dict(data["facts"])
    assert data["title"] == "as-vit training"
    size = f"{AS_VIT.num_params(AS_VIT.named['seed'], 64, 10) / 1e6:.2f} M parameters and {MACS / 1e6:.1f} M MACs"
    assert data["headline"] == f"top-1 {100 * top1:.2f} % with {size}, after 6 epochs in 52 s"  # 37 + 6 x 2 + 3
    assert facts["top-1"] == f"{100 * top1:.2f} %"
    assert facts["best top-1"] is None
    assert facts["training MACs saved"] == "38.3 %"
    assert facts["epochs"] == "6"
    assert data["status"] == {"name": "completed", "error": None, "resume": None}
    rows = {term: text for group in data["groups"] for term, text in group["rows"]}
    assert rows["ema_decay"] == "0.99"
    assert rows["schedule"].startswith("0:16:5, 2:8:2, 3:4:1")
    assert rows["mixup"] == "0.8"  # what the preset stands for
    assert rows["workers"] == "none: trained in the driver's process"


def test_better_epoch_before_the_last_is_named(tmp_path):
    rows = epoch_rows(3, macs=MACS)
    rows[1]["val_top1"] = 0.9
    facts = dict(embedded(write_report(write_training(tmp_path, rows, epochs=3)).read_text())["facts"])
    assert facts["best top-1"] == "90.00 %, epoch 2"


def test_unfinished_training_says_how_to_go_on(unfinished):
    data = embedded(unfinished.read_text())
    assert data["status"]["resume"] == f"raynas train --resume --out '{unfinished.parent}'"
    assert dict(data["facts"])["epochs"] == "2 of 6"
    assert dict(data["facts"])["MACs saved so far"] == "90.0 %"


def test_failed_training_shows_its_error(tmp_path):
    rows = epoch_rows(1, macs=MACS)
    folder = write_training(tmp_path, rows, epochs=3, summary={"status": "failed", "error": "TrainingError: nan"})
    assert embedded(write_report(folder).read_text())["status"]["error"] == "TrainingError: nan"


def test_training_that_has_written_nothing_yet_is_reported(tmp_path):
    folder = write_training(tmp_path / "new", [], epochs=4, retokenize=[[0, 16, 5], [1, 4, 1]], summary={})
    data = embedded(write_report(folder).read_text())
    assert data["status"]["name"] == "unknown"
    assert data["curves"] == {}
    assert data["saving"] is None
    assert data["headline"].endswith("no epoch of 4 is finished")
    assert [phase["done"] for phase in data["phases"]] == [0, 0]


def test_space_that_is_not_registered_shows_fields(tmp_path):
    folder = write_training(tmp_path, epoch_rows(1, macs=MACS), epochs=2)
    description = yaml.safe_load((folder / "run.yaml").read_text())
    description["model"]["space"] = "mine"
    (folder / "run.yaml").write_text(yaml.safe_dump(description))
    data = embedded(write_report(folder).read_text())
    assert data["points"]["stages"] is None
    assert data["points"]["text"] == [AS_VIT.text(AS_VIT.named["seed"])]
    assert data["status"]["resume"] is None


def test_writing_twice_gives_the_same_bytes(trained):
    first = trained.read_bytes()
    assert write_report(trained.parent).read_bytes() == first


def test_unknown_kind_is_refused(tmp_path):
    (tmp_path / "run.yaml").write_text(run_description("supernet", {}, {}))
    with pytest.raises(StoreError, match=r"kind 'supernet'.*finalists, search, sweep, training"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([0.05, 0.1], "0.05 0.1"),
        ([[0, 16], [2, 8]], "[0 16] [2 8]"),
        ({"a": [1, 2]}, "a 1 2"),
        ("", "none"),
        ([], "none"),
    ],
)
def test_setting_text(value, text):
    assert setting_text(value) == text


def test_real_training_is_reported(tmp_path):
    from raynas.training.config import TrainConfig
    from raynas.training.plan import make_training_plan
    from raynas.training.run import execute_training

    config = TrainConfig.make(
        {
            "space": "as-vit",
            "architecture": "4,2,3|4,1,2|4,1,4|4,1,6|16,16",
            "img_size": 32,
            "epochs": 2,
            "max_images": 128,
            "batch_size": 32,
            "augment": "none",
            "retokenize": "0:16,1:4",
            "loader_processes": 0,
            "loggers": [],
            "pixel_range": "0,4095",
        }
    )
    summary = execute_training(make_training_plan(config), tmp_path / "run")
    data = embedded(write_report(tmp_path / "run").read_text())
    assert data["facts"][0] == ["top-1", f"{100 * summary['top1']:.2f} %"]
    assert data["curves"]["stride"] == [16, 4]
    assert [phase["share"] for phase in data["phases"]] == [
        pytest.approx(data["curves"]["macs"][0] / summary["macs"]),
        1,
    ]
    assert data["saving"]["share"] == summary["saved"]
    shown_under = [group["title"] for group in data["groups"] for term, _ in group["rows"] if term == "pixel_range"]
    assert shown_under == ["Images"]


def test_what_was_found_in_the_images_stands_among_the_settings(tmp_path):
    """A folder made for it: 24 files, of which one is cut off, one is empty of colours, three are transparent."""
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 4), dtype=np.uint8)
        image = Image.fromarray(np.zeros_like(pixels[..., :3]) if number == 7 else pixels[..., :3])
        if number in (2, 3, 4):
            image = Image.fromarray(pixels)
        exif = Image.Exif()
        exif[274] = 6 if number in (10, 11) else 1
        where = tmp_path / "images" / ("cat" if number < 10 else "dog") / f"{number:02d}.png"
        where.parent.mkdir(parents=True, exist_ok=True)
        image.save(where, exif=exif)
    where.write_bytes(where.read_bytes()[:60])
    (tmp_path / "images" / "cat" / "notes.txt").write_text("no image")
    data = f"folder:{tmp_path / 'images'}"
    settings = {"data": data, "max_images": None, "batch_size": 8, "epochs": 1, "skip_unreadable": True}
    train_small(tmp_path / "run", **settings)
    rows = image_rows_of(tmp_path / "run")
    assert rows == {
        "to train on": data,
        "to evaluate on": "10 % of the images, held out by the seed, spread over the classes",
        "how many": "21 and 2",
        "image side": "32 pixels",
        "classes": "2 (cat, dog)",
        "images of a class": "9 to 12 to train on, 1 to evaluate on",
        "skip_unreadable": "yes",
        "skipped_images": "1 (dog/23.png)",
        "looked at": "24 of 24, all but 1 decoded",
        "classes found": "2, smallest cat with 10, largest dog with 14",
        "modes": "20 RGB, 3 RGBA",
        "sizes": "12 × 9",  # noqa: RUF001
        "cannot be read": "1 (dog/23.png)",
        "passed over, no image by the end of its name": "1 (cat/notes.txt)",
        "transparent in parts, white there": "3",
        "turned by EXIF": "2",
        "all pixels alike": "1 (cat/07.png)",
    }
    # Earlier versions did not take off those that cannot be read, and had no number of those that were tried.
    description = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    used = description["images"]["train"]
    assert (used.pop("tried"), used["decoded"]) == (24, 23)
    used["decoded"] = 24
    (tmp_path / "run" / "run.yaml").write_text(yaml.safe_dump(description))
    assert image_rows_of(tmp_path / "run") == rows
    train_small(tmp_path / "two", **{**settings, "val_data": data, "eval_crop": 0.875})
    two = image_rows_of(tmp_path / "two")
    assert two["eval_crop"] == "0.875"
    assert two["to evaluate on"] == data
    for term in ("turned by EXIF, to train on", "turned by EXIF, to evaluate on"):
        assert two[term] == "2"


def image_rows_of(folder):
    (rows,) = (group["rows"] for group in embedded(write_report(folder).read_text())["groups"]
               if group["title"] == "Images")  # fmt: skip
    return dict(rows)


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_shows_curves_and_phases(opened, trained):
    page = opened(trained)
    assert sections(page) == ["curves", "next", "phases", "model", "epochs", "time", "setup"]
    captions = [
        text.split("\n")[0].strip() for text in page.locator("#curves-plots figcaption strong").all_inner_texts()
    ]
    assert captions == ["loss", "top-1, %", "learning rate", "images a second"]
    assert page.locator("#curves-plots figure").nth(0).locator("path.line[d*=L]").count() == 3
    assert page.locator("#curves-plots .stretch").count() == 4 * 3
    labels = page.locator("#curves-plots figure").first.locator(".stretch-label").all_text_contents()
    assert [label.split(",")[0] for label in labels] == ["stride 16", "stride 8", "stride 4"]
    assert "50.0 %" in page.locator("#curves-plots figure").first.locator(".stretch title").nth(1).text_content()
    rows = [row.all_inner_texts() for row in (tr.locator("td") for tr in page.locator("#phases-table tbody tr").all())]
    assert [row[0] for row in rows] == ["1–2", "3", "4–6"]  # noqa: RUF001
    assert [row[5] for row in rows] == ["10.0 %", "50.0 %", "100.0 %"]
    note = page.locator("#phases-note").inner_text()
    assert "38.3 % of the training's MACs saved" in note
    assert "would have taken 1 min 00 s instead of 37 s: 38.3 % of the time saved" in note
    assert page.locator("#model-card svg.stage-box").count() == 4


def test_cursor_reads_all_curves_at_an_epoch(opened, trained):
    rows = epoch_rows(6, macs=MACS, phases=PHASES, ema=True)
    page = opened(trained)
    plot = page.locator("#curves-plots .plot").first
    plot.scroll_into_view_if_needed()
    ticks = {tick.get_attribute("data-value"): tick.bounding_box() for tick in plot.locator(".tick.x").all()}
    place = ticks["2"]["x"] + ticks["2"]["width"] / 2
    page.mouse.move(place, plot.bounding_box()["y"] + 80)
    captions = page.locator("#curves-plots figcaption").all_inner_texts()
    assert "epoch 2:" in captions[0]
    assert f"training: {rows[1]['train_loss']:.3f}" in captions[0]
    assert f"moving average: {100 * rows[1]['ema_val_top1']:.2f} %" in captions[1]
    page.mouse.move(0, 0)
    assert f"training: {rows[5]['train_loss']:.3f}" in page.locator("#curves-plots figcaption").first.inner_text()


def test_table_of_epochs_opens(opened, trained):
    page = opened(trained)
    page.get_by_text("Show the table").click()
    cells = page.locator("#epochs-table tbody tr").nth(1).locator("td").all_inner_texts()
    row = epoch_rows(6, macs=MACS, phases=PHASES, ema=True)[1]
    assert cells[0] == "2"
    assert f"{100 * row['val_top1']:.2f} %" in cells
    assert page.locator("#epochs-table tbody tr").count() == 6


def test_unfinished_page_leaves_room_for_what_is_to_come(opened, unfinished):
    page = opened(unfinished)
    assert "raynas train --resume" in page.locator("#notice").inner_text()
    plot = page.locator("#curves-plots .plot").first
    assert max(float(tick.get_attribute("data-value")) for tick in plot.locator(".tick.x").all()) == 6
    assert "so far" in page.locator("#phases-note").inner_text()


def test_page_without_an_epoch_opens(opened, tmp_path):
    page = opened(write_report(write_training(tmp_path / "new", [], epochs=4, summary={})))
    assert sections(page) == ["curves", "next", "model", "time", "setup"]
    assert "No epoch is finished yet" in page.locator("#curves").inner_text()


def test_single_epoch_is_a_dot(opened, tmp_path):
    page = opened(write_report(write_training(tmp_path, epoch_rows(1, macs=MACS), epochs=1)))
    assert page.locator("#curves-plots .dot").count() == 5  # two losses, accuracy, rate and speed


@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_training(opened, trained, unfinished, width):
    for path in (trained, unfinished):
        check_layout(opened(path, width=width))


# -- an objective of one's own ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_labels(tmp_path_factory):
    """A training that has no accuracy, and is measured by its loss on the images to evaluate on."""
    objective = f"{Path(__file__).parents[1] / 'toy_objectives.py'}:two_views"
    settings = {"img_size": 32, "max_images": 100, "batch_size": 32, "epochs": 3, "ema_decay": 0.9, "threads": 1}
    out = tmp_path_factory.mktemp("runs") / "trained"
    return raynas.train("as-vit", architecture=SMALL, objective=objective, loader_processes=0, out=out, **settings)


def test_what_counts_is_what_the_objective_says(without_labels, capsys):
    losses = [row["ema_val_loss"] for row in without_labels.metrics.to_pylist()]
    data = training_report_data(without_labels)
    assert data["headline"].startswith(f"validation loss {losses[-1]:.6g} with ")
    assert data["facts"][0] == ["validation loss", f"{losses[-1]:.6g}"]
    best = min(range(3), key=losses.__getitem__)
    assert data["facts"][1] == ["best validation loss", None if best == 2 else f"{losses[best]:.6g}, epoch {best + 1}"]
    assert (without_labels.summary["value"], without_labels.summary["best_value"]) == (losses[-1], min(losses))
    show_training(without_labels)
    said = capsys.readouterr().out
    assert said.startswith(
        f"validation loss {losses[-1]:.4g} after 3 epochs (best {min(losses):.4g} after epoch {best + 1})"
    )


def test_terms_of_its_loss_are_drawn(without_labels, opened):
    page = opened(write_report(without_labels.folder))
    captions = [text.split("\n")[0] for text in page.locator("#curves-plots figcaption strong").all_inner_texts()]
    assert captions[:2] == ["loss", "terms of the loss, before they are weighted"]
    terms = page.locator("#curves-plots figcaption").nth(1).inner_text()
    assert "alignment" in terms and "spread" in terms
    assert "its validation loss counts" in page.locator("#curves-note").inner_text()
    heads = page.locator("#epochs-table th").all_text_contents()
    assert {"alignment", "spread", "validation loss", "loss of the average"} <= set(heads)
    assert "top-1" not in heads


def test_columns_of_an_objective_are_its_terms_and_what_it_is_evaluated_by():
    names = ["epoch", "train_loss", "alignment", "val_recall", "ema_val_recall", "val_loss", "val_top1", "stride"]
    assert own_columns(names) == {"terms": ["alignment"], "evaluated": ["val_recall"]}


def test_the_best_epoch_is_marked_and_accuracies_have_a_band(opened, tmp_path):
    rows = epoch_rows(9, macs=MACS)
    rows[4]["val_top1"] = 0.99
    page = opened(write_report(write_training(tmp_path / "run", rows, epochs=9)))
    assert page.locator("#curves-legend").inner_text() == "best epoch by top-1: 5"
    marks = page.locator("#curves-plots .mark.best")
    assert marks.count() == 1
    assert marks.locator("title").text_content() == "best epoch: 5"
    figure = page.locator("#curves-plots figure", has_text="top-1")
    assert figure.locator(".mark.best").count() == figure.locator("path.spread").count() == 1
    assert page.locator("#curves-plots path.spread").count() == 1
    ticks = {float(tick.get_attribute("data-value")): tick.bounding_box() for tick in figure.locator(".tick.x").all()}
    (low, first), *_, (high, last) = ((value, box["x"] + box["width"] / 2) for value, box in sorted(ticks.items()))
    box = marks.bounding_box()
    assert low + (box["x"] + box["width"] / 2 - first) / (last - first) * (high - low) == pytest.approx(5, abs=0.05)
    page.locator("summary").click()
    assert page.locator("#epochs-table tr.chosen td").first.inner_text() == "5"


@pytest.mark.parametrize("losses", [[2.3, 0.04], [2.3, 2.3], [5e4, 3.0], [1e-5, 2e-5], [7.0, 0.12], [2.3001, 2.3002]])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_axis_has_ticks_to_read_it_by(opened, tmp_path, losses, width):
    """One tick alone leaves the scale of an axis open."""
    rows = epoch_rows(len(losses), macs=MACS)
    for row, loss in zip(rows, losses, strict=True):
        row |= {"train_loss": loss, "val_loss": 1.1 * loss}
    page = opened(write_report(write_training(tmp_path / "run", rows, epochs=len(losses))), width=width)
    for plot in page.locator("#curves-plots .plot").all():
        for axis in ("x", "y"):
            labels = plot.locator(f".tick.{axis}").all_text_contents()
            assert len(set(labels)) == len(labels) >= 2
    check_layout(page)


def test_a_value_that_is_no_number_any_more_is_not_told_as_the_last(opened, tmp_path):
    rows = epoch_rows(6, macs=MACS)
    for row in rows[4:]:
        row |= {"train_loss": float("nan"), "val_loss": float("nan")}
    page = opened(write_report(write_training(tmp_path / "run", rows, epochs=9)))
    caption = page.locator("#curves-plots figcaption", has_text="loss").inner_text()
    assert caption.count("until epoch 4") == 2
    assert "until" not in page.locator("#curves-plots figcaption", has_text="top-1").inner_text()
