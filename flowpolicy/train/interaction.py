"""One environment step at a time, as rows of the data that the agent learns from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, StepCounter, TransformedEnv

from flowpolicy import envs
from flowpolicy.data import Dataset
from flowpolicy.data.layout import STEP_KEYS
from flowpolicy.data.validation import check_transitions
from flowpolicy.envs.names import is_single_task
from flowpolicy.modules import Actor
from flowpolicy.train.online import Explore
from flowpolicy.train.stages import as_batch, passed, stages_of
from flowpolicy.train.streams import stream_seed

_AT_THE_ENVIRONMENT = "Look at what the environment returns there."


@final
class Interaction:
    """Steps an environment with TorchRL's collector and makes rows of the data's kind.

    A row has the data's entries, its observations their scale, its reward their timing, and
    episodes are numbered on from theirs. Where the data are n-step windows or chunks, a row appears
    when it is complete, with the same meaning as in the data, see
    :func:`~flowpolicy.train.stages.stages_of`. Chunks of actions are played to their end or to that
    of the episode.

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
        self._env = env
        self._seed = seed
        self._limit = max_episode_steps
        self._timing = dataset.info.success_timing
        self._mean = 0.0 if observation_mean is None else observation_mean
        self._std = 1.0 if observation_std is None else observation_std
        self._acting = _Acting(actor, generator, dataset.info.horizon)
        self._dataset = dataset
        self._stages = stages_of(dataset)
        self._collector: Collector | None = None
        self._frames: Iterator[TensorDictBase] = iter(())
        self.steps = 0
        self.episode = int(dataset.entries()["episode"].max()) + 1

    def step(self, explore: Explore) -> TensorDictBase | None:
        """One step with the action that ``explore`` chooses.

        Returns:
            The rows ``[N]`` that are now complete, ``None`` if there are none.

        Raises:
            DataError: The environment gave what no transition is, such as a reward that is not
                finite.
        """
        if self._collector is None:
            self._start()
        self._acting.use(explore)
        frame = next(self._frames)
        self.steps += 1
        row = {key: frame[key] for key in STEP_KEYS}
        check_transitions(f"{self._env}, online step {self.steps}", row, _AT_THE_ENVIRONMENT)
        for key in ("observation", ("next", "observation")):
            row[key] = (row[key] - self._mean) / self._std
        row["episode"] = torch.full((1,), self.episode)
        if row["next", "done"].any():
            self.episode += 1
            self._acting.forget()
        rows = passed(self._stages, row)
        return as_batch(rows) if rows else None

    def state(self) -> dict[str, Tensor]:
        """The counters, for a checkpoint; the simulator's own state is not among them."""
        return {"steps": torch.tensor(self.steps), "episode": torch.tensor(self.episode)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Goes on counting where :meth:`state` was taken, at the start of another episode."""
        self.close()
        self.steps = int(state["steps"])
        self.episode = int(state["episode"]) + 1
        self._stages = stages_of(self._dataset)
        self._acting.forget()

    def close(self) -> None:
        """Lets go of the environment."""
        if self._collector is not None:
            self._collector.shutdown()
        self._collector = None

    def _start(self) -> None:
        env = online_env(self._env, timing=self._timing, max_episode_steps=self._limit)
        # Not the same starts again where a run goes on.
        env.set_seed(stream_seed(self._seed, f"episodes from step {self.steps}"))
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
    """Observation to action, with the weights that the actor has when it is asked."""

    def __init__(self, actor: Actor, generator: torch.Generator, horizon: int) -> None:
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        # Not registered: the collector must not copy the weights.
        self.__dict__["_actor"] = actor
        self._generator = generator
        self._horizon = horizon
        self._explore: Explore | None = None
        self._waiting: deque[Tensor] = deque()

    def use(self, explore: Explore) -> None:
        """From now on ``explore`` chooses; what another had chosen is dropped."""
        if explore is not self._explore:
            self.forget()
        self._explore = explore

    def forget(self) -> None:
        """Drops what is left of a chunk."""
        self._waiting.clear()

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        if not self._waiting and self._explore is not None:
            actor: Actor = self.__dict__["_actor"]
            observation = tensordict["observation"]
            like = next(actor.parameters())
            with torch.no_grad():
                chosen = self._explore(actor, observation.to(like), self._generator)
            self._waiting.extend(chosen.to(observation).chunk(self._horizon, dim=-1))
        return tensordict.set("action", self._waiting.popleft())
