"""An update compiles as one graph, gives the same numbers, and is compiled once."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from tensordict import TensorDict
from torch.testing import assert_close

import flowpolicy as fp
from tests.agents.recipes import VARIANTS, batch_for, small

pytestmark = pytest.mark.compile

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))),
    reason="Inductor needs a C++ compiler on the PATH",
)


def losses_and_gradients(agent: fp.Agent, loss, batch: TensorDict) -> dict[str, torch.Tensor]:
    """Everything that an update computes before the optimizer's step."""
    agent.zero_grad()
    out = loss(batch)
    sum(value for key, value in out.items() if key.startswith("loss")).backward()
    return {
        **{key: value.detach() for key, value in out.items()},
        **{name: parameter.grad.clone() for name, parameter in agent.trained_parameters()},
    }


def assert_compiled_is_eager(variant: str, backend: str) -> None:
    torch._dynamo.reset()
    agent = small(variant, flow_steps=2)
    first, second = batch_for(agent), batch_for(agent, seed=5)
    expected = [losses_and_gradients(agent, agent.loss, batch) for batch in (first, second)]
    compiled = torch.compile(agent.loss, fullgraph=True, backend=backend)
    results = [losses_and_gradients(agent, compiled, first)]
    with torch.compiler.set_stance("fail_on_recompile"):
        results.append(losses_and_gradients(agent, compiled, second))
    for ours, theirs in zip(results, expected, strict=True):
        assert set(ours) == set(theirs)
        for key, value in theirs.items():
            assert_close(ours[key], value, rtol=1e-5, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_is_one_graph(variant) -> None:
    assert_compiled_is_eager(variant, "eager")


@needs_a_compiler
@pytest.mark.timeout(400)  # a minute of compilation, several on a busy machine
@pytest.mark.parametrize("variant", ["fql", "gfp"])
def test_inductor(variant) -> None:
    assert_compiled_is_eager(variant, "inductor")


def test_training_on_goes_without_a_new_compilation() -> None:
    """Parameters, targets, coefficients and temperatures may change under a compiled loss."""
    torch._dynamo.reset()
    agent = small("gfp", flow_steps=2)
    twin = copy.deepcopy(agent)
    agent.__dict__["loss"] = torch.compile(agent.loss, fullgraph=True, backend="eager")
    batch = batch_for(twin)
    agent.update(batch), twin.update(batch)
    with torch.compiler.set_stance("fail_on_recompile"):
        for each in (agent, twin):
            losses = {loss.name: loss for loss in each.loss.losses}
            losses["distill"].coefficient = 3.0
            losses["flow"].weight.temperature.fill_(0.5)
        for seed in (1, 2):
            batch = batch_for(twin, seed=seed)
            ours, theirs = agent.update(batch), twin.update(batch)
            for key, value in theirs.items():
                assert_close(ours[key], value, rtol=1e-5, atol=1e-5)
