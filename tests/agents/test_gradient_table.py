"""Who trains whom, and who is asked how often."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import flowpolicy as fp
from tests.agents.recipes import STEPS, VARIANTS, batch_for, small

CRITIC = {"loss_qvalue": {"critic"}}
CLONE = {"loss_flow": {"field"}}
COPY = {"loss_flow": {"behavior_field"}}
DPG = {"loss_dpg": {"actor"}}
ACTOR = {"loss_distill": {"actor"}} | DPG
LIKELY = {"loss_log_likelihood": {"actor"}}
ENTROPY = {"loss_entropy": {"actor"}, "loss_entropy_dual": {"entropy_coefficient"}} | DPG
DIFFUSION = {"loss_denoise": {"predictor"}, "loss_score": {"predictor"}}
TRAINS: dict[str, dict[str, set[str]]] = {
    "bam": CRITIC | COPY | {"loss_basic_adjoint": {"field"}},
    "bc": LIKELY,
    "cgql": CRITIC | CLONE,
    "cgql_linex": CRITIC | CLONE | {"loss_noisy_value": {"critic"}},
    "cgql_mse": CRITIC | CLONE | {"loss_noisy_value": {"critic"}},
    "dsrl": CRITIC | CLONE | ENTROPY | {"loss_latent_value": {"latent_critic"}},
    "dac": CRITIC | DIFFUSION,
    "qsm": CRITIC | DIFFUSION,
    "qsm+jump": CRITIC | DIFFUSION,
    "fawac": CRITIC | CLONE | {"loss_value": {"value"}},
    "fbrac": CRITIC | CLONE | {"loss_dpg": {"field"}},
    "fedit": CRITIC | CLONE | ENTROPY,
    "flow_bc": CLONE,
    "fql": CRITIC | CLONE | ACTOR | {"loss_distill_dual": {"distill_coefficient"}},
    "fql+alpha": CRITIC | CLONE | ACTOR,
    "fql+dual": CRITIC | CLONE | ACTOR | {"loss_distill_dual": {"distill_coefficient"}},
    "gfp": CRITIC | CLONE | ACTOR,
    "gfp+both": CRITIC | CLONE | ACTOR,
    "ifql": CRITIC | CLONE | {"loss_value": {"value"}},
    "iql": CRITIC | LIKELY | {"loss_value": {"value"}},
    "iql_ddpg_bc": CRITIC | LIKELY | DPG | {"loss_value": {"value"}},
    "qam": CRITIC | COPY | {"loss_adjoint": {"field"}},
    "qam_edit": CRITIC
    | COPY
    | {"loss_adjoint": {"field"}, "loss_dpg": {"actor"}, "loss_entropy": {"actor"}}
    | {"loss_entropy_dual": {"entropy_coefficient"}},
    "qam_fql": CRITIC | COPY | ACTOR | {"loss_adjoint": {"field"}},
    "qc": CRITIC | CLONE,
    "rebrac": CRITIC | DPG | {"loss_clone": {"actor"}},
    "rlpd": CRITIC | ENTROPY,
    "rlpd+bc": CRITIC | ENTROPY | LIKELY,
    "sac": CRITIC | ENTROPY,
    "td3_bc": CRITIC | DPG | {"loss_clone": {"actor"}},
}
"""Gradient arrives at these networks; at every other it is exactly zero."""

PATH = {"behavior_field": 1, "slow behavior_field": STEPS + STEPS}
"""Every point of the paths, and every step of the adjoints."""

ASKED: dict[str, dict[str, int]] = {
    # the field: next action, and every step of the paths but the last, which is the clone's
    "bam": {
        "field": STEPS + STEPS - 1,
        "behavior_field": 1,
        "slow behavior_field": STEPS,
        "critic": 2,
        "target": 1,
    },
    "bc": {"actor": 1},
    # the critic: data action, noisy action, and the guide of every step but the first
    "cgql": {"field": 1, "slow field": STEPS, "critic": 1 + STEPS - 1, "target": 1},
    "cgql_linex": {"field": 1, "slow field": STEPS, "critic": 2 + STEPS - 1, "target": 2},
    "cgql_mse": {"field": 1, "slow field": STEPS, "critic": 2 + STEPS - 1, "target": 2},
    "dsrl": {
        "field": 1,
        "slow field": 2 * STEPS,
        "actor": 2,
        "critic": 2,
        "latent_critic": 2,
        "target": 1,
    },
    # the predictor: once for both of its losses, and at every step
    "dac": {"predictor": 1 + STEPS, "critic": 1, "target": 2},
    "qsm": {"predictor": 1 + STEPS, "critic": 1, "target": 2},
    "qsm+jump": {"predictor": 1 + STEPS, "critic": 1, "target": 2},
    # the target: next action, data action; the weight asks nobody anew
    "fawac": {"field": 1 + STEPS, "critic": 1, "target": 2, "value": 1},
    # the field: once to be trained, and at every step of every action that a flow generates
    "fbrac": {"field": 1 + STEPS + STEPS, "critic": 2, "target": 1},
    "fedit": {"field": 1 + STEPS + STEPS, "actor": 2, "critic": 2, "target": 1},
    "flow_bc": {"field": 1},
    "fql": {"field": 1 + STEPS, "actor": 2, "critic": 2, "target": 1},
    "fql+alpha": {"field": 1 + STEPS, "actor": 2, "critic": 2, "target": 1},
    "fql+dual": {"field": 1 + STEPS, "actor": 2, "critic": 2, "target": 1},
    # the target: next action, data action, reference action
    "gfp": {"field": 1 + STEPS, "actor": 2, "critic": 2, "target": 3},
    "gfp+both": {"field": 1 + STEPS + STEPS, "actor": 2, "critic": 2, "target": 4},
    "ifql": {"field": 1, "critic": 1, "target": 1, "value": 2},
    "iql": {"actor": 1, "critic": 1, "target": 1, "value": 2},
    "iql_ddpg_bc": {"actor": 1, "critic": 2, "target": 1, "value": 2},
    # the target: next action, and the slope at the end of the paths
    "qam": {"field": STEPS + STEPS, **PATH, "critic": 1, "target": 2},
    # the field: next action, paths, regression, and the action that is edited
    "qam_edit": {"field": 3 * STEPS, **PATH, "actor": 2, "critic": 2, "target": 2},
    "qam_fql": {"field": STEPS + STEPS, **PATH, "actor": 2, "critic": 2, "target": 2},
    # the critic: data action, and the choice of the next
    "qc": {"field": 1 + STEPS, "critic": 2, "target": 1},
    "rebrac": {"actor": 1, "slow actor": 1, "critic": 2, "target": 1},
    "rlpd": {"actor": 2, "critic": 2, "target": 1},
    "rlpd+bc": {"actor": 2, "critic": 2, "target": 1},
    "sac": {"actor": 2, "critic": 2, "target": 1},
    "td3_bc": {"actor": 1, "slow actor": 1, "critic": 2, "target": 1},
}
"""How often one update evaluates each network; both actors' next actions are valued in one call."""


def test_the_tables_are_complete() -> None:
    assert {name.partition("+")[0] for name in VARIANTS} == set(fp.agents.RECIPES)
    assert set(TRAINS) == set(ASKED) == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_arrives_exactly_where_it_should(variant) -> None:
    agent = small(variant)
    out = agent.loss(batch_for(agent))
    losses = {key for key in out.keys() if key.startswith("loss_")}  # noqa: SIM118
    assert losses == set(TRAINS[variant])
    networks = {**agent.networks, **{f"target {k}": v for k, v in agent.targets.items()}}
    for key in losses:
        reached = set()
        for network in networks.values():
            network.requires_grad_(True)  # even a target's would show
        out = agent.loss(batch_for(agent))
        for role, network in networks.items():
            gradients = torch.autograd.grad(
                out[key], list(network.parameters()), retain_graph=True, allow_unused=True
            )
            if any(g is not None and g.abs().sum() > 0 for g in gradients):
                reached.add(role)
        assert reached == TRAINS[variant][key], key


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trained_parameter_gets_gradient(variant) -> None:
    agent = small(variant)
    agent.update(batch_for(agent))
    for name, parameter in agent.trained_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    trained = {name for name, _ in agent.trained_parameters()}
    assert trained == {f"networks.{name}" for name, _ in agent.networks.named_parameters()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_network_is_asked_twice(variant, monkeypatch) -> None:
    agent = small(variant)
    roles = {id(network): role for role, network in agent.networks.items()}
    roles |= {
        id(target.network): "target" if role == "critic" else f"slow {role}"
        for role, target in agent.targets.items()
    }
    calls: Counter[str] = Counter()
    inputs: Counter[tuple[object, ...]] = Counter()

    def counted(cls: type, method: str) -> None:
        original = getattr(cls, method)

        def wrapper(self, *args):
            calls[roles[id(self)]] += 1
            inputs[id(self), *(str(x.tolist()) for x in args)] += 1
            return original(self, *args)

        monkeypatch.setattr(cls, method, wrapper)

    counted(fp.VelocityField, "velocity")
    counted(fp.OneStepActor, "raw")
    counted(fp.DeterministicActor, "raw")
    counted(fp.GaussianActor, "distribution")
    counted(fp.TanhGaussianActor, "distribution")
    counted(fp.CriticEnsemble, "values")
    counted(fp.NoisyCriticEnsemble, "values_at")
    counted(fp.NoisePredictor, "predict")
    counted(fp.ValueNetwork, "values")
    agent.update(batch_for(agent))
    assert dict(calls) == ASKED[variant]
    assert max(inputs.values()) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_order_of_the_losses_does_not_matter(variant) -> None:
    agent = small(variant)
    batch = batch_for(agent)
    losses = list(agent.loss.losses)
    expected = agent.loss(batch)
    for order in (losses[::-1], losses[1:] + losses[:1]):
        out = fp.SumLoss(order, policy=agent.policy)(batch)
        assert set(out.keys()) == set(expected.keys())
        for key, value in expected.items():
            assert torch.equal(out[key], value), key
            assert out[key].requires_grad == value.requires_grad


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loss_alone_gives_what_it_gives_among_others(variant) -> None:
    agent = small(variant)
    batch = batch_for(agent)
    together = agent.loss(batch)
    for loss in agent.loss.losses:
        for key, value in loss(batch).items():
            assert torch.equal(value, together[key]), key
