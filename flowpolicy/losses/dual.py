"""Moving a coefficient until a loss meets its limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast, final

from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.errors import ConfigError
from flowpolicy.functional.dual import dual
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.losses.distill import DistillLoss
from flowpolicy.losses.spread import ShareOfSpread
from flowpolicy.modules.evaluated_batch import EvaluatedBatch
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw


@final
class DualLoss(Loss):
    r"""Learns the coefficient of another loss, so that this loss stays at a limit.

    .. math:: L = c\,\big(\text{limit} - \mathrm{sg}\,\langle \ell \rangle_B\big)

    The coefficient grows while the mean of the constrained loss is above the limit and shrinks
    while it is below. With the distillation loss, the limit is the error that a policy may have
    against its clone; with the entropy loss, whose value is minus the entropy, it is minus the
    target entropy, and this is the temperature loss of SAC. Trains the coefficient. Reads what the
    constrained loss reads and asks no network a second time. Metric: ``<name>_slack``, the limit
    minus the mean.

    Args:
        loss: the constrained loss, built with ``coefficient=LearnedCoefficient(...)``.
        limit: what its mean shall not exceed: a number, or for a ``DistillLoss`` a
            ``ShareOfSpread``.
        coefficient: a factor on this loss, which is the speed of the dual update.
        reduction: over the batch.
        name: reported as ``loss_<name>``; ``<loss.name>_dual`` where ``None``.

    Raises:
        ConfigError: a loss whose coefficient is not learned, a limit that is not finite, a negative
            coefficient, or an unknown reduction.

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
        limit: float | ShareOfSpread,
        *,
        coefficient: float = 1.0,
        reduction: Reduction = "mean",
        name: str | None = None,
    ) -> None:
        if not isinstance(loss, Loss) or loss.learned_coefficient is None:
            raise ConfigError(
                f"DualLoss: the coefficient of {getattr(loss, 'name', loss)!r} is not learned. "
                "Build that loss with coefficient=LearnedCoefficient(...)."
            )
        if isinstance(limit, ShareOfSpread):
            if not isinstance(loss, DistillLoss):
                raise ConfigError(
                    f"DualLoss: a ShareOfSpread limits a DistillLoss, got {type(loss).__name__}. "
                    "Give its limit as a number."
                )
        elif not math.isfinite(limit):
            raise ConfigError(f"DualLoss: limit must be a finite number, got {limit!r}.")
        super().__init__(
            f"{loss.name}_dual" if name is None else name,
            coefficient=coefficient,
            reduction=reduction,
        )
        self.limit = limit
        self.learned = unfrozen(loss.learned_coefficient)
        self.role = f"{loss.name}_coefficient"
        self.of_data_action = loss.of_data_action
        self._constrained = (loss,)  # in a tuple: evaluated, not registered as a submodule
        self.out_keys = [*self.out_keys, f"{self.name}_slack"]

    @property
    def constrained(self) -> Loss:
        """The loss that shall stay at the limit."""
        return self._constrained[0]

    @property
    def network(self) -> nn.Module:
        """The coefficient."""
        return self.learned

    @property
    def has_batch_statistic(self) -> bool:
        """Whether the constrained loss has one."""
        return self.constrained.has_batch_statistic

    @property
    def reads(self) -> tuple[NestedKey, ...]:
        """What the constrained loss reads; and the data's action for its spread."""
        action = (self.tensor_keys.action,) if isinstance(self.limit, ShareOfSpread) else ()
        return (*self.constrained.reads, *action)

    def draws(self) -> Mapping[NestedKey, Draw]:
        """What the constrained loss draws."""
        return self.constrained.draws()

    @property
    def tensor_keys(self) -> BatchKeys:
        """Those of the constrained loss: both read the same entries."""
        keys: BatchKeys = self.constrained.tensor_keys
        return keys

    def frozen_networks(self) -> Iterator[tuple[str, nn.Module]]:
        """What the constrained loss trains and reads."""
        yield self.constrained.role, self.constrained.network
        yield from self.constrained.frozen_networks()

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """``[*B, 1]``."""
        value, _ = self.constrained.per_sample(evaluated)
        limit: float | Tensor = (
            self.limit.of(evaluated, cast("DistillLoss", self.constrained))
            if isinstance(self.limit, ShareOfSpread)
            else self.limit
        )
        return dual(self.learned(), value, limit), {"slack": limit - value.mean()}

    def extra_repr(self) -> str:
        """The limit, and what every loss says."""
        return f"{super().extra_repr()}, limit={self.limit}"
