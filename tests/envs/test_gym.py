"""`make_gym`: float32 observations, actions in [-1, 1], repeatable, with success."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from flowpolicy.envs import make_gym
from flowpolicy.envs.unit_actions import bounds_of
from flowpolicy.errors import ConfigError

MAZE = "pointmaze-medium-navigate-singletask-v0"
CUBE = "cube-single-play-singletask-task2-v0"
TELEPORT = "pointmaze-teleport-navigate-singletask-v0"


def roll(env: gymnasium.Env[Any, Any], seed: int | None, steps: int = 30) -> np.ndarray:
    actions = np.random.default_rng(7).uniform(-1, 1, (steps, *env.action_space.shape))
    observation, _ = env.reset(seed=seed)
    return np.stack([observation, *(env.step(action)[0] for action in actions.astype(np.float32))])


@pytest.mark.parametrize(
    ("name", "obs_dim", "act_dim"),
    [
        (MAZE, 2, 2),
        (CUBE, 28, 5),
        ("cube-single-singletask-task2-v0", 28, 5),  # OGBench's own id of the same environment
        ("Pendulum-v1", 3, 1),
        ("InvertedPendulum-v5", 4, 1),
        ("HalfCheetah-v5", 17, 6),
    ],
)
def test_spaces_dtypes_and_repeatable_episodes(name: str, obs_dim: int, act_dim: int) -> None:
    env = make_gym(name)
    assert env.observation_space.shape == (obs_dim,)
    assert env.observation_space.dtype == np.float32
    np.testing.assert_array_equal(env.action_space.low, -np.ones(act_dim))
    np.testing.assert_array_equal(env.action_space.high, np.ones(act_dim))
    first, again, other = roll(env, 3), roll(env, 3), roll(env, 4)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_array_equal(first, roll(make_gym(name), 3))
    assert first[5] in env.observation_space


def test_actions_are_rescaled_to_the_bounds_of_the_environment() -> None:
    env, raw = make_gym("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    assert (raw.action_space.low, raw.action_space.high) == (-2.0, 2.0)
    env.reset(seed=0)
    raw.reset(seed=0)
    for unit in (-1.0, 0.25, 1.0):
        ours = env.step(np.array([unit], np.float32))
        theirs = raw.step(np.array([2 * unit], np.float32))
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
        assert ours[1] == pytest.approx(theirs[1])


def test_success_is_a_bool_from_the_reset_on() -> None:
    env = make_gym(MAZE)
    _, info = env.reset(seed=0)
    assert info["success"] is False
    assert env.step(np.zeros(2, np.float32))[4]["success"] is False
    maze: Any = env.unwrapped
    maze.set_xy(np.array(maze.cur_goal_xy))
    _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
    assert info["success"] is True
    assert (reward, terminated) == (0.0, True)


@pytest.mark.parametrize("name", [MAZE, TELEPORT])
def test_a_maze_neither_reads_nor_moves_the_global_generator(name: str) -> None:
    env = make_gym(name)
    np.random.seed(1)  # noqa: NPY002
    first = roll(env, 5)
    after_episode = np.random.uniform()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, roll(env, 5))
    np.random.seed(1)  # noqa: NPY002
    assert after_episode == np.random.uniform()  # noqa: NPY002


def test_the_exit_of_a_teleporting_maze_repeats() -> None:
    env = make_gym(TELEPORT)
    maze: Any = env.unwrapped

    def exits(seed: int) -> list[tuple[float, ...]]:
        env.reset(seed=seed)
        out = []
        for _ in range(8):
            maze.set_xy(np.array(maze._teleport_info["teleport_in_xys"][0]))
            env.step(np.zeros(2, np.float32))
            out.append(tuple(maze.get_xy()))
        return out

    assert exits(0) == exits(0)
    assert len(set(exits(0))) > 1
    assert exits(0) != exits(1)


def test_episodes_without_a_seed_differ() -> None:
    env = make_gym(MAZE)
    assert np.abs(env.reset()[0] - env.reset()[0]).max() > 0


def test_seeding_reaches_the_action_space_of_the_manipulation_environments() -> None:
    env = make_gym(CUBE)
    samples = []
    for _ in range(2):
        env.reset(seed=0)
        samples.append(env.unwrapped.action_space.sample())
    np.testing.assert_array_equal(*samples)


def test_a_maze_leaves_no_temporary_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    env = make_gym(MAZE)
    assert list(tmp_path.iterdir()) == []
    env.reset(seed=0)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cube-single-play-singletsk-v0", "'cube-single-play-singletask-v0'"),
        ("cube-single-played-singletask-v0", "'cube-single-play-singletask-v0'"),
        ("pointmaze-medium-navigate-singletask-task9-v0", "'pointmaze-medium-navigate-singletask"),
        ("HalfCheeta-v5", "'HalfCheetah-v5'"),
        ("HalfCheetah-v99", "'HalfCheetah-v"),
        ("no such! thing", "Known: OGBench's single-task data sets"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match="unknown environment") as caught:
        make_gym(name)
    assert near in str(caught.value)
    assert repr(name) in str(caught.value)


class _Odd(gymnasium.Env[Any, Any]):
    def __init__(self, observations: gymnasium.Space[Any], actions: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions


_FLAT = gymnasium.spaces.Box(-1, 1, (3,), np.float32)


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (gymnasium.spaces.Dict(a=_FLAT), _FLAT, r"observations must be one flat vector.*Dict\("),
        (gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8), _FLAT, "observations must be one flat"),
        (gymnasium.spaces.Box(0, 255, (8,), np.uint8), _FLAT, "vector of floats.*FlattenObserv"),
        (_FLAT, gymnasium.spaces.Discrete(2), r"flat vector with finite bounds.*Discrete\(2\)"),
        (_FLAT, gymnasium.spaces.Box(-np.inf, 1, (2,)), "finite bounds.*-inf"),
    ],
)
def test_spaces_that_are_not_flat_are_refused(
    observations: Any, actions: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gymnasium.envs.registration.EnvSpec(
        "FlowpolicyOdd-v0", entry_point=lambda: _Odd(observations, actions)
    )
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    with pytest.raises(ConfigError, match=message) as caught:
        make_gym(spec.id)
    assert str(caught.value).startswith(spec.id)


class _Bounded(_Odd):
    """Refuses actions outside its bounds."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(_FLAT, gymnasium.spaces.Box(low, high, (2,), np.float32))
        self.taken: Any = None

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.taken = action
        return _FLAT.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(("low", "high"), [(-0.785, 0.785), (-0.26, 1.22), (-2.0, 2.0)])
def test_the_ends_of_actions_lie_within_the_bounds(
    low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gymnasium.envs.registration.EnvSpec(
        "FlowpolicyBounded-v0", entry_point=lambda: _Bounded(low, high), order_enforce=False
    )
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    env = make_gym(spec.id, disable_env_checker=True)
    for sign, end in ((-1, low), (1, high)):
        env.step(np.full(2, sign, np.float32))
        assert np.allclose(env.unwrapped.taken, end)
    assert (bounds_of(env).high == np.float32(high)).all()


def test_a_wrapper_of_the_users_own_says_what_the_bounds_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = gymnasium.envs.registration.EnvSpec(
        "FlowpolicyWrapped-v0",
        entry_point=lambda: gymnasium.wrappers.RescaleAction(_Bounded(-2, 2), -0.5, 0.5),
    )
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    env = make_gym(spec.id)
    assert (env.action_space.high == 1).all()
    assert (bounds_of(env).high == 0.5).all()


def test_without_ogbench_a_misspelt_id_has_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowpolicy.envs.names.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="did you mean 'Pendulum-v1'"):
        make_gym("Pendulm-v1")


def test_a_missing_ogbench_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(ConfigError, match=r"pip install 'flowpolicy\[ogbench\]'"):
        make_gym(MAZE)


def test_importing_the_package_needs_no_simulator() -> None:
    code = """
import sys
for name in ("ogbench", "mujoco", "dm_control", "gymnasium"):
    sys.modules[name] = None  # as if it were not installed
import flowpolicy.envs
"""
    subprocess.run([sys.executable, "-c", code], check=True)
