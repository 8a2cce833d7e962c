"""``evaluate``: how well does a policy do in its environment?"""

from __future__ import annotations

import time

import torch
from torch import nn

from flowpolicy.errors import require_at_least
from flowpolicy.evaluate.environments import PARALLEL, EnvSource, borrowed
from flowpolicy.evaluate.evaluation import Evaluation
from flowpolicy.evaluate.lockstep import Episode, require_actor, run_episodes
from flowpolicy.evaluate.workers import processes


def evaluate(
    policy: nn.Module,
    env: EnvSource,
    *,
    episodes: int = 50,
    seed: int = 0,
    workers: int = 0,
    parallel: int = PARALLEL,
    max_steps: int | None = None,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Runs ``episodes`` episodes in real environments and counts.

    Environments step in lock-step with one batched call of the policy per step. Those made by name
    are kept for later calls, those of a function are closed at the end of the call. The policy
    keeps sampling: every episode has a seed of its own for its start and for its noise, so a call
    with the same arguments gives the same episodes. Success means that any step of the episode
    reported ``info["success"]``.

    Args:
        policy: An actor: ``act(observation [*B, O], noise [*B, *noise_shape]) -> [*B, A]``; it gets
            both in the type of its parameters.
        env: Name of an environment, or a function that makes a gymnasium one with actions in
            [-1, 1].
        episodes: How many.
        seed: Of the episodes; has nothing to do with the seed of training.
        workers: 0 runs everything here; n spreads the episodes over n processes, which run copies
            of the policy on the CPU. They stay alive for later calls with the same name, or the
            same function of a module.
        parallel: At most how many environments step together, over all processes, of which there
            are no more than that; a manipulation environment takes 100 to 200 MB.
        max_steps: Ends an episode that the environment has not ended; ``None`` waits for it.
        device: Where the policy is moved to; ``None`` leaves it where it is.

    Raises:
        ConfigError: A count is below its least value, or the policy is no actor.
        EvaluationError: A process failed.

    Example:
        >>> import flowpolicy as fp
        >>> actor = fp.OneStepActor(3, 1, hidden=(8,))
        >>> result = evaluate(actor, "Pendulum-v1", episodes=2, max_steps=5)
        >>> result.lengths, result.success_rate
        ((5, 5), None)
    """
    require_actor(policy)
    for name, value, least in (
        ("episodes", episodes, 1),
        ("seed", seed, 0),
        ("workers", workers, 0),
        ("parallel", parallel, 1),
        ("max_steps", 1 if max_steps is None else max_steps, 1),
    ):
        require_at_least("evaluate", name, value, least)
    if device is not None:
        policy = policy.to(device)
    started = time.perf_counter()
    indices = range(episodes)
    if workers:
        with processes(env, min(workers, parallel)) as pool:
            finished = pool.run(policy, indices, parallel=parallel, seed=seed, max_steps=max_steps)
    else:
        with borrowed(env, min(parallel, episodes)) as envs:
            finished = run_episodes(policy, envs, indices, seed=seed, max_steps=max_steps)
    return _summary(finished, time.perf_counter() - started)


def _summary(episodes: list[Episode], seconds: float) -> Evaluation:
    # Some environments tell of a success, and say nothing where there is none.
    tells = any(episode.success is not None for episode in episodes)
    return Evaluation(
        returns=tuple(episode.total_reward for episode in episodes),
        lengths=tuple(episode.length for episode in episodes),
        successes=tuple(bool(episode.success) for episode in episodes) if tells else None,
        seconds=seconds,
    )
