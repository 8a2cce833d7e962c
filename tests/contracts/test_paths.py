"""Every path runs from noise to data, and its velocity is its derivative."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch.autograd.functional import jvp
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import SHAPES, build, cases

each_path = pytest.mark.parametrize(("cls", "variant"), cases(fp.Path))

# The share of data that a path still holds at t = 0; zero for all others.
LEFTOVER = {"linear_beta": math.exp(-0.25 * (0.1 + 20.0))}


def ends(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(*shape, 2, dtype=torch.float64), torch.randn(*shape, 2, dtype=torch.float64)


@each_path
@pytest.mark.parametrize("shape", SHAPES)
def test_it_starts_at_noise_and_ends_at_data(cls, variant, shape) -> None:
    path = build(cls, variant)
    x0, x1 = ends(*shape)
    zeros = torch.zeros(*shape, 1, dtype=torch.float64)
    share = LEFTOVER.get(variant, 0.0)
    assert_close(
        path.sample(x0, x1, zeros).x_t,
        share * x1 + math.sqrt(1 - share**2) * x0,
        rtol=1e-12,
        atol=1e-12,
    )
    assert_close(path.sample(x0, x1, zeros + 1).x_t, x1, rtol=1e-12, atol=1e-12)


@each_path
@pytest.mark.parametrize("shape", SHAPES)
def test_the_velocity_is_the_derivative_in_time(cls, variant, shape) -> None:
    path = build(cls, variant)
    x0, x1 = ends(*shape)
    for time in (0.0, 0.01, 0.3, 0.5, 0.99, 0.999):
        t = torch.full((*shape, 1), time, dtype=torch.float64)
        x_t, derivative = jvp(lambda t: path.sample(x0, x1, t).x_t, t, torch.ones_like(t))
        sample = path.sample(x0, x1, t)
        assert sample.velocity.shape == sample.x_t.shape == (*shape, 2)
        assert_close(sample.x_t, x_t, rtol=0, atol=0)
        assert_close(sample.velocity, derivative, rtol=1e-9, atol=1e-9)


@each_path
def test_it_is_finite_everywhere_and_keeps_the_dtype(cls, variant) -> None:
    path = build(cls, variant)
    t = torch.linspace(0, 1, 101).unsqueeze(-1)
    sample = path.sample(torch.randn(101, 2), torch.randn(101, 2), t)
    assert sample.x_t.isfinite().all()
    assert sample.velocity.isfinite().all()
    assert sample.x_t.dtype == sample.velocity.dtype == torch.float32


@each_path
def test_it_is_a_value(cls, variant) -> None:
    path = build(cls, variant)
    assert path == build(cls, variant)
    assert pickle.loads(pickle.dumps(path)) == copy.deepcopy(path) == path
    assert hash(path) == hash(build(cls, variant))
