"""Batches of TorchRL's replay buffers go into agents and losses as they are."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torchrl.collectors import Collector
from torchrl.data import (
    LazyMemmapStorage,
    LazyTensorStorage,
    RandomSampler,
    SliceSampler,
    TensorDictReplayBuffer,
)

import flowpolicy as fp
from tests.torchrl_integration.environment import (
    ACT_DIM,
    OBS_DIM,
    reacher,
    small_recipe,
    transitions,
)


@pytest.fixture(params=["in memory", "memory-mapped"])
def buffer(request, tmp_path):
    mapped = request.param == "memory-mapped"
    storage = LazyMemmapStorage(400, scratch_dir=tmp_path) if mapped else LazyTensorStorage(400)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=32)
    buffer.extend(transitions(200))
    return buffer


def make_agent(recipe: str) -> fp.Agent:
    return small_recipe(recipe)


@pytest.mark.parametrize("recipe", sorted(fp.agents.RECIPES))
def test_every_recipe_trains_from_a_buffer(buffer, recipe):
    agent = make_agent(recipe)
    before = deepcopy(agent.state_dict())
    for _ in range(3):
        batch = buffer.sample()
        keys = set(batch.keys(include_nested=True, leaves_only=True))
        metrics = agent.update(batch)
        assert all(value.isfinite() for value in metrics.values())
        assert set(batch.keys(include_nested=True, leaves_only=True)) == keys
    trained = {name for name, _ in agent.trained_parameters()}
    for name, value in agent.state_dict().items():
        if name in trained or name.startswith("targets."):
            assert not torch.equal(value, before[name]), name


def test_a_loop_over_a_buffer_learns(buffer):
    agent = fp.agents.flow_bc(OBS_DIM, ACT_DIM, hidden=(16,), lr=1e-2)
    probe = buffer[:].clone()
    probe["x0"], probe["time"] = torch.randn(200, ACT_DIM), torch.rand(200, 1)
    before = agent.loss(probe)["loss_flow"].item()
    for _ in range(150):
        agent.update(buffer.sample())
    assert agent.loss(probe)["loss_flow"].item() < 0.9 * before


def test_the_index_that_a_buffer_adds_changes_nothing(buffer):
    batch = buffer.sample()
    assert batch["index"].shape == (32,)
    agent = make_agent("fql")
    other = deepcopy(agent)
    with_index, without = agent.update(batch), other.update(batch.exclude("index"))
    torch.testing.assert_close(with_index.to_dict(), without.to_dict(), rtol=0, atol=0)


def single_losses() -> dict[str, fp.Loss]:
    field = fp.VelocityField(OBS_DIM, ACT_DIM, hidden=(16,))
    flow = fp.EulerSampler(field, steps=2)
    actor = fp.OneStepActor(OBS_DIM, ACT_DIM, hidden=(16,))
    critic = fp.CriticEnsemble(OBS_DIM, ACT_DIM, hidden=(16,))
    target, value = fp.TargetNetwork(critic), fp.ValueNetwork(OBS_DIM, hidden=(16,))
    weight = fp.ValueAwareWeight(target, critic=critic, reference=actor, temperature=0.1)
    return {
        "flow": fp.FlowMatchingLoss(field),
        "weighted flow": fp.FlowMatchingLoss(field, weight=weight),
        "distill": fp.DistillLoss(actor, teacher=flow),
        "dpg": fp.DPGLoss(actor, critic, scale=fp.inverse_mean_abs),
        "td": fp.TDLoss(critic, target, next_actor=(actor, flow)),
        "td with a value": fp.TDLoss(critic, next_value=value),
        "expectile": fp.ExpectileLoss(value, target),
    }


LOSSES = sorted(single_losses())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_a_sample_of_a_buffer(buffer, name):
    loss = single_losses()[name]
    output = loss(buffer.sample())
    output[f"loss_{loss.name}"].backward()
    assert any(parameter.grad.any() for parameter in loss.network.parameters())
    assert output.batch_size == torch.Size([])


@pytest.mark.parametrize("name", LOSSES)
def test_slices_in_time_count_like_single_rows(name):
    storage = LazyTensorStorage(200)
    sampler = SliceSampler(slice_len=5, end_key=("next", "done"))
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=40)
    buffer.extend(transitions(200))
    batch, loss = buffer.sample(), single_losses()[name]
    for key, draw in loss.draws().items():
        batch[key] = draw.sample((40,), dtype=torch.float32, device=torch.device("cpu"))
    rows, slices = loss(batch), loss(batch.reshape(8, 5))
    torch.testing.assert_close(slices.to_dict(), rows.to_dict())


@pytest.mark.filterwarnings("ignore:split_trajs=True produces")  # advice to use slices instead
def test_padding_of_split_trajectories_does_not_count():
    actor = fp.OneStepActor(OBS_DIM, ACT_DIM, hidden=(16,))
    collector = Collector(
        reacher(),
        actor,
        frames_per_batch=80,  # an episode of 50 and 30 steps of the next
        split_trajs=True,
        auto_register_policy_transforms=False,
    )
    padded = next(iter(collector))
    collector.shutdown()
    mask = padded["collector", "mask"]
    assert padded.shape == (2, 50) and int(mask.sum()) == 80

    loss = fp.FlowMatchingLoss(fp.VelocityField(OBS_DIM, ACT_DIM, hidden=(16,)))
    padded["x0"], padded["time"] = torch.randn(2, 50, ACT_DIM), torch.rand(2, 50, 1)
    rows = padded[mask].exclude("collector")
    torch.testing.assert_close(loss(padded)["loss_flow"], loss(rows)["loss_flow"])
    padded["action"][~mask] = 0.9  # what stands in the padding is of no effect
    torch.testing.assert_close(loss(padded)["loss_flow"], loss(rows)["loss_flow"])


def test_samplers_can_be_exchanged():
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(100), sampler=RandomSampler(), batch_size=16, prefetch=2
    )
    buffer.extend(transitions(100))
    agent = make_agent("fql")
    for _ in range(3):
        assert agent.update(buffer.sample())["loss_qvalue"].isfinite()
