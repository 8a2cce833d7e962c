"""Many episodes at once: one batched call of the policy per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from flowpolicy.errors import ConfigError, ShapeError
from flowpolicy.evaluate.environments import Env
from flowpolicy.evaluate.noise import EpisodeNoise, episode_seeds
from flowpolicy.evaluate.queues import ActionQueues
from flowpolicy.modules import Actor

Observe: TypeAlias = Callable[[int, np.ndarray[Any, Any], Env], None]
"""Called as ``observe(episode, observation, env)`` after a reset and after every step."""


@dataclass
class Episode:
    """One finished or running episode.

    Attributes:
        index: Its number; its seeds follow from it.
        total_reward: Sum of the rewards so far.
        length: Steps so far.
        success: Whether any step reported success; ``None`` while none said either.
    """

    index: int
    total_reward: float = 0.0
    length: int = 0
    success: bool | None = None


def run_episodes(
    policy: nn.Module,
    envs: Sequence[Env],
    indices: Sequence[int],
    *,
    seed: int,
    max_steps: int | None = None,
    observe: Observe | None = None,
) -> list[Episode]:
    """Runs the episodes ``indices`` in ``envs``, which step together.

    The policy is called at most once per step on one row per environment, always the same number of
    rows; an environment whose episode is over takes the next one, and is no longer stepped when
    there is none. Neither the number of environments nor their order changes an episode's draws.
    Observations and noise come in the type of the policy's parameters. An action of several steps
    is played to its end or to that of the episode, then the policy is asked again, with new noise.

    Args:
        policy: An actor; one of action chunks has their length as its attribute ``horizon``.
        envs: Gymnasium environments with observations ``[O]`` and actions ``[A]`` in [-1, 1].
        indices: Numbers of the episodes to run.
        seed: With the number of an episode it determines the episode's start and noise.
        max_steps: Ends an episode that the environment has not ended.
        observe: Sees every observation.

    Returns:
        The episodes in the order of ``indices``.

    Raises:
        ConfigError: The policy is no actor.
        ShapeError: Its observations or actions are not those of the environment.
    """
    require_actor(policy)
    actor: Any = policy
    horizon: int = getattr(policy, "horizon", 1)
    _require_actions(envs[0], actor.act_dim, horizon)
    device, dtype = _device_and_dtype(policy)
    observations = np.zeros((len(envs), actor.obs_dim), dtype=np.float32)
    queues = ActionQueues(len(envs), horizon, actor.act_dim)
    noise = torch.zeros(len(envs), *actor.noise_shape)
    waiting = list(reversed(indices))
    running: dict[int, tuple[Episode, EpisodeNoise]] = {}
    finished: dict[int, Episode] = {}

    def start(slot: int) -> None:
        if not waiting:
            running.pop(slot, None)
            return
        index = waiting.pop()
        env_seed, noise_seed = episode_seeds(seed, index)
        observation, _ = envs[slot].reset(seed=env_seed)
        _require_observation(observation, actor.obs_dim)
        observations[slot] = observation
        running[slot] = Episode(index), EpisodeNoise(noise_seed, actor.noise_shape)
        queues.drop(slot)  # what the last episode left of its chunk
        if observe is not None:
            observe(index, observations[slot].copy(), envs[slot])

    was_training = policy.training
    policy.eval()
    try:
        for slot in range(len(envs)):
            start(slot)
        while running:
            if waits := queues.empty(running):
                for slot in waits:
                    noise[slot] = running[slot][1].draw()
                with torch.inference_mode():
                    batch = torch.from_numpy(observations).to(device, dtype)
                    actions = actor.act(batch, noise.to(device, dtype)).float().cpu().numpy()
                queues.fill(waits, actions)
            for slot, (episode, _) in list(running.items()):
                step = envs[slot].step(queues.pop(slot))
                observation, reward, terminated, truncated, info = step
                observations[slot] = observation
                episode.total_reward += float(reward)
                episode.length += 1
                if "success" in info:
                    episode.success = bool(episode.success) or bool(info["success"])
                if observe is not None:
                    observe(episode.index, observations[slot].copy(), envs[slot])
                if terminated or truncated or episode.length == max_steps:
                    finished[episode.index] = episode
                    start(slot)
    finally:
        policy.train(was_training)
    return [finished[index] for index in indices]


def require_actor(policy: object) -> None:
    """Refuses what cannot be asked for actions of given noise.

    Raises:
        ConfigError: It is no actor; for an agent the message names its policy.
    """
    wanted = ("act", "obs_dim", "act_dim", "noise_shape", "parameters")
    lacking = [name for name in wanted if not hasattr(policy, name)]
    if not lacking:
        return
    if isinstance(getattr(policy, "policy", None), Actor):
        advice = "Give it the agent's policy: evaluate(agent.policy, ...)."
    else:
        advice = "Derive it from flowpolicy.modules.Actor."
    raise ConfigError(
        f"evaluate: policy must be an actor, got {type(policy).__name__} without {lacking[0]}. "
        f"{advice}"
    )


def _device_and_dtype(policy: nn.Module) -> tuple[torch.device, torch.dtype]:
    for parameter in policy.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.float32


def _require_actions(env: Env, act_dim: int, horizon: int) -> None:
    space = getattr(env, "action_space", None)
    if space is not None and space.shape != (act_dim / horizon,):
        raise ShapeError(
            f"evaluate: the environment's action has shape {list(space.shape)}, the policy gives "
            f"{horizon} of [{act_dim / horizon:g}]; is it the environment that the policy was "
            "trained for? A policy of action chunks says how many: DeployedPolicy(actor, horizon=h)"
        )


def _require_observation(observation: Any, obs_dim: int) -> None:
    shape = np.shape(observation)
    if shape != (obs_dim,):
        raise ShapeError(
            f"evaluate: the environment's observation has shape {list(shape)}, the policy expects "
            f"[{obs_dim}]; is it the environment that the policy was trained for?"
        )
