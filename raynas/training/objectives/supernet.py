"""Training a supernet: each image by one of the sub-networks that its block of the step trains, in the same weights."""

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
from raynas.models.protocols import HasUnits
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.search_space import SearchSpace
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.objectives.classification import ClassTargets
from raynas.training.objectives.objective import Loss, Objective, PreparedObjective, Setup, objectives

_PUBLISHED_WARMUP = 30  # epochs, of 120


@objectives.register("supernet")
class SupernetClassification(Objective):
    """Cross-entropy of sub-networks' logits, with label smoothing, Mixup and CutMix (timm's).

    The network that is trained is the largest member; what no sub-network of a step uses has a gradient of zero.

    Args:
        model: The largest network, which gives logits (b, num_classes).
        space: The space whose members are trained.
        largest: The architecture of the network.
        settings: Keywords with which it was built.
        block_images: How many images of a step train sub-networks together, as those of one GPU of the source did.
        sampling: Keywords of `SubnetSampler`.
        targets: Keywords of `ClassTargets`.
    """

    name = "supernet"
    uses_all_parameters = False
    fills_gradients = True
    evaluation_columns = ("loss", "top1", "smallest_top1")
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
    ) -> None:
        super().__init__(model)
        self._space, self._largest, self._settings = space, largest, settings
        self._block_images, self._sampling = block_images, dict(sampling)
        self._warmup_epochs = int(self._sampling.get("warmup_epochs", 0))
        self.targets = ClassTargets(**targets)

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
        with torch.device("meta"):
            whole = build(setup.space, setup.architecture, **setup.model_settings)
        Supernet(setup.space, setup.architecture, whole, setup.model_settings).check_members()
        warmup = config.choice_warmup_epochs
        warmup = min(_PUBLISHED_WARMUP, config.epochs // 4) if warmup is None else warmup
        sampling: dict[str, Any] = {
            "strategy": config.sampling,
            "per_block": config.subnets,
            "warmup_epochs": warmup,
            "shared": config.shared_choices,
        }
        SubnetSampler(setup.space, config.seed, **sampling)  # checks them
        for images in {min(config.block_images, config.batch_size), config.batch_size % config.block_images}:
            if images % config.subnets:
                raise ConfigError(
                    f"subnets is {config.subnets}, but a block of {images} images cannot be divided by it: batch_size "
                    f"is {config.batch_size} and block_images {config.block_images}"
                )
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
            ),
            resolved={"choice_warmup_epochs": warmup},
            identity={
                "label_smoothing": config.label_smoothing,
                "block_images": config.block_images,
                **sampling,
                "shared": list(config.shared_choices),
            },
        )

    def unit_orders(self, epoch: int) -> Sequence[UnitOrder]:
        """The most important heads and units come first, as long as the warm-up lasts."""
        sorts = offered(self.model, HasUnits)
        if sorts is None or not epoch or epoch > self._warmup_epochs:
            return ()
        orders = orders_by_importance(self.model, sorts.units())
        return [order._replace(name=f"model.{order.name}") for order in orders]

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        images, targets = self.targets.mixed(batch, self.context)
        sampler = SubnetSampler(self._space, self.context.seed, **self._sampling)
        blocks = torch.div(batch.positions, self._block_images, rounding_mode="floor")
        assigned = torch.zeros_like(batch.positions)
        members: list[Architecture] = []
        for block in sorted(set(blocks.tolist())):
            drawn = sampler.drawn(self.context.epoch, self.context.number, block)
            own = blocks == block
            assigned[own] = len(members) + batch.positions[own] % len(drawn)
            members += drawn
        logits = self._supernet(self.model)(images, members, assigned)
        return Loss(self.targets.cross_entropy(logits, targets))

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        assert batch.labels is not None
        smallest = self._supernet(model)(batch.images, [self._space.smallest()])
        found = evaluated_classes(model(batch.images), batch.labels)
        return {**found, "smallest_top1": evaluated_classes(smallest, batch.labels)["top1"]}

    def _supernet(self, network: nn.Module) -> Supernet:
        return Supernet(self._space, self._largest, network, self._settings)
