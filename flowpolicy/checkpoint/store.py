"""The checkpoints of one run: a directory per step, links to the last and the best, few kept."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from flowpolicy.agents import Agent
from flowpolicy.checkpoint.agent_files import CONFIG, agent_from_files, agent_to_files
from flowpolicy.checkpoint.contents import json_in
from flowpolicy.checkpoint.directory import (
    MANIFEST,
    DamagedCheckpointError,
    read_directory,
    write_directory,
)
from flowpolicy.checkpoint.extras import Stateful
from flowpolicy.durable import STAGING_PREFIX, sync
from flowpolicy.errors import CheckpointError

LAST, BEST = "last", "best"
Step: TypeAlias = int | Literal["best"] | None
"""Which checkpoint: a step, the best one, or the newest that is intact."""

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

    @classmethod
    def read(cls, path: Path) -> LoadedCheckpoint:
        """Reads and verifies one.

        Raises:
            CheckpointError: It is damaged, incomplete, or none.
        """
        files = read_directory(path)
        return cls(path, files, json_in(files, CONFIG, f"checkpoint {path}"))


class Checkpoints:
    """Saves and loads the checkpoints below one directory.

    Args:
        root: The directory, for instance ``run/checkpoints``; made when the first one is saved.
        keep: How many of the newest checkpoints stay, besides the best; ``None`` keeps all.

    Attributes:
        beside: Steps that take no place of those, see :meth:`save`.
        keep_beside: How many of the newest of these stay all the same.

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
        self.beside: set[int] = set()
        self.keep_beside = 0

    def steps(self) -> list[int]:
        """The steps of the checkpoints that exist, oldest first."""
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in self.root.iterdir())
        steps = (name.removeprefix(_STEP_PREFIX) for name in names if name.startswith(_STEP_PREFIX))
        return sorted(int(step) for step in steps if step.isdecimal())

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
        beside: bool = False,
    ) -> Path:
        """Writes the checkpoint of ``agent.step``, points ``last`` at it, and drops old ones.

        The arguments are those of :func:`agent_to_files`, and ``beside``: such a checkpoint takes
        no place of those that are kept, and goes as soon as it is neither the newest nor the best.
        A kill at any moment leaves the earlier checkpoints as they were.

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
        self._link(LAST, path)
        if beside:
            self.beside.add(agent.step)
        self._drop_old()
        return path

    @property
    def best(self) -> int | None:
        """The step of the checkpoint that :meth:`mark_best` was told of, if it is there."""
        link = self.root / BEST
        if link.is_dir() and not link.is_symlink():  # a tool has copied what it led to
            copied = _manifest(link)
            same = (step for step in self.steps() if _manifest(self.path(step)) == copied)
            return None if copied is None else next(same, None)
        name = link.readlink().name if link.is_symlink() and link.exists() else ""
        return int(name.removeprefix(_STEP_PREFIX)) if name else None

    def mark_best(self, step: int | None) -> None:
        """Points ``best`` at a checkpoint, which rotation then spares; ``None`` removes the link.

        Raises:
            CheckpointError: There is no checkpoint of this step.
        """
        if step is None:
            self._make_way(BEST)
            (self.root / BEST).unlink(missing_ok=True)
            return
        self._require(step)
        self._link(BEST, self.path(step))
        self._drop_old()

    def read(self, step: Step = None) -> LoadedCheckpoint:
        """Reads and verifies one checkpoint.

        Args:
            step: Which one, also ``"best"``; ``None`` takes the newest that is intact, and warns
                about any newer one that is not.

        Raises:
            CheckpointError: There is none (for this step), or none that is intact.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"no checkpoint in {self.root}")
        if isinstance(step, str):
            if step != BEST:
                raise CheckpointError(f"step must be a number or 'best', got {step!r}")
            step = self.best
            if step is None:
                raise CheckpointError(
                    f"no checkpoint in {self.root} is marked as the best; a run marks one after "
                    "its first evaluation unless keep_best is off"
                )
        if step is not None:
            self._require(step)
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
        step: Step = None,
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
        if steps := self.steps():
            self._link(LAST, self.path(steps[-1]))

    def _read(self, step: int) -> LoadedCheckpoint:
        return LoadedCheckpoint.read(self.path(step))

    def _require(self, step: int) -> None:
        if step not in (steps := self.steps()):
            known = ", ".join(map(str, steps)) or "none"
            raise CheckpointError(
                f"no checkpoint of step {step} in {self.root}; there are: {known}"
            )

    def _link(self, name: str, path: Path) -> None:
        link = self.root / f"{STAGING_PREFIX}{name}-{os.getpid()}-{secrets.token_hex(4)}"
        link.symlink_to(path.name)
        self._make_way(name)
        link.replace(self.root / name)
        sync(self.root)

    def _make_way(self, name: str) -> None:
        """Removes the copy that tools leave in place of a link, when they follow it."""
        copy = self.root / name
        if copy.is_dir() and not copy.is_symlink():
            shutil.rmtree(copy)

    def _drop_old(self) -> None:
        if self.keep is not None:
            steps = self.steps()
            in_turn = [step for step in steps if step not in self.beside]
            beside = [step for step in steps if step in self.beside]
            spared = beside[len(beside) - self.keep_beside :]
            kept = {*in_turn[-self.keep :], *spared, steps[-1], self.best}
            self._drop(step for step in steps if step not in kept)

    def _drop(self, steps: Iterable[int]) -> None:
        for step in steps:
            # Renamed first: a half-deleted directory must not keep the name of a checkpoint.
            doomed = self.root / f"{STAGING_PREFIX}old-{step:08d}-{secrets.token_hex(4)}"
            self.path(step).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _manifest(path: Path) -> bytes | None:
    """Which files a checkpoint has and their digests; ``None`` where it is damaged."""
    try:
        return (path / MANIFEST).read_bytes()
    except OSError:
        return None
