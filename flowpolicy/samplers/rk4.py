"""Fourth order."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.functional.velocity import Velocity
from flowpolicy.samplers.sampler import Sampler


@final
class RK4Sampler(Sampler):
    r"""The classical Runge-Kutta method.

    .. math::
        k_1 = v(x_i, t_i),\quad k_2 = v(x_i + \tfrac h2 k_1, t_i + \tfrac h2),\quad
        k_3 = v(x_i + \tfrac h2 k_2, t_i + \tfrac h2),\quad k_4 = v(x_i + h k_3, t_i + h),\quad
        x_{i+1} = x_i + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)

    Four network passes per step; the last one asks the field at ``t = 1``.

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
        >>> flow = RK4Sampler(VelocityField(3, 2, hidden=(8,)), steps=3)
        >>> flow.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])
    """

    order: ClassVar[int] = 4

    def step(self, velocity: Velocity, x: Tensor, t: float, h: float) -> Tensor:
        """Four passes of the field."""
        k1 = velocity(x, t)
        k2 = velocity(x + 0.5 * h * k1, t + 0.5 * h)
        k3 = velocity(x + 0.5 * h * k2, t + 0.5 * h)
        k4 = velocity(x + h * k3, t + h)
        return x + (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4)
