"""An agent owns every network once, by role, and can be copied, saved and cast."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.contracts.factories import ACT, HIDDEN, OBS, equal_trees, transitions

each_variant = pytest.mark.parametrize("variant", VARIANTS)

ROLES = {
    "bam": {"behavior_field", "critic", "field"},
    "bc": {"actor"},
    "cgql": {"critic", "field"},
    "cgql_linex": {"critic", "field"},
    "cgql_mse": {"critic", "field"},
    "dsrl": {"actor", "critic", "entropy_coefficient", "field", "latent_critic"},
    "dac": {"critic", "predictor"},
    "qsm": {"critic", "predictor"},
    "qsm+jump": {"critic", "predictor"},
    "fawac": {"critic", "field", "value"},
    "fbrac": {"critic", "field"},
    "fedit": {"actor", "critic", "entropy_coefficient", "field"},
    "flow_bc": {"field"},
    "fql": {"actor", "critic", "distill_coefficient", "field"},
    "fql+alpha": {"actor", "critic", "field"},
    "fql+dual": {"actor", "critic", "distill_coefficient", "field"},
    "gfp": {"actor", "critic", "field"},
    "gfp+both": {"actor", "critic", "field"},
    "ifql": {"critic", "field", "value"},
    "iql": {"actor", "critic", "value"},
    "iql_ddpg_bc": {"actor", "critic", "value"},
    "qam": {"behavior_field", "critic", "field"},
    "qam_edit": {"actor", "behavior_field", "critic", "entropy_coefficient", "field"},
    "qam_fql": {"actor", "behavior_field", "critic", "field"},
    "qc": {"critic", "field"},
    "rebrac": {"actor", "critic"},
    "rlpd": {"actor", "critic", "entropy_coefficient"},
    "rlpd+bc": {"actor", "critic", "entropy_coefficient"},
    "sac": {"actor", "critic", "entropy_coefficient"},
    "td3_bc": {"actor", "critic"},
}

SLOW = {
    **{name: {"field"} for name in ("cgql", "cgql_linex", "cgql_mse")},
    **{name: {"behavior_field"} for name in ("bam", "qam", "qam_edit", "qam_fql")},
    "dsrl": {"field"},
    **{name: {"actor"} for name in ("rebrac", "td3_bc")},
}
"""Of what, besides critics, a recipe keeps a target."""


# -- roles -------------------------------------------------------------------------------------


@each_variant
def test_roles(variant) -> None:
    agent = small(variant)
    assert set(agent.networks) == ROLES[variant]
    assert set(agent.targets) == {"critic", *SLOW.get(variant, ())} & ROLES[variant]
    prefixes = {".".join(name.split(".")[:2]) for name in agent.state_dict()}
    assert prefixes == {
        *(f"networks.{role}" for role in agent.networks),
        *(f"targets.{role}" for role in agent.targets),
        "loose.losses",
    }
    counts = [id(p) for p in agent.parameters()]
    assert len(counts) == len(set(counts))


@each_variant
def test_the_optimizer_knows_the_parameters_by_name(variant) -> None:
    agent = small(variant)
    groups = agent.optimizer.state_dict()["param_groups"]
    names = [name for group in groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in agent.trained_parameters())


def test_roles_do_not_depend_on_the_order_of_the_losses() -> None:
    agent = small("gfp+both")
    losses = list(agent.loss.losses)
    again = fp.Agent(policy=agent.policy, losses=losses[::-1])
    assert set(again.networks) == set(agent.networks)
    assert all(again.networks[role] is agent.networks[role] for role in agent.networks)


def test_an_actor_that_no_loss_trains_is_owned_too() -> None:
    """A pretrained teacher belongs to the agent, but not to its optimizer."""
    teacher = fp.EulerSampler(fp.VelocityField(OBS, ACT, HIDDEN), steps=2)
    student = fp.OneStepActor(OBS, ACT, HIDDEN)
    agent = fp.Agent(policy=student, losses=[fp.DistillLoss(student, teacher=teacher)])
    assert dict(agent.networks.items()) == {"actor": student, "teacher": teacher}
    assert {name.split(".")[1] for name, _ in agent.trained_parameters()} == {"actor"}


def two_clones(**options) -> fp.Agent:
    first, second = (fp.VelocityField(OBS, ACT, HIDDEN) for _ in range(2))
    named = {"a": first, "b": second} if options.pop("named", False) else None
    return fp.Agent(
        policy=fp.EulerSampler(first),
        losses=[fp.FlowMatchingLoss(first), fp.FlowMatchingLoss(second, name="other", **options)],
        networks=named,
    )


def test_two_networks_in_one_role_are_refused_until_they_are_named() -> None:
    with pytest.raises(fp.ConfigError) as caught:
        two_clones()
    assert str(caught.value) == (
        "Agent: two different networks are called 'field' (VelocityField and VelocityField). "
        "Name them with networks={'my_field': ..., ...}."
    )
    assert list(two_clones(named=True).networks) == ["a", "b"]


@pytest.mark.parametrize("name", ["values", "update", "a.b", ""])
def test_names_that_modules_cannot_hold_are_refused(name) -> None:
    """PyTorch's own error would not say who is called so."""
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    flow, loss = fp.EulerSampler(field), fp.FlowMatchingLoss(field)
    with pytest.raises(fp.ConfigError, match=f"^Agent: a loss is called '{name}'.*with name="):
        fp.Agent(flow, [fp.FlowMatchingLoss(field, name=name)])
    with pytest.raises(fp.ConfigError, match=f"^Agent: a network is called '{name}'.*networks="):
        fp.Agent(flow, [loss], networks={name: field})
    with pytest.raises(fp.ConfigError, match=f"^Agent: an actor is called '{name}'.*actors="):
        fp.Agent(flow, [loss], actors={name: flow})


def test_there_is_one_policy() -> None:
    """Whatever is evaluated and exported under its name is what is deployed."""
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    flow, loss = fp.EulerSampler(field), fp.FlowMatchingLoss(field)
    assert fp.Agent(flow, [loss], actors={"policy": flow}).actors == {"policy": flow}
    with pytest.raises(fp.ConfigError, match="^Agent: actors has another 'policy' than the one"):
        fp.Agent(flow, [loss], actors={"policy": fp.EulerSampler(field)})


def test_a_weight_whose_critics_nobody_trains_asks_for_their_name() -> None:
    field, critic = fp.VelocityField(OBS, ACT, HIDDEN), fp.CriticEnsemble(OBS, ACT, HIDDEN)
    flow = fp.EulerSampler(field, steps=2)
    weight = fp.ValueAwareWeight(critic, critic=critic, reference=flow, temperature=0.1)
    losses = [fp.FlowMatchingLoss(field, weight=weight)]
    with pytest.raises(fp.ConfigError, match=r"a network is called 'values'.*networks=\{'critic'"):
        fp.Agent(flow, losses)
    assert list(fp.Agent(flow, losses, networks={"critic": critic}).networks) == ["critic", "field"]


def test_two_losses_of_one_name_are_refused() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    with pytest.raises(fp.ConfigError) as caught:
        fp.SumLoss([fp.FlowMatchingLoss(field)] * 2, policy=fp.EulerSampler(field))
    assert str(caught.value) == (
        "SumLoss: two losses are named 'flow'; "
        "give one of them another name with name=... in its constructor."
    )


def test_no_losses_are_refused() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    with pytest.raises(fp.ConfigError, match="SumLoss: at least one loss is needed"):
        fp.SumLoss([], policy=fp.EulerSampler(field))


def test_draws_that_contradict_each_other_are_refused() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    losses = [
        fp.FlowMatchingLoss(field),
        fp.FlowMatchingLoss(field, time=fp.BetaTime(1.0, 1.5), name="other"),
    ]
    with pytest.raises(fp.ConfigError) as caught:
        fp.Agent(policy=fp.EulerSampler(field), losses=losses)
    message = str(caught.value)
    assert message.startswith("SumLoss: the losses draw 'time' differently: Draw(shape=(1,), law=")
    assert "law=BetaTime(a=1.0, b=1.5)" in message
    assert "in 'other'" in message
    assert "Give one of them another key with loss.set_keys(" in message
    losses[1].set_keys(time="other_time")
    assert set(fp.SumLoss(losses, policy=fp.EulerSampler(field)).draws()) == {
        "x0",
        "time",
        "other_time",
    }


def test_a_target_of_a_foreign_network_is_refused() -> None:
    critic, stranger = (fp.CriticEnsemble(OBS, ACT, HIDDEN) for _ in range(2))
    actor = fp.OneStepActor(OBS, ACT, HIDDEN)
    loss = fp.TDLoss(critic, fp.TargetNetwork(stranger), next_actor=actor)
    with pytest.raises(
        fp.ConfigError, match="a TargetNetwork follows a CriticEnsemble that no loss"
    ):
        fp.Agent(policy=actor, losses=[loss])


# -- copies, files and casts -------------------------------------------------------------------


def trained(variant: str) -> fp.Agent:
    agent = small(variant)
    for seed in range(2):
        agent.update(transitions(8, seed=seed))
    return agent


@each_variant
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))]
)
def test_a_copy_goes_on_alike_and_apart(variant, duplicate) -> None:
    agent = trained(variant)
    twin = duplicate(agent)
    assert twin.step == agent.step
    assert not {p.data_ptr() for p in twin.parameters()} & {
        p.data_ptr() for p in agent.parameters()
    }
    for seed in range(2):  # noise is drawn by each one's own source
        assert equal_trees(
            agent.update(transitions(8, seed=seed)), twin.update(transitions(8, seed=seed))
        )
    before = {k: v.clone() for k, v in agent.state_dict().items()}
    twin.update(transitions(8, seed=7))
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
    assert twin.policy is twin.loss.actor_network is twin.actors["policy"]


@each_variant
def test_state_dicts_restore_an_agent(variant) -> None:
    agent, fresh = trained(variant), small(variant)
    buffer = io.BytesIO()
    torch.save([agent.state_dict(), agent.optimizer.state_dict(), agent.noise.state_dict()], buffer)
    buffer.seek(0)
    model, optimizer, noise = torch.load(buffer, weights_only=True)
    fresh.load_state_dict(model)
    fresh.optimizer.load_state_dict(optimizer)
    fresh.noise.load_state_dict(noise)
    for seed in range(2):
        assert equal_trees(
            agent.update(transitions(8, seed=seed)), fresh.update(transitions(8, seed=seed))
        )
    for key, value in agent.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[key])


@each_variant
def test_an_agent_can_be_cast_while_it_trains(variant) -> None:
    agent = trained(variant).double()
    metrics = agent.update(transitions(8, dtype=torch.float64))
    assert all(metrics[key].dtype == torch.float64 for key in (*agent.loss.out_keys, "grad_norm"))
    assert all(p.dtype == torch.float64 for p in agent.state_dict().values())
    metrics = agent.to(torch.float32).update(transitions(8))
    assert all(metrics[key].dtype == torch.float32 for key in (*agent.loss.out_keys, "grad_norm"))


def test_it_says_its_losses() -> None:
    agent = trained("fql")
    assert "losses=['qvalue', 'flow', 'distill', 'dpg', 'distill_dual'], step=2" in repr(agent)


# -- noise -------------------------------------------------------------------------------------


def drawn(source: fp.NoiseSource) -> torch.Tensor:
    return source.sample(fp.Draw((2,), fp.GaussianNoise()), torch.zeros(4, OBS))


def test_a_noise_source_goes_on_where_its_state_was_taken() -> None:
    source = fp.NoiseSource(seed=3)
    drawn(source)
    state = source.state_dict()
    expected = [drawn(source), drawn(source)]
    for other in (fp.NoiseSource(), fp.NoiseSource(seed=3)):
        other.load_state_dict(state)
        assert torch.equal(drawn(other), expected[0])
        assert torch.equal(drawn(other), expected[1])
    assert set(state) == {"seed", "generators"}
    assert not torch.equal(*expected)


def test_a_state_on_a_device_serves_generators_that_take_theirs_from_the_host() -> None:
    class Elsewhere(torch.Tensor):
        """Stands in for one that was loaded onto a GPU."""

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    source = fp.NoiseSource(seed=3)
    drawn(source)
    state, expected = source.state_dict(), drawn(source)
    states = {k: v.as_subclass(Elsewhere) for k, v in state["generators"].items()}
    other = fp.NoiseSource()
    other.load_state_dict({"seed": 3, "generators": states})
    assert all(type(each) is torch.Tensor for each in other._states.values())
    assert torch.equal(drawn(other), expected)


def test_a_seed_decides_what_a_noise_source_draws() -> None:
    source = fp.NoiseSource(seed=3)
    first = drawn(source)
    source.seed(3)
    assert torch.equal(drawn(source), first)
    assert not torch.equal(drawn(fp.NoiseSource(seed=4)), first)


def test_what_a_batch_holds_is_not_drawn() -> None:
    agent = small("fql")
    bare = batch_for(agent).exclude(*agent.loss.draws())
    given = {"x0": torch.ones(8, ACT), "time": torch.zeros(8, 1)}
    filled = agent.with_noise(bare.copy().update(given))
    assert all(filled[key] is value for key, value in given.items())
    assert all(filled.get(key) is not None for key in agent.loss.draws())
    assert not set(bare.keys(include_nested=True)) & set(agent.loss.draws())  # not written


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(
        fp.ConfigError, match="a state has the entries 'seed' and 'generators', got"
    ):
        fp.NoiseSource().load_state_dict({"step": 1})


@pytest.mark.parametrize("form", ["eager", "compiled", "stacked"])
def test_a_parameter_without_gradient_is_held(form) -> None:
    agent = small("flow_bc")
    field = agent.networks["field"]
    for parameter in field.net[0].parameters():
        parameter.requires_grad_(False)
    agent = fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)])
    before = [p.clone() for p in field.parameters()]
    batch = batch_for(agent)
    if form == "stacked":
        fp.AgentStack([agent]).update(batch.unsqueeze(0))
    else:
        (agent.compile(backend="eager") if form == "compiled" else agent).update(batch)
    moved = [not torch.equal(a, b) for a, b in zip(before, field.parameters(), strict=True)]
    assert moved == [False, False] + [True] * (len(moved) - 2)


@pytest.mark.parametrize("form", ["eager", "compiled", "stacked"])
def test_what_no_loss_of_an_update_reaches_stays(form) -> None:
    """Adam would move it by its momentum, were its gradient zero and not absent."""
    torch.manual_seed(0)
    critic, actor = fp.CriticEnsemble(OBS, ACT, HIDDEN), fp.TanhGaussianActor(OBS, ACT, HIDDEN)
    losses = [
        fp.TDLoss(critic, fp.TargetNetwork(critic), next_actor=actor),
        fp.DPGLoss(actor.mode, critic),
        fp.EntropyLoss(actor),
    ]
    agent = fp.Agent(actor, losses, every={"entropy": 2})
    batch = batch_for(agent)
    stack = fp.AgentStack([agent]) if form == "stacked" else None
    if form == "compiled":
        agent.compile(backend="eager")
    heads = {name: p for name, p in agent.named_parameters() if "log_std" in name}
    assert heads
    for turn in range(4):
        before = {name: p.clone() for name, p in heads.items()}
        if stack is None:
            agent.update(batch)
        else:
            stack.update(batch.unsqueeze(0))
        for name, parameter in heads.items():
            assert torch.equal(parameter, before[name]) == (turn % 2 == 0), (turn, name)


def test_tensors_are_not_put_in_place_of_those_that_learn() -> None:
    agent = small("flow_bc")
    with pytest.raises(fp.ConfigError, match="assign=True would put other tensors"):
        agent.load_state_dict(agent.state_dict(), assign=True)


def test_an_optimizer_of_many_evaluations_is_refused() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    with pytest.raises(fp.ConfigError, match="LBFGS evaluates the losses several times"):
        fp.Agent(
            fp.EulerSampler(field),
            [fp.FlowMatchingLoss(field)],
            optimizer=lambda named: torch.optim.LBFGS([p for _, p in named]),
        )


@pytest.mark.parametrize("name", ["dsrl", "cgql_mse"])
def test_renaming_an_entry_leaves_what_a_recipe_named_otherwise(name) -> None:
    agent = fp.agents.build(name, OBS, ACT, hidden=HIDDEN)
    before = set(agent.loss.draws())
    renamed = {"noise": "z", "x0": "x", "time": "t"}
    agent.loss.set_keys(**renamed)
    assert set(agent.loss.draws()) == {
        renamed.get(key, key) if isinstance(key, str) else (key[0], renamed.get(key[1], key[1]))
        for key in before
    }


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_no_tangent_passes_what_an_edit_holds_fixed() -> None:
    base = fp.EulerSampler(fp.VelocityField(OBS, ACT, HIDDEN), 2)
    actor = fp.EditActor(base, fp.TanhGaussianActor(OBS + ACT, ACT, HIDDEN), scale=0.1)
    s, noise = torch.randn(4, OBS), torch.randn(4, 2, ACT)
    towards = torch.ones_like(noise)
    towards[:, 1] = 0  # the base's noise alone
    _, tangent = torch.func.jvp(lambda z: actor.raw(s, z), (noise,), (towards,))
    assert (tangent == 0).all()
