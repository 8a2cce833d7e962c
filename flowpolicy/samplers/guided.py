"""A flow that leans towards what the critics value."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from flowpolicy.errors import (
    require_instance,
    require_not_negative,
    require_positive,
    require_sizes_match,
)
from flowpolicy.functional.action_gradient import action_gradient
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.functional.guidance import score_velocity
from flowpolicy.functional.velocity import Velocity
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.evaluated_batch import Critic
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_differentiable,
    require_function,
)
from flowpolicy.samplers.guides import Guide, as_if_clean
from flowpolicy.samplers.sampler import Sampler, velocity_given


@final
class GuidedSampler(Actor):
    r"""Classifier guidance of a flow by critics.

    .. math::
        \tilde v(s, x, t) = v(s, x, t) + \frac{\vartheta}{t}
            \Big(x + \frac{1 - t}{\eta}\, \nabla_x\, \mathrm{agg}_k\, Q_k(s, x, t^\star)\Big)

    The velocity of the flow plus a share of that velocity whose score is the critics' gradient, on
    ``LinearPath``; on another path a score has another velocity. It is infinite at ``t = 0``, where
    the flow goes unguided. The gradient is a number without gradient of its own: a loss of this
    actor's action trains the flow, never the critics.

    Args:
        sampler: the flow and its solver, e.g. an ``EulerSampler`` of a field trained on
            ``LinearPath``.
        critic: who guides.
        coefficient: ``vartheta``, at least 0; 0 gives the sampler's own actions.
        temperature: ``eta`` > 0 of the critics' gradient.
        guide: what the critics say of a noisy action: ``as_if_clean`` asks any critic as if
            ``t = 1``, ``at_their_time`` asks a ``NoisyCriticEnsemble`` at ``t``.
        aggregation: over the ensemble.

    Raises:
        ConfigError: parts of the wrong kind or of different sizes, a negative coefficient, a
            temperature that is not above 0, or a critic without a gradient in the action.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import CriticEnsemble, VelocityField
        >>> from flowpolicy.samplers import EulerSampler
        >>> flow, critic = EulerSampler(VelocityField(3, 2, (8,))), CriticEnsemble(3, 2, (8,))
        >>> guided = GuidedSampler(flow, critic, coefficient=0.1, temperature=0.1)
        >>> guided.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])

    Source: Dhariwal, Nichol, "Diffusion models beat GANs on image synthesis", 2021, arXiv
    2105.05233; for flows and critics, CGQL in Li, Levine, "Q-learning with adjoint matching", ICLR
    2026, arXiv 2601.14234, and its released code.
    """

    def __init__(
        self,
        sampler: Sampler,
        critic: Critic,
        *,
        coefficient: float,
        temperature: float,
        guide: Guide = as_if_clean,
        aggregation: Aggregation = mean_value,
    ) -> None:
        hint = "Put a solver around the velocity field, EulerSampler(field)."
        require_instance("GuidedSampler", "sampler", sampler, Sampler, hint)
        require_critic("GuidedSampler", "critic", critic)
        require_sizes_match("GuidedSampler", sampler=sampler, critic=critic)
        require_function("GuidedSampler", "guide", guide, "as_if_clean")
        require_aggregation("GuidedSampler", aggregation, critic)
        require_positive("GuidedSampler", "temperature", temperature)
        advice = "Actions of less value need a critic of the opposite sign."
        require_not_negative("GuidedSampler", "coefficient", coefficient, advice)
        super().__init__(sampler.obs_dim, sampler.act_dim)
        self.sampler = sampler
        self.critic = critic
        self.coefficient = coefficient
        self.temperature = temperature
        self.guide = guide
        self.aggregation = aggregation
        require_differentiable("GuidedSampler", "critic", critic, self._asked)

    @property
    def trained(self) -> nn.Module:
        """The flow."""
        return self.sampler

    def _asked(self, observation: Tensor, x_t: Tensor, time: float = 0.5) -> Tensor:
        """What the critics say, aggregated."""
        times = x_t.new_full((*x_t.shape[:-1], 1), time)
        return self.aggregation(self.guide(self.critic, observation, x_t, times))

    def _guided(self, observation: Tensor) -> Velocity:
        velocity = velocity_given(self.sampler.field, observation)

        def guided(x: Tensor, t: float) -> Tensor:
            if t == 0:
                return velocity(x, t)
            gradient = action_gradient(lambda point: self._asked(observation, point, t), x)
            towards = score_velocity(x, gradient / self.temperature, t)
            return velocity(x, t) + self.coefficient * towards

        return guided

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The end of the guided chain: ``observation [*B, O], noise [*B, A] -> [*B, A]``."""
        self.check_inputs(observation, noise)
        for x in self.sampler.follow(self._guided(observation), noise):
            end = x
        return end

    def extra_repr(self) -> str:
        """How strongly it is guided."""
        return f"coefficient={self.coefficient:g}, temperature={self.temperature:g}"
