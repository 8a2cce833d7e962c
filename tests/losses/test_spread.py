"""A learned coefficient keeps a policy within a share of its clone's spread."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import batch_for
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, transitions, with_noise


def spread_loss(p: Parts, **options) -> fp.SpreadLoss:
    distill = fp.DistillLoss(p.actor, p.flow, coefficient=p.coefficient)
    return fp.SpreadLoss(distill, **{"share": 0.25, **options})


def test_half_the_squared_distance_of_two_draws_is_the_variance() -> None:
    """Of a clone that draws what the data hold: uniform actions, whose variance is 1/3."""

    class Uniform(fp.Actor):
        def raw(self, observation, noise):
            return 2 * torch.special.ndtr(noise) - 1

    p = Parts()
    actor = fp.OneStepActor(OBS, ACT, HIDDEN)
    distill = fp.DistillLoss(actor, Uniform(OBS, ACT), coefficient=p.coefficient)
    batch = TensorDict(
        observation=torch.randn(20_000, OBS),
        action=torch.rand(20_000, ACT) * 2 - 1,
        noise=torch.randn(20_000, ACT),
        batch_size=[20_000],
    )
    variance = fp.SpreadLoss(distill, share=0.25)(batch)["distill_dual_variance"]
    assert_close(variance, torch.tensor(1 / 3), rtol=0.02, atol=0)


def test_the_slack_is_what_is_left_of_the_share() -> None:
    p = Parts()
    loss = spread_loss(p)
    batch = with_noise(transitions(8), loss.draws())
    out, error = loss(batch), loss.constrained(batch)["distill_error"]
    expected = 1 - error / (0.25 * out["distill_dual_variance"])
    assert_close(out["distill_dual_slack"], expected)


def test_rows_without_an_action_of_their_own_do_not_count_in_the_variance() -> None:
    loss = spread_loss(Parts())
    batch = with_noise(transitions(8), loss.draws())
    alone = loss(batch[:5])["distill_dual_variance"]
    batch["valid"] = torch.arange(8).unsqueeze(-1) < 5
    batch["action"][5:] = 1.0
    assert_close(loss(batch)["distill_dual_variance"], alone)
    batch["valid"][:] = False  # which asks for nothing
    loss(batch)["loss_distill_dual"].backward()
    assert loss.learned.log_value.grad == 0


@pytest.mark.parametrize("start", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(("share", "grows"), [(1e-4, True), (100.0, False)])
def test_every_step_is_a_factor_whatever_the_coefficient(start, share, grows) -> None:
    p = Parts()
    loss = spread_loss(p, share=share)
    with torch.no_grad():
        p.coefficient.log_value.fill_(start).log_()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    batch = with_noise(transitions(8), loss.draws())
    loss(batch)["loss_distill_dual"].backward()
    optimizer.step()
    factor = p.coefficient().item() / start
    assert factor == pytest.approx(torch.tensor(0.1 if grows else -0.1).exp().item(), rel=1e-4)


def test_it_grows_to_its_bound_and_can_come_back() -> None:
    p = Parts()
    batch = with_noise(transitions(8), spread_loss(p).draws())
    for share, start, moves in ((1e-4, 999.0, True), (1e-4, 1001.0, False), (100.0, 1001.0, True)):
        with torch.no_grad():
            p.coefficient.log_value.fill_(start).log_()
        p.coefficient.zero_grad()
        spread_loss(p, share=share, largest=1000.0)(batch)["loss_distill_dual"].backward()
        assert (p.coefficient.log_value.grad.item() != 0) == moves


def test_fql_ends_at_its_share_from_either_side() -> None:
    for alpha in (0.001, 100.0):
        torch.manual_seed(0)
        agent = fp.agents.fql(
            OBS, ACT, hidden=(32,), flow_steps=3, alpha=alpha, spread=0.1, lr=0.01
        )
        batch = batch_for(agent, 64)
        for _ in range(800):
            metrics = agent.update(batch)
        assert metrics["distill_dual_slack"].item() == pytest.approx(0, abs=0.4)


def test_rewards_of_any_size_end_at_the_same_coefficient() -> None:
    ends = []
    for size in (1.0, 1000.0):
        torch.manual_seed(0)
        agent = fp.agents.fql(OBS, ACT, hidden=(32,), flow_steps=3, spread=0.2, lr=0.01)
        batch = batch_for(agent, 64)
        batch["next", "reward"] = batch["next", "reward"] * size
        for _ in range(600):
            metrics = agent.update(batch)
        ends.append(metrics["distill_dual_slack"].item())
    assert ends == pytest.approx([0, 0], abs=0.4)


def test_data_without_spread_give_a_finite_loss() -> None:
    p = Parts()
    loss = spread_loss(p)
    batch = with_noise(transitions(8), loss.draws())
    batch["action"] = p.flow.act(batch["observation"], batch["noise"]).detach()
    out = loss(batch)
    out["loss_distill_dual"].backward()
    assert out["distill_dual_variance"].item() == 0
    assert p.coefficient.log_value.grad.isfinite()
    assert p.coefficient.log_value.grad.item() < 0


def test_what_has_no_spread_is_refused() -> None:
    p = Parts()
    clone = fp.CloneLoss(
        fp.DeterministicActor(OBS, ACT, HIDDEN), coefficient=fp.LearnedCoefficient(1.0)
    )
    with pytest.raises(fp.ConfigError, match="only a DistillLoss has a clone .* got CloneLoss"):
        fp.SpreadLoss(clone, share=0.25)
    with pytest.raises(fp.ConfigError, match="the coefficient of 'distill' is not learned"):
        fp.SpreadLoss(fp.DistillLoss(p.actor, p.flow), share=0.25)
    with pytest.raises(fp.ConfigError, match="SpreadLoss: share must be a finite number above 0"):
        spread_loss(p, share=0.0)
    with pytest.raises(fp.ConfigError, match=r"target_error=0.1 and spread=0.2 both limit"):
        fp.agents.fql(OBS, ACT, hidden=HIDDEN, target_error=0.1, spread=0.2)


def test_a_coefficient_that_has_vanished_comes_back() -> None:
    p = Parts()
    loss = spread_loss(p, share=1e-6)
    with torch.no_grad():
        p.coefficient.log_value.fill_(-110.0)  # exp gives 0
    batch = with_noise(transitions(8), loss.draws())
    loss(batch)["loss_distill_dual"].backward()
    assert p.coefficient.log_value.grad.isfinite() and p.coefficient.log_value.grad < 0
