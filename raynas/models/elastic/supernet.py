"""A supernet: the largest network of a space, and all others as parts of it.

A member is the space's own model, without values of its own: it computes with the first channels, heads and units of
the largest network's tensors. So its layers are written once, without any elasticity, and what is said of members here
holds for what is extracted, trained on, and exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from raynas.errors import SpaceError
from raynas.hooks import offered
from raynas.models.elastic.slices import parts_for, stacked_parameters
from raynas.models.protocols import HasStem
from raynas.models.step_draws import StepDraws, drawing_layers
from raynas.space.architecture import Architecture
from raynas.space.build import build, builder, built
from raynas.space.search_space import SearchSpace


class Supernet(nn.Module):
    """The weights that all members of a space share.

    Several members may compute in one pass, each with images of its own. What a model offers as its stem
    (`raynas.models.protocols.HasStem`), which is the same for all members, is computed once for all images, so that its
    BatchNorm sees the whole batch. Branches that members drop in training are those that the largest one would.

    Args:
        space: The space whose members share weights.
        largest: The member that holds all of them; default: the largest choices of the space.
        img_size: Side of the images in pixels.
        num_classes: Number of classes.
        settings: Settings of the model family's own, such as drop_path_rate.

    Raises:
        SpaceError: A choice has no largest option, or an architecture cannot be built.
    """

    def __init__(
        self,
        space: SearchSpace,
        largest: Architecture | None = None,
        *,
        img_size: int,
        num_classes: int,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.space = space
        self.largest = largest or space.largest()
        self.settings = {"img_size": img_size, "num_classes": num_classes, **settings}
        self.whole = build(space, self.largest, **self.settings)
        self._stacked = stacked_parameters(self.whole)
        self._builder = builder(space)
        self._draws: StepDraws | None = None
        self._drawing: dict[str, nn.Module] = {}

    def forward(
        self, images: Tensor, architectures: Sequence[Architecture] | None = None, assigned: Tensor | None = None
    ) -> Tensor:
        """Logits of images, each by one of some members.

        Args:
            images: Images (B, 3, img_size, img_size).
            architectures: The members; default: the largest one.
            assigned: (B,) the number of each image's member; default: image i has that of i modulo their count.

        Returns:
            Logits (B, num_classes), in the order of the images.
        """
        members = [self.largest] if architectures is None else list(architectures)
        numbers = torch.arange(len(images), device=images.device) % len(members) if assigned is None else assigned
        stem = offered(self.whole, HasStem)
        given = images if stem is None else stem.stem_features(images)
        rows = [torch.nonzero(numbers == i).flatten() for i in range(len(members))]
        logits = []
        for member, own in zip(members, rows, strict=True):
            if len(own):
                with self._drawing_for(own):
                    logits.append(self._of_member(member, given[own] if len(own) < len(given) else given))
        back = torch.cat(rows).argsort()
        return torch.cat(logits)[back]

    def take_draws(self, draws: StepDraws, place: str) -> None:
        """Keep the source of random draws of a training; see `raynas.models.step_draws`."""
        self._draws, self._drawing = draws, drawing_layers(self.whole)

    @contextmanager
    def _drawing_for(self, rows: Tensor) -> Iterator[None]:
        """A context of a part of a pass, in which layers draw for some of its images."""
        if self._draws is None or not self.training:
            yield
            return
        positions = self._draws.positions
        self._draws.begin_pass(positions[rows])
        try:
            yield
        finally:
            self._draws.begin_pass(positions)

    def parts(self, architecture: Architecture) -> dict[str, Tensor]:
        """Parameters and buffers of a member, by name: views of the largest network's where there can be ones."""
        return self._parts(self._skeleton(architecture))

    def extract(self, architecture: Architecture) -> nn.Module:
        """The plain model of a member, with weights of its own that start as the inherited ones.

        Raises:
            SpaceError: The architecture is no part of the largest one.
        """
        model = self._skeleton(architecture)
        parts = {name: part.detach().clone() for name, part in self._parts(model).items()}
        model.load_state_dict(parts, strict=False, assign=True)
        if left := [name for name, one in model.named_buffers() if one.is_meta]:
            raise SpaceError(f"{', '.join(left)} of a member is in no checkpoint, and cannot be inherited")
        return model.train(self.training)

    def _of_member(self, architecture: Architecture, given: Tensor) -> Tensor:
        """Logits of images, or of what the stem makes of them."""
        member = self._skeleton(architecture).train(self.training)
        parts = self._parts(member)
        if offered(self.whole, HasStem) is not None:
            parts = {f"member.{name}": part for name, part in parts.items()}
            member = _BehindStem(member)
        logits: Tensor = functional_call(member, parts, (given,))
        return logits

    def _skeleton(self, architecture: Architecture) -> nn.Module:
        """The member's model on the meta device."""
        with torch.device("meta"):
            member = built(self._builder, architecture, **self.settings)
        for name, layer in self._drawing.items():
            place, _, leaf = name.rpartition(".")
            with suppress(AttributeError):  # the member lacks that block
                setattr(member.get_submodule(place), leaf, layer)
        return member

    def _parts(self, member: nn.Module) -> dict[str, Tensor]:
        tensors = {**dict(self.whole.named_parameters()), **dict(self.whole.named_buffers())}
        return parts_for(tensors, [*member.named_parameters(), *member.named_buffers()], self._stacked)


class _BehindStem(nn.Module):
    """What a model does after its stem."""

    def __init__(self, member: nn.Module) -> None:
        super().__init__()
        self.member = member

    def forward(self, features: Tensor) -> Tensor:
        """Logits of what the stem gives."""
        logits: Tensor = self.member.forward_from_stem(features)  # type: ignore[operator]
        return logits
