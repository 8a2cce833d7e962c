"""Every formula against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy import functional as F


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def members(*values: float) -> Tensor:
    """``[E, 1, 1]``: what the critics of an ensemble say of one sample."""
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (F.mean_value, 2.5),
        (F.min_value, 1.0),
        (F.max_value, 4.0),
        (F.Pessimistic(0.0), 2.5),
        (F.Pessimistic(0.5), 1.940983),  # the population's deviation; the sample's gives 1.854503
    ],
)
def test_aggregations(aggregation, expected) -> None:
    value = aggregation(members(1, 2, 3, 4))
    assert value.shape == (1, 1)
    assert value.item() == pytest.approx(expected, abs=5e-7)


def test_pessimism_of_one_member_is_its_value() -> None:
    assert F.Pessimistic(0.5)(members(3.0)).item() == 3.0


def test_pessimism_has_a_gradient_where_all_members_agree() -> None:
    values = members(2.0, 2.0, 2.0, 2.0).requires_grad_()
    F.Pessimistic(0.5)(values).sum().backward()
    assert values.grad.flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("rho", [-0.1, math.inf, math.nan])
def test_impossible_pessimism_is_refused(rho) -> None:
    with pytest.raises(fp.ConfigError, match="Pessimistic: rho must be finite and at least 0"):
        F.Pessimistic(rho)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1e-1, 0.524979), (1e-3, 0.999955), (1e-5, 1.0), (1e12, 0.5)]
)
def test_value_aware_weight(temperature, expected) -> None:
    g = F.value_aware_weight(column(0.01), column(0.0), scale=1.0, temperature=temperature)
    assert g.item() == pytest.approx(expected, abs=5e-7)
    against = F.value_aware_weight(column(0.0), column(0.01), 1.0, temperature)
    assert (g + against).item() == pytest.approx(1, abs=1e-12)


def test_value_aware_weight_is_the_published_ratio_of_exponentials() -> None:
    q, q_ref, scale, eta = column(0.3, -1.0), column(0.1, 0.2), 0.7, 0.4
    better, reference = (scale * q / eta).exp(), (scale * q_ref / eta).exp()
    assert_close(F.value_aware_weight(q, q_ref, scale, eta), better / (better + reference))


def test_advantage_weight() -> None:
    g = F.advantage_weight(column(1.0, 0.0, 1e30), column(0.5, 0.5, 0.0), 0.25, maximum=100.0)
    assert_close(g, column(math.exp(2), math.exp(-2), 100.0))


def test_expectile_error_counts_values_above_the_prediction_more() -> None:
    error = F.expectile_error(column(0, 0, 2), column(2, -2, 2), expectile=0.9)
    assert_close(error, column(3.6, 0.4, 0.0))


def test_the_middle_expectile_is_half_the_squared_error() -> None:
    value, target = torch.randn(50, 1), torch.randn(50, 1)
    assert_close(F.expectile_error(value, target, 0.5), 0.5 * F.squared_error(value, target))


def test_the_expectile_is_what_minimises_the_error() -> None:
    """Of the targets 0 and 1 in equal parts, the minimiser is the expectile itself."""
    for kappa in (0.1, 0.5, 0.9):
        v = torch.full((1,), kappa, dtype=torch.float64, requires_grad=True)
        F.expectile_error(v.expand(2, 1), column(0, 1), kappa).sum().backward()
        assert v.grad.item() == pytest.approx(0, abs=1e-12)


def test_squared_error_is_a_mean_over_action_dimensions() -> None:
    error = F.squared_error(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 3))
    assert error.shape == (1, 1)
    assert error.item() == pytest.approx(14 / 3)


def test_td_target_discounts_by_the_rows_own_number_of_steps() -> None:
    reward, next_value = column(-1, -1, -2.71, -1), column(-10, -10, -10, -10)
    terminated = torch.tensor([[False], [True], [False], [True]])
    steps = torch.tensor([[1], [1], [3], [3]])
    target = F.td_target(reward, terminated, next_value, 0.9, steps)
    assert_close(target, column(-10, -1, -2.71 - 7.29, -1))


def test_td_target_without_steps_is_one_step() -> None:
    target = F.td_target(column(1.0), torch.tensor([[0.0]]), column(4.0), 0.5)
    assert target.item() == 3.0


def test_td_error_is_a_mean_over_critics_against_one_target() -> None:
    values = torch.stack([column(1.0, 0.0), column(3.0, 0.0)])
    assert_close(F.td_error(values, column(0.0, 2.0)), column(5.0, 4.0))


def test_scales_are_one_detached_number() -> None:
    values = torch.tensor([[-4.0], [2.0]], requires_grad=True)
    for scale, expected in ((F.unit_scale, 1.0), (F.inverse_mean_abs, 1 / 3)):
        result = scale(values)
        assert result.shape == ()
        assert not result.requires_grad
        assert result.item() == pytest.approx(expected)


def test_a_critic_that_is_zero_everywhere_is_left_out() -> None:
    assert F.inverse_mean_abs(torch.zeros(4, 1)) == 0
    agent = fp.agents.iql_ddpg_bc(1, 1, hidden=(8, 8))  # whose first action is 0
    batch = TensorDict(observation=torch.zeros(4, 1), action=torch.zeros(4, 1), batch_size=[4])
    batch["next"] = TensorDict(
        observation=torch.zeros(4, 1),
        reward=torch.ones(4, 1),
        terminated=torch.zeros(4, 1, dtype=torch.bool),
        batch_size=[4],
    )
    assert agent.update(batch)["skipped"] == 0


def test_the_error_of_adjoint_matching_is_zero_where_the_flow_is_turned_as_the_adjoint_asks() -> (
    None
):
    base, adjoint = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    sigma = F.memoryless_noise_scale(torch.arange(4, dtype=torch.float64) / 4, 0.25).view(4, 1, 1)
    turned = base - sigma.square() / 2 * adjoint
    assert_close(F.adjoint_matching_error(turned, base, adjoint), torch.zeros(5, 1).double())
    expected = (sigma * adjoint).square().sum((0, 2)).unsqueeze(1)
    assert_close(F.adjoint_matching_error(base, base, adjoint), expected)


def test_duals_are_of_the_coefficient_alone() -> None:
    coefficient, error = (column(x).requires_grad_() for x in (2.0, 3.0))
    for value, slope in (
        (F.dual(coefficient, error, 1.0), -2.0),
        (F.log_dual(coefficient.log(), error), -1.0),
    ):
        gradients = torch.autograd.grad(value.sum(), [coefficient, error], allow_unused=True)
        assert gradients[0].item() == pytest.approx(slope)
        assert gradients[1] is None


def test_tanh_gelu_is_torchs_with_its_gradient_and_finite_far_out() -> None:
    x = torch.cat([torch.linspace(-12, 12, 401, dtype=torch.float64), torch.tensor([-1e9, 1e9])])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    F.tanh_gelu(ours).sum().backward()
    torch.nn.functional.gelu(theirs, approximate="tanh").sum().backward()
    assert_close(F.tanh_gelu(ours), torch.nn.functional.gelu(theirs, approximate="tanh"))
    assert_close(ours.grad[:-2], theirs.grad[:-2])
    assert F.tanh_gelu(ours).isfinite().all()
