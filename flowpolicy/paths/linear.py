"""The straight path of rectified flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from flowpolicy.paths.path import Path, PathSample


@final
@dataclass(frozen=True)
class LinearPath(Path):
    r"""A straight line at constant speed.

    .. math:: x_t = (1 - t)\,x_0 + t\,x_1, \qquad \dot x_t = x_1 - x_0

    Example:
        >>> import torch
        >>> LinearPath().sample(torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 1), 0.25))
        PathSample(x_t=tensor([[0.2500, 0.2500]]), velocity=tensor([[1., 1.]]))

    Source: Liu, Gong, Liu, "Flow straight and fast", 2022, arXiv 2209.03003; Lipman et al., "Flow
    matching for generative modeling", 2022, arXiv 2210.02747.
    """

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """``x0, x1 [*B, A], t [*B, 1] -> PathSample``."""
        return PathSample(x_t=(1 - t) * x0 + t * x1, velocity=x1 - x0)
