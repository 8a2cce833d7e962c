"""No update waits for a GPU, and none makes a tensor beside it; seen without one."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from flowpolicy.agents.guarded_step import on_device
from flowpolicy.data import Dataset
from tests.agents.host import HostReadError, away_from_the_host
from tests.agents.recipes import VARIANTS, small
from tests.contracts.factories import OBS, transitions


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_update_stays_on_the_device(variant) -> None:
    agent, batch = small(variant), transitions(8)
    agent.guard.condition = on_device
    agent.update(batch)  # in which the optimizer's state is made
    with away_from_the_host():
        agent.update(batch)


@pytest.mark.parametrize("variant", ["rebrac", "td3_bc"])
def test_updates_without_some_losses_stay_there(variant) -> None:
    agent, batch = small(variant, delay=2), transitions(8)
    agent.guard.condition = on_device
    for _ in range(2):
        agent.update(batch)
    with away_from_the_host():
        for _ in range(2):
            agent.update(batch)


@pytest.mark.parametrize("apart", [False, True])
def test_several_agents_and_their_batches_stay_there(apart) -> None:
    """Whole updates as CapturedUpdate repeats them, with the rows drawn within."""
    agents = [small("fql") for _ in range(2)]
    for agent in agents:
        agent.guard.condition = on_device
    stack = fp.AgentStack(agents)
    if apart:
        stack.step_apart()
    data, generator = Dataset.from_tensordict(transitions(64)), torch.Generator()
    update = fp.CapturedUpdate(stack, lambda: data.sample(16, generator).reshape(2, 8), updates=2)
    update()
    with away_from_the_host():
        update()


@pytest.mark.parametrize("variant", VARIANTS)
def test_acting_stays_there(variant) -> None:
    agent, observation = small(variant), torch.zeros(3, OBS)
    with away_from_the_host():
        for actor in agent.actors.values():
            actor.act(observation, actor.draw_noise(observation))


@pytest.mark.parametrize(
    "reading",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: float(x.sum()),
        lambda x: "yes" if x.sum() > 0 else "no",
        lambda x: x[x > 0],
        torch.unique,
        torch.nonzero,
        lambda x: torch.equal(x, x),
    ],
)
def test_what_reads_is_found(reading) -> None:
    x = torch.ones(3)
    with away_from_the_host(), pytest.raises(HostReadError):
        reading(x)


@pytest.mark.parametrize(
    "made", [lambda: torch.zeros(3), lambda: torch.tensor([1.0] * 3), lambda: torch.arange(3)]
)
def test_what_lies_elsewhere_is_found(made) -> None:
    x = torch.ones(3)
    with away_from_the_host(), pytest.raises(RuntimeError, match="device"):
        x * made()
