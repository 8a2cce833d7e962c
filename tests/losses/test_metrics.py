"""What losses report beside themselves, against what it is on paper."""

from __future__ import annotations

import pytest
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.functional import action_gradient
from tests.contracts.factories import Parts, transitions, with_noise


def evaluated(loss: fp.Loss) -> tuple[TensorDict, TensorDict]:
    batch = with_noise(transitions(8), loss.draws())
    return batch, loss(batch)


def test_a_basic_adjoint_is_its_cost_less_its_value_over_the_temperature() -> None:
    p = Parts()
    loss = fp.BasicAdjointMatchingLoss(p.field, p.slow, p.critic, temperature=0.5, steps=3)
    _, out = evaluated(loss)
    cost, value = out["basic_adjoint_cost"], out["basic_adjoint_value"]
    assert cost > 0 and value.abs() > 0.1
    assert_close(out["loss_basic_adjoint"], cost - value / 0.5)


@pytest.mark.parametrize("kind", [fp.ValueLoss, fp.ExpectileLoss])
def test_state_values_report_themselves_and_their_target(kind) -> None:
    p = Parts()
    batch, out = evaluated(kind(p.value, p.target))
    value = p.value.values(batch["observation"])
    targets = p.target.values(batch["observation"], batch["action"])
    for key, expected in (("mean", value.mean()), ("min", value.amin()), ("max", value.amax())):
        assert_close(out[f"value_{key}"], expected)
    target = targets.mean() if kind is fp.ValueLoss else targets.amin(0).mean()
    assert_close(out["value_target"], target)


def test_a_score_reports_the_mean_size_of_the_gradients_entries() -> None:
    p = Parts()
    loss = fp.CriticScoreLoss(p.predictor, p.critic, error=fp.noise_alignment)
    batch, out = evaluated(loss)
    share = loss.schedule.at(batch["time"])
    x_t = share.alpha * batch["action"] + share.sigma * batch["x0"]
    gradient = action_gradient(lambda x: p.critic.values(batch["observation"], x).mean(0), x_t)
    assert_close(out["score_gradient"], gradient.abs().mean())


def test_latent_critics_report_the_mean_value_of_the_noise() -> None:
    p = Parts()
    batch, out = evaluated(fp.LatentValueLoss(p.latent, p.critic, p.flow))
    expected = p.latent.values(batch["observation"], batch["noise"]).mean()
    assert_close(out["latent_value_mean"], expected)


def test_critics_of_noisy_actions_report_these_values_and_those_of_the_datas_actions() -> None:
    p = Parts()
    batch, out = evaluated(fp.NoisyValueLoss(p.noisy, p.target))
    s, a, t = batch["observation"], batch["action"], batch["time"]
    noisy = p.noisy.values_at(s, (1 - t) * batch["x0"] + t * a, t)
    assert_close(out["noisy_value_mean"], noisy.mean())
    assert_close(out["noisy_value_target"], p.target.values(s, a).mean())
