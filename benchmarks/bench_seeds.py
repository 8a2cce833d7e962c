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
@pytest.mark.parametrize("form", ["compiled", "eager"])
def test_seeds(form, size, in_turn) -> None:
    """Each form beside single runs of the same form; the target is of the compiled one."""
    batches = [random_batch() for _ in range(SEEDS)]
    stack = fp.AgentStack([agent_of("fql", SIZES[size], seed=s) for s in range(SEEDS)])
    single = agent_of("fql", SIZES[size])
    if form == "compiled":
        stack.compile()
        single.compile()
    variants = {
        "one program": partial(stack.update, torch.stack(batches)),
        "one by one": partial(one_after_the_other, single, batches),
    }
    in_turn(variants, targets={"one by one": TARGETS[size]} if form == "compiled" else {})
