"""Checkpoints: safetensors, JSON and a SHA-256 manifest, one directory per step.

    run/checkpoints/
      step_00004000/
        model.safetensors       networks and targets by their names
        optimizer.safetensors   moments by parameter name
        optimizer.json          hyper-parameters and parameter names
        extras.safetensors, extras.json  schedules, samplers and the like by their names
        rng.safetensors         states of the random generators
        preprocessing.safetensors  what the policy does around the actor: means, bounds
        online.safetensors      transitions seen and counters, in an online phase only
        state.json              step counter and whatever else is a plain number
        config.json             how to build the agent again
        data.json               the data that it learned from, with a fingerprint
        environment.json        versions of the libraries, threads, device
        manifest.json           format version, size and SHA-256 of every file
      last -> step_00004000
      best -> step_00003000

A directory appears under its name only when all of it is on the disk, and nothing is read from one
before every byte was verified. No file is ever unpickled.
"""

from __future__ import annotations

from flowpolicy.checkpoint.agent_files import agent_from_files, agent_to_files
from flowpolicy.checkpoint.device import require_device
from flowpolicy.checkpoint.directory import (
    DamagedCheckpointError,
    read_directory,
    write_directory,
)
from flowpolicy.checkpoint.export import export_policy
from flowpolicy.checkpoint.extras import Stateful
from flowpolicy.checkpoint.jax_fql import load_jax_fql
from flowpolicy.checkpoint.policy import DeployedPolicy, load_policy, runs_below
from flowpolicy.checkpoint.store import Checkpoints, LoadedCheckpoint
from flowpolicy.checkpoint.verification import verify_checkpoint

__all__ = (
    "Checkpoints",
    "DamagedCheckpointError",
    "DeployedPolicy",
    "LoadedCheckpoint",
    "Stateful",
    "agent_from_files",
    "agent_to_files",
    "export_policy",
    "load_jax_fql",
    "load_policy",
    "read_directory",
    "require_device",
    "runs_below",
    "verify_checkpoint",
    "write_directory",
)
