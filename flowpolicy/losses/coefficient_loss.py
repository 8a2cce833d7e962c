"""What the losses that learn a coefficient share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from tensordict import NestedKey
from torch import Tensor, nn

from flowpolicy.errors import ConfigError, require_positive
from flowpolicy.losses.base import Loss, Reduction
from flowpolicy.modules.frozen import unfrozen
from flowpolicy.modules.keys import BatchKeys
from flowpolicy.paths.draws import Draw


class CoefficientLoss(Loss):
    """Trains the learned coefficient of another loss, by what that loss's value is.

    It reads what the constrained loss reads and asks no network a second time.

    Args:
        loss: the constrained loss, built with ``coefficient=LearnedCoefficient(...)``.
        largest: of the learned coefficient, above 0: where the constraint cannot be met, it would
            grow without end.
        coefficient: a factor on this loss, which is the speed of the update.
        reduction: over the batch.
        name: reported as ``loss_<name>``; ``<loss.name>_dual`` where ``None``.

    Raises:
        ConfigError: a loss whose coefficient is not learned, a negative coefficient, or an unknown
            reduction.
    """

    metrics: ClassVar[tuple[str, ...]] = ("slack",)

    def __init__(
        self,
        loss: Loss,
        *,
        largest: float,
        coefficient: float,
        reduction: Reduction,
        name: str | None,
    ) -> None:
        if not isinstance(loss, Loss) or loss.learned_coefficient is None:
            raise ConfigError(
                f"{type(self).__name__}: the coefficient of {getattr(loss, 'name', loss)!r} is not "
                "learned. Build that loss with coefficient=LearnedCoefficient(...)."
            )
        super().__init__(
            f"{loss.name}_dual" if name is None else name,
            coefficient=coefficient,
            reduction=reduction,
        )
        self.largest = require_positive(type(self).__name__, "largest", largest)
        self.learned = unfrozen(loss.learned_coefficient)
        self.role = f"{loss.name}_coefficient"
        self.of_data_action = loss.of_data_action
        self._constrained = (loss,)  # in a tuple: evaluated, not registered as a submodule

    def held(self, per_sample: Tensor, exceeds: Tensor) -> Tensor:
        """Zero in place of what would make a coefficient grow that is the largest already."""
        return torch.where((self.learned().detach() >= self.largest) & exceeds, 0.0, per_sample)

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
        """What the constrained loss reads."""
        return self.constrained.reads

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
