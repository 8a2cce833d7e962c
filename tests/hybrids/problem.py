"""A problem with a known optimum: two modes of actions, one of which pays more."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

import flowpolicy as fp
from flowpolicy.data import Dataset, transforms

GOOD, BAD, SPREAD = 0.5, -0.5, 0.15
"""The data's two modes; the best action is the better one."""
BEHAVIOR, OPTIMUM = 0.48, 1.0
"""What the data earn, and what the best policy does."""
EPISODES, LENGTH = 200, 8


def reward(action: Tensor) -> Tensor:
    """``[*B, A] -> [*B, 1]``: one minus the squared distance to the best action."""
    return 1 - (action - GOOD).square().mean(-1, keepdim=True)


def data(horizon: int) -> Dataset:
    """Episodes that keep to one mode; each step is worth its own reward and nothing follows."""
    g = torch.Generator().manual_seed(0)
    episode = torch.arange(EPISODES).repeat_interleave(LENGTH)
    centre = torch.where(episode % 2 == 0, GOOD, BAD).unsqueeze(-1)
    action = centre + SPREAD * torch.randn(len(episode), 1, generator=g)
    action = action.clamp(-1, 1)
    observation = torch.rand(len(episode), 1, generator=g)
    dataset = Dataset(
        {
            "observation": observation,
            "action": action,
            ("next", "observation"): observation.roll(-1, dims=0),
            ("next", "reward"): reward(action),
            ("next", "terminated"): torch.ones(len(episode), 1, dtype=torch.bool),
            "episode": episode,
        }
    )
    assert abs(reward(action).mean().item() - BEHAVIOR) < 0.02
    return transforms.chunk(dataset, horizon, discount=1.0) if horizon > 1 else dataset


def trained(agent: fp.Agent, dataset: Dataset, updates: int) -> list[TensorDict]:
    """The losses and metrics of every update."""
    g = torch.Generator().manual_seed(0)
    return [agent.update(dataset.sample(128, g)) for _ in range(updates)]


@torch.no_grad()
def score(actor: fp.Actor, n: int = 1000) -> float:
    """The mean reward of what ``actor`` does."""
    g = torch.Generator().manual_seed(1)
    observation = torch.rand(n, 1, generator=g)
    return reward(actor.act(observation, actor.draw_noise(observation, g))).mean().item()
