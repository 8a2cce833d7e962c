"""The ancestral sampler of a diffusion."""

from __future__ import annotations

from typing import final

from torch import Tensor

from flowpolicy.functional.diffusion import posterior_mean
from flowpolicy.paths.diffusion import DiffusionStep
from flowpolicy.samplers.diffusion_sampler import DiffusionSampler


@final
class DDPMSampler(DiffusionSampler):
    r"""Draws from the posterior of each step, the estimated action being clipped to the box.

    .. math::
        x_{n-1} = \frac{\alpha_{n-1}\,\beta_n\,\mathrm{clip}(\hat x_1)
            + \sqrt{1 - \beta_n}\,\sigma_{n-1}^2\,x_n}{\sigma_n^2} + \sqrt{\beta_n}\,\xi_n

    The last step adds no noise and ends at the clipped estimate.

    Args:
        predictor: of the noise; its ``steps`` are ``N``.
        schedule: that of the losses it was trained with, variance-preserving.

    Raises:
        ConfigError: what predicts no noise, or a schedule that is pure noise at ``t = 0`` or does
            not preserve the variance.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import NoisePredictor
        >>> policy = DDPMSampler(NoisePredictor(3, 2, hidden=(8,), steps=10))
        >>> policy.act(torch.zeros(4, 3), torch.randn(4, 10, 2)).shape
        torch.Size([4, 2])

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239,
    algorithm 2 with the larger of its two variances, ``beta``.
    """

    def step(self, x: Tensor, estimate: Tensor, noise: Tensor | float, at: DiffusionStep) -> Tensor:
        """The posterior's mean, and noise."""
        mean = posterior_mean(
            x,
            estimate.clamp(-1, 1),
            next_alpha=at.next_alpha,
            next_sigma=at.next_sigma,
            sigma=at.sigma,
            beta=at.beta,
        )
        return mean + noise
