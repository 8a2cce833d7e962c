"""What fine-tunes a flow refuses, and its gradient by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import flowpolicy as fp
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, transitions, with_noise

BOTH = [fp.AdjointMatchingLoss, fp.BasicAdjointMatchingLoss]


class Detached(nn.Module):
    obs_dim, act_dim, size = OBS, ACT, 1

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        del observation
        return action.detach().sum(-1, keepdim=True).unsqueeze(0)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temperature": 0.0}, "temperature must be a finite number above 0, got 0.0"),
        ({"temperature": float("inf")}, "temperature must be a finite number above 0, got inf"),
        ({"steps": 0}, "steps must be at least [12], got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least [12], got 2.5"),
        ({"base": None}, "base must be a velocity field"),
        ({"critic": Detached()}, "critic must be differentiable in the action"),
        ({"aggregation": "mean"}, "aggregation must be a function such as fp.mean_value"),
        ({"base": fp.VelocityField(OBS, ACT + 1, HIDDEN)}, "parts are built for different sizes"),
    ],
)
def test_what_cannot_work_is_refused(cls, change, told) -> None:
    p = Parts()
    given = {"field": p.field, "base": p.behavior, "critic": p.critic, "temperature": 1.0}
    with pytest.raises(fp.ConfigError, match=told):
        cls(**{**given, **change})


@pytest.mark.parametrize("cls", BOTH)
def test_a_field_is_not_its_own_base(cls) -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="base is the trained field itself, so nothing would"):
        cls(p.field, p.field, p.critic, temperature=1.0)
    cls(p.field, fp.TargetNetwork(p.field), p.critic, temperature=1.0)


def test_a_simulation_without_a_step_of_the_field_trains_nothing() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="steps must be at least 2, got 1"):
        fp.BasicAdjointMatchingLoss(p.field, p.behavior, p.critic, temperature=1.0, steps=1)


@pytest.mark.parametrize("cls", BOTH)
def test_path_noise_of_another_number_of_steps_is_refused(cls) -> None:
    p = Parts()
    loss = cls(p.field, p.behavior, p.critic, temperature=1.0, steps=4)
    batch = with_noise(transitions(8), loss.draws())
    batch["path_noise"] = batch["path_noise"][:, :3]
    with pytest.raises(fp.ShapeError, match=r"'noise' must be \[8, 4, 2\] .* got \[8, 3, 2\]"):
        loss(batch)


@pytest.mark.parametrize("cls", BOTH)
def test_the_temperature_divides_and_can_be_scheduled(cls) -> None:
    p = Parts().double()
    loss = cls(p.field, p.field.__class__(OBS, ACT, HIDDEN).double(), p.critic, temperature=1.0)
    batch = with_noise(transitions(8, dtype=torch.float64), loss.draws())

    def value(temperature: float) -> float:
        loss.temperature = temperature
        return loss(batch)[f"loss_{loss.name}"].item()

    # in 1 / temperature the regression is a parabola, the control problem a line
    points = [value(1 / x) for x in (1.0, 2.0, 3.0, 4.0)]
    third = points[3] - 3 * points[2] + 3 * points[1] - points[0]
    second = points[2] - 2 * points[1] + points[0]
    assert third == pytest.approx(0, abs=1e-5 * abs(points[0]))
    assert (abs(second) > 1e-3) == (cls is fp.AdjointMatchingLoss)


def test_gradient_through_the_simulation_by_finite_differences() -> None:
    p = Parts().double()
    loss = fp.BasicAdjointMatchingLoss(
        p.field, p.behavior, p.critic, temperature=0.5, steps=4, aggregation=fp.Pessimistic(0.5)
    ).double()
    batch = with_noise(transitions(3, dtype=torch.float64), loss.draws())
    loss(batch)["loss_basic_adjoint"].backward()
    for parameter in loss.parameters():
        direction = torch.randn_like(parameter)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                values.append(loss(batch)["loss_basic_adjoint"].item())
                parameter.sub_(direction, alpha=step)
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((parameter.grad * direction).sum().item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("grad", [True, False])
def test_the_regression_is_the_same_without_the_callers_gradient(grad) -> None:
    p = Parts()
    loss = fp.AdjointMatchingLoss(p.field, p.behavior, p.target, temperature=0.5, steps=3)
    batch = with_noise(transitions(8), loss.draws())
    expected = loss(batch)["loss_adjoint"]
    with torch.set_grad_enabled(grad):
        value = loss(batch)["loss_adjoint"]
    assert torch.equal(value, expected)
    assert value.requires_grad == grad
