"""The sampler of the published methods."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from flowpolicy.functional.velocity import Velocity
from flowpolicy.samplers.sampler import Sampler


@final
class EulerSampler(Sampler):
    r"""Explicit Euler steps from the left end of each interval.

    .. math:: x_{i+1} = x_i + h\,v(s, x_i, i h),\qquad h = 1/K

    One network pass per step; the field is never asked at ``t = 1``. Policies distilled from a flow
    learn *this* map, not the exact flow, so keep it where published numbers are to be met.

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
        >>> flow = EulerSampler(VelocityField(3, 2, hidden=(8,)), steps=10)
        >>> s, z = torch.zeros(4, 3), torch.randn(4, 2)
        >>> flow.act(s, z).shape, flow.trajectory(s, z).shape
        (torch.Size([4, 2]), torch.Size([11, 4, 2]))

    Source: Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """

    order: ClassVar[int] = 1

    def step(self, velocity: Velocity, x: Tensor, t: float, h: float) -> Tensor:
        """One pass of the field."""
        return x + h * velocity(x, t)
