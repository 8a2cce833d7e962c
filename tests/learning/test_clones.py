"""What a flow can clone, and what a weight makes of it."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

import flowpolicy as fp
from tests.learning.bandit import train


def two_modes(n: int = 2000) -> TensorDict:
    """Actions around -0.6 and 0.6 in equal parts, with reward 1 for the second."""
    good = (torch.arange(n) % 2).bool().unsqueeze(-1)
    g = torch.Generator().manual_seed(0)
    action = torch.where(good, 0.6, -0.6) + 0.1 * torch.randn(n, 1, generator=g)
    step = {
        "observation": torch.zeros(n, 1),
        "reward": good.float(),
        "terminated": torch.ones(n, 1, dtype=torch.bool),
    }
    return TensorDict(observation=torch.zeros(n, 1), action=action, next=step, batch_size=[n])


@torch.no_grad()
def sampled(actor: fp.Actor, n: int = 2000) -> torch.Tensor:
    s = torch.zeros(n, 1)
    return actor.act(s, actor.draw_noise(s, torch.Generator().manual_seed(1))).flatten()


def test_a_flow_clone_keeps_two_modes_where_a_gaussian_cannot() -> None:
    rows = two_modes()
    agent = train(fp.agents.flow_bc(1, 1, hidden=(64, 64), lr=2e-3), 400, seed=0, rows=rows)
    actions = sampled(agent.policy)
    left, right = (((actions - mode).abs() < 0.3).float().mean() for mode in (-0.6, 0.6))
    assert left > 0.35
    assert right > 0.35
    between = (actions.abs() < 0.3).float().mean()
    assert between < 0.15
    # The best Gaussian, that of the data's own mean and deviation, puts more between the modes.
    gaussian = torch.distributions.Normal(rows["action"].mean(), rows["action"].std())
    assert gaussian.cdf(torch.tensor(0.3)) - gaussian.cdf(torch.tensor(-0.3)) > 0.3


def test_a_lower_temperature_clones_fewer_bad_actions() -> None:
    """GFP's clone, on data of which half is bad."""

    def bad_share(temperature: float) -> float:
        torch.manual_seed(0)
        agent = fp.agents.gfp(1, 1, hidden=(64, 64), temperature=temperature, lr=2e-3, flow_steps=5)
        train(agent, 300, seed=0, rows=two_modes())
        return (sampled(agent.actors["flow"]) < 0).float().mean().item()

    soft, hard = bad_share(1e3), bad_share(1e-2)
    assert soft == pytest.approx(0.5, abs=0.1)  # every action counts half
    assert hard < 0.2
