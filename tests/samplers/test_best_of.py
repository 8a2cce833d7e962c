"""Best-of-N takes the proposal that the critics value most."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from tests.contracts.factories import ACT, OBS, Parts, noise_for, observations


@pytest.mark.parametrize("aggregation", [fp.mean_value, fp.min_value])
def test_it_takes_the_best_of_its_actors_own_actions(aggregation) -> None:
    p = Parts()
    policy = fp.BestOf(p.flow, p.critic, n=6, aggregation=aggregation)
    assert policy.noise_shape == (6, ACT)
    s, z = observations(5), noise_for(policy, 5)
    proposals = torch.stack([p.flow.act(s, z[:, i]) for i in range(6)], dim=1)
    values = torch.stack(
        [aggregation(p.critic.values(s, proposals[:, i])) for i in range(6)], dim=1
    )
    best = values.squeeze(-1).argmax(dim=1)
    expected = proposals[torch.arange(5), best]
    assert torch.allclose(policy.act(s, z), expected, atol=1e-6)
    assert best.unique().numel() > 1


def test_one_proposal_is_the_actor_itself() -> None:
    p = Parts()
    policy = fp.BestOf(p.actor, p.critic, n=1)
    s, z = observations(5), noise_for(policy, 5)
    assert torch.allclose(policy.act(s, z), p.actor.act(s, z[:, 0]), atol=1e-7)


def test_gradient_passes_the_chosen_proposal_alone() -> None:
    p = Parts()
    policy = fp.BestOf(p.actor, p.critic, n=4)
    z = (0.1 * noise_for(policy, 3)).requires_grad_()
    policy.act(0.1 * observations(3), z).sum().backward()
    assert (z.grad.abs().sum(-1) > 0).sum(-1).tolist() == [1, 1, 1]


def test_impossible_ones_are_refused() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="BestOf: n must be at least 1, got 0"):
        fp.BestOf(p.actor, p.critic, n=0)
    other = fp.CriticEnsemble(OBS, ACT + 1, hidden=(8,))
    with pytest.raises(
        fp.ConfigError,
        match="BestOf: the parts are built for different sizes: actor obs_dim=3, act_dim=2; critic "
        "obs_dim=3, act_dim=3. Build all for the same observations and actions.",
    ):
        fp.BestOf(p.actor, other)
    wider = fp.TargetNetwork(fp.CriticEnsemble(OBS + 1, ACT, hidden=(8,)))
    with pytest.raises(fp.ConfigError, match="critic obs_dim=4, act_dim=2. Build all"):
        fp.BestOf(p.actor, wider)
    with pytest.raises(fp.ConfigError, match="BestOf: n must be a whole number of at least 1"):
        fp.BestOf(p.actor, p.critic, n=4.0)


@pytest.mark.parametrize(
    ("actor", "critic", "told"),
    [
        ("field", "critic", "actor must be an Actor, got VelocityField. Put a sampler around a"),
        ("actor", "actor", "critic must be a critic or its target.*; OneStepActor has no values"),
        ("actor", "value", "critic must be a critic or its target.*; \\w+ has no act_dim"),
    ],
)
def test_other_kinds_of_parts_are_refused(actor, critic, told) -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match=f"BestOf: {told}"):
        fp.BestOf(getattr(p, actor), getattr(p, critic))
    if critic != "critic":
        with pytest.raises(fp.ConfigError, match=f"BestOf: {told}"):
            fp.BestOf(p.actor, fp.TargetNetwork(getattr(p, critic)))


def test_targets_and_frozen_parts_are_taken() -> None:
    p = Parts()
    s = observations(3)
    policy = fp.BestOf(fp.frozen(p.actor), fp.frozen(p.target), n=4)
    z = noise_for(policy, 3)
    assert torch.equal(policy.act(s, z), fp.BestOf(p.actor, p.target, n=4).act(s, z))
