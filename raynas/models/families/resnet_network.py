"""ResNets for small images (He 2015, arXiv 1512.03385, section 4.2): three stages of basic blocks.

Where the width grows, shortcuts are the identity at every other pixel, with zeros for the new channels (the paper's
option A), so that they have no parameters.

Tensor letters: B images, C channels, S image side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.checkpointing import Blocks
from raynas.models.layers import make_drop_path
from raynas.models.timm_network import TimmNetwork


class BasicBlock(nn.Module):
    """Two convolutions, each with its BatchNorm, and a shortcut around both.

    Args:
        before: Number of channels of the input.
        width: Number of channels of the output, at least as many.
        stride: Step in pixels of the first convolution and of the shortcut.
        drop_path: Probability in training that an image takes the shortcut alone.
    """

    def __init__(self, before: int, width: int, stride: int, drop_path: float = 0.0, **factory: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(width, **factory)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False, **factory)
        self.bn2 = nn.BatchNorm2d(width, **factory)
        self.drop_path = make_drop_path(drop_path)
        self.act = nn.ReLU()
        self.stride = stride
        self.new_channels = width - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, S, S) to (B, width, S / stride, S / stride), rounded up."""
        y = self.drop_path(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        z: torch.Tensor = self.act(x + y)
        return z


class ResNetNetwork(TimmNetwork):
    """A ResNet for images of about 32 pixels, of any side; weights are He's normal ones, biases 0.

    Args:
        depth: Number of layers with weights, 6 n + 2 for n blocks a stage.
        width: Number of channels of stage 1; stages 2 and 3 have twice and four times as many.
        num_classes: Number of classes, which is the number of the head's outputs; 0: there is no head.
        in_chans: Number of channels of the images.
        img_size: Side of the images in pixels that timm is told, or their height and width; images of any size can be
            classified.
        global_pool: What the head is given: the mean over the pixels ("avg"), or nothing is pooled ("").
        drop_rate: Probability in training that a feature is dropped before the head.
        drop_path_rate: Probability in training that the last block is dropped; it grows linearly from 0.
        device, dtype: Device and type of the parameters. On the meta device they get no values.
    """

    FIRST_CONV = "conv1"
    CLASSIFIER = "fc"
    POOLS = ("avg", "")
    output_fmt = "NCHW"

    def __init__(
        self,
        depth: int,
        width: int,
        *,
        num_classes: int,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 32,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, **factory)
        self.bn1 = nn.BatchNorm2d(width, **factory)
        self.act = nn.ReLU()
        stages = []
        before = width
        for stage in range(3):
            after, stride = width << stage, 1 if stage == 0 else 2
            built = []
            for i in range(blocks):
                rate = drop_path_rate * (stage * blocks + i) / max(1, 3 * blocks - 1)
                built.append(BasicBlock(before, after, stride if i == 0 else 1, rate, **factory))
                before = after
            stages.append(Blocks(*built))
        self.stages = nn.Sequential(*stages)
        self.fc: nn.Module = nn.Identity()
        if num_classes:
            self.fc = nn.Linear(before, num_classes, **factory)
        self.describe(
            [(f"stages.{i}", width << i, 1 << i) for i in range(3)],
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate,
            img_size=img_size, fixed_input_size=False,
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(self.fc, nn.Linear):
            self.draw_head(self.fc)

    def embedded(self, images: torch.Tensor) -> torch.Tensor:
        """What stage 1 takes: (B, in_chans, S, S) to (B, width, S, S)."""
        x: torch.Tensor = self.act(self.bn1(self.conv1(images)))
        return x

    def groups(self) -> list[list[nn.Module]]:
        """Each stage."""
        return [[stage] for stage in self.stages]

    def keep_groups(self, count: int) -> None:
        """Drop all stages but the first ones."""
        self.stages = self.stages[:count]

    def normalised(self, state: torch.Tensor) -> torch.Tensor:
        """The same: there is no norm at the end."""
        return state

    def draw_head(self, head: nn.Linear) -> None:
        """Draw a fresh head."""
        nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
        nn.init.zeros_(head.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of names by which timm groups parameters by depth."""
        return {"stem": r"^(?:conv1|bn1)", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}
