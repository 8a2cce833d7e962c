"""An environment of which every number is known."""

from __future__ import annotations

from typing import Any

import numpy as np


class LineWorld:
    """Stands at x and moves by a; an episode ends beyond 1 (success) or after ten steps."""

    made = 0
    stepped = 0
    ended = 0

    def __init__(self) -> None:
        LineWorld.made += 1
        self.closed = False
        self.over = True
        self.starts: list[float] = []

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.x = float(np.random.default_rng(seed).uniform(-0.5, 0.5))
        self.starts.append(self.x)
        self.time, self.over = 0, False
        return np.array([self.x], dtype=np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert not self.over, "a finished episode was stepped"
        assert action.shape == (1,) and -1 <= action[0] <= 1
        type(self).stepped += 1
        self.x += 0.2 * float(action[0])
        self.time += 1
        success = self.x > 1
        self.over = success or self.time == 10
        observation = np.array([self.x], dtype=np.float32)
        return observation, self.x, success, self.time == 10, {"success": success}

    def close(self) -> None:
        assert not self.closed
        LineWorld.ended += 1
        self.closed = True


class Silent(LineWorld):
    """Does not tell about success."""

    def step(self, action: np.ndarray) -> Any:
        *step, _ = super().step(action)
        return (*step, {})
