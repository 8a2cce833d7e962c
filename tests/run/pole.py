"""A pole on a cart in MuJoCo, and data of a controller that is often pushed aside."""

from __future__ import annotations

import torch

from flowpolicy import envs
from flowpolicy.data import Dataset, DatasetInfo
from flowpolicy.train import TrainConfig

POLE = "InvertedPendulum-v5"


def pole_data(steps: int = 300, noise: float = 1.0) -> Dataset:
    """One row per step, episodes after one another; actions in [-1, 1] mean forces in [-3, 3]."""
    generator = torch.Generator().manual_seed(0)
    gain = torch.tensor([0.5, 5.0, 0.5, 0.6]) / 3

    def push(observation: torch.Tensor) -> torch.Tensor:
        force = (observation * gain).sum(-1, keepdim=True)
        return (force + noise * torch.randn(force.shape, generator=generator)).clamp(-1, 1)

    env = envs.make(POLE)
    env.set_seed(0)
    seen = env.rollout(steps, push, break_when_any_done=False)
    env.close()
    low, high = (-3.0,), (3.0,)
    return Dataset.from_tensordict(
        seen, info=DatasetInfo(name="pole", action_low=low, action_high=high)
    )


SHORT = TrainConfig(
    agent="fql",
    env=POLE,
    options={"hidden": (16, 16), "flow_steps": 2},
    offline_steps=10,
    online_steps=30,
    batch_size=16,
    eval_every=20,
    eval_episodes=2,
    max_episode_steps=20,
    log_every=5,
    checkpoint_every=10,
    tensorboard=False,
)
"""Ten updates on data, then thirty steps of the pole."""
