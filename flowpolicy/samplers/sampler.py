"""What a sampler is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from flowpolicy.errors import require_at_least
from flowpolicy.functional.velocity import Velocity
from flowpolicy.modules.actor import Actor
from flowpolicy.modules.parts import require_field
from flowpolicy.modules.velocity_field import VelocityField


def velocity_given(field: VelocityField, observation: Tensor) -> Velocity:
    """The velocity of ``field`` at a point and a time, given the observation ``[*B, O]``."""

    def velocity(x: Tensor, t: float) -> Tensor:
        return field.velocity(observation, x, x.new_full((*x.shape[:-1], 1), t))

    return velocity


class Sampler(Actor):
    r"""An actor that follows a velocity field from noise to an action.

    .. math:: \frac{dx}{dt} = v(s, x, t),\qquad x(0) = z,\qquad a = \mathrm{clip}_{[-1,1]}(x(1))

    ``K`` steps of equal length; only the end is clipped. An implementation gives one ``step`` and
    its ``order``.

    Args:
        field: the velocity field; anything with ``velocity``, ``obs_dim`` and ``act_dim``.
        steps: ``K``.

    Raises:
        ConfigError: a field without ``velocity``, or ``steps`` that is no whole number of at least
            1.
    """

    order: ClassVar[int]
    """The global order of convergence: halving the step divides the error by ``2 ** order``."""

    def __init__(self, field: VelocityField, steps: int = 10) -> None:
        require_field(self.name, "field", field)
        super().__init__(field.obs_dim, field.act_dim)
        self.steps = require_at_least(self.name, "steps", steps, 1)
        self.field = field

    @abstractmethod
    def step(self, velocity: Velocity, x: Tensor, t: float, h: float) -> Tensor:
        """From ``x`` ``[*B, A]`` at time ``t`` to time ``t + h``."""

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The end of the chain: ``observation [*B, O], noise [*B, A] -> [*B, A]``, not clipped."""
        for x in self._chain(observation, noise):
            end = x
        return end

    def trajectory(self, observation: Tensor, noise: Tensor) -> Tensor:
        """The whole chain, noise first, not clipped: ``[K + 1, *B, A]``."""
        return torch.stack([noise, *self._chain(observation, noise)])

    def _chain(self, observation: Tensor, noise: Tensor) -> Iterator[Tensor]:
        self.check_inputs(observation, noise)
        return self.follow(velocity_given(self.field, observation), noise)

    def follow(self, velocity: Velocity, x: Tensor) -> Iterator[Tensor]:
        """Every state after ``x`` ``[*B, A]`` in its order, under any velocity."""
        for i in range(self.steps):
            x = self.step(velocity, x, i / self.steps, 1 / self.steps)
            yield x

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"steps={self.steps}"
