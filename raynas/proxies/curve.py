"""Geometry of the curve that a network makes of a circle of images (Chen 2022, arXiv 2202.11921).

The circle is x(t) = radius * (u0 cos t + u1 sin t), with u0 and u1 random, orthonormal and shared by all candidates of
a repeat. The network's map is its pooled feature vector before the final norm, with every LayerNorm left out unless
`norms` is set. Its velocity v and acceleration a along the circle are exact (`raynas.proxies.jets`), where the authors'
code takes one backward pass, or two, for every feature.

All three scores are means over the points, so that a circle mapped by an isometry has length distortion `radius`,
curvature 1 / `radius` and Gauss length 1. `reduction="integral"` multiplies by 2 pi, `"sum"` by the number of points.

Letters: T points of the curve, C features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.config import check_count
from raynas.errors import ConfigError, NotApplicableError
from raynas.models.features import features_of, left_out, without_inplace
from raynas.proxies.jets import Jet, NoRuleError, jet
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxy

PAPER = "arXiv 2202.11921"
REDUCTIONS = ("mean", "sum", "integral")

_DEPARTURES = (
    "The value is a mean over distinct angles; the authors' code adds up points of which the first and the last are "
    "one: `repo_compat` does so, too.",
    "The radius is 1, as in the code; the paper's text has the square root of the number of inputs.",
    "Features are what the family pools before its final norm: of As-ViT the mean over tokens, as in the code, of the "
    "spaces vit and pit that over all tokens, class tokens among them, of other models of timm what the head is given.",
    "Each repeat draws all weights, where the code keeps the patch convolution of the first.",
    "BatchNorm normalises by its running averages, so that points do not enter each other's features; the code leaves "
    "the network in training mode.",
)

_AUTHORS_BATCH = 6
"""Number of points of the circle that the authors' code passes at once."""


def check_settings(*, points: int, radius: float, reduction: str, **_: Any) -> None:
    """Refuse settings that no curve can have.

    Raises:
        ConfigError: Fewer than two points or too many, a radius that is not positive and finite, or an unknown
            reduction.
    """
    check_count("points", points, 2)
    if not 0 < radius < math.inf:
        raise ConfigError(f"radius is {radius}; it must be positive and finite")
    if reduction not in REDUCTIONS:
        raise ConfigError(f"reduction is {reduction!r}; it is one of {', '.join(REDUCTIONS)}")


@proxy(
    "length_distortion",
    repeats=5,
    check=check_settings,
    paper=PAPER,
    departures=_DEPARTURES,
)
def length_distortion(
    probe: Probe,
    *,
    points: int = 10,
    radius: float = 1.0,
    endpoint: bool = False,
    reduction: str = "mean",
    norms: bool = False,
    repo_compat: bool = False,
) -> float:
    """Mean speed along the curve of features that a circle of images becomes; higher is better.

    Args:
        probe: A network whose pooled features are known; needs no images.
        points: Number of points T of the circle, at equal angles, at least 2.
        radius: Radius of the circle in image space. The paper's text has the square root of the number of inputs, the
            authors' code 1.
        endpoint: Whether to measure angle 2 pi as well as 0, which counts one point twice.
        reduction: How the values at the points become one: "mean", "sum" or "integral".
        norms: Whether to keep the LayerNorms.
        repo_compat: Whether to do as the authors' code: `endpoint` is True and `reduction` "sum", whatever they are
            set to.

    Returns:
        `length_distortion`, dimensionless for the mean and radius 1.

    Raises:
        NotApplicableError: The network's pooled features are not known.
    """
    (v,) = probe.once(derivatives, order=1, points=points, radius=radius, endpoint=endpoint or repo_compat, norms=norms)
    return reduced(speeds(v), "sum" if repo_compat else reduction)


@proxy(
    "curvature",
    repeats=5,
    higher_is_better=False,
    check=check_settings,
    paper=PAPER,
    departures=(
        *_DEPARTURES,
        "Lower is better, where the paper takes more curvature for the better: see the description.",
    ),
)
def curvature(
    probe: Probe,
    *,
    points: int = 10,
    radius: float = 1.0,
    endpoint: bool = False,
    reduction: str = "mean",
    norms: bool = False,
    repo_compat: bool = False,
) -> float:
    """Mean extrinsic curvature of the curve of features that a circle of images becomes; lower is better.

    Untrained networks make nearly a circle of a circle, and then curvature is the reciprocal of length distortion. The
    two cannot both be better when higher; since length distortion is, this one is declared better when lower.

    A kink, as ReLU has one at 0, has no second derivative, and beside it that of a piecewise linear function is 0. So
    the curve of a network of such functions is measured between its kinks, where it is a linear map of the circle: how
    it turns at the kinks is not seen, in the authors' code neither.

    Arguments and errors are those of `length_distortion`.

    Returns:
        `curvature`, not finite where the speed is 0.
    """
    v, a = probe.once(derivatives, order=2, points=points, radius=radius, endpoint=endpoint or repo_compat, norms=norms)
    return reduced(curvatures(v, a), "sum" if repo_compat else reduction)


@proxy(
    "gauss_length",
    repeats=5,
    check=check_settings,
    paper=PAPER,
    version=2,
    departures=(
        *_DEPARTURES,
        "It is the length of the Gauss map; the authors' code divides a row of velocities by a column of speeds, "
        "which multiplies sums over a mini-batch: `repo_compat` has theirs.",
    ),
)
def gauss_length(
    probe: Probe,
    *,
    points: int = 10,
    radius: float = 1.0,
    endpoint: bool = False,
    reduction: str = "mean",
    norms: bool = False,
    repo_compat: bool = False,
) -> float:
    """Mean speed of the unit tangent along the curve of features that a circle of images becomes; higher is better.

    It is 1 for a circle, and close to 1 for most untrained networks without norms, so it tells little apart there.

    Arguments and errors are those of `length_distortion`, except that `repo_compat` also does as the authors' code: see
    `authors_gauss_length`. Of piecewise linear networks it is measured between kinks, as `curvature` is.

    Returns:
        `gauss_length`, not finite where the speed is 0.
    """
    v, a = probe.once(derivatives, order=2, points=points, radius=radius, endpoint=endpoint or repo_compat, norms=norms)
    if repo_compat:
        return authors_gauss_length(v, a)
    return reduced(tangent_speeds(v, a), reduction)


# -- arithmetic on velocity and acceleration ---------------------------------------------------------------------------


def speeds(v: Tensor) -> Tensor:
    """Lengths of the rows of v, (T, C) to (T,), without underflow or overflow of their squares."""
    scale = v.abs().amax(1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1)
    lengths: Tensor = torch.linalg.vector_norm(v / scale, dim=1)
    return lengths * scale[:, 0]


def tangent_speeds(v: Tensor, a: Tensor) -> Tensor:
    """How fast the unit tangent turns: the part of a across v, over |v|; (T, C) and (T, C) to (T,)."""
    speed = speeds(v)
    tangent = v / speed[:, None]
    scale = torch.where(speeds(a) > 0, speeds(a), 1)[:, None]
    direction = a / scale
    across = direction - (direction * tangent).sum(1, keepdim=True) * tangent
    return speeds(across) * (scale[:, 0] / speed)


def authors_gauss_length(v: Tensor, a: Tensor) -> float:
    """The Gauss length as the authors' code computes it, for velocities and accelerations (T, C).

    The code means a / |v| at every point. It takes the points in mini-batches of 6, and in one of n points it divides
    the velocities of a feature, a row (n,), by the speeds, a column (n, 1). That is a matrix with v_j / |v_i| in row i
    and column j, and the derivative of its sum by the angle of point j is a_j times the sum over i of 1 / |v_i|. The
    length of that vector, summed over j, is the sum of 1 / |v| times the sum of |a|; the mini-batches are added up.
    """
    pairs = zip(torch.split(v, _AUTHORS_BATCH), torch.split(a, _AUTHORS_BATCH), strict=True)
    return sum(float((1 / speeds(some_v)).sum() * speeds(some_a).sum()) for some_v, some_a in pairs)


def curvatures(v: Tensor, a: Tensor) -> Tensor:
    """Extrinsic curvature sqrt(|v|^2 |a|^2 - (v.a)^2) / |v|^3, in a form that does not cancel; (T, C) twice to (T,)."""
    return tangent_speeds(v, a) / speeds(v)


def reduced(values: Tensor, reduction: str) -> float:
    """One number of the values at all points: their mean, their sum, or 2 pi times their mean."""
    if reduction == "sum":
        return float(values.sum())
    return float(values.mean()) * (2 * math.pi if reduction == "integral" else 1)


# -- passes ------------------------------------------------------------------------------------------------------------


def circle(probe: Probe, *, points: int, radius: float, endpoint: bool) -> tuple[Tensor, Tensor]:
    """Images on the circle and their derivative by the angle, each (T, 3, img_size, img_size).

    The second derivative is minus the images.
    """
    shape = (3, probe.img_size, probe.img_size)
    basis, _ = np.linalg.qr(probe.rng().standard_normal((math.prod(shape), 2)))
    angles = np.linspace(0, 2 * np.pi, points, endpoint=endpoint)
    cos, sin = radius * np.cos(angles), radius * np.sin(angles)
    images = np.stack([cos, sin], 1) @ basis.T
    velocities = np.stack([-sin, cos], 1) @ basis.T
    x, dx = (torch.as_tensor(array.reshape(-1, *shape)) for array in (images, velocities))
    return x.to(probe.device, probe.dtype), dx.to(probe.device, probe.dtype)


def derivatives(
    probe: Probe, *, order: int, points: int, radius: float, endpoint: bool, norms: bool
) -> tuple[Tensor, ...]:
    """Velocity and, for order 2, acceleration of the features along the circle, each (T, C) in float64 on the CPU.

    Raises:
        NotApplicableError: The network's pooled features are not known, or it changes tensors in place.
    """
    features = features_of(probe.model)
    x, dx = circle(probe, points=points, radius=radius, endpoint=endpoint)
    terms = (x, dx, -x)[: order + 1]
    parts: list[tuple[Tensor, ...]] = []
    with measured(probe.model, norms=norms), without_inplace(probe.model), torch.no_grad():
        for part in probe.slices(points):
            try:
                result = features(jet(*(term[part] for term in terms)))
            except NoRuleError as error:
                layer = _layer_of(error, probe.model)
                raise NotApplicableError(f"needs derivatives of the whole network{layer}: {error}") from error
            if not isinstance(result, Jet):
                raise NotApplicableError("needs features that torch operations compute from the images")
            parts.append(tuple(term.double().cpu() for term in result.terms[1:]))
    return tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))


def _layer_of(error: Exception, model: nn.Module) -> str:
    """The innermost layer in whose pass an error rose, as part of a sentence; "" where that is the network itself."""
    names = {id(module): f", and its layer {name} has none" for name, module in model.named_modules() if name}
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return next(
        (names[id(owner)] for frame in reversed(frames) if id(owner := frame.f_locals.get("self")) in names), ""
    )


@contextmanager
def measured(model: nn.Module, *, norms: bool) -> Iterator[None]:
    """A context within which a network is in eval mode, and its LayerNorms pass their input on unless `norms`."""
    training = [module for module in model.modules() if module.training]
    replaced = [] if norms else [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    try:
        for module in training:
            module.training = False
        with left_out(replaced):
            yield
    finally:
        for module in training:
            module.training = True
