"""Every sampler solves the flow's equation at the order that it declares."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import (
    ACT,
    OBS,
    SHAPES,
    build,
    implementations,
    noise_for,
    observations,
)

each_sampler = pytest.mark.parametrize("cls", implementations(fp.Sampler))


class FormulaField(nn.Module):
    """A velocity by formula that remembers when it was asked."""

    def __init__(self, formula, act_dim: int = 1) -> None:
        super().__init__()
        self.formula, self.obs_dim, self.act_dim = formula, OBS, act_dim
        self.times: list[float] = []

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        assert time.shape == (*x_t.shape[:-1], 1)
        self.times.append(time.flatten()[0].item())
        return self.formula(x_t, time)


@each_sampler
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_field_is_solved_exactly(cls, steps, shape) -> None:
    velocity = torch.tensor([0.25, -0.5], dtype=torch.float64)
    sampler = cls(FormulaField(lambda x, _: velocity.expand_as(x), act_dim=2), steps=steps)
    noise = torch.rand(*shape, 2, dtype=torch.float64) * 0.4
    end = sampler.act(observations(*shape), noise)
    assert_close(end, noise + velocity, rtol=0, atol=1e-15)


@each_sampler
def test_the_observed_order_is_the_declared_one(cls) -> None:
    """On dx/dt = x^2 e^t, not linear, not symmetric in time: x(1) = 1 / (1 / x(0) + 1 - e)."""
    start = torch.linspace(-0.9, -0.5, 9, dtype=torch.float64).unsqueeze(-1)
    exact = 1 / (1 / start + 1 - math.e)
    field = FormulaField(lambda x, t: x.square() * t.exp())

    def error(steps: int) -> float:
        return (cls(field, steps=steps).raw(observations(9), start) - exact).abs().max().item()

    order = math.log2(error(20) / error(40))
    assert cls.order - 0.2 <= order <= cls.order + 0.4


@each_sampler
def test_a_step_asks_as_often_as_its_order_needs_and_never_outside_the_interval(cls) -> None:
    # Explicit Runge-Kutta methods of an order up to four get by with as many evaluations.
    field = FormulaField(lambda x, _: x)
    cls(field, steps=5).act(observations(4), torch.zeros(4, 1))
    assert len(field.times) == 5 * cls.order
    assert min(field.times) == 0
    assert max(field.times) <= 1


@each_sampler
@pytest.mark.parametrize("shape", SHAPES)
def test_the_trajectory_runs_from_the_noise_to_the_action(cls, shape) -> None:
    sampler = build(cls)
    s, z = observations(*shape), noise_for(sampler, *shape)
    chain = sampler.trajectory(s, z)
    assert chain.shape == (sampler.steps + 1, *shape, ACT)
    assert torch.equal(chain[0], z)
    assert torch.equal(chain[-1], sampler.raw(s, z))
    assert torch.equal(chain[-1].clamp(-1, 1), sampler.act(s, z))


@each_sampler
def test_gradient_reaches_the_noise_and_every_parameter_of_the_field(cls) -> None:
    sampler = build(cls)
    z = noise_for(sampler, 4).requires_grad_()
    sampler.raw(observations(4), z).square().sum().backward()
    for tensor in (z, *sampler.field.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@each_sampler
def test_no_steps_are_refused(cls) -> None:
    field = FormulaField(lambda x, _: x)
    with pytest.raises(fp.ConfigError, match=f"{cls.__name__}: steps must be at least 1, got 0"):
        cls(field, steps=0)
    with pytest.raises(fp.ConfigError, match="steps must be a whole number of at least 1, got 2.5"):
        cls(field, steps=2.5)


@each_sampler
@pytest.mark.parametrize(
    ("field", "told"),
    [
        (fp.OneStepActor(OBS, ACT, (8,)), "OneStepActor has no velocity"),
        (fp.VelocityField, "VelocityField itself has no obs_dim, act_dim"),
        (None, "NoneType has no velocity, obs_dim, act_dim"),
    ],
)
def test_what_gives_no_velocity_is_refused(cls, field, told) -> None:
    with pytest.raises(
        fp.ConfigError,
        match=rf"{cls.__name__}: field must be a velocity field with velocity, obs_dim, act_dim; "
        rf"{told}\. Pass a VelocityField\(obs_dim, act_dim\)\.",
    ):
        cls(field)


@each_sampler
def test_it_says_how_many_steps(cls) -> None:
    assert "steps=3" in repr(build(cls))
