"""Distillation: a student is trained on its images and on what a frozen teacher says of them.

Locality guidance (Li 2022, arXiv 2207.10026): feature maps of student blocks, through 1 x 1 convolutions that are
trained with the student, are drawn towards those of the teacher's stages. Logit distillation (Hinton 2015, arXiv
1503.02531; Touvron 2020, arXiv 2012.12877): the student's logits are drawn towards the teacher's. The loss is

    (1 - logit_weight) * task + logit_weight * logits + guidance_weight * guidance

with both at once if both have a weight, where the published code of locality guidance lets one replace the other. A
student of two heads (`pool` both, timm's distilled models) learns the task by the first and the teacher's logits by the
second, and is asked for the mean of both; any other learns both by its one head.

Letters: b images of a batch, C channels, h and w sides of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError
from raynas.hooks import offered
from raynas.models.classified import evaluated_classes
from raynas.models.feature_maps import feature_widths, resized_to_larger, with_feature_maps
from raynas.models.protocols import HasDistilledHead
from raynas.models.roles import roles_of
from raynas.models.teachers import FrozenTeacher, Pair, Teacher, evenly_spaced_pairs, parse_pairs
from raynas.space.build import builder, built
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import DISTILLATION
from raynas.training.objectives.classification import ClassTargets
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


@dataclass(frozen=True)
class Guidance:
    """One pair of locality guidance.

    Args:
        pair: Block of the student and stage of the teacher.
        widths: Number of channels of both.
    """

    pair: Pair
    widths: tuple[int, int]


@objectives.register("distillation")
class Distillation(Objective):
    """Classification with a teacher, which is shown the same images, mixed and varied as they are.

    Args:
        model: The student.
        teacher: The network that the student learns from.
        guidance: Pairs whose feature maps are compared.
        guidance_weight: Weight of the sum of these comparisons.
        logit_weight: Weight of the teacher's logits, from 0 to 1; the task has the rest.
        temperature: What logits are divided by before they become soft targets.
        targets: "soft", the teacher's probabilities, or "hard", its most probable class.
        task: Settings of `ClassTargets`.

    Attributes:
        teacher: The teacher at work, always in eval mode and without gradients.
        adapters: Convolutions from the channels of the student's blocks to those of the teacher's stages, one for each
            pair.
    """

    name = "distillation"
    evaluation_columns = ("loss", "top1")
    best = BestEpoch("val_top1", higher_is_better=True)

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher,
        *,
        guidance: Sequence[Guidance],
        guidance_weight: float,
        logit_weight: float,
        temperature: float,
        targets: Literal["soft", "hard"],
        **task: Any,
    ) -> None:
        super().__init__(model)
        device = next(model.parameters()).device
        self._task = ClassTargets(**task)
        self.teacher = FrozenTeacher(teacher, device)
        blocks = roles_of(model).blocks
        self._blocks = [blocks[one.pair[0]] for one in guidance]
        self._stages = [one.pair[1] for one in guidance]
        self.adapters = nn.ModuleList(nn.Conv2d(*one.widths, kernel_size=1, device=device) for one in guidance)
        self._guidance_weight = guidance_weight
        self._logit_weight = logit_weight
        self._temperature = temperature
        self._logit_targets = targets
        second = offered(model, HasDistilledHead) if logit_weight else None
        if second is not None:
            second.set_distilled_training(True)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; reads the teacher, and finds pairs of blocks and stages where none are given."""
        config = setup.config
        if config.teacher is None:
            raise ConfigError("a distillation needs a teacher, and none is given")
        if not (config.guidance_weight or config.logit_weight):
            raise ConfigError("guidance_weight and logit_weight are both 0: nothing would be learned from the teacher")
        teacher = read_teacher(config.teacher, num_classes=config.num_classes if setup.has_classes else None)
        if config.logit_weight and teacher.num_classes != config.num_classes:
            raise ConfigError(
                f"logit_weight needs a teacher with the {config.num_classes} classes of the images, not "
                f"{teacher.num_classes}"
            )
        if config.logit_weight and not teacher.knows_classes:
            raise ConfigError(
                f"logit_weight needs a teacher that has learned classes: {config.teacher} was trained without labels"
            )
        guidance = _guidance(setup, teacher) if config.guidance_weight else ()
        pairs = ",".join(f"{block}:{stage}" for block, stage in (one.pair for one in guidance)) or None
        resolved = {"guidance_pairs": pairs}
        settings = {name: getattr(config.resolved(**resolved), name) for name in DISTILLATION}
        return PreparedObjective(
            kind=cls,
            make=partial(
                cls,
                teacher=teacher,
                guidance=guidance,
                guidance_weight=config.guidance_weight,
                logit_weight=config.logit_weight,
                temperature=config.temperature,
                targets=config.logit_targets,
                **ClassTargets.settings(config),
            ),
            resolved=resolved,
            identity={"label_smoothing": config.label_smoothing, "teacher": teacher.label, **settings},
            description={"teacher": teacher.description()},
        )

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {"model": MODEL, "teacher": FROZEN, "adapters": AUXILIARY}

    @property
    def columns(self) -> tuple[str, ...]:
        """`task_loss`, `guidance_loss` (the sum over the pairs) and `logit_loss`, those that are in the loss."""
        guidance = ["guidance_loss"] if self._stages else []
        return ("task_loss", *guidance, *(["logit_loss"] if self._logit_weight else []))

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        images, targets = self._task.mixed(batch, self.context)
        teacher_logits, teacher_maps = self.teacher(images, self._stages)
        output, maps = with_feature_maps(self.model, images, self._blocks)
        logits, taught = output if isinstance(output, tuple) else (output, output)
        task = self._task.cross_entropy(logits, targets)
        total = (1 - self._logit_weight) * task
        terms = {"task_loss": task.detach()}
        if self._stages:
            guidance = guidance_loss(maps, teacher_maps, self.adapters)
            total = total + self._guidance_weight * guidance
            terms["guidance_loss"] = guidance.detach()
        if self._logit_weight:
            drawn = logit_loss(taught, teacher_logits, temperature=self._temperature, targets=self._logit_targets)
            total = total + self._logit_weight * drawn
            terms["logit_loss"] = drawn.detach()
        return Loss(total, terms)

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        assert batch.labels is not None
        return evaluated_classes(model(batch.images), batch.labels)


def _guidance(setup: Setup, teacher: Teacher) -> tuple[Guidance, ...]:
    """The pairs of feature maps to compare."""
    config, space = setup.config, setup.space
    with torch.device("meta"):
        student = built(builder(space), setup.architecture, **setup.model_settings)
        try:
            blocks = feature_widths(student, config.img_size)
        except ValueError as error:
            raise ConfigError(f"the student has no feature maps to guide: {error}") from None
    # Not on the meta device, on which some of timm's models cannot be built.
    stages = feature_widths(FrozenTeacher(teacher, torch.device("cpu")).model, teacher.img_size)
    if not blocks:
        raise ConfigError(f"models of the space {space.name!r} do not say where their blocks are: guidance_weight is 0")
    if not stages:
        raise ConfigError(f"teacher {teacher.name} has no stages with known feature maps: guidance_weight is 0")
    pairs = (
        parse_pairs(config.guidance_pairs) if config.guidance_pairs else evenly_spaced_pairs(len(blocks), len(stages))
    )
    for block, stage in pairs:
        if block >= len(blocks) or stage >= len(stages):
            raise ConfigError(
                f"pair {block}:{stage} is beyond the {len(blocks)} blocks of the student or the {len(stages)} stages "
                f"of the teacher {teacher.name}, counted from 0"
            )
    return tuple(Guidance((block, stage), (blocks[block], stages[stage])) for block, stage in pairs)


def guidance_loss(
    students: Sequence[torch.Tensor], teachers: Sequence[torch.Tensor], adapters: Sequence[nn.Module] | nn.ModuleList
) -> torch.Tensor:
    """Mean squared differences of adapted feature maps, summed over the pairs, each after a resize to the larger grid.

    Args:
        students, teachers: Feature maps (b, C, h, w), of each network's own channels and grid.
        adapters: Modules that take the student's channels to the teacher's, one for each pair.
    """
    losses = []
    for student, teacher, adapter in zip(students, teachers, adapters, strict=True):
        first, second = resized_to_larger(adapter(student), teacher)
        losses.append(F.mse_loss(first.float(), second.float()))
    return torch.stack(losses).sum()


def logit_loss(
    student: torch.Tensor, teacher: torch.Tensor, *, temperature: float, targets: Literal["soft", "hard"]
) -> torch.Tensor:
    """How far the student's logits (b, classes) are from the teacher's.

    Soft: the Kullback-Leibler divergence of the student's probabilities from the teacher's at the temperature, times
    its square, the mean over images; DeiT's code also divides by the number of classes. Hard: the cross-entropy with
    the teacher's most probable class.
    """
    student, teacher = student.float(), teacher.float()
    if targets == "hard":
        return F.cross_entropy(student, teacher.argmax(1))
    first, second = ((logits / temperature).log_softmax(1) for logits in (student, teacher))
    return F.kl_div(first, second, reduction="batchmean", log_target=True) * temperature**2
