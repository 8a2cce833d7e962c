"""The first tensor that is not finite is named, wherever it is planted."""

from __future__ import annotations

import copy

import pytest
import torch

import flowpolicy as fp
from flowpolicy.agents import first_not_finite
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.contracts.factories import transitions

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_agent_in_order_is_left_as_it_is(variant) -> None:
    """Its noise and gradients, too."""
    agent = small(variant)
    agent.update(transitions(8))
    twin = copy.deepcopy(agent)
    assert first_not_finite(agent, transitions(8)) is None
    assert all(
        torch.equal(a, b) for a, b in zip(agent.parameters(), twin.parameters(), strict=True)
    )
    ours, theirs = agent.update(transitions(8)), twin.update(transitions(8))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("action", NAN, r"the entry 'action' of the batch is nan in row 5"),
        (("next", "reward"), -INF, r"the entry \('next', 'reward'\) of the batch is -inf in row 5"),
    ],
)
def test_an_entry_of_the_batch(key, value, said) -> None:
    agent = small("fql")
    batch = batch_for(agent)
    batch[key][5, 0] = value
    with torch.no_grad():
        agent.networks["critic"].net[0].weight[0, 0, 0] = NAN  # what comes later does not matter
    assert first_not_finite(agent, batch)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(first_not_finite(agent, batch))


@pytest.mark.parametrize("part", ["networks", "targets"])
def test_a_parameter(part) -> None:
    agent = small("fql")
    name, parameter = next(iter(getattr(agent, part)["critic"].named_parameters()))
    parameter.data.view(-1)[2:4] = INF
    assert first_not_finite(agent, batch_for(agent)) == (
        f"{part}.critic.{name} of the agent has 2 of {parameter.numel()} values that are not finite"
    )


def test_a_layer() -> None:
    """Whose parameters and input are finite, and whose output is too large to be."""
    agent = small("fql")
    net = agent.networks["critic"].net
    net[-1].weight.data.fill_(3e38)
    assert first_not_finite(agent, batch_for(agent)) == (
        f"the output of networks.critic.net.{len(net) - 1} (ExactStackedLinear) is not finite in "
        "the loss 'qvalue'"
    )


def test_a_loss() -> None:
    agent = small("fql")
    batch = batch_for(agent)
    batch["next", "reward"].fill_(1e30)
    assert first_not_finite(agent, batch) == (
        "the loss 'qvalue' is inf, though the output of every layer is finite"
    )


class Spoiling(torch.autograd.Function):
    """Finite forwards, not backwards."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * NAN


def test_a_gradient() -> None:
    agent = small("flow_bc")
    loss = agent.loss.losses[0]
    per_sample = loss.per_sample
    loss.per_sample = lambda evaluated: (Spoiling.apply(per_sample(evaluated)[0]), {})
    name = next(iter(agent.trained_parameters()))[0]
    assert first_not_finite(agent, batch_for(agent)) == (
        f"the gradient of {name} is not finite, though every loss is"
    )


def test_a_gradient_that_cannot_be_squared() -> None:
    agent = small("bc")
    agent.loss.losses[0].coefficient = 1e30
    said = first_not_finite(agent, batch_for(agent))
    assert said.startswith(
        "the gradient is too long for its square to be a number: that of network"
    )


@pytest.mark.compile
def test_a_compiled_agent_is_looked_into() -> None:
    agent = small("flow_bc").compile("eager")
    batch = batch_for(agent)
    agent.update(batch)
    agent.networks["field"].get_parameter(
        next(name for name, _ in agent.networks["field"].named_parameters())
    ).data.fill_(1e38)
    assert "the output of networks.field" in first_not_finite(agent, batch)


def test_every_update_that_is_skipped_has_a_reason() -> None:
    agent = small("fql")
    batch = batch_for(agent)
    agent.networks["actor"].net[-1].weight.data.mul_(1e30)
    assert fp.Agent.update(agent, batch)["skipped"] == 1
    assert first_not_finite(agent, batch) is not None
