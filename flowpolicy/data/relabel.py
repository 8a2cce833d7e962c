"""Rewards and success of one task, computed by OGBench for recorded states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from flowpolicy.data.names import DatasetName
from flowpolicy.errors import DataError


@dataclass(frozen=True)
class Task:
    """A task of an environment, reduced to what relabelling and validation need."""

    env: Any
    number: int
    obs_dim: int
    act_dim: int


@lru_cache(maxsize=8)
def task_of(name: DatasetName) -> Task:
    """Make the environment of a data set; kept, because making one takes seconds."""
    from flowpolicy.envs.ogbench_env import make_single_task

    env: Any = make_single_task(name.full)
    env.reset()
    return Task(
        env=env,
        number=int(env.unwrapped.cur_task_id),
        obs_dim=int(env.observation_space.shape[0]),
        act_dim=int(env.action_space.shape[0]),
    )


def relabel(
    source: str, name: DatasetName, arrays: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The reward of every state, and whether it solves the task.

    Args:
        source: what to call the data in a message.
        name: the data set, which says the task.
        arrays: ``qpos`` `[N, Q]` and, where the task has buttons, ``button_states``.

    Returns:
        ``rewards`` float32 `[N]` and ``successes`` bool `[N]`.

    Raises:
        DataError: arrays that the task's rewards are computed from are missing.
    """
    from ogbench.relabel_utils import relabel_dataset

    labelled = dict(arrays)
    try:
        relabel_dataset(name.env_id(name.task), task_of(name).env, labelled)
    except (KeyError, IndexError) as error:
        raise DataError(
            f"{source}: the rewards of {name.full} cannot be computed from "
            f"{', '.join(arrays)} ({error}); the file needs qpos of this environment, and "
            "button_states where it has buttons. Check the file's name and origin."
        ) from error
    return labelled["rewards"], labelled["masks"] == 0
