"""First and last layers, which keep their digits under autocast."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowpolicy.modules.stacked import StackedLinear
from flowpolicy.modules.xavier_linear import XavierLinear


class ExactLinear(XavierLinear):
    """A linear layer whose result has all digits of its weights' dtype, also under autocast."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """``[*B, in] -> [*B, out]``."""
        return _exactly(super().forward, input, self.weight)


class ExactStackedLinear(StackedLinear):
    """Linear layers of an ensemble whose results have all digits of their weights' dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, in] -> [E, N, out]``."""
        return _exactly(super().forward, x, self.weight)


def _exactly(layer: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """The layer's result in the dtype of its weights, also where autocast has another.

    Positions around 36 are a quarter apart in bfloat16, and values around -100 half a unit, but
    advantages and targets are differences of them. What lies between keeps fewer digits well.
    """
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return layer(x)
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.to(weight.dtype))
