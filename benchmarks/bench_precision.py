"""FQL's updates with matrix products in bfloat16, beside those in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

import flowpolicy as fp
from benchmarks.bench_update import jax_update
from benchmarks.problem import SIZES, agent_of, random_batch
from flowpolicy.train import TrainConfig
from flowpolicy.train.precision import products_in


@pytest.mark.parametrize("size", SIZES)
def test_precision(size, in_turn, jax_cpu) -> None:
    """Weights, optimizer, losses, first and last layers are in float32 in any case."""
    batch, hidden = random_batch(), SIZES[size]

    def update(precision: str, *, compiled: bool) -> Callable[[], object]:
        agent = agent_of("fql", hidden)
        config = TrainConfig(agent="fql", env="any", precision=precision)
        return partial(_update, agent.compile() if compiled else agent, batch, config)

    in_turn(
        {
            f"{precision}, {form}": update(precision, compiled=form == "compiled")
            for form in ("compiled", "eager")
            for precision in ("bfloat16", "float32")
        }
        | {"JAX, float32": jax_update(batch, hidden)}
    )


def _update(agent: fp.Agent, batch, config: TrainConfig) -> object:
    with products_in(config):
        return agent.update(batch)
