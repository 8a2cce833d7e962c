"""A policy of action chunks behind TorchRL's MultiStepActorWrapper."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDictBase
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, InitTracker, SerialEnv, TransformedEnv
from torchrl.modules import MultiStepActorWrapper

import flowpolicy as fp
from flowpolicy.checkpoint import DeployedPolicy
from flowpolicy.evaluate import lockstep, run_episodes
from tests.torchrl_integration.environment import ACT_DIM, EPISODE, OBS_DIM, reacher_with_noise

HORIZON = 3


def make_actor(kind: str) -> fp.Actor:
    if kind == "one step":
        return fp.OneStepActor(OBS_DIM, HORIZON * ACT_DIM, hidden=(16,))
    field = fp.VelocityField(OBS_DIM, HORIZON * ACT_DIM, hidden=(16,))
    return fp.EulerSampler(field, steps=2)


def make_env(actor: fp.Actor, count: int = 1) -> EnvBase:
    # The wrapper needs a batch dimension: SerialEnv also where there is only one environment.
    envs = SerialEnv(count, partial(reacher_with_noise, *actor.noise_shape))
    return TransformedEnv(envs, InitTracker())


def chunks(actor: fp.Actor, data: TensorDictBase) -> torch.Tensor:
    """What the actor would plan at every step ``[*B, T, h, A]``."""
    with torch.no_grad():
        action = actor.act(data["observation"], data["noise"])
    return action.unflatten(-1, (HORIZON, ACT_DIM))


@pytest.mark.parametrize("kind", ["one step", "flow"])
@pytest.mark.parametrize("envs", [1, 2])
def test_a_chunk_is_played_to_its_end(kind, envs):
    actor = make_actor(kind)
    policy = MultiStepActorWrapper(fp.ChunkPolicy(actor, HORIZON), n_steps=HORIZON)
    data = make_env(actor, envs).rollout(8, policy)
    assert data["action"].shape == (envs, 8, ACT_DIM)
    planned = chunks(actor, data)
    for step in range(8):
        start, within = step - step % HORIZON, step % HORIZON
        torch.testing.assert_close(data["action"][:, step], planned[:, start, within])


def test_replanning_at_every_step_plays_first_actions():
    actor = make_actor("flow")
    policy = MultiStepActorWrapper(
        fp.ChunkPolicy(actor, HORIZON), n_steps=HORIZON, replan_interval=1
    )
    data = make_env(actor).rollout(8, policy)
    torch.testing.assert_close(data["action"], chunks(actor, data)[..., 0, :])


def test_a_new_episode_begins_with_a_new_chunk():
    actor = make_actor("one step")
    policy = MultiStepActorWrapper(fp.ChunkPolicy(actor, HORIZON), n_steps=HORIZON)
    collector = Collector(
        make_env(actor), policy, frames_per_batch=EPISODE + 2, auto_register_policy_transforms=False
    )
    data = next(iter(collector))
    collector.shutdown()
    assert data["is_init"].flatten().nonzero().flatten().tolist() == [0, EPISODE]
    planned = chunks(actor, data)
    assert EPISODE % HORIZON != 0  # the last chunk of the first episode is cut short
    for step, within in [(EPISODE, 0), (EPISODE + 1, 1)]:
        torch.testing.assert_close(data["action"][:, step], planned[:, EPISODE, within])


class Recorded:
    """Shows the observations of a rollout again, and writes down the actions."""

    def __init__(self, data: TensorDictBase) -> None:
        self.data = data
        self.actions: list[torch.Tensor] = []

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        del seed
        return self.data["observation"][0].numpy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        seen = self.data["next", "observation"][len(self.actions)].numpy()
        self.actions.append(torch.from_numpy(action))
        return seen, 0.0, False, len(self.actions) == len(self.data), {}


@pytest.mark.parametrize("horizon", [1, HORIZON])
def test_evaluation_plays_the_actions_that_the_wrapper_plays(horizon, monkeypatch):
    actor = fp.OneStepActor(OBS_DIM, horizon * ACT_DIM, hidden=(16,))
    wrapper = MultiStepActorWrapper(fp.ChunkPolicy(actor, horizon), n_steps=horizon)
    data = make_env(actor).rollout(EPISODE, wrapper)[0]
    env = Recorded(data)

    class SameNoise:
        def __init__(self, *_: object) -> None:
            pass

        def draw(self) -> torch.Tensor:
            return data["noise"][len(env.actions)]

    monkeypatch.setattr(lockstep, "EpisodeNoise", SameNoise)
    run_episodes(DeployedPolicy(actor, horizon=horizon), [env], [0], seed=0)
    assert EPISODE % HORIZON != 0  # the last chunk is cut short
    torch.testing.assert_close(torch.stack(env.actions), data["action"])
