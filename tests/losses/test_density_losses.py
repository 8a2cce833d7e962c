"""Losses of Gaussian and deterministic policies against what they are on paper."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, transitions, with_noise


def test_unit_variance_makes_the_likelihood_half_the_squared_error() -> None:
    actor, batch = fp.GaussianActor(OBS, ACT, HIDDEN), transitions(8)
    loss = fp.LogLikelihoodLoss(actor)(batch)["loss_log_likelihood"]
    error = (actor.net(batch["observation"])[0] - batch["action"]).square().sum(-1) / 2
    constant = ACT / 2 * torch.log(torch.tensor(2 * torch.pi))
    assert_close(loss, error.mean() + constant)


def test_a_clone_is_compared_by_the_mean_over_dimensions() -> None:
    actor, batch = fp.DeterministicActor(OBS, ACT, HIDDEN), transitions(8)
    action = actor.act(batch["observation"], torch.empty(8, 0))
    expected = 3.0 * (action - batch["action"]).square().mean()
    assert_close(fp.CloneLoss(actor, coefficient=3.0)(batch)["loss_clone"], expected)


def test_the_penalty_is_taken_off_the_next_value() -> None:
    p = Parts()
    actor = fp.NoisyActor(p.slow_deterministic)
    penalised = fp.TDLoss(
        p.critic,
        p.target,
        next_actor=actor,
        aggregation=fp.min_value,
        penalty=fp.NextActionPenalty(ACT * 0.5),
        discount=0.9,
    )
    batch = with_noise(transitions(8), penalised.draws())
    s, step = batch["next", "observation"], batch["next"]
    action = actor.act(s, step["noise"])
    value = p.target.values(s, action).amin(0)
    value = value - 0.5 * (action - step["action"]).square().sum(-1, keepdim=True)
    y = step["reward"] + 0.9 * value * ~step["terminated"]
    expected = (p.critic.values(batch["observation"], batch["action"]) - y.detach()).square().mean()
    assert_close(penalised(batch)["loss_qvalue"], expected)
    with pytest.raises(
        fp.MissingKeyError, match=r"no \('next', 'action'\).*with_next_action\(dataset\) adds it"
    ):
        penalised(batch.exclude(("next", "action")))


def test_latent_critics_learn_what_the_noises_actions_are_worth() -> None:
    p = Parts()
    loss = fp.LatentValueLoss(p.latent, p.critic, p.flow)
    batch = with_noise(transitions(8), loss.draws())
    s, z = batch["observation"], batch["noise"]
    error = p.latent.values(s, z) - p.critic.values(s, p.flow.act(s, z)).detach()
    assert_close(loss(batch)["loss_latent_value"], error.square().mean())


def test_a_policy_over_noise_may_choose_beyond_one() -> None:
    """Neither the flow nor the latent critic sees the scaled noise clipped."""
    p = Parts()
    s = torch.randn(8, OBS)
    with torch.no_grad():
        p.squashed.net.mean.weight.zero_()
        p.squashed.net.mean.bias.fill_(20.0)  # u = 1
    actor = fp.NoiseSpaceActor(p.squashed, p.flow, scale=1.4)
    noise = torch.full((8, ACT), 1.4)
    assert_close(actor.act(s, torch.zeros(8, ACT)), p.flow.act(s, noise))
    batch = TensorDict(observation=s, noise=torch.zeros(8, ACT), batch_size=[8])
    loss = fp.DPGLoss(p.squashed, fp.ScaledActionCritic(p.latent, 1.4))
    assert_close(loss(batch)["dpg_value"], p.latent.values(s, noise).mean())


def test_parameter_groups_give_a_network_its_own_learning_rate() -> None:
    agent = fp.agents.rebrac(OBS, ACT, hidden=HIDDEN, lr=1e-2, critic_lr=1e-30, delay=1)
    before = {name: p.detach().clone() for name, p in agent.trained_parameters()}
    agent.update(transitions(8))
    for name, parameter in agent.trained_parameters():
        moved = not torch.allclose(parameter, before[name], rtol=0, atol=1e-20)
        assert moved != name.startswith("networks.critic."), name
    groups = agent.optimizer.state_dict()["param_groups"]
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    assert rates == {name: 1e-30 if "critic" in name else 1e-2 for name in before}
    fresh = fp.agents.rebrac(OBS, ACT, hidden=HIDDEN, lr=1e-2, critic_lr=1e-30, delay=1)
    fresh.optimizer.load_state_dict(agent.optimizer.state_dict())


def test_rebrac_asks_for_next_actions_only_where_it_uses_them() -> None:
    for strength in (0.0, 0.1):
        agent = fp.agents.rebrac(OBS, ACT, hidden=HIDDEN, critic_alpha=strength)
        assert (("next", "action") in agent.loss.in_keys) == (strength > 0)


def test_the_actor_and_the_targets_of_rebrac_wait() -> None:
    agent = fp.agents.rebrac(OBS, ACT, hidden=HIDDEN, lr=1e-2)
    names = {"critic": True, "actor": False}
    for moves in (False, True):  # the second update moves everything
        names["actor"] = moves
        state = {key: value.clone() for key, value in agent.state_dict().items()}
        agent.update(transitions(8))
        for key, value in agent.state_dict().items():
            if key.startswith("networks."):
                assert torch.equal(value, state[key]) == (not names[key.split(".")[1]]), key
    assert not any(
        torch.equal(value, state[key])
        for key, value in agent.state_dict().items()
        if key.startswith("targets.critic") and value.abs().sum() > 0 and "weight" in key
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda p: fp.LogLikelihoodLoss(p.edited),
            "LogLikelihoodLoss: actor must be a DensityActor, got EditActor. Pass a GaussianActor",
        ),
        (
            lambda p: fp.NextActionPenalty(0.0),
            "NextActionPenalty: coefficient must be a finite number above 0",
        ),
        (
            lambda p: fp.TDLoss(p.critic, next_value=p.value, penalty=fp.NextActionPenalty(1.0)),
            "TDLoss: a penalty is for next actions, but next_value=... has none",
        ),
        (
            lambda p: fp.LatentValueLoss(
                p.latent, fp.CriticEnsemble(OBS, ACT, HIDDEN, size=3), p.flow
            ),
            "member learns from member, but latent_critic has size 2 and critic has size 3",
        ),
        (
            lambda p: fp.LatentValueLoss(p.latent, p.critic, p.best_of),
            "LatentValueLoss: the flow's noise must be as wide as its action",
        ),
        (
            lambda p: fp.NoiseSpaceActor(p.squashed, p.best_of),
            "NoiseSpaceActor: the flow's noise must be as wide as its action",
        ),
        (
            lambda p: fp.NoiseSpaceActor(p.squashed, p.flow, scale=0.0),
            "NoiseSpaceActor: scale must be a finite number above 0",
        ),
        (
            lambda p: fp.ScaledActionCritic(p.value, 1.0),
            "ScaledActionCritic: critic must be a critic or its target",
        ),
        (
            lambda p: fp.Agent(
                policy=p.actor,
                losses=[fp.DPGLoss(p.actor, p.critic)],
                optimizer=fp.ParameterGroups(
                    partial(torch.optim.Adam, lr=1e-3), {"critc": {"lr": 1e-4}}
                ),
            ),
            "unknown network to optimize 'critc'",
        ),
    ],
)
def test_meaningless_parts_are_refused(make, message) -> None:
    with pytest.raises(fp.ConfigError, match=message):
        make(Parts())
