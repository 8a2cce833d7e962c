"""No option of a recipe is ignored, nor by one of several parts that share it.

The effect that every option has would be there as soon as one part got it. What several parts share
is looked at below, part by part, and by recorded updates (tests/golden), equations
(test_recipes_by_hand.py), factors (test_factors_of_recipes.py) and for what acts by
test_deployed_actors.py. ``horizon`` is left to test_chunked_recipes.py, defaults to
test_recipe_defaults.py.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import batch_for, shaken, small_options
from tests.contracts.factories import ACT, OBS, noise_for, observations

OPTIONS = {name: fp.agents.recipe_options(name) for name in fp.agents.RECIPES}

BOTH = fp.Blend(("actor", "flow"))
COMBINED = (fp.min_value, fp.mean_value, fp.max_value)
OTHERS: dict[str, Any] = {
    "aggregation": fp.max_value,
    "bootstrap": BOTH,
    "bootstrap_flow": fp.FromCurrentObservation,
    "clip_norm": 1e-3,
    "critic_lr": 0.05,
    "hidden": (5,),
    "reference": BOTH,
    "sampler": fp.JumpSampler,
    "scale": fp.unit_scale,
    "spread": 0.1,
    "target_error": 0.1,
    "temperature": 0.7,  # half of 1e-3 would make the same weights, of 0 and 1
}
"""What an option is changed to; other whole numbers grow by 1, other numbers are halved."""


def built(name: str, **options: Any) -> fp.Agent:
    """A small agent, the same weights every time."""
    torch.manual_seed(0)
    return shaken(fp.agents.build(name, OBS, ACT, **small_options(name, **options)))


def trace(name: str, **options: Any) -> Tensor:
    """All networks after an update, and what then acts."""
    agent = built(name, **options)
    agent.update(batch_for(agent).double())
    left = [*agent.networks.parameters(), *agent.targets.parameters()]
    left += [state["exp_avg"] for state in agent.optimizer.state.values()]
    with torch.no_grad():
        noise = noise_for(agent.policy, 16).double()
        left.append(agent.policy.act(observations(16).double(), noise))
    return torch.cat([each.flatten().double() for each in left])


def other(option: str, usual: Any) -> Any:
    if option in OTHERS:
        return OTHERS[option]
    return usual + 1 if isinstance(usual, int) else (usual or 0.6) / 2


usual_trace = cache(trace)
CASES = [(name, option) for name in OPTIONS for option in OPTIONS[name] if option != "horizon"]


@pytest.mark.parametrize(("name", "option"), CASES)
def test_every_option_has_an_effect(name, option) -> None:
    usual = small_options(name).get(option, OPTIONS[name][option].default)
    asks_the_flow = {"bootstrap": BOTH} if option == "bootstrap_flow" else {}
    before = trace(name, **asks_the_flow) if asks_the_flow else usual_trace(name)
    after = trace(name, **{**asks_the_flow, option: other(option, usual)})
    assert after.shape != before.shape or not torch.equal(after, before)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_network_learns_at_its_rate_and_every_target_follows_at_its_speed(name) -> None:
    """The first step of Adam is as long as its rate where the gradient is not tiny."""
    lr, tau = 0.01, 0.3
    agent = built(name, lr=lr, **({"tau": tau} if "tau" in OPTIONS[name] else {}))
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    agent.update(batch_for(agent).double())
    after = agent.state_dict()
    for role in agent.networks:
        keys = [key for key in before if key.startswith(f"networks.{role}.")]
        moved = max((after[key] - before[key]).abs().max().item() for key in keys)
        faster = 10 if role == "distill_coefficient" else 1
        assert moved == pytest.approx(faster * lr, rel=1e-3), role
    for key, value in before.items():
        if key.startswith("targets."):
            source = before[key.replace("targets.", "networks.", 1).replace(".network.", ".", 1)]
            assert_close(after[key], value.lerp(source, tau))


@pytest.mark.parametrize("name", [name for name in OPTIONS if "discount" in OPTIONS[name]])
def test_the_discount_is_the_factor_of_the_next_value(name) -> None:
    targets = []
    for discount in (0.3, 0.9):
        agent = built(name, discount=discount)
        batch = batch_for(agent).double()
        batch["next", "reward"].zero_()
        targets.append(agent.loss(batch)["qvalue_target"])
    assert_close(targets[1], 3 * targets[0])


# -- what several parts share ------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_every_network_has_the_hidden_sizes(name) -> None:
    agent = fp.agents.build(name, OBS, ACT, hidden=(6, 7))
    for role, network in agent.networks.items():
        sizes = {size for parameter in network.parameters() for size in parameter.shape}
        assert role.endswith("coefficient") or {6, 7} < sizes
        assert 512 not in sizes, role


@pytest.mark.parametrize("name", ["bam", "qam", "qam_edit", "qam_fql"])
def test_paths_have_as_many_steps_as_flows(name) -> None:
    assert built(name, flow_steps=4).loss.draws()["path_noise"].shape == (4, ACT)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("bam", ("qvalue_next", "basic_adjoint_value")),
        ("gfp", ("qvalue_next", "dpg_value")),
        ("rebrac", ("qvalue_next", "dpg_value")),
        ("rlpd", ("qvalue_next", "dpg_value")),
    ],
)
def test_target_and_policy_aggregate_alike(name, metrics) -> None:
    least, most = (built(name, aggregation=each) for each in (fp.min_value, fp.max_value))
    batch = batch_for(least).double()
    for key in metrics:
        assert least.loss(batch)[key] < most.loss(batch)[key]


def test_the_policies_that_gfp_bootstraps_from_are_combined_as_told() -> None:
    agents = [built("gfp", bootstrap=fp.Blend(BOTH.policies, each)) for each in COMBINED]
    least, mean, most = (agent.loss(batch_for(agent).double())["qvalue_next"] for agent in agents)
    assert least < mean < most
