"""Going back from a noisy action."""

from __future__ import annotations

import math

from torch import Tensor


def clean_estimate(x_t: Tensor, noise: Tensor, alpha: float, sigma: float) -> Tensor:
    r"""The action of which a noisy one is made, given its noise.

    .. math:: \hat x_1 = (x_t - \sigma_t\,\epsilon) / \alpha_t

    Args:
        x_t: ``[*B, A]``.
        noise: ``[*B, A]``, known or predicted.
        alpha: the share of data, above 0.
        sigma: the share of noise.

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> clean_estimate(torch.tensor([[1.0]]), torch.tensor([[0.5]]), alpha=0.5, sigma=1.0)
        tensor([[1.]])

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239.
    """
    return (x_t - sigma * noise) / alpha


def posterior_mean(
    x_t: Tensor,
    estimate: Tensor,
    *,
    next_alpha: float,
    next_sigma: float,
    sigma: float,
    beta: float,
) -> Tensor:
    r"""Where a noisy action of a variance-preserving diffusion was one step closer to the data.

    .. math::
        \frac{\alpha_{n-1}\,\beta_n\,\hat x_1 + \sqrt{1 - \beta_n}\,\sigma_{n-1}^2\,x_n}{\sigma_n^2}

    On average, given the clean action.

    Args:
        x_t: ``[*B, A]``.
        estimate: ``[*B, A]``, the clean action.
        next_alpha: the share of data one step closer to it.
        next_sigma: the share of noise there.
        sigma: the share of noise at ``x_t``.
        beta: the variance of the step.

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> x, estimate = torch.tensor([[2.0]]), torch.tensor([[0.5]])
        >>> posterior_mean(x, estimate, next_alpha=1.0, next_sigma=0.0, sigma=0.6, beta=0.36)
        tensor([[0.5000]])

    Source: Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", 2020, arXiv 2006.11239,
    equation 7.
    """
    of_estimate = next_alpha * beta / sigma**2
    of_x = math.sqrt(1 - beta) * next_sigma**2 / sigma**2
    return of_estimate * estimate + of_x * x_t
