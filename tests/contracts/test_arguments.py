"""Arguments that another part could take in silence: what comes out is another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import flowpolicy as fp
from flowpolicy.paths.diffusion import VP_SCHEDULE
from tests.contracts.factories import Parts, noise_for, observations, transitions, with_noise


def guided(p: Parts, **options: Any) -> Tensor:
    policy = fp.GuidedSampler(p.flow, p.critic, coefficient=0.5, temperature=0.5, **options)
    return policy.act(observations(8), noise_for(policy, 8))


def scored(p: Parts, **options: Any) -> Tensor:
    loss = fp.CriticScoreLoss(p.predictor, p.critic, error=fp.noise_alignment, **options)
    return loss(with_noise(transitions(8), loss.draws()))["loss_score"]


def noisy(p: Parts, **options: Any) -> Tensor:
    loss = fp.NoisyValueLoss(p.noisy, p.target, **options)
    return loss(with_noise(transitions(8), loss.draws()))["loss_noisy_value"]


@pytest.mark.parametrize(
    ("result", "option", "values"),
    [
        (guided, "aggregation", (fp.mean_value, fp.min_value)),
        (guided, "guide", (fp.as_if_clean, lambda critic, s, x, _: -critic.values(s, x))),
        (scored, "aggregation", (fp.mean_value, fp.min_value)),
        (scored, "schedule", (VP_SCHEDULE, fp.CosineSchedule())),
        (scored, "time", (fp.StepTime(3), fp.StepTime(1))),
        (noisy, "error", (fp.functional.td_error, fp.LinexError(0.5))),
        (noisy, "path", (fp.LinearPath(), fp.AffinePath(fp.CosineSchedule()))),
        (noisy, "time", (fp.UniformTime(), fp.BetaTime(1.0, 1.5))),
    ],
)
def test_another_argument_gives_another_result(result, option, values) -> None:
    usual, other = (result(Parts(), **{option: value}) for value in values)
    assert torch.equal(usual, result(Parts()))  # the first is what it is without
    assert not torch.allclose(usual, other)
