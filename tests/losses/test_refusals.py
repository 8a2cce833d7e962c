"""Losses and what belongs to them refuse combinations that cannot work."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from torch import nn

import flowpolicy as fp
from tests.contracts.factories import ACT, HIDDEN, OBS, Parts, transitions, with_noise


def test_td_needs_exactly_one_way_to_bootstrap() -> None:
    p = Parts()
    for options in (
        {},
        {"target": p.target},
        {"next_actor": p.actor},
        {"target": p.target, "next_actor": p.actor, "next_value": p.value},
        {"target": p.target, "next_value": p.value},
        {"target": p.target, "next_actor": ()},
    ):
        with pytest.raises(
            fp.ConfigError, match="TDLoss: bootstrap either from target=TargetNetwork"
        ):
            fp.TDLoss(p.critic, **options)


@pytest.mark.parametrize("discount", [-0.1, 1.1, math.nan])
def test_an_impossible_discount_is_refused(discount) -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match=r"TDLoss: discount must be in \[0, 1\]"):
        fp.TDLoss(p.critic, next_value=p.value, discount=discount)


@pytest.mark.parametrize("expectile", [0.0, 1.0, math.nan])
def test_an_impossible_expectile_is_refused(expectile) -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match=r"ExpectileLoss: expectile must be in \(0, 1\)"):
        fp.ExpectileLoss(p.value, p.target, expectile=expectile)


def test_student_and_teacher_of_different_noise_are_refused() -> None:
    p = Parts()
    with pytest.raises(
        fp.ConfigError, match=r"actor's noise_shape is \(2,\) and the teacher's \(\d+, 2\)"
    ):
        fp.DistillLoss(p.actor, teacher=p.best_of)
    sizes = r"different sizes: actor .*act_dim=2; teacher .*act_dim=3"
    with pytest.raises(fp.ConfigError, match=sizes):
        fp.DistillLoss(p.actor, teacher=fp.OneStepActor(OBS, ACT + 1, HIDDEN))


@pytest.mark.parametrize(
    ("key", "shape"),
    [("time", (8,)), ("time", (8, 2)), ("time", (1, 1)), ("x0", (8, 3)), ("action", (1, 2))],
)
def test_draws_and_actions_that_would_broadcast_are_refused(key, shape) -> None:
    loss = fp.FlowMatchingLoss(fp.VelocityField(OBS, ACT, HIDDEN))
    batch = dict(with_noise(transitions(8), loss.draws()).items())
    batch[key] = torch.zeros(shape)
    with pytest.raises(fp.ShapeError, match=f"'?{key}'? must be "):
        loss(**{name: batch[name] for name in loss.in_keys})


@pytest.mark.parametrize("key", ["reward", "terminated"])
def test_rewards_without_their_last_dimension_are_refused(key) -> None:
    p = Parts()
    loss = fp.TDLoss(p.critic, next_value=p.value)
    batch = transitions(8)
    batch["next", key] = batch["next", key].squeeze(-1)
    with pytest.raises(fp.ShapeError, match=rf"{key}.*must be \[\*B, 1\], got \[8\]"):
        loss(batch)


def test_in_keys_follow_from_the_names() -> None:
    loss = fp.FlowMatchingLoss(fp.VelocityField(OBS, ACT, HIDDEN))
    with pytest.raises(fp.ConfigError, match="in_keys follow from the key names.*Use set_keys"):
        loss.in_keys = ["observation"]
    loss.set_keys(observation=("agent", "obs"))
    assert loss.in_keys == [("agent", "obs"), "action", "x0", "time"]


def test_a_polyak_updater_needs_a_target_and_moves_it() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="PolyakUpdater: DistillLoss reads no TargetNetwork"):
        fp.PolyakUpdater(fp.DistillLoss(p.actor, teacher=p.flow))
    updater = fp.PolyakUpdater(fp.TDLoss(p.critic, p.target, next_actor=p.actor))
    before = p.target.network.net[0].weight.clone()
    updater.step()
    assert_moved = before + 0.005 * (p.critic.net[0].weight - before)
    torch.testing.assert_close(p.target.network.net[0].weight, assert_moved.detach())


def test_renaming_for_all_losses_at_once() -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=HIDDEN, flow_steps=2)
    batch = with_noise(transitions(8), agent.loss.draws())
    expected = agent.loss(batch)
    agent.loss.set_keys(observation="state")
    batch.rename_key_("observation", "state")
    batch["next"].rename_key_("observation", "state")
    for key, value in agent.loss(batch).items():
        assert torch.equal(value, expected[key])


def test_next_actors_with_and_without_noise_bootstrap_together() -> None:
    p = Parts()
    loss = fp.TDLoss(p.critic, p.target, next_actor=(p.deterministic, p.flow))
    assert loss.draws() == {("next", "noise"): p.flow.noise_draw}
    assert loss(transitions(8))["loss_qvalue"].isfinite()


def test_an_observation_of_several_entries_is_refused() -> None:
    batch = transitions(8)
    batch["observation"] = TensorDict(position=torch.zeros(8, 3), batch_size=[8])
    with pytest.raises(fp.DtypeError, match="'observation' must be a torch.Tensor, got TensorDict"):
        fp.FlowMatchingLoss(Parts().field)(batch)


HELD = {
    "target": fp.TargetNetwork,
    "frozen": fp.frozen,
    "without gradient": lambda network: copy.deepcopy(network).requires_grad_(False),
}
TRAINED = {
    "TDLoss": lambda p, held: fp.TDLoss(held(p.critic), next_value=p.value),
    "FlowMatchingLoss": lambda p, held: fp.FlowMatchingLoss(held(p.field)),
    "ExpectileLoss": lambda p, held: fp.ExpectileLoss(held(p.value), p.target),
    "ValueLoss": lambda p, held: fp.ValueLoss(held(p.value), p.target),
    "NoisyValueLoss": lambda p, held: fp.NoisyValueLoss(held(p.noisy), p.target),
    "NoiseMatchingLoss": lambda p, held: fp.NoiseMatchingLoss(held(p.predictor)),
    "LatentValueLoss": lambda p, held: fp.LatentValueLoss(held(p.latent), p.critic, p.flow),
    "AdjointMatchingLoss": lambda p, held: fp.AdjointMatchingLoss(
        held(p.field), p.behavior, p.critic, temperature=1.0
    ),
    "DPGLoss": lambda p, held: fp.DPGLoss(held(p.actor), p.critic),
}


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("name", TRAINED)
def test_what_no_optimizer_would_move_is_not_trained(name, held) -> None:
    told = rf"^{name}: no parameter of \w+ \(.*\) requires gradient, so nothing would be trained"
    with pytest.raises(fp.ConfigError, match=told):
        TRAINED[name](Parts(), HELD[held])


def test_an_actor_is_trained_for_its_own_parameters() -> None:
    slow = fp.NoisyActor(fp.TargetNetwork(fp.DeterministicActor(OBS, ACT, HIDDEN)))
    with pytest.raises(fp.ConfigError, match=r"of actor \(DeterministicActor\) requires"):
        fp.DPGLoss(slow, Parts().critic)
    with pytest.raises(fp.ConfigError, match=r"of actor \(GaussianActor\) requires"):
        fp.LogLikelihoodLoss(Parts().gaussian.requires_grad_(False))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda p: fp.FlowMatchingLoss(p.field, weight="advantage"),
            "FlowMatchingLoss: weight must be a Weight, got 'advantage'",
        ),
        (
            lambda p: fp.LogLikelihoodLoss(p.gaussian, weight=p.critic),
            "LogLikelihoodLoss: weight must be a Weight, got CriticEnsemble",
        ),
        (
            lambda p: fp.TDLoss(p.critic, p.target, next_actor=p.actor, penalty=0.5),
            "TDLoss: penalty must be a NextActionPenalty, got 0.5",
        ),
        (
            lambda p: fp.FlowMatchingLoss(p.field, fp.LinearPath),
            "FlowMatchingLoss: path must be a Path, got the class LinearPath itself",
        ),
        (
            lambda p: fp.FlowMatchingLoss(p.field, time=0.5),
            "FlowMatchingLoss: time must be a Law, got 0.5",
        ),
        (
            lambda p: fp.NoisyValueLoss(p.noisy, p.target, path=fp.CosineSchedule()),
            "NoisyValueLoss: path must be a Path, got CosineSchedule",
        ),
        (
            lambda p: fp.NoisyValueLoss(p.noisy, p.target, time="uniform"),
            "NoisyValueLoss: time must be a Law, got 'uniform'",
        ),
        (
            lambda p: fp.NoiseMatchingLoss(p.predictor, schedule="cosine"),
            "NoiseMatchingLoss: schedule must be a Schedule, got 'cosine'",
        ),
        (
            lambda p: fp.NoiseMatchingLoss(p.predictor, time=3),
            "NoiseMatchingLoss: time must be a Law, got 3",
        ),
    ],
)
def test_what_a_loss_is_told_is_of_its_kind(make, told) -> None:
    with pytest.raises(fp.ConfigError, match=f"^{told}"):
        make(Parts())


# -- functions and networks of one's own -------------------------------------------------------


def weighed(p: Parts, **options) -> fp.ValueAwareWeight:
    options = {"reference": (p.actor, p.flow), "temperature": 1.0, **options}
    return fp.ValueAwareWeight(p.target, critic=p.critic, **options)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (torch.min, r"\[\]"),
        (torch.mean, r"\[\]"),
        (lambda values: values, r"\[2, 3, 1\]"),
        (lambda values: values.mean(-1), r"\[2, 3\]"),
        (lambda values: values.min(dim=0), ".*return_types.min.*"),
    ],
)
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p, f: fp.DPGLoss(p.actor, p.critic, aggregation=f), "DPGLoss: aggregation"),
        (lambda p, f: weighed(p, aggregation=f), "ValueAwareWeight: aggregation"),
        (lambda p, f: weighed(p, combine=f), "ValueAwareWeight: combine"),
        (lambda p, f: fp.BestOf(p.actor, p.critic, aggregation=f), "BestOf: aggregation"),
        (
            lambda p, f: fp.TDLoss(p.critic, p.target, next_actor=(p.actor, p.flow), combine=f),
            "TDLoss: combine",
        ),
    ],
)
def test_a_function_that_mixes_the_rows_is_refused(make, told, function, got) -> None:
    reduces = r"must reduce the first dimension alone, of values \[2, 3, 1\] to \[3, 1\]"
    with pytest.raises(fp.ConfigError, match=f"{told} {reduces}, but gave {got}. Pass fp.min"):
        make(Parts(), function)


def test_a_function_of_ones_own_is_tried_on_as_many_values_as_there_are() -> None:
    p = Parts()
    critic = fp.CriticEnsemble(OBS, ACT, HIDDEN, size=5).double()
    weights = torch.linspace(0, 1, 5, dtype=torch.float64).view(5, 1, 1)
    fp.DPGLoss(p.actor, critic, aggregation=lambda values: (weights * values).sum(0))
    fp.TDLoss(p.critic, critic, next_actor=p.actor, aggregation=lambda values: values[4])
    fp.TDLoss(p.critic, p.target, next_actor=p.actor, combine=lambda values: values.squeeze(0))


@pytest.mark.parametrize("make", [fp.DPGLoss, lambda *_, **options: weighed(Parts(), **options)])
def test_a_scale_is_one_number(make) -> None:
    p = Parts()
    part = make(p.actor, p.critic, scale=torch.abs)
    loss = part if isinstance(part, fp.Loss) else fp.FlowMatchingLoss(p.field, weight=part)
    name = type(part).__name__
    told = rf"{name}: scale must give one number \[\] for the whole batch, got \[8, 1\]"
    with pytest.raises(fp.ShapeError, match=told):
        loss(transitions(8))


class OwnCritic(nn.Module):
    """One critic of a user's own, without the axis of an ensemble."""

    obs_dim, act_dim, size = OBS, ACT, 2

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(OBS + ACT, 1)

    def values(self, observation, action, _time=None):
        return self.net(torch.cat([observation, action], dim=-1))

    values_at = values
    velocity = values  # of one dimension, where the action has two


class OwnValue(nn.Module):
    """A state value of a user's own, without the dimension of per-sample scalars."""

    obs_dim = OBS

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(OBS, 1)

    def values(self, observation):
        return self.net(observation).squeeze(-1)


class OwnActor(fp.Actor):
    def raw(self, observation, noise):
        return noise[..., :1]


class OwnLoss(fp.ActorLoss):
    of_data_action = True

    def __init__(self, actor):
        super().__init__(actor, "own", coefficient=1.0, reduction="mean")

    def per_sample(self, evaluated):
        return evaluated.raw_action(self.actor).square().mean(-1), {}


CRITIC_TOLD = r"OwnCritic: values must give \[E, 8, 1\] here, got \[8, 1\]. A single critic keeps"
VALUE_TOLD = r"OwnValue: values must give \[8, 1\] here, got \[8\]. Per-sample scalars keep a last"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: fp.TDLoss(OwnCritic(), next_value=p.value), CRITIC_TOLD),
        (
            lambda p: fp.TDLoss(
                p.critic, fp.TargetNetwork(OwnCritic()), next_actor=p.deterministic
            ),
            r"OwnCritic: values must give \[E, 1, 8, 1\] here, got \[1, 8, 1\]",
        ),
        (
            lambda p: fp.DPGLoss(p.actor, OwnCritic()),
            r"OwnCritic: values must give \[E, 1, 1\] here, got \[1, 1\]",
        ),
        (
            lambda p: fp.FlowMatchingLoss(
                p.field,
                weight=fp.ValueAwareWeight(
                    OwnCritic(), critic=p.critic, reference=p.actor, temperature=1.0
                ),
            ),
            CRITIC_TOLD,
        ),
        (lambda p: fp.LatentValueLoss(OwnCritic(), p.critic, p.flow), CRITIC_TOLD),
        (lambda p: fp.LatentValueLoss(p.latent, OwnCritic(), p.flow), CRITIC_TOLD),
        (
            lambda p: fp.NoisyValueLoss(OwnCritic(), p.target),
            r"OwnCritic: values_at must give \[E, 8, 1\] here, got \[8, 1\]",
        ),
        (
            lambda p: fp.FlowMatchingLoss(OwnCritic()),
            r"OwnCritic: velocity must give \[8, 2\] here, got \[8, 1\]",
        ),
        (
            lambda p: fp.DistillLoss(p.actor, OwnActor(OBS, ACT)),
            r"OwnActor: raw must give \[8, 2\] here, got \[8, 1\]",
        ),
        (lambda p: fp.ExpectileLoss(OwnValue(), p.target), VALUE_TOLD),
        (lambda p: fp.TDLoss(p.critic, next_value=OwnValue()), VALUE_TOLD),
        (lambda p: OwnLoss(p.actor), r"OwnLoss: per_sample must give \[8, 1\] here, got \[8\]"),
    ],
)
def test_what_a_network_of_ones_own_gives_does_not_broadcast(make, told) -> None:
    batch = transitions(8)
    batch["valid"] = torch.ones(8, 1, dtype=torch.bool)
    with pytest.raises(fp.ShapeError, match=told):
        make(Parts())(batch)


def test_a_weight_of_another_shape_is_refused() -> None:
    class Flat(fp.Weight):
        def compute(self, evaluated):
            return evaluated.action(Parts().field).sum(-1)

    with pytest.raises(fp.ShapeError, match=r"Flat: a weight must be \[8, 1\] here, got \[8\]"):
        fp.FlowMatchingLoss(Parts().field, weight=Flat())(transitions(8))


def test_a_critic_that_hides_the_action_is_not_climbed() -> None:
    class Detached(OwnCritic):
        def values(self, observation, action, _time=None):
            return super().values(observation, action.detach()).unsqueeze(0)

    with pytest.raises(fp.ConfigError, match="DPGLoss: critic must be differentiable in the act"):
        fp.DPGLoss(Parts().actor, Detached())


@pytest.mark.parametrize("shape", [(8, 2), (4, 2), (1,)])
def test_a_row_has_one_priority_weight(shape) -> None:
    batch = transitions(8)
    batch.batch_size = []
    batch["priority_weight"] = torch.ones(shape)
    told = rf"'priority_weight' must be \[8\], a weight for each row, got \{list(shape)}"
    with pytest.raises(fp.ShapeError, match=told):
        fp.FlowMatchingLoss(Parts().field)(batch)


def test_draws_that_contradict_each_other_are_told_with_the_name_to_change() -> None:
    p = Parts()
    losses = [
        cls(p.field, p.behavior, p.critic, temperature=1.0, steps=steps)
        for cls, steps in ((fp.AdjointMatchingLoss, 3), (fp.BasicAdjointMatchingLoss, 4))
    ]
    with pytest.raises(fp.ConfigError, match=r"with loss.set_keys\(path_noise=...\)\."):
        fp.SumLoss(losses, p.flow)
    td = [
        fp.TDLoss(p.critic, p.target, next_actor=actor, name=actor.name)
        for actor in (p.flow, p.best_of)
    ]
    with pytest.raises(fp.ConfigError, match=r"'next', 'noise'.* loss.set_keys\(noise=...\)\."):
        fp.SumLoss(td, p.flow)
