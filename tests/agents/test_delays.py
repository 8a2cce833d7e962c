"""Losses and targets that move in every n-th update only, and gradients of limited length."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import batch_for
from tests.contracts.factories import ACT, HIDDEN, OBS


def delayed(**options) -> fp.Agent:
    critic, actor = fp.CriticEnsemble(OBS, ACT, HIDDEN), fp.OneStepActor(OBS, ACT, HIDDEN)
    target = fp.TargetNetwork(critic, tau=0.5, every=2)
    return fp.Agent(
        policy=actor,
        losses=[fp.TDLoss(critic, target, next_actor=actor), fp.DPGLoss(actor, critic)],
        **options,
    )


def parameters(network) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_delayed_loss_and_target_wait_for_their_update() -> None:
    agent = delayed(every={"dpg": 2})
    for update in range(1, 5):
        actor, target = parameters(agent.policy), parameters(agent.targets["critic"])
        critic = parameters(agent.networks["critic"])
        metrics = agent.update(batch_for(agent, seed=update))
        due = update % 2 == 0
        assert ("loss_dpg" in metrics.keys()) == due  # noqa: SIM118
        assert same(actor, parameters(agent.policy)) != due
        assert same(target, parameters(agent.targets["critic"])) != due
        assert not same(critic, parameters(agent.networks["critic"]))


def test_a_skipped_update_leaves_no_trace_in_the_actors_optimizer() -> None:
    agent = delayed(every={"dpg": 2})
    for update in range(4):
        agent.update(batch_for(agent, seed=update))
    state = agent.optimizer.state
    assert {int(state[p]["step"]) for p in agent.policy.parameters()} == {2}
    assert {int(state[p]["step"]) for p in agent.networks["critic"].parameters()} == {4}


def test_a_copy_goes_on_by_itself() -> None:
    agent = delayed(every={"dpg": 2})
    agent.update(batch_for(agent))
    twin = copy.deepcopy(agent)
    before = parameters(agent.networks)
    assert "loss_dpg" in twin.update(batch_for(agent)).keys()  # noqa: SIM118
    assert same(before, parameters(agent.networks))
    assert agent.step == 1


@pytest.mark.compile
def test_compiling_the_loss_reaches_updates_that_leave_losses_out() -> None:
    torch._dynamo.reset()
    agent = delayed(every={"dpg": 2})
    twin = copy.deepcopy(agent)
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph

    agent.loss.compile(fullgraph=True, backend=backend)
    for update in (1, 2):
        ours, theirs = (each.update(batch_for(twin, seed=update)) for each in (agent, twin))
        assert len(seen) == update
        assert set(ours.keys()) == set(theirs.keys())
        for key, value in theirs.items():
            assert_close(ours[key], value, rtol=1e-5, atol=1e-5)
    with torch.compiler.set_stance("fail_on_recompile"):
        for update in (3, 4):
            agent.update(batch_for(twin, seed=update))


def test_a_delayed_target_waits_in_a_trainer_too() -> None:
    agent = delayed()
    with torch.no_grad():
        for parameter in agent.networks["critic"].parameters():
            parameter.add_(0.1)
    updater = fp.PolyakUpdater(agent.loss)
    for update in range(1, 5):
        before = parameters(agent.targets["critic"])
        updater.step()
        assert same(before, parameters(agent.targets["critic"])) == (update % 2 == 1)


def test_a_target_that_only_the_policy_asks_moves_in_a_trainer_too() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    slow = fp.TargetNetwork(field, tau=1.0)
    agent = fp.Agent(policy=fp.EulerSampler(slow, 2), losses=[fp.FlowMatchingLoss(field)])
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1)
    fp.PolyakUpdater(agent.loss).step()
    assert same(parameters(slow), parameters(field))


@pytest.mark.parametrize("name", ["dgp", "targets"])
def test_an_unknown_loss_is_refused(name) -> None:
    with pytest.raises(fp.ConfigError, match=f"unknown loss in every '{name}'"):
        delayed(every={name: 2})


def test_every_is_a_whole_number() -> None:
    with pytest.raises(fp.ConfigError, match=r"every\['dpg'\] must be at least 1, got 0"):
        delayed(every={"dpg": 0})
    with pytest.raises(fp.ConfigError, match="TargetNetwork: every must be at least 1"):
        fp.TargetNetwork(fp.CriticEnsemble(OBS, ACT, HIDDEN), every=0)


@pytest.mark.parametrize("clip_norm", [1e-2, 1e6])
def test_the_gradient_of_all_networks_together_is_clipped(clip_norm) -> None:
    optimizer = partial(torch.optim.SGD, lr=1.0)
    torch.manual_seed(0)
    free = delayed(optimizer=optimizer)
    clipped = delayed(optimizer=optimizer, clip_norm=clip_norm)
    clipped.load_state_dict(free.state_dict())
    before = parameters(free.networks)
    batch = batch_for(free)
    free.update(batch)
    clipped.update(batch)
    steps = [
        torch.cat(
            [
                (new - old).flatten()
                for new, old in zip(a.networks.parameters(), before, strict=True)
            ]
        )
        for a in (free, clipped)
    ]
    length = steps[0].norm()
    expected = steps[0] * min(1.0, clip_norm / length.item())
    assert_close(steps[1], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("inf")])
def test_an_impossible_norm_is_refused(clip_norm) -> None:
    with pytest.raises(fp.ConfigError, match="Agent: clip_norm must be a finite number above 0"):
        delayed(clip_norm=clip_norm)


def test_some_loss_counts_in_every_update() -> None:
    with pytest.raises(fp.ConfigError, match="leaves updates without any loss. At least one loss"):
        delayed(every={"dpg": 2, "qvalue": 3})
