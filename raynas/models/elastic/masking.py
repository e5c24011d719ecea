"""The masked form of a supernet: one pass of the largest network for all members, with zeros for what they lack.

It is how supernets were first computed (Liao 2021, arXiv 2109.00642), and does the largest network's arithmetic for
every member. `raynas.models.elastic.supernet` computes with slices instead, and trains; this form is what it is tested
and measured against. It would be the faster one where starting kernels costs more than arithmetic, as of small networks
with many members on a large GPU: `benchmarks/supernet_step.py` says which.

Tensor letters: B images, N tokens, C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from raynas.errors import SpaceError
from raynas.models.elastic.supernet import Supernet
from raynas.models.families.vit_res_network import Reduction
from raynas.models.roles import roles_of
from raynas.space.architecture import Architecture

Kept = Sequence[tuple[int, int]]
"""How many images in a row keep how many of the first channels, group after group: ((images, channels), ...)."""


def masked_layer_norm(x: Tensor, kept: Kept, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm over the first channels, of which each group of images keeps a number of its own.

    Each group is normalised by torch's own LayerNorm on its slice, which needs a fifth of the time of the formula with
    masks. Statistics are computed in float32 at least, under autocast too. Gradients have no gradients of their own.

    Args:
        x: Features (B, ..., C); what is not kept is not read, and has a gradient of zero.
        kept: Groups of images, B of them in all.
        weight, bias: Scale and shift, (C,).
        eps: What is added to a variance before its square root is taken.

    Returns:
        (B, ..., C), 0 where a channel is not kept, in the wider type of x and weight.
    """
    dtype = torch.promote_types(x.dtype, weight.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    found: Tensor = _GroupedNorm.apply(x.to(wide), weight.to(wide), bias.to(wide), kept, eps)  # type: ignore[no-untyped-call]
    return found.to(dtype)


class _GroupedNorm(torch.autograd.Function):
    """LayerNorm of groups of images on their slices; written in place, as parts put together take twice the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kept: Kept, eps: float) -> Tensor:
        """(B, ..., C) to the same."""
        found, statistics = torch.empty_like(x), []
        for of_x, part, (_, channels) in zip(_split(x, kept), _split(found, kept), kept, strict=True):
            part[..., channels:] = 0
            if channels:
                own, mean, rstd = torch.native_layer_norm(
                    of_x[..., :channels], (channels,), weight[:channels], bias[:channels], eps
                )
                part[..., :channels] = own
                statistics += [mean, rstd]
        ctx.kept = kept
        ctx.save_for_backward(x, weight, bias, *statistics)
        return found

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight, bias, *statistics = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        each = iter(statistics)
        parts = (_split(one, ctx.kept) for one in (grad, x, of_x))
        for of_grad, of_input, part, (_, channels) in zip(*parts, ctx.kept, strict=True):
            part[..., channels:] = 0
            if channels:
                own = slice(channels)
                part[..., :channels], for_weight, for_bias = torch.ops.aten.native_layer_norm_backward(
                    of_grad[..., :channels], of_input[..., :channels], (channels,), next(each), next(each),
                    weight[own], bias[own], (True, True, True),
                )  # fmt: skip
                of_weight[own] += for_weight
                of_bias[own] += for_bias
        return of_x, of_weight, of_bias, None, None


def _split(x: Tensor, kept: Kept) -> Sequence[Tensor]:
    return torch.split(x, [images for images, _ in kept])


class MaskedSupernet:
    """The masked form of a supernet whose network is made of pre-norm blocks.

    These are all networks with roles whose blocks have the parts norm1, attn (qkv, proj), norm2 and mlp (fc1, fc2), and
    whose other layers between embedding and head are LayerNorms and `Reduction`: ViT-Res and AutoFormer, with relative
    positions too, since heads have one size there. In the plain build of AutoFormer they have not: a member of another
    width cuts its queries, keys and values into other heads, which no mask can say, so that each member mixes its own.

    Masks are where the source has them: after the embedding and its positions, before the output of attention, before
    the second layer of the MLP, on the branches of blocks, and after a reduction. They are on a copy of the network
    that shares its parameters and buffers; the network itself is left alone.

    Args:
        supernet: The supernet; its network has its parameters and buffers as long as this is in use.

    Raises:
        SpaceError: The network does not say which its blocks are.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        whole = supernet.whole
        shared: dict[int, Any] = {id(tensor): tensor for tensor in (*whole.parameters(), *whole.buffers())}
        self._network = copy.deepcopy(whole, shared)
        self._members = _Members()
        names = {module: name for name, module in self._network.named_modules()}
        blocks = [block.module for block in roles_of(self._network).blocks]
        if not blocks:
            raise SpaceError(f"{type(whole).__name__} does not say which its blocks are, and cannot be masked")
        blocks[0].register_forward_pre_hook(partial(self._mask_input, "pos_embed", -1))
        for block in blocks:
            self._mask_block(block, names[block])
        for module, name in names.items():
            if isinstance(module, Reduction):
                module.register_forward_hook(partial(self._mask_output, f"{name}.linear.weight"))
            if isinstance(module, nn.LayerNorm):
                place, _, leaf = name.rpartition(".")
                setattr(self._network.get_submodule(place), leaf, _MaskedNorm(module, name, self._members))

    def __call__(self, images: Tensor, architectures: Sequence[Architecture], assigned: Tensor | None = None) -> Tensor:
        """Logits of images, each by one of some members; see `Supernet`."""
        numbers = torch.arange(len(images), device=images.device) % len(architectures) if assigned is None else assigned
        order = numbers.argsort(stable=True)  # images of a member in a row
        counts = torch.bincount(numbers, minlength=len(architectures)).tolist()
        present = [i for i, count in enumerate(counts) if count]
        self._members.begin_pass(
            [counts[i] for i in present], [self.supernet.skeleton(architectures[i]) for i in present]
        )
        self._network.train(self.supernet.whole.training)
        with self.supernet.drawing_for(order):
            logits: Tensor = self._network(images[order])
        return logits[order.argsort()]

    def _mask_block(self, block: Any, name: str) -> None:
        """Mask heads, hidden units, and both branches, of which an absent block has none."""
        block.attn.proj.register_forward_pre_hook(partial(self._mask_input, f"{name}.attn.proj.weight", 1))
        block.mlp.fc2.register_forward_pre_hook(partial(self._mask_input, f"{name}.mlp.fc2.weight", 1))
        block.attn = _Heads(block.attn, f"{name}.attn", self._members)
        block.attn.register_forward_hook(partial(self._mask_output, f"{name}.attn.proj.weight"))
        block.mlp.register_forward_hook(partial(self._mask_output, f"{name}.mlp.fc2.weight"))

    def _mask_input(self, tensor: str, dim: int, _: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._members.masked(given[0], tensor, dim), *given[1:]

    def _mask_output(self, tensor: str, _: nn.Module, __: Any, found: Tensor) -> Tensor:
        return self._members.masked(found, tensor, 0)


class _Members:
    """The members of a pass, whose images follow one another."""

    def begin_pass(self, images: Sequence[int], skeletons: Sequence[nn.Module]) -> None:
        """Take numbers of images, and the members whose they are."""
        self.images, self.skeletons = list(images), list(skeletons)
        self._shapes = [{name: one.shape for name, one in skeleton.named_parameters()} for skeleton in skeletons]
        self._masks: dict[tuple[Any, ...], Tensor] = {}

    def kept(self, tensor: str, dim: int) -> Kept:
        """The length of a tensor of each member along a dimension; 0 where it has none."""
        sizes = [shapes[tensor][dim] if tensor in shapes else 0 for shapes in self._shapes]
        return list(zip(self.images, sizes, strict=True))

    def masked(self, x: Tensor, tensor: str, dim: int) -> Tensor:
        """Features (B, N, C), 0 in channels beyond a tensor's length along a dimension."""
        kept, channels = self.kept(tensor, dim), x.shape[-1]
        key = (*kept, channels, x.dtype)
        if key not in self._masks:
            rows, sizes = torch.tensor(kept, device=x.device).T
            each = (torch.arange(channels, device=x.device) < sizes[:, None]).to(x.dtype)
            self._masks[key] = each.repeat_interleave(rows, 0, output_size=len(x))[:, None]
        return x * self._masks[key]


class _MaskedNorm(nn.Module):
    """A LayerNorm over the channels that members have."""

    def __init__(self, norm: nn.LayerNorm, name: str, members: _Members) -> None:
        super().__init__()
        self.norm, self.name, self.members = norm, name, members

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same."""
        kept = self.members.kept(f"{self.name}.weight", 0)
        return masked_layer_norm(x, kept, self.norm.weight, self.norm.bias, self.norm.eps)


class _Heads(nn.Module):
    """Attention, in which members whose heads have another size mix values by themselves."""

    def __init__(self, attn: nn.Module, name: str, members: _Members) -> None:
        super().__init__()
        self.attn, self.name, self.members = attn, name, members

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """(B, N, C) to the same."""
        attn: Any = self.attn
        own = [_part(skeleton, self.name) for skeleton in self.members.skeletons]
        if all(one is None or _head_size(one) == _head_size(attn) for one in own):
            return attn(x, *rest)  # type: ignore[no-any-return]
        inner = attn.proj.in_features
        parts = attn.qkv(x).unflatten(-1, (3, inner)).split(self.members.images)
        mixed = [_mixed(one, part, rest) for one, part in zip(own, parts, strict=True)]
        return attn.proj(torch.cat(mixed))  # type: ignore[no-any-return]


def _mixed(attn: Any, qkv: Tensor, rest: tuple[Any, ...]) -> Tensor:
    """Values that a member's attention mixes, (B, N, C), of the largest network's queries, keys and values.

    Args:
        attn: The member's attention, without values of its own; None: it has none.
        qkv: (B, N, 3, C).
        rest: What attention is given besides.
    """
    if attn is None:
        return torch.zeros_like(qkv[:, :, 0])
    width = attn.proj.in_features
    attn.qkv, attn.proj = nn.Identity(), nn.Identity()
    found: Tensor = attn(qkv[..., :width].flatten(2), *rest)
    return F.pad(found, (0, qkv.shape[-1] - width))


def _part(skeleton: nn.Module, name: str) -> nn.Module | None:
    """A part of a member, if it has it."""
    try:
        return skeleton.get_submodule(name)
    except AttributeError:
        return None


def _head_size(attn: Any) -> int:
    return int(attn.proj.in_features // attn.num_heads)
