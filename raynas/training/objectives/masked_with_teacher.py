"""Masked autoencoders whose attention follows that of a frozen teacher on the same patches.

`d-mae` (Wang 2022, arXiv 2205.14443) draws the network's attention before its softmax towards the teacher's, through a
convolution over heads that is trained beside it; `d2-mae` (arXiv 2404.12210) does so behind the last block, in one of
which only the queries and keys count, while it reconstructs from an earlier block. The loss is

    reconstruction + attention_weight * (sum over compared blocks of mean squared differences)

Decided here: the last blocks of student and teacher are compared, whatever their depths; d2-mae reconstructs after two
thirds of the blocks, which are the published 8 of 12.

Letters: b images of a pass, P prefix tokens, n patches that are kept, N = P + n, C channels, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.models.attention_maps import TokenNetwork, looked_at, through_noting
from raynas.models.layers import LayerNorm, Linear
from raynas.models.masked_decoder import draw_as_mae
from raynas.models.masking import Masking, kept_tokens
from raynas.models.pre_norm import NORM_EPS
from raynas.models.teachers import FrozenTeacher, Teacher, parse_pairs
from raynas.models.token_stages import TokenStages
from raynas.training.batch import Batch
from raynas.training.objectives.masked import MASKING, MaskedAutoencoder, Reconstruction, look_at_student
from raynas.training.objectives.objective import (
    AUXILIARY,
    FROZEN,
    Loss,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)
from raynas.training.teachers import read_teacher


class WithTeacher(MaskedAutoencoder):
    """A masked autoencoder whose attention is drawn to that of a frozen teacher on the same patches.

    Args:
        model: The network.
        reconstruction: What is hidden, and how it is predicted.
        teacher: The network whose attention is followed.
        heads: Numbers of heads of student and teacher of each comparison.
        blocks: Blocks of the teacher that are compared with, from 0, ascending.
        weight: Weight of the sum of comparisons.
        signal: "logits" before the softmax, or "softmax" after it.

    Attributes:
        teacher: The teacher at work, always in eval mode and without gradients.
        adapters: Convolutions over heads, from the student's to the teacher's, one for each comparison.
    """

    def __init__(
        self,
        model: nn.Module,
        reconstruction: Reconstruction,
        *,
        teacher: Teacher,
        heads: Sequence[tuple[int, int]],
        blocks: Sequence[int],
        weight: float,
        signal: Literal["logits", "softmax"],
    ) -> None:
        super().__init__(model, reconstruction)
        device = next(model.parameters()).device
        self.teacher = FrozenTeacher(teacher, device)
        self.adapters = nn.ModuleList(nn.Conv2d(*pair, kernel_size=1, bias=False, device=device) for pair in heads)
        self._teacher_blocks = tuple(blocks)
        self._weight = weight
        self._signal = signal

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {**super().parts(), "teacher": FROZEN, "adapters": AUXILIARY}

    @property
    def columns(self) -> tuple[str, ...]:
        """The error of hidden patches, and the difference of attention before it is weighted."""
        return ("reconstruction_loss", "attention_loss")

    def _joined(
        self, reconstruction: torch.Tensor, students: Sequence[torch.Tensor], batch: Batch, masking: Masking
    ) -> Loss:
        """The loss of both terms.

        Args:
            reconstruction: The error of hidden patches.
            students: The student's attention (b, H, N, N) of each comparison, before the softmax.
            batch: The images.
            masking: What is hidden of them.
        """
        teachers = self._attention_of_teacher(batch.images, masking)
        compared = [
            F.mse_loss(adapter(self._seen(student)).float(), self._seen(teacher).float())
            for adapter, student, teacher in zip(self.adapters, students, teachers, strict=True)
        ]
        attention = torch.stack(compared).sum()
        terms = {"reconstruction_loss": reconstruction.detach(), "attention_loss": attention.detach()}
        return Loss(reconstruction + self._weight * attention, terms)

    def _seen(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1) if self._signal == "softmax" else logits

    @torch.no_grad()
    def _attention_of_teacher(self, images: torch.Tensor, masking: Masking) -> list[torch.Tensor]:
        stages = TokenStages(self.teacher.model)
        kept = kept_tokens(stages.embedded(self.teacher.prepared(images)), masking, stages.prefix)
        return through_noting(stages, kept, self._teacher_blocks)[1]


@objectives.register("d-mae")
class DistilledMaskedAutoencoder(WithTeacher):
    """A masked autoencoder whose own blocks follow the attention of a teacher's.

    Args:
        model: The network.
        reconstruction: What is hidden, and how it is predicted.
        own_blocks: Blocks of the network that are compared, from 0, ascending, one for each of the teacher's.
        settings: Further keywords of `WithTeacher`.
    """

    name = "d-mae"
    settings: ClassVar[tuple[str, ...]] = (*MASKING, "attention_weight", "attention_pairs", "attention_signal")

    def __init__(
        self, model: nn.Module, reconstruction: Reconstruction, *, own_blocks: Sequence[int], **settings: Any
    ) -> None:
        super().__init__(model, reconstruction, **settings)
        self._own_blocks = tuple(own_blocks)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; reads the teacher, which is to have the student's grid of patches."""
        student = look_at_student(setup)
        reconstruction = Reconstruction.of(setup.config, student)
        teacher, taught = _read_teacher(setup, cls.name, student.side)
        text = setup.config.attention_pairs
        pairs = sorted(parse_pairs(text)) if text else [(student.depth - 1, taught.depth - 1)]
        for own, other in pairs:
            if own >= student.depth or other >= taught.depth:
                raise ConfigError(
                    f"pair {own}:{other} is beyond the {student.depth} blocks of the network or the {taught.depth} "
                    f"blocks of the teacher {teacher.name}, counted from 0"
                )
        if [other for _, other in pairs] != sorted(other for _, other in pairs):
            raise ConfigError(f"attention_pairs {text!r}: later blocks go with later blocks of the teacher")
        return _prepared(
            cls,
            setup,
            reconstruction,
            teacher,
            {"attention_pairs": ",".join(f"{own}:{other}" for own, other in pairs)},
            own_blocks=tuple(own for own, _ in pairs),
            blocks=tuple(other for _, other in pairs),
            heads=tuple((student.heads[own], taught.heads[other]) for own, other in pairs),
        )

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        masking, kept = self._kept(batch)
        tokens, students = through_noting(self._stages, kept, self._own_blocks, to_the_end=True)
        reconstruction = self._loss(batch.images, self._stages.normalised(tokens), masking)
        return self._joined(reconstruction, students, batch, masking)


class LateAttention(nn.Module):
    """The norm and the queries, keys and values of one more block, of which only attention is looked at.

    Args:
        dim: Width of the tokens, C.
        num_heads: Number of heads, H, which divides it.
        device: Device of the parameters.
    """

    def __init__(self, dim: int, num_heads: int, device: torch.device) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = LayerNorm(dim, NORM_EPS, device=device)
        self.qkv = Linear(dim, 3 * dim, device=device)
        draw_as_mae(self)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What stands before the softmax, scaled: (b, N, C) to (b, H, N, N)."""
        qkv = self.qkv(self.norm(tokens)).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits: torch.Tensor = (queries * queries.shape[-1] ** -0.5) @ keys.mT
        return logits


@objectives.register("d2-mae")
class DecoupledMaskedAutoencoder(WithTeacher):
    """A masked autoencoder that reconstructs early, while attention behind its last block follows a teacher's.

    Args:
        model: The network.
        reconstruction: What is hidden, and how it is predicted.
        early_blocks: How many blocks stand before the reconstruction.
        settings: Further keywords of `WithTeacher`.

    Attributes:
        late: The attention that is compared, behind the last block; left behind with the decoder.
    """

    name = "d2-mae"
    settings: ClassVar[tuple[str, ...]] = (*MASKING, "attention_weight", "attention_signal", "early_blocks")

    def __init__(self, model: nn.Module, reconstruction: Reconstruction, *, early_blocks: int, **settings: Any) -> None:
        super().__init__(model, reconstruction, **settings)
        self._early = early_blocks
        dim = self.decoder.embed.in_features
        self.late = LateAttention(dim, settings["heads"][0][0], next(model.parameters()).device)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; reads the teacher, which is to have the student's grid of patches."""
        student = look_at_student(setup)
        reconstruction = Reconstruction.of(setup.config, student)
        teacher, taught = _read_teacher(setup, cls.name, student.side)
        early = setup.config.early_blocks or max(1, round(student.depth * 2 / 3))
        if early > student.depth:
            raise ConfigError(f"early_blocks is {early}, more than the {student.depth} blocks of the network")
        heads = student.heads[-1]
        if student.dim % heads:
            raise ConfigError(f"d2-mae needs a width that the last block's {heads} heads divide, not {student.dim}")
        return _prepared(
            cls,
            setup,
            reconstruction,
            teacher,
            {"early_blocks": early},
            early_blocks=early,
            blocks=(taught.depth - 1,),
            heads=((heads, taught.heads[-1]),),
        )

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {**super().parts(), "late": AUXILIARY}

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        masking, kept = self._kept(batch)
        early = self._stages.through(kept, 0, self._early)
        reconstruction = self._loss(batch.images, self._stages.normalised(early), masking)
        late = self.late(self._stages.through(early, self._early))
        return self._joined(reconstruction, [late], batch, masking)

    def _encoded(self, stages: TokenStages, kept: torch.Tensor) -> torch.Tensor:
        return stages.normalised(stages.through(kept, 0, self._early))


def _read_teacher(setup: Setup, objective: str, side: int) -> tuple[Teacher, TokenNetwork]:
    """The teacher, and what it is like.

    Raises:
        RaynasError: There is none, it cannot be read, or its patches are not those of the student.
    """
    spec = setup.config.teacher
    if spec is None:
        raise ConfigError(f"{objective} learns from a teacher: --teacher names a training's folder, or timm:NAME:FILE")
    teacher = read_teacher(spec)
    model = FrozenTeacher(teacher, torch.device("cpu")).model
    try:
        taught = looked_at(model, teacher.img_size)
    except ConfigError as error:
        raise ConfigError(f"teacher {teacher.name}: {error}") from None
    if taught.side != side:
        raise ConfigError(
            f"teacher {teacher.name} has {taught.side} x {taught.side} patches of images of {teacher.img_size} pixels, "
            f"and the network has {side} x {side}: both are to see the same ones"
        )
    return teacher, taught


def _prepared(
    kind: type[WithTeacher],
    setup: Setup,
    reconstruction: Reconstruction,
    teacher: Teacher,
    resolved: Mapping[str, Any],
    **settings: Any,
) -> PreparedObjective:
    resolved = {**reconstruction.resolved(), **resolved}
    config = setup.config.resolved(**resolved)
    return PreparedObjective(
        kind=kind,
        make=partial(
            kind,
            reconstruction=reconstruction,
            teacher=teacher,
            weight=config.attention_weight,
            signal=config.attention_signal,
            **settings,
        ),
        resolved=resolved,
        identity={"teacher": teacher.label, **{name: getattr(config, name) for name in kind.settings}},
        description={"teacher": teacher.description()},
    )
