"""Rewards and success of one task, computed by OGBench for recorded states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from flowpolicy.data.names import DatasetName


@dataclass(frozen=True)
class Task:
    """A task of an environment, reduced to what relabelling and validation need.

    Attributes:
        env: The environment.
        number: Of the task.
        widths: How many columns the arrays of its data have, by name.
    """

    env: Any
    number: int
    widths: Mapping[str, int]


@lru_cache(maxsize=8)
def task_of(name: DatasetName) -> Task:
    """Make the environment of a data set; kept, because making one takes seconds."""
    from flowpolicy.envs.ogbench_env import make_single_task

    env: Any = make_single_task(name.full)
    env.reset()
    widths = {
        "observations": env.observation_space.shape[0],
        "actions": env.action_space.shape[0],
        "qpos": env.unwrapped.model.nq,
        "button_states": getattr(env.unwrapped, "_num_buttons", None) or 0,
    }
    present = {key: int(width) for key, width in widths.items() if width}
    return Task(env=env, number=int(env.unwrapped.cur_task_id), widths=present)


def relabel(name: DatasetName, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The reward of every state, and whether it solves the task.

    Args:
        name: the data set, which says the task.
        arrays: ``qpos`` `[N, Q]` and, where the task has buttons, ``button_states`` `[N, B]`, of
            its widths.

    Returns:
        ``rewards`` float32 `[N]` and ``successes`` bool `[N]`.
    """
    from ogbench.relabel_utils import relabel_dataset

    labelled = dict(arrays)
    relabel_dataset(name.env_id(name.task), task_of(name).env, labelled)
    return labelled["rewards"], labelled["masks"] == 0
