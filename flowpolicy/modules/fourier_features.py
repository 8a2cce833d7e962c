"""Learned frequencies of time."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_at_least, require_positive


@final
class FourierFeatures(nn.Module):
    r"""Cosines and sines of a number at learned frequencies.

    .. math:: [\cos(2\pi n W),\ \sin(2\pi n W)],\qquad W_j \sim \mathcal N(0, \sigma^2)
        \text{ at the start},\quad j = 1..D/2

    Args:
        dim: ``D``, an even number of at least 2.
        std: ``sigma`` > 0 of the initial frequencies.

    Raises:
        ConfigError: an odd or too small ``dim``, or a ``std`` that is not above 0.

    Example:
        >>> import torch
        >>> FourierFeatures(64)(torch.full((4, 1), 7.0)).shape
        torch.Size([4, 64])

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low
    dimensional domains", 2020, arXiv 2006.10739; learned in the released code of Hansen-Estruch et
    al., "IDQL", 2023, arXiv 2304.10573.
    """

    def __init__(self, dim: int = 64, *, std: float = 0.2) -> None:
        super().__init__()
        if require_at_least("FourierFeatures", "dim", dim, 2) % 2:
            raise ConfigError(f"FourierFeatures: dim must be even, got {dim}.")
        self.dim = dim
        self.std = require_positive("FourierFeatures", "std", std)
        self.weight = nn.Parameter(torch.empty(dim // 2, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new frequencies."""
        nn.init.normal_(self.weight, std=self.std)

    def forward(self, n: Tensor) -> Tensor:
        """``[*B, 1] -> [*B, D]``."""
        # No product of matrices, which autocast would round.
        angles = 2 * math.pi * n * self.weight.squeeze(-1)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def extra_repr(self) -> str:
        """The number of features."""
        return f"dim={self.dim}"
