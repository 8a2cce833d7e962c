"""A coefficient that is learned rather than set."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from flowpolicy.errors import require_positive


@final
class LearnedCoefficient(nn.Module):
    r"""A positive number that a further loss moves until another meets its limit.

    .. math:: c = e^{\ell}

    Pass it as ``coefficient=`` of the loss that it multiplies, and that loss to a ``DualLoss`` or a
    ``SpreadLoss``.

    Args:
        initial: its value at the start, above 0.

    Raises:
        ConfigError: an initial value that is not a finite number above 0.

    Example:
        >>> LearnedCoefficient(2.0)().detach()
        tensor(2.)

    Source: the entropy coefficient of Haarnoja et al., "Soft actor-critic algorithms and
    applications", 2018, arXiv 1812.05905.
    """

    initial: Tensor

    def __init__(self, initial: float = 1.0) -> None:
        super().__init__()
        require_positive("LearnedCoefficient", "initial", initial)
        self.register_buffer("initial", torch.tensor(float(initial)), persistent=False)
        self.log_value = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Back to the initial value."""
        self.log_value.copy_(self.initial).log_()

    def forward(self) -> Tensor:
        """``c``, ``[]``."""
        return self.log_value.exp()
