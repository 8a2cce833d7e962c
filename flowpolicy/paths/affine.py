"""Paths that mix noise and data by a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from flowpolicy.paths.path import Path, PathSample
from flowpolicy.paths.schedules import Schedule


@final
@dataclass(frozen=True)
class AffinePath(Path):
    r"""A path whose share of data and of noise follows a schedule.

    .. math:: x_t = \alpha_t x_1 + \sigma_t x_0, \qquad \dot x_t = \dot\alpha_t x_1 + \dot\sigma_t
        x_0

    Args:
        schedule: gives ``alpha``, ``sigma`` and their derivatives, e.g. ``CosineSchedule()``.

    Example:
        >>> import torch
        >>> from flowpolicy.paths import CosineSchedule
        >>> path = AffinePath(CosineSchedule())
        >>> path.sample(torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1, 1)).x_t
        tensor([[1.]])

    Source: Albergo, Boffi, Vanden-Eijnden, "Stochastic interpolants", 2023, arXiv 2303.08797.
    """

    schedule: Schedule

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """``x0, x1 [*B, A], t [*B, 1] -> PathSample``."""
        s = self.schedule.at(t)
        return PathSample(x_t=s.alpha * x1 + s.sigma * x0, velocity=s.d_alpha * x1 + s.d_sigma * x0)
