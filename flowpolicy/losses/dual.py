"""Holding a loss at a limit by learning its coefficient."""

from __future__ import annotations

import math
from typing import final

from torch import Tensor

from flowpolicy.errors import ConfigError
from flowpolicy.functional.dual import dual
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.losses.coefficient_loss import CoefficientLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch


@final
class DualLoss(CoefficientLoss):
    r"""Learns the coefficient of another loss, so that this loss stays at a limit.

    .. math:: L = c\,\big(\text{limit} - \mathrm{sg}\,\langle \ell \rangle_B\big)

    The coefficient grows while the mean of the constrained loss is above the limit and shrinks
    while it is below. With the distillation loss, the limit is the error that a policy may have
    against its clone; with the entropy loss, whose value is minus the entropy, it is minus the
    target entropy, and this is the temperature loss of SAC. At ``largest`` it grows no further,
    should the limit be out of reach. Trains the coefficient. Reads what the
    constrained loss reads and asks no network a second time. Metric: ``<name>_slack``, the limit
    minus the mean.

    Args:
        loss: the constrained loss, built with ``coefficient=LearnedCoefficient(...)``.
        limit: what its mean shall not exceed.
        largest: of the coefficient.
        coefficient: a factor on this loss, which is the speed of the dual update.
        reduction: over the batch.
        name: reported as ``loss_<name>``; ``<loss.name>_dual`` where ``None``.

    Raises:
        ConfigError: a loss whose coefficient is not learned, a limit that is not finite, a bound
            that is not a finite number above 0, a negative coefficient, or an unknown reduction.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> actor = fp.OneStepActor(3, 2, hidden=(16,))
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> distill = fp.DistillLoss(actor, flow, coefficient=fp.LearnedCoefficient(10.0))
        >>> loss = fp.DualLoss(distill, limit=0.05)
        >>> loss(TensorDict(observation=torch.randn(8, 3), batch_size=[8]))[
        ...     "loss_distill_dual"
        ... ].backward()

    Source: Haarnoja et al., "Soft actor-critic algorithms and applications", 2018, arXiv
    1812.05905, for the entropy.
    """

    def __init__(
        self,
        loss: Loss,
        limit: float,
        *,
        largest: float = 1e6,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(
            loss, largest=largest, coefficient=coefficient, reduction=reduction, name=name
        )
        if not math.isfinite(limit):
            raise ConfigError(f"DualLoss: limit must be a finite number, got {limit!r}.")
        self.limit = limit

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """``[*B, 1]``."""
        value, _ = self.constrained.per_sample_once(evaluated)
        loss = self.held(dual(self.learned(), value, self.limit), value.detach() > self.limit)
        return loss, {"slack": self.limit - value.mean()}

    def extra_repr(self) -> str:
        """The limit, and what every loss says."""
        return f"{super().extra_repr()}, limit={self.limit:g}"
