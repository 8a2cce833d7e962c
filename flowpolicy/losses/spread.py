"""Holding a policy near its clone, in units of the clone's own spread."""

from __future__ import annotations

from typing import ClassVar, cast, final

import torch
from tensordict import NestedKey
from torch import Tensor

from flowpolicy.errors import ConfigError, require_positive
from flowpolicy.functional.batch_mean import batch_mean
from flowpolicy.functional.dual import log_dual
from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.base import Reduction
from flowpolicy.losses.coefficient_loss import CoefficientLoss
from flowpolicy.losses.distill import DistillLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch


@final
class SpreadLoss(CoefficientLoss):
    r"""Learns the coefficient that holds a distillation error at a share of the clone's variance.

    .. math::
        L = c\,\log\alpha\ \mathrm{sg}\Big[1 - \frac{\langle e \rangle_B}{\rho\, S}\Big],\qquad
        S = \Big\langle \tfrac{1}{2A} \big\|\mathrm{clip}(\mu(s, z)) - a\big\|^2 \Big\rangle_B

    The clone's action and the data's are two draws from nearly the same distribution, so half of
    their mean squared distance, ``S``, estimates its variance. ``alpha`` grows while the policy's
    error ``e`` against the clone is more than the share ``rho`` of it, and shrinks while it is
    less. The share has no unit, whatever the rewards and the actions, so one value serves many
    tasks. In the logarithm each step changes ``alpha`` by a factor; at ``largest``, where the
    critics hardly count any more, it grows no further, should the student be unable to follow the
    clone so closely. Trains the coefficient. Reads ``observation``, ``action`` and the noise;
    the teacher's action is the one that the distillation needs. Metrics: ``<name>_slack``,
    ``1 - e / (rho S)``, and ``<name>_variance``, ``S``.

    Args:
        loss: the distillation, built with ``coefficient=LearnedCoefficient(...)``.
        share: ``rho``, above 0.
        largest: of ``alpha``.
        coefficient: ``c``, a factor on this loss, which is the speed of the update.
        reduction: over the batch.
        name: reported as ``loss_<name>``; ``<loss.name>_dual`` where ``None``.

    Raises:
        ConfigError: a loss that is no ``DistillLoss`` or whose coefficient is not learned, a share
            or bound that is not a finite number above 0, a negative coefficient, or an unknown
            reduction.

    Example:
        >>> import torch
        >>> import flowpolicy as fp
        >>> from tensordict import TensorDict
        >>> actor = fp.OneStepActor(3, 2, hidden=(16,))
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> distill = fp.DistillLoss(actor, flow, coefficient=fp.LearnedCoefficient(1.0))
        >>> batch = TensorDict(
        ...     observation=torch.randn(8, 3), action=torch.zeros(8, 2), batch_size=[8]
        ... )
        >>> fp.SpreadLoss(distill, share=0.25)(batch)["loss_distill_dual"].backward()
    """

    metrics: ClassVar[tuple[str, ...]] = ("slack", "variance")

    def __init__(
        self,
        loss: DistillLoss,
        share: float,
        *,
        largest: float = 1000.0,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str | None = None,
    ) -> None:
        super().__init__(
            loss, largest=largest, coefficient=coefficient, reduction=reduction, name=name
        )
        if not isinstance(loss, DistillLoss):
            raise ConfigError(
                f"SpreadLoss: only a DistillLoss has a clone with a spread, got "
                f"{type(loss).__name__}. Give that a limit with DualLoss."
            )
        self.share = require_positive("SpreadLoss", "share", share)

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """What the distillation reads, and the data's action."""
        return (*self.constrained.reads, self.tensor_keys.action)

    @property
    def has_batch_statistic(self) -> bool:
        """The variance is one."""
        return True

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """``[*B, 1]``."""
        distill = cast("DistillLoss", self.constrained)
        error, _ = distill.per_sample_once(evaluated)
        cloned = evaluated.policy_action(distill.teacher).detach()
        distance = squared_error(cloned, evaluated.action(distill.teacher))
        known, mean_distance = self._mean_of_valid(evaluated, distance)
        variance = mean_distance / 2
        # Data without any spread would ask for an infinite alpha at once.
        limit = self.share * variance.clamp_min(torch.finfo(variance.dtype).eps)
        # A batch without any action says nothing: neither too much nor too little.
        excess = torch.where(known > 0, error.detach() / limit, 1.0)
        mean = batch_mean(excess)
        loss = self.held(log_dual(self.learned.log_value, excess), mean > 1)
        return loss, {"slack": 1 - mean, "variance": variance}

    def _mean_of_valid(self, evaluated: EvaluatedBatch, values: Tensor) -> tuple[Tensor, Tensor]:
        """The share of rows whose action is one, and their mean: chunks may leave trajectories."""
        valid = evaluated.valid(type(self).__name__)
        if valid is None:
            return values.new_ones(()), batch_mean(values)
        share = batch_mean(valid.to(values.dtype))
        total = batch_mean(torch.where(valid, values, 0.0))
        return share, total / share.clamp_min(torch.finfo(values.dtype).tiny)

    def extra_repr(self) -> str:
        """The share, and what every loss says."""
        return f"{super().extra_repr()}, share={self.share:g}"
