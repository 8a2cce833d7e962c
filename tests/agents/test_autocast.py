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
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
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
