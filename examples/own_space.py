"""A space of one's own: ConvNets of a width and a depth.

raynas search examples/own_space.py:convnets --objective synflow --constraint "num_params<=1e5" --img-size 32
raynas train examples/own_space.py:convnets --architecture '{"width": 32, "depth": 2, "kernel": [3, 5]}' --data digits
"""

from torch import nn

from raynas import Choice, PerLayer, SearchSpace
from raynas.models.roles import Roles


class ConvNet(nn.Sequential):
    """Convolutions, then a linear layer."""

    def roles(self):
        """Which layer gives out logits, for proxies that ask for features."""
        return Roles(head=(self[-1],))


def convnet(architecture, *, img_size, num_classes):
    """Convolutions with BatchNorm and ReLU, then a linear layer: (B, 3, img_size, img_size) to (B, num_classes)."""
    layers, channels, width = [], 3, architecture["width"]
    for kernel in architecture["kernel"]:
        layers += [nn.Conv2d(channels, width, kernel, 2, kernel // 2), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return ConvNet(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


convnets = SearchSpace(
    name="convnets",
    fields={"width": Choice(16, 32, 64), "depth": Choice(2, 3, 4), "kernel": PerLayer(Choice(3, 5))},
    model=convnet,
    search_img_size=32,
)
