"""What the processes of a pair must not do: each gives the text of its error."""

from __future__ import annotations

from collections.abc import Callable

import torch

import flowpolicy as fp
from flowpolicy import ranks
from flowpolicy.ranks import CHECK_EVERY
from tests.agents.recipes import small
from tests.distributed.cases import batch, loss_of, with_noise


def distributed_agent() -> fp.Agent:
    torch.manual_seed(0)
    agent = small("fql").double().distribute()
    agent.update(batch(0))
    agent._shared.tripwire.steps = CHECK_EVERY
    return agent


def other_parameter() -> None:
    agent = distributed_agent()
    if ranks.own() == 1:
        next(agent.networks["critic"].parameters()).data[0] += 1e-7
    agent.update(batch(1))


def other_optimizer() -> None:
    agent = distributed_agent()
    if ranks.own() == 1:
        next(iter(agent.optimizer.state.values()))["exp_avg"] += 1e-7
    agent.update(batch(1))


def other_batch() -> None:
    distributed_agent().update(batch(ranks.own()))


def other_order() -> None:
    distributed_agent().update(batch(1)[torch.arange(8).roll(ranks.own())])


def other_names() -> None:
    agent = distributed_agent()
    if ranks.own() == 1:
        agent.optimizer.state.clear()
    agent.update(batch(1))


def other_noise() -> None:
    agent = distributed_agent()
    agent.noise.seed(ranks.own())
    agent.update(batch(1))


def odd_batch() -> None:
    distributed_agent().update(batch(0)[:7])


def other_networks() -> None:
    torch.manual_seed(ranks.own())
    fp.DistributedLoss(fp.FlowMatchingLoss(fp.VelocityField(3, 2, (8,))))


def other_frozen_network() -> None:
    loss = loss_of("one")
    loss.critic.module.double()
    if ranks.own() == 1:
        next(loss.critic.module.parameters()).data[0] += 1e-7
    fp.DistributedLoss(loss)


def other_batch_size() -> None:
    loss = loss_of("several")
    distributed = fp.DistributedLoss(loss)
    distributed(with_noise(batch(0), loss.draws())[: 4 + ranks.own()])


def inner_loss() -> None:
    loss = loss_of("several")
    fp.DistributedLoss(loss)
    rows = with_noise(batch(0), loss.draws())
    with torch.no_grad():
        loss(rows)  # to look at it is no harm
    loss(rows)


def inner_part() -> None:
    loss = loss_of("several")
    fp.DistributedLoss(loss)
    loss.losses[0](with_noise(batch(0), loss.draws()))


REFUSALS: dict[str, tuple[Callable[[], None], str]] = {
    "parameter": (other_parameter, "'networks.critic.* of rank 1 differs from that of rank 0"),
    "optimizer": (other_optimizer, "'optimizer.0.exp_avg' of rank 1 differs"),
    "batch": (other_batch, "'batch.*' of rank 1 differs"),
    "order": (other_order, "'batch.*' of rank 1 differs"),
    "names": (other_names, "the number or the names of the tensors of rank 1 differs"),
    "noise": (other_noise, "'batch.*noise' of rank 1 differs"),
    "odd batch": (odd_batch, "a batch of 7 rows cannot be shared out evenly among 2 processes"),
    "networks": (other_networks, "'flow.field.* of rank 1 differs"),
    "frozen": (other_frozen_network, "'dpg.critic.* of rank 1 differs"),
    "batch size": (
        other_batch_size,
        "DistributedLoss 1 of these processes: 'the batch size' of rank 1",
    ),
    "inner loss": (inner_loss, "SumLoss: it belongs to a DistributedLoss now"),
    "inner part": (inner_part, "FlowMatchingLoss: it belongs to a DistributedLoss now"),
}
