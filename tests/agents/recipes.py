"""Small agents of every recipe, and batches for them."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict

import flowpolicy as fp
from tests.contracts.factories import ACT, OBS, transitions, with_noise

STEPS = 3

VARIANTS: dict[str, dict[str, Any]] = {
    "bam": {},
    "bc": {},
    "cgql": {},
    "cgql_linex": {},
    "cgql_mse": {},
    "dac": {"diffusion_steps": STEPS},
    "dsrl": {"noise_scale": 1.4},
    "fawac": {},
    "fbrac": {},
    "fedit": {},
    "flow_bc": {},
    "fql": {},
    "fql+alpha": {"alpha": 0.1},
    "fql+dual": {"target_error": 0.05},
    "gfp": {},
    "gfp+both": {"bootstrap": "mean", "reference": "min"},
    "ifql": {"proposals": 4},
    "iql": {},
    "iql_ddpg_bc": {},
    "qam": {},
    "qam_edit": {},
    "qam_fql": {},
    "qc": {"proposals": 4},
    "qsm": {"diffusion_steps": STEPS},
    "qsm+jump": {"diffusion_steps": STEPS, "sampler": "jump"},
    "rebrac": {"delay": 1},
    "rlpd": {},
    "rlpd+bc": {"alpha": 0.1},
    "sac": {},
    "td3_bc": {"delay": 1},
}
"""Every recipe, and where options change who is asked, those too."""


def small(variant: str, **options: Any) -> fp.Agent:
    """An agent with networks of one hidden layer."""
    name = variant.partition("+")[0]
    return fp.agents.build(name, OBS, ACT, **small_options(variant, **options))


def small_options(variant: str, **options: Any) -> dict[str, Any]:
    """What makes it small and fast, and what makes it this variant."""
    given = {"hidden": (8,), "flow_steps": STEPS, **VARIANTS[variant], **options}
    if "flow_steps" not in fp.agents.recipe_options(variant.partition("+")[0]):
        del given["flow_steps"]
    return given


def batch_for(agent: fp.Agent, size: int = 8, seed: int = 0) -> TensorDict:
    """Transitions with every draw of the agent's losses."""
    return with_noise(transitions(size, seed=seed), agent.loss.draws(), seed=seed + 1)


def shaken(agent: fp.Agent) -> fp.Agent:
    """In float64, with targets that differ from their sources and biases that are not zero."""
    agent.double()
    with torch.no_grad():
        for i, parameter in enumerate(agent.parameters()):
            waves = torch.sin(i + torch.arange(float(parameter.numel())))
            parameter.add_(0.1 * waves.view_as(parameter))
    return agent
