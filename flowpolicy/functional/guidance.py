"""What a score adds to a velocity."""

from __future__ import annotations

from torch import Tensor


def score_velocity(x_t: Tensor, score: Tensor, time: float) -> Tensor:
    r"""The velocity of the straight path whose marginal has a given score.

    .. math:: u(x_t, t) = \frac{1}{t}\big(x_t + (1 - t)\,\nabla_x \log p_t(x_t)\big)

    Args:
        x_t: ``[*B, A]``.
        score: ``[*B, A]``, the gradient of the log-density at ``x_t``.
        time: ``t`` in (0, 1].

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> score_velocity(torch.tensor([[1.0]]), torch.tensor([[-2.0]]), 0.5)
        tensor([[0.]])

    Source: Zheng et al., "Guided flows for generative modeling and decision making", 2023, arXiv
    2311.13443.
    """
    return (x_t + (1 - time) * score) / time
