"""The networks of a run of the authors' FQL, by way of the script for their environment."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import flowpolicy as fp
from flowpolicy.checkpoint import load_jax_fql
from tests.golden.readers_flow import fql
from tests.golden.record import Record

SCRIPT = Path(__file__).parents[2] / "examples" / "export_jax_fql.py"


def exported(folder: Path, name: str = "fql", **changes: object) -> Path:
    """A run folder in the authors' layout with a recorded agent in it, through the script."""
    record = Record(name)
    tree: dict = {}
    for key, array in record.arrays.items():
        if key.startswith("params/"):
            *path, leaf = key.removeprefix("params/").split("/")
            place = tree
            for part in path:
                place = place.setdefault(part, {})
            place[leaf] = array
    agent = {"network": {"params": tree, "opt_state": {}}, "rng": np.zeros(2)}
    (folder / "params_7.pkl").write_bytes(pickle.dumps({"agent": agent}))
    flags = {"agent": {**record.config, **changes}, "seed": 0}
    (folder / "flags.json").write_text(json.dumps(flags))
    spec = importlib.util.spec_from_file_location("export_jax_fql", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.export(folder, 7, folder / "fql.npz")
    return folder / "fql.npz"


@pytest.mark.parametrize("name", ["fql", "fql_min_norm"])
def test_the_loaded_agent_has_the_recorded_losses(tmp_path, name) -> None:
    agent = load_jax_fql(exported(tmp_path, name)).double()
    recorded = fql(name)
    result = agent.loss(recorded.batch())
    for ours, expected in recorded.expected().items():
        total = sum(result[key].item() for key in ours.split(" + "))
        assert total == pytest.approx(expected, rel=1e-5), ours


def test_every_network_is_theirs_number_by_number(tmp_path) -> None:
    path = exported(tmp_path)
    agent = load_jax_fql(path)
    with np.load(path) as file:  # the record's target critic is not its critic
        for network, name in (
            (agent.networks["critic"], "modules_critic/value_net"),
            (agent.targets["critic"].network, "modules_target_critic/value_net"),
        ):
            kernel, scale = file[f"{name}/Dense_1/kernel"], file[f"{name}/LayerNorm_1/scale"]
            assert np.array_equal(network.net[3].weight.detach(), kernel)
            assert np.array_equal(network.net[5].weight.detach().squeeze(1), scale)
        kernel = file["modules_actor_bc_flow/mlp/Dense_2/kernel"]
        assert np.array_equal(agent.networks["field"].net[-1].weight.detach(), kernel.T)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent_name": "ifql"}, "must be of a state-based FQL agent, got agent_name='ifql'"),
        ({"encoder": "impala_small"}, "encoder='impala_small'. Other agents cannot be loaded"),
        ({"actor_hidden_dims": [16, 8]}, "Build the agent from parts"),
        ({"actor_hidden_dims": [16] * 3, "value_hidden_dims": [16] * 3}, "to fit its config"),
        ({"actor_hidden_dims": [8, 16], "value_hidden_dims": [8, 16]}, "to fit its config"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, message) -> None:
    with pytest.raises(fp.CheckpointError, match=message):
        load_jax_fql(exported(tmp_path, **changes))


def test_a_missing_array_is_named(tmp_path) -> None:
    path = exported(tmp_path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if "bc_flow/mlp/Dense_1/bias" not in name}
    np.savez(path, **arrays)
    with pytest.raises(
        fp.CheckpointError, match="no 'modules_actor_bc_flow/mlp/Dense_1/bias', which a state-based"
    ):
        load_jax_fql(path)


def test_another_file_is_refused(tmp_path) -> None:
    (tmp_path / "notes.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", rewards=np.zeros(3))
    for name in ("absent.npz", "notes.npz", "other.npz"):
        with pytest.raises(fp.CheckpointError, match=r"not an npz of examples/export_jax_fql\.py"):
            load_jax_fql(tmp_path / name)
