"""Parameters that are frozen, unfrozen or added to the optimizer between updates."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

import flowpolicy as fp
from tests.agents.recipes import batch_for, small


def eager(agent: fp.Agent) -> Callable[[torch.Tensor], object]:
    return agent.update


def compiled(agent: fp.Agent) -> Callable[[torch.Tensor], object]:
    return agent.compile(backend="eager").update


def stacked(agent: fp.Agent) -> Callable[[torch.Tensor], object]:
    stack = fp.AgentStack([agent])
    return lambda batch: stack.update(batch[None])


def pair() -> fp.Agent:
    """A flow and what is distilled from it, which can be frozen one by one."""
    field, student = (make(3, 2, hidden=(8,)) for make in (fp.VelocityField, fp.OneStepActor))
    distill = fp.DistillLoss(student, teacher=fp.EulerSampler(field, 2))
    return fp.Agent(student, [fp.FlowMatchingLoss(field), distill])


FORMS = [eager, pytest.param(compiled, marks=pytest.mark.compile), stacked]


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(network: torch.nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_frozen_rests_until_it_is_unfrozen(form) -> None:
    torch._dynamo.reset()
    agent = pair()
    update, field, actor = form(agent), agent.networks["field"], agent.networks["actor"]
    for learns in (True, False, True):
        field.requires_grad_(learns)
        before, other = weights(field), weights(actor)
        update(batch_for(agent))
        assert same(field, before) != learns
        assert not same(actor, other)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_frozen_before_the_first_update_may_learn_later(form) -> None:
    torch._dynamo.reset()
    agent = pair()
    agent.networks["field"].requires_grad_(False)
    update, field = form(agent), agent.networks["field"]
    for learns in (False, True):
        field.requires_grad_(learns)
        before = weights(field)
        update(batch_for(agent))
        assert same(field, before) != learns


def test_agents_of_a_stack_are_frozen_alike() -> None:
    agents = [pair() for _ in range(2)]
    stack = fp.AgentStack(agents)
    agents[1].networks["field"].requires_grad_(False)
    with pytest.raises(fp.ConfigError, match="other parameters of agent 1 require gradient than"):
        stack.update(torch.stack([batch_for(agents[0])] * 2))


@pytest.mark.parametrize("form", FORMS)
def test_losses_that_train_nothing_are_refused_in_words(form) -> None:
    torch._dynamo.reset()
    agent = small("flow_bc")
    agent.networks["field"].requires_grad_(False)
    update = form(agent)
    with pytest.raises(fp.ConfigError, match="no parameter that 'flow' could train requires grad"):
        update(batch_for(agent))


@pytest.mark.parametrize("form", FORMS)
def test_updates_learn_where_gradients_are_switched_off(form) -> None:
    torch._dynamo.reset()
    agent = small("flow_bc")
    twin, update = copy.deepcopy(agent), form(agent)
    with torch.no_grad():
        update(batch_for(agent))
    twin.update(batch_for(twin))
    for parameter, other in zip(agent.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter, other)
    with torch.inference_mode(), pytest.raises(fp.ConfigError, match="nothing is learned within"):
        update(batch_for(agent))


def gradually() -> fp.Agent:
    """An agent whose optimizer got a further layer after it was built."""
    field = fp.VelocityField(3, 2, hidden=(8,))
    field.net[0].requires_grad_(False)
    agent = fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)], clip_norm=1e-2)
    field.net[0].requires_grad_(True)
    names, layer = zip(*field.net[0].named_parameters(prefix="networks.field.net.0"), strict=True)
    agent.optimizer.add_param_group({"params": list(zip(names, layer, strict=True))})
    return agent


def test_what_the_optimizer_is_given_later_counts_in_the_norm() -> None:
    torch.manual_seed(0)
    agent = gradually()
    twin = copy.deepcopy(agent)
    ours = agent.update(batch_for(agent))
    norms = [p.grad.norm() for p in agent.networks["field"].parameters()]
    assert len(norms) == 4
    # Clipped by now to a hundredth, all of them together.
    torch.testing.assert_close(torch.stack(norms).norm(), torch.tensor(1e-2), rtol=1e-4, atol=0)
    handle = twin.networks["field"].net[0].weight.register_hook(lambda g: g * float("nan"))
    assert twin.update(batch_for(twin))["skipped"] == 1
    handle.remove()
    torch.testing.assert_close(twin.update(batch_for(twin))["grad_norm"], ours["grad_norm"])


@pytest.mark.compile
def test_too_many_kinds_of_batches_are_refused_in_words() -> None:
    torch._dynamo.reset()
    agent = small("flow_bc").compile(backend="eager")
    with torch._dynamo.config.patch(recompile_limit=2):
        for size in (1, 2):
            agent.update(batch_for(agent, size))
        with pytest.raises(fp.ConfigError, match="Agent: compiled for too many kinds of batches"):
            agent.update(batch_for(agent, 3))
