"""Whether the updates of a run are compiled."""

from __future__ import annotations

import torch
from torch._dynamo.exc import TorchDynamoException

from flowpolicy.agents import Agent
from flowpolicy.data import Dataset
from flowpolicy.modules.drawing import with_draws
from flowpolicy.train.config import TrainConfig

PAYS_FROM = 20_000
"""Updates: compiling takes about a minute, and spares 5 to 50 milliseconds an update."""


def compile_where_it_pays(agent: Agent, dataset: Dataset, config: TrainConfig) -> str:
    """Compiles the agent's update as ``config.compile`` says; one line about what was done.

    A first batch is tried, without a trace in the agent, so that a machine that cannot compile is
    noticed here.

    Args:
        agent: of the run.
        dataset: its data.
        config: the run.

    Raises:
        TorchDynamoException: ``compile`` is ``"on"``, and the machine cannot.
    """
    updates = config.offline_steps + config.online_steps
    if config.compile == "off":
        return "updates: not compiled"
    if config.compile == "auto" and updates < PAYS_FROM:
        return f"updates: not compiled, which pays from about {PAYS_FROM:,} of them"
    agent.compile()
    rows = torch.arange(config.batch_size) % len(dataset)
    batch = with_draws(
        dataset.take(rows),
        agent.loss.draws(),
        agent.loss.tensor_keys,
        generator=torch.Generator(dataset.device),
    )
    try:
        agent.backward(batch)
    except TorchDynamoException as error:
        if config.compile == "on":
            raise
        agent.uncompile()
        reason = str(error).strip().splitlines()[0]
        return f"updates: not compiled, this machine cannot ({type(error).__name__}: {reason})"
    agent.optimizer.zero_grad(set_to_none=True)
    return "updates: compiled"
