"""What a loss draws at random, declared as data: a shape and a law."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Law(ABC):
    """A distribution to draw from; laws with equal parameters are equal."""

    @abstractmethod
    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A tensor of this ``shape``, every element drawn on its own."""


@final
@dataclass(frozen=True)
class GaussianNoise(Law):
    r"""Standard normal noise, :math:`x_0 \sim \mathcal N(0, I)`.

    Example:
        >>> import torch
        >>> law = GaussianNoise()
        >>> law.sample((4, 2), dtype=torch.float32, device=torch.device("cpu")).shape
        torch.Size([4, 2])
    """

    def sample(
        self,
        shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """``shape -> Tensor``."""
        return torch.randn(tuple(shape), dtype=dtype, device=device, generator=generator)


@final
@dataclass(frozen=True)
class Draw:
    """One random entry of a batch.

    Args:
        shape: per sample, after the batch dimensions.
        law: what it is drawn from.

    Example:
        >>> Draw((2,), GaussianNoise()) == Draw((2,), GaussianNoise())
        True
    """

    shape: tuple[int, ...]
    law: Law

    def like(self, observation: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One for each row of ``observation [*B, O]``, of its dtype and on its device."""
        return self.sample(
            observation.shape[:-1],
            dtype=observation.dtype,
            device=observation.device,
            generator=generator,
        )

    def sample(
        self,
        batch_shape: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A tensor of ``[*B, *shape]``."""
        return self.law.sample(
            (*batch_shape, *self.shape), dtype=dtype, device=device, generator=generator
        )
