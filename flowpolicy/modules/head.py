"""Last layers, which keep their digits under autocast."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowpolicy.modules.stacked import StackedLinear


class Head(nn.Linear):
    """The last linear layer of a network; computes in the dtype of its weights."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """``[*B, in] -> [*B, out]``."""
        return _in_dtype_of(self.weight, super().forward, input)


class StackedHead(StackedLinear):
    """The last linear layers of an ensemble; compute in the dtype of their weights."""

    def forward(self, x: Tensor) -> Tensor:
        """``[E, N, in] -> [E, N, out]``."""
        return _in_dtype_of(self.weight, super().forward, x)


def _in_dtype_of(weight: Tensor, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The layer's result in the dtype of its weights, also where autocast has another.

    Values around -100 are half a unit apart in bfloat16, but advantages and targets are differences
    of them. Last layers are small, so this costs next to nothing.
    """
    if not torch.is_autocast_enabled(x.device.type):
        return layer(x)
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.to(weight.dtype))
