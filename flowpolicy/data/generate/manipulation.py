"""Cube, scene and puzzle: an arm that pursues one random target after the other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flowpolicy.data.generate.columns import Columns
from flowpolicy.data.generate.settings import Settings
from flowpolicy.envs.global_rng import numpy_global
from flowpolicy.envs.names import register_ogbench

_NOISE_SCALE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # position, yaw, gripper
_STACKING = {
    "single": (0.0, 0.0),
    "double": (0.0, 0.25),
    "triple": (0.05, 0.35),
    "quadruple": (0.1, 0.5),
}
_CUBE_QPOS = slice(14, 17)


class ManipulationExpert:
    """The ``play`` and ``noisy`` data of the manipulation environments.

    ``play`` follows plans through key poses, with smooth noise on the plan; ``noisy`` reacts to the
    current state, with Gaussian noise on the action whose size is drawn per episode. Both take a
    new random target whenever one is done.
    """

    def __init__(self, settings: Settings) -> None:
        register_ogbench()
        import gymnasium

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*DISPLAY environment variable is missing.*")
            env: Any = gymnasium.make(
                settings.env_id,
                terminate_at_goal=False,
                mode="data_collection",
                max_episode_steps=settings.episode_length,
                disable_env_checker=True,
            )
            self._env = env.unwrapped
            self._oracles = _make_oracles(self._env, settings)
        self._settings = settings
        self._family, _, self._variant = settings.env_id.removesuffix("-v0").partition("-")
        self._names = ["observations", "actions", "terminals", "qpos", "qvel"]
        if self._family != "cube":
            self._names.append("button_states")

    def record(self, seeds: np.random.SeedSequence, length: int) -> Columns | None:
        """One episode of ``length`` rows; None if a cube of the scene went out of sight."""
        for_oracles, for_actions = seeds.spawn(2)
        rng = np.random.default_rng(for_actions)
        with numpy_global(np.random.PCG64(for_oracles)):
            episode = self._record(rng, length)
        if self._family == "scene" and not _cube_in_sight(episode["qpos"][:, _CUBE_QPOS]):
            return None
        return episode

    def _record(self, rng: np.random.Generator, length: int) -> Columns:
        env, settings = self._env, self._settings
        observation, info = env.reset(seed=int(rng.integers(2**31)))
        stacking = rng.uniform(*_STACKING.get(self._variant, (0.5, 0.5)))
        scale = np.zeros(5)
        if settings.kind == "noisy":
            scale = rng.uniform(0.0, settings.noise) * _NOISE_SCALE
        noise = rng.normal(size=(length, 5)) * scale
        random_action = rng.uniform(size=length) < settings.random_actions
        random_actions = rng.uniform(-1.0, 1.0, size=(length, 5))

        oracle = self._oracles[info["privileged/target_task"]]
        oracle.reset(observation, info)
        rows: dict[str, list[Any]] = {name: [] for name in self._names}
        for step in range(length):
            if random_action[step]:
                action = random_actions[step]
            else:
                chosen = np.asarray(oracle.select_action(observation, info))
                action = np.clip(chosen + noise[step], -1.0, 1.0)
            rows["observations"].append(observation)
            rows["actions"].append(action)
            rows["terminals"].append(step == length - 1)
            observation, _, _, _, info = env.step(action)
            rows["qpos"].append(info["prev_qpos"])
            rows["qvel"].append(info["prev_qvel"])
            if "button_states" in rows:
                rows["button_states"].append(info["prev_button_states"])
            if oracle.done:
                _, info = env.set_new_target(p_stack=stacking)
                oracle = self._oracles[info["privileged/target_task"]]
                oracle.reset(observation, info)
        dtypes: dict[str, Any] = {"terminals": bool, "button_states": np.int64}
        return {
            name: np.array(values, dtype=dtypes.get(name, np.float32))
            for name, values in rows.items()
        }


def _make_oracles(env: Any, settings: Settings) -> dict[str, Any]:
    """OGBench's scripted experts, one per kind of object in the scene."""
    from ogbench.manipspace.oracles.markov import (
        button_markov,
        cube_markov,
        drawer_markov,
        window_markov,
    )
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    family = settings.env_id.split("-")[0]
    objects = {
        "cube": ("cube",),
        "scene": ("cube", "button", "drawer", "window"),
        "puzzle": ("button",),
    }[family]
    own: dict[str, dict[str, Any]] = {name: {} for name in objects}
    if family == "puzzle":
        own["button"]["gripper_always_closed"] = True
    if settings.kind == "play":
        plans = {
            "cube": cube_plan.CubePlanOracle,
            "button": button_plan.ButtonPlanOracle,
            "drawer": drawer_plan.DrawerPlanOracle,
            "window": window_plan.WindowPlanOracle,
        }
        common = {"noise": settings.noise, "noise_smoothing": settings.noise_smoothing}
        return {name: plans[name](env=env, **common, **own[name]) for name in objects}
    reactive = {
        "cube": cube_markov.CubeMarkovOracle,
        "button": button_markov.ButtonMarkovOracle,
        "drawer": drawer_markov.DrawerMarkovOracle,
        "window": window_markov.WindowMarkovOracle,
    }
    return {
        name: reactive[name](env=env, min_norm=settings.min_norm, **own[name]) for name in objects
    }


def _cube_in_sight(xyz: Any) -> bool:
    """Whether the scene's cube stayed where pictures of a goal can show it, or in the drawer."""
    y, z = xyz[:, 1], xyz[:, 2]
    hidden = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
    return not bool((y >= 0.29).any() or hidden.any())
