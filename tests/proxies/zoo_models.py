"""Small networks on which the definitions of zero-cost proxies can be worked out one image and one layer at a time."""

from itertools import pairwise

import torch
from torch import nn

from raynas.models.roles import Block, Roles
from raynas.proxies.probe import Probe
from raynas.space.architecture import Architecture

NONE = Architecture({})
CLASSES = 3


class Mixer(nn.Module):
    """Convolution to tokens, one square layer in the role of attention, one in that of an MLP, and a head."""

    def __init__(self, width: int = 6, act: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.act = act or nn.GELU()
        self.head = nn.Linear(width, CLASSES)

    def roles(self) -> Roles:
        return Roles(attention=(self.first,), mlp=(self.second,), head=(self.head,), blocks=(Block(self.second),))

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(images).flatten(2).mT
        tokens = tokens + self.first(self.norm(tokens))
        return self.second(self.act(tokens)).mean(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled_features(images))


class ReluMlp(nn.Module):
    """Positively homogeneous: linear layers without bias, with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in pairwise(widths))
        self.act = nn.ReLU()

    def roles(self) -> Roles:
        return Roles(head=(self.layers[-1],))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(1)
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


def probe_of(model: nn.Module, *, n: int = 8, img_size: int = 4, seed: int = 0, **settings) -> Probe:
    """A probe in float64 with frozen weights, n images and their labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, img_size, img_size, dtype=torch.float64, generator=generator)
    given = {"images": images, "labels": torch.arange(n) % CLASSES, **settings}
    return Probe(NONE, model.double().eval().requires_grad_(False), img_size=img_size, **given)


def drawn(make, seed: int = 0) -> nn.Module:
    """A model under a seed."""
    torch.manual_seed(seed)
    return make()
