"""How an eager update of FQL grows: time against one size at a time, the others as in 256x3."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import flowpolicy as fp
from benchmarks.problem import agent_of, random_batch

AXES = {
    "batch": (32, 64, 128, 256, 512, 1024, 2048),
    "width": (32, 64, 128, 256, 512, 1024),
    "depth": (1, 2, 3, 4, 6, 8),
    "flow_steps": (1, 2, 5, 10, 20, 40),
    "critics": (1, 2, 4, 8, 16),
    "seeds": (1, 2, 4, 8, 16),
}


def update_of(axis: str, x: int):
    """An update where one size is ``x``."""
    if axis == "seeds":
        stack = fp.AgentStack([agent_of("fql", (64,) * 2, seed=seed) for seed in range(x)])
        return partial(stack.update, torch.stack([random_batch() for _ in range(x)]))
    width, depth = (x if axis == each else n for each, n in (("width", 256), ("depth", 3)))
    options = {axis: x} if axis in ("flow_steps", "critics") else {}
    batch = random_batch(x if axis == "batch" else 256)
    return partial(agent_of("fql", (width,) * depth, **options).update, batch)


def power_law(values: dict[str, list[float]]) -> dict[str, float]:
    """``time = constant * x ** exponent`` by least squares of logarithms, and how far it is off."""
    x = np.log([float(name) for name in values])
    y = np.log([min(turns) for turns in values.values()])
    exponent, constant = np.polyfit(x, y, 1)
    off = np.expm1(np.abs(exponent * x + constant - y).max())
    return {"exponent": float(exponent), "constant": float(np.exp(constant)), "off": float(off)}


@pytest.mark.parametrize("axis", AXES)
def test_scaling(axis, in_turn, quick, benchmark) -> None:
    points = AXES[axis][:3] if quick else AXES[axis]
    values = in_turn({str(x): update_of(axis, x) for x in points}, axis=axis)
    benchmark.extra_info.update(power_law(values))
