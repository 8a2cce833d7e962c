"""The activation of the published networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SCALE = math.sqrt(8 / math.pi)
_CUBIC = 0.044715


def tanh_gelu(x: Tensor) -> Tensor:
    r"""GELU in its tanh approximation.

    .. math::
        \tfrac{x}{2}\Big(1 + \tanh\big(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\big)\Big)
            = x\,\sigma\big(\sqrt{8/\pi}\,(x + 0.044715\,x^3)\big)

    Written with the sigmoid, which is the same function and costs half as much on a CPU.

    Args:
        x: of any shape.

    Returns:
        Of the same shape.

    Example:
        >>> import torch
        >>> x = torch.linspace(-3, 3, 7, dtype=torch.float64)
        >>> theirs = torch.nn.functional.gelu(x, approximate="tanh")
        >>> torch.testing.assert_close(tanh_gelu(x), theirs)

    Source: Hendrycks, Gimpel, "Gaussian error linear units", 2016, arXiv 1606.08415.
    """
    scale = x.new_full((), _SCALE)
    return x * torch.sigmoid(x * torch.addcmul(scale, x, x, value=_SCALE * _CUBIC))
