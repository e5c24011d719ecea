"""A supernet: the largest network of a space, and all others as parts of it.

A member is the space's own model, without values of its own: it computes with the first channels, heads and units of
the largest network's tensors. So its layers are written once, without any elasticity, and what is said of members here
holds for what is extracted, trained on, and exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.hooks import is_offered_by
from raynas.models.elastic.slices import parts_for, parts_for_members, stacked_parameters
from raynas.models.outputs import PatchHead, after_stem, outputs_from
from raynas.models.protocols import InitialisedByTable
from raynas.models.step_draws import drawing_layers, draws_of
from raynas.space.architecture import Architecture
from raynas.space.build import build, builder, built
from raynas.space.search_space import SearchSpace


class Supernet:
    """The members of a space, around the network whose weights they share.

    Several members may compute in one pass, each with images of its own. What a model offers as its stem
    (`raynas.models.protocols.HasStem`), which is the same for all members, is computed once for all images, so that its
    BatchNorm sees the whole batch. Members are in training mode if the network is; branches that they drop then are
    those that it would drop.

    Args:
        space: The space whose members share weights.
        largest: The architecture of the network, of which all members are parts.
        whole: The network, with the weights; it stays its owner's.
        settings: Keywords with which the network was built, img_size and num_classes among them.
    """

    def __init__(
        self, space: SearchSpace, largest: Architecture, whole: nn.Module, settings: Mapping[str, Any]
    ) -> None:
        self.space, self.largest, self.whole, self.settings = space, largest, whole, dict(settings)
        self._stacked = stacked_parameters(whole)
        self._builder = builder(space)

    @classmethod
    def fresh(cls, space: SearchSpace, largest: Architecture | None = None, **settings: Any) -> Supernet:
        """A supernet around a network with initial weights.

        Args:
            space: The space whose members share weights.
            largest: The architecture of the network; default: the largest choices of the space.
            settings: Keywords of the model, img_size and num_classes among them.

        Raises:
            SpaceError: A choice has no largest option, or the architecture cannot be built.
        """
        architecture = largest or space.largest()
        return cls(space, architecture, build(space, architecture, **settings), settings)

    def __call__(self, images: Tensor, architectures: Sequence[Architecture], assigned: Tensor | None = None) -> Tensor:
        """Logits of images, each by one of some members.

        Args:
            images: Images (B, 3, img_size, img_size).
            architectures: The members.
            assigned: (B,) the number of each image's member; default: image i has that of i modulo their count.

        Returns:
            Logits (B, num_classes), in the order of the images.
        """
        return self.outputs(after_stem(self.whole, images), architectures, assigned)[0]

    def outputs(
        self,
        given: Tensor,
        architectures: Sequence[Architecture],
        assigned: Tensor | None = None,
        patch_head: PatchHead | None = None,
    ) -> tuple[Tensor, ...]:
        """What members give for images, each for its own.

        Args:
            given: What `after_stem` makes of the images by the network.
            architectures: The members.
            assigned: (B,) the number of each image's member; default: image i has that of i modulo their count.
            patch_head: Computes logits of patches from the tokens of each member; None: they are not asked for.

        Returns:
            What `outputs_from` returns of a model, in the order of the images.
        """
        found, order = [], []
        for _, member, own in self.members(len(given), architectures, assigned, given.device):
            part = given[own] if len(own) < len(given) else given
            found.append(outputs_from(member, part, patch_head))
            order.append(own)
        places = torch.cat(order).argsort()
        return tuple(torch.cat(parts)[places] for parts in zip(*found, strict=True))

    def members(
        self, images: int, architectures: Sequence[Architecture], assigned: Tensor | None, device: torch.device
    ) -> Iterator[tuple[Architecture, nn.Module, Tensor]]:
        """The members of a pass one after another, each with its tensors, and the rows of its images, ascending.

        Until the next one is asked for, layers draw for the images of this one. Members that are given no image are
        left out, and equal ones are one.

        Args:
            images: How many images there are, B.
            architectures: The members.
            assigned: (B,) the number of each image's member; None: image i has that of i modulo their count.
            device: The device of the images.
        """
        count = len(architectures)
        if assigned is None:  # without a GPU's being waited for
            rows = [torch.arange(i, images, count, device=device) for i in range(count)]
        else:
            rows = [torch.nonzero(assigned == i).flatten() for i in range(count)]
        of_members: dict[Architecture, list[Tensor]] = {}
        for one, own in zip(architectures, rows, strict=True):
            if len(own):
                of_members.setdefault(one, []).append(own)
        # Equal members, as a warm-up draws them, are one: many images at once take less time than few at a time.
        chosen = [(one, self.skeleton(one), torch.cat(own).sort().values) for one, own in of_members.items()]
        parts = parts_for_members(dict(_tensors(self.whole)), [_tensors(one) for _, one, _ in chosen], self._stacked)
        for (architecture, member, own), tensors in zip(chosen, parts, strict=True):
            with self.drawing_for(own):
                _give(member.train(self.whole.training), tensors)
                self._draw_as_whole(member)
                yield architecture, member, own

    @torch.no_grad()
    def predicted(
        self, given: Tensor, architecture: Architecture, patch_head: PatchHead | None = None
    ) -> tuple[Tensor, ...]:
        """What a member gives in eval mode, in which it drops nothing; the network stays in its own mode.

        Args:
            given: What `after_stem` makes of images by the network.
            architecture: The member.
            patch_head: Computes logits of patches from tokens; None: they are not asked for.

        Returns:
            What `outputs_from` returns of a model, without gradient.
        """
        member = self.skeleton(architecture).eval()
        _give(member, self._parts(member))
        return outputs_from(member, given, patch_head)

    def extract(self, architecture: Architecture) -> nn.Module:
        """The plain model of a member, with weights of its own that start as the inherited ones.

        Raises:
            SpaceError: The architecture is no part of the largest one.
        """
        model = self.skeleton(architecture)
        parts = {name: part.detach().clone() for name, part in self._parts(model).items()}
        model.load_state_dict(parts, strict=False, assign=True)
        if left := [name for name, one in model.named_buffers() if one.is_meta]:
            raise SpaceError(f"{', '.join(left)} of a member is in no checkpoint, and cannot be inherited")
        return model.train(self.whole.training)

    def check_members(self) -> None:
        """Refuse a network of which the space's largest or smallest architecture is no part.

        Raises:
            SpaceError: It is none; the message names the tensor.
        """
        for architecture in (self.space.largest(), self.space.smallest()):
            self._parts(self.skeleton(architecture))

    def _draw_as_whole(self, member: nn.Module) -> None:
        """Have a member draw by the network's own layers."""
        for name, layer in drawing_layers(self.whole).items():
            place, _, leaf = name.rpartition(".")
            with suppress(AttributeError):  # the member lacks that block
                setattr(member.get_submodule(place), leaf, layer)

    def skeleton(self, architecture: Architecture) -> nn.Module:
        """The model of a member without values, on the meta device."""
        if is_offered_by(self._builder, InitialisedByTable):  # ours, which copy blocks that they have made before
            return built(self._builder, architecture, **self.settings, device="meta")
        with torch.device("meta"):
            return built(self._builder, architecture, **self.settings)

    def _parts(self, member: nn.Module) -> dict[str, Tensor]:
        """What a member computes with, by name: views of the network's tensors where there can be ones."""
        return parts_for(dict(_tensors(self.whole)), _tensors(member), self._stacked)

    @contextmanager
    def drawing_for(self, rows: Tensor) -> Iterator[None]:
        """A context of a part of a pass, in which layers draw for some of its images."""
        draws = draws_of(self.whole) if self.whole.training else None
        if draws is None:
            yield
            return
        positions = draws.positions
        draws.begin_pass(positions[rows])
        try:
            yield
        finally:
            draws.begin_pass(positions)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers by name, those of several names under each of them."""
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def _give(skeleton: nn.Module, parts: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of parameters and buffers without values.

    `torch.func.functional_call` would put these back after each pass, and so take several times as long.
    """
    modules = dict(skeleton.named_modules(remove_duplicate=False))
    for name, part in parts.items():
        place, _, leaf = name.rpartition(".")
        delattr(modules[place], leaf)  # else only another parameter may stand there
        setattr(modules[place], leaf, part)
