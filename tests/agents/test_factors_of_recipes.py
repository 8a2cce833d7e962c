"""Strengths, temperatures and scales of recipes: what a change of one changes, and by how much.

Most recorded updates have a 1 there, which looks the same wherever it stands.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import batch_for, small_options
from tests.contracts.factories import ACT, OBS, noise_for, observations


def built(variant: str, **options: Any) -> fp.Agent:
    """In float64, the same weights every time."""
    torch.manual_seed(0)
    name = variant.partition("+")[0]
    given = small_options(variant, **options)
    if "flow_steps" in given:
        given["flow_steps"] = 2
    return fp.agents.build(name, OBS, ACT, **given).double()


def losses(agent: fp.Agent) -> dict[str, Tensor]:
    out = agent.loss(batch_for(agent).double())
    return {key: value.detach() for key, value in out.items() if key.startswith("loss")}


@pytest.mark.parametrize(
    ("variant", "option", "loss"),
    [
        ("cgql_linex", "noisy_coefficient", "loss_noisy_value"),
        ("cgql_mse", "noisy_coefficient", "loss_noisy_value"),
        ("dac", "alpha", "loss_denoise"),
        ("fbrac", "alpha", "loss_flow"),
        ("fql+alpha", "alpha", "loss_distill"),
        ("gfp", "alpha", "loss_distill"),
        ("iql_ddpg_bc", "alpha", "loss_log_likelihood"),
        ("qam_fql", "alpha", "loss_distill"),
        ("qsm", "alpha", "loss_denoise"),
        ("rebrac", "alpha", "loss_clone"),
        ("rlpd+bc", "alpha", "loss_log_likelihood"),
        ("td3_bc", "alpha", "loss_dpg"),
    ],
)
def test_a_strength_is_the_factor_of_one_loss(variant, option, loss) -> None:
    once, thrice = (losses(built(variant, **{option: value})) for value in (0.5, 1.5))
    assert thrice[loss].abs() > 0
    assert_close(thrice, {**once, loss: 3 * once[loss]})


def test_the_temperature_of_qsm_divides_the_critics_gradient() -> None:
    """Against noise that is predicted as zero, the loss is the square of what it asks for."""
    found = []
    for temperature in (0.5, 1.5):
        agent = built("qsm", temperature=temperature)
        with torch.no_grad():
            for parameter in agent.networks["predictor"].net[-1].parameters():
                parameter.zero_()
        found.append(losses(agent)["loss_score"])
    assert_close(found[0], 9 * found[1])


@pytest.mark.parametrize("name", ["cgql", "cgql_linex", "cgql_mse"])
def test_cgql_adds_its_share_and_divides_the_critics_gradient(name) -> None:
    """In two steps, of which the second is guided, the end is linear in both."""

    def end(guidance: float, temperature: float) -> Tensor:
        policy = built(name, guidance=guidance, temperature=temperature).policy
        return policy.raw(observations(8).double(), noise_for(policy, 8).double())

    assert_close(end(0.6, 0.5) - end(0.0, 0.5), 3 * (end(0.2, 0.5) - end(0.0, 0.5)))
    warm, usual, cold = (end(0.2, temperature) for temperature in (1.0, 0.5, 0.25))
    assert not torch.allclose(warm, usual)
    assert_close(cold - usual, 2 * (usual - warm))


def test_the_soft_maximum_of_cgql_linex_has_the_temperature_of_its_guidance() -> None:
    """Of targets of 0.3 and values of 0: ``c e^(0.3 / eta)``."""
    for temperature in (0.2, 2.0):
        agent = built("cgql_linex", temperature=temperature, noisy_coefficient=0.7)
        with torch.no_grad():
            for critics, value in (
                (agent.networks["critic"], 0.0),
                (agent.targets["critic"].network, 0.3),
            ):
                critics.net[-1].weight.zero_()
                critics.net[-1].bias.fill_(value)
        expected = 0.7 * torch.tensor(0.3 / temperature).double().exp()
        assert_close(losses(agent)["loss_noisy_value"], expected)


def test_the_policy_of_dsrl_and_its_critics_scale_the_noise_alike() -> None:
    agent = built("dsrl", noise_scale=0.7)
    s, z = observations(8).double(), noise_for(agent.policy, 8).double()
    chosen = 0.7 * agent.networks["actor"].act(s, z)
    assert_close(agent.policy.act(s, z), agent.actors["flow"].act(s, chosen))
    batch = batch_for(agent).double().update({"observation": s, "noise": z})
    worth = agent.networks["latent_critic"].values(s, chosen).mean()
    assert_close(agent.loss(batch)["loss_dpg"], -worth)


@pytest.mark.parametrize(("std", "added"), [(0.03, 0.03), (5.0, 0.1)])
@pytest.mark.parametrize("name", ["rebrac", "td3_bc"])
def test_exploration_and_target_have_the_noise_that_is_given(name, std, added) -> None:
    plain = {"critic_alpha": 0.0} if name == "rebrac" else {}  # no penalty in the next value
    agent = built(name, noise=std, noise_clip=0.1, **plain)
    batch = batch_for(agent).double()
    s, ones = batch["next", "observation"], torch.ones(8, ACT).double()
    still = torch.empty(8, 0).double()
    acts = (agent.networks["actor"].act(s, still) + added).clamp(-1, 1)
    assert_close(agent.policy.act(s, ones), acts)
    batch["next", "noise"] = ones
    following = (agent.targets["actor"].act(s, still) + added).clamp(-1, 1)
    worth = agent.targets["critic"].values(s, following).amin(0).mean()
    assert_close(agent.loss(batch)["qvalue_next"], worth)
