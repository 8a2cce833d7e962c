"""``evaluate``: how well does a policy do in its environment?"""

from __future__ import annotations

import time

import torch
from torch import nn

from flowpolicy.errors import ConfigError
from flowpolicy.evaluate.environments import EnvSource, environments
from flowpolicy.evaluate.evaluation import Evaluation
from flowpolicy.evaluate.lockstep import Episode, run_episodes
from flowpolicy.evaluate.workers import worker_pool


def evaluate(
    policy: nn.Module,
    env: EnvSource,
    *,
    episodes: int = 50,
    seed: int = 0,
    workers: int = 0,
    parallel: int = 10,
    max_steps: int | None = None,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Runs ``episodes`` episodes in real environments and counts.

    Environments step in lock-step with one batched call of the policy per step, and are kept for
    later calls. The policy keeps sampling: every episode has a seed of its own for its start and
    for its noise, so a call with the same arguments gives the same episodes. Success means that
    any step of the episode reported ``info["success"]``.

    Args:
        policy: An actor: ``act(observation [*B, O], noise [*B, *noise_shape]) -> [*B, A]``.
        env: Name of an environment, or a function that makes a gymnasium one with actions in
            [-1, 1].
        episodes: How many.
        seed: Of the episodes; has nothing to do with the seed of training.
        workers: 0 runs everything here; n spreads the episodes over n processes, which stay alive
            for later calls and run copies of the policy on the CPU.
        parallel: At most how many environments step together, over all processes; a manipulation
            environment takes 100 to 200 MB.
        max_steps: Ends an episode that the environment has not ended; ``None`` waits for it.
        device: Where the policy is moved to; ``None`` leaves it where it is.

    Raises:
        ConfigError: A count is below its least value.
        EvaluationError: A process failed.

    Example:
        >>> import flowpolicy as fp
        >>> actor = fp.OneStepActor(3, 1, hidden=(8,))
        >>> result = evaluate(actor, "Pendulum-v1", episodes=2, max_steps=5)
        >>> result.lengths, result.success_rate
        ((5, 5), None)
    """
    for name, value, least in (
        ("episodes", episodes, 1),
        ("workers", workers, 0),
        ("parallel", parallel, 1),
        ("max_steps", 1 if max_steps is None else max_steps, 1),
    ):
        if value < least:
            raise ConfigError(f"evaluate: {name} must be at least {least}, got {value}")
    if device is not None:
        policy = policy.to(device)
    started = time.perf_counter()
    indices = range(episodes)
    if workers:
        finished = worker_pool(env, workers).run(
            policy, indices, parallel=parallel, seed=seed, max_steps=max_steps
        )
    else:
        envs = environments(env, min(parallel, episodes))
        finished = run_episodes(policy, envs, indices, seed=seed, max_steps=max_steps)
    return _summary(finished, time.perf_counter() - started)


def _summary(episodes: list[Episode], seconds: float) -> Evaluation:
    successes = [episode.success for episode in episodes if episode.success is not None]
    return Evaluation(
        returns=tuple(episode.total_reward for episode in episodes),
        lengths=tuple(episode.length for episode in episodes),
        successes=tuple(successes) if len(successes) == len(episodes) else None,
        seconds=seconds,
    )
