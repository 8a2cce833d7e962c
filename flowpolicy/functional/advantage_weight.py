"""The weight of advantage-weighted regression."""

from __future__ import annotations

import math

from torch import Tensor


def advantage_weight(
    value: Tensor, baseline: Tensor, temperature: Tensor | float, maximum: float
) -> Tensor:
    r"""The exponential of the advantage, clipped from above.

    .. math:: g = \min\{e^{(q - v)/\eta},\ g_\text{max}\}

    The exponent is clipped before the exponential, so that nothing overflows.

    Args:
        value: ``[*B, 1]``, the value ``q`` of the data action.
        baseline: ``[*B, 1]``, the state's value ``v``.
        temperature: ``eta`` > 0.
        maximum: the largest weight.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> advantage_weight(
        ...     torch.tensor([[1.0], [1e6]]), torch.zeros(2, 1), temperature=1.0, maximum=100.0
        ... )
        tensor([[  2.7183],
                [100.0000]])

    Source: Peng et al., "Advantage-weighted regression", 2019, arXiv 1910.00177.
    """
    return ((value - baseline) / temperature).clamp_max(math.log(maximum)).exp()
