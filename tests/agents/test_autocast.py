"""Every recipe updates under autocast, alone and stacked."""

from __future__ import annotations

import copy

import pytest
import torch

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, batch_for, small


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_are_nearly_those_of_full_precision(variant) -> None:
    agent = small(variant, hidden=(32, 32))
    alone, stack = copy.deepcopy(agent), fp.AgentStack([copy.deepcopy(agent)])
    batch = batch_for(agent, 64)
    exact = agent.update(batch)
    with torch.autocast("cpu", torch.bfloat16):
        coarse, stacked = alone.update(batch), stack.update(batch[None])[0]
    losses = sorted(name for name in exact.keys() if name.startswith("loss"))  # noqa: SIM118
    assert any(not torch.equal(coarse[name], exact[name]) for name in losses)
    assert coarse["skipped"] == stacked["skipped"] == 0
    for name in losses:
        for metrics in (coarse, stacked):
            assert metrics[name].dtype is torch.float32
            torch.testing.assert_close(metrics[name], exact[name], rtol=0.05, atol=0.01)
    for updated in (alone, *stack.agents):
        assert {p.dtype for p in updated.parameters()} == {torch.float32}


def test_weights_that_have_moved_are_cast_anew() -> None:
    """Also where one region holds several updates."""
    agent = small("fql", hidden=(32, 32))
    twin, batch = copy.deepcopy(agent), batch_for(agent, 64)
    with torch.autocast("cpu", torch.bfloat16):
        one = [agent.update(batch)["loss_qvalue"] for _ in range(3)]
    other = []
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            other.append(twin.update(batch)["loss_qvalue"])
    assert torch.equal(torch.stack(one), torch.stack(other))


@pytest.mark.compile
def test_a_compiled_agent_notices_autocast() -> None:
    agent = small("fql", hidden=(32, 32))
    twin, batch = copy.deepcopy(agent), batch_for(agent, 64)
    agent.compile("eager")
    exact = agent.update(batch)["loss_flow"]
    twin.update(batch)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = agent.update(batch)["loss_flow"]
        expected = twin.update(batch)["loss_flow"]
    assert not torch.equal(coarse, exact)
    torch.testing.assert_close(coarse, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(coarse, agent.update(batch)["loss_flow"])
