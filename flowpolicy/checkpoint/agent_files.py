"""An agent as the files of a checkpoint, and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flowpolicy.agents import Agent
from flowpolicy.agents.guarded_step import count_beside
from flowpolicy.checkpoint.contents import json_in, tensors_in, to_json
from flowpolicy.checkpoint.environment import environment
from flowpolicy.checkpoint.extras import Stateful, extras_to_files, files_to_extras
from flowpolicy.checkpoint.nested_state import joined_state, split_state
from flowpolicy.checkpoint.optimizer_state import optimizer_to_state, state_to_optimizer
from flowpolicy.checkpoint.random_state import (
    random_to_tensors,
    require_generator_state,
    tensors_to_random,
)
from flowpolicy.checkpoint.tensors import (
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
DATA = "data.json"
ENVIRONMENT = "environment.json"


def agent_to_files(
    agent: Agent,
    *,
    config: Mapping[str, Any] | None = None,
    generators: Mapping[str, torch.Generator] | None = None,
    preprocessing: Mapping[str, Tensor] | None = None,
    online: Mapping[str, Tensor] | None = None,
    extras: Mapping[str, Stateful] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Everything needed to go on with ``agent`` exactly where it stands.

    Args:
        agent: Networks, targets, optimizer, noise source and counters are taken.
        config: Written as ``config.json``; what :func:`load_policy` builds the agent from.
        generators: Random generators outside the agent, by name.
        preprocessing: Tensors that the deployed policy applies around the actor.
        online: Transitions and counters of an online phase; no file where ``None``.
        extras: Whatever else has a state, by name: learning-rate schedules, samplers.
        data: What is known about the data, see :class:`~flowpolicy.data.DatasetInfo`.

    Raises:
        CheckpointError: A value is not finite, or something cannot be written without loss.
    """
    origin = f"agent at step {agent.step}"
    model = tensors_of(agent.state_dict(), origin)
    optimizer, groups = optimizer_to_state(agent.optimizer)
    noise_values, noise = split_state(agent.noise.state_dict(), "noise")
    preprocessing = preprocessing or {}
    for tensors in (model, optimizer, preprocessing, online or {}):
        require_finite(tensors, origin)
    device = next(agent.parameters()).device
    state = {
        "step": agent.step,
        "skipped": int(agent.guard.skipped),
        "skipped_in_a_row": int(agent.guard.in_a_row),
        "noise": noise_values,
    }
    files = {
        MODEL: tensors_to_bytes(model),
        OPTIMIZER_TENSORS: tensors_to_bytes(optimizer),
        OPTIMIZER_GROUPS: to_json(groups),
        RANDOM: tensors_to_bytes(random_to_tensors(generators or {}) | noise),
        PREPROCESSING: tensors_to_bytes(preprocessing),
        STATE: to_json(state),
        CONFIG: to_json(config or {}),
        DATA: to_json(data or {}),
        ENVIRONMENT: to_json(environment(device)),
        **extras_to_files(extras or {}),
    }
    return files if online is None else {**files, ONLINE: tensors_to_bytes(online)}


def agent_from_files(
    files: Mapping[str, bytes],
    agent: Agent,
    *,
    origin: str,
    generators: Mapping[str, torch.Generator] | None = None,
    extras: Mapping[str, Stateful] | None = None,
) -> None:
    """Puts the state of :func:`agent_to_files` into ``agent``; all of it, or nothing.

    Every name, shape and type is compared, and every random state tried, before the first value is
    changed. States of devices that are not here are kept, unopened, for the next checkpoint.

    Args:
        files: Verified contents, as from :func:`read_directory`.
        agent: An agent of the same architecture.
        origin: What to call the files in messages.
        generators: The generators that were saved, by name.
        extras: The extras that were saved, by name; a warning names those that are left out.

    Raises:
        CheckpointError: The checkpoint is of another architecture (the message names the first
            tensor that differs, with both shapes), a random state does not fit its generator, or an
            extra does not take its state.
    """
    checked_files(files, agent, origin=origin, generators=generators, extras=extras)()


def checked_files(
    files: Mapping[str, bytes],
    agent: Agent,
    *,
    origin: str,
    generators: Mapping[str, torch.Generator] | None = None,
    extras: Mapping[str, Stateful] | None = None,
) -> Callable[[], None]:
    """The checks of :func:`agent_from_files`; returns what puts the state into the agent.

    Raises:
        CheckpointError: As there.
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
    skipped = [state.get(name, 0) for name in ("skipped", "skipped_in_a_row")]
    noise = _noise(agent, joined_state(state["noise"], random, origin), origin)
    restore_random = tensors_to_random(random, generators or {}, origin)
    restore_extras = files_to_extras(files, extras or {}, origin)

    def restore() -> None:
        restore_extras()  # all of them or none; from here on nothing is refused any more
        agent.load_state_dict(model)
        agent.optimizer.load_state_dict(optimizer)
        count_beside(agent.optimizer)  # saved on a GPU, perhaps, and read on a CPU
        agent.noise.load_state_dict(noise)
        restore_random()
        agent.step = step
        agent.guard.load(*skipped)

    return restore


def _step(state: Any, origin: str) -> int:
    fits = isinstance(state, dict) and isinstance(state.get("noise"), dict)
    counts = ("skipped", "skipped_in_a_row")  # which earlier checkpoints lack
    fits = fits and all(isinstance(state.get(name, 0), int) for name in counts)
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
