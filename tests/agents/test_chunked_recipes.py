"""Every recipe learns from chunks of data, and rows that leave their trajectory do not count."""

from __future__ import annotations

import pytest
import torch

import flowpolicy as fp
from flowpolicy.data import Dataset
from flowpolicy.data.transforms import chunk, with_next_action
from tests.agents.recipes import small_options
from tests.data.conftest import transitions


@pytest.mark.parametrize("name", fp.agents.RECIPES)
def test_an_update_on_chunks(name) -> None:
    chunks = chunk(Dataset(transitions([7, 6, 9])), horizon=3, discount=0.9)
    chunks = with_next_action(chunks)
    batch = chunks.sample(64)
    valid = batch["valid"]
    assert 0 < valid.sum() < 64
    agent = fp.agents.build(name, 2, 1, horizon=3, **small_options(name, flow_steps=2))
    batch = agent.with_noise(batch)
    expected = agent.loss(batch)
    changed = batch.clone()
    changed["action"] = torch.where(valid, batch["action"], -batch["action"])
    of_data = {"loss_qvalue", "loss_flow", "loss_log_likelihood", "loss_clone"}
    of_data |= {"loss_denoise", "loss_score"}
    keys = of_data & set(expected.keys())
    for key in keys:
        assert torch.equal(agent.loss(changed)[key], expected[key])
    changed["action"] = -batch["action"]
    assert not any(torch.equal(agent.loss(changed)[key], expected[key]) for key in keys)
    agent.update(batch)
    assert agent.act(torch.zeros(5, 2)).shape == (5, 3)
