"""Training a supernet: each image by one of the sub-networks that its block of the step trains, in the same weights.

With sampling sandwich (Yu 2019, arXiv 1903.05134; Yu 2020, arXiv 2003.11142), the largest sub-network learns from the
labels, and the smallest and random ones from what the largest says of their images. As published, every sub-network
sees the whole batch. Here the images of a block are divided among its sub-networks, as they are otherwise, so that a
step of n sub-networks costs one pass of each over an n-th of the images; and the largest looks at the images of the
others once more, without gradient and as it is evaluated, which drops nothing: one forward pass of (n - 1) / n of the
images on top. As in the publication, all sub-networks weigh the same: the loss is

    1 / n * labels + (n - 1) / n * logits

Letters: b images of a pass, n sub-networks of a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.hooks import offered
from raynas.models.classified import evaluated_classes
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.elastic.supernet import Supernet
from raynas.models.elastic.units import UnitOrder, orders_by_importance
from raynas.models.outputs import after_stem
from raynas.models.protocols import HasChannelUnits, HasUnits
from raynas.models.step_draws import StepContext
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.cost import cost
from raynas.space.search_space import SearchSpace
from raynas.space.uniform import uniform_of_cost
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.objectives.classification import ClassTargets
from raynas.training.objectives.distillation import logit_loss
from raynas.training.objectives.objective import (
    AUXILIARY,
    MODEL,
    Loss,
    Objective,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)
from raynas.training.objectives.token_labels import TokenLabels

_PUBLISHED_WARMUP = 30  # epochs, of 120


@objectives.register("supernet")
class SupernetClassification(Objective):
    """Cross-entropy of sub-networks' logits, with label smoothing, Mixup and CutMix: timm's, or those of patch labels.

    The network that is trained is the largest member; what no sub-network of a step uses has a gradient of zero.

    Args:
        model: The largest network, which gives logits (b, num_classes).
        space: The space whose members are trained.
        largest: The architecture of the network.
        settings: Keywords with which it was built.
        block_images: How many images of a step train sub-networks together, as those of one GPU of the source did.
        sampling: Keywords of `SubnetSampler`.
        targets: Keywords of `ClassTargets`.
        token_labels: How patches are labelled too, which members then give tokens of; None: they are not.
        uniform: A member with equal blocks whose accuracy is told beside that of the largest and the smallest; None:
            there is none.
        has_weights: Whether the network starts from trained weights, whose heads, units and channels are then put in
            order of importance first.

    Attributes:
        targets: What mixes a batch and its labels, and says the loss.
        patch_head: The head that learns labels of patches, of which members have the first channels; None: there is
            none.
    """

    name = "supernet"
    trains_members = True
    takes_token_labels = True
    uses_all_parameters = False
    fills_gradients = True
    best = BestEpoch("val_top1", higher_is_better=True)

    def __init__(
        self,
        model: nn.Module,
        *,
        space: SearchSpace,
        largest: Architecture,
        settings: Mapping[str, Any],
        block_images: int = 128,
        sampling: Mapping[str, Any],
        targets: Mapping[str, Any],
        token_labels: TokenLabels | None = None,
        uniform: Architecture | None = None,
        has_weights: bool = False,
    ) -> None:
        super().__init__(model)
        self._compared = {"smallest_top1": space.smallest(), **({} if uniform is None else {"uniform_top1": uniform})}
        self._has_weights = has_weights
        self._space, self._largest, self._settings = space, largest, settings
        self._block_images, self._sampling = block_images, dict(sampling)
        self._warmup_epochs = int(self._sampling.get("warmup_epochs", 0))
        self._is_sandwich = self._sampling.get("strategy") == "sandwich"
        self.targets: Any = token_labels or ClassTargets(**targets)
        self.patch_head = None if token_labels is None else token_labels.head(model)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective."""
        config = setup.config
        setup.refuse_teacher(cls.name)
        if config.val_data is not None:
            raise ConfigError(
                f"val_data is {config.val_data!r}: the members of a supernet are compared on images that are held out "
                "of those to train on, so that others can be kept for the end"
            )
        if config.retokenize is not None:
            raise ConfigError("the members of a supernet are not re-tokenized: leave retokenize out")
        check_members(setup)
        sampling = sampling_of(setup)
        warmup = sampling["warmup_epochs"]
        sampler = SubnetSampler(setup.space, config.seed, **sampling)
        tokens = TokenLabels.of(setup)
        uniform = _uniform_between(setup)
        return PreparedObjective(
            kind=cls,
            make=partial(
                cls,
                space=setup.space,
                largest=setup.architecture,
                settings=setup.model_settings,
                block_images=config.block_images,
                sampling=sampling,
                targets=ClassTargets.settings(config),
                token_labels=tokens,
                uniform=uniform,
                has_weights=config.weights is not None,
            ),
            resolved={"choice_warmup_epochs": warmup, **({} if tokens is None else tokens.resolved)},
            identity={
                "label_smoothing": config.label_smoothing,
                "block_images": config.block_images,
                **sampling,
                "shared": list(config.shared_choices),
                **({} if tokens is None else {"token_labels": True}),
            },
            description={
                "supernet": {
                    "largest": setup.space.text(setup.architecture),
                    "smallest": setup.space.text(setup.space.smallest()),
                    "uniform": uniform and setup.space.text(uniform),
                    "in_play": [list(phase) for phase in phases_of(sampler, config.epochs)],
                }
            },
            phases=phases_of(sampler, config.epochs),
        )

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {"model": MODEL, **({} if self.patch_head is None else {"patch_head": AUXILIARY})}

    @property
    def columns(self) -> tuple[str, ...]:
        """Where patches are labelled, `class_loss` and `patch_loss`, of what learns labels.

        With sampling sandwich `logit_loss`, of what learns from the largest, after those, or after `task_loss`.
        """
        columns = tuple(self.targets.columns)
        return (*(columns or ("task_loss",)), "logit_loss") if self._is_sandwich else columns

    @property
    def evaluation_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Loss and accuracy of the largest member, and the accuracies of those that are compared with it."""
        return ("loss", "top1", *self._compared)

    def unit_orders(self, epoch: int) -> Sequence[UnitOrder]:
        """The most important heads and units come first, as long as the warm-up lasts; channels in trained weights."""
        is_start = not epoch and self._has_weights
        if not is_start and not 0 < epoch <= self._warmup_epochs:
            return ()
        within, channels = offered(self.model, HasUnits), offered(self.model, HasChannelUnits)
        units = [*(within.units() if within else ()), *(channels.channel_units() if channels and is_start else ())]
        return [order._replace(name=f"model.{order.name}") for order in orders_by_importance(self.model, units)]

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        images, targets = self.targets.mixed(batch, self.context)
        sampler = SubnetSampler(self._space, self.context.seed, **self._sampling)
        members, assigned = drawn_members(sampler, self.context, batch.positions, self._block_images)
        supernet = self._supernet(self.model)
        given = after_stem(self.model, images)
        outputs = supernet.outputs(given, members, assigned, self.patch_head)
        if not self._is_sandwich:
            loss: Loss = self.targets.loss(outputs, targets)
            return loss
        largest = batch.positions % self._sampling["per_block"] == 0
        rows = torch.nonzero(~largest).flatten()
        taught = supernet.predicted(given[rows], self._space.largest(), self.patch_head) if len(rows) else ()
        return self._of_sandwich(outputs, targets, largest, taught)

    def _of_sandwich(
        self,
        outputs: tuple[torch.Tensor, ...],
        targets: torch.Tensor | tuple[torch.Tensor, ...],
        largest: torch.Tensor,
        taught: tuple[torch.Tensor, ...],
    ) -> Loss:
        """The loss of a pass, whose terms are means over all images of their kind in the step, or a part of them.

        Args:
            outputs: Logits of the images (b, ...), and of their patches if these are labelled.
            targets: What they are compared with by labels.
            largest: (b,) whether an image is the largest sub-network's.
            taught: What the largest gives for the others' images.
        """
        terms = {name: outputs[0].new_zeros(()) for name in self.columns}
        total = outputs[0].new_zeros((), dtype=torch.float32)
        count = self._sampling["per_block"]
        if num := int(largest.sum()):
            own = targets[largest] if isinstance(targets, torch.Tensor) else tuple(one[largest] for one in targets)
            labels: Loss = self.targets.loss(tuple(one[largest] for one in outputs), own)
            share = num / len(largest)
            total = total + share * labels.total
            for name, term in (labels.terms or {"task_loss": labels.total.detach()}).items():
                terms[name] = count * share * term
        if taught:
            drawn = torch.stack(
                [
                    logit_loss(one[~largest].flatten(0, -2), by.flatten(0, -2), temperature=1.0, targets="soft")
                    for one, by in zip(outputs, taught, strict=True)
                ]
            ).sum()
            share = 1 - num / len(largest)
            total = total + share * drawn
            terms["logit_loss"] = count / (count - 1) * share * drawn.detach()
        return Loss(total, terms)

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        assert batch.labels is not None
        found = evaluated_classes(model(batch.images), batch.labels)
        for name, member in self._compared.items():
            logits = self._supernet(model)(batch.images, [member])
            found[name] = evaluated_classes(logits, batch.labels)["top1"]
        return found

    def _supernet(self, network: nn.Module) -> Supernet:
        return Supernet(self._space, self._largest, network, self._settings)


def drawn_members(
    sampler: SubnetSampler, context: StepContext, positions: torch.Tensor, block_images: int
) -> tuple[list[Architecture], torch.Tensor]:
    """The members that a pass trains, and (b,) the number of each image's among them.

    Args:
        sampler: Draws the members of each block of images.
        context: The place of the step in the training.
        positions: (b,) places of the images in the step.
        block_images: How many images a block has.
    """
    blocks = torch.div(positions, block_images, rounding_mode="floor")
    assigned = torch.zeros_like(positions)
    members: list[Architecture] = []
    for block in sorted(set(blocks.tolist())):
        drawn = sampler.drawn(context.epoch, context.number, block)
        own = blocks == block
        assigned[own] = len(members) + positions[own] % len(drawn)
        members += drawn
    return members, assigned


def sampling_of(setup: Setup) -> dict[str, Any]:
    """The keywords of `SubnetSampler` that a configuration asks for, which the images of a block can be divided by.

    Raises:
        ConfigError: They cannot, or settings of sampling do not go together.
    """
    config = setup.config
    warmup = config.choice_warmup_epochs
    if warmup is None:
        warmup = 0 if config.sampling == "sandwich" else min(_PUBLISHED_WARMUP, config.epochs // 4)
    sampling: dict[str, Any] = {
        "strategy": config.sampling,
        "per_block": config.subnets,
        "warmup_epochs": warmup,
        "shared": config.shared_choices,
    }
    SubnetSampler(setup.space, config.seed, **sampling)
    for images in {min(config.block_images, config.batch_size), config.batch_size % config.block_images}:
        if images % config.subnets:
            raise ConfigError(
                f"subnets is {config.subnets}, but a block of {images} images cannot be divided by it: batch_size "
                f"is {config.batch_size} and block_images {config.block_images}"
            )
    return sampling


def check_members(setup: Setup) -> None:
    """Refuse an architecture of which the members of the space are no parts.

    Raises:
        SpaceError: It is none; the message names the tensor.
    """
    with torch.device("meta"):
        whole = build(setup.space, setup.architecture, **setup.model_settings)
    Supernet(setup.space, setup.architecture, whole, setup.model_settings).check_members()


def _uniform_between(setup: Setup) -> Architecture | None:
    """The uniform member whose multiply-adds are halfway between those of the smallest and the largest; None if none.

    Args:
        setup: What the objective is prepared from.
    """
    if setup.space.uniform is None:
        return None
    size = {name: setup.model_settings[name] for name in ("img_size", "num_classes")}
    ends = [cost(setup.space, one, "macs", **size) for one in (setup.space.smallest(), setup.space.largest())]
    return uniform_of_cost(setup.space, "macs", sum(ends) / 2, **size)


def phases_of(sampler: SubnetSampler, epochs: int) -> tuple[tuple[int, str], ...]:
    """The epochs from which on other choices are in play, with these in words."""
    found: list[tuple[int, str]] = []
    for epoch in range(epochs):
        words = sampler.in_play(epoch)
        if not found or found[-1][1] != words:
            found.append((epoch, words))
    return tuple(found)
