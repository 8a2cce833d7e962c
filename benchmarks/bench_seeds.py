"""Eight seeds as one program, beside eight agents one after the other."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import flowpolicy as fp
from benchmarks.problem import SIZES, agent_of, random_batch

SEEDS = 8
TARGETS = {"64x2": 1 / 4, "256x3": 1 / 1.3}


def one_after_the_other(agent, batches) -> None:
    """As many updates: of one agent, as single runs go on one at a time."""
    for batch in batches:
        agent.update(batch)


@pytest.mark.parametrize("size", TARGETS)
def test_seeds(size, in_turn) -> None:
    """The target is of compiled runs; what eager ones cost stands beside it."""
    batches = [random_batch() for _ in range(SEEDS)]
    stacked = torch.stack(batches)
    variants = {}
    for form in ("compiled", "eager"):
        stack = fp.AgentStack([agent_of("fql", SIZES[size], seed=s) for s in range(SEEDS)])
        single = agent_of("fql", SIZES[size])
        if form == "compiled":
            stack.compile()
            single.compile()
        variants[f"one program, {form}"] = partial(stack.update, stacked)
        variants[f"one by one, {form}"] = partial(one_after_the_other, single, batches)
    in_turn(variants, targets={"one by one, compiled": TARGETS[size]})
