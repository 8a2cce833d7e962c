"""State dicts, copies, pickles, devices and dtypes of agents, losses and policies."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.checkpoint import Checkpoint

import flowpolicy as fp
from tests.agents.recipes import small_options
from tests.torchrl_integration.environment import ACT_DIM, OBS_DIM, transitions

RECIPES = pytest.mark.parametrize("recipe", sorted(fp.agents.RECIPES))


def make_agent(recipe: str, seed: int = 0) -> fp.Agent:
    torch.manual_seed(seed)
    options = small_options(recipe, hidden=(16,), flow_steps=2)
    agent = fp.agents.build(recipe, OBS_DIM, ACT_DIM, **options)
    agent.noise.seed(seed)
    return agent


@pytest.fixture(scope="module")
def batch() -> TensorDictBase:
    batch = transitions(32)
    batch["next", "action"] = batch["action"].roll(-1, 0)  # ReBRAC's critics read it
    return batch


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


def assert_equal(first: TensorDictBase, second: TensorDictBase) -> None:
    torch.testing.assert_close(first.to_dict(), second.to_dict(), rtol=0, atol=0)


def assert_same(first: nn.Module, second: nn.Module) -> None:
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def assert_same_action(first: fp.Actor, second: fp.Actor) -> None:
    observation = torch.randn(8, first.obs_dim)
    noise = first.draw_noise(observation)
    assert torch.equal(first.act(observation, noise), second.act(observation, noise))


@RECIPES
def test_an_agent_continues_from_its_state_dicts(recipe, batch):
    agent, other = make_agent(recipe), make_agent(recipe, seed=1)
    agent.update(batch)
    other.load_state_dict(agent.state_dict())
    other.optimizer.load_state_dict(deepcopy(agent.optimizer.state_dict()))
    other.noise.load_state_dict(agent.noise.state_dict())
    for _ in range(2):
        assert_equal(agent.update(batch), other.update(batch))
    assert_same(agent, other)
    assert_same_action(agent.policy, other.policy)


@RECIPES
@pytest.mark.parametrize("duplicate", [deepcopy, pickled])
def test_a_copy_of_an_agent_goes_its_own_way(recipe, duplicate, batch):
    agent = make_agent(recipe)
    agent.update(batch)  # so that the optimizer has a state
    other = duplicate(agent)
    assert other.step == 1
    before = deepcopy(agent.state_dict())
    second = other.update(batch)
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
    assert_equal(agent.update(batch), second)
    assert_same(agent, other)
    assert_same_action(agent.policy, other.policy)
    for name, actor in agent.actors.items():
        assert_same_action(actor, other.actors[name])


@RECIPES
def test_an_agent_in_double_precision(recipe, batch):
    agent = make_agent(recipe)
    agent.update(batch)
    agent.double()
    before = deepcopy(agent.state_dict())
    metrics = agent.update(batch.to(torch.float64))
    assert numbers(metrics) == {torch.float64}
    for key, value in agent.state_dict().items():
        assert value.dtype == torch.float64, key
    for name, _ in agent.trained_parameters():
        assert not torch.equal(agent.state_dict()[name], before[name]), name
    action = agent.act(torch.zeros(4, OBS_DIM, dtype=torch.float64))
    assert action.dtype == torch.float64
    agent.to(torch.float32)
    assert numbers(agent.update(batch)) == {torch.float32}


def numbers(metrics):
    """The types of all metrics but counters."""
    return {value.dtype for value in metrics.values() if value.is_floating_point()}


@RECIPES
def test_an_agent_in_shared_memory_trains_in_place(recipe, batch):
    agent = make_agent(recipe).share_memory()
    addresses = {name: value.data_ptr() for name, value in agent.state_dict().items()}
    agent.update(batch)
    for name, value in agent.state_dict().items():
        assert value.is_shared() and value.data_ptr() == addresses[name], name


@RECIPES
@pytest.mark.parametrize("duplicate", [deepcopy, pickled])
def test_a_policy_alone_can_be_copied(recipe, duplicate):
    policy = make_agent(recipe).policy
    other = duplicate(policy)
    assert_same_action(policy, other)
    assert not {id(p) for p in policy.parameters()} & {id(p) for p in other.parameters()}


@RECIPES
def test_a_policy_alone_loads_its_state(recipe):
    policy, other = make_agent(recipe).policy, make_agent(recipe, seed=1).policy
    other.load_state_dict(policy.state_dict())
    assert_same_action(policy, other)
    observation = torch.randn(4, OBS_DIM, dtype=torch.float64)
    assert policy.double().act(observation, policy.draw_noise(observation)).dtype == torch.float64


@RECIPES
def test_a_checkpoint_of_torchrl_holds_an_agent(recipe, batch, tmp_path):
    agent, other = make_agent(recipe), make_agent(recipe, seed=1)
    agent.update(batch)
    other.update(batch)
    for each, action in ((agent, "save"), (other, "load")):
        checkpoint = Checkpoint()
        checkpoint.register("agent", each)
        checkpoint.register("optimizer", each.optimizer)
        checkpoint.register("noise", each.noise)
        getattr(checkpoint, action)(tmp_path / "checkpoint")
    assert_equal(agent.update(batch), other.update(batch))
    assert_same(agent, other)


def losses(seed: int = 0) -> dict[str, fp.Loss]:
    agents = [make_agent(recipe, seed) for recipe in ("fql", "ifql")]
    return {loss.name: loss for agent in agents for loss in agent.loss.losses}


LOSSES = pytest.mark.parametrize("name", sorted(losses()))


def with_draws(loss: fp.Loss, batch: TensorDictBase) -> TensorDictBase:
    batch = batch.copy()
    for key, draw in loss.draws().items():
        batch[key] = draw.sample(batch.shape, dtype=torch.float32, device=torch.device("cpu"))
    return batch


@LOSSES
@pytest.mark.parametrize("duplicate", [deepcopy, pickled])
def test_a_copy_of_a_loss_trains_a_network_of_its_own(name, duplicate, batch):
    loss = losses()[name]
    other = duplicate(loss)
    batch = with_draws(loss, batch)
    first, second = loss(batch), other(batch)
    assert_equal(first, second)
    second[f"loss_{name}"].backward()
    assert all(parameter.grad is None for parameter in loss.parameters())
    assert any(parameter.grad is not None for parameter in other.network.parameters())


@LOSSES
def test_the_state_of_a_loss_is_that_of_its_network(name):
    loss, other = losses()[name], losses(seed=1)[name]
    assert sum(p.numel() for p in loss.parameters()) == sum(
        p.numel() for p in loss.network.parameters()
    )
    loss.coefficient = 3.0
    other.load_state_dict(loss.state_dict())
    assert_same(loss, other)
    assert other.coefficient == 3.0


def test_a_loss_alone_in_double_precision(batch):
    loss = losses()["flow"].double()
    assert loss(batch.to(torch.float64))["loss_flow"].dtype == torch.float64


def test_the_loss_of_an_agent_loads_its_state():
    first, second = make_agent("fql"), make_agent("fql", seed=1)
    second.loss.load_state_dict(first.loss.state_dict())
    assert_same(first.networks, second.networks)
    assert_same_action(first.policy, second.policy)
