"""Distillation: a student is trained on its images and on what a frozen teacher says of them.

Locality guidance (Li 2022, arXiv 2207.10026): feature maps of student blocks, through 1 x 1 convolutions that are
trained with the student, are drawn towards those of the teacher's stages. Logit distillation (Hinton 2015, arXiv
1503.02531; Touvron 2020, arXiv 2012.12877): the student's logits are drawn towards the teacher's. The loss is

    (1 - logit_weight) * task + logit_weight * logits + guidance_weight * guidance

with both at once if both have a weight, where the published code of locality guidance lets one replace the other. The
logits are those of the one head that models have here, where DeiT gives a distillation token a head of its own.

Letters: b images of a piece, C channels, h and w sides of a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.feature_maps import resized_to_larger, with_feature_maps
from raynas.models.roles import roles_of
from raynas.models.teachers import FrozenTeacher, Pair, Teacher
from raynas.training.objectives.recipe import Classification, Loss


@dataclass(frozen=True)
class Guidance:
    """One pair of locality guidance.

    Args:
        pair: Block of the student and stage of the teacher.
        widths: Channels of both.
    """

    pair: Pair
    widths: tuple[int, int]


class Distillation:
    """Classification with a teacher.

    Args:
        classification: Makes the recipe of the task, which mixes images and knows their classes.
        teacher: Shown the same images, mixed and varied as they are.
        guidance: Pairs whose feature maps are compared.
        guidance_weight: Of their sum.
        logit_weight: Of the teacher's logits, from 0 to 1; the task has the rest.
        temperature: By which logits are divided before they become soft targets.
        targets: "soft", the teacher's probabilities, or "hard", its most probable class.

    Attributes:
        teacher: At work, once there is a auxiliary.
    """

    teacher: FrozenTeacher

    def __init__(
        self,
        classification: Callable[[], Classification],
        teacher: Teacher,
        *,
        guidance: Sequence[Guidance],
        guidance_weight: float,
        logit_weight: float,
        temperature: float,
        targets: Literal["soft", "hard"],
    ) -> None:
        self._classification = classification()
        self._values = teacher
        self._guidance = tuple(guidance)
        self._guidance_weight = guidance_weight
        self._logit_weight = logit_weight
        self._temperature = temperature
        self._targets = targets

    def auxiliary(self, model: nn.Module) -> nn.Module | None:
        """The adapters, one for each pair; also sets up the teacher on the model's device."""
        device = next(model.parameters()).device
        self.teacher = FrozenTeacher(self._values, device)
        blocks = roles_of(model).blocks
        self._blocks = [blocks[one.pair[0]] for one in self._guidance]
        self._stages = [one.pair[1] for one in self._guidance]
        self._adapters = nn.ModuleList(nn.Conv2d(*one.widths, kernel_size=1, device=device) for one in self._guidance)
        return self._adapters if len(self._adapters) else None

    def start_epoch(self, model: nn.Module, epoch: int) -> None:
        """What the task's recipe does."""
        self._classification.start_epoch(model, epoch)

    def loss(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Loss:
        """See Recipe; terms are `task_loss`, `guidance_loss` (the sum over the pairs) and `logit_loss`."""
        images, targets = self._classification.mixed(images, labels)
        teacher_logits, teacher_maps = self.teacher(images, self._stages)
        logits, maps = with_feature_maps(model, images, self._blocks)
        task = self._classification.cross_entropy(logits, targets)
        total = (1 - self._logit_weight) * task
        terms = {"task_loss": task.detach()}
        if self._guidance:
            guidance = guidance_loss(maps, teacher_maps, self._adapters)
            total = total + self._guidance_weight * guidance
            terms["guidance_loss"] = guidance.detach()
        if self._logit_weight:
            drawn = logit_loss(logits, teacher_logits, temperature=self._temperature, targets=self._targets)
            total = total + self._logit_weight * drawn
            terms["logit_loss"] = drawn.detach()
        return Loss(total, terms)


def guidance_loss(
    students: Sequence[torch.Tensor], teachers: Sequence[torch.Tensor], adapters: Sequence[nn.Module] | nn.ModuleList
) -> torch.Tensor:
    """Mean squared differences of adapted feature maps, summed over the pairs, each after a resize to the larger grid.

    Args:
        students, teachers: Feature maps (b, C, h, w), of each network's own channels and grid.
        adapters: From the student's channels to the teacher's.
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
