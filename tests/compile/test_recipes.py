"""An update compiles as one graph, gives the same numbers, and is compiled once."""

from __future__ import annotations

import copy
import pickle
import shutil

import pytest
import torch
from torch.testing import assert_close

import flowpolicy as fp
from flowpolicy.data import Dataset
from tests.agents.recipes import VARIANTS, batch_for, small
from tests.contracts.factories import transitions

pytestmark = pytest.mark.compile

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))),
    reason="Inductor needs a C++ compiler on the PATH",
)


def assert_same_updates(agent: fp.Agent, twin: fp.Agent, seeds: range) -> None:
    """Equal metrics of every update, equal networks, targets and coefficients afterwards."""
    for seed in seeds:
        batch = batch_for(twin, seed=seed)
        ours, theirs = agent.update(batch), twin.update(batch)
        assert set(ours.keys()) == set(theirs.keys())
        for key, value in theirs.items():
            assert_close(ours[key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
            assert not ours[key].requires_grad
    theirs = twin.state_dict()
    for name, value in agent.state_dict().items():
        # Adam divides by what may be nearly zero in the first steps.
        assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def assert_compiled_is_eager(variant: str, backend: str, **options: object) -> None:
    agent = small(variant, flow_steps=2, **options)
    twin = copy.deepcopy(agent)
    agent.compile(backend)
    assert_same_updates(agent, twin, range(2))  # with delays: an update of each kind
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_same_updates(agent, twin, range(2, 4))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_is_one_graph(variant) -> None:
    assert_compiled_is_eager(variant, "eager")


@pytest.mark.parametrize("variant", ["rebrac", "td3_bc"])
def test_an_update_without_some_losses_is_a_graph_too(variant) -> None:
    assert_compiled_is_eager(variant, "eager", delay=2)


@needs_a_compiler
@pytest.mark.timeout(400)  # a minute of compilation, several on a busy machine
@pytest.mark.parametrize("variant", ["fql", pytest.param("qam", marks=pytest.mark.slow)])
def test_inductor(variant) -> None:
    assert_compiled_is_eager(variant, "inductor")


@needs_a_compiler
@pytest.mark.timeout(400)
def test_inductor_gives_out_gradients_without_gaps() -> None:
    asked = []

    def look(_: object) -> None:  # a pass of the compiler, which runs under its options
        from torch._inductor import config

        asked.append((config.shape_padding, config.comprehensive_padding))

    agent = small("flow_bc").compile(options={"post_grad_custom_pre_pass": look})
    agent.update(batch_for(agent))
    assert asked == [(False, False)]


def test_what_learns_may_change_under_a_compiled_update() -> None:
    """Parameters, targets, coefficients and temperatures."""
    agent = small("gfp", flow_steps=2)
    twin = copy.deepcopy(agent)
    agent.compile("eager")
    assert_same_updates(agent, twin, range(1))
    for each in (agent, twin):
        losses = {loss.name: loss for loss in each.loss.losses}
        losses["distill"].coefficient = 3.0
        losses["flow"].weight.temperature.fill_(0.5)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_same_updates(agent, twin, range(1, 3))
        agent.load_state_dict(small("gfp", flow_steps=2).state_dict())
        twin.load_state_dict(agent.state_dict())
        assert_same_updates(agent, twin, range(3, 4))


def test_one_agent_never_gets_the_program_of_another() -> None:
    """Two agents whose tensors look alike and whose losses differ."""
    agents = [small("fql", flow_steps=steps) for steps in (1, 2)]
    for agent in agents:
        twin = copy.deepcopy(agent)
        agent.compile("eager")
        assert_same_updates(agent, twin, range(2))


def test_any_number_of_agents_compiles() -> None:
    """Beyond the limit that Dynamo sets to the programs of one function."""
    with torch._dynamo.config.patch(recompile_limit=1):
        for _ in range(2):
            small("flow_bc").compile("eager").update(batch_for(small("flow_bc")))


@pytest.mark.parametrize("several", [False, True])
def test_batches_of_any_layout_share_one_program(several) -> None:
    """Rows of a data set are parts of wider rows, those of a replay buffer are not."""
    learner = fp.AgentStack([small("flow_bc")]) if several else small("flow_bc")
    shape = (1, 8) if several else (8,)
    wide = Dataset.from_tensordict(transitions(64)).sample(8).reshape(shape)
    assert not wide["action"].is_contiguous()
    learner.compile("eager").update(wide)
    with torch.compiler.set_stance("fail_on_recompile"):
        learner.update(wide.contiguous())
        learner.update(wide[..., :1].expand(shape))


@pytest.mark.parametrize("several", [False, True])
def test_metrics_outlive_the_replay_of_a_graph(several) -> None:
    """The backend writes its results where it wrote the last, as a CUDA graph does."""

    def replaying(graph, inputs, **_):
        memory = []

        def run(*arguments):
            results = graph(*arguments)
            if not memory:
                memory.extend(result.clone() for result in results)
            for place, result in zip(memory, results, strict=True):
                place.copy_(result)
            return tuple(memory)

        return run

    learner = fp.AgentStack([small("flow_bc")]) if several else small("flow_bc")
    first, second = (transitions(*((1, 8) if several else (8,)), seed=seed) for seed in (0, 1))
    learner.compile(replaying, options={"triton.cudagraphs": True})
    metrics = learner.update(first)
    told = metrics.clone()
    learner.update(second)
    for key in ("loss_flow", "grad_norm"):
        assert_close(metrics[key], told[key], rtol=0, atol=0)


def test_another_batch_size_and_dtype_compile_anew() -> None:
    agent = small("flow_bc")
    twin = copy.deepcopy(agent)
    agent.compile("eager")
    for size in (4, 8, 4):
        batch = batch_for(twin, size)
        assert_close(agent.update(batch)["loss_flow"], twin.update(batch)["loss_flow"])
    agent.double(), twin.double()
    batch = batch_for(twin).apply(lambda x: x.double() if x.is_floating_point() else x)
    assert_close(agent.update(batch)["loss_flow"], twin.update(batch)["loss_flow"])


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))]
)
def test_a_copy_of_a_compiled_agent_is_its_own(duplicate) -> None:
    agent = small("flow_bc").compile("eager")
    agent.update(batch_for(agent))
    twin = duplicate(agent)
    assert_same_updates(twin, copy.deepcopy(agent).uncompile(), range(1, 3))


def test_a_batch_that_does_not_fit_is_refused_as_without_compiling() -> None:
    agent = small("bc").compile("eager")
    batch = batch_for(agent)
    agent.update(batch)
    with pytest.raises(fp.MissingKeyError, match="action"):
        agent.update(batch.exclude("action"))
    with pytest.raises(fp.ShapeError, match="action"):
        agent.update(batch.clone().set("action", batch["action"][..., :1]))
    agent.update(batch)
