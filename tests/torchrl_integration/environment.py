"""A small MuJoCo environment as TorchRL sees it, and transitions from it."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.data import Unbounded
from torchrl.envs import Compose, DoubleToFloat, EnvBase, GymEnv, TensorDictPrimer, TransformedEnv

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
