"""What commands take as SOURCE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_runs import search
from toy_spaces import growing_stages

import raynas
from raynas.errors import ConfigError, RaynasError, SpaceError, StoreError, UnknownNameError
from raynas.storage.sources import read_source
from searchspaces.as_vit import as_vit

GENOTYPE = "8,2,3|4,1,2|4,1,4|4,1,6|32"
SEED = as_vit.read(GENOTYPE)
SCORES = {"length_distortion": 0.5}


def entry(text: str, **values: Any) -> dict[str, Any]:
    return {"architecture": dict(as_vit.read(text)), "scores": SCORES, "is_feasible": True, **values}


def folder_of(path: Path, summary: dict[str, Any] | None, kind: str | None = "search", **description: Any) -> Path:
    """A run folder as far as a source is read from it."""
    path.mkdir()
    config = {"space": "as-vit", "img_size": 64, "num_classes": 7}
    content = {"config": config, "identity": {}, **description, **({"kind": kind} if kind else {})}
    (path / "run.yaml").write_text(yaml.safe_dump(content))
    if summary is not None:
        (path / "summary.json").write_text(json.dumps(summary))
    return path


SMALL, WIDE, LARGE = GENOTYPE + ",32", GENOTYPE + ",64", GENOTYPE + ",128"
FAMILY = [
    entry(text, num_params=count, macs=10 * count, scores={"length_distortion": score})
    for text, count, score in ((SMALL, 1000, 0.1), (WIDE, 2000, 0.3), (LARGE, 4000, 0.2))
]


# -- text and files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GENOTYPE, "seed", "Seed", SEED.to_json(), json.dumps(dict(SEED), indent=2)])
def test_text_json_and_names_are_read(text: str, tmp_path: Path) -> None:
    source = read_source(text)
    assert (source.space, source.architecture, source.kind) == (as_vit, SEED, "text")
    assert (source.folder, source.img_size, source.num_classes) == (None, None, None)
    file = tmp_path / "architecture.json"
    file.write_text(text + "\n")
    from_file = read_source(str(file))
    assert (from_file.architecture, from_file.kind) == (SEED, "file")


def test_a_space_of_ones_own_reads_its_text() -> None:
    text = '{"activation": "relu", "depth": [1, 2], "embed_dim": 12}'
    assert read_source(text, space=growing_stages).space is growing_stages


def test_a_space_and_a_colon_before_a_text_say_which_space_it_is_of() -> None:
    source = read_source("timm:resnet18")
    assert (source.space.name, source.architecture["name"]) == ("timm", "resnet18")
    assert read_source("as-vit:seed").architecture == SEED


def test_text_that_several_spaces_read_needs_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    from raynas.space.registered import spaces

    spaces.names()
    monkeypatch.setitem(spaces._members, "as_vit_again", ("as-vit-again", as_vit))
    with pytest.raises(ConfigError, match="several spaces can read 'seed': as-vit, as-vit; say which with --space"):
        read_source("seed")
    assert read_source("seed", space="as-vit").architecture == SEED


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("runs/nothing", SpaceError, "'runs/nothing' is no run folder, no file and no architecture$"),
        ("as-vit-smal", SpaceError, "no file and no architecture; did you mean 'as-vit-small'\\?$"),
        ("as-vit", SpaceError, "'as-vit' is a space; what is needed here is one of its architectures, such as seed, "),
        ("vit-res-nano", SpaceError, "'vit-res-nano' is a space; .* one of its architectures, such as '[0-9]+h16:"),
        ("timm:ResNet", SpaceError, "'timm:ResNet' is no run folder, .*'ResNet' is not the name of a model"),
        ("nobody", SpaceError, "no architecture: by name there are seed, as-vit-small, .*raynas list spaces"),
        ("8,2,3|4,1", SpaceError, "no architecture that can be read: .*as-vit: a genotype has 5 parts"),
        ("8,2,3|4,1,2|4,1,4|4,1,6|33", SpaceError, "must be divisible by 8"),
        ("{" + "x" * 5000, SpaceError, "not JSON"),
        ("\0", SpaceError, "is no run folder"),
    ],
)
def test_what_nothing_reads_is_refused(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_source(text)


def test_files_without_an_architecture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(SpaceError, match="is empty"):
        read_source(str(tmp_path / "empty"))
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff\x00")
    with pytest.raises(SpaceError, match="cannot read an architecture from"):
        read_source(str(tmp_path / "image"))
    (tmp_path / "prose").write_text("once upon a time")
    with pytest.raises(SpaceError, match=r"file .*prose and no architecture"):
        read_source(str(tmp_path / "prose"))


def test_unknown_spaces_and_picks_without_a_run_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown space 'as-vitt'"):
        read_source("seed", space="as-vitt")
    with pytest.raises(ConfigError, match="takes a run folder to pick from, not 'seed'"):
        read_source("seed", pick=["num_params<=1e6"])
    with pytest.raises(ConfigError, match="a constraint is NAME<=NUMBER"):
        read_source("seed", pick=["small"])


# -- run folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["search", None])
def test_a_searchs_own_choice_comes_before_its_best(tmp_path: Path, kind: str | None) -> None:
    summary = {"best": [entry(WIDE)], "recommended": entry(LARGE), "family": None}
    source = read_source(str(folder_of(tmp_path / "run", summary, kind)))
    assert source.architecture == as_vit.read(LARGE)
    assert (source.kind, source.folder, source.img_size, source.num_classes) == ("search", tmp_path / "run", 64, 7)


@pytest.mark.parametrize("recommended", [None, entry(LARGE, is_feasible=False)])
def test_without_a_feasible_choice_the_best_is_taken(tmp_path: Path, recommended: Any) -> None:
    folder = folder_of(tmp_path / "run", {"best": [entry(WIDE), entry(SMALL)], "recommended": recommended})
    assert read_source(str(folder)).architecture == as_vit.read(WIDE)


@pytest.mark.parametrize(
    ("pick", "chosen"),
    [
        ([], LARGE),
        (["num_params<=4e3"], LARGE),
        (["num_params<4000"], WIDE),
        (["macs<=1e4"], SMALL),
        (["length_distortion<=0.25", "num_params<=3e3"], SMALL),
    ],
)
def test_the_last_of_a_family_that_meets_all_is_taken(tmp_path: Path, pick: list[str], chosen: str) -> None:
    folder = folder_of(tmp_path / "run", {"best": FAMILY[:1], "recommended": None, "family": FAMILY})
    assert read_source(str(folder), pick=pick).architecture == as_vit.read(chosen)


def test_the_best_of_a_search_that_meets_all_is_taken(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", {"best": FAMILY[::-1], "recommended": entry(LARGE)})
    assert read_source(str(folder), pick=["num_params<=3000"]).architecture == as_vit.read(WIDE)


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (["num_params<=10"], "nothing in the family in .* meets num_params<=10: num_params is from 1,000 to 4,000"),
        (["luck>=1"], "has no 'luck' to pick by; it has num_params, macs, length_distortion"),
        (["num_params<=1e3", "length_distortion>=0.3"], r"meets all of num_params<=1000, length_distortion>=0\.3"),
    ],
)
def test_a_pick_that_nothing_meets_says_what_there_is(tmp_path: Path, pick: list[str], message: str) -> None:
    folder = folder_of(tmp_path / "run", {"best": [], "recommended": None, "family": FAMILY})
    with pytest.raises(ConfigError, match=message):
        read_source(str(folder), pick=pick)


def test_a_training_gives_what_it_trained(tmp_path: Path) -> None:
    model = {"space": "as-vit", "architecture": dict(SEED), "img_size": 96, "num_classes": 10}
    source = read_source(str(folder_of(tmp_path / "run", None, "training", model=model)))
    assert (source.architecture, source.kind, source.img_size, source.num_classes) == (SEED, "training", 96, 10)
    with pytest.raises(ConfigError, match="nothing to pick from"):
        read_source(str(tmp_path / "run"), pick=["macs<=1"])


def finalists(path: Path, *, texts: Sequence[str] = (WIDE, LARGE, SMALL)) -> Path:
    """A folder of finalists that were trained to the end, the most accurate first, and of one that was not."""
    trials = [
        {
            "architecture": dict(as_vit.read(text)),
            "folder": f"{number:02d}",
            "top1": 0.9 - number / 10,
            "num_params": (2000, 4000, 1000)[number],
            "macs": (20_000, 40_000, 10_000)[number],
            "score": {"length_distortion": float(number), "num_params": 1, "macs": 1},
        }
        for number, text in enumerate(texts)
    ]
    stopped = {**trials[0], "folder": "gone", "top1": 0.99} if trials else {}
    folder = folder_of(path, {"best": trials, "trials": [stopped, *trials]}, "finalists")
    for trial in trials:
        model = {"space": "as-vit", "architecture": trial["architecture"], "img_size": 96, "num_classes": 12}
        folder_of(path / trial["folder"], {}, "training", model=model)
    return folder


@pytest.mark.parametrize(
    ("pick", "chosen"),
    [
        ([], WIDE),
        (["num_params>=4e3"], LARGE),
        (["macs<20000"], SMALL),
        (["length_distortion>=1"], LARGE),
        (["top1<=0.85", "num_params<=3e3"], SMALL),
    ],
)
def test_finalists_give_the_training_of_the_best_that_was_trained_to_the_end(
    tmp_path: Path, pick: list[str], chosen: str
) -> None:
    source = read_source(str(finalists(tmp_path / "run")), pick=pick)
    assert (source.architecture, source.kind) == (as_vit.read(chosen), "training")
    assert (source.img_size, source.num_classes) == (96, 12)
    assert source.folder is not None
    assert source.folder.parent == tmp_path / "run"


def test_finalists_without_what_is_wanted_are_refused(tmp_path: Path) -> None:
    folder = str(finalists(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"in the networks in .* meets top1>=0\.95: top1 is from 0\.7 to 0\.9"):
        read_source(folder, pick=["top1>=0.95"])
    with pytest.raises(ConfigError, match="has no 'luck' to pick by; it has num_params, macs, length_distortion, top1"):
        read_source(folder, pick=["luck>=1"])
    with pytest.raises(StoreError, match="holds no training yet that came to its end; resume it"):
        read_source(str(finalists(tmp_path / "early", texts=())))
    with pytest.raises(StoreError, match=r"has no summary\.json"):
        read_source(str(folder_of(tmp_path / "killed", None, "finalists")))


def test_a_real_search_is_a_source(tmp_path: Path) -> None:
    run = raynas.search("as-vit", objectives=["macs:min"], searcher="random", budget=5, workers=0, out=tmp_path / "run")
    assert dict(read_source(str(tmp_path / "run")).architecture) == dict(SEED.replace(**run.best[0]["architecture"]))


def test_runs_of_spaces_of_ones_own_need_the_space(tmp_path: Path) -> None:
    search(tmp_path / "run", budget=3)
    with pytest.raises(UnknownNameError, match="unknown space 'toy'"):
        read_source(str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("summary", "kind", "message"),
    [
        (None, "search", "has no summary.json"),
        ({"best": [], "recommended": None}, "search", "holds no architecture yet"),
        ({}, "sweep", "holds a sweep, which has no architecture of its own"),
        ({}, "training", "does not say which architecture"),
    ],
)
def test_folders_without_an_architecture_are_refused(
    tmp_path: Path, summary: dict[str, Any] | None, kind: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        read_source(str(folder_of(tmp_path / "run", summary, kind)))


def test_other_folders_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        read_source(str(tmp_path))
    folder = folder_of(tmp_path / "run", {})
    (folder / "summary.json").write_text("{")
    with pytest.raises(RaynasError, match=r"cannot read .*summary\.json"):
        read_source(str(folder))


@pytest.mark.parametrize("kind", ["training", "finalists", "variants", "sweep"])
def test_a_folder_of_another_kind_is_read_as_no_search(tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path / "run", None, kind)
    with pytest.raises(StoreError, match=f"holds a run of the kind {kind}, not search"):
        raynas.load_run(folder)
