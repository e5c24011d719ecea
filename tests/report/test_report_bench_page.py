"""The page of a benchmark in a browser; one file, since nearly all look at the page of one benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_benches import PROXIES, VIT, N, decimal, made, row_of, unfold
from report_folders import embedded
from report_pages import check_layout, sections
from toy_bench import write_table

import raynas
from raynas.report.page import page as page_of
from raynas.report.page import write_report
from raynas.searching.run import SearchListener

pytest_plugins = ["report_browser", "report_bench_fixtures"]


def test_all_sections_are_drawn(opened: Any, bench: Path) -> None:
    page = opened(bench)
    assert sections(page) == ["ranking", "heat", "scatter", "among", "numbers", "strata", "failures", "time", "setup"]
    assert page.locator("#ranking-plot .row").count() == 8
    assert page.locator("#heat-table td[data-row]").count() == 8 * 2
    assert page.locator("#among-table td[data-row]").count() == 8 * 7
    assert page.locator("#numbers-table tbody tr").count() == 8


@pytest.mark.parametrize(
    ("label", "measure", "field"), [("top1", "tau", "tau"), ("loss", "partial_tau", "partial_tau")]
)
def test_the_best_stand_first_with_their_intervals(
    opened: Any, bench: Path, correlations: list[dict[str, Any]], label: str, measure: str, field: str
) -> None:
    page = opened(bench)
    page.locator("#ranking").get_by_label("label").select_option(label=label)
    page.locator("#ranking").get_by_label("measure").select_option(measure)
    rows = [row for row in correlations if row["label"] == label and row["within"] is None]
    rows = sorted(rows, key=lambda row: -9 if row[field] is None else row[field], reverse=True)
    for row, found in zip(rows, page.locator("#ranking-plot .row").all(), strict=True):
        texts = found.locator("text").all_text_contents()
        assert texts[0] == row["proxy"]
        if row[field] is not None:
            ends = f"{decimal(row[f'{field}_low'])} to {decimal(row[f'{field}_high'])}"
            assert texts[1:] == [decimal(row[field]), ends]


@pytest.mark.parametrize("useful", [True, False, None])
def test_only_what_is_known_to_be_above_size_is_filled(opened: Any, bench: Path, tmp_path: Path, useful: Any) -> None:
    """Proxies and combinations alike, and also where nothing could be compared."""
    text = bench.read_text()
    data = embedded(text)["bench"]
    at = data["columns"].index("useful")
    rows = [[*row[:at], useful, *row[at + 1 :]] for row in data["rows"]]
    before, after = (json.dumps(one, separators=(",", ":")) for one in (data["rows"], rows))
    assert before in text
    (tmp_path / "page.html").write_text(text.replace(before, after))
    page = opened(tmp_path / "page.html")
    marks = page.locator("#ranking-plot .mark:not(.baseline)")
    assert marks.count() == 3
    assert all(("hollow" in mark.get_attribute("class")) == (useful is not True) for mark in marks.all())
    fills = {mark.evaluate("one => getComputedStyle(one).fill") for mark in marks.all()}
    ground = page.locator("#ranking-legend .mark.hollow").first.evaluate("one => getComputedStyle(one).fill")
    assert (ground in fills) == (useful is not True)


def test_verdict_compares_the_best_with_size(opened: Any, bench: Path, correlations: list[dict[str, Any]]) -> None:
    page = opened(bench)
    rivals = [
        row for row in correlations if row["label"] == "top1" and row["within"] is None and row["lead"] is not None
    ]
    best = max(rivals, key=lambda row: row["tau"])
    verdict = page.locator("#ranking-verdict").inner_text()
    assert verdict.startswith(
        f"{best['proxy']} ranks top1 best: τ-b {decimal(best['tau'])} ({decimal(best['tau_low'])}"
    )
    assert ("is not above" in verdict) == (best["lead"] <= 0)
    assert decimal(abs(best["lead"])) in verdict


def test_pointing_at_a_cell_reads_its_interval_and_a_click_draws_the_pair(
    opened: Any, bench: Path, correlations: list[dict[str, Any]]
) -> None:
    page = opened(bench)
    names = [cell.inner_text() for cell in page.locator("#heat-table tbody th").all()]
    cell = page.locator("#heat-table tbody tr").nth(names.index("shallow")).locator("td").nth(1)
    cell.hover()
    row = row_of(correlations, "shallow", "loss")
    said = page.locator("#heat-reading").inner_text()
    assert said.startswith("shallow and loss: τ-b")
    assert f"{decimal(row['tau'])} ({decimal(row['tau_low'])} to {decimal(row['tau_high'])})" in said
    assert f"n = {row['n']}" in said
    cell.click()
    assert page.locator("#scatter-note").inner_text().startswith("shallow and loss")
    titles = page.locator("#scatter-plot .axis-title").all_text_contents()
    assert any(title.startswith("shallow") and "← better" in title for title in titles)
    assert any(title.startswith("loss") and "↓ better" in title for title in titles)
    assert page.locator("#numbers").get_by_label("label").input_value() == "1"


def test_arrow_keys_move_between_cells(opened: Any, bench: Path) -> None:
    page = opened(bench)
    names = [cell.inner_text() for cell in page.locator("#heat-table tbody th").all()]
    page.locator('#heat-table td[data-row="0"]').first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#heat-reading").inner_text().startswith(f"{names[1]} and loss:")
    page.keyboard.press("Enter")
    assert page.locator("#scatter-note").inner_text().startswith(f"{names[1]} and loss")


def test_marked_cells_are_above_size(opened: Any, bench: Path, correlations: list[dict[str, Any]]) -> None:
    page = opened(bench)
    names = [cell.inner_text() for cell in page.locator("#heat-table tbody th").all()]
    for k, label in enumerate(("top1", "loss")):
        for i, name in enumerate(names):
            classes = page.locator(f'#heat-table td[data-row="{i}"][data-column="{k}"]').get_attribute("class") or ""
            row = row_of(correlations, name, label)
            assert ("marked" in classes) == bool(row["lead"] is not None and row["tau"] > 0 and row["lead_low"] > 0)


def place(page: Any, axis: str, value: float) -> float:
    """Where a value of a linear axis lies, from two ticks."""
    found = []
    for tick in page.locator(f"#scatter-plot .tick.{axis}").all():
        box = tick.bounding_box()
        middle = box["x"] + box["width"] / 2 if axis == "x" else box["y"] + box["height"] / 2
        found.append((float(tick.get_attribute("data-value")), middle))
    (low, start), *_, (high, end) = found
    return float(start + (value - low) / (high - low) * (end - start))


def test_pointing_at_a_mark_shows_the_architecture(opened: Any, bench: Path) -> None:
    data = embedded(bench.read_text())
    page = opened(bench)
    page.locator("#scatter").get_by_label("predictor").select_option(label="wide")
    values = data["points"]["values"]
    spots = np.array([values["wide"], values["top1"]]).T / [300, 10]
    apart = np.argsort([np.sort(np.hypot(*(spots - spot).T))[1] for spot in spots]).tolist()
    page.locator("#scatter-plot").scroll_into_view_if_needed()
    for point in apart[-3:]:
        page.mouse.move(place(page, "x", values["wide"][point]), place(page, "y", values["top1"][point]))
        panel = page.locator("#scatter-panel")
        assert panel.locator("code").inner_text() == data["points"]["text"][point]
        rank = 1 + sum(value > values["top1"][point] for value in values["top1"])
        assert f"#{rank} of 60" in panel.inner_text()
        assert panel.locator("svg.stage-box").count() == 1


def test_ranks_and_what_has_no_value_are_drawn_too(opened: Any, bench: Path) -> None:
    page = opened(bench)
    page.locator("#scatter").get_by_label("predictor").select_option(label="shallow")
    assert page.locator("#scatter-plot text", has_text="none").count() == 1
    assert "no shallow" in page.locator("#scatter-legend").inner_text()
    before = page.locator("#scatter-plot .tick.x").all_text_contents()
    page.get_by_label("axes").select_option("ranks")
    titles = page.locator("#scatter-plot .axis-title").all_text_contents()
    assert any(title.startswith("rank by shallow") for title in titles)
    assert page.locator("#scatter-plot .tick.x").all_text_contents() != before
    # The first rank is on the right and on top.
    for axis in ("x", "y"):
        ticks = sorted(
            page.locator(f"#scatter-plot .tick.{axis}").all(), key=lambda tick: float(tick.get_attribute("data-value"))
        )
        boxes = [tick.bounding_box() for tick in ticks]
        assert len(boxes) > 3
        assert boxes[0]["x"] > boxes[-1]["x"] if axis == "x" else boxes[0]["y"] < boxes[-1]["y"]
    seen = set()
    page.locator("#scatter-plot").focus()
    for _ in range(N):
        page.keyboard.press("ArrowLeft")
    for _ in range(N):
        seen.add(page.locator("#scatter-panel code").inner_text())
        page.keyboard.press("ArrowRight")
    assert len(seen) == N


def test_a_click_on_a_heading_sorts(opened: Any, bench: Path, correlations: list[dict[str, Any]]) -> None:
    page = opened(bench)
    unfold(page)

    def names() -> list[str]:
        return [cell.inner_text() for cell in page.locator("#numbers-table tbody .name").all()]

    rows = {row["proxy"]: row for row in correlations if row["label"] == "top1" and row["within"] is None}
    for heading, field in (("Spearman", "rho"), ("regret", "regret"), ("values", "distinct")):
        for sign in (-1, 1):  # the largest first, then the smallest
            page.locator("#numbers-table th button", has_text=heading).first.click()
            shown = [rows[name][field] for name in names() if rows[name][field] is not None]
            assert shown == sorted(shown, key=lambda value: sign * value)
    page.locator("#numbers-table th button", has_text="predictor").click()
    assert names() == sorted(names(), key=str.lower)
    head = page.locator("#numbers-table th[aria-sort]")
    assert (head.count(), head.get_attribute("aria-sort")) == (1, "ascending")


def test_strata_show_each_value_and_the_mean(opened: Any, bench: Path, correlations: list[dict[str, Any]]) -> None:
    page = opened(bench)
    unfold(page)
    page.locator("#strata").get_by_label("label").select_option(label="top1")
    heads = page.locator("#strata-table thead th").all_inner_texts()
    assert [head.split(" (")[0] for head in heads] == ["all", "mean within", *(f"depth {d}" for d in (4, 6, 8, 10, 12))]
    mean = next(
        row for row in correlations
        if (row["proxy"], row["label"], row["within"], row["stratum"]) == ("wide", "top1", "depth", None)
    )  # fmt: skip
    row = next(row for row in page.locator("#strata-table tbody tr").all() if row.locator("th").inner_text() == "wide")
    assert row.locator("td").nth(1).inner_text() == decimal(mean["tau"])
    depth = next(
        row for row in page.locator("#strata-table tbody tr").all() if row.locator("th").inner_text() == "depth"
    )
    assert depth.locator("td").all_inner_texts()[1:] == ["–"] * 6  # noqa: RUF001


def test_errors_are_text(opened: Any, bench: Path) -> None:
    page = opened(bench)
    assert "</script><b>no" in page.locator("#failures pre").first.inner_text()
    assert page.locator("#failures b").count() == 0
    page.get_by_role("button", name="draw it").first.click()
    assert page.locator("#scatter-panel code").inner_text() in page.locator("#failures").inner_text()


def test_page_of_aggregates_says_so_and_has_no_scatter_plot(opened: Any, tmp_path: Path) -> None:
    page = opened(made(tmp_path / "bench", aggregates_only=True, title="Table of <others>"))
    assert page.locator("h1").inner_text() == "Table of <others>"
    assert "no single architecture" in page.locator("#notice").inner_text()
    assert not page.locator("#scatter").is_visible()
    page.locator("#heat-table td[data-row]").first.click()
    assert page.locator("#ranking-plot .row.chosen").count() == 1


def test_page_of_a_benchmark_that_has_just_begun_opens(opened: Any, bench: Path, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    for name in ("run.yaml", "bench.yaml", "truth.parquet"):
        (folder / name).write_bytes((bench.parent / name).read_bytes())
    (folder / "evaluations").mkdir()
    path = write_report(folder)
    page = opened(path)
    notice = page.locator("#notice").inner_text()
    assert "raynas bench proxies --resume --out" in notice
    assert "Too few architectures are scored so far to compare with num_params, macs." in notice
    assert "do not apply" not in notice
    assert dict(embedded(path.read_text())["facts"])["scored so far"] == "0"
    assert page.locator("#ranking-plot .row").count() == 8


@pytest.mark.parametrize("width", [1280, 360])
def test_layout(opened: Any, bench: Path, width: int) -> None:
    page = opened(bench, width=width)
    check_layout(page)
    unfold(page)
    check_layout(page)


def test_tables_are_folded_until_they_are_asked_for(opened: Any, bench: Path) -> None:
    page = opened(bench)
    for name in ("among", "numbers", "strata"):
        assert not page.locator(f"#{name}-table table").is_visible()
        page.locator(f"#{name} summary").click()
        assert page.locator(f"#{name}-table table").is_visible()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("WIDE", {"wide", "wide+shallow"}),
        ("shallow macs", {"shallow", "wide+shallow", "macs"}),
        ("baseline", {"num_params", "macs", "depth", "width", "depth*width"}),
        ("nothing-of-the-kind", set()),
    ],
)
def test_the_filter_holds_for_the_whole_page(opened: Any, bench: Path, typed: str, expected: set[str]) -> None:
    page = opened(bench)
    unfold(page)
    page.get_by_label("filter").fill(typed)
    assert {row.locator("text").first.text_content() for row in page.locator("#ranking-plot .row").all()} == expected
    for table in ("heat", "among", "strata"):
        assert {cell.inner_text() for cell in page.locator(f"#{table}-table tbody th").all()} == expected
    assert {cell.inner_text() for cell in page.locator("#numbers-table tbody .name").all()} == expected
    assert page.locator("#ranking-filtered").inner_text().startswith(f"{len(expected)} of 8 predictors")
    page.get_by_label("filter").fill("")
    assert page.locator("#ranking-plot .row").count() == 8


def test_of_many_predictors_the_best_and_what_is_to_be_beaten_are_drawn_first(
    opened: Any, bench: Path, tmp_path: Path
) -> None:
    data = embedded(bench.read_text())
    rows = data["bench"]["rows"]
    for k in range(30):  # copies of the first predictor, which is a good one
        data["bench"]["predictors"].append({**data["bench"]["predictors"][0], "name": f"copy{k}"})
        rows += [[len(data["bench"]["predictors"]) - 1, *row[1:]] for row in rows[:2]]
        strata = [row for row in data["bench"]["strata"] if row[0] == 0]
        data["bench"]["strata"] += [[len(data["bench"]["predictors"]) - 1, *row[1:]] for row in strata]
        data["points"]["values"][f"copy{k}"] = data["points"]["values"][data["bench"]["predictors"][0]["name"]]
        data["scores"].append({**data["scores"][2], "name": f"copy{k}"})
    path = tmp_path / "many.html"
    path.write_text(page_of(data))
    page = opened(path)
    names = [row.locator("text").first.text_content() for row in page.locator("#ranking-plot .row").all()]
    assert len(names) < 38
    assert {"num_params", "macs", "depth*width"} <= set(names)
    page.locator("#ranking-more").click()
    assert page.locator("#ranking-plot .row").count() == 38
    page.locator("#ranking-more").click()
    assert page.locator("#ranking-plot .row").count() == len(names)


def test_baselines_that_do_not_apply_are_named(opened: Any, tmp_path: Path) -> None:
    """Where all architectures are equally wide, width orders nothing."""
    rng = np.random.default_rng(1)
    drawn = [VIT.sample(rng) for _ in range(400)]
    chosen = list({a.key: a for a in drawn if a["embed_dim"] == drawn[0]["embed_dim"]}.values())[:20]
    assert len(chosen) == 20
    table = write_table(tmp_path / "table.csv", chosen, {"top1": list(range(20))})
    run = raynas.bench_proxies(
        "vit", table, out=tmp_path / "bench", labels=["top1"], proxies=PROXIES, resamples=60, img_size=32, workers=0,
        listener=SearchListener(),
    )  # fmt: skip
    page = opened(write_report(run.folder))
    said = page.locator("#notice").inner_text()
    assert "width (the same for all architectures)" in said
    assert "macs (" not in said
