"""What a probability path is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor


class PathSample(NamedTuple):
    """A point of a path and the velocity there.

    Attributes:
        x_t: ``[*B, A]``, the point at time ``t``.
        velocity: ``[*B, A]``, ``dx_t/dt`` there, the target of flow matching.
    """

    x_t: Tensor
    velocity: Tensor


class Path(ABC):
    """A way from noise at ``t = 0`` to data at ``t = 1``, given both ends."""

    @abstractmethod
    def sample(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """The point at time ``t`` between ``x0`` and ``x1``, and its velocity.

        Args:
            x0: ``[*B, A]``, noise.
            x1: ``[*B, A]``, data.
            t: ``[*B, 1]`` in [0, 1].
        """
