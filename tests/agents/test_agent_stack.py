"""Several agents in one program do what each would have done alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, batch_for, small

SIZE = 3


def members(variant: str, **options) -> list[fp.Agent]:
    """Agents in float64, whose updates differ by rounding alone."""
    return [small(variant, flow_steps=2, **options).double() for _ in range(SIZE)]


def batches_for(agent: fp.Agent, seed: int) -> list[TensorDict]:
    return [
        batch_for(agent, seed=10 * seed + i).apply(
            lambda x: x.double() if x.is_floating_point() else x
        )
        for i in range(SIZE)
    ]


def assert_same_states(agents: list[fp.Agent], twins: list[fp.Agent]) -> None:
    for agent, twin in zip(agents, twins, strict=True):
        assert agent.step == twin.step
        theirs = twin.state_dict()
        for name, value in agent.state_dict().items():
            assert_close(value, theirs[name], rtol=1e-9, atol=1e-10, msg=lambda m, n=name: n + m)
        ours, theirs = agent.optimizer.state_dict(), twin.optimizer.state_dict()
        assert ours["state"].keys() == theirs["state"].keys()
        for index, state in theirs["state"].items():
            for key, value in state.items():
                assert_close(ours["state"][index][key], value, rtol=1e-9, atol=1e-10)


def assert_as_alone(stack: fp.AgentStack, twins: list[fp.Agent], seeds: range) -> None:
    for seed in seeds:
        batches = batches_for(twins[0], seed)
        metrics = stack.update(torch.stack(batches))
        for i, (twin, batch) in enumerate(zip(twins, batches, strict=True)):
            theirs = twin.update(batch)
            assert set(metrics.keys()) == set(theirs.keys())
            for key, value in theirs.items():
                assert_close(metrics[key][i], value, rtol=1e-8, atol=1e-10)
    assert_same_states(list(stack.agents), twins)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_agent_does_what_it_does_alone(variant) -> None:
    agents = members(variant)
    twins = copy.deepcopy(agents)
    assert_as_alone(fp.AgentStack(agents), twins, range(3))


def test_losses_and_targets_that_wait_do_so_in_a_stack() -> None:
    agents = members("rebrac", delay=2)
    twins = copy.deepcopy(agents)
    assert_as_alone(fp.AgentStack(agents), twins, range(4))


@pytest.mark.compile
def test_a_compiled_stack_is_an_eager_one() -> None:
    agents = members("fql")
    twins = copy.deepcopy(agents)
    stack = fp.AgentStack(agents).compile("eager")
    assert_as_alone(stack, twins, range(1))
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_as_alone(stack, twins, range(1, 3))


def test_tied_parameters_have_one_gradient() -> None:
    def tied() -> fp.Agent:
        torch.manual_seed(0)
        field = fp.VelocityField(3, 2, hidden=(16, 16, 16))
        field.net[4].weight = field.net[2].weight
        return fp.Agent(fp.EulerSampler(field), [fp.FlowMatchingLoss(field)]).double()

    alone, compiled, stacked = tied(), tied(), tied()
    batch = alone.with_noise(batches_for(alone, 0)[0])
    alone.backward(batch)
    compiled.compile(backend="eager").backward(batch)
    fp.AgentStack([stacked]).update(batch.unsqueeze(0))
    alone.update(batch)
    compiled.update(batch)
    for agent in (compiled, stacked):
        for name, value in alone.state_dict().items():
            assert_close(agent.state_dict()[name], value, rtol=1e-9, atol=1e-10)


def test_what_one_agent_is_given_reaches_no_other() -> None:
    """Bit for bit: the others' numbers are the same whatever one of them learns from."""
    agents = members("fql")
    changed = copy.deepcopy(agents)
    batches = batches_for(agents[0], 0)
    fp.AgentStack(agents).update(torch.stack(batches))
    batches[1] = batches[1].apply(lambda x: x * 0.5 if x.is_floating_point() else x)
    fp.AgentStack(changed).update(torch.stack(batches))
    for i in (0, 2):
        for name, value in agents[i].state_dict().items():
            assert torch.equal(value, changed[i].state_dict()[name])
    assert not torch.equal(agents[1].policy.net[0].weight, changed[1].policy.net[0].weight)


def test_coefficients_may_differ() -> None:
    agents = [small("fql", flow_steps=2, alpha=alpha).double() for alpha in (0.1, 1.0, 10.0)]
    twins = copy.deepcopy(agents)
    assert_as_alone(fp.AgentStack(agents), twins, range(2))


def test_each_agent_draws_its_own_noise() -> None:
    agents = members("flow_bc")
    for i, agent in enumerate(agents):
        agent.noise.seed(i)
    twins = copy.deepcopy(agents)
    batches = [b.exclude("x0", "time") for b in batches_for(agents[0], 0)]
    metrics = fp.AgentStack(agents).update(torch.stack(batches))
    theirs = torch.stack([t.update(b)["loss_flow"] for t, b in zip(twins, batches, strict=True)])
    assert_close(metrics["loss_flow"], theirs)
    assert theirs.unique().numel() == SIZE


def test_agents_that_have_learned_go_on_in_a_stack_and_alone_again() -> None:
    agents = members("fql")
    for seed in range(2):
        for agent, batch in zip(agents, batches_for(agents[0], seed), strict=True):
            agent.update(batch)
    twins = copy.deepcopy(agents)
    assert_as_alone(fp.AgentStack(agents), twins, range(2, 4))
    saved = copy.deepcopy(agents)
    for agent, twin, batch in zip(saved, twins, batches_for(agents[0], 9), strict=True):
        agent.update(batch), twin.update(batch)
    assert_same_states(saved, twins)


def test_a_state_loaded_into_a_stacked_agent_is_where_it_goes_on() -> None:
    agents = members("flow_bc")
    other = small("flow_bc").double()
    stack = fp.AgentStack(agents)
    agents[1].load_state_dict(other.state_dict())
    batches = batches_for(agents[0], 0)
    metrics = stack.update(torch.stack(batches))
    assert_close(metrics["loss_flow"][1], other.update(batches[1])["loss_flow"])


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (list, "at least one agent"),
        (lambda: [small("fql"), small("fql", discount=0.9)], "discount: 0.99 and 0.9"),
        (lambda: [small("fql"), small("gfp")], "agents 0 and 1 differ in loss"),
        (lambda: [small("fql"), small("fql", hidden=(4,))], "out_features: 8 and 4"),
        (
            lambda: [small("fql"), small("fql", lr=1.0)],
            "optimizers of agents 0 and 1 differ in .*lr",
        ),
        (lambda: [small("fql")] * 2, "agent 1 shares a network"),
    ],
    ids=["none", "discount", "recipe", "size", "lr", "itself"],
)
def test_agents_that_cannot_share_a_program_are_refused(agents, message) -> None:
    with pytest.raises(fp.ConfigError, match=message):
        fp.AgentStack(agents())


class Kept(fp.Weight):
    """A weight with a number that no state dict holds."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.register_buffer("number", torch.tensor(number), persistent=False)

    def compute(self, evaluated):
        return self.number * torch.ones_like(evaluated.action(None)[..., :1])


def with_weight(number: float) -> fp.Agent:
    field = fp.VelocityField(3, 2, hidden=(4,))
    loss = fp.FlowMatchingLoss(field, weight=Kept(number))
    return fp.Agent(fp.EulerSampler(field, 2), [loss])


def with_slow_actor(**target) -> fp.Agent:
    field = fp.VelocityField(3, 2, hidden=(4,))
    slow = fp.EulerSampler(fp.TargetNetwork(field, **target), 2)
    return fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)], actors={"slow": slow})


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (
            lambda: [small("fql", discount=torch.tensor(d)) for d in (0.0, 0.99)],
            r"discount: 0.0 and 0.99",
        ),
        (lambda: [with_weight(1.0), with_weight(2.0)], r"weight.number: 1.0 and 2.0"),
        (lambda: [with_slow_actor(tau=t) for t in (0.1, 0.9)], "targets.field.tau: 0.1 and 0.9"),
        (lambda: [with_slow_actor(every=n) for n in (1, 2)], "targets.field.every: 1 and 2"),
    ],
    ids=["an option", "a loose buffer", "a target's rate", "a target's wait"],
)
def test_what_one_program_would_take_of_the_first_agent_is_compared(agents, message) -> None:
    with pytest.raises(fp.ConfigError, match=f"agents 0 and 1 differ in .*{message}"):
        fp.AgentStack(agents())


def test_what_is_not_a_number_or_made_by_the_same_line_is_the_same() -> None:
    def agent() -> fp.Agent:
        agent = small("flow_bc")
        agent.networks["field"].statistics = (float("nan"), np.array([1.0, float("nan")]))
        agent.networks["field"].scaled = lambda x: 2 * x
        return agent

    fp.AgentStack([agent(), agent()])
    agents = [agent(), agent()]
    agents[1].networks["field"].statistics[1][0] = 3.0
    with pytest.raises(fp.ConfigError, match=r"float64 \[1.0, nan\] and float64 \[3.0, nan\]"):
        fp.AgentStack(agents)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_stack_goes_on_like_it(duplicate) -> None:
    agents = members("fql")
    stack = fp.AgentStack(agents)
    stack.update(torch.stack(batches_for(agents[0], 0)))
    other = duplicate(stack)
    for each in (stack, other):
        each.update(torch.stack(batches_for(agents[0], 1)))
    assert_same_states(list(other.agents), agents)


def test_dropout_draws_for_each_agent() -> None:
    def agent() -> fp.Agent:
        field = fp.VelocityField(3, 2, hidden=(64,))
        field.net.insert(2, torch.nn.Dropout(0.5))
        return fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)])

    first = agent()
    stack = fp.AgentStack([first, copy.deepcopy(first)])
    one, other = stack.update(torch.stack([batch_for(first)] * 2))["loss_flow"]
    assert one != other


def test_learning_rates_in_tensors_are_compared_by_value() -> None:
    agents = [small("flow_bc") for _ in range(2)]
    for agent, lr in zip(agents, (1e-2, 1e-5), strict=True):
        agent.optimizer.param_groups[0]["lr"] = torch.tensor(lr)
    with pytest.raises(fp.ConfigError, match="optimizers of agents 0 and 1 differ in"):
        fp.AgentStack(agents)


def test_a_schedule_of_the_whole_is_each_agents() -> None:
    agents = [small("flow_bc") for _ in range(2)]
    stack = fp.AgentStack(agents)
    schedule = torch.optim.lr_scheduler.ExponentialLR(stack.optimizer.whole, gamma=0.5)
    before = agents[1].optimizer.param_groups[0]["lr"]
    for _ in range(2):
        stack.update(torch.stack([batch_for(agents[0])] * 2))
        schedule.step()
    stack.update(torch.stack([batch_for(agents[0])] * 2))
    assert agents[1].optimizer.param_groups[0]["lr"] == before / 4
    alone = copy.deepcopy(agents[1])
    assert alone.optimizer.param_groups[0]["param_names"]


def test_agents_of_other_step_counts_are_refused() -> None:
    agents = members("flow_bc")
    agents[2].update(batches_for(agents[0], 0)[0])
    with pytest.raises(fp.ConfigError, match="agents 0 and 2 differ in step: 0 and 1"):
        fp.AgentStack(agents)


def test_an_optimizer_that_mixes_elements_is_refused() -> None:
    def agent() -> fp.Agent:
        field = fp.VelocityField(3, 2, hidden=(8,))
        return fp.Agent(
            policy=fp.EulerSampler(field, 2),
            losses=[fp.FlowMatchingLoss(field)],
            optimizer=lambda named: torch.optim.Adafactor([p for _, p in named]),
        )

    with pytest.raises(fp.ConfigError, match="Adafactor may mix the agents' parameters"):
        fp.AgentStack([agent(), agent()])


def test_a_batch_of_another_number_of_agents_is_refused() -> None:
    agents = members("flow_bc")
    batches = batches_for(agents[0], 0)
    with pytest.raises(fp.ShapeError, match=r"must be \[3, B\]"):
        fp.AgentStack(agents).update(torch.stack(batches[:2]))
    with pytest.raises(fp.ShapeError, match=r"must be \[3, B\]"):
        fp.AgentStack(agents).update(batches[0])


def test_a_batch_that_is_no_tensordict_is_refused() -> None:
    stack = fp.AgentStack([small("flow_bc")])
    with pytest.raises(fp.ConfigError, match="AgentStack.update: batch must be a TensorDict"):
        stack.update({"observation": torch.zeros(1, 4, 3)})


@pytest.mark.compile
def test_a_compiled_stack_refuses_a_batch_in_its_own_words() -> None:
    agents = members("bc")
    batch = torch.stack(batches_for(agents[0], 0))
    with pytest.raises(fp.MissingKeyError, match="action"):
        fp.AgentStack(agents).compile("eager").update(batch.exclude("action"))
