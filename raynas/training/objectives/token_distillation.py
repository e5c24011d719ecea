"""Distillation without labels: tokens of an intermediate block of a teacher, and how they relate to each other.

TinyMIM (Ren 2023, arXiv 2301.01296) found that small networks learn more from a middle block of a pre-trained teacher
than from its last one, and from relations between tokens than from the tokens. Its relations are those of queries and
keys and of values, in as many heads as the teacher has; decided here, so that any network can learn from any other:
relations are those of the tokens themselves, in the teacher's heads where it has any,

    R = softmax(x_h x_h^T / sqrt(d))  over the tokens, for each head h of d channels,

of the teacher's tokens, each normalised to mean 0 and variance 1, and of the student's through a linear layer that is
trained beside it. Both grids are resized (bilinear) to the larger one. The loss is

    token_weight * mean squared difference + relation_weight * (cross-entropy of relations less the teacher's entropy)

Letters: b images, N tokens of the grid, C channels of the teacher, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.models.feature_maps import feature_widths, resized_to_larger, with_feature_maps
from raynas.models.roles import roles_of
from raynas.models.teachers import FrozenTeacher, Teacher
from raynas.space.build import builder, built
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.objectives.objective import (
    AUXILIARY,
    FROZEN,
    MODEL,
    Loss,
    Objective,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)
from raynas.training.teachers import read_teacher

_CHANNELS_PER_HEAD = 64


def normalised_tokens(maps: torch.Tensor) -> torch.Tensor:
    """Tokens of feature maps, each of mean 0 and variance 1 over its channels: (b, C, h, w) to (b, h * w, C)."""
    return F.layer_norm(maps.float().flatten(2).mT, (maps.shape[1],))


def relations(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """Logarithms of how much each token relates to all, (b, N, C) to (b, H, N, N)."""
    by_head = tokens.reshape(*tokens.shape[:2], heads, -1).transpose(1, 2)
    products: torch.Tensor = (by_head * by_head.shape[-1] ** -0.5) @ by_head.mT
    return products.log_softmax(-1)


@objectives.register("tiny-mim")
class TokenDistillation(Objective):
    """Tokens of the network's last block are drawn to those of a block of a frozen teacher.

    Args:
        model: The network.
        teacher: The network that it learns from.
        block: The teacher's block, from 0.
        widths: Channels of the last block's feature map, and of the teacher's.
        heads: How many heads relations have.
        token_weight, relation_weight: Weights of both terms.

    Attributes:
        teacher: The teacher at work, always in eval mode and without gradients.
        adapter: Takes the network's channels to the teacher's.
    """

    name = "tiny-mim"
    needs_labels = False
    uses_all_parameters = False  # of what stands between the last block and the head of some ConvNets
    settings: ClassVar[tuple[str, ...]] = ("teacher_block", "token_weight", "relation_weight")
    probes_features = True
    evaluation_columns = ("loss",)
    best = BestEpoch("val_loss", higher_is_better=False)

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher,
        *,
        block: int,
        widths: tuple[int, int],
        heads: int,
        token_weight: float,
        relation_weight: float,
    ) -> None:
        super().__init__(model)
        device = next(model.parameters()).device
        self.teacher = FrozenTeacher(teacher, device)
        self.adapter = nn.Conv2d(*widths, kernel_size=1, device=device)
        # What comes after the last block is no part of it.
        roles = roles_of(model)
        for module in (*roles.head, *roles.final_norms):
            module.requires_grad_(False)
        self._block, self._heads = block, heads
        self._token_weight, self._relation_weight = token_weight, relation_weight

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; reads the teacher, and finds its block where none is named."""
        config = setup.config
        if config.teacher is None:
            raise ConfigError("tiny-mim learns from a teacher: --teacher names a training's folder, or timm:NAME:FILE")
        if not (config.token_weight or config.relation_weight):
            raise ConfigError("token_weight and relation_weight are both 0: nothing would be learned from the teacher")
        teacher = read_teacher(config.teacher)
        # Not on the meta device, on which some of timm's models cannot be built.
        with torch.random.fork_rng(devices=[]):
            student = built(builder(setup.space), setup.architecture, **setup.model_settings)
        own, others = (
            _widths(model, size, name)
            for model, size, name in (
                (student, config.img_size, f"the space {setup.space.name!r}"),
                (FrozenTeacher(teacher, torch.device("cpu")).model, teacher.img_size, f"the teacher {teacher.name}"),
            )
        )
        block = len(others) * 3 // 4 - 1 if config.teacher_block is None else config.teacher_block
        block = max(0, block)
        if block >= len(others):
            raise ConfigError(f"teacher_block is {block}; {teacher.name} has {len(others)} blocks, counted from 0")
        heads = max(1, others[block] // _CHANNELS_PER_HEAD)
        while others[block] % heads:
            heads -= 1
        config = config.resolved(teacher_block=block)
        return PreparedObjective(
            kind=cls,
            make=partial(
                cls,
                teacher=teacher,
                block=block,
                widths=(own[-1], others[block]),
                heads=heads,
                token_weight=config.token_weight,
                relation_weight=config.relation_weight,
            ),
            resolved={"teacher_block": block},
            identity={"teacher": teacher.label, **{name: getattr(config, name) for name in cls.settings}},
            description={"teacher": teacher.description()},
        )

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {"model": MODEL, "teacher": FROZEN, "adapter": AUXILIARY}

    @property
    def columns(self) -> tuple[str, ...]:
        """The differences of tokens and of relations, before they are weighted."""
        return ("token_loss", "relation_loss")

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        return self._compared(self.model, batch)

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        return {"loss": self._compared(model, batch).total * len(batch)}

    def features(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean over the grid of the last block's feature map."""
        return _last_map(model, batch.images).mean((2, 3))

    def _compared(self, model: nn.Module, batch: Batch) -> Loss:
        taught = self.teacher(batch.images, (self._block,))[1][0]
        student, taught = resized_to_larger(self.adapter(_last_map(model, batch.images)), taught)
        own, aim = student.float().flatten(2).mT, normalised_tokens(taught)
        tokens = F.mse_loss(own, aim)
        own_relations, aims = relations(own, self._heads), relations(aim, self._heads)
        difference = F.kl_div(own_relations, aims, reduction="none", log_target=True).sum(-1).mean()
        total = self._token_weight * tokens + self._relation_weight * difference
        return Loss(total, {"token_loss": tokens.detach(), "relation_loss": difference.detach()})


def _last_map(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The feature map (b, C, h, w) of a network's last block."""
    return with_feature_maps(model, images, [roles_of(model).blocks[-1]])[1][0]


def _widths(model: nn.Module, img_size: int, name: str) -> list[int]:
    """Channels of the feature map of each block of a network."""
    try:
        widths = feature_widths(model, img_size)
    except ValueError as error:
        raise ConfigError(f"{name} has no feature maps: {error}") from None
    if not widths:
        raise ConfigError(f"{name} does not say where its blocks are, whose tokens tiny-mim compares")
    return widths
