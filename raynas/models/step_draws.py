"""Random draws inside a model that belong to images and layers, not to the process that computes them.

What a layer draws for an image follows from (seed, epoch, step, position of the image in the step, place of the layer
in the model): two workers with half of a step each, or one with several passes, train the same model as one worker with
all of it. Torch's and timm's own layers draw from the process-wide generator for the images of a call; `share_draws`
has them draw from here. A layer of one's own takes part by a method `take_draws(draws, place)`.

Letters: B images of a step over all workers, b images of a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from raynas.seeds import seed_from


@dataclass(frozen=True)
class StepContext:
    """Where a training stands, and whose images a worker computes: given once for each step, before its passes.

    Args:
        seed: The seed of the training.
        epoch: The number of the epoch, from 0.
        step: The number of the step in its epoch, from 0.
        number: The number of the step over all epochs, from 0.
        steps: How many steps the whole training has.
        batch_size: How many images the step has over all workers, B.
        positions: Places (b,) of images in the step, from 0 to B - 1: an array for each pass of this worker.
    """

    seed: int
    epoch: int
    step: int
    number: int
    steps: int
    batch_size: int
    positions: tuple[np.ndarray, ...]

    def seed_of(self, purpose: str) -> int:
        """A seed for one purpose that is the same on every worker and in every pass of the step."""
        return seed_from(self.seed, purpose, self.epoch, self.step)


@runtime_checkable
class TakesDraws(Protocol):
    """A module that draws by itself, such as one that hides tokens or chooses a sub-network."""

    def take_draws(self, draws: StepDraws, place: str) -> None:
        """Keep the source of random draws, and the name of this module in the model, for later passes."""
        ...


class StepDraws:
    """The source from which all layers of a model draw; `begin_step` and `begin_pass` say for which images."""

    def __init__(self) -> None:
        self.context: StepContext | None = None
        self._positions = torch.empty(0, dtype=torch.long)
        self._calls: dict[str, int] = {}
        self._order: dict[tuple[str, int], int] = {}
        self._dropping: list[_DropPath] = []  # by their place in the order
        self._generator: torch.Generator | None = None
        self._drawn: list[torch.Tensor] = []  # for each place in the order, 1 where the branch is kept, (B,)
        self._is_recording = False

    # -- what the training says ------------------------------------------------------------------------------------

    def begin_step(self, context: StepContext, device: torch.device) -> None:
        """Get ready for a step, before its first pass.

        Args:
            context: The place of the step in the training.
            device: The device on which the model computes.
        """
        self.context = context
        self._generator = torch.Generator(device).manual_seed(context.seed_of("drops"))
        self._drawn = []

    def begin_pass(self, positions: torch.Tensor) -> None:
        """Get ready for a pass, or for a part of one that is computed by itself.

        Args:
            positions: (b,) places of its images in the step, on the device of the model.
        """
        self._positions = positions
        self._calls = {}

    def record_branches(self, model: nn.Module, img_size: int) -> None:
        """Find out in which order a whole pass through the model comes to its dropped branches.

        It is kept for the training, so that what a branch draws does not depend on which others a pass leaves out.

        Args:
            model: The model whose layers draw from here; computes one empty image.
            img_size: Side of the image in pixels.
        """
        if not any(isinstance(module, _DropPath) and module.drop_prob for module in model.modules()):
            return
        was_training = model.training
        self._order, self._dropping, self._calls, self._is_recording = {}, [], {}, True
        try:
            with torch.no_grad():
                model.eval()(torch.zeros(1, 3, img_size, img_size, device=next(model.parameters()).device))
        finally:
            self._is_recording = False
            model.train(was_training)

    @property
    def positions(self) -> torch.Tensor:
        """(b,) places in the step of the images of the pass."""
        return self._positions

    # -- what layers ask for ---------------------------------------------------------------------------------------

    def uniform(self, place: str, rows: int, shape: tuple[int, ...] = ()) -> torch.Tensor:
        """Numbers in [0, 1) for the images of the pass, (rows, *shape).

        They are hashes of what they belong to, so that no worker draws for the images of others, and are the same on
        every device. A layer that asks again within a pass gets other numbers.

        Args:
            place: Name of the layer in the model.
            rows: The number of rows: as many as the pass has images, or a multiple where each is cut into parts, such
                as windows.
            shape: The shape of what is drawn for a row.

        Raises:
            ValueError: Rows belong to no image.
        """
        assert self.context is not None, "begin_step comes first"
        parts, rest = divmod(rows, max(1, len(self._positions)))
        if rest or not parts:
            raise ValueError(f"{place} draws for {rows} rows, which {len(self._positions)} images cannot share")
        key = seed_from(self.context.seed_of("draws"), place, self._call(place))
        return uniform_of(key, self._positions, (parts, *shape)).view(rows, *shape)

    def kept(self, place: str, probability: float, like: torch.Tensor) -> torch.Tensor:
        """1 for what is kept of a branch, else 0: (rows, 1, ...), to be multiplied with a tensor (rows, ...).

        Args:
            place: Name of the layer in the model.
            probability: The probability with which an image, or a part of one, is kept.
            like: The branch, whose rows are the images of the pass or parts of them.
        """
        shape = (len(like), *[1] * (like.ndim - 1))
        slot = self._order.get((place, self._calls.get(place, 0)))
        if slot is None or len(like) != len(self._positions):
            return (self.uniform(place, len(like)) < probability).to(like.dtype).view(shape)
        self._call(place)
        # Draws are those of all images, and of all branches before this one, whether or not the pass comes by there.
        while len(self._drawn) <= slot:
            keep = 1 - self._dropping[len(self._drawn)].drop_prob
            drawn = torch.empty(self._batch_size, device=like.device)
            self._drawn.append(drawn.bernoulli_(keep, generator=self._generator))
        return self._drawn[slot][self._positions].to(like.dtype).view(shape)

    @property
    def is_recording(self) -> bool:
        """Whether the pass is the one of `record_branches`."""
        return self._is_recording

    def record(self, layer: _DropPath, like: torch.Tensor) -> None:
        """Note that a pass comes to a branch; those of parts of images have no place in the order."""
        call = self._call(layer.place)
        if len(like) == 1:
            self._order[layer.place, call] = len(self._dropping)
            self._dropping.append(layer)

    @property
    def _batch_size(self) -> int:
        assert self.context is not None, "begin_step comes first"
        return self.context.batch_size

    def _call(self, place: str) -> int:
        """How often a layer has asked before within the pass."""
        call = self._calls.get(place, 0)
        self._calls[place] = call + 1
        return call

    def __deepcopy__(self, memo: dict[int, Any]) -> StepDraws:
        """Itself: a moving average of the model, which drops nothing, needs no draws of its own."""
        return self


def share_draws(module: nn.Module) -> StepDraws:
    """Have all layers of a module draw from one source, which is returned.

    Replaced are timm's DropPath and PatchDropout and torch's Dropout, where they drop anything; none has weights, so
    that the module keeps the names of its own. Attention that drops probabilities is computed without torch's fused
    function, which draws by itself.
    """
    from timm.layers import DropPath, PatchDropout

    draws = StepDraws()
    for path, parent in list(module.named_modules()):
        for name, child in parent.named_children():
            place = f"{path}.{name}" if path else name
            replaced: nn.Module | None = None
            if isinstance(child, DropPath):
                replaced = _DropPath(draws, place, child.drop_prob or 0.0, child.scale_by_keep)
            elif isinstance(child, PatchDropout) and child.prob:
                replaced = _PatchDropout(draws, place, child)
            elif type(child) is nn.Dropout and child.p:
                replaced = _Dropout(draws, place, child.p)
                if name == "attn_drop" and getattr(parent, "fused_attn", False):
                    parent.fused_attn = False  # type: ignore[assignment]
            if replaced is not None:
                setattr(parent, name, replaced.train(child.training))
    for path, child in module.named_modules():
        if isinstance(child, TakesDraws):
            child.take_draws(draws, path)
    return draws


def drawing_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The layers that `share_draws` has put into a module, by their names; they have no weights."""
    kinds = (_DropPath, _Dropout, _PatchDropout)
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}


def draws_of(module: nn.Module) -> StepDraws | None:
    """The source that layers of a module draw from; None if none of them draws."""
    return next((layer.draws for layer in drawing_layers(module).values()), None)  # type: ignore[return-value]


class _DropPath(nn.Module):
    """timm's DropPath."""

    def __init__(self, draws: StepDraws, place: str, drop_prob: float, scale_by_keep: bool) -> None:
        super().__init__()
        self.draws = draws
        self.place = place
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A branch (rows, ...), of which some rows become 0."""
        if self.drop_prob and self.draws.is_recording:
            self.draws.record(self, x)
        if not self.training or not self.drop_prob:
            return x
        keep = 1 - self.drop_prob
        kept = self.draws.kept(self.place, keep, x)
        return x * (kept / keep if self.scale_by_keep and keep else kept)


class _Dropout(nn.Dropout):
    """torch's Dropout of single features."""

    def __init__(self, draws: StepDraws, place: str, p: float) -> None:
        super().__init__(p)
        self.draws = draws
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (rows, ...), of which some become 0."""
        if not self.training:
            return x
        kept = self.draws.uniform(self.place, len(x), tuple(x.shape[1:])) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)


class _PatchDropout(nn.Module):
    """timm's PatchDropout."""

    def __init__(self, draws: StepDraws, place: str, layer: Any) -> None:
        super().__init__()
        self.draws = draws
        self.place = place
        self.prob: float = layer.prob
        self.num_prefix_tokens: int = layer.num_prefix_tokens
        self.ordered: bool = layer.ordered

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (b, N, C), of which some are left out, prefix tokens never."""
        if not self.training:
            return x
        prefix, tokens = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        kept = max(1, int(tokens.shape[1] * (1 - self.prob)))
        chosen = self.draws.uniform(self.place, len(x), (tokens.shape[1],)).argsort(1)[:, :kept]
        if self.ordered:
            chosen = chosen.sort(1).values
        return torch.cat([prefix, tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))], 1)


def uniform_of(key: int, positions: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [0, 1) that follow from a key and from the place of each image, (b, *shape), float32.

    Args:
        key: What they are drawn for, such as `raynas.seeds.seed_from` gives it.
        positions: (b,) places of images.
        shape: The shape of what is drawn for an image.
    """
    each = math.prod(shape)
    elements = torch.arange(each, device=positions.device)
    return _hashed((positions[:, None] * each + elements).view(len(positions), *shape), key)


_GOLDEN, _FIRST, _SECOND = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(z: torch.Tensor, n: int) -> torch.Tensor:
    """Bits shifted to the right by n, without the sign, which torch's own shift fills in."""
    return (z >> n) & ((1 << (64 - n)) - 1)


def _hashed(counters: torch.Tensor, key: int) -> torch.Tensor:
    """splitmix64 (Steele 2014) of int64 counters under a key, as float32 in [0, 1); products wrap around."""
    z = key + (counters + 1) * _GOLDEN
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    z = z ^ _shifted(z, 31)
    return _shifted(z, 40).to(torch.float32) * 2.0**-24
