"""What a sampler of a diffusion is."""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor

from flowpolicy.functional.diffusion import clean_estimate
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.noise_predictor import NoisePredictor
from flowpolicy.modules.parts import require_predictor
from flowpolicy.modules.target_network import TargetNetwork
from flowpolicy.paths.diffusion import VP_SCHEDULE, DiffusionStep, diffusion_steps
from flowpolicy.paths.schedules import Schedule


class DiffusionSampler(Actor):
    r"""An actor that removes the noise of an action step by step, adding a little again.

    .. math::
        \hat x_1 = \big(x_n - \sigma_n\,\epsilon_\psi(s, x_n, t_n)\big) / \alpha_n,\qquad
        x_{n-1} = \mathrm{step}\big(x_n, \hat x_1, \sqrt{\beta_n}\,\xi_n\big),\qquad n = N..1

    Its noise ``[*B, N, A]`` is the start and what all steps but the last add. An implementation
    gives one ``step``.

    Args:
        predictor: of the noise; its ``steps`` are ``N``.
        schedule: that of the losses it was trained with, variance-preserving.

    Raises:
        ConfigError: what predicts no noise, or a schedule that is pure noise at ``t = 0`` or does
            not preserve the variance.
        ShapeError: an observation or noise of another size (in use).
    """

    def __init__(
        self, predictor: NoisePredictor | TargetNetwork, *, schedule: Schedule = VP_SCHEDULE
    ) -> None:
        require_predictor(self.name, "predictor", predictor)
        steps = diffusion_steps(schedule, predictor.steps)
        super().__init__(predictor.obs_dim, predictor.act_dim, (len(steps), predictor.act_dim))
        self.predictor = predictor
        self.schedule = schedule
        self.steps = steps

    @abstractmethod
    def step(self, x: Tensor, estimate: Tensor, noise: Tensor | float, at: DiffusionStep) -> Tensor:
        """From ``x`` ``[*B, A]`` to the next state, given the clean action that it hints at."""

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The end of the chain: ``observation [*B, O], noise [*B, N, A] -> [*B, A]``."""
        self.check_inputs(observation, noise)
        x, *fresh = noise.unbind(dim=-2)
        for i, at in enumerate(self.steps):
            time = x.new_full((*x.shape[:-1], 1), at.time)
            predicted = self.predictor.predict(observation, x, time)
            added = math.sqrt(at.beta) * fresh[i] if i < len(fresh) else 0.0
            x = self.step(x, clean_estimate(x, predicted, at.alpha, at.sigma), added, at)
        return x

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"steps={len(self.steps)}"
