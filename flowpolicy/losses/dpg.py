"""Following the critics' gradient."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, final

from torch import Tensor

from flowpolicy.errors import require_sizes_match
from flowpolicy.functional.aggregation import Aggregation, mean_value
from flowpolicy.functional.scale import Scale, unit_scale
from flowpolicy.losses.actor_loss import ActorLoss
from flowpolicy.losses.base import Reduction
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.parts import (
    require_aggregation,
    require_critic,
    require_differentiable,
    require_function,
    scale_of,
    value_of,
)


@final
class DPGLoss(ActorLoss):
    r"""Moves an actor to actions that the critics value more.

    .. math::
        L = -c\,\lambda\,\big\langle \mathrm{agg}_k\, Q_k(s, a)\big\rangle_B,\qquad
        a = \mathrm{clip}(\mu_\omega(s, z)),\quad \lambda = \mathrm{scale}(\mathrm{agg}_k\, Q_k)

    The deterministic policy gradient, given the noise. Gradient passes the critics to the action,
    and from there the whole actor: with a flow sampler as actor, all its steps (FBRAC). The critics
    get none; where the action is clipped, the actor gets none. Trains the actor. Reads
    ``observation`` ``[*B, O]`` and where present ``noise`` ``[*B, *noise_shape]``. Metrics:
    ``dpg_value``, the batch mean of the value, and ``dpg_scale``, ``lambda``.

    Args:
        actor: the policy to improve.
        critic: the critics to climb, usually the online ones.
        scale: ``unit_scale``, or ``inverse_mean_abs`` to be independent of the rewards' scale.
        aggregation: over the ensemble.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or of different sizes, critics that are not
            differentiable in the action, a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> actor, critic = (
        ...     fp.OneStepActor(3, 2, hidden=(16,)),
        ...     fp.CriticEnsemble(3, 2, hidden=(16,)),
        ... )
        >>> loss = fp.DPGLoss(actor, critic, scale=fp.inverse_mean_abs)
        >>> loss(TensorDict(observation=torch.randn(8, 3), batch_size=[8]))["loss_dpg"].backward()
        >>> all(p.grad is None for p in critic.parameters())
        True

    Source: Lillicrap et al., "Continuous control with deep reinforcement learning", 2015, arXiv
    1509.02971; as part of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    metrics: ClassVar[tuple[str, ...]] = ("value", "scale")

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        *,
        scale: Scale = unit_scale,
        aggregation: Aggregation = mean_value,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
        name: str = "dpg",
    ) -> None:
        super().__init__(actor, name, coefficient=coefficient, reduction=reduction)
        require_critic("DPGLoss", "critic", critic)
        require_sizes_match("DPGLoss", actor=actor, critic=critic)
        require_function("DPGLoss", "scale", scale, "inverse_mean_abs")
        require_aggregation("DPGLoss", aggregation, critic)
        self.critic = frozen(critic)
        self.scale = scale
        self.aggregation = aggregation
        value = partial(value_of, self.critic, aggregation)
        require_differentiable("DPGLoss", "critic", critic, value)

    @property
    def has_batch_statistic(self) -> bool:
        """Whether the scale is one."""
        return self.scale is not unit_scale

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the scaled value, ``[*B, 1]``."""
        value = self.aggregation(evaluated.policy_values(self.critic, self.actor))
        scale = scale_of("DPGLoss", self.scale, value)
        return -scale * value, {"value": value.mean(), "scale": scale}
