"""Second order with one look ahead."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.functional.velocity import Velocity
from flowpolicy.samplers.sampler import Sampler


@final
class MidpointSampler(Sampler):
    r"""The explicit midpoint rule.

    .. math:: x_{i+1} = x_i + h\,v\big(s,\ x_i + \tfrac h2 v(s, x_i, t_i),\ t_i + \tfrac h2\big)

    Two network passes per step.

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
        >>> flow = MidpointSampler(VelocityField(3, 2, hidden=(8,)), steps=5)
        >>> flow.act(torch.zeros(4, 3), torch.randn(4, 2)).shape
        torch.Size([4, 2])
    """

    order: ClassVar[int] = 2

    def step(self, velocity: Velocity, x: Tensor, t: float, h: float) -> Tensor:
        """Two passes of the field."""
        return x + h * velocity(x + 0.5 * h * velocity(x, t), t + 0.5 * h)
