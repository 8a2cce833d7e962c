"""Whom a recipe deploys, and which further actors it names."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, small

FLOW = "EulerSampler(field, steps=3)"
SLOW = "EulerSampler(slow field, steps=3)"
CLONE = "EulerSampler(behavior_field, steps=3)"
GUIDED = f"GuidedSampler({SLOW}, critic, coefficient=0.1, temperature=0.1, aggregation=mean_value"
NOISY = "NoisyActor(DeterministicActor actor, std=0.2, clip=0.5)"
GAUSSIAN, SQUASHED = "GaussianActor actor", "TanhGaussianActor actor"
ONE_STEP = "OneStepActor actor"

ACTS: dict[str, dict[str, str]] = {
    "bam": {"policy": FLOW, "behavior": CLONE},
    "bc": {"policy": GAUSSIAN},
    "cgql": {"policy": f"{GUIDED}, guide=as_if_clean)", "flow": SLOW},
    "cgql_linex": {"policy": f"{GUIDED}, guide=at_their_time)", "flow": SLOW},
    "cgql_mse": {"policy": f"{GUIDED}, guide=at_their_time)", "flow": SLOW},
    "dac": {"policy": "DDPMSampler(predictor, steps=3)"},
    "dsrl": {"policy": f"NoiseSpaceActor({SQUASHED}, {SLOW}, scale=1.4)", "flow": SLOW},
    "fawac": {"policy": FLOW},
    "fbrac": {"policy": FLOW},
    "fedit": {"policy": f"EditActor({FLOW}, {SQUASHED}, scale=0.2)", "flow": FLOW},
    "flow_bc": {"policy": FLOW},
    "fql": {"policy": ONE_STEP, "flow": FLOW},
    "fql+alpha": {"policy": ONE_STEP, "flow": FLOW},
    "fql+dual": {"policy": ONE_STEP, "flow": FLOW},
    "gfp": {"policy": ONE_STEP, "flow": FLOW},
    "gfp+both": {"policy": ONE_STEP, "flow": FLOW},
    "ifql": {"policy": f"BestOf({FLOW}, critic, n=4, aggregation=min_value)", "flow": FLOW},
    "iql": {"policy": GAUSSIAN},
    "iql_ddpg_bc": {"policy": GAUSSIAN},
    "qam": {"policy": FLOW, "behavior": CLONE},
    "qam_edit": {
        "policy": f"EditActor({FLOW}, {SQUASHED}, scale=0.1)",
        "flow": FLOW,
        "behavior": CLONE,
    },
    "qam_fql": {"policy": ONE_STEP, "flow": FLOW, "behavior": CLONE},
    "qc": {"policy": f"BestOf({FLOW}, critic, n=4, aggregation=mean_value)", "flow": FLOW},
    "qsm": {"policy": "DDPMSampler(predictor, steps=3)"},
    "qsm+jump": {"policy": "JumpSampler(predictor, steps=3)"},
    "rebrac": {"policy": NOISY},
    "rlpd": {"policy": SQUASHED},
    "rlpd+bc": {"policy": SQUASHED},
    "sac": {"policy": SQUASHED},
    "td3_bc": {"policy": NOISY},
}
"""By name: what each actor is made of; ``slow`` is the target of a role."""

SETTINGS = ("steps", "n", "std", "clip", "scale", "coefficient", "temperature", "aggregation")
SETTINGS += ("guide",)


def made_of(agent: fp.Agent, module: nn.Module) -> str:
    """A role, or the kind of a part with its own parts and settings."""
    roles = {id(network): role for role, network in agent.networks.items()}
    roles |= {id(target): f"slow {role}" for role, target in agent.targets.items()}
    if id(module) in roles:
        kind = f"{type(module).__name__} " if isinstance(module, fp.Actor) else ""
        return f"{kind}{roles[id(module)]}"
    parts = [made_of(agent, part) for part in module.children()]
    parts += [f"{key}={told(getattr(module, key))}" for key in SETTINGS if hasattr(module, key)]
    return f"{type(module).__name__}({', '.join(parts)})"


def told(value: Any) -> Any:
    """A function by its name, the steps of a diffusion by their number."""
    return getattr(value, "__name__", len(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_actors_are_made_of_these_parts(variant) -> None:
    agent = small(variant)
    assert {name: made_of(agent, actor) for name, actor in agent.actors.items()} == ACTS[variant]
