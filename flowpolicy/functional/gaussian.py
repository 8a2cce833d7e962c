"""Log-probabilities of diagonal Gaussians, and of what tanh makes of them."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def gaussian_log_prob(noise: Tensor, log_std: Tensor) -> Tensor:
    r"""The log-density of :math:`\mu + \sigma \epsilon` under a diagonal Gaussian.

    .. math:: \log p = -\sum_{d=1}^{A} \big(\tfrac12 \epsilon_d^2 + \log\sigma_d
        + \tfrac12 \log 2\pi\big)

    Args:
        noise: ``[*B, A]``, the standardised deviation from the mean.
        log_std: ``[*B, A]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> gaussian_log_prob(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))
        tensor([[-2.3379]])
    """
    terms = noise.square() / 2 + log_std + math.log(2 * math.pi) / 2
    return -terms.sum(dim=-1, keepdim=True)


def tanh_log_derivative(x: Tensor) -> Tensor:
    r"""The logarithm of the volume by which tanh shrinks space at ``x``.

    .. math:: \sum_{d=1}^{A} \log\big(1 - \tanh^2 x_d\big)
        = \sum_{d=1}^{A} 2\big(\log 2 - x_d - \mathrm{softplus}(-2 x_d)\big)

    The right-hand side stays finite where ``tanh`` has rounded to one.

    Args:
        x: ``[*B, A]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> tanh_log_derivative(torch.tensor([[0.0, 50.0]]))
        tensor([[-98.6137]])
    """
    return (2 * (math.log(2) - x - F.softplus(-2 * x))).sum(dim=-1, keepdim=True)
