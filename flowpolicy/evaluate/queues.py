"""Chunks of actions on their way to the environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class ActionQueues:
    """For every environment the chunk that it plays, one action per step.

    Args:
        count: Number of environments.
        horizon: Number of actions in a chunk, ``h``.
        act_dim: Components of a chunk, ``h A``.

    Example:
        >>> queues = ActionQueues(1, horizon=2, act_dim=2)
        >>> queues.fill([0], np.array([[0.5, -0.5]], dtype=np.float32))
        >>> queues.pop(0), queues.empty([0]), queues.pop(0), queues.empty([0])
        (array([0.5], dtype=float32), [], array([-0.5], dtype=float32), [0])
    """

    def __init__(self, count: int, horizon: int, act_dim: int) -> None:
        self._chunks = np.zeros((count, horizon, act_dim // horizon), dtype=np.float32)
        self._played = [horizon] * count

    def empty(self, slots: Iterable[int]) -> list[int]:
        """Those of ``slots`` that have nothing left to play."""
        horizon = self._chunks.shape[1]
        return [slot for slot in slots if self._played[slot] == horizon]

    def fill(self, slots: Sequence[int], actions: Array) -> None:
        """Takes the rows ``slots`` of ``actions`` ``[count, h A]``."""
        for slot in slots:
            self._chunks[slot].flat = actions[slot]
            self._played[slot] = 0

    def pop(self, slot: int) -> Array:
        """The next action ``[A]``: a copy, an environment may keep it."""
        self._played[slot] += 1
        action: Array = self._chunks[slot, self._played[slot] - 1].copy()
        return action

    def drop(self, slot: int) -> None:
        """Forgets what is left."""
        self._played[slot] = self._chunks.shape[1]
