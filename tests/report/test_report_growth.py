"""The page of a growth: its data against a family made by hand, and what a browser draws of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report_folders import AS_VIT, embedded, sampled_rows, write_folder
from report_pages import check_layout, sections

import raynas
import raynas.report.search
from raynas.report.page import report_data, write_report
from raynas.searching.run import SearchListener
from raynas.space.results import Outcome
from raynas.wording import compact

pytest_plugins = ["report_browser"]

START = "4,2,3|4,1,2|4,1,4|4,1,6|16,16"


def grown(depths, width):
    """The start with other depths and another width."""
    return AS_VIT.read(START).replace(depth=tuple(depths), embed_dim=width)


# By step: the candidates in the order of asking with both scores, and which was chosen.
STEPS = [
    [("start", (1, 1, 1, 1), 16, 5.0, 50.0)],
    [
        ("depth[0]+1, embed_dim 16 -> 20", (2, 1, 1, 1), 20, 6.0, 40.0),
        ("depth[1]+1, embed_dim 16 -> 20", (1, 2, 1, 1), 20, 7.0, 60.0),
        ("depth[2]+1, embed_dim 16 -> 20", (1, 1, 2, 1), 20, None, None),
    ],
    [
        ("depth[0]+1, embed_dim 20 -> 24", (3, 1, 1, 1), 24, 8.0, 70.0),
        ("depth[3]+1, embed_dim 20 -> 24", (2, 1, 1, 2), 24, 9.0, 30.0),
    ],
]
CHOSEN = [0, 0, 1]
CANDIDATES = [0, 1, 5]  # the numbers of those that were chosen
ASKED = [[0, 1], [1, 4], [4, 6]]


def costs(architecture):
    return {"num_params": AS_VIT.num_params(architecture, 64, 10), "macs": AS_VIT.macs(architecture, 64, 10)}


def made_family(folder, **summary):
    """The folder of a growth with the steps above."""
    rows, family = [], []
    for number, (step, chosen, asked) in enumerate(zip(STEPS, CHOSEN, ASKED, strict=True)):
        for _, depths, width, high, low in step:
            architecture = grown(depths, width)
            outcomes = {name: Outcome(value, "ok") for name, value in costs(architecture).items()}
            for name, value in (("high", high), ("low", low)):
                is_known = value is not None
                outcomes[name] = Outcome(value, "ok", None, 0.5) if is_known else Outcome(None, "failed", "no", 0.5)
            rows.append((architecture, outcomes))
        change, depths, width, high, low = step[chosen]
        architecture = grown(depths, width)
        family.append(
            {
                "step": number,
                "change": change,
                "asked": asked,
                "candidate": CANDIDATES[number],
                "architecture": dict(architecture),
                "scores": {"high": high, "low": low},
                **costs(architecture),
            }
        )
    stop = costs(grown((2, 1, 1, 2), 24))["num_params"] - 1
    return write_folder(
        folder,
        rows,
        scores=("high", "low"),
        objectives=["high:max", "low:min"],
        identity={
            "searcher": "growth",
            "searcher_settings": {"start": START, "stop": f"num_params>={stop}"},
            "constraints": ["num_params<=110e6"],
        },
        summary={"family": family, "seconds": 75.0, **summary},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_report(made_family(tmp_path_factory.mktemp("runs") / "made"))


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A real growth, ranked by a cost alone, so that each step takes the widest."""
    folder = tmp_path_factory.mktemp("runs") / "scaled"
    raynas.scale(
        "p16-w96-d4-h3-m3",
        space="vit",
        stop="num_params>=1e9",
        objectives=["num_params:max"],
        settings={"searcher": {"max_steps": 3}},
        img_size=32,
        workers=0,
        out=folder,
        listener=SearchListener(),
    )
    return write_report(folder)


# -- data -------------------------------------------------------------------------------------------------------------


def test_family_has_its_depths_widths_and_points(made):
    data = embedded(made.read_text())
    members = data["growth"]["members"]
    assert data["layout"] == "growth"
    assert [(member["depths"], member["width"]) for member in members] == [
        ([1, 1, 1, 1], 16),
        ([2, 1, 1, 1], 20),
        ([2, 1, 1, 2], 24),
    ]
    assert [member["asked"] for member in members] == ASKED
    points = data["points"]
    assert [points["candidate"][member["point"]] for member in members] == CANDIDATES
    assert [points["values"]["high"][member["point"]] for member in members] == [5, 6, 9]
    assert points["text"][members[-1]["point"]] == "4,2,3,2|4,1,2|4,1,4|4,1,6,2|16,24"
    assert (data["growth"]["depth"], data["growth"]["width"]) == ("depth", "embed_dim")


def test_head_tells_from_where_to_where_it_grew(made):
    data = embedded(made.read_text())
    first, last = (costs(grown(*state))["num_params"] for state in (((1, 1, 1, 1), 16), ((2, 1, 1, 2), 24)))
    facts = dict(data["facts"])
    assert data["title"] == "as-vit growth"
    assert f"from {first / 1e3:.0f} k to {last / 1e6:.2f} M parameters in 2 steps: 6 architectures" in data["headline"]
    assert data["headline"].endswith("1 min 15 s")
    assert "largest high and smallest low" in data["subline"]
    assert "num_params ≤ 110 M" in data["subline"]
    assert (facts["steps"], facts["blocks"], facts["width"], facts["failed"]) == ("2", "6", "24", "1")
    assert "budget" not in dict(next(group["rows"] for group in data["groups"] if group["title"] == "Search"))


def test_interrupted_growth_is_resumed_by_scale(tmp_path):
    folder = made_family(tmp_path / "run", status="interrupted")
    data = embedded(write_report(folder).read_text())
    assert data["status"]["resume"] == f"raynas scale --resume --out {folder}"


def test_growth_that_found_nothing_to_choose_says_so(tmp_path):
    data = embedded(write_report(made_family(tmp_path / "run", status="exhausted")).read_text())
    assert data["status"]["text"] == "ended: a step left nothing to choose"
    assert data["status"]["resume"] is None


def test_growth_that_has_no_family_yet_is_reported(tmp_path):
    data = embedded(write_report(made_family(tmp_path / "run", status="running", family=None)).read_text())
    assert "growth" not in data
    assert data["total"] == 6


def test_search_has_no_growth(tmp_path):
    data = embedded(write_report(write_folder(tmp_path, sampled_rows(3))).read_text())
    assert not {"growth", "layout", "facts"} & data.keys()


def test_members_are_on_the_page_of_a_growth_with_many_candidates(tmp_path, monkeypatch):
    monkeypatch.setattr(raynas.report.search, "MAX_POINTS", 2)
    data = report_data(raynas.load_run(made_family(tmp_path / "run")))
    points = [member["point"] for member in data["growth"]["members"]]
    assert [data["points"]["candidate"][point] for point in points] == CANDIDATES


def test_space_that_is_not_registered_shows_no_depths(tmp_path):
    own = replace(raynas.space.registered.spaces.get("vit"), name="mine")
    settings = {"searcher": {"max_steps": 1}}
    run = raynas.scale(
        "p16-w96-d4-h3-m3",
        space=own,
        stop="num_params>=1e9",
        objectives=["num_params:max"],
        settings=settings,
        img_size=32,
        workers=0,
        out=tmp_path / "own",
        listener=SearchListener(),
    )
    data = report_data(run)
    assert [member["depths"] for member in data["growth"]["members"]] == [None, None]
    assert json.loads(json.dumps(data["growth"]))["width"] is None


def test_real_growth_agrees_with_arithmetic(scaled):
    data = embedded(scaled.read_text())
    # Widths in units of 3 heads, times 1.2, rounded: 32, 38.4, 45.6, 55.2; each step has 4 rates and one stage.
    members = data["growth"]["members"]
    assert [(member["depths"], member["width"]) for member in members] == [
        ([4], 96),
        ([5], 114),
        ([6], 138),
        ([7], 165),
    ]
    assert [member["asked"] for member in members] == [[0, 1], [1, 5], [5, 9], [9, 13]]
    assert data["points"]["text"][members[3]["point"]] == "p16-w165-d7-h3-m3"


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999"), (9_999, "9,999"), (12_345, "12.3 k"), (999_600, "1.00 M"), (5_625_088, "5.63 M"), (2e11, "200 G")],
)
def test_compact(value, text):
    assert compact(value) == text


# -- the page ---------------------------------------------------------------------------------------------------------


def test_towers_have_a_slab_for_each_block_to_scale(opened, made):
    page = opened(made)
    assert sections(page)[:4] == ["growth", "steps", "family", "best"]
    assert page.locator("#growth-towers .slab").count() == 4 + 5 + 6
    assert page.locator("#growth-towers .slab.new").count() == 2
    widths = [float(slab.get_attribute("width")) for slab in page.locator("#growth-towers .slab").all()]
    # Channels double from stage to stage: 16, 32, 64, 128, and 24 to 192 in the last member.
    assert widths[:4] == pytest.approx([widths[3] / 8, widths[3] / 4, widths[3] / 2, widths[3]])
    assert max(widths) / widths[3] == pytest.approx(192 / 128)


def test_lines_show_depth_width_and_costs(opened, made):
    page = opened(made)
    captions = page.locator("#growth-lines figcaption").all_inner_texts()
    assert [caption.split()[0] for caption in captions] == ["blocks", "embed_dim", "high", "low", "parameters", "MACs"]
    assert captions[0].split()[-1] == "6"
    assert page.locator("#growth-lines .level").count() == 1
    plot = page.locator("#growth-lines .plot").first
    plot.press("ArrowRight")
    assert page.locator("#growth-lines figcaption").nth(0).inner_text().split() == ["blocks", "step", "0:", "4"]
    assert page.locator("#growth-lines figcaption").nth(1).inner_text().split() == ["embed_dim", "step", "0:", "16"]


def test_choosing_a_tower_shows_what_its_step_chose_from(opened, made):
    data = embedded(made.read_text())
    page = opened(made)
    assert "Step 2 scored 2 candidates" in page.locator("#steps-note").inner_text()
    page.locator("#growth-towers .column").nth(1).click(position={"x": 5, "y": 5})
    note = page.locator("#steps-note").inner_text()
    assert "Step 1 scored 3 candidates" in note
    assert "1 has no place here" in note
    assert page.locator("#steps-plot .mark").count() == 2
    assert page.locator("#steps-plot .mark.best").count() == 1
    code = page.locator("#steps-panel code")
    chosen = data["growth"]["members"][1]["point"]
    assert code.inner_text() == data["points"]["text"][chosen]
    assert page.locator("#family-table tr.chosen td").first.inner_text() == "1"
    other = page.locator("#steps-plot .mark.point")
    other.hover()
    assert code.inner_text() == data["points"]["text"][int(other.get_attribute("data-point"))]
    assert "Not chosen" in page.locator("#steps-panel").inner_text()


def test_steps_are_chosen_by_keys_buttons_and_list(opened, made):
    page = opened(made)
    chosen = page.locator("#family-table tr.chosen td").first
    page.locator("#growth-towers").press("ArrowLeft")
    assert chosen.inner_text() == "1"
    page.get_by_role("button", name="Step before").click()
    assert chosen.inner_text() == "0"
    assert "nothing was chosen" in page.locator("#steps-note").inner_text()
    page.get_by_label("Step", exact=True).select_option("2")
    assert chosen.inner_text() == "2"
    page.locator("#family-table tbody tr").nth(1).click()
    assert chosen.inner_text() == "1"


def test_table_of_the_family_has_its_numbers(opened, made):
    page = opened(made)
    cells = page.locator("#family-table tbody tr").nth(2).locator("td").all_inner_texts()
    known = costs(grown((2, 1, 1, 2), 24))
    assert cells[:4] == ["2", "depth[3]+1, embed_dim 20 → 24", "2 1 1 2", "24"]
    assert cells[4] == f"{known['num_params'] / 1e6:.2f} M"
    assert cells[6:8] == ["9", "30"]
    assert cells[8].startswith("4,2,3,2|4,1,2|4,1,4|4,1,6,2|16,24")


@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_growth(opened, made, scaled, width):
    for path in (made, scaled):
        check_layout(opened(path, width=width))


def test_unknown_depths_leave_the_towers_out(opened, tmp_path):
    folder = made_family(tmp_path / "run")
    text = (folder / "run.yaml").read_text().replace("space: as-vit", "space: unknown")
    (folder / "run.yaml").write_text(text)
    page = opened(write_report(folder))
    assert page.locator("#growth-towers").count() == 0
    assert page.locator("#family-table tbody tr").count() == 3
    assert "high" in page.locator("#growth-lines").inner_text()


def colours(page, selector, style):
    return set(page.locator(selector).evaluate_all(f"all => all.map((one) => getComputedStyle(one).{style})"))


def test_colours_of_a_growth_are_explained(opened, made, scaled):
    page = opened(made)
    assert page.locator("#growth-lines-legend").inner_text().split("\n") == [
        "size and cost",
        "scores",
        "where the growth was to end",
    ]
    legend = page.locator("#growth-legend").inner_text()
    assert all(text in legend for text in ("stage 1", "stage 4", "added in that step"))
    # Each colour of a slab or a line is one that a legend has.
    assert colours(page, "#growth-lines path.line", "stroke") <= colours(page, "#growth-lines-legend path", "stroke")
    for one in (page, opened(scaled)):  # the other has one stage
        assert colours(one, "#growth-towers .slab", "fill") <= colours(one, "#growth-legend i", "backgroundColor")
