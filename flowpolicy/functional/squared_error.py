"""The squared error of flow matching and of distillation."""

from __future__ import annotations

from torch import Tensor


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean squared difference over the action dimensions.

    .. math:: e = \frac{1}{A} \sum_{d=1}^{A} (p_d - y_d)^2

    A *mean* over dimensions, as in all published code; the papers print a sum, which would multiply
    every coefficient by ``A``.

    Args:
        prediction: ``[*B, A]``.
        target: ``[*B, A]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> squared_error(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([[2.5000]])
    """
    return (prediction - target).square().mean(dim=-1, keepdim=True)
