"""What stands in the way of faster updates, one thing at a time."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import flowpolicy as fp
from benchmarks.bench_update import jax_update, seconds_of_first
from benchmarks.problem import ACT_DIM, BATCH, OBS_DIM, SIZES, agent_of, random_batch
from benchmarks.update_time import PROGRAMS
from benchmarks.whole_update import WholeUpdate
from flowpolicy.agents import loss_gradient
from flowpolicy.functional import tanh_gelu

WIDTH, ROWS = 512, 2560
STEPS, SEEDS = 10, 8


def each(call, *parts) -> None:
    """One after the other."""
    for arguments in zip(*parts, strict=True):
        call(*arguments)


def program(call):
    """As losses are compiled."""
    return torch.compile(call, fullgraph=True, dynamic=False)


def test_rows_of_a_product(in_turn) -> None:
    """As many rows each time, at once or in pieces as large as a batch."""
    x, weight, out = torch.randn(ROWS, WIDTH), torch.randn(WIDTH, WIDTH), torch.empty(ROWS, WIDTH)

    def products(rows):
        return lambda: each(
            lambda part, into: torch.mm(part, weight, out=into), x.split(rows), out.split(rows)
        )

    in_turn({f"{rows} rows at a time": products(rows) for rows in (256, WIDTH, ROWS)})


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("rows", [256, WIDTH, ROWS])
def test_layer(rows, in_turn) -> None:
    """A layer with its activation within oneDNN's product, with its weights packed or not."""
    x, weight, bias = torch.randn(rows, WIDTH), torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)

    def fused(weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")

    def layer(x, weight, bias):
        return tanh_gelu(F.linear(x, weight, bias))

    compiled = partial(program(layer), x, weight, bias)
    torch.testing.assert_close(fused(packed), compiled(), rtol=1e-3, atol=1e-3)  # equal work
    in_turn(
        {
            "oneDNN, packed, activation within": partial(fused, packed),
            "oneDNN, not packed, activation within": partial(fused, weight),
            "MKL, then the activation, compiled": compiled,
            "MKL without activation": partial(F.linear, x, weight, bias),
        },
        seconds=3.0,
    )


def by_autograd(gelu, x, gradient):
    x = x.detach().requires_grad_()
    y = gelu(x)
    return y, *torch.autograd.grad(y, x, gradient)


def by_vjp(gelu, x, gradient):
    y, pull = torch.func.vjp(gelu, x)
    return y, *pull(gradient)


GELU = {
    "forward": lambda gelu, x, _: gelu(x),
    "with gradient": by_autograd,
    "with gradient, compiled": program(by_vjp),
}


@pytest.mark.parametrize("form", GELU)
def test_tanh_gelu(form, in_turn) -> None:
    x, gradient = torch.randn(2, BATCH, WIDTH)
    ours, theirs = (
        partial(GELU[form], gelu, x, gradient)
        for gelu in (tanh_gelu, partial(F.gelu, approximate="tanh"))
    )
    torch.testing.assert_close(ours(), theirs())  # equal work
    in_turn({"by the sigmoid": ours, "torch's": theirs}, seconds=3.0)


OPTIONS = {
    "cpp_wrapper": {"cpp_wrapper": True},
    "fused multiply-add": {"cpp.enable_floating_point_contract_flag": "fast"},
    "max_autotune": {"max_autotune": True, "max_autotune_gemm_backends": "CPP,ATEN"},
}


@pytest.mark.parametrize("size", ["64x2", "256x3", "512x4"])
@pytest.mark.parametrize("option", OPTIONS)
def test_option(option, size, in_turn) -> None:
    """An update of FQL with an option of Inductor."""
    batch, variants, seconds = random_batch(), {}, {}
    for name, options in ((option, OPTIONS[option]), ("default", None)):
        agent = agent_of("fql", SIZES[size]).compile(options=options)
        variants[name] = partial(agent.update, batch)
        seconds[name] = seconds_of_first(variants[name])
    in_turn(variants, compile_seconds=seconds)


@pytest.mark.parametrize("width", [64, 256])
def test_batched_product(width, in_turn) -> None:
    """The products of eight seeds."""
    x, weights = torch.randn(SEEDS, BATCH, width), torch.randn(SEEDS, width, width)
    out = torch.empty(SEEDS, BATCH, width)
    in_turn(
        {
            "one batched product": lambda: torch.bmm(x, weights, out=out),
            "eight products": lambda: each(
                lambda x, weight, into: torch.mm(x, weight, out=into), x, weights, out
            ),
        },
        seconds=3.0,
    )


@pytest.mark.parametrize("width", [64, 256])
def test_batched_network(width, in_turn) -> None:
    """Three layers of eight seeds, forward: more of them than of one go through the cache."""
    x, weights = torch.randn(SEEDS, BATCH, width), torch.randn(3, SEEDS, width, width) / width**0.5

    def network(x, weights):
        for weight in weights:
            x = tanh_gelu(x @ weight)
        return x

    in_turn(
        {
            "eight as one": partial(program(network), x, weights),
            "one by one": partial(each, program(network), x, weights.unbind(1)),
        },
        seconds=3.0,
    )


def euler_steps(net: nn.Sequential, s, x):
    for i in range(STEPS):
        t = x.new_full((len(x), 1), i / STEPS)
        x = x + net(torch.cat([s, x, t], -1)) / STEPS
    return x


def euler_steps_seeing_once(net: nn.Sequential, s, x):
    of_observation, of_rest = net[0].weight.split([OBS_DIM, ACT_DIM + 1], -1)
    seen = F.linear(s, of_observation, net[0].bias)
    for i in range(STEPS):
        t = x.new_full((len(x), 1), i / STEPS)
        x = x + net[1:](seen + F.linear(torch.cat([x, t], -1), of_rest)) / STEPS
    return x


@pytest.mark.parametrize("size", ["64x2", "256x3", "512x4"])
def test_observation(size, in_turn) -> None:
    """The observation's part of the first layer once for all Euler steps, or in each."""
    net = fp.VelocityField(OBS_DIM, ACT_DIM, SIZES[size]).net.requires_grad_(False)
    s, noise = torch.randn(BATCH, OBS_DIM), torch.randn(BATCH, ACT_DIM)
    agent = agent_of("fql", SIZES[size]).compile()
    once = partial(program(euler_steps_seeing_once), net, s, noise)
    in_each = partial(program(euler_steps), net, s, noise)
    torch.testing.assert_close(once(), in_each(), rtol=1e-4, atol=1e-4)  # equal work
    update = partial(agent.update, random_batch())
    in_turn({"once": once, "in each step": in_each, "update": update})


@pytest.mark.parametrize("size", ["64x2", "256x3", "512x4"])
def test_finite_gradient(size, in_turn, monkeypatch) -> None:
    """An update that asks whether its gradient is finite, and one that does not."""
    batch = random_batch()
    asking, trusting = (agent_of("fql", SIZES[size]).compile() for _ in range(2))
    asking.update(batch)
    trusting.guard.condition = lambda norm, step: step.take()
    with monkeypatch.context() as patch:
        patch.setattr(loss_gradient, "gradient_norm", lambda norms, loss: loss.detach())
        trusting.update(batch)  # compiles: without the norm
    in_turn({"guarded": partial(asking.update, batch), "not": partial(trusting.update, batch)})


def vector(part: nn.Module) -> torch.Tensor:
    """All parameters, in float64."""
    return nn.utils.parameters_to_vector(part.parameters()).detach().double()


@pytest.mark.parametrize("size", ["64x2", "128x3"])
@pytest.mark.parametrize("wrapper", ["python", "cpp"])
def test_whole_update(wrapper, size, in_turn, jax_cpu) -> None:
    """Optimizer, targets and losses as one program, beside the update as it is and JAX's."""
    batch, agents = random_batch(), [agent_of("fql", SIZES[size]) for _ in range(2)]
    agents[1].compile()
    for agent in agents:
        agent.update(batch)
    whole = WholeUpdate(agents[0], batch, {"cpp_wrapper": wrapper == "cpp"})
    variants = {"one program": whole, "as it is": partial(agents[1].update, batch)}
    start = [vector(part) for part in (agents[1].networks, agents[1].targets)]
    for update in variants.values():
        update()
    for before, part in zip(start, ("networks", "targets"), strict=True):  # equal work
        ours, expected = (vector(getattr(agent, part)) for agent in agents)
        assert (ours - expected).norm() < 0.01 * (expected - before).norm()
    in_turn({**variants, "jax": jax_update(batch, SIZES[size])})


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
@pytest.mark.parametrize("size", ["64x2", "256x3", "512x4"])
def test_freed_memory(size, benchmark, quick) -> None:
    """Kept for the next update, or given back to the system: a matter of the whole process."""
    values = {name: [] for name in PROGRAMS if name != "jax" or find_spec("jax")}

    def take_turns() -> None:
        for name, found in values.items():
            turns = "2" if quick else "8"
            command = [sys.executable, "-m", "benchmarks.update_time", size, turns, name]
            told = subprocess.run(command, check=True, capture_output=True).stdout
            found.extend(json.loads(told))

    benchmark.pedantic(take_turns, rounds=1 if quick else 2)
    benchmark.extra_info.update(values=values, threads=1, targets={})
