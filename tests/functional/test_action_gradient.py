"""Derivatives in the action against autograd, wherever they are asked for."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.functional import action_gradient, pullback
from tests.contracts.factories import ACT, Parts, observations


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", ["critic", "target", "frozen"])
def test_the_gradient_of_critics_is_that_of_each_sample(kind, mode) -> None:
    parts = Parts().double()
    critic = fp.frozen(parts.critic) if kind == "frozen" else getattr(parts, kind)
    observation = observations(2, 3, dtype=torch.float64)
    action = 1.5 * torch.randn(2, 3, ACT, dtype=torch.float64)

    def values(a: torch.Tensor) -> torch.Tensor:
        return critic.values(observation, a.clamp(-1, 1)).mean(dim=0)

    with mode():
        gradient = action_gradient(values, action)
    assert not gradient.requires_grad
    assert all(p.grad is None for p in parts.networks.parameters())
    point = action.clone().requires_grad_()
    for row in [(0, 0), (1, 2)]:  # of one sample alone: the others do not enter
        (expected,) = torch.autograd.grad(values(point)[row].squeeze(), point)
        assert_close(gradient[row], expected[row])
        assert torch.equal(gradient[row] == 0, action[row].abs() > 1)  # nothing outside the box


def test_a_constant_has_no_gradient() -> None:
    action = torch.randn(4, 2)
    assert torch.equal(action_gradient(lambda a: a.new_ones(4, 1), action), torch.zeros(4, 2))


def test_the_pullback_is_the_transposed_jacobian() -> None:
    matrix = torch.randn(3, 2, dtype=torch.float64)
    point, cotangent = torch.randn(5, 2).double(), torch.randn(5, 3).double()
    out = pullback(lambda x: (x @ matrix.T).sin(), point, cotangent)
    assert_close(out, ((point @ matrix.T).cos() * cotangent) @ matrix)


@pytest.mark.compile
def test_the_gradient_compiles_without_a_break() -> None:
    torch._dynamo.reset()
    parts = Parts()
    critic = fp.frozen(parts.target)

    def gradient(observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return action_gradient(lambda a: critic.values(observation, a).mean(dim=0), action)

    inputs = observations(4), torch.randn(4, ACT)
    compiled = torch.compile(gradient, fullgraph=True, backend="aot_eager")(*inputs)
    assert not compiled.requires_grad
    assert_close(compiled, gradient(*inputs))
