"""Nothing that an agent uses is left behind: targets, coefficients, statistics, random states."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

import flowpolicy as fp
from flowpolicy.losses.base import Loss
from flowpolicy.modules import EvaluatedBatch
from flowpolicy.modules.frozen import frozen

OBS, ACT, HIDDEN = 3, 2, (8,)


def batch() -> TensorDict:
    after = TensorDict(
        observation=torch.randn(8, OBS),
        reward=torch.randn(8, 1),
        terminated=torch.zeros(8, 1, dtype=torch.bool),
        batch_size=[8],
    )
    return TensorDict(
        observation=torch.randn(8, OBS),
        action=torch.rand(8, ACT) * 2 - 1,
        next=after,
        batch_size=[8],
    )


class Parts:
    def __init__(self) -> None:
        self.field = fp.VelocityField(OBS, ACT, HIDDEN)
        self.flow = fp.EulerSampler(self.field, 2)
        self.actor = fp.OneStepActor(OBS, ACT, HIDDEN)
        self.critic = fp.CriticEnsemble(OBS, ACT, HIDDEN)


def moved(target: fp.TargetNetwork, agent: fp.Agent) -> bool:
    before = [p.clone() for p in target.parameters()]
    agent.update(batch())
    agent.update(batch())
    return not all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True))


# -- targets -----------------------------------------------------------------------------------


def test_two_targets_of_one_network_are_refused() -> None:
    p = Parts()
    first, second = fp.TargetNetwork(p.critic), fp.TargetNetwork(p.critic)
    weight = fp.ValueAwareWeight(first, critic=p.critic, reference=p.actor, temperature=0.1)
    with pytest.raises(fp.ConfigError, match="two TargetNetworks follow 'critic'. Build one"):
        fp.Agent(
            policy=p.actor,
            losses=[
                fp.TDLoss(p.critic, second, next_actor=p.actor),
                fp.FlowMatchingLoss(p.field, weight=weight),
                fp.DPGLoss(p.actor, p.critic),
            ],
        )


def test_a_target_that_only_the_policy_asks_moves_too() -> None:
    p = Parts()
    target = fp.TargetNetwork(p.critic, tau=0.5)
    value = fp.ValueNetwork(OBS, HIDDEN)
    agent = fp.Agent(
        policy=fp.BestOf(p.flow, target, n=4),
        losses=[
            fp.TDLoss(p.critic, next_value=value),
            fp.FlowMatchingLoss(p.field),
            fp.ExpectileLoss(value, p.critic),
        ],
    )
    assert dict(agent.targets) == {"critic": target}
    assert set(agent.networks) == {"critic", "field", "value"}
    assert moved(target, agent)


class SeveralTargets(Loss):
    """A user's loss that keeps its frozen views in a list."""

    role = "actor"

    def __init__(self, actor: fp.Actor, targets: list[fp.TargetNetwork]) -> None:
        super().__init__("several")
        self.actor_network = actor
        self.targets = [frozen(target) for target in targets]

    @property
    def network(self) -> fp.Actor:
        return self.actor_network

    def draws(self) -> dict:
        return {"noise": self.actor_network.noise_draw}

    def per_sample(self, evaluated: EvaluatedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        values = [evaluated.policy_values(each, self.actor_network) for each in self.targets]
        return -torch.stack(values).mean(dim=(0, 1)), {}


def test_targets_in_a_list_are_found() -> None:
    p = Parts()
    target = fp.TargetNetwork(p.critic, tau=0.5)
    online = fp.TDLoss(p.critic, next_value=fp.ValueNetwork(OBS, HIDDEN))
    agent = fp.Agent(policy=p.actor, losses=[SeveralTargets(p.actor, [target]), online])
    assert dict(agent.targets) == {"critic": target}
    assert moved(target, agent)


def test_tensors_and_iterators_of_a_loss_are_left_alone() -> None:
    p = Parts()
    loss = SeveralTargets(p.actor, [])
    loss.scalar, loss.numbers = torch.tensor(1.0), iter([1, 2])
    assert list(loss.frozen_networks()) == []
    assert list(loss.numbers) == [1, 2]


def test_a_target_held_as_a_submodule_is_refused() -> None:
    p = Parts()
    loss = SeveralTargets(p.actor, [])
    loss.target = fp.TargetNetwork(p.critic)
    with pytest.raises(fp.ConfigError, match=r"holds a TargetNetwork as a submodule.*frozen"):
        fp.Agent(policy=p.actor, losses=[loss])


# -- coefficients, temperatures, statistics ----------------------------------------------------


def test_scheduled_coefficients_and_temperatures_are_saved() -> None:
    agent, fresh = (fp.agents.gfp(OBS, ACT, hidden=HIDDEN, flow_steps=2) for _ in range(2))
    losses = {loss.name: loss for loss in agent.loss.losses}
    losses["distill"].coefficient = 3.0
    losses["flow"].weight.temperature.fill_(0.25)
    fresh.load_state_dict(copy.deepcopy(agent.state_dict()))
    again = {loss.name: loss for loss in fresh.loss.losses}
    assert again["distill"].coefficient.item() == 3.0
    assert again["flow"].weight.temperature.item() == 0.25
    assert "loose.losses.distill.coefficient" in agent.state_dict()


def test_they_follow_a_cast() -> None:
    agent = fp.agents.gfp(OBS, ACT, hidden=HIDDEN, flow_steps=2).double()
    loose = {k: v.dtype for k, v in agent.state_dict().items() if k.startswith("loose.")}
    assert loose
    assert set(loose.values()) == {torch.float64}


def test_a_missing_or_foreign_coefficient_is_noticed() -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=HIDDEN)
    state = dict(agent.state_dict())
    value = state.pop("loose.losses.distill.coefficient")
    with pytest.raises(RuntimeError, match="Missing key.*loose.losses.distill.coefficient"):
        agent.load_state_dict(state)
    state["loose.losses.distill.coefficient"] = value.repeat(2)
    with pytest.raises(RuntimeError, match=r"coefficient: expected \[\], got \[2\]"):
        agent.load_state_dict(state)


class Shifted(fp.Actor):
    """A user's wrapper with statistics of its own."""

    def __init__(self, actor: fp.Actor) -> None:
        super().__init__(actor.obs_dim, actor.act_dim, actor.noise_shape)
        self.actor = actor
        self.register_buffer("mean", torch.full((actor.obs_dim,), 5.0))

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        return self.actor.raw(observation - self.mean, noise)


def test_statistics_of_a_wrapping_policy_are_saved_and_cast() -> None:
    p = Parts()
    agent = fp.Agent(policy=Shifted(p.flow), losses=[fp.FlowMatchingLoss(p.field)]).double()
    assert set(agent.networks) == {"field"}
    state = agent.state_dict()
    assert torch.equal(state["loose.actors.policy.mean"], torch.full((OBS,), 5.0).double())


@pytest.mark.parametrize("stacked", [False, True])
def test_statistics_of_a_part_that_is_only_read_are_the_agents_too(stacked) -> None:
    def made(mean: float) -> fp.Agent:
        p = Parts()
        teacher = Shifted(p.flow)
        teacher.mean.fill_(mean)
        losses = [fp.FlowMatchingLoss(p.field), fp.DistillLoss(p.actor, teacher)]
        return fp.Agent(p.actor, losses)

    agent = made(2.0)
    (name,) = (name for name in agent.state_dict() if name.endswith("teacher_0.mean"))
    other = made(0.0)
    other.load_state_dict(agent.state_dict())
    rows = agent.with_noise(batch())
    expected = agent.loss(rows)["loss_distill"]
    assert torch.equal(other.loss(rows)["loss_distill"], expected)
    assert made(2.0).double().state_dict()[name].dtype is torch.float64
    if stacked:  # each with its own
        agents = [copy.deepcopy(agent), made(0.0)]
        alone = [copy.deepcopy(each).update(rows)["loss_distill"] for each in agents]
        together = fp.AgentStack(agents).update(torch.stack([rows, rows]))["loss_distill"]
        torch.testing.assert_close(together, torch.stack(alone))


# -- random states -----------------------------------------------------------------------------


def test_a_state_of_an_absent_device_is_kept_unopened() -> None:
    source = fp.NoiseSource(seed=1)
    state = {"seed": 1, "generators": {"cuda:7": torch.zeros(16, dtype=torch.uint8)}}
    source.load_state_dict(state)
    source.generator(torch.device("cpu"))
    saved = source.state_dict()["generators"]
    assert set(saved) == {"cuda:7", "cpu"}
    assert torch.equal(saved["cuda:7"], state["generators"]["cuda:7"])
    copy.deepcopy(source)


# -- what is fixed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loss", "policy", "actors"])
def test_parts_are_not_exchanged_behind_the_agents_back(name) -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=HIDDEN)
    with pytest.raises(fp.ConfigError, match=rf"Agent: {name} is fixed when the agent is built"):
        setattr(agent, name, getattr(agent, name))


@pytest.mark.compile
def test_the_loss_compiles_in_place() -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=HIDDEN, flow_steps=2)
    eager = copy.deepcopy(agent)
    agent.loss.compile(fullgraph=True, backend="eager")
    data = batch()
    first, second = agent.update(data), eager.update(data)
    for key in first.keys():  # noqa: SIM118
        assert torch.allclose(first[key], second[key], atol=1e-6), key
    assert agent.state_dict().keys() == eager.state_dict().keys()


def test_names_given_before_the_agent_hold_in_it() -> None:
    p = Parts()
    loss = fp.FlowMatchingLoss(p.field)
    loss.set_keys(observation="state")
    data = batch()
    data["state"] = data.pop("observation")
    agent = fp.Agent(policy=p.flow, losses=[loss])
    assert torch.isfinite(agent.update(data)["loss_flow"])
    assert torch.isfinite(agent.loss(data)["loss_flow"])


# -- refusals ----------------------------------------------------------------------------------


def refusals() -> dict[str, tuple]:
    p = Parts()
    other = fp.CriticEnsemble(OBS + 1, ACT, HIDDEN)
    target = fp.TargetNetwork(p.critic)
    return {
        "field as teacher": (
            lambda: fp.DistillLoss(p.actor, teacher=p.field),
            "DistillLoss: teacher must be an Actor, got VelocityField. Put a sampler around",
        ),
        "field as next actor": (
            lambda: fp.TDLoss(p.critic, target, next_actor=p.field),
            "TDLoss: next_actor must be an Actor, got VelocityField",
        ),
        "critic and target exchanged": (
            lambda: fp.TDLoss(target, p.critic, next_actor=p.actor),
            r"TDLoss: no parameter of critic \(TargetNetwork\) requires gradient, so nothing would",
        ),
        "critic as state value": (
            lambda: fp.TDLoss(p.critic, next_value=p.critic),
            "next_value must be a state value, got CriticEnsemble, which needs actions too",
        ),
        "noise of two kinds": (
            lambda: fp.TDLoss(
                p.critic, target, next_actor=(p.actor, fp.BestOf(p.flow, p.critic, n=3))
            ),
            "TDLoss: all next actors share one noise, but their noise_shapes are",
        ),
        "references with noise of two kinds": (
            lambda: fp.ValueAwareWeight(
                target,
                critic=p.critic,
                reference=(p.actor, fp.BestOf(p.flow, p.critic, n=3)),
                temperature=0.1,
            ),
            "ValueAwareWeight: all references and the actor share one noise, but their",
        ),
        "critic of another size": (
            lambda: fp.DPGLoss(p.actor, other),
            (
                "DPGLoss: the parts are built for different sizes: actor obs_dim=3, act_dim=2; "
                "critic obs_dim=4"
            ),
        ),
        "actor as field": (
            lambda: fp.FlowMatchingLoss(p.actor),
            "field must be a velocity field with velocity, obs_dim, act_dim; OneStepActor has no",
        ),
        "name for a function": (
            lambda: fp.agents.fql(OBS, ACT, hidden=HIDDEN, aggregation="min"),
            "aggregation must be a function such as fp.mean_value, got 'min'. Names are for",
        ),
        "name for a blend": (
            lambda: fp.agents.gfp(OBS, ACT, hidden=HIDDEN, bootstrap="mean"),
            r"gfp: bootstrap must be a Blend such as Blend\(\('actor', 'flow'\), min_value\)",
        ),
        "field as policy": (
            lambda: fp.Agent(policy=p.field, losses=[fp.FlowMatchingLoss(p.field)]),
            "Agent: policy must be an Actor, got VelocityField",
        ),
        "an optimizer": (
            lambda: fp.Agent(
                policy=p.flow,
                losses=[fp.FlowMatchingLoss(p.field)],
                optimizer=torch.optim.Adam(p.field.parameters()),
            ),
            r"optimizer must be a function of named parameters.*partial\(torch.optim.Adam",
        ),
        "rows instead of a number": (
            lambda: fp.Agent(
                policy=p.flow, losses=[fp.FlowMatchingLoss(p.field, reduction="none")]
            ),
            "'flow' has reduction='none', but a sum needs one number",
        ),
        "a dict as batch": (
            lambda: fp.agents.flow_bc(OBS, ACT, hidden=HIDDEN).update({"observation": 1}),
            "Agent.update: batch must be a TensorDict, got dict",
        ),
        "no rows": (
            lambda: fp.agents.fql(OBS, ACT, hidden=HIDDEN).update(batch()[:0]),
            "is empty",
        ),
        "weight on a field": (
            lambda: fp.ValueAwareWeight(
                target, critic=p.critic, reference=p.field, temperature=0.1
            ),
            "ValueAwareWeight: reference must be an Actor, got VelocityField",
        ),
        "frozen text": (lambda: frozen("critic"), "frozen: expected a network, got str"),
    }


@pytest.mark.parametrize("case", refusals())
def test_parts_of_the_wrong_kind_are_refused_where_they_are_given(case) -> None:
    make, message = refusals()[case]
    with pytest.raises(fp.FlowPolicyError, match=message):
        make()


# -- frozen views ------------------------------------------------------------------------------


def test_a_frozen_view_is_called_like_its_network() -> None:
    p = Parts()
    view, data = frozen(p.critic), batch()
    values = view(data.copy())["state_action_values"]
    assert torch.equal(values, p.critic(data.copy())["state_action_values"])
    assert not values.requires_grad
    named = view.values(observation=data["observation"], action=data["action"])
    assert torch.equal(named.squeeze(-1).movedim(0, -1), values)


def test_submodules_of_a_frozen_view_are_frozen() -> None:
    p = Parts()
    x = torch.randn(4, OBS + ACT, requires_grad=True)
    frozen(p.actor).net(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in p.actor.parameters())


def test_a_weight_on_one_critic_evaluates_it_once() -> None:
    p = Parts()
    calls = []
    original = p.critic.net.forward

    def counted(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return original(x)

    p.critic.net.forward = counted
    weight = fp.ValueAwareWeight(p.critic, critic=p.critic, reference=p.actor, temperature=0.1)
    data = batch()
    weight.weight(data["observation"], data["action"])
    assert len(calls) == 2  # the data's action and the actor's


# -- actors that hold a part fixed ---------------------------------------------------------------


class Nudged(fp.Actor):
    """A user's actor: a fixed flow and a small network beside it."""

    def __init__(self, base: fp.Actor, nudge: fp.OneStepActor) -> None:
        super().__init__(base.obs_dim, base.act_dim, base.noise_shape)
        self.base, self.nudge = base, nudge

    @property
    def trained(self) -> fp.OneStepActor:
        return self.nudge

    def raw(self, observation: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            start = self.base.act(observation, noise)
        return start + 0.1 * self.nudge.raw(observation, start)


@pytest.mark.parametrize("cloned", [True, False])
@pytest.mark.parametrize("slow", [True, False])
def test_a_fixed_part_is_owned_but_not_trained(cloned, slow) -> None:
    p = Parts()
    target = fp.TargetNetwork(p.field, tau=0.5)
    actor = Nudged(fp.EulerSampler(target, 2) if slow else p.flow, p.actor)
    losses = [fp.DPGLoss(actor, p.critic)]
    if cloned or slow:  # a target needs its source
        losses.append(fp.FlowMatchingLoss(p.field))
    agent = fp.Agent(policy=actor, losses=losses)
    assert set(agent.networks) == {"actor", "critic", "field" if cloned or slow else "base"}
    assert set(agent.targets) == ({"field"} if slow else set())
    assert list(agent.loss.losses[0].parameters()) == list(p.actor.parameters())
    before = [q.clone() for q in p.field.parameters()]
    agent.double().update(batch().double())
    assert agent.act(torch.randn(4, OBS).double()).dtype == torch.float64
    unchanged = all(
        torch.equal(a.double(), b) for a, b in zip(before, p.field.parameters(), strict=True)
    )
    assert unchanged != (cloned or slow)
    names = [name for name, _ in agent.named_parameters()]
    assert len(names) == len({id(q) for q in agent.parameters()})


def test_a_target_of_an_actor_bootstraps_and_follows() -> None:
    p = Parts()
    slow = fp.TargetNetwork(p.actor, tau=0.5)
    target = fp.TargetNetwork(p.critic)
    losses = [fp.TDLoss(p.critic, target, next_actor=slow), fp.DPGLoss(p.actor, p.critic)]
    agent = fp.Agent(policy=p.actor, losses=losses)
    assert dict(agent.targets) == {"actor": slow, "critic": target}
    assert moved(slow, agent)
