"""The demo, with few updates: everything is there, and it can be made again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowpolicy.cli.demo import _table
from flowpolicy.demo import ENV, SETTINGS, run_demo
from flowpolicy.envs import make_gym
from flowpolicy.errors import ConfigError
from flowpolicy.evaluate import wilson_interval
from flowpolicy.plot import Maze
from flowpolicy.run_folder import RunFolder
from flowpolicy.train.lock import WriterLock
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


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.timeout(300)
def test_the_demo_writes_table_picture_and_summary(tmp_path, monkeypatch):
    import flowpolicy.demo

    quick = SETTINGS.replace(max_episode_steps=30, tensorboard=False)
    monkeypatch.setattr(flowpolicy.demo, "SETTINGS", quick)
    monkeypatch.setattr(flowpolicy.demo, "CLONE_STEPS", 30)
    out = tmp_path / "demo"
    out.mkdir()  # as left by one that was killed at once
    with monkeypatch.context() as patch:
        patch.setattr(flowpolicy.demo, "_draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_demo(out, seeds=(0,), offline_steps=20, episodes=2, progress=False)
    trained = RunFolder(out / "fql" / "seed_0").evaluations.read_bytes()
    summary = run_demo(out, seeds=(0,), offline_steps=20, episodes=2, progress=False)
    assert RunFolder(out / "fql" / "seed_0").evaluations.read_bytes() == trained  # gone on with
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
    (stranger / "notes.txt").touch()
    with pytest.raises(ConfigError, match="mine exists and is not an earlier demo"):
        run_demo(stranger)
    (tmp_path / "demo-previous").mkdir()
    with pytest.raises(ConfigError, match="demo-previous exists and is not an earlier demo"):
        run_demo(out)
    assert summary.path.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_demo_that_is_killed_ends_as_one_that_is_not(tmp_path):
    """The process alone is killed, as by hand; those that it started end by themselves."""
    command = [sys.executable, "-m", "flowpolicy", "demo", "--offline-steps", "1000"]
    command += ["--episodes", "2", "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    kills = 0
    while not (killed / "summary.json").exists():
        with subprocess.Popen(
            [*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                process.wait(timeout=15 + 5 * kills)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                time.sleep(5)
            else:
                assert process.returncode == 0, process.stderr.read().decode()
    assert kills
    assert not (tmp_path / "killed-previous").exists()
    ours, theirs = (json.loads((each / "summary.json").read_text()) for each in (killed, whole))
    for each in (ours, theirs):
        del each["seconds"], each["versions"]  # which hold the command
    assert ours == theirs
    for seed in (0, 1):
        path = f"fql/seed_{seed}/checkpoints/last/model.safetensors"
        assert (killed / path).read_bytes() == (whole / path).read_bytes()


def test_a_folder_in_which_another_demo_trains_is_left_where_it_is(tmp_path, monkeypatch):
    demo = tmp_path / "demo"
    for folder in (demo / "fql", tmp_path / "demo-previous"):
        folder.mkdir(parents=True)
    for folder in (demo, tmp_path / "demo-previous"):
        (folder / "settings.json").write_text("{}")
    monkeypatch.chdir(demo)
    lock = WriterLock(demo / "fql")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="demo/fql is being written by process"):
        run_demo(".", progress=False)
    assert sorted(tmp_path.rglob("*")) == before
    lock.release()


def test_a_demo_in_the_current_folder_makes_room_for_another(tmp_path, monkeypatch):
    demo = tmp_path / "demo"
    demo.mkdir()
    (demo / "settings.json").write_text("{}")
    monkeypatch.chdir(demo)
    monkeypatch.setattr("flowpolicy.demo.train_seeds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(".", progress=False)
    assert (tmp_path / "demo-previous" / "settings.json").read_text() == "{}"
    assert RunFolder(demo).read_json("settings.json")["seeds"] == [0, 1]


@pytest.mark.parametrize("options", [{"jobs": 0}, {"seeds": (0, 0)}])
def test_what_cannot_be_leaves_earlier_demos_alone(tmp_path, options):
    for name in ("demo", "demo-previous"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "demo.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError):
        run_demo(tmp_path / "demo", progress=False, **options)
    assert sorted(tmp_path.rglob("*")) == before


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
