"""GFP's weight: who is compared with whom."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from tests.contracts.factories import Parts, noise_for, observations, transitions

COMBINE = {"min": fp.min_value, "mean": fp.mean_value, "max": fp.max_value}


def expected(p: Parts, option: str, s, a, z, *, temperature: float, aggregation) -> torch.Tensor:
    """Section by section: lambda from online critics on the actor, everything else by targets."""
    actor, flow = p.actor.act(s, z), p.flow.act(s, z)
    scale = 1 / aggregation(p.critic.values(s, actor)).abs().mean()
    by_policy = {
        "actor": aggregation(p.target.values(s, actor)),
        "flow": aggregation(p.target.values(s, flow)),
    }
    both = torch.stack([by_policy["actor"], by_policy["flow"]])
    reference = by_policy[option] if option in by_policy else COMBINE[option](both)
    value = aggregation(p.target.values(s, a))
    return torch.sigmoid(scale / temperature * (value - reference))


@pytest.mark.parametrize("aggregation", [fp.mean_value, fp.min_value])
@pytest.mark.parametrize("option", ["actor", "flow", "min", "mean", "max"])
def test_all_five_references(option, aggregation) -> None:
    p = Parts()
    s, z = observations(16), noise_for(p.actor, 16)
    a = torch.rand(16, 2) * 2 - 1
    references = {"actor": p.actor, "flow": p.flow}.get(option, (p.actor, p.flow))
    weight = fp.ValueAwareWeight(
        p.target,
        critic=p.critic,
        reference=references,
        temperature=0.1,
        actor=p.actor,
        combine=COMBINE.get(option, fp.mean_value),
        aggregation=aggregation,
    )
    given = expected(p, option, s, a, z, temperature=0.1, aggregation=aggregation)
    assert_close(weight.weight(s, a, z), given.detach(), rtol=1e-5, atol=1e-6)


def test_a_random_reference_beside_an_actor_without_noise_has_its_noise_drawn() -> None:
    p = Parts()
    weight = fp.ValueAwareWeight(
        p.target, critic=p.critic, reference=p.flow, temperature=0.1, actor=p.deterministic
    )
    loss = fp.FlowMatchingLoss(p.field, weight=weight)
    assert loss.draws()["noise"] == p.flow.noise_draw
    assert loss(transitions(8))["loss_flow"].isfinite()


def test_an_infinite_temperature_weighs_all_alike() -> None:
    p = Parts()
    weight = fp.ValueAwareWeight(p.target, critic=p.critic, reference=p.actor, temperature=1e30)
    assert (weight.weight(observations(8), torch.rand(8, 2), noise_for(p.actor, 8)) == 0.5).all()


def test_no_reference_and_no_temperature_are_refused() -> None:
    p = Parts()
    with pytest.raises(fp.ConfigError, match="ValueAwareWeight: reference is empty"):
        fp.ValueAwareWeight(p.target, critic=p.critic, reference=(), temperature=0.1)
    with pytest.raises(
        fp.ConfigError, match="For no weighting pass weight=None to FlowMatchingLoss"
    ):
        fp.ValueAwareWeight(p.target, critic=p.critic, reference=p.actor, temperature=0.0)


def test_advantage_weight_by_hand() -> None:
    p = Parts()
    s, a = observations(8), torch.rand(8, 2)
    weight = fp.AdvantageWeight(
        p.critic, p.value, temperature=0.5, maximum=2.0, aggregation=fp.min_value
    )
    advantage = p.critic.values(s, a).amin(0) - p.value.values(s)
    assert_close(weight.weight(s, a), (advantage / 0.5).exp().clamp_max(2.0).detach())


@pytest.mark.parametrize("maximum", [0.5, float("inf")])
def test_an_impossible_maximum_is_refused(maximum) -> None:
    p = Parts()
    with pytest.raises(
        fp.ConfigError, match="AdvantageWeight: maximum must be finite and at least 1"
    ):
        fp.AdvantageWeight(p.critic, p.value, temperature=1.0, maximum=maximum)


def test_it_reads_what_it_says() -> None:
    p = Parts()
    asking = fp.ValueAwareWeight(p.target, critic=p.critic, reference=p.actor, temperature=0.1)
    plain = fp.AdvantageWeight(p.critic, p.value, temperature=1.0)
    assert asking.in_keys == ["observation", "action", "noise"]
    assert plain.in_keys == ["observation", "action"]
    with pytest.raises(fp.ConfigError, match="AdvantageWeight: in_keys are fixed .*weight.weight"):
        plain.in_keys = ["state", "action"]


@pytest.mark.parametrize("rows", [(5,), (1,), (4, 1), ()])
def test_observations_and_actions_of_other_rows_are_refused(rows) -> None:
    weight = fp.AdvantageWeight(Parts().critic, Parts().value, temperature=1.0)
    with pytest.raises(fp.ShapeError, match=r"'action' must be \[4, 2\] to go with 'observation'"):
        weight.weight(observations(4), torch.zeros(*rows, 2))
