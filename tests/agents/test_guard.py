"""Updates whose numbers are not finite are skipped, bit for bit, and counted."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.agents.guarded_step import count_beside, on_device, on_host
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.agents.test_captured_update import needs_a_gpu
from tests.contracts.factories import ACT, HIDDEN, OBS

ENTRIES = ("observation", "action", ("next", "reward"))
NAN, INF = float("nan"), float("inf")


def spoiled(batch: TensorDict, key=ENTRIES[0], value: float = NAN) -> TensorDict:
    """The batch with one number replaced."""
    batch = batch.clone()
    batch[key].view(-1)[-1] = value
    return batch


def state_of(agent: fp.Agent) -> dict[str, torch.Tensor]:
    """Every tensor that an update moves, copied."""
    state = dict(agent.state_dict())
    names = {parameter: name for name, parameter in agent.named_parameters()}
    for parameter, known in agent.optimizer.state.items():
        state |= {f"{key} of {names[parameter]}": value for key, value in known.items()}
    return {name: value.detach().clone() for name, value in state.items()}


def assert_same_bits(agent: fp.Agent, expected: dict[str, torch.Tensor]) -> None:
    state = state_of(agent)
    assert state.keys() == expected.keys()
    for name, value in state.items():
        bits = [x.flatten().view(torch.uint8) for x in (value, expected[name])]
        assert torch.equal(*bits), name


def assembled(**options) -> fp.Agent:
    """A delayed actor, one target before the step and one after it, and clipping."""
    critic, actor = fp.CriticEnsemble(OBS, ACT, HIDDEN), fp.OneStepActor(OBS, ACT, HIDDEN)
    target = fp.TargetNetwork(critic, 0.1, after_step=True)
    slow = fp.TargetNetwork(actor, 0.1, every=2)
    return fp.Agent(
        policy=actor,
        losses=[fp.TDLoss(critic, target, next_actor=slow), fp.DPGLoss(actor, critic)],
        **{"clip_norm": 0.5, "every": {"dpg": 2}, **options},
    )


AGENTS = {
    **{name: partial(small, name) for name in VARIANTS},
    "rebrac, delayed": partial(small, "rebrac", delay=2),
    "td3_bc, delayed": partial(small, "td3_bc", delay=2),
    "assembled": assembled,
}


@pytest.mark.parametrize("name", AGENTS)
def test_a_bad_batch_leaves_every_bit_as_it_was(name) -> None:
    """At the first update, after an update of each kind, and for what comes afterwards."""
    agent = AGENTS[name]()
    batch = batch_for(agent)
    for _ in range(2):
        for key in ENTRIES:
            if key not in agent.loss.in_keys:
                continue
            for value in (NAN, INF, -INF):
                before, twin = state_of(agent), copy.deepcopy(agent)
                metrics = agent.update(spoiled(batch, key, value))
                assert_same_bits(agent, before)
                assert not metrics["grad_norm"].isfinite()
                assert metrics["skipped_in_a_row"] == 1
                twin.step += 1  # batches are counted, and with them whose turn it is
                for each in (agent, twin):
                    metrics = each.update(batch)
                assert_same_bits(agent, state_of(twin))
                assert metrics["grad_norm"].isfinite()
                assert metrics["skipped_in_a_row"] == 0
    assert agent.guard.skipped == agent.step // 2


def test_what_is_skipped_is_counted() -> None:
    agent = small("flow_bc")
    batch = batch_for(agent)
    counts = [
        (int(metrics["skipped"]), int(metrics["skipped_in_a_row"]))
        for bad in (False, True, True, False, True)
        for metrics in [agent.update(spoiled(batch) if bad else batch)]
    ]
    assert counts == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
    assert agent.step == 5
    for duplicate in (copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):
        duplicate.update(spoiled(batch))
        assert (duplicate.guard.skipped, duplicate.guard.in_a_row) == (4, 2)
    assert agent.guard.skipped == 3
    assert not any("skipped" in name for name in agent.state_dict())


def test_metrics_of_earlier_updates_keep_their_counts() -> None:
    agent = small("flow_bc")
    first = agent.update(batch_for(agent))
    agent.update(spoiled(batch_for(agent)))
    assert (first["skipped"], first["skipped_in_a_row"]) == (0, 0)


def test_the_norm_is_that_of_all_gradients_before_clipping() -> None:
    agent = assembled(clip_norm=1e-3, every={})
    twin = copy.deepcopy(agent)
    batch = batch_for(agent)
    norm = agent.update(batch)["grad_norm"]
    out = twin.loss(batch)
    (out["loss_qvalue"] + out["loss_dpg"]).backward()
    gradients = [p.grad for _, p in twin.trained_parameters()]
    assert_close(norm, torch.cat([g.flatten() for g in gradients]).norm())


def test_a_gradient_too_long_to_be_squared_is_skipped() -> None:
    """Its loss is finite; its moments would not be."""
    agent = small("bc")
    agent.loss.losses[0].coefficient = 1e30
    before = state_of(agent)
    metrics = agent.update(batch_for(agent))
    assert metrics["loss_log_likelihood"].isfinite()
    assert metrics["grad_norm"] == INF
    assert_same_bits(agent, before)


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is() -> None:
    agent = small("flow_bc")
    loss = agent.loss.losses[0]
    per_sample = loss.per_sample
    loss.per_sample = lambda evaluated: (per_sample(evaluated)[0] + INF, {})
    before = state_of(agent)
    assert agent.update(batch_for(agent))["grad_norm"].isnan()
    assert_same_bits(agent, before)


OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=1e-2),
    "fused": partial(torch.optim.Adam, lr=1e-2, fused=True),
    "amsgrad": partial(torch.optim.AdamW, lr=1e-2, amsgrad=True),
    "nadam": partial(torch.optim.NAdam, lr=1e-2),
    "adagrad": partial(torch.optim.Adagrad, lr=1e-2),
    "sgd": partial(torch.optim.SGD, lr=1e-2),
    "momentum": partial(torch.optim.SGD, lr=1e-2, momentum=0.9, dampening=0.5),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_the_device_the_same_bits_come_out_as_on_the_host(optimizer) -> None:
    """Also where an optimizer makes its state in a step that is skipped."""
    host = assembled(optimizer=OPTIMIZERS[optimizer])
    device = copy.deepcopy(host)
    host.guard.condition, device.guard.condition = on_host, on_device
    good = batch_for(host)
    bad = spoiled(good)
    for batch in (bad, bad, good, bad, good, good, bad, bad, good):
        metrics = [agent.update(batch) for agent in (host, device)]
        assert_same_bits(device, state_of(host))
        for name, value in metrics[0].items():
            assert torch.equal(value, metrics[1][name]) or value.isnan()
    assert host.guard.skipped == device.guard.skipped == 5


def stacked(name: str, **options) -> list[fp.Agent]:
    return [small(name, flow_steps=2, **options) for _ in range(3)]


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("fused", [False, True])
def test_agents_of_a_stack_may_step_apart(after, fused) -> None:
    """As a captured update has them do; each is then left out, counter and all, on its own."""
    agents = [agent.double() for agent in stacked("fql")]
    for agent in agents:
        agent.optimizer = torch.optim.Adam(agent.trained_parameters(), fused=fused)
    for agent in agents:
        agent.guard.condition = on_device
    twins, before = copy.deepcopy(agents), []
    stack = fp.AgentStack(agents)
    for seed in range(5):
        if seed == after:
            stack.step_apart()
        batches = [batch_for(agents[0], seed=seed).double() for _ in agents]
        if seed == 3:
            batches[1] = spoiled(batches[1])
            before = state_of(agents[1])
        metrics = stack.update(torch.stack(batches))
        if seed == 3:
            assert_same_bits(agents[1], before)
        for i, (twin, batch) in enumerate(zip(twins, batches, strict=True)):
            for key, value in twin.update(batch).items():
                assert_close(metrics[key][i], value, rtol=1e-8, atol=1e-10, equal_nan=True)
    for agent, twin in zip(agents, twins, strict=True):
        expected = state_of(twin)
        for key, value in state_of(agent).items():
            assert_close(value, expected[key], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("spoils", [False, True])
def test_fused_agents_of_a_stack_step_apart_in_one_go(spoils) -> None:
    """On a device their targets move together; no agent is asked to step by itself."""
    agents = stacked("fql")
    for agent in agents:
        agent.optimizer = torch.optim.Adam(agent.trained_parameters(), fused=True)
        agent.guard.condition = on_device
    stack = fp.AgentStack(agents)
    stack.step_apart()
    for agent in agents[1:]:
        agent.guard.condition = lambda *_: pytest.fail("it was asked by itself")
    batches = [batch_for(agents[0], seed=seed) for seed in range(3)]
    batches[1] = spoiled(batches[1]) if spoils else batches[1]
    assert stack.update(torch.stack(batches))["skipped"].tolist() == [0, int(spoils), 0]


@pytest.mark.parametrize("condition", [on_host, on_device])
@pytest.mark.parametrize(("name", "options"), [("fql", {}), ("qam", {}), ("rebrac", {"delay": 2})])
def test_a_stack_skips_one_agent_and_moves_the_others(name, options, condition) -> None:
    """Bit for bit as if the batch had been good, and later on up to rounding."""
    agents = stacked(name, **options)
    other = copy.deepcopy(agents)
    batches = [batch_for(agents[0], seed=seed) for seed in range(3)]
    good = torch.stack(batches)
    bad = torch.stack([batches[0], spoiled(batches[1]), batches[2]])
    ours, theirs = fp.AgentStack(agents), fp.AgentStack(other)
    ours.guard.condition = condition
    for _ in range(2):  # the first update and a later one
        before = state_of(agents[1])
        metrics = ours.update(bad)
        theirs.update(good)
        if before.keys() == state_of(agents[1]).keys():
            kept = state_of(agents[1])
            if condition is on_device:  # counted with the others' there
                kept = {k: before[k] if k.startswith("step") else v for k, v in kept.items()}
            for key, value in kept.items():
                assert torch.equal(value, before[key]), key
        assert metrics["skipped_in_a_row"].tolist() == [0, 1, 0]
        for i in (0, 2):
            assert_same_bits(agents[i], state_of(other[i]))
        assert ours.update(good)["skipped_in_a_row"].tolist() == [0, 0, 0]
        theirs.update(good)
    assert [int(agent.guard.skipped) for agent in agents] == [0, 2, 0]


def test_a_counter_loaded_into_a_stacked_agent_is_where_it_counts_on() -> None:
    agents = stacked("flow_bc")
    stack = fp.AgentStack(agents)
    good = torch.stack([batch_for(agents[0])] * 3)
    stack.update(good)
    agents[1].guard.load(5, 2)
    bad = torch.stack([batch_for(agents[0])] * 2 + [spoiled(batch_for(agents[0]))])
    for batch, skipped, in_a_row in ((bad, 1, 1), (good, 1, 0), (good, 1, 0)):
        metrics = stack.update(batch)
        assert metrics["skipped"].tolist() == [0, 5, skipped]
        assert metrics["skipped_in_a_row"].tolist() == [0, 0, in_a_row]
    agents[1].guard.load(7, 3)
    assert stack.update(good)["skipped"].tolist() == [0, 7, 1]
    assert agents[1].update(batch_for(agents[0]))["skipped"] == 7


def test_a_stacked_agent_that_was_skipped_does_what_it_does_alone() -> None:
    agents = [agent.double() for agent in stacked("fql")]
    twins = copy.deepcopy(agents)
    stack = fp.AgentStack(agents)
    for seed in range(6):
        batches = [
            batch_for(agents[0], seed=10 * seed + i).apply(
                lambda x: x.double() if x.is_floating_point() else x
            )
            for i in range(3)
        ]
        if seed in (0, 3):
            batches[seed // 2] = spoiled(batches[seed // 2])
        metrics = stack.update(torch.stack(batches))
        for i, (twin, batch) in enumerate(zip(twins, batches, strict=True)):
            theirs = twin.update(batch)
            for key, value in theirs.items():
                assert_close(metrics[key][i], value, rtol=1e-8, atol=1e-10, equal_nan=True)
    for agent, twin in zip(agents, twins, strict=True):
        expected = state_of(twin)
        for key, value in state_of(agent).items():
            assert_close(value, expected[key], rtol=1e-9, atol=1e-10)
    assert copy.deepcopy(agents[0]).guard.whole == ()
    again = fp.AgentStack(agents)  # whose optimizers have made different numbers of steps
    batch = torch.stack(batches)
    for agent_batch, twin in zip(batches, twins, strict=True):
        twin.update(agent_batch)
    again.update(batch)
    expected = state_of(twins[0])
    for key, value in state_of(agents[0]).items():
        assert_close(value, expected[key], rtol=1e-9, atol=1e-10)


@pytest.mark.compile
@pytest.mark.parametrize("several", [False, True])
def test_compiled_updates_are_guarded_too(several) -> None:
    agents = stacked("fql")
    batch, bad = batch_for(agents[0]), spoiled(batch_for(agents[0]))
    learner = agents[0]
    if several:
        learner = fp.AgentStack(agents)
        batch, bad = torch.stack([batch] * 3), torch.stack([bad] * 3)
    eager = copy.deepcopy(agents[0])
    learner.compile("eager")
    norm = learner.update(batch)["grad_norm"]
    assert_close(norm.flatten()[0], eager.update(batch_for(eager))["grad_norm"])
    before = [state_of(agent) for agent in agents]
    assert learner.update(bad)["grad_norm"].isnan().all()
    for agent, expected in zip(agents, before, strict=True):
        assert_same_bits(agent, expected)


def test_fused_steps_on_a_gpu_may_be_captured() -> None:
    """Torch refuses to capture a step whose groups do not say so, fused or not."""
    on_gpu = Mock(is_cuda=True)
    group = {"params": [on_gpu], "capturable": False, "fused": True}
    optimizer = SimpleNamespace(param_groups=[group], state={})
    count_beside(optimizer)
    assert group["capturable"]
    on_gpu.is_cuda = False  # moved back
    count_beside(optimizer)
    assert not group["capturable"]


@needs_a_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_gpu_is_never_waited_for() -> None:
    agent = assembled().to("cuda")
    good = batch_for(agent).to("cuda")
    bad = spoiled(good)
    for batch in (good, good, bad):  # every network has had a step
        agent.update(batch)
    try:
        torch.cuda.set_sync_debug_mode("error")
        before = state_of(agent)
        for _ in range(4):
            agent.update(bad)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same_bits(agent, before)
    assert agent.guard.in_a_row == 5
