"""A limit that is measured in the clone's own spread."""

from __future__ import annotations

from typing import final

from torch import Tensor

from flowpolicy.errors import require_positive
from flowpolicy.functional.squared_error import squared_error
from flowpolicy.losses.distill import DistillLoss
from flowpolicy.modules.evaluated_batch import EvaluatedBatch


@final
class ShareOfSpread:
    r"""A share of the variance that a clone's action has at an observation.

    .. math::
        \text{limit} = \rho\,\Big\langle \tfrac{1}{2A}
            \big\|\mathrm{clip}(\mu(s, z)) - a\big\|^2\Big\rangle_B

    The clone's action and the data's are two draws from nearly the same distribution, so half of
    their squared distance estimates its variance. As the limit of a ``DualLoss`` on a
    ``DistillLoss`` it says how far the policy may go from its clone in units of what the clone does
    anyway: without units, whatever the rewards and the actions. The teacher's action is the one
    that the distillation needs, so nothing is evaluated for it.

    Args:
        share: ``rho``, above 0.

    Raises:
        ConfigError: a share that is not a finite number above 0.

    Example:
        >>> import flowpolicy as fp
        >>> actor = fp.OneStepActor(3, 2, hidden=(16,))
        >>> flow = fp.EulerSampler(fp.VelocityField(3, 2, hidden=(16,)))
        >>> distill = fp.DistillLoss(actor, flow, coefficient=fp.LearnedCoefficient(1.0))
        >>> loss = fp.DualLoss(distill, limit=fp.ShareOfSpread(0.25))
    """

    def __init__(self, share: float) -> None:
        self.share = require_positive("ShareOfSpread", "share", share)

    def of(self, evaluated: EvaluatedBatch, loss: DistillLoss) -> Tensor:
        """The limit for this batch, ``[]``, without gradient."""
        cloned = evaluated.policy_action(loss.teacher).detach()
        return self.share * squared_error(cloned, evaluated.action(loss.teacher)).mean() / 2

    def __repr__(self) -> str:
        return f"ShareOfSpread({self.share:g})"
