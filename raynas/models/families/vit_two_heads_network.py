"""A plain vision transformer of timm with two heads: one of the mean over patches, one of the class token.

Labels teach the first head, a teacher's classes the second, and what both say is averaged (arXiv 2205.14443). DeiT has
a distillation token for the second head (arXiv 2012.12877); here the class token serves.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

__all__ = ["TwoHeadedVisionTransformer", "checkpoint_filter_fn"]  # timm's own fits weights to another image side


class TwoHeadedVisionTransformer(VisionTransformer):  # type: ignore[misc]
    """timm's VisionTransformer whose mean over patches and whose class token have a norm and a head each.

    Args:
        global_pool: The pooling of the first head, "avg"; "" for a network that is to give unpooled features.
        settings: Further keywords of timm's VisionTransformer.

    Attributes:
        fc_norm, head: Norm and head of the mean over patches.
        norm_dist, head_dist: Norm and head of the class token.
        distilled_training: Whether calls in training mode return the logits of both heads, as timm's distilled models
            do, and not their mean.
    """

    def __init__(self, *, global_pool: str = "avg", **settings: Any) -> None:
        super().__init__(global_pool="avg", **settings)
        self._pool_by(global_pool)
        self.norm_dist = copy.deepcopy(self.fc_norm)
        self.distilled_training = False
        self._make_second_head()

    def _make_second_head(self) -> None:
        self.head_dist = copy.deepcopy(self.head)
        if isinstance(self.head_dist, nn.Linear):
            trunc_normal_(self.head_dist.weight, std=0.02)
            nn.init.zeros_(self.head_dist.bias)

    def set_distilled_training(self, enable: bool = True) -> None:
        """Say whether calls in training mode return the logits of both heads."""
        self.distilled_training = enable

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """Both heads."""
        return self.head, self.head_dist

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network two fresh heads.

        Args:
            num_classes: Number of classes; 0: there are no heads.
            global_pool: "avg", or "" for unpooled features, as timm's feature extractors say it; None: as it is.

        Raises:
            ValueError: It is another pooling.
        """
        self._pool_by(global_pool)
        super().reset_classifier(num_classes)
        self._make_second_head()

    def _pool_by(self, global_pool: str | None) -> None:
        if global_pool not in (None, "", "avg"):
            raise ValueError(f"a network of two heads pools by the mean and the class token, not by {global_pool!r}")
        if global_pool is not None:
            self.global_pool = global_pool

    def forward_head(
        self, x: torch.Tensor, pre_logits: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits of tokens (B, N, C): the mean of both heads (B, num_classes), or those of each.

        Args:
            x: All tokens after the last block.
            pre_logits: Whether to return the mean of what the heads are given, (B, C).

        Returns:
            Where nothing is pooled, all tokens after the first norm, (B, N, C).
        """
        if not self.global_pool:
            unpooled: torch.Tensor = self.fc_norm(x)
            return unpooled
        patches = self.head_drop(self.fc_norm(self.pool(x)))
        token = self.head_drop(self.norm_dist(x[:, 0]))
        if pre_logits:
            return (patches + token) / 2
        logits, token_logits = self.head(patches), self.head_dist(token)
        if self.distilled_training and self.training:
            return logits, token_logits
        return (logits + token_logits) / 2
