"""What a policy does in its environment, to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate.environments import PARALLEL, Env, EnvSource, borrowed
from flowpolicy.evaluate.lockstep import run_episodes

Array = np.ndarray[Any, Any]


def record_observations(
    policy: nn.Module, env: EnvSource, *, episodes: int, seed: int = 0, max_steps: int | None = None
) -> list[Array]:
    """The observations of each episode, start and end included: ``[length + 1, O]``.

    The same episodes as those of :func:`evaluate` with the same seed.
    """
    seen: list[list[Array]] = [[] for _ in range(episodes)]

    def observe(episode: int, observation: Array, _: Env) -> None:
        seen[episode].append(observation)

    with borrowed(env, min(episodes, PARALLEL)) as envs:
        run_episodes(policy, envs, range(episodes), seed=seed, max_steps=max_steps, observe=observe)
    return [np.stack(rows) for rows in seen]


def record_frames(
    policy: nn.Module,
    env: EnvSource,
    *,
    episodes: int = 1,
    seed: int = 0,
    max_steps: int | None = None,
    every: int = 1,
) -> tuple[list[Array], float]:
    """Pictures ``[H, W, 3]`` of ``episodes`` episodes after one another, and frames per second.

    Args:
        policy: An actor.
        env: Environment whose ``render()`` gives an RGB array.
        episodes: How many.
        seed: As in :func:`evaluate`.
        max_steps: Ends an episode that the environment has not ended.
        every: Takes every so many steps one picture.

    Raises:
        ConfigError: The environment cannot draw itself here.
    """
    frames: list[Array] = []
    count = 0

    def observe(_episode: int, _observation: Array, where: Env) -> None:
        nonlocal count
        count += 1
        if (count - 1) % every == 0:
            frames.append(_frame(where))

    with borrowed(env, 1) as envs:
        run_episodes(policy, envs, range(episodes), seed=seed, max_steps=max_steps, observe=observe)
        rate = float(envs[0].metadata.get("render_fps") or 20) / every
    return frames, rate


def _frame(env: Env) -> Array:
    hint = (
        "the environment cannot be drawn here; without a screen set MUJOCO_GL=egl (GPU or Mesa) "
        "or MUJOCO_GL=osmesa before starting"
    )
    try:
        frame = env.render()
    except Exception as error:  # drivers fail in their own ways
        raise ConfigError(f"{hint} ({type(error).__name__}: {error})") from error
    if frame is None:
        raise ConfigError(f"{hint} (render() gave nothing)")
    return np.asarray(frame)
