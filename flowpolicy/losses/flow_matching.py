"""Cloning the data with a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.base import Reduction
from flowpolicy.losses.weighted_loss import WeightedLoss
from flowpolicy.modules.drawing import noise_and_time
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.learned_coefficient import LearnedCoefficient
from flowpolicy.modules.parts import (
    checked,
    require_field,
    require_path,
    require_time,
    require_trained,
)
from flowpolicy.modules.velocity_field import VelocityField
from flowpolicy.paths.draws import Draw, Law
from flowpolicy.paths.linear import LinearPath
from flowpolicy.paths.path import Path
from flowpolicy.paths.times import UniformTime
from flowpolicy.weights.weight import Weight


@final
class FlowMatchingLoss(WeightedLoss):
    r"""Regresses a velocity field on the velocity of a path from noise to the data's action.

    .. math::
        L = c\,\Big\langle g(s, a)\,\tfrac1A
            \big\|v_\theta(s, x_t, t) - \dot x_t\big\|^2\Big\rangle_B,\qquad
        x_0 \sim \mathcal N(0, I),\quad t \sim U[0, 1],\quad x_1 = a

    The mean over the action dimensions, as in all published code. Trains the field. Reads
    ``observation`` ``[*B, O]``, ``action`` ``[*B, A]``, and where present ``x0`` ``[*B, A]`` and
    ``time`` ``[*B, 1]``. Metric: with a weight, ``flow_weight``, its batch mean.

    Args:
        field: the velocity field.
        path: from noise to data.
        weight: ``g``, how much each data action counts; all alike where ``None``.
        time: the law of ``t``.
        coefficient: ``c``. Learned by a ``DualLoss`` where it is a ``LearnedCoefficient``.
        reduction: over the batch.
        name: reported as ``loss_<name>``.

    Raises:
        ConfigError: parts of the wrong kind, a negative coefficient, or an unknown reduction.
        MissingKeyError, ShapeError: a batch that does not fit (in use).

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> loss = fp.FlowMatchingLoss(fp.VelocityField(3, 2, hidden=(16,)))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> sorted(loss(batch).keys())
        ['loss_flow']
        >>> loss(batch)["loss_flow"].backward()

    Source: Lipman et al., "Flow matching for generative modeling", 2022, arXiv 2210.02747;
    weighted, the VaBC loss of Nguimatsia Tiofack et al., "Guided flow policy", ICLR 2026, arXiv
    2512.03973.
    """

    role = "field"

    def __init__(
        self,
        field: VelocityField,
        path: Path | None = None,
        *,
        weight: Weight | None = None,
        time: Law | None = None,
        coefficient: float | LearnedCoefficient = 1.0,
        reduction: Reduction = "mean",
        name: str = "flow",
    ) -> None:
        super().__init__(name, weight=weight, coefficient=coefficient, reduction=reduction)
        require_field("FlowMatchingLoss", "field", field)
        require_trained("FlowMatchingLoss", "field", field)
        self.field = field
        self.path = LinearPath() if path is None else path
        self.time = UniformTime() if time is None else time
        require_path("FlowMatchingLoss", self.path)
        require_time("FlowMatchingLoss", self.time)

    @property
    def network(self) -> nn.Module:
        """The field."""
        return self.field

    def draws(self) -> Mapping[NestedKey, Draw]:
        """The path's noise end and the time; and what the weight draws."""
        return {
            **noise_and_time(self.tensor_keys, self.field.act_dim, self.time),
            **super().draws(),
        }

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted squared error of the velocity, ``[*B, 1]``."""
        x_t, velocity = evaluated.path_sample(self.field, self.path)
        time = evaluated.time(self.field)
        found = self.field.velocity(evaluated.observation(self.field), x_t, time)
        checked(self.field, "velocity", found, velocity.shape)
        return self.weighted(squared_error(found, velocity), evaluated)
