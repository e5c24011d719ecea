"""Scores of curves against curves whose geometry is known, and against other ways to differentiate."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ellipe
from scored_models import NONE, SEED, TINY, Features, as_vit_probe, probe_of, score
from torch import nn

from raynas.errors import ConfigError, UnknownNameError
from raynas.models.families.as_vit import AsViT
from raynas.proxies import curve
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies

NAMES = ("length_distortion", "curvature", "gauss_length")
DEFAULTS = {"points": 10, "radius": 1.0, "endpoint": False, "norms": False}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# -- curves whose geometry is known ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [1.0, 2.0, 7.5])
@pytest.mark.parametrize("factor", [1e-5, 0.3])
def test_an_isometry_makes_a_circle_of_a_circle(radius, factor, dtype):
    def scores(**settings):
        probe = Probe(NONE, Features(lambda x: factor * x, dtype), img_size=4)
        return [score(name, probe, radius=radius, **settings) for name in NAMES]

    rel = 1e-12 if dtype == torch.float64 else 1e-5
    size = factor * radius
    assert scores() == pytest.approx([size, 1 / size, 1.0], rel=rel)
    assert scores(points=7, reduction="sum") == pytest.approx([7 * size, 7 / size, 7.0], rel=rel)
    circumference = 2 * math.pi
    assert scores(reduction="integral") == pytest.approx(
        [circumference * size, circumference / size, circumference], rel=rel
    )
    assert scores(repo_compat=True) == pytest.approx([10 * size, 10 / size, 6.0**2 + 4.0**2], rel=rel)


def ellipse(a, b, n=1000, offset=0.0):
    t = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n) + offset
    v = torch.stack([-a * t.sin(), b * t.cos(), 0 * t], dim=1)
    return t, v, torch.stack([-a * t.cos(), -b * t.sin(), 0 * t], dim=1)


def test_an_ellipse_has_the_known_length_curvature_and_gauss_length():
    a, b = 3.0, 0.5
    t, v, acceleration = ellipse(a, b)
    length = curve.reduced(curve.speeds(v), "integral")
    assert length == pytest.approx(4 * a * ellipe(1 - (b / a) ** 2), rel=1e-9)
    expected = a * b / ((a * t.sin()) ** 2 + (b * t.cos()) ** 2) ** 1.5
    torch.testing.assert_close(curve.curvatures(v, acceleration), expected)
    assert curve.reduced(curve.tangent_speeds(v, acceleration), "integral") == pytest.approx(2 * math.pi, abs=1e-6)


def test_a_linear_network_makes_an_ellipse():
    weight = torch.randn(3, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    probe = probe_of(lambda x: x @ weight.T)
    images, _ = curve.circle(probe, points=4, radius=1.0, endpoint=False)
    u0, u1 = images[0].flatten(), images[1].flatten()
    a, b = torch.linalg.svdvals(weight @ torch.stack([u0, u1], 1)).tolist()

    (v,) = curve.derivatives(probe, order=1, **{**DEFAULTS, "radius": 2.0})
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    expected = [2.0 * weight @ (u1 * np.cos(t) - u0 * np.sin(t)) for t in angles]
    torch.testing.assert_close(v, torch.stack(expected))

    exact = 4 * a * ellipe(1 - (b / a) ** 2)
    assert score("length_distortion", probe, points=1000, reduction="integral") == pytest.approx(exact, rel=1e-9)
    assert score("gauss_length", probe, points=1000, reduction="integral") == pytest.approx(2 * math.pi, abs=1e-6)
    assert score("gauss_length", probe, points=1000) == pytest.approx(1.0, abs=1e-6)


def authors_gauss_length(model, probe):
    """As the authors' code: a row of velocities over a column of speeds, differentiated by the angles and added up."""
    theta = torch.linspace(0, 2 * math.pi, 10, dtype=torch.float64, requires_grad=True)
    u0, u1 = curve.circle(probe, points=4, radius=1.0, endpoint=False)[0][:2]
    total = 0.0
    for points in (slice(0, 6), slice(6, 10)):
        angles = theta[points, None, None, None]
        features = model.pooled_features(u0 * torch.cos(angles) + u1 * torch.sin(angles))
        rows = [torch.autograd.grad(f.sum(), theta, create_graph=True)[0][points] for f in features.unbind(1)]
        column = torch.stack(rows, 1).detach().norm(dim=1, keepdim=True)
        tangents = [row / column for row in rows]  # (n,) by (n, 1)
        assert tangents[0].shape == (len(column), len(column))
        turned = [torch.autograd.grad(t.sum(), theta, retain_graph=True)[0][points] for t in tangents]
        total += float(torch.stack(turned, 1).norm(dim=1).sum())
    return total


@pytest.mark.parametrize("make", [lambda: probe_of(lambda x: x[:, :3].tanh() + x[:, 3:6]), as_vit_probe])
def test_the_authors_gauss_length_divides_rows_by_columns(make):
    probe = make()
    found = score("gauss_length", probe, repo_compat=True)
    true = score("gauss_length", probe, endpoint=True, reduction="sum")
    without_norms(probe.model)
    assert found == pytest.approx(authors_gauss_length(probe.model, probe), rel=1e-9)
    assert found > 3 * true


def test_the_authors_code_counts_both_ends_of_the_circle():
    weight = torch.randn(3, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    probe = probe_of(lambda x: x @ weight.T)
    (v,) = curve.derivatives(probe, order=1, **{**DEFAULTS, "endpoint": True})
    torch.testing.assert_close(v[0], v[-1])
    assert score("length_distortion", probe, repo_compat=True) == pytest.approx(float(v.norm(dim=1).sum()))


def test_scores_do_not_depend_on_rotation_or_on_where_the_angle_starts():
    _, v, a = ellipse(2.0, 1.0, n=100)
    _, shifted_v, shifted_a = ellipse(2.0, 1.0, n=100, offset=0.017)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    for of_curve in (lambda v, a: curve.speeds(v), curve.curvatures, curve.tangent_speeds):
        value = curve.reduced(of_curve(v, a), "mean")
        assert curve.reduced(of_curve(v @ rotation, a @ rotation), "mean") == pytest.approx(value, rel=1e-12)
        assert curve.reduced(of_curve(shifted_v, shifted_a), "mean") == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1.0, 1e200])
def test_very_small_and_very_large_curves_keep_their_geometry(size):
    _, v, a = ellipse(2.0, 1.0, n=9)
    torch.testing.assert_close(curve.speeds(v * size) / size, curve.speeds(v))
    torch.testing.assert_close(curve.tangent_speeds(v * size, a * size), curve.tangent_speeds(v, a))
    torch.testing.assert_close(curve.curvatures(v * size, a * size) * size, curve.curvatures(v, a))


def test_nearly_straight_curves_do_not_cancel():
    v = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    a = torch.tensor([[1.0, 1e-9, 0.0]], dtype=torch.float64)
    assert float(curve.curvatures(v, a)) == pytest.approx(1e-9, rel=1e-9)
    assert float(curve.curvatures(v, v)) == 0.0


def test_where_the_curve_stands_still_only_its_length_is_finite():
    probe = probe_of(lambda x: 0 * x)
    assert score("length_distortion", probe) == 0.0
    assert not math.isfinite(score("curvature", probe))
    assert not math.isfinite(score("gauss_length", probe))


# -- other ways to differentiate ---------------------------------------------------------------------------------------


def without_norms(model):
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.forward = lambda x: x


def by_backward_passes(model, images, velocities):
    """One backward pass for every feature."""
    images = images.clone().requires_grad_()
    features = model.pooled_features(images)
    rows = [torch.autograd.grad(f.sum(), images, retain_graph=True)[0] for f in features.unbind(1)]
    return torch.stack([(row * velocities).flatten(1).sum(1) for row in rows], dim=1)


def at_angle(probe, shift, radius):
    """Features of all points, moved along the circle, by the definition of the circle."""
    x, dx = curve.circle(probe, points=10, radius=radius, endpoint=False)
    with torch.no_grad():
        return probe.model.pooled_features(math.cos(shift) * x + math.sin(shift) * dx)


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("radius", [1.0, 20.0])
def test_velocity_and_acceleration_equal_slow_derivatives(norms, radius):
    probe = as_vit_probe()
    v, a = curve.derivatives(probe, order=2, **{**DEFAULTS, "radius": radius, "norms": norms})
    (v_alone,) = curve.derivatives(probe, order=1, **{**DEFAULTS, "radius": radius, "norms": norms})
    assert torch.equal(v, v_alone)
    if not norms:
        without_norms(probe.model)
    x, dx = curve.circle(probe, points=10, radius=radius, endpoint=False)
    backward = by_backward_passes(probe.model, x, dx)
    torch.testing.assert_close(v, backward, rtol=1e-8, atol=1e-8 * float(backward.abs().max()))

    h = 1e-3
    values = {i: at_angle(probe, i * h, radius) for i in (-2, -1, 0, 1, 2)}
    first = (values[-2] - 8 * values[-1] + 8 * values[1] - values[2]) / (12 * h)
    second = (-values[-2] + 16 * values[-1] - 30 * values[0] + 16 * values[1] - values[2]) / (12 * h * h)
    torch.testing.assert_close(v, first, rtol=1e-5, atol=1e-6 * float(first.abs().max()))
    torch.testing.assert_close(a, second, rtol=1e-5, atol=1e-5 * float(second.abs().max()))


def test_acceleration_equals_two_backward_passes_for_each_feature():
    probe = as_vit_probe()
    _, a = curve.derivatives(probe, order=2, **{**DEFAULTS, "radius": 5.0, "points": 3})
    without_norms(probe.model)
    x, dx = curve.circle(probe, points=3, radius=5.0, endpoint=False)
    x.requires_grad_()
    columns = []
    for feature in probe.model.pooled_features(x).unbind(1):
        (gradient,) = torch.autograd.grad(feature.sum(), x, create_graph=True)
        (hessian_row,) = torch.autograd.grad((gradient * dx).sum(), x, retain_graph=True)
        columns.append((hessian_row * dx - gradient * x).flatten(1).sum(1).detach())
    expected = torch.stack(columns, dim=1)
    torch.testing.assert_close(a, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # inside torch.func.vmap
def test_repeats_one_by_one_equal_all_weight_draws_at_once():
    probes = [as_vit_probe(seed=seed, repeat=seed) for seed in range(3)]
    one_by_one = [curve.derivatives(probe, order=1, **DEFAULTS)[0] for probe in probes]
    model = as_vit_probe().model
    without_norms(model)
    weights = {name: torch.stack([p.model.get_parameter(name) for p in probes]) for name, _ in model.named_parameters()}
    circles = [curve.circle(probe, points=10, radius=1.0, endpoint=False) for probe in probes]
    model.forward = model.pooled_features  # what functional_call calls

    def velocity(weights, x, dx):
        return torch.func.jvp(lambda images: torch.func.functional_call(model, weights, (images,)), (x,), (dx,))[1]

    together = torch.func.vmap(velocity)(weights, *(torch.stack(part) for part in zip(*circles, strict=True)))
    scale = float(together.abs().max())
    torch.testing.assert_close(torch.stack(one_by_one), together, rtol=1e-8, atol=1e-8 * scale)


def test_scores_are_those_of_velocity_and_acceleration():
    probe = as_vit_probe()
    v, a = curve.derivatives(probe, order=2, **DEFAULTS)
    vv, aa, va = (v * v).sum(1), (a * a).sum(1), (v * a).sum(1)
    k = (vv * aa - va * va).sqrt() / vv**1.5
    assert score("length_distortion", probe) == pytest.approx(float(vv.sqrt().mean()), rel=1e-12)
    assert score("curvature", probe) == pytest.approx(float(k.mean()), rel=1e-6)
    assert score("gauss_length", probe) == pytest.approx(float((k * vv.sqrt()).mean()), rel=1e-6)


def test_fused_attention_gives_the_same_scores():
    torch.manual_seed(0)
    model = AsViT(TINY, img_size=32, pos_embed=False, dtype=torch.float64).eval().requires_grad_(False)
    fused = AsViT(TINY, img_size=32, pos_embed=False, fused_attn=True, dtype=torch.float64).eval()
    fused.load_state_dict(model.state_dict())
    for name in NAMES:
        first, second = (score(name, Probe(TINY, m, img_size=32), norms=True) for m in (model, fused))
        assert second == pytest.approx(first, rel=1e-9)


def test_a_curve_on_a_line_has_no_curvature():
    weight = torch.randn(48, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    direction = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    probe = probe_of(lambda x: (torch.relu(x @ weight) + torch.relu(-(x @ weight))) @ direction)
    assert score("length_distortion", probe) > 0
    assert score("curvature", probe) == pytest.approx(0, abs=1e-9)
    assert score("gauss_length", probe) == pytest.approx(0, abs=1e-9)


# -- settings, draws, slices -------------------------------------------------------------------------------------------


def test_directions_and_repeats():
    assert [proxies.get(name).higher_is_better for name in NAMES] == [True, False, True]
    assert [proxies.get(name).repeats for name in NAMES] == [5, 5, 5]
    assert not any(proxies.get(name).needs_images for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"points": 1}, ConfigError, "points is an integer of at least 2"),
        ({"radius": 0}, ConfigError, "radius is 0"),
        ({"radius": -2.0}, ConfigError, "radius is -2"),
        ({"radius": math.inf}, ConfigError, "radius is inf"),
        ({"radius": math.nan}, ConfigError, "radius is nan"),
        ({"reduction": "max"}, ConfigError, "'max'; it is one of mean, sum, integral"),
        ({"points": "many"}, ConfigError, "points"),
        ({"angle": 1}, UnknownNameError, "angle"),
    ],
)
def test_settings_that_no_curve_can_have_are_refused_before_scoring(name, settings, error, says):
    with pytest.raises(error, match=says):
        proxies.get(name).configured(**settings)


def test_settings_are_checked_at_definition_too():
    with pytest.raises(ConfigError, match="points is an integer of at least 2"):
        Proxy("bad", curve.length_distortion, settings={"points": 1}, check=curve.check_settings)


def test_the_circle_is_orthonormal_and_shared_by_all_candidates_of_a_repeat():
    first, second = probe_of(lambda x: x), as_vit_probe(img_size=32)
    x, dx = curve.circle(first, points=4, radius=3.0, endpoint=False)
    rows = torch.stack([x[0], x[1]]).flatten(1) / 3.0
    torch.testing.assert_close(rows @ rows.T, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(dx[0], x[1])
    torch.testing.assert_close(dx[1], -x[0])
    closed, _ = curve.circle(first, points=5, radius=3.0, endpoint=True)
    torch.testing.assert_close(closed[0], closed[-1])

    for repeat in range(2):
        probes = [Probe(NONE, p.model, img_size=8, score_seed=7, repeat=repeat) for p in (first, second)]
        circles = [curve.circle(p, points=10, radius=1.0, endpoint=False)[0] for p in probes]
        assert torch.equal(*circles)
    other = Probe(NONE, first.model, img_size=8, score_seed=7, repeat=0)
    assert not torch.equal(curve.circle(other, points=10, radius=1.0, endpoint=False)[0], circles[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("max_batch", [1, 3, 9])
def test_a_split_pass_gives_the_same_scores(max_batch, dtype):
    torch.manual_seed(0)
    model = AsViT(SEED, img_size=64, pos_embed=False, dtype=dtype).eval().requires_grad_(False)
    whole = Probe(SEED, model, img_size=64)
    split = Probe(SEED, model, img_size=64, max_batch=max_batch)
    for name in NAMES:
        assert score(name, split) == pytest.approx(score(name, whole), rel=1e-6)


def test_length_is_the_same_number_whatever_else_is_scored():
    alone, together = as_vit_probe(dtype=torch.float32), as_vit_probe(dtype=torch.float32)
    score("curvature", together)
    assert score("length_distortion", alone) == score("length_distortion", together)


def test_passes_are_shared_and_length_alone_pays_for_no_acceleration():
    calls = []
    probe = probe_of(lambda x: calls.append(len(x.terms)) or x)
    for name in (*NAMES, *NAMES):
        score(name, probe)
    score("length_distortion", probe, reduction="sum")
    assert calls == [2, 3]


def test_norms_are_left_out_unless_wanted():
    probe = as_vit_probe()
    left_out, kept = (score("length_distortion", probe, norms=norms) for norms in (False, True))
    assert left_out != pytest.approx(kept, rel=0.01)
    without_norms(probe.model)
    assert score("length_distortion", Probe(TINY, probe.model, img_size=32, score_seed=0)) == left_out
