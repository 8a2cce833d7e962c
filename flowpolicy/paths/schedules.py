"""How the share of data grows and the share of noise falls along a path."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from flowpolicy.errors import ConfigError


class ScheduleSample(NamedTuple):
    """The coefficients of a path at one time, and their time derivatives, each ``[*B, 1]``.

    Attributes:
        alpha: the share of data.
        sigma: the share of noise.
        d_alpha: ``d alpha / dt``.
        d_sigma: ``d sigma / dt``.
    """

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


class Schedule(ABC):
    """The coefficients of an affine path as functions of time."""

    @abstractmethod
    def at(self, t: Tensor) -> ScheduleSample:
        """The coefficients at ``t`` ``[*B, 1]`` in [0, 1]."""


@final
@dataclass(frozen=True)
class CosineSchedule(Schedule):
    r"""A quarter of a circle; the variance stays one for data of unit variance.

    .. math:: \alpha_t = \sin(\tfrac\pi2 t), \qquad \sigma_t = \cos(\tfrac\pi2 t)

    Example:
        >>> import torch
        >>> s = CosineSchedule().at(torch.full((1, 1), 1 / 3))
        >>> round(s.alpha.item(), 4), round((s.alpha**2 + s.sigma**2).item(), 4)
        (0.5, 1.0)

    Source: Nichol, Dhariwal, "Improved denoising diffusion probabilistic models", 2021, arXiv
    2102.09672 (without its offset).
    """

    def at(self, t: Tensor) -> ScheduleSample:
        """``t [*B, 1] -> ScheduleSample``."""
        rate = math.pi / 2
        sine, cosine = torch.sin(rate * t), torch.cos(rate * t)
        return ScheduleSample(sine, cosine, rate * cosine, -rate * sine)


@final
@dataclass(frozen=True)
class LinearBetaSchedule(Schedule):
    r"""The variance-preserving diffusion whose noise rate grows linearly.

    .. math::
        T(s) = \beta_0 s + \tfrac12(\beta_1 - \beta_0)s^2,\qquad
        \alpha_t = e^{-T(1 - t)/2},\qquad \sigma_t = \sqrt{1 - \alpha_t^2}

    The noise's derivative grows without bound at ``t = 1``; there it is evaluated at ``t = 1 -
    1e-5``. At ``t = 0`` a share of ``exp(-T(1)/2)``, 0.007 with the defaults, of the data remains.

    Args:
        beta_min: the noise rate at the data's end.
        beta_max: the noise rate at the noise's end.

    Raises:
        ConfigError: unless ``0 < beta_min <= beta_max``.

    Example:
        >>> import torch
        >>> s = LinearBetaSchedule().at(torch.zeros(1, 1))
        >>> round(s.alpha.item(), 4), round(s.sigma.item(), 4)
        (0.0066, 1.0)

    Source: Song et al., "Score-based generative modeling through stochastic differential
    equations", 2020, arXiv 2011.13456.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < float("inf"):
            raise ConfigError(
                "LinearBetaSchedule: needs 0 < beta_min <= beta_max, got "
                f"beta_min={self.beta_min!r}, beta_max={self.beta_max!r}."
            )

    def at(self, t: Tensor) -> ScheduleSample:
        """``t [*B, 1] -> ScheduleSample``."""
        s = 1 - t
        growth = self.beta_max - self.beta_min
        total = self.beta_min * s + 0.5 * growth * s.square()
        alpha = torch.exp(-0.5 * total)
        sigma = torch.sqrt(-torch.expm1(-total))

        s_inside = s.clamp_min(1e-5)
        total_inside = self.beta_min * s_inside + 0.5 * growth * s_inside.square()
        rate = self.beta_min + growth * s
        d_alpha = 0.5 * rate * alpha
        d_sigma = -0.5 * rate * torch.exp(-total_inside) / torch.sqrt(-torch.expm1(-total_inside))
        return ScheduleSample(alpha, sigma, d_alpha, d_sigma)
