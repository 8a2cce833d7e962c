"""Point mazes: walk to one random crossing after the other, with noisy steps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flowpolicy.data.generate.columns import Columns
from flowpolicy.data.generate.settings import Settings
from flowpolicy.envs.global_rng import numpy_global
from flowpolicy.envs.names import register_ogbench
from flowpolicy.envs.ogbench_env import forget_model_file

Cell = tuple[int, int]


class MazeExpert:
    """The ``navigate`` data of the point mazes.

    An episode starts in a random free cell. The point walks to a random goal, always towards the
    next cell of a shortest path, and is given a new goal whenever it arrives. The step has length
    one plus Gaussian noise per dimension and is clipped to [-1, 1]. Goals lie in all free cells but
    those that are mere passages.
    """

    def __init__(self, settings: Settings) -> None:
        register_ogbench()
        import gymnasium

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*DISPLAY environment variable is missing.*")
            env: Any = gymnasium.make(
                settings.env_id,
                terminate_at_goal=False,
                max_episode_steps=settings.episode_length,
                disable_env_checker=True,
            )
        self._env = env.unwrapped
        forget_model_file(self._env)
        self._noise = settings.noise
        walls = np.asarray(self._env.maze_map) != 0
        self._free = [(int(i), int(j)) for i, j in np.argwhere(~walls)]
        self._goals = [cell for cell in self._free if not _is_passage(walls, cell)]
        self._next_xy: dict[tuple[Cell, Cell], Any] = {}

    def record(self, seeds: np.random.SeedSequence, length: int) -> Columns:
        """One episode of ``length`` rows."""
        for_env, for_expert = seeds.spawn(2)
        rng = np.random.default_rng(for_expert)
        with numpy_global(np.random.PCG64(for_env)):
            return self._record(rng, length)

    def _record(self, rng: np.random.Generator, length: int) -> Columns:
        env = self._env
        start = self._free[rng.integers(len(self._free))]
        goal = self._goals[rng.integers(len(self._goals))]
        observation, _ = env.reset(
            options={"task_info": {"init_ij": start, "goal_ij": goal}},
            seed=int(rng.integers(2**31)),
        )
        noise = rng.normal(0.0, self._noise, size=(length, 2))
        names = ("observations", "actions", "terminals", "qpos", "qvel")
        rows: dict[str, list[Any]] = {name: [] for name in names}
        for step in range(length):
            action = np.clip(self._direction(env.get_xy()) + noise[step], -1.0, 1.0)
            rows["observations"].append(observation)
            rows["actions"].append(action)
            rows["terminals"].append(step == length - 1)
            observation, _, _, _, info = env.step(action)
            rows["qpos"].append(info["prev_qpos"])
            rows["qvel"].append(info["prev_qvel"])
            if info["success"]:
                env.set_goal(self._goals[rng.integers(len(self._goals))])
        return {
            name: np.array(values, dtype=bool if name == "terminals" else np.float32)
            for name, values in rows.items()
        }

    def _direction(self, xy: Any) -> Any:
        """The unit vector to the next cell of a shortest path, which is searched once per pair."""
        env = self._env
        cells = (env.xy_to_ij(xy), env.xy_to_ij(env.cur_goal_xy))
        if cells not in self._next_xy:
            self._next_xy[cells] = env.get_oracle_subgoal(xy, env.cur_goal_xy)[0]
        way = self._next_xy[cells] - xy
        return way / (np.linalg.norm(way) + 1e-6)


def _is_passage(walls: Any, cell: Cell) -> bool:
    """Whether a cell is open on two opposite sides and walled on the other two."""
    i, j = cell
    vertical = bool(walls[i - 1, j]), bool(walls[i + 1, j])
    horizontal = bool(walls[i, j - 1]), bool(walls[i, j + 1])
    return (vertical, horizontal) in {
        ((False, False), (True, True)),
        ((True, True), (False, False)),
    }
