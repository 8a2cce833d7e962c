"""Keeping a policy random."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.errors import require_instance
from flowpolicy.losses.actor_loss import ActorLoss
from flowpolicy.losses.base import Reduction
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.stochastic_actor import StochasticActor


@final
class EntropyLoss(ActorLoss):
    r"""Raises the entropy of a stochastic actor.

    .. math:: L = c\,\big\langle \log\pi_\omega(a \mid s)\big\rangle_B,\qquad
        a = \mu_\omega(s, z),\quad z \sim \mathcal N(0, I)

    Beside a ``DPGLoss`` it makes the actor's part of soft actor-critic, from the same draw. With a
    ``LearnedCoefficient``, ``DualLoss(loss, limit=-target_entropy)`` is SAC's loss of the
    temperature. Trains the actor, through its action. Reads ``observation`` ``[*B, O]`` and where
    present ``noise`` ``[*B, *noise_shape]``. Metric: ``entropy_estimate``, minus the mean
    log-probability.

    Args:
        actor: whose entropy counts.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: an actor without log-probabilities, a negative coefficient, or an unknown
            reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> loss = fp.EntropyLoss(
        ...     fp.TanhGaussianActor(3, 2, hidden=(16,)), coefficient=fp.LearnedCoefficient()
        ... )
        >>> dual = fp.DualLoss(loss, limit=1.0)  # a target entropy of -1
        >>> batch = TensorDict(observation=torch.randn(8, 3), batch_size=[8])
        >>> loss(batch)["loss_entropy"].backward()

    Source: Haarnoja et al., "Soft actor-critic algorithms and applications", 2018, arXiv
    1812.05905.
    """

    metrics: ClassVar[tuple[str, ...]] = ("estimate",)

    def __init__(
        self,
        actor: StochasticActor,
        *,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
        name: str = "entropy",
    ) -> None:
        hint = "Pass one with log-probabilities, such as a TanhGaussianActor."
        require_instance("EntropyLoss", "actor", actor, StochasticActor, hint)
        super().__init__(actor, name, coefficient=coefficient, reduction=reduction)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The log-probability of the actor's own draw, ``[*B, 1]``."""
        log_prob = evaluated.log_prob(self.actor)
        return log_prob, {"estimate": -log_prob.mean()}
