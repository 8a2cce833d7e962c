"""Samplers of a diffusion against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.paths import ScheduleSample, diffusion_steps
from tests.contracts.factories import ACT, OBS, noise_for, observations
from tests.samplers.test_guided import Detached

VP = fp.LinearBetaSchedule(0.1, 10.0)


class GaussianPredictor(nn.Module):
    """The exact noise, on average, in a noisy draw from N(mean, std^2) in every dimension."""

    obs_dim, act_dim = OBS, ACT

    def __init__(self, steps: int, mean: float = 0.2, std: float = 0.2) -> None:
        super().__init__()
        self.steps, self.mean, self.std = steps, mean, std

    def predict(self, observation: Tensor, x_t: Tensor, time: Tensor) -> Tensor:
        s = VP.at(time)
        spread = (s.alpha * self.std) ** 2 + s.sigma**2
        return s.sigma * (x_t - s.alpha * self.mean) / spread


def test_the_betas_and_alphas_of_ten_steps() -> None:
    steps = diffusion_steps(VP, 10)[::-1]
    betas = [0.057764, 0.146577, 0.227018, 0.299878, 0.365869]
    betas += [0.425641, 0.479778, 0.528813, 0.573226, 0.613452]
    bars = [0.942236, 0.804125, 0.621574, 0.435178, 0.275960]
    bars += [0.158500, 0.082455, 0.038852, 0.016581, 0.006409]
    assert [step.beta for step in steps] == pytest.approx(betas, abs=5e-7)
    assert [step.alpha**2 for step in steps] == pytest.approx(bars, abs=5e-7)
    assert (steps[0].next_alpha, steps[0].next_sigma) == (1.0, 0.0)
    assert [step.time for step in steps] == pytest.approx([1 - n / 10 for n in range(1, 11)])


@pytest.mark.parametrize(("steps", "error"), [(10, 0.1), (200, 0.03)])
def test_ddpm_with_the_exact_noise_draws_a_gaussian(steps, error) -> None:
    """Up to its discretisation: ten steps measured a deviation 9 per cent too small."""
    policy = fp.DDPMSampler(GaussianPredictor(steps))
    actions = policy.raw(observations(20_000), noise_for(policy, 20_000))
    assert actions.mean().item() == pytest.approx(0.2, abs=0.01)
    assert actions.std(0).mean().item() == pytest.approx(0.2, rel=error)
    assert actions.abs().max() <= 1


def test_the_released_jump_is_further_off() -> None:
    """It measured a deviation 22 per cent too small."""
    policy = fp.JumpSampler(GaussianPredictor(10))
    actions = policy.raw(observations(20_000), noise_for(policy, 20_000))
    assert actions.std(0).mean().item() < 0.17


def test_without_a_limit_the_end_of_the_chain_bootstraps_as_it_is() -> None:
    policy = fp.JumpSampler(GaussianPredictor(3, mean=3.0), limit=math.inf)
    s, z = observations(8), noise_for(policy, 8)
    action = policy.bootstrap(s, s, z)
    assert action.abs().max() > 1
    assert_close(policy.act(s, z), action.clamp(-1, 1))
    with pytest.raises(fp.ConfigError, match=r"JumpSampler: limit must be above 0, got 0\.0"):
        fp.JumpSampler(GaussianPredictor(3), limit=0.0)


def test_a_schedule_that_ends_in_pure_noise_is_refused() -> None:
    with pytest.raises(fp.ConfigError, match=r"CosineSchedule\(\) leaves no data at t = 0"):
        fp.DDPMSampler(GaussianPredictor(3), schedule=fp.CosineSchedule())


class Straight(fp.paths.Schedule):
    """Which preserves no variance, but leaves a little data at the start."""

    def at(self, t: Tensor) -> ScheduleSample:
        alpha, one = 0.01 + 0.99 * t, torch.ones_like(t)
        return ScheduleSample(alpha, 1 - t, 0.99 * one, -one)


@pytest.mark.parametrize("sampler", [fp.DDPMSampler, fp.JumpSampler])
def test_a_schedule_that_does_not_preserve_the_variance_is_refused(sampler) -> None:
    told = r"Straight.* does not preserve the variance: .* lies from 0\.5\d* to 1"
    with pytest.raises(fp.ConfigError, match=told):
        sampler(GaussianPredictor(10), schedule=Straight())


def test_what_predicts_no_noise_is_refused() -> None:
    field = fp.VelocityField(OBS, ACT, (8,))
    with pytest.raises(fp.ConfigError, match=r"must be a noise predictor with predict, steps, .*"):
        fp.DDPMSampler(field)


def test_critics_without_a_gradient_are_refused() -> None:
    critic = Detached(1.0)
    with pytest.raises(fp.ConfigError, match="CriticScoreLoss: critic must be differentiable"):
        fp.CriticScoreLoss(fp.NoisePredictor(OBS, ACT, (8,)), critic, error=fp.noise_alignment)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: fp.NoisePredictor(OBS, ACT, ()), "hidden must have at least one size"),
        (lambda: fp.FourierFeatures(7), "FourierFeatures: dim must be even, got 7"),
        (lambda: fp.QScoreError(0.0), "temperature must be a finite number above 0, got 0.0"),
        (lambda: fp.StepTime(0), "StepTime: steps must be at least 1, got 0"),
    ],
)
def test_impossible_parts_are_refused(build, told) -> None:
    with pytest.raises(fp.ConfigError, match=told):
        build()
