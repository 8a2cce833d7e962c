"""Teaching a critic of noises what their actions are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.errors import require_sizes_match
from flowpolicy.functional.temporal_difference import td_error
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.critic_ensemble import CriticEnsemble
from flowpolicy.modules.evaluated_batch import Critic, EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.parts import (
    require_actor,
    require_critic,
    require_noise_like_action,
    require_same_size,
    require_trained,
    values_of,
)
from flowpolicy.paths.draws import Draw


@final
class LatentValueLoss(Loss):
    r"""Regresses a critic of noises on a critic of the actions that a flow makes of them.

    .. math::
        L = c\,\Big\langle \tfrac1E \sum_k \big(Z_k(s, z) - \mathrm{sg}[Q_k(s, a)]\big)^2
            \Big\rangle_B,\qquad a = \mathrm{clip}(\mathrm{flow}(s, z)),\quad
            z \sim \mathcal N(0, I)

    Member by member. A policy over noises can then climb ``Z`` without passing gradient through the
    flow. Trains the latent critic. Reads ``observation`` ``[*B, O]`` and where present ``noise``
    ``[*B, A]``; give it a noise of its own, ``loss.set_keys(noise="latent_noise")``, beside losses
    of a policy. Metric: ``latent_value_mean``.

    Args:
        latent_critic: ``Z``, a critic whose actions are noises.
        critic: ``Q``, as many critics.
        flow: the actor that makes actions of noises.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind or size, a negative coefficient, or an unknown
            reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> latent, critic = (fp.CriticEnsemble(3, 2, hidden=(16,)) for _ in range(2))
        >>> loss = fp.LatentValueLoss(latent, critic, flow)
        >>> loss(TensorDict(observation=torch.randn(8, 3), batch_size=[8]))[
        ...     "loss_latent_value"
        ... ].backward()

    Source: DSRL in Wagenmaker et al., "Steering your diffusion policy with latent space
    reinforcement learning", 2025, arXiv 2506.15799.
    """

    role = "latent_critic"
    metrics: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(
        self,
        latent_critic: CriticEnsemble,
        critic: Critic,
        flow: Actor,
        *,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "latent_value",
    ) -> None:
        super().__init__(name, coefficient=coefficient, reduction=reduction)
        require_critic("LatentValueLoss", "latent_critic", latent_critic)
        require_trained("LatentValueLoss", "latent_critic", latent_critic)
        require_critic("LatentValueLoss", "critic", critic)
        require_actor("LatentValueLoss", "flow", flow)
        require_sizes_match(
            "LatentValueLoss", latent_critic=latent_critic, critic=critic, flow=flow
        )
        require_same_size("LatentValueLoss", latent_critic=latent_critic, critic=critic)
        require_noise_like_action("LatentValueLoss", "flow", flow)
        self.latent_critic = latent_critic
        self.critic = frozen(critic)
        self.flow = frozen(flow)

    @property
    def network(self) -> nn.Module:
        """The latent critic."""
        return self.latent_critic

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """The observation."""
        return (self.tensor_keys.observation,)

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The flow's noise."""
        return {self.tensor_keys.noise: self.flow.noise_draw}

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error averaged over the ensemble, ``[*B, 1]``."""
        target = evaluated.reference_values(self.critic, self.flow)
        noise = evaluated.noise(self.tensor_keys.noise, self.flow)
        observation = evaluated.observation(self.latent_critic)
        values = values_of(self.latent_critic, observation, noise)
        return td_error(values, target), {"mean": values.detach().mean()}
