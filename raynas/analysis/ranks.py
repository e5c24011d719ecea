"""How many directions tokens spread over, and how much the tokens of an image are alike.

Letters: B images, N tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Spread:
    """The effective rank and the likeness of tokens, added up over mini-batches.

    Attributes:
        tokens: How many tokens an image has.
        channels: How many channels a token has.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.channels = 0
        self._tokens = 0
        self._images = 0
        self._sum: Tensor | float = 0.0
        self._products: Tensor | float = 0.0
        self._cosines = 0.0

    def add(self, tokens: Tensor) -> None:
        """Add the tokens (B, N, C) of a mini-batch."""
        flat = tokens.flatten(0, 1).double()
        self.tokens, self.channels = tokens.shape[1:]
        self._tokens += len(flat)
        self._images += len(tokens)
        self._sum = self._sum + flat.sum(0)
        self._products = self._products + flat.T @ flat
        units = F.normalize(tokens.double(), dim=2)
        n = tokens.shape[1]
        if n > 1:  # the mean over all pairs, by the length of the sum of all
            pairs = units.sum(1).square().sum(1) - units.square().sum((1, 2))
            self._cosines += float((pairs / (n * (n - 1))).sum())

    def effective_rank(self) -> float:
        """exp of the entropy of the shares of the singular values of centred tokens (Roy 2007); 1 to C.

        NaN where all tokens are alike.
        """
        assert isinstance(self._sum, Tensor)
        covariance = self._products - torch.outer(self._sum, self._sum) / self._tokens
        singular = torch.linalg.eigvalsh(covariance).clamp(min=0).sqrt()
        if float(singular.sum()) == 0:
            return float("nan")
        shares = singular / singular.sum()
        return float(torch.special.entr(shares).sum().exp())

    def token_similarity(self) -> float:
        """The mean cosine of two different tokens of an image, over all images."""
        return self._cosines / self._images
