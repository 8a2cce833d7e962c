"""Expectile regression, the value loss of IQL."""

from __future__ import annotations

from torch import Tensor


def expectile_error(value: Tensor, target: Tensor, expectile: float) -> Tensor:
    r"""Asymmetric squared error whose minimiser is the ``expectile`` of the targets.

    .. math:: e = |\kappa - \mathbb 1[y - v < 0]|\,(y - v)^2

    Args:
        value: ``[*B, 1]``, the prediction ``v``.
        target: ``[*B, 1]``, the sample ``y``.
        expectile: ``kappa`` in (0, 1); 0.5 is half the squared error, above it overestimates.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> expectile_error(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]), expectile=0.75)
        tensor([[0.7500],
                [0.2500]])

    Source: Kostrikov, Nair, Levine, "Offline reinforcement learning with implicit Q-learning",
    2021, arXiv 2110.06169.
    """
    difference = target - value
    below = (difference < 0).to(difference.dtype)
    return (expectile - below).abs() * difference.square()
