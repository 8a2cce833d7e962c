"""A small MuJoCo environment as TorchRL sees it, and transitions from it."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.data import Unbounded
from torchrl.envs import Compose, DoubleToFloat, EnvBase, GymEnv, TensorDictPrimer, TransformedEnv

import flowpolicy as fp
from tests.agents.recipes import small_options

OBS_DIM = 10
ACT_DIM = 2
EPISODE = 50


def reacher() -> EnvBase:
    """Gymnasium's Reacher: actions in [-1, 1], episodes of 50 steps; only the dtype is changed."""
    return TransformedEnv(GymEnv("Reacher-v5"), DoubleToFloat())


def reacher_with_noise(*noise_shape: int) -> EnvBase:
    """The same, and every reset writes ``noise``: what a policy did can then be computed again."""
    primer = TensorDictPrimer(noise=Unbounded(noise_shape), random=True)
    return TransformedEnv(GymEnv("Reacher-v5"), Compose(DoubleToFloat(), primer))


def transitions(count: int) -> TensorDictBase:
    """``count`` steps of a random policy, in TorchRL's layout."""
    return reacher().rollout(count, break_when_any_done=False)


def small_recipe(name: str) -> fp.Agent:
    """An agent for the reacher; no data here tell the next action, so ReBRAC does without."""
    options = small_options(name, hidden=(16,), flow_steps=2)
    if name == "rebrac":
        options["critic_alpha"] = 0.0
    return fp.agents.build(name, OBS_DIM, ACT_DIM, **options)
