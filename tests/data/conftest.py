"""Small data sets: synthetic transitions, and files of OGBench's layout from a real point maze."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowpolicy.data import Dataset
from flowpolicy.data.names import DatasetName
from flowpolicy.data.relabel import task_of

MAZE = "pointmaze-medium-navigate-singletask-v0"
MAZE_FILE = "pointmaze-medium-navigate-v0.npz"
EPISODES, STEPS = 4, 30


def transitions(lengths: list[int], successes: set[int] = frozenset(), **info: Any) -> dict:
    """Rows that carry their own number: observation (i, 0), next (i + 1, 0), reward i / 10."""
    n = sum(lengths)
    row = torch.arange(n, dtype=torch.float32)
    flags = torch.tensor([i in successes for i in range(n)]).unsqueeze(1)
    episode = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    last = torch.zeros(n, 1, dtype=torch.bool)
    last[torch.tensor(lengths).cumsum(0) - 1] = True
    return {
        "observation": torch.stack([row, torch.zeros(n)], dim=1),
        "action": (row / n).unsqueeze(1),
        ("next", "observation"): torch.stack([row + 1, torch.zeros(n)], dim=1),
        ("next", "reward"): (row / 10).unsqueeze(1),
        ("next", "terminated"): flags,
        ("next", "truncated"): last & ~flags,
        "episode": episode,
    }


@pytest.fixture
def dataset() -> Dataset:
    """Three episodes of 5, 4 and 6 rows with a success in the middle of the second."""
    return Dataset(transitions([5, 4, 6], successes={6}))


@pytest.fixture(scope="session")
def maze_arrays() -> dict[str, np.ndarray]:
    """Four walks of a real point maze that start around the goal of task 1 and cross it."""
    env = task_of(DatasetName.parse(MAZE)).env
    goal = np.array(env.unwrapped.cur_goal_xy)
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {k: [] for k in ("observations", "actions", "terminals", "qpos")}
    for _ in range(EPISODES):
        env.reset(seed=0)
        env.unwrapped.set_xy(goal + rng.uniform(-1.5, 1.5, size=2))
        for t in range(STEPS + 1):
            position = env.unwrapped.get_xy().astype(np.float32)
            action = rng.uniform(-1, 1, size=2).astype(np.float32)
            if t == 3:
                action[:] = (1.0, -1.0)  # the bounds themselves occur in OGBench's data
            for key, value in (
                ("observations", position),
                ("actions", action),
                ("terminals", t == STEPS),
                ("qpos", position),
            ):
                rows[key].append(value)
            env.step(action)
    return {key: np.array(values) for key, values in rows.items()}


@pytest.fixture
def maze_file(tmp_path: Path, maze_arrays: dict[str, np.ndarray]) -> Callable[..., Path]:
    """Writes the walks, with arrays replaced or (by None) left out; gives the folder."""

    def write(split: str = "train", **changes: np.ndarray | None) -> Path:
        arrays = {k: v for k, v in {**maze_arrays, **changes}.items() if v is not None}
        name = MAZE_FILE if split == "train" else MAZE_FILE.replace(".npz", "-val.npz")
        np.savez_compressed(tmp_path / name, **arrays)
        return tmp_path

    return write
