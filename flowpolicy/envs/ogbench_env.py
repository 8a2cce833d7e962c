"""OGBench's single-task environments, made repeatable and quiet."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from flowpolicy.envs.global_rng import numpy_global
from flowpolicy.envs.names import (
    register_ogbench,
    single_task_datasets,
    single_task_ids,
    unknown_environment,
)

Env = gymnasium.Env[Any, Any]


def make_single_task(name: str, **kwargs: Any) -> Env:
    """The environment of one OGBench single-task data set; ``reset(seed=)`` repeats exactly.

    Args:
        name: the data set, such as ``cube-single-play-singletask-task2-v0``, or OGBench's own id of
            the environment, such as ``cube-single-singletask-task2-v0``.
        kwargs: passed to ``gymnasium.make``.

    Raises:
        ConfigError: no such data set.
    """
    register_ogbench()
    # gymnasium's checker would build the observation and action spaces again and again.
    kwargs = {"disable_env_checker": True, **kwargs}
    with warnings.catch_warnings():
        # dm_control looks for a display when the first environment that uses it is built.
        warnings.filterwarnings("ignore", message=".*DISPLAY environment variable is missing.*")
        if name in single_task_ids():
            env = gymnasium.make(name, **kwargs)
        elif name in single_task_datasets():
            import ogbench

            env = ogbench.make_env_and_datasets(name, env_only=True, **kwargs)
        else:
            raise unknown_environment(name)
    _fix_action_space(env.unwrapped)
    forget_model_file(env.unwrapped)
    return RepeatableEnv(env)


def _fix_action_space(env: Any) -> None:
    """Give the manipulation environments one action space in place of a new one per access.

    Their property builds float64 bounds and casts them, with two warnings each time, and no two of
    these spaces share a generator, so that seeding one has no effect.
    """
    cls = type(env)
    if isinstance(getattr(cls, "action_space", None), property):
        space = gymnasium.spaces.Box(-1.0, 1.0, shape=(len(env.action_low),), dtype=np.float32)
        env.__class__ = type(cls.__name__, (cls,), {"action_space": space})


def forget_model_file(env: Any) -> None:
    """Remove the temporary model file that every maze leaves behind once it is loaded."""
    model = Path(getattr(env, "fullpath", ""))
    if model.suffix == ".xml" and model.parent == Path(tempfile.gettempdir()):
        model.unlink(missing_ok=True)


class RepeatableEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws what OGBench draws from numpy's global generator from one of its own.

    ``info["success"]`` is a Python bool after every reset (False) and every step.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self._bits: np.random.BitGenerator = np.random.PCG64()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the same seed gives the same episode, whatever was drawn elsewhere."""
        if seed is not None:
            self._bits = np.random.PCG64(seed)
            self.env.unwrapped.action_space.seed(seed)
        with numpy_global(self._bits):
            observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; the teleporting maze draws its exit here."""
        with numpy_global(self._bits):
            observation, reward, terminated, truncated, info = self.env.step(action)
        info["success"] = bool(info["success"])
        return observation, float(reward), bool(terminated), bool(truncated), info
