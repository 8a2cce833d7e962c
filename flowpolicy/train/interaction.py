"""One environment step at a time, as rows of the data that the agent learns from."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, StepCounter, TransformedEnv

from flowpolicy import envs
from flowpolicy.data import Dataset, DatasetInfo, transforms
from flowpolicy.data.layout import Key
from flowpolicy.envs.names import is_single_task
from flowpolicy.errors import ConfigError, DataError
from flowpolicy.modules import Actor
from flowpolicy.train.online import Explore

STEP_KEYS: tuple[Key, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "terminated"),
    ("next", "truncated"),
    ("next", "done"),
)
"""What one environment step gives, with its ``episode``; n-step data have one entry more."""


@final
class Interaction:
    """Steps an environment with TorchRL's collector and makes rows of the data's kind.

    A row has the data's entries, its observations their scale, its reward their timing, and
    episodes are numbered on from theirs. Where the data are n-step windows, a row appears when its
    window is full: with the same meaning as in :func:`~flowpolicy.data.transforms.n_step`.

    Args:
        env: Name of the environment.
        actor: Acts on observations as the environment gives them.
        dataset: The data as the agent sees them.
        generator: Of the actions' noise; on the actor's device.
        seed: Of the episodes' starts.
        max_episode_steps: Truncates longer episodes.
        observation_mean: What the data's observations were shifted by, ``[O]``.
        observation_std: What they were then divided by, ``[O]``.

    Attributes:
        steps: Environment steps so far.
        episode: Number of the current episode.

    Raises:
        ConfigError: The data have entries that an environment does not give.
    """

    def __init__(
        self,
        env: str,
        actor: Actor,
        dataset: Dataset,
        generator: torch.Generator,
        *,
        seed: int,
        max_episode_steps: int | None = None,
        observation_mean: Tensor | None = None,
        observation_std: Tensor | None = None,
    ) -> None:
        entries = dataset.entries()
        known = {*STEP_KEYS, "episode", "steps_to_next_obs"}
        if surplus := [key for key in entries if key not in known]:
            raise ConfigError(
                f"online steps cannot be joined with {dataset.info.name!r}: the data have "
                f"{surplus[0]!r}, which no environment gives; load them without it"
            )
        self._env = env
        self._seed = seed
        self._limit = max_episode_steps
        self._timing = dataset.info.success_timing
        self._mean = 0.0 if observation_mean is None else observation_mean
        self._std = 1.0 if observation_std is None else observation_std
        self._acting = _Acting(actor, generator)
        self._windows = _Windows(dataset.info)
        self._collector: Collector | None = None
        self._frames: Iterator[TensorDictBase] = iter(())
        self.steps = 0
        self.episode = int(entries["episode"].max()) + 1

    def step(self, explore: Explore) -> TensorDictBase | None:
        """One step with the action that ``explore`` chooses.

        Returns:
            The rows ``[N]`` that are now complete, ``None`` if there are none.

        Raises:
            DataError: The environment gave an observation or a reward that is not finite.
        """
        if self._collector is None:
            self._start()
        self._acting.explore = explore
        frame = next(self._frames)
        self.steps += 1
        row = {key: frame[key] for key in STEP_KEYS}
        for key in ("observation", ("next", "observation"), ("next", "reward")):
            if not row[key].isfinite().all():
                raise DataError(
                    f"{self._env}: {key!r} is not finite at online step {self.steps}: "
                    f"{row[key].flatten().tolist()}"
                )
        for key in ("observation", ("next", "observation")):
            row[key] = (row[key] - self._mean) / self._std
        row["episode"] = torch.full((1,), self.episode)
        rows = self._windows.add(row)
        if row["next", "done"].any():
            self.episode += 1
        return rows

    def state(self) -> dict[str, Tensor]:
        """The counters, for a checkpoint; the simulator's own state is not among them."""
        return {"steps": torch.tensor(self.steps), "episode": torch.tensor(self.episode)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on counting where :meth:`state` was taken, at the start of another episode."""
        self.close()
        self.steps = int(state["steps"])
        self.episode = int(state["episode"]) + 1
        self._windows.clear()

    def close(self) -> None:
        """Lets go of the environment."""
        if self._collector is not None:
            self._collector.shutdown()
        self._collector = None

    def _start(self) -> None:
        env = online_env(self._env, timing=self._timing, max_episode_steps=self._limit)
        # Not the same starts again where a run goes on.
        source = np.random.SeedSequence([self._seed, self.steps])
        env.set_seed(int(source.generate_state(1)[0]))
        self._collector = Collector(
            env,
            self._acting,
            frames_per_batch=1,
            total_frames=-1,
            use_buffers=False,  # they take an action at once, before the first step
            auto_register_policy_transforms=False,
        )
        self._frames = iter(self._collector)


def online_env(name: str, *, timing: str | None, max_episode_steps: int | None) -> EnvBase:
    """The environment of online steps, with rewards of the data's timing.

    Args:
        name: As of :func:`flowpolicy.envs.make`.
        timing: ``success_timing`` of the data; ``None`` leaves the environment's own.
        max_episode_steps: Truncates longer episodes.
    """
    options: dict[str, Any] = {}
    if timing is not None and is_single_task(name):
        options["success_timing"] = timing
    env = envs.make(name, **options)
    return env if max_episode_steps is None else TransformedEnv(env, StepCounter(max_episode_steps))


class _Acting(TensorDictModuleBase):
    """Observation to action, with the weights that the actor has at that moment."""

    explore: Explore

    def __init__(self, actor: Actor, generator: torch.Generator) -> None:
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        # Not registered: the collector must not copy the weights.
        self.__dict__["_actor"] = actor
        self._generator = generator

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        actor: Actor = self.__dict__["_actor"]
        observation = tensordict["observation"]
        like = next(actor.parameters())
        with torch.no_grad():
            action = self.explore(actor, observation.to(like), self._generator)
        return tensordict.set("action", action.to(observation))


class _Windows:
    """Single steps in, rows out: the steps themselves, or windows of ``n`` of them."""

    def __init__(self, info: DatasetInfo) -> None:
        self._info = info
        self._recent: deque[dict[Key, Tensor]] = deque(maxlen=info.n_step)

    def add(self, row: dict[Key, Tensor]) -> TensorDictBase | None:
        if self._info.n_step == 1:
            return _as_rows(row)
        self._recent.append(row)
        ended = bool(row["next", "done"].any())
        solved = bool(row["next", "terminated"].any())
        full = len(self._recent) == self._info.n_step
        rows = self._windows() if solved or full else None
        if ended:
            self.clear()
        return rows

    def clear(self) -> None:
        self._recent.clear()

    def _windows(self) -> TensorDictBase:
        """The windows that end with the newest step: all of them after a success, else one."""
        info = self._info
        steps = {key: torch.cat([row[key] for row in self._recent]) for key in self._recent[0]}
        with warnings.catch_warnings():  # that the other rows are dropped: their turn comes
            warnings.simplefilter("ignore")
            windows = transforms.n_step(
                Dataset(steps, source="online steps"), info.n_step, info.discount or 1.0
            )
        return windows.take(torch.arange(len(windows)))


def _as_rows(entries: Mapping[Key, Tensor]) -> TensorDictBase:
    count = len(entries["episode"])
    rows = TensorDict({"next": TensorDict(batch_size=[count])}, batch_size=[count])
    for key, values in entries.items():
        rows[key] = values
    return rows
