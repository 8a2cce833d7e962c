"""Eight seeds as one program, beside eight agents one after the other."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import flowpolicy as fp
from benchmarks.problem import SIZES, agent_of, random_batch

SEEDS = 8
TARGETS = {"64x2": 1 / 4, "256x3": 1 / 1.3}


def one_after_the_other(agents, batches) -> None:
    for agent, batch in zip(agents, batches, strict=True):
        agent.update(batch)


@pytest.mark.parametrize("size", TARGETS)
@pytest.mark.parametrize("form", ["compiled", "eager"])
def test_seeds(form, size, in_turn) -> None:
    """Each form beside single runs of the same form; the target is of the compiled one."""
    batches = [random_batch() for _ in range(SEEDS)]
    stack = fp.AgentStack([agent_of("fql", SIZES[size], seed=s) for s in range(SEEDS)])
    singles = [agent_of("fql", SIZES[size], seed=s) for s in range(SEEDS)]
    if form == "compiled":
        stack.compile()
        singles = [agent.compile() for agent in singles]
    variants = {
        "one program": partial(stack.update, torch.stack(batches)),
        "one by one": partial(one_after_the_other, singles, batches),
    }
    in_turn(variants, targets={"one by one": TARGETS[size]} if form == "compiled" else {})
