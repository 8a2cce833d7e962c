"""One update: losses with old parameters, targets towards the old, then the optimizer."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.contracts.factories import ACT, HIDDEN, OBS, equal_trees, transitions

each_variant = pytest.mark.parametrize("variant", VARIANTS)
TAU = 0.1


def critic_agent(*, after_step: bool) -> fp.Agent:
    critic, actor = fp.CriticEnsemble(OBS, ACT, HIDDEN), fp.OneStepActor(OBS, ACT, HIDDEN)
    target = fp.TargetNetwork(critic, TAU, after_step=after_step)
    return fp.Agent(
        policy=actor,
        losses=[fp.TDLoss(critic, target, next_actor=actor), fp.DPGLoss(actor, critic)],
        optimizer=partial(torch.optim.SGD, lr=0.5),
    )


@pytest.mark.parametrize("after_step", [False, True])
def test_targets_follow_the_parameters_of_before_or_after_the_step(after_step) -> None:
    agent = critic_agent(after_step=after_step)
    with torch.no_grad():
        for parameter in agent.networks["critic"].parameters():
            parameter.add_(0.3)
    before = copy.deepcopy(agent)
    agent.update(batch_for(agent))
    followed = agent if after_step else before
    for moved, start, towards in zip(
        agent.targets["critic"].parameters(),
        before.targets["critic"].parameters(),
        followed.networks["critic"].parameters(),
        strict=True,
    ):
        assert_close(moved, (1 - TAU) * start + TAU * towards, rtol=1e-6, atol=1e-7)
    changed = [
        not torch.equal(new, old)
        for new, old in zip(
            agent.networks["critic"].parameters(),
            before.networks["critic"].parameters(),
            strict=True,
        )
    ]
    assert all(changed)


def test_every_loss_sees_the_parameters_of_before_the_step() -> None:
    """One SGD step of the sum is the sum of the steps of each loss from the same start."""
    agent = critic_agent(after_step=False)
    batch = batch_for(agent)
    start = copy.deepcopy(agent)
    out = start.loss(batch)
    expected = {}
    for key, role in (("loss_qvalue", "critic"), ("loss_dpg", "actor")):
        parameters = list(start.networks[role].parameters())
        gradients = torch.autograd.grad(out[key], parameters, retain_graph=True)
        expected[role] = [p - 0.5 * g for p, g in zip(parameters, gradients, strict=True)]
    agent.update(batch)
    for role, parameters in expected.items():
        for ours, theirs in zip(agent.networks[role].parameters(), parameters, strict=True):
            assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@each_variant
def test_metrics_are_detached_scalars_and_the_batch_is_left_alone(variant) -> None:
    agent = small(variant)
    for batch in (batch_for(agent), transitions(8)):
        before = batch.clone()
        metrics = agent.update(batch)
        assert equal_trees(batch, before)
        assert metrics.batch_size == ()
        counted = {"grad_norm", "skipped", "skipped_in_a_row"}
        assert set(metrics.keys()) == {*agent.loss.out_keys, *counted}
        for value in metrics.values():
            assert value.shape == ()
            assert value.isfinite()
            assert not value.requires_grad
    assert agent.step == 2


@each_variant
def test_noise_comes_from_the_agents_source_alone(variant) -> None:
    first, second, third = (small(variant) for _ in range(3))
    second.load_state_dict(first.state_dict())
    third.load_state_dict(first.state_dict())
    third.noise.seed(5)
    torch.manual_seed(1)
    one = first.update(transitions(8))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert equal_trees(one, second.update(transitions(8)))
    assert equal_trees(one, third.update(transitions(8))) == (not first.loss.draws())
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@each_variant
def test_batches_of_sequences_and_empty_gradients(variant) -> None:
    """A [B, T] batch is the same update as its rows one below the other."""
    rows, sequences = small(variant), small(variant)
    sequences.load_state_dict(rows.state_dict())
    batch = batch_for(rows, size=6)
    ours, theirs = sequences.update(batch.reshape(2, 3)), rows.update(batch)
    for key, value in theirs.items():
        assert_close(ours[key], value, rtol=1e-5, atol=1e-6)


@each_variant
def test_a_policy_acts_without_gradient(variant) -> None:
    agent = small(variant)
    s = torch.randn(4, OBS)
    z = agent.policy.draw_noise(s)
    action = agent.act(s, z)
    assert not action.requires_grad
    assert torch.equal(action, agent.policy.act(s, z))
    assert agent.act(s).shape == (4, ACT)
    assert agent.actors["policy"] is agent.policy is agent.loss.actor_network


@each_variant
def test_some_updates_lower_the_loss_of_a_clone_or_else_of_the_critic(variant) -> None:
    agent = small(variant, lr=1e-2)
    batch = batch_for(agent, size=32)
    names = ("loss_flow", "loss_denoise", "loss_qvalue", "loss_log_likelihood")
    name = next(name for name in names if name in agent.loss.out_keys)
    first = agent.update(batch)[name]
    for _ in range(60):
        last = agent.update(batch)[name]
    assert last < first


def test_missing_entries_and_wrong_shapes_are_refused() -> None:
    agent = small("fql")
    batch = batch_for(agent)
    with pytest.raises(fp.MissingKeyError, match=r"TDLoss: the batch has no \('next', 'reward'\)"):
        agent.update(batch.exclude(("next", "reward")))
    with pytest.raises(fp.MissingKeyError, match="the batch has no 'observation'; it has"):
        agent.update(TensorDict(action=torch.zeros(4, ACT), batch_size=[4]))
    batch["next", "reward"] = torch.zeros(8, 2)
    with pytest.raises(fp.ShapeError, match=r"reward.*must be \[\*B, 1\], got \[8, 2\]"):
        agent.update(batch)


@pytest.mark.parametrize("compiles", [False, True])
def test_gradients_replace_those_of_before(compiles) -> None:
    agent = small("fql")
    if compiles:
        agent.compile("eager")
    batch = batch_for(agent)
    first = agent.backward(batch)["grad_norm"]
    assert_close(agent.backward(batch)["grad_norm"], first)
