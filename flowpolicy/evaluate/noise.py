"""The noise of each episode's actions from a generator of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def episode_seeds(seed: int, episode: int) -> tuple[int, int]:
    """Two independent seeds of one episode: for its environment and for its noise."""
    environment, noise = np.random.SeedSequence((seed, episode)).generate_state(2)
    return int(environment) >> 1, int(noise)  # gymnasium and others want 31 bits


class EpisodeNoise:
    """Standard normal noise, the same for an episode wherever and beside whatever it runs.

    Args:
        seed: Seed of the episode's noise.
        shape: Shape of the noise of one action, ``actor.noise_shape``.
    """

    BLOCK = 64
    """Steps drawn at once: one call to the generator costs more than the numbers."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = shape
        self._block = torch.empty(0, *shape)
        self._used = 0

    def draw(self) -> Tensor:
        """Noise of the next step, of the shape given."""
        if self._used == len(self._block):
            self._block = torch.randn(self.BLOCK, *self._shape, generator=self._generator)
            self._used = 0
        self._used += 1
        return self._block[self._used - 1]
