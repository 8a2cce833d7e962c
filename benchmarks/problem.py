"""What is measured: batches, data sets and agents of the sizes in the tables."""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDict
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import flowpolicy as fp
from flowpolicy.data import Dataset

OBS_DIM, ACT_DIM, BATCH = 28, 5, 256
SIZES = {"64x2": (64,) * 2, "128x3": (128,) * 3, "256x3": (256,) * 3, "512x4": (512,) * 4}

# As the yardsticks: alpha given, the critics' term unscaled.
FQL = {"scale": fp.unit_scale, "alpha": 10.0}


def random_batch(size: int = BATCH, obs_dim: int = OBS_DIM, act_dim: int = ACT_DIM) -> TensorDict:
    """Transitions in the layout of the conventions, without any end."""
    never = torch.zeros(size, 1, dtype=torch.bool)
    return TensorDict(
        {
            "observation": torch.randn(size, obs_dim),
            "action": torch.rand(size, act_dim) * 2 - 1,
            "next": {
                "observation": torch.randn(size, obs_dim),
                "action": torch.rand(size, act_dim) * 2 - 1,  # for ReBRAC
                "reward": torch.randn(size, 1),
                "terminated": never,
                "truncated": never,
                "done": never,
            },
        },
        batch_size=[size],
    )


def plain_batch(batch: TensorDict) -> dict[str, torch.Tensor]:
    """The same batch as the yardsticks take it."""
    return {
        "observation": batch["observation"],
        "action": batch["action"],
        "next_observation": batch["next", "observation"],
        "reward": batch["next", "reward"].squeeze(-1),
        "terminated": batch["next", "terminated"].squeeze(-1).to(batch["action"].dtype),
    }


def random_dataset(rows: int, obs_dim: int = OBS_DIM, act_dim: int = ACT_DIM) -> Dataset:
    """Transitions in trajectories of 1000 steps."""
    return Dataset(
        {
            "observation": torch.randn(rows, obs_dim),
            "action": torch.rand(rows, act_dim) * 2 - 1,
            ("next", "observation"): torch.randn(rows, obs_dim),
            ("next", "reward"): torch.randn(rows, 1),
            ("next", "terminated"): torch.rand(rows, 1) < 0.001,
            "episode": torch.arange(rows) // 1000,
        }
    )


def agent_of(recipe: str, hidden: tuple[int, ...], *, seed: int = 0, **options: Any) -> fp.Agent:
    """An agent of a recipe; its options are the recipe's own but for FQL's scale."""
    torch.manual_seed(seed)
    given = {**(FQL if recipe == "fql" else {}), **options}
    agent = fp.agents.RECIPES[recipe](OBS_DIM, ACT_DIM, hidden=hidden, **given)
    agent.noise.seed(seed)
    return agent


def period(agent: fp.Agent) -> int:
    """After how many updates the same losses count again."""
    return math.lcm(*agent.every.values())


def update_flops(agent: fp.Agent, batch: TensorDict) -> int:
    """Floating-point operations of the matrix products of an eager update, counted; the mean."""
    updates = period(agent)
    with _CountedProducts() as products:
        for _ in range(updates):
            agent.update(batch)
    return products.flops // updates


class _CountedProducts(TorchDispatchMode):
    """Counts by torch's own table.

    Its ``FlopCounterMode`` hooks modules, which ``autograd.grad`` within an update forbids.
    """

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out
