"""What users of timm expect of a network: other heads, features of stages, checkpointed gradients.

Tensor letters: B batch, P prefix tokens such as a class token, G tokens a side of a grid, N = P + G * G tokens, C
channels, S side of the image in pixels. A state is what a network has between two of its parts: tokens (B, N, C), a
grid (B, G, G, C), a map (B, C, G, G), or what a family makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.checkpointing import Blocks, checkpointed
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD


class TimmNetwork(nn.Module):
    """A network that is used as timm's own are, of which a family names the parts.

    A family defines `embedded` and `groups`, and what differs from the defaults here: `normalised`, `pool`,
    `before_head` and so on. At the end of its constructor it calls `describe`.

    Attributes:
        FIRST_CONV, CLASSIFIER: Names of the layer that takes in images and of the one that gives out logits.
        POOLS: What `global_pool` may be: "token", the first token; "avg", the mean over the grid; "", none at all.
        num_prefix_tokens: How many tokens stand before those of the grid, P.
        output_fmt: What `forward_features` gives: "NLC", "NHWC" or "NCHW".
        num_features, head_hidden_size, embed_dim: Width of what the head is given, C.
        feature_info: The channels of each feature, its step in pixels of the image, and the module that ends in it.
        default_cfg, pretrained_cfg: What timm keeps of a network: input_size, mean, std, names of layers.
    """

    FIRST_CONV: ClassVar[str]
    CLASSIFIER: ClassVar[str] = "head"
    POOLS: ClassVar[tuple[str, ...]] = ("token", "avg", "")
    num_prefix_tokens = 0
    output_fmt = "NLC"
    norm: Any

    def describe(
        self,
        features: Sequence[tuple[str, int, int]],
        *,
        num_classes: int,
        in_chans: int,
        global_pool: str,
        drop_rate: float,
        img_size: int | Sequence[int],
        fixed_input_size: bool = True,
    ) -> None:
        """Keep what timm asks of a network.

        Args:
            features: The name of the last module of each group, its channels, and its step in pixels of the image.
            num_classes: Number of classes; 0: there is no head.
            in_chans: Number of channels of the images.
            global_pool: How tokens are pooled, one of `POOLS`.
            drop_rate: Probability in training that a feature is dropped before the head.
            img_size: Side of the images in pixels, or their height and width.
            fixed_input_size: Whether images must have that size.
        """
        self._check_pool(global_pool)
        self.num_classes, self.in_chans = num_classes, in_chans
        self.global_pool, self.drop_rate = global_pool, drop_rate
        self.num_features = self.head_hidden_size = self.embed_dim = features[-1][1]
        self.feature_info: list[dict[str, Any]] = [
            {"module": name, "num_chs": width, "reduction": step, "stage": i}
            for i, (name, width, step) in enumerate(features)
        ]
        self.grad_checkpointing = False
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self._only_size = (height, width) if fixed_input_size else None
        step = features[-1][2]
        self.pretrained_cfg = self.default_cfg = timm_cfg(
            num_classes=num_classes,
            input_size=(in_chans, height, width),
            fixed_input_size=fixed_input_size,
            pool_size=None if self.output_fmt == "NLC" else (height // step, width // step),
            first_conv=self.FIRST_CONV,
            classifier=self.CLASSIFIER,
        )

    # -- parts, which families define ----------------------------------------------------------------------------------

    def embedded(self, images: torch.Tensor) -> Any:
        """The state before the first group: of images (B, in_chans, S, S)."""
        raise NotImplementedError

    def groups(self) -> list[list[nn.Module]]:
        """Modules that a state goes through, in the groups that each end in a feature."""
        raise NotImplementedError

    def keep_groups(self, count: int) -> None:
        """Drop all groups but the first ones."""
        raise NotImplementedError

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth: those of the stem and those of blocks."""
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers do not shrink, beside biases and norms, which timm finds by itself."""
        return set()

    def context(self, state: Any) -> tuple[Any, ...]:
        """What each module of a group is given beside the state."""
        return ()

    def normalised(self, state: Any) -> Any:
        """The state after the final norm."""
        return self.norm(state)

    def output_of(self, state: Any) -> torch.Tensor:
        """What `forward_features` gives of a state after the final norm."""
        output: torch.Tensor = state
        return output

    def before_head(self, x: torch.Tensor) -> torch.Tensor:
        """What layers between the pooling and the head make of features, (..., C) to the same."""
        return x

    def drop_before_head(self) -> None:
        """Take away the layers between the pooling and the head."""

    def draw_head(self, head: nn.Linear) -> None:
        """Draw a fresh head."""
        nn.init.normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)

    def map_and_prefix(self, state: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A state as a map (B, C, G, G), and its prefix tokens (B, P, C) if it has any."""
        if self.output_fmt != "NLC":
            return (state if self.output_fmt == "NCHW" else state.permute(0, 3, 1, 2).contiguous()), None
        prefix, patches = state[:, : self.num_prefix_tokens], state[:, self.num_prefix_tokens :]
        side = isqrt(patches.shape[1])
        found = patches.transpose(1, 2).unflatten(2, (side, side)).contiguous()
        return found, prefix if self.num_prefix_tokens else None

    # -- from images to logits -----------------------------------------------------------------------------------------

    def through(self, state: Any, groups: Sequence[Sequence[nn.Module]]) -> Any:
        """What groups make of a state."""
        context = self.context(state)
        for group in groups:
            for module in group:
                state = self._step(module, state, context)
        return state

    def _step(self, module: nn.Module, state: Any, context: tuple[Any, ...]) -> Any:
        # A stage checkpoints its blocks by itself, each alone.
        if self.grad_checkpointing and not any(isinstance(one, Blocks) for one in module.modules()):
            return checkpointed(module, state, *context)
        return module(state, *context)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last group gives after the final norm, unpooled: of images (B, in_chans, S, S).

        Raises:
            ValueError: The images are no batch; or the network takes those of one size alone, and these have another.
        """
        self._check_size(images)
        return self.output_of(self.normalised(self.through(self.embedded(images), self.groups())))

    def _check_size(self, images: torch.Tensor) -> None:
        if images.ndim != 4:
            raise ValueError(f"images have the shape {tuple(images.shape)}; it must be (B, channels, height, width)")
        is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        # A trace would keep the comparison of one batch for all.
        if self._only_size is None or is_traced or tuple(images.shape[-2:]) == self._only_size:
            return
        (height, width), (taken_height, taken_width) = images.shape[-2:], self._only_size
        raise ValueError(
            f"images have {height} x {width} pixels, and this network takes {taken_height} x {taken_width}; "
            "made with another img_size, it takes others"
        )

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """What `forward_features` gives, pooled to (B, C); as it is where nothing is pooled."""
        if self.global_pool == "token":
            return x[:, 0]
        if self.global_pool == "avg":
            if self.output_fmt == "NLC":
                return x[:, self.num_prefix_tokens :].mean(1)
            return x.mean((1, 2) if self.output_fmt == "NHWC" else (2, 3))
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits (B, num_classes) of what `forward_features` gives.

        Args:
            x: All that comes after the final norm.
            pre_logits: Whether to return what the head is given, (B, C).
        """
        x = self.before_head(self.pool(x))
        if self.drop_rate:
            x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.get_classifier()(x)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images: (B, in_chans, S, S) to (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    # -- heads ---------------------------------------------------------------------------------------------------------

    def get_classifier(self) -> nn.Module:
        """The head, which is `nn.Identity` where there is none."""
        return self.get_submodule(self.CLASSIFIER)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a fresh head.

        Args:
            num_classes: Number of classes; 0: there is no head, and images become features (B, C).
            global_pool: Another pooling, one of `POOLS`; None: as it is.

        Raises:
            ValueError: The network does not pool in that way.
        """
        if global_pool is not None:
            self._check_pool(global_pool)
            self.global_pool = global_pool
        self.num_classes = num_classes
        like = next(self.parameters())
        head: nn.Module = nn.Identity()
        if num_classes > 0:
            head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            self.draw_head(head)
        setattr(self, self.CLASSIFIER, head.train(self.training))

    def _check_pool(self, global_pool: str) -> None:
        if global_pool not in self.POOLS:
            raise ValueError(f"global_pool is {global_pool!r}; it must be one of {', '.join(map(repr, self.POOLS))}")

    # -- features ------------------------------------------------------------------------------------------------------

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """What groups end in, beside what `forward_features` gives.

        Args:
            x: Images, (B, in_chans, S, S).
            indices: Numbers of groups, also from the end; a number n for the last n of them; None for all.
            return_prefix_tokens: Whether to return pairs of a feature and its prefix tokens, where there are any.
            norm: Whether the final norm is applied to features: to all where they have one width, else to the last one.
            stop_early: Whether to leave out groups behind the last that is asked for.
            output_fmt: "NCHW" for maps (B, C, G, G), "NLC" for tokens (B, G * G, C).
            intermediates_only: Whether to return features alone.

        Returns:
            Features, or what `forward_features` gives and features.

        Raises:
            ValueError: There is no such group or format, or images have another size than the network takes.
        """
        self._check_size(x)
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt is {output_fmt!r}; it must be 'NCHW' or 'NLC'")
        groups = self.groups()
        taken = taken_indices(len(groups), indices)
        state, found = self.embedded(x), []
        end = max(taken) + 1 if stop_early else len(groups)
        for i in range(end):
            state = self.through(state, groups[i : i + 1])
            if i in taken:
                has_norm = norm and (self._has_one_width() or i == len(self.feature_info) - 1)
                found.append(self.map_and_prefix(self.normalised(state) if has_norm else state))
        maps: list[Any] = [one if output_fmt == "NCHW" else one.flatten(2).transpose(1, 2) for one, _ in found]
        if return_prefix_tokens and self.num_prefix_tokens:
            maps = [(one, prefix) for one, (_, prefix) in zip(maps, found, strict=True)]
        if intermediates_only:
            return maps
        is_whole = self._has_one_width() or end == len(self.feature_info)  # a norm has the width of the last group
        return self.output_of(self.normalised(state) if is_whole else state), maps

    def _has_one_width(self) -> bool:
        return len({(one["num_chs"], one["reduction"]) for one in self.feature_info}) == 1

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Take away what features do not need.

        Args:
            indices: The groups that are kept for features, as in `forward_intermediates`.
            prune_norm: Whether to take away the final norm.
            prune_head: Whether to take away the head.

        Returns:
            Numbers of those groups, from the beginning.
        """
        count = len(self.groups())
        taken = taken_indices(count, indices)
        last = max(taken)
        loses_width = last < count - 1 and not self._has_one_width()
        if last < count - 1:
            self.keep_groups(last + 1)
        if loses_width:
            self.num_features = self.head_hidden_size = self.embed_dim = self.feature_info[last]["num_chs"]
        if prune_norm or loses_width:
            self.norm = nn.Identity()
        if prune_head or loses_width:
            self.drop_before_head()
            self.reset_classifier(0, "")
        return taken

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Say whether training keeps no activations within blocks, and computes them again for gradients."""
        for module in self.modules():
            if isinstance(module, TimmNetwork | Blocks):
                module.grad_checkpointing = enable


def timm_cfg(**own: Any) -> dict[str, Any]:
    """What timm keeps of a network beside its weights: own entries, and how images are prepared."""
    return {**own, "crop_pct": 1.0, "interpolation": "bicubic", "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def taken_indices(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Numbers of groups from the beginning, as timm reads them.

    Args:
        count: How many groups there are.
        indices: Numbers, also from the end; a number n for the last n of them; None for all.

    Raises:
        ValueError: There is no such group.
    """
    asked = count if indices is None else indices
    numbers = range(-asked, 0) if isinstance(asked, int) else asked
    taken = [count + number if number < 0 else number for number in numbers]
    if not taken or not all(0 <= number < count for number in taken):
        raise ValueError(f"indices are {indices!r}, and there are {count} features, numbers 0 to {count - 1}")
    return taken
