"""What a recipe is without options: the sizes and numbers of its paper where that has one."""

from __future__ import annotations

from typing import Any

import pytest

import flowpolicy as fp
from flowpolicy.agents.recipes.gfp import _as_it_is
from tests.contracts.factories import ACT, OBS

NETWORK = {"horizon": 1, "hidden": (512,) * 4, "lr": 3e-4}
VALUES = NETWORK | {"critics": 2, "discount": 0.99, "tau": 0.005}
TEN = VALUES | {"critics": 10, "aggregation": fp.Pessimistic(0.5)}  # the code of QAM
FLOW = {"flow_steps": 10}
DIFFUSION = {"diffusion_steps": 10, "sampler": fp.DDPMSampler, "clip_norm": 1.0}
GUIDED = {"guidance": 0.1, "temperature": 0.1}
NOISY = {"noise": 0.2, "noise_clip": 0.5, "delay": 2}
ENTROPY = {"target_entropy": -0.5}
MEAN, MIN = {"aggregation": fp.mean_value}, {"aggregation": fp.min_value}
ADJOINT = TEN | FLOW | {"temperature": 1.0, "clip_norm": 1.0}

DEFAULTS: dict[str, dict[str, Any]] = {
    "bam": ADJOINT | {"temperature": 0.1},
    "bc": NETWORK,
    "cgql": TEN | FLOW | GUIDED,
    "cgql_linex": TEN | FLOW | GUIDED | {"noisy_coefficient": 0.1},
    "cgql_mse": TEN | FLOW | GUIDED | {"noisy_coefficient": 0.1},
    "dac": TEN | DIFFUSION | {"alpha": 1.0},
    "dsrl": TEN | FLOW | ENTROPY | {"noise_scale": 1.0},
    "fawac": VALUES | FLOW | MEAN | {"temperature": 1.0},
    "fbrac": VALUES | FLOW | MEAN | {"alpha": 1.0, "scale": fp.inverse_mean_abs},
    "fedit": TEN | FLOW | ENTROPY | {"edit_scale": 0.2},
    "flow_bc": NETWORK | FLOW,
    "fql": VALUES
    | FLOW
    | MEAN
    | {"alpha": None, "spread": None, "target_error": None, "scale": fp.inverse_mean_abs},
    "gfp": VALUES
    | FLOW
    | MEAN
    | {"alpha": 1.0, "temperature": 1e-3, "bootstrap_flow": _as_it_is}
    | dict.fromkeys(("bootstrap", "reference"), fp.Blend(("actor",))),
    "ifql": VALUES | FLOW | MIN | {"expectile": 0.9, "proposals": 32},
    "iql": VALUES | {"expectile": 0.9, "temperature": 1.0},
    "iql_ddpg_bc": VALUES | {"expectile": 0.9, "alpha": 1.0},
    "qam": ADJOINT,
    "qam_edit": ADJOINT | ENTROPY | {"edit_scale": 0.1},
    "qam_fql": ADJOINT | {"alpha": 30.0},
    "qc": VALUES | FLOW | MEAN | {"proposals": 32},
    "qsm": TEN | DIFFUSION | {"alpha": 10.0, "temperature": 0.1},
    "rebrac": VALUES | NOISY | MIN | {"alpha": 0.01, "critic_alpha": 0.01, "critic_lr": None},
    "rlpd": TEN | ENTROPY | {"alpha": 0.0},
    "sac": VALUES | ENTROPY | MIN,
    "td3_bc": VALUES | NOISY | {"alpha": 2.5},
}


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_the_options_and_their_defaults(name) -> None:
    options = fp.agents.recipe_options(name)
    assert {option: each.default for option, each in options.items()} == DEFAULTS[name]


@pytest.mark.parametrize("name", ["dsrl", "fedit", "qam_edit", "rlpd", "sac"])
def test_the_coefficient_of_entropy_starts_at_one(name) -> None:
    agent = fp.agents.build(name, OBS, ACT, hidden=(4,))
    assert agent.networks["entropy_coefficient"]().item() == 1


@pytest.mark.parametrize(
    ("options", "start", "share"),
    [({}, 0.1, 0.25), ({"spread": 0.5}, 0.1, 0.5), ({"spread": 0.5, "alpha": 3.0}, 3.0, 0.5)],
)
def test_fql_learns_its_strength_from_a_start_towards_a_share(options, start, share) -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=(4,), **options)
    assert agent.networks["distill_coefficient"]().item() == pytest.approx(start)
    assert agent.loss.losses[-1].share == share


@pytest.mark.parametrize(("alpha", "start"), [(None, 0.1), (3.0, 3.0)])
def test_fql_learns_its_strength_towards_an_error(alpha, start) -> None:
    agent = fp.agents.fql(OBS, ACT, hidden=(4,), alpha=alpha, target_error=0.2)
    assert agent.networks["distill_coefficient"]().item() == pytest.approx(start)
    assert agent.loss.losses[-1].limit == 0.2
