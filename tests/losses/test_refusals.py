"""Losses and what belongs to them refuse combinations that cannot work."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict

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


def test_a_copy_that_follows_is_not_trained() -> None:
    p = Parts()
    for actor in (
        fp.TargetNetwork(p.actor),
        fp.NoisyActor(fp.TargetNetwork(fp.DeterministicActor(OBS, ACT, HIDDEN))),
    ):
        with pytest.raises(fp.ConfigError, match="requires gradient, so nothing would be trained"):
            fp.DPGLoss(actor, p.critic)


def test_a_weight_of_another_shape_is_refused() -> None:
    class Flat(fp.Weight):
        def compute(self, evaluated):
            return evaluated.action(Parts().field).sum(-1)

    with pytest.raises(fp.ShapeError, match=r"Flat: a weight must be \[8, 1\] here, got \[8\]"):
        fp.FlowMatchingLoss(Parts().field, weight=Flat())(transitions(8))
