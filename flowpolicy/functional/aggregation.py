"""How one value is made of many: over the critics of an ensemble, or over several policies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowpolicy.errors import require_not_negative

Aggregation = Callable[[Tensor], Tensor]
"""``[E, *B, 1] -> [*B, 1]``: reduces the first dimension."""


def mean_value(values: Tensor) -> Tensor:
    r"""The mean over the first dimension, :math:`\frac1E\sum_k Q_k`.

    Args:
        values: ``[E, *B, 1]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> mean_value(torch.tensor([[[1.0]], [[2.0]]]))
        tensor([[1.5000]])
    """
    return values.mean(dim=0)


def first_value(values: Tensor) -> Tensor:
    r"""The first one's value, :math:`Q_1`, as in the policy loss of TD3.

    Args:
        values: ``[E, *B, 1]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> first_value(torch.tensor([[[1.0]], [[2.0]]]))
        tensor([[1.]])
    """
    return values[0]


def min_value(values: Tensor) -> Tensor:
    r"""The minimum over the first dimension, :math:`\min_k Q_k` (clipped double Q-learning).

    Args:
        values: ``[E, *B, 1]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> min_value(torch.tensor([[[1.0]], [[2.0]]]))
        tensor([[1.]])
    """
    return values.amin(dim=0)


def max_value(values: Tensor) -> Tensor:
    r"""The maximum over the first dimension, :math:`\max_k Q_k`.

    Args:
        values: ``[E, *B, 1]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> max_value(torch.tensor([[[1.0]], [[2.0]]]))
        tensor([[2.]])
    """
    return values.amax(dim=0)


@dataclass(frozen=True)
class Pessimistic:
    r"""The mean minus ``rho`` population standard deviations over the first dimension.

    .. math:: \frac1E\sum_k Q_k - \rho\sqrt{\frac1E\sum_k (Q_k - \bar Q)^2}

    Args:
        rho: how pessimistic, at least 0.

    Raises:
        ConfigError: a negative or non-finite ``rho``.

    Example:
        >>> import torch
        >>> Pessimistic(0.5)(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1))
        tensor([[1.9410]])

    Source: Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234 (the
    released code; the paper's equation 26 prints a deviation that is smaller by the square root of
    ``E``).
    """

    rho: float

    def __post_init__(self) -> None:
        require_not_negative("Pessimistic", "rho", self.rho)

    def __call__(self, values: Tensor) -> Tensor:
        """``[E, *B, 1] -> [*B, 1]``."""
        mean = values.mean(dim=0)
        # A norm, because its gradient is zero where all values agree; that of std is NaN.
        deviation = torch.linalg.vector_norm(values - mean, dim=0) / math.sqrt(values.shape[0])
        lowered: Tensor = mean - self.rho * deviation
        return lowered
