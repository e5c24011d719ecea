"""The masked form of a supernet against its slices, and masked LayerNorm against a LayerNorm of the slice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas import Architecture, Choice, SearchSpace
from raynas.errors import SpaceError
from raynas.models.elastic.masking import Kept, MaskedSupernet, masked_layer_norm
from raynas.models.elastic.supernet import Supernet
from raynas.models.step_draws import StepContext, share_draws
from raynas.space.registered import spaces

EPS = 1e-6


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# -- LayerNorm ---------------------------------------------------------------------------------------------------------


def features(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 3 + 2 * torch.randn(*shape, generator=generator, dtype=dtype)
    weight, bias = torch.randn(2, shape[-1], generator=generator, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def masked_formula(x: torch.Tensor, kept: Kept, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The source's, with the sum of squares of differences."""
    channels = torch.tensor([n for images, n in kept for _ in range(images)])
    mask = (torch.arange(x.shape[-1]) < channels[:, None]).to(x.dtype)[:, None]
    number = channels.clamp(min=1)[:, None, None]
    centred = mask * (x - (mask * x).sum(-1, keepdim=True) / number)
    variance = centred.square().sum(-1, keepdim=True) / number
    return mask * (weight * centred / (variance + EPS).sqrt() + bias)


def test_masked_layer_norm_is_that_of_the_slice() -> None:
    x, weight, bias = features(7, 5, 12)
    found = masked_layer_norm(x, [(3, 12), (2, 7), (2, 1)], weight, bias, EPS)
    for rows, channels in ((slice(0, 3), 12), (slice(3, 5), 7), (slice(5, 7), 1)):
        expected = F.layer_norm(x[rows, :, :channels], (channels,), weight[:channels], bias[:channels], EPS)
        torch.testing.assert_close(found[rows, :, :channels], expected, rtol=1e-6, atol=1e-6)
        assert not found[rows, :, channels:].any()


@pytest.mark.parametrize("rows", [4, 150])  # of which more than one piece is normalised at a time
@pytest.mark.parametrize("is_strided", [False, True])
def test_masked_layer_norm_and_its_gradients_are_those_of_the_formula(rows: int, is_strided: bool) -> None:
    kept = [(2, 256), (1, 0), (3, 100)]
    arguments = features(6, rows, 256, dtype=torch.float64)
    if is_strided:
        arguments = (features(6, 256, rows, dtype=torch.float64)[0], *arguments[1:])
    towards = torch.randn(6, rows, 256, dtype=torch.float64)
    x, weight, bias = arguments
    x = x.transpose(1, 2) if is_strided else x
    found, expected = masked_layer_norm(x, kept, weight, bias, EPS), masked_formula(x, kept, weight, bias)
    torch.testing.assert_close(found, expected)
    for own, other in zip(
        torch.autograd.grad(found, arguments, towards), torch.autograd.grad(expected, arguments, towards), strict=True
    ):
        torch.testing.assert_close(own, other)


def test_masked_layer_norm_has_the_gradients_of_differences() -> None:
    arguments = features(3, 2, 6, dtype=torch.float64)
    kept = [(1, 6), (2, 4)]
    assert torch.autograd.gradcheck(lambda x, weight, bias: masked_layer_norm(x, kept, weight, bias, EPS), arguments)


def test_what_is_masked_is_not_read_and_has_no_gradient() -> None:
    x, weight, bias = features(4, 3, 8)
    with torch.no_grad():
        x[2:, :, 5:] = torch.nan
    found = masked_layer_norm(x, [(2, 6), (2, 5)], weight, bias, EPS)
    assert found.isfinite().all()
    found.square().sum().backward()
    assert x.grad is not None and weight.grad is not None and bias.grad is not None
    assert not x.grad[:2, :, 6:].any() and not x.grad[2:, :, 5:].any()
    assert x.grad[:2, :, :6].all() and x.grad[2:, :, :5].all()
    assert not weight.grad[6:].any() and not bias.grad[6:].any()
    assert weight.grad[:6].all() and bias.grad[:6].all()


def test_statistics_of_half_precision_are_those_of_float32() -> None:
    x, weight, bias = features(4, 3, 64)
    half = x.detach().to(torch.bfloat16)
    expected = F.layer_norm(half[..., :48].float(), (48,), weight[:48], bias[:48], EPS)
    with torch.autocast("cpu", torch.bfloat16):
        found = masked_layer_norm(half, [(4, 48)], weight, bias, EPS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[..., :48], expected, rtol=1e-6, atol=1e-6)
    # A network that is all in half precision: rounded once, at the end.
    weight, bias = weight.bfloat16(), bias.bfloat16()
    rounded = masked_layer_norm(half, [(4, 48)], weight, bias, EPS)
    exact = F.layer_norm(half[..., :48].float(), (48,), weight[:48].float(), bias[:48].float(), EPS)
    assert rounded[..., :48].equal(exact.bfloat16())


# -- supernets ---------------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        "vit-res-nano",
        pytest.param("autoformer-tiny", marks=pytest.mark.slow),
        pytest.param("autoformer-tiny-plain", marks=pytest.mark.long),
    ],
)
def supernet(request: pytest.FixtureRequest) -> Supernet:
    torch.manual_seed(0)
    made = Supernet.fresh(spaces.get(request.param), img_size=32, num_classes=5)
    with torch.no_grad():
        for name, parameter in made.whole.named_parameters():
            if parameter.ndim == 1:  # no norm and no bias starts as another does
                parameter.add_(0.3 * torch.randn(parameter.shape))
            elif "patch_embed" not in name:
                parameter.mul_(2)
    made.whole.eval()
    return made


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def drawn(supernet: Supernet, count: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [supernet.space.sample(rng) for _ in range(count)]


def gradients(whole: nn.Module, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss; zeros where a parameter has no part in it."""
    loss = F.cross_entropy(logits, torch.arange(len(logits)) % 5)
    named = dict(whole.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


@pytest.mark.slow
def test_masks_and_slices_give_the_same_logits_and_gradients(supernet: Supernet) -> None:
    masked, x = MaskedSupernet(supernet), images(4)
    for seed in range(30):
        pair = drawn(supernet, 2, seed)
        found, expected = masked(x, pair), supernet(x, pair)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        grads, others = gradients(supernet.whole, found), gradients(supernet.whole, expected)
        for name, grad in grads.items():
            torch.testing.assert_close(grad, others[name], rtol=1e-5, atol=1e-5, msg=name)


def test_masks_go_to_the_images_of_their_members(supernet: Supernet) -> None:
    chosen, x = [supernet.space.smallest(), supernet.largest, *drawn(supernet, 2, 9)], images(6)
    assigned = torch.tensor([3, 0, 1, 3, 0, 3])
    with torch.no_grad():
        found = MaskedSupernet(supernet)(x, chosen, assigned)
        for row, number in enumerate(assigned.tolist()):
            expected = supernet.extract(chosen[number])(x[row : row + 1])[0]
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)


def test_the_network_itself_is_left_alone(supernet: Supernet) -> None:
    x, names = images(2), list(supernet.whole.state_dict())
    with torch.no_grad():
        before = supernet.whole(x)
        MaskedSupernet(supernet)(x, [supernet.space.smallest()])
        assert list(supernet.whole.state_dict()) == names
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in supernet.whole.modules())
        assert supernet.whole(x).equal(before)


def test_batch_norm_of_the_stem_sees_the_whole_batch_once() -> None:
    torch.manual_seed(0)
    supernet = Supernet.fresh(spaces.get("vit-res-nano"), img_size=32, num_classes=5)
    x, pair = images(8), drawn(supernet, 2, 0)
    masked, state = MaskedSupernet(supernet), {name: one.clone() for name, one in supernet.whole.named_buffers()}
    found = masked(x, pair)
    after = {name: one.clone() for name, one in supernet.whole.named_buffers()}
    supernet.whole.load_state_dict(state, strict=False)
    torch.testing.assert_close(supernet(x, pair), found, rtol=1e-5, atol=1e-5)
    for name, buffer in supernet.whole.named_buffers():
        torch.testing.assert_close(after[name], buffer, rtol=1e-5, atol=1e-6)


def test_dropped_branches_are_those_of_the_images() -> None:
    torch.manual_seed(0)
    supernet = Supernet.fresh(spaces.get("vit-res-nano"), img_size=32, num_classes=5, drop_path_rate=0.5)
    draws = share_draws(supernet.whole)
    draws.record_branches(supernet.whole, 32)
    x, pair, masked = images(8), drawn(supernet, 2, 4), MaskedSupernet(supernet)

    def logits(form: Supernet | MaskedSupernet) -> torch.Tensor:
        draws.begin_step(StepContext(3, 0, 0, 0, 1, 8, (np.arange(8),)), torch.device("cpu"))
        draws.begin_pass(torch.arange(8))
        with torch.no_grad():
            return form(x, pair)

    torch.testing.assert_close(logits(masked), logits(supernet), rtol=1e-5, atol=1e-5)


class Bare(nn.Linear):
    def __init__(self, architecture: Architecture, *, img_size: int, num_classes: int) -> None:
        super().__init__(img_size, num_classes)


def test_a_network_that_names_no_blocks_is_refused() -> None:
    supernet = Supernet.fresh(SearchSpace("own", {"depth": Choice(1)}, Bare), img_size=4, num_classes=3)
    with pytest.raises(SpaceError, match="Bare does not say which its blocks are"):
        MaskedSupernet(supernet)
