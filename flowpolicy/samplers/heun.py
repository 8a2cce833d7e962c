"""Second order with both ends of each interval."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.functional.velocity import Velocity
from flowpolicy.samplers.sampler import Sampler


@final
class HeunSampler(Sampler):
    r"""Heun's method, the explicit trapezoidal rule.

    .. math::
        k_1 = v(s, x_i, t_i),\quad k_2 = v(s, x_i + h k_1, t_i + h),\quad
        x_{i+1} = x_i + \tfrac h2 (k_1 + k_2)

    Two network passes per step; the last one asks the field at ``t = 1``.

    Args:
        field: the velocity field.
        steps: ``K``.

    Raises:
        ConfigError: a field without ``velocity``, or ``steps`` that is no whole number of at least
            1.
        ShapeError: an observation or noise of another size (in use).

    Example:
        >>> import torch
        >>> from flowpolicy.modules import VelocityField
        >>> flow = HeunSampler(VelocityField(3, 2, hidden=(8,)), steps=5)
        >>> flow.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])
    """

    order: ClassVar[int] = 2

    def step(self, velocity: Velocity, x: Tensor, t: float, h: float) -> Tensor:
        """Two passes of the field."""
        k1 = velocity(x, t)
        k2 = velocity(x + h * k1, t + h)
        return x + 0.5 * h * (k1 + k2)
