"""What names stand for on the command line, in suites and in presets."""

from __future__ import annotations

import pytest

import flowpolicy as fp
from flowpolicy.agents.registry import NAMED_OPTIONS
from tests.contracts.factories import ACT, OBS

BLENDS = {
    "actor": fp.Blend(("actor",)),
    "flow": fp.Blend(("flow",)),
    "vabc": fp.Blend(("flow",)),
    "mean": fp.Blend(("actor", "flow"), fp.mean_value),
    "min": fp.Blend(("actor", "flow"), fp.min_value),
    "max": fp.Blend(("actor", "flow"), fp.max_value),
}


def test_names_of_options_stand_for_these_objects() -> None:
    assert {
        "aggregation": {
            "first": fp.first_value,
            "mean": fp.mean_value,
            "min": fp.min_value,
            "pessimistic": fp.Pessimistic(0.5),
        },
        "scale": {"unit": fp.unit_scale, "inverse_mean_abs": fp.inverse_mean_abs},
        "bootstrap": BLENDS,
        "reference": BLENDS,
        "bootstrap_flow": {"current": fp.FromCurrentObservation},
        "sampler": {"ddpm": fp.DDPMSampler, "jump": fp.JumpSampler},
    } == NAMED_OPTIONS


@pytest.mark.parametrize("option", ["bootstrap", "reference"])
def test_a_recipe_itself_takes_no_names(option) -> None:
    with pytest.raises(fp.ConfigError, match=f"gfp: {option} must be a Blend .*Names are for"):
        fp.agents.gfp(OBS, ACT, hidden=(4,), **{option: "mean"})
