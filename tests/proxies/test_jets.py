"""Derivatives along a curve against central differences, operation by operation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.proxies.jets import Jet, NoRuleError, jet


def tensors(n, *shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, dtype=torch.float64, generator=generator) for _ in range(n)]


W, BIAS, KERNEL, OTHER = (
    t[0] for t in (tensors(1, 5, 8), tensors(1, 5), tensors(1, 6, 4, 3, 3), tensors(1, 2, 4, 8, 8))
)
SCALE, SHIFT = tensors(2, 8)
BATCH_NORM = nn.BatchNorm2d(4).double().eval()
BATCH_NORM.running_mean += 0.3
BATCH_NORM.running_var *= 2.5


def add_in_place(x, other):
    """Changes x, under two names."""
    same = x
    x += other
    return same * x


OPERATIONS = {
    "linear": lambda x: F.linear(x, W, BIAS),
    "conv2d": lambda x: F.conv2d(x, KERNEL, stride=2, padding=1),
    "batch_norm": BATCH_NORM,
    "layer_norm": lambda x: F.layer_norm(x, (8,), SCALE, SHIFT),
    "layer_norm of two dimensions": lambda x: F.layer_norm(x, (8, 8)),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": lambda x: x.relu() * x,
    "relu in place": lambda x: F.relu(x * 1, inplace=True) * x,
    "hard sigmoid": lambda x: F.hardsigmoid(2.5 * x) * x,
    "hard swish": lambda x: F.hardswish(2.5 * x),
    "sum in place": lambda x: add_in_place(x * x, x),
    "product in place": lambda x: (x * 2).mul_(x).div_(3).sub_(OTHER),
    "tanh": torch.tanh,
    "rsqrt": lambda x: (x * x + 1).rsqrt(),
    "softmax": lambda x: (3 * x).softmax(-1),
    "softmax of large numbers": lambda x: F.softmax(300 * x, dim=1),
    "softmax with a mask": lambda x: (x + torch.tensor([0.0] * 7 + [-torch.inf])).softmax(-1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "attention with a mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=OTHER, scale=0.3),
    "attention with a boolean mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=OTHER > -1),
    "sum": lambda x: x + x * 2 + OTHER + 1,
    "difference": lambda x: x - x * x - OTHER,
    "difference from a constant": lambda x: 1 - x,
    "scaled sum": lambda x: torch.add(OTHER, x, alpha=3),
    "broadcast sum": lambda x: x[:, :1] + OTHER,
    "product": lambda x: x * x * OTHER,
    "broadcast product": lambda x: x.mean(-1, keepdim=True) * x,
    "matrix product": lambda x: x @ x.transpose(-2, -1) @ OTHER,
    "matrix product from the left": lambda x: OTHER @ x,
    "quotient": lambda x: x / 3,
    "quotient of two": lambda x: x / (x * x + 1),
    "power": lambda x: x**3,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "cat": lambda x: torch.cat([x, OTHER, x * x], dim=1),
    "stack": lambda x: torch.stack([x, x * x]),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1)),
    "pad with a number": lambda x: F.pad(x, (1, 2), value=3.0),
    "pad by reflection": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "linear with weights on the curve": lambda x: F.linear(x, x[0, 0]),
    "linear with only weights on the curve": lambda x: F.linear(OTHER, x[0, 0]),
    "shapes": lambda x: x.reshape(2, -1).unflatten(1, (4, 64)).permute(2, 0, 1).flatten(1).unsqueeze(0).transpose(0, 1),
    "windows": lambda x: x.unfold(2, 3, 2).unfold(3, 3, 2).flatten(3),
    "pieces": lambda x: x.chunk(2, dim=1)[0] * x.unbind(1)[3].unsqueeze(1),
    "index": lambda x: x[:, 0, ..., 1:3],
    "pooling": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "dropout at rest": lambda x: F.dropout(x, 0.5, training=False),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_are_those_of_central_differences(name):
    torch.set_num_threads(1)
    function = OPERATIONS[name]
    x, dx, ddx = tensors(3, 2, 4, 8, 8)

    def at(t):
        return function(x + t * dx + t * t / 2 * ddx)

    h = 1e-3 if "large" not in name else 1e-5
    with torch.no_grad():
        result = function(jet(x, dx, ddx))
        first = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
        second = (-at(2 * h) + 16 * at(h) - 30 * at(0) + 16 * at(-h) - at(-2 * h)) / (12 * h * h)
        assert isinstance(result, Jet)
        value, d1, d2 = result.terms
        assert value.shape == d1.shape == d2.shape == result.shape
        assert type(value) is type(d1) is type(d2) is torch.Tensor
        torch.testing.assert_close(value, at(0))
        scale = 1e-7 if "large" not in name else 1e-4
        assert float((d1 - first).abs().max()) <= scale * float(first.abs().max() + 1)
        assert float((d2 - second).abs().max()) <= scale * float(second.abs().max() + 1)
        lower = function(jet(x, dx))
        assert torch.equal(lower.terms[1], d1), "the first derivative is the same number in both orders"


def test_nested_forward_mode_of_torch_is_not_used_for_layer_norm():
    """The reason why layer_norm has a rule: torch's nested forward mode is wrong by about its whole size there."""
    x, dx, ddx = tensors(3, 2, 4, 8, 8)
    result = F.layer_norm(jet(x, dx, ddx), (8,))
    mean = lambda t: t.mean(-1, keepdim=True)  # noqa: E731
    c, c1, c2 = x - mean(x), dx - mean(dx), ddx - mean(ddx)
    v, v1, v2 = mean(c * c) + 1e-5, 2 * mean(c * c1), 2 * mean(c1 * c1 + c * c2)
    expected = c2 / v**0.5 - c1 * v1 / v**1.5 - c * v2 / (2 * v**1.5) + 0.75 * c * v1**2 / v**2.5
    torch.testing.assert_close(result.terms[2], expected)


def test_shapes_and_types_are_those_of_the_value():
    x = jet(*tensors(2, 2, 3))
    assert (x.shape, x.size(1), x.ndim, len(x), x.numel()) == ((2, 3), 3, 2, 2, 6)
    assert x.dtype == torch.float64
    assert type(x.shape) is torch.Size


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x[0].add_(1), "add_"),
        (lambda x: (x.flatten(), x.__iadd__(1)), "add_"),
        (lambda x: (x.diagonal(), F.relu(x, inplace=True)), "relu"),
        (lambda x: OTHER.clone().mul_(x), "mul_"),
        (lambda x: x.fill_(1.0), "fill_"),
        (lambda x: x.__setitem__(0, 1.0), "__setitem__"),
        (lambda x: torch.add(x, 1, out=OTHER), "add"),
        (lambda x: F.instance_norm(x), "instance_norm"),
        (lambda x: F.dropout(x, 0.5, training=True), "dropout"),
        (lambda x: F.batch_norm(x, None, None, training=True), "batch_norm"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), "causal"),
        (lambda x: x.max(-1), "max"),
    ],
)
def test_operations_that_would_give_wrong_derivatives_are_refused(change, says):
    with pytest.raises(NoRuleError, match=says):
        change(jet(*tensors(3, 2, 4, 8, 8)))
