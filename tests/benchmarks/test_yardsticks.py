"""The yardsticks compute the recorded update of the authors' code, as the recipe does."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.yardsticks.plain_fql import PlainFQL
from tests.golden.record import HIDDEN, Record

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX comes with the extra `bench`"
)
MODULES = {"actor": "actor_onestep_flow", "critic": "critic", "field": "actor_bc_flow"}
DRAWS = {"next_noise": 0, "x0": 1, "time": 2, "noise": 3}
METRICS = {
    "loss_qvalue": "critic/critic_loss",
    "loss_flow": "actor/bc_flow_loss",
    "distill_error": "actor/distill_loss",
    "loss_dpg": "actor/q_loss",
}
FLAX = {"kernel": "Dense_{}/kernel", "bias": "Dense_{}/bias"}
NORM = {"scale": "LayerNorm_{}/scale", "shift": "LayerNorm_{}/bias"}


@pytest.fixture
def record() -> Record:
    return Record("fql")


def batch_of(record: Record) -> dict[str, np.ndarray]:
    names = {
        "observation": "observations",
        "action": "actions",
        "next_observation": "next_observations",
        "reward": "rewards",
    }
    batch = {ours: record.tensor(f"batch/{theirs}").numpy() for ours, theirs in names.items()}
    return {**batch, "terminated": 1 - record.tensor("batch/masks").numpy()}


def settings_of(record: Record) -> dict[str, Any]:
    return {key: record.config[key] for key in ("flow_steps", "alpha", "discount", "tau", "lr")}


def recorded_network(record: Record, kind: str, module: str) -> list[dict[str, np.ndarray]]:
    """Layer by layer, as the JAX yardstick holds it."""
    prefix = f"{kind}/modules_{module}/{'value_net' if 'critic' in module else 'mlp'}/"
    layers = []
    for i in range(len(HIDDEN) + 1):
        names = {ours: prefix + theirs.format(i) for ours, theirs in {**FLAX, **NORM}.items()}
        held = {ours: key for ours, key in names.items() if key in record.arrays}
        layers.append({ours: record.tensor(key).numpy() for ours, key in held.items()})
    return layers


def assert_after_the_step(record: Record, module: str, layers: list[dict[str, np.ndarray]]) -> None:
    """Every parameter, except where float32 cannot tell a gradient from 0 (see tests/golden)."""
    after, gradients = (recorded_network(record, kind, module) for kind in ("after", "grads"))
    for ours, expected, gradient in zip(layers, after, gradients, strict=True):
        assert set(ours) == set(expected)
        for name, value in expected.items():
            size = np.abs(gradient[name])
            told = (size == 0) | (size > 1e-6 * size.max())
            assert told.mean() > 0.9
            assert (np.abs(np.asarray(ours[name]) - value) <= 1e-6)[told].all(), (module, name)


def layers_in_torch(network: torch.nn.Sequential) -> list[dict[str, torch.nn.Parameter]]:
    layers: list[dict[str, torch.nn.Parameter]] = []
    for each in network:
        if isinstance(each, torch.nn.Linear):
            layers.append({"kernel": each.weight, "bias": each.bias})
        elif isinstance(each, torch.nn.LayerNorm):
            layers[-1] |= {"scale": each.weight, "shift": each.bias}
    return layers


def member(layers: list[dict[str, np.ndarray]], k: int) -> list[dict[str, np.ndarray]]:
    return [{name: value[k] for name, value in layer.items()} for layer in layers]


def load_into_torch(network: torch.nn.Sequential, layers: list[dict[str, np.ndarray]]) -> None:
    with torch.no_grad():
        for ours, theirs in zip(layers_in_torch(network), layers, strict=True):
            assert set(ours) == set(theirs)
            for name, parameter in ours.items():
                value = torch.from_numpy(theirs[name])
                parameter.copy_(value.T if name == "kernel" else value)


def read_from_torch(network: torch.nn.Sequential) -> list[dict[str, np.ndarray]]:
    return [
        {name: (p.T if name == "kernel" else p).detach().numpy() for name, p in layer.items()}
        for layer in layers_in_torch(network)
    ]


def stacked(members: list[list[dict[str, np.ndarray]]]) -> list[dict[str, np.ndarray]]:
    return [
        {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}
        for layers in zip(*members, strict=True)
    ]


def test_plain_fql_is_the_recorded_update(record) -> None:
    agent = PlainFQL(7, 3, HIDDEN, **settings_of(record)).double()
    for name in ("actor", "field"):
        load_into_torch(getattr(agent, name), recorded_network(record, "params", MODULES[name]))
    for name, module in (("critic", "critic"), ("target", "target_critic")):
        layers = recorded_network(record, "params", module)
        for k, critic in enumerate(getattr(agent, name)):
            load_into_torch(critic, member(layers, k))
    batch = {key: torch.from_numpy(value) for key, value in batch_of(record).items()}

    metrics = agent.update(batch, {key: record.draw(n) for key, n in DRAWS.items()})

    for ours, theirs in METRICS.items():
        assert metrics[ours].item() == pytest.approx(record.info(theirs), rel=1e-5)
    for name in ("actor", "field"):
        assert_after_the_step(record, MODULES[name], read_from_torch(getattr(agent, name)))
    for name, module in (("critic", "critic"), ("target", "target_critic")):
        layers = stacked([read_from_torch(critic) for critic in getattr(agent, name)])
        assert_after_the_step(record, module, layers)


@needs_jax
def test_jax_fql_is_the_recorded_update(record) -> None:
    import jax

    from benchmarks.yardsticks import jax_fql

    with jax.enable_x64(True):
        params = {
            name: recorded_network(record, "params", module) for name, module in MODULES.items()
        }
        target = recorded_network(record, "params", "target_critic")
        state = jax_fql.start(*jax.device_put((params, target)), jax.random.key(0))
        batch = jax_fql.Batch(**batch_of(record))
        draws = jax_fql.Draws(**{key: record.draw(n).numpy() for key, n in DRAWS.items()})
        settings = jax_fql.Settings(**settings_of(record))

        update = jax.jit(jax_fql.update_given, static_argnames="settings")
        state, metrics = update(state, batch, draws, settings=settings)

        for ours, theirs in METRICS.items():
            assert metrics[ours].item() == pytest.approx(record.info(theirs), rel=1e-5)
        for name, module in MODULES.items():
            assert_after_the_step(record, module, state.params[name])
        assert_after_the_step(record, "target_critic", state.target)


@needs_jax
def test_jax_fql_draws_anew_in_every_update() -> None:
    from benchmarks.yardsticks import jax_fql

    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)  # noqa: E731
    batch = {"observation": normal(8, 7), "action": normal(8, 3), "next_observation": normal(8, 7)}
    batch |= {"reward": normal(8), "terminated": np.zeros(8, np.float32)}
    updater = jax_fql.Updater(batch, HIDDEN, jax_fql.Settings(flow_steps=1, lr=0.0))
    first, second = (updater()["loss_flow"].item() for _ in range(2))
    assert first != second  # nothing was learnt, so only the noise differs
