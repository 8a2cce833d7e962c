"""``make_gym``: one environment with float32 observations and actions in [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowpolicy.envs.names import is_single_task, unknown_environment
from flowpolicy.errors import ConfigError, require_installed

if TYPE_CHECKING:
    import gymnasium


def make_gym(name: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """A gymnasium environment with float32 observations ``[O]`` and actions ``[A]`` in [-1, 1].

    For OGBench's environments ``info["success"]`` is always a bool and ``reset(seed=)`` repeats
    exactly, without touching numpy's global generator.

    Args:
        name: a single-task data set of OGBench (``cube-single-play-singletask-task2-v0``) or any
            registered id of gymnasium (``HalfCheetah-v5``).
        kwargs: passed to ``gymnasium.make``, for instance ``render_mode="rgb_array"``.

    Raises:
        ConfigError: the name is unknown, or the observations or actions are not flat vectors.

    Example:
        >>> env = make_gym("Pendulum-v1")  # its own actions lie in [-2, 2]
        >>> observation, info = env.reset(seed=0)
        >>> observation.dtype, env.action_space
        (dtype('float32'), Box(-1.0, 1.0, (1,), float32))
    """
    require_installed("make_gym", "gymnasium", extra="ogbench")
    import gymnasium
    import numpy as np
    from gymnasium.spaces import Box
    from gymnasium.wrappers import TransformObservation

    from flowpolicy.envs.unit_actions import UnitActions

    env: gymnasium.Env[Any, Any]
    if is_single_task(name):
        from flowpolicy.envs.ogbench_env import make_single_task

        env = make_single_task(name, **kwargs)
    else:
        try:
            env = gymnasium.make(name, **kwargs)
        except gymnasium.error.DependencyNotInstalled:
            raise
        except gymnasium.error.Error as error:  # not registered, another version, or malformed
            raise unknown_environment(name) from error

    observations, actions = env.observation_space, env.action_space
    if not (
        isinstance(observations, Box)
        and len(observations.shape) == 1
        and np.issubdtype(observations.dtype, np.floating)
    ):
        env.close()
        raise ConfigError(
            f"{name}: observations must be one flat vector of floats, Box(shape=(O,)), got "
            f"{observations}. Wrap the environment, for instance in gymnasium's "
            "FlattenObservation, and register it under a name of its own."
        )
    if not (
        isinstance(actions, Box)
        and len(actions.shape) == 1
        and np.isfinite(actions.low).all()
        and np.isfinite(actions.high).all()
    ):
        env.close()
        raise ConfigError(
            f"{name}: actions must be one flat vector with finite bounds, Box(low, high, (A,)), "
            f"got {actions}. Policies act in [-1, 1] and are rescaled to these bounds."
        )
    if observations.dtype != np.float32:
        low, high = observations.low.astype(np.float32), observations.high.astype(np.float32)
        single = Box(low, high, dtype=np.float32)
        env = TransformObservation(env, lambda value: value.astype(np.float32), single)
    if not ((actions.low == -1).all() and (actions.high == 1).all()):
        env = UnitActions(env)
    return env
