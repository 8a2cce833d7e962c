"""Actions in [-1, 1] for environments with bounds of their own."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import RescaleAction


class UnitActions(RescaleAction[Any, Any, Any]):
    """Takes actions in [-1, 1] and hands on what lies in the environment's bounds.

    Args:
        env: with finite bounds.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        one = np.ones(env.action_space.shape or (), dtype=env.action_space.dtype)
        super().__init__(env, -one, one)

    def action(self, action: Any) -> Any:
        """Rescaled; rounding would leave the bounds at their very ends."""
        bounds = bounds_of(self)
        return np.clip(super().action(action), bounds.low, bounds.high)


def bounds_of(env: gymnasium.Env[Any, Any]) -> Box:
    """The actions of an environment of :func:`~flowpolicy.envs.make_gym` in its own units."""
    own = env.env if isinstance(env, UnitActions) else env
    space = own.action_space
    assert isinstance(space, Box)  # noqa: S101 (make_gym refuses others)
    return space
