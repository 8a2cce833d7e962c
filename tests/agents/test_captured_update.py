"""Whole updates repeated as one call."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.agents.captured_update import require_capturable
from tests.agents.recipes import small
from tests.contracts.factories import ACT, HIDDEN, OBS, transitions

DATA = transitions(64)

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def rows(generator: torch.Generator, *shape: int, data=DATA):
    return data[torch.randint(len(data), shape, generator=generator, device=generator.device)]


def generator(device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(3)


def assert_same_states(agent: fp.Agent, twin: fp.Agent, tolerance: float = 0.0) -> None:
    assert agent.step == twin.step
    theirs = twin.state_dict()
    for name, value in agent.state_dict().items():
        assert_close(value.cpu(), theirs[name].cpu(), rtol=tolerance, atol=tolerance)


def test_calls_are_updates_one_after_the_other() -> None:
    agent = small("fql", flow_steps=2)
    twin, g = copy.deepcopy(agent), generator()
    update = fp.CapturedUpdate(agent, partial(rows, generator(), 8), updates=3)
    last = [update() for _ in range(2)][-1]
    for _ in range(6):
        theirs = twin.update(rows(g, 8))
    assert_same_states(agent, twin)
    assert_close(last["loss_flow"], theirs["loss_flow"])


def test_a_stack_is_repeated_like_an_agent() -> None:
    agents = [small("flow_bc") for _ in range(2)]
    twins, g = copy.deepcopy(agents), generator()
    stack = fp.AgentStack(agents)
    metrics = fp.CapturedUpdate(stack, partial(rows, generator(), 2, 8), updates=2)()
    assert metrics["loss_flow"].shape == (2,)
    for _ in range(2):
        for twin, batch in zip(twins, rows(g, 2, 8), strict=True):
            twin.update(batch)
    for agent, twin in zip(agents, twins, strict=True):
        assert_same_states(agent, twin, 1e-5)


def test_what_waits_must_fit_into_what_is_repeated() -> None:
    agent = small("rebrac", delay=2)
    batch = partial(rows, generator(), 8)
    with pytest.raises(fp.ConfigError, match="updates=3 must be a multiple of 2"):
        fp.CapturedUpdate(agent, batch, updates=3)
    fp.CapturedUpdate(agent, batch, updates=4)
    with pytest.raises(fp.ConfigError, match="updates must be at least 1, got 0"):
        fp.CapturedUpdate(agent, batch, updates=0)


def load_optimizer(agent: fp.Agent) -> None:
    agent.optimizer.load_state_dict(copy.deepcopy(agent.optimizer.state_dict()))


def set_rate(agent: fp.Agent) -> None:
    agent.optimizer.param_groups[0]["lr"] = 1e-5


def with_tensor_rate() -> fp.Agent:
    """Whose learning rate lies on the CPU, where an optimizer on a GPU reads it as a number."""
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    optimizer = partial(torch.optim.Adam, lr=torch.tensor(3e-4), foreach=False)
    return fp.Agent(fp.EulerSampler(field, 2), [fp.FlowMatchingLoss(field)], optimizer)


def test_a_rate_in_a_tensor_of_the_host_is_compared_by_its_value() -> None:
    agent = with_tensor_rate()
    update = fp.CapturedUpdate(agent, partial(rows, generator(), 8))
    update()
    held = update._held()
    agent.optimizer.param_groups[0]["lr"].fill_(1e-5)
    assert update._held() != held


def test_optimizers_that_read_numbers_back_are_refused() -> None:
    for kind in (torch.optim.Adagrad, torch.optim.Adafactor):
        with pytest.raises(fp.ConfigError, match=f"CapturedUpdate: {kind.__name__} waits for the"):
            require_capturable(kind([torch.zeros(2, requires_grad=True)]))
    for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop):
        require_capturable(kind([torch.zeros(2, requires_grad=True)]))


def replace_parameter(agent: fp.Agent) -> None:
    parameter = next(agent.networks.parameters())
    parameter.data = parameter.data.clone()


def set_tau(agent: fp.Agent) -> None:
    next(iter(agent.targets.values())).tau = 0.5


@pytest.mark.parametrize(
    "change",
    [load_optimizer, set_rate, replace_parameter, set_tau, lambda agent: agent.noise.seed(3)],
)
def test_what_a_graph_holds_is_compared(change) -> None:
    """An ordinary update changes nothing of it, and what a graph cannot see does."""
    agent = small("fql", flow_steps=2)
    update = fp.CapturedUpdate(agent, partial(rows, generator(), 8))
    update()
    held = update._held()
    update()
    assert update._held() == held
    change(agent)
    assert update._held() != held


def test_the_turn_of_what_waits_is_held() -> None:
    agent = small("rebrac", delay=2)
    update = fp.CapturedUpdate(agent, partial(rows, generator(), 8), updates=2)
    update()
    held = update._held()
    agent.update(rows(generator(), 8))
    assert update._held() != held


def test_a_target_that_only_the_policy_asks_is_waited_for() -> None:
    field = fp.VelocityField(OBS, ACT, HIDDEN)
    slow = fp.EulerSampler(fp.TargetNetwork(field, every=10), steps=2)
    agent = fp.Agent(policy=slow, losses=[fp.FlowMatchingLoss(field)])
    with pytest.raises(fp.ConfigError, match="updates=1 must be a multiple of 10"):
        fp.CapturedUpdate(agent, partial(rows, generator(), 8))


def test_what_cannot_be_recorded_is_refused() -> None:
    agent = small("flow_bc")
    elsewhere = SimpleNamespace(device=torch.device("cuda:0"))
    with pytest.raises(fp.ConfigError, match="a generator is on cuda:0, the learner on cpu; make"):
        fp.CapturedUpdate(agent, partial(rows, generator(), 8), generators=[elsewhere])
    update = fp.CapturedUpdate(agent, partial(rows, generator(), 8))
    update.device = torch.device("cuda", 0)
    for said, fits in (("cuda", True), ("cuda:0", True), ("cuda:1", False), ("cpu", False)):
        assert update._draws_there(SimpleNamespace(device=torch.device(said))) == fits
    agent.compile(mode="reduce-overhead")
    with pytest.raises(fp.ConfigError, match="compiled in a mode that replays CUDA graphs of its"):
        fp.CapturedUpdate(agent, partial(rows, generator(), 8))
    stack = fp.AgentStack([small("flow_bc")]).compile(options={"triton.cudagraphs": True})
    with pytest.raises(fp.ConfigError, match="compiled in a mode that replays CUDA graphs of its"):
        fp.CapturedUpdate(stack, partial(rows, generator(), 1, 8))


@needs_a_gpu
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("compiles", [False, True])
def test_a_replay_is_what_the_updates_are(compiles) -> None:
    agent = small("fql", flow_steps=2).to("cuda")
    twin = copy.deepcopy(agent)
    data, ours, theirs = DATA.to("cuda"), generator("cuda"), generator("cuda")
    if compiles:
        agent.compile()
    update = fp.CapturedUpdate(
        agent, partial(rows, ours, 8, data=data), updates=2, generators=[ours]
    )
    for _ in range(3):
        update()
    while twin.step < agent.step:
        twin.update(rows(theirs, 8, data=data))
    assert_same_states(agent, twin, 1e-4)
