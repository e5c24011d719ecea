from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from raynas import Architecture, Choice, SearchSpace
from raynas.searchers.admission import admission
from raynas.space.cost import cost
from raynas.space.results import Constraint


def network(architecture: Architecture, *, img_size: int, num_classes: int) -> nn.Module:
    width = int(architecture["width"])  # type: ignore[arg-type]
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(width * (img_size // 4) ** 2, num_classes)
    )


COUNTED = SearchSpace("counted", {"width": Choice(2, 4, 8)}, network)
CLOSED = SearchSpace(
    "closed",
    {"width": Choice(2, 4, 8)},
    network,
    num_params=lambda architecture, img_size, num_classes: 1,
    macs=lambda architecture, img_size, num_classes: 2 * int(architecture["width"]),
)


def test_a_space_without_closed_forms_is_counted_on_the_network() -> None:
    size: dict[str, Any] = {"img_size": 8, "num_classes": 5}
    architecture = Architecture({"width": 4})
    # Convolution: 4 kernels of 4 x 4 x 3 and 4 biases, at 2 x 2 places; head: 16 features to 5 classes.
    assert cost(COUNTED, architecture, "num_params", **size) == 4 * 48 + 4 + 16 * 5 + 5
    assert cost(COUNTED, architecture, "macs", **size) == 4 * 4 * 48 + 16 * 5


def test_a_closed_form_is_taken_where_there_is_one() -> None:
    architecture = Architecture({"width": 4})
    assert cost(CLOSED, architecture, "num_params", img_size=8, num_classes=5) == 1
    assert cost(CLOSED, architecture, "macs", img_size=8, num_classes=5) == 8


@pytest.mark.parametrize(
    ("constraints", "admitted"),
    [(["macs<=8"], [2, 4]), (["macs<8"], [2]), (["macs>=8", "num_params<=1"], [4, 8]), (["num_params>1"], [])],
)
def test_admission_keeps_to_all_bounds_on_costs(constraints: list[str], admitted: list[int]) -> None:
    bounds = [Constraint.parse(text) for text in [*constraints, "some_score<=0"]]
    admits = admission(CLOSED, bounds, img_size=8, num_classes=5)
    assert admits is not None
    assert [width for width in (2, 4, 8) if admits(Architecture({"width": width}))] == admitted


def test_there_is_no_admission_without_bounds_on_costs() -> None:
    assert admission(CLOSED, [Constraint.parse("some_score<=0")], img_size=8, num_classes=5) is None
