"""The Bellman target and the critics' error against it."""

from __future__ import annotations

from torch import Tensor


def td_target(
    reward: Tensor,
    terminated: Tensor,
    next_value: Tensor,
    discount: float,
    steps: Tensor | None = None,
) -> Tensor:
    r"""The one-step or n-step Bellman target.

    .. math:: y = r + \gamma^{n}\,(1 - \text{terminated})\,v'

    Args:
        reward: ``[*B, 1]``, for n-step data the discounted sum over the window.
        terminated: ``[*B, 1]`` bool; the end of a recorded trajectory is *not* a termination.
        next_value: ``[*B, 1]``, the value at the end of the step or window.
        discount: per environment step.
        steps: ``[*B, 1]``, the number of steps of each row's window; one where ``None``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> r, v = torch.full((2, 1), -1.0), torch.full((2, 1), -10.0)
        >>> td_target(r, torch.tensor([[False], [True]]), v, discount=0.9)
        tensor([[-10.],
                [ -1.]])
    """
    factor = discount if steps is None else discount ** steps.to(next_value.dtype)
    return reward + factor * next_value * (~terminated.bool()).to(next_value.dtype)


def td_error(values: Tensor, target: Tensor) -> Tensor:
    r"""Squared error of every critic, averaged over the ensemble.

    .. math:: e = \frac{1}{E} \sum_{k=1}^{E} (Q_k - y_k)^2

    The target is one for all critics, or each critic has its own. Which side is trained is up to
    the caller.

    Args:
        values: ``[E, *B, 1]``.
        target: ``[*B, 1]``, or ``[E, *B, 1]`` with one of each critic's own.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> td_error(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([[2.0]]))
        tensor([[1.]])
    """
    return (values - target).square().mean(dim=0)
