"""`generate`: OGBench's file layout, repeatable, resumable, never half a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowpolicy
from flowpolicy.data.generate import command, generate
from flowpolicy.data.generate.episodes import Columns, load_shard, make_expert, record_episode
from flowpolicy.data.generate.settings import resolve
from flowpolicy.data.npz import sha256
from flowpolicy.errors import ConfigError, DataError

MAZE = "pointmaze-medium-navigate"


def small(root: Path, dataset: str = MAZE, **options: Any) -> Path:
    defaults: dict[str, Any] = {
        "transitions": 120,
        "val_transitions": 60,
        "episode_length": 61,
        "jobs": 1,
        "progress": False,
    }
    return generate(dataset, root=root, **{**defaults, **options})


def read(path: Path) -> Columns:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def assert_equal(left: Columns, right: Columns) -> None:
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def test_the_files_have_ogbench_s_layout(tmp_path: Path) -> None:
    train = small(tmp_path)
    assert train == tmp_path / f"{MAZE}-v0.npz"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{MAZE}-v0-val.npz",
        f"{MAZE}-v0.json",
        f"{MAZE}-v0.npz",
    ]
    columns = read(train)
    described = {key: (value.shape, value.dtype.name) for key, value in columns.items()}
    assert described == {
        "observations": ((122, 2), "float32"),
        "actions": ((122, 2), "float32"),
        "terminals": ((122,), "bool"),
        "qpos": ((122, 2), "float32"),
        "qvel": ((122, 2), "float32"),
    }
    assert np.flatnonzero(columns["terminals"]).tolist() == [60, 121]
    assert len(read(tmp_path / f"{MAZE}-v0-val.npz")["actions"]) == 61


def test_ogbench_reads_the_files(tmp_path: Path) -> None:
    import ogbench

    small(tmp_path)
    _, train, val = ogbench.make_env_and_datasets(
        f"{MAZE}-singletask-v0", dataset_dir=str(tmp_path), disable_env_checker=True
    )
    assert train["observations"].shape == (120, 2)
    assert train["rewards"].shape == (120,)
    assert len(val["observations"]) == 60


def test_our_loader_reads_the_files(tmp_path: Path) -> None:
    from flowpolicy.data import load

    small(tmp_path)
    dataset = load(f"{MAZE}-singletask-task2-v0", tmp_path)
    assert (len(dataset), dataset.info.episodes) == (120, 2)


def test_a_transition_is_what_the_environment_does(tmp_path: Path) -> None:
    from flowpolicy.envs import make_gym

    columns = read(small(tmp_path))
    maze: Any = make_gym(f"{MAZE}-singletask-v0")
    maze.reset(seed=0)
    for row in (0, 17, 59):
        maze.unwrapped.set_xy(columns["observations"][row])
        observation, *_ = maze.step(columns["actions"][row])
        np.testing.assert_allclose(observation, columns["observations"][row + 1], atol=1e-5)


def test_the_walk_follows_corridors_and_takes_clipped_noisy_unit_steps(tmp_path: Path) -> None:
    columns = read(small(tmp_path, transitions=3000, episode_length=1001, val_transitions=0))
    actions = columns["actions"]
    assert np.abs(actions).max() == 1.0
    assert 0.2 < (np.abs(actions) == 1.0).mean() < 0.35
    length = np.linalg.norm(actions, axis=1).mean()
    assert 0.9 < length < 1.1
    calm = read(small(tmp_path / "calm", noise=0.0))["actions"]
    np.testing.assert_allclose(np.linalg.norm(calm, axis=1), 1.0, atol=1e-4)
    assert not (tmp_path / f"{MAZE}-v0-val.npz").exists()


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(
    tmp_path: Path,
) -> None:
    alone = small(tmp_path / "alone")
    np.random.seed(123)  # noqa: NPY002 (must not matter)
    together = small(tmp_path / "together", jobs=2)
    assert alone.read_bytes() == together.read_bytes()
    for name in (f"{MAZE}-v0-val.npz", f"{MAZE}-v0.json"):
        assert (alone.parent / name).read_bytes() == (together.parent / name).read_bytes()
    other = read(small(tmp_path / "other", seed=1))
    assert not np.array_equal(read(alone)["actions"], other["actions"])


def test_a_longer_data_set_begins_with_the_shorter_one(tmp_path: Path) -> None:
    short = read(small(tmp_path / "short"))
    long = read(small(tmp_path / "long", transitions=180))
    assert_equal(short, {key: value[:122] for key, value in long.items()})
    val = read(tmp_path / "short" / f"{MAZE}-v0-val.npz")
    assert not np.array_equal(val["actions"], short["actions"][:61])


def test_numpy_s_global_generator_is_left_alone(tmp_path: Path) -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.RandomState(5).uniform()
    small(tmp_path)
    assert np.random.uniform() == expected  # noqa: NPY002


class Killed(BaseException):
    """Stands for a signal that ends the process in the middle of its work."""


def test_a_killed_command_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small(tmp_path / "whole")
    root, recorded = tmp_path / "killed", []
    original = command.record_all

    def dies_after_two(tasks: Any, *args: Any) -> Any:
        for done, task in enumerate(original(tasks, *args)):
            recorded.append(task)
            yield task
            if done == 1:
                raise Killed

    monkeypatch.setattr(command, "record_all", dies_after_two)
    with pytest.raises(Killed):
        small(root)
    assert not list(root.glob("*.npz"))

    partial = root / f".{MAZE}-v0.partial"
    damaged = partial / "train-000001.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])  # cut short: recorded again
    monkeypatch.setattr(command, "record_all", original)
    first = partial / "train-000000.npz"
    kept = first.stat().st_mtime_ns
    seen: list[int] = []

    def watched(tasks: Any, *args: Any) -> Any:
        seen.extend(tasks)
        yield from original(tasks, *args)
        assert first.stat().st_mtime_ns == kept

    monkeypatch.setattr(command, "record_all", watched)
    again = small(root)
    assert seen == [("train", 1), ("val", 0)]
    assert again.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_a_command_killed_between_the_two_files_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = command.publish

    def dies_before_train(waiting: Path, path: Path) -> None:
        if path.name == f"{MAZE}-v0.npz":
            raise Killed
        original(waiting, path)

    monkeypatch.setattr(command, "publish", dies_before_train)
    with pytest.raises(Killed):
        small(tmp_path)
    assert (tmp_path / f"{MAZE}-v0-val.npz").exists()
    monkeypatch.setattr(command, "publish", original)
    assert len(read(small(tmp_path))["actions"]) == 122


def test_unfinished_work_with_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(command, "_record_missing", dies)
        with pytest.raises(Killed):
            small(tmp_path)
    with pytest.raises(DataError) as caught:
        small(tmp_path, seed=1, noise=0.25)
    message = str(caught.value)
    assert f"{tmp_path / f'.{MAZE}-v0.partial'} holds unfinished work" in message
    assert "seed: 0 then, 1 now; noise: 0.5 then, 0.25 now" in message
    assert "delete the folder, or pass overwrite=True" in message
    path = small(tmp_path, seed=1, overwrite=True)
    assert json.loads(path.with_suffix(".json").read_text())["seed"] == 1


def test_existing_files_are_refused_unless_overwritten(tmp_path: Path) -> None:
    path = small(tmp_path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"exists already.*overwrite=True \(--overwrite\)"):
        small(tmp_path, seed=1)
    assert path.read_bytes() == before
    small(tmp_path, seed=1, overwrite=True, val_transitions=0)
    assert path.read_bytes() != before
    assert not (tmp_path / f"{MAZE}-v0-val.npz").exists()


def test_a_validation_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{MAZE}-v0-val.npz").write_bytes(b"not ours")
    with pytest.raises(DataError, match=r"-val\.npz exists already"):
        small(tmp_path)


def test_the_record_says_how_to_make_it_again(tmp_path: Path) -> None:
    path = small(tmp_path, noise=0.25)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["command"] == (
        f"flowpolicy data generate {MAZE} --transitions 120 --val-transitions 60 --seed 0 "
        "--episode-length 61 --noise 0.25"
    )
    assert record["transitions"] == 120
    for name, digest in record["sha256"].items():
        assert sha256(tmp_path / name) == digest
    assert len(record["sha256"]) == 2
    assert {"flowpolicy", "ogbench", "mujoco"} <= record["versions"].keys()


def test_the_default_folder_is_the_one_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWPOLICY_DATA", str(tmp_path / "data"))
    assert small(None).parent == tmp_path / "data"  # type: ignore[arg-type]


def test_the_progress_bar_counts_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path, progress=True)
    bar = capsys.readouterr().err
    assert MAZE in bar
    assert "3/3" in bar
    assert "episode" in bar


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transitions": 0}, "transitions must be at least 1, got 0"),
        ({"val_transitions": -1}, "val_transitions must be at least 0, got -1"),
        ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowpolicy.data.generate import workers

    monkeypatch.setattr(workers, "_run", workers.os._exit)  # ends the process of the pool
    tasks: Any = [1, 1, 1]
    with pytest.raises(DataError, match=r"a process ended while recording.*run the same command"):
        list(workers.record_all(tasks, resolve(MAZE, seed=0), tmp_path, 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_where_all_is_recorded_no_simulator_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """As after a kill while the files were being written."""
    from flowpolicy.data.generate import workers

    monkeypatch.delattr(workers, "make_expert")
    assert list(workers.record_all([], resolve(MAZE, seed=0), tmp_path, jobs)) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_parent_leaves_no_process_and_loses_no_episode(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from flowpolicy.data.generate import generate\n"
        "if __name__ == '__main__':\n"
        f"    generate({MAZE!r}, transitions=1_000_000, root={str(tmp_path)!r}, jobs=2)\n"
    )
    partial = tmp_path / f".{MAZE}-v0.partial"
    environment = {**os.environ, "PYTHONPATH": str(Path(flowpolicy.__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: len(list(partial.glob("train-*.npz"))) >= 3, seconds=90)
        workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    finally:
        child.kill()
        child.wait()
    assert len(workers) >= 2
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)

    settings = resolve(MAZE, seed=0)
    for path in partial.glob("train-*.npz"):
        assert load_shard(path, settings) is not None, path


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_missing_ogbench_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(ConfigError, match=r"pip install 'flowpolicy\[ogbench\]'"):
        small(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "obs_dim", "columns"),
    [
        ("cube-double-play", 37, 5),
        ("cube-single-noisy", 28, 5),
        ("scene-play", 40, 6),
        ("scene-noisy", 40, 6),
        ("puzzle-3x3-play", 55, 6),
        ("puzzle-3x3-noisy", 55, 6),
    ],
)
def test_manipulation_episodes_repeat_and_depend_on_nothing_else(
    dataset: str, obs_dim: int, columns: int
) -> None:
    settings = resolve(dataset, seed=0, episode_length=40)
    expert = make_expert(settings)
    first = record_episode(expert, settings, "train", 1)
    other = record_episode(expert, settings, "val", 1)
    assert_equal(first, record_episode(expert, settings, "train", 1))
    assert not np.array_equal(first["actions"], other["actions"])
    assert len(first) == columns
    assert first["observations"].shape == (40, obs_dim)
    assert first["observations"].dtype == np.float32
    assert first["actions"].shape == (40, 5)
    assert np.abs(first["actions"]).max() <= 1.0
    if "button_states" in first:
        assert first["button_states"].dtype == np.int64


def test_play_moves_the_cube_to_its_targets() -> None:
    settings = resolve("cube-single-play", seed=0, episode_length=400)
    episode = record_episode(make_expert(settings), settings, "train", 0)
    cube = episode["qpos"][:, 14:17]
    assert cube[:, 2].max() > 0.1  # it is lifted ...
    assert np.linalg.norm(cube[-1, :2] - cube[0, :2]) > 0.05  # ... and put down elsewhere
    lifted = int(cube[:, 2].argmax())
    assert cube[lifted:, 2].min() < 0.03


def test_the_number_of_random_actions_is_as_asked() -> None:
    settings = resolve("cube-single-noisy", seed=0, episode_length=60, random_actions=1.0)
    actions = record_episode(make_expert(settings), settings, "train", 0)["actions"]
    assert np.abs(actions).max() < 1.0  # uniform draws, where the expert saturates
    assert actions.std() == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_an_episode_whose_cube_went_out_of_sight_is_recorded_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flowpolicy.data.generate import manipulation

    settings = resolve("scene-play", seed=0, episode_length=10)
    expert = make_expert(settings)
    usual = record_episode(expert, settings, "train", 0)
    answers = iter([False, True])
    monkeypatch.setattr(manipulation, "_cube_in_sight", lambda _: next(answers))
    second = record_episode(expert, settings, "train", 0)
    assert not np.array_equal(usual["actions"], second["actions"])
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("y", "z", "seen"),
    [(0.0, 0.02, True), (0.29, 0.02, False), (-0.31, 0.07, True), (-0.31, 0.02, False)],
)
def test_what_counts_as_out_of_sight(y: float, z: float, seen: bool) -> None:
    from flowpolicy.data.generate.manipulation import _cube_in_sight

    assert _cube_in_sight(np.array([[0.4, 0.0, 0.02], [0.4, y, z]])) is seen
