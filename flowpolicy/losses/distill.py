"""Teaching one actor what another does."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.errors import ConfigError, require_sizes_match
from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.actor_loss import ActorLoss
from flowpolicy.losses.base import Reduction
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.frozen import frozen
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.parts import require_actor


@final
class DistillLoss(ActorLoss):
    r"""Regresses an actor on a teacher's action for the same observation and the same noise.

    .. math::
        L = c\,\Big\langle \tfrac1A \big\|\mu_\omega(s, z) - a^\star\big\|^2\Big\rangle_B,\qquad
        a^\star = \mathrm{sg}[\mathrm{clip}(\mathrm{teacher}(s, z))],\quad z \sim \mathcal N(0, I)

    The student is compared *before* clipping, the teacher after it: this is what pulls the student
    back into the box. Trains the actor; the teacher gets no gradient. Reads ``observation`` ``[*B,
    O]`` and where present ``noise`` ``[*B, *noise_shape]``. Metric: ``distill_error``, the loss
    without its coefficient.

    Args:
        actor: the student.
        teacher: e.g. a flow with its sampler.
        coefficient: ``c``, FQL's alpha: the strength of the behaviour constraint. Learned by a
            ``DualLoss`` or ``SpreadLoss`` where it is a ``LearnedCoefficient``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: a student and a teacher of different action or noise shapes, a negative
            coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)), steps=10)
        >>> loss = fp.DistillLoss(
        ...     fp.OneStepActor(3, 2, hidden=(16,)), teacher=flow, coefficient=10.0
        ... )
        >>> loss(TensorDict(observation=torch.randn(8, 3), batch_size=[8]))[
        ...     "loss_distill"
        ... ].backward()
        >>> flow.field.net[0].weight.grad is None
        True

    Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    metrics: ClassVar[tuple[str, ...]] = ("error",)

    def __init__(
        self,
        actor: Actor,
        teacher: Actor,
        *,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
        name: str = "distill",
    ) -> None:
        super().__init__(actor, name, coefficient=coefficient, reduction=reduction)
        require_actor("DistillLoss", "teacher", teacher)
        require_sizes_match("DistillLoss", actor=actor, teacher=teacher)
        if actor.noise_shape != teacher.noise_shape:
            raise ConfigError(
                "DistillLoss: student and teacher must share the noise, but the actor's "
                f"noise_shape is {actor.noise_shape} and the teacher's {teacher.noise_shape}."
            )
        self.teacher = frozen(teacher)

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of the unclipped action, ``[*B, 1]``."""
        taught = evaluated.policy_action(self.teacher).detach()
        error = squared_error(evaluated.raw_action(self.actor), taught)
        return error, {"error": error.mean()}
