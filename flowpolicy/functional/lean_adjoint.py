"""How the end of a path pulls at every point of it."""

from __future__ import annotations

import torch
from torch import Tensor

from flowpolicy.functional.action_gradient import pullback
from flowpolicy.functional.memoryless import memoryless_noise_scale
from flowpolicy.functional.velocity import Velocity


def lean_adjoint(velocity: Velocity, path: Tensor, end: Tensor) -> Tensor:
    r"""The lean adjoint along a memoryless path, backwards from its end.

    .. math::
        \tilde g_T = \text{end},\qquad
        \tilde g_i = \tilde g_{i+1} + h\,\Big[\nabla_x\Big(2 v(x, t_i + h)
            - \frac{x}{t_i + h}\Big)\Big]^\top_{x = x_i}\,\tilde g_{i+1}

    Lean: the drift differentiated is the base's, so the adjoint knows nothing of the control. One
    vector-Jacobian product per step, at the state of the step's beginning and the time of its end,
    as in the authors' code. It carries no gradient.

    Args:
        velocity: of the base flow, trained on ``LinearPath``.
        path: ``[T + 1, *B, A]``.
        end: the gradient of the cost of the path's end, ``[*B, A]``: minus that of a reward.

    Returns:
        ``[T + 1, *B, A]``.

    Example:
        >>> import torch
        >>> path = torch.randn(11, 4, 2)
        >>> lean_adjoint(lambda x, t: 0 * x, path, torch.ones(4, 2))[-2:, 0, 0]
        tensor([0.9000, 1.0000])

    Source: Domingo-Enrich et al., "Adjoint matching", ICLR 2025, arXiv 2409.08861; the discrete
    form is that of the code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv
    2601.14234.
    """
    steps = path.shape[0] - 1
    h = 1 / steps
    adjoints = [end]
    for i in reversed(range(steps)):
        adjoints.append(adjoints[-1] + h * _pull(velocity, path[i], adjoints[-1], (i + 1) * h))
    return torch.stack(adjoints[::-1])


def _pull(velocity: Velocity, x: Tensor, adjoint: Tensor, time: float) -> Tensor:
    return pullback(lambda x: 2 * velocity(x, time) - x / time, x, adjoint)


def adjoint_matching_error(velocity: Tensor, base: Tensor, adjoint: Tensor) -> Tensor:
    r"""How far a flow is from the one whose paths the adjoint steers best.

    .. math::
        e = \sum_{i=0}^{T-1} \Big\| \frac{2}{\sigma_i}\,
            \big(f_\theta(x_i, t_i) - f_\beta(x_i, t_i)\big) + \sigma_i\,\tilde g_i \Big\|^2

    The *sum* over steps and dimensions, without the step's length, as in the authors' code. It is
    least where ``f_theta - f_beta`` is the mean of ``-sigma^2 g / 2`` given the point.

    Args:
        velocity: of the trained flow along the path, ``[T, *B, A]``.
        base: of the base flow there, ``[T, *B, A]``.
        adjoint: the lean adjoint there, ``[T, *B, A]``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> v, base = torch.zeros(2, 10, 4, 3)
        >>> adjoint_matching_error(v, base, torch.ones(10, 4, 3)).shape
        torch.Size([4, 1])

    Source: as ``lean_adjoint``.
    """
    steps = velocity.shape[0]
    time = torch.arange(steps, dtype=velocity.dtype, device=velocity.device) / steps
    sigma = memoryless_noise_scale(time, 1 / steps).view(-1, *[1] * (velocity.ndim - 1))
    residual = (2 / sigma) * (velocity - base) + sigma * adjoint
    return residual.square().sum(dim=0).sum(dim=-1, keepdim=True)
