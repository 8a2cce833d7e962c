"""A learned coefficient keeps its loss at a limit."""

from __future__ import annotations

import math

import pytest
import torch

import flowpolicy as fp
from tests.agents.recipes import batch_for
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, transitions, with_noise


def distill(p: Parts, coefficient: float | fp.LearnedCoefficient) -> fp.DistillLoss:
    return fp.DistillLoss(p.actor, p.flow, coefficient=coefficient)


def test_it_multiplies_like_a_number() -> None:
    p = Parts()
    number, learned = distill(p, 2.0), distill(p, p.coefficient)
    with torch.no_grad():
        p.coefficient.log_value.fill_(2.0).log_()
    batch = with_noise(transitions(8), number.draws())
    torch.testing.assert_close(learned(batch)["loss_distill"], number(batch)["loss_distill"])
    assert learned(batch)["distill_coefficient"].item() == pytest.approx(2.0)


@pytest.mark.parametrize(("limit", "grows"), [(1e-4, True), (10.0, False)])
def test_it_grows_above_the_limit_and_shrinks_below(limit, grows) -> None:
    p = Parts()
    loss = fp.DualLoss(distill(p, p.coefficient), limit=limit)
    batch = with_noise(transitions(8), loss.draws())
    before = p.coefficient().item()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    out = loss(batch)
    out["loss_distill_dual"].backward()
    optimizer.step()
    assert (p.coefficient().item() > before) == grows
    assert (out["distill_dual_slack"].item() < 0) == grows


def test_fql_reaches_its_target_error() -> None:
    """Against a strong pull of the critics, alpha rises until the policy is as near as asked."""
    torch.manual_seed(0)
    agent = fp.agents.fql(
        OBS, ACT, hidden=(32,), flow_steps=3, alpha=0.01, target_error=0.02, lr=0.01
    )
    batch = batch_for(agent, 64)
    for _ in range(600):
        metrics = agent.update(batch)
    assert metrics["distill_error"].item() == pytest.approx(0.02, rel=0.3)
    assert metrics["distill_coefficient"].item() > 0.1


def test_what_is_not_learned_is_refused() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="the coefficient of 'distill' is not learned. Build"):
        fp.DualLoss(distill(p, 2.0), limit=1.0)
    with pytest.raises(fp.ConfigError, match="limit must be a finite number, got nan"):
        fp.DualLoss(distill(p, p.coefficient), limit=float("nan"))
    with pytest.raises(fp.ConfigError, match="LearnedCoefficient: initial must be a finite number"):
        fp.LearnedCoefficient(0.0)


def test_pessimism_over_one_critic_is_refused() -> None:
    critic, actor = fp.CriticEnsemble(OBS, ACT, HIDDEN, size=1), fp.OneStepActor(OBS, ACT, HIDDEN)
    for size, rho in ((1, 0.0), (2, 0.5)):
        several = fp.CriticEnsemble(OBS, ACT, HIDDEN, size=size)
        fp.DPGLoss(actor, several, aggregation=fp.Pessimistic(rho))
    match = r"needs several critics to differ, but the ensemble has size 1. Build CriticEnsemble"
    with pytest.raises(fp.ConfigError, match=match):
        fp.DPGLoss(actor, critic, aggregation=fp.Pessimistic(0.5))
    with pytest.raises(fp.ConfigError, match=match):
        fp.TDLoss(
            critic, fp.TargetNetwork(critic), next_actor=actor, aggregation=fp.Pessimistic(0.5)
        )


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_reads_the_keys_of_its_loss(when) -> None:
    p = Parts()
    loss = distill(p, p.coefficient)
    if when == "before":
        loss.set_keys(noise="my_noise")
    dual = fp.DualLoss(loss, limit=0.05)
    if when == "after":
        loss.set_keys(noise="my_noise")
    batch = with_noise(transitions(8), loss.draws())
    batch["noise"] = torch.zeros(8, ACT)
    error = loss(batch)["distill_error"]
    assert dual(batch)["distill_dual_slack"].item() == pytest.approx(0.05 - error.item(), abs=1e-6)


def test_it_leaves_out_the_invalid_rows_of_its_loss() -> None:
    actor = fp.DeterministicActor(OBS, ACT, HIDDEN)
    clone = fp.CloneLoss(actor, coefficient=fp.LearnedCoefficient(1.0))
    dual = fp.DualLoss(clone, limit=0.0, reduction="none")
    clone.set_keys(valid="my_valid")
    batch = transitions(8)
    batch["my_valid"] = torch.arange(8).unsqueeze(-1) < 5
    rows = dual(batch)["loss_clone_dual"]
    assert (rows[5:] == 0).all()
    assert (rows[:5] != 0).all()


def test_the_network_of_its_loss_is_asked_once() -> None:
    field, calls = fp.VelocityField(OBS, ACT, HIDDEN), []
    field.net.register_forward_hook(lambda *_: calls.append(1))
    clone = fp.FlowMatchingLoss(field, coefficient=fp.LearnedCoefficient())
    both = [fp.DualLoss(clone, limit=1.0), clone]
    for losses in (both, both[::-1]):
        calls.clear()
        out = fp.SumLoss(losses, fp.EulerSampler(field))(transitions(8))
        out["loss_flow"].backward()
        assert len(calls) == 1


def test_an_error_below_zero_is_no_target() -> None:
    with pytest.raises(fp.ConfigError, match="fql: target_error must be a finite number above 0"):
        fp.agents.fql(OBS, ACT, hidden=HIDDEN, target_error=-1.0)


def test_a_coefficient_that_nothing_learns_is_refused() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="coefficient of 'distill' .* no loss moves. Add Dual"):
        fp.Agent(policy=p.actor, losses=[distill(p, p.coefficient)])


def test_it_grows_to_its_bound_where_the_limit_is_out_of_reach() -> None:
    p = Parts()
    distill = fp.DistillLoss(p.actor, p.flow, coefficient=p.coefficient)
    loss = fp.DualLoss(distill, limit=-1.0, largest=50.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1.0)
    batch = with_noise(transitions(8), loss.draws())
    for _ in range(100):
        optimizer.zero_grad()
        loss(batch)["loss_distill_dual"].backward()
        optimizer.step()
    assert 50 <= p.coefficient().item() < 50 * math.e**8
    assert p.coefficient().isfinite()
