"""Fine-tuning a flow by differentiating its simulation."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from flowpolicy.functional.memoryless import (
    control_cost,
    memoryless_noise_scale,
    memoryless_path,
)
from flowpolicy.losses.memoryless_loss import MemorylessLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.samplers.sampler import velocity_given


@final
class BasicAdjointMatchingLoss(MemorylessLoss):
    r"""Lowers the cost of control minus the value of the end, with gradient through the whole path.

    .. math::
        L = c\,\Big\langle \sum_{i=0}^{T-2} \frac{2}{\sigma_i^2}\,
            \big\|f_\theta(s, x_i, t_i) - f_\beta(s, x_i, t_i)\big\|^2
            - \frac1\eta\,\mathrm{agg}_k\,Q_k(s, x_T) \Big\rangle_B

    The problem of optimal control whose solution ``AdjointMatchingLoss`` regresses on, solved by
    brute force: the states carry gradient, and the critics see the end unclipped. Trains the field.
    Reads ``observation`` ``[*B, O]`` and where present ``path_noise`` ``[*B, T, A]``. Metrics:
    ``basic_adjoint_cost``, the sum over the steps, and ``basic_adjoint_value``, that of the ends.

    Args:
        field: ``f_theta``, the velocity field to train.
        base: ``f_beta``, e.g. ``TargetNetwork(behavior_field)``.
        critic: the critics to climb, usually the online ones.
        temperature: ``eta``, above 0; the papers' inverse temperature is its reciprocal.
        steps: ``T``, at least 2: the last step is the base's.
        aggregation: over the ensemble.
        coefficient: ``c``.
        reduction: over the batch.
        name: reported as ``loss_<name>``, by default ``basic_adjoint``.

    Raises:
        ConfigError: parts of the wrong kind or of different sizes, critics that are not
            differentiable in the action, a base that is the trained field itself, a
            temperature that is not above 0, ``steps`` that is no whole number of at least 2, a
            negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> field, behavior = (fp.VelocityField(3, 2, hidden=(16,)) for _ in range(2))
        >>> critic = fp.CriticEnsemble(3, 2, hidden=(16,))
        >>> loss = fp.BasicAdjointMatchingLoss(field, behavior, critic, temperature=1.0, steps=5)
        >>> sorted(loss(TensorDict(observation=torch.randn(8, 3), batch_size=[8])).keys())
        ['basic_adjoint_cost', 'basic_adjoint_value', 'loss_basic_adjoint']

    Source: the baseline BAM of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
    2601.14234, and the authors' code; the cost of control carries no step length there.
    """

    default_name: ClassVar[str] = "basic_adjoint"
    least_steps: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = ("cost", "value")

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cost minus scaled value, ``[*B, 1]``."""
        observation, noise = evaluated.observation(self.field), self.path_noise(evaluated)
        self.sde.check_inputs(observation, noise)
        field = velocity_given(self.field, observation)
        base = velocity_given(self.base, observation)
        costs: list[Tensor] = []

        def steered(x: Tensor, time: float) -> Tensor:
            velocity = field(x, time)
            scale = memoryless_noise_scale(time, 1 / self.sde.steps)
            costs.append(control_cost(velocity - base(x, time), scale))
            return velocity

        end = memoryless_path(steered, noise, end=base)[-1]
        cost = torch.stack(costs).sum(dim=0)
        value = self.value(observation, end)
        return cost - value / self.temperature, {"cost": cost.mean(), "value": value.mean()}
