"""Derivatives with respect to an action, of values and of velocities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pullback(function: Callable[[Tensor], Tensor], point: Tensor, cotangent: Tensor) -> Tensor:
    r"""A vector-Jacobian product, each sample with its own.

    .. math:: \big[\nabla_x f(x)\big]^\top g

    The derivative is computed whether or not the caller's gradient is switched on, and the result
    carries none itself: neither to the point nor to the parameters of the function.

    Args:
        function: ``[*B, A] -> [*B, D]``, row by row.
        point: ``x`` ``[*B, A]``.
        cotangent: ``g`` ``[*B, D]``.

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> pullback(torch.square, torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, -1.0]]))
        tensor([[ 2., -6.]])
    """
    # vjp switches its own gradient on, and only that; under inference mode it is wrong without a
    # word in PyTorch 2.11.
    with torch.inference_mode(False), torch.no_grad():
        pull = torch.func.vjp(function, point)[1]
        gradient: Tensor = pull(cotangent)[0]
    return gradient


def action_gradient(values: Callable[[Tensor], Tensor], action: Tensor) -> Tensor:
    r"""How each sample's value changes with its action.

    .. math:: \nabla_a\, q(a)

    Of every sample on its own: the gradient of the *sum* over the batch, whose mean would divide by
    the number of rows. It is a number like any other, without gradient of its own.

    Args:
        values: ``[*B, A] -> [*B, 1]``, row by row: critics at a fixed observation, aggregated.
        action: ``[*B, A]``.

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> q = lambda a: -a.square().sum(dim=-1, keepdim=True)
        >>> action_gradient(q, torch.tensor([[0.5, -1.0], [0.0, 2.0]]))
        tensor([[-1.,  2.],
                [-0., -4.]])
    """
    return pullback(values, action, action.new_ones((*action.shape[:-1], 1)))
