"""A schedule cut into the steps of a diffusion."""

from __future__ import annotations

from typing import NamedTuple

import torch

from flowpolicy.errors import ConfigError, require_at_least
from flowpolicy.paths.schedules import LinearBetaSchedule, Schedule

VP_SCHEDULE = LinearBetaSchedule(beta_min=0.1, beta_max=10.0)
"""The variance-preserving schedule of QSM and DAC, and of most diffusion policies."""


class DiffusionStep(NamedTuple):
    """One step of a diffusion back to the data, in plain numbers.

    Attributes:
        time: ``t = 1 - n/N``, where the step starts.
        alpha: the share of data there, the root of the usual alpha-bar.
        sigma: the share of noise there.
        next_alpha: the share of data where the step ends.
        next_sigma: the share of noise there.
        beta: the variance that the forward process adds on this step.
    """

    time: float
    alpha: float
    sigma: float
    next_alpha: float
    next_sigma: float
    beta: float


def diffusion_steps(schedule: Schedule, steps: int) -> tuple[DiffusionStep, ...]:
    r"""The steps ``n = N..1`` of a schedule, from noise to data.

    .. math:: t_n = 1 - \tfrac nN,\qquad \beta_n = 1 - \alpha_{t_n}^2 / \alpha_{t_{n-1}}^2

    Args:
        schedule: variance-preserving, :math:`\alpha_t^2 + \sigma_t^2 = 1`, with some data left at
            ``t = 0``.
        steps: ``N``.

    Raises:
        ConfigError: no whole number of steps of at least 1, a schedule that is pure noise at
            ``t = 0``, where no noise could be told from the data, or one that does not preserve
            the variance, of which these are not the betas.

    Example:
        >>> [round(step.beta, 6) for step in diffusion_steps(VP_SCHEDULE, 10)[-2:]]
        [0.146577, 0.057764]

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239.
    """
    steps = require_at_least("diffusion_steps", "steps", steps, 1)
    times = torch.arange(steps + 1, dtype=torch.float64, device="cpu").unsqueeze(-1) / steps
    at = schedule.at(times)
    t, alpha, sigma = (x.flatten().tolist() for x in (times, at.alpha, at.sigma))
    if not alpha[0] > 0:
        raise ConfigError(
            f"diffusion_steps: {schedule!r} leaves no data at t = 0. Use one that does, such as "
            "LinearBetaSchedule(0.1, 10.0)."
        )
    variance = at.alpha.square() + at.sigma.square()
    if not torch.allclose(variance, torch.ones_like(variance)):
        raise ConfigError(
            f"diffusion_steps: {schedule!r} does not preserve the variance: alpha^2 + sigma^2 must "
            f"be 1 at every step, but lies from {variance.min():.3g} to {variance.max():.3g}. Use "
            "one that does, such as LinearBetaSchedule(0.1, 10.0)."
        )
    return tuple(
        DiffusionStep(
            t[i],
            alpha[i],
            sigma[i],
            alpha[i + 1],
            sigma[i + 1],
            beta=1 - (alpha[i] / alpha[i + 1]) ** 2,
        )
        for i in range(steps)
    )
