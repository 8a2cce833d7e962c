"""Reading all of a checkpoint to see whether it can be used."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from flowpolicy.checkpoint.agent_files import (
    CONFIG,
    MODEL,
    ONLINE,
    OPTIMIZER_TENSORS,
    PREPROCESSING,
    checked_files,
)
from flowpolicy.checkpoint.contents import json_in, tensors_in
from flowpolicy.checkpoint.directory import MANIFEST, DamagedCheckpointError, read_directory
from flowpolicy.checkpoint.extras import EXTRA_TENSORS, EXTRAS
from flowpolicy.checkpoint.nested_state import joined_state
from flowpolicy.checkpoint.policy import runs_below, untrained_agent
from flowpolicy.checkpoint.store import Checkpoints
from flowpolicy.checkpoint.tensors import not_finite


def verify_checkpoint(path: str | os.PathLike[str]) -> None:
    """Reads every file of a checkpoint: bytes, finite numbers, and the shapes of its agent.

    Nothing is loaded into anything, and no random generator is touched. The shapes are those of the
    recipe; of an agent that was put together by hand only bytes and numbers are looked at.

    Args:
        path: The checkpoint's directory.

    Raises:
        CheckpointError: Says what is wrong.
        ConfigError: It is of an agent that this flowpolicy does not have.
    """
    origin = f"checkpoint {path}"
    files = read_directory(path)
    online = [ONLINE] if ONLINE in files else []
    for name in (MODEL, OPTIMIZER_TENSORS, PREPROCESSING, *online):
        if found := not_finite(tensors_in(files, name, origin)):
            raise DamagedCheckpointError(f"{origin}: {found}")
    joined_state(json_in(files, EXTRAS, origin), tensors_in(files, EXTRA_TENSORS, origin), origin)
    config = json_in(files, CONFIG, origin)
    if "recipe" in config:
        with torch.random.fork_rng(devices=[]):
            agent = untrained_agent(config, origin)
        checked_files(files, agent, origin=origin)


def checkpoints_at(path: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a path: itself, those of a run or a ``checkpoints`` folder, of all runs.

    Example:
        >>> import tempfile, flowpolicy as fp
        >>> run = Path(tempfile.mkdtemp())
        >>> saved = Checkpoints(run / "checkpoints").save(fp.agents.flow_bc(3, 2, hidden=(8,)))
        >>> [each.name for each in checkpoints_at(run)]
        ['step_00000000']
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return [path]
    roots = [path, path / "checkpoints", *(run / "checkpoints" for run in runs_below(path))]
    stores = (Checkpoints(root) for root in dict.fromkeys(roots))
    return [store.path(step) for store in stores for step in store.steps()]
