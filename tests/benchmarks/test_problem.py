"""What is measured is a whole update of every recipe, and its products are counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

import flowpolicy as fp
from benchmarks.memory import CLEAR, activations
from benchmarks.problem import ACT_DIM, OBS_DIM, agent_of, period, random_batch, update_flops
from benchmarks.report import read


@pytest.mark.parametrize("recipe", fp.agents.RECIPES)
def test_every_recipe_takes_the_batch(recipe) -> None:
    agent, batch = agent_of(recipe, (8,)), random_batch(4)
    flops = update_flops(agent, batch)
    assert agent.step == period(agent)
    # A linear layer that is trained costs as much forward as for its gradient, or more.
    weights = sum(p.numel() for _, p in agent.trained_parameters() if p.ndim > 1)
    assert flops >= 2 * 2 * 4 * weights * 0.9


def test_products_are_counted() -> None:
    flops = update_flops(agent_of("flow_bc", (8,)), random_batch(4))
    first, last = (OBS_DIM + ACT_DIM + 1) * 8, 8 * ACT_DIM
    # Forward, gradients of both weights, gradient of the last layer's input.
    assert flops == 2 * 4 * (2 * (first + last) + last)


def test_products_of_losses_that_count_now_and_then_are_averaged() -> None:
    flops = {}
    for every in (1, 2):
        agent = agent_of("td3_bc", (8,))
        agent.every = {"dpg": every, "clone": every}
        flops[every] = update_flops(agent, random_batch(4))
        assert agent.step == every == period(agent)
    assert flops[1] / 2 < flops[2] < flops[1]


def test_seeds_differ_in_networks_and_noise() -> None:
    batch = random_batch(4)
    one, again, other = (agent_of("fql", (8,), seed=seed) for seed in (0, 0, 1))
    losses = [agent.update(batch)["loss_flow"] for agent in (one, again, other)]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


def test_wider_networks_keep_more_for_their_backward_pass() -> None:
    narrow, wide = (activations(agent_of("fql", (width,))) for width in (64, 128))
    # 256 rows, two critics, float32: at least what goes into activation and last layer.
    assert wide - narrow >= 2 * 256 * 2 * 64 * 4


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR.exists(), reason="reads the peak from Linux")
def test_peak_memory_is_of_the_size_of_its_parts() -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "fql", "256x3", "eager"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    needed = sum(found["parts"].values())
    assert 0.7 * needed < found["peak"] < 4 * needed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "first"),
    [
        ("losses", "losses[flow]", "loss objects"),
        ("obstacles", "batched_product[64]", "one batched product"),
    ],
)
def test_one_command_measures_stores_and_prints(module, name, first, tmp_path) -> None:
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--threads", "1"]
    command += ["--only", module, "--out", str(tmp_path), "-k", name]
    # Within a worker of pytest-xdist, pytest-benchmark stores nothing.
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=alone).stdout
    (measured,) = read([tmp_path / f"threads1-{module}.json"])
    assert measured.name == name and measured.first == first
    assert f"| {name} | 1 | {first} |" in out
    assert (tmp_path / "tables.md").read_text() in out
