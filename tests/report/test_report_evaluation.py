"""The page of an evaluation in a browser, with few classes and with many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_pages import check_layout, sections
from toy_evaluations import drawn_predictions, evaluation_folder

from raynas.evaluation.report import EvaluationReport
from raynas.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytest_plugins = ["report_browser"]
pytestmark = pytest.mark.slow

Evaluated = dict[int, tuple[Path, EvaluationReport]]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Pages by their numbers of classes."""
    found = {}
    for classes, images in ((2, 150), (10, 900), (100, 3000)):
        folder = tmp_path_factory.mktemp("runs") / "test"
        report = evaluation_folder(folder, drawn_predictions(classes, images), [f"<b>{k}" for k in range(classes)])
        found[classes] = (write_report(folder), report)
    return found


def test_classes_stand_by_their_accuracy_and_are_sorted_by_a_click(opened: Any, evaluated: Evaluated) -> None:
    path, report = evaluated[10]
    page = opened(path)
    assert sections(page) == ["classes", "confusion", "calibration", "worst", "next", "setup"]
    names = page.locator("#classes-table tbody tr td:first-child")
    by_accuracy = sorted(report.classes, key=lambda one: (one.accuracy, one.number))
    assert names.all_inner_texts() == [one.name for one in by_accuracy]
    first = page.locator("#classes-table tbody tr").first.locator("td").nth(2).inner_text()
    assert first.startswith(f"{100 * (by_accuracy[0].accuracy or 0):.1f} %")
    page.locator('#classes-table button[data-column="class"]').click()
    assert names.all_inner_texts() == [one.name for one in report.classes]
    page.locator('#classes-table button[data-column="class"]').click()
    assert names.all_inner_texts() == [one.name for one in reversed(report.classes)]


def test_many_classes_are_shown_when_they_are_asked_for(opened: Any, evaluated: Evaluated) -> None:
    page = opened(evaluated[100][0])
    rows = page.locator("#classes-table tbody tr")
    assert rows.count() == 20
    page.get_by_role("button", name="show all 100 classes").click()
    assert rows.count() == 100


def test_a_cell_of_the_confusion_matrix_says_what_was_counted(opened: Any, evaluated: Evaluated) -> None:
    path, report = evaluated[10]
    page = opened(path)
    found = report.predictions
    count = int(((found.labels == 2) & (found.predictions == 3)).sum())
    assert count > 0
    cell = page.locator('#confusion-matrix td[data-row="2"][data-column="3"]')
    assert cell.inner_text() == str(count)
    cell.hover()
    of = int((found.labels == 2).sum())
    expected = f"{count} of {of} images of <b>2 ({100 * count / of:.1f} %) are taken for <b>3"
    assert page.locator("#confusion-reading").inner_text() == expected


def test_many_classes_are_a_picture_that_the_pointer_reads_beside_the_pairs(opened: Any, evaluated: Evaluated) -> None:
    path, report = evaluated[100]
    page = opened(path)
    found = report.predictions
    wrong = [(int(a), int(b)) for a, b in zip(found.labels, found.predictions, strict=True) if a != b]
    most = max(wrong.count(pair) for pair in set(wrong))
    first = page.locator("#confusion-pairs tbody tr").first.locator("td").all_inner_texts()
    assert int(first[2]) == most == wrong.count((int(first[0][3:]), int(first[1][3:])))
    canvas = page.locator("#confusion-matrix canvas")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 0.735, "y": box["height"] * 0.725})
    own = int(((found.labels == 72) & (found.predictions == 73)).sum())
    assert page.locator("#confusion-reading").inner_text().startswith(f"{own} of ")
    assert page.locator("#confusion-reading").inner_text().endswith("are taken for <b>73")


def test_calibration_has_a_dot_and_a_bar_for_each_bin_with_images(opened: Any, evaluated: Evaluated) -> None:
    path, report = evaluated[10]
    page = opened(path)
    confidences = report.predictions.probabilities.astype(float)
    members = [(confidences > k / 15) & (confidences <= (k + 1) / 15) for k in range(15)]
    with_images = [one for one in members if one.any()]
    plots = page.locator("#calibration-plots svg.chart")
    assert [plots.nth(k).locator("g.bin").count() for k in (0, 1)] == [len(with_images)] * 2
    last = with_images[-1]
    hint = plots.nth(0).locator("g.bin title").last.text_content()
    assert hint.startswith(f"confidence 93 % to 100 %: {int(last.sum())} images")
    assert f"right {100 * float(report.predictions.is_correct[last].mean()):.1f} %" in hint
    verdict = page.locator("#calibration-verdict").inner_text()
    assert f"expected calibration error {100 * (report.ece or 0):.2f} %" in verdict
    page.get_by_text("Show the table").click()
    cells = page.locator("#calibration-table tbody tr td:nth-child(2)").all_inner_texts()
    assert [int(text) for text in cells] == [int(one.sum()) for one in members]


def test_images_are_shown_with_both_classes(opened: Any, evaluated: Evaluated) -> None:
    path, report = evaluated[2]
    page = opened(path)
    shown = page.locator(".sheet img").evaluate_all("(list) => list.map((one) => one.complete && one.naturalWidth)")
    wrong = report.predictions.most_wrong(24)
    assert shown == [32] * (len(wrong) + 24)
    caption = page.locator("#worst-wrong figcaption").first.inner_text()
    position = int(wrong[0])
    share = 100 * float(report.predictions.probabilities[position])
    assert f"taken for <b>{report.predictions.predictions[position]}, {share:.1f}\N{NO-BREAK SPACE}%" in caption
    assert f"is <b>{report.predictions.labels[position]}" in caption
    assert report.predictions.names[position] in caption


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_an_evaluation(opened: Any, evaluated: Evaluated, classes: int, width: int) -> None:
    check_layout(opened(evaluated[classes][0], width=width))


def test_an_evaluation_that_was_interrupted_has_its_setup_alone(opened: Any, tmp_path: Path) -> None:
    evaluation_folder(tmp_path / "run", drawn_predictions(2, 20), ("a", "b"), is_finished=False)
    page = opened(write_report(tmp_path / "run"))
    assert sections(page) == ["next", "setup"]
    assert "--resume" in page.locator("#notice").inner_text()
