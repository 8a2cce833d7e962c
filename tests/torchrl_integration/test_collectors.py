"""Collectors drive policies in MuJoCo with the newest weights, and their data train the agent."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector, MultiSyncCollector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

import flowpolicy as fp
from tests.torchrl_integration.environment import ACT_DIM, OBS_DIM, reacher_with_noise


def make_agent(recipe: str) -> fp.Agent:
    """The policy is a one-step actor (fql), an Euler flow (flow_bc), or best-of-N of one (ifql)."""
    options = {"proposals": 4} if recipe == "ifql" else {}
    recipe = fp.agents.RECIPES[recipe]
    return recipe(OBS_DIM, ACT_DIM, hidden=(16,), flow_steps=2, lr=1e-2, **options)


def assert_acted(policy: fp.Actor, data: TensorDictBase) -> None:
    """Every action in the data is what ``policy``, as it is now, makes of observation and noise."""
    with torch.no_grad():
        action = policy.act(data["observation"], data["noise"])
    torch.testing.assert_close(data["action"], action, atol=1e-4, rtol=1e-4)


def train(agent: fp.Agent, buffer: TensorDictReplayBuffer) -> None:
    """Enough updates for actions that are clearly others."""
    for _ in range(10):
        # The noise of the collected action is data as well; the losses are to draw their own.
        agent.update(buffer.sample().exclude("noise", ("next", "noise")))


def run(collector, agent: fp.Agent, *, frames: int, sync) -> None:
    """Collect, train, send the weights, three times: each batch must show the newest policy."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
    try:
        for data in collector:
            assert data.shape == (frames,)
            assert data["action"].dtype == torch.float32
            assert data["action"].abs().max() <= 1
            assert_acted(agent.policy, data)
            buffer.extend(data)
            train(agent, buffer)
            with pytest.raises(AssertionError, match="Tensor-likes are not close"):
                assert_acted(agent.policy, data)
            sync()
    finally:
        collector.shutdown()
    assert len(buffer) == 3 * frames


@pytest.mark.parametrize("recipe", ["fql", "flow_bc", "ifql"])
def test_a_collector_drives_the_policy(recipe):
    agent = make_agent(recipe)
    collector = Collector(
        partial(reacher_with_noise, *agent.policy.noise_shape),
        agent.policy,
        frames_per_batch=60,
        total_frames=180,
        auto_register_policy_transforms=False,
    )
    run(collector, agent, frames=60, sync=collector.update_policy_weights_)


@pytest.mark.parametrize("recipe", ["fql", "flow_bc", "ifql"])
def test_weights_are_sent_to_a_policy_that_is_a_copy(recipe):
    agent = make_agent(recipe)
    deployed = deepcopy(agent.policy)
    collector = Collector(
        partial(reacher_with_noise, *agent.policy.noise_shape),
        deployed,
        frames_per_batch=60,
        total_frames=180,
        auto_register_policy_transforms=False,
    )

    def send() -> None:
        collector.update_policy_weights_(TensorDict.from_module(agent.policy))

    run(collector, agent, frames=60, sync=send)


@pytest.mark.parametrize(
    ("recipe", "workers"),
    [("fql", 2), ("ifql", 1), pytest.param("flow_bc", 1, marks=pytest.mark.slow)],
)
def test_processes_drive_the_policy(recipe, workers):
    agent = make_agent(recipe)
    collector = MultiSyncCollector(
        [partial(reacher_with_noise, *agent.policy.noise_shape)] * workers,
        agent.policy,
        frames_per_batch=60,
        total_frames=180,
        cat_results=0,
        use_buffers=True,
        auto_register_policy_transforms=False,
    )
    run(collector, agent, frames=60, sync=collector.update_policy_weights_)
