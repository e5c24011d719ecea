"""TVT against slow implementations in NumPy, its bounds and symmetries, and what it does in a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from toy_teachers import grids, resized_by_hand, stages

import raynas
from raynas.data.batch import load_batch
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, NotApplicableError
from raynas.models.feature_maps import resized_to_larger
from raynas.models.roles import Block, Roles
from raynas.models.teachers import FrozenTeacher
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.proxies.tvt import attention_distances, attention_map, sum_of_weight_norms, tvt
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.registered import spaces
from raynas.storage.sources import read_source
from raynas.training.teachers import read_teacher

VIT = spaces.get("vit")
SMALL = Architecture({"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 2})


# -- slow and obvious --------------------------------------------------------------------------------------------------


def attention_by_hand(features: np.ndarray) -> np.ndarray:
    """(C, h, w) to (h, w)."""
    energy = np.zeros(features.shape[1:])
    for channel in features:
        energy += channel**2 / len(features)
    return energy / math.sqrt((energy**2).sum())


def likeness_by_hand(students: np.ndarray, teachers: np.ndarray) -> float:
    """(B, C, h, w), two of them, to a score."""
    size = max(students.shape[2], teachers.shape[2])
    distances = []
    for student, teacher in zip(students, teachers, strict=True):
        first, second = (attention_by_hand(resized_by_hand(one, size)) for one in (student, teacher))
        distances += ((first - second) ** 2).ravel().tolist()
    return -float(np.mean(distances))


@pytest.fixture(scope="module")
def teacher() -> FrozenTeacher:
    return FrozenTeacher(read_teacher("random:resnet8"), torch.device("cpu"), torch.float64)


def probe_of(model: nn.Module, images: torch.Tensor | None, teacher: FrozenTeacher | None, **more: Any) -> Probe:
    taught = None if teacher is None or images is None else lambda stages: teacher(images, stages)[1]
    return Probe(SMALL, model, img_size=64, images=images, teacher=taught, **more)


def student() -> nn.Module:
    torch.manual_seed(1)
    return raynas.build("vit", SMALL, img_size=48, num_classes=5).double().eval().requires_grad_(False)


@pytest.mark.parametrize("max_batch", [None, 2])
@pytest.mark.parametrize(("pairs", "numbers"), [("last", [(2, 2)]), ("0:0,1:1,2:2", [(0, 0), (1, 1), (2, 2)])])
def test_scores_equal_those_by_hand(
    teacher: FrozenTeacher, pairs: str, numbers: list[tuple[int, int]], max_batch: int | None
) -> None:
    model = student()
    images = torch.randn(3, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shown = np.stack([resized_by_hand(image, 32) for image in images.numpy()])
    of_student, of_teacher = grids(model, images), stages(teacher.model, torch.from_numpy(shown))
    expected = sum(likeness_by_hand(of_student[block], of_teacher[stage]) for block, stage in numbers)
    values = tvt(probe_of(model, images, teacher, max_batch=max_batch), pairs=pairs)
    assert values["tvt_teacher"] == pytest.approx(expected, rel=1e-9)
    norms = [
        math.sqrt(float((weight.double() ** 2).sum()))
        for name, weight in model.named_parameters()
        if name.endswith("weight") and weight.ndim > 1
    ]
    assert values["tvt_capability"] == pytest.approx(sum(norms), rel=1e-12)


# -- attention maps and their likeness ---------------------------------------------------------------------------------


def test_attention_maps_are_unit_rows_that_forget_channels_and_scale() -> None:
    features = torch.randn(4, 6, 5, 3, dtype=torch.float64)
    found = attention_map(features)
    assert found.shape == (4, 15)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert (found >= 0).all()
    torch.testing.assert_close(attention_map(features[:, torch.randperm(6)]), found)
    for factor in (1e-3, -7.0, 1e4):
        torch.testing.assert_close(attention_map(factor * features), found)


def test_the_distance_is_that_of_cosines_within_its_bounds() -> None:
    first, second = (torch.randn(5, channels, 6, 6, dtype=torch.float64) for channels in (3, 8))
    distances = attention_distances(first, second)
    for one, other, distance in zip(first.numpy(), second.numpy(), distances.tolist(), strict=True):
        cosine = float((attention_by_hand(one) * attention_by_hand(other)).sum())
        assert distance == pytest.approx((2 - 2 * cosine) / 36, abs=1e-12)
    assert (distances >= 0).all()
    assert (distances <= 2 / 36).all()
    torch.testing.assert_close(attention_distances(second, first), distances)
    assert attention_distances(first, first).abs().max() < 1e-15


def test_maps_without_a_common_pixel_are_as_far_apart_as_can_be() -> None:
    first, second = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    first[..., 0, 0], second[..., 3, 3] = 1.0, 2.0
    assert float(attention_distances(first, second)) == pytest.approx(2 / 16)


def test_a_shift_lowers_the_likeness() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    blob = torch.exp(-((y - 3) ** 2 + (x - 3) ** 2) / 4)[None, None]
    apart = [float(attention_distances(blob, blob.roll(shift, dims=3))) for shift in range(4)]
    assert apart == sorted(apart)
    assert apart[0] < 1e-15
    assert apart[1] > 1e-4


@pytest.mark.parametrize(("sides", "larger"), [((14, 8), 14), ((7, 8), 8), ((8, 8), 8)])
def test_grids_are_resized_to_the_larger_one(sides: tuple[int, int], larger: int) -> None:
    """14 tokens a side of AutoFormer and 7 of PiT, and 8 pixels of the teacher."""
    features = [torch.randn(2, 3, side, side, dtype=torch.float64) for side in sides]
    for before, after in zip(features, resized_to_larger(*features), strict=True):
        assert after.shape == (2, 3, larger, larger)
        expected = [resized_by_hand(image, larger) for image in before.numpy()]
        np.testing.assert_allclose(after.numpy(), expected, atol=1e-12)
    constant, _ = resized_to_larger(torch.full((1, 2, 5, 5), 0.7), torch.zeros(1, 1, 9, 9))
    torch.testing.assert_close(constant, torch.full((1, 2, 9, 9), 0.7))


# -- capability --------------------------------------------------------------------------------------------------------


def capability(**fields: int) -> float:
    """Of a ViT drawn from seed 0, at 32 pixels."""
    torch.manual_seed(0)
    return sum_of_weight_norms(raynas.build("vit", SMALL.replace(**fields), img_size=32, num_classes=10))


def test_capability_forgets_signs_and_is_linear() -> None:
    model = student()
    before = sum_of_weight_norms(model)
    for factor in (-1.0, 3.0, -0.5):
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.weight.mul_(factor)
        after = sum_of_weight_norms(model)
        assert after == pytest.approx(abs(factor) * before, rel=1e-12)
        before = after


def test_capability_is_the_closed_form_of_its_initialisation() -> None:
    fields: dict[str, Any] = dict(SMALL)
    width, hidden, depth = fields["embed_dim"], fields["embed_dim"] * fields["mlp_ratio"], fields["depth"]
    block = [3 * width * width, width * width, width * hidden, hidden * width]
    linear = 0.02 * (depth * sum(map(math.sqrt, block)) + math.sqrt(10 * width))
    patch = math.sqrt(width / 3)  # uniform with variance 1 / (3 fan_in)
    assert capability() == pytest.approx(linear + patch, rel=0.03)
    assert capability(num_heads=4) == pytest.approx(capability(), rel=0.02)
    grown = [capability(depth=depth) for depth in (3, 4, 5)]
    assert grown == sorted(set(grown))


# -- what it needs -----------------------------------------------------------------------------------------------------


class Oblong(nn.Module):
    """Six tokens, which form no square."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48 * 8, 4)

    def roles(self) -> Roles:
        return Roles(blocks=(Block(self.layer),))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1).unflatten(1, (-1, 48 * 8))[:, :6]).mean(1)


def test_what_is_missing_is_named(teacher: FrozenTeacher) -> None:
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    model = student()
    cases: list[tuple[Probe, str, str]] = [
        (probe_of(model, images, None), "last", "needs a teacher"),
        (probe_of(model, images, teacher), "three", "needs block 6 of the network, which has 3"),
        (
            probe_of(nn.Sequential(nn.Flatten(), nn.Linear(6912, 2)), images, teacher),
            "last",
            "needs blocks with a grid",
        ),
        (probe_of(Oblong().double(), images, teacher), "last", "6 tokens form no square"),
    ]
    for probe, pairs, message in cases:
        with pytest.raises(NotApplicableError, match=message):
            tvt(probe, pairs=pairs)
    for text in ("first", "0:0,0:0", "1:-1"):
        with pytest.raises(ConfigError, match=r"tvt.pairs is .*; it is last, three, or"):
            proxies.get("tvt").configured(pairs=text)


@pytest.mark.parametrize("name", ["pit_ti_224", "swin_tiny_patch4_window7_224", "resnet10t", "deit_tiny_patch16_224"])
def test_any_model_of_timm_whose_feature_maps_are_known_has_a_score(name: str, teacher: FrozenTeacher) -> None:
    model = timm.create_model(name, num_classes=3).double().eval().requires_grad_(False)
    values = tvt(probe_of(model, torch.randn(1, 3, 224, 224, dtype=torch.float64), teacher))
    assert -2 / 49 < values["tvt_teacher"] < 0
    assert values["tvt_capability"] > 0


# -- in a run ----------------------------------------------------------------------------------------------------------


def evaluator(teacher: str | None) -> Evaluator:
    batch = load_batch(open_dataset("digits"), batch_size=4, img_size=32, seed=0)
    given = {"images": batch.images[None], "labels": batch.labels[None], "teacher": teacher and read_teacher(teacher)}
    settings = {"img_size": 32, "num_classes": 10}
    return Evaluator(EvaluationTask(builder(VIT), settings, (proxies.get("tvt"),), **given))


def test_the_teacher_looks_at_the_images_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = FrozenTeacher.__call__

    def looked(self: FrozenTeacher, images: torch.Tensor, stages: tuple[int, ...] = ()) -> Any:
        seen.append(len(images))
        return original(self, images, stages)

    monkeypatch.setattr(FrozenTeacher, "__call__", looked)
    score = evaluator("random:resnet8")
    architectures = [SMALL, SMALL.replace(depth=2), SMALL.replace(embed_dim=96)]
    first = [[outcome.value for outcome in score(one, [0])] for one in architectures]
    assert seen == [4]
    again = evaluator("random:resnet8")
    assert [[outcome.value for outcome in again(one, [0])] for one in reversed(architectures)] == first[::-1]
    assert {outcome.status for outcome in evaluator(None)(SMALL, [0])} == {"not_applicable"}


def searched(folder: Path, teacher: str | None = "random:resnet8", **settings: Any) -> raynas.Run:
    chosen = {"objectives": ["tvt"], "searcher": "random", "budget": 6, "data": "digits", "img_size": 32, "workers": 0}
    return raynas.search("vit", out=folder, teacher=teacher, listener=SearchListener(), **{**chosen, **settings})


def test_a_search_by_tvt_recommends_the_best_combination_over_its_pool(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    rows = run.table.to_pylist()
    columns = {name: [row[name] for row in rows] for name in ("tvt_teacher", "tvt_capability")}
    totals = [
        sum((row[name] - min(values)) / (max(values) - min(values)) for name, values in columns.items()) for row in rows
    ]
    best = Architecture.from_json(rows[int(np.argmax(totals))]["architecture"])
    assert Architecture(run.summary["recommended"]["architecture"]) == best
    assert "tvt_teacher and tvt_capability" in run.summary["recommended"]["reason"]
    assert read_source(str(run.folder)).architecture == best
    assert [text.partition(":")[0] for text in run.description["identity"]["objectives"]] == list(columns)
    settings = {row["proxy"]: row["settings"] for row in run.evaluations.to_pylist()}
    assert '"teacher":"random:resnet8 ' in settings["tvt_teacher"]
    capable = max(rows, key=lambda row: row["tvt_capability"])["architecture"]
    weighted = searched(tmp_path / "weighted", settings={"searcher": {"weights": [0.0, 1.0]}})
    assert Architecture(weighted.summary["recommended"]["architecture"]) == Architecture.from_json(capable)


def test_scores_by_another_teacher_are_not_taken_over(tmp_path: Path) -> None:
    first = searched(tmp_path / "first")
    assert searched(tmp_path / "second", reuse=[first.folder]).summary["reused"] == 6
    assert searched(tmp_path / "third", "random:resnet14", reuse=[first.folder]).summary["reused"] == 0


@pytest.mark.parametrize(
    ("teacher", "settings", "message"),
    [
        (None, {}, "tvt needs a teacher: --teacher takes the folder of a training"),
        (None, {"objectives": ["tvt_capability"]}, "tvt_capability needs a teacher"),
        ("random:resnet8", {"objectives": ["macs"]}, "no proxy of this run needs one"),
        ("nobody", {}, "there is no teacher 'nobody'"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(
    tmp_path: Path, teacher: str | None, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        searched(tmp_path / "run", teacher, **settings)
    assert not (tmp_path / "run").exists()
