"""Sinusoidal features of the flow time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_at_least


@final
class TimeEmbedding(nn.Module):
    r"""Sines and cosines of the time at geometrically spaced frequencies.

    .. math::
        f_j = 10000^{-j/(D/2 - 1)},\quad j = 0..D/2-1, \qquad
        [\sin(t f_0), \ldots, \sin(t f_{D/2-1}), \cos(t f_0), \ldots, \cos(t f_{D/2-1})]

    Time is used as it is, in [0, 1], and no layer follows.

    Args:
        dim: ``D``, an even number of at least 4.

    Raises:
        ConfigError: an odd or too small ``dim``.

    Example:
        >>> import torch
        >>> TimeEmbedding(64)(torch.full((1, 1), 0.5))[0, :3]
        tensor([0.4794, 0.3630, 0.2725])

    Source: the released code of Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv
    2512.03973.
    """

    frequencies: Tensor

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        if require_at_least("TimeEmbedding", "dim", dim, 1) < 4 or dim % 2:
            raise ConfigError(f"TimeEmbedding: dim must be even and at least 4, got {dim}.")
        self.dim = dim
        # A constant, so it is not part of a checkpoint; with the dtype and device of parameters.
        frequencies = _frequencies(dim).to(torch.empty(()))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TimeEmbedding:  # noqa: FBT001, FBT002 - nn.Module's own
        """Computes the frequencies anew, so that none carries the rounding of another dtype."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies = _frequencies(self.dim).to(self.frequencies)
        return self

    def forward(self, time: Tensor) -> Tensor:
        """``[*B, 1] -> [*B, D]``."""
        angles = time * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def extra_repr(self) -> str:
        """The number of features."""
        return f"dim={self.dim}"


def _frequencies(dim: int) -> Tensor:
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float64, device="cpu")
    return (exponents * (-math.log(10_000.0) / (half - 1))).exp()
