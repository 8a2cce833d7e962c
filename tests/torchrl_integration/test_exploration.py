"""Flow policies sample whatever TorchRL's exploration type says, others act by their mode."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import Collector
from torchrl.envs import ExplorationType, set_exploration_type
from torchrl.objectives import DDPGLoss, SoftUpdate

import flowpolicy as fp
from tests.torchrl_integration.environment import ACT_DIM, OBS_DIM, reacher, transitions

LIKELIEST = [
    ExplorationType.DETERMINISTIC,
    ExplorationType.MEAN,
    ExplorationType.MEDIAN,
    ExplorationType.MODE,
]
TYPES = [*LIKELIEST, ExplorationType.RANDOM]


def one_step() -> fp.Actor:
    return fp.OneStepActor(OBS_DIM, ACT_DIM, hidden=(16,))


def flow() -> fp.Actor:
    return fp.EulerSampler(fp.VelocityField(OBS_DIM, ACT_DIM, hidden=(16,)), steps=2)


def best_of() -> fp.Actor:
    return fp.BestOf(flow(), fp.CriticEnsemble(OBS_DIM, ACT_DIM, hidden=(16,)), n=4)


POLICIES = pytest.mark.parametrize("make_policy", [one_step, flow, best_of])


@POLICIES
@pytest.mark.parametrize("kind", TYPES)
def test_a_policy_samples_under_every_type(make_policy, kind):
    policy, observation = make_policy(), torch.randn(8, OBS_DIM)
    with set_exploration_type(kind), torch.no_grad():
        first = policy(TensorDict(observation=observation, batch_size=[8]))["action"]
        second = policy(TensorDict(observation=observation, batch_size=[8]))["action"]
    assert (first != second).any(dim=-1).all()


@POLICIES
@pytest.mark.parametrize("kind", TYPES)
def test_noise_in_the_tensordict_is_obeyed_under_every_type(make_policy, kind):
    policy, observation = make_policy(), torch.randn(8, OBS_DIM)
    noise = torch.randn(8, *policy.noise_shape)
    batch = TensorDict(observation=observation, noise=noise, batch_size=[8])
    with set_exploration_type(kind), torch.no_grad():
        assert torch.equal(policy(batch)["action"], policy.act(observation, noise))


@pytest.mark.parametrize("recipe", ["td3_bc", "sac", "iql"])
def test_an_actor_with_a_mode_acts_by_it_where_no_noise_is_wanted(recipe):
    policy = fp.agents.build(recipe, OBS_DIM, ACT_DIM, hidden=(16,)).policy
    policy.set_keys(observation="obs", action="act")
    batch = TensorDict(obs=torch.randn(8, OBS_DIM), batch_size=[8])
    mode = policy.mode
    expected = mode.act(batch["obs"], mode.draw_noise(batch["obs"]))
    with torch.no_grad():
        for kind in LIKELIEST:
            with set_exploration_type(kind):
                assert torch.equal(policy(batch.clone())["act"], expected)
        with set_exploration_type(ExplorationType.RANDOM):
            assert not torch.equal(policy(batch.clone())["act"], expected)
        assert not torch.equal(policy(batch.clone())["act"], expected)


@pytest.mark.parametrize("kind", TYPES)
def test_losses_sample_under_every_type(kind):
    batch = transitions(32)
    agent = fp.agents.fql(OBS_DIM, ACT_DIM, hidden=(16,), flow_steps=2)
    with set_exploration_type(kind):
        first, second = agent.loss(batch), agent.loss(batch)
    for key in ("loss_distill", "loss_flow", "loss_dpg", "loss_qvalue"):
        assert first[key] != second[key], key


def test_a_collector_in_deterministic_mode_still_samples():
    policy = one_step()
    collector = Collector(
        reacher(),
        policy,
        frames_per_batch=100,
        reset_at_each_iter=True,
        exploration_type=ExplorationType.DETERMINISTIC,
        auto_register_policy_transforms=False,
    )
    data = next(iter(collector))
    collector.shutdown()
    with torch.no_grad():
        zero = policy.act(data["observation"], torch.zeros(100, ACT_DIM))
    # Not everywhere: an action may be clipped to the same bound.
    assert (data["action"] != zero).any(dim=-1).float().mean() > 0.5


def test_actors_and_critics_serve_a_loss_of_torchrl():
    actor, critic = one_step(), fp.CriticEnsemble(OBS_DIM, ACT_DIM, hidden=(16,))
    loss = DDPGLoss(actor, critic, delay_actor=True, delay_value=True)
    updater = SoftUpdate(loss, tau=0.1)
    batch = transitions(32)
    output = loss(batch)
    assert output["loss_actor"] != loss(batch)["loss_actor"]  # it samples there, too
    (output["loss_actor"] + output["loss_value"]).backward()
    for network in (actor, critic):
        # DDPGLoss keeps the same parameters as the modules that it was given.
        assert any(parameter.grad is not None for parameter in network.parameters())
    updater.step()
