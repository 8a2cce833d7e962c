"""A sampler that takes every estimate for the next state."""

from __future__ import annotations

from typing import final

from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.diffusion import VP_SCHEDULE, DiffusionStep
from flowpolicy.paths.schedules import Schedule
from flowpolicy.samplers.diffusion_sampler import DiffusionSampler


@final
class JumpSampler(DiffusionSampler):
    r"""Goes to the estimated action at once, adds the step's noise and clips.

    .. math:: x_{n-1} = \mathrm{clip}_{[-l, l]}\big(\hat x_1 + \sqrt{\beta_n}\,\xi_n\big)

    Not the sampler of a diffusion: what it hands to the next step has less noise than that step
    assumes. It is what QSM's released code does; use it to reproduce that code, and ``DDPMSampler``
    for anything else. As there, a Bellman target takes the end of the chain as it is, which is
    within the box unless the limit is wider.

    Args:
        predictor: of the noise; its ``steps`` are ``N``.
        schedule: that of the losses it was trained with, variance-preserving.
        limit: ``l``, to which every state is clipped; ``math.inf`` for none.

    Raises:
        ConfigError: what predicts no noise, a schedule that is pure noise at ``t = 0`` or does not
            preserve the variance, or a limit that is not above 0.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import NoisePredictor
        >>> policy = JumpSampler(NoisePredictor(3, 2, hidden=(8,), steps=10))
        >>> policy.act(torch.zeros(4, 3), torch.randn(4, 10, 2)).shape
        torch.Size([4, 2])

    Source: QSM in the released code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026,
    arXiv 2601.14234; its configuration decides whether states are clipped.
    """

    def __init__(
        self,
        predictor: NoisePredictor | TargetNetwork,
        *,
        schedule: Schedule = VP_SCHEDULE,
        limit: float = 1.0,
    ) -> None:
        if not limit > 0:
            raise ConfigError(f"JumpSampler: limit must be above 0, got {limit!r}.")
        super().__init__(predictor, schedule=schedule)
        self.limit = limit

    def bootstrap(self, observation: Tensor, next_observation: Tensor, noise: Tensor) -> Tensor:
        """The end of the chain at the next observation, ``[*B, A]``."""
        del observation
        return self.raw(next_observation, noise)

    def step(self, x: Tensor, estimate: Tensor, noise: Tensor | float, at: DiffusionStep) -> Tensor:
        """The estimate, noise, and the box."""
        del x, at
        return (estimate + noise).clamp(-self.limit, self.limit)
