"""An agent as the files of a checkpoint, and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowpolicy.agents import Agent
from flowpolicy.checkpoint.directory import DamagedCheckpointError
from flowpolicy.checkpoint.optimizer_state import optimizer_to_state, state_to_optimizer
from flowpolicy.checkpoint.random_state import (
    random_to_tensors,
    require_generator_state,
    tensors_to_random,
)
from flowpolicy.checkpoint.tensors import (
    bytes_to_tensors,
    require_finite,
    require_same_layout,
    tensors_of,
    tensors_to_bytes,
)
from flowpolicy.errors import CheckpointError, FlowPolicyError

MODEL = "model.safetensors"
OPTIMIZER_TENSORS = "optimizer.safetensors"
OPTIMIZER_GROUPS = "optimizer.json"
RANDOM = "rng.safetensors"
PREPROCESSING = "preprocessing.safetensors"
ONLINE = "online.safetensors"
STATE = "state.json"
CONFIG = "config.json"


def agent_to_files(
    agent: Agent,
    *,
    config: Mapping[str, Any] | None = None,
    generators: Mapping[str, torch.Generator] | None = None,
    preprocessing: Mapping[str, Tensor] | None = None,
    online: Mapping[str, Tensor] | None = None,
) -> dict[str, bytes]:
    """Everything needed to go on with ``agent`` exactly where it stands.

    Args:
        agent: Networks, targets, optimizer, noise source and step counter are taken.
        config: Written as ``config.json``; what :func:`load_policy` builds the agent from.
        generators: Random generators outside the agent, by name.
        preprocessing: Tensors that the deployed policy applies around the actor.
        online: Transitions and counters of an online phase; no file where ``None``.

    Raises:
        CheckpointError: A value is not finite, or something cannot be written without loss.
    """
    origin = f"agent at step {agent.step}"
    model = tensors_of(agent.state_dict(), origin)
    optimizer, groups = optimizer_to_state(agent.optimizer)
    noise, noise_values = _split(agent.noise.state_dict(), "noise")
    preprocessing = preprocessing or {}
    for tensors in (model, optimizer, preprocessing, online or {}):
        require_finite(tensors, origin)
    state = {
        "step": agent.step,
        "noise": noise_values,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    files = {
        MODEL: tensors_to_bytes(model),
        OPTIMIZER_TENSORS: tensors_to_bytes(optimizer),
        OPTIMIZER_GROUPS: _json(groups),
        RANDOM: tensors_to_bytes(random_to_tensors(generators or {}) | noise),
        PREPROCESSING: tensors_to_bytes(preprocessing),
        STATE: _json(state),
        CONFIG: _json(config or {}),
    }
    return files if online is None else {**files, ONLINE: tensors_to_bytes(online)}


def agent_from_files(
    files: Mapping[str, bytes],
    agent: Agent,
    *,
    origin: str,
    generators: Mapping[str, torch.Generator] | None = None,
) -> None:
    """Puts the state of :func:`agent_to_files` into ``agent``; all of it, or nothing.

    Every name, shape and type is compared, and every random state tried, before the first value is
    changed. States of devices that are not here are kept, unopened, for the next checkpoint.

    Args:
        files: Verified contents, as from :func:`read_directory`.
        agent: An agent of the same architecture.
        origin: What to call the files in messages.
        generators: The generators that were saved, by name.

    Raises:
        CheckpointError: The checkpoint is of another architecture (the message names the first
            tensor that differs, with both shapes), or a random state does not fit its generator.
    """
    model = tensors_in(files, MODEL, origin)
    require_same_layout(model, tensors_of(agent.state_dict(), origin), origin)
    optimizer = state_to_optimizer(
        agent.optimizer,
        tensors_in(files, OPTIMIZER_TENSORS, origin),
        json_in(files, OPTIMIZER_GROUPS, origin),
        origin,
    )
    random = tensors_in(files, RANDOM, origin)
    state = json_in(files, STATE, origin)
    step = _step(state, origin)
    noise = _noise(agent, _joined(state["noise"], random, "noise"), origin)
    restore_random = tensors_to_random(random, generators or {}, origin)
    # From here on nothing is refused any more.
    agent.load_state_dict(model)
    agent.optimizer.load_state_dict(optimizer)
    agent.noise.load_state_dict(noise)
    restore_random()
    agent.step = step


def tensors_in(files: Mapping[str, bytes], name: str, origin: str) -> dict[str, Tensor]:
    """The tensors of one file of a checkpoint."""
    return bytes_to_tensors(_content(files, name, origin), f"{origin}: {name}")


def json_in(files: Mapping[str, bytes], name: str, origin: str) -> Any:
    """The value of one JSON file of a checkpoint."""
    try:
        return json.loads(_content(files, name, origin))
    except ValueError as error:
        raise DamagedCheckpointError(f"{origin}: {name} is not JSON ({error})") from error


def _content(files: Mapping[str, bytes], name: str, origin: str) -> bytes:
    if name not in files:
        raise CheckpointError(f"{origin} has no {name}; it is not a checkpoint of an agent")
    return files[name]


def _step(state: Any, origin: str) -> int:
    fits = isinstance(state, dict) and isinstance(state.get("noise"), dict)
    if not fits or not isinstance(state.get("step"), int):
        raise CheckpointError(f"{origin}: {STATE} lacks the step or the state of the noise")
    step: int = state["step"]
    return step


def _noise(agent: Agent, state: dict[str, Any], origin: str) -> dict[str, Any]:
    """The state itself, after a copy of the agent's noise source has taken it."""
    try:
        copy.deepcopy(agent.noise).load_state_dict(state)
        for device, value in state["generators"].items():
            require_generator_state(value, device)
    except (FlowPolicyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{origin}: the state of the noise is unusable ({error})") from error
    return state


def _split(state: Mapping[str, Any], prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A nested state as tensors by path, and the rest with its nesting."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        path = f"{prefix}/{name}"
        if isinstance(value, Tensor):
            tensors[path] = value
        elif isinstance(value, Mapping):
            inner, values[name] = _split(value, path)
            tensors |= inner
        else:
            values[name] = value
    return tensors, values


def _joined(
    values: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str
) -> dict[str, Any]:
    """The inverse of :func:`_split`."""
    state: dict[str, Any] = {
        name: _joined(value, tensors, f"{prefix}/{name}") if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
    for path, tensor in tensors.items():
        parent, _, name = path.rpartition("/")
        if parent == prefix:
            state[name] = tensor
    return state


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
