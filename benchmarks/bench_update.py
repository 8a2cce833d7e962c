"""One update of every recipe, beside its matrix products; FQL beside the yardsticks too."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch

import flowpolicy as fp
from benchmarks.problem import (
    ACT_DIM,
    BATCH,
    OBS_DIM,
    SIZES,
    agent_of,
    period,
    plain_batch,
    random_batch,
    update_flops,
)
from benchmarks.yardsticks.plain_fql import PlainFQL

# Of compiled FQL: at most this many times what the JAX yardstick takes.
TARGETS = {"64x2": 1 / 2, "128x3": 1 / 1.5, "512x4": 1 / 1.25}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("recipe", ["fql", *sorted(set(fp.agents.RECIPES) - {"fql"})])
def test_update(recipe, size, in_turn, request) -> None:
    batch, hidden = random_batch(), SIZES[size]
    left, right = torch.randn(BATCH, hidden[0]), torch.randn(hidden[0], hidden[0])
    agent = agent_of(recipe, hidden)
    calls = period(agent)
    facts = {
        "flops": update_flops(agent, batch),
        "product_flops": 2 * BATCH * hidden[0] ** 2,
    }
    variants = {"eager": partial(agent.update, batch)}
    compiling = request.config.getoption("--compile")
    if recipe in compiling or "all" in compiling:
        compiled = agent_of(recipe, hidden).compile()
        facts["compile_seconds"] = seconds_of_first(partial(compiled.update, batch), calls)
        variants = {"compiled": partial(compiled.update, batch), **variants}
    targets = {}
    if recipe == "fql":
        variants |= yardsticks(request, batch, hidden)
        if "compiled" in variants and size in TARGETS:
            targets = {"jax": TARGETS[size]}
    variants["product"] = partial(torch.mm, left, right)
    seconds = 6.0 if recipe == "fql" else 2.0
    in_turn(variants, seconds=seconds, period=calls, targets=targets, **facts)


def yardsticks(request, batch, hidden):
    """The two programs of ``yardsticks/`` on the same batch."""
    calls = {"plain": partial(PlainFQL(OBS_DIM, ACT_DIM, hidden).update, plain_batch(batch))}
    try:
        request.getfixturevalue("jax_cpu")
    except pytest.skip.Exception:
        return calls
    return {"jax": jax_update(batch, hidden), **calls}


def jax_update(batch, hidden):
    """One update by the yardstick in JAX."""
    from benchmarks.yardsticks import jax_fql

    arrays = {name: value.numpy() for name, value in plain_batch(batch).items()}
    return jax_fql.Updater(arrays, hidden)


def seconds_of_first(call, count: int = 1) -> float:
    """Wall time of the first calls, which compile."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start
