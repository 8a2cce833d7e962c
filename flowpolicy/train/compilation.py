"""Whether the updates of a run are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from tensordict import TensorDict, TensorDictBase
from torch._dynamo.exc import TorchDynamoException

from flowpolicy.agents import Agent, AgentStack
from flowpolicy.data import Dataset
from flowpolicy.paths import Draw
from flowpolicy.train.config import TrainConfig
from flowpolicy.train.precision import products_in

PAYS_FROM = 20_000
"""Updates: compiling takes about a minute, and spares 5 to 50 milliseconds an update."""


def compile_where_it_pays(
    learner: Agent | AgentStack, batch: TensorDictBase, config: TrainConfig
) -> Iterator[str]:
    """Compiles the updates as ``config.compile`` says; gives a line about what was done, if any.

    One batch is tried, without a trace in the learner, so that a machine that cannot compile is
    noticed here.

    Args:
        learner: what updates.
        batch: like those to come; its values do not matter.
        config: the run.

    Raises:
        TorchDynamoException: ``compile`` is ``"on"``, and the machine cannot.
    """
    updates = config.offline_steps + config.online_steps
    if config.compile == "off" or (config.compile == "auto" and updates < PAYS_FROM):
        return
    yield "updates: compiling, which takes about a minute"
    draw = partial(Draw.like, generator=torch.Generator(batch["observation"].device))
    try:
        with products_in(config):
            learner.compile().backward(learner.loss.with_draws(batch, draw))
    except TorchDynamoException as error:
        if config.compile == "on":
            raise
        learner.uncompile()
        reason = " ".join(str(error).strip().splitlines()[:2])
        yield f"updates: not compiled, this machine cannot ({type(error).__name__}: {reason})"
    learner.optimizer.zero_grad()


def example_batch(dataset: Dataset, size: int) -> TensorDict:
    """The first rows of the data, from the start again where there are too few."""
    return dataset.take(torch.arange(size) % len(dataset))
