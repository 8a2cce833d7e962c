"""Cloning the data with a policy that has a density."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from flowpolicy.errors import require_instance
from flowpolicy.losses.base import Reduction
from flowpolicy.losses.weighted_loss import WeightedLoss
from flowpolicy.modules.density_actor import DensityActor
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.parts import require_trained
from flowpolicy.weights.weight import Weight


@final
class LogLikelihoodLoss(WeightedLoss):
    r"""Makes the data's actions likely.

    .. math:: L = -c\,\big\langle g(s, a)\,\log\pi_\theta(a \mid s)\big\rangle_B

    With an ``AdvantageWeight`` it is advantage-weighted regression, the policy of IQL. The
    log-probability is the sum over the action dimensions. Trains the actor. Reads ``observation``
    ``[*B, O]`` and ``action`` ``[*B, A]``. Metrics: ``log_likelihood_mean``, the mean
    log-probability without weight, and with a weight ``log_likelihood_weight``, its mean.

    Args:
        actor: with a density, such as a ``GaussianActor``.
        weight: ``g``, how much each data action counts; all alike where ``None``.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: an actor without a density, a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> loss = fp.LogLikelihoodLoss(fp.GaussianActor(3, 2, hidden=(16,)))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_log_likelihood"].backward()

    Source: weighted, Peng et al., "Advantage-weighted regression", 2019, arXiv 1910.00177.
    """

    role = "actor"
    metrics: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(
        self,
        actor: DensityActor,
        *,
        weight: Weight | None = None,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str = "log_likelihood",
    ) -> None:
        super().__init__(name, weight=weight, coefficient=coefficient, reduction=reduction)
        hint = "Pass a GaussianActor or TanhGaussianActor."
        require_instance("LogLikelihoodLoss", "actor", actor, DensityActor, hint)
        require_trained("LogLikelihoodLoss", "actor", actor)
        self.actor_network = actor

    @property
    def network(self) -> nn.Module:
        """The actor."""
        return self.actor_network

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the weighted log-probability, ``[*B, 1]``."""
        actor = self.actor_network
        action = evaluated.action(actor)
        observation, distribution = evaluated.observation(actor), evaluated.distribution(actor)
        log_prob = actor.log_prob_from(distribution, observation, action)
        loss, metrics = self.weighted(-log_prob, evaluated)
        return loss, {"mean": log_prob.mean(), **metrics}
