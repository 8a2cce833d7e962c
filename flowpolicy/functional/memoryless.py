"""The stochastic equation of a flow whose end knows nothing of its start."""

from __future__ import annotations

from math import sqrt
from typing import TypeVar

import torch
from torch import Tensor

from flowpolicy.functional.velocity import Velocity

Time = TypeVar("Time", float, Tensor)


def memoryless_noise_scale(time: Time, h: float) -> Time:
    r"""The noise scale of the memoryless schedule, shifted by one step away from its pole at 0.

    .. math:: \sigma_t = \sqrt{\frac{2\,(1 - t + h)}{t + h}}

    Args:
        time: ``t`` in [0, 1), a number or a tensor.
        h: the length of a step; 0 for the schedule of continuous time.

    Returns:
        As ``time``.

    Example:
        >>> [round(memoryless_noise_scale(i / 10, 0.1), 6) for i in (0, 3, 9)]
        [4.690416, 2.0, 0.632456]

    Source: Domingo-Enrich et al., "Adjoint matching", ICLR 2025, arXiv 2409.08861; shifted as in
    the code of Li, Levine, "Q-learning with adjoint matching", ICLR 2026, arXiv 2601.14234.
    """
    scale: Time = (2 * (1 - time + h) / (time + h)) ** 0.5
    return scale


def memoryless_step(x: Tensor, velocity: Tensor, noise: Tensor, time: float, h: float) -> Tensor:
    r"""One Euler-Maruyama step of the equation with the marginals of a flow on ``LinearPath``.

    .. math::
        x_{i+1} = x_i + h\,\Big(2 v(x_i, t_i) - \frac{x_i}{t_i + h}\Big)
            + \sqrt h\,\sigma_i\,\xi_i

    Args:
        x: ``[*B, A]``.
        velocity: of the flow at ``x`` and ``t``, ``[*B, A]``.
        noise: ``xi``, ``[*B, A]``.
        time: ``t``.
        h: the length of the step.

    Returns:
        ``[*B, A]``.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> memoryless_step(one, one, 0 * one, time=0.4, h=0.1)
        tensor([[1.]])

    Source: as ``memoryless_noise_scale``.
    """
    drift = 2 * velocity - x / (time + h)
    return x + h * drift + sqrt(h) * memoryless_noise_scale(time, h) * noise


def memoryless_path(velocity: Velocity, noise: Tensor, end: Velocity | None = None) -> Tensor:
    r"""A whole path from noise to an action: all steps random but the last.

    .. math::
        x_0 = z_0,\qquad x_{i+1} = \mathrm{step}(x_i, v(x_i, t_i), z_{i+1}),\quad i = 0..T-2,\qquad
        x_T = x_{T-1} + h\,v_\text{end}(x_{T-1}, t_{T-1})

    with ``h = 1 / T`` and ``t_i = i / T``; nothing is clipped. The last step follows an ordinary
    differential equation, so that no noise remains in the action.

    Args:
        velocity: of the flow, trained on ``LinearPath``.
        noise: the start and the ``T - 1`` steps' noises, ``[*B, T, A]``.
        end: the flow of the last step, e.g. the behaviour's; ``velocity`` where ``None``.

    Returns:
        ``[T + 1, *B, A]``.

    Example:
        >>> import torch
        >>> memoryless_path(lambda x, t: -x, torch.randn(4, 10, 2)).shape
        torch.Size([11, 4, 2])

    Source: as ``memoryless_noise_scale``.
    """
    x, *noises = noise.unbind(dim=-2)
    h = 1 / noise.shape[-2]
    path = [x]
    for i, each in enumerate(noises):
        x = memoryless_step(x, velocity(x, i * h), each, i * h, h)
        path.append(x)
    last = velocity if end is None else end
    path.append(x + h * last(x, 1 - h))
    return torch.stack(path)


def control_cost(difference: Tensor, noise_scale: float) -> Tensor:
    r"""What it costs to steer a path away from its base for one step.

    .. math:: \frac{2}{\sigma_i^2}\,\big\|f_\theta(x_i, t_i) - f_\beta(x_i, t_i)\big\|^2

    Half the squared norm of the control ``2 (f_theta - f_beta) / sigma``; times the step's length
    and summed over the steps it is the divergence of the steered paths from the base's.

    Args:
        difference: of the velocities, ``[*B, A]``.
        noise_scale: ``sigma_i``.

    Returns:
        ``[*B, 1]``.

    Example:
        >>> import torch
        >>> control_cost(torch.tensor([[1.0, 2.0]]), noise_scale=2.0)
        tensor([[2.5000]])

    Source: as ``memoryless_noise_scale``.
    """
    return (2 / noise_scale**2) * difference.square().sum(dim=-1, keepdim=True)
