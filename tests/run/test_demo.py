"""The demo, with few updates: everything is there, and it can be made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flowpolicy.cli.demo import _table
from flowpolicy.demo import ENV, SETTINGS, run_demo
from flowpolicy.envs import make_gym
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import wilson_interval
from flowpolicy.plot import Maze
from tests.run.pictures import read_picture


def test_the_settings_are_those_that_are_promised():
    assert SETTINGS.options == {
        "hidden": (128, 128, 128),
        "flow_steps": 10,
        "alpha": 10.0,
        "scale": "unit",
        "tau": 0.02,
        "lr": 1e-3,
    }
    assert (SETTINGS.offline_steps, SETTINGS.batch_size) == (4000, 256)
    assert Path(SETTINGS.data_root).joinpath("pointmaze-medium-navigate-v0.npz").is_file()
    assert (SETTINGS.n_step, SETTINGS.discount) == (10, 0.995)


@pytest.mark.timeout(300)
def test_the_demo_writes_table_picture_and_summary(tmp_path, monkeypatch):
    import flowpolicy.demo

    quick = SETTINGS.replace(max_episode_steps=30, tensorboard=False)
    monkeypatch.setattr(flowpolicy.demo, "SETTINGS", quick)
    monkeypatch.setattr(flowpolicy.demo, "CLONE_STEPS", 30)
    out = tmp_path / "demo"
    summary = run_demo(out, seeds=(0,), offline_steps=20, episodes=2, progress=False)
    saved = json.loads(summary.path.read_text())
    assert (saved["env"], saved["offline_steps"], saved["seeds"]) == (ENV, 20, [0])
    assert saved["seconds"] > 0
    assert saved["versions"]["packages"]["torch"]
    for policy in ("fql", "clone"):
        assert saved[policy]["success"] == 0.0
        assert saved[policy]["interval"] == list(wilson_interval(0, 2))
        assert saved[policy]["per_seed"]["0"]["success"] == 0.0
    assert saved["settings"]["options"]["hidden"] == [128, 128, 128]
    picture = read_picture(summary.maze)
    assert picture.width > 1600
    assert all(picture.has_color(color) for color in ("#3D434B", "#E69F00"))
    assert read_picture(summary.curve).width > 1200
    assert "FQL, one step" in "\n".join(_table(summary))

    for _ in range(2):
        flowpolicy.demo._make_room(out)
        assert not out.exists()
        (tmp_path / "demo-previous").rename(out)
    stranger = tmp_path / "mine"
    stranger.mkdir()
    with pytest.raises(ConfigError, match="mine exists and is not an earlier demo"):
        run_demo(stranger)
    (tmp_path / "demo-previous").mkdir()
    with pytest.raises(ConfigError, match="demo-previous exists and is not an earlier demo"):
        run_demo(out)
    assert summary.path.exists()


def test_the_maze_is_that_of_the_environment():
    env = make_gym(ENV)
    observation, _ = env.reset(seed=0)
    maze = Maze.of(env)
    assert maze.walls.shape == (8, 8)
    assert maze.walls[0].all() and not maze.walls[1, 1]
    assert np.linalg.norm(observation - np.array(maze.start)) < 2
    assert maze.goal == (20.0, 20.0)
    assert maze.solved(np.array([[0.0, 0.0], [19.5, 20.0]]))
    assert not maze.solved(np.array([[0.0, 0.0], [18.0, 20.0]]))
    env.close()


def test_only_mazes_can_be_drawn():
    env = make_gym("Pendulum-v1")
    with pytest.raises(ConfigError, match="is not an OGBench maze; there are no walls to draw"):
        Maze.of(env)
    env.close()
