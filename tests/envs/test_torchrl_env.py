"""`make`: TorchRL environments with success, alone and in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from flowpolicy.envs import make, make_gym
from flowpolicy.errors import ConfigError

MAZE = "pointmaze-medium-navigate-singletask-v0"
CUBE = "cube-single-play-singletask-task2-v0"


@pytest.mark.parametrize("name", [MAZE, CUBE, "InvertedPendulum-v5", "Pendulum-v1"])
def test_specs_hold(name: str) -> None:
    env = make(name)
    check_env_specs(env)
    rollout = env.rollout(3)
    assert rollout["observation"].dtype == torch.float32
    assert rollout["next", "reward"].shape == (3, 1)
    assert ("success" in rollout) == ("singletask" in name)


def test_it_is_the_gymnasium_environment() -> None:
    env, plain = make(MAZE), make_gym(MAZE)
    action = torch.tensor([0.5, -0.25])
    env.set_seed(3)
    step = env.step(env.reset().set("action", action))
    plain.reset(seed=3)
    plain.reset()
    observation, reward, *_ = plain.step(action.numpy())
    np.testing.assert_array_equal(step["next", "observation"].numpy(), observation)
    assert step["next", "reward"].item() == reward


def test_success_is_read_and_false_after_a_reset() -> None:
    env = make(MAZE)
    start = env.reset()
    assert start["success"].dtype == torch.bool
    assert start["success"].tolist() == [False]
    maze: Any = env.unwrapped
    maze.set_xy(np.array(maze.cur_goal_xy))
    end = env.step(start.set("action", torch.zeros(2)))
    assert end["next", "success"].tolist() == [True]
    assert end["next", "terminated"].tolist() == [True]


def test_serial_copies_repeat_and_differ_from_each_other() -> None:
    env = make(MAZE, num_workers=2, serial=True)
    check_env_specs(env)
    starts = []
    for _ in range(2):
        env.set_seed(0)
        starts.append(env.reset()["observation"].clone())
    assert torch.equal(*starts)
    assert not torch.equal(starts[0][0], starts[0][1])


def test_copies_in_processes() -> None:
    env = make(MAZE, num_workers=2)
    try:
        rollout = env.rollout(3)
        assert rollout["next", "success"].shape == (2, 3, 1)
        assert rollout["next", "observation"].shape == (2, 3, 2)
    finally:
        env.close()


def test_a_number_of_workers_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_workers must be at least 1, got 0"):
        make(MAZE, num_workers=0)
