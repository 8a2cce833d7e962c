"""Guidance by critics: what it adds, where it leaves the flow alone, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, noise_for, observations


class GaussianField(nn.Module):
    """The exact velocity of a flow to N(0, s^2) in every dimension."""

    obs_dim, act_dim = OBS, ACT

    def __init__(self, s: float = 0.5) -> None:
        super().__init__()
        self.s = s

    def velocity(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        spread = (time * self.s) ** 2 + (1 - time) ** 2
        return x_t * (time * self.s**2 - (1 - time)) / spread


class LinearCritic(nn.Module):
    """``Q(s, a) = slope * sum(a)``, and at its time ``Q(s, x, t) = slope * t * sum(x)``."""

    obs_dim, act_dim, size = OBS, ACT, 2

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.values_at(observation, action, torch.ones(()))

    def values_at(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        return (self.slope * time * x_t.sum(-1, keepdim=True)).expand(2, *x_t.shape[:-1], 1)


class Detached(LinearCritic):
    def values(self, observation: Tensor, action: Tensor) -> Tensor:
        return super().values(observation, action.detach())


def guided(slope: float, **options) -> fp.GuidedSampler:
    flow = fp.EulerSampler(GaussianField(), steps=options.pop("steps", 10))
    options = {"coefficient": 0.1, "temperature": 1.0, **options}
    return fp.GuidedSampler(flow, LinearCritic(slope), **options)


@pytest.mark.parametrize("solver", [fp.EulerSampler, fp.HeunSampler])
def test_without_a_share_it_is_the_sampler_bit_for_bit(solver) -> None:
    parts = Parts()
    flow = solver(parts.field, steps=5)
    policy = fp.GuidedSampler(flow, parts.critic, coefficient=0.0, temperature=0.1)
    s, z = observations(64), noise_for(flow, 64)
    assert torch.equal(policy.act(s, z), flow.act(s, z))
    other = fp.GuidedSampler(flow, parts.critic, coefficient=0.1, temperature=0.1)
    assert not torch.equal(other.act(s, z), flow.act(s, z))


@pytest.mark.parametrize(("guide", "slope"), [(fp.as_if_clean, 3.0), (fp.at_their_time, 1.5)])
def test_two_steps_by_hand(guide, slope) -> None:
    """The first is the flow's; at t = 1/2 the gradient is the slope, at its time half of that."""
    policy = guided(3.0, steps=2, temperature=2.0, guide=guide)
    z = noise_for(policy, 8)
    middle = z + 0.5 * -z
    flow = middle * (0.5 * 0.25 - 0.5) / (0.25 * 0.25 + 0.25)
    towards = (middle + 0.5 * slope / 2.0) / 0.5
    assert_close(policy.raw(observations(8), z), middle + 0.5 * (flow + 0.1 * towards))


def test_a_linear_value_moves_the_mean_of_a_gaussian_its_way() -> None:
    s, z = observations(4000), noise_for(guided(1.0), 4000)
    z = z - z.mean(0)
    means = [guided(slope).raw(s, z).mean(0) for slope in (-1.0, 0.5, 1.0)]
    assert (means[0] < -0.05).all()
    assert_close(means[2], -means[0], rtol=1e-4, atol=1e-5)  # noise without a mean of its own
    assert_close(means[2], 2 * means[1], rtol=1e-4, atol=1e-5)
    assert_close(guided(1.0, temperature=0.5).raw(s, z).mean(0), 2 * means[2], rtol=1e-4, atol=1e-5)


def test_it_guides_where_gradient_is_switched_off() -> None:
    parts = Parts()
    policy = fp.GuidedSampler(parts.flow, parts.critic, coefficient=0.3, temperature=1.0)
    s, z = observations(8), noise_for(policy, 8)
    expected = policy.act(s, z)
    with torch.no_grad():
        assert torch.equal(policy.act(s, z), expected)
    policy.requires_grad_(False)
    with torch.inference_mode():
        assert torch.equal(policy.act(s, z), expected)


def test_a_loss_of_its_action_trains_the_flow_and_not_the_critics() -> None:
    parts = Parts()
    policy = fp.GuidedSampler(parts.flow, parts.noisy, coefficient=0.3, temperature=1.0)
    loss = fp.DPGLoss(policy, parts.critic)
    batch = {"observation": observations(8), "noise": noise_for(policy, 8)}
    loss(**batch)[0].backward()
    assert all(p.grad is not None for p in parts.field.parameters())
    assert all(p.grad is None for p in (*parts.noisy.parameters(), *parts.critic.parameters()))


def test_critics_without_a_gradient_are_refused() -> None:
    flow = fp.EulerSampler(fp.VelocityField(OBS, ACT, HIDDEN))
    with pytest.raises(
        fp.ConfigError,
        match="GuidedSampler: critic must be differentiable in the action, but no gradient of",
    ):
        fp.GuidedSampler(flow, Detached(1.0), coefficient=0.1, temperature=1.0)


def test_critics_that_say_nothing_yet_are_taken() -> None:
    """A head that starts at zero, or a LayerNorm of one feature, has a gradient: zero."""
    flow = fp.EulerSampler(fp.VelocityField(OBS, ACT, HIDDEN))
    for critic in (LinearCritic(0.0), fp.CriticEnsemble(OBS, ACT, hidden=(1,))):
        fp.GuidedSampler(flow, critic, coefficient=0.1, temperature=1.0)


def test_critics_of_clean_actions_alone_cannot_guide_at_their_time() -> None:
    parts = Parts()
    with pytest.raises(fp.ConfigError, match="CriticEnsemble has no values_at"):
        fp.GuidedSampler(
            parts.flow, parts.critic, coefficient=0.1, temperature=1.0, guide=fp.at_their_time
        )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"coefficient": -0.1}, "coefficient must be finite and at least 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0, got 0.0"),
        ({"guide": "clean"}, "guide must be a function such as fp.as_if_clean, got 'clean'"),
    ],
)
def test_impossible_guidance_is_refused(options, told) -> None:
    with pytest.raises(fp.ConfigError, match=told):
        guided(1.0, **options)


def test_a_field_is_no_sampler() -> None:
    parts = Parts()
    with pytest.raises(fp.ConfigError, match=r"sampler must be a Sampler, .*EulerSampler\(field\)"):
        fp.GuidedSampler(parts.field, parts.critic, coefficient=0.1, temperature=1.0)
