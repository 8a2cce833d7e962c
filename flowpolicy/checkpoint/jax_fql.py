"""Networks that the authors' code of FQL has trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowpolicy.agents import Agent, build
from flowpolicy.data.npz import read_npz
from flowpolicy.errors import CheckpointError, DataError, FlowPolicyError
from flowpolicy.modules.stacked import StackedLayerNorm, StackedLinear

_PLACES = {
    "networks.critic": "modules_critic/value_net",
    "targets.critic": "modules_target_critic/value_net",
    "networks.field": "modules_actor_bc_flow/mlp",
    "networks.actor": "modules_actor_onestep_flow/mlp",
}
_NORM_PARTS = {"weight": "scale", "bias": "bias"}
_LINEAR_PARTS = {"weight": "kernel", "bias": "bias"}

_Arrays = Mapping[str, np.ndarray[Any, Any]]


def load_jax_fql(path: str | os.PathLike[str]) -> Agent:
    r"""The agent of a run of the authors' FQL (JAX), from an npz of their parameters.

    ``examples/export_jax_fql.py`` writes the file in their environment. Networks and targets are
    theirs number by number, and so are the settings of the losses; the optimizer starts anew. What
    a linear layer calls :math:`W` here is the transpose of their ``kernel``.

    Args:
        path: the npz: every parameter by its path, such as
            ``modules_actor_bc_flow/mlp/Dense_0/kernel``, and ``config``, their agent's as JSON.

    Raises:
        CheckpointError: the file is not there, is no such npz, comes of another method or of an
            agent for pictures, or holds arrays that do not fit its configuration.

    Example:
        >>> from flowpolicy.checkpoint import load_jax_fql
        >>> agent = load_jax_fql("fql.npz")  # doctest: +SKIP
        >>> action = agent.act(observation)  # doctest: +SKIP

    Source: the code of Park, Li, Levine, "Flow Q-learning", ICML 2025, arXiv 2502.02538.
    """
    path = Path(path)
    arrays, config = _read(path)
    try:
        kernel = arrays["modules_actor_onestep_flow/mlp/Dense_0/kernel"]
        act_dim = int(config["action_dim"])
        hidden = _hidden(path, config, arrays)
        agent = build(
            "fql",
            kernel.shape[0] - act_dim,
            act_dim,
            hidden=hidden,
            flow_steps=config["flow_steps"],
            critics=len(arrays["modules_critic/value_net/Dense_0/kernel"]),
            alpha=config["alpha"],
            discount=config["discount"],
            tau=config["tau"],
            aggregation=config["q_agg"],
            scale="inverse_mean_abs" if config["normalize_q_loss"] else "unit",
            lr=config["lr"],
        )
        with torch.no_grad():
            for place, prefix in _PLACES.items():
                for parameter, name, array in _pairs(agent.get_submodule(place), arrays, prefix):
                    if parameter.shape != array.shape:
                        raise CheckpointError(
                            f"{path}: {name} must be {list(parameter.shape)} to fit its config, "
                            f"got {list(array.shape)}. Export the run anew."
                        )
                    parameter.copy_(array)
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no {error}, which a state-based FQL agent has. Export the run with "
            "examples/export_jax_fql.py."
        ) from error
    except (TypeError, ValueError, IndexError) as error:
        if isinstance(error, FlowPolicyError):
            raise
        raise CheckpointError(
            f"{path}: its config or its arrays are not those of an FQL agent ({error}). Export the "
            "run anew."
        ) from error
    return agent


def _read(path: Path) -> tuple[_Arrays, dict[str, Any]]:
    try:
        arrays = read_npz(path, None, texts=["config"])
        config: dict[str, Any] = json.loads(str(arrays.pop("config")))
    except (DataError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not an npz of examples/export_jax_fql.py ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: its config must be a JSON object. Export the run anew.")
    if config.get("agent_name") != "fql" or config.get("encoder") is not None:
        raise CheckpointError(
            f"{path}: must be of a state-based FQL agent, got agent_name="
            f"{config.get('agent_name')!r}, encoder={config.get('encoder')!r}. Other agents cannot "
            "be loaded."
        )
    return arrays, config


def _hidden(path: Path, config: Mapping[str, Any], arrays: _Arrays) -> tuple[int, ...]:
    """The sizes, where all networks share them as in the authors' runs and the arrays have them."""
    actor, critic = tuple(config["actor_hidden_dims"]), tuple(config["value_hidden_dims"])
    if actor != critic or config["actor_layer_norm"] or not config["layer_norm"]:
        raise CheckpointError(
            f"load_jax_fql: the recipe has one tuple of hidden sizes and LayerNorm in the critics "
            f"alone; this run has {actor} and {critic}, actor_layer_norm="
            f"{config['actor_layer_norm']}, layer_norm={config['layer_norm']}. Build the agent "
            "from parts."
        )
    for number, size in enumerate(actor):
        name = f"modules_actor_onestep_flow/mlp/Dense_{number}/kernel"
        if arrays[name].shape[-1] != size:  # before networks of the claimed sizes are made
            raise CheckpointError(
                f"{path}: {name} must have {size} columns to fit its config, got "
                f"{list(arrays[name].shape)}. Export the run anew."
            )
    return actor


def _pairs(
    network: nn.Module, arrays: _Arrays, prefix: str
) -> Iterator[tuple[nn.Parameter, str, Tensor]]:
    """Each parameter, the name of its array, and the array in the parameter's layout."""
    layers = [each for each in network.modules() if isinstance(each, (nn.Linear, StackedLinear))]
    norms = [
        each for each in network.modules() if isinstance(each, (nn.LayerNorm, StackedLayerNorm))
    ]
    for kind, modules, parts in (
        ("Dense", layers, _LINEAR_PARTS),
        ("LayerNorm", norms, _NORM_PARTS),
    ):
        for number, module in enumerate(modules):
            for ours, theirs in parts.items():
                name = f"{prefix}/{kind}_{number}/{theirs}"
                array = torch.from_numpy(arrays[name])
                if isinstance(module, nn.Linear) and ours == "weight":
                    array = array.T
                if isinstance(module, (StackedLinear, StackedLayerNorm)) and array.ndim == 2:
                    array = array.unsqueeze(1)  # one for every row of a member's batch
                yield getattr(module, ours), name, array
