"""The report in a browser: what it draws, and what happens when a person points, clicks and types."""

from __future__ import annotations

import math
import re

import pytest
import yaml
from report_folders import embedded, sampled_rows, write_folder
from report_pages import check_layout, sections

import raynas
from raynas.report.page import write_report
from raynas.space.results import Outcome

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytest_plugins = ["report_browser"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "searched"
    settings = {"length_distortion": {"repeats": 1}}
    raynas.search(
        "as-vit", objectives=["length_distortion"], budget=40, compare=3, out=folder, workers=0, img_size=32,
        settings=settings,
    )  # fmt: skip
    return write_report(folder)


@pytest.fixture(scope="module")
def with_failures(tmp_path_factory):
    errors = {k: ("failed", f"</script><b>size {k}</b>") for k in range(0, 60, 6)}
    rows = sampled_rows(60, ("first", "second"), errors)
    bound = sorted(row["macs"].value or 0 for _, row in rows)[45]
    return write_report(
        write_folder(
            tmp_path_factory.mktemp("runs") / "failures",
            rows,
            scores=("first", "second"),
            objectives=["first:max", "second:min"],
            identity={"constraints": [f"macs<={bound}"]},
            summary={"status": "interrupted"},
        )
    )


def ticks(page, axis):
    """(value, pixels) of the scatter plot's tick labels along one axis."""
    labels = page.locator(f"#scatter-plot .tick.{axis}").all()
    boxes = [(float(label.get_attribute("data-value")), label.bounding_box()) for label in labels]
    side, length = ("x", "width") if axis == "x" else ("y", "height")
    return [(value, box[side] + box[length] / 2) for value, box in boxes]


def pixels(page, axis, value, is_log):
    """Where a value lies, from two ticks and nothing else."""
    (low, start), *_, (high, end) = ticks(page, axis)
    scale = math.log if is_log else float
    return start + (scale(value) - scale(low)) / (scale(high) - scale(low)) * (end - start)


def is_log(page, name):
    return any("log" in text and name in text for text in page.locator("#scatter-plot .axis-title").all_text_contents())


def point_at(page, values, x, y, point):
    """Move the mouse to where the axes say that a point is."""
    page.locator("#scatter-plot").scroll_into_view_if_needed()
    # A tick's label stands centred on its line, up to a pixel.
    left = pixels(page, "x", values[x][point], is_log(page, "MACs"))
    top = pixels(page, "y", values[y][point], is_log(page, y))
    page.mouse.move(left, top)


def lonely(values, x, y):
    """Points with much room around them on linear or logarithmic axes, whichever suits."""

    def spread(name):
        known = [value for value in values[name] if value is not None]
        low, high = min(known), max(known)
        takes_log = low > 0 and high / low >= 50
        scale = math.log if takes_log else float
        return [
            None if value is None else (scale(value) - scale(low)) / (scale(high) - scale(low))
            for value in values[name]
        ]

    places = [
        (point, a, b) for point, (a, b) in enumerate(zip(spread(x), spread(y), strict=True)) if None not in (a, b)
    ]
    distances = {
        point: min(math.hypot(a - c, b - d) for other, c, d in places if other != point) for point, a, b in places
    }
    return sorted(distances, key=distances.__getitem__, reverse=True)


def test_sections_are_there(opened, searched):
    page = opened(searched)
    assert page.title() == "as-vit search · raynas"
    assert sections(page) == [
        *("best", "comparison", "next", "decisions", "scatter", "parallel", "progress", "policy"),
        *("failures", "correlation", "time", "setup"),
    ]
    assert page.locator("#policy-plots figure").count() == 12
    assert "None" in page.locator("#failures").inner_text()
    assert "4,556,250 (4.56 million)" in page.locator("#setup").inner_text()


def test_the_winner_stands_beside_the_uniform_network_and_random_ones(opened, searched):
    compared = embedded(searched.read_text())["comparison"]
    page = opened(searched)
    marks = {
        name: page.locator(f"#comparison-plot path.mark.{name}").all() for name in ("point", "recommended", "best")
    }
    assert {name: len(found) for name, found in marks.items()} == {"point": 3, "recommended": 1, "best": 1}
    values = [*compared["random"], compared["uniform"]["value"], compared["winner"]["value"]]
    boxes = [mark.bounding_box() for mark in (*marks["point"], *marks["recommended"], *marks["best"])]
    places = [box["x"] + box["width"] / 2 for box in boxes]
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [places[i] for i in order] == sorted(places)
    shown = page.locator("#comparison").inner_text()
    assert compared["verdict"][1:] in shown
    assert compared["uniform"]["text"] in shown.replace("\n", "")


def test_the_uniform_network_of_its_cost_stands_with_what_was_found(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    best = data["rankings"][0]["members"][0]
    uniform = next(one for one in data["uniform"] if one["point"] == best)
    shown = page.locator(f'#best-list > li[data-point="{best}"] .uniform').inner_text()
    assert uniform["text"] in shown.replace("\n", "")
    value = float(re.search(r"length_distortion\s([0-9.]+)", shown)[1])
    assert value == pytest.approx(uniform["values"]["length_distortion"], rel=1e-3)


def test_shares_of_decisions_are_as_long_as_they_are_large(opened, with_failures):
    shares = embedded(with_failures.read_text())["decisions"]["objectives"][0]["fields"]
    bars = opened(with_failures).locator("#decisions-plots figure").first.locator("rect.share:not(.rest)").all()
    widths = {bar.get_attribute("data-field"): bar.bounding_box()["width"] for bar in bars}
    assert widths.keys() == {"kernel", "split", "mlp_ratio", "num_heads"}
    large = {one["field"]: one["share"][0] for one in shares if one["share"][0] > 0.02}
    assert large
    ratios = [widths[field] / share for field, share in large.items()]
    assert max(ratios) == pytest.approx(min(ratios), rel=0.05)


def test_best_architecture_is_drawn_first_with_its_stages(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    first = page.locator("#best-list > li:not(.recommended)").first
    best = data["rankings"][0]["members"][0]
    assert first.locator(".genotype code").inner_text() == data["points"]["text"][best]
    assert first.locator("svg.stage-box").count() == 4
    assert first.locator("td.other").count() == 0
    assert page.locator("#best-list > li.recommended").count() == 1


def test_ranking_selector_changes_the_order(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    page.get_by_label("Ranked by").select_option(label="lowest macs")
    lightest = min(range(len(data["points"]["candidate"])), key=lambda i: data["points"]["values"]["macs"][i])
    first = page.locator("#best-list > li:not(.recommended)").first
    assert first.locator(".genotype code").inner_text() == data["points"]["text"][lightest]


def test_hover_shows_the_architecture_at_that_place(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    values = data["points"]["values"]
    for point in lonely(values, "macs", "length_distortion")[:4]:
        point_at(page, values, "macs", "length_distortion", point)
        panel = page.locator("#scatter-panel")
        assert panel.locator(".genotype code").inner_text() == data["points"]["text"][point]
        assert panel.locator("svg.stage-box").count() == 4


def test_click_keeps_a_point_until_it_is_clicked_again(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    values = data["points"]["values"]
    kept, other, *_ = lonely(values, "macs", "length_distortion")
    point_at(page, values, "macs", "length_distortion", kept)
    page.mouse.down()
    page.mouse.up()
    point_at(page, values, "macs", "length_distortion", other)
    code = page.locator("#scatter-panel .genotype code")
    assert code.inner_text() == data["points"]["text"][kept]
    page.keyboard.press("Escape")
    page.locator("#scatter-plot").press("Escape")
    page.mouse.move(0, 0)
    point_at(page, values, "macs", "length_distortion", other)
    assert code.inner_text() == data["points"]["text"][other]


def test_arrow_keys_move_between_points(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    plot = page.locator("#scatter-plot")
    seen = set()
    for _ in range(50):
        plot.press("ArrowLeft")
    for _ in range(len(data["points"]["candidate"])):
        seen.add(page.locator("#scatter-panel .genotype code").inner_text())
        plot.press("ArrowRight")
    assert seen == set(data["points"]["text"])


def test_selectors_change_the_axes(opened, searched):
    page = opened(searched)
    before = ticks(page, "x")
    page.get_by_label("across").select_option("num_params")
    assert any("parameters" in text for text in page.locator("#scatter-plot .axis-title").all_text_contents())
    assert ticks(page, "x") != before
    page.get_by_label("across").select_option("candidate number")
    assert max(value for value, _ in ticks(page, "x")) <= 40
    page.get_by_label("up", exact=True).select_option("macs")
    assert any("MACs" in text for text in page.locator("#scatter-plot .axis-title").all_text_contents())


def test_failures_are_listed_and_drawn(opened, with_failures):
    data = embedded(with_failures.read_text())
    page = opened(with_failures)
    assert "</script><b>size 0</b>" in page.locator("#failures pre").first.inner_text()
    assert page.locator("#failures b").count() == 0
    page.get_by_role("button", name="draw it").first.click()
    example = data["failures"][0]["example"]
    assert page.locator("#scatter-panel .genotype code").inner_text() == data["points"]["text"][example]
    assert "10 have no second" in page.locator("#scatter-note").inner_text()
    page.get_by_label("across").select_option("macs")
    assert "10 have" not in page.locator("#scatter-note").inner_text()
    legend = page.locator("#scatter-legend").inner_text()
    assert "infeasible" in legend
    assert "failed" in legend
    assert "raynas search --resume" in page.locator("#notice").inner_text()


def test_scores_that_do_not_apply_are_said_with_their_reason(opened, tmp_path):
    reason = "needs transformer blocks, which Plain lacks"
    rows = sampled_rows(20, ("first", "second"))
    for number in range(0, 20, 4):
        rows[number][1]["second"] = Outcome(None, "not_applicable", reason, 0.1)
    folder = write_folder(tmp_path / "run", rows, scores=("first", "second"), objectives=["first:max"])
    page = opened(write_report(folder))
    told = page.locator("#failures").inner_text()
    assert reason in told
    assert "not_applicable" in told or "not applicable" in told
    assert "5" in told
    legend = page.locator("#scatter-legend")
    assert "no first" not in legend.inner_text()
    page.get_by_label("up", exact=True).select_option("second")
    assert "no second" in legend.inner_text()  # as crosses on a strip of their own
    check_layout(page)
    page.get_by_label("across").select_option("second")
    page.get_by_label("up", exact=True).select_option("first")
    assert "5 have no second" in page.locator("#scatter-note").inner_text()
    check_layout(page)


def test_several_objectives_have_a_front_and_a_hypervolume(opened, with_failures):
    page = opened(with_failures)
    assert page.get_by_label("Ranked by").locator("option").first.inner_text() == "Pareto front"
    assert page.locator("#progress-plots figure").count() == 3
    assert "hypervolume" in page.locator("#progress-plots").inner_text()


def test_copy_button_copies_the_genotype(opened, searched):
    page = opened(searched, permissions=["clipboard-read", "clipboard-write"])
    card = page.locator("#best-list > li").first
    card.locator(".genotype").get_by_role("button", name="copy").click()
    playwright.expect(card.get_by_role("button", name="copied")).to_be_visible()


@pytest.mark.parametrize("name", ["searched", "with_failures"])
def test_narrow_windows_do_not_scroll_sideways(opened, request, name):
    page = opened(request.getfixturevalue(name), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("#scatter-plot svg").first.bounding_box()["width"] <= 400


def test_dark_mode_has_light_text_on_a_dark_page(opened, searched):
    def lightness(page, what):
        colour = page.evaluate(f"getComputedStyle(document.body).{what}")
        return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    dark, light = opened(searched, color_scheme="dark"), opened(searched, color_scheme="light")
    assert lightness(dark, "backgroundColor") < 150 < 600 < lightness(dark, "color")
    assert lightness(light, "color") < 150 < 600 < lightness(light, "backgroundColor")
    # The canvas is painted by hand, so it has to follow a change too.
    painted = "document.querySelector('#scatter-plot canvas').toDataURL()"
    before = light.evaluate(painted)
    light.emulate_media(color_scheme="dark")
    light.wait_for_function(f"before => {painted} !== before", arg=before)


def test_text_does_not_overlap_in_plots(opened, searched, with_failures):
    for path, width in ((searched, 1280), (searched, 400), (with_failures, 1280), (with_failures, 400)):
        check_layout(opened(path, width=width))


def test_page_without_any_evaluation_opens(opened, tmp_path):
    page = opened(write_report(write_folder(tmp_path, [], summary={"status": "running"})))
    assert "Nothing has been scored yet" in page.locator("#best").inner_text()
    assert not page.locator("#scatter").is_visible()


def test_what_is_recommended_is_shown_once(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    for ranking in page.locator("#best-controls option").all_text_contents():
        page.get_by_label("ranked by").select_option(label=ranking)
        while page.locator("#best-list button.more").count():
            page.locator("#best-list button.more").click()
        shown = [int(card.get_attribute("data-point")) for card in page.locator("#best-list .architecture").all()]
        assert shown[0] == data["recommended"]
        assert len(shown) == len(set(shown))
        members = next(one["members"] for one in data["rankings"] if one["label"] == ranking)
        assert set(shown) == {*members, data["recommended"]}


LONG = "a_name_of_a_score_that_goes_on_and_on_and_on_until_nobody_has_room_for_it"


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_long_names_and_few_architectures_fit(opened, tmp_path, n, width):
    folder = write_folder(
        tmp_path / "run",
        sampled_rows(n, (LONG, "b"), {k: ("failed", f"{LONG}: {k}") for k in range(0, n, 7) if k}),
        scores=(LONG, "b"),
        objectives=[f"{LONG}:max", "b:min"],
        space="as-vit",
    )
    page = opened(write_report(folder), width=width)
    check_layout(page)
    for section in sections(page):
        inside = page.locator(f"#{section}").evaluate(
            "one => [...one.querySelectorAll('p, li, dd, dt, figcaption, svg text')].map((part) => "
            "part.closest('.scrolled, .picture') ? 0 : part.getBoundingClientRect().right)"
        )
        assert max(inside, default=0) <= width, section


def test_one_value_is_drawn_on_an_axis_around_it(opened, tmp_path):
    """Of one value, neither rounding nor the axis makes several ticks that differ in the tenth digit."""
    page = opened(write_report(write_folder(tmp_path / "run", sampled_rows(1))))
    for plot in ("#progress-plots", "#scatter-plot"):
        ticks = [float(one.get_attribute("data-value")) for one in page.locator(f"{plot} .tick.y").all()]
        assert max(ticks) - min(ticks) > 0.01 * max(ticks)


def test_texts_of_anybody_run_nothing(opened, tmp_path):
    """Of all texts that a folder holds; the fixture fails on any request, error or message of the page."""
    marks = "window.ran = true"
    hostile = f"</script><script>{marks}</script><img src=x onerror='{marks}'><svg onload='{marks}'>javascript:{marks}"
    rows = sampled_rows(12, errors={k: ("failed", f"{hostile} {k}") for k in (1, 4)})
    summary = {"status": "failed", "error": hostile, "driver_seconds": {hostile: 1.0}}
    folder = write_folder(tmp_path, rows, identity={"space": hostile, "searcher": hostile}, summary=summary)
    content = yaml.safe_load((folder / "run.yaml").read_text())
    content["machine"], content["versions"] = {hostile: hostile}, {hostile: hostile}
    content["config"] |= {"space": hostile, "data": hostile}
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    page = opened(write_report(folder))
    page.wait_for_selector("#title")
    assert page.evaluate("window.ran === undefined")
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator("img").count() == 0
    assert hostile in page.locator("#title").inner_text()
