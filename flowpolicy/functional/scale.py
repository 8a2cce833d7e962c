"""Scales of the critic's term in a policy loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowpolicy.functional.batch_mean import batch_mean

Scale = Callable[[Tensor], Tensor]
"""``[*B, 1] -> []``: one number for the whole batch, without gradient."""


def unit_scale(values: Tensor) -> Tensor:
    r"""No scaling, :math:`\lambda = 1`.

    Args:
        values: ``[*B, 1]``.

    Returns:
        ``[]``.

    Example:
        >>> import torch
        >>> unit_scale(torch.tensor([[-4.0], [2.0]]))
        tensor(1.)
    """
    return torch.ones((), dtype=values.dtype, device=values.device)


def inverse_mean_abs(values: Tensor) -> Tensor:
    r"""The inverse of the mean absolute value.

    .. math:: \lambda = \mathrm{sg}\big[1 / \langle|q|\rangle_B\big]

    Makes the critic's term as large as one action unit whatever the rewards' scale, so that
    coefficients and temperatures carry over between tasks. 0 where all values are.

    Args:
        values: ``[*B, 1]``.

    Returns:
        ``[]``, detached.

    Example:
        >>> import torch
        >>> inverse_mean_abs(torch.tensor([[-4.0], [2.0]]))
        tensor(0.3333)

    Source: Fujimoto, Gu, "A minimalist approach to offline reinforcement learning", 2021, arXiv
    2106.06860.
    """
    mean = batch_mean(values.detach().abs())
    # A critic that is exactly zero everywhere has no direction to scale: it is left out.
    inverse = mean.clamp_min(torch.finfo(mean.dtype).tiny).reciprocal()
    return torch.where(mean > 0, inverse, 0.0)
