"""The checkpoints of one run: a directory per step, a ``last`` link, the newest few kept."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowpolicy.agents import Agent
from flowpolicy.checkpoint.agent_files import CONFIG, agent_from_files, agent_to_files
from flowpolicy.checkpoint.contents import json_in
from flowpolicy.checkpoint.directory import (
    DamagedCheckpointError,
    read_directory,
    write_directory,
)
from flowpolicy.checkpoint.durable import STAGING_PREFIX, sync_directory
from flowpolicy.checkpoint.extras import Stateful
from flowpolicy.errors import CheckpointError

LAST = "last"
_STEP_PREFIX = "step_"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint of which every byte was verified.

    Attributes:
        path: Its directory.
        files: Contents by file name.
        config: What was saved as ``config.json``.
    """

    path: Path
    files: Mapping[str, bytes]
    config: dict[str, Any]


class Checkpoints:
    """Saves and loads the checkpoints below one directory.

    Args:
        root: The directory, for instance ``run/checkpoints``; made when the first one is saved.
        keep: How many of the newest checkpoints stay; ``None`` keeps all.

    Example:
        >>> import tempfile, flowpolicy as fp
        >>> agent = fp.agents.flow_bc(3, 2, hidden=(8,))
        >>> checkpoints = Checkpoints(tempfile.mkdtemp())
        >>> checkpoints.save(agent).name
        'step_00000000'
        >>> checkpoints.load(agent).path.name
        'step_00000000'
    """

    def __init__(self, root: str | os.PathLike[str], *, keep: int | None = 3) -> None:
        if keep is not None and keep < 1:
            raise CheckpointError(f"keep must be at least 1 checkpoint, got {keep}")
        self.root = Path(root)
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps of the checkpoints that exist, oldest first."""
        if not self.root.is_dir():
            return []
        names = (entry.name.removeprefix(_STEP_PREFIX) for entry in self.root.iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.root / f"{_STEP_PREFIX}{step:08d}"

    def save(
        self,
        agent: Agent,
        *,
        config: Mapping[str, Any] | None = None,
        generators: Mapping[str, torch.Generator] | None = None,
        preprocessing: Mapping[str, Tensor] | None = None,
        online: Mapping[str, Tensor] | None = None,
        extras: Mapping[str, Stateful] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes the checkpoint of ``agent.step``, points ``last`` at it, and drops old ones.

        The arguments are those of :func:`agent_to_files`. A kill at any moment leaves the earlier
        checkpoints as they were.

        Raises:
            CheckpointError: A weight is not finite, or the step was saved before.
        """
        files = agent_to_files(
            agent,
            config=config,
            generators=generators,
            preprocessing=preprocessing,
            online=online,
            extras=extras,
            data=data,
        )
        path = write_directory(self.path(agent.step), files)
        self._point_last_at(path)
        self._drop_old()
        return path

    def read(self, step: int | None = None) -> LoadedCheckpoint:
        """Reads and verifies one checkpoint.

        Args:
            step: Which one; ``None`` takes the newest that is intact, and warns about any newer
                one that is not.

        Raises:
            CheckpointError: There is none (for this step), or none that is intact.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"no checkpoint in {self.root}")
        if step is not None:
            if step not in steps:
                known = ", ".join(map(str, steps))
                raise CheckpointError(
                    f"no checkpoint of step {step} in {self.root}; there are: {known}"
                )
            return self._read(step)
        damage: DamagedCheckpointError | None = None
        for candidate in reversed(steps):
            try:
                loaded = self._read(candidate)
            except DamagedCheckpointError as error:
                damage = error
                warnings.warn(f"{error}; trying the one before it", stacklevel=2)
            else:
                return loaded
        raise DamagedCheckpointError(
            f"none of the {len(steps)} checkpoints in {self.root} is intact; the oldest: {damage}"
        )

    def load(
        self,
        agent: Agent,
        step: int | None = None,
        *,
        generators: Mapping[str, torch.Generator] | None = None,
        extras: Mapping[str, Stateful] | None = None,
    ) -> LoadedCheckpoint:
        """Reads a checkpoint as :meth:`read` does and puts it into ``agent``.

        Raises:
            CheckpointError: As :meth:`read`, or something in it does not fit the agent, the
                generators or the extras; all of them are unchanged then.
        """
        loaded = self.read(step)
        agent_from_files(
            loaded.files,
            agent,
            origin=f"checkpoint {loaded.path}",
            generators=generators,
            extras=extras,
        )
        return loaded

    def drop_after(self, step: int) -> None:
        """Removes the checkpoints of later steps, for a run that goes on from ``step``."""
        self._drop(later for later in self.steps() if later > step)

    def _read(self, step: int) -> LoadedCheckpoint:
        path = self.path(step)
        files = read_directory(path)
        return LoadedCheckpoint(path, files, json_in(files, CONFIG, f"checkpoint {path}"))

    def _point_last_at(self, path: Path) -> None:
        link = self.root / f"{STAGING_PREFIX}{LAST}-{os.getpid()}-{secrets.token_hex(4)}"
        link.symlink_to(path.name)
        link.replace(self.root / LAST)
        sync_directory(self.root)

    def _drop_old(self) -> None:
        if self.keep is None:
            return
        self._drop(self.steps()[: -self.keep])

    def _drop(self, steps: Iterable[int]) -> None:
        for step in steps:
            # Renamed first: a half-deleted directory must not keep the name of a checkpoint.
            doomed = self.root / f"{STAGING_PREFIX}old-{step:08d}-{secrets.token_hex(4)}"
            self.path(step).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
