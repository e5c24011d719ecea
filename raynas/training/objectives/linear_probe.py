"""A linear probe: the head alone learns, from what a frozen network makes of images (He 2021, arXiv 2111.06377).

All else stays in eval mode, so that no statistics of images move and nothing is dropped. Decided here: a norm that
stands between pooled features and the head, and that the weights lack, normalises and learns nothing; the source has a
BatchNorm there, which no exported network would have.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.features import head_inputs
from raynas.models.roles import roles_of
from raynas.training.batch import Batch
from raynas.training.objectives.classification import Classification
from raynas.training.objectives.objective import PreparedObjective, Setup, objectives


@objectives.register("linear-probe")
class LinearProbe(Classification):
    """Classification in which the head alone learns.

    Args:
        model: The network, whose head is known.
        settings: Further keywords of `Classification`.
    """

    name = "linear-probe"
    takes_token_labels = False
    probes_features: ClassVar[bool] = True

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        model.requires_grad_(False)
        for head in roles_of(model).head:
            head.requires_grad_(True)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; refuses fresh weights, from which nothing can be told."""
        if setup.config.weights is None:
            raise ConfigError("a linear probe looks at weights that are there: --weights names them")
        return super().prepare(setup)

    def train(self, mode: bool = True) -> Self:
        """The network stays in eval mode."""
        super().train(mode)
        self.model.eval()
        return self

    def features(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """What the head is given."""
        return head_inputs(model, roles_of(model).head[0], batch.images)
