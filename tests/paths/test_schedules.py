"""Schedules keep the variance, and their derivatives are derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd.functional import jvp
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.paths import Schedule
from tests.contracts.factories import build, cases

each_schedule = pytest.mark.parametrize(("cls", "variant"), cases(Schedule))
INSIDE = torch.linspace(0, 0.999, 200, dtype=torch.float64).unsqueeze(-1)


@each_schedule
def test_variance_is_preserved(cls, variant) -> None:
    s = build(cls, variant).at(torch.linspace(0, 1, 101, dtype=torch.float64).unsqueeze(-1))
    assert_close(s.alpha**2 + s.sigma**2, torch.ones(101, 1, dtype=torch.float64))
    assert (s.alpha.diff(dim=0) > 0).all()
    assert (s.sigma.diff(dim=0) < 0).all()
    assert all(each.isfinite().all() for each in s)


@each_schedule
@pytest.mark.parametrize(("value", "derivative"), [("alpha", "d_alpha"), ("sigma", "d_sigma")])
def test_derivatives(cls, variant, value, derivative) -> None:
    schedule = build(cls, variant)
    _, expected = jvp(lambda t: getattr(schedule.at(t), value), INSIDE, torch.ones_like(INSIDE))
    assert_close(getattr(schedule.at(INSIDE), derivative), expected, rtol=1e-9, atol=1e-9)


def test_linear_beta_is_the_variance_preserving_diffusion() -> None:
    """Its log-share of data loses half of beta(s) = 0.1 + 19.9 s per unit of diffusion time."""
    t = torch.tensor([[0.25]], dtype=torch.float64)
    expected = math.exp(-0.5 * (0.1 * 0.75 + 0.5 * 19.9 * 0.75**2))
    assert fp.LinearBetaSchedule().at(t).alpha.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (0.1, math.inf)])
def test_impossible_rates_are_refused(low, high) -> None:
    with pytest.raises(fp.ConfigError, match="LinearBetaSchedule: needs 0 < beta_min <= beta_max"):
        fp.LinearBetaSchedule(low, high)
