"""Memoryless paths and their adjoints on the Gaussian flow, where both have closed forms.

The base carries N(0, 1) to N(m, s^2); the reward c a then has the lean adjoint
-tau c s^2 t / D(t) with D(t) = t^2 s^2 + (1 - t)^2, the best correction of the velocity is
tau c s^2 (1 - t) / D(t), and the tilted mean m + tau c s^2.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.functional import (
    action_gradient,
    adjoint_matching_error,
    control_cost,
    lean_adjoint,
    memoryless_noise_scale,
    memoryless_path,
    memoryless_step,
)
from tests.contracts.factories import Parts
from tests.samplers.test_gaussian import GaussianField, M, S

C, TAU = 1.0, 3.0
T10 = torch.arange(10, dtype=torch.float64) / 10


def velocity(x: Tensor, t: float) -> Tensor:
    return GaussianField().velocity(x, x, torch.full_like(x, t))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def adjoint(steps: int) -> Tensor:
    """``[T + 1]``: the same on every path, the field being affine."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(3, steps, 1, generator=g, dtype=torch.float64)
    path = memoryless_path(velocity, noise)
    slope = -TAU * action_gradient(lambda a: C * a, path[-1])
    values = lean_adjoint(velocity, path, slope).squeeze(-1)
    assert_close(values, values[:, :1].expand_as(values))
    return values[:, 0]


def test_the_noise_scale_of_ten_steps() -> None:
    sigma = memoryless_noise_scale(T10, 0.1)
    expected = column(4.690416, 3.162278, 2.449490, 2.0, 1.673320)
    expected = torch.cat([expected, column(1.414214, 1.195229, 1.0, 0.816497, 0.632456)])
    assert_close(sigma, expected, rtol=0, atol=5e-7)
    halves = column(11, 5, 3, 2, 1.4, 1, 0.714286, 0.5, 0.333333, 0.2)
    assert_close(sigma**2 / 2, halves, rtol=0, atol=5e-7)
    assert [memoryless_noise_scale(t.item(), 0.1) for t in T10] == pytest.approx(sigma.tolist())


def test_the_adjoint_of_ten_steps() -> None:
    expected = column(0.00934, -0.04338, -0.16113, -0.38113, -0.76227, -1.36119)
    expected = torch.cat([expected, column(-2.14925, -2.90637, -3.32157, -3.3, -3.0)])
    assert_close(adjoint(10), expected, rtol=0, atol=6e-6)


def test_the_regression_targets_of_ten_steps() -> None:
    """And not those of continuous time, which differ by up to a half."""
    targets = -(memoryless_noise_scale(T10, 0.1) ** 2) / 2 * adjoint(10)[:-1]
    expected = column(-0.1028, 0.2169, 0.4834, 0.7623, 1.0672, 1.3612, 1.5352, 1.4532, 1.1072, 0.66)
    assert_close(targets, expected, rtol=0, atol=6e-5)
    continuum = column(0.75, 0.8308, 0.9231, 1.0244, 1.125, 1.2, 1.2, 1.0588, 0.75, 0.3529)
    variance = T10**2 * S**2 + (1 - T10) ** 2
    assert_close(TAU * C * S**2 * (1 - T10) / variance, continuum, rtol=0, atol=6e-5)
    assert (targets - continuum).abs().max() > 0.5


def test_a_thousand_steps_reach_continuous_time() -> None:
    steps = 1000
    t = torch.arange(steps, dtype=torch.float64) / steps
    variance = t**2 * S**2 + (1 - t) ** 2
    g = adjoint(steps)
    assert_close(g[:-1], -TAU * C * S**2 * t / variance, rtol=0, atol=5e-3)
    half = memoryless_noise_scale(t, 1 / steps) ** 2 / 2
    continuum = TAU * C * S**2 * (1 - t) / variance
    assert_close((-half * g[:-1])[t > 0.3], continuum[t > 0.3], rtol=0, atol=5e-3)
    # The published pairing of step i with the adjoint of time i tends to 0 at the start, where that
    # with the next adjoint would reach continuous time.
    assert abs((half * g[:-1])[0].item()) < 2e-3
    assert_close(-half * g[1:], continuum, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("steps", "tolerance"), [(10, 0.07), (200, 0.003)])
def test_paths_have_the_flows_moments_and_forget_their_start(steps, tolerance, generator) -> None:
    n = 40_000
    noise = torch.randn(n, steps, 1, generator=generator, dtype=torch.float64)
    sde = fp.MemorylessSDE(GaussianField(), steps=steps)
    path = sde.trajectory(torch.zeros(n, 1), noise)
    assert torch.equal(path[0], noise[:, 0])
    error = 4 * S / n**0.5
    assert path[-1].mean().item() == pytest.approx(M, abs=tolerance + error)
    assert path[-1].std().item() == pytest.approx(S, abs=tolerance + error)
    correlation = torch.corrcoef(torch.stack([path[0], path[-1]]).squeeze(-1))[0, 1]
    assert abs(correlation) < tolerance + 4 / n**0.5


def test_one_step_by_hand() -> None:
    x, v, xi = column(0.5), column(-1.0), column(2.0)
    # 0.5 + 0.25 (-2 - 0.5 / 0.5) + 0.5 sqrt(2 * 1 / 0.5) * 2
    assert memoryless_step(x, v, xi, time=0.25, h=0.25).item() == pytest.approx(0.5 - 0.75 + 2.0)


def test_the_last_step_follows_the_other_field_without_noise() -> None:
    noise = torch.randn(4, 5, 2, dtype=torch.float64)
    path = memoryless_path(lambda x, _: -x, noise, end=lambda x, t: x + t)
    assert_close(path[-1], path[-2] + 0.2 * (path[-2] + 0.8))
    assert path.shape == (6, 4, 2)


def test_the_adjoint_is_taken_at_the_earlier_state_and_the_later_time() -> None:
    """With v(x, t) = t sin x one step is g + h (2 t' cos x_i - 1 / t') g."""
    path = torch.randn(4, 3, 1, dtype=torch.float64)
    end = torch.randn(3, 1, dtype=torch.float64)
    values = lean_adjoint(lambda x, t: t * x.sin(), path, end)
    assert torch.equal(values[3], end)
    for i, later in [(2, 1.0), (1, 2 / 3), (0, 1 / 3)]:
        slope = 2 * later * path[i].cos() - 1 / later
        assert_close(values[i], values[i + 1] + slope * values[i + 1] / 3)


def test_the_error_is_zero_at_the_target_and_sums_steps_and_dimensions() -> None:
    base, g = torch.randn(2, 10, 4, 3, dtype=torch.float64)
    scale = memoryless_noise_scale(T10, 0.1).view(-1, 1, 1)
    assert_close(
        adjoint_matching_error(base - scale**2 / 2 * g, base, g), torch.zeros(4, 1).double()
    )
    error = adjoint_matching_error(base, base, torch.ones_like(g))
    assert error.shape == (4, 1)
    assert_close(error, error.new_full((4, 1), 3 * (scale**2).sum().item()))


def test_the_cost_of_control() -> None:
    cost = control_cost(column(1.0, -2.0).view(1, 2), noise_scale=0.5)
    assert cost.tolist() == [[40.0]]


# -- the straight path alone -------------------------------------------------------------------


def guided(p: Parts, field: fp.VelocityField | fp.TargetNetwork) -> fp.GuidedSampler:
    return fp.GuidedSampler(fp.EulerSampler(field), p.critic, coefficient=0.1, temperature=1.0)


def adjoint_loss(p: Parts, base: fp.VelocityField | fp.TargetNetwork) -> fp.Loss:
    return fp.AdjointMatchingLoss(p.behavior, base, p.critic, temperature=1.0)


USERS = {
    "a policy": lambda p: (fp.MemorylessSDE(p.field), []),
    "the end of a policy": lambda p: (fp.MemorylessSDE(p.behavior, end=p.field), []),
    "guidance": lambda p: (guided(p, p.field), []),
    "guidance of a target": lambda p: (fp.BestOf(guided(p, p.slow), p.critic), []),
    "guidance in a loss": lambda p: (
        p.flow,
        [fp.TDLoss(p.critic, p.target, next_actor=guided(p, p.field))],
    ),
    "a loss of a path's end": lambda p: (p.flow, [fp.DPGLoss(fp.MemorylessSDE(p.field), p.critic)]),
    "a base": lambda p: (p.flow, [adjoint_loss(p, p.field)]),
    "a base's target": lambda p: (p.flow, [adjoint_loss(p, p.slow)]),
}


@pytest.mark.parametrize("use", USERS.values(), ids=USERS)
def test_an_agent_takes_no_field_of_another_path_for_a_straight_one(use) -> None:
    """By the ordinary equation a cosine's flow has the data's deviation, by this one 0.6 of it."""
    p = Parts()
    policy, losses = use(p)
    fp.Agent(policy, [fp.FlowMatchingLoss(p.field), *losses], networks={"b": p.behavior})
    other = fp.FlowMatchingLoss(p.field, fp.AffinePath(fp.CosineSchedule()))
    with pytest.raises(
        fp.ConfigError,
        match="needs a field of the straight path, but 'flow' trains its field on AffinePath.*Lin",
    ):
        fp.Agent(policy, [other, *losses], networks={"b": p.behavior})


def test_flows_of_other_paths_stand_beside_what_needs_the_straight_one() -> None:
    p = Parts()
    cosine = fp.FlowMatchingLoss(p.field, fp.AffinePath(fp.CosineSchedule()))
    fp.Agent(
        p.flow,
        [cosine, fp.FlowMatchingLoss(p.behavior, name="straight")],
        networks={"other": p.field, "field": p.behavior},
        actors={"random": fp.MemorylessSDE(p.behavior)},
    )
