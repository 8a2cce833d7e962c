"""A bandit with four modes of actions, one of which pays."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

import flowpolicy as fp

MODES = torch.tensor([[0.6, 0.6], [-0.6, 0.6], [-0.6, -0.6], [0.6, -0.6]])
PAY = torch.tensor([1.0, 0.3, 0.3, 0.3])


def reward(actions: Tensor) -> Tensor:
    """``[*B, 2] -> [*B, 1]``: a bump of width 0.3 at each mode, the first three times as high."""
    distance = (actions.unsqueeze(-2) - MODES).square().sum(-1)
    return (PAY * torch.exp(-distance / (2 * 0.3**2))).amax(-1, keepdim=True)


def data(n: int = 4000) -> TensorDict:
    """``[n]`` one-step episodes, a quarter around each mode."""
    g = torch.Generator().manual_seed(0)
    centres = MODES[torch.arange(n) % 4]
    actions = (centres + 0.1 * torch.randn(n, 2, generator=g)).clamp(-1, 1)
    step = {
        "observation": torch.zeros(n, 1),
        "reward": reward(actions),
        "terminated": torch.ones(n, 1, dtype=torch.bool),
    }
    return TensorDict(observation=torch.zeros(n, 1), action=actions, next=step, batch_size=[n])


def train(agent: fp.Agent, updates: int, seed: int, rows: TensorDict | None = None) -> fp.Agent:
    """Train on batches of 256."""
    rows = data() if rows is None else rows
    g = torch.Generator().manual_seed(seed)
    agent.noise.seed(seed)
    for _ in range(updates):
        agent.update(rows[torch.randint(len(rows), (256,), generator=g)])
    return agent


@torch.no_grad()
def shares(actor: fp.Actor, n: int = 2000) -> Tensor:
    """``[4]``: how much of what ``actor`` does lies within 0.3 of each mode."""
    s = torch.zeros(n, 1)
    actions = actor.act(s, actor.draw_noise(s, torch.Generator().manual_seed(1)))
    return ((actions.unsqueeze(-2) - MODES).norm(dim=-1) < 0.3).float().mean(0)
