"""Adjoint matching on the Gaussian flow, where the tilted policy is known.

The base carries N(0, 1) to N(m, s^2), the critic is c a: the policy proportional to base times
exp(tau c a) is N(m + tau c s^2, s^2). Ten steps have a bias, which the recursion of the adjoints
gives in numbers: the mean goes to 0.3324 where the tilted policy's is 0.2875.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import flowpolicy as fp
from flowpolicy.functional import lean_adjoint, memoryless_noise_scale, memoryless_path

M, S, C, TAU, STEPS = 0.1, 0.25, 1.0, 3.0, 10  # the clip's dead gradient is four deviations away


def base(x: Any, t: Any) -> Any:
    return M + (t * S**2 - (1 - t)) / (t**2 * S**2 + (1 - t) ** 2) * (x - t * M)


class GaussianField(nn.Module):
    obs_dim, act_dim = 1, 1

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        del observation
        return base(x_t, time)


class LinearCritic(nn.Module):
    obs_dim, act_dim, size = 1, 1, 2

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        del observation
        return (self.slope * action).expand(self.size, *action.shape)


class Corrected(nn.Module):
    """The base, and a network on top that starts at zero: what is learned is the correction."""

    obs_dim, act_dim = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.head = nn.Linear(64, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        base = GaussianField().velocity(observation, x_t, time)
        return base + self.head(self.net(torch.cat([x_t, time], dim=-1)))


def train(loss: fp.Loss, updates: int) -> None:
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    batch = TensorDict(observation=torch.zeros(256, 1), batch_size=[256])
    for _ in range(updates):
        optimizer.zero_grad()
        loss(batch)[f"loss_{loss.name}"].backward()
        optimizer.step()
        schedule.step()


def trained(slope: float, updates: int) -> tuple[Corrected, fp.AdjointMatchingLoss]:
    field = Corrected()
    critic = LinearCritic(slope)
    loss = fp.AdjointMatchingLoss(field, GaussianField(), critic, temperature=1 / TAU, steps=STEPS)
    train(loss, updates)
    return field, loss


def mean_of(field: nn.Module) -> float:
    s = torch.zeros(20_000, 1)
    flow = fp.EulerSampler(field, STEPS)
    with torch.no_grad():
        return flow.raw(s, flow.draw_noise(s, torch.Generator().manual_seed(1))).mean().item()


def mean_of_ten_steps() -> float:
    """Of the base corrected by the regression's targets, which do not depend on the path."""
    path = memoryless_path(base, torch.zeros(1, STEPS, 1, dtype=torch.float64))
    adjoint = lean_adjoint(base, path, torch.full_like(path[-1], -TAU * C))
    x = path.new_zeros(1, 1)
    for i in range(STEPS):
        correction = -(memoryless_noise_scale(i / STEPS, 1 / STEPS) ** 2) / 2 * adjoint[i]
        x = x + (base(x, i / STEPS) + correction) / STEPS
    return x.item()


def test_the_mean_moves_to_that_of_the_tilted_policy_within_the_error_of_ten_steps() -> None:
    torch.manual_seed(0)
    assert mean_of_ten_steps() == pytest.approx(0.3324, abs=5e-5)
    assert mean_of(GaussianField()) == pytest.approx(M, abs=0.01)
    field, _ = trained(C, updates=200)
    assert mean_of(field) == pytest.approx(mean_of_ten_steps(), abs=0.015)
    assert mean_of(field) == pytest.approx(M + TAU * C * S**2, abs=0.06)


def test_critics_without_slope_leave_the_field_at_its_base() -> None:
    torch.manual_seed(0)
    field, loss = trained(0.0, updates=3)
    x, t = torch.randn(100, 1), torch.rand(100, 1)
    assert torch.equal(field.velocity(x, x, t), base(x, t))
    assert loss(TensorDict(observation=torch.zeros(8, 1), batch_size=[8]))["loss_adjoint"] == 0


def best_mean_of_paths() -> float:
    """Of the paths' ends under the control that solves the problem: sigma^2 tau c p / 2.

    The cost has no step length, hence ten times the reward; p is how the next state moves the end.
    """
    h, sigma = 1 / STEPS, [memoryless_noise_scale(i / STEPS, 1 / STEPS) for i in range(STEPS)]
    slope = [(base(1.0, i * h) - base(0.0, i * h)) for i in range(STEPS)]
    p = [1 + h * slope[-1]]
    for i in reversed(range(1, STEPS - 1)):
        p.insert(0, p[0] * (1 + h * (2 * slope[i] - 1 / (i * h + h))))
    x = 0.0
    for i in range(STEPS - 1):
        velocity = base(x, i * h) + sigma[i] ** 2 / 2 * TAU * C * p[i]
        x = x + h * (2 * velocity - x / (i * h + h))
    return x + h * base(x, 1 - h)


def test_basic_adjoint_matching_finds_the_best_control() -> None:
    torch.manual_seed(0)
    assert best_mean_of_paths() == pytest.approx(0.3711, abs=5e-5)
    field = Corrected()
    loss = fp.BasicAdjointMatchingLoss(
        field, GaussianField(), LinearCritic(C), temperature=1 / (STEPS * TAU), steps=STEPS
    )
    train(loss, updates=200)
    s = torch.zeros(20_000, 1)
    sde = fp.MemorylessSDE(field, end=GaussianField(), steps=STEPS)
    with torch.no_grad():
        ends = sde.raw(s, sde.draw_noise(s, torch.Generator().manual_seed(1)))
    assert ends.mean().item() == pytest.approx(best_mean_of_paths(), abs=0.015)
