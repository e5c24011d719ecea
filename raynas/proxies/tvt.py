"""TVT: how well an untrained student will learn from a trained ConvNet (arXiv 2311.14337).

Two values, stored apart: how alike the attention maps of student and teacher are, and a measure of the student's
capability. The paper combines them; over a pool of candidates `raynas bench proxies --combine` does.

Of the paper only its abstract and introduction were at hand; what follows is the code of a sister paper (Auto-Prox,
arXiv 2312.09059). It differs from that code in this: both networks are in eval mode, where the code leaves them in
training mode, and scores may be averaged over several batches.

Letters: B images, C channels, h and w sides of the grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from raynas.errors import ConfigError, NotApplicableError
from raynas.models.feature_maps import resized_to_larger, with_feature_maps
from raynas.models.roles import roles_of
from raynas.models.teachers import Pair, parse_pairs
from raynas.proxies.passes import sum_of_weight_norms
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxy

NAMED_PAIRS: dict[str, tuple[Pair, ...]] = {"last": ((-1, -1),), "three": ((0, 0), (6, 1), (11, 2))}
"""What the setting `pairs` names: the last block with the last stage, and the pairs of locality guidance."""

_EPS = 1e-12


def chosen_pairs(text: str) -> tuple[Pair, ...]:
    """The pairs that the setting stands for.

    Raises:
        ConfigError: It is neither a name nor BLOCK:STAGE,...
    """
    if text in NAMED_PAIRS:
        return NAMED_PAIRS[text]
    try:
        return parse_pairs(text)
    except ConfigError as error:
        raise ConfigError(f"tvt.pairs is {text!r}; it is {', '.join(NAMED_PAIRS)}, or: {error}") from None


def check_settings(*, pairs: str) -> None:
    """Refuse pairs that cannot be read.

    Raises:
        ConfigError: They have another form.
    """
    chosen_pairs(pairs)


@proxy(
    "tvt",
    outputs=("tvt_teacher", "tvt_capability"),
    needs_images=True,
    needs_teacher=True,
    check=check_settings,
    paper="arXiv 2311.14337",
    departures=(
        "Student and teacher are in eval mode, where the code leaves both in training mode.",
        "The two values are not combined, since their weights in the paper are not known: `raynas bench proxies "
        "--combine` does.",
    ),
)
def tvt(probe: Probe, *, pairs: str = "last") -> dict[str, float]:
    """Likeness of the attention maps of student and trained teacher, and capability of the student.

    Args:
        probe: A network whose blocks have a grid of tokens, images and a teacher. Attention is that of activations, not
            of attention layers: see `attention_map`.
        pairs: Which blocks of the student meet which stages of the teacher: "last" with last, "three" (0:0,6:1,11:2),
            or any BLOCK:STAGE,... counted from 0.

    Returns:
        `tvt_teacher`, minus the mean squared difference of the attention maps, summed over the pairs, each at most 0
        and at least -2 / (h w). `tvt_capability`, the sum of the norms of the weights, which depends on how they are
        initialised. Both are better when higher.

    Raises:
        NotApplicableError: There is no teacher, or there are no images; the network has no grid of tokens, or student
            or teacher lack a block or stage of the pairs.
    """
    return {
        "tvt_teacher": teacher_likeness(probe, chosen_pairs(pairs)),
        "tvt_capability": sum_of_weight_norms(probe.model),
    }


def teacher_likeness(probe: Probe, pairs: tuple[Pair, ...]) -> float:
    """Minus the mean squared difference of attention maps, summed over pairs of (block, stage); -1 is the last."""
    blocks = roles_of(probe.model).blocks
    if not blocks:
        raise NotApplicableError(f"needs blocks with a grid of tokens, which {type(probe.model).__name__} lacks")
    if missing := [block for block, _ in pairs if block >= len(blocks)]:
        raise NotApplicableError(f"needs block {missing[0]} of the network, which has {len(blocks)}")
    teachers = probe.teacher_features([stage for _, stage in pairs])
    chosen = [blocks[block] for block, _ in pairs]
    total = torch.zeros((), dtype=torch.float64)
    images = probe.images
    with torch.no_grad():
        for part in probe.slices(len(images)):
            try:
                _, students = with_feature_maps(probe.model, images[part], chosen)
            except ValueError as error:
                raise NotApplicableError(f"needs a square grid of tokens: {error}") from None
            for student, teacher in zip(students, teachers, strict=True):
                total += attention_distances(student, teacher[part]).sum().cpu()
    return -float(total) / len(images)


def attention_distances(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the attention maps for every image, (B,) float64, after a resize to the larger grid.

    Args:
        student: (B, C, h, w) feature maps of the student, of any number of channels and any grid.
        teacher: (B, C, h, w) feature maps of the teacher on the same images, likewise.
    """
    first, second = map(attention_map, resized_to_larger(student, teacher))
    return (first.double() - second.double()).square().mean(1)


def attention_map(features: torch.Tensor) -> torch.Tensor:
    """Where the activations are strong: the mean over channels of their squares, each image's of length 1.

    (B, C, h, w) to (B, h w), not negative.
    """
    return F.normalize(features.square().mean(1).flatten(1), dim=1, eps=_EPS)
