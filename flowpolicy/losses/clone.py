"""Keeping an actor's action at the data's."""

from __future__ import annotations

from typing import ClassVar, final

from tensordict import NestedKey
from torch import Tensor

from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.actor_loss import ActorLoss
from flowpolicy.losses.base import Reduction
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.learned_coefficient import LearnedCoefficient


@final
class CloneLoss(ActorLoss):
    r"""Regresses an actor's action on the data's.

    .. math:: L = c\,\big\langle \tfrac1A \|\mu_\omega(s, z) - a\|^2\big\rangle_B

    The mean over the action dimensions, on the action before clipping; where a paper has the sum,
    multiply its coefficient by ``A``. Meant for a deterministic actor: one that draws noise learns
    to ignore it. Trains the actor. Reads ``observation`` ``[*B, O]``, ``action`` ``[*B, A]`` and
    where present ``noise`` ``[*B, *noise_shape]``. Metric: ``clone_error``, the loss without its
    coefficient.

    Args:
        actor: the policy.
        coefficient: ``c``, the strength of the behaviour constraint.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: what is no actor, a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> loss = fp.CloneLoss(fp.DeterministicActor(3, 2, hidden=(16,)), coefficient=0.1)
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> loss(batch)["loss_clone"].backward()

    Source: Fujimoto, Gu, "A minimalist approach to offline reinforcement learning", 2021, arXiv
    2106.06860.
    """

    of_data_action = True
    metrics: ClassVar[tuple[str, ...]] = ("error",)

    def __init__(
        self,
        actor: Actor,
        *,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
        name: str = "clone",
    ) -> None:
        super().__init__(actor, name, coefficient=coefficient, reduction=reduction)

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """The observation and the action."""
        return (self.tensor_keys.observation, self.tensor_keys.action)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of the unclipped action, ``[*B, 1]``."""
        error = squared_error(evaluated.raw_action(self.actor), evaluated.action(self.actor))
        return error, {"error": error.mean()}
