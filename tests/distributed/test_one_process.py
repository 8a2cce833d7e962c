"""What needs no second process: a group of one, and none."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from tensordict import TensorDict

import flowpolicy as fp
from flowpolicy import ranks
from flowpolicy.agents.backward import CompiledBackward, EagerBackward
from flowpolicy.agents.distributed_backward import _joined
from tests.agents.recipes import batch_for, small
from tests.contracts.factories import Parts


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_an_agent_stays_distributed_whatever_runs_its_losses(group) -> None:
    agent = small("fql").distribute()
    for change, kind in (
        (agent.compile, CompiledBackward),
        (agent.uncompile, EagerBackward),
        (agent.distribute, EagerBackward),
    ):
        assert change() is agent
        assert agent.is_distributed
        assert isinstance(agent._backward, kind)


def test_a_distributed_agent_tells_of_graphs_that_are_replayed(group) -> None:
    agent = small("fql").distribute()
    assert not agent.replays_graphs
    assert agent.compile(mode="reduce-overhead").replays_graphs


def test_a_distributed_agent_is_neither_stacked_nor_captured(group) -> None:
    agent = small("fql").distribute()
    with pytest.raises(fp.ConfigError, match="AgentStack: agent 1 shares its batches out"):
        fp.AgentStack([small("fql"), agent])
    with pytest.raises(fp.ConfigError, match="CapturedUpdate: the agent shares its batches out"):
        fp.CapturedUpdate(agent, lambda: batch_for(agent))


def test_what_was_compiled_before_is_compiled_anew(group) -> None:
    agent = small("fql").compile()
    agent._backward._program = "of one process"
    agent.distribute()
    assert agent._backward._program is None


def test_a_copy_of_a_distributed_agent_learns_by_itself(group) -> None:
    agent = small("fql").distribute()
    other = copy.deepcopy(agent)
    before = [p.clone() for p in agent.parameters()]
    other.update(batch_for(other))
    assert all(torch.equal(p, q) for p, q in zip(agent.parameters(), before, strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(other.parameters(), before, strict=True))


def test_without_a_group_nothing_is_distributed() -> None:
    message = "there is no process group. Start the script with torchrun"
    with pytest.raises(fp.DistributedError, match=f"Agent.distribute: {message}"):
        small("fql").distribute()
    with pytest.raises(fp.DistributedError, match=f"DistributedLoss: {message}"):
        fp.DistributedLoss(fp.FlowMatchingLoss(Parts().field))


def test_what_is_no_number_is_not_averaged(group) -> None:
    with pytest.raises(fp.ConfigError, match="reduction='none' leaves nothing to average"):
        fp.DistributedLoss(fp.FlowMatchingLoss(Parts().field, reduction="none"))
    with pytest.raises(fp.ConfigError, match="loss must be a Loss or SumLoss, got VelocityField"):
        fp.DistributedLoss(Parts().field)


def test_a_mean_over_the_batch_has_the_gradient_of_a_mean(group) -> None:
    values = torch.tensor([[1.0], [3.0]], requires_grad=True)
    with ranks.spread_batch():
        mean = fp.functional.batch_mean(values)
    mean.square().backward()
    assert mean == 2 and (values.grad == 2).all()


def test_sums_keep_shapes_and_dtypes(group) -> None:
    tensors = [torch.ones(2, 3), torch.tensor(2), torch.ones(4), torch.tensor(0.5)]
    for tensor, total in zip(tensors, ranks.sum_over_ranks(tensors), strict=True):
        assert total.dtype == tensor.dtype and torch.equal(total, tensor)


def test_a_batch_without_rows_of_its_own_is_refused(group) -> None:
    with pytest.raises(fp.ConfigError, match="a batch of 0 rows cannot be shared out"):
        ranks.own_rows(TensorDict(observation=torch.zeros(4, 3)))


def test_losses_are_averaged_over_processes_whatever_they_are_called() -> None:
    of_each = torch.tensor([1.0, 3.0])
    names = ("loss_q_min", "q_min", "q_max", "q_mean")
    assert [float(_joined(name, of_each)) for name in names] == [2.0, 1.0, 3.0, 2.0]


def test_a_checksum_is_of_shape_and_order() -> None:
    one = torch.arange(24.0)
    others = (one.reshape(4, 6), one.reshape(6, 4), one.flip(0), one.double(), one + 1e-6)
    sums = [int(ranks._checksum(each)) for each in (one, *others)]
    assert len(set(sums)) == len(sums)
    assert sums[0] == int(ranks._checksum(torch.arange(24.0)))


def test_comparisons_come_before_the_second_third_and_every_hundredth_step(monkeypatch) -> None:
    told = []
    monkeypatch.setattr(ranks, "require_same", lambda _, when: told.append(when))
    tripwire = ranks.Tripwire("update")
    for _ in range(202):
        tripwire.check(list)
    steps = (1, 2, 3, 101, 201)
    assert told == [f"before update {step} of these processes" for step in steps]
